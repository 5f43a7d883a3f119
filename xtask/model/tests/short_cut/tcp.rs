// SPDX-License-Identifier: GPL-2.0

//! One end: a small TCP with byte queues, as the host stack behaves, without SACK, and with a
//! congestion window that does not move. What it knows of the connection is its numbers and
//! queues: that is what an upload leaves.

use std::collections::VecDeque;

use toe_model::logic::{
    ack::{self, pending, AckView},
    conn::ConnData,
    seq::Seq,
    window::{self, Offer, Offered, WindowView},
};

/// A segment on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub seq: Seq,
    pub ack: Seq,
    pub window: u16,
    pub fin: bool,
    pub data: Vec<u8>,
}

impl Frame {
    fn end(&self) -> Seq {
        self.seq.add(self.data.len() as u32 + u32::from(self.fin))
    }
}

/// A buffer of the receive queue: bytes that are unread in it, and what it is charged with.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub unread: u32,
    pub size: u32,
    /// A standing buffer: bytes that may be appended.
    pub tailroom: u32,
    pub standing: bool,
}

/// What happened that the tests look at.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Payload dropped for want of receive memory.
    pub no_memory: u64,
    /// Payload dropped because the ACK number of its frame is too old.
    pub too_old: u64,
    /// Frames with payload outside of the window.
    pub out_of_window: u64,
    pub retransmits: u64,
    pub probes: u64,
}

/// What never changes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rcvbuf: u32,
    pub sndbuf: u32,
    pub mss: u32,
    pub cwnd: u32,
}

#[derive(Clone, Debug)]
pub struct Tcp {
    pub limits: Limits,
    pub data: ConnData,
    pub write_seq: Seq,
    pub copied_seq: Seq,
    pub bytes_sent: u64,
    /// From `snd_una` on.
    pub send_queue: VecDeque<u8>,
    /// What was received and not read.
    pub unread: VecDeque<u8>,
    pub buffers: VecDeque<Buffer>,
    pub out_of_order: Vec<(Seq, Vec<u8>)>,
    /// Sizes of standing buffers that are kept.
    pub spares: Vec<u32>,
    pub pending: u8,
    /// The header's window that header prediction expects.
    pub predicted: Option<u16>,
    /// Sequence number of our FIN, and whether the other end's was received.
    pub fin: Option<Seq>,
    pub fin_received: bool,
    /// A task owns the socket: frames wait.
    pub owned: bool,
    pub backlog: VecDeque<Frame>,
    pub delegated: bool,
    /// The host stack processes frames, of a special case.
    pub legacy: bool,
    /// The right edge that the other end was told of last.
    pub told: Seq,
    pub reader_sleeps: bool,
    /// The reader is in the queue of the socket, where everybody wakes it.
    pub reader_in_host: bool,
    pub writer_sleeps: bool,
    pub counts: Counts,
}

impl Tcp {
    pub fn new(limits: Limits, data: ConnData) -> Self {
        Self {
            limits,
            write_seq: data.snd_nxt,
            copied_seq: data.rcv_nxt,
            data,
            bytes_sent: 0,
            send_queue: VecDeque::new(),
            unread: VecDeque::new(),
            buffers: VecDeque::new(),
            out_of_order: Vec::new(),
            spares: Vec::new(),
            pending: 0,
            predicted: None,
            fin: None,
            fin_received: false,
            owned: false,
            backlog: VecDeque::new(),
            delegated: true,
            legacy: false,
            told: data.rcv_wup.add(data.rcv_wnd),
            reader_sleeps: false,
            reader_in_host: true,
            writer_sleeps: false,
            counts: Counts::default(),
        }
    }

    /// The host stack goes on with nothing but numbers and queues.
    pub fn upload(&mut self) {
        let old = self.clone();
        let numbers = ConnData {
            constant: old.data.constant,
            delegated: old.data.delegated,
            ..ConnData::default()
        };
        *self = Self {
            write_seq: old.write_seq,
            copied_seq: old.copied_seq,
            bytes_sent: old.bytes_sent,
            send_queue: old.send_queue,
            unread: old.unread,
            buffers: old.buffers,
            out_of_order: old.out_of_order,
            pending: old.pending,
            predicted: old.predicted,
            fin: old.fin,
            fin_received: old.fin_received,
            owned: old.owned,
            backlog: old.backlog,
            delegated: false,
            told: old.told,
            writer_sleeps: old.writer_sleeps,
            counts: old.counts,
            ..Self::new(old.limits, numbers)
        };
        for buffer in &mut self.buffers {
            buffer.standing = false;
        }
    }

