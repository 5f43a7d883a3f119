// SPDX-License-Identifier: GPL-2.0

//! Being told what happens to devices.

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

/// A registered [`NetdevNotifier`].
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct NetdevRegistration<T: NetdevNotifier> {
    // First, so that its address is that of the whole.
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: T,
}

// SAFETY: only unregistered, which may be done from any thread.
unsafe impl<T: NetdevNotifier> Send for NetdevRegistration<T> {}
// SAFETY: gives out shared references only.
unsafe impl<T: NetdevNotifier> Sync for NetdevRegistration<T> {}

impl<T: NetdevNotifier> NetdevRegistration<T> {
    /// Registers. Takes rtnl.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised before the first call, which comes in the next step.
            data,
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: ours to initialise, and pinned from here on.
                to_result(unsafe {
                    block.write(bindings::notifier_block {
                        notifier_call: Some(netdev_event::<T>),
                        ..Default::default()
                    });
                    bindings::register_netdevice_notifier(block)
                })
            }),
        })
    }
}

#[pinned_drop]
impl<T: NetdevNotifier> PinnedDrop for NetdevRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by the type invariants.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }
}

/// # Safety
///
/// Called by the core with rtnl held and a `netdev_notifier_info`.
unsafe extern "C" fn netdev_event<T: NetdevNotifier>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    info: *mut c_void,
) -> c_int {
    // SAFETY: the core holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: the first member of a registered, pinned value.
    let this = unsafe { &*block.cast::<NetdevRegistration<T>>() };
    // SAFETY: such a structure, with a device that `ndo_init` has made ready.
    let dev = unsafe { NetDevice::from_raw((*info.cast::<bindings::netdev_notifier_info>()).dev) };
    this.data.event(NetdevEvent::new(event), dev, &rtnl);
    bindings::NOTIFY_DONE as c_int
}
