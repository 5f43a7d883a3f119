// SPDX-License-Identifier: GPL-2.0

//! The size of the peer's segments, as the receiver sees it (`tcp_measure_rcv_mss()`, which
//! is static in the host stack).

use super::{
    ack::pending,
    wire::flags, //
};

/// `TCP_MSS_DEFAULT` and `TCP_MIN_MSS`, in bytes, and `sizeof(struct tcphdr)`.
const MSS_DEFAULT: u32 = 536;
const MIN_MSS: u32 = 88;
const TCP_HEADER: u32 = 20;

/// What is known of the peer's segments: fields of `icsk_ack`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RcvMss {
    /// Estimate of the size, in bytes of payload.
    pub rcv_mss: u16,
    /// Size of the last segment, if it was smaller than that and not an odd end; else 0.
    pub last_seg_size: u16,
    /// See [`pending`]: a segment that is pushed, or an odd end, sets
    /// [`PUSHED`](pending::PUSHED).
    pub pending: u8,
}

/// A segment with data, or several that were merged.
#[derive(Clone, Copy, Debug)]
pub struct DataSegment {
    /// Bytes of payload of each segment (`gso_size`), or of the only one.
    pub size: u32,
    /// Length of the TCP header in bytes.
    pub header: u32,
    /// Its flags, see [`flags`].
    pub flags: u16,
}

impl RcvMss {
    /// Takes a segment into account. `true`: its size is a new, larger one. `advmss` is the
    /// MSS that the peer was told, `header_len` the length of the headers of what is sent
    /// (`tcp_header_len`), both in bytes.
    #[inline(always)]
    pub fn measure(&mut self, s: &DataSegment, advmss: u16, header_len: u16) -> bool {
        let last = core::mem::take(&mut self.last_seg_size);
        let old = u32::from(self.rcv_mss);
        if s.size >= old {
            self.rcv_mss = s.size.min(u32::from(advmss)) as u16;
            if s.flags & flags::PSH != 0 {
                self.pending |= pending::PUSHED;
            }
            return s.size != old;
        }
        self.measure_small(s, last, header_len);
        false
    }

    /// A segment that is smaller than the estimate: the end of what was written, or of a
    /// sender with a smaller MSS, which two of the same size in a row say.
    #[inline]
    fn measure_small(&mut self, s: &DataSegment, last: u16, header_len: u16) {
        let pushed = flags::PSH | flags::FIN | flags::SYN | flags::URG;
        // With the options, which the peer may have more of in other segments.
        let full = s.size.saturating_add(s.header);
        if full >= MSS_DEFAULT + TCP_HEADER
            || (full >= MIN_MSS + TCP_HEADER && s.flags & pushed == 0)
        {
            let size = full.saturating_sub(u32::from(header_len));
            self.last_seg_size = size as u16;
            if size == u32::from(last) {
                self.rcv_mss = last;
                return;
            }
        }
        if self.pending & pending::PUSHED != 0 {
            self.pending |= pending::PUSHED2;
        }
        self.pending |= pending::PUSHED;
    }
}

/// How much of the memory of a frame is payload, in 1/256, at least one of them
/// (`tp->scaling_ratio`): by that the receive memory is worth so much window.
pub const fn scaling_ratio(payload: u32, truesize: u32) -> u8 {
    let truesize = if truesize == 0 { 1 } else { truesize };
    match (((payload as u64) << 8) / truesize as u64) as u8 {
        0 => 1,
        ratio => ratio,
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_rcv_mss))]
mod tests {
    use super::*;

    const OLD: RcvMss = RcvMss {
        rcv_mss: 1000,
        last_seg_size: 700,
        pending: pending::SCHED,
    };

    /// What is known after a segment with 12 bytes of options, and whether it has a new size.
    fn after(old: RcvMss, size: u32, flags: u16) -> (RcvMss, bool) {
        let mut new = old;
        let s = DataSegment {
            size,
            header: 32,
            flags,
        };
        let larger = new.measure(&s, 1460, 32);
        (new, larger)
    }

    #[test]
    fn full_segments() {
        let same = RcvMss {
            last_seg_size: 0,
            ..OLD
        };
        assert!(after(OLD, 1000, flags::ACK) == (same, false));
        let pushed = RcvMss {
            pending: pending::SCHED | pending::PUSHED,
            ..same
        };
        assert!(after(OLD, 1000, flags::ACK | flags::PSH) == (pushed, false));
        // A second one says no more.
        assert!(after(pushed, 1000, flags::PSH) == (pushed, false));
        let larger = RcvMss {
            rcv_mss: 1448,
            ..same
        };
        assert!(after(OLD, 1448, flags::ACK) == (larger, true));
        let most = RcvMss {
            rcv_mss: 1460,
            ..same
        };
        assert!(after(OLD, 9000, flags::ACK) == (most, true));
    }

    #[test]
    fn two_smaller_ones_of_a_size() {
        let (one, larger) = after(OLD, 600, flags::ACK | flags::PSH);
        assert!(!larger && one.last_seg_size == 600 && one.rcv_mss == 1000);
        assert_eq!(one.pending, pending::SCHED | pending::PUSHED);
        let (two, _) = after(one, 600, flags::ACK);
        assert!(two.rcv_mss == 600 && two.last_seg_size == 600 && two.pending == one.pending);
        let (other, _) = after(one, 601, flags::ACK);
        assert!(other.rcv_mss == 1000 && other.last_seg_size == 601);
        assert_eq!(other.pending, one.pending | pending::PUSHED2);
    }

    #[test]
    fn small_ends_say_nothing() {
        // 76 bytes and the header are a segment's least, unless they are pushed.
        let sizes = [
            (75, 0, 0),
            (76, 0, 76),
            (76, flags::PSH, 0),
            (523, flags::FIN, 0),
        ];
        for (size, flags, last) in sizes {
            let (new, _) = after(OLD, size, flags);
            assert!(new.last_seg_size == last && new.rcv_mss == 1000);
        }
        assert_eq!(after(OLD, 524, flags::PSH).0.last_seg_size, 524);
    }

    #[test]
    fn arbitrary_numbers() {
        for size in [0, 1, 65_535, u32::MAX] {
            for rcv_mss in [0, u16::MAX] {
                let mut m = RcvMss { rcv_mss, ..OLD };
                let s = DataSegment {
                    size,
                    header: u32::MAX,
                    flags: 0,
                };
                let _ = m.measure(&s, 0, u16::MAX);
            }
        }
    }

    #[test]
    fn density() {
        assert_eq!(scaling_ratio(1448, 2304), 160);
        assert_eq!(scaling_ratio(1, 4096), 1);
        assert_eq!(scaling_ratio(0, 0), 1);
    }
}
