// SPDX-License-Identifier: GPL-2.0

//! Connections that the policy offloads: at establishment, after a number of
//! bytes, and again after an upload.
//!
//! Candidates are noted in contexts that must not do more (a tracepoint, the end
//! of an upload), and handed over by a worker, those that are due together in one
//! operation.

use kernel::prelude::*;

use super::{
    agenda::{
        Agenda,
        Noted, //
    },
    device::Device,
    registry,
    request::{
        self,
        Wanted, //
    },
    trigger::Trigger, //
};
use crate::{
    logic::{
        eligibility::may_change,
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

/// How long a look waits for owners of sockets at most, for all candidates together.
const OWNERS_MS: u32 = 10;

/// The candidates of a device; part of it, with the worker that looks at them.
#[pin_data]
pub(crate) struct Auto {
    #[pin]
    candidates: Agenda<Wanted>,
}

impl Auto {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Auto { candidates <- Agenda::new() })
    }

    /// The device is going: its candidates are dropped. Process context.
    pub(super) fn close(&self) {
        self.candidates.close();
        drop(self.candidates.take());
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
        note(device, sk.sock(), trigger, policy::first_look(now));
    }
}

/// A connection was uploaded from `device`, and may be offloaded again. Any context.
pub(crate) fn revisit(device: &Device, sk: &Sock, trigger: Trigger) {
    note(device, sk, trigger, trigger.backoff.until_ms());
}

/// If there is no room, the connection stays with the host stack.
fn note(device: &Device, sk: &Sock, trigger: Trigger, due_ms: u64) {
    if let Some(held) = sk.try_hold() {
        list(device, due_ms, Wanted::new(held, trigger));
    }
}

/// The socket's cgroup is charged, in whatever context it is listed.
fn list(device: &Device, due_ms: u64, wanted: Wanted) {
    let sk = wanted.sk.clone();
    let _charge = Charge::to(&sk);
    let worker = device.auto();
    let candidates = &worker.job().candidates;
    let _ = candidates.add(worker, due_ms, wanted, MAX_CANDIDATES);
}

impl AsMut<Wanted> for Noted<Wanted> {
    fn as_mut(&mut self) -> &mut Wanted {
        self.item_mut()
    }
}

/// Of one that is noted already, and has its memory.
fn note_again(worker: &Worker<Auto>, due_ms: u64, mut wanted: Noted<Wanted>) {
    wanted.get_mut().ms = due_ms;
    let candidates = &worker.job().candidates;
    let _ = candidates.put(worker, wanted, MAX_CANDIDATES);
}

/// When to look again at a connection that was decided on, if that may end otherwise.
/// `now` is when this look began: the time spent on others does not delay the next look.
fn look_later(now: u64, wanted: &mut Wanted) -> Option<u64> {
    match wanted.decided.take() {
        Some((Err(reason), true)) if may_change(reason) => {
            // A contended connection has not been decided on yet.
            wanted.trigger.retry |= reason != Refusal::Contended;
            let due_ms = policy::look_again(now, wanted.looks);
            wanted.looks += 1;
            Some(due_ms)
        }
        _ => None,
    }
}

/// Notes a connection that was decided on for `device`, if that may end otherwise later.
pub(super) fn again(device: &Device, mut wanted: Wanted) {
    if let Some(due_ms) = look_later(time::now_ms(), &mut wanted) {
        list(device, due_ms, wanted);
    }
}

impl Job for Auto {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        let mut due = KVVec::new();
        for mut one in worker.job().candidates.take() {
            let mut due_ms = one.get().ms;
            if due_ms <= now {
                if one.item_mut().is_due() {
                    if due.reserve(1, GFP_KERNEL).is_ok() {
                        let _ = due.push_within_capacity(one);
                        continue;
                    }
                    one.item_mut().decided = Some((Err(Refusal::NoMemory), true));
                }
                match look_later(now, one.item_mut()) {
                    Some(later_ms) => due_ms = later_ms,
                    None => continue,
                }
            }
            note_again(worker, due_ms, one);
        }
        request::offload_all(&mut due, &mut Patience::ms(OWNERS_MS));
        for mut one in due {
            if let Some(due_ms) = look_later(now, one.item_mut()) {
                note_again(worker, due_ms, one);
            }
        }
    }
}
