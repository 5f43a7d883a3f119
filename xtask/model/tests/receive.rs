// SPDX-License-Identifier: GPL-2.0

//! The classifier of received segments, and legacy mode, each against a
//! reference of a few lines that counts in wide integers.

use proptest::prelude::*;
use toe_model::logic::{
    conn::{ConnConst, ConnData, ConnDelegated},
    legacy::{Budget, HostState, Legacy, Verdict},
    policy::Limits,
    reason::{SpecialCase, UploadReason},
    receive::{receive, HostView},
    seq::Seq,
    wire::{flags, OptKind, Segment},
};

/// A connection and a segment for it, as distances from where they begin.
#[derive(Clone, Copy, Debug)]
struct Case {
    snd_base: u32,
    rcv_base: u32,
    flight: i64,
    snd_wnd: i64,
    scale: u8,
    /// How far `rcv_nxt` is beyond `snd_wl1`, less than 0 if an ACK overtook lost
    /// data, and beyond `rcv_wup`.
    since_update: i64,
    unacknowledged: i64,
    rcv_wnd: i64,
    ts_ok: bool,
    ts_recent: u32,

    seq: i64,
    ack: i64,
    flags: u16,
    window: u16,
    payload: i64,
    opts: OptKind,
    ts: i64,
    ecn: u8,

    view: HostView,
}

/// Mostly zero or next to it.
fn near(range: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0i64), 3 => -1i64..2, 2 => range]
}

fn mostly<T: Clone + std::fmt::Debug + 'static>(
    usual: T,
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![7 => Just(usual), 1 => other]
}

fn any_case() -> impl Strategy<Value = Case> {
    let connection = (
        any::<(u32, u32, u32)>(),
        prop_oneof![Just(0i64), 1i64..3000],
        prop_oneof![Just(0i64), 0i64..5000],
        0u8..5,
        prop_oneof![Just(0i64), -50i64..100],
        prop_oneof![Just(0i64), 1i64..2000],
        prop_oneof![Just(0i64), 1i64..4000],
        any::<bool>(),
    );
    let segment = (
        near(-3000..6000),
        prop_oneof![Just(0i64), -5i64..3005],
        mostly(flags::ACK, 0u16..512),
        near(-300..300),
        prop_oneof![Just(0i64), 1i64..3, 1i64..5000],
        mostly(
            None,
            prop_oneof![
                Just(OptKind::None),
                Just(OptKind::Timestamp),
                Just(OptKind::Sack),
                Just(OptKind::Other),
            ]
            .prop_map(Some),
        ),
        near(-1000..1000),
        mostly(0u8, 0u8..4),
    );
    let view = (
        mostly((true, true), any::<(bool, bool)>()),
        mostly(true, any::<bool>()),
        mostly(false, any::<bool>()),
    );
    (connection, segment, view).prop_map(|(c, s, v)| {
        let ((snd_base, rcv_base, ts_recent), flight, snd_wnd, scale, since_update, un, wnd, ts_ok) =
            c;
        let (seq, ack, flags, window, payload, opts, ts, ecn) = s;
        let usual = match ts_ok {
            true => OptKind::Timestamp,
            false => OptKind::None,
        };
        Case {
            snd_base,
            rcv_base,
            flight,
            snd_wnd,
            scale,
            since_update,
            unacknowledged: un,
            rcv_wnd: wnd,
            ts_ok,
            ts_recent,
            seq,
            // All of the flight as often as some of it.
            ack: if ack > flight + 5 { flight } else { ack },
            flags,
            window: ((snd_wnd >> scale) + window).clamp(0, 65_535) as u16,
            payload,
            opts: opts.unwrap_or(usual),
            ts,
            ecn,
            view: HostView {
                reserved: v.0 .0,
                within_limit: v.0 .1,
                predicting: true,
                host_first: None,
                ooo_empty: v.1,
                now_secs: 5,
                sack_or_loss: v.2,
            },
        }
    })
}

