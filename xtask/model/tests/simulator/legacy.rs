// SPDX-License-Identifier: GPL-2.0

//! Legacy mode of an endpoint: the host stack works, and the target sees no more
//! than what is received for it and what the host transmits. It keeps an entry
//! of its own meanwhile, so that a run shows whether watching is enough.

use toe_model::logic::{
    conn::ConnData,
    legacy::{HostState, Legacy, Verdict},
    reason::{SpecialCase, UploadReason},
    state::ModeEvent,
    wire::{self, flags, Segment},
};

use crate::endpoint::Endpoint;
use crate::host::fold;
use crate::link::{checksum_ok, Time};

/// A stay in legacy mode: what the target knows.
pub struct Stay {
    entry: ConnData,
    legacy: Legacy,
    /// What the engines had done when it began, and for which offload.
    engine_frames: u64,
    offloads: u64,
}

/// How a stay ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Resync,
    Upload(UploadReason),
}

fn ms(now: Time) -> u64 {
    now / 1000
}

impl Endpoint {
    /// The target found a special case: the host stack goes on, as far as the
    /// budget allows with the entry kept.
    pub fn special(&mut self, now: Time, case: SpecialCase) {
        self.stats.specials[case.index()] += 1;
        if let Err(reason) = self.budget.fall(ms(now), &self.cfg.limits) {
            self.upload(reason);
            return;
        }
        self.event(ModeEvent::Special);
        self.stay = Some(Stay {
            entry: self.c,
            legacy: Legacy::new(ms(now), &self.cfg.limits),
            engine_frames: self.stats.engine_frames,
            offloads: self.stats.offloads,
        });
    }

    /// The stay in legacy mode is over, if it is one.
    pub fn leave(&mut self, end: End) {
        let Some(stay) = self.stay.take() else {
            return;
        };
        // Whatever came in between went to the host, and the entry is the same.
        assert_eq!(stay.engine_frames, self.stats.engine_frames);
        assert_eq!(stay.offloads, self.stats.offloads);
        self.stats.legacy_rx += u64::from(stay.legacy.rx_frames);
        self.stats.legacy_tx += u64::from(stay.legacy.tx_frames);
        self.ends.push(end);
    }

    fn host_state(&self) -> HostState {
        HostState {
            rcv_nxt: self.c.rcv_nxt,
            open: !self.host.fin_sent && !self.closing,
            out_of_order: self.host.out_of_order(),
            // The reference host sends neither SACK nor urgent data.
            sack_owed: false,
            recovery: self.host.in_recovery(&self.c),
            urgent: false,
            probing: self.host.probing(&self.c),
        }
    }

    /// Asks whether the target can go on, and does what the answer is.
    pub fn resynchronise(&mut self, now: Time) {
        let host = self.host_state();
        let Some(stay) = &self.stay else {
            return;
        };
        match stay.legacy.verdict(&stay.entry, &host, ms(now)) {
            Verdict::Wait => {}
            Verdict::Upload(reason) => self.upload(reason),
            Verdict::Resync => {
                // What the target learned by watching alone is the truth.
                let (e, c) = (&stay.entry, &self.c);
                assert_eq!(
                    (e.rcv_nxt, e.rcv_wup, e.rcv_wnd, e.snd_nxt),
                    (c.rcv_nxt, c.rcv_wup, c.rcv_wnd, c.snd_nxt)
                );
                self.event(ModeEvent::Resync);
                self.leave(End::Resync);
                self.stats.resyncs += 1;
            }
        }
    }

    /// A frame from a legacy buffer. The host answers before it returns.
    pub fn legacy_input(&mut self, now: Time, s: &Segment, frame: &[u8]) {
        self.stats.host_frames += 1;
        self.host_input(now, s, frame);
        self.send(now);
        if let Some(stay) = &mut self.stay {
            stay.legacy.received(&mut stay.entry, self.c.rcv_nxt);
            self.resynchronise(now);
        }
    }

    /// A frame that never gets to a legacy buffer: the target names the case, the
    /// frame takes the ordinary way to the host, and nobody tells the target what
    /// became of it.
    pub fn odd_input(&mut self, now: Time, case: SpecialCase, frame: &[u8]) {
        if self.delegated() {
            self.special(now, case);
        } else if self.has_entry() {
            self.stats.specials[case.index()] += 1;
        }
        let Some(frame) = without_ip_extras(frame, case) else {
            return;
        };
        let Ok(s) = wire::parse(&frame, frame.len() as u32) else {
            return;
        };
        let l4 = usize::from(s.l4_off);
        let end = usize::from(s.data_off) + s.payload as usize;
        if checksum_ok(&frame, l4, end - l4) {
            self.stats.host_frames += 1;
            self.host_input(now, &s, &frame);
            if self.in_legacy() {
                self.send(now);
            }
        }
    }

    /// The target sees what the host transmits, in legacy mode.
    pub fn observe(&mut self, frame: &[u8]) {
        if let Some(stay) = &mut self.stay {
            let h = wire::parse(frame, frame.len() as u32).expect("our own frame");
            let end = h.seq.add(h.payload);
            stay.legacy
                .transmitted(&mut stay.entry, end, h.ack, h.window);
        }
    }

    /// The host does by itself what makes a special case, or what the target cannot
    /// do. `false`: there is no reason to now.
    pub fn host_acts(&mut self, now: Time, case: SpecialCase) -> bool {
        let flight = self.in_flight();
        let una = self.c.snd_una;
        match case {
            SpecialCase::Rto | SpecialCase::HostRetransmit if flight == 0 => return false,
            _ => self.special(now, case),
        }
        match case {
            SpecialCase::Rto => self.host_rto(now),
            SpecialCase::NoMemory | SpecialCase::ForeignBuffer => self.send(now),
            SpecialCase::PathMtu => {
                self.c.cached.mss = (self.c.cached.mss / 4 * 3).max(100);
                self.send(now);
            }
            SpecialCase::HostRetransmit => {
                for sent in &mut self.sent {
                    sent.again = true;
                }
                self.emit(now, una, flight.min(self.c.cached.mss), flags::ACK);
            }
            _ => self.emit(now, una.sub(1), 0, flags::ACK),
        }
        true
    }
}

/// What the host's IP layer passes on of a frame with IPv4 options or an IPv6
/// extension header; of a fragment nothing, as the others do not come.
fn without_ip_extras(frame: &[u8], case: SpecialCase) -> Option<Vec<u8>> {
    let mut out = frame.to_vec();
    match case {
        SpecialCase::IpOptions => {
            let extra = usize::from(frame[14] & 0xf) * 4 - 20;
            out.drain(34..34 + extra);
            out[14] = 0x45;
            let len = u16::from_be_bytes([out[16], out[17]]) - extra as u16;
            out[16..18].copy_from_slice(&len.to_be_bytes());
            out[24..26].fill(0);
            let sum = !fold(&out[14..34]);
            out[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        SpecialCase::ExtHeader => {
            let extra = (usize::from(frame[55]) + 1) * 8;
            out[20] = frame[54];
            out.drain(54..54 + extra);
            let len = u16::from_be_bytes([out[18], out[19]]) - extra as u16;
            out[18..20].copy_from_slice(&len.to_be_bytes());
        }
        _ => return None,
    }
    Some(out)
}
