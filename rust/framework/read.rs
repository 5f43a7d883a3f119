// SPDX-License-Identifier: GPL-2.0

//! Plain reads of an offloaded connection: calls of `recvmsg(2)` that want any bytes there
//! are. All others, and all that is out of the ordinary, is the host's own `recvmsg`.
//!
//! A task sleeps here only while the target has the delegated state, so that all that
//! happens to the connection comes through the target or ends the delegation:
//! [`data_ready`] and [`Connection::step`](super::connection::Connection) wake it.

use super::connection;
use crate::net::{
    proto::Msg,
    reader::Slept,
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

/// Payload has come into the receive queue of a delegated connection. Any context under the
/// socket lock.
#[inline(always)]
pub(crate) fn data_ready(sk: LockedSock<'_>, guard: &ReadGuard<'_>) {
    let conn = connection::of(sk, guard);
    sk.data_ready(conn.map(|conn| &conn.value().reader));
}