    // --- memory ---

    /// `sk_rmem_alloc`
    pub fn charged(&self) -> u32 {
        let queued: u32 = self.buffers.iter().map(|b| b.size).sum();
        let late: usize = self.out_of_order.iter().map(|(_, d)| 2 * d.len()).sum();
        queued + self.spares.iter().sum::<u32>() + late as u32
    }

    fn in_backlog(&self) -> u32 {
        let len: usize = self.backlog.iter().map(|f| 2 * f.data.len()).sum();
        len as u32
    }

    /// `__tcp_select_window()`, with half of the memory for payload.
    pub fn select_window(&self) -> u32 {
        let full = (self.limits.rcvbuf / 2) as i32;
        let free = self.limits.rcvbuf as i32 - (self.charged() + self.in_backlog()) as i32;
        let view = WindowView {
            mss: self.limits.mss as i32,
            free_space: free >> 1,
            allowed_space: full,
            full_space: full,
            rcv_ssthresh: full,
            rcv_wscale: self.data.constant.rcv_wscale,
            rcv_wnd: self.data.rcv_wnd as i32,
        };
        window::select(&view, false)
    }

    /// What `tcp_select_window()` would offer.
    pub fn would_offer(&self) -> Offer {
        let last = Offered {
            rcv_nxt: self.data.rcv_nxt,
            rcv_wup: self.data.rcv_wup,
            rcv_wnd: self.data.rcv_wnd,
            wscale: self.data.constant.rcv_wscale,
            shrink: false,
            signed: false,
        };
        window::offer(self.select_window(), &last)
    }

    /// The right edge that was offered.
    pub fn edge(&self) -> Seq {
        self.data.rcv_wup.add(self.data.rcv_wnd)
    }

    // --- transmit ---

    /// The sequence number after the last byte of data.
    fn data_end(&self) -> Seq {
        self.fin.unwrap_or(self.write_seq)
    }

    pub fn in_flight(&self) -> u32 {
        self.data.snd_nxt.dist_from(self.data.snd_una)
    }

    pub fn unsent(&self) -> u32 {
        self.write_seq.dist_from(self.data.snd_nxt)
    }

    /// Bytes that the send buffer has room for.
    pub fn send_room(&self) -> u32 {
        self.limits
            .sndbuf
            .saturating_sub(self.send_queue.len() as u32)
    }

    /// Takes away what is not sent.
    pub fn set_unsent_aside(&mut self) -> Vec<u8> {
        let sent = self.in_flight() as usize;
        self.write_seq = self.data.snd_nxt;
        self.send_queue.drain(sent..).collect()
    }

    pub fn put_unsent(&mut self, bytes: &[u8]) {
        self.send_queue.extend(bytes);
        self.write_seq = self.write_seq.add(bytes.len() as u32);
    }

    fn frame(&mut self, seq: Seq, data: Vec<u8>, fin: bool) -> Frame {
        let offer = self.would_offer();
        self.data.rcv_wnd = offer.wnd;
        self.data.rcv_wup = self.data.rcv_nxt;
        self.pending = 0;
        let window = u32::from(offer.field) << self.data.constant.rcv_wscale;
        self.told = self.data.rcv_nxt.add(window);
        Frame {
            seq,
            ack: self.data.rcv_nxt,
            window: offer.field,
            fin,
            data,
        }
    }

    /// `tcp_write_xmit()`.
    pub fn send(&mut self, out: &mut Vec<Frame>) {
        loop {
            let left = self.data_end().saturating_dist_from(self.data.snd_nxt);
            let len = left.min(self.limits.mss);
            if len == 0 || self.in_flight() >= self.limits.cwnd * self.limits.mss {
                break;
            }
            if self.data.snd_nxt.add(len).after(self.data.wnd_end()) {
                break;
            }
            self.send_next(len, out);
        }
        if self.fin == Some(self.data.snd_nxt) {
            let fin = self.frame(self.data.snd_nxt, Vec::new(), true);
            self.data.snd_nxt = self.data.snd_nxt.add(1);
            out.push(fin);
        }
    }

    fn send_next(&mut self, len: u32, out: &mut Vec<Frame>) {
        let from = self.in_flight() as usize;
        let bytes = self.send_queue.range(from..from + len as usize);
        let bytes = bytes.copied().collect();
        let frame = self.frame(self.data.snd_nxt, bytes, false);
        self.data.snd_nxt = self.data.snd_nxt.add(len);
        self.data.packets_out += 1;
        self.bytes_sent += u64::from(len);
        out.push(frame);
    }

