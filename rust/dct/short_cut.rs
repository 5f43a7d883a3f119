// SPDX-License-Identifier: GPL-2.0

//! The same-host short cut: what an application writes goes to the receive queue of the other
//! end, if that is an entry of the peer device, without a frame. The device's knob
//! `short_cut` says whether it may.
//!
//! It is done under the spin locks of both sockets, neither of which a task owns. Others may
//! write at the same time, and what one call writes stays together: what does not pass in one
//! section does so in several, whose task owns the sender's socket. What the
//! numbers of both become is decided in `logic/short_cut.rs`; anything that is not clear goes by
//! frames. The buffers that bytes are appended to are ordinary ones of the receive queue,
//! with nothing of ours in them: an upload has nothing to do.

use core::sync::atomic::Ordering::Relaxed;

use super::{
    tx_path::tx_path,
    Entry,
    Nic, //
};
use crate::{
    framework::host::{
        self,
        Pulled, //
    },
    logic::{
        hwid::Hwid,
        short_cut::{
            self,
            Buffers,
            End,
            Room,
            Why, //
        },
        tuple::Family, //
    },
    net::{
        context::Bh,
        proto::Msg,
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        sock_pair::SockPair,
        sync::rcu::ReadGuard,
        table::EntryRef,
        tcp::SHORT_SIZES as SIZES, //
    }, //
};

/// Bytes of one section at most: who else wants the locks spins meanwhile.
const AT_ONCE: usize = 65_536;

/// Bytes of `msg` that went past the wire; `None`: not without the socket's lock.
pub(super) fn pass<N: Nic>(
    sk: &Sock,
    entry: &Entry<N>,
    msg: &mut Msg<'_>,
    lock: Option<&UserLock<'_>>,
    bh: &Bh,
) -> Option<usize> {
    if lock.is_none() && msg.len() > AT_ONCE {
        return None;
    }
    let stats = entry.nic.engine().stats();
    let mut done = 0;
    let mut refreshed = false;
    while done < msg.len() {
        let want = (msg.len() - done).min(AT_ONCE) as u32;
        match section(sk, entry, msg, want, lock, bh) {
            Ok(Some(n)) => {
                stats.passed(n);
                done += n as usize;
            }
            Ok(None) => return None,
            Err(Why::Changed) if !refreshed => {
                refreshed = true;
                refresh(sk, entry, lock, bh);
            }
            Err(why) => {
                stats.not_passed(why);
                break;
            }
        }
    }
    Some(done)
}

/// An object below the connection may have changed: looks, as before a frame.
#[cold]
fn refresh<N: Nic>(sk: &Sock, entry: &Entry<N>, lock: Option<&UserLock<'_>>, bh: &Bh) {
    let look = |sk: LockedSock<'_>| {
        if is_delegated(sk, entry, &ReadGuard::within(bh)) {
            // What is wrong is said again when frames are sent.
            let _ = tx_path(sk, entry, bh);
        }
    };
    match lock {
        Some(lock) => look(lock.locked()),
        None => {
            let lock = sk.bh_lock(bh);
            if let Some(sk) = lock.try_own() {
                look(sk);
            }
        }
    }
}

/// One section under the locks of both sockets. `None`: it would not be all that is wanted,
/// and it has to be without the socket's lock.
#[inline(always)]
fn section<N: Nic>(
    sk: &Sock,
    entry: &Entry<N>,
    msg: &mut Msg<'_>,
    want: u32,
    lock: Option<&UserLock<'_>>,
    bh: &Bh,
) -> Result<Option<u32>, Why> {
    let guard = ReadGuard::within(bh);
    let other = other_end(entry, &guard, bh)?;
    let pair = sk.lock_with(&other.sk, lock, bh).ok_or(Why::Owned)?;
    may_pass(&pair, entry, &other, &guard, bh)?;
    let least = if lock.is_some() { 1 } else { want };
    let bytes = transfer(&pair, entry, &other, msg, want, least, bh)?;
    if bytes.is_some() {
        pair.with_to(|to| host::data_ready(to, &guard));
    }
    Ok(bytes)
}

