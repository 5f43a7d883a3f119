// SPDX-License-Identifier: GPL-2.0

//! Both ends of a connection whose two sockets are on this machine, locked together.
//!
//! Lock order: the two spin locks by address. No other lock of a socket is taken under them,
//! and nothing is called under both that might take one: who is to be woken is woken when
//! only the receiver's is left.

use super::{
    context::Bh,
    sock::{
        BhLock,
        LockedSock,
        Sock,
        UserLock, //
    }, //
};
use crate::bindings;

/// The spin locks of two sockets.
///
/// # Invariants
///
/// Those of [`BhLock`] for both sockets, neither of which has an owner, nor gets one, but
/// for the first, which the running task may own.
pub(crate) struct SockPair<'a> {
    from: BhLock<'a>,
    to: BhLock<'a>,
}

impl Sock {
    /// Both sockets; `None` if a task owns one of them, other than by `own`, or they are one
    /// and the same. Bottom halves off, no other lock of a socket held.
    #[inline(always)]
    pub(crate) fn lock_with<'a>(
        &'a self,
        to: &'a Sock,
        own: Option<&'a UserLock<'_>>,
        _bh: &'a Bh,
    ) -> Option<SockPair<'a>> {
        if core::ptr::eq(self, to) {
            return None;
        }
        let mine = own.is_some_and(|lock| core::ptr::eq(lock.sock(), self));
        // SAFETY: both are live by the type invariant, and two sockets; bottom halves are off,
        // as for locks that softirqs take.
        if !unsafe { bindings::toe_bh_lock_pair(self.as_ptr(), to.as_ptr(), mine) } {
            return None;
        }
        // SAFETY: the callee has just taken both spin locks, which are given up by the values.
        // INVARIANT: it has seen that neither socket has an owner, and who becomes one takes
        // its spin lock for that; or this task is the owner of the first, by a lock that is
        // borrowed as long.
        unsafe {
            Some(SockPair {
                from: BhLock::assume(self),
                to: BhLock::assume(to),
            })
        }
    }
}

impl<'a> SockPair<'a> {
    /// The end that was asked.
    #[inline(always)]
    pub(crate) fn from(&self) -> LockedSock<'_> {
        // SAFETY: by the type invariant its spin lock is held as long as `self` is borrowed,
        // with no owner but this task.
        unsafe { LockedSock::assume(self.from.sock()) }
    }

    /// The other one.
    #[inline(always)]
    pub(crate) fn to(&self) -> LockedSock<'_> {
        // SAFETY: by the type invariant its spin lock is held as long as `self` is borrowed,
        // with no owner.
        unsafe { LockedSock::assume(self.to.sock()) }
    }

    /// The lock of the other one.
    #[inline(always)]
    pub(crate) fn to_lock(&self) -> &BhLock<'a> {
        &self.to
    }

    /// Gives up the lock of the end that was asked, and runs `f` under the other one.
    #[inline(always)]
    pub(crate) fn with_to<R>(self, f: impl FnOnce(LockedSock<'_>) -> R) -> R {
        drop(self.from);
        // SAFETY: by the type invariant the spin lock is held, with no owner, until `self.to`
        // is dropped, which is after `f`.
        f(unsafe { LockedSock::assume(self.to.sock()) })
    }
}
