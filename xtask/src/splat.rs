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

/// What gives a report away. Each is matched against the line without its time
/// stamp.
const SIGNS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "KASAN:",
    "KFENCE:",
    "UBSAN:",
    "Oops:",
    "Oops ",
    "general protection fault",
    "Unable to handle kernel",
    "Kernel panic",
    "rust_kernel: panicked",
    "kernel panicked",
    "rcu: INFO: rcu_",
    "INFO: rcu_",
    "self-detected stall",
    "detected stalls on CPUs",
    "soft lockup",
    "hard LOCKUP",
    "INFO: task ",
    "blocked for more than",
    "INFO: trying to register non-static key",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "bad unlock balance",
    "held lock freed",
    "lock held when returning to user space",
    "locks held by",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "ODEBUG:",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
    "Slab corruption",
    "Redzone overwritten",
    "Poison overwritten",
    "Object already free",
    "Bad page state",
    "new suspected memory leaks",
    "unregister_netdevice: waiting for",
    "leaked reference",
    "ref_tracker:",
    "stack overflow",
    "stack guard page was hit",
    "Fixing recursive fault",
    "double fault",
    "NETDEV WATCHDOG",
    "workqueue lockup",
    "UNHANDLED",
    "Attempt to release alive",
    "page allocation failure",
    // The machine's, not a cgroup's that reached the limit a test gave it.
    "Out of memory: Killed process",
];

/// Lines with one of the signs that are no fault.
const HARMLESS: &[&str] = &[
    // Said by the fault injection that a test asked for: the trace that the
    // injector prints is not a fault, its consequences would be.
    "FAULT_INJECTION: forcing a failure",
    // KUnit prints the name of each test it runs.
    "    ok ",
    "    # ",
    // "Speculative Return Stack Overflow" on the build machines' CPUs.
    "Speculative Return Stack Overflow",
    "Spectre",
    // The guest's timer is the host's problem.
    "hrtimer: interrupt took",
];

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
    let mut found: Vec<Splat> = Vec::new();
    let mut open = false;
    for line in log.lines() {
        let text = text(line);
        if text.starts_with("FAULT_INJECTION: forcing a failure") {
            open = false;
            continue;
        }
        let sign = SIGNS.iter().any(|sign| text.contains(sign))
            && !HARMLESS.iter().any(|harmless| text.starts_with(harmless));
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
        for sign in SIGNS {
            assert_eq!(find(&format!("[ 1.0] {sign} 1")).len(), 1, "{sign}");
        }
    }
}
