// SPDX-License-Identifier: GPL-2.0
//! QEMU's command line and the kernel's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bail_setup;
use crate::flavour::Flavour;
use crate::paths;

/// What runs the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The CPU itself.
    Kvm,
    /// QEMU's translator, one host thread per virtual CPU.
    Tcg,
    /// QEMU's translator with virtual time that counts instructions: 1 ns each. Idle
    /// time passes at once.
    Icount,
    /// The same with 2 ns each, and idle time that lasts as long as on the wall clock:
    /// what waits for the host, for its files for one, does not see its timers run out.
    IcountPaced,
}

/// `/dev/kvm` can be there and not work (a para-virtual hypervisor below), so
/// the CPU's own flags decide.
pub fn kvm_works() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtual_machines = flags
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| {
            line.split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        });
    virtual_machines
        && std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok()
}

/// Size and kind of a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub accel: Accel,
    pub cpus: u32,
    /// As QEMU takes it: `2G`.
    pub mem: String,
    pub flavour: Flavour,
    /// More words for the kernel's command line.
    pub cmdline: Vec<String>,
    /// Standard input and output are a terminal of the guest.
    pub tty: bool,
    /// Standard input is handed to the guest.
    pub stdin: bool,
    /// A plug-in of QEMU's translator, which writes `profile` into the run directory.
    pub plugin: Option<PathBuf>,
    /// Each virtual CPU has one of the host, if there are enough.
    pub pinned: bool,
}

impl Accel {
    /// The quickest that works here.
    pub fn best() -> Self {
        if kvm_works() {
            Accel::Kvm
        } else {
            Accel::Tcg
        }
    }
}

impl Machine {
    /// One as most tasks want it: two CPUs, and no suites of KUnit but those
    /// that are asked for.
    pub fn new(flavour: Flavour) -> Self {
        Machine {
            accel: Accel::best(),
            cpus: 2,
            mem: flavour.default_mem().to_owned(),
            flavour,
            cmdline: vec!["kunit.autorun=0".to_owned()],
            tty: false,
            stdin: false,
            plugin: None,
            pinned: false,
        }
    }
}

/// The kernel's command line.
fn cmdline(machine: &Machine) -> String {
    let mut words: Vec<String> = [
        "console=ttyS0",
        "earlyprintk=serial,ttyS0",
        // Everything goes into the ring buffer, which is read at the end; a
        // serial line takes only what matters if the guest does not get there.
        "loglevel=5",
        "log_buf_len=8M",
        // -no-reboot turns a reboot into the end of QEMU.
        "panic=-1",
        "nokaslr",
        "random.trust_cpu=on",
        "no_timer_check",
        // A busy host must not look like a hang of the guest.
        "rcupdate.rcu_cpu_stall_timeout=90",
        "watchdog_thresh=45",
    ]
    .map(String::from)
    .to_vec();
    if machine.accel != Accel::Kvm {
        words.push("tsc=reliable".into());
        // A program at another address is translated again, all of it: starting
        // one took more than twice as long.
        words.push("norandmaps".into());
    }
    if machine.pinned && machine.accel == Accel::Tcg {
        // The TSC is the host's, whose frequency a guest that had to wait measures wrong:
        // 124 MHz instead of 2445, and each time was twenty times too long.
        words.push("clocksource=hpet".into());
    }
    words.extend(machine.cmdline.iter().cloned());
    words.join(" ")
}

/// A path within an option of QEMU, where a comma ends it.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The command that runs the machine. `run` is the run directory: the guest
/// sees it, and QEMU finds its sockets there.
pub fn command(
    machine: &Machine,
    bzimage: &Path,
    initramfs: &Path,
    run: &Path,
    sockets: &Path,
) -> Result<Command> {
    let Some(program) = paths::which("qemu-system-x86_64") else {
        bail_setup!("qemu-system-x86_64 is missing: install the package qemu-system-x86, or run `cargo xtask setup`");
    };
    // Whatever ends this program ends the guest: kill -9 too.
    let mut qemu = match paths::which("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        // Threads have names: `pin.rs` looks for them.
        "-name",
        "toe,debug-threads=on",
        "-no-reboot",
        "-display",
        "none",
    ]);
    match machine.accel {
        Accel::Kvm => qemu.args(["-machine", "q35", "-accel", "kvm", "-cpu", "host"]),
        // Five-level page tables cost time and are of no use here.
        Accel::Tcg => qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max,-la57",
        ]),
        // The string instructions would count as one, however much they copy.
        Accel::Icount => qemu.args(["-machine", "q35", "-accel", "tcg"]).args([
            "-icount",
            "shift=0,sleep=off",
            "-cpu",
            "max,-erms,-fsrm",
        ]),
        Accel::IcountPaced => qemu.args(["-machine", "q35", "-accel", "tcg"]).args([
            "-icount",
            "shift=1,sleep=on",
            "-cpu",
            "max,-erms,-fsrm",
        ]),
    };
    if let Some(plugin) = &machine.plugin {
        qemu.arg("-plugin").arg(format!(
            "{},out={}",
            option(plugin),
            option(&run.join("profile"))
        ));
    }
    qemu.args(["-smp", &machine.cpus.to_string(), "-m", &machine.mem]);
    qemu.arg("-kernel")
        .arg(bzimage)
        .arg("-initrd")
        .arg(initramfs);
    qemu.args(["-append", &cmdline(machine)]);
    qemu.arg("-serial")
        .arg(format!("file:{}", run.join("console").display()));
    qemu.args(["-device", "virtio-rng-pci"]);
    for (id, path, readonly) in [
        ("toe-root", Path::new("/"), ",readonly=on"),
        ("toe-run", run, ""),
    ] {
        qemu.arg("-fsdev").arg(format!(
            "local,id={id},path={},security_model=none,multidevs=remap{readonly}",
            path.display()
        ));
        qemu.arg("-device")
            .arg(format!("virtio-9p-pci,fsdev={id},mount_tag={id}"));
    }
    qemu.args(["-device", "virtio-serial-pci,max_ports=8"]);
    if machine.tty {
        qemu.args(["-chardev", "stdio,id=tty,signal=off,mux=off"]);
        qemu.args(["-device", "virtconsole,chardev=tty"]);
    }
    for name in PORTS {
        let path = sockets.join(name);
        qemu.arg("-chardev")
            .arg(format!("socket,id={name},path={}", path.display()));
        qemu.arg("-device")
            .arg(format!("virtserialport,chardev={name},name=toe.{name}"));
    }
    Ok(qemu)
}

/// The guest's ports: each is a socket in the run's private directory.
pub const PORTS: [&str; 3] = ["in", "out", "err"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths() {
        assert_eq!(option(Path::new("/a,b/c")), "/a,,b/c");
    }
}
