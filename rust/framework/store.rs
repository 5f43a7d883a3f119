// SPDX-License-Identifier: GPL-2.0

//! What a target has that keeps connections, and the objects below them, in the host's
//! memory: tables, and the operations on them that do not depend on what a connection's entry
//! is.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    device::Device,
    lower::{
        Objects,
        PathObject, //
    },
    target::{
        Counters,
        OffloadTree, //
    }, //
};
use crate::{
    logic::{
        conn::ConnCached,
        hwid::Hwid,
        resources::{
            Resources,
            MIN_MSS, //
        },
        tree::state::Connection,
        vlan::MAX_TAGS, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        sock::{
            LockedSock,
            Sock, //
        },
        sync::rcu::ReadGuard,
        table::{
            Node,
            Table,
            Tether, //
        }, //
    }, //
};

/// A connection in a [`Store`].
pub(crate) trait Stored: Node + 'static {
    /// Its socket.
    fn sock(&self) -> &ARef<Sock>;

    /// Its state, and what was done for it, for display: may be torn. Any context.
    fn show(&self) -> (Connection, Counters);

    /// It has another cached state, and belongs to `path` from now on, if one is given.
    /// Under the socket lock.
    fn update(&self, sk: LockedSock<'_>, cached: &ConnCached, path: Option<Arc<PathObject>>);

    /// It is about to be taken out: the socket gets what it does not have. Under the socket
    /// lock.
    fn give_back(&self, sk: LockedSock<'_>) -> GivenBack;

    /// It is about to be taken out while a task may own the socket. No lock held but the
    /// socket's spin lock.
    fn abandon(&self) {}
}

/// What the socket did not have of a connection that is given back.
#[derive(Clone, Copy, Default)]
pub(crate) struct GivenBack {
    /// Bytes that were taken from its send queue and not sent.
    pub(crate) unsent: u32,
    /// Segments that were received and not in its receive queue.
    pub(crate) undelivered: u32,
}

impl GivenBack {
    #[cfg_attr(not(toe_example), expect(dead_code, reason = "the example's"))]
    pub(crate) fn new(unsent: u32, undelivered: u32) -> Self {
        GivenBack {
            unsent,
            undelivered,
        }
    }
}

/// See the module's documentation.
#[pin_data]
pub(crate) struct Store<T: Stored> {
    /// What the framework keeps for the device.
    #[pin]
    pub(crate) device: Device,
    /// What the connections lie on.
    #[pin]
    pub(crate) objects: Objects,
    #[pin]
    pub(crate) table: Table<T>,
}

impl<T: Stored> Store<T> {
    /// For a device about to be registered, with room for `capacity` connections, which may
    /// become `most`. Process context, rtnl held.
    pub(crate) fn new(capacity: u32, most: u32) -> impl PinInit<Self, Error> {
        try_pin_init!(Store {
            device <- Device::new(),
            objects <- Objects::new(),
            table <- Table::new(capacity, most),
        }? Error)
    }

    /// What it has room for. What the target cannot do is the target's to say.
    pub(crate) fn resources(&self) -> Resources {
        let (paths, neighbours, layers) = self.objects.room();
        Resources {
            connections: self.table.room(),
            paths,
            neighbours,
            layers,
            tags: MAX_TAGS as u8,
            v4: true,
            v6: true,
            user_buffers: true,
            min_mss: MIN_MSS,
            max_payload: u32::MAX,
        }
    }

    pub(crate) fn update(&self, tree: &mut OffloadTree<'_, '_>) {
        self.objects.update(tree, |sk, hwid, cached, path| {
            let guard = ReadGuard::new();
            self.table.get(&guard, hwid)?.update(sk, cached, path);
            Some(())
        });
    }

    pub(crate) fn query(&self, tree: &mut OffloadTree<'_, '_>) {
        self.objects.query(tree, |hwid| {
            let guard = ReadGuard::new();
            Some(self.table.get(&guard, hwid)?.show().0)
        });
    }

    pub(crate) fn counters(&self, hwid: Hwid) -> Counters {
        let guard = ReadGuard::new();
        let entry = self.table.get(&guard, hwid);
        entry.map_or_else(Counters::default, |entry| entry.show().1)
    }

    pub(crate) fn terminate(&self, tree: &mut OffloadTree<'_, '_>) {
        // One section for all.
        let bh = BhGuard::new();
        let guard = ReadGuard::within(&bh);
        self.objects.terminate(tree, |sk, hwid| {
            if let Some(entry) = self.table.get(&guard, hwid) {
                self.device.stats().given_back(entry.give_back(sk));
            }
            self.table.remove_within(hwid, &bh)
        });
    }

    pub(crate) fn abandon(&self, hwid: Hwid) {
        let guard = ReadGuard::new();
        if let Some(entry) = self.table.get(&guard, hwid) {
            entry.abandon();
        }
        self.table.remove(hwid);
    }

    pub(crate) fn tether(&self, hwid: Hwid, bh: &Bh) -> Option<Tether> {
        let guard = ReadGuard::within(bh);
        self.table.get(&guard, hwid).and_then(Tether::new)
    }

    pub(crate) fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>)) {
        for index in 0..self.table.slots() {
            let guard = ReadGuard::new();
            let entry = self.table.at(&guard, index);
            let found = entry.map(|entry| (entry.links().id(), entry.sock().clone()));
            drop(guard);
            if let Some((hwid, sk)) = found {
                f(hwid, sk);
            }
        }
    }
}

/// The methods of an [`OffloadTarget`](super::target::OffloadTarget) that are those of its
/// [`Store`].
macro_rules! stored {
    ($self:ident => $store:expr) => {
        fn device(&$self) -> &$crate::framework::host::Device {
            &$store.device
        }

        fn connections(&$self) -> u32 {
            $store.table.len()
        }

        fn update(&$self, tree: &mut $crate::framework::target::OffloadTree<'_, '_>) {
            $store.update(tree);
        }

        fn query(&$self, tree: &mut $crate::framework::target::OffloadTree<'_, '_>) {
            $store.query(tree);
        }

        fn counters(
            &$self,
            hwid: $crate::logic::hwid::Hwid,
        ) -> $crate::framework::target::Counters {
            $store.counters(hwid)
        }

        fn invalidate(&$self, tree: &mut $crate::framework::target::OffloadTree<'_, '_>) {
            $store.objects.invalidate(tree);
        }

        fn terminate(&$self, tree: &mut $crate::framework::target::OffloadTree<'_, '_>) {
            $store.terminate(tree);
        }

        fn abandon(&$self, hwid: $crate::logic::hwid::Hwid) {
            $store.abandon(hwid);
        }

        fn tether(
            &$self,
            hwid: $crate::logic::hwid::Hwid,
            bh: &$crate::net::context::Bh,
        ) -> Option<$crate::net::table::Tether> {
            $store.tether(hwid, bh)
        }

        fn for_each(
            &$self,
            f: &mut dyn FnMut(
                $crate::logic::hwid::Hwid,
                ::kernel::sync::aref::ARef<$crate::net::sock::Sock>,
            ),
        ) {
            $store.for_each(f);
        }
    };
}
pub(crate) use stored;
