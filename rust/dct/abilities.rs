// SPDX-License-Identifier: GPL-2.0

//! What the emulated NIC can do: all there is, unless it is told to be a lesser one, for tests
//! of what the framework does with those.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    Ordering::Relaxed, //
};

use crate::logic::{
    resources::Resources,
    vlan::MAX_TAGS, //
};

/// Bytes of payload in the largest frame of a new NIC.
const MAX_PAYLOAD: u32 = 1 << 19;

/// See the module's documentation. A connection that the NIC has stays as it is when one of
/// them is changed.
pub(crate) struct Abilities {
    /// VLAN tags in a frame at most.
    pub(crate) tags: AtomicU8,
    /// Whether it takes connections of IPv6.
    pub(crate) v6: AtomicBool,
    /// Whether it places payload in user buffers.
    pub(crate) user_buffers: AtomicBool,
    /// Bytes of payload in the largest frame.
    pub(crate) max_payload: AtomicU32,
}

impl Abilities {
    pub(super) const fn new() -> Self {
        Abilities {
            tags: AtomicU8::new(MAX_TAGS as u8),
            v6: AtomicBool::new(true),
            user_buffers: AtomicBool::new(true),
            max_payload: AtomicU32::new(MAX_PAYLOAD),
        }
    }

    /// The same of what there is room for.
    pub(super) fn limit(&self, room: Resources) -> Resources {
        Resources {
            tags: self.tags.load(Relaxed),
            v6: self.v6.load(Relaxed),
            user_buffers: self.user_buffers.load(Relaxed),
            max_payload: self.max_payload.load(Relaxed),
            ..room
        }
    }
}

/// The largest [`Abilities::max_payload`], and the least: a segment of a full Ethernet frame.
pub(crate) const PAYLOAD_RANGE: (u64, u64) = (1500, MAX_PAYLOAD as u64);
