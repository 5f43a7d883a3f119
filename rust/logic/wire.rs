// SPDX-License-Identifier: GPL-2.0

//! The frame parser: from the Ethernet header to the TCP options, for every
//! received frame, before anything is known of its connection.
//!
//! The common case (20 byte IPv4 or 40 byte IPv6 header, no option or just a
//! timestamp) reads fixed offsets after one length check per layer. All else is
//! out of line. Arbitrary bytes give a result, never a panic, and work is
//! bounded by the header lengths.

use super::{
    reason::SpecialCase,
    seq::Seq,
    tuple::{
        Family,
        Tuple, //
    },
    vlan::{
        Tags,
        MAX_TAGS, //
    }, //
};

/// TCP header flags, as in [`Segment::flags`] (RFC 9293 section 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u16 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u16 = 2;
    /// Reset the connection.
    pub const RST: u16 = 4;
    /// Push function.
    pub const PSH: u16 = 8;
    /// The acknowledgement number is significant.
    pub const ACK: u16 = 16;
    /// The urgent pointer is significant.
    pub const URG: u16 = 32;
    /// ECN echo (RFC 3168).
    pub const ECE: u16 = 64;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u16 = 128;
    /// Accurate ECN (RFC 9768); formerly the nonce sum.
    pub const AE: u16 = 256;
}

/// Length of an Ethernet header, in bytes.
pub const ETH_LEN: usize = 14;
/// Length of an 802.1Q or 802.1ad tag, in bytes.
pub const VLAN_LEN: usize = 4;
/// Length of an IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header, in bytes.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options, in bytes.
pub const TCP_LEN: usize = 20;
/// Length of the aligned timestamp option: two NOPs and ten bytes.
pub const TS_LEN: usize = 12;
/// Bytes of a frame that, when linear, are enough for every frame the target
/// finishes itself, and for all of its TCP header.
pub const LINEAR_LEN: usize = ETH_LEN + MAX_TAGS * VLAN_LEN + IPV6_LEN + 60;

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// Ethertype of an 802.1ad tag (QinQ).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;
/// IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;

/// First word of the timestamp option in the layout that nearly all stacks use:
/// NOP, NOP, kind 8, length 10 (RFC 7323 appendix A).
pub(super) const TS_ALIGNED: [u8; 4] = [1, 1, 8, 10];

/// What the options of a segment are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OptKind {
    /// There are none, or nothing but padding.
    #[default]
    None,
    /// One timestamp and padding, nothing else.
    Timestamp,
    /// A SACK option, whatever else there is.
    Sack,
    /// Something else, or something malformed.
    Other,
}

/// The parts of a TCP segment that the engines need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The connection from the receiver's viewpoint: local is the destination.
    pub tuple: Tuple,
    /// Sequence number of the first payload byte.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// Flags: see [`flags`].
    pub flags: u16,
    /// Window field, not shifted.
    pub window: u16,
    /// Payload bytes, by the IP header: padding of short frames is not counted.
    pub payload: u32,
    /// Timestamp value and echo, if there is the option.
    pub ts: Option<(u32, u32)>,
    /// What options there are.
    pub opts: OptKind,
    /// Offset of the TCP header in the frame.
    pub l4_off: u16,
    /// Offset of the payload in the frame.
    pub data_off: u16,
    /// ECN field of the IP header.
    pub ip_ecn: u8,
    /// DSCP of the IP header.
    pub dscp: u8,
    /// TTL or hop limit of the IP header.
    pub hop_limit: u8,
}

impl Segment {
    /// Offset of the IP header in the frame, of IPv6 or IPv4.
    #[inline(always)]
    pub const fn l3_off(&self, v6: bool) -> u16 {
        let len = if v6 { IPV6_LEN } else { IPV4_LEN };
        self.l4_off.wrapping_sub(len as u16)
    }
}

