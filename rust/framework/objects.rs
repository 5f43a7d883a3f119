// SPDX-License-Identifier: GPL-2.0

//! The objects below connections that a target has: paths, neighbours and layers, each
//! made once, as long as something depends on it (claims E 2-3, 8, 17-18, 45).
//!
//! This is the host's book of what the target was told: which object has which handle,
//! how many depend on it, and its cached state. What the host stack does with its
//! neighbours and routes becomes *update* and *invalidate* operations on exactly the
//! objects that it concerns, here and nowhere else.
//!
//! # Locking
//!
//! One lock per device, taken with bottom halves off, within a socket's lock or without
//! one. The target is called with it held, so that no two operations on an object
//! overtake each other. Lookups on the way to a decision need RCU only.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        SpinLock,
        SpinLockGuard, //
    }, //
};

use super::{
    intermediate::Layers,
    registry,
    target::{
        Host,
        OffloadTarget,
        OffloadTree,
        Parts, //
    }, //
};
use crate::{
    logic::{
        hwid::Hwid,
        reason::{
            Refusal,
            Update, //
        },
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
            BlockId,
            Status,
            Tree, //
        },
        tuple::{
            Address,
            Family,
            Tuple, //
        }, //
    },
    net::{
        context::BhGuard,
        devref::DevRef,
        netdev::NetDevice,
        netevent::{
            self,
            NetEventNotifier, //
        },
        sock::LockedSock,
        table::{
            node,
            EntryRef,
            Full,
            Links,
            ReadGuard,
            Table, //
        },
        tcp::Hop,
        time, //
    },
    text::Text, //
};

/// Paths, and neighbours, of a device at most.
const MOST: u32 = 1 << 16;
/// Layers of a device at most: VLAN identifiers on VLAN identifiers.
const MOST_LAYERS: u32 = 1 << 13;

/// A path is kept for so many ms after its last connection: the next one is often not
/// far, and making the objects costs more than offloading it.
const IDLE_MS: u64 = 1000;
/// But so many at most.
const MOST_IDLE: usize = 64;

/// Blocks of a tree that leads to a path: all layers, neighbour and path.
pub(super) const BLOCKS: usize = crate::logic::tree::MAX_DEPTH - 1;

/// What the book has of an object of any level. Written with the lock held.
struct Entry {
    /// The target's handle; 0 while the object is being made.
    handle: AtomicU64,
    /// Objects, or connections, that depend on it.
    dependants: AtomicU32,
    /// Its block in the tree that is being built: that tree's number, and the block.
    block: AtomicU64,
}

impl Entry {
    fn new() -> Self {
        Entry {
            handle: AtomicU64::new(0),
            dependants: AtomicU32::new(0),
            block: AtomicU64::new(0),
        }
    }

    fn handle(&self, level: Level) -> Option<Handle> {
        let id = Hwid::from_raw(self.handle.load(Relaxed))?;
        Some(Handle { level, id })
    }

    fn block(&self, tree: u64) -> Option<BlockId> {
        let block = self.block.load(Relaxed);
        (block >> 16 == tree).then_some(BlockId::from_index(block as u16))
    }

    fn set_block(&self, tree: u64, id: BlockId) {
        self.block
            .store(tree << 16 | u64::from(id.index()), Relaxed);
    }

    /// One more, or one less, depends on it: how many do now.
    fn depend(&self, more: bool) -> u32 {
        let was = self.dependants.load(Relaxed);
        let now = match more {
            true => was + 1,
            false => was.saturating_sub(1),
        };
        self.dependants.store(now, Relaxed);
        now
    }
}

struct LayerRecord {
    links: Links<LayerRecord>,
    entry: Entry,
    dev: DevRef,
    state: LayerConst,
    /// The layer below.
    on: Option<Hwid>,
}

struct NeighbourRecord {
    links: Links<NeighbourRecord>,
    entry: Entry,
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
    entry: Entry,
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

impl NeighbourRecord {
    fn told(&self) -> NeighbourWord {
        NeighbourWord::from_raw(self.told.load(Relaxed))
    }

