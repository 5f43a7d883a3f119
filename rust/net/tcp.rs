// SPDX-License-Identifier: GPL-2.0

//! `struct tcp_sock` under the socket lock: reading the kernel-level state into
//! an entry, writing an entry's delegated state back, and the queues.
//!
//! C header: [`include/net/tcp.h`](srctree/include/net/tcp.h)

use core::ptr::{
    addr_of_mut,
    write_volatile, //
};

use kernel::{
    ffi::{
        c_int,
        c_long, //
    },
    prelude::*, //
};

use super::{
    netdev::NetDevice,
    proto::Msg,
    skb::SkBuff,
    sock::{
        BhLock,
        LockedSock,
        Sock, //
    }, //
};
use crate::{
    bindings,
    logic::{
        conn::ConnData,
        rtt::Rtt,
        seq::Seq,
        wire::{
            self,
            Segment, //
        }, //
    }, //
};

/// Timer ticks a second.
const HZ: u32 = bindings::TOE_HZ;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = bindings::TCP_ESTABLISHED as u8;
/// `TCP_CLOSE_WAIT`.
const CLOSE_WAIT: u8 = bindings::TCP_CLOSE_WAIT as u8;
/// `TCP_CA_Open`.
const CA_OPEN: u8 = 0;
/// `ICSK_ACK_SCHED`, `ICSK_ACK_PUSHED`, `ICSK_ACK_PUSHED2`, `ICSK_ACK_NOW` of `enum inet_csk_ack_state_t`.
const ACK_SCHED: u8 = 1;
const ACK_PUSHED: u8 = 4;
const ACK_PUSHED2: u8 = 8;
const ACK_NOW: u8 = 16;
/// `TCP_ATO_MIN` and `TCP_DELACK_MIN`: HZ / 25, `TCP_DELACK_MAX`: HZ / 5.
const ATO_MIN: u32 = HZ / 25;
const DELACK_MAX: u32 = HZ / 5;
/// `TCP_MAX_QUICKACKS`.
const MAX_QUICKACKS: u32 = 16;
/// `TCP_MSS_DEFAULT` and `TCP_MIN_MSS`, in bytes.
const MSS_DEFAULT: u32 = 536;
const MIN_MSS: u32 = 88;

/// What the offload decision looks at, besides what the socket layer knows.
pub(crate) struct Facts {
    pub(crate) established: bool,
    pub(crate) has_ulp: bool,
    pub(crate) repair: bool,
    pub(crate) md5_ao: bool,
    pub(crate) mptcp: bool,
    pub(crate) smc: bool,
    pub(crate) fastopen: bool,
    pub(crate) out_of_order: bool,
    pub(crate) urgent: bool,
    pub(crate) in_recovery: bool,
    pub(crate) ecn: bool,
    pub(crate) own_cc: bool,
    pub(crate) pacing: bool,
    pub(crate) timestamping: bool,
    pub(crate) filter: bool,
    pub(crate) bpf: bool,
    pub(crate) psock: bool,
    pub(crate) shutdown: bool,
    pub(crate) window_probes: bool,
    pub(crate) pressure: bool,
    pub(crate) ip_options: bool,
}

/// A clean send queue's head and what bounds its transmission.
pub(crate) struct SendHead {
    skb: *mut bindings::sk_buff,
    /// Bytes in it.
    pub(crate) len: u32,
    /// Do further buffers follow?
    pub(crate) more: bool,
    /// Was it marked to be pushed (PSH)?
    pub(crate) push: bool,
}

impl<'a> LockedSock<'a> {
    fn tp(&self) -> *mut bindings::tcp_sock {
        self.as_ptr().cast()
    }

    fn icsk(&self) -> *mut bindings::inet_connection_sock {
        self.as_ptr().cast()
    }

    /// Can this end still send: ESTABLISHED or, after the peer's FIN,
    /// CLOSE_WAIT?
    pub(crate) fn is_open(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe {
            let sk = &*self.as_ptr();
            matches!(sk.__sk_common.skc_state, ESTABLISHED | CLOSE_WAIT)
                && u32::from(sk.sk_shutdown) & bindings::SEND_SHUTDOWN == 0
        }
    }

    /// Has the peer sent its FIN, or the application shut its reading side?
    pub(crate) fn receive_closed(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe {
            let sk = &*self.as_ptr();
            sk.__sk_common.skc_state != ESTABLISHED
                || u32::from(sk.sk_shutdown) & bindings::RCV_SHUTDOWN != 0
        }
    }

    /// Is there a connection, be it half closed (neither CLOSE, LISTEN nor
    /// SYN_SENT)?
    pub(crate) fn is_connected(&self) -> bool {
        // SAFETY: the socket is live and locked.
        let state = unsafe { (*self.as_ptr()).__sk_common.skc_state };
        !matches!(
            u32::from(state),
            bindings::TCP_CLOSE | bindings::TCP_LISTEN | bindings::TCP_SYN_SENT
        )
    }

    /// Does it carry IPv6 (not IPv4 mapped into it)?
    pub(crate) fn is_v6(&self) -> bool {
        // SAFETY: the socket is live and locked; `icsk_af_ops` is never null.
        unsafe { usize::from((*(*self.icsk()).icsk_af_ops).net_header_len) == 40 }
    }

