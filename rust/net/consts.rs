// SPDX-License-Identifier: GPL-2.0

//! Socket options by the names of the C headers, as `setsockopt(2)` passes them.

use kernel::ffi::c_int;

use crate::bindings;

macro_rules! consts {
    ($($name:ident)*) => {
        $( pub(crate) const $name: c_int = bindings::$name as c_int; )*
    };
}

consts! {
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
