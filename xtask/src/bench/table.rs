// SPDX-License-Identifier: GPL-2.0
//! The report on the terminal.

use super::rows::{COSTS, FLOORS, HOST_TARGET, LAPS, TRANSPORTS, WORKLOADS};
use super::samples::{ratio, spread, value, Measured, Samples};

const LABEL: usize = 36;
const CELL: usize = 18;
/// Context switches per operation.
const SWITCHES: usize = 8;
/// The most a row may cost, and whether it does not.
const TARGET: usize = 16;

/// What a special case costs an offloaded connection, from detection to
/// resynchronisation, beyond what the host stack takes for the same segment.
fn special_cost(samples: &Samples) -> Option<f64> {
    let extra = |transport| {
        Some(value(samples, transport, "special")? - value(samples, transport, "pingpong")?)
    };
    Some(extra("toe")? - extra("toe-host")?)
}

/// The absolute figure, and what part of veth's it is.
pub fn cell(samples: &Samples, transport: &str, workload: &str) -> String {
    match (
        value(samples, transport, workload),
        ratio(samples, transport, workload),
    ) {
        (Some(value), Some(ratio)) if transport != "veth" => format!("{value:.0} ({ratio:.2})"),
        (Some(value), _) => format!("{value:.0}"),
        (None, _) if samples.contains_key(&(transport.to_owned(), workload.to_owned())) => {
            "failed".to_owned()
        }
        (None, _) => "-".to_owned(),
    }
}

fn switches(samples: &Samples, transport: &str, workload: &str) -> String {
    match value(samples, transport, workload) {
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    }
}

fn verdict(samples: &Samples, transport: &str, workload: &str, target: f64) -> String {
    let target_is = format!("<= {}", (target * 1000.0).round() / 1000.0);
    match ratio(samples, transport, workload) {
        Some(ratio) if ratio <= target => format!("{target_is} met"),
        Some(_) => format!("{target_is} MISSED"),
        None => target_is,
    }
}

fn workloads(measured: &Measured, transports: &[&str], unit: &str) {
    print!("\n{unit:LABEL$}");
    for (name, label) in TRANSPORTS {
        if transports.contains(name) {
            print!("{label:>CELL$}{:>SWITCHES$}", "switch");
        }
    }
    println!("{:>TARGET$}{:>TARGET$}", "frames", "short cut");
    for row in WORKLOADS.iter().chain(LAPS) {
        let (workload, label) = (row.name, row.label);
        let key = |t: &str| (t.to_owned(), workload.to_owned());
        let known = |t: &&str| measured.cost.contains_key(&key(t));
        if !transports.iter().any(known) {
            continue;
        }
        print!("{label:LABEL$}");
        for transport in transports {
            print!(
                "{:>CELL$}{:>SWITCHES$}",
                cell(&measured.cost, transport, workload),
                switches(&measured.switches, transport, workload)
            );
        }
        if let Some(targets) = &row.targets {
            for (transport, target) in [("toe", targets.frames), ("toe-short", targets.short_cut)] {
                let verdict = verdict(&measured.cost, transport, workload, target);
                print!("{verdict:>TARGET$}");
            }
        }
        println!();
    }
}

/// Prints all that was measured. `switch` is context switches of both ends per operation.
pub fn print(measured: &Measured, transports: &[&str], unit: &str) {
    let samples = &measured.cost;
    workloads(measured, transports, unit);
    if let Some(extra) = special_cost(samples) {
        println!(
            "{:LABEL$}{extra:>CELL$.0}",
            "a special case, beyond the host's work"
        );
    }
    for (name, label) in COSTS {
        if let Some(value) = value(samples, "toe", name) {
            println!("{label:LABEL$}{value:>CELL$.0}");
        }
    }
    if FLOORS
        .iter()
        .any(|(name, _)| value(samples, "floor", name).is_some())
    {
        println!("\n{:LABEL$}{:>CELL$}{:>SWITCHES$}", "floor", unit, "switch");
    }
    for (name, label) in FLOORS {
        if let Some(value) = value(samples, "floor", name) {
            let switches = switches(&measured.switches, "floor", name);
            println!("{label:LABEL$}{value:>CELL$.0}{switches:>SWITCHES$}");
        }
    }
    for row in WORKLOADS {
        let label = row.label;
        if let Some(ratio) =
            ratio(samples, "toe-host", row.name).filter(|ratio| *ratio > HOST_TARGET)
        {
            println!(
                "un-offloaded: {label} is {ratio:.2} of veth, target <= {HOST_TARGET:.2} MISSED"
            );
        }
    }
    let worst = transports
        .iter()
        .flat_map(|t| {
            WORKLOADS
                .iter()
                .filter_map(|row| spread(samples, t, row.name))
        })
        .fold(0.0, f64::max);
    if worst > 0.0 {
        println!(
            "largest spread of one figure over the rounds: {:.1} %",
            worst * 100.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Round;
    use super::*;

    #[test]
    fn absolute_figures_stand_beside_ratios() {
        let mut measured = Measured::default();
        for line in [
            "= veth pingpong 200 2.5 10",
            "= toe pingpong 150 2 10",
            "= toe special 180 - 10",
        ] {
            measured.add(&Round::parse(line).unwrap());
        }
        let samples = &measured.cost;
        assert_eq!(cell(samples, "toe", "pingpong"), "150 (0.75)");
        assert_eq!(cell(samples, "veth", "pingpong"), "200");
        assert_eq!(cell(samples, "toe", "special"), "180");
        assert_eq!(cell(samples, "unix", "pingpong"), "-");
        assert_eq!(switches(&measured.switches, "veth", "pingpong"), "2.50");
        assert_eq!(switches(&measured.switches, "toe", "special"), "-");
        assert_eq!(verdict(samples, "toe", "pingpong", 0.80), "<= 0.8 met");
        assert_eq!(
            verdict(samples, "toe", "pingpong", 0.185),
            "<= 0.185 MISSED"
        );
        assert_eq!(verdict(samples, "toe-short", "pingpong", 0.4), "<= 0.4");
        assert_eq!(special_cost(samples), None);
    }
}
