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

use super::{
    context::{
        Bh,
        Rtnl, //
    },
    net_device::NetDevice,
    skb::SkBuff, //
};
use crate::bindings;

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
/// The device is live as long as the value exists: [`Driver::init`] gets it to keep it in
/// the value that it makes, and nowhere else, and that one lies in the device.
pub(crate) struct OwnDevice(NonNull<bindings::net_device>);

// SAFETY: gives no more than a `&NetDevice`, which is `Send`.
unsafe impl Send for OwnDevice {}
// SAFETY: as for `Send`; `NetDevice` is `Sync`.
unsafe impl Sync for OwnDevice {}

impl OwnDevice {
    /// The device.
    #[inline(always)]
    pub(crate) fn get(&self) -> &NetDevice {
        // SAFETY: live by the type invariant. While `T::init()` or the drop of the value
        // runs the device has the operations of no driver, see `NOBODYS`.
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

    /// Makes the value, which `own` is for. Process context, rtnl held.
    fn init(dev: &NetDevice, own: OwnDevice, rtnl: &Rtnl) -> impl PinInit<Self, Error>;

    /// `ip link set up`. Process context, rtnl held.
    fn open(&self, rtnl: &Rtnl) -> Result;

    /// `ip link set down`. Process context, rtnl held; the core no longer transmits
    /// anything.
    fn stop(&self, rtnl: &Rtnl);

    /// `ip link set carrier on` or `off`. Process context, rtnl held.
    fn change_carrier(&self, on: bool, rtnl: &Rtnl);

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
///
/// # Invariants
///
/// Its functions are those of this file for `T`, or there are none. It has no
/// `net_shaper_ops`, nor does anything in this folder set `request_ops_lock` or
/// `queue_mgmt_ops`: such a device takes no lock of its own (`netdev_need_ops_lock()`), and
/// where the core holds either that or rtnl across a call, it is rtnl.
#[repr(transparent)]
pub(crate) struct DeviceOps<T>(Opaque<bindings::net_device_ops>, PhantomData<fn(T)>);

// SAFETY: nobody writes to it after it was made: the core has a pointer to const.
unsafe impl<T> Sync for DeviceOps<T> {}

/// A device has them while it has no value of its driver: without them it would be taken
/// for one that has. Under rtnl, seen by nobody else.
static NOBODYS: DeviceOps<()> = DeviceOps(
    // SAFETY: all operations are optional: a null pointer, which is `None`.
    // INVARIANT: there are none.
    Opaque::new(unsafe { core::mem::MaybeUninit::zeroed().assume_init() }),
    PhantomData,
);

impl<T: Driver> DeviceOps<T> {
    /// Makes the table.
    pub(crate) const fn new() -> Self {
        const {
            // C aligns the private area to a cache line.
            assert!(core::mem::align_of::<T>() <= 64);
        }
        // INVARIANT: those for `T`, and no `net_shaper_ops`.
        DeviceOps(
            Opaque::new(bindings::net_device_ops {
                ndo_init: Some(init::<T>),
                ndo_open: Some(open::<T>),
                ndo_stop: Some(stop::<T>),
                ndo_start_xmit: Some(start_xmit::<T>),
                ndo_change_carrier: Some(change_carrier::<T>),
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
/// `dev` must be a live device of `T`, for which `init` has returned 0, and for which
/// `priv_destructor` is not called during `'a`.
#[inline(always)]
pub(in crate::net) unsafe fn value<'a, T: Driver>(dev: *mut bindings::net_device) -> &'a T {
    // SAFETY: live, and with the value that `init` made, as this function requires.
    unsafe { &*NetDevice::from_raw(dev).private().cast::<T>() }
}

/// # Safety
///
/// Called by `register_netdevice()` with rtnl held, once per device of `T`, which nobody
/// else can find yet.
unsafe extern "C" fn init<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: `register_netdevice()` asserts that rtnl is held, and returns to its caller
    // with it.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: live, and nobody else's, as this function requires.
        unsafe {
            (*dev).netdev_ops = NOBODYS.0.get();
            bindings::toe_netdev_lockdep_set_classes(dev);
        }
        // SAFETY: live across this call, and of no driver at the moment.
        let device = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: live, hence not null.
        // INVARIANT: given to the value in this device only.
        let own = OwnDevice(unsafe { NonNull::new_unchecked(dev) });
        // SAFETY: the private area has the size of a `T`, which `rtnl::Registration` asked
        // for, and its alignment, as `DeviceOps::new()` checks. It does not move, and is
        // uninitialised, as this is called once.
        unsafe { init_at(device.private().cast::<T>(), T::init(device, own, &rtnl)) }?;
        // SAFETY: as above. Here the device becomes one of `T`'s, with its value.
        unsafe { (*dev).netdev_ops = T::ops().as_ptr() };
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
    // SAFETY: this function requires the same of `slot`.
    return unsafe { init.__pinned_init(slot) };
    #[cfg(not(toe_kernel_7_2))]
    // SAFETY: this function requires the same of `slot`.
    return unsafe { init.__init(slot) };
}

/// Drops the driver's value.
///
/// # Safety
///
/// Called by the core once, after `init` returned 0 and when no reference to
/// the device is left.
pub(in crate::net) unsafe extern "C" fn priv_destructor<T: Driver>(dev: *mut bindings::net_device) {
    // SAFETY: live, initialised by `init`, and dropped once. Nobody finds the device any
    // more: it is the core's alone, which does not use the operations from here on.
    unsafe {
        (*dev).netdev_ops = NOBODYS.0.get();
        core::ptr::drop_in_place(NetDevice::from_raw(dev).private().cast::<T>());
    }
}

/// # Safety
///
/// Called by the core with rtnl held on a registered device.
unsafe extern "C" fn open<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: `__dev_open()` asserts that rtnl is held, and does not release it.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: registered, hence `init` returned 0, and nothing is destroyed before rtnl
        // is released.
        unsafe { value::<T>(dev) }.open(&rtnl)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the core with rtnl held on a registered device.
unsafe extern "C" fn stop<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: `__dev_close_many()` asserts that rtnl is held, and does not release it.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `open`.
    unsafe { value::<T>(dev) }.stop(&rtnl);
    0
}

/// # Safety
///
/// Called by the core with rtnl held on a registered device.
unsafe extern "C" fn change_carrier<T: Driver>(dev: *mut bindings::net_device, on: bool) -> c_int {
    // SAFETY: both callers of `netif_change_carrier()`, `do_setlink()` and the file in sysfs,
    // hold rtnl across the call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `open`.
    unsafe { value::<T>(dev) }.change_carrier(on, &rtnl);
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
    // SAFETY: whoever calls this (`__dev_queue_xmit()`, qdiscs, `__dev_direct_xmit()`,
    // pktgen) has them disabled until it returned; netpoll, which need not, is refused by
    // `IFF_DISABLE_NETPOLL`.
    let bh = unsafe { Bh::assume() };
    // SAFETY: ours now, as this function requires, and on no list: the core unlinks it
    // (`skb_mark_not_on_list()`).
    let skb = unsafe { SkBuff::from_raw(skb) };
    // SAFETY: registered, hence `init` returned 0, and not freed before the RCU read
    // section ends that bottom halves are.
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
/// None: it does nothing, and is unsafe for its type only.
unsafe extern "C" fn set_rx_mode(_dev: *mut bindings::net_device) {}

/// # Safety
///
/// Called by `dev_get_stats()` on a device that its caller found in a list or has a
/// reference to, with memory of the caller's at `stats`.
unsafe extern "C" fn get_stats64<T: Driver>(
    dev: *mut bindings::net_device,
    stats: *mut bindings::rtnl_link_stats64,
) {
    // The caller's are zeroed, and may lie in a netlink message, unaligned.
    let mut own = bindings::rtnl_link_stats64::default();
    // SAFETY: a device is in a list after `init` returned 0, and whoever finds it there is
    // under RCU or rtnl, or has a reference: `priv_destructor` waits for all of them. The
    // statistics are the caller's, and nobody else's.
    unsafe {
        value::<T>(dev).stats64(&mut own);
        stats.write_unaligned(own);
    }
}

/// # Safety
///
/// Called by `dev_get_iflink()` on a device that its caller found in a list or has a
/// reference to.
unsafe extern "C" fn get_iflink<T: Driver>(dev: *const bindings::net_device) -> c_int {
    // SAFETY: as in `get_stats64`.
    unsafe { value::<T>(dev.cast_mut()) }.iflink()
}
