// SPDX-License-Identifier: GPL-2.0
//! The tests that run in a guest: KUnit suites, kselftests, leak check, and
//! the negative controls that show that the checks would see a fault.
//!
//! All of them share one guest, each with the module freshly loaded; the
//! guest's part is `xtask/guest/run-tests`. After a fault that blinds the
//! kernel's checkers, or ends the guest, the rest runs in another guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::judge::{before, complete, evaluate, judge, read, Progress, Told};
use super::select::{by_log, checked, on_request, select, selftests, shown, COUNTED};
use super::{announce, Count, Entry};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::paths;
use crate::setup;
use crate::toolchain;
use crate::ui::{self, Step};
use crate::vm::qemu::{kvm_works, Accel, Machine};
use crate::vm::{self, End, Outcome, Run, Sink, Stream};

/// The longest a guest may take, for all of its tests.
pub const GUEST_LIMIT: Duration = Duration::from_secs(60 * 60);

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
pub const EMULATOR_FAULT: &str = "Oops: int3";

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
    let mut queues = match flavour {
        Some(Flavour::Release) => {
            let all = others.into_iter().chain(checked).collect();
            vec![("plain", Flavour::Release, all)]
        }
        Some(Flavour::Debug) => vec![
            ("checked", Flavour::Debug, checked),
            ("plain", Flavour::Debug, others),
        ],
        None => vec![
            ("plain", Flavour::Release, others),
            ("checked", Flavour::Debug, checked),
        ],
    };
    queues.retain(|(_, _, tests): &(_, _, Vec<String>)| !tests.is_empty());
    let counted_on = flavour.unwrap_or(Flavour::Release);
    let mut kernels: Vec<_> = queues
        .iter()
        .map(|(_, flavour, tests)| format!("{} on the {flavour} kernel", tests.len()))
        .collect();
    if !counted.is_empty() {
        kernels.push(format!("{} by counted instructions", counted.len()));
    }
    let title = format!("{total} test(s): {}", kernels.join(", "));

    let mut grounds = Grounds::new(series);
    let first = match queues.first() {
        Some((_, flavour, _)) if counted.is_empty() => *flavour,
        _ => counted_on,
    };
    let source = grounds
        .get(first)?
        .kernel
        .build
        .join("source")
        .canonicalize()
        .context("the kernel's source")?;
    compile(&source, &mut entries);
    let suite = Suite {
        source: &source,
        total,
        verbose,
        step: Arc::new(Mutex::new(Step::new(title))),
        begun: Arc::new(AtomicUsize::new(0)),
    };
    thread::scope(|scope| {
        // One that counts instructions does not mind what the machine does meanwhile: the
        // other module is built.
        let beside = if counted.is_empty() {
            None
        } else {
            let (suite, ground) = (&suite, grounds.get(counted_on)?);
            Some(scope.spawn(move || suite.queue("counted", &ground, counted)))
        };
        for (_, flavour, _) in &queues {
            grounds.get(*flavour)?;
        }
        if let Some(guest) = beside {
            entries.extend(guest.join().expect("no panics")?);
        }
        // One after the other: two guests of two CPUs each make tests wait for time
        // that others take, where there is no KVM, and are not done earlier.
        for (name, flavour, tests) in queues {
            entries.extend(suite.queue(name, &grounds.get(flavour)?, tests)?);
        }
        Ok(entries)
    })
}

/// The kernels of a run, each made ready once.
struct Grounds<'a> {
    series: &'a str,
    ready: Vec<Ground>,
}

impl<'a> Grounds<'a> {
    fn new(series: &'a str) -> Self {
        Self {
            series,
            ready: Vec::new(),
        }
    }

    fn get(&mut self, flavour: Flavour) -> Result<Ground> {
        let known = self.ready.iter().find(|ground| ground.flavour == flavour);
        if let Some(ground) = known {
            return Ok(ground.clone());
        }
        let ground = Ground::new(self.series, flavour)?;
        self.ready.push(ground.clone());
        Ok(ground)
    }
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
            .arg(toolchain::jobs())
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
