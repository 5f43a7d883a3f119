// SPDX-License-Identifier: GPL-2.0

//! The objects below connections that a target has: paths, neighbours and layers, each
//! made once, as long as something depends on it.
//!
//! This is the host's record of what the target has: which object has which handle, how
//! many depend on it, and the cached state that was pushed last. Changes of neighbours and
//! routes in the host stack become *update* and *invalidate* operations on exactly the
//! objects concerned, here and nowhere else.
//!
//! # Locking
//!
//! One lock per device, taken with bottom halves off, within a socket's lock or without
//! one. The target is called with it held, so that no two operations on an object overtake
//! each other. Lookups for a decision need RCU only.
//!
//! Claims: Documentation/networking/toe-claims.rst

mod show;
mod transaction;

pub(super) use transaction::{
    PathBlock,
    PathKey,
    Transaction, //
};

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
    intermediate::Layers,
    target::{
        Host,
        OffloadTarget,
        OffloadTree,
        SpareSlots, //
    }, //
};
use crate::{
    logic::{
        hwid::Hwid,
        objects::{
            Idle,
            RefState, //
        },
        reason::Update,
        tree::{
            state::{
                Handle,
                Layer,
                LayerConst,
                Level,
                Neighbour,
                NeighbourCached,
                NeighbourConst,
                NeighbourWord,
                Object,
                Path,
                PathCached,
                PathConst, //
            },
            Tree, //
        },
        tuple::{
            Family,
            Tuple, //
        }, //
    },
    net::{
        context::Bh,
        devref::DevRef,
        net_device::NetDevice,
        sock::LockedSock,
        sync::{
            rcu::ReadGuard,
            spin_lock_bh::{
                new_spinlock_bh,
                SpinLockBh,
                SpinLockBhGuard, //
            }, //
        },
        table::{
            node,
            EntryRef,
            Links,
            Node,
            Table, //
        },
        tcp::Hop, //
    }, //
};

/// Paths, and neighbours, of a device at most.
const MAX_OBJECTS: u32 = 1 << 16;
/// Layers of a device at most: VLAN identifiers on VLAN identifiers.
const MAX_LAYERS: u32 = 1 << 13;

/// Paths that are kept for a moment after their last connection, at most.
const MAX_IDLE: usize = 64;

struct LayerRecord {
    links: Links<LayerRecord>,
    refs: RefState,
    dev: DevRef,
    state: LayerConst,
    /// The layer below.
    on: Option<Hwid>,
}

struct NeighbourRecord {
    links: Links<NeighbourRecord>,
    refs: RefState,
    dev: DevRef,
    state: NeighbourConst,
    layers: Option<Arc<Layers>>,
    /// The uppermost layer.
    on: Option<Hwid>,
    /// A [`NeighbourWord`]: what was pushed to the target last.
    pushed: AtomicU64,
}

struct PathRecord {
    links: Links<PathRecord>,
    refs: RefState,
    /// When its last connection went, in ms.
    idle_ms: AtomicU64,
    state: PathConst,
    /// The neighbour.
    on: Hwid,
    /// The MTU that was pushed to the target last.
    pushed: AtomicU32,
}

node!(LayerRecord, links);
node!(NeighbourRecord, links);
node!(PathRecord, links);

/// A record, whichever its object is.
trait ObjectRecord: Node {
    fn refs(&self) -> &RefState;

    /// The object, with its cached state as the target has it.
    fn object(&self) -> Object;
}

impl NeighbourRecord {
    fn pushed(&self) -> NeighbourWord {
        NeighbourWord::from_raw(self.pushed.load(Relaxed))
    }
}

impl ObjectRecord for NeighbourRecord {
    fn refs(&self) -> &RefState {
        &self.refs
    }

    fn object(&self) -> Object {
        Object::Neighbour(Neighbour {
            constant: self.state,
            cached: self.pushed().get().unwrap_or_default(),
            ..Neighbour::default()
        })
    }
}

impl ObjectRecord for PathRecord {
    fn refs(&self) -> &RefState {
        &self.refs
    }

    fn object(&self) -> Object {
        Object::Path(Path {
            constant: self.state,
            cached: PathCached {
                mtu: self.pushed.load(Relaxed),
            },
            ..Path::default()
        })
    }
}

impl ObjectRecord for LayerRecord {
    fn refs(&self) -> &RefState {
        &self.refs
    }

    fn object(&self) -> Object {
        Object::Layer(Layer {
            constant: self.state,
            ..Layer::default()
        })
    }
}

