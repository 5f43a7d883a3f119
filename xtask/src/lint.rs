// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask lint`: formatting, clippy, and rules no tool knows.

mod claims;
mod counters;
mod parity;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::doc;
use crate::fail::Exit;
use crate::flags::Lint;
use crate::flavour::Flavour;
use crate::frames;
use crate::module;
use crate::paths;
use crate::setup::{self, Ready};
use crate::toolchain::Toolchain;
use crate::ui;

/// Where `unsafe` may be written.
const UNSAFE: &[&str] = &["rust/net/", "rust/bindings/"];

/// Files that cannot have a licence line, or that say it in another way.
const NO_SPDX: &[&str] = &[
    "Cargo.lock",
    ".json",
    ".svg",
    ".png",
    "COPYING",
    "LICENSE",
    "proptest-regressions",
];

/// What the checks found so far.
#[derive(Default)]
struct Report {
    failed: Mutex<Vec<&'static str>>,
}

impl Report {
    fn check(&self, name: &'static str, result: Result<Vec<String>>) {
        let problems = result.unwrap_or_else(|error| vec![format!("{error:#}")]);
        if problems.is_empty() {
            return;
        }
        ui::aside(|| {
            for problem in &problems {
                println!("{name}: {problem}");
            }
        });
        self.failed.lock().expect("no panics").push(name);
    }
}

pub fn run(args: &Lint) -> Result<()> {
    // Against the kernel of the tests: one that is there, or soon needed.
    let ready = setup::ready(&args.kernel.kernel, Flavour::Debug)?;
    let files = files()?;
    let report = Report::default();
    let check = |name, result| report.check(name, result);
    check("rules", rules(&files));
    check("claims", claims::check(&files));
    check("counters", counters::check());
    check("rustfmt", rustfmt(&ready, &files));
    check(
        "parity",
        source(&ready).and_then(|dir| parity::check(&dir, &files)),
    );
    thread::scope(|scope| {
        // The compiler of one crate keeps little more than one processor busy: two of
        // them at a time are the module's clippy and all the rest.
        scope.spawn(|| {
            let result = module::clippy(&ready.toolchain, &ready.kernel);
            check("clippy", result.map(|()| Vec::new()));
        });
        for name in ["xtask", "xtask/model"] {
            check("clippy", clippy(&ready.toolchain, name));
        }
        // Of the module that the tests load into the release kernel.
        match setup::ready(&args.kernel.kernel, Flavour::Release) {
            Ok(ready) => {
                check("frames", frames(&ready));
                check("doc", doc::check(&ready));
            }
            Err(error) => check("frames", Err(error)),
        }
    });
    let mut failed = report.failed.into_inner().expect("no panics");
    if failed.is_empty() {
        println!("lint: all well");
        return Ok(());
    }
    failed.sort_unstable();
    failed.dedup();
    println!("lint: failed: {}", failed.join(", "));
    Err(Exit(1).into())
}

/// Not of the debug kernel's module: with KASAN each variable has a zone around it.
fn frames(ready: &Ready) -> Result<Vec<String>> {
    let module = setup::module(ready)?;
    frames::check(&ready.toolchain, &module)
}

/// All files of the repository: tracked ones, and new ones that git does not
/// ignore.
fn files() -> Result<Vec<String>> {
    let repo = paths::repo();
    let Ok(text) = ui::output(Command::new("git").arg("-C").arg(&repo).args([
        "ls-files",
        "-co",
        "--exclude-standard",
    ])) else {
        bail_setup!(
            "lint needs git and a clone of the repository: it checks the files that git knows"
        );
    };
    Ok(text
        .lines()
        .filter(|name| repo.join(name).is_file())
        .map(str::to_owned)
        .collect())
}

