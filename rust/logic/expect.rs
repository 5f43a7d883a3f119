// SPDX-License-Identifier: GPL-2.0

//! Header prediction for whole headers: what the frames of one connection have
//! in common, so that a few comparisons recognise one.
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

/// What the frames to one end of a connection look like. It has no words of its own: to
/// compare the fields of the tuple costs as much, and an entry has one already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected<'a> {
    mac: &'a [u8; 6],
    tuple: &'a Tuple,
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

/// The bytes at `at` as they lie in memory; all ones beyond the header, where nothing is.
#[inline(always)]
fn raw<const N: usize, const LEN: usize>(header: &[u8; LEN], at: usize) -> [u8; N] {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().unwrap_or([0xff; N])
}

#[inline(always)]
fn raw32<const LEN: usize>(header: &[u8; LEN], at: usize) -> u32 {
    u32::from_ne_bytes(raw(header, at))
}

/// 0 if the first bytes of a frame are `mac`.
#[inline(always)]
fn other_station<const LEN: usize>(h: &[u8; LEN], mac: &[u8; 6]) -> u32 {
    (raw32(h, 0) ^ raw32(mac, 0))
        | u32::from(u16::from_ne_bytes(raw(h, 4)) ^ u16::from_ne_bytes(raw(mac, 4)))
}

/// 0 if the TCP header at `l4` has the ports of `tuple`, and a timestamp in its usual place.
#[inline(always)]
fn other_tcp<const LEN: usize>(h: &[u8; LEN], l4: usize, tuple: &Tuple) -> u32 {
    const DATA_OFF: u8 = ((TCP_LEN + TS_LEN) as u8) << 2;
    let ports = u32::from(tuple.rport) << 16 | u32::from(tuple.lport);
    let [off] = raw(h, l4 + 12);
    (be32(h, l4) ^ ports)
        | u32::from((off ^ DATA_OFF) & 0xf0)
        | (raw32(h, l4 + TCP_LEN) ^ u32::from_ne_bytes(wire::TS_ALIGNED))
}

impl<'a> Expected<'a> {
    /// The frames of `tuple`, whose local end has link address `mac`, without their
    /// VLAN tags: what a NIC has taken out of a frame, its user compares.
    #[inline(always)]
    pub const fn new(mac: &'a [u8; 6], tuple: &'a Tuple) -> Self {
        Self { mac, tuple }
    }

    #[inline(always)]
    fn same_v4(&self, h: &[u8; V4_LEN]) -> bool {
        const IP: usize = ETH_LEN;
        let (local, remote) = (raw32(&self.tuple.local, 0), raw32(&self.tuple.remote, 0));
        let odd = other_station(h, self.mac)
            // Ethertype; version and header length.
            | u32::from(be16(h, IP - 2) ^ wire::ETHERTYPE_IPV4)
            | u32::from(h[IP] ^ 0x45)
            // No fragment; protocol.
            | u32::from(be16(h, IP + 6) & 0x3fff)
            | u32::from(h[IP + 9] ^ wire::IPPROTO_TCP)
            | (raw32(h, IP + 12) ^ remote)
            | (raw32(h, IP + 16) ^ local)
            | other_tcp(h, ETH_LEN + IPV4_LEN, self.tuple);
        odd == 0
    }

    #[inline(always)]
    fn same_v6(&self, h: &[u8; V6_LEN]) -> bool {
        const IP: usize = ETH_LEN;
        let (local, remote) = (&self.tuple.local, &self.tuple.remote);
        let odd = other_station(h, self.mac)
            // Ethertype; version; next header.
            | u32::from(be16(h, IP - 2) ^ wire::ETHERTYPE_IPV6)
            | u32::from((h[IP] ^ 0x60) & 0xf0)
            | u32::from(h[IP + 6] ^ wire::IPPROTO_TCP)
            | other_tcp(h, ETH_LEN + IPV6_LEN, self.tuple);
        odd == 0 && raw(h, IP + 8) == *remote && raw(h, IP + 24) == *local
    }

    /// Parses a frame that looks as expected: `true` if it does, and then `out`
    /// is what [`wire::parse_into`] would make of it, but for the tuple, which
    /// stays as it was: it is the connection's.
    ///
    /// `frame` and `frame_len` are as for `parse_into`; `out` is the default.
    #[inline(always)]
    pub fn parse(&self, frame: &[u8], frame_len: u32, out: &mut Segment) -> bool {
        match self.tuple.family {
            Family::V4 => match frame.first_chunk::<V4_LEN>() {
                Some(h) if self.same_v4(h) => parse_v4::<true>(h, frame_len, out),
                _ => false,
            },
            Family::V6 => match frame.first_chunk::<V6_LEN>() {
                Some(h) if self.same_v6(h) => parse_v6(h, frame_len, out),
                _ => false,
            },
        }
    }

    /// [`parse`](Self::parse) of a frame that is known to look as expected, with the right
    /// IPv4 checksum: another one of the same template was parsed, and nothing has touched
    /// this one since it was written.
    #[inline(always)]
    pub fn read(&self, frame: &[u8], frame_len: u32, out: &mut Segment) -> bool {
        match self.tuple.family {
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

    /// Offset of the TCP header.
    const fn l4_off(family: Family) -> usize {
        match family {
            Family::V4 => ETH_LEN + IPV4_LEN,
            Family::V6 => ETH_LEN + IPV6_LEN,
        }
    }

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
            let expected = Expected::new(&MAC, &tuple);
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
            let expected = Expected::new(&MAC, &tuple);
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
            let expected = Expected::new(&MAC, &tuple);
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
