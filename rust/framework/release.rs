// SPDX-License-Identifier: GPL-2.0

//! What happens when a socket's owner lets it go.
//!
//! `release_sock()` of every delegated socket asks, several times for each
//! message, and nearly always there is nothing to do.

use core::sync::atomic::{
    AtomicU32,
    AtomicU8,
    Ordering::Relaxed, //
};

use super::{
    connection,
    hold,
    upload, //
};
use crate::{
    logic::reason::UploadReason,
    net::{
        proto,
        sock::LockedSock,
        table::ReadGuard,
        ulp, //
    }, //
};

/// Connections whose target wants
/// [`released`](super::target::OffloadTarget::released) to be called, and those with
/// something to do by themselves.
static AWAITED: AtomicU32 = AtomicU32::new(0);

/// Does anything wait for any socket? Any context.
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

/// What the owner of one connection's socket does when he lets it go: the hand-over is
/// settled, and the connection given back if somebody asked for that who could not wait.
pub(super) struct AtRelease(AtomicU8);

/// The hand-over was made by the owner.
const SETTLE: u8 = 1 << 7;
/// Reason of the upload, plus one.
const UPLOAD: u8 = SETTLE - 1;
const _: () = assert!(UploadReason::COUNT < UPLOAD as usize);

impl AtRelease {
    /// Of a connection that is being handed over; by a task that owns the socket?
    pub(super) fn new(owned: bool) -> Self {
        if owned {
            wait();
        }
        AtRelease(AtomicU8::new(if owned { SETTLE } else { 0 }))
    }

    /// Is the connection to be given back?
    #[inline]
    pub(super) fn has_upload(&self) -> bool {
        self.0.load(Relaxed) & UPLOAD != 0
    }

    /// The owner gives the connection back; the first reason counts. Under the socket's
    /// spin lock.
    pub(super) fn ask(&self, reason: UploadReason) {
        if self.has_upload() {
            return;
        }
        if self.0.fetch_or(reason.index() as u8 + 1, Relaxed) == 0 {
            wait();
        }
    }

    /// The reason, if it is to be given back.
    fn upload(&self) -> Option<UploadReason> {
        let bits = self.0.load(Relaxed) & UPLOAD;
        UploadReason::from_index(usize::from(bits.checked_sub(1)?))
    }

    /// `true` once, if the owner has handed the connection over.
    fn settle(&self) -> bool {
        let was = self.0.fetch_and(!SETTLE, Relaxed);
        if was == SETTLE {
            seen();
        }
        was & SETTLE != 0
    }
}

impl Drop for AtRelease {
    fn drop(&mut self) {
        if *self.0.get_mut() != 0 {
            seen();
        }
    }
}

/// The owner lets the socket go. `contended`: others wait for its lock. Right after the
/// hand-over they may be in the host's functions already, where they would not know of
/// it: the host has the connection again before they go on. Under the socket lock,
/// nothing of the host stack below us.
pub(super) fn release(sk: LockedSock<'_>, contended: bool) {
    let guard = ReadGuard::new();
    let Some(conn) = connection::of(sk, &guard) else {
        proto::heal(sk);
        return;
    };
    let mut reason = conn.at_release().upload();
    if conn.at_release().settle() {
        ulp::settle(sk);
        if contended {
            reason = reason.or(Some(UploadReason::Contended));
        }
    }
    match reason {
        Some(reason) => {
            hold::flush(sk);
            upload::upload(sk, reason);
        }
        None => {
            if let Some(target) = conn.target() {
                target.released(sk, conn);
            }
        }
    }
}
