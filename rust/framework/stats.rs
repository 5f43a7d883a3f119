// SPDX-License-Identifier: GPL-2.0

//! Counters of a device: every offload, upload and refusal by reason, and what
//! the target handled.

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

use kernel::prelude::*;
use pin_init::{
    init,
    init_array_from_fn,
    Init, //
};

use super::{
    buffers::Buffers,
    store::GivenBack, //
};
use crate::{
    logic::{
        reason::{
            Failover,
            Refusal,
            SpecialCase,
            Update,
            UploadReason, //
        },
        short_cut::Why, //
    },
    net::ethtool::{
        Names,
        Values, //
    }, //
};

/// Sets of traffic counters; queues share them round robin, so that two CPUs
/// seldom write the same cache line.
const SETS: usize = 16;

/// Frames and payload the target handled, by queue.
#[repr(align(64))]
#[derive(Default)]
struct Traffic {
    rx_frames: AtomicU64,
    rx_bytes: AtomicU64,
    tx_frames: AtomicU64,
    tx_bytes: AtomicU64,
}

/// See the module's documentation. All methods in any context.
pub(crate) struct Stats {
    traffic: [Traffic; SETS],
    offloads: AtomicU64,
    /// Operations that handed several connections over, and those connections.
    batches: [AtomicU64; 2],
    /// Operations that took several connections back, and those connections.
    back: [AtomicU64; 2],
    /// Bytes that a target had not sent when it gave their connection back, and frames
    /// that it had not delivered.
    given_back: [AtomicU64; 2],
    backlog_drops: AtomicU64,
    refusals: [AtomicU64; Refusal::COUNT],
    uploads: [AtomicU64; UploadReason::COUNT],
    updates: [AtomicU64; Update::COUNT],
    failovers: [AtomicU64; Failover::COUNT],
    specials: [AtomicU64; SpecialCase::COUNT],
    resyncs: AtomicU64,
    /// Frames of connections in legacy mode, received and transmitted, as they were
    /// counted at resynchronisation.
    legacy_rx: AtomicU64,
    legacy_tx: AtomicU64,
    /// Sections of the short cut and their bytes, and why it was left.
    short: [AtomicU64; 2],
    short_left: [AtomicU64; Why::COUNT],
    pub(crate) buffers: Buffers,
}

impl Stats {
    /// Made where it stays, for it has kilobytes.
    pub(crate) fn new() -> impl Init<Self> {
        init!(Stats {
            traffic <- init_array_from_fn(|_| Traffic::default()),
            offloads: AtomicU64::new(0),
            batches: [const { AtomicU64::new(0) }; 2],
            back: [const { AtomicU64::new(0) }; 2],
            given_back: [const { AtomicU64::new(0) }; 2],
            backlog_drops: AtomicU64::new(0),
            refusals <- init_array_from_fn(|_| AtomicU64::new(0)),
            uploads <- init_array_from_fn(|_| AtomicU64::new(0)),
            updates <- init_array_from_fn(|_| AtomicU64::new(0)),
            failovers: [const { AtomicU64::new(0) }; Failover::COUNT],
            specials <- init_array_from_fn(|_| AtomicU64::new(0)),
            resyncs: AtomicU64::new(0),
            legacy_rx: AtomicU64::new(0),
            legacy_tx: AtomicU64::new(0),
            short: [const { AtomicU64::new(0) }; 2],
            short_left: [const { AtomicU64::new(0) }; Why::COUNT],
            buffers: Buffers::default(),
        })
    }

    fn set(&self, queue: u16) -> Option<&Traffic> {
        self.traffic.get(usize::from(queue) % SETS)
    }

    /// The receive engine took a frame of `len` bytes. A GSO frame is one, here
    /// and in the device's own counters.
    #[inline]
    pub(crate) fn received(&self, queue: u16, len: u32) {
        if let Some(t) = self.set(queue) {
            t.rx_frames.fetch_add(1, Ordering::Relaxed);
            t.rx_bytes.fetch_add(u64::from(len), Ordering::Relaxed);
        }
    }

