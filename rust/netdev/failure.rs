// SPDX-License-Identifier: GPL-2.0

//! Failures on request: a NIC that says nothing any more, one that refuses all, and a cable
//! that is cut.
//!
//! The state of a connection is in its socket, and a frame is acknowledged after its payload
//! is there: what a dead NIC had is not lost with it. A real NIC has to guarantee the same.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    Ordering::Relaxed, //
};

use kernel::{
    fmt::Write as _,
    prelude::*, //
};

use super::{
    Kind,
    Port, //
};
use crate::net::{
    net_device::NetDevice,
    sysfs::Page, //
};

/// What a NIC was told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    /// Frames in either direction are gone without a word, and it does not answer.
    Dead,
    /// It takes no connection.
    Refuse,
}

const FAULTS: [(Fault, &str); 3] = [
    (Fault::None, "none"),
    (Fault::Dead, "dead"),
    (Fault::Refuse, "refuse"),
];

/// Ports that let no frame through. Looked at for each frame, before the ports are.
static BROKEN: AtomicU32 = AtomicU32::new(0);

/// Failures of a port.
pub(super) struct Failure {
    fault: AtomicU8,
    /// Whether the cable to the peer is cut, here.
    cut: AtomicBool,
    /// Whether this port is one of [`BROKEN`].
    counted: AtomicBool,
}

impl Failure {
    pub(super) const fn new() -> Self {
        Failure {
            fault: AtomicU8::new(Fault::None as u8),
            cut: AtomicBool::new(false),
            counted: AtomicBool::new(false),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Relaxed) == fault as u8
    }

    /// Whether the device answers.
    pub(super) fn answers(&self) -> bool {
        !self.is(Fault::Dead)
    }

    /// Whether it takes connections.
    pub(super) fn accepts(&self) -> bool {
        self.is(Fault::None)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
        self.count();
    }

    fn is_broken(&self) -> bool {
        self.is_cut() || self.is(Fault::Dead)
    }

    /// After a change.
    fn count(&self) {
        let broken = self.is_broken();
        match (self.counted.swap(broken, Relaxed), broken) {
            (false, true) => BROKEN.fetch_add(1, Relaxed),
            (true, false) => BROKEN.fetch_sub(1, Relaxed),
            _ => 0,
        };
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        if self.counted.load(Relaxed) {
            BROKEN.fetch_sub(1, Relaxed);
        }
    }
}

/// Returns whether frames between the two are lost.
#[inline(always)]
pub(super) fn lost<K: Kind>(port: &Port<K>, peer: &NetDevice) -> bool {
    let broken = |port: &Port<K>| port.failure.is_broken();
    BROKEN.load(Relaxed) != 0 && (broken(port) || Port::of(peer).is_some_and(broken))
}

fn port<K: Kind>(dev: &NetDevice) -> Result<&Port<K>> {
    Port::of(dev).ok_or(ENODEV)
}

/// Shows the word that was written last.
pub(crate) fn show<K: Kind>(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    let failure = &port::<K>(dev)?.failure;
    let name = FAULTS.iter().find(|(fault, _)| failure.is(*fault));
    writeln!(page, "{}", name.map_or("none", |(_, name)| name))?;
    Ok(())
}

/// EINVAL if it is none of the words.
pub(crate) fn store<K: Kind>(dev: &NetDevice, text: &str) -> Result {
    let failure = &port::<K>(dev)?.failure;
    let found = FAULTS.iter().find(|(_, name)| *name == text);
    let (fault, _) = found.ok_or(EINVAL)?;
    failure.fault.store(*fault as u8, Relaxed);
    failure.count();
    Ok(())
}
