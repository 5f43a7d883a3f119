// SPDX-License-Identifier: GPL-2.0

//! Where the offload framework meets the device.

use core::ptr;

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
        receive::Source,
        Dct,
        Entry, //
    },
    framework::{
        connection,
        device::Device,
        queue::{
            Queue,
            Queued, //
        },
        stats::Stats,
        target::OffloadTarget,
        upload, //
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
    waiting: SpinLock<Queue<Hwid>>,
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
            waiting <- new_spinlock!(Queue::new()),
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
        from: Source<'_>,
        skb: SkBuff,
        bh: &Bh,
    ) -> Option<SkBuff> {
        dct::receive::input(port, from, skb, bh)
    }

    /// Remembers a connection that waits for [`Self::tx_room`]. `false`: there
    /// is no room for that either.
    pub(crate) fn wait_for_room(&self, hwid: Hwid, _bh: &Bh) -> bool {
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

    /// There is room again in the peer's queue after
    /// [`Port::send_frame`](super::Port::send_frame) refused a frame. From the
    /// peer's NAPI.
    pub(super) fn tx_room(&self, bh: &Bh) {
        let waiting = self.waiting.lock().take();
        let guard = ReadGuard::within(bh);
        for hwid in waiting {
            if let Some(entry) = self.dct.get(&guard, *hwid.get()) {
                dct::transmit::kick(&entry, bh);
            }
        }
    }

    /// The table as debugfs shows it: one line per connection.
    pub(super) fn show(&self, seq: &SeqFile) -> Result {
        seq_print!(
            seq,
            "hwid local remote mode snd_una snd_nxt snd_wnd rcv_nxt rcv_wnd srtt_us \
             acked received rx_frames rx_bytes tx_frames tx_bytes specials vlan\n"
        );
        for index in 0..self.dct.table.slots() {
            let guard = ReadGuard::new();
            let Some(entry) = self.dct.table.at(&guard, index) else {
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

    /// Something happened to `dev`, a device on top of this one: its connections are
    /// uploaded if it `left` or is not what it was. Process context, rtnl held.
    pub(super) fn layer_changed(&self, port: &Port, dev: &NetDevice, left: bool, _rtnl: &Rtnl) {
        let table = &self.dct.table;
        let through = |entry: &Entry| {
            let layers = entry.layers.as_ref()?;
            let through = layers.devices().any(|layer| ptr::eq(layer, dev));
            (through && (left || !layers.intact())).then_some(())
        };
        let mut first = true;
        upload::upload_those(port, UploadReason::Vlan, left, &mut |f| {
            for index in 0..table.slots() {
                let guard = ReadGuard::new();
                let found = table
                    .at(&guard, index)
                    .filter(|entry| through(entry).is_some())
                    .map(|entry| (entry.hwid, ARef::clone(&entry.sk)));
                drop(guard);
                if let Some((hwid, sk)) = found {
                    if core::mem::take(&mut first) {
                        // Nothing is sent any more until all are uploaded.
                        self.device.objects().layer_gone(port, dev);
                    }
                    f(hwid, sk);
                }
            }
        });
        if left || !dev.is_up() {
            self.device.objects().sweep(port, true);
        }
    }

    /// The device has another link address. Process context, rtnl held.
    pub(super) fn address_changed(&self, port: &Port, _rtnl: &Rtnl) {
        upload::upload_all(port, UploadReason::RouteChange, false);
        self.device.objects().sweep(port, true);
    }

    /// The link goes down: this device or its peer. Process context, rtnl held.
    pub(super) fn link_down(&self, port: &Port, _rtnl: &Rtnl) {
        upload::upload_all(port, UploadReason::LinkDown, false);
    }

    /// The device leaves: upload everything. Process context, rtnl held.
    pub(super) fn before_unregister(&self, port: &Port, _rtnl: &Rtnl) {
        self.device.close();
        upload::upload_all(port, UploadReason::DeviceGone, true);
        self.device.objects().sweep(port, true);
    }
}
