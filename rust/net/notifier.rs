// SPDX-License-Identifier: GPL-2.0

//! The kernel's notifier chains, and that of devices.

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

use super::{
    context::Rtnl,
    net_device::NetDevice, //
};
use crate::bindings;

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
    /// Those of a higher one are called first.
    const PRIORITY: c_int = 0;

    /// # Safety
    ///
    /// `block` is initialised, in no chain, and stays live and where it is until
    /// [`Self::unregister`] has returned, or this has returned an error.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int;

    /// When this returns, no call is running.
    ///
    /// # Safety
    ///
    /// `block` is registered in this chain, and is unregistered once.
    unsafe fn unregister(block: *mut bindings::notifier_block);

    /// # Safety
    ///
    /// Called while the chain calls a block, in the same context, with the event and the
    /// argument that it got from the chain.
    unsafe fn notify(data: &T, event: c_ulong, arg: *mut c_void);
}

/// A `T` that is told what happens in a chain, until this is dropped.
///
/// # Invariants
///
/// `block` is registered in the chain `C`, and its function is `notified::<C, T>`. It is the
/// first member, so that its address is that of the whole.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Registration<C: Chain<T>, T> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: T,
    _chain: PhantomData<C>,
}

// SAFETY: what can be done with a value is to drop it: the block may be unregistered by any
// task, and `T` is `Send`.
unsafe impl<C: Chain<T>, T: Send + Sync> Send for Registration<C, T> {}
// SAFETY: it has no methods. The chain's calls, on any CPU, get a `&T`, which is `Sync`.
unsafe impl<C: Chain<T>, T: Send + Sync> Sync for Registration<C, T> {}

impl<C: Chain<T>, T: Send + Sync> Registration<C, T> {
    /// Registers. Process context; takes the chain's locks.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised before the first call, which may come in the next step.
            data,
            _chain: PhantomData,
            // INVARIANT: the block is registered, or there is no value.
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: ours to initialise, pinned from here on, and unregistered before
                // it is freed (`drop`); if it cannot be registered, it is in no chain.
                to_result(unsafe {
                    block.write(bindings::notifier_block {
                        notifier_call: Some(notified::<C, T>),
                        priority: C::PRIORITY,
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
        // SAFETY: registered by the type invariant, and dropped once.
        unsafe { C::unregister(self.block.get()) };
    }
}

/// # Safety
///
/// Called by the chain that the block is registered in, which a [`Registration`] put there.
unsafe extern "C" fn notified<C: Chain<T>, T>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: by the type invariant the block is the first member of a `Registration`, which
    // waits for this call before it goes. `data` was initialised before the block.
    let data = unsafe { &(*block.cast::<Registration<C, T>>()).data };
    // SAFETY: called by the chain, and these are its event and its argument.
    unsafe { C::notify(data, event, arg) };
    bindings::NOTIFY_DONE as c_int
}

/// The chain of devices. Registering takes rtnl.
pub(crate) struct Devices;

/// A registered [`NetdevNotifier`].
pub(crate) type NetdevRegistration<T> = Registration<Devices, T>;

impl<T: NetdevNotifier> Chain<T> for Devices {
    /// After bonding, whichever was loaded first: what is asked of a bond is the answer after
    /// the event.
    const PRIORITY: c_int = -1;

    /// # Safety
    ///
    /// As [`Chain::register`] says.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: the caller promises that `block` is initialised, in no chain, and stays
        // where it is until it is unregistered: the chain links it.
        unsafe { bindings::register_netdevice_notifier(block) }
    }

    /// # Safety
    ///
    /// As [`Chain::unregister`] says.
    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: the caller promises that it is in the chain. The callee takes rtnl, which
        // all calls of the chain are made under.
        unsafe { bindings::unregister_netdevice_notifier(block) };
    }

    /// # Safety
    ///
    /// As [`Chain::notify`] says.
    unsafe fn notify(data: &T, event: c_ulong, info: *mut c_void) {
        // SAFETY: the chain is called under rtnl (`call_netdevice_notifiers_info()` asserts
        // it; registering takes it), which nobody releases meanwhile.
        let rtnl = unsafe { Rtnl::assume() };
        // SAFETY: the argument of each event of this chain begins with such a structure.
        // The first event of a device, `NETDEV_POST_INIT`, comes after its `ndo_init`, and
        // all of them, `NETDEV_UNREGISTER` of `netdev_wait_allrefs_any()` too, come before
        // its `priv_destructor`.
        let dev =
            unsafe { NetDevice::from_raw((*info.cast::<bindings::netdev_notifier_info>()).dev) };
        data.event(NetdevEvent::new(event), dev, &rtnl);
    }
}
