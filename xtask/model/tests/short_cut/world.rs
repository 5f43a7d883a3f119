// SPDX-License-Identifier: GPL-2.0

//! Two ends, the wire between them, a writer and a reader at each, and steps that are drawn.

use std::collections::VecDeque;

use crate::{
    short_cut::{Source, Why},
    tcp::{Frame, Limits, Tcp},
};
use toe_model::logic::{conn::ConnData, seq::Seq};

pub type Fail = String;

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// Only the direction of the bytes has to be clear.
    OneWay,
    /// Bytes of a call do not wait for those in the send queue.
    Overtake,
    /// Bytes do not bring the window.
    StaleWindow,
    /// Send queues do not go on when bytes have passed.
    NotResumed,
    /// The window is the free space, whatever was promised.
    EdgeFromSpace,
    /// The window is not looked at.
    NoWindow,
    /// Header prediction is left as it is.
    Predicted,
    /// A read sends no window update.
    SilentReads,
    /// Standing buffers are large from the first byte on, whatever is promised.
    LargeBuffers,
    /// Standing buffers that were read are kept, six of them.
    KeptSpares,
    /// A writer that finds no room sleeps until a read has made three spares.
    WakesBySpares,
    /// A reader sleeps where frames of the host stack do not wake it.
    ModuleSleep,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::OneWay,
        Self::Overtake,
        Self::StaleWindow,
        Self::NotResumed,
        Self::EdgeFromSpace,
        Self::NoWindow,
        Self::Predicted,
        Self::SilentReads,
        Self::LargeBuffers,
        Self::KeptSpares,
        Self::WakesBySpares,
        Self::ModuleSleep,
    ];
}

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub seed: u64,
    /// Frames are lost.
    pub lossy: bool,
    /// No write takes the short cut.
    pub frames_only: bool,
    /// Both ends write all before they read.
    pub write_first: bool,
    /// Taps, uploads and owners come and go.
    pub events: bool,
    pub faults: &'static [Fault],
    /// By `rust/logic/short_cut.rs`.
    pub first_stage: bool,
    /// Windows and memory are checked after each step, not only bytes and progress.
    pub strict: bool,
}

impl Config {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            lossy: false,
            frames_only: false,
            write_first: false,
            events: true,
            faults: &[],
            first_stage: false,
            strict: true,
        }
    }
}

/// A source of numbers (splitmix64).
pub struct Rng(u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// The byte at a position of what the end `of` writes.
pub fn byte(of: usize, at: u64) -> u8 {
    let x = (at / 5 + 77 * of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 40) as u8 ^ at as u8
}

/// The programs of an end.
#[derive(Clone, Copy, Default, Debug)]
pub struct Program {
    pub total: u64,
    pub written: u64,
    /// Bytes of the call that are left.
    pub call: u32,
    pub read: u64,
    pub paused: bool,
    pub closed: bool,
    /// Sleeps until there are three spares (a fault).
    pub wants_spares: bool,
}

/// What a run came to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Outcome {
    /// Bytes and sections of the short cut, and sections that moved a send queue.
    pub bytes: u64,
    pub passed: u64,
    pub pulled: u64,
    pub frames: u64,
    /// Comparisons with frames.
    pub compared: u64,
    /// Timers that had to help in clear weather.
    pub stalls: u64,
    pub no_memory: u64,
    pub too_old: u64,
    pub out_of_window: u64,
    /// Entries from frames: ACKs that were taken on the spot.
    pub settled: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.passed += other.passed;
        self.pulled += other.pulled;
        self.frames += other.frames;
        self.compared += other.compared;
        self.stalls += other.stalls;
        self.no_memory += other.no_memory;
        self.too_old += other.too_old;
        self.out_of_window += other.out_of_window;
        self.settled += other.settled;
    }
}

pub struct World {
    pub config: Config,
    pub rng: Rng,
    pub ends: [Tcp; 2],
    /// What is on its way to an end.
    pub wire: [VecDeque<Frame>; 2],
    pub programs: [Program; 2],
    pub tapped: bool,
    pub edges: [Seq; 2],
    /// Bytes have passed that no window allowed.
    pub beyond: bool,
    /// Timers that have fired.
    pub timers: u64,
    pub out: Outcome,
}

