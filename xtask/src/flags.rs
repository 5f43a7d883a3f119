// SPDX-License-Identifier: GPL-2.0
//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::flavour::Flavour;

/// Sets up, builds, runs and tests toe.ko.
///
/// Everything a task needs and does not find is fetched or built first, into
/// ${XDG_CACHE_HOME:-~/.cache}/toe and target/.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Xtask {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Subcommand)]
pub enum Task {
    Setup(Setup),
    Build(Build),
    Vm(Vm),
    Test(Test),
    Demo(Demo),
    Bench(Bench),
    Torture(Torture),
    Lint(Lint),
    Doc(Doc),
    Clean(Clean),
}

#[derive(Args, Clone)]
pub struct KernelArgs {
    /// Kernel series: 7.2 or 7.3
    #[arg(long, value_name = "SERIES", default_value = "7.3", value_parser = ["7.2", "7.3"])]
    pub kernel: String,
}

/// Fetches and builds all that is missing: packages, toolchain, both kernels.
///
/// Installs Debian packages (as root), then the binding generator, fetches the
/// kernel source and builds the two kernels into the cache. A second run finds
/// it all there and does nothing.
///
/// Environment: LINUX_SRC=DIR takes the kernel source from DIR;
/// TOE_KERNEL_BUILD=DIR takes a kernel that is already built (see
/// Documentation/development.md).
#[derive(Args)]
pub struct Setup {
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Only the release kernel
    #[arg(long, conflicts_with = "debug_kernel")]
    pub release: bool,
    /// Only the debug kernel
    #[arg(long)]
    pub debug_kernel: bool,
}

#[derive(Args, Clone)]
pub struct FlavourArgs {
    /// Kernel without debug options (the default)
    #[arg(long, conflicts_with = "debug_kernel")]
    pub release: bool,
    /// Kernel with lockdep, KASAN, kmemleak and the like
    #[arg(long)]
    pub debug_kernel: bool,
}

impl FlavourArgs {
    pub fn flavour(&self) -> Flavour {
        if self.debug_kernel {
            Flavour::Debug
        } else {
            Flavour::Release
        }
    }
}

/// Builds toe.ko against a kernel of the cache.
///
/// The module ends up in target/module/VERSION-FLAVOUR/toe.ko.
#[derive(Args)]
pub struct Build {
    #[command(flatten)]
    pub flavour: FlavourArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Runs a command in a fresh VM with the module loaded.
///
/// The guest's root is this machine's, read-only with a tmpfs on top: all
/// programs and files are there, the current directory too, and what the guest
/// writes is gone with it. Only /run/toe is shared: files written there turn
/// up in target/vm/. Without a command: an interactive shell.
///
/// Exit code: the command's; 120 if the guest's kernel reported a problem
/// (warning, oops, lockdep, KASAN, stall, leak ...), 121 if the guest died,
/// 124 if its time was up, 2 if it could not be set up.
#[derive(Args)]
pub struct Vm {
    #[command(flatten)]
    pub flavour: FlavourArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Virtual CPUs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub cpus: Option<u32>,
    /// Memory, as in 512M or 4G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub mem: Option<String>,
    /// Virtual time counts instructions (1 ns each): repeatable measurements
    #[arg(long, conflicts_with_all = ["kvm", "tcg"])]
    pub icount: bool,
    /// With --icount: idle time lasts as long as on the wall clock, 2 ns an instruction
    #[arg(long, requires = "icount")]
    pub paced: bool,
    /// Insist on KVM
    #[arg(long, conflicts_with = "tcg")]
    pub kvm: bool,
    /// Insist on emulation
    #[arg(long)]
    pub tcg: bool,
    /// Boot without the module
    #[arg(long)]
    pub no_module: bool,
    /// Load this module file instead of building the repository's
    #[arg(long, value_name = "FILE", conflicts_with = "no_module")]
    pub module: Option<PathBuf>,
    /// Parameters of the module, as in "a=1 b=2"
    #[arg(
        long,
        value_name = "PARAMETERS",
        default_value = "",
        hide_default_value = true
    )]
    pub module_args: String,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// End the guest after this many seconds [default: 600 with a command]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Give the command a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Show the kernel's log afterwards
    #[arg(long, short = 'v')]
    pub verbose: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Runs the tests: logic on the host, KUnit and kselftests in VMs.
