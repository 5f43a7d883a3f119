// SPDX-License-Identifier: GPL-2.0
//! The tests that need no kernel: the logic under cargo's test runner, and
//! this program's own.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::{announce, Count, Entry};
use crate::ktap::Verdict;
use crate::paths;
use crate::ui::{self, Step};

/// The crates, by the name their results are shown under.
const CRATES: &[(&str, &str)] = &[("model", "xtask/model"), ("xtask", "xtask")];

pub fn run(filter: &str, verbose: bool) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (name, dir) in CRATES {
        let manifest = paths::repo().join(dir).join("Cargo.toml");
        if manifest.is_file() {
            entries.extend(one(name, &manifest, filter, verbose)?);
        }
    }
    Ok(entries)
}

fn one(name: &str, manifest: &Path, filter: &str, verbose: bool) -> Result<Vec<Entry>> {
    let start = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--no-fail-fast", "--manifest-path"])
        .arg(manifest);
    if !filter.is_empty() {
        command.args([
            "--",
            filter
                .strip_prefix(&format!("host/{name}/"))
                .unwrap_or(filter),
        ]);
    }
    let log = paths::target().join(format!("log/test-{name}"));
    let mut step = Step::new(format!("host tests of {name}"));
    let mut lines = Vec::new();
    let status = ui::run_lines(&mut command, &log, |line| {
        step.message(line);
        if verbose {
            step.println(line);
        }
        lines.push(line.to_owned());
    })?;
    drop(step);

    let mut entries = parse(name, &lines);
    let count = Count::of(&entries);
    if !status.success() && count.failed == 0 {
        // It did not compile, or it was killed.
        let tail = lines[lines.len().saturating_sub(30)..].to_vec();
        entries.push(Entry::new(format!("host/{name}"), Verdict::Fail, tail));
    }
    if !entries.is_empty() {
        announce(
            &format!("host/{name}"),
            Count::of(&entries),
            start.elapsed(),
        );
    }
    Ok(entries)
}

/// Reads what libtest prints.
fn parse(krate: &str, lines: &[String]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section: Option<(String, Vec<String>)> = None;
    let mut sections = Vec::new();
    for line in lines {
        if let Some(test) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            sections.extend(section.replace((test.to_owned(), Vec::new())));
        } else if line == "failures:" || line.starts_with("test result:") {
            sections.extend(section.take());
        } else if let Some((_, text)) = &mut section {
            text.push(line.clone());
        } else if let Some((test, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            let verdict = if outcome.starts_with("ok") {
                Verdict::Pass
            } else if outcome.starts_with("FAILED") {
                Verdict::Fail
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                Verdict::Skip(reason.trim_start_matches([',', ' ']).to_owned())
            } else {
                continue;
            };
            let test = test.strip_suffix(" - should panic").unwrap_or(test);
            entries.push(Entry::new(
                format!("host/{krate}/{test}"),
                verdict,
                Vec::new(),
            ));
        }
    }
    sections.extend(section);
    for (test, text) in sections {
        let name = format!("host/{krate}/{test}");
        if let Some(entry) = entries
            .iter_mut()
            .find(|entry| entry.name == name && entry.verdict == Verdict::Fail)
        {
            entry.notes = text;
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_output() {
        let text = "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored, slow\n\
                    failures:\n---- c stdout ----\nleft: 1\nfailures:\n    c\ntest result: FAILED.\n";
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let entries = parse("x", &lines);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].name, "host/x/a::b");
        assert_eq!(entries[1].verdict, Verdict::Fail);
        assert_eq!(entries[1].notes, ["left: 1"]);
        assert_eq!(entries[2].verdict, Verdict::Skip("slow".into()));
    }
}
