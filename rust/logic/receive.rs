// SPDX-License-Identifier: GPL-2.0

//! The receive engine: which segments of a delegated connection the target finishes
//! itself, and which it leaves to the host stack.
//!
//! It finishes what header prediction in `tcp_rcv_established()` covers, plus
//! window updates. Everything else is a [`SpecialCase`] and leaves the state
//! unchanged: the host stack processes the frame from scratch.

use super::{
    conn::ConnData,
    reason::SpecialCase,
    seq::Seq,
    wire::{
        flags,
        OptKind,
        Segment, //
    }, //
};

/// Flags that only the host stack deals with.
const SPECIAL_FLAGS: u16 =
    flags::FIN | flags::SYN | flags::RST | flags::URG | flags::ECE | flags::CWR | flags::AE;

/// What the engine has to know of the host's state.
#[derive(Clone, Copy, Debug)]
pub struct HostView {
    /// Whether the socket has the memory for the payload already (`sk_forward_alloc`).
    pub reserved: bool,
    /// Whether its receive queue is within its limit (`tcp_can_ingest()`).
    pub within_limit: bool,
    /// Whether the host has header prediction on (`tp->pred_flags`).
    pub predicting: bool,
    /// What the host must do first with data to be sent that this frame may release: the
    /// host takes the frame, too.
    pub host_first: Option<SpecialCase>,
    /// Whether the socket's out-of-order queue is empty.
    pub ooo_empty: bool,
    /// Present time in seconds (`ktime_get_seconds()`).
    pub now_secs: i64,
    /// Whether the congestion state is not Open, or segments are marked
    /// SACKed, lost or retransmitted.
    pub sack_or_loss: bool,
}

/// What to do with a segment that the engine finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxAction {
    /// In-order payload bytes to deliver; 0 for a pure ACK.
    pub payload: u32,
    /// Bytes newly acknowledged by the peer.
    pub acked: u32,
    /// Whether the peer's window changed.
    pub window_changed: bool,
    /// Whether header prediction would have taken the segment: the host counts and
    /// does less for those.
    pub predicted: bool,
}

impl RxAction {
    /// Returns whether `tcp_ack()` would have seen the segment. Header prediction keeps
    /// data that acknowledges nothing new from it.
    #[inline]
    pub const fn is_ack(&self) -> bool {
        !self.predicted || self.payload == 0 || self.acked != 0
    }
}

/// Processes a segment of a delegated connection.
///
/// The caller has verified the checksum and that the segment's tuple is the
/// connection's. On success the state is advanced and the caller delivers,
/// frees and acknowledges as the action says; on error the state is unchanged.
#[inline(always)]
pub fn receive(c: &mut ConnData, s: &Segment, h: &HostView) -> Result<RxAction, SpecialCase> {
    if s.flags & (SPECIAL_FLAGS | flags::ACK) != flags::ACK {
        return Err(special_flag(s.flags));
    }
    // The host counts what the path marks, though nobody has asked for it.
    if s.ip_ecn != 0 {
        return Err(SpecialCase::Ecn);
    }
    let ts = timestamp(c, s)?;
    let wnd = scaled_window(c, s);
    let predicted = h.predicting && wnd == c.snd_wnd && (s.payload == 0 || h.reserved);

    if s.seq != c.rcv_nxt {
        return Err(out_of_sequence(c, s));
    }
    if s.payload != 0 {
        if s.payload > c.receive_window() {
            return Err(beyond_window(c));
        }
        if !h.ooo_empty {
            return Err(SpecialCase::OutOfOrder);
        }
        if !predicted && !h.within_limit {
            return Err(SpecialCase::NoMemory);
        }
    }
    if let Some(case) = h.host_first {
        return Err(case);
    }

    if !s.ack.between(c.snd_una, c.snd_nxt) {
        return Err(SpecialCase::AckOutside);
    }
    if h.sack_or_loss {
        return Err(SpecialCase::Sack);
    }
    let acked = s.ack.dist_from(c.snd_una);
    let window = peer_window(c, s, acked, wnd)?;
    if window.is_none() && s.payload == 0 && acked == 0 && !c.all_acked() {
        return Err(SpecialCase::DupAck);
    }

    // Nothing can fail from here on.
    let mut action = RxAction {
        payload: s.payload,
        acked,
        predicted,
        ..RxAction::default()
    };
    if let Some((tsval, _)) = ts {
        // tcp_replace_ts_recent(): only a segment that covers the last ACK
        // sent; not older than ts_recent was checked.
        if s.seq.at_or_before(c.rcv_wup) {
            c.ts_recent = tsval;
            c.ts_recent_stamp = h.now_secs;
        }
    }
    if let Some(wnd) = window {
        action.window_changed = c.snd_wnd != wnd;
        c.snd_wl1 = s.seq;
        c.snd_wnd = wnd;
        c.max_window = c.max_window.max(wnd);
    }
    c.snd_una = s.ack;
    c.bytes_acked = c.bytes_acked.wrapping_add(u64::from(acked));
    if c.all_acked() {
        c.packets_out = 0;
    }
    c.rcv_nxt = c.rcv_nxt.add(s.payload);
    c.bytes_received = c.bytes_received.wrapping_add(u64::from(s.payload));
    Ok(action)
}

