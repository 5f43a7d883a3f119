// SPDX-License-Identifier: GPL-2.0

//! Command unit: the host's access to the table (claim B 24). It is the emulated
//! NIC's side of [`OffloadTarget`]; none of it is on the data path.

use core::sync::atomic::{
    AtomicBool,
    AtomicU16, //
};

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    dct::{
        buffer,
        hold,
        host_queue,
        legacy,
        receive,
        transmit,
        Entry,
        SEED, //
    },
    framework::{
        connection::{
            self,
            Connection, //
        },
        device::Device,
        target::{
            Counters,
            OffloadRequest,
            OffloadTarget,
            Query, //
        }, //
    },
    logic::{
        buffer::Rule,
        conn::ConnData,
        expect::Expected,
        hold::Held,
        hwid::Hwid,
        legacy::Legacy,
        next_hop::NextHop,
        reason::Refusal,
        template::{
            HeaderTemplate,
            TemplateParams, //
        },
        tuple::Tuple, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        devref::DevRef,
        errno,
        held::HeldFrames,
        lock_cell::SockCell,
        proto::HostFrame,
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        },
        table::{
            Full,
            Links,
            ReadGuard, //
        },
        user_buffer::{
            BufferSlot,
            Pinned, //
        },
        vlan::TagKey, //
    },
    netdev::Port, //
};

/// The header of the connection's frames, from the host's cached state.
fn template(
    sk: LockedSock<'_>,
    tuple: Tuple,
    macs: ([u8; 6], [u8; 6]),
    ts_ok: bool,
) -> HeaderTemplate {
    let (ttl, tos, flow_label, df) = sk.header_fields();
    HeaderTemplate::new(&TemplateParams {
        src_mac: macs.0,
        dst_mac: macs.1,
        tuple,
        tos,
        ttl,
        flow_label,
        df,
        ts_ok,
    })
}

/// Makes the header of the entry's frames anew, the next hop looked up. Any context
/// under the socket lock.
pub(super) fn refresh(sk: LockedSock<'_>, entry: &Entry) -> Result {
    let next_hop = sk.neighbour(false)?;
    let ts_ok = entry.data.get(sk).ts_ok;
    entry
        .template
        .set(sk, template(sk, entry.tuple, (entry.mac, next_hop), ts_ok));
    Ok(())
}

impl OffloadTarget for Port {
    fn device(&self) -> &Device {
        self.offload().device()
    }

    fn connections(&self) -> u32 {
        self.offload().dct().table.len()
    }

    fn initiate(&self, sk: LockedSock<'_>, req: &OffloadRequest<'_>) -> Result<Hwid, Refusal> {
        let mac = req.path_dev.address_now();
        let mut data = ConnData::default();
        sk.load_all(&mut data);
        if data.mss < 64 {
            return Err(Refusal::SmallMss);
        }
        let header = template(sk, req.tuple, (mac, req.next_hop), data.ts_ok);
        let hash = req.tuple.hash(SEED);
        let queues = req.dev.real_num_tx_queues().max(1);
        let queue = host_queue(sk, req.dev).unwrap_or((hash % queues) as u16);
        self.offload()
            .dct()
            .table
            .insert(
                hash,
                |e| e.tuple == req.tuple,
                |hwid| {
                    let sock = sk.sock();
                    Ok(KBox::new(
                        Entry {
                            links: Links::new(hash),
                            tuple: req.tuple,
                            hwid,
                            mac,
                            expected: Expected::new(mac, &req.tuple),
                            queue: AtomicU16::new(queue),
                            kick: AtomicBool::new(false),
                            sk: sock.into(),
                            dev: DevRef::new(req.dev),
                            path_dev: DevRef::new(req.path_dev),
                            layers: req.layers.clone(),
                            tag: TagKey::new(req.tuple.vlan),
                            data: SockCell::new(sock, data),
                            legacy: SockCell::new(sock, Legacy::default()),
                            at_handover: data,
                            template: SockCell::new(sock, header),
                            // The first frame looks: it may have changed since.
                            next_hop: SockCell::new(
                                sock,
                                NextHop::unknown(self.offload().neighbours(), data.snd_una),
                            ),
                            buffer: BufferSlot::new(sock),
                            held: SockCell::new(sock, Held::default()),
                            held_frames: HeldFrames::new(sock),
                            counters: SockCell::new(sock, Counters::default()),
                        },
                        GFP_ATOMIC,
                    )?)
                },
            )
            .map_err(|e| match e {
                Full::Table => Refusal::TableFull,
                Full::Memory => Refusal::NoMemory,
                Full::Duplicate => Refusal::Duplicate,
            })
    }

