// SPDX-License-Identifier: GPL-2.0

//! Read-copy update: the evidence of a read-side critical section, and values that readers
//! find in one while others replace them.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    ffi::c_void,
    prelude::*,
    types::Opaque, //
};

use crate::{
    bindings,
    net::context::{
        Bh,
        Section, //
    }, //
};

/// An RCU read-side critical section.
pub(crate) struct ReadGuard<'a> {
    /// Ends it; `None` where another thing does.
    _guard: Option<kernel::sync::rcu::Guard>,
    _within: PhantomData<&'a ()>,
}

impl ReadGuard<'static> {
    #[inline]
    pub(crate) fn new() -> Self {
        ReadGuard {
            _guard: Some(kernel::sync::rcu::read_lock()),
            _within: PhantomData,
        }
    }
}

impl<'a> ReadGuard<'a> {
    /// A stretch with bottom halves disabled is one, too: grace periods wait for
    /// those (`Documentation/RCU/whatisRCU.rst`).
    #[inline(always)]
    pub(crate) fn within(_bh: &'a Bh) -> Self {
        ReadGuard {
            _guard: None,
            _within: PhantomData,
        }
    }

    /// As [`within`](Self::within).
    #[inline(always)]
    pub(in crate::net) fn beside(_bh: &'a Section<'_>) -> Self {
        ReadGuard {
            _guard: None,
            _within: PhantomData,
        }
    }
}

/// A box whose memory outlives its last use by an RCU grace period: `T`, and what RCU
/// needs to free it later.
///
/// # Invariants
///
/// `rcu` is the first member, so that its address is that of the whole, and is RCU's from
/// [`Self::free`] on.
#[repr(C)]
pub(crate) struct RcuBox<T> {
    rcu: Opaque<bindings::callback_head>,
    value: T,
}

// SAFETY: a shared reference gives a `&T`, which is `Sync`; `rcu` is touched by `free()`
// only, once.
unsafe impl<T: Sync> Sync for RcuBox<T> {}
// SAFETY: `T` is `Send`, and `rcu` is plain memory until `free()`.
unsafe impl<T: Send> Send for RcuBox<T> {}

impl<T: Send + Sync> RcuBox<T> {
    /// Any context. Inlined, so that the value is made where it stays.
    #[inline(always)]
    pub(crate) fn new(value: T) -> Result<KBox<Self>> {
        Ok(KBox::new(
            RcuBox {
                rcu: Opaque::zeroed(),
                value,
            },
            GFP_ATOMIC,
        )?)
    }

    /// As a plain pointer, for a place in a C structure.
    pub(crate) fn into_context(this: KBox<Self>) -> *mut c_void {
        KBox::into_raw(this).cast()
    }

    /// # Safety
    ///
    /// `ptr` is null or from [`Self::into_context`], and for all of `'a` either
    /// [`Self::free`] is not called or an RCU read section that began before is
    /// under way.
    pub(in crate::net) unsafe fn from_context<'a>(ptr: *mut c_void) -> Option<&'a Self> {
        // SAFETY: null or a box, as the caller promises, which is not dropped during `'a`:
        // `free()` was not called, or waits for the section.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    /// Drops and frees it after a grace period. Any context.
    ///
    /// # Safety
    ///
    /// `ptr` is from [`Self::into_context`], no new reader can find it, and this is called
    /// once for it.
    pub(in crate::net) unsafe fn free(ptr: *mut c_void) {
        // SAFETY: a box, as the caller promises, whose first member is `rcu`, which nobody
        // else uses: this is the only call for it.
        unsafe { bindings::call_rcu(ptr.cast(), Some(Self::free_now)) }
    }

    /// # Safety
    ///
    /// Called by RCU for a box given to [`Self::free`].
    unsafe extern "C" fn free_now(head: *mut bindings::callback_head) {
        // SAFETY: `head` is the first member of a box of `KBox::into_raw()`, by the type
        // invariant and the promise to `free()`. A grace period is over: nobody reads it.
        drop(unsafe { KBox::from_raw(head.cast::<Self>()) });
    }
}

impl<T> Deref for RcuBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A place for a value, or none, that is replaced as a whole while others read it.
///
/// # Invariants
///
/// The pointer is null or from [`RcuBox::into_context`]; what is taken out is given to
/// [`RcuBox::free`].
pub(crate) struct RcuSlot<T: Send + Sync>(AtomicPtr<c_void>, PhantomData<T>);

impl<T: Send + Sync + 'static> RcuSlot<T> {
    /// Without a value.
    pub(crate) const fn new() -> Self {
        // INVARIANT: null.
        RcuSlot(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// The value at this moment. Any context.
    #[inline]
    pub(crate) fn get<'g>(&self, _guard: &'g ReadGuard<'_>) -> Option<&'g T> {
        let raw = self.0.load(Ordering::Acquire);
        // SAFETY: null or a box of a `T` by the type invariant. If it is taken out, it is
        // after this was read in the section of `_guard`, which lasts for all of `'g`.
        unsafe { RcuBox::<T>::from_context(raw) }.map(|value| &**value)
    }

    /// Returns whether there is none at this moment. Any context; needs no section.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Puts another value there, or none; readers see the one or the other. Any
    /// context.
    pub(crate) fn replace(&self, value: Option<KBox<RcuBox<T>>>) {
        let new = value.map_or(ptr::null_mut(), RcuBox::into_context);
        // INVARIANT: `new` is null or from `into_context()`, the old one is freed.
        let old = self.0.swap(new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: a box of a `T` by the type invariant, which nobody finds here from
            // now on, and which only this call has taken out.
            unsafe { RcuBox::<T>::free(old) };
        }
    }
}

impl<T: Send + Sync> Drop for RcuSlot<T> {
    fn drop(&mut self) {
        let old = *self.0.get_mut();
        if !old.is_null() {
            // SAFETY: as in `replace()`.
            unsafe { RcuBox::<T>::free(old) };
        }
    }
}