/// A frame that is no plain TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// Not a TCP segment: the frame goes up the ordinary way.
    NotTcp,
    /// A frame that the target never finishes. With the tuple, if that can be
    /// told: the connection, if it is a delegated one, goes into legacy mode first.
    /// Without one the host stack drops the frame or it is a later fragment.
    Special(SpecialCase, Option<Tuple>),
}

/// Parses a frame; [`parse_into`] by value.
pub fn parse(frame: &[u8], frame_len: u32) -> Result<Segment, FrameError> {
    let mut segment = Segment::default();
    parse_into(frame, frame_len, &mut segment).map(|()| segment)
}

/// Parses a frame into `out`, which is the default before, but for the tag that a
/// NIC took out of the frame, and not to be used after an error.
///
/// `frame` are the linear bytes from the Ethernet header on; [`LINEAR_LEN`] of
/// them, or the whole frame, are enough. `frame_len` is the length of the whole
/// frame, with what is not linear.
pub fn parse_into(frame: &[u8], frame_len: u32, out: &mut Segment) -> Result<(), FrameError> {
    let Some(eth) = frame.first_chunk::<ETH_LEN>() else {
        return Err(FrameError::NotTcp);
    };
    let mut ethertype = u16::from_be_bytes([eth[12], eth[13]]);
    let mut l3_off = ETH_LEN;
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
        (ethertype, l3_off) = untag(frame, ethertype, &mut out.tuple.vlan)?;
    }
    let Some(l3) = frame.get(l3_off..) else {
        return Err(FrameError::NotTcp);
    };
    let l3_len = frame_len.saturating_sub(l3_off as u32);

    let (ip_len, l4_len) = match ethertype {
        ETHERTYPE_IPV4 => (IPV4_LEN, ipv4(l3, l3_len, out)?),
        ETHERTYPE_IPV6 => (IPV6_LEN, ipv6(l3, l3_len, out)?),
        _ => return Err(FrameError::NotTcp),
    };
    out.l4_off = l3_off.wrapping_add(ip_len) as u16;
    match l3.get(ip_len..) {
        Some(l4) => tcp(l4, l4_len, out),
        None => Err(FrameError::Special(SpecialCase::BadHeader, None)),
    }
}

/// Reads the tags that are in the frame, the first of Ethertype `ethertype`. Returns
/// the Ethertype and the offset of what they are in front of. A frame that has more
/// tags than a connection can have, or a tag without VLAN, is no connection's.
#[cold]
#[inline(never)]
fn untag(frame: &[u8], mut ethertype: u16, tags: &mut Tags) -> Result<(u16, usize), FrameError> {
    let mut off = ETH_LEN;
    // Ends: no more than `MAX_TAGS` are taken.
    while matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        let tag = frame
            .get(off..)
            .and_then(|rest| rest.first_chunk::<VLAN_LEN>());
        let Some([a, b, c, d]) = tag.copied() else {
            return Err(FrameError::NotTcp);
        };
        match tags.with_inner(ethertype, u16::from_be_bytes([a, b])) {
            Some(more) => *tags = more,
            None => return Err(FrameError::NotTcp),
        }
        ethertype = u16::from_be_bytes([c, d]);
        off = off.wrapping_add(VLAN_LEN);
    }
    Ok((ethertype, off))
}

/// Parses a segment that starts at its TCP header, `len` bytes long in all, as
/// the host stack's receive function and the socket's backlog have it. The
/// addresses in the tuple and the fields of the IP header are empty. `None` for
/// what [`parse`] would not call plain.
#[inline]
pub fn parse_tcp(bytes: &[u8], len: u32) -> Option<Segment> {
    let mut segment = Segment::default();
    tcp(bytes, len, &mut segment).is_ok().then_some(segment)
}

