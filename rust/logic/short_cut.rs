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

/// The numbers of one end that are looked at, or move, under its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The sequence number after all that was written (`write_seq`).
    pub write_seq: Seq,
    /// As in [`ConnDelegated`](super::conn::ConnDelegated), and so are the others.
    pub snd_una: Seq,
    /// The next one to be sent.
    pub snd_nxt: Seq,
    /// The peer's window from `snd_una` on.
    pub snd_wnd: u32,
    /// The segment that said so.
    pub snd_wl1: Seq,
    /// The largest window that the peer had.
    pub max_window: u32,
    /// The next one to be received.
    pub rcv_nxt: Seq,
    /// `rcv_nxt` when the window was offered.
    pub rcv_wup: Seq,
    /// The window from there on.
    pub rcv_wnd: u32,
    /// The scale of that window in a header.
    pub rcv_wscale: u8,
}

impl End {
    /// Those of a connection.
    #[cfg(any(test, not(MODULE), CONFIG_KUNIT = "y"))]
    pub fn of(data: &ConnData, write_seq: Seq) -> Self {
        Self {
            write_seq,
            snd_una: data.snd_una,
            snd_nxt: data.snd_nxt,
            snd_wnd: data.snd_wnd,
            snd_wl1: data.snd_wl1,
            max_window: data.max_window,
            rcv_nxt: data.rcv_nxt,
            rcv_wup: data.rcv_wup,
            rcv_wnd: data.rcv_wnd,
            rcv_wscale: data.constant.rcv_wscale,
        }
    }

    /// The connection has these, after so many bytes that were sent and acknowledged, or
    /// received.
    #[inline(always)]
    pub fn store(&self, data: &mut ConnData, sent: u32, received: u32) {
        data.snd_una = self.snd_una;
        data.snd_nxt = self.snd_nxt;
        data.snd_wnd = self.snd_wnd;
        data.snd_wl1 = self.snd_wl1;
        data.max_window = self.max_window;
        data.rcv_nxt = self.rcv_nxt;
        data.rcv_wup = self.rcv_wup;
        data.rcv_wnd = self.rcv_wnd;
        data.bytes_acked = data.bytes_acked.wrapping_add(u64::from(sent));
        data.bytes_received = data.bytes_received.wrapping_add(u64::from(received));
    }

    /// What is left of the window that was offered (`tcp_receive_window()`).
    #[inline(always)]
    pub const fn receive_window(&self) -> u32 {
        self.rcv_wup
            .add(self.rcv_wnd)
            .saturating_dist_from(self.rcv_nxt)
    }

    /// What the other end can be told of `window`.
    #[inline(always)]
    fn told(&self, window: u32) -> u32 {
        window.min(u32::from(u16::MAX) << self.rcv_wscale.min(MAX_WSCALE))
    }

    /// Hears of the window of the other end.
    #[inline(always)]
    fn hear(&mut self, of: &Self) {
        let edge = of.rcv_nxt.add(of.told(of.receive_window()));
        self.snd_wnd = edge.saturating_dist_from(self.snd_una);
        self.max_window = self.max_window.max(self.snd_wnd);
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
    /// An object below the connection has changed.
    Changed = 7,
}

impl Why {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Their names, as counters have them.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "seen",
        "owned",
        "special",
        "queued",
        "on_the_way",
        "window",
        "memory",
        "changed",
    ];
}

/// Whether bytes may go from `from` to `to` past the wire, as far as window and memory allow.
///
/// A data frame of the receiver that is on its way carries an old ACK number: were it
/// overtaken by more than a window, it would be dropped. What waits in the receiver's own
/// send queue goes on with a frame, not with bytes that bring it a window. Nor is an ACK owed in
/// either direction: a frame would bring the receiver the one that the sender owes, and with
/// Nagle's rule the next message may wait for that.
#[inline(always)]
pub fn clear(from: &End, to: &End) -> Result<(), Why> {
    let rest = (from.write_seq.0 ^ from.snd_nxt.0)
        | (from.snd_una.0 ^ from.snd_nxt.0)
        | (to.write_seq.0 ^ to.snd_nxt.0)
        | (to.snd_una.0 ^ to.snd_nxt.0);
    if rest != 0 {
        return Err(Why::Queued);
    }
    if (from.snd_nxt.0 ^ to.rcv_nxt.0) | (to.snd_nxt.0 ^ from.rcv_nxt.0) != 0 {
        return Err(Why::OnTheWay);
    }
    Ok(())
}

