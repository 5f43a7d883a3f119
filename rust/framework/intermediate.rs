// SPDX-License-Identifier: GPL-2.0

//! Intermediate drivers: the layers between a connection's path and the NIC that change
//! its frames, or choose the NIC. VLAN devices and bonds are such layers; IPsec would be the
//! next.
//!
//! They are found when an offload is initiated, from the device that the route leaves
//! through down to the one of a target, and are objects of the offload tree, below the
//! neighbours that are reached through them. Of a layer's state its kind, device and tag
//! are constant as long as the connection is delegated (if they change, it is uploaded:
//! [`Layers::intact`]). What the host may change at any time, the priority of a VLAN's tag,
//! is read from the host whenever a frame is sent. By which member a bond sends is cached: as
//! long as it does not change, the connection stays where it is ([`failover`](super::failover)).
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::{
    ptr,
    sync::atomic::AtomicU32, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::counted::{
    self,
    Flag,
    Kind, //
};
use crate::{
    logic::{
        reason::Refusal,
        tree::{
            state::LayerConst,
            MAX_LAYERS, //
        },
        vlan::Tags,
        wire::VLAN_LEN, //
    },
    net::{
        context::Bh,
        devref::DevRef,
        memcg,
        net_device::{
            features,
            NetDevice, //
        },
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::Sock,
        sync::rcu::ReadGuard,
        vlan::{
            self,
            VlanInfo,
            VlanRef, //
        }, //
    }, //
};

/// A layer that changes the frames of a connection.
///
/// Frames are complete from their Ethernet header on, outbound as the layer above
/// made them, inbound as they came in. All methods in any context; those with [`Bh`]
/// are called once for each frame, in the order of the frames.
pub(crate) trait IntermediateDriver {
    /// The layer's device.
    fn device(&self) -> &NetDevice;

    /// What tells it apart from others, as a state object.
    fn state(&self) -> LayerConst;

    /// Returns whether it is as it was when the connection was handed over.
    fn intact(&self) -> bool;

    /// A frame leaves through the layer: what it is for the layer below. `None`: there was
    /// no memory, and the frame is gone.
    fn send(&self, skb: SkBuff, bh: &Bh) -> Option<SkBuff>;

    /// A frame came in through the layer, `len` bytes for those above it.
    fn received(&self, len: u32, bh: &Bh);

    /// Bytes that it adds to a frame.
    fn overhead(&self) -> u32;
}

/// A VLAN device (802.1Q, 802.1ad).
struct Vlan {
    dev: VlanRef,
    /// Its link address, which is the source of its frames.
    mac: [u8; 6],
    proto: u16,
    id: u16,
}

impl Vlan {
    /// `dev` as a layer, and the device below it, if it is a VLAN device.
    fn find(dev: &NetDevice) -> Option<(Self, &NetDevice)> {
        let info = dev.vlan()?;
        let vlan = Vlan {
            dev: VlanRef::new(dev)?,
            mac: dev.address_now(),
            proto: info.proto,
            id: info.id,
        };
        Some((vlan, info.lower))
    }
}

impl IntermediateDriver for Vlan {
    fn device(&self) -> &NetDevice {
        &self.dev
    }

    fn state(&self) -> LayerConst {
        LayerConst {
            device: self.dev.ifindex() as u32,
            proto: self.proto,
            id: self.id,
            mac: self.mac,
        }
    }

    fn intact(&self) -> bool {
        let same = |v: VlanInfo<'_>| v.reorder_hdr && (v.proto, v.id) == (self.proto, self.id);
        self.dev.is_up()
            && !self.dev.is_going()
            && self.dev.vlan().is_some_and(same)
            && self.dev.address_now() == self.mac
    }

    fn send(&self, skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        // A frame has room for one tag beside its data: that of the device above goes
        // into it.
        let Some(mut skb) = skb.tag_inside() else {
            self.dev.count_dropped(bh);
            return None;
        };
        self.dev.tag(&mut skb, bh);
        Some(skb)
    }

    fn received(&self, len: u32, bh: &Bh) {
        self.dev.count_received(len, bh);
    }

    fn overhead(&self) -> u32 {
        VLAN_LEN as u32
    }
}

/// Bonds that connections lie on.
struct Bonds;

impl Kind for Bonds {
    fn count() -> &'static AtomicU32 {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        &COUNT
    }
}

