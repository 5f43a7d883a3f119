// SPDX-License-Identifier: GPL-2.0

//! From text to a program, in one pass and without recursion.
//!
//! A test that was just parsed leaves by one of two exits, [`TRUE`] and [`FALSE`].
//! What follows says where they lead: `and` leads the exit `TRUE` of its left side to the
//! test that comes next, `or` the exit `FALSE`, and the end of the rule leads the rest.
//! `not` swaps the exits of what follows it.

use super::{
    super::{
        policy::{
            Prefix,
            MAX_BATCH, //
        },
        tuple::{
            Family,
            Tuple, //
        }, //
    },
    lexer::{
        Kind,
        Lexer,
        ParseError,
        Problem,
        Token, //
    },
    name,
    Field,
    FindCgroup,
    Knob,
    Needs,
    Node,
    Rule,
    MATCH,
    MAX_DEPTH,
    NEGATED,
    V4, //
};

/// Exits without a target yet.
const TRUE: u16 = 0xffff;
const FALSE: u16 = 0xfffe;

/// The words that begin a test.
const TESTS: [&str; 19] = [
    "any",
    "active",
    "passive",
    "request",
    "listen",
    "local",
    "remote",
    "address",
    "lport",
    "rport",
    "port",
    "interface",
    "vlan",
    "mark",
    "cgroup",
    "uid",
    "process",
    "age",
    "bytes",
];

/// What a text was parsed into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parsed {
    /// Nodes used.
    pub nodes: usize,
    /// Rules used.
    pub rules: usize,
    /// Facts that tests ask for.
    pub needs: Needs,
    /// The least size of user buffers that a rule sets.
    pub user_buffer: Option<u32>,
}

/// Returns whether `text`, or what has arrived of it, has a line `end`.
pub fn is_complete(text: &[u8]) -> bool {
    text.split_inclusive(|b| *b == b'\n').any(|line| {
        let words = line.trim_ascii_start();
        line.ends_with(b"\n")
            && words.strip_prefix(b"end").is_some_and(|rest| {
                rest.first()
                    .is_some_and(|b| b.is_ascii_whitespace() || *b == b'#')
            })
    })
}

/// Parses a text into `nodes` and `rules`. `find` is asked for each cgroup.
///
/// An error names the first place that is wrong, and says nothing of what is in
/// `nodes` and `rules` then.
pub fn parse(
    text: &str,
    nodes: &mut [Node],
    rules: &mut [Rule],
    find: &mut FindCgroup<'_>,
) -> Result<Parsed, ParseError> {
    let mut lexer = Lexer::new(text);
    let token = lexer.token()?;
    let mut p = Parser {
        lexer,
        token,
        nodes,
        len: 0,
        find,
        parsed: Parsed::default(),
    };
    p.text(rules)?;
    p.parsed.nodes = p.len;
    Ok(p.parsed)
}

/// A parenthesis that is open: what was before it.
#[derive(Clone, Copy, Default)]
struct Group {
    /// First node of the operands of `or` so far, and of the last `and` among them.
    or_from: usize,
    and_from: usize,
    /// First node of the parenthesis inside, and whether `not` stands before it.
    inside: usize,
    negate: bool,
}

struct Parser<'t, 's, 'f> {
    lexer: Lexer<'t>,
    /// The one to look at.
    token: Token<'t>,
    nodes: &'s mut [Node],
    len: usize,
    find: &'s mut FindCgroup<'f>,
    parsed: Parsed,
}

type Parse<T = ()> = Result<T, ParseError>;

