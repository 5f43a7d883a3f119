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
        policy::{
            self,
            Backoff, //
        },
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

struct Candidate {
    sk: ARef<Sock>,
    trigger: Trigger,
    due_ms: u64,
    /// How often it was looked at and found not to be ready.
    looks: u32,
}

/// The candidates, and when the worker runs for them.
struct Waiting {
    list: KVVec<Candidate>,
    /// `u64::MAX`: it does not.
    next_ms: u64,
}

/// The lock is a leaf, taken with bottom halves off.
#[pin_data]
pub(crate) struct Auto {
    #[pin]
    waiting: SpinLock<Waiting>,
}

static AUTO: Slot<Worker<Auto>> = Slot::new();

/// Candidates are taken from here on, until the returned value is dropped.
pub(crate) fn start() -> Result<Published<Worker<Auto>>> {
    let auto = pin_init!(Auto {
        waiting <- new_spinlock!(Waiting {
            list: KVVec::new(),
            next_ms: u64::MAX,
        }),
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
            looks: 0,
        };
        Auto::push(worker, candidate);
    });
}

impl Auto {
    /// Notes a candidate and has the worker run for it in time. If there is no
    /// room, the connection stays with the host stack.
    fn push(worker: &Worker<Self>, candidate: Candidate) {
        let _bh = BhGuard::new();
        let mut waiting = worker.job().waiting.lock();
        if waiting.list.len() >= MAX_CANDIDATES {
            return;
        }
        let due_ms = candidate.due_ms;
        // A reservation in atomic context must be small: `KVVec` grows by
        // doubling, from the page allocator only while it fits into a few pages.
        let pushed = waiting.list.push(candidate, GFP_ATOMIC | __GFP_NOWARN);
        if pushed.is_ok() && due_ms < waiting.next_ms {
            waiting.next_ms = due_ms;
            worker.run_in(due_ms.saturating_sub(time::now_ms()));
        }
    }

    fn take(&self) -> KVVec<Candidate> {
        let _bh = BhGuard::new();
        // The lock must be free again before bottom halves are on.
        let mut waiting = self.waiting.lock();
        waiting.next_ms = u64::MAX;
        core::mem::replace(&mut waiting.list, KVVec::new())
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
        for mut candidate in worker.job().take() {
            if candidate.due_ms <= now {
                let trigger = candidate.trigger;
                let (result, open) = candidate
                    .sk
                    .with_lock(|sk| (connection::offload(sk, trigger), sk.is_open()));
                match result {
                    Err(reason) if open && may_change(reason) => {
                        candidate.trigger.retry = true;
                        candidate.due_ms = policy::look_again(now, candidate.looks);
                        candidate.looks += 1;
                    }
                    _ => continue,
                }
            }
            Self::push(worker, candidate);
        }
    }
}
