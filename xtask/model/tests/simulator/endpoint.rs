// SPDX-License-Identifier: GPL-2.0

//! A host with an offload target: one connection that is either in the
//! reference host stack (`host.rs`) or delegated to the engines under test, or
//! in legacy mode between the two (`legacy.rs`). Both owners work on the same
//! `ConnData` and the same queues, as in the module.

use std::collections::VecDeque;

use toe_model::logic::{
    ack::{self, pending, AckView},
    conn::{ConnCached, ConnConst, ConnData, ConnDelegated},
    legacy::Budget,
    policy::Limits,
    rcv_mss::{DataSegment, RcvMss},
    reason::{SpecialCase, UploadReason},
    receive::{receive, HostView},
    seq::Seq,
    state::{Mode, ModeEvent},
    template::{HeaderTemplate, TemplateParams, TxFields},
    transmit::{self, SendVerdict, SendView, WaitReason, NAGLE_PUSH},
    tuple::Tuple,
    window::{self, Offered, WindowView},
    wire::{self, flags, FrameError, Segment},
};

use crate::host::Host;
use crate::legacy::{End, Stay};
use crate::link::{checksum_ok, complete_checksum, Rng, Time};

pub const RTO_MIN_US: u32 = 30_000;
const RTO_MAX_US: u32 = 2_000_000;
pub const DELACK_US: Time = 10_000;

/// The clock of delayed ACKs goes four times as fast as the kernel's, as the other timers
/// do here: ticks of 1 ms.
type Ato = ack::Ato<250>;
const TICK_US: Time = 1000;

/// Where the connection is in its life, as far as the host stack goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    SynSent,
    Established,
}

/// A segment kept until it is acknowledged.
pub struct Sent {
    pub end: Seq,
    pub at: Time,
    pub again: bool,
}

/// What a run counts.
#[derive(Clone, Debug)]
pub struct Stats {
    pub offloads: u64,
    pub uploads: [u64; UploadReason::COUNT],
    pub specials: [u64; SpecialCase::COUNT],
    pub resyncs: u64,
    /// Frames received and transmitted in legacy mode.
    pub legacy_rx: u64,
    pub legacy_tx: u64,
    pub engine_frames: u64,
    pub host_frames: u64,
    pub engine_bytes: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            offloads: 0,
            uploads: [0; UploadReason::COUNT],
            specials: [0; SpecialCase::COUNT],
            resyncs: 0,
            legacy_rx: 0,
            legacy_tx: 0,
            engine_frames: 0,
            host_frames: 0,
            engine_bytes: 0,
        }
    }
}

impl Stats {
    pub fn add(&mut self, other: &Self) {
        let sum = |to: &mut [u64], from: &[u64]| {
            for (sum, n) in to.iter_mut().zip(from) {
                *sum += n;
            }
        };
        sum(&mut self.uploads, &other.uploads);
        sum(&mut self.specials, &other.specials);
        self.offloads += other.offloads;
        self.resyncs += other.resyncs;
        self.legacy_rx += other.legacy_rx;
        self.legacy_tx += other.legacy_tx;
        self.engine_frames += other.engine_frames;
        self.host_frames += other.host_frames;
        self.engine_bytes += other.engine_bytes;
    }
}

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub struct Config {
    pub tuple: Tuple,
    pub ts_ok: bool,
    pub rcv_wscale: u8,
    pub mss: u32,
    pub rcvbuf: u32,
    pub nonagle: u8,
    pub gso_max_segs: u32,
    pub isn: u32,
    /// Out of a thousand times that a payload finds no receive memory, or a
    /// frame to send no memory.
    pub no_memory: u64,
    pub limits: Limits,
    /// Plants a wrong byte after that many bytes: a check of the checks.
    pub plant: Option<u64>,
}

