// SPDX-License-Identifier: GPL-2.0

//! Receive engine: from a frame on the wire to payload in the socket.
//!
//! [`input`] runs in the NAPI poll of a queue: parse, match, hand to the socket
//! of the entry. [`process`] runs under the socket lock, at once or, if a process
//! owns the socket, from its backlog: header prediction, payload, ACK, window,
//! timestamps (claims A 1-10, B 15-17). What it does not finish is a special
//! case: the connection goes to the host stack, and the frame with it, already
//! parsed, matched and validated.

use crate::{
    dct::{
        self,
        transmit,
        Entry, //
    },
    framework::connection::{
        self,
        Connection, //
    },
    logic::{
        reason::UploadReason,
        receive::{
            self as rx,
            HostView, //
        },
        tuple::Family,
        wire::{
            self,
            Parsed,
            Segment, //
        }, //
    },
    net::{
        context::Bh,
        proto,
        skb::{
            Checksum,
            DropReason,
            SkBuff, //
        },
        sock::LockedSock,
        table::ReadGuard,
        tcp, //
    },
    netdev::Port, //
};

/// A frame from the wire, its first byte the Ethernet header. Gives it back if
/// it is not a delegated connection's, or must take the ordinary way. Softirq.
#[inline]
pub(crate) fn input(port: &Port, queue: u16, mut skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
    let dct = port.offload().dct();
    // A VLAN device's frame carries its tag beside the data.
    if dct.table.len() == 0 || skb.has_vlan_tag() {
        return Some(skb);
    }
    let want = skb.len().min(wire::LINEAR_LEN as u32);
    if skb.headlen() < wire::ETH_LEN as u32 + 52 && !skb.may_pull(want) {
        return Some(skb);
    }
    let seg = match wire::parse(skb.data(), skb.len()) {
        Parsed::Tcp(seg) => seg,
        Parsed::NotTcp | Parsed::Special(_, None) => return Some(skb),
        Parsed::Special(case, Some(tuple)) => {
            let guard = ReadGuard::new();
            if let Some(entry) = dct.find(&guard, &tuple) {
                connection::upload_unlocked(&entry.sk, entry.hwid, case.upload_reason());
            }
            return Some(skb);
        }
    };
    let guard = ReadGuard::new();
    let Some(entry) = dct.find(&guard, &seg.tuple) else {
        return Some(skb);
    };
    // A frame to another station, or with a wrong checksum, is the host's to
    // drop and to count.
    if skb.data().first_chunk::<6>() != Some(&entry.mac)
        || !(matches!(skb.checksum(), Checksum::Partial | Checksum::Unnecessary)
            || skb.verify_tcp_checksum(&seg, seg.tuple.family == Family::V6))
    {
        return Some(skb);
    }
    deliver(port, queue, &entry, skb, seg, &guard, bh)
}

fn deliver(
    port: &Port,
    queue: u16,
    entry: &Entry,
    mut skb: SkBuff,
    seg: Segment,
    guard: &ReadGuard,
    bh: &Bh,
) -> Option<SkBuff> {
    let sk = entry.sk.bh_lock();
    // The connection may have gone to the host since the look-up. A user that
    // owns the socket may change this until the backlog is processed, which
    // looks again.
    match proto::context::<Connection>(sk.sock(), guard) {
        Some(conn) if conn.hwid() == entry.hwid => {}
        _ => {
            drop(sk);
            return Some(skb);
        }
    }
    skb.mark_receiver(sk.sock());
    port.dev().tap_incoming(&mut skb, bh);
    // The sender's accounting ends here, as in `ip_rcv_core()`.
    skb.orphan();
    if !skb.own_payload() {
        skb.drop_because(DropReason::Nomem);
        return None;
    }
    let len = skb.len();
    skb.set_network_header(seg.l4_off - ip_len(&seg));
    skb.set_transport_header(seg.l4_off);
    if skb.pull(u32::from(seg.l4_off)).is_err() {
        skb.drop_because(DropReason::NotSpecified);
        return None;
    }
    if !skb.trim(u32::from(seg.data_off - seg.l4_off) + seg.payload) {
        skb.drop_because(DropReason::NotSpecified);
        return None;
    }
    skb.fill_cb(&seg, seg.tuple.family == Family::V6);
    port.offload().stats().received(queue, len, &skb);
    // As `tcp_v4_rcv()`: under the spin lock, whoever owns the socket.
    sk.count_in(&skb, len - u32::from(seg.l4_off - ip_len(&seg)));
    match sk.try_own() {
        Some(locked) => process(locked, skb, &seg),
        None => {
            if let Err(skb) = skb.add_to_backlog(&sk) {
                port.offload().stats().backlog_drop();
                skb.drop_because(DropReason::SocketBacklog);
            }
        }
    }
    None
}

