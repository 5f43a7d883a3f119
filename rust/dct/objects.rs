// SPDX-License-Identifier: GPL-2.0

//! The objects below connections, as the emulated NIC has them: each in a table of its
//! kind, by handle. An entry refers to its path and a path to its neighbour, so that they
//! stay as long as they are needed, whatever the host terminates first.
//!
//! The command unit writes cached state and the transmit engine reads it, without a lock:
//! that of each object is one word.

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

use crate::{
    framework::host::Layers,
    logic::{
        hwid::Hwid,
        reason::Refusal,
        tree::state::{
            Handle,
            Layer,
            LayerConst,
            Level,
            Neighbour,
            NeighbourCached,
            NeighbourConst,
            NeighbourDelegated,
            NeighbourWord,
            Path,
            PathCached,
            PathConst, //
        }, //
    },
    net::{
        devref::DevRef,
        memcg,
        sync::rcu::ReadGuard,
        table::{
            node,
            Full,
            Links,
            Node,
            Table, //
        }, //
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
    pub(super) fn new(handle: Hwid, state: LayerConst, on: Option<Arc<LayerObject>>) -> Self {
        LayerObject {
            handle,
            state,
            valid: AtomicBool::new(true),
            on,
        }
    }

    pub(super) fn set_valid(&self, valid: bool) {
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
    pub(super) fn query(&self) -> (Layer, bool) {
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
    pub(super) fn below(&self) -> Option<Handle> {
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
    pub(super) dev: DevRef,
    /// What changes frames between that and the NIC.
    pub(super) layers: Option<Arc<Layers>>,
    on: Option<Arc<LayerObject>>,
}

impl NeighbourObject {
    pub(super) fn new(
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
    pub(super) fn source(&self) -> [u8; 6] {
        self.state.source
    }

    pub(super) fn set(&self, word: NeighbourWord) {
        self.word.store(word.raw(), Relaxed);
        if word.get().is_none_or(|cached| !cached.reachable) {
            self.asked.store(0, Relaxed);
        }
    }

    /// `None`: nothing may be sent to it.
    pub(super) fn cached(&self) -> Option<NeighbourCached> {
        let word = NeighbourWord::from_raw(self.word.load(Relaxed));
        word.get()
            .filter(|_| self.on.as_deref().is_none_or(LayerObject::is_valid))
    }

    /// A connection's frames arrived there.
    pub(super) fn progressed(&self, second: u32) {
        self.progress.store(second, Relaxed);
    }

    /// Returns whether the caller must ask the host before anything is sent: once a second.
    pub(super) fn asks(&self, second: u32) -> bool {
        self.asked.load(Relaxed) != second && self.asked.swap(second, Relaxed) != second
    }

    /// Returns whether frames arrived there lately.
    pub(super) fn has_progress(&self, second: u32) -> bool {
        let last = self.progress.load(Relaxed);
        last != 0 && second.wrapping_sub(last) <= 1
    }

    /// Its state, and whether it is valid.
    pub(super) fn query(&self) -> (Neighbour, bool) {
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
    pub(super) fn below(&self) -> Option<Handle> {
        self.on.as_deref().map(LayerObject::handle)
    }
}

/// A path's object.
pub(crate) struct PathObject {
    state: PathConst,
    /// Cached: the MTU; 0 if the object is not valid.
    mtu: AtomicU32,
    /// What it lies on.
    pub(super) neighbour: Arc<NeighbourObject>,
}

impl PathObject {
    pub(super) fn new(
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
    pub(super) fn set(&self, cached: Option<PathCached>) {
        self.mtu
            .store(cached.map_or(0, |cached| cached.mtu), Relaxed);
    }

    /// Returns whether anything may be sent there.
    pub(super) fn is_valid(&self) -> bool {
        self.mtu.load(Relaxed) != 0
    }

    /// Its state, and whether it is valid.
    pub(super) fn query(&self) -> (Path, bool) {
        let mtu = self.mtu.load(Relaxed);
        let path = Path {
            constant: self.state,
            cached: PathCached { mtu },
            ..Path::default()
        };
        (path, mtu != 0)
    }

    /// The neighbour that it lies on.
    pub(super) fn below(&self) -> Handle {
        Handle {
            level: Level::Neighbour,
            id: self.neighbour.handle,
        }
    }
}

/// An object in a table.
pub(super) trait ObjectNode: Node {
    type Object;

    fn new(links: Links<Self>, object: Arc<Self::Object>) -> Self;
    fn object(&self) -> &Arc<Self::Object>;
}

macro_rules! object_node {
    ($name:ident, $object:ty) => {
        pub(super) struct $name {
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
    pub(super) layers: Table<LayerNode>,
    #[pin]
    pub(super) neighbours: Table<NeighbourNode>,
    #[pin]
    pub(super) paths: Table<PathNode>,
    /// Counts operations that changed an object: a header that was made at this number
    /// is right.
    changes: AtomicU32,
}

/// Objects of each kind at most.
const MAX_OBJECTS: u32 = 1 << 16;

impl Objects {
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Objects {
            layers <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            neighbours <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            paths <- Table::new(MAX_OBJECTS, MAX_OBJECTS),
            changes: AtomicU32::new(0),
        }? Error)
    }

    /// A number that is another after any change of an object.
    #[inline(always)]
    pub(super) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }

    /// Makes every entry look at its objects before its next frame.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }
}

/// Puts an object into the table that is made once it has its name. Any context.
pub(super) fn insert<N: ObjectNode>(
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
                Ok(KBox::new(
                    N::new(Links::new(hash, id), object),
                    memcg::atomic(),
                )?)
            },
        )
        .map_err(|full| match full {
            Full::Memory => Refusal::NoMemory,
            Full::Table | Full::Duplicate => Refusal::TableFull,
        })
}

/// The object with this handle. Any context.
pub(super) fn find<N: ObjectNode>(table: &Table<N>, id: Hwid) -> Option<Arc<N::Object>> {
    let guard = ReadGuard::new();
    table.get(&guard, id).map(|node| node.object().clone())
}