impl Case {
    fn connection(&self) -> ConnData {
        let rcv_nxt = Seq(self.rcv_base);
        ConnData {
            constant: ConnConst {
                snd_wscale: self.scale,
                ts_ok: self.ts_ok,
                ..ConnConst::default()
            },
            delegated: ConnDelegated {
                snd_una: Seq(self.snd_base),
                snd_nxt: Seq(self.snd_base).add(self.flight as u32),
                snd_wnd: self.snd_wnd as u32,
                snd_wl1: rcv_nxt.sub(self.since_update as u32),
                max_window: 1000,
                rcv_nxt,
                rcv_wup: rcv_nxt.sub(self.unacknowledged as u32),
                rcv_wnd: self.rcv_wnd as u32,
                ts_recent: self.ts_recent,
                packets_out: 3,
                bytes_acked: 7,
                bytes_received: 8,
                ..ConnDelegated::default()
            },
            ..ConnData::default()
        }
    }

    fn segment(&self) -> Segment {
        let tsval = self.ts_recent.wrapping_add(self.ts as u32);
        Segment {
            seq: Seq(self.rcv_base).add(self.seq as u32),
            ack: Seq(self.snd_base).add(self.ack as u32),
            flags: self.flags,
            window: self.window,
            payload: self.payload as u32,
            opts: self.opts,
            ts: (self.opts == OptKind::Timestamp).then_some((tsval, 1)),
            ip_ecn: self.ecn,
            ..Segment::default()
        }
    }

    fn new_window(&self) -> i64 {
        i64::from(self.window) << self.scale
    }

    fn updates_window(&self) -> bool {
        let seq = self.seq + self.since_update;
        let wnd = self.new_window();
        self.ack > 0 || seq > 0 || (seq == 0 && (wnd > self.snd_wnd || wnd == 0))
    }

    /// Each case that the segment is, one rule for each, in no order.
    fn all(&self) -> Vec<SpecialCase> {
        use SpecialCase as S;
        let has = |f| self.flags & f != 0;
        let room = (self.rcv_wnd - self.unacknowledged).max(0);
        let data = self.payload > 0;
        let probe = room == 0 && ((!data && self.seq == -1) || (data && self.seq == 0));
        let shrunk = (self.snd_wnd - self.ack - self.new_window()) >> self.scale > 0;
        let rules = [
            (S::Rst, has(flags::RST)),
            (S::Syn, has(flags::SYN)),
            (S::Fin, has(flags::FIN)),
            (S::Urg, has(flags::URG)),
            (S::BadHeader, !has(flags::ACK)),
            (
                S::Ecn,
                has(flags::ECE | flags::CWR | flags::AE) || self.ecn != 0,
            ),
            (S::NoTimestamp, self.ts_ok && self.opts == OptKind::None),
            (
                S::BadOption,
                self.opts == OptKind::Other || (!self.ts_ok && self.opts == OptKind::Timestamp),
            ),
            (
                S::Sack,
                self.opts == OptKind::Sack || self.view.sack_or_loss,
            ),
            (
                S::Paws,
                self.ts_ok && self.opts == OptKind::Timestamp && self.ts < 0,
            ),
            (S::WindowProbe, probe),
            (S::OldSequence, self.seq < 0 && !probe),
            (
                S::OutOfOrder,
                (1..=room).contains(&self.seq) || (data && !self.view.ooo_empty),
            ),
            (
                S::BeyondWindow,
                self.seq > room || (self.seq == 0 && self.payload > room && !probe),
            ),
            (
                S::NoMemory,
                data && !self.view.within_limit
                    && (!self.view.reserved || self.new_window() != self.snd_wnd),
            ),
            (S::AckOutside, !(0..=self.flight).contains(&self.ack)),
            (
                S::ZeroWindow,
                self.updates_window() && shrunk && self.window == 0,
            ),
            (
                S::WindowShrunk,
                self.updates_window() && shrunk && self.window != 0,
            ),
            (
                S::DupAck,
                !self.updates_window() && !data && self.ack == 0 && self.flight > 0,
            ),
        ];
        rules
            .iter()
            .filter(|(_, is)| *is)
            .map(|(s, _)| *s)
            .collect()
    }

