// SPDX-License-Identifier: GPL-2.0

//! Header prediction for whole headers: what the frames of one connection have
//! in common, so that a few comparisons of words recognise one.
//!
//! A prediction covers the two layouts that nearly all frames have: IPv4 or IPv6
//! without options, TCP with just a timestamp in its usual place. Whatever does
//! not match is parsed from scratch by [`wire::parse_into`], which decides.

use super::{
    seq::Seq,
    tuple::{
        Family,
        Tuple, //
    },
    wire::{
        self,
        OptKind,
        Segment,
        ETH_LEN,
        IPV4_LEN,
        IPV6_LEN,
        TCP_LEN,
        TS_LEN, //
    }, //
};

/// Length of all headers over IPv4.
pub const V4_LEN: usize = ETH_LEN + IPV4_LEN + TCP_LEN + TS_LEN;
/// Length of all headers over IPv6.
pub const V6_LEN: usize = ETH_LEN + IPV6_LEN + TCP_LEN + TS_LEN;

/// Words that are compared; the last bytes of a header are a timestamp.
const V4_WORDS: usize = V4_LEN / 8;
const V6_WORDS: usize = V6_LEN / 8;

/// Which bits of a frame are compared.
const V4_MASK: [u64; V4_WORDS] = words(mask::<V4_LEN>(Family::V4));
const V6_MASK: [u64; V6_WORDS] = words(mask::<V6_LEN>(Family::V6));

/// What the frames to one end of a connection look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    family: Family,
    words: [u64; V6_WORDS],
}

/// The first bytes as words.
const fn words<const LEN: usize, const N: usize>(bytes: [u8; LEN]) -> [u64; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N * 8 {
        out[i / 8] |= (bytes[i] as u64) << (i % 8 * 8);
        i += 1;
    }
    out
}

/// Offset of the TCP header.
const fn l4_off(family: Family) -> usize {
    match family {
        Family::V4 => ETH_LEN + IPV4_LEN,
        Family::V6 => ETH_LEN + IPV6_LEN,
    }
}

/// The bits that are the same in all frames of a connection.
const fn mask<const LEN: usize>(family: Family) -> [u8; LEN] {
    let mut m = [0; LEN];
    let l4 = l4_off(family);
    let mut i = 0;
    while i < LEN {
        m[i] = match (i, family) {
            // Destination, ethertype.
            (0..6 | 12..14, _) => 0xff,
            // Version and header length, fragment, protocol, addresses.
            (14 | 21 | 23, Family::V4) => 0xff,
            (20, Family::V4) => 0x3f,
            (26..34, Family::V4) => 0xff,
            // Version, next header, addresses.
            (14, Family::V6) => 0xf0,
            (20, Family::V6) => 0xff,
            (22..54, Family::V6) => 0xff,
            _ => 0,
        };
        // Ports, header length, first word of the options.
        if (i >= l4 && i < l4 + 4) || (i >= l4 + TCP_LEN && i < l4 + TCP_LEN + 4) {
            m[i] = 0xff;
        }
        if i == l4 + 12 {
            m[i] = 0xf0;
        }
        i += 1;
    }
    m
}

/// Returns whether the words of `frame` have the expected bits.
#[inline(always)]
fn same<const LEN: usize, const N: usize>(
    frame: &[u8; LEN],
    expected: &[u64; V6_WORDS],
    mask: &[u64; N],
) -> bool {
    let mut odd = 0;
    for ((bytes, expected), mask) in frame.chunks_exact(8).zip(expected).zip(mask) {
        if let Some(bytes) = bytes.first_chunk::<8>() {
            odd |= (u64::from_le_bytes(*bytes) ^ expected) & mask;
        }
    }
    odd == 0
}

#[inline(always)]
fn be16<const LEN: usize>(frame: &[u8; LEN], at: usize) -> u16 {
    match frame.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        Some(bytes) => u16::from_be_bytes(*bytes),
        None => 0,
    }
}

#[inline(always)]
fn be32<const LEN: usize>(frame: &[u8; LEN], at: usize) -> u32 {
    match frame.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => 0,
    }
}