pub struct Endpoint {
    pub cfg: Config,
    pub mode: Mode,
    pub phase: Phase,
    pub c: ConnData,
    template: HeaderTemplate,
    pub rng: Rng,
    /// Bytes from `snd_una` on.
    pub tx: VecDeque<u8>,
    pub sent: VecDeque<Sent>,
    pub unread: VecDeque<u8>,
    pub host: Host,
    pub cwnd: u32,
    pub ssthresh: u32,
    cwnd_acked: u32,
    pub ack_now: bool,
    /// What is known of the peer's segments, and what is to be acknowledged.
    pub rcv: RcvMss,
    ato: Ato,
    received_at: Time,
    quick: u8,
    pub delack_at: Option<Time>,
    pub rto_at: Option<Time>,
    pub persist_at: Option<Time>,
    pub backoff: u32,
    snd_sml: Seq,
    /// The application wrote its last byte.
    pub closing: bool,
    pub out: Vec<Vec<u8>>,
    pub stats: Stats,
    delivered: u64,
    pub budget: Budget,
    /// The present stay in legacy mode, and how those before it ended.
    pub stay: Option<Stay>,
    pub ends: Vec<End>,
    /// The next payload finds no receive memory.
    pub starve: bool,
}

impl Endpoint {
    pub fn new(cfg: Config, seed: u64) -> Self {
        let template = HeaderTemplate::new(&TemplateParams {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            tuple: cfg.tuple,
            tos: 0,
            ttl: 64,
            flow_label: 0x12345,
            df: true,
            ts_ok: cfg.ts_ok,
        });
        let isn = Seq(cfg.isn);
        Self {
            mode: Mode::Host,
            phase: Phase::SynSent,
            c: ConnData {
                constant: ConnConst {
                    rcv_wscale: cfg.rcv_wscale,
                    ts_ok: cfg.ts_ok,
                    ..ConnConst::default()
                },
                cached: ConnCached {
                    mss: cfg.mss,
                    ..ConnCached::default()
                },
                delegated: ConnDelegated {
                    snd_una: isn,
                    snd_nxt: isn,
                    ..ConnDelegated::default()
                },
            },
            template,
            rng: Rng::new(seed),
            tx: VecDeque::new(),
            sent: VecDeque::new(),
            unread: VecDeque::new(),
            host: Host::new(isn),
            cwnd: 10,
            ssthresh: 64,
            cwnd_acked: 0,
            ack_now: false,
            rcv: RcvMss {
                rcv_mss: cfg.mss.min(536) as u16,
                ..RcvMss::default()
            },
            ato: Ato::default(),
            received_at: 0,
            quick: 0,
            delack_at: None,
            rto_at: Some(0),
            persist_at: None,
            backoff: 0,
            snd_sml: isn,
            closing: false,
            out: Vec::new(),
            stats: Stats::default(),
            delivered: 0,
            budget: Budget::default(),
            stay: None,
            ends: Vec::new(),
            starve: false,
            cfg,
        }
    }

    pub fn event(&mut self, event: ModeEvent) {
        self.mode = self.mode.next(event).expect("legal transition");
    }

    // The decision, and both ways of the transfer.

    /// Returns whether a target would be asked at all.
    pub fn can_offload(&self) -> bool {
        self.mode == Mode::Host
            && self.phase == Phase::Established
            && self.host.is_calm(&self.c)
            && self.c.snd_wnd > 0
            && !self.closing
    }

    pub fn offload(&mut self) {
        assert!(self.can_offload());
        self.event(ModeEvent::Initiate);
        // Now and then the target refuses.
        if self.rng.permille(50) {
            self.event(ModeEvent::Refuse);
            return;
        }
        self.event(ModeEvent::Accept);
        self.budget = Budget::default();
        self.stats.offloads += 1;
    }

    pub fn upload(&mut self, reason: UploadReason) {
        self.event(ModeEvent::Upload);
        self.leave(End::Upload(reason));
        self.stats.uploads[reason.index()] += 1;
        self.event(ModeEvent::Uploaded);
    }

