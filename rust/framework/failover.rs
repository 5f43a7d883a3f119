// SPDX-License-Identifier: GPL-2.0

//! Failover: the connections on a bond follow it when it sends by another member.
//!
//! A connection lies at the target of the member that the bond sends its frames by. Nobody
//! tells when a bond has replaced its array of usable members, and most notifications come
//! before it has; so all that can change the choice has the connections looked at
//! ([`follow_all`]), and the filter scan looks for what was not told ([`look`]). Those that
//! the bond would send by another member are moved there, the busiest first, as many as may
//! be in one operation: the old target terminates them and the new one takes them, under one
//! hold of the sockets' locks, so that nothing happens to a connection in between. What the
//! new member cannot take goes on in the host stack, which sends by it all the same, and comes
//! back as a candidate.
//!
//! What was in flight by a link that is down is lost. A loss probe comes at once, where TCP
//! would send one at all; the host stack does the rest.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::ptr;

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    candidates,
    connection::{
        self,
        connection_tree, //
    },
    decision::{
        check,
        count,
        Eligible,
        Exit,
        Group,
        Place, //
    },
    filter_scan,
    handover::{
        fill_slots,
        hand_over,
        offload,
        tree_slots,
        Handover, //
    },
    intermediate::{
        any_bond,
        Layers, //
    },
    registry,
    target::{
        block_slots,
        Host,
        OffloadTarget, //
    },
    trigger::Trigger,
    upload, //
};
use crate::{
    logic::{
        failover::{
            move_all,
            Settled,
            Stage,
            CHUNK, //
        },
        hwid::Hwid,
        reason::{
            Failover,
            Refusal,
            UploadReason, //
        },
        tree::{
            state::Handle,
            Tree, //
        }, //
    },
    net::{
        batch::{
            Batch,
            OwnedLocks, //
        },
        devref::DevRef,
        net_device::NetDevice,
        record::Departed,
        sock::{
            LockedSock,
            Sock, //
        },
        sync::rcu::ReadGuard, //
    }, //
};

/// Connections that are moved in the event itself at most.
const AT_ONCE: usize = 4 * CHUNK;

/// A connection that the bond sends by another member now.
struct Mover {
    /// Payload that its target has handled.
    bytes: u64,
    hwid: Hwid,
    sk: ARef<Sock>,
}

/// Something has happened to `dev`, a member of a bond or a bond, or one on top of that: if it
/// is one of the many events after which the bond may send by other members than before, the
/// connections of all members follow. Process context; may sleep.
pub(super) fn follow_all(dev: &NetDevice) {
    if !any_bond() {
        return;
    }
    let guard = ReadGuard::new();
    let bond = dev.bond(&guard).map(DevRef::new);
    drop(guard);
    registry::each_below(bond.as_deref().unwrap_or(dev), |dev, target| {
        // One that has just left its bond is told when the bond does without it.
        let alone = !dev.is_bond_member();
        if choice_changed(dev, target) || alone {
            follow_first(dev, target);
        }
    });
}

/// Looks whether the bond of `dev` may send by other members than it did when this was called
/// last, or some were left then. Process context; may sleep.
pub(super) fn look(dev: &NetDevice, target: &dyn OffloadTarget) {
    if any_bond() && choice_changed(dev, target) | target.device().take_unmoved() {
        follow(dev, target);
    }
}

/// Moves the busiest of the connections of `target`, in `dev`, that leave by another device now:
/// all other events wait meanwhile, among them that of the link's other end, if it is of this
/// host. The worker of the filter scan moves the rest at once. Process context; may sleep.
fn follow_first(dev: &NetDevice, target: &dyn OffloadTarget) {
    let device = target.device();
    let all = match device.try_lock_follow() {
        Some(_first) => follow_some(dev, target, AT_ONCE),
        // The worker is at it, and looks once more.
        None => false,
    };
    if !all {
        device.set_unmoved();
        filter_scan::soon();
    }
}

/// Returns whether the bond of `dev` may send by other members than at the last call. Any
/// context.
fn choice_changed(dev: &NetDevice, target: &dyn OffloadTarget) -> bool {
    let guard = ReadGuard::new();
    let sign = dev.bond(&guard).map_or(0, NetDevice::bond_sign);
    target.device().set_bond_sign(sign) != sign
}

/// What connections leave.
struct Origin<'a> {
    dev: &'a NetDevice,
    target: &'a dyn OffloadTarget,
    /// When what was in flight is probed for, in ms.
    probe_ms: u32,
}

