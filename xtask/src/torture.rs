// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask torture`: the guest's part is `selftests/test_torture.sh` and
//! its program `selftests/toe_torture.c`, with `--bond` `test_torture_bond.sh`; with `--flips` a
//! case of `test_short_cut.sh`, with `--failovers` those of `test_failover_more.sh` that count
//! them.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::fail::Exit;
use crate::flags::Torture;
use crate::flavour::Flavour;
use crate::paths;
use crate::setup;
use crate::ui::{self, Step};
use crate::vm::qemu::Machine;
use crate::vm::{self, Run};

/// What booting, the end of all connections and a stall may take on top.
const SPARE: u64 = 900;

/// The longest run that counts something: on an emulated debug kernel that is few a second.
const COUNT_LIMIT: u64 = 3 * 24 * 3600;

pub fn run(args: &Torture) -> Result<()> {
    match (args.flips, args.failovers) {
        (Some(flips), _) => run_flips(args, flips),
        (None, Some(failovers)) => run_failovers(args, failovers),
        (None, None) => run_plan(args),
    }
}

/// A plan of random events, by its seed.
fn run_plan(args: &Torture) -> Result<()> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let seconds = u64::from(args.minutes) * 60;
    let env = [
        ("TORTURE_SECONDS", seconds.to_string()),
        ("TORTURE_SEED", format!("0x{seed:x}")),
        ("TORTURE_ARGS", args.args.join(" ")),
        ("TORTURE_PROGRESS", "1".to_owned()),
    ];
    let heading = format!("seed 0x{seed:x}, {} min", args.minutes);
    let script = match args.bond {
        true => "test_torture_bond.sh",
        false => "test_torture.sh",
    };
    match guest(args, &heading, script, &env, 2 * seconds + SPARE)? {
        0 => Ok(()),
        code => {
            eprintln!("the same plan again: {}", again(args, seed));
            Err(Exit(code).into())
        }
    }
}

/// The case of the short cut's tests that counts flips, for long.
fn run_flips(args: &Torture, flips: u32) -> Result<()> {
    let env = [
        ("FLIPS", flips.to_string()),
        ("FLIPS_PROGRESS", "1".to_owned()),
        ("TOE_CASES", "many_flips*".to_owned()),
        ("TOE_LIMIT", COUNT_LIMIT.to_string()),
    ];
    let heading = format!("{flips} flips");
    match guest(
        args,
        &heading,
        "test_short_cut.sh",
        &env,
        COUNT_LIMIT + SPARE,
    )? {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// The cases that count failovers, for long: half of them by the active link, and half by a hash.
fn run_failovers(args: &Torture, failovers: u32) -> Result<()> {
    let env = [
        ("FAILOVERS", failovers.div_ceil(2).to_string()),
        ("FAILOVERS_PROGRESS", "1".to_owned()),
        ("TOE_CASES", "many *".to_owned()),
        ("TOE_LIMIT", COUNT_LIMIT.to_string()),
    ];
    let heading = format!("{failovers} failovers");
    let limit = COUNT_LIMIT + SPARE;
    match guest(args, &heading, "test_failover_more.sh", &env, limit)? {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// Runs a script of the kselftests in a guest. Returns its exit code.
fn guest(
    args: &Torture,
    heading: &str,
    script: &str,
    env: &[(&str, String)],
    limit: u64,
) -> Result<i32> {
    let start = Instant::now();
    let flavour = if args.release {
        Flavour::Release
    } else {
        Flavour::Debug
    };
    setup::workloads()?;
    let ready = setup::ready(&args.kernel.kernel, flavour)?;
    let module = setup::module(&ready)?;
    let selftests = paths::repo().join("selftests");
    let mut make = Command::new("make");
    make.arg("-C").arg(&selftests).arg("all");
    make.env_remove("MAKEFLAGS");
    ui::run_logged(
        &mut make,
        "building the kselftests",
        &paths::target().join("log/selftests-all"),
    )?;

    println!("{heading}, {flavour} kernel");
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    vm::report(
        &Run {
            machine: Machine::new(flavour),
            kernel: &ready.kernel,
            module: Some(module),
            module_args: String::new(),
            command: vec![selftests.join(script).display().to_string()],
            env: env
                .chain([("TMPDIR".to_owned(), "/run".to_owned())])
                .collect(),
            timeout: Duration::from_secs(limit),
            dir: paths::target().join("torture"),
        },
        Step::new("torture"),
        |step, text| step.message(text),
        start,
    )
}

/// The command that repeats this run.
fn again(args: &Torture, seed: u64) -> String {
    let mut line = format!("cargo xtask torture --minutes {}", args.minutes);
    if args.release {
        line += " --release";
    }
    if args.bond {
        line += " --bond";
    }
    if args.kernel.kernel != "7.3" {
        line += &format!(" --kernel {}", args.kernel.kernel);
    }
    line += &format!(" --seed 0x{seed:x}");
    if !args.args.is_empty() {
        line += &format!(" -- {}", args.args.join(" "));
    }
    line
}

/// A seed that nobody chose: never 0, which stands for none.
fn fresh_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let bits = now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40;
    bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Task, Xtask};
    use clap::Parser;

    #[test]
    fn a_failure_says_how_to_repeat_it() {
        let line = "cargo xtask torture --minutes 2 --release --bond --seed 0x2a -- --never link";
        let flags = Xtask::parse_from(line.split(' ').skip(1));
        let Task::Torture(args) = flags.task else {
            panic!("another task");
        };
        assert_eq!(args.seed, Some(42));
        assert_eq!(again(&args, 42), line);
    }
}
