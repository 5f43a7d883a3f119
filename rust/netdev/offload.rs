// SPDX-License-Identifier: GPL-2.0

//! Where the offload framework meets the device.

use core::{
    ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::Relaxed, //
    }, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        Arc,
        SpinLock, //
    }, //
};

use crate::{
    dct::{
        self,
        receive::Recent,
        Dct, //
    },
    framework::{
        connection,
        device::{
            self,
            Device, //
        },
        stats::Stats,
        target::OffloadTarget, //
    },
    logic::{
        hwid::Hwid,
        reason::UploadReason, //
    },
    net::{
        context::{
            Bh,
            Rtnl, //
        },
        netdev::NetDevice,
        skb::SkBuff,
        table::ReadGuard, //
    },
    text::Text, //
};

use super::{
    attrs::DEFAULT_CAPACITY,
    Port, //
};

/// Connections that may wait for room in a queue; more are uploaded.
const MAX_WAITING: usize = 4096;

/// What the framework keeps for each device.
#[pin_data]
pub(crate) struct DeviceState {
    #[pin]
    device: Device,
    dct: Arc<Dct>,
    /// Connections with data to send and no room in the peer's queue. A leaf
    /// lock, taken with bottom halves off.
    #[pin]
    waiting: SpinLock<KVVec<Hwid>>,
    /// Counts what happens to the device's neighbours.
    neighbours: AtomicU32,
}

/// The target in `dev`, if `dev` is one of this driver's devices.
pub(crate) fn target_of(dev: &NetDevice) -> Option<&dyn OffloadTarget> {
    dev.driver::<Port>().map(|port| port as &dyn OffloadTarget)
}

impl Port {
    /// The offload side of the device.
    #[inline(always)]
    pub(crate) fn offload(&self) -> &DeviceState {
        &self.offload
    }
}

impl DeviceState {
    /// For a device about to be registered. Process context, rtnl held.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(DeviceState {
            device <- Device::new(),
            dct: Dct::new(DEFAULT_CAPACITY)?,
            waiting <- new_spinlock!(KVVec::new()),
            neighbours: AtomicU32::new(0),
        }? Error)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.device.stats()
    }

    #[inline(always)]
    pub(crate) fn dct(&self) -> &Dct {
        &self.dct
    }

    /// Whether a frame could be of interest. Called for every frame.
    #[inline(always)]
    pub(super) fn has_entries(&self) -> bool {
        self.dct.table.len() != 0
    }

    /// A frame that came in by `queue`, at its Ethernet header; given back if
    /// the host stack is to have it. From NAPI.
    #[inline(always)]
    pub(super) fn input(
        &self,
        port: &Port,
        queue: (u16, &Recent),
        skb: SkBuff,
        bh: &Bh,
    ) -> Option<SkBuff> {
        dct::receive::input(port, queue, skb, bh)
    }

    /// Remembers a connection that waits for [`Self::tx_room`]. `false`: there
    /// is no room for that either.
    pub(crate) fn wait_for_room(&self, hwid: Hwid, _bh: &Bh) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.len() < MAX_WAITING && waiting.push(hwid, GFP_ATOMIC).is_ok()
    }

    /// There is room again in the peer's queue after
    /// [`Port::send_frame`](super::Port::send_frame) refused a frame. From the
    /// peer's NAPI.
    pub(super) fn tx_room(&self, bh: &Bh) {
        let waiting = core::mem::replace(&mut *self.waiting.lock(), KVVec::new());
        let guard = ReadGuard::within(bh);
        for hwid in waiting {
            if let Some(entry) = self.dct.get(&guard, hwid) {
                dct::transmit::kick(&entry, bh);
            }
        }
    }

    /// The table as debugfs shows it: one line per connection.
    pub(super) fn show(&self, port: &Port, seq: &SeqFile) -> Result {
        seq_print!(
            seq,
            "hwid local remote mode snd_una snd_nxt snd_wnd rcv_nxt rcv_wnd srtt_us \
             acked received rx_frames rx_bytes tx_frames tx_bytes specials vlan\n"
        );
        for index in 0..self.dct.table.slots() {
            let guard = ReadGuard::new();
            let Some(hwid) = self.dct.table.at(&guard, index).map(|e| e.hwid) else {
                continue;
            };
            let Ok(q) = port.query(hwid) else {
                continue;
            };
            let (d, c) = (q.data, q.counters);
            seq_print!(
                seq,
                "{:#x} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n",
                hwid.raw(),
                Text(q.tuple.local_end()),
                Text(q.tuple.remote_end()),
                q.mode.name(),
                d.snd_una.0,
                d.snd_nxt.0,
                d.snd_wnd,
                d.rcv_nxt.0,
                d.rcv_wnd,
                d.rtt.srtt_us >> 3,
                d.bytes_acked.wrapping_sub(q.at_handover.bytes_acked),
                d.bytes_received.wrapping_sub(q.at_handover.bytes_received),
                c.rx_frames,
                c.rx_bytes,
                c.tx_frames,
                c.tx_bytes,
                c.specials,
                Text(q.tuple.vlan),
            );
        }
        Ok(())
    }

    /// A number that is another after any change of the device's neighbours: a
    /// header that was made at this number is right.
    #[inline(always)]
    pub(crate) fn neighbours(&self) -> u32 {
        self.neighbours.load(Relaxed)
    }

    /// A neighbour on this device changed its state or address. Any context.
    pub(super) fn neighbours_changed(&self) {
        self.neighbours.fetch_add(1, Relaxed);
    }

    /// Something happened to `dev`, a device on top of this one: its connections are
    /// uploaded if it `left` or is not what it was. Process context, rtnl held.
    pub(super) fn layer_changed(&self, dev: &NetDevice, left: bool, _rtnl: &Rtnl) {
        let table = &self.dct.table;
        for index in 0..table.slots() {
            let guard = ReadGuard::new();
            let found = table.at(&guard, index).and_then(|entry| {
                let layers = entry.layers.as_ref()?;
                let through = layers.devices().any(|layer| ptr::eq(layer, dev));
                (through && (left || !layers.intact()))
                    .then(|| (entry.hwid, ARef::clone(&entry.sk)))
            });
            drop(guard);
            if let Some((hwid, sk)) = found {
                sk.with_lock(|sk| connection::upload_hwid(sk, hwid, UploadReason::Vlan));
            }
        }
    }

    /// The device has another link address. Process context, rtnl held.
    pub(super) fn address_changed(&self, port: &Port, _rtnl: &Rtnl) {
        device::upload_all(port, UploadReason::RouteChange);
    }

    /// The link goes down: this device or its peer. Process context, rtnl held.
    pub(super) fn link_down(&self, port: &Port, _rtnl: &Rtnl) {
        device::upload_all(port, UploadReason::LinkDown);
    }

    /// The device leaves: upload everything. Process context, rtnl held.
    pub(super) fn before_unregister(&self, port: &Port, _rtnl: &Rtnl) {
        self.device.set_closed(true);
        device::upload_all(port, UploadReason::DeviceGone);
    }
}
