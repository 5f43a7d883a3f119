// SPDX-License-Identifier: GPL-2.0

//! Counters, as the different tools ask for them.

use crate::net::{
    context::{
        BhGuard,
        Rtnl, //
    },
    ndo::LinkStats,
    qstats::{
        QueueStats,
        QueueStatsTable,
        RxStats,
        TxStats, //
    },
};

use super::{
    queue::TxQueue,
    Kind,
    Port, //
};

impl<K: Kind> Port<K> {
    /// Of the whole device, all queues it ever used.
    pub(super) fn link_stats(&self, stats: &mut LinkStats) {
        let bh = BhGuard::new();
        for queue in self.rx.iter() {
            let counters = queue.frames.counters(&bh);
            stats.rx_packets += counters.packets;
            stats.rx_bytes += counters.bytes;
        }
        for queue in &self.tx {
            stats.tx_packets += queue.packets.get();
            stats.tx_bytes += queue.bytes.get();
            stats.tx_dropped += queue.dropped.get();
        }
    }

    fn rx_stats(&self, queue: u32) -> RxStats {
        let Some(queue) = self.rx.get(queue) else {
            return RxStats::default();
        };
        let counters = queue.frames.counters(&BhGuard::new());
        RxStats {
            packets: counters.packets,
            bytes: counters.bytes,
            overruns: counters.overruns,
        }
    }

    fn tx_stats(&self, queue: u32) -> TxStats {
        self.tx
            .get(queue as usize)
            .map_or(TxStats::default(), TxQueue::stats)
    }
}

impl<K: Kind> QueueStats for Port<K> {
    fn queue_stats() -> &'static QueueStatsTable<Self> {
        &K::tables().queues
    }

    fn rx(&self, queue: u32, _rtnl: &Rtnl) -> RxStats {
        self.rx_stats(queue)
    }

    fn tx(&self, queue: u32, _rtnl: &Rtnl) -> TxStats {
        self.tx_stats(queue)
    }

    fn base(&self, _rtnl: &Rtnl) -> (RxStats, TxStats) {
        let dev = self.dev();
        let mut rx = RxStats::default();
        for queue in dev.real_num_rx_queues()..dev.num_rx_queues() {
            let stats = self.rx_stats(queue);
            rx.packets += stats.packets;
            rx.bytes += stats.bytes;
            rx.overruns += stats.overruns;
        }
        let mut tx = TxStats::default();
        for queue in dev.real_num_tx_queues()..dev.num_tx_queues() {
            let stats = self.tx_stats(queue);
            tx.packets += stats.packets;
            tx.bytes += stats.bytes;
            tx.drops += stats.drops;
            tx.stop += stats.stop;
            tx.wake += stats.wake;
        }
        (rx, tx)
    }
}
