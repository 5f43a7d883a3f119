// SPDX-License-Identifier: GPL-2.0

//! Tracepoints `toe:*`, for `/sys/kernel/tracing/events/toe/`. All in any context; a jump
//! and a call while tracing is off.

use crate::{
    bindings,
    logic::hwid::Hwid, //
};

/// A target took a connection.
pub(crate) fn offload(hwid: Hwid) {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_trace_offload(hwid.raw()) }
}

/// A special case, by name.
pub(crate) fn special(hwid: Hwid, name: &'static str) {
    // SAFETY: the name is copied, if anything.
    unsafe { bindings::toe_trace_special(hwid.raw(), name.as_ptr().cast(), name.len()) }
}

/// The target goes on after this many frames of the host stack.
pub(crate) fn resync(hwid: Hwid, rx_frames: u32, tx_frames: u32) {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_trace_resync(hwid.raw(), rx_frames, tx_frames) }
}

/// The host stack has the connection again.
pub(crate) fn upload(hwid: Hwid, reason: &'static str) {
    // SAFETY: the reason is copied, if anything.
    unsafe { bindings::toe_trace_upload(hwid.raw(), reason.as_ptr().cast(), reason.len()) }
}
