// SPDX-License-Identifier: GPL-2.0

//! Intermediate drivers: the layers between a connection's path and the NIC that change
//! its frames. VLAN devices are such layers; IPsec would be the next.
//!
//! They are found when an offload is initiated, from the device that the route leaves
//! through down to the one of a target, and are objects of the offload tree, below the
//! neighbours that are reached through them. Of a layer's state its kind, device and tag
//! are constant as long as the connection is delegated (if they change, it is uploaded:
//! [`Layers::intact`]). What the host may change at any time, the priority of a VLAN's tag,
//! is read from the host whenever a frame is sent.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    logic::{
        reason::Refusal,
        tree::state::LayerConst,
        vlan::{
            Tags,
            MAX_TAGS, //
        },
        wire::VLAN_LEN, //
    },
    net::{
        context::Bh,
        memcg,
        net_device::{
            features,
            NetDevice, //
        },
        skb::{
            FrameList,
            SkBuff, //
        },
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

/// A layer of any kind.
enum Layer {
    Vlan(Vlan),
}

impl Layer {
    fn driver(&self) -> &dyn IntermediateDriver {
        match self {
            Layer::Vlan(vlan) => vlan,
        }
    }
}

/// The layers between a neighbour and the target's device, as they were when the
/// neighbour's object was made. The target has them.
pub(crate) struct Layers {
    /// The one that the route leaves through first.
    list: [Option<Layer>; MAX_TAGS],
    tags: Tags,
}

impl Layers {
    /// The layers from `dev`, which a route leaves through, down to the device that
    /// takes connections, if there are any. A refusal if the target cannot do what they
    /// do. Any context; `dev` stays what it is while the socket of the route is locked.
    #[inline]
    pub(crate) fn find(dev: &NetDevice) -> Result<Option<Arc<Self>>, Refusal> {
        match dev.vlan() {
            Some(_) => Self::find_all(dev).map(Some),
            None => Ok(None),
        }
    }

    fn find_all(mut dev: &NetDevice) -> Result<Arc<Self>, Refusal> {
        let mut layers = Layers {
            list: [const { None }; MAX_TAGS],
            tags: Tags::NONE,
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
        Arc::new(layers, memcg::atomic()).map_err(|_| Refusal::NoMemory)
    }

    /// The device below all layers that there can be on top of it: `dev` if there are
    /// none. Any context.
    pub(crate) fn below(dev: &NetDevice) -> &NetDevice {
        dev.below_vlans()
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
            vlan::tap_incoming(dev, skb, bh);
        }
        let mut len = skb.len().saturating_sub(l3_off);
        for layer in self.drivers() {
            layer.received(len, bh);
            len = len.saturating_add(layer.overhead());
        }
        skb.untag();
    }
}
