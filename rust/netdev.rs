// SPDX-License-Identifier: GPL-2.0

//! NICs whose devices come in pairs, as veth's: the emulated TOE NIC (`ip link add toe0 type
//! toe`), and whatever else is a [`Kind`] of them.
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
    framework::{
        host,
        target::OffloadTarget, //
    },
    net::{
        context::{
            Bh,
            Rtnl, //
        },
        errno,
        ethtool::{
            EthtoolTable,
            Names,
            Values, //
        },
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
        qstats::QueueStatsTable,
        rtnl,
        skb::SkBuff,
        sysfs::Group, //
    }, //
};

mod attrs;
mod ethtool;
pub(crate) mod failure;
mod link;
mod queue;
mod stats;
mod toe;
mod xmit;

use failure::Failure;
use link::Link;
use queue::{
    RxQueues,
    TxQueue, //
};

pub(crate) use crate::dct::{
    rx::Source,
    SendError, //
};
pub(crate) use toe::Toe;

const FEATURES: u64 = features::SG
    | features::FRAGLIST
    | features::HW_CSUM
    | features::RXCSUM
    | features::SCTP_CRC
    | features::HIGHDMA
    | features::GSO_SOFTWARE
    | features::GSO_ENCAP_ALL;

/// What makes devices those of one kind: the engine that has a device's connections, and
/// processes their frames.
///
/// Each kind implements [`OffloadTarget`] for its [`Port`], and its methods here for itself
/// alone: what a generic implementation reaches is not inlined (see
/// [`offload_target`](crate::dct::offload_target)).
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    /// See the trait's documentation.
    type Engine: Send + Sync;

    /// What stands after `type`.
    const NAME: &'static CStr;
    /// The name of a peer that the request does not name, with `%d` for a number.
    const PEER: &'static CStr;
    /// The most queues of each kind that a device gets on its own.
    const MAX_QUEUES: u32;
    /// Frames that a queue holds unless `ethtool -G` says otherwise.
    const RING: u32;
    /// Features that a device has besides those of every kind.
    const FEATURES: u64;

    /// Its tables of operations; `static TABLES: Tables<Self> = Tables::new()`.
    fn tables() -> &'static Tables<Self>;

    /// The files of `/sys/class/net/<dev>/toe/`: the framework's, unless it has more.
    fn files() -> &'static Group {
        &host::GROUP
    }

    /// The engine of a device about to be registered. Process context, rtnl held.
    fn engine() -> impl PinInit<Self::Engine, Error>;

    /// What the framework has to do with.
    fn target(port: &Port<Self>) -> &dyn OffloadTarget;

    /// Returns whether a frame could be of interest. Called for every frame.
    fn has_entries(port: &Port<Self>) -> bool {
        Self::target(port).connections() != 0
    }

    /// A frame that came in, its first byte the Ethernet header; given back if it is not a
    /// delegated connection's, or must take the ordinary way. Bottom halves off, no socket's
    /// spin lock held.
    fn input(port: &Port<Self>, from: Source<'_>, skb: SkBuff, bh: &Bh) -> Option<SkBuff>;

    /// There is room again after [`Port::send`] refused a frame. Softirq.
    fn tx_room(port: &Port<Self>, bh: &Bh);

    /// Names of counters besides the queues'. Process context.
    fn stat_names(port: &Port<Self>, names: &mut Names<'_>) {
        Self::target(port).device().stats().names(names);
    }

    /// Their values, in the same order.
    fn stat_values(port: &Port<Self>, values: &mut Values<'_>) {
        Self::target(port).device().stats().values(values);
    }
}

/// The tables of operations of a kind's devices.
pub(crate) struct Tables<K: Kind> {
    ops: DeviceOps<Port<K>>,
    ethtool: EthtoolTable<Port<K>>,
    queues: QueueStatsTable<Port<K>>,
}

impl<K: Kind> Tables<K> {
    pub(crate) const fn new() -> Self {
        Tables {
            ops: DeviceOps::new(),
            ethtool: EthtoolTable::new(),
            queues: QueueStatsTable::new(),
        }
    }
}

/// One device of a pair.
#[pin_data]
pub(crate) struct Port<K: Kind> {
    own: OwnDevice,
    /// The device at the other end.
    #[pin]
    peer: PeerLink,
    failure: Failure,
    tx: KVVec<TxQueue>,
    rx: RxQueues<K>,
    /// The connections that it has, and what processes their frames.
    #[pin]
    pub(crate) engine: K::Engine,
}

