// SPDX-License-Identifier: GPL-2.0

//! Payload that is deferred while no user buffer is posted for it, because the target has
//! asked for one.
//!
//! A deferred frame has not been received as far as TCP is concerned: nothing of it is in
//! the connection data, and it is not acknowledged. Every frame is therefore processed
//! later as if it arrived then. This file only decides how long that may wait.
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

/// Frames that are deferred at most, whatever they carry: bounds their memory and the time
/// it takes to process them.
pub const MAX_FRAMES: u32 = 64;

/// How a device defers payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// How long it waits for the buffer it asked for, in ms; 0: nothing is deferred.
    pub request_ms: u32,
    /// The amount of payload, in bytes, with which it no longer waits.
    pub high_water: u32,
}

impl Rule {
    /// Nothing is deferred: a sleeping reader gets the data at once, but one that asks with
    /// `poll()` while data is deferred would learn of it late.
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
    Defer,
    /// It is processed now, after those that are deferred.
    Pass,
    /// As `Pass`, because with it the mark is reached.
    HighWater,
}

/// What is deferred of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deferred {
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

impl Deferred {
    /// Decides about a segment of a delegated connection at `now_ms`. `idle`: no reader
    /// waits for its payload, everything before was read, and nothing about the socket is
    /// special.
    ///
    /// It is deferred if the engine would finish it after those that are, and if it brings
    /// payload and nothing else: an ACK or a window must not wait. PSH is no reason to
    /// pass: it asks to wake a reader, and there is none.
    pub fn offer(
        &mut self,
        rule: &Rule,
        c: &ConnData,
        s: &Segment,
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
            Verdict::Defer
        }
    }

    /// Returns whether anything is deferred.
    pub const fn any(&self) -> bool {
        self.frames != 0
    }

    /// All of it is processed now.
    pub fn clear(&mut self) {
        self.bytes = 0;
        self.frames = 0;
    }

    /// A reader goes to the host stack and may wait there. It gets there before the next
    /// payload does.
    pub fn reader_comes(&mut self) {
        self.reader = true;
    }

    /// When the time of what is deferred is up.
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
    pub fn expire_now(&mut self) {
        self.due_ms = 0;
    }

    /// The timer expired at `now_ms`. `Some`: it has to run again until then, for what is
    /// deferred came later.
    pub fn expired(&mut self, now_ms: u64) -> Option<u64> {
        let again = self.any() && now_ms < self.due_ms;
        self.armed = again;
        again.then_some(self.due_ms)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_deferred))]
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

    fn offer(deferred: &mut Deferred, s: &Segment) -> Verdict {
        deferred.offer(&RULE, &conn(), s, &VIEW, true, 50)
    }

    #[test]
    fn in_order_payload_waits() {
        let mut deferred = Deferred::default();
        assert!(offer(&mut deferred, &seg(0, 300)) == Verdict::Ask);
        assert_eq!(deferred.due_ms(), 60);
        assert!(offer(&mut deferred, &seg(300, 300)) == Verdict::Defer);
        // Again, a gap, and one that goes on with it.
        let twice = deferred;
        assert!(offer(&mut deferred, &seg(300, 300)) == Verdict::Pass);
        assert!(offer(&mut deferred, &seg(700, 10)) == Verdict::Pass);
        assert!(deferred == twice);
        assert!(offer(&mut deferred, &seg(600, 399)) == Verdict::Defer);
        assert!(offer(&mut deferred, &seg(999, 1)) == Verdict::HighWater);
        deferred.clear();
        assert!(!deferred.any());
        assert!(offer(&mut deferred, &seg(0, 1000)) == Verdict::HighWater);
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
            assert!(offer(&mut Deferred::default(), &other) == Verdict::Pass);
        }
        let busy = Deferred::default().offer(&RULE, &conn(), &s, &VIEW, false, 50);
        assert!(busy == Verdict::Pass);
        let off = Rule {
            request_ms: 0,
            ..RULE
        };
        let never = Deferred::default().offer(&off, &conn(), &s, &VIEW, true, 50);
        assert!(never == Verdict::Pass);
    }

    #[test]
    fn a_reader_has_the_next_payload() {
        let mut deferred = Deferred::default();
        deferred.reader_comes();
        assert!(offer(&mut deferred, &seg(0, 0)) == Verdict::Pass);
        assert!(offer(&mut deferred, &seg(0, 300)) == Verdict::Pass);
        assert!(offer(&mut deferred, &seg(0, 300)) == Verdict::Ask);
    }

    #[test]
    fn a_small_window_and_many_frames() {
        let mut small = conn();
        small.rcv_wnd = 400;
        let mut deferred = Deferred::default();
        let first = deferred.offer(&RULE, &small, &seg(0, 199), &VIEW, true, 50);
        assert!(first == Verdict::Ask);
        let next = deferred.offer(&RULE, &small, &seg(199, 1), &VIEW, true, 50);
        assert!(next == Verdict::HighWater);

        let mut deferred = Deferred::default();
        for i in 0..MAX_FRAMES - 1 {
            assert!(matches!(
                offer(&mut deferred, &seg(i, 1)),
                Verdict::Ask | Verdict::Defer
            ));
        }
        assert!(offer(&mut deferred, &seg(MAX_FRAMES - 1, 1)) == Verdict::HighWater);
    }

    #[test]
    fn one_timer() {
        let mut deferred = Deferred::default();
        assert!(offer(&mut deferred, &seg(0, 1)) == Verdict::Ask && deferred.unarmed());
        deferred.arm();
        deferred.clear();
        // Later ones wait for their own time.
        let next = deferred.offer(&RULE, &conn(), &seg(0, 1), &VIEW, true, 55);
        assert!(next == Verdict::Ask && !deferred.unarmed());
        assert!(deferred.expired(60) == Some(65) && !deferred.unarmed());
        deferred.expire_now();
        assert!(deferred.expired(60).is_none() && deferred.unarmed());
    }
}
