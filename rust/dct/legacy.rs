// SPDX-License-Identifier: GPL-2.0

//! Legacy mode of an entry: how a special case begins it, frames for the legacy buffers
//! meanwhile, and how it ends by what the host stack transmits. `logic/legacy.rs` decides.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    buffer,
    deferred,
    tx_path,
    Entry,
    Nic, //
};
use crate::{
    framework::host::{
        self,
        Connection, //
    },
    logic::{
        legacy::{
            Legacy,
            Verdict, //
        },
        reason::SpecialCase,
        wire::Segment, //
    },
    net::{
        context::Bh,
        proto,
        skb::SkBuff,
        sock::LockedSock,
        sync::rcu::ReadGuard,
        time, //
    }, //
};

/// The connection of `entry`, if it is still in the target.
fn connection<'g, N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    guard: &'g ReadGuard<'_>,
) -> Option<&'g Connection> {
    host::of(sk, guard).filter(|conn| entry.is(conn))
}

/// A special case: the host stack works from here on. Its state is true, for it
/// was written through; nothing of the frame that caused this was taken in. If the
/// connection's budget is used up, it is uploaded. Under the socket lock, any
/// context.
#[cold]
pub(super) fn enter<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, case: SpecialCase, bh: &Bh) {
    enter_at(sk, entry, case, time::now_ms(), bh);
}

/// The same for a caller that knows the time.
#[cold]
pub(super) fn enter_at<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    case: SpecialCase,
    now_ms: u64,
    bh: &Bh,
) {
    let guard = ReadGuard::within(bh);
    if connection(sk, entry, &guard).is_none() {
        return;
    }
    // The reader goes on in the host stack.
    buffer::take_back(sk, entry);
    deferred::expire_now(sk, entry);
    entry.audit.host_has_it(sk);
    if let Some(limits) = host::special(sk, entry.hwid(), case, now_ms) {
        entry.data.with_mut(sk, |data| sk.load_delegated(data));
        entry.legacy.set(sk, Legacy::new(now_ms, &limits));
        entry.counters.with_mut(sk, |c| c.specials += 1);
    }
}

/// A special case of a frame that takes the ordinary way to the host. If a process
/// owns the socket, the case is only counted: the host stack handles the frame on
/// the state that was written through, and the connection stays. Softirq, without
/// the lock.
#[cold]
pub(super) fn enter_unlocked<N: Nic>(nic: &N, entry: &Entry<N>, case: SpecialCase, bh: &Bh) {
    let lock = entry.sk.bh_lock(bh);
    let delegated = lock.try_own().filter(|sk| {
        let guard = ReadGuard::within(bh);
        connection(*sk, entry, &guard).is_some_and(|conn| conn.delegated(*sk))
    });
    match delegated {
        Some(sk) => {
            deferred::flush(sk, entry, bh);
            enter(sk, entry, case, bh);
        }
        None => host::count_special(nic.engine().device(), entry.hwid(), case),
    }
}

/// A frame for the legacy buffers: parsed, matched and validated, its control block
/// filled, first byte the TCP header. The host stack finishes it. Under the socket
/// lock, any context.
#[cold]
pub(super) fn receive<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, skb: SkBuff, bh: &Bh) {
    let guard = ReadGuard::within(bh);
    entry.audit.host_has_it(sk);
    proto::host_receive(sk, skb);
    if connection(sk, entry, &guard).is_some_and(|conn| conn.in_legacy(sk)) {
        let rcv_nxt = sk.rcv_nxt();
        entry.data.with_mut(sk, |data| {
            entry.legacy.with_mut(sk, |l| l.received(data, rcv_nxt))
        });
        // The host has read its clock for the frame.
        resynchronise_at(sk, entry, sk.clock_ms(), bh);
    }
}

/// The host stack transmits `h` in legacy mode, or because an upload waits for the owner of the
/// socket: what it says goes into the entry. It is in the middle of its work, so that nothing
/// else can be done here.
pub(super) fn transmitted<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, h: &Segment) {
    entry.audit.host_has_it(sk);
    entry.data.with_mut(sk, |data| {
        entry.legacy.with_mut(sk, |l| {
            l.transmitted(data, h.seq.add(h.payload), h.ack, h.window)
        })
    });
}

/// Takes the connection again if the host stack is through, or gives it up. `true`:
/// it is delegated. Under the socket lock, any context, nothing of the host stack
/// below us.
pub(super) fn resynchronise<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) -> bool {
    resynchronise_at(sk, entry, time::now_ms(), bh)
}

fn resynchronise_at<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, now_ms: u64, bh: &Bh) -> bool {
    let guard = ReadGuard::within(bh);
    let Some(conn) = connection(sk, entry, &guard) else {
        return false;
    };
    if !conn.in_legacy(sk) {
        return conn.delegated(sk);
    }
    let host = sk.host_state();
    let stay = entry.legacy.get(sk);
    let verdict = entry
        .data
        .with(sk, |data| stay.verdict(data, &host, now_ms));
    match verdict {
        Verdict::Wait => false,
        Verdict::Upload(reason) => {
            host::upload(sk, reason);
            false
        }
        Verdict::Resync => {
            sk.follow_mtu();
            entry.data.with_mut(sk, |data| sk.load_delegated(data));
            tx_path::follow_route(sk, entry);
            entry.follow_queue(sk);
            host::resynchronised(sk, entry.hwid(), &stay);
            // What could be sent the host stack has sent.
            true
        }
    }
}
