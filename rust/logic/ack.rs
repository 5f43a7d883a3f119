// SPDX-License-Identifier: GPL-2.0

//! When to acknowledge what was received, as the host stack decides it: after a segment
//! (`__tcp_ack_snd_check()`), after a read (`__tcp_cleanup_rbuf()`), and how long an ACK
//! waits for the next one (`tcp_event_data_recv()`, `tcp_send_delayed_ack()`); RFC 9293
//! section 3.8.6.3.
//!
//! What costs something to know is a closure, which is called only if the decision
//! depends on it.

use super::{
    rtt::us_to_ticks,
    seq::Seq, //
};

/// Bits of `icsk_ack.pending`: `enum inet_csk_ack_state_t`.
pub mod pending {
    /// Something was received that is not acknowledged.
    pub const SCHED: u8 = 1;
    /// The sender pushed, or its segments became smaller.
    pub const PUSHED: u8 = 4;
    /// The same happened again before an ACK went out.
    pub const PUSHED2: u8 = 8;
    /// The next ACK is due at once.
    pub const NOW: u8 = 16;
    /// Data was dropped for want of memory: the ACK shuts the window.
    pub const NOMEM: u8 = 32;
}

/// `TCP_MAX_QUICKACKS`.
const MAX_QUICKACKS: u32 = 16;

/// What the decisions read of the host's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckView {
    /// Next sequence number expected.
    pub rcv_nxt: Seq,
    /// The same when the last window was offered.
    pub rcv_wup: Seq,
    /// The next byte that the application reads.
    pub copied_seq: Seq,
    /// Window offered last, in bytes, counted from `rcv_wup`.
    pub rcv_wnd: u32,
    /// Estimate of the peer's segment size, in bytes (`icsk_ack.rcv_mss`).
    pub rcv_mss: u32,
    /// See [`pending`].
    pub pending: u8,
}

impl AckView {
    #[inline(always)]
    const fn has(&self, bits: u8) -> bool {
        self.pending & bits != 0
    }

    /// More than a full segment is not acknowledged.
    #[inline(always)]
    const fn is_second_segment(&self) -> bool {
        self.rcv_nxt.dist_from(self.rcv_wup) > self.rcv_mss
    }
}

/// When an ACK is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckDue {
    /// At once; else when the delayed ACK timer expires, or with the next data.
    pub now: bool,
    /// The window that it can offer, in bytes, if that had to be known.
    pub window: Option<u32>,
}

/// When what was received so far is to be acknowledged. `None`: there is nothing to
/// acknowledge.
///
/// `rcvlowat` is `sk_rcvlowat`; `new_window` gives the window that could be offered now
/// (`__tcp_select_window()`), `quickack` whether each segment is acknowledged at once
/// (`tcp_in_quickack_mode()`).
#[inline(always)]
pub fn due(
    v: &AckView,
    rcvlowat: i32,
    new_window: impl FnOnce() -> u32,
    quickack: impl FnOnce() -> bool,
) -> Option<AckDue> {
    if !v.has(pending::SCHED) {
        return None;
    }
    let unread = v.rcv_nxt.dist_from(v.copied_seq);
    let mut window = None;
    // More than a full segment, and the window's right edge moves; else the read that
    // makes room sends the ACK.
    let second = v.is_second_segment()
        && (i64::from(unread) < i64::from(rcvlowat) || *window.insert(new_window()) >= v.rcv_wnd);
    Some(AckDue {
        now: second || v.has(pending::NOW) || quickack(),
        window,
    })
}

/// Returns whether a reader would acknowledge now, having emptied the receive queue.
///
/// `window_clamp` is the largest window to offer, `pingpong` tells whether the connection
/// is interactive (`inet_csk_in_pingpong_mode()`), `new_window` is as for [`due`].
#[inline(always)]
pub fn read_due(
    v: &AckView,
    window_clamp: u32,
    pingpong: impl FnOnce() -> bool,
    new_window: impl FnOnce() -> u32,
) -> bool {
    if v.has(pending::SCHED)
        && (v.is_second_segment()
            || v.has(pending::PUSHED2)
            || (v.has(pending::PUSHED) && !pingpong()))
    {
        return true;
    }
    // tcp_receive_window()
    let edge = v.rcv_wup.add(v.rcv_wnd);
    let window = (edge.dist_from(v.rcv_nxt) as i32).max(0) as u32;
    if 2 * u64::from(window) > u64::from(window_clamp) {
        return false;
    }
    let new = new_window();
    new != 0 && u64::from(new) >= 2 * u64::from(window)
}

