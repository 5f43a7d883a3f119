// SPDX-License-Identifier: GPL-2.0

//! A connection in the device: its state, and what of its data is on the way.
//!
//! The device works on [`Own`] and never looks at the socket for that: a frame is taken in
//! and acknowledged while a task owns the socket, and even sleeps with it. What comes of it
//! is given to the socket when its lock is to be had ([`Entry::serve`]), and the rest when
//! the connection leaves ([`Entry::give_back`]).

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SpinLock, //
    }, //
};

use super::{
    target::Lower,
    Port, //
};
use crate::{
    framework::{
        host::{
            self,
            AwaitRelease, //
        },
        target::{
            Counters,
            Remains, //
        }, //
    },
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        hwid::Hwid,
        next_hop,
        reason::{
            SpecialCase,
            UploadReason, //
        },
        receive::{
            self,
            HostView,
            RxAction, //
        },
        seq::Seq,
        template::{
            HeaderTemplate,
            TemplateParams,
            TxFields, //
        },
        transmit::{
            next_send,
            Push,
            SendVerdict,
            SendView,
            WaitReason, //
        },
        tree::state::{
            self,
            Object, //
        },
        tuple::{
            Family,
            Tuple, //
        },
        vlan::Tags,
        wire::{
            self,
            flags,
            OptKind,
            Segment, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        input::RawSockets,
        memcg,
        proto::{
            self,
            HostFrame, //
        },
        skb::{
            Checksum,
            DropReason,
            FrameList,
            SkBuff, //
        },
        sock::{
            BhLock,
            LockedSock,
            Sock, //
        },
        table::ReadGuard,
        tcp, //
    }, //
};

/// Received frames that the device has room for.
const BUFFERS: u32 = 512;

/// A connection.
#[pin_data]
pub(super) struct Entry {
    hwid: Hwid,
    pub(super) sk: ARef<Sock>,
    pub(super) tuple: Tuple,
    raw: RawSockets,
    /// Something waits for the socket's owner to let it go.
    waits: AwaitRelease,
    /// Below the socket's lock, above leaves; with bottom halves off.
    #[pin]
    own: SpinLock<Own>,
}

/// What is the device's own.
struct Own {
    data: ConnData,
    template: HeaderTemplate,
    path: Arc<Lower>,
    /// The second in which the host was asked for the neighbour, and what was acknowledged.
    asked: (u32, Seq),
    /// First sequence number that the host has no room for.
    edge: Seq,
    /// Timestamp value of the next frame.
    tsval: u32,
    ip_id: u16,
    /// ACKs that were sent and not counted by the host.
    acks: u32,
    /// Payload that waits for room on the wire, from `snd_nxt` on.
    unsent: FrameList,
    /// Segments that were acknowledged and that the socket does not have.
    undelivered: FrameList,
    counters: Counters,
    /// The host has it all.
    gone: bool,
}

/// Why a connection goes back.
enum Why {
    Special(SpecialCase),
    Reason(UploadReason),
}

impl Own {
    /// The headers of its frames.
    fn template(tuple: Tuple, data: &ConnData, path: &Lower) -> Option<HeaderTemplate> {
        let (src_mac, neighbour) = path.link()?;
        Some(HeaderTemplate::new(&TemplateParams {
            src_mac,
            dst_mac: neighbour.mac,
            tuple,
            tos: data.cached.tos,
            ttl: data.cached.ttl,
            flow_label: data.cached.flow_label,
            df: data.cached.df,
            ts_ok: data.constant.ts_ok,
        }))
    }

    /// What the next state is if the device finishes the segment.
    fn judge(&self, seg: &Segment) -> Result<(ConnData, RxAction), SpecialCase> {
        let view = HostView {
            reserved: true,
            within_limit: true,
            predicting: false,
            host_first: None,
            ooo_empty: true,
            now_secs: tcp::now_secs(),
            sack_or_loss: false,
        };
        let mut next = self.data;
        let action = receive::receive(&mut next, seg, &view)?;
        Ok((next, action))
    }

