// SPDX-License-Identifier: GPL-2.0

//! The rules of a device: which connections are offloaded, when, and with which
//! limits. `Documentation/networking/toe-rules.rst` describes the language.
//!
//! A text is [parsed](parser::parse) into a program: one array of tests, those of
//! the first rule first. Each test names the next one for either outcome, always one
//! further down, or the rule that is met. So an evaluation is a loop without a
//! stack, over at most [`MAX_NODES`] tests.

use super::{
    policy::Limits,
    tuple::{
        Family,
        Tuple, //
    }, //
};

pub mod describe;
pub mod lexer;
pub mod parser;

/// Longest text, in bytes.
pub const MAX_TEXT: usize = 32 << 10;
/// Most rules of a text.
pub const MAX_RULES: usize = 256;
/// Most tests of all rules together.
pub const MAX_NODES: usize = 2048;
/// Deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 8;
/// Levels of cgroups that rules see: the root, and those below it.
pub const CGROUP_LEVELS: usize = 16;

/// The name of an interface or a process, padded with zeros.
pub type Name = [u8; 16];

/// `text` as a [`Name`]; `None` if it is empty or longer than 15 bytes.
pub fn name(text: &[u8]) -> Option<Name> {
    let mut name = [0; 16];
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    name.get_mut(..text.len())?.copy_from_slice(text);
    Some(name)
}

/// A cgroup: the identifiers of its ancestors from the root on, itself the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cgroup {
    /// Number of levels above it; below [`CGROUP_LEVELS`].
    pub level: u8,
    /// Its ancestors and itself; behind that, zeros.
    pub ids: [u64; CGROUP_LEVELS],
}

impl Cgroup {
    /// Its own identifier.
    pub fn id(&self) -> u64 {
        self.ids
            .get(usize::from(self.level))
            .copied()
            .unwrap_or_default()
    }
}

/// Finds the cgroup that a path names; why it cannot, otherwise.
pub type FindCgroup<'a> = dyn FnMut(&str) -> Result<Cgroup, &'static str> + 'a;

/// Which end opened the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// This one, by `connect()`.
    Active,
    /// The peer; this one accepted.
    Passive,
}

/// What rules can ask about a connection. What is `None` is not known: no test for
/// it is met, and no negated one.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchKey {
    /// Addresses, ports and VLAN; `local` is this end.
    pub tuple: Tuple,
    /// Who opened it.
    pub direction: Option<Direction>,
    /// The application asked for the offload.
    pub request: bool,
    /// The interface that its route leaves through.
    pub interface: Name,
    /// `SO_MARK`.
    pub mark: u32,
    /// Owner of the socket, as the device's user namespace has it.
    pub uid: Option<u32>,
    /// Name of the task that asks.
    pub process: Option<Name>,
    /// The cgroup in which the socket was made.
    pub cgroup: Option<Cgroup>,
    /// Time since it was established, in ms.
    pub age_ms: Option<u64>,
    /// Bytes transferred, received and acknowledged.
    pub bytes: u64,
    /// Segments with data, sent and received. No test asks for them.
    pub segments: u64,
}

/// A word of [`Words`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[cfg_attr(
    MODULE,
    expect(dead_code, reason = "a second half is found behind its first one")
)]
pub enum Field {
    /// Zero, for what is always met.
    Zero,
    /// 1: accepted.
    Passive,
    /// 1: the application asked.
    Request,
    /// This end's port.
    LocalPort,
    /// The peer's port.
    RemotePort,
    /// 4 or 6.
    Family,
    /// This end's IPv4 address, with [`V4`]; else 0.
    Local4,
    /// The peer's.
    Remote4,
    /// The two halves of an IPv6 address.
    Local6,
    /// The second one.
    Local6Low,
    /// And the peer's.
    Remote6,
    /// The second one.
    Remote6Low,
    /// The two halves of a name.
    Interface,
    /// The second one.
    InterfaceLow,
    /// The VLAN identifier; 0: none.
    Vlan,
    /// The mark.
    Mark,
    /// The owner.
    Uid,
    /// The two halves of a name.
    Process,
    /// The second one.
    ProcessLow,
    /// Age in ms.
    Age,
    /// Bytes transferred.
    Bytes,
    /// The identifier of the root cgroup, and behind it those of the levels below.
    Cgroup,
}

