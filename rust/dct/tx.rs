// SPDX-License-Identifier: GPL-2.0

//! Transmit engine: from the socket's send queue to frames on the wire.
//!
//! A frame is a clone of a buffer of the send queue, or a copy of a short one, with the entry's
//! header in front. The buffer itself moves to the retransmission queue, where it stays
//! until it is ACKed, so that the host stack can retransmit it at any moment.
//!
//! ACKs for what the receive engine accepts are built here. The host stack may transmit on
//! a delegated connection, too: pure ACKs from `recvmsg()` and from its delayed-ACK timer,
//! and data of system calls that the engine does not serve. [`host_frame`] sees each of
//! those frames, copies what it says into the entry, and sends it the same short way.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::ops::ControlFlow;

use kernel::prelude::*;

use super::{
    legacy,
    tx_path::{
        self,
        tx_path, //
    },
    Entry,
    Nic,
    SendError, //
};
use crate::{
    framework::host::{
        self,
        Fallback,
        NO_MEMORY, //
    },
    logic::{
        reason::{
            SpecialCase,
            UploadReason, //
        },
        seq::Seq,
        template::TxFields,
        transmit::{
            self,
            next_send,
            Push,
            SendVerdict,
            SendView,
            WaitReason, //
        },
        wire::{
            self,
            flags,
            Segment, //
        }, //
    },
    net::{
        context::Bh,
        proto::HostFrame,
        skb::{
            DropReason,
            SkBuff, //
        },
        sock::LockedSock,
        sync::rcu::ReadGuard,
        tcp::SendHead, //
    }, //
};

/// Sends what congestion window, peer's window and Nagle's rule allow (`tcp_write_xmit()`).
/// Under the socket lock, any context. `false`: the host stack has to go on, in legacy mode
/// or for good. Since it got the lock, the caller has checked that nothing is set that
/// [wants the host](LockedSock::wants_host).
pub(crate) fn run<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, push: Push, bh: &Bh) -> bool {
    if sk.send_head().is_none() {
        return true;
    }
    // Not while more is being written, as tcp_write_xmit().
    if let Some(case) = sk.host_first(push != Push::One) {
        return go_around(sk, entry, Fallback::Special(case), bh);
    }
    sk.refresh_clock(bh);
    let nic = match tx_path(sk, entry, bh) {
        Ok(nic) => nic,
        Err(fallback) => return go_around(sk, entry, fallback, bh),
    };
    let fresh = sk.packets_out() == 0;
    let mut segs = 0;
    let stopped = send_frames(sk, entry, nic, push, &mut segs, bh);
    sk.xmit_end(segs, stopped.as_ref().ok().copied().flatten(), fresh);
    match stopped {
        Ok(_) => {
            sk.check_probe_timer();
            true
        }
        Err(fallback) => go_around(sk, entry, fallback, bh),
    }
}

/// The host stack has to send what the engine cannot.
#[cold]
fn go_around<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, fallback: Fallback, bh: &Bh) -> bool {
    tx_path::take(fallback, sk, entry, bh);
    sk.resume_host(true);
    false
}

/// As [`run`], for a caller that has just got the lock.
#[cold]
pub(crate) fn resume<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, bh: &Bh) {
    if sk.send_head().is_some() && sk.wants_host() {
        go_around(sk, entry, Fallback::Upload(UploadReason::Setsockopt), bh);
    } else {
        run(sk, entry, Push::Pending, bh);
    }
}

/// Sends frames until something keeps the next one: what, if it is a window or a rule.
/// The congestion window bounds their number. `sent` counts their segments.
#[inline(always)]
fn send_frames<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    nic: &N,
    push: Push,
    sent: &mut u32,
    bh: &Bh,
) -> Result<Option<WaitReason>, Fallback> {
    let mut max_segs = None;
    loop {
        let mut next = match next_frame(sk, entry, push, &mut max_segs) {
            ControlFlow::Continue(next) => next,
            ControlFlow::Break(reason) => return Ok(reason),
        };
        let skb = data_frame(sk, entry, &mut next, bh)?;
        let counts = match entry.send_frame(nic, skb, bh) {
            Ok(counts) => counts,
            Err(error) => {
                // Nobody has seen the window, but it is what the socket says.
                entry.data.with_mut(sk, |data| sk.load_offer(data));
                return not_sent(entry, nic, error, bh);
            }
        };
        let last = push == Push::One || !next.head.more;
        *sent += next.segs;
        account_data(sk, entry, nic, next, counts);
        if last {
            return Ok(None);
        }
    }
}

