// SPDX-License-Identifier: GPL-2.0

//! State objects: what host and target each know of a layer, a neighbour, a path or a
//! connection.
//!
//! Each has three parts, with one owner each:
//!
//! - *constant*: set when the object is made, the same until it goes. It is what tells
//!   two objects of a kind apart;
//! - *cached*: the host's. The target has a copy, which only the host's *update*
//!   changes;
//! - *delegated*: the target's. The host asks for it by *query*, and gets it back by
//!   *terminate*.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::super::{
    conn::ConnData,
    hwid::Hwid,
    tuple::{
        Family,
        Tuple, //
    }, //
};

/// Which kind an object is, in the order in which they depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum Level {
    /// An intermediate driver's: between the NIC and the neighbours.
    Layer = 0,
    /// A neighbour: who receives the frames.
    Neighbour = 1,
    /// A path: from one IP address to another.
    Path = 2,
    /// A connection.
    Connection = 3,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Layer, Self::Neighbour, Self::Path, Self::Connection];

    /// The name that debugfs shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Neighbour => "neighbour",
            Self::Path => "path",
            Self::Connection => "connection",
        }
    }

    /// Returns whether an object of this level may depend on one of `other`, or on none. A
    /// part of a tree may begin anywhere; layers lie on each other.
    pub const fn fits_on(self, other: Option<Self>) -> bool {
        matches!(
            (self, other),
            (_, None)
                | (Self::Layer | Self::Neighbour, Some(Self::Layer))
                | (Self::Path, Some(Self::Neighbour))
                | (Self::Connection, Some(Self::Path))
        )
    }
}

/// What the target calls an object: the host names it by this from then on. Index and
/// generation as those of a [`Hwid`], which a connection's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handle {
    /// The kind of the object.
    pub level: Level,
    /// Which one of the target's.
    pub id: Hwid,
}

impl Handle {
    /// Of a connection.
    pub const fn connection(hwid: Hwid) -> Self {
        Self {
            level: Level::Connection,
            id: hwid,
        }
    }
}

/// Constant state of a VLAN device, or of a bond.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LayerConst {
    /// Index of the device.
    pub device: u32,
    /// Ethertype of its tag; 0: it is a bond.
    pub proto: u16,
    /// Its identifier.
    pub id: u16,
    /// Its link address.
    pub mac: [u8; 6],
}

/// Cached state of a layer: none. The priority of a VLAN's tag is looked up in the egress
/// map for each frame, because changes of the map are not notified. By which member a bond
/// sends, another NIC's target takes the connection for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LayerCached;

/// Delegated state of a layer: none. Its frames are counted in the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LayerDelegated;

/// An intermediate driver's object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layer {
    /// Set when the object is made.
    pub constant: LayerConst,
    /// The host's.
    pub cached: LayerCached,
    /// The target's.
    pub delegated: LayerDelegated,
}

/// Constant state of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeighbourConst {
    /// Index of the device that it is reached by: the NIC, or the uppermost layer.
    pub device: u32,
    /// That device's own link address, the source of frames.
    pub source: [u8; 6],
    /// Family of `hop`.
    pub family: Family,
    /// IP address of the neighbour, as in [`Tuple`].
    pub hop: [u8; 16],
}

/// Cached state of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeighbourCached {
    /// Its link address.
    pub mac: [u8; 6],
    /// The host needs no proof that it is there (NUD_REACHABLE, NUD_PERMANENT,
    /// NUD_NOARP). Otherwise the host is asked before anything is sent.
    pub reachable: bool,
}

/// Delegated state of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeighbourDelegated {
    /// The second, as [`second`](super::super::next_hop::second) counts them, in which
    /// connections were last found to make progress: their frames arrive. 0: never.
    pub progress: u32,
}

/// A neighbour's object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Neighbour {
    /// Set when the object is made.
    pub constant: NeighbourConst,
    /// The host's.
    pub cached: NeighbourCached,
    /// The target's.
    pub delegated: NeighbourDelegated,
}

/// Constant state of a path: what the route was looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathConst {
    /// Family of both addresses.
    pub family: Family,
    /// Own address, as in [`Tuple`].
    pub local: [u8; 16],
    /// Address of the peer.
    pub remote: [u8; 16],
    /// Mark of the sockets (`SO_MARK`), by which rules choose a routing table.
    pub mark: u32,
}

