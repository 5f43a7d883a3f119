// SPDX-License-Identifier: GPL-2.0

//! What a module would do by the decisions of `short_cut.rs`: a section under both locks, and
//! what follows a read. Each section is compared with frames.

use crate::{
    short_cut::{after_read, clear, keeps, pass, AfterRead, End, Settled, Source, Why},
    tcp::{Buffer, Frame, Tcp},
    world::{byte, Fail, Fault, World},
};
use toe_model::logic::short_cut::{self as first, buffer_size, room, Memory, Room, Sizes};

/// Standing buffers, an eighth of what the module would have.
const SIZES: Sizes = Sizes {
    small: 256,
    large: 2048,
    overhead: 0,
};

/// Spares of the prototype.
const PROTOTYPE_SPARES: usize = 6;

/// Both ends after the same bytes as frames, on a wire without delay.
fn by_frames(ends: &[Tcp; 2], from: usize, room: Room, source: Source, bytes: &[u8]) -> [Tcp; 2] {
    let (mut a, mut b) = (ends[from].clone(), ends[1 - from].clone());
    let deliver = |tcp: &mut Tcp, frame: Frame| tcp.input(frame, &mut Vec::new());
    // One frame, whatever its size, and nothing else that is not sent yet.
    a.limits.mss = a.limits.mss.max(bytes.len() as u32);
    a.limits.cwnd = 2;
    let (a_rest, b_rest) = (a.set_unsent_aside(), b.set_unsent_aside());
    let ack = a.ack();
    deliver(&mut b, ack);
    let known = a.data.wnd_end();
    let ack = b.ack();
    deliver(&mut a, ack);
    if room.offer.is_none() {
        // What is known of the window is enough.
        assert!(!a.data.wnd_end().before(known));
    }
    a.put_unsent(bytes);
    let mut frames = Vec::new();
    a.send(&mut frames);
    for frame in frames {
        deliver(&mut b, frame);
    }
    let ack = b.ack();
    deliver(&mut a, ack);
    let passed = match source {
        Source::Call => 0,
        Source::Queue => bytes.len(),
    };
    a.put_unsent(&a_rest[passed..]);
    b.put_unsent(&b_rest);
    [a, b]
}

/// Whether bytes may pass in the first stage.
fn first_clear(from: &End<'_>, to: &End<'_>) -> Result<(), Why> {
    let [from, to] = [from, to].map(|end| first::End::of(end.data, end.write_seq));
    first::clear(&from, &to).map_err(|why| match why {
        first::Why::Queued => Why::Queued,
        _ => Why::OnTheWay,
    })
}

