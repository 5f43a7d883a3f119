// SPDX-License-Identifier: GPL-2.0

//! Round trip time estimation, exactly as the host stack does it, so that an
//! estimate can go back and forth between the two without a jump
//! (`tcp_rtt_estimator()`, `__tcp_set_rto()`; RFC 6298).

use super::seq::Seq;

/// Retransmission timeout before the first sample: 1 s (RFC 6298 section 2.1,
/// `TCP_TIMEOUT_INIT`).
pub const RTO_INIT_US: u32 = 1_000_000;

/// The estimator's state: the fields of the same names in `struct tcp_sock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rtt {
    /// Smoothed round trip time in 1/8 us; 0 before the first sample.
    pub srtt_us: u32,
    /// Mean deviation in 1/4 us.
    pub mdev_us: u32,
    /// Largest mean deviation in the present window of data, in 1/4 us.
    pub mdev_max_us: u32,
    /// Smoothed `mdev_max_us`, in us.
    pub rttvar_us: u32,
    /// Sequence number at which `rttvar_us` is updated next.
    pub rtt_seq: Seq,
}

impl Rtt {
    /// Takes in a sample of `rtt_us` microseconds.
    ///
    /// `rto_min_us` tells the lower bound of the retransmission timeout
    /// (`tcp_rto_min_us()`, 200 ms by default), which is not always needed.
    #[inline]
    pub fn sample(
        &mut self,
        rtt_us: u32,
        snd_una: Seq,
        snd_nxt: Seq,
        rto_min_us: impl FnOnce() -> u32,
    ) {
        let mut m = i64::from(rtt_us);
        let mut srtt = self.srtt_us;

        if srtt != 0 {
            // Jacobson's algorithm (SIGCOMM '88): `m` becomes the error.
            m = m.wrapping_sub(i64::from(srtt >> 3));
            srtt = i64::from(srtt).wrapping_add(m) as u32;
            if m < 0 {
                // A falling round trip time moves the deviation with a
                // smaller gain, so that the timeout falls slowly.
                m = m.wrapping_neg();
                m = m.wrapping_sub(i64::from(self.mdev_us >> 2));
                if m > 0 {
                    m >>= 3;
                }
            } else {
                m = m.wrapping_sub(i64::from(self.mdev_us >> 2));
            }
            self.mdev_us = i64::from(self.mdev_us).wrapping_add(m) as u32;
            if self.mdev_us > self.mdev_max_us {
                self.mdev_max_us = self.mdev_us;
                if self.mdev_max_us > self.rttvar_us {
                    self.rttvar_us = self.mdev_max_us;
                }
            }
            if snd_una.after(self.rtt_seq) {
                if self.mdev_max_us < self.rttvar_us {
                    let excess = self.rttvar_us.wrapping_sub(self.mdev_max_us);
                    self.rttvar_us = self.rttvar_us.wrapping_sub(excess >> 2);
                }
                self.rtt_seq = snd_nxt;
                self.mdev_max_us = rto_min_us();
            }
        } else {
            srtt = rtt_us.wrapping_shl(3);
            self.mdev_us = rtt_us.wrapping_shl(1);
            self.rttvar_us = self.mdev_us.max(rto_min_us());
            self.mdev_max_us = self.rttvar_us;
            self.rtt_seq = snd_nxt;
        }
        self.srtt_us = srtt.max(1);
    }

    /// The retransmission timeout in microseconds, without backoff and without the
    /// namespace's upper limit.
    #[inline]
    pub const fn rto_us(&self) -> u32 {
        match self.srtt_us {
            0 => RTO_INIT_US,
            srtt => (srtt >> 3).saturating_add(self.rttvar_us),
        }
    }
}

