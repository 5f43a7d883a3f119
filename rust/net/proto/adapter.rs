// SPDX-License-Identifier: GPL-2.0

//! The replaced methods as C calls them: each finds the framework's [`Hooks`], and then
//! the host's own method.

use core::marker::PhantomData;

use kernel::{
    ffi::{
        c_int,
        c_uint, //
    }, //
};

use super::{
    base,
    original_af_ops,
    Call,
    Hooks,
    HostFrame,
    Msg,
    OptValue,
    Received, //
};
use crate::{
    bindings,
    logic::sockopt::SockOpt,
    net::{
        calls::InFlight,
        errno,
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        }, //
    }, //
};

/// The functions that stand in the tables.
///
/// A socket has the tables from [`install`](super::install), which asks for a [`Sock`]: what
/// these functions are called for is a full TCP socket. Who calls a method of a socket has a
/// reference to it, or its lock, until the method returns. The host's own methods are called
/// with the arguments that ours were, in the same context, as the host would have done.
pub(super) struct Adapter<H: Hooks>(PhantomData<H>);

impl<H: Hooks> Adapter<H> {
    /// # Safety
    ///
    /// Called by `toe_sendmsg()`, with its arguments: those of `proto::sendmsg`.
    pub(super) unsafe extern "C" fn sendmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `inet_sendmsg()` has a reference to it,
        // by a file or of its own, for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: the message of this call.
        let msg = unsafe { Msg::of_call(msg, len) };
        match msg.and_then(|mut msg| H::sendmsg(sock, &mut msg)) {
            Some(Ok(n)) => n as c_int,
            Some(Err(e)) => e.to_errno(),
            None => bindings::TOE_CALL_HOST,
        }
    }

    /// # Safety
    ///
    /// Called by `toe_read()`, with its arguments: those of `proto::recvmsg`.
    pub(super) unsafe extern "C" fn read(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `inet_recvmsg()` has a reference to it,
        // by a file or of its own, for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: the message of this call.
        let msg = unsafe { Msg::of_call(msg, len) };
        msg.and_then(|mut msg| H::read(sock, &mut msg))
            .map_or(0, |n| n as c_int)
    }

    /// # Safety
    ///
    /// Called by `toe_read()`, with its socket, which has our table.
    pub(super) unsafe extern "C" fn read_done(sk: *mut bindings::sock) {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `inet_recvmsg()` has a reference to it,
        // by a file or of its own, for the call.
        H::read_done(unsafe { Sock::from_raw(sk) });
    }

    /// # Safety
    ///
    /// Called by `toe_recvmsg()`, with its arguments: those of `proto::recvmsg`.
    pub(super) unsafe extern "C" fn recvmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `inet_recvmsg()` has a reference to it,
        // by a file or of its own, for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: the message of this call.
        let Some(mut msg) = (unsafe { Msg::of_call(msg, len) }) else {
            return bindings::TOE_CALL_HOST;
        };
        match H::recvmsg(sock, &mut msg, flags as u32) {
            Received::Done(Ok(n)) => n as c_int,
            Received::Done(Err(e)) => e.to_errno(),
            Received::Host => bindings::TOE_CALL_HOST,
            Received::HostNoWait => bindings::TOE_CALL_HOST_NOWAIT,
        }
    }

    /// # Safety
    ///
    /// Called by `toe_close()`, with its socket: that of `proto::close`.
    pub(super) unsafe extern "C" fn close(sk: *mut bindings::sock) {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; the reference is that of the `struct
        // socket`, which `tcp_close()` gives up, after this call.
        H::before_close(unsafe { Sock::from_raw(sk) });
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::shutdown`, with the socket locked.
    pub(super) unsafe extern "C" fn shutdown(sk: *mut bindings::sock, how: c_int) {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `inet_shutdown()` has a reference to it.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `inet_shutdown()`, the only caller, owns the lock by `lock_sock()`.
        H::before_locked(unsafe { LockedSock::assume(sock) }, Call::Shutdown);
        // SAFETY: the host's own method, from its static table, with the same arguments and
        // the same lock.
        unsafe {
            if let Some(f) = (*base(sock)).shutdown {
                f(sk, how);
            }
        }
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::disconnect`, with the socket locked.
    pub(super) unsafe extern "C" fn disconnect(sk: *mut bindings::sock, flags: c_int) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; the callers have a reference to it.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `__inet_stream_connect()`, `inet_shutdown()` and `__tcp_close()` own the lock
        // by `lock_sock()`. `inet_child_forget()`, which has the spin lock only, takes the
        // method from the table of a listener, which has not ours.
        H::before_locked(unsafe { LockedSock::assume(sock) }, Call::Disconnect);
        // SAFETY: one of the host's static tables.
        match unsafe { (*base(sock)).disconnect } {
            // SAFETY: the host's own method, with the same arguments and the same lock.
            Some(f) => unsafe { f(sk, flags) },
            None => errno::EOPNOTSUPP().to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by `toe_setsockopt()`, with its arguments: those of `proto::setsockopt`.
    pub(super) unsafe extern "C" fn setsockopt(
        sk: *mut bindings::sock,
        level: c_int,
        name: c_int,
        val: bindings::sockptr_t,
        len: c_uint,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: a TCP socket, as it has our table; `sock_common_setsockopt()` has a reference
        // to it for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        let opt = SockOpt { level, name };
        let host = || {
            // SAFETY: one of the host's static tables.
            match unsafe { (*base(sock)).setsockopt } {
                // SAFETY: the host's own method, with the same arguments, and the socket
                // unlocked as it was.
                Some(f) => unsafe { f(sk, level, name, val, len) },
                None => errno::ENOPROTOOPT().to_errno(),
            }
        };
        // INVARIANT: the value of this call.
        match H::setsockopt(sock, opt, &OptValue { val, len }, host) {
            Some(ret) => ret,
            None => bindings::TOE_CALL_HOST,
        }
    }

    /// # Safety
    ///
    /// Called by `release_sock()` or `__sk_flush_backlog()`, with the socket owned by the
    /// caller and its spin lock held.
    pub(super) unsafe extern "C" fn release_cb(sk: *mut bindings::sock) {
        if H::release_awaited() {
            // SAFETY: a TCP socket, as it has our table, or had it when who calls ours by his
            // own took it. The caller owns its lock, and gives it up, if he does, after this;
            // he holds the spin lock, as `toe_sock_awaited()` wants it.
            unsafe {
                let awaited = bindings::toe_sock_awaited(sk);
                H::release(LockedSock::assume(Sock::from_raw(sk)), awaited);
            }
        }
        // SAFETY: the host's own method, the same one for both families, with the same
        // argument and the same locks.
        unsafe {
            if let Some(f) = bindings::tcp_prot.release_cb {
                f(sk);
            }
        }
    }

    /// # Safety
    ///
    /// Called by the host stack as `proto::unhash`, with the socket locked.
    pub(super) unsafe extern "C" fn unhash(sk: *mut bindings::sock) {
        // SAFETY: a TCP socket, as it has our table, and kept by whoever has its lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `tcp_set_state()`, the only caller, is called with the socket owned, or with
        // its spin lock held and no owner.
        H::unhash(unsafe { LockedSock::assume(sock) });
        // SAFETY: the host's own method, from its static table, with the same argument and
        // the same lock.
        unsafe {
            if let Some(f) = (*base(sock)).unhash {
                f(sk);
            }
        }
    }

    /// # Safety
    ///
    /// Called through `sk_backlog_rcv` with the socket owned by a user.
    pub(super) unsafe extern "C" fn backlog_rcv(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
    ) -> c_int {
        // SAFETY: a TCP socket, as it has our methods, and kept by the owner of its lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `__release_sock()` has taken the frame out of the backlog, with its `next`
        // null, and gives it away.
        let skb = unsafe { SkBuff::from_raw(skb) };
        // SAFETY: `__release_sock()`, the only caller for a TCP socket, is called by the owner
        // of its lock.
        H::backlog_rcv(unsafe { LockedSock::assume(sock) }, skb);
        0
    }

    /// # Safety
    ///
    /// Called by `tcp_transmit_skb()` with the socket locked.
    pub(super) unsafe extern "C" fn queue_xmit(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
        fl: *mut bindings::flowi,
    ) -> c_int {
        // SAFETY: a TCP socket, as it has our methods, and kept by whoever has its lock.
        let sock = unsafe { Sock::from_raw(sk) };
        // SAFETY: `__tcp_transmit_skb()` gives the frame away: a clone or one that it made, on
        // no list.
        let frame = unsafe { SkBuff::from_raw(skb) };
        // SAFETY: `__tcp_transmit_skb()` is called with the socket owned, or with its spin lock
        // held and no owner.
        match H::queue_xmit(unsafe { LockedSock::assume(sock) }, frame) {
            HostFrame::Taken(ret) => ret,
            HostFrame::Pass(skb) => {
                let original = original_af_ops(sock);
                // SAFETY: a static table of the kernel by the invariant of `AfOps`, or the
                // socket's own, if it is no longer delegated.
                match unsafe { (*original).queue_xmit } {
                    // SAFETY: the host's own method, with the same socket and flow, the same
                    // lock, and a frame that we give away.
                    Some(f) => unsafe { f(sk, skb.into_raw(), fl) },
                    None => errno::EOPNOTSUPP().to_errno(),
                }
            }
        }
    }
}
