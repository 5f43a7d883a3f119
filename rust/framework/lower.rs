// SPDX-License-Identifier: GPL-2.0

//! The objects below connections, for a target that has them in the host's memory: each in
//! a table of its kind, by handle. A connection's entry refers to its path and a path to its
//! neighbour, so that they stay as long as they are needed, whatever the host terminates
//! first.
//!
//! Operations write cached state and the engine reads it, without a lock: that of each
//! object is one word.

use core::sync::atomic::{
    AtomicBool,
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
        OffloadTree,
        Parts, //
    }, //
};
use crate::{
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        hwid::Hwid,
        reason::Refusal,
        template::{
            HeaderTemplate,
            TemplateParams, //
        },
        tree::{
            state::{
                Connection,
                Handle,
                Layer,
                LayerConst,
                Level,
                Neighbour,
                NeighbourCached,
                NeighbourConst,
                NeighbourDelegated,
                NeighbourWord,
                Object,
                Path,
                PathCached,
                PathConst, //
            },
            BlockId,
            Status, //
        },
        tuple::Tuple, //
    },
    net::{
        devref::DevRef,
        memcg,
        sock::LockedSock,
        sync::rcu::ReadGuard,
        table::{
            node,
            Links,
            Node,
            Table, //
        },
        tcp::Hop, //
    }, //
};

/// An intermediate driver's object.
pub(crate) struct LayerObject {
    handle: Hwid,
    state: LayerConst,
    valid: AtomicBool,
    /// The layer that it lies on.
    on: Option<Arc<LayerObject>>,
}

impl LayerObject {
    pub(crate) fn new(handle: Hwid, state: LayerConst, on: Option<Arc<LayerObject>>) -> Self {
        LayerObject {
            handle,
            state,
            valid: AtomicBool::new(true),
            on,
        }
    }

    pub(crate) fn set_valid(&self, valid: bool) {
        self.valid.store(valid, Relaxed);
    }

    /// Returns whether frames may go through it, and through all below it.
    fn is_valid(&self) -> bool {
        let mut at = Some(self);
        while let Some(layer) = at {
            if !layer.valid.load(Relaxed) {
                return false;
            }
            at = layer.on.as_deref();
        }
        true
    }

    /// Its state, and whether it is valid.
    pub(crate) fn query(&self) -> (Layer, bool) {
        let layer = Layer {
            constant: self.state,
            ..Layer::default()
        };
        (layer, self.valid.load(Relaxed))
    }

    fn handle(&self) -> Handle {
        Handle {
            level: Level::Layer,
            id: self.handle,
        }
    }

    /// The layer that it lies on.
    pub(crate) fn below(&self) -> Option<Handle> {
        self.on.as_deref().map(Self::handle)
    }
}

/// A neighbour's object.
pub(crate) struct NeighbourObject {
    handle: Hwid,
    state: NeighbourConst,
    /// Cached: a [`NeighbourWord`].
    word: AtomicU64,
    /// Delegated: the second in which connections last made progress.
    progress: AtomicU32,
    /// The second in which the host was last asked; 0: it is to be asked.
    asked: AtomicU32,
    /// The device that it is reached by.
    pub(crate) dev: DevRef,
    /// What changes frames between that and the NIC.
    pub(crate) layers: Option<Arc<Layers>>,
    on: Option<Arc<LayerObject>>,
}

impl NeighbourObject {
    pub(crate) fn new(
        handle: Hwid,
        state: NeighbourConst,
        cached: NeighbourCached,
        dev: DevRef,
        layers: Option<Arc<Layers>>,
        on: Option<Arc<LayerObject>>,
    ) -> Self {
        NeighbourObject {
            handle,
            state,
            word: AtomicU64::new(NeighbourWord::new(cached).raw()),
            progress: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            dev,
            layers,
            on,
        }
    }

    /// Our link address on the way there.
    pub(crate) fn source(&self) -> [u8; 6] {
        self.state.source
    }

    pub(crate) fn set(&self, word: NeighbourWord) {
        self.word.store(word.raw(), Relaxed);
        if word.get().is_none_or(|cached| !cached.reachable) {
            self.asked.store(0, Relaxed);
        }
    }

