// SPDX-License-Identifier: GPL-2.0

//! Evidence of what the current context holds: bottom halves off, rtnl held.
//!
//! The types here have no size. A function that may only run in such a context
//! takes a reference to one, and callbacks hand them to drivers.

use core::ops::Deref;

use kernel::types::NotThreadSafe;

use crate::bindings;

/// Evidence that bottom halves are disabled on this CPU.
///
/// Such a section is an RCU read section too, and nothing in it may sleep.
///
/// # Invariants
///
/// Bottom halves stay disabled as long as a value exists.
pub(crate) struct Bh(NotThreadSafe);

impl Bh {
    /// Asserts that bottom halves are disabled.
    ///
    /// # Safety
    ///
    /// Bottom halves must be disabled for the whole life of the returned value.
    #[inline(always)]
    pub(in crate::net) unsafe fn assume() -> Self {
        // INVARIANT: what this function requires.
        Bh(NotThreadSafe)
    }
}

/// A section with bottom halves disabled; may be nested.
pub(crate) struct BhGuard(Bh);

impl BhGuard {
    /// Disables bottom halves until the guard is dropped.
    #[inline]
    pub(crate) fn new() -> Self {
        // SAFETY: may be called in any context but hard interrupts, where no
        // Rust code of this module runs.
        unsafe { bindings::toe_local_bh_disable() };
        // INVARIANT: just disabled, and enabled again by `drop` only.
        BhGuard(Bh(NotThreadSafe))
    }
}

impl Deref for BhGuard {
    type Target = Bh;

    #[inline]
    fn deref(&self) -> &Bh {
        &self.0
    }
}

impl Drop for BhGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: balances the call in `new`, on the same CPU.
        unsafe { bindings::toe_local_bh_enable() };
    }
}

/// Evidence that this task holds the rtnl lock.
///
/// # Invariants
///
/// The lock stays held as long as a value exists.
pub(crate) struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Asserts that rtnl is held.
    ///
    /// # Safety
    ///
    /// This task must hold rtnl for the whole life of the returned value.
    #[inline(always)]
    pub(in crate::net) unsafe fn assume() -> Self {
        // INVARIANT: what this function requires.
        Rtnl(NotThreadSafe)
    }
}

/// Waits until every receive and transmit section that runs now has ended.
///
/// Takes evidence of a sleeping context, because it sleeps.
pub(crate) fn synchronize_net(_rtnl: &Rtnl) {
    // SAFETY: rtnl is a mutex, so whoever holds it may sleep.
    unsafe { bindings::toe_synchronize_net() };
}
