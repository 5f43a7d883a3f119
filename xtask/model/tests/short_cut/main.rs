// SPDX-License-Identifier: GPL-2.0

//! The same-host short cut: a model of its design, see `short_cut.rs`. Two ends send each other
//! bytes by frames and past the wire, while taps, owners and uploads come and go. The bytes,
//! the numbers, the windows, memory and progress are checked; and that each of the rules is
//! needed.
//!
//! A run is a pure function of its seed, which a failure names. `TOE_SEEDS=N` sets how many
//! seeds are tried.

mod section;
mod short_cut;
mod tcp;
mod world;

use short_cut::{pass, Settled};
use tcp::{Limits, Tcp};
use toe_model::logic::{
    conn::{ConnConst, ConnData, ConnDelegated},
    seq::Seq,
    short_cut::{room, End, Room},
    window::Offer,
};
use world::{Config, Fail, Fault, Outcome, World};

/// How many seeds each test tries.
fn seeds() -> u64 {
    let set = std::env::var("TOE_SEEDS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(1000)
}

fn run(config: Config) -> Result<Outcome, Fail> {
    World::new(config).run()
}

/// Runs that must succeed; the sums of what happened.
fn all(of: impl Fn(u64) -> Config) -> Outcome {
    let mut sum = Outcome::default();
    for seed in 0..seeds() {
        let config = of(seed);
        match run(config) {
            Ok(out) => sum.add(&out),
            Err(why) => panic!("{config:?}: {why}"),
        }
    }
    println!("{sum:?}");
    sum
}

/// In clear weather no timer but the delayed ACK's is needed, and nothing is dropped.
fn assert_clear(sum: &Outcome) {
    assert_eq!(sum.stalls, 0, "timers had to help");
    assert_eq!(sum.no_memory, 0, "payload was dropped for want of memory");
    assert_eq!(sum.too_old, 0, "payload was dropped for its ACK number");
    assert_eq!(sum.out_of_window, 0, "payload was outside of the window");
}

#[test]
fn frames_alone() {
    let sum = all(|seed| Config {
        frames_only: true,
        ..Config::new(seed)
    });
    assert_clear(&sum);
    assert_eq!(sum.bytes, 0);
}

#[test]
fn frames_and_short_cut_alternate() {
    let sum = all(Config::new);
    assert_clear(&sum);
    assert!(sum.passed > 1000 && sum.pulled > 100 && sum.settled > 100 && sum.compared > 100);
    assert!(sum.frames > 1000);
}

#[test]
fn first_stage() {
    let config = |seed| Config {
        first_stage: true,
        ..Config::new(seed)
    };
    assert_clear(&all(config));
    let sum = all(|seed| Config {
        events: false,
        ..config(seed)
    });
    assert_clear(&sum);
    assert!(sum.passed > 500 && sum.bytes > 500_000 && sum.pulled == 0);
    let sum = all(|seed| Config {
        write_first: true,
        ..config(seed)
    });
    assert_clear(&sum);
    all(|seed| Config {
        lossy: true,
        ..config(seed)
    });
}

#[test]
fn nothing_in_the_way() {
    let sum = all(|seed| Config {
        events: false,
        ..Config::new(seed)
    });
    assert_clear(&sum);
    assert!(sum.passed > 1000 && sum.pulled > 100);
}

#[test]
fn frames_are_lost() {
    let sum = all(|seed| Config {
        lossy: true,
        ..Config::new(seed)
    });
    assert!(sum.passed > 1000 && sum.pulled > 100);
    assert_eq!(sum.no_memory, 0);
}

/// Bytes that find no room are in the send queue, and their writer goes on.
#[test]
fn both_ends_write_before_they_read() {
    for frames_only in [true, false] {
        let sum = all(|seed| Config {
            write_first: true,
            frames_only,
            events: seed % 2 == 0,
            ..Config::new(seed)
        });
        assert_clear(&sum);
        assert!(frames_only || sum.passed > 1000);
    }
}

/// Seeds of runs with faults.
const FAULTY: u64 = 2000;

/// Runs with faults: how many of them, up to four, show `symptom`, and the sums of those that
/// come to an end.
fn faulty(faults: &'static [Fault], strict: bool, symptom: &str) -> (u64, Outcome) {
    let (mut found, mut sum) = (0, Outcome::default());
    for seed in 0..FAULTY {
        let config = Config {
            faults,
            strict,
            ..Config::new(seed)
        };
        match run(config) {
            Ok(out) => sum.add(&out),
            Err(why) => found += u64::from(why.contains(symptom)),
        }
        if found == 4 {
            break;
        }
    }
    println!("{faults:?}: {found} times {symptom:?}; {sum:?}");
    (found, sum)
}

#[test]
fn each_rule_is_needed() {
    let unknown = "does not know its window";
    for (fault, symptom) in [
        (Fault::Overtake, "wrong byte"),
        (Fault::NoWindow, "beyond the window"),
        (Fault::EdgeFromSpace, "right edge shrinks"),
        (Fault::StaleWindow, unknown),
        (Fault::NotResumed, "waits for nothing"),
        (Fault::Predicted, unknown),
        (Fault::LargeBuffers, "bytes charged"),
        (Fault::WakesBySpares, "no timer runs"),
        (Fault::ModuleSleep, "no timer runs"),
    ] {
        let (found, _) = faulty(one(fault), true, symptom);
        assert!(found > 0, "{fault:?}");
    }
    let (_, sum) = faulty(one(Fault::OneWay), true, "");
    assert!(sum.too_old > 0 && sum.stalls > 0);
    let (_, sum) = faulty(one(Fault::LargeBuffers), false, "");
    assert!(sum.no_memory > 0 && sum.stalls > 0);
}

/// A list of one fault.
fn one(fault: Fault) -> &'static [Fault] {
    let at = Fault::ALL.iter().position(|f| *f == fault);
    let at = at.expect("it is listed");
    &Fault::ALL[at..=at]
}

