// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask`: everything one does with this repository that is not editing.
//!
//! This file only dispatches. One file per task: each makes sure that what it
//! needs is there (`setup.rs` and the files it uses) and then does its work.

mod bench;
mod clean;
mod demo;
mod doc;
mod fail;
mod flags;
mod flavour;
mod frames;
mod kernel;
mod ktap;
mod lint;
mod module;
mod packages;
mod paths;
mod setup;
mod source;
mod splat;
mod test;
mod toolchain;
mod torture;
mod ui;
mod vm;
mod vm_task;

use clap::Parser;
use flags::{Task, Xtask};

fn main() {
    let flags = Xtask::parse();
    let result = match flags.task {
        Task::Vm(args) => vm_task::run(&args),
        Task::Setup(args) => setup::run_setup(&args),
        Task::Build(args) => setup::run_build(&args),
        Task::Clean(args) => clean::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lint(args) => lint::run(&args),
        Task::Doc(args) => doc::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Torture(args) => torture::run(&args),
    };
    if let Err(error) = result {
        std::process::exit(fail::report(&error));
    }
}
