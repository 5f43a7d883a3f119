// SPDX-License-Identifier: GPL-2.0

//! The simulator: a connection that flips between host stack, target and legacy
//! mode, over a bad wire, against another TCP. The byte stream is equal, always.
//!
//! A run is a pure function of its seed. A failing run prints it; repeat it
//! with `TOE_SEED=N cargo test --test simulator`. `TOE_SEEDS=N` sets how many
//! seeds each test tries.

mod craft;
mod endpoint;
mod host;
mod inject;
mod kinds;
mod legacy;
mod link;
mod peer;

use endpoint::{Config, Endpoint, Stats};
use inject::Injection;
use legacy::End;
use link::{Faults, Link, Rng, Time};
use peer::{Ours, Peer, Smol};
use toe_model::logic::{
    policy::Limits,
    reason::{SpecialCase, UploadReason},
    state::Mode,
    tuple::Tuple,
};

/// Virtual time after which a connection counts as stuck.
const DEADLINE: Time = 900 * 1_000_000;

/// The stream of one direction: what byte is at an offset.
fn pattern(seed: u64, offset: u64) -> u8 {
    let x = (offset / 7 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 40) as u8 ^ offset as u8
}

/// One direction's application data: written, and checked when read.
struct Stream {
    seed: u64,
    len: u64,
    written: u64,
    read: u64,
    closed: bool,
}

impl Stream {
    fn new(seed: u64, len: u64) -> Self {
        Self {
            seed,
            len,
            written: 0,
            read: 0,
            closed: false,
        }
    }

    fn byte(&self, offset: u64) -> u8 {
        pattern(self.seed, offset)
    }

    fn next(&self, max: u64) -> Vec<u8> {
        let end = self.len.min(self.written + max);
        (self.written..end).map(|i| pattern(self.seed, i)).collect()
    }

