// SPDX-License-Identifier: GPL-2.0

//! The decision on an offload, and the hand-over: of one connection, or of as many as
//! qualify at the same moment in one operation.
//!
//! A batch owns the locks of all its sockets meanwhile, so that it is one tree with the
//! true state of all of them. Nobody who owns one waits for another
//! ([`Batch`]): a socket that is not to be had at once is
//! handed over alone, as is one that nobody has accepted yet.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::slice::{
    from_mut,
    from_ref, //
};

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    auto,
    connection::{
        self,
        Trigger, //
    },
    intermediate::Layers,
    objects::{
        Book,
        Placed,
        Way, //
    },
    registry::{
        self,
        TargetOf, //
    },
    rules::{
        Decided,
        Outcome, //
    },
    stats::Stats,
    target::{
        Host,
        OffloadTarget,
        OffloadTree,
        Place, //
    },
    upload,
    watch, //
};
use crate::{
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        eligibility::may_change,
        filter::{
            Filter,
            Filters, //
        },
        hwid::Hwid,
        policy::{
            Candidate,
            Limits,
            MAX_BATCH, //
        },
        reason::{
            Refusal,
            UploadReason, //
        },
        rules::{
            Knob,
            Overrides, //
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
        },
        tuple::{
            Family,
            Tuple, //
        },
        vlan::Tags, //
    },
    net::{
        batch::{
            Batch,
            Established, //
        },
        context::BhGuard,
        devref::DevRef,
        memcg::Charge,
        net_device::NetDevice,
        sock::{
            LockedSock,
            Patience,
            Sock,
            UserLock, //
        },
        sync::rcu::ReadGuard,
        tcp::Hop, //
    }, //
};

/// Connections in one operation at most, whatever a device's knob says.
pub(crate) const MOST: u32 = MAX_BATCH;
/// And by default.
pub(crate) const DEFAULT_BATCH: u32 = 64;
/// For fewer the memory for their tree costs more than one operation saves.
const FEW: usize = 4;

/// What was found of a connection that passed all checks of the framework.
struct Eligible {
    /// The device that its route leaves through.
    path_dev: DevRef,
    layers: Option<Arc<Layers>>,
    hop: Hop,
    /// The neighbour of `hop`, if the target has it.
    known: Option<Hwid>,
    tuple: Tuple,
    overrides: Overrides,
}

impl Eligible {
    fn way(&self) -> Way<'_> {
        Way {
            dev: &self.path_dev,
            layers: self.layers.as_ref(),
            hop: &self.hop,
            tuple: &self.tuple,
            known: self.known,
        }
    }
}

/// What becomes of it.
struct Handed<'a> {
    /// Who wanted it.
    trigger: &'a Trigger,
    path: Option<(Hwid, BlockId)>,
    layers: Option<Arc<Layers>>,
    /// What the target was told.
    cached: ConnCached,
    result: Result<Hwid, Refusal>,
}

impl<'a> Handed<'a> {
    fn new(trigger: &'a Trigger) -> Self {
        Handed {
            trigger,
            path: None,
            layers: None,
            cached: ConnCached::default(),
            result: Err(Refusal::NoMemory),
        }
    }
}

/// A target, and where it is.
#[derive(Clone, Copy)]
struct To<'a> {
    dev: &'a NetDevice,
    target: &'a dyn OffloadTarget,
    target_of: TargetOf,
}

impl<'a> To<'a> {
    fn stats(&self) -> &'a Stats {
        self.target.device().stats()
    }

    /// By the route of `sk`, with the device that it leaves through.
    fn find<'s>(sk: &'s LockedSock<'_>) -> Result<(&'s NetDevice, To<'s>), Refusal> {
        if !sk.is_connected() {
            return Err(Refusal::NotEstablished);
        }
        let (path_dev, xfrm) = sk.valid_route().ok_or(Refusal::NoRoute)?;
        let dev = Layers::below(path_dev);
        let (target, target_of) = registry::target_of(dev).ok_or(Refusal::NotToeDevice)?;
        let to = To {
            dev,
            target,
            target_of,
        };
        if xfrm && !target.device().bypassed().has(Filter::Xfrm) {
            return Err(Refusal::Xfrm);
        }
        Ok((path_dev, to))
    }
}

