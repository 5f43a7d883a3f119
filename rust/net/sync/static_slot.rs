// SPDX-License-Identifier: GPL-2.0

//! A place for a reference to something static. It may be taken away again while others
//! read it: what they have found stays valid, so that nobody needs a section or a count.

use core::{
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::prelude::*;

/// See the module's documentation.
///
/// # Invariants
///
/// The pointer is null, or that of a `&'static T`.
pub(crate) struct StaticSlot<T: Sync + 'static>(AtomicPtr<T>);

impl<T: Sync + 'static> StaticSlot<T> {
    /// Without a reference.
    pub(crate) const fn new() -> Self {
        // INVARIANT: null.
        StaticSlot(AtomicPtr::new(ptr::null_mut()))
    }

    /// The reference at this moment. Any context.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null or that of a `&'static T` by the type invariant, and only read.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Puts a reference there. `EBUSY` if there is one. Any context.
    pub(crate) fn put(&self, value: &'static T) -> Result {
        let new = ptr::from_ref(value).cast_mut();
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        // INVARIANT: that of a `&'static T`.
        let put = self
            .0
            .compare_exchange(ptr::null_mut(), new, order.0, order.1);
        put.map(drop).map_err(|_| EBUSY)
    }

    /// Takes the reference away. Any context.
    pub(crate) fn clear(&self) {
        // INVARIANT: null.
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}
