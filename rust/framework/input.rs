// SPDX-License-Identifier: GPL-2.0

//! What every target does with a frame before it looks at the segment: what the host stack's
//! layers below TCP would have done, and have looked at.

use super::{
    connection::{
        self,
        Record, //
    },
    fallback::{
        Fallback,
        ELSEWHERE, //
    },
    intermediate::Layers,
    stats::Stats, //
};
use crate::{
    logic::{
        hwid::Hwid,
        wire::{
            self,
            Segment, //
        }, //
    },
    net::{
        context::Bh,
        input::RawSockets,
        net_device::NetDevice,
        skb::SkBuff,
        sock::BhLock,
        sync::rcu::ReadGuard, //
    }, //
};

/// Where the frames of a connection come in.
pub(crate) struct Ingress<'a> {
    pub(crate) hwid: Hwid,
    /// The device of its target.
    pub(crate) home: &'a NetDevice,
    /// The one that received the frame: the same, or another member of its bond.
    pub(crate) nic: &'a NetDevice,
    /// The device that the connection's route leaves through: the same, or one on top of
    /// the layers.
    pub(crate) dev: &'a NetDevice,
    pub(crate) layers: Option<&'a Layers>,
    /// Who else may want to see them.
    pub(crate) raw: RawSockets,
    pub(crate) v6: bool,
    /// The receive queue, and what polls it.
    pub(crate) queue: u16,
    pub(crate) napi_id: u32,
}

impl<'a> Ingress<'a> {
    /// By the target's own device, which has one queue, polled by `napi_id`.
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn direct(
        hwid: Hwid,
        nic: &'a NetDevice,
        raw: RawSockets,
        v6: bool,
        napi_id: u32,
    ) -> Self {
        Ingress {
            hwid,
            home: nic,
            nic,
            dev: nic,
            layers: None,
            raw,
            v6,
            queue: 0,
            napi_id,
        }
    }
}

/// Why a frame is not the target's.
pub(crate) enum NotTaken {
    /// The connection is not the target's at this moment: the frame is the host's.
    Host(SkBuff),
    /// The host has to look at it first, and has the connection from there on.
    Fallback(SkBuff, Fallback),
    /// It is lost, and counted.
    Lost,
}

/// Takes in a frame of a connection, at its Ethernet header and with a valid checksum. It is
/// at its TCP header then, packet and raw sockets have seen it, and it is counted. With the
/// socket's spin lock, in softirq.
#[inline(always)]
pub(crate) fn take_in<'g>(
    lock: &BhLock<'_>,
    stats: &Stats,
    ingress: &Ingress<'_>,
    mut skb: SkBuff,
    seg: &Segment,
    guard: &'g ReadGuard<'_>,
    bh: &Bh,
) -> Result<(&'g Record, SkBuff), NotTaken> {
    let sk = lock.sock();
    // The connection may have gone to the host since the look-up. A user that owns the
    // socket may change this until the backlog is processed, which looks again.
    let conn = match connection::of_now(sk, guard) {
        Some(conn) if conn.is(ingress.home, ingress.hwid) => conn,
        _ => return Err(NotTaken::Host(skb)),
    };
    if ingress
        .layers
        .is_some_and(|layers| layers.are_shut(ingress.nic, guard))
    {
        return Err(NotTaken::Host(skb));
    }
    skb.received_by(sk, ingress.dev.ifindex(), ingress.queue, ingress.napi_id);
    // Of what the sender said, or of a tag.
    skb.set_protocol(match ingress.v6 {
        false => wire::ETHERTYPE_IPV4,
        true => wire::ETHERTYPE_IPV6,
    });
    let l3_off = seg.l3_off(ingress.v6);
    let arrival = lock.arrival(ingress.dev, ingress.raw, ingress.v6);
    if !arrival.is_expected() && !skb.is_for_host(lock, ingress.dev, l3_off, ingress.v6) {
        return Err(NotTaken::Fallback(skb, ELSEWHERE));
    }
    if sk.is_watched() {
        if let Some(filter) = conn.filtered(sk) {
            // The host shows it the frame, and does with it what that says.
            return Err(NotTaken::Fallback(skb, Fallback::Upload(filter.upload())));
        }
    }
    match ingress.layers {
        None if arrival.is_tapped() => ingress.nic.tap_incoming(&mut skb, bh),
        None => {}
        Some(layers) => layers.received(ingress.nic, &mut skb, l3_off.into(), bh),
    }
    let len = skb.len();
    let skb = lock.take_in(skb, seg, ingress.dev, arrival, ingress.v6);
    let skb = skb.ok_or(NotTaken::Lost)?;
    stats.received(ingress.queue, len);
    // As `tcp_v4_rcv()`: under the spin lock, whoever owns the socket.
    let skb = lock.admit(skb, ingress.dev, len - u32::from(l3_off));
    Ok((conn, skb.ok_or(NotTaken::Lost)?))
}
