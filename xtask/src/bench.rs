// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench`: the guest's part is `xtask/guest/bench.sh`, the program
//! that is measured `xtask/guest/bench*.c`.

mod failover;
mod many;
mod plot;
mod profile;
mod programs;
mod rows;
mod samples;
mod table;
mod weather;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bail_setup;
use crate::fail::Exit;
use crate::flags::Bench;
use crate::flavour::Flavour;
use crate::module;
use crate::paths;
use crate::setup::{self, Ready};
use crate::ui::{self, Step};
use crate::vm::qemu::{Accel, Machine};
use crate::vm::{self, pin, End, Outcome, Run, Sink};
use rows::{TRANSPORTS, WORKLOADS};
use samples::{median, ratio, value, Measured, Round};

pub fn run(args: &Bench) -> Result<()> {
    match &args.profile {
        Some(row) => profile::check(row)?,
        None if args.programs => programs::check(&args.only)?,
        None if args.weather => weather::check(&args.only)?,
        None if args.many || args.failover => {}
        None => rows::check(&args.only)?,
    }
    let rounds = args.rounds.unwrap_or(match args {
        Bench { weather: true, .. } => 8,
        Bench { wall: true, .. } => 7,
        // What is on the way when a member fails differs.
        Bench { failover: true, .. } => 5,
        // Each round would count the same.
        Bench {
            profile: Some(_), ..
        }
        | Bench { programs: true, .. }
        | Bench { many: true, .. } => 1,
        _ => 3,
    });
    if rounds == 0 {
        bail_setup!("--rounds 0 measures nothing: say --rounds 1 or more");
    }
    let guest = Guest::new(args, rounds)?;
    let outcome = match &args.profile {
        Some(row) => {
            let (measured, outcome) = guest.run("bench.sh", std::slice::from_ref(row))?;
            if outcome.end == End::Exit(0) {
                profile::report(row, &measured, &guest.dir)?;
            }
            outcome
        }
        None if args.programs => {
            let (measured, outcome) = guest.run("programs.sh", &args.only)?;
            programs::print(&measured, guest.unit());
            outcome
        }
        None if args.weather => {
            let (measured, outcome) = guest.run("weather.sh", &args.only)?;
            weather::print(&measured.cost, guest.unit());
            outcome
        }
        None if args.failover => {
            let (measured, outcome) = guest.run("failover.sh", &[])?;
            failover::print(&measured.cost, &guest.transports);
            outcome
        }
        None if args.many => {
            let (measured, outcome) = guest.run("many.sh", &[])?;
            many::print(&measured.cost, guest.unit());
            outcome
        }
        None => {
            let (measured, outcome) = guest.run("bench.sh", &args.only)?;
            table::print(&measured, &guest.transports, guest.unit());
            if args.wall {
                println!("{}", guest.clock());
            }
            guest.write(&measured)?;
            outcome
        }
    };
    match outcome.report(&guest.dir) {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// The guest that measures, ready to be run.
struct Guest {
    ready: Ready,
    module: Option<PathBuf>,
    /// `bench*.c`, `many.c` or `failover.c`, compiled.
    program: PathBuf,
    machine: Machine,
    rounds: u32,
    /// Operations of a round, in percent of those that `bench.sh` names.
    scale: u32,
    transports: Vec<&'static str>,
    dir: PathBuf,
}

impl Guest {
    fn new(args: &Bench, rounds: u32) -> Result<Self> {
        setup::workloads()?;
        if args.programs {
            programs::packages();
        }
        let ready = setup::ready(&args.kernel.kernel, Flavour::Release)?;
        let module = match &args.module {
            _ if args.veth => None,
            Some(file) if file.is_file() => Some(std::path::absolute(file)?),
            Some(file) => bail_setup!("--module: there is no file {}", file.display()),
            None => Some(module::build_plain(&ready.toolchain, &ready.kernel)?),
        };
        let columns = match args {
            Bench { programs: true, .. } => programs::TRANSPORTS,
            Bench { failover: true, .. } => failover::TRANSPORTS,
            _ => TRANSPORTS,
        };
        let transports = columns
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| module.is_some() || !name.starts_with("toe"))
            .filter(|name| !args.weather || name.starts_with("toe"))
            .collect();
        Ok(Self {
            ready,
            module,
            program: match args {
                Bench { many: true, .. } => compile("many", MANY)?,
                Bench { failover: true, .. } => compile("failover", FAILOVER)?,
                _ => compile("bench", BENCH)?,
            },
            machine: Machine {
                accel: match args.wall {
                    true => Accel::best(),
                    false => Accel::Icount,
                },
                cpus: args.cpus.unwrap_or(if args.wall { 2 } else { 1 }),
                plugin: match args.profile {
                    Some(_) => Some(profile::plugin()?),
                    None => None,
                },
                pinned: args.wall,
                mem: match args.many {
                    // Two sockets with all that belongs to them take 10 KiB.
                    true => "4G".to_owned(),
                    false => Flavour::Release.default_mem().to_owned(),
                },
                ..Machine::new(Flavour::Release)
            },
            rounds,
            // Wall-clock time needs longer runs to stand out from the noise.
            scale: args.scale.unwrap_or(if args.wall { 400 } else { 100 }),
            transports,
            dir: paths::target().join("bench/vm"),
        })
    }

    /// What the guest's clock counts.
    fn unit(&self) -> &'static str {
        match self.machine.accel {
            Accel::Icount | Accel::IcountPaced => "instructions",
            Accel::Kvm | Accel::Tcg => "ns",
        }
    }

    /// What times by the wall clock are worth.
    fn clock(&self) -> String {
        let there = pin::cpus();
        let place = match pin::wanted(&self.machine) {
            true => "each virtual CPU stays on one of the host's",
            false => "too few for each virtual CPU to have its own",
        };
        let what = match self.machine.accel {
            Accel::Kvm => "times of KVM",
            _ => "neither KVM nor bare metal: the times are those of QEMU's translator, and say nothing of a CPU",
        };
        format!("{what}; {there} CPUs of the host, {place}")
    }

    /// Runs one of the scripts in `xtask/guest`.
    fn run(&self, script: &str, only: &[String]) -> Result<(Measured, Outcome)> {
        let measured = Arc::new(Mutex::new(Measured::default()));
        let step = Arc::new(Mutex::new(Step::new("measuring")));
        let sink = sink(step, measured.clone());
        let mut command = vec![
            "bash".to_owned(),
            paths::repo()
                .join("xtask/guest")
                .join(script)
                .display()
                .to_string(),
            self.program.display().to_string(),
            self.rounds.to_string(),
            self.scale.to_string(),
        ];
        command.extend(self.transports.iter().map(|&name| name.to_owned()));
        // Where the guest's functions are, for the profiler.
        let symbols = match self.machine.plugin {
            Some(_) => "kallsyms".to_owned(),
            None => String::new(),
        };
        let wall = if self.unit() == "ns" { "1" } else { "" };
        let outcome = vm::run(
            &Run {
                machine: self.machine.clone(),
                kernel: &self.ready.kernel,
                module: self.module.clone(),
                module_args: String::new(),
                command,
                env: vec![
                    ("BENCH_ONLY".to_owned(), only.join(" ")),
                    ("BENCH_SYMBOLS".to_owned(), symbols),
                    ("BENCH_WALL".to_owned(), wall.to_owned()),
                ],
                timeout: Duration::from_secs(3600),
                dir: self.dir.clone(),
            },
            &sink,
        )?;
        drop(sink);
        let measured = std::mem::take(&mut *measured.lock().expect("no panics"));
        Ok((measured, outcome))
    }

    /// Writes what was measured, as figures and as a picture.
    fn write(&self, measured: &Measured) -> Result<()> {
        let out = paths::target().join("bench");
        let kernel = &self.ready.kernel.release;
        let figures = measured.cost.iter();
        let results = Results {
            kernel,
            unit: self.unit(),
            accelerator: format!("{:?}", self.machine.accel).to_lowercase(),
            figures: figures
                .map(|((transport, workload), rounds)| Figure {
                    transport,
                    workload,
                    median: median(rounds),
                    ratio_to_veth: ratio(&measured.cost, transport, workload),
                    switches_per_operation: value(&measured.switches, transport, workload),
                    rounds,
                })
                .collect(),
        };
        let text = serde_json::to_string_pretty(&results).context("figures as JSON")?;
        paths::write_atomic(&out.join("results.json"), text.as_bytes())?;
        let title = format!(
            "Cost per operation as a part of veth TCP ({}, Linux {kernel}), less is better",
            self.unit()
        );
        paths::write_atomic(
            &out.join("bench.svg"),
            plot::draw(&title, &self.legend(), &self.rows(measured)).as_bytes(),
        )?;
        println!("\nwritten: {0}/results.json, {0}/bench.svg", out.display());
        Ok(())
    }

    /// What is compared to veth.
    fn compared(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.transports.iter().copied().filter(|&t| t != "veth")
    }

    fn legend(&self) -> Vec<&'static str> {
        let label = |t| TRANSPORTS.iter().find(|(name, _)| *name == t);
        self.compared()
            .filter_map(label)
            .map(|(_, label)| *label)
            .collect()
    }

    /// The rows of the picture.
    fn rows(&self, measured: &Measured) -> Vec<plot::Row<'static>> {
        let bar = |transport, workload| {
            Some(plot::Bar {
                ratio: ratio(&measured.cost, transport, workload)?,
                value: value(&measured.cost, transport, workload)?,
            })
        };
        WORKLOADS
            .iter()
            .filter(|row| value(&measured.cost, "veth", row.name).is_some())
            .map(|row| plot::Row {
                label: row.label,
                bars: self.compared().map(|t| bar(t, row.name)).collect(),
            })
            .collect()
    }
}