    /// Local and remote address (IPv4 in the first four bytes) and port.
    pub(crate) fn tuple(&self) -> ([u8; 16], [u8; 16], u16, u16) {
        let (mut local, mut remote) = ([0u8; 16], [0u8; 16]);
        // SAFETY: the socket is live and locked; every TCP socket is an inet_sock.
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

    /// Reads everything the offload decision wants to know.
    pub(crate) fn facts(&self) -> Facts {
        let mut c = bindings::toe_sock_facts::default();
        // SAFETY: the socket is live and locked, `c` is ours.
        unsafe { bindings::toe_sock_facts(self.as_ptr(), &mut c) };
        // SAFETY: the socket is live and locked.
        unsafe {
            let sk = &*self.as_ptr();
            let icsk = &*self.icsk();
            let tp = &*self.tp();
            let ca = &*icsk.icsk_ca_ops;
            Facts {
                established: matches!(sk.__sk_common.skc_state, ESTABLISHED | CLOSE_WAIT),
                has_ulp: !icsk.icsk_ulp_ops.is_null() || !icsk.icsk_ulp_data.is_null(),
                repair: tp.repair() != 0,
                md5_ao: c.md5_ao,
                mptcp: c.mptcp,
                smc: c.smc,
                fastopen: c.fastopen,
                out_of_order: !tp.out_of_order_queue.rb_node.is_null(),
                urgent: tp.urg_data != 0 || tp.snd_up != tp.snd_una,
                in_recovery: icsk.icsk_ca_state() != CA_OPEN
                    || c.sack_scoreboard
                    || icsk.icsk_retransmits != 0,
                ecn: tp.ecn_flags != 0,
                own_cc: ca.cong_control.is_some()
                    || ca.in_ack_event.is_some()
                    || ca.cong_avoid.is_none(),
                pacing: sk.sk_pacing_status != 0,
                timestamping: c.timestamping,
                filter: !sk.sk_filter.is_null(),
                bpf: c.bpf_sock_ops,
                psock: !sk.sk_user_data.is_null(),
                shutdown: u32::from(sk.sk_shutdown) & bindings::SEND_SHUTDOWN != 0,
                window_probes: tp.snd_wnd == 0
                    && (icsk.icsk_probes_out != 0 || icsk.icsk_backoff != 0),
                pressure: c.memory_pressure,
                ip_options: c.ip_options,
            }
        }
    }

    /// Is a packet filter attached? It must see every frame.
    pub(crate) fn has_filter(&self) -> bool {
        // SAFETY: the socket is live; the pointer is only compared with null.
        unsafe { !(*self.as_ptr()).sk_filter.is_null() }
    }

    /// Has the application asked for pacing or timestamps? `SOL_SOCKET` options
    /// pass no method of the socket, so the engines look.
    #[inline]
    pub(crate) fn wants_host(&self) -> bool {
        // SAFETY: the socket is live; racy reads of plain fields.
        unsafe { bindings::toe_sk_wants_host(self.as_ptr()) }
    }

    /// Bytes sent and received since the connection began.
    pub(crate) fn bytes_moved(&self) -> u64 {
        // SAFETY: the socket is live and locked.
        unsafe { (*self.tp()).bytes_acked + (*self.tp()).bytes_received }
    }

    /// Kernel level -> hardware level: every field of an entry that the host
    /// may have moved since, so that the entry is never older than the socket.
    #[inline]
    pub(crate) fn load(&self, c: &mut ConnData) {
        // SAFETY: the socket is live and locked.
        let tp = unsafe { &*self.tp() };
        c.snd_una = Seq(tp.snd_una);
        c.snd_nxt = Seq(tp.snd_nxt);
        c.snd_wnd = tp.snd_wnd;
        c.snd_wl1 = Seq(tp.snd_wl1);
        c.max_window = tp.max_window;
        c.mss = tp.mss_cache;
        c.rcv_nxt = Seq(tp.rcv_nxt);
        c.rcv_wup = Seq(tp.rcv_wup);
        c.rcv_wnd = tp.rcv_wnd;
        c.ts_recent = tp.rx_opt.ts_recent;
        c.ts_recent_stamp = i64::from(tp.rx_opt.ts_recent_stamp);
        c.packets_out = tp.packets_out;
        c.rtt = self.rtt();
        c.bytes_acked = tp.bytes_acked;
        c.bytes_received = tp.bytes_received;
        c.bytes_sent = tp.bytes_sent;
        c.segs_in = tp.segs_in;
        c.segs_out = tp.segs_out;
        c.data_segs_in = tp.data_segs_in;
        c.data_segs_out = tp.data_segs_out;
    }

    /// The round trip time estimate.
    #[inline]
    fn rtt(&self) -> Rtt {
        // SAFETY: the socket is live and locked.
        let tp = unsafe { &*self.tp() };
        Rtt {
            srtt_us: tp.srtt_us,
            mdev_us: tp.mdev_us,
            mdev_max_us: tp.mdev_max_us,
            rttvar_us: tp.rttvar_us,
            rtt_seq: Seq(tp.rtt_seq),
        }
    }

    /// What the transmit engine goes by: the part of [`Self::load`] that changes
    /// when a frame is sent or the application writes.
    #[inline]
    pub(crate) fn load_tx(&self, c: &mut ConnData) {
        // SAFETY: the socket is live and locked.
        let tp = unsafe { &*self.tp() };
        c.snd_una = Seq(tp.snd_una);
        c.snd_nxt = Seq(tp.snd_nxt);
        c.snd_wnd = tp.snd_wnd;
        c.mss = tp.mss_cache;
        c.rcv_nxt = Seq(tp.rcv_nxt);
        c.packets_out = tp.packets_out;
        c.bytes_sent = tp.bytes_sent;
    }

    /// The constant part of an entry, at hand-over.
    pub(crate) fn load_constant(&self, c: &mut ConnData) {
        // SAFETY: the socket is live and locked.
        let opt = unsafe { &(*self.tp()).rx_opt };
        c.snd_wscale = opt.snd_wscale() as u8;
        c.rcv_wscale = opt.rcv_wscale() as u8;
        c.ts_ok = opt.tstamp_ok() != 0;
    }

    /// Hardware level -> kernel level after a received frame.
    #[inline]
    pub(crate) fn store_rx(&self, c: &ConnData) {
        // SAFETY: the socket is live and locked; fields with lockless readers
        // are written as single words.
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

    /// Notes the timestamps of a received segment and its receive time, by the
    /// clock as it was refreshed last.
    pub(crate) fn note_segment(&self, ts: Option<(u32, u32)>) {
        // SAFETY: the socket is live and locked.
        unsafe {
            let tp = self.tp();
            (*tp).rcv_tstamp = bindings::toe_tcp_jiffies32();
            if let Some((val, ecr)) = ts {
                (*tp).rx_opt.set_saw_tstamp(1);
                (*tp).rx_opt.rcv_tsval = val;
                (*tp).rx_opt.rcv_tsecr = match ecr {
                    0 => 0,
                    ecr => ecr.wrapping_sub((*tp).tsoffset),
                };
            }
        }
    }

    /// After `snd_una` moved: frees what it covers, measures, feeds congestion
    /// control, re-arms the timers and wakes writers. `tcp_ack()`'s clean path.
    pub(crate) fn acked(&self, ack: Seq) {
        let mut s = bindings::toe_ack_sample::default();
        // SAFETY: the socket is live and locked; its scoreboard is clean, for a
        // connection with anything SACKed, lost or retransmitted is not ours.
        unsafe { bindings::toe_tcp_clean_rtx(self.as_ptr(), &mut s) };
        // SAFETY: as above.
        let now = unsafe { (*self.tp()).tcp_mstamp };
        let since = |t: u64| u32::try_from(now.saturating_sub(t)).unwrap_or(u32::MAX);
        let sample = (s.first_us != 0 && !s.retrans).then(|| (since(s.first_us), since(s.last_us)));
        // SAFETY: as above; all are plain fields of this socket.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            (*icsk).icsk_retransmits = 0;
            (*icsk).icsk_probes_out = 0;
            if let Some((rtt, ca_rtt)) = sample {
                bindings::toe_tcp_update_rtt_min(self.as_ptr(), ca_rtt);
                let mut est = self.rtt();
                est.sample(
                    rtt,
                    ack,
                    Seq((*tp).snd_nxt),
                    bindings::toe_tcp_rto_min_us(self.as_ptr()),
                );
                write_volatile(addr_of_mut!((*tp).srtt_us), est.srtt_us);
                (*tp).mdev_us = est.mdev_us;
                (*tp).mdev_max_us = est.mdev_max_us;
                (*tp).rttvar_us = est.rttvar_us;
                (*tp).rtt_seq = est.rtt_seq.0;
                let rto = (est.srtt_us >> 3).saturating_add(est.rttvar_us);
                (*icsk).icsk_rto = us_to_jiffies(rto).min(bindings::toe_tcp_rto_max(self.as_ptr()));
                (*icsk).icsk_backoff = 0;
            }
            if s.pkts != 0 {
                let ca_rtt = sample.map_or(-1, |(_, ca)| ca as i32);
                bindings::toe_tcp_cong_avoid(self.as_ptr(), ack.0, s.pkts, ca_rtt);
                bindings::toe_tcp_rearm(self.as_ptr(), true);
            }
            (*tp).snd_up = (*tp).snd_una;
            bindings::toe_tcp_write_space(self.as_ptr());
        }
    }

    /// Is there room in the receive memory for this frame?
    pub(crate) fn receive_space(&self, skb: &SkBuff) -> bool {
        // SAFETY: the socket is live and locked, the frame ours.
        unsafe { bindings::toe_tcp_rmem_ok(self.as_ptr(), skb.as_ptr()) }
    }

    /// `tcp_measure_rcv_mss()`: the peer's segment size, from the segments it
    /// sends. A new size tells how dense the data is in its buffers, too, and
    /// with that how much of it the receive memory holds.
    ///
    /// `flags` are the segment's, `header` the length of its TCP header.
    fn measure_rcv_mss(&self, skb: &bindings::sk_buff, payload: u32, header: u32, flags: u16) {
        // SAFETY: the socket is live and locked; plain fields of this socket.
        unsafe {
            let (sk, tp) = (self.as_ptr(), self.tp());
            let ack = &mut (*self.icsk()).icsk_ack;
            let last = core::mem::take(&mut ack.last_seg_size);
            let mut seg = match (*bindings::toe_skb_shinfo(skb)).gso_size {
                0 => payload,
                n => u32::from(n),
            };
            if seg >= u32::from(ack.rcv_mss) {
                if seg != u32::from(ack.rcv_mss) {
                    let dense = (u64::from(payload) << 8) / u64::from(skb.truesize.max(1));
                    let ratio = (dense as u8).max(1);
                    if ratio != (*tp).scaling_ratio {
                        (*tp).scaling_ratio = ratio;
                        let clamp = bindings::toe_tcp_full_space(sk) as u32;
                        (*tp).window_clamp = clamp;
                        (*tp).rcvq_space.space = (*tp).rcvq_space.space.min(clamp as i32);
                    }
                }
                ack.rcv_mss = seg.min(u32::from((*tp).advmss)) as u16;
                if flags & wire::flags::PSH != 0 {
                    ack.pending |= ACK_PUSHED;
                }
                return;
            }
            seg += header;
            let pushed = wire::flags::PSH | wire::flags::FIN | wire::flags::SYN | wire::flags::URG;
            if seg >= MSS_DEFAULT + 20 || (seg >= MIN_MSS + 20 && flags & pushed == 0) {
                seg = seg.saturating_sub((*tp).tcp_header_len.into());
                ack.last_seg_size = seg as u16;
                if seg == u32::from(last) {
                    ack.rcv_mss = seg as u16;
                    return;
                }
            }
            if ack.pending & ACK_PUSHED != 0 {
                ack.pending |= ACK_PUSHED2;
            }
            ack.pending |= ACK_PUSHED;
        }
    }

    /// Queues in-order payload for the application: `skb` without the first
    /// `header` bytes, which are the TCP header, and what goes with it.
    /// `flags` are the segment's. Readers are not woken yet.
    pub(crate) fn queue_payload(&self, skb: SkBuff, payload: u32, header: u32, flags: u16) {
        let skb = skb.into_raw();
        let mut stolen = false;
        // SAFETY: the socket is live and locked; the frame is the queue's from
        // here on, and stays in it under the lock, or is still ours.
        let eaten = unsafe { bindings::toe_tcp_queue_rcv(self.as_ptr(), skb, header, &mut stolen) };
        // SAFETY: as above; it is valid in both cases.
        self.data_received(unsafe { &*skb }, payload, header, flags);
        if eaten {
            // SAFETY: the last buffer of the queue took the payload, and the
            // rest is ours.
            unsafe { bindings::kfree_skb_partial(skb, stolen) };
        }
    }

    /// Bookkeeping for a data segment that is in the receive queue: delayed-ACK
    /// clock, receive MSS and RTT, window growth. `tcp_event_data_recv()` and
    /// `tcp_rcv_rtt_measure_ts()`.
    fn data_received(&self, skb: &bindings::sk_buff, payload: u32, header: u32, flags: u16) {
        // SAFETY: the socket is live and locked; plain fields of this socket.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            bindings::toe_tcp_schedule_ack(self.as_ptr());
            let ecr = (*tp).rx_opt.rcv_tsecr;
            if ecr != (*tp).rcv_rtt_last_tsecr {
                (*tp).rcv_rtt_last_tsecr = ecr;
                if payload >= u32::from((*icsk).icsk_ack.rcv_mss) {
                    self.receive_rtt_by_timestamp(ecr);
                }
            }
            self.measure_rcv_mss(skb, payload, header, flags);
            self.receive_rtt_by_window();

            let now = bindings::toe_tcp_jiffies32();
            let quick = |icsk: *mut bindings::inet_connection_sock| {
                let mss = u32::from((*icsk).icsk_ack.rcv_mss).max(1);
                let n = ((*tp).rcv_wnd / (2 * mss)).clamp(2, MAX_QUICKACKS);
                (*icsk).icsk_ack.quick = (*icsk).icsk_ack.quick.max(n as u8);
            };
            let ato = (*icsk).icsk_ack.ato();
            if ato == 0 {
                quick(icsk);
                (*icsk).icsk_ack.set_ato(ATO_MIN);
            } else {
                let gap = now.wrapping_sub((*icsk).icsk_ack.lrcvtime);
                if gap <= ATO_MIN / 2 {
                    (*icsk).icsk_ack.set_ato((ato >> 1) + ATO_MIN / 2);
                } else if gap < ato {
                    let next = ((ato >> 1) + gap).min((*icsk).icsk_rto).min(DELACK_MAX);
                    (*icsk).icsk_ack.set_ato(next);
                } else if gap > (*icsk).icsk_rto {
                    quick(icsk);
                }
            }
            (*icsk).icsk_ack.lrcvtime = now;

            if payload >= 128 {
                bindings::toe_tcp_grow_window(self.as_ptr(), skb);
            }
        }
    }

