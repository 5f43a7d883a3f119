// SPDX-License-Identifier: GPL-2.0
//! The kernels: configured from `xtask/kernel/`, built into the cache.
//!
//! A kernel's directory is named after all it depends on. It is built in place
//! (a build tree does not survive being moved), and is complete when its stamp
//! is there; a build that was interrupted is taken up again where it stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::flavour::Flavour;
use crate::paths;
use crate::source;
use crate::toolchain::{self, Toolchain};
use crate::ui;

/// A kernel that is built.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its build tree: what `make -C` takes to build a module.
    pub build: PathBuf,
    pub image: PathBuf,
    /// Root of its installed modules (`lib/modules/...` is below).
    pub modules: Option<PathBuf>,
    /// `uname -r`
    pub release: String,
    pub flavour: Flavour,
}

/// Room that a build takes, MiB.
fn space(flavour: Flavour) -> u64 {
    match flavour {
        Flavour::Release => 3000,
        Flavour::Debug => 6000,
    }
}

/// Returns the kernel of a series and flavour, built if need be.
pub fn ensure(toolchain: &Toolchain, series: &str, flavour: Flavour) -> Result<Kernel> {
    if let Some(dir) = std::env::var_os("TOE_KERNEL_BUILD").filter(|dir| !dir.is_empty()) {
        return own(toolchain, Path::new(&dir), flavour);
    }
    let source = source::ensure(series)?;
    let config = fragments(flavour, &source.version)?;
    let id = toolchain.id()?;
    let key = paths::fingerprint(&[&source.version, &source.dir.to_string_lossy(), &config, &id]);
    let name = format!("{}-{flavour}-{}", source.version, &key[..12]);
    let dir = paths::cache()?.join("kernel").join(&name);
    if let Some(kernel) = built(&dir, flavour) {
        return Ok(kernel);
    }
    let _lock = paths::Lock::take(&format!("kernel-{name}"))?;
    if let Some(kernel) = built(&dir, flavour) {
        return Ok(kernel);
    }
    paths::need_space(
        &paths::cache()?,
        space(flavour),
        &format!("building the {flavour} kernel"),
    )?;
    let resumed = dir.exists();
    let result = build(toolchain, &source.dir, &dir, &config, &name, flavour);
    if result.is_err() && resumed {
        // Whatever the interrupted build left may be the reason.
        eprintln!("    taking up an interrupted build failed: starting again from nothing");
        paths::remove(&dir)?;
        build(toolchain, &source.dir, &dir, &config, &name, flavour)?;
    } else {
        result?;
    }
    built(&dir, flavour).context("the kernel was built and is not there")
}

/// The kernel in a directory of the cache, if it is complete.
fn built(dir: &Path, flavour: Flavour) -> Option<Kernel> {
    let release = fs::read_to_string(dir.join("stamp")).ok()?;
    let kernel = Kernel {
        build: dir.join("build"),
        image: dir.join("build/arch/x86/boot/bzImage"),
        modules: Some(dir.join("root")),
        release: release.trim().to_owned(),
        flavour,
    };
    kernel.image.is_file().then_some(kernel)
}

