// SPDX-License-Identifier: GPL-2.0

//! A directory of attributes under `/sys/class/net/<dev>/`.
//!
//! ```ignore
//! static FILES: [Attribute; 2] = [
//!     Attribute::rw(c"capacity", show_capacity, store_capacity),
//!     Attribute::ro(c"connections", show_connections),
//! ];
//! static LIST: AttributeList<2> = AttributeList::new(&FILES, &[]);
//! static LONG_FILES: [LongAttribute; 1] = [
//!     LongAttribute::ro(c"hits", read_hits),
//! ];
//! static LONG_LIST: LongAttributeList<1> = LongAttributeList::new(&LONG_FILES);
//! static GROUP: Group = Group::new(c"toe", &LIST, &LONG_LIST);
//! ```
//!
//! The functions run in process context without rtnl, and must not take it:
//! unregistration waits for them with rtnl held. One value per file; a text of any
//! length in those that are long.

use kernel::{
    error::from_result,
    ffi::c_char,
    fmt,
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use super::net_device::NetDevice;
use crate::bindings;

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
pub(crate) type Show = fn(&NetDevice, &mut Page<'_>) -> Result;

/// Takes a new value, without white space around it. The caller has
/// CAP_NET_ADMIN in the user namespace of the device.
pub(crate) type Store = fn(&NetDevice, &str) -> Result;

/// One file.
///
/// # Invariants
///
/// The C structure is the first member, so that its address is that of the whole, and its
/// functions are those of this file.
#[repr(C)]
pub(crate) struct Attribute {
    attr: Opaque<bindings::device_attribute>,
    show: Option<Show>,
    store: Option<Store>,
}

// SAFETY: constant, but for a lockdep key inside, which lockdep cares for; plain functions
// may be called by any task.
unsafe impl Sync for Attribute {}

impl Attribute {
    /// A file to read.
    pub(crate) const fn ro(name: &'static CStr, show: Show) -> Self {
        Self::new(name, 0o444, Some(show), None)
    }

    /// A file to read and write.
    pub(crate) const fn rw(name: &'static CStr, show: Show, store: Store) -> Self {
        Self::new(name, 0o644, Some(show), Some(store))
    }

    /// A file to write.
    pub(crate) const fn wo(name: &'static CStr, store: Store) -> Self {
        Self::new(name, 0o200, None, Some(store))
    }

    const fn new(
        name: &'static CStr,
        mode: bindings::umode_t,
        show: Option<Show>,
        store: Option<Store>,
    ) -> Self {
        // SAFETY: all zeroes is valid for it: null pointers, `None`, and integers.
        let mut attr: bindings::device_attribute =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        attr.attr.name = kernel::str::as_char_ptr_in_const_context(name);
        attr.attr.mode = mode;
        if show.is_some() {
            attr.__bindgen_anon_1.show = Some(show_callback);
        }
        if store.is_some() {
            attr.__bindgen_anon_2.store = Some(store_callback);
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

// SAFETY: pointers that are never changed, to statics that are `Sync`.
unsafe impl<const N: usize> Sync for AttributeList<N> {}

impl<const N: usize> AttributeList<N> {
    /// Lists `first` and then `more`, of which there are `N` together.
    pub(crate) const fn new<const A: usize, const B: usize>(
        first: &'static [Attribute; A],
        more: &'static [Attribute; B],
    ) -> Self {
        const { assert!(A + B == N) };
        let mut attrs = [core::ptr::null_mut(); N];
        let mut i = 0;
        while i < N {
            let file = if i < A { &first[i] } else { &more[i - A] };
            // The C attribute is the first member of the first member.
            attrs[i] = file.attr.get().cast();
            i += 1;
        }
        AttributeList {
            attrs,
            end: core::ptr::null_mut(),
        }
    }
}

/// The part of a text that a `read()` asks for.
pub(crate) struct Window<'a> {
    /// Bytes of the text before it, and what of them is still to come.
    skip: u64,
    page: Page<'a>,
}

impl fmt::Write for Window<'_> {
    /// The text goes on; what is behind the window is dropped.
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.write_bytes(text.as_bytes());
        Ok(())
    }
}

impl Window<'_> {
    /// As `write_str()`.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) {
        let skip = self.skip.min(bytes.len() as u64) as usize;
        self.skip -= skip as u64;
        let rest = bytes.get(skip..).unwrap_or_default();
        let room = self.page.buf.len().saturating_sub(self.page.len);
        let rest = rest.get(..room).unwrap_or(rest);
        if let Some(to) = self
            .page
            .buf
            .get_mut(self.page.len..self.page.len + rest.len())
        {
            to.copy_from_slice(rest);
            self.page.len += rest.len();
        }
    }
}

