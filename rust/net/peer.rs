// SPDX-License-Identifier: GPL-2.0

//! Two devices that are each other's far end.

use core::{
    cell::UnsafeCell,
    ptr::addr_of, //
};

use kernel::{
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

use super::{
    context::{
        Bh,
        Rtnl, //
    },
    link::KillList,
    net_device::NetDevice, //
};
use crate::bindings;

/// One device's pointer to the other.
///
/// # Invariants
///
/// Null, or a registered device of which `tracker` holds a reference. Written
/// under rtnl only. It becomes null before the device it points to begins to be
/// unregistered, which waits for RCU readers before the device is freed: whoever has found
/// it under rtnl or in an RCU read section has it until either ends.
#[pin_data]
pub(crate) struct PeerLink {
    peer: UnsafeCell<*mut bindings::net_device>,
    #[pin]
    tracker: Opaque<bindings::netdevice_tracker>,
}

// SAFETY: the reference to the device may be given up on any CPU.
unsafe impl Send for PeerLink {}
// SAFETY: both fields are written under rtnl only, which the methods that do so ask for.
// `peer` is read and written in one piece, `tracker` is touched by the writers only.
unsafe impl Sync for PeerLink {}

impl PeerLink {
    /// Points nowhere.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(PeerLink {
            peer: UnsafeCell::new(core::ptr::null_mut()),
            tracker <- Opaque::ffi_init(|tracker: *mut bindings::netdevice_tracker| {
                // SAFETY: ours to initialise; all zeroes is valid for it.
                unsafe { core::ptr::write_bytes(tracker, 0, 1) }
            }),
        })
    }

    #[inline(always)]
    fn load(&self) -> *mut bindings::net_device {
        // SAFETY: an aligned pointer, which `store()` writes in one piece; what is behind
        // it is reached through it, which orders the accesses as `rcu_dereference()`.
        unsafe { core::ptr::read_volatile(addr_of!(*self.peer.get())) }
    }

    fn store(&self, peer: *mut bindings::net_device, _rtnl: &Rtnl) {
        // SAFETY: an aligned pointer, which others read in one piece, and which rtnl keeps
        // other writers from. The device was registered long before, with barriers in
        // between.
        unsafe { core::ptr::write_volatile(self.peer.get(), peer) };
    }

    /// The other device, while bottom halves are off.
    #[inline(always)]
    pub(crate) fn get<'a>(&self, _bh: &'a Bh) -> Option<&'a NetDevice> {
        let peer = self.load();
        // SAFETY: by the type invariant, found in the RCU read section that `_bh` is
        // evidence of, and not freed before that ends.
        (!peer.is_null()).then(|| unsafe { NetDevice::from_raw(peer) })
    }

    /// The other device, in an RCU read section.
    pub(crate) fn get_rcu<'a>(&self, _rcu: &'a rcu::Guard) -> Option<&'a NetDevice> {
        let peer = self.load();
        // SAFETY: as in `get()`, in the section of `_rcu`.
        (!peer.is_null()).then(|| unsafe { NetDevice::from_raw(peer) })
    }

    /// The other device, under rtnl.
    pub(crate) fn get_rtnl<'a>(&self, _rtnl: &'a Rtnl) -> Option<&'a NetDevice> {
        let peer = self.load();
        // SAFETY: found under rtnl, by the type invariant, and not freed before it is
        // released: what was unregistered meanwhile goes by `netdev_run_todo()`, later.
        (!peer.is_null()).then(|| unsafe { NetDevice::from_raw(peer) })
    }

    fn point_to(&self, peer: &NetDevice, rtnl: &Rtnl) {
        // SAFETY: live by the invariant of `NetDevice`. The tracker is unused, as `attach()`
        // comes once for a device, and pinned until `detach()`. May sleep, as rtnl is held.
        unsafe { bindings::toe_netdev_hold(peer.as_ptr(), self.tracker.get()) };
        // INVARIANT: the tracker holds a reference.
        self.store(peer.as_ptr(), rtnl);
    }
}

/// Makes two devices peers of each other: both registered, and neither attached before.
pub(crate) fn attach(a: (&NetDevice, &PeerLink), b: (&NetDevice, &PeerLink), rtnl: &Rtnl) {
    a.1.point_to(b.0, rtnl);
    b.1.point_to(a.0, rtnl);
}

/// Undoes [`attach`]; nothing is done if that was done already.
pub(crate) fn detach(a: (&NetDevice, &PeerLink), b: (&NetDevice, &PeerLink), rtnl: &Rtnl) {
    for (link, to) in [(a.1, b.0), (b.1, a.0)] {
        if link.load() == to.as_ptr() {
            // INVARIANT: null before either is unregistered, which only our
            // caller can do next.
            link.store(core::ptr::null_mut(), rtnl);
            // SAFETY: the pointer was there, hence by the type invariant the tracker's
            // reference, too; without the pointer nobody puts it a second time.
            unsafe { bindings::toe_netdev_put(to.as_ptr(), link.tracker.get()) };
        }
    }
}

/// Detaches two devices and queues both for unregistration; nothing is done if that was
/// done already.
pub(crate) fn detach_and_kill(
    a: (&NetDevice, &PeerLink),
    peer_link: impl for<'a> Fn(&'a NetDevice) -> Option<&'a PeerLink>,
    kill: &mut KillList<'_>,
    rtnl: &Rtnl,
) {
    let Some(b) = a.1.get_rtnl(rtnl) else {
        return;
    };
    let Some(b_link) = peer_link(b) else {
        return;
    };
    detach(a, (b, b_link), rtnl);
    kill.add(a.0, rtnl);
    kill.add_peer(a.0, b, rtnl);
}
