// SPDX-License-Identifier: GPL-2.0

//! What a driver does for its devices: `struct net_device_ops`.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::from_result,
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

use super::{
    context::{
        Bh,
        Rtnl, //
    },
    netdev::NetDevice,
    skb::SkBuff, //
};

/// What became of a frame given to [`Driver::start_xmit`].
pub(crate) enum Xmit {
    /// It is gone.
    Sent,
    /// It was dropped, and counted.
    Dropped,
    /// There is no room: the queue was stopped and the qdisc keeps the frame.
    /// Only where a qdisc is, see [`NetDevice::txq_has_qdisc`].
    Busy(SkBuff),
}

/// Counters of a whole device.
pub(crate) type LinkStats = bindings::rtnl_link_stats64;

/// A pointer back from the driver's value to the device it lives in.
///
/// # Invariants
///
/// The device is live as long as the value exists: it is given to
/// [`Driver::init`] only, for the value in that device's private area.
pub(crate) struct OwnDevice(NonNull<bindings::net_device>);

// SAFETY: stands for a `&NetDevice`.
unsafe impl Send for OwnDevice {}
// SAFETY: stands for a `&NetDevice`.
unsafe impl Sync for OwnDevice {}

impl OwnDevice {
    /// The device.
    #[inline(always)]
    pub(crate) fn get(&self) -> &NetDevice {
        // SAFETY: live by the type invariants.
        unsafe { NetDevice::from_raw(self.0.as_ptr()) }
    }
}

/// A driver: the value that lives in the private area of each of its devices.
///
/// The value is made by `init` when the device is being registered, and dropped
/// after the last reference to the device is gone.
#[vtable]
pub(crate) trait Driver: Sized + Send + Sync + 'static {
    /// The table; `static TABLE: DeviceOps<Self> = DeviceOps::new()`.
    fn ops() -> &'static DeviceOps<Self>;

    /// Makes the value. Process context, rtnl held.
    fn init(dev: &NetDevice, own: OwnDevice, rtnl: &Rtnl) -> impl PinInit<Self, Error>;

    /// `ip link set up`. Process context, rtnl held.
    fn open(&self, rtnl: &Rtnl) -> Result;

    /// `ip link set down`. Process context, rtnl held; nothing is transmitted
    /// by the core any more.
    fn stop(&self, rtnl: &Rtnl);

    /// A frame to send. Bottom halves disabled; several CPUs at once, also on
    /// one queue.
    fn start_xmit(&self, skb: SkBuff, bh: &Bh) -> Xmit;

    /// Adds to the counters. Any sleeping context, with or without rtnl, also
    /// under RCU.
    fn stats64(&self, stats: &mut LinkStats);

    /// Index of the device at the other end, 0 if it is gone. Any context.
    fn iflink(&self) -> i32;
}

/// A table of operations that makes a `net_device` one of `T`'s.
#[repr(transparent)]
pub(crate) struct DeviceOps<T>(Opaque<bindings::net_device_ops>, PhantomData<fn(T)>);

// SAFETY: only ever read after it was made.
unsafe impl<T> Sync for DeviceOps<T> {}

impl<T: Driver> DeviceOps<T> {
    /// Makes the table.
    pub(crate) const fn new() -> Self {
        const {
            // C aligns the private area to a cache line.
            assert!(core::mem::align_of::<T>() <= 64);
        }
        DeviceOps(
            Opaque::new(bindings::net_device_ops {
                ndo_init: Some(init::<T>),
                ndo_open: Some(open::<T>),
                ndo_stop: Some(stop::<T>),
                ndo_start_xmit: Some(start_xmit::<T>),
                ndo_set_rx_mode: Some(set_rx_mode),
                ndo_set_mac_address: Some(bindings::eth_mac_addr),
                ndo_validate_addr: Some(bindings::eth_validate_addr),
                ndo_get_stats64: Some(get_stats64::<T>),
                ndo_get_iflink: Some(get_iflink::<T>),
                ndo_features_check: Some(bindings::passthru_features_check),
                // SAFETY: all other operations are optional: a null pointer,
                // which is `None`.
                ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
            }),
            PhantomData,
        )
    }

    #[inline(always)]
    pub(in crate::net) fn as_ptr(&self) -> *const bindings::net_device_ops {
        self.0.get()
    }
}

/// # Safety
///
/// `dev` must be a device of `T` after `init` and before `priv_destructor`.
#[inline(always)]
pub(in crate::net) unsafe fn value<'a, T: Driver>(dev: *mut bindings::net_device) -> &'a T {
    // SAFETY: a live device with an initialised value.
    unsafe { &*NetDevice::from_raw(dev).private().cast::<T>() }
}

