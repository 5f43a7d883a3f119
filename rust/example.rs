// SPDX-License-Identifier: GPL-2.0

//! A second target, as small as one can be: what a driver for a device with a TCP stack of
//! its own has to have. `ip link add ex0 type toe-example` makes a pair.
//!
//! Unlike that of the [emulated NIC](crate::netdev), its state is not the socket's: it gets
//! a copy when it takes a connection, works on that, and gives it back, with what it has
//! not sent and not delivered, when the connection leaves it (claims D 10-13). It has room
//! for sixteen connections, no user buffers, no VLANs and no legacy mode: for whatever is
//! special the connection goes back to the host stack.
//! `Documentation/networking/toe-driver.rst` goes through it.

use core::sync::atomic::{
    AtomicBool,
    Ordering::SeqCst, //
};

use kernel::{
    prelude::*,
    str::CStr, //
};

use crate::{
    framework::host::{
        self,
        Device, //
    },
    net::{
        context::{
            Bh,
            BhGuard,
            Rtnl, //
        },
        counter::Counter,
        errno,
        ethtool::{
            EthtoolOps,
            EthtoolTable,
            Names,
            Values, //
        },
        napi::{
            Napi,
            Poll, //
        },
        ndo::{
            DeviceOps,
            Driver,
            LinkStats,
            OwnDevice,
            Xmit, //
        },
        netdev::{
            features,
            DeviceSetup,
            NetDevice,
            ETH_HLEN,
            ETH_MAX_MTU,
            ETH_MIN_MTU, //
        },
        pair::{
            Paired,
            PeerLink, //
        },
        ring::FrameQueue,
        rtnl::{
            self,
            LinkKind, //
        },
        skb::{
            DropReason,
            FrameList,
            SkBuff, //
        },
        sysfs::{
            AttributeList,
            Group, //
        }, //
    }, //
};

mod entry;
mod slots;
mod target;

use entry::Entry;
use slots::Slots;
use target::Lower;

/// Frames that wait for a device at most: few, so that there is not always room.
const RING: u32 = 128;

/// One device of a pair.
#[pin_data]
pub(crate) struct Port {
    own: OwnDevice,
    #[pin]
    peer: PeerLink,
    rx: Pin<KBox<Napi<RxQueue>>>,
    /// Connections wait for room at the peer.
    starved: AtomicBool,
    /// Frames and bytes.
    sent: [Counter; 2],
    /// Bytes that were not sent, and frames not delivered, when their connections left.
    given_back: [Counter; 2],
    #[pin]
    device: Device,
    #[pin]
    lower: Slots<Lower, 32>,
    #[pin]
    connections: Slots<Entry, 16>,
}

/// What the device receives.
#[pin_data]
struct RxQueue {
    #[pin]
    frames: FrameQueue,
}

static OPS: DeviceOps<Port> = DeviceOps::new();

#[vtable]
impl Driver for Port {
    fn ops() -> &'static DeviceOps<Self> {
        &OPS
    }

    fn init(dev: &NetDevice, own: OwnDevice, rtnl: &Rtnl) -> impl PinInit<Self, Error> {
        let ready = dev.set_real_num_queues(1, 1, rtnl);
        try_pin_init!(Port {
            own,
            peer <- PeerLink::new(),
            rx: {
                ready?;
                let queue = pin_init!(RxQueue { frames <- FrameQueue::new(RING) });
                KBox::pin_init(Napi::new(queue), GFP_KERNEL_ACCOUNT)?
            },
            starved: AtomicBool::new(false),
            sent: [const { Counter::new() }; 2],
            given_back: [const { Counter::new() }; 2],
            device <- Device::new(),
            lower <- Slots::new(),
            connections <- Slots::new(),
        })
    }

    fn open(&self, rtnl: &Rtnl) -> Result {
        let peer = self.peer.get_rtnl(rtnl).ok_or_else(errno::ENOTCONN)?;
        self.rx.start(self.dev(), 0, rtnl);
        self.rx.frames.open(&BhGuard::new());
        if peer.is_up() {
            self.dev().carrier_on();
            peer.carrier_on();
        }
        Ok(())
    }

    fn stop(&self, rtnl: &Rtnl) {
        self.dev().carrier_off();
        if let Some(peer) = self.peer.get_rtnl(rtnl) {
            peer.carrier_off();
            if let Some(port) = peer.driver::<Port>() {
                host::link_down(port, rtnl);
            }
        }
        let left = self.rx.frames.close(&BhGuard::new());
        self.rx.stop(self.dev(), 0, rtnl);
        drop(left);
    }

    fn start_xmit(&self, mut skb: SkBuff, bh: &Bh) -> Xmit {
        let Some((peer, rx)) = self.peer(bh) else {
            skb.drop_because(DropReason::DevReady);
            return Xmit::Dropped;
        };
        if !skb.may_pull(ETH_HLEN) {
            skb.drop_because(DropReason::HdrTrunc);
            return Xmit::Dropped;
        }
        let bytes = skb.len().into();
        skb.tx_timestamp();
        skb.forget_checksum();
        let mut frames = FrameList::new();
        if let Some(skb) = skb.forward_to(peer, bh) {
            frames.push(skb);
        }
        match !frames.is_empty() && rx.queue(frames, bh) {
            true => {
                self.count(1, bytes);
                Xmit::Sent
            }
            false => Xmit::Dropped,
        }
    }

    fn stats64(&self, stats: &mut LinkStats) {
        let received = self.rx.frames.counters(&BhGuard::new());
        stats.rx_packets += received.packets;
        stats.rx_bytes += received.bytes;
        stats.tx_packets += self.sent[0].get();
        stats.tx_bytes += self.sent[1].get();
    }

    fn iflink(&self) -> i32 {
        let rcu = kernel::sync::rcu::read_lock();
        self.peer.get_rcu(&rcu).map_or(0, NetDevice::ifindex)
    }
}

