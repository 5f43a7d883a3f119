// SPDX-License-Identifier: GPL-2.0
//! How much of a kernel's stack each function of the module takes. The stack is
//! 16 KiB for all of a call, and a frame may be handed over, received, acknowledged
//! and routed within one.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::toolchain::Toolchain;
use crate::ui;

/// What a function may take.
const LIMIT: u64 = 1024;

/// What one of the KUnit tests may take.
const TEST_LIMIT: u64 = 2048;

/// A function by its name in the source, and the bytes of its frame.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    name: String,
    size: u64,
}

/// Names what takes too much.
pub fn check(toolchain: &Toolchain, module: &Path) -> Result<Vec<String>> {
    let text = ui::output(
        Command::new(toolchain.llvm_tool("llvm-objdump"))
            .args(["-d", "-C", "--no-show-raw-insn", "--no-leading-addr"])
            .arg(module),
    )?;
    let frames = frames(&text);
    anyhow::ensure!(
        frames.len() > 100,
        "{} has only {} functions",
        module.display(),
        frames.len()
    );
    Ok(too_large(frames))
}

fn too_large(mut frames: Vec<Frame>) -> Vec<String> {
    frames.retain(|frame| frame.size > limit(&frame.name));
    frames.sort_by_key(|frame| std::cmp::Reverse(frame.size));
    frames
        .iter()
        .map(|frame| {
            format!(
                "{}: {} bytes of stack, at most {} are allowed",
                frame.name,
                frame.size,
                limit(&frame.name)
            )
        })
        .collect()
}

fn limit(name: &str) -> u64 {
    // `module::tests::function`, also within `<...>`.
    match name.contains("::tests::") {
        true => TEST_LIMIT,
        false => LIMIT,
    }
}

/// All functions of a disassembly.
fn frames(text: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in text.lines() {
        let name = line
            .strip_suffix(">:")
            .and_then(|line| Some(line.split_once('<')?.1));
        if let Some(name) = name {
            frames.push(Frame {
                name: name.to_owned(),
                size: 0,
            });
            continue;
        }
        let Some(frame) = frames.last_mut() else {
            continue;
        };
        let code = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = code.split_whitespace().collect();
        frame.size += match words.as_slice() {
            // Saved registers, at the function's beginning: what is saved later, around
            // a call in a part that is seldom run, is less than what is there already.
            ["pushq" | "push", register] if register.starts_with('%') && frame.size < 64 => 8,
            // Memory: once, or in steps of a page each of which is touched.
            ["subq" | "sub", bytes, "%rsp"] => constant(bytes).unwrap_or(0),
            // The shorter way to take 128 bytes.
            ["addq" | "add", bytes, "%rsp"] if bytes.starts_with("$-") => {
                constant(bytes).unwrap_or(0)
            }
            _ => 0,
        };
    }
    frames
}

/// `$0x7b8,` and `$-0x80,`, which is as much.
fn constant(word: &str) -> Option<u64> {
    let digits = word.strip_prefix('$')?.strip_suffix(',')?;
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `llvm-objdump -d -C --no-show-raw-insn --no-leading-addr toe.ko`.
    const SAMPLE: &str = "
toe.ko:\tfile format elf64-x86-64

Disassembly of section .text:

<small>:
\tendbr64
\tcallq\t 0x5 <small+0x5>
\tpushq\t%rbp
\tmovq\t%rsp, %rbp
\taddq\t$-0x80, %rsp
\tsubq\t$0x10, %rax
\taddq\t$0x80, %rsp
\tretq

<<toe_core::framework::objects::book::Book>::place>:
\tpushq\t%rbp
\tpushq\t%r15
\tsubq\t$0x5b8, %rsp              # imm = 0x5B8
\tcallq\t 0x5 <<toe_core::framework::objects::book::Book>::place+0x5>
\tjmp\t 0x10 <small>

<toe_core::logic::tree::tests::kunit_rust_wrapper_walks>:
\tsubq\t$0x7e8, %rsp              # imm = 0x7E8

<toe_core::logic::tree::tests::kunit_rust_wrapper_split_and_merge>:
\tsubq\t$0x1000, %rsp             # imm = 0x1000
\tmovq\t$0x0, (%rsp)
\tsubq\t$0x1000, %rsp             # imm = 0x1000
";

    #[test]
    fn frames_are_read() {
        let sizes: Vec<_> = frames(SAMPLE).iter().map(|frame| frame.size).collect();
        assert_eq!(sizes, [136, 1480, 2024, 8192]);
    }

    #[test]
    fn the_large_ones_are_named() {
        let said = too_large(frames(SAMPLE));
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("split_and_merge: 8192 bytes"), "{said:?}");
        assert!(
            said[1].starts_with("<toe_core::framework::objects::book::Book>::place: 1480 bytes"),
            "{said:?}"
        );
    }
}
