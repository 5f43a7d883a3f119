// SPDX-License-Identifier: GPL-2.0

//! User buffers: memory of a task that waits in `recvmsg(2)`, pinned, so that the holder of
//! the socket's lock can place payload there.
//!
//! The task has a [`Pinned`], the target's entry a [`BufferSlot`] that may hold
//! the same [`UserBuffer`]. Nothing is placed once it is closed, which takes the
//! lock: the count of bytes is exact from then on, whatever happens elsewhere.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use kernel::{
    ffi::c_long,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::{
    proto::{
        self,
        Msg, //
    },
    skb::SkBuff,
    sock::{
        LockedSock,
        Sock,
        UserLock, //
    },
    sync::sock_cell::SockCell, //
};
use crate::{
    bindings,
    logic::buffer::{
        Posted,
        ReaderView, //
    }, //
};

/// `MAX_SCHEDULE_TIMEOUT`: no limit.
const FOREVER: c_long = c_long::MAX;

/// See the module's documentation.
///
/// # Invariants
///
/// `raw` is zero, or describes pages that are pinned until [`Pinned`] is dropped, which is not
/// before the buffer is closed. `raw` and the pages are touched with the socket's lock held,
/// and, once it was closed or if it was never posted, by the task that pinned them only.
pub(crate) struct UserBuffer {
    raw: Opaque<bindings::toe_buffer>,
    state: SockCell<Posted>,
    /// There is something for the task to do. Read without the lock.
    complete: AtomicBool,
}

// SAFETY: by the type invariant `raw` is one context's at a time; the rest is `Sync`.
unsafe impl Sync for UserBuffer {}
// SAFETY: pinned pages belong to no task or CPU, nor does the rest.
unsafe impl Send for UserBuffer {}

impl UserBuffer {
    /// What it holds.
    pub(crate) fn state(&self, sk: LockedSock<'_>) -> Posted {
        self.state.get(sk)
    }

    /// Places payload of `skb`, from `offset` on, as much as there is room for,
    /// and gives it to the application. Any context.
    pub(crate) fn place(
        &self,
        sk: LockedSock<'_>,
        skb: &SkBuff,
        offset: u32,
        payload: u32,
        push: bool,
    ) -> u32 {
        let mut next = self.state(sk);
        let n = next.place(payload, push);
        // SAFETY: by its invariant `sk` is the lock that `raw` is touched with. A closed buffer
        // takes 0 bytes: this one is not, so that its pages are pinned. There is room for
        // `n` bytes, as `Posted` counts what `raw` does, and the callee checks what the
        // frame has.
        let filled = n != 0
            && unsafe {
                bindings::toe_buffer_fill(sk.as_ptr(), self.raw.get(), skb.as_ptr(), offset, n)
            };
        if !filled {
            return 0;
        }
        self.state.set(sk, next);
        if next.complete() {
            self.complete.store(true, Ordering::Release);
        }
        n
    }

    /// Nothing more is placed.
    pub(crate) fn close(&self, sk: LockedSock<'_>) {
        self.state.with_mut(sk, Posted::close);
        self.complete.store(true, Ordering::Release);
    }
}

/// The storage of an entry for a posted buffer (the connection buffer).
pub(crate) struct BufferSlot(SockCell<Option<Arc<UserBuffer>>>);

impl BufferSlot {
    /// An empty one, of an entry of `sk`.
    pub(crate) fn new(sk: &Sock) -> Self {
        BufferSlot(SockCell::new(sk, None))
    }

    /// Returns whether there is a buffer.
    #[inline(always)]
    pub(crate) fn posted(&self, sk: LockedSock<'_>) -> bool {
        self.0.with(sk, Option::is_some)
    }

    /// The buffer.
    pub(crate) fn get(&self, sk: LockedSock<'_>) -> Option<Arc<UserBuffer>> {
        self.0.with(sk, Clone::clone)
    }

    /// Puts one in. `false`: there is one already.
    pub(crate) fn put(&self, sk: LockedSock<'_>, buffer: &Pinned) -> bool {
        if self.posted(sk) {
            return false;
        }
        buffer.posted.store(true, Ordering::Relaxed);
        drop(self.0.replace(sk, Some(buffer.buffer.clone())));
        true
    }

