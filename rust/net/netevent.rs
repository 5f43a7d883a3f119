// SPDX-License-Identifier: GPL-2.0

//! Notifications about neighbours.

use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    types::Opaque, //
};

use super::{
    net_device::NetDevice,
    notifier::{
        Chain,
        Registration, //
    },
    tcp::Hop, //
};
use crate::{
    bindings,
    logic::tuple::Family, //
};

/// A neighbour.
///
/// # Invariants
///
/// A reference is to a `neighbour` that is not freed while the reference exists.
#[repr(transparent)]
pub(crate) struct Neighbour(Opaque<bindings::neighbour>);

impl Neighbour {
    /// The device that it is reached by.
    pub(crate) fn dev(&self) -> &NetDevice {
        // SAFETY: live by the type invariant. `___neigh_create()` took a reference to the
        // device, which is constant, for the neighbour's whole life.
        unsafe { NetDevice::from_raw((*self.0.get()).dev) }
    }

    /// Its IP address; `None` if it is a neighbour of another protocol.
    pub(crate) fn address(&self) -> Option<(Family, [u8; 16])> {
        let mut hop = bindings::toe_hop::default();
        // SAFETY: live by the type invariant; the callee reads the table and the key, which
        // are constant, and fills `hop` in, which is ours.
        unsafe { bindings::toe_neigh_hop(self.0.get(), &mut hop) }.then(|| {
            let hop = Hop::new(&hop);
            (hop.family, hop.addr)
        })
    }
}

/// Is told of the neighbours of all namespaces.
pub(crate) trait NetEventNotifier: Send + Sync {
    /// A neighbour's state or address changed. Any context, also with bottom
    /// halves disabled; must not sleep.
    fn neighbour(&self, neighbour: &Neighbour);
}

/// The chain of neighbours and routes. It is atomic: unregistering waits for
/// calls that run.
pub(crate) struct NetEvents;

/// A registered [`NetEventNotifier`].
pub(crate) type NetEventRegistration<T> = Registration<NetEvents, T>;

impl<T: NetEventNotifier> Chain<T> for NetEvents {
    /// # Safety
    ///
    /// As [`Chain::register`] says.
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: the caller promises that `block` is initialised, in no chain, and stays
        // where it is until it is unregistered: the chain links it.
        unsafe { bindings::register_netevent_notifier(block) }
    }

    /// # Safety
    ///
    /// As [`Chain::unregister`] says.
    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: the caller promises that it is in the chain. The callee unlinks it and
        // waits for RCU readers, which those are who go through the chain.
        unsafe { bindings::unregister_netevent_notifier(block) };
    }

    /// # Safety
    ///
    /// As [`Chain::notify`] says.
    unsafe fn notify(data: &T, event: c_ulong, arg: *mut c_void) {
        if event as u32 == bindings::netevent_notif_type_NETEVENT_NEIGH_UPDATE {
            // SAFETY: the argument of this event is a neighbour that its sender keeps until
            // the chain returns (`neigh_update()`, `neigh_timer_handler()`,
            // `neigh_cleanup_and_release()`, `__ip_do_redirect()`).
            data.neighbour(unsafe { &*arg.cast::<Neighbour>() });
        }
    }
}
