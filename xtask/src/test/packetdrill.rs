// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask test packetdrill --bin PROGRAM`: the kernel's own packetdrill scripts
//! over a pair, in wire mode, with the offload off and with it on. A script that
//! passes with one and not with the other is a difference that an application or a
//! peer can see.
//!
//! Two guests do it at a time, one for either: time counts their instructions, so
//! that they do not disturb each other. The guest's part is
//! `xtask/guest/packetdrill.sh`; what was measured last is in [`RECORD`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{announce, Count, Entry};
use crate::bail_setup;
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::ktap::Verdict;
use crate::paths;
use crate::setup;
use crate::ui::{self, Step};
use crate::vm::qemu::{Accel, Machine};
use crate::vm::{self, End, Outcome, Run};

/// What results are shown under, and what a filter names.
const NAME: &str = "packetdrill";

/// The results as measured last, below the repository.
const RECORD: &str = "selftests/packetdrill/results.txt";

/// Where the kernel has its scripts.
const SCRIPTS: &str = "tools/testing/selftests/net/packetdrill";

/// The longest a guest may take, for all scripts.
const GUEST_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// How `ksft_runner.sh` runs a script that does not say what it is for.
const FAMILIES: [&str; 3] = ["ipv4", "ipv6", "ipv4-mapped-ipv6"];

/// The script injects a frame that is longer than the MTU.
const LONG_FRAME: &str = "injects a frame longer than the MTU, which a TUN device takes";
/// The script's last packet comes before its last calls.
const EARLY_END: &str =
    "makes calls after its last packet, behind which packetdrill's other end resets the connection";
/// The other end does not hear of the script's sockets.
const TWO_CONNECTIONS: &str =
    "makes a second connection, which packetdrill's other end takes for the first";

/// Scripts that cannot pass on a wire, whatever the stack does, and why.
const MISFITS: &[(&str, &str)] = &[
    ("tcp_advmss_pmtu_ipv4", TWO_CONNECTIONS),
    ("tcp_advmss_pmtu_ipv6", TWO_CONNECTIONS),
    ("tcp_blocking_blocking-read", LONG_FRAME),
    ("tcp_dsack_mult", LONG_FRAME),
    ("tcp_fastopen_server_basic-pure-syn-data", TWO_CONNECTIONS),
    ("tcp_fastopen_server_experimental_option", TWO_CONNECTIONS),
    ("tcp_fastopen_server_sockopt-fastopen-key", TWO_CONNECTIONS),
    ("tcp_fastopen_server_trigger-rst-reconnect", TWO_CONNECTIONS),
    ("tcp_inq_client", LONG_FRAME),
    ("tcp_inq_server", LONG_FRAME),
    ("tcp_md5_md5-only-on-client-ack", EARLY_END),
    ("tcp_ooo-before-and-after-accept", LONG_FRAME),
    ("tcp_ooo_rcv_mss", LONG_FRAME),
    ("tcp_rcv_big_endseq", LONG_FRAME),
    ("tcp_rcv_neg_window", LONG_FRAME),
    ("tcp_rcv_wnd_shrink_allowed", LONG_FRAME),
    ("tcp_rcv_wnd_shrink_nomem", LONG_FRAME),
    ("tcp_rcv_zero_wnd_fin", LONG_FRAME),
    ("tcp_rfc5961_rst-syn-recv", TWO_CONNECTIONS),
    ("tcp_rto_synack_rto_max", TWO_CONNECTIONS),
    ("tcp_splice_tcp_splice_loop_test", EARLY_END),
    ("tcp_user_timeout_user-timeout-probe", EARLY_END),
    ("tcp_zerocopy_epoll_edge", EARLY_END),
    ("tcp_zerocopy_epoll_exclusive", EARLY_END),
    ("tcp_zerocopy_epoll_oneshot", EARLY_END),
    ("tcp_zerocopy_fastopen-client", TWO_CONNECTIONS),
];

/// The ways the scripts are run in.
const MODES: [&str; 2] = ["off", "on"];

/// What came of a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcomes {
    /// Whether it passed, with the offload off and on.
    pass: [bool; 2],
    /// Whether a connection was offloaded when it was on.
    offloaded: bool,
}

/// By `FAMILY/NAME`.
type Results = BTreeMap<String, Outcomes>;

/// Returns whether `filter` selects anything here.
pub fn has(filter: &str) -> bool {
    filter.is_empty() || filter.contains(NAME)
}

/// Returns whether `filter` selects the script `test`, `FAMILY/NAME`.
fn selects(filter: &str, test: &str) -> bool {
    format!("{NAME}/{test}").contains(filter)
}

