// SPDX-License-Identifier: GPL-2.0

//! Socket options that an application sets on an offloaded connection: which the target
//! need not know, which it has cached, and which only the host stack honours.

use super::reason::UploadReason;

/// An option, as `setsockopt(2)` names it. Numbers are those of the C headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SockOpt {
    /// `SOL_TCP` or another level.
    pub level: i32,
    /// Its name within the level.
    pub name: i32,
}

/// Levels and names by those of the C headers.
#[allow(missing_docs, reason = "the headers document them")]
pub mod names {
    pub const SOL_IP: i32 = 0;
    pub const SOL_TCP: i32 = 6;
    pub const SOL_IPV6: i32 = 41;

    pub const IP_TOS: i32 = 1;
    pub const IP_TTL: i32 = 2;

    pub const IPV6_UNICAST_HOPS: i32 = 16;
    pub const IPV6_TCLASS: i32 = 67;

    pub const TCP_NODELAY: i32 = 1;
    pub const TCP_CORK: i32 = 3;
    pub const TCP_KEEPIDLE: i32 = 4;
    pub const TCP_KEEPINTVL: i32 = 5;
    pub const TCP_KEEPCNT: i32 = 6;
    pub const TCP_SYNCNT: i32 = 7;
    pub const TCP_LINGER2: i32 = 8;
    pub const TCP_DEFER_ACCEPT: i32 = 9;
    pub const TCP_WINDOW_CLAMP: i32 = 10;
    pub const TCP_QUICKACK: i32 = 12;
    pub const TCP_THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub const TCP_USER_TIMEOUT: i32 = 18;
    pub const TCP_NOTSENT_LOWAT: i32 = 25;
    pub const TCP_ULP: i32 = 31;
    pub const TCP_INQ: i32 = 36;
    pub const TCP_RTO_MAX_MS: i32 = 44;
}

/// How an option goes together with an offload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionKind {
    /// The target need not know.
    Harmless,
    /// Cached state of the target follows it.
    Cached,
    /// The host stack must have the connection, which is uploaded for that reason.
    NeedsHost(UploadReason),
}

impl SockOpt {
    /// How it goes together with an offload. What is not known needs the host stack.
    pub const fn kind(self) -> OptionKind {
        use names as c;

        match (self.level, self.name) {
            (c::SOL_TCP, c::TCP_ULP) => OptionKind::NeedsHost(UploadReason::Ulp),
            (
                c::SOL_TCP,
                c::TCP_QUICKACK
                | c::TCP_USER_TIMEOUT
                | c::TCP_NOTSENT_LOWAT
                | c::TCP_LINGER2
                | c::TCP_SYNCNT
                | c::TCP_DEFER_ACCEPT
                | c::TCP_INQ
                | c::TCP_WINDOW_CLAMP
                | c::TCP_THIN_LINEAR_TIMEOUTS
                | c::TCP_RTO_MAX_MS,
            ) => OptionKind::Harmless,
            (
                c::SOL_TCP,
                c::TCP_NODELAY | c::TCP_CORK | c::TCP_KEEPIDLE | c::TCP_KEEPINTVL | c::TCP_KEEPCNT,
            ) => OptionKind::Cached,
            (c::SOL_IP, c::IP_TOS | c::IP_TTL) => OptionKind::Cached,
            (c::SOL_IPV6, c::IPV6_TCLASS | c::IPV6_UNICAST_HOPS) => OptionKind::Cached,
            _ => OptionKind::NeedsHost(UploadReason::Setsockopt),
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_sockopt))]
mod tests {
    use super::{
        names::*,
        *, //
    };

    const HARMLESS: [(i32, i32); 10] = [
        (SOL_TCP, TCP_SYNCNT),
        (SOL_TCP, TCP_LINGER2),
        (SOL_TCP, TCP_DEFER_ACCEPT),
        (SOL_TCP, TCP_WINDOW_CLAMP),
        (SOL_TCP, TCP_QUICKACK),
        (SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS),
        (SOL_TCP, TCP_USER_TIMEOUT),
        (SOL_TCP, TCP_NOTSENT_LOWAT),
        (SOL_TCP, TCP_INQ),
        (SOL_TCP, TCP_RTO_MAX_MS),
    ];

    const CACHED: [(i32, i32); 9] = [
        (SOL_TCP, TCP_NODELAY),
        (SOL_TCP, TCP_CORK),
        (SOL_TCP, TCP_KEEPIDLE),
        (SOL_TCP, TCP_KEEPINTVL),
        (SOL_TCP, TCP_KEEPCNT),
        (SOL_IP, IP_TOS),
        (SOL_IP, IP_TTL),
        (SOL_IPV6, IPV6_TCLASS),
        (SOL_IPV6, IPV6_UNICAST_HOPS),
    ];

    #[test]
    fn every_option_of_every_level() {
        for level in -1..300 {
            for name in -1..300 {
                let expected = if HARMLESS.contains(&(level, name)) {
                    OptionKind::Harmless
                } else if CACHED.contains(&(level, name)) {
                    OptionKind::Cached
                } else if (level, name) == (SOL_TCP, TCP_ULP) {
                    OptionKind::NeedsHost(UploadReason::Ulp)
                } else {
                    OptionKind::NeedsHost(UploadReason::Setsockopt)
                };
                assert!(SockOpt { level, name }.kind() == expected);
            }
        }
    }
}