/// The repository's own rules.
fn rules(files: &[String]) -> Result<Vec<String>> {
    let repo = paths::repo();
    let mut problems = Vec::new();
    for name in files {
        let data = fs::read(repo.join(name)).with_context(|| format!("cannot read {name}"))?;
        let Ok(text) = String::from_utf8(data) else {
            continue;
        };
        let exempt = NO_SPDX
            .iter()
            .any(|end| name.ends_with(end) || name.contains(&format!("{end}/")));
        if !exempt
            && !text
                .lines()
                .take(2)
                .any(|line| line.contains("SPDX-License-Identifier: GPL-2.0"))
        {
            problems.push(format!(
                "{name}: no `SPDX-License-Identifier: GPL-2.0` in the first line"
            ));
        }
        if name.starts_with("rust/")
            && name.ends_with(".rs")
            && !UNSAFE.iter().any(|dir| name.starts_with(dir))
        {
            for line in unsafe_lines(&text) {
                problems.push(format!(
                    "{name}:{line}: `unsafe` outside of {}",
                    UNSAFE.join(" and ")
                ));
            }
        }
    }
    let logic = repo.join("rust/logic/mod.rs");
    let text =
        fs::read_to_string(&logic).with_context(|| format!("cannot read {}", logic.display()))?;
    if !text.contains("#![forbid(unsafe_code)]") {
        problems.push("rust/logic/mod.rs: `#![forbid(unsafe_code)]` is missing".to_owned());
    }
    Ok(problems)
}

/// The numbers of the lines with the keyword `unsafe` in code.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut in_comment = false;
    for (at, line) in text.lines().enumerate() {
        let mut code = String::new();
        let mut chars = line.chars().peekable();
        let mut in_string = false;
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('*', Some('/')) if in_comment => {
                    in_comment = false;
                    chars.next();
                }
                _ if in_comment => {}
                ('\\', _) if in_string => {
                    chars.next();
                }
                ('"', _) => in_string = !in_string,
                _ if in_string => {}
                ('/', Some('/')) => break,
                ('/', Some('*')) => in_comment = true,
                _ => code.push(c),
            }
        }
        if code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe")
        {
            found.push(at + 1);
        }
    }
    found
}

/// The source tree of the kernel.
fn source(ready: &Ready) -> Result<PathBuf> {
    ready
        .kernel
        .build
        .join("source")
        .canonicalize()
        .context("the kernel's source tree")
}

/// The module by the kernel's settings, the host crates by rustfmt's own.
fn rustfmt(ready: &Ready, files: &[String]) -> Result<Vec<String>> {
    let repo = paths::repo();
    let source = source(ready)?;
    let of = |prefix: &str| -> Vec<PathBuf> {
        files
            .iter()
            .filter(|name| name.starts_with(prefix) && name.ends_with(".rs"))
            .map(|name| repo.join(name))
            .collect()
    };
    let mut problems = Vec::new();
    for (files, config) in [
        (of("rust/"), Some(source.join(".rustfmt.toml"))),
        (of("xtask/"), None),
    ] {
        if files.is_empty() {
            continue;
        }
        let mut command = Command::new(ready.toolchain.rust_tool("rustfmt"));
        command.args(["--check", "--edition", "2021", "-l"]);
        if let Some(config) = config {
            command.arg("--config-path").arg(config);
        }
        let out = command
            .args(files)
            .output()
            .context("cannot start rustfmt")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut names: Vec<_> = said.lines().map(|line| shorten(line, &repo)).collect();
        names.sort();
        names.dedup();
        problems.extend(
            names
                .into_iter()
                .map(|name| format!("{name}: not formatted")),
        );
        if !out.status.success() && problems.is_empty() {
            problems.push(String::from_utf8_lossy(&out.stderr).trim().to_owned());
        }
    }
    Ok(problems)
}

fn shorten(line: &str, repo: &Path) -> String {
    line.strip_prefix(&format!("{}/", repo.display()))
        .unwrap_or(line)
        .to_owned()
}

/// Clippy on a host crate: what `cargo clippy` does, with the linter of the
/// kernel's toolchain, for cargo's own may lack one.
fn clippy(toolchain: &Toolchain, dir: &str) -> Result<Vec<String>> {
    let manifest = paths::repo().join(dir).join("Cargo.toml");
    if !manifest.is_file() {
        return Ok(vec![format!("{dir}: no Cargo.toml")]);
    }
    // Dependencies that were checked here rustdoc need not check.
    let target = paths::target().join("rustdoc");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["check", "--all-targets", "--manifest-path"])
        .arg(&manifest)
        .env("RUSTC", toolchain.rust_tool("rustc"))
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            toolchain.rust_tool("clippy-driver"),
        )
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")
        .env("CARGO_TARGET_DIR", target);
    ui::complaints(&mut command, "clippy on", dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found_only_in_code() {
        let text = "// unsafe\nfn a() { unsafe { b() } }\n#![forbid(unsafe_code)]\n\
                    let x = \"unsafe\"; /* unsafe\nunsafe */ unsafe impl Send for X {}\n";
        assert_eq!(unsafe_lines(text), [2, 5]);
    }
}
