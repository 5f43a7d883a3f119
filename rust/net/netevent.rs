// SPDX-License-Identifier: GPL-2.0

//! Being told what happens to neighbours.

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

use super::netdev::NetDevice;

/// A neighbour.
///
/// # Invariants
///
/// A reference is to a live `neighbour`.
#[repr(transparent)]
pub(crate) struct Neighbour(Opaque<bindings::neighbour>);

impl Neighbour {
    /// The device that it is reached by.
    pub(crate) fn dev(&self) -> &NetDevice {
        // SAFETY: live; a neighbour holds a reference to its device.
        unsafe { NetDevice::from_raw((*self.0.get()).dev) }
    }
}

/// Is told of the neighbours of all namespaces.
pub(crate) trait NetEventNotifier: Send + Sync {
    /// A neighbour's state or address changed. Any context, also with bottom
    /// halves disabled; must not sleep.
    fn neighbour(&self, neighbour: &Neighbour);
}

/// A registered [`NetEventNotifier`].
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct NetEventRegistration<T: NetEventNotifier> {
    // First, so that its address is that of the whole.
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: T,
}

// SAFETY: only unregistered, which may be done from any thread.
unsafe impl<T: NetEventNotifier> Send for NetEventRegistration<T> {}
// SAFETY: gives out shared references only.
unsafe impl<T: NetEventNotifier> Sync for NetEventRegistration<T> {}

impl<T: NetEventNotifier> NetEventRegistration<T> {
    /// Registers.
    pub(crate) fn new(data: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            data,
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: ours to initialise, and pinned from here on.
                to_result(unsafe {
                    block.write(bindings::notifier_block {
                        notifier_call: Some(net_event::<T>),
                        ..Default::default()
                    });
                    bindings::register_netevent_notifier(block)
                })
            }),
        })
    }
}

#[pinned_drop]
impl<T: NetEventNotifier> PinnedDrop for NetEventRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by the type invariants. The chain is atomic: the
        // callee waits for calls that run.
        unsafe { bindings::unregister_netevent_notifier(self.block.get()) };
    }
}

/// # Safety
///
/// Called by `call_netevent_notifiers()`.
unsafe extern "C" fn net_event<T: NetEventNotifier>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the first member of a registered, pinned value.
    let this = unsafe { &*block.cast::<NetEventRegistration<T>>() };
    if event as u32 == bindings::netevent_notif_type_NETEVENT_NEIGH_UPDATE {
        // SAFETY: the argument of this event is a live neighbour.
        this.data.neighbour(unsafe { &*arg.cast::<Neighbour>() });
    }
    bindings::NOTIFY_DONE as c_int
}
