// SPDX-License-Identifier: GPL-2.0

//! A connection between host and target: hand-over, identity, and the way back.
//!
//! Everything here runs under the socket's lock. Since the target of an
//! emulated NIC writes every change through to `struct tcp_sock` before it lets
//! the lock go, the host stack can take over between any two frames.

use kernel::prelude::*;

use super::{
    auto,
    device::Device,
    hold,
    hooks::SocketHooks,
    intermediate::Layers,
    registry::{
        self,
        TargetOf, //
    },
    release,
    rules::{
        Decided,
        Outcome, //
    },
    stats::Stats,
    target::{
        OffloadRequest,
        OffloadTarget, //
    },
    watch, //
};
use crate::{
    logic::{
        buffer,
        filter::Filter,
        hwid::Hwid,
        legacy::{
            Budget,
            Legacy, //
        },
        policy::{
            Backoff,
            Candidate,
            Limits, //
        },
        reason::{
            Refusal,
            SpecialCase,
            UploadReason, //
        },
        rules::{
            self,
            Knob,
            Overrides, //
        },
        state::{
            Mode,
            ModeEvent, //
        },
        tuple::{
            Family,
            Tuple, //
        }, //
    },
    net::{
        context::BhGuard,
        devref::DevRef,
        lock_cell::SockCell,
        netdev::NetDevice,
        proto,
        rcu_box::RcuBox,
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        },
        table::ReadGuard,
        time,
        trace, //
    }, //
};

/// The framework's record of one offloaded connection: the socket points to it,
/// and it holds what leads to the target's entry and back.
pub(crate) struct Connection {
    hwid: Hwid,
    dev: DevRef,
    target_of: TargetOf,
    mode: SockCell<Mode>,
    saved: proto::Saved,
    /// Who wanted it, with the history of uploads: outlives this record in [`auto`].
    trigger: Trigger,
    /// Limits that a rule has set.
    overrides: Overrides,
    /// How many special cases are still allowed.
    budget: SockCell<Budget>,
}

impl Connection {
    /// The hardware connection identifier.
    #[inline]
    pub(crate) fn hwid(&self) -> Hwid {
        self.hwid
    }

    /// The device that has the connection.
    pub(crate) fn dev(&self) -> &NetDevice {
        &self.dev
    }

    /// Does the target own the delegated state?
    #[inline]
    pub(crate) fn delegated(&self, sk: LockedSock<'_>) -> bool {
        self.mode.get(sk) == Mode::Delegated
    }

    /// Has the target the entry, while the host stack works?
    #[inline]
    pub(crate) fn in_legacy(&self, sk: LockedSock<'_>) -> bool {
        self.mode.get(sk) == Mode::Legacy
    }

    /// `None` once the device has lost its driver state.
    #[inline]
    pub(crate) fn target(&self) -> Option<&dyn OffloadTarget> {
        (self.target_of)(&self.dev)
    }

    /// The limits of its device, and those of its own.
    fn limits(&self, target: &dyn OffloadTarget) -> Limits {
        let mut limits = target.device().limits();
        self.overrides.apply(&mut limits);
        limits
    }

    /// Which of its calls a user buffer is posted for.
    pub(super) fn user_buffer_rule(&self, target: &dyn OffloadTarget) -> buffer::Rule {
        let mut rule = target.device().user_buffer_rule();
        if let Some(min) = self.overrides.get(Knob::UserBuffer) {
            rule.min = min;
        }
        rule
    }

    fn step(&self, sk: LockedSock<'_>, event: ModeEvent) -> Result {
        let next = self.mode.get(sk).next(event).map_err(|_| EINVAL)?;
        self.mode.set(sk, next);
        Ok(())
    }
}

/// The record of the connection of `sk`, while it is offloaded.
#[inline]
pub(crate) fn of<'g>(sk: LockedSock<'_>, guard: &'g ReadGuard<'_>) -> Option<&'g Connection> {
    proto::context::<Connection>(&sk, guard)
}

/// Who owns the connection of `sk` at this moment, for display.
pub(crate) fn mode(sk: &Sock, guard: &ReadGuard<'_>) -> Mode {
    proto::context::<Connection>(sk, guard).map_or(Mode::Host, |conn| conn.mode.peek())
}

/// Who wants the offload.
#[derive(Clone, Copy)]
pub(crate) struct Trigger {
    /// The application, by `setsockopt(TCP_ULP, "toe")`.
    pub(crate) explicit: bool,
    /// Uploads of this connection before.
    pub(crate) backoff: Backoff,
    /// The connection was refused before: a further refusal is not counted.
    pub(crate) retry: bool,
    /// When it was established, in ms, if it was seen.
    pub(crate) since_ms: Option<u64>,
    /// Name of the task that asks, if one does.
    pub(crate) process: Option<rules::Name>,
    /// The rule that decided when it was last looked at.
    pub(super) decided: Decided,
    /// Rules count the decision: it is no dry run.
    pub(super) counts: bool,
}