/// `local` is this host's end.
pub(super) fn tuple_of(sk: LockedSock<'_>, layers: Option<&Layers>) -> Tuple {
    let (local, remote, lport, rport) = sk.tuple();
    Tuple {
        family: if sk.is_v6() { Family::V6 } else { Family::V4 },
        local,
        remote,
        lport,
        rport,
        vlan: layers.map_or(Tags::NONE, Layers::tags),
    }
}

/// Checks that everything is up on the way to `target` in `dev`.
fn check_links(
    dev: &NetDevice,
    layers: Option<&Layers>,
    target: &dyn OffloadTarget,
) -> Result<(), Refusal> {
    target.device().check_open()?;
    let down = |dev: &NetDevice| !dev.is_up() || !dev.has_carrier() || dev.is_going();
    match connection::way(dev, layers).any(down) {
        true => Err(Refusal::DeviceDown),
        false => Ok(()),
    }
}

/// What would become of the connection of `sk` if it were to be offloaded now. Any
/// context under the socket lock.
pub(super) fn would_offload(sk: LockedSock<'_>, trigger: &Trigger) -> Outcome {
    let mut trigger = Trigger {
        counts: false,
        ..*trigger
    };
    let result = To::find(&sk)
        .and_then(|(path_dev, to)| check(sk, path_dev, to, &mut trigger, (&mut None, 0)))
        .err();
    Outcome {
        result,
        rule: match trigger.decided {
            Decided::By(rule) => rule,
            Decided::Nobody => None,
        },
    }
}

/// Hands the connection of `sk` over. A refusal leaves it as it is and is
/// counted. Any context under the socket lock.
///
/// `trigger` keeps what the rules said.
pub(crate) fn offload(sk: LockedSock<'_>, trigger: &mut Trigger) -> Result<Hwid, Refusal> {
    let (path_dev, to) = To::find(&sk).inspect_err(|reason| count_early(sk, *reason))?;
    // What was found stays where it is: it has hundreds of bytes.
    let result = match &check(sk, path_dev, to, trigger, (&mut None, 0)) {
        Ok(found) => {
            let mut handed = Handed::new(trigger);
            let locks = from_ref(&sk).iter().copied();
            hand_over(to, locks, from_ref(found), from_mut(&mut handed), None);
            handed.result
        }
        Err(reason) => Err(*reason),
    };
    count(to.stats(), result, trigger);
    result
}

/// Counts what a decision came to: of a candidate the first refusal, and the last one, after
/// which nobody looks again.
fn count(stats: &Stats, result: Result<Hwid, Refusal>, trigger: &Trigger) {
    match result {
        Ok(_) => stats.offloaded(),
        Err(reason) if trigger.retry && may_change(reason) => {}
        Err(reason) => stats.refused(reason),
    }
}

/// A refusal before the target was found: what is said about the route's device.
fn count_early(sk: LockedSock<'_>, reason: Refusal) {
    let dev = sk.route().map(|(dev, _)| Layers::below(dev));
    if let Some((target, _)) = dev.and_then(registry::target_of) {
        target.device().stats().refused(reason);
    }
}

/// What connections have in common that leave through the same device: found once for
/// all that are decided on together.
struct Common {
    path_dev: DevRef,
    v6: bool,
    layers: Option<Arc<Layers>>,
    limits: Limits,
    /// Whether everything is up, and what would not see frames: found when it is asked
    /// for, for most that are looked at come no further than to their limits.
    links: Option<Result<(), Refusal>>,
    filters: Option<Filters>,
}