/// Tells an IPv4 address from none.
const V4: u64 = 1 << 32;

/// Number of words, with room for more; a power of two.
const WORDS: usize = 64;

/// The key as the program reads it: each part a number.
struct Words {
    values: [u64; WORDS],
    /// Bit per word that is known.
    known: u64,
}

/// The first and the second half.
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let word = u128::from_be_bytes(*bytes);
    [(word >> 64) as u64, word as u64]
}

impl Words {
    fn new(f: &MatchKey) -> Self {
        let t = &f.tuple;
        let v4 = |addr: &[u8; 16]| V4 | (halves(addr)[0] >> 32);
        let mut words = Words {
            values: [0; WORDS],
            known: u64::MAX,
        };
        words.set(
            Field::Passive,
            f.direction.map(|d| (d == Direction::Passive).into()),
        );
        words.set(Field::Request, Some(f.request.into()));
        words.set(Field::LocalPort, Some(t.lport.into()));
        words.set(Field::RemotePort, Some(t.rport.into()));
        words.set(Field::Family, Some(t.family as u64));
        match t.family {
            Family::V4 => {
                words.set(Field::Local4, Some(v4(&t.local)));
                words.set(Field::Remote4, Some(v4(&t.remote)));
            }
            Family::V6 => {
                words.set_pair(Field::Local6, Some(&t.local));
                words.set_pair(Field::Remote6, Some(&t.remote));
            }
        }
        words.set_pair(Field::Interface, Some(&f.interface));
        words.set(Field::Vlan, Some(t.vlan.vlan_id().into()));
        words.set(Field::Mark, Some(f.mark.into()));
        words.set(Field::Uid, f.uid.map(u64::from));
        words.set_pair(Field::Process, f.process.as_ref());
        words.set(Field::Age, f.age_ms);
        words.set(Field::Bytes, Some(f.bytes));
        let from = Field::Cgroup as usize;
        let cgroups = words.values.get_mut(from..from + CGROUP_LEVELS);
        match (&f.cgroup, cgroups) {
            (Some(cgroup), Some(place)) => place.copy_from_slice(&cgroup.ids),
            _ => words.known &= (1 << Field::Cgroup as u32) - 1,
        }
        words
    }

    #[inline]
    fn set(&mut self, field: Field, value: Option<u64>) {
        match (value, self.values.get_mut(field as usize)) {
            (Some(value), Some(place)) => *place = value,
            _ => self.known &= !(1 << field as u32),
        }
    }

    /// A field of two words.
    #[inline]
    fn set_pair(&mut self, field: Field, bytes: Option<&[u8; 16]>) {
        let places = self.values.get_mut(field as usize..field as usize + 2);
        match (bytes, places) {
            (Some(bytes), Some(places)) => places.copy_from_slice(&halves(bytes)),
            _ => self.known &= !(3 << field as u32),
        }
    }
}

/// A test and its place in the program: whether a word, masked, is in a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    mask: u64,
    lo: u64,
    /// Length of the range, less one.
    span: u64,
    /// Where to go on in either case: the number of nodes to leave out, or [`MATCH`]
    /// and the index of the rule that is met.
    inside: u16,
    outside: u16,
    /// Index of the word.
    word: u8,
    /// A set of [`NEGATED`] and the like.
    flags: u8,
}

/// Mark of a [`Node`]'s target that is a rule.
const MATCH: u16 = 0x8000;

/// The test asks for the outside of the range.
const NEGATED: u8 = 1;
/// The word may not be known.
const MAYBE: u8 = 2;
/// The word grows, and may yet be in the range.
const GROWS: u8 = 4;

