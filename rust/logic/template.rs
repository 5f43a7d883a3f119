// SPDX-License-Identifier: GPL-2.0

//! Header templates: the headers of a delegated connection's frames, with everything
//! that does not change filled in once, at hand-over, so that a frame costs one copy
//! and a few stores.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::{
    seq::Seq,
    tuple::{
        Family,
        Tuple, //
    },
    wire::{
        ETHERTYPE_IPV4,
        ETHERTYPE_IPV6,
        ETH_LEN,
        IPPROTO_TCP,
        IPV4_LEN,
        IPV6_LEN,
        TCP_LEN,
        TS_ALIGNED,
        TS_LEN, //
    }, //
};

/// Largest header that a template writes, in bytes.
pub const MAX_LEN: usize = ETH_LEN + IPV6_LEN + TCP_LEN + TS_LEN;

/// Offset of the checksum in a TCP header, as `skb->csum_offset` wants it.
pub const TCP_CSUM_OFF: usize = 16;

/// What does not change from frame to frame of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateParams {
    /// MAC address of this end.
    pub src_mac: [u8; 6],
    /// MAC address of the neighbour.
    pub dst_mac: [u8; 6],
    /// The connection. Its VLAN tags are not part of the template: the layers below
    /// put them in.
    pub tuple: Tuple,
    /// IPv4 type of service or IPv6 traffic class, ECN bits included.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv6 flow label, 20 bits.
    pub flow_label: u32,
    /// Whether IPv4 frames carry the don't-fragment flag.
    pub df: bool,
    /// Whether there is a timestamp option.
    pub ts_ok: bool,
}

/// What changes from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct TxFields {
    /// Sequence number of the first payload byte.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// TCP flags: see [`super::wire::flags`].
    pub flags: u16,
    /// Window field, already shifted.
    pub window: u16,
    /// Timestamp value, if the connection has timestamps.
    pub tsval: u32,
    /// Timestamp echo, if the connection has timestamps.
    pub tsecr: u32,
    /// Payload bytes that follow the header.
    pub payload_len: u32,
    /// IPv4 identification of the first segment.
    pub ip_id: u16,
    /// Whether this is a GSO frame. Only such a frame may exceed 65535 bytes;
    /// the IP length field of one that does is 0.
    pub gso: bool,
}

/// The prepared headers of one connection. Aligned so that it is copied by words.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub struct HeaderTemplate {
    bytes: [u8; MAX_LEN],
    len: u8,
    l3_off: u8,
    l4_off: u8,
    family: Family,
    ts_ok: bool,
    /// Sum of the IPv4 header's constant 16-bit words.
    ip_sum: u32,
    /// Sum of the pseudo header's addresses and protocol, as 16-bit words.
    pseudo_sum: u32,
}

/// Sum of 16-bit words in network order. `bytes` are even in number and so few
/// that 32 bits hold the sum.
fn sum_words(bytes: &[u8]) -> u32 {
    let mut sum = 0u32;
    for pair in bytes.chunks_exact(2) {
        if let [hi, lo] = pair {
            sum = sum.wrapping_add(u32::from(u16::from_be_bytes([*hi, *lo])));
        }
    }
    sum
}

/// Folds a sum of 16-bit words to one, with end-around carry (RFC 1071).
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// Stores `value` at `off` of `out`, if there is room.
#[inline(always)]
fn put<const N: usize>(out: &mut [u8], off: usize, value: [u8; N]) -> Option<()> {
    *out.get_mut(off..)?.first_chunk_mut::<N>()? = value;
    Some(())
}

/// Copies a header of more than 64 bytes in two parts: as one it is too long for a compiler
/// that may use no vector registers to do so in place, and the call of `memcpy()` costs
/// three times as much.
#[inline(always)]
fn copy<const LEN: usize>(out: &mut [u8; LEN], header: &[u8; LEN]) -> Option<()> {
    let (first, rest) = header.split_first_chunk::<64>()?;
    let (out, out_rest) = out.split_first_chunk_mut::<64>()?;
    *out = *first;
    out_rest.copy_from_slice(rest);
    Some(())
}

