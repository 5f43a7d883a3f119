// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench --profile ROW`: which functions a row's instructions are run in. They
//! are counted by a plug-in of QEMU, `xtask/profile/count.c`, while the guest is in a
//! measured round.

mod category;
mod symbols;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use serde::Serialize;

use super::rows::{self, TRANSPORTS};
use super::samples::Measured;
use crate::bail_setup;
use crate::paths;
use crate::ui;
use symbols::{Owner, Symbols};

/// How many functions are printed.
const SHOWN: usize = 40;
const LABEL: usize = 64;
const CELL: usize = 16;

/// Fails if there is no such row.
pub fn check(row: &str) -> Result<()> {
    let names: Vec<_> = rows::profiled().collect();
    if !names.contains(&row) {
        bail_setup!(
            "--profile {row}: there is no such row; say one of {}",
            names.join(", ")
        );
    }
    Ok(())
}

/// Builds the plug-in.
pub fn plugin() -> Result<PathBuf> {
    let plugin = paths::target().join("bench/count.so");
    fs::create_dir_all(paths::target().join("bench"))?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"])
        .arg(&plugin)
        .arg(paths::repo().join("xtask/profile/count.c"));
    ui::run_logged(
        &mut cc,
        "compiling the plug-in for QEMU",
        &paths::target().join("log/count"),
    )?;
    Ok(plugin)
}

/// A translated block that ran within a window.
#[derive(PartialEq, Debug)]
struct Block {
    cpu: u32,
    address: u64,
    instructions: u64,
    times: u64,
}

impl Block {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let block = Self {
            cpu: words.next()?.parse().ok()?,
            address: u64::from_str_radix(words.next()?, 16).ok()?,
            instructions: words.next()?.parse().ok()?,
            times: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(block)
    }
}

/// The windows of the plug-in's output. One that was not closed is left out.
fn windows(text: &str) -> Result<Vec<Vec<Block>>> {
    let mut windows = Vec::new();
    let mut open = Vec::new();
    for line in text.lines() {
        if line == "end" {
            windows.push(std::mem::take(&mut open));
        } else {
            let block = Block::parse(line);
            open.push(block.with_context(|| format!("the plug-in wrote `{line}`"))?);
        }
    }
    Ok(windows)
}

/// Where a function is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Module,
    Kernel,
    Programs,
}

/// What one function cost, all operations together.
#[derive(Clone, Default)]
struct Cost {
    category: String,
    instructions: f64,
    calls: f64,
}

/// What one transport cost.
#[derive(Default)]
struct Profile {
    operations: f64,
    functions: BTreeMap<(Place, String), Cost>,
    cpus: BTreeMap<u32, f64>,
}

impl Profile {
    fn add(&mut self, window: &[Block], symbols: &Symbols) {
        for block in window {
            let owner = symbols.find(block.address);
            let (place, name, category) = match owner {
                Owner::Program => (Place::Programs, "programs".to_owned(), String::new()),
                Owner::Unknown => (Place::Kernel, "?".to_owned(), "all else".to_owned()),
                Owner::Function(symbol) => {
                    let place = match symbol.measured {
                        true => Place::Module,
                        false => Place::Kernel,
                    };
                    (place, symbol.name.clone(), category::of(symbol))
                }
            };
            let instructions = (block.instructions * block.times) as f64;
            let cost = self.functions.entry((place, name)).or_default();
            cost.category = category;
            cost.instructions += instructions;
            if matches!(owner, Owner::Function(symbol) if symbol.begins_at(block.address)) {
                cost.calls += block.times as f64;
            }
            *self.cpus.entry(block.cpu).or_default() += instructions;
        }
    }

    /// Instructions per operation in the functions that are asked for.
    fn sum(&self, wanted: impl Fn(Place, &str, &Cost) -> bool) -> f64 {
        let costs = self
            .functions
            .iter()
            .filter(|((place, name), cost)| wanted(*place, name, cost))
            .map(|(_, cost)| cost.instructions);
        // Not `sum()`, for which nothing is -0.
        costs.fold(0.0, |sum, instructions| sum + instructions) / self.operations
    }
}

