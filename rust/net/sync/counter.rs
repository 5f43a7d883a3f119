// SPDX-License-Identifier: GPL-2.0

//! Counters for statistics.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

/// A counter that any number of CPUs add to.
///
/// It orders nothing. The language's own atomic, for an operation of the kernel's
/// is a C function, which would be most of what some hot paths do.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Any context.
    #[inline(always)]
    pub(crate) fn add(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }

    /// Any context.
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