/// See the module's documentation. Part of a [`Device`](super::device::Device).
#[pin_data]
pub(crate) struct ObjectTable {
    #[pin]
    layers: Table<LayerRecord>,
    #[pin]
    neighbours: Table<NeighbourRecord>,
    #[pin]
    paths: Table<PathRecord>,
    /// Those that were found last: connections that follow each other mostly go to one peer.
    last_neighbour: AtomicU64,
    last_path: AtomicU64,
    #[pin]
    state: SpinLockBh<State>,
}

/// What the lock guards, besides what is written in records.
struct State {
    /// Number of the tree that is being built.
    tree: u64,
    /// Paths that lost their last connection lately.
    idle: Idle<MAX_IDLE>,
    /// For the tree of one connection; `None` while one is built.
    spare: Option<SpareSlots>,
}

impl NeighbourConst {
    /// Two of one device and one IP address have one hash.
    fn hash(&self) -> u32 {
        let (family, local) = (self.family, self.hop);
        Tuple {
            family,
            local,
            ..Tuple::default()
        }
        .hash(self.device)
    }
}

impl PathConst {
    fn new(tuple: &Tuple, mark: u32) -> Self {
        PathConst {
            family: tuple.family,
            local: tuple.local,
            remote: tuple.remote,
            mark,
        }
    }

    fn hash(&self, on: Hwid) -> u32 {
        Tuple {
            family: self.family,
            local: self.local,
            remote: self.remote,
            lport: self.mark as u16,
            rport: (self.mark >> 16) as u16,
            ..Tuple::default()
        }
        .hash(on.index() ^ on.generation())
    }
}

