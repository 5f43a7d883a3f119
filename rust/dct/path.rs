// SPDX-License-Identifier: GPL-2.0

//! The path of the target's frames: route, next hop and path MTU are the host's, and
//! cached in the objects that the entry lies on. What has changed there gets into the
//! entry's frames here, with the connection in the target; where that cannot be, the
//! host stack goes on.
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
    framework::host,
    logic::{
        filter::Filter,
        next_hop::{
            self,
            NextHop, //
        },
        reason::{
            Refusal,
            SpecialCase,
            UploadReason, //
        }, //
    },
    net::{
        context::Bh,
        sock::LockedSock,
        sync::rcu::ReadGuard,
        tcp::Path, //
    }, //
};

/// Why the target cannot send for now.
pub(super) enum Detour {
    /// The host stack has something to do, and will be done soon.
    Legacy(SpecialCase),
    /// There is no way for the target's frames.
    Upload(UploadReason),
}

impl Detour {
    /// The host stack has the connection when this returns. Any context under the
    /// socket lock.
    #[cold]
    pub(super) fn take<N: Nic>(self, sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
        match self {
            Self::Legacy(case) => legacy::enter(sk, entry, case, bh),
            Self::Upload(reason) => host::upload(sk, reason),
        }
    }
}

const ELSEWHERE: Detour = Detour::Upload(UploadReason::RouteChange);

/// The NIC to send by, if route and next hop are as the entry has them, or it can be
/// brought up to date, and nothing that would look at the frame was installed. Any
/// context under the socket lock.
#[inline]
pub(super) fn path<'e, N: Nic>(
    sk: LockedSock<'_>,
    entry: &'e Entry<N>,
    bh: &Bh,
) -> Result<&'e N, Detour> {
    let nic = &*entry.nic;
    let way = sk.path(&entry.path_dev, bh);
    if !way.is_clear() {
        look_at_way(sk, entry, way)?;
    }
    let changes = nic.engine().objects.changes();
    let second = next_hop::second(sk.clock_us());
    if !entry.next_hop.get(sk).is_current(changes, second) {
        look_at_objects(sk, entry, changes, second)?;
    }
    Ok(nic)
}

/// Something is in the way, or may be. A new xfrm policy also makes the route invalid:
/// filters are named first.
#[cold]
fn look_at_way<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, way: Path) -> Result<(), Detour> {
    let guard = ReadGuard::new();
    let conn = host::of(sk, &guard);
    if let Some(filter) = conn.and_then(|conn| conn.filtered(&sk)) {
        return Err(Detour::Upload(filter.upload()));
    }
    drop(guard);
    if way.is_elsewhere() {
        return Err(ELSEWHERE);
    }
    match way.is_invalid() {
        true => reroute(sk, entry),
        false => Ok(()),
    }
}

/// This route, or any other of the namespace, has changed. It may still lead to the same
/// device.
#[cold]
fn reroute<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) -> Result<(), Detour> {
    sk.reroute().map_err(|_| ELSEWHERE)?;
    let xfrm = match sk.route() {
        Some((dev, xfrm)) if core::ptr::eq(dev, &*entry.path_dev) && dev.is_up() => xfrm,
        _ => return Err(ELSEWHERE),
    };
    if xfrm && !entry.nic.engine().device().bypassed().has(Filter::Xfrm) {
        return Err(Detour::Upload(Filter::Xfrm.upload()));
    }
    host::rerouted(sk, &entry.path_dev).map_err(|reason| match reason {
        Refusal::Neighbour => Detour::Upload(UploadReason::Neighbour),
        _ => ELSEWHERE,
    })?;
    check_mtu(sk)
}

/// An object below the connection may have changed, or time has passed.
#[cold]
fn look_at_objects<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    changes: u32,
    second: u32,
) -> Result<(), Detour> {
    const UNKNOWN: Detour = Detour::Upload(UploadReason::Neighbour);

    let path = entry.path.with(sk, Arc::clone);
    let neighbour = &path.neighbour;
    let snd_una = entry.data.get(sk).snd_una;
    if entry.next_hop.get(sk).progressed(snd_una) {
        neighbour.progressed(second);
    }
    if neighbour.asks(second) && !host::look_at_neighbour(sk, neighbour.has_progress(second)) {
        return Err(UNKNOWN);
    }
    let mac = neighbour.cached().ok_or(UNKNOWN)?.mac;
    if !path.is_valid() {
        return Err(ELSEWHERE);
    }
    entry.change_template(sk, |t| t.set_dst_mac(mac));
    let looked = NextHop::looked(changes, second, snd_una);
    entry.next_hop.set(sk, looked);
    check_mtu(sk)
}

/// Checks that the MSS is that of the path; only the host stack can change it.
fn check_mtu(sk: LockedSock<'_>) -> Result<(), Detour> {
    match sk.mtu_current() {
        true => Ok(()),
        false => Err(Detour::Legacy(SpecialCase::PathMtu)),
    }
}
