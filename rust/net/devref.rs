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
    net_device::NetDevice, //
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

// SAFETY: the count is one per CPU, of which only the sum matters: a reference may be given
// up anywhere.
unsafe impl Send for DevRef {}
// SAFETY: a shared reference gives no more than one to a `NetDevice`, which is `Sync`.
unsafe impl Sync for DevRef {}

impl DevRef {
    /// Takes a reference.
    pub(crate) fn new(dev: &NetDevice) -> Self {
        // SAFETY: live by the invariant of `NetDevice`; without a tracker it is a plain
        // hold (`ref_tracker_alloc()` only counts then).
        unsafe { bindings::toe_netdev_hold(dev.as_ptr(), ptr::null_mut()) };
        // SAFETY: a reference's address is not null.
        // INVARIANT: the reference just taken is the value's.
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
        // SAFETY: by the type invariant there is a reference, before whose end the core
        // calls neither `priv_destructor` nor `free_netdev()` (`netdev_run_todo()`).
        unsafe { NetDevice::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for DevRef {
    fn drop(&mut self) {
        // SAFETY: gives up the one reference that is the value's by the type invariant,
        // untracked as it was taken.
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
