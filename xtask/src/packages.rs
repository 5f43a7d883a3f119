// SPDX-License-Identifier: GPL-2.0
//! Debian packages: which are needed, which are missing, and how to get them.
//!
//! On a machine without dpkg nothing is installed; the task that needs a program then
//! reports that it is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::bail_setup;
use crate::paths;
use crate::ui;

/// What the kernel and the module are built with. The Rust toolchain is not
/// here: rustup's may do (`toolchain.rs`).
pub const BUILD: &[&str] = &[
    "bc",
    "binutils",
    "bison",
    "clang-19",
    "cpio",
    "curl",
    "flex",
    "gcc",
    "kmod",
    "libc6-dev",
    "libclang-19-dev",
    "libelf-dev",
    "libssl-dev",
    "lld-19",
    "llvm-19",
    "make",
    "pahole",
    "python3",
    "rsync",
    "xz-utils",
    "zstd",
];

/// What a VM is run with.
pub const VM: &[&str] = &[
    "busybox-static",
    "iproute2",
    "kmod",
    "procps",
    "qemu-system-x86",
];

/// Programs that the demo, the measurements and the tests run in the guest.
pub const WORKLOADS: &[&str] = &[
    "ethtool",
    "iperf3",
    "iputils-ping",
    "libbpf-dev",
    "nftables",
    "nginx-light",
    "openssl",
    "python3",
    "python3-yaml",
    "redis-server",
    "redis-tools",
    "socat",
    "tcpdump",
    "wrk",
];

/// A distribution's Rust of one version: compiler, library source, formatter,
/// linter. The first set the archive has is taken: Debian 12 keeps a current
/// compiler under names of its own.
const RUST: &[&[&str]] = &[
    &[
        "rustc-web",
        "rust-web-src",
        "rustfmt-web",
        "rust-web-clippy",
    ],
    &["rustc", "rust-src", "rustfmt", "rust-clippy"],
];

/// Packages the tests need on top, one per line: `selftests/packages`.
pub fn of_selftests() -> Vec<String> {
    let file = paths::repo().join("selftests/packages");
    fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// Returns whether this is a machine whose packages we know how to install.
pub fn is_debian() -> bool {
    paths::which("dpkg-query").is_some() && paths::which("apt-get").is_some()
}

/// The packages of `wanted` that are not installed.
fn missing(wanted: &[&str]) -> Result<Vec<String>> {
    let out = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .args(wanted)
        // Unknown names make it fail and say so: both are expected here.
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(wanted
        .iter()
        .filter(|name| !text.lines().any(|line| line == format!("installed {name}")))
        .map(|&name| name.to_owned())
        .collect())
}

/// Installs what is missing of `wanted`.
pub fn ensure(wanted: &[&str]) -> Result<()> {
    if !is_debian() {
        return Ok(());
    }
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail_setup!("packages are missing and installing them takes root: run `apt-get install {list}` as root");
    }
    paths::need_space(Path::new("/var"), 3000, "installing packages")?;
    let _lock = paths::Lock::take("packages")?;
    let _quiet = NoServices::begin();
    let log = paths::cache()?.join("log/packages");
    let title = format!("installing {} package(s)", missing.len());
    let mut last = None;
    // The first try can fail for many reasons that are gone with the second:
    // an old list of packages, an earlier run that died in the middle.
    for attempt in 0..3 {
        if attempt > 0 {
            let _ = ui::run_logged(
                apt("dpkg").args(["--configure", "-a"]),
                "repairing the package database",
                &paths::beside(&log, "repair"),
            );
            let _ = ui::run_logged(
                apt("apt-get").args(["-y", "-f", "install"]),
                "repairing the package database",
                &paths::beside(&log, "repair"),
            );
        }
        // Old lists may do: the installation tells.
        let _ = ui::run_logged(
            apt("apt-get").arg("update"),
            "updating the list of packages",
            &paths::beside(&log, "update"),
        );
        let mut install = apt("apt-get");
        install
            .args([
                "-y",
                "--no-install-recommends",
                "-o",
                "Dpkg::Options::=--force-confold",
                "install",
            ])
            .args(&missing);
        match ui::run_logged(&mut install, &title, &log) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    bail_setup!(
        "the packages {list} could not be installed: check the network and the machine's apt sources, then run this again ({:#})",
        last.expect("the loop ran")
    );
}

/// Installs a distribution's Rust.
pub fn ensure_rust() -> Result<()> {
    for set in RUST {
        if missing(set)?.is_empty() {
            return Ok(());
        }
    }
    let known = |set: &[&str]| {
        set.iter().all(|name| {
            Command::new("apt-cache")
                .args(["show", "--no-all-versions", name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    };
    if !RUST.iter().any(|set| known(set)) {
        // A machine that never ran `apt-get update` knows no package at all.
        let log = paths::cache()?.join("log/packages.update");
        ui::run_logged(
            apt("apt-get").arg("update"),
            "updating the list of packages",
            &log,
        )
        .map_err(|error| {
            crate::fail::Setup(format!(
                "the list of packages cannot be fetched: check the network ({error:#})"
            ))
        })?;
    }
    match RUST.iter().find(|set| known(set)) {
        Some(set) => ensure(set),
        None => bail_setup!("the distribution has no Rust compiler with its library source: run `rustup component add rust-src`"),
    }
}

fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

/// While this lives, installing a server does not start it: the tests start
/// their own, in their own namespaces.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Self {
        let path = Path::new(POLICY);
        if path.exists() {
            return Self(false);
        }
        let made = fs::write(path, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(path, fs::Permissions::from_mode(0o755)).is_ok();
        Self(made)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 {
            // Nothing can be done about a failure, and the file says itself
            // what it does.
            let _ = fs::remove_file(POLICY);
        }
    }
}