/// What the measured programs are made of.
const BENCH: &[&str] = &["bench.c", "bench_laps.c", "bench_old.c", "bench_smc.c"];
const MANY: &[&str] = &["many.c", "conns.c"];
const FAILOVER: &[&str] = &["failover.c", "conns.c"];

/// Builds the program, for the guest runs the host's binaries.
fn compile(name: &str, sources: &[&str]) -> Result<PathBuf> {
    let program = paths::target().join("bench").join(name);
    std::fs::create_dir_all(paths::target().join("bench"))?;
    let mut cc = Command::new("cc");
    // A function's first call is not to look for it: that would count in rows of
    // processes which make few calls.
    cc.args(["-O2", "-Wall", "-Wextra", "-Wl,-z,now", "-o"])
        .arg(&program)
        .args(
            sources
                .iter()
                .map(|name| paths::repo().join("xtask/guest").join(name)),
        );
    ui::run_logged(
        &mut cc,
        "compiling the measured program",
        &paths::target().join("log/bench"),
    )?;
    Ok(program)
}

fn sink(step: Arc<Mutex<Step>>, measured: Arc<Mutex<Measured>>) -> Sink {
    vm::lines(
        step,
        |step, text| step.message(text),
        move |line| {
            let mut measured = measured.lock().expect("no panics");
            if let Some(round) = Round::parse(line) {
                measured.add(&round);
            } else if measured.failed(line) {
                // Its cell says so.
            } else if let Some((row, reason)) = programs::missing(line) {
                measured.missing.push((row.to_owned(), reason.to_owned()));
            }
        },
    )
}

#[derive(Serialize)]
struct Figure<'a> {
    transport: &'a str,
    workload: &'a str,
    median: Option<f64>,
    ratio_to_veth: Option<f64>,
    switches_per_operation: Option<f64>,
    rounds: &'a [f64],
}

#[derive(Serialize)]
struct Results<'a> {
    kernel: &'a str,
    unit: &'a str,
    accelerator: String,
    figures: Vec<Figure<'a>>,
}
