// SPDX-License-Identifier: GPL-2.0

//! `struct tcp_sock` under the socket lock: reading the kernel-level state into
//! an entry, and writing an entry's delegated state back. The queues and what
//! goes with them are in the files below.
//!

mod direct;
mod route;
mod rx;
mod short;
mod tx;

pub(crate) use route::{
    Hop,
    TxBlockers, //
};
pub(crate) use short::SIZES as SHORT_SIZES;
pub(crate) use tx::{
    AppendError,
    SendHead, //
};

use core::ptr::{
    addr_of,
    addr_of_mut,
    read_volatile,
    write_volatile, //
};

use kernel::ffi::{
    c_int,
    c_ulong, //
};

use super::{
    context::Bh,
    proto,
    sock::{
        LockedSock,
        Sock, //
    }, //
};
use crate::{
    bindings,
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        eligibility::Eligibility,
        legacy::HostState,
        reason::Refusal,
        rtt::Rtt,
        seq::Seq, //
    }, //
};

/// Timer ticks a second.
const HZ: u32 = bindings::TOE_HZ;
const NSEC_PER_USEC: u64 = 1_000;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = bindings::TCP_ESTABLISHED as u8;
/// `TCP_CLOSE_WAIT`.
const CLOSE_WAIT: u8 = bindings::TCP_CLOSE_WAIT as u8;
/// `SO_KEEPALIVE` among a socket's flags.
const KEEPOPEN: c_ulong = 1 << bindings::TOE_SOCK_KEEPOPEN;
/// `TCP_CA_Open`.
const CA_OPEN: u8 = 0;

impl Sock {
    /// As [`LockedSock::data_segments`], at this moment. Any context; the lock need not be
    /// held.
    pub(crate) fn data_segments_now(&self) -> u64 {
        let tp: *mut bindings::tcp_sock = self.as_ptr().cast();
        // SAFETY: live by the type invariant; racy reads: aligned, written in one piece.
        let (sent, received) = unsafe {
            (
                read_volatile(addr_of!((*tp).data_segs_out)),
                read_volatile(addr_of!((*tp).data_segs_in)),
            )
        };
        u64::from(sent) + u64::from(received)
    }

    /// Returns whether the connection is closed by this end, or reset, at this moment. One
    /// that is about to be established is not: its state is written after the tracepoint.
    /// Any context.
    pub(crate) fn has_ended(&self) -> bool {
        // SAFETY: live by the type invariant; a racy read: aligned, written in one piece.
        let state = unsafe { read_volatile(addr_of!((*self.as_ptr()).__sk_common.skc_state)) };
        !matches!(
            u32::from(state),
            bindings::TCP_ESTABLISHED
                | bindings::TCP_CLOSE_WAIT
                | bindings::TCP_SYN_SENT
                | bindings::TCP_SYN_RECV
        )
    }

    /// Returns whether anything on the socket, or on its cgroup, looks at received frames.
    /// Any context; the lock need not be held.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        // For every frame: one branch for all that `toe_sk_watched()` looks at.
        // SAFETY: live by the type invariant; racy reads of a pointer that is only compared with
        // null, of a plain field, and of a counter that is there for ever.
        unsafe {
            let mut any = read_volatile(addr_of!((*self.as_ptr()).sk_filter)) as usize;
            any |= read_volatile(addr_of!((*bindings::toe_ingress_programs).counter)) as usize;
            #[cfg(CONFIG_BPF)]
            {
                let tp = self.as_ptr().cast::<bindings::tcp_sock>();
                any |= usize::from(read_volatile(addr_of!((*tp).bpf_sock_ops_cb_flags)));
            }
            any != 0 && bindings::toe_sk_watched(self.as_ptr())
        }
    }
}

