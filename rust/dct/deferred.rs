// SPDX-License-Identifier: GPL-2.0

//! Frames that wait for a user buffer, in front of the rest of the receive engine.
//! `logic/deferred.rs` decides.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    rx,
    Entry,
    Nic, //
};
use crate::{
    framework::host,
    logic::{
        deferred::{
            Deferred,
            Verdict, //
        },
        wire::Segment, //
    },
    net::{
        context::Bh,
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::LockedSock,
        sync::rcu::ReadGuard,
        time, //
    }, //
};

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
        Some(skb) if entry.deferred.with(sk, Deferred::any) => {
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
    let (verdict, unarmed, due_ms) = entry.deferred.with_mut(sk, |deferred| {
        let rule = device.defer_rule();
        let verdict = deferred.offer(&rule, &data, seg, &view, idle, time::now_ms());
        (verdict, deferred.unarmed(), deferred.due_ms())
    });
    match verdict {
        Verdict::Pass => return Some(skb),
        Verdict::HighWater => {
            device.stats().buffers.high_water();
            return Some(skb);
        }
        Verdict::Ask => {
            if unarmed && !host::expire_at(sk, due_ms) {
                entry.deferred.with_mut(sk, Deferred::clear);
                return Some(skb);
            }
            entry.deferred.with_mut(sk, Deferred::arm);
            entry.deferring.set();
            host::request_buffer(device.stats());
        }
        Verdict::Defer => {}
    }
    entry
        .deferred_frames
        .with_mut(sk, |deferred| deferred.push(skb));
    None
}

/// Processes all that is deferred, in order. Under the socket lock, nothing of the host
/// stack below us.
pub(super) fn flush<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
    if !entry.deferred.with(sk, Deferred::any) {
        return;
    }
    let mut frames = entry.deferred_frames.replace(sk, FrameList::new());
    entry.deferred.with_mut(sk, Deferred::clear);
    entry.deferring.take();
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
    let again = entry
        .deferred
        .with_mut(sk, |deferred| deferred.expired(now_ms));
    if again.is_none() && entry.deferred.with(sk, Deferred::any) {
        let late = entry.deferred.with(sk, |deferred| deferred.due_ms() != 0);
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
    if entry.deferred.with(sk, Deferred::any) {
        entry.deferred.with_mut(sk, Deferred::expire_now);
        // If there is no memory, the timer that runs will do.
        host::expire_at(sk, 0);
    }
}

/// The entry goes. Under the socket lock, any context.
pub(super) fn requeue_on_removal<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if entry.deferred.with(sk, Deferred::any) {
        let frames = entry.deferred_frames.replace(sk, FrameList::new());
        entry.deferred.with_mut(sk, Deferred::clear);
        entry.deferring.take();
        host::requeue(sk, frames);
    }
}