impl Common {
    /// For a connection that leaves through `path_dev`, or what was found for another.
    fn of<'c>(
        found: &'c mut Option<Self>,
        sk: LockedSock<'_>,
        path_dev: &NetDevice,
        to: To<'_>,
    ) -> Result<&'c mut Self, Refusal> {
        let v6 = sk.is_v6();
        let same = |c: &Self| core::ptr::eq(&*c.path_dev, path_dev) && c.v6 == v6;
        if !found.as_ref().is_some_and(same) {
            *found = Some(Common {
                path_dev: DevRef::new(path_dev),
                v6,
                layers: Layers::find(path_dev)?,
                limits: to.target.device().limits(),
                links: None,
                filters: None,
            });
        }
        found.as_mut().ok_or(Refusal::NoMemory)
    }

    fn check_way(&mut self, sk: LockedSock<'_>, to: To<'_>) -> Result<(), Refusal> {
        let layers = self.layers.as_deref();
        (*self
            .links
            .get_or_insert_with(|| check_links(to.dev, layers, to.target)))?;
        let filters = *self.filters.get_or_insert_with(|| {
            let devices = connection::way(to.dev, layers);
            devices.fold(Filters::NONE, |all, dev| all.union(sk.way_filters(dev)))
        });
        let bypassed = to.target.device().bypassed();
        match filters.union(sk.own_filters()).without(bypassed).first() {
            Some(filter) => Err(filter.refusal()),
            None => Ok(()),
        }
    }
}

/// All that the framework checks. What the target then gets, and limits of the
/// connection's own. `path_dev` is the device that the route leaves through; `before` how
/// many will be handed over with it.
fn check(
    sk: LockedSock<'_>,
    path_dev: &NetDevice,
    to: To<'_>,
    trigger: &mut Trigger,
    (common, before): (&mut Option<Common>, usize),
) -> Result<Eligible, Refusal> {
    let guard = ReadGuard::new();
    if connection::of(sk, &guard).is_some() {
        return Err(Refusal::Already);
    }
    drop(guard);
    let common = Common::of(common, sk, path_dev, to)?;
    let tuple = tuple_of(sk, common.layers.as_deref());
    let device = to.target.device();
    let mut limits = &common.limits;
    limits.permit(trigger.explicit)?;
    let mut decided = Decided::Nobody;
    let rule = device
        .rules()
        .decide((sk, path_dev, &tuple), trigger, &mut decided);
    trigger.decided = decided;
    let rule = rule?;
    let mut own;
    if let Some(rule) = &rule {
        own = *limits;
        rule.apply(&mut own);
        limits = &own;
    }
    let now_ms = trigger.now_ms();
    limits.decide(&Candidate {
        tuple,
        explicit: trigger.explicit,
        bytes: sk.bytes_moved(),
        segments: sk.data_segments(),
        age_ms: trigger.age_ms(now_ms),
        device_conns: to.target.connections().saturating_add(before as u32),
        now_ms,
        backoff: trigger.backoff,
    })?;
    sk.eligibility().check()?;
    common.check_way(sk, to)?;
    let hop = sk.hop();
    let known = device.objects().knows(path_dev, &hop);
    if known.is_none() {
        // Asks for it, too.
        sk.neighbour(false).map_err(|_| Refusal::Neighbour)?;
    }
    Ok(Eligible {
        path_dev: common.path_dev.clone(),
        layers: common.layers.clone(),
        hop,
        known,
        tuple,
        overrides: rule.map_or(Overrides::NONE, |rule| rule.overrides),
    })
}

