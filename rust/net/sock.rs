// SPDX-License-Identifier: GPL-2.0

//! Sockets: references, the socket lock, and what the offload decision reads.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use core::{
    ops::Deref,
    ptr::{
        addr_of,
        NonNull, //
    }, //
};

use kernel::{
    ffi::c_long,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

use super::context::{
    Bh,
    BhGuard, //
};
use crate::bindings;

/// A TCP socket: `struct sock`, which is the head of `struct tcp_sock`.
///
/// # Invariants
///
/// The pointed-to object is a live, full TCP socket (never a request or
/// time-wait socket) for as long as the reference exists.
#[repr(transparent)]
pub(crate) struct Sock(Opaque<bindings::sock>);

// SAFETY: `struct sock` is reference counted and may be released on any CPU.
unsafe impl Send for Sock {}
// SAFETY: the connection's state is reached through `LockedSock` only. What is read without
// the lock (`priority()`, `tx_queue()` and the like) are single words, read whole, which the
// kernel's own lockless readers see change as well.
unsafe impl Sync for Sock {}

// SAFETY: `sock_hold()` and `sock_put()` maintain `sk_refcnt`.
unsafe impl AlwaysRefCounted for Sock {
    fn inc_ref(&self) {
        // SAFETY: live by the type invariant, and by a reference, as `self` is one in an
        // `ARef`.
        unsafe { bindings::toe_sock_hold(self.as_ptr()) }
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller owns one reference and gives it up here.
        unsafe { bindings::toe_sock_put(obj.as_ptr().cast()) }
    }
}

impl Sock {
    /// # Safety
    ///
    /// `ptr` is a live, full TCP socket for the whole of `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::sock) -> &'a Self {
        // SAFETY: `Sock` is transparent over `struct sock`, and an `Opaque`: C may write to it
        // meanwhile. The caller promises that it is live for `'a`.
        // INVARIANT: and that it is a full TCP socket.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::sock {
        self.0.get()
    }

    /// Takes a reference unless the socket is already being freed.
    pub(crate) fn try_hold(&self) -> Option<ARef<Self>> {
        // SAFETY: live by the type invariant, be it without a reference that is ours.
        if unsafe { bindings::toe_sock_tryhold(self.as_ptr()) } {
            // SAFETY: the reference just taken moves into the `ARef`.
            Some(unsafe { ARef::from_raw(NonNull::from(self)) })
        } else {
            None
        }
    }

    /// `lock_sock()`. Process context; may sleep without bound, because the owner may sleep
    /// in memory that a user serves: for that user's own calls only.
    pub(crate) fn lock(&self) -> UserLock<'_> {
        // SAFETY: live by the type invariant; may sleep, as the caller is in process context.
        unsafe { bindings::toe_lock_sock(self.as_ptr()) };
        // SAFETY: this task owns the lock since just now, and gives it up by the value.
        unsafe { UserLock::assume(self) }
    }

    /// [`lock`](Self::lock), unless a task owns it. Process context.
    #[inline(always)]
    pub(crate) fn lock_nowait(&self) -> Option<UserLock<'_>> {
        // SAFETY: live by the type invariant; process context, as the caller's is.
        if !unsafe { bindings::toe_lock_sock_nowait(self.as_ptr()) } {
            return None;
        }
        // SAFETY: this task owns the lock since just now, and gives it up by the value.
        Some(unsafe { UserLock::assume(self) })
    }

    /// [`lock`](Self::lock), but waits for the owner no longer than what is left of `patience`.
    /// Not for a connection that was not accepted yet. Process context; sleeps.
    pub(crate) fn lock_within(&self, patience: &mut Patience) -> Option<UserLock<'_>> {
        // SAFETY: live by the type invariant; may sleep, as the caller is in process context.
        // The number is ours by the mutable borrow.
        if !unsafe { bindings::toe_lock_sock_timeout(self.as_ptr(), &raw mut patience.0) } {
            return None;
        }
        // SAFETY: this task owns the lock since just now, and gives it up by the value.
        Some(unsafe { UserLock::assume(self) })
    }

    /// The spin lock, unless a task owns the socket: `lock_sock_fast()` without waiting.
    /// Process context.
    #[inline(always)]
    pub(crate) fn lock_fast(&self) -> Option<FastLock<'_>> {
        // SAFETY: live by the type invariant; process context, as the caller's is.
        if !unsafe { bindings::toe_sock_lock_fast(self.as_ptr()) } {
            return None;
        }
        Some(FastLock {
            sk: self,
            // SAFETY: the callee has disabled bottom halves, until the value is dropped.
            section: unsafe { Bh::assume() },
        })
    }

    /// Runs `f` under the socket's lock, or `busy` if a task owns it; no other task can take
    /// or release the lock during either. Neither may sleep. Process context; does not wait.
    ///
    /// A connection that was not accepted yet is locked as in softirq: no task may own its
    /// lock when its listener ends (`inet_csk_listen_stop()`).
    pub(crate) fn with_lock<R>(
        &self,
        f: impl FnOnce(LockedSock<'_>) -> R,
        busy: impl FnOnce(&BhLock<'_>) -> R,
    ) -> R {
        {
            let bh = BhGuard::new();
            let lock = self.bh_lock(&bh);
            match lock.try_own() {
                None => return busy(&lock),
                Some(sk) if !self.has_socket() => return f(sk),
                // SAFETY: nobody owns the socket, and the spin lock, `lock`, is held: the
                // callee makes this task the owner, and gives the spin lock up, which
                // `lock`, forgotten, does not do once more.
                Some(_) => unsafe { bindings::toe_bh_unlock_own(self.as_ptr()) },
            }
            core::mem::forget(lock);
        }
        // SAFETY: this task owns the lock since above, of which lockdep is told, and gives it
        // up by the value.
        let lock = unsafe {
            bindings::toe_sock_owned_from_here(self.as_ptr());
            UserLock::assume(self)
        };
        f(lock.locked())
    }

    /// Returns whether it belongs to an application: accepted, and not closed.
    fn has_socket(&self) -> bool {
        // SAFETY: live by the type invariant; an aligned pointer, which C writes in one piece,
        // and which is only compared with null.
        unsafe {
            !addr_of!((*self.as_ptr()).sk_socket)
                .read_volatile()
                .is_null()
        }
    }

    /// `bh_lock_sock_nested()`. Softirq context. The holder may touch the connection only
    /// with what [`BhLock::try_own`] returns.
    pub(crate) fn bh_lock<'a>(&'a self, _bh: &'a Bh) -> BhLock<'a> {
        // SAFETY: live by the type invariant; bottom halves are off, as for a lock that
        // softirqs take.
        unsafe { bindings::toe_bh_lock_sock(self.as_ptr()) };
        // INVARIANT: just taken.
        BhLock(self)
    }

    /// The transmit queue that the host chose for the connection, if it has sent
    /// anything since it has its route (`sk_tx_queue_get()`).
    pub(crate) fn tx_queue(&self) -> Option<u16> {
        // SAFETY: live by the type invariant; an aligned integer, which C writes in one piece.
        let queue =
            unsafe { addr_of!((*self.as_ptr()).__sk_common.skc_tx_queue_mapping).read_volatile() };
        // NO_QUEUE_MAPPING
        (queue != u16::MAX).then_some(queue)
    }

    /// Priority of the connection's frames (`SO_PRIORITY`, also set by `IP_TOS`).
    pub(crate) fn priority(&self) -> u32 {
        // SAFETY: live by the type invariant; an aligned integer, which C writes in one piece.
        unsafe { addr_of!((*self.as_ptr()).sk_priority).read_volatile() }
    }

    /// Address family of the socket itself (`AF_INET6` also when it carries
    /// IPv4). Constant but for `IPV6_ADDRFORM`, before which we upload.
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: live by the type invariant; an aligned integer, which does not change while
        // anything of ours looks at it: `IPV6_ADDRFORM` comes with the connection uploaded.
        unsafe { (*self.as_ptr()).__sk_common.skc_family }
    }
}

