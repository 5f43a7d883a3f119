// SPDX-License-Identifier: GPL-2.0
//! What the tests of a guest have shown, by their output, by what the guest's runner said,
//! and by the kernel's log.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::guest::GUEST_LIMIT;
use super::select::{by_log, shown};
use super::{announce, Count, Entry};
use crate::ktap::{self, Verdict};
use crate::splat;
use crate::vm::{End, Outcome};

/// What the guest's runner said of one test.
#[derive(Clone, Default)]
pub struct Told {
    pub code: Option<i32>,
    /// By the host's clock, for a guest's may count instructions.
    pub begun: Option<Instant>,
    pub seconds: u64,
}

pub type Progress = HashMap<String, Told>;

/// How many of the tests had ended when their guest did.
pub fn complete(tests: &[String], progress: &Progress) -> usize {
    tests
        .iter()
        .take_while(|test| progress.get(*test).is_some_and(|told| told.code.is_some()))
        .count()
}

/// The lines of `log` before the first that has `word` in it.
pub fn before(log: &str, word: &str) -> String {
    log.lines()
        .take_while(|line| !line.contains(word))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The guest's whole run: results, and how many tests are dealt with.
pub fn evaluate(
    tests: &[String],
    outcome: &Outcome,
    progress: &Progress,
    dir: &Path,
) -> (Vec<Entry>, usize) {
    let parts = parts(&outcome.log);
    let mut entries = Vec::new();
    let mut done = 0;
    for test in tests {
        let Some(told) = progress.get(test) else {
            break;
        };
        done += 1;
        let log = parts.get(test.as_str()).map_or("", String::as_str);
        let results = judge(
            test,
            told,
            &read(&dir.join("tests").join(test)),
            log,
            &outcome.end,
        );
        // One that the guest died in has not been announced either.
        if by_log(test) || told.code.is_none() {
            announce(
                &shown(test),
                Count::of(&results),
                Duration::from_secs(told.seconds),
            );
        }
        entries.extend(results);
    }
    // Between tests nothing of ours runs, but somebody has to answer for it.
    for splat in parts.get("").map_or(Vec::new(), |log| splat::find(log)) {
        entries.push(Entry::new(
            "kernel/outside_of_tests",
            Verdict::Fail,
            splat.lines,
        ));
    }
    if done == 0 {
        let mut notes: Vec<_> = outcome
            .log
            .lines()
            .rev()
            .take(30)
            .map(str::to_owned)
            .collect();
        notes.reverse();
        notes.extend(read(&dir.join("errors")).lines().map(str::to_owned));
        entries.push(Entry::new("kernel/boot", Verdict::Fail, notes));
        // Another guest would not do better.
        entries.extend(
            tests
                .iter()
                .map(|test| Entry::fail(shown(test), "not run: the guest did not get that far")),
        );
        done = tests.len();
    }
    (entries, done)
}

/// The kernel's log cut by test; what lies between tests is under "".
fn parts(log: &str) -> HashMap<&str, String> {
    let mut parts: HashMap<&str, String> = HashMap::new();
    let mut current = "";
    for line in log.lines() {
        let text = splat::text(line);
        if let Some(mark) = text.strip_prefix("toe-test: ") {
            // Work that a test left to the kernel is still its own: not the
            // mark of its end but the next one's beginning ends its part.
            if let Some(test) = mark.strip_prefix("begin ") {
                current = test;
            }
            continue;
        }
        let part = parts.entry(current).or_default();
        part.push_str(line);
        part.push('\n');
    }
    parts
}

/// The results of one test, from its output and its part of the kernel's log.
pub fn judge(test: &str, told: &Told, output: &str, log: &str, end: &End) -> Vec<Entry> {
    let name = shown(test);
    let splats = splat::find(log);
    let lines = || output.lines().map(str::to_owned).collect::<Vec<_>>();
    let Some(code) = told.code else {
        let why = match end {
            End::Timeout => format!(
                "the guest's time of {} s was up in this test",
                GUEST_LIMIT.as_secs()
            ),
            _ => "the guest died in this test".to_owned(),
        };
        let mut notes = lines();
        notes.push(why);
        notes.extend(splats.iter().flat_map(|splat| splat.lines.clone()));
        return vec![Entry::new(name, Verdict::Fail, notes)];
    };

    if test == ":signs" {
        return planted(&name, code, output, log);
    }
    // The controls are the other way round: what they plant must be seen.
    if test == ":warn" || test == ":leak" {
        let seen = match test {
            ":warn" => code == 0 && !splats.is_empty(),
            _ => code == 1 && output.contains("unreferenced object"),
        };
        let verdict = match (seen, code) {
            (true, _) => Verdict::Pass,
            (false, 4) => Verdict::Skip("the kernel has no kmemleak".into()),
            (false, _) => Verdict::Fail,
        };
        let mut notes = lines();
        notes.push("the planted fault was not reported".to_owned());
        return vec![Entry::new(name, verdict, notes)];
    }

    // KUnit's reports are lines of the kernel's log.
    let report = ktap::parse(output.lines().map(splat::text));
    let mut entries: Vec<Entry> = report
        .cases
        .into_iter()
        .map(|case| Entry::new(format!("{name}/{}", case.name), case.verdict, case.notes))
        .collect();
    entries.extend(
        report
            .broken
            .into_iter()
            .map(|why| Entry::fail(format!("{name}/plan"), why)),
    );
    let failed = entries.iter().any(|entry| entry.verdict == Verdict::Fail);
    match code {
        0 if entries.is_empty() && matches!(test, ":kunit" | ":autorun") => {
            entries.push(Entry::fail(name.clone(), "no suite has reported"));
        }
        0 if entries.is_empty() => {
            entries.push(Entry::new(name.clone(), Verdict::Pass, Vec::new()))
        }
        0 => {}
        4 if test == ":leaks" => {
            entries.push(Entry::new(
                name.clone(),
                Verdict::Skip("the kernel has no kmemleak".into()),
                Vec::new(),
            ));
        }
        4 => {
            let reason = report.skipped.unwrap_or_else(|| last_line(output));
            if entries.is_empty() {
                entries.push(Entry::new(name.clone(), Verdict::Skip(reason), Vec::new()));
            }
        }
        _ if failed => {}
        _ => {
            let mut notes = lines();
            notes.push(format!("exit code {code}"));
            entries.push(Entry::new(name.clone(), Verdict::Fail, notes));
        }
    }
    for splat in splats {
        entries.push(Entry::new(
            format!("{name}/kernel_report"),
            Verdict::Fail,
            splat.lines,
        ));
    }
    entries
}

/// Checks that each sign that was planted fails the test whose log it is in.
fn planted(name: &str, code: i32, output: &str, log: &str) -> Vec<Entry> {
    let told = Told {
        code: Some(0),
        ..Told::default()
    };
    let mut notes: Vec<String> = output.lines().map(str::to_owned).collect();
    let mut missed = code != 0;
    for (n, sign) in splat::signs().enumerate() {
        let mark = format!("toe-sign: {n}");
        let part: String = log
            .lines()
            .skip_while(|line| splat::text(line) != mark)
            .skip(1)
            .take_while(|line| !splat::text(line).starts_with("toe-sign: "))
            .flat_map(|line| [line, "\n"])
            .collect();
        let results = judge("planted", &told, "", &part, &End::Exit(0));
        if Count::of(&results).failed == 0 {
            missed = true;
            notes.push(format!("planted and not seen: {}", sign.words));
        }
    }
    let verdict = match missed {
        true => Verdict::Fail,
        false => Verdict::Pass,
    };
    vec![Entry::new(name, verdict, notes)]
}

fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches(['#', ' '])
        .to_owned()
}

pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|data| String::from_utf8_lossy(&data).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::guest::EMULATOR_FAULT;
    use super::*;

    fn told(code: i32) -> Told {
        Told {
            code: Some(code),
            ..Told::default()
        }
    }

    fn verdicts(test: &str, code: i32, output: &str, log: &str) -> Vec<(String, Verdict)> {
        judge(test, &told(code), output, log, &End::Exit(0))
            .into_iter()
            .map(|entry| (entry.name, entry.verdict))
            .collect()
    }

    #[test]
    fn a_report_of_the_kernel_fails_a_test_that_passed() {
        let got = verdicts(
            "test_x.sh",
            0,
            "KTAP version 1\n1..1\nok 1 a\n",
            "[ 1.0] BUG: bad\n",
        );
        assert_eq!(got[0], ("kselftest/test_x/a".into(), Verdict::Pass));
        assert_eq!(
            got[1],
            ("kselftest/test_x/kernel_report".into(), Verdict::Fail)
        );
    }

    #[test]
    fn an_exit_code_without_a_failed_case_is_a_failure() {
        let got = verdicts("test_x", 1, "KTAP version 1\n1..1\nok 1 a\n", "");
        assert_eq!(got[1], ("kselftest/test_x".into(), Verdict::Fail));
    }

    #[test]
    fn suites_of_kunit_that_say_nothing_are_a_failure() {
        assert_eq!(verdicts(":kunit", 0, "", "")[0].1, Verdict::Fail);
        let log = "[ 1.0] KTAP version 1\n[ 1.0] 1..1\n[ 1.1] ok 1 toe_seq\n";
        let got = verdicts(":kunit", 0, log, "");
        assert_eq!(got, [("kunit/toe_seq".into(), Verdict::Pass)]);
    }

    #[test]
    fn controls_pass_only_when_the_fault_is_seen() {
        assert_eq!(
            verdicts(":warn", 0, "", "[ 1.0] WARNING: planted\n")[0].1,
            Verdict::Pass
        );
        assert_eq!(
            verdicts(":warn", 0, "", "[ 1.0] fine\n")[0].1,
            Verdict::Fail
        );
        assert_eq!(
            verdicts(":leak", 1, "# unreferenced object 0x1\n", "")[0].1,
            Verdict::Pass
        );
        assert_eq!(verdicts(":leak", 0, "", "")[0].1, Verdict::Fail);
        assert_eq!(verdicts(":leak", 5, "# no plant\n", "")[0].1, Verdict::Fail);
    }

    #[test]
    fn each_sign_fails_the_test_that_it_is_in() {
        let mut log = String::new();
        for (n, sign) in splat::signs().enumerate() {
            log += &format!("[ 1.0] toe-sign: {n}\n[ 1.0] {} planted\n", sign.words);
            let line = format!("[ 1.0] {}\n", sign.words);
            assert_eq!(
                verdicts("test_x", 0, "", &line).last().map(|v| v.1.clone()),
                Some(Verdict::Fail),
                "{}",
                sign.words
            );
        }
        assert_eq!(verdicts(":signs", 0, "", &log)[0].1, Verdict::Pass);
        assert_eq!(verdicts(":signs", 1, "", &log)[0].1, Verdict::Fail);
        let one_less = log.replacen("refcount_t", "refcount", 1);
        assert_eq!(verdicts(":signs", 0, "", &one_less)[0].1, Verdict::Fail);
    }

    #[test]
    fn a_guest_that_died_fails_its_test() {
        let got = judge("test_x", &Told::default(), "", "", &End::Died);
        assert_eq!(got[0].verdict, Verdict::Fail);
    }

    #[test]
    fn what_had_ended_before_the_emulators_fault_counts() {
        let tests = ["a", "b", "c"].map(String::from);
        let mut progress = Progress::new();
        progress.insert("a".into(), told(0));
        progress.insert("b".into(), Told::default());
        assert_eq!(complete(&tests, &progress), 1);
        let log = "[ 1.0] x\n[ 1.1] Oops: int3: 0000 [#1]\n[ 1.2] Call Trace:\n";
        assert_eq!(before(log, EMULATOR_FAULT), "[ 1.0] x\n");
    }

    #[test]
    fn the_log_is_cut_by_marks() {
        let log = "[ 0.1] boot\n[ 1.0] toe-test: begin a\n[ 1.1] x\n[ 1.2] toe-test: end a\n[ 1.3] late\n[ 2.0] toe-test: begin b\n[ 2.1] y\n";
        let parts = parts(log);
        assert_eq!(parts[""], "[ 0.1] boot\n");
        assert_eq!(parts["a"], "[ 1.1] x\n[ 1.3] late\n");
        assert_eq!(parts["b"], "[ 2.1] y\n");
    }
}
