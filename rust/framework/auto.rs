// SPDX-License-Identifier: GPL-2.0

//! Connections that the policy offloads: at establishment, after a number of
//! bytes, and again after an upload.
//!
//! Candidates are noted in contexts that must not do more (a tracepoint, the end
//! of an upload), and handed over by a worker, those that are due together in one
//! operation.

use kernel::prelude::*;

use super::{
    agenda::Agenda,
    connection::Trigger,
    handover::{
        self,
        Wanted, //
    },
    intermediate::Layers,
    registry, //
};
use crate::{
    logic::{
        filter::Filter,
        policy,
        reason::Refusal, //
    },
    net::{
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

#[pin_data]
pub(crate) struct Auto {
    #[pin]
    candidates: Agenda<Wanted>,
}

static AUTO: Slot<Worker<Auto>> = Slot::new();

/// Candidates are taken from here on, until the returned value is dropped.
pub(crate) fn start() -> Result<Published<Worker<Auto>>> {
    let auto = pin_init!(Auto { candidates <- Agenda::new() });
    AUTO.publish(KBox::pin_init(Worker::new(auto), GFP_KERNEL)?)
}

/// A connection reached ESTABLISHED: a candidate if its route leaves through a
/// device that takes connections by itself. Socket lock held, any context.
pub(crate) fn established(sk: LockedSock<'_>) {
    if !registry::any_device() {
        return;
    }
    let target = sk
        .route()
        .and_then(|(dev, _)| registry::target_of(Layers::below(dev)))
        .map(|(target, _)| target.device())
        .filter(|device| device.automatic());
    if let Some(device) = target {
        let now = time::now_ms();
        let trigger = Trigger {
            since_ms: Some(now),
            ..Trigger::new(false)
        };
        note(sk.sock(), trigger, device.limits().first_look(now));
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
        push(worker, due_ms, Wanted::new(sk, trigger));
    });
}

/// If there is no room, the connection stays with the host stack.
fn push(worker: &Worker<Auto>, due_ms: u64, wanted: Wanted) {
    let agenda = &worker.job().candidates;
    drop(agenda.add(worker, due_ms, wanted, MAX_CANDIDATES));
}

/// Is it worth while to look at the connection again? A filter may be taken away.
fn may_change(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::MinBytes
            | Refusal::MinSegments
            | Refusal::MinAge
            | Refusal::RuleWait
            | Refusal::Neighbour
            | Refusal::Recovery
            | Refusal::OutOfOrder
            | Refusal::ZeroWindow
            | Refusal::Backoff
            | Refusal::NoMemory
            | Refusal::Contended
            | Refusal::DeviceDown
    ) || Filter::ALL.iter().any(|filter| filter.refusal() == reason)
}

/// Notes a connection again that was decided on, if that may end otherwise later. `now`
/// is when the look began: the time that others took does not delay the next one.
fn look_later(worker: &Worker<Auto>, now: u64, mut wanted: Wanted) {
    if let Some((Err(reason), true)) = wanted.decided.take() {
        if may_change(reason) {
            wanted.trigger.retry = true;
            let due_ms = policy::look_again(now, wanted.looks);
            wanted.looks += 1;
            push(worker, due_ms, wanted);
        }
    }
}

/// As [`look_later`], for whoever is not the worker.
pub(super) fn again(wanted: Wanted) {
    AUTO.with(|worker| look_later(worker, time::now_ms(), wanted));
}

impl Job for Auto {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        let mut due = KVVec::new();
        for (due_ms, mut wanted) in worker.job().candidates.take() {
            if due_ms > now {
                push(worker, due_ms, wanted);
            } else if !wanted.is_due() {
                look_later(worker, now, wanted);
            } else if due.reserve(1, GFP_KERNEL).is_ok() {
                let _ = due.push(wanted, GFP_KERNEL);
            }
        }
        handover::offload_all(&mut due);
        due.into_iter()
            .for_each(|wanted| look_later(worker, now, wanted));
    }
}
