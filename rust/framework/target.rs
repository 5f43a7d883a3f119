// SPDX-License-Identifier: GPL-2.0

//! What a driver implements to take connections.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    connection::Connection,
    device::Device,
    intermediate::Layers, //
};
use crate::{
    logic::{
        buffer::Rule,
        conn::ConnData,
        hwid::Hwid,
        reason::Refusal,
        state::Mode,
        tuple::Tuple, //
    },
    net::{
        context::Bh,
        netdev::NetDevice,
        proto::HostFrame,
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        },
        user_buffer::Pinned, //
    }, //
};

/// A connection the host wants to hand over.
pub(crate) struct OffloadRequest<'a> {
    /// The target's device.
    pub(crate) dev: &'a NetDevice,
    /// The device its route leaves through: the same, or one on top of `layers`.
    pub(crate) path_dev: &'a NetDevice,
    /// What changes its frames between the two, if anything. The target does as they
    /// do, keeps them as long as it has the connection, and is told to give it up
    /// when they change.
    pub(crate) layers: Option<Arc<Layers>>,
    /// `local` is this host's end.
    pub(crate) tuple: Tuple,
    /// Link address of the next hop.
    pub(crate) next_hop: [u8; 6],
}

/// A target's answer to [`OffloadTarget::query`].
pub(crate) struct Query {
    pub(crate) tuple: Tuple,
    pub(crate) mode: Mode,
    /// Hardware level.
    pub(crate) data: ConnData,
    /// Kernel level as it was handed over.
    pub(crate) at_handover: ConnData,
    pub(crate) counters: Counters,
}

/// What a target did for one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) rx_frames: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_frames: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) specials: u64,
}

/// A device that takes over established TCP connections.
///
/// The methods that take a [`LockedSock`] are called with the socket's lock held,
/// in any context, the others without; none of them may sleep. A target asks for
/// things by calling [`connection::upload`](super::connection::upload) under the
/// same lock, with a reason; the host has all state back when that returns.
///
/// A target whose state lives in another memory fetches it in `terminate` and
/// writes it back to the socket before it returns.
pub(crate) trait OffloadTarget: Send + Sync {
    /// The framework's state of this device: policy, limits, counters.
    fn device(&self) -> &Device;

    /// Connections it has.
    fn connections(&self) -> u32;

    /// Takes the connection over or refuses. On success the target owns the
    /// delegated state from here on and names it by the returned hwid.
    fn initiate(&self, sk: LockedSock<'_>, req: &OffloadRequest<'_>) -> Result<Hwid, Refusal>;

    /// There is unsent data in the socket's send queue. `nonagle` overrides the
    /// socket's Nagle setting for this call (`TCP_NAGLE_*`).
    fn send(&self, sk: LockedSock<'_>, conn: &Connection, nonagle: Option<u8>, bh: &Bh);

    /// Cached state changed: neighbour, TOS, TTL, flow label. `ESTALE` if the
    /// hwid is no connection of this target any more.
    fn update(&self, sk: LockedSock<'_>, hwid: Hwid) -> Result;

    /// The target's own view of the connection, for display; takes no lock and
    /// may be torn. `ESTALE` as above.
    fn query(&self, hwid: Hwid) -> Result<Query>;

    /// The host stack transmits on the connection by itself: some frame while it is
    /// delegated, every frame in legacy mode.
    fn host_frame(&self, sk: LockedSock<'_>, conn: &Connection, skb: SkBuff) -> HostFrame;

    /// The connection is in legacy mode, and about to be used: takes it again if the
    /// host stack is through with the special case. `true`: it is delegated.
    fn resynchronise(&self, sk: LockedSock<'_>, conn: &Connection) -> bool;

    /// A frame of the connection that waited in the socket's backlog.
    fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff);

    /// Would a buffer pay, by `rule`, for a call that waits for `want` bytes? No lock
    /// held.
    fn wants_buffer(&self, hwid: Hwid, want: u32, rule: Rule) -> bool;

    /// Posts a user buffer (claims B 17, 24). `false`: it cannot be, at present.
    fn post_buffer(&self, sk: LockedSock<'_>, hwid: Hwid, buffer: &Pinned) -> bool;

    /// Takes the posted buffer back, if there is one: nothing is placed in it when
    /// this returns, and its reader is woken. `terminate` does so, too.
    fn take_buffer(&self, sk: LockedSock<'_>, hwid: Hwid);

    /// Payload that is held for want of a user buffer is processed now. Nothing of
    /// the host stack is below us.
    fn flush(&self, sk: LockedSock<'_>, conn: &Connection);

    /// A reader is about to wait in the host stack: the next payload is not held.
    fn reader_comes(&self, sk: LockedSock<'_>, conn: &Connection);

    /// The time that [`hold::expire_at`](super::hold::expire_at) was told has come:
    /// what has been held since then is processed. `Some`: it is called again at that
    /// time. As [`flush`](Self::flush).
    fn request_expired(&self, sk: LockedSock<'_>, conn: &Connection, now_ms: u64) -> Option<u64>;

    /// The socket's owner lets it go, which the target [waits for](super::release)
    /// at one socket at least: data may wait to be sent.
    fn released(&self, sk: LockedSock<'_>, conn: &Connection);

    /// Gives the connection up. When this returns, the socket holds all of its
    /// state and data, and no frame will be processed for the hwid any more.
    fn terminate(&self, sk: LockedSock<'_>, hwid: Hwid) -> Result;

    /// Calls `f` with the hwid and the socket of every connection. Process context.
    fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>));
}
