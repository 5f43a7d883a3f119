// SPDX-License-Identifier: GPL-2.0

//! The engines on a NIC whose wire is a test: what the table does with the NIC that it is
//! given, with connections of the host stack, offloaded as any other.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use super::{
    offload_target,
    rx::{
        self,
        Recent,
        Source, //
    },
    Engine,
    Entry,
    Nic,
    SendError, //
};
use crate::{
    framework::host::{
        self,
        Layers, //
    },
    logic::{
        seq::Seq,
        template::{
            HeaderTemplate,
            TemplateParams,
            TxFields, //
        },
        tuple::Tuple,
        wire::{
            self,
            flags,
            Segment, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard,
            Rtnl, //
        },
        fixture::{
            self,
            End,
            TestDevice,
            TestSocket, //
        },
        ndo::{
            DeviceOps,
            Driver,
            LinkStats,
            OwnDevice,
            Xmit, //
        },
        net_device::NetDevice,
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::LockedSock,
        sync::rcu::ReadGuard,
        table::Tether, //
    }, //
};

/// What becomes of the engine's frames.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Up,
    Full,
    Down,
}

struct State {
    wire: Wire,
    sent: FrameList,
}

/// Keeps what the engine sends; what the host stack sends is lost.
#[pin_data]
struct FakeNic {
    own: OwnDevice,
    #[pin]
    engine: Engine<FakeNic>,
    #[pin]
    state: SpinLock<State>,
}

static OPS: DeviceOps<FakeNic> = DeviceOps::new();

offload_target!(FakeNic);

#[vtable]
impl Driver for FakeNic {
    fn ops() -> &'static DeviceOps<Self> {
        &OPS
    }

    fn init(_dev: &NetDevice, own: OwnDevice, _rtnl: &Rtnl) -> impl PinInit<Self, Error> {
        try_pin_init!(FakeNic {
            own,
            engine <- Engine::new(),
            state <- new_spinlock!(State {
                wire: Wire::Up,
                sent: FrameList::new(),
            }),
        })
    }

    fn open(&self, _rtnl: &Rtnl) -> Result {
        Ok(())
    }

    fn stop(&self, _rtnl: &Rtnl) {}

    fn change_carrier(&self, _on: bool, _rtnl: &Rtnl) {}

    fn start_xmit(&self, skb: SkBuff, _bh: &Bh) -> Xmit {
        drop(skb);
        Xmit::Dropped
    }

    fn stats64(&self, _stats: &mut LinkStats) {}

    fn iflink(&self) -> i32 {
        self.own.get().ifindex()
    }
}

impl Nic for FakeNic {
    fn engine(&self) -> &Engine<Self> {
        &self.engine
    }

    fn dev(&self) -> &NetDevice {
        self.own.get()
    }

    fn send_frame(
        &self,
        skb: SkBuff,
        _queue: u16,
        _via: Option<&Layers>,
        _stamp: u64,
        _bh: &Bh,
    ) -> Result<(u32, u64), SendError> {
        let mut state = self.state.lock();
        let len = skb.len().into();
        match state.wire {
            Wire::Up => state.sent.push(skb),
            Wire::Full => return Err(SendError::Full(skb)),
            Wire::Down => return Err(SendError::Down(skb)),
        }
        Ok((1, len))
    }
}

impl FakeNic {
    fn set_wire(&self, wire: Wire) {
        let _bh = BhGuard::new();
        self.state.lock().wire = wire;
    }

    /// The next frame that the engine has sent.
    fn sent(&self) -> Option<Segment> {
        let _bh = BhGuard::new();
        let skb = self.state.lock().sent.pop()?;
        let mut seg = Segment::default();
        let parsed = wire::parse_into(skb.data(), skb.len(), &mut seg);
        parsed.ok().map(|()| seg)
    }
}

/// The host's end. Its numbers wrap soon.
const LOCAL: End = End {
    address: [192, 0, 2, 1],
    port: 40000,
    seq: u32::MAX - 20,
};
/// The test's.
const REMOTE: End = End {
    address: [192, 0, 2, 2],
    port: 5001,
    seq: 1000,
};

/// A connection of the host's with the NIC. Dropped in this order.
struct Bench {
    sock: TestSocket,
    dev: TestDevice<FakeNic>,
    _driver: host::Registration,
}

impl Bench {
    fn new() -> Result<Self> {
        let driver = host::Registration::new::<FakeNic>()?;
        let dev = TestDevice::new(LOCAL.address).ok_or(ENODEV)?;
        let sock = TestSocket::connect(LOCAL, REMOTE).ok_or(ENODEV)?;
        Ok(Bench {
            sock,
            dev,
            _driver: driver,
        })
    }

    /// The same, offloaded.
    fn offloaded() -> Result<Self> {
        let bench = Self::new()?;
        bench.sock.offload()?;
        Ok(bench)
    }