/// The entry of the other end.
#[inline(always)]
fn other_end<'a, N: Nic>(
    entry: &'a Entry<N>,
    guard: &'a ReadGuard<'_>,
    bh: &'a Bh,
) -> Result<EntryRef<'a, Entry<N>>, Why> {
    let peer = entry.nic.peer(bh).ok_or(Why::Special)?;
    let last = Hwid::from_raw(entry.other.load(Relaxed));
    if let Some(other) = last.and_then(|hwid| peer.engine().get(guard, hwid)) {
        return Ok(other);
    }
    look_up(entry, peer, guard)
}

/// See [`other_end`].
#[cold]
#[inline(never)]
fn look_up<'a, N: Nic>(
    entry: &Entry<N>,
    peer: &'a N,
    guard: &'a ReadGuard<'_>,
) -> Result<EntryRef<'a, Entry<N>>, Why> {
    let other = peer.engine().find(guard, &entry.tuple.reversed());
    let other = other.ok_or(Why::Special)?;
    entry.other.store(other.hwid().raw(), Relaxed);
    Ok(other)
}

/// Whether bytes may pass as far as everything but their numbers goes.
#[inline(always)]
fn may_pass<N: Nic>(
    pair: &SockPair<'_>,
    entry: &Entry<N>,
    other: &Entry<N>,
    guard: &ReadGuard<'_>,
    bh: &Bh,
) -> Result<(), Why> {
    way(pair, entry, other, bh)?;
    if !is_delegated(pair.from(), entry, guard)
        || !is_delegated(pair.to(), other, guard)
        || !pair.from().gives_bytes()
        || !pair.to().takes_bytes(other.tuple.family == Family::V6)
        || other.buffer.posted(pair.to())
        || host::may_defer()
    {
        return Err(Why::Special);
    }
    Ok(())
}

/// Takes what waits in the send queue to the other end, as far as it goes past the wire: what
/// could not pass when it was written. `true`: what is left waits until the other end is read,
/// see [`pull`]. Otherwise it goes by frames.
#[cold]
pub(super) fn flush<N: Nic>(entry: &Entry<N>, lock: &UserLock<'_>, bh: &Bh) -> bool {
    let sk = lock.locked();
    if sk.send_head().is_none() {
        return false;
    }
    let stats = entry.nic.engine().stats();
    let guard = ReadGuard::within(bh);
    let moved = other_end(entry, &guard, bh)
        .and_then(|other| move_queue(entry, &other, Some(lock), &guard, bh));
    match moved {
        Ok(Some(bytes)) => stats.passed(bytes),
        Ok(None) => {}
        Err(why) => {
            stats.not_passed(why);
            entry.awaits_read.take();
        }
    }
    sk.check_space();
    let waits = entry.awaits_read.is_set();
    if waits {
        // If its reader goes by ways of the host's, and does not empty the queue.
        sk.check_probe_timer();
    }
    waits
}

/// The socket of `entry` was read: what [waits](flush) for that in the send queue of the other
/// end comes, as far as there is room.
#[cold]
pub(super) fn pull<N: Nic>(entry: &Entry<N>, bh: &Bh) -> Pulled {
    let guard = ReadGuard::within(bh);
    let other = match other_end(entry, &guard, bh) {
        Ok(other) if other.awaits_read.is_set() => other,
        _ => return Pulled::None,
    };
    let moved = match other.nic.engine().device().short_cut() {
        true => move_queue(&other, entry, None, &guard, bh),
        false => Err(Why::Special),
    };
    let stats = other.nic.engine().stats();
    match moved {
        Ok(Some(bytes)) => stats.passed(bytes),
        Ok(None) => {}
        Err(why) => stats.not_passed(why),
    }
    let lock = other.sk.bh_lock(bh);
    let told = lock.try_own().map(|sk| sk.check_space());
    if moved.is_ok() && told.is_some() {
        return Pulled::Done;
    }
    // To the backlog, if a task owns it.
    other.awaits_read.take();
    Pulled::ByFrames
}