/// The profiles of all transports, in the order of the report's columns.
struct Profiles(Vec<(&'static str, Profile)>);

impl Profiles {
    /// The windows are those of the rounds, in the same order.
    fn new(windows: &[Vec<Block>], measured: &Measured, symbols: &Symbols) -> Result<Self> {
        ensure!(
            windows.len() == measured.order.len(),
            "{} rounds were measured, and {} were counted",
            measured.order.len(),
            windows.len()
        );
        let mut found: BTreeMap<&str, Profile> = BTreeMap::new();
        for (window, (transport, operations)) in windows.iter().zip(&measured.order) {
            let profile = found.entry(transport).or_default();
            profile.operations += operations;
            profile.add(window, symbols);
        }
        let columns = TRANSPORTS.iter().chain(&[("floor", "floor")]);
        Ok(Self(
            columns
                .filter_map(|(name, label)| Some((*label, found.remove(name)?)))
                .collect(),
        ))
    }

    fn line(&self, label: &str, figure: impl Fn(&Profile) -> f64) {
        print!("{:LABEL$}", fitting(label));
        for (_, profile) in &self.0 {
            print!("{:>CELL$.0}", figure(profile));
        }
        println!();
    }

    fn heading(&self, label: &str) {
        print!("\n{label:LABEL$}");
        for (label, _) in &self.0 {
            print!("{label:>CELL$}");
        }
        println!();
    }

    /// What `key` tells of the functions of a place, the dearest first.
    fn dearest(&self, place: Place, key: fn(&str, &Cost) -> String) -> Vec<String> {
        let mut most: BTreeMap<String, f64> = BTreeMap::new();
        for (_, profile) in &self.0 {
            let mut sums: BTreeMap<String, f64> = BTreeMap::new();
            for ((at, name), cost) in &profile.functions {
                if *at == place {
                    *sums.entry(key(name, cost)).or_default() += cost.instructions;
                }
            }
            for (key, sum) in sums {
                let most = most.entry(key).or_default();
                *most = most.max(sum / profile.operations);
            }
        }
        let mut keys: Vec<_> = most.into_iter().collect();
        keys.sort_by(|a, b| b.1.total_cmp(&a.1));
        keys.into_iter().map(|(key, _)| key).collect()
    }

    fn categories(&self) {
        self.heading("instructions per operation");
        for (place, label) in [(Place::Module, "module"), (Place::Kernel, "kernel")] {
            for category in self.dearest(place, |_, cost| cost.category.clone()) {
                self.line(&format!("  {label}: {category}"), |profile| {
                    profile.sum(|at, _, cost| at == place && cost.category == category)
                });
            }
            self.line(&format!("{label}, all of it"), |profile| {
                profile.sum(|at, _, _| at == place)
            });
        }
        self.line("programs", |profile| {
            profile.sum(|at, _, _| at == Place::Programs)
        });
        self.line("all", |profile| profile.sum(|_, _, _| true));
        let cpus: Vec<u32> = self
            .0
            .iter()
            .flat_map(|(_, profile)| profile.cpus.keys().copied())
            .collect();
        if let Some(last @ 1..) = cpus.iter().max() {
            for cpu in 0..=*last {
                self.line(&format!("on CPU {cpu}"), |profile| {
                    profile.cpus.get(&cpu).unwrap_or(&0.0) / profile.operations
                });
            }
        }
    }

    fn functions(&self, place: Place, heading: &str) {
        let names = self.dearest(place, |name, _| name.to_owned());
        if names.is_empty() {
            return;
        }
        self.heading(heading);
        for name in names.iter().take(SHOWN) {
            self.line(&name.replace("toe_core::", ""), |profile| {
                profile.sum(|at, function, _| at == place && function == name)
            });
        }
        if names.len() > SHOWN {
            println!("and {} more", names.len() - SHOWN);
        }
    }

    fn write(&self, path: &Path, row: &str) -> Result<()> {
        let functions = self.0.iter().flat_map(|(transport, profile)| {
            let each = profile.functions.iter();
            each.map(move |((place, name), cost)| Function {
                transport,
                place: *place,
                category: &cost.category,
                name,
                instructions: cost.instructions / profile.operations,
                calls: cost.calls / profile.operations,
            })
        });
        let written = Written {
            row,
            functions: functions.collect(),
        };
        let text = serde_json::to_string_pretty(&written).context("functions as JSON")?;
        paths::write_atomic(path, text.as_bytes())
    }
}

/// The end of a label that is too long: what a function is called comes last.
fn fitting(label: &str) -> String {
    let most = LABEL - 1;
    match label.chars().count().checked_sub(most) {
        None | Some(0) => label.to_owned(),
        Some(more) => label
            .chars()
            .skip(more + 2)
            .fold("..".to_owned(), |mut text, c| {
                text.push(c);
                text
            }),
    }
}

/// A function in the file; figures are per operation.
#[derive(Serialize)]
struct Function<'a> {
    transport: &'a str,
    place: Place,
    category: &'a str,
    name: &'a str,
    instructions: f64,
    calls: f64,
}

#[derive(Serialize)]
struct Written<'a> {
    row: &'a str,
    functions: Vec<Function<'a>>,
}