    /// `None`: nothing may be sent to it.
    pub(crate) fn cached(&self) -> Option<NeighbourCached> {
        let word = NeighbourWord::from_raw(self.word.load(Relaxed));
        word.get()
            .filter(|_| self.on.as_deref().is_none_or(LayerObject::is_valid))
    }

    /// The header of a connection's frames to it, from what the host owns. Inlined, so that it
    /// is made where it stays.
    #[inline(always)]
    pub(crate) fn template_in_place(&self, tuple: &Tuple, data: &ConnData) -> HeaderTemplate {
        let cached = &data.cached;
        HeaderTemplate::new(&TemplateParams {
            src_mac: self.source(),
            // Without one nothing is sent.
            dst_mac: self.cached().unwrap_or_default().mac,
            tuple: *tuple,
            tos: cached.tos,
            ttl: cached.ttl,
            flow_label: cached.flow_label,
            df: cached.df,
            ts_ok: data.constant.ts_ok,
        })
    }

    /// The same by a call, where the caller's stack is short.
    #[inline(never)]
    pub(crate) fn template(&self, tuple: &Tuple, data: &ConnData) -> HeaderTemplate {
        self.template_in_place(tuple, data)
    }

    /// A connection's frames arrived there.
    pub(crate) fn progressed(&self, second: u32) {
        self.progress.store(second, Relaxed);
    }

    /// Returns whether the caller must ask the host before anything is sent: once a second.
    pub(crate) fn asks(&self, second: u32) -> bool {
        self.asked.load(Relaxed) != second && self.asked.swap(second, Relaxed) != second
    }

    /// Returns whether `hop` is this neighbour.
    pub(crate) fn is_at(&self, hop: &Hop) -> bool {
        self.state.family == hop.family && self.state.hop == hop.addr
    }

    /// Returns whether frames arrived there lately.
    pub(crate) fn has_progress(&self, second: u32) -> bool {
        let last = self.progress.load(Relaxed);
        last != 0 && second.wrapping_sub(last) <= 1
    }

    /// Its state, and whether it is valid.
    pub(crate) fn query(&self) -> (Neighbour, bool) {
        let word = NeighbourWord::from_raw(self.word.load(Relaxed));
        let neighbour = Neighbour {
            constant: self.state,
            cached: word.get().unwrap_or_default(),
            delegated: NeighbourDelegated {
                progress: self.progress.load(Relaxed),
            },
        };
        (neighbour, self.cached().is_some())
    }

    /// The layer that it lies on.
    pub(crate) fn below(&self) -> Option<Handle> {
        self.on.as_deref().map(LayerObject::handle)
    }
}

/// A path's object.
pub(crate) struct PathObject {
    state: PathConst,
    /// Cached: the MTU; 0 if the object is not valid.
    mtu: AtomicU32,
    /// What it lies on.
    pub(crate) neighbour: Arc<NeighbourObject>,
}

impl PathObject {
    pub(crate) fn new(
        state: PathConst,
        cached: PathCached,
        neighbour: Arc<NeighbourObject>,
    ) -> Self {
        PathObject {
            state,
            mtu: AtomicU32::new(cached.mtu),
            neighbour,
        }
    }

    /// `None`: it is not valid.
    pub(crate) fn set(&self, cached: Option<PathCached>) {
        self.mtu
            .store(cached.map_or(0, |cached| cached.mtu), Relaxed);
    }

    /// Returns whether anything may be sent there.
    pub(crate) fn is_valid(&self) -> bool {
        self.mtu.load(Relaxed) != 0
    }

    /// Its state, and whether it is valid.
    pub(crate) fn query(&self) -> (Path, bool) {
        let mtu = self.mtu.load(Relaxed);
        let path = Path {
            constant: self.state,
            cached: PathCached { mtu },
            ..Path::default()
        };
        (path, mtu != 0)
    }

    /// The neighbour that it lies on.
    pub(crate) fn below(&self) -> Handle {
        Handle {
            level: Level::Neighbour,
            id: self.neighbour.handle,
        }
    }
}

/// An object in a table.
trait ObjectNode: Node {
    type Object;

    fn new(links: Links<Self>, object: Arc<Self::Object>) -> Self;
    fn object(&self) -> &Arc<Self::Object>;
}

