// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask vm`.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;

use crate::bail_setup;
use crate::fail::Exit;
use crate::flags::Vm;
use crate::paths;
use crate::setup;
use crate::vm::qemu::{kvm_works, Accel, Machine};
use crate::vm::{self, Run};

pub fn run(args: &Vm) -> Result<()> {
    let flavour = args.flavour.flavour();
    let tty = args.tty || args.command.is_empty();
    if tty && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        bail_setup!(
            "an interactive guest needs a terminal: give a command after `--`, without --tty"
        );
    }
    let accel = accel(args)?;
    if args.icount && args.cpus.is_some_and(|n| n != 1) {
        bail_setup!(
            "--icount counts the instructions of one CPU: leave out --cpus, or say --cpus 1"
        );
    }
    let ready = setup::ready(&args.kernel.kernel, flavour)?;
    let module = match &args.module {
        _ if args.no_module => None,
        Some(file) if file.is_file() => Some(std::path::absolute(file)?),
        Some(file) => bail_setup!("--module: there is no file {}", file.display()),
        None => Some(setup::module(&ready)?),
    };
    prune();
    let dir = paths::target()
        .join("vm")
        .join(std::process::id().to_string());
    let machine = Machine {
        accel,
        cpus: if args.icount {
            1
        } else {
            args.cpus.unwrap_or(2)
        },
        mem: args
            .mem
            .clone()
            .unwrap_or_else(|| flavour.default_mem().into()),
        flavour,
        cmdline: std::iter::once("kunit.autorun=0".to_owned())
            .chain(args.append.clone())
            .collect(),
        tty,
        stdin: !std::io::stdin().is_terminal() && !tty,
        plugin: None,
        pinned: false,
    };
    let timeout = args
        .timeout
        .unwrap_or(if tty { 7 * 24 * 3600 } else { 600 });
    let outcome = vm::run(
        &Run {
            machine,
            kernel: &ready.kernel,
            module,
            module_args: args.module_args.clone(),
            command: args.command.clone(),
            env: Vec::new(),
            timeout: Duration::from_secs(timeout),
            dir: dir.clone(),
        },
        &vm::inherit(),
    )?;
    if args.verbose {
        eprint!("{}", outcome.log);
    }
    match outcome.report(&dir) {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// What runs the guest, from the options and what the machine can do.
fn accel(args: &Vm) -> Result<Accel> {
    if args.icount {
        return Ok(if args.paced {
            Accel::IcountPaced
        } else {
            Accel::Icount
        });
    }
    if args.kvm && !kvm_works() {
        bail_setup!("KVM does not work on this machine (no vmx or svm CPU flag, or no access to /dev/kvm): leave out --kvm to run under emulation");
    }
    Ok(if args.kvm || (!args.tcg && kvm_works()) {
        Accel::Kvm
    } else {
        Accel::Tcg
    })
}

/// How many run directories are kept for a look at them afterwards.
const KEPT: usize = 10;

/// Removes the run directories of guests that are gone, but for the last ones.
fn prune() {
    let Ok(entries) = std::fs::read_dir(paths::target().join("vm")) else {
        return;
    };
    let mut gone: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: u32 = entry
                .file_name()
                .to_str()?
                .split('.')
                .next()?
                .parse()
                .ok()?;
            let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
            (!alive).then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    gone.sort();
    for (_, path) in gone.iter().rev().skip(KEPT) {
        // Another run may be at the same work.
        let _ = paths::remove(path);
    }
}
