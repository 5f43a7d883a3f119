// SPDX-License-Identifier: GPL-2.0

//! Payload that is held while no user buffer is posted for it, because the target
//! has asked for one.
//!
//! A held frame has not been received as far as TCP is concerned: nothing of it is
//! in the connection data, and it is not acknowledged. Every frame is therefore
//! processed later as if it arrived then. This file only decides how long that may
//! wait.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    conn::ConnData,
    receive::{
        self,
        HostView, //
    },
    wire::Segment, //
};

/// Frames held at most, whatever they carry: bounds their memory and the time it
/// takes to process them.
pub const MAX_FRAMES: u32 = 64;

/// How a device holds payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// How long it waits for the buffer it asked for, in ms; 0: nothing is held.
    pub request_ms: u32,
    /// The amount of payload, in bytes, with which it no longer waits.
    pub high_water: u32,
}

impl Rule {
    /// Nothing is held: a sleeping reader gets the data at once, but one that asks with
    /// `poll()` while data is held is told late.
    pub const DEFAULT: Self = Self {
        request_ms: 0,
        high_water: 64 << 10,
    };
    /// Longest time, in ms.
    pub const MAX_MS: u32 = 1000;
    /// Most payload, in bytes.
    pub const MAX_BYTES: u32 = 1 << 20;
}

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It waits; it is the first one, so a buffer is to be asked for.
    Ask,
    /// It waits behind others.
    Hold,
    /// It is processed now, after those held.
    Pass,
    /// As `Pass`, because with it the mark is reached.
    HighWater,
}

/// What is held of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Payload, in bytes.
    bytes: u32,
    frames: u32,
    /// When it stops waiting, in ms.
    due_ms: u64,
    /// A timer runs, for these frames or for some before.
    armed: bool,
    /// A reader is about to wait.
    reader: bool,
}

impl Held {
    /// Decides about a segment of a delegated connection at `now_ms`. `idle`: no reader
    /// waits for its payload, everything before was read, and nothing about the socket is
    /// special.
    ///
    /// It is held if the engine would finish it after those that are held, and if it
    /// brings payload and nothing else: an ACK or a window must not wait. PSH is no
    /// reason to pass: it asks to wake a reader, and there is none.
    pub fn offer(
        &mut self,
        rule: &Rule,
        (c, s): (&ConnData, &Segment),
        h: &HostView,
        idle: bool,
        now_ms: u64,
    ) -> Verdict {
        if s.payload == 0 {
            return Verdict::Pass;
        }
        if core::mem::take(&mut self.reader) || !idle || rule.request_ms == 0 {
            return Verdict::Pass;
        }
        let mut behind = *c;
        behind.rcv_nxt = c.rcv_nxt.add(self.bytes);
        match receive::receive(&mut behind, s, h) {
            Ok(a) if a.acked == 0 && !a.window_changed => {}
            _ => return Verdict::Pass,
        }
        let bytes = self.bytes.saturating_add(s.payload);
        // A peer that fills the window would wait for the timer.
        let mark = rule.high_water.min(c.rcv_wnd / 2);
        if bytes >= mark || self.frames + 1 >= MAX_FRAMES {
            return Verdict::HighWater;
        }
        self.bytes = bytes;
        self.frames += 1;
        if self.frames == 1 {
            self.due_ms = now_ms.saturating_add(rule.request_ms.into());
            Verdict::Ask
        } else {
            Verdict::Hold
        }
    }

    /// Returns whether anything is held.
    pub const fn any(&self) -> bool {
        self.frames != 0
    }

    /// All of it is processed now.
    pub fn taken(&mut self) {
        self.bytes = 0;
        self.frames = 0;
    }

    /// A reader goes to the host stack and may wait there. It gets there before the next
    /// payload does.
    pub fn reader_comes(&mut self) {
        self.reader = true;
    }

    /// When the time of what is held is up.
    pub const fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Returns whether a timer must be started. A connection has at most one running.
    pub const fn unarmed(&self) -> bool {
        !self.armed
    }

    /// A timer was started.
    pub fn arm(&mut self) {
        self.armed = true;
    }

    /// Its time is up at once.
    pub fn hurry(&mut self) {
        self.due_ms = 0;
    }

    /// The timer expired at `now_ms`. `Some`: it has to run again until then, for
    /// what is held came later.
    pub fn expired(&mut self, now_ms: u64) -> Option<u64> {
        let again = self.any() && now_ms < self.due_ms;
        self.armed = again;
        again.then_some(self.due_ms)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_hold))]
mod tests {
    use super::super::conn::ConnDelegated;
    use super::{
        super::{
            seq::Seq,
            wire::flags, //
        },
        *, //
    };

