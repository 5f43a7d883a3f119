// SPDX-License-Identifier: GPL-2.0

//! The sending side of `struct tcp_sock`: the send queue, from the application's
//! memory to the retransmission queue, and what a frame's header says.

use core::ptr::{
    self,
    addr_of,
    addr_of_mut, //
};

use kernel::{
    ffi::c_long,
    prelude::*, //
};

use crate::{
    bindings,
    logic::{
        ack::pending,
        reason::SpecialCase,
        seq::Seq,
        template::{
            HeaderTemplate,
            TxFields,
            TCP_CSUM_OFF, //
        },
        transmit::{
            self,
            GoalView,
            TsoView,
            WaitReason,
            NAGLE_PUSH,
            NSEC_PER_MSEC, //
        },
        tuple::Family,
        window,
        wire::{
            self,
            Segment, //
        }, //
    },
    net::{
        context::Bh,
        errno,
        proto::{
            self,
            Msg, //
        },
        skb::SkBuff,
        sock::{
            LockedSock,
            UserLock, //
        }, //
    }, //
};

/// A clean send queue's head and what bounds its transmission.
///
/// # Invariants
///
/// `skb` is the first buffer of the send queue of the socket that made the value, as long as
/// the lock is not given up, and the queue is not changed by another way than the methods that
/// take the value.
pub(crate) struct SendHead {
    skb: *mut bindings::sk_buff,
    /// Bytes in it.
    pub(crate) len: u32,
    /// Whether further buffers follow.
    pub(crate) more: bool,
    /// Whether it was marked to be pushed (PSH).
    pub(crate) push: bool,
    /// Whether nothing can join it (`MSG_EOR`).
    pub(crate) closed: bool,
}

/// Why nothing was appended to the send queue.
pub(crate) enum AppendError {
    /// The send buffer is full.
    Full,
    /// Memory is short: the host's own `sendmsg` knows what to do.
    Memory,
    /// The user's memory is not there, and has to be faulted in.
    Fault,
    /// Another error, such as `EFAULT` for the user's buffer.
    Other(Error),
}

