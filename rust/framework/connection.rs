// SPDX-License-Identifier: GPL-2.0

//! A connection between host and target: its record, how it is found, and its mode.
//!
//! Everything here runs under the socket's lock. Since the target of an emulated NIC writes
//! every change through to `struct tcp_sock` before it releases the lock, the host stack
//! can take over between any two frames.

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    device::Device,
    hooks::SocketHooks,
    intermediate::Layers,
    registry::TargetOf,
    release_cb::AtRelease,
    target::{
        BlockSlot,
        ConnRef,
        Host,
        OffloadTarget,
        OffloadTree, //
    },
    trigger::{
        Origin,
        Trigger, //
    },
    update,
    upload, //
};
use crate::{
    logic::{
        buffer,
        conn::ConnCached,
        filter::Filter,
        hwid::Hwid,
        legacy::{
            Budget,
            Legacy, //
        },
        policy::Limits,
        reason::{
            Refusal,
            SpecialCase,
            UploadReason, //
        },
        rules::{
            Knob,
            Overrides, //
        },
        state::{
            Mode,
            ModeEvent, //
        },
        tree::{
            state::Handle,
            Tree, //
        }, //
    },
    net::{
        calls::ModulePin,
        context::Bh,
        devref::DevRef,
        memcg::{
            self,
            Charge, //
        },
        net_device::NetDevice,
        proto::{
            self,
            InstallError, //
        },
        reader::ReaderSlot,
        record::{
            self,
            Parts, //
        },
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        sync::{
            rcu::ReadGuard,
            sock_cell::SockCell, //
        },
        table::Tether,
        trace, //
    }, //
};

/// The framework's record of one offloaded connection: the socket points to it,
/// and it holds what leads to the target's entry and back.
pub(crate) struct Connection {
    hwid: Hwid,
    /// Whose hwid that is: the address of the device, which is compared only. The device may
    /// leave before the record.
    home: usize,
    mode: SockCell<Mode>,
    /// Who wanted it, with the history of uploads: outlives this record in
    /// [`candidates`](super::candidates).
    origin: Origin,
    /// Limits that a rule has set, which most connections do without.
    overrides: Option<KBox<Overrides>>,
    /// Its path among the [objects](super::objects) of the device, 0 for none. Written
    /// within a transaction.
    pub(super) path: AtomicU64,
    /// The cached state that was pushed to the target last.
    pub(super) cached: SockCell<ConnCached>,
    /// How many special cases are still allowed.
    budget: SockCell<Budget>,
    /// Bytes acknowledged, and received, before the hand-over.
    moved_before: (u64, u64),
    /// What the owner of the socket does when it releases the socket.
    at_release: AtRelease,
    /// A task that sleeps in a read while the target has the delegated state.
    pub(super) reader: ReaderSlot,
}

/// Where the connection is: given up when a device leaves, whoever owns the socket.
pub(crate) struct Attached {
    dev: DevRef,
    target_of: TargetOf,
    /// The layers between the route's device and `dev`.
    layers: Option<Arc<Layers>>,
    /// What leads to the target's entry.
    tether: Option<Tether>,
}

/// The parts of a record.
pub(crate) struct Delegated;

impl Parts for Delegated {
    type Value = Connection;
    type Attached = Attached;

    fn leaves(value: &Connection) {
        value.reader.leave();
    }
}

/// A record, as it is found.
pub(crate) type Record = record::Record<Delegated>;

/// What a connection that a target has taken has besides its socket.
pub(super) struct Delegation<'a> {
    pub(super) hwid: Hwid,
    pub(super) path: Hwid,
    pub(super) dev: &'a NetDevice,
    pub(super) target_of: TargetOf,
    pub(super) layers: Option<Arc<Layers>>,
    pub(super) tether: Option<Tether>,
    /// The cached state that was pushed to the target last.
    pub(super) cached: &'a ConnCached,
    pub(super) trigger: &'a Trigger,
    pub(super) overrides: Option<&'a Overrides>,
}