    const RULE: Rule = Rule {
        request_ms: 10,
        high_water: 1000,
    };
    const VIEW: HostView = HostView {
        reserved: true,
        within_limit: true,
        predicting: true,
        host_first: None,
        ooo_empty: true,
        now_secs: 1,
        sack_or_loss: false,
    };

    fn conn() -> ConnData {
        ConnData {
            delegated: ConnDelegated {
                snd_una: Seq(7),
                snd_nxt: Seq(9),
                snd_wnd: 500,
                snd_wl1: Seq(u32::MAX - 100),
                rcv_nxt: Seq(u32::MAX - 99),
                rcv_wup: Seq(u32::MAX - 99),
                rcv_wnd: 4000,
                ..ConnDelegated::default()
            },
            ..ConnData::default()
        }
    }

    fn seg(at: u32, payload: u32) -> Segment {
        Segment {
            seq: conn().rcv_nxt.add(at),
            ack: Seq(7),
            flags: flags::ACK | flags::PSH,
            window: 500,
            payload,
            ..Segment::default()
        }
    }

    fn offer(held: &mut Held, s: &Segment) -> Verdict {
        held.offer(&RULE, (&conn(), s), &VIEW, true, 50)
    }

    #[test]
    fn in_order_payload_waits() {
        let mut held = Held::default();
        assert!(offer(&mut held, &seg(0, 300)) == Verdict::Ask);
        assert_eq!(held.due_ms(), 60);
        assert!(offer(&mut held, &seg(300, 300)) == Verdict::Hold);
        // Again, a gap, and one that goes on with it.
        let twice = held;
        assert!(offer(&mut held, &seg(300, 300)) == Verdict::Pass);
        assert!(offer(&mut held, &seg(700, 10)) == Verdict::Pass);
        assert!(held == twice);
        assert!(offer(&mut held, &seg(600, 399)) == Verdict::Hold);
        assert!(offer(&mut held, &seg(999, 1)) == Verdict::HighWater);
        held.taken();
        assert!(!held.any());
        assert!(offer(&mut held, &seg(0, 1000)) == Verdict::HighWater);
    }

    #[test]
    fn nothing_else_waits() {
        let s = seg(0, 300);
        let others = [
            Segment { payload: 0, ..s },
            Segment { ack: Seq(8), ..s },
            Segment { window: 501, ..s },
            Segment {
                flags: s.flags | flags::FIN,
                ..s
            },
            Segment {
                flags: s.flags | flags::URG,
                ..s
            },
            Segment { ip_ecn: 3, ..s },
        ];
        for other in others {
            assert!(offer(&mut Held::default(), &other) == Verdict::Pass);
        }
        let busy = Held::default().offer(&RULE, (&conn(), &s), &VIEW, false, 50);
        assert!(busy == Verdict::Pass);
        let off = Rule {
            request_ms: 0,
            ..RULE
        };
        let never = Held::default().offer(&off, (&conn(), &s), &VIEW, true, 50);
        assert!(never == Verdict::Pass);
    }

    #[test]
    fn a_reader_has_the_next_payload() {
        let mut held = Held::default();
        held.reader_comes();
        assert!(offer(&mut held, &seg(0, 0)) == Verdict::Pass);
        assert!(offer(&mut held, &seg(0, 300)) == Verdict::Pass);
        assert!(offer(&mut held, &seg(0, 300)) == Verdict::Ask);
    }

    #[test]
    fn a_small_window_and_many_frames() {
        let mut small = conn();
        small.rcv_wnd = 400;
        let mut held = Held::default();
        let first = held.offer(&RULE, (&small, &seg(0, 199)), &VIEW, true, 50);
        assert!(first == Verdict::Ask);
        let next = held.offer(&RULE, (&small, &seg(199, 1)), &VIEW, true, 50);
        assert!(next == Verdict::HighWater);

        let mut held = Held::default();
        for i in 0..MAX_FRAMES - 1 {
            assert!(matches!(
                offer(&mut held, &seg(i, 1)),
                Verdict::Ask | Verdict::Hold
            ));
        }
        assert!(offer(&mut held, &seg(MAX_FRAMES - 1, 1)) == Verdict::HighWater);
    }

    #[test]
    fn one_timer() {
        let mut held = Held::default();
        assert!(offer(&mut held, &seg(0, 1)) == Verdict::Ask && held.unarmed());
        held.arm();
        held.taken();
        // Later ones wait for their own time.
        let next = held.offer(&RULE, (&conn(), &seg(0, 1)), &VIEW, true, 55);
        assert!(next == Verdict::Ask && !held.unarmed());
        assert!(held.expired(60) == Some(65) && !held.unarmed());
        held.hurry();
        assert!(held.expired(60).is_none() && held.unarmed());
    }
}