/// The IPv4 header. `l3` are the linear bytes from it on, and `l3_len` the length
/// of all from it on. Returns the length of TCP header and payload.
#[inline(always)]
fn ipv4(l3: &[u8], l3_len: u32, out: &mut Segment) -> Result<u32, FrameError> {
    let Some(h) = l3.first_chunk::<IPV4_LEN>() else {
        return Err(FrameError::NotTcp);
    };
    if h[9] != IPPROTO_TCP {
        return Err(FrameError::NotTcp);
    }
    // More fragments, or a fragment offset; the reserved bit is ignored.
    let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff;
    if h[0] != 0x45 || fragment != 0 {
        return Err(ipv4_special(l3, h, out.tuple.vlan));
    }
    if !header_sum_ok(h) {
        return Err(FrameError::Special(SpecialCase::BadChecksum, None));
    }
    let len = match u16::from_be_bytes([h[2], h[3]]) {
        // A GSO frame too long for the field.
        0 if l3_len > u32::from(u16::MAX) => l3_len,
        len => u32::from(len),
    };
    if len < (IPV4_LEN + TCP_LEN) as u32 || len > l3_len {
        return Err(FrameError::Special(SpecialCase::BadHeader, None));
    }
    out.tuple.family = Family::V4;
    if let (Some(remote), Some(local)) = (
        out.tuple.remote.first_chunk_mut::<4>(),
        out.tuple.local.first_chunk_mut::<4>(),
    ) {
        *remote = [h[12], h[13], h[14], h[15]];
        *local = [h[16], h[17], h[18], h[19]];
    }
    out.ip_ecn = h[1] & 3;
    out.dscp = h[1] >> 2;
    out.hop_limit = h[8];
    Ok(len.wrapping_sub(IPV4_LEN as u32))
}

/// Returns whether the checksum of a 20 byte IPv4 header is right (RFC 791).
#[inline(always)]
pub(super) fn header_sum_ok(h: &[u8; IPV4_LEN]) -> bool {
    sum_is_ones(h)
}

/// Returns whether the 16-bit words of a header of at most 60 bytes, a multiple of
/// four, add up to all ones (RFC 1071).
#[inline(always)]
fn sum_is_ones(header: &[u8]) -> bool {
    let mut sum = 0u64;
    for word in header.chunks_exact(4) {
        if let [a, b, c, d] = word {
            // At most 15 words of 32 bits.
            sum = sum.wrapping_add(u64::from(u32::from_be_bytes([*a, *b, *c, *d])));
        }
    }
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum == 0xffff
}

/// An IPv4 header with options, or a fragment, or neither version 4 nor long
/// enough.
#[cold]
#[inline(never)]
fn ipv4_special(l3: &[u8], h: &[u8; IPV4_LEN], vlan: Tags) -> FrameError {
    let header_len = usize::from(h[0] & 0xf) * 4;
    if h[0] >> 4 != 4 || header_len < IPV4_LEN {
        return FrameError::Special(SpecialCase::BadHeader, None);
    }
    // What the host's IP layer drops must not cost a connection its offload.
    if !l3.get(..header_len).is_some_and(sum_is_ones) {
        return FrameError::Special(SpecialCase::BadChecksum, None);
    }
    let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff;
    if fragment & 0x1fff != 0 {
        // Not the first fragment: no TCP header, so no connection.
        return FrameError::Special(SpecialCase::Fragment, None);
    }
    let case = if fragment != 0 {
        SpecialCase::Fragment
    } else {
        SpecialCase::IpOptions
    };
    let tuple = Tuple {
        vlan,
        ..Tuple::v4(
            [h[16], h[17], h[18], h[19]],
            0,
            [h[12], h[13], h[14], h[15]],
            0,
        )
    };
    FrameError::Special(case, with_ports(tuple, l3, header_len))
}