/// Puts a record, and our methods, on the socket of a connection that a target has
/// taken. Under the socket lock.
pub(super) fn install(sk: LockedSock<'_>, of: Delegation<'_>, bh: &Bh) -> Result<(), Refusal> {
    let charge = Charge::to(&sk);
    let overrides = match of.overrides.filter(|own| !own.is_empty()) {
        Some(own) => Some(KBox::new(*own, memcg::atomic()).map_err(|_| Refusal::NoMemory)?),
        None => None,
    };
    let origin = of.trigger.keep().map_err(|_| Refusal::NoMemory)?;
    // The target has accepted it.
    let mode = Mode::Offloading.next(ModeEvent::Accept);
    let mode = mode.unwrap_or(Mode::Offloading);
    let value = pin_init::init!(Connection {
        hwid: of.hwid,
        home: core::ptr::from_ref(of.dev).addr(),
        mode: SockCell::new(sk.sock(), mode),
        origin,
        overrides,
        path: AtomicU64::new(of.path.raw()),
        cached: SockCell::new(sk.sock(), *of.cached),
        budget: SockCell::new(sk.sock(), Budget::default()),
        moved_before: sk.transferred(),
        at_release: AtRelease::new(sk.is_owned()),
        reader: ReaderSlot::new(),
    });
    let attached = Attached {
        dev: DevRef::new(of.dev),
        target_of: of.target_of,
        layers: of.layers,
        tether: of.tether,
    };
    let record = Record::new(&sk, value, attached).map_err(|_| Refusal::NoMemory)?;
    drop(charge);
    proto::install::<SocketHooks, _>(sk, record, bh).map_err(|e| match e {
        InstallError::Memory => Refusal::NoMemory,
        InstallError::Taken => Refusal::Contended,
    })?;
    trace::offload(of.hwid);
    Ok(())
}

impl Record {
    /// Who wanted it.
    pub(super) fn trigger(&self) -> Trigger {
        self.value().origin.trigger()
    }

    /// Returns whether it is the connection that the target in `dev` knows as `hwid`. Another
    /// one's may have the same, and a connection may have moved there.
    #[inline(always)]
    pub(crate) fn is(&self, dev: &NetDevice, hwid: Hwid) -> bool {
        self.hwid() == hwid && self.value().home == core::ptr::from_ref(dev).addr()
    }

    /// The same, by the target.
    pub(super) fn is_at(&self, target: &dyn OffloadTarget, hwid: Hwid) -> bool {
        let same = |own: &dyn OffloadTarget| core::ptr::eq(own.device(), target.device());
        self.hwid() == hwid && self.target().is_some_and(same)
    }

    /// The hardware connection identifier.
    #[inline]
    pub(crate) fn hwid(&self) -> Hwid {
        self.value().hwid
    }

    /// The device that has the connection, and the target in it; `None` once the device
    /// leaves.
    pub(crate) fn dev(&self) -> Option<&NetDevice> {
        Some(&self.attached()?.dev)
    }

    /// Returns whether the target owns the delegated state. It does not while the socket's
    /// owner has still to give the connection back.
    #[inline]
    pub(crate) fn delegated(&self, sk: LockedSock<'_>) -> bool {
        self.value().mode.get(sk) == Mode::Delegated && !self.value().at_release.has_upload()
    }

    /// Returns whether the connection is in legacy mode: the target keeps its entry while
    /// the host stack works.
    #[inline]
    pub(crate) fn in_legacy(&self, sk: LockedSock<'_>) -> bool {
        self.value().mode.get(sk) == Mode::Legacy
    }

    /// `None` once the device leaves, or has lost its driver state.
    #[inline]
    pub(crate) fn target(&self) -> Option<&dyn OffloadTarget> {
        let attached = self.attached()?;
        (attached.target_of)(&attached.dev)
    }

    /// The same, with what the target knows the connection by.
    #[inline]
    pub(super) fn reach(&self) -> Option<(&dyn OffloadTarget, ConnRef<'_>)> {
        let attached = self.attached()?;
        let target = (attached.target_of)(&attached.dev)?;
        let conn = ConnRef::new(self.hwid(), attached.tether.as_ref());
        Some((target, conn))
    }

