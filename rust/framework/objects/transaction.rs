// SPDX-License-Identifier: GPL-2.0

//! A transaction on the objects of a device, under their lock: what becomes part of a tree,
//! what depends on what, and what goes.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    handle_tree,
    object_tree,
    push_neighbour,
    LayerRecord,
    NeighbourRecord,
    ObjectRecord,
    ObjectTable,
    PathRecord,
    State, //
};
use crate::{
    framework::{
        intermediate::Layers,
        target::{
            BlockSlot,
            Host,
            OffloadTarget,
            OffloadTree,
            Parts, //
        }, //
    },
    logic::{
        hwid::Hwid,
        objects::{
            self,
            Key,
            RefState, //
        },
        reason::{
            Refusal,
            Update, //
        },
        tree::{
            state::{
                Handle,
                Level,
                NeighbourConst,
                NeighbourWord,
                PathConst, //
            },
            BlockId,
            ONE_CONNECTION, //
        },
        tuple::Tuple, //
    },
    net::{
        devref::DevRef,
        memcg::{
            self,
            Charge, //
        },
        net_device::NetDevice,
        sock::Sock,
        sync::{
            rcu::ReadGuard,
            spin_lock_bh::SpinLockBhGuard, //
        },
        table::{
            Full,
            Links,
            Table, //
        },
        tcp::Hop,
        time, //
    }, //
};

/// How long a path is kept after its last connection, in ms: the next connection is often
/// near, and making the objects costs more than offloading it.
const IDLE_MS: u64 = 1000;

/// By what the path of a connection's frames is found, or made.
pub(in crate::framework) struct PathKey<'a> {
    /// The device that its route leaves through.
    pub(in crate::framework) dev: &'a NetDevice,
    /// The layers between that and the target's device.
    pub(in crate::framework) layers: Option<&'a Arc<Layers>>,
    pub(in crate::framework) hop: &'a Hop,
    pub(in crate::framework) tuple: &'a Tuple,
    /// What [`ObjectTable::knows`] says of its neighbour.
    pub(in crate::framework) known: Option<Hwid>,
}

impl PartialEq for PathKey<'_> {
    /// Returns whether the path is the same.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.dev, other.dev)
            && self.hop == other.hop
            && (self.tuple.family, self.tuple.remote) == (other.tuple.family, other.tuple.remote)
            && self.tuple.local == other.tuple.local
    }
}

/// A path, and its block in a tree.
#[derive(Clone)]
pub(in crate::framework) struct PathBlock {
    pub(in crate::framework) path: Hwid,
    pub(in crate::framework) block: BlockId,
    /// The layers as the target has them.
    pub(in crate::framework) layers: Option<Arc<Layers>>,
}

/// Makes a record.
// Not inlined: it is on the stack before it is where it stays.
#[inline(never)]
fn insert<T: ObjectRecord>(
    table: &Table<T>,
    hash: u32,
    make: impl FnOnce(Links<T>) -> T,
) -> Result<Hwid, Refusal> {
    let record = |id| Ok(Box::new(make(Links::new(hash, id)), memcg::atomic())?);
    let inserted = table.inserter().insert(hash, |_| false, record);
    inserted.map_err(|full| match full {
        Full::Memory => Refusal::NoMemory,
        Full::Table | Full::Duplicate => Refusal::TableFull,
    })
}

impl PathKey<'_> {
    fn neighbour(&self) -> NeighbourConst {
        NeighbourConst {
            device: self.dev.ifindex() as u32,
            source: self.dev.address_now(),
            family: self.hop.family,
            hop: self.hop.addr,
        }
    }
}

/// A transaction: the table's lock, held.
pub(in crate::framework) struct Transaction<'o> {
    pub(super) objects: &'o ObjectTable,
    /// Something in the tree is to be made.
    pub(super) news: bool,
    pub(super) state: SpinLockBhGuard<'o, State>,
}

