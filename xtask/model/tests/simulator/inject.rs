// SPDX-License-Identifier: GPL-2.0

//! Every special case at every position of a stream: when a delegated endpoint
//! has received so many bytes, it gets a frame made from its own state, or its
//! host stack does something, that a correct TCP survives. The target names the
//! case, keeps its entry, and goes on with it later; the byte stream is equal.

use toe_model::logic::{
    policy::Limits,
    reason::{SpecialCase, SpecialCase as S, UploadReason},
    state::Mode,
    wire::{self, Segment},
};

use crate::craft::Craft;
use crate::endpoint::{Config, Endpoint, Stats};
use crate::kinds::{bytes, craft, plain, Kind as K, KINDS};
use crate::legacy::End;
use crate::link::{checksum_ok, Rng, Time};
use crate::{print, seeds, simulate, tuple, Other, Stream};

pub const UP_LEN: u64 = 40_000;
pub const DOWN_LEN: u64 = 30_000;
/// Where the sequence numbers start again, in half of the runs.
const WRAP: u64 = 15_000;

/// When it happens, once the endpoint expects byte `at` of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Exactly then, in the middle of a segment, too.
    Exact,
    /// Between two of the peer's segments.
    Between,
    /// With two bytes of a segment to come.
    BeforeEnd,
    /// With one byte of a segment in.
    AfterStart,
}

const PLACES: [(u64, Place); 22] = [
    (0, Place::Exact),
    (1, Place::Exact),
    (2, Place::Exact),
    (97, Place::Exact),
    (400, Place::Between),
    (400, Place::BeforeEnd),
    (400, Place::AfterStart),
    (1459, Place::Exact),
    (1460, Place::Exact),
    (1461, Place::Exact),
    (5000, Place::Between),
    (9999, Place::Exact),
    (WRAP - 1, Place::Exact),
    (WRAP, Place::Exact),
    (WRAP + 1, Place::Exact),
    (WRAP - 700, Place::BeforeEnd),
    (WRAP, Place::AfterStart),
    (20_000, Place::BeforeEnd),
    (22_500, Place::AfterStart),
    (DOWN_LEN - 1700, Place::Between),
    (DOWN_LEN - 200, Place::Exact),
    (DOWN_LEN - 3, Place::Exact),
];

/// What was so when it happened.
#[derive(Debug)]
struct Done {
    /// Number of the stay in legacy mode, if it led to one.
    stay: Option<usize>,
    engine_frames: u64,
    uploads: u64,
}

#[derive(Debug)]
pub struct Injection {
    kind: K,
    case: Option<SpecialCase>,
    at: u64,
    place: Place,
    pub bad_wire: bool,
    /// Special cases are not tolerated: each one is an upload.
    strict: bool,
    seed: u64,
    done: Option<Done>,
}

impl Injection {
    pub fn peer_isn(&self) -> u32 {
        match self.seed & 1 {
            0 => self.seed.wrapping_mul(0x9e37_79b9) as u32,
            _ => 0u32.wrapping_sub(1 + WRAP as u32),
        }
    }

    /// A connection on which it can happen.
    pub fn configure(&self, cfg: &mut Config) {
        cfg.no_memory = 0;
        cfg.rcvbuf = cfg.rcvbuf.max(8000);
        cfg.limits = Limits {
            legacy_falls: if self.strict { 0 } else { u32::MAX },
            legacy_max_ms: u32::MAX,
            ..Limits::default()
        };
        match self.kind {
            K::IpOptions | K::FragmentV4 | K::IpChecksum => cfg.tuple = tuple(true),
            K::ExtHeader | K::FragmentV6 => cfg.tuple = tuple(false),
            K::NoTimestamp | K::Paws => cfg.ts_ok = true,
            K::StrayTimestamp => cfg.ts_ok = false,
            K::ProbeOld | K::ProbeByte => cfg.rcvbuf = 8000,
            _ => {}
        }
    }

    /// Returns whether the application does not read, so that the window shuts.
    pub fn holds_reading(&self, a: &Endpoint) -> bool {
        matches!(self.kind, K::ProbeOld | K::ProbeByte)
            && self.done.is_none()
            // Enough has to follow to fill the receive memory.
            && a.c.bytes_received >= self.at.min(DOWN_LEN - 12_000)
    }

    /// Returns whether it happened, and the target has gone on or given up.
    pub fn is_over(&self, a: &Endpoint) -> bool {
        self.done
            .as_ref()
            .is_some_and(|d| d.stay.is_none_or(|i| a.ends.len() > i))
    }

    /// Returns whether it did not happen, which a run that is through will not change.
    pub fn missed(&self) -> bool {
        self.done.is_none()
    }

    /// Before `frame` gets to the endpoint.
    pub fn before(
        &mut self,
        now: Time,
        a: &mut Endpoint,
        frame: &[u8],
        down: &Stream,
    ) -> Result<(), String> {
        if let Some(done) = &self.done {
            // Until it resynchronises, the engines do nothing.
            if !self.is_over(a) && a.stats.engine_frames != done.engine_frames {
                return Err("the engines worked in legacy mode".into());
            }
            return Ok(());
        }
        if !a.delegated() {
            return Ok(());
        }
        let coming = coming(a, frame);
        let received = a.c.bytes_received;
        let first = match self.place {
            _ if self.holds_reading(a) => 0,
            Place::Exact => self.at.saturating_sub(received),
            _ if received < self.at => return Ok(()),
            Place::Between => 0,
            Place::BeforeEnd => u64::from(coming.max(2) - 2),
            Place::AfterStart => 1,
        };
        if first > u64::from(coming) {
            return Ok(());
        }
        if first > 0 {
            let head = Craft {
                payload: bytes(a, down, 0, first as u32),
                ..plain(a)
            };
            a.input(now, &head.frame(&a.cfg.tuple));
        }
        if !a.delegated() || a.c.bytes_received != received + first {
            return Ok(());
        }
        self.happen(now, a, coming - first as u32, down)
    }

