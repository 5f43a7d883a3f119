// SPDX-License-Identifier: GPL-2.0

//! Whether and where the target can send: route, next hop and path MTU are the host's, and
//! cached in the objects that the entry lies on. What has changed there gets into the
//! entry's frames here, while the connection stays in the target; where that is impossible,
//! the host stack goes on.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    legacy,
    Entry,
    Nic, //
};
use crate::{
    framework::host::{
        self,
        Fallback, //
    },
    logic::next_hop::{
        self,
        NextHop, //
    },
    net::{
        context::Bh,
        sock::LockedSock,
        tcp::TxBlockers, //
    }, //
};

/// The host stack has the connection when this returns. Any context under the socket lock.
#[cold]
pub(super) fn take<N: Nic>(fallback: Fallback, sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
    match fallback {
        Fallback::Special(case) => legacy::enter(sk, entry, case, bh),
        Fallback::Upload(reason) => host::upload(sk, reason),
    }
}

/// The NIC to send by, if route and next hop are as the entry has them, or it can be
/// brought up to date, and nothing that would look at the frame was installed. Any
/// context under the socket lock.
#[inline]
pub(super) fn tx_path<'e, N: Nic>(
    sk: LockedSock<'_>,
    entry: &'e Entry<N>,
    bh: &Bh,
) -> Result<&'e N, Fallback> {
    let nic = &*entry.nic;
    let blockers = sk.tx_blockers(&entry.path_dev, bh);
    if !blockers.is_clear() {
        check_blockers(sk, entry, blockers)?;
    }
    let changes = nic.engine().objects().changes();
    let second = next_hop::second(sk.clock_us());
    if !entry.next_hop.get(sk).is_current(changes, second) {
        refresh_next_hop(sk, entry, changes, second)?;
    }
    Ok(nic)
}

/// Something is in the way, or may be.
#[cold]
fn check_blockers<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    blockers: TxBlockers,
) -> Result<(), Fallback> {
    host::check_blockers(sk, blockers)?;
    match blockers.is_invalid() {
        true => reroute(sk, entry),
        false => Ok(()),
    }
}

/// As the framework's, and the MSS has to be that of the route.
#[cold]
fn reroute<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) -> Result<(), Fallback> {
    host::reroute(sk, entry.nic.engine().device(), &entry.path_dev)?;
    host::check_mtu(sk)
}

/// The host stack had the connection, and may have found another route for it: then the next hop
/// is looked at before the next frame.
pub(super) fn follow_route<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    let engine = entry.nic.engine();
    let same = |path: &Arc<_>| host::leads_to(sk, engine.device(), &entry.path_dev, path);
    if !entry.path.with(sk, same) {
        let snd_una = entry.data.get(sk).snd_una;
        let unknown = NextHop::unknown(engine.objects().changes(), snd_una);
        entry.next_hop.set(sk, unknown);
    }
}

/// An object below the connection may have changed, or time has passed.
#[cold]
fn refresh_next_hop<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    changes: u32,
    second: u32,
) -> Result<(), Fallback> {
    let mut path = entry.path.with(sk, Arc::clone);
    let (device, dev) = (entry.nic.engine().device(), &entry.path_dev);
    if !host::leads_to(sk, device, dev, &path) {
        host::reroute(sk, device, dev)?;
        path = entry.path.with(sk, Arc::clone);
    }
    let snd_una = entry.data.get(sk).snd_una;
    if entry.next_hop.get(sk).progressed(snd_una) {
        path.neighbour.progressed(second);
    }
    let mac = host::next_hop(sk, &path, second)?;
    entry.change_template(sk, |t| t.set_dst_mac(mac));
    let checked = NextHop::checked(changes, second, snd_una);
    entry.next_hop.set(sk, checked);
    host::check_mtu(sk)
}
