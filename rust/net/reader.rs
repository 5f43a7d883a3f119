// SPDX-License-Identifier: GPL-2.0

//! Plain reads: a task takes what is in the receive queue in one section of the socket's
//! spin lock, or sleeps until there is something.
//!
//! It sleeps in a [`ReaderSlot`], which has a place of its own in the socket's wait queue:
//! who wakes that wakes the task, and the target's engine wakes it with nothing between.

use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        Ordering, //
    }, //
};

use kernel::prelude::*;

use super::{
    memcg,
    proto::Msg,
    sock::{
        FastLock,
        LockedSock,
        Sock, //
    },
    sync::rcu::ReadGuard, //
};
use crate::bindings;

/// What came of a sleep.
pub(crate) enum Slept {
    /// So many bytes, which are in the application's memory.
    Bytes(usize),
    /// The task was woken, and there is nothing for it.
    Again,
    /// The host's function has to look: at what is set on the socket, at what came, at a
    /// signal. Or another task sleeps here.
    No,
}

/// How many connections' bytes wait for a read of the other end.
pub(crate) fn awaiting_reads() -> &'static AtomicU32 {
    // SAFETY: the callee returns a word of the module's, aligned, which C only reads, as a
    // single word.
    unsafe { AtomicU32::from_ptr(bindings::toe_recv_awaited()) }
}

impl<'a> FastLock<'a> {
    /// Gives the lock up, and sleeps in the slot that `find` returns until there is something
    /// for `msg`, which is then taken. `again` finds the slot without the lock, if the socket
    /// still has it. Process context.
    #[inline(always)]
    pub(crate) fn sleep(
        self,
        msg: &mut Msg<'_>,
        find: impl for<'g> FnOnce(LockedSock<'_>, &'g ReadGuard<'_>) -> Option<&'g ReaderSlot>,
        again: impl for<'g> FnOnce(&Sock, &'g ReadGuard<'_>) -> Option<&'g ReaderSlot>,
    ) -> Slept {
        let mut reader = bindings::toe_reader {
            task: kernel::current!().as_ptr().cast(),
            woken: false,
        };
        let this = &raw mut reader;
        // SAFETY: live and locked by the type invariant; the message is this call's by that of
        // `Msg`, and is only read.
        let put = unsafe { bindings::toe_recv_may_sleep(self.locked().as_ptr(), msg.as_ptr()) }
            && {
                let guard = ReadGuard::within(self.bh());
                find(self.locked(), &guard).is_some_and(|slot| slot.put(self.locked(), this))
            };
        if !put {
            return Slept::No;
        }
        let sk = self.into_sock();
        // SAFETY: the lock is this task's, and given up by the callee, process context;
        // `reader` says which task it is, and the message is this call's.
        let ret = unsafe { bindings::toe_reader_sleep(sk.as_ptr(), msg.as_ptr(), msg.len(), this) };
        match ret {
            0 => Slept::Again,
            bindings::TOE_READ_HOST => Slept::No,
            bindings::TOE_READ_SIGNAL => {
                Self::wake_up(sk, this, again);
                Slept::No
            }
            n => Slept::Bytes(n as usize),
        }
    }

    /// Takes the reader out of the slot where it was not woken.
    #[cold]
    fn wake_up(
        sk: &Sock,
        reader: *mut bindings::toe_reader,
        find: impl for<'g> FnOnce(&Sock, &'g ReadGuard<'_>) -> Option<&'g ReaderSlot>,
    ) {
        let guard = ReadGuard::new();
        let taken_out = find(sk, &guard).is_some_and(|slot| slot.take_out(reader));
        drop(guard);
        if !taken_out {
            // SAFETY: the caller's, which was in a slot and is no longer: who took it out does
            // not touch it any more when the callee returns.
            unsafe { bindings::toe_reader_settle(reader) };
        }
    }
}

