// SPDX-License-Identifier: GPL-2.0

//! What happens when a socket's owner releases it (`sk_prot->release_cb`).
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
    counted::{
        self,
        Flag,
        Kind, //
    },
    deferred,
    upload, //
};
use crate::{
    logic::reason::UploadReason,
    net::{
        proto,
        sock::LockedSock,
        sync::rcu::ReadGuard,
        ulp, //
    }, //
};

/// What waits for the owner of some socket.
pub(crate) struct Awaited;

impl Kind for Awaited {
    fn count() -> &'static AtomicU32 {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        &COUNT
    }
}

/// While it is set, [`released`](super::target::OffloadTarget::released) is called for every
/// connection whose owner lets its socket go.
pub(crate) type AwaitRelease = Flag<Awaited>;

/// Returns whether anything waits for any socket. Any context.
#[inline]
pub(crate) fn awaited() -> bool {
    counted::any::<Awaited>()
}

/// From here on every release is checked.
#[cold]
pub(super) fn look_always() {
    static ALWAYS: AwaitRelease = AwaitRelease::new();
    ALWAYS.set();
}

/// What the owner of one connection's socket does when it releases the socket: it settles
/// the hand-over, and gives the connection back if somebody asked for that who could not
/// wait.
pub(super) struct AtRelease {
    /// The hand-over was made by the owner.
    settle: AwaitRelease,
    /// Reason of the upload, plus one.
    reason: AtomicU8,
    /// Set with it.
    upload: AwaitRelease,
}

const _: () = assert!(UploadReason::COUNT < u8::MAX as usize);

impl AtRelease {
    /// Of a connection that is being handed over; by a task that owns the socket?
    pub(super) fn new(owned: bool) -> Self {
        AtRelease {
            settle: AwaitRelease::with(owned),
            reason: AtomicU8::new(0),
            upload: AwaitRelease::new(),
        }
    }

    /// Returns whether the connection is to be given back.
    #[inline]
    pub(super) fn has_upload(&self) -> bool {
        self.reason.load(Relaxed) != 0
    }

    /// The owner gives the connection back; the first reason counts. Under the socket's
    /// spin lock.
    pub(super) fn ask(&self, reason: UploadReason) {
        if !self.has_upload() {
            self.reason.store(reason.index() as u8 + 1, Relaxed);
            self.upload.set();
        }
    }

    /// The reason, if it is to be given back.
    fn upload(&self) -> Option<UploadReason> {
        let reason = self.reason.load(Relaxed);
        UploadReason::from_index(usize::from(reason.checked_sub(1)?))
    }

    /// `true` once, if the owner has handed the connection over.
    fn settle(&self) -> bool {
        self.settle.take()
    }
}

/// The owner releases the socket. `contended`: others wait for its lock. Right after the
/// hand-over they may be in the host's functions already, where they would not know of it:
/// the host has the connection again before they go on. Under the socket lock, nothing of
/// the host stack below us.
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
            deferred::flush(sk);
            upload::upload(sk, reason);
        }
        None => {
            if let Some((target, conn)) = conn.reach() {
                target.released(sk, conn);
            }
        }
    }
}