fn ip_len(seg: &Segment) -> u16 {
    match seg.tuple.family {
        Family::V4 => wire::IPV4_LEN as u16,
        Family::V6 => wire::IPV6_LEN as u16,
    }
}

/// A frame from the backlog, its first byte the TCP header. It may be one that
/// reached the host another way.
pub(crate) fn backlog(sk: LockedSock<'_>, skb: SkBuff) {
    let guard = ReadGuard::new();
    let seg = match proto::context::<Connection>(&sk, &guard) {
        Some(conn) if conn.delegated(sk) => wire::parse_tcp(skb.data(), skb.len()),
        _ => None,
    };
    match seg {
        Some(seg) => process(sk, skb, &seg),
        None => {
            // Malformed, or a stray: the host's.
            proto::host_receive(sk, skb);
        }
    }
}

/// Processes a segment under the socket lock. `skb` starts at the TCP header.
fn process(sk: LockedSock<'_>, skb: SkBuff, seg: &Segment) {
    let guard = ReadGuard::new();
    let Some(conn) = proto::context::<Connection>(&sk, &guard).filter(|c| c.delegated(sk)) else {
        return proto::host_receive(sk, skb);
    };
    let Some(entry) = dct::entry_of(conn, &guard) else {
        return proto::host_receive(sk, skb);
    };
    if !sk.is_open() || (seg.payload != 0 && sk.receive_closed()) || sk.has_filter() {
        let reason = if sk.has_filter() {
            UploadReason::SocketFilter
        } else {
            UploadReason::Shutdown
        };
        connection::upload(sk, reason);
        return proto::host_receive(sk, skb);
    }

    let mut data = entry.data.get(sk);
    sk.load(&mut data);
    let view = HostView {
        rcv_space_ok: seg.payload == 0 || sk.receive_space(&skb),
        ooo_empty: sk.in_order(),
        now_secs: tcp::now_secs(),
        sack_or_loss: sk.in_recovery(),
    };
    let action = match rx::receive(&mut data, seg, &view) {
        Ok(action) => action,
        Err(case) => {
            connection::upload(sk, case.upload_reason());
            return proto::host_receive(sk, skb);
        }
    };

    let header = u32::from(seg.data_off - seg.l4_off);
    sk.note_segment(seg.ts);
    sk.store_rx(&data);
    sk.count_predicted(action.payload != 0, action.acked != 0);
    if action.acked != 0 {
        sk.acked(&mut data, seg.ack);
    }
    let mut counters = entry.counters.get(sk);
    counters.rx_frames += 1;
    counters.rx_bytes += u64::from(action.payload);
    entry.counters.set(sk, counters);
    entry.data.set(sk, data);

    if action.payload != 0 {
        sk.queue_payload(skb, action.payload, header, seg.flags);
    } else {
        skb.consume();
    }
    if action.acked != 0 || action.window_changed {
        transmit::run(sk, &entry, None);
    }
    if action.payload != 0 {
        match sk.ack_due() {
            Some(true) => sk.send_ack(),
            Some(false) => sk.delay_ack(),
            None => {}
        }
        sk.data_ready();
    }
}