/// The IPv6 header; arguments and result as of [`ipv4`].
#[inline(always)]
fn ipv6(l3: &[u8], l3_len: u32, out: &mut Segment) -> Result<u32, FrameError> {
    let Some(h) = l3.first_chunk::<IPV6_LEN>() else {
        return Err(FrameError::NotTcp);
    };
    out.tuple.family = Family::V6;
    out.tuple.remote.copy_from_slice(&h[8..24]);
    out.tuple.local.copy_from_slice(&h[24..40]);
    if h[6] != IPPROTO_TCP {
        return Err(ipv6_special(l3, h[6], out.tuple));
    }
    if h[0] >> 4 != 6 {
        return Err(FrameError::Special(SpecialCase::BadHeader, None));
    }
    let payload = l3_len.saturating_sub(IPV6_LEN as u32);
    let len = match u16::from_be_bytes([h[4], h[5]]) {
        // A GSO frame too long for the field.
        0 if payload > u32::from(u16::MAX) => payload,
        len => u32::from(len),
    };
    if len < TCP_LEN as u32 || len > payload {
        return Err(FrameError::Special(SpecialCase::BadHeader, None));
    }
    let class = (h[0] << 4) | (h[1] >> 4);
    out.ip_ecn = class & 3;
    out.dscp = class >> 2;
    out.hop_limit = h[7];
    Ok(len)
}

/// An IPv6 packet whose first next header is not TCP: walks the extension
/// headers, as far as they are linear, to see whether TCP follows.
#[cold]
#[inline(never)]
fn ipv6_special(l3: &[u8], first: u8, tuple: Tuple) -> FrameError {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    const MAX_HEADERS: usize = 8;

    let mut next = first;
    let mut off = IPV6_LEN;
    let mut case = SpecialCase::ExtHeader;
    for _ in 0..MAX_HEADERS {
        let Some(h) = l3.get(off..).and_then(|rest| rest.first_chunk::<4>()) else {
            return FrameError::NotTcp;
        };
        let len = match next {
            IPPROTO_TCP => return FrameError::Special(case, with_ports(tuple, l3, off)),
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(h[1]) + 1) * 8,
            AUTHENTICATION => (usize::from(h[1]) + 2) * 4,
            FRAGMENT => {
                case = SpecialCase::Fragment;
                if u16::from_be_bytes([h[2], h[3]]) & 0xfff8 != 0 {
                    // Not the first fragment: no TCP header follows.
                    return if h[0] == IPPROTO_TCP {
                        FrameError::Special(case, None)
                    } else {
                        FrameError::NotTcp
                    };
                }
                8
            }
            _ => return FrameError::NotTcp,
        };
        next = h[0];
        off = off.saturating_add(len);
    }
    FrameError::NotTcp
}

/// The tuple with the ports of the TCP header at `off`, if they are linear.
fn with_ports(tuple: Tuple, l3: &[u8], off: usize) -> Option<Tuple> {
    let ports = l3.get(off..)?.first_chunk::<4>()?;
    Some(Tuple {
        rport: u16::from_be_bytes([ports[0], ports[1]]),
        lport: u16::from_be_bytes([ports[2], ports[3]]),
        ..tuple
    })
}

/// The TCP header. `l4` are the linear bytes from it on, `l4_len` its length with
/// the payload; `out.l4_off` is set.
#[inline(always)]
fn tcp(l4: &[u8], l4_len: u32, out: &mut Segment) -> Result<(), FrameError> {
    let Some(h) = l4.first_chunk::<TCP_LEN>() else {
        return Err(FrameError::Special(SpecialCase::BadHeader, None));
    };
    out.tuple.rport = u16::from_be_bytes([h[0], h[1]]);
    out.tuple.lport = u16::from_be_bytes([h[2], h[3]]);
    let header_len = usize::from(h[12] >> 4) * 4;
    if header_len < TCP_LEN || header_len as u32 > l4_len {
        // The host stack drops this: no reason to bother it with the connection.
        return Err(FrameError::Special(SpecialCase::BadHeader, None));
    }
    let Some(options) = l4.get(TCP_LEN..header_len) else {
        return Err(FrameError::Special(SpecialCase::BadHeader, Some(out.tuple)));
    };
    (out.opts, out.ts) = options_kind(options);
    out.seq = Seq(u32::from_be_bytes([h[4], h[5], h[6], h[7]]));
    out.ack = Seq(u32::from_be_bytes([h[8], h[9], h[10], h[11]]));
    out.flags = (u16::from(h[12] & 1) << 8) | u16::from(h[13]);
    out.window = u16::from_be_bytes([h[14], h[15]]);
    out.payload = l4_len.wrapping_sub(header_len as u32);
    out.data_off = out.l4_off.wrapping_add(header_len as u16);
    Ok(())
}

