// SPDX-License-Identifier: GPL-2.0

//! Frames that wait for a user buffer, in front of the rest of the receive engine. The
//! decisions are `logic/hold.rs`'s.
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
        hold::{
            Held,
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
    match hold(sk, entry, skb, seg) {
        None => {}
        Some(skb) if entry.held.with(sk, Held::any) => {
            flush(sk, entry, bh);
            // Nothing may be as it was.
            rx::again(sk, skb, &ReadGuard::within(bh), bh, rx::finish::<N>);
        }
        Some(skb) => rx::finish(sk, entry, skb, seg, bh),
    }
}

/// The frame comes back if it is not held.
fn hold<N: Nic>(
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
    let (verdict, unarmed, due_ms) = entry.held.with_mut(sk, |held| {
        let rule = device.hold_rule();
        let verdict = held.offer(&rule, (&data, seg), &view, idle, time::now_ms());
        (verdict, held.unarmed(), held.due_ms())
    });
    match verdict {
        Verdict::Pass => return Some(skb),
        Verdict::HighWater => {
            device.stats().buffers.high_water();
            return Some(skb);
        }
        Verdict::Ask => {
            if unarmed && !host::expire_at(sk, due_ms) {
                entry.held.with_mut(sk, Held::taken);
                return Some(skb);
            }
            entry.held.with_mut(sk, Held::arm);
            entry.deferring.set();
            host::request_buffer(device.stats());
        }
        Verdict::Hold => {}
    }
    entry.held_frames.with_mut(sk, |held| held.push(skb));
    None
}

/// Processes all that is held, in order. Under the socket lock, nothing of the host
/// stack below us.
pub(super) fn flush<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
    if !entry.held.with(sk, Held::any) {
        return;
    }
    let mut frames = entry.held_frames.replace(sk, FrameList::new());
    entry.held.with_mut(sk, Held::taken);
    entry.deferring.take();
    while let Some(skb) = frames.pop() {
        // One may be a special case, or the last straw.
        rx::again(sk, skb, &ReadGuard::within(bh), bh, rx::finish::<N>);
    }
}

/// The time of what is held may be up. As [`flush`].
pub(super) fn expired<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    now_ms: u64,
    bh: &Bh,
) -> Option<u64> {
    let again = entry.held.with_mut(sk, |held| held.expired(now_ms));
    if again.is_none() && entry.held.with(sk, Held::any) {
        let late = entry.held.with(sk, |held| held.due_ms() != 0);
        if late {
            entry.nic.engine().stats().buffers.request_timer();
        }
        flush(sk, entry, bh);
    }
    again
}

/// The host stack works on the connection from here on: what is held is processed
/// soon, and before any other frame. Under the socket lock, any context.
pub(super) fn hurry<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if entry.held.with(sk, Held::any) {
        entry.held.with_mut(sk, Held::hurry);
        // If there is no memory, the timer that runs will do.
        host::expire_at(sk, 0);
    }
}

/// The entry goes. Under the socket lock, any context.
pub(super) fn leave<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if entry.held.with(sk, Held::any) {
        let frames = entry.held_frames.replace(sk, FrameList::new());
        entry.held.with_mut(sk, Held::taken);
        entry.deferring.take();
        host::requeue(sk, frames);
    }
}