    /// Takes a segment in, which starts at its TCP header.
    fn take(&mut self, next: ConnData, action: &RxAction, skb: SkBuff, bh: &Bh) {
        self.data = next;
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += u64::from(action.payload);
        match action.payload {
            0 => skb.consume(bh),
            _ => self.undelivered.push(skb),
        }
    }

    /// The peer may send up to here.
    fn grant(&mut self, edge: Seq) {
        if edge.after(self.edge) {
            self.edge = edge;
        }
    }

    /// Returns whether there is something to tell the peer: data that came in, or a window
    /// that is open again. What is told twice looks like loss.
    fn ack_due(&self) -> bool {
        let told = self.data.rcv_wup.add(self.data.rcv_wnd);
        let more = self.edge.saturating_dist_from(told);
        let step = match self.data.receive_window() {
            left if left < 2 * self.data.cached.mss => 1,
            _ => 2 * self.data.cached.mss,
        };
        self.data.rcv_nxt != self.data.rcv_wup || more >= step
    }

    /// Sends what there is room for: data that waits, and the ACK that is due then.
    fn go_on(&mut self, port: &Port, sk: &Sock, bh: &Bh) {
        if self.flush(port, bh) && self.ack_due() && port.has_room(1, bh) {
            if let Some(skb) = sk.header_frame(bh) {
                self.acks += 1;
                self.send(port, skb, flags::ACK, bh);
            }
        }
    }

    /// Sends what waits for room. `false`: some still does.
    fn flush(&mut self, port: &Port, bh: &Bh) -> bool {
        while let Some(skb) = self.unsent.pop() {
            if !port.has_room(u32::from(skb.gso_segs()).max(1), bh) {
                self.unsent.push_front(skb);
                return false;
            }
            let (payload, flags) = (skb.len(), skb.stamp() as u16);
            self.counters.tx_bytes += u64::from(payload);
            self.send(port, skb, flags, bh);
            self.data.snd_nxt = self.data.snd_nxt.add(payload);
        }
        true
    }

    /// Sends a frame, which is its payload so far. What is lost here is lost as on any
    /// wire.
    fn send(&mut self, port: &Port, mut skb: SkBuff, flags: u16, bh: &Bh) {
        let segs = skb.gso_segs().max(1);
        let window = self.edge.saturating_dist_from(self.data.rcv_nxt);
        self.data.rcv_wup = self.data.rcv_nxt;
        self.data.rcv_wnd = window;
        self.ip_id = self.ip_id.wrapping_add(segs);
        let scale = self.data.constant.rcv_wscale.min(14);
        let fields = TxFields {
            seq: self.data.snd_nxt,
            ack: self.data.rcv_nxt,
            flags,
            window: (window >> scale).min(u16::MAX.into()) as u16,
            tsval: self.tsval,
            tsecr: self.data.ts_recent,
            payload_len: skb.len(),
            ip_id: self.ip_id,
            gso: segs > 1,
        };
        self.counters.tx_frames += 1;
        match skb.push_headers(&self.template, &fields, 0) {
            Some(()) => port.send(skb, bh),
            None => skb.drop_because(DropReason::NotSpecified),
        }
    }
}

impl Entry {
    /// The device takes the connection of `sk`, with this state.
    pub(super) fn new(
        hwid: Hwid,
        sk: LockedSock<'_>,
        state: &state::Connection,
        path: Arc<Lower>,
    ) -> Result<Arc<Self>> {
        let (tuple, data) = (state.tuple, &state.data);
        let bh = BhGuard::new();
        sk.refresh_clock(&bh);
        let own = Own {
            data: *data,
            template: Own::template(tuple, data, &path).ok_or(EAGAIN)?,
            path,
            asked: (0, data.snd_una),
            edge: data.rcv_wup.add(data.rcv_wnd),
            tsval: sk.timestamps().0,
            ip_id: sk.ip_id(1),
            acks: 0,
            unsent: FrameList::new(),
            undelivered: FrameList::new(),
            counters: Counters::default(),
            gone: false,
        };
        let socket = sk.sock();
        let entry = pin_init!(Entry {
            hwid,
            sk: socket.into(),
            tuple,
            raw: RawSockets::of(socket, tuple.family == Family::V6),
            waits: AwaitRelease::new(),
            own <- new_spinlock!(own),
        });
        Arc::pin_init(entry, memcg::atomic())
    }