/// Classifies the option bytes of a TCP header.
#[inline(always)]
fn options_kind(options: &[u8]) -> (OptKind, Option<(u32, u32)>) {
    if options.is_empty() {
        return (OptKind::None, None);
    }
    if let Some((o, [])) = options.split_first_chunk::<TS_LEN>() {
        if [o[0], o[1], o[2], o[3]] == TS_ALIGNED {
            let tsval = u32::from_be_bytes([o[4], o[5], o[6], o[7]]);
            let tsecr = u32::from_be_bytes([o[8], o[9], o[10], o[11]]);
            return (OptKind::Timestamp, Some((tsval, tsecr)));
        }
    }
    walk_options(options)
}

/// Options in any layout: at most 40 bytes, each step takes at least one.
#[cold]
#[inline(never)]
fn walk_options(mut rest: &[u8]) -> (OptKind, Option<(u32, u32)>) {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const SACK: u8 = 5;
    const TIMESTAMP: u8 = 8;

    let mut ts = None;
    let mut sack = false;
    let mut other = false;
    while let [kind, tail @ ..] = rest {
        match *kind {
            END => break,
            NOP => {
                rest = tail;
                continue;
            }
            _ => {}
        }
        let len = tail.first().map_or(0, |len| usize::from(*len));
        let Some((option, next)) = rest.split_at_checked(len) else {
            other = true;
            break;
        };
        match option {
            [TIMESTAMP, 10, a, b, c, d, e, f, g, h] if ts.is_none() => {
                let tsval = u32::from_be_bytes([*a, *b, *c, *d]);
                let tsecr = u32::from_be_bytes([*e, *f, *g, *h]);
                ts = Some((tsval, tsecr));
            }
            [SACK, _, _, ..] => sack = true,
            // A length of less than 2 would not advance.
            [_, _, ..] => other = true,
            _ => {
                other = true;
                break;
            }
        }
        rest = next;
    }
    let kind = match (sack, other, ts) {
        // What signs a segment may be among them: more than a SACK.
        (_, true, _) => OptKind::Other,
        (true, ..) => OptKind::Sack,
        (_, _, Some(_)) => OptKind::Timestamp,
        _ => OptKind::None,
    };
    (kind, ts)
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_wire))]
mod tests {
    use super::super::template::{
        HeaderTemplate,
        TemplateParams,
        TxFields, //
    };
    use super::*;

    const LEN: usize = 128;

    fn tuple() -> Tuple {
        Tuple::v4([10, 0, 0, 1], 1111, [10, 0, 0, 2], 2222)
    }

    /// A frame of 128 bytes and the offset of its payload.
    fn frame(tuple: Tuple, ts_ok: bool) -> ([u8; LEN], usize) {
        let t = HeaderTemplate::new(&TemplateParams {
            tuple,
            tos: 0xb9,
            ttl: 61,
            ts_ok,
            ..TemplateParams::default()
        });
        let mut out = [0; LEN];
        let fields = TxFields {
            seq: Seq(1),
            ack: Seq(2),
            flags: flags::ACK | flags::AE,
            window: 3,
            tsval: 4,
            tsecr: 5,
            payload_len: LEN.saturating_sub(t.len()) as u32,
            ip_id: 6,
            gso: false,
        };
        let _ = t.write(&mut out, &fields);
        (out, t.len())
    }

    /// Puts the right checksum into an IPv4 header of `len` bytes at offset 14.
    fn fix_sum(f: &mut [u8; LEN], len: usize) {
        f[24] = 0;
        f[25] = 0;
        let mut sum = 0u32;
        for i in 0..len / 2 {
            sum += u32::from(u16::from_be_bytes([f[14 + 2 * i], f[15 + 2 * i]]));
        }
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
        f[24..26].copy_from_slice(&sum.to_be_bytes());
    }

