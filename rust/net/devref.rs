// SPDX-License-Identifier: GPL-2.0

//! Counted references to devices.

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

use super::{
    ndo::Driver,
    netdev::NetDevice, //
};
use crate::bindings;

/// A reference that keeps a device from being freed, not from being
/// unregistered: unregistration waits for it, so its holder gives it up when
/// the device goes.
///
/// # Invariants
///
/// One reference on the device belongs to this value.
pub(crate) struct DevRef(NonNull<bindings::net_device>);

// SAFETY: references may be given up on any CPU.
unsafe impl Send for DevRef {}
// SAFETY: `NetDevice` is `Sync`.
unsafe impl Sync for DevRef {}

impl DevRef {
    /// Takes a reference.
    pub(crate) fn new(dev: &NetDevice) -> Self {
        // SAFETY: the device is live; without a tracker it is a plain hold.
        unsafe { bindings::toe_netdev_hold(dev.as_ptr(), ptr::null_mut()) };
        // SAFETY: a reference's address is not null.
        DevRef(unsafe { NonNull::new_unchecked(dev.as_ptr()) })
    }
}

impl Clone for DevRef {
    fn clone(&self) -> Self {
        DevRef::new(self)
    }
}

impl Deref for DevRef {
    type Target = NetDevice;

    fn deref(&self) -> &NetDevice {
        // SAFETY: live by the type invariant.
        unsafe { NetDevice::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for DevRef {
    fn drop(&mut self) {
        // SAFETY: gives up this value's reference.
        unsafe { bindings::toe_netdev_put(self.0.as_ptr(), ptr::null_mut()) }
    }
}

/// A [`DevRef`] to one of the devices of driver `T`, and thus to its value in it.
///
/// # Invariants
///
/// The device is one of `T`'s. Its value is dropped after the last reference to the
/// device is gone.
pub(crate) struct DriverRef<T: Driver>(DevRef, PhantomData<fn() -> T>);

impl<T: Driver> DriverRef<T> {
    /// Takes a reference, if `dev` is one of the driver's devices.
    pub(crate) fn new(dev: &NetDevice) -> Option<Self> {
        dev.driver::<T>()?;
        // INVARIANT: it has just said that it is.
        Some(DriverRef(DevRef::new(dev), PhantomData))
    }

    /// The device.
    #[inline(always)]
    pub(crate) fn dev(&self) -> &NetDevice {
        &self.0
    }
}

impl<T: Driver> Deref for DriverRef<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: by the type invariants the private area has a value of `T`, which the
        // reference keeps.
        unsafe { &*self.0.private().cast::<T>() }
    }
}
