// SPDX-License-Identifier: GPL-2.0

//! Interception of a socket's methods: copies of `struct proto` and
//! `struct inet_connection_sock_af_ops` with some methods replaced, set on one
//! socket at a time, as kernel TLS and sockmap do.
//!
//! A reader may sleep in the host's `recvmsg` for ever, which must not keep the
//! module loaded. The replaced method therefore ends in a jump to it
//! (`toe_recvmsg()`): a task that sleeps there has left our code.

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
        c_long,
        c_uint, //
    },
    prelude::*,
    str::CStrExt, //
};

use super::{
    errno,
    rcu_box::RcuBox,
    skb::SkBuff,
    sock::{
        LockedSock,
        Sock, //
    },
    table::ReadGuard, //
};
use crate::bindings;

/// `SOL_TCP` option or other level, as `setsockopt(2)` names it.
#[derive(Clone, Copy)]
pub(crate) struct SockOpt {
    pub(crate) level: c_int,
    pub(crate) name: c_int,
}

/// The value of a socket option, in the caller's memory.
pub(crate) struct OptValue {
    val: bindings::sockptr_t,
    len: c_uint,
}

impl OptValue {
    /// Is it this name? For `TCP_ULP`.
    pub(crate) fn is(&self, name: &CStr) -> bool {
        // SAFETY: the caller of `setsockopt` vouches for the value's memory,
        // which is read as user memory is.
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
    /// Process context, socket unlocked. A call that no user buffer is posted for
    /// gets here only after [`allow_all`].
    fn recvmsg(sk: &Sock, msg: &mut Msg<'_>, flags: u32) -> Received;
    /// Process context, socket unlocked: `close(2)` is about to run.
    fn before_close(sk: &Sock);
    /// Process context, socket unlocked: before the host's `setsockopt`. `true`:
    /// there is nothing left for it to do.
    fn before_setsockopt(sk: &Sock, opt: SockOpt, value: &OptValue) -> bool;
    /// Socket lock held as a user: before the host's `shutdown` or `disconnect`.
    fn before_locked(sk: LockedSock<'_>, call: Call);
    /// Process context, socket unlocked, after the host's `setsockopt`.
    fn after_setsockopt(sk: &Sock, opt: SockOpt);
    /// Socket lock held, any context: the socket leaves the hash tables.
    fn unhash(sk: LockedSock<'_>);
    /// Socket lock held as a user: a psock is about to replace `sk_prot`.
    fn psock(sk: LockedSock<'_>);
    /// Socket lock held as a user: frames that arrived meanwhile.
    fn backlog_rcv(sk: LockedSock<'_>, skb: SkBuff);
    /// Is [`Self::release`] to be called for any socket at all? Asked at every
    /// release of every socket that has our methods.
    fn release_awaited() -> bool;
    /// Socket lock held as a user, from `release_sock()`.
    fn release(sk: LockedSock<'_>);
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
pub(crate) struct Msg<'a> {
    raw: NonNull<bindings::msghdr>,
    len: usize,
    _life: PhantomData<&'a mut bindings::msghdr>,
}

impl Msg<'_> {
    /// Bytes asked for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `MSG_*`.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: the caller of `sendmsg` owns a valid msghdr for its duration.
        unsafe { (*self.raw.as_ptr()).msg_flags }
    }

    /// Is there ancillary data or a preset zero-copy buffer?
    pub(crate) fn has_control(&self) -> bool {
        // SAFETY: as above.
        let msg = unsafe { &*self.raw.as_ptr() };
        msg.msg_controllen != 0 || !msg.msg_ubuf.is_null()
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::msghdr {
        self.raw.as_ptr()
    }
}

/// One family's method tables. Lives as long as the module.
struct Tables {
    proto: AtomicPtr<bindings::proto>,
    /// Copies by original: plain IPv4, plain IPv6, IPv4 mapped into IPv6.
    af_ops: [AtomicPtr<AfOps>; 3],
}

/// A copy of an address family's methods beside the original: one pointer, so
/// that both are there or none.
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
fn base(sk: &Sock) -> *mut bindings::proto {
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
    // SAFETY: `base` is one of the two static tables; `backlog_rcv` consumes
    // the frame and wants the socket lock, which `sk` proves.
    unsafe {
        if let Some(rcv) = (*base).backlog_rcv {
            rcv(sk.as_ptr(), skb.into_raw());
        }
    }
}

/// The method tables while the module is loaded; freed on drop, when no socket
/// uses them any more.
pub(crate) struct Registration<H: Hooks>(PhantomData<H>);

impl<H: Hooks> Registration<H> {
    pub(crate) fn new() -> Result<Self> {
        let this = Registration(PhantomData);
        for (i, tables) in TABLES.iter().enumerate() {
            let base: *const bindings::proto = if i == 1 {
                addr_of!(bindings::tcpv6_prot)
            } else {
                addr_of!(bindings::tcp_prot)
            };
            // SAFETY: the tables were filled in at boot and stay as they are;
            // a bitwise copy is what kernel TLS takes, too.
            let mut copy = KBox::new(unsafe { ptr::read(base) }, GFP_KERNEL)?;
            copy.close = Some(Adapter::<H>::close);
            copy.shutdown = Some(Adapter::<H>::shutdown);
            copy.disconnect = Some(Adapter::<H>::disconnect);
            copy.setsockopt = Some(Adapter::<H>::setsockopt);
            copy.sendmsg = Some(Adapter::<H>::sendmsg);
            copy.recvmsg = Some(bindings::toe_recvmsg);
            // SAFETY: what it is called by are the sockets with our methods.
            unsafe { bindings::toe_recv_set(Some(Adapter::<H>::recvmsg)) };
            copy.release_cb = Some(Adapter::<H>::release_cb);
            copy.unhash = Some(Adapter::<H>::unhash);
            #[cfg(CONFIG_BPF_SYSCALL)]
            {
                copy.psock_update_sk_prot = Some(Adapter::<H>::psock_update);
            }
            tables.proto.store(KBox::into_raw(copy), Ordering::Release);
        }
        Ok(this)
    }
}

impl<H: Hooks> Drop for Registration<H> {
    fn drop(&mut self) {
        for tables in &TABLES {
            let proto = tables.proto.swap(ptr::null_mut(), Ordering::AcqRel);
            if !proto.is_null() {
                // SAFETY: came from `KBox::into_raw()`; no socket points to it
                // any more (all were uploaded) and no task is in its methods.
                drop(unsafe { KBox::from_raw(proto) });
            }
            for slot in &tables.af_ops {
                let pair = slot.swap(ptr::null_mut(), Ordering::AcqRel);
                if !pair.is_null() {
                    // SAFETY: as above.
                    drop(unsafe { KBox::from_raw(pair) });
                }
            }
        }
    }
}

/// What [`install`] replaced, to be put back by [`restore`].
#[derive(Clone, Copy)]
pub(crate) struct Saved {
    proto: *mut bindings::proto,
    af_ops: *const bindings::inet_connection_sock_af_ops,
    backlog_rcv: Option<unsafe extern "C" fn(*mut bindings::sock, *mut bindings::sk_buff) -> c_int>,
}

// SAFETY: pointers to static tables of the kernel.
unsafe impl Send for Saved {}
// SAFETY: as above.
unsafe impl Sync for Saved {}

/// Does the socket use the host stack's own methods, and no others?
pub(crate) fn is_plain(sk: LockedSock<'_>) -> bool {
    // SAFETY: the socket is live and locked.
    unsafe { (*sk.as_ptr()).__sk_common.skc_prot == base(&sk) }
}

/// Are our methods the socket's?
pub(crate) fn is_ours(sk: &Sock) -> bool {
    let ours = TABLES[index(sk)].proto.load(Ordering::Relaxed);
    // SAFETY: the socket is live; a racy look at the pointer is enough, its
    // users look again under the socket lock.
    !ours.is_null()
        && unsafe { ptr::read_volatile(addr_of!((*sk.as_ptr()).__sk_common.skc_prot)) } == ours
}

fn af_ops_copy<H: Hooks>(
    sk: LockedSock<'_>,
    original: *const bindings::inet_connection_sock_af_ops,
) -> Result<*const bindings::inet_connection_sock_af_ops> {
    for slot in &TABLES[index(&sk)].af_ops {
        let mut pair = slot.load(Ordering::Acquire);
        if pair.is_null() {
            // SAFETY: `original` is one of the kernel's static tables.
            let mut copy = unsafe { ptr::read(original) };
            copy.queue_xmit = Some(Adapter::<H>::queue_xmit);
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
        // SAFETY: pairs live as long as the registration.
        let pair = unsafe { &*pair };
        if ptr::eq(pair.original, original) {
            return Ok(&pair.copy);
        }
    }
    Err(errno::EOPNOTSUPP())
}

/// Puts our methods on the socket. It must be [`is_plain`].
pub(crate) fn install<H: Hooks>(sk: LockedSock<'_>) -> Result<Saved> {
    let raw = sk.as_ptr();
    let icsk = raw.cast::<bindings::inet_connection_sock>();
    let ours = TABLES[index(&sk)].proto.load(Ordering::Acquire);
    if ours.is_null() {
        return Err(ENODEV);
    }
    // SAFETY: the socket is live and locked; a TCP socket is an
    // inet_connection_sock. Lockless readers of `skc_prot` see one table or the
    // other, both valid.
    unsafe {
        let saved = Saved {
            proto: (*raw).__sk_common.skc_prot,
            af_ops: (*icsk).icsk_af_ops,
            backlog_rcv: (*raw).sk_backlog_rcv,
        };
        let af_ops = af_ops_copy::<H>(sk, saved.af_ops)?;
        (*raw).sk_backlog_rcv = Some(Adapter::<H>::backlog_rcv);
        ptr::write_volatile(addr_of_mut!((*icsk).icsk_af_ops), af_ops);
        ptr::write_volatile(addr_of_mut!((*raw).__sk_common.skc_prot), ours);
        Ok(saved)
    }
}

/// Puts the host stack's methods back.
pub(crate) fn restore(sk: LockedSock<'_>, saved: &Saved) {
    let raw = sk.as_ptr();
    let icsk = raw.cast::<bindings::inet_connection_sock>();
    // SAFETY: as in `install()`.
    unsafe {
        ptr::write_volatile(addr_of_mut!((*raw).__sk_common.skc_prot), saved.proto);
        ptr::write_volatile(addr_of_mut!((*icsk).icsk_af_ops), saved.af_ops);
        (*raw).sk_backlog_rcv = saved.backlog_rcv;
    }
}

/// Puts the framework's record of an offloaded connection into the socket.
pub(crate) fn set_context<T: Send + Sync>(sk: LockedSock<'_>, context: KBox<RcuBox<T>>) {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    let ptr = RcuBox::into_context(context);
    // SAFETY: the socket is live and locked; without an upper layer protocol
    // `icsk_ulp_data` is nobody else's.
    unsafe { ptr::write_volatile(addr_of_mut!((*icsk).icsk_ulp_data), ptr) }
}

/// The record [`set_context`] put there. `T` is the one type ever put there.
///
/// It stays valid during `_guard` even if a nested call takes it out.
#[inline]
pub(crate) fn context<'g, T: Send + Sync>(sk: &Sock, _guard: &'g ReadGuard<'_>) -> Option<&'g T> {
    if !is_ours(sk) {
        return None;
    }
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: our methods are the socket's, so the pointer is null or ours; it
    // is freed a grace period after it was taken out.
    unsafe {
        RcuBox::<T>::from_context(ptr::read_volatile(addr_of!((*icsk).icsk_ulp_data))).map(|b| &**b)
    }
}

/// Takes the record out; it is freed after a grace period.
pub(crate) fn clear_context<T: Send + Sync>(sk: LockedSock<'_>) {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: the socket is live and locked, and our methods still installed.
    unsafe {
        let ptr = (*icsk).icsk_ulp_data;
        ptr::write_volatile(addr_of_mut!((*icsk).icsk_ulp_data), ptr::null_mut());
        if !ptr.is_null() {
            RcuBox::<T>::free(ptr);
        }
    }
}

/// Tasks inside our methods right now, over all CPUs.
pub(crate) fn calls_in_flight() -> i64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_calls_in_flight() as i64 }
}

/// Waits on drop until no task is in our methods or on its way into them, and
/// no RCU callback of ours is left. All sockets have their own methods back.
pub(crate) struct Quiesce;

impl Drop for Quiesce {
    fn drop(&mut self) {
        // SAFETY: process context.
        unsafe { bindings::toe_synchronize_tasks() };
        // Calls that may sleep without bound hold a reference on the module,
        // which is gone by now: what is left ends soon.
        let mut rounds = 0u32;
        while calls_in_flight() > 0 {
            rounds += 1;
            if rounds % 500 == 0 {
                pr_warn!("waiting for {} system calls to end\n", calls_in_flight());
            }
            // SAFETY: process context.
            unsafe { bindings::toe_msleep(10) };
        }
        // SAFETY: process context; the last instructions of those calls.
        unsafe { bindings::toe_synchronize_tasks() };
        super::table::barrier();
    }
}

/// Counts this task as being inside the module until it is dropped.
struct InFlight;

impl InFlight {
    fn enter() -> Self {
        // SAFETY: no preconditions.
        unsafe { bindings::toe_call_enter() };
        InFlight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // SAFETY: no preconditions.
        unsafe { bindings::toe_call_leave() }
    }
}

/// Keeps the module loaded while a task may sleep in it without bound, so that
/// `rmmod` answers EBUSY at once instead of waiting for it.
pub(crate) struct ModulePin(bool);

impl ModulePin {
    /// Takes a reference unless the module is being unloaded already.
    pub(crate) fn get() -> Self {
        // SAFETY: no preconditions.
        ModulePin(unsafe { bindings::toe_module_tryget() })
    }

    /// Is it one, or is the module being unloaded?
    pub(crate) fn held(&self) -> bool {
        self.0
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        if self.0 {
            // SAFETY: gives up the reference taken in `get()`.
            unsafe { bindings::toe_module_unpin() }
        }
    }
}

struct Adapter<H: Hooks>(PhantomData<H>);

impl<H: Hooks> Adapter<H> {
    /// # Safety
    ///
    /// Called by the socket layer as `proto::sendmsg`.
    unsafe extern "C" fn sendmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: the socket layer holds a reference for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        if let Some(raw) = NonNull::new(msg) {
            let mut m = Msg {
                raw,
                len,
                _life: PhantomData,
            };
            if let Some(ret) = H::sendmsg(sock, &mut m) {
                return match ret {
                    Ok(n) => n as c_int,
                    Err(e) => e.to_errno(),
                };
            }
        }
        // It may sleep for as long as the peer does not read.
        let _pin = ModulePin::get();
        // SAFETY: the host's own method, called as the socket layer would.
        unsafe { bindings::tcp_sendmsg(sk, msg, len) }
    }

    /// # Safety
    ///
    /// Called by `toe_recvmsg()`, with its arguments.
    unsafe extern "C" fn recvmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: the socket layer holds a reference for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        let Some(raw) = NonNull::new(msg) else {
            return bindings::TOE_RECV_HOST as c_int;
        };
        let mut msg = Msg {
            raw,
            len,
            _life: PhantomData,
        };
        match H::recvmsg(sock, &mut msg, flags as u32) {
            Received::Done(Ok(n)) => n as c_int,
            Received::Done(Err(e)) => e.to_errno(),
            Received::Host => bindings::TOE_RECV_HOST as c_int,
            Received::HostNoWait => bindings::TOE_RECV_HOST_NOWAIT as c_int,
        }
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::close`.
    unsafe extern "C" fn close(sk: *mut bindings::sock, timeout: c_long) {
        let _call = InFlight::enter();
        // SAFETY: the caller holds a reference.
        let sock = unsafe { Sock::from_raw(sk) };
        let _pin = ModulePin::get();
        H::before_close(sock);
        // SAFETY: the host's own method.
        unsafe { bindings::tcp_close(sk, timeout) }
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::shutdown`, with the socket locked.
    unsafe extern "C" fn shutdown(sk: *mut bindings::sock, how: c_int) {
        let _call = InFlight::enter();
        // SAFETY: the caller holds a reference.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `inet_shutdown()` locked the socket.
        H::before_locked(unsafe { LockedSock::assume(sock) }, Call::Shutdown);
        // SAFETY: the host's own method, from its static table.
        unsafe {
            if let Some(f) = (*base(sock)).shutdown {
                f(sk, how);
            }
        }
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::disconnect`, with the socket locked.
    unsafe extern "C" fn disconnect(sk: *mut bindings::sock, flags: c_int) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: the caller holds a reference.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `inet_stream_connect()` locked the socket.
        H::before_locked(unsafe { LockedSock::assume(sock) }, Call::Disconnect);
        // SAFETY: the host's own method.
        match unsafe { (*base(sock)).disconnect } {
            // SAFETY: as above.
            Some(f) => unsafe { f(sk, flags) },
            None => errno::EOPNOTSUPP().to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::setsockopt`, socket unlocked.
    unsafe extern "C" fn setsockopt(
        sk: *mut bindings::sock,
        level: c_int,
        name: c_int,
        val: bindings::sockptr_t,
        len: c_uint,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: the caller holds a reference.
        let sock = unsafe { Sock::from_raw(sk) };
        let opt = SockOpt { level, name };
        if H::before_setsockopt(sock, opt, &OptValue { val, len }) {
            return 0;
        }
        // SAFETY: the host's own method.
        let ret = match unsafe { (*base(sock)).setsockopt } {
            // SAFETY: as above, with the caller's arguments.
            Some(f) => unsafe { f(sk, level, name, val, len) },
            None => errno::ENOPROTOOPT().to_errno(),
        };
        if ret == 0 {
            H::after_setsockopt(sock, opt);
        }
        ret
    }

    /// # Safety
    ///
    /// Called by `release_sock()` with the socket owned by the caller.
    unsafe extern "C" fn release_cb(sk: *mut bindings::sock) {
        if H::release_awaited() {
            // SAFETY: the caller owns the socket lock.
            H::release(unsafe { LockedSock::assume(Sock::from_raw(sk)) });
        }
        // SAFETY: the host's own method, the same one for both families.
        unsafe {
            if let Some(f) = bindings::tcp_prot.release_cb {
                f(sk);
            }
        }
    }

    /// # Safety
    ///
    /// Called by the host stack as `proto::unhash`, with the socket locked.
    unsafe extern "C" fn unhash(sk: *mut bindings::sock) {
        // SAFETY: the caller holds the socket lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: as above.
        H::unhash(unsafe { LockedSock::assume(sock) });
        // SAFETY: the host's own method.
        unsafe {
            if let Some(f) = (*base(sock)).unhash {
                f(sk);
            }
        }
    }

    /// # Safety
    ///
    /// Called by sockmap as `proto::psock_update_sk_prot`, socket locked.
    #[cfg(CONFIG_BPF_SYSCALL)]
    unsafe extern "C" fn psock_update(
        sk: *mut bindings::sock,
        psock: *mut bindings::sk_psock,
        restore: bool,
    ) -> c_int {
        // SAFETY: the caller holds the socket lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: as above.
        H::psock(unsafe { LockedSock::assume(sock) });
        // The psock remembered our methods as those to go back to.
        let host = base(sock);
        // SAFETY: sockmap owns the psock it passes, under the socket's lock.
        unsafe {
            let ours = TABLES[index(sock)].proto.load(Ordering::Acquire);
            if ptr::eq((*psock).sk_proto, ours) {
                (*psock).sk_proto = host;
                (*psock).saved_unhash = (*host).unhash;
                (*psock).saved_destroy = (*host).destroy;
                (*psock).saved_close = (*host).close;
            }
        }
        // SAFETY: the host's own method.
        match unsafe { (*base(sock)).psock_update_sk_prot } {
            // SAFETY: as above.
            Some(f) => unsafe { f(sk, psock, restore) },
            None => EINVAL.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called through `sk_backlog_rcv` with the socket owned by a user.
    unsafe extern "C" fn backlog_rcv(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
    ) -> c_int {
        // SAFETY: the caller owns the socket lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: the backlog's frame is handed over.
        let skb = unsafe { SkBuff::from_raw(skb) };
        // SAFETY: as above.
        H::backlog_rcv(unsafe { LockedSock::assume(sock) }, skb);
        0
    }

    /// # Safety
    ///
    /// Called by `tcp_transmit_skb()` with the socket locked.
    unsafe extern "C" fn queue_xmit(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
        fl: *mut bindings::flowi,
    ) -> c_int {
        // SAFETY: the caller holds the socket lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `tcp_transmit_skb()` hands the frame over.
        let frame = unsafe { SkBuff::from_raw(skb) };
        // SAFETY: as above.
        match H::queue_xmit(unsafe { LockedSock::assume(sock) }, frame) {
            HostFrame::Taken(ret) => ret,
            HostFrame::Pass(skb) => {
                let original = original_af_ops(sock);
                // SAFETY: `original` is a static table of the kernel.
                match unsafe { (*original).queue_xmit } {
                    // SAFETY: called as the host stack would.
                    Some(f) => unsafe { f(sk, skb.into_raw(), fl) },
                    None => errno::EOPNOTSUPP().to_errno(),
                }
            }
        }
    }
}

/// The table our copy on the socket was made from, or the socket's own.
fn original_af_ops(sk: &Sock) -> *const bindings::inet_connection_sock_af_ops {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: the socket is live and locked by the caller of `queue_xmit`.
    let current = unsafe { (*icsk).icsk_af_ops };
    for slot in &TABLES[index(sk)].af_ops {
        // SAFETY: null, or a pair that lives as long as the registration.
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
    // SAFETY: no preconditions.
    unsafe { bindings::toe_recv_allow(min) }
}

/// Requests of every length and with all flags reach [`Hooks::recvmsg`] from now on,
/// if there is nothing in the receive queue.
pub(crate) fn allow_all() {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_recv_allow_all() }
}

/// Checks a C return code.
pub(super) fn check(ret: c_int) -> Result {
    to_result(ret)
}