/// Moves what there is room for, and has the rest wait. How many bytes; `None`: there was no
/// room, and all of it waits.
#[cold]
#[inline(never)]
fn move_queue<N: Nic>(
    entry: &Entry<N>,
    other: &Entry<N>,
    lock: Option<&UserLock<'_>>,
    guard: &ReadGuard<'_>,
    bh: &Bh,
) -> Result<Option<u32>, Why> {
    let pair = entry.sk.lock_with(&other.sk, lock, bh).ok_or(Why::Owned)?;
    may_pass(&pair, entry, other, guard, bh)?;
    let (from, to) = (pair.from(), pair.to());
    let a = settled(&pair, entry, other, bh)?;
    let b = to.short_end();
    let unsent = a.write_seq.saturating_dist_from(a.snd_nxt);
    let room = short_cut::room(&b, unsent, to.largest_window(), || to.would_offer());
    let bytes = from.move_unsent(to, room.bytes);
    if bytes != 0 {
        passed(&pair, entry, other, Room { bytes, ..room }, 0);
        to.owe_no_ack();
        to.time_window(bh);
    }
    match from.send_head() {
        None => drop(entry.awaits_read.take()),
        // Else nobody would pull it, or it is larger than all the room there can be.
        Some(_) if to.unread() != 0 => {
            entry.awaits_read.set();
            to.owe_ack();
        }
        Some(_) if room.bytes == 0 => return Err(Why::Window),
        Some(_) => return Err(Why::Memory),
    }
    if bytes == 0 {
        return Ok(None);
    }
    pair.with_to(|to| host::data_ready(to, guard));
    Ok(Some(bytes))
}

/// The numbers of the end that is asked, which has nothing on its way to the other one, nor
/// that to it: the ACKs that they owe each other are taken for given.
#[cold]
#[inline(never)]
fn settled<N: Nic>(
    pair: &SockPair<'_>,
    entry: &Entry<N>,
    other: &Entry<N>,
    bh: &Bh,
) -> Result<End, Why> {
    let (from, to) = (pair.from(), pair.to());
    let (a, mut b) = (from.short_end(), to.short_end());
    if other.awaits_read.is_set() {
        // It needs no frame to go on when it hears of a window.
        b.write_seq = b.snd_nxt;
    }
    short_cut::arrived(&a, &b)?;
    if b.snd_una != b.snd_nxt && to.waits_for_space() {
        // It is told when a frame brings the ACK.
        return Err(Why::Queued);
    }
    for (end, sk, entry, by) in [(a, from, entry, to), (b, to, other, from)] {
        if end.snd_una != end.snd_nxt {
            sk.take_ack(bh);
            entry.data.with_mut(sk, |data| {
                sk.load(data);
                sk.load_acked(data);
            });
            by.owe_no_ack();
        }
    }
    Ok(from.short_end())
}

/// Whether nobody would see, judge or change a frame from one end to the other, and it would
/// get there.
#[inline(always)]
fn way<N: Nic>(
    pair: &SockPair<'_>,
    entry: &Entry<N>,
    other: &Entry<N>,
    bh: &Bh,
) -> Result<(), Why> {
    let from = pair.from();
    let nic = &*entry.nic;
    // There would be an ACK, too.
    if !from.tx_blockers(&entry.path_dev, bh).is_clear()
        || !pair.to().tx_blockers(&other.path_dev, bh).is_clear()
        || nic.dev().has_taps(bh)
        || entry.layers.is_some()
        || other.layers.is_some()
    {
        return Err(Why::Seen);
    }
    let changes = nic.engine().objects().changes();
    if !entry.next_hop.get(from).is_of(changes) {
        return Err(Why::Changed);
    }
    let v6 = other.tuple.family == Family::V6;
    let arrival = pair.to_lock().arrival(&other.path_dev, other.raw, v6);
    if !arrival.is_expected() || arrival.is_tapped() || arrival.is_raw() || other.sk.is_watched() {
        return Err(Why::Seen);
    }
    let addressed = entry
        .template
        .with(from, |t| t.dst_mac() == Some(&other.mac));
    match addressed && other.nic.dev().is_up() {
        true => Ok(()),
        false => Err(Why::Special),
    }
}

