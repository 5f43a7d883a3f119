// SPDX-License-Identifier: GPL-2.0

//! Legacy mode: after a special case the host stack works on the connection,
//! while the target keeps its entry until it can go on.
//!
//! In legacy mode all received frames go to legacy buffers. The target copies
//! sequence number, ACK number and window of every frame that the host transmits.
//! It resynchronises when the host's ACK number has passed the sequence number in
//! the entry, so that everything received was acknowledged, and the host has nothing
//! left to repair.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    conn::ConnData,
    policy::Limits,
    reason::UploadReason,
    seq::Seq, //
};

/// What the target looks at of the host's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostState {
    /// Next sequence number that the host expects.
    pub rcv_nxt: Seq,
    /// Neither closed nor closing: this end may still send.
    pub open: bool,
    /// Received data waits for a gap to be filled.
    pub out_of_order: bool,
    /// The next ACK carries SACK or D-SACK blocks, or ACKs are held back.
    pub sack_owed: bool,
    /// Anything sent is SACKed, lost or retransmitted, a loss probe is not
    /// answered, or the congestion state is not Open.
    pub recovery: bool,
    /// Urgent data is pending in either direction.
    pub urgent: bool,
    /// The host probes the peer, which is silent or has shut its window, or the path for
    /// its MTU.
    pub probing: bool,
}

impl HostState {
    /// Returns whether nothing is pending that only the host stack can finish.
    pub const fn clean(&self) -> bool {
        self.open
            && !self.out_of_order
            && !self.sack_owed
            && !self.recovery
            && !self.urgent
            && !self.probing
    }
}

/// What to do with a connection in legacy mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The host stack goes on.
    Wait,
    /// The target takes the connection again.
    Resync,
    /// Give the entry up.
    Upload(UploadReason),
}

/// One stay in legacy mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Legacy {
    /// When the entry is given up, in ms.
    until_ms: u64,
    /// Frames received meanwhile.
    pub rx_frames: u32,
    /// Frames the host transmitted meanwhile.
    pub tx_frames: u32,
}

impl Legacy {
    /// A special case came up at `now_ms`. The connection data is as the host has it
    /// then.
    pub fn new(now_ms: u64, limits: &Limits) -> Self {
        Self {
            until_ms: now_ms.saturating_add(u64::from(limits.legacy_max_ms)),
            rx_frames: 0,
            tx_frames: 0,
        }
    }

    /// The host stack finished a frame from a legacy buffer and now expects
    /// `rcv_nxt`: the sequence number in the entry follows.
    pub fn received(&mut self, data: &mut ConnData, rcv_nxt: Seq) {
        self.rx_frames = self.rx_frames.saturating_add(1);
        if rcv_nxt.after(data.rcv_nxt) {
            data.rcv_nxt = rcv_nxt;
        }
    }

    /// The host stack transmits a frame with these numbers, see
    /// [`host_sent`](ConnData::host_sent): an ACK number beyond the entry's sequence number
    /// replaces that one.
    pub fn transmitted(&mut self, data: &mut ConnData, seq_end: Seq, ack: Seq, window: u16) {
        self.tx_frames = self.tx_frames.saturating_add(1);
        data.host_sent(seq_end, ack, window);
        if ack.after(data.rcv_nxt) {
            data.rcv_nxt = ack;
        }
    }

    /// Decides whether to go on, to wait, or to give up.
    pub fn verdict(&self, data: &ConnData, host: &HostState, now_ms: u64) -> Verdict {
        // What the host took in without us, a stray or a frame that waited in
        // the backlog, must have been acknowledged, too.
        let seen = !data.rcv_wup.before(data.rcv_nxt) && data.rcv_wup == host.rcv_nxt;
        if seen && host.clean() {
            Verdict::Resync
        } else if now_ms >= self.until_ms {
            Verdict::Upload(UploadReason::LegacyLong)
        } else {
            Verdict::Wait
        }
    }
}

/// How often a connection fell into legacy mode lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Budget {
    from_ms: u64,
    falls: u32,
}

impl Budget {
    /// A special case at `now_ms`. An error if there were too many: the
    /// connection is better off with the host stack.
    pub fn fall(&mut self, now_ms: u64, limits: &Limits) -> Result<(), UploadReason> {
        if now_ms.saturating_sub(self.from_ms) >= u64::from(limits.legacy_window_ms) {
            *self = Self {
                from_ms: now_ms,
                falls: 0,
            };
        }
        if self.falls >= limits.legacy_falls {
            return Err(UploadReason::LegacyOften);
        }
        self.falls += 1;
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_legacy))]
mod tests {
    use super::super::conn::{
        ConnConst,
        ConnDelegated, //
    };
    use super::*;