    /// `tcp_rcv_rtt_measure_ts()`: the time since the peer echoed our clock.
    fn receive_rtt_by_timestamp(&self, ecr: u32) {
        // SAFETY: the socket is live and locked.
        let (delta, us) = unsafe {
            let tp = self.tp();
            let now = bindings::toe_tcp_ts(self.as_ptr()).wrapping_sub((*tp).tsoffset);
            (now.wrapping_sub(ecr), (*tp).tcp_usec_ts() != 0)
        };
        let limit = i32::MAX as u32 / if us { 1 } else { 1000 };
        if delta != 0 && delta < limit {
            self.receive_rtt(if us { delta } else { delta * 1000 }, false);
        }
    }

    /// `tcp_rcv_rtt_measure()`: the time a whole window of data took.
    fn receive_rtt_by_window(&self) {
        // SAFETY: the socket is live and locked.
        unsafe {
            let tp = self.tp();
            let (now, since) = ((*tp).tcp_mstamp, (*tp).rcv_rtt_est.time);
            if since != 0 {
                if Seq((*tp).rcv_nxt).before(Seq((*tp).rcv_rtt_est.seq)) {
                    return;
                }
                let us = u32::try_from(now.saturating_sub(since)).unwrap_or(u32::MAX);
                self.receive_rtt(us.max(1), true);
            }
            (*tp).rcv_rtt_est.seq = (*tp).rcv_nxt.wrapping_add((*tp).rcv_wnd);
            (*tp).rcv_rtt_est.time = now;
        }
    }

