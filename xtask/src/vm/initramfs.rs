// SPDX-License-Identifier: GPL-2.0
//! The initramfs: busybox and one script, in a "newc" cpio archive. Writing
//! the archive takes fewer lines than finding out which cpio a machine has.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::paths;

const DIR: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHAR: u32 = 0o020_600;

struct Archive {
    data: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, rdev: (u32, u32), content: &[u8]) {
        self.inode += 1;
        let fields = [
            self.inode,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // mtime
            u32::try_from(content.len()).expect("files of an initramfs are small"),
            0,
            0, // device
            rdev.0,
            rdev.1,
            u32::try_from(name.len() + 1).expect("names are short"),
            0, // checksum, unused in newc
        ];
        self.data.extend_from_slice(b"070701");
        for field in fields {
            self.data
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.data.extend_from_slice(name.as_bytes());
        self.data.push(0);
        self.pad();
        self.data.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        while !self.data.len().is_multiple_of(4) {
            self.data.push(0);
        }
    }
}

/// Builds the archive in memory.
fn archive(busybox: &[u8], init: &[u8]) -> Vec<u8> {
    let mut cpio = Archive {
        data: Vec::new(),
        inode: 0,
    };
    for dir in ["bin", "dev", "proc", "sys", "lower", "rw", "new"] {
        cpio.add(dir, DIR, (0, 0), &[]);
    }
    // Until devtmpfs is there, init has nothing to complain to.
    cpio.add("dev/console", CHAR, (5, 1), &[]);
    cpio.add("bin/busybox", FILE, (0, 0), busybox);
    cpio.add("init", FILE, (0, 0), init);
    cpio.add("TRAILER!!!", 0, (0, 0), &[]);
    cpio.data
}

/// Writes the initramfs to `path`.
pub fn write(path: &Path) -> Result<()> {
    let Some(file) = paths::which("busybox") else {
        bail_setup!("busybox is missing: install the package busybox-static");
    };
    let busybox = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let init = fs::read(paths::repo().join("xtask/guest/init")).context("xtask/guest/init")?;
    fs::write(path, archive(&busybox, &init))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let cpio = archive(b"abcde", b"#!");
        assert_eq!(cpio.len() % 4, 0);
        assert!(cpio.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&cpio);
        assert!(text.contains("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 7 + 3 + 1);
    }
}