/// # Safety
///
/// Called by `register_netdevice()` with rtnl held, once per device.
unsafe extern "C" fn init<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: the core holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: live; nobody looks for the driver's value before this
        // function returns 0.
        let device = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: live, hence not null.
        // INVARIANT: given to the value in this device only.
        let own = OwnDevice(unsafe { NonNull::new_unchecked(dev) });
        // SAFETY: a live device.
        unsafe { bindings::toe_netdev_lockdep_set_classes(dev) };
        // SAFETY: the private area has the size and alignment of a `T`, does
        // not move, and is uninitialised.
        unsafe { init_at(device.private().cast::<T>(), T::init(device, own, &rtnl)) }?;
        Ok(0)
    })
}

/// Initialises the value at `slot`: the method has another name in 7.2.
///
/// # Safety
///
/// As for `PinInit::__init()`: `slot` is valid for writes and stays where it is.
unsafe fn init_at<T>(slot: *mut T, init: impl PinInit<T, Error>) -> Result {
    #[cfg(toe_kernel_7_2)]
    // SAFETY: the caller's promise.
    return unsafe { init.__pinned_init(slot) };
    #[cfg(not(toe_kernel_7_2))]
    // SAFETY: the caller's promise.
    return unsafe { init.__init(slot) };
}

/// Drops the driver's value.
///
/// # Safety
///
/// Called by the core once, after `init` returned 0 and when no reference to
/// the device is left.
pub(in crate::net) unsafe extern "C" fn priv_destructor<T: Driver>(dev: *mut bindings::net_device) {
    // SAFETY: initialised by `init`, and nobody has a reference any more.
    unsafe { core::ptr::drop_in_place(NetDevice::from_raw(dev).private().cast::<T>()) };
}

/// # Safety
///
/// Called by the core with rtnl held on a registered device.
unsafe extern "C" fn open<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: the core holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: registered, hence initialised.
        unsafe { value::<T>(dev) }.open(&rtnl)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the core with rtnl held on a registered device.
unsafe extern "C" fn stop<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: the core holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered, hence initialised.
    unsafe { value::<T>(dev) }.stop(&rtnl);
    0
}

/// # Safety
///
/// Called by the core with bottom halves disabled on a registered device; `skb`
/// is the callee's unless it returns `NETDEV_TX_BUSY`.
unsafe extern "C" fn start_xmit<T: Driver>(
    skb: *mut bindings::sk_buff,
    dev: *mut bindings::net_device,
) -> bindings::netdev_tx_t {
    // SAFETY: `__dev_queue_xmit()` and the qdisc run with them disabled.
    let bh = unsafe { Bh::assume() };
    // SAFETY: ours now, and on no list: the core unlinks it.
    let skb = unsafe { SkBuff::from_raw(skb) };
    // SAFETY: registered, hence initialised.
    match unsafe { value::<T>(dev) }.start_xmit(skb, &bh) {
        Xmit::Sent => bindings::netdev_tx_NETDEV_TX_OK,
        // `NET_XMIT_DROP`, as veth answers.
        Xmit::Dropped => 1,
        Xmit::Busy(skb) => {
            // The core's again.
            let _ = skb.into_raw();
            bindings::netdev_tx_NETDEV_TX_BUSY
        }
    }
}

/// Makes multicast possible: every frame reaches the peer anyway.
///
/// # Safety
///
/// Called by the core.
unsafe extern "C" fn set_rx_mode(_dev: *mut bindings::net_device) {}

/// # Safety
///
/// Called by `dev_get_stats()` on a registered device.
unsafe extern "C" fn get_stats64<T: Driver>(
    dev: *mut bindings::net_device,
    stats: *mut bindings::rtnl_link_stats64,
) {
    // The caller's are zeroed, and may lie in a netlink message, unaligned.
    let mut own = bindings::rtnl_link_stats64::default();
    // SAFETY: registered, hence initialised; the caller's statistics are nobody
    // else's.
    unsafe {
        value::<T>(dev).stats64(&mut own);
        stats.write_unaligned(own);
    }
}

/// # Safety
///
/// Called by the core on a registered device.
unsafe extern "C" fn get_iflink<T: Driver>(dev: *const bindings::net_device) -> c_int {
    // SAFETY: registered, hence initialised.
    unsafe { value::<T>(dev.cast_mut()) }.iflink()
}
