// SPDX-License-Identifier: GPL-2.0

//! The transmit engine: how much of the send queue may go out now, and what
//! sending it does to the state (`tcp_write_xmit()`, `tcp_event_new_data_sent()`).

use super::{
    conn::ConnData,
    seq::Seq, //
};

/// `TCP_CORK` or `MSG_MORE`: hold back a partial segment.
pub const NAGLE_CORK: u8 = 2;
/// Send what is there, once, in spite of Nagle and cork.
pub const NAGLE_PUSH: u8 = 4;

/// What an occasion to send lets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// All that may go, by the application's own setting of Nagle's rule.
    Pending,
    /// All that may go, by these flags instead.
    With(u8),
    /// One frame: more is being written (`tcp_push_one()`).
    One,
}

impl Push {
    /// Nagle's flags, if the socket has `nonagle`.
    #[inline]
    pub const fn nonagle(self, nonagle: u8) -> u8 {
        match self {
            Self::Pending => nonagle,
            Self::With(flags) => flags,
            Self::One => NAGLE_PUSH,
        }
    }
}

/// What limits the segments of one frame (`tcp_tso_segs()`).
#[derive(Clone, Copy, Debug, Default)]
pub struct TsoView {
    /// Pacing rate, in bytes per second (`sk_pacing_rate`).
    pub pacing_rate: u64,
    /// A frame is worth `1 / 2^pacing_shift` seconds of it (`sk_pacing_shift`).
    pub pacing_shift: u8,
    /// Least round trip time, in us (`tcp_min_rtt()`).
    pub min_rtt_us: u32,
    /// Paths of up to `2^rtt_log` us get whole frames (`tcp_tso_rtt_log`).
    pub rtt_log: u8,
    /// Largest GSO frame, in bytes of payload (`sk_gso_max_size`).
    pub gso_max_size: u32,
    /// Largest number of segments in a GSO frame (`sk_gso_max_segs`).
    pub gso_max_segs: u32,
    /// What a frame has at least (`tcp_min_tso_segs`, or the congestion control's).
    pub min_segs: u32,
}

impl TsoView {
    /// The most segments of `mss` bytes that a frame may have: fewer on long and on slow
    /// paths, lest they come in bursts. At least one.
    #[inline(always)]
    pub fn segs(&self, mss: u32) -> u32 {
        let mut bytes = self.pacing_rate >> self.pacing_shift.min(63);
        let r = self.min_rtt_us >> self.rtt_log.min(31);
        if r < u32::BITS {
            bytes = bytes.saturating_add(u64::from(self.gso_max_size >> r));
        }
        let bytes = bytes.min(u64::from(self.gso_max_size)) as u32;
        (bytes / mss.max(1))
            .max(self.min_segs)
            .min(self.gso_max_segs)
            .max(1)
    }
}

/// Segments of `mss` bytes in a frame of at most `max_payload` bytes. At least one.
#[inline(always)]
pub fn whole_segs(max_payload: u32, mss: u32) -> u32 {
    (max_payload / mss.max(1)).max(1)
}

/// How many segments the congestion window takes as one frame (`tcp_cwnd_test()`): half
/// of it, so that at least two are under way. 0: it is used up.
#[inline(always)]
pub fn quota(cwnd: u32, in_flight_pkts: u32) -> u32 {
    (cwnd >> 1).max(1).min(cwnd.saturating_sub(in_flight_pkts))
}

/// What the engine has to know of the send queue and of the host's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendView {
    /// Bytes in the first unsent buffer.
    pub head_len: u32,
    /// Whether further unsent buffers follow it.
    pub more: bool,
    /// Whether nothing more can join the buffer (`MSG_EOR`).
    pub closed: bool,
    /// `tp->nonagle`: a combination of `TCP_NAGLE_OFF` (1), [`NAGLE_CORK`] and
    /// [`NAGLE_PUSH`]. 0 is Nagle's algorithm (RFC 1122 section 4.2.3.4).
    pub nonagle: u8,
    /// Segments in flight (`tcp_packets_in_flight()`).
    pub in_flight_pkts: u32,
    /// Congestion window, in segments.
    pub cwnd: u32,
    /// The most segments that a frame may have ([`TsoView::segs`]).
    pub max_segs: u32,
    /// End of the last small segment sent (`tp->snd_sml`, Minshall).
    pub snd_sml: Seq,
    /// Whether a frame may wait to become larger: the last one was sent less than a
    /// millisecond ago, and more than this one is to be sent.
    pub may_defer: bool,
    /// A frame does not wait if this part of the window is open (`tcp_tso_win_divisor`);
    /// 0: if it takes more than three segments.
    pub win_divisor: u32,
    /// Smoothed round trip time in ns.
    pub srtt_ns: u64,
}

