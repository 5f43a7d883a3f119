// SPDX-License-Identifier: GPL-2.0

//! The delegated connection table of the emulated NIC.
//!
//! An entry has three storages: the *connection match* that identifies a frame, the
//! *connection data* that is the protocol state, and the *connection buffer* where
//! received payload goes. Three units access it:
//!
//! - the command unit ([`command`]) creates, updates, queries and removes
//!   entries for the host;
//! - the receive engine ([`rx`]) reads the match and updates the data;
//! - the transmit engine ([`tx`]) reads and updates the data.
//!
//! Lookups run under RCU; everything else about an entry is guarded by the lock
//! of its socket. The device has no lock of its own on the data path, because it
//! shares memory with the host: one lock makes every hand-over atomic, so that
//! no frame can be processed twice or by nobody. Hardware would put a mailbox in
//! its place.
//!
//! Claims: Documentation/networking/toe-claims.rst

pub(crate) mod abilities;
mod audit;
mod buffer;
pub(crate) mod command;
mod deferred;
mod engine;
#[cfg(toe_engine_tests)]
mod fake;
mod legacy;
pub(crate) mod rx;
mod short_cut;
mod tx;
mod tx_path;

use core::sync::atomic::{
    AtomicU16,
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use crate::{
    framework::{
        host::{
            AwaitRead,
            AwaitRelease,
            Connection,
            Layers,
            PathObject, //
        },
        target::Counters, //
    },
    logic::{
        conn::ConnData,
        expect::Expected,
        hwid::Hwid,
        legacy::Legacy,
        next_hop::NextHop,
        template::HeaderTemplate,
        tuple::Tuple, //
    },
    net::{
        context::Bh,
        devref::{
            DevRef,
            DriverRef, //
        },
        input::RawSockets,
        ndo::Driver,
        net_device::NetDevice,
        skb::{
            DropReason,
            SkBuff, //
        },
        slab::{
            self,
            InSlab, //
        },
        sock::{
            LockedSock,
            Sock, //
        },
        sync::sock_cell::SockCell,
        table::Links,
        user_buffer::BufferSlot,
        vlan::TagKey, //
    }, //
};

use audit::Audit;
use deferred::Held;

pub(crate) use command::offload_target;
pub(crate) use engine::Engine;

/// Why an engine's frame was not sent; it is given back.
pub(crate) enum SendError {
    /// There is no room. The NIC calls [`Engine::tx_room`] when there is.
    Full(SkBuff),
    /// The link is down, or there is nobody at its other end.
    Down(SkBuff),
}

/// A NIC with a delegated connection table: the driver's value in each of its devices.
/// [`offload_target`] makes it a target of the framework.
///
/// It gives the engine the frames that come in ([`rx::input`]), and tells it when
/// there is room for those that go out ([`Engine::tx_room`]).
pub(crate) trait Nic: Driver {
    /// Table and engines of the device.
    fn engine(&self) -> &Engine<Self>;

    /// The device.
    fn dev(&self) -> &NetDevice;

    /// The NIC at the other end of the link, if it is on this machine, and of the same kind.
    fn peer<'a>(&self, _bh: &'a Bh) -> Option<&'a Self> {
        None
    }

    /// Whether it answers the framework at all.
    fn answers(&self) -> bool {
        true
    }

    /// Whether it takes connections at present.
    fn accepts(&self) -> bool {
        true
    }

    /// Sends a frame that the engine built: complete from its Ethernet header
    /// on, with its network header set, maybe to be segmented or checksummed.
    ///
    /// The NIC counts it, shows it to packet taps, and segments or checksums it if the
    /// device's features say that the wire has no such frames. `via` are the
    /// layers that it goes through before. Where it stays as it is, its receiver may find
    /// `stamp` in it. Returns how many frames and bytes it was then. Bottom halves off,
    /// under the lock of the connection's socket.
    fn send_frame(
        &self,
        skb: SkBuff,
        queue: u16,
        via: Option<&Layers>,
        stamp: u64,
        bh: &Bh,
    ) -> Result<(u32, u64), SendError>;
}

/// Seed of the tuple hash: constant, for the tuple of an established connection
/// was chosen by both ends already, and a chain is bounded by the table.
const SEED: u32 = 0x9e37_79b9;

/// The cache of all entries.
pub(crate) struct Entries;

slab::kind!(Entries);

