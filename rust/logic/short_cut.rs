// SPDX-License-Identifier: GPL-2.0

//! The same-host short cut: bytes of a write go past the wire, from one end of a connection
//! to the other on the same machine.
//!
//! Both ends count in the same sequence numbers. If all that one has sent is acknowledged,
//! and nothing else is on its way in either direction, bytes may be appended to the other's
//! receive queue as well as sent: the numbers of both ends move as if a frame, and its ACK, had
//! crossed an ideal wire. There is no mode: what does not take the short cut is a frame at
//! `snd_nxt`.
//!
//! `xtask/model/tests/short_cut` has a model of the two ends, and why each rule is needed.

use super::{
    conn::ConnData,
    receive::MAX_WSCALE,
    seq::Seq,
    window::Offer, //
};

/// One end, under its lock.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The connection's state.
    pub data: &'a ConnData,
    /// The sequence number after all that was written (`write_seq`).
    pub write_seq: Seq,
}

impl End<'_> {
    fn has_unsent(&self) -> bool {
        self.write_seq != self.data.snd_nxt
    }
}

/// Why bytes go by frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Why {
    /// Somebody sees or judges frames.
    Seen = 0,
    /// A task owns the receiver's socket.
    Owned = 1,
    /// One end is in a state that is not an ordinary one.
    Special = 2,
    /// Something is unsent or not acknowledged.
    Queued = 3,
    /// Something is on its way, in either direction.
    OnTheWay = 4,
    /// The window is shut.
    Window = 5,
    /// No memory is left for them.
    Memory = 6,
}

impl Why {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// Their names, as counters have them.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "seen",
        "owned",
        "special",
        "queued",
        "on_the_way",
        "window",
        "memory",
    ];
}

/// Whether bytes may go from `from` to `to` past the wire, as far as window and memory allow.
///
/// A data frame of the receiver that is on its way carries an old ACK number: were it
/// overtaken by more than a window, it would be dropped. What waits in the receiver's own
/// send queue goes on with a frame, not with bytes that bring it a window.
#[inline(always)]
pub fn clear(from: &End<'_>, to: &End<'_>) -> Result<(), Why> {
    if from.has_unsent() || !from.data.all_acked() || to.has_unsent() {
        return Err(Why::Queued);
    }
    if from.data.snd_nxt != to.data.rcv_nxt || to.data.snd_nxt != from.data.rcv_nxt {
        return Err(Why::OnTheWay);
    }
    Ok(())
}

/// What the window allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes.
    pub bytes: u32,
    /// The window that is offered with them, if it is not the last one.
    pub offer: Option<Offer>,
}

/// How many of the `wanted` bytes the receiver's window allows, for ends that are
/// [clear]. The window is the receiver's own, for the bytes bring it to the sender.
///
/// It is offered anew (`anew`: `tcp_select_window()`, which costs something) only if it would
/// be half used up.
#[inline(always)]
pub fn room(to: &ConnData, wanted: u32, anew: impl FnOnce() -> Offer) -> Room {
    let left = told(to, to.receive_window());
    if left / 2 >= wanted {
        return Room {
            bytes: wanted,
            offer: None,
        };
    }
    let offer = anew();
    Room {
        bytes: wanted.min(told(to, offer.wnd)),
        offer: Some(offer),
    }
}

/// What the other end can be told of a window.
#[inline(always)]
fn told(receiver: &ConnData, window: u32) -> u32 {
    window.min(u32::from(u16::MAX) << receiver.constant.rcv_wscale.min(MAX_WSCALE))
}

/// `bytes`, more than none, have been appended to the receiver's queue: the numbers of both ends
/// say so. They are [clear], and the bytes are within the window of [`room`].
///
/// The bytes bring the windows of both ends, for they make old what is on its way: the
/// receiver's ACKs by their ACK number, the sender's by their sequence number.
#[inline(always)]
pub fn pass(from: &mut ConnData, to: &mut ConnData, room: Room) {
    to.snd_wl1 = from.snd_nxt;
    hear(to, from);
    if let Some(offer) = room.offer {
        to.rcv_wnd = offer.wnd;
        to.rcv_wup = to.rcv_nxt;
    }
    let bytes = room.bytes;
    to.rcv_nxt = to.rcv_nxt.add(bytes);
    to.rcv_wnd = to.receive_window();
    to.rcv_wup = to.rcv_nxt;
    to.bytes_received = to.bytes_received.wrapping_add(u64::from(bytes));
    from.snd_nxt = to.rcv_nxt;
    from.snd_una = to.rcv_nxt;
    from.snd_wl1 = to.snd_nxt;
    from.bytes_acked = from.bytes_acked.wrapping_add(u64::from(bytes));
    hear(from, to);
}

