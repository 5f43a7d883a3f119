// SPDX-License-Identifier: GPL-2.0

//! Receive engine: from a frame on the wire to payload in the socket.
//!
//! [`input`] runs in the NAPI poll of a queue, or where the sender's doorbell ends:
//! parse, match, hand to the socket of the entry. [`process`] runs under the socket
//! lock, at once or, if a process owns the socket, from its backlog: header prediction,
//! payload, ACK, window, timestamps. What it does not finish is a special case: the
//! host stack finishes the frame, already parsed, matched and validated, and works on
//! the connection until it is through ([`legacy`]).
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

use super::{
    buffer,
    deferred,
    legacy,
    tx,
    Entry,
    Nic, //
};
use crate::{
    framework::host::{
        self,
        Fallback,
        Ingress,
        NotTaken, //
    },
    logic::{
        hwid::Hwid,
        reason::{
            SpecialCase,
            UploadReason, //
        },
        receive::{
            self,
            HostView,
            RxAction, //
        },
        transmit::Push,
        tuple::{
            Family,
            Tuple, //
        },
        wire::{
            self,
            FrameError,
            OptKind,
            Segment, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        net_device::NetDevice,
        proto,
        skb::{
            DropReason,
            SkBuff, //
        },
        sock::{
            BhLock,
            LockedSock, //
        },
        sync::rcu::ReadGuard,
        table::EntryRef,
        tcp, //
    }, //
};

/// The connection whose frame a queue had last: the next one is likely to be of
/// the same.
pub(crate) struct Recent(AtomicU64);

impl Recent {
    pub(crate) const fn new() -> Self {
        Recent(AtomicU64::new(0))
    }
}

/// Where frames come from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The receive queue, and what polls it.
    pub(crate) queue: u16,
    pub(crate) napi_id: u32,
    pub(crate) recent: &'a Recent,
    /// Of the frame, if it is one of an engine that nobody else has had; else 0.
    pub(crate) stamp: u64,
}

/// A frame from the wire, its first byte the Ethernet header. Gives it back if
/// it is not a delegated connection's, or must take the ordinary way. Bottom
/// halves off, no socket's spin lock held.
#[inline]
pub(crate) fn input<N: Nic>(nic: &N, from: Source<'_>, mut skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
    let engine = nic.engine();
    let guard = ReadGuard::within(bh);
    let guess =
        Hwid::from_raw(from.recent.0.load(Relaxed)).and_then(|hwid| engine.get(&guard, hwid));
    if let Some(entry) = guess {
        let mut seg = Segment::default();
        if entry.tag == skb.tag_key() && looks_as_expected(&entry, from.stamp, &skb, &mut seg) {
            return match checked(nic, &mut skb, &seg, &entry) {
                true => deliver(nic, from, &entry, skb, &seg, &guard, bh),
                false => Some(skb),
            };
        }
    }

    let mut seg = Segment::default();
    let want = skb.len().min(wire::LINEAR_LEN as u32);
    if skb.headlen() < wire::ETH_LEN as u32 + 52 && !skb.may_pull(want) {
        return Some(skb);
    }
    // A NIC takes the outermost tag out of a frame.
    let Some(tags) = skb.tags() else {
        return Some(skb);
    };
    seg.tuple.vlan = tags;
    match wire::parse_into(skb.data(), skb.len(), &mut seg) {
        Ok(()) => {}
        Err(FrameError::NotTcp | FrameError::Special(_, None)) => return Some(skb),
        Err(FrameError::Special(case, Some(tuple))) => {
            if let Some(entry) = find(nic, &guard, &tuple) {
                legacy::enter_unlocked(nic, &entry, case, bh);
            }
            return Some(skb);
        }
    }
    let Some(entry) = find(nic, &guard, &seg.tuple) else {
        return Some(skb);
    };
    // A frame to another station is the host's to drop and to count.
    if skb.data().first_chunk::<6>() != Some(&entry.mac) || !checked(nic, &mut skb, &seg, &entry) {
        return Some(skb);
    }
    // A signature (TCP-MD5, TCP-AO), for instance: the host judges it before it looks at
    // anything else (`tcp_inbound_hash()`).
    if seg.opts == OptKind::Other {
        legacy::enter_unlocked(nic, &entry, SpecialCase::BadOption, bh);
        return Some(skb);
    }
    if core::ptr::eq(&*entry.nic, nic) {
        from.recent.0.store(entry.hwid().raw(), Relaxed);
    }
    deliver(nic, from, &entry, skb, &seg, &guard, bh)
}

