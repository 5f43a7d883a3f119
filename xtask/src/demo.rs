// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask demo`: the guest's part is `xtask/guest/demo.py`.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::fail::Exit;
use crate::flags::Demo;
use crate::flavour::Flavour;
use crate::paths;
use crate::setup;
use crate::ui::Step;
use crate::vm::qemu::Machine;
use crate::vm::{self, Run};

pub fn run(args: &Demo) -> Result<()> {
    let start = Instant::now();
    setup::workloads()?;
    let ready = setup::ready(&args.kernel.kernel, Flavour::Release)?;
    let module = if args.veth {
        None
    } else {
        Some(setup::module(&ready)?)
    };

    let script = paths::repo().join("xtask/guest/demo.py");
    let env = [
        ("DEMO_MIB", args.size.to_string()),
        ("DEMO_KIND", if args.veth { "veth" } else { "toe" }.into()),
    ];
    let code = vm::report(
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
            dir: paths::target().join("demo"),
        },
        Step::new("booting the guest"),
        |step, text| step.println(text),
        start,
    )?;
    match code {
        0 => Ok(()),
        code => Err(Exit(code).into()),
    }
}