/// Runs the scripts that `filter` selects with the program `bin`.
pub fn run(filter: &str, bin: Option<&Path>, series: &str, verbose: bool) -> Result<Vec<Entry>> {
    if !has(filter) {
        return Ok(Vec::new());
    }
    let skip = |reason: String| Ok(vec![Entry::new(NAME, Verdict::Skip(reason), Vec::new())]);
    let Some(bin) = bin else {
        return skip("needs --bin PROGRAM, a packetdrill that was built on this machine".into());
    };
    let bin = check(bin)?;
    let start = Instant::now();
    let ready = setup::ready(series, Flavour::Release)?;
    let module = setup::module(&ready)?;
    let scripts = ready.kernel.build.join("source").join(SCRIPTS);
    let Ok(scripts) = scripts.canonicalize() else {
        return skip(format!("there is no {}", scripts.display()));
    };
    setup::workloads()?;
    let (tests, mut entries) = list(&scripts, filter)?;
    if tests.is_empty() {
        return Ok(entries);
    }
    compile()?;

    let ground = Ground {
        kernel: &ready.kernel,
        module: &module,
        bin: &bin,
        scripts: &scripts,
        tests: &tests,
        verbose,
        step: Arc::new(Mutex::new(Step::new(format!(
            "{} packetdrill scripts, with the offload off and on",
            tests.len()
        )))),
    };
    let (off, on) = thread::scope(|scope| {
        let off = scope.spawn(|| ground.guest(MODES[0]));
        let on = ground.guest(MODES[1]);
        (off.join().expect("no panics"), on)
    });
    let guests = [off?, on?];
    let measured = merge(&tests, &guests);
    entries.extend(judge(&tests, &guests, &measured));

    let text = render(&measured, &ready.kernel.release);
    // A part does not take the place of the whole.
    let name = match filter.is_empty() || filter == NAME {
        true => "results.txt",
        false => "results-of-part.txt",
    };
    let file = paths::target().join("test/packetdrill").join(name);
    paths::write_atomic(&file, text.as_bytes())?;
    entries.push(compare(&measured, &ready.kernel.release, &file)?);
    announce(NAME, Count::of(&entries), start.elapsed());
    let passed = |mode: usize| measured.values().filter(|o| o.pass[mode]).count();
    println!(
        "      passed: {} with the offload off, {} with it on; \
         {} of these runs offloaded a connection",
        passed(0),
        passed(1),
        measured.values().filter(|o| o.offloaded).count()
    );
    Ok(entries)
}

/// Fails unless `bin` is a packetdrill that knows wire mode.
fn check(bin: &Path) -> Result<PathBuf> {
    if !bin.is_file() {
        bail_setup!("--bin: there is no file {}", bin.display());
    }
    let bin = std::path::absolute(bin)?;
    // It knows no such option and prints how it is used.
    let usage = Command::new(&bin).arg("--help").output();
    let known = usage.is_ok_and(|usage| {
        [usage.stdout, usage.stderr]
            .iter()
            .any(|text| String::from_utf8_lossy(text).contains("--wire_client"))
    });
    if !known {
        bail_setup!(
            "--bin: {} is no packetdrill: it does not know --wire_client",
            bin.display()
        );
    }
    Ok(bin)
}

/// The scripts that are to be run, `FAMILY/NAME`, and the skips of those that cannot.
fn list(scripts: &Path, filter: &str) -> Result<(Vec<String>, Vec<Entry>)> {
    let mut names = Vec::new();
    for entry in
        fs::read_dir(scripts).with_context(|| format!("cannot read {}", scripts.display()))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".pkt").map(str::to_owned));
    }
    names.sort();
    let mut tests = Vec::new();
    let mut skips = Vec::new();
    for name in names {
        if let Some((_, reason)) = MISFITS.iter().find(|(misfit, _)| *misfit == name) {
            if selects(filter, &name) {
                skips.push(Entry::new(
                    format!("{NAME}/{name}"),
                    Verdict::Skip((*reason).to_owned()),
                    Vec::new(),
                ));
            }
            continue;
        }
        let text = fs::read_to_string(scripts.join(format!("{name}.pkt")))?;
        tests.extend(
            families(&text)
                .into_iter()
                .map(|family| format!("{family}/{name}"))
                .filter(|test| selects(filter, test)),
        );
    }
    // One family after the other.
    tests.sort_by_key(|test| {
        FAMILIES
            .iter()
            .position(|family| test.split('/').next() == Some(family))
    });
    Ok((tests, skips))
}

