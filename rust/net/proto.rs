// SPDX-License-Identifier: GPL-2.0

//! Interception of a socket's methods: copies of `struct proto` and
//! `struct inet_connection_sock_af_ops` with some methods replaced, set on one
//! socket at a time, as kernel TLS and sockmap do.
//!
//! What the module sets on a delegated connection's socket is set by [`install`] and put
//! back by [`remove`]: the tables, the record, and the [sign](super::ulp) that there is one.
//! None of the tables' functions is ever left with code that could outlive the module: what
//! copies or keeps `sk_prot` (kTLS, sockmap) finds the sign first, and gives up.
//!
//! A reader may sleep in the host's `recvmsg` for ever, which must not keep the
//! module loaded. The replaced methods therefore end in a jump to the host's
//! (`rust/helpers/calls.c`): a task that sleeps there has left our code.

mod adapter;

use core::{
    marker::PhantomData,
    ptr::{
        self,
        addr_of,
        addr_of_mut,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStrExt, //
};

use super::{
    context::{
        Bh,
        BhGuard, //
    },
    errno,
    record::{
        self,
        Departed,
        Parts,
        Record,
        RecordBox, //
    },
    skb::SkBuff,
    sock::{
        BhLock,
        LockedSock,
        Sock, //
    },
    sync::rcu::ReadGuard,
    ulp, //
};
use crate::{
    bindings,
    logic::sockopt::SockOpt, //
};

use adapter::Adapter;

/// The value of a socket option, in the caller's memory.
///
/// # Invariants
///
/// `val` and `len` are the arguments of the `setsockopt` that the value is lent to.
pub(crate) struct OptValue {
    val: bindings::sockptr_t,
    len: c_uint,
}

impl OptValue {
    /// Returns whether the value is this name. For `TCP_ULP`.
    pub(crate) fn is(&self, name: &CStr) -> bool {
        // SAFETY: by the type invariant the value is user memory, which is copied as such, or
        // memory of the kernel of that length, which is there while the call lasts; `name`
        // ends. Process context, as a `setsockopt` is.
        unsafe { bindings::toe_sockptr_is(self.val, self.len, name.as_char_ptr()) }
    }
}

/// What a transmitting host stack hands to `queue_xmit`: a TCP segment whose
/// first byte is its TCP header.
pub(crate) enum HostFrame {
    /// The hook took the frame; this is `queue_xmit`'s return value.
    Taken(c_int),
    /// The host's own output goes on with it.
    Pass(SkBuff),
}

/// The framework's side of the replaced methods. Every method names its context.
pub(crate) trait Hooks: 'static {
    /// Process context, socket unlocked. `None`: the host's `sendmsg` does it.
    fn sendmsg(sk: &Sock, msg: &mut Msg<'_>) -> Option<Result<usize>>;
    /// Process context, socket unlocked: a plain read that has found nothing, and may sleep.
    /// `None`: the host's `recvmsg` does it.
    fn read(sk: &Sock, msg: &mut Msg<'_>) -> Option<usize>;
    /// Process context, socket unlocked: a plain read has made room that bytes may wait for, and
    /// has left to this what a read does at its end (`__tcp_cleanup_rbuf()`).
    fn read_done(sk: &Sock);
    /// Process context, socket unlocked. A call that no user buffer is posted for
    /// gets here only after [`allow_all`].
    fn recvmsg(sk: &Sock, msg: &mut Msg<'_>, flags: u32) -> Received;
    /// Process context, socket unlocked: `close(2)` is about to run.
    fn before_close(sk: &Sock);
    /// Process context, socket unlocked. What the call returns; `None`: the host's own
    /// method is called once the connection is the host's. `host` calls that method, too.
    fn setsockopt(
        sk: &Sock,
        opt: SockOpt,
        value: &OptValue,
        host: impl FnOnce() -> c_int,
    ) -> Option<c_int>;
    /// Socket lock held as a user: before the host's `shutdown` or `disconnect`.
    fn before_locked(sk: LockedSock<'_>, call: Call);
    /// Socket lock held, any context: the socket leaves the hash tables.
    fn unhash(sk: LockedSock<'_>);
    /// Socket lock held as a user: frames that arrived meanwhile.
    fn backlog_rcv(sk: LockedSock<'_>, skb: SkBuff);
    /// Returns whether [`Self::release`] must be called for any socket at all. Called at
    /// every release of every socket that has our methods.
    fn release_awaited() -> bool;
    /// Socket lock held as a user and as a spin lock, from `release_sock()`. `awaited`:
    /// another task waits for the lock.
    fn release(sk: LockedSock<'_>, awaited: bool);
    /// Socket lock held, any context: the host stack transmits.
    fn queue_xmit(sk: LockedSock<'_>, skb: SkBuff) -> HostFrame;
}

/// What became of a `recvmsg`.
pub(crate) enum Received {
    /// It is done, and this is what it returns.
    Done(Result<usize>),
    /// The host's own does it.
    Host,
    /// The host's own tells what there is, without waiting.
    HostNoWait,
}

/// System calls that end a connection or a direction of it.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Shutdown,
    Disconnect,
}

/// `struct msghdr` of one `sendmsg(2)` and the bytes it wants sent.
///
/// # Invariants
///
/// `raw` is the `msghdr` of a call of the task that runs, initialised, and nobody else's
/// during `'a`.
pub(crate) struct Msg<'a> {
    raw: NonNull<bindings::msghdr>,
    len: usize,
    _life: PhantomData<&'a mut bindings::msghdr>,
}

impl Msg<'_> {
    /// `None` if there is no message.
    ///
    /// # Safety
    ///
    /// `raw` is null, or the `msghdr` of the call that runs, which wants `len` bytes; it is
    /// nobody else's as long as the value lives.
    #[inline(always)]
    unsafe fn of_call(raw: *mut bindings::msghdr, len: usize) -> Option<Self> {
        // INVARIANT: as the caller promises.
        Some(Msg {
            raw: NonNull::new(raw)?,
            len,
            _life: PhantomData,
        })
    }

    /// Bytes asked for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `MSG_*`.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: valid, and this task's, by the type invariant.
        unsafe { (*self.raw.as_ptr()).msg_flags }
    }

    /// Returns whether there is ancillary data or a preset zero-copy buffer.
    pub(crate) fn has_control(&self) -> bool {
        // SAFETY: valid, and this task's, by the type invariant; the reference does not leave
        // this function.
        let msg = unsafe { &*self.raw.as_ptr() };
        msg.msg_controllen != 0 || !msg.msg_ubuf.is_null()
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::msghdr {
        self.raw.as_ptr()
    }
}

/// One family's method tables. Lives as long as the module.
///
/// # Invariants
///
/// `proto` is null or a copy of the family's table in the kernel that is never freed. Each of
/// `af_ops` is null or from `KBox::into_raw()`; it does not change again before the drop of
/// [`Registration`], which frees it.
struct Tables {
    proto: AtomicPtr<bindings::proto>,
    /// Copies by original: plain IPv4, plain IPv6, IPv4 mapped into IPv6.
    af_ops: [AtomicPtr<AfOps>; 3],
}

/// A copy of an address family's methods beside the original: one pointer, so
/// that both are there or none.
///
/// # Invariants
///
/// `original` is a static table of the kernel: those of IPv4, IPv6 and mapped addresses, all
/// that the socket of a plain TCP connection can have.
struct AfOps {
    original: *const bindings::inet_connection_sock_af_ops,
    copy: bindings::inet_connection_sock_af_ops,
}

static TABLES: [Tables; 2] = [
    Tables {
        proto: AtomicPtr::new(ptr::null_mut()),
        af_ops: [const { AtomicPtr::new(ptr::null_mut()) }; 3],
    },
    Tables {
        proto: AtomicPtr::new(ptr::null_mut()),
        af_ops: [const { AtomicPtr::new(ptr::null_mut()) }; 3],
    },
];

fn index(sk: &Sock) -> usize {
    usize::from(u32::from(sk.family()) == bindings::AF_INET6)
}

/// The host stack's own method table of the socket's family.
pub(super) fn base(sk: &Sock) -> *mut bindings::proto {
    if index(sk) == 1 {
        addr_of_mut!(bindings::tcpv6_prot)
    } else {
        addr_of_mut!(bindings::tcp_prot)
    }
}

/// The host's receive function: `tcp_v4_do_rcv()` or `tcp_v6_do_rcv()`. The
/// frame is partly processed: parsed, matched, its control block filled.
pub(crate) fn host_receive(sk: LockedSock<'_>, skb: SkBuff) {
    let base = base(&sk);
    // SAFETY: `base` is one of the two static tables, which nobody writes to after boot.
    // `backlog_rcv` wants the lock of a live socket, which `sk` proves to be held, and the
    // frame as its own.
    unsafe {
        if let Some(rcv) = (*base).backlog_rcv {
            rcv(sk.as_ptr(), skb.into_raw());
        }
    }
}

/// The method tables while the module is loaded.
pub(crate) struct Registration<H: Hooks>(PhantomData<H>);

impl<H: Hooks> Registration<H> {
    /// Once, when the module is loaded; `name` is what delegated connections are called.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: the module's root makes this once, before anything else that has records:
        // the methods that a socket could get one with are made below.
        unsafe { record::init() };
        ulp::make_identity(name)?;
        let hooks = bindings::toe_call_hooks {
            sendmsg: Some(Adapter::<H>::sendmsg),
            read: Some(Adapter::<H>::read),
            read_done: Some(Adapter::<H>::read_done),
            recvmsg: Some(Adapter::<H>::recvmsg),
            close: Some(Adapter::<H>::close),
            setsockopt: Some(Adapter::<H>::setsockopt),
        };
        // SAFETY: `hooks` is valid, and copied. Nobody calls them yet: those who do are the
        // methods of sockets that have our tables, which are made below.
        unsafe { bindings::toe_call_hooks_set(&hooks) };
        let this = Registration(PhantomData);
        for (i, tables) in TABLES.iter().enumerate() {
            let base: *const bindings::proto = if i == 1 {
                addr_of!(bindings::tcpv6_prot)
            } else {
                addr_of!(bindings::tcp_prot)
            };
            // SAFETY: a static, initialised at boot, which stays as it is. It owns nothing: a
            // bitwise copy is what kernel TLS takes, too (`build_protos()`).
            let mut copy = KBox::new(unsafe { ptr::read(base) }, GFP_KERNEL)?;
            copy.close = Some(bindings::toe_close);
            copy.shutdown = Some(Adapter::<H>::shutdown);
            copy.disconnect = Some(Adapter::<H>::disconnect);
            copy.setsockopt = Some(bindings::toe_setsockopt);
            copy.getsockopt = Some(bindings::toe_getsockopt);
            copy.sendmsg = Some(bindings::toe_sendmsg);
            copy.recvmsg = Some(bindings::toe_recvmsg);
            copy.release_cb = Some(Adapter::<H>::release_cb);
            copy.unhash = Some(Adapter::<H>::unhash);
            // `psock_update_sk_prot` stays the host's: a psock keeps it.
            // INVARIANT: a copy, which nobody frees.
            tables.proto.store(KBox::into_raw(copy), Ordering::Release);
        }
        Ok(this)
    }
}

/// On drop the methods are no longer called, even by code that has kept a table. Before
/// [`Quiesce`](super::calls::Quiesce).
pub(crate) struct Neutralise;

impl Drop for Neutralise {
    fn drop(&mut self) {
        for (i, tables) in TABLES.iter().enumerate() {
            let host = match i {
                1 => addr_of!(bindings::tcpv6_prot),
                _ => addr_of!(bindings::tcp_prot),
            };
            let proto = tables.proto.swap(ptr::null_mut(), Ordering::AcqRel);
            if !proto.is_null() {
                // SAFETY: a table of ours by the invariant of `Tables`, and the host's of the
                // same family. The callee writes word by word: readers find the one method
                // or the other.
                unsafe { bindings::toe_proto_leave(proto, host) };
            }
        }
    }
}

impl<H: Hooks> Drop for Registration<H> {
    fn drop(&mut self) {
        for tables in &TABLES {
            for slot in &tables.af_ops {
                let pair = slot.swap(ptr::null_mut(), Ordering::AcqRel);
                if !pair.is_null() {
                    // SAFETY: from `KBox::into_raw()` by the invariant of `Tables`, and taken
                    // out. The module's root drops this behind `Recall`, after which no socket
                    // has our methods, and `Quiesce`, after which no task is in them.
                    drop(unsafe { KBox::from_raw(pair) });
                }
            }
        }
    }
}

/// Returns whether the socket uses the host stack's own methods, and no others.
pub(crate) fn is_plain(sk: LockedSock<'_>) -> bool {
    // SAFETY: live by the invariant of `Sock`; the pointer is only compared.
    unsafe { (*sk.as_ptr()).__sk_common.skc_prot == base(&sk) }
}

/// Returns whether the socket has our methods.
pub(crate) fn is_ours(sk: &Sock) -> bool {
    let ours = TABLES[index(sk)].proto.load(Ordering::Relaxed);
    // `sk_prot` never is null: before the tables are made, and after, nothing is ours.
    // SAFETY: live by the invariant of `Sock`; the pointer is aligned, written in one piece,
    // and only compared. Who needs more than a racy look looks under the socket lock.
    unsafe { ptr::read_volatile(addr_of!((*sk.as_ptr()).__sk_common.skc_prot)) == ours }
}

fn af_ops_copy<H: Hooks>(
    sk: LockedSock<'_>,
    original: *const bindings::inet_connection_sock_af_ops,
) -> Result<*const bindings::inet_connection_sock_af_ops> {
    for slot in &TABLES[index(&sk)].af_ops {
        let mut pair = slot.load(Ordering::Acquire);
        if pair.is_null() {
            // SAFETY: the table of a live socket, a static of the kernel, functions and
            // numbers that nobody writes to.
            let mut copy = unsafe { ptr::read(original) };
            copy.queue_xmit = Some(Adapter::<H>::queue_xmit);
            // INVARIANT: the caller has found the socket to be a plain one.
            let new = KBox::into_raw(KBox::new(AfOps { original, copy }, GFP_ATOMIC)?);
            let won =
                slot.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
            pair = match won {
                Ok(_) => new,
                Err(other) => {
                    // SAFETY: `new` was never published.
                    drop(unsafe { KBox::from_raw(new) });
                    other
                }
            };
        }
        // SAFETY: not null, and by the invariant of `Tables` not freed before the
        // registration goes, which nothing of ours runs behind.
        let pair = unsafe { &*pair };
        if ptr::eq(pair.original, original) {
            return Ok(&pair.copy);
        }
    }
    Err(errno::EOPNOTSUPP())
}

/// Why [`install`] did not.
pub(crate) enum InstallError {
    /// No memory, or the module is not ready.
    Memory,
    /// The socket is no longer the host stack's alone.
    Taken,
}

/// Gives the record to the socket, with our methods and the sign. The caller does not hold
/// `sk_callback_lock`.
pub(crate) fn install<H: Hooks, P: Parts>(
    sk: LockedSock<'_>,
    record: RecordBox<P>,
    bh: &Bh,
) -> Result<(), InstallError> {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: live by the invariant of `Sock`, and a TCP socket is an inet_connection_sock;
    // who changes the field has the lock that `sk` is proof of.
    let original = unsafe { (*icsk).icsk_af_ops };
    let to = bindings::toe_methods {
        prot: TABLES[index(&sk)].proto.load(Ordering::Acquire),
        af_ops: af_ops_copy::<H>(sk, original).map_err(|_| InstallError::Memory)?,
        backlog_rcv: Some(Adapter::<H>::backlog_rcv),
    };
    let identity = ulp::identity();
    if to.prot.is_null() || identity.is_null() {
        return Err(InstallError::Memory);
    }
    let raw = RecordBox::into_raw(record);
    // SAFETY: live by the invariant of `Sock`, and locked, as `sk` proves; `bh` is evidence of
    // bottom halves being off, as `sk_callback_lock` wants it. Tables, sign and record are
    // complete, and stay until `remove()` has put the host's back and a grace period is over.
    if !unsafe { bindings::toe_sk_claim(sk.as_ptr(), &to, identity, raw.cast(), base(&sk)) } {
        // SAFETY: from `Box::into_raw()`, and nobody has seen it: nothing was claimed.
        drop(unsafe { RecordBox::from_raw(raw) });
        return Err(InstallError::Taken);
    }
    if let Some(record) = NonNull::new(raw) {
        // SAFETY: from `Box::into_raw()`, given to the socket above, and listed here only.
        unsafe { record::list(record, bh) };
    }
    Ok(())
}

/// What is ours on the socket, and what was there before.
fn methods<H: Hooks>(sk: &Sock) -> (bindings::toe_methods, bindings::toe_methods) {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    let host = base(sk);
    // SAFETY: live by the invariant of `Sock`, and the callers have its lock in one of the
    // ways that keep others from changing the field; `host` is a static table.
    unsafe {
        let ours = bindings::toe_methods {
            prot: TABLES[index(sk)].proto.load(Ordering::Acquire),
            af_ops: (*icsk).icsk_af_ops,
            backlog_rcv: Some(Adapter::<H>::backlog_rcv),
        };
        let hosts = bindings::toe_methods {
            prot: host,
            af_ops: original_af_ops(sk),
            backlog_rcv: (*host).backlog_rcv,
        };
        (ours, hosts)
    }
}

/// Puts the host stack's methods back and takes the record from the socket, as far as
/// they are there; the record is freed a grace period after `gone` is dropped. Any context
/// under the socket's lock.
pub(crate) fn remove<H: Hooks, P: Parts>(
    sk: LockedSock<'_>,
    record: &Record<P>,
    gone: &mut Departed<P>,
    bh: &Bh,
) {
    put_back::<H, P>(&sk, record, gone, bh);
}

/// [`remove`] while a task owns the socket, which `lock` proves to be locked against
/// others: the task is not in our code, or leaves it without using the record again.
pub(crate) fn remove_under_owner<H: Hooks, P: Parts>(lock: &BhLock<'_>, record: &Record<P>) {
    put_back::<H, P>(lock.sock(), record, &mut Departed::new(), &BhGuard::new());
    // SAFETY: live by the invariant of `Sock`, and `lock` is its spin lock, held: the owner,
    // who runs what is deferred when he lets the socket go, cannot do so meanwhile.
    unsafe { bindings::toe_sk_resume_later(lock.sock().as_ptr()) }
}

/// The socket has our methods and no record: other code had taken our `sk_prot`, and has put
/// it back. Under the socket's lock.
#[cold]
pub(crate) fn heal(sk: LockedSock<'_>) {
    if !is_ours(&sk) {
        return;
    }
    // SAFETY: live by the invariant of `Sock`, and locked, as `sk` proves. The pointer is
    // aligned, and written in one piece: lockless readers find one table or the other.
    unsafe { ptr::write_volatile(addr_of_mut!((*sk.as_ptr()).__sk_common.skc_prot), base(&sk)) }
}

/// The socket is locked: `remove` and `remove_under_owner` have the proof of it.
fn put_back<H: Hooks, P: Parts>(sk: &Sock, record: &Record<P>, gone: &mut Departed<P>, bh: &Bh) {
    P::leaves(record.value());
    let (of, to) = methods::<H>(sk);
    let record_ptr = ptr::from_ref(record).cast();
    let ulp = ulp::of(sk);
    // SAFETY: live by the invariant of `Sock`, and either this context alone may write to it,
    // or a task owns it that is not in our code, and is kept there by the spin lock, which
    // is held. What it gets back are static tables of the kernel; `record_ptr` is only
    // compared.
    unsafe { bindings::toe_sk_disclaim(sk.as_ptr(), &of, &to, record_ptr, ulp) };
    ulp::put(ulp);
    record::unlist(record, gone, bh);
}

/// The record [`install`] put there. `P` is the one type ever put there.
///
/// It stays valid during `_guard` even if a nested call takes it out. Any context; the
/// lock need not be held.
#[inline]
pub(crate) fn context<'g, P: Parts>(sk: &Sock, _guard: &'g ReadGuard<'_>) -> Option<&'g Record<P>> {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: live by the invariant of `Sock`, and a TCP socket is an inet_connection_sock;
    // the field is an aligned pointer, which C writes in one piece. Another's record that is
    // found here is not followed.
    let record = unsafe {
        (*addr_of!((*icsk).icsk_ulp_data).cast::<AtomicPtr<_>>()).load(Ordering::Acquire)
    };
    // In this order: with our methods there, what was read before was ours. Nobody
    // else's record goes from a socket that lives.
    if !is_ours(sk) {
        return None;
    }
    // SAFETY: null, or ours, of the one type there is, as the methods were ours after it was
    // found. It was found in the RCU section of `_guard`, which lasts for all of `'g`.
    unsafe { Record::from_raw(record) }
}

/// The table our copy on the socket was made from, or the socket's own.
fn original_af_ops(sk: &Sock) -> *const bindings::inet_connection_sock_af_ops {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: live by the invariant of `Sock`, and locked: by the caller of `queue_xmit`, or as
    // in `methods()`.
    let current = unsafe { (*icsk).icsk_af_ops };
    for slot in &TABLES[index(sk)].af_ops {
        // SAFETY: null, or by the invariant of `Tables` not freed before the registration
        // goes, which nothing of ours runs behind.
        if let Some(pair) = unsafe { slot.load(Ordering::Acquire).as_ref() } {
            if ptr::eq(&pair.copy, current) {
                return pair.original;
            }
        }
    }
    current
}

/// No request shorter than `min` bytes, of any socket, reaches [`Hooks::recvmsg`];
/// the least of all values given so far counts.
pub(crate) fn allow_buffers(min: usize) {
    // SAFETY: no preconditions: a word, read and written in one piece.
    unsafe { bindings::toe_recv_allow(min) }
}

/// Requests of every length and with all flags reach [`Hooks::recvmsg`] from now on,
/// if there is nothing in the receive queue.
pub(crate) fn allow_all() {
    // SAFETY: no preconditions: words, read and written in one piece.
    unsafe { bindings::toe_recv_allow_all() }
}

/// Checks a C return code.
pub(super) fn check(ret: c_int) -> Result {
    to_result(ret)
}
