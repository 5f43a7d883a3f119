// SPDX-License-Identifier: GPL-2.0

//! The drivers whose devices take connections.
//!
//! A driver is part of this module: the framework exports no symbols, because Rust has no
//! stable ABI between modules. It registers itself for as long as it may have devices.

use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};

use kernel::prelude::*;

use super::{
    intermediate::Layers,
    target::OffloadTarget, //
};
use crate::net::{
    devref::DevRef,
    ndo::Driver,
    net_device::NetDevice,
    sync::{
        rcu::ReadGuard,
        static_slot::StaticSlot, //
    }, //
};

/// Finds the target in a device, if the device is the driver's. It may be called as long
/// as the caller keeps the device, whether the driver is registered or not.
pub(crate) type TargetOf = for<'a> fn(&'a NetDevice) -> Option<&'a dyn OffloadTarget>;

/// Drivers that can be registered at the same time.
const MAX_DRIVERS: usize = 4;

/// The registered drivers: read by anybody who keeps a device, as often as a connection is
/// established, decided on or uploaded; never for a frame.
static DRIVERS: [StaticSlot<TargetOf>; MAX_DRIVERS] = [const { StaticSlot::new() }; MAX_DRIVERS];

/// A driver whose devices take connections, until this is dropped.
///
/// It registers before it has its first device, and drops this when the last one is gone:
/// then nothing is offloaded to its devices, and nothing that happens to what their
/// connections lie on is followed. What was offloaded before still finds its target.
pub(crate) struct Registration(&'static StaticSlot<TargetOf>);

impl Registration {
    /// Registers driver `D`. Process context. `ENOSPC` if there are too many.
    pub(crate) fn new<D: Driver + OffloadTarget>() -> Result<Self> {
        let target_of: &TargetOf = const { &(target_in::<D> as TargetOf) };
        let free = DRIVERS.iter().find(|slot| slot.put(target_of).is_ok());
        free.map(Registration).ok_or(ENOSPC)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.clear();
    }
}

fn target_in<D: Driver + OffloadTarget>(dev: &NetDevice) -> Option<&dyn OffloadTarget> {
    dev.driver::<D>().map(|driver| driver as &dyn OffloadTarget)
}

/// Devices that take connections at present.
static DEVICES: AtomicUsize = AtomicUsize::new(0);

/// Keeps the framework awake while a device exists; see [`any_device`].
pub(super) struct DeviceRegistration(());

impl DeviceRegistration {
    pub(super) fn new() -> Self {
        DEVICES.fetch_add(1, Ordering::Relaxed);
        DeviceRegistration(())
    }
}

impl Drop for DeviceRegistration {
    fn drop(&mut self) {
        DEVICES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns whether any connection can be offloaded at all. Cheap; any context.
#[inline]
pub(super) fn any_device() -> bool {
    DEVICES.load(Ordering::Relaxed) != 0
}

/// The target in `dev`, with the function that finds it again. Any context.
pub(super) fn target_of(dev: &NetDevice) -> Option<(&dyn OffloadTarget, TargetOf)> {
    DRIVERS
        .iter()
        .filter_map(StaticSlot::get)
        .find_map(|of| Some((of(dev)?, *of)))
}

/// Calls `f` with each target below `dev`, and its device: several below a bond. Process context;
/// `f` may sleep. Members that come or go meanwhile may be left out.
pub(super) fn each_below(dev: &NetDevice, f: impl Fn(&NetDevice, &dyn OffloadTarget)) {
    let nth = |index| {
        let guard = ReadGuard::new();
        let below = Layers::below(dev, &guard).nth(index);
        below.map(DevRef::new)
    };
    for below in (0..).map_while(nth) {
        if let Some((target, _)) = target_of(&below) {
            f(&below, target);
        }
    }
}