    /// `tcp_rcv_rtt_update()`: the receiver's RTT estimate, by which the host
    /// tunes the receive buffer. A sample that depends on the window can only
    /// lower it.
    fn receive_rtt(&self, us: u32, by_window: bool) {
        // SAFETY: the socket is live and locked.
        unsafe {
            let tp = self.tp();
            let old = (*tp).rcv_rtt_est.rtt_us;
            let sample = us.saturating_mul(8);
            if old == 0 || sample < old {
                (*tp).rcv_rtt_est.rtt_us = sample;
            } else if !by_window && (*tp).rcv_nxt == (*tp).copied_seq {
                (*tp).rcv_rtt_est.rtt_us = old - (old >> 3) + us;
            }
        }
    }

    /// Wakes readers if `SO_RCVLOWAT` is reached.
    pub(crate) fn data_ready(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_data_ready(self.as_ptr()) }
    }

    /// Counts a segment that header prediction finished in SNMP.
    pub(crate) fn count_predicted(&self, data: bool, ack: bool) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_count_predicted(self.as_ptr(), data, ack) }
    }

    /// Must the data received so far be acknowledged at once
    /// (`__tcp_ack_snd_check()`)? `None`: nothing to acknowledge.
    pub(crate) fn ack_due(&self) -> Option<bool> {
        // SAFETY: the socket is live and locked.
        unsafe {
            let (tp, icsk, sk) = (&*self.tp(), &*self.icsk(), &*self.as_ptr());
            if icsk.icsk_ack.pending & ACK_SCHED == 0 {
                return None;
            }
            let unacked = tp.rcv_nxt.wrapping_sub(tp.rcv_wup);
            let unread = tp.rcv_nxt.wrapping_sub(tp.copied_seq);
            let now = unacked > u32::from(icsk.icsk_ack.rcv_mss)
                && (i64::from(unread) < i64::from(sk.sk_rcvlowat)
                    || self.new_window() >= tp.rcv_wnd);
            Some(
                now || icsk.icsk_ack.pending & ACK_NOW != 0
                    || bindings::toe_tcp_quickack(self.as_ptr()),
            )
        }
    }

    /// `tcp_send_delayed_ack()`: the host's own timer sends it.
    pub(crate) fn delay_ack(&self) {
        // SAFETY: the socket is live and locked.
        unsafe {
            let (tp, icsk) = (&*self.tp(), &*self.icsk());
            let mut ato = icsk.icsk_ack.ato();
            if ato > ATO_MIN {
                let mut max = HZ / 2;
                if bindings::toe_tcp_pingpong(self.as_ptr())
                    || icsk.icsk_ack.pending & ACK_PUSHED != 0
                {
                    max = DELACK_MAX;
                }
                if tp.srtt_us != 0 {
                    max = max.min(us_to_jiffies(tp.srtt_us >> 3).max(ATO_MIN));
                }
                ato = ato.min(max);
            }
            bindings::toe_tcp_delack(self.as_ptr(), ato.min(icsk.icsk_delack_max) as usize);
        }
    }

    /// A pure ACK, built by the host and sent through `queue_xmit`.
    pub(crate) fn send_ack(&self) {
        // SAFETY: the socket is live and locked.
        unsafe {
            bindings::__tcp_send_ack(self.as_ptr(), (*self.tp()).rcv_nxt, 0);
        }
    }

    /// `__tcp_select_window()`, which is not exported.
    fn new_window(&self) -> u32 {
        // SAFETY: the socket is live and locked.
        let (view, net_shrink) = unsafe {
            let (tp, icsk) = (&*self.tp(), &mut *self.icsk());
            let net = &*bindings::toe_sock_net(self.as_ptr());
            let shrink = net.ipv4.sysctl_tcp_shrink_window != 0;
            let free = bindings::toe_tcp_space(self.as_ptr());
            let allowed = bindings::toe_tcp_full_space(self.as_ptr());
            let full = allowed.min(tp.window_clamp as i32);
            if free < full >> 1 {
                icsk.icsk_ack.quick = 0;
            }
            (
                crate::logic::window::WindowView {
                    mss: i32::from(icsk.icsk_ack.rcv_mss),
                    free_space: free,
                    allowed_space: allowed,
                    full_space: full,
                    rcv_ssthresh: tp.rcv_ssthresh as i32,
                    rcv_wscale: tp.rx_opt.rcv_wscale() as u8,
                    rcv_wnd: tp.rcv_wnd as i32,
                },
                shrink,
            )
        };
        crate::logic::window::select(&view, net_shrink)
    }

    /// `tcp_select_window()`: the window field of a frame about to be sent; the
    /// offer is recorded in the socket.
    pub(crate) fn offer_window(&self) -> u16 {
        let new = self.new_window();
        // SAFETY: the socket is live and locked.
        unsafe {
            let tp = &mut *self.tp();
            let net = &*bindings::toe_sock_net(self.as_ptr());
            let shrink = net.ipv4.sysctl_tcp_shrink_window != 0;
            let offer = crate::logic::window::offer(
                new,
                Seq(tp.rcv_nxt),
                Seq(tp.rcv_wup),
                tp.rcv_wnd,
                tp.rx_opt.rcv_wscale() as u8,
                shrink,
            );
            tp.rcv_wnd = offer.wnd;
            tp.rcv_wup = tp.rcv_nxt;
            let edge = tp.rcv_wup.wrapping_add(tp.rcv_wnd);
            if Seq(edge).after(Seq(tp.rcv_mwnd_seq)) {
                tp.rcv_mwnd_seq = edge;
            }
            if offer.field == 0 {
                tp.pred_flags = 0;
            }
            offer.field
        }
    }

    /// The first unsent buffer.
    pub(crate) fn send_head(&self) -> Option<SendHead> {
        // SAFETY: the socket is live and locked.
        unsafe {
            let skb = bindings::toe_tcp_send_head(self.as_ptr());
            if skb.is_null() {
                return None;
            }
            let cb = &*bindings::toe_tcp_skb_cb(skb);
            Some(SendHead {
                skb,
                len: (*skb).len,
                more: !bindings::toe_tcp_skb_is_last(self.as_ptr(), skb),
                push: cb.tcp_flags & wire::flags::PSH != 0,
            })
        }
    }

    /// Leaves `len` bytes in the send head and queues the rest behind it.
    pub(crate) fn split(&self, head: &mut SendHead, len: u32, mss: u32) -> Result {
        // SAFETY: the socket is live and locked, `head` its send head.
        super::proto::check(unsafe { bindings::toe_tcp_split(self.as_ptr(), head.skb, len, mss) })?;
        head.len = len;
        head.more = true;
        head.push = false;
        Ok(())
    }

    /// The wire's copy of the send head. `None`: no memory.
    pub(crate) fn clone_head(&self, head: &SendHead) -> Option<SkBuff> {
        // SAFETY: `head` is this socket's send head.
        let clone = unsafe { bindings::toe_tcp_xmit_clone(head.skb) };
        if clone.is_null() {
            return None;
        }
        // SAFETY: a fresh clone is ours.
        Some(unsafe { SkBuff::from_raw(clone) })
    }

    /// Moves the send head to the retransmission queue. Returns its segments.
    pub(crate) fn sent(&self, head: SendHead, mss: u32) -> u32 {
        // SAFETY: the socket is live and locked, `head` its send head.
        unsafe {
            let (tp, sk) = (self.tp(), self.as_ptr());
            let segs = head.len.div_ceil(mss.max(1)).max(1);
            bindings::toe_tcp_set_segs(head.skb, mss);
            let first = (*tp).packets_out == 0;
            bindings::toe_tcp_sent(sk, head.skb, mss);
            if first {
                bindings::toe_tcp_rearm(sk, true);
            }
            (*tp).segs_out = (*tp).segs_out.wrapping_add(segs);
            (*tp).data_segs_out = (*tp).data_segs_out.wrapping_add(segs);
            (*tp).bytes_sent += u64::from(head.len);
            bindings::toe_tcp_count_out(sk, segs, true);
            segs
        }
    }

    /// Every frame of ours carries the ACK.
    pub(crate) fn ack_sent(&self) {
        // SAFETY: the socket is live and locked.
        unsafe {
            if (*self.icsk()).icsk_ack.pending != 0 {
                bindings::toe_tcp_ack_sent(self.as_ptr());
            }
        }
    }

    /// Congestion window in segments, and Nagle's flags (`TCP_NAGLE_*`).
    pub(crate) fn cwnd_nonagle(&self) -> (u32, u8) {
        // SAFETY: the socket is live and locked.
        unsafe { ((*self.tp()).snd_cwnd, (*self.tp()).nonagle()) }
    }

    /// Last byte of the most recent small segment (Minshall's variant of Nagle).
    pub(crate) fn snd_sml(&self) -> Seq {
        // SAFETY: the socket is live and locked.
        Seq(unsafe { (*self.tp()).snd_sml })
    }

    /// `sk_gso_max_size` and `sk_gso_max_segs`; one segment without GSO.
    pub(crate) fn gso_limits(&self) -> (u32, u32) {
        // SAFETY: the socket is live and locked.
        unsafe {
            let sk = &*self.as_ptr();
            (sk.sk_gso_max_size, u32::from(sk.sk_gso_max_segs))
        }
    }

    /// `sk_gso_type`, for engine-built frames.
    pub(crate) fn gso_type(&self) -> u32 {
        // SAFETY: the socket is live and locked.
        unsafe { u32::from((*self.as_ptr()).sk_gso_type) }
    }

    /// Timestamp value and echo for a frame sent now.
    pub(crate) fn timestamps(&self) -> (u32, u32) {
        // SAFETY: the socket is live and locked.
        unsafe {
            (
                bindings::toe_tcp_ts(self.as_ptr()),
                (*self.tp()).rx_opt.ts_recent,
            )
        }
    }

    /// The next IPv4 identification for a frame of `segs` segments.
    pub(crate) fn ip_id(&self, segs: u32) -> u16 {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_ip_id(self.as_ptr(), segs) }
    }

    /// TTL or hop limit, TOS or traffic class, flow label, don't-fragment.
    pub(crate) fn header_fields(&self) -> (u8, u8, u32, bool) {
        // SAFETY: the socket is live and locked, its route cached.
        unsafe {
            let tos_flow = bindings::toe_sk_tos_flow(self.as_ptr());
            let (tos, flow) = if self.is_v6() {
                ((tos_flow & 0xff) as u8, tos_flow >> 8)
            } else {
                (tos_flow as u8, 0)
            };
            (
                bindings::toe_sk_ttl(self.as_ptr()),
                tos,
                flow,
                bindings::toe_sk_df(self.as_ptr()),
            )
        }
    }

    /// Refreshes the socket's clock before a frame is built.
    pub(crate) fn refresh_clock(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_mstamp_refresh(self.as_ptr()) }
    }

    /// Is the host stack in loss recovery, or has it retransmitted?
    pub(crate) fn in_recovery(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe {
            let (tp, icsk) = (&*self.tp(), &*self.icsk());
            icsk.icsk_ca_state() != CA_OPEN
                || tp.sacked_out != 0
                || tp.lost_out != 0
                || tp.retrans_out != 0
                || icsk.icsk_retransmits != 0
        }
    }

    /// Is the out-of-order queue empty?
    pub(crate) fn in_order(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe { (*self.tp()).out_of_order_queue.rb_node.is_null() }
    }

    /// Highest sequence number sent so far.
    pub(crate) fn snd_nxt(&self) -> Seq {
        // SAFETY: the socket is live and locked.
        Seq(unsafe { (*self.tp()).snd_nxt })
    }

    /// Arms the host's probe timer if data waits and nothing is in flight, as
    /// after every `tcp_write_xmit()`: a corked segment goes out after a while.
    pub(crate) fn check_probe_timer(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_check_probe_timer(self.as_ptr()) }
    }

    /// Makes the host stack able to go on by itself at once.
    pub(crate) fn resume_host(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_resume_host(self.as_ptr()) }
    }
}