/// Moves the connections of `target`, in `dev`, that leave by another device now. Process
/// context; may sleep.
pub(super) fn follow(dev: &NetDevice, target: &dyn OffloadTarget) {
    // Whoever comes second finds what the first has left.
    let _first = target.device().lock_follow();
    follow_some(dev, target, usize::MAX);
}

/// The same, of no more than the `most` busiest ones. Returns whether these are all.
fn follow_some(dev: &NetDevice, target: &dyn OffloadTarget, most: usize) -> bool {
    let guard = ReadGuard::new();
    let probe_ms = dev.bond(&guard).map_or(0, NetDevice::bond_lag_ms);
    drop(guard);
    let from = Origin {
        dev,
        target,
        probe_ms,
    };
    let mut list: KVVec<Mover> = KVVec::new();
    target.for_each(&mut |hwid, sk| {
        if !is_elsewhere(&sk, dev) {
            return;
        }
        let done = target.counters(hwid);
        let mover = Mover {
            bytes: done.rx_bytes.wrapping_add(done.tx_bytes),
            hwid,
            sk,
        };
        match list.reserve(1, GFP_KERNEL) {
            Ok(()) => drop(list.push_within_capacity(mover)),
            Err(_) => move_one(&from, &mover),
        }
    });
    move_all(
        &mut list,
        most,
        |mover| mover.bytes,
        // Without memory each is moved by itself.
        |chunk| move_some(&from, chunk).unwrap_or(0),
        |mover| move_one(&from, mover),
    )
}

/// Returns whether the connection of `sk`, which lies on a bond and at `dev`, would leave by
/// another device. Any context.
fn is_elsewhere(sk: &Sock, dev: &NetDevice) -> bool {
    let guard = ReadGuard::new();
    let conn = connection::of_now(sk, &guard);
    // It may have moved meanwhile.
    let conn = conn.filter(|conn| conn.dev().is_some_and(|own| ptr::eq(own, dev)));
    let layers = conn.and_then(|conn| conn.layers());
    layers.is_some_and(|layers| layers.leave_elsewhere(sk, dev))
}

/// Returns whether the connection of `sk` lies on a bond. Any context.
pub(super) fn is_bonded(sk: &Sock) -> bool {
    let guard = ReadGuard::new();
    let conn = connection::of_now(sk, &guard);
    let layers = conn.and_then(|conn| conn.layers());
    layers.is_some_and(Layers::is_bonded)
}

/// Moves a connection by itself; if a task owns its socket, the host stack has it when that
/// lets it go.
fn move_one(from: &Origin<'_>, mover: &Mover) {
    let Origin { dev, target, .. } = *from;
    mover.sk.with_lock(
        |sk| {
            if !is_elsewhere(&sk, dev) || !upload::begin(sk, target, mover.hwid) {
                return;
            }
            let mut slot = [None];
            target.terminate(&mut connection_tree(&mut slot, sk, mover.hwid));
            let trigger = release(sk, &mut Departed::new());
            settle(sk, from, mover.hwid, trigger, None);
        },
        |lock| {
            if is_elsewhere(lock.sock(), dev) {
                upload::ask_owner(lock, mover.hwid, UploadReason::Failover);
            }
        },
    );
}

/// The target has terminated the connection: the host stack has it when this returns. Who
/// wanted it, unless it may not be offloaded again.
fn release(sk: LockedSock<'_>, gone: &mut Departed<connection::Delegated>) -> Option<Trigger> {
    let guard = ReadGuard::new();
    let conn = connection::of(sk, &guard)?;
    let (_, trigger) = upload::released(sk, conn, UploadReason::Failover, gone)?;
    Some(trigger)
}

/// A connection that was at `origin` as `hwid` goes where the bond sends its frames. `result`:
/// what came of that, if it was tried.
fn settle(
    sk: LockedSock<'_>,
    origin: &Origin<'_>,
    hwid: Hwid,
    trigger: Option<Trigger>,
    result: Option<Result<Hwid, Refusal>>,
) {
    let from = origin.target;
    let stats = from.device().stats();
    let mut trigger = trigger;
    let result = match (result, &mut trigger) {
        (None, Some(trigger)) => Some(offload(sk, trigger)),
        (result, _) => result,
    };
    let settled = Settled::of(result, || has_link(&sk));
    stats.failed_over(settled.how);
    if settled.how != Failover::Moved {
        upload::count(hwid, from, UploadReason::Failover);
    }
    if let Some(mut trigger) = trigger.filter(|_| settled.again) {
        // The refusal was counted.
        trigger.retry = true;
        candidates::revisit(from.device(), sk.sock(), trigger);
    }
    sk.probe_in(origin.probe_ms);
}