/// Cached state of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathCached {
    /// Largest IP packet in bytes.
    pub mtu: u32,
}

/// Delegated state of a path: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathDelegated;

/// A path's object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Path {
    /// Set when the object is made.
    pub constant: PathConst,
    /// The host's.
    pub cached: PathCached,
    /// The target's.
    pub delegated: PathDelegated,
}

/// A connection's object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connection {
    /// Constant state, with that in `data`: `local` is the end of the host that offloads.
    pub tuple: Tuple,
    /// All three parts.
    pub data: ConnData,
}

/// A state object of any kind.
// Blocks lie in one array, whatever they hold; most are connections.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// What an intermediate driver adds.
    Layer(Layer),
    /// A next hop.
    Neighbour(Neighbour),
    /// A pair of addresses.
    Path(Path),
    /// A TCP connection.
    Connection(Connection),
    /// One of this kind that the target has: its handle says which, and nothing else of
    /// it matters to the operation.
    Named(Level),
}

impl Object {
    /// Its kind.
    pub const fn level(&self) -> Level {
        match self {
            Self::Layer(_) => Level::Layer,
            Self::Neighbour(_) => Level::Neighbour,
            Self::Path(_) => Level::Path,
            Self::Connection(_) => Level::Connection,
            Self::Named(level) => *level,
        }
    }

    /// Returns whether the constant state agrees with that of `other`: two objects of a
    /// kind on the same one below are then one. An object that is only named is never the
    /// same.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Layer(a), Self::Layer(b)) => a.constant == b.constant,
            (Self::Neighbour(a), Self::Neighbour(b)) => a.constant == b.constant,
            (Self::Path(a), Self::Path(b)) => a.constant == b.constant,
            (Self::Connection(a), Self::Connection(b)) => a.tuple == b.tuple,
            _ => false,
        }
    }
}

/// A neighbour's cached state in one word, so that a reader sees all of it: the link
/// address, and whether it may be sent to at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighbourWord(u64);

impl NeighbourWord {
    const VALID: u64 = 1 << 48;
    const REACHABLE: u64 = 1 << 49;

    /// Of an object that was invalidated: nothing is sent for its dependants.
    pub const INVALID: Self = Self(0);

    /// Of a valid object.
    pub const fn new(cached: NeighbourCached) -> Self {
        let [a, b, c, d, e, f] = cached.mac;
        let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let reachable = if cached.reachable { Self::REACHABLE } else { 0 };
        Self(mac | Self::VALID | reachable)
    }

    /// `None`: invalid.
    pub const fn get(self) -> Option<NeighbourCached> {
        if self.0 & Self::VALID == 0 {
            return None;
        }
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        Some(NeighbourCached {
            mac: [a, b, c, d, e, f],
            reachable: self.0 & Self::REACHABLE != 0,
        })
    }

    /// For an atomic.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// What [`Self::raw`] gave.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_state_objects))]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_what() {
        use Level::{
            Connection,
            Layer,
            Neighbour,
            Path, //
        };
        let allowed = [
            (Layer, Layer),
            (Neighbour, Layer),
            (Path, Neighbour),
            (Connection, Path),
        ];
        for upper in Level::ALL {
            assert!(upper.fits_on(None));
            for lower in Level::ALL {
                assert_eq!(
                    upper.fits_on(Some(lower)),
                    allowed.contains(&(upper, lower))
                );
            }
        }
    }

    #[test]
    fn constant_state_is_identity() {
        let path = |mtu, mark| {
            Object::Path(Path {
                constant: PathConst {
                    mark,
                    ..PathConst::default()
                },
                cached: PathCached { mtu },
                ..Path::default()
            })
        };
        assert!(path(1500, 1).is_same(&path(1000, 1)));
        assert!(!path(1500, 1).is_same(&path(1500, 2)));
        assert!(!path(1500, 0).is_same(&Object::Neighbour(Neighbour::default())));
    }

    #[test]
    fn a_neighbour_in_a_word() {
        for reachable in [false, true] {
            for mac in [[0; 6], [0xff; 6], [2, 0, 0, 0x77, 3, 0x80]] {
                let cached = NeighbourCached { mac, reachable };
                let word = NeighbourWord::from_raw(NeighbourWord::new(cached).raw());
                assert!(word.get() == Some(cached));
                assert!(word != NeighbourWord::INVALID);
            }
        }
        assert!(NeighbourWord::INVALID.get().is_none());
    }
}
