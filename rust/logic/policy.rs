// SPDX-License-Identifier: GPL-2.0

//! Which connections are offloaded: the device's policy, its limits, and the
//! hysteresis that keeps a connection from going back and forth.

use super::{
    reason::{
        Refusal,
        UploadReason, //
    },
    tuple::{
        Family,
        Tuple, //
    }, //
};

/// The device's policy: who may start an offload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Policy {
    /// Nobody.
    Off = 0,
    /// Applications, by `setsockopt(TCP_ULP, "toe")`.
    #[default]
    Ulp = 1,
    /// Applications, and every connection whose route leaves through the
    /// device.
    Auto = 2,
}

impl Policy {
    /// The name that sysfs reads and writes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ulp => "ulp",
            Self::Auto => "auto",
        }
    }

    /// The policy that `text`, as written to sysfs, names: with or without a
    /// newline.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.trim_ascii() {
            b"off" => Some(Self::Off),
            b"ulp" => Some(Self::Ulp),
            b"auto" => Some(Self::Auto),
            _ => None,
        }
    }
}

/// Connections that are offloaded in one operation at most, whatever is set.
pub const MAX_BATCH: u32 = 512;

/// A set of addresses that start with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// Family of the addresses.
    pub family: Family,
    /// The first address, in network byte order, as in [`Tuple`].
    pub addr: [u8; 16],
    /// Number of bits that count: 0 to 32 or 0 to 128.
    pub bits: u8,
}

impl core::fmt::Display for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.family {
            Family::V4 => {
                let [a, b, c, d, ..] = self.addr;
                write!(f, "{a}.{b}.{c}.{d}/{}", self.bits)
            }
            Family::V6 => write!(f, "{}/{}", core::net::Ipv6Addr::from(self.addr), self.bits),
        }
    }
}

impl Prefix {
    /// The prefix that `text` names: `ADDRESS` or `ADDRESS/BITS`, with or
    /// without a newline.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(text.trim_ascii()).ok()?;
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let (family, addr, max) = match addr.parse::<core::net::IpAddr>().ok()? {
            core::net::IpAddr::V4(a) => (Family::V4, Tuple::v4(a.octets(), 0, [0; 4], 0).local, 32),
            core::net::IpAddr::V6(a) => (Family::V6, a.octets(), 128),
        };
        let bits = match bits {
            Some(bits) => bits.parse::<u8>().ok().filter(|bits| *bits <= max)?,
            None => max,
        };
        Some(Self { family, addr, bits })
    }

    /// Returns whether the address is one of the set.
    pub fn contains(&self, family: Family, addr: &[u8; 16]) -> bool {
        let differing = u128::from_be_bytes(self.addr) ^ u128::from_be_bytes(*addr);
        family == self.family && differing.leading_zeros() >= u32::from(self.bits)
    }
}

/// The limits of a device, as set through sysfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The policy.
    pub policy: Policy,
    /// Bytes a connection has to have transferred, in both directions
    /// together, before it is offloaded automatically. An application that
    /// asks does not wait.
    pub min_bytes: u64,
    /// Segments with data it has to have sent and received, together, before
    /// that: a connection that ends sooner costs more than it saves.
    pub min_segments: u32,
    /// Time since its establishment, in ms, before it is. No knob of the device: a
    /// rule sets it.
    pub min_age_ms: u32,
    /// Largest number of connections offloaded at a time.
    pub conn_limit: u32,
    /// Lowest port, local or remote, of connections to offload.
    pub port_lo: u16,
    /// Highest port, local or remote, of connections to offload.
    pub port_hi: u16,
    /// Remote addresses of connections to offload; all, if `None`.
    pub prefix: Option<Prefix>,
    /// How long after an upload the connection may be offloaded again, in ms.
    pub reoffload_delay_ms: u32,
    /// The longest that this delay becomes, in ms.
    pub reoffload_delay_max_ms: u32,
    /// Number of uploads of a connection within `upload_window_ms` from which
    /// on each further one doubles the delay.
    pub max_uploads: u32,
    /// Time without an upload after which a connection's uploads are
    /// forgotten, in ms.
    pub upload_window_ms: u32,
    /// Number of special cases of a connection within `legacy_window_ms` that
    /// lead to legacy mode; one more, and it is uploaded. 0: each one is.
    pub legacy_falls: u32,
    /// Time in which special cases are counted, in ms.
    pub legacy_window_ms: u32,
    /// Longest stay in legacy mode before the upload, in ms.
    pub legacy_max_ms: u32,
}

