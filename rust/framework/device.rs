// SPDX-License-Identifier: GPL-2.0

//! The framework's state of one device that takes connections.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering, //
};

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    }, //
};

use super::{
    candidates::Candidates,
    counted::{
        self,
        Flag,
        Kind, //
    },
    debugfs::Files,
    deferred,
    objects::ObjectTable,
    registry::DeviceRegistration,
    request,
    rules::Rules,
    stats::Stats, //
};
use crate::{
    logic::{
        buffer::Rule,
        deferred::Rule as HoldRule,
        filter::{
            Filter,
            Filters, //
        },
        policy::{
            Limits,
            Policy, //
        },
        reason::Refusal, //
    },
    net::{
        proto,
        sync::{
            rcu::{
                RcuBox,
                RcuSlot,
                ReadGuard, //
            },
            spin_lock_bh::{
                new_spinlock_bh,
                SpinLockBh, //
            },
            worker::Worker, //
        }, //
    }, //
};

/// Devices whose connections may go without frames.
struct ShortCut;

impl Kind for ShortCut {
    fn count() -> &'static AtomicU32 {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        &COUNT
    }
}

/// Returns whether there is such a device. Asked for every write.
#[inline(always)]
pub(super) fn any_short_cut() -> bool {
    counted::any::<ShortCut>()
}

/// Policy, limits and counters. Read in any context; changed from sysfs.
#[pin_data]
pub(crate) struct Device {
    /// The limits as they are changed,
    #[pin]
    limits: SpinLockBh<Limits>,
    /// and as they are read: none for the defaults.
    limits_now: RcuSlot<Limits>,
    /// Copy of the policy for the paths that look at every frame.
    policy: AtomicU32,
    /// Copy of `min_segments`.
    min_segments: AtomicU32,
    /// Bit per [`Filter`] that the administrator lets offloaded frames skip.
    bypass: AtomicU32,
    /// The device is going: nothing more is offloaded to it.
    closed: AtomicBool,
    scanned: AtomicBool,
    /// What was installed in the way of its connections' frames at the last scan.
    filters_sign: AtomicU64,
    /// What its bond could send by at the last look.
    bond_sign: AtomicU64,
    /// Connections that go to another member are still to be moved.
    unmoved: AtomicBool,
    /// Held by who moves its connections to other members.
    #[pin]
    follow: Mutex<()>,
    #[pin]
    stats: Stats,
    /// [`Rule`]'s fields.
    user_buffer: [AtomicU32; 2],
    short_cut: Flag<ShortCut>,
    hold: deferred::Knobs,
    #[pin]
    rules: Rules,
    #[pin]
    objects: ObjectTable,
    /// Connections that the policy may offload to it.
    #[pin]
    candidates: Worker<Candidates>,
    /// Connections that are offloaded in one operation at most.
    batch: AtomicU32,
    files: Files,
    _registration: DeviceRegistration,
}

impl Device {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        proto::allow_buffers(Rule::DEFAULT.min as usize);
        try_pin_init!(Device {
            limits <- new_spinlock_bh!(Limits::DEFAULT),
            limits_now: RcuSlot::new(),
            policy: AtomicU32::new(Policy::default() as u32),
            min_segments: AtomicU32::new(Limits::DEFAULT.min_segments),
            bypass: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            scanned: AtomicBool::new(false),
            filters_sign: AtomicU64::new(0),
            bond_sign: AtomicU64::new(0),
            unmoved: AtomicBool::new(false),
            follow <- new_mutex!(()),
            stats <- Stats::new(),
            short_cut: Flag::new(),
            user_buffer: [
                AtomicU32::new(Rule::DEFAULT.min),
                AtomicU32::new(Rule::DEFAULT.frames),
            ],
            hold: deferred::Knobs::new(),
            rules <- Rules::new(),
            objects <- ObjectTable::new(),
            candidates <- Worker::new(Candidates::new()),
            batch: AtomicU32::new(request::DEFAULT_BATCH),
            files: Files::new(),
            _registration: DeviceRegistration::new(),
        })
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Which connections the device takes.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What the target has below its connections.
    pub(crate) fn objects(&self) -> &ObjectTable {
        &self.objects
    }

    /// Its files in debugfs.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The worker that decides on the candidates of its policy.
    pub(super) fn candidates(&self) -> &Worker<Candidates> {
        &self.candidates
    }

    /// Connections that are offloaded in one operation at most: 1 to
    /// [`MAX_BATCH`](crate::logic::policy::MAX_BATCH).
    pub(crate) fn batch(&self) -> u32 {
        self.batch.load(Ordering::Relaxed)
    }

    pub(crate) fn set_batch(&self, most: u32) {
        self.batch.store(most, Ordering::Relaxed);
    }

