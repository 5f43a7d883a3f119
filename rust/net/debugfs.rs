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

use super::{
    context::Rtnl,
    net_device::NetDevice, //
};
use crate::bindings;

/// The module's directory; a `static`.
///
/// # Invariants
///
/// Zero, or what `debugfs_create_dir()` returned: the address of a directory that
/// [`RootGuard`] removes, or an error pointer, which all functions of debugfs take for "not
/// there".
pub(crate) struct Root(Atomic<usize>);

impl Root {
    /// No directory yet.
    pub(crate) const fn new() -> Self {
        Root(Atomic::new(0))
    }

    /// Makes the directory `/sys/kernel/debug/<name>`, until the guard is
    /// dropped. As always with debugfs, failure is no error.
    pub(crate) fn create(&'static self, name: &CStr) -> RootGuard {
        // SAFETY: the name ends, and is copied; null is the root of debugfs. May sleep, as the
        // module's root calls this.
        let dir = unsafe {
            bindings::debugfs_create_dir(
                kernel::str::as_char_ptr_in_const_context(name),
                core::ptr::null_mut(),
            )
        };
        // SAFETY: `dir` was just made, or is an error pointer; its files go with it.
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
        // SAFETY: as the invariant of `Root` says, and removed once: the guard is that of one
        // `create()`. May sleep, as the module's root drops this.
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
///
/// # Invariants
///
/// While the file exists `tracker` holds a reference to `dev`.
struct Entry {
    dev: *mut bindings::net_device,
    tracker: Opaque<bindings::netdevice_tracker>,
    show: fn(&NetDevice, &SeqFile) -> Result,
}

/// # Invariants
///
/// `dentry` is the file of `entry`, not yet removed, or an error pointer.
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

// SAFETY: file and reference may be given up by any task.
unsafe impl<T> Send for DeviceFile<T> {}
// SAFETY: all methods ask for rtnl, which one task at a time has; what readers of the file
// have of it, the entry, is not changed while the file exists.
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
        // SAFETY: rtnl is held, without which nobody touches it; the reference does not leave
        // this function, and what is called here does not come back.
        let file = unsafe { &mut *self.0.get() };
        if let Some(inner) = file {
            // SAFETY: not yet removed, or an error pointer, which the callee leaves alone; the
            // name ends, and is copied.
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
        // SAFETY: live by the invariant of `NetDevice`. The tracker is unused, and in the box,
        // where it stays until the reference is put.
        // INVARIANT: a reference is held, before there is a file.
        unsafe { bindings::toe_netdev_hold(dev.as_ptr(), entry.tracker.get()) };
        // SAFETY: the name ends, and is copied; the directory is as the invariant of `Root`
        // says. The entry, in its box, lives until the file was removed.
        let dentry = unsafe {
            bindings::toe_debugfs_create(
                name,
                root.dentry(),
                core::ptr::from_ref::<Entry>(&entry)
                    .cast_mut()
                    .cast::<c_void>(),
            )
        };
        // INVARIANT: just made, or an error pointer.
        *file = Some(Inner { dentry, entry });
        Ok(())
    }

    /// Removes the file, and waits for its readers.
    pub(crate) fn remove(&self, _rtnl: &Rtnl) {
        // SAFETY: as in `update()`.
        if let Some(inner) = unsafe { &mut *self.0.get() }.take() {
            // SAFETY: not yet removed, or an error pointer. The callee waits for readers:
            // nobody uses the entry afterwards, whose reference is put once, as it was taken.
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
/// Called by `single_open()`'s `seq_file`, whose private data is an [`Entry`], for a read of
/// its file.
#[no_mangle]
unsafe extern "C" fn toe_debugfs_show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    from_result(|| {
        // SAFETY: `debugfs_file_get()` refuses reads of a file that is removed, and removal
        // waits for those that it let in: the entry lives until this returns, and is not
        // changed.
        let entry = unsafe { &*(*seq).private.cast::<Entry>() };
        // SAFETY: the file exists, so that the entry holds a reference by its invariant.
        let dev = unsafe { NetDevice::from_raw(entry.dev) };
        // SAFETY: the reader's, locked for this call; the types differ by name only.
        let seq = unsafe { SeqFile::from_raw(seq.cast()) };
        (entry.show)(dev, seq)?;
        Ok(0)
    })
}