    fn case(p: Result<Segment, FrameError>) -> Option<(SpecialCase, bool)> {
        match p {
            Err(FrameError::Special(case, tuple)) => Some((case, tuple.is_some())),
            _ => None,
        }
    }

    #[test]
    fn plain_segments() {
        let six = Tuple::v6([1; 16], 7, [2; 16], 8);
        for sent in [tuple(), six] {
            for ts_ok in [false, true] {
                let (f, data_off) = frame(sent, ts_ok);
                let want = Segment {
                    tuple: sent.reversed(),
                    seq: Seq(1),
                    ack: Seq(2),
                    flags: flags::ACK | flags::AE,
                    window: 3,
                    payload: (LEN - data_off) as u32,
                    ts: ts_ok.then_some((4, 5)),
                    opts: if ts_ok {
                        OptKind::Timestamp
                    } else {
                        OptKind::None
                    },
                    l4_off: (data_off - if ts_ok { 32 } else { 20 }) as u16,
                    data_off: data_off as u16,
                    ip_ecn: 1,
                    dscp: 0x2e,
                    hop_limit: 61,
                };
                assert!(parse(&f, LEN as u32) == Ok(want));
                // The headers alone are enough.
                assert!(parse(&f[..data_off], LEN as u32) == Ok(want));
                // Ethernet padding is not payload.
                assert!(parse(&f, LEN as u32 + 6) == Ok(want));
            }
        }
    }

    /// A tag in front of what is at offset 12 of `f`, whose last bytes are lost.
    fn put_tag(f: &[u8; LEN], tag: [u8; VLAN_LEN]) -> [u8; LEN] {
        let mut out = *f;
        out[16..].copy_from_slice(&f[12..LEN - VLAN_LEN]);
        out[12..16].copy_from_slice(&tag);
        out
    }

    #[test]
    fn tags_are_part_of_the_tuple() {
        let (plain, data_off) = frame(tuple(), true);
        let len = LEN as u32 + VLAN_LEN as u32;
        let one = put_tag(&plain, [0x81, 0, 0xe0, 100]);
        let Ok(s) = parse(&one, len) else {
            panic!("a tagged frame is refused");
        };
        let c = Tags::NONE.with_inner(ETHERTYPE_VLAN, 100);
        assert!(Some(s.tuple.vlan) == c);
        assert_eq!(usize::from(s.data_off), data_off + VLAN_LEN);
        assert!(
            Tuple {
                vlan: Tags::NONE,
                ..s.tuple
            } == tuple().reversed()
        );

        // In the frame, or one of them taken out by a NIC.
        let two = put_tag(&one, [0x88, 0xa8, 0, 10]);
        let both = Tags::NONE
            .with_inner(ETHERTYPE_QINQ, 10)
            .and_then(|tags| tags.with_inner(ETHERTYPE_VLAN, 100));
        assert!(both.is_some());
        assert!(parse(&two, len + 4).map(|s| Some(s.tuple.vlan)) == Ok(both));
        let mut s = Segment::default();
        s.tuple.vlan = Tags::NONE
            .with_inner(ETHERTYPE_QINQ, 10)
            .unwrap_or_default();
        assert!(parse_into(&one, len, &mut s).is_ok());
        assert!(Some(s.tuple.vlan) == both);

        // A third tag; a priority without a VLAN; no room for the tag.
        let three = put_tag(&two, [0x81, 0, 0, 1]);
        assert!(parse(&three, len + 8) == Err(FrameError::NotTcp));
        let priority = put_tag(&plain, [0x81, 0, 0xe0, 0]);
        assert!(parse(&priority, len) == Err(FrameError::NotTcp));
        for short in ETH_LEN..ETH_LEN + 2 * VLAN_LEN {
            assert!(parse(&two[..short], short as u32) == Err(FrameError::NotTcp));
        }
    }

