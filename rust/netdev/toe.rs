// SPDX-License-Identifier: GPL-2.0

//! The emulated TOE NIC, whose engine is the [delegated connection table](crate::dct).

use kernel::{
    prelude::*,
    str::CStr, //
};

use super::{
    attrs,
    Kind,
    Port,
    SendError,
    Source,
    Tables, //
};
use crate::{
    dct::{
        self,
        rx,
        Engine,
        Nic, //
    },
    framework::{
        host::{
            self,
            Layers, //
        },
        target::OffloadTarget, //
    },
    net::{
        context::Bh,
        ethtool::{
            Names,
            Values, //
        },
        net_device::{
            features,
            NetDevice, //
        },
        skb::SkBuff,
        sysfs::Group, //
    }, //
};

/// `type toe`.
pub(crate) struct Toe;

static TABLES: Tables<Toe> = Tables::new();

impl Kind for Toe {
    type Engine = Engine<Port<Toe>>;

    const NAME: &'static CStr = c"toe";
    const PEER: &'static CStr = c"toe%d";
    const MAX_QUEUES: u32 = 16;
    const RING: u32 = 1024;
    const FEATURES: u64 = features::VLAN_CTAG | features::VLAN_STAG;

    #[inline(always)]
    fn tables() -> &'static Tables<Self> {
        &TABLES
    }

    fn files() -> &'static Group {
        &attrs::GROUP
    }

    fn engine() -> impl PinInit<Self::Engine, Error> {
        Engine::new()
    }

    fn target(port: &Port<Self>) -> &dyn OffloadTarget {
        port
    }

    #[inline(always)]
    fn has_entries(port: &Port<Self>) -> bool {
        // Or another member of its bond may have some.
        port.engine.has_entries() || host::any_bond() && port.dev().is_bond_member()
    }

    // Not `#[inline]`, as that ends what the compiler takes for reachable from other crates.
    fn input(port: &Port<Self>, from: Source<'_>, skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        rx::input(port, from, skb, bh)
    }

    fn tx_room(port: &Port<Self>, bh: &Bh) {
        port.engine.tx_room(bh);
    }

    fn stat_names(port: &Port<Self>, names: &mut Names<'_>) {
        port.engine.stats().names(names);
        port.engine.audit().names(names);
    }

    fn stat_values(port: &Port<Self>, values: &mut Values<'_>) {
        port.engine.stats().values(values);
        port.engine.audit().values(values);
    }
}

dct::offload_target!(Port<Toe>);

impl Nic for Port<Toe> {
    #[inline(always)]
    fn engine(&self) -> &Engine<Self> {
        &self.engine
    }

    #[inline(always)]
    fn dev(&self) -> &NetDevice {
        Port::dev(self)
    }

    #[inline(always)]
    fn peer<'a>(&self, bh: &'a Bh) -> Option<&'a Self> {
        Port::peer_port(self, bh)
    }

    fn answers(&self) -> bool {
        Port::answers(self)
    }

    fn accepts(&self) -> bool {
        Port::accepts(self)
    }

    fn send_frame(
        &self,
        skb: SkBuff,
        queue: u16,
        via: Option<&Layers>,
        stamp: u64,
        bh: &Bh,
    ) -> Result<(u32, u64), SendError> {
        self.send(skb, queue, via, stamp, bh)
    }
}
