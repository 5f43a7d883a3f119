// SPDX-License-Identifier: GPL-2.0

//! A box whose memory outlives its last use by an RCU grace period.

use core::ops::Deref;

use kernel::{
    ffi::c_void,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// `T` and what RCU needs to free it later.
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