/// A data frame had no room, which is waited for, or no way.
#[cold]
fn not_sent<N: Nic>(
    entry: &Entry<N>,
    nic: &N,
    error: SendError,
    bh: &Bh,
) -> Result<Option<WaitReason>, Fallback> {
    match error {
        SendError::Full(skb) => {
            skb.drop_because(DropReason::FullRing);
            if nic.engine().wait_for_room(entry.hwid(), bh) {
                Ok(None)
            } else {
                Err(NO_MEMORY)
            }
        }
        SendError::Down(skb) => {
            skb.drop_because(DropReason::DevReady);
            Err(Fallback::Upload(UploadReason::LinkDown))
        }
    }
}

/// The frame that may be sent next: the first `bytes` of a buffer, as `segs` segments.
struct Next {
    head: SendHead,
    bytes: u32,
    segs: u32,
    mss: u32,
    seq: Seq,
    ack: Seq,
}

/// What may be sent next; or that nothing is there, or what keeps it. `max_segs` is how many
/// segments a frame may have, once it was asked for.
#[inline(always)]
fn next_frame<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    push: Push,
    max_segs: &mut Option<u32>,
) -> ControlFlow<Option<WaitReason>, Next> {
    let Some(mut head) = sk.send_head().filter(|h| h.len != 0) else {
        return ControlFlow::Break(None);
    };
    let (cwnd, in_flight_pkts) = (sk.cwnd(), sk.packets_out());
    if !head.more && head.len <= sk.mss() {
        let whole = entry.data.with_mut(sk, |data| {
            entry.load_tx(sk, data);
            let nonagle = push.nonagle(data.cached.nonagle);
            transmit::goes_whole(data, head.len, nonagle, cwnd, in_flight_pkts).then_some((
                data.cached.mss,
                data.snd_nxt,
                data.rcv_nxt,
            ))
        });
        if let Some((mss, seq, ack)) = whole {
            return ControlFlow::Continue(Next {
                bytes: head.len,
                head,
                segs: 1,
                mss,
                seq,
                ack,
            });
        }
    }
    // A segment by itself is bounded by the windows only, and does not wait to grow.
    let large = head.more || head.len > sk.mss();
    let max_segs = match large {
        true => *max_segs.get_or_insert_with(|| {
            let most = entry.data.with(sk, |data| data.cached.max_payload);
            sk.tso_segs(sk.mss())
                .min(transmit::whole_segs(most, sk.mss()))
        }),
        false => 1,
    };
    if head.more {
        // The frame shall have whole segments.
        let quota = transmit::quota(cwnd, in_flight_pkts).min(max_segs);
        let most = quota.saturating_mul(sk.mss());
        if head.len < most {
            let len = most - head.len;
            head = sk.grow(head, len);
        }
    }
    let mut view = SendView {
        head_len: head.len,
        more: head.more,
        closed: head.closed,
        nonagle: 0,
        // Nothing of a delegated connection is lost, SACKed or sent again.
        in_flight_pkts,
        cwnd,
        max_segs,
        snd_sml: sk.snd_sml(),
        may_defer: large && push != Push::One && sk.sent_just_now(),
        win_divisor: if large { sk.win_divisor() } else { 0 },
        srtt_ns: if large { sk.srtt_ns() } else { 0 },
    };
    entry.data.with_mut(sk, |data| {
        entry.load_tx(sk, data);
        view.nonagle = push.nonagle(data.cached.nonagle);
        match next_send(data, &view, || sk.ack_in_ns()) {
            SendVerdict::Send { bytes, segs } => ControlFlow::Continue(Next {
                head,
                bytes,
                segs,
                mss: data.cached.mss.max(1),
                seq: data.snd_nxt,
                ack: data.rcv_nxt,
            }),
            SendVerdict::Wait(reason) => ControlFlow::Break(Some(reason)),
        }
    })
}