impl Port {
    fn dev(&self) -> &NetDevice {
        self.own.get()
    }

    /// The other device while it is up, and what it receives by.
    fn peer<'a>(&self, bh: &'a Bh) -> Option<(&'a NetDevice, &'a Napi<RxQueue>)> {
        let peer = self.peer.get(bh).filter(|peer| peer.is_up())?;
        Some((peer, &*peer.driver::<Port>()?.rx))
    }

    fn count(&self, frames: u32, bytes: u64) {
        self.sent[0].add(frames.into());
        self.sent[1].add(bytes);
    }

    /// Returns whether the wire has room for this many frames. If not, connections are told
    /// when it has.
    fn has_room(&self, frames: u32, bh: &Bh) -> bool {
        let Some((_, rx)) = self.peer(bh) else {
            // Where nobody is, all is lost.
            return true;
        };
        if !rx.frames.has_room(frames, bh) {
            // Set first, asked again then: a poll in between has made room.
            self.starved.store(true, SeqCst);
            if !rx.frames.has_room(frames, bh) {
                rx.schedule(bh);
                return false;
            }
        }
        true
    }

    /// Sends a frame of a connection.
    fn send(&self, skb: SkBuff, bh: &Bh) {
        let Some((peer, rx)) = self.peer(bh) else {
            return skb.drop_because(DropReason::DevReady);
        };
        let dev = self.dev();
        let mut ready = dev.prepared(skb, features::ENGINE, bh);
        let mut frames = FrameList::new();
        while let Some(mut skb) = ready.pop() {
            dev.tap_outgoing(&skb, bh);
            skb.tx_timestamp();
            if let Some(skb) = skb.forward_own_to(peer, bh) {
                frames.push(skb);
            }
        }
        let (count, bytes) = (frames.len(), frames.bytes());
        self.device.stats().transmitted(0, count, bytes);
        self.count(count, bytes);
        rx.queue(frames, bh);
    }
}

impl Poll for RxQueue {
    fn frames(&self) -> &FrameQueue {
        &self.frames
    }

    fn poll(napi: &Napi<Self>, budget: u32, bh: &Bh) -> u32 {
        let Some(port) = napi.dev(bh).and_then(|dev| dev.driver::<Port>()) else {
            return 0;
        };
        let mut frames = napi.frames.take(budget, bh);
        let done = frames.len();
        while let Some(skb) = frames.pop() {
            if let Some(skb) = Entry::input(port, skb, bh) {
                napi.receive(skb, 0, false, bh);
            }
        }
        if done < budget {
            napi.complete(done, bh);
        }
        let peer = port.peer.get(bh).and_then(|peer| peer.driver::<Port>());
        if let Some(peer) = peer.filter(|peer| peer.starved.swap(false, SeqCst)) {
            peer.connections
                .for_each(&mut |_, entry| entry.room(peer, bh));
        }
        done
    }
}

static ETHTOOL: EthtoolTable<Port> = EthtoolTable::new();

#[vtable]
impl EthtoolOps for Port {
    const DRIVER: &'static CStr = Kind::KIND;
    const VERSION: &'static CStr = c"1.0";

    fn ethtool() -> &'static EthtoolTable<Self> {
        &ETHTOOL
    }

    fn stat_names(&self, names: &mut Names<'_>, _rtnl: &Rtnl) {
        names.add(fmt!("unsent_bytes_given_back"));
        names.add(fmt!("undelivered_frames_given_back"));
        self.device.stats().names(names);
    }

    fn stat_values(&self, values: &mut Values<'_>, _rtnl: &Rtnl) {
        self.given_back
            .iter()
            .for_each(|counter| values.add(counter.get()));
        self.device.stats().values(values);
    }
}

impl Paired for Port {
    fn peer_link(&self) -> &PeerLink {
        &self.peer
    }
}

static FILES: AttributeList<35> = AttributeList::new(&host::FILES, &[]);
static GROUP: Group = host::group(&FILES);

/// `type toe-example`.
struct Kind;

impl LinkKind for Kind {
    type Driver = Port;

    const KIND: &'static CStr = c"toe-example";
    const PEER: &'static CStr = c"toe-example%d";

    fn setup(dev: &mut DeviceSetup<'_>) {
        let on = features::ENGINE | features::RXCSUM | features::HIGHDMA | features::GSO_SOFTWARE;
        dev.virtual_ethernet()
            .features(on, on, 0)
            .mtu_range(ETH_MIN_MTU, ETH_MAX_MTU)
            .any_tso_size()
            .ethtool::<Port>()
            .sysfs_group(&GROUP);
    }

    fn num_queues() -> u32 {
        1
    }
}

/// The driver's registration; deletes all devices when dropped.
#[pin_data]
pub(crate) struct Registration {
    // Dropped in this order: first the devices.
    #[pin]
    link: rtnl::Registration<Kind>,
    targets: host::Registration,
}

impl Registration {
    /// Makes `ip link add ... type toe-example` work.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Registration {
            targets: host::Registration::new::<Port>()?,
            link <- rtnl::Registration::new(),
        })
    }
}
