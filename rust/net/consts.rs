// SPDX-License-Identifier: GPL-2.0

//! Numbers of the C headers: flags of calls, and that the logic has its own of socket
//! options right.

use crate::{
    bindings,
    logic::sockopt::names, //
};

macro_rules! same {
    ($($name:ident)*) => {
        $( const _: () = assert!(names::$name == bindings::$name as i32); )*
    };
}

same! {
    SOL_TCP SOL_IP SOL_IPV6
    IP_TOS IP_TTL IPV6_TCLASS IPV6_UNICAST_HOPS
    TCP_ULP TCP_NODELAY TCP_CORK TCP_QUICKACK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT
    TCP_USER_TIMEOUT TCP_NOTSENT_LOWAT TCP_LINGER2 TCP_SYNCNT TCP_DEFER_ACCEPT TCP_INQ
    TCP_WINDOW_CLAMP TCP_THIN_LINEAR_TIMEOUTS TCP_RTO_MAX_MS
}

/// Flags of `sendmsg(2)`.
pub(crate) const MSG_DONTWAIT: u32 = bindings::MSG_DONTWAIT;
pub(crate) const MSG_NOSIGNAL: u32 = bindings::MSG_NOSIGNAL;
pub(crate) const MSG_WAITALL: u32 = bindings::MSG_WAITALL;
pub(crate) const MSG_MORE: u32 = bindings::MSG_MORE;

/// Flags of `recvmsg(2)` with which a call may be served from a posted buffer.
pub(crate) const RECV_PLAIN: u32 = bindings::TOE_RECV_FLAGS;
