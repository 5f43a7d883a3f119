// SPDX-License-Identifier: GPL-2.0

//! The decision on an offload: the target of a connection's route, and all checks of the
//! framework.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    connection,
    intermediate::Layers,
    objects::PathKey,
    registry::{
        self,
        TargetOf, //
    },
    stats::Stats,
    target::OffloadTarget,
    trigger::{
        Decided,
        Outcome,
        Trigger, //
    }, //
};
use crate::{
    logic::{
        filter::{
            Filter,
            Filters, //
        },
        hwid::Hwid,
        policy::Candidate,
        reason::Refusal,
        resources::{
            Needs,
            Resources, //
        },
        rules::Overrides,
        tuple::{
            Family,
            Tuple, //
        },
        vlan::Tags, //
    },
    net::{
        devref::DevRef,
        net_device::NetDevice,
        proto,
        sock::LockedSock,
        sync::rcu::ReadGuard,
        tcp::Hop, //
    }, //
};

/// Where a connection may go: a target, and its device.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) dev: &'a NetDevice,
    pub(super) target: &'a dyn OffloadTarget,
    pub(super) target_of: TargetOf,
}

impl<'a> Destination<'a> {
    pub(super) fn stats(&self) -> &'a Stats {
        self.target.device().stats()
    }
}

/// A device that has a target, unless that has gone.
pub(super) struct Place {
    /// A bond may lose it, whatever lock is held.
    dev: DevRef,
    target_of: TargetOf,
}

impl Place {
    /// Where `to` is, for as long as wanted.
    #[inline(always)]
    pub(super) fn of(to: &Destination<'_>) -> Self {
        Place {
            dev: DevRef::new(to.dev),
            target_of: to.target_of,
        }
    }

    /// Whether `to` is here.
    #[inline(always)]
    pub(super) fn is(&self, to: &Destination<'_>) -> bool {
        core::ptr::eq(&*self.dev, to.dev)
    }

    /// The target there.
    #[inline]
    pub(super) fn destination(&self) -> Option<Destination<'_>> {
        Some(Destination {
            dev: &self.dev,
            target: (self.target_of)(&self.dev)?,
            target_of: self.target_of,
        })
    }
}

/// Where the frames of a connection leave the host.
pub(super) struct Exit<'s> {
    /// The device that its route leaves through.
    pub(super) path_dev: &'s NetDevice,
    /// The one below all layers.
    place: Place,
}

impl<'s> Exit<'s> {
    /// By the route of `sk`.
    #[inline]
    pub(super) fn find(sk: &'s LockedSock<'_>) -> Result<Self, Refusal> {
        if !sk.is_connected() {
            return Err(Refusal::NotEstablished);
        }
        let (path_dev, xfrm) = sk.valid_route().ok_or(Refusal::NoRoute)?;
        let guard = ReadGuard::new();
        let base = path_dev.base(sk, &guard);
        let Some((target, target_of)) = registry::target_of(base) else {
            return Err(no_target(base, &guard));
        };
        if xfrm && !target.device().bypassed().has(Filter::Xfrm) {
            return Err(Refusal::Xfrm);
        }
        Ok(Exit {
            path_dev,
            place: Place {
                dev: DevRef::new(base),
                target_of,
            },
        })
    }

    /// The target there.
    #[inline]
    pub(super) fn destination(&self) -> Result<Destination<'_>, Refusal> {
        self.place.destination().ok_or(Refusal::NotToeDevice)
    }
}

/// Why there is no target in `base`.
#[cold]
fn no_target(base: &NetDevice, guard: &ReadGuard<'_>) -> Refusal {
    let target = base.members(guard).find_map(registry::target_of);
    match (target.is_some(), base.is_served_bond()) {
        (false, _) => Refusal::NotToeDevice,
        (true, false) => Refusal::BondMode,
        // No member carries frames at present.
        (true, true) => Refusal::DeviceDown,
    }
}

/// What was found of a connection that passed all checks of the framework.
pub(super) struct Eligible {
    /// The device that its route leaves through.
    path_dev: DevRef,
    layers: Option<Arc<Layers>>,
    hop: Hop,
    /// The neighbour of `hop`, if the target has it.
    known: Option<Hwid>,
    /// What the target takes as one frame.
    pub(super) max_payload: u32,
    pub(super) tuple: Tuple,
    /// Those of a rule.
    pub(super) overrides: Option<Overrides>,
}