/// The families a script is for: those that it names, else all.
fn families(script: &str) -> Vec<&str> {
    let named: Vec<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix("--ip_version="))
        .map(str::trim)
        .collect();
    if named.is_empty() {
        FAMILIES.to_vec()
    } else {
        named
    }
}

/// Builds the selftests' programs.
fn compile() -> Result<()> {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(paths::repo().join("selftests"))
        .arg("all")
        .env_remove("MAKEFLAGS");
    ui::run_logged(
        &mut make,
        "building the kselftests: all",
        &paths::target().join("log/selftests-all"),
    )
}

/// What both guests have in common.
struct Ground<'a> {
    kernel: &'a Kernel,
    module: &'a Path,
    bin: &'a Path,
    scripts: &'a Path,
    tests: &'a [String],
    verbose: bool,
    step: Arc<Mutex<Step>>,
}

/// What a guest said.
struct Guest {
    outcome: Outcome,
    dir: PathBuf,
    told: BTreeMap<String, Told>,
}

/// What it said of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    code: i32,
    /// Connections that were offloaded.
    offloads: u64,
}

impl Ground<'_> {
    /// Runs all scripts in a guest.
    fn guest(&self, mode: &str) -> Result<Guest> {
        let selftests = paths::repo().join("selftests");
        let mut command = vec!["bash".to_owned()];
        command.extend(
            [
                &paths::repo().join("xtask/guest/packetdrill.sh"),
                self.bin,
                self.scripts,
                &selftests.join("ulp_preload.so"),
                &selftests.join("toe_ns"),
            ]
            .map(|path| path.display().to_string()),
        );
        command.push(mode.to_owned());
        command.extend(self.tests.iter().cloned());

        let dir = paths::target().join("test/packetdrill").join(mode);
        let told = Arc::new(Mutex::new(BTreeMap::new()));
        let progress: fn(&mut Step, &str) = if self.verbose {
            |step, text| step.println(text)
        } else {
            |step, text| step.message(text)
        };
        let sink = {
            let told = told.clone();
            vm::lines(self.step.clone(), progress, move |line| {
                if let Some((test, of)) = parse(line.trim_end()) {
                    told.lock().expect("no panics").insert(test.to_owned(), of);
                }
            })
        };
        let outcome = vm::run(
            &Run {
                machine: Machine {
                    accel: Accel::IcountPaced,
                    cpus: 1,
                    ..Machine::new(Flavour::Release)
                },
                kernel: self.kernel,
                module: Some(self.module.to_owned()),
                module_args: String::new(),
                command,
                env: Vec::new(),
                timeout: GUEST_LIMIT,
                dir: dir.clone(),
            },
            &sink,
        )?;
        drop(sink);
        let told = told.lock().expect("no panics").clone();
        Ok(Guest { outcome, dir, told })
    }
}

/// Reads `FAMILY/NAME CODE OFFLOADS`.
fn parse(line: &str) -> Option<(&str, Told)> {
    let words: Vec<_> = line.split(' ').collect();
    let [test, code, offloads] = words[..] else {
        return None;
    };
    Some((
        test,
        Told {
            code: code.parse().ok()?,
            offloads: offloads.parse().ok()?,
        },
    ))
}

/// What came of the scripts that both guests got to.
fn merge(tests: &[String], [off, on]: &[Guest; 2]) -> Results {
    tests
        .iter()
        .filter_map(|test| {
            let (off, on) = (off.told.get(test)?, on.told.get(test)?);
            let outcomes = Outcomes {
                pass: [off.code == 0, on.code == 0],
                offloaded: on.offloads > 0,
            };
            Some((test.clone(), outcomes))
        })
        .collect()
}