    fn send(&self, sk: LockedSock<'_>, conn: &Connection, nonagle: Option<u8>, bh: &Bh) {
        let guard = ReadGuard::within(bh);
        if let Some(entry) = self.offload().dct().get(&guard, conn.hwid()) {
            transmit::run(sk, &entry, nonagle, bh);
        }
    }

    fn update(&self, sk: LockedSock<'_>, hwid: Hwid) -> Result {
        let guard = ReadGuard::new();
        let entry = self
            .offload()
            .dct()
            .get(&guard, hwid)
            .ok_or_else(errno::ESTALE)?;
        refresh(sk, &entry)
    }

    fn query(&self, hwid: Hwid) -> Result<Query> {
        let guard = ReadGuard::new();
        let entry = self
            .offload()
            .dct()
            .get(&guard, hwid)
            .ok_or_else(errno::ESTALE)?;
        let mut data = entry.data.peek();
        data.rtt.srtt_us = entry.sk.srtt_us();
        Ok(Query {
            tuple: entry.tuple,
            mode: connection::mode(&entry.sk, &guard),
            data,
            at_handover: entry.at_handover,
            counters: entry.counters.peek(),
        })
    }

    fn host_frame(&self, sk: LockedSock<'_>, conn: &Connection, skb: SkBuff) -> HostFrame {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        match self.offload().dct().get(&guard, conn.hwid()) {
            Some(entry) => transmit::host_frame(sk, conn, &entry, skb, &bh),
            None => HostFrame::Pass(skb),
        }
    }

    fn resynchronise(&self, sk: LockedSock<'_>, conn: &Connection) -> bool {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        let entry = self.offload().dct().get(&guard, conn.hwid());
        entry.is_some_and(|entry| legacy::resynchronise(sk, &entry, &bh))
    }

    fn wants_buffer(&self, hwid: Hwid, want: u32, rule: Rule) -> bool {
        let guard = ReadGuard::new();
        let Some(entry) = self.offload().dct().get(&guard, hwid) else {
            return false;
        };
        let seen = entry.counters.peek();
        rule.pays(want, seen.rx_bytes, seen.rx_frames)
    }

    fn post_buffer(&self, sk: LockedSock<'_>, hwid: Hwid, buffer: &Pinned) -> bool {
        let guard = ReadGuard::new();
        let entry = self.offload().dct().get(&guard, hwid);
        entry.is_some_and(|entry| entry.buffer.put(sk, buffer))
    }

    fn take_buffer(&self, sk: LockedSock<'_>, hwid: Hwid) {
        let guard = ReadGuard::new();
        if let Some(entry) = self.offload().dct().get(&guard, hwid) {
            buffer::take_back(sk, &entry);
        }
    }

    fn flush(&self, sk: LockedSock<'_>, conn: &Connection) {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        if let Some(entry) = self.offload().dct().get(&guard, conn.hwid()) {
            hold::flush(sk, &entry, &bh);
        }
    }

    fn reader_comes(&self, sk: LockedSock<'_>, conn: &Connection) {
        let guard = ReadGuard::new();
        if let Some(entry) = self.offload().dct().get(&guard, conn.hwid()) {
            entry.held.with_mut(sk, Held::reader_comes);
        }
    }

    fn request_expired(&self, sk: LockedSock<'_>, conn: &Connection, now_ms: u64) -> Option<u64> {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        let entry = self.offload().dct().get(&guard, conn.hwid())?;
        hold::expired(sk, &entry, now_ms, &bh)
    }

    fn released(&self, sk: LockedSock<'_>, conn: &Connection) {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        if let Some(entry) = self.offload().dct().get(&guard, conn.hwid()) {
            if entry.take_kick() && conn.delegated(sk) {
                transmit::run(sk, &entry, None, &bh);
            }
        }
    }

    fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff) {
        receive::backlog(sk, skb);
    }

    fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>)) {
        let table = &self.offload().dct().table;
        for index in 0..table.slots() {
            let guard = ReadGuard::new();
            let found = table
                .at(&guard, index)
                .map(|e| (e.hwid, ARef::clone(&e.sk)));
            drop(guard);
            if let Some((hwid, sk)) = found {
                f(hwid, sk);
            }
        }
    }

    fn terminate(&self, sk: LockedSock<'_>, hwid: Hwid) -> Result {
        let guard = ReadGuard::new();
        if let Some(entry) = self.offload().dct().get(&guard, hwid) {
            buffer::take_back(sk, &entry);
            hold::leave(sk, &entry);
        }
        if self.offload().dct().table.remove(hwid) {
            Ok(())
        } else {
            Err(errno::ESTALE())
        }
    }
}
