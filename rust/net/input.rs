// SPDX-License-Identifier: GPL-2.0

//! What the host stack checks for each frame that it receives: whether it is for this host,
//! and who else must see it.

use super::{
    net_device::NetDevice,
    skb::{
        DropReason,
        SkBuff, //
    },
    sock::{
        BhLock,
        LockedSock,
        Sock, //
    }, //
};
use crate::{
    bindings,
    logic::wire::{
        self,
        Segment, //
    }, //
};

/// Where the raw sockets are that may want to see a socket's frames: a chain of the host's
/// table.
///
/// # Invariants
///
/// Points to a list head in one of the kernel's static tables (`raw_v4_hashinfo`,
/// `raw_v6_hashinfo`).
#[derive(Clone, Copy)]
pub(crate) struct RawSockets(*const bindings::hlist_head);

// SAFETY: what it points to belongs to no thread.
unsafe impl Send for RawSockets {}
// SAFETY: the list is only looked at, by C as others do who may not change it.
unsafe impl Sync for RawSockets {}

impl RawSockets {
    /// Of a socket, for good.
    pub(crate) fn of(sk: &Sock, v6: bool) -> Self {
        // INVARIANT: the callee returns a place in one of the tables.
        // SAFETY: live by the invariant of `Sock`; the callee hashes the address of its
        // namespace, which is constant.
        RawSockets(unsafe { bindings::toe_raw_sockets(sk.as_ptr(), v6) })
    }
}

/// What there is to do with a frame that was received: a set of `enum toe_input`.
#[derive(Clone, Copy)]
pub(crate) struct Arrival(u32);

impl Arrival {
    /// Returns whether the input route that the socket has cached is valid, as
    /// `tcp_v4_early_demux()` checks.
    #[inline(always)]
    pub(crate) fn is_expected(self) -> bool {
        self.0 & bindings::toe_input_TOE_INPUT_ROUTE == 0
    }

    /// Returns whether there are packet sockets that may want to see it.
    #[inline(always)]
    pub(crate) fn is_tapped(self) -> bool {
        self.0 & bindings::toe_input_TOE_INPUT_TAPS != 0
    }

    /// Returns whether there are raw sockets that may want to see it.
    #[inline(always)]
    pub(crate) fn is_raw(self) -> bool {
        self.0 & bindings::toe_input_TOE_INPUT_RAW != 0
    }
}

impl BhLock<'_> {
    /// A frame of the socket's came in by `dev`. Bottom halves off.
    #[inline(always)]
    pub(crate) fn arrival(&self, dev: &NetDevice, raw: RawSockets, v6: bool) -> Arrival {
        let sk = self.sock().as_ptr();
        // SAFETY: socket, device and list are live by the invariants of their types. `self`
        // is the socket's spin lock, held with bottom halves off: an RCU read section, which
        // keeps the route that the callee looks at.
        Arrival(unsafe { bindings::toe_sk_arrival(sk, dev.as_ptr(), raw.0, v6) })
    }
}

impl BhLock<'_> {
    /// Takes in a frame of the socket's, at its Ethernet header, as the layers below
    /// `tcp_v4_rcv()` and that do until the socket has it: it leaves its sender's
    /// accounting, is at its TCP header and as long as its IP header says, and raw sockets
    /// have seen it. `None`: it is lost. Bottom halves off.
    ///
    /// [`admit`](Self::admit) is what remains.
    #[inline(always)]
    pub(crate) fn take_in(
        &self,
        mut skb: SkBuff,
        seg: &Segment,
        dev: &NetDevice,
        arrival: Arrival,
        v6: bool,
    ) -> Option<SkBuff> {
        // As `ip_rcv_core()`.
        skb.orphan();
        if !skb.own_payload() {
            skb.drop_because(DropReason::Nomem);
            return None;
        }
        let l3_off = seg.l3_off(v6);
        let len = skb.len() - u32::from(l3_off);
        skb.set_network_header(l3_off);
        skb.set_transport_header(seg.l4_off);
        if skb.pull(seg.l4_off.into()).is_err()
            || !skb.trim(u32::from(seg.data_off - seg.l4_off) + seg.payload)
        {
            skb.drop_because(DropReason::NotSpecified);
            return None;
        }
        if arrival.is_raw() {
            skb.deliver_raw(self, dev, v6);
        }
        skb.fill_cb(seg, v6);
        // As `tcp_v4_rcv()`, also for frames that the host finishes: under the spin lock,
        // whoever owns the socket.
        if seg.hop_limit < LockedSock::least_ttl(self.sock(), v6) {
            self.count_too_far(&skb, dev, len);
            skb.drop_because(DropReason::MinTtl);
            return None;
        }
        Some(skb)
    }
}

impl SkBuff {
    /// Returns whether the frame's route leads to this host; the socket then caches the
    /// route. The frame is at its Ethernet header, and `l3_off` is the offset of its IP
    /// header, which is in the linear part. `false`: the frame is the host's. Bottom halves
    /// off.
    #[cold]
    pub(crate) fn is_for_host(
        &mut self,
        lock: &BhLock<'_>,
        dev: &NetDevice,
        l3_off: u16,
        v6: bool,
    ) -> bool {
        let sk = lock.sock().as_ptr();
        let len = if v6 { wire::IPV6_LEN } else { wire::IPV4_LEN };
        if (self.headlen() as usize) < usize::from(l3_off) + len {
            return false;
        }
        // SAFETY: all are live by the invariants of their types, and the frame is ours, with
        // as much linear data as the IP header needs that the callee reads. The spin lock,
        // `lock`, keeps others from the route that the socket caches.
        unsafe { bindings::toe_sk_route_input(sk, self.as_ptr(), dev.as_ptr(), l3_off.into(), v6) }
    }

    /// Gives raw sockets a copy of a frame that came in by `dev`, is at its TCP header and
    /// as long as its IP header says; its network header is set. Bottom halves off.
    #[cold]
    pub(crate) fn deliver_raw(&mut self, lock: &BhLock<'_>, dev: &NetDevice, v6: bool) {
        let sk = lock.sock().as_ptr();
        // SAFETY: all are live by the invariants of their types, and the frame is ours; the
        // callee gives clones away. The IP header that it reads is linear, before the data:
        // it was when the frame was found to be the connection's. The callee has an RCU
        // section of its own for the sockets and the route.
        unsafe { bindings::toe_deliver_raw(sk, self.as_ptr(), dev.as_ptr(), v6) }
    }
}
