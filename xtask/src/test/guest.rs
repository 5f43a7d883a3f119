// SPDX-License-Identifier: GPL-2.0
//! The tests that run in a guest: KUnit suites, kselftests, leak check, and
//! the negative controls that show that the checks would see a fault.
//!
//! All of them share one guest, each with the module freshly loaded; the
//! guest's part is `xtask/guest/run-tests`. After a fault that blinds the
//! kernel's checkers, or ends the guest, the rest runs in another guest.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::select::{by_log, checked, on_request, select, selftests, shown, COUNTED};
use super::{announce, Count, Entry};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::ktap::{self, Verdict};
use crate::paths;
use crate::setup;
use crate::splat;
use crate::ui::{self, Step};
use crate::vm::qemu::{kvm_works, Accel, Machine};
use crate::vm::{self, End, Outcome, Run, Sink, Stream};

/// The longest a guest may take, for all of its tests.
const GUEST_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The longest a program may take, unless selftests/settings says otherwise:
/// the kselftests' own convention.
const PROGRAM_LIMIT: u32 = 600;

/// The longest a program may take in a guest whose clock counts instructions, in
/// seconds of it, which passes
/// idle time at once.
const COUNTED_LIMIT: u32 = 24 * 60 * 60;

/// More guests than this would mean that each test kills its own.
const MAX_GUESTS: usize = 8;

/// How often a guest may die of what is no test's fault: on its way to its first
/// test, when nothing of ours is loaded, or of [`EMULATOR_FAULT`].
const MAX_BOOTS: usize = 3;

/// Two emulated processors get the kernel's patching of its own code wrong about
/// once in a hundred guests: one of them runs into a breakpoint that is no longer
/// there. Nothing else leads to this trap: a panic or `BUG()` is another one.
const EMULATOR_FAULT: &str = "Oops: int3";

/// Runs what `filter` selects, all on the kernel of `flavour`, or each on the one
/// it is made for.
pub fn run(
    filter: &str,
    series: &str,
    flavour: Option<Flavour>,
    verbose: bool,
) -> Result<Vec<Entry>> {
    let mut tests = select(filter)?;
    // One kernel, one run of the suites.
    if flavour.is_some() {
        tests.retain(|test| test != ":autorun");
    }
    if tests.is_empty() {
        return Ok(Vec::new());
    }
    setup::workloads()?;
    let mut entries = Vec::new();
    if filter.is_empty() {
        for (test, reason) in on_request() {
            entries.push(Entry::new(shown(&test), Verdict::Skip(reason), Vec::new()));
        }
    }

    let total = tests.len();
    let (counted, tests): (Vec<_>, Vec<_>) = tests
        .into_iter()
        .partition(|test| COUNTED.contains(&test.as_str()));
    let (checked, others): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| checked(test));
    // The release kernel has no kmemleak: one guest does there.
    let queues = match flavour {
        Some(Flavour::Release) => {
            let all = others.into_iter().chain(checked).collect();
            vec![
                ("plain", Flavour::Release, all),
                ("counted", Flavour::Release, counted),
            ]
        }
        Some(Flavour::Debug) => vec![
            ("checked", Flavour::Debug, checked),
            ("plain", Flavour::Debug, others),
            ("counted", Flavour::Debug, counted),
        ],
        None => vec![
            ("plain", Flavour::Release, others),
            ("counted", Flavour::Release, counted),
            ("checked", Flavour::Debug, checked),
        ],
    };
    let mut ready: Vec<(&str, Ground, Vec<String>)> = Vec::new();
    for (name, flavour, tests) in queues {
        if tests.is_empty() {
            continue;
        }
        let same = ready
            .iter()
            .find(|(_, ground, _)| ground.flavour == flavour);
        let ground = match same {
            Some((_, ground, _)) => ground.clone(),
            None => Ground::new(series, flavour)?,
        };
        ready.push((name, ground, tests));
    }
    let Some((_, first, _)) = ready.first() else {
        return Ok(entries);
    };
    let source = first
        .kernel
        .build
        .join("source")
        .canonicalize()
        .context("the kernel's source")?;
    compile(&source, &mut entries);

    let kernels: Vec<_> = ready
        .iter()
        .map(|(_, ground, tests)| format!("{} on the {} kernel", tests.len(), ground.flavour))
        .collect();
    let title = format!("{total} test(s): {}", kernels.join(", "));
    let suite = Suite {
        source: &source,
        total,
        verbose,
        step: Arc::new(Mutex::new(Step::new(title))),
        begun: Arc::new(AtomicUsize::new(0)),
    };
    // One after the other: two guests of two CPUs each make tests wait for time
    // that others take, where there is no KVM, and are not done earlier.
    for (name, ground, tests) in ready {
        entries.extend(suite.queue(name, &ground, tests)?);
    }
    Ok(entries)
}

/// A kernel, and the module built for it.
#[derive(Clone)]
struct Ground {
    flavour: Flavour,
    kernel: Kernel,
    module: PathBuf,
}

