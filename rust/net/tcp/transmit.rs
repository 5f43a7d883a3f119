// SPDX-License-Identifier: GPL-2.0

//! The sending side of `struct tcp_sock`: the send queue, from the application's
//! memory to the retransmission queue, and what a frame's header says.

use core::ptr::{
    self,
    addr_of, //
};

use kernel::{
    ffi::c_long,
    prelude::*, //
};

use crate::{
    bindings,
    logic::{
        seq::Seq,
        transmit::NAGLE_PUSH,
        window,
        wire, //
    },
    net::{
        context::Bh,
        errno,
        proto::{
            self,
            Msg, //
        },
        skb::SkBuff,
        sock::LockedSock, //
    }, //
};

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

/// Why nothing was appended to the send queue.
pub(crate) enum AppendError {
    /// The send buffer is full.
    Full,
    /// Memory is short: the host's own `sendmsg` knows what to do.
    Memory,
    /// The user's memory is not there, and may be if it is waited for.
    Fault,
    /// The user's buffer, for one (`EFAULT`).
    Other(Error),
}

impl LockedSock<'_> {
    /// `__tcp_select_window()`, which is not exported.
    pub(super) fn new_window(&self) -> u32 {
        // SAFETY: the socket is live and locked.
        let (view, net_shrink) = unsafe {
            let (tp, icsk) = (&*self.tp(), &mut *self.icsk());
            let shrink = self.ipv4().sysctl_tcp_shrink_window != 0;
            let free = self.space();
            let allowed = self.full_space();
            let full = allowed.min(tp.window_clamp as i32);
            if free < full >> 1 {
                icsk.icsk_ack.quick = 0;
            }
            (
                window::WindowView {
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
        window::select(&view, net_shrink)
    }

    /// `tcp_select_window()`: the window field of a frame about to be sent; the
    /// offer is recorded in the socket.
    pub(crate) fn offer_window(&self) -> u16 {
        let new = self.new_window();
        // SAFETY: the socket is live and locked.
        unsafe {
            let tp = &mut *self.tp();
            let shrink = self.ipv4().sysctl_tcp_shrink_window != 0;
            let offer = window::offer(
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
    #[inline]
    pub(crate) fn send_head(&self) -> Option<SendHead> {
        // SAFETY: the socket is live and locked, and with it its send queue, a
        // ring through the queue's own head.
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
            Some(SendHead {
                skb,
                len: (*skb).len,
                more: !ptr::eq(next, end),
                push: (*cb).tcp_flags & wire::flags::PSH != 0,
            })
        }
    }

    /// Leaves `len` bytes in the send head and queues the rest behind it.
    pub(crate) fn split(&self, head: &mut SendHead, len: u32, mss: u32) -> Result {
        // SAFETY: the socket is live and locked, `head` its send head.
        proto::check(unsafe { bindings::toe_tcp_split(self.as_ptr(), head.skb, len, mss) })?;
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

    /// Moves the send head, which was sent, to the retransmission queue.
    pub(crate) fn sent(&self, head: SendHead, mss: u32) {
        // SAFETY: the socket is live and locked, `head` its send head.
        unsafe { bindings::toe_tcp_sent(self.as_ptr(), head.skb, mss) }
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

    /// Congestion window in segments.
    pub(crate) fn cwnd(&self) -> u32 {
        // SAFETY: the socket is live and locked.
        unsafe { (*self.tp()).snd_cwnd }
    }

    /// Nagle's flags (`TCP_NAGLE_*`) as the application set them: `TCP_NAGLE_PUSH` is of
    /// the moment, and who sets it pushes, too.
    pub(crate) fn nonagle(&self) -> u8 {
        // SAFETY: the socket is live and locked.
        unsafe { (*self.tp()).nonagle() & !NAGLE_PUSH }
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

    /// The next IPv4 identification for a frame of `segs` segments.
    pub(crate) fn ip_id(&self, segs: u32) -> u16 {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_ip_id(self.as_ptr(), segs) }
    }

    /// Arms the host's probe timer if data waits and nothing is in flight, as
    /// after every `tcp_write_xmit()`: a corked segment goes out after a while.
    #[inline]
    pub(crate) fn check_probe_timer(&self) {
        if self.send_head().is_some() {
            // SAFETY: the socket is live and locked.
            unsafe { bindings::toe_tcp_check_probe_timer(self.as_ptr()) }
        }
    }

    /// Counts a pure ACK of the engine, `len` bytes from its IP header on: what
    /// `tcp_transmit_skb()` and `ip_queue_xmit()` would count.
    pub(crate) fn count_ack_out(&self, len: u32) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_count_ack_out(self.as_ptr(), len) }
    }

    /// Sequence and ACK number of a pure ACK. `None`: the peer took back part of
    /// the window that what was sent is in (`tcp_acceptable_seq()`).
    pub(crate) fn ack_numbers(&self) -> Option<(Seq, Seq)> {
        // SAFETY: the socket is live and locked.
        let tp = unsafe { &*self.tp() };
        let end = Seq(tp.snd_una.wrapping_add(tp.snd_wnd));
        let nxt = Seq(tp.snd_nxt);
        (!end.before(nxt)).then_some((nxt, Seq(tp.rcv_nxt)))
    }

    /// Counts a frame the host stack sends through the target, `len` bytes from
    /// its IP header on: what `ip_queue_xmit()` would count.
    pub(crate) fn count_host_out(&self, len: u32) {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_ip_count_out(self.as_ptr(), len) }
    }

    /// Appends bytes of `msg` to the send queue, at most until its last buffer
    /// holds `goal`. Process context, socket owned. With `fault` it may sleep in the copy
    /// for as long as whoever serves the memory likes.
    #[inline(always)]
    pub(crate) fn append(
        &self,
        msg: &mut Msg<'_>,
        goal: u32,
        fault: bool,
    ) -> Result<usize, AppendError> {
        // SAFETY: this task owns the socket, the message is the caller's.
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
        unsafe { bindings::toe_tcp_may_write(self.as_ptr()) }
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
        proto::check(unsafe { bindings::toe_tcp_wait_memory(self.as_ptr(), timeout) })
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

impl SkBuff {
    /// An empty frame with room in front for all headers of a segment without
    /// payload. `None`: no memory. From the cache of freed frames of this CPU.
    pub(crate) fn for_header(_bh: &Bh) -> Option<Self> {
        // SAFETY: bottom halves are disabled, as for the cache of NAPI polls.
        let skb = unsafe { bindings::toe_header_skb() };
        // SAFETY: if there is one, it is ours.
        (!skb.is_null()).then(|| unsafe { SkBuff::from_raw(skb) })
    }

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
}