    /// Its state, and what was done for it, at this moment.
    pub(super) fn show(&self) -> (Object, Counters) {
        let _bh = BhGuard::new();
        let own = self.own.lock();
        let (tuple, mut data, counters) = (self.tuple, own.data, own.counters);
        drop(own);
        data.rtt.srtt_us = self.sk.srtt_us();
        let object = Object::Connection(state::Connection { tuple, data });
        (object, counters)
    }

    /// Its cached state is another one, and maybe the path that it lies on.
    pub(super) fn update(&self, cached: &ConnCached, path: Option<Arc<Lower>>) {
        let _bh = BhGuard::new();
        let mut own = self.own.lock();
        own.data.cached = *cached;
        if let Some(path) = path {
            own.path = path;
        }
        // If there is none, nothing is sent.
        if let Some(template) = Own::template(self.tuple, &own.data, &own.path) {
            own.template = template;
        }
        drop(own);
    }

    // --- frames

    /// A frame from the wire, at its Ethernet header; it comes back if the host is to have
    /// it, which has the connection then, too. NAPI, no lock held.
    pub(super) fn input(port: &Port, mut skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        if !skb.may_pull(skb.len().min(wire::LINEAR_LEN as u32)) || skb.tags() != Some(Tags::NONE) {
            return Some(skb);
        }
        let (tuple, seg) = match wire::parse(skb.data(), skb.len()) {
            Ok(seg) if seg.opts == OptKind::Other => (seg.tuple, Err(SpecialCase::BadOption)),
            Ok(seg) => (seg.tuple, Ok(seg)),
            Err(wire::Odd::Special(case, Some(tuple))) => (tuple, Err(case)),
            Err(_) => return Some(skb),
        };
        let Some(entry) = port.connections.find(|entry| entry.tuple == tuple) else {
            return Some(skb);
        };
        if skb.data().first_chunk() != Some(&port.dev().address_now()) {
            return Some(skb);
        }
        let lock = entry.sk.bh_lock(bh);
        match entry.arrived(port, &lock, &mut skb, seg, bh) {
            Ok(true) => {}
            Ok(false) => return Some(skb),
            Err(why) => {
                entry.ask(port, &lock, why);
                return Some(skb);
            }
        }
        let mut own = entry.own.lock();
        // What came before may wait in the backlog, since the hand-over.
        if own.gone || lock.has_backlog_left() {
            return Some(skb);
        }
        let judged = seg.and_then(|seg| Ok((seg, own.judge(&seg)?)));
        let (seg, (next, action)) = match judged {
            Ok(judged) => judged,
            Err(case) => {
                drop(own);
                entry.ask(port, &lock, Why::Special(case));
                return Some(skb);
            }
        };
        if own.undelivered.len() >= BUFFERS {
            port.device.stats().backlog_drop();
            skb.drop_because(DropReason::SocketBacklog);
            return None;
        }
        let skb = entry.take_in(port, &lock, skb, &seg, bh)?;
        own.take(next, &action, skb, bh);
        match lock.try_own() {
            Some(sk) => {
                drop(own);
                entry.serve(port, sk, Push::Pending, bh);
            }
            None => {
                // The device goes on by itself.
                own.go_on(port, lock.sock(), bh);
                drop(own);
                entry.waits.set();
            }
        }
        None
    }