impl Trigger {
    /// For a connection that was never looked at.
    pub(crate) const fn new(explicit: bool) -> Self {
        Trigger {
            explicit,
            backoff: Backoff::new(),
            retry: false,
            since_ms: None,
            process: None,
            decided: Decided::Nobody,
            counts: true,
        }
    }

    /// Time since the connection was established, in ms.
    pub(super) fn age_ms(&self) -> Option<u64> {
        Some(time::now_ms().saturating_sub(self.since_ms?))
    }
}

fn tuple_of(sk: LockedSock<'_>, layers: &Layers) -> Tuple {
    let (local, remote, lport, rport) = sk.tuple();
    Tuple {
        family: if sk.is_v6() { Family::V6 } else { Family::V4 },
        local,
        remote,
        lport,
        rport,
        vlan: layers.tags(),
    }
}

/// What about the socket itself speaks against an offload.
fn check_socket(sk: LockedSock<'_>) -> Result<(), Refusal> {
    let f = sk.facts();
    let checks = [
        (f.shutdown && sk.is_connected(), Refusal::Shutdown),
        (!f.established, Refusal::NotEstablished),
        (f.has_ulp, Refusal::OtherUlp),
        (f.mptcp, Refusal::Mptcp),
        (f.smc, Refusal::Smc),
        (f.sockmap, Refusal::Sockmap),
        (!proto::is_plain(sk), Refusal::OtherProto),
        (f.user_data, Refusal::UserData),
        (f.repair, Refusal::TcpRepair),
        (f.md5_ao, Refusal::Md5Ao),
        (f.fastopen, Refusal::Fastopen),
        (f.out_of_order, Refusal::OutOfOrder),
        (f.urgent, Refusal::Urgent),
        (f.in_recovery, Refusal::Recovery),
        (f.ecn, Refusal::Ecn),
        (f.own_cc, Refusal::CongestionControl),
        (f.pacing, Refusal::Pacing),
        (f.timestamping, Refusal::UnsupportedOption),
        (f.ip_options, Refusal::IpOptions),
        (f.probing, Refusal::ZeroWindow),
        (f.pressure, Refusal::NoMemory),
    ];
    match checks.iter().find(|(bad, _)| *bad) {
        Some((_, reason)) => Err(*reason),
        None => Ok(()),
    }
}

/// What about the device `dev` of the path speaks against an offload to `target`.
fn check_device(
    sk: LockedSock<'_>,
    dev: &NetDevice,
    target: &dyn OffloadTarget,
) -> Result<(), Refusal> {
    let device = target.device();
    if !dev.is_up() || !dev.has_carrier() || dev.is_going() {
        return Err(Refusal::DeviceDown);
    }
    match filtered(&sk, dev, device) {
        Some(filter) => Err(filter.refusal()),
        None => Ok(()),
    }
}

fn check_path(
    sk: LockedSock<'_>,
    dev: &NetDevice,
    layers: Option<&Layers>,
    target: &dyn OffloadTarget,
) -> Result<(), Refusal> {
    target.device().check_open()?;
    for dev in layers.into_iter().flat_map(Layers::devices) {
        check_device(sk, dev, target)?;
    }
    check_device(sk, dev, target)
}

/// What must see the frames of `sk`, and would not if they skipped `dev`, in the path of
/// the connections that `device` takes. Any context; the lock need not be held.
pub(crate) fn filtered(sk: &Sock, dev: &NetDevice, device: &Device) -> Option<Filter> {
    sk.filters(dev).without(device.bypassed()).first()
}

/// What would become of the connection of `sk` if it were to be offloaded now. Any
/// context under the socket lock.
pub(super) fn would_offload(sk: LockedSock<'_>, trigger: &Trigger) -> Outcome {
    let mut trigger = Trigger {
        counts: false,
        ..*trigger
    };
    let mut find = || {
        let (path_dev, xfrm) = sk.route().ok_or(Refusal::NoRoute)?;
        let dev = Layers::below(path_dev);
        let (target, _) = registry::target_of(dev).ok_or(Refusal::NotToeDevice)?;
        if xfrm && !target.device().bypassed().has(Filter::Xfrm) {
            return Err(Refusal::Xfrm);
        }
        check(sk, (path_dev, dev), target, &mut trigger).map(drop)
    };
    let result = find().err();
    Outcome {
        result,
        rule: match trigger.decided {
            Decided::By(rule) => rule,
            Decided::Nobody => None,
        },
    }
}

