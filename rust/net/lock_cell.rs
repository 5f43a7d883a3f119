// SPDX-License-Identifier: GPL-2.0

//! Data guarded by a socket's lock.

use core::cell::UnsafeCell;

use kernel::sync::Arc;

use super::sock::{
    LockedSock,
    Sock, //
};

/// A value that only the holder of one socket's lock may touch.
///
/// No reference into the cell outlives a call, so that a hook which is entered
/// again under the same lock (an ACK sent while a frame is received) cannot alias
/// one.
pub(crate) struct SockCell<T> {
    sk: *const Sock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached with the socket's lock held only.
unsafe impl<T: Send> Sync for SockCell<T> {}
// SAFETY: as above; `sk` is compared, never followed.
unsafe impl<T: Send> Send for SockCell<T> {}

impl<T: Copy> SockCell<T> {
    /// A cell that belongs to `sk`.
    pub(crate) fn new(sk: &Sock, value: T) -> Self {
        SockCell {
            sk,
            value: UnsafeCell::new(value),
        }
    }

    fn owned_by(&self, sk: LockedSock<'_>) -> bool {
        core::ptr::eq(self.sk, sk.sock())
    }

    /// The value. The default if `sk` is another socket.
    #[inline]
    pub(crate) fn get(&self, sk: LockedSock<'_>) -> T {
        debug_assert!(self.owned_by(sk));
        // SAFETY: `sk` proves that this context holds the lock of the socket
        // that the cell belongs to; nothing borrows the value across calls.
        unsafe { *self.value.get() }
    }

    /// Replaces the value.
    #[inline]
    pub(crate) fn set(&self, sk: LockedSock<'_>, value: T) {
        debug_assert!(self.owned_by(sk));
        // SAFETY: as in `get()`.
        unsafe { *self.value.get() = value }
    }

    /// Reads the value in place; `f` must not enter the networking stack.
    #[inline(always)]
    pub(crate) fn with<R>(&self, sk: LockedSock<'_>, f: impl FnOnce(&T) -> R) -> R {
        debug_assert!(self.owned_by(sk));
        // SAFETY: as in `get()`; `f` does not come back here by its contract.
        f(unsafe { &*self.value.get() })
    }

    /// Changes the value in place; `f` must not enter the networking stack.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, sk: LockedSock<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        debug_assert!(self.owned_by(sk));
        // SAFETY: as in `get()`; `f` does not come back here by its contract.
        f(unsafe { &mut *self.value.get() })
    }

    /// A copy without the lock, for display: it may be torn, as the output of
    /// `ss` may be.
    pub(crate) fn peek(&self) -> T {
        // SAFETY: the cell is alive, `T` is plain data that is never dropped or
        // followed; a torn value is displayed and nothing else.
        unsafe { core::ptr::read_volatile(self.value.get()) }
    }
}

/// A counted reference that only the holder of one socket's lock may read or replace.
pub(crate) struct SockArc<T>(SockCell<()>, UnsafeCell<Arc<T>>);

// SAFETY: the reference is reached with the socket's lock held only.
unsafe impl<T: Send + Sync> Sync for SockArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for SockArc<T> {}

impl<T> SockArc<T> {
    /// A reference that belongs to `sk`.
    pub(crate) fn new(sk: &Sock, value: Arc<T>) -> Self {
        SockArc(SockCell::new(sk, ()), UnsafeCell::new(value))
    }

    /// The reference.
    pub(crate) fn get(&self, sk: LockedSock<'_>) -> Arc<T> {
        debug_assert!(self.0.owned_by(sk));
        // SAFETY: `sk` proves that this context holds the lock of the socket that the
        // value belongs to; nothing borrows it across calls.
        unsafe { (*self.1.get()).clone() }
    }

    /// Replaces it.
    pub(crate) fn set(&self, sk: LockedSock<'_>, value: Arc<T>) {
        debug_assert!(self.0.owned_by(sk));
        // SAFETY: as in `get()`. What was there is dropped behind the exchange.
        drop(core::mem::replace(unsafe { &mut *self.1.get() }, value));
    }
}