/// What stalled the prototype, see `short_cut.rs`.
#[test]
fn why_the_prototype_stalled() {
    const FOR_GOOD: &str = "whatever the timers do";
    // As it was, but for the writer's sleep.
    let (found, _) = faulty(
        &[
            Fault::LargeBuffers,
            Fault::KeptSpares,
            Fault::NoWindow,
            Fault::EdgeFromSpace,
            Fault::SilentReads,
            Fault::Predicted,
            Fault::OneWay,
        ],
        false,
        FOR_GOOD,
    );
    assert!(found > 0);
    // The same without spares: slow, but it goes on.
    let (found, sum) = faulty(
        &[
            Fault::LargeBuffers,
            Fault::NoWindow,
            Fault::EdgeFromSpace,
            Fault::SilentReads,
            Fault::Predicted,
            Fault::OneWay,
        ],
        false,
        FOR_GOOD,
    );
    assert!(found == 0 && sum.stalls > 0);
    // Spares alone.
    let (found, _) = faulty(&[Fault::LargeBuffers, Fault::KeptSpares], false, FOR_GOOD);
    assert!(found > 0);
    // No window update alone.
    let (found, sum) = faulty(&[Fault::SilentReads], false, "");
    assert!(found == 0 && sum.stalls > 0);
}

/// Two ends that know of each other's numbers.
fn pair() -> (ConnData, ConnData) {
    let a = ConnData {
        constant: ConnConst {
            snd_wscale: 4,
            rcv_wscale: 4,
            ..ConnConst::default()
        },
        delegated: ConnDelegated {
            snd_wl1: Seq(5000),
            rcv_nxt: Seq(5000),
            rcv_wup: Seq(5000),
            snd_wnd: 65_536,
            rcv_wnd: 65_536,
            ..ConnDelegated::default()
        },
        ..ConnData::default()
    };
    let mut b = a;
    (b.snd_una, b.snd_nxt, b.snd_wl1) = (Seq(5000), Seq(5000), Seq(0));
    (b.rcv_nxt, b.rcv_wup) = (Seq(0), Seq(0));
    (a, b)
}

