// SPDX-License-Identifier: GPL-2.0

//! Connections that are to be offloaded, decided on one by one or many in one operation.
//!
//! A batch owns the locks of all its sockets until it is done, so that its tree has the true
//! state of all of them. The owner of one lock never waits for another ([`Batch`]): a socket
//! whose lock is taken is handed over by itself, as is one that nobody has accepted yet.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    candidates,
    decision::{
        check,
        count,
        count_early,
        Destination,
        Eligible,
        Exit,
        Group,
        Place, //
    },
    handover::{
        fill_slots,
        hand_over,
        offload,
        tree_slots,
        Handover, //
    },
    registry,
    target::OffloadTarget,
    trigger::Trigger, //
};
use crate::{
    logic::{
        hwid::Hwid,
        policy::MAX_BATCH,
        reason::Refusal,
        rules::Knob, //
    },
    net::{
        batch::{
            Batch,
            Established,
            OwnedLocks, //
        },
        net_device::NetDevice,
        sock::{
            LockedSock,
            Patience,
            Sock, //
        },
        sync::rcu::ReadGuard, //
    }, //
};

/// Connections in one operation at most, by default.
pub(super) const DEFAULT_BATCH: u32 = 64;

/// For fewer the memory for their tree costs more than one operation saves.
const MIN_BATCH: usize = 4;

/// What came of it, and whether the connection is still open.
type Decision = (Result<Hwid, Refusal>, bool);

/// A connection to be offloaded, and what came of it.
pub(super) struct Request {
    pub(super) sk: ARef<Sock>,
    pub(super) trigger: Trigger,
    /// How often it was found not to be ready.
    pub(super) attempts: u32,
    pub(super) decided: Option<Decision>,
}

impl AsMut<Request> for Request {
    fn as_mut(&mut self) -> &mut Request {
        self
    }
}

impl Request {
    pub(super) fn new(sk: ARef<Sock>, trigger: Trigger) -> Self {
        Request {
            sk,
            trigger,
            attempts: 0,
            decided: None,
        }
    }

    /// Checks without the lock, for most that come here are too young: `false` if the
    /// connection is not to be decided on now, which is noted.
    pub(super) fn is_due(&mut self) -> bool {
        if self.sk.has_ended() {
            self.decided = Some((Err(Refusal::NotEstablished), false));
            return false;
        }
        let guard = ReadGuard::new();
        let dev = self.sk.base_device(&guard);
        let Some((target, _)) = dev.and_then(registry::target_of) else {
            return true;
        };
        let device = target.device();
        if self.trigger.explicit || self.sk.data_segments_now() >= device.least_segments() {
            return true;
        }
        let result = Err(Refusal::MinSegments);
        count(device.stats(), result, &self.trigger);
        self.decided = Some((result, true));
        false
    }

    /// Returns whether its device has connections offloaded one by one, at this moment.
    fn goes_alone(&self) -> bool {
        let guard = ReadGuard::new();
        let target = self.sk.base_device(&guard).and_then(registry::target_of);
        target.is_some_and(|(target, _)| target.device().batch() == 1)
    }

    /// Decides on this one by itself. The owner of the socket may keep it for long, or,
    /// sending all the time, own it whenever anybody tries.
    fn offload_one(&mut self, patience: &mut Patience) {
        let trigger = &mut self.trigger;
        let mut decide = |sk: LockedSock<'_>| (offload(sk, trigger), sk.is_open());
        let decided = self.sk.with_lock(|sk| Some(decide(sk)), |_| None);
        let waited = || {
            self.sk
                .lock_within(patience)
                .map(|lock| decide(lock.locked()))
        };
        let busy = (Err(Refusal::Contended), true);
        self.decided = Some(decided.or_else(waited).unwrap_or(busy));
    }
}

/// Decides on all of `list`, as many as may be in one operation; `patience` is for the
/// owners of all of them. Process context; may sleep.
#[inline(never)]
pub(super) fn offload_all<W: AsMut<Request>>(list: &mut [W], patience: &mut Patience) {
    let mut from = 0;
    while let Some(rest) = list.get_mut(from..) {
        let many = rest.len() >= MIN_BATCH;
        match rest.first_mut().map(AsMut::as_mut) {
            None => return,
            Some(first) if first.decided.is_some() => from += 1,
            Some(first) if many && !first.goes_alone() => offload_some(rest, patience),
            Some(first) => first.offload_one(patience),
        }
    }
}

/// Decides on the connections of the namespace of `dev` whose routes leave through it,
/// which `target` is in, or that have none cached, whenever they were established. `EPERM`
/// unless the policy is to decide by itself. Process context; may sleep.
pub(crate) fn offload_namespace(dev: &NetDevice, target: &dyn OffloadTarget) -> Result {
    if !target.device().automatic() {
        return Err(EPERM);
    }
    let most = target.device().batch() as usize;
    let mut sockets = Established::new(dev);
    let mut list: KVVec<Request> = KVVec::with_capacity(most, GFP_KERNEL)?;
    loop {
        let here = |sk: &ARef<Sock>| {
            let guard = ReadGuard::new();
            // One without a route gets one when it is decided on.
            sk.base_device(&guard)
                .is_none_or(|base| core::ptr::eq(base, dev))
        };
        for sk in sockets.by_ref().filter(here).take(most) {
            let _ = list.push_within_capacity(Request::new(sk, Trigger::new(false)));
        }
        if list.is_empty() {
            return Ok(());
        }
        offload_all(&mut list, &mut Patience::ms(0));
        // Those that may be offloaded later are the policy's from here on.
        let device = target.device();
        list.drain_all()
            .for_each(|request| candidates::requeue(device, request));
    }
}

