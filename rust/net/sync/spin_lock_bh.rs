// SPDX-License-Identifier: GPL-2.0

//! A spin lock that is taken with bottom halves disabled (`spin_lock_bh()`), for what
//! softirqs and tasks share.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    pin::Pin, //
};

use kernel::{
    prelude::*,
    sync::{
        LockClassKey,
        SpinLock,
        SpinLockGuard, //
    }, //
};

use super::rcu::ReadGuard;
use crate::net::context::{
    Bh,
    Section, //
};

/// Makes the initialiser of a [`SpinLockBh`], which lockdep knows by the place of this call.
macro_rules! new_spinlock_bh {
    ($inner:expr) => {
        $crate::net::sync::spin_lock_bh::SpinLockBh::new(
            $inner,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_spinlock_bh;

/// See the module's documentation.
#[pin_data]
pub(crate) struct SpinLockBh<T> {
    #[pin]
    inner: SpinLock<T>,
}

impl<T> SpinLockBh<T> {
    /// See [`new_spinlock_bh!`].
    pub(crate) fn new(
        value: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(SpinLockBh { inner <- SpinLock::new(value, name, key) })
    }

    /// Disables bottom halves and takes the lock. Any context but hard interrupts.
    #[inline]
    pub(crate) fn lock(&self) -> SpinLockBhGuard<'_, T> {
        let bh = Section::begin();
        SpinLockBhGuard {
            guard: self.inner.lock(),
            bh,
        }
    }

    /// Takes the lock where bottom halves are disabled already.
    #[inline]
    pub(crate) fn lock_within<'a>(&'a self, bh: &'a Bh) -> SpinLockBhGuard<'a, T> {
        SpinLockBhGuard {
            guard: self.inner.lock(),
            bh: Section::within(bh),
        }
    }
}

/// The lock, held: it is free again before bottom halves are enabled.
pub(crate) struct SpinLockBhGuard<'a, T> {
    // Dropped in this order.
    guard: SpinLockGuard<'a, T>,
    bh: Section<'a>,
}

impl<T> SpinLockBhGuard<'_, T> {
    /// Bottom halves are disabled: an RCU read section.
    #[inline(always)]
    pub(crate) fn rcu(&self) -> ReadGuard<'_> {
        ReadGuard::beside(&self.bh)
    }
}

impl<T: Unpin> SpinLockBhGuard<'_, T> {
    /// What the lock guards, and the RCU read section beside it.
    #[inline(always)]
    pub(crate) fn split(&mut self) -> (&mut T, ReadGuard<'_>) {
        (&mut self.guard, ReadGuard::beside(&self.bh))
    }
}

impl<T> Deref for SpinLockBhGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: Unpin> DerefMut for SpinLockBhGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
