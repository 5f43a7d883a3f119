// SPDX-License-Identifier: GPL-2.0

//! Data guarded by a socket's lock.

use core::cell::UnsafeCell;
#[cfg(debug_assertions)]
use core::{
    cell::Cell,
    ptr, //
};

use crate::net::sock::{
    LockedSock,
    Sock, //
};

/// A value that only the holder of one socket's lock may touch.
///
/// No reference into the cell outlives a call. A hook that is entered again under the same
/// lock (an ACK sent while a frame is received) may come back to a cell, but not from
/// within [`with`](Self::with) or [`with_mut`](Self::with_mut) of that very cell: what is
/// called there must not lead into the networking stack. Builds with debug assertions
/// check that, and that the lock is the right socket's.
///
/// # Invariants
///
/// The lock is that of the socket the cell was made for: where a cell is found, its socket
/// is known (both are reached from one record or entry, which belongs to one socket).
pub(crate) struct SockCell<T> {
    /// Compared, never followed.
    #[cfg(debug_assertions)]
    sk: *const Sock,
    /// Whether a call of `with()` or `with_mut()` is under way.
    #[cfg(debug_assertions)]
    lent: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one context at a time, which holds the lock of the
// socket that the cell belongs to; so is `lent`. `peek()` is for plain data.
unsafe impl<T: Send> Sync for SockCell<T> {}
// SAFETY: nothing in it belongs to a task or CPU; `sk` is compared only.
unsafe impl<T: Send> Send for SockCell<T> {}

/// Looks after one call of [`SockCell::with`] or [`SockCell::with_mut`].
#[cfg(debug_assertions)]
struct Lent<'a>(&'a Cell<bool>);

#[cfg(debug_assertions)]
impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<T> SockCell<T> {
    /// A cell that belongs to `sk`.
    #[inline(always)]
    pub(crate) fn new(sk: &Sock, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = sk;
        SockCell {
            #[cfg(debug_assertions)]
            sk,
            #[cfg(debug_assertions)]
            lent: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(debug_assertions)]
    fn lend(&self, sk: LockedSock<'_>) -> Lent<'_> {
        assert!(ptr::eq(self.sk, sk.sock()), "the lock of another socket");
        assert!(!self.lent.replace(true), "a cell is entered twice");
        Lent(&self.lent)
    }

    /// What `f` makes of the value; `f` must not enter the networking stack.
    #[inline(always)]
    pub(crate) fn with<R>(&self, sk: LockedSock<'_>, f: impl FnOnce(&T) -> R) -> R {
        self.with_mut(sk, |value| f(value))
    }

    /// Changes the value in place; `f` must not enter the networking stack.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, sk: LockedSock<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _lent = self.lend(sk);
        #[cfg(not(debug_assertions))]
        let _ = sk;
        // SAFETY: `sk` proves that this context alone holds the lock that guards the value,
        // and `f` does not come back here.
        f(unsafe { &mut *self.value.get() })
    }

    /// Puts another value in; the one before.
    #[inline(always)]
    pub(crate) fn replace(&self, sk: LockedSock<'_>, value: T) -> T {
        self.with_mut(sk, |old| core::mem::replace(old, value))
    }
}

impl<T: Copy> SockCell<T> {
    /// The value.
    #[inline(always)]
    pub(crate) fn get(&self, sk: LockedSock<'_>) -> T {
        self.with(sk, |value| *value)
    }

    /// Replaces the value.
    #[inline(always)]
    pub(crate) fn set(&self, sk: LockedSock<'_>, value: T) {
        self.with_mut(sk, |old| *old = value);
    }

    /// A copy without the lock, for display: it may be torn, as the output of
    /// `ss` may be.
    pub(crate) fn peek(&self) -> T {
        // SAFETY: the cell is alive, `T` is plain data that is never dropped or
        // followed; a torn value is displayed and nothing else.
        unsafe { core::ptr::read_volatile(self.value.get()) }
    }
}