impl HeaderTemplate {
    /// Prepares the headers of a connection. Inlined, with [`fill`](Self::fill), so that
    /// neither its arguments nor the result go through memory.
    #[inline(always)]
    pub fn new(p: &TemplateParams) -> Self {
        let mut t = Self {
            bytes: [0; MAX_LEN],
            len: 0,
            l3_off: 0,
            l4_off: 0,
            family: p.tuple.family,
            ts_ok: p.ts_ok,
            ip_sum: 0,
            pseudo_sum: 0,
        };
        // Always succeeds: the longest combination of headers is MAX_LEN long.
        let _ = t.fill(p);
        t
    }

    #[inline(always)]
    fn fill(&mut self, p: &TemplateParams) -> Option<()> {
        let b = &mut self.bytes;
        put(b, 0, p.dst_mac)?;
        put(b, 6, p.src_mac)?;
        let l3 = ETH_LEN;
        let l4 = match p.tuple.family {
            Family::V4 => {
                put(b, l3 - 2, ETHERTYPE_IPV4.to_be_bytes())?;
                put(b, l3, [0x45, p.tos])?;
                put(b, l3 + 6, [if p.df { 0x40 } else { 0 }, 0])?;
                put(b, l3 + 8, [p.ttl, IPPROTO_TCP])?;
                put(b, l3 + 12, *p.tuple.local.first_chunk::<4>()?)?;
                put(b, l3 + 16, *p.tuple.remote.first_chunk::<4>()?)?;
                let l4 = l3 + IPV4_LEN;
                self.pseudo_sum = sum_words(b.get(l3 + 12..l4)?);
                self.ip_sum = sum_words(b.get(l3..l3 + 12)?).wrapping_add(self.pseudo_sum);
                l4
            }
            Family::V6 => {
                put(b, l3 - 2, ETHERTYPE_IPV6.to_be_bytes())?;
                let first = (6 << 28) | (u32::from(p.tos) << 20) | (p.flow_label & 0xf_ffff);
                put(b, l3, first.to_be_bytes())?;
                put(b, l3 + 6, [IPPROTO_TCP, p.ttl])?;
                put(b, l3 + 8, p.tuple.local)?;
                put(b, l3 + 24, p.tuple.remote)?;
                let l4 = l3 + IPV6_LEN;
                self.pseudo_sum = sum_words(b.get(l3 + 8..l4)?);
                l4
            }
        };
        self.pseudo_sum = self.pseudo_sum.wrapping_add(u32::from(IPPROTO_TCP));
        put(b, l4, p.tuple.lport.to_be_bytes())?;
        put(b, l4 + 2, p.tuple.rport.to_be_bytes())?;
        let mut tcp_len = TCP_LEN;
        if p.ts_ok {
            put(b, l4 + TCP_LEN, TS_ALIGNED)?;
            tcp_len += TS_LEN;
        }
        put(b, l4 + 12, [(tcp_len as u8 / 4) << 4])?;
        self.l3_off = l3 as u8;
        self.l4_off = l4 as u8;
        self.len = (l4 + tcp_len) as u8;
        Some(())
    }

    /// Length of the headers, in bytes: at most [`MAX_LEN`].
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Never: a template has headers. For symmetry with [`Self::len`].
    #[inline]
    #[cfg_attr(MODULE, expect(dead_code, reason = "clippy wants it beside `len()`"))]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// IPv4 or IPv6.
    #[inline]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Offset of the IP header in the frame.
    #[inline]
    pub const fn l3_off(&self) -> usize {
        self.l3_off as usize
    }

    /// Offset of the TCP header in the frame.
    #[inline]
    pub const fn l4_off(&self) -> usize {
        self.l4_off as usize
    }