macro_rules! object_node {
    ($name:ident, $object:ty) => {
        struct $name {
            links: Links<$name>,
            object: Arc<$object>,
        }

        node!($name, links);

        impl ObjectNode for $name {
            type Object = $object;

            fn new(links: Links<Self>, object: Arc<$object>) -> Self {
                $name { links, object }
            }

            fn object(&self) -> &Arc<$object> {
                &self.object
            }
        }
    };
}

object_node!(LayerNode, LayerObject);
object_node!(NeighbourNode, NeighbourObject);
object_node!(PathNode, PathObject);

/// All of a device.
#[pin_data]
pub(crate) struct Objects {
    #[pin]
    layers: Table<LayerNode>,
    #[pin]
    neighbours: Table<NeighbourNode>,
    #[pin]
    paths: Table<PathNode>,
    /// Counts operations that changed an object: a header that was made at this number
    /// is right.
    changes: AtomicU32,
}

/// Objects of each kind at most.
const MAX_OBJECTS: u32 = 1 << 16;

impl Objects {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Objects {
            layers <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            neighbours <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            paths <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            changes: AtomicU32::new(0),
        }? Error)
    }

    /// How many more paths, neighbours and layers there is room for.
    pub(super) fn room(&self) -> (u32, u32, u32) {
        (
            self.paths.room(),
            self.neighbours.room(),
            self.layers.room(),
        )
    }

    /// A number that is another after any change of an object.
    #[inline(always)]
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }

    /// Makes every entry look at its objects before its next frame.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }
}

/// What [`OffloadTarget`](super::target::OffloadTarget) asks for, but for the connections in
/// a tree, which are the caller's.
impl Objects {
    /// Makes an object below connections.
    pub(crate) fn make(&self, tree: &OffloadTree<'_, '_>, id: BlockId) -> Result<Hwid, Refusal> {
        let block = tree.get(id).ok_or(Refusal::NoMemory)?;
        let on = below(tree, id);
        let layer = || find(&self.layers, on?.id);
        match (&block.object, &block.host) {
            (Object::Layer(l), _) => insert(&self.layers, |handle| {
                LayerObject::new(handle, l.constant, layer())
            }),
            (Object::Neighbour(n), Host::New(_, Parts::Neighbour { dev, layers })) => {
                let dev = DevRef::new(dev);
                insert(&self.neighbours, |handle| {
                    NeighbourObject::new(handle, n.constant, n.cached, dev, layers.clone(), layer())
                })
            }
            (Object::Path(p), _) => {
                let neighbour = on.and_then(|on| find(&self.neighbours, on.id));
                let neighbour = neighbour.ok_or(Refusal::NoMemory)?;
                insert(&self.paths, |_| {
                    PathObject::new(p.constant, p.cached, neighbour)
                })
            }
            _ => Err(Refusal::NoMemory),
        }
    }