impl Transaction<'_> {
    /// Runs `f` with room for the tree of one connection; `None` within another such call.
    #[inline]
    pub(in crate::framework) fn with_spare<'a, R>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut [BlockSlot<'a>]) -> R,
    ) -> Option<R> {
        let mut spare = self.state.spare.take()?;
        let result = f(self, &mut *spare.lend::<_, ONE_CONNECTION>());
        self.state.spare = Some(spare);
        Some(result)
    }

    /// Puts the path of `key` into a tree, with what it lies on, unless the target has
    /// them or they are there already. What is made is charged to the cgroup of `sk`.
    // Not inlined, as what makes objects: each of them has its state on the stack.
    #[inline(never)]
    pub(in crate::framework) fn add_path<'a>(
        &mut self,
        target: &dyn OffloadTarget,
        tree: &mut OffloadTree<'_, 'a>,
        key: &PathKey<'a>,
        sk: &Sock,
    ) -> Result<PathBlock, Refusal> {
        let guard = self.state.rcu();
        let objects = self.objects;
        let state = PathConst::new(key.tuple, key.hop.mark);
        let wanted = key.neighbour();
        let known = match key.known.and_then(|id| objects.neighbours.get(&guard, id)) {
            Some(neighbour) => Some(neighbour),
            // It may have come since.
            None => objects.find_neighbour(&guard, key.dev, wanted.family, wanted.hop),
        };
        let Some(neighbour) = known else {
            self.news = true;
            let _charge = Charge::to(sk);
            let id = self.new_neighbour(tree, key, wanted)?;
            let neighbour = objects.neighbours.get(&guard, id);
            let neighbour = neighbour.ok_or(Refusal::NoMemory)?;
            return self.new_path(tree, &neighbour, state, key.hop.mtu);
        };
        if neighbour.state.source != wanted.source {
            // Its connections are being uploaded; then it is made anew.
            return Err(Refusal::DeviceDown);
        }
        if neighbour.pushed() == NeighbourWord::INVALID {
            let now = key.dev.neighbour(wanted.family, wanted.hop);
            let cached = now.map_err(|_| Refusal::Neighbour)?;
            push_neighbour(target, &neighbour, NeighbourWord::new(cached));
        }
        let on = neighbour.links.id();
        let same = |path: &PathRecord| path.state == state && path.on == on;
        let hash = || state.hash(on);
        let path = objects
            .paths
            .find_again(&guard, &objects.last_path, same, hash);
        let Some(path) = path else {
            self.news = true;
            let _charge = Charge::to(sk);
            return self.new_path(tree, &neighbour, state, key.hop.mtu);
        };
        let block = self.block_of(tree, None, &path.refs, Level::Path)?;
        if path.pushed.load(Relaxed) != key.hop.mtu {
            push_mtu(target, &path, key.hop.mtu);
        }
        Ok(PathBlock {
            path: path.links.id(),
            block,
            layers: neighbour.layers.clone(),
        })
    }

    /// The block of an object that the target has: the one that is in the tree already, or a
    /// new one on the one below it.
    #[inline(always)]
    fn block_of(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        on: Option<BlockId>,
        refs: &RefState,
        level: Level,
    ) -> Result<BlockId, Refusal> {
        if let Some(block) = refs.block(self.state.tree) {
            return Ok(block);
        }
        let handle = refs.handle(level).ok_or(Refusal::NoMemory)?;
        let block = tree.name(on, handle, Host::Handle);
        let block = block.map_err(|_| Refusal::NoMemory)?;
        refs.set_block(self.state.tree, block);
        Ok(block)
    }

    /// Puts an object that is to be made into the tree, on the one below it. Its record goes
    /// again if there is no room.
    #[inline(always)]
    fn add_new<'a, T: ObjectRecord>(
        &self,
        tree: &mut OffloadTree<'_, 'a>,
        on: Option<BlockId>,
        table: &Table<T>,
        id: Hwid,
        parts: Parts<'a>,
    ) -> Result<BlockId, Refusal> {
        let guard = self.state.rcu();
        let record = table.get(&guard, id).ok_or(Refusal::NoMemory)?;
        match tree.add(on, record.object(), None, Host::New(id, parts)) {
            Ok(block) => {
                record.refs().set_block(self.state.tree, block);
                Ok(block)
            }
            Err(_) => {
                table.remove(id);
                Err(Refusal::NoMemory)
            }
        }
    }

    #[inline(never)]
    fn new_path(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        neighbour: &NeighbourRecord,
        state: PathConst,
        mtu: u32,
    ) -> Result<PathBlock, Refusal> {
        let below = self.block_of(tree, None, &neighbour.refs, Level::Neighbour)?;
        let on = neighbour.links.id();
        let paths = &self.objects.paths;
        let path = insert(paths, state.hash(on), |links| PathRecord {
            links,
            refs: RefState::default(),
            idle_ms: AtomicU64::new(0),
            state,
            on,
            pushed: AtomicU32::new(mtu),
        })?;
        let block = self.add_new(tree, Some(below), paths, path, Parts::Plain)?;
        Ok(PathBlock {
            path,
            block,
            layers: neighbour.layers.clone(),
        })
    }

    #[inline(never)]
    fn new_neighbour<'a>(
        &self,
        tree: &mut OffloadTree<'_, 'a>,
        key: &PathKey<'a>,
        state: NeighbourConst,
    ) -> Result<Hwid, Refusal> {
        let cached = key
            .dev
            .neighbour(state.family, state.hop)
            .map_err(|_| Refusal::Neighbour)?;
        let layers = key.layers.cloned();
        let uppermost = match &layers {
            Some(layers) => self.layers(tree, layers)?,
            None => None,
        };
        let (on, layer_block) = uppermost.unzip();
        let neighbours = &self.objects.neighbours;
        let id = insert(neighbours, state.hash(), |links| NeighbourRecord {
            links,
            refs: RefState::default(),
            dev: DevRef::new(key.dev),
            state,
            layers: layers.clone(),
            on,
            pushed: AtomicU64::new(NeighbourWord::new(cached).raw()),
        })?;
        let parts = Parts::Neighbour {
            dev: key.dev,
            layers,
        };
        self.add_new(tree, layer_block, neighbours, id, parts)?;
        Ok(id)
    }

    /// Puts layers into a tree, from the lowest up. Returns the uppermost one, if there are
    /// any.
    fn layers(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        layers: &Layers,
    ) -> Result<Option<(Hwid, BlockId)>, Refusal> {
        let guard = self.state.rcu();
        let table = &self.objects.layers;
        let mut below: Option<(Hwid, BlockId)> = None;
        for (state, dev) in layers.states() {
            let (on, below_block) = below.unzip();
            let hash = u32::from(state.id) ^ state.device.rotate_left(12);
            let known = table.find(&guard, hash, |l| l.state == state && l.on == on);
            let (id, block) = match known {
                Some(record) => {
                    let block = self.block_of(tree, below_block, &record.refs, Level::Layer)?;
                    (record.links.id(), block)
                }
                None => {
                    let id = insert(table, hash, |links| LayerRecord {
                        links,
                        refs: RefState::default(),
                        dev: DevRef::new(dev),
                        state,
                        on,
                    })?;
                    (
                        id,
                        self.add_new(tree, below_block, table, id, Parts::Plain)?,
                    )
                }
            };
            below = Some((id, block));
        }
        Ok(below)
    }

    /// Returns whether the tree has anything that must be made.
    pub(in crate::framework) fn has_news(&self) -> bool {
        self.news
    }

    /// One more connection depends on the path.
    pub(in crate::framework) fn depend(&self, path: Hwid) {
        let guard = self.state.rcu();
        if let Some(path) = self.objects.paths.get(&guard, path) {
            path.refs.depend();
        }
    }

    /// The target has been given the tree: what it made has a handle, and counts as a
    /// dependant of what it lies on.
    pub(in crate::framework) fn made(&self, tree: &OffloadTree<'_, '_>) {
        if !self.news {
            return;
        }
        objects::made(&self.records(), tree, new);
    }

    /// What was put into the tree and is of no use goes again: what the target did not
    /// make, and what nothing depends on.
    pub(in crate::framework) fn sweep(
        &self,
        target: &dyn OffloadTarget,
        tree: &OffloadTree<'_, '_>,
    ) {
        if !self.news {
            return;
        }
        let terminate = |handle| terminate(target, handle);
        objects::sweep(&mut self.records(), tree, new, terminate);
    }

    /// One connection less depends on the path. Of those on which nothing depends any
    /// more a few are kept for a moment, unless the device goes.
    pub(in crate::framework) fn release(&mut self, target: &dyn OffloadTarget, path: Hwid) {
        let guard = self.state.rcu();
        let Some(record) = self.objects.paths.get(&guard, path) else {
            return;
        };
        if record.refs.let_go() != 0 {
            return;
        }
        let neighbour = self.objects.neighbours.get(&guard, record.on);
        if target.device().check_open().is_err() || neighbour.is_none_or(|n| n.dev.is_going()) {
            self.records().forget(target, path);
            return;
        }
        record.idle_ms.store(time::now_ms(), Relaxed);
        if let Some(other) = self.state.idle.keep(path) {
            self.records().forget(target, other);
        }
    }

    /// Terminates paths that nothing depended on for a while, or all such paths. `true`:
    /// some are left.
    pub(super) fn sweep_idle(&mut self, target: &dyn OffloadTarget, all: bool) -> bool {
        let now = time::now_ms();
        let (state, guard) = self.state.split();
        let mut records = Records {
            objects: self.objects,
            guard,
        };
        state.idle.sweep(|path| {
            let record = records.objects.paths.get(&records.guard, path);
            let Some(record) = record.filter(|r| r.refs.dependants() == 0) else {
                return false;
            };
            let stays = !all && now < record.idle_ms.load(Relaxed) + IDLE_MS;
            if !stays {
                records.forget(target, path);
            }
            stays
        })
    }

    fn records(&self) -> Records<'_> {
        Records {
            objects: self.objects,
            guard: self.state.rcu(),
        }
    }

    /// The path's handle, for a part of a tree with it at the bottom.
    pub(in crate::framework) fn path(&self, path: Hwid) -> Option<Handle> {
        let guard = self.state.rcu();
        self.objects
            .paths
            .get(&guard, path)?
            .refs
            .handle(Level::Path)
    }
}

