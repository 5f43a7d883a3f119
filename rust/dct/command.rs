// SPDX-License-Identifier: GPL-2.0

//! Command unit: the host's access to the table. It is the emulated NIC's side of
//! `OffloadTarget`; none of it is on the data path.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicU16,
    AtomicU64,
    Ordering::Relaxed, //
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
    rx,
    short_cut,
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
            below,
            AwaitRead,
            AwaitRelease,
            GivenBack,
            PathObject,
            Pulled,
            Stored, //
        },
        target::{
            ConnRef,
            Counters,
            Host,
            OffloadTree, //
        }, //
    },
    logic::{
        buffer::Rule,
        conn::ConnCached,
        hwid::Hwid,
        legacy::Legacy,
        next_hop::NextHop,
        reason::Refusal,
        resources::MIN_MSS,
        transmit::Push,
        tree::{
            state::{
                self,
                Handle,
                Level,
                Object, //
            },
            Block, //
        },
        tuple::Family, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        devref::DriverRef,
        input::RawSockets,
        memcg::{
            self,
            Charge, //
        },
        proto::{
            HostFrame,
            Msg, //
        },
        skb::SkBuff,
        slab::SlabBox,
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        sync::{
            rcu::ReadGuard,
            sock_cell::SockCell, //
        },
        table::{
            Inserter,
            Links, //
        },
        user_buffer::{
            BufferSlot,
            Pinned, //
        },
        vlan::TagKey, //
    }, //
};

/// The entry of a connection that the framework calls us for.
#[inline(always)]
fn entry_of<N: Nic>(conn: ConnRef<'_>) -> Option<&Entry<N>> {
    let entry = conn.entry::<Entry<N>>();
    debug_assert!(entry.is_none_or(|entry| entry.hwid() == conn.hwid()));
    entry
}

/// What is done for one block of a tree.
impl<N: Nic> Engine<N> {
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
        if !nic.accepts() {
            return Err(Refusal::Target);
        }
        if c.data.cached.mss < MIN_MSS {
            return Err(Refusal::SmallMss);
        }
        let neighbour = &path.neighbour;
        let hash = c.tuple.hash(SEED);
        let nic = DriverRef::<N>::new(nic.dev()).ok_or(Refusal::DeviceDown)?;
        let device = nic.dev();
        let queues = device.real_num_tx_queues().max(1);
        let tx_queue = host_queue(*sk, device).unwrap_or((hash % queues) as u16);
        let changes = self.objects().changes();
        let _charge = Charge::to(sk);
        inserter
            .insert(
                hash,
                |e| e.tuple == c.tuple,
                |id| {
                    let (sock, audit) = (sk.sock(), Audit::new(*sk));
                    // In place, because it has hundreds of bytes.
                    SlabBox::init(
                        pin_init::init!(Entry {
                            links: Links::new(hash, id),
                            tuple: c.tuple,
                            mac: neighbour.source(),
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
                            template: SockCell::new(
                                sock,
                                neighbour.template_in_place(&c.tuple, &c.data)
                            ),
                            stamp: AtomicU64::new(next_stamp()),
                            known: AtomicU64::new(0),
                            other: AtomicU64::new(0),
                            awaits_read: AwaitRead::new(),
                            // The first frame looks: it may have changed since.
                            next_hop: SockCell::new(
                                sock,
                                NextHop::unknown(changes, c.data.snd_una)
                            ),
                            buffer: BufferSlot::new(sock),
                            deferred: SockCell::new(sock, None),
                            counters: SockCell::new(sock, Counters::default()),
                        }),
                        memcg::atomic(),
                    )
                },
            )
            .map_err(Refusal::from)
    }
}

/// What [`OffloadTarget`](crate::framework::target::OffloadTarget) asks for, whose methods
/// these are.
impl<N: Nic> Engine<N> {
    pub(crate) fn initiate(&self, nic: &N, tree: &mut OffloadTree<'_, '_>, bh: &Bh) {
        let guard = ReadGuard::within(bh);
        // Held over connections that follow each other; and the path that they lie on.
        let mut inserter = None;
        let mut path: Option<(Handle, &Arc<PathObject>)> = None;
        tree.each_new(|tree, id| {
            let block = tree.get(id).ok_or(Refusal::NoMemory)?;
            if block.object.level() != Level::Connection {
                // One leaf at a time.
                inserter = None;
                return self.objects().make(tree, id);
            }
            let on = below(tree, id);
            if path.map(|(handle, _)| handle) != on {
                path = on.and_then(|on| Some((on, self.objects().path_now(&guard, on)?)));
            }
            let inserter = inserter.get_or_insert_with(|| self.table().inserter_within(bh));
            let (_, path) = path.ok_or(Refusal::NoMemory)?;
            self.make_entry(nic, inserter, block, path)
        });
    }

