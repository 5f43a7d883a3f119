// SPDX-License-Identifier: GPL-2.0

//! The hand-over: of one connection, or of as many as qualify at the same moment in one
//! operation.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::slice::{
    from_mut,
    from_ref, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    connection,
    decision::{
        check,
        check_links,
        count,
        count_early,
        Destination,
        Eligible,
        Exit,
        Group, //
    },
    filter_scan,
    intermediate::Layers,
    objects::{
        PathBlock,
        Transaction, //
    },
    target::{
        BlockSlot,
        Host,
        OffloadTarget,
        OffloadTree, //
    },
    trigger::Trigger,
    upload, //
};
use crate::{
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        hwid::Hwid,
        reason::{
            Refusal,
            UploadReason, //
        },
        tree::{
            state::{
                self,
                Object, //
            },
            BlockId,
            Status,
            Tree,
            ONE_CONNECTION, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        memcg::Charge,
        sock::LockedSock, //
    }, //
};

/// A connection that is handed over, and what becomes of it.
pub(super) struct Handover<'a> {
    /// Who wanted it.
    trigger: &'a Trigger,
    path: Option<(Hwid, BlockId)>,
    layers: Option<Arc<Layers>>,
    /// The cached state as the target has it.
    cached: ConnCached,
    pub(super) result: Result<Hwid, Refusal>,
}

impl<'a> Handover<'a> {
    pub(super) fn new(trigger: &'a Trigger) -> Self {
        Handover {
            trigger,
            path: None,
            layers: None,
            cached: ConnCached::default(),
            result: Err(Refusal::NoMemory),
        }
    }
}

/// Hands the connection of `sk` over. A refusal leaves it as it is and is
/// counted. Any context under the socket lock.
///
/// `trigger` keeps what the rules said.
pub(crate) fn offload(sk: LockedSock<'_>, trigger: &mut Trigger) -> Result<Hwid, Refusal> {
    let early = |reason: &Refusal| count_early(sk, *reason, trigger);
    let exit = Exit::find(&sk).inspect_err(early)?;
    let to = exit.destination().inspect_err(early)?;
    // What was found stays where it is: it has hundreds of bytes.
    let result = match &check(sk, exit.path_dev, to, trigger, &mut Group::default()) {
        Ok(found) => {
            let mut handover = Handover::new(trigger);
            let locks = from_ref(&sk).iter().copied();
            hand_over(to, locks, from_ref(found), from_mut(&mut handover), None);
            handover.result
        }
        Err(reason) => Err(*reason),
    };
    count(to.stats(), result, trigger);
    result
}

/// Room for a tree of `most` connections, still empty: a path and a neighbour for each at most,
/// and the layers of all. Process context; may sleep.
pub(super) fn tree_slots<'a>(most: usize) -> Result<KVVec<BlockSlot<'a>>> {
    Ok(KVVec::with_capacity(3 * most + ONE_CONNECTION, GFP_KERNEL)?)
}

/// As much of that as a tree of all of `found` has blocks at most: for those that have the path
/// of the one before there is one each.
pub(super) fn fill_slots<'s, 'a>(
    slots: &'s mut KVVec<BlockSlot<'a>>,
    found: &[Eligible],
) -> &'s mut [BlockSlot<'a>] {
    let others = |pair: &&[Eligible]| matches!(pair, [a, b] if a.path_key() != b.path_key());
    let paths = 1 + found.windows(2).filter(others).count();
    for _ in 0..found.len() + paths * (ONE_CONNECTION - 1) {
        let _ = slots.push_within_capacity(None);
    }
    slots
}

