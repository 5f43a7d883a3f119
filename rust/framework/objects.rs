// SPDX-License-Identifier: GPL-2.0

//! The objects below connections that a target has: paths, neighbours and layers, each
//! made once, as long as something depends on it.
//!
//! This is the host's book of what the target was told: which object has which handle,
//! how many depend on it, and its cached state. Changes of neighbours and routes in the host
//! stack become *update* and *invalidate* operations on exactly the objects concerned, here
//! and nowhere else.
//!
//! # Locking
//!
//! One lock per device, taken with bottom halves off, within a socket's lock or without
//! one. The target is called with it held, so that no two operations on an object
//! overtake each other. Lookups on the way to a decision need RCU only.
//!
//! Claims: Documentation/networking/toe-claims.rst

mod book;
mod show;

pub(super) use book::{
    Book,
    Placed,
    Way, //
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
        Few,
        Host,
        OffloadTarget,
        OffloadTree, //
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
        devref::DevRef,
        net_device::NetDevice,
        sock::LockedSock,
        sync::{
            rcu::ReadGuard,
            spin_lock_bh::{
                new_spinlock_bh,
                SpinLockBh, //
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
const MOST: u32 = 1 << 16;
/// Layers of a device at most: VLAN identifiers on VLAN identifiers.
const MOST_LAYERS: u32 = 1 << 13;

/// Paths that are kept for a moment after their last connection, at most.
const MOST_IDLE: usize = 64;

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
    /// A [`NeighbourWord`]: what the target was told.
    told: AtomicU64,
}

struct PathRecord {
    links: Links<PathRecord>,
    refs: RefState,
    /// When its last connection went, in ms.
    idle_ms: AtomicU64,
    state: PathConst,
    /// The neighbour.
    on: Hwid,
    /// The MTU that the target was told.
    told: AtomicU32,
}

node!(LayerRecord, links);
node!(NeighbourRecord, links);
node!(PathRecord, links);

/// A record, whichever its object is.
trait ObjectRecord: Node {
    fn refs(&self) -> &RefState;

    /// The object, with what the target was told of it.
    fn object(&self) -> Object;
}

impl NeighbourRecord {
    fn told(&self) -> NeighbourWord {
        NeighbourWord::from_raw(self.told.load(Relaxed))
    }
}

impl ObjectRecord for NeighbourRecord {
    fn refs(&self) -> &RefState {
        &self.refs
    }

    fn object(&self) -> Object {
        Object::Neighbour(Neighbour {
            constant: self.state,
            cached: self.told().get().unwrap_or_default(),
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
                mtu: self.told.load(Relaxed),
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
pub(crate) struct Objects {
    #[pin]
    layers: Table<LayerRecord>,
    #[pin]
    neighbours: Table<NeighbourRecord>,
    #[pin]
    paths: Table<PathRecord>,
    #[pin]
    book: SpinLockBh<State>,
}

/// What the lock guards, besides what is written in records.
struct State {
    /// Number of the tree that is being built.
    tree: u64,
    /// Paths that lost their last connection lately.
    idle: Idle<MOST_IDLE>,
    /// For the tree of one connection; `None` while one is built.
    few: Option<Few>,
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

impl Objects {
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Objects {
            layers <- Table::new(MOST_LAYERS, MOST_LAYERS),
            neighbours <- Table::new(MOST, MOST),
            paths <- Table::new(MOST, MOST),
            book <- new_spinlock_bh!(State {
                tree: 0,
                idle: Idle::EMPTY,
                few: Some(Few::new()?),
            }),
        }? Error)
    }

    /// Opens the book. Any context; not below another device's.
    pub(super) fn open(&self) -> Book<'_> {
        let mut state = self.book.lock();
        state.tree = state.tree.wrapping_add(1) & (u64::MAX >> 16);
        Book {
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
        let key = NeighbourConst {
            device: dev.ifindex() as u32,
            family,
            hop,
            ..NeighbourConst::default()
        };
        self.neighbours.find(guard, key.hash(), |n| {
            core::ptr::eq(&*n.dev, dev) && (n.state.family, n.state.hop) == (family, hop)
        })
    }

    /// The next hop of `hop` by `dev`, if the target has it with a valid link address. Any
    /// context.
    pub(super) fn knows(&self, dev: &NetDevice, hop: &Hop) -> Option<Hwid> {
        let guard = ReadGuard::new();
        self.find_neighbour(&guard, dev, hop.family, hop.addr)
            .filter(|n| n.told().get().is_some())
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
        let book = self.open();
        let guard = book.state.rcu();
        let Some(record) = self.find_neighbour(&guard, dev, family, address) else {
            return;
        };
        let told = record.told();
        let now = match dev.neighbour(family, address) {
            Ok(cached) => NeighbourWord::new(cached),
            // It is no longer in the host's table, which may only mean that it was not used
            // for a while: the next to send asks first.
            Err(ENOENT) => told.get().map_or(NeighbourWord::INVALID, |cached| {
                NeighbourWord::new(NeighbourCached {
                    reachable: false,
                    ..cached
                })
            }),
            Err(_) => NeighbourWord::INVALID,
        };
        tell_neighbour(target, &record, now);
    }

    /// Terminates what nothing depended on for a while; or at once, for a device goes or
    /// has another address. `true`: something is left. Any context.
    pub(crate) fn sweep(&self, target: &dyn OffloadTarget, at_once: bool) -> bool {
        self.open().sweep_idle(target, at_once)
    }

    /// A layer's device is not what it was: nothing is sent through it until all that
    /// depends on it is uploaded.
    pub(crate) fn layer_gone(&self, target: &dyn OffloadTarget, dev: &NetDevice) {
        for index in 0..self.layers.slots() {
            let book = self.open();
            let guard = book.state.rcu();
            let record = self.layers.at(&guard, index);
            let Some(record) = record.filter(|r| core::ptr::eq(&*r.dev, dev)) else {
                continue;
            };
            if let Some(handle) = record.refs.handle(Level::Layer) {
                let mut place = [None];
                target.invalidate(&mut named(&mut place, handle));
                target.device().stats().updated(Update::Invalid);
            }
        }
    }

    /// The host's answer to a target that asked for the next hop of a connection.
    /// `false`: it is not known, and was asked.
    pub(super) fn look_at_neighbour(
        &self,
        target: &dyn OffloadTarget,
        sk: LockedSock<'_>,
        path: Hwid,
        progress: bool,
    ) -> bool {
        // What is sent to ask must not be sent with the book open.
        let found = sk.neighbour(progress);
        let book = self.open();
        let guard = book.state.rcu();
        let on = self.paths.get(&guard, path).map(|path| path.on);
        let Some(record) = on.and_then(|on| self.neighbours.get(&guard, on)) else {
            return false;
        };
        // What has happened meanwhile counts.
        let now = match record.dev.neighbour(record.state.family, record.state.hop) {
            Ok(cached) => NeighbourWord::new(cached),
            Err(_) => NeighbourWord::INVALID,
        };
        tell_neighbour(target, &record, now);
        found.is_ok() && now != NeighbourWord::INVALID
    }
}

/// A part of a tree that is one object which the target has.
pub(super) fn named<'s, 'a>(
    place: &'s mut [super::target::Place<'a>; 1],
    handle: Handle,
) -> OffloadTree<'s, 'a> {
    let mut tree = Tree::new(place);
    let _ = tree.name(None, handle, Host::Handle);
    tree
}

/// The same, with its state.
pub(super) fn one<'s, 'a>(
    place: &'s mut [super::target::Place<'a>; 1],
    object: Object,
    handle: Handle,
) -> OffloadTree<'s, 'a> {
    let mut tree = Tree::new(place);
    let _ = tree.add(None, object, Some(handle), Host::Handle);
    tree
}

/// Tells the target what the host has for the neighbour now, unless it was told. The
/// book is open.
fn tell_neighbour(target: &dyn OffloadTarget, record: &NeighbourRecord, now: NeighbourWord) {
    let told = record.told();
    let Some(handle) = record.refs.handle(Level::Neighbour) else {
        return;
    };
    if told == now {
        return;
    }
    record.told.store(now.raw(), Relaxed);
    let mut place = [None];
    let mut tree = one(&mut place, record.object(), handle);
    match now.get() {
        Some(cached) => {
            target.update(&mut tree);
            if told.get().is_none_or(|told| told.mac != cached.mac) {
                target.device().stats().updated(Update::Neighbour);
            }
        }
        None => {
            target.invalidate(&mut tree);
            target.device().stats().updated(Update::Invalid);
        }
    }
}
