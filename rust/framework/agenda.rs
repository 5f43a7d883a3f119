// SPDX-License-Identifier: GPL-2.0

//! Things for a worker to do, each at its time: noted in contexts that must not do
//! more, and taken by the worker when it runs.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use crate::net::{
    context::BhGuard,
    time,
    worker::{
        Job,
        Worker, //
    }, //
};

/// What is to be done, and when the worker runs for it.
struct Waiting<T> {
    list: KVVec<(u64, T)>,
    /// `u64::MAX`: it does not.
    next_ms: u64,
}

/// See the module's documentation. The lock is a leaf, taken with bottom halves off.
#[pin_data]
pub(super) struct Agenda<T> {
    #[pin]
    waiting: SpinLock<Waiting<T>>,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_spinlock!(Waiting {
                list: KVVec::new(),
                next_ms: u64::MAX,
            }),
        })
    }

    /// Notes `item` and has `worker`, which this belongs to, run for it at `due_ms`. It
    /// comes back if there are `most` already, or no memory. Any context.
    pub(super) fn add<J: Job>(
        &self,
        worker: &Worker<J>,
        due_ms: u64,
        item: T,
        most: usize,
    ) -> core::result::Result<(), T> {
        let _bh = BhGuard::new();
        let mut waiting = self.waiting.lock();
        // A reservation in atomic context must be small: `KVVec` grows by doubling,
        // from the page allocator only while it fits into a few pages.
        let flags = GFP_ATOMIC | __GFP_NOWARN;
        if waiting.list.len() >= most || waiting.list.reserve(1, flags).is_err() {
            return Err(item);
        }
        let _ = waiting.list.push((due_ms, item), flags);
        if due_ms < waiting.next_ms {
            waiting.next_ms = due_ms;
            worker.run_in(due_ms.saturating_sub(time::now_ms()));
        }
        Ok(())
    }

    /// Takes everything out, with the time of each. Any context.
    pub(super) fn take(&self) -> KVVec<(u64, T)> {
        let _bh = BhGuard::new();
        // The lock must be free again before bottom halves are on.
        let mut waiting = self.waiting.lock();
        waiting.next_ms = u64::MAX;
        core::mem::replace(&mut waiting.list, KVVec::new())
    }
}
