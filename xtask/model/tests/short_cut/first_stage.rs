// SPDX-License-Identifier: GPL-2.0

//! A first stage of the short cut, with less to do than in `short_cut.rs`: nothing is settled on
//! the way, no send queue is moved, and none has to go on afterwards. The sender waits until all
//! of its own is acknowledged, by frames, and a receiver that has something unsent gets frames.
//! A read that makes room sends its window update as a frame.
//!
//! It needs no lock but those that a write by frames takes: the writer owns its own socket, and
//! has the receiver's spin lock as at the end of a doorbell.

use toe_model::logic::{conn::ConnData, seq::Seq};

use crate::short_cut::{told, Room};

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

/// Why bytes go by frames, as far as numbers say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Something is unsent or not acknowledged.
    Queued,
    /// Something is on its way, in either direction.
    OnTheWay,
}

/// Whether bytes may go from `from` to `to` past the wire, as far as window and memory allow.
///
/// A data frame of the receiver that is on its way carries an old ACK number: were it
/// overtaken by more than a window, it would be dropped. What waits in the receiver's own
/// send queue goes on with a frame, not with bytes that bring it a window.
pub fn clear(from: &End<'_>, to: &End<'_>) -> Result<(), Why> {
    if from.has_unsent() || !from.data.all_acked() || to.has_unsent() {
        return Err(Why::Queued);
    }
    if from.data.snd_nxt != to.data.rcv_nxt || to.data.snd_nxt != from.data.rcv_nxt {
        return Err(Why::OnTheWay);
    }
    Ok(())
}

/// `bytes`, more than none, have been appended to the receiver's queue: the numbers of both ends
/// say so. They are [clear], and the bytes are within the window of
/// [`room`](crate::short_cut::room).
///
/// The bytes bring the windows of both ends, for they make old what is on its way: the
/// receiver's ACKs by their ACK number, the sender's by their sequence number.
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
fn hear(end: &mut ConnData, of: &ConnData) {
    let edge = of.rcv_nxt.add(told(of, of.receive_window()));
    end.snd_wnd = edge.saturating_dist_from(end.snd_una);
    end.max_window = end.max_window.max(end.snd_wnd);
}
