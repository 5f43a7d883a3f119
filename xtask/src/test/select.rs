// SPDX-License-Identifier: GPL-2.0
//! Which tests there are for a guest, and what kind of guest each wants.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::paths;

/// The programs that run on the debug kernel, and there with kmemleak on:
/// between them they offload and upload by every system call and every special
/// case on the wire, and with no memory at each step. None of them needs speed.
///
/// The debug kernel is ten to twenty times slower under emulation, so that the
/// others run on the release kernel unless asked for (`--debug-kernel`).
const CHECKED: &[&str] = &[
    "test_faults.sh",
    "test_path.sh",
    "test_requests.sh",
    "test_short_cut_torture.sh",
    "test_special.sh",
    "test_torture.sh",
    "test_tree.sh",
];

/// The programs that compare times, and so need a guest with one CPU whose clock counts
/// instructions: there a step takes the same time again, whatever else the machine does.
/// `TOE_ICOUNT` tells them that they have one.
pub const COUNTED: &[&str] = &["test_parity.sh"];

/// Tests that are not programs, by their name in `run-tests` and in results.
const SPECIAL: &[(&str, &str)] = &[
    (":kunit", "kunit"),
    (":autorun", "kunit_on_release"),
    (":leaks", "leaks"),
    (":leak", "control/planted_leak"),
    (":signs", "control/planted_signs"),
    (":warn", "control/planted_warning"),
];

/// Returns whether the kernel's log decides on a test, which the guest hands over last.
pub fn by_log(test: &str) -> bool {
    test == ":warn" || test == ":signs"
}

/// The name results of `test` are shown under.
pub fn shown(test: &str) -> String {
    match SPECIAL.iter().find(|(name, _)| *name == test) {
        Some((_, shown)) => (*shown).to_owned(),
        None => format!("kselftest/{}", test.strip_suffix(".sh").unwrap_or(test)),
    }
}

pub fn selftests() -> PathBuf {
    paths::repo().join("selftests")
}

/// The programs `selftests/test_*`.
fn programs() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(selftests()) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = entry.metadata()?;
        if name.starts_with("test_") && meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Tests that exist and are not run unless a filter names them, with the reason
/// why: `selftests/on_request`, `PROGRAM REASON` a line.
pub fn on_request() -> Vec<(String, String)> {
    let text = fs::read_to_string(selftests().join("on_request")).unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, reason)| (name.to_owned(), reason.trim().to_owned()))
        .collect()
}

/// The tests a filter selects, in the order they run in.
pub fn select(filter: &str) -> Result<Vec<String>> {
    // The suites run on both kernels: KASAN's stack is twice as large.
    let mut tests = vec![":kunit".to_owned(), ":autorun".to_owned()];
    let later = on_request();
    tests.extend(
        programs()?
            .into_iter()
            .filter(|test| !filter.is_empty() || !later.iter().any(|(name, _)| name == test)),
    );
    // The controls come last: the warning is one that blinds lockdep.
    tests.extend([":signs", ":leaks", ":leak", ":warn"].map(String::from));
    // `PROGRAM/CASE` means all of PROGRAM.
    tests.retain(|test| {
        let name = shown(test);
        name.contains(filter) || filter.starts_with(&format!("{name}/"))
    });
    Ok(tests)
}

/// Returns whether a filter selects anything here.
pub fn has(filter: &str) -> Result<bool> {
    Ok(!select(filter)?.is_empty())
}

/// Returns whether a test is one for the debug kernel and kmemleak.
pub fn checked(test: &str) -> bool {
    match test {
        ":autorun" | ":signs" => false,
        _ => test.starts_with(':') || CHECKED.contains(&test),
    }
}