/// What keeps the head of the send queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitReason {
    /// The congestion window is used up.
    Cwnd,
    /// The peer's window does not take the next segment.
    Window,
    /// A partial segment waits for more data or for an ACK.
    Nagle,
    /// There is nothing to send.
    Empty,
    /// The next ACK, which is near, will let a larger frame go
    /// (`tcp_tso_should_defer()`).
    Defer(Limit),
}

/// What limits a frame that waits to become larger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The congestion window.
    Cwnd,
    /// The peer's window.
    Window,
    /// The application, which may write more.
    Application,
}

impl WaitReason {
    /// Returns whether more would be sent with a larger congestion window.
    pub const fn is_cwnd(self) -> bool {
        matches!(self, Self::Cwnd | Self::Defer(Limit::Cwnd))
    }

    /// Returns whether more would be sent with a larger window of the peer.
    pub const fn is_window(self) -> bool {
        matches!(self, Self::Window | Self::Defer(Limit::Window))
    }
}

/// The engine's decision on the head of the send queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendVerdict {
    /// Send that much from the head, as one frame.
    Send {
        /// Payload bytes: more than 0, at most `head_len`.
        bytes: u32,
        /// Segments that these bytes are on the wire.
        segs: u32,
    },
    /// Send nothing now.
    Wait(WaitReason),
}

/// Decides how much of the send queue's head goes out as the next frame
/// (`tcp_write_xmit()`). `ack_in_ns` says in how many ns the next ACK is expected, less
/// than 0 if it is late; `None` if nothing is in flight.
#[inline(always)]
pub fn next_send(
    c: &ConnData,
    v: &SendView,
    ack_in_ns: impl FnOnce() -> Option<i64>,
) -> SendVerdict {
    if v.head_len == 0 {
        return SendVerdict::Wait(WaitReason::Empty);
    }
    let mss = c.cached.mss.max(1);

    let quota = quota(v.cwnd, v.in_flight_pkts).min(v.max_segs);
    if quota == 0 {
        return SendVerdict::Wait(WaitReason::Cwnd);
    }
    // tcp_snd_wnd_test(): the first segment fits as a whole.
    let window = c.send_window();
    if v.head_len.min(mss) > window {
        return SendVerdict::Wait(WaitReason::Window);
    }

    if v.head_len <= mss {
        // Nagle is only for the end of the queue: elsewhere nothing can join.
        if !v.more && holds_partial(c, v, v.head_len < mss) {
            return SendVerdict::Wait(WaitReason::Nagle);
        }
        return SendVerdict::Send {
            bytes: v.head_len,
            segs: 1,
        };
    }
    if v.may_defer {
        if let Some(limit) = should_defer(c, *v, mss, window, ack_in_ns) {
            return SendVerdict::Wait(WaitReason::Defer(limit));
        }
    }
    let bytes = split_point(c, v, mss, quota, window).min(v.head_len);
    SendVerdict::Send {
        bytes,
        segs: bytes.div_ceil(mss),
    }
}

/// Returns whether `len` bytes, which are all there is to be sent, and no more than a segment, go
/// out at once: what [`next_send`] says of most buffers, by less than that has to know. `false`:
/// it has to be asked.
#[inline(always)]
pub fn goes_whole(c: &ConnData, len: u32, nonagle: u8, cwnd: u32, in_flight_pkts: u32) -> bool {
    // A partial segment may wait.
    let held = nonagle & NAGLE_PUSH == 0 && (nonagle == 0 || nonagle & NAGLE_CORK != 0);
    !held && len != 0 && len <= c.cached.mss && in_flight_pkts < cwnd && len <= c.send_window()
}

/// Returns what to wait for if a frame of more than one segment should wait until more
/// fits in (`tcp_tso_should_defer()`). `v` is a copy, so that it need not be in memory for the
/// frames of which this is not asked.
#[inline(never)]
fn should_defer(
    c: &ConnData,
    v: SendView,
    mss: u32,
    window: u32,
    ack_in_ns: impl FnOnce() -> Option<i64>,
) -> Option<Limit> {
    let congestion = v.cwnd.saturating_sub(v.in_flight_pkts).saturating_mul(mss);
    let limit = window.min(congestion);
    if limit >= v.max_segs.saturating_mul(mss) || (v.more && limit >= v.head_len) {
        return None;
    }
    let open = match v.win_divisor {
        0 => limit > 3 * mss,
        n => limit >= c.snd_wnd.min(v.cwnd.saturating_mul(mss)) / n,
    };
    if open {
        return None;
    }
    let near = (v.srtt_ns >> 1).min(NSEC_PER_MSEC);
    if ack_in_ns()?.saturating_sub_unsigned(near) > 0 {
        return None;
    }
    if congestion < window {
        if congestion <= v.head_len {
            return Some(Limit::Cwnd);
        }
    } else if window <= v.head_len {
        return Some(Limit::Window);
    }
    (!v.closed).then_some(Limit::Application)
}

