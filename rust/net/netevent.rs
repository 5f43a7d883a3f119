// SPDX-License-Identifier: GPL-2.0

//! Being told what happens to neighbours.

use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    logic::tuple::Family, //
};

use super::{
    netdev::NetDevice,
    notifier::{
        Chain,
        Registration, //
    },
    tcp::Hop, //
};

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

    /// Its IP address; `None` if it is a neighbour of another protocol.
    pub(crate) fn address(&self) -> Option<(Family, [u8; 16])> {
        let mut hop = bindings::toe_hop::default();
        // SAFETY: live; a neighbour's address never changes.
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
    unsafe fn register(block: *mut bindings::notifier_block) -> c_int {
        // SAFETY: what this function requires.
        unsafe { bindings::register_netevent_notifier(block) }
    }

    unsafe fn unregister(block: *mut bindings::notifier_block) {
        // SAFETY: what this function requires.
        unsafe { bindings::unregister_netevent_notifier(block) };
    }

    unsafe fn tell(data: &T, event: c_ulong, arg: *mut c_void) {
        if event as u32 == bindings::netevent_notif_type_NETEVENT_NEIGH_UPDATE {
            // SAFETY: the argument of this event is a live neighbour.
            data.neighbour(unsafe { &*arg.cast::<Neighbour>() });
        }
    }
}
