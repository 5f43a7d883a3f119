// SPDX-License-Identifier: GPL-2.0

//! The receive engine's side of the connection buffer: payload goes into the user
//! buffer that an entry has.
//!
//! Claims: Documentation/networking/toe-claims.rst

use crate::{
    dct::{
        Entry,
        Nic, //
    },
    logic::{
        receive::RxAction,
        wire::{
            flags,
            Segment, //
        }, //
    },
    net::{
        context::Bh,
        skb::SkBuff,
        sock::LockedSock, //
    }, //
};

/// What became of the payload of a segment.
#[derive(Clone, Copy, Default)]
pub(super) struct Placed {
    /// The application has all of it.
    pub(super) whole: bool,
    /// The buffer has what its reader waits for, who is to be woken.
    pub(super) complete: bool,
}

/// Delivers the payload of a segment that the engine has finished, on a connection
/// with a posted buffer. What does not fit goes to the receive queue.
#[cold]
pub(super) fn deliver<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    skb: SkBuff,
    seg: &Segment,
    action: &RxAction,
    bh: &Bh,
) -> Placed {
    let header = u32::from(seg.data_off - seg.l4_off);
    let buffer = entry.buffer.get(sk);
    let placed = match &buffer {
        Some(buffer) if sk.all_read(action.payload) => {
            let push = seg.flags & flags::PSH != 0;
            buffer.place(sk, &skb, header, action.payload, push)
        }
        _ => 0,
    };
    if placed == action.payload {
        sk.payload_placed(&skb, action, header, seg.flags);
        skb.consume(bh);
    } else {
        sk.queue_payload(skb, action, header, seg.flags);
    }
    Placed {
        whole: placed == action.payload,
        complete: placed != 0 && buffer.is_some_and(|buffer| buffer.state(sk).complete()),
    }
}

/// Takes the buffer back and wakes its reader.
pub(super) fn take_back<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>) {
    if entry.buffer.take(sk).is_some() {
        sk.wake_readers();
    }
}