    fn nic(&self) -> Result<&FakeNic> {
        self.dev.driver::<FakeNic>().ok_or(ENODEV)
    }

    fn connections(&self) -> Result<u32> {
        Ok(self.nic()?.engine.table().len())
    }

    /// A frame comes in from `port` of the other end. `true`: it is the engine's.
    fn comes_in(&self, port: u16, seq: u32, ack: u32, payload: &[u8]) -> Result<bool> {
        const ROOM: usize = 128;

        let nic = self.nic()?;
        let mut bytes = [0; ROOM];
        // The NIC asks nobody for link addresses: they are all its own.
        let mac = nic.dev().address_now();
        let template = HeaderTemplate::new(&TemplateParams {
            src_mac: mac,
            dst_mac: mac,
            tuple: Tuple::v4(REMOTE.address, port, LOCAL.address, LOCAL.port),
            ttl: 64,
            df: true,
            ..TemplateParams::default()
        });
        let fields = TxFields {
            seq: Seq(seq),
            ack: Seq(ack),
            flags: flags::ACK | flags::PSH,
            window: 32768,
            payload_len: payload.len() as u32,
            ..TxFields::default()
        };
        let len = template.len();
        let (header, rest) = bytes.split_at_mut_checked(len).ok_or(EINVAL)?;
        template.write(header, &fields).ok_or(EINVAL)?;
        let data = rest.get_mut(..payload.len()).ok_or(EINVAL)?;
        data.copy_from_slice(payload);
        let frame = bytes.get(..len + payload.len()).ok_or(EINVAL)?;
        let skb = fixture::frame(nic.dev(), frame).ok_or(ENOMEM)?;
        let from = Source {
            queue: 0,
            napi_id: 0,
            recent: &Recent::new(),
            stamp: 0,
        };
        let bh = BhGuard::new();
        Ok(rx::input(nic, from, skb, &bh).is_none())
    }

    /// With the socket's lock, which nobody has.
    fn with<R>(&self, f: impl FnOnce(LockedSock<'_>) -> R) -> Result<R> {
        let sock = self.sock.sock();
        sock.with_lock(|sk| Some(f(sk)), |_| None).ok_or(EBUSY)
    }
}

#[kernel::macros::kunit_tests(toe_dct)]
mod tests {
    use super::*;

    #[test]
    fn data_leaves_by_the_nic_until_it_is_acknowledged() -> Result {
        let bench = Bench::offloaded()?;
        let nic = bench.nic()?;
        assert_eq!(bench.connections()?, 1);
        assert_eq!(bench.sock.send(&[7; 100])?, 100);
        let seg = nic.sent().ok_or(ENOENT)?;
        assert_eq!((seg.seq.0, seg.payload), (LOCAL.seq, 100));
        assert_eq!(seg.ack.0, REMOTE.seq);
        assert!(nic.sent().is_none());
        assert_eq!(bench.with(|sk| sk.packets_out())?, 1);
        let ack = LOCAL.seq.wrapping_add(100);
        assert!(bench.comes_in(REMOTE.port, REMOTE.seq, ack, &[])?);
        assert_eq!(bench.with(|sk| sk.packets_out())?, 0);
        assert_eq!(bench.with(|sk| sk.transferred())?, (100, 0));
        Ok(())
    }

    #[test]
    fn what_is_on_its_way_is_not_unsent() -> Result {
        let bench = Bench::new()?;
        bench.sock.send(&[7; 100])?;
        bench.with(|sk| {
            let (una, mss) = (Seq(LOCAL.seq), sk.mss());
            // If it left at once it is lost: the NIC drops what the host stack sends.
            sk.unsend(una);
            let head = sk.send_head().ok_or(ENOENT)?;
            let clone = sk.clone_head(&head).ok_or(ENOMEM)?;
            sk.sent(head, mss);
            // The clone's fragments are those of the socket's buffer.
            assert_eq!((sk.unsend(una), sk.packets_out()), (0, 1));
            drop(clone);
            assert_eq!((sk.unsend(una), sk.packets_out()), (100, 0));
            assert_eq!(sk.snd_nxt(), una);
            assert_eq!(sk.send_head().map(|head| head.len), Some(100));
            Ok(())
        })?
    }

    #[test]
    fn a_route_that_becomes_invalid_can_still_be_read() -> Result {
        let bench = Bench::new()?;
        bench.with(|sk| {
            sk.valid_route().ok_or(ENETUNREACH)?;
            let (hop, cached) = (sk.hop(), sk.cached());
            // Between the check and what it was made for.
            fixture::outdate_route(sk);
            sk.follow_mtu();
            assert!(sk.route().is_none());
            let bh = BhGuard::new();
            assert!(sk.tx_blockers(bench.nic()?.dev(), &bh).is_invalid());
            drop(bh);
            assert!(sk.hop() == hop);
            let now = sk.cached();
            assert_eq!(
                (now.ttl, now.df, now.mss),
                (cached.ttl, cached.df, cached.mss)
            );
            // The next one to look finds another.
            assert!(sk.valid_route().is_some());
            Ok(())
        })?
    }

