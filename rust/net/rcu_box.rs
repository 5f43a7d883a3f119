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
#[repr(C)]
pub(crate) struct RcuBox<T> {
    rcu: Opaque<bindings::callback_head>,
    value: T,
}

// SAFETY: `rcu` is touched once, by `free()`.
unsafe impl<T: Sync> Sync for RcuBox<T> {}
// SAFETY: as above.
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
        // SAFETY: the caller's promise.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    /// Drops and frees it after a grace period. Any context.
    ///
    /// # Safety
    ///
    /// `ptr` is from [`Self::into_context`] and no new reader can find it.
    pub(in crate::net) unsafe fn free(ptr: *mut c_void) {
        // SAFETY: a live box of ours that is freed once; `rcu` is the first
        // field of a `repr(C)` structure.
        unsafe { bindings::call_rcu(ptr.cast(), Some(Self::free_now)) }
    }

    /// # Safety
    ///
    /// Called by RCU for a box given to [`Self::free`].
    unsafe extern "C" fn free_now(head: *mut bindings::callback_head) {
        // SAFETY: `head` is the first field of the box.
        drop(unsafe { KBox::from_raw(head.cast::<Self>()) });
    }
}

impl<T> Deref for RcuBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
