// SPDX-License-Identifier: GPL-2.0

//! Statistics of queues over the netdev netlink family: `struct netdev_stat_ops`.
//!
//! C header: `include/net/netdev_queues.h`.

use core::marker::PhantomData;

use kernel::{
    ffi::c_int,
    types::Opaque, //
};

use super::{
    context::Rtnl,
    ndo::{
        value,
        Driver, //
    },
    net_device::DeviceSetup, //
};
use crate::bindings;

/// Counters of a receive queue.
#[derive(Default)]
pub(crate) struct RxStats {
    /// Frames.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames that found the queue full.
    pub(crate) overruns: u64,
}

/// Counters of a transmit queue.
#[derive(Default)]
pub(crate) struct TxStats {
    /// Frames.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames that were dropped.
    pub(crate) drops: u64,
    /// Times that the qdisc was told to wait.
    pub(crate) stop: u64,
    /// Times that it was told to go on.
    pub(crate) wake: u64,
}

/// The answers. All in process context with rtnl held.
pub(crate) trait QueueStats: Driver {
    /// The table; `static TABLE: QueueStatsTable<Self> = QueueStatsTable::new()`.
    fn queue_stats() -> &'static QueueStatsTable<Self>;

    /// Of one receive queue.
    fn rx(&self, queue: u32, rtnl: &Rtnl) -> RxStats;

    /// Of one transmit queue.
    fn tx(&self, queue: u32, rtnl: &Rtnl) -> TxStats;

    /// Of queues that are not in use now.
    fn base(&self, rtnl: &Rtnl) -> (RxStats, TxStats);
}

/// A table of answers.
///
/// # Invariants
///
/// Its functions are those of this file for `T`. A device of `T`'s that has it takes no
/// lock of its own, by the invariant of [`DeviceOps`](super::ndo::DeviceOps): the netdev
/// family holds rtnl across each call (`netdev_get_by_index_lock_ops_compat()`), and has
/// found the device registered.
#[repr(transparent)]
pub(crate) struct QueueStatsTable<T>(Opaque<bindings::netdev_stat_ops>, PhantomData<fn(T)>);

// SAFETY: nobody writes to it after it was made: the core has a pointer to const.
unsafe impl<T> Sync for QueueStatsTable<T> {}

impl<T: QueueStats> QueueStatsTable<T> {
    /// Makes the table.
    pub(crate) const fn new() -> Self {
        // INVARIANT: those for `T`.
        QueueStatsTable(
            Opaque::new(bindings::netdev_stat_ops {
                get_queue_stats_rx: Some(get_rx::<T>),
                get_queue_stats_tx: Some(get_tx::<T>),
                get_base_stats: Some(get_base::<T>),
            }),
            PhantomData,
        )
    }
}

impl DeviceSetup<'_> {
    /// Answers about queues by `T`, which is to be the device's driver.
    pub(crate) fn queue_stats<T: QueueStats>(&mut self) -> &mut Self {
        self.raw().stat_ops = T::queue_stats().0.get();
        self
    }
}

fn fill_rx(to: &mut bindings::netdev_queue_stats_rx, from: RxStats) {
    to.packets = from.packets;
    to.bytes = from.bytes;
    to.hw_drops = from.overruns;
    to.hw_drop_overruns = from.overruns;
}

fn fill_tx(to: &mut bindings::netdev_queue_stats_tx, from: TxStats) {
    to.packets = from.packets;
    to.bytes = from.bytes;
    to.hw_drops = from.drops;
    to.stop = from.stop;
    to.wake = from.wake;
}

/// # Safety
///
/// Called by the netdev family with rtnl held, on a registered device of `T`, with
/// statistics of the caller's.
unsafe extern "C" fn get_rx<T: QueueStats>(
    dev: *mut bindings::net_device,
    queue: c_int,
    stats: *mut bindings::netdev_queue_stats_rx,
) {
    // SAFETY: the caller holds rtnl across this call, by the invariant of `QueueStatsTable`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered, hence `init` returned 0; nothing is destroyed under rtnl. The
    // caller has initialised its statistics, and nobody else has them before this returns
    // (`netdev_nl_stats_queue()`).
    unsafe { fill_rx(&mut *stats, value::<T>(dev).rx(queue as u32, &rtnl)) };
}

/// # Safety
///
/// As for `get_rx`.
unsafe extern "C" fn get_tx<T: QueueStats>(
    dev: *mut bindings::net_device,
    queue: c_int,
    stats: *mut bindings::netdev_queue_stats_tx,
) {
    // SAFETY: as in `get_rx`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `get_rx`.
    unsafe { fill_tx(&mut *stats, value::<T>(dev).tx(queue as u32, &rtnl)) };
}

/// # Safety
///
/// As for `get_rx`, with statistics of both kinds.
unsafe extern "C" fn get_base<T: QueueStats>(
    dev: *mut bindings::net_device,
    rx: *mut bindings::netdev_queue_stats_rx,
    tx: *mut bindings::netdev_queue_stats_tx,
) {
    // SAFETY: as in `get_rx`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `get_rx`; the two are different objects.
    unsafe {
        let (from_rx, from_tx) = value::<T>(dev).base(&rtnl);
        fill_rx(&mut *rx, from_rx);
        fill_tx(&mut *tx, from_tx);
    }
}