impl<'t> Parser<'t, '_, '_> {
    fn advance(&mut self) -> Parse<Token<'t>> {
        let next = self.lexer.token()?;
        Ok(core::mem::replace(&mut self.token, next))
    }

    fn expected<T>(&self, what: &'static str) -> Parse<T> {
        Err(ParseError::at(&self.token, Problem::Expected(what)))
    }

    fn bad<T>(&self, why: &'static str) -> Parse<T> {
        Err(ParseError::at(&self.token, Problem::Bad(why)))
    }

    fn is(&self, word: &str) -> bool {
        self.token.kind == Kind::Word && self.token.text == word
    }

    /// Returns whether this word is next, and takes it if so.
    fn takes(&mut self, word: &str) -> Parse<bool> {
        let is = self.is(word);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    /// A word that `read` understands.
    fn value<T>(&mut self, what: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Parse<T> {
        if self.token.kind != Kind::Word {
            return self.expected(what);
        }
        match read(self.token.text) {
            Some(value) => {
                self.advance()?;
                Ok(value)
            }
            None => self.expected(what),
        }
    }

    fn text(&mut self, rules: &mut [Rule]) -> Parse {
        loop {
            while self.token.kind == Kind::Newline {
                self.advance()?;
            }
            if self.token.kind == Kind::End {
                return self.expected("a rule or `end`");
            }
            if self.takes("end")? {
                break;
            }
            if self.parsed.rules >= rules.len() {
                return self.bad("too many rules");
            }
            let rule = self.rule(self.parsed.rules as u16)?;
            if let Some(place) = rules.get_mut(self.parsed.rules) {
                *place = rule;
                self.parsed.rules += 1;
            }
        }
        while self.token.kind == Kind::Newline {
            self.advance()?;
        }
        match self.token.kind {
            Kind::End => Ok(()),
            _ => self.bad("text after `end`"),
        }
    }

    fn rule(&mut self, index: u16) -> Parse<Rule> {
        let (from, line) = (self.len, self.token.line);
        self.expression()?;
        if self.token.kind != Kind::Arrow {
            return self.expected("`and`, `or` or `=>`");
        }
        self.advance()?;
        let rule = self.settings(line)?;
        self.lead(from, TRUE, MATCH | index);
        self.lead(from, FALSE, self.len as u16);
        // How far it is, from the node behind.
        for (next, node) in (from as u16 + 1..).zip(self.since(from)) {
            for place in [&mut node.inside, &mut node.outside] {
                if *place & MATCH == 0 {
                    *place -= next;
                }
            }
        }
        Ok(rule)
    }

    // --- tests

    fn emit(&mut self, node: Node) -> Parse {
        let Some(place) = self.nodes.get_mut(self.len) else {
            return self.bad("too many tests");
        };
        *place = Node {
            inside: TRUE,
            outside: FALSE,
            ..node
        };
        self.len += 1;
        Ok(())
    }

    /// Tests whether the field is in `lo..=hi`.
    fn within(&mut self, field: Field, lo: impl Into<u64>, hi: impl Into<u64>) -> Parse {
        self.emit(Node::new(field, 0, u64::MAX, (lo.into(), hi.into())))
    }

    /// Tests whether a field of two words starts with the first `bits` bits of `bytes`.
    fn starts_with(&mut self, field: Field, bytes: &[u8; 16], bits: u32) -> Parse {
        let from = self.len;
        let whole = u128::MAX.checked_shl(128 - bits).unwrap_or_default();
        for (i, shift) in [(0, 64), (1, 0)] {
            let mask = (whole >> shift) as u64;
            if mask == 0 {
                break;
            }
            let value = (u128::from_be_bytes(*bytes) >> shift) as u64 & mask;
            self.lead(from, TRUE, self.len as u16);
            self.emit(Node::new(field, i, mask, (value, value)))?;
        }
        Ok(())
    }

    /// Tests whether an address is in the prefix.
    fn address(&mut self, (four, six): (Field, Field), prefix: Prefix) -> Parse {
        let from = self.len;
        match prefix.family {
            Family::V4 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.bits));
                let mask = V4 | u64::from(mask.unwrap_or_default());
                let [addr, _] = super::halves(&prefix.addr);
                let value = (V4 | addr >> 32) & mask;
                self.emit(Node::new(four, 0, mask, (value, value)))
            }
            Family::V6 => {
                self.within(Field::Family, 6u8, 6u8)?;
                if prefix.bits > 0 {
                    self.lead(from, TRUE, self.len as u16);
                    self.starts_with(six, &prefix.addr, prefix.bits.into())?;
                }
                Ok(())
            }
        }
    }

    /// What `first` and then `second` emit; one of them has to be met.
    fn either(
        &mut self,
        first: impl FnOnce(&mut Self) -> Parse,
        second: impl FnOnce(&mut Self) -> Parse,
    ) -> Parse {
        let from = self.len;
        first(self)?;
        self.lead(from, FALSE, self.len as u16);
        second(self)
    }

    fn since(&mut self, from: usize) -> &mut [Node] {
        self.nodes.get_mut(from..self.len).unwrap_or_default()
    }

    /// Leads the exit `exit` of the nodes since `from` to `target`.
    fn lead(&mut self, from: usize, exit: u16, target: u16) {
        for node in self.since(from) {
            for place in [&mut node.inside, &mut node.outside] {
                if *place == exit {
                    *place = target;
                }
            }
        }
    }

    /// The opposite of the nodes since `from`.
    fn complement(&mut self, from: usize) {
        let other = |exit| match exit {
            TRUE => FALSE,
            FALSE => TRUE,
            target => target,
        };
        for node in self.since(from) {
            node.flags ^= NEGATED;
            (node.inside, node.outside) = (other(node.inside), other(node.outside));
        }
    }

    /// Tests with `and`, `or`, `not` and parentheses, up to what is none of these.
    fn expression(&mut self) -> Parse {
        let mut stack = [Group::default(); MAX_DEPTH];
        let mut depth = 0usize;
        let mut group = Group {
            or_from: self.len,
            and_from: self.len,
            ..Group::default()
        };
        loop {
            // An operand.
            let mut negate = false;
            while self.token.kind == Kind::Not || self.is("not") {
                negate = !negate;
                self.advance()?;
            }
            if self.token.kind == Kind::Open {
                let Some(outer) = stack.get_mut(depth) else {
                    return self.bad("too many parentheses in each other");
                };
                *outer = Group {
                    inside: self.len,
                    negate,
                    ..group
                };
                depth += 1;
                group.or_from = self.len;
                group.and_from = self.len;
                self.advance()?;
                self.skip_lines()?;
                continue;
            }
            let from = self.len;
            self.test()?;
            if negate {
                self.complement(from);
            }
            // What follows it.
            loop {
                if depth > 0 {
                    self.skip_lines()?;
                }
                if self.takes("and")? {
                    self.lead(group.and_from, TRUE, self.len as u16);
                    break;
                }
                if self.takes("or")? {
                    self.lead(group.or_from, FALSE, self.len as u16);
                    group.and_from = self.len;
                    break;
                }
                if depth == 0 {
                    return Ok(());
                }
                if self.token.kind != Kind::Close {
                    return self.expected("`and`, `or` or `)`");
                }
                self.advance()?;
                depth -= 1;
                if let Some(outer) = stack.get(depth) {
                    group = *outer;
                }
                if group.negate {
                    self.complement(group.inside);
                }
            }
            if depth > 0 {
                self.skip_lines()?;
            }
        }
    }

    /// Within parentheses a rule may take several lines.
    fn skip_lines(&mut self) -> Parse {
        while self.token.kind == Kind::Newline {
            self.advance()?;
        }
        Ok(())
    }

    /// One or more values with commas between them; one of them has to fit.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parse<T>,
        mut test: impl FnMut(&mut Self, T) -> Parse,
    ) -> Parse {
        let from = self.len;
        loop {
            let value = item(self)?;
            test(self, value)?;
            if self.token.kind != Kind::Comma {
                return Ok(());
            }
            self.advance()?;
            self.lead(from, FALSE, self.len as u16);
        }
    }

    fn ports(&mut self, test: impl FnMut(&mut Self, (u32, u32)) -> Parse) -> Parse {
        self.list(
            |p| p.value("a port or a range of ports", |t| range(t, 65535)),
            test,
        )
    }

    fn prefixes(&mut self, test: impl FnMut(&mut Self, Prefix) -> Parse) -> Parse {
        self.list(|p| p.value("an address or a prefix", prefix), test)
    }

    fn names(&mut self, field: Field) -> Parse {
        self.list(
            |p| p.value("a name of at most 15 bytes", |t| name(t.as_bytes())),
            |p, name| p.starts_with(field, &name, 128),
        )
    }

    fn test(&mut self) -> Parse {
        const LOCAL: (Field, Field) = (Field::Local4, Field::Local6);
        const REMOTE: (Field, Field) = (Field::Remote4, Field::Remote6);
        if self.token.kind != Kind::Word || !TESTS.contains(&self.token.text) {
            return self.expected("a test");
        }
        let word = self.advance()?;
        match word.text {
            "active" => self.within(Field::Passive, 0u8, 0u8),
            "passive" => self.within(Field::Passive, 1u8, 1u8),
            "request" => self.within(Field::Request, 1u8, 1u8),
            "listen" => {
                let from = self.len;
                self.within(Field::Passive, 1u8, 1u8)?;
                self.lead(from, TRUE, self.len as u16);
                self.ports(|p, (lo, hi)| p.within(Field::LocalPort, lo, hi))
            }
            "local" => self.prefixes(|p, prefix| p.address(LOCAL, prefix)),
            "remote" => self.prefixes(|p, prefix| p.address(REMOTE, prefix)),
            "address" => self.prefixes(|p, prefix| {
                p.either(|p| p.address(LOCAL, prefix), |p| p.address(REMOTE, prefix))
            }),
            "lport" => self.ports(|p, (lo, hi)| p.within(Field::LocalPort, lo, hi)),
            "rport" => self.ports(|p, (lo, hi)| p.within(Field::RemotePort, lo, hi)),
            "port" => self.ports(|p, (lo, hi)| {
                p.either(
                    |p| p.within(Field::LocalPort, lo, hi),
                    |p| p.within(Field::RemotePort, lo, hi),
                )
            }),
            "interface" => self.names(Field::Interface),
            "vlan" => self.list(
                |p| {
                    p.value("a VLAN identifier, a range, or `none`", |t| match t {
                        "none" => Some((0, 0)),
                        _ => range(t, 4094).filter(|(lo, _)| *lo > 0),
                    })
                },
                |p, (lo, hi)| p.within(Field::Vlan, lo, hi),
            ),
            "mark" => self.list(
                |p| p.value("a mark, or MARK/MASK with a mask that covers it", mark),
                |p, (value, mask)| {
                    let value = u64::from(value);
                    p.emit(Node::new(Field::Mark, 0, mask.into(), (value, value)))
                },
            ),
            "cgroup" => self.list(Self::cgroup, |p, cgroup| {
                let id = cgroup.id();
                p.emit(Node::new(Field::Cgroup, cgroup.level, u64::MAX, (id, id)))
            }),
            "uid" => self.list(
                |p| p.value("a numeric user or a range", |t| range(t, u32::MAX - 1)),
                |p, (lo, hi)| p.within(Field::Uid, lo, hi),
            ),
            "process" => {
                self.parsed.needs.process = true;
                self.names(Field::Process)
            }
            "age" => self.compare(
                "a time with its unit: ms, s, min or h",
                |t| time(t).map(u64::from),
                Field::Age,
            ),
            "bytes" => self.compare("a number of bytes, as 64k, 1m, 1g", size, Field::Bytes),
            _ => self.within(Field::Zero, 0u8, 0u8),
        }
    }

    fn cgroup(&mut self) -> Parse<super::Cgroup> {
        self.parsed.needs.cgroup = true;
        if self.token.kind != Kind::Word || !self.token.text.starts_with('/') {
            return self.expected("the path of a cgroup, from / on");
        }
        match (self.find)(self.token.text) {
            Ok(cgroup) => {
                self.advance()?;
                Ok(cgroup)
            }
            Err(why) => self.bad(why),
        }
    }

    /// `< N` and the like; all of them are made of `>= N`.
    fn compare(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&str) -> Option<u64>,
        field: Field,
    ) -> Parse {
        let (beyond, negate) = match self.token.kind {
            Kind::Less => (0, true),
            Kind::LessEqual => (1, true),
            Kind::Greater => (1, false),
            Kind::GreaterEqual => (0, false),
            _ => return self.expected("`<`, `<=`, `>` or `>=`"),
        };
        self.advance()?;
        let value = self.value(what, read)?;
        let from = self.len;
        self.within(field, value.saturating_add(beyond), u64::MAX)?;
        if negate {
            self.complement(from);
        }
        Ok(())
    }

    // --- settings

    fn settings(&mut self, line: u32) -> Parse<Rule> {
        let mut rule = Rule {
            line,
            ..Rule::default()
        };
        if self.takes("offload")? {
            rule.offload = true;
        } else if !self.takes("deny")? {
            return self.expected("`offload` or `deny`");
        }
        loop {
            match self.token.kind {
                Kind::Newline | Kind::End => return Ok(rule),
                Kind::Word if rule.offload => self.setting(&mut rule)?,
                _ if rule.offload => return self.expected("a setting or the end of the line"),
                _ => return self.expected("the end of the line"),
            }
        }
    }

    fn setting(&mut self, rule: &mut Rule) -> Parse {
        const TIME: &str = "a time with its unit: ms, s, min or h; at most 1h";
        const COUNT: &str = "a number";
        const SIZE: &str = "a number of bytes, as 64k, 1m, 1g";
        let word = self.token;
        let knob = match word.text {
            "after_bytes" => {
                self.fresh(rule.after_bytes.is_none())?;
                rule.after_bytes = Some(self.value(SIZE, size)?);
                return Ok(());
            }
            "after_segments" => {
                self.fresh(rule.after_segments.is_none())?;
                rule.after_segments = Some(self.value(COUNT, number)?);
                return Ok(());
            }
            "at_establishment" => {
                let when = (rule.after_bytes, rule.after_segments, rule.after_ms);
                self.fresh(when == (None, None, None))?;
                rule.after_bytes = Some(0);
                rule.after_segments = Some(0);
                rule.after_ms = Some(0);
                return Ok(());
            }
            "after_time" => {
                self.fresh(rule.after_ms.is_none())?;
                rule.after_ms = Some(self.value("a time with its unit: ms, s, min or h", time)?);
                return Ok(());
            }
            "user_buffer" => Knob::UserBuffer,
            "legacy_falls" => Knob::LegacyFalls,
            "legacy_window" => Knob::LegacyWindow,
            "legacy_max" => Knob::LegacyMax,
            "reoffload_delay" => Knob::ReoffloadDelay,
            "reoffload_delay_max" => Knob::ReoffloadDelayMax,
            "max_uploads" => Knob::MaxUploads,
            "upload_window" => Knob::UploadWindow,
            "batch" => Knob::Batch,
            _ => return self.expected("a setting or the end of the line"),
        };
        self.fresh(rule.overrides.get(knob).is_none())?;
        let value = match knob {
            Knob::UserBuffer => self.value("a number of bytes, as 16k, or `off`", |t| match t {
                "off" => Some(0),
                _ => size(t)
                    .and_then(|n| u32::try_from(n).ok())
                    .filter(|n| *n > 0),
            })?,
            Knob::LegacyFalls | Knob::MaxUploads => self.value(COUNT, number)?,
            Knob::Batch => self.value("a number from 1 to 512", |t| {
                number(t).filter(|n| (1..=MAX_BATCH).contains(n))
            })?,
            Knob::LegacyWindow => self.value(TIME, |t| limited(t).filter(|ms| *ms > 0))?,
            _ => self.value(TIME, limited)?,
        };
        if knob == Knob::UserBuffer && value != 0 {
            let least = self.parsed.user_buffer.map_or(value, |v| v.min(value));
            self.parsed.user_buffer = Some(least);
        }
        rule.overrides.set(knob, value);
        Ok(())
    }

    /// Takes the name of a setting, which may not have come before.
    fn fresh(&mut self, fresh: bool) -> Parse {
        if !fresh {
            return self.bad("set twice");
        }
        self.advance().map(drop)
    }
}