    /// Flips between host stack and target, so many times of a thousand: the
    /// first number is for the way there, the second for the way back.
    pub fn flip(&mut self, (there, back): (u64, u64)) {
        if self.has_entry() {
            if self.rng.permille(back) {
                self.upload(UploadReason::Admin);
            }
        } else if self.can_offload() && self.rng.permille(there) {
            self.offload();
        }
    }

    pub fn delegated(&self) -> bool {
        self.mode == Mode::Delegated
    }

    /// Returns whether the target holds an entry for the connection.
    pub fn has_entry(&self) -> bool {
        self.mode != Mode::Host
    }

    pub fn in_legacy(&self) -> bool {
        self.mode == Mode::Legacy
    }

    // The application.

    pub fn write(&mut self, data: &[u8]) {
        assert!(!self.closing);
        self.tx.extend(data);
    }

    pub fn close(&mut self) {
        if self.has_entry() {
            self.upload(UploadReason::Shutdown);
        }
        self.closing = true;
    }

    pub fn read(&mut self, max: usize) -> Vec<u8> {
        let n = max.min(self.unread.len());
        let data: Vec<u8> = self.unread.drain(..n).collect();
        if n > 0 && self.phase == Phase::Established {
            let mut view = self.ack_view();
            if !self.unread.is_empty() {
                view.pending &= !(pending::PUSHED | pending::PUSHED2);
            }
            let clamp = self.cfg.rcvbuf;
            self.ack_now |= ack::read_due(&view, clamp, || false, || self.new_window());
        }
        data
    }

    fn ack_view(&self) -> AckView {
        AckView {
            rcv_nxt: self.c.rcv_nxt,
            rcv_wup: self.c.rcv_wup,
            copied_seq: self.c.rcv_nxt.sub(self.unread.len() as u32),
            rcv_wnd: self.c.rcv_wnd,
            rcv_mss: u32::from(self.rcv.rcv_mss),
            pending: self.rcv.pending,
        }
    }

    /// `__tcp_select_window()`, with receive memory that holds nothing but payload.
    fn new_window(&self) -> u32 {
        let rcvbuf = self.cfg.rcvbuf as i32;
        let view = WindowView {
            mss: i32::from(self.rcv.rcv_mss),
            free_space: self.free() as i32,
            allowed_space: rcvbuf,
            full_space: rcvbuf,
            rcv_ssthresh: rcvbuf,
            rcv_wscale: self.c.constant.rcv_wscale,
            rcv_wnd: self.c.rcv_wnd as i32,
        };
        window::select(&view, false)
    }

    /// `tcp_event_data_recv()`: both owners keep the same books.
    pub fn data_received(&mut self, now: Time, s: &Segment) {
        self.rcv.pending |= pending::SCHED;
        let segment = DataSegment {
            size: s.payload,
            header: u32::from(s.data_off - s.l4_off),
            flags: s.flags,
        };
        let advmss = self.cfg.mss as u16;
        let options = if self.c.constant.ts_ok { 12 } else { 0 };
        self.rcv.measure(&segment, advmss, 20 + options);
        let gap = ((now - self.received_at) / TICK_US) as u32;
        let rto = (self.rto() / TICK_US) as u32;
        let (ato, quick) = self.ato.after(gap, rto);
        self.ato = ato;
        self.received_at = now;
        if quick {
            self.quick = ack::quickacks(self.c.rcv_wnd, self.rcv.rcv_mss.into(), self.quick);
        }
    }

    /// `tcp_event_ack_sent()`.
    fn ack_sent(&mut self) {
        let acked = u8::from(self.rcv.pending & pending::SCHED != 0);
        if self.quick != 0 {
            self.quick = self.quick.saturating_sub(acked);
            if self.quick == 0 {
                self.ato = Ato::new(Ato::MIN);
            }
        }
        self.rcv.pending = 0;
        self.ack_now = false;
        self.delack_at = None;
    }