    /// What the host would look at before it looks at the segment. `false`: the frame is
    /// the host's, and nothing else.
    fn arrived(
        &self,
        port: &Port,
        lock: &BhLock<'_>,
        skb: &mut SkBuff,
        seg: Result<Segment, SpecialCase>,
        bh: &Bh,
    ) -> Result<bool, Why> {
        let guard = ReadGuard::within(bh);
        let conn = host::of_now(lock.sock(), &guard);
        let Some(conn) = conn.filter(|conn| conn.hwid() == self.hwid) else {
            return Ok(false);
        };
        if lock.sock().is_watched() {
            if let Some(filter) = conn.filtered(lock.sock()) {
                return Err(Why::Reason(filter.upload()));
            }
        }
        let seg = seg.map_err(Why::Special)?;
        let v6 = self.tuple.family == Family::V6;
        let arrival = lock.arrival(port.dev(), self.raw, v6);
        if !arrival.is_expected() && !skb.is_for_host(lock, port.dev(), seg.l3_off(v6), v6) {
            return Err(Why::Reason(UploadReason::RouteChange));
        }
        let verified = matches!(skb.checksum(), Checksum::Partial | Checksum::Unnecessary);
        if !verified && !skb.verify_tcp_checksum(&seg, v6) {
            host::count_special(&port.device, self.hwid, SpecialCase::BadChecksum);
            return Ok(false);
        }
        Ok(true)
    }

    /// Makes a frame what the host's receive queue has, and counts it. `None`: it is lost.
    fn take_in(
        &self,
        port: &Port,
        lock: &BhLock<'_>,
        mut skb: SkBuff,
        seg: &Segment,
        bh: &Bh,
    ) -> Option<SkBuff> {
        let (dev, v6) = (port.dev(), self.tuple.family == Family::V6);
        skb.received_by(lock.sock(), dev.ifindex(), 0, port.rx.id());
        let arrival = lock.arrival(dev, self.raw, v6);
        if arrival.is_tapped() {
            dev.tap_incoming(&mut skb, bh);
        }
        port.device.stats().received(0, skb.len());
        lock.take_in(skb, seg, dev, arrival, v6)
    }

    /// A frame that reached the host another way, and waited in the socket's backlog.
    pub(super) fn backlog(&self, port: &Port, sk: LockedSock<'_>, skb: SkBuff) {
        let bh = BhGuard::new();
        let seg = wire::parse_tcp(skb.data(), skb.len()).ok_or(SpecialCase::BadHeader);
        let mut own = self.own.lock();
        match seg.and_then(|seg| own.judge(&seg)) {
            Ok((next, action)) => {
                own.take(next, &action, skb, &bh);
                drop(own);
                self.serve(port, sk, Push::Pending, &bh);
            }
            Err(case) => {
                drop(own);
                drop(bh);
                self.leave(port, sk, Why::Special(case));
                proto::host_receive(sk, skb);
            }
        }
    }

    /// The host stack transmits a segment by itself. It may be in the middle of work on the
    /// queue of what was sent, of which nothing is taken here. Under the socket lock, any
    /// context.
    pub(super) fn host_frame(&self, port: &Port, sk: LockedSock<'_>, mut skb: SkBuff) -> HostFrame {
        let bh = BhGuard::new();
        let Some(h) = wire::parse_tcp(skb.data(), skb.len()) else {
            return HostFrame::Pass(skb);
        };
        let header = u32::from(h.data_off - h.l4_off);
        let plain = h.flags & !(flags::ACK | flags::PSH) == 0 && h.seq == sk.snd_nxt();
        let mut own = self.own.lock();
        let scale = own.data.constant.rcv_wscale.min(14);
        own.grant(h.ack.add(u32::from(h.window) << scale));
        if plain && h.payload == 0 {
            // It has read, and there is room for more.
            own.go_on(port, sk.sock(), &bh);
            drop(own);
            skb.consume(&bh);
        } else if plain && skb.pull(header).is_ok() {
            sk.mark_frame(&mut skb);
            sk.count_host_out(self.ack_len(&own.data) + h.payload);
            skb.set_stamp(h.flags.into());
            own.unsent.push(skb);
            own.flush(port, &bh);
        } else {
            // What waits for room is lost, and the host sends it again.
            own.flush(port, &bh);
            own.data.snd_nxt = sk.snd_nxt();
            own.unsent = FrameList::new();
            drop(own);
            let case = match (h.flags & flags::FIN, h.payload, sk.in_recovery()) {
                (0, 0, _) if sk.send_head().is_some() => SpecialCase::Persist,
                (0, 0, _) => SpecialCase::Keepalive,
                (0, _, true) => SpecialCase::Rto,
                (0, _, false) => SpecialCase::HostRetransmit,
                _ => SpecialCase::Fin,
            };
            self.leave(port, sk, Why::Special(case));
            return HostFrame::Pass(skb);
        }
        HostFrame::Taken(0)
    }

