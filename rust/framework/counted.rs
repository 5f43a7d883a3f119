// SPDX-License-Identifier: GPL-2.0

//! Flags that are counted together while they are set: a path that nearly always finds none
//! set reads one word.

use core::{
    marker::PhantomData,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering::Relaxed, //
    }, //
};

/// A kind of flags.
pub(crate) trait Kind {
    /// How many of them are set.
    fn count() -> &'static AtomicU32;
}

/// Returns whether any flag of the kind is set. Any context.
#[inline(always)]
pub(super) fn any<K: Kind>() -> bool {
    K::count().load(Relaxed) != 0
}

/// A flag, which is counted while it is set, and no more once it is dropped. All methods in
/// any context.
pub(crate) struct Flag<K: Kind>(AtomicBool, PhantomData<fn() -> K>);

impl<K: Kind> Flag<K> {
    /// A flag that is not set.
    pub(crate) const fn new() -> Self {
        Flag(AtomicBool::new(false), PhantomData)
    }

    /// A flag that is set, or not.
    pub(super) fn with(set: bool) -> Self {
        let flag = Flag::new();
        if set {
            flag.set();
        }
        flag
    }

    /// Sets it.
    pub(crate) fn set(&self) {
        if !self.0.swap(true, Relaxed) {
            K::count().fetch_add(1, Relaxed);
        }
    }

    /// Returns whether it is set.
    #[inline(always)]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Takes it back, and returns whether it was set.
    pub(crate) fn take(&self) -> bool {
        let was = self.0.swap(false, Relaxed);
        if was {
            K::count().fetch_sub(1, Relaxed);
        }
        was
    }
}

impl<K: Kind> Drop for Flag<K> {
    fn drop(&mut self) {
        self.take();
    }
}
