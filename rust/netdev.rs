// SPDX-License-Identifier: GPL-2.0

//! The emulated TOE NIC: pairs of devices, `ip link add toe0 type toe`.
//!
//! A frame sent by one device of a pair is put into a queue of the other, whose
//! NAPI instance gives it to that side's offload engine or network stack.
//! Nothing is copied, segmented or checksummed on the way unless a feature is
//! switched off.
//!
//! Locking: rtnl protects the life of a pair, [`Port::peer`] is read under RCU,
//! and each [`FrameQueue`](crate::net::sync::ring::FrameQueue) has a spin lock of its
//! own, innermost.

use kernel::{
    prelude::*,
    str::CStr, //
};

use crate::{
    dct::{
        self,
        Engine, //
    },
    framework::host,
    net::{
        context::{
            Bh,
            Rtnl, //
        },
        errno,
        ndo::{
            DeviceOps,
            Driver,
            LinkStats,
            OwnDevice,
            Xmit, //
        },
        net_device::{
            self as device,
            features,
            DeviceSetup,
            NetDevice, //
        },
        peer::PeerLink,
        rtnl,
        skb::SkBuff, //
    }, //
};

mod attrs;
mod ethtool;
mod link;
mod queue;
mod stats;
mod xmit;

use queue::{
    RxQueues,
    TxQueue, //
};

use link::Link;

/// The kind's name.
const KIND: &CStr = c"toe";

/// Most queues of each kind that a device gets on its own.
const DEFAULT_MAX_QUEUES: u32 = 16;

const FEATURES: u64 = features::SG
    | features::FRAGLIST
    | features::HW_CSUM
    | features::RXCSUM
    | features::SCTP_CRC
    | features::HIGHDMA
    | features::GSO_SOFTWARE
    | features::GSO_ENCAP_ALL
    | features::VLAN_CTAG
    | features::VLAN_STAG;

/// One device of a pair.
#[pin_data]
pub(crate) struct Port {
    own: OwnDevice,
    /// The device at the other end.
    #[pin]
    peer: PeerLink,
    tx: KVVec<TxQueue>,
    rx: RxQueues,
    /// The connections that it has, and what processes their frames.
    #[pin]
    engine: Engine<Port>,
}

static OPS: DeviceOps<Port> = DeviceOps::new();

dct::offload_target!(Port);

#[vtable]
impl Driver for Port {
    fn ops() -> &'static DeviceOps<Self> {
        &OPS
    }

    fn init(dev: &NetDevice, own: OwnDevice, rtnl: &Rtnl) -> impl PinInit<Self, Error> {
        let (tx, rx) = (dev.num_tx_queues(), dev.num_rx_queues());
        let combined = tx.min(rx);
        let ready = dev.set_real_num_queues(combined, combined, rtnl);
        try_pin_init!(Port {
            own,
            peer <- PeerLink::new(),
            tx: {
                ready?;
                TxQueue::array(tx)?
            },
            rx: RxQueues::new(rx)?,
            engine <- Engine::new(),
        })
    }

    fn open(&self, rtnl: &Rtnl) -> Result {
        let dev = self.dev();
        let peer = self.peer.get_rtnl(rtnl).ok_or_else(errno::ENOTCONN)?;
        self.rx.start(dev, 0..dev.real_num_rx_queues(), rtnl);
        if peer.is_up() {
            dev.carrier_on();
            peer.carrier_on();
        }
        Ok(())
    }

    fn stop(&self, rtnl: &Rtnl) {
        let dev = self.dev();
        dev.carrier_off();
        if let Some(peer) = self.peer.get_rtnl(rtnl) {
            peer.carrier_off();
            if let Some(port) = Port::of(peer) {
                host::link_down(port, rtnl);
            }
        }
        self.rx.stop(dev, 0..dev.num_rx_queues(), rtnl);
    }

    #[inline]
    fn start_xmit(&self, skb: SkBuff, bh: &Bh) -> Xmit {
        self.xmit(skb, bh)
    }

    fn stats64(&self, stats: &mut LinkStats) {
        self.link_stats(stats);
    }

    fn iflink(&self) -> i32 {
        let rcu = kernel::sync::rcu::read_lock();
        self.peer.get_rcu(&rcu).map_or(0, NetDevice::ifindex)
    }
}

impl Port {
    /// The port that a device is, if it is one of ours.
    #[inline(always)]
    pub(crate) fn of(dev: &NetDevice) -> Option<&Port> {
        dev.driver::<Port>()
    }

    /// The device.
    #[inline(always)]
    pub(crate) fn dev(&self) -> &NetDevice {
        self.own.get()
    }

    /// Sets a new device up before it is registered.
    fn setup(dev: &mut DeviceSetup<'_>) {
        let inherited = FEATURES & !(features::VLAN_CTAG | features::VLAN_STAG);
        dev.virtual_ethernet()
            .features(
                FEATURES,
                inherited,
                features::HW_CSUM | features::GSO_SOFTWARE,
            )
            .mtu_range(device::ETH_MIN_MTU, device::ETH_MAX_MTU)
            .any_tso_size()
            .ethtool::<Port>()
            .queue_stats::<Port>()
            .sysfs_group(&attrs::GROUP);
    }
}

/// The driver's registration with the kernel and the framework; deletes all devices when
/// dropped.
#[pin_data]
pub(crate) struct Registration {
    // Fields are dropped in this order: first the devices.
    #[pin]
    link: rtnl::Registration<Link>,
    targets: host::Registration,
}

impl Registration {
    /// Makes `ip link add ... type toe` work.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Registration {
            targets: host::Registration::new::<Port>()?,
            link <- rtnl::Registration::new(),
        })
    }
}