    /// A copy of the limits. Any context.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits_now(&ReadGuard::new())
    }

    /// The limits at this moment.
    #[inline]
    pub(super) fn limits_now<'g>(&self, guard: &'g ReadGuard<'_>) -> &'g Limits {
        self.limits_now.get(guard).unwrap_or(&Limits::DEFAULT)
    }

    /// Changes the limits; new decisions follow them at once.
    pub(crate) fn change(&self, f: impl FnOnce(&mut Limits) -> Result) -> Result {
        let mut current = self.limits.lock();
        let mut limits = *current;
        f(&mut limits)?;
        self.limits_now.replace(Some(RcuBox::new(limits)?));
        *current = limits;
        self.policy.store(limits.policy as u32, Ordering::Relaxed);
        self.min_segments
            .store(limits.min_segments, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether the device's policy is `auto`.
    #[inline]
    pub(crate) fn automatic(&self) -> bool {
        self.policy.load(Ordering::Relaxed) == Policy::Auto as u32
    }

    /// A connection with fewer segments than that is not offloaded for sure, unless its
    /// application asks. Cheap.
    pub(super) fn least_segments(&self) -> u64 {
        match self.automatic() && self.rules.is_empty() {
            true => self.min_segments.load(Ordering::Relaxed).into(),
            // By a rule it may be denied for good, or need not have that many.
            false => 0,
        }
    }

    /// The filters that frames may skip.
    pub(crate) fn bypassed(&self) -> Filters {
        Filters::from_bits(self.bypass.load(Ordering::Relaxed))
    }

    pub(crate) fn set_bypass(&self, filter: Filter, on: bool) {
        if on {
            self.bypass.fetch_or(filter.bit(), Ordering::Relaxed);
        } else {
            self.bypass.fetch_and(!filter.bit(), Ordering::Relaxed);
        }
    }

    /// See [`Self::set_scanned`].
    pub(super) fn scanned(&self) -> bool {
        self.scanned.load(Ordering::SeqCst)
    }

    /// Sets whether [`filter_scan`](super::filter_scan) scans the device, and returns the
    /// previous value; orders what is before and after.
    pub(super) fn set_scanned(&self, scanned: bool) -> bool {
        self.scanned.swap(scanned, Ordering::SeqCst)
    }

    /// By what its bond may send now, and what that was at the last call.
    pub(super) fn set_bond_sign(&self, sign: u64) -> u64 {
        self.bond_sign.swap(sign, Ordering::Relaxed)
    }

    /// For [`failover`](super::failover). Process context; may sleep.
    pub(super) fn lock_follow(&self) -> MutexGuard<'_, ()> {
        self.follow.lock()
    }

    /// The same, unless somebody else has it. Process context.
    pub(super) fn try_lock_follow(&self) -> Option<MutexGuard<'_, ()>> {
        self.follow.try_lock()
    }

    /// Connections are left to be moved. Any context.
    pub(super) fn set_unmoved(&self) {
        self.unmoved.store(true, Ordering::Release);
    }

    /// Returns whether there were any, for who moves them now.
    pub(super) fn take_unmoved(&self) -> bool {
        self.unmoved.swap(false, Ordering::Acquire)
    }

    /// What [`filter_scan`](super::filter_scan) found now, and what before.
    pub(super) fn set_filters_sign(&self, sign: u64) -> u64 {
        self.filters_sign.swap(sign, Ordering::Relaxed)
    }

    /// Whether bytes may go to the other end without frames.
    #[inline(always)]
    pub(crate) fn short_cut(&self) -> bool {
        self.short_cut.is_set()
    }

    /// Changes that.
    pub(crate) fn set_short_cut(&self, on: bool) {
        match on {
            true => self.short_cut.set(),
            false => {
                self.short_cut.take();
            }
        }
    }

    /// Which calls a user buffer is posted for.
    pub(crate) fn user_buffer_rule(&self) -> Rule {
        let [min, frames] = &self.user_buffer;
        Rule {
            min: min.load(Ordering::Relaxed),
            frames: frames.load(Ordering::Relaxed),
        }
    }

    /// Changes the rule, field by field.
    pub(crate) fn set_user_buffer_rule(&self, rule: Rule) {
        let [min, frames] = &self.user_buffer;
        min.store(rule.min, Ordering::Relaxed);
        frames.store(rule.frames, Ordering::Relaxed);
        if rule.min != 0 {
            proto::allow_buffers(rule.min as usize);
        }
    }

    /// How payload is deferred that no user buffer waits for.
    pub(crate) fn defer_rule(&self) -> HoldRule {
        self.hold.get()
    }

    /// For how long, in ms; 0: not at all.
    pub(crate) fn set_request_ms(&self, ms: u32) {
        self.hold.set_request_ms(ms);
    }

    /// And how much of it, in bytes.
    pub(crate) fn set_high_water(&self, bytes: u32) {
        self.hold.set_high_water(bytes);
    }

    /// Refuses everything from now on, for the device is going. Process context.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.candidates.job().close();
    }

    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        if self.closed.load(Ordering::SeqCst) {
            Err(Refusal::DeviceDown)
        } else {
            Ok(())
        }
    }
}