/// The most important of the flags that make a segment special.
#[cold]
fn special_flag(f: u16) -> SpecialCase {
    if f & flags::RST != 0 {
        SpecialCase::Rst
    } else if f & flags::SYN != 0 {
        SpecialCase::Syn
    } else if f & flags::ACK == 0 {
        SpecialCase::BadHeader
    } else if f & flags::FIN != 0 {
        SpecialCase::Fin
    } else if f & flags::URG != 0 {
        SpecialCase::Urg
    } else {
        SpecialCase::Ecn
    }
}

/// Checks the options against what was negotiated, and the timestamp against
/// the last one (RFC 7323 sections 3.2 and 5.3).
#[inline(always)]
fn timestamp(c: &ConnData, s: &Segment) -> Result<Option<(u32, u32)>, SpecialCase> {
    match (s.opts, s.ts, c.constant.ts_ok) {
        (OptKind::None, _, false) => Ok(None),
        (OptKind::Timestamp, Some((tsval, tsecr)), true) => {
            if Seq(tsval).before(Seq(c.ts_recent)) {
                Err(SpecialCase::Paws)
            } else {
                Ok(Some((tsval, tsecr)))
            }
        }
        (OptKind::None, _, true) => Err(SpecialCase::NoTimestamp),
        (OptKind::Sack, ..) => Err(SpecialCase::Sack),
        _ => Err(SpecialCase::BadOption),
    }
}

/// Names the case of a segment that does not start at `rcv_nxt`.
#[cold]
fn out_of_sequence(c: &ConnData, s: &Segment) -> SpecialCase {
    let seq = s.seq;
    if seq.before(c.rcv_nxt) {
        // Probes of an open window are keepalives.
        match c.receive_window() == 0 && s.payload == 0 && seq.add(1) == c.rcv_nxt {
            true => SpecialCase::WindowProbe,
            false => SpecialCase::OldSequence,
        }
    } else if seq.after(c.rcv_nxt.add(c.receive_window())) {
        SpecialCase::BeyondWindow
    } else {
        SpecialCase::OutOfOrder
    }
}

/// Names the case of data that does not fit into the window.
#[cold]
fn beyond_window(c: &ConnData) -> SpecialCase {
    match c.receive_window() {
        // One byte, as RFC 9293 section 3.8.6.1 has it, or more.
        0 => SpecialCase::WindowProbe,
        _ => SpecialCase::BeyondWindow,
    }
}

/// The window that the segment offers, in bytes.
#[inline(always)]
fn scaled_window(c: &ConnData, s: &Segment) -> u32 {
    u32::from(s.window) << c.constant.snd_wscale.min(MAX_WSCALE)
}

