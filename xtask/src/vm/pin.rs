// SPDX-License-Identifier: GPL-2.0
//! A CPU of the host for each virtual one, where there are enough: for times by the wall
//! clock.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};

use super::qemu::Machine;

/// How long QEMU may take until its threads are there.
const START: Duration = Duration::from_secs(10);

/// The host's CPUs that this process may use.
fn usable() -> Vec<usize> {
    // Without an answer nothing is pinned.
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let all = 0..CpuSet::MAX_CPU;
    all.filter(|&cpu| set.is_set(cpu)).collect()
}

/// How many they are.
pub fn cpus() -> usize {
    usable().len()
}

/// Whether the machine's CPUs are to be pinned, and can be.
pub fn wanted(machine: &Machine) -> bool {
    machine.pinned && cpus() >= machine.cpus as usize
}

/// The number of the virtual CPU whose thread has this name: `CPU 0/TCG`.
fn virtual_cpu(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("CPU ")?.split_once('/')?;
    number.parse().ok()
}

/// The threads of a process that are virtual CPUs.
fn threads(pid: u32) -> Vec<(usize, Pid)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    let entries = entries.into_iter().flatten().flatten();
    let thread = |entry: fs::DirEntry| {
        let tid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((virtual_cpu(&name)?, Pid::from_raw(tid)?))
    };
    entries.filter_map(thread).collect()
}

/// Pins the virtual CPUs of a QEMU that was just started. False: it could not be done.
pub fn pin(pid: u32, machine: &Machine) -> bool {
    let end = Instant::now() + START;
    let mut found = threads(pid);
    while found.len() < machine.cpus as usize {
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(5));
        found = threads(pid);
    }
    let usable = usable();
    found.iter().all(|&(cpu, tid)| {
        let mut set = CpuSet::new();
        set.set(usable[cpu]);
        sched_setaffinity(Some(tid), &set).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads() {
        assert_eq!(virtual_cpu("CPU 1/KVM\n"), Some(1));
        assert_eq!(virtual_cpu("CPU 0/TCG\n"), Some(0));
        for other in ["qemu-system-x86", "CPU x/TCG", "CPU 1", "worker"] {
            assert_eq!(virtual_cpu(other), None, "{other}");
        }
    }
}