    fn check(&mut self, data: &[u8]) -> Result<(), String> {
        for byte in data {
            if *byte != pattern(self.seed, self.read) {
                return Err(format!("wrong byte at offset {}", self.read));
            }
            self.read += 1;
        }
        if self.read > self.len {
            return Err(format!("{} bytes too many", self.read - self.len));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.read == self.len
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Other {
    Smoltcp,
    Engine,
}

struct Outcome {
    stats: Stats,
    ends: Vec<End>,
    peer: Option<Stats>,
}

/// `None`: a third of the runs each perfect, bad, awful.
fn faults(rng: &mut Rng, bad: Option<bool>) -> Faults {
    let scale = match bad {
        None => rng.range(0, 2) * rng.range(1, 10),
        Some(bad) => u64::from(bad) * rng.range(1, 10),
    };
    Faults {
        loss: 2 * scale,
        duplicate: scale,
        reorder: 2 * scale,
        corrupt: scale,
        delay: {
            let lo = rng.range(20, 3000);
            (lo, lo + rng.range(1, 2000))
        },
    }
}

/// Generous limits as a rule, and now and then such that an entry is given up.
fn limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    match rng.range(0, 5) {
        0 => limits.legacy_falls = 0,
        1 => limits.legacy_falls = rng.range(1, 4) as u32,
        _ => {}
    }
    if rng.permille(200) {
        limits.legacy_window_ms = rng.range(1, 200) as u32;
    }
    if rng.permille(250) {
        limits.legacy_max_ms = rng.range(1, 40) as u32;
    }
    limits
}

/// A number near the end of the circle as often as not.
fn near_wrap(rng: &mut Rng) -> u32 {
    (rng.next() as u32) | if rng.permille(500) { 0xffff_0000 } else { 0 }
}

fn tuple(v4: bool) -> Tuple {
    if v4 {
        return Tuple::v4([10, 0, 0, 1], 40_000, [10, 0, 0, 2], 80);
    }
    let mut local = [0; 16];
    (local[0], local[15]) = (0xfd, 1);
    let mut remote = local;
    remote[15] = 2;
    Tuple::v6(local, 40_000, remote, 80)
}

fn config(rng: &mut Rng, plant: Option<u64>) -> Config {
    let tuple = tuple(rng.permille(500));
    Config {
        tuple,
        ts_ok: rng.permille(500),
        rcv_wscale: rng.range(0, 7) as u8,
        mss: rng.range(400, 1400) as u32,
        rcvbuf: rng.range(4000, 60_000) as u32,
        nonagle: rng.range(0, 1) as u8,
        gso_max_segs: rng.range(1, 44) as u32,
        isn: near_wrap(rng),
        no_memory: rng.range(0, 1) * 5,
        limits: limits(rng),
        plant,
    }
}

fn run(seed: u64, other: Other, plant: Option<u64>) -> Result<Outcome, String> {
    simulate(seed, other, plant, None)
}

fn simulate(
    seed: u64,
    other: Other,
    plant: Option<u64>,
    mut inject: Option<&mut Injection>,
) -> Result<Outcome, String> {
    let mut rng = Rng::new(seed);
    let mut cfg = config(&mut rng, plant);
    // Nobody takes the connection back in some runs, so that stays in legacy mode
    // come to their own end.
    let there_odds = rng.range(5, 300);
    let mut flip = (
        there_odds,
        there_odds / [1, 20, 1000][rng.range(0, 2) as usize],
    );
    let mut hasty = rng.range(0, 1) * 10;
    let bad = inject.as_ref().map(|i| i.bad_wire);
    let mut there = Link::new(rng.next(), faults(&mut rng, bad));
    let mut back = Link::new(rng.next(), faults(&mut rng, bad));
    let mut up = Stream::new(rng.next() >> 8, rng.range(0, 600_000));
    let mut down = Stream::new(rng.next() >> 8, rng.range(0, 600_000));
    let mut peer_isn = near_wrap(&mut rng);
    if let Some(inject) = &inject {
        (up.len, down.len) = (inject::UP_LEN, inject::DOWN_LEN);
        flip = (1000, 0);
        hasty = 0;
        peer_isn = inject.peer_isn();
        inject.configure(&mut cfg);
    }
    let mut a = Endpoint::new(cfg.clone(), rng.next());
    let mut b: Box<dyn Peer> = match other {
        Other::Smoltcp => {
            // smoltcp drops what it makes too long: options on a full segment.
            let mtu = rng.range(u64::from(cfg.mss) + 80, 1500) as usize;
            let buffer = rng.range(3000, 100_000) as usize;
            Box::new(Smol::new(
                &cfg.tuple, mtu, cfg.ts_ok, buffer, peer_isn, &mut rng,
            ))
        }
        Other::Engine => {
            let theirs = Config {
                tuple: cfg.tuple.reversed(),
                plant: None,
                ts_ok: cfg.ts_ok,
                ..config(&mut rng, None)
            };
            let mut b = Endpoint::new(theirs.clone(), rng.next());
            b.establish(cfg.isn, cfg.rcv_wscale, cfg.rcvbuf);
            a.establish(theirs.isn, theirs.rcv_wscale, theirs.rcvbuf);
            Box::new(Ours(b))
        }
    };

    let mut now: Time = 0;
    let mut app_at: Time = 0;
    let mut slow_until: Time = 0;
    loop {
        // The applications: writes and reads of any size; pauses of reading
        // that close the window.
        let held = inject.as_ref().is_some_and(|i| !i.is_over(&a));
        if app_at <= now {
            app_at = now + rng.range(100, 4000);
            if rng.permille(3) {
                slow_until = now + rng.range(1000, 300_000);
            }
            let a_ready = a.phase == endpoint::Phase::Established;
            if a_ready && a.tx.len() < 40_000 && up.written < up.len {
                // What is injected early shall find a stream to go on with.
                let most = if held { 600 } else { 12_000 };
                let data = up.next(rng.range(1, most));
                a.write(&data);
                up.written += data.len() as u64;
            }
            let data = down.next(rng.range(1, 12_000));
            if !data.is_empty() {
                down.written += b.write(&data) as u64;
            }
            // Mostly close when all is through, at times with data on its way.
            let through = up.written == up.len && down.written == down.len;
            let through = through && up.read + 5000 > up.len && down.read + 5000 > down.len;
            let odds = if through { 200 } else { hasty } * u64::from(!held);
            if a_ready && up.written == up.len && !up.closed && rng.permille(odds) {
                up.closed = true;
                a.close();
            }
            if a_ready && down.written == down.len && !down.closed && rng.permille(odds) {
                down.closed = b.close();
            }
            if slow_until <= now {
                up.check(&b.read(rng.range(1, 20_000) as usize))?;
                let most = rng.range(1, 20_000) as usize;
                if !inject.as_ref().is_some_and(|i| i.holds_reading(&a)) {
                    down.check(&a.read(most))?;
                }
            }
        }

        while let Some(frame) = there.arrive(now) {
            b.input(now, &frame);
        }
        for frame in b.poll(now) {
            back.send(now, frame);
        }
        while let Some(frame) = back.arrive(now) {
            if let Some(inject) = &mut inject {
                inject.before(now, &mut a, &frame, &down)?;
            }
            a.input(now, &frame);
            a.flip(flip);
        }
        a.tick(now);
        a.flip(flip);
        b.flip(flip);
        a.output(now);
        for frame in std::mem::take(&mut a.out) {
            there.send(now, frame);
        }

        if (a.host.reset || b.failed()) && !a.host.peer_fin {
            return Err("the connection was reset".into());
        }
        if up.done() && down.done() && up.closed && down.closed && a.host.peer_fin {
            break;
        }
        if up.done() && down.done() && inject.as_ref().is_some_and(|i| i.missed()) {
            break;
        }
        if now > DEADLINE {
            return Err(format!(
                "stuck: up {}/{}, down {}/{}, {}, {:?}, {:?}",
                up.read,
                up.len,
                down.read,
                down.len,
                b.state(),
                a.mode,
                a.c
            ));
        }
        let next = [
            there.next_arrival(),
            back.next_arrival(),
            a.next_timer(),
            b.next_timer(now),
            Some(app_at),
        ];
        now = next
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(app_at)
            .max(now + 1);
    }
    if a.mode != Mode::Host && up.closed {
        return Err(format!("closed, but {}", a.mode.name()));
    }
    Ok(Outcome {
        stats: a.stats.clone(),
        ends: a.ends.clone(),
        peer: b.endpoint().map(|b| b.stats.clone()),
    })
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let var = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match var("TOE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..var("TOE_SEEDS").unwrap_or(default),
    }
}

/// Runs many seeds and returns the sum of what was counted.
fn many(other: Other, default: u64) -> Stats {
    let mut total = Stats::default();
    for seed in seeds(default) {
        let result = std::panic::catch_unwind(|| run(seed, other, None));
        let outcome = match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(what)) => panic!("TOE_SEED={seed} {other:?}: {what}"),
            Err(_) => panic!("TOE_SEED={seed} {other:?}: see the panic above"),
        };
        for stats in [Some(outcome.stats), outcome.peer].into_iter().flatten() {
            total.add(&stats);
        }
    }
    print(&format!("{other:?}"), &total);
    total
}