/// Hands the connections of all `locks` over in one operation; `found` is what was found of
/// each, and what becomes of it is in `handed`. `places` is room for their tree, which
/// there is for one. Any context.
fn hand_over<'a>(
    to: To<'_>,
    locks: impl Iterator<Item = LockedSock<'a>> + Clone,
    found: &'a [Eligible],
    handed: &mut [Handed<'_>],
    places: Option<&mut [Place<'a>]>,
) {
    let mut book = to.target.device().objects().open();
    match places {
        Some(places) => initiate(to, &mut book, locks.clone(), found, handed, places),
        None => {
            let locks = locks.clone();
            book.with_few(|book, places| initiate(to, book, locks, found, handed, places));
        }
    }
    drop(book);
    // What goes from here on finds the connections at the target, and a filter that came
    // since the check is found by the first frame, or by the watch.
    let up = watch::add(to.dev, to.target).and_then(|()| check_links(to.dev, None, to.target));
    for ((sk, found), handed) in locks.zip(found).zip(handed) {
        if let (Ok(hwid), Some((path, _))) = (handed.result, handed.path) {
            let finished = up.and_then(|()| finish(to, sk, found, handed, (hwid, path)));
            if let Err(reason) = finished {
                connection::give_back(sk, to.target, hwid, path);
                handed.result = Err(reason);
            }
        }
    }
}

/// The operation itself, with the book open: what becomes of each is in `handed`.
fn initiate<'a>(
    to: To<'_>,
    book: &mut Book<'_>,
    locks: impl Iterator<Item = LockedSock<'a>> + Clone,
    found: &'a [Eligible],
    handed: &mut [Handed<'_>],
    places: &mut [Place<'a>],
) {
    let mut tree = Tree::new(places);
    // Connections that follow each other often have the same path.
    let mut last: Option<(&Eligible, Placed)> = None;
    let first = locks.clone().next();
    for ((sk, found), handed) in locks.zip(found).zip(&mut *handed) {
        let placed = match last.take() {
            Some((last, placed)) if last.way() == found.way() => Ok(placed),
            _ => book.place(to.target, &mut tree, &found.way(), &sk),
        };
        let added = placed.and_then(|placed| {
            let cached = &mut handed.cached;
            let block = add_connection(&mut tree, placed.block, sk, found, cached)?;
            handed.path = Some((placed.path, block));
            handed.layers = placed.layers.clone();
            last = Some((found, placed));
            Ok(())
        });
        if let Err(reason) = added {
            handed.result = Err(reason);
        }
    }
    {
        // What connections have in common is the first one's.
        let first = first.as_ref().filter(|_| book.has_news());
        let _charge = first.map(|first| Charge::to(first));
        to.target.initiate(&mut tree);
    }
    book.made(&tree);
    for handed in handed {
        let Some((path, block)) = handed.path else {
            continue;
        };
        handed.result = match tree.get(block).map(|b| (b.status(), b.handle)) {
            Some((Status::Done, Some(handle))) => {
                book.depend(path);
                Ok(handle.id)
            }
            Some((Status::Refused(reason), _)) => Err(reason),
            _ => Err(Refusal::NoMemory),
        };
    }
    book.sweep(to.target, &tree);
}

/// Puts a connection into the tree, on its path. What the target is told is in `cached`.
/// Not inlined, for its state is on the stack.
#[inline(never)]
fn add_connection<'a>(
    tree: &mut OffloadTree<'_, 'a>,
    path: BlockId,
    sk: LockedSock<'a>,
    found: &Eligible,
    cached: &mut ConnCached,
) -> Result<BlockId, Refusal> {
    let mut data = ConnData::default();
    sk.load_all(&mut data);
    *cached = data.cached;
    let tuple = found.tuple;
    let object = Object::Connection(state::Connection { tuple, data });
    tree.add(Some(path), object, None, Host::Connection(sk))
        .map_err(|_| Refusal::NoMemory)
}

/// The target has the connection; from here on the socket's methods know.
#[inline(never)]
fn finish(
    to: To<'_>,
    sk: LockedSock<'_>,
    found: &Eligible,
    handed: &mut Handed<'_>,
    (hwid, path): (Hwid, Hwid),
) -> Result<(), Refusal> {
    let layers = handed.layers.take();
    if layers.as_deref().is_some_and(|layers| !layers.intact()) {
        return Err(Refusal::DeviceDown);
    }
    let bh = BhGuard::new();
    let delegation = connection::Delegation {
        hwid,
        path,
        dev: to.dev,
        target_of: to.target_of,
        layers,
        tether: to.target.tether(hwid, &bh),
        cached: &handed.cached,
        trigger: *handed.trigger,
        overrides: &found.overrides,
    };
    connection::install(sk, delegation, &bh)?;
    if to.target.device().check_open().is_err() {
        // The device leaves, and its connections may have been taken back before this one.
        upload::upload(sk, UploadReason::DeviceGone);
    }
    // Unsent data waits for what plain TCP would wait for, too.
    Ok(())
}

/// What came of it, and whether the connection is still open.
type Decision = (Result<Hwid, Refusal>, bool);

/// A connection to be offloaded, and what came of it.
pub(super) struct Wanted {
    pub(super) sk: ARef<Sock>,
    pub(super) trigger: Trigger,
    /// How often it was looked at and found not to be ready.
    pub(super) looks: u32,
    pub(super) decided: Option<Decision>,
}

impl AsMut<Wanted> for Wanted {
    fn as_mut(&mut self) -> &mut Wanted {
        self
    }
}

impl Wanted {
    pub(super) fn new(sk: ARef<Sock>, trigger: Trigger) -> Self {
        Wanted {
            sk,
            trigger,
            looks: 0,
            decided: None,
        }
    }

    /// Looks without the lock, which most that come here are too young for: `false` if
    /// the connection is not to be decided on now, which is noted.
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

    /// Who owns the socket may do so for long, or, sending all the time, own it whenever
    /// anybody looks.
    fn alone(&mut self, patience: &mut Patience) {
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
pub(super) fn offload_all<W: AsMut<Wanted>>(list: &mut [W], patience: &mut Patience) {
    let mut from = 0;
    while let Some(rest) = list.get_mut(from..) {
        let many = rest.len() >= FEW;
        match rest.first_mut().map(AsMut::as_mut) {
            None => return,
            Some(first) if first.decided.is_some() => from += 1,
            Some(_) if many => offload_some(rest, patience),
            Some(first) => first.alone(patience),
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
    let mut list: KVVec<Wanted> = KVVec::with_capacity(most, GFP_KERNEL)?;
    loop {
        let here = |sk: &ARef<Sock>| {
            let guard = ReadGuard::new();
            // One without a route gets one when it is decided on.
            sk.base_device(&guard)
                .is_none_or(|base| core::ptr::eq(base, dev))
        };
        for sk in sockets.by_ref().filter(here).take(most) {
            let _ = list.push_within_capacity(Wanted::new(sk, Trigger::new(false)));
        }
        if list.is_empty() {
            return Ok(());
        }
        offload_all(&mut list, &mut Patience::ms(0));
        // Those that may be offloaded later are the policy's from here on.
        let device = target.device();
        list.drain_all()
            .for_each(|wanted| auto::again(device, wanted));
    }
}

/// Decides on the first of `list`, and on those that can be in the same operation.
fn offload_some<W: AsMut<Wanted>>(list: &mut [W], patience: &mut Patience) {
    // Without memory the first one is decided on, as it is if its lock is somebody's.
    let _ = try_batch(list);
    let first = list.first_mut().map(AsMut::as_mut);
    if let Some(first) = first.filter(|first| first.decided.is_none()) {
        first.alone(patience);
    }
}

/// One that is handed over with others, and whom to tell.
struct Locked<'a> {
    lock: UserLock<'a>,
    trigger: &'a Trigger,
    decided: &'a mut Option<Decision>,
}

/// One operation for the first of `list` whose lock is free, and those that go to the same
/// target.
// Not inlined, as `offload_all()`: their callers have much on the stack.
#[inline(never)]
fn try_batch<W: AsMut<Wanted>>(list: &mut [W]) -> Result {
    let batch = Batch::begin();
    let most = list.len().min(MOST as usize);
    // All that sleeps comes before the first lock: memory may become free only when what these
    // sockets carry has been written.
    let mut handed = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut locked: KVVec<Locked<'_>> = KVVec::with_capacity(most, GFP_KERNEL)?;
    let mut eligible: KVVec<Eligible> = KVVec::with_capacity(most, GFP_KERNEL)?;
    // A path and a neighbour for each at most, and the layers of all.
    let mut places = KVVec::with_capacity(3 * most + ONE_CONNECTION, GFP_KERNEL)?;
    let mut at: Option<(DevRef, TargetOf, usize)> = None;
    let mut common = None;
    let mut looked = 0;
    for wanted in list.iter_mut().map(AsMut::as_mut) {
        let room = at.as_ref().map_or(most, |(_, _, room)| *room);
        if eligible.len() >= room || looked >= most {
            break;
        }
        let first = locked.first().map(|first| first.lock.sock());
        let other_class = first.is_some_and(|first| !first.same_class(&wanted.sk));
        if wanted.decided.is_some() || other_class {
            continue;
        }
        let Wanted {
            sk,
            trigger,
            decided,
            ..
        } = wanted;
        let Some(lock) = batch.try_own(sk) else {
            continue;
        };
        let sk = lock.locked();
        let found = To::find(&sk);
        let checked = match &found {
            Ok((path_dev, to)) => {
                let (dev, ..) = at.get_or_insert_with(|| {
                    let room = to.target.device().batch() as usize;
                    (DevRef::new(to.dev), to.target_of, room.min(most))
                });
                if !core::ptr::eq(&**dev, to.dev) {
                    continue;
                }
                if to.target.device().batch() == 1 {
                    return Ok(());
                }
                let with = (&mut common, eligible.len());
                check(sk, path_dev, *to, trigger, with)
            }
            Err(reason) => {
                count_early(sk, *reason);
                Err(*reason)
            }
        };
        looked += 1;
        match checked {
            Ok(one) => {
                // A rule may want fewer: with this one there are enough.
                if let (Some(own), Some((.., room))) = (one.overrides.get(Knob::Batch), &mut at) {
                    *room = (*room).min((own as usize).max(eligible.len() + 1));
                }
                let _ = eligible.push_within_capacity(one);
                let _ = locked.push_within_capacity(Locked {
                    lock,
                    trigger,
                    decided,
                });
            }
            Err(reason) => {
                if let Ok((_, to)) = found {
                    count(to.stats(), Err(reason), trigger);
                }
                *decided = Some((Err(reason), sk.is_open()));
            }
        }
    }
    let Some((dev, target_of, _)) = at.filter(|_| !eligible.is_empty()) else {
        return Ok(());
    };
    let Some(target) = target_of(&dev) else {
        return Ok(());
    };
    let to = To {
        dev: &dev,
        target,
        target_of,
    };
    for one in &locked {
        let _ = handed.push_within_capacity(Handed::new(one.trigger));
    }
    for _ in 0..blocks(&eligible) {
        let _ = places.push_within_capacity(None);
    }
    let locks = locked.iter().map(|one| one.lock.locked());
    hand_over(to, locks, &eligible, &mut handed, Some(&mut places));
    drop(places);
    to.stats().batch(eligible.len());
    for (handed, one) in handed.iter().zip(&mut locked) {
        count(to.stats(), handed.result, one.trigger);
        *one.decided = Some((handed.result, one.lock.locked().is_open()));
    }
    Ok(())
}

/// Blocks of a tree of all of `eligible` at most: for those that have the path of the one
/// before there is one each.
fn blocks(eligible: &[Eligible]) -> usize {
    let others = |pair: &&[Eligible]| matches!(pair, [a, b] if a.way() != b.way());
    let ways = 1 + eligible.windows(2).filter(others).count();
    eligible.len() + ways * (ONE_CONNECTION - 1)
}
