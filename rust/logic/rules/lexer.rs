// SPDX-License-Identifier: GPL-2.0

//! Words and signs of the rule language, with their places.

/// Bytes of a token that an error shows.
const SHOWN: usize = 24;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A word: anything without blanks and signs, or a text in double quotes.
    Word,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `!`
    Not,
    /// `=>`
    Arrow,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// A token and where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'t> {
    /// What it is.
    pub kind: Kind,
    /// Its text; of one in quotes, what is between them.
    pub text: &'t str,
    /// Line, from 1 on.
    pub line: u32,
    /// Column in characters, from 1 on.
    pub column: u32,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Something else was expected.
    Expected(&'static str),
    /// What was found cannot be, and why.
    Bad(&'static str),
}

/// An error in a text: where, what, and what was found there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1 on.
    pub line: u32,
    /// Column in characters, from 1 on.
    pub column: u32,
    /// What is wrong.
    pub problem: Problem,
    kind: Kind,
    found: [u8; SHOWN],
    len: u8,
}

impl ParseError {
    /// An error at a token.
    pub fn at(token: &Token<'_>, problem: Problem) -> Self {
        let mut found = [0; SHOWN];
        let mut len = token.text.len().min(SHOWN);
        while !token.text.is_char_boundary(len) {
            len -= 1;
        }
        if let (Some(to), Some(from)) = (found.get_mut(..len), token.text.as_bytes().get(..len)) {
            to.copy_from_slice(from);
        }
        Self {
            line: token.line,
            column: token.column,
            problem,
            kind: token.kind,
            found,
            len: len as u8,
        }
    }
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        match self.problem {
            Problem::Expected(what) => write!(f, "expected {what}, found ")?,
            Problem::Bad(why) => write!(f, "{why}: ")?,
        }
        let found = self.found.get(..usize::from(self.len)).unwrap_or_default();
        match self.kind {
            Kind::Newline => f.write_str("the end of the line"),
            Kind::End => f.write_str("the end of the text"),
            _ => write!(f, "`{}`", core::str::from_utf8(found).unwrap_or_default()),
        }
    }
}

/// Takes tokens off a text.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'t> {
    rest: &'t str,
    line: u32,
    column: u32,
}

/// Returns whether the character ends a word.
fn is_sign(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '(' | ')' | ',' | '!' | '=' | '<' | '>' | '#' | '"')
}

impl<'t> Lexer<'t> {
    /// At the beginning of `text`.
    pub fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            line: 1,
            column: 1,
        }
    }

    /// The next `bytes`, of one line.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (head, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.column = self.column.saturating_add(head.chars().count() as u32);
        head
    }

    /// Blanks, comments, and line ends after a backslash.
    fn skip(&mut self) {
        loop {
            let blanks = |c: char| c != '\n' && c.is_whitespace();
            let len = self.rest.len() - self.rest.trim_start_matches(blanks).len();
            self.take(len);
            if self.rest.starts_with('#') {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("\\\n") {
                self.take(1);
                self.newline();
            } else {
                return;
            }
        }
    }

    fn newline(&mut self) -> &'t str {
        let end = self.take(1);
        self.line = self.line.saturating_add(1);
        self.column = 1;
        end
    }

    /// The next token; the end again and again when there is none.
    pub fn token(&mut self) -> Result<Token<'t>, ParseError> {
        self.skip();
        let mut token = Token {
            kind: Kind::End,
            text: "",
            line: self.line,
            column: self.column,
        };
        let mut chars = self.rest.chars();
        let Some(first) = chars.next() else {
            return Ok(token);
        };
        let second = chars.next();
        let (kind, len) = match (first, second) {
            ('\n', _) => {
                token.kind = Kind::Newline;
                token.text = self.newline();
                return Ok(token);
            }
            ('(', _) => (Kind::Open, 1),
            (')', _) => (Kind::Close, 1),
            (',', _) => (Kind::Comma, 1),
            ('!', _) => (Kind::Not, 1),
            ('=', Some('>')) => (Kind::Arrow, 2),
            ('<', Some('=')) => (Kind::LessEqual, 2),
            ('<', _) => (Kind::Less, 1),
            ('>', Some('=')) => (Kind::GreaterEqual, 2),
            ('>', _) => (Kind::Greater, 1),
            ('"', _) => return self.quoted(token),
            (c, _) if is_sign(c) => {
                token.kind = Kind::Word;
                token.text = self.take(first.len_utf8());
                return Err(ParseError::at(&token, Problem::Bad("unexpected character")));
            }
            _ => {
                let len = self.rest.find(is_sign).unwrap_or(self.rest.len());
                // A backslash at the end of the line goes on with the next one.
                let word = self.rest.get(..len).unwrap_or_default();
                let goes_on = word.ends_with('\\')
                    && self.rest.get(len..).is_some_and(|r| r.starts_with('\n'));
                (Kind::Word, if goes_on { len - 1 } else { len })
            }
        };
        token.kind = kind;
        token.text = self.take(len);
        Ok(token)
    }

    fn quoted(&mut self, mut token: Token<'t>) -> Result<Token<'t>, ParseError> {
        token.kind = Kind::Word;
        let inside = self.rest.get(1..).unwrap_or_default();
        let Some(len) = inside
            .find(['"', '\n'])
            .filter(|len| inside.get(*len..).is_some_and(|r| r.starts_with('"')))
        else {
            token.text = self.rest.lines().next().unwrap_or_default();
            return Err(ParseError::at(&token, Problem::Bad("no closing quote")));
        };
        token.text = inside.get(..len).unwrap_or_default();
        self.take(len + 2);
        Ok(token)
    }
}