/// `usecs_to_jiffies()`, rounding up.
fn us_to_jiffies(us: u32) -> u32 {
    (u64::from(us) * u64::from(HZ)).div_ceil(1_000_000) as u32
}

/// Seconds since boot, for the timestamp age (RFC 7323 section 5.5).
pub(crate) fn now_secs() -> i64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_ktime_secs() as i64 }
}

impl SkBuff {
    /// The first `len` linear bytes, to be written, though a clone may share the
    /// payload behind them. `None` if the header is shared, too.
    pub(crate) fn header_mut(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.headlen() < len as u32 {
            return None;
        }
        // SAFETY: the frame is ours; `len` linear bytes from `data` on belong to
        // no other frame if the header is owned.
        unsafe {
            bindings::toe_skb_header_owned(self.as_ptr())
                .then(|| core::slice::from_raw_parts_mut((*self.as_ptr()).data, len))
        }
    }

    /// Prepares a frame for the socket: its first byte is the TCP header, its
    /// control block says what the TCP header says, as the host stack's receive
    /// function wants it.
    pub(crate) fn fill_cb(&mut self, seg: &Segment, v6: bool) {
        let extra = u32::from(seg.flags & wire::flags::SYN != 0)
            + u32::from(seg.flags & wire::flags::FIN != 0);
        // SAFETY: the frame is ours.
        unsafe {
            bindings::toe_tcp_fill_cb(
                self.as_ptr(),
                seg.seq.0,
                seg.seq.add(seg.payload).add(extra).0,
                seg.ack.0,
                seg.flags,
                seg.dscp << 2 | seg.ip_ecn,
                v6,
            )
        }
    }

