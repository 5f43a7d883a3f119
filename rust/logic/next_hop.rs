// SPDX-License-Identifier: GPL-2.0

//! When an entry last checked the objects below it: the neighbour's link address is
//! *cached* state, of which the entry has a copy in its header; that frames arrive there is
//! *delegated* state, which the host gets from it.
//!
//! A neighbour that is not heard of becomes stale (RFC 4861 section 7.3). The host stack
//! checks it with each packet; an entry does so when an object of the target was changed,
//! and otherwise about once a second.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::seq::Seq;

/// When the next hop was checked, and what had been acknowledged then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The target's count of changes of its objects.
    changes: u32,
    /// The second, as [`second`] counts them.
    second: u32,
    /// What the peer had acknowledged.
    snd_una: Seq,
}

/// The second, about, of a clock in microseconds.
#[inline(always)]
pub const fn second(now_us: u64) -> u32 {
    (now_us >> 20) as u32
}

impl NextHop {
    /// The next hop is not known: it is checked before the next frame. `changes` is the
    /// present count.
    pub const fn unknown(changes: u32, snd_una: Seq) -> Self {
        Self {
            changes: changes.wrapping_sub(1),
            second: 0,
            snd_una,
        }
    }

    /// Returns whether there is no need to check it again.
    #[inline(always)]
    pub const fn is_current(&self, changes: u32, second: u32) -> bool {
        self.changes == changes && self.second == second
    }

    /// Returns whether no object was changed since the last check.
    #[inline(always)]
    pub const fn is_of(&self, changes: u32) -> bool {
        self.changes == changes
    }

    /// Returns whether the peer has acknowledged something since the last check: frames
    /// reach it.
    pub const fn progressed(&self, snd_una: Seq) -> bool {
        self.snd_una.before(snd_una)
    }

    /// The next hop was found to be as the entry has it.
    pub const fn checked(changes: u32, second: u32, snd_una: Seq) -> Self {
        Self {
            changes,
            second,
            snd_una,
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_next_hop))]
mod tests {
    use super::*;

    #[test]
    fn looked_at_when_something_changed() {
        for changes in [0, 1, u32::MAX] {
            assert!(!NextHop::unknown(changes, Seq(7)).is_current(changes, 0));
            let hop = NextHop::checked(changes, 5, Seq(7));
            assert!(hop.is_current(changes, 5));
            assert!(!hop.is_current(changes.wrapping_add(1), 5));
        }
    }

    #[test]
    fn looked_at_once_a_second() {
        let hop = NextHop::checked(1, second(9 << 20), Seq(7));
        assert!(hop.is_current(1, second((10 << 20) - 1)));
        assert!(!hop.is_current(1, second(10 << 20)));
        // After 136 years the count begins again.
        assert_eq!(second(1 << 52), 0);
    }

    #[test]
    fn only_new_acknowledgements_are_progress() {
        let hop = NextHop::checked(1, 0, Seq(u32::MAX));
        assert!(!hop.progressed(Seq(u32::MAX)));
        assert!(!hop.progressed(Seq(u32::MAX - 1)));
        assert!(hop.progressed(Seq(0)));
    }
}