/// `N` or `N-M`, at most `max`.
pub(super) fn range(text: &str, max: u32) -> Option<(u32, u32)> {
    let number = |t: &str| digits(t).filter(|n| *n <= u64::from(max)).map(|n| n as u32);
    let (lo, hi) = text.split_once('-').unwrap_or((text, text));
    let (lo, hi) = (number(lo)?, number(hi)?);
    (lo <= hi).then_some((lo, hi))
}

/// A decimal number, without a sign.
fn digits(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A number and the unit behind it.
fn with_unit(text: &str) -> Option<(u64, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(len)?;
    Some((digits(number).filter(|_| len > 0)?, unit))
}

/// A number of bytes; k, m, g: of 1024 and so on.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = with_unit(text)?;
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// A time in ms; its unit is not left out.
pub(super) fn time(text: &str) -> Option<u32> {
    let (number, unit) = with_unit(text)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    u32::try_from(number.checked_mul(ms)?).ok()
}

/// A time of at most an hour, as the device's own limits.
fn limited(text: &str) -> Option<u32> {
    time(text).filter(|ms| *ms <= 3_600_000)
}

/// A decimal or hexadecimal number.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(hex, 16).ok()
        }
        Some(_) => None,
        None => u32::try_from(digits(text)?).ok(),
    }
}

/// `MARK` or `MARK/MASK`.
fn mark(text: &str) -> Option<(u32, u32)> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value)?, number(mask)?),
        None => (number(text)?, u32::MAX),
    };
    (value & !mask == 0).then_some((value, mask))
}

/// An address, with or without the number of its bits that count.
pub(super) fn prefix(text: &str) -> Option<Prefix> {
    let prefix = Prefix::parse(text.as_bytes())?;
    // IPv4 mapped into IPv6 is IPv4, on the wire and here.
    let mapped = core::net::Ipv6Addr::from(prefix.addr).to_ipv4_mapped();
    match mapped.filter(|_| prefix.family == Family::V6 && prefix.bits >= 96) {
        Some(v4) => Some(Prefix {
            family: Family::V4,
            addr: Tuple::v4(v4.octets(), 0, [0; 4], 0).local,
            bits: prefix.bits - 96,
        }),
        None => Some(prefix),
    }
}