/// The entry that a frame belongs to, which comes in by `nic`: its own, or, as the peer of a
/// bond chooses the link by itself, another member's.
#[inline(always)]
fn find<'g, N: Nic>(
    nic: &'g N,
    guard: &'g ReadGuard<'_>,
    tuple: &Tuple,
) -> Option<EntryRef<'g, Entry<N>>> {
    let own = nic.engine().find(guard, tuple);
    if own.is_none() && host::any_bond() {
        return find_at_members(nic, guard, tuple);
    }
    own
}

/// See [`find`]. What would look at the frame on its way from `nic`, and at none of the entry's
/// own NIC, has it go by the host stack.
#[cold]
#[inline(never)]
fn find_at_members<'g, N: Nic>(
    nic: &'g N,
    guard: &'g ReadGuard<'_>,
    tuple: &Tuple,
) -> Option<EntryRef<'g, Entry<N>>> {
    let bond = nic.dev().bond(guard)?;
    let others = bond.members(guard).filter_map(NetDevice::driver::<N>);
    let found = others.filter_map(|other| other.engine().find(guard, tuple));
    let bypassed = nic.engine().device().bypassed();
    found
        .filter(|entry| entry.layers.as_ref().is_some_and(|l| l.is_on(bond)))
        .find(|entry| {
            entry
                .sk
                .egress_filters(nic.dev())
                .without(bypassed)
                .first()
                .is_none()
        })
}

/// Parses `skb` into `seg`, and returns whether it is a frame of this connection in the
/// usual form.
#[inline(always)]
fn looks_as_expected<N: Nic>(
    entry: &Entry<N>,
    stamp: u64,
    skb: &SkBuff,
    seg: &mut Segment,
) -> bool {
    let known = stamp != 0 && entry.known.load(Relaxed) == stamp;
    if known {
        return entry.expected().read(skb.data(), skb.len(), seg);
    }
    let expected = entry.expected().parse(skb.data(), skb.len(), seg);
    if expected && stamp != 0 {
        entry.known.store(stamp, Relaxed);
    }
    expected
}

/// Returns whether the TCP checksum is right. If not, the host drops and counts the frame,
/// which may have been anybody's.
#[inline]
fn checked<N: Nic>(nic: &N, skb: &mut SkBuff, seg: &Segment, entry: &Entry<N>) -> bool {
    if skb.has_tcp_checksum(seg, entry.tuple.family == Family::V6) {
        return true;
    }
    host::count_special(
        nic.engine().device(),
        entry.hwid(),
        SpecialCase::BadChecksum,
    );
    false
}

