// SPDX-License-Identifier: GPL-2.0

//! Who waits for a socket's owner to let it go.
//!
//! `release_sock()` of every delegated socket asks, several times for each
//! message, and nearly always nobody does.

use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};

use crate::net::{
    sock::LockedSock,
    ulp, //
};

/// Connections whose target wants
/// [`released`](super::target::OffloadTarget::released) to be called, and sockets
/// that carry our name.
static AWAITED: AtomicU32 = AtomicU32::new(0);

/// Does any target wait for any socket? Any context.
#[inline]
pub(crate) fn awaited() -> bool {
    AWAITED.load(Relaxed) != 0
}

/// A target waits for a connection's socket, until [`seen`]. Any context.
pub(crate) fn wait() {
    AWAITED.fetch_add(1, Relaxed);
}

/// It waits no longer. Any context.
pub(crate) fn seen() {
    AWAITED.fetch_sub(1, Relaxed);
}

/// Takes the name off that `setsockopt(TCP_ULP)` put on the socket: an offloaded
/// connection is to look like any other. Under the socket lock.
pub(super) fn forget_ulp(sk: LockedSock<'_>) {
    if ulp::forget(sk) {
        seen();
    }
}