impl Expected {
    /// The frames of `tuple`, whose local end has link address `mac`, without their
    /// VLAN tags: what a NIC has taken out of a frame, its user compares.
    pub fn new(mac: [u8; 6], tuple: &Tuple) -> Self {
        let mut h = [0; V6_LEN];
        let l4 = l4_off(tuple.family);
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = h.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        put(0, &mac);
        match tuple.family {
            Family::V4 => {
                put(12, &wire::ETHERTYPE_IPV4.to_be_bytes());
                put(14, &[0x45]);
                put(23, &[wire::IPPROTO_TCP]);
                put(26, &tuple.remote[..4]);
                put(30, &tuple.local[..4]);
            }
            Family::V6 => {
                put(12, &wire::ETHERTYPE_IPV6.to_be_bytes());
                put(14, &[0x60]);
                put(20, &[wire::IPPROTO_TCP]);
                put(22, &tuple.remote);
                put(38, &tuple.local);
            }
        }
        put(l4, &tuple.rport.to_be_bytes());
        put(l4 + 2, &tuple.lport.to_be_bytes());
        put(l4 + 12, &[((TCP_LEN + TS_LEN) as u8) << 2]);
        put(l4 + TCP_LEN, &wire::TS_ALIGNED);
        let mask: &[u64] = match tuple.family {
            Family::V4 => &V4_MASK,
            Family::V6 => &V6_MASK,
        };
        let mut words = [0; V6_WORDS];
        for ((word, bytes), mask) in words.iter_mut().zip(h.chunks_exact(8)).zip(mask) {
            if let Some(bytes) = bytes.first_chunk::<8>() {
                *word = u64::from_le_bytes(*bytes) & mask;
            }
        }
        Self {
            family: tuple.family,
            words,
        }
    }

    /// Parses a frame that looks as expected: `true` if it does, and then `out`
    /// is what [`wire::parse_into`] would make of it, but for the tuple, which
    /// stays as it was: it is the connection's.
    ///
    /// `frame` and `frame_len` are as for `parse_into`; `out` is the default.
    #[inline(always)]
    pub fn parse(&self, frame: &[u8], frame_len: u32, out: &mut Segment) -> bool {
        match self.family {
            Family::V4 => match frame.first_chunk::<V4_LEN>() {
                Some(h) if same(h, &self.words, &V4_MASK) => parse_v4::<true>(h, frame_len, out),
                _ => false,
            },
            Family::V6 => match frame.first_chunk::<V6_LEN>() {
                Some(h) if same(h, &self.words, &V6_MASK) => parse_v6(h, frame_len, out),
                _ => false,
            },
        }
    }

    /// [`parse`](Self::parse) of a frame that is known to look as expected, with the right
    /// IPv4 checksum: another one of the same template was parsed, and nothing has touched
    /// this one since it was written.
    #[inline(always)]
    pub fn read(&self, frame: &[u8], frame_len: u32, out: &mut Segment) -> bool {
        match self.family {
            Family::V4 => match frame.first_chunk::<V4_LEN>() {
                Some(h) => parse_v4::<false>(h, frame_len, out),
                None => false,
            },
            Family::V6 => match frame.first_chunk::<V6_LEN>() {
                Some(h) => parse_v6(h, frame_len, out),
                None => false,
            },
        }
    }
}

#[inline(always)]
fn parse_v4<const VERIFY: bool>(h: &[u8; V4_LEN], frame_len: u32, out: &mut Segment) -> bool {
    let ip = h.get(ETH_LEN..).and_then(|rest| rest.first_chunk());
    let total = u32::from(be16(h, 16));
    // A GSO frame too long for the field has 0: parsed from scratch.
    let fits = total <= frame_len.wrapping_sub(ETH_LEN as u32)
        && total >= (V4_LEN - ETH_LEN) as u32
        && frame_len >= V4_LEN as u32;
    if !fits || (VERIFY && !ip.is_some_and(wire::header_sum_ok)) {
        return false;
    }
    out.ip_ecn = h[15] & 3;
    out.dscp = h[15] >> 2;
    out.hop_limit = h[22];
    out.payload = total.wrapping_sub((V4_LEN - ETH_LEN) as u32);
    tcp::<V4_LEN>(h, ETH_LEN + IPV4_LEN, out);
    true
}

#[inline(always)]
fn parse_v6(h: &[u8; V6_LEN], frame_len: u32, out: &mut Segment) -> bool {
    let len = u32::from(be16(h, 18));
    let fits = len <= frame_len.wrapping_sub((ETH_LEN + IPV6_LEN) as u32)
        && len >= (TCP_LEN + TS_LEN) as u32
        && frame_len >= V6_LEN as u32;
    if !fits {
        return false;
    }
    let class = (h[14] << 4) | (h[15] >> 4);
    out.ip_ecn = class & 3;
    out.dscp = class >> 2;
    out.hop_limit = h[21];
    out.payload = len.wrapping_sub((TCP_LEN + TS_LEN) as u32);
    tcp::<V6_LEN>(h, ETH_LEN + IPV6_LEN, out);
    true
}

