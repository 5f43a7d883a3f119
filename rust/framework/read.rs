// SPDX-License-Identifier: GPL-2.0

//! Plain reads of an offloaded connection: calls of `recvmsg(2)` that want any bytes there
//! are. All others, and all that is out of the ordinary, is the host's own `recvmsg`.
//!
//! A task sleeps here only while the target has the delegated state, so that all that
//! happens to the connection comes through the target or ends the delegation:
//! [`data_ready`] and [`Connection::step`](super::connection::Connection) wake it.

use core::sync::atomic::AtomicU32;

use super::{
    connection,
    counted::{
        Flag,
        Kind, //
    }, //
};
use crate::net::{
    context::BhGuard,
    proto::Msg,
    reader::{
        self,
        Slept, //
    },
    sock::{
        LockedSock,
        Sock, //
    },
    sync::rcu::ReadGuard, //
};

/// Of a call that has found nothing. `None`: the host's function does it, which finds
/// everything as it was. Process context, socket unlocked.
#[inline(always)]
pub(super) fn read(sk: &Sock, msg: &mut Msg<'_>) -> Option<usize> {
    loop {
        let slept = sk.lock_fast()?.sleep(
            msg,
            |sk, guard| {
                let conn = connection::of(sk, guard)?;
                conn.delegated(sk).then(|| &conn.value().reader)
            },
            |sk, guard| Some(&connection::of_now(sk, guard)?.value().reader),
        );
        match slept {
            Slept::Bytes(n) => return Some(n),
            Slept::Again => {}
            Slept::No => return None,
        }
    }
}

/// Bytes wait in the send queue of the other end, on the same machine, until this end's reader
/// has made room.
pub(crate) struct Awaited;

impl Kind for Awaited {
    fn count() -> &'static AtomicU32 {
        reader::awaiting_reads()
    }
}

/// Of the connection whose bytes wait: while it is set, [`pull`] is called after reads of the
/// other end.
///
/// [`pull`]: super::target::OffloadTarget::pull
pub(crate) type AwaitRead = Flag<Awaited>;

/// What became of bytes that may wait for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pulled {
    /// None wait.
    None,
    /// They are there, or go on waiting.
    Done,
    /// They have to come by frames: an ACK brings them.
    ByFrames,
}

/// A plain read has made room. Process context, socket unlocked.
pub(super) fn done(sk: &Sock) {
    let pulled = {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        let conn = connection::of_now(sk, &guard).and_then(|conn| conn.reach());
        conn.map_or(Pulled::None, |(target, at)| target.pull(at, &bh))
    };
    if pulled == Pulled::Done {
        return;
    }
    if let Some(lock) = connection::lock(sk, c"recvmsg") {
        let sk = lock.locked();
        if pulled == Pulled::ByFrames || sk.owes_ack_after_read() {
            sk.send_ack();
        }
    }
}

/// Payload has come into the receive queue of a delegated connection. Any context under the
/// socket lock.
#[inline(always)]
pub(crate) fn data_ready(sk: LockedSock<'_>, guard: &ReadGuard<'_>) {
    let conn = connection::of(sk, guard);
    sk.data_ready(conn.map(|conn| &conn.value().reader));
}