    #[test]
    fn every_shorter_frame_is_refused() {
        let (f, _) = frame(tuple(), true);
        for len in 0..LEN {
            assert!(parse(&f[..len], len as u32).is_err());
        }
    }

    #[test]
    fn ipv4_special_cases() {
        let (good, _) = frame(tuple(), false);
        let len = LEN as u32;

        let mut f = good;
        f[30] ^= 1;
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadChecksum, false)));
        let mut f = good;
        f[14] = 0x46;
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadChecksum, false)));
        // The first word of TCP's header is the option now.
        fix_sum(&mut f, 24);
        assert!(case(parse(&f, len)) == Some((SpecialCase::IpOptions, true)));
        f[14] = 0x44;
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadHeader, false)));
        let mut f = good;
        f[20] = 0x20;
        fix_sum(&mut f, 20);
        assert!(matches!(
            parse(&f, len),
            Err(FrameError::Special(SpecialCase::Fragment, Some(t))) if t == tuple().reversed()
        ));
        f[21] = 1;
        fix_sum(&mut f, 20);
        assert!(case(parse(&f, len)) == Some((SpecialCase::Fragment, false)));
        f[23] = 17;
        assert!(parse(&f, len) == Err(FrameError::NotTcp));
        let mut f = good;
        f[46] = 0x40;
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadHeader, false)));
        f[46] = 0xf0;
        assert!(case(parse(&f[..60], len)) == Some((SpecialCase::BadHeader, true)));
        f[17] = 40;
        f[16] = 0;
        fix_sum(&mut f, 20);
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadHeader, false)));
        // Length 0 is for frames beyond the field only.
        let mut f = good;
        f[16] = 0;
        f[17] = 0;
        fix_sum(&mut f, 20);
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadHeader, false)));
        assert!(matches!(
            parse(&f, 100_000),
            Ok(s) if s.payload == 100_000 - 54
        ));
    }

    #[test]
    fn ipv6_extension_headers() {
        let (good, _) = frame(Tuple::v6([1; 16], 7, [2; 16], 8), false);
        let len = LEN as u32;
        let mut f = good;
        // Hop-by-hop options of 8 bytes in place of the TCP header's start.
        f[20] = 0;
        f[54] = 6;
        f[55] = 0;
        assert!(case(parse(&f, len)) == Some((SpecialCase::ExtHeader, true)));
        f[20] = 44;
        f[56] = 0;
        f[57] = 1;
        assert!(case(parse(&f, len)) == Some((SpecialCase::Fragment, true)));
        f[56] = 1;
        assert!(case(parse(&f, len)) == Some((SpecialCase::Fragment, false)));
        f[54] = 17;
        assert!(parse(&f, len) == Err(FrameError::NotTcp));
        f[20] = 58;
        assert!(parse(&f, len) == Err(FrameError::NotTcp));
        // A loop of headers ends.
        let mut f = [0u8; LEN];
        f[12] = 0x86;
        f[13] = 0xdd;
        f[14] = 0x60;
        assert!(parse(&f, len) == Err(FrameError::NotTcp));
        let mut f = good;
        f[19] = 75;
        assert!(case(parse(&f, len)) == Some((SpecialCase::BadHeader, false)));
    }

    #[test]
    fn options() {
        use OptKind::*;
        let kind = |o: &[u8]| options_kind(o).0;
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&[1, 1, 1, 0]), None);
        assert_eq!(kind(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]), Timestamp);
        // Other layouts of the same.
        let o = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        assert!(options_kind(&o) == (Timestamp, Some((1, 2))));
        let o = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4];
        assert_eq!(kind(&o), Other);
        let o = [
            1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        assert!(options_kind(&o) == (Sack, Some((1, 2))));
        assert_eq!(kind(&[2, 4, 5, 0xb4]), Other);
        assert_eq!(kind(&[8, 9, 0, 0]), Other);
        assert_eq!(kind(&[8, 0, 0, 0]), Other);
        assert_eq!(kind(&[9, 1, 0, 0]), Other);
        assert_eq!(kind(&[1, 1, 1, 8]), Other);
    }
}