impl LockedSock<'_> {
    /// `__tcp_select_window()`, which is not exported.
    #[inline(never)]
    pub(super) fn new_window(self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, read in place. The callee
        // writes to some of them, of which only `rcv_ssthresh` is read, afterwards.
        let (view, net_shrink) = unsafe {
            let (tp, icsk) = (self.tp(), self.icsk());
            let shrink = self.sysctl_tcp_shrink_window() != 0;
            let free = self.space();
            let allowed = self.full_space();
            let full = allowed.min((*tp).window_clamp as i32);
            if free < full >> 1 {
                bindings::toe_tcp_space_short(self.as_ptr());
            }
            (
                window::WindowView {
                    mss: i32::from((*icsk).icsk_ack.rcv_mss),
                    free_space: free,
                    allowed_space: allowed,
                    full_space: full,
                    rcv_ssthresh: (*tp).rcv_ssthresh as i32,
                    rcv_wscale: (*tp).rx_opt.rcv_wscale() as u8,
                    rcv_wnd: (*tp).rcv_wnd as i32,
                },
                shrink,
            )
        };
        window::select(&view, net_shrink)
    }

    /// `tcp_select_window()`: the window field of a frame about to be sent; the
    /// offer is recorded in the socket. `new` is [`new_window`](Self::new_window), if it was
    /// asked for just now.
    #[inline(always)]
    pub(crate) fn offer_window(&self, new: Option<u32>) -> u16 {
        // Data was dropped for want of memory: the peer shall wait.
        // SAFETY: live and locked by the type invariant; a field, read in place.
        let shut = unsafe { (*self.icsk()).icsk_ack.pending } & pending::NOMEM != 0;
        let new = match shut {
            true => 0,
            false => new.unwrap_or_else(|| self.new_window()),
        };
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant: the fields are this context's. They are
        // read and written in place.
        let (old, offer) = unsafe {
            let old = (*tp).rcv_wnd;
            let offer = match shut {
                true => window::Offer::SHUT,
                false => {
                    let last = window::Offered {
                        rcv_nxt: Seq((*tp).rcv_nxt),
                        rcv_wup: Seq((*tp).rcv_wup),
                        rcv_wnd: old,
                        wscale: (*tp).rx_opt.rcv_wscale() as u8,
                        shrink: self.sysctl_tcp_shrink_window() != 0,
                        signed: self.sysctl_tcp_workaround_signed_windows() != 0,
                    };
                    window::offer(new, &last)
                }
            };
            (*tp).rcv_wnd = offer.wnd;
            (*tp).rcv_wup = (*tp).rcv_nxt;
            let edge = (*tp).rcv_wup.wrapping_add((*tp).rcv_wnd);
            if Seq(edge).after(Seq((*tp).rcv_mwnd_seq)) {
                (*tp).rcv_mwnd_seq = edge;
            }
            if offer.field == 0 {
                (*tp).pred_flags = 0;
            }
            (old, offer)
        };
        let field = u32::from(offer.field);
        if !shut && (field == 0 || old == 0 || offer.wanted_zero) {
            // SAFETY: live by the type invariant, and with it the namespace, whose counters the
            // callee adds to.
            unsafe {
                bindings::toe_tcp_count_window(self.as_ptr(), offer.wanted_zero, old, field);
            }
        }
        offer.field
    }

    /// The first unsent buffer.
    #[inline]
    pub(crate) fn send_head(&self) -> Option<SendHead> {
        // SAFETY: live and locked by the type invariant, so that nobody changes the send queue,
        // a ring through its own head: what is not that is a buffer, in whose control block
        // TCP has its own.
        unsafe {
            let queue = addr_of!((*self.as_ptr()).sk_write_queue);
            let end: *const bindings::sk_buff = queue.cast();
            let skb = (*queue).__bindgen_anon_1.__bindgen_anon_1.next;
            if ptr::eq(skb, end) {
                return None;
            }
            let next = (*skb).__bindgen_anon_1.__bindgen_anon_1.next;
            // TCP_SKB_CB()
            let cb: *const bindings::tcp_skb_cb = addr_of!((*skb).cb).cast();
            // INVARIANT: the first one.
            Some(SendHead {
                skb,
                len: (*skb).len,
                more: !ptr::eq(next, end),
                push: (*cb).tcp_flags & wire::flags::PSH != 0,
                closed: (*cb).eor() != 0,
            })
        }
    }

    /// Leaves `len` bytes in the send head and queues the rest behind it.
    pub(crate) fn split(&self, head: &mut SendHead, len: u32, mss: u32) -> Result {
        // SAFETY: live and locked by the type invariant; `head` is its send head by its own: the
        // engine has one at a time, and uses it up before the queue changes otherwise. `len`
        // is less than what is in it, as the engine sends a part.
        // INVARIANT: the rest is queued behind it.
        proto::check(unsafe { bindings::toe_tcp_split(self.as_ptr(), head.skb, len, mss) })?;
        head.len = len;
        head.more = true;
        head.push = false;
        Ok(())
    }

    /// Moves up to `len` bytes from the buffer behind the send head into it. Inlined, like
    /// what else takes a head, which then is in no memory.
    #[inline(always)]
    pub(crate) fn grow(&self, head: SendHead, len: u32) -> SendHead {
        // SAFETY: live and locked by the type invariant; `head` is its send head by its own. The
        // callee may free the buffer behind it, not this one.
        match unsafe { bindings::toe_tcp_grow(self.as_ptr(), head.skb, len) } {
            true => self.send_head().unwrap_or(head),
            false => head,
        }
    }

    /// Bytes in the last unsent buffer.
    pub(crate) fn send_tail_len(&self) -> u32 {
        // SAFETY: as in `send_head()`.
        unsafe {
            let queue = addr_of!((*self.as_ptr()).sk_write_queue);
            let end: *const bindings::sk_buff = queue.cast();
            let skb = (*queue).__bindgen_anon_1.__bindgen_anon_1.prev;
            match ptr::eq(skb, end) {
                true => 0,
                false => (*skb).len,
            }
        }
    }

    /// The most segments that a frame may have now (`tcp_tso_segs()`).
    #[inline]
    pub(crate) fn tso_segs(&self, mss: u32) -> u32 {
        // SAFETY: live and locked by the type invariant, and with it the congestion control,
        // whose function gets the socket as from the host. Fields are read in place.
        unsafe {
            let sk = self.as_ptr();
            let min_segs = match (*(*self.icsk()).icsk_ca_ops).min_tso_segs {
                Some(f) => f(self.as_ptr()),
                None => u32::from(self.sysctl_tcp_min_tso_segs()),
            };
            let view = TsoView {
                pacing_rate: (*sk).sk_pacing_rate as u64,
                pacing_shift: (*sk).sk_pacing_shift,
                min_rtt_us: self.rtt_min(),
                rtt_log: self.sysctl_tcp_tso_rtt_log(),
                gso_max_size: (*sk).sk_gso_max_size,
                gso_max_segs: u32::from((*sk).sk_gso_max_segs),
                min_segs,
            };
            view.segs(mss)
        }
    }

    /// Returns whether the last frame was sent less than a millisecond ago, so that the next
    /// one may wait to become larger.
    #[inline]
    pub(crate) fn sent_just_now(&self) -> bool {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let since = unsafe { (*tp).tcp_clock_cache.wrapping_sub((*tp).tcp_wstamp_ns) } as i64;
        since <= NSEC_PER_MSEC as i64
    }

    /// In how many ns the next ACK is expected, by the smoothed round trip time.
    pub(crate) fn ack_in_ns(&self) -> Option<i64> {
        let mut ns = 0;
        // SAFETY: live and locked by the type invariant, so that the retransmission queue stays
        // as it is while the callee looks at its first buffer; `ns` is ours.
        unsafe { bindings::toe_tcp_ack_in(self.as_ptr(), &mut ns) }.then_some(ns)
    }

    /// Smoothed round trip time in ns.
    #[inline]
    pub(crate) fn srtt_ns(&self) -> u64 {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        u64::from(unsafe { (*self.tp()).srtt_us }) * (1000 >> 3)
    }

    /// `tcp_tso_win_divisor`
    #[inline]
    pub(crate) fn win_divisor(&self) -> u32 {
        u32::from(self.sysctl_tcp_tso_win_divisor())
    }

    /// Segments in flight.
    #[inline]
    pub(crate) fn packets_out(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        unsafe { (*self.tp()).packets_out }
    }

    /// The end of a run of the transmit engine, which sent `segs` segments with nothing in
    /// flight before if `fresh`, and stopped for `wait`: congestion window validation,
    /// timers, the clocks of what limits the connection.
    #[inline]
    pub(crate) fn xmit_end(&self, segs: u32, wait: Option<WaitReason>, fresh: bool) {
        let cwnd = wait.is_some_and(WaitReason::is_cwnd);
        let window = wait.is_some_and(WaitReason::is_window);
        // SAFETY: live and locked by the type invariant: the callee writes to its fields and sets
        // its timers. If anything was sent, it is in the retransmission queue, whose first
        // buffer the callee looks at.
        unsafe { bindings::toe_tcp_xmit_end(self.as_ptr(), segs, cwnd, window, fresh) }
    }

    /// What only the host stack can do of what is to be sent: urgent data, and if it may
    /// `probe`, a segment to look for a larger path MTU.
    #[inline(always)]
    pub(crate) fn host_first(&self, probe: bool) -> Option<SpecialCase> {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let (urgent, probes) = unsafe {
            let tp = self.tp();
            (
                (*tp).snd_up != (*tp).snd_una,
                (*self.icsk()).icsk_mtup.enabled() != 0,
            )
        };
        match urgent || (probe && probes) {
            true => self.host_first_case(urgent),
            false => None,
        }
    }

    #[cold]
    fn host_first_case(&self, urgent: bool) -> Option<SpecialCase> {
        match urgent {
            true => Some(SpecialCase::Urg),
            false => self.is_probing_mtu().then_some(SpecialCase::MtuProbe),
        }
    }

    /// Returns whether the host stack looks for a larger path MTU, or would do so now.
    pub(crate) fn is_probing_mtu(&self) -> bool {
        // SAFETY: live and locked by the type invariant; the callee only looks.
        unsafe { bindings::toe_tcp_mtu_probing(self.as_ptr()) }
    }

    /// The wire's copy of the send head: a clone. `None`: no memory.
    #[cfg_attr(
        not(any(toe_example, toe_engine_tests)),
        expect(dead_code, reason = "the example's")
    )]
    pub(crate) fn clone_head(&self, head: &SendHead) -> Option<SkBuff> {
        // SAFETY: live and locked by the type invariant; `head` is its send head by its own.
        let clone = unsafe { bindings::toe_tcp_xmit_clone(self.as_ptr(), head.skb) };
        // SAFETY: if there is one, it was made just now, is ours, and on no list: `__skb_clone()`
        // clears its links.
        (!clone.is_null()).then(|| unsafe { SkBuff::from_raw(clone) })
    }

    /// The same, or one of its own memory, whichever is cheaper.
    #[inline(always)]
    pub(crate) fn copy_head(&self, head: &SendHead, _bh: &Bh) -> Option<SkBuff> {
        // SAFETY: live and locked by the type invariant; `head` is its send head by its own.
        // Bottom halves are disabled, as for the CPU's spare buffers.
        let copy = unsafe { bindings::toe_tcp_xmit_frame(self.as_ptr(), head.skb) };
        // SAFETY: if there is one, it is a clone as above, or as a new one: ours, and on no list.
        (!copy.is_null()).then(|| unsafe { SkBuff::from_raw(copy) })
    }

    /// An empty frame with room in front for all headers of a segment without
    /// payload. `None`: no memory. From the cache of freed frames of this CPU.
    pub(crate) fn header_frame(&self, _bh: &Bh) -> Option<SkBuff> {
        // SAFETY: live by the type invariant; bottom halves are disabled, as for the CPU's spare
        // buffer and the cache of NAPI polls.
        let skb = unsafe { bindings::toe_header_skb(self.as_ptr()) };
        // SAFETY: if there is one, it is as a new one, ours, and on no list.
        (!skb.is_null()).then(|| unsafe { SkBuff::from_raw(skb) })
    }

    /// What differs in the headers of a frame that is sent now, of `segs` segments: from
    /// here on the host takes its `window` for offered, which it computes if there is none.
    #[inline(always)]
    pub(crate) fn frame_fields(
        &self,
        seq: Seq,
        ack: Seq,
        flags: u16,
        window: Option<u32>,
        payload_len: u32,
        segs: u32,
    ) -> TxFields {
        let (tsval, tsecr) = self.timestamps();
        TxFields {
            seq,
            ack,
            flags,
            window: self.offer_window(window),
            tsval,
            tsecr,
            payload_len,
            ip_id: self.ip_id(segs),
            gso: segs > 1,
        }
    }

    /// Moves the send head, which was sent, to the retransmission queue.
    pub(crate) fn sent(&self, head: SendHead, mss: u32) {
        // SAFETY: live and locked by the type invariant; `head` is its send head by its own, and
        // used up here. What it holds is the highest sequence number sent, as the callee wants
        // it: the queue is sent in order.
        unsafe { bindings::toe_tcp_sent(self.as_ptr(), head.skb, mss) }
    }

    /// What was [`sent`](Self::sent) from `snd_nxt` on never left, and waits to be sent
    /// again, but for buffers of which somebody has a clone. Returns how many bytes it was.
    #[cfg_attr(
        not(any(toe_example, toe_engine_tests)),
        expect(dead_code, reason = "the example's")
    )]
    pub(crate) fn unsend(&self, snd_nxt: Seq) -> u32 {
        // SAFETY: the socket is live and locked, and with it its queues.
        unsafe { bindings::toe_tcp_unsend(self.as_ptr(), snd_nxt.0) }
    }

    /// What a frame of the host stack says about what the host is doing.
    pub(crate) fn host_intention(&self, h: &Segment) -> Option<SpecialCase> {
        if h.flags & wire::flags::URG != 0 {
            return Some(SpecialCase::Urg);
        }
        if h.flags & !(wire::flags::ACK | wire::flags::PSH) != 0 {
            return Some(SpecialCase::HostRetransmit);
        }
        let nxt = self.snd_nxt();
        if h.seq == nxt {
            return None;
        }
        match (h.payload != 0, h.seq.before(nxt)) {
            (true, true) if self.in_recovery() => Some(SpecialCase::Rto),
            (true, true) => Some(SpecialCase::HostRetransmit),
            (false, true) if self.send_head().is_some() => Some(SpecialCase::Persist),
            (false, true) => Some(SpecialCase::Keepalive),
            (_, false) => None,
        }
    }

    /// Every frame of ours carries the ACK.
    pub(crate) fn ack_sent(&self) {
        // SAFETY: live and locked by the type invariant; a field, read in place, and what goes
        // with it, which is the callee's to write.
        unsafe {
            if (*self.icsk()).icsk_ack.pending != 0 {
                bindings::toe_tcp_ack_sent(self.as_ptr());
            }
        }
    }

    /// Congestion window in segments.
    pub(crate) fn cwnd(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        unsafe { (*self.tp()).snd_cwnd }
    }

    /// Nagle's flags (`TCP_NAGLE_*`) as the application set them, without `TCP_NAGLE_PUSH`:
    /// that is momentary, and its setter pushes, too.
    pub(crate) fn nonagle(&self) -> u8 {
        // SAFETY: live and locked by the type invariant; a bit field, read in place.
        unsafe { (*self.tp()).nonagle() & !NAGLE_PUSH }
    }

    /// Last byte of the most recent small segment (Minshall's variant of Nagle).
    pub(crate) fn snd_sml(&self) -> Seq {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        Seq(unsafe { (*self.tp()).snd_sml })
    }

    /// `sk_gso_type`, for engine-built frames.
    pub(crate) fn gso_type(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        unsafe { u32::from((*self.as_ptr()).sk_gso_type) }
    }

    /// The next IPv4 identification for a frame of `segs` segments (`ip_select_ident_segs()`
    /// of a connected socket).
    #[inline]
    pub(crate) fn ip_id(&self, segs: u32) -> u16 {
        let inet = self.as_ptr().cast::<bindings::inet_sock>();
        // SAFETY: live and locked by the type invariant: nobody else counts it up meanwhile. It
        // is read and written in one piece, for readers without the lock.
        unsafe {
            let id = addr_of_mut!((*inet).inet_id.counter);
            let next = id.read_volatile();
            id.write_volatile(next.wrapping_add(segs as i32));
            next as u16
        }
    }

    /// A loss probe comes in `ms`, if something is in flight and its timer has not expired: the
    /// link that it was sent by is gone. Any context.
    pub(crate) fn probe_in(&self, ms: u32) {
        // SAFETY: live and locked by the type invariant, under which its timers are this
        // context's to set.
        unsafe { bindings::toe_tcp_probe_soon(self.as_ptr(), ms) }
    }

    /// Arms the host's probe timer if data waits and nothing is in flight, as
    /// after every `tcp_write_xmit()`: a corked segment goes out after a while.
    #[inline]
    pub(crate) fn check_probe_timer(&self) {
        if self.send_head().is_some() {
            // SAFETY: live and locked by the type invariant, as for all timers of a connection.
            unsafe { bindings::toe_tcp_check_probe_timer(self.as_ptr()) }
        }
    }

    /// Counts a pure ACK of the engine, `len` bytes from its IP header on: what
    /// `tcp_transmit_skb()` and `ip_queue_xmit()` would count.
    pub(crate) fn count_ack_out(&self, len: u32) {
        // SAFETY: live and locked by the type invariant: the callee writes to a field, and adds
        // to counters of the namespace and of the cached route's device.
        unsafe { bindings::toe_tcp_count_ack_out(self.as_ptr(), len) }
    }

    /// Sequence and ACK number of a pure ACK. `None`: the peer took back part of
    /// the window that what was sent is in (`tcp_acceptable_seq()`).
    pub(crate) fn ack_numbers(&self) -> Option<(Seq, Seq)> {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let (end, nxt, rcv_nxt) = unsafe {
            (
                Seq((*tp).snd_una.wrapping_add((*tp).snd_wnd)),
                Seq((*tp).snd_nxt),
                Seq((*tp).rcv_nxt),
            )
        };
        (!end.before(nxt)).then_some((nxt, rcv_nxt))
    }

    /// Counts a frame the host stack sends through the target, `len` bytes from
    /// its IP header on: what `ip_queue_xmit()` would count.
    pub(crate) fn count_host_out(&self, len: u32) {
        // SAFETY: live and locked by the type invariant, so that the cached route, to whose
        // device's counters the callee adds, stays.
        unsafe { bindings::toe_ip_count_out(self.as_ptr(), len) }
    }

    /// Notes that the application has nothing more to send, if so: before it writes
    /// (`tcp_rate_check_app_limited()`).
    pub(crate) fn check_app_limited(&self) {
        // SAFETY: live and locked by the type invariant, as `tcp_sendmsg_locked()` calls it.
        unsafe { bindings::tcp_rate_check_app_limited(self.as_ptr()) }
    }

    /// Returns whether half a window was written since the last push (`forced_push()`).
    #[inline]
    pub(crate) fn is_push_forced(&self) -> bool {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let (write_seq, pushed_seq, max_window) =
            unsafe { ((*tp).write_seq, (*tp).pushed_seq, (*tp).max_window) };
        transmit::forced_push(Seq(write_seq), Seq(pushed_seq), max_window)
    }

    /// Marks the end of the send queue to be pushed.
    pub(crate) fn mark_push(&self) {
        // SAFETY: live and locked by the type invariant: the send queue, whose last buffer the
        // callee marks, is this context's.
        unsafe { bindings::toe_tcp_mark_push(self.as_ptr()) }
    }

    /// Bytes after which a buffer of the send queue is full: whole segments, as
    /// `tcp_xmit_size_goal()`.
    pub(crate) fn size_goal(&self) -> u32 {
        let (sk, tp) = (self.as_ptr(), self.tp());
        // SAFETY: live and locked by the type invariant; fields, read and written in place.
        unsafe {
            let view = GoalView {
                segs: u32::from((*tp).gso_segs),
                mss: (*tp).mss_cache,
                max_window: (*tp).max_window,
                gso_max_size: (*sk).sk_gso_max_size,
                gso_max_segs: u32::from((*sk).sk_gso_max_segs),
                header_len: u32::from((*tp).tcp_header_len),
            };
            let segs = view.next_segs();
            (*tp).gso_segs = segs as u16;
            segs.max(1) * (*tp).mss_cache.max(1)
        }
    }

    /// Returns whether the engine may send what an application writes now. It may not if the
    /// host has something to do first: an error to report, a new path MTU.
    pub(crate) fn may_write(&self) -> bool {
        // SAFETY: live and locked by the type invariant, so that its `struct socket`, whose flag
        // the callee clears, and its cached route stay.
        unsafe { bindings::toe_tcp_may_write(self.as_ptr()) }
    }

    /// How long `sendmsg` may wait for room, in jiffies.
    pub(crate) fn send_timeout(&self, nonblock: bool) -> c_long {
        // SAFETY: live by the type invariant; the callee reads a word.
        unsafe { bindings::toe_tcp_sndtimeo(self.as_ptr(), nonblock) }
    }

    /// Notes that the application wants to write more than there is room for, before what
    /// there is is sent.
    pub(crate) fn no_space(&self) {
        // SAFETY: live and locked by the type invariant. It has its `struct socket`, as an
        // application writes, which it loses under the lock only, and that one's flags are
        // changed atomically.
        unsafe { bindings::toe_tcp_no_space(self.as_ptr()) }
    }

    /// Gives a frame that the host made the mark and the priority of the socket
    /// (`ip_queue_xmit()`).
    pub(crate) fn mark_frame(&self, skb: &mut SkBuff) {
        // SAFETY: live by the type invariant; the frame, whose fields are written, is ours by
        // that of `SkBuff`.
        unsafe { bindings::toe_skb_of_sock(skb.as_ptr(), self.as_ptr()) }
    }

    /// What the application gets for `err` (`sk_stream_error()`: EPIPE comes
    /// with SIGPIPE).
    pub(crate) fn stream_error(&self, flags: u32, err: Error) -> Error {
        // SAFETY: live and locked by the type invariant, for this task, as an application
        // writes: it is the one that SIGPIPE is for.
        Error::from_errno(unsafe {
            bindings::sk_stream_error(self.as_ptr(), flags as i32, err.to_errno())
        })
    }
}