/// Hands the connection of `sk` over. A refusal leaves it as it is and is
/// counted. Any context under the socket lock.
///
/// `trigger` keeps what the rules said.
pub(crate) fn offload(sk: LockedSock<'_>, trigger: &mut Trigger) -> Result<Hwid, Refusal> {
    let Some((path_dev, xfrm)) = sk.route() else {
        return Err(refused(None, Refusal::NoRoute));
    };
    let dev = Layers::below(path_dev);
    let Some((target, target_of)) = registry::target_of(dev) else {
        return Err(refused(None, Refusal::NotToeDevice));
    };
    let stats = target.device().stats();
    if xfrm && !target.device().bypassed().has(Filter::Xfrm) {
        return Err(refused(Some(stats), Refusal::Xfrm));
    }
    match hand_over(sk, (path_dev, dev), target, target_of, trigger) {
        Ok(hwid) => {
            stats.offloaded();
            let bh = BhGuard::new();
            let guard = ReadGuard::within(&bh);
            if let Some(conn) = of(sk, &guard) {
                target.send(sk, conn, None, &bh);
            }
            Ok(hwid)
        }
        Err(reason) if trigger.retry => Err(reason),
        Err(reason) => Err(refused(Some(stats), reason)),
    }
}

fn refused(stats: Option<&Stats>, reason: Refusal) -> Refusal {
    if let Some(stats) = stats {
        stats.refused(reason);
    }
    reason
}

/// All that the framework checks. What the target then gets, and limits of the
/// connection's own. `path_dev` is the device that the route leaves through, `dev` the
/// target's.
fn check<'a>(
    sk: LockedSock<'_>,
    (path_dev, dev): (&'a NetDevice, &'a NetDevice),
    target: &dyn OffloadTarget,
    trigger: &mut Trigger,
) -> Result<(OffloadRequest<'a>, Overrides), Refusal> {
    let guard = ReadGuard::new();
    if of(sk, &guard).is_some() {
        return Err(Refusal::Already);
    }
    drop(guard);
    let layers = Layers::find(path_dev)?;
    let tuple = tuple_of(sk, &layers);
    let device = target.device();
    let mut limits = device.limits();
    limits.permit(trigger.explicit)?;
    let mut decided = Decided::Nobody;
    let rule = device
        .rules()
        .decide((sk, path_dev, &tuple), trigger, &mut decided);
    trigger.decided = decided;
    let rule = rule?;
    if let Some(rule) = &rule {
        rule.apply(&mut limits);
    }
    limits.decide(&Candidate {
        tuple,
        explicit: trigger.explicit,
        bytes: sk.bytes_moved(),
        segments: sk.data_segments(),
        age_ms: trigger.age_ms(),
        device_conns: target.connections(),
        now_ms: time::now_ms(),
        backoff: trigger.backoff,
    })?;
    check_socket(sk)?;
    check_path(sk, dev, Some(&layers), target)?;
    let next_hop = sk.neighbour(false).map_err(|_| Refusal::Neighbour)?;
    let request = OffloadRequest {
        dev,
        path_dev,
        layers: layers.share()?,
        tuple,
        next_hop,
    };
    Ok((request, rule.map_or(Overrides::NONE, |r| r.overrides)))
}

fn hand_over(
    sk: LockedSock<'_>,
    devices: (&NetDevice, &NetDevice),
    target: &dyn OffloadTarget,
    target_of: TargetOf,
    trigger: &mut Trigger,
) -> Result<Hwid, Refusal> {
    let (request, overrides) = check(sk, devices, target, trigger)?;
    let dev = request.dev;
    let hwid = target.initiate(sk, &request)?;
    // What changes from here on, a filter or a layer, finds the connection at the target.
    let layers = request.layers.as_deref();
    let checked = watch::add(dev, target)
        .and_then(|()| check_path(sk, dev, layers, target))
        .and_then(|()| match layers.is_none_or(Layers::intact) {
            true => Ok(()),
            false => Err(Refusal::DeviceDown),
        });
    if let Err(reason) = checked {
        let _ = target.terminate(sk, hwid);
        return Err(reason);
    }
    let saved = match proto::install::<SocketHooks>(sk) {
        Ok(saved) => saved,
        Err(_) => {
            let _ = target.terminate(sk, hwid);
            return Err(Refusal::NoMemory);
        }
    };
    let record = RcuBox::new(Connection {
        hwid,
        dev: DevRef::new(dev),
        target_of,
        mode: SockCell::new(sk.sock(), Mode::Offloading),
        saved,
        trigger: *trigger,
        overrides,
        budget: SockCell::new(sk.sock(), Budget::default()),
    });
    match record {
        Ok(record) => {
            let _ = record.step(sk, ModeEvent::Accept);
            trace::offload(hwid);
            proto::set_context(sk, record);
            Ok(hwid)
        }
        Err(_) => {
            proto::restore(sk, &saved);
            let _ = target.terminate(sk, hwid);
            Err(Refusal::NoMemory)
        }
    }
}

