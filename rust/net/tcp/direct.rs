// SPDX-License-Identifier: GPL-2.0

//! Payload that goes to the application without passing the receive queue: what
//! `tcp_queue_rcv()` and `tcp_recvmsg()` would have done for it together.

use crate::{
    bindings,
    logic::{
        ack,
        receive::RxAction, //
    },
    net::{
        skb::SkBuff,
        sock::LockedSock, //
    }, //
};

impl LockedSock<'_> {
    /// Returns whether the receive queue is empty and everything received was read. What
    /// comes next is then the application's next byte.
    pub(crate) fn all_read(&self, payload: u32) -> bool {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        unsafe {
            let (sk, tp) = (self.as_ptr(), self.tp());
            (*sk).sk_receive_queue.qlen == 0
                && (*tp).rcv_nxt.wrapping_sub((*tp).copied_seq) == payload
                && (*tp).urg_data == 0
        }
    }

    /// Bookkeeping for a data segment that was placed, `header` the length of its
    /// TCP header, `flags` its flags.
    pub(crate) fn payload_placed(&self, skb: &SkBuff, action: &RxAction, header: u32, flags: u16) {
        // SAFETY: live and locked by the type invariant; the frame is live by that of `SkBuff`,
        // and `header` bytes of it were parsed, linear ones.
        unsafe {
            bindings::toe_buffer_filled(self.as_ptr(), skb.as_ptr(), header, action.predicted);
        }
        // SAFETY: live by the invariant of `SkBuff`; nobody writes to it before this returns.
        self.data_received(unsafe { &*skb.as_ptr() }, action.payload, header, flags);
    }

    /// Returns whether `recvmsg` would acknowledge now, after taking the payload
    /// (`__tcp_cleanup_rbuf()`). The receive queue is empty.
    pub(super) fn read_ack_due(&self) -> bool {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        let window_clamp = unsafe { (*self.tp()).window_clamp };
        ack::read_due(
            &self.ack_view(),
            window_clamp,
            || self.pingpong(),
            || self.new_window(),
        )
    }
}
