// SPDX-License-Identifier: GPL-2.0

//! The replaced methods as C calls them: each finds the framework's [`Hooks`], and then
//! the host's own method.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

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
pub(super) struct Adapter<H: Hooks>(PhantomData<H>);

impl<H: Hooks> Adapter<H> {
    /// # Safety
    ///
    /// Called by `toe_sendmsg()`, with its arguments.
    pub(super) unsafe extern "C" fn sendmsg(
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
        bindings::TOE_CALL_HOST
    }

    /// # Safety
    ///
    /// Called by `toe_recvmsg()`, with its arguments.
    pub(super) unsafe extern "C" fn recvmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        let _call = InFlight::enter();
        // SAFETY: the socket layer holds a reference for the call.
        let sock = unsafe { Sock::from_raw(sk) };
        let Some(raw) = NonNull::new(msg) else {
            return bindings::TOE_CALL_HOST;
        };
        let mut msg = Msg {
            raw,
            len,
            _life: PhantomData,
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
    /// Called by `toe_close()`, with its socket.
    pub(super) unsafe extern "C" fn close(sk: *mut bindings::sock) {
        let _call = InFlight::enter();
        // SAFETY: the caller holds a reference.
        H::before_close(unsafe { Sock::from_raw(sk) });
    }

    /// # Safety
    ///
    /// Called by the socket layer as `proto::shutdown`, with the socket locked.
    pub(super) unsafe extern "C" fn shutdown(sk: *mut bindings::sock, how: c_int) {
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
    pub(super) unsafe extern "C" fn disconnect(sk: *mut bindings::sock, flags: c_int) -> c_int {
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
    /// Called by `toe_setsockopt()`, with its arguments.
    pub(super) unsafe extern "C" fn setsockopt(
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
        let host = || {
            // SAFETY: the host's own method, with the caller's arguments.
            match unsafe { (*base(sock)).setsockopt } {
                // SAFETY: as above.
                Some(f) => unsafe { f(sk, level, name, val, len) },
                None => errno::ENOPROTOOPT().to_errno(),
            }
        };
        match H::setsockopt(sock, opt, &OptValue { val, len }, host) {
            Some(ret) => ret,
            None => bindings::TOE_CALL_HOST,
        }
    }

    /// # Safety
    ///
    /// Called by `release_sock()` with the socket owned by the caller.
    pub(super) unsafe extern "C" fn release_cb(sk: *mut bindings::sock) {
        if H::release_awaited() {
            // SAFETY: the caller owns the socket lock, and holds the spin lock.
            unsafe {
                let awaited = bindings::toe_sock_awaited(sk);
                H::release(LockedSock::assume(Sock::from_raw(sk)), awaited);
            }
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
    pub(super) unsafe extern "C" fn unhash(sk: *mut bindings::sock) {
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
    /// Called through `sk_backlog_rcv` with the socket owned by a user.
    pub(super) unsafe extern "C" fn backlog_rcv(
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
    pub(super) unsafe extern "C" fn queue_xmit(
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
