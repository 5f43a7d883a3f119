// SPDX-License-Identifier: GPL-2.0

//! Connections that the policy offloads: at establishment, after a number of
//! bytes, and again after an upload.
//!
//! Candidates are noted in contexts that must not do more (a tracepoint, the end
//! of an upload), and handed over in batches by a worker that takes each
//! socket's lock.

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    agenda::Agenda,
    connection::{
        self,
        Trigger, //
    },
    intermediate::Layers,
    registry, //
};
use crate::{
    logic::{
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

struct Candidate {
    sk: ARef<Sock>,
    trigger: Trigger,
    /// How often it was looked at and found not to be ready.
    looks: u32,
}

#[pin_data]
pub(crate) struct Auto {
    #[pin]
    candidates: Agenda<Candidate>,
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
        let candidate = Candidate {
            sk,
            trigger,
            looks: 0,
        };
        push(worker, due_ms, candidate);
    });
}

/// If there is no room, the connection stays with the host stack.
fn push(worker: &Worker<Auto>, due_ms: u64, candidate: Candidate) {
    let agenda = &worker.job().candidates;
    drop(agenda.add(worker, due_ms, candidate, MAX_CANDIDATES));
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
            | Refusal::DeviceDown
            | Refusal::Xfrm
            | Refusal::Netfilter
            | Refusal::Conntrack
            | Refusal::Qdisc
            | Refusal::TcFilter
            | Refusal::Xdp
            | Refusal::CgroupBpf
            | Refusal::SocketFilter
            | Refusal::SockOps
    )
}

impl Job for Auto {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        for (mut due_ms, mut candidate) in worker.job().candidates.take() {
            if due_ms <= now {
                let Candidate { sk, trigger, .. } = &mut candidate;
                let (result, open) =
                    sk.with_lock(|sk| (connection::offload(sk, trigger), sk.is_open()));
                match result {
                    Err(reason) if open && may_change(reason) => {
                        candidate.trigger.retry = true;
                        due_ms = policy::look_again(now, candidate.looks);
                        candidate.looks += 1;
                    }
                    _ => continue,
                }
            }
            push(worker, due_ms, candidate);
        }
    }
}