    /// How the target knows the connection.
    #[inline]
    pub(crate) fn at_target(&self) -> Option<ConnRef<'_>> {
        let attached = self.attached()?;
        Some(ConnRef::new(self.hwid(), attached.tether.as_ref()))
    }

    /// What must see the connection's frames, and does not: on any device that they leave
    /// through. Any context; the lock need not be held.
    pub(crate) fn filtered(&self, sk: &Sock) -> Option<Filter> {
        let device = self.target()?.device();
        egress_devices(self.dev()?, self.layers()).find_map(|dev| filtered(sk, dev, device))
    }

    /// The layers between its route's device and the target's.
    pub(super) fn layers(&self) -> Option<&Layers> {
        self.attached()?.layers.as_deref()
    }

    /// Bytes acknowledged, and bytes received, before the hand-over.
    pub(super) fn moved_before(&self) -> (u64, u64) {
        self.value().moved_before
    }

    /// The limits of its device, and those of its own.
    pub(super) fn limits(&self, target: &dyn OffloadTarget) -> Limits {
        let mut limits = target.device().limits();
        if let Some(overrides) = &self.value().overrides {
            overrides.apply(&mut limits);
        }
        limits
    }

    /// Which of its calls a user buffer is posted for.
    pub(super) fn user_buffer_rule(&self, target: &dyn OffloadTarget) -> buffer::Rule {
        let mut rule = target.device().user_buffer_rule();
        let overrides = self.value().overrides.as_ref();
        if let Some(min) = overrides.and_then(|own| own.get(Knob::UserBuffer)) {
            rule.min = min;
        }
        rule
    }

    /// What happens when the socket's owner lets it go.
    pub(super) fn at_release(&self) -> &AtRelease {
        &self.value().at_release
    }

    /// Takes its path out, within a transaction: whoever does so gives it up.
    pub(super) fn take_path(&self) -> Option<Hwid> {
        Hwid::from_raw(self.value().path.swap(0, Relaxed))
    }

    pub(super) fn path(&self) -> Option<Hwid> {
        Hwid::from_raw(self.value().path.load(Relaxed))
    }
}

impl Connection {
    pub(super) fn step(&self, sk: LockedSock<'_>, event: ModeEvent) -> Result {
        let next = self.mode.get(sk).next(event).map_err(|_| EINVAL)?;
        self.mode.set(sk, next);
        if next != Mode::Delegated {
            // It goes on in the host's function.
            self.reader.wake();
        }
        Ok(())
    }
}

/// The record of the connection of `sk`, while it is offloaded.
#[inline]
pub(crate) fn of<'g>(sk: LockedSock<'_>, guard: &'g ReadGuard<'_>) -> Option<&'g Record> {
    of_now(&sk, guard)
}

/// The same at this moment. Any context; the lock need not be held.
#[inline]
pub(crate) fn of_now<'g>(sk: &Sock, guard: &'g ReadGuard<'_>) -> Option<&'g Record> {
    proto::context::<Delegated>(sk, guard)
}

/// Who owns the connection of `sk` at this moment, for display.
pub(crate) fn mode(sk: &Sock, guard: &ReadGuard<'_>) -> Mode {
    of_now(sk, guard).map_or(Mode::Host, |conn| conn.value().mode.peek())
}

/// Keeps the module loaded for a call that may sleep for as long as a user likes. Any
/// context but softirq.
pub(super) fn pin(sk: &Sock, call: &'static CStr) -> ModulePin {
    let guard = ReadGuard::new();
    let dev = of_now(sk, &guard).and_then(Record::dev);
    ModulePin::get(sk, call, dev)
}

/// The socket's lock for a call of its user's. Its owner may sleep in memory that a user
/// serves: it is waited for with a reference on the module. `None`: the module is on its
/// way out. Process context.
#[inline(always)]
pub(super) fn lock<'a>(sk: &'a Sock, call: &'static CStr) -> Option<UserLock<'a>> {
    match sk.lock_nowait() {
        Some(lock) => Some(lock),
        None => lock_slowly(sk, call),
    }
}