    /// The transmit engine sent `frames` frames of `bytes` bytes together.
    #[inline]
    pub(crate) fn transmitted(&self, queue: u16, frames: u32, bytes: u64) {
        if let Some(t) = self.set(queue) {
            t.tx_frames.fetch_add(u64::from(frames), Ordering::Relaxed);
            t.tx_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes of a write went to the other end without a frame.
    #[inline(always)]
    pub(crate) fn passed(&self, bytes: u32) {
        let [sections, all] = &self.short;
        sections.fetch_add(1, Ordering::Relaxed);
        all.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    /// The rest of a write, or all of it, goes by frames.
    #[inline(always)]
    pub(crate) fn not_passed(&self, why: Why) {
        if let Some(count) = self.short_left.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn backlog_drop(&self) {
        self.backlog_drops.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn offloaded(&self) {
        self.offloads.fetch_add(1, Ordering::Relaxed);
    }

    /// One operation was for `connections` connections that qualified together. One alone
    /// is none of those.
    pub(crate) fn batch(&self, connections: usize) {
        Self::several(&self.batches, connections);
    }

    /// One operation took `connections` connections back, see [`batch`](Self::batch).
    pub(crate) fn batch_back(&self, connections: usize) {
        Self::several(&self.back, connections);
    }

    fn several([batches, batched]: &[AtomicU64; 2], connections: usize) {
        if connections > 1 {
            batches.fetch_add(1, Ordering::Relaxed);
            batched.fetch_add(connections as u64, Ordering::Relaxed);
        }
    }

    /// A target has given this back, with a connection.
    pub(crate) fn given_back(&self, what: GivenBack) {
        let [unsent, undelivered] = &self.given_back;
        if what.unsent != 0 {
            unsent.fetch_add(what.unsent.into(), Ordering::Relaxed);
        }
        if what.undelivered != 0 {
            undelivered.fetch_add(what.undelivered.into(), Ordering::Relaxed);
        }
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        if let Some(c) = self.refusals.get(reason.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn uploaded(&self, reason: UploadReason) {
        if let Some(c) = self.uploads.get(reason.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn updated(&self, what: Update) {
        if let Some(c) = self.updates.get(what.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection's bond sends by another member than this device.
    pub(crate) fn failed_over(&self, what: Failover) {
        if let Some(c) = self.failovers.get(what.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn special(&self, case: SpecialCase) {
        if let Some(c) = self.specials.get(case.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A stay in legacy mode ended with the target going on, after this many frames.
    pub(crate) fn resynchronised(&self, rx_frames: u32, tx_frames: u32) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        self.legacy_rx
            .fetch_add(rx_frames.into(), Ordering::Relaxed);
        self.legacy_tx
            .fetch_add(tx_frames.into(), Ordering::Relaxed);
    }

    /// Offloads, uploads and refusals in all.
    pub(crate) fn totals(&self) -> [u64; 3] {
        let sum = |c: &[AtomicU64]| c.iter().map(|c| c.load(Ordering::Relaxed)).sum();
        [
            self.offloads.load(Ordering::Relaxed),
            sum(&self.uploads),
            sum(&self.refusals),
        ]
    }

    /// The names of all counters, for `ethtool -S`: a driver adds them to its own.
    pub(crate) fn names(&self, names: &mut Names<'_>) {
        self.for_each(&mut |prefix, name, _| names.add(fmt!("{prefix}{name}")));
    }

    /// Their values.
    pub(crate) fn values(&self, values: &mut Values<'_>) {
        self.for_each(&mut |_, _, value| values.add(value));
    }

    /// Calls `f` with every counter's name, in two parts, and its value.
    fn for_each(&self, f: &mut dyn FnMut(&'static str, &'static str, u64)) {
        let [offloads, uploads, refusals] = self.totals();
        let sum = |get: fn(&Traffic) -> &AtomicU64| {
            self.traffic
                .iter()
                .map(|t| get(t).load(Ordering::Relaxed))
                .sum()
        };
        f("toe_offloads", "", offloads);
        for (name, c) in [
            ("toe_batches", &self.batches[0]),
            ("toe_batched", &self.batches[1]),
            ("toe_back_batches", &self.back[0]),
            ("toe_back_batched", &self.back[1]),
            ("toe_back_unsent_bytes", &self.given_back[0]),
            ("toe_back_undelivered_frames", &self.given_back[1]),
        ] {
            f(name, "", c.load(Ordering::Relaxed));
        }
        for (name, c) in ["toe_short_writes", "toe_short_bytes"]
            .into_iter()
            .zip(&self.short)
        {
            f(name, "", c.load(Ordering::Relaxed));
        }
        for (name, c) in Why::NAMES.into_iter().zip(&self.short_left) {
            f("toe_short_left_", name, c.load(Ordering::Relaxed));
        }
        f("toe_uploads", "", uploads);
        f("toe_refusals", "", refusals);
        f("toe_rx_frames", "", sum(|t| &t.rx_frames));
        f("toe_rx_bytes", "", sum(|t| &t.rx_bytes));
        f("toe_tx_frames", "", sum(|t| &t.tx_frames));
        f("toe_tx_bytes", "", sum(|t| &t.tx_bytes));
        f(
            "toe_backlog_drops",
            "",
            self.backlog_drops.load(Ordering::Relaxed),
        );
        let specials = self.specials.iter().map(|c| c.load(Ordering::Relaxed));
        f("toe_specials", "", specials.sum());
        for (name, c) in [
            ("toe_resyncs", &self.resyncs),
            ("toe_legacy_rx_frames", &self.legacy_rx),
            ("toe_legacy_tx_frames", &self.legacy_tx),
        ] {
            f(name, "", c.load(Ordering::Relaxed));
        }
        for (name, c) in Update::NAMES.iter().zip(&self.updates) {
            f("toe_update_", name, c.load(Ordering::Relaxed));
        }
        for (name, c) in Failover::NAMES.iter().zip(&self.failovers) {
            f("toe_failover_", name, c.load(Ordering::Relaxed));
        }
        for (name, c) in SpecialCase::NAMES.iter().zip(&self.specials) {
            f("toe_special_", name, c.load(Ordering::Relaxed));
        }
        self.buffers.for_each(f);
        for (name, c) in UploadReason::NAMES.iter().zip(&self.uploads) {
            f("toe_upload_", name, c.load(Ordering::Relaxed));
        }
        for (name, c) in Refusal::NAMES.iter().zip(&self.refusals) {
            f("toe_refuse_", name, c.load(Ordering::Relaxed));
        }
    }
}