/// Makes the frame of `next` of a clone of its buffer, whose rest is split off.
#[inline(always)]
fn data_frame<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    next: &mut Next,
    bh: &Bh,
) -> Result<SkBuff, Fallback> {
    if next.bytes < next.head.len {
        sk.split(&mut next.head, next.bytes, next.mss)
            .map_err(|e| match e == ENOMEM {
                true => NO_MEMORY,
                false => Fallback::Special(SpecialCase::ForeignBuffer),
            })?;
    }
    let skb = sk.copy_head(&next.head, bh).ok_or(NO_MEMORY)?;
    let mut f = flags::ACK;
    if next.head.push || next.segs > 1 {
        f |= flags::PSH;
    }
    let fields = sk.frame_fields(next.seq, next.ack, f, None, next.bytes, next.segs);
    let skb = build_frame(sk, entry, skb, &fields, 0);
    let mut skb = skb.ok_or(Fallback::Upload(UploadReason::Error))?;
    if next.segs > 1 {
        skb.set_gso(next.mss as u16, next.segs as u16, sk.gso_type());
    }
    Ok(skb)
}

/// Says of a data frame that it was sent, as `counts` frames and bytes.
#[inline(always)]
fn account_data<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    nic: &N,
    frame: Next,
    (frames, bytes): (u32, u64),
) {
    sk.ack_sent();
    sk.sent(frame.head, frame.mss);
    entry.data.with_mut(sk, |data| {
        transmit::sent(data, frame.bytes, frame.segs);
        sk.load_offer(data);
    });
    entry.counters.with_mut(sk, |counters| {
        counters.tx_frames += 1;
        counters.tx_bytes += u64::from(frame.bytes);
    });
    let stats = nic.engine().stats();
    stats.transmitted(entry.queue(), frames, bytes);
}

/// Puts the entry's headers in front of `skb`, whose first `skip` bytes are a TCP header to
/// be replaced. `None`: there is no room, and it was dropped.
#[inline(always)]
fn build_frame<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    mut skb: SkBuff,
    fields: &TxFields,
    skip: usize,
) -> Option<SkBuff> {
    let pushed = entry
        .template
        .with(sk, |t| skb.push_headers(t, fields, skip));
    if pushed.is_none() {
        skb.drop_because(DropReason::NotSpecified);
        // A window was offered that nobody is told of.
        entry.audit.host_has_it(sk);
        return None;
    }
    Some(skb)
}

/// Sends a pure ACK. If anything prevents that, the host is asked for the ACK, and finds
/// out what. `window` is what it can offer, if that is known. Under the socket lock, any
/// context.
pub(crate) fn ack<N: Nic>(sk: LockedSock<'_>, entry: &Entry<N>, window: Option<u32>, bh: &Bh) {
    if send_ack(sk, entry, window, bh).is_none() {
        sk.send_ack();
    }
}

fn send_ack<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    window: Option<u32>,
    bh: &Bh,
) -> Option<()> {
    let nic = tx_path(sk, entry, bh).ok()?;
    let (seq, ack) = sk.ack_numbers()?;
    let skb = sk.header_frame(bh)?;
    let fields = sk.frame_fields(seq, ack, flags::ACK, window, 0, 1);
    let skb = build_frame(sk, entry, skb, &fields, 0)?;
    let len = skb.len() - wire::ETH_LEN as u32;
    let sent = entry.send_frame(nic, skb, bh);
    sk.ack_sent();
    sk.count_ack_out(len);
    entry.data.with_mut(sk, |data| sk.load_offer(data));
    entry
        .counters
        .with_mut(sk, |counters| counters.tx_frames += 1);
    account_tx(nic, entry, sent);
    Some(())
}

/// Counts a frame that needs no other care: if it was lost, timers repeat it.
fn account_tx<N: Nic>(nic: &N, entry: &Entry<N>, sent: Result<(u32, u64), SendError>) {
    match sent {
        Ok((frames, bytes)) => nic
            .engine()
            .stats()
            .transmitted(entry.queue(), frames, bytes),
        // As a full queue of any device.
        Err(SendError::Full(skb)) => skb.drop_because(DropReason::FullRing),
        Err(SendError::Down(skb)) => skb.drop_because(DropReason::DevReady),
    }
}

