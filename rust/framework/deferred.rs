// SPDX-License-Identifier: GPL-2.0

//! Payload that a target defers while it waits for a user buffer it asked for.
//!
//! The target keeps the frames ([`dct`](crate::dct)); here are the request for a buffer,
//! the timer that ends the wait, and frames whose connection left the target where none of
//! them could be processed. A worker serves both, under the lock of each socket.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    connection,
    counted::{
        self,
        Flag,
        Kind, //
    },
    delayed_queue::DelayedQueue,
    stats::Stats,
    target::{
        ConnRef,
        OffloadTarget, //
    }, //
};
use crate::{
    logic::deferred::Rule,
    net::{
        memcg::Charge,
        proto,
        skb::FrameList,
        sock::{
            LockedSock,
            Sock, //
        },
        sync::{
            rcu::ReadGuard,
            worker::{
                Job,
                Published,
                Slot,
                Worker, //
            }, //
        },
        time, //
    }, //
};

/// Payload that waits for a user buffer, and devices where it may.
pub(crate) struct Deferred;

impl Kind for Deferred {
    fn count() -> &'static AtomicU32 {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        &COUNT
    }
}

/// Of a connection: set while its target defers payload of it.
pub(crate) type Deferring = Flag<Deferred>;

/// Returns whether any connection may have deferred payload, or will. Asked for every
/// frame.
#[inline(always)]
pub(crate) fn may_defer() -> bool {
    counted::any::<Deferred>()
}

/// A device's rule.
pub(super) struct Knobs {
    request_ms: AtomicU32,
    high_water: AtomicU32,
}

impl Knobs {
    pub(super) const fn new() -> Self {
        const { assert!(Rule::DEFAULT.request_ms == 0) };
        Knobs {
            request_ms: AtomicU32::new(0),
            high_water: AtomicU32::new(Rule::DEFAULT.high_water),
        }
    }

    pub(super) fn get(&self) -> Rule {
        Rule {
            request_ms: self.request_ms.load(Relaxed),
            high_water: self.high_water.load(Relaxed),
        }
    }

    pub(super) fn set_high_water(&self, bytes: u32) {
        self.high_water.store(bytes, Relaxed);
    }

    pub(super) fn set_request_ms(&self, ms: u32) {
        if ms != 0 {
            proto::allow_all();
        }
        match (self.request_ms.swap(ms, Relaxed), ms) {
            // Added and taken off, for two writers may get here in any order.
            (0, 1..) => drop(Deferred::count().fetch_add(1, Relaxed)),
            (1.., 0) => drop(Deferred::count().fetch_sub(1, Relaxed)),
            _ => {}
        }
    }
}

impl Drop for Knobs {
    fn drop(&mut self) {
        self.set_request_ms(0);
    }
}

/// After this time a socket that somebody owned is tried again, in ms.
const BUSY_MS: u64 = 5;

/// A socket that the worker has something to do for.
struct Item {
    sk: ARef<Sock>,
    /// Frames that its connection left behind in the target.
    frames: FrameList,
}

impl Item {
    /// Does what is due at `now_ms`. `Some`: again at that time. Process context; does not
    /// wait.
    fn run(&mut self, now_ms: u64) -> Option<u64> {
        let frames = &mut self.frames;
        self.sk.with_lock(
            |sk| {
                while let Some(skb) = frames.pop() {
                    connection::backlog(sk, skb);
                }
                let guard = ReadGuard::new();
                let (target, conn) = connection::of(sk, &guard)?.reach()?;
                target.request_expired(sk, conn, now_ms)
            },
            // Its owner may take long.
            |_| Some(now_ms.saturating_add(BUSY_MS)),
        )
    }
}

#[pin_data(PinnedDrop)]
pub(crate) struct DeferredSockets {
    #[pin]
    queue: DelayedQueue<Item>,
}

static DEFERRED_SOCKETS: Slot<Worker<DeferredSockets>> = Slot::new();

/// Targets can defer payload from here on, until the returned value is dropped: by then no
/// connection is in a target.
pub(crate) fn start() -> Result<Published<Worker<DeferredSockets>>> {
    let sockets = pin_init!(DeferredSockets { queue <- DelayedQueue::new() });
    DEFERRED_SOCKETS.publish(KBox::pin_init(Worker::new(sockets), GFP_KERNEL)?)
}

/// The target asks for a user buffer: it is going to defer payload. Nobody is woken; a
/// reader that comes with a buffer finds out. Socket lock held, any context.
pub(crate) fn request_buffer(stats: &Stats) {
    stats.buffers.requested();
}

/// [`OffloadTarget::request_expired`] is called at `due_ms`. `false`: there is no
/// memory for that. Socket lock held, any context.
pub(crate) fn expire_at(sk: LockedSock<'_>, due_ms: u64) -> bool {
    note(sk, due_ms, FrameList::new())
}

/// The connection leaves the target, and `frames` were deferred. They are processed soon,
/// as frames from the backlog. If there is no memory for that, the peer sends them again.
/// Socket lock held, any context.
#[cold]
pub(crate) fn requeue(sk: LockedSock<'_>, frames: FrameList) {
    note(sk, 0, frames);
}

fn note(sk: LockedSock<'_>, due_ms: u64, frames: FrameList) -> bool {
    DEFERRED_SOCKETS
        .with(|worker| {
            let Some(sk_ref) = sk.sock().try_hold() else {
                return false;
            };
            let queue = &worker.job().queue;
            let _charge = Charge::to(&sk);
            let item = Item { sk: sk_ref, frames };
            queue.add(worker, due_ms, item, usize::MAX).is_ok()
        })
        .unwrap_or(false)
}

/// Everything that the connection's target has deferred is processed now. Socket lock held,
/// nothing of the host stack below us.
#[inline]
pub(crate) fn flush(sk: LockedSock<'_>) {
    if may_defer() {
        with_target(sk, |target, conn| target.flush(sk, conn));
    }
}

/// A reader goes on in the host's `recvmsg`, and `waits` there if it finds nothing.
/// As [`flush`].
pub(super) fn reader(sk: LockedSock<'_>, waits: bool) {
    with_target(sk, |target, conn| {
        target.flush(sk, conn);
        if waits {
            target.reader_comes(sk, conn);
        }
    });
}

fn with_target(sk: LockedSock<'_>, f: impl FnOnce(&dyn OffloadTarget, ConnRef<'_>)) {
    let guard = ReadGuard::new();
    if let Some((target, conn)) = connection::of(sk, &guard).and_then(|conn| conn.reach()) {
        f(target, conn);
    }
}

impl Job for DeferredSockets {
    fn run(worker: &Worker<Self>) {
        let now = time::now_ms();
        let queue = &worker.job().queue;
        for mut due in queue.take() {
            if due.get().ms <= now {
                match due.get_mut().item.run(now) {
                    Some(again) => due.get_mut().ms = again,
                    None => continue,
                }
            }
            // There is always room.
            let _ = queue.put(worker, due, usize::MAX);
        }
    }
}

#[pinned_drop]
impl PinnedDrop for DeferredSockets {
    fn drop(self: Pin<&mut Self>) {
        for mut due in self.queue.take() {
            due.get_mut().item.run(u64::MAX);
        }
    }
}