/// Proof that the socket lock is held in one of its two forms, so that this
/// context alone may read and write the connection's state.
///
/// It is lent by the lock ([`UserLock::locked`], [`BhLock::try_own`]) and does not outlive
/// it. What gives the lock up for a while, or needs process context, is not here but at
/// [`UserLock`], and takes it by `&mut`: no proof is left over from before.
///
/// # Invariants
///
/// For all of `'a` the socket is live, and its lock is this context's: owned by this task,
/// or its spin lock held with no task owning it.
///
/// From that follows: the fields and queues of the connection are written by this context
/// only. It does so by C functions, too, to which all levels of the socket (`tcp_sock` and, at
/// its head, `inet_connection_sock`) are one piece of memory: no reference is made to any,
/// fields are read and written in place. The congestion control, the methods of the address
/// family and the namespace, which the socket points to, are there as long as it is.
#[derive(Clone, Copy)]
pub(crate) struct LockedSock<'a>(&'a Sock);

impl<'a> LockedSock<'a> {
    /// # Safety
    ///
    /// For all of `'a` the caller owns the socket lock as a user, or holds its
    /// spin lock with no user owning it.
    pub(crate) unsafe fn assume(sk: &'a Sock) -> Self {
        // INVARIANT: live for `'a`, as `sk` is, and locked, as the caller promises.
        LockedSock(sk)
    }

