// SPDX-License-Identifier: GPL-2.0

//! The transmit engine: how much of the send queue may go out now, and what
//! sending it does to the state (`tcp_write_xmit()`, `tcp_event_new_data_sent()`).

use super::{
    conn::ConnData,
    seq::Seq, //
};

/// `TCP_NODELAY` is set.
pub const NAGLE_OFF: u8 = 1;
/// `TCP_CORK` or `MSG_MORE`: hold back a partial segment.
pub const NAGLE_CORK: u8 = 2;
/// Send what is there, once, in spite of Nagle and cork.
pub const NAGLE_PUSH: u8 = 4;

/// What the engine has to know of the send queue and of the host's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendView {
    /// Bytes in the first unsent buffer.
    pub head_len: u32,
    /// Whether further unsent buffers follow it.
    pub more: bool,
    /// `tp->nonagle`: a combination of [`NAGLE_OFF`], [`NAGLE_CORK`] and
    /// [`NAGLE_PUSH`]. 0 is Nagle's algorithm (RFC 1122 section 4.2.3.4).
    pub nonagle: u8,
    /// Segments in flight (`tcp_packets_in_flight()`).
    pub in_flight_pkts: u32,
    /// Congestion window, in segments.
    pub cwnd: u32,
    /// Largest GSO frame, in bytes of payload. One segment always goes.
    pub gso_max_size: u32,
    /// Largest number of segments in a GSO frame.
    pub gso_max_segs: u32,
    /// Whether the queue is to be sent to its last byte, as with
    /// [`NAGLE_PUSH`].
    pub push: bool,
    /// End of the last small segment sent (`tp->snd_sml`, Minshall).
    pub snd_sml: Seq,
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
    /// The caller holds it back: pacing, or too much in the device's queue.
    Defer,
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

/// Decides how much of the send queue's head goes out as the next frame.
#[inline(always)]
pub fn next_send(c: &ConnData, v: &SendView) -> SendVerdict {
    if v.head_len == 0 {
        return SendVerdict::Wait(WaitReason::Empty);
    }
    let mss = c.cached.mss.max(1);

    if v.in_flight_pkts >= v.cwnd {
        return SendVerdict::Wait(WaitReason::Cwnd);
    }
    // tcp_snd_wnd_test(): the first segment fits as a whole.
    let window = c.send_window();
    if v.head_len.min(mss) > window {
        return SendVerdict::Wait(WaitReason::Window);
    }

    let nonagle = if v.push {
        v.nonagle | NAGLE_PUSH
    } else {
        v.nonagle
    };
    if v.head_len <= mss {
        // Nagle is only for the end of the queue: elsewhere nothing can join.
        if !v.more && holds_partial(c, v, v.head_len < mss, nonagle) {
            return SendVerdict::Wait(WaitReason::Nagle);
        }
        return SendVerdict::Send {
            bytes: v.head_len,
            segs: 1,
        };
    }

    // tcp_cwnd_test(): at least two frames for a full window.
    let half = (v.cwnd >> 1).max(1);
    let quota = half
        .min(v.cwnd.wrapping_sub(v.in_flight_pkts))
        .min(v.gso_max_segs)
        .min(v.gso_max_size / mss)
        .max(1);
    let bytes = split_point(c, v, mss, quota, window, nonagle).min(v.head_len);
    SendVerdict::Send {
        bytes,
        segs: bytes.div_ceil(mss),
    }
}

/// Accounts for `bytes` of new data sent as `segs` segments.
pub fn sent(c: &mut ConnData, bytes: u32, segs: u32) {
    c.snd_nxt = c.snd_nxt.add(bytes);
    c.packets_out = c.packets_out.saturating_add(segs);
}

/// The value of `snd_sml` after [`sent`] with the same numbers
/// (`tcp_minshall_update()`).
pub fn snd_sml_after(c: &ConnData, snd_sml: Seq, bytes: u32, segs: u32) -> Seq {
    if u64::from(bytes) < u64::from(segs) * u64::from(c.cached.mss) {
        c.snd_nxt
    } else {
        snd_sml
    }
}

/// Whether Nagle's rule, as Minshall changed it, or a cork holds back a segment
/// that is `partial` (`tcp_nagle_test()`).
fn holds_partial(c: &ConnData, v: &SendView, partial: bool, nonagle: u8) -> bool {
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
fn split_point(c: &ConnData, v: &SendView, mss: u32, quota: u32, window: u32, nonagle: u8) -> u32 {
    let max_len = mss.saturating_mul(quota);
    if max_len <= window && v.more {
        return max_len;
    }
    let needed = v.head_len.min(window);
    if max_len <= needed {
        return max_len;
    }
    let partial = needed % mss;
    if holds_partial(c, v, partial != 0, nonagle) {
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
            gso_max_size: 65_536,
            gso_max_segs: 64,
            snd_sml: Seq(u32::MAX),
            ..SendView::default()
        }
    }

    fn bytes(c: &ConnData, v: &SendView) -> u32 {
        match next_send(c, v) {
            SendVerdict::Send { bytes, .. } => bytes,
            SendVerdict::Wait(_) => 0,
        }
    }

    #[test]
    fn limits() {
        let c = conn();
        let v = view();
        assert!(
            next_send(&c, &v)
                == SendVerdict::Send {
                    bytes: 20_000,
                    segs: 20
                }
        );
        assert_eq!(bytes(&c, &SendView { cwnd: 10, ..v }), 5000);
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    cwnd: 10,
                    in_flight_pkts: 8,
                    ..v
                }
            ),
            2000
        );
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    gso_max_size: 7999,
                    ..v
                }
            ),
            7000
        );
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    gso_max_segs: 3,
                    ..v
                }
            ),
            3000
        );
        assert_eq!(
            bytes(
                &c,
                &SendView {
                    gso_max_segs: 0,
                    ..v
                }
            ),
            1000
        );
        let none = SendView { cwnd: 1, ..v };
        assert!(next_send(&c, &none) == SendVerdict::Wait(WaitReason::Cwnd));
        let none = SendView { head_len: 0, ..v };
        assert!(next_send(&c, &none) == SendVerdict::Wait(WaitReason::Empty));
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
        assert!(next_send(&c, &v) == SendVerdict::Wait(WaitReason::Window));
        c.snd_wnd = 50;
        assert!(next_send(&c, &v) == SendVerdict::Wait(WaitReason::Window));
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
        assert!(next_send(&c, &v) == hold);
        assert!(next_send(&c, &SendView { more: true, ..v }) == go);
        assert!(next_send(&c, &SendView { push: true, ..v }) == go);
        assert!(
            next_send(
                &c,
                &SendView {
                    nonagle: NAGLE_OFF,
                    ..v
                }
            ) == go
        );
        assert!(
            next_send(
                &c,
                &SendView {
                    nonagle: NAGLE_OFF | NAGLE_CORK,
                    ..v
                }
            ) == hold
        );
        assert!(
            next_send(
                &c,
                &SendView {
                    nonagle: NAGLE_CORK | NAGLE_PUSH,
                    ..v
                }
            ) == go
        );
        // The small segment is acknowledged.
        assert!(
            next_send(
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

    #[test]
    fn accounting() {
        let mut c = conn();
        sent(&mut c, 2500, 3);
        assert_eq!(c.snd_nxt, Seq(2599));
        assert_eq!(c.packets_out, 4);
        assert_eq!(snd_sml_after(&c, Seq(1), 2500, 3), Seq(2599));
        assert_eq!(snd_sml_after(&c, Seq(1), 3000, 3), Seq(1));
    }
}