#[test]
fn numbers_go_round() {
    let (mut a, mut b) = pair();
    let offer = Offer {
        wnd: 1 << 20,
        field: u16::MAX,
        wanted_zero: false,
    };
    // 8 GiB one way, and the other end still knows what an old segment is.
    for _ in 0..(8 << 12) {
        let room = room(&End::of(&b, b.snd_nxt), 1 << 18, u32::MAX, || offer);
        assert_eq!(room.bytes, 1 << 18);
        let settled = pass(&mut a, &mut b, room);
        assert_eq!(settled, Settled::default());
        assert!(a.snd_nxt == a.snd_una && a.snd_nxt == b.rcv_nxt && b.rcv_nxt == b.rcv_wup);
        assert!(b.snd_wl1 == a.snd_nxt.sub(1 << 18));
        assert!(a.wnd_end().at_or_before(b.rcv_wup.add(b.rcv_wnd)));
    }
    assert!(a.bytes_acked == 8 << 30 && b.bytes_received == 8 << 30);
    assert!(a.snd_wl1 == Seq(5000));
}

#[test]
fn what_is_pending_is_settled() {
    let (mut a, mut b) = pair();
    // 300 bytes have arrived, 200 the other way; nothing is acknowledged.
    a.snd_nxt = a.snd_nxt.add(300);
    b.rcv_nxt = b.rcv_nxt.add(300);
    b.snd_nxt = b.snd_nxt.add(200);
    a.rcv_nxt = a.rcv_nxt.add(200);
    (a.packets_out, b.packets_out) = (3, 2);
    let edges = (a.rcv_wup.add(a.rcv_wnd), b.rcv_wup.add(b.rcv_wnd));
    let room = Room {
        bytes: 50,
        offer: None,
    };
    let settled = pass(&mut a, &mut b, room);
    assert!(settled.from == 300 && settled.to == 200);
    assert!(a.all_acked() && b.all_acked() && a.snd_una == Seq(350));
    assert!(a.packets_out == 0 && b.packets_out == 0);
    assert!(a.bytes_acked == 350 && b.bytes_acked == 200);
    assert!(edges == (a.rcv_wup.add(a.rcv_wnd), b.rcv_wup.add(b.rcv_wnd)));
    assert!(a.wnd_end() == edges.1 && b.wnd_end() == edges.0);
}

/// A window that is written to the sender passes the ACKs on their way. With bytes they are
/// old; without, one that shuts the window is believed.
#[test]
fn an_ack_is_overtaken() {
    for bytes in [0, 100] {
        let limits = Limits {
            rcvbuf: 131_072,
            sndbuf: 131_072,
            mss: 1024,
            cwnd: 100,
        };
        let (a, b) = pair();
        let (mut a, mut b) = (Tcp::new(limits, a), Tcp::new(limits, b));
        let (mut frames, mut acks) = (Vec::new(), Vec::new());
        a.put_unsent(&[0; 65_536]);
        a.send(&mut frames);
        for frame in frames {
            b.input(frame, &mut acks);
        }
        acks.push(b.ack());
        let late = b.ack();
        for ack in acks {
            a.input(ack, &mut Vec::new());
        }
        assert!(a.data.all_acked() && a.data.snd_wnd == 0 && late.window == 0);
        // The reader makes room, and the window is written to the sender.
        b.read(65_536);
        match bytes {
            0 => {
                let update = b.ack();
                a.input(update, &mut Vec::new());
            }
            wanted => {
                let end = End::of(&b.data, b.write_seq);
                let room = room(&end, wanted, u32::MAX, || b.would_offer());
                pass(&mut a.data, &mut b.data, room);
            }
        }
        assert!(a.data.snd_wnd != 0 && a.data.wnd_end() == b.edge());
        a.input(late, &mut Vec::new());
        assert_eq!(a.data.snd_wnd == 0, bytes == 0);
        assert!(b.data.receive_window() != 0);
    }
}