/// A place where a task sleeps in a read of one connection. Made of a box of its own with the
/// first one.
///
/// # Invariants
///
/// Null, or a box of the slot's, zeroed at first, which changes no more and is freed with the
/// slot. Its `reader` is null, or that of a task that does not leave [`FastLock::sleep`] before
/// it was taken out. It is in no wait queue when the slot is dropped.
pub(crate) struct ReaderSlot(AtomicPtr<bindings::toe_read_wait>);

impl ReaderSlot {
    pub(crate) const fn new() -> Self {
        ReaderSlot(AtomicPtr::new(ptr::null_mut()))
    }

    /// `None`: nobody has slept here.
    #[inline(always)]
    fn wait(&self) -> Option<NonNull<bindings::toe_read_wait>> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }

    /// The task of `reader` is going to sleep here. `false`: it may not.
    #[inline(always)]
    fn put(&self, sk: LockedSock<'_>, reader: *mut bindings::toe_reader) -> bool {
        let Some(wait) = self.wait().or_else(|| self.make()) else {
            return false;
        };
        // SAFETY: a box by the type invariant, whose queue is written under the lock of one
        // socket, which `sk` proves. `reader` stays where it is until it was taken out.
        unsafe { bindings::toe_reader_put(sk.as_ptr(), wait.as_ptr(), reader) }
    }

    /// Under the socket's lock, so that no two make one.
    #[cold]
    fn make(&self) -> Option<NonNull<bindings::toe_read_wait>> {
        let wait = KBox::new(bindings::toe_read_wait::default(), memcg::atomic()).ok()?;
        // INVARIANT: the first one, and zeroed.
        let wait = KBox::into_raw(wait);
        self.0.store(wait, Ordering::Release);
        NonNull::new(wait)
    }

    /// `false`: another one does so, and wakes the task.
    fn take_out(&self, reader: *mut bindings::toe_reader) -> bool {
        // SAFETY: a box by the type invariant; the callee compares the pointer.
        self.wait()
            .is_some_and(|wait| unsafe { bindings::toe_reader_take_out(wait.as_ptr(), reader) })
    }

    /// Wakes the task that sleeps here, if there is one. Any context.
    #[inline(always)]
    pub(crate) fn wake(&self) {
        if let Some(wait) = self.wait() {
            // SAFETY: a box by the type invariant, as is what its reader is.
            unsafe { bindings::toe_reader_wake(wait.as_ptr()) };
        }
    }

    /// Leaves the wait queue, for good: the connection is about to have another slot or none.
    /// Any context, under the socket's spin lock or by its owner.
    pub(crate) fn leave(&self) {
        if let Some(wait) = self.wait() {
            // SAFETY: a box by the type invariant. The queue, if it is in one, is that of the
            // socket, whose `close()` comes after this: the caller says that the lock is held.
            unsafe { bindings::toe_read_wait_leave(wait.as_ptr()) };
        }
    }
}

impl Drop for ReaderSlot {
    fn drop(&mut self) {
        if let Some(wait) = self.wait() {
            // SAFETY: a box by the type invariant, from `KBox::into_raw()`, which nobody looks
            // at any more: it is in no queue, and nobody else has the slot.
            drop(unsafe { KBox::from_raw(wait.as_ptr()) });
        }
    }
}

impl LockedSock<'_> {
    /// Payload has come (`tcp_data_ready()`): wakes readers and pollers if `SO_RCVLOWAT` is
    /// reached, and the task in `slot` first.
    #[inline(always)]
    pub(crate) fn data_ready(&self, slot: Option<&ReaderSlot>) {
        let wait = slot.and_then(ReaderSlot::wait);
        let wait = wait.map_or(ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: live and locked by the type invariant, as when `tcp_data_queue()` calls the
        // host's function; `wait` is null or a box by the invariant of `ReaderSlot`.
        unsafe { bindings::toe_recv_data_ready(self.as_ptr(), wait) }
    }
}