/// Whether all that was sent in either direction has come. For some of it an ACK may be owed;
/// once that is taken for given, what waits in the send queue of `from` may go past the wire.
#[inline(always)]
pub fn arrived(from: &End, to: &End) -> Result<(), Why> {
    if to.write_seq != to.snd_nxt {
        return Err(Why::Queued);
    }
    if from.snd_nxt != to.rcv_nxt || to.snd_nxt != from.rcv_nxt {
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
/// It is offered anew (`anew`: `tcp_select_window()`, which costs something) if less than half
/// of the `largest` one would be left, as a read would do by a frame, or if it would not do.
#[inline(always)]
pub fn room(to: &End, wanted: u32, largest: u32, anew: impl FnOnce() -> Offer) -> Room {
    let left = to.told(to.receive_window());
    let rest = left.saturating_sub(wanted);
    if wanted <= left && rest > largest - largest / 2 {
        return Room {
            bytes: wanted,
            offer: None,
        };
    }
    let offer = anew();
    Room {
        bytes: wanted.min(to.told(offer.wnd)),
        offer: Some(offer),
    }
}

/// `bytes`, more than none, have been appended to the receiver's queue: the numbers of both ends
/// say so. All that was sent has [arrived] and is acknowledged, and the bytes are within the
/// window of [`room`]. They are the next ones of the send queue, or if there are none, were
/// never in it; then the caller moves `write_seq`.
///
/// The bytes bring the windows of both ends, for they make old what is on its way: the
/// receiver's ACKs by their ACK number, the sender's by their sequence number.
#[inline(always)]
pub fn pass(from: &mut End, to: &mut End, room: Room) {
    to.snd_wl1 = from.snd_nxt;
    to.hear(from);
    if let Some(offer) = room.offer {
        to.rcv_wnd = offer.wnd;
        to.rcv_wup = to.rcv_nxt;
    }
    to.rcv_nxt = to.rcv_nxt.add(room.bytes);
    to.rcv_wnd = to.receive_window();
    to.rcv_wup = to.rcv_nxt;
    from.snd_nxt = to.rcv_nxt;
    from.snd_una = to.rcv_nxt;
    from.snd_wl1 = to.snd_nxt;
    from.hear(to);
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
    /// Whether there is room for a buffer.
    #[inline(always)]
    const fn allows(&self, size: u32) -> bool {
        self.charged as u64 + size as u64 <= self.limit as u64
    }

    /// Whether there is without what is promised.
    #[inline(always)]
    const fn spares(&self, size: u32) -> bool {
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

impl Sizes {
    /// The least size that has room for `bytes`, or the largest.
    #[inline(always)]
    const fn holds(&self, bytes: u32) -> u32 {
        let size = bytes.saturating_add(self.overhead);
        if size <= self.small {
            return self.small;
        }
        if size >= self.large {
            return self.large;
        }
        size.next_power_of_two()
    }
}

/// The size of a new buffer for `bytes`, when `unread` wait in the queue: a power of two. It
/// grows with what is unread, for then more will come; but not into memory that the window
/// promised to frames. What the bytes alone need is charged as that of a frame would be, to
/// which the window is promised, too. `None`: the receive buffer is full.
#[inline(always)]
pub fn buffer_size(bytes: u32, unread: u32, memory: &Memory, sizes: &Sizes) -> Option<u32> {
    let needed = sizes.holds(bytes);
    let grown = sizes.holds(bytes.max(unread));
    if grown > needed && memory.spares(grown) {
        return Some(grown);
    }
    memory.allows(needed).then_some(needed)
}

/// New buffers in the receive queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Buffers {
    /// How many of the largest size, all of which are full.
    pub large: u32,
    /// The size of one after them; 0: none.
    pub last: u32,
    /// Bytes that go into all of them.
    pub bytes: u32,
}

impl Buffers {
    /// Their sizes, together.
    #[inline(always)]
    pub const fn size(&self, sizes: &Sizes) -> u32 {
        self.large * sizes.large + self.last
    }
}

/// New buffers for `bytes`, or for as many as memory allows, see [`buffer_size`].
#[inline(always)]
pub fn buffers(bytes: u32, unread: u32, memory: &Memory, sizes: &Sizes) -> Buffers {
    if bytes > sizes.large - sizes.overhead {
        return many_buffers(bytes, unread, *memory, sizes);
    }
    match buffer_size(bytes, unread, memory, sizes) {
        None => Buffers::default(),
        Some(last) => Buffers {
            large: 0,
            last,
            bytes,
        },
    }
}

/// For more bytes than one has room for.
#[cold]
fn many_buffers(bytes: u32, unread: u32, mut memory: Memory, sizes: &Sizes) -> Buffers {
    let most = sizes.large - sizes.overhead;
    let mut new = Buffers::default();
    while bytes - new.bytes > most {
        if !memory.allows(sizes.large) {
            return new;
        }
        memory.charged += sizes.large;
        new.large += 1;
        new.bytes += most;
    }
    if let Some(size) = buffer_size(bytes - new.bytes, unread, &memory, sizes) {
        new.last = size;
        new.bytes = bytes;
    }
    new
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
        let (a, b) = pair();
        let (mut from, mut to) = (End::of(&a, a.snd_nxt), End::of(&b, b.snd_nxt));
        let wanted = room(&to, 1000, 4096, || Offer::SHUT);
        assert!(wanted.bytes == 1000 && wanted.offer.is_none());
        pass(&mut from, &mut to, wanted);
        from.write_seq = from.snd_nxt;
        let (mut a, mut b) = pair();
        from.store(&mut a, 1000, 0);
        to.store(&mut b, 0, 1000);
        assert!(a.snd_nxt == Seq(1000) && a.all_acked() && a.snd_wnd == 3096);
        assert!(from.write_seq == Seq(1000) && to.write_seq == Seq(0));
        assert!(b.rcv_nxt == Seq(1000) && b.rcv_wup == b.rcv_nxt && b.rcv_wnd == 3096);
        assert!(a.bytes_acked == 1000 && b.bytes_received == 1000);
        assert!(a.bytes_received == 0 && b.bytes_acked == 0);
    }

    #[test]
    fn the_window_is_offered_anew_when_half_is_used() {
        let (_, b) = pair();
        let to = End::of(&b, b.snd_nxt);
        let anew = || Offer {
            wnd: 4000,
            ..Offer::SHUT
        };
        for (wanted, clamp, offered, bytes) in [
            (1000, 4096, false, 1000),
            (2047, 4096, false, 2047),
            (2048, 4096, true, 2048),
            (4096, 0, true, 4000),
            (5000, 4096, true, 4000),
            (1, u32::MAX, true, 1),
        ] {
            let room = room(&to, wanted, clamp, anew);
            assert!(room.offer.is_some() == offered && room.bytes == bytes);
        }
    }

    #[test]
    fn what_is_not_clear_has_a_name() {
        let (a, b) = pair();
        let (mut from, mut to) = (End::of(&a, Seq(0)), End::of(&b, Seq(0)));
        assert!(clear(&from, &to) == Ok(()));
        from.write_seq = Seq(1);
        assert!(clear(&from, &to) == Err(Why::Queued));
        from.write_seq = Seq(0);
        to.snd_nxt = Seq(1);
        assert!(clear(&from, &to) == Err(Why::Queued));
        (to.write_seq, to.snd_una) = (Seq(1), Seq(1));
        assert!(clear(&from, &to) == Err(Why::OnTheWay));
        (from.snd_nxt, from.write_seq) = (Seq(1), Seq(1));
        assert!(clear(&from, &to) == Err(Why::Queued));
        // The other end's bytes have come, and their ACK has not.
        let (mut from, mut to) = (End::of(&a, Seq(0)), End::of(&b, Seq(1)));
        (to.snd_nxt, from.rcv_nxt) = (Seq(1), Seq(1));
        assert!(clear(&from, &to) == Err(Why::Queued) && arrived(&from, &to) == Ok(()));
    }

    #[test]
    fn what_has_arrived_may_be_owed_an_ack() {
        let (a, b) = pair();
        let (mut from, mut to) = (End::of(&a, Seq(0)), End::of(&b, Seq(0)));
        assert!(arrived(&from, &to) == Ok(()));
        (from.write_seq, from.snd_nxt) = (Seq(300), Seq(100));
        assert!(arrived(&from, &to) == Err(Why::OnTheWay));
        to.rcv_nxt = Seq(100);
        assert!(arrived(&from, &to) == Ok(()));
        to.write_seq = Seq(1);
        assert!(arrived(&from, &to) == Err(Why::Queued));
        to.snd_nxt = Seq(1);
        assert!(arrived(&from, &to) == Err(Why::OnTheWay));
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
        assert!(buffer_size(1000, 5000, &memory(20_000), &sizes) == Some(2048));
        let full = |charged| Memory {
            charged,
            ..memory(0)
        };
        assert!(buffer_size(1000, 0, &full(20_000 - 2048), &sizes) == Some(2048));
        assert!(buffer_size(1000, 0, &full(20_000 - 2047), &sizes).is_none());
        assert!(buffer_size(u32::MAX, 1, &full(0), &sizes) == Some(16_384));
    }

    #[test]
    fn many_bytes_have_several_buffers() {
        let sizes = Sizes {
            small: 1024,
            large: 4096,
            overhead: 96,
        };
        for (bytes, limit, large, last, held) in [
            (1, 10_000, 0, 1024, 1),
            (4000, 10_000, 0, 4096, 4000),
            (4001, 10_000, 1, 1024, 4001),
            (8000, 10_000, 1, 4096, 8000),
            (8000, 8191, 1, 0, 4000),
            (8900, 10_000, 2, 1024, 8900),
            (9000, 9000, 2, 0, 8000),
            (9000, 4095, 0, 0, 0),
        ] {
            let memory = Memory {
                limit,
                charged: 0,
                promised: 0,
            };
            let new = buffers(bytes, 0, &memory, &sizes);
            assert!(new.large == large && new.last == last && new.bytes == held);
            assert!(new.size(&sizes) == large * 4096 + last);
        }
    }
}
