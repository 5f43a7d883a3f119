// SPDX-License-Identifier: GPL-2.0

//! A place for a value that is replaced as a whole while others read it.

use core::{
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    ffi::c_void,
    prelude::*, //
};

use super::{
    rcu_box::RcuBox,
    table::ReadGuard, //
};

/// Holds a value or none.
///
/// # Invariants
///
/// The pointer is null or from [`RcuBox::into_context`]; what is taken out is given to
/// [`RcuBox::free`].
pub(crate) struct RcuSlot<T: Send + Sync>(AtomicPtr<c_void>, core::marker::PhantomData<T>);

impl<T: Send + Sync + 'static> RcuSlot<T> {
    /// Without a value.
    pub(crate) const fn new() -> Self {
        // INVARIANT: null.
        RcuSlot(AtomicPtr::new(ptr::null_mut()), core::marker::PhantomData)
    }

    /// The value at this moment. Any context.
    #[inline]
    pub(crate) fn get<'g>(&self, _guard: &'g ReadGuard<'_>) -> Option<&'g T> {
        let raw = self.0.load(Ordering::Acquire);
        // SAFETY: null or a box of a `T` by the type invariant. If it is taken out, it is
        // after this was read in the section of `_guard`, which lasts for all of `'g`.
        unsafe { RcuBox::<T>::from_context(raw) }.map(|value| &**value)
    }

    /// Puts another value there, or none; readers see the one or the other. Any
    /// context.
    pub(crate) fn replace(&self, value: Option<KBox<RcuBox<T>>>) {
        let new = value.map_or(ptr::null_mut(), RcuBox::into_context);
        // INVARIANT: `new` is null or from `into_context()`, the old one is freed.
        let old = self.0.swap(new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: a box of a `T` by the type invariant, which nobody finds here any more,
            // and which only this call has taken out.
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
