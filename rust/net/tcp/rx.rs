// SPDX-License-Identifier: GPL-2.0

//! The receiving side of `struct tcp_sock`: in-order payload, what its arrival
//! says about the peer, acknowledgements in both directions.

use core::{
    mem::ManuallyDrop,
    ptr::{
        addr_of,
        addr_of_mut,
        read_volatile,
        write_volatile, //
    }, //
};

use kernel::{
    ffi::c_int,
    prelude::*, //
};

use super::{
    jiffies32,
    ESTABLISHED,
    HZ, //
};
use crate::{
    bindings,
    logic::{
        ack::{
            self,
            pending,
            AckDue,
            AckView, //
        },
        rate::{
            self,
            Rate,
            RateSample, //
        },
        rcv_mss::{
            self,
            DataSegment,
            RcvMss, //
        },
        receive::RxAction,
        rtt::{
            self,
            us_to_ticks, //
        },
        seq::Seq,
        wire::{
            self,
            Segment, //
        }, //
    },
    net::{
        net_device::NetDevice,
        skb::{
            shinfo,
            Checksum,
            DropReason,
            SkBuff, //
        },
        sock::{
            BhLock,
            LockedSock,
            Sock, //
        }, //
    }, //
};

type Ato = ack::Ato<HZ>;