#[vtable]
impl<K: Kind> Driver for Port<K> {
    #[inline(always)]
    fn ops() -> &'static DeviceOps<Self> {
        &K::tables().ops
    }

    fn init(dev: &NetDevice, own: OwnDevice, rtnl: &Rtnl) -> impl PinInit<Self, Error> {
        let (tx, rx) = (dev.num_tx_queues(), dev.num_rx_queues());
        let combined = tx.min(rx);
        let ready = dev.set_real_num_queues(combined, combined, rtnl);
        try_pin_init!(Port {
            own,
            peer <- PeerLink::new(),
            failure: Failure::new(),
            tx: {
                ready?;
                TxQueue::array(tx)?
            },
            rx: RxQueues::new(rx)?,
            engine <- K::engine(),
        })
    }

    fn open(&self, rtnl: &Rtnl) -> Result {
        let dev = self.dev();
        let peer = self.peer.get_rtnl(rtnl).ok_or_else(errno::ENOTCONN)?;
        self.rx.start(dev, 0..dev.real_num_rx_queues(), rtnl);
        // The device counts as up after this only.
        if peer.is_up() {
            self.join(peer);
        }
        Ok(())
    }

    fn stop(&self, rtnl: &Rtnl) {
        let dev = self.dev();
        dev.carrier_off();
        if let Some(peer) = self.peer.get_rtnl(rtnl) {
            peer.carrier_off();
            if let Some(port) = Port::of(peer) {
                host::link_down(K::target(port), rtnl);
            }
        }
        self.rx.stop(dev, 0..dev.num_rx_queues(), rtnl);
    }

    fn change_carrier(&self, on: bool, rtnl: &Rtnl) {
        self.failure.set_cut(!on);
        let Some(peer) = self.peer.get_rtnl(rtnl) else {
            return;
        };
        if on && self.dev().is_up() && peer.is_up() {
            self.join(peer);
        }
        if !on {
            for dev in [self.dev(), peer] {
                dev.carrier_off();
                if let Some(port) = Port::of(dev) {
                    host::link_down(K::target(port), rtnl);
                }
            }
        }
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

impl<K: Kind> Port<K> {
    /// The port that a device is, if it is one of ours.
    #[inline(always)]
    pub(crate) fn of(dev: &NetDevice) -> Option<&Self> {
        dev.driver::<Self>()
    }

    /// The port at the other end, if frames reach it.
    #[inline(always)]
    fn peer_port<'a>(&self, bh: &'a Bh) -> Option<&'a Self> {
        let peer = self.peer.get(bh)?;
        Self::of(peer).filter(|_| !failure::lost(self, peer))
    }

    /// Both ends are up: they have a carrier if the cable is whole.
    fn join(&self, peer: &NetDevice) {
        let cut = |port: &Self| port.failure.is_cut();
        if !cut(self) && !Port::of(peer).is_some_and(cut) {
            self.dev().carrier_on();
            peer.carrier_on();
        }
    }

    /// Whether it answers the framework at all, see [`failure`].
    pub(crate) fn answers(&self) -> bool {
        self.failure.answers()
    }

    /// Whether it takes connections at present.
    pub(crate) fn accepts(&self) -> bool {
        self.failure.accepts()
    }

    /// The device.
    #[inline(always)]
    pub(crate) fn dev(&self) -> &NetDevice {
        self.own.get()
    }

    /// Sets a new device up before it is registered.
    fn setup(dev: &mut DeviceSetup<'_>) {
        dev.virtual_ethernet()
            .features(
                FEATURES | K::FEATURES,
                FEATURES,
                features::HW_CSUM | features::GSO_SOFTWARE,
            )
            .mtu_range(device::ETH_MIN_MTU, device::ETH_MAX_MTU)
            .any_tso_size()
            .ethtool::<Self>()
            .queue_stats::<Self>()
            .sysfs_group(K::files());
    }
}

/// The driver's registration with the kernel and the framework; deletes all devices when
/// dropped.
#[pin_data]
pub(crate) struct Registration<K: Kind> {
    // Fields are dropped in this order: first the devices.
    #[pin]
    link: rtnl::Registration<Link<K>>,
    targets: host::Registration,
}

impl<K: Kind> Registration<K>
where
    Port<K>: OffloadTarget,
{
    /// Makes `ip link add ... type` [`NAME`](Kind::NAME) work.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Registration {
            targets: host::Registration::new::<Port<K>>()?,
            link <- rtnl::Registration::new(),
        })
    }
}