    /// Takes it out and closes it.
    pub(crate) fn take(&self, sk: LockedSock<'_>) -> Option<Arc<UserBuffer>> {
        let buffer = self.0.replace(sk, None)?;
        buffer.close(sk);
        Some(buffer)
    }
}

/// The waiting task's side: the pages are unpinned when it is dropped.
pub(crate) struct Pinned {
    buffer: Arc<UserBuffer>,
    posted: AtomicBool,
}

impl Pinned {
    /// Pins the first `len` bytes of the message's memory. Process context, no
    /// lock held: it may have to be faulted in.
    pub(crate) fn new(sk: &Sock, msg: &Msg<'_>, len: u32) -> Result<Self> {
        let buffer = Arc::new(
            UserBuffer {
                raw: Opaque::zeroed(),
                state: SockCell::new(sk, Posted::default()),
                complete: AtomicBool::new(false),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: the message is this call's by the invariant of `Msg`; the callee works on a
        // copy of its iterator. Nobody else has the structure yet, which is zeroed, as it
        // wants it. Process context: may sleep.
        // INVARIANT: the pages are pinned, or the buffer goes, zero.
        proto::check(unsafe {
            bindings::toe_buffer_pin(buffer.raw.get(), msg.as_ptr(), len as usize)
        })?;
        Ok(Pinned {
            buffer,
            posted: AtomicBool::new(false),
        })
    }

    /// Sets what is waited for. Before it is posted.
    pub(crate) fn set(&self, sk: LockedSock<'_>, state: Posted) {
        self.buffer.state.set(sk, state);
    }

    /// What it holds.
    pub(crate) fn state(&self, sk: LockedSock<'_>) -> Posted {
        self.buffer.state(sk)
    }

    /// Nothing more is placed: the task will return.
    pub(crate) fn close(&self, sk: LockedSock<'_>) {
        self.buffer.close(sk);
    }

    /// Waits, without the lock, until it is complete or something else happened.
    /// An error: the socket was disconnected.
    pub(crate) fn wait(&self, lock: &mut UserLock<'_>, timeout: &mut c_long) -> Result {
        let done = self.buffer.complete.as_ptr();
        // SAFETY: by the invariant of `UserLock` this task owns the socket and may sleep; the
        // mutable borrow leaves no proof of the lock, which the callee gives up meanwhile.
        // `self` keeps the buffer, which `done` is in; that is read as by `READ_ONCE()`.
        let ret = unsafe { bindings::toe_recv_wait(lock.as_ptr(), timeout, done) };
        if ret < 0 {
            Err(Error::from_errno(ret))
        } else {
            Ok(())
        }
    }

    /// `placed` bytes are to be returned: returns whether they are in the application's
    /// memory. Closed.
    pub(crate) fn finish(&self, _lock: &UserLock<'_>, msg: &mut Msg<'_>, placed: u32) -> bool {
        // SAFETY: the message is this call's by the invariant of `Msg`, and the task that runs
        // the one that pinned the pages. The buffer is closed, so that by its invariant it
        // is this task's; no more than `placed` bytes are in it. The lock is evidence of
        // process context: may sleep.
        unsafe { bindings::toe_buffer_finish(self.buffer.raw.get(), msg.as_ptr(), placed) }
    }

    /// Puts the `placed` bytes back to the receive queue, and tells how many are
    /// still out: no memory, or others have read on. Closed. Process context.
    pub(crate) fn put_back(&self, lock: &UserLock<'_>, placed: u32) -> u32 {
        // SAFETY: by the invariant of `UserLock` this task owns the socket, whose receive queue
        // the callee writes to, and may sleep. The buffer is closed, so that by its invariant
        // it is this task's.
        unsafe { bindings::toe_buffer_put_back(lock.as_ptr(), self.buffer.raw.get(), placed) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // This task closed it, or it was never posted: nobody else touches the state any
        // more.
        let state = self.buffer.state.peek();
        if self.posted.load(Ordering::Relaxed) && !state.closed() {
            pr_err!("a user buffer is still posted: its pages stay pinned\n");
            return;
        }
        // SAFETY: closed or never posted, as was just seen, so that by its invariant the buffer
        // is this task's, the one that pinned the pages; unpinned once. Process context, as
        // that of `recvmsg`: may sleep.
        unsafe { bindings::toe_buffer_unpin(self.buffer.raw.get(), state.placed() != 0) }
    }
}

impl LockedSock<'_> {
    /// Nothing about the call, or what was set on the socket for reading, needs
    /// the host's own `recvmsg`.
    pub(crate) fn reads_plainly(&self, msg: &Msg<'_>) -> bool {
        // SAFETY: live and locked by the type invariant; the message is this call's by that of
        // `Msg`. The callee only looks.
        unsafe { bindings::toe_recv_is_plain(self.as_ptr(), msg.as_ptr()) }
    }

    /// How long `recvmsg` may wait, in jiffies.
    pub(crate) fn receive_timeout(&self) -> c_long {
        // SAFETY: live by the type invariant; the callee reads a word.
        unsafe { bindings::toe_recv_timeo(self.as_ptr()) }
    }

    /// What a reader looks at.
    pub(crate) fn reader_view(&self, timeout: c_long, disconnected: bool) -> ReaderView {
        let mut view = bindings::toe_recv_view::default();
        // SAFETY: live and locked by the type invariant, so that the receive queue stays as it
        // is while the callee looks; `view` is ours.
        unsafe { bindings::toe_recv_look(self.as_ptr(), &mut view) };
        ReaderView {
            disconnected,
            queued: view.queued,
            stopped: view.stopped,
            shutdown: view.shutdown,
            expired: timeout == 0,
            signal: view.signal,
        }
    }

    /// `tcp_rcv_space_adjust()`: the application has taken payload.
    pub(crate) fn receive_space_adjust(&self) {
        // SAFETY: live and locked by the type invariant, as `tcp_read_done()` wants it, which
        // is told of 0 bytes and takes none out of the queue.
        unsafe { bindings::toe_recv_space_adjust(self.as_ptr()) }
    }

    /// Returns whether anybody waits for data now: a sleeping reader or poller, a receiver
    /// of `SIGIO`, or a user in the kernel.
    pub(crate) fn has_waiter(&self) -> bool {
        // SAFETY: live by the type invariant; the callee has an RCU section for the wait queue.
        unsafe { bindings::toe_recv_waiter(self.as_ptr()) }
    }

    /// Wakes the readers, though the receive queue may be empty.
    pub(crate) fn wake_readers(&self) {
        // SAFETY: live and locked by the type invariant, as when `tcp_data_ready()` calls the
        // same; in any context, nobody holds `sk_callback_lock` for writing.
        unsafe { bindings::toe_recv_wake(self.as_ptr()) }
    }
}

impl UserLock<'_> {
    /// Processes the backlog. Everything may be different afterwards.
    pub(crate) fn flush_backlog(&mut self) {
        // SAFETY: by the type invariant this task owns the socket and may sleep; the mutable
        // borrow leaves no proof of the lock from before.
        unsafe { bindings::toe_recv_flush(self.as_ptr()) };
    }

    /// Waits for payload in the receive queue, or an end, without the lock meanwhile.
    pub(crate) fn wait_queue(&mut self, timeout: &mut c_long) -> Result {
        // SAFETY: by the type invariant this task owns the socket and may sleep; the mutable
        // borrow leaves no proof of the lock, which the callee gives up meanwhile.
        proto::check(unsafe { bindings::toe_recv_wait_queue(self.as_ptr(), timeout) })
    }
}

/// Returns whether a wait with this timeout has no end of its own.
pub(crate) fn is_forever(timeout: c_long) -> bool {
    timeout == FOREVER
}

/// What an interrupted call returns (`sock_intr_errno()`).
pub(crate) fn interrupted(timeout: c_long) -> Error {
    // SAFETY: no preconditions: a function of its argument.
    Error::from_errno(unsafe { bindings::toe_recv_intr(timeout) })
}

impl Sock {
    /// How many bytes `recvmsg` waits for (`sock_rcvlowat()`).
    pub(crate) fn receive_target(&self, all: bool, len: u32) -> u32 {
        // SAFETY: live by the invariant of `Sock`; the callee reads a word, as by
        // `READ_ONCE()`.
        unsafe { bindings::toe_recv_target(self.as_ptr(), all, len as usize) as u32 }
    }
}
