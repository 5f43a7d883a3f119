// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --many`: what a connection costs when there are many; the guest's part
//! is `xtask/guest/many.sh`, the program `xtask/guest/many.c`.

use std::collections::BTreeSet;

use super::samples::{value, Samples};

/// What is measured, and how it is called.
const STEPS: &[(&str, &str)] = &[
    ("connect", "connect and accept"),
    ("offload", "offload of an end, by TCP_ULP"),
    ("use", "64 bytes there and back"),
    ("upload", "upload of an end, all at once"),
    ("memory_slab", "memory of an end, slab, bytes"),
    ("memory_all", "the same, all that is taken"),
    ("scan_us", "one run of the look for new filters, us"),
];

/// The numbers of connections.
pub(super) fn counts(samples: &Samples) -> BTreeSet<u32> {
    let counts = samples.keys().filter_map(|(count, _)| count.parse().ok());
    counts.collect()
}

/// One row of the report, if anything of it was measured.
fn row(samples: &Samples, step: &str, label: &str) -> Option<String> {
    let figures: Vec<_> = counts(samples)
        .iter()
        .map(|count| value(samples, &count.to_string(), step))
        .collect();
    figures.iter().any(Option::is_some).then(|| {
        let cells = figures.iter().map(|figure| match figure {
            Some(figure) if *figure < 100.0 => format!("{figure:>12.1}"),
            Some(figure) => format!("{figure:>12.0}"),
            None => format!("{:>12}", "-"),
        });
        format!("{label:<42}{}", cells.collect::<String>())
    })
}

/// Prints the report.
pub fn print(samples: &Samples, unit: &str) {
    let heading = counts(samples);
    let heading: String = heading.iter().map(|count| format!("{count:>12}")).collect();
    println!("\n{:<42}{heading}", format!("{unit} per connection"));
    for (step, label) in STEPS {
        if let Some(row) = row(samples, step, label) {
            println!("{row}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_columns_in_order() {
        let mut samples = Samples::new();
        for (count, figure) in [("100000", 3.0), ("1000", 1.0)] {
            samples.insert((count.into(), "offload".into()), vec![figure]);
        }
        samples.insert(("1000".into(), "use".into()), vec![700.4]);
        let cells = |step| {
            let row = row(&samples, step, "label").unwrap();
            let words = row.split_whitespace().skip(1).map(str::to_owned);
            words.collect::<Vec<_>>()
        };
        assert_eq!(cells("offload"), ["1.0", "3.0"]);
        assert_eq!(cells("use"), ["700", "-"]);
        assert!(row(&samples, "upload", "label").is_none());
    }
}
