// SPDX-License-Identifier: GPL-2.0

//! A directory of attributes under `/sys/class/net/<dev>/`.
//!
//! ```ignore
//! static FILES: [Attribute<Port>; 2] = [
//!     Attribute::rw(c"capacity", show_capacity, store_capacity),
//!     Attribute::ro(c"connections", show_connections),
//! ];
//! static LIST: AttributeList<2> = AttributeList::new(&FILES);
//! static GROUP: Group = Group::new(c"toe", &LIST);
//! ```
//!
//! The functions run in process context without rtnl, and must not take it:
//! unregistration waits for them with rtnl held. One value per file.

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    ffi::c_char,
    fmt,
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use crate::bindings;

use super::{
    ndo::Driver,
    netdev::NetDevice, //
};

/// What a `show` function writes to: a page.
pub(crate) struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self
            .buf
            .get_mut(self.len..self.len + text.len())
            .ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Writes a value and the end of the line.
pub(crate) type Show<T> = fn(&T, &mut Page<'_>) -> Result;

/// Takes a new value, without white space around it. The caller has
/// CAP_NET_ADMIN in the user namespace of the device.
pub(crate) type Store<T> = fn(&T, &str) -> Result;

/// One file.
///
/// # Invariants
///
/// The C structure is the first member, and its functions are ours.
#[repr(C)]
pub(crate) struct Attribute<T> {
    attr: Opaque<bindings::device_attribute>,
    show: Option<Show<T>>,
    store: Option<Store<T>>,
}

// SAFETY: constant, but for a lockdep key inside, which lockdep cares for.
unsafe impl<T> Sync for Attribute<T> {}

impl<T: Driver> Attribute<T> {
    /// A file to read.
    pub(crate) const fn ro(name: &'static CStr, show: Show<T>) -> Self {
        Self::new(name, 0o444, Some(show), None)
    }

    /// A file to read and write.
    pub(crate) const fn rw(name: &'static CStr, show: Show<T>, store: Store<T>) -> Self {
        Self::new(name, 0o644, Some(show), Some(store))
    }

    /// A file to write.
    pub(crate) const fn wo(name: &'static CStr, store: Store<T>) -> Self {
        Self::new(name, 0o200, None, Some(store))
    }

    const fn new(
        name: &'static CStr,
        mode: bindings::umode_t,
        show: Option<Show<T>>,
        store: Option<Store<T>>,
    ) -> Self {
        // SAFETY: all zeroes is valid: null pointers, no functions.
        let mut attr: bindings::device_attribute =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        attr.attr.name = kernel::str::as_char_ptr_in_const_context(name);
        attr.attr.mode = mode;
        if show.is_some() {
            attr.__bindgen_anon_1.show = Some(show_callback::<T>);
        }
        if store.is_some() {
            attr.__bindgen_anon_2.store = Some(store_callback::<T>);
        }
        // INVARIANT: just filled in.
        Attribute {
            attr: Opaque::new(attr),
            show,
            store,
        }
    }
}

/// The list of a group's files, as C wants it.
#[repr(C)]
pub(crate) struct AttributeList<const N: usize> {
    attrs: [*mut bindings::attribute; N],
    end: *mut bindings::attribute,
}

// SAFETY: constant.
unsafe impl<const N: usize> Sync for AttributeList<N> {}

impl<const N: usize> AttributeList<N> {
    /// Lists `files`.
    pub(crate) const fn new<T>(files: &'static [Attribute<T>; N]) -> Self {
        let mut attrs = [core::ptr::null_mut(); N];
        let mut i = 0;
        while i < N {
            // The C attribute is the first member of the first member.
            attrs[i] = files[i].attr.get().cast();
            i += 1;
        }
        AttributeList {
            attrs,
            end: core::ptr::null_mut(),
        }
    }
}

/// A directory.
#[repr(transparent)]
pub(crate) struct Group(Opaque<bindings::attribute_group>, PhantomData<()>);

// SAFETY: constant.
unsafe impl Sync for Group {}

impl Group {
    /// A directory `name` with the files of `list`.
    pub(crate) const fn new<const N: usize>(
        name: &'static CStr,
        list: &'static AttributeList<N>,
    ) -> Self {
        // SAFETY: all zeroes is valid: null pointers, no functions.
        let mut group: bindings::attribute_group =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        group.name = kernel::str::as_char_ptr_in_const_context(name);
        group.__bindgen_anon_2.attrs = core::ptr::from_ref(list).cast_mut().cast();
        Group(Opaque::new(group), PhantomData)
    }

    pub(in crate::net) fn as_ptr(&self) -> *const bindings::attribute_group {
        self.0.get()
    }
}

/// The device a `struct device` is embedded in.
///
/// # Safety
///
/// `dev` must be the `dev` member of a registered `net_device`.
unsafe fn net_device<'a>(dev: *mut bindings::device) -> &'a NetDevice {
    let offset = core::mem::offset_of!(bindings::net_device, dev);
    // SAFETY: within the device's allocation; sysfs keeps the device
    // registered, and thus live, while a file is in use.
    unsafe { NetDevice::from_raw(dev.byte_sub(offset).cast()) }
}

/// # Safety
///
/// Called by sysfs with a page at `buf` for an [`Attribute`] of `T`.
unsafe extern "C" fn show_callback<T: Driver>(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    from_result(|| {
        // SAFETY: the first member of a static `Attribute<T>`.
        let this = unsafe { &*attr.cast::<Attribute<T>>() };
        // SAFETY: called for a network device.
        let port = unsafe { net_device(dev) }.driver::<T>().ok_or(ENODEV)?;
        let mut page = Page {
            // SAFETY: sysfs gives a page, zeroed and ours for this call.
            buf: unsafe { core::slice::from_raw_parts_mut(buf.cast(), kernel::page::PAGE_SIZE) },
            len: 0,
        };
        (this.show.ok_or(EIO)?)(port, &mut page)?;
        Ok(page.len as isize)
    })
}

/// # Safety
///
/// Called by sysfs with `count` bytes at `buf` for an [`Attribute`] of `T`.
unsafe extern "C" fn store_callback<T: Driver>(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: the first member of a static `Attribute<T>`.
        let this = unsafe { &*attr.cast::<Attribute<T>>() };
        // SAFETY: called for a network device.
        let dev = unsafe { net_device(dev) };
        if !dev.caller_is_admin() {
            return Err(EPERM);
        }
        let port = dev.driver::<T>().ok_or(ENODEV)?;
        // SAFETY: sysfs gives that many bytes, ours for this call.
        let bytes = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
        let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
        (this.store.ok_or(EIO)?)(port, text.trim())?;
        Ok(count as isize)
    })
}
