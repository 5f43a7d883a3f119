// SPDX-License-Identifier: GPL-2.0

//! The drivers whose devices take connections.

use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};

use super::target::OffloadTarget;
use crate::net::netdev::NetDevice;

/// Finds the target in a device, if the device is the driver's.
pub(crate) type TargetOf = for<'a> fn(&'a NetDevice) -> Option<&'a dyn OffloadTarget>;

/// The drivers of this module. A vendor's driver adds its line here: it is part
/// of the module as long as the framework has no symbols of its own to export
/// (Rust has no stable ABI between modules).
static DRIVERS: [TargetOf; 1] = [crate::netdev::target_of];

/// Devices that take connections at present.
static DEVICES: AtomicUsize = AtomicUsize::new(0);

/// Keeps the framework awake while a device exists; see [`any_device`].
pub(crate) struct DeviceRegistration(());

impl DeviceRegistration {
    pub(crate) fn new() -> Self {
        DEVICES.fetch_add(1, Ordering::Relaxed);
        DeviceRegistration(())
    }
}

impl Drop for DeviceRegistration {
    fn drop(&mut self) {
        DEVICES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Can any connection be offloaded at all? Cheap; any context.
#[inline]
pub(crate) fn any_device() -> bool {
    DEVICES.load(Ordering::Relaxed) != 0
}

/// The target in `dev`, with the function that finds it again.
pub(crate) fn target_of(dev: &NetDevice) -> Option<(&dyn OffloadTarget, TargetOf)> {
    DRIVERS.iter().find_map(|get| get(dev).map(|t| (t, *get)))
}
