// SPDX-License-Identifier: GPL-2.0

//! VLAN tags as part of a connection's identity: which tags a frame
//! carries, outermost first, without their priorities.
//!
//! Claims: Documentation/networking/toe-claims.rst

use super::wire::{
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN, //
};

/// Tags that a frame of a delegated connection carries at most.
pub const MAX_TAGS: usize = 2;

/// Bits of a tag's control information that are the VLAN identifier.
pub const VID_MASK: u16 = 0x0fff;

/// Marks the identifier of an 802.1ad tag.
const SERVICE: u16 = 0x1000;

/// The tags of a frame: none, one, or two. Priority and drop eligibility are not
/// part of them: any frame of a VLAN is the VLAN's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Tags {
    /// Identifier of the outermost tag, with [`SERVICE`]; 0: there is none.
    outer: u16,
    /// Of the tag within it.
    inner: u16,
}

/// A tag as it is kept. `None` for the identifier 0, which says that a frame has a
/// priority and no VLAN, for 4095, which is reserved, and for what is no tag.
const fn tag(proto: u16, tci: u16) -> Option<u16> {
    let vid = tci & VID_MASK;
    match proto {
        _ if vid == 0 || vid == VID_MASK => None,
        ETHERTYPE_VLAN => Some(vid),
        ETHERTYPE_QINQ => Some(vid | SERVICE),
        _ => None,
    }
}

/// Ethertype and identifier of a tag as it is kept.
const fn parts(tag: u16) -> (u16, u16) {
    let proto = match tag & SERVICE {
        0 => ETHERTYPE_VLAN,
        _ => ETHERTYPE_QINQ,
    };
    (proto, tag & VID_MASK)
}

impl Tags {
    /// An untagged frame's.
    pub const NONE: Self = Tags { outer: 0, inner: 0 };

    /// These, and another one within. `proto` is the tag's Ethertype and `tci` its
    /// control information, both in host byte order. `None`: no connection's frame
    /// has such tags.
    #[inline]
    pub const fn with_inner(self, proto: u16, tci: u16) -> Option<Self> {
        match (tag(proto, tci), self) {
            (Some(outer), Tags { outer: 0, .. }) => Some(Tags { outer, inner: 0 }),
            (Some(inner), Tags { outer, inner: 0 }) => Some(Tags { outer, inner }),
            _ => None,
        }
    }

    /// These, and another one around; as [`Self::with_inner`].
    pub const fn with_outer(self, proto: u16, tci: u16) -> Option<Self> {
        match (tag(proto, tci), self) {
            (Some(tag), Tags { outer, inner: 0 }) => Some(Tags {
                outer: tag,
                inner: outer,
            }),
            _ => None,
        }
    }

    /// Of a device with this 802.1Q identifier and none below it; none for 0.
    pub const fn of_vlan(id: u16) -> Self {
        match Self::NONE.with_inner(ETHERTYPE_VLAN, id) {
            Some(tags) => tags,
            None => Self::NONE,
        }
    }

    /// Identifier of the device that the route leaves through: the innermost tag's. 0
    /// if there is none.
    pub const fn vlan_id(self) -> u16 {
        let tag = match self.inner {
            0 => self.outer,
            inner => inner,
        };
        tag & VID_MASK
    }

    /// Returns whether there are none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.outer == 0
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        (self.outer != 0) as usize + (self.inner != 0) as usize
    }

    /// Ethertype and identifier of each, outermost first.
    pub fn iter(self) -> impl Iterator<Item = (u16, u16)> {
        [self.outer, self.inner]
            .into_iter()
            .take(self.len())
            .map(parts)
    }

    /// The only tag, if there is one and no more.
    pub const fn single(self) -> Option<(u16, u16)> {
        match self {
            Tags { outer: 0, .. } => None,
            Tags { outer, inner: 0 } => Some(parts(outer)),
            _ => None,
        }
    }

    /// What goes into a hash: 24 bits.
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        (self.outer & VID_MASK) as u32 | ((self.inner & VID_MASK) as u32) << 12
    }
}

/// `-`, `100`, `s10.100`: outermost first, an `s` before a service tag (802.1ad).
impl core::fmt::Display for Tags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (i, (proto, vid)) in self.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            let service = if proto == ETHERTYPE_QINQ { "s" } else { "" };
            write!(f, "{dot}{service}{vid}")?;
        }
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_vlan))]
mod tests {
    use super::*;

    #[test]
    fn order_of_tags() {
        let c = Tags::NONE.with_inner(ETHERTYPE_VLAN, 0xe064);
        let s = Tags::NONE.with_inner(ETHERTYPE_QINQ, 10);
        let (Some(c), Some(s)) = (c, s) else {
            panic!("tags are refused");
        };
        // The priority is no part of it.
        assert!(c.single() == Some((ETHERTYPE_VLAN, 100)));
        assert!(c.with_outer(ETHERTYPE_QINQ, 10) == s.with_inner(ETHERTYPE_VLAN, 100));
        assert!(c.with_outer(ETHERTYPE_QINQ, 10) != c.with_inner(ETHERTYPE_QINQ, 10));
        let Some(both) = s.with_inner(ETHERTYPE_VLAN, 100) else {
            panic!("two tags are refused");
        };
        assert_eq!(both.len(), MAX_TAGS);
        assert!(both.single().is_none());
        assert!(both
            .iter()
            .eq([(ETHERTYPE_QINQ, 10), (ETHERTYPE_VLAN, 100)]));
        // A third one, outside or inside.
        assert!(both.with_inner(ETHERTYPE_VLAN, 1).is_none());
        assert!(both.with_outer(ETHERTYPE_VLAN, 1).is_none());
    }

    #[test]
    fn identifiers() {
        assert_eq!(Tags::of_vlan(100).vlan_id(), 100);
        assert!(Tags::of_vlan(0).is_empty());
        assert_eq!(Tags::NONE.vlan_id(), 0);
        let both = Tags::of_vlan(100).with_outer(ETHERTYPE_QINQ, 10);
        assert_eq!(both.map(Tags::vlan_id), Some(100));
    }

    #[test]
    fn no_vlan() {
        for (proto, tci) in [
            (ETHERTYPE_VLAN, 0),
            (ETHERTYPE_VLAN, 0xe000),
            (ETHERTYPE_QINQ, 0x5000),
            (ETHERTYPE_VLAN, 0xffff),
            (0x0800, 1),
            (0x9100, 1),
        ] {
            assert!(Tags::NONE.with_inner(proto, tci).is_none());
            assert!(Tags::NONE.with_outer(proto, tci).is_none());
        }
    }
}