/// The round trip time in microseconds by the peer's echo of our clock, `delta` of its units
/// ago (`tcp_rtt_tsopt_us()`): microseconds if `us`, else milliseconds, of which it is at
/// least `min`. `None`: too long ago.
pub fn by_timestamp(delta: u32, us: bool, min: u32) -> Option<u32> {
    match us {
        true if delta <= i32::MAX as u32 => Some(delta),
        false if delta < i32::MAX as u32 / 1000 => Some(delta.max(min).saturating_mul(1000)),
        _ => None,
    }
}

/// The receiver's estimate of the round trip time in 1/8 us, after a sample of `us`
/// microseconds to one of `old`, 0 if there was none (`tcp_rcv_rtt_update()`). A sample that
/// depends on the window, or on a reader that is late, can `only_lower` it.
pub const fn receiver(old: u32, us: u32, only_lower: bool) -> u32 {
    let sample = us.saturating_mul(8);
    if old == 0 || sample < old {
        sample
    } else if only_lower {
        old
    } else {
        (old - (old >> 3)).saturating_add(us)
    }
}

/// Ticks that `us` microseconds take, of which a second has `HZ`, rounded up
/// (`usecs_to_jiffies()`).
#[inline]
pub const fn us_to_ticks<const HZ: u32>(us: u32) -> u32 {
    (us as u64 * HZ as u64).div_ceil(1_000_000) as u32
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_rtt))]
mod tests {
    use super::*;

    const RTO_MIN: u32 = 200_000;

    #[test]
    fn first_sample() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto_us(), RTO_INIT_US);
        rtt.sample(1000, Seq(0), Seq(500), || RTO_MIN);
        assert_eq!(rtt.srtt_us, 8000);
        assert_eq!(rtt.mdev_us, 2000);
        assert_eq!(rtt.rttvar_us, RTO_MIN);
        assert_eq!(rtt.mdev_max_us, RTO_MIN);
        assert_eq!(rtt.rtt_seq, Seq(500));
        assert_eq!(rtt.rto_us(), 201_000);
    }

    #[test]
    fn echoes_of_our_clock() {
        const LONG: u32 = i32::MAX as u32;
        assert!(by_timestamp(0, true, 1) == Some(0));
        assert!(by_timestamp(LONG, true, 0) == Some(LONG));
        assert!(by_timestamp(LONG + 1, true, 0).is_none());
        assert!(by_timestamp(0, false, 0) == Some(0));
        assert!(by_timestamp(0, false, 1) == Some(1000));
        assert!(by_timestamp(7, false, 1) == Some(7000));
        assert!(by_timestamp(LONG / 1000, false, 1).is_none());
    }

    #[test]
    fn receiver_follows_lower_samples_at_once() {
        assert_eq!(receiver(0, 100, true), 800);
        assert_eq!(receiver(800, 99, true), 792);
        assert_eq!(receiver(800, 200, true), 800);
        assert_eq!(receiver(800, 200, false), 900);
        assert_eq!(receiver(0, u32::MAX, false), u32::MAX);
        assert_eq!(receiver(u32::MAX, u32::MAX, false), u32::MAX);
    }

    #[test]
    fn ticks_are_rounded_up() {
        let ticks = [0, 1, 1000, 1001].map(us_to_ticks::<1000>);
        assert_eq!(ticks, [0, 1, 1, 2]);
        assert_eq!(us_to_ticks::<100>(10_001), 2);
        assert_eq!(us_to_ticks::<1000>(u32::MAX), 4_294_968);
    }

    #[test]
    fn zero_sample_is_not_no_sample() {
        let mut rtt = Rtt::default();
        rtt.sample(0, Seq(0), Seq(1), || RTO_MIN);
        assert_eq!(rtt.srtt_us, 1);
    }

    #[test]
    fn extreme_samples_do_not_trap() {
        let mut rtt = Rtt::default();
        for us in [u32::MAX, 0, u32::MAX, 1, 1 << 31, 0] {
            rtt.sample(us, Seq(us), Seq(us.wrapping_add(9)), || RTO_MIN);
            assert!(rtt.srtt_us > 0);
        }
    }
}
