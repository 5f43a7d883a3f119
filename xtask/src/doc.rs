// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask doc`: rustdoc of the module and of the host crates, private items
//! included, with every warning an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::fail::Exit;
use crate::flags;
use crate::flavour::Flavour;
use crate::module;
use crate::paths;
use crate::setup::{self, Ready};
use crate::toolchain::Toolchain;
use crate::ui;

/// The host crates.
const CRATES: &[&str] = &["xtask", "xtask/model"];

/// Private items are always in these pages, so that links to them are fine.
const LINTS: &[&str] = &["-Dwarnings", "-Arustdoc::private_intra_doc_links"];

/// Flags of rustc that rustdoc does not know, and those that say what to emit and where.
const DROPPED: &[&str] = &["--emit=", "--remap-path-scope="];

pub fn run(args: &flags::Doc) -> Result<()> {
    let ready = setup::ready(&args.kernel.kernel, Flavour::Release)?;
    let problems = check(&ready)?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!("{}", pages().join("toe_core/index.html").display());
        return Ok(());
    }
    Err(Exit(1).into())
}

/// Builds all pages and returns what rustdoc has to say.
pub fn check(ready: &Ready) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in CRATES {
        problems.extend(host(&ready.toolchain, name)?);
    }
    problems.extend(kernel_module(ready)?);
    Ok(problems)
}

/// Where the pages are.
fn pages() -> PathBuf {
    paths::target().join("rustdoc/doc")
}

fn host(toolchain: &Toolchain, name: &str) -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["doc", "--no-deps", "--document-private-items"])
        .arg("--manifest-path")
        .arg(paths::repo().join(name).join("Cargo.toml"))
        .env("RUSTC", toolchain.rust_tool("rustc"))
        .env("RUSTDOC", toolchain.rust_tool("rustdoc"))
        .env("RUSTDOCFLAGS", LINTS.join(" "))
        .env("CARGO_TARGET_DIR", paths::target().join("rustdoc"));
    ui::complaints(&mut command, "rustdoc of", name)
}

/// The module is documented as it is compiled: with the flags of the kernel's build
/// system, which it leaves beside the object.
fn kernel_module(ready: &Ready) -> Result<Vec<String>> {
    let name = "toe_core";
    setup::module(ready)?;
    let dir = module::dir(&ready.kernel, "");
    let path = dir.join(format!("rust/.{name}.o.cmd"));
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rustc = rustc_command(&text)
        .with_context(|| format!("{} does not say how rustc was called", path.display()))?;
    let mut words = shell_words(&rustc);
    let program = words
        .iter()
        .position(|word| Path::new(word).file_name().is_some_and(|f| f == "rustc"))
        .with_context(|| format!("{} names no rustc", path.display()))?;
    let mut command = Command::new(ready.toolchain.rust_tool("rustdoc"));
    for word in words.drain(..program) {
        if let Some((key, value)) = word.split_once('=') {
            command.env(key, value);
        }
    }
    words.remove(0);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out-dir" | "-o" => drop(words.next()),
            word if DROPPED.iter().any(|start| word.starts_with(start)) => {}
            word => drop(command.arg(word)),
        }
    }
    // What Kbuild exports, the kernel's and ours.
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("TOE_OBJ", &dir)
        .current_dir(&dir)
        .args(["--document-private-items", "--crate-name", name])
        .arg("--output")
        .arg(pages())
        // As the kernel's own rule (rust/Makefile, rustdoc_modifiers_workaround).
        .arg("-Cunsafe-allow-abi-mismatch=fixed-x18")
        .args(LINTS);
    ui::complaints(&mut command, "rustdoc of", name)
}

/// The call of rustc in a file that kbuild writes beside each object: up to what is done
/// with the object afterwards.
fn rustc_command(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("savedcmd_"))?;
    let command = line.split_once(":=")?.1;
    Some(command.split(';').next()?.trim().to_owned())
}

/// The words of a command as a shell takes them apart: the quotes that kbuild uses, and
/// nothing else of its language.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_command_is_taken_apart() {
        let text = "savedcmd_rust/x.o :=  OBJTREE=/b rustc -Zcrate-attr='feature(a,b)' \
                    --cfg 'a=\"y\"' -L ./rust/ x.rs ; objtool x.o\n\nsource_rust/x.o := x.rs\n";
        let command = rustc_command(text).unwrap();
        assert_eq!(
            shell_words(&command),
            [
                "OBJTREE=/b",
                "rustc",
                "-Zcrate-attr=feature(a,b)",
                "--cfg",
                "a=\"y\"",
                "-L",
                "./rust/",
                "x.rs"
            ]
        );
        assert!(rustc_command("source_x := y\n").is_none());
    }
}