    /// Puts the frame into the socket's backlog, for `release_sock()` to
    /// process. The frame comes back if the backlog is full.
    pub(crate) fn add_to_backlog(self, lock: &BhLock<'_>) -> Result<(), SkBuff> {
        // SAFETY: the socket's spin lock is held; on success the frame is
        // the backlog's.
        let ret = unsafe { bindings::toe_sk_add_backlog(lock.sock().as_ptr(), self.as_ptr()) };
        if ret == 0 {
            let _ = self.into_raw();
            Ok(())
        } else {
            Err(self)
        }
    }

    /// Notes the CPU and NAPI instance for busy polling and RFS.
    pub(crate) fn mark_receiver(&self, sk: &Sock) {
        // SAFETY: socket and frame are live.
        unsafe { bindings::toe_sk_incoming(sk.as_ptr(), self.as_ptr()) }
    }
}

impl LockedSock<'_> {
    /// The device of the socket's route while the route is valid, and whether
    /// the route transforms frames (IPsec, light-weight tunnels).
    pub(crate) fn route(&self) -> Option<(&NetDevice, bool)> {
        let mut xfrm = false;
        // SAFETY: the socket is live and locked.
        let dev = unsafe { bindings::toe_sk_route(self.as_ptr(), &mut xfrm) };
        if dev.is_null() {
            return None;
        }
        // SAFETY: the cached route holds the device, and the socket lock the
        // route.
        Some((unsafe { NetDevice::from_raw(dev) }, xfrm))
    }

    /// The next hop's link address.
    pub(crate) fn neighbour(&self) -> Result<[u8; 6]> {
        let mut ha = [0; 6];
        // SAFETY: the socket is live and locked, `ha` has room for an address.
        super::proto::check(unsafe { bindings::toe_sk_neigh(self.as_ptr(), ha.as_mut_ptr()) })?;
        Ok(ha)
    }

    /// What would not see the connection's frames if `dev` took it.
    pub(crate) fn filtered(&self, dev: &NetDevice) -> impl Iterator<Item = Filter> {
        // SAFETY: the socket is live and locked, the device live.
        let set = unsafe { bindings::toe_filtered(self.as_ptr(), dev.as_ptr()) };
        Filter::ALL
            .into_iter()
            .filter(move |filter| set & (1 << *filter as u32) != 0)
    }
}