    pub fn ack(&mut self) -> Frame {
        let seq = self.data.snd_nxt;
        self.frame(seq, Vec::new(), false)
    }

    /// The retransmission timer, if something is in flight, else that of the window probe.
    /// `false`: neither runs.
    pub fn timeout(&mut self, out: &mut Vec<Frame>) -> bool {
        let data = self.data_end().saturating_dist_from(self.data.snd_una);
        if self.in_flight() != 0 {
            self.counts.retransmits += 1;
            let len = data.min(self.in_flight()).min(self.limits.mss);
            let bytes = self.send_queue.range(..len as usize).copied().collect();
            let frame = self.frame(self.data.snd_una, bytes, len == 0);
            out.push(frame);
            return true;
        }
        if self.unsent() == 0 {
            return false;
        }
        // tcp_write_wakeup()
        self.counts.probes += 1;
        match self.data.send_window().min(data).min(self.limits.mss) {
            0 => {
                let seq = self.data.snd_una.sub(1);
                let probe = self.frame(seq, Vec::new(), false);
                out.push(probe);
            }
            len => self.send_next(len, out),
        }
        true
    }

    // --- receive ---

    /// A frame arrives. What is to be sent because of it goes to `out`.
    pub fn input(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        match self.owned {
            true => self.backlog.push_back(frame),
            false => self.process(frame, out),
        }
    }

    /// `release_sock()`.
    pub fn release(&mut self, out: &mut Vec<Frame>) {
        self.owned = false;
        while let Some(frame) = self.backlog.pop_front() {
            self.process(frame, out);
        }
    }

    /// `tcp_sequence()`, with the FIN counted as data.
    fn acceptable(&self, frame: &Frame) -> bool {
        let edge = self.data.rcv_nxt.add(self.data.receive_window());
        if frame.end().before(self.data.rcv_wup) || frame.seq.after(edge) {
            return false;
        }
        frame.end().at_or_before(edge) || self.unread.is_empty() || frame.fin
    }

    fn process(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        if !self.acceptable(&frame) {
            self.counts.out_of_window += u64::from(frame.seq.after(self.edge()));
            let ack = self.ack();
            return out.push(ack);
        }
        if !self.take_ack(&frame) {
            self.counts.too_old += u64::from(!frame.data.is_empty());
            let ack = self.ack();
            return out.push(ack);
        }
        if frame.seq != frame.end() {
            self.take_data(frame);
        }
        self.send(out);
        let view = AckView {
            rcv_nxt: self.data.rcv_nxt,
            rcv_wup: self.data.rcv_wup,
            copied_seq: self.copied_seq,
            rcv_wnd: self.data.rcv_wnd,
            rcv_mss: self.limits.mss,
            pending: self.pending,
        };
        if ack::due(&view, 1, || self.select_window(), || false).is_some_and(|due| due.now) {
            let ack = self.ack();
            out.push(ack);
        }
    }

    /// `tcp_ack()`. `false`: the frame is dropped.
    fn take_ack(&mut self, frame: &Frame) -> bool {
        let d = &mut self.data;
        let una = d.snd_una;
        if frame.ack.before(una) {
            let most = u64::from(d.max_window).min(d.bytes_acked) as u32;
            return !frame.ack.before(una.sub(most));
        }
        if frame.ack.after(d.snd_nxt) {
            return false;
        }
        let wnd = u32::from(frame.window) << d.constant.snd_wscale;
        let predicted = self.predicted == Some(frame.window)
            && frame.seq == d.rcv_nxt
            && frame.ack.after(una)
            && !frame.fin;
        if predicted {
            d.snd_wl1 = frame.seq;
        } else if frame.ack.after(una)
            || frame.seq.after(d.snd_wl1)
            || (frame.seq == d.snd_wl1 && (wnd > d.snd_wnd || wnd == 0))
        {
            d.snd_wl1 = frame.seq;
            d.snd_wnd = wnd;
            d.max_window = d.max_window.max(wnd);
            self.predicted = Some(frame.window);
        }
        let acked = frame.ack.dist_from(una);
        if acked != 0 {
            d.snd_una = frame.ack;
            d.bytes_acked += u64::from(acked);
            if d.all_acked() {
                d.packets_out = 0;
            }
            self.free_acked(acked);
        }
        true
    }