/// The peer's window after this segment, which offers `wnd`, or `None` if the segment
/// does not update it (`tcp_may_update_window()`).
#[inline(always)]
fn peer_window(
    c: &ConnData,
    s: &Segment,
    acked: u32,
    wnd: u32,
) -> Result<Option<u32>, SpecialCase> {
    let scale = u32::from(c.constant.snd_wscale.min(MAX_WSCALE));
    let update = acked != 0
        || s.seq.after(c.snd_wl1)
        || (s.seq == c.snd_wl1 && (wnd > c.snd_wnd || wnd == 0));
    if !update {
        return Ok(None);
    }
    // A peer that rounds to its scale may move the edge by less than one unit.
    // A window that fills up while its edge stays is the ordinary sign of a slow
    // reader: the host's probe timer watches it.
    let back = c.wnd_end().saturating_dist_from(s.ack.add(wnd));
    if back >> scale != 0 {
        return Err(match wnd {
            0 => SpecialCase::ZeroWindow,
            _ => SpecialCase::WindowShrunk,
        });
    }
    Ok(Some(wnd))
}

/// Largest window shift (RFC 7323 section 2.3, `TCP_MAX_WSCALE`).
pub const MAX_WSCALE: u8 = 14;

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_receive))]
mod tests {
    use super::super::conn::{
        ConnCached,
        ConnConst,
        ConnDelegated, //
    };
    use super::*;

    const VIEW: HostView = HostView {
        reserved: true,
        within_limit: true,
        predicting: true,
        host_first: None,
        ooo_empty: true,
        now_secs: 77,
        sack_or_loss: false,
    };

    fn conn() -> ConnData {
        ConnData {
            constant: ConnConst {
                snd_wscale: 3,
                ts_ok: true,
                ..ConnConst::default()
            },
            cached: ConnCached {
                mss: 1000,
                ..ConnCached::default()
            },
            delegated: ConnDelegated {
                snd_una: Seq(1000),
                snd_nxt: Seq(3000),
                snd_wnd: 8000,
                snd_wl1: Seq(u32::MAX - 9),
                max_window: 8000,
                rcv_nxt: Seq(u32::MAX - 9),
                rcv_wup: Seq(u32::MAX - 9),
                rcv_wnd: 5000,
                ts_recent: 50,
                packets_out: 2,
                ..ConnDelegated::default()
            },
        }
    }

    fn seg() -> Segment {
        Segment {
            seq: Seq(u32::MAX - 9),
            ack: Seq(1000),
            flags: flags::ACK,
            window: 1000,
            payload: 100,
            ts: Some((60, 7)),
            opts: OptKind::Timestamp,
            ..Segment::default()
        }
    }

    #[test]
    fn data_in_order() {
        let mut c = conn();
        let r = receive(&mut c, &seg(), &VIEW);
        assert!(r.is_ok_and(|a| a.payload == 100 && a.acked == 0));
        assert_eq!(c.rcv_nxt, Seq(90));
        assert_eq!(c.bytes_received, 100);
        assert_eq!(c.ts_recent, 60);
        assert_eq!(c.ts_recent_stamp, 77);
        // The next one no longer covers the last ACK sent.
        let s = Segment {
            seq: Seq(90),
            ts: Some((61, 8)),
            ..seg()
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok());
        assert_eq!(c.ts_recent, 60);
    }

    #[test]
    fn acks() {
        let mut c = conn();
        let s = Segment {
            payload: 0,
            ack: Seq(2000),
            ..seg()
        };
        let r = receive(&mut c, &s, &VIEW);
        assert!(r.is_ok_and(|a| a.acked == 1000 && !a.window_changed));
        assert_eq!(c.packets_out, 2);
        // Again: a duplicate ACK.
        assert!(receive(&mut c, &s, &VIEW) == Err(SpecialCase::DupAck));
        // With a larger window: an update.
        let r = receive(&mut c, &Segment { window: 1001, ..s }, &VIEW);
        assert!(r.is_ok_and(|a| a.window_changed));
        assert_eq!(c.snd_wnd, 8008);
        let s = Segment {
            ack: Seq(3000),
            ..s
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok());
        assert_eq!(c.packets_out, 0);
        // Nothing outstanding: the answer to a keepalive probe.
        assert!(receive(&mut c, &s, &VIEW).is_ok_and(|a| a.acked == 0));
        assert_eq!(c.bytes_acked, 2000);
    }

