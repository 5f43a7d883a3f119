// SPDX-License-Identifier: GPL-2.0

//! Command unit: the host's access to the table. It is the emulated NIC's side of
//! `OffloadTarget`; none of it is on the data path.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicU16,
    AtomicU64, //
};

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    audit::Audit,
    buffer,
    deferred,
    host_queue,
    legacy,
    next_stamp,
    objects::{
        find,
        insert,
        LayerObject,
        NeighbourObject,
        PathObject, //
    },
    rx,
    tx,
    Engine,
    Entry,
    Nic,
    SEED, //
};
use crate::{
    framework::{
        host::{
            self,
            AwaitRelease,
            Deferring, //
        },
        target::{
            ConnRef,
            Counters,
            Host,
            OffloadTree,
            Parts, //
        }, //
    },
    logic::{
        buffer::Rule,
        conn::ConnData,
        deferred::Deferred,
        expect::Expected,
        hwid::Hwid,
        legacy::Legacy,
        next_hop::NextHop,
        reason::Refusal,
        template::{
            HeaderTemplate,
            TemplateParams, //
        },
        transmit::Push,
        tree::{
            state::{
                self,
                Handle,
                Level,
                NeighbourWord,
                Object, //
            },
            Block,
            BlockId,
            Status, //
        },
        tuple::{
            Family,
            Tuple, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        devref::{
            DevRef,
            DriverRef, //
        },
        input::RawSockets,
        memcg::{
            self,
            Charge, //
        },
        proto::HostFrame,
        skb::{
            FrameList,
            SkBuff, //
        },
        sock::{
            LockedSock,
            Sock, //
        },
        sync::{
            rcu::ReadGuard,
            sock_cell::SockCell, //
        },
        table::{
            Full,
            Inserter,
            Links,
            Tether, //
        },
        user_buffer::{
            BufferSlot,
            Pinned, //
        },
        vlan::TagKey, //
    }, //
};

/// The header of the connection's frames, from what the host owns.
#[inline]
fn template(tuple: &Tuple, data: &ConnData, neighbour: &NeighbourObject) -> HeaderTemplate {
    let cached = &data.cached;
    HeaderTemplate::new(&TemplateParams {
        src_mac: neighbour.source(),
        // Without one nothing is sent.
        dst_mac: neighbour.cached().unwrap_or_default().mac,
        tuple: *tuple,
        tos: cached.tos,
        ttl: cached.ttl,
        flow_label: cached.flow_label,
        df: cached.df,
        ts_ok: data.constant.ts_ok,
    })
}

/// The entry of a connection that the framework calls us for.
#[inline(always)]
fn entry_of<N: Nic>(conn: ConnRef<'_>) -> Option<&Entry<N>> {
    let entry = conn.entry::<Entry<N>>();
    debug_assert!(entry.is_none_or(|entry| entry.hwid == conn.hwid()));
    entry
}

/// The level below a block, if it is an object that the target has.
fn below(tree: &OffloadTree<'_, '_>, id: BlockId) -> Option<Handle> {
    tree.get(tree.get(id)?.on()?)?.handle
}

/// What is done for one block of a tree.
impl<N: Nic> Engine<N> {
    /// Makes an object below connections.
    fn make(&self, tree: &OffloadTree<'_, '_>, id: BlockId) -> Result<Hwid, Refusal> {
        let objects = &self.objects;
        let block = tree.get(id).ok_or(Refusal::NoMemory)?;
        let on = below(tree, id);
        let layer = || find(&objects.layers, on?.id);
        match (&block.object, &block.host) {
            (Object::Layer(l), _) => insert(&objects.layers, |handle| {
                LayerObject::new(handle, l.constant, layer())
            }),
            (Object::Neighbour(n), Host::New(_, Parts::Neighbour { dev, layers })) => {
                let dev = DevRef::new(dev);
                insert(&objects.neighbours, |handle| {
                    NeighbourObject::new(handle, n.constant, n.cached, dev, layers.clone(), layer())
                })
            }
            (Object::Path(p), _) => {
                let neighbour = on.and_then(|on| find(&objects.neighbours, on.id));
                let neighbour = neighbour.ok_or(Refusal::NoMemory)?;
                insert(&objects.paths, |_| {
                    PathObject::new(p.constant, p.cached, neighbour)
                })
            }
            _ => Err(Refusal::NoMemory),
        }
    }

    /// Makes the entry of a connection on `path`.
    fn make_entry(
        &self,
        nic: &N,
        inserter: &mut Inserter<'_, Entry<N>>,
        block: &Block<Host<'_>>,
        path: &Arc<PathObject>,
    ) -> Result<Hwid, Refusal> {
        let (Object::Connection(c), Host::Connection(sk)) = (&block.object, &block.host) else {
            return Err(Refusal::NoMemory);
        };
        if c.data.cached.mss < 64 {
            return Err(Refusal::SmallMss);
        }
        let neighbour = &path.neighbour;
        let hash = c.tuple.hash(SEED);
        let nic = DriverRef::<N>::new(nic.dev()).ok_or(Refusal::DeviceDown)?;
        let device = nic.dev();
        let queues = device.real_num_tx_queues().max(1);
        let tx_queue = host_queue(*sk, device).unwrap_or((hash % queues) as u16);
        let changes = self.objects.changes();
        let _charge = Charge::to(sk);
        inserter
            .insert(
                hash,
                |e| e.tuple == c.tuple,
                |id| {
                    let (sock, audit) = (sk.sock(), Audit::new(*sk));
                    // In place, because it has hundreds of bytes.
                    KBox::init(
                        pin_init::init!(Entry {
                            links: Links::new(hash, id),
                            tuple: c.tuple,
                            hwid: id,
                            mac: neighbour.source(),
                            expected: Expected::new(neighbour.source(), &c.tuple),
                            queue: AtomicU16::new(tx_queue),
                            kick: AwaitRelease::new(),
                            sk: sock.into(),
                            nic,
                            path: SockCell::new(sock, path.clone()),
                            path_dev: neighbour.dev.clone(),
                            layers: neighbour.layers.clone(),
                            tag: TagKey::new(c.tuple.vlan),
                            raw: RawSockets::of(sock, c.tuple.family == Family::V6),
                            data: SockCell::new(sock, c.data),
                            audit,
                            legacy: SockCell::new(sock, Legacy::default()),
                            template: SockCell::new(sock, template(&c.tuple, &c.data, neighbour)),
                            stamp: AtomicU64::new(next_stamp()),
                            known: AtomicU64::new(0),
                            // The first frame looks: it may have changed since.
                            next_hop: SockCell::new(
                                sock,
                                NextHop::unknown(changes, c.data.snd_una)
                            ),
                            buffer: BufferSlot::new(sock),
                            deferred: SockCell::new(sock, Deferred::default()),
                            deferred_frames: SockCell::new(sock, FrameList::new()),
                            deferring: Deferring::new(),
                            counters: SockCell::new(sock, Counters::default()),
                        }),
                        memcg::atomic(),
                    )
                },
            )
            .map_err(|e| match e {
                Full::Table => Refusal::TableFull,
                Full::Memory => Refusal::NoMemory,
                Full::Duplicate => Refusal::Duplicate,
            })
    }

    /// Brings an object's cached state up to date. `None`: there is no such object.
    fn update_one(&self, tree: &OffloadTree<'_, '_>, id: BlockId) -> Option<()> {
        let objects = &self.objects;
        let block = tree.get(id)?;
        let handle = block.handle?;
        match (&block.object, &block.host) {
            // Only what others belong to from now on.
            (Object::Named(_), _) => return Some(()),
            (Object::Layer(_), _) => find(&objects.layers, handle.id)?.set_valid(true),
            (Object::Neighbour(n), _) => {
                find(&objects.neighbours, handle.id)?.set(NeighbourWord::new(n.cached));
            }
            (Object::Path(p), _) => find(&objects.paths, handle.id)?.set(Some(p.cached)),
            (Object::Connection(c), Host::Connection(sk)) => {
                let guard = ReadGuard::new();
                let entry = self.get(&guard, handle.id)?;
                if let Some(on) = below(tree, id) {
                    drop(entry.path.replace(*sk, find(&objects.paths, on.id)?));
                }
                entry.data.with_mut(*sk, |data| data.cached = c.data.cached);
                let (data, path) = (entry.data.get(*sk), entry.path.with(*sk, Arc::clone));
                let header = template(&entry.tuple, &data, &path.neighbour);
                entry.change_template(*sk, |t| {
                    *t = header;
                    true
                });
                // Only this one has to look.
                let hop = NextHop::unknown(objects.changes(), data.snd_una);
                entry.next_hop.set(*sk, hop);
                return Some(());
            }
            _ => return None,
        }
        objects.changed();
        Some(())
    }

    fn invalidate_one(&self, block: &Block<Host<'_>>) -> Option<()> {
        let objects = &self.objects;
        let handle = block.handle?;
        match handle.level {
            Level::Layer => find(&objects.layers, handle.id)?.set_valid(false),
            Level::Neighbour => {
                find(&objects.neighbours, handle.id)?.set(NeighbourWord::INVALID);
            }
            Level::Path => find(&objects.paths, handle.id)?.set(None),
            // Of a connection nothing is invalid but its place in the tree.
            Level::Connection => return None,
        }
        objects.changed();
        Some(())
    }

    /// An object's state, whether it is valid, and what it lies on.
    fn query_one(&self, block: &Block<Host<'_>>) -> Option<(Object, bool, Option<Handle>)> {
        let objects = &self.objects;
        let handle = block.handle?;
        Some(match handle.level {
            Level::Layer => {
                let object = find(&objects.layers, handle.id)?;
                let (layer, valid) = object.query();
                (Object::Layer(layer), valid, object.below())
            }
            Level::Neighbour => {
                let object = find(&objects.neighbours, handle.id)?;
                let (neighbour, valid) = object.query();
                (Object::Neighbour(neighbour), valid, object.below())
            }
            Level::Path => {
                let object = find(&objects.paths, handle.id)?;
                let (path, valid) = object.query();
                (Object::Path(path), valid, Some(object.below()))
            }
            Level::Connection => {
                let guard = ReadGuard::new();
                let entry = self.get(&guard, handle.id)?;
                let (tuple, data) = (entry.tuple, entry.data.peek());
                // Its path is the lock's.
                (
                    Object::Connection(state::Connection { tuple, data }),
                    true,
                    None,
                )
            }
        })
    }

    fn terminate_one(&self, block: &Block<Host<'_>>) -> Option<()> {
        let objects = &self.objects;
        let handle = block.handle?;
        let there = match (handle.level, &block.host) {
            (Level::Layer, _) => objects.layers.remove(handle.id),
            (Level::Neighbour, _) => objects.neighbours.remove(handle.id),
            (Level::Path, _) => objects.paths.remove(handle.id),
            (Level::Connection, Host::Connection(sk)) => {
                let guard = ReadGuard::new();
                if let Some(entry) = self.get(&guard, handle.id) {
                    // The host goes on from what the entry says.
                    entry.data.with_mut(*sk, |data| entry.audited(*sk, data));
                    buffer::take_back(*sk, &entry);
                    deferred::requeue_on_removal(*sk, &entry);
                }
                self.table().remove(handle.id)
            }
            (Level::Connection, _) => false,
        };
        there.then_some(())
    }
}

/// Says what became of a block.
fn ended(tree: &mut OffloadTree<'_, '_>, id: BlockId, found: Option<()>) {
    match found {
        Some(()) => tree.done(id, None),
        None => tree.ended(id, Status::Stale),
    }
}

/// What [`OffloadTarget`](crate::framework::target::OffloadTarget) asks for, whose methods
/// these are.
impl<N: Nic> Engine<N> {
    pub(crate) fn connections(&self) -> u32 {
        self.table().len()
    }

    pub(crate) fn initiate(&self, nic: &N, tree: &mut OffloadTree<'_, '_>) {
        // Held over connections that follow each other; and the path that they lie on.
        let mut inserter = None;
        let mut path: Option<(Handle, Arc<PathObject>)> = None;
        let mut at = tree.first();
        while let Some(id) = at {
            at = tree.after(id);
            let Some(block) = tree.get(id) else {
                continue;
            };
            if block.handle.is_some() || matches!(block.status(), Status::Refused(_)) {
                continue;
            }
            let level = block.object.level();
            let made = match level {
                Level::Connection => {
                    let on = below(tree, id);
                    if path.as_ref().map(|(handle, _)| *handle) != on {
                        path = on.and_then(|on| Some((on, find(&self.objects.paths, on.id)?)));
                    }
                    let inserter = inserter.get_or_insert_with(|| self.table().inserter());
                    match &path {
                        Some((_, path)) => self.make_entry(nic, inserter, block, path),
                        None => Err(Refusal::NoMemory),
                    }
                }
                _ => {
                    // One leaf at a time.
                    inserter = None;
                    self.make(tree, id)
                }
            };
            match made {
                Ok(hwid) => tree.done(id, Some(Handle { level, id: hwid })),
                Err(reason) => tree.refuse(id, reason),
            }
        }
    }

    pub(crate) fn update(&self, tree: &mut OffloadTree<'_, '_>) {
        let mut at = tree.first();
        while let Some(id) = at {
            let found = self.update_one(tree, id);
            ended(tree, id, found);
            at = tree.after(id);
        }
    }

    pub(crate) fn query(&self, tree: &mut OffloadTree<'_, '_>) {
        let mut at = tree.first();
        while let Some(id) = at {
            at = tree.after(id);
            let Some(block) = tree.get_mut(id) else {
                continue;
            };
            let status = match self.query_one(block) {
                Some((object, valid, below)) => {
                    block.object = object;
                    block.below = below;
                    match valid {
                        true => Status::Done,
                        false => Status::Invalid,
                    }
                }
                None => Status::Stale,
            };
            tree.ended(id, status);
        }
    }

    pub(crate) fn counters(&self, hwid: Hwid) -> Counters {
        let guard = ReadGuard::new();
        let entry = self.get(&guard, hwid);
        entry.map_or_else(Counters::default, |entry| entry.counters.peek())
    }

    pub(crate) fn invalidate(&self, tree: &mut OffloadTree<'_, '_>) {
        let mut at = tree.first();
        while let Some(id) = at {
            let found = tree.get(id).and_then(|block| self.invalidate_one(block));
            ended(tree, id, found);
            at = tree.after(id);
        }
    }

    pub(crate) fn terminate(&self, tree: &mut OffloadTree<'_, '_>) {
        let mut at = tree.first_down();
        while let Some(id) = at {
            let found = tree.get(id).and_then(|block| self.terminate_one(block));
            ended(tree, id, found);
            at = tree.after_down(id);
        }
    }

    pub(crate) fn abandon(&self, hwid: Hwid) {
        self.table().remove(hwid);
    }

    pub(crate) fn tether(&self, hwid: Hwid, bh: &Bh) -> Option<Tether> {
        let guard = ReadGuard::within(bh);
        self.get(&guard, hwid).map(Tether::new)
    }

    pub(crate) fn send(&self, sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh) {
        if let Some(entry) = entry_of::<N>(conn) {
            tx::run(sk, entry, push, bh);
        }
    }

    pub(crate) fn host_frame(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        delegated: bool,
        skb: SkBuff,
    ) -> HostFrame {
        let bh = BhGuard::new();
        match entry_of::<N>(conn) {
            Some(entry) => tx::host_frame(sk, entry, delegated, skb, &bh),
            None => HostFrame::Pass(skb),
        }
    }

    pub(crate) fn resynchronise(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) -> bool {
        let bh = BhGuard::new();
        let entry = entry_of::<N>(conn);
        entry.is_some_and(|entry| legacy::resynchronise(sk, entry, &bh))
    }

    pub(crate) fn wants_buffer(&self, conn: ConnRef<'_>, want: u32, rule: Rule) -> bool {
        let Some(entry) = entry_of::<N>(conn) else {
            return false;
        };
        let seen = entry.counters.peek();
        rule.pays(want, seen.rx_bytes, seen.rx_frames)
    }

    pub(crate) fn post_buffer(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        buffer: &Pinned,
    ) -> bool {
        let entry = entry_of::<N>(conn);
        entry.is_some_and(|entry| entry.buffer.put(sk, buffer))
    }

    pub(crate) fn take_buffer(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        if let Some(entry) = entry_of::<N>(conn) {
            buffer::take_back(sk, entry);
        }
    }

    pub(crate) fn flush(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        let bh = BhGuard::new();
        if let Some(entry) = entry_of::<N>(conn) {
            deferred::flush(sk, entry, &bh);
        }
    }

    pub(crate) fn reader_comes(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        if let Some(entry) = entry_of::<N>(conn) {
            entry.deferred.with_mut(sk, Deferred::reader_comes);
        }
    }

    pub(crate) fn request_expired(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        now_ms: u64,
    ) -> Option<u64> {
        let bh = BhGuard::new();
        deferred::expired(sk, entry_of::<N>(conn)?, now_ms, &bh)
    }

    pub(crate) fn released(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        let delegated = || host::of(sk, &guard).is_some_and(|conn| conn.delegated(sk));
        match entry_of::<N>(conn) {
            Some(entry) if entry.kick.take() && delegated() => tx::resume(sk, entry, &bh),
            _ => {}
        }
    }

    pub(crate) fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff) {
        rx::backlog::<N>(sk, skb);
    }

    pub(crate) fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>)) {
        let table = &self.table();
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
}

