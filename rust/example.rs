// SPDX-License-Identifier: GPL-2.0

//! A second target, for a device with a TCP stack of its own: `ip link add ex0 type
//! toe-example` makes a pair. It copies a connection's state when it takes the connection,
//! works on its copy, and gives that back in the end, with what it has not sent and not
//! delivered. It has room for sixteen connections, no user buffers, no VLANs and no legacy
//! mode: the host stack gets all that is special. `toe-driver.rst` goes through it.

use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

use crate::framework::host;
use crate::framework::host::*;
use crate::framework::target::*;
use crate::logic::conn::*;
use crate::logic::hwid::Hwid;
use crate::logic::reason::*;
use crate::logic::resources::*;
use crate::logic::transmit::*;
use crate::logic::tree::state::Object;
use crate::logic::tuple::*;
use crate::logic::wire::*;
use crate::logic::*;
use crate::net::context::*;
use crate::net::proto::HostFrame;
use crate::net::skb::*;
use crate::net::sock::*;
use crate::net::sync::rcu::ReadGuard;
use crate::net::sync::*;
use crate::net::sysfs::{Attribute, AttributeList, Group};
use crate::net::table::*;
use crate::net::*;
use crate::netdev::*;

mod entry;

use entry::Entry;

/// `type toe-example`.
pub(crate) struct Example;

type Nic = Port<Example>;

static TABLES: Tables<Example> = Tables::new();
static FILES: [Attribute; 1] = [Attribute::rw(
    c"failure",
    failure::show::<Example>,
    failure::store::<Example>,
)];
static LIST: AttributeList<37> = AttributeList::new(&host::FILES, &FILES);
static GROUP: Group = host::group(&LIST);

impl Kind for Example {
    type Engine = Store<Entry>;

    const NAME: &'static CStr = c"toe-example";
    const PEER: &'static CStr = c"toe-example%d";
    const MAX_QUEUES: u32 = 1;
    // Few, so that there is not always room.
    const RING: u32 = 128;
    const FEATURES: u64 = 0;

    fn tables() -> &'static Tables<Self> {
        &TABLES
    }

    fn files() -> &'static Group {
        &GROUP
    }

    fn engine() -> impl PinInit<Self::Engine, Error> {
        Store::new(16, 16)
    }

    fn target(port: &Nic) -> &dyn OffloadTarget {
        port
    }

    fn input(port: &Nic, from: Source<'_>, skb: SkBuff, bh: &Bh) -> Option<SkBuff> {
        Entry::input(port, from.napi_id, skb, bh)
    }

    fn tx_room(port: &Nic, bh: &Bh) {
        let guard = ReadGuard::within(bh);
        let table = &port.engine.table;
        (0..table.slots())
            .filter_map(|index| table.at(&guard, index))
            .for_each(|entry| entry.room(bh));
    }
}

impl OffloadTarget for Nic {
    host::stored!(self => self.engine);

    fn resources(&self) -> Option<Resources> {
        self.answers().then(|| Resources {
            // The device puts no tags into frames, and takes none out.
            tags: 0,
            user_buffers: false,
            ..self.engine.resources()
        })
    }

    fn initiate(&self, tree: &mut OffloadTree<'_, '_>, _bh: &Bh) {
        let Store { objects, table, .. } = &self.engine;
        tree.each_new(|tree, id| {
            let block = tree.get(id).ok_or(Refusal::NoMemory)?;
            match (&block.object, &block.host) {
                (Object::Layer(_), _) => Err(Refusal::Vlan),
                (Object::Connection(_), _) if !self.accepts() => Err(Refusal::Target),
                (Object::Connection(c), _) if c.data.cached.mss < MIN_MSS => Err(Refusal::SmallMss),
                (Object::Connection(c), Host::Connection(sk)) => {
                    let path = objects.path_below(tree, id)?;
                    let _charge = memcg::Charge::to(sk);
                    Ok(table.inserter().insert(
                        c.tuple.hash(0),
                        |entry| entry.tuple == c.tuple,
                        |hwid| Entry::new(self, hwid, *sk, c, path),
                    )?)
                }
                _ => objects.make(tree, id),
            }
        });
    }

    fn send(&self, sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh) {
        if let Some(entry) = conn.entry::<Entry>() {
            entry.serve(sk, push, bh);
        }
    }

    fn host_frame(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        delegated: bool,
        skb: SkBuff,
    ) -> HostFrame {
        match conn.entry::<Entry>().filter(|_| delegated) {
            Some(entry) => entry.host_frame(sk, skb),
            None => HostFrame::Pass(skb),
        }
    }

    fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff) {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        let conn = host::of(sk, &guard).and_then(|conn| conn.at_target());
        let seg = wire::parse_tcp(skb.data(), skb.len());
        match conn.and_then(|conn| conn.entry::<Entry>()).zip(seg) {
            Some((entry, seg)) => entry.receive(sk, skb, &seg, &bh),
            None => proto::host_receive(sk, skb),
        }
    }

    fn released(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        if let Some(entry) = conn.entry::<Entry>().filter(|entry| entry.waits.take()) {
            entry.serve(sk, Push::Pending, &BhGuard::new());
        }
    }
}