/// How long an ACK waits (`icsk_ack.ato`), in ticks of which a second has `HZ`: an
/// estimate of the time between data segments. 0 before the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ato<const HZ: u32> {
    ticks: u32,
}

impl<const HZ: u32> Ato<HZ> {
    /// `TCP_ATO_MIN`, and `TCP_DELACK_MIN`.
    pub const MIN: u32 = HZ / 25;
    /// `TCP_DELACK_MAX`.
    pub const MAX: u32 = HZ / 5;

    /// The estimate that `icsk_ack.ato` says.
    #[inline(always)]
    pub const fn new(ticks: u32) -> Self {
        Self { ticks }
    }

    /// What `icsk_ack.ato` is to say.
    #[inline(always)]
    pub const fn ticks(self) -> u32 {
        self.ticks
    }

    /// The estimate after a data segment that came `gap` ticks after the one before, and
    /// whether the next segments are acknowledged at once, see [`quickacks`]. `rto` is
    /// the retransmission timeout in ticks.
    #[inline(always)]
    pub const fn after(self, gap: u32, rto: u32) -> (Self, bool) {
        let ato = self.ticks;
        if ato == 0 {
            // The sender is in slow start, and grows by our ACKs.
            return (Self::new(Self::MIN), true);
        }
        if gap <= Self::MIN / 2 {
            (Self::new((ato >> 1).wrapping_add(Self::MIN / 2)), false)
        } else if gap < ato {
            let next = (ato >> 1).wrapping_add(gap);
            (Self::new(min(min(next, rto), Self::MAX)), false)
        } else {
            // So long a gap: the sender restarts its window.
            (self, gap > rto)
        }
    }

    /// For how many ticks the ACK is delayed. `srtt_us` is the smoothed round trip time in
    /// 1/8 us, 0 if it is not known; `pending` and `pingpong` are as for [`read_due`].
    #[inline(always)]
    pub fn delay(self, pending: u8, pingpong: impl FnOnce() -> bool, srtt_us: u32) -> u32 {
        let ato = self.ticks;
        if ato <= Self::MIN {
            return ato;
        }
        let mut max = HZ / 2;
        if pingpong() || pending & pending::PUSHED != 0 {
            max = Self::MAX;
        }
        if srtt_us != 0 {
            max = max.min(us_to_ticks::<HZ>(srtt_us >> 3).max(Self::MIN));
        }
        ato.min(max)
    }
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b {
        a
    } else {
        b
    }
}

/// How many segments are acknowledged at once from now on (`icsk_ack.quick`), if it were
/// `quick` already: enough for half the window (`tcp_incr_quickack()`).
#[inline(always)]
pub fn quickacks(rcv_wnd: u32, rcv_mss: u32, quick: u8) -> u8 {
    let n = match rcv_wnd / (2 * rcv_mss.clamp(1, u32::MAX / 2)) {
        0 => 2,
        n => n.min(MAX_QUICKACKS),
    };
    quick.max(n as u8)
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_ack))]
mod tests {
    use super::*;

    /// Two full segments that nobody has read.
    fn view() -> AckView {
        AckView {
            rcv_nxt: Seq(1001),
            rcv_wup: Seq(0u32.wrapping_sub(1000)),
            copied_seq: Seq(0u32.wrapping_sub(1000)),
            rcv_wnd: 10_000,
            rcv_mss: 1000,
            pending: pending::SCHED,
        }
    }

    const LOWAT: i32 = 1;

    #[test]
    fn every_second_segment() {
        let at_once = |v: &AckView, new_window| {
            due(v, LOWAT, || new_window, || false).is_some_and(|due| due.now)
        };
        assert!(at_once(&view(), 10_000));
        // The window would not move: the reader will send it.
        assert!(!at_once(&view(), 9999));
        let one = AckView {
            rcv_wup: Seq(1),
            ..view()
        };
        assert!(!at_once(&one, 10_000));
        let more = AckView {
            rcv_wup: Seq(0),
            ..view()
        };
        assert!(at_once(&more, 10_000));
    }

    #[test]
    fn a_reader_that_waits_for_more_sends_no_ack() {
        let asked = core::cell::Cell::new(false);
        let window = || {
            asked.set(true);
            0
        };
        let below = due(&view(), 2002, window, || false);
        assert!(below.is_some_and(|due| due.now && due.window.is_none()));
        assert!(!asked.get());
        let reached = due(&view(), 2001, window, || false);
        assert!(reached.is_some_and(|due| !due.now && due.window == Some(0)));
        assert!(asked.get());
    }

