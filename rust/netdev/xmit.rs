// SPDX-License-Identifier: GPL-2.0

//! Sending: the host stack's frames, and the engine's.

use core::sync::atomic::Ordering::SeqCst;

use super::{
    failure,
    queue::RxQueue,
    Kind,
    Port,
    SendError, //
};
use crate::{
    framework::host::Layers,
    net::{
        context::Bh,
        napi::Poll,
        ndo::Xmit,
        net_device::{
            features,
            NetDevice,
            ETH_HLEN, //
        },
        skb::{
            DropReason,
            FrameList,
            SkBuff, //
        },
        sync::ring::Refused, //
    }, //
};

impl<K: Kind> Port<K> {
    /// Sends a frame of the host stack.
    #[inline(always)]
    pub(super) fn xmit(&self, mut skb: SkBuff, bh: &Bh) -> Xmit {
        let queue = skb.queue_mapping();
        let Some(tx) = self.tx.get(usize::from(queue)) else {
            skb.drop_because(DropReason::NotSpecified);
            return Xmit::Dropped;
        };
        let dropped = |skb: Option<SkBuff>, reason| {
            if let Some(skb) = skb {
                skb.drop_because(reason);
            }
            tx.dropped.add(1);
            Xmit::Dropped
        };
        let Some((peer, rx)) = self
            .peer
            .get(bh)
            .and_then(|peer| Some((peer, Port::<K>::of(peer)?.rx.for_tx(peer, queue)?)))
        else {
            return dropped(Some(skb), DropReason::DevReady);
        };
        if !skb.may_pull(ETH_HLEN) {
            return dropped(Some(skb), DropReason::HdrTrunc);
        }

        let bytes = u64::from(skb.len());
        if failure::lost(self, peer) {
            skb.drop_because(DropReason::NotSpecified);
            tx.sent(1, bytes);
            return Xmit::Sent;
        }
        skb.tx_timestamp();
        // A frame that is forwarded was verified where it came in. What happened to
        // it since, nobody knows who receives it.
        skb.forget_checksum();
        let Some(skb) = skb.forward_to(peer, bh) else {
            return dropped(None, DropReason::NotSpecified);
        };
        match rx.frames.push(skb, bh) {
            Ok(()) => {
                rx.schedule(bh);
                tx.sent(1, bytes);
                Xmit::Sent
            }
            Err(Refused::Closed(skb)) => dropped(Some(skb), DropReason::DevReady),
            Err(Refused::Full(mut skb)) => {
                let dev = self.dev();
                if !dev.txq_has_qdisc(queue.into(), bh) {
                    rx.frames.count_overruns(1, bh);
                    return dropped(Some(skb), DropReason::FullRing);
                }
                skb.set_dev(dev);
                dev.txq_stop(queue.into(), bh);
                tx.stopped.add(1);
                // Stopped first, polled then: the poll wakes it.
                rx.schedule(bh);
                Xmit::Busy(skb)
            }
        }
    }
}

impl<K: Kind> Port<K> {
    /// Sends a frame of the engine's, see [`Nic::send_frame`](crate::dct::Nic::send_frame).
    pub(crate) fn send(
        &self,
        mut skb: SkBuff,
        queue: u16,
        via: Option<&Layers>,
        stamp: u64,
        bh: &Bh,
    ) -> Result<(u32, u64), SendError> {
        let dev = self.dev();
        let queue = (u32::from(queue) % dev.real_num_tx_queues().max(1)) as u16;
        let (Some(tx), Some(peer)) = (self.tx.get(usize::from(queue)), self.peer.get(bh)) else {
            return Err(SendError::Down(skb));
        };
        let Some(rx) = Port::<K>::of(peer).and_then(|port| port.rx.for_tx(peer, queue)) else {
            return Err(SendError::Down(skb));
        };
        // Connections on a bond are left when the device is down.
        if !peer.is_up() || !dev.is_up() {
            return Err(SendError::Down(skb));
        }
        let count = u32::from(skb.gso_segs().max(1));
        if !rx.frames.has_room(count, bh) {
            // Set first, checked again then: a poll in between has made room, or
            // the one that is scheduled here sees it.
            tx.starved.swap(true, SeqCst);
            if !rx.frames.has_room(count, bh) {
                rx.schedule(bh);
                return Err(SendError::Full(skb));
            }
        }

        if failure::lost(self, peer) {
            let bytes = skb.len().into();
            skb.drop_because(DropReason::NotSpecified);
            tx.sent(count.into(), bytes);
            return Ok((count, bytes));
        }
        skb.set_queue_mapping(queue);
        let mut frames = FrameList::new();
        match via {
            None => Self::prepare(dev, peer, skb, features::ENGINE, stamp, &mut frames, bh),
            Some(via) => Self::send_via(dev, peer, skb, via, &mut frames, bh),
        }
        let (packets, bytes) = (frames.len(), frames.bytes());
        let received = match rx.hand_over(frames, bh) {
            Ok(()) => true,
            Err(frames) => RxQueue::<K>::queue(rx, frames, bh),
        };
        if received {
            tx.sent(packets.into(), bytes);
        } else {
            tx.dropped.add(packets.into());
        }
        Ok((packets, bytes))
    }
}

impl<K: Kind> Port<K> {
    /// A frame goes through the layers above the device. Kept apart: those that do not
    /// shall not pay for it.
    #[inline(never)]
    fn send_via(
        dev: &NetDevice,
        peer: &NetDevice,
        skb: SkBuff,
        layers: &Layers,
        frames: &mut FrameList,
        bh: &Bh,
    ) {
        let all = features::ENGINE | features::VLAN_TX;
        let mut below = layers.send(skb, bh);
        while let Some(skb) = below.pop() {
            Self::prepare(dev, peer, skb, all, 0, frames, bh);
        }
    }

    /// Makes a frame what the wire has, given `all` of the features that it needs.
    #[inline(always)]
    fn prepare(
        dev: &NetDevice,
        peer: &NetDevice,
        mut skb: SkBuff,
        all: u64,
        stamp: u64,
        frames: &mut FrameList,
        bh: &Bh,
    ) {
        if dev.features() & all == all {
            skb.set_dev(dev);
            skb.set_stamp(stamp);
            Self::finish(dev, peer, skb, frames, bh);
        } else {
            let mut segments = FrameList::validated(skb, dev, bh);
            while let Some(mut skb) = segments.pop() {
                skb.set_stamp(0);
                Self::finish(dev, peer, skb, frames, bh);
            }
        }
    }

    /// The last steps of a frame before it is the peer's.
    #[inline(always)]
    fn finish(dev: &NetDevice, peer: &NetDevice, skb: SkBuff, frames: &mut FrameList, bh: &Bh) {
        dev.tap_outgoing(&skb, bh);
        if let Some(skb) = skb.forward_own_to(peer, bh) {
            frames.push(skb);
        }
    }
}