/// Makes a [`Nic`] a target of the framework.
///
/// An `impl<N: Nic> OffloadTarget for N` would say it in one line. But whatever the methods
/// of a generic implementation reach, the compiler takes for reachable from other crates:
/// no function of the data path would still be inlined for having one caller.
macro_rules! offload_target {
    ($nic:ty) => {
        $crate::dct::command::offload_target!($nic:
            fn connections() -> u32;
            fn query(tree: &mut OffloadTree<'_, '_>);
            fn counters(hwid: Hwid) -> Counters;
            fn update(tree: &mut OffloadTree<'_, '_>);
            fn invalidate(tree: &mut OffloadTree<'_, '_>);
            fn terminate(tree: &mut OffloadTree<'_, '_>);
            fn abandon(hwid: Hwid);
            fn tether(hwid: Hwid, bh: &Bh) -> Option<Tether>;
            fn send(sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh);
            fn host_frame(
                sk: LockedSock<'_>,
                conn: ConnRef<'_>,
                delegated: bool,
                skb: SkBuff,
            ) -> HostFrame;
            fn resynchronise(sk: LockedSock<'_>, conn: ConnRef<'_>) -> bool;
            fn backlog(sk: LockedSock<'_>, skb: SkBuff);
            fn wants_buffer(conn: ConnRef<'_>, want: u32, rule: Rule) -> bool;
            fn post_buffer(sk: LockedSock<'_>, conn: ConnRef<'_>, buffer: &Pinned) -> bool;
            fn take_buffer(sk: LockedSock<'_>, conn: ConnRef<'_>);
            fn flush(sk: LockedSock<'_>, conn: ConnRef<'_>);
            fn reader_comes(sk: LockedSock<'_>, conn: ConnRef<'_>);
            fn request_expired(
                sk: LockedSock<'_>,
                conn: ConnRef<'_>,
                now_ms: u64,
            ) -> Option<u64>;
            fn released(sk: LockedSock<'_>, conn: ConnRef<'_>);
            fn for_each(f: &mut dyn FnMut(Hwid, ARef<Sock>));
        );
    };
    ($nic:ty: $(fn $method:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        const _: () = {
            use $crate::dct::command::arguments::*;

            impl OffloadTarget for $nic {
                fn device(&self) -> &Device {
                    self.engine().device()
                }

                fn initiate(&self, tree: &mut OffloadTree<'_, '_>) {
                    self.engine().initiate(self, tree);
                }

                $(
                    fn $method(&self, $($arg: $type),*) $(-> $result)? {
                        self.engine().$method($($arg),*)
                    }
                )*
            }
        };
    };
}
pub(crate) use offload_target;

/// What [`offload_target`] names.
pub(crate) mod arguments {
    pub(crate) use kernel::sync::aref::ARef;

    pub(crate) use crate::{
        dct::Nic,
        framework::{
            host::Device,
            target::{
                ConnRef,
                Counters,
                OffloadTarget,
                OffloadTree, //
            }, //
        },
        logic::{
            buffer::Rule,
            hwid::Hwid,
            transmit::Push, //
        },
        net::{
            context::Bh,
            proto::HostFrame,
            skb::SkBuff,
            sock::{
                LockedSock,
                Sock, //
            },
            table::Tether,
            user_buffer::Pinned, //
        }, //
    };
}