impl Limits {
    /// Those of a new device.
    pub const DEFAULT: Self = Self {
        policy: Policy::Ulp,
        min_bytes: 0,
        min_segments: 8,
        min_age_ms: 0,
        conn_limit: 1 << 20,
        port_lo: 1,
        port_hi: u16::MAX,
        prefix: None,
        reoffload_delay_ms: 10,
        reoffload_delay_max_ms: 10_000,
        max_uploads: 8,
        upload_window_ms: 10_000,
        legacy_falls: 256,
        legacy_window_ms: 1000,
        legacy_max_ms: 2000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the policy has to know of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidate {
    /// The connection.
    pub tuple: Tuple,
    /// Whether the application asked for the offload.
    pub explicit: bool,
    /// Bytes transferred, received and acknowledged.
    pub bytes: u64,
    /// Segments with data, sent and received.
    pub segments: u64,
    /// Time since it was established, in ms, if that is known.
    pub age_ms: Option<u64>,
    /// Connections offloaded to the device at present.
    pub device_conns: u32,
    /// Present time in ms.
    pub now_ms: u64,
    /// The connection's history of uploads.
    pub backoff: Backoff,
}

impl Limits {
    /// Checks that the policy allows the request, of an application (`explicit`) or its own.
    pub fn permit(&self, explicit: bool) -> Result<(), Refusal> {
        match self.policy {
            Policy::Auto => Ok(()),
            Policy::Ulp if explicit => Ok(()),
            _ => Err(Refusal::Policy),
        }
    }

    /// Checks that a connection may be offloaded now.
    ///
    /// A connection is within the port range if either of its ports is: the
    /// service's port is the local one at the server, the remote one at the
    /// client.
    pub fn decide(&self, c: &Candidate) -> Result<(), Refusal> {
        self.permit(c.explicit)?;
        let ports = self.port_lo..=self.port_hi;
        if !ports.contains(&c.tuple.lport) && !ports.contains(&c.tuple.rport) {
            return Err(Refusal::PortLimit);
        }
        if let Some(prefix) = &self.prefix {
            if !prefix.contains(c.tuple.family, &c.tuple.remote) {
                return Err(Refusal::AddressLimit);
            }
        }
        if !c.explicit && c.bytes < self.min_bytes {
            return Err(Refusal::MinBytes);
        }
        if !c.explicit && c.segments < u64::from(self.min_segments) {
            return Err(Refusal::MinSegments);
        }
        let age_ms = c.age_ms.unwrap_or_default();
        if !c.explicit && age_ms < u64::from(self.min_age_ms) {
            return Err(Refusal::MinAge);
        }
        c.backoff.check(c.now_ms)?;
        if c.device_conns >= self.conn_limit {
            return Err(Refusal::ConnLimit);
        }
        Ok(())
    }
}

/// The longest time between two attempts to offload a connection that is not ready, in ms.
const ATTEMPT_MAX_MS: u64 = 1024;

/// When to try a connection first, in ms, that was established at `now_ms`: two or three
/// milliseconds later, whatever the limits, for rules have their own.
///
/// `connect()` and `accept()` are about to take the socket's lock, and for who waits for
/// it when a hand-over ends the connection is taken back.
pub const fn first_attempt(now_ms: u64) -> u64 {
    next_attempt(now_ms + 1, 1)
}

/// When to try a connection again, in ms, that was not ready at `now_ms` and `attempts`
/// times before: below `min_segments`, neighbour unresolved, recovery.
///
/// A young connection is tried again soon, an old one about once a second for as long as it
/// lasts. The times are multiples of the distance, so that connections are tried together.
pub const fn next_attempt(now_ms: u64, attempts: u32) -> u64 {
    let step = if attempts < ATTEMPT_MAX_MS.ilog2() {
        1 << attempts
    } else {
        ATTEMPT_MAX_MS
    };
    (now_ms / step + 1) * step
}

/// The upload history of a connection, for hysteresis.
///
/// The first few uploads cost a short delay each, so that a single loss does
/// not keep a connection in the host stack; a connection that keeps coming back
/// waits twice as long each time, up to a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    /// Uploads since the history was last forgotten.
    uploads: u32,
    /// Present delay in ms.
    delay_ms: u32,
    /// When the connection was last uploaded, in ms.
    last_ms: u64,
    /// From when on it may be offloaded, in ms.
    until_ms: u64,
    /// Number of times in a row that somebody waited for its socket when it had been
    /// handed over.
    contended: u32,
}

impl Backoff {
    /// A connection that was never uploaded.
    pub const fn new() -> Self {
        Self {
            uploads: 0,
            delay_ms: 0,
            last_ms: 0,
            until_ms: 0,
            contended: 0,
        }
    }

