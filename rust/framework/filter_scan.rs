// SPDX-License-Identifier: GPL-2.0

//! Filters that are installed when connections are already offloaded.
//!
//! The kernel has no notification for most of what can be put into a frame's way: netfilter
//! hooks, qdiscs, tc, XDP and cgroup programs. A target checks before each frame that it
//! sends (`LockedSock::tx_blockers()`). For what it receives, and for idle connections, a
//! worker scans each device that has connections, every [`PERIOD_MS`], and uploads the
//! connections whose frames something new would see.

use core::sync::atomic::{
    fence,
    AtomicBool,
    Ordering, //
};

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    connection::{
        self,
        Delegated,
        Record, //
    },
    failover,
    registry,
    target::OffloadTarget,
    upload, //
};
use crate::{
    logic::{
        filter::Filter,
        hwid::Hwid,
        reason::Refusal, //
    },
    net::{
        devref::DevRef,
        fifo::{
            Fifo,
            Queued, //
        },
        net_device::NetDevice,
        record,
        sock::Sock,
        sync::{
            rcu::ReadGuard,
            spin_lock_bh::{
                new_spinlock_bh,
                SpinLockBh, //
            },
            worker::{
                Job,
                Published,
                Slot,
                Worker, //
            }, //
        }, //
    }, //
};

/// Time between two scans, in ms. What the documentation promises is four times that.
const PERIOD_MS: u64 = 25;

/// The devices that have connections. The lock is a leaf.
#[pin_data]
pub(crate) struct FilterScan {
    #[pin]
    devices: SpinLockBh<Fifo<DevRef>>,
    /// The next scan is not to wait.
    soon: AtomicBool,
}

static FILTER_SCAN: Slot<Worker<FilterScan>> = Slot::new();

/// Devices are scanned from here on, until the returned value is dropped: by then nothing
/// more may be offloaded.
pub(crate) fn start() -> Result<Published<Worker<FilterScan>>> {
    let scan = pin_init!(FilterScan {
        devices <- new_spinlock_bh!(Fifo::new()),
        soon: AtomicBool::new(false),
    });
    FILTER_SCAN.publish(KBox::pin_init(Worker::new(scan), GFP_KERNEL)?)
}

/// The target in `dev` has taken a connection, or given the last one up: the device is
/// scanned for as long as it has any, or something that they left behind. Any context.
pub(super) fn add(dev: &NetDevice, target: &dyn OffloadTarget) -> Result<(), Refusal> {
    // The connection was counted before: see `FilterScan::is_idle()`.
    fence(Ordering::SeqCst);
    let device = target.device();
    if device.scanned() {
        return Ok(());
    }
    let added = FILTER_SCAN.with(|worker| {
        let mut devices = worker.job().devices.lock();
        if !device.scanned() {
            devices.push(Queued::new(DevRef::new(dev))?);
            device.set_scanned(true);
            if devices.len() == 1 {
                worker.run_in(PERIOD_MS);
            }
        }
        Ok::<(), Error>(())
    });
    match added {
        Some(Ok(())) => Ok(()),
        _ => Err(Refusal::NoMemory),
    }
}

/// Has the worker scan all devices at once. Any context.
pub(super) fn soon() {
    FILTER_SCAN.with(|worker| {
        // For a run that is under way, and waits when it is done.
        worker.job().soon.store(true, Ordering::SeqCst);
        worker.run_in(0);
    });
}

impl FilterScan {
    /// Takes the devices out, or puts them back.
    fn with_devices<R>(&self, f: impl FnOnce(&mut Fifo<DevRef>) -> R) -> R {
        f(&mut self.devices.lock())
    }

    /// Scans a device, and returns whether to do so again. Sets `any` if something is
    /// there.
    fn scan_device(dev: &NetDevice, any: &mut bool) -> bool {
        let Some((target, _)) = registry::target_of(dev) else {
            return false;
        };
        let device = target.device();
        let idle = FilterScan::is_idle(target);
        let left = device.objects().sweep(target, false);
        failover::look(dev, target);
        if !idle {
            *any |= scan(dev, target);
            return true;
        }
        // What connections leave behind stays for a while. As in `is_idle()`, `add()` may
        // be quicker.
        left && !device.set_scanned(true)
    }

