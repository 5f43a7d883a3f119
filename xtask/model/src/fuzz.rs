// SPDX-License-Identifier: GPL-2.0

//! The entries of the fuzz targets, which `cargo test` runs with random bytes too:
//! whatever comes from the wire, the parser and the receive engine give a
//! result, keep their invariants, and change nothing on a special case. After one
//! a host of a few lines works, whatever it transmits, until the target goes on.

use crate::logic::{
    conn::{ConnCached, ConnConst, ConnData, ConnDelegated},
    expect::Expected,
    legacy::{HostState, Legacy, Verdict},
    policy::Limits,
    reason::SpecialCase,
    receive::{receive, HostView},
    rules::{self, describe::describe, parser, Cgroup, MatchKey, Node, Rule},
    seq::Seq,
    template::{HeaderTemplate, TemplateParams, TxFields, MAX_LEN},
    tuple::Tuple,
    wire::{self, Segment},
};

/// Takes fields off the front of the input; zeros when it is used up.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

fn connection(b: &mut Bytes<'_>) -> ConnData {
    let snd_una = Seq(b.u32());
    let rcv_nxt = Seq(b.u32());
    let unread = u32::from(b.u16());
    ConnData {
        constant: ConnConst {
            snd_wscale: b.u8(),
            rcv_wscale: b.u8(),
            ts_ok: b.u8() & 1 != 0,
        },
        cached: ConnCached {
            mss: u32::from(b.u16()),
            ..ConnCached::default()
        },
        delegated: ConnDelegated {
            snd_una,
            snd_nxt: snd_una.add(u32::from(b.u16())),
            snd_wnd: b.u32() & 0x3fff_ffff,
            snd_wl1: rcv_nxt.sub(u32::from(b.u8())),
            rcv_nxt,
            rcv_wup: rcv_nxt.sub(unread),
            rcv_wnd: b.u32() & 0x3fff_ffff,
            ts_recent: b.u32(),
            packets_out: u32::from(b.u16()),
            ..ConnDelegated::default()
        },
    }
}

/// A frame that is close to one the engine finishes, with a few bytes changed.
fn nearly_good(b: &mut Bytes<'_>, c: &ConnData) -> Vec<u8> {
    let tuple = if b.u8() & 1 == 0 {
        Tuple::v4([10, 0, 0, 2], 80, [10, 0, 0, 1], 4000)
    } else {
        Tuple::v6([2; 16], 80, [1; 16], 4000)
    };
    let tags = [b.u8(), b.u8()];
    let template = HeaderTemplate::new(&TemplateParams {
        tuple,
        ts_ok: c.constant.ts_ok,
        ..TemplateParams::default()
    });
    let payload = usize::from(b.u8());
    let fields = TxFields {
        seq: c
            .rcv_nxt
            .add(u32::from(b.u8() & 3))
            .sub(u32::from(b.u8() & 3)),
        ack: c.snd_una.add(u32::from(b.u16())),
        flags: 16 | u16::from(b.u8() & 8),
        window: b.u16(),
        tsval: c.ts_recent.wrapping_add(u32::from(b.u8())),
        payload_len: payload as u32,
        ..TxFields::default()
    };
    let mut frame = vec![0; MAX_LEN + payload];
    template.write(&mut frame, &fields).expect("fits");
    frame.truncate(template.len() + payload);
    for tag in tags {
        // One in four frames has one, and one in four of those two.
        if tag & 3 == 3 {
            frame.splice(12..12, [0x81, 0, 0, tag >> 2]);
        }
    }
    for _ in 0..b.u8() & 3 {
        let at = usize::from(b.u8()) % frame.len();
        frame[at] ^= b.u8();
    }
    frame
}

/// A prediction for the frame's own connection: what it takes, it parses as the
/// parser does.
fn check_expected(s: &Segment, frame: &[u8], frame_len: u32) {
    let Some(mac) = frame.first_chunk::<6>() else {
        return;
    };
    let mut fast = Segment::default();
    if Expected::new(mac, &s.tuple).parse(frame, frame_len, &mut fast) {
        fast.tuple = s.tuple;
        assert_eq!(fast, *s);
    }
}

fn check_segment(s: &Segment, frame: &[u8], frame_len: u32) {
    assert!(usize::from(s.data_off) <= frame.len());
    assert!(u32::from(s.data_off) + s.payload <= frame_len);
    assert!(u32::from(s.l4_off) + 20 <= u32::from(s.data_off));
    assert!(s.flags < 512 && s.ip_ecn < 4 && s.dscp < 64);
}

/// What the engine makes of a segment; `false`: a special case.
fn check_receive(c: &mut ConnData, s: &Segment, view: &HostView) -> bool {
    let before = *c;
    match receive(c, s, view) {
        Err(case) => {
            assert_eq!(*c, before, "{case:?}");
            false
        }
        Ok(action) => {
            assert_eq!(action.payload, s.payload);
            assert_eq!(c.rcv_nxt, before.rcv_nxt.add(action.payload));
            assert_eq!(c.snd_una, before.snd_una.add(action.acked));
            assert!(action.acked <= before.snd_nxt.dist_from(before.snd_una));
            assert!(action.payload <= before.receive_window());
            assert_eq!(c.snd_nxt, before.snd_nxt);
            assert!(!Seq(c.ts_recent).before(Seq(before.ts_recent)));
            assert!(!action.window_changed || c.snd_wnd != 0);
            assert!(c.packets_out <= before.packets_out);
            assert!(view.ooo_empty || action.payload == 0);
            assert!(view.within_limit || action.predicted || action.payload == 0);
            assert!(!action.predicted || !action.window_changed);
            true
        }
    }
}