    pub fn free(&self) -> u32 {
        self.cfg.rcvbuf.saturating_sub(self.unread.len() as u32)
    }

    pub fn deliver(&mut self, data: &[u8]) {
        for byte in data {
            self.delivered += 1;
            let planted = self.cfg.plant == Some(self.delivered);
            self.unread.push_back(byte ^ u8::from(planted));
        }
    }

    // The wire.

    pub fn input(&mut self, now: Time, frame: &[u8]) {
        let linear = &frame[..frame.len().min(wire::LINEAR_LEN)];
        let seg = match wire::parse(linear, frame.len() as u32) {
            Err(FrameError::NotTcp | FrameError::Special(_, None)) => return,
            Err(FrameError::Special(case, Some(tuple))) => {
                if tuple == self.cfg.tuple {
                    self.odd_input(now, case, frame);
                }
                return;
            }
            Ok(seg) => seg,
        };
        let l4 = usize::from(seg.l4_off);
        let data = usize::from(seg.data_off);
        let end = data + seg.payload as usize;
        if seg.tuple != self.cfg.tuple {
            return;
        }
        if !checksum_ok(frame, l4, end - l4) {
            // Who knows whose it was: counted, and no more.
            if self.has_entry() {
                self.stats.specials[SpecialCase::BadChecksum.index()] += 1;
            }
            return;
        }
        let payload = &frame[data..end];
        if self.in_legacy() {
            self.resynchronise(now);
        }
        if self.delegated() {
            if seg.payload != 0 && self.host.peer_fin {
                self.upload(UploadReason::Shutdown);
            } else {
                match self.engine_input(now, &seg, payload) {
                    Ok(()) => return,
                    Err(case) => self.special(now, case),
                }
            }
        }
        if self.in_legacy() {
            self.legacy_input(now, &seg, frame);
        } else {
            self.stats.host_frames += 1;
            self.host_input(now, &seg, frame);
        }
    }

    /// The receive engine.
    fn engine_input(&mut self, now: Time, s: &Segment, data: &[u8]) -> Result<(), SpecialCase> {
        let short = self.rng.permille(self.cfg.no_memory) || self.starve;
        let fits = !short && s.payload <= self.free();
        let view = HostView {
            reserved: fits,
            within_limit: fits,
            predicting: true,
            host_first: None,
            ooo_empty: !self.host.out_of_order(),
            now_secs: (now / 1_000_000) as i64,
            sack_or_loss: self.host.in_recovery(&self.c),
        };
        let before = self.c;
        let action = receive(&mut self.c, s, &view).inspect_err(|_| assert_eq!(before, self.c))?;
        self.stats.engine_frames += 1;
        self.stats.engine_bytes += u64::from(action.payload + action.acked);
        assert_eq!(action.payload, s.payload);
        if action.payload > 0 {
            self.deliver(data);
            self.data_received(now, s);
        }
        if action.acked > 0 {
            self.tx.drain(..action.acked as usize);
            self.acked(now);
        } else if action.window_changed {
            self.persist_at = None;
        }
        if action.payload > 0 {
            self.answer(now);
        }
        Ok(())
    }

    /// Acknowledges a segment with data, now or later.
    fn answer(&mut self, now: Time) {
        let view = self.ack_view();
        match ack::due(&view, 1, || self.new_window(), || self.quick != 0) {
            Some(due) if due.now => self.ack_now = true,
            Some(_) => {
                let ticks = self.ato.delay(view.pending, || false, self.c.rtt.srtt_us);
                let at = now + Time::from(ticks) * TICK_US;
                self.delack_at.get_or_insert(at);
            }
            None => {}
        }
    }