    /// What a finished segment makes of the connection.
    fn finished(&self) -> ConnData {
        let mut c = self.connection();
        c.rcv_nxt = c.rcv_nxt.add(self.payload as u32);
        c.snd_una = c.snd_una.add(self.ack as u32);
        c.bytes_received += self.payload as u64;
        c.bytes_acked += self.ack as u64;
        if self.ts_ok && self.unacknowledged == 0 {
            c.ts_recent = c.ts_recent.wrapping_add(self.ts as u32);
            c.ts_recent_stamp = 5;
        }
        if self.updates_window() {
            c.snd_wl1 = Seq(self.rcv_base);
            c.snd_wnd = self.new_window() as u32;
            c.max_window = c.max_window.max(c.snd_wnd);
        }
        if self.ack == self.flight {
            c.packets_out = 0;
        }
        c
    }
}

/// What happens to a connection in legacy mode.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The host finished a frame from a legacy buffer, with so many new bytes.
    Received(u32),
    /// The host took so many bytes that came another way.
    Stray(u32),
    /// The host transmits, with so many new bytes: the ACK number is what it
    /// expects, less that distance.
    Transmits {
        bytes: u32,
        behind: u32,
        window: u16,
    },
    /// What else there is of the host's state.
    Host(HostState),
    Passes(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let bytes = || prop_oneof![Just(0u32), 1u32..3000];
    // Clean, or one thing is not.
    let dirt = (0u8..10).prop_map(|what| HostState {
        rcv_nxt: Seq(0),
        open: what != 0,
        out_of_order: what == 1,
        sack_owed: what == 2,
        recovery: what == 3,
        urgent: what == 4,
        probing: what == 5,
    });
    prop_oneof![
        3 => bytes().prop_map(Event::Received),
        1 => bytes().prop_map(Event::Stray),
        4 => (bytes(), mostly(0u32, 0u32..5000), any::<u16>())
            .prop_map(|(bytes, behind, window)| Event::Transmits { bytes, behind, window }),
        2 => dirt.prop_map(Event::Host),
        1 => (0u64..60).prop_map(Event::Passes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    /// A segment is finished, or it is one special case that it really is; and
    /// then nothing has changed.
    #[test]
    fn each_segment_is_finished_or_one_special_case(case in any_case()) {
        let all = case.all();
        let mut c = case.connection();
        match receive(&mut c, &case.segment(), &case.view) {
            Ok(action) => {
                prop_assert!(all.is_empty(), "finished, but {:?}", all);
                prop_assert_eq!(c, case.finished());
                prop_assert_eq!(i64::from(action.payload), case.payload);
                prop_assert_eq!(i64::from(action.acked), case.ack);
                prop_assert_eq!(action.window_changed, c.snd_wnd != case.snd_wnd as u32);
            }
            Err(special) => {
                prop_assert!(all.contains(&special), "{:?}, but it is {:?}", special, all);
                prop_assert_eq!(c, case.connection());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn legacy_mode_follows_the_host(
        (snd, rcv) in any::<(u32, u32)>(),
        (unacknowledged, scale, legacy_max_ms) in (0u32..3000, 0u8..15, 1u32..200),
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let limits = Limits { legacy_max_ms, ..Limits::default() };
        let mut entry = ConnData { constant: ConnConst { rcv_wscale: scale, ..ConnConst::default() }, delegated: ConnDelegated { snd_nxt: Seq(snd), rcv_nxt: Seq(rcv), rcv_wup: Seq(rcv).sub(unacknowledged), rcv_wnd: 1234, ..ConnDelegated::default() }, ..ConnData::default() };
        let at_start = entry;
        let mut now = 1_000_000;
        let until = now + u64::from(legacy_max_ms);
        let mut legacy = Legacy::new(now, &limits);
        let mut host = HostState { open: true, ..HostState::default() };

        // Distances from `rcv` and `snd`: what the host expects; what the target
        // was told of; the highest ACK number it saw, and the window with it.
        let (mut expects, mut told, mut acked) = (0i64, 0i64, -i64::from(unacknowledged));
        let (mut window, mut sent) = (entry.rcv_wnd, 0u32);
        let (mut rx, mut tx) = (0, 0);
        for event in events {
            match event {
                Event::Received(bytes) => {
                    expects += i64::from(bytes);
                    told = expects;
                    rx += 1;
                    legacy.received(&mut entry, Seq(rcv).add(expects as u32));
                }
                Event::Stray(bytes) => expects += i64::from(bytes),
                Event::Transmits { bytes, behind, window: field } => {
                    let ack = expects - i64::from(behind);
                    let end = Seq(snd).add(sent).add(bytes);
                    tx += 1;
                    sent += bytes;
                    if ack >= acked {
                        acked = ack;
                        told = told.max(ack);
                        window = u32::from(field) << scale.min(14);
                    }
                    legacy.transmitted(&mut entry, end, Seq(rcv).add(ack as u32), field);
                }
                Event::Host(state) => host = state,
                Event::Passes(ms) => now += ms,
            }
            host.rcv_nxt = Seq(rcv).add(expects as u32);

            let mut wanted = at_start;
            wanted.snd_nxt = Seq(snd).add(sent);
            wanted.rcv_nxt = Seq(rcv).add(told as u32);
            wanted.rcv_wup = Seq(rcv).add(acked as u32);
            wanted.rcv_wnd = window;
            prop_assert_eq!(entry, wanted);
            prop_assert_eq!((legacy.rx_frames, legacy.tx_frames), (rx, tx));
            let dirty = !host.open || host.out_of_order || host.sack_owed
                || host.recovery || host.urgent || host.probing;
            let verdict = match () {
                // Only now is the sequence number in the entry the host's.
                () if acked == expects && !dirty => Verdict::Resync,
                () if now >= until => Verdict::Upload(UploadReason::LegacyLong),
                () => Verdict::Wait,
            };
            prop_assert_eq!(legacy.verdict(&entry, &host, now), verdict);
        }

        // Whatever there was, a host that is through and says so ends it.
        let done = HostState {
            rcv_nxt: Seq(rcv).add(expects as u32),
            open: true,
            ..HostState::default()
        };
        legacy.transmitted(&mut entry, Seq(snd), done.rcv_nxt, 9);
        prop_assert_eq!(legacy.verdict(&entry, &done, until), Verdict::Resync);
        prop_assert_eq!((entry.rcv_nxt, entry.rcv_wup), (done.rcv_nxt, done.rcv_nxt));
    }

    /// No more falls than the limit in a window, twice that where two windows
    /// meet, and none refused that is within it.
    #[test]
    fn falls_are_limited(
        legacy_falls in 0u32..6,
        legacy_window_ms in 1u32..100,
        gaps in prop::collection::vec(prop_oneof![4 => 0u64..10, 1 => 0u64..300], 1..100),
        start in 0u64..10_000,
    ) {
        let limits = Limits { legacy_falls, legacy_window_ms, ..Limits::default() };
        let window = u64::from(legacy_window_ms);
        let mut budget = Budget::default();
        let mut allowed: Vec<u64> = Vec::new();
        let mut now = start;
        for gap in gaps {
            now += gap;
            let lately = allowed.iter().filter(|at| **at + window > now).count();
            match budget.fall(now, &limits) {
                Ok(()) => {
                    allowed.push(now);
                    prop_assert!(lately < 2 * legacy_falls as usize);
                }
                Err(reason) => {
                    prop_assert_eq!(reason, UploadReason::LegacyOften);
                    prop_assert!(lately >= legacy_falls as usize);
                }
            }
        }
        prop_assert_eq!(budget.fall(now + window, &limits).is_ok(), legacy_falls > 0);
    }
}
