// SPDX-License-Identifier: GPL-2.0

//! The description of a connection for a dry run of the rules: words as in rules, each
//! with the one value that the connection has.

use super::{
    lexer::{
        Kind,
        Lexer,
        ParseError,
        Problem,
        Token, //
    },
    name,
    parser::{
        number,
        range,
        size,
        time, //
    },
    Direction,
    FindCgroup,
    MatchKey, //
};
use crate::logic::{
    tuple::Family,
    vlan::Tags, //
};

/// Reads a description. What it does not mention is as in `base`; both addresses
/// have to be there.
pub fn describe(
    text: &str,
    base: MatchKey,
    find: &mut FindCgroup<'_>,
) -> Result<MatchKey, ParseError> {
    let mut lexer = Lexer::new(text);
    let mut key = base;
    let mut local: Option<(Family, [u8; 16])> = None;
    let mut remote: Option<(Family, [u8; 16])> = None;
    loop {
        let word = lexer.token()?;
        match (word.kind, word.text) {
            (Kind::Newline, _) => {}
            (Kind::End, _) => {
                let missing = |what| ParseError::at(&word, Problem::Expected(what));
                let local = local.ok_or(missing("`local` and an address"))?;
                let remote = remote.ok_or(missing("`remote` and an address"))?;
                if local.0 != remote.0 {
                    return Err(ParseError::at(
                        &word,
                        Problem::Bad("addresses of two families"),
                    ));
                }
                (key.tuple.family, key.tuple.local) = local;
                key.tuple.remote = remote.1;
                return Ok(key);
            }
            (Kind::Word, "active") => key.direction = Some(Direction::Active),
            (Kind::Word, "passive") => key.direction = Some(Direction::Passive),
            (Kind::Word, "request") => key.request = true,
            (Kind::Word, "local") => local = Some(value(&mut lexer, "an address", address)?),
            (Kind::Word, "remote") => remote = Some(value(&mut lexer, "an address", address)?),
            (Kind::Word, "lport") => key.tuple.lport = value(&mut lexer, "a port", port)?,
            (Kind::Word, "rport") => key.tuple.rport = value(&mut lexer, "a port", port)?,
            (Kind::Word, "interface") => {
                key.interface = value(&mut lexer, "a name", |t| name(t.as_bytes()))?;
            }
            (Kind::Word, "vlan") => {
                let id = value(&mut lexer, "a VLAN identifier", |t| one(t, 4094))?;
                key.tuple.vlan = Tags::of_vlan(id as u16);
            }
            (Kind::Word, "mark") => key.mark = value(&mut lexer, "a mark", number)?,
            (Kind::Word, "uid") => {
                let uid = value(&mut lexer, "a numeric user", |t| one(t, u32::MAX - 1))?;
                key.uid = Some(uid);
            }
            (Kind::Word, "process") => {
                let process = value(&mut lexer, "a name", |t| name(t.as_bytes()))?;
                key.process = Some(process);
            }
            (Kind::Word, "cgroup") => {
                let path = lexer.token()?;
                match find(path.text) {
                    Ok(cgroup) => key.cgroup = Some(cgroup),
                    Err(why) => return Err(ParseError::at(&path, Problem::Bad(why))),
                }
            }
            (Kind::Word, "segments") => {
                key.segments = value(&mut lexer, "a number", number)?.into();
            }
            (Kind::Word, "age") => {
                let ms = value(&mut lexer, "a time with its unit: ms, s, min or h", time)?;
                key.age_ms = Some(ms.into());
            }
            (Kind::Word, "bytes") => {
                key.bytes = value(&mut lexer, "a number of bytes, as 64k, 1m, 1g", size)?;
            }
            _ => return Err(ParseError::at(&word, Problem::Expected("a property"))),
        }
    }
}

fn value<T>(
    lexer: &mut Lexer<'_>,
    what: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ParseError> {
    let token: Token<'_> = lexer.token()?;
    match token.kind {
        Kind::Word => read(token.text),
        _ => None,
    }
    .ok_or(ParseError::at(&token, Problem::Expected(what)))
}

fn one(text: &str, max: u32) -> Option<u32> {
    range(text, max).and_then(|(lo, hi)| (lo == hi).then_some(lo))
}

fn port(text: &str) -> Option<u16> {
    one(text, 65535).map(|port| port as u16)
}

fn address(text: &str) -> Option<(Family, [u8; 16])> {
    let prefix = super::parser::prefix(text).filter(|_| !text.contains('/'))?;
    Some((prefix.family, prefix.addr))
}
