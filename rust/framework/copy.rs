// SPDX-License-Identifier: GPL-2.0

//! The state of a connection in a target that works on a copy of it.
//!
//! Such a target takes frames in while a task owns the socket, and even sleeps with it: then
//! it knows what the socket does not. It gives that to the socket as soon as it has its lock,
//! and before that it tells the peer nothing of it: what the target has and the socket has
//! not can be lost at any moment, as on a wire.

use super::target::Counters;
use crate::{
    logic::{
        conn::ConnData,
        reason::SpecialCase,
        receive::{
            self,
            HostView,
            RxAction, //
        },
        seq::Seq,
        tree::state::Connection,
        tuple::Tuple,
        wire::Segment, //
    },
    net::{
        context::Bh,
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::{
            BhLock,
            LockedSock, //
        },
        tcp, //
    }, //
};

/// Received segments that a copy may have.
const MAX_UNDELIVERED: u32 = 512;

/// See the module's documentation.
pub(crate) struct Copied {
    /// The state.
    pub(crate) data: ConnData,
    /// What was done for the connection.
    pub(crate) counters: Counters,
    /// [`said`] by the socket when its lock was last held.
    told: (Seq, Seq, u32),
    /// Segments up to `rcv_nxt` that the socket does not have.
    undelivered: FrameList,
    /// Nothing more is taken in.
    closed: bool,
}

/// What has become of a state that was given to the socket.
#[derive(Clone, Copy, Default)]
pub(crate) struct Delivered {
    /// Segments of payload.
    pub(crate) frames: u32,
    /// Whether the peer has acknowledged data.
    pub(crate) acked: bool,
}

/// Of a state, what only frames that come in change.
fn said(data: &ConnData) -> (Seq, Seq, u32) {
    (data.rcv_nxt, data.snd_una, data.snd_wnd)
}

impl Copied {
    /// Of the socket's state.
    pub(crate) fn new(data: &ConnData) -> Self {
        Copied {
            data: *data,
            counters: Counters::default(),
            told: said(data),
            undelivered: FrameList::new(),
            closed: false,
        }
    }

    /// The state for display, of the connection with this `tuple`, and what was done for it.
    pub(crate) fn show(&self, tuple: Tuple) -> (Connection, Counters) {
        let data = self.data;
        (Connection { tuple, data }, self.counters)
    }

    /// Takes in a segment, which starts at its TCP header, or gives it back. The socket's
    /// lock need not be held.
    pub(crate) fn take(
        &mut self,
        seg: &Segment,
        skb: SkBuff,
        bh: &Bh,
    ) -> Result<(), (SpecialCase, SkBuff)> {
        if self.closed {
            return Err((SpecialCase::NoMemory, skb));
        }
        // What it takes to accept the segment is looked at when the socket gets it.
        let view = HostView {
            reserved: true,
            within_limit: self.undelivered.len() < MAX_UNDELIVERED,
            predicting: false,
            host_first: None,
            ooo_empty: true,
            now_secs: tcp::now_secs(),
            sack_or_loss: false,
        };
        if let Err(case) = receive::receive(&mut self.data, seg, &view) {
            return Err((case, skb));
        }
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += u64::from(seg.payload);
        match seg.payload {
            0 => skb.consume(bh),
            _ => self.undelivered.push(skb),
        }
        Ok(())
    }

    /// The same while a task owns the socket: not past frames that wait for it. Those would
    /// look old by what this one says.
    pub(crate) fn take_early(
        &mut self,
        lock: &BhLock<'_>,
        seg: &Segment,
        skb: SkBuff,
        bh: &Bh,
    ) -> Result<(), SkBuff> {
        if lock.has_backlog_left() {
            return Err(skb);
        }
        self.take(seg, skb, bh).map_err(|(_, skb)| skb)
    }

    /// Takes nothing more in, and drops what the socket does not have. The socket's lock need
    /// not be held.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.undelivered = FrameList::new();
    }

    /// What the socket does not have is lost. Under the socket lock.
    pub(crate) fn forget(&mut self, sk: LockedSock<'_>) {
        self.undelivered = FrameList::new();
        sk.load(&mut self.data);
        self.told = said(&self.data);
    }

    /// Gives the socket what it does not have of state and received data. The caller wakes
    /// its users, if that was something: with no lock held that they may need. Under the
    /// socket lock, nothing of the host stack below us.
    pub(crate) fn deliver(&mut self, sk: LockedSock<'_>) -> Delivered {
        let mut host = self.data;
        sk.load(&mut host);
        if said(&host) != self.told {
            // The host took a frame that had passed the target before the hand-over.
            let snd_nxt = self.data.snd_nxt;
            self.forget(sk);
            self.data.snd_nxt = snd_nxt;
            return Delivered::default();
        }
        let mut frames = 0;
        sk.store_rx(&self.data);
        while let Some(skb) = self.undelivered.pop() {
            if let Err(seq) = sk.queue_segment(skb) {
                // No memory: from here on it is lost.
                self.undelivered = FrameList::new();
                self.data.rcv_nxt = seq;
                let received = seq.dist_from(host.rcv_nxt);
                self.data.bytes_received = host.bytes_received + u64::from(received);
                sk.store_rx(&self.data);
                break;
            }
            frames += 1;
        }
        let action = RxAction {
            acked: self.data.snd_una.dist_from(host.snd_una),
            window_changed: self.data.snd_wnd != host.snd_wnd,
            ..RxAction::default()
        };
        let acked = action.acked != 0;
        if acked || action.window_changed {
            let larger = self.data.max_window > host.max_window;
            sk.ack_seen(&action, larger, host.packets_out == 0);
        }
        if acked {
            sk.acked(self.data.snd_una, host.snd_una);
            sk.load_acked(&mut self.data);
        }
        self.told = said(&self.data);
        sk.load_offer(&mut self.data);
        self.data.cached.mss = sk.mss();
        Delivered { frames, acked }
    }
}
