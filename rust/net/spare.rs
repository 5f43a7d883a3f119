// SPDX-License-Identifier: GPL-2.0

//! Memory that is made once and lent again and again, for values that a single call needs,
//! where waiting for memory is impossible and the stack is too small.

use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};

use kernel::prelude::*;

/// Memory for values of any type, `BYTES` of them, none of which is there between two
/// loans.
pub(crate) struct Spare<const BYTES: usize>(KBox<MaybeUninit<Aligned<BYTES>>>);

#[repr(align(16))]
struct Aligned<const BYTES: usize>(#[allow(dead_code)] [u8; BYTES]);

impl<const BYTES: usize> Spare<BYTES> {
    /// Charged to the cgroup of the caller. Process context; may sleep.
    pub(crate) fn new() -> Result<Self> {
        Ok(Spare(KBox::new_uninit(GFP_KERNEL_ACCOUNT)?))
    }

    /// `LEN` places for values, all empty; what is put there is dropped when the loan is. Any
    /// context. Does not compile if there is no room for them.
    #[inline]
    pub(crate) fn lend<T, const LEN: usize>(&mut self) -> Lent<'_, T, LEN> {
        const {
            let values = Layout::new::<[Option<T>; LEN]>();
            let memory = Layout::new::<Aligned<BYTES>>();
            assert!(values.size() <= memory.size() && values.align() <= memory.align());
        }
        let values = NonNull::from(&mut *self.0).cast::<[Option<T>; LEN]>();
        for index in 0..LEN {
            // SAFETY: there is room for `LEN` values, as was checked, and the memory is
            // ours for as long as it is lent.
            unsafe { values.cast::<Option<T>>().add(index).write(None) };
        }
        // INVARIANT: they were made above, and `self` is borrowed for as long.
        Lent(values, PhantomData)
    }
}

/// Values in the memory of a [`Spare`].
///
/// # Invariants
///
/// The pointer is to initialised values, in memory that nobody else uses during `'s`.
pub(crate) struct Lent<'s, T, const LEN: usize>(
    NonNull<[Option<T>; LEN]>,
    PhantomData<&'s mut [Option<T>; LEN]>,
);

impl<T, const LEN: usize> Deref for Lent<'_, T, LEN> {
    type Target = [Option<T>; LEN];

    #[inline]
    fn deref(&self) -> &[Option<T>; LEN] {
        // SAFETY: by the type invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T, const LEN: usize> DerefMut for Lent<'_, T, LEN> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Option<T>; LEN] {
        // SAFETY: by the type invariant.
        unsafe { self.0.as_mut() }
    }
}

impl<T, const LEN: usize> Drop for Lent<'_, T, LEN> {
    #[inline]
    fn drop(&mut self) {
        // Most places are empty, and seen to be without a call.
        for value in self.iter_mut().flatten() {
            // SAFETY: by the type invariant; it is no longer used.
            unsafe { ptr::drop_in_place(value) };
        }
    }
}