    const CLEAN: HostState = HostState {
        rcv_nxt: Seq(1000),
        open: true,
        out_of_order: false,
        sack_owed: false,
        recovery: false,
        urgent: false,
        probing: false,
    };

    fn entry() -> ConnData {
        ConnData {
            constant: ConnConst {
                rcv_wscale: 2,
                ..ConnConst::default()
            },
            delegated: ConnDelegated {
                snd_nxt: Seq(50),
                rcv_nxt: Seq(1000),
                rcv_wup: Seq(1000),
                rcv_wnd: 4000,
                ..ConnDelegated::default()
            },
            ..ConnData::default()
        }
    }

    #[test]
    fn nothing_unacknowledged_resynchronises_when_clean() {
        let d = entry();
        let l = Legacy::new(7, &Limits::default());
        assert_eq!(l.verdict(&d, &CLEAN, 7), Verdict::Resync);
        let dirty = [
            HostState {
                open: false,
                ..CLEAN
            },
            HostState {
                out_of_order: true,
                ..CLEAN
            },
            HostState {
                sack_owed: true,
                ..CLEAN
            },
            HostState {
                recovery: true,
                ..CLEAN
            },
            HostState {
                urgent: true,
                ..CLEAN
            },
            HostState {
                probing: true,
                ..CLEAN
            },
        ];
        for host in dirty {
            assert_eq!(l.verdict(&d, &host, 7), Verdict::Wait);
        }
    }

    #[test]
    fn the_ack_must_pass_the_sequence_number() {
        let mut d = entry();
        let mut l = Legacy::new(7, &Limits::default());
        let host = HostState {
            rcv_nxt: Seq(1100),
            ..CLEAN
        };
        l.received(&mut d, Seq(1100));
        assert_eq!(l.verdict(&d, &host, 7), Verdict::Wait);
        // An ACK on its way from before.
        l.transmitted(&mut d, Seq(60), Seq(1000), 900);
        assert_eq!(l.verdict(&d, &host, 7), Verdict::Wait);
        assert_eq!((d.rcv_nxt, d.snd_nxt), (Seq(1100), Seq(60)));
        l.transmitted(&mut d, Seq(60), Seq(1100), 950);
        assert_eq!(l.verdict(&d, &host, 7), Verdict::Resync);
        assert_eq!((d.rcv_wup, d.rcv_wnd), (Seq(1100), 3800));
        assert_eq!((l.rx_frames, l.tx_frames), (1, 2));
    }

    #[test]
    fn an_ack_number_replaces_the_sequence_number() {
        let mut d = entry();
        let mut l = Legacy::new(7, &Limits::default());
        // A gap was filled: the host's ACK jumps.
        l.transmitted(&mut d, Seq(50), Seq(9000), 950);
        assert_eq!(d.rcv_nxt, Seq(9000));
        let host = HostState {
            rcv_nxt: Seq(9000),
            ..CLEAN
        };
        assert_eq!(l.verdict(&d, &host, 7), Verdict::Resync);
        // More came in another way.
        let host = HostState {
            rcv_nxt: Seq(9001),
            ..CLEAN
        };
        assert_eq!(l.verdict(&d, &host, 7), Verdict::Wait);
        // An old ACK, repeated, changes nothing.
        l.transmitted(&mut d, Seq(50), Seq(1000), 1);
        assert_eq!((d.rcv_wup, d.rcv_wnd), (Seq(9000), 3800));
    }

    #[test]
    fn a_stay_ends() {
        let limits = Limits {
            legacy_max_ms: 100,
            ..Limits::default()
        };
        let d = entry();
        let l = Legacy::new(7, &limits);
        let host = HostState {
            recovery: true,
            ..CLEAN
        };
        assert_eq!(l.verdict(&d, &host, 106), Verdict::Wait);
        let upload = Verdict::Upload(UploadReason::LegacyLong);
        assert_eq!(l.verdict(&d, &host, 107), upload);
        // Better late than never.
        assert_eq!(l.verdict(&d, &CLEAN, 107), Verdict::Resync);
    }

    #[test]
    fn falls_are_counted_by_window() {
        let limits = Limits {
            legacy_falls: 3,
            legacy_window_ms: 50,
            ..Limits::default()
        };
        let mut b = Budget::default();
        for now in [100, 101, 149] {
            assert!(b.fall(now, &limits).is_ok());
        }
        assert!(b.fall(149, &limits) == Err(UploadReason::LegacyOften));
        assert!(b.fall(150, &limits).is_ok());
        let none = Limits {
            legacy_falls: 0,
            ..limits
        };
        assert!(Budget::default().fall(0, &none) == Err(UploadReason::LegacyOften));
    }
}
