// SPDX-License-Identifier: GPL-2.0
//! toe.ko, built by the kernel's own build system into `target/module/`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::kernel::Kernel;
use crate::paths;
use crate::toolchain::{self, Toolchain};
use crate::ui;

/// With the second target.
const EXAMPLE: &str = "TOE_EXAMPLE=y";

/// Where the module for a kernel is built: kernels do not share objects.
pub fn dir(kernel: &Kernel, suffix: &str) -> PathBuf {
    let key = paths::fingerprint(&[&kernel.build.to_string_lossy()]);
    paths::target().join("module").join(format!(
        "{}-{}-{}{suffix}",
        kernel.release,
        kernel.flavour,
        &key[..6]
    ))
}

/// Builds the module and returns its file, which has all that the tests need.
pub fn build(toolchain: &Toolchain, kernel: &Kernel) -> Result<PathBuf> {
    let dir = dir(kernel, "");
    make(
        toolchain,
        kernel,
        &dir,
        &[EXAMPLE],
        &format!("building toe.ko for the {} kernel", kernel.flavour),
    )?;
    let module = dir.join("toe.ko");
    anyhow::ensure!(module.is_file(), "the build left no {}", module.display());
    // A name that does not change, for people.
    let plain = paths::target().join("module").join(kernel.flavour.name());
    paths::remove(&plain)?;
    std::os::unix::fs::symlink(dir.file_name().context("it has a name")?, &plain)?;
    Ok(module)
}

/// The same without the second target: with it some functions have two callers, and are
/// not inlined into the first one's any more. For measurements.
pub fn build_plain(toolchain: &Toolchain, kernel: &Kernel) -> Result<PathBuf> {
    let dir = dir(kernel, "-plain");
    let title = format!(
        "building toe.ko for the {} kernel, as it is",
        kernel.flavour
    );
    make(toolchain, kernel, &dir, &[], &title)?;
    Ok(dir.join("toe.ko"))
}

/// Builds the module with the kernel's clippy settings, into objects of its
/// own: clippy must see every file anew to say all it has to say. As the tests have it, and
/// as it is by default: what only the second target uses is unused then.
pub fn clippy(toolchain: &Toolchain, kernel: &Kernel) -> Result<()> {
    let settings = ["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "W=e"];
    let dir = dir(kernel, "-clippy");
    for (more, title) in [
        (&[EXAMPLE][..], "clippy on the module"),
        (&[][..], "clippy on the module without the second target"),
    ] {
        paths::remove(&dir)?;
        make(toolchain, kernel, &dir, &[&settings, more].concat(), title)?;
    }
    Ok(())
}

fn make(
    toolchain: &Toolchain,
    kernel: &Kernel,
    dir: &std::path::Path,
    more: &[&str],
    title: &str,
) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Two builds in one directory would trample on each other.
    let lock = fs::File::create(paths::beside(dir, "lock"))?;
    lock.lock()?;
    let mut make = toolchain.make(&kernel.build)?;
    make.arg(toolchain::jobs())
        .arg(format!("M={}", paths::repo().display()))
        .arg(format!("MO={}", dir.display()))
        .args(more)
        .arg("modules");
    let name = dir
        .file_name()
        .context("it has a name")?
        .to_string_lossy()
        .into_owned();
    ui::run_logged(
        &mut make,
        title,
        &paths::target().join("log").join(format!("module-{name}")),
    )
}