fn deliver<N: Nic>(
    nic: &N,
    from: Source<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
    guard: &ReadGuard<'_>,
    bh: &Bh,
) -> Option<SkBuff> {
    let sk = entry.sk.bh_lock(bh);
    let ingress = Ingress {
        hwid: entry.hwid(),
        home: entry.nic.dev(),
        nic: nic.dev(),
        dev: &entry.path_dev,
        layers: entry.layers.as_deref(),
        raw: entry.raw,
        v6: entry.tuple.family == Family::V6,
        queue: from.queue,
        napi_id: from.napi_id,
    };
    let stats = nic.engine().stats();
    let (conn, skb) = match host::take_in(&sk, stats, &ingress, skb, seg, guard, bh) {
        Ok(taken) => taken,
        Err(NotTaken::Host(skb)) => return Some(skb),
        Err(NotTaken::Fallback(skb, why)) => {
            give_up(&sk, entry, why, bh);
            return Some(skb);
        }
        Err(NotTaken::Lost) => return None,
    };
    entry.audit.admitted(&skb);
    match sk.try_own() {
        Some(locked) if conn.delegated(locked) => process(locked, entry, skb, seg, bh),
        Some(locked) => legacy_receive(locked, entry, skb, seg, bh),
        None => match own(sk, bh) {
            Ok(locked) if conn.delegated(locked) => process(locked, entry, skb, seg, bh),
            Ok(locked) => legacy_receive(locked, entry, skb, seg, bh),
            Err(sk) => {
                if let Err(skb) = skb.add_to_backlog(&sk) {
                    nic.engine().stats().backlog_drop();
                    skb.drop_because(DropReason::SocketBacklog);
                }
            }
        },
    }
    None
}

/// The owner of the socket is the task that runs here, through with what it owns it for, and
/// nothing waits for it to let it go: the frame need not, either.
#[inline(always)]
fn own<'a>(lock: BhLock<'a>, bh: &'a Bh) -> Result<LockedSock<'a>, BhLock<'a>> {
    match lock.has_backlog() {
        false => lock.yield_to_owner(bh),
        true => Err(lock),
    }
}

/// The host has to look at a frame of the connection first: from here on it has the
/// connection, too, or as soon as the socket's owner lets it go.
#[cold]
fn give_up<N: Nic>(lock: &BhLock<'_>, entry: &Entry<N>, why: Fallback, bh: &Bh) {
    if let Some(sk) = lock.try_own() {
        deferred::flush(sk, entry, bh);
    }
    why.ask(lock, entry.nic.engine().device(), entry.hwid());
}

/// A frame from the backlog, its first byte the TCP header. It may be one that
/// reached the host another way.
pub(super) fn backlog<N: Nic>(sk: LockedSock<'_>, skb: SkBuff) {
    let bh = BhGuard::new();
    let guard = ReadGuard::within(&bh);
    redeliver(sk, skb, &guard, &bh, process::<N>);
}

/// A frame that was not processed when it came, see [`backlog`]. `delegated` does
/// what is to be done if its connection is delegated now.
pub(super) fn redeliver<N: Nic>(
    sk: LockedSock<'_>,
    skb: SkBuff,
    guard: &ReadGuard<'_>,
    bh: &Bh,
    delegated: impl FnOnce(LockedSock<'_>, &Entry<N>, SkBuff, &Segment, &Bh),
) {
    let conn = host::of(sk, guard);
    let entry = conn.and_then(|conn| Some((conn, conn.at_target()?.entry::<Entry<N>>()?)));
    match (entry, wire::parse_tcp(skb.data(), skb.len())) {
        (Some((conn, entry)), Some(seg)) if conn.delegated(sk) => {
            delegated(sk, entry, skb, &seg, bh);
        }
        (Some((_, entry)), Some(seg)) => legacy_receive(sk, entry, skb, &seg, bh),
        // Uploaded meanwhile, or malformed, or a stray: the host's.
        _ => host_receive(sk, skb),
    }
}

/// A frame of a connection in legacy mode. If the host stack is through with the
/// special case, by something it did without a frame from us, the frame is the
/// target's again.
#[cold]
fn legacy_receive<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
    bh: &Bh,
) {
    deferred::flush(sk, entry, bh);
    if legacy::resynchronise(sk, entry, bh) {
        process(sk, entry, skb, seg, bh);
    } else {
        legacy::receive(sk, entry, skb, bh);
    }
}

/// The host's receive function, in the RCU section it is used to.
#[cold]
fn host_receive(sk: LockedSock<'_>, skb: SkBuff) {
    let _guard = ReadGuard::new();
    proto::host_receive(sk, skb);
}

/// Gives the connection to the host, and the segment with it.
#[cold]
fn upload(sk: LockedSock<'_>, skb: SkBuff, reason: UploadReason) {
    host::upload(sk, reason);
    host_receive(sk, skb);
}

