// SPDX-License-Identifier: GPL-2.0

//! Receive processing in softirq or in a kernel thread: `struct napi_struct`.
//!
//! C header: `include/linux/netdevice.h`.

use core::{
    ops::Deref,
    ptr::{
        addr_of,
        addr_of_mut,
        NonNull, //
    },
    sync::atomic::{
        AtomicUsize,
        Ordering::Acquire, //
    }, //
};

use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use super::{
    context::{
        Bh,
        Rtnl, //
    },
    net_device::NetDevice,
    skb::{
        FrameList,
        SkBuff, //
    }, //
};
use crate::bindings;

/// What is polled.
pub(crate) trait Poll: Sized + Sync {
    /// Handles up to `budget` frames and says how many there were. If there
    /// were fewer, it has called [`Napi::complete`].
    ///
    /// Softirq, or a thread with bottom halves disabled; never twice at once
    /// for one instance.
    fn poll(napi: &Napi<Self>, budget: u32, bh: &Bh) -> u32;

    /// Receives a frame in the task that sent it, or gives it back if it must
    /// not be received there. Bottom halves are off.
    fn receive_here(napi: &Napi<Self>, skb: SkBuff, bh: &Bh) -> Option<SkBuff>;

    /// Queues frames for [`Self::poll`] and schedules it. `false`: they are lost,
    /// and counted. Bottom halves are off.
    fn queue(napi: &Napi<Self>, frames: FrameList, bh: &Bh) -> bool;

    /// Puts frames before all that are queued; the caller has it polled. Bottom halves are off.
    fn put_back(napi: &Napi<Self>, frames: FrameList, bh: &Bh);
}

/// A NAPI instance and what it polls.
///
/// # Invariants
///
/// `napi` is either never added or stopped, and then its state has the
/// scheduled bit set, so that scheduling it does nothing; or, with `active`, it
/// is added to a device that outlives it and enabled. It changes from one to the other
/// under rtnl, and is the first member, so that its address is that of the whole.
///
/// It is freed no sooner than an RCU grace period after it was last reachable
/// through its device: it is part of the value of that device's driver.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Napi<T: Poll> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    active: Atomic<u32>,
    #[pin]
    data: T,
}

// SAFETY: an instance may be polled, stopped and freed on any CPU; `T` is `Send`.
unsafe impl<T: Poll + Send> Send for Napi<T> {}
// SAFETY: of `napi` the methods here touch its state, atomically, and what C writes before
// the scheduled bit is cleared; the rest is C's, under its own locks. `T` is `Sync`.
unsafe impl<T: Poll + Sync> Sync for Napi<T> {}

