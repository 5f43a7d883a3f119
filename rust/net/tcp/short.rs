// SPDX-License-Identifier: GPL-2.0

//! What the same-host short cut does to the two sockets: see `dct/short_cut.rs`.

use core::ptr::{
    addr_of,
    addr_of_mut,
    read_volatile,
    write_volatile, //
};

use super::{
    jiffies32,
    ESTABLISHED, //
};
use crate::{
    bindings,
    logic::{
        ack::pending,
        rcv_mss,
        seq::Seq,
        short_cut::{
            Buffers,
            End,
            Memory,
            Sizes, //
        },
        window::{
            self,
            Offer,
            Offered, //
        }, //
    },
    net::{
        context::Bh,
        proto::Msg,
        sock::LockedSock, //
    }, //
};

/// What a buffer's head is allocated with: `struct skb_shared_info` is at its end.
pub(crate) const SIZES: Sizes = Sizes {
    small: bindings::TOE_RECEIVE_MIN,
    large: bindings::TOE_RECEIVE_MAX,
    overhead: bindings::TOE_RECEIVE_OVERHEAD,
};

impl LockedSock<'_> {
    /// What is out of the ordinary about the connection, in whatever bits: it is not established
    /// in both directions, has an error, urgent data, a gap, a loss, or something that only the
    /// host stack can do.
    #[inline(always)]
    fn oddities(&self) -> usize {
        let (sk, tp) = (self.as_ptr(), self.tp());
        let odd = self.host_only() | self.recovery() as usize;
        // SAFETY: live and locked by the type invariant; fields, read in place, of which the
        // error may be set by others as a single word.
        unsafe {
            odd | usize::from((*sk).__sk_common.skc_state ^ ESTABLISHED)
                | usize::from((*sk).sk_shutdown)
                | read_volatile(addr_of!((*sk).sk_err)) as usize
                | usize::from((*tp).urg_data)
                | (*tp).out_of_order_queue.rb_node as usize
        }
    }

    /// Returns whether the socket may take in bytes without a frame, as far as its own state
    /// goes. Security modules judge frames (`security_sock_rcv_skb()`), users in the
    /// kernel, who say so in `sk_user_data`, may want some, and so may who looks at their TTL.
    #[inline(always)]
    pub(crate) fn takes_bytes(&self, v6: bool) -> bool {
        let odd = self.oddities() | usize::from(Self::least_ttl(self.sock(), v6));
        // SAFETY: live and locked by the type invariant; a pointer that is compared with null.
        let user = unsafe { read_volatile(addr_of!((*self.as_ptr()).sk_user_data)) };
        !cfg!(CONFIG_SECURITY_NETWORK) && odd | user as usize == 0
    }

    /// The same of the socket that bytes come from: it holds nothing back, and nobody wants to
    /// hear of room by a signal (`SOCKWQ_ASYNC_NOSPACE`).
    #[inline(always)]
    pub(crate) fn gives_bytes(&self) -> bool {
        const FASYNC: usize = 1 << bindings::TOE_SOCK_FASYNC;
        // SAFETY: live and locked by the type invariant; fields, read in place, of which the
        // flags may be changed by others as a single word.
        unsafe {
            let flags = addr_of!((*self.as_ptr()).__sk_common.__bindgen_anon_5.skc_flags);
            let corked = u32::from((*self.tp()).nonagle()) & bindings::TCP_NAGLE_CORK;
            (read_volatile(flags) & FASYNC) | corked as usize | self.oddities() == 0
        }
    }

    /// The numbers that move.
    #[inline(always)]
    pub(crate) fn short_end(&self) -> End {
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        unsafe {
            End {
                write_seq: Seq((*tp).write_seq),
                snd_una: Seq((*tp).snd_una),
                snd_nxt: Seq((*tp).snd_nxt),
                snd_wnd: (*tp).snd_wnd,
                snd_wl1: Seq((*tp).snd_wl1),
                max_window: (*tp).max_window,
                rcv_nxt: Seq((*tp).rcv_nxt),
                rcv_wup: Seq((*tp).rcv_wup),
                rcv_wnd: (*tp).rcv_wnd,
                rcv_wscale: (*tp).rx_opt.rcv_wscale() as u8,
            }
        }
    }

    /// The largest window that `tcp_select_window()` would offer.
    #[inline(always)]
    pub(crate) fn largest_window(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        unsafe { (*self.tp()).window_clamp.min((*self.tp()).rcv_ssthresh) }
    }

    /// Bytes that were received and not read.
    #[inline(always)]
    pub(crate) fn unread(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        unsafe { (*self.tp()).rcv_nxt.wrapping_sub((*self.tp()).copied_seq) }
    }

    /// Bytes that the last buffer of the receive queue has room for, if it can be appended to.
    #[inline(always)]
    pub(crate) fn receive_tailroom(&self) -> u32 {
        // SAFETY: live and locked by the type invariant, and with it the receive queue.
        unsafe { bindings::toe_short_tailroom(self.as_ptr()) }
    }

    /// Receive memory, with what a window of `window` bytes may bring.
    #[inline(always)]
    pub(crate) fn receive_memory(&self, window: u32) -> Memory {
        let sk = self.as_ptr();
        // SAFETY: live and locked by the type invariant; fields, of which others change the
        // first two as single words.
        unsafe {
            let charged = read_volatile(addr_of!((*sk).sk_backlog.rmem_alloc.counter));
            Memory {
                limit: read_volatile(addr_of!((*sk).sk_rcvbuf)).max(0) as u32,
                charged: charged.max(0) as u32,
                promised: bindings::toe_short_space_from_win(sk, window),
            }
        }
    }

    /// What [`offer_window`](Self::offer_window) would offer.
    #[cold]
    pub(crate) fn would_offer(&self) -> Offer {
        let new = self.new_window();
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let last = unsafe {
            Offered {
                rcv_nxt: Seq((*tp).rcv_nxt),
                rcv_wup: Seq((*tp).rcv_wup),
                rcv_wnd: (*tp).rcv_wnd,
                wscale: (*tp).rx_opt.rcv_wscale() as u8,
                shrink: self.sysctl_tcp_shrink_window() != 0,
                signed: self.sysctl_tcp_workaround_signed_windows() != 0,
            }
        };
        window::offer(new, &last)
    }

    /// Appends up to `want` bytes of `msg` to the receive queue: to the last buffer as far as it
    /// has [room](Self::receive_tailroom), the others to `new` ones. Fewer, but `least` or none,
    /// if there is no memory, or if that of the sender has to be faulted in. Bottom halves off.
    #[inline(always)]
    pub(crate) fn append_received(
        &self,
        msg: &mut Msg<'_>,
        want: u32,
        least: u32,
        new: &Buffers,
    ) -> u32 {
        debug_assert!(new.last == 0 || (SIZES.small..=SIZES.large).contains(&new.last));
        // SAFETY: live and locked by the type invariant, and with it the receive queue, to which
        // the callee appends what it has charged; the message is the running call's by the
        // invariant of `Msg`, and its memory is not faulted in.
        unsafe {
            let (sk, msg) = (self.as_ptr(), msg.as_ptr());
            bindings::toe_short_append(sk, msg, want, least, new.large, new.last)
        }
    }

    /// Moves up to `room` bytes from the send queue, none of which was sent, to the receive queue
    /// of `to`, as far as memory allows. How many bytes there were.
    ///
    /// Both are locked, and two sockets. Bottom halves off.
    pub(crate) fn move_unsent(&self, to: LockedSock<'_>, room: u32) -> u32 {
        // SAFETY: both are live and locked by the type invariant, and with that their queues,
        // which the callee takes from and appends to, and the memory that both account for.
        unsafe { bindings::toe_short_move(self.as_ptr(), to.as_ptr(), room) }
    }

    /// Has whoever reads acknowledge what there is: bytes of the other end wait for that.
    pub(crate) fn owe_ack(&self) {
        // SAFETY: live and locked by the type invariant; a field, changed in place.
        unsafe { (*self.icsk()).icsk_ack.pending |= pending::SCHED | pending::PUSHED2 };
    }

    /// The other end has the ACK (`inet_csk_clear_xmit_timer(ICSK_TIME_DACK)`).
    pub(crate) fn owe_no_ack(&self) {
        // SAFETY: live and locked by the type invariant; fields, changed in place.
        unsafe {
            (*self.icsk()).icsk_ack.pending = 0;
            (*self.icsk()).icsk_ack.retry = 0;
        }
    }

    /// Whether an ACK is due after a read (`__tcp_cleanup_rbuf()`).
    pub(crate) fn owes_ack_after_read(&self) -> bool {
        let all_read = self.receive_memory(0).charged == 0;
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let (pending, unsaid, rcv_mss, clamp) = unsafe {
            let (tp, ack) = (self.tp(), addr_of!((*self.icsk()).icsk_ack));
            let unsaid = (*tp).rcv_nxt.wrapping_sub((*tp).rcv_wup);
            let rcv_mss = u32::from((*ack).rcv_mss);
            ((*ack).pending, unsaid, rcv_mss, (*tp).window_clamp)
        };
        let pushed =
            pending & pending::PUSHED2 != 0 || (pending & pending::PUSHED != 0 && !self.pingpong());
        if pending & pending::SCHED != 0 && (unsaid > rcv_mss || (pushed && all_read)) {
            return true;
        }
        let window = u64::from(self.short_end().receive_window());
        if self.receive_closed() || window * 2 > u64::from(clamp) {
            return false;
        }
        let new = u64::from(self.new_window());
        new != 0 && new >= window * 2
    }

    /// Takes the ACK of all that was sent for given, which the other end owes: `tcp_ack()`
    /// without the segment. Bottom halves off.
    pub(crate) fn take_ack(&self, bh: &Bh) {
        self.refresh_clock(bh);
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        let (una, ack) = unsafe {
            let tp = self.tp();
            let (una, ack) = (Seq((*tp).snd_una), Seq((*tp).snd_nxt));
            let bytes = u64::from(ack.saturating_dist_from(una));
            (*tp).bytes_acked = (*tp).bytes_acked.wrapping_add(bytes);
            write_volatile(addr_of_mut!((*tp).snd_una), ack.0);
            (una, ack)
        };
        self.acked(ack, una);
    }

    /// So many bytes are in new buffers of `size` in all. The window was computed for buffers that are
    /// less full, and follows as with frames (`tcp_measure_rcv_mss()`, `tcp_grow_window()`); it
    /// becomes less again by those.
    #[inline(always)]
    pub(crate) fn grow_window(&self, bytes: u32, size: u32) {
        /// Less says nothing of what will come.
        const LEAST: u32 = 1024;

        if bytes < LEAST {
            return;
        }
        let ratio = rcv_mss::scaling_ratio(bytes, size);
        // SAFETY: live and locked by the type invariant; fields, accessed in place.
        unsafe {
            let tp = self.tp();
            if ratio > (*tp).scaling_ratio {
                (*tp).scaling_ratio = ratio;
                (*tp).window_clamp = (*tp).window_clamp.max(self.full_space() as u32);
            }
            if (*tp).rcv_ssthresh < (*tp).window_clamp {
                let most = ((*tp).window_clamp as i32).min(self.space());
                let room = most - (*tp).rcv_ssthresh as i32;
                (*tp).rcv_ssthresh += (2 * bytes).min(room.max(0) as u32);
            }
        }
    }

    /// The numbers of the end that so many bytes came from.
    #[inline(always)]
    pub(crate) fn store_given(&self, end: &End, bytes: u32) {
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        unsafe {
            let tp = self.tp();
            write_volatile(addr_of_mut!((*tp).write_seq), end.write_seq.0);
            write_volatile(addr_of_mut!((*tp).snd_nxt), end.snd_nxt.0);
            (*tp).pushed_seq = end.snd_nxt.0;
            (*tp).bytes_sent = (*tp).bytes_sent.wrapping_add(u64::from(bytes));
            (*tp).bytes_acked = (*tp).bytes_acked.wrapping_add(u64::from(bytes));
            (*tp).snd_up = end.snd_una.0;
            (*tp).lsndtime = self.store_heard(end);
        }
    }

    /// The numbers of the end that so many bytes have come to.
    #[inline(always)]
    pub(crate) fn store_taken(&self, end: &End, bytes: u32) {
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        unsafe {
            let tp = self.tp();
            write_volatile(addr_of_mut!((*tp).rcv_nxt), end.rcv_nxt.0);
            (*tp).rcv_wup = end.rcv_wup.0;
            (*tp).rcv_wnd = end.rcv_wnd;
            let edge = end.rcv_wup.add(end.rcv_wnd);
            if edge.after(Seq((*tp).rcv_mwnd_seq)) {
                (*tp).rcv_mwnd_seq = edge.0;
            }
            (*tp).bytes_received = (*tp).bytes_received.wrapping_add(u64::from(bytes));
            (*self.icsk()).icsk_ack.lrcvtime = self.store_heard(end);
        }
    }

    /// Bytes have come, so that a whole window may have: the time that took is the receiver's
    /// estimate of the round trip, as with frames, and the receive buffer grows with what the
    /// application reads meanwhile (`tcp_rcv_rtt_measure()`, `tcp_rcv_space_adjust()`).
    #[inline(always)]
    pub(crate) fn time_window(&self, bh: &Bh) {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let (next, end) = unsafe { ((*self.tp()).rcv_nxt, (*self.tp()).rcv_rtt_est.seq) };
        if !Seq(next).before(Seq(end)) {
            self.refresh_clock(bh);
            self.receive_rtt_by_window();
        }
    }

    /// What both ends have heard of each other by that; the time. The next frame is not compared
    /// with what was expected, for the window has changed.
    #[inline(always)]
    fn store_heard(&self, end: &End) -> u32 {
        let now = jiffies32();
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        unsafe {
            let tp = self.tp();
            write_volatile(addr_of_mut!((*tp).snd_una), end.snd_una.0);
            (*tp).snd_wl1 = end.snd_wl1.0;
            (*tp).snd_wnd = end.snd_wnd;
            (*tp).max_window = end.max_window;
            (*tp).rcv_tstamp = now;
            (*tp).pred_flags = 0;
        }
        now
    }
}
