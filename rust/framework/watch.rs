// SPDX-License-Identifier: GPL-2.0

//! Filters that are installed when connections are already offloaded.
//!
//! The kernel has no notification for most of what can be put into a frame's way:
//! netfilter hooks, qdiscs, tc, XDP and cgroup programs. A target looks before each
//! frame that it sends (`LockedSock::path()`). For what it receives, and for idle
//! connections, a worker looks at each device that has connections, every [`PERIOD_MS`], and
//! takes those connections back whose frames something new would see.

use core::sync::atomic::{
    fence,
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

/// Time between two looks, in ms. What the documentation promises is four times that.
const PERIOD_MS: u64 = 25;

/// The devices that have connections. The lock is a leaf.
#[pin_data]
pub(crate) struct Watch {
    #[pin]
    devices: SpinLockBh<Fifo<DevRef>>,
}

static WATCH: Slot<Worker<Watch>> = Slot::new();

/// Devices are looked after from here on, until the returned value is dropped: by then
/// nothing more may be offloaded.
pub(crate) fn start() -> Result<Published<Worker<Watch>>> {
    let watch = pin_init!(Watch { devices <- new_spinlock_bh!(Fifo::new()) });
    WATCH.publish(KBox::pin_init(Worker::new(watch), GFP_KERNEL)?)
}

/// The target in `dev` has taken a connection, or given the last one up: the device is
/// looked after for as long as it has any, or what they leave behind. Any context.
pub(super) fn add(dev: &NetDevice, target: &dyn OffloadTarget) -> Result<(), Refusal> {
    // The connection was counted before: see `Watch::is_idle()`.
    fence(Ordering::SeqCst);
    let device = target.device();
    if device.watched() {
        return Ok(());
    }
    let added = WATCH.with(|worker| {
        let mut devices = worker.job().devices.lock();
        if !device.watched() {
            devices.push(Queued::new(DevRef::new(dev))?);
            device.set_watched(true);
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

impl Watch {
    /// Takes the devices out, or puts them back.
    fn with_devices<R>(&self, f: impl FnOnce(&mut Fifo<DevRef>) -> R) -> R {
        f(&mut self.devices.lock())
    }

    /// Looks at a device, and returns whether to look again. Sets `any` if something is there.
    fn look_at_device(dev: &NetDevice, any: &mut bool) -> bool {
        let Some((target, _)) = registry::target_of(dev) else {
            return false;
        };
        let device = target.device();
        let idle = Watch::is_idle(target);
        let left = device.objects().sweep(target, false);
        if !idle {
            *any |= look(dev, target);
            return true;
        }
        // What connections leave behind is looked after for a while. As in `is_idle()`,
        // `add()` may be quicker.
        left && !device.set_watched(true)
    }

    /// Returns whether the target has no connections left, so that the device can be
    /// forgotten. One that it takes now either is seen here, or [`add`] sees that the device
    /// is not watched.
    fn is_idle(target: &dyn OffloadTarget) -> bool {
        if target.connections() != 0 {
            return false;
        }
        target.device().set_watched(false);
        fence(Ordering::SeqCst);
        // If `add()` was quicker, the device is in the list a second time.
        target.connections() == 0 || target.device().set_watched(true)
    }
}

/// Returns whether there is anything that some connection of the device must not skip. If
/// that is new, all its connections are looked at. Process context.
fn look(dev: &NetDevice, target: &dyn OffloadTarget) -> bool {
    let device = target.device();
    let bypassed = device.bypassed();
    // In this order: what comes between is seen the next time.
    let sign = dev.filters_sign() ^ u64::from(bypassed.bits());
    let any = dev.any_filters().without(bypassed).first().is_some();
    if device.set_filters_sign(sign) != sign && any {
        target.for_each(&mut |hwid, sk| look_at(hwid, &sk));
    }
    any
}

/// Connections that are looked at in one go.
const ROOM: usize = 16;

/// Looks at the connections that `next` gives to what it is called with: how many.
#[inline(never)]
fn look_at_some(next: impl FnOnce(&mut dyn FnMut(&Record, &Sock)) -> usize) -> usize {
    let mut some: [Option<(Hwid, ARef<Sock>)>; ROOM] = [const { None }; ROOM];
    let mut places = some.iter_mut();
    let found = next(&mut |conn, sk| {
        if let (Some(place), Some(sk)) = (places.next(), sk.try_hold()) {
            *place = Some((conn.hwid(), sk));
        }
    });
    for (hwid, sk) in some.into_iter().flatten() {
        look_at(hwid, &sk);
    }
    found
}

/// Looks at the connections that were handed over since the last time, and at a few of
/// the others: what is installed in the place of something else, where it was, within one
/// period, is found in time, too.
fn look_at_new() {
    while look_at_some(|f| record::new_ones::<Delegated>(ROOM, f)) == ROOM {}
    look_at_some(|f| record::next_ones::<Delegated>(ROOM, f));
}

fn look_at(hwid: Hwid, sk: &Sock) {
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

impl Job for Watch {
    fn run(worker: &Worker<Self>) {
        let watch = worker.job();
        let mut any = false;
        let mut left = Fifo::new();
        for dev in watch.with_devices(Fifo::take) {
            if Watch::look_at_device(dev.get(), &mut any) {
                left.push(dev);
            }
        }
        match any {
            true => look_at_new(),
            // Whatever comes from now on is new.
            false => record::pass_new(),
        }
        let again = watch.with_devices(|devices| {
            // What came meanwhile has had the worker run already.
            left.take().for_each(|dev| devices.push(dev));
            devices.len() != 0
        });
        if again {
            worker.run_in(PERIOD_MS);
        }
    }
}