impl UserLock<'_> {
    /// Appends bytes of `msg` to the send queue, at most until its last buffer
    /// holds `goal`. With `fault` it may sleep in the copy, without bound: until
    /// the memory is served. The lock stays owned.
    #[inline(always)]
    pub(crate) fn append(
        &self,
        msg: &mut Msg<'_>,
        goal: u32,
        fault: bool,
    ) -> Result<usize, AppendError> {
        // SAFETY: by the type invariant this task owns the socket, whose send queue the callee
        // writes to, and may sleep; the message is this call's by the invariant of `Msg`.
        let n = unsafe { bindings::toe_tcp_append(self.as_ptr(), msg.as_ptr(), goal, fault) };
        if n >= 0 {
            Ok(n as usize)
        } else if n == EFAULT.to_errno() && !fault {
            Err(AppendError::Fault)
        } else if n == EAGAIN.to_errno() {
            Err(AppendError::Full)
        } else if n == errno::ENOBUFS().to_errno() {
            Err(AppendError::Memory)
        } else {
            Err(AppendError::Other(Error::from_errno(n)))
        }
    }

    /// Waits for room in the send buffer, without the lock meanwhile.
    pub(crate) fn wait_memory(&mut self, timeout: &mut c_long) -> Result {
        // SAFETY: by the type invariant this task owns the socket and may sleep; the mutable
        // borrow leaves no proof of the lock, which the callee gives up meanwhile.
        proto::check(unsafe { bindings::toe_tcp_wait_memory(self.as_ptr(), timeout) })
    }

    /// The host's `sendmsg`, for the rest of `msg`. Gives the lock up where that waits.
    pub(crate) fn host_sendmsg(&mut self, msg: &mut Msg<'_>) -> Result<usize> {
        // SAFETY: by the type invariant this task owns the socket and may sleep; the mutable
        // borrow leaves no proof of the lock, which the callee may give up meanwhile. The
        // message is this call's by the invariant of `Msg`.
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
}