/// One result for each script: it fails where off and on differ. One that passes
/// neither way is skipped: it says nothing about the offload.
fn judge(tests: &[String], guests: &[Guest; 2], measured: &Results) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (mode, guest) in MODES.iter().zip(guests) {
        let name = format!("{NAME}/guest_{mode}");
        let wrong = match guest.outcome.end {
            End::Exit(0) if guest.outcome.splats.is_empty() => continue,
            End::Exit(0) => guest
                .outcome
                .splats
                .iter()
                .flat_map(|splat| splat.lines.iter().cloned())
                .collect(),
            End::Exit(code) => vec![format!("packetdrill.sh ended with exit code {code}")],
            End::Died => vec![format!("the guest died: {}", guest.dir.display())],
            End::Timeout => vec![format!("its time was up: {}", guest.dir.display())],
        };
        entries.push(Entry::new(name, Verdict::Fail, wrong));
    }
    for test in tests {
        let name = format!("{NAME}/{test}");
        let entry = match measured.get(test).map(|outcomes| outcomes.pass) {
            None => Entry::fail(name, "not run in both guests"),
            Some([true, true]) => Entry::new(name, Verdict::Pass, Vec::new()),
            Some([false, false]) => Entry::new(
                name,
                Verdict::Skip(format!(
                    "fails without offload, too: {}",
                    said(&guests[0], MODES[0], test)
                        .first()
                        .map_or("", String::as_str)
                )),
                Vec::new(),
            ),
            Some([off, _]) => {
                let (way, at) = if off { ("off", 1) } else { ("on", 0) };
                let mut notes = vec![format!("passes only with the offload {way}")];
                notes.extend(said(&guests[at], MODES[at], test));
                Entry::new(name, Verdict::Fail, notes)
            }
        };
        entries.push(entry);
    }
    entries
}

/// What packetdrill said of a script.
fn said(guest: &Guest, mode: &str, test: &str) -> Vec<String> {
    fs::read_to_string(guest.dir.join(mode).join(test))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The results as [`RECORD`] has them.
fn render(results: &Results, release: &str) -> String {
    let word = |pass: bool| if pass { "pass" } else { "fail" };
    let mut text = format!(
        "# SPDX-License-Identifier: GPL-2.0\n\
         # What `cargo xtask test packetdrill` measured on {}, Linux {release}:\n\
         # script, offload off, offload on, whether a connection was offloaded then.\n\
         kernel {release}\n",
        today()
    );
    for (test, outcomes) in results {
        let [off, on] = outcomes.pass.map(word);
        let offloaded = if outcomes.offloaded { "offloaded" } else { "-" };
        text += &format!("{test} {off} {on} {offloaded}\n");
    }
    text
}

/// Reads such a file: the kernel's release, and the results.
fn read(text: &str) -> Result<(String, Results)> {
    let mut release = String::new();
    let mut results = Results::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("line {}: `{line}`", number + 1);
        let words: Vec<_> = line.split_whitespace().collect();
        let pass = |word: &str| match word {
            "pass" => Ok(true),
            "fail" => Ok(false),
            _ => Err(anyhow::anyhow!("neither pass nor fail")),
        };
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["kernel", name] => release = name.to_owned(),
            [test, off, on, offloaded] => {
                let outcomes = Outcomes {
                    pass: [
                        pass(off).with_context(wrong)?,
                        pass(on).with_context(wrong)?,
                    ],
                    offloaded: offloaded == "offloaded",
                };
                results.insert(test.to_owned(), outcomes);
            }
            _ => anyhow::bail!("{}", wrong()),
        }
    }
    Ok((release, results))
}

/// Compares with the record: what was measured may not be another thing.
fn compare(measured: &Results, release: &str, file: &Path) -> Result<Entry> {
    let name = format!("{NAME}/record");
    let record = paths::repo().join(RECORD);
    let text =
        fs::read_to_string(&record).with_context(|| format!("cannot read {}", record.display()))?;
    let (recorded_on, recorded) = read(&text).with_context(|| format!("{}", record.display()))?;
    if recorded_on != release {
        let reason = format!("{RECORD} is of Linux {recorded_on}, this is {release}");
        return Ok(Entry::new(name, Verdict::Skip(reason), Vec::new()));
    }
    let mut notes = differences(&recorded, measured);
    if notes.is_empty() {
        return Ok(Entry::new(name, Verdict::Pass, notes));
    }
    notes.push(format!("now: {}; recorded: {RECORD}", file.display()));
    Ok(Entry::new(name, Verdict::Fail, notes))
}

/// What differs between the record and as much of it as was measured.
fn differences(recorded: &Results, measured: &Results) -> Vec<String> {
    let word = |pass: bool| if pass { "passes" } else { "fails" };
    let mut lines = Vec::new();
    for (test, now) in measured {
        let Some(then) = recorded.get(test) else {
            lines.push(format!("{test} is not in the record"));
            continue;
        };
        for (at, mode) in MODES.iter().enumerate() {
            if then.pass[at] != now.pass[at] {
                lines.push(format!(
                    "{test} {} with the offload {mode}, and the record says it {}",
                    word(now.pass[at]),
                    word(then.pass[at])
                ));
            }
        }
        if then.offloaded != now.offloaded {
            let not = if now.offloaded { "" } else { "not " };
            lines.push(format!(
                "{test} is {not}offloaded, and the record says otherwise"
            ));
        }
    }
    lines
}