    fn object(&self) -> Object {
        Object::Neighbour(Neighbour {
            constant: self.state,
            cached: self.told().get().unwrap_or_default(),
            ..Neighbour::default()
        })
    }
}

impl PathRecord {
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

impl LayerRecord {
    fn object(&self) -> Object {
        Object::Layer(Layer {
            constant: self.state,
            ..Layer::default()
        })
    }
}

/// Where a connection's frames go.
pub(super) struct Way<'a> {
    /// The device that its route leaves through.
    pub(super) dev: &'a NetDevice,
    /// The layers between that and the target's device.
    pub(super) layers: &'a Layers,
    pub(super) hop: Hop,
    pub(super) tuple: Tuple,
}

/// A path in the book, and in a tree.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) path: Hwid,
    pub(super) block: BlockId,
    /// The layers as the target has them.
    pub(super) layers: Option<Arc<Layers>>,
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
    book: SpinLock<State>,
}

/// What the lock guards, besides what is written in records.
struct State {
    /// Number of the tree that is being built.
    tree: u64,
    /// Paths that lost their last connection lately, and may have got another one.
    idle: [Option<Hwid>; MOST_IDLE],
    /// The place in `idle` that is taken next.
    next: usize,
}

fn no_room(full: Full) -> Refusal {
    match full {
        Full::Memory => Refusal::NoMemory,
        Full::Table | Full::Duplicate => Refusal::TableFull,
    }
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

impl Way<'_> {
    fn neighbour(&self) -> NeighbourConst {
        NeighbourConst {
            device: self.dev.ifindex() as u32,
            source: self.dev.address_now(),
            family: self.hop.family,
            hop: self.hop.addr,
        }
    }
}

impl Objects {
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Objects {
            layers <- Table::new(MOST_LAYERS, MOST_LAYERS),
            neighbours <- Table::new(MOST, MOST),
            paths <- Table::new(MOST, MOST),
            book <- new_spinlock!(State {
                tree: 0,
                idle: [None; MOST_IDLE],
                next: 0,
            }),
        }? Error)
    }

    /// Opens the book. Any context; not below another device's.
    pub(super) fn open(&self) -> Book<'_> {
        let bh = BhGuard::new();
        let mut state = self.book.lock();
        state.tree = state.tree.wrapping_add(1) & (u64::MAX >> 16);
        Book {
            objects: self,
            state,
            last: None,
            news: false,
            bh,
        }
    }

    fn find_neighbour<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        dev: &NetDevice,
        (family, hop): (Family, [u8; 16]),
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

    /// Has the target the next hop of `hop` by `dev`, with a valid link address? Any
    /// context.
    pub(super) fn knows(&self, dev: &NetDevice, hop: &Hop) -> bool {
        let guard = ReadGuard::new();
        self.find_neighbour(&guard, dev, (hop.family, hop.addr))
            .is_some_and(|n| n.told().get().is_some())
    }

    /// Something happened to a neighbour of `dev`.
    fn neighbour_changed(
        &self,
        target: &dyn OffloadTarget,
        dev: &NetDevice,
        address: (Family, [u8; 16]),
    ) {
        let book = self.open();
        let guard = ReadGuard::within(&book.bh);
        let Some(record) = self.find_neighbour(&guard, dev, address) else {
            return;
        };
        let told = record.told();
        let now = match dev.neighbour(address.0, address.1) {
            Ok(cached) => NeighbourWord::new(cached),
            // It is not in the host's table any more, which may only mean that nobody
            // asked for it: whoever sends next asks before.
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
            let guard = ReadGuard::within(&book.bh);
            let record = self.layers.at(&guard, index);
            let Some(record) = record.filter(|r| core::ptr::eq(&*r.dev, dev)) else {
                continue;
            };
            if let Some(handle) = record.entry.handle(Level::Layer) {
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
        let guard = ReadGuard::within(&book.bh);
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

    /// The objects, one a line, each before those that depend on it. Process context.
    pub(crate) fn show(&self, target: &dyn OffloadTarget, seq: &SeqFile) -> Result {
        seq_print!(seq, "level handle on dependants state\n");
        for index in 0..self.layers.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.layers.at(&guard, index) else {
                continue;
            };
            let on = record.on.and_then(|on| self.layers.get(&guard, on));
            let on = on.and_then(|on| on.entry.handle(Level::Layer));
            self.show_one(target, seq, &record.entry, Level::Layer, on);
        }
        for index in 0..self.neighbours.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.neighbours.at(&guard, index) else {
                continue;
            };
            let on = record.on.and_then(|on| self.layers.get(&guard, on));
            let on = on.and_then(|on| on.entry.handle(Level::Layer));
            self.show_one(target, seq, &record.entry, Level::Neighbour, on);
        }
        for index in 0..self.paths.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.paths.at(&guard, index) else {
                continue;
            };
            let on = self.neighbours.get(&guard, record.on);
            let on = on.and_then(|on| on.entry.handle(Level::Neighbour));
            self.show_one(target, seq, &record.entry, Level::Path, on);
        }
        Ok(())
    }

    /// As the target has it, not the book.
    fn show_one(
        &self,
        target: &dyn OffloadTarget,
        seq: &SeqFile,
        entry: &Entry,
        level: Level,
        on: Option<Handle>,
    ) {
        let Some(handle) = entry.handle(level) else {
            return;
        };
        let mut place = [None];
        let mut tree = named(&mut place, handle);
        target.query(&mut tree);
        let Some(block) = tree.first().and_then(|id| tree.get(id)) else {
            return;
        };
        seq_print!(
            seq,
            "{} {:#x} {:#x} {} {}\n",
            level.name(),
            handle.id.raw(),
            on.map_or(0, |on| on.id.raw()),
            entry.dependants.load(Relaxed),
            Text(Described {
                object: &block.object,
                valid: block.status() == Status::Done,
            }),
        );
    }
}

