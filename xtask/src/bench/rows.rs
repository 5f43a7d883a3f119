// SPDX-License-Identifier: GPL-2.0
//! The rows and columns of the report.

use anyhow::Result;

use crate::bail_setup;

/// What is measured, what a row is called, and the most the offloaded pair may
/// cost as a part of veth (`None`: no target).
pub const WORKLOADS: &[(&str, &str, Option<f64>)] = &[
    ("pingpong", "64-byte ping-pong, per round trip", Some(0.80)),
    ("special", "ping-pong, a special case each", None),
    ("stream-1K", "1 KiB writes, per KiB", None),
    ("stream-4K", "4 KiB writes, per KiB", Some(0.75)),
    ("stream-16K", "16 KiB writes, per KiB", None),
    ("stream-64K", "64 KiB writes, per KiB", None),
    ("stream-256K", "256 KiB writes, per KiB", Some(0.95)),
    (
        "stream-64K-r256K",
        "the same, 64 KiB, reads of 256 KiB",
        None,
    ),
    (
        "stream-256K-r256K",
        "the same, 256 KiB, reads of 256 KiB",
        None,
    ),
    ("connect", "connect, 1 request, close", None),
    ("connect-nofork", "the same, a server without fork", None),
];

/// The un-offloaded pair may not be slower than veth by more than this.
pub const HOST_TARGET: f64 = 1.05;

/// Columns; `veth` is what the others are compared to.
pub const TRANSPORTS: &[(&str, &str)] = &[
    ("veth", "veth TCP"),
    ("unix", "AF_UNIX"),
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
const GROUPS: &[&str] = &["offload", "batch", "memory"];

/// The rows whose rounds are one operation after the other.
pub fn repeated() -> impl Iterator<Item = &'static str> {
    let workloads = WORKLOADS.iter().map(|(name, _, _)| *name);
    workloads.chain(FLOORS.iter().map(|(name, _)| *name))
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
