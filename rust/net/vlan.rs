// SPDX-License-Identifier: GPL-2.0

//! VLAN devices, and the tags of their frames.
//!
//! C headers: `include/linux/if_vlan.h`. What is used of 8021q is in the kernel's
//! image, so that this module loads without it.

use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};

use super::{
    context::Bh,
    devref::DevRef,
    net_device::{
        NetDevice,
        ETH_HLEN, //
    },
    skb::SkBuff, //
};
use crate::{
    bindings,
    logic::vlan::{
        Tags,
        VID_MASK, //
    }, //
};

/// A VLAN device's properties at this moment.
pub(crate) struct VlanInfo<'a> {
    /// The device below it.
    pub(crate) lower: &'a NetDevice,
    /// Ethertype of its tag: 0x8100 or 0x88a8.
    pub(crate) proto: u16,
    /// Its identifier, 0 to 4094.
    pub(crate) id: u16,
    /// Whether the tag is hidden from what looks at the device's frames.
    pub(crate) reorder_hdr: bool,
}

impl NetDevice {
    /// What it is as a VLAN device, if it is one. Any context.
    pub(crate) fn vlan(&self) -> Option<VlanInfo<'_>> {
        let mut vlan = bindings::toe_vlan::default();
        // SAFETY: live by the invariant of `NetDevice`, and `vlan` ours.
        if !unsafe { bindings::toe_vlan_get(self.as_ptr(), &mut vlan) } {
            return None;
        }
        Some(VlanInfo {
            // SAFETY: a VLAN device has a reference to the one below it from `vlan_dev_init()`
            // to its `priv_destructor`, and this one lives as long as `self` is borrowed.
            lower: unsafe { NetDevice::from_raw(vlan.lower) },
            proto: vlan.proto,
            id: vlan.id,
            reorder_hdr: vlan.reorder_hdr,
        })
    }

    /// The device below all VLAN devices: this one, if it is none. Any context.
    pub(crate) fn below_vlans(&self) -> &NetDevice {
        // SAFETY: live by the invariant of `NetDevice`; as in `vlan()` it keeps the device
        // below, and that one the next.
        unsafe { NetDevice::from_raw(bindings::toe_vlan_base(self.as_ptr())) }
    }
}

/// A reference to a VLAN device.
///
/// # Invariants
///
/// The device is a VLAN device, which it is all its life.
pub(crate) struct VlanRef(DevRef);

impl VlanRef {
    /// `None` if `dev` is no VLAN device.
    pub(crate) fn new(dev: &NetDevice) -> Option<Self> {
        // INVARIANT: it is one.
        dev.vlan().map(|_| VlanRef(DevRef::new(dev)))
    }

    /// A frame leaves through the device, at its Ethernet header and without a tag
    /// beside the data: it gets the device's, with the priority that the egress map
    /// has for that of the frame, and is counted.
    pub(crate) fn tag(&self, skb: &mut SkBuff, _bh: &Bh) {
        // SAFETY: a VLAN device by the type invariant, with its private area and statistics
        // as long as there is a reference to it. A frame of ours, and bottom halves are
        // disabled, as the statistics are the CPU's.
        unsafe { bindings::toe_vlan_sent(self.0.as_ptr(), skb.as_ptr()) }
    }

    /// Counts a frame that did not get through the device.
    pub(crate) fn count_dropped(&self, _bh: &Bh) {
        // SAFETY: as in `tag()`.
        unsafe { bindings::toe_vlan_dropped(self.0.as_ptr()) }
    }

    /// Counts a frame that came by the device, `len` bytes behind its tag.
    pub(crate) fn count_received(&self, len: u32, _bh: &Bh) {
        // SAFETY: as in `tag()`.
        unsafe { bindings::toe_vlan_received(self.0.as_ptr(), len) }
    }
}

impl Deref for VlanRef {
    type Target = NetDevice;

    fn deref(&self) -> &NetDevice {
        &self.0
    }
}

/// A tag that a frame has beside its data, without its priority; made to be compared
/// at a glance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagKey(u32);

impl TagKey {
    /// `vlan_proto` and `vlan_tci` as they lie in `struct sk_buff`.
    const fn of(proto: [u8; 2], tci: [u8; 2]) -> u32 {
        u32::from_ne_bytes([proto[0], proto[1], tci[0], tci[1]])
    }

    /// The bits that are compared.
    const MASK: u32 = Self::of([0xff; 2], VID_MASK.to_ne_bytes());

    /// Of frames with `tags`. Frames with more than one have no such key: nothing is
    /// equal to what is returned for them.
    pub(crate) fn new(tags: Tags) -> Self {
        TagKey(match (tags.is_empty(), tags.single()) {
            (true, _) => 0,
            (_, Some((proto, id))) => Self::of(proto.to_be_bytes(), id.to_ne_bytes()),
            // No tag has this Ethertype.
            _ => Self::MASK,
        })
    }
}

impl SkBuff {
    #[inline(always)]
    fn vlan_all(&self) -> u32 {
        // SAFETY: all members of the union are integers of the same four bytes.
        unsafe { self.headers().__bindgen_anon_2.vlan_all }
    }

    /// The tag beside the data, to be compared with a connection's.
    #[inline(always)]
    pub(crate) fn tag_key(&self) -> TagKey {
        TagKey(self.vlan_all() & TagKey::MASK)
    }

    /// The tag beside the data as the start of a connection's tags. `None`: no
    /// connection's frame has such a tag.
    #[inline(always)]
    pub(crate) fn tags(&self) -> Option<Tags> {
        match self.vlan_all().to_ne_bytes() {
            [0, 0, 0, 0] => Some(Tags::NONE),
            [a, b, c, d] => {
                Tags::NONE.with_inner(u16::from_be_bytes([a, b]), u16::from_ne_bytes([c, d]))
            }
        }
    }

    /// Puts the tag beside the data, if there is one, into the frame. `None`: no
    /// memory, and the frame is gone.
    pub(crate) fn tag_inside(self) -> Option<Self> {
        let skb = ManuallyDrop::new(self);
        // SAFETY: a frame of ours, which the callee gives back, or frees and returns null.
        let skb = unsafe { bindings::toe_vlan_tag_inside(skb.as_ptr()) };
        // SAFETY: the same frame or one in its place, whose reference is ours; as before on
        // no list.
        (!skb.is_null()).then(|| unsafe { SkBuff::from_raw(skb) })
    }

    /// Takes the tag beside the data off.
    pub(crate) fn untag(&mut self) {
        // SAFETY: live and ours by the invariant of `SkBuff`; the callee sets a field.
        unsafe { bindings::toe_vlan_untag(self.as_ptr()) }
    }
}

/// Shows a received frame, at its Ethernet header, to the packet taps of `dev`, of the bond
/// that this is a member of if it is `bonded`, and of the VLAN devices that it goes through.
/// Taps take references of their own.
pub(crate) fn tap_incoming(dev: &NetDevice, skb: &SkBuff, bonded: bool, _bh: &Bh) {
    if skb.headlen() < ETH_HLEN {
        return;
    }
    // SAFETY: live by the invariants of both types. The callee works on a clone, whose
    // Ethernet header is linear; RCU keeps the devices that it finds.
    unsafe { bindings::toe_vlan_deliver_taps(skb.as_ptr(), dev.as_ptr(), bonded) }
}