/// An object as debugfs shows it.
struct Described<'a> {
    object: &'a Object,
    valid: bool,
}

impl core::fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.object {
            Object::Layer(l) => {
                let c = &l.constant;
                write!(f, "dev {} proto {:#06x} id {}", c.device, c.proto, c.id)?;
            }
            Object::Neighbour(n) => {
                let c = &n.constant;
                let [a, b, d, e, g, h] = n.cached.mac;
                write!(
                    f,
                    "dev {} {} lladdr {a:02x}:{b:02x}:{d:02x}:{e:02x}:{g:02x}:{h:02x} {}",
                    c.device,
                    Address(c.family, c.hop),
                    if n.cached.reachable {
                        "reachable"
                    } else {
                        "stale"
                    },
                )?;
                write!(f, " progress {}", n.delegated.progress)?;
            }
            Object::Path(p) => {
                let c = &p.constant;
                write!(
                    f,
                    "{} {} mark {:#x} mtu {}",
                    Address(c.family, c.local),
                    Address(c.family, c.remote),
                    c.mark,
                    p.cached.mtu
                )?;
            }
            Object::Connection(_) | Object::Named(_) => {}
        }
        if !self.valid {
            write!(f, " invalid")?;
        }
        Ok(())
    }
}

/// A part of a tree that is one object which the target has.
pub(super) fn named<'s, 'a>(
    place: &'s mut [super::target::Place<'a>; 1],
    handle: Handle,
) -> OffloadTree<'s, 'a> {
    one(place, Object::Named(handle.level), handle)
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
    let Some(handle) = record.entry.handle(Level::Neighbour) else {
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

/// The book while it is open.
pub(super) struct Book<'o> {
    objects: &'o Objects,
    /// The way that was placed last: connections that follow each other often have the
    /// same.
    last: Option<(*const NetDevice, Hop, PathConst, Placed)>,
    /// Something in the tree is to be made.
    news: bool,
    // The lock must be free again before bottom halves are on: in this order.
    state: SpinLockGuard<'o, State>,
    bh: BhGuard,
}

impl Book<'_> {
    /// Puts the path of `way` into a tree, with what it lies on, unless the target has
    /// them or they are there already.
    pub(super) fn place<'a>(
        &mut self,
        target: &dyn OffloadTarget,
        tree: &mut OffloadTree<'_, 'a>,
        way: &Way<'a>,
    ) -> Result<Placed, Refusal> {
        let (dev, hop) = (core::ptr::from_ref(way.dev), way.hop);
        let state = PathConst::new(&way.tuple, hop.mark);
        if let Some((last_dev, last_hop, last_state, placed)) = &self.last {
            if *last_dev == dev && *last_hop == hop && *last_state == state {
                return Ok(placed.clone());
            }
        }
        let placed = self.place_new(target, tree, way, state)?;
        self.last = Some((dev, hop, state, placed.clone()));
        Ok(placed)
    }

    fn place_new<'a>(
        &mut self,
        target: &dyn OffloadTarget,
        tree: &mut OffloadTree<'_, 'a>,
        way: &Way<'a>,
        state: PathConst,
    ) -> Result<Placed, Refusal> {
        let guard = ReadGuard::within(&self.bh);
        let objects = self.objects;
        let wanted = way.neighbour();
        let known = objects.find_neighbour(&guard, way.dev, (wanted.family, wanted.hop));
        let Some(neighbour) = known else {
            self.news = true;
            let id = self.new_neighbour(tree, way, wanted)?;
            let neighbour = objects.neighbours.get(&guard, id);
            let neighbour = neighbour.ok_or(Refusal::NoMemory)?;
            return self.new_path(tree, &neighbour, id, state, way.hop.mtu);
        };
        if neighbour.state.source != wanted.source {
            // Its connections are being uploaded; then it is made anew.
            return Err(Refusal::DeviceDown);
        }
        if neighbour.told() == NeighbourWord::INVALID {
            let now = way.dev.neighbour(wanted.family, wanted.hop);
            let cached = now.map_err(|_| Refusal::Neighbour)?;
            tell_neighbour(target, &neighbour, NeighbourWord::new(cached));
        }
        let on = neighbour.links.id();
        let path = objects.paths.find(&guard, state.hash(on), |path| {
            path.state == state && path.on == on
        });
        let Some(path) = path else {
            self.news = true;
            return self.new_path(tree, &neighbour, on, state, way.hop.mtu);
        };
        let block = match path.entry.block(self.state.tree) {
            Some(block) => block,
            None => {
                let handle = path.entry.handle(Level::Path);
                let block = tree
                    .add(None, Object::Named(Level::Path), handle, Host::Handle)
                    .map_err(|_| Refusal::NoMemory)?;
                path.entry.set_block(self.state.tree, block);
                block
            }
        };
        if path.told.load(Relaxed) != way.hop.mtu {
            tell_mtu(target, &path, way.hop.mtu);
        }
        Ok(Placed {
            path: path.links.id(),
            block,
            layers: neighbour.layers.clone(),
        })
    }

    fn new_path(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        neighbour: &NeighbourRecord,
        on: Hwid,
        state: PathConst,
        mtu: u32,
    ) -> Result<Placed, Refusal> {
        let below = match neighbour.entry.block(self.state.tree) {
            Some(block) => block,
            None => {
                let handle = neighbour.entry.handle(Level::Neighbour);
                let block = tree
                    .add(None, Object::Named(Level::Neighbour), handle, Host::Handle)
                    .map_err(|_| Refusal::NoMemory)?;
                neighbour.entry.set_block(self.state.tree, block);
                block
            }
        };
        let hash = state.hash(on);
        let path = self
            .objects
            .paths
            .inserter()
            .insert(
                hash,
                |_| false,
                |id| {
                    let record = PathRecord {
                        links: Links::new(hash, id),
                        entry: Entry::new(),
                        idle_ms: AtomicU64::new(0),
                        state,
                        on,
                        told: AtomicU32::new(mtu),
                    };
                    Ok(KBox::new(record, GFP_ATOMIC)?)
                },
            )
            .map_err(no_room)?;
        let object = Object::Path(Path {
            constant: state,
            cached: PathCached { mtu },
            ..Path::default()
        });
        match tree.add(Some(below), object, None, Host::New(path, Parts::Plain)) {
            Ok(block) => {
                let guard = ReadGuard::within(&self.bh);
                if let Some(record) = self.objects.paths.get(&guard, path) {
                    record.entry.set_block(self.state.tree, block);
                }
                Ok(Placed {
                    path,
                    block,
                    layers: neighbour.layers.clone(),
                })
            }
            Err(_) => {
                self.objects.paths.remove(path);
                Err(Refusal::NoMemory)
            }
        }
    }

    fn new_neighbour<'a>(
        &self,
        tree: &mut OffloadTree<'_, 'a>,
        way: &Way<'a>,
        state: NeighbourConst,
    ) -> Result<Hwid, Refusal> {
        let cached = way
            .dev
            .neighbour(state.family, state.hop)
            .map_err(|_| Refusal::Neighbour)?;
        let layers = way.layers.share()?;
        let below = self.layers(tree, way.layers)?;
        let (on, below) = (below.map(|(on, _)| on), below.map(|(_, block)| block));
        let hash = state.hash();
        let id = self
            .objects
            .neighbours
            .inserter()
            .insert(
                hash,
                |_| false,
                |id| {
                    let record = NeighbourRecord {
                        links: Links::new(hash, id),
                        entry: Entry::new(),
                        dev: DevRef::new(way.dev),
                        state,
                        layers: layers.clone(),
                        on,
                        told: AtomicU64::new(NeighbourWord::new(cached).raw()),
                    };
                    Ok(KBox::new(record, GFP_ATOMIC)?)
                },
            )
            .map_err(no_room)?;
        let object = Object::Neighbour(Neighbour {
            constant: state,
            cached,
            ..Neighbour::default()
        });
        let parts = Parts::Neighbour {
            dev: way.dev,
            layers,
        };
        match tree.add(below, object, None, Host::New(id, parts)) {
            Ok(block) => {
                let guard = ReadGuard::within(&self.bh);
                if let Some(record) = self.objects.neighbours.get(&guard, id) {
                    record.entry.set_block(self.state.tree, block);
                }
                Ok(id)
            }
            Err(_) => {
                self.objects.neighbours.remove(id);
                Err(Refusal::NoMemory)
            }
        }
    }

    /// The layers of a way, from the lowest up: the uppermost one, if there are any.
    fn layers(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        layers: &Layers,
    ) -> Result<Option<(Hwid, BlockId)>, Refusal> {
        let guard = ReadGuard::within(&self.bh);
        let table = &self.objects.layers;
        let mut below: Option<(Hwid, BlockId)> = None;
        for (state, dev) in layers.states() {
            let on = below.map(|(on, _)| on);
            let hash = u32::from(state.id) ^ state.device.rotate_left(12);
            let known = table.find(&guard, hash, |l| l.state == state && l.on == on);
            let id = match known {
                Some(record) => record.links.id(),
                None => table
                    .inserter()
                    .insert(
                        hash,
                        |_| false,
                        |id| {
                            let record = LayerRecord {
                                links: Links::new(hash, id),
                                entry: Entry::new(),
                                dev: DevRef::new(dev),
                                state,
                                on,
                            };
                            Ok(KBox::new(record, GFP_ATOMIC)?)
                        },
                    )
                    .map_err(no_room)?,
            };
            let record = table.get(&guard, id).ok_or(Refusal::NoMemory)?;
            let block = match record.entry.block(self.state.tree) {
                Some(block) => block,
                None => {
                    let handle = record.entry.handle(Level::Layer);
                    let host = match handle {
                        Some(_) => Host::Handle,
                        None => Host::New(id, Parts::Plain),
                    };
                    let on = below.map(|(_, block)| block);
                    match tree.add(on, record.object(), handle, host) {
                        Ok(block) => block,
                        Err(_) => {
                            if handle.is_none() {
                                table.remove(id);
                            }
                            return Err(Refusal::NoMemory);
                        }
                    }
                }
            };
            record.entry.set_block(self.state.tree, block);
            below = Some((id, block));
        }
        Ok(below)
    }

    /// One more connection depends on the path.
    pub(super) fn depend(&self, path: Hwid) {
        let guard = ReadGuard::within(&self.bh);
        if let Some(path) = self.objects.paths.get(&guard, path) {
            path.entry.depend(true);
        }
    }

    /// The target has been given the tree: what it made has a handle, and counts as a
    /// dependant of what it lies on.
    pub(super) fn made(&self, tree: &OffloadTree<'_, '_>) {
        if !self.news {
            return;
        }
        let guard = ReadGuard::within(&self.bh);
        let objects = self.objects;
        for block in tree.walk().filter_map(|id| tree.get(id)) {
            let (Host::New(id, _), Some(handle)) = (&block.host, block.handle) else {
                continue;
            };
            match handle.level {
                Level::Layer => {
                    let record = objects.layers.get(&guard, *id);
                    record.inspect(|r| r.entry.handle.store(handle.id.raw(), Relaxed));
                    self.layer_depends(&guard, record.and_then(|r| r.on));
                }
                Level::Neighbour => {
                    let record = objects.neighbours.get(&guard, *id);
                    record.inspect(|r| r.entry.handle.store(handle.id.raw(), Relaxed));
                    self.layer_depends(&guard, record.and_then(|r| r.on));
                }
                Level::Path => {
                    let record = objects.paths.get(&guard, *id);
                    record.inspect(|r| r.entry.handle.store(handle.id.raw(), Relaxed));
                    let on = record.and_then(|r| objects.neighbours.get(&guard, r.on));
                    on.inspect(|on| {
                        on.entry.depend(true);
                    });
                }
                Level::Connection => {}
            }
        }
    }

    fn layer_depends(&self, guard: &ReadGuard<'_>, on: Option<Hwid>) {
        if let Some(on) = on.and_then(|on| self.objects.layers.get(guard, on)) {
            on.entry.depend(true);
        }
    }

    /// What was put into the tree and is of no use goes again: what the target did not
    /// make, and what nothing depends on.
    pub(super) fn sweep(&self, target: &dyn OffloadTarget, tree: &OffloadTree<'_, '_>) {
        if !self.news {
            return;
        }
        let mut at = tree.first_down();
        while let Some(id) = at {
            if let Some((Host::New(id, _), object)) = tree.get(id).map(|b| (&b.host, &b.object)) {
                self.forget(target, object.level(), *id);
            }
            at = tree.after_down(id);
        }
    }

    /// One connection less depends on the path. Of those on which nothing depends any
    /// more a few are kept for a moment, unless the device goes.
    pub(super) fn release(&mut self, target: &dyn OffloadTarget, path: Hwid) {
        let guard = ReadGuard::within(&self.bh);
        let Some(record) = self.objects.paths.get(&guard, path) else {
            return;
        };
        if record.entry.depend(false) != 0 {
            return;
        }
        let neighbour = self.objects.neighbours.get(&guard, record.on);
        if target.device().check_open().is_err() || neighbour.is_none_or(|n| n.dev.is_going()) {
            self.forget(target, Level::Path, path);
            return;
        }
        record.idle_ms.store(time::now_ms(), Relaxed);
        let state = &mut *self.state;
        if state.idle.contains(&Some(path)) {
            return;
        }
        let place = state.next % MOST_IDLE;
        state.next = place + 1;
        let other = state
            .idle
            .get_mut(place)
            .and_then(|slot| slot.replace(path));
        if let Some(other) = other {
            self.forget(target, Level::Path, other);
        }
    }

    /// Terminates paths that nothing depended on for a while, or all such paths. `true`:
    /// some are left.
    fn sweep_idle(&mut self, target: &dyn OffloadTarget, all: bool) -> bool {
        let guard = ReadGuard::within(&self.bh);
        let now = time::now_ms();
        let mut left = false;
        for place in 0..MOST_IDLE {
            let Some(path) = self.state.idle.get(place).copied().flatten() else {
                continue;
            };
            let record = self.objects.paths.get(&guard, path);
            let idle = record.filter(|r| r.entry.dependants.load(Relaxed) == 0);
            if !all && idle.is_some_and(|r| now < r.idle_ms.load(Relaxed) + IDLE_MS) {
                left = true;
                continue;
            }
            if let Some(slot) = self.state.idle.get_mut(place) {
                *slot = None;
            }
            if idle.is_some() {
                self.forget(target, Level::Path, path);
            }
        }
        left
    }

    /// Terminates an object, and those below it, as far as nothing depends on them.
    #[cold]
    fn forget(&self, target: &dyn OffloadTarget, level: Level, id: Hwid) {
        let objects = self.objects;
        let mut next = Some((level, id));
        while let Some((level, id)) = next.take() {
            let guard = ReadGuard::within(&self.bh);
            let (entry, on) = match level {
                Level::Path => match objects.paths.get(&guard, id).map(EntryRef::into_ref) {
                    Some(r) => (&r.entry, Some((Level::Neighbour, r.on))),
                    None => return,
                },
                Level::Neighbour => {
                    match objects.neighbours.get(&guard, id).map(EntryRef::into_ref) {
                        Some(r) => (&r.entry, r.on.map(|on| (Level::Layer, on))),
                        None => return,
                    }
                }
                Level::Layer => match objects.layers.get(&guard, id).map(EntryRef::into_ref) {
                    Some(r) => (&r.entry, r.on.map(|on| (Level::Layer, on))),
                    None => return,
                },
                Level::Connection => return,
            };
            if entry.dependants.load(Relaxed) != 0 {
                return;
            }
            if let Some(handle) = entry.handle(level) {
                let mut place = [None];
                target.terminate(&mut named(&mut place, handle));
                // Only what was made was counted by what it lies on.
                next = on.filter(|(level, on)| match level {
                    Level::Neighbour => objects
                        .neighbours
                        .get(&guard, *on)
                        .is_some_and(|r| r.entry.depend(false) == 0),
                    _ => objects
                        .layers
                        .get(&guard, *on)
                        .is_some_and(|r| r.entry.depend(false) == 0),
                });
            }
            match level {
                Level::Path => objects.paths.remove(id),
                Level::Neighbour => objects.neighbours.remove(id),
                _ => objects.layers.remove(id),
            };
        }
    }

    /// The path's handle, for a part of a tree with it at the bottom.
    pub(super) fn path(&self, path: Hwid) -> Option<Handle> {
        let guard = ReadGuard::within(&self.bh);
        self.objects
            .paths
            .get(&guard, path)?
            .entry
            .handle(Level::Path)
    }
}

/// The route of a path has another MTU. The book is open.
#[cold]
fn tell_mtu(target: &dyn OffloadTarget, path: &PathRecord, mtu: u32) {
    path.told.store(mtu, Relaxed);
    if let Some(handle) = path.entry.handle(Level::Path) {
        let mut place = [None];
        target.update(&mut one(&mut place, path.object(), handle));
        target.device().stats().updated(Update::PathMtu);
    }
}

/// Is told of what happens to neighbours.
pub(crate) struct Events;

impl NetEventNotifier for Events {
    fn neighbour(&self, neighbour: &netevent::Neighbour) {
        let dev = neighbour.dev();
        let target = registry::target_of(Layers::below(dev));
        if let (Some((target, _)), Some(address)) = (target, neighbour.address()) {
            let objects = target.device().objects();
            objects.neighbour_changed(target, dev, address);
        }
    }
}
