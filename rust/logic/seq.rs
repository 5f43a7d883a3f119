// SPDX-License-Identifier: GPL-2.0

//! Sequence number arithmetic (RFC 9293 section 3.4; `before()`, `after()` and
//! `between()` of `include/net/tcp.h`).

/// A TCP sequence or acknowledgement number: a point on a circle of 2^32 bytes.
///
/// Comparisons are meaningful for numbers less than 2^31 apart. There is no
/// `Ord` on purpose: the relation is not transitive around the circle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// Returns whether `self` is earlier than `other` (`before()`).
    #[inline]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Returns whether `self` is later than `other` (`after()`).
    #[inline]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Returns whether `self` is `other` or earlier (`!after()`).
    #[inline]
    pub const fn at_or_before(self, other: Self) -> bool {
        !self.after(other)
    }

    /// Returns whether going upward from `lo`, `self` is met no later than `hi`
    /// (`between()`; both ends included).
    #[inline]
    pub const fn between(self, lo: Self, hi: Self) -> bool {
        hi.0.wrapping_sub(lo.0) >= self.0.wrapping_sub(lo.0)
    }

    /// The number `bytes` later.
    #[inline]
    pub const fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// The number `bytes` earlier.
    #[inline]
    pub const fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }

    /// How many bytes `self` is after `earlier`, modulo 2^32.
    #[inline]
    pub const fn dist_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How many bytes `self` is after `earlier`; 0 if it is not after it.
    #[inline]
    pub const fn saturating_dist_from(self, earlier: Self) -> u32 {
        if self.after(earlier) {
            self.dist_from(earlier)
        } else {
            0
        }
    }
}

impl From<u32> for Seq {
    #[inline]
    fn from(raw: u32) -> Self {
        Self(raw)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_seq))]
mod tests {
    use super::*;

    #[test]
    fn order_wraps() {
        let top = Seq(u32::MAX);
        let zero = Seq(0);
        assert!(top.before(zero));
        assert!(zero.after(top));
        assert!(!zero.before(zero));
        assert!(zero.at_or_before(zero));
        assert!(!zero.at_or_before(top));
        assert_eq!(top.add(1), zero);
        assert_eq!(zero.sub(1), top);
        assert_eq!(Seq(4).dist_from(Seq(u32::MAX - 3)), 8);
    }

    #[test]
    fn half_circle_away_is_before_both_ways() {
        // As in the kernel: exactly 2^31 apart counts as before.
        assert!(Seq(0).before(Seq(1 << 31)));
        assert!(Seq(1 << 31).before(Seq(0)));
    }

    #[test]
    fn between_is_inclusive_and_wraps() {
        let lo = Seq(u32::MAX - 1);
        let hi = Seq(2);
        assert!(lo.between(lo, hi));
        assert!(hi.between(lo, hi));
        assert!(Seq(0).between(lo, hi));
        assert!(!Seq(3).between(lo, hi));
        assert!(!lo.sub(1).between(lo, hi));
    }

    #[test]
    fn saturating_distance() {
        assert_eq!(Seq(5).saturating_dist_from(Seq(3)), 2);
        assert_eq!(Seq(3).saturating_dist_from(Seq(5)), 0);
        assert_eq!(Seq(1).saturating_dist_from(Seq(u32::MAX)), 2);
    }
}
