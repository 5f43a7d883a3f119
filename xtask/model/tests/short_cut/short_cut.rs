// SPDX-License-Identifier: GPL-2.0

//! The same-host short cut, decided: whether bytes may go past the wire from one end of a
//! connection to the other, how many, and what becomes of the numbers of both ends.
//!
//! Both ends of a connection count in the same sequence numbers. If all that one end has sent
//! has arrived at the other, bytes may be appended to the receive queue there as well as sent:
//! the numbers of both ends move as if a frame, and its ACK, had crossed an ideal wire. There
//! is no mode: what does not take the short cut is a frame at `snd_nxt`, with nothing to
//! transfer first.
//!
//! What the module calls is in `rust/logic/short_cut.rs`; window ([`room`](toe_model::logic::short_cut::room)) and
//! memory ([`buffer_size`](toe_model::logic::short_cut::buffer_size)) are decided there for this model, too. The module
//! settles and pulls, as the functions here do, with two rules of its own: what the receiver has
//! unsent keeps bytes off the short cut, unless it waits for a read, so that nobody has to be
//! asked to send (`arrived()`); and what waits for a read is not sent by frames meanwhile.
//! `first_stage` in `main.rs` runs the module's `clear()` and `pass()` alone, without both.
//!
//! # What must hold
//!
//! `each_rule_is_needed` in `main.rs` takes one of these away at a time, and the model fails:
//!
//! * **Both directions are clear** ([`clear`]), not only that of the bytes (`OneWay`). A data
//!   frame of the other end that is still on its way, in a queue or a backlog, carries an ACK
//!   number of when it was made. If more than the largest window passes it by the short cut,
//!   `tcp_ack()` drops the frame with its data (`SKB_DROP_REASON_TCP_TOO_OLD_ACK`), and only a
//!   timeout repairs that.
//! * **Nothing overtakes the send queue** (`Overtake`): bytes of a call pass only if nothing
//!   unsent waits.
//! * **Bytes bring both windows** (`StaleWindow`). They make what is on its way old: the
//!   receiver's ACKs by their ACK number, the sender's by their sequence number, window updates
//!   among them. What those would have said is said with the bytes, or an end never learns of a
//!   window that the other believes to have opened.
//! * **Both send queues go on** (`NotResumed`): that of the receiver may have waited for the
//!   window which the bytes have brought, or for an ACK that is no longer needed; that of the
//!   sender has a rest if memory was short.
//! * **No window without bytes** (`an_ack_is_overtaken`). A window that is written to the other end
//!   by itself passes the ACKs on their way, and does not make them old. One of them that shuts
//!   the window is believed: equal numbers, and `!nwin` (`tcp_may_update_window()`). A window
//!   update is thus a frame, or comes with the bytes that waited for it ([`after_read`]).
//! * **The window is kept** (`NoWindow`), **and its right edge does not move left**
//!   (`EdgeFromSpace`): the window is that of `tcp_select_window()`, not the free space. The
//!   sender's is one that the header's field can say; `rcv_wnd` may be larger (65535 << scale).
//! * **Header prediction is made anew** (`Predicted`). `pred_flags` holds the window that the
//!   next frame is compared with, and a frame that says that window again is taken for one
//!   that changes nothing.
//! * **A read that makes room says so** (`SilentReads`), whatever it read. This is
//!   `tcp_cleanup_rbuf()`: also for payload of frames, and also if nothing goes past the wire.
//! * **More memory than the bytes need is taken from what is not promised**
//!   ([`buffer_size`](toe_model::logic::short_cut::buffer_size), `LargeBuffers`). The window counts on a part of the
//!   receive buffer (`scaling_ratio`); a standing buffer is charged as a whole with its first
//!   byte. If it takes what the window promised, frames that come later have no room and are
//!   dropped.
//! * **What is kept for later is little** ([`keeps`], `KeptSpares`), for it is charged, and what
//!   is charged is missing in the window.
//! * **Nobody sleeps where only the short cut wakes** (`ModuleSleep`, `WakesBySpares`). A
//!   reader is woken for frames as well, by whichever stack processes them; a writer waits for
//!   room in the send queue.
//!
//! Fields of `struct tcp_sock` that have to follow and are not in the model: `rcv_mwnd_seq`
//! with the right edge (`tcp_update_max_rcv_wnd_seq()`), or `tcp_sequence()` refuses frames
//! within the window; `snd_up` with `snd_una`, or the connection seems to have urgent data;
//! `pushed_seq`; the clocks `lsndtime`, `rcv_tstamp` and `lrcvtime`.
//!
//! # Why the first prototype stalled
//!
//! A prototype in C, made to be measured, stalled in some runs in which frames and short cut
//! alternated, and a window update that is missing after reads of frames was suspected. That is
//! a fault, but not this one. `why_the_prototype_stalled` has what it did, step by step:
//!
//! * **Spare buffers ended it for good.** It kept up to six standing buffers of 32 KiB that had
//!   been read, charged to the socket, as spares. A writer that ran ahead once, by the 128 KiB of
//!   a receive buffer, made four of them, and from then on all of the receive buffer was charged,
//!   with an empty receive queue: `tcp_space()` is 0, and each window that is offered is shut.
//!   While all writes took the short cut nobody noticed, because the prototype did not look at
//!   the window. The first write that found a socket owned by its task went by frames, into a
//!   send queue behind a shut window; with that, no later write took the short cut, for
//!   `snd_una` was not `write_seq`. Writer and reader slept, and window probes were answered
//!   with a shut window for ever. In the model this needs nothing else that the prototype did,
//!   and without it the rest of the prototype goes on.
//! * A missing window update (`SilentReads`) leaves a send queue behind a window that frames
//!   have used up, until a window probe: it is slow, by timeouts that back off, but goes on. With
//!   a clock in which idle time passes at once this does not look like a stall.
//! * A second stall was possible: a writer that found the receive buffer full slept until a read
//!   had made three spares (`WakesBySpares`). If frames had filled the buffer there were none.

