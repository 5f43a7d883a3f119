// SPDX-License-Identifier: GPL-2.0
//! Finds in a kernel's log what must never be there: warnings, oopses, and the
//! reports of the checkers.

/// A place in the log, with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splat {
    /// The line that gave it away.
    pub title: String,
    /// That line and those of the report after it.
    pub lines: Vec<String>,
}

/// How much of a report is shown.
const MAX_LINES: usize = 45;

/// The signs, and what is harmless: shared with the kselftests.
const FILE: &str = include_str!("../../selftests/splats");

/// What gives a report away: how such a line begins, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    /// The words.
    pub words: &'static str,
    /// They are the line's first, behind its time stamp.
    first: bool,
}

impl Sign {
    fn is_in(&self, text: &str) -> bool {
        match self.first {
            true => text.starts_with(self.words),
            false => text.contains(self.words),
        }
    }
}

/// All signs.
pub fn signs() -> impl Iterator<Item = Sign> {
    FILE.lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .map(|line| Sign {
            words: line.strip_prefix('^').unwrap_or(line),
            first: line.starts_with('^'),
        })
}

/// Does a line that begins like this tell of no fault, whatever is in it?
fn harmless(text: &str) -> bool {
    FILE.lines()
        .filter_map(|line| line.strip_prefix('!'))
        .any(|harmless| text.starts_with(harmless))
}

/// A line without `[   12.345678] ` or `[   12.345678][ T123] ` in front.
pub fn text(line: &str) -> &str {
    let mut rest = line.trim_end();
    // A log level, as `dmesg -r` and /dev/kmsg have it.
    if let Some((level, tail)) = rest.strip_prefix('<').and_then(|tail| tail.split_once('>')) {
        if level.bytes().all(|byte| byte.is_ascii_digit()) {
            rest = tail;
        }
    }
    while let Some((stamp, tail)) = rest.strip_prefix('[').and_then(|tail| tail.split_once(']')) {
        let stamp = stamp.trim();
        let is_stamp = stamp.starts_with(|c: char| c.is_ascii_digit() || c == 'T' || c == 'C')
            && stamp
                .chars()
                .skip(1)
                .all(|c| c.is_ascii_digit() || c == '.');
        if !is_stamp {
            break;
        }
        rest = tail;
    }
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// All reports in a kernel log, in order.
pub fn find(log: &str) -> Vec<Splat> {
    let signs: Vec<_> = signs().collect();
    let mut found: Vec<Splat> = Vec::new();
    let mut open = false;
    // In the trace of one who asked for memory that a test did not let him have.
    let mut traced = false;
    for line in log.lines() {
        let text = text(line);
        if text.starts_with("FAULT_INJECTION: forcing a failure")
            || text.contains("invoked oom-killer")
        {
            open = false;
            traced = true;
            continue;
        }
        traced &= !text.contains("</TASK>");
        let sign = signs.iter().any(|sign| sign.is_in(text))
            && !harmless(text)
            && !(traced && of_a_trace(text));
        // Lines of a report belong to it: they do not begin another. A line of
        // dashes or `cut here` ends one.
        let edge = text.contains("[ end trace") || text.starts_with("=====");
        if sign && !(open && inside(text)) {
            found.push(Splat {
                title: text.to_owned(),
                lines: vec![text.to_owned()],
            });
            open = true;
            continue;
        }
        if open {
            let splat = found.last_mut().expect("a report is open");
            if splat.lines.len() < MAX_LINES {
                splat.lines.push(text.to_owned());
            }
            if edge || splat.lines.len() >= MAX_LINES {
                open = false;
            }
        }
    }
    found
}

/// Signs that turn up within other reports.
fn inside(text: &str) -> bool {
    text.contains("locks held by")
        || text.contains("lock held by")
        || text.starts_with("Kernel panic")
        || of_a_trace(text)
}

/// What every trace has, whatever it is printed for.
fn of_a_trace(text: &str) -> bool {
    text.starts_with("Call Trace:") || text.starts_with("RIP:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_go() {
        assert_eq!(text("[    1.234567] hello"), "hello");
        assert_eq!(text("[    1.234567][  T123] hello [x]"), "hello [x]");
        assert_eq!(text("<4>[    1.2] hello"), "hello");
        assert_eq!(text("[toe] hello"), "[toe] hello");
    }

    #[test]
    fn a_warning_is_found_once_with_its_trace() {
        let log = "[ 1.0] fine\n[ 1.1] ------------[ cut here ]------------\n\
                   [ 1.1] WARNING: net/core/dev.c:1 at foo+0x1/0x2\n[ 1.1] Call Trace:\n\
                   [ 1.1] ---[ end trace 0 ]---\n[ 1.2] fine again\n";
        let found = find(log);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines.len(), 3);
    }

    #[test]
    fn two_reports_are_two() {
        let log = "BUG: KASAN: use-after-free in x\nCall Trace:\n==========\n\
                   BUG: sleeping function called from invalid context at y\n";
        assert_eq!(find(log).len(), 2);
    }

    #[test]
    fn ordinary_lines_are_not_reports() {
        let log = "[ 0.0] Linux version 7.3\n[ 1.0]     ok 1 refcount_t: test\n\
                   [ 1.0] toe: device toe0 registered\n";
        assert!(find(log).is_empty());
    }

    #[test]
    fn every_sign_is_found() {
        for sign in signs() {
            let words = sign.words;
            assert_eq!(find(&format!("[ 1.0] {words} 1")).len(), 1, "{words}");
            // And ends the harmless trace before it.
            let log = format!("FAULT_INJECTION: forcing a failure.\n </TASK>\n{words} 1");
            assert_eq!(find(&log).len(), 1, "{words}");
        }
        assert!(signs().count() > 50);
    }

    #[test]
    fn traces_that_a_test_asked_for_are_not_reports() {
        for first in [
            "FAULT_INJECTION: forcing a failure.",
            "sh invoked oom-killer: gfp_mask=0x1",
        ] {
            let log = format!(
                "[ 1.0] {first}\n[ 1.0] Call Trace:\n[ 1.0]  <TASK>\n\
                 [ 1.0] RIP: 0033:0x7f\n[ 1.0]  </TASK>\n"
            );
            assert!(find(&log).is_empty(), "{first}");
            // Another one is, and a fault within it is, too.
            assert_eq!(find(&format!("{log}[ 1.1] Call Trace:\n")).len(), 1);
            assert_eq!(find(&log.replace(" <TASK>", "BUG: x")).len(), 1);
        }
        // Words that must come first are none elsewhere.
        assert!(find("[ 1.0] toe: Call Trace: x\n").is_empty());
    }
}