    /// Notes an upload at `now_ms` that is due to the connection itself. One
    /// that the administrator or the application asked for is not noted.
    pub fn uploaded(&mut self, now_ms: u64, limits: &Limits) {
        if now_ms.saturating_sub(self.last_ms) > u64::from(limits.upload_window_ms) {
            self.uploads = 0;
        }
        self.uploads = self.uploads.saturating_add(1);
        self.last_ms = now_ms;
        self.delay_ms = if self.uploads <= limits.max_uploads {
            limits.reoffload_delay_ms
        } else {
            self.delay_ms
                .saturating_mul(2)
                .clamp(1, limits.reoffload_delay_max_ms.max(1))
        };
        self.until_ms = now_ms.saturating_add(u64::from(self.delay_ms));
        self.contended = 0;
    }

    /// Notes that the connection was taken back at `now_ms` as soon as it had been handed
    /// over, for somebody waited for its socket.
    ///
    /// That is chance, and says nothing of the connection: no upload of its history, and it
    /// is tried again as soon as one whose socket could not be had. Else a connection that
    /// is busy all the time would hardly ever be offloaded.
    pub fn contended(&mut self, now_ms: u64) {
        self.until_ms = next_attempt(now_ms, self.contended);
        self.contended = self.contended.saturating_add(1);
    }

    /// Checks that the connection may be offloaded at `now_ms`.
    pub fn check(&self, now_ms: u64) -> Result<(), Refusal> {
        if now_ms < self.until_ms {
            Err(Refusal::Backoff)
        } else {
            Ok(())
        }
    }