    // --- the socket

    /// Gives the socket what has come in, and takes from it what may be sent. Under the
    /// socket lock, nothing of the host stack below us.
    pub(super) fn serve(&self, port: &Port, sk: LockedSock<'_>, push: Push, bh: &Bh) {
        self.waits.take();
        sk.refresh_clock(bh);
        if self.deliver(sk, bh) {
            sk.data_ready();
        }
        if let Err(why) = self.transmit(port, sk, push, bh) {
            self.leave(port, sk, why);
            sk.resume_host(true);
            return;
        }
        self.own.lock().go_on(port, sk.sock(), bh);
        sk.check_space();
    }

    /// Writes the state to the socket, with what it does not have of the data. `true`: there
    /// was some. Under the socket lock.
    fn deliver(&self, sk: LockedSock<'_>, _bh: &Bh) -> bool {
        let mut own = self.own.lock();
        own.tsval = sk.timestamps().0;
        own.data.cached.mss = sk.mss();
        let (mut data, acks) = (own.data, core::mem::take(&mut own.acks));
        let mut frames = core::mem::replace(&mut own.undelivered, FrameList::new());
        drop(own);
        for _ in 0..acks {
            sk.ack_sent();
            sk.count_ack_out(self.ack_len(&data));
        }

        let mut host = ConnData::default();
        sk.load(&mut host);
        // A frame that took another way may have reached the host before us.
        data.catch_up(&host);
        sk.store_rx(&data);
        let delivered = !frames.is_empty();
        while let Some(skb) = frames.pop() {
            self.queue(sk, skb, host.rcv_nxt);
        }
        let action = RxAction {
            acked: data.snd_una.dist_from(host.snd_una),
            window_changed: data.snd_wnd != host.snd_wnd,
            ..RxAction::default()
        };
        if action.acked != 0 || action.window_changed {
            sk.ack_seen(
                &action,
                data.max_window > host.max_window,
                host.packets_out == 0,
            );
        }
        if action.acked != 0 {
            sk.acked(data.snd_una, host.snd_una);
        }
        if delivered {
            // As much as it has room for now.
            let window = u32::from(sk.offer_window(None)) << data.constant.rcv_wscale.min(14);
            self.own.lock().grant(sk.rcv_nxt().add(window));
        }
        delivered
    }

    /// Bytes of a pure ACK, from its IP header on.
    fn ack_len(&self, data: &ConnData) -> u32 {
        let ip = match self.tuple.family {
            Family::V4 => wire::IPV4_LEN,
            Family::V6 => wire::IPV6_LEN,
        };
        let options = if data.constant.ts_ok { wire::TS_LEN } else { 0 };
        (ip + wire::TCP_LEN + options) as u32
    }

