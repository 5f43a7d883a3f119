// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --weather`: goodput on a wire that loses, delays and reorders;
//! the guest's part is `xtask/guest/weather.sh`.

use super::Samples;

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

/// Losses are random: it is the time of all rounds together that tells.
fn mean(samples: &Samples, transport: &str, weather: &str) -> Option<f64> {
    let rounds = samples.get(&(transport.to_owned(), weather.to_owned()))?;
    (!rounds.is_empty()).then(|| rounds.iter().sum::<f64>() / rounds.len() as f64)
}

/// Goodput of the offloaded connection as a part of the host stack's; more is better.
fn ratio(samples: &Samples, weather: &str) -> Option<f64> {
    Some(mean(samples, "toe-host", weather)? / mean(samples, "toe", weather)?)
}

/// `unit`: what the guest's clock counts.
pub fn print(samples: &Samples, unit: &str) {
    println!(
        "\n{:28}{:>16}{:>16}{:>10}",
        format!("KiB per million {unit}"),
        "host stack",
        "offloaded",
        "ratio"
    );
    for (name, label) in WEATHER {
        print!("{label:28}");
        for transport in ["toe-host", "toe"] {
            match mean(samples, transport, name) {
                Some(per_kib) => print!("{:>16.1}", 1e6 / per_kib),
                None => print!("{:>16}", "-"),
            }
        }
        match ratio(samples, name) {
            Some(ratio) => println!("{ratio:>10.2}"),
            None => println!("{:>10}", "-"),
        }
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
        assert_eq!(ratio(&samples, "all"), Some(2.0));
        assert_eq!(ratio(&samples, "clear"), None);
    }
}