/// Processes a segment of a delegated connection under the socket lock, or has it
/// wait for a user buffer. `skb` starts at the TCP header.
#[inline(always)]
fn process<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, skb: SkBuff, seg: &Segment, bh: &Bh) {
    if host::may_defer() {
        deferred::process(sk, entry, skb, seg, bh);
    } else {
        finish(sk, entry, skb, seg, bh);
    }
}

/// As [`process`], now.
pub(super) fn finish<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
    bh: &Bh,
) {
    if sk.wants_host() {
        return upload(sk, skb, UploadReason::Setsockopt);
    }
    if !sk.is_open() || (seg.payload != 0 && sk.receive_closed()) {
        return upload(sk, skb, UploadReason::Shutdown);
    }

    let view = host_view(sk, &skb);
    sk.refresh_clock(bh);
    let received = entry.data.with_mut(sk, |data| {
        entry.load(sk, data);
        let (una, largest) = (data.snd_una, data.max_window);
        let idle = data.packets_out == 0;
        let action = receive::receive(data, seg, &view)?;
        if action.payload != 0 && !action.predicted && !sk.take_space(&skb) {
            // The host's state is as it was.
            sk.load(data);
            return Err(SpecialCase::NoMemory);
        }
        sk.store_rx(data);
        Ok((action, una, idle, data.max_window > largest))
    });
    let (action, prior_una, idle, larger) = match received {
        Ok(received) => received,
        Err(case) => {
            legacy::enter_at(sk, entry, case, sk.clock_ms(), bh);
            return legacy::receive(sk, entry, skb, bh);
        }
    };

    let header = u32::from(seg.data_off - seg.l4_off);
    sk.note_segment(seg.ts, action.payload == 0);
    entry.counters.with_mut(sk, |counters| {
        counters.rx_frames += 1;
        counters.rx_bytes += u64::from(action.payload);
    });

    // Before anything is acknowledged: what that frees may be taken back at once, with the
    // memory that the payload was found room in.
    let mut placed = buffer::Placed::default();
    if action.payload == 0 {
        skb.consume_header(bh);
    } else if entry.buffer.posted(sk) {
        placed = buffer::deliver(sk, entry, skb, seg, &action, bh);
    } else {
        sk.queue_payload(skb, &action, header, seg.flags);
    }
    if action.is_ack() {
        sk.ack_seen(&action, larger, idle);
    }
    if action.acked != 0 {
        sk.acked(seg.ack, prior_una);
        entry.data.with_mut(sk, |data| sk.load_acked(data));
    }
    answer(sk, entry, &action, placed.whole, bh);
    if placed.complete {
        sk.wake_readers();
    }
}

/// What the engine has to know of the host's state, for this frame.
#[inline(always)]
pub(super) fn host_view(sk: LockedSock<'_>, skb: &SkBuff) -> HostView {
    HostView {
        reserved: sk.has_reserved(skb),
        within_limit: sk.is_within_limit(),
        predicting: sk.is_predicting(),
        host_first: sk.host_first(true),
        ooo_empty: sk.in_order(),
        now_secs: tcp::now_secs(),
        sack_or_loss: sk.in_recovery(),
    }
}

/// What follows when a segment was taken in: more is sent, the payload acknowledged,
/// its reader woken. `read`: the application has all of the payload already.
#[inline(always)]
fn answer<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, action: &RxAction, read: bool, bh: &Bh) {
    // tcp_data_snd_check()
    let send = action.is_ack() && sk.send_head().is_some();
    let ours = !send || tx::run(sk, entry, Push::Pending, bh);
    if action.is_ack() {
        sk.check_space();
    }
    if action.payload == 0 {
        return;
    }
    if let Some(ack) = sk.ack_now(read) {
        match ours {
            true => tx::ack(sk, entry, ack.window, bh),
            false => sk.send_ack(),
        }
    }
    host::data_ready(sk, &ReadGuard::within(bh));
}