/// Whether a member of its bond carries the frames of `sk`.
fn has_link(sk: &Sock) -> bool {
    let guard = ReadGuard::new();
    let base = sk.base_device(&guard);
    base.is_some_and(|base| !base.is_bond() && base.is_up() && base.has_carrier())
}

/// A connection whose lock is held.
struct Moving {
    hwid: Hwid,
    /// Who wanted it, once it was taken back.
    trigger: Option<Trigger>,
    stage: Stage,
}

/// Moves those of `list` whose locks are free in one operation each of terminating and handing
/// over; those that go to another member than the first are handed over one by one. A bit
/// for each that was begun.
#[inline(never)]
fn move_some(from: &Origin<'_>, list: &[Mover]) -> Result<u64> {
    let target = from.target;
    let batch = Batch::begin();
    let most = list.len();
    // All that sleeps comes before the first lock.
    let mut locks = OwnedLocks::new(&batch, most)?;
    let mut slots = block_slots(most)?;
    let mut eligible = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut results = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut new_slots = tree_slots(most)?;
    let mut handovers = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut begun = 0u64;
    for (index, mover) in list.iter().enumerate() {
        let lock = locks.try_own(&mover.sk);
        // That it is elsewhere was just found out. If it is not any more, it comes back here.
        let begins = |sk: LockedSock<'_>| upload::begin(sk, target, mover.hwid);
        if let Some(lock) = lock.filter(|lock| begins(lock.locked())) {
            begun |= 1 << index;
            let moving = Moving {
                hwid: mover.hwid,
                trigger: None,
                stage: Stage::Alone,
            };
            locks.push(lock, moving);
        }
    }
    let mut tree = Tree::new(&mut slots);
    for (sk, moving) in locks.iter() {
        let _ = tree.name(None, Handle::connection(moving.hwid), Host::Connection(sk));
    }
    target.terminate(&mut tree);
    drop(slots);
    target.device().stats().batch_back(locks.len());
    let mut gone = Departed::new();
    for (sk, moving) in locks.iter_mut() {
        moving.trigger = release(sk, &mut gone);
    }

    let place = choose(locks.iter_mut(), &mut eligible);
    let found = place.as_ref().and_then(Place::destination);
    if let Some(to) = found.filter(|_| !eligible.is_empty()) {
        let chosen = || {
            let all = locks.iter();
            all.filter(|(_, moving)| moving.stage == Stage::Together)
        };
        let triggers = || chosen().filter_map(|(_, moving)| moving.trigger.as_ref());
        for trigger in triggers() {
            let _ = handovers.push_within_capacity(Handover::new(trigger));
        }
        let sockets = chosen().map(|(sk, _)| sk);
        let room = fill_slots(&mut new_slots, &eligible);
        hand_over(to, sockets, &eligible, &mut handovers, Some(room));
        to.stats().batch(eligible.len());
        for (trigger, handover) in triggers().zip(&handovers) {
            count(to.stats(), handover.result, trigger);
            let _ = results.push_within_capacity(handover.result);
        }
    }
    drop((handovers, new_slots));
    let mut results = results.iter();
    for (sk, moving) in locks.iter() {
        let result = match moving.stage {
            Stage::Together => results.next().copied(),
            Stage::Refused(reason) => Some(Err(reason)),
            Stage::Alone => None,
        };
        settle(sk, from, moving.hwid, moving.trigger, result);
    }
    Ok(begun)
}

/// Makes the checks for all that go to the same member as the first: what was found of those
/// that pass is in `eligible`.
fn choose<'a>(
    locks: impl Iterator<Item = (LockedSock<'a>, &'a mut Moving)>,
    eligible: &mut KVVec<Eligible>,
) -> Option<Place> {
    let mut place: Option<Place> = None;
    let mut group = Group::default();
    for (sk, moving) in locks {
        let (Ok(exit), Some(trigger)) = (Exit::find(&sk), &mut moving.trigger) else {
            continue;
        };
        let Ok(to) = exit.destination() else {
            continue;
        };
        if !place.get_or_insert_with(|| Place::of(&to)).is(&to) {
            continue;
        }
        match check(sk, exit.path_dev, to, trigger, &mut group) {
            Ok(one) => {
                let _ = eligible.push_within_capacity(one);
                moving.stage = Stage::Together;
            }
            Err(reason) => {
                count(to.stats(), Err(reason), trigger);
                moving.stage = Stage::Refused(reason);
            }
        }
    }
    place
}
