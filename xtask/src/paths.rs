// SPDX-License-Identifier: GPL-2.0
//! Where things are: the repository, its `target/`, and the cache that all
//! clones of a user share. Also the two things that keep the cache whole:
//! locks and names that appear only when what they name is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::ui::Step;

/// The repository this program was compiled in.
pub fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is in the repository")
        .to_owned()
}

/// Build products and results of this clone.
pub fn target() -> PathBuf {
    repo().join("target")
}

/// Where the plug-in for ip(8) is built.
pub fn ip_plugin_dir() -> PathBuf {
    target().join("iproute2")
}

/// `${XDG_CACHE_HOME:-~/.cache}/toe`.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => match std::env::var_os("HOME").filter(|v| !v.is_empty()) {
            Some(home) => PathBuf::from(home).join(".cache"),
            None => bail_setup!(
                "neither XDG_CACHE_HOME nor HOME is set: set XDG_CACHE_HOME to a directory with 12 GB of room"
            ),
        },
    };
    if !base.is_absolute() {
        bail_setup!(
            "the cache directory {} is not an absolute path: set XDG_CACHE_HOME to one",
            base.display()
        );
    }
    let dir = base.join("toe");
    if let Err(error) = fs::create_dir_all(&dir) {
        bail_setup!("cannot create the cache {}: {error}; set XDG_CACHE_HOME to a directory that can be written", dir.display());
    }
    Ok(dir)
}

/// Held while something in the cache is made. The lock goes away with the
/// process, whatever ends it.
pub struct Lock(#[expect(dead_code, reason = "dropping it unlocks")] File);

impl Lock {
    /// Waits for the lock `name` of the cache.
    pub fn take(name: &str) -> Result<Self> {
        Self::of(&cache()?.join(format!("{name}.lock")))
    }

    /// Waits for a lock file.
    pub fn of(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = File::create(path)
            .with_context(|| format!("cannot create the lock {}", path.display()))?;
        if file.try_lock().is_err() {
            let step = Step::new(format!(
                "waiting for another run that holds {}",
                path.display()
            ));
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
            step.done();
        }
        Ok(Self(file))
    }
}

/// Makes the directory `dir` by `fill`, which gets a temporary name beside it.
/// `dir` exists afterwards with everything in it, or not at all.
pub fn make_dir(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir
        .parent()
        .context("a directory of the cache has a parent")?;
    let name = dir
        .file_name()
        .context("a directory of the cache has a name")?;
    fs::create_dir_all(parent)?;
    let temp = parent.join(format!("{}.part", name.to_string_lossy()));
    remove(&temp)?;
    fs::create_dir_all(&temp).with_context(|| format!("cannot create {}", temp.display()))?;
    match fill(&temp) {
        Ok(()) => fs::rename(&temp, dir)
            .with_context(|| format!("cannot move {} in place", dir.display())),
        Err(error) => {
            // The reason is worth more than a second error from tidying up.
            let _ = remove(&temp);
            Err(error)
        }
    }
}

/// Removes a file or a tree that may not be there.
pub fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    result.with_context(|| format!("cannot remove {}", path.display()))
}

/// `path` with `.suffix` behind it. (`Path::with_extension` takes the `4` of
/// `7.3.4` for an extension.)
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Writes a file so that nobody ever sees half of it.
pub fn write_atomic(path: &Path, data: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let temp = beside(path, &format!("tmp{}", std::process::id()));
    fs::write(&temp, data).with_context(|| format!("cannot write {}", temp.display()))?;
    fs::rename(&temp, path).with_context(|| format!("cannot move {} in place", path.display()))
}

/// Fails unless the file system of `dir` has `mib` MiB free.
pub fn need_space(dir: &Path, mib: u64, what: &str) -> Result<()> {
    let stat = rustix::fs::statvfs(dir)
        .with_context(|| format!("cannot ask for the free space of {}", dir.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    if free < mib {
        bail_setup!(
            "{what} needs {mib} MiB in {} and only {free} MiB are free: make room there, or set XDG_CACHE_HOME to a directory on a larger disk",
            dir.display()
        );
    }
    Ok(())
}

/// 64-bit FNV-1a: a name for a set of inputs that stays the same from one
/// compiler to the next, which the hasher of the standard library does not
/// promise.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// The program's full path, looked up as a shell would.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Not on every user's path, but this is where Debian keeps them.
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_tells_parts_apart() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["ab"]), fingerprint(&["ab"]));
    }

    #[test]
    fn make_dir_is_all_or_nothing() {
        let base = std::env::temp_dir().join(format!("toe-make-dir-{}", std::process::id()));
        let dir = base.join("thing");
        assert!(make_dir(&dir, |_| anyhow::bail!("no")).is_err());
        assert!(!dir.exists());
        make_dir(&dir, |temp| Ok(fs::write(temp.join("file"), "x")?)).unwrap();
        assert!(dir.join("file").exists());
        remove(&base).unwrap();
    }
}