    #[test]
    fn window_updates_are_ordered() {
        let mut c = conn();
        c.snd_una = c.snd_nxt;
        let s = Segment {
            ack: c.snd_nxt,
            payload: 10,
            window: 1100,
            ..seg()
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok_and(|a| a.window_changed));
        assert_eq!(c.snd_wl1, s.seq);
        // The same segment position: only a larger window counts.
        let again = Segment {
            seq: c.rcv_nxt,
            payload: 0,
            window: 1099,
            ..s
        };
        c.snd_wl1 = again.seq;
        assert!(receive(&mut c, &again, &VIEW).is_ok_and(|a| !a.window_changed));
        assert_eq!(c.snd_wnd, 8800);
        // A later one counts in any case, and this one is a step back.
        c.snd_wl1 = s.seq;
        c.constant.snd_wscale = 0;
        c.snd_wnd = 1100;
        assert!(receive(&mut c, &again, &VIEW) == Err(SpecialCase::WindowShrunk));
        assert_eq!(c.snd_wl1, s.seq);
        let larger = Segment {
            window: 1101,
            ..again
        };
        assert!(receive(&mut c, &larger, &VIEW).is_ok_and(|a| a.window_changed));
        assert_eq!(c.snd_wl1, again.seq);
    }

    #[test]
    fn window_that_fills_up() {
        let mut c = conn();
        c.snd_wnd = 2000;
        let s = Segment {
            ack: c.snd_nxt,
            window: 0,
            ..seg()
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok_and(|a| a.acked == 2000 && a.window_changed));
        assert_eq!(c.snd_wnd, 0);
        // And opens again.
        let s = Segment {
            seq: c.rcv_nxt,
            window: 500,
            ..s
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok_and(|a| a.acked == 0 && a.window_changed));
        assert_eq!(c.snd_wnd, 4000);
    }

    #[test]
    fn special_cases() {
        // Each is a segment that is in order but for something. Not the segments
        // themselves: a kernel's stack has no room for all of them.
        type Change = fn(&mut Segment);
        let cases: [(Change, SpecialCase); 21] = [
            (|s| s.flags = flags::ACK | flags::FIN, SpecialCase::Fin),
            (|s| s.flags = flags::RST, SpecialCase::Rst),
            (|s| s.flags = flags::ACK | flags::SYN, SpecialCase::Syn),
            (|s| s.flags = flags::ACK | flags::URG, SpecialCase::Urg),
            (|s| s.flags = flags::PSH, SpecialCase::BadHeader),
            (|s| s.flags = flags::ACK | flags::ECE, SpecialCase::Ecn),
            (|s| s.flags = flags::ACK | flags::AE, SpecialCase::Ecn),
            (|s| s.ip_ecn = 1, SpecialCase::Ecn),
            (|s| s.ip_ecn = 3, SpecialCase::Ecn),
            (
                |s| {
                    s.opts = OptKind::None;
                    s.ts = None;
                },
                SpecialCase::NoTimestamp,
            ),
            (|s| s.opts = OptKind::Sack, SpecialCase::Sack),
            (
                |s| {
                    s.opts = OptKind::Other;
                    s.ts = None;
                },
                SpecialCase::BadOption,
            ),
            (|s| s.ts = Some((49, 0)), SpecialCase::Paws),
            (
                |s| {
                    s.seq = Seq(u32::MAX - 10);
                    s.payload = 0;
                },
                SpecialCase::OldSequence,
            ),
            (|s| s.seq = Seq(u32::MAX - 8), SpecialCase::OutOfOrder),
            (|s| s.seq = Seq(5000), SpecialCase::BeyondWindow),
            (|s| s.payload = 5001, SpecialCase::BeyondWindow),
            (|s| s.ack = Seq(999), SpecialCase::AckOutside),
            (|s| s.ack = Seq(3001), SpecialCase::AckOutside),
            (|s| s.window = 0, SpecialCase::ZeroWindow),
            (
                |s| {
                    s.window = 800;
                    s.ack = Seq(1100);
                },
                SpecialCase::WindowShrunk,
            ),
        ];
        for (change, want) in cases {
            let (mut c, mut s) = (conn(), seg());
            change(&mut s);
            assert!(receive(&mut c, &s, &VIEW) == Err(want));
            assert!(c == conn());
        }
    }