/// Whether the target has the end.
#[inline(always)]
fn is_delegated<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, guard: &ReadGuard<'_>) -> bool {
    let conn = host::of(sk, guard);
    conn.is_some_and(|conn| entry.is(conn) && conn.delegated(sk))
}

/// Both ends are there, and ordinary: their numbers decide.
#[inline(always)]
fn transfer<N: Nic>(
    pair: &SockPair<'_>,
    entry: &Entry<N>,
    other: &Entry<N>,
    msg: &mut Msg<'_>,
    want: u32,
    least: u32,
    bh: &Bh,
) -> Result<Option<u32>, Why> {
    let (from, to) = (pair.from(), pair.to());
    let (a, b) = (from.short_end(), to.short_end());
    if let Err(why) = short_cut::clear(&a, &b) {
        // Who waits for that is told of an ACK where the send queue is moved.
        if a.write_seq != a.snd_nxt || from.waits_for_space() {
            return Err(why);
        }
        settled(pair, entry, other, bh)?;
    }
    let room = short_cut::room(&b, want, to.largest_window(), || to.would_offer());
    if room.bytes == 0 {
        return Err(Why::Window);
    }
    let tail = to.receive_tailroom().min(room.bytes);
    let new = match room.bytes - tail {
        0 => Buffers::default(),
        rest => new_buffers(to, &b, room, rest),
    };
    match tail + new.bytes {
        0 => return Err(Why::Memory),
        fits if fits < least => return Ok(None),
        _ => {}
    }
    let bytes = to.append_received(msg, tail + new.bytes, least, &new);
    if bytes == 0 {
        return match least > 1 {
            true => Ok(None),
            false => Err(Why::Memory),
        };
    }
    if new.bytes != 0 {
        to.grow_window(new.bytes, new.size(&SIZES));
    }
    passed(pair, entry, other, Room { bytes, ..room }, bytes);
    if new.bytes != 0 {
        to.time_window(bh);
    }
    Ok(Some(bytes))
}

/// Bytes of the room are in the receive queue, so many of which were never in the send queue.
#[inline(always)]
fn passed<N: Nic>(
    pair: &SockPair<'_>,
    entry: &Entry<N>,
    other: &Entry<N>,
    room: Room,
    written: u32,
) {
    let (from, to) = (pair.from(), pair.to());
    // Nothing has changed; read once more, the numbers need not be kept across the calls.
    let (mut a, mut b) = (from.short_end(), to.short_end());
    short_cut::pass(&mut a, &mut b, room);
    a.write_seq = a.write_seq.add(written);
    entry.data.with_mut(from, |data| {
        entry.audited(from, data);
        a.store(data, room.bytes, 0);
    });
    other.data.with_mut(to, |data| {
        other.audited(to, data);
        b.store(data, 0, room.bytes);
    });
    from.store_given(&a, room.bytes);
    to.store_taken(&b, room.bytes);
}

/// New buffers for `bytes` of the room, or for some of them.
#[inline(always)]
fn new_buffers(to: LockedSock<'_>, end: &End, room: Room, bytes: u32) -> Buffers {
    let window = room.offer.map_or(end.receive_window(), |offer| offer.wnd);
    let memory = to.receive_memory(window.saturating_sub(room.bytes));
    short_cut::buffers(bytes, to.unread(), &memory, &SIZES)
}