impl World {
    fn view(&self, end: usize) -> End<'_> {
        let tcp = &self.ends[end];
        End {
            data: &tcp.data,
            write_seq: tcp.write_seq,
            owned: tcp.owned,
            plain: tcp.delegated && !tcp.legacy && tcp.fin.is_none() && !tcp.fin_received,
            seen: self.tapped,
        }
    }

    fn is_clear(&self, from: usize, source: Source) -> Result<(), Why> {
        let (mut a, mut b) = (self.view(from), self.view(1 - from));
        let (a_data, mut b_data) = (*a.data, *b.data);
        if self.has(Fault::OneWay) {
            b_data.snd_nxt = a_data.rcv_nxt;
        }
        if self.has(Fault::Overtake) && source == Source::Call {
            a.write_seq = a_data.snd_nxt;
        }
        (a.data, b.data) = (&a_data, &b_data);
        clear(&a, &b, source)?;
        if !self.config.first_stage {
            return Ok(());
        }
        match source {
            Source::Call => first_clear(&a, &b),
            Source::Queue => Err(Why::Queued),
        }
    }

    /// One section under both locks: up to `wanted` bytes from the end `from`.
    pub fn section(&mut self, from: usize, source: Source, wanted: u32) -> Result<u32, Why> {
        self.is_clear(from, source)?;
        let to = 1 - from;
        let mut room = {
            let to = &self.ends[to];
            let (end, largest) = (first::End::of(&to.data, to.write_seq), to.limits.rcvbuf / 2);
            room(&end, wanted, largest, || to.would_offer())
        };
        if self.has(Fault::NoWindow) {
            room.bytes = wanted;
        }
        let window = match room.offer {
            Some(offer) => offer.wnd,
            None => self.ends[to].data.receive_window(),
        };
        self.beyond |= room.bytes > window;
        if room.bytes == 0 {
            return Err(Why::Window);
        }
        let standing = source == Source::Call;
        let before =
            match self.config.faults.is_empty() && !self.config.first_stage && self.rng.one_in(4) {
                true => Some(self.ends.clone()),
                false => None,
            };
        room.bytes = self.find_memory(to, room, standing)?;
        let bytes = self.take_bytes(from, source, room.bytes);
        self.move_numbers(from, source, room);
        self.put_bytes(to, &bytes, standing);
        if let Some(before) = before {
            let reference = by_frames(&before, from, room, source, &bytes);
            self.compare(from, &reference)
                .expect("both ends say what frames would have made them say");
            self.out.compared += 1;
        }
        if !self.has(Fault::NotResumed) && !self.config.first_stage {
            for end in [from, to] {
                let mut frames = Vec::new();
                self.ends[end].send(&mut frames);
                self.transmit(end, frames);
            }
        }
        self.out.passed += 1;
        self.out.pulled += u64::from(source == Source::Queue);
        self.out.bytes += u64::from(room.bytes);
        Ok(room.bytes)
    }

    /// How many of the bytes there is memory for, at the tail of the receive queue or in a new
    /// buffer there.
    fn find_memory(&mut self, to: usize, room: Room, standing: bool) -> Result<u32, Why> {
        let all = self.has(Fault::LargeBuffers) || self.has(Fault::KeptSpares);
        let tcp = &mut self.ends[to];
        if !standing {
            // The buffer comes along.
            return match tcp.charged() + 2 * room.bytes > tcp.limits.rcvbuf {
                true => Err(Why::Memory),
                false => Ok(room.bytes),
            };
        }
        if let Some(last) = tcp.buffers.back().filter(|b| b.standing && b.tailroom != 0) {
            return Ok(room.bytes.min(last.tailroom));
        }
        let size = match tcp.spares.pop() {
            Some(size) => size,
            None if all && tcp.charged() <= tcp.limits.rcvbuf => SIZES.large,
            None if all => return Err(Why::Memory),
            None => {
                let window = room.offer.map_or(tcp.data.receive_window(), |o| o.wnd);
                let memory = Memory {
                    limit: tcp.limits.rcvbuf,
                    charged: tcp.charged(),
                    promised: 2 * window.saturating_sub(room.bytes),
                };
                let unread = tcp.unread.len() as u32;
                let size = buffer_size(room.bytes, unread, &memory, &SIZES);
                size.ok_or(Why::Memory)?
            }
        };
        tcp.buffers.push_back(Buffer {
            unread: 0,
            size,
            tailroom: size,
            standing: true,
        });
        Ok(room.bytes.min(size))
    }

    fn take_bytes(&mut self, from: usize, source: Source, len: u32) -> Vec<u8> {
        let (tcp, program) = (&self.ends[from], &self.programs[from]);
        match source {
            Source::Call => (program.written..program.written + u64::from(len))
                .map(|at| byte(from, at))
                .collect(),
            Source::Queue => {
                // After what was sent and is not acknowledged yet.
                let at = tcp.in_flight() as usize;
                tcp.send_queue
                    .range(at..at + len as usize)
                    .copied()
                    .collect()
            }
        }
    }

    /// Both ends say that the bytes have passed.
    fn move_numbers(&mut self, from: usize, source: Source, room: Room) {
        let first_stage = self.config.first_stage;
        let keep = self.has(Fault::Predicted);
        let stale = self.has(Fault::StaleWindow) && room.offer.is_none();
        let space = self.has(Fault::EdgeFromSpace);
        let [first, second] = &mut self.ends;
        let (a, b) = match from {
            0 => (first, second),
            _ => (second, first),
        };
        let edge = a.data.wnd_end();
        let settled = match first_stage {
            true => {
                let bytes = room.bytes;
                let mut from = first::End::of(&a.data, a.write_seq);
                let mut to = first::End::of(&b.data, b.write_seq);
                first::pass(&mut from, &mut to, room);
                from.store(&mut a.data, bytes, 0);
                to.store(&mut b.data, 0, bytes);
                Settled::default()
            }
            false => pass(&mut a.data, &mut b.data, room),
        };
        self.out.settled += u64::from(settled.from != 0) + u64::from(settled.to != 0);
        let moved = match source {
            Source::Call => {
                a.write_seq = a.write_seq.add(room.bytes);
                0
            }
            Source::Queue => room.bytes,
        };
        a.bytes_sent += u64::from(room.bytes);
        a.free_acked(settled.from + moved);
        b.free_acked(settled.to);
        b.pending = 0;
        if !first_stage {
            a.pending = 0;
        }
        if !keep {
            (a.predicted, b.predicted) = (None, None);
        }
        if stale {
            a.data.snd_wnd = edge.saturating_dist_from(a.data.snd_una);
        }
        if space {
            b.data.rcv_wnd = b.limits.rcvbuf.saturating_sub(b.charged()) / 2;
            a.data.snd_wnd = b.data.rcv_wnd;
        }
        b.told = b.edge();
        a.told = a.edge();
    }

    fn put_bytes(&mut self, to: usize, bytes: &[u8], standing: bool) {
        let tcp = &mut self.ends[to];
        let len = bytes.len() as u32;
        tcp.unread.extend(bytes);
        match tcp.buffers.back_mut().filter(|_| standing) {
            Some(last) => {
                last.unread += len;
                last.tailroom -= len;
            }
            None => tcp.buffers.push_back(Buffer {
                unread: len,
                size: 2 * len,
                tailroom: 0,
                standing: false,
            }),
        }
        tcp.wake_reader(true);
    }

    /// The ends say what frames would have made them say; the window may be smaller, but no
    /// less than it was.
    fn compare(&self, from: usize, reference: &[Tcp; 2]) -> Result<(), Fail> {
        let (a, b) = (&self.ends[from], &self.ends[1 - from]);
        let [x, y] = reference;
        for (end, want) in [(a, x), (b, y)] {
            let (d, w) = (&end.data, &want.data);
            let fields = [
                ("snd_una", d.snd_una == w.snd_una),
                ("snd_nxt", d.snd_nxt == w.snd_nxt),
                ("write_seq", end.write_seq == want.write_seq),
                ("rcv_nxt", d.rcv_nxt == w.rcv_nxt),
                ("rcv_wup", d.rcv_wup == w.rcv_wup),
                ("copied_seq", end.copied_seq == want.copied_seq),
                ("bytes_acked", d.bytes_acked == w.bytes_acked),
                ("bytes_received", d.bytes_received == w.bytes_received),
                ("bytes_sent", end.bytes_sent == want.bytes_sent),
                ("packets_out", d.packets_out == w.packets_out),
                ("snd_wl1", d.snd_wl1 == w.snd_wl1),
                ("right edge", end.edge().at_or_before(want.edge())),
                ("window", d.wnd_end().at_or_before(w.wnd_end())),
                ("queue", end.unread == want.unread),
                ("send queue", end.send_queue == want.send_queue),
                ("pending", end.pending == 0),
            ];
            if let Some((name, _)) = fields.iter().find(|(_, same)| !same) {
                return Err(format!("{name}: {end:?}\n frames: {want:?}"));
            }
        }
        Ok(())
    }
    /// Standing buffers were read.
    pub fn recycle(&mut self, end: usize, emptied: Vec<u32>) {
        let prototype = self.has(Fault::KeptSpares) || self.has(Fault::WakesBySpares);
        let tcp = &mut self.ends[end];
        for size in emptied {
            let memory = Memory {
                limit: tcp.limits.rcvbuf,
                charged: tcp.charged(),
                promised: 0,
            };
            let keep = match prototype {
                true => tcp.spares.len() < PROTOTYPE_SPARES,
                false => keeps(tcp.spares.len(), size, &memory),
            };
            if keep && tcp.delegated {
                tcp.spares.push(size);
            }
        }
        let spares = tcp.spares.len();
        if self.programs[1 - end].wants_spares && spares >= PROTOTYPE_SPARES / 2 {
            self.programs[1 - end].wants_spares = false;
            self.ends[1 - end].writer_sleeps = false;
        }
    }

    pub fn acknowledge_read(&mut self, end: usize) {
        if self.has(Fault::SilentReads) {
            return;
        }
        let due = self.ends[end].read_due();
        let mut next = after_read(due, &self.view(end), &self.view(1 - end));
        if next == AfterRead::Pull && !self.config.frames_only {
            let unsent = self.ends[1 - end].unsent();
            if self.section(1 - end, Source::Queue, unsent).is_ok() {
                return;
            }
        }
        if next == AfterRead::Pull {
            next = AfterRead::Ack;
        }
        if next == AfterRead::Ack {
            let ack = self.ends[end].ack();
            self.transmit(end, vec![ack]);
        }
    }
}
