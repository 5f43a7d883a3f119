// SPDX-License-Identifier: GPL-2.0
//! What comes out of a guest's command: two streams, each closed by a mark
//! that the command cannot print by accident. The mark of standard error
//! carries the exit code.
//!
//! A mark is needed because the end of a socket cannot tell "the command is
//! done" from "the machine died", and because a guest that reboots right after
//! its last write may lose what QEMU had not taken yet. So the guest waits
//! after the marks, and the host ends it.

/// Follows a stream and finds the mark in it.
pub struct Marked {
    mark: Vec<u8>,
    held: Vec<u8>,
    tail: Option<Vec<u8>>,
}

impl Marked {
    /// A stream that ends with `mark`, then a short text, then a newline.
    pub fn new(mark: &str) -> Self {
        Self {
            mark: mark.as_bytes().to_vec(),
            held: Vec::new(),
            tail: None,
        }
    }

    /// Takes bytes as they arrive and returns those known to be output.
    pub fn push(&mut self, data: &[u8]) -> Vec<u8> {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(data);
            return Vec::new();
        }
        self.held.extend_from_slice(data);
        let found = self
            .held
            .windows(self.mark.len())
            .position(|window| window == self.mark);
        if let Some(at) = found {
            self.tail = Some(self.held.split_off(at + self.mark.len()));
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        // Hold back only what can be the beginning of the mark.
        let keep = (1..self.mark.len().min(self.held.len() + 1))
            .rev()
            .find(|&n| self.held.ends_with(&self.mark[..n]))
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, when the stream ends without its mark.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The text behind the mark, once it is there in full.
    pub fn end(&self) -> Option<String> {
        let tail = self.tail.as_ref()?;
        let newline = tail.iter().position(|&byte| byte == b'\n')?;
        Some(String::from_utf8_lossy(&tail[..newline]).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same result however the stream is cut.
    #[test]
    fn any_cut_gives_the_same_output() {
        let whole = b"one\nMAMARK 7\n";
        for cut in 0..=whole.len() {
            let mut marked = Marked::new("MARK");
            let mut out = marked.push(&whole[..cut]);
            out.extend(marked.push(&whole[cut..]));
            assert_eq!(out, b"one\nMA", "cut at {cut}");
            assert_eq!(marked.end().as_deref(), Some("7"), "cut at {cut}");
        }
    }

    #[test]
    fn without_a_mark_all_of_it_is_output() {
        let mut marked = Marked::new("MARK");
        let mut out = marked.push(b"xMAR");
        assert_eq!(out, b"x");
        out.extend(marked.rest());
        assert_eq!(out, b"xMAR");
        assert_eq!(marked.end(), None);
    }
}
