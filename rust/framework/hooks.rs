// SPDX-License-Identifier: GPL-2.0

//! The socket layer's calls on an offloaded connection.
//!
//! A call that a target cannot serve first uploads the connection; then the host's own
//! method does exactly what was asked for.

use kernel::prelude::*;

use super::{
    candidates,
    connection,
    deferred,
    handover,
    read,
    recvmsg,
    release_cb,
    sendmsg,
    trigger::Trigger,
    update,
    upload, //
};
use crate::{
    logic::{
        reason::{
            Refusal,
            UploadReason, //
        },
        sockopt::{
            OptionKind,
            SockOpt, //
        }, //
    },
    net::{
        errno,
        proto::{
            self,
            Call,
            Hooks,
            HostFrame,
            Msg,
            OptValue,
            Received, //
        },
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        },
        sock_meta,
        sync::rcu::ReadGuard,
        tracepoint::StateProbe,
        ulp::Ulp, //
    }, //
};

/// What an application says to `setsockopt(TCP_ULP)`.
pub(crate) const ULP_NAME: &CStr = c"toe";

/// See the module's documentation.
pub(crate) struct SocketHooks;

/// `false`: the module is on its way out, and all connections go back by that.
fn locked_upload(sk: &Sock, reason: UploadReason, call: &'static CStr) -> bool {
    if proto::is_ours(sk) {
        let Some(lock) = connection::lock(sk, call) else {
            return false;
        };
        deferred::flush(lock.locked());
        upload::upload(lock.locked(), reason);
    }
    true
}

/// Tells the target of an option that it has cached.
fn push_options(sk: &Sock) {
    if !proto::is_ours(sk) {
        return;
    }
    let Some(lock) = connection::lock(sk, c"setsockopt") else {
        return;
    };
    let guard = ReadGuard::new();
    if let Some(conn) = connection::of(lock.locked(), &guard) {
        update::push(lock.locked(), conn);
    }
}

impl Hooks for SocketHooks {
    fn sendmsg(sk: &Sock, msg: &mut Msg<'_>) -> Option<Result<usize>> {
        sendmsg::sendmsg(sk, msg)
    }

    #[inline(always)]
    fn read(sk: &Sock, msg: &mut Msg<'_>) -> Option<usize> {
        read::read(sk, msg)
    }

    fn read_done(sk: &Sock) {
        read::done(sk);
    }

    fn recvmsg(sk: &Sock, msg: &mut Msg<'_>, flags: u32) -> Received {
        recvmsg::recvmsg(sk, msg, flags)
    }

    fn before_close(sk: &Sock) {
        locked_upload(sk, UploadReason::Close, c"close");
    }

    fn setsockopt(
        sk: &Sock,
        opt: SockOpt,
        value: &OptValue,
        host: impl FnOnce() -> i32,
    ) -> Option<i32> {
        let reason = match opt.kind() {
            OptionKind::Harmless => return None,
            // The value may be in memory that takes its time.
            OptionKind::Cached => {
                let pin = connection::pin(sk, c"setsockopt");
                if !pin.held() {
                    return None;
                }
                let ret = host();
                if ret == 0 {
                    push_options(sk);
                }
                return Some(ret);
            }
            OptionKind::NeedsHost(reason) => reason,
        };
        if matches!(reason, UploadReason::Ulp) {
            let pin = connection::pin(sk, c"setsockopt");
            // What is offloaded already needs not be asked for.
            if pin.held() && value.is(ULP_NAME) && proto::is_ours(sk) {
                return Some(0);
            }
        }
        locked_upload(sk, reason, c"setsockopt");
        None
    }

    fn before_locked(sk: LockedSock<'_>, call: Call) {
        deferred::flush(sk);
        upload::upload(
            sk,
            match call {
                Call::Shutdown => UploadReason::Shutdown,
                Call::Disconnect => UploadReason::Disconnect,
            },
        );
    }

    fn unhash(sk: LockedSock<'_>) {
        upload::upload(sk, UploadReason::Close);
    }

    fn backlog_rcv(sk: LockedSock<'_>, skb: SkBuff) {
        connection::backlog(sk, skb);
    }

    #[inline(always)]
    fn release_awaited() -> bool {
        release_cb::awaited()
    }

    fn release(sk: LockedSock<'_>, awaited: bool) {
        release_cb::release(sk, awaited);
    }

    fn queue_xmit(sk: LockedSock<'_>, skb: SkBuff) -> HostFrame {
        let guard = ReadGuard::new();
        let conn = connection::of(sk, &guard).and_then(|conn| Some((conn, conn.reach()?)));
        match conn {
            Some((conn, (target, at))) => {
                update::sync_options(sk, conn);
                target.host_frame(sk, at, conn.delegated(sk), skb)
            }
            None => HostFrame::Pass(skb),
        }
    }
}

impl Ulp for SocketHooks {
    fn init(sk: LockedSock<'_>) -> Result {
        let mut trigger = Trigger {
            process: Some(sock_meta::current_name()),
            ..Trigger::new(true)
        };
        match handover::offload(sk, &mut trigger) {
            // Its device may have left meanwhile.
            Ok(_) if proto::is_ours(&sk) => Ok(()),
            Ok(_) => Err(errno::EOPNOTSUPP()),
            Err(Refusal::NotEstablished) if !sk.is_connected() => Err(errno::ENOTCONN()),
            Err(Refusal::NoMemory) => Err(ENOMEM),
            Err(_) => Err(errno::EOPNOTSUPP()),
        }
    }
}

impl StateProbe for SocketHooks {
    fn established(sk: LockedSock<'_>) {
        candidates::established(sk);
    }
}