/// What a block that was to be made is of.
fn new(host: &Host<'_>) -> Option<Hwid> {
    match host {
        Host::New(id, _) => Some(*id),
        _ => None,
    }
}

/// The target gives an object up. Within a transaction.
fn terminate(target: &dyn OffloadTarget, handle: Handle) {
    let mut slot = [None];
    target.terminate(&mut handle_tree(&mut slot, handle));
}

/// The records, within a transaction.
struct Records<'b> {
    objects: &'b ObjectTable,
    guard: ReadGuard<'b>,
}

impl Records<'_> {
    /// Terminates a path, and what lies below it, as far as nothing depends on them.
    fn forget(&mut self, target: &dyn OffloadTarget, path: Hwid) {
        let key = Key {
            level: Level::Path,
            id: path,
        };
        objects::forget(self, key, |handle| terminate(target, handle));
    }
}

impl objects::Records for Records<'_> {
    fn get(&self, Key { level, id }: Key) -> Option<(&RefState, Option<Key>)> {
        let guard = &self.guard;
        let layer = |on: Option<Hwid>| {
            on.map(|id| Key {
                level: Level::Layer,
                id,
            })
        };
        match level {
            Level::Path => {
                let record = self.objects.paths.get(guard, id)?.into_ref();
                let on = Key {
                    level: Level::Neighbour,
                    id: record.on,
                };
                Some((&record.refs, Some(on)))
            }
            Level::Neighbour => {
                let record = self.objects.neighbours.get(guard, id)?.into_ref();
                Some((&record.refs, layer(record.on)))
            }
            Level::Layer => {
                let record = self.objects.layers.get(guard, id)?.into_ref();
                Some((&record.refs, layer(record.on)))
            }
            Level::Connection => None,
        }
    }

    fn remove(&mut self, Key { level, id }: Key) {
        let _ = match level {
            Level::Path => self.objects.paths.remove(id),
            Level::Neighbour => self.objects.neighbours.remove(id),
            Level::Layer => self.objects.layers.remove(id),
            Level::Connection => false,
        };
    }
}

/// The route of a path has another MTU. Within a transaction.
#[cold]
fn push_mtu(target: &dyn OffloadTarget, path: &PathRecord, mtu: u32) {
    path.pushed.store(mtu, Relaxed);
    if let Some(handle) = path.refs.handle(Level::Path) {
        let mut slot = [None];
        target.update(&mut object_tree(&mut slot, path.object(), handle));
        target.device().stats().updated(Update::PathMtu);
    }
}
