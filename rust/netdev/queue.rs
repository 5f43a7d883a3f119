// SPDX-License-Identifier: GPL-2.0

//! Queues: the receiving side has the frames, the sending side counts.

use core::{
    marker::PhantomData,
    ops::Range,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering::{
            Relaxed,
            SeqCst, //
        }, //
    }, //
};

use kernel::prelude::*;

use super::{
    Kind,
    Port, //
};
use crate::{
    dct::rx::{
        Recent,
        Source, //
    },
    net::{
        context::{
            Bh,
            BhGuard,
            Rtnl, //
        },
        napi::{
            Napi,
            Poll, //
        },
        net_device::{
            features,
            NetDevice, //
        },
        qstats::TxStats,
        skb::{
            FrameList,
            SkBuff, //
        },
        sync::{
            counter::Counter,
            ring::FrameQueue, //
        }, //
    }, //
};

/// The least and the most that `ethtool -G` may say.
pub(super) const RING_RANGE: core::ops::RangeInclusive<u32> = 16..=16384;

/// The number of frames that are left to the softirq after one that was the host stack's.
const RX_BACKOFF: u32 = 64;

/// A transmit queue. Any number of CPUs send by it at once.
#[repr(align(64))]
pub(super) struct TxQueue {
    pub(super) packets: Counter,
    pub(super) bytes: Counter,
    pub(super) dropped: Counter,
    /// Times the qdisc was told to wait.
    pub(super) stopped: Counter,
    /// Times it was told to go on.
    pub(super) woken: Counter,
    /// Whether the engine waits for room.
    pub(super) starved: AtomicBool,
}

