// SPDX-License-Identifier: GPL-2.0

//! The wire: seeded loss, reordering, duplication, delay and corruption; and
//! the checksum unit of the NICs at its ends.

use std::collections::BTreeMap;

/// Time in microseconds since the start of the run.
pub type Time = u64;

/// A small deterministic generator (SplitMix64).
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `lo` to `hi`, both included.
    pub fn range(&mut self, lo: u64, hi: u64) -> u64 {
        lo + self.next() % (hi - lo + 1)
    }

    /// True `n` times of a thousand.
    pub fn permille(&mut self, n: u64) -> bool {
        self.next() % 1000 < n
    }
}

/// What the wire does to frames, per thousand, and how long it takes, in us.
#[derive(Clone, Debug)]
pub struct Faults {
    pub loss: u64,
    pub duplicate: u64,
    pub reorder: u64,
    pub corrupt: u64,
    pub delay: (u64, u64),
}

/// One direction of the wire.
pub struct Link {
    rng: Rng,
    faults: Faults,
    queue: BTreeMap<(Time, u64), Vec<u8>>,
    count: u64,
    last: Time,
}

impl Link {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            rng: Rng::new(seed),
            faults,
            queue: BTreeMap::new(),
            count: 0,
            last: 0,
        }
    }

    pub fn send(&mut self, now: Time, mut frame: Vec<u8>) {
        let (lo, hi) = self.faults.delay;
        if self.rng.permille(self.faults.loss) {
            return;
        }
        if self.rng.permille(self.faults.corrupt) {
            // One bit beyond the Ethernet header, which has its own check: the
            // checksums above find that for certain.
            let bit = self.rng.range(14 * 8, frame.len() as u64 * 8 - 1);
            frame[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let copies = 1 + u64::from(self.rng.permille(self.faults.duplicate));
        for _ in 0..copies {
            let mut at = now + self.rng.range(lo, hi);
            if self.rng.permille(self.faults.reorder) {
                at += self.rng.range(1, 3 * hi);
            } else {
                at = at.max(self.last);
                self.last = at;
            }
            self.count += 1;
            self.queue.insert((at, self.count), frame.clone());
        }
    }

    pub fn next_arrival(&self) -> Option<Time> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    pub fn arrive(&mut self, now: Time) -> Option<Vec<u8>> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

fn ones_sum(bytes: &[u8], mut sum: u32) -> u32 {
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum
}

/// Transmit checksum offload: the field holds the pseudo header's sum.
pub fn complete_checksum(frame: &mut [u8], l4: usize) {
    let sum = !(ones_sum(&frame[l4..], 0) as u16);
    frame[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
}

/// Receive checksum offload: sums the segment and the pseudo header from the
/// addresses in the frame.
pub fn checksum_ok(frame: &[u8], l4: usize, l4_len: usize) -> bool {
    let l3 = 14;
    let addresses = if frame[l3] >> 4 == 4 {
        &frame[l3 + 12..l3 + 20]
    } else {
        &frame[l3 + 8..l3 + 40]
    };
    let sum = ones_sum(addresses, 6 + l4_len as u32);
    ones_sum(&frame[l4..l4 + l4_len], sum) == 0xffff
}