    /// What both owners do when `snd_una` advanced.
    pub fn acked(&mut self, now: Time) {
        let una = self.c.snd_una;
        let mut segs = 0;
        let mut rtt = None;
        while self.sent.front().is_some_and(|s| s.end.at_or_before(una)) {
            if let Some(s) = self.sent.pop_front() {
                segs += 1;
                rtt = (!s.again).then_some((now - s.at) as u32);
            }
        }
        // At least one stays while bytes are in flight.
        let left = self.c.packets_out.saturating_sub(segs);
        self.c.packets_out = if self.c.all_acked() { 0 } else { left.max(1) };
        if let Some(us) = rtt {
            let (una, nxt) = (self.c.snd_una, self.c.snd_nxt);
            self.c.rtt.sample(us, una, nxt, || RTO_MIN_US);
        }
        if self.cwnd < self.ssthresh {
            self.cwnd += segs;
        } else {
            self.cwnd_acked += segs;
            if self.cwnd_acked >= self.cwnd {
                self.cwnd_acked = 0;
                self.cwnd += 1;
            }
        }
        self.cwnd = self.cwnd.min(200);
        self.backoff = 0;
        self.persist_at = None;
        self.rto_at = (!self.c.all_acked()).then(|| now + self.rto());
    }

    pub fn rto(&self) -> Time {
        let rto = self.c.rtt.rto_us().min(RTO_MAX_US);
        Time::from(rto.checked_shl(self.backoff.min(6)).unwrap_or(RTO_MAX_US)).min(2_000_000)
    }

    // Sending.

    fn srtt_us(&self) -> u32 {
        self.c.rtt.srtt_us >> 3
    }

    /// Bytes sent and not yet acknowledged.
    pub fn in_flight(&self) -> u32 {
        self.c.snd_nxt.dist_from(self.c.snd_una)
    }

    /// Bytes in the queue that were never sent.
    pub fn unsent(&self) -> u32 {
        let fin = u32::from(self.host.fin_sent && !self.c.all_acked());
        self.tx.len() as u32 - (self.in_flight() - fin)
    }

    /// A chance to send. In legacy mode, who wants to send asks first whether
    /// the target can go on.
    pub fn output(&mut self, now: Time) {
        if self.in_legacy() && self.unsent() > 0 {
            self.resynchronise(now);
        }
        self.send(now);
    }

    /// Sends what may go, then the ACK if none of it carried it.
    pub fn send(&mut self, now: Time) {
        if self.phase == Phase::SynSent {
            return;
        }
        if !self.delegated() {
            self.host_output(now);
        }
        if self.host.rtx.is_none() {
            self.transmit_new(now);
        }
        if self.ack_now {
            let nxt = self.c.snd_nxt;
            self.emit(now, nxt, 0, flags::ACK);
        }
    }

    /// The transmit engine; the host stack, too, sends new data through it.
    fn transmit_new(&mut self, now: Time) {
        loop {
            let unsent = self.unsent();
            let head_len = unsent.min(self.rng.range(1, 20_000) as u32);
            let view = SendView {
                head_len,
                more: unsent > head_len,
                nonagle: self.cfg.nonagle | if self.closing { NAGLE_PUSH } else { 0 },
                in_flight_pkts: self.c.packets_out,
                cwnd: self.cwnd,
                max_segs: self.cfg.gso_max_segs,
                snd_sml: self.snd_sml,
                may_defer: !self.closing,
                win_divisor: 3,
                srtt_ns: u64::from(self.srtt_us()) * 1000,
                ..SendView::default()
            };
            let ack_in_ns = || {
                let first = self.sent.front()?;
                let due = first.at + Time::from(self.srtt_us());
                Some((due as i64 - now as i64) * 1000)
            };
            let (bytes, segs) = match transmit::next_send(&self.c, &view, ack_in_ns) {
                SendVerdict::Send { bytes, segs } => (bytes, segs),
                SendVerdict::Wait(WaitReason::Window) if self.c.all_acked() => {
                    self.persist_at.get_or_insert(now + 50_000);
                    return;
                }
                SendVerdict::Wait(_) => return,
            };
            assert!(bytes > 0 && bytes <= head_len && segs > 0);
            assert_eq!(segs, bytes.div_ceil(self.c.cached.mss));
            assert!(self.c.snd_nxt.add(bytes).at_or_before(self.c.wnd_end()));
            assert!(self.c.packets_out + segs <= self.cwnd);
            if self.delegated() && self.rng.permille(self.cfg.no_memory) {
                self.special(now, SpecialCase::NoMemory);
            }
            if self.delegated() {
                self.stats.engine_frames += 1;
            }
            self.send_new(now, bytes, segs, unsent == bytes);
        }
    }

