// SPDX-License-Identifier: GPL-2.0

//! When to acknowledge, and which window to offer (`__tcp_ack_snd_check()`,
//! `tcp_select_window()`; RFC 9293 sections 3.8.6.2.2 and 3.8.6.3).

use super::{
    conn::ConnData,
    window, //
};

/// What the decision has to know of the host's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckView {
    /// Estimate of the peer's segment size, in bytes (`icsk_ack.rcv_mss`).
    pub rcv_mss: u32,
    /// Whether something was received that is not acknowledged
    /// (`inet_csk_ack_scheduled()`).
    pub scheduled: bool,
    /// Whether each segment is acknowledged at once
    /// (`tcp_in_quickack_mode()`).
    pub quickack: bool,
    /// Whether one immediate ACK was asked for (`ICSK_ACK_NOW`).
    pub ack_now: bool,
    /// The window that would be offered now, in bytes
    /// (`__tcp_select_window()`).
    pub new_window: u32,
    /// Whether less is in the receive queue than the application waits for
    /// (`rcv_nxt - copied_seq < sk_rcvlowat`).
    pub below_lowat: bool,
}

/// When the ACK for what was received goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckDecision {
    /// At once.
    AckNow,
    /// With the next data, or when the delayed ACK timer expires.
    Delay,
    /// There is nothing to acknowledge.
    None,
}

/// Decides when to acknowledge, after a segment was received.
pub fn decide(c: &ConnData, v: &AckView) -> AckDecision {
    if !v.scheduled {
        return AckDecision::None;
    }
    // More than one full segment, and the window's right edge moves; else the
    // read that makes room sends the ACK.
    let two_segments =
        c.rcv_nxt.dist_from(c.rcv_wup) > v.rcv_mss && (v.below_lowat || v.new_window >= c.rcv_wnd);
    if two_segments || v.quickack || v.ack_now {
        AckDecision::AckNow
    } else {
        AckDecision::Delay
    }
}

/// The window field of the segment that is about to be sent, and the state
/// that goes with having offered it.
///
/// `new_window` is what the socket's receive memory allows, in bytes. The right
/// edge of what was offered before never moves back.
pub fn select_window(c: &mut ConnData, new_window: u32) -> u16 {
    let last = window::Offered {
        rcv_nxt: c.rcv_nxt,
        rcv_wup: c.rcv_wup,
        rcv_wnd: c.rcv_wnd,
        wscale: c.constant.rcv_wscale,
        shrink: false,
        signed: false,
    };
    let offer = window::offer(new_window, &last);
    c.rcv_wnd = offer.wnd;
    c.rcv_wup = c.rcv_nxt;
    offer.field
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_ack))]
mod tests {
    use super::super::conn::ConnDelegated;
    use super::super::seq::Seq;
    use super::*;

    fn conn() -> ConnData {
        ConnData {
            delegated: ConnDelegated {
                rcv_nxt: Seq(2001),
                rcv_wup: Seq(0),
                rcv_wnd: 10_000,
                ..ConnDelegated::default()
            },
            ..ConnData::default()
        }
    }

    fn view() -> AckView {
        AckView {
            rcv_mss: 1000,
            scheduled: true,
            new_window: 10_000,
            ..AckView::default()
        }
    }

    #[test]
    fn every_second_segment() {
        let mut c = conn();
        assert_eq!(decide(&c, &view()), AckDecision::AckNow);
        c.rcv_wup = Seq(1001);
        assert_eq!(decide(&c, &view()), AckDecision::Delay);
        c.rcv_wup = Seq(1000);
        assert_eq!(decide(&c, &view()), AckDecision::AckNow);
        // The window would not move: the reader will send it.
        let v = AckView {
            new_window: 9999,
            ..view()
        };
        assert_eq!(decide(&c, &v), AckDecision::Delay);
        let v = AckView {
            below_lowat: true,
            ..v
        };
        assert_eq!(decide(&c, &v), AckDecision::AckNow);
    }

    #[test]
    fn modes() {
        let mut c = conn();
        c.rcv_wup = c.rcv_nxt;
        assert_eq!(decide(&c, &view()), AckDecision::Delay);
        let v = AckView {
            quickack: true,
            ..view()
        };
        assert_eq!(decide(&c, &v), AckDecision::AckNow);
        let v = AckView {
            ack_now: true,
            ..view()
        };
        assert_eq!(decide(&c, &v), AckDecision::AckNow);
        let v = AckView {
            scheduled: false,
            ..v
        };
        assert_eq!(decide(&c, &v), AckDecision::None);
    }

    #[test]
    fn window_never_shrinks() {
        let mut c = conn();
        c.constant.rcv_wscale = 7;
        assert_eq!(select_window(&mut c, 100), (7999u32.div_ceil(128)) as u16);
        assert_eq!(c.rcv_wup, c.rcv_nxt);
        assert_eq!(c.rcv_wnd, 8064);
        assert_eq!(select_window(&mut c, 1 << 20), 8192);
        c.constant.rcv_wscale = 0;
        assert_eq!(select_window(&mut c, u32::MAX), u16::MAX);
    }
}
