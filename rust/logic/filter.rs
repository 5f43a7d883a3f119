// SPDX-License-Identifier: GPL-2.0

//! What looks at a connection's frames on their way through the host stack, and would no
//! longer see them with an offload. Each has a name, a refusal and an upload reason, and
//! most have a knob by which an administrator lets it be skipped.

use super::reason::{
    Refusal,
    UploadReason, //
};

/// Something that looks at frames. The order is that of `enum toe_filter`'s bits, and
/// of what is named first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Filter {
    /// An xfrm (IPsec) policy of the namespace or the socket, or a route that transforms
    /// frames.
    Xfrm,
    /// A netfilter hook of the namespace or the device that is not conntrack's.
    Netfilter,
    /// The hooks of connection tracking.
    Conntrack,
    /// A queueing discipline that queues.
    Qdisc,
    /// A tc program at ingress or egress: clsact, tcx.
    Tc,
    /// An XDP program.
    Xdp,
    /// A BPF program of the socket's cgroup, at ingress or egress.
    CgroupBpf,
    /// A filter attached to the socket.
    Socket,
    /// A BPF program that asked for callbacks of the connection. It may also change
    /// what is sent, so that there is no bypass.
    SockOps,
    /// Another device that takes the device's frames: a bridge, Open vSwitch, bond, team,
    /// macvlan, ipvlan or the like, whose port it is (`rx_handler`), or a VRF. It decides
    /// whose a frame is, so that there is no bypass.
    RxHandler,
}

impl Filter {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Xfrm,
        Self::Netfilter,
        Self::Conntrack,
        Self::Qdisc,
        Self::Tc,
        Self::Xdp,
        Self::CgroupBpf,
        Self::Socket,
        Self::SockOps,
        Self::RxHandler,
    ];

    /// Those that no knob lets be skipped.
    const STRICT: u32 = Self::SockOps.bit() | Self::RxHandler.bit();

    /// Its bit in a [`Filters`].
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Why a connection whose frames it sees is not offloaded.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Xfrm => Refusal::Xfrm,
            Self::Netfilter => Refusal::Netfilter,
            Self::Conntrack => Refusal::Conntrack,
            Self::Qdisc => Refusal::Qdisc,
            Self::Tc => Refusal::TcFilter,
            Self::Xdp => Refusal::Xdp,
            Self::CgroupBpf => Refusal::CgroupBpf,
            Self::Socket => Refusal::SocketFilter,
            Self::SockOps => Refusal::SockOps,
            Self::RxHandler => Refusal::RxHandler,
        }
    }

    /// Why a connection that is offloaded comes back when it is installed.
    pub const fn upload(self) -> UploadReason {
        match self {
            Self::Xfrm => UploadReason::Xfrm,
            Self::Netfilter => UploadReason::Netfilter,
            Self::Conntrack => UploadReason::Conntrack,
            Self::Qdisc => UploadReason::Qdisc,
            Self::Tc => UploadReason::TcFilter,
            Self::Xdp => UploadReason::Xdp,
            Self::CgroupBpf => UploadReason::CgroupBpf,
            Self::Socket => UploadReason::SocketFilter,
            Self::SockOps => UploadReason::SockOps,
            Self::RxHandler => UploadReason::RxHandler,
        }
    }
}

/// A set of filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filters(u32);

impl Filters {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Those of both sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Their [bits](Filter::bit).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these [bits](Filter::bit).
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns whether `filter` is one of them.
    pub const fn has(self, filter: Filter) -> bool {
        self.0 & filter.bit() != 0
    }

    /// Those that `bypass` does not allow to be skipped.
    pub const fn without(self, bypass: Self) -> Self {
        Self(self.0 & (!bypass.0 | Filter::STRICT))
    }

    /// The one that is named for all.
    #[inline]
    pub fn first(self) -> Option<Filter> {
        if self.0 == 0 {
            return None;
        }
        Filter::ALL.into_iter().find(|filter| self.has(*filter))
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_filter))]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_the_order() {
        for (i, filter) in Filter::ALL.iter().enumerate() {
            assert_eq!(filter.bit(), 1 << i);
        }
    }

    #[test]
    fn refusal_and_upload_have_one_name() {
        for (i, filter) in Filter::ALL.iter().enumerate() {
            assert_eq!(filter.refusal().name(), filter.upload().name());
            for other in Filter::ALL.get(..i).unwrap_or(&[]) {
                assert!(other.refusal() != filter.refusal());
            }
        }
    }

    #[test]
    fn what_is_bypassed_is_not_named() {
        let both = Filters::from_bits(Filter::Netfilter.bit() | Filter::Conntrack.bit());
        assert!(both.first() == Some(Filter::Netfilter));
        let rest = both.without(Filters::from_bits(Filter::Netfilter.bit()));
        assert!(rest.first() == Some(Filter::Conntrack));
        assert!(rest.without(both).first().is_none());
        // All knobs together do not let these be skipped.
        let all = Filters::from_bits(u32::MAX);
        assert_eq!(all.without(all).bits(), Filter::STRICT);
    }
}