impl LockedSock<'_> {
    /// Notes the timestamps of a received segment, `pure` if it has no payload.
    pub(crate) fn note_segment(&self, ts: Option<(u32, u32)>, pure: bool) {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            if let Some((val, ecr)) = ts {
                (*tp).rx_opt.set_saw_tstamp(1);
                (*tp).rx_opt.rcv_tsval = val;
                (*tp).rx_opt.rcv_tsecr = match ecr {
                    0 => 0,
                    ecr => ecr.wrapping_sub((*tp).tsoffset),
                };
            }
            if pure {
                (*tp).rcv_rtt_last_tsecr = (*tp).rx_opt.rcv_tsecr;
            }
        }
    }

    /// What `tcp_ack()` does with every segment it sees, before what is acknowledged
    /// comes off the retransmission queue; its queue was empty before if `idle`.
    #[inline]
    pub(crate) fn ack_seen(&self, action: &RxAction, larger_window: bool, idle: bool) {
        let data = action.payload != 0;
        // SAFETY: live and locked by the type invariant: the callees write to its fields and
        // counters, and set its timers.
        unsafe {
            let fast = action.predicted && action.acked != 0;
            bindings::toe_tcp_ack_seen(self.as_ptr(), fast, data);
            if action.window_changed {
                bindings::toe_tcp_window_changed(self.as_ptr(), larger_window);
            }
            if !idle {
                if action.acked == 0 {
                    bindings::toe_tcp_update_pacing(self.as_ptr());
                }
            } else if self.send_head().is_some() {
                bindings::toe_tcp_ack_probe(self.as_ptr());
            }
        }
    }

    /// After `snd_una` moved from `prior_una`: frees what it covers, measures, feeds
    /// congestion control, re-arms the timers. `tcp_ack()`'s clean path.
    pub(crate) fn acked(&self, ack: Seq, prior_una: Seq) {
        let mut s = bindings::toe_ack_sample::default();
        // SAFETY: live and locked by the type invariant, so that the retransmission queue, which
        // buffers are freed from, is this context's. Its scoreboard is clean: a connection
        // with anything SACKed, lost or retransmitted is not the target's.
        unsafe { bindings::toe_tcp_clean_rtx(self.as_ptr(), prior_una.0, &mut s) };
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (now, mss, delivered) = unsafe { ((*tp).tcp_mstamp, (*tp).mss_cache, (*tp).delivered) };
        let since = |t: u64| u32::try_from(now.saturating_sub(t)).unwrap_or(u32::MAX);
        let sample = match (s.pkts, s.retrans) {
            (0, _) => None,
            (_, false) => Some((since(s.first_us), since(s.last_us))),
            // The echo of our clock tells which transmission it answers.
            (_, true) => self.rtt_by_timestamp(1).map(|us| (us, us)),
        };
        // A lone last segment: the ACK may have been delayed (FLAG_ACK_MAYBE_DELAYED).
        let lone = s.pkts == 1
            && !s.partial
            && ack.dist_from(prior_una) < mss
            && s.prior_delivered.wrapping_add(1) == delivered;
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place, also by the callees, to which what they read is written before.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            (*icsk).icsk_retransmits = 0;
            if let Some((rtt, ca_rtt)) = sample {
                if !(lone && ca_rtt > self.rtt_min()) {
                    bindings::toe_tcp_rtt_min(self.as_ptr(), ca_rtt);
                }
                let mut est = self.rtt();
                est.sample(rtt, ack, Seq((*tp).snd_nxt), || {
                    bindings::toe_tcp_rto_min_us(self.as_ptr())
                });
                write_volatile(addr_of_mut!((*tp).srtt_us), est.srtt_us);
                (*tp).mdev_us = est.mdev_us;
                (*tp).mdev_max_us = est.mdev_max_us;
                (*tp).rttvar_us = est.rttvar_us;
                (*tp).rtt_seq = est.rtt_seq.0;
                let rto = us_to_ticks::<HZ>(est.rto_us());
                (*icsk).icsk_rto = rto.min((*icsk).icsk_rto_max);
                (*icsk).icsk_backoff = 0;
            }
            if s.pkts != 0 {
                bindings::toe_tcp_set_timer(self.as_ptr());
                self.sample_rate(&s);
                let ca_rtt = sample.map_or(-1, |(_, ca)| ca as i32);
                bindings::toe_tcp_cong_avoid(
                    self.as_ptr(),
                    ack.0,
                    s.pkts,
                    ca_rtt,
                    s.prior_delivered,
                );
            }
        }
    }

    /// `tcp_rate_gen()`: what the ACK says about how fast the peer gets what is sent.
    #[inline(always)]
    fn sample_rate(&self, s: &bindings::toe_ack_sample) {
        let sample = RateSample {
            prior_delivered: s.prior_delivered,
            prior_us: s.prior_us,
            send_us: s.send_us,
            app_limited: s.app_limited,
        };
        let min = self.rtt_min();
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            (*tp).app_limited = rate::app_limited_after((*tp).app_limited, (*tp).delivered);
            (*tp).delivered_mstamp = (*tp).tcp_mstamp;
            let old = Rate {
                delivered: (*tp).rate_delivered,
                interval_us: (*tp).rate_interval_us,
                app_limited: (*tp).rate_app_limited() != 0,
            };
            if let Some(new) = old.after(&sample, (*tp).delivered, (*tp).tcp_mstamp, min) {
                (*tp).rate_delivered = new.delivered;
                (*tp).rate_interval_us = new.interval_us;
                (*tp).set_rate_app_limited(new.app_limited.into());
            }
        }
    }

    /// `tcp_min_rtt()`, in us.
    #[inline]
    pub(super) fn rtt_min(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe { (*self.tp()).rtt_min.s[0].v }
    }

    /// `tcp_check_space()`: wakes writers if there is room again.
    #[inline]
    pub(crate) fn check_space(&self) {
        // SAFETY: live and locked by the type invariant, so that its `struct socket`, if it has
        // one, stays; the callee wakes its writers.
        unsafe { bindings::toe_tcp_check_space(self.as_ptr()) }
    }

    /// Returns whether somebody waits until the send buffer has room.
    pub(crate) fn waits_for_space(&self) -> bool {
        // SAFETY: live and locked by the type invariant, so that its `struct socket`, if it has
        // one, stays; the callee reads a flag of it.
        unsafe { bindings::toe_tcp_waits_for_space(self.as_ptr()) }
    }

    /// Returns whether the socket already has the memory for this frame.
    #[inline]
    pub(crate) fn has_reserved(&self, skb: &SkBuff) -> bool {
        // SAFETY: live and locked by the type invariant, and live by that of `SkBuff`; fields.
        unsafe { (*skb.as_ptr()).truesize as c_int <= (*self.as_ptr()).sk_forward_alloc }
    }

    /// Returns whether the receive queue is within its limit (`tcp_can_ingest()`).
    #[inline]
    pub(crate) fn is_within_limit(&self) -> bool {
        let sk = self.as_ptr();
        // SAFETY: live by the type invariant; racy reads: aligned, written in one piece.
        unsafe {
            let used = read_volatile(addr_of!((*sk).sk_backlog.rmem_alloc.counter));
            used <= read_volatile(addr_of!((*sk).sk_rcvbuf))
        }
    }

    /// Takes the memory for a frame that is accepted though not predicted. `false`: TCP's
    /// memory, or that of the cgroup, is used up.
    #[inline]
    pub(crate) fn take_space(&self, skb: &SkBuff) -> bool {
        // SAFETY: live and locked by the type invariant: what is charged is this context's to
        // change; the frame is live by that of `SkBuff`.
        unsafe { bindings::toe_tcp_rmem_schedule(self.as_ptr(), skb.as_ptr()) }
    }

    /// Returns whether the host has header prediction on, which it has not after the peer's
    /// FIN.
    #[inline]
    pub(crate) fn is_predicting(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            (*self.tp()).pred_flags != 0 && (*self.as_ptr()).__sk_common.skc_state == ESTABLISHED
        }
    }

    /// `tcp_measure_rcv_mss()`: the peer's segment size, from the segments it
    /// sends. A new size tells how dense the data is in its buffers, too, and
    /// with that how much of it the receive memory holds.
    ///
    /// `flags` are the segment's, `header` the length of its TCP header.
    fn measure_rcv_mss(&self, skb: &bindings::sk_buff, payload: u32, header: u32, flags: u16) {
        // SAFETY: the frame is live, and with it what its memory ends with.
        let size = match unsafe { (*shinfo(skb)).gso_size } {
            0 => payload,
            n => u32::from(n),
        };
        let segment = DataSegment {
            size,
            header,
            flags,
        };
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            let ack = addr_of_mut!((*self.icsk()).icsk_ack);
            let mut mss = RcvMss {
                rcv_mss: (*ack).rcv_mss,
                last_seg_size: (*ack).last_seg_size,
                pending: (*ack).pending,
            };
            let larger = mss.measure(&segment, (*tp).advmss, (*tp).tcp_header_len);
            (*ack).rcv_mss = mss.rcv_mss;
            (*ack).last_seg_size = mss.last_seg_size;
            (*ack).pending = mss.pending;
            if larger {
                let ratio = rcv_mss::scaling_ratio(payload, skb.truesize);
                if ratio != (*tp).scaling_ratio {
                    (*tp).scaling_ratio = ratio;
                    let clamp = self.full_space() as u32;
                    (*tp).window_clamp = clamp;
                    (*tp).rcvq_space.space = (*tp).rcvq_space.space.min(clamp as i32);
                }
            }
        }
    }

    /// Queues in-order payload for the application: `skb` without the first
    /// `header` bytes, which are the TCP header, and what goes with it.
    /// `flags` are the segment's. Readers are not woken yet.
    #[inline(always)]
    pub(crate) fn queue_payload(&self, skb: SkBuff, action: &RxAction, header: u32, flags: u16) {
        let (skb, payload) = (skb.into_raw(), action.payload);
        let mut stolen = false;
        // SAFETY: live and locked by the type invariant; the frame is the queue's from
        // here on, and stays in it under the lock, or is still ours.
        let eaten = unsafe {
            bindings::toe_tcp_queue_rcv(self.as_ptr(), skb, header, action.predicted, &mut stolen)
        };
        // SAFETY: as above; it is valid in both cases.
        self.data_received(unsafe { &*skb }, payload, header, flags);
        if eaten {
            // SAFETY: the last buffer of the queue took the payload, and the
            // rest is ours.
            unsafe { bindings::kfree_skb_partial(skb, stolen) };
        }
        if !action.predicted && !self.is_predicting() {
            // SAFETY: as above.
            unsafe { bindings::toe_tcp_fast_path_check(self.as_ptr()) };
        }
    }

    /// Queues the payload of a segment that was taken in, in order, before the socket's lock
    /// was to be had; it starts at its TCP header. `Err`: there is no memory, and it is lost;
    /// its sequence number.
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn queue_segment(&self, skb: SkBuff) -> Result<(), Seq> {
        let Some(seg) = wire::parse_tcp(skb.data(), skb.len()) else {
            return Ok(());
        };
        if !self.has_reserved(&skb) && !self.take_space(&skb) {
            skb.drop_because(DropReason::Nomem);
            return Err(seg.seq);
        }
        self.note_segment(seg.ts, false);
        let action = RxAction {
            payload: seg.payload,
            ..RxAction::default()
        };
        let header = u32::from(seg.data_off - seg.l4_off);
        self.queue_payload(skb, &action, header, seg.flags);
        Ok(())
    }

    /// Bookkeeping for a data segment that is in the receive queue: delayed-ACK
    /// clock, receive MSS and RTT, window growth. `tcp_event_data_recv()` and
    /// `tcp_rcv_rtt_measure_ts()`.
    #[inline(always)]
    pub(super) fn data_received(
        &self,
        skb: &bindings::sk_buff,
        payload: u32,
        header: u32,
        flags: u16,
    ) {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            (*icsk).icsk_ack.pending |= pending::SCHED;
            let ecr = (*tp).rx_opt.rcv_tsecr;
            if ecr != (*tp).rcv_rtt_last_tsecr {
                (*tp).rcv_rtt_last_tsecr = ecr;
                if payload >= u32::from((*icsk).icsk_ack.rcv_mss) {
                    self.receive_rtt_by_timestamp(payload);
                }
            }
            self.measure_rcv_mss(skb, payload, header, flags);
            self.receive_rtt_by_window();

            let now = jiffies32();
            let gap = now.wrapping_sub((*icsk).icsk_ack.lrcvtime);
            let (ato, quick) = Ato::new((*icsk).icsk_ack.ato()).after(gap, (*icsk).icsk_rto);
            (*icsk).icsk_ack.set_ato(ato.ticks());
            if quick {
                let rcv_mss = u32::from((*icsk).icsk_ack.rcv_mss);
                let had = (*icsk).icsk_ack.quick;
                (*icsk).icsk_ack.quick = ack::quickacks((*tp).rcv_wnd, rcv_mss, had);
            }
            (*icsk).icsk_ack.lrcvtime = now;

            if payload >= 128 {
                bindings::toe_tcp_grow_window(self.as_ptr(), skb);
            }
        }
    }

    /// `tcp_rcv_rtt_measure_ts()`: the time since the peer echoed our clock.
    /// `payload` bytes have just been received, which the host would not have queued yet.
    fn receive_rtt_by_timestamp(&self, payload: u32) {
        let Some(us) = self.rtt_by_timestamp(0).filter(|us| *us != 0) else {
            return;
        };
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let unread = unsafe {
            let tp = self.tp();
            (*tp).rcv_nxt.wrapping_sub((*tp).copied_seq)
        };
        // Where it was placed it has been read, too.
        self.receive_rtt(us, unread != payload && unread != 0);
    }

    /// `tcp_rtt_tsopt_us()`: the time since the peer echoed our clock, in us, at least
    /// `min` of the clock's units. `None`: it did not, or too long ago.
    fn rtt_by_timestamp(&self, min: u32) -> Option<u32> {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (ecr, us, seen) = unsafe {
            let tp = self.tp();
            (
                (*tp).rx_opt.rcv_tsecr,
                (*tp).tcp_usec_ts() != 0,
                (*tp).rx_opt.saw_tstamp() != 0,
            )
        };
        if !seen || ecr == 0 {
            return None;
        }
        rtt::by_timestamp(self.clock_ts().wrapping_sub(ecr), us, min)
    }

    /// `tcp_rcv_rtt_measure()`: the time a whole window of data took.
    pub(super) fn receive_rtt_by_window(&self) {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
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
    /// tunes the receive buffer. A sample that depends on the window, or on a reader that
    /// is late, can `only_lower` it.
    fn receive_rtt(&self, us: u32, only_lower: bool) {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            let old = (*tp).rcv_rtt_est.rtt_us;
            (*tp).rcv_rtt_est.rtt_us = rtt::receiver(old, us, only_lower);
        }
    }

    /// What decisions on ACKs read.
    #[inline(always)]
    pub(super) fn ack_view(&self) -> AckView {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            AckView {
                rcv_nxt: Seq((*tp).rcv_nxt),
                rcv_wup: Seq((*tp).rcv_wup),
                copied_seq: Seq((*tp).copied_seq),
                rcv_wnd: (*tp).rcv_wnd,
                rcv_mss: u32::from((*icsk).icsk_ack.rcv_mss),
                pending: (*icsk).icsk_ack.pending,
            }
        }
    }

    /// When to acknowledge the data received so far (`__tcp_ack_snd_check()`). `None`: there
    /// is nothing to acknowledge.
    #[inline(always)]
    fn ack_due(&self) -> Option<AckDue> {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        let rcvlowat = unsafe { (*self.as_ptr()).sk_rcvlowat };
        ack::due(
            &self.ack_view(),
            rcvlowat,
            || self.new_window(),
            // SAFETY: live and locked by the type invariant; the callee only looks.
            || unsafe { bindings::toe_tcp_quickack(self.as_ptr()) },
        )
    }

    /// The ACK that goes out now, for data received; else it waits for a timer, or for who
    /// owns the socket. `read`: the application has all of the data already.
    #[inline(always)]
    pub(crate) fn ack_now(&self, read: bool) -> Option<AckDue> {
        let due = self.ack_due();
        // The reader would acknowledge when it has run, but it may sleep on.
        let now = due.as_ref().is_some_and(|due| due.now) || (read && self.read_ack_due());
        if now && self.defer_ack() {
            // The owner of the socket sends one for all frames that waited for him.
            return None;
        }
        (now || (due.is_some() && !self.delay_ack())).then(|| AckDue {
            now: true,
            window: due.and_then(|due| due.window),
        })
    }

    /// Returns whether the ACK waits until the task that owns the socket releases it
    /// (`tcp_backlog_ack_defer`). The host sends it then.
    #[inline]
    fn defer_ack(&self) -> bool {
        if !self.is_owned() || self.sysctl_tcp_backlog_ack_defer() == 0 {
            return false;
        }
        // SAFETY: live and locked by the type invariant, by a task that owns it, whose release
        // looks at the flag that the callee sets.
        unsafe { bindings::toe_tcp_defer_ack(self.as_ptr()) };
        true
    }

    /// `tcp_send_delayed_ack()`: the host's own timer sends it. `false`: it would expire
    /// soon, and the ACK is due now.
    fn delay_ack(&self) -> bool {
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        let (ato, pending, srtt_us) = unsafe {
            let ack = addr_of!((*self.icsk()).icsk_ack);
            (Ato::new((*ack).ato()), (*ack).pending, (*self.tp()).srtt_us)
        };
        let ticks = ato.delay(pending, || self.pingpong(), srtt_us);
        // SAFETY: live and locked by the type invariant, as for all timers of a connection.
        !unsafe { bindings::toe_tcp_delack(self.as_ptr(), ticks) }
    }

    /// A pure ACK, built by the host and sent through `queue_xmit`.
    pub(crate) fn send_ack(&self) {
        // SAFETY: live and locked by the type invariant, as the host calls the same; it comes
        // back by `queue_xmit`, where no cell of ours is borrowed.
        unsafe {
            bindings::__tcp_send_ack(self.as_ptr(), (*self.tp()).rcv_nxt, 0);
        }
    }
}

