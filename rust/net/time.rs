// SPDX-License-Identifier: GPL-2.0

//! Clocks for decisions.

use crate::bindings;

/// Milliseconds since boot.
pub(crate) fn now_ms() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_now_ms() }
}
