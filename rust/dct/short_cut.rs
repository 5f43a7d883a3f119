// SPDX-License-Identifier: GPL-2.0

//! The same-host short cut: what an application writes goes to the receive queue of the other
//! end, if that is an entry of the peer device, without a frame. Off unless the device's knob
//! `short_cut` says otherwise.
//!
//! The sender's task owns its socket, as in any write; of the receiver the spin lock is taken,
//! as at the end of a doorbell. What the numbers of both become is decided in
//! `logic/short_cut.rs`; anything that is not clear goes by frames. The buffers that bytes are
//! appended to are ordinary ones of the receive queue, with nothing of ours in them: an
//! upload has nothing to do.

use core::sync::atomic::Ordering::Relaxed;

use super::{
    tx_path::tx_path,
    Entry,
    Nic, //
};
use crate::{
    framework::host,
    logic::{
        hwid::Hwid,
        short_cut::{
            self,
            End,
            Room,
            Sizes,
            Why, //
        },
        transmit::NAGLE_CORK,
        tuple::Family, //
    },
    net::{
        context::Bh,
        proto::Msg,
        sock::LockedSock,
        sync::rcu::ReadGuard, //
    }, //
};

/// Of what a buffer's head is allocated with: `struct skb_shared_info` is at its end.
const SIZES: Sizes = Sizes {
    small: 1024,
    large: 32 * 1024,
    overhead: 320,
};

/// Bytes of `msg`, of which `left` are left, that went past the wire.
pub(super) fn pass<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    msg: &mut Msg<'_>,
    left: usize,
    bh: &Bh,
) -> usize {
    let stats = entry.nic.engine().stats();
    let mut done = 0;
    while done < left {
        let want = (left - done).min(SIZES.large as usize) as u32;
        match section(sk, entry, msg, want, bh) {
            Ok(n) => {
                stats.passed(n);
                done += n as usize;
            }
            Err(why) => {
                stats.not_passed(why);
                break;
            }
        }
    }
    done
}

/// One section under the receiver's lock.
fn section<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    msg: &mut Msg<'_>,
    want: u32,
    bh: &Bh,
) -> Result<u32, Why> {
    let nic = tx_path(sk, entry, bh).map_err(|_| Why::Seen)?;
    if entry.layers.is_some() || nic.dev().has_taps(bh) {
        return Err(Why::Seen);
    }
    let peer = nic.peer(bh).ok_or(Why::Special)?;
    let guard = ReadGuard::within(bh);
    let last = Hwid::from_raw(entry.other.load(Relaxed));
    let other = last.and_then(|hwid| peer.engine().get(&guard, hwid));
    let other = match other {
        Some(other) => other,
        None => {
            let other = peer.engine().find(&guard, &entry.tuple.reversed());
            let other = other.ok_or(Why::Special)?;
            entry.other.store(other.hwid.raw(), Relaxed);
            other
        }
    };
    let addressed = entry.template.with(sk, |t| t.dst_mac() == Some(&other.mac));
    if !addressed || other.layers.is_some() || !peer.dev().is_up() {
        return Err(Why::Special);
    }
    let lock = other.sk.bh_lock(bh);
    let v6 = other.tuple.family == Family::V6;
    let arrival = lock.arrival(&other.path_dev, other.raw, v6);
    if !arrival.is_expected() || arrival.is_tapped() || arrival.is_raw() || other.sk.is_watched() {
        return Err(Why::Seen);
    }
    let to = lock.try_own().ok_or(Why::Owned)?;
    let delegated =
        host::of(to, &guard).is_some_and(|conn| conn.delegated(to) && conn.hwid() == other.hwid);
    let plain = delegated
        && to.receives_bytes()
        && !to.wants_host()
        && to.in_order()
        && !to.in_recovery()
        && !sk.in_recovery()
        && !sk.receive_closed()
        && !other.buffer.posted(to)
        && !host::may_defer();
    if !plain {
        return Err(Why::Special);
    }
    transfer(sk, entry, to, &other, msg, want, &guard)
}

/// Both ends are there, and ordinary: their numbers decide.
#[inline(always)]
fn transfer<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    to: LockedSock<'_>,
    other: &Entry<N>,
    msg: &mut Msg<'_>,
    want: u32,
    guard: &ReadGuard<'_>,
) -> Result<u32, Why> {
    entry
        .data
        .with_mut(sk, |a| {
            other.data.with_mut(to, |b| {
                entry.load(sk, a);
                other.load(to, b);
                let ends = [(&*a, sk), (&*b, to)].map(|(data, sk)| End {
                    data,
                    write_seq: sk.write_seq(),
                });
                short_cut::clear(&ends[0], &ends[1])?;
                if a.cached.nonagle & NAGLE_CORK != 0 {
                    return Err(Why::Special);
                }
                let room = short_cut::room(b, want, || to.would_offer());
                if room.bytes == 0 {
                    return Err(Why::Window);
                }
                let size = match to.receive_tailroom() {
                    0 => {
                        let window = room.offer.map_or(b.receive_window(), |offer| offer.wnd);
                        let memory = to.receive_memory(window.saturating_sub(room.bytes));
                        short_cut::buffer_size(room.bytes, to.unread(), &memory, &SIZES)
                            .ok_or(Why::Memory)?
                    }
                    _ => 0,
                };
                let bytes = to.append_received(msg, room.bytes, size);
                if bytes == 0 {
                    return Err(Why::Memory);
                }
                short_cut::pass(a, b, Room { bytes, ..room });
                sk.store_passed(a, bytes);
                to.store_passed(b, 0);
                Ok(bytes)
            })
        })
        .inspect(|_| host::data_ready(to, guard))
}