/// Writes all of a text. It should be the same one until it was read to its end.
pub(crate) type Read = fn(&NetDevice, &mut Window<'_>) -> Result;

/// One piece of a text that is written to a long file: a write of more than a page
/// comes as several.
pub(crate) struct Chunk<'a> {
    /// Where it belongs.
    pub(crate) offset: u64,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
    /// Tells open files apart.
    pub(crate) file: usize,
    /// It fills a page, so that the same `write()` may go on with another one.
    pub(crate) full: bool,
}

/// Takes a piece. The caller has CAP_NET_ADMIN in the user namespace of the device.
pub(crate) type Write = fn(&NetDevice, &Chunk<'_>) -> Result;

/// A file whose text may be longer than a page.
///
/// # Invariants
///
/// As [`Attribute`].
#[repr(C)]
pub(crate) struct LongAttribute {
    attr: Opaque<bindings::bin_attribute>,
    read: Read,
    write: Option<Write>,
}

// SAFETY: as for `Attribute`.
unsafe impl Sync for LongAttribute {}

impl LongAttribute {
    /// A file to read.
    pub(crate) const fn ro(name: &'static CStr, read: Read) -> Self {
        Self::new(name, 0o444, read, None)
    }

    /// A file to read and write.
    pub(crate) const fn rw(name: &'static CStr, read: Read, write: Write) -> Self {
        Self::new(name, 0o644, read, Some(write))
    }

    const fn new(
        name: &'static CStr,
        mode: bindings::umode_t,
        read: Read,
        write: Option<Write>,
    ) -> Self {
        // SAFETY: all zeroes is valid for it: null pointers, `None`, and integers, with no
        // limit of size.
        let mut attr: bindings::bin_attribute =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        attr.attr.name = kernel::str::as_char_ptr_in_const_context(name);
        attr.attr.mode = mode;
        attr.read = Some(read_callback);
        if write.is_some() {
            attr.write = Some(write_callback);
        }
        // INVARIANT: just filled in.
        LongAttribute {
            attr: Opaque::new(attr),
            read,
            write,
        }
    }
}

/// The list of a group's long files, as C wants it.
#[repr(C)]
pub(crate) struct LongAttributeList<const N: usize> {
    attrs: [*const bindings::bin_attribute; N],
    end: *const bindings::bin_attribute,
}

// SAFETY: as for `AttributeList`.
unsafe impl<const N: usize> Sync for LongAttributeList<N> {}

impl<const N: usize> LongAttributeList<N> {
    /// Lists `files`.
    pub(crate) const fn new(files: &'static [LongAttribute; N]) -> Self {
        let mut attrs = [core::ptr::null(); N];
        let mut i = 0;
        while i < N {
            attrs[i] = files[i].attr.get().cast_const();
            i += 1;
        }
        LongAttributeList {
            attrs,
            end: core::ptr::null(),
        }
    }
}

/// A directory.
///
/// # Invariants
///
/// All its files are [`Attribute`]s and [`LongAttribute`]s in statics.
#[repr(transparent)]
pub(crate) struct Group(Opaque<bindings::attribute_group>);

// SAFETY: never changed, and what it points to are statics that are `Sync`.
unsafe impl Sync for Group {}

impl Group {
    /// A directory `name` with the files of `list` and of `long`.
    pub(crate) const fn new<const N: usize, const L: usize>(
        name: &'static CStr,
        list: &'static AttributeList<N>,
        long: &'static LongAttributeList<L>,
    ) -> Self {
        // SAFETY: all zeroes is valid for it: null pointers and `None`.
        let mut group: bindings::attribute_group =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        group.name = kernel::str::as_char_ptr_in_const_context(name);
        group.__bindgen_anon_2.attrs = core::ptr::from_ref(list).cast_mut().cast();
        group.bin_attrs = core::ptr::from_ref(long).cast();
        // INVARIANT: the lists are made of these.
        Group(Opaque::new(group))
    }

    pub(in crate::net) fn as_ptr(&self) -> *const bindings::attribute_group {
        self.0.get()
    }
}

/// The device a `struct device` is embedded in.
///
/// # Safety
///
/// `dev` must be the `dev` member of a `net_device` that is registered for all of `'a`.
unsafe fn net_device<'a>(dev: *mut bindings::device) -> &'a NetDevice {
    let offset = core::mem::offset_of!(bindings::net_device, dev);
    // SAFETY: it lies in a `net_device` at this offset, as the caller promises, which is not
    // freed while it is registered, nor is its driver's value.
    unsafe { NetDevice::from_raw(dev.byte_sub(offset).cast()) }
}

/// # Safety
///
/// Called by sysfs for a file of a [`Group`] of a network device, with an [`Attribute`] of `T`
/// and a page at `buf`.
unsafe extern "C" fn show_callback(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    from_result(|| {
        // SAFETY: by the invariant of `Attribute` the first member of one, a static: it has
        // this function.
        let this = unsafe { &*attr.cast::<Attribute>() };
        // SAFETY: only network devices get a `Group`. Their unregistration removes it, and
        // waits for those who use its files, before it goes on (`kernfs_drain()`).
        let dev = unsafe { net_device(dev) };
        let mut page = Page {
            // SAFETY: `sysfs_kf_seq_show()` gives a page at least, which it has zeroed, and
            // which nobody else has before this returns.
            buf: unsafe { core::slice::from_raw_parts_mut(buf.cast(), kernel::page::PAGE_SIZE) },
            len: 0,
        };
        (this.show.ok_or(EIO)?)(dev, &mut page)?;
        Ok(page.len as isize)
    })
}

/// # Safety
///
/// Called by sysfs for a file of a [`Group`] of a network device, with an [`Attribute`] of `T`
/// and `count` bytes at `buf`.
unsafe extern "C" fn store_callback(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: as in `show_callback`.
        let this = unsafe { &*attr.cast::<Attribute>() };
        // SAFETY: as in `show_callback`.
        let dev = unsafe { net_device(dev) };
        if !dev.caller_is_admin() {
            return Err(EPERM);
        }
        // SAFETY: `kernfs_fop_write_iter()` has copied that many bytes there from user memory,
        // and nobody else has them before this returns.
        let bytes = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
        let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
        (this.store.ok_or(EIO)?)(dev, text.trim())?;
        Ok(count as isize)
    })
}

