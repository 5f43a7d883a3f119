// SPDX-License-Identifier: GPL-2.0

//! Connections that move to another NIC: in which order, as many as may be in one operation,
//! and what became of each.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    eligibility::{
        may_change,
        may_differ, //
    },
    reason::{
        Failover,
        Refusal, //
    }, //
};

/// Connections that are moved in one operation at most: bits of a word.
pub const CHUNK: usize = u64::BITS as usize;

/// Has the `most` of `list` with the most `load` moved once each, those first that have more: up
/// to [`CHUNK`] by `together`, which returns a bit for each that it began, the lowest for the
/// first; all others by `alone`. Returns whether all were.
pub fn move_all<T>(
    list: &mut [T],
    most: usize,
    load: impl Fn(&T) -> u64,
    mut together: impl FnMut(&[T]) -> u64,
    mut alone: impl FnMut(&T),
) -> bool {
    busiest_first(list, load);
    for chunk in list.get(..most).unwrap_or(list).chunks(CHUNK) {
        let begun = match chunk.len() > 1 {
            true => together(chunk),
            false => 0,
        };
        for (index, one) in chunk.iter().enumerate() {
            if begun & 1 << index == 0 {
                alone(one);
            }
        }
    }
    list.len() <= most
}

/// How far a connection has come that its old target has terminated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It is none of the operation: it goes by itself, unless nobody wants it elsewhere.
    Alone,
    /// It goes with the others.
    Together,
    /// It was refused before the operation.
    Refused(Refusal),
}

/// What became of a connection in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// How it is counted.
    pub how: Failover,
    /// Whether it is a candidate: what this member refuses, it or another one may take later.
    pub again: bool,
}

impl Settled {
    /// Of one for which the attempt ended in `result`, if there was one; `has_link`: a member of
    /// the bond carries its frames.
    pub fn of<T>(result: Option<Result<T, Refusal>>, has_link: impl FnOnce() -> bool) -> Self {
        let refusal = match result {
            Some(Ok(_)) => {
                return Settled {
                    how: Failover::Moved,
                    again: false,
                }
            }
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        Settled {
            how: match has_link() {
                true => Failover::Link,
                false => Failover::Host,
            },
            again: refusal.is_some_and(|reason| may_change(reason) || may_differ(reason)),
        }
    }
}

/// Puts those with the most `load` first: they are what the NIC is for if it has not room for
/// all. Those of the same load in any order. A heap sort: in place, never slow, and with little
/// on the stack, where a quick sort has a kilobyte.
pub fn busiest_first<T>(list: &mut [T], load: impl Fn(&T) -> u64) {
    for root in (0..list.len() / 2).rev() {
        sift_down(list, root, &load);
    }
    for end in (1..list.len()).rev() {
        // The least of those that are left goes to their end.
        list.swap(0, end);
        if let Some(rest) = list.get_mut(..end) {
            sift_down(rest, 0, &load);
        }
    }
}

/// Makes `list` a heap again, the least first, in which `at` may be too large for its place.
fn sift_down<T>(list: &mut [T], mut at: usize, load: impl Fn(&T) -> u64) {
    let load_at = |list: &[T], at: usize| list.get(at).map(&load);
    // Ends: `at` grows.
    loop {
        let left = 2 * at + 1;
        let right = left + 1;
        let least = match (load_at(list, left), load_at(list, right)) {
            (Some(a), Some(b)) if b < a => right,
            _ => left,
        };
        match (load_at(list, least), load_at(list, at)) {
            (Some(child), Some(own)) if child < own => list.swap(least, at),
            _ => return,
        }
        at = least;
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_failover))]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_come_first() {
        let lists: [&[u64]; 6] = [
            &[],
            &[7],
            &[1, 2],
            &[2, 1],
            &[5, 5, 5],
            &[3, u64::MAX, 0, 9, 3, 1, 0, 12, 9],
        ];
        for from in lists {
            let mut list = [0; 16];
            let list = &mut list[..from.len()];
            list.copy_from_slice(from);
            busiest_first(list, |load| *load);
            assert!(list.windows(2).all(|pair| pair[0] >= pair[1]));
            for load in from {
                let count = |list: &[u64]| list.iter().filter(|other| *other == load).count();
                assert_eq!(count(list), count(from));
            }
        }
    }

    #[test]
    fn each_is_moved_once() {
        // How many there are, those that the operation begins, and how many go by themselves.
        let cases = [
            (0, !0, 0),
            (1, !0, 1),
            (2, !0, 0),
            (64, !0, 0),
            (65, !0, 1),
            (66, !0, 0),
            (130, !0, 0),
            (64, 0, 64),
            (66, 1, 64),
            (64, 1 << 63, 63),
        ];
        for (len, begin, by_itself) in cases {
            let mut list = [0u64; 130];
            let list = &mut list[..len];
            for (load, one) in list.iter_mut().enumerate() {
                *one = load as u64;
            }
            let (mut moved, mut alone) = (0, 0);
            let sum: u64 = list.iter().sum();
            let mut left = 0;
            let all = move_all(
                list,
                len,
                |load| *load,
                |chunk| {
                    assert!((2..=CHUNK).contains(&chunk.len()));
                    for (index, load) in chunk.iter().enumerate() {
                        if begin & 1 << index != 0 {
                            moved += load;
                        }
                    }
                    begin
                },
                |load| {
                    left += load;
                    alone += 1;
                },
            );
            assert!(all);
            assert_eq!(alone, by_itself);
            assert_eq!(moved + left, sum);
        }
    }

    #[test]
    fn the_others_stay() {
        for (most, moved, all) in [(0, 0, false), (2, 17, false), (3, 20, true), (9, 20, true)] {
            let mut list = [8u64, 3, 9];
            let mut sum = 0;
            let done = move_all(&mut list, most, |load| *load, |_| 0, |load| sum += load);
            assert_eq!((sum, done), (moved, all));
        }
    }

    #[test]
    fn what_became_of_it() {
        let cases = [
            (Some(Ok(())), Failover::Moved, Failover::Moved, false),
            (None, Failover::Link, Failover::Host, false),
            // May pass, is the device's, is the connection's.
            (
                Some(Err(Refusal::Recovery)),
                Failover::Link,
                Failover::Host,
                true,
            ),
            (
                Some(Err(Refusal::TableFull)),
                Failover::Link,
                Failover::Host,
                true,
            ),
            (
                Some(Err(Refusal::SmallMss)),
                Failover::Link,
                Failover::Host,
                true,
            ),
            (
                Some(Err(Refusal::Md5Ao)),
                Failover::Link,
                Failover::Host,
                false,
            ),
        ];
        for (result, linked, unlinked, again) in cases {
            for (has_link, how) in [(true, linked), (false, unlinked)] {
                assert_eq!(Settled::of(result, || has_link), Settled { how, again });
            }
        }
    }

    #[test]
    fn of_any_length() {
        let mut list = [0u64; 200];
        for len in 0..list.len() {
            let list = &mut list[..len];
            let mut seed = len as u64 + 1;
            for load in list.iter_mut() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *load = seed >> 60;
            }
            let sum: u64 = list.iter().sum();
            busiest_first(list, |load| *load);
            assert!(list.windows(2).all(|pair| pair[0] >= pair[1]));
            assert_eq!(list.iter().sum::<u64>(), sum);
        }
    }
}
