// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask demo`: the guest's part is `xtask/guest/demo.py`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::fail::Exit;
use crate::flags::Demo;
use crate::flavour::Flavour;
use crate::paths;
use crate::setup;
use crate::ui::Step;
use crate::vm::qemu::Machine;
use crate::vm::{self, Run, Sink};

pub fn run(args: &Demo) -> Result<()> {
    let start = Instant::now();
    setup::workloads()?;
    let ready = setup::ready(&args.kernel.kernel, Flavour::Release)?;
    let module = if args.veth {
        None
    } else {
        Some(setup::module(&ready)?)
    };

    let step = Arc::new(Mutex::new(Step::new("booting the guest")));
    let report = Arc::new(Mutex::new(String::new()));
    let sink = sink(step.clone(), report.clone());
    let dir = paths::target().join("demo");
    let script = paths::repo().join("xtask/guest/demo.py");
    let env = [
        ("DEMO_MIB", args.size.to_string()),
        ("DEMO_KIND", if args.veth { "veth" } else { "toe" }.into()),
    ];
    let outcome = vm::run(
        &Run {
            machine: Machine {
                // The file is in the guest's memory, for a while twice.
                mem: format!("{}M", 2048 + 2 * args.size),
                ..Machine::new(Flavour::Release)
            },
            kernel: &ready.kernel,
            module,
            module_args: String::new(),
            command: vec!["/usr/bin/python3".to_owned(), script.display().to_string()],
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            timeout: Duration::from_secs(900),
            dir: dir.clone(),
        },
        &sink,
    )?;
    // The sink's copy goes with the run.
    drop(sink);
    if let Some(step) = Arc::into_inner(step) {
        step.into_inner().expect("no panics").done();
    }
    let report = report.lock().expect("no panics");
    println!("\n{}", report.trim_end());
    println!("\n({} s in all)", start.elapsed().as_secs());
    match outcome.report(&dir) {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}

/// Shows progress as it comes and keeps the report for the end.
fn sink(step: Arc<Mutex<Step>>, report: Arc<Mutex<String>>) -> Sink {
    vm::lines(
        step,
        |step, text| step.println(text),
        move |line| report.lock().expect("no panics").push_str(line),
    )
}
