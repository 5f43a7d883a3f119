// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask test`: all tests, one report.

mod guest;
mod host;
mod judge;
mod packetdrill;
mod select;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bail_setup;
use crate::fail::Exit;
use crate::flags;
use crate::flavour::Flavour;
use crate::ktap::Verdict;
use crate::paths;

/// How many lines are shown of what a failed test said: its first and its last.
const FIRST_LINES: usize = 15;
const SHOWN_LINES: usize = 40;

/// How much of that is shown in a summary.
const SUMMARY_CHARS: usize = 150;

/// One result.
pub struct Entry {
    /// `host/...`, `kunit/...`, `kselftest/PROGRAM/...`, `control/...`, `packetdrill/...`
    pub name: String,
    pub verdict: Verdict,
    pub notes: Vec<String>,
}

impl Entry {
    fn new(name: impl Into<String>, verdict: Verdict, notes: Vec<String>) -> Self {
        Self {
            name: name.into(),
            verdict,
            notes,
        }
    }

    fn fail(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, vec![why.into()])
    }

    /// The name, and the first thing that was said of it, in one line.
    fn summary(&self) -> String {
        let first = self.notes.first().map_or("", String::as_str);
        let first = first.trim_start_matches(['#', ' ']);
        match first.char_indices().nth(SUMMARY_CHARS) {
            Some((end, _)) => format!("{}: {}...", self.name, &first[..end]),
            None => format!("{}: {first}", self.name),
        }
    }
}

/// How many of each.
#[derive(Default, Clone, Copy)]
pub struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut count = Self::default();
        for entry in entries {
            match entry.verdict {
                Verdict::Pass => count.passed += 1,
                Verdict::Fail => count.failed += 1,
                Verdict::Skip(_) => count.skipped += 1,
            }
        }
        count
    }

    /// `N passed, N failed[, N skipped]`: what a CI looks for in the last line.
    fn line(self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line += &format!(", {} skipped", self.skipped);
        }
        line
    }
}

/// Says how one program fared, as soon as it is known.
fn announce(name: &str, count: Count, took: Duration) {
    let word = if count.failed > 0 {
        "FAIL"
    } else if count.passed == 0 && count.skipped > 0 {
        "skip"
    } else {
        "ok"
    };
    println!("{word:4}  {name}: {} ({} s)", count.line(), took.as_secs());
}

pub fn run(args: &flags::Test) -> Result<()> {
    let start = Instant::now();
    let filter = args.filter.as_deref().unwrap_or("");
    let flavour = match (args.release, args.debug_kernel) {
        (true, _) => Some(Flavour::Release),
        (_, true) => Some(Flavour::Debug),
        _ => None,
    };
    if args.bin.is_some() && (args.host_only || !packetdrill::has(filter)) {
        bail_setup!("--bin is for `cargo xtask test packetdrill`, which these options leave out");
    }
    let mut entries = Vec::new();
    if !args.vm_only {
        entries.extend(host::run(filter, args.verbose)?);
    }
    // A filter that names tests of the host means those.
    let vm = !args.host_only
        && (filter.is_empty()
            || entries.is_empty()
            || select::has(filter)?
            || packetdrill::has(filter));
    if vm {
        entries.extend(guest::run(
            filter,
            &args.kernel.kernel,
            flavour,
            args.verbose,
        )?);
        entries.extend(packetdrill::run(
            filter,
            args.bin.as_deref(),
            &args.kernel.kernel,
            args.verbose,
        )?);
    }

    println!();
    for entry in &entries {
        if let Verdict::Skip(reason) = &entry.verdict {
            println!(
                "SKIP  {}: {}",
                entry.name,
                if reason.is_empty() {
                    "no reason given"
                } else {
                    reason
                }
            );
        }
    }
    for entry in entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Fail)
    {
        println!("FAIL  {}", entry.name);
        // What went wrong comes first, what it looked like afterwards.
        let hidden = entry.notes.len().saturating_sub(FIRST_LINES + SHOWN_LINES);
        let first = if hidden > 0 { FIRST_LINES } else { 0 };
        for note in &entry.notes[..first] {
            println!("      {note}");
        }
        if hidden > 0 {
            println!("      ({hidden} lines more)");
        }
        for note in &entry.notes[first + hidden..] {
            println!("      {note}");
        }
    }
    // Once more in short: of a long report it is the end that is read, and kept.
    for entry in entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Fail)
    {
        println!("FAIL  {}", entry.summary());
    }
    let count = Count::of(&entries);
    let file = write(&entries, count, start.elapsed(), flavour)?;
    println!(
        "results: {} ({} s)",
        file.display(),
        start.elapsed().as_secs()
    );
    if entries.is_empty() {
        println!("no test matches `{filter}`");
    }
    println!("{}", count.line());
    // Nothing was tested: that is no success.
    if count.failed > 0 || entries.is_empty() {
        return Err(Exit(1).into());
    }
    Ok(())
}

#[derive(Serialize)]
struct Results<'a> {
    passed: usize,
    failed: usize,
    skipped: usize,
    seconds: u64,
    kernel: &'a str,
    tests: Vec<Record<'a>>,
}

#[derive(Serialize)]
struct Record<'a> {
    name: &'a str,
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
}

/// Writes the machine-readable results.
fn write(
    entries: &[Entry],
    count: Count,
    took: Duration,
    flavour: Option<Flavour>,
) -> Result<PathBuf> {
    let tests = entries
        .iter()
        .map(|entry| {
            let (verdict, reason) = match &entry.verdict {
                Verdict::Pass => ("pass", None),
                Verdict::Fail => ("fail", None),
                Verdict::Skip(reason) => ("skip", Some(reason.as_str())),
            };
            // What a test that passed had to say is in its log.
            let notes: &[String] = if entry.verdict == Verdict::Fail {
                &entry.notes
            } else {
                &[]
            };
            Record {
                name: &entry.name,
                verdict,
                reason,
                notes,
            }
        })
        .collect();
    let results = Results {
        passed: count.passed,
        failed: count.failed,
        skipped: count.skipped,
        seconds: took.as_secs(),
        kernel: flavour.map_or("each test's own", |flavour| flavour.name()),
        tests,
    };
    let file = paths::target().join("test/results.json");
    let text = serde_json::to_string_pretty(&results).context("results as JSON")?;
    paths::write_atomic(&file, text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_short_line() {
        let long = "x".repeat(SUMMARY_CHARS + 1);
        for (notes, expected) in [
            (vec![], "t: ".to_owned()),
            (
                vec!["# is 0, expected 1", "# more"],
                "t: is 0, expected 1".to_owned(),
            ),
            (vec![long.as_str()], format!("t: {}...", &long[1..])),
        ] {
            let notes = notes.into_iter().map(str::to_owned).collect();
            let entry = Entry::new("t", Verdict::Fail, notes);
            assert_eq!(entry.summary(), expected);
        }
    }
}