/// Nanoseconds.
pub const NSEC_PER_MSEC: u64 = 1_000_000;

/// Accounts for `bytes` of new data sent as `segs` segments.
pub fn sent(c: &mut ConnData, bytes: u32, segs: u32) {
    c.snd_nxt = c.snd_nxt.add(bytes);
    c.packets_out = c.packets_out.saturating_add(segs);
}

/// Returns whether enough was written since the last byte marked to be pushed that the
/// receiver should see it now (`forced_push()`).
pub fn forced_push(write_seq: Seq, pushed_seq: Seq, max_window: u32) -> bool {
    write_seq.after(pushed_seq.add(max_window >> 1))
}

/// What a buffer of the send queue may hold (`tcp_xmit_size_goal()`).
#[derive(Clone, Copy, Debug, Default)]
pub struct GoalView {
    /// Segments of it so far (`tp->gso_segs`).
    pub segs: u32,
    /// Payload bytes of a full segment.
    pub mss: u32,
    /// Largest window that the peer has offered, in bytes.
    pub max_window: u32,
    /// Largest GSO frame, in bytes of payload.
    pub gso_max_size: u32,
    /// Largest number of segments in a GSO frame.
    pub gso_max_segs: u32,
    /// Bytes of a segment's TCP header (`tp->tcp_header_len`).
    pub header_len: u32,
}

impl GoalView {
    /// Segments after which a buffer is full: as many as a GSO frame takes, or half the
    /// peer's window. A change of less than a segment is none.
    #[inline(always)]
    pub fn next_segs(&self) -> u32 {
        // tcp_bound_to_half_wnd()
        let cutoff = match self.max_window {
            w if w > MSS_DEFAULT => w >> 1,
            w => w,
        };
        let bytes = match cutoff {
            0 => self.gso_max_size,
            // A window is not worth less than what every host takes (RFC 791).
            cutoff => self
                .gso_max_size
                .min(cutoff.max(68u32.saturating_sub(self.header_len))),
        };
        let now = self.segs.saturating_mul(self.mss);
        match bytes < now || bytes - now >= self.mss {
            true => (bytes / self.mss.max(1)).min(self.gso_max_segs),
            false => self.segs,
        }
    }
}

/// `TCP_MSS_DEFAULT`.
const MSS_DEFAULT: u32 = 536;

/// Returns whether Nagle's rule, as Minshall changed it, or a cork holds back a segment
/// that is `partial` (`tcp_nagle_test()`).
fn holds_partial(c: &ConnData, v: &SendView, partial: bool) -> bool {
    let nonagle = v.nonagle;
    if !partial || nonagle & NAGLE_PUSH != 0 {
        return false;
    }
    if nonagle & NAGLE_CORK != 0 {
        return true;
    }
    nonagle == 0
        && c.packets_out != 0
        && v.snd_sml.after(c.snd_una)
        && v.snd_sml.at_or_before(c.snd_nxt)
}

/// How much of a head of more than one segment goes out
/// (`tcp_mss_split_point()`). At least one segment, as it fits the window.
fn split_point(c: &ConnData, v: &SendView, mss: u32, quota: u32, window: u32) -> u32 {
    let max_len = mss.saturating_mul(quota);
    if max_len <= window && v.more {
        return max_len;
    }
    let needed = v.head_len.min(window);
    if max_len <= needed {
        return max_len;
    }
    let partial = needed % mss;
    if holds_partial(c, v, partial != 0) {
        needed.wrapping_sub(partial)
    } else {
        needed
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_transmit))]
mod tests {
    use super::super::conn::{
        ConnCached,
        ConnDelegated, //
    };
    use super::*;

    const NAGLE_OFF: u8 = 1;

    fn conn() -> ConnData {
        ConnData {
            cached: ConnCached {
                mss: 1000,
                ..ConnCached::default()
            },
            delegated: ConnDelegated {
                snd_una: Seq(u32::MAX),
                snd_nxt: Seq(99),
                snd_wnd: 60_000,
                packets_out: 1,
                ..ConnDelegated::default()
            },
            ..ConnData::default()
        }
    }

