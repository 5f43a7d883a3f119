// SPDX-License-Identifier: GPL-2.0

//! The other end of the wire: smoltcp, an independent TCP, or a second
//! endpoint of our own, so that both ends are delegated at times.

use std::cell::Cell;
use std::collections::VecDeque;

use smoltcp::iface::{Config as IfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Address};
use toe_model::logic::tuple::{Family, Tuple};

use crate::endpoint::Endpoint;
use crate::link::{Rng, Time};

/// What a run needs of either kind of peer.
pub trait Peer {
    fn input(&mut self, now: Time, frame: &[u8]);
    /// Timers and output: frames with an Ethernet header.
    fn poll(&mut self, now: Time) -> Vec<Vec<u8>>;
    fn next_timer(&mut self, now: Time) -> Option<Time>;
    /// Takes as much of `data` as there is room for.
    fn write(&mut self, data: &[u8]) -> usize;
    /// Closes this direction; `false` if it is too early.
    fn close(&mut self) -> bool;
    fn read(&mut self, max: usize) -> Vec<u8>;
    /// Returns whether the connection failed.
    fn failed(&self) -> bool;
    /// What to print of a peer that is stuck.
    fn state(&self) -> String;
    /// A chance to flip between host stack and target.
    fn flip(&mut self, _permille: (u64, u64)) {}
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }
}

thread_local! {
    /// smoltcp's timestamp clock is a plain function.
    static CLOCK_MS: Cell<u32> = const { Cell::new(0) };
}