impl Ground {
    fn new(series: &str, flavour: Flavour) -> Result<Self> {
        let ready = setup::ready(series, flavour)?;
        let module = setup::module(&ready)?;
        Ok(Self {
            flavour,
            kernel: ready.kernel,
            module,
        })
    }
}

/// What a guest has to be.
#[derive(Clone, Copy)]
struct Kind {
    /// With kmemleak on.
    leaks: bool,
    /// With a clock that counts instructions.
    counted: bool,
}

/// What all the guests of a run have in common.
struct Suite<'a> {
    source: &'a Path,
    total: usize,
    verbose: bool,
    step: Arc<Mutex<Step>>,
    begun: Arc<AtomicUsize>,
}

impl Suite<'_> {
    /// Runs tests one after the other, in as many guests as it takes.
    fn queue(&self, name: &str, ground: &Ground, mut left: Vec<String>) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut boots = 0;
        for round in 0.. {
            if round == MAX_GUESTS {
                let why = "not run: too many guests died before it";
                entries.extend(left.iter().map(|test| Entry::fail(shown(test), why)));
                break;
            }
            let dir = paths::target().join(format!("test/{name}{round}"));
            let leaks = left.iter().any(|test| checked(test));
            let kind = Kind {
                leaks,
                counted: COUNTED.contains(&left[0].as_str()),
            };
            let (mut outcome, progress) = self.boot(ground, &left, &dir, kind)?;
            let died = matches!(outcome.end, End::Died) && boots < MAX_BOOTS;
            if died && !kvm_works() && outcome.log.contains(EMULATOR_FAULT) {
                boots += 1;
                self.say(&format!(
                    "==> the emulator's fault ({EMULATOR_FAULT}): the guest died of it; \
                     once more what it was at; its log is {}",
                    dir.join("log").display()
                ));
                // What was complete by then counts.
                let done = complete(&left, &progress);
                outcome.log = before(&outcome.log, EMULATOR_FAULT);
                if done != 0 {
                    let (results, _) = evaluate(&left[..done], &outcome, &progress, &dir);
                    entries.extend(results);
                    left.drain(..done);
                }
                if left.is_empty() {
                    break;
                }
                continue;
            }
            if died && progress.is_empty() {
                boots += 1;
                self.say(&format!(
                    "==> the guest died before its first test, with no module of ours in it: \
                     once more; its log is {}",
                    dir.join("log").display()
                ));
                continue;
            }
            let (results, done) = evaluate(&left, &outcome, &progress, &dir);
            entries.extend(results);
            left.drain(..done);
            if left.is_empty() {
                break;
            }
            self.say(&format!(
                "==> another guest for the {} test(s) that are left",
                left.len()
            ));
        }
        Ok(entries)
    }

    /// A line for the user.
    fn say(&self, text: &str) {
        let step = self.step.lock().expect("no panics");
        step.suspend(|| eprintln!("{text}"));
    }

    /// Boots a guest for these tests.
    fn boot(
        &self,
        ground: &Ground,
        tests: &[String],
        dir: &Path,
        kind: Kind,
    ) -> Result<(Outcome, Progress)> {
        let progress = Arc::new(Mutex::new(Progress::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let sink: Sink = {
            let (step, progress, dir) = (self.step.clone(), progress.clone(), dir.to_owned());
            let begun = self.begun.clone();
            let verbose = self.verbose;
            let errors = errors.clone();
            let partial = Mutex::new(String::new());
            let total = self.total;
            Arc::new(move |stream, data| {
                if stream == Stream::Err {
                    // The runner's own complaints: tests write to files.
                    errors
                        .lock()
                        .expect("no panics")
                        .push_str(&String::from_utf8_lossy(data));
                    return;
                }
                let mut partial = partial.lock().expect("no panics");
                partial.push_str(&String::from_utf8_lossy(data));
                while let Some(at) = partial.find('\n') {
                    let line: String = partial.drain(..=at).collect();
                    let mut step = step.lock().expect("no panics");
                    follow(
                        line.trim_end(),
                        &mut step,
                        &mut progress.lock().expect("no panics"),
                        &dir,
                        (&begun, total),
                        verbose,
                    );
                }
            })
        };
        let limit = fs::read_to_string(selftests().join("settings"))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("timeout=")?.trim().parse().ok())
            .unwrap_or(PROGRAM_LIMIT);
        let limit = if kind.counted { COUNTED_LIMIT } else { limit };
        let runner = paths::repo().join("xtask/guest/run-tests");
        let mut command = vec![
            "bash".to_owned(),
            runner.display().to_string(),
            ground.module.display().to_string(),
            limit.to_string(),
        ];
        command.extend(tests.iter().cloned());
        // What a user sets to run less, or more.
        let mut env: Vec<_> = std::env::vars()
            .filter(|(name, _)| {
                matches!(
                    name.as_str(),
                    "TOE_SCALE"
                        | "TOE_CASES"
                        | "TOE_LIMIT"
                        | "TOE_STALL"
                        | "TOE_VERBOSE"
                        | "TOE_KIND"
                        | "TOE_SHORT_CUT"
                ) || ["PARITY_", "TORTURE_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            })
            .collect();
        // A debug kernel under emulation is twenty times slower than the real
        // thing: volumes that take a second there would take most of a minute.
        if ground.flavour == Flavour::Debug
            && !kvm_works()
            && !env.iter().any(|(name, _)| name == "TOE_SCALE")
        {
            env.push(("TOE_SCALE".into(), "0.1".into()));
        }
        env.push(("TOE_KSRC".into(), self.source.display().to_string()));
        env.push(("KSRC".into(), self.source.display().to_string()));
        env.push(("TOE_SELFTESTS".into(), selftests().display().to_string()));
        let mut machine = Machine::new(ground.flavour);
        if kind.counted {
            env.push(("TOE_ICOUNT".into(), "1".into()));
            machine.accel = Accel::Icount;
            machine.cpus = 1;
        }
        let run = Run {
            machine: Machine {
                // Suites of the kernel itself are not ours to run, the module's run
                // when it is loaded and they are not filtered out.
                cmdline: vec![
                    "kunit.autorun=1".to_owned(),
                    "kunit.filter_glob=none".to_owned(),
                    format!("kmemleak={}", if kind.leaks { "on" } else { "off" }),
                ],
                ..machine
            },
            kernel: &ground.kernel,
            module: None,
            module_args: String::new(),
            command,
            env,
            timeout: GUEST_LIMIT,
            dir: dir.to_owned(),
        };
        let outcome = vm::run(&run, &sink)?;
        // Where the guest could not hand its log over, keep what there is.
        fs::write(dir.join("log"), &outcome.log).context("the guest's log")?;
        fs::write(
            dir.join("errors"),
            errors.lock().expect("no panics").as_bytes(),
        )?;
        let progress = progress.lock().expect("no panics").clone();
        Ok((outcome, progress))
    }
}

/// Builds the programs that are written in C: the repository's own, and those
/// of the kernel's tree that some tests run. An emulated guest would take long
/// to do it.
fn compile(source: &Path, entries: &mut Vec<Entry>) {
    let Ok(makefile) = fs::read_to_string(selftests().join("Makefile")) else {
        return;
    };
    for target in ["all", "kernel-programs"] {
        if !makefile.contains(&format!("{target}:")) {
            continue;
        }
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(selftests())
            .arg(format!("KSRC={}", source.display()))
            .arg(target);
        make.env_remove("MAKEFLAGS");
        let log = paths::target().join(format!("log/selftests-{target}"));
        if let Err(error) = ui::run_logged(
            &mut make,
            &format!("building the kselftests: {target}"),
            &log,
        ) {
            entries.push(Entry::fail(
                format!("kselftest/build/{target}"),
                format!("{error:#}"),
            ));
        }
    }
}

/// What the guest's runner said of one test.
#[derive(Clone, Default)]
struct Told {
    code: Option<i32>,
    /// By the host's clock, for a guest's may count instructions.
    begun: Option<Instant>,
    seconds: u64,
}

type Progress = HashMap<String, Told>;

/// One line of the runner's output.
fn follow(
    line: &str,
    step: &mut Step,
    progress: &mut Progress,
    dir: &Path,
    (begun, total): (&AtomicUsize, usize),
    verbose: bool,
) {
    let Some(rest) = line.strip_prefix("@@") else {
        step.println(line);
        return;
    };
    let words: Vec<_> = rest.split(' ').collect();
    match words.as_slice() {
        ["begin", test] => {
            let told = Told {
                begun: Some(Instant::now()),
                ..Told::default()
            };
            progress.insert((*test).to_owned(), told);
            let n = begun.fetch_add(1, Ordering::Relaxed) + 1;
            step.message(&format!("{} ({n} of {total})", shown(test)));
        }
        ["end", test, code] => {
            let told = progress.entry((*test).to_owned()).or_default();
            told.code = code.parse().ok();
            told.seconds = told.begun.map_or(0, |begun| begun.elapsed().as_secs());
            let text = read(&dir.join("tests").join(test));
            if verbose {
                step.println(&text);
            }
            // What is judged by the kernel's log has to wait for it.
            if !by_log(test) {
                let count = Count::of(&judge(test, told, &text, "", &End::Exit(0)));
                step.suspend(|| announce(&shown(test), count, Duration::from_secs(told.seconds)));
            }
        }
        ["unsound", test] => step.suspend(|| {
            eprintln!(
                "    after {} the kernel's checkers are blind: no more tests in this guest",
                shown(test)
            );
        }),
        _ => {}
    }
}

/// How many of the tests had ended when their guest did.
fn complete(tests: &[String], progress: &Progress) -> usize {
    tests
        .iter()
        .take_while(|test| progress.get(*test).is_some_and(|told| told.code.is_some()))
        .count()
}

/// The lines of `log` before the first that has `word` in it.
fn before(log: &str, word: &str) -> String {
    log.lines()
        .take_while(|line| !line.contains(word))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The guest's whole run: results, and how many tests are dealt with.
fn evaluate(
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
fn judge(test: &str, told: &Told, output: &str, log: &str, end: &End) -> Vec<Entry> {
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

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|data| String::from_utf8_lossy(&data).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