impl ObjectTable {
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(ObjectTable {
            layers <- Table::new(MAX_LAYERS, MAX_LAYERS),
            neighbours <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            paths <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            last_neighbour: AtomicU64::new(0),
            last_path: AtomicU64::new(0),
            state <- new_spinlock_bh!(State {
                tree: 0,
                idle: Idle::EMPTY,
                spare: Some(SpareSlots::new()?),
            }),
        }? Error)
    }

    /// Takes the lock, for a transaction. Any context; not below another device's.
    pub(super) fn lock(&self) -> Transaction<'_> {
        self.begin(self.state.lock())
    }

    /// [`lock`](Self::lock) where bottom halves are disabled.
    #[inline]
    pub(super) fn lock_within<'o>(&'o self, bh: &'o Bh) -> Transaction<'o> {
        self.begin(self.state.lock_within(bh))
    }

    #[inline]
    fn begin<'o>(&'o self, mut state: SpinLockBhGuard<'o, State>) -> Transaction<'o> {
        state.tree = state.tree.wrapping_add(1) & (u64::MAX >> 16);
        Transaction {
            objects: self,
            state,
            news: false,
        }
    }

    fn find_neighbour<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        dev: &NetDevice,
        family: Family,
        hop: [u8; 16],
    ) -> Option<EntryRef<'g, NeighbourRecord>> {
        let same = |n: &NeighbourRecord| {
            core::ptr::eq(&*n.dev, dev) && (n.state.family, n.state.hop) == (family, hop)
        };
        self.neighbours
            .find_again(guard, &self.last_neighbour, same, || {
                let key = NeighbourConst {
                    device: dev.ifindex() as u32,
                    family,
                    hop,
                    ..NeighbourConst::default()
                };
                key.hash()
            })
    }

    /// The next hop of `hop` by `dev`, if the target has it with a valid link address. Any
    /// context.
    pub(super) fn knows(&self, guard: &ReadGuard<'_>, dev: &NetDevice, hop: &Hop) -> Option<Hwid> {
        self.find_neighbour(guard, dev, hop.family, hop.addr)
            .filter(|n| n.pushed().get().is_some())
            .map(|n| n.links.id())
    }

    /// Something happened to a neighbour of `dev`. Any context.
    pub(super) fn neighbour_changed(
        &self,
        target: &dyn OffloadTarget,
        dev: &NetDevice,
        family: Family,
        address: [u8; 16],
    ) {
        let objects = self.lock();
        let guard = objects.state.rcu();
        let Some(record) = self.find_neighbour(&guard, dev, family, address) else {
            return;
        };
        let pushed = record.pushed();
        let now = match dev.neighbour(family, address) {
            Ok(cached) => NeighbourWord::new(cached),
            // It is no longer in the host's table, which may only mean that it was not used
            // for a while: the next to send asks first.
            Err(ENOENT) => pushed.get().map_or(NeighbourWord::INVALID, |cached| {
                NeighbourWord::new(NeighbourCached {
                    reachable: false,
                    ..cached
                })
            }),
            Err(_) => NeighbourWord::INVALID,
        };
        push_neighbour(target, &record, now);
    }

    /// Terminates what nothing depended on for a while; or at once, for a device goes or
    /// has another address. `true`: something is left. Any context.
    pub(crate) fn sweep(&self, target: &dyn OffloadTarget, at_once: bool) -> bool {
        self.lock().sweep_idle(target, at_once)
    }

    /// Whether there is a layer of `dev` that is not what the device is now. Of one that is
    /// made meanwhile the end of its hand-over finds out. Any context.
    pub(crate) fn has_outdated_layer(&self, dev: &NetDevice) -> bool {
        let now = Layers::state_now(dev);
        let guard = ReadGuard::new();
        let mut records = (0..self.layers.slots()).filter_map(|i| self.layers.at(&guard, i));
        records.any(|layer| core::ptr::eq(&*layer.dev, dev) && Some(&layer.state) != now.as_ref())
    }

    /// A layer's device is not what it was: nothing is sent through it until all that
    /// depends on it is uploaded.
    pub(crate) fn layer_gone(&self, target: &dyn OffloadTarget, dev: &NetDevice) {
        for index in 0..self.layers.slots() {
            let objects = self.lock();
            let guard = objects.state.rcu();
            let record = self.layers.at(&guard, index);
            let Some(record) = record.filter(|r| core::ptr::eq(&*r.dev, dev)) else {
                continue;
            };
            if let Some(handle) = record.refs.handle(Level::Layer) {
                let mut slot = [None];
                target.invalidate(&mut handle_tree(&mut slot, handle));
                target.device().stats().updated(Update::Invalid);
            }
        }
    }

    /// The host's answer to a target that asked for the next hop of a connection.
    /// `false`: it is not known, and was asked.
    pub(super) fn resolve_neighbour(
        &self,
        target: &dyn OffloadTarget,
        sk: LockedSock<'_>,
        path: Hwid,
        progress: bool,
    ) -> bool {
        // What is sent to ask must not be sent within a transaction.
        let found = sk.neighbour(progress);
        let objects = self.lock();
        let guard = objects.state.rcu();
        let on = self.paths.get(&guard, path).map(|path| path.on);
        let Some(record) = on.and_then(|on| self.neighbours.get(&guard, on)) else {
            return false;
        };
        // What has happened meanwhile counts.
        let now = match record.dev.neighbour(record.state.family, record.state.hop) {
            Ok(cached) => NeighbourWord::new(cached),
            Err(_) => NeighbourWord::INVALID,
        };
        push_neighbour(target, &record, now);
        found.is_ok() && now != NeighbourWord::INVALID
    }
}

/// A tree of one object that the target has.
pub(super) fn handle_tree<'s, 'a>(
    slot: &'s mut [super::target::BlockSlot<'a>; 1],
    handle: Handle,
) -> OffloadTree<'s, 'a> {
    let mut tree = Tree::new(slot);
    let _ = tree.name(None, handle, Host::Handle);
    tree
}

/// As [`handle_tree`], with the object's state.
pub(super) fn object_tree<'s, 'a>(
    slot: &'s mut [super::target::BlockSlot<'a>; 1],
    object: Object,
    handle: Handle,
) -> OffloadTree<'s, 'a> {
    let mut tree = Tree::new(slot);
    let _ = tree.add(None, object, Some(handle), Host::Handle);
    tree
}

/// Pushes what the host has for the neighbour now to the target, unless the target has it.
/// Within a transaction.
fn push_neighbour(target: &dyn OffloadTarget, record: &NeighbourRecord, now: NeighbourWord) {
    let pushed = record.pushed();
    let Some(handle) = record.refs.handle(Level::Neighbour) else {
        return;
    };
    if pushed == now {
        return;
    }
    record.pushed.store(now.raw(), Relaxed);
    let mut slot = [None];
    let mut tree = object_tree(&mut slot, record.object(), handle);
    match now.get() {
        Some(cached) => {
            target.update(&mut tree);
            if pushed.get().is_none_or(|pushed| pushed.mac != cached.mac) {
                target.device().stats().updated(Update::Neighbour);
            }
        }
        None => {
            target.invalidate(&mut tree);
            target.device().stats().updated(Update::Invalid);
        }
    }
}