///
/// Ends with the line "N passed, N failed" (", N skipped" may follow) and exit
/// code 0 only if nothing failed. The same as JSON: target/test/results.json.
#[derive(Args)]
pub struct Test {
    /// Only tests whose name contains FILTER
    pub filter: Option<String>,
    /// Run all VM tests on the release kernel: quick, but checks less
    #[arg(long, conflicts_with = "debug_kernel")]
    pub release: bool,
    /// Run all VM tests on the debug kernel: hours, where there is no KVM
    #[arg(long)]
    pub debug_kernel: bool,
    /// The program packetdrill, which runs the kernel's scripts of that name
    #[arg(long, value_name = "PROGRAM")]
    pub bin: Option<PathBuf>,
    /// Only the tests that run on the host
    #[arg(long, conflicts_with = "vm_only")]
    pub host_only: bool,
    /// Only the tests that run in VMs
    #[arg(long)]
    pub vm_only: bool,
    /// Print all that the tests print
    #[arg(long, short = 'v')]
    pub verbose: bool,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Shows it: real programs over offloaded connections, with mid-stream uploads.
///
/// Boots the release kernel, makes a pair of emulated TOE NICs in two network
/// namespaces, runs iperf3 and a checksummed file transfer over them, uploads
/// and offloads the connections again while they run, and prints a report.
#[derive(Args)]
pub struct Demo {
    /// Size of the file that is transferred, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub size: u32,
    /// Dry run over a veth pair, without the module
    #[arg(long, hide = true)]
    pub veth: bool,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Measures the offloaded pair beside veth TCP, AF_UNIX and SMC-D over its loopback device.
///
/// By default the guest's clock counts instructions: the numbers are the CPU
/// cost of each operation and repeatable to a fraction of a percent. Beside each
/// stands what part of veth's cost it is, and the context switches of both ends per
/// operation. Writes target/bench/results.json and target/bench/bench.svg.
#[derive(Args)]
pub struct Bench {
    /// Times instead of instruction counts: two virtual CPUs, one for each end, each of
    /// them on a CPU of the host if there are enough; the ping-pong's p50 and p99.9, too
    ///
    /// Where KVM does not work they are those of QEMU's translator, and the report says so.
    #[arg(long)]
    pub wall: bool,
    /// Rounds; more rounds, smaller spread [default: 3, with --wall 7, with --failover 5, with --weather 8, with --profile, --programs, --many 1]
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,
    /// Goodput under loss, delay, reordering instead, offloaded and not
    #[arg(long, conflicts_with = "veth")]
    pub weather: bool,
    /// Only these rows: pingpong,stream-1K; with --weather: loss-1,all; with --programs:
    /// nginx,rpc-100
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Operations of a round, percent of what is usual [default: 100, with --wall 400]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub scale: Option<u32>,
    /// Requests of ordinary programs instead: redis, nginx, PostgreSQL, iperf3, and
    /// calls of 1 KiB on many connections by epoll
    ///
    /// What a program needs that is not installed and cannot be, is said in its row.
    #[arg(long, conflicts_with_all = ["wall", "weather", "profile"])]
    pub programs: bool,
    /// What a connection costs when there are 1000, 10 000 and 100 000 instead: to offload it, to
    /// use it, to take it back, and its memory
    #[arg(long, conflicts_with_all = ["wall", "weather", "profile", "programs", "only", "veth"])]
    pub many: bool,
    /// What a failing member of a bond costs instead: how long a connection is silent, over
    /// veth and offloaded, and what moving 1, 100 and 10 000 idle connections takes
    #[arg(long, conflicts_with_all = ["wall", "weather", "profile", "programs", "many", "only", "veth"])]
    pub failover: bool,
    /// Where the instructions of this row go: by kind of work and by function
    ///
    /// Counted by a plug-in of QEMU, in the module and in the kernel, for each transport.
    /// All functions: target/bench/profile.json.
    #[arg(long, value_name = "ROW", conflicts_with_all = ["wall", "weather", "only"])]
    pub profile: Option<String>,
    /// With --profile: virtual CPUs, which take turns; what each of them ran is printed
    #[arg(long, value_name = "N", requires = "profile", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub cpus: Option<u32>,
    /// Measure this module file instead of building the repository's
    #[arg(long, value_name = "FILE", conflicts_with = "veth")]
    pub module: Option<PathBuf>,
    /// Only the transports that need no module
    #[arg(long, hide = true)]
    pub veth: bool,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Flip torture: random traffic, options, weather and faults, each byte checked.
///
/// Many connections that are offloaded and taken back all the time, on the debug
/// kernel, while links flap, frames are lost and forged and allocations fail. All
/// choices come from one seed, which is printed; a run that fails prints the
/// command that repeats it. Options of selftests/toe_torture go behind `--`.
/// With --flips there are no faults: only the way changes, by the knob and by a packet
/// socket.
#[derive(Args)]
pub struct Torture {
    /// How long, in the guest's time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=24 * 60))]
    pub minutes: u32,
    /// The plan [default: another one each time]
    #[arg(long, value_name = "S", value_parser = seed)]
    pub seed: Option<u64>,
    /// On the release kernel: more traffic, fewer checks, no failing allocations
    #[arg(long)]
    pub release: bool,
    /// Instead: one connection whose bytes go by frames and by the short cut in turn, each of them
    /// checked, until N times the next bytes have gone the other way than the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["minutes", "seed", "args"])]
    pub flips: Option<u32>,
    /// Instead: connections on a bond of two links, of which one fails and comes back N times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["minutes", "seed", "args", "flips"])]
    pub failovers: Option<u32>,
    /// Over bonds of two links at each end, which fail and are chosen anew at random, too
    #[arg(long, conflicts_with_all = ["flips", "failovers"])]
    pub bond: bool,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Options of toe_torture, as in `-- --never link,fault`
    #[arg(last = true, value_name = "OPTION")]
    pub args: Vec<String>,
}

/// Checks formatting, lints, docs and the repository's own rules.
#[derive(Args)]
pub struct Lint {
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Builds the pages of rustdoc, private items included.
///
/// Those of the module, with the flags that the kernel's build system compiles it with,
/// and those of xtask and xtask/model. They end up in target/rustdoc/doc/. A warning, as
/// of a link that leads nowhere, is an error. Part of `lint`.
#[derive(Args)]
pub struct Doc {
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Removes build products.
///
/// Without options: target/ and the build products of the host crates. The
/// cache is shared by all clones and stays unless asked for.
#[derive(Args)]
pub struct Clean {
    /// Also remove the cache: kernels, sources, tools
    #[arg(long)]
    pub cache: bool,
}

/// A seed as it is printed, 0x..., or as a decimal number.
fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(0) | Err(_) => Err(format!(
            "`{text}` is no seed: a number from 1 to 2^64-1, or 0x..."
        )),
        Ok(seed) => Ok(seed),
    }
}

/// Checks a size before QEMU does, whose message would not name the option.
fn size(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no size: write it as 512M or 4G");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let mib = match unit {
        'M' | 'm' => number,
        'G' | 'g' => number.saturating_mul(1024),
        _ => return Err(wrong()),
    };
    if (256..=1024 * 1024).contains(&mib) {
        Ok(format!("{mib}M"))
    } else {
        Err(format!(
            "{text} is out of range: a guest needs at least 256M"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn seeds() {
        assert_eq!(seed("0x2a").unwrap(), 42);
        assert_eq!(seed("42").unwrap(), 42);
        for wrong in ["", "0", "0x", "2a", "-1"] {
            assert!(seed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("2G").unwrap(), "2048M");
        assert_eq!(size("512M").unwrap(), "512M");
        for wrong in ["", "G", "12", "1T", "1M", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
