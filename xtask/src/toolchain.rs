// SPDX-License-Identifier: GPL-2.0
//! The compilers a kernel with Rust is built with.
//!
//! rustc and the source of its library must be of the very same version: a
//! rustup toolchain with `rust-src` has both, else the distribution's packages
//! do. bindgen comes from the Rust registry, pinned, into the cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::packages;
use crate::paths;
use crate::ui;

/// Known to work with the kernels we support.
const BINDGEN: &str = "0.73.2";

/// The oldest rustc that the kernels we support take.
const MIN_RUSTC: (u32, u32) = (1, 85);

/// The LLVM whose packages are installed, and others that will do.
const LLVM: &[u32] = &[19, 20, 21, 22, 18, 17];

#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Directory of rustc, rustdoc, rustfmt and clippy-driver.
    bin: PathBuf,
    /// `library/` of the Rust source.
    library: PathBuf,
    rustc_version: String,
    llvm: u32,
    bindgen: PathBuf,
}

struct Rust {
    bin: PathBuf,
    library: PathBuf,
    version: String,
}

/// `(major, minor)` of `rustc 1.96.0 (...)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().nth(1)?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Looks at one rustc: usable if it is new enough and its library source is
/// there.
fn probe(rustc: &Path) -> Option<Rust> {
    let version_text = ui::output(Command::new(rustc).arg("--version")).ok()?;
    if version(&version_text)? < MIN_RUSTC {
        return None;
    }
    let number = version_text.split_whitespace().nth(1)?.to_owned();
    let sysroot = PathBuf::from(ui::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?);
    let library = [
        sysroot.join("lib/rustlib/src/rust/library"),
        PathBuf::from(format!("/usr/src/rustc-{number}/library")),
    ]
    .into_iter()
    .find(|dir| dir.join("core/src/lib.rs").is_file())?;
    let bin = sysroot.join("bin");
    let all = ["rustc", "rustdoc", "rustfmt", "clippy-driver"]
        .iter()
        .all(|tool| bin.join(tool).is_file());
    all.then_some(Rust {
        bin,
        library,
        version: version_text,
    })
}

fn find_rust() -> Option<Rust> {
    // What `rustc` means here, rustup's choice included; then the
    // distribution's, which rustup may hide.
    paths::which("rustc")
        .and_then(|rustc| probe(&rustc))
        .or_else(|| probe(Path::new("/usr/bin/rustc")))
}

fn find_llvm() -> Option<u32> {
    LLVM.iter().copied().find(|n| {
        ["clang", "ld.lld", "llvm-nm", "llvm-objcopy"]
            .iter()
            .all(|tool| paths::which(&format!("{tool}-{n}")).is_some())
            && Path::new(&format!("/usr/lib/llvm-{n}/lib")).is_dir()
    })
}

/// Finds the toolchain, and installs what is missing of it.
pub fn ensure() -> Result<Toolchain> {
    packages::ensure(packages::BUILD)?;
    let rust = match find_rust() {
        Some(rust) => rust,
        None if packages::is_debian() => {
            packages::ensure_rust()?;
            match find_rust() {
                Some(rust) => rust,
                None => bail_setup!(
                    "no rustc of version {}.{} or newer with its library source, rustfmt and clippy was found: run `rustup component add rust-src rustfmt clippy`",
                    MIN_RUSTC.0, MIN_RUSTC.1
                ),
            }
        }
        None => bail_setup!(
            "no rustc of version {}.{} or newer with its library source, rustfmt and clippy was found: run `rustup component add rust-src rustfmt clippy`",
            MIN_RUSTC.0, MIN_RUSTC.1
        ),
    };
    let Some(llvm) = find_llvm() else {
        bail_setup!("clang, lld and the LLVM tools of version 19 are missing: install clang-19 lld-19 llvm-19 libclang-19-dev");
    };
    Ok(Toolchain {
        bin: rust.bin,
        library: rust.library,
        rustc_version: rust.version,
        llvm,
        bindgen: bindgen()?,
    })
}

