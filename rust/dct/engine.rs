// SPDX-License-Identifier: GPL-2.0

//! Table and engines of one device.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use super::{
    abilities::Abilities,
    audit,
    tx,
    Entry,
    Nic,
    SEED, //
};
use crate::{
    framework::host::{
        Device,
        Objects,
        Stats,
        Store, //
    },
    logic::{
        hwid::Hwid,
        resources::Resources,
        tuple::Tuple, //
    },
    net::{
        context::Bh,
        fifo::{
            Fifo,
            Queued, //
        },
        sync::rcu::ReadGuard,
        table::{
            EntryRef,
            Table,
            MAX_CAPACITY, //
        }, //
    }, //
};

/// Connections a new device takes at most.
const DEFAULT_CAPACITY: u32 = 1 << 16;

/// Connections that may wait for room in a queue; more are uploaded.
const MAX_WAITING: usize = 4096;

/// See the module's documentation. Part of a [`Nic`].
#[pin_data]
pub(crate) struct Engine<N: Nic> {
    /// Its connections, and what they lie on.
    #[pin]
    pub(crate) store: Store<Entry<N>>,
    /// Connections with data to send and no room in the NIC's queue. A leaf
    /// lock, taken with bottom halves off.
    #[pin]
    waiting: SpinLock<Fifo<Hwid>>,
    audit: audit::Counts,
    abilities: Abilities,
}

impl<N: Nic> Engine<N> {
    /// For a device about to be registered. Process context, rtnl held.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Engine {
            store <- Store::new(DEFAULT_CAPACITY, MAX_CAPACITY),
            waiting <- new_spinlock!(Fifo::new()),
            audit: audit::Counts::default(),
            abilities: Abilities::new(),
        }? Error)
    }

    /// The framework's state of the device.
    pub(crate) fn device(&self) -> &Device {
        &self.store.device
    }

    /// The device's counters.
    #[inline(always)]
    pub(crate) fn stats(&self) -> &Stats {
        self.store.device.stats()
    }

    /// How entries were compared with their sockets, in builds that do so: counters as
    /// [`stats`](Self::stats).
    #[inline(always)]
    pub(crate) fn audit(&self) -> &audit::Counts {
        &self.audit
    }

    /// What it can do.
    pub(crate) fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// What it has room for, and can do.
    pub(crate) fn resources(&self) -> Resources {
        self.abilities.limit(self.store.resources())
    }

    /// The connections.
    #[inline(always)]
    pub(crate) fn table(&self) -> &Table<Entry<N>> {
        &self.store.table
    }

    /// What they lie on.
    #[inline(always)]
    pub(super) fn objects(&self) -> &Objects {
        &self.store.objects
    }

    /// Whether a frame could be of interest. Called for every frame.
    #[inline(always)]
    pub(crate) fn has_entries(&self) -> bool {
        self.table().len() != 0
    }

    /// The entry a received frame belongs to.
    #[inline]
    pub(super) fn find<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        tuple: &Tuple,
    ) -> Option<EntryRef<'g, Entry<N>>> {
        self.table()
            .find(guard, tuple.hash(SEED), |e| e.tuple == *tuple)
    }

    /// The entry of `hwid`; `None` if that connection was taken out, whatever
    /// sits in its slot now.
    #[inline]
    pub(super) fn get<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        hwid: Hwid,
    ) -> Option<EntryRef<'g, Entry<N>>> {
        self.table().get(guard, hwid)
    }

    /// Remembers a connection that waits for [`Self::tx_room`]. `false`: there
    /// is no room for that either.
    pub(super) fn wait_for_room(&self, hwid: Hwid, _bh: &Bh) -> bool {
        let Ok(queued) = Queued::new(hwid) else {
            return false;
        };
        let mut waiting = self.waiting.lock();
        let room = waiting.len() < MAX_WAITING;
        if room {
            waiting.push(queued);
        }
        room
    }

    /// There is room again after [`Nic::send_frame`] refused a frame. Softirq.
    pub(crate) fn tx_room(&self, bh: &Bh) {
        let waiting = self.waiting.lock().take();
        let guard = ReadGuard::within(bh);
        for hwid in waiting {
            if let Some(entry) = self.get(&guard, *hwid.get()) {
                tx::kick(&entry, bh);
            }
        }
    }
}