    fn view() -> SendView {
        SendView {
            head_len: 20_000,
            in_flight_pkts: 1,
            cwnd: 100,
            max_segs: 64,
            snd_sml: Seq(u32::MAX),
            ..SendView::default()
        }
    }

    fn next(c: &ConnData, v: &SendView) -> SendVerdict {
        next_send(c, v, || None)
    }

    fn bytes(c: &ConnData, v: &SendView) -> u32 {
        match next(c, v) {
            SendVerdict::Send { bytes, .. } => bytes,
            SendVerdict::Wait(_) => 0,
        }
    }

    #[test]
    fn limits() {
        let c = conn();
        let v = view();
        let all = SendVerdict::Send {
            bytes: 20_000,
            segs: 20,
        };
        assert!(next(&c, &v) == all);
        // Congestion window, segments in flight, segments in a frame, bytes that go.
        let cases = [
            (10, 1, 64, 5000),
            (10, 8, 64, 2000),
            (100, 1, 7, 7000),
            (100, 1, 3, 3000),
            (2, 1, 64, 1000),
        ];
        for (cwnd, in_flight_pkts, max_segs, want) in cases {
            let v = SendView {
                cwnd,
                in_flight_pkts,
                max_segs,
                ..v
            };
            assert_eq!(bytes(&c, &v), want);
        }
        let none = SendView { cwnd: 1, ..v };
        assert!(next(&c, &none) == SendVerdict::Wait(WaitReason::Cwnd));
        let none = SendView { head_len: 0, ..v };
        assert!(next(&c, &none) == SendVerdict::Wait(WaitReason::Empty));
    }

    #[test]
    fn frames_follow_pacing_and_round_trip_time() {
        let near = TsoView {
            pacing_rate: 1 << 20,
            pacing_shift: 10,
            min_rtt_us: 100,
            rtt_log: 9,
            gso_max_size: 65_215,
            gso_max_segs: 65_535,
            min_segs: 2,
        };
        assert_eq!(near.segs(1000), 65);
        // 40 ms away, a millisecond of a slow path is one segment: two go anyway.
        let far = TsoView {
            min_rtt_us: 40_000,
            ..near
        };
        assert_eq!(far.segs(1000), 2);
        let fast = TsoView {
            pacing_rate: 10 << 20,
            ..far
        };
        assert_eq!(fast.segs(1000), 10);
        // 1.5 ms: an eighth of what is possible, and the pacing's part.
        let between = TsoView {
            min_rtt_us: 1536,
            ..near
        };
        assert_eq!(between.segs(1000), (1024 + (65_215 >> 3)) / 1000);
        let single = TsoView {
            gso_max_segs: 1,
            ..near
        };
        assert_eq!(single.segs(1000), 1);
        assert_eq!(TsoView::default().segs(0), 1);
    }

    #[test]
    fn waits_for_a_larger_frame() {
        let mut c = conn();
        c.snd_wnd = 30_100;
        // 12 segments are in flight, and window for 8 more: less than a frame.
        let v = SendView {
            in_flight_pkts: 12,
            cwnd: 20,
            may_defer: true,
            win_divisor: 2,
            srtt_ns: 4_000_000,
            ..view()
        };
        let wait = |v: &SendView, ack: Option<i64>| next_send(&c, v, || ack);
        let defer = |limit| SendVerdict::Wait(WaitReason::Defer(limit));
        assert!(wait(&v, Some(900_000)) == defer(Limit::Cwnd));
        // The ACK is late already, or more than a millisecond away, or none will come.
        assert!(wait(&v, Some(-1)) == defer(Limit::Cwnd));
        let go = SendVerdict::Send {
            bytes: 8000,
            segs: 8,
        };
        assert!(wait(&v, Some(1_000_001)) == go);
        assert!(wait(&v, None) == go);
        let long_ago = SendView {
            may_defer: false,
            ..v
        };
        assert!(wait(&long_ago, Some(0)) == go);
        // A third of the window is enough.
        let third = SendView {
            win_divisor: 3,
            ..v
        };
        assert!(wait(&third, Some(0)) == go);
        let three = SendView {
            win_divisor: 0,
            ..v
        };
        assert!(wait(&three, Some(0)) == go);
        // All of it fits: only more of the application's could make it larger.
        let short = SendView {
            head_len: 7000,
            ..v
        };
        assert!(wait(&short, Some(0)) == defer(Limit::Application));
        for ready in [
            SendView {
                more: true,
                ..short
            },
            SendView {
                closed: true,
                ..short
            },
        ] {
            assert_eq!(bytes(&c, &ready), 7000);
        }
    }