    /// When the connection may be offloaded again, in ms.
    pub const fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

/// Returns whether the policy may later offload a connection again that was uploaded for
/// `reason`. `explicit`: its application had asked for the offload.
pub const fn may_return(reason: UploadReason, explicit: bool) -> bool {
    match reason {
        // What an administrator takes back from an application, the application has
        // to ask for again; what the policy took, the policy decides.
        UploadReason::Admin | UploadReason::LinkDown => !explicit,
        UploadReason::Close
        | UploadReason::Shutdown
        | UploadReason::Disconnect
        | UploadReason::Ulp
        | UploadReason::Setsockopt
        | UploadReason::DeviceGone => false,
        _ => true,
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_policy))]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        Candidate {
            tuple: Tuple::v4([10, 0, 0, 1], 40_000, [10, 0, 9, 2], 443),
            ..Candidate::default()
        }
    }

    #[test]
    fn names() {
        for policy in [Policy::Off, Policy::Ulp, Policy::Auto] {
            assert!(Policy::parse(policy.name().as_bytes()) == Some(policy));
        }
        assert!(Policy::parse(b" auto\n") == Some(Policy::Auto));
        assert!(Policy::parse(b"on").is_none());
        assert!(Policy::parse(b"").is_none());
    }

    #[test]
    fn who_asks() {
        let auto = candidate();
        let ulp = Candidate {
            explicit: true,
            ..auto
        };
        let limits = |policy| Limits {
            policy,
            min_bytes: 100,
            min_segments: 3,
            ..Limits::default()
        };
        assert!(limits(Policy::Off).decide(&ulp) == Err(Refusal::Policy));
        assert!(limits(Policy::Ulp).decide(&auto) == Err(Refusal::Policy));
        assert!(limits(Policy::Ulp).decide(&ulp).is_ok());
        assert!(limits(Policy::Auto).decide(&ulp).is_ok());
        assert!(limits(Policy::Auto).decide(&auto) == Err(Refusal::MinBytes));
        let grown = Candidate { bytes: 100, ..auto };
        assert!(limits(Policy::Auto).decide(&grown) == Err(Refusal::MinSegments));
        let grown = Candidate {
            segments: 3,
            ..grown
        };
        assert!(limits(Policy::Auto).decide(&grown).is_ok());
        let later = Limits {
            min_age_ms: 50,
            ..limits(Policy::Auto)
        };
        assert!(later.decide(&grown) == Err(Refusal::MinAge));
        assert!(later.decide(&ulp).is_ok());
        let old = Candidate {
            age_ms: Some(50),
            ..grown
        };
        assert!(later.decide(&old).is_ok());
    }

    #[test]
    fn limits() {
        let c = candidate();
        let base = Limits {
            policy: Policy::Auto,
            min_segments: 0,
            ..Limits::default()
        };
        let l = Limits {
            port_lo: 80,
            port_hi: 442,
            ..base
        };
        assert!(l.decide(&c) == Err(Refusal::PortLimit));
        assert!(Limits { port_hi: 443, ..l }.decide(&c).is_ok());
        let l = Limits {
            conn_limit: 5,
            ..base
        };
        assert!(
            l.decide(&Candidate {
                device_conns: 5,
                ..c
            }) == Err(Refusal::ConnLimit)
        );
        assert!(l
            .decide(&Candidate {
                device_conns: 4,
                ..c
            })
            .is_ok());
        let l = Limits {
            prefix: Prefix::parse(b"10.0.8.0/23"),
            ..base
        };
        assert!(l.decide(&c).is_ok());
        let l = Limits {
            prefix: Prefix::parse(b"10.0.8.0/24"),
            ..base
        };
        assert!(l.decide(&c) == Err(Refusal::AddressLimit));
    }

    #[test]
    fn prefixes() {
        assert!(Prefix::parse(b"10.0.0.0/33").is_none());
        assert!(Prefix::parse(b"10.0.0").is_none());
        assert!(Prefix::parse(b"").is_none());
        let all = Prefix::parse(b"::/0\n");
        assert!(all.is_some_and(|p| p.contains(Family::V6, &[0xff; 16])));
        assert!(all.is_some_and(|p| !p.contains(Family::V4, &[0; 16])));
        let one = Prefix::parse(b"fe80::1");
        assert!(one.is_some_and(|p| p.bits == 128 && p.contains(Family::V6, &p.addr)));
    }

    #[test]
    fn hysteresis() {
        let l = Limits {
            reoffload_delay_ms: 10,
            reoffload_delay_max_ms: 100,
            max_uploads: 2,
            upload_window_ms: 1000,
            ..Limits::default()
        };
        let mut b = Backoff::new();
        assert!(b.check(0).is_ok());
        let mut now = 5000;
        for delay in [10, 10, 20, 40, 80, 100, 100] {
            b.uploaded(now, &l);
            assert_eq!(b.until_ms(), now + delay);
            assert!(b.check(now + delay - 1) == Err(Refusal::Backoff));
            now += delay;
            assert!(b.check(now).is_ok());
        }
        // A quiet time later all is forgotten.
        now += 1001;
        b.uploaded(now, &l);
        assert_eq!(b.until_ms(), now + 10);
    }

    #[test]
    fn who_was_contended_is_looked_at_soon() {
        let l = Limits::default();
        let mut b = Backoff::new();
        let mut now = 5000;
        for attempts in 0..20 {
            b.contended(now);
            assert_eq!(b.until_ms(), next_attempt(now, attempts));
            assert!(b.check(now) == Err(Refusal::Backoff));
            now = b.until_ms();
            assert!(b.check(now).is_ok());
        }
        // None of these was an upload of its history.
        b.uploaded(now, &l);
        assert_eq!(b.uploads, 1);
        assert_eq!(b.until_ms(), now + u64::from(l.reoffload_delay_ms));
        // And it had been offloaded in between.
        b.contended(now);
        assert_eq!(b.until_ms(), now + 1);
    }

    #[test]
    fn the_first_look_waits_for_connect_and_accept() {
        for now in 70..80 {
            assert!((2..=3).contains(&(first_attempt(now) - now)));
        }
        // Those of one moment are tried together.
        assert_eq!(first_attempt(77), first_attempt(78));
    }

    #[test]
    fn looks_get_rarer_and_never_end() {
        let mut now = 12_345;
        for attempts in 0..40 {
            let next = next_attempt(now, attempts);
            let step = 1 << attempts.min(10);
            assert!(next > now && next - now <= step);
            assert_eq!(next % step, 0);
            now = next;
        }
        // Those that wait longest are tried together.
        assert_eq!(next_attempt(5000, 12), next_attempt(5119, 99));
    }

    #[test]
    fn what_was_taken_back_for_good_does_not_return() {
        for reason in UploadReason::ALL {
            let asked = may_return(*reason, true);
            let found = may_return(*reason, false);
            match reason {
                UploadReason::Admin | UploadReason::LinkDown => assert!(!asked && found),
                _ => assert_eq!(asked, found),
            }
        }
        assert!(may_return(UploadReason::Contended, true));
        assert!(!may_return(UploadReason::Setsockopt, false));
    }
}
