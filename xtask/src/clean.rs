// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask clean`.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::flags::Clean;
use crate::paths;

pub fn run(args: &Clean) -> Result<()> {
    let repo = paths::repo();
    paths::remove(&paths::target())?;
    for dir in ["xtask/model/target", "xtask/model/fuzz/target"] {
        paths::remove(&repo.join(dir))?;
    }
    if repo.join("selftests/Makefile").is_file() {
        // It may have nothing to clean, or no make to do it with.
        let _ = Command::new("make")
            .arg("-s")
            .arg("-C")
            .arg(repo.join("selftests"))
            .arg("clean")
            .status();
    }
    if args.cache {
        let cache = paths::cache()?;
        // Whoever builds in it right now would trip over its removal.
        let mut locks = Vec::new();
        for entry in fs::read_dir(&cache)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".lock") {
                locks.push(paths::Lock::take(name)?);
            }
        }
        for entry in fs::read_dir(&cache)? {
            paths::remove(&entry?.path())?;
        }
    }
    Ok(())
}
