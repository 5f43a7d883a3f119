// SPDX-License-Identifier: GPL-2.0
//! The rows and columns of the report.

use anyhow::Result;

use crate::bail_setup;

/// A row: what is measured, what it is called, and the most that offloaded connections may
/// cost as a part of veth.
pub struct Row {
    pub name: &'static str,
    pub label: &'static str,
    pub targets: Option<Targets>,
}

/// The most of a row, by frames and with the short cut.
pub struct Targets {
    pub frames: f64,
    pub short_cut: f64,
}

const fn row(name: &'static str, label: &'static str) -> Row {
    Row {
        name,
        label,
        targets: None,
    }
}

impl Row {
    const fn at_most(self, frames: f64, short_cut: f64) -> Self {
        Row {
            targets: Some(Targets { frames, short_cut }),
            ..self
        }
    }
}

/// The rows of the report.
pub const WORKLOADS: &[Row] = &[
    row("pingpong", "64-byte ping-pong, per round trip").at_most(0.68, 0.40),
    row("special", "ping-pong, a special case each"),
    row("stream-1K", "1 KiB writes, per KiB").at_most(0.57, 0.20),
    row("stream-4K", "4 KiB writes, per KiB").at_most(0.58, 0.185),
    row("stream-16K", "16 KiB writes, per KiB").at_most(0.66, 0.30),
    row("stream-64K", "64 KiB writes, per KiB").at_most(0.85, 0.65),
    row("stream-256K", "256 KiB writes, per KiB").at_most(0.85, 0.65),
    row("stream-64K-r256K", "the same, 64 KiB, reads of 256 KiB"),
    row("stream-256K-r256K", "the same, 256 KiB, reads of 256 KiB").at_most(0.85, 0.46),
    row("connect", "connect, 1 request, close").at_most(1.04, 1.04),
    row("connect-nofork", "the same, a server without fork"),
];

/// What `--wall` adds: how the round trips of the first row are distributed.
pub const LAPS: &[Row] = &[
    row("pingpong_p50", "64-byte ping-pong, p50"),
    row("pingpong_p999", "64-byte ping-pong, p99.9"),
];

/// The un-offloaded pair may not be slower than veth by more than this.
pub const HOST_TARGET: f64 = 1.05;

/// Columns; `veth` is what the others are compared to.
pub const TRANSPORTS: &[(&str, &str)] = &[
    ("veth", "veth TCP"),
    ("unix", "AF_UNIX"),
    ("smc-d", "SMC-D"),
    ("toe-host", "toe, host stack"),
    ("toe", "toe, by frames"),
    ("toe-short", "toe, short cut"),
];

/// What the offloaded pair is measured for alone.
pub const COSTS: &[(&str, &str)] = &[
    ("offload", "offload of a connection, mean"),
    ("offload_p99", "offload of a connection, p99"),
    ("upload", "upload of a connection, mean"),
    ("batch_1", "offload by the policy, 1 at a time"),
    ("batch_8", "offload by the policy, 8 at a time"),
    ("batch_64", "offload by the policy, 64 at a time"),
    ("batch_512", "offload by the policy, 512 at a time"),
    ("memory_slab", "memory of an idle end, slab, bytes"),
    ("memory_all", "the same, all that is taken"),
];

/// What no transport can be cheaper than.
pub const FLOORS: &[(&str, &str)] = &[
    ("syscall", "an empty system call"),
    ("pipe", "ping-pong through pipes"),
    ("eventfd", "ping-pong through eventfds"),
];

/// What measures more than one of `COSTS`.
const GROUPS: &[&str] = &["offload", "upload", "batch", "memory"];

/// What the profiler can count besides the rows of [`repeated`].
const COUNTED: &[&str] = &["offload", "upload"];

/// The rows whose rounds are one operation after the other.
pub fn repeated() -> impl Iterator<Item = &'static str> {
    let workloads = WORKLOADS.iter().map(|row| row.name);
    workloads.chain(FLOORS.iter().map(|(name, _)| *name))
}

/// The rows that the profiler can count.
pub fn profiled() -> impl Iterator<Item = &'static str> {
    repeated().chain(COUNTED.iter().copied())
}

/// Fails if one of `only` is nothing that can be measured by itself.
pub fn check(only: &[String]) -> Result<()> {
    let names: Vec<_> = repeated().chain(GROUPS.iter().copied()).collect();
    if let Some(name) = only.iter().find(|name| !names.contains(&name.as_str())) {
        bail_setup!("--only {name}: say one of {}", names.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_none() {
        assert!(check(&["pingpong".into(), "pipe".into(), "batch".into()]).is_ok());
        let error = check(&["ping".into()]).unwrap_err().to_string();
        assert!(error.contains("--only ping:") && error.contains("stream-1K"));
    }
}
