// SPDX-License-Identifier: GPL-2.0

//! How fast the peer gets what is sent: the delivery rate that `TCP_INFO` shows
//! (`tcp_rate_gen()`; draft-cheng-iccrg-delivery-rate-estimation).

use super::seq::Seq;

/// What the last of the segments that an ACK covers was sent with
/// (`tcp_rate_skb_delivered()`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateSample {
    /// Segments delivered when it was sent.
    pub prior_delivered: u32,
    /// When the last of those was delivered, in us; 0 if it is not known.
    pub prior_us: u64,
    /// How long it took to send what was delivered since, in us.
    pub send_us: u32,
    /// Whether the application had nothing more to send then.
    pub app_limited: bool,
}

/// The delivery rate of a connection, as its last sample (`tp->rate_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Segments delivered.
    pub delivered: u32,
    /// In this time, in us.
    pub interval_us: u32,
    /// Whether the application could have sent more.
    pub app_limited: bool,
}

impl Rate {
    /// Takes a sample at `now_us`, when `delivered` segments have been delivered in all.
    /// `None`: it says nothing, or less than the one before. A sample shorter than the
    /// least round trip time is a burst of ACKs; one that the application has limited
    /// counts if it is higher.
    #[inline(always)]
    pub fn after(
        self,
        s: &RateSample,
        delivered: u32,
        now_us: u64,
        min_rtt_us: u32,
    ) -> Option<Self> {
        if s.prior_us == 0 {
            return None;
        }
        let acks_us = u32::try_from(now_us.saturating_sub(s.prior_us)).unwrap_or(u32::MAX);
        let new = Self {
            delivered: delivered.wrapping_sub(s.prior_delivered),
            interval_us: s.send_us.max(acks_us),
            app_limited: s.app_limited,
        };
        let product = |segs: u32, us: u32| u64::from(segs) * u64::from(us);
        let higher = !new.app_limited
            || product(new.delivered, self.interval_us) >= product(self.delivered, new.interval_us);
        (new.interval_us >= min_rtt_us && higher).then_some(new)
    }
}

/// Returns the mark of an application that had nothing to send (`tp->app_limited`), or 0
/// if `delivered`, the number of segments delivered, has passed it.
#[inline(always)]
pub fn app_limited_after(mark: u32, delivered: u32) -> u32 {
    match mark != 0 && Seq(delivered).after(Seq(mark)) {
        true => 0,
        false => mark,
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_rate))]
mod tests {
    use super::*;

    const OLD: Rate = Rate {
        delivered: 10,
        interval_us: 1000,
        app_limited: false,
    };

    fn sample() -> RateSample {
        RateSample {
            prior_delivered: u32::MAX - 4,
            prior_us: 5000,
            send_us: 700,
            app_limited: false,
        }
    }

    #[test]
    fn samples() {
        // 10 more, in the longer of both intervals.
        let r = OLD.after(&sample(), 5, 5500, 600);
        assert!(r.is_some_and(|r| (r.delivered, r.interval_us) == (10, 700)));
        let r = OLD.after(&sample(), 5, 7000, 600);
        assert!(r.is_some_and(|r| (r.delivered, r.interval_us) == (10, 2000)));
        // Shorter than any round trip, or nothing is known of when it was sent.
        assert!(OLD.after(&sample(), 5, 5500, 701).is_none());
        let unknown = RateSample {
            prior_us: 0,
            ..sample()
        };
        assert!(OLD.after(&unknown, 5, 5500, 0).is_none());
    }

    #[test]
    fn limited_by_the_application() {
        let limited = RateSample {
            app_limited: true,
            ..sample()
        };
        assert!(OLD.after(&limited, 5, 7000, 0).is_none());
        assert!(OLD
            .after(&limited, 5, 5800, 0)
            .is_some_and(|r| r.app_limited));
        assert_eq!(app_limited_after(0, 7), 0);
        assert_eq!(app_limited_after(7, 7), 7);
        assert_eq!(app_limited_after(7, 8), 0);
        assert_eq!(app_limited_after(u32::MAX, 1), 0);
    }
}