/// Prints and writes what was counted in a run whose directory is `dir`.
pub fn report(row: &str, measured: &Measured, dir: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut symbols = Symbols::parse(&read("kallsyms")?);
    symbols.demangle();
    let profiles = Profiles::new(&windows(&read("profile")?)?, measured, &symbols)?;
    ensure!(!profiles.0.is_empty(), "no round was counted");
    println!("\n{row}");
    profiles.categories();
    profiles.functions(Place::Module, "functions of the module");
    profiles.functions(Place::Kernel, "functions of the kernel");
    let path = paths::target().join("bench/profile.json");
    profiles.write(&path, row)?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::Round;
    use super::*;

    const COUNTED: &str = "\
0 401000 5 10
0 ffffffff81000040 10 4
1 ffffffff81000050 2 4
end
0 ffffffffc0000000 3 2
end
0 ffffffffc0000000 3 2
";

    const KALLSYMS: &str = "\
ffffffff81000040 T ksys_read
ffffffffc0000000 t toe_core::dct::run\t[toe]
";

    #[test]
    fn rows_that_there_are_not() {
        assert!(check("pingpong").is_ok() && check("pipe").is_ok());
        let error = check("ping").unwrap_err().to_string();
        assert!(error.contains("--profile ping:") && error.contains("connect-nofork"));
    }

    #[test]
    fn output_of_the_plugin() {
        let windows = windows(COUNTED).unwrap();
        assert_eq!((windows.len(), windows[0].len()), (2, 3));
        let block = Block {
            cpu: 1,
            address: 0xffff_ffff_8100_0050,
            instructions: 2,
            times: 4,
        };
        assert_eq!(windows[0][2], block);
        for wrong in ["0 x 1 1", "0 1 1", "0 1 1 1 1", ""] {
            assert_eq!(Block::parse(wrong), None, "{wrong}");
        }
        assert!(super::windows("nonsense\nend\n").is_err());
    }

    #[test]
    fn windows_are_those_of_the_rounds() {
        let symbols = Symbols::parse(&KALLSYMS.replace("toe_core::dct::run", "f"));
        let windows = windows(COUNTED).unwrap();
        let mut measured = Measured::default();
        measured.add(&Round::parse("= veth pingpong 49 2 2").unwrap());
        assert!(Profiles::new(&windows, &measured, &symbols).is_err());
        measured.add(&Round::parse("= toe pingpong 3 2 1").unwrap());
        let profiles = Profiles::new(&windows, &measured, &symbols).unwrap();
        let labels: Vec<_> = profiles.0.iter().map(|(label, _)| *label).collect();
        assert_eq!(labels, ["veth TCP", "toe, by frames"]);
        let veth = &profiles.0[0].1;
        assert_eq!(veth.sum(|at, _, _| at == Place::Programs), 25.0);
        assert_eq!(veth.sum(|at, _, _| at == Place::Kernel), 24.0);
        assert_eq!(veth.cpus[&1], 8.0);
        let read = &veth.functions[&(Place::Kernel, "ksys_read".to_owned())];
        assert_eq!((read.instructions, read.calls), (48.0, 4.0));
        let toe = &profiles.0[1].1;
        assert_eq!(toe.sum(|at, _, _| at == Place::Module), 6.0);
        let nothing = veth.sum(|at, _, _| at == Place::Module);
        assert_eq!(format!("{nothing:.0}"), "0");
    }

    #[test]
    fn the_dearest_come_first() {
        let symbols = Symbols::parse(KALLSYMS);
        let mut measured = Measured::default();
        measured.add(&Round::parse("= veth pingpong 49 2 2").unwrap());
        measured.add(&Round::parse("= toe pingpong 3 2 1").unwrap());
        let profiles = Profiles::new(&windows(COUNTED).unwrap(), &measured, &symbols).unwrap();
        let kinds = profiles.dearest(Place::Kernel, |_, cost| cost.category.clone());
        assert_eq!(kinds, ["system calls, files"]);
        let layers = profiles.dearest(Place::Module, |_, cost| cost.category.clone());
        assert_eq!(layers, ["dct"]);
    }

    #[test]
    fn long_labels_keep_their_end() {
        assert_eq!(fitting("f"), "f");
        let long = format!("{}::sendmsg", "a".repeat(LABEL));
        let label = fitting(&long);
        assert_eq!(label.len(), LABEL - 1);
        assert!(label.starts_with("..a") && label.ends_with("::sendmsg"));
    }
}
