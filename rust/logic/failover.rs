// SPDX-License-Identifier: GPL-2.0

//! In which order connections move to another NIC.
//!
//! Claims: Documentation/networking/toe-claims.rst

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
