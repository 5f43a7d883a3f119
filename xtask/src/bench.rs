// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench`: the guest's part is `xtask/guest/bench.sh`, the program
//! that is measured `xtask/guest/bench.c`.

mod plot;
mod weather;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
use crate::setup;
use crate::ui::{self, Step};
use crate::vm::qemu::{Accel, Machine};
use crate::vm::{self, Run, Sink};

/// What is measured, what a row is called, and the most the offloaded pair may
/// cost as a part of veth (`None`: no target).
const WORKLOADS: &[(&str, &str, Option<f64>)] = &[
    ("pingpong", "64-byte ping-pong, per round trip", Some(0.80)),
    ("special", "ping-pong, a special case each", None),
    ("stream-1K", "1 KiB writes, per KiB", None),
    ("stream-4K", "4 KiB writes, per KiB", Some(0.75)),
    ("stream-16K", "16 KiB writes, per KiB", None),
    ("stream-64K", "64 KiB writes, per KiB", None),
    ("stream-256K", "256 KiB writes, per KiB", Some(0.95)),
    ("connect", "connect, 1 request, close", None),
];

/// The un-offloaded pair may not be slower than veth by more than this.
const HOST_TARGET: f64 = 1.05;

/// Columns; `veth` is what the others are compared to.
const TRANSPORTS: &[(&str, &str)] = &[
    ("veth", "veth TCP"),
    ("unix", "AF_UNIX"),
    ("toe-host", "toe, host stack"),
    ("toe", "toe, offloaded"),
];

/// What the offloaded pair is measured for alone.
const COSTS: &[(&str, &str)] = &[
    ("offload", "offload of a connection, mean"),
    ("offload_p99", "offload of a connection, p99"),
    ("upload", "upload of a connection, mean"),
    ("batch_1", "offload by the policy, 1 at a time"),
    ("batch_8", "offload by the policy, 8 at a time"),
    ("batch_64", "offload by the policy, 64 at a time"),
    ("batch_512", "offload by the policy, 512 at a time"),
];

/// Rounds by transport, workload.
type Samples = BTreeMap<(String, String), Vec<f64>>;

pub fn run(args: &Bench) -> Result<()> {
    weather::check(&args.only)?;
    let rounds = args.rounds.unwrap_or(match (args.wall, args.weather) {
        (_, true) => 8,
        (true, false) => 7,
        (false, false) => 3,
    });
    if rounds == 0 {
        bail_setup!("--rounds 0 measures nothing: say --rounds 1 or more");
    }
    setup::workloads()?;
    let ready = setup::ready(&args.kernel.kernel, Flavour::Release)?;
    let module = if args.veth {
        None
    } else {
        Some(module::build_plain(&ready.toolchain, &ready.kernel)?)
    };
    let program = compile()?;

    let transports: Vec<&str> = TRANSPORTS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| module.is_some() || !name.starts_with("toe"))
        .filter(|name| !args.weather || name.starts_with("toe"))
        .collect();
    let samples = Arc::new(Mutex::new(Samples::new()));
    let step = Arc::new(Mutex::new(Step::new("measuring")));
    let sink = sink(step, samples.clone());
    let dir = paths::target().join("bench/vm");
    let mut command = vec![
        "bash".to_owned(),
        paths::repo()
            .join("xtask/guest")
            .join(if args.weather {
                "weather.sh"
            } else {
                "bench.sh"
            })
            .display()
            .to_string(),
        program.display().to_string(),
        rounds.to_string(),
        // Wall-clock time needs longer runs to stand out from the noise.
        if args.wall { "400" } else { "100" }.to_owned(),
    ];
    command.extend(transports.iter().map(|&name| name.to_owned()));
    let accel = if args.wall {
        Accel::best()
    } else {
        Accel::Icount
    };
    let outcome = vm::run(
        &Run {
            machine: Machine {
                accel,
                cpus: if args.wall { 2 } else { 1 },
                ..Machine::new(Flavour::Release)
            },
            kernel: &ready.kernel,
            module,
            module_args: String::new(),
            command,
            env: vec![("BENCH_ONLY".to_owned(), args.only.join(" "))],
            timeout: Duration::from_secs(3600),
            dir: dir.clone(),
        },
        &sink,
    )?;
    drop(sink);

    let samples = samples.lock().expect("no panics");
    let unit = if args.wall { "ns" } else { "instructions" };
    if args.weather {
        weather::print(&samples, unit);
        return match outcome.report(&dir) {
            0 => Ok(()),
            code => Err(Exit(code).into()),
        };
    }
    print_table(&samples, &transports, unit);
    let out = paths::target().join("bench");
    write(&out, &samples, unit, accel, &ready.kernel.release)?;
    let title = format!(
        "Cost per operation as a part of veth TCP ({unit}, Linux {}), less is better",
        ready.kernel.release
    );
    let rows: Vec<_> = WORKLOADS
        .iter()
        .map(|(name, label, _)| {
            let bars = transports[1..]
                .iter()
                .map(|t| ratio(&samples, t, name))
                .collect();
            plot::Row { label, bars }
        })
        .collect();
    let legend: Vec<_> = TRANSPORTS[1..]
        .iter()
        .map(|(_, label)| *label)
        .take(transports.len() - 1)
        .collect();
    paths::write_atomic(
        &out.join("bench.svg"),
        plot::draw(&title, &legend, &rows).as_bytes(),
    )?;
    println!("\nwritten: {0}/results.json, {0}/bench.svg", out.display());
    match outcome.report(&dir) {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// Builds the program, for the guest runs the host's binaries.
fn compile() -> Result<PathBuf> {
    let program = paths::target().join("bench/bench");
    std::fs::create_dir_all(paths::target().join("bench"))?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-o"])
        .arg(&program)
        .arg(paths::repo().join("xtask/guest/bench.c"));
    ui::run_logged(
        &mut cc,
        "compiling the measured program",
        &paths::target().join("log/bench"),
    )?;
    Ok(program)
}

fn sink(step: Arc<Mutex<Step>>, samples: Arc<Mutex<Samples>>) -> Sink {
    vm::lines(
        step,
        |step, text| step.message(text),
        move |line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["=", transport, workload, value] = words[..] else {
                return;
            };
            if let Ok(value) = value.parse() {
                let key = (transport.to_owned(), workload.to_owned());
                let mut samples = samples.lock().expect("no panics");
                samples.entry(key).or_default().push(value);
            }
        },
    )
}

