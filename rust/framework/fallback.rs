// SPDX-License-Identifier: GPL-2.0

//! What keeps a target from going on with a connection, and what any target looks for before
//! it sends.

use super::{
    connection::{
        self,
        count_special, //
    },
    device::Device,
    lower::PathObject,
    update::{
        rerouted,
        resolve_neighbour, //
    },
    upload, //
};
use crate::{
    logic::{
        filter::Filter,
        hwid::Hwid,
        reason::{
            Refusal,
            SpecialCase,
            UploadReason, //
        }, //
    },
    net::{
        net_device::NetDevice,
        sock::{
            BhLock,
            LockedSock, //
        },
        sync::rcu::ReadGuard,
        tcp::TxBlockers, //
    }, //
};

/// Why a target cannot go on for now.
#[derive(Clone, Copy)]
pub(crate) enum Fallback {
    /// The host stack has something to do, and will be done soon.
    Special(SpecialCase),
    /// The target's frames cannot be sent.
    Upload(UploadReason),
}

/// The host stack may find memory, or wait for it.
pub(crate) const NO_MEMORY: Fallback = Fallback::Special(SpecialCase::NoMemory);

/// The connection's route leaves by another device.
pub(crate) const ELSEWHERE: Fallback = Fallback::Upload(UploadReason::RouteChange);

impl Fallback {
    /// The reason for an upload by a target that has no legacy mode.
    fn reason(self, device: &Device, hwid: Hwid) -> UploadReason {
        match self {
            Self::Upload(reason) => reason,
            Self::Special(case) => {
                count_special(device, hwid, case);
                UploadReason::Special
            }
        }
    }

    /// By a target without legacy mode: the host stack has the connection when this returns.
    /// Under the socket lock, any context.
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn upload(self, sk: LockedSock<'_>, device: &Device, hwid: Hwid) {
        upload::upload(sk, self.reason(device, hwid));
    }

    /// The same with the socket's spin lock: if a task owns the socket, as soon as it lets it
    /// go.
    pub(crate) fn ask(self, lock: &BhLock<'_>, device: &Device, hwid: Hwid) {
        let reason = self.reason(device, hwid);
        match lock.try_own() {
            Some(sk) => upload::upload(sk, reason),
            None => upload::ask_owner(lock, hwid, reason),
        }
    }
}

/// Something is in the way of the connection's frames, or may be. A new xfrm policy also
/// makes the route invalid: filters are named first. Under the socket lock, any context.
#[cold]
pub(crate) fn check_blockers(sk: LockedSock<'_>, blockers: TxBlockers) -> Result<(), Fallback> {
    let guard = ReadGuard::new();
    let conn = connection::of(sk, &guard);
    if let Some(filter) = conn.and_then(|conn| conn.filtered(&sk)) {
        return Err(Fallback::Upload(filter.upload()));
    }
    match blockers.is_elsewhere() {
        true => Err(ELSEWHERE),
        false => Ok(()),
    }
}

/// The link address of the next hop. The host is asked once a second, keeps the neighbour
/// alive then, and is told whether frames arrive there. Under the socket lock, any context.
pub(crate) fn next_hop(
    sk: LockedSock<'_>,
    path: &PathObject,
    second: u32,
) -> Result<[u8; 6], Fallback> {
    const UNKNOWN: Fallback = Fallback::Upload(UploadReason::Neighbour);

    let neighbour = &path.neighbour;
    if neighbour.asks(second) && !resolve_neighbour(sk, neighbour.has_progress(second)) {
        return Err(UNKNOWN);
    }
    let mac = neighbour.cached().ok_or(UNKNOWN)?.mac;
    match path.is_valid() {
        true => Ok(mac),
        false => Err(ELSEWHERE),
    }
}

/// The route of the connection, or another of its namespace, is not what it was: it is looked up
/// again, and the target told if it leads to another neighbour by the same device. Under the
/// socket lock, any context.
#[cold]
pub(crate) fn reroute(
    sk: LockedSock<'_>,
    device: &Device,
    dev: &NetDevice,
) -> Result<(), Fallback> {
    sk.reroute().map_err(|_| ELSEWHERE)?;
    leaves_by(sk, device, dev)?;
    rerouted(sk, dev).map_err(|reason| match reason {
        Refusal::Neighbour => Fallback::Upload(UploadReason::Neighbour),
        _ => ELSEWHERE,
    })
}

/// Checks that the route leaves by `dev`, and nothing transforms its frames.
fn leaves_by(sk: LockedSock<'_>, device: &Device, dev: &NetDevice) -> Result<(), Fallback> {
    match sk.route() {
        Some((by, xfrm)) if core::ptr::eq(by, dev) && dev.is_up() => {
            match xfrm && !device.bypassed().has(Filter::Xfrm) {
                true => Err(Fallback::Upload(Filter::Xfrm.upload())),
                false => Ok(()),
            }
        }
        _ => Err(ELSEWHERE),
    }
}

/// Returns whether the route still leads to `path`, by `dev`. The host stack looks the route up
/// again for a frame of its own, and then it is valid, but may be another. Under the socket lock,
/// any context.
pub(crate) fn leads_to(
    sk: LockedSock<'_>,
    device: &Device,
    dev: &NetDevice,
    path: &PathObject,
) -> bool {
    leaves_by(sk, device, dev).is_ok() && path.neighbour.is_at(&sk.hop())
}

/// Checks that the MSS is that of the path; only the host stack can change it. Under the
/// socket lock, any context.
pub(crate) fn check_mtu(sk: LockedSock<'_>) -> Result<(), Fallback> {
    match sk.mtu_current() {
        true => Ok(()),
        false => Err(Fallback::Special(SpecialCase::PathMtu)),
    }
}
