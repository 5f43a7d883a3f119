// SPDX-License-Identifier: GPL-2.0
//! What a guest's script has measured.

use std::collections::BTreeMap;

/// Rounds by transport, workload; none of what was tried and failed.
pub type Samples = BTreeMap<(String, String), Vec<f64>>;

/// One line of the script: `= TRANSPORT WORKLOAD COST [SWITCHES OPERATIONS]`.
#[derive(PartialEq, Debug)]
pub struct Round<'a> {
    pub transport: &'a str,
    pub workload: &'a str,
    /// Of one operation.
    pub cost: f64,
    /// Context switches per operation; those of some workloads are not known.
    pub switches: Option<f64>,
    /// How many operations there were.
    pub operations: Option<f64>,
}

impl<'a> Round<'a> {
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some("=") {
            return None;
        }
        Some(Self {
            transport: words.next()?,
            workload: words.next()?,
            cost: words.next()?.parse().ok()?,
            switches: words.next().and_then(|word| word.parse().ok()),
            operations: words.next().and_then(|word| word.parse().ok()),
        })
    }
}

/// All rounds of a guest.
#[derive(Default)]
pub struct Measured {
    pub cost: Samples,
    pub switches: Samples,
    /// Transport and number of operations of each round, as they were run.
    pub order: Vec<(String, f64)>,
    /// Rows that could not be measured, and why.
    pub missing: Vec<(String, String)>,
}

impl Measured {
    pub fn add(&mut self, round: &Round<'_>) {
        let key = (round.transport.to_owned(), round.workload.to_owned());
        if let Some(switches) = round.switches {
            let samples = self.switches.entry(key.clone()).or_default();
            samples.push(switches);
        }
        if let Some(operations) = round.operations {
            self.order.push((key.0.clone(), operations));
        }
        self.cost.entry(key).or_default().push(round.cost);
    }

    /// Takes a line of what could not be measured: `! TRANSPORT WORKLOAD`. True if it is one.
    pub fn failed(&mut self, line: &str) -> bool {
        let failed = line
            .strip_prefix("! ")
            .and_then(|rest| rest.trim_end().split_once(' '));
        if let Some((transport, workload)) = failed {
            let key = (transport.to_owned(), workload.to_owned());
            self.cost.entry(key).or_default();
        }
        failed.is_some()
    }
}

/// The middle one, which one disturbed round cannot move.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

pub fn value(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    median(samples.get(&(transport.to_owned(), workload.to_owned()))?)
}

pub fn ratio(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    Some(value(samples, transport, workload)? / value(samples, "veth", workload)?)
}

/// Largest minus smallest, as a part of the median.
pub fn spread(samples: &Samples, transport: &str, workload: &str) -> Option<f64> {
    let values = samples.get(&(transport.to_owned(), workload.to_owned()))?;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    Some((high - low) / median(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let mut samples = Samples::new();
        samples.insert(("veth".into(), "pingpong".into()), vec![100.0, 90.0, 500.0]);
        samples.insert(("toe".into(), "pingpong".into()), vec![50.0]);
        assert_eq!(ratio(&samples, "toe", "pingpong"), Some(0.5));
        assert_eq!(ratio(&samples, "unix", "pingpong"), None);
    }

    #[test]
    fn lines_of_the_guest() {
        let round = Round::parse("= toe pingpong 19427.1 2.000 5000\n").unwrap();
        assert_eq!(round.cost, 19427.1);
        assert_eq!(round.switches, Some(2.0));
        assert_eq!(round.operations, Some(5000.0));
        let round = Round::parse("= veth connect 349215.0 - 200").unwrap();
        assert_eq!((round.switches, round.operations), (None, Some(200.0)));
        let round = Round::parse("= toe offload 5083.0").unwrap();
        assert_eq!((round.switches, round.operations), (None, None));
        for wrong in ["", "toe pingpong 1", "= toe pingpong", "= toe pingpong x"] {
            assert_eq!(Round::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_failed_has_no_rounds() {
        let mut measured = Measured::default();
        assert!(measured.failed("! smc-d pingpong\n"));
        assert!(!measured.failed("= smc-d pingpong 1"));
        let rounds = &measured.cost[&("smc-d".into(), "pingpong".into())];
        assert!(rounds.is_empty() && median(rounds).is_none());
    }

    #[test]
    fn rounds_keep_their_order() {
        let mut measured = Measured::default();
        for line in ["= veth a 3 1 10", "= toe a 2 - 20", "= veth a 1 2 10"] {
            measured.add(&Round::parse(line).unwrap());
        }
        assert_eq!(measured.cost[&("veth".into(), "a".into())], [3.0, 1.0]);
        assert_eq!(measured.switches.len(), 1);
        let order: Vec<_> = measured.order.iter().map(|(t, n)| (&t[..], *n)).collect();
        assert_eq!(order, [("veth", 10.0), ("toe", 20.0), ("veth", 10.0)]);
    }
}