impl SkBuff {
    /// Returns whether the TCP checksum of a frame that came in is right.
    #[inline(always)]
    pub(crate) fn has_tcp_checksum(&mut self, seg: &Segment, v6: bool) -> bool {
        matches!(self.checksum(), Checksum::Partial | Checksum::Unnecessary)
            || self.verify_tcp_checksum(seg, v6)
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

    /// Notes in frame and socket where it came in: the device, the receive queue and its
    /// NAPI instance, this CPU. For busy polling, RFS and later readers of the frame.
    #[inline]
    pub(crate) fn received_by(&mut self, sk: &Sock, iif: i32, queue: u16, napi_id: u32) {
        // SAFETY: socket and frame are live.
        unsafe {
            bindings::toe_sk_incoming(sk.as_ptr(), self.as_ptr(), iif, queue, napi_id);
        }
    }

    /// Verifies the TCP checksum of a frame, at its Ethernet header, that no
    /// hardware verified.
    fn verify_tcp_checksum(&mut self, seg: &Segment, v6: bool) -> bool {
        let len = u32::from(seg.data_off - seg.l4_off) + seg.payload;
        // SAFETY: the frame is ours; parsing found this many bytes in it, and the IP header
        // without options before the TCP header.
        unsafe { bindings::toe_tcp_csum_ok(self.as_ptr(), u32::from(seg.l4_off), len, v6) }
    }

    /// Copies what belongs to a sending application (`MSG_ZEROCOPY`), as the
    /// host's receive path does. `false`: no memory.
    #[inline]
    pub(crate) fn own_payload(&mut self) -> bool {
        // SAFETY: the frame is ours.
        unsafe {
            let flags = (*shinfo(&*self.as_ptr())).flags;
            u32::from(flags) & bindings::SKBFL_ZEROCOPY_ENABLE == 0
                || bindings::toe_skb_orphan_frags_rx(self.as_ptr())
        }
    }

    /// Cuts the frame to `len` bytes. `false`: no memory.
    #[inline]
    pub(crate) fn trim(&mut self, len: u32) -> bool {
        // SAFETY: the frame is ours.
        self.len() <= len || unsafe { bindings::toe_pskb_trim(self.as_ptr(), len) }
    }
}

impl BhLock<'_> {
    /// Counts a frame that `dev` received, `len` bytes from its IP header on and
    /// now at its TCP header, in SNMP and `TCP_INFO`. `None`: it is dropped, because it is
    /// of memory that is kept for others, or by a security module's decision, both as in
    /// `sk_filter_trim_cap()`.
    #[inline(always)]
    pub(crate) fn admit(&self, skb: SkBuff, dev: &NetDevice, len: u32) -> Option<SkBuff> {
        let skb = ManuallyDrop::new(skb);
        let (sk, raw) = (self.sock().as_ptr(), skb.as_ptr());
        // SAFETY: the socket's spin lock is held, the frame is ours, and only still so if
        // the callee says that, the device is live.
        unsafe { bindings::toe_tcp_admit(sk, raw, dev.as_ptr(), len) }
            .then(|| ManuallyDrop::into_inner(skb))
    }

    /// Counts a frame that came from farther away than the socket allows
    /// (`TCPMinTTLDrop`). As [`admit`](Self::admit).
    #[cold]
    pub(crate) fn count_too_far(&self, skb: &SkBuff, dev: &NetDevice, len: u32) {
        // SAFETY: as in `admit()`.
        unsafe {
            bindings::toe_tcp_count_too_far(self.sock().as_ptr(), skb.as_ptr(), dev.as_ptr(), len)
        }
    }
}