    pub(crate) fn send(&self, sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh) {
        if let Some(entry) = entry_of::<N>(conn) {
            tx::run(sk, entry, push, bh);
        }
    }

    pub(crate) fn pass(
        &self,
        sk: &Sock,
        conn: ConnRef<'_>,
        msg: &mut Msg<'_>,
        lock: Option<&UserLock<'_>>,
        bh: &Bh,
    ) -> Option<usize> {
        match entry_of::<N>(conn) {
            Some(entry) => short_cut::pass(sk, entry, msg, lock, bh),
            None => Some(0),
        }
    }

    pub(crate) fn pass_queue(&self, lock: &UserLock<'_>, conn: ConnRef<'_>, bh: &Bh) -> bool {
        entry_of::<N>(conn).is_some_and(|entry| short_cut::flush(entry, lock, bh))
    }

    pub(crate) fn pull(&self, conn: ConnRef<'_>, bh: &Bh) -> Pulled {
        entry_of::<N>(conn).map_or(Pulled::None, |entry| short_cut::pull(entry, bh))
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
        if !self.abilities().user_buffers.load(Relaxed) {
            return false;
        }
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
            deferred::reader_comes(sk, entry);
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
        let Some(entry) = entry_of::<N>(conn).filter(|entry| entry.kick.take()) else {
            return;
        };
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        if host::of(sk, &guard).is_some_and(|conn| conn.delegated(sk)) {
            tx::resume(sk, entry, &bh);
        }
    }

    pub(crate) fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff) {
        rx::backlog::<N>(sk, skb);
    }
}

impl<N: Nic> Stored for Entry<N> {
    fn sock(&self) -> &ARef<Sock> {
        &self.sk
    }

    fn show(&self) -> (state::Connection, Counters) {
        let (tuple, data) = (self.tuple, self.data.peek());
        (state::Connection { tuple, data }, self.counters.peek())
    }

    fn update(&self, sk: LockedSock<'_>, cached: &ConnCached, path: Option<Arc<PathObject>>) {
        if let Some(path) = path {
            drop(self.path.replace(sk, path));
        }
        self.data.with_mut(sk, |data| data.cached = *cached);
        let (data, path) = (self.data.get(sk), self.path.with(sk, Arc::clone));
        let header = path.neighbour.template(&self.tuple, &data);
        self.change_template(sk, |t| {
            *t = header;
            true
        });
        // Only this one has to look.
        let changes = self.nic.engine().objects().changes();
        self.next_hop
            .set(sk, NextHop::unknown(changes, data.snd_una));
    }

    fn give_back(&self, sk: LockedSock<'_>) -> GivenBack {
        // The host goes on from what the entry says: the socket has all state, and all data
        // that was acknowledged.
        self.data.with_mut(sk, |data| self.audited(sk, data));
        buffer::take_back(sk, self);
        deferred::requeue_on_removal(sk, self);
        GivenBack::default()
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
            fn send(sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh);
            fn pass(
                sk: &Sock,
                conn: ConnRef<'_>,
                msg: &mut Msg<'_>,
                lock: Option<&UserLock<'_>>,
                bh: &Bh,
            ) -> Option<usize>;
            fn pass_queue(lock: &UserLock<'_>, conn: ConnRef<'_>, bh: &Bh) -> bool;
            fn pull(conn: ConnRef<'_>, bh: &Bh) -> Pulled;
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
        );
    };
    ($nic:ty: $(fn $method:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        const _: () = {
            use $crate::dct::command::arguments::*;

            impl OffloadTarget for $nic {
                $crate::framework::host::stored!(self => self.engine().store);

                fn resources(&self) -> Option<Resources> {
                    Nic::answers(self).then(|| self.engine().resources())
                }

                fn initiate(&self, tree: &mut OffloadTree<'_, '_>, bh: &Bh) {
                    self.engine().initiate(self, tree, bh);
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
    pub(crate) use crate::{
        dct::Nic,
        framework::{
            host::Pulled,
            target::{
                ConnRef,
                OffloadTarget,
                OffloadTree, //
            }, //
        },
        logic::{
            buffer::Rule,
            resources::Resources,
            transmit::Push, //
        },
        net::{
            context::Bh,
            proto::{
                HostFrame,
                Msg, //
            },
            skb::SkBuff,
            sock::{
                LockedSock,
                Sock,
                UserLock, //
            },
            user_buffer::Pinned, //
        }, //
    };
}