impl Eligible {
    pub(super) fn path_key(&self) -> PathKey<'_> {
        PathKey {
            dev: &self.path_dev,
            layers: self.layers.as_ref(),
            hop: &self.hop,
            tuple: &self.tuple,
            known: self.known,
        }
    }
}

/// Connections that are decided on together.
#[derive(Default)]
pub(super) struct Group {
    /// What was found for the last one's device.
    checks: Option<DeviceChecks>,
    /// How many of them passed, and are to be handed over.
    pub(super) eligible: u32,
    /// What the target has left, once it was asked.
    resources: Option<Resources>,
}

impl Group {
    /// Takes what a connection needs of what the target has. Returns the largest payload of a
    /// frame.
    fn take(&mut self, target: &dyn OffloadTarget, needs: &Needs) -> Result<u32, Refusal> {
        let resources = match &mut self.resources {
            Some(resources) => resources,
            unknown => unknown.insert(target.resources().ok_or(Refusal::Target)?),
        };
        resources.take(needs)?;
        Ok(resources.max_payload)
    }
}

/// What connections have in common that leave through the same device: found once for
/// all of a [`Group`].
struct DeviceChecks {
    path_dev: DevRef,
    /// The target's device.
    dev: DevRef,
    v6: bool,
    layers: Option<Arc<Layers>>,
    /// Whether everything is up, and what would not see frames: found when it is asked for,
    /// because most come no further than to their limits.
    links: Option<Result<(), Refusal>>,
    filters: Option<Filters>,
}

impl DeviceChecks {
    /// For a connection that leaves through `path_dev`, or what was found for another.
    fn of<'c>(
        found: &'c mut Option<Self>,
        sk: LockedSock<'_>,
        path_dev: &NetDevice,
        dev: &NetDevice,
    ) -> Result<&'c mut Self, Refusal> {
        let v6 = sk.is_v6();
        let same = |c: &Self| {
            core::ptr::eq(&*c.path_dev, path_dev) && core::ptr::eq(&*c.dev, dev) && c.v6 == v6
        };
        if !found.as_ref().is_some_and(same) {
            *found = Some(DeviceChecks {
                path_dev: DevRef::new(path_dev),
                dev: DevRef::new(dev),
                v6,
                layers: Layers::find(path_dev, dev)?,
                links: None,
                filters: None,
            });
        }
        found.as_mut().ok_or(Refusal::NoMemory)
    }

    fn check_devices(&mut self, sk: LockedSock<'_>, to: Destination<'_>) -> Result<(), Refusal> {
        let layers = self.layers.as_deref();
        (*self
            .links
            .get_or_insert_with(|| check_links(to.dev, layers, to.target)))?;
        let filters = *self.filters.get_or_insert_with(|| {
            let devices = connection::egress_devices(to.dev, layers);
            devices.fold(Filters::NONE, |all, dev| all.union(sk.egress_filters(dev)))
        });
        let bypassed = to.target.device().bypassed();
        match filters.union(sk.own_filters()).without(bypassed).first() {
            Some(filter) => Err(filter.refusal()),
            None => Ok(()),
        }
    }
}

