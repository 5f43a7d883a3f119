// SPDX-License-Identifier: GPL-2.0

//! Table and engines of one device.

use kernel::{
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::SpinLock, //
};

use crate::{
    framework::{
        connection,
        device::Device,
        queue::{
            Queue,
            Queued, //
        },
        stats::Stats, //
    },
    logic::{
        hwid::Hwid,
        tuple::Tuple, //
    },
    net::{
        context::Bh,
        table::{
            EntryRef,
            ReadGuard,
            Table,
            MAX_CAPACITY, //
        }, //
    },
    text::Text, //
};

use super::{
    objects::Objects,
    transmit,
    Entry,
    Nic,
    SEED, //
};

/// Connections a new device takes at most.
const DEFAULT_CAPACITY: u32 = 1 << 16;

/// Connections that may wait for room in a queue; more are uploaded.
const MAX_WAITING: usize = 4096;

/// See the module's documentation. Part of a [`Nic`].
#[pin_data]
pub(crate) struct Engine<N: Nic> {
    /// What the framework keeps for each device.
    #[pin]
    device: Device,
    #[pin]
    table: Table<Entry<N>>,
    /// What its connections lie on.
    #[pin]
    pub(super) objects: Objects,
    /// Connections with data to send and no room in the NIC's queue. A leaf
    /// lock, taken with bottom halves off.
    #[pin]
    waiting: SpinLock<Queue<Hwid>>,
}

impl<N: Nic> Engine<N> {
    /// For a device about to be registered. Process context, rtnl held.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Engine {
            device <- Device::new(),
            table <- Table::new(DEFAULT_CAPACITY, MAX_CAPACITY),
            objects <- Objects::new(),
            waiting <- new_spinlock!(Queue::new()),
        }? Error)
    }

    /// The framework's state of the device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The device's counters.
    #[inline(always)]
    pub(crate) fn stats(&self) -> &Stats {
        self.device.stats()
    }

    /// The connections.
    #[inline(always)]
    pub(crate) fn table(&self) -> &Table<Entry<N>> {
        &self.table
    }

    /// Whether a frame could be of interest. Called for every frame.
    #[inline(always)]
    pub(crate) fn has_entries(&self) -> bool {
        self.table.len() != 0
    }

    /// The entry a received frame belongs to.
    #[inline]
    pub(super) fn find<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        tuple: &Tuple,
    ) -> Option<EntryRef<'g, Entry<N>>> {
        self.table
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
        self.table.get(guard, hwid)
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
                transmit::kick(&entry, bh);
            }
        }
    }

    /// The table as debugfs shows it: one line per connection.
    pub(crate) fn show(&self, seq: &SeqFile) -> Result {
        seq_print!(
            seq,
            "hwid local remote mode snd_una snd_nxt snd_wnd rcv_nxt rcv_wnd srtt_us \
             acked received rx_frames rx_bytes tx_frames tx_bytes specials vlan\n"
        );
        for index in 0..self.table.slots() {
            let guard = ReadGuard::new();
            let Some(entry) = self.table.at(&guard, index) else {
                continue;
            };
            let (d, c, was) = (entry.data.peek(), entry.counters.peek(), &entry.at_handover);
            seq_print!(
                seq,
                "{:#x} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n",
                entry.hwid.raw(),
                Text(entry.tuple.local_end()),
                Text(entry.tuple.remote_end()),
                connection::mode(&entry.sk, &guard).name(),
                d.snd_una.0,
                d.snd_nxt.0,
                d.snd_wnd,
                d.rcv_nxt.0,
                d.rcv_wnd,
                entry.sk.srtt_us() >> 3,
                d.bytes_acked.wrapping_sub(was.acked),
                d.bytes_received.wrapping_sub(was.received),
                c.rx_frames,
                c.rx_bytes,
                c.tx_frames,
                c.tx_bytes,
                c.specials,
                Text(entry.tuple.vlan),
            );
        }
        Ok(())
    }
}