impl Node {
    /// For memory that is to be parsed into.
    pub const EMPTY: Self = Self {
        mask: 0,
        lo: 0,
        span: 0,
        inside: MATCH,
        outside: MATCH,
        word: 0,
        flags: 0,
    };

    /// The test whether the word `offset` words after `field` is in `lo..=hi`.
    const fn new(field: Field, offset: u8, mask: u64, (lo, hi): (u64, u64)) -> Self {
        let flags = match field {
            Field::Passive | Field::Uid | Field::Process | Field::ProcessLow | Field::Cgroup => {
                MAYBE
            }
            Field::Age => MAYBE | GROWS,
            Field::Bytes => GROWS,
            _ => 0,
        };
        Self {
            mask,
            lo,
            span: hi.wrapping_sub(lo),
            word: field as u8 + offset,
            flags,
            ..Self::EMPTY
        }
    }
}

/// A limit that a rule can set for its connections: an index into [`Overrides`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Knob {
    /// As `user_buffer_min`.
    UserBuffer = 0,
    /// As `legacy_falls`.
    LegacyFalls = 1,
    /// As `legacy_window_ms`.
    LegacyWindow = 2,
    /// As `legacy_max_ms`.
    LegacyMax = 3,
    /// As `reoffload_delay_ms`.
    ReoffloadDelay = 4,
    /// As `reoffload_delay_max_ms`.
    ReoffloadDelayMax = 5,
    /// As `max_uploads`.
    MaxUploads = 6,
    /// As `upload_window_ms`.
    UploadWindow = 7,
    /// As `batch`.
    Batch = 8,
}

/// Limits of a connection that are not the device's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// Bit per [`Knob`].
    given: u16,
    values: [u32; 9],
}

impl Overrides {
    /// Returns whether all limits are the device's.
    pub const fn is_empty(&self) -> bool {
        self.given == 0
    }

    fn set(&mut self, knob: Knob, value: u32) {
        if let Some(place) = self.values.get_mut(knob as usize) {
            *place = value;
            self.given |= 1 << knob as u16;
        }
    }

    /// The value, if the connection has one of its own.
    #[inline]
    pub fn get(&self, knob: Knob) -> Option<u32> {
        if self.given & (1 << knob as u16) == 0 {
            return None;
        }
        self.values.get(knob as usize).copied()
    }

    /// Replaces in `limits` what the connection has of its own.
    pub fn apply(&self, limits: &mut Limits) {
        let places = [
            (Knob::LegacyFalls, &mut limits.legacy_falls),
            (Knob::LegacyWindow, &mut limits.legacy_window_ms),
            (Knob::LegacyMax, &mut limits.legacy_max_ms),
            (Knob::ReoffloadDelay, &mut limits.reoffload_delay_ms),
            (Knob::ReoffloadDelayMax, &mut limits.reoffload_delay_max_ms),
            (Knob::MaxUploads, &mut limits.max_uploads),
            (Knob::UploadWindow, &mut limits.upload_window_ms),
        ];
        for (knob, place) in places {
            if let Some(value) = self.get(knob) {
                *place = value;
            }
        }
    }
}

/// What is to be done with connections that meet a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// Line of the text, from 1 on.
    pub line: u32,
    /// Offload them, or leave them to the host stack.
    pub offload: bool,
    /// Not before this many bytes were transferred.
    pub after_bytes: Option<u64>,
    /// Not before this many segments with data were exchanged.
    pub after_segments: Option<u32>,
    /// Not before they have this age, in ms.
    pub after_ms: Option<u32>,
    /// Limits of their own.
    pub overrides: Overrides,
}

impl Rule {
    /// Puts what the rule says in the place of the device's limits. If it says when, it
    /// alone does.
    pub fn apply(&self, limits: &mut Limits) {
        let when = (self.after_bytes, self.after_segments, self.after_ms);
        if when != (None, None, None) {
            limits.min_bytes = self.after_bytes.unwrap_or_default();
            limits.min_segments = self.after_segments.unwrap_or_default();
            limits.min_age_ms = self.after_ms.unwrap_or_default();
        }
        self.overrides.apply(limits);
    }
}