    /// The neighbour's MAC address.
    #[inline(always)]
    pub fn dst_mac(&self) -> Option<&[u8; 6]> {
        self.bytes.first_chunk()
    }

    /// Changes the neighbour's MAC address. `true`: it was another one.
    pub fn set_dst_mac(&mut self, mac: [u8; 6]) -> bool {
        let another = self.bytes.first_chunk() != Some(&mac);
        let _ = put(&mut self.bytes, 0, mac);
        another
    }

    /// Writes the headers of a frame to the first [`Self::len`] bytes of `out`.
    ///
    /// The TCP checksum field is what `CHECKSUM_PARTIAL` wants: the folded sum
    /// of the pseudo header, not inverted (`__tcp_v4_send_check()`). `None` if
    /// `out` is too short, or the frame too long for an IP length field and not
    /// a GSO frame.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8], f: &TxFields) -> Option<()> {
        // The layouts of nearly all frames, with constant offsets.
        const V4: usize = ETH_LEN + IPV4_LEN + TCP_LEN + TS_LEN;
        const V6: usize = ETH_LEN + IPV6_LEN + TCP_LEN + TS_LEN;
        match (self.len(), self.l4_off()) {
            (V4, l4) if l4 == ETH_LEN + IPV4_LEN => {
                let out = out.first_chunk_mut::<V4>()?;
                copy(out, self.bytes.first_chunk::<V4>()?)?;
                self.vary(out, ETH_LEN, ETH_LEN + IPV4_LEN, V4, true, f)
            }
            (V6, l4) if l4 == ETH_LEN + IPV6_LEN => {
                let out = out.first_chunk_mut::<V6>()?;
                copy(out, self.bytes.first_chunk::<V6>()?)?;
                self.vary(out, ETH_LEN, ETH_LEN + IPV6_LEN, V6, true, f)
            }
            (len, l4) => {
                let out = out.get_mut(..len)?;
                out.copy_from_slice(self.bytes.get(..len)?);
                self.vary(out, self.l3_off(), l4, len, self.ts_ok, f)
            }
        }
    }

    /// Fills in what differs from frame to frame. `out` has the template in it;
    /// `l3`, `l4` and `len` are the offsets of the IP header, the TCP header and
    /// the payload, and `ts` whether there is a timestamp option.
    #[inline(always)]
    fn vary(
        &self,
        out: &mut [u8],
        l3: usize,
        l4: usize,
        len: usize,
        ts: bool,
        f: &TxFields,
    ) -> Option<()> {
        let tcp_len = f.payload_len.checked_add(len.wrapping_sub(l4) as u32)?;
        if l4.wrapping_sub(l3) == IPV4_LEN {
            let total = length_field(tcp_len.checked_add(IPV4_LEN as u32)?, f.gso)?;
            let sum = self
                .ip_sum
                .wrapping_add(u32::from(total))
                .wrapping_add(u32::from(f.ip_id));
            put(out, l3.wrapping_add(2), total.to_be_bytes())?;
            put(out, l3.wrapping_add(4), f.ip_id.to_be_bytes())?;
            put(out, l3.wrapping_add(10), (!fold(sum)).to_be_bytes())?;
        } else {
            put(
                out,
                l3.wrapping_add(4),
                length_field(tcp_len, f.gso)?.to_be_bytes(),
            )?;
        }

        let tcp = out.get_mut(l4..)?;
        put(tcp, 4, f.seq.0.to_be_bytes())?;
        put(tcp, 8, f.ack.0.to_be_bytes())?;
        let offset_and_ae = *tcp.get(12)? | ((f.flags >> 8) & 1) as u8;
        put(tcp, 12, [offset_and_ae, f.flags as u8])?;
        put(tcp, 14, f.window.to_be_bytes())?;
        let pseudo = self
            .pseudo_sum
            .wrapping_add(tcp_len >> 16)
            .wrapping_add(tcp_len & 0xffff);
        put(tcp, TCP_CSUM_OFF, fold(pseudo).to_be_bytes())?;
        if ts {
            put(tcp, TCP_LEN + 4, f.tsval.to_be_bytes())?;
            put(tcp, TCP_LEN + 8, f.tsecr.to_be_bytes())?;
        }
        Some(())
    }
}

