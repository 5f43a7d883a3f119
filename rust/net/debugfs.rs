// SPDX-License-Identifier: GPL-2.0

//! A debugfs directory with a file for each device.

use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    str::{
        CStr,
        CString, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::bindings;

use super::{
    context::Rtnl,
    netdev::NetDevice, //
};

/// The module's directory; a `static`.
///
/// # Invariants
///
/// Zero, or the address of a dentry that [`RootGuard`] removes.
pub(crate) struct Root(Atomic<usize>);

impl Root {
    /// No directory yet.
    pub(crate) const fn new() -> Self {
        Root(Atomic::new(0))
    }

    /// Makes the directory `/sys/kernel/debug/<name>`, until the guard is
    /// dropped. As always with debugfs, failure is no error.
    pub(crate) fn create(&'static self, name: &CStr) -> RootGuard {
        // SAFETY: null is the root of debugfs; an error pointer is fine with
        // all debugfs functions.
        let dir = unsafe {
            bindings::debugfs_create_dir(
                kernel::str::as_char_ptr_in_const_context(name),
                core::ptr::null_mut(),
            )
        };
        // SAFETY: `dir` was just made; its files go with it.
        unsafe { bindings::toe_debugfs_plant(dir) };
        // INVARIANT: the guard removes it.
        self.0.store(dir as usize, Relaxed);
        RootGuard(self)
    }

    fn dentry(&self) -> *mut bindings::dentry {
        self.0.load(Relaxed) as *mut bindings::dentry
    }
}

/// Removes the directory when dropped, after all files in it.
pub(crate) struct RootGuard(&'static Root);

impl Drop for RootGuard {
    fn drop(&mut self) {
        let dir = self.0.dentry();
        self.0 .0.store(0, Relaxed);
        // SAFETY: made by `create`, and removed once.
        unsafe { bindings::debugfs_remove(dir) };
    }
}

/// A file that each of some devices has.
pub(crate) trait ShowDevice {
    /// What its name begins with.
    const PREFIX: &'static str;

    /// Writes the contents. Process context, without rtnl, which it must not
    /// take: removal of the file waits for it with rtnl held.
    fn show(dev: &NetDevice, seq: &SeqFile) -> Result;
}

/// A file's contents, as the C callback finds them.
struct Entry {
    dev: *mut bindings::net_device,
    tracker: Opaque<bindings::netdevice_tracker>,
    show: fn(&NetDevice, &SeqFile) -> Result,
}

struct Inner {
    dentry: *mut bindings::dentry,
    entry: KBox<Entry>,
}

/// A device's file; part of what belongs to the device.
///
/// # Invariants
///
/// Touched under rtnl only. While the file exists it holds a reference to the
/// device: it is to be removed when the device is unregistered, else that never ends.
pub(crate) struct DeviceFile<T>(UnsafeCell<Option<Inner>>, PhantomData<fn(T)>);

// SAFETY: touched under rtnl only.
unsafe impl<T> Send for DeviceFile<T> {}
// SAFETY: touched under rtnl only.
unsafe impl<T> Sync for DeviceFile<T> {}

impl<T: ShowDevice> DeviceFile<T> {
    /// No file yet.
    pub(crate) const fn new() -> Self {
        DeviceFile(UnsafeCell::new(None), PhantomData)
    }

    /// Makes the file in `root` or, if it is there, gives it the name that
    /// belongs to `dev` now: `<prefix><name>@<inode number of the namespace>`, as
    /// names are unique in a namespace only.
    pub(crate) fn update(&self, root: &'static Root, dev: &NetDevice, _rtnl: &Rtnl) -> Result {
        let name = CString::try_from_fmt(fmt!("{}{}@{}", T::PREFIX, dev.name(), dev.netns_inum()))?;
        let name = kernel::str::as_char_ptr_in_const_context(&name);
        // SAFETY: rtnl is held, and the reference does not leave this function.
        let file = unsafe { &mut *self.0.get() };
        if let Some(inner) = file {
            // SAFETY: our dentry, or an error pointer, which is checked there.
            let error = unsafe { bindings::toe_debugfs_rename(inner.dentry, name) };
            return kernel::error::to_result(error);
        }
        if root.dentry().is_null() {
            return Err(ENODEV);
        }
        let entry = KBox::new(
            Entry {
                dev: dev.as_ptr(),
                tracker: Opaque::zeroed(),
                show: T::show,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: live. The tracker is in the box, where it stays.
        // INVARIANT: a reference is held.
        unsafe { bindings::toe_netdev_hold(dev.as_ptr(), entry.tracker.get()) };
        // SAFETY: the entry lives until the file was removed.
        let dentry = unsafe {
            bindings::toe_debugfs_create(
                name,
                root.dentry(),
                core::ptr::from_ref::<Entry>(&entry)
                    .cast_mut()
                    .cast::<c_void>(),
            )
        };
        *file = Some(Inner { dentry, entry });
        Ok(())
    }

    /// Removes the file, and waits for its readers.
    pub(crate) fn remove(&self, _rtnl: &Rtnl) {
        // SAFETY: rtnl is held, and the reference does not leave this function.
        if let Some(inner) = unsafe { &mut *self.0.get() }.take() {
            // SAFETY: ours, or an error pointer; after that nobody uses the
            // entry, and the reference it holds is put once.
            unsafe {
                bindings::debugfs_remove(inner.dentry);
                bindings::toe_netdev_put(inner.entry.dev, inner.entry.tracker.get());
            }
        }
    }
}

/// Shows a file.
///
/// # Safety
///
/// Called by `single_open()`'s `seq_file`, whose private data is an [`Entry`].
#[no_mangle]
unsafe extern "C" fn toe_debugfs_show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    from_result(|| {
        // SAFETY: debugfs keeps the file, and by it the entry, while it is read.
        let entry = unsafe { &*(*seq).private.cast::<Entry>() };
        // SAFETY: the entry holds a reference.
        let dev = unsafe { NetDevice::from_raw(entry.dev) };
        // SAFETY: ours for this call; the types differ by name only.
        let seq = unsafe { SeqFile::from_raw(seq.cast()) };
        (entry.show)(dev, seq)?;
        Ok(0)
    })
}
