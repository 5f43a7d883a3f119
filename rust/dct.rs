// SPDX-License-Identifier: GPL-2.0

//! The delegated connection table of the emulated NIC.
//!
//! An entry has three storages (claims B 22-23): the *connection match* that
//! identifies a frame, the *connection data* that is the protocol state, and
//! the *connection buffer* where received payload goes. Three units access it:
//!
//! - the command unit ([`command`]) creates, updates, queries and removes
//!   entries for the host;
//! - the receive engine ([`receive`]) reads the match and updates the data;
//! - the transmit engine ([`transmit`]) reads and updates the data.
//!
//! Lookups run under RCU; everything else about an entry is guarded by the lock
//! of its socket. The device has no lock of its own on the data path, because it
//! shares memory with the host: one lock makes every hand-over atomic, so that
//! no frame can be processed twice or by nobody. Hardware would put a mailbox in
//! its place.

mod buffer;
pub(crate) mod command;
mod hold;
pub(crate) mod legacy;
mod objects;
mod path;
pub(crate) mod receive;
pub(crate) mod transmit;

use core::sync::atomic::{
    AtomicBool,
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
        connection::Record,
        hold as holding,
        intermediate::Layers,
        release,
        target::Counters, //
    },
    logic::{
        conn::ConnData,
        expect::Expected,
        hold::Held,
        hwid::Hwid,
        legacy::Legacy,
        next_hop::NextHop,
        template::HeaderTemplate,
        tuple::Tuple, //
    },
    net::{
        devref::DevRef,
        input::RawSockets,
        lock_cell::SockCell,
        netdev::NetDevice,
        skb::FrameList,
        sock::{
            LockedSock,
            Sock, //
        },
        table::{
            EntryRef,
            Links,
            ReadGuard,
            Table,
            MAX_CAPACITY, //
        },
        user_buffer::BufferSlot,
        vlan::TagKey, //
    },
    netdev::Port, //
};

use objects::{
    Objects,
    PathObject, //
};

/// Seed of the tuple hash: constant, for the tuple of an established connection
/// was chosen by both ends already, and a chain is bounded by the table.
const SEED: u32 = 0x9e37_79b9;

/// Bytes that a connection has transferred.
pub(crate) struct Moved {
    pub(crate) acked: u64,
    pub(crate) received: u64,
}

/// One delegated connection.
pub(crate) struct Entry {
    links: Links<Entry>,
    /// Connection match. `local` is this end.
    pub(crate) tuple: Tuple,
    pub(crate) hwid: Hwid,
    /// Our link address, to which frames must be addressed.
    pub(crate) mac: [u8; 6],
    /// What such frames look like.
    pub(crate) expected: Expected,
    /// Transmit queue: the one of the host's frames, which the engine's must not
    /// overtake.
    queue: AtomicU16,
    /// Data waits for the process that owns the socket to let it go.
    pub(crate) kick: AtomicBool,
    /// The host's two levels: `struct sock` and, in it, `struct tcp_sock`.
    pub(crate) sk: ARef<Sock>,
    /// Keeps the device while frames may still be sent through it.
    pub(crate) dev: DevRef,
    /// The object that it lies on.
    path: SockCell<Arc<PathObject>>,
    /// The device that the connection's route leaves through: the same, or one on top
    /// of the layers.
    pub(crate) path_dev: DevRef,
    /// What changes its frames between the two.
    pub(crate) layers: Option<Arc<Layers>>,
    /// The VLAN tag that a NIC has taken out of a frame that looks as expected.
    pub(crate) tag: TagKey,
    /// Who else may want to see its frames.
    pub(crate) raw: RawSockets,
    /// Connection data.
    pub(crate) data: SockCell<ConnData>,
    /// The present or last stay in legacy mode.
    pub(crate) legacy: SockCell<Legacy>,
    /// What had been transferred when it was handed over.
    pub(crate) at_handover: Moved,
    /// Header of every frame the transmit engine builds.
    template: SockCell<HeaderTemplate>,
    /// Tells frames of this template from those of all others, also of earlier ones.
    stamp: AtomicU64,
    /// The stamp of the peer's frames, once one of them was compared with what is expected.
    known: AtomicU64,
    /// When the objects below it were looked at.
    pub(crate) next_hop: SockCell<NextHop>,
    /// Connection buffer: the user buffer that is posted.
    pub(crate) buffer: BufferSlot,
    /// Without one: what is held, and its frames.
    held: SockCell<Held>,
    held_frames: SockCell<FrameList>,
    /// What the engines did for it.
    pub(crate) counters: SockCell<Counters>,
}

crate::net::table::node!(Entry, links);

impl Entry {
    /// The transmit queue of its frames.
    #[inline]
    pub(crate) fn queue(&self) -> u16 {
        self.queue.load(Relaxed)
    }

    /// What its frames are marked with.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.load(Relaxed)
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
        if let Some(queue) = host_queue(sk, &self.dev) {
            self.queue.store(queue, Relaxed);
        }
    }

    /// Data waits for the process that owns the socket. Softirq.
    fn set_kick(&self) {
        if !self.kick.swap(true, Relaxed) {
            release::wait();
        }
    }

    /// Takes the mark off and tells whether it was there.
    fn take_kick(&self) -> bool {
        let was = self.kick.swap(false, Relaxed);
        if was {
            release::seen();
        }
        was
    }
}

/// A stamp that no frame has yet. 64 bits do not wrap.
fn next_stamp() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.held.peek().any() {
            // The device left while a task owned the socket.
            holding::released();
        }
        self.take_kick();
    }
}

/// The transmit queue that the host stack chose for the socket's frames.
fn host_queue(sk: LockedSock<'_>, dev: &NetDevice) -> Option<u16> {
    sk.tx_queue()
        .filter(|queue| u32::from(*queue) < dev.real_num_tx_queues())
}

/// The table of one device.
#[pin_data]
pub(crate) struct Dct {
    #[pin]
    pub(crate) table: Table<Entry>,
    /// What its connections lie on.
    #[pin]
    objects: Objects,
}

impl Dct {
    /// An empty table for `capacity` connections.
    pub(crate) fn new(capacity: u32) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Dct {
                table <- Table::new(capacity, MAX_CAPACITY),
                objects <- Objects::new(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The entry a received frame belongs to.
    #[inline]
    pub(crate) fn find<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        tuple: &Tuple,
    ) -> Option<EntryRef<'g, Entry>> {
        self.table
            .find(guard, tuple.hash(SEED), |e| e.tuple == *tuple)
    }

    /// The entry of `hwid`; `None` if that connection was taken out, whatever
    /// sits in its slot now.
    #[inline]
    pub(crate) fn get<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        hwid: Hwid,
    ) -> Option<EntryRef<'g, Entry>> {
        self.table.get(guard, hwid)
    }
}

/// The entry of a connection that the framework hands to this target.
#[inline]
pub(crate) fn entry_of<'g>(conn: &Record, guard: &'g ReadGuard<'_>) -> Option<EntryRef<'g, Entry>> {
    conn.dev()?
        .driver::<Port>()?
        .offload()
        .dct()
        .get(guard, conn.hwid())
}