/// The network device whose `struct device` has this kobject.
///
/// # Safety
///
/// `kobj` must be the kobject of the `dev` member of a `net_device` that is registered for all
/// of `'a`.
unsafe fn net_device_of<'a>(kobj: *mut bindings::kobject) -> &'a NetDevice {
    let offset = core::mem::offset_of!(bindings::device, kobj);
    // SAFETY: the kobject lies in a `struct device` at this offset, and that one in such a
    // `net_device`, as the caller promises.
    unsafe { net_device(kobj.byte_sub(offset).cast()) }
}

/// # Safety
///
/// Called by sysfs for a file of a [`Group`] of a network device, with a [`LongAttribute`] of
/// `T` and room for `count` bytes at `buf`.
unsafe extern "C" fn read_callback(
    _file: *mut bindings::file,
    kobj: *mut bindings::kobject,
    attr: *const bindings::bin_attribute,
    buf: *mut c_char,
    offset: bindings::loff_t,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: by the invariant of `LongAttribute` the first member of one, a static: it has
        // this function.
        let this = unsafe { &*attr.cast::<LongAttribute>() };
        // SAFETY: as in `show_callback`: the file's directory is that of a network device.
        let dev = unsafe { net_device_of(kobj) };
        // SAFETY: `kernfs_file_read_iter()` gives that much memory, not initialised, which it
        // is here, and which nobody else has before this returns.
        let buf = unsafe {
            core::ptr::write_bytes(buf, 0, count);
            core::slice::from_raw_parts_mut(buf.cast(), count)
        };
        let mut window = Window {
            skip: u64::try_from(offset).map_err(|_| EINVAL)?,
            page: Page { buf, len: 0 },
        };
        (this.read)(dev, &mut window)?;
        Ok(window.page.len as isize)
    })
}

/// # Safety
///
/// Called by sysfs for a file of a [`Group`] of a network device, with a [`LongAttribute`] of
/// `T` and `count` bytes at `buf`.
unsafe extern "C" fn write_callback(
    file: *mut bindings::file,
    kobj: *mut bindings::kobject,
    attr: *const bindings::bin_attribute,
    buf: *mut c_char,
    offset: bindings::loff_t,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: as in `read_callback`.
        let this = unsafe { &*attr.cast::<LongAttribute>() };
        // SAFETY: as in `show_callback`: the file's directory is that of a network device.
        let dev = unsafe { net_device_of(kobj) };
        if !dev.caller_is_admin() {
            return Err(EPERM);
        }
        let chunk = Chunk {
            offset: u64::try_from(offset).map_err(|_| EINVAL)?,
            // SAFETY: as in `store_callback`.
            bytes: unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) },
            file: file as usize,
            full: count >= kernel::page::PAGE_SIZE,
        };
        (this.write.ok_or(EIO)?)(dev, &chunk)?;
        Ok(count as isize)
    })
}