/// Two queues of IP packets.
#[derive(Default)]
struct Queues {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Packet(Vec<u8>);
struct Out<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Packet {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Packet;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Packet, Out<'_>)> {
        let packet = self.rx.pop_front()?;
        Some((Packet(packet), Out(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        Some(Out(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps
    }
}

fn address(family: Family, a: &[u8; 16]) -> IpAddress {
    match family {
        Family::V4 => IpAddress::Ipv4(Ipv4Address::new(a[0], a[1], a[2], a[3])),
        Family::V6 => IpAddress::Ipv6(Ipv6Address::from(*a)),
    }
}

fn instant(now: Time) -> Instant {
    Instant::from_micros(now as i64)
}

/// smoltcp as the passive end of the connection.
pub struct Smol {
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    queues: Queues,
    ethertype: [u8; 2],
    was_open: bool,
    /// The initial sequence number that the other end is to see.
    isn: u32,
    /// What is added to smoltcp's own sequence numbers for that, once known.
    shift: Option<u32>,
}

/// Adds to the 32 bit number at `at` of a TCP header at `l4`, and keeps its
/// checksum as right or wrong as it was (RFC 1624).
fn add_to_field(packet: &mut [u8], l4: usize, at: usize, n: u32) {
    let Some(h) = packet.get_mut(l4..l4 + 20) else {
        return;
    };
    let old = [h[at], h[at + 1], h[at + 2], h[at + 3]];
    let new = u32::from_be_bytes(old).wrapping_add(n).to_be_bytes();
    h[at..at + 4].copy_from_slice(&new);
    let mut sum = u32::from(!u16::from_be_bytes([h[16], h[17]]));
    for (o, n) in old.chunks(2).zip(new.chunks(2)) {
        sum += u32::from(!u16::from_be_bytes([o[0], o[1]]));
        sum += u32::from(u16::from_be_bytes([n[0], n[1]]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    h[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

impl Smol {
    pub fn new(
        tuple: &Tuple,
        mtu: usize,
        ts_ok: bool,
        buffer: usize,
        isn: u32,
        rng: &mut Rng,
    ) -> Self {
        let mut queues = Queues {
            mtu,
            ..Queues::default()
        };
        let mut config = IfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = rng.next();
        let mut iface = Interface::new(config, &mut queues, instant(0));
        let local = address(tuple.family, &tuple.remote);
        iface.update_ip_addrs(|addrs| {
            let _ = addrs.push(IpCidr::new(local, 24));
        });
        let storage = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(storage(), storage());
        socket.set_nagle_enabled(rng.permille(500));
        socket.set_ack_delay(rng.permille(700).then(|| Duration::from_millis(10)));
        // smoltcp 0.14 goes silent when data is lost and a late ACK that closes
        // the window arrives after the one that opened it: the answer to a
        // keepalive probe wakes it.
        socket.set_keep_alive(Some(Duration::from_millis(500)));
        if ts_ok {
            socket.set_tsval_generator(Some(|| CLOCK_MS.get()));
        }
        socket.listen(tuple.rport).expect("fresh socket");
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            iface,
            sockets,
            handle,
            queues,
            ethertype: match tuple.family {
                Family::V4 => [8, 0],
                Family::V6 => [0x86, 0xdd],
            },
            was_open: false,
            isn,
            shift: None,
        }
    }

    /// Where the TCP header is: smoltcp sends no options, and takes none.
    fn l4(&self) -> usize {
        match self.ethertype {
            [8, 0] => 20,
            _ => 40,
        }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

impl Peer for Smol {
    fn input(&mut self, _: Time, frame: &[u8]) {
        let mut packet = frame[14..].to_vec();
        if let Some(shift) = self.shift {
            add_to_field(&mut packet, self.l4(), 8, shift.wrapping_neg());
        }
        self.queues.rx.push_back(packet);
    }

    fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        CLOCK_MS.set((now / 1000) as u32);
        self.iface
            .poll(instant(now), &mut self.queues, &mut self.sockets);
        self.was_open |= self.socket().may_send();
        let (ethertype, l4, isn) = (self.ethertype, self.l4(), self.isn);
        let shift = &mut self.shift;
        let frames = self.queues.tx.drain(..).map(|mut packet| {
            let seq = &packet[l4 + 4..l4 + 8];
            let seq = u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]]);
            // The first one is the SYN.
            let shift = *shift.get_or_insert(isn.wrapping_sub(seq));
            add_to_field(&mut packet, l4, 4, shift);
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            frame.extend(ethertype);
            frame.extend(packet);
            frame
        });
        frames.collect()
    }

    fn next_timer(&mut self, now: Time) -> Option<Time> {
        let at = self.iface.poll_at(instant(now), &self.sockets)?;
        Some((at.total_micros().max(0) as Time).max(now + 1))
    }

    fn write(&mut self, data: &[u8]) -> usize {
        self.socket().send_slice(data).unwrap_or(0)
    }

    fn close(&mut self) -> bool {
        // With data lost while our window was closed, smoltcp 0.14 in state
        // LAST-ACK probes behind the gap for ever: it is to be done first.
        let done = self.socket().send_queue() == 0;
        if done {
            self.socket().close();
        }
        done
    }

    fn read(&mut self, max: usize) -> Vec<u8> {
        let mut data = vec![0; max];
        let n = self.socket().recv_slice(&mut data).unwrap_or(0);
        data.truncate(n);
        data
    }

    fn state(&self) -> String {
        let socket: &tcp::Socket<'_> = self.sockets.get(self.handle);
        format!(
            "{} send {} recv {}",
            socket.state(),
            socket.send_queue(),
            socket.recv_queue()
        )
    }

    fn failed(&self) -> bool {
        let socket: &tcp::Socket<'_> = self.sockets.get(self.handle);
        self.was_open && socket.state() == tcp::State::Closed && socket.recv_queue() == 0
    }
}

/// An endpoint of our own as the peer.
pub struct Ours(pub Endpoint);

impl Peer for Ours {
    fn input(&mut self, now: Time, frame: &[u8]) {
        self.0.input(now, frame);
    }

    fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        self.0.tick(now);
        self.0.output(now);
        std::mem::take(&mut self.0.out)
    }

    fn next_timer(&mut self, _: Time) -> Option<Time> {
        self.0.next_timer()
    }

    fn write(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(30_000usize.saturating_sub(self.0.tx.len()));
        self.0.write(&data[..n]);
        n
    }

    fn close(&mut self) -> bool {
        self.0.close();
        true
    }

    fn read(&mut self, max: usize) -> Vec<u8> {
        self.0.read(max)
    }

    fn state(&self) -> String {
        format!("{:?} {:?}", self.0.mode, self.0.c)
    }

    fn failed(&self) -> bool {
        self.0.host.reset
    }

    fn flip(&mut self, permille: (u64, u64)) {
        self.0.flip(permille);
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(&self.0)
    }
}