    pub(crate) fn sock(&self) -> &'a Sock {
        self.0
    }

    /// Returns whether a task owns it, and will release it by `release_sock()`.
    pub(crate) fn is_owned(&self) -> bool {
        // SAFETY: live by the type invariant; the lock, held in either form, keeps the answer
        // what it is.
        unsafe { bindings::toe_sock_owned_now(self.0.as_ptr()) }
    }
}

impl Deref for LockedSock<'_> {
    type Target = Sock;

    fn deref(&self) -> &Sock {
        self.0
    }
}

/// How long to wait for owners of sockets, in jiffies.
pub(crate) struct Patience(c_long);

impl Patience {
    /// Rounded up to the next jiffy.
    pub(crate) fn ms(ms: Msecs) -> Self {
        Patience(msecs_to_jiffies(ms) as c_long)
    }
}

/// The socket lock as a user holds it; `release_sock()` on drop.
///
/// Also evidence of process context. Methods that give the lock up for a while, and those
/// that let others at the connection (its backlog), borrow it mutably: whatever was found
/// under the lock before has to be found again.
///
/// # Invariants
///
/// The socket is live, this task owns its lock, and does not sleep on behalf of anybody
/// who must not.
pub(crate) struct UserLock<'a>(&'a Sock);

impl<'a> UserLock<'a> {
    /// # Safety
    ///
    /// This task owns the socket's lock, and gives it up by this value.
    pub(super) unsafe fn assume(sk: &'a Sock) -> Self {
        // INVARIANT: live for `'a`, as `sk` is; the task owns the lock, as the caller promises,
        // which it has from a call that may sleep.
        UserLock(sk)
    }

    /// The proof, for as long as the lock is borrowed.
    #[inline(always)]
    pub(crate) fn locked(&self) -> LockedSock<'_> {
        // SAFETY: by the type invariant this task owns the lock of a live socket; it is not
        // given up while `self` is borrowed.
        unsafe { LockedSock::assume(self.0) }
    }

    /// The socket, of which no more is proven than that it is live.
    #[inline(always)]
    pub(crate) fn sock(&self) -> &'a Sock {
        self.0
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *mut bindings::sock {
        self.0.as_ptr()
    }
}

impl Drop for UserLock<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant this task owns the lock, and may sleep in what waits
        // in the backlog; it gives the lock up once, here.
        unsafe { bindings::release_sock(self.0.as_ptr()) }
    }
}