/// One end hears of the window of the other.
#[inline(always)]
fn hear(end: &mut ConnData, of: &ConnData) {
    let edge = of.rcv_nxt.add(told(of, of.receive_window()));
    end.snd_wnd = edge.saturating_dist_from(end.snd_una);
    end.max_window = end.max_window.max(end.snd_wnd);
}

/// Receive memory, all in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// `sk_rcvbuf`.
    pub limit: u32,
    /// What is charged (`sk_rmem_alloc`).
    pub charged: u32,
    /// What the window that is open after the bytes may bring (`tcp_space_from_win()`).
    pub promised: u32,
}

impl Memory {
    #[inline(always)]
    const fn allows(&self, size: u32) -> bool {
        self.charged as u64 + size as u64 + self.promised as u64 <= self.limit as u64
    }
}

/// Sizes of buffers in the receive queue that bytes are appended to.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The least.
    pub small: u32,
    /// The most.
    pub large: u32,
    /// What a buffer has besides its bytes.
    pub overhead: u32,
}

/// The size of a new buffer for `bytes`, when `unread` wait in the queue: a power of two. It
/// grows with what is unread, for then more will come. `None`: the memory is promised, to frames
/// that may come.
#[inline(always)]
pub fn buffer_size(bytes: u32, unread: u32, memory: &Memory, sizes: &Sizes) -> Option<u32> {
    let holds = |bytes: u32| {
        let size = bytes.saturating_add(sizes.overhead);
        size.checked_next_power_of_two()
            .unwrap_or(sizes.large)
            .clamp(sizes.small, sizes.large)
    };
    [holds(bytes.max(unread)), holds(bytes), sizes.small]
        .into_iter()
        .find(|size| memory.allows(*size))
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_short_cut))]
mod tests {
    use super::*;

    fn pair() -> (ConnData, ConnData) {
        let mut a = ConnData::default();
        a.constant.rcv_wscale = 4;
        a.delegated.rcv_wnd = 4096;
        a.delegated.snd_wnd = 4096;
        (a, a)
    }

    #[test]
    fn numbers_move_together() {
        let (mut a, mut b) = pair();
        let wanted = room(&b, 1000, || Offer::SHUT);
        assert!(wanted.bytes == 1000 && wanted.offer.is_none());
        pass(&mut a, &mut b, wanted);
        assert!(a.snd_nxt == Seq(1000) && a.all_acked() && a.snd_wnd == 3096);
        assert!(b.rcv_nxt == Seq(1000) && b.rcv_wup == b.rcv_nxt && b.rcv_wnd == 3096);
        assert!(a.bytes_acked == 1000 && b.bytes_received == 1000);
    }

    #[test]
    fn what_is_not_clear_has_a_name() {
        let (mut a, mut b) = pair();
        let ask = |a: &ConnData, b: &ConnData, written| {
            let from = End {
                data: a,
                write_seq: Seq(written),
            };
            let to = End {
                data: b,
                write_seq: b.snd_nxt,
            };
            clear(&from, &to)
        };
        assert!(ask(&a, &b, 0) == Ok(()));
        assert!(ask(&a, &b, 1) == Err(Why::Queued));
        b.delegated.snd_nxt = Seq(1);
        assert!(ask(&a, &b, 0) == Err(Why::OnTheWay));
        a.delegated.snd_nxt = Seq(1);
        assert!(ask(&a, &b, 1) == Err(Why::Queued));
    }

    #[test]
    fn promised_memory_is_not_taken() {
        let sizes = Sizes {
            small: 1024,
            large: 16_384,
            overhead: 100,
        };
        let memory = |promised| Memory {
            limit: 20_000,
            charged: 5000,
            promised,
        };
        assert!(buffer_size(900, 0, &memory(0), &sizes) == Some(1024));
        assert!(buffer_size(1000, 0, &memory(0), &sizes) == Some(2048));
        assert!(buffer_size(1000, 5000, &memory(0), &sizes) == Some(8192));
        assert!(buffer_size(1000, 5000, &memory(7000), &sizes) == Some(2048));
        assert!(buffer_size(1000, 5000, &memory(13_000), &sizes) == Some(1024));
        assert!(buffer_size(1000, 5000, &memory(14_000), &sizes).is_none());
        assert!(buffer_size(u32::MAX, 1, &memory(0), &sizes) == Some(1024));
    }
}