/// Decides on the first of `list`, and on those that can be in the same operation.
fn offload_some<W: AsMut<Request>>(list: &mut [W], patience: &mut Patience) {
    // Without memory the first one is decided on, as it is if its lock is somebody's.
    let _ = try_batch(list);
    let first = list.first_mut().map(AsMut::as_mut);
    if let Some(first) = first.filter(|first| first.decided.is_none()) {
        first.offload_one(patience);
    }
}

/// Whom to tell what became of a connection.
struct Asked<'b> {
    trigger: &'b Trigger,
    decided: &'b mut Option<Decision>,
}

/// The target that all connections of an operation go to.
struct Common {
    place: Place,
    /// How many it takes at most.
    room: usize,
}

/// Connections that are handed over in one operation, with the locks of their sockets.
struct Gathering<'b> {
    /// How many it may be, and how many are decided on at most.
    most: usize,
    considered: usize,
    /// Found with the first one that has a target.
    common: Option<Common>,
    group: Group,
    locks: OwnedLocks<'b, Asked<'b>>,
    /// What was found of each.
    eligible: KVVec<Eligible>,
}

impl<'b> Gathering<'b> {
    /// Process context; may sleep.
    fn new(batch: &'b Batch, most: usize) -> Result<Self> {
        Ok(Gathering {
            most,
            considered: 0,
            common: None,
            group: Group::default(),
            locks: OwnedLocks::new(batch, most)?,
            eligible: KVVec::with_capacity(most, GFP_KERNEL)?,
        })
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        let room = self.common.as_ref().map_or(self.most, |common| common.room);
        self.eligible.len() >= room || self.considered >= self.most
    }

    /// Decides on a connection, unless its lock is somebody's or it goes to another target
    /// than those before it.
    // Inlined, so that what is found is written once: it has hundreds of bytes.
    #[inline(always)]
    fn consider(&mut self, request: &'b mut Request) {
        let Request {
            sk,
            trigger,
            decided,
            ..
        } = request;
        let Some(lock) = self.locks.try_own(sk) else {
            return;
        };
        let sk = lock.locked();
        let exit = Exit::find(&sk);
        let exit = exit.as_ref().map_err(|reason| *reason);
        let found = exit.and_then(|exit| Ok((exit.path_dev, exit.destination()?)));
        let checked = match found {
            Ok((path_dev, to)) => {
                let most = self.most;
                let common = self.common.get_or_insert_with(|| Common::of(&to, most));
                if !common.place.is(&to) || common.room == 0 {
                    return;
                }
                check(sk, path_dev, to, trigger, &mut self.group)
            }
            Err(reason) => {
                count_early(sk, reason, trigger);
                Err(reason)
            }
        };
        self.considered += 1;
        match checked {
            Ok(one) => {
                self.limit(one.overrides.and_then(|own| own.get(Knob::Batch)));
                let _ = self.eligible.push_within_capacity(one);
                self.locks.push(lock, Asked { trigger, decided });
            }
            Err(reason) => {
                if let Ok((_, to)) = found {
                    count(to.stats(), Err(reason), trigger);
                }
                *decided = Some((Err(reason), sk.is_open()));
            }
        }
    }

    /// A rule may want fewer: with the next one there are enough.
    #[inline(always)]
    fn limit(&mut self, own: Option<u32>) {
        if let (Some(own), Some(common)) = (own, &mut self.common) {
            let least = self.eligible.len() + 1;
            common.room = common.room.min((own as usize).max(least));
        }
    }
}

impl Common {
    #[inline(always)]
    fn of(to: &Destination<'_>, most: usize) -> Self {
        Common {
            place: Place::of(to),
            room: match to.target.device().batch() {
                // One by one, after all.
                1 => 0,
                many => most.min(many as usize),
            },
        }
    }
}

/// One operation for the first of `list` whose lock is free, and those that go to the same
/// target.
// Not inlined, as `offload_all()`: their callers have much on the stack.
#[inline(never)]
fn try_batch<W: AsMut<Request>>(list: &mut [W]) -> Result {
    let batch = Batch::begin();
    let most = list.len().min(MAX_BATCH as usize);
    // All that sleeps comes before the first lock: memory may become free only when what these
    // sockets carry has been written.
    let mut gathering = Gathering::new(&batch, most)?;
    let mut handovers = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut slots = tree_slots(most)?;
    for request in list.iter_mut().map(AsMut::as_mut) {
        if gathering.is_full() {
            break;
        }
        if request.decided.is_none() {
            gathering.consider(request);
        }
    }
    let common = gathering.common.take();
    let Some(common) = common.filter(|_| !gathering.eligible.is_empty()) else {
        return Ok(());
    };
    let Some(to) = common.place.destination() else {
        return Ok(());
    };
    let (locks, eligible) = (&gathering.locks, &gathering.eligible);
    for (_, asked) in locks.iter() {
        let _ = handovers.push_within_capacity(Handover::new(asked.trigger));
    }
    let room = fill_slots(&mut slots, eligible);
    let sockets = locks.iter().map(|(sk, _)| sk);
    hand_over(to, sockets, eligible, &mut handovers, Some(room));
    drop(slots);
    to.stats().batch(eligible.len());
    for (handover, (sk, asked)) in handovers.iter().zip(gathering.locks.iter_mut()) {
        count(to.stats(), handover.result, asked.trigger);
        *asked.decided = Some((handover.result, sk.is_open()));
    }
    Ok(())
}
