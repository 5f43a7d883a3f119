// SPDX-License-Identifier: GPL-2.0

//! Bonds, and their members.
//!
//! C headers: `include/net/bonding.h`, `include/linux/netdevice.h`. What is used of bonding is
//! its structures and a function of the kernel's image, so that this module loads without it.

use super::{
    net_device::NetDevice,
    sock::Sock,
    sync::rcu::ReadGuard, //
};
use crate::bindings;

impl NetDevice {
    /// Returns whether it is a bond. Any context.
    #[inline]
    pub(crate) fn is_bond(&self) -> bool {
        // SAFETY: live by the invariant of `NetDevice`; the callee reads its flags.
        unsafe { bindings::toe_is_bond(self.as_ptr()) }
    }

    /// Returns whether it is a bond that sends all frames of a connection by one member, as
    /// long as nothing changes. Any context.
    pub(crate) fn is_served_bond(&self) -> bool {
        // SAFETY: live by the invariant of `NetDevice`, and a bond, whose private area the
        // callee reads, all its life.
        self.is_bond() && unsafe { bindings::toe_bond_is_served(self.as_ptr()) }
    }

    /// Returns whether it is a member of a bond. Any context.
    #[inline]
    pub(crate) fn is_bond_member(&self) -> bool {
        // SAFETY: live by the invariant of `NetDevice`; the callee reads its flags.
        unsafe { bindings::toe_is_bond_member(self.as_ptr()) }
    }

    /// A number that changes when the bond may send by another member; 0 for what is no bond.
    /// Any context.
    pub(crate) fn bond_sign(&self) -> u64 {
        // SAFETY: live by the invariant of `NetDevice`; the callee has an RCU section for the
        // array of members, whose pointers it mixes and does not follow.
        unsafe { bindings::toe_bond_sign(self.as_ptr()) }
    }

    /// How long, in ms, a bond like this one at the other end may drop what comes in by another
    /// member than before; 0 for what is no bond. Any context.
    pub(crate) fn bond_lag_ms(&self) -> u32 {
        // SAFETY: live by the invariant of `NetDevice`; the callee reads its fields.
        unsafe { bindings::toe_bond_lag_ms(self.as_ptr()) }
    }

    /// The device that frames of `sk` leave by at this moment, if its route leaves through
    /// this one: below all VLAN devices, and the member that the bond below those sends them
    /// by. The bond itself if it has none for them. Any context; the lock need not be held.
    #[inline]
    pub(crate) fn base<'g>(&'g self, sk: &Sock, _guard: &'g ReadGuard<'_>) -> &'g NetDevice {
        // SAFETY: live by the invariants of both types. The callee follows the devices below, and
        // the socket's route, by RCU, in the section that the guard stands for; a device
        // found so is not freed before that ends, and the result does not outlive it.
        unsafe { NetDevice::from_raw(bindings::toe_base_dev(self.as_ptr(), sk.as_ptr())) }
    }

    /// The members of a bond; none of what is no bond. One may be left out if another goes
    /// meanwhile. Any context.
    pub(crate) fn members<'g>(
        &'g self,
        _guard: &'g ReadGuard<'_>,
    ) -> impl Iterator<Item = &'g NetDevice> {
        (0..).map_while(|index| {
            // SAFETY: live by the invariant of `NetDevice`. The callee walks the list of members
            // by RCU, in the section of the guard, which the result does not outlive.
            unsafe {
                let dev = bindings::toe_bond_nth(self.as_ptr(), index);
                (!dev.is_null()).then(|| NetDevice::from_raw(dev))
            }
        })
    }

    /// The bond that it is a member of. Any context.
    pub(crate) fn bond<'g>(&self, _guard: &'g ReadGuard<'_>) -> Option<&'g NetDevice> {
        // SAFETY: as in `members()`.
        unsafe {
            let dev = bindings::toe_bond_of(self.as_ptr());
            (!dev.is_null()).then(|| NetDevice::from_raw(dev))
        }
    }

    /// Returns whether it is a member of a bond that takes no frames from it at this moment.
    pub(crate) fn is_inactive_member(&self, _guard: &ReadGuard<'_>) -> bool {
        // SAFETY: live by the invariant of `NetDevice`; the callee follows what the bond has of
        // it by RCU, in the section of the guard.
        unsafe { bindings::toe_bond_is_inactive(self.as_ptr()) }
    }
}
