// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --weather`: goodput on a wire that loses, delays and reorders;
//! the guest's part is `xtask/guest/weather.sh`.

use anyhow::Result;

use super::samples::Samples;
use crate::bail_setup;

/// What the router does, in the words of the table.
const WEATHER: &[(&str, &str)] = &[
    ("clear", "a clean wire"),
    ("loss-0.1", "loss 0.1 %"),
    ("loss-1", "loss 1 %"),
    ("loss-2", "loss 2 %"),
    ("loss-5", "loss 5 %"),
    ("reorder-1", "reordering 1 %"),
    ("reorder-25", "reordering 25 %"),
    ("duplicate-1", "duplication 1 %"),
    ("corrupt-0.1", "corruption 0.1 %"),
    ("delay", "delay 10 ms +- 5 ms"),
    ("all", "all of them"),
];

/// Fails if one of `only` is no row of the table.
pub fn check(only: &[String]) -> Result<()> {
    let known = |name: &String| WEATHER.iter().any(|(w, _)| w == name);
    if let Some(name) = only.iter().find(|name| !known(name)) {
        let names: Vec<_> = WEATHER.iter().map(|(name, _)| *name).collect();
        bail_setup!("--only {name}: say one of {}", names.join(", "));
    }
    Ok(())
}

/// The time of a transport's rounds in one weather.
struct Rounds {
    n: usize,
    mean: f64,
    /// Of the mean, as a part of it; infinite for one round.
    standard_error: f64,
}

impl Rounds {
    /// Losses are random: it is the time of all rounds together that tells.
    fn new(samples: &Samples, transport: &str, weather: &str) -> Option<Self> {
        let rounds = samples.get(&(transport.to_owned(), weather.to_owned()))?;
        if rounds.is_empty() {
            return None;
        }
        let n = rounds.len() as f64;
        let mean = rounds.iter().sum::<f64>() / n;
        let variance = rounds.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let standard_error = match rounds.len() {
            1 => f64::INFINITY,
            _ => (variance / n).sqrt() / mean,
        };
        Some(Self {
            n: rounds.len(),
            mean,
            standard_error,
        })
    }

    /// Goodput of these rounds as a part of the goodput of others, more is better,
    /// and how far off that may be with a probability of 5 %.
    fn ratio(&self, others: &Self) -> (f64, f64) {
        let ratio = others.mean / self.mean;
        let error = self.standard_error.hypot(others.standard_error);
        (ratio, 1.96 * error * ratio)
    }
}

/// `unit`: what the guest's clock counts.
pub fn print(samples: &Samples, unit: &str) {
    println!(
        "\n{:24}{:>8}{:>14}{:>14}{:>16}",
        format!("KiB per million {unit}"),
        "rounds",
        "host stack",
        "offloaded",
        "ratio"
    );
    for (name, label) in WEATHER {
        let host = Rounds::new(samples, "toe-host", name);
        let toe = Rounds::new(samples, "toe", name);
        let (Some(host), Some(toe)) = (host, toe) else {
            continue;
        };
        let (ratio, error) = toe.ratio(&host);
        let error = match error.is_finite() {
            true => format!(" +- {error:.2}"),
            false => String::new(),
        };
        println!(
            "{label:24}{:>8}{:>14.1}{:>14.1}{:>16}",
            host.n.min(toe.n),
            1e6 / host.mean,
            1e6 / toe.mean,
            format!("{ratio:.2}{error}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_of_all_rounds() {
        let mut samples = Samples::new();
        samples.insert(("toe-host".into(), "all".into()), vec![100.0, 300.0]);
        samples.insert(("toe".into(), "all".into()), vec![50.0, 150.0]);
        let host = Rounds::new(&samples, "toe-host", "all").unwrap();
        let toe = Rounds::new(&samples, "toe", "all").unwrap();
        let (ratio, error) = toe.ratio(&host);
        assert_eq!(ratio, 2.0);
        // Each mean is known to one half: 100 of 200, 50 of 100.
        assert!((error - 1.96 * 0.5f64.hypot(0.5) * 2.0).abs() < 1e-9);
        assert!(Rounds::new(&samples, "toe", "clear").is_none());
    }

    #[test]
    fn one_round_tells_nothing_of_its_error() {
        let mut samples = Samples::new();
        samples.insert(("toe".into(), "all".into()), vec![100.0]);
        let toe = Rounds::new(&samples, "toe", "all").unwrap();
        assert!(toe.ratio(&toe).1.is_infinite());
    }

    #[test]
    fn a_weather_that_is_none() {
        assert!(check(&["all".into(), "loss-1".into()]).is_ok());
        let error = check(&["snow".into()]).unwrap_err().to_string();
        assert!(error.contains("--only snow") && error.contains("loss-0.1"));
    }
}
