// SPDX-License-Identifier: GPL-2.0

//! A connection in the device: its state, and what of its data is on the way.

use super::*;

/// A connection.
pub(crate) struct Entry {
    links: Links<Entry>,
    /// Keeps the device while frames may still be sent through it.
    port: devref::DriverRef<Nic>,
    sk: ARef<Sock>,
    pub(super) tuple: Tuple,
    raw: input::RawSockets,
    /// Something waits for the socket's owner to let it go.
    pub(super) waits: AwaitRelease,
    /// Taken below the socket's lock. Frames are sent under it, nothing else is called that
    /// might come back.
    own: Pin<KBox<spin_lock_bh::SpinLockBh<Own>>>,
}

node!(Entry, links);

/// What is the device's own.
struct Own {
    copy: Copied,
    path: Arc<PathObject>,
    template: template::HeaderTemplate,
    /// Frames that wait for room on the wire; the socket takes them for sent.
    unsent: FrameList,
}

impl Own {
    /// Builds a frame around its payload, which follows what was sent.
    fn build(
        &mut self,
        sk: LockedSock<'_>,
        mut skb: SkBuff,
        flags: u16,
    ) -> Result<SkBuff, Fallback> {
        // Of what the socket does not have, the peer is told nothing.
        let (seq, ack) = (sk.snd_nxt(), sk.rcv_nxt());
        let segs = u32::from(skb.gso_segs()).max(1);
        let fields = sk.frame_fields(seq, ack, flags, None, skb.len(), segs);
        sk.ack_sent();
        sk.load_offer(&mut self.copy.data);
        match skb.push_headers(&self.template, &fields, 0) {
            Some(()) => Ok(skb),
            None => Err(Fallback::Upload(UploadReason::Error)),
        }
    }

    /// Sends what is unsent. `false`: there is no room for some.
    fn flush(&mut self, port: &Nic, bh: &Bh) -> Result<bool, Fallback> {
        while let Some(skb) = self.unsent.pop() {
            let payload = skb.len() - self.template.len() as u32;
            let (skb, result) = match port.send(skb, 0, None, 0, bh) {
                Ok((frames, bytes)) => {
                    port.device().stats().transmitted(0, frames, bytes);
                    self.copy.counters.tx_frames += 1;
                    self.copy.counters.tx_bytes += u64::from(payload);
                    sent(&mut self.copy.data, payload, 0);
                    continue;
                }
                Err(SendError::Full(skb)) => (skb, Ok(false)),
                Err(SendError::Down(skb)) => (skb, Err(Fallback::Upload(UploadReason::LinkDown))),
            };
            self.unsent.push_front(skb);
            return result;
        }
        Ok(true)
    }

    /// Sends an ACK, behind what is unsent. Returns its length, from its IP header on.
    fn acknowledge(&mut self, port: &Nic, sk: LockedSock<'_>, bh: &Bh) -> Result<u32, Fallback> {
        let skb = self.build(sk, sk.header_frame(bh).ok_or(NO_MEMORY)?, flags::ACK)?;
        self.unsent.push(skb);
        self.flush(port, bh)?;
        Ok((self.template.len() - self.template.l3_off()) as u32)
    }

    /// Sends data, and an ACK of the `frames` that were delivered if one is due. Under the lock.
    fn transmit(
        &mut self,
        port: &Nic,
        sk: LockedSock<'_>,
        push: Push,
        frames: u32,
        bh: &Bh,
    ) -> Result<(), Fallback> {
        let (fresh, mut taken) = (sk.packets_out() == 0, 0);
        let mut fill = || {
            while self.flush(port, bh)? && (push != Push::One || taken == 0) {
                let Some(mut head) = sk.send_head().filter(|head| head.len != 0) else {
                    break;
                };
                if let Some(case) = sk.host_first(push != Push::One) {
                    return Err(Fallback::Special(case));
                }
                let mss = sk.mss();
                let most = whole_segs(self.copy.data.cached.max_payload, mss);
                let view = SendView {
                    head_len: head.len,
                    more: head.more,
                    closed: head.closed,
                    nonagle: push.nonagle(sk.nonagle()),
                    in_flight_pkts: sk.packets_out(),
                    cwnd: sk.cwnd(),
                    max_segs: sk.tso_segs(mss).min(most),
                    snd_sml: sk.snd_sml(),
                    ..SendView::default()
                };
                let (bytes, segs) = match next_send(&self.copy.data, &view, || None) {
                    SendVerdict::Send { bytes, segs } => (bytes, segs),
                    SendVerdict::Wait(reason) => return Ok(Some(reason)),
                };
                if bytes < head.len {
                    sk.split(&mut head, bytes, mss).map_err(|_| NO_MEMORY)?;
                }
                let mut skb = sk.clone_head(&head).ok_or(NO_MEMORY)?;
                if segs > 1 {
                    skb.set_gso(mss as u16, segs as u16, sk.gso_type());
                }
                let push_flag = if head.push || segs > 1 { flags::PSH } else { 0 };
                let skb = self.build(sk, skb, flags::ACK | push_flag)?;
                self.unsent.push(skb);
                sk.sent(head, mss);
                taken += segs;
            }
            Ok(None)
        };
        let (queued, stopped) = (sk.send_head().is_some(), fill());
        if queued {
            sk.xmit_end(taken, stopped.as_ref().ok().copied().flatten(), fresh);
            sk.check_probe_timer();
        }
        stopped?;
        if frames != 0 && sk.ack_now(false).is_some() {
            sk.count_ack_out(self.acknowledge(port, sk, bh)?);
        }
        Ok(())
    }
}

