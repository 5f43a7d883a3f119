// SPDX-License-Identifier: GPL-2.0

//! Clocks for decisions, and a pause.

use crate::bindings;

/// Milliseconds since boot.
pub(crate) fn now_ms() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_now_ms() }
}

/// Process context.
pub(crate) fn sleep_ms(ms: u32) {
    // SAFETY: process context.
    unsafe { bindings::toe_msleep(ms) }
}