    #[test]
    fn buffers_hold_what_a_frame_takes() {
        let v = GoalView {
            segs: 0,
            mss: 1000,
            max_window: 1 << 20,
            gso_max_size: 65_215,
            gso_max_segs: 65_535,
            header_len: 32,
        };
        assert_eq!(v.next_segs(), 65);
        // Kept while it is right by a segment.
        for (segs, want) in [(65, 65), (66, 65), (64, 65)] {
            assert_eq!(GoalView { segs, ..v }.next_segs(), want);
        }
        // Window and segments.
        for (max_window, want) in [(30_000, 15), (1072, 0), (536, 0), (0, 65)] {
            assert_eq!(GoalView { max_window, ..v }.next_segs(), want);
        }
        let few = GoalView {
            gso_max_segs: 4,
            ..v
        };
        assert_eq!(few.next_segs(), 4);
    }

    #[test]
    fn pushes_what_waits_too_long() {
        assert!(!forced_push(Seq(4), Seq(u32::MAX), 10));
        assert!(forced_push(Seq(5), Seq(u32::MAX), 10));
    }

    #[test]
    fn peer_window() {
        let mut c = conn();
        c.snd_wnd = 100 + 2500;
        // No small segment outstanding: the partial one may go.
        assert_eq!(bytes(&c, &view()), 2500);
        // One outstanding: whole segments only.
        let v = SendView {
            snd_sml: Seq(99),
            ..view()
        };
        assert_eq!(bytes(&c, &v), 2000);
        c.snd_wnd = 100 + 999;
        assert!(next(&c, &v) == SendVerdict::Wait(WaitReason::Window));
        c.snd_wnd = 50;
        assert!(next(&c, &v) == SendVerdict::Wait(WaitReason::Window));
    }

    #[test]
    fn nagle() {
        let c = conn();
        let v = SendView {
            head_len: 10,
            snd_sml: Seq(99),
            ..view()
        };
        let hold = SendVerdict::Wait(WaitReason::Nagle);
        let go = SendVerdict::Send { bytes: 10, segs: 1 };
        assert!(next(&c, &v) == hold);
        assert!(next(&c, &SendView { more: true, ..v }) == go);
        assert!(
            next(
                &c,
                &SendView {
                    nonagle: NAGLE_OFF,
                    ..v
                }
            ) == go
        );
        assert!(
            next(
                &c,
                &SendView {
                    nonagle: NAGLE_OFF | NAGLE_CORK,
                    ..v
                }
            ) == hold
        );
        assert!(
            next(
                &c,
                &SendView {
                    nonagle: NAGLE_CORK | NAGLE_PUSH,
                    ..v
                }
            ) == go
        );
        // The small segment is acknowledged.
        assert!(
            next(
                &c,
                &SendView {
                    snd_sml: Seq(u32::MAX),
                    ..v
                }
            ) == go
        );
        // A full segment always goes.
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    head_len: 1000,
                    ..v
                }
            ),
            1000
        );
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    head_len: 1010,
                    ..v
                }
            ),
            1000
        );
    }

    /// Whatever it says goes out does so by the whole rule.
    #[test]
    fn a_whole_buffer() {
        let mut whole = 0;
        for (len, nonagle, cwnd, in_flight_pkts, snd_wnd) in (0..8 * 1024).map(|n: u32| {
            let pick = |shift: u32, of: &[u32]| of[(n >> shift) as usize % of.len()];
            (
                pick(0, &[0, 1, 999, 1000, 1001, 5000, 999, 1]),
                pick(3, &[0, 1, 2, 3, 4, 5, 6, 7]) as u8,
                pick(6, &[0, 1, 2, 10]),
                pick(8, &[0, 1, 2, 10]),
                pick(10, &[0, 100, 1098, 1099, 1100, 2000, 60_000, 101]),
            )
        }) {
            let mut c = conn();
            c.snd_wnd = snd_wnd;
            let v = SendView {
                head_len: len,
                nonagle,
                cwnd,
                in_flight_pkts,
                max_segs: 1,
                ..view()
            };
            if goes_whole(&c, len, nonagle, cwnd, in_flight_pkts) {
                let all = SendVerdict::Send {
                    bytes: len,
                    segs: 1,
                };
                assert!(next(&c, &v) == all);
                whole += 1;
            }
        }
        assert!(whole > 100);
    }

    #[test]
    fn accounting() {
        let mut c = conn();
        sent(&mut c, 2500, 3);
        assert_eq!(c.snd_nxt, Seq(2599));
        assert_eq!(c.packets_out, 4);
    }
}