/// The host stack transmits `skb`, which starts at its TCP header, while the target
/// has the connection. Under the socket lock, any context.
pub(crate) fn host_frame<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    delegated: bool,
    skb: SkBuff,
    bh: &Bh,
) -> HostFrame {
    let Some(h) = wire::parse_tcp(skb.data(), skb.len()) else {
        entry.audit.host_has_it(sk);
        return HostFrame::Pass(skb);
    };
    if delegated && h.flags & flags::FIN != 0 {
        entry.audit.host_has_it(sk);
        host::upload(sk, UploadReason::Shutdown);
        return HostFrame::Pass(skb);
    }
    let case = match delegated {
        true => sk.host_intention(&h),
        false => None,
    };
    if let Some(case) = case {
        legacy::enter(sk, entry, case, bh);
    }
    if !delegated || case.is_some() {
        legacy::transmitted(sk, entry, &h);
        return HostFrame::Pass(skb);
    }
    match tx_path(sk, entry, bh) {
        Ok(nic) => send_host_frame(sk, entry, nic, skb, &h, bh),
        Err(fallback) => {
            entry.audit.host_has_it(sk);
            tx_path::take(fallback, sk, entry, bh);
            legacy::transmitted(sk, entry, &h);
            HostFrame::Pass(skb)
        }
    }
}

/// Sends a frame of the host stack that says nothing but what the target's would: with the
/// entry's headers instead of its own, `h`.
#[inline(always)]
fn send_host_frame<N: Nic>(
    sk: LockedSock<'_>,
    entry: &Entry<N>,
    nic: &N,
    skb: SkBuff,
    h: &Segment,
    bh: &Bh,
) -> HostFrame {
    let tcp_len = usize::from(h.data_off - h.l4_off);
    let fits = entry.template.with(sk, |t| t.len() - t.l4_off() == tcp_len)
        && entry
            .data
            .with(sk, |data| h.payload <= data.cached.max_payload);
    if !fits {
        // Options of the moment, such as SACK blocks, or more than the NIC takes at once: the
        // ordinary way.
        entry.audit.host_has_it(sk);
        return HostFrame::Pass(skb);
    }
    let segs = u32::from(skb.gso_segs()).max(1);
    let (tsval, tsecr) = h.ts.unwrap_or_default();
    let fields = TxFields {
        seq: h.seq,
        ack: h.ack,
        flags: h.flags,
        window: h.window,
        tsval,
        tsecr,
        payload_len: h.payload,
        ip_id: sk.ip_id(segs),
        gso: segs > 1,
    };
    let Some(mut skb) = build_frame(sk, entry, skb, &fields, tcp_len) else {
        host::upload(sk, UploadReason::Error);
        return HostFrame::Taken(0);
    };
    sk.mark_frame(&mut skb);
    sk.count_host_out(skb.len() - wire::ETH_LEN as u32);
    // What the host notes after its frame, too.
    entry.data.with_mut(sk, |data| {
        data.host_sent(h.seq.add(h.payload), h.ack, h.window);
        if h.payload != 0 {
            data.packets_out = data.packets_out.saturating_add(segs);
        }
    });
    if h.window == u16::MAX {
        // The socket's may be larger.
        entry.audit.host_has_it(sk);
    }
    entry.counters.with_mut(sk, |counters| {
        counters.tx_frames += 1;
        counters.tx_bytes += u64::from(h.payload);
    });
    account_tx(nic, entry, entry.send_frame(nic, skb, bh));
    HostFrame::Taken(0)
}

/// There is room for a connection that waited for it. Softirq.
pub(crate) fn kick<N: Nic>(entry: &Entry<N>, bh: &Bh) {
    let guard = ReadGuard::within(bh);
    let lock = entry.sk.bh_lock(bh);
    let Some(conn) = host::of_now(lock.sock(), &guard) else {
        return;
    };
    match lock.try_own() {
        Some(sk) if conn.delegated(sk) && entry.is(conn) => {
            resume(sk, entry, bh);
        }
        Some(_) => {}
        None => entry.kick.set(),
    }
}