    /// Sends `bytes` at `snd_nxt` as segments of at most one MSS: the frame
    /// and its segmentation.
    pub fn send_new(&mut self, now: Time, bytes: u32, segs: u32, push: bool) {
        let mut left = bytes;
        let mut seq = self.c.snd_nxt;
        while left > 0 {
            let len = left.min(self.c.cached.mss);
            left -= len;
            let psh = if push && left == 0 { flags::PSH } else { 0 };
            self.emit(now, seq, len, flags::ACK | psh);
            seq = seq.add(len);
            self.sent.push_back(Sent {
                end: seq,
                at: now,
                again: false,
            });
        }
        transmit::sent(&mut self.c, bytes, segs);
        // tcp_minshall_update()
        if bytes < segs * self.c.cached.mss {
            self.snd_sml = self.c.snd_nxt;
        }
        self.rto_at.get_or_insert(now + self.rto());
    }

    /// Writes a segment of `len` bytes of the queue from `seq` on.
    pub fn emit(&mut self, now: Time, seq: Seq, len: u32, tcp_flags: u16) {
        let offer = window::offer(
            self.new_window(),
            &Offered {
                rcv_nxt: self.c.rcv_nxt,
                rcv_wup: self.c.rcv_wup,
                rcv_wnd: self.c.rcv_wnd,
                wscale: self.c.constant.rcv_wscale,
                shrink: false,
                signed: false,
            },
        );
        (self.c.rcv_wnd, self.c.rcv_wup) = (offer.wnd, self.c.rcv_nxt);
        let fields = TxFields {
            seq,
            ack: self.c.rcv_nxt,
            flags: tcp_flags,
            window: offer.field,
            tsval: (now / 1000) as u32,
            tsecr: self.c.ts_recent,
            payload_len: len,
            ip_id: self.rng.next() as u16,
            gso: false,
        };
        let header = self.template.len();
        let mut frame = vec![0; header + len as usize];
        self.template.write(&mut frame, &fields).expect("fits");
        if len > 0 {
            let from = seq.dist_from(self.c.snd_una) as usize;
            let data = self.tx.range(from..from + len as usize);
            for (out, byte) in frame[header..].iter_mut().zip(data) {
                *out = *byte;
            }
        }
        complete_checksum(&mut frame, self.template.l4_off());
        self.observe(&frame);
        self.out.push(frame);
        self.ack_sent();
    }

    // Timers.

    pub fn next_timer(&self) -> Option<Time> {
        [self.delack_at, self.rto_at, self.persist_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn tick(&mut self, now: Time) {
        if self.delack_at.is_some_and(|at| at <= now) {
            self.delack_at = None;
            self.ack_now = true;
        }
        if self.rto_at.is_some_and(|at| at <= now) {
            if self.delegated() {
                self.special(now, SpecialCase::Rto);
            }
            self.host_rto(now);
        }
        if self.persist_at.is_some_and(|at| at <= now) {
            let probes = self.unsent() > 0 && self.c.all_acked();
            if self.delegated() && probes {
                self.special(now, SpecialCase::Persist);
            }
            self.host_persist(now);
        }
    }
}