/// One delegated connection.
pub(crate) struct Entry<N: Nic> {
    links: Links<Entry<N>>,
    /// Connection match. `local` is this end.
    tuple: Tuple,
    /// Our link address, to which frames must be addressed.
    mac: [u8; 6],
    /// Transmit queue: the one of the host's frames, which the engine's must not
    /// overtake.
    queue: AtomicU16,
    /// Data waits for the process that owns the socket to let it go.
    kick: AwaitRelease,
    /// The host's two levels: `struct sock` and, in it, `struct tcp_sock`.
    sk: ARef<Sock>,
    /// Keeps the device while frames may still be sent through it.
    nic: DriverRef<N>,
    /// The object that it lies on.
    path: SockCell<Arc<PathObject>>,
    /// The device that the connection's route leaves through: the same, or one on top
    /// of the layers.
    path_dev: DevRef,
    /// What changes its frames between the two.
    layers: Option<Arc<Layers>>,
    /// The VLAN tag that a NIC has taken out of a frame that looks as expected.
    tag: TagKey,
    /// Who else may want to see its frames.
    raw: RawSockets,
    /// Connection data.
    data: SockCell<ConnData>,
    /// Whether it says what the socket says.
    audit: Audit,
    /// The present or last stay in legacy mode.
    legacy: SockCell<Legacy>,
    /// Header of every frame the transmit engine builds.
    template: SockCell<HeaderTemplate>,
    /// Tells frames of this template from those of all others, also of earlier ones.
    stamp: AtomicU64,
    /// The stamp of the peer's frames, once one of them was compared with what is expected.
    known: AtomicU64,
    /// The hwid of the other end's entry, in the peer's table, once it was looked up.
    other: AtomicU64,
    /// Its unsent bytes wait until the other end is read.
    awaits_read: AwaitRead,
    /// When the objects below it were checked.
    next_hop: SockCell<NextHop>,
    /// Connection buffer: the user buffer that is posted.
    buffer: BufferSlot,
    /// Without one: what is deferred. Made when it is needed, which is seldom.
    deferred: SockCell<Option<KBox<Held>>>,
    /// What the engines did for it.
    counters: SockCell<Counters>,
}

crate::net::table::node!(N: Nic => Entry<N>, links, InSlab<Entries>);

impl<N: Nic> Entry<N> {
    /// What host and target call it.
    #[inline(always)]
    fn hwid(&self) -> Hwid {
        self.links.id()
    }

    /// Whether it is the one of this connection.
    #[inline(always)]
    fn is(&self, conn: &Connection) -> bool {
        conn.is(self.nic.dev(), self.hwid())
    }

    /// What frames to it look like.
    #[inline(always)]
    fn expected(&self) -> Expected<'_> {
        Expected::new(&self.mac, &self.tuple)
    }

    /// The transmit queue of its frames.
    #[inline]
    fn queue(&self) -> u16 {
        self.queue.load(Relaxed)
    }

    /// Sends a frame of its own through `nic`, which is its NIC.
    #[inline(always)]
    fn send_frame(&self, nic: &N, skb: SkBuff, bh: &Bh) -> Result<(u32, u64), SendError> {
        let sent = nic.send_frame(skb, self.queue(), self.layers.as_deref(), self.stamp(), bh);
        match sent {
            Err(SendError::Down(skb)) => self.link_down(skb),
            sent => sent,
        }
    }

    /// A frame that has no way. On a bond it is lost, as a frame of the host stack would be: the
    /// connection is moved as soon as the bond sends by another member.
    #[cold]
    #[inline(never)]
    fn link_down(&self, skb: SkBuff) -> Result<(u32, u64), SendError> {
        match self
            .layers
            .as_ref()
            .is_some_and(|layers| layers.is_bonded())
        {
            true => {
                skb.drop_because(DropReason::DevReady);
                Ok((0, 0))
            }
            false => Err(SendError::Down(skb)),
        }
    }

    /// What its frames are marked with.
    #[inline(always)]
    fn stamp(&self) -> u64 {
        self.stamp.load(Relaxed)
    }

    /// Brings the connection data up to date, for the receive engine.
    #[inline(always)]
    fn load(&self, sk: LockedSock<'_>, data: &mut ConnData) {
        self.audited(sk, data);
        sk.load(data);
    }

    /// The same for the transmit engine: what that goes by.
    #[inline(always)]
    fn load_tx(&self, sk: LockedSock<'_>, data: &mut ConnData) {
        self.audited(sk, data);
        sk.load_tx(data);
    }

    #[inline(always)]
    fn audited(&self, sk: LockedSock<'_>, data: &mut ConnData) {
        let counts = self.nic.engine().audit();
        self.audit.used(sk, self.hwid(), data, counts);
    }

    /// Changes the header of its frames; `f` says whether it is another one then.
    fn change_template(&self, sk: LockedSock<'_>, f: impl FnOnce(&mut HeaderTemplate) -> bool) {
        if self.template.with_mut(sk, f) {
            self.stamp.store(next_stamp(), Relaxed);
        }
    }

    /// Follows the host stack, which chooses another one now and then, after a
    /// timeout for one.
    fn follow_queue(&self, sk: LockedSock<'_>) {
        if let Some(queue) = host_queue(sk, self.nic.dev()) {
            self.queue.store(queue, Relaxed);
        }
    }
}

/// A stamp that no frame has yet. 64 bits do not wrap.
fn next_stamp() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

/// The transmit queue that the host stack chose for the socket's frames.
fn host_queue(sk: LockedSock<'_>, dev: &NetDevice) -> Option<u16> {
    sk.tx_queue()
        .filter(|queue| u32::from(*queue) < dev.real_num_tx_queues())
}