    #[test]
    fn probes_of_a_shut_window() {
        let mut c = conn();
        c.rcv_wnd = 0;
        let probe = Segment {
            seq: c.rcv_nxt.sub(1),
            payload: 0,
            ..seg()
        };
        assert!(receive(&mut c, &probe, &VIEW) == Err(SpecialCase::WindowProbe));
        let data = Segment {
            payload: 1,
            ..seg()
        };
        assert!(receive(&mut c, &data, &VIEW) == Err(SpecialCase::WindowProbe));
        let old = Segment {
            seq: c.rcv_nxt.sub(2),
            ..probe
        };
        assert!(receive(&mut c, &old, &VIEW) == Err(SpecialCase::OldSequence));
        c.rcv_wnd = 100;
        assert!(receive(&mut c, &probe, &VIEW) == Err(SpecialCase::OldSequence));
    }

    #[test]
    fn host_view_counts() {
        let mut c = conn();
        // Over the limit: what header prediction takes is taken anyway.
        let over = HostView {
            within_limit: false,
            ..VIEW
        };
        assert!(receive(&mut conn(), &seg(), &over).is_ok());
        let moved = Segment {
            window: 1200,
            ..seg()
        };
        assert!(receive(&mut c, &moved, &over) == Err(SpecialCase::NoMemory));
        let v = HostView {
            reserved: false,
            ..over
        };
        assert!(receive(&mut c, &seg(), &v) == Err(SpecialCase::NoMemory));
        let v = HostView {
            host_first: Some(SpecialCase::Urg),
            ..VIEW
        };
        assert!(receive(&mut c, &seg(), &v) == Err(SpecialCase::Urg));
        let v = HostView {
            ooo_empty: false,
            ..VIEW
        };
        assert!(receive(&mut c, &seg(), &v) == Err(SpecialCase::OutOfOrder));
        let v = HostView {
            sack_or_loss: true,
            ..VIEW
        };
        assert!(receive(&mut c, &seg(), &v) == Err(SpecialCase::Sack));
        assert!(c == conn());
    }

    #[test]
    fn predicted_as_by_the_host() {
        let free = HostView {
            reserved: false,
            ..VIEW
        };
        let off = HostView {
            predicting: false,
            ..VIEW
        };
        let pure = Segment {
            payload: 0,
            ack: Seq(2000),
            ..seg()
        };
        let moved = Segment {
            window: 1200,
            ..seg()
        };
        // Segment, the host's state, predicted, seen by tcp_ack().
        let cases = [
            (seg(), VIEW, true, false),
            (pure, VIEW, true, true),
            (seg(), free, false, true),
            (pure, free, true, true),
            (seg(), off, false, true),
            (moved, VIEW, false, true),
            (
                Segment {
                    ack: Seq(1001),
                    ..seg()
                },
                VIEW,
                true,
                true,
            ),
        ];
        for (s, v, predicted, is_ack) in cases {
            let r = receive(&mut conn(), &s, &v);
            assert!(r.is_ok_and(|a| a.predicted == predicted && a.is_ack() == is_ack));
        }
    }

    #[test]
    fn rounding_to_the_scale_is_not_shrinking() {
        let mut c = conn();
        // 1005 bytes acknowledged, 126 units fewer: edge back by 3 of 8.
        let s = Segment {
            payload: 0,
            ack: Seq(2005),
            window: 874,
            ..seg()
        };
        assert!(receive(&mut c, &s, &VIEW).is_ok());
        assert_eq!(c.snd_wnd, 874 << 3);
    }
}