    /// Puts the payload of a segment into the receive queue, from `rcv_nxt` on: it was
    /// acknowledged, and is taken whether or not there is memory for it.
    fn queue(&self, sk: LockedSock<'_>, mut skb: SkBuff, rcv_nxt: Seq) {
        let Some(mut seg) = wire::parse_tcp(skb.data(), skb.len()) else {
            return;
        };
        let old = rcv_nxt.saturating_dist_from(seg.seq);
        if old >= seg.payload {
            return;
        }
        if old != 0 {
            seg.seq = seg.seq.add(old);
            seg.payload -= old;
            skb.fill_cb(&seg, self.tuple.family == Family::V6);
        }
        if !sk.has_reserved(&skb) {
            sk.take_space(&skb);
        }
        sk.note_segment(seg.ts, false);
        let action = RxAction {
            payload: seg.payload,
            ..RxAction::default()
        };
        let header = u32::from(seg.data_off - seg.l4_off) + old;
        sk.queue_payload(skb, &action, header, seg.flags);
    }

    /// Takes from the send queue what the windows allow, and sends it as far as there is
    /// room. Under the socket lock.
    fn transmit(&self, port: &Port, sk: LockedSock<'_>, push: Push, bh: &Bh) -> Result<(), Why> {
        let idle = sk.send_head().is_none();
        if sk.wants_host() {
            return Err(Why::Reason(UploadReason::Setsockopt));
        }
        self.check_path(port, sk, bh)?;
        let all = self.own.lock().flush(port, bh);
        if idle || !all {
            return Ok(());
        }
        if let Some(case) = sk.host_first(push != Push::One) {
            return Err(Why::Special(case));
        }
        let fresh = sk.packets_out() == 0;
        let mut segs = 0;
        let stopped = self.take_segments(port, sk, push, &mut segs, bh);
        sk.xmit_end(segs, stopped.as_ref().ok().copied().flatten(), fresh);
        stopped?;
        sk.check_probe_timer();
        Ok(())
    }

    /// Until something keeps the next frame: what, if it is a window or a rule.
    fn take_segments(
        &self,
        port: &Port,
        sk: LockedSock<'_>,
        push: Push,
        taken: &mut u32,
        bh: &Bh,
    ) -> Result<Option<WaitReason>, Why> {
        let mss = sk.mss();
        while let Some(mut head) = sk.send_head().filter(|head| head.len != 0) {
            let view = SendView {
                head_len: head.len,
                more: head.more,
                closed: head.closed,
                nonagle: push.nonagle(sk.nonagle()),
                in_flight_pkts: sk.packets_out(),
                cwnd: sk.cwnd(),
                max_segs: sk.tso_segs(mss),
                snd_sml: sk.snd_sml(),
                ..SendView::default()
            };
            let (bytes, segs) = match next_send(&self.own.lock().data, &view, || None) {
                SendVerdict::Send { bytes, segs } => (bytes, segs),
                SendVerdict::Wait(reason) => return Ok(Some(reason)),
            };
            if bytes < head.len && sk.split(&mut head, bytes, mss).is_err() {
                return Err(Why::Special(SpecialCase::ForeignBuffer));
            }
            let Some(mut skb) = sk.clone_head(&head) else {
                return Err(Why::Special(SpecialCase::NoMemory));
            };
            if segs > 1 {
                skb.set_gso(mss as u16, segs as u16, sk.gso_type());
            }
            let push_flag = if head.push || segs > 1 { flags::PSH } else { 0 };
            skb.set_stamp((flags::ACK | push_flag).into());
            // The host keeps a copy of it until it has reached the peer.
            sk.ack_sent();
            sk.sent(head, mss);
            *taken += segs;
            let mut own = self.own.lock();
            own.unsent.push(skb);
            if !own.flush(port, bh) || push == Push::One {
                break;
            }
        }
        Ok(None)
    }