use toe_model::logic::{
    conn::ConnData,
    receive::MAX_WSCALE,
    seq::Seq,
    short_cut::{Memory, Room}, //
};

/// One end, as it is under the spin locks of both.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The connection's state.
    pub data: &'a ConnData,
    /// The sequence number after all that was written (`write_seq`).
    pub write_seq: Seq,
    /// A task owns the socket, other than the one that asks.
    pub owned: bool,
    /// The target has the connection; it is established in both directions and without an
    /// error; nothing is urgent, lost or probed for.
    pub plain: bool,
    /// Somebody sees or judges the frames of this end: a packet tap, a filter, a qdisc.
    pub seen: bool,
}

impl End<'_> {
    /// Bytes that were written and not sent.
    pub fn unsent(&self) -> u32 {
        self.write_seq.saturating_dist_from(self.data.snd_nxt)
    }
}

/// Where the bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// In the memory of a call that writes.
    Call,
    /// In the send queue.
    Queue,
}

/// Why bytes go by frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody sees or judges frames.
    Seen,
    /// A task owns one of the sockets.
    Owned,
    /// One end is not [plain](End::plain).
    Special,
    /// Others wait before them in the send queue.
    Queued,
    /// Something is on its way, in either direction.
    OnTheWay,
    /// The window is shut.
    Window,
    /// No memory is left for them.
    Memory,
}

/// Returns whether bytes may go from `from` to `to` past the wire, as far as window and memory
/// allow.
///
/// That nothing is out of order in the receiver follows: it would have been sent.
pub fn clear(from: &End<'_>, to: &End<'_>, source: Source) -> Result<(), Why> {
    if from.seen || to.seen {
        return Err(Why::Seen);
    }
    if from.owned || to.owned {
        return Err(Why::Owned);
    }
    if !from.plain || !to.plain {
        return Err(Why::Special);
    }
    if source == Source::Call && from.unsent() != 0 {
        return Err(Why::Queued);
    }
    if from.data.snd_nxt != to.data.rcv_nxt || to.data.snd_nxt != from.data.rcv_nxt {
        return Err(Why::OnTheWay);
    }
    Ok(())
}

/// What the other end can be told of a window.
fn told(receiver: &ConnData, window: u32) -> u32 {
    window.min(u32::from(u16::MAX) << receiver.constant.rcv_wscale.min(MAX_WSCALE))
}

/// What was acknowledged on the way, by frames that are not sent any more. Where it is not 0,
/// the retransmission queue is to be freed to `snd_una` and its timers to be stopped. No ACK
/// is pending at either end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Bytes of the sender.
    pub from: u32,
    /// Bytes of the receiver, of the other direction.
    pub to: u32,
}

/// `bytes`, more than none, have been appended to the receiver's queue: the numbers of both ends
/// say so. They are [clear], and the bytes are within the window of [`room`].
///
/// All that is pending is settled first, in both directions, as the frame and its ACK would. As
/// after those, an end that has something [unsent](End::unsent) is asked to send when the
/// locks are released (`tcp_data_snd_check()`).
pub fn pass(from: &mut ConnData, to: &mut ConnData, room: Room) -> Settled {
    let settled = Settled {
        from: acknowledge(from, to),
        to: acknowledge(to, from),
    };
    if let Some(offer) = room.offer {
        to.rcv_wnd = offer.wnd;
    }
    let bytes = room.bytes;
    from.snd_nxt = from.snd_nxt.add(bytes);
    to.rcv_nxt = to.rcv_nxt.add(bytes);
    to.bytes_received = to.bytes_received.wrapping_add(u64::from(bytes));
    acknowledge(from, to);
    settled
}

/// The receiver's ACK of all that it has, with the right edge of the last offer, taken by the
/// sender at once; the bytes that are acknowledged.
fn acknowledge(from: &mut ConnData, to: &mut ConnData) -> u32 {
    to.rcv_wnd = to.receive_window();
    to.rcv_wup = to.rcv_nxt;
    let bytes = to.rcv_nxt.saturating_dist_from(from.snd_una);
    from.snd_una = to.rcv_nxt;
    from.snd_wnd = told(to, to.rcv_wnd);
    from.max_window = from.max_window.max(from.snd_wnd);
    from.snd_wl1 = to.snd_nxt;
    from.bytes_acked = from.bytes_acked.wrapping_add(u64::from(bytes));
    from.packets_out = 0;
    bytes
}

/// Returns whether a standing buffer that was read is kept for the next bytes, and stays
/// charged: one, of an eighth of the receive buffer at most.
pub fn keeps(kept: usize, size: u32, memory: &Memory) -> bool {
    kept == 0 && size <= memory.limit / 8
}

/// What follows a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterRead {
    /// Nothing.
    Nothing,
    /// What waits in the other end's send queue is moved here. It brings the window with it.
    Pull,
    /// A real ACK: the window update.
    Ack,
}

/// What follows a read of `reader`. `due`: the host stack would acknowledge now
/// (`ack::read_due()`).
pub fn after_read(due: bool, reader: &End<'_>, other: &End<'_>) -> AfterRead {
    if !due {
        return AfterRead::Nothing;
    }
    match other.unsent() != 0 && clear(other, reader, Source::Queue).is_ok() {
        true => AfterRead::Pull,
        false => AfterRead::Ack,
    }
}
