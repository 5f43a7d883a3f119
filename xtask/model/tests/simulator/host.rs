// SPDX-License-Identifier: GPL-2.0

//! The reference host stack: a small, complete TCP of its own, which takes over
//! at any frame. Correctness before speed: go-back-N after a timeout or three
//! duplicate ACKs, no SACK.

use toe_model::logic::{
    ack::pending,
    conn::ConnData,
    seq::Seq,
    wire::{flags, Segment},
};

use crate::endpoint::{Endpoint, Phase, DELACK_US};
use crate::link::{complete_checksum, Time};

/// State that only the host stack has.
pub struct Host {
    /// Segments after a gap.
    ooo: Vec<(Seq, Vec<u8>)>,
    dup_acks: u32,
    /// Next byte to retransmit, during go-back-N.
    pub rtx: Option<Seq>,
    /// Recovery lasts until this is acknowledged.
    recover: Seq,
    recovering: bool,
    pub fin_sent: bool,
    peer_fin_at: Option<Seq>,
    pub peer_fin: bool,
    pub reset: bool,
    /// Probes of the window since the peer shut it.
    probes: u32,
}

impl Host {
    pub fn new(isn: Seq) -> Self {
        Self {
            ooo: Vec::new(),
            dup_acks: 0,
            rtx: None,
            recover: isn,
            recovering: false,
            fin_sent: false,
            peer_fin_at: None,
            peer_fin: false,
            reset: false,
            probes: 0,
        }
    }

    /// Returns whether something received, data or the FIN, waits for a gap.
    pub fn out_of_order(&self) -> bool {
        !self.ooo.is_empty() || (self.peer_fin_at.is_some() && !self.peer_fin)
    }

    /// Returns whether anything sent is being repaired, or may have to be.
    pub fn in_recovery(&self, c: &ConnData) -> bool {
        self.rtx.is_some() || self.recovering || (self.dup_acks > 0 && !c.all_acked())
    }

    /// Returns whether the peer's window is shut and was probed.
    pub fn probing(&self, c: &ConnData) -> bool {
        c.snd_wnd == 0 && self.probes > 0
    }

    /// Returns whether nothing is going on that the target could not take over.
    pub fn is_calm(&self, c: &ConnData) -> bool {
        !self.out_of_order() && !self.in_recovery(c) && !self.fin_sent
    }
}

/// The window scale and MSS options of a SYN.
fn syn_options(options: &[u8]) -> (Option<u8>, u32) {
    let (mut scale, mut mss) = (None, 536);
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match (*kind, tail) {
            (0, _) => break,
            (1, _) => rest = tail,
            (2, [4, a, b, ..]) => {
                mss = u32::from(u16::from_be_bytes([*a, *b]));
                rest = &rest[4..];
            }
            (3, [3, s, ..]) => {
                scale = Some(*s);
                rest = &rest[3..];
            }
            (_, [len, ..]) => rest = &rest[usize::from(*len)..],
            _ => break,
        }
    }
    (scale, mss)
}

impl Endpoint {
    /// Both ends start established: no handshake.
    pub fn establish(&mut self, peer_isn: u32, peer_wscale: u8, peer_window: u32) {
        self.c.snd_una = Seq(self.cfg.isn).add(1);
        self.c.snd_nxt = self.c.snd_una;
        self.c.rcv_nxt = Seq(peer_isn).add(1);
        self.c.rcv_wup = self.c.rcv_nxt;
        self.c.rcv_wnd = self.cfg.rcvbuf.min(65_535);
        self.c.snd_wl1 = self.c.rcv_nxt;
        self.c.constant.snd_wscale = peer_wscale;
        self.c.snd_wnd = peer_window;
        self.host = Host::new(self.c.snd_una);
        self.phase = Phase::Established;
        self.rto_at = None;
    }

    /// The SYN, written by hand: an emitter independent of the template.
    fn send_syn(&mut self, now: Time) {
        let mut options = vec![2, 4, 0, 0];
        options[2..4].copy_from_slice(&(self.cfg.mss as u16).to_be_bytes());
        options.extend([1, 3, 3, self.cfg.rcv_wscale, 1, 1, 4, 2]);
        if self.cfg.ts_ok {
            options.extend([1, 1, 8, 10]);
            options.extend(((now / 1000) as u32).to_be_bytes());
            options.extend([0; 4]);
        }
        let t = &self.cfg.tuple;
        let tcp_len = 20 + options.len() as u16;
        let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let mut pseudo = Vec::new();
        if t.family as u8 == 4 {
            f.extend([8, 0, 0x45, 0]);
            f.extend((20 + tcp_len).to_be_bytes());
            f.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            f.extend(&t.local[..4]);
            f.extend(&t.remote[..4]);
            let sum = !fold(&f[14..]);
            f[24..26].copy_from_slice(&sum.to_be_bytes());
            pseudo.extend(&f[26..34]);
        } else {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            f.extend(tcp_len.to_be_bytes());
            f.extend([6, 64]);
            f.extend(t.local);
            f.extend(t.remote);
            pseudo.extend(&f[22..54]);
        }
        pseudo.extend([0, 6]);
        pseudo.extend(tcp_len.to_be_bytes());
        let l4 = f.len();
        f.extend(t.lport.to_be_bytes());
        f.extend(t.rport.to_be_bytes());
        f.extend(self.cfg.isn.to_be_bytes());
        f.extend([0; 4]);
        f.extend([((tcp_len / 4) << 4) as u8, flags::SYN as u8]);
        f.extend((self.cfg.rcvbuf.min(65_535) as u16).to_be_bytes());
        f.extend(fold(&pseudo).to_be_bytes());
        f.extend([0, 0]);
        f.extend(options);
        complete_checksum(&mut f, l4);
        self.out.push(f);
    }