impl TxQueue {
    pub(super) fn array(count: u32) -> Result<KVVec<Self>> {
        let mut queues = KVVec::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            queues.push(
                TxQueue {
                    packets: Counter::new(),
                    bytes: Counter::new(),
                    dropped: Counter::new(),
                    stopped: Counter::new(),
                    woken: Counter::new(),
                    starved: AtomicBool::new(false),
                },
                GFP_KERNEL_ACCOUNT,
            )?;
        }
        Ok(queues)
    }

    pub(super) fn stats(&self) -> TxStats {
        TxStats {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            drops: self.dropped.get(),
            stop: self.stopped.get(),
            wake: self.woken.get(),
        }
    }

    #[inline(always)]
    pub(super) fn sent(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// What a receive queue's NAPI instance polls.
#[pin_data]
pub(super) struct RxQueue<K: Kind> {
    pub(super) index: u16,
    recent: Recent,
    /// Frames to come that need not be tried in the sender's task.
    rx_backoff: AtomicU32,
    #[pin]
    pub(super) frames: FrameQueue,
    _kind: PhantomData<fn(K)>,
}

/// A device's receive queues.
pub(super) struct RxQueues<K: Kind>(KVVec<Pin<KBox<Napi<RxQueue<K>>>>>);

impl<K: Kind> RxQueues<K> {
    pub(super) fn new(count: u32) -> Result<Self> {
        let mut queues = KVVec::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
        for index in 0..count {
            let queue = Napi::new(pin_init!(RxQueue {
                index: index as u16,
                recent: Recent::new(),
                rx_backoff: AtomicU32::new(0),
                frames <- FrameQueue::new(K::RING),
                _kind: PhantomData,
            }));
            queues.push(
                KBox::pin_init(queue, GFP_KERNEL_ACCOUNT)?,
                GFP_KERNEL_ACCOUNT,
            )?;
        }
        Ok(RxQueues(queues))
    }

    /// The queue `dev` receives by what was sent by transmit queue `tx`.
    #[inline(always)]
    pub(super) fn for_tx(&self, dev: &NetDevice, tx: u16) -> Option<&Napi<RxQueue<K>>> {
        let count = dev.real_num_rx_queues();
        let mut index = u32::from(tx);
        if index >= count {
            index = index.checked_rem(count)?;
        }
        Some(&**self.0.get(index as usize)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Napi<RxQueue<K>>> {
        self.0.iter().map(|queue| &**queue)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Napi<RxQueue<K>>> {
        Some(&**self.0.get(index as usize)?)
    }

    fn range(&self, range: Range<u32>) -> impl Iterator<Item = (u32, &Napi<RxQueue<K>>)> {
        range.filter_map(|index| Some((index, self.get(index)?)))
    }

    /// Lets frames in, and has them polled.
    pub(super) fn start(&self, dev: &NetDevice, range: Range<u32>, rtnl: &Rtnl) {
        for (index, queue) in self.range(range) {
            queue.start(dev, index, rtnl);
            queue.frames.open(&BhGuard::new());
        }
    }

    /// Lets no more frames in and drops what is there.
    pub(super) fn stop(&self, dev: &NetDevice, range: Range<u32>, rtnl: &Rtnl) {
        for (index, queue) in self.range(range) {
            let left = queue.frames.close(&BhGuard::new());
            queue.stop(dev, index, rtnl);
            drop(left);
        }
    }
}

impl<K: Kind> RxQueues<K> {
    /// As `stop`, for queues that are no longer sent to: what they hold moves to the first one,
    /// where all later frames of the same senders go.
    pub(super) fn retire(&self, dev: &NetDevice, range: Range<u32>, rtnl: &Rtnl) {
        for (index, queue) in self.range(range) {
            let bh = BhGuard::new();
            let left = queue.frames.close(&bh);
            if let Some(first) = self.get(0) {
                RxQueue::<K>::queue(first, left, &bh);
            }
            drop(bh);
            queue.stop(dev, index, rtnl);
        }
    }
}

impl<K: Kind> Poll for RxQueue<K> {
    fn poll(napi: &Napi<Self>, budget: u32, bh: &Bh) -> u32 {
        let Some(dev) = napi.dev(bh) else {
            return 0;
        };
        let Some(port) = Port::<K>::of(dev) else {
            return 0;
        };
        let mut frames = napi.frames.take(budget, bh);
        let done = frames.len();
        let peer = port.peer.get(bh);
        let gro = Gro::new(dev, peer);

        while let Some(skb) = frames.pop() {
            let Some(skb) = port.offer(napi, skb, false, bh) else {
                continue;
            };
            let gro = gro.wants(&skb);
            napi.receive(skb, napi.index, gro, bh);
        }

        if done < budget {
            // A frame that came meanwhile has it polled again.
            napi.complete(done, bh);
        }
        if let Some((peer, port)) = peer.and_then(|peer| Some((peer, Port::<K>::of(peer)?))) {
            port.room_at_peer(peer, dev, napi.index, bh);
        }
        done
    }

    #[inline(always)]
    fn receive_here(napi: &Napi<Self>, skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        let Some(port) = napi.dev(bh).and_then(Port::<K>::of) else {
            return Some(skb);
        };
        // A lost update of two senders at once does no harm.
        let rx_backoff = napi.rx_backoff.load(Relaxed);
        if rx_backoff != 0 {
            napi.rx_backoff.store(rx_backoff - 1, Relaxed);
            return Some(skb);
        }
        let len = skb.len();
        let back = port.offer(napi, skb, true, bh);
        match back {
            None => napi.frames.count_direct(len, bh),
            // The whole receive path of the host is too much for a sender's
            // stack: the softirq does it, and probably the next ones.
            Some(_) => napi.rx_backoff.store(RX_BACKOFF, Relaxed),
        }
        back
    }

    fn queue(napi: &Napi<Self>, frames: FrameList, bh: &Bh) -> bool {
        let count = frames.len();
        let taken = napi.frames.push_list(frames, bh).is_ok();
        if !taken {
            // Others were faster, or it was closed. As on a wire: sent, seen, lost.
            napi.frames.count_overruns(count, bh);
        }
        napi.schedule(bh);
        taken
    }

    fn put_back(napi: &Napi<Self>, frames: FrameList, bh: &Bh) {
        let count = frames.len();
        if napi.frames.put_back(frames, bh).is_err() {
            napi.frames.count_overruns(count, bh);
        }
    }
}

/// Which frames are worth the work of GRO.
///
/// As veth: a sender with TSO sends frames as large as they get, so that there
/// is nothing to join, but for UDP that is to be forwarded.
pub(super) struct Gro {
    all: bool,
    datagrams: bool,
}

impl Gro {
    #[inline(always)]
    fn new(dev: &NetDevice, sender: Option<&NetDevice>) -> Self {
        let own = dev.features();
        let on = own & features::GRO != 0;
        Gro {
            all: on && sender.is_some_and(|dev| dev.features() & features::ALL_TSO == 0),
            datagrams: on && own & (features::GRO_FRAGLIST | features::GRO_UDP_FWD) != 0,
        }
    }

    #[inline(always)]
    fn wants(&self, skb: &SkBuff) -> bool {
        self.all || (self.datagrams && skb.is_datagram())
    }
}

impl<K: Kind> Port<K> {
    /// A frame that came in, at its Ethernet header, with `skb->dev` this device:
    /// the engine's if it is of a delegated connection, else given back. `direct`: from the
    /// sender's engine, without a queue between.
    #[inline(always)]
    fn offer(&self, napi: &Napi<RxQueue<K>>, skb: SkBuff, direct: bool, bh: &Bh) -> Option<SkBuff> {
        if !K::has_entries(self) {
            return Some(skb);
        }
        let from = Source {
            queue: napi.index,
            napi_id: napi.id(),
            recent: &napi.recent,
            stamp: if direct { skb.stamp() } else { 0 },
        };
        K::input(self, from, skb, bh)
    }

    /// Wakes those who wait for room in receive queue `rx` of `receiver`, the
    /// peer of this device (`dev`).
    #[inline(always)]
    fn room_at_peer(&self, dev: &NetDevice, receiver: &NetDevice, rx: u16, bh: &Bh) {
        let step = receiver.real_num_rx_queues().max(1);
        let mut queue = u32::from(rx);
        while queue < dev.real_num_tx_queues() {
            if let Some(tx) = self.tx.get(queue as usize) {
                if dev.txq_wake(queue, bh) {
                    tx.woken.add(1);
                }
                if tx.starved.load(Relaxed) && tx.starved.swap(false, SeqCst) {
                    K::tx_room(self, bh);
                }
            }
            queue += step;
        }
    }
}