/// The target of `conn` found a special case: the host stack goes on with the
/// connection, and the target keeps its entry, within these limits. `None`: there were
/// too many, and it was uploaded. Any context under the socket lock.
pub(crate) fn special(sk: LockedSock<'_>, conn: &Connection, case: SpecialCase) -> Option<Limits> {
    let Some(target) = conn.target() else {
        upload(sk, UploadReason::DeviceGone);
        return None;
    };
    count_special(target, conn.hwid, case);
    let limits = conn.limits(target);
    let allowed = conn
        .budget
        .with_mut(sk, |budget| budget.fall(time::now_ms(), &limits));
    if let Err(reason) = allowed {
        upload(sk, reason);
        return None;
    }
    conn.step(sk, ModeEvent::Special).ok()?;
    sk.resume_host();
    Some(limits)
}

/// Counts a special case, and tells who traces. Any context.
pub(crate) fn count_special(target: &dyn OffloadTarget, hwid: Hwid, case: SpecialCase) {
    target.device().stats().special(case);
    trace::special(hwid, case.name());
}

/// The target goes on with the connection after `stay` in legacy mode. Any context
/// under the socket lock.
pub(crate) fn resynchronised(sk: LockedSock<'_>, conn: &Connection, stay: &Legacy) {
    if conn.step(sk, ModeEvent::Resync).is_ok() {
        if let Some(target) = conn.target() {
            let stats = target.device().stats();
            stats.resynchronised(stay.rx_frames, stay.tx_frames);
        }
        trace::resync(conn.hwid, stay.rx_frames, stay.tx_frames);
    }
}

/// Takes the connection of `sk` back to the host stack, which goes on with it
/// when this returns; nothing happens if it is not offloaded. Any context under
/// the socket lock.
pub(crate) fn upload(sk: LockedSock<'_>, reason: UploadReason) {
    let guard = ReadGuard::new();
    let Some(conn) = of(sk, &guard) else {
        return;
    };
    if conn.step(sk, ModeEvent::Upload).is_err() {
        return;
    }
    let mut again = None;
    if let Some(target) = conn.target() {
        let _ = target.terminate(sk, conn.hwid);
        target.device().stats().uploaded(reason);
        trace::upload(conn.hwid, reason.name());
        if may_return(reason, conn.trigger.explicit) {
            let mut trigger = conn.trigger;
            trigger.retry = false;
            trigger
                .backoff
                .uploaded(time::now_ms(), &conn.limits(target));
            again = Some(trigger);
        }
    }
    let saved = conn.saved;
    let _ = conn.step(sk, ModeEvent::Uploaded);
    proto::clear_context::<Connection>(sk);
    proto::restore(sk, &saved);
    release::forget_ulp(sk);
    sk.resume_host();
    if let Some(trigger) = again {
        auto::revisit(sk.sock(), trigger);
    }
}

/// May the policy offload the connection again later?
fn may_return(reason: UploadReason, explicit: bool) -> bool {
    // What an administrator takes back from an application, the application has
    // to ask for again; what the policy took, the policy decides.
    if matches!(reason, UploadReason::Admin | UploadReason::LinkDown) {
        return !explicit;
    }
    !matches!(
        reason,
        UploadReason::Close
            | UploadReason::Shutdown
            | UploadReason::Disconnect
            | UploadReason::Ulp
            | UploadReason::Sockmap
            | UploadReason::Setsockopt
            | UploadReason::DeviceGone
    )
}

/// A frame from the backlog, parsed and matched, its first byte the TCP header: the
/// target's, or the host's. Under the socket lock, nothing of the host stack below us.
pub(crate) fn backlog(sk: LockedSock<'_>, skb: SkBuff) {
    let guard = ReadGuard::new();
    match of(sk, &guard).and_then(Connection::target) {
        Some(target) => target.backlog(sk, skb),
        None => proto::host_receive(sk, skb),
    }
}

/// [`upload`], if `sk` is still the connection that `hwid` names.
pub(crate) fn upload_hwid(sk: LockedSock<'_>, hwid: Hwid, reason: UploadReason) {
    let guard = ReadGuard::new();
    if of(sk, &guard).is_some_and(|c| c.hwid == hwid) {
        hold::flush(sk);
        upload(sk, reason);
    }
}