/// The IP length field for a length of `len` bytes: 0 for a GSO frame that
/// exceeds it (`iph_set_totlen()`).
#[inline(always)]
fn length_field(len: u32, gso: bool) -> Option<u16> {
    match u16::try_from(len) {
        Ok(len) => Some(len),
        Err(_) if gso => Some(0),
        Err(_) => None,
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_template))]
mod tests {
    use super::super::wire::flags;
    use super::*;

    fn params() -> TemplateParams {
        TemplateParams {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            tuple: Tuple::v4([10, 0, 0, 1], 0x1234, [10, 0, 0, 2], 80),
            tos: 0x10,
            ttl: 64,
            flow_label: 0xfabcde,
            df: true,
            ts_ok: true,
        }
    }

    fn fields() -> TxFields {
        TxFields {
            seq: Seq(0x0102_0304),
            ack: Seq(0x0506_0708),
            flags: flags::ACK | flags::PSH,
            window: 0x1122,
            tsval: 9,
            tsecr: 10,
            payload_len: 1000,
            ip_id: 0x4711,
            gso: false,
        }
    }

    #[test]
    fn ipv4_layout() {
        let t = HeaderTemplate::new(&params());
        let mut out = [0u8; MAX_LEN];
        assert_eq!(t.len(), 14 + 20 + 32);
        assert!(t.write(&mut out, &fields()).is_some());
        assert_eq!(out[..6], [2, 0, 0, 0, 0, 2]);
        assert_eq!(out[6..14], [2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(out[14..22], [0x45, 0x10, 4, 28, 0x47, 0x11, 0x40, 0]);
        assert_eq!(out[22..24], [64, 6]);
        assert_eq!(fold(sum_words(&out[14..34])), 0xffff);
        assert_eq!(out[34..38], [0x12, 0x34, 0, 80]);
        assert_eq!(out[38..46], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(out[46..50], [0x80, 0x18, 0x11, 0x22]);
        // Addresses, protocol and TCP length: 0xa00+1+0xa00+2+6+1032.
        assert_eq!(out[50..52], [0x18, 0x11]);
        assert_eq!(out[54..66], [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 10]);
    }

    #[test]
    fn ipv6_layout() {
        let tuple = Tuple::v6([0xfd; 16], 1, [0xfc; 16], 2);
        let t = HeaderTemplate::new(&TemplateParams {
            tuple,
            ts_ok: false,
            ..params()
        });
        let mut out = [0u8; MAX_LEN];
        assert_eq!(t.len(), 14 + 40 + 20);
        assert!(t.write(&mut out, &fields()).is_some());
        assert_eq!(out[12..14], [0x86, 0xdd]);
        assert_eq!(out[14..22], [0x61, 0x0a, 0xbc, 0xde, 3, 0xfc, 6, 64]);
        assert_eq!(out[22..38], [0xfd; 16]);
        assert_eq!(out[38..54], [0xfc; 16]);
        assert_eq!(out[66], 0x50);
    }

    #[test]
    fn limits() {
        let t = HeaderTemplate::new(&params());
        let mut out = [0u8; MAX_LEN];
        assert!(t.write(&mut out[..65], &fields()).is_none());
        let long = TxFields {
            payload_len: 65_500,
            ..fields()
        };
        assert!(t.write(&mut out, &long).is_none());
        assert!(t.write(&mut out, &TxFields { gso: true, ..long }).is_some());
        assert_eq!(out[16..18], [0, 0]);
        assert_eq!(fold(sum_words(&out[14..34])), 0xffff);
        let huge = TxFields {
            payload_len: u32::MAX,
            gso: true,
            ..fields()
        };
        assert!(t.write(&mut out, &huge).is_none());
    }
}