impl<T: Poll> Napi<T> {
    /// An instance that is not running.
    pub(crate) fn new(data: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Napi {
            // INVARIANT: not added, and scheduling it does nothing.
            napi <- Opaque::ffi_init(|napi: *mut bindings::napi_struct| {
                // SAFETY: ours to initialise; all zeroes is valid for it: integers, null
                // pointers, and links that nothing follows before it is added.
                unsafe {
                    core::ptr::write_bytes(napi, 0, 1);
                    (*napi).state = 1 << bindings::NAPI_STATE_SCHED;
                }
            }),
            active: Atomic::new(0),
            data <- data,
        })
    }

    /// What busy pollers call it; 0 before it runs.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        // SAFETY: part of a live structure, and an aligned integer, which `napi_enable()`
        // writes as by `WRITE_ONCE()`.
        unsafe { addr_of!((*self.napi.get()).napi_id).read_volatile() }
    }

    /// Adds it to `dev` as receive and transmit NAPI of queue `index`, and runs it.
    ///
    /// `dev` must be the device whose driver's value owns this instance, so
    /// that it cannot go first.
    pub(crate) fn start(&self, dev: &NetDevice, index: u32, rtnl: &Rtnl) {
        if self.active.load(Relaxed) != 0 {
            return;
        }
        // SAFETY: not added, by the type invariant, and under rtnl nobody else adds it. It
        // is pinned, and part of the value of the device's driver, so that it stays as long
        // as the device's list names it (`stop` and `drop` take it out). The callees take
        // the device's lock, which nobody has here, and may sleep.
        // INVARIANT: added and enabled.
        unsafe {
            bindings::toe_netif_napi_add(
                dev.as_ptr(),
                self.napi.get(),
                Some(poll::<T>),
                index as c_int,
            );
            bindings::napi_enable(self.napi.get());
        }
        self.link(dev, index, self.napi.get(), rtnl);
        self.active.store(1, Relaxed);
    }

    /// Ends it, and waits for a poll that runs. Without frames to come: the
    /// caller has closed what fills it.
    pub(crate) fn stop(&self, dev: &NetDevice, index: u32, rtnl: &Rtnl) {
        if self.active.load(Relaxed) == 0 {
            return;
        }
        self.link(dev, index, core::ptr::null_mut(), rtnl);
        // SAFETY: added and enabled by the type invariant, and under rtnl nobody else stops
        // it. The callees take the device's lock, which nobody has here, and may sleep;
        // after this it is off every list, and RCU readers of them are through.
        // INVARIANT: `napi_disable()` leaves the scheduled bit set.
        unsafe {
            bindings::napi_disable(self.napi.get());
            bindings::toe_netif_napi_del(self.napi.get());
        }
        self.active.store(0, Relaxed);
    }

    /// Tells the netdev netlink family which instance serves which queue.
    fn link(&self, dev: &NetDevice, index: u32, napi: *mut bindings::napi_struct, _rtnl: &Rtnl) {
        for (kind, count) in [
            (
                bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_RX,
                dev.num_rx_queues(),
            ),
            (
                bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_TX,
                dev.num_tx_queues(),
            ),
        ] {
            if index < count {
                // SAFETY: the queue exists, as its index is below their number. rtnl is
                // held, which is what the callee asserts for a device that takes no lock
                // of its own. `napi` is added to the device, or null.
                unsafe { bindings::netif_queue_set_napi(dev.as_ptr(), index, kind, napi) };
            }
        }
    }

    /// Has it polled soon.
    #[inline(always)]
    pub(crate) fn schedule(&self, _bh: &Bh) {
        // SAFETY: by the type invariant the first call says no, for the scheduled bit is
        // set, unless the instance is added and enabled; then the bit is ours to set.
        unsafe {
            if bindings::napi_schedule_prep(self.napi.get()) {
                bindings::__napi_schedule(self.napi.get());
            }
        }
    }

    /// Has `frames` received at the end of the section, if it is a
    /// [`Doorbell`](super::context::Doorbell)'s and this instance is not being polled
    /// then. Otherwise they are given back, or to [`Poll::queue`].
    #[inline(always)]
    pub(crate) fn hand_over(&self, frames: FrameList, bh: &Bh) -> Result<(), FrameList> {
        let to = NonNull::from(self).cast();
        // SAFETY: `to` is a `Napi<T>`, as `receive::<T>` wants it, and lives until the
        // section ends: that is an RCU read section, in which it was reachable, and it is
        // freed a grace period after that by the type invariant. Where it is claimed,
        // `receive::<T>` is told so.
        unsafe { bh.keep(to, receive::<T>, || self.try_claim(), frames) }
    }

    /// Makes this section the poller, if nobody is: frames that come meanwhile wait in the
    /// queue. It has to call [`Self::complete`] or [`Self::resume`] before it ends.
    #[inline(never)]
    fn try_claim(&self) -> bool {
        if !self.is_idle() {
            return false;
        }
        let napi = self.napi.get();
        // SAFETY: as in `schedule()`. GRO's fields are the poller's, who this is then.
        // `napi_complete_done()` gives the stack what GRO has held back, for which this is no
        // place: the softirq has the instance then.
        unsafe {
            if !bindings::napi_schedule_prep(napi) {
                return false;
            }
            if (*napi).gro.bitmask == 0 && (*napi).gro.rx_count == 0 {
                return true;
            }
        }
        self.resume();
        false
    }

    /// Gives the part of the poller to the softirq.
    #[cold]
    fn resume(&self) {
        // SAFETY: only the poller calls this; it may schedule the instance again, which is
        // added and enabled by the type invariant.
        unsafe { bindings::__napi_schedule(self.napi.get()) };
    }

    /// Returns whether it is neither polled, nor about to be, nor served by a thread. All
    /// frames for which this task scheduled it before have then been processed.
    #[inline(always)]
    fn is_idle(&self) -> bool {
        const BUSY: c_ulong = 1 << bindings::NAPI_STATE_SCHED
            | 1 << bindings::NAPI_STATE_DISABLE
            | 1 << bindings::NAPI_STATE_NPSVC
            | 1 << bindings::NAPI_STATE_THREADED;
        // SAFETY: an aligned word of a structure that lives as long as `self`; C changes it
        // by atomic bit operations and `try_cmpxchg()` only.
        let state = unsafe { AtomicUsize::from_ptr(addr_of_mut!((*self.napi.get()).state)) };
        state.load(Acquire) & BUSY == 0
    }

    /// Ends a poll that had fewer frames than its budget.
    #[inline(always)]
    pub(crate) fn complete(&self, done: u32, _bh: &Bh) -> bool {
        // SAFETY: only the poller calls this, as `Poll::poll` says, or one that has claimed the
        // instance: it is added, and its scheduled bit is the poller's to clear.
        unsafe { bindings::napi_complete_done(self.napi.get(), done as c_int) }
    }

    /// The device, once it was added to one.
    #[inline(always)]
    pub(crate) fn dev<'a>(&'a self, _bh: &'a Bh) -> Option<&'a NetDevice> {
        // SAFETY: part of a live structure, and written by `start()` only, to the same each
        // time, and before the scheduled bit is cleared, without which nobody gets here.
        let dev = unsafe { *addr_of!((*self.napi.get()).dev) };
        // SAFETY: the instance was added to it, and is part of the value of its driver
        // (`start()`): both outlive `self`.
        (!dev.is_null()).then(|| unsafe { NetDevice::from_raw(dev) })
    }

    /// Gives a frame, at its Ethernet header, to the stack; through GRO if
    /// `gro`. From `poll` only.
    #[inline(always)]
    pub(crate) fn receive(&self, skb: SkBuff, queue: u16, gro: bool, _bh: &Bh) {
        // SAFETY: called from `Poll::poll` only, as this function says: the poller may use
        // the instance's GRO lists. The frame is ours, and the stack's from here on.
        unsafe { bindings::toe_napi_receive(self.napi.get(), skb.into_raw(), queue, gro) };
    }
}

