// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --programs`: what a request of ordinary programs costs, client and
//! server; the guest's part is `xtask/guest/programs.sh`.

use anyhow::Result;

use super::samples::{value, Measured};
use super::table::cell;
use crate::bail_setup;
use crate::packages;

/// What is run, in the words of the table.
const PROGRAMS: &[(&str, &str)] = &[
    ("redis-c1", "redis, GET, 1 client"),
    ("redis-c1-p16", "the same, pipelines of 16"),
    ("redis-c50", "redis, GET, 50 clients"),
    ("redis-c50-p16", "the same, pipelines of 16"),
    ("nginx", "nginx, 1 KiB, 10 connections kept"),
    ("nginx-close", "the same, a connection per request"),
    ("pgbench", "PostgreSQL, SELECT by key, 1 client"),
    ("rpc-1", "1 KiB call, epoll, 1 connection"),
    ("rpc-100", "the same, 100 connections"),
    ("rpc-1000", "the same, 1000 connections"),
    ("iperf3", "iperf3, per KiB"),
];

/// Columns.
pub const TRANSPORTS: &[(&str, &str)] = &[
    ("veth", "veth TCP"),
    ("unix", "AF_UNIX"),
    ("toe", "toe, by frames"),
    ("toe-short", "toe, short cut"),
];

/// How much went which way, in percent.
const WAYS: &[(&str, &str)] = &[("share", "by the target"), ("passed", "past the wire")];

/// Debian packages on top of those of the other tasks; what cannot be installed is not
/// measured.
const PACKAGES: &[&str] = &["postgresql"];

const LABEL: usize = 36;
const CELL: usize = 18;
const WAY: usize = 16;

/// Fails if one of `only` is no row of the table.
pub fn check(only: &[String]) -> Result<()> {
    let known = |name: &String| PROGRAMS.iter().any(|(program, _)| program == name);
    if let Some(name) = only.iter().find(|name| !known(name)) {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        bail_setup!("--only {name}: say one of {}", names.join(", "));
    }
    Ok(())
}

/// Installs what guests run, as far as it can be had.
pub fn packages() {
    if let Err(error) = packages::ensure(PACKAGES) {
        eprintln!("warning: {error:#}; the rows that need them are left out");
    }
}

/// A program that this machine has not got: `- ROW REASON`.
pub fn missing(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("- ")?.trim_end().split_once(' ')
}

/// `unit`: what the guest's clock counts.
pub fn print(measured: &Measured, unit: &str) {
    print!("\n{:LABEL$}", format!("{unit} per request"));
    for (_, label) in TRANSPORTS {
        print!("{label:>CELL$}");
    }
    for (_, label) in WAYS {
        print!("{label:>WAY$}");
    }
    println!();
    for (row, label) in PROGRAMS {
        if let Some((_, reason)) = measured.missing.iter().find(|(name, _)| name == row) {
            println!("{label:LABEL$}not measured: {reason}");
            continue;
        }
        let known = |(transport, _): &(&str, &str)| value(&measured.cost, transport, row).is_some();
        if !TRANSPORTS.iter().any(known) {
            continue;
        }
        print!("{label:LABEL$}");
        for (transport, _) in TRANSPORTS {
            print!("{:>CELL$}", cell(&measured.cost, transport, row));
        }
        for (way, _) in WAYS {
            let part = value(&measured.cost, way, row);
            let part = part.map_or("-".to_owned(), |part| format!("{part:.1} %"));
            print!("{part:>WAY$}");
        }
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_there_are_not() {
        assert!(check(&["redis-c1".into(), "iperf3".into()]).is_ok());
        let error = check(&["mysql".into()]).unwrap_err().to_string();
        assert!(error.contains("--only mysql:") && error.contains("nginx-close"));
    }

    #[test]
    fn what_is_missing() {
        assert_eq!(
            missing("- pgbench initdb is not installed\n"),
            Some(("pgbench", "initdb is not installed"))
        );
        assert_eq!(missing("= toe pgbench 1"), None);
        assert_eq!(missing("- pgbench"), None);
    }
}
