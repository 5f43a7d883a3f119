// SPDX-License-Identifier: GPL-2.0

//! Connections that the policy offloads: at establishment, after a number of
//! bytes, and again after an upload.
//!
//! Candidates are queued in contexts that must not do more (a tracepoint, the end of an
//! upload). A worker hands them over, those that are due at the same time in one operation.

use kernel::prelude::*;

use super::{
    delayed_queue::{
        Delayed,
        DelayedQueue, //
    },
    device::Device,
    registry,
    request::{
        self,
        Request, //
    },
    trigger::Trigger, //
};
use crate::{
    logic::{
        policy,
        reason::Refusal, //
    },
    net::{
        memcg::Charge,
        sock::{
            LockedSock,
            Patience,
            Sock, //
        },
        sync::{
            rcu::ReadGuard,
            worker::{
                Job,
                Worker, //
            }, //
        },
        time, //
    }, //
};

/// Candidates of one device that are remembered at most; more are left to the host stack.
/// A device belongs to one namespace, and no other one's candidates wait behind its own.
const MAX_CANDIDATES: usize = 16384;

/// How long a run waits for owners of sockets at most, for all candidates together.
const OWNERS_MS: u32 = 10;

/// The candidates of a device; part of it, with the worker that decides on them.
#[pin_data]
pub(crate) struct Candidates {
    #[pin]
    queue: DelayedQueue<Request>,
}

impl Candidates {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Candidates { queue <- DelayedQueue::new() })
    }

    /// The device is going. Its candidates whose frames leave by another one, for both are
    /// members of a bond, are that one's; all others are dropped. Process context.
    pub(super) fn close(&self) {
        self.queue.close();
        self.queue.take().for_each(hand_on);
    }
}

fn hand_on(request: Delayed<Request>) {
    let guard = ReadGuard::new();
    let base = request.get().item.sk.base_device(&guard);
    if let Some((target, _)) = base.and_then(registry::target_of) {
        let due_ms = request.get().ms;
        put_back(target.device().candidates(), due_ms, request);
    }
}

/// A connection reached ESTABLISHED: a candidate if its route leaves through a
/// device that takes connections by itself. Whether the route is still valid is seen when
/// it is decided on. Socket lock held, any context.
pub(crate) fn established(sk: LockedSock<'_>) {
    if !registry::any_device() {
        return;
    }
    let guard = ReadGuard::new();
    let target = sk
        .base_device(&guard)
        .and_then(registry::target_of)
        .map(|(target, _)| target.device())
        .filter(|device| device.automatic());
    if let Some(device) = target {
        let now = time::now_ms();
        let trigger = Trigger {
            since_ms: Some(now),
            ..Trigger::new(false)
        };
        note(device, sk.sock(), trigger, policy::first_attempt(now));
    }
}

/// A connection was uploaded from `device`, and may be offloaded again. Any context.
pub(crate) fn revisit(device: &Device, sk: &Sock, trigger: Trigger) {
    note(device, sk, trigger, trigger.backoff.until_ms());
}

/// If there is no room, the connection stays with the host stack.
fn note(device: &Device, sk: &Sock, trigger: Trigger, due_ms: u64) {
    if let Some(sk_ref) = sk.try_hold() {
        list(device, due_ms, Request::new(sk_ref, trigger));
    }
}

/// The socket's cgroup is charged, in whatever context it is listed.
fn list(device: &Device, due_ms: u64, request: Request) {
    let sk = request.sk.clone();
    let _charge = Charge::to(&sk);
    let worker = device.candidates();
    let queue = &worker.job().queue;
    let _ = queue.add(worker, due_ms, request, MAX_CANDIDATES);
}

impl AsMut<Request> for Delayed<Request> {
    fn as_mut(&mut self) -> &mut Request {
        self.item_mut()
    }
}

/// Of one that was queued before, and has its memory.
fn put_back(worker: &Worker<Candidates>, due_ms: u64, mut request: Delayed<Request>) {
    request.get_mut().ms = due_ms;
    let queue = &worker.job().queue;
    let _ = queue.put(worker, request, MAX_CANDIDATES);
}

/// When to try a connection again that was decided on, if that may end otherwise. `now` is
/// when this run began: the time spent on others does not delay the next attempt.
fn retry_at(now: u64, request: &mut Request) -> Option<u64> {
    match request.decided.take() {
        Some((Err(reason), true)) if request.trigger.may_change(reason) => {
            // A contended connection has not been decided on yet.
            request.trigger.retry |= reason != Refusal::Contended;
            let due_ms = policy::next_attempt(now, request.attempts);
            request.attempts += 1;
            Some(due_ms)
        }
        _ => None,
    }
}

/// Queues a connection that was decided on for `device` again, if that may end otherwise
/// later.
pub(super) fn requeue(device: &Device, mut request: Request) {
    if let Some(due_ms) = retry_at(time::now_ms(), &mut request) {
        list(device, due_ms, request);
    }
}

impl Job for Candidates {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        let mut due = KVVec::new();
        for mut one in worker.job().queue.take() {
            let mut due_ms = one.get().ms;
            if due_ms <= now {
                if one.item_mut().is_due() {
                    if due.reserve(1, GFP_KERNEL).is_ok() {
                        let _ = due.push_within_capacity(one);
                        continue;
                    }
                    one.item_mut().decided = Some((Err(Refusal::NoMemory), true));
                }
                match retry_at(now, one.item_mut()) {
                    Some(later_ms) => due_ms = later_ms,
                    None => continue,
                }
            }
            put_back(worker, due_ms, one);
        }
        request::offload_all(&mut due, &mut Patience::ms(OWNERS_MS));
        for mut one in due {
            if let Some(due_ms) = retry_at(now, one.item_mut()) {
                put_back(worker, due_ms, one);
            }
        }
    }
}