/// The TCP header at `l4`, with a timestamp after it.
#[inline(always)]
fn tcp<const LEN: usize>(h: &[u8; LEN], l4: usize, out: &mut Segment) {
    let bits = be16(h, l4 + 12);
    out.seq = Seq(be32(h, l4 + 4));
    out.ack = Seq(be32(h, l4 + 8));
    out.flags = bits & 0x1ff;
    out.window = be16(h, l4 + 14);
    out.ts = Some((be32(h, l4 + TCP_LEN + 4), be32(h, l4 + TCP_LEN + 8)));
    out.opts = OptKind::Timestamp;
    out.l4_off = l4 as u16;
    out.data_off = LEN as u16;
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_expect))]
mod tests {
    use super::super::vlan::Tags;
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    /// A frame to the local end of `tuple` with 3 bytes of payload.
    fn frame(tuple: &Tuple, out: &mut [u8; V6_LEN + 3]) -> usize {
        let l4 = l4_off(tuple.family);
        let len = l4 + TCP_LEN + TS_LEN + 3;
        out.fill(0);
        out[..6].copy_from_slice(&MAC);
        match tuple.family {
            Family::V4 => {
                out[12..16].copy_from_slice(&[8, 0, 0x45, 0x28]);
                out[16..18].copy_from_slice(&((len - ETH_LEN) as u16).to_be_bytes());
                out[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
                out[26..30].copy_from_slice(&tuple.remote[..4]);
                out[30..34].copy_from_slice(&tuple.local[..4]);
                let mut sum = 0u32;
                for word in out[14..34].chunks_exact(2) {
                    sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
                }
                sum = (sum >> 16) + (sum & 0xffff);
                sum = (sum >> 16) + (sum & 0xffff);
                out[24..26].copy_from_slice(&(!sum as u16).to_be_bytes());
            }
            Family::V6 => {
                out[12..16].copy_from_slice(&[0x86, 0xdd, 0x62, 0x80]);
                out[18..22].copy_from_slice(&[0, 35, 6, 64]);
                out[22..38].copy_from_slice(&tuple.remote);
                out[38..54].copy_from_slice(&tuple.local);
            }
        }
        out[l4..l4 + 2].copy_from_slice(&tuple.rport.to_be_bytes());
        out[l4 + 2..l4 + 4].copy_from_slice(&tuple.lport.to_be_bytes());
        out[l4 + 4..l4 + 12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        out[l4 + 12..l4 + 16].copy_from_slice(&[0x80, 0x18, 9, 10]);
        out[l4 + 20..l4 + 32].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 11, 0, 0, 0, 12]);
        len
    }

    fn tuples() -> [Tuple; 2] {
        let v4 = Tuple::v4([192, 0, 2, 1], 80, [192, 0, 2, 9], 4000);
        let v6 = Tuple {
            family: Family::V6,
            local: [0x20; 16],
            remote: [0x21; 16],
            lport: 443,
            rport: 50_000,
            vlan: Tags::NONE,
        };
        [v4, v6]
    }

    #[test]
    fn agrees_with_the_parser() {
        for tuple in tuples() {
            let mut bytes = [0; V6_LEN + 3];
            let len = frame(&tuple, &mut bytes);
            let expected = Expected::new(MAC, &tuple);
            let (mut fast, mut slow) = (Segment::default(), Segment::default());
            assert!(expected.parse(&bytes[..len], len as u32, &mut fast));
            assert!(wire::parse_into(&bytes[..len], len as u32, &mut slow).is_ok());
            assert_eq!(slow.tuple, tuple);
            fast.tuple = tuple;
            assert_eq!(fast, slow);
            assert_eq!(fast.payload, 3);
            let mut read = Segment::default();
            assert!(expected.read(&bytes[..len], len as u32, &mut read));
            read.tuple = tuple;
            assert_eq!(read, slow);
        }
    }

    /// Whatever byte is changed: taken only if the parser makes the same of it.
    #[test]
    fn never_takes_what_the_parser_would_not() {
        for tuple in tuples() {
            let mut bytes = [0; V6_LEN + 3];
            let len = frame(&tuple, &mut bytes);
            let expected = Expected::new(MAC, &tuple);
            for at in 0..len - 3 {
                for flip in [1, 0x10, 0x80, 0xff] {
                    let mut bytes = bytes;
                    bytes[at] ^= flip;
                    let (mut fast, mut slow) = (Segment::default(), Segment::default());
                    if !expected.parse(&bytes[..len], len as u32, &mut fast) {
                        continue;
                    }
                    assert!(wire::parse_into(&bytes[..len], len as u32, &mut slow).is_ok());
                    assert_eq!(slow.tuple, tuple);
                    fast.tuple = tuple;
                    assert_eq!(fast, slow);
                    assert_eq!(bytes[..6], MAC);
                }
            }
        }
    }

    #[test]
    fn lengths_are_checked() {
        for tuple in tuples() {
            let mut bytes = [0; V6_LEN + 3];
            let len = frame(&tuple, &mut bytes);
            let expected = Expected::new(MAC, &tuple);
            let mut out = Segment::default();
            for short in 0..len {
                assert!(!expected.parse(&bytes[..short.min(len)], short as u32, &mut out));
                assert!(!expected.read(&bytes[..short.min(len)], short as u32, &mut out));
            }
            // Not all of it is linear; padding behind.
            assert!(expected.parse(&bytes[..len - 3], len as u32 + 9, &mut out));
        }
    }
}