/// The day, as `date -I` prints it.
fn today() -> String {
    ui::output(Command::new("date").arg("-I")).map_or_else(
        |_| "an unknown day".to_owned(),
        |text| text.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_families_or_has_all() {
        assert_eq!(families("// text\n--ip_version=ipv6\n 0 socket"), ["ipv6"]);
        assert_eq!(families("// --ip_version=ipv6\n"), FAMILIES);
    }

    #[test]
    fn filters() {
        for (filter, selected) in [
            ("", true),
            ("packetdrill", true),
            ("packetdrill/ipv4/tcp_a", true),
            ("packetdrill/ipv6", false),
        ] {
            assert!(has(filter));
            assert_eq!(selects(filter, "ipv4/tcp_a"), selected, "{filter}");
        }
        assert!(!has("test_modes"));
    }

    #[test]
    fn lines_of_the_guest() {
        let told = Told {
            code: 1,
            offloads: 2,
        };
        assert_eq!(parse("ipv4/tcp_a 1 2"), Some(("ipv4/tcp_a", told)));
        for wrong in ["", "ipv4/tcp_a 1", "ipv4/tcp_a x 2", "ipv4/tcp_a 1 2 3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    fn results(lines: &[(&str, bool, bool, bool)]) -> Results {
        lines
            .iter()
            .map(|&(test, off, on, offloaded)| {
                let pass = [off, on];
                (test.to_owned(), Outcomes { pass, offloaded })
            })
            .collect()
    }

    /// A guest that ended well, and the exit codes of the scripts it ran.
    fn guest(codes: &[(&str, i32)]) -> Guest {
        Guest {
            outcome: Outcome {
                end: End::Exit(0),
                splats: Vec::new(),
                log: String::new(),
                took: Duration::ZERO,
            },
            dir: PathBuf::new(),
            told: codes
                .iter()
                .map(|&(test, code)| (test.to_owned(), Told { code, offloads: 0 }))
                .collect(),
        }
    }

    #[test]
    fn a_difference_fails() {
        let tests = ["same", "none", "off", "on", "lost"].map(str::to_owned);
        let guests = [
            guest(&[("same", 0), ("none", 1), ("off", 0), ("on", 1), ("lost", 0)]),
            guest(&[("same", 0), ("none", 1), ("off", 1), ("on", 0)]),
        ];
        let entries = judge(&tests, &guests, &merge(&tests, &guests));
        let words: Vec<_> = entries
            .iter()
            .map(|entry| match entry.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "fail",
                Verdict::Skip(_) => "skip",
            })
            .collect();
        assert_eq!(words, ["pass", "skip", "fail", "fail", "fail"]);
        assert_eq!(entries[2].notes, ["passes only with the offload off"]);
    }

    #[test]
    fn a_guest_that_died_fails() {
        let mut guests = [guest(&[]), guest(&[])];
        guests[1].outcome.end = End::Died;
        let entries = judge(&[], &guests, &Results::new());
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].name, "packetdrill/guest_on");
        assert_eq!(entries[0].verdict, Verdict::Fail);
    }

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let of = results(&[
            ("ipv4/tcp_a", true, false, true),
            ("ipv6/tcp_b", false, true, false),
        ]);
        let (release, same) = read(&render(&of, "7.3.4")).unwrap();
        assert_eq!((release.as_str(), &same), ("7.3.4", &of));
        for wrong in ["ipv4/tcp_a pass maybe -", "ipv4/tcp_a pass"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn differences_are_named() {
        let then = results(&[("a", true, true, true), ("b", true, true, true)]);
        assert!(differences(&then, &then).is_empty());
        // Not everything has to be measured.
        assert!(differences(&then, &results(&[("a", true, true, true)])).is_empty());
        for (now, expected) in [
            (("a", false, true, true), "a fails with the offload off"),
            (("a", true, false, true), "a fails with the offload on"),
            (("a", true, true, false), "a is not offloaded"),
            (("c", true, true, true), "c is not in the record"),
        ] {
            let lines = differences(&then, &results(&[now]));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(expected), "{lines:?}");
        }
    }

    #[test]
    fn the_real_record_is_well_formed() {
        let text = fs::read_to_string(paths::repo().join(RECORD)).unwrap();
        let (release, results) = read(&text).unwrap();
        assert!(!release.is_empty() && !results.is_empty());
        for test in results.keys() {
            let (family, name) = test.split_once('/').unwrap();
            assert!(FAMILIES.contains(&family), "{test}");
            assert!(MISFITS.iter().all(|(misfit, _)| *misfit != name), "{test}");
        }
    }
}