/// Returns whether there is a connection on any bond. Any context.
#[inline(always)]
pub(crate) fn any_bond() -> bool {
    counted::any::<Bonds>()
}

/// A bond, which sends the connection's frames by the target's device.
struct Bond {
    dev: DevRef,
    /// Its link address, which its members have, too.
    mac: [u8; 6],
    _counted: Flag<Bonds>,
}

impl Bond {
    /// `dev`, a bond, as a layer, which is one of those that connections lie on or not.
    fn of(dev: &NetDevice, counts: bool) -> Self {
        Bond {
            dev: DevRef::new(dev),
            mac: dev.address_now(),
            _counted: Flag::with(counts),
        }
    }
}

impl IntermediateDriver for Bond {
    fn device(&self) -> &NetDevice {
        &self.dev
    }

    fn state(&self) -> LayerConst {
        LayerConst {
            device: self.dev.ifindex() as u32,
            mac: self.mac,
            ..LayerConst::default()
        }
    }

    fn intact(&self) -> bool {
        self.dev.is_up()
            && !self.dev.is_going()
            && self.dev.is_served_bond()
            && self.dev.address_now() == self.mac
    }

    fn send(&self, skb: SkBuff, _bh: &Bh) -> Option<SkBuff> {
        Some(skb)
    }

    // Its counters are those of its members.
    fn received(&self, _len: u32, _bh: &Bh) {}

    fn overhead(&self) -> u32 {
        0
    }
}

/// A layer of any kind.
enum Layer {
    Vlan(Vlan),
    Bond(Bond),
}

impl Layer {
    fn driver(&self) -> &dyn IntermediateDriver {
        match self {
            Layer::Vlan(vlan) => vlan,
            Layer::Bond(bond) => bond,
        }
    }
}

/// The layers between a neighbour and the target's device, as they were when the
/// neighbour's object was made. The target has them.
pub(crate) struct Layers {
    /// The one that the route leaves through first.
    list: [Option<Layer>; MAX_LAYERS],
    tags: Tags,
    /// Whether the lowest one is a bond.
    bonded: bool,
}

impl Layers {
    /// The layers from `dev`, which a route leaves through, down to `base`, the device that
    /// takes connections, if there are any. A refusal if the target cannot do what they
    /// do. Any context; `dev` stays what it is while the socket of the route is locked.
    #[inline]
    pub(crate) fn find(dev: &NetDevice, base: &NetDevice) -> Result<Option<Arc<Self>>, Refusal> {
        match ptr::eq(dev, base) && !base.is_bond_member() {
            true => Ok(None),
            false => Self::find_all(dev, base).map(Some),
        }
    }

    #[inline(never)]
    fn find_all(mut dev: &NetDevice, base: &NetDevice) -> Result<Arc<Self>, Refusal> {
        let mut layers = Layers {
            list: [const { None }; MAX_LAYERS],
            tags: Tags::NONE,
            bonded: false,
        };
        let mut list = layers.list.iter_mut();
        while let Some((vlan, lower)) = Vlan::find(dev) {
            let tags = layers.tags.with_outer(vlan.proto, vlan.id);
            let (Some(tags), Some(place)) = (tags, list.next()) else {
                return Err(Refusal::Vlan);
            };
            if !dev.vlan().is_some_and(|v| v.reorder_hdr) {
                return Err(Refusal::Vlan);
            }
            layers.tags = tags;
            *place = Some(Layer::Vlan(vlan));
            dev = lower;
        }
        if ptr::eq(dev, base) {
            if base.is_bond_member() {
                // The bond takes what the member receives.
                return Err(Refusal::RxHandler);
            }
        } else {
            // It sees the inner tag in the frame, and chooses by other fields.
            let (true, Some(place)) = (layers.tags.len() < 2, list.next()) else {
                return Err(Refusal::Vlan);
            };
            *place = Some(Layer::Bond(Bond::of(dev, true)));
            layers.bonded = true;
        }
        Arc::new(layers, memcg::atomic()).map_err(|_| Refusal::NoMemory)
    }