    /// Returns why frames may not leave by the device, to a neighbour that is known.
    fn check_path(&self, port: &Port, sk: LockedSock<'_>, bh: &Bh) -> Result<(), Why> {
        let elsewhere = Err(Why::Reason(UploadReason::RouteChange));
        if !sk.path(port.dev(), bh).is_clear() {
            let guard = ReadGuard::within(bh);
            let filter = host::of(sk, &guard).and_then(|conn| conn.filtered(&sk));
            return filter.map_or(elsewhere, |filter| Err(Why::Reason(filter.upload())));
        }
        let mut own = self.own.lock();
        let (path, una) = (own.path.clone(), own.data.snd_una);
        let second = next_hop::second(sk.clock_us());
        let (asked, before) = core::mem::replace(&mut own.asked, (second, una));
        drop(own);
        // The host keeps the neighbour alive, and is told that frames arrive there.
        let known = asked == second || host::look_at_neighbour(sk, una.after(before));
        let Some((_, neighbour)) = path.link().filter(|_| known) else {
            return Err(Why::Reason(UploadReason::Neighbour));
        };
        self.own.lock().template.set_dst_mac(neighbour.mac);
        match sk.mtu_current() {
            true => Ok(()),
            false => Err(Why::Special(SpecialCase::PathMtu)),
        }
    }

    /// There is room on the wire again. Softirq, no lock held.
    pub(super) fn room(&self, port: &Port, bh: &Bh) {
        let lock = self.sk.bh_lock(bh);
        let guard = ReadGuard::within(bh);
        let conn = host::of_now(lock.sock(), &guard);
        if conn.is_none_or(|conn| conn.hwid() != self.hwid) {
            return;
        }
        match lock.try_own() {
            Some(sk) => self.serve(port, sk, Push::Pending, bh),
            None => {
                self.own.lock().go_on(port, lock.sock(), bh);
                self.waits.set();
            }
        }
    }

    /// Returns whether it waited for this.
    pub(super) fn is_released(&self) -> bool {
        self.waits.take()
    }

    // --- the way back

    /// The host goes on. Under the socket lock.
    fn leave(&self, port: &Port, sk: LockedSock<'_>, why: Why) {
        let reason = self.reason(port, why);
        host::upload(sk, reason);
    }

    /// The same with the socket's spin lock: if a task owns the socket, as soon as it lets
    /// it go.
    fn ask(&self, port: &Port, lock: &BhLock<'_>, why: Why) {
        let reason = self.reason(port, why);
        match lock.try_own() {
            Some(sk) => host::upload(sk, reason),
            None => host::ask_owner(lock, self.hwid, reason),
        }
    }

    fn reason(&self, port: &Port, why: Why) -> UploadReason {
        match why {
            Why::Reason(reason) => reason,
            Why::Special(case) => {
                host::count_special(&port.device, self.hwid, case);
                UploadReason::Special
            }
        }
    }

    /// The device takes and sends nothing more.
    pub(super) fn stop(&self) {
        let _bh = BhGuard::new();
        let mut own = self.own.lock();
        own.gone = true;
        drop(own);
    }

    /// The socket gets all that the device has. How many bytes were not sent, and how many
    /// frames not delivered. Under the socket lock.
    pub(super) fn give_back(&self, sk: LockedSock<'_>) -> (u32, u32) {
        self.stop();
        let bh = BhGuard::new();
        let mut own = self.own.lock();
        let (nxt, undelivered) = (own.data.snd_nxt, own.undelivered.len());
        // The copies: the host has kept its own.
        let unsent = core::mem::replace(&mut own.unsent, FrameList::new());
        drop(own);
        let end = nxt.add(unsent.bytes() as u32);
        drop(unsent);
        sk.refresh_clock(&bh);
        if self.deliver(sk, &bh) {
            sk.data_ready();
        }
        // If the host has sent more since it was abandoned, what is between is lost.
        match end == sk.snd_nxt() {
            true => (sk.unsend(nxt), undelivered),
            false => (0, undelivered),
        }
    }
}

impl Remains for Entry {
    fn give_back(&self, sk: LockedSock<'_>) {
        Entry::give_back(self, sk);
    }
}
