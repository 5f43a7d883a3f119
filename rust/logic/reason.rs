// SPDX-License-Identifier: GPL-2.0

//! Names of everything that can keep a connection from the target or take it
//! back, for a moment or for good: refusals, special cases, upload reasons.
//!
//! Each enumeration is one table, so that a variant, its counter's index and
//! the name shown in sysfs, `ethtool -S` and tracepoints cannot drift apart.

/// Defines an enumeration whose variants have a name and a dense index.
macro_rules! reasons {
    (
        $(#[$meta:meta])*
        pub enum $type:ident {
            $( $(#[$doc:meta])* $variant:ident = $name:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $type {
            $( $(#[$doc])* $variant, )+
        }

        impl $type {
            /// All variants, in the order of their indices.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// Number of variants: the length of a table of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The names, in the order of the indices.
            pub const NAMES: [&'static str; Self::COUNT] = [$( $name, )+];

            /// The name as counters, logs and tracepoints show it: lower case
            /// letters, digits and underscores.
            #[allow(dead_code, reason = "of some only the table of names is shown")]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $name, )+
                }
            }

            /// The index into a table of [`Self::COUNT`] counters.
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Why a connection is not offloaded. It goes on in the host stack, and the
    /// device counts the reason.
    pub enum Refusal {
        /// The connection is neither in state ESTABLISHED nor in CLOSE_WAIT.
        NotEstablished = "not_established",
        /// The socket is not a plain TCP socket: its `sk_prot` is another's.
        OtherProto = "other_proto",
        /// Another upper layer protocol (`TCP_ULP`) is in place.
        OtherUlp = "other_ulp",
        /// The socket is in `TCP_REPAIR` mode.
        TcpRepair = "tcp_repair",
        /// The socket has a PSP association.
        Psp = "psp",
        /// TCP-MD5 (RFC 2385) or TCP-AO (RFC 5925) keys are in use.
        Md5Ao = "md5_ao",
        /// Received data waits for a gap to be filled.
        OutOfOrder = "out_of_order",
        /// Urgent data is pending in either direction.
        Urgent = "urgent",
        /// The neighbour is not resolved.
        Neighbour = "neighbour",
        /// There is no longer a route to the peer.
        NoRoute = "no_route",
        /// The route does not leave through an offload target.
        NotToeDevice = "not_toe_device",
        /// An xfrm (IPsec) policy or state applies.
        Xfrm = "xfrm",
        /// A queueing discipline would be skipped.
        Qdisc = "qdisc",
        /// A netfilter hook would be skipped.
        Netfilter = "netfilter",
        /// A tc filter (clsact, ingress) would be skipped.
        TcFilter = "tc_filter",
        /// A filter is attached to the socket.
        SocketFilter = "socket_filter",
        /// Connection tracking would be skipped.
        Conntrack = "conntrack",
        /// An XDP program would be skipped.
        Xdp = "xdp",
        /// A BPF program of the socket's cgroup would be skipped.
        CgroupBpf = "cgroup_bpf",
        /// A BPF program asked for callbacks of the connection (sock_ops).
        SockOps = "sock_ops",
        /// The socket is in a sockmap.
        Sockmap = "sockmap",
        /// Somebody else in the kernel uses the socket (`sk_user_data`).
        UserData = "user_data",
        /// The target's connection table is full.
        TableFull = "table_full",
        /// The configured number of connections is reached.
        ConnLimit = "conn_limit",
        /// The socket wants timestamps (`SO_TIMESTAMP`, `SO_TIMESTAMPING`) or
        /// delayed transmission, which the target does not support.
        UnsupportedOption = "unsupported_option",
        /// The congestion control is not one that the target can drive.
        CongestionControl = "congestion_control",
        /// No memory for the entry.
        NoMemory = "no_memory",
        /// The device's policy says no.
        Policy = "policy",
        /// A port is outside of the configured range.
        PortLimit = "port_limit",
        /// The remote address is outside of the configured prefix.
        AddressLimit = "address_limit",
        /// Another task uses the socket at that moment.
        Contended = "contended",
        /// The connection is a subflow of an MPTCP connection.
        Mptcp = "mptcp",
        /// The connection belongs to an SMC socket.
        Smc = "smc",
        /// The TCP Fast Open exchange is not finished.
        Fastopen = "fastopen",
        /// Loss recovery is under way.
        Recovery = "recovery",
        /// The sending direction is shut down.
        Shutdown = "shutdown",
        /// The host stack probes the peer, which is silent or has a window of zero.
        ZeroWindow = "zero_window",
        /// The connection was uploaded too recently or too often.
        Backoff = "backoff",
        /// The device is down or going away, or has no carrier.
        DeviceDown = "device_down",
        /// Explicit congestion notification is in use.
        Ecn = "ecn",
        /// Pacing is on, which the target would not keep.
        Pacing = "pacing",
        /// The connection is offloaded already.
        Already = "already",
        /// The peer's MSS or the path MTU is too small for the target.
        SmallMss = "small_mss",
        /// Too little data was transferred so far.
        MinBytes = "min_bytes",
        /// Too few segments with data were exchanged so far.
        MinSegments = "min_segments",
        /// The connection is younger than the rule that it meets asks for.
        MinAge = "min_age",
        /// The first rule that the connection meets denies it.
        Rule = "rule",
        /// The connection meets none of the rules.
        NoRule = "no_rule",
        /// The rules deny it for now: one could be met with more bytes or greater age.
        RuleWait = "rule_wait",
        /// IP options or extension headers are set on the socket.
        IpOptions = "ip_options",
        /// The host stack looks for a larger path MTU (RFC 4821).
        MtuProbe = "mtu_probe",
        /// The tuple is already in the connection table.
        Duplicate = "duplicate",
        /// A VLAN device on the way does what the target cannot.
        Vlan = "vlan",
        /// The device is a port of another one, which takes its frames.
        RxHandler = "rx_handler",
        /// The bond sends frames of one connection by several members, or by any: round-robin,
        /// broadcast, tlb, alb.
        BondMode = "bond_mode",
        /// The target takes no connections of this address family.
        Family = "family",
        /// A full segment is larger than the largest frame that the target takes.
        FrameSize = "frame_size",
        /// The target does not answer, or refuses for a reason of its own.
        Target = "target",
    }
}

reasons! {
    /// Why a connection went back from the target to the host stack.
    pub enum UploadReason {
        /// Too many special cases in a short time.
        LegacyOften = "legacy_often",
        /// Legacy mode lasted too long.
        LegacyLong = "legacy_long",
        /// `close()`.
        Close = "close",
        /// `shutdown()`.
        Shutdown = "shutdown",
        /// `connect()` with `AF_UNSPEC`.
        Disconnect = "disconnect",
        /// A socket option that the target cannot honour.
        Setsockopt = "setsockopt",
        /// Another upper layer protocol was asked for.
        Ulp = "ulp",
        /// Others waited for the socket while it was handed over, in calls that do not know
        /// of the offload.
        Contended = "contended",
        /// The administrator asked for it.
        Admin = "admin",
        /// The link went down.
        LinkDown = "link_down",
        /// The device is being removed, alone or with the module or its namespace.
        DeviceGone = "device_gone",
        /// The route leads elsewhere, or the own link address changed.
        RouteChange = "route_change",
        /// The next hop's link address is no longer known.
        Neighbour = "neighbour",
        /// A filter was attached to the socket.
        SocketFilter = "socket_filter",
        /// An xfrm (IPsec) policy was added.
        Xfrm = "xfrm",
        /// A netfilter hook was registered.
        Netfilter = "netfilter",
        /// Connection tracking was switched on.
        Conntrack = "conntrack",
        /// The device got a queueing discipline that queues.
        Qdisc = "qdisc",
        /// The device got a tc program (clsact, tcx).
        TcFilter = "tc_filter",
        /// The device got an XDP program.
        Xdp = "xdp",
        /// The socket's cgroup got a BPF program.
        CgroupBpf = "cgroup_bpf",
        /// A BPF program asked for callbacks of the connection (sock_ops).
        SockOps = "sock_ops",
        /// Something failed in the target.
        Error = "error",
        /// A special case, of a target that has no legacy mode.
        Special = "special",
        /// A VLAN device on the way is down, gone, or not what it was.
        Vlan = "vlan",
        /// The device became a port of another one, which takes its frames.
        RxHandler = "rx_handler",
        /// A bond on the way is down, gone, or not what it was.
        Bond = "bond",
        /// The bond sends by another member, which could not take the connection.
        Failover = "failover",
    }
}

reasons! {
    /// What became of a connection on a bond that sends by another member now.
    pub enum Failover {
        /// The target of that member has it.
        Moved = "moved",
        /// That member carries its frames, and the host stack has it: the member is no target,
        /// or refused it.
        Link = "link",
        /// The host stack has it, and no member carries its frames at present.
        Host = "host",
    }
}

impl UploadReason {
    /// The reason with that index, if there is one.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }
}

reasons! {
    /// Which of a connection's cached state was brought up to date in the target,
    /// which goes on with it.
    pub enum Update {
        /// The next hop has another link address.
        Neighbour = "neighbour",
        /// The route was looked up again, and leaves by the same device.
        Route = "route",
        /// A socket option: type of service, time to live, priority, Nagle, keepalive.
        Option = "option",
        /// The path has another MTU.
        PathMtu = "path_mtu",
        /// An object is no longer valid: nothing is sent for what depends on it.
        Invalid = "invalid",
    }
}

reasons! {
    /// What the target does not finish itself: the host stack does, with the connection
    /// in legacy mode. Most are found in a received frame, the last ones in
    /// what the host stack does.
    pub enum SpecialCase {
        /// The segment starts after the expected sequence number, or data waits
        /// for a gap to be filled.
        OutOfOrder = "out_of_order",
        /// The segment starts before the expected sequence number; a keepalive
        /// probe.
        OldSequence = "old_sequence",
        /// The acknowledgement number is not between `snd_una` and `snd_nxt`.
        AckOutside = "ack_outside",
        /// A duplicate ACK (RFC 5681 section 2).
        DupAck = "dup_ack",
        /// A SACK option, or any ACK while the host view is in loss recovery.
        Sack = "sack",
        /// The FIN flag.
        Fin = "fin",
        /// The RST flag.
        Rst = "rst",
        /// The SYN flag.
        Syn = "syn",
        /// The URG flag, in either direction.
        Urg = "urg",
        /// An IPv4 header longer than 20 bytes.
        IpOptions = "ip_options",
        /// A fragment.
        Fragment = "fragment",
        /// An IPv6 extension header before the TCP header.
        ExtHeader = "ext_header",
        /// Impossible lengths, or no ACK flag.
        BadHeader = "bad_header",
        /// A wrong checksum.
        BadChecksum = "bad_checksum",
        /// An unknown, unexpected or malformed TCP option.
        BadOption = "bad_option",
        /// No timestamp option where one was negotiated.
        NoTimestamp = "no_timestamp",
        /// The timestamp is older than `ts_recent` (RFC 7323 section 5).
        Paws = "paws",
        /// Congestion experienced, or the flags ECE, CWR or AE.
        Ecn = "ecn",
        /// The new window is zero, and less than was offered before.
        ZeroWindow = "zero_window",
        /// The right edge of the peer's window moved back.
        WindowShrunk = "window_shrunk",
        /// The segment ends beyond the window offered.
        BeyondWindow = "beyond_window",
        /// The peer asks whether the window that we shut is open again.
        WindowProbe = "window_probe",
        /// The payload does not fit into the socket's receive memory, or an
        /// allocation failed.
        NoMemory = "no_memory",
        /// A buffer of the send queue has to be divided, and only the host stack can:
        /// it has data in its linear part.
        ForeignBuffer = "foreign_buffer",
        /// The retransmission timer expired.
        Rto = "rto",
        /// The persist timer expired: the host probes the peer's window.
        Persist = "persist",
        /// The keepalive timer expired.
        Keepalive = "keepalive",
        /// The host stack retransmits without having waited for the timer: a tail
        /// loss probe, a handler of ICMP errors.
        HostRetransmit = "host_retransmit",
        /// The path has another MTU: the host stack adapts the MSS (RFC 1191).
        PathMtu = "path_mtu",
        /// The host stack looks for a larger path MTU (RFC 4821).
        MtuProbe = "mtu_probe",
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_reason))]
mod tests {
    use super::*;

    #[test]
    fn index_and_name_agree_with_the_tables() {
        for (i, r) in Refusal::ALL.iter().enumerate() {
            assert_eq!(r.index(), i);
            assert_eq!(r.name(), Refusal::NAMES[i]);
        }
        for (i, r) in UploadReason::ALL.iter().enumerate() {
            assert_eq!(r.index(), i);
            assert_eq!(r.name(), UploadReason::NAMES[i]);
            assert!(UploadReason::from_index(i) == Some(*r));
        }
        assert!(UploadReason::from_index(UploadReason::COUNT).is_none());
    }

    #[test]
    fn names_are_unique_and_plain() {
        let sets: [&[&str]; 5] = [
            &Failover::NAMES,
            &Refusal::NAMES,
            &UploadReason::NAMES,
            &Update::NAMES,
            &SpecialCase::NAMES,
        ];
        for names in sets {
            for (i, a) in names.iter().enumerate() {
                assert!(a
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
                assert!(!a.is_empty() && a.len() < 28);
                assert!(!names[..i].contains(a));
            }
        }
    }
}
