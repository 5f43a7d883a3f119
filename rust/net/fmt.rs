// SPDX-License-Identifier: GPL-2.0

//! Printing values of `logic/`, which knows `core::fmt` only.

use kernel::fmt;

/// Longest [`Line`], in bytes.
const LINE: usize = 512;

/// A value whose text is that of `core::fmt`.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: core::fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// A line of text in memory of its own; what does not fit is cut off.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    buf: [u8; LINE],
    len: usize,
}

impl Line {
    pub(crate) const EMPTY: Self = Line {
        buf: [0; LINE],
        len: 0,
    };

    /// Replaces the text.
    pub(crate) fn set(&mut self, text: core::fmt::Arguments<'_>) {
        self.len = 0;
        // It takes what fits, and never fails.
        let _ = core::fmt::Write::write_fmt(self, text);
    }

    /// The text, or another one if it is empty.
    pub(crate) fn or<'a>(&'a self, other: &'a str) -> &'a str {
        match core::str::from_utf8(self.buf.get(..self.len).unwrap_or_default()) {
            Ok(text) if !text.is_empty() => text,
            _ => other,
        }
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let mut len = text.len().min(LINE - self.len);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let (from, end) = (text.as_bytes().get(..len), self.len + len);
        if let (Some(to), Some(from)) = (self.buf.get_mut(self.len..end), from) {
            to.copy_from_slice(from);
            self.len = end;
        }
        Ok(())
    }
}
