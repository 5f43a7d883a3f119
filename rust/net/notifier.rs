// SPDX-License-Identifier: GPL-2.0

//! Being told what happens: the kernel's notifier chains, and that of devices.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

use super::{
    context::Rtnl,
    netdev::NetDevice, //
};

/// What happened to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NetdevEvent {
    /// It is there, in this namespace: new, or moved.
    Register,
    /// It leaves this namespace: for good, or to another.
    Unregister,
    /// It is up.
    Up,
    /// It will be down.
    GoingDown,
    /// It is down.
    Down,
    /// Its carrier, flags or operational state changed.
    Change,
    /// It has another name.
    ChangeName,
    /// It has another MTU.
    ChangeMtu,
    /// It has another hardware address.
    ChangeAddr,
    /// Its features changed.
    FeatChange,
    /// It got or lost an upper device: bridge, bond, VLAN.
    ChangeUpper,
    /// Something else, a `NETDEV_*`.
    Other(u32),
}

impl NetdevEvent {
    fn new(event: c_ulong) -> Self {
        match event as u32 {
            bindings::netdev_cmd_NETDEV_REGISTER => Self::Register,
            bindings::netdev_cmd_NETDEV_UNREGISTER => Self::Unregister,
            bindings::netdev_cmd_NETDEV_UP => Self::Up,
            bindings::netdev_cmd_NETDEV_GOING_DOWN => Self::GoingDown,
            bindings::netdev_cmd_NETDEV_DOWN => Self::Down,
            bindings::netdev_cmd_NETDEV_CHANGE => Self::Change,
            bindings::netdev_cmd_NETDEV_CHANGENAME => Self::ChangeName,
            bindings::netdev_cmd_NETDEV_CHANGEMTU => Self::ChangeMtu,
            bindings::netdev_cmd_NETDEV_CHANGEADDR => Self::ChangeAddr,
            bindings::netdev_cmd_NETDEV_FEAT_CHANGE => Self::FeatChange,
            bindings::netdev_cmd_NETDEV_CHANGEUPPER => Self::ChangeUpper,
            other => Self::Other(other),
        }
    }
}

/// Is told of all devices of all namespaces.
pub(crate) trait NetdevNotifier: Send + Sync {
    /// Process context, rtnl held. At registration the events that made the
    /// present state are repeated, and undone at the end.
    fn event(&self, event: NetdevEvent, dev: &NetDevice, rtnl: &Rtnl);
}

/// A chain of notifiers of the kernel, one of which tells a `T`.
pub(crate) trait Chain<T> {
    /// # Safety
    ///
    /// `block` is initialised, pinned, and in no chain.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int;

    /// When this returns, no call runs any more.
    ///
    /// # Safety
    ///
    /// `block` is registered in this chain.
    unsafe fn unregister(block: *mut bindings::notifier_block);

    /// # Safety
    ///
    /// Called by the chain, with what it passes.
    unsafe fn tell(data: &T, event: c_ulong, arg: *mut c_void);
}

/// A `T` that is told what happens in a chain, until this is dropped.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Registration<C: Chain<T>, T> {
    // First, so that its address is that of the whole.
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: T,
    _chain: PhantomData<C>,
}

// SAFETY: only unregistered, which may be done from any thread.
unsafe impl<C: Chain<T>, T: Send + Sync> Send for Registration<C, T> {}
// SAFETY: gives out shared references only.
unsafe impl<C: Chain<T>, T: Send + Sync> Sync for Registration<C, T> {}

impl<C: Chain<T>, T: Send + Sync> Registration<C, T> {
    /// Registers. Process context; takes the chain's locks.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised before the first call, which may come in the next step.
            data,
            _chain: PhantomData,
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: ours to initialise, and pinned from here on.
                to_result(unsafe {
                    block.write(bindings::notifier_block {
                        notifier_call: Some(notified::<C, T>),
                        ..Default::default()
                    });
                    C::register(block)
                })
            }),
        })
    }
}

#[pinned_drop]
impl<C: Chain<T>, T> PinnedDrop for Registration<C, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by the type invariants.
        unsafe { C::unregister(self.block.get()) };
    }
}

/// # Safety
///
/// Called by the chain that the block is registered in.
unsafe extern "C" fn notified<C: Chain<T>, T>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the first member of a registered, pinned value.
    let this = unsafe { &*block.cast::<Registration<C, T>>() };
    // SAFETY: what the chain passed.
    unsafe { C::tell(&this.data, event, arg) };
    bindings::NOTIFY_DONE as c_int
}

/// The chain of devices. Registering takes rtnl.
pub(crate) struct Devices;

/// A registered [`NetdevNotifier`].
pub(crate) type NetdevRegistration<T> = Registration<Devices, T>;

impl<T: NetdevNotifier> Chain<T> for Devices {
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: what this function requires.
        unsafe { bindings::register_netdevice_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: what this function requires.
        unsafe { bindings::unregister_netdevice_notifier(block) };
    }

    unsafe fn tell(data: &T, event: c_ulong, info: *mut c_void) {
        // SAFETY: the core holds rtnl across this call.
        let rtnl = unsafe { Rtnl::assume() };
        // SAFETY: such a structure, with a device that `ndo_init` has made ready.
        let dev =
            unsafe { NetDevice::from_raw((*info.cast::<bindings::netdev_notifier_info>()).dev) };
        data.event(NetdevEvent::new(event), dev, &rtnl);
    }
}