/// Hands the connections of all `locks` over in one operation; `found` is what was found of
/// each, and what becomes of it is in `handovers`. `slots` is room for their tree, which
/// there is for one. Any context.
pub(super) fn hand_over<'a>(
    to: Destination<'_>,
    locks: impl Iterator<Item = LockedSock<'a>> + Clone,
    found: &'a [Eligible],
    handovers: &mut [Handover<'_>],
    slots: Option<&mut [BlockSlot<'a>]>,
) {
    // A single hand-over has one section with bottom halves off, several have one for each.
    let bh = BhGuard::new();
    let mut objects = to.target.device().objects().lock_within(&bh);
    match slots {
        Some(slots) => initiate(
            to,
            &mut objects,
            locks.clone(),
            found,
            handovers,
            slots,
            &bh,
        ),
        None => {
            let locks = locks.clone();
            objects.with_spare(|objects, slots| {
                initiate(to, objects, locks, found, handovers, slots, &bh);
            });
        }
    }
    drop(objects);
    // What goes from here on finds the connections at the target, and a filter that came
    // since the check is found by the first frame, or by the scan.
    let up =
        filter_scan::add(to.dev, to.target).and_then(|()| check_links(to.dev, None, to.target));
    let mut section = Some(bh);
    for ((sk, found), handover) in locks.zip(found).zip(handovers) {
        if let (Ok(hwid), Some((path, _))) = (handover.result, handover.path) {
            let bh = section.take().unwrap_or_else(BhGuard::new);
            let finished = up.and_then(|()| finish(to, sk, found, handover, hwid, path, &bh));
            if let Err(reason) = finished {
                give_back(sk, to.target, hwid, path);
                handover.result = Err(reason);
            }
        }
    }
}

/// The operation itself, as part of a transaction: what becomes of each is in `handovers`.
fn initiate<'a>(
    to: Destination<'_>,
    objects: &mut Transaction<'_>,
    locks: impl Iterator<Item = LockedSock<'a>> + Clone,
    found: &'a [Eligible],
    handovers: &mut [Handover<'_>],
    slots: &mut [BlockSlot<'a>],
    bh: &Bh,
) {
    let mut tree = Tree::new(slots);
    // Connections that follow each other often have the same path.
    let mut last: Option<(&Eligible, PathBlock)> = None;
    let first = locks.clone().next();
    for ((sk, found), handover) in locks.zip(found).zip(&mut *handovers) {
        let on = match last.take() {
            Some((last, on)) if last.path_key() == found.path_key() => Ok(on),
            _ => objects.add_path(to.target, &mut tree, &found.path_key(), &sk),
        };
        let added = on.and_then(|on| {
            let cached = &mut handover.cached;
            let block = add_connection(&mut tree, on.block, sk, found, cached)?;
            handover.path = Some((on.path, block));
            handover.layers = on.layers.clone();
            last = Some((found, on));
            Ok(())
        });
        if let Err(reason) = added {
            handover.result = Err(reason);
        }
    }
    {
        // What connections have in common is the first one's.
        let first = first.as_ref().filter(|_| objects.has_news());
        let _charge = first.map(|first| Charge::to(first));
        to.target.initiate(&mut tree, bh);
    }
    objects.made(&tree);
    for handover in handovers {
        let Some((path, block)) = handover.path else {
            continue;
        };
        handover.result = match tree.get(block).map(|b| (b.status(), b.handle)) {
            Some((Status::Done, Some(handle))) => {
                objects.depend(path);
                Ok(handle.id)
            }
            Some((Status::Refused(reason), _)) => Err(reason),
            _ => Err(Refusal::NoMemory),
        };
    }
    objects.sweep(to.target, &tree);
}

/// Puts a connection into the tree, on its path. `cached` becomes its cached state, as the
/// target then has it. Not inlined, for its state is on the stack.
#[inline(never)]
fn add_connection<'a>(
    tree: &mut OffloadTree<'_, 'a>,
    path: BlockId,
    sk: LockedSock<'a>,
    found: &Eligible,
    cached: &mut ConnCached,
) -> Result<BlockId, Refusal> {
    let object = Object::Connection(state::Connection {
        tuple: found.tuple,
        data: ConnData::default(),
    });
    let id = tree.add(Some(path), object, None, Host::Connection(sk));
    let id = id.map_err(|_| Refusal::NoMemory)?;
    // Where it stays, for it has more than a hundred bytes.
    if let Some(Object::Connection(c)) = tree.get_mut(id).map(|block| &mut block.object) {
        sk.load_all(&mut c.data);
        c.data.cached.max_payload = found.max_payload;
        *cached = c.data.cached;
    }
    Ok(id)
}

/// The target has the connection; from here on the socket's methods know.
#[inline(never)]
fn finish(
    to: Destination<'_>,
    sk: LockedSock<'_>,
    found: &Eligible,
    handover: &mut Handover<'_>,
    hwid: Hwid,
    path: Hwid,
    bh: &Bh,
) -> Result<(), Refusal> {
    let layers = handover.layers.take();
    if layers.as_deref().is_some_and(|layers| {
        // Whoever looks from here on finds the connection.
        !layers.intact() || layers.leave_elsewhere(&sk, to.dev)
    }) {
        return Err(Refusal::DeviceDown);
    }
    let delegation = connection::Delegation {
        hwid,
        path,
        dev: to.dev,
        target_of: to.target_of,
        layers,
        tether: to.target.tether(hwid, bh),
        cached: &handover.cached,
        trigger: handover.trigger,
        overrides: found.overrides.as_ref(),
    };
    connection::install(sk, delegation, bh)?;
    if to.target.device().check_open().is_err() {
        // The device leaves, and its connections may have been taken back before this one.
        upload::upload(sk, UploadReason::DeviceGone);
    }
    // Unsent data waits for what plain TCP would wait for, too.
    Ok(())
}

/// The target gives the connection up, and with it the objects below that nothing else
/// depends on. Any context under the socket lock.
fn give_back(sk: LockedSock<'_>, target: &dyn OffloadTarget, hwid: Hwid, path: Hwid) {
    let mut slot = [None];
    target.terminate(&mut connection::connection_tree(&mut slot, sk, hwid));
    target.device().objects().lock().release(target, path);
}