    /// The state of a layer of `dev` as it is now, unless it can be none. Any context.
    pub(crate) fn state_now(dev: &NetDevice) -> Option<LayerConst> {
        let layer = match Vlan::find(dev) {
            Some((vlan, _)) => Layer::Vlan(vlan),
            None if dev.is_bond() => Layer::Bond(Bond::of(dev, false)),
            None => return None,
        };
        let driver = layer.driver();
        driver.intact().then(|| driver.state())
    }

    /// The devices that there can be connections of below `dev`, one on top of them or one of
    /// them: several below a bond. Any context.
    pub(crate) fn below<'g>(
        dev: &'g NetDevice,
        guard: &'g ReadGuard<'_>,
    ) -> impl Iterator<Item = &'g NetDevice> {
        let base = dev.below_vlans();
        let alone = (!base.is_bond()).then_some(base);
        Iterator::chain(alone.into_iter(), base.members(guard))
    }

    /// Whether the frames of `sk`, which pass these layers, would leave by another device than
    /// `base`. Any context.
    pub(crate) fn leave_elsewhere(&self, sk: &Sock, base: &NetDevice) -> bool {
        let guard = ReadGuard::new();
        let top = self.devices().next().filter(|_| self.bonded);
        top.is_some_and(|dev| !ptr::eq(dev.base(sk, &guard), base))
    }

    /// Whether a bond is among them.
    pub(crate) fn is_bonded(&self) -> bool {
        self.bonded
    }

    /// Whether they lie on this bond.
    pub(crate) fn is_on(&self, bond: &NetDevice) -> bool {
        self.bonded && self.devices().last().is_some_and(|dev| ptr::eq(dev, bond))
    }

    /// Whether the host stack takes no frame of the layers from `nic`.
    pub(crate) fn are_shut(&self, nic: &NetDevice, guard: &ReadGuard<'_>) -> bool {
        self.bonded && nic.is_inactive_member(guard)
    }

    fn drivers(&self) -> impl Iterator<Item = &dyn IntermediateDriver> {
        self.list.iter().flatten().map(Layer::driver)
    }

    /// The VLAN tags of frames below all layers.
    pub(crate) fn tags(&self) -> Tags {
        self.tags
    }

    /// The devices of the layers.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &NetDevice> {
        self.drivers().map(|layer| layer.device())
    }

    /// State objects of all, and their devices, the lowest first.
    pub(crate) fn states(&self) -> impl Iterator<Item = (LayerConst, &NetDevice)> {
        let list = self.list.iter().rev().flatten().map(Layer::driver);
        list.map(|layer| (layer.state(), layer.device()))
    }

    /// Returns whether all of them are as they were. Any context.
    pub(crate) fn intact(&self) -> bool {
        self.drivers().all(|layer| layer.intact())
    }

    /// A frame of the engine, complete from its Ethernet header on: what the device below
    /// the layers has to send, which are several frames if a layer's device does not
    /// segment them later, and none without memory. Packet taps of the layers' devices see
    /// them.
    pub(crate) fn send(&self, skb: SkBuff, bh: &Bh) -> FrameList {
        let mut frames = FrameList::new();
        frames.push(skb);
        for layer in self.drivers() {
            let dev = layer.device();
            let mut below = FrameList::new();
            while let Some(skb) = frames.pop() {
                let mut ready = dev.prepared(skb, features::ENGINE, bh);
                while let Some(skb) = ready.pop() {
                    dev.tap_outgoing(&skb, bh);
                    if let Some(skb) = layer.send(skb, bh) {
                        below.push(skb);
                    }
                }
            }
            frames = below;
        }
        frames
    }

    /// A frame came in by `dev`, below the layers, and was found to be the
    /// connection's, whose IP header is `l3_off` bytes after its beginning: packet
    /// taps and counters, and no tag is beside its data afterwards. Kept apart: frames of
    /// the device itself shall not pay for it.
    #[inline(never)]
    pub(crate) fn received(&self, dev: &NetDevice, skb: &mut SkBuff, l3_off: u32, bh: &Bh) {
        if dev.is_tapped(bh) || self.devices().any(|dev| dev.is_tapped(bh)) {
            vlan::tap_incoming(dev, skb, self.bonded, bh);
        }
        let mut len = skb.len().saturating_sub(l3_off);
        for layer in self.drivers() {
            layer.received(len, bh);
            len = len.saturating_add(layer.overhead());
        }
        skb.untag();
    }
}