/// The middle one, which one disturbed round cannot move.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn value(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    median(samples.get(&(transport.to_owned(), workload.to_owned()))?)
}

fn ratio(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    Some(value(samples, transport, workload)? / value(samples, "veth", workload)?)
}

/// Largest minus smallest, as a part of the median.
fn spread(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    let values = samples.get(&(transport.to_owned(), workload.to_owned()))?;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    Some((high - low) / median(values)?)
}

/// What a special case costs an offloaded connection, from detection to
/// resynchronisation, beyond what the host stack takes for the same segment.
fn special_cost(samples: &Samples) -> Option<f64> {
    let extra = |transport| {
        Some(value(samples, transport, "special")? - value(samples, transport, "pingpong")?)
    };
    Some(extra("toe")? - extra("toe-host")?)
}

fn print_table(samples: &Samples, transports: &[&str], unit: &str) {
    print!("\n{:36}", unit);
    for (name, label) in TRANSPORTS {
        if transports.contains(name) {
            print!("{label:>22}");
        }
    }
    println!("{:>18}", "target");
    for (workload, label, target) in WORKLOADS {
        print!("{label:36}");
        for transport in transports {
            let cell = match (
                value(samples, transport, workload),
                ratio(samples, transport, workload),
            ) {
                (Some(value), _) if *transport == "veth" => format!("{value:.0}"),
                (Some(value), Some(ratio)) => format!("{value:.0} ({ratio:.2})"),
                _ => "-".to_owned(),
            };
            print!("{cell:>22}");
        }
        let verdict = match (target, ratio(samples, "toe", workload)) {
            (Some(target), Some(ratio)) if ratio <= *target => format!("<= {target:.2} met"),
            (Some(target), Some(_)) => format!("<= {target:.2} MISSED"),
            (Some(target), None) => format!("<= {target:.2}"),
            (None, _) => String::new(),
        };
        println!("{verdict:>18}");
    }
    if let Some(extra) = special_cost(samples) {
        println!(
            "{:36}{extra:>22.0}",
            "a special case, beyond the host's work"
        );
    }
    for (name, label) in COSTS {
        if let Some(value) = value(samples, "toe", name) {
            println!("{label:36}{value:>22.0}");
        }
    }
    for (workload, label, _) in WORKLOADS {
        if let Some(ratio) =
            ratio(samples, "toe-host", workload).filter(|ratio| *ratio > HOST_TARGET)
        {
            println!(
                "un-offloaded: {label} is {ratio:.2} of veth, target <= {HOST_TARGET:.2} MISSED"
            );
        }
    }
    let worst = transports
        .iter()
        .flat_map(|t| {
            WORKLOADS
                .iter()
                .filter_map(|(w, _, _)| spread(samples, t, w))
        })
        .fold(0.0, f64::max);
    if worst > 0.0 {
        println!(
            "largest spread of one figure over the rounds: {:.1} %",
            worst * 100.0
        );
    }
}

#[derive(Serialize)]
struct Figure<'a> {
    transport: &'a str,
    workload: &'a str,
    median: Option<f64>,
    ratio_to_veth: Option<f64>,
    rounds: &'a [f64],
}

#[derive(Serialize)]
struct Results<'a> {
    kernel: &'a str,
    unit: &'a str,
    accelerator: String,
    figures: Vec<Figure<'a>>,
}

fn write(dir: &Path, samples: &Samples, unit: &str, accel: Accel, kernel: &str) -> Result<()> {
    let figures = samples
        .iter()
        .map(|((transport, workload), rounds)| Figure {
            transport,
            workload,
            median: median(rounds),
            ratio_to_veth: ratio(samples, transport, workload),
            rounds,
        })
        .collect();
    let accelerator = format!("{accel:?}").to_lowercase();
    let results = Results {
        kernel,
        unit,
        accelerator,
        figures,
    };
    let text = serde_json::to_string_pretty(&results).context("figures as JSON")?;
    paths::write_atomic(&dir.join("results.json"), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let mut samples = Samples::new();
        samples.insert(("veth".into(), "pingpong".into()), vec![100.0, 90.0, 500.0]);
        samples.insert(("toe".into(), "pingpong".into()), vec![50.0]);
        assert_eq!(ratio(&samples, "toe", "pingpong"), Some(0.5));
        assert_eq!(ratio(&samples, "unix", "pingpong"), None);
    }
}