#[cold]
fn lock_slowly<'a>(sk: &'a Sock, call: &'static CStr) -> Option<UserLock<'a>> {
    let pin = pin(sk, call);
    pin.held().then(|| sk.lock())
}

/// The devices that frames to `dev` leave through, the route's first.
pub(super) fn egress_devices<'a>(
    dev: &'a NetDevice,
    layers: Option<&'a Layers>,
) -> impl Iterator<Item = &'a NetDevice> {
    Iterator::chain(layers.into_iter().flat_map(Layers::devices), [dev])
}

/// What must see the frames of `sk`, and would not if they skipped `dev` on the way to the
/// target of `device`.
fn filtered(sk: &Sock, dev: &NetDevice, device: &Device) -> Option<Filter> {
    sk.filters(dev).without(device.bypassed()).first()
}

/// A tree of one connection, of which nothing matters but its handle.
#[inline]
pub(super) fn connection_tree<'s, 'a>(
    slot: &'s mut [BlockSlot<'a>; 1],
    sk: LockedSock<'a>,
    hwid: Hwid,
) -> OffloadTree<'s, 'a> {
    let mut tree = Tree::new(slot);
    let _ = tree.name(None, Handle::connection(hwid), Host::Connection(sk));
    tree
}

/// The target found a special case on the connection that it knows as `hwid`: the host
/// stack goes on with it, and the target keeps its entry, within these limits. `None`:
/// there were too many, and it was uploaded; or it is no longer in the target. Any context
/// under the socket lock.
pub(crate) fn special(
    sk: LockedSock<'_>,
    hwid: Hwid,
    case: SpecialCase,
    now_ms: u64,
) -> Option<Limits> {
    let guard = ReadGuard::new();
    let conn = of(sk, &guard).filter(|conn| conn.hwid() == hwid)?;
    let Some(target) = conn.target() else {
        upload::upload(sk, UploadReason::DeviceGone);
        return None;
    };
    count_special(target.device(), hwid, case);
    let limits = conn.limits(target);
    let allowed = conn
        .value()
        .budget
        .with_mut(sk, |budget| budget.fall(now_ms, &limits));
    if let Err(reason) = allowed {
        upload::upload(sk, reason);
        return None;
    }
    conn.value().step(sk, ModeEvent::Special).ok()?;
    sk.sock().tracked_again();
    sk.resume_host(false);
    Some(limits)
}

/// Counts and traces a special case. Any context.
pub(crate) fn count_special(device: &Device, hwid: Hwid, case: SpecialCase) {
    device.stats().special(case);
    trace::special(hwid, case.name());
}

/// The target goes on with the connection that it knows as `hwid` after `stay` in legacy
/// mode. Any context under the socket lock.
pub(crate) fn resynchronised(sk: LockedSock<'_>, hwid: Hwid, stay: &Legacy) {
    let guard = ReadGuard::new();
    let Some(conn) = of(sk, &guard).filter(|conn| conn.hwid() == hwid) else {
        return;
    };
    if conn.value().step(sk, ModeEvent::Resync).is_ok() {
        match sk.is_v6() {
            // The flow label, which is another one after a timeout.
            true => update::push(sk, conn),
            false => update::sync_options(sk, conn),
        }
        if let Some(target) = conn.target() {
            let stats = target.device().stats();
            stats.resynchronised(stay.rx_frames, stay.tx_frames);
        }
        trace::resync(hwid, stay.rx_frames, stay.tx_frames);
    }
}

/// A frame from the backlog, parsed and matched, its first byte the TCP header: the
/// target's, or the host's. Under the socket lock, nothing of the host stack below us.
pub(crate) fn backlog(sk: LockedSock<'_>, skb: SkBuff) {
    let guard = ReadGuard::new();
    match of(sk, &guard).and_then(Record::target) {
        Some(target) => target.backlog(sk, skb),
        None => proto::host_receive(sk, skb),
    }
}
