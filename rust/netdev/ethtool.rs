// SPDX-License-Identifier: GPL-2.0

//! `ethtool -i`, `-S`, `-l`, `-L`, `-g`, `-G`.

use kernel::{
    prelude::*,
    str::CStr, //
};

use crate::net::{
    context::{
        self,
        BhGuard,
        Rtnl, //
    },
    ethtool::{
        Amount,
        EthtoolOps,
        EthtoolTable,
        Names,
        Values, //
    },
    qstats::QueueStats, //
};

use super::{
    queue::RING_RANGE,
    Kind,
    Port, //
};

#[vtable]
impl<K: Kind> EthtoolOps for Port<K> {
    const DRIVER: &'static CStr = K::NAME;
    const VERSION: &'static CStr = c"1.0";
    const MIN_RING: u32 = *RING_RANGE.start();

    fn ethtool() -> &'static EthtoolTable<Self> {
        &K::tables().ethtool
    }

    fn stat_names(&self, names: &mut Names<'_>, _rtnl: &Rtnl) {
        names.add(fmt!("peer_ifindex"));
        for queue in 0..self.dev().real_num_rx_queues() {
            for name in ["packets", "bytes", "overruns"] {
                names.add(fmt!("rx_queue_{queue}_{name}"));
            }
        }
        for queue in 0..self.dev().real_num_tx_queues() {
            for name in ["packets", "bytes", "drops", "stopped", "woken"] {
                names.add(fmt!("tx_queue_{queue}_{name}"));
            }
        }
        K::stat_names(self, names);
    }

    fn stat_values(&self, values: &mut Values<'_>, rtnl: &Rtnl) {
        let peer = self.peer.get_rtnl(rtnl);
        values.add(peer.map_or(0, |peer| peer.ifindex() as u64));
        for queue in 0..self.dev().real_num_rx_queues() {
            let stats = self.rx(queue, rtnl);
            for value in [stats.packets, stats.bytes, stats.overruns] {
                values.add(value);
            }
        }
        for queue in 0..self.dev().real_num_tx_queues() {
            let stats = self.tx(queue, rtnl);
            for value in [
                stats.packets,
                stats.bytes,
                stats.drops,
                stats.stop,
                stats.wake,
            ] {
                values.add(value);
            }
        }
        K::stat_values(self, values);
    }

    fn channels(&self, _rtnl: &Rtnl) -> Amount {
        let dev = self.dev();
        Amount {
            now: dev.real_num_rx_queues(),
            max: dev.num_rx_queues().min(dev.num_tx_queues()),
        }
    }

    /// Traffic goes on meanwhile: new queues run before they are used, and old
    /// ones until they no longer are.
    fn set_channels(&self, count: u32, rtnl: &Rtnl) -> Result {
        let dev = self.dev();
        let old = dev.real_num_rx_queues();
        if dev.is_running() {
            self.rx.start(dev, old..count, rtnl);
        }
        let result = dev.set_real_num_queues(count, count, rtnl);
        let now = dev.real_num_rx_queues();
        let unused = now..old.max(count);
        if dev.is_running() && !unused.is_empty() {
            // No sender puts frames into these queues after this.
            context::synchronize_net(rtnl);
            self.rx.retire(dev, unused, rtnl);
        }
        result
    }

    fn ring(&self, _rtnl: &Rtnl) -> Amount {
        let queue = self.rx.get(0);
        Amount {
            now: queue.map_or(0, |queue| queue.frames.limit(&BhGuard::new())),
            max: *RING_RANGE.end(),
        }
    }

    fn set_ring(&self, size: u32, _rtnl: &Rtnl) -> Result {
        let bh = BhGuard::new();
        for queue in self.rx.iter() {
            queue.frames.set_limit(size, &bh);
        }
        Ok(())
    }
}