/// The fragments of a flavour in one text; of an option named twice the later
/// line counts.
fn fragments(flavour: Flavour, version: &str) -> Result<String> {
    let mut text = String::new();
    for file in flavour.fragments(version) {
        text += &fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}

fn build(
    toolchain: &Toolchain,
    source: &Path,
    dir: &Path,
    config: &str,
    name: &str,
    flavour: Flavour,
) -> Result<()> {
    let build = dir.join("build");
    fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
    let log = paths::cache()?.join("log").join(format!("kernel-{name}"));
    toolchain::check(toolchain, source, &build)?;

    let wanted = dir.join("wanted.config");
    paths::write_atomic(&wanted, config.as_bytes())?;
    let mut make = toolchain.make(source)?;
    make.arg(format!("O={}", build.display()))
        .arg(format!("KCONFIG_ALLCONFIG={}", wanted.display()))
        .arg("allnoconfig");
    ui::run_logged(
        &mut make,
        &format!("configuring the {flavour} kernel"),
        &log,
    )?;
    let got = fs::read_to_string(build.join(".config")).context("the kernel's .config")?;
    let lost = lost(config, &got);
    if !lost.is_empty() {
        anyhow::bail!(
            "the {flavour} kernel cannot have these options of xtask/kernel/: {} (what they depend on is off or gone)",
            lost.join(", ")
        );
    }

    let minutes = match flavour {
        Flavour::Release => "10 minutes on two cores",
        Flavour::Debug => "20 minutes on two cores",
    };
    let mut make = toolchain.make(&build)?;
    make.arg(toolchain::jobs()).arg("all");
    ui::run_logged(
        &mut make,
        &format!("building the {flavour} kernel, once (about {minutes})"),
        &log,
    )?;
    let mut make = toolchain.make(&build)?;
    make.arg(format!("INSTALL_MOD_PATH={}", dir.join("root").display()))
        .args(["INSTALL_MOD_STRIP=1", "modules_install"]);
    ui::run_logged(
        &mut make,
        "installing its modules in the cache",
        &paths::beside(&log, "modules"),
    )?;

    let release = release(&build)?;
    paths::write_atomic(&dir.join("stamp"), release.as_bytes())
}

fn release(build: &Path) -> Result<String> {
    let file = build.join("include/config/kernel.release");
    Ok(fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .trim()
        .to_owned())
}

/// `CONFIG_X=value` lines, and `# CONFIG_X is not set` as `n`.
fn options(text: &str) -> BTreeMap<&str, &str> {
    let mut map = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix("# ")
            .and_then(|rest| rest.strip_suffix(" is not set"))
        {
            map.insert(name, "n");
        } else if let Some((name, value)) = line.split_once('=') {
            if name.starts_with("CONFIG_") {
                map.insert(name, value);
            }
        }
    }
    map
}

/// The options that did not turn out as wanted.
fn lost(wanted: &str, got: &str) -> Vec<String> {
    let got = options(got);
    options(wanted)
        .into_iter()
        .filter(|&(name, value)| {
            let have = got.get(name).copied().unwrap_or("n");
            // Built in where a module would do: something else asked for it.
            have != value && !(value == "m" && have == "y")
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// A kernel that the user has built: `TOE_KERNEL_BUILD`.
fn own(toolchain: &Toolchain, dir: &Path, flavour: Flavour) -> Result<Kernel> {
    let shown = dir.display();
    let Ok(build) = dir.canonicalize() else {
        bail_setup!(
            "TOE_KERNEL_BUILD={shown} does not exist: set it to the build tree of a kernel"
        );
    };
    let image = build.join("arch/x86/boot/bzImage");
    if !image.is_file() || !build.join("Module.symvers").is_file() {
        bail_setup!("TOE_KERNEL_BUILD={shown} holds no built kernel: run `make` there first (bzImage and Module.symvers are needed)");
    }
    let config = fs::read_to_string(build.join(".config")).unwrap_or_default();
    if options(&config).get("CONFIG_RUST") != Some(&"y") {
        bail_setup!("the kernel in TOE_KERNEL_BUILD={shown} was configured without CONFIG_RUST=y: toe needs it");
    }
    let key = paths::fingerprint(&[&build.to_string_lossy()]);
    let root = paths::target().join("kernel").join(&key[..12]);
    let stamp = paths::beside(&root, "stamp");
    let newer = match (fs::metadata(&stamp), fs::metadata(&image)) {
        (Ok(stamp), Ok(image)) => stamp.modified()? < image.modified()?,
        _ => true,
    };
    if newer {
        let mut make = toolchain.make(&build)?;
        make.arg(format!("INSTALL_MOD_PATH={}", root.display()))
            .args(["INSTALL_MOD_STRIP=1", "modules_install"]);
        ui::run_logged(
            &mut make,
            "installing the kernel's modules in target/",
            &paths::target().join("log/modules"),
        )?;
        paths::write_atomic(&stamp, b"")?;
    }
    Ok(Kernel {
        release: release(&build)?,
        build,
        image,
        modules: Some(root),
        flavour,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_named() {
        let wanted =
            "# comment\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=m\nCONFIG_E=7\nCONFIG_A=y\n";
        let got = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_D is not set\nCONFIG_E=8\n";
        assert_eq!(lost(wanted, got), ["CONFIG_D=m", "CONFIG_E=7"]);
    }

    #[test]
    fn the_later_fragment_counts() {
        assert!(lost("CONFIG_A=y\nCONFIG_A=n\n", "# CONFIG_A is not set\n").is_empty());
    }
}