    fn happen(
        &mut self,
        now: Time,
        a: &mut Endpoint,
        coming: u32,
        down: &Stream,
    ) -> Result<(), String> {
        let frame = if self.kind.is_the_hosts() {
            None
        } else if let Some(craft) = craft(self.kind, a, coming, down) {
            Some(craft.frame(&a.cfg.tuple))
        } else {
            return Ok(());
        };
        if self.kind == K::DupAck && a.c.snd_wl1.before(a.c.rcv_nxt) {
            // The first one carries the window's sequence number on.
            a.input(now, &plain(a).frame(&a.cfg.tuple));
        }
        let before = a.stats.clone();
        let stay = a.ends.len();
        a.starve = self.kind == K::NoMemory;
        let happened = match (&frame, self.case) {
            (Some(frame), _) => {
                a.input(now, frame);
                true
            }
            (None, Some(case)) => a.host_acts(now, case),
            (None, None) => false,
        };
        a.starve = false;
        if !happened {
            return Ok(());
        }

        let mut wanted = before.specials;
        if let Some(case) = self.case {
            wanted[case.index()] += 1;
        }
        if a.stats.specials != wanted {
            return Err(format!("not counted as {:?}: {:?}", self.case, a.stats));
        }
        if a.stats.engine_frames != before.engine_frames {
            return Err("finished by the engine".into());
        }
        let falls = !matches!(self.case, None | Some(S::BadChecksum));
        let stays = a.ends.len() + usize::from(a.stay.is_some()) - stay;
        if stays != usize::from(falls && !self.strict) {
            return Err(format!("{stays} stays in legacy mode"));
        }
        let often = UploadReason::LegacyOften.index();
        let given_up = a.stats.uploads[often] - before.uploads[often];
        if given_up != u64::from(falls && self.strict) {
            return Err(format!("{given_up} uploads"));
        }
        if !falls && a.mode != Mode::Delegated {
            return Err(format!("{} without a special case", a.mode.name()));
        }
        self.done = Some(Done {
            stay: (stays > 0).then_some(stay),
            engine_frames: a.stats.engine_frames,
            uploads: a.stats.uploads.iter().sum(),
        });
        Ok(())
    }

    /// After the run: whether the target went on with the same entry.
    fn verify(&self, ends: &[End], stats: &Stats) -> Result<(), String> {
        let Some(done) = &self.done else {
            return Ok(());
        };
        match done.stay.map(|i| ends[i]) {
            None | Some(End::Resync) => {}
            Some(end) => return Err(format!("legacy mode ended with {end:?}")),
        }
        // Nothing but the close afterwards, unless each case costs an upload.
        let uploads = stats.uploads.iter().sum::<u64>() - done.uploads;
        if !self.strict && uploads > 2 {
            return Err(format!("{uploads} uploads afterwards"));
        }
        Ok(())
    }
}

/// Payload that `frame` brings in order.
fn coming(a: &Endpoint, frame: &[u8]) -> u32 {
    let intact = |s: &Segment| {
        let l4 = usize::from(s.l4_off);
        let end = usize::from(s.data_off) + s.payload as usize;
        s.seq == a.c.rcv_nxt && checksum_ok(frame, l4, end - l4)
    };
    let segment = wire::parse(frame, frame.len() as u32).ok().filter(intact);
    segment.map_or(0, |s| s.payload)
}

/// One run; `None`: there was no occasion, such as a whole segment that arrives
/// while the connection is delegated.
fn inject(injection: &mut Injection) -> Result<Option<Stats>, String> {
    let seed = injection.seed;
    let run = || {
        let outcome = simulate(seed, Other::Smoltcp, None, Some(injection))?;
        injection.verify(&outcome.ends, &outcome.stats)?;
        Ok((!injection.missed()).then_some(outcome.stats))
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err("see the panic above".into()))
}

/// Runs until it happened.
fn inject_somehow(mut injection: Injection, rng: &mut Rng) -> (Stats, bool) {
    for _ in 0..40 {
        injection.seed = rng.next();
        match inject(&mut injection) {
            Ok(Some(stats)) => {
                let lasting = injection.done.is_some_and(|d| d.stay.is_some());
                return (stats, lasting);
            }
            Ok(None) => {}
            Err(what) => panic!("{injection:?}: {what}"),
        }
    }
    panic!("{injection:?}: there is no occasion");
}

#[test]
fn every_special_case_at_every_position() {
    let mut rng = Rng::new(99);
    let mut total = Stats::default();
    let (mut runs, mut stays) = (0, 0);
    for _ in 0..seeds(400).end.div_ceil(400) {
        for (kind, case) in KINDS {
            for (i, (at, place)) in PLACES.into_iter().enumerate() {
                for bad_wire in [false, true] {
                    let injection = Injection {
                        kind,
                        case,
                        at,
                        place,
                        bad_wire,
                        strict: i % 8 == 7,
                        seed: 0,
                        done: None,
                    };
                    let (stats, stay) = inject_somehow(injection, &mut rng);
                    total.add(&stats);
                    runs += 1;
                    stays += u32::from(stay);
                }
            }
        }
    }
    println!("{runs} injections, {stays} stays in legacy mode by them");
    print("Injected", &total);
    for (_, case) in KINDS {
        assert!(case.is_none_or(|c| total.specials[c.index()] > 0));
    }
}

#[test]
fn the_table_has_every_special_case() {
    for case in SpecialCase::ALL {
        assert!(KINDS.iter().any(|(_, c)| c == &Some(*case)), "{case:?}");
    }
}