/// Something in the host's path that a frame of an offloaded connection skips;
/// in the order of `enum toe_filter`'s bits.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Filter {
    Xfrm,
    Netfilter,
    Qdisc,
    Tc,
    Bpf,
}

impl Filter {
    const ALL: [Self; 5] = [
        Self::Xfrm,
        Self::Netfilter,
        Self::Qdisc,
        Self::Tc,
        Self::Bpf,
    ];
}

impl SkBuff {
    /// Is there a VLAN tag that is not in the data?
    #[inline]
    pub(crate) fn has_vlan_tag(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { bindings::toe_skb_vlan_tag_present(self.as_ptr()) }
    }

    /// Verifies the TCP checksum of a frame, at its Ethernet header, that no
    /// hardware verified.
    pub(crate) fn verify_tcp_checksum(&mut self, seg: &Segment, v6: bool) -> bool {
        let len = u32::from(seg.data_off - seg.l4_off) + seg.payload;
        // SAFETY: the frame is ours; parsing found so many bytes in it, and the
        // IP header without options before the TCP header.
        unsafe { bindings::toe_tcp_csum_ok(self.as_ptr(), u32::from(seg.l4_off), len, v6) }
    }

    /// Copies what belongs to a sending application (`MSG_ZEROCOPY`), as the
    /// host's receive path does. `false`: no memory.
    #[inline]
    pub(crate) fn own_payload(&mut self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { bindings::toe_skb_orphan_frags_rx(self.as_ptr()) }
    }

