// SPDX-License-Identifier: GPL-2.0

//! Frames that wait for a user buffer, in front of the rest of the receive engine.
//! `logic/deferred.rs` decides.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::prelude::*;

use super::{
    rx,
    Entry,
    Nic, //
};
use crate::{
    framework::host::{
        self,
        Deferring, //
    },
    logic::{
        deferred::{
            Deferred,
            Verdict, //
        },
        wire::Segment, //
    },
    net::{
        context::Bh,
        memcg::{
            self,
            Charge, //
        },
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::LockedSock,
        sync::rcu::ReadGuard,
        time, //
    }, //
};

/// What an entry has of it, from the first frame that was deferred on.
pub(super) struct Held {
    state: Deferred,
    frames: FrameList,
    /// Set while there are any.
    deferring: Deferring,
}

impl Held {
    /// Without memory nothing is deferred.
    #[cold]
    fn new(sk: LockedSock<'_>) -> Option<KBox<Self>> {
        let _charge = Charge::to(&sk);
        let held = Held {
            state: Deferred::default(),
            frames: FrameList::new(),
            deferring: Deferring::new(),
        };
        KBox::new(held, memcg::atomic()).ok()
    }

    /// All of it is about to be processed.
    fn take(&mut self) -> FrameList {
        self.state.clear();
        self.deferring.take();
        core::mem::replace(&mut self.frames, FrameList::new())
    }
}

/// Returns whether anything is deferred.
fn any<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) -> bool {
    let held = |held: &Option<KBox<Held>>| held.as_ref().is_some_and(|held| held.state.any());
    entry.deferred.with(sk, held)
}

/// What is deferred, if anything is.
fn take<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) -> Option<FrameList> {
    entry.deferred.with_mut(sk, |held| {
        let held = held.as_mut().filter(|held| held.state.any())?;
        Some(held.take())
    })
}

/// A reader goes to the host stack: as [`Deferred::reader_comes`].
pub(super) fn reader_comes<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    entry.deferred.with_mut(sk, |held| {
        if held.is_none() {
            *held = Held::new(sk);
        }
        if let Some(held) = held {
            held.state.reader_comes();
        }
    });
}

/// Has a segment of a delegated connection wait, or processes it after those that
/// do. As [`rx::finish`].
#[cold]
pub(super) fn process<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
    bh: &Bh,
) {
    match defer(sk, entry, skb, seg) {
        None => {}
        Some(skb) if any(sk, entry) => {
            flush(sk, entry, bh);
            // Nothing may be as it was.
            rx::redeliver(sk, skb, &ReadGuard::within(bh), bh, rx::finish::<N>);
        }
        Some(skb) => rx::finish(sk, entry, skb, seg, bh),
    }
}

/// The frame comes back if it is not deferred.
fn defer<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
) -> Option<SkBuff> {
    let device = entry.nic.engine().device();
    let idle = !entry.buffer.posted(sk)
        && sk.all_read(0)
        && !sk.receive_closed()
        && sk.is_open()
        && !sk.has_filter()
        && !sk.wants_host()
        && !sk.has_waiter();
    let view = rx::host_view(sk, &skb);
    let data = entry.data.with_mut(sk, |data| {
        entry.load(sk, data);
        *data
    });
    let offered = entry.deferred.with_mut(sk, |held| {
        if held.is_none() {
            *held = Held::new(sk);
        }
        let deferred = &mut held.as_mut()?.state;
        let rule = device.defer_rule();
        let verdict = deferred.offer(&rule, &data, seg, &view, idle, time::now_ms());
        Some((verdict, deferred.unarmed(), deferred.due_ms()))
    });
    let Some((verdict, unarmed, due_ms)) = offered else {
        return Some(skb);
    };
    match verdict {
        Verdict::Pass => return Some(skb),
        Verdict::HighWater => {
            device.stats().buffers.high_water();
            return Some(skb);
        }
        Verdict::Ask => {
            if unarmed && !host::expire_at(sk, due_ms) {
                take(sk, entry);
                return Some(skb);
            }
            entry.deferred.with_mut(sk, |held| {
                if let Some(held) = held {
                    held.state.arm();
                    held.deferring.set();
                }
            });
            host::request_buffer(device.stats());
        }
        Verdict::Defer => {}
    }
    entry.deferred.with_mut(sk, |held| match held {
        Some(held) => {
            held.frames.push(skb);
            None
        }
        None => Some(skb),
    })
}

/// Processes all that is deferred, in order. Under the socket lock, nothing of the host
/// stack below us.
pub(super) fn flush<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
    let Some(mut frames) = take(sk, entry) else {
        return;
    };
    while let Some(skb) = frames.pop() {
        // One of them may be a special case, or one special case too many.
        rx::redeliver(sk, skb, &ReadGuard::within(bh), bh, rx::finish::<N>);
    }
}

/// The time of what is deferred may be up. As [`flush`].
pub(super) fn expired<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    now_ms: u64,
    bh: &Bh,
) -> Option<u64> {
    let (again, late) = entry.deferred.with_mut(sk, |held| {
        let deferred = &mut held.as_mut()?.state;
        Some((deferred.expired(now_ms), deferred.due_ms() != 0))
    })?;
    if again.is_none() && any(sk, entry) {
        if late {
            entry.nic.engine().stats().buffers.request_timer();
        }
        flush(sk, entry, bh);
    }
    again
}

/// The host stack works on the connection from here on: what is deferred is processed soon,
/// and before any other frame. Under the socket lock, any context.
pub(super) fn expire_now<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if any(sk, entry) {
        entry.deferred.with_mut(sk, |held| {
            if let Some(held) = held {
                held.state.expire_now();
            }
        });
        // If there is no memory, the timer that runs will do.
        host::expire_at(sk, 0);
    }
}

/// The entry goes. Under the socket lock, any context.
pub(super) fn requeue_on_removal<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if let Some(frames) = take(sk, entry) {
        host::requeue(sk, frames);
    }
}