/// Settings of a socket's namespace. They may change at any time: each is read once for a
/// decision.
macro_rules! settings {
    ($($name:ident: $type:ty,)*) => {
        impl LockedSock<'_> {
            $(
                #[inline(always)]
                fn $name(&self) -> $type {
                    // SAFETY: live by the type invariant, and with it its namespace; an aligned
                    // integer, which others write in one piece, and which the host stack reads as
                    // here, without a lock.
                    unsafe { read_volatile(addr_of!((*self.ipv4()).$name)) }
                }
            )*
        }
    };
}

settings! {
    sysctl_tcp_backlog_ack_defer: u8,
    sysctl_tcp_min_tso_segs: u8,
    sysctl_tcp_pingpong_thresh: u8,
    sysctl_tcp_shrink_window: u8,
    sysctl_tcp_tso_rtt_log: u8,
    sysctl_tcp_tso_win_divisor: u8,
    sysctl_tcp_workaround_signed_windows: u8,
}

impl<'a> LockedSock<'a> {
    fn tp(&self) -> *mut bindings::tcp_sock {
        self.as_ptr().cast()
    }

    fn icsk(&self) -> *mut bindings::inet_connection_sock {
        self.as_ptr().cast()
    }

    /// Returns whether this end can still send: ESTABLISHED or, after the peer's FIN,
    /// CLOSE_WAIT.
    pub(crate) fn is_open(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let sk = self.as_ptr();
            matches!((*sk).__sk_common.skc_state, ESTABLISHED | CLOSE_WAIT)
                && u32::from((*sk).sk_shutdown) & bindings::SEND_SHUTDOWN == 0
        }
    }

    /// Returns whether the peer has sent its FIN, or the application has shut its reading
    /// side.
    pub(crate) fn receive_closed(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let sk = self.as_ptr();
            (*sk).__sk_common.skc_state != ESTABLISHED
                || u32::from((*sk).sk_shutdown) & bindings::RCV_SHUTDOWN != 0
        }
    }

    /// Returns whether there is a connection, even half closed (neither CLOSE, LISTEN nor
    /// SYN_SENT).
    pub(crate) fn is_connected(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let state = unsafe { (*self.as_ptr()).__sk_common.skc_state };
        !matches!(
            u32::from(state),
            bindings::TCP_CLOSE | bindings::TCP_LISTEN | bindings::TCP_SYN_SENT
        )
    }

    /// Returns whether it carries IPv6 (not IPv4 mapped into it).
    pub(crate) fn is_v6(&self) -> bool {
        // SAFETY: live and locked by the type invariant; `icsk_af_ops`, which is never null, is
        // there as long as the socket.
        unsafe { usize::from((*(*self.icsk()).icsk_af_ops).net_header_len) == 40 }
    }

    /// Local and remote address (IPv4 in the first four bytes) and port.
    pub(crate) fn tuple(&self) -> ([u8; 16], [u8; 16], u16, u16) {
        let (mut local, mut remote) = ([0u8; 16], [0u8; 16]);
        // SAFETY: live and locked by the type invariant, and an inet_sock, as every TCP socket.
        // Addresses and ports are constant while there is a connection.
        unsafe {
            let common = &(*self.as_ptr()).__sk_common;
            let inet = self.as_ptr().cast::<bindings::inet_sock>();
            let pair = &common.__bindgen_anon_3.__bindgen_anon_1;
            if self.is_v6() {
                local = common.skc_v6_rcv_saddr.in6_u.u6_addr8;
                remote = common.skc_v6_daddr.in6_u.u6_addr8;
            } else {
                local[..4].copy_from_slice(
                    &common
                        .__bindgen_anon_1
                        .__bindgen_anon_1
                        .skc_rcv_saddr
                        .to_ne_bytes(),
                );
                remote[..4].copy_from_slice(
                    &common
                        .__bindgen_anon_1
                        .__bindgen_anon_1
                        .skc_daddr
                        .to_ne_bytes(),
                );
            }
            (
                local,
                remote,
                u16::from_be((*inet).inet_sport),
                u16::from_be(pair.skc_dport),
            )
        }
    }

    /// What speaks against an offload first.
    pub(crate) fn check_eligibility(&self) -> Result<(), Refusal> {
        // SAFETY: live and locked by the type invariant; the methods are only compared.
        let ordinary = unsafe { bindings::toe_sk_ordinary(self.as_ptr(), proto::base(self)) };
        if ordinary {
            debug_assert!(self.eligibility().check().is_ok());
            return Ok(());
        }
        self.eligibility().check()
    }

    /// Reads what the offload decision wants to know of the socket.
    #[inline(never)]
    fn eligibility(&self) -> Eligibility {
        // SAFETY: live and locked by the type invariant.
        let obstacles = unsafe { bindings::toe_sk_obstacles(self.as_ptr()) };
        let is = |obstacle: u32| obstacles & obstacle != 0;
        // SAFETY: live and locked by the type invariant, and with it the congestion control,
        // functions that nobody writes to; fields, accessed in place.
        unsafe {
            let (sk, icsk, tp) = (self.as_ptr(), self.icsk(), self.tp());
            let ca = &*(*icsk).icsk_ca_ops;
            Eligibility {
                connected: self.is_connected(),
                established: matches!((*sk).__sk_common.skc_state, ESTABLISHED | CLOSE_WAIT),
                ulp: !(*icsk).icsk_ulp_ops.is_null() || !(*icsk).icsk_ulp_data.is_null(),
                repair: (*tp).repair() != 0,
                md5_ao: is(bindings::toe_obstacle_TOE_OBSTACLE_MD5_AO),
                psp: is(bindings::toe_obstacle_TOE_OBSTACLE_PSP),
                mptcp: is(bindings::toe_obstacle_TOE_OBSTACLE_MPTCP),
                smc: is(bindings::toe_obstacle_TOE_OBSTACLE_SMC),
                fastopen: is(bindings::toe_obstacle_TOE_OBSTACLE_FASTOPEN),
                out_of_order: !(*tp).out_of_order_queue.rb_node.is_null(),
                urgent: (*tp).urg_data != 0 || (*tp).snd_up != (*tp).snd_una,
                in_recovery: (*icsk).icsk_ca_state() != CA_OPEN
                    || is(bindings::toe_obstacle_TOE_OBSTACLE_SACK)
                    || (*icsk).icsk_retransmits != 0
                    || (*tp).tlp_high_seq != 0,
                ecn: (*tp).ecn_flags != 0,
                own_cc: ca.cong_control.is_some()
                    || ca.in_ack_event.is_some()
                    || ca.cong_avoid.is_none(),
                pacing: (*sk).sk_pacing_status != 0,
                timestamping: is(bindings::toe_obstacle_TOE_OBSTACLE_TIMESTAMPING),
                sockmap: is(bindings::toe_obstacle_TOE_OBSTACLE_SOCKMAP),
                plain: proto::is_plain(*self),
                user_data: !(*sk).sk_user_data.is_null(),
                shutdown: u32::from((*sk).sk_shutdown) & bindings::SEND_SHUTDOWN != 0,
                probing: self.probing(),
                mtu_probe: self.is_probing_mtu(),
                pressure: is(bindings::toe_obstacle_TOE_OBSTACLE_PRESSURE),
                ip_options: is(bindings::toe_obstacle_TOE_OBSTACLE_IP_OPTIONS),
            }
        }
    }

    /// Returns whether the host has begun to probe the peer, which is silent or has shut its
    /// window. The host counts its probes, and takes the answer.
    fn probing(&self) -> bool {
        let (tp, icsk) = (self.tp(), self.icsk());
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe { (*icsk).icsk_probes_out != 0 || ((*tp).snd_wnd == 0 && (*icsk).icsk_backoff != 0) }
    }

    /// Returns whether a packet filter is attached, which must see every frame.
    pub(crate) fn has_filter(&self) -> bool {
        // SAFETY: live by the type invariant; the pointer is only compared with null.
        unsafe { !(*self.as_ptr()).sk_filter.is_null() }
    }

    /// Returns whether something is set on the socket that only the host stack can do.
    /// Options of level `SOL_SOCKET` and BPF programs pass no method of the socket, and a call
    /// that entered the host's `setsockopt` before the hand-over may run on after it: hence
    /// the engines check.
    #[inline]
    pub(crate) fn wants_host(&self) -> bool {
        self.host_only() != 0
    }

    /// What of that is set, in whatever bits.
    #[inline(always)]
    fn host_only(&self) -> usize {
        const RCVTSTAMP: c_ulong = 1 << bindings::TOE_SOCK_RCVTSTAMP;
        let sk = self.as_ptr();
        let tp = self.tp();
        let inet = sk.cast::<bindings::inet_sock>();
        // For every frame: one instruction for each, and one branch.
        // SAFETY: live and locked by the type invariant; racy reads of plain fields, of pointers
        // that are only compared with null, and of a congestion control that the socket
        // has a reference to. Sockets of AF_INET6 have a `pinet6`.
        unsafe {
            let ca = &*(*self.icsk()).icsk_ca_ops;
            let flags = read_volatile(addr_of!((*sk).__sk_common.__bindgen_anon_5.skc_flags));
            let mut any = read_volatile(addr_of!((*sk).sk_pacing_status)) as usize;
            any |= read_volatile(addr_of!((*sk).sk_tsflags)) as usize;
            any |= (flags & RCVTSTAMP) as usize;
            any |= ca.cong_control.map_or(0, |f| f as usize);
            any |= ca.in_ack_event.map_or(0, |f| f as usize);
            any |= (*tp).repair() as usize;
            any |= (*inet).inet_opt as usize;
            #[cfg(CONFIG_TCP_MD5SIG)]
            {
                any |= (*tp).md5sig_info as usize;
            }
            #[cfg(CONFIG_TCP_AO)]
            {
                any |= (*tp).ao_info as usize;
            }
            any |= usize::from(ca.cong_avoid.is_none());
            if u32::from(self.family()) == bindings::AF_INET6 {
                any |= (*(*inet).pinet6).opt as usize;
                any |= usize::from((*(*inet).pinet6).rxopt.all);
            }
            any
        }
    }

    /// The least TTL, or hop limit, that a received frame must have (RFC 5082).
    #[inline]
    pub(crate) fn least_ttl(sk: &Sock, v6: bool) -> u8 {
        let inet = sk.as_ptr().cast::<bindings::inet_sock>();
        // SAFETY: live by its invariant; racy reads of plain fields, as the host's. What
        // carries IPv6 has a `pinet6`.
        unsafe {
            match v6 {
                false => read_volatile(addr_of!((*inet).min_ttl)),
                true => read_volatile(addr_of!((*(*inet).pinet6).min_hopcount)),
            }
        }
    }

    /// The namespace's settings of IPv4, which are TCP's of both families. They are there as
    /// long as the socket, and others write to them.
    #[inline(always)]
    fn ipv4(&self) -> *const bindings::netns_ipv4 {
        // SAFETY: live by the type invariant, and with it its namespace, to which the pointer is
        // constant for a socket of a connection. An address, nothing is read behind it.
        unsafe { addr_of!((*(*self.as_ptr()).__sk_common.skc_net.net).ipv4) }
    }

    /// `tcp_win_from_space()`: the window that an amount of receive memory is worth.
    #[inline]
    fn win_from_space(&self, space: i32) -> i32 {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let ratio = unsafe { (*self.tp()).scaling_ratio };
        ((i64::from(space) * i64::from(ratio)) >> bindings::TCP_RMEM_TO_WIN_SCALE) as i32
    }

    /// `tcp_space()`: the free receive memory, in window.
    #[inline]
    fn space(&self) -> i32 {
        let sk = self.as_ptr();
        // SAFETY: live by the type invariant; racy reads: aligned, written in one piece.
        unsafe {
            let used = read_volatile(addr_of!((*sk).sk_backlog.rmem_alloc.counter));
            let backlog = read_volatile(addr_of!((*sk).sk_backlog.len));
            let limit = read_volatile(addr_of!((*sk).sk_rcvbuf));
            self.win_from_space(limit.wrapping_sub(backlog).wrapping_sub(used))
        }
    }

    /// `tcp_full_space()`: all receive memory, in window.
    #[inline]
    fn full_space(&self) -> i32 {
        // SAFETY: live by the type invariant; a racy read: aligned, written in one piece.
        self.win_from_space(unsafe { read_volatile(addr_of!((*self.as_ptr()).sk_rcvbuf)) })
    }

    /// Returns whether the connection is interactive (`inet_csk_in_pingpong_mode()`).
    #[inline]
    fn pingpong(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let count = unsafe { (*self.icsk()).icsk_ack.pingpong };
        count >= self.sysctl_tcp_pingpong_thresh()
    }

    /// Bytes sent and acknowledged, and bytes received, since the connection began.
    pub(crate) fn transferred(&self) -> (u64, u64) {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe { ((*self.tp()).bytes_acked, (*self.tp()).bytes_received) }
    }

    /// Both together.
    pub(crate) fn bytes_moved(&self) -> u64 {
        let (acked, received) = self.transferred();
        acked + received
    }

    /// Segments with data sent and received since the connection began.
    pub(crate) fn data_segments(&self) -> u64 {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (sent, received) = unsafe { ((*self.tp()).data_segs_out, (*self.tp()).data_segs_in) };
        u64::from(sent) + u64::from(received)
    }

    /// Payload bytes of a full segment (`mss_cache`).
    pub(crate) fn mss(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe { (*self.tp()).mss_cache }
    }

    /// Returns whether the options of [`cached`](Self::cached) that applications set often,
    /// or in ways that are not intercepted, are these.
    #[inline]
    pub(crate) fn has_options(&self, cached: &ConnCached) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let on = unsafe { (*self.as_ptr()).__sk_common.__bindgen_anon_5.skc_flags } & KEEPOPEN != 0;
        self.priority() == cached.priority
            && self.nonagle() == cached.nonagle
            && on == cached.keepalive.on
            && self.has_header(cached)
    }

    /// Returns whether frames are sent with this traffic class, and with this TTL or hop
    /// limit if one was set. Another TOS makes the host look the route up again.
    #[inline]
    fn has_header(&self, cached: &ConnCached) -> bool {
        let inet = self.as_ptr().cast::<bindings::inet_sock>();
        let same = |ttl: i16| ttl < 0 || ttl == i16::from(cached.ttl);
        // SAFETY: live by the type invariant; racy reads: aligned, written in one piece.
        let ttl = unsafe { read_volatile(addr_of!((*inet).uc_ttl)) };
        if u32::from(self.family()) != bindings::AF_INET6 || !self.is_v6() {
            return same(ttl);
        }
        // SAFETY: as above; sockets of AF_INET6 have a `pinet6`.
        unsafe {
            let np = (*inet).pinet6;
            same(read_volatile(addr_of!((*np).hop_limit)))
                && read_volatile(addr_of!((*np).tclass)) == cached.tos
        }
    }

    /// Kernel level -> hardware level at hand-over: all of it. The route was found valid under
    /// this lock.
    pub(crate) fn load_all(&self, c: &mut ConnData) {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            c.constant.snd_wscale = (*tp).rx_opt.snd_wscale() as u8;
            c.constant.rcv_wscale = (*tp).rx_opt.rcv_wscale() as u8;
            c.constant.ts_ok = (*tp).rx_opt.tstamp_ok() != 0;
        }
        self.follow_mtu();
        c.cached = self.cached();
        self.load_delegated(c);
    }

    /// Kernel level -> hardware level: all delegated state.
    pub(crate) fn load_delegated(&self, c: &mut ConnData) {
        self.load(c);
        c.rtt = self.rtt();
    }

    /// What [`acked`](Self::acked) changes in the socket alone, where the sent packets are.
    #[inline]
    pub(crate) fn load_acked(&self, c: &mut ConnData) {
        c.packets_out = self.packets_out();
        c.rtt = self.rtt();
    }

    /// Segments that came in, accepted or not, in any way.
    #[cfg(debug_assertions)]
    pub(crate) fn segments_in(&self) -> u32 {
        // SAFETY: live by the type invariant; a racy read: aligned, written in one piece.
        unsafe { read_volatile(addr_of!((*self.tp()).segs_in)) }
    }

    /// Kernel level -> hardware level: every field of an entry that the engines
    /// read and the host may have moved since. The round trip time they do not read.
    #[inline]
    pub(crate) fn load(&self, c: &mut ConnData) {
        self.load_tx(c);
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            c.snd_wl1 = Seq((*tp).snd_wl1);
            c.max_window = (*tp).max_window;
            c.rcv_wup = Seq((*tp).rcv_wup);
            c.rcv_wnd = (*tp).rcv_wnd;
            c.ts_recent = (*tp).rx_opt.ts_recent;
            c.ts_recent_stamp = i64::from((*tp).rx_opt.ts_recent_stamp);
            c.bytes_acked = (*tp).bytes_acked;
            c.bytes_received = (*tp).bytes_received;
        }
    }

    /// The round trip time estimate.
    #[inline]
    fn rtt(&self) -> Rtt {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            Rtt {
                srtt_us: (*tp).srtt_us,
                mdev_us: (*tp).mdev_us,
                mdev_max_us: (*tp).mdev_max_us,
                rttvar_us: (*tp).rttvar_us,
                rtt_seq: Seq((*tp).rtt_seq),
            }
        }
    }

    /// The window that a frame has just offered: the part of [`Self::load`] that
    /// [`offer_window`](Self::offer_window) changes.
    #[inline]
    pub(crate) fn load_offer(&self, c: &mut ConnData) {
        // SAFETY: the socket is live and locked.
        let tp = unsafe { &*self.tp() };
        c.rcv_wup = Seq(tp.rcv_wup);
        c.rcv_wnd = tp.rcv_wnd;
    }

    /// What the transmit engine goes by: the part of [`Self::load`] that changes
    /// when a frame is sent or the application writes.
    #[inline]
    pub(crate) fn load_tx(&self, c: &mut ConnData) {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            c.snd_una = Seq((*tp).snd_una);
            c.snd_nxt = Seq((*tp).snd_nxt);
            c.snd_wnd = (*tp).snd_wnd;
            c.cached.mss = (*tp).mss_cache;
            c.rcv_nxt = Seq((*tp).rcv_nxt);
            c.packets_out = (*tp).packets_out;
        }
    }

    /// Hardware level -> kernel level after a received frame.
    #[inline]
    pub(crate) fn store_rx(&self, c: &ConnData) {
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        unsafe {
            let tp = self.tp();
            write_volatile(addr_of_mut!((*tp).snd_una), c.snd_una.0);
            (*tp).snd_wl1 = c.snd_wl1.0;
            (*tp).snd_wnd = c.snd_wnd;
            (*tp).max_window = c.max_window;
            write_volatile(addr_of_mut!((*tp).rcv_nxt), c.rcv_nxt.0);
            (*tp).rx_opt.ts_recent = c.ts_recent;
            (*tp).rx_opt.ts_recent_stamp = c.ts_recent_stamp as c_int;
            (*tp).bytes_acked = c.bytes_acked;
            (*tp).bytes_received = c.bytes_received;
        }
    }

    /// Timestamp value and echo for a frame sent now.
    pub(crate) fn timestamps(&self) -> (u32, u32) {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (offset, echo) = unsafe { ((*tp).tsoffset, (*tp).rx_opt.ts_recent) };
        (self.clock_ts().wrapping_add(offset), echo)
    }

    /// `tcp_time_stamp_ts()`: the clock in units of the timestamp option.
    #[inline]
    fn clock_ts(&self) -> u32 {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (us, clock) = unsafe { ((*tp).tcp_usec_ts(), (*tp).tcp_mstamp) };
        match us {
            0 => (clock / 1000) as u32,
            _ => clock as u32,
        }
    }

    /// Refreshes the socket's clock before a frame is built, or when one has come in:
    /// `tcp_mstamp_refresh()`. It does not go back, and with it the timestamps that are sent:
    /// the time of a section that keeps it may be from before the socket's last frame.
    #[inline]
    pub(crate) fn refresh_clock(&self, bh: &Bh) {
        let now = bh.clock_ns();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            let ns = now.max((*tp).tcp_clock_cache);
            (*tp).tcp_clock_cache = ns;
            (*tp).tcp_mstamp = ns / NSEC_PER_USEC;
        }
    }

    /// Returns whether the host stack is in loss recovery, or has retransmitted.
    pub(crate) fn in_recovery(&self) -> bool {
        self.recovery() != 0
    }

    /// What says so, in whatever bits.
    #[inline(always)]
    fn recovery(&self) -> u32 {
        const { assert!(CA_OPEN == 0) };
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            u32::from((*icsk).icsk_ca_state())
                | (*tp).sacked_out
                | (*tp).lost_out
                | (*tp).retrans_out
                | u32::from((*icsk).icsk_retransmits)
        }
    }

    /// What the target looks at in legacy mode.
    pub(crate) fn host_state(&self) -> HostState {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            HostState {
                rcv_nxt: Seq((*tp).rcv_nxt),
                open: self.is_open(),
                out_of_order: !self.in_order(),
                sack_owed: (*tp).rx_opt.num_sacks != 0
                    || (*tp).rx_opt.dsack() != 0
                    || (*tp).compressed_ack != 0,
                recovery: self.in_recovery() || (*tp).tlp_high_seq != 0,
                urgent: (*tp).urg_data != 0 || (*tp).snd_up != (*tp).snd_una,
                probing: self.probing() || self.is_probing_mtu(),
            }
        }
    }

    /// Next sequence number expected from the peer.
    pub(crate) fn rcv_nxt(&self) -> Seq {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        Seq(unsafe { (*self.tp()).rcv_nxt })
    }

    /// Returns whether the out-of-order queue is empty.
    pub(crate) fn in_order(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe { (*self.tp()).out_of_order_queue.rb_node.is_null() }
    }

    /// Highest sequence number sent so far.
    pub(crate) fn snd_nxt(&self) -> Seq {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        Seq(unsafe { (*self.tp()).snd_nxt })
    }

    /// Makes the host stack able to go on at once. `stopped`: there is something to be sent.
    pub(crate) fn resume_host(&self, stopped: bool) {
        // SAFETY: live and locked by the type invariant: the callee looks at the send queue, sets
        // timers, and leaves the rest to who owns the socket.
        unsafe { bindings::toe_tcp_resume_host(self.as_ptr(), stopped) }
    }
}

/// `tcp_jiffies32`.
#[inline]
fn jiffies32() -> u32 {
    // SAFETY: it is there, and read without a lock by everybody.
    unsafe { read_volatile(addr_of!(bindings::jiffies)) as u32 }
}

/// Seconds since boot, for the timestamp age (RFC 7323 section 5.5).
pub(crate) fn now_secs() -> i64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_ktime_secs() as i64 }
}