/// Parts of the key that are looked up only if a rule asks for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// [`MatchKey::cgroup`].
    pub cgroup: bool,
    /// [`MatchKey::process`].
    pub process: bool,
}

/// What the rules say of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The first rule that is met.
    pub rule: Option<u16>,
    /// On the way there a test failed for bytes or age that the connection may yet
    /// reach.
    pub may_change: bool,
}

/// The first rule whose tests `key` meet. Any context; at most one round per
/// node.
pub fn evaluate(nodes: &[Node], key: &MatchKey) -> Verdict {
    let words = Words::new(key);
    let watch = match words.known {
        u64::MAX => GROWS,
        _ => GROWS | MAYBE,
    };
    let mut verdict = Verdict {
        rule: None,
        may_change: false,
    };
    let mut at = 0usize;
    while let Some(node) = nodes.get(at) {
        let word = usize::from(node.word) % WORDS;
        let inside = (words.values[word] & node.mask).wrapping_sub(node.lo) <= node.span;
        let mut target = if inside { node.inside } else { node.outside };
        if node.flags & watch != 0 {
            let known = words.known >> word & 1 != 0;
            verdict.may_change |= known && !inside && node.flags & GROWS != 0;
            if !known {
                // Neither what is asked for nor the opposite.
                target = match node.flags & NEGATED {
                    0 => node.outside,
                    _ => node.inside,
                };
            }
        }
        if target & MATCH != 0 {
            verdict.rule = Some(target & !MATCH);
            break;
        }
        at += 1 + usize::from(target);
    }
    verdict
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_rules))]
mod tests {
    use super::{
        super::vlan::Tags,
        lexer::ParseError,
        parser::{
            is_complete,
            parse, //
        },
        *, //
    };