impl World {
    pub fn new(config: Config) -> Self {
        let mut rng = Rng(config.seed);
        let scale = [rng.below(5) as u8, rng.below(5) as u8];
        let start = [0, 1].map(|_| Seq(rng.next() as u32 | rng.pick(&[0, 0xffff_0000])));
        let limits = [0, 1].map(|_| Limits {
            rcvbuf: rng.pick(&[2000, 4096, 8192, 16384]),
            sndbuf: rng.pick(&[500, 2000, 6000]),
            mss: rng.pick(&[60, 100, 200]),
            cwnd: rng.pick(&[2, 10]),
        });
        let ends = [0, 1].map(|i| {
            let mut data = ConnData::default();
            data.constant.rcv_wscale = scale[i];
            data.constant.snd_wscale = scale[1 - i];
            data.snd_una = start[i];
            data.snd_nxt = start[i];
            data.rcv_nxt = start[1 - i];
            data.rcv_wup = start[1 - i];
            data.rcv_wnd = (limits[i].rcvbuf / 2) & !15;
            data.snd_wnd = (limits[1 - i].rcvbuf / 2) & !15;
            data.max_window = data.snd_wnd;
            data.snd_wl1 = start[1 - i];
            Tcp::new(limits[i], data)
        });
        let mut programs = [Program::default(); 2];
        for (i, program) in programs.iter_mut().enumerate() {
            program.total = match config.write_first {
                // What window and send buffer hold, less what the writer is not woken for.
                true => {
                    let window = ends[i].data.snd_wnd / 8 * rng.pick(&[2, 4, 6]);
                    u64::from(window + limits[i].sndbuf / 3 * 2)
                }
                false => rng.pick(&[0, 100, 5_000, 40_000]),
            };
        }
        Self {
            beyond: false,
            timers: 0,
            edges: [ends[0].edge(), ends[1].edge()],
            config,
            rng,
            ends,
            wire: Default::default(),
            programs,
            tapped: false,
            out: Outcome::default(),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.config.faults.contains(&fault)
    }

    /// Frames of the end `from` go on the wire.
    pub fn transmit(&mut self, from: usize, frames: Vec<Frame>) {
        self.out.frames += frames.len() as u64;
        self.wire[1 - from].extend(frames);
    }

    // --- programs ---

    /// `sendmsg()`, as far as it gets. Returns whether anything was done.
    fn write(&mut self, end: usize) -> bool {
        if self.ends[end].writer_sleeps || self.ends[end].owned {
            return false;
        }
        let program = self.programs[end];
        if program.call == 0 {
            let left = program.total - program.written;
            if left == 0 {
                return self.close(end);
            }
            let size = self.rng.pick(&[1, 64, 300, 1000, 5000]);
            self.programs[end].call = size.min(left) as u32;
        }
        if !self.config.frames_only && !self.rng.one_in(3) {
            while self.programs[end].call != 0 {
                match self.section(end, Source::Call, self.programs[end].call) {
                    Ok(n) => self.wrote(end, n),
                    Err(Why::Memory | Why::Window) if self.has(Fault::WakesBySpares) => {
                        self.programs[end].wants_spares = true;
                        self.ends[end].writer_sleeps = true;
                        return true;
                    }
                    Err(_) => break,
                }
            }
        }
        self.write_frames(end);
        true
    }

    fn wrote(&mut self, end: usize, n: u32) {
        self.programs[end].written += u64::from(n);
        self.programs[end].call -= n;
    }

    /// What is left of the call goes into the send queue.
    fn write_frames(&mut self, end: usize) {
        let n = self.programs[end].call.min(self.ends[end].send_room());
        let at = self.programs[end].written;
        let bytes: Vec<u8> = (at..at + u64::from(n)).map(|at| byte(end, at)).collect();
        self.ends[end].put_unsent(&bytes);
        self.wrote(end, n);
        let mut frames = Vec::new();
        self.ends[end].send(&mut frames);
        self.transmit(end, frames);
        if self.programs[end].call != 0 {
            // Room may have come with what was sent, and then nobody wakes.
            self.ends[end].writer_sleeps = self.ends[end].send_room() == 0;
        }
    }

    /// Nothing is left to write: FIN.
    fn close(&mut self, end: usize) -> bool {
        let early = self.config.events && !self.rng.one_in(50);
        if self.programs[end].closed || early {
            return false;
        }
        self.programs[end].closed = true;
        let tcp = &mut self.ends[end];
        tcp.upload();
        tcp.fin = Some(tcp.write_seq);
        tcp.write_seq = tcp.write_seq.add(1);
        let mut frames = Vec::new();
        tcp.send(&mut frames);
        self.transmit(end, frames);
        true
    }

    /// `recvmsg()`, or the reader goes to sleep. Returns whether anything was read.
    fn read(&mut self, end: usize) -> Result<bool, Fail> {
        if self.programs[end].paused || self.ends[end].owned || self.ends[end].reader_sleeps {
            return Ok(false);
        }
        if self.config.write_first && self.programs[end].written < self.programs[end].total {
            return Ok(false);
        }
        if self.ends[end].unread.is_empty() {
            self.ends[end].reader_sleeps = true;
            self.ends[end].reader_in_host =
                !(self.has(Fault::ModuleSleep) && self.ends[end].delegated);
            return Ok(false);
        }
        let most = self.rng.pick(&[1, 64, 500, 3000, 100_000]);
        let (bytes, emptied) = self.ends[end].read(most);
        for got in bytes {
            if got != byte(1 - end, self.programs[end].read) {
                return Err(format!(
                    "wrong byte at {} of end {end}",
                    self.programs[end].read
                ));
            }
            self.programs[end].read += 1;
        }
        if self.programs[end].read > self.programs[1 - end].written {
            return Err("more was read than written".into());
        }
        self.recycle(end, emptied);
        self.acknowledge_read(end);
        Ok(true)
    }

    // --- the world ---

    fn deliver(&mut self, to: usize) -> bool {
        let Some(frame) = self.wire[to].pop_front() else {
            return false;
        };
        if self.config.lossy && self.rng.one_in(12) {
            return true;
        }
        let mut out = Vec::new();
        self.ends[to].input(frame, &mut out);
        self.transmit(to, out);
        true
    }

    fn release(&mut self, end: usize) -> bool {
        if !self.ends[end].owned {
            return false;
        }
        let mut out = Vec::new();
        self.ends[end].release(&mut out);
        self.transmit(end, out);
        true
    }

    fn delayed_ack(&mut self, end: usize) -> bool {
        let tcp = &mut self.ends[end];
        if tcp.pending == 0 || tcp.owned {
            return false;
        }
        let ack = tcp.ack();
        self.transmit(end, vec![ack]);
        true
    }

    fn timeout(&mut self, end: usize) -> bool {
        let mut out = Vec::new();
        let fired = !self.ends[end].owned && self.ends[end].timeout(&mut out);
        self.timers += u64::from(fired);
        self.transmit(end, out);
        fired
    }

    fn event(&mut self, end: usize) {
        match self.rng.below(7) {
            6 => self.ends[end].legacy = self.rng.one_in(2),
            0 => self.tapped = !self.tapped && self.rng.one_in(2),
            1 if self.ends[end].delegated => self.ends[end].upload(),
            2 if self.programs[end].closed => {}
            1 | 2 => self.ends[end].delegated = true,
            3 => self.ends[end].owned = true,
            4 => self.programs[end].paused = self.rng.one_in(2),
            _ => {
                self.release(end);
            }
        }
    }

    fn step(&mut self) -> Result<(), Fail> {
        let end = self.rng.below(2) as usize;
        match self.rng.below(40) {
            0..12 => drop(self.write(end)),
            12..20 => drop(self.read(end)?),
            20..34 => drop(self.deliver(end)),
            34..36 => drop(self.release(end)),
            36 => drop(self.delayed_ack(end)),
            37 if self.config.lossy => drop(self.timeout(end)),
            38 if self.config.events => self.event(end),
            _ => {}
        }
        self.check()
    }

    /// What holds after each step.
    fn check(&mut self) -> Result<(), Fail> {
        for end in [0, 1] {
            self.check_numbers(end)?;
            if self.config.strict {
                self.check_memory(end)?;
                self.check_window(end)?;
                self.check_sending(end)?;
            }
        }
        Ok(())
    }

    fn check_numbers(&self, end: usize) -> Result<(), Fail> {
        let tcp = &self.ends[end];
        let unread = tcp.unread.len() as u32 + u32::from(tcp.fin_received);
        if tcp.data.rcv_nxt.dist_from(tcp.copied_seq) != unread {
            return Err(format!("end {end}: not as much is unread as numbers say"));
        }
        let peer = &self.ends[1 - end].data;
        match tcp.data.rcv_nxt.between(peer.snd_una, peer.snd_nxt) {
            true => Ok(()),
            false => Err(format!("end {end}: received what was not sent")),
        }
    }

    /// An end that has something to send, and a window for it, has sent it, or waits for an ACK.
    fn check_sending(&self, end: usize) -> Result<(), Fail> {
        let tcp = &self.ends[end];
        let next = tcp.unsent().min(tcp.limits.mss);
        match next != 0 && tcp.in_flight() == 0 && tcp.data.send_window() >= next {
            true => Err(format!("end {end}: waits for nothing: {self:?}")),
            false => Ok(()),
        }
    }

    fn check_memory(&self, end: usize) -> Result<(), Fail> {
        let tcp = &self.ends[end];
        if tcp.charged() > tcp.limits.rcvbuf / 4 * 5 + 2 * tcp.limits.mss {
            return Err(format!("end {end}: {} bytes charged", tcp.charged()));
        }
        if tcp.send_queue.len() as u32 > tcp.limits.sndbuf {
            return Err(format!("end {end}: send queue too long"));
        }
        let buffers: u32 = tcp.buffers.iter().map(|b| b.unread).sum();
        match buffers == tcp.unread.len() as u32 && tcp.out_of_order.len() < 100 {
            true => Ok(()),
            false => Err(format!("end {end}: buffers do not hold what is unread")),
        }
    }

    fn check_window(&mut self, end: usize) -> Result<(), Fail> {
        if self.beyond {
            return Err("bytes beyond the window".into());
        }
        let (tcp, peer) = (&self.ends[end], &self.ends[1 - end]);
        let rcv_nxt = tcp.data.rcv_nxt;
        let edge = rcv_nxt.add(tcp.data.receive_window());
        let last = std::mem::replace(&mut self.edges[end], edge);
        if edge.before(last) && last.after(rcv_nxt) {
            return Err(format!("end {end}: its right edge shrinks"));
        }
        let known = peer.data.wnd_end();
        if known.after(edge) && known.after(peer.data.snd_nxt) {
            return Err(format!("end {end}: the other has a larger window"));
        }
        let quiet = self.wire[1 - end].is_empty() && peer.backlog.is_empty();
        match quiet && self.timers == 0 && !self.config.lossy && known != tcp.told {
            true => Err(format!(
                "end {end}: the other does not know its window: {self:?}"
            )),
            false => Ok(()),
        }
    }

    /// Anything that needs no timer. Returns whether something was done.
    fn round(&mut self) -> Result<bool, Fail> {
        let mut done = false;
        for end in [0, 1] {
            done |= self.release(end);
            done |= self.write(end);
            done |= self.deliver(end);
            done |= self.read(end)?;
            self.check()?;
        }
        Ok(done)
    }

    fn finished(&self) -> bool {
        let all = (0..2).all(|end| {
            let (program, tcp) = (&self.programs[end], &self.ends[end]);
            program.read == self.programs[1 - end].total
                && program.closed
                && tcp.fin_received
                && tcp.data.all_acked()
        });
        all && self.wire.iter().all(VecDeque::is_empty)
    }

    /// Both ends read until all is through.
    fn finish(&mut self) -> Result<(), Fail> {
        self.tapped = false;
        self.config.events = false;
        let mut patience = 0;
        for program in &mut self.programs {
            program.paused = false;
        }
        for tcp in &mut self.ends {
            tcp.legacy = false;
        }
        let lossy = std::mem::take(&mut self.config.lossy);
        self.timers += u64::from(lossy);
        while !self.finished() {
            let before = self.progress();
            if self.round()? || self.delayed_ack(0) || self.delayed_ack(1) {
                patience = match self.progress() == before {
                    true => patience + 1,
                    false => 0,
                };
            } else {
                self.out.stalls += u64::from(!lossy);
                let fired = [self.timeout(0), self.timeout(1)];
                patience += 100;
                if fired == [false, false] {
                    return Err(format!("deadlock: no timer runs: {self:?}"));
                }
            }
            if patience > 20_000 {
                return Err(format!("deadlock, whatever the timers do: {self:?}"));
            }
        }
        Ok(())
    }

    fn progress(&self) -> u64 {
        let read: u64 = self.programs.iter().map(|p| p.read + p.written).sum();
        let fins = self.ends.iter().filter(|t| t.fin_received).count();
        read + fins as u64
    }

    /// All of a run.
    pub fn run(mut self) -> Result<Outcome, Fail> {
        let steps = 200 + self.rng.below(3000);
        for _ in 0..steps {
            self.step()?;
        }
        self.finish()?;
        for (end, tcp) in self.ends.iter().enumerate() {
            let total = self.programs[end].total;
            let acked = tcp.data.bytes_acked == total + 1;
            let received = self.ends[1 - end].data.bytes_received == total + 1;
            if !acked || !received || tcp.bytes_sent != total {
                return Err(format!("end {end}: counters are not {total}: {tcp:?}"));
            }
            self.out.no_memory += tcp.counts.no_memory;
            self.out.too_old += tcp.counts.too_old;
            self.out.out_of_window += tcp.counts.out_of_window;
        }
        Ok(self.out)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (tcp, program) in self.ends.iter().zip(&self.programs) {
            let d = &tcp.data;
            writeln!(
                f,
                "\n una {} nxt {} write {} wnd {} | rcv_nxt {} window {} unread {} charged {} of {} \
                 spares {:?}, asleep {} {}, delegated {}, {:?}",
                d.snd_una.0,
                d.snd_nxt.0,
                tcp.write_seq.0,
                d.snd_wnd,
                d.rcv_nxt.0,
                d.receive_window(),
                tcp.unread.len(),
                tcp.charged(),
                tcp.limits.rcvbuf,
                tcp.spares,
                tcp.writer_sleeps,
                tcp.reader_sleeps,
                tcp.delegated,
                program,
            )?;
        }
        Ok(())
    }
}