    fn syn_ack(&mut self, now: Time, s: &Segment, options: &[u8]) {
        let wanted = flags::SYN | flags::ACK;
        if s.flags & (wanted | flags::RST) != wanted || s.ack != Seq(self.cfg.isn).add(1) {
            return;
        }
        let (scale, mss) = syn_options(options);
        let window = u32::from(s.window);
        self.establish(s.seq.0, scale.unwrap_or(0), window);
        if scale.is_none() {
            self.c.constant.rcv_wscale = 0;
        }
        let overhead = if self.cfg.ts_ok { 12 } else { 0 };
        self.c.cached.mss = self.cfg.mss.min(mss) - overhead;
        if self.cfg.ts_ok {
            self.c.ts_recent = s.ts.expect("timestamps negotiated").0;
        }
        self.c.bytes_acked = 0;
        self.c.max_window = window;
        self.ack_now = true;
        self.acked(now);
        self.rto_at = None;
    }

    /// A segment for the host stack, with a right checksum.
    pub fn host_input(&mut self, now: Time, s: &Segment, frame: &[u8]) {
        let data = usize::from(s.data_off);
        if self.phase == Phase::SynSent {
            let options = &frame[usize::from(s.l4_off) + 20..data];
            return self.syn_ack(now, s, options);
        }
        if s.flags & flags::RST != 0 {
            // RFC 5961 section 3.2: a blind one at most gets an answer.
            let edge = self.c.rcv_nxt.add(self.c.receive_window());
            self.host.reset |= s.seq == self.c.rcv_nxt;
            self.ack_now |= s.seq.between(self.c.rcv_nxt, edge);
            return;
        }
        let fin = u32::from(s.flags & flags::FIN != 0);
        if s.flags & flags::SYN != 0 || !self.acceptable(s, s.payload + fin) {
            self.ack_now = true;
            return;
        }
        if let (true, Some((tsval, _))) = (self.c.constant.ts_ok, s.ts) {
            if s.seq.at_or_before(self.c.rcv_wup) {
                self.c.ts_recent = tsval;
                self.c.ts_recent_stamp = (now / 1_000_000) as i64;
            }
        }
        if s.flags & flags::ACK == 0 {
            return;
        }
        if s.ack.after(self.c.snd_nxt) {
            self.ack_now = true;
            return;
        }
        if !s.ack.before(self.c.snd_una) {
            self.host_ack(now, s);
        }
        let payload = &frame[data..data + s.payload as usize];
        self.host_data(now, s, payload, fin);
    }

    fn acceptable(&self, s: &Segment, len: u32) -> bool {
        if self.c.constant.ts_ok {
            match s.ts {
                Some((tsval, _)) if !Seq(tsval).before(Seq(self.c.ts_recent)) => {}
                _ => return false,
            }
        }
        let edge = self.c.rcv_nxt.add(self.c.receive_window());
        let end = s.seq.add(len);
        if len == 0 {
            s.seq.between(self.c.rcv_nxt, edge)
        } else {
            end.after(self.c.rcv_nxt) && s.seq.before(edge)
        }
    }

    fn host_ack(&mut self, now: Time, s: &Segment) {
        let c = &mut self.c;
        let acked = s.ack.dist_from(c.snd_una);
        let wnd = u32::from(s.window) << c.constant.snd_wscale;
        let newer = s.seq.after(c.snd_wl1) || acked > 0;
        let same = wnd == c.snd_wnd;
        if newer || (s.seq == c.snd_wl1 && (wnd > c.snd_wnd || wnd == 0)) {
            c.snd_wl1 = s.seq;
            c.snd_wnd = wnd;
            c.max_window = c.max_window.max(wnd);
            if wnd > 0 {
                self.persist_at = None;
                self.host.probes = 0;
            }
        }
        if acked > 0 {
            let fin = u32::from(self.host.fin_sent && s.ack == self.c.snd_nxt);
            self.tx.drain(..(acked - fin) as usize);
            self.c.snd_una = s.ack;
            self.c.bytes_acked += u64::from(acked - fin);
            self.host.dup_acks = 0;
            if self.host.rtx.is_some_and(|rtx| rtx.before(s.ack)) {
                self.host.rtx = Some(s.ack);
            }
            if self.host.recovering && !s.ack.before(self.host.recover) {
                self.host.recovering = false;
                self.host.rtx = None;
            }
            self.acked(now);
        } else if !self.c.all_acked() && s.payload == 0 && same {
            self.host.dup_acks += 1;
            if self.host.dup_acks == 3 && !self.host.recovering {
                self.start_recovery();
                self.cwnd = self.ssthresh;
            }
        }
    }

