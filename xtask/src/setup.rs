// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask setup` and `build`, and what the other tasks ask for first.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::bail_setup;
use crate::flags;
use crate::flavour::Flavour;
use crate::kernel::{self, Kernel};
use crate::module;
use crate::packages;
use crate::paths;
use crate::toolchain::{self, Toolchain};
use crate::ui;

/// All that is needed to run a guest.
pub struct Ready {
    pub toolchain: Toolchain,
    pub kernel: Kernel,
}

/// Makes sure that a kernel of this flavour can be booted.
pub fn ready(series: &str, flavour: Flavour) -> Result<Ready> {
    if std::env::consts::ARCH != "x86_64" {
        bail_setup!(
            "this machine is {}: the guest kernels are for x86_64",
            std::env::consts::ARCH
        );
    }
    packages::ensure(packages::VM)?;
    let toolchain = toolchain::ensure()?;
    let kernel = kernel::ensure(&toolchain, series, flavour)?;
    ip_plugin()?;
    Ok(Ready { toolchain, kernel })
}

/// Builds what teaches ip(8) the options of kind toe. Guests find it where ip
/// looks for it, without anything being installed on this machine.
fn ip_plugin() -> Result<()> {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(paths::repo().join("tools/iproute2"))
        .arg(format!("OUTPUT={}", paths::ip_plugin_dir().display()))
        .env_remove("MAKEFLAGS");
    std::fs::create_dir_all(paths::ip_plugin_dir())?;
    ui::run_logged(
        &mut make,
        "building the plug-in for ip",
        &paths::target().join("log/iproute2"),
    )
}

/// The programs that guests run.
pub fn workloads() -> Result<()> {
    let more = packages::of_selftests();
    let mut all: Vec<&str> = packages::WORKLOADS.to_vec();
    all.extend(more.iter().map(String::as_str));
    packages::ensure(&all)
}

/// Builds the module for a kernel.
pub fn module(ready: &Ready) -> Result<PathBuf> {
    if !paths::repo().join("Kbuild").is_file() {
        bail_setup!("the repository has no Kbuild: check out all of it");
    }
    module::build(&ready.toolchain, &ready.kernel)
}

pub fn run_setup(args: &flags::Setup) -> Result<()> {
    workloads()?;
    for flavour in [Flavour::Release, Flavour::Debug] {
        let skip = match flavour {
            Flavour::Release => args.debug_kernel,
            Flavour::Debug => args.release,
        };
        if !skip {
            let ready = ready(&args.kernel.kernel, flavour)?;
            println!(
                "{flavour} kernel: Linux {} in {}",
                ready.kernel.release,
                ready.kernel.build.display()
            );
        }
    }
    println!("cache: {}", paths::cache()?.display());
    Ok(())
}

pub fn run_build(args: &flags::Build) -> Result<()> {
    let ready = ready(&args.kernel.kernel, args.flavour.flavour())?;
    let module = module(&ready)?;
    println!("{}", module.display());
    Ok(())
}