    #[test]
    fn payload_that_comes_in_is_the_applications() -> Result {
        let bench = Bench::offloaded()?;
        assert!(bench.comes_in(REMOTE.port, REMOTE.seq, LOCAL.seq, b"from the wire")?);
        let mut data = [0; 64];
        let len = bench.sock.receive(&mut data)?;
        assert_eq!(data.get(..len), Some(&b"from the wire"[..]));
        // What is sent next says so.
        bench.sock.send(&[1])?;
        let mut last = None;
        while let Some(seg) = bench.nic()?.sent() {
            last = Some(seg.ack.0);
        }
        assert_eq!(last, Some(REMOTE.seq + 13));
        Ok(())
    }

    #[test]
    fn frames_of_others_are_given_back() -> Result {
        let bench = Bench::offloaded()?;
        assert!(!bench.comes_in(REMOTE.port + 1, REMOTE.seq, LOCAL.seq, b"x")?);
        assert_eq!(bench.connections()?, 1);
        Ok(())
    }

    #[test]
    fn a_full_nic_says_when_to_go_on() -> Result {
        let bench = Bench::offloaded()?;
        let nic = bench.nic()?;
        nic.set_wire(Wire::Full);
        assert_eq!(bench.sock.send(&[7; 100])?, 100);
        assert_eq!(bench.with(|sk| sk.packets_out())?, 0);
        nic.set_wire(Wire::Up);
        nic.engine.tx_room(&BhGuard::new());
        let seg = nic.sent().ok_or(ENOENT)?;
        assert_eq!((seg.seq.0, seg.payload), (LOCAL.seq, 100));
        assert_eq!(bench.with(|sk| sk.packets_out())?, 1);
        assert_eq!(bench.connections()?, 1);
        Ok(())
    }

    #[test]
    fn a_link_that_is_down_gives_the_connection_up() -> Result {
        let bench = Bench::offloaded()?;
        bench.nic()?.set_wire(Wire::Down);
        assert_eq!(bench.sock.send(&[7; 100])?, 100);
        assert_eq!(bench.connections()?, 0);
        // The host stack has sent it, or will.
        let gone = bench.with(|sk| host::of(sk, &ReadGuard::new()).is_none())?;
        assert!(gone);
        Ok(())
    }

    #[test]
    fn a_special_case_is_the_hosts_and_the_entry_stays() -> Result {
        let bench = Bench::offloaded()?;
        // Not in order.
        assert!(bench.comes_in(REMOTE.port, REMOTE.seq + 5, LOCAL.seq, b"later")?);
        let legacy = |sk: LockedSock<'_>| {
            host::of(sk, &ReadGuard::new()).is_some_and(|conn| conn.in_legacy(sk))
        };
        assert!(bench.with(legacy)?);
        assert_eq!(bench.connections()?, 1);
        assert!(bench.comes_in(REMOTE.port, REMOTE.seq, LOCAL.seq, b"first")?);
        let mut data = [0; 64];
        let len = bench.sock.receive(&mut data)?;
        assert_eq!(data.get(..len), Some(&b"firstlater"[..]));
        Ok(())
    }

    #[test]
    fn a_tether_finds_its_entry_while_it_is_in_the_table() -> Result {
        let bench = Bench::offloaded()?;
        let nic = bench.nic()?;
        let guard = ReadGuard::new();
        let hwid = bench.with(|sk| host::of(sk, &guard).map(|conn| conn.hwid()))?;
        let hwid = hwid.ok_or(ENOENT)?;
        let tether = nic
            .engine
            .get(&guard, hwid)
            .and_then(Tether::new)
            .ok_or(ENOENT)?;
        drop(guard);
        let found = tether.get::<Entry<FakeNic>>().map(|entry| entry.hwid());
        assert!(found == Some(hwid));
        nic.set_wire(Wire::Down);
        bench.sock.send(&[7])?;
        assert!(tether.get::<Entry<FakeNic>>().is_none());
        assert!(nic.engine.get(&ReadGuard::new(), hwid).is_none());
        Ok(())
    }

    #[test]
    fn a_device_that_goes_gives_its_connections_back() -> Result {
        let Bench { sock, dev, _driver } = Bench::offloaded()?;
        // Waits for all that the entry has of it.
        drop(dev);
        let gone = |sk: LockedSock<'_>| host::of(sk, &ReadGuard::new()).is_none();
        assert!(sock.sock().with_lock(gone, |_| false));
        Ok(())
    }
}