impl<T: Poll> Deref for Napi<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.data
    }
}

#[pinned_drop]
impl<T: Poll> PinnedDrop for Napi<T> {
    fn drop(self: Pin<&mut Self>) {
        if self.active.load(Relaxed) != 0 {
            // SAFETY: added and enabled by the type invariant. The device, whose
            // `priv_destructor` drops the driver's value, is still there, and as in
            // `stop()`; by then nobody else has the instance.
            unsafe {
                bindings::napi_disable(self.napi.get());
                bindings::toe_netif_napi_del(self.napi.get());
            }
        }
    }
}

/// # Safety
///
/// Called by the core on an instance that `start` added, with its scheduled bit set by the
/// caller.
unsafe extern "C" fn poll<T: Poll>(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
    // SAFETY: `net_rx_action()` is a softirq, and threads and busy pollers disable bottom
    // halves before they poll, until this has returned.
    let bh = unsafe { Bh::assume() };
    // SAFETY: `start::<T>` added it: the first member of a pinned `Napi<T>`, which waits
    // for this call (`napi_disable()`) before it goes.
    let this = unsafe { &*napi.cast::<Napi<T>>() };
    T::poll(this, budget as u32, &bh) as c_int
}

/// Receives what a doorbell kept for an instance; what cannot be received now
/// is queued, in the order it came.
///
/// # Safety
///
/// `napi` must be a `Napi<T>` that lives until this returns; if `claimed`, by
/// [`Napi::try_claim`] in this section.
unsafe fn receive<T: Poll>(napi: NonNull<c_void>, mut frames: FrameList, claimed: bool, bh: &Bh) {
    // SAFETY: a live `Napi<T>`, as this function requires; only shared references to it
    // are ever made.
    let this = unsafe { napi.cast::<Napi<T>>().as_ref() };
    let count = frames.len();
    if claimed || this.is_idle() {
        while let Some(skb) = frames.pop() {
            if let Some(skb) = T::receive_here(this, skb, bh) {
                frames.push_front(skb);
                break;
            }
        }
    }
    match (claimed, frames.is_empty()) {
        (false, true) => {}
        (false, false) => {
            T::queue(this, frames, bh);
        }
        // What came meanwhile has it polled.
        (true, true) => {
            this.complete(count, bh);
        }
        (true, false) => {
            T::put_back(this, frames, bh);
            this.resume();
        }
    }
}