    fn find(path: &str) -> Result<Cgroup, &'static str> {
        let mut cgroup = Cgroup::default();
        for (i, id) in cgroup.ids.iter_mut().enumerate().take(3) {
            *id = i as u64 + 1;
        }
        match path {
            "/" => Ok(cgroup),
            "/a/b" => Ok(Cgroup { level: 2, ..cgroup }),
            _ => Err("no such cgroup"),
        }
    }

    /// Room for the rules of a test, and little of a kernel's stack.
    struct Small {
        nodes: [Node; 12],
        len: usize,
        rules: [Rule; 4],
    }

    impl Small {
        fn parse(text: &str) -> Result<Self, ParseError> {
            let mut small = Small {
                nodes: [Node::EMPTY; 12],
                len: 0,
                rules: [Rule::default(); 4],
            };
            let parsed = parse(text, &mut small.nodes, &mut small.rules, &mut find)?;
            small.len = parsed.nodes;
            Ok(small)
        }

        fn evaluate(&self, f: &MatchKey) -> Verdict {
            evaluate(self.nodes.get(..self.len).unwrap_or_default(), f)
        }

        /// The line of the rule that is met.
        fn line(&self, f: &MatchKey) -> u32 {
            let rule = self.evaluate(f).rule;
            rule.and_then(|i| self.rules.get(usize::from(i)))
                .map_or(0, |r| r.line)
        }
    }

    fn web() -> MatchKey {
        MatchKey {
            tuple: Tuple::v4([10, 0, 0, 1], 443, [192, 0, 2, 7], 40_000),
            direction: Some(Direction::Passive),
            uid: Some(33),
            mark: 0x1f,
            cgroup: find("/a/b").ok(),
            ..MatchKey::default()
        }
    }

    /// The line of the rule that `f` meets, 99 on an error. On the stack for as long as
    /// this takes only.
    #[inline(never)]
    fn line_of(text: &str, f: &MatchKey) -> u32 {
        match Small::parse(text) {
            Ok(small) => small.line(f),
            Err(_) => 99,
        }
    }

    /// What becomes of `f`.
    #[inline(never)]
    fn verdict(text: &str, f: &MatchKey) -> Option<Verdict> {
        match Small::parse(text) {
            Ok(small) => Some(small.evaluate(f)),
            Err(_) => None,
        }
    }

    /// The line of the rule that [`web`] meets, 99 on an error.
    fn line(text: &str) -> u32 {
        line_of(text, &web())
    }

    #[test]
    fn first_match_wins() {
        assert_eq!(
            line("port 80 => offload\nport 443 => deny\nany => offload\nend\n"),
            2
        );
        assert_eq!(line("# nothing\n\n any => offload # all\nend"), 3);
        assert_eq!(
            line("port 80 => offload\nany and rport 40000-40001 => deny\nend\n"),
            2
        );
    }

    #[test]
    fn every_test() {
        for met in [
            "any",
            "passive",
            "listen 443",
            "local 10.0.0.0/8",
            "remote 192.0.2.7",
            "address 10.0.0.1,2001:db8::/32",
            "address ::ffff:192.0.2.0/120",
            "lport 400-500",
            "rport 1,40000",
            "port 443",
            "vlan none",
            "mark 0x10/0x10",
            "mark 31",
            "cgroup /",
            "cgroup /a/b",
            "uid 33",
            "uid 1-9,30-40",
            "bytes < 1",
            "bytes <= 0",
            "not active",
            "! request",
        ] {
            let mut text = [0u8; 96];
            let mut len = 0;
            for part in [met, " => offload\nnot (", met, ") => deny\nend"] {
                text[len..len + part.len()].copy_from_slice(part.as_bytes());
                len += part.len();
            }
            let text = core::str::from_utf8(&text[..len]).unwrap_or_default();
            assert_eq!(line(text), 1);
            // What is not met has an opposite that is.
            let one = MatchKey {
                tuple: Tuple {
                    vlan: Tags::of_vlan(9),
                    ..Tuple::v6([1; 16], 1000, [2; 16], 2000)
                },
                direction: Some(Direction::Active),
                request: true,
                uid: Some(99),
                cgroup: Some(Cgroup::default()),
                bytes: 1,
                ..MatchKey::default()
            };
            let expected = if met == "any" { 1 } else { 2 };
            assert_eq!(line_of(text, &one), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_not_met() {
        for text in [
            "process x => offload\nend",
            "not process x => offload\nend",
            "not (process x and port 443) => offload\nend",
            "age > 1s => offload\nend",
            "age < 1s => offload\nend",
        ] {
            assert_eq!(line(text), 0);
        }
        assert_eq!(line("not (process x and port 80) => offload\nend"), 1);
        assert_eq!(line("process x or port 443 => offload\nend"), 1);
    }

    #[test]
    fn bytes_and_age_may_come() {
        let text = "bytes > 4k => offload\nage >= 2s => offload\nend\n";
        let young = MatchKey {
            bytes: 4096,
            age_ms: Some(1999),
            ..web()
        };
        assert!(verdict(text, &young).is_some_and(|v| v.rule.is_none() && v.may_change));
        assert_eq!(
            line_of(
                text,
                &MatchKey {
                    bytes: 4097,
                    ..young
                }
            ),
            1
        );
        let old = MatchKey {
            age_ms: Some(2000),
            ..young
        };
        assert_eq!(line_of(text, &old), 2);
        let text = "port 80 and bytes > 1 => offload\nend";
        assert!(verdict(text, &young).is_some_and(|v| !v.may_change));
    }

    #[test]
    fn settings() {
        let small = Small::parse(
            "any => offload after_bytes 64k after_time 2s user_buffer off legacy_falls 3 \\\n\
             reoffload_delay 1min upload_window 1h batch 12\nend",
        );
        assert!(small.is_ok());
        let Ok(small) = small else {
            return;
        };
        let mut limits = Limits::default();
        let before = limits;
        small.rules[0].apply(&mut limits);
        assert_eq!((limits.min_bytes, limits.min_segments), (65536, 0));
        assert_eq!(limits.min_age_ms, 2000);
        assert_eq!(limits.legacy_falls, 3);
        assert_eq!(limits.reoffload_delay_ms, 60_000);
        assert_eq!(limits.upload_window_ms, 3_600_000);
        assert_eq!(limits.legacy_max_ms, before.legacy_max_ms);
        assert!(small.rules[0].overrides.get(Knob::UserBuffer) == Some(0));
        assert!(small.rules[0].overrides.get(Knob::LegacyMax).is_none());
        assert!(small.rules[0].overrides.get(Knob::Batch) == Some(12));
        for bad in ["0", "513", "x", "-1", ""] {
            let mut text = [b' '; 40];
            let rule = b"any => offload batch     \nend";
            text[..rule.len()].copy_from_slice(rule);
            text[21..21 + bad.len()].copy_from_slice(bad.as_bytes());
            let text = core::str::from_utf8(&text[..rule.len()]);
            assert!(text.is_ok_and(|text| Small::parse(text).is_err()));
        }
        // A rule that does not say when leaves that to the device.
        for (text, segments) in [
            ("any => offload legacy_max 1s\nend", before.min_segments),
            ("any => offload at_establishment\nend", 0),
            ("any => offload after_segments 3\nend", 3),
        ] {
            let mut limits = before;
            assert!(Small::parse(text)
                .map(|s| s.rules[0].apply(&mut limits))
                .is_ok());
            assert_eq!(limits.min_segments, segments);
        }
    }

    #[test]
    fn errors_have_a_place() {
        for (text, line, column) in [
            ("port 80 => offload\n", 2, 1),
            ("port eighty => offload\nend", 1, 6),
            ("port 80 => offload\nport 99999 => deny\nend", 2, 6),
            ("(port 80\n or port 81 => deny\nend", 2, 13),
            ("port 80 or => deny\nend", 1, 12),
            ("any => offload after_time 3\nend", 1, 27),
            ("any => offload legacy_max 1s legacy_max 1s\nend", 1, 30),
            ("cgroup /none => deny\nend", 1, 8),
            ("end\nany => deny", 2, 1),
            ("process \"a b => deny\nend", 1, 9),
            ("mark 3/2 => deny\nend", 1, 6),
            ("((((((((( any ))))))))) => deny\nend", 1, 9),
            ("any => deny after_bytes 1\nend", 1, 13),
            (
                "any => deny\nany => deny\nany => deny\nany => deny\nany => deny\nend",
                5,
                1,
            ),
        ] {
            let error = Small::parse(text).err().map(|e| (e.line, e.column));
            assert!(error == Some((line, column)));
        }
    }

    #[test]
    fn the_end_is_a_line() {
        assert!(is_complete(b"any => deny\nend\n"));
        assert!(is_complete(b"any => deny\n end # of it\n"));
        assert!(!is_complete(b"any => deny\nend"));
        assert!(!is_complete(b"any => deny\nendless\n"));
        assert!(!is_complete(b"process end => deny\n"));
    }

    #[test]
    fn descriptions() {
        let read = |text| describe::describe(text, MatchKey::default(), &mut find);
        let key = read("passive local 10.0.0.1 lport 443 remote 192.0.2.7 rport 40000 uid 33 mark 0x1f cgroup /a/b");
        assert!(key.is_ok_and(|f| f.tuple == web().tuple
            && f.direction == web().direction
            && f.uid == web().uid
            && f.mark == web().mark
            && f.cgroup == web().cgroup));
        for (text, column) in [
            ("local 10.0.0.1", 15),
            ("local 10.0.0.1 remote ::1", 26),
            ("local 10.0.0.1/8", 7),
            ("lport 1-2", 7),
            ("nothing", 1),
            ("cgroup /none", 8),
        ] {
            assert!(read(text).err().map(|e| e.column) == Some(column));
        }
    }
}
