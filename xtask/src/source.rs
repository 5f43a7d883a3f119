// SPDX-License-Identifier: GPL-2.0
//! The kernel's source: the user's own, else Debian's package, else the
//! tarball from kernel.org.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bail_setup;
use crate::packages;
use crate::paths;
use crate::ui;

/// The series this module builds against.
const SUPPORTED: &[&str] = &["7.2", "7.3"];

/// Debian's suites that carry kernels that new. They are not in the sources of
/// a stable machine, and stay out of them: a private list and private
/// directories are used.
const SUITES: &[&str] = &["trixie-backports", "sid"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const KERNEL_ORG: &str = "https://cdn.kernel.org/pub/linux/kernel/v7.x";

/// A kernel source tree.
#[derive(Clone, Debug)]
pub struct Source {
    pub dir: PathBuf,
    /// `7.3.4`
    pub version: String,
}

/// Returns the source of the newest point release of `series` there is.
pub fn ensure(series: &str) -> Result<Source> {
    if let Some(dir) = std::env::var_os("LINUX_SRC").filter(|dir| !dir.is_empty()) {
        return own(Path::new(&dir));
    }
    let parent = paths::cache()?.join("src");
    if let Some(source) = newest(&parent, series) {
        return Ok(source);
    }
    let _lock = paths::Lock::take("source")?;
    if let Some(source) = newest(&parent, series) {
        return Ok(source);
    }
    paths::need_space(&paths::cache()?, 3000, "the kernel source")?;
    let mut said = Vec::new();
    if packages::is_debian() {
        match from_debian(&parent, series) {
            Ok(source) => return Ok(source),
            Err(error) => said.push(format!("from the distribution's archive: {error:#}")),
        }
    }
    match from_kernel_org(&parent, series) {
        Ok(source) => return Ok(source),
        Err(error) => said.push(format!("from kernel.org: {error:#}")),
    }
    bail_setup!(
        "no source of a {series} kernel could be fetched: check the network, or set LINUX_SRC to a kernel source tree ({})",
        said.join("; ")
    );
}

/// The version in a tree's Makefile.
fn version_of(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join("Makefile")).ok()?;
    let field = |name: &str| {
        text.lines().take(10).find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    Some(format!(
        "{}.{}.{}",
        field("VERSION")?,
        field("PATCHLEVEL")?,
        field("SUBLEVEL")?
    ))
}

/// Checks a tree the user brings.
fn own(dir: &Path) -> Result<Source> {
    let shown = dir.display();
    let Ok(dir) = dir.canonicalize() else {
        bail_setup!("LINUX_SRC={shown} does not exist: set it to a kernel source tree");
    };
    let Some(version) = version_of(&dir) else {
        bail_setup!(
            "LINUX_SRC={shown} is not a kernel source tree: it has no Makefile with a VERSION"
        );
    };
    if !SUPPORTED
        .iter()
        .any(|series| version.starts_with(&format!("{series}.")))
    {
        bail_setup!(
            "LINUX_SRC={shown} is Linux {version}: toe builds against {}",
            SUPPORTED.join(" and ")
        );
    }
    if !dir.join("rust/kernel/lib.rs").is_file() {
        bail_setup!("LINUX_SRC={shown} lacks the kernel's Rust (rust/kernel): set it to a complete source tree");
    }
    if dir.join(".config").exists() || dir.join("include/config").exists() {
        bail_setup!("LINUX_SRC={shown} has been built in: run `make mrproper` there, or set LINUX_SRC to a clean tree (kernels are built outside of it)");
    }
    Ok(Source { dir, version })
}

/// The newest tree of a series that is in the cache.
fn newest(parent: &Path, series: &str) -> Option<Source> {
    let prefix = format!("linux-{series}.");
    fs::read_dir(parent)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let point: u32 = name.strip_prefix(&prefix)?.parse().ok()?;
            Some((point, name))
        })
        .max()
        .map(|(point, name)| Source {
            dir: parent.join(name),
            version: format!("{series}.{point}"),
        })
}

/// The machine's own mirror of the Debian archive.
fn mirror() -> Result<String> {
    let text = ui::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let mut plain = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, '|');
        let (origin, label, uri) = (
            fields.next().unwrap_or(""),
            fields.next().unwrap_or(""),
            fields.next().unwrap_or(""),
        );
        if origin == "Debian" && label == "Debian" {
            return Ok(uri.to_owned());
        }
        // Before the first `apt-get update` origins are not known.
        if uri.trim_end_matches('/').ends_with("/debian") {
            plain.get_or_insert_with(|| uri.to_owned());
        }
    }
    plain.context("the machine's apt sources name no Debian mirror")
}