    /// The path with this handle, while it is looked at.
    pub(crate) fn path_now<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        on: Handle,
    ) -> Option<&'g Arc<PathObject>> {
        Some(self.paths.get(guard, on.id)?.into_ref().object())
    }

    /// The path with this handle.
    pub(crate) fn path(&self, on: Handle) -> Option<Arc<PathObject>> {
        find(&self.paths, on.id)
    }

    /// The path that a connection in a tree lies on.
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn path_below(
        &self,
        tree: &OffloadTree<'_, '_>,
        id: BlockId,
    ) -> Result<Arc<PathObject>, Refusal> {
        let path = below(tree, id).and_then(|on| self.path(on));
        path.ok_or(Refusal::NoMemory)
    }

    /// Brings cached state up to date; `connection` does it for one of them, which from now
    /// on belongs to the path that is given, if one is. `None`: there is no such object.
    pub(crate) fn update(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        mut connection: impl FnMut(
            LockedSock<'_>,
            Hwid,
            &ConnCached,
            Option<Arc<PathObject>>,
        ) -> Option<()>,
    ) {
        tree.each(|tree, id| {
            let block = tree.get(id)?;
            let handle = block.handle?;
            match (&block.object, &block.host) {
                // Only what others belong to from now on.
                (Object::Named(_), _) => return Some(Status::Done),
                (Object::Layer(_), _) => find(&self.layers, handle.id)?.set_valid(true),
                (Object::Neighbour(n), _) => {
                    find(&self.neighbours, handle.id)?.set(NeighbourWord::new(n.cached));
                }
                (Object::Path(p), _) => self.path(handle)?.set(Some(p.cached)),
                (Object::Connection(c), Host::Connection(sk)) => {
                    let path = match below(tree, id) {
                        Some(on) => Some(self.path(on)?),
                        None => None,
                    };
                    connection(*sk, handle.id, &c.data.cached, path)?;
                    return Some(Status::Done);
                }
                _ => return None,
            }
            self.changed();
            Some(Status::Done)
        });
    }

    /// Nothing may be sent for these objects.
    pub(crate) fn invalidate(&self, tree: &mut OffloadTree<'_, '_>) {
        tree.each(|tree, id| {
            let handle = tree.get(id)?.handle?;
            match handle.level {
                Level::Layer => find(&self.layers, handle.id)?.set_valid(false),
                Level::Neighbour => {
                    find(&self.neighbours, handle.id)?.set(NeighbourWord::INVALID);
                }
                Level::Path => self.path(handle)?.set(None),
                // Of a connection nothing is invalid but its place in the tree.
                Level::Connection => return None,
            }
            self.changed();
            Some(Status::Done)
        });
    }

    /// Fills in states, and what objects lie on; `connection` says that of one of them,
    /// whose path is the lock's.
    pub(crate) fn query(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        connection: impl Fn(Hwid) -> Option<Connection>,
    ) {
        tree.each(|tree, id| {
            let block = tree.get_mut(id)?;
            let handle = block.handle?;
            let valid;
            (block.object, valid, block.below) = match handle.level {
                Level::Layer => {
                    let object = find(&self.layers, handle.id)?;
                    let (layer, valid) = object.query();
                    (Object::Layer(layer), valid, object.below())
                }
                Level::Neighbour => {
                    let object = find(&self.neighbours, handle.id)?;
                    let (neighbour, valid) = object.query();
                    (Object::Neighbour(neighbour), valid, object.below())
                }
                Level::Path => {
                    let object = self.path(handle)?;
                    let (path, valid) = object.query();
                    (Object::Path(path), valid, Some(object.below()))
                }
                Level::Connection => (Object::Connection(connection(handle.id)?), true, None),
            };
            Some(match valid {
                true => Status::Done,
                false => Status::Invalid,
            })
        });
    }

    /// Gives objects up; `connection` does it for one of them. `false`: there is none.
    pub(crate) fn terminate(
        &self,
        tree: &mut OffloadTree<'_, '_>,
        connection: impl Fn(LockedSock<'_>, Hwid) -> bool,
    ) {
        tree.each_down(|tree, id| {
            let block = tree.get(id)?;
            let handle = block.handle?;
            let there = match (handle.level, &block.host) {
                (Level::Layer, _) => self.layers.remove(handle.id),
                (Level::Neighbour, _) => self.neighbours.remove(handle.id),
                (Level::Path, _) => self.paths.remove(handle.id),
                (Level::Connection, Host::Connection(sk)) => connection(*sk, handle.id),
                (Level::Connection, _) => false,
            };
            there.then_some(Status::Done)
        });
    }
}

/// The level below a block, if it is an object that the target has.
pub(crate) fn below(tree: &OffloadTree<'_, '_>, id: BlockId) -> Option<Handle> {
    tree.get(tree.get(id)?.on()?)?.handle
}

/// Puts an object into the table that is made once it has its name. Any context.
fn insert<N: ObjectNode>(
    table: &Table<N>,
    make: impl FnOnce(Hwid) -> N::Object,
) -> Result<Hwid, Refusal> {
    // They are found by handle only: any bucket will do, preferably another one each time.
    let hash = table.len();
    table
        .inserter()
        .insert(
            hash,
            |_| false,
            |id| {
                let object = Arc::new(make(id), memcg::atomic())?;
                Ok(Box::new(
                    N::new(Links::new(hash, id), object),
                    memcg::atomic(),
                )?)
            },
        )
        .map_err(Refusal::from)
}

/// The object with this handle. Any context.
fn find<N: ObjectNode>(table: &Table<N>, id: Hwid) -> Option<Arc<N::Object>> {
    let guard = ReadGuard::new();
    table.get(&guard, id).map(|node| node.object().clone())
}