    /// Returns whether the target has no connections left, so that the device can be
    /// forgotten. One that it takes now either is seen here, or [`add`] sees that the
    /// device is not scanned.
    fn is_idle(target: &dyn OffloadTarget) -> bool {
        if target.connections() != 0 {
            return false;
        }
        target.device().set_scanned(false);
        fence(Ordering::SeqCst);
        // If `add()` was quicker, the device is in the list a second time.
        target.connections() == 0 || target.device().set_scanned(true)
    }
}

/// Returns whether there is anything that some connection of the device must not skip. If
/// that is new, all its connections are checked. Process context.
fn scan(dev: &NetDevice, target: &dyn OffloadTarget) -> bool {
    let device = target.device();
    let bypassed = device.bypassed();
    // In this order: what comes between is seen the next time.
    let sign = dev.filters_sign() ^ u64::from(bypassed.bits());
    let any = dev.any_filters().without(bypassed).first().is_some();
    if device.set_filters_sign(sign) != sign && any {
        target.for_each(&mut |hwid, sk| check_connection(hwid, &sk));
    }
    any
}

/// Connections that are checked in one go.
const ROOM: usize = 16;

/// Checks the connections that `next` passes to what it is called with. Returns how many.
#[inline(never)]
fn check_some(next: impl FnOnce(&mut dyn FnMut(&Record, &Sock)) -> usize) -> usize {
    let mut some: [Option<(Hwid, ARef<Sock>)>; ROOM] = [const { None }; ROOM];
    let mut places = some.iter_mut();
    let found = next(&mut |conn, sk| {
        if let (Some(place), Some(sk)) = (places.next(), sk.try_hold()) {
            *place = Some((conn.hwid(), sk));
        }
    });
    for (hwid, sk) in some.into_iter().flatten() {
        check_connection(hwid, &sk);
    }
    found
}

/// Checks the connections that were handed over since the last scan, and a few of the
/// others: what is installed in the place of something else, where it was, within one
/// period, is found in time, too.
fn check_new() {
    while check_some(|f| record::new_ones::<Delegated>(ROOM, f)) == ROOM {}
    check_some(|f| record::next_ones::<Delegated>(ROOM, f));
}

fn check_connection(hwid: Hwid, sk: &Sock) {
    if filtered(sk).is_none() {
        return;
    }
    sk.with_lock(
        |sk| {
            if let Some(filter) = filtered(&sk) {
                upload::upload_hwid(sk, hwid, filter.upload());
            }
        },
        |lock| {
            if let Some(filter) = filtered(lock.sock()) {
                upload::ask_owner(lock, hwid, filter.upload());
            }
        },
    );
}

fn filtered(sk: &Sock) -> Option<Filter> {
    let guard = ReadGuard::new();
    connection::of_now(sk, &guard)?.filtered(sk)
}

impl Job for FilterScan {
    fn run(worker: &Worker<Self>) {
        let scan = worker.job();
        scan.soon.store(false, Ordering::SeqCst);
        let mut any = false;
        let mut left = Fifo::new();
        for dev in scan.with_devices(Fifo::take) {
            if FilterScan::scan_device(dev.get(), &mut any) {
                left.push(dev);
            }
        }
        match any {
            true => check_new(),
            // Whatever comes from now on is new.
            false => record::pass_new(),
        }
        let again = scan.with_devices(|devices| {
            // What came meanwhile has had the worker run already.
            left.take().for_each(|dev| devices.push(dev));
            devices.len() != 0
        });
        if again {
            worker.run_in(match scan.soon.load(Ordering::SeqCst) {
                true => 0,
                false => PERIOD_MS,
            });
        }
    }
}
