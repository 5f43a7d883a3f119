// SPDX-License-Identifier: GPL-2.0

//! Counters of user buffers: part of a device's [`Stats`](super::stats::Stats).

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

use crate::logic::buffer::End;

/// What became of the buffers that were posted, and of payload.
#[derive(Default)]
pub(crate) struct Buffers {
    posted: AtomicU64,
    direct_bytes: AtomicU64,
    ends: [AtomicU64; End::COUNT],
    requested: AtomicU64,
    high_water: AtomicU64,
    request_timer: AtomicU64,
}

impl Buffers {
    /// A buffer was posted.
    pub(crate) fn posted(&self) {
        self.posted.fetch_add(1, Ordering::Relaxed);
    }

    /// A buffer came back with `bytes` placed in it.
    pub(crate) fn ended(&self, end: End, bytes: u32) {
        self.direct_bytes
            .fetch_add(u64::from(bytes), Ordering::Relaxed);
        if let Some(c) = self.ends.get(end.index()) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The target asked for a buffer, and defers payload.
    pub(super) fn requested(&self) {
        self.requested.fetch_add(1, Ordering::Relaxed);
    }

    /// Payload went to legacy buffers because there was too much of it to be deferred.
    pub(crate) fn high_water(&self) {
        self.high_water.fetch_add(1, Ordering::Relaxed);
    }

    /// Payload went to legacy buffers because nobody posted a buffer in time.
    pub(crate) fn request_timer(&self) {
        self.request_timer.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`Stats::for_each`](super::stats::Stats::for_each).
    pub(super) fn for_each(&self, f: &mut dyn FnMut(&'static str, &'static str, u64)) {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        f("toe_buf_posted", "", get(&self.posted));
        f("toe_buf_direct_bytes", "", get(&self.direct_bytes));
        f("toe_buf_requested", "", get(&self.requested));
        f("toe_buf_high_water", "", get(&self.high_water));
        f("toe_buf_request_timer", "", get(&self.request_timer));
        for (name, c) in End::NAMES.iter().zip(&self.ends) {
            f("toe_buf_", name, get(c));
        }
    }
}
