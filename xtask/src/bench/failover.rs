// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --failover`: what connections over a bond notice of a member that fails,
//! and what it costs to move them; the guest's part is `xtask/guest/failover.sh`, the program
//! `xtask/guest/failover.c`.

use std::collections::BTreeSet;

use super::many::counts;
use super::samples::{value, Samples};

/// What is compared, and how it is called.
pub const TRANSPORTS: &[(&str, &str)] = &[("veth", "veth TCP"), ("toe", "toe")];

/// Modes of a bond, with LACP among them.
const MODES: &[&str] = &["active-backup", "balance-xor", "802.3ad"];

/// What is set down.
const FAILURES: &[(&str, &str)] = &[("local", "own member"), ("peer", "peer's member")];

/// Modes in which idle connections are moved.
const MOVES: &[(&str, &str)] = &[
    ("balance-xor", "balance-xor, layer2"),
    ("active-backup", "active-backup"),
];

const LABEL: usize = 42;
const CELL: usize = 20;
const COUNT: usize = 12;

/// The median of the rounds, and the longest.
fn gap(samples: &Samples, transport: &str, row: &str) -> String {
    let workload = format!("gap:{row}");
    let rounds = samples.get(&(transport.to_owned(), workload.clone()));
    match (value(samples, transport, &workload), rounds) {
        (Some(median), Some(rounds)) => {
            let longest = rounds.iter().copied().fold(0.0, f64::max);
            format!("{median:.1} ({longest:.1})")
        }
        (None, Some(_)) => "failed".to_owned(),
        _ => "-".to_owned(),
    }
}

/// Of the round trips before the failure, and of those after it.
fn tail(samples: &Samples, transport: &str, row: &str) -> String {
    let of = |what: &str| value(samples, transport, &format!("{what}:{row}"));
    match (of("usual"), of("tail")) {
        (Some(usual), Some(tail)) => format!("{usual:.1}, {tail:.1}"),
        _ => "-".to_owned(),
    }
}

/// In how many rounds the client's end moved, and in how many it went to the host stack.
fn outcome(samples: &Samples, transport: &str, row: &str) -> String {
    let times = |what: &str| {
        let key = (transport.to_owned(), format!("{what}:{row}"));
        let rounds = samples.get(&key)?;
        Some(rounds.iter().sum::<f64>())
    };
    match (times("moved"), times("link"), times("host")) {
        (Some(moved), Some(link), Some(host)) => format!("{moved:.0}, {:.0}", link + host),
        _ => "-".to_owned(),
    }
}

/// What a move of `count` connections cost for each, beyond what a failure costs by itself.
fn cost(samples: &Samples, mode: &str, count: u32) -> Option<f64> {
    let work = |count: u32| value(samples, &count.to_string(), &format!("work:{mode}"));
    Some((work(count)? - work(0)?) / f64::from(count))
}

/// The yardstick: what it cost to hand one of them over and to take it back.
fn yardstick(samples: &Samples, mode: &str, count: u32) -> Option<f64> {
    let of = |what: &str| value(samples, &count.to_string(), &format!("{what}:{mode}"));
    Some(of("offload")? + of("upload")?)
}

/// One cell of a row, by the number of connections.
type Figure<'a> = &'a dyn Fn(u32) -> Option<f64>;

/// The rows of the report on idle connections in a mode, if there was any.
fn moves(samples: &Samples, mode: &str) -> Vec<String> {
    let of = |what: &'static str| {
        move |count: u32| value(samples, &count.to_string(), &format!("{what}:{mode}"))
    };
    let each = |count| cost(samples, mode, count);
    let both = |count| yardstick(samples, mode, count);
    let rows: [(&str, Figure<'_>); 9] = [
        ("from link down until none is left, us", &of("time")),
        ("a move, instructions each", &each),
        ("offload and upload, instructions each", &both),
        ("a move as a part of that (at most 1.00)", &|count| {
            Some(each(count)? / both(count)?)
        }),
        ("moves in a second, at 1 ns each", &|count| {
            Some(1e9 / each(count)?).filter(|rate| *rate > 0.0)
        }),
        ("moved to the other member", &of("moved")),
        ("left to the host stack, by its link", &of("link")),
        ("left to the host stack, without a link", &of("host")),
        ("the failure by itself, instructions", &|_| {
            value(samples, "0", &format!("work:{mode}"))
        }),
    ];
    let columns: Vec<u32> = counts(samples).into_iter().filter(|n| *n != 0).collect();
    let mut printed = Vec::new();
    for (label, figure) in rows {
        let figures: Vec<_> = columns.iter().map(|count| figure(*count)).collect();
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let cells = figures.iter().map(|figure| match figure {
            Some(figure) if label.ends_with(')') => format!("{figure:>COUNT$.2}"),
            Some(figure) => format!("{figure:>COUNT$.0}"),
            None => format!("{:>COUNT$}", "-"),
        });
        printed.push(format!("{label:<LABEL$}{}", cells.collect::<String>()));
    }
    printed
}

