// SPDX-License-Identifier: GPL-2.0

//! Memory that is made once and lent again and again, for values that are gone when the
//! call is over which needs them: where none can be waited for, and the stack is too small.

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
    },
    slice, //
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

    /// `len` values, each as `make` makes it; they are dropped when the loan is. Any
    /// context. Does not compile if there is no room for them.
    #[inline]
    pub(crate) fn lend<T, const LEN: usize>(&mut self, make: impl Fn() -> T) -> Lent<'_, T> {
        const {
            let values = Layout::new::<[T; LEN]>();
            let memory = Layout::new::<Aligned<BYTES>>();
            assert!(values.size() <= memory.size() && values.align() <= memory.align());
        }
        let first = NonNull::from(&mut *self.0).cast::<T>();
        for index in 0..LEN {
            // SAFETY: there is room for `LEN` values, as was checked, and the memory is
            // ours for as long as it is lent.
            unsafe { first.add(index).write(make()) };
        }
        Lent {
            first,
            len: LEN,
            _memory: PhantomData,
        }
    }
}

/// Values in the memory of a [`Spare`].
///
/// # Invariants
///
/// `first` points to `len` initialised values, in memory that nobody else uses during
/// `'s`.
pub(crate) struct Lent<'s, T> {
    first: NonNull<T>,
    len: usize,
    _memory: PhantomData<&'s mut [T]>,
}

impl<T> Deref for Lent<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: by the type invariant.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Lent<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: by the type invariant.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Lent<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the type invariant; they are not used any more.
        unsafe { ptr::drop_in_place(&mut **self) };
    }
}
