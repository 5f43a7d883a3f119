// SPDX-License-Identifier: GPL-2.0

//! A queue of things for a worker to do, each at its time: added in contexts that must not
//! do more, and done by the worker when it runs.

use kernel::prelude::*;

use crate::net::{
    fifo::{
        Fifo,
        Queued,
        Taken, //
    },
    sync::{
        spin_lock_bh::{
            new_spinlock_bh,
            SpinLockBh, //
        },
        worker::{
            Job,
            Worker, //
        }, //
    },
    time, //
};

/// Something to be done, and when.
pub(super) struct Due<T> {
    pub(super) ms: u64,
    pub(super) item: T,
}

/// It, with its memory: from when it is added first until it is done.
pub(super) type Delayed<T> = Queued<Due<T>>;

impl<T> Delayed<T> {
    pub(super) fn item_mut(&mut self) -> &mut T {
        &mut self.get_mut().item
    }
}

/// What is to be done, and when the worker runs for it.
struct Waiting<T> {
    list: Fifo<Due<T>>,
    /// `u64::MAX`: it does not.
    next_ms: u64,
    /// Nothing more is added.
    closed: bool,
}

/// See the module's documentation. The lock is a leaf.
#[pin_data]
pub(super) struct DelayedQueue<T> {
    #[pin]
    waiting: SpinLockBh<Waiting<T>>,
}

impl<T> DelayedQueue<T> {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_spinlock_bh!(Waiting {
                list: Fifo::new(),
                next_ms: u64::MAX,
                closed: false,
            }),
        })
    }

    /// Adds `item`, and has `worker`, which this belongs to, run for it at `due_ms`. It is
    /// dropped, with an error, if there are `most` already, or no memory. Any context.
    pub(super) fn add<J: Job>(
        &self,
        worker: &Worker<J>,
        due_ms: u64,
        item: T,
        most: usize,
    ) -> Result {
        let due = Queued::new(Due { ms: due_ms, item })?;
        self.put(worker, due, most)
    }

    /// As [`add`](Self::add), of what was taken: there is memory.
    pub(super) fn put<J: Job>(&self, worker: &Worker<J>, due: Delayed<T>, most: usize) -> Result {
        let due_ms = due.get().ms;
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.list.len() >= most {
            // What it refers to must not be dropped under the lock.
            drop(waiting);
            return Err(ENOSPC);
        }
        waiting.list.push(due);
        if due_ms < waiting.next_ms {
            waiting.next_ms = due_ms;
            worker.run_in(due_ms.saturating_sub(time::now_ms()));
        }
        Ok(())
    }

    /// Takes everything out. Any context.
    pub(super) fn take(&self) -> Taken<Due<T>> {
        let mut waiting = self.waiting.lock();
        waiting.next_ms = u64::MAX;
        waiting.list.take()
    }

    /// Nothing more is added. Any context.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
    }
}