impl Entry {
    /// The device takes the connection of `sk`, with this state.
    #[inline(never)]
    pub(super) fn new(
        port: &Nic,
        hwid: Hwid,
        sk: LockedSock<'_>,
        state: &tree::state::Connection,
        path: Arc<PathObject>,
    ) -> Result<KBox<Self>> {
        let (tuple, data) = (state.tuple, &state.data);
        let own = Own {
            copy: Copied::new(data),
            template: path.neighbour.template(&tuple, data),
            path,
            unsent: FrameList::new(),
        };
        let entry = Entry {
            links: Links::new(tuple.hash(0), hwid),
            port: devref::DriverRef::new(port.dev()).ok_or(ENODEV)?,
            sk: sk.sock().into(),
            tuple,
            raw: input::RawSockets::of(sk.sock(), tuple.family == Family::V6),
            waits: AwaitRelease::new(),
            own: KBox::pin_init(spin_lock_bh::new_spinlock_bh!(own), memcg::atomic())?,
        };
        Ok(KBox::new(entry, memcg::atomic())?)
    }

    /// A frame from the wire by NAPI `id`, at its Ethernet header; it comes back if the
    /// host is to have it. No lock held.
    pub(super) fn input(port: &Nic, id: u32, mut skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        let (want, tags) = (skb.len().min(LINEAR_LEN as u32), skb.tags());
        if tags != Some(crate::logic::vlan::Tags::NONE) || !skb.may_pull(want) {
            return Some(skb);
        }
        let (tuple, seg) = match wire::parse(skb.data(), skb.len()) {
            Ok(seg) if seg.opts == OptKind::Other => (seg.tuple, Err(SpecialCase::BadOption)),
            Ok(seg) => (seg.tuple, Ok(seg)),
            Err(FrameError::Special(case, Some(tuple))) => (tuple, Err(case)),
            Err(_) => return Some(skb),
        };
        let (guard, v6) = (ReadGuard::within(bh), tuple.family == Family::V6);
        let Store { table, device, .. } = &port.engine;
        let found = table.find(&guard, tuple.hash(0), |entry| entry.tuple == tuple);
        // Another station's, or broken: the host drops and counts it.
        let ours = skb.data().first_chunk() == Some(&port.dev().address_now());
        let whole = seg.is_err() || seg.is_ok_and(|seg| skb.has_tcp_checksum(&seg, v6));
        let Some(entry) = found.filter(|_| ours && whole) else {
            return Some(skb);
        };
        let (hwid, lock) = (entry.links.id(), entry.sk.bh_lock(bh));
        let ingress = Ingress::direct(hwid, port.dev(), entry.raw, v6, id);
        let taken = match &seg {
            Ok(seg) => host::take_in(&lock, device.stats(), &ingress, skb, seg, &guard, bh),
            Err(case) => Err(NotTaken::Fallback(skb, Fallback::Special(*case))),
        };
        let (skb, seg) = match (taken, seg) {
            (Ok((_, skb)), Ok(seg)) => (skb, seg),
            (Err(NotTaken::Host(skb)), _) => return Some(skb),
            (Err(NotTaken::Fallback(skb, why)), _) => {
                why.ask(&lock, device, hwid);
                return Some(skb);
            }
            _ => return None,
        };
        if let Some(sk) = lock.try_own() {
            entry.receive(sk, skb, &seg, bh);
            return None;
        }
        let taken = entry.own.lock().copy.take_early(&lock, &seg, skb, bh);
        match taken {
            Ok(()) => entry.waits.set(),
            // The owner looks at it again: until then more may have come.
            Err(skb) => {
                if let Err(skb) = skb.add_to_backlog(&lock) {
                    device.stats().backlog_drop();
                    skb.drop_because(DropReason::SocketBacklog);
                }
            }
        }
        None
    }

    /// A segment, which starts at its TCP header. Under the socket lock, nothing of the host
    /// stack below us.
    pub(super) fn receive(&self, sk: LockedSock<'_>, skb: SkBuff, seg: &Segment, bh: &Bh) {
        let taken = self.own.lock().copy.take(seg, skb, bh);
        match taken {
            Ok(()) => self.serve(sk, Push::Pending, bh),
            Err((case, skb)) => {
                Fallback::Special(case).upload(sk, self.port.device(), self.links.id());
                proto::host_receive(sk, skb);
            }
        }
    }