/// The socket's spin lock, held with bottom halves off.
///
/// # Invariants
///
/// For all of `'a` the socket is live and bottom halves are off; the spin lock is held by this
/// context as long as the value exists. No task becomes the socket's owner meanwhile, nor does
/// one that is give it up.
pub(crate) struct BhLock<'a>(&'a Sock);

impl<'a> BhLock<'a> {
    /// # Safety
    ///
    /// This context holds the spin lock, with bottom halves off for all of `'a`, and gives it
    /// up by this value.
    #[inline(always)]
    pub(super) unsafe fn assume(sk: &'a Sock) -> Self {
        // INVARIANT: live for `'a`, as `sk` is, and locked, as the caller promises.
        BhLock(sk)
    }

    /// The right to touch the connection, if no user owns it meanwhile.
    pub(crate) fn try_own(&self) -> Option<LockedSock<'_>> {
        // SAFETY: live by the type invariant, and its spin lock held, as lockdep asserts.
        if unsafe { bindings::toe_sock_owned(self.0.as_ptr()) } {
            None
        } else {
            // SAFETY: the spin lock is held, by the type invariant, as long as `self` is
            // borrowed, and nobody owns the socket, nor can become its owner.
            Some(unsafe { LockedSock::assume(self.0) })
        }
    }

    /// The lock of the socket's owner, if this is its [doorbell](super::context::Doorbell).
    #[inline(always)]
    pub(crate) fn yield_to_owner<'b>(self, bh: &'b Bh) -> Result<LockedSock<'b>, Self> {
        bh.owned(self.0).ok_or(self)
    }

    /// Returns whether frames wait for the owner.
    #[inline(always)]
    pub(crate) fn has_backlog(&self) -> bool {
        // SAFETY: by the type invariant live, and its spin lock, which guards the list, held.
        unsafe { !(*self.0.as_ptr()).sk_backlog.tail.is_null() }
    }

    /// Returns whether frames wait for the owner, or it has not processed all of those that
    /// did: `__release_sock()` zeroes the length when it is through.
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn has_backlog_left(&self) -> bool {
        // SAFETY: by the type invariant live, and its spin lock, under which the length
        // changes, held.
        unsafe { (*self.0.as_ptr()).sk_backlog.len != 0 }
    }

    /// The socket.
    pub(crate) fn sock(&self) -> &'a Sock {
        self.0
    }
}

impl Drop for BhLock<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant this context has the spin lock, and gives it up once.
        unsafe { bindings::toe_bh_unlock_sock(self.0.as_ptr()) }
    }
}

/// The socket lock as a system call holds it for a short time, in which it does not sleep.
///
/// # Invariants
///
/// The socket is live, and its spin lock is held, with no owner, in process context, by the
/// task that runs.
pub(crate) struct FastLock<'a> {
    sk: &'a Sock,
    section: Bh,
}

impl<'a> FastLock<'a> {
    /// The socket, whose lock is not given up by this.
    #[inline(always)]
    pub(super) fn into_sock(self) -> &'a Sock {
        core::mem::ManuallyDrop::new(self).sk
    }

    /// The proof, for as long as the lock is borrowed.
    #[inline(always)]
    pub(crate) fn locked(&self) -> LockedSock<'_> {
        // SAFETY: by the type invariant the spin lock of a live socket is held, and nobody owns
        // it, nor can become its owner while `self` is borrowed.
        unsafe { LockedSock::assume(self.sk) }
    }

    /// Evidence that bottom halves are off.
    #[inline(always)]
    pub(crate) fn bh(&self) -> &Bh {
        &self.section
    }
}

impl Drop for FastLock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: by the type invariant this task has the spin lock, and gives it up once, with
        // what disabled bottom halves.
        unsafe { bindings::toe_sock_unlock_fast(self.sk.as_ptr()) }
    }
}