/// `apt-get` or `apt-cache` with lists and caches of our own.
fn private_apt(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for (option, path) in [
        ("Dir::Etc::SourceList", dir.join("sources.list")),
        ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
        ("Dir::State::Lists", dir.join("lists")),
        ("Dir::Cache", dir.join("cache")),
    ] {
        command
            .arg("-o")
            .arg(format!("{option}={}", path.display()));
    }
    // apt would otherwise drop to a user that may not write to a home.
    command
        .args(["-o", "APT::Sandbox::User=root"])
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Debian's `linux-source-*` package.
fn from_debian(parent: &Path, series: &str) -> Result<Source> {
    packages::ensure(&["debian-archive-keyring", "xz-utils"])?;
    let cache = paths::cache()?;
    let apt = cache.join("apt");
    for dir in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(dir))?;
    }
    let mirror = mirror()?;
    let list: String = SUITES
        .iter()
        .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        .collect();
    paths::write_atomic(&apt.join("sources.list"), list.as_bytes())?;
    ui::run_logged(
        private_apt("apt-get", &apt).arg("update"),
        "looking for kernel sources",
        &cache.join("log/source.update"),
    )?;

    let package = format!("linux-source-{series}");
    let table = ui::output(private_apt("apt-cache", &apt).args(["madison", &package]))?;
    let mut best: Option<String> = None;
    for line in table.lines() {
        let Some(version) = line.split('|').nth(1).map(|field| field.trim().to_owned()) else {
            continue;
        };
        let newer = match &best {
            None => true,
            Some(best) => Command::new("dpkg")
                .args(["--compare-versions", &version, "gt", best])
                .status()?
                .success(),
        };
        if newer {
            best = Some(version);
        }
    }
    let best = best.with_context(|| format!("the archive has no {package}"))?;

    let work = cache.join("src-package");
    paths::make_dir(&work, |temp| {
        let mut download = private_apt("apt-get", &apt);
        download
            .args(["download", &format!("{package}={best}")])
            .current_dir(temp);
        ui::run_logged(
            &mut download,
            &format!("fetching {package} {best}"),
            &cache.join("log/source"),
        )?;
        let package = files(temp, ".deb")?
            .pop()
            .context("apt-get left no package")?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&package).arg(temp);
        ui::run_logged(
            &mut unpack,
            "unpacking the package",
            &cache.join("log/source.unpack"),
        )?;
        Ok(fs::remove_file(package)?)
    })?;
    let tarball = files(&work.join("usr/src"), ".tar.xz")?
        .into_iter()
        .find(|file| !file.to_string_lossy().contains("patch"))
        .context("the package has no tarball")?;
    let source = unpack(parent, &tarball, series);
    paths::remove(&work)?;
    source
}

/// The tarball from kernel.org, checked against the list of sums beside it.
fn from_kernel_org(parent: &Path, series: &str) -> Result<Source> {
    if paths::which("curl").is_none() {
        anyhow::bail!("curl is missing");
    }
    let sums = ui::output(Command::new("curl").args([
        "-fsSL",
        "--connect-timeout",
        "20",
        "--retry",
        "2",
        &format!("{KERNEL_ORG}/sha256sums.asc"),
    ]))?;
    let prefix = format!("linux-{series}.");
    let (_, sum, name) = sums
        .lines()
        .filter_map(|line| {
            let (sum, name) = line.split_once("  ")?;
            let point: u32 = name
                .strip_prefix(&prefix)?
                .strip_suffix(".tar.xz")?
                .parse()
                .ok()?;
            Some((point, sum.to_owned(), name.to_owned()))
        })
        .max()
        .with_context(|| format!("there is no release of {series}"))?;
    let cache = paths::cache()?;
    let work = cache.join("src-tarball");
    paths::make_dir(&work, |temp| {
        let file = temp.join(&name);
        let mut get = Command::new("curl");
        get.args(["-fSL", "--retry", "3", "-o"])
            .arg(&file)
            .arg(format!("{KERNEL_ORG}/{name}"));
        ui::run_logged(
            &mut get,
            &format!("fetching {name}"),
            &cache.join("log/source"),
        )?;
        let found = ui::output(Command::new("sha256sum").arg(&file))?;
        anyhow::ensure!(
            found.starts_with(&sum),
            "{name} does not have the checksum kernel.org states"
        );
        Ok(())
    })?;
    let source = unpack(parent, &work.join(&name), series);
    paths::remove(&work)?;
    source
}

/// Unpacks a tarball as `linux-VERSION`.
fn unpack(parent: &Path, tarball: &Path, series: &str) -> Result<Source> {
    let temp_name = parent.join(format!("unpacking-{series}"));
    paths::make_dir(&temp_name, |temp| {
        let mut tar = Command::new("tar");
        tar.args(["--strip-components=1", "-xJf"])
            .arg(tarball)
            .arg("-C")
            .arg(temp);
        ui::run_logged(
            &mut tar,
            "unpacking the kernel source",
            &paths::cache()?.join("log/source.tar"),
        )
    })?;
    let version = version_of(&temp_name).context("what was unpacked is not a kernel")?;
    anyhow::ensure!(
        version.starts_with(series),
        "the {series} tarball holds Linux {version}"
    );
    let dir = parent.join(format!("linux-{version}"));
    fs::rename(&temp_name, &dir)?;
    Ok(Source { dir, version })
}

fn files(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_counts_numbers_not_letters() {
        let dir = std::env::temp_dir().join(format!("toe-newest-{}", std::process::id()));
        for name in [
            "linux-7.3.4",
            "linux-7.3.10",
            "linux-7.2.30",
            "linux-7.3.9.part",
        ] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        assert_eq!(newest(&dir, "7.3").unwrap().version, "7.3.10");
        assert_eq!(newest(&dir, "7.2").unwrap().version, "7.2.30");
        assert!(newest(&dir, "7.1").is_none());
        paths::remove(&dir).unwrap();
    }
}
