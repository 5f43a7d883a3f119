// SPDX-License-Identifier: GPL-2.0
//! The two kernels: one to run and measure with, one to find faults with.

use std::fmt;
use std::path::PathBuf;

use crate::paths;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// No debug options: demo, bench.
    Release,
    /// Every checker there is: test.
    Debug,
}

impl Flavour {
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Release => "release",
            Flavour::Debug => "debug",
        }
    }

    /// The configuration fragments for a version of the kernel, the later one
    /// on top of the earlier.
    pub fn fragments(self, version: &str) -> Vec<PathBuf> {
        let dir = paths::repo().join("xtask/kernel");
        let mut files = vec![dir.join("toe.config")];
        if self == Flavour::Debug {
            files.push(dir.join("debug.config"));
        }
        // Options that have other names in one series.
        let series: Vec<_> = version.split('.').take(2).collect();
        let own = dir.join(format!("toe-{}.config", series.join(".")));
        files.extend(own.is_file().then_some(own));
        files
    }

    /// Memory a guest gets when nobody says otherwise. KASAN takes an eighth,
    /// and the records of lockdep and kmemleak are not small either.
    pub fn default_mem(self) -> &'static str {
        match self {
            Flavour::Release => "2G",
            Flavour::Debug => "4G",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