/// Makes all checks of the framework. Returns what the hand-over needs, with limits of the
/// connection's own. `path_dev` is the device that the route leaves through, `group` those
/// that were decided on before it.
pub(super) fn check(
    sk: LockedSock<'_>,
    path_dev: &NetDevice,
    to: Destination<'_>,
    trigger: &mut Trigger,
    group: &mut Group,
) -> Result<Eligible, Refusal> {
    // A socket with the host's methods has no record.
    if proto::is_ours(&sk) && connection::of(sk, &ReadGuard::new()).is_some() {
        return Err(Refusal::Already);
    }
    let eligible = group.eligible;
    let checks = DeviceChecks::of(&mut group.checks, sk, path_dev, to.dev)?;
    let tuple = tuple_of(sk, checks.layers.as_deref());
    let device = to.target.device();
    let guard = ReadGuard::new();
    let mut limits = device.limits_now(&guard);
    limits.permit(trigger.explicit)?;
    let rule = device.rules().decide(sk, path_dev, &tuple, trigger)?;
    let mut own;
    if let Some(rule) = &rule {
        own = *limits;
        rule.apply(&mut own);
        limits = &own;
    }
    let now_ms = trigger.now_ms();
    limits.decide(&Candidate {
        tuple,
        explicit: trigger.explicit,
        bytes: sk.bytes_moved(),
        segments: sk.data_segments(),
        age_ms: trigger.age_ms(now_ms),
        device_conns: to.target.connections().saturating_add(eligible),
        now_ms,
        backoff: trigger.backoff,
    })?;
    sk.check_eligibility()?;
    checks.check_devices(sk, to)?;
    let hop = sk.hop();
    let known = device.objects().knows(&guard, path_dev, &hop);
    drop(guard);
    if known.is_none() {
        // Asks for it, too.
        sk.neighbour(false).map_err(|_| Refusal::Neighbour)?;
    }
    let (path_dev, layers) = (checks.path_dev.clone(), checks.layers.clone());
    let needs = Needs {
        family: tuple.family,
        tags: tuple.vlan.len() as u8,
        mss: sk.mss(),
        new_neighbour: known.is_none(),
        layers: layers.is_some(),
    };
    let max_payload = group.take(to.target, &needs)?;
    group.eligible += 1;
    Ok(Eligible {
        path_dev,
        layers,
        hop,
        known,
        max_payload,
        tuple,
        overrides: rule.map(|rule| rule.overrides),
    })
}

/// Checks that all devices up to `target` in `dev` are up.
pub(super) fn check_links(
    dev: &NetDevice,
    layers: Option<&Layers>,
    target: &dyn OffloadTarget,
) -> Result<(), Refusal> {
    target.device().check_open()?;
    let down = |dev: &NetDevice| !dev.is_up() || !dev.has_carrier() || dev.is_going();
    match connection::egress_devices(dev, layers).any(down) {
        true => Err(Refusal::DeviceDown),
        false => Ok(()),
    }
}

/// `local` is this host's end.
pub(super) fn tuple_of(sk: LockedSock<'_>, layers: Option<&Layers>) -> Tuple {
    let (local, remote, lport, rport) = sk.tuple();
    Tuple {
        family: if sk.is_v6() { Family::V6 } else { Family::V4 },
        local,
        remote,
        lport,
        rport,
        vlan: layers.map_or(Tags::NONE, Layers::tags),
    }
}

/// What would become of the connection of `sk` if it were to be offloaded now. Any
/// context under the socket lock.
pub(super) fn would_offload(sk: LockedSock<'_>, trigger: &Trigger) -> Outcome {
    let mut trigger = Trigger {
        counts: false,
        ..*trigger
    };
    let decide = |trigger: &mut Trigger| {
        let exit = Exit::find(&sk)?;
        let group = &mut Group::default();
        check(sk, exit.path_dev, exit.destination()?, trigger, group).map(drop)
    };
    let result = decide(&mut trigger).err();
    Outcome {
        result,
        rule: match trigger.decided {
            Decided::By(rule) => rule,
            Decided::Nobody => None,
        },
    }
}

/// Counts what a decision came to: of a candidate only the first refusal, and the last one,
/// after which there is no other attempt.
pub(super) fn count(stats: &Stats, result: Result<Hwid, Refusal>, trigger: &Trigger) {
    match result {
        Ok(_) => stats.offloaded(),
        Err(reason) if trigger.retry && trigger.may_change(reason) => {}
        Err(reason) => stats.refused(reason),
    }
}

/// A refusal before the target was found: what is said about the route's device, or about the
/// first member of a bond that could be one.
pub(super) fn count_early(sk: LockedSock<'_>, reason: Refusal, trigger: &Trigger) {
    if trigger.retry && trigger.may_change(reason) {
        return;
    }
    let guard = ReadGuard::new();
    let Some((dev, _)) = sk.route() else {
        return;
    };
    let target = Layers::below(dev, &guard).find_map(registry::target_of);
    if let Some((target, _)) = target {
        target.device().stats().refused(reason);
    }
}