    /// Cuts the frame to `len` bytes. `false`: no memory.
    #[inline]
    pub(crate) fn trim(&mut self, len: u32) -> bool {
        // SAFETY: the frame is ours.
        self.len() <= len || unsafe { bindings::toe_pskb_trim(self.as_ptr(), len) }
    }
}

impl LockedSock<'_> {
    /// Counts a frame the host stack sends through the target: what
    /// `ip_queue_xmit()` would count.
    pub(crate) fn count_host_out(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_ip_count_out(self.as_ptr()) }
    }
}

impl BhLock<'_> {
    /// Counts a received frame, `len` bytes from its IP header on and now at its
    /// TCP header, in SNMP and `TCP_INFO`.
    pub(crate) fn count_in(&self, skb: &SkBuff, len: u32) {
        // SAFETY: the socket's spin lock is held, the frame is ours.
        unsafe {
            bindings::toe_tcp_count_in(self.sock().as_ptr(), len);
            bindings::toe_tcp_segs_in(self.sock().as_ptr(), skb.as_ptr());
        }
    }
}

impl NetDevice {
    /// The link address at this moment.
    pub(crate) fn address_now(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        // SAFETY: the device is live and an Ethernet device; a torn read while
        // the address changes is corrected when the connections are uploaded.
        unsafe { core::ptr::copy_nonoverlapping((*self.as_ptr()).dev_addr, mac.as_mut_ptr(), 6) };
        mac
    }
}

/// Why nothing was appended to the send queue.
pub(crate) enum AppendError {
    /// The send buffer is full.
    Full,
    /// Memory is short: the host's own `sendmsg` knows what to do.
    Memory,
    /// The user's buffer, for one (`EFAULT`).
    Other(Error),
}

impl LockedSock<'_> {
    /// Appends bytes of `msg` to the send queue, at most until its last buffer
    /// holds `goal`. Process context, socket owned; may sleep in the copy.
    pub(crate) fn append(&self, msg: &mut Msg<'_>, goal: u32) -> Result<usize, AppendError> {
        // SAFETY: this task owns the socket, the message is the caller's.
        let n = unsafe { bindings::toe_tcp_append(self.as_ptr(), msg.as_ptr(), goal) };
        if n >= 0 {
            Ok(n as usize)
        } else if n == EAGAIN.to_errno() {
            Err(AppendError::Full)
        } else if n == super::errno::ENOBUFS().to_errno() {
            Err(AppendError::Memory)
        } else {
            Err(AppendError::Other(Error::from_errno(n)))
        }
    }

    /// Marks the end of the send queue to be pushed.
    pub(crate) fn mark_push(&self) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_mark_push(self.as_ptr()) }
    }

    /// Bytes after which a buffer of the send queue is full: whole segments, as
    /// `tcp_xmit_size_goal()`.
    pub(crate) fn size_goal(&self) -> u32 {
        // SAFETY: the socket is live and locked.
        let (mss, window, gso) = unsafe {
            let (sk, tp) = (&*self.as_ptr(), &*self.tp());
            (tp.mss_cache.max(1), tp.max_window, sk.sk_gso_max_size)
        };
        let mut goal = gso.saturating_sub(1 + 320);
        if window > 1072 {
            goal = goal.min(window / 2);
        }
        (goal / mss).max(1) * mss
    }

    /// May the engine send what an application writes now? Not if the host has
    /// something to do first: a new path MTU, a restart of congestion control
    /// after idling.
    pub(crate) fn may_write(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe {
            (*self.as_ptr()).sk_err == 0
                && bindings::toe_tcp_mtu_current(self.as_ptr())
                && !bindings::toe_tcp_idle_restart(self.as_ptr())
        }
    }

    /// How long `sendmsg` may wait for room, in jiffies.
    pub(crate) fn send_timeout(&self, nonblock: bool) -> c_long {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_sndtimeo(self.as_ptr(), nonblock) }
    }

    /// Waits for room in the send buffer without the lock. Everything about the
    /// connection may be different afterwards.
    pub(crate) fn wait_memory(&self, timeout: &mut c_long) -> Result {
        // SAFETY: this task owns the socket, in process context.
        super::proto::check(unsafe { bindings::toe_tcp_wait_memory(self.as_ptr(), timeout) })
    }

    /// The host's `sendmsg`, for what is left of `msg`.
    pub(crate) fn host_sendmsg(&self, msg: &mut Msg<'_>) -> Result<usize> {
        // SAFETY: this task owns the socket, the message is the caller's.
        let n = unsafe {
            bindings::tcp_sendmsg_locked(
                self.as_ptr(),
                msg.as_ptr(),
                bindings::toe_msg_left(msg.as_ptr()),
            )
        };
        if n >= 0 {
            Ok(n as usize)
        } else {
            Err(Error::from_errno(n))
        }
    }

    /// What the application gets for `err` (`sk_stream_error()`: EPIPE comes
    /// with SIGPIPE).
    pub(crate) fn stream_error(&self, flags: u32, err: Error) -> Error {
        // SAFETY: this task owns the socket.
        Error::from_errno(unsafe {
            bindings::sk_stream_error(self.as_ptr(), flags as i32, err.to_errno())
        })
    }
}