    /// Gives the socket what has come in, and takes from it what may be sent. Under the
    /// socket lock, nothing of the host stack below us.
    pub(super) fn serve(&self, sk: LockedSock<'_>, push: Push, bh: &Bh) {
        self.waits.take();
        sk.refresh_clock(bh);
        let (way, now) = (self.check_path(sk, bh), next_hop::second(sk.clock_us()));
        let mut own = self.own.lock();
        let Delivered { frames, acked } = own.copy.deliver(sk);
        if acked {
            own.path.neighbour.progressed(now);
        }
        let sent = way.and_then(|()| own.transmit(&self.port, sk, push, frames, bh));
        drop(own);
        if frames != 0 {
            host::data_ready(sk, &ReadGuard::within(bh));
        }
        sk.check_space();
        if let Err(why) = sent {
            why.upload(sk, self.port.device(), self.links.id());
            sk.resume_host(true);
        }
    }

    /// Returns why frames may not leave by the device, to a neighbour that is known.
    fn check_path(&self, sk: LockedSock<'_>, bh: &Bh) -> Result<(), Fallback> {
        if sk.wants_host() {
            return Err(Fallback::Upload(UploadReason::Setsockopt));
        }
        let (device, dev) = (self.port.device(), self.port.dev());
        let blockers = sk.tx_blockers(dev, bh);
        if !blockers.is_clear() {
            host::check_blockers(sk, blockers)?;
        }
        let mut path = self.own.lock().path.clone();
        if blockers.is_invalid() || !host::leads_to(sk, device, dev, &path) {
            host::reroute(sk, device, dev)?;
            path = self.own.lock().path.clone();
        }
        let mac = host::next_hop(sk, &path, next_hop::second(sk.clock_us()))?;
        self.own.lock().template.set_dst_mac(mac);
        host::check_mtu(sk)
    }

    /// There is room on the wire again. Softirq, no lock held.
    pub(super) fn room(&self, bh: &Bh) {
        let guard = ReadGuard::within(bh);
        let lock = self.sk.bh_lock(bh);
        let conn = host::of_now(lock.sock(), &guard);
        match lock.try_own() {
            _ if conn.is_none_or(|conn| !conn.is(self.port.dev(), self.links.id())) => {}
            Some(sk) => self.serve(sk, Push::Pending, bh),
            None => self.waits.set(),
        }
    }

    /// The host stack transmits a segment by itself, and may be in the middle of work on its
    /// queues, of which nothing is touched here. Under the socket lock, any context.
    pub(super) fn host_frame(&self, sk: LockedSock<'_>, skb: SkBuff) -> HostFrame {
        let bh = BhGuard::new();
        let Some(seg) = wire::parse_tcp(skb.data(), skb.len()) else {
            return HostFrame::Pass(skb);
        };
        let mut own = self.own.lock();
        let why = match sk.host_intention(&seg) {
            // It has read, and offers more room.
            None if seg.payload == 0 => {
                let Ok(len) = own.acknowledge(&self.port, sk, &bh) else {
                    return HostFrame::Pass(skb);
                };
                sk.count_host_out(len);
                skb.consume(&bh);
                return HostFrame::Taken(0);
            }
            None => Fallback::Upload(UploadReason::Special),
            Some(_) if seg.flags & flags::FIN != 0 => Fallback::Upload(UploadReason::Shutdown),
            Some(case) => Fallback::Special(case),
        };
        own.unsent = FrameList::new();
        own.copy.forget(sk);
        drop(own);
        why.upload(sk, self.port.device(), self.links.id());
        HostFrame::Pass(skb)
    }
}

impl Stored for Entry {
    fn sock(&self) -> &ARef<Sock> {
        &self.sk
    }

    fn show(&self) -> (tree::state::Connection, Counters) {
        self.own.lock().copy.show(self.tuple)
    }

    fn update(&self, _sk: LockedSock<'_>, cached: &ConnCached, path: Option<Arc<PathObject>>) {
        let mut own = self.own.lock();
        own.copy.data.cached = *cached;
        own.path = path.unwrap_or_else(|| own.path.clone());
        own.template = own.path.neighbour.template(&self.tuple, &own.copy.data);
    }

    fn give_back(&self, sk: LockedSock<'_>) -> GivenBack {
        sk.refresh_clock(&BhGuard::new());
        let mut own = self.own.lock();
        let undelivered = own.copy.deliver(sk).frames;
        own.copy.close();
        // The host has the originals, which nobody may have a clone of then.
        own.unsent = FrameList::new();
        let unsent = sk.unsend(own.copy.data.snd_nxt);
        drop(own);
        if undelivered != 0 {
            host::data_ready(sk, &ReadGuard::new());
        }
        sk.check_space();
        GivenBack::new(unsent, undelivered)
    }

    fn abandon(&self) {
        let mut own = self.own.lock();
        own.unsent = FrameList::new();
        own.copy.close();
    }
}