/// How many connections there were beside that of the round trips, with it, if several.
fn crowds(samples: &Samples) -> BTreeSet<u32> {
    let count = |(_, workload): &(String, String)| workload.split(':').nth(3)?.parse().ok();
    samples.keys().filter_map(count).collect()
}

/// Prints the report.
pub fn print(samples: &Samples, transports: &[&str]) {
    for (title, cell) in [
        (
            "no progress for, ms: median (longest)",
            gap as fn(&Samples, &str, &str) -> String,
        ),
        ("99 % of round trips, us: before, after", tail),
        ("times that it moved, or left the target", outcome),
    ] {
        let shown = || TRANSPORTS.iter().filter(|(t, _)| transports.contains(t));
        let heading: String = shown()
            .map(|(_, label)| format!("{label:>CELL$}"))
            .collect();
        println!("\n{title:<LABEL$}{heading}");
        let mut rows = Vec::new();
        for mode in MODES {
            for (failure, label) in FAILURES {
                rows.push((format!("{mode}:{failure}"), format!("{mode}, {label}")));
                for count in crowds(samples) {
                    rows.push((
                        format!("{mode}:{failure}:{count}"),
                        format!("{mode}, {label}, {count}"),
                    ));
                }
            }
        }
        for (row, label) in rows {
            let cells: String = shown()
                .map(|(t, _)| format!("{:>CELL$}", cell(samples, t, &row)))
                .collect();
            println!("{label:<LABEL$}{cells}");
        }
    }
    let columns: String = counts(samples)
        .iter()
        .filter(|n| **n != 0)
        .map(|count| format!("{count:>COUNT$}"))
        .collect();
    for (mode, label) in MOVES {
        let rows = moves(samples, mode);
        if rows.is_empty() {
            continue;
        }
        println!(
            "\n{:<LABEL$}{columns}",
            format!("idle connections, {label}")
        );
        for row in rows {
            println!("{row}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(lines: &[(&str, &str, &[f64])]) -> Samples {
        let entry = |(who, what, rounds): &(&str, &str, &[f64])| {
            ((who.to_string(), what.to_string()), rounds.to_vec())
        };
        lines.iter().map(entry).collect()
    }

    #[test]
    fn a_gap_has_its_longest_round() {
        let samples = samples(&[
            ("toe", "gap:802.3ad:local", &[1.5, 30.0, 2.0]),
            ("toe", "usual:802.3ad:local", &[20.0]),
            ("toe", "tail:802.3ad:local", &[25.04]),
            ("toe", "moved:802.3ad:local", &[1.0, 0.0, 1.0]),
            ("toe", "link:802.3ad:local", &[0.0, 0.0, 0.0]),
            ("toe", "host:802.3ad:local", &[0.0, 1.0, 0.0]),
            ("veth", "gap:802.3ad:local", &[]),
            ("toe", "gap:802.3ad:local:100", &[3.0]),
        ]);
        assert_eq!(crowds(&samples), BTreeSet::from([100]));
        assert_eq!(gap(&samples, "toe", "802.3ad:local:100"), "3.0 (3.0)");
        assert_eq!(gap(&samples, "toe", "802.3ad:local"), "2.0 (30.0)");
        assert_eq!(gap(&samples, "veth", "802.3ad:local"), "failed");
        assert_eq!(gap(&samples, "toe", "802.3ad:peer"), "-");
        assert_eq!(tail(&samples, "toe", "802.3ad:local"), "20.0, 25.0");
        assert_eq!(tail(&samples, "veth", "802.3ad:local"), "-");
        assert_eq!(outcome(&samples, "toe", "802.3ad:local"), "2, 1");
        assert_eq!(outcome(&samples, "veth", "802.3ad:local"), "-");
    }

    #[test]
    fn a_move_costs_what_is_beyond_the_failure() {
        let samples = samples(&[
            ("0", "work:active-backup", &[100_000.0]),
            ("100", "work:active-backup", &[600_000.0]),
            ("100", "offload:active-backup", &[5_000.0]),
            ("100", "upload:active-backup", &[1_250.0]),
            ("10000", "work:active-backup", &[]),
            ("toe", "gap:active-backup:local", &[1.0]),
        ]);
        assert_eq!(cost(&samples, "active-backup", 100), Some(5_000.0));
        assert_eq!(cost(&samples, "active-backup", 10_000), None);
        assert_eq!(yardstick(&samples, "active-backup", 100), Some(6_250.0));
        let rows = moves(&samples, "active-backup");
        let words = |text: &str| {
            let row = rows.iter().find(|row| row.starts_with(text)).unwrap();
            let words = row[LABEL..].split_whitespace().map(str::to_owned);
            words.collect::<Vec<_>>()
        };
        assert_eq!(words("a move, instr"), ["5000", "-"]);
        assert_eq!(words("a move as a part"), ["0.80", "-"]);
        assert_eq!(words("moves in a second"), ["200000", "-"]);
        assert!(!rows.iter().any(|row| row.starts_with("from link down")));
        assert!(moves(&samples, "balance-xor").is_empty());
    }
}