    fn start_recovery(&mut self) {
        self.host.recovering = true;
        self.host.recover = self.c.snd_nxt;
        self.host.rtx = Some(self.c.snd_una);
        self.ssthresh = (self.cwnd / 2).max(2);
        for s in &mut self.sent {
            s.again = true;
        }
    }

    fn host_data(&mut self, now: Time, s: &Segment, payload: &[u8], fin: u32) {
        if s.payload == 0 && fin == 0 {
            return;
        }
        if fin != 0 {
            self.host.peer_fin_at = Some(s.seq.add(s.payload));
        }
        let in_order = s.seq == self.c.rcv_nxt && self.host.ooo.is_empty();
        let edge = self.c.rcv_nxt.add(self.c.receive_window());
        let room = edge.dist_from(s.seq) as usize;
        let payload = &payload[..payload.len().min(room)];
        if !payload.is_empty() {
            self.host.ooo.push((s.seq, payload.to_vec()));
        }
        loop {
            let nxt = self.c.rcv_nxt;
            self.host
                .ooo
                .retain(|(seq, data)| seq.add(data.len() as u32).after(nxt));
            let next = self
                .host
                .ooo
                .iter()
                .position(|(seq, _)| seq.at_or_before(nxt));
            let Some(i) = next else { break };
            let (seq, data) = self.host.ooo.swap_remove(i);
            let new = &data[nxt.dist_from(seq) as usize..];
            self.c.rcv_nxt = nxt.add(new.len() as u32);
            self.c.bytes_received += new.len() as u64;
            self.deliver(new);
        }
        if self.host.peer_fin_at == Some(self.c.rcv_nxt) && !self.host.peer_fin {
            self.host.peer_fin = true;
            self.c.rcv_nxt = self.c.rcv_nxt.add(1);
        }
        // A second segment, anything unusual: at once. Else a little later.
        let scheduled = self.rcv.pending & pending::SCHED != 0;
        if s.payload != 0 {
            self.data_received(now, s);
        }
        if !in_order || scheduled || fin != 0 {
            self.ack_now = true;
        } else {
            self.delack_at = Some(now + DELACK_US);
        }
    }

    /// Retransmissions, and the FIN after the last byte.
    pub fn host_output(&mut self, now: Time) {
        while let Some(rtx) = self.host.rtx {
            let fin = u32::from(self.host.fin_sent);
            let data_end = self.c.snd_nxt.sub(fin);
            let flight = rtx.dist_from(self.c.snd_una) / self.c.cached.mss.max(1);
            if rtx == self.c.snd_nxt {
                self.host.rtx = None;
                break;
            }
            if flight >= self.cwnd {
                break;
            }
            if rtx == data_end {
                self.emit(now, rtx, 0, flags::ACK | flags::FIN);
                self.host.rtx = None;
                break;
            }
            let len = data_end.dist_from(rtx).min(self.c.cached.mss);
            self.emit(now, rtx, len, flags::ACK);
            self.host.rtx = Some(rtx.add(len));
        }
        let drained = self.closing && self.unsent() == 0 && self.host.rtx.is_none();
        if drained && !self.host.fin_sent {
            self.emit(now, self.c.snd_nxt, 0, flags::ACK | flags::FIN);
            self.host.fin_sent = true;
            self.c.snd_nxt = self.c.snd_nxt.add(1);
            self.rto_at.get_or_insert(now + self.rto());
        }
    }

    pub fn host_rto(&mut self, now: Time) {
        self.rto_at = None;
        if self.phase == Phase::SynSent {
            self.send_syn(now);
            self.rto_at = Some(now + 300_000);
            return;
        }
        if self.c.all_acked() {
            return;
        }
        self.backoff += 1;
        self.start_recovery();
        self.cwnd = 1;
        self.rto_at = Some(now + self.rto());
    }

    /// Nothing in flight and the window too small: send what fits, else ask.
    pub fn host_persist(&mut self, now: Time) {
        self.persist_at = None;
        if self.unsent() == 0 || !self.c.all_acked() {
            return;
        }
        let fits = self
            .c
            .send_window()
            .min(self.unsent())
            .min(self.c.cached.mss);
        if fits > 0 {
            self.send_new(now, fits, 1, true);
        } else {
            self.host.probes += 1;
            self.emit(now, self.c.snd_una.sub(1), 0, flags::ACK);
            self.persist_at = Some(now + 100_000);
        }
    }
}

pub fn fold(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|p| u32::from(p[0]) << 8 | u32::from(p[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