/// The pinned bindgen, built on first use.
fn bindgen() -> Result<PathBuf> {
    let dir = paths::cache()?.join(format!("tools/bindgen-{BINDGEN}"));
    let program = dir.join("bin/bindgen");
    if program.is_file() {
        return Ok(program);
    }
    let _lock = paths::Lock::take("bindgen")?;
    if program.is_file() {
        return Ok(program);
    }
    paths::need_space(&paths::cache()?, 500, "building bindgen")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    paths::make_dir(&dir, |temp| {
        let mut install = Command::new(cargo);
        install
            .args([
                "install",
                "bindgen-cli",
                "--locked",
                "--version",
                BINDGEN,
                "--root",
            ])
            .arg(temp)
            .env("CARGO_TARGET_DIR", temp.join("build"));
        let log = paths::cache()?.join("log/bindgen");
        ui::run_logged(&mut install, &format!("building bindgen {BINDGEN}"), &log)
            .map_err(|error| crate::fail::Setup(format!("bindgen {BINDGEN} could not be installed: check the network and run this again ({error:#})")))?;
        paths::remove(&temp.join("build"))
    })?;
    Ok(program)
}

impl Toolchain {
    /// What the results of this toolchain depend on.
    pub fn id(&self) -> Result<String> {
        let clang = ui::output(Command::new(format!("clang-{}", self.llvm)).arg("--version"))?;
        let clang = clang.lines().next().unwrap_or_default().to_owned();
        Ok(format!(
            "{}\n{clang}\nbindgen {BINDGEN}",
            self.rustc_version
        ))
    }

    /// A program of the Rust toolchain the kernel is built with.
    pub fn rust_tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A program of the LLVM the kernel is built with.
    pub fn llvm_tool(&self, name: &str) -> String {
        format!("{name}-{}", self.llvm)
    }

    /// `make` in `dir`, told to use this toolchain and nothing else.
    pub fn make(&self, dir: &Path) -> Result<Command> {
        let Some(program) = paths::which("make") else {
            bail_setup!("make is missing: install the package make");
        };
        let mut make = Command::new(program);
        make.arg("-C").arg(dir);
        for (name, tool) in [
            ("RUSTC", "rustc"),
            ("HOSTRUSTC", "rustc"),
            ("RUSTDOC", "rustdoc"),
            ("RUSTFMT", "rustfmt"),
            ("CLIPPY_DRIVER", "clippy-driver"),
        ] {
            make.arg(assign(name, &self.bin.join(tool)));
        }
        make.arg(format!("LLVM=-{}", self.llvm));
        make.arg(assign("BINDGEN", &self.bindgen));
        make.arg(assign("RUST_LIB_SRC", &self.library));
        make.env("LIBCLANG_PATH", format!("/usr/lib/llvm-{}/lib", self.llvm));
        make.env("LC_ALL", "C.UTF-8");
        // Reproducible: who builds, where, and the banner's user name are out.
        make.env("KBUILD_BUILD_USER", "toe")
            .env("KBUILD_BUILD_HOST", "toe");
        // Of the cargo that runs us, or of a make that runs cargo.
        for name in [
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "CARGO_MAKEFLAGS",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "KBUILD_OUTPUT",
            "ARCH",
            "CROSS_COMPILE",
            "LLVM",
            "CC",
            "M",
            "O",
            "MO",
            "V",
            "W",
        ] {
            make.env_remove(name);
        }
        Ok(make)
    }
}

fn assign(name: &str, value: &Path) -> OsString {
    let mut word = OsString::from(format!("{name}="));
    word.push(value);
    word
}

/// How many jobs make may run.
pub fn jobs() -> String {
    let n = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    format!("-j{n}")
}

/// Fails with the kernel's own words if this toolchain cannot build its Rust.
pub fn check(toolchain: &Toolchain, source: &Path, build: &Path) -> Result<()> {
    let mut make = toolchain.make(source)?;
    make.arg(assign("O", build)).arg("rustavailable");
    let out = make.output().context("cannot start make")?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let said: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("***") && line.len() > 4)
            .collect();
        bail_setup!(
            "the kernel cannot be built with Rust by this toolchain: {}",
            said.join(" ").replace("*** ", "")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("rustc 1.96.0 (abc 2026-01-01)"), Some((1, 96)));
        assert_eq!(version("rustc"), None);
    }
}
