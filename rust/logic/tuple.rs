// SPDX-License-Identifier: GPL-2.0

//! What identifies a connection on a device: the key of the connection match
//! storage.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::vlan::Tags;

/// Address family of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4. The address is in the first four bytes, the rest is zero.
    #[default]
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// The identity of a connection, seen from this end of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Tuple {
    /// Address family of both addresses.
    pub family: Family,
    /// Address of this end, in network byte order.
    pub local: [u8; 16],
    /// Address of the peer, in network byte order.
    pub remote: [u8; 16],
    /// Port of this end, in host byte order.
    pub lport: u16,
    /// Port of the peer, in host byte order.
    pub rport: u16,
    /// The VLANs that its frames belong to: the same addresses and ports in another
    /// VLAN are another connection.
    pub vlan: Tags,
}

/// Odd constants with evenly spread bits (wyhash's default secret).
const K0: u64 = 0x2d35_8dcc_aa6c_78a5;
const K1: u64 = 0x8bb8_4b93_962e_acc9;
const K2: u64 = 0x4b33_a62e_d433_d4a3;

/// Folds the 128-bit product of two words: one multiplication that lets every
/// input bit reach every output bit.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64) ^ ((product >> 64) as u64)
}

/// The two halves of an address as words. The byte order does not matter for a
/// hash, so it is the cheap one.
#[inline]
fn halves(a: &[u8; 16]) -> (u64, u64) {
    let word = u128::from_ne_bytes(*a);
    (word as u64, (word >> 64) as u64)
}

impl Tuple {
    /// An IPv4 tuple of an untagged connection.
    pub fn v4(local: [u8; 4], lport: u16, remote: [u8; 4], rport: u16) -> Self {
        let [l0, l1, l2, l3] = local;
        let [r0, r1, r2, r3] = remote;
        Self {
            family: Family::V4,
            local: [l0, l1, l2, l3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote: [r0, r1, r2, r3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            lport,
            rport,
            vlan: Tags::NONE,
        }
    }

    /// An IPv6 tuple of an untagged connection.
    pub fn v6(local: [u8; 16], lport: u16, remote: [u8; 16], rport: u16) -> Self {
        Self {
            family: Family::V6,
            local,
            remote,
            lport,
            rport,
            vlan: Tags::NONE,
        }
    }

    /// The same connection as the peer sees it.
    pub fn reversed(&self) -> Self {
        Self {
            family: self.family,
            local: self.remote,
            remote: self.local,
            lport: self.rport,
            rport: self.lport,
            vlan: self.vlan,
        }
    }

    /// A hash over all of the tuple. `seed` is a random number per table: it
    /// keeps a peer from choosing ports that all fall into one bucket.
    #[inline]
    pub fn hash(&self, seed: u32) -> u32 {
        let key = u64::from(seed).wrapping_mul(K2) ^ K0;
        let ports = (u64::from(self.lport) << 48)
            | (u64::from(self.rport) << 32)
            | (u64::from(self.vlan.bits()) << 8)
            | self.family as u64;
        let (l0, l1) = halves(&self.local);
        let (r0, r1) = halves(&self.remote);
        let h = match self.family {
            // The addresses are 32 bits each, at one end of the first half.
            Family::V4 => mix(
                l0 ^ r0.rotate_left(32) ^ key,
                ports ^ key.rotate_left(29) ^ K1,
            ),
            Family::V6 => {
                let l = mix(l0 ^ key, l1 ^ K1);
                let r = mix(r0 ^ l, r1 ^ key.rotate_left(17));
                mix(r ^ K1, ports ^ key.rotate_left(29))
            }
        };
        (h ^ (h >> 32)) as u32
    }
}

/// One end of a connection: address and port, as tools print it.
#[derive(Clone, Copy, Debug)]
pub struct End {
    family: Family,
    addr: [u8; 16],
    port: u16,
}

impl Tuple {
    /// This host's end.
    pub const fn local_end(&self) -> End {
        End {
            family: self.family,
            addr: self.local,
            port: self.lport,
        }
    }

    /// The peer's end.
    pub const fn remote_end(&self) -> End {
        End {
            family: self.family,
            addr: self.remote,
            port: self.rport,
        }
    }
}

/// An IP address, as in a [`Tuple`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address(pub Family, pub [u8; 16]);

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Family::V4 => {
                let [a, b, c, d, ..] = self.1;
                write!(f, "{a}.{b}.{c}.{d}")
            }
            Family::V6 => core::net::Ipv6Addr::from(self.1).fmt(f),
        }
    }
}

impl core::fmt::Display for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.family {
            Family::V4 => {
                let [a, b, c, d, ..] = self.addr;
                write!(f, "{a}.{b}.{c}.{d}:{}", self.port)
            }
            Family::V6 => write!(
                f,
                "[{}]:{}",
                core::net::Ipv6Addr::from(self.addr),
                self.port
            ),
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_tuple))]
mod tests {
    use super::*;

    #[test]
    fn every_field_counts() {
        let base = Tuple::v4([10, 0, 0, 1], 1000, [10, 0, 0, 2], 2000);
        let h = base.hash(1);
        assert_eq!(base.hash(1), h);
        assert!(base.hash(2) != h);
        for vlan in [
            Tags::NONE.with_inner(0x8100, 5),
            Tags::NONE
                .with_inner(0x88a8, 1)
                .and_then(|tags| tags.with_inner(0x8100, 5)),
        ] {
            let vlan = vlan.unwrap_or_default();
            assert!(!vlan.is_empty() && Tuple { vlan, ..base }.hash(1) != h);
        }
        assert!(
            Tuple {
                lport: 1001,
                ..base
            }
            .hash(1)
                != h
        );
        assert!(
            Tuple {
                rport: 2001,
                ..base
            }
            .hash(1)
                != h
        );
        assert!(base.reversed().hash(1) != h);
        assert!(base.reversed().reversed() == base);
        let mut six = Tuple::v6([1; 16], 1, [2; 16], 2);
        let h6 = six.hash(1);
        six.remote[15] ^= 1;
        assert!(six.hash(1) != h6);
        six.remote[15] ^= 1;
        six.local[0] ^= 1;
        assert!(six.hash(1) != h6);
    }

    #[test]
    fn consecutive_ports_spread() {
        // 256 connections from consecutive ports over 256 buckets: a good
        // hash leaves no bucket with more than a handful.
        let mut buckets = [0u8; 256];
        for port in 0..256u16 {
            let t = Tuple::v4([10, 0, 0, 1], 32768 + port, [10, 0, 0, 2], 80);
            let b = (t.hash(0x1234) & 0xff) as usize;
            buckets[b] = buckets[b].saturating_add(1);
        }
        assert!(buckets.iter().all(|&n| n < 9));
    }
}