/// The target's side of a stay in legacy mode.
struct Stay {
    legacy: Legacy,
    entry: ConnData,
}

/// Legacy mode: the host takes what is in order, and transmits or not, with any
/// window and an ACK number that may be an old one. `true`: the target goes on.
fn check_legacy(stay: &mut Stay, c: &mut ConnData, s: &Segment, b: &mut Bytes<'_>) -> bool {
    let before = stay.entry;
    if s.seq == c.rcv_nxt && s.payload <= c.receive_window() {
        c.rcv_nxt = c.rcv_nxt.add(s.payload);
    }
    let what = b.u8();
    if what & 1 == 0 {
        stay.legacy.received(&mut stay.entry, c.rcv_nxt);
    }
    if what & 2 == 0 {
        c.snd_nxt = c.snd_nxt.add(u32::from(what >> 6));
        let ack = match what & 4 {
            0 => c.rcv_nxt,
            _ => c.rcv_nxt.sub(u32::from(b.u8())),
        };
        stay.legacy
            .transmitted(&mut stay.entry, c.snd_nxt, ack, b.u16());
    }
    let e = &stay.entry;
    assert!(e.rcv_nxt.between(before.rcv_nxt, c.rcv_nxt));
    assert!(e.snd_nxt.between(before.snd_nxt, c.snd_nxt));
    assert!(e.rcv_wup.between(before.rcv_wup, e.rcv_nxt));
    let host = HostState {
        rcv_nxt: c.rcv_nxt,
        open: what & 8 == 0,
        recovery: what & 0x30 == 0x30,
        ..HostState::default()
    };
    match stay.legacy.verdict(e, &host, u64::from(what)) {
        Verdict::Resync => {
            assert!(host.clean());
            assert_eq!((e.rcv_nxt, e.rcv_wup), (c.rcv_nxt, c.rcv_nxt));
            // The host's state is loaded; its window is as it said.
            c.rcv_wup = e.rcv_wup;
            c.rcv_wnd = e.rcv_wnd;
            true
        }
        Verdict::Upload(_) => panic!("long before the time"),
        Verdict::Wait => false,
    }
}

/// Runs one input: a connection, then frames for it.
pub fn run(data: &[u8]) {
    let mut b = Bytes(data);
    let mut c = connection(&mut b);
    let mut stay: Option<Stay> = None;
    while !b.0.is_empty() {
        let kind = b.u8();
        let frame = if kind & 1 == 0 {
            let len = usize::from(b.u8());
            b.take(len).to_vec()
        } else {
            nearly_good(&mut b, &c)
        };
        // The frame may be longer than its linear part.
        let more = if kind & 2 == 0 {
            0
        } else {
            u32::from(b.u16()) * 4
        };
        let frame_len = frame.len() as u32 + more;
        let view = HostView {
            reserved: !matches!(kind & 0x1c, 4 | 16),
            within_limit: !matches!(kind & 0x1c, 4 | 24),
            predicting: kind & 0x20 == 0,
            host_first: (kind & 0x1c == 20).then_some(SpecialCase::Urg),
            ooo_empty: kind & 0x1c != 8,
            now_secs: i64::from(kind),
            sack_or_loss: kind & 0x1c == 12,
        };
        let Ok(s) = wire::parse(&frame, frame_len) else {
            continue;
        };
        check_segment(&s, &frame, frame_len);
        check_expected(&s, &frame, frame_len);
        if stay.is_none() && !check_receive(&mut c, &s, &view) {
            stay = Some(Stay {
                legacy: Legacy::new(0, &Limits::default()),
                entry: c,
            });
        }
        if stay
            .as_mut()
            .is_some_and(|stay| check_legacy(stay, &mut c, &s, &mut b))
        {
            stay = None;
        }
    }
}

/// Rules and descriptions of connections, whatever they say: no text makes the parser
/// or a program leave its bounds, and an error points into the text.
pub fn rules(data: &[u8]) {
    let _ = parser::is_complete(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut find = |path: &str| match path.len() {
        n if n % 2 == 0 => Ok(Cgroup::default()),
        _ => Err("no such cgroup"),
    };
    let key = describe(text, MatchKey::default(), &mut find);
    let mut nodes = [Node::EMPTY; 64];
    let mut list = [Rule::default(); 8];
    let places = |line: u32, column: u32| {
        let lines: Vec<_> = text.split('\n').collect();
        let at = lines.get(line as usize - 1).expect("a line of the text");
        assert!(column as usize <= at.chars().count() + 1, "column {column}");
    };
    if let Err(e) = &key {
        places(e.line, e.column);
    }
    match parser::parse(text, &mut nodes, &mut list, &mut find) {
        Ok(parsed) => {
            let verdict = rules::evaluate(
                nodes
                    .get(..parsed.nodes)
                    .expect("no more nodes than there are"),
                &key.unwrap_or_default(),
            );
            if let Some(rule) = verdict.rule {
                assert!(usize::from(rule) < parsed.rules);
            }
        }
        Err(e) => {
            places(e.line, e.column);
            assert!(e.to_string().len() < 160);
        }
    }
}