impl SkBuff {
    /// Writes the headers of `t` in front of the frame, whose first `skip` bytes are a
    /// TCP header to be replaced. `None`: there is no room for them, or somebody shares
    /// it.
    #[inline(always)]
    pub(crate) fn push_headers(
        &mut self,
        t: &HeaderTemplate,
        fields: &TxFields,
        skip: usize,
    ) -> Option<()> {
        let len = t.len();
        self.push(len.checked_sub(skip)? as u32).ok()?;
        t.write(self.header_mut(len)?, fields)?;
        self.reset_mac_header();
        self.set_network_header(t.l3_off() as u16);
        self.set_transport_header(t.l4_off() as u16);
        self.set_mac_len(t.l3_off() as u16);
        self.set_protocol(match t.family() {
            Family::V4 => wire::ETHERTYPE_IPV4,
            Family::V6 => wire::ETHERTYPE_IPV6,
        });
        self.set_checksum_partial(t.l4_off() as u16, TCP_CSUM_OFF as u16);
        Some(())
    }

    /// The first `len` linear bytes, to be written, though a clone may share the
    /// payload behind them. `None` if the header is shared, too.
    #[inline(always)]
    fn header_mut(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.headlen() < len as u32 {
            return None;
        }
        if self.is_header_shared() {
            return None;
        }
        // SAFETY: the frame is ours by the type invariant, and its header is nobody else's:
        // the `len` linear bytes from `data` on belong to no other frame; they stay where they
        // are while `self` is borrowed.
        Some(unsafe { core::slice::from_raw_parts_mut((*self.as_ptr()).data, len) })
    }
}
