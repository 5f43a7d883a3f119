// SPDX-License-Identifier: GPL-2.0

//! Frames as the peer might have sent them, written by hand: an emitter that
//! shares nothing with the template, so that headers can be anything.

use toe_model::logic::{
    seq::Seq,
    tuple::{Family, Tuple},
    wire::flags,
};

use crate::host::fold;
use crate::link::complete_checksum;

/// What stands between the addresses and the TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra {
    Nothing,
    /// IPv4: a router alert option.
    IpOptions,
    /// The first of several fragments.
    Fragment,
    /// IPv6: destination options.
    ExtHeader,
}

/// A segment, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Craft {
    pub seq: Seq,
    pub ack: Seq,
    pub flags: u16,
    pub window: u16,
    /// TCP options, padded with zeros to whole words.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub tos: u8,
    pub extra: Extra,
    /// The data offset, if not the right one, in words.
    pub data_offset: Option<u8>,
    /// Bits to change of the TCP checksum, and of the IPv4 header's.
    pub checksum_error: u8,
    pub ip_checksum_error: u8,
}

impl Craft {
    /// A plain acknowledgement.
    pub fn new(seq: Seq, ack: Seq, window: u16, ts: Option<u32>) -> Self {
        Self {
            seq,
            ack,
            flags: flags::ACK,
            window,
            options: ts.map_or(Vec::new(), timestamp),
            payload: Vec::new(),
            tos: 0,
            extra: Extra::Nothing,
            data_offset: None,
            checksum_error: 0,
            ip_checksum_error: 0,
        }
    }

    /// The frame for the end of the connection whose tuple that is.
    pub fn frame(&self, t: &Tuple) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        let tcp_len = (header + self.payload.len()) as u16;
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let mut pseudo = Vec::new();
        if t.family == Family::V4 {
            let options: &[u8] = match self.extra {
                Extra::IpOptions => &[148, 4, 0, 0],
                _ => &[],
            };
            let ip_len = 20 + options.len() as u16;
            let fragment = match self.extra {
                Extra::Fragment => 0x20,
                _ => 0x40,
            };
            f.extend([8, 0, 0x40 | (ip_len / 4) as u8, self.tos]);
            f.extend((ip_len + tcp_len).to_be_bytes());
            f.extend([0, 0, fragment, 0, 64, 6, 0, 0]);
            f.extend(&t.remote[..4]);
            f.extend(&t.local[..4]);
            f.extend(options);
            let sum = !fold(&f[14..]);
            f[24..26].copy_from_slice(&sum.to_be_bytes());
            f[25] ^= self.ip_checksum_error;
            pseudo.extend(&f[26..34]);
        } else {
            let (next, between): (u8, &[u8]) = match self.extra {
                Extra::ExtHeader => (60, &[6, 0, 1, 4, 0, 0, 0, 0]),
                Extra::Fragment => (44, &[6, 0, 0, 1, 0, 0, 0, 9]),
                _ => (6, &[]),
            };
            f.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
            f.extend((tcp_len + between.len() as u16).to_be_bytes());
            f.extend([next, 64]);
            f.extend(t.remote);
            f.extend(t.local);
            pseudo.extend(&f[22..54]);
            f.extend(between);
        }
        pseudo.extend([0, 6]);
        pseudo.extend(tcp_len.to_be_bytes());

        let l4 = f.len();
        let offset = self.data_offset.unwrap_or((header / 4) as u8);
        f.extend(t.rport.to_be_bytes());
        f.extend(t.lport.to_be_bytes());
        f.extend(self.seq.0.to_be_bytes());
        f.extend(self.ack.0.to_be_bytes());
        f.extend((u16::from(offset) << 12 | self.flags).to_be_bytes());
        f.extend(self.window.to_be_bytes());
        f.extend(fold(&pseudo).to_be_bytes());
        f.extend([0, 0]);
        f.extend(options);
        f.extend(&self.payload);
        complete_checksum(&mut f, l4);
        f[l4 + 17] ^= self.checksum_error;
        f
    }
}

/// The timestamp option in the usual layout; nobody looks at the echo.
pub fn timestamp(tsval: u32) -> Vec<u8> {
    let mut option = vec![1, 1, 8, 10];
    option.extend(tsval.to_be_bytes());
    option.extend([0; 4]);
    option
}

/// A SACK option with one block.
pub fn sack(from: Seq, to: Seq) -> Vec<u8> {
    let mut option = vec![1, 1, 5, 10];
    option.extend(from.0.to_be_bytes());
    option.extend(to.0.to_be_bytes());
    option
}
