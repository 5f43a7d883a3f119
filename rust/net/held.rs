// SPDX-License-Identifier: GPL-2.0

//! Frames of one connection that wait to be processed, guarded by its socket's lock.

use core::cell::UnsafeCell;

use super::{
    skb::{
        FrameList,
        SkBuff, //
    },
    sock::{
        LockedSock,
        Sock, //
    }, //
};
use crate::bindings;

/// A list that only the holder of one socket's lock may touch.
pub(crate) struct HeldFrames {
    sk: *const Sock,
    list: UnsafeCell<FrameList>,
}

// SAFETY: the list is reached with the socket's lock held only.
unsafe impl Sync for HeldFrames {}
// SAFETY: as above; `sk` is compared, never followed.
unsafe impl Send for HeldFrames {}

impl HeldFrames {
    /// An empty one, of a connection of `sk`.
    pub(crate) fn new(sk: &Sock) -> Self {
        HeldFrames {
            sk,
            list: UnsafeCell::new(FrameList::new()),
        }
    }

    /// Appends a frame.
    pub(crate) fn push(&self, sk: LockedSock<'_>, skb: SkBuff) {
        debug_assert!(core::ptr::eq(self.sk, sk.sock()));
        // SAFETY: `sk` proves that the lock is held; nothing borrows the list across
        // calls.
        unsafe { (*self.list.get()).push(skb) }
    }

    /// Takes all of them out.
    pub(crate) fn take(&self, sk: LockedSock<'_>) -> FrameList {
        debug_assert!(core::ptr::eq(self.sk, sk.sock()));
        // SAFETY: as in `push()`.
        unsafe { core::mem::replace(&mut *self.list.get(), FrameList::new()) }
    }
}

impl LockedSock<'_> {
    /// Does anybody wait for data now: a sleeping reader or poller, a receiver of
    /// `SIGIO`, or a user in the kernel?
    pub(crate) fn has_waiter(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_recv_waiter(self.as_ptr()) }
    }
}