    /// `acked` bytes, a FIN perhaps among them, leave the retransmission queue.
    pub fn free_acked(&mut self, acked: u32) {
        let len = (acked as usize).min(self.send_queue.len());
        self.send_queue.drain(..len);
        self.write_space();
    }

    /// `sk_stream_write_space()`
    pub fn write_space(&mut self) {
        if self.send_queue.len() as u32 <= self.limits.sndbuf / 3 * 2 {
            self.writer_sleeps = false;
        }
    }

    /// `tcp_data_queue()`
    fn take_data(&mut self, frame: Frame) {
        self.pending |= pending::SCHED;
        let end = frame.end();
        if frame.seq.after(self.data.rcv_nxt) {
            self.pending |= pending::NOW;
            if !frame.data.is_empty() && !self.out_of_order.iter().any(|(s, _)| *s == frame.seq) {
                self.out_of_order.push((frame.seq, frame.data));
            }
            return;
        }
        if !end.after(self.data.rcv_nxt) {
            self.pending |= pending::NOW;
            return;
        }
        let skip = self.data.rcv_nxt.dist_from(frame.seq) as usize;
        let data = &frame.data[skip.min(frame.data.len())..];
        if !data.is_empty() {
            if self.data.receive_window() == 0 {
                self.counts.out_of_window += 1;
                self.pending |= pending::NOW;
                return;
            }
            // The right edge is rounded up with each ACK: it creeps, by up to 15 bytes of 60.
            let limit = self.limits.rcvbuf / 4 * 5;
            if self.charged() > limit && !self.unread.is_empty() {
                self.counts.no_memory += 1;
                self.pending |= pending::NOW;
                return;
            }
            self.append(data);
        }
        if frame.fin {
            self.fin_received = true;
            self.data.rcv_nxt = self.data.rcv_nxt.add(1);
            self.data.bytes_received += 1;
            self.pending |= pending::NOW;
        }
        self.take_out_of_order();
        self.wake_reader(false);
    }

    fn append(&mut self, data: &[u8]) {
        let len = data.len() as u32;
        self.unread.extend(data);
        self.buffers.push_back(Buffer {
            unread: len,
            size: 2 * len,
            tailroom: 0,
            standing: false,
        });
        self.data.rcv_nxt = self.data.rcv_nxt.add(len);
        self.data.bytes_received += u64::from(len);
    }

    fn take_out_of_order(&mut self) {
        while let Some(i) = self
            .out_of_order
            .iter()
            .position(|(seq, _)| seq.at_or_before(self.data.rcv_nxt))
        {
            let (seq, data) = self.out_of_order.swap_remove(i);
            let skip = self.data.rcv_nxt.dist_from(seq) as usize;
            if skip < data.len() {
                self.append(&data[skip..]);
            }
            self.pending |= pending::NOW;
        }
    }

    /// `sk_data_ready()`. `short`: by the short cut, which also wakes a reader that sleeps
    /// elsewhere than in the socket's queue; so do the target's frames.
    pub fn wake_reader(&mut self, short: bool) {
        if self.reader_in_host || short || !self.legacy {
            self.reader_sleeps = false;
        }
    }

    // --- reading ---

    /// The reader takes up to `most` bytes. Standing buffers that it empties are returned.
    pub fn read(&mut self, most: usize) -> (Vec<u8>, Vec<u32>) {
        let len = most.min(self.unread.len());
        let bytes: Vec<u8> = self.unread.drain(..len).collect();
        self.copied_seq = self.copied_seq.add(len as u32);
        let (mut left, mut emptied) = (len as u32, Vec::new());
        while left != 0 {
            let first = &mut self.buffers[0];
            let n = left.min(first.unread);
            first.unread -= n;
            left -= n;
            if first.unread == 0 {
                let done = self.buffers.pop_front();
                emptied.extend(done.filter(|b| b.standing).map(|b| b.size));
            }
        }
        (bytes, emptied)
    }

    /// Whether `__tcp_cleanup_rbuf()` would acknowledge.
    pub fn read_due(&self) -> bool {
        let view = AckView {
            rcv_nxt: self.data.rcv_nxt,
            rcv_wup: self.data.rcv_wup,
            copied_seq: self.copied_seq,
            rcv_wnd: self.data.rcv_wnd,
            rcv_mss: self.limits.mss,
            pending: self.pending,
        };
        ack::read_due(
            &view,
            self.limits.rcvbuf / 2,
            || false,
            || self.select_window(),
        )
    }
}