fn print(what: &str, total: &Stats) {
    println!(
        "{what}: {} offloads, {} uploads, {} special cases, {} resyncs",
        total.offloads,
        total.uploads.iter().sum::<u64>(),
        total.specials.iter().sum::<u64>(),
        total.resyncs
    );
    println!(
        "  frames: {} engine, {} host, {} legacy in, {} legacy out; {} bytes by the engine",
        total.engine_frames,
        total.host_frames,
        total.legacy_rx,
        total.legacy_tx,
        total.engine_bytes
    );
    let list = |what: &str, names: &[&str], counts: &[u64]| {
        for (name, n) in names.iter().zip(counts).filter(|(_, n)| **n > 0) {
            println!("  {what} {name}: {n}");
        }
    };
    list("upload", &UploadReason::NAMES, &total.uploads);
    list("special", &SpecialCase::NAMES, &total.specials);
}

/// Returns whether the special cases that a bad wire brings about all occurred, and all
/// the ways out of legacy mode.
fn check_cases(total: &Stats, cases: &[SpecialCase]) {
    for case in cases {
        assert!(total.specials[case.index()] > 0, "{}", case.name());
    }
    for reason in [
        UploadReason::LegacyOften,
        UploadReason::LegacyLong,
        UploadReason::Admin,
        UploadReason::Shutdown,
    ] {
        assert!(total.uploads[reason.index()] > 0, "{}", reason.name());
    }
    assert!(total.resyncs > 3000);
    assert!(total.legacy_rx > total.resyncs / 2);
    assert!(total.legacy_tx > total.resyncs / 2);
}

#[test]
fn against_smoltcp() {
    let total = many(Other::Smoltcp, 400);
    if seeds(400).end > 300 {
        assert!(total.offloads > 5000);
        check_cases(
            &total,
            &[
                SpecialCase::OutOfOrder,
                SpecialCase::OldSequence,
                SpecialCase::AckOutside,
                SpecialCase::DupAck,
                SpecialCase::Sack,
                SpecialCase::Persist,
                SpecialCase::Rto,
                SpecialCase::Fin,
                SpecialCase::BadChecksum,
                SpecialCase::NoMemory,
            ],
        );
    }
}

#[test]
fn both_ends_delegated() {
    let total = many(Other::Engine, 400);
    if seeds(400).end > 300 {
        assert!(total.offloads > 10_000);
        assert!(total.engine_frames > 100_000);
        check_cases(
            &total,
            &[
                SpecialCase::OutOfOrder,
                SpecialCase::OldSequence,
                SpecialCase::AckOutside,
                SpecialCase::DupAck,
                SpecialCase::Persist,
                SpecialCase::Rto,
                SpecialCase::Fin,
                SpecialCase::BadChecksum,
                SpecialCase::NoMemory,
            ],
        );
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let counts = |seed| run(seed, Other::Smoltcp, None).map(|o| o.stats.engine_bytes);
    assert_eq!(counts(7), counts(7));
}

#[test]
fn a_planted_wrong_byte_is_found() {
    let found = (0..20)
        .filter(|seed| run(*seed, Other::Engine, Some(100)).is_err())
        .count();
    assert!(found >= 15);
}
