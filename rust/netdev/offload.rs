// SPDX-License-Identifier: GPL-2.0

//! Where the offload framework meets the device.

use kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

use crate::net::{
    context::{
        Bh,
        Rtnl, //
    },
    skb::SkBuff, //
};

use super::Port;

/// What the framework keeps for each device.
#[pin_data]
pub(crate) struct DeviceState {}

impl DeviceState {
    /// For a device about to be registered. Process context, rtnl held.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(DeviceState {}? Error)
    }

    /// Whether a frame could be of interest. Called for every frame.
    #[inline(always)]
    pub(super) fn has_entries(&self) -> bool {
        false
    }

    /// A frame that came in by `queue`, at its Ethernet header; given back if
    /// the host stack is to have it. From NAPI.
    #[inline(always)]
    pub(super) fn input(&self, _port: &Port, _queue: u16, skb: SkBuff, _bh: &Bh) -> Option<SkBuff> {
        Some(skb)
    }

    /// There is room again in the peer's queue after
    /// [`Port::send_frame`](super::Port::send_frame) refused a frame. From the
    /// peer's NAPI.
    pub(super) fn tx_room(&self, _port: &Port, _queue: u16, _bh: &Bh) {}

    /// The link goes down: this device or its peer. Process context, rtnl held.
    pub(super) fn link_down(&self, _port: &Port, _rtnl: &Rtnl) {}

    /// The device's file in debugfs. Process context, without rtnl.
    pub(super) fn show(&self, port: &Port, seq: &SeqFile) -> Result {
        kernel::seq_print!(seq, "{}: nothing offloaded\n", port.dev().name());
        Ok(())
    }

    /// The device leaves: upload everything. Process context, rtnl held.
    pub(super) fn before_unregister(&self, _port: &Port, _rtnl: &Rtnl) {}
}
