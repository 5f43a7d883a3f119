// SPDX-License-Identifier: GPL-2.0

//! Evidence of what the current context holds: bottom halves off, rtnl held.
//!
//! A function that may only run in such a context takes a reference to one of
//! these types, and callbacks hand them to drivers.

use core::{
    cell::Cell,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    types::NotThreadSafe, //
};

use crate::bindings;

/// Evidence that bottom halves are disabled on this CPU.
///
/// Such a section is an RCU read section too, and nothing in it may sleep.
///
/// # Invariants
///
/// Bottom halves stay disabled as long as a value exists.
pub(crate) struct Bh {
    /// What to do at its end, for those that do such things.
    at_end: Cell<AtEnd>,
    _not_send: NotThreadSafe,
}

/// What the end of a [`Bh`] section does.
#[derive(Clone, Copy)]
pub(super) enum AtEnd {
    /// Nothing: work is raised as a softirq.
    Raised,
    /// One piece of work, none yet.
    Idle,
    /// This one: a function, and what it is called with.
    Work(DeferredFn, NonNull<c_void>),
}

/// Work put off to the end of a [`Doorbell`].
///
/// # Safety
///
/// Called once, with the pointer that came with it.
pub(super) type DeferredFn = unsafe fn(NonNull<c_void>, &Bh);

impl Bh {
    const fn with(at_end: AtEnd) -> Self {
        Bh {
            at_end: Cell::new(at_end),
            _not_send: NotThreadSafe,
        }
    }

    /// Is this a [`Doorbell`]'s section, and not a softirq's?
    #[inline(always)]
    pub(crate) fn is_doorbell(&self) -> bool {
        !matches!(self.at_end.get(), AtEnd::Raised)
    }

    #[inline(always)]
    pub(super) fn at_end(&self) -> &Cell<AtEnd> {
        &self.at_end
    }

    /// Asserts that bottom halves are disabled.
    ///
    /// # Safety
    ///
    /// Bottom halves must be disabled for the whole life of the returned value.
    #[inline(always)]
    pub(in crate::net) unsafe fn assume() -> Self {
        // INVARIANT: what this function requires.
        Bh::with(AtEnd::Raised)
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
        BhGuard(Bh::with(AtEnd::Raised))
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

/// Pieces of work a [`Doorbell`] does itself before it leaves the rest to the
/// softirq.
const ROUNDS: u32 = 4;

/// A section in which a task hands frames to a device, at whose end it does the
/// receiver's work itself where nobody else is at it, instead of raising a softirq
/// that would run in the same place a moment later.
///
/// For system calls only: the receiver's work takes stack.
pub(crate) struct Doorbell(BhGuard);

impl Doorbell {
    #[inline]
    pub(crate) fn new() -> Self {
        let guard = BhGuard::new();
        guard.at_end.set(AtEnd::Idle);
        Doorbell(guard)
    }
}

impl Deref for Doorbell {
    type Target = Bh;

    #[inline]
    fn deref(&self) -> &Bh {
        &self.0
    }
}

impl Drop for Doorbell {
    #[inline]
    fn drop(&mut self) {
        for round in 1..=ROUNDS {
            let AtEnd::Work(work, arg) = self.0.at_end.get() else {
                break;
            };
            // What the last round leaves is raised.
            self.0.at_end.set(match round {
                ROUNDS => AtEnd::Raised,
                _ => AtEnd::Idle,
            });
            // SAFETY: they came together, and are called once: `at_end` has
            // something else now.
            unsafe { work(arg, &self.0) };
        }
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