    #[test]
    fn modes() {
        let one = AckView {
            rcv_wup: Seq(1001),
            ..view()
        };
        let at_once = |v: &AckView, quick| due(v, LOWAT, || 10_000, || quick);
        assert!(at_once(&one, false).is_some_and(|due| !due.now));
        assert!(at_once(&one, true).is_some_and(|due| due.now));
        let now = AckView {
            pending: pending::SCHED | pending::NOW,
            ..one
        };
        assert!(at_once(&now, false).is_some_and(|due| due.now));
        let nothing = AckView {
            pending: pending::NOW | pending::PUSHED | pending::NOMEM,
            ..one
        };
        assert!(at_once(&nothing, true).is_none());
    }

    #[test]
    fn readers() {
        let reads = |v: &AckView, pingpong, clamp, new| read_due(v, clamp, || pingpong, || new);
        // A second segment, whatever the window.
        assert!(reads(&view(), true, 0, 0));
        let one = AckView {
            rcv_wup: Seq(1),
            ..view()
        };
        let with = |bits| AckView {
            pending: one.pending | bits,
            ..one
        };
        assert!(!reads(&one, false, 0, u32::MAX));
        assert!(reads(&with(pending::PUSHED), false, 0, 0));
        assert!(!reads(&with(pending::PUSHED), true, 0, 0));
        assert!(reads(&with(pending::PUSHED2), true, 0, 0));
        let idle = AckView {
            pending: pending::PUSHED2,
            ..one
        };
        assert!(!reads(&idle, false, 0, 0));
        // 9000 bytes are left of the window: it has to be half of what it may be, and to
        // double.
        assert!(!reads(&one, false, 17_999, 18_000));
        assert!(reads(&one, false, 18_000, 18_000));
        assert!(!reads(&one, false, 18_000, 17_999));
        // What was sent beyond the window left none of it.
        let over = AckView {
            rcv_wnd: 500,
            ..one
        };
        assert!(reads(&over, false, 0, 1));
        assert!(!reads(&over, false, 0, 0));
    }

    type Ato = super::Ato<1000>;

    #[test]
    fn estimate_follows_the_gaps() {
        assert!(Ato::default().after(7, 200) == (Ato::new(40), true));
        // Short gaps halve it, down to twice their limit.
        assert!(Ato::new(200).after(0, 200) == (Ato::new(120), false));
        assert!(Ato::new(40).after(20, 200) == (Ato::new(40), false));
        // Longer ones move it half of the way, within the limits.
        assert!(Ato::new(100).after(21, 200) == (Ato::new(71), false));
        assert!(Ato::new(100).after(99, 200) == (Ato::new(149), false));
        assert!(Ato::new(100).after(99, 60) == (Ato::new(60), false));
        assert!(Ato::new(198).after(197, 300) == (Ato::new(200), false));
        // Gaps beyond it leave it, and beyond the timeout begin anew.
        assert!(Ato::new(100).after(100, 200) == (Ato::new(100), false));
        assert!(Ato::new(100).after(200, 200) == (Ato::new(100), false));
        assert!(Ato::new(100).after(201, 200) == (Ato::new(100), true));
        let _ = Ato::new(u32::MAX).after(u32::MAX - 1, u32::MAX);
    }

    #[test]
    fn delay_of_an_ack() {
        let pushed = pending::SCHED | pending::PUSHED;
        assert_eq!(Ato::new(40).delay(pushed, || true, 8), 40);
        assert_eq!(Ato::new(600).delay(pending::SCHED, || false, 0), 500);
        assert_eq!(Ato::new(600).delay(pending::SCHED, || true, 0), 200);
        assert_eq!(Ato::new(600).delay(pushed, || false, 0), 200);
        // Not longer than a round trip, of 100 ms, or 1 ms.
        assert_eq!(Ato::new(600).delay(pushed, || false, 800_000), 100);
        assert_eq!(Ato::new(600).delay(pushed, || false, 799_992), 100);
        assert_eq!(Ato::new(90).delay(pushed, || false, 800_000), 90);
        assert_eq!(Ato::new(90).delay(pushed, || false, 8000), 40);
    }

    #[test]
    fn half_a_window_at_once() {
        assert_eq!(quickacks(0, 1000, 0), 2);
        assert_eq!(quickacks(10_000, 1000, 0), 5);
        assert_eq!(quickacks(10_000, 1000, 7), 7);
        assert_eq!(quickacks(u32::MAX, 1000, 0), 16);
        assert_eq!(quickacks(u32::MAX, 0, 0), 16);
        assert_eq!(quickacks(5, u32::MAX, 0), 2);
    }
}
