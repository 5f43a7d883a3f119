// SPDX-License-Identifier: GPL-2.0

//! Connections that the policy offloads: at establishment, after a number of
//! bytes, and again after an upload.
//!
//! Candidates are noted in contexts that must not do more (a tracepoint, the end
//! of an upload), and handed over in batches by a worker that takes each
//! socket's lock.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        SpinLock, //
    }, //
};

use super::{
    connection::{
        self,
        Trigger, //
    },
    registry, //
};
use crate::{
    logic::{
        policy::Backoff,
        reason::Refusal, //
    },
    net::{
        context::BhGuard,
        sock::{
            LockedSock,
            Sock, //
        },
        time,
        worker::{
            Job,
            Published,
            Slot,
            Worker, //
        }, //
    }, //
};

/// Candidates remembered at most; more are left to the host stack.
const MAX_CANDIDATES: usize = 16384;
/// How soon a candidate that is not ready is looked at again, and how often:
/// below `min_bytes`, neighbour unresolved, loss recovery.
const RETRY_MS: u64 = 20;
const MAX_RETRIES: u32 = 1500;

struct Candidate {
    sk: ARef<Sock>,
    trigger: Trigger,
    due_ms: u64,
    retries: u32,
}

/// The candidates. The lock is a leaf, taken with bottom halves off.
#[pin_data]
pub(crate) struct Auto {
    #[pin]
    list: SpinLock<KVVec<Candidate>>,
}

static AUTO: Slot<Worker<Auto>> = Slot::new();

/// Candidates are taken from here on, until the returned value is dropped.
pub(crate) fn start() -> Result<Published<Worker<Auto>>> {
    let auto = pin_init!(Auto {
        list <- new_spinlock!(KVVec::new()),
    });
    AUTO.publish(KBox::pin_init(Worker::new(auto), GFP_KERNEL)?)
}

/// A connection reached ESTABLISHED: a candidate if its route leaves through a
/// device that takes connections by itself. Socket lock held, any context.
pub(crate) fn established(sk: LockedSock<'_>) {
    if !registry::any_device() {
        return;
    }
    let automatic = sk
        .route()
        .and_then(|(dev, _)| registry::target_of(dev))
        .is_some_and(|(target, _)| target.device().automatic());
    if automatic {
        let trigger = Trigger {
            explicit: false,
            backoff: Backoff::new(),
            retry: false,
        };
        note(sk.sock(), trigger, time::now_ms());
    }
}

/// A connection was uploaded and may be offloaded again. Any context.
pub(crate) fn revisit(sk: &Sock, trigger: Trigger) {
    note(sk, trigger, trigger.backoff.until_ms());
}

fn note(sk: &Sock, trigger: Trigger, due_ms: u64) {
    AUTO.with(|worker| {
        let Some(sk) = sk.try_hold() else {
            return;
        };
        let candidate = Candidate {
            sk,
            trigger,
            due_ms,
            retries: 0,
        };
        if worker.job().push(candidate) {
            let delay = due_ms.saturating_sub(time::now_ms());
            worker.schedule(delay as u32, delay == 0);
        }
    });
}

impl Auto {
    /// `false` if there is no room: the connection stays with the host stack.
    fn push(&self, candidate: Candidate) -> bool {
        let _bh = BhGuard::new();
        let mut list = self.list.lock();
        if list.len() >= MAX_CANDIDATES {
            return false;
        }
        // A reservation in atomic context must be small: `KVVec` grows by
        // doubling, from the page allocator only while it fits into a few pages.
        list.push(candidate, GFP_ATOMIC | __GFP_NOWARN).is_ok()
    }

    fn take(&self) -> KVVec<Candidate> {
        let _bh = BhGuard::new();
        // The lock must be free again before bottom halves are on.
        let mut list = self.list.lock();
        core::mem::replace(&mut *list, KVVec::new())
    }
}

/// Is it worth while to look at the connection again?
fn may_change(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::MinBytes
            | Refusal::Neighbour
            | Refusal::Recovery
            | Refusal::OutOfOrder
            | Refusal::ZeroWindow
            | Refusal::Backoff
            | Refusal::NoMemory
            | Refusal::DeviceDown
    )
}

impl Job for Auto {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        let mut next = u64::MAX;
        for mut candidate in worker.job().take() {
            if candidate.due_ms <= now {
                let sk = candidate.sk.lock();
                let result = connection::offload(*sk, candidate.trigger);
                let open = sk.is_open();
                drop(sk);
                match result {
                    Err(reason)
                        if open && may_change(reason) && candidate.retries < MAX_RETRIES =>
                    {
                        candidate.trigger.retry = true;
                        candidate.retries += 1;
                        candidate.due_ms = now + RETRY_MS;
                    }
                    _ => continue,
                }
            }
            next = next.min(candidate.due_ms);
            worker.job().push(candidate);
        }
        if next != u64::MAX {
            worker.schedule(next.saturating_sub(time::now_ms()) as u32, false);
        }
    }
}
