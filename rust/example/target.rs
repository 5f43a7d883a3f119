// SPDX-License-Identifier: GPL-2.0

//! What the framework asks of the device.

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
    entry::Entry,
    Port, //
};
use crate::{
    framework::{
        host::{
            self,
            Device, //
        },
        target::{
            ConnRef,
            Counters,
            Host,
            OffloadTarget,
            OffloadTree,
            Parts,
            Remains, //
        }, //
    },
    logic::{
        hwid::Hwid,
        reason::Refusal,
        transmit::Push,
        tree::{
            state::{
                Handle,
                Level,
                NeighbourCached,
                Object, //
            },
            BlockId,
            Status, //
        }, //
    },
    net::{
        context::{
            Bh,
            BhGuard, //
        },
        memcg::{
            self,
            Charge, //
        },
        proto::{
            self,
            HostFrame, //
        },
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock, //
        },
        table::ReadGuard, //
    }, //
};

/// An object below connections: a path or a neighbour.
#[pin_data]
pub(super) struct Lower {
    /// What it is, and whether anything may be sent there. The lock is a leaf.
    #[pin]
    state: SpinLock<(Object, bool)>,
    /// What it lies on.
    on: Option<Arc<Lower>>,
}

impl Lower {
    fn new(object: &Object, on: Option<Arc<Lower>>) -> Result<Arc<Self>> {
        let lower = pin_init!(Lower {
            state <- new_spinlock!((*object, true)),
            on,
        });
        Arc::pin_init(lower, memcg::atomic())
    }

    fn with<R>(&self, f: impl FnOnce(&mut (Object, bool)) -> R) -> R {
        let _bh = BhGuard::new();
        let mut state = self.state.lock();
        let result = f(&mut state);
        drop(state);
        result
    }

    /// The link address of this end, and what is known of the neighbour. `None`: nothing
    /// may be sent.
    pub(super) fn link(&self) -> Option<([u8; 6], NeighbourCached)> {
        match self.with(|(object, valid)| valid.then_some(*object))? {
            Object::Neighbour(n) => Some((n.constant.source, n.cached)),
            _ => self.on.as_ref()?.link(),
        }
    }
}

impl Port {
    /// Makes an object that the device does not have yet.
    fn make(&self, tree: &OffloadTree<'_, '_>, id: BlockId) -> Result<Hwid, Refusal> {
        let block = tree.get(id).ok_or(Refusal::NoMemory)?;
        let on = Self::below(tree, id).and_then(|on| self.lower.get(on.id));
        match (&block.object, &block.host) {
            // The device puts no tags into frames, and takes none out.
            (Object::Layer(_), _)
            | (
                _,
                Host::New(
                    _,
                    Parts::Neighbour {
                        layers: Some(_), ..
                    },
                ),
            ) => Err(Refusal::Vlan),
            (Object::Connection(c), Host::Connection(sk)) => {
                if c.data.cached.mss < 64 {
                    return Err(Refusal::SmallMss);
                }
                if self.connections.find(|e| e.tuple == c.tuple).is_some() {
                    return Err(Refusal::Duplicate);
                }
                let path = on.ok_or(Refusal::NoMemory)?;
                let _charge = Charge::to(sk);
                self.connections
                    .insert(|hwid| Entry::new(hwid, *sk, c, path))
            }
            (object, _) => self.lower.insert(|_| Lower::new(object, on)),
        }
    }

    /// The level below a block.
    fn below(tree: &OffloadTree<'_, '_>, id: BlockId) -> Option<Handle> {
        tree.get(tree.get(id)?.on()?)?.handle
    }

    /// Does `f` to every block, from the bottom up or from the leaves down, and says what
    /// became of it: `None` if there is no such object.
    fn each<'s, 'a>(
        tree: &mut OffloadTree<'s, 'a>,
        down: bool,
        f: impl Fn(&mut OffloadTree<'s, 'a>, BlockId, Handle) -> Option<Status>,
    ) {
        let mut at = if down {
            tree.first_down()
        } else {
            tree.first()
        };
        while let Some(id) = at {
            at = if down {
                tree.after_down(id)
            } else {
                tree.after(id)
            };
            let handle = tree.get(id).and_then(|block| block.handle);
            let status = handle.and_then(|handle| f(tree, id, handle));
            tree.ended(id, status.unwrap_or(Status::Stale));
        }
    }

    /// The entry of a connection.
    fn entry(&self, conn: ConnRef<'_>) -> Option<Arc<Entry>> {
        self.connections.get(conn.hwid())
    }
}

impl OffloadTarget for Port {
    fn device(&self) -> &Device {
        &self.device
    }

    fn connections(&self) -> u32 {
        self.connections.len()
    }

    fn initiate(&self, tree: &mut OffloadTree<'_, '_>) {
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
            match self.make(tree, id) {
                Ok(hwid) => tree.done(id, Some(Handle { level, id: hwid })),
                Err(reason) => tree.refuse(id, reason),
            }
        }
    }

    fn update(&self, tree: &mut OffloadTree<'_, '_>) {
        Self::each(tree, false, |tree, id, handle| {
            match &tree.get(id)?.object {
                // Only what others belong to from now on.
                Object::Named(_) => {}
                Object::Connection(c) => {
                    let path = Self::below(tree, id).and_then(|on| self.lower.get(on.id));
                    self.connections
                        .get(handle.id)?
                        .update(&c.data.cached, path);
                }
                object => self
                    .lower
                    .get(handle.id)?
                    .with(|state| *state = (*object, true)),
            }
            Some(Status::Done)
        });
    }

    fn query(&self, tree: &mut OffloadTree<'_, '_>) {
        Self::each(tree, false, |tree, id, handle| {
            let (object, valid) = match handle.level {
                Level::Connection => (self.connections.get(handle.id)?.show().0, true),
                _ => self.lower.get(handle.id)?.with(|state| *state),
            };
            tree.get_mut(id)?.object = object;
            Some(if valid { Status::Done } else { Status::Invalid })
        });
    }

    fn counters(&self, hwid: Hwid) -> Counters {
        let entry = self.connections.get(hwid);
        entry.map_or(Counters::default(), |entry| entry.show().1)
    }

    fn invalidate(&self, tree: &mut OffloadTree<'_, '_>) {
        Self::each(tree, false, |_, _, handle| {
            let lower = self.lower.get(handle.id);
            lower?.with(|(_, valid)| *valid = false);
            Some(Status::Done)
        });
    }

    fn terminate(&self, tree: &mut OffloadTree<'_, '_>) {
        Self::each(tree, true, |tree, id, handle| {
            if let Host::Connection(sk) = &tree.get(id)?.host {
                let entry = self.connections.remove(handle.id)?;
                let (unsent, undelivered) = entry.give_back(*sk);
                self.given_back[0].add(unsent.into());
                self.given_back[1].add(undelivered.into());
            } else {
                self.lower.remove(handle.id)?;
            }
            Some(Status::Done)
        });
    }

    fn abandon(&self, hwid: Hwid) -> Option<Arc<dyn Remains>> {
        let entry = self.connections.remove(hwid)?;
        entry.stop();
        Some(entry)
    }

    fn send(&self, sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh) {
        if let Some(entry) = self.entry(conn) {
            entry.serve(self, sk, push, bh);
        }
    }

    fn host_frame(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        delegated: bool,
        skb: SkBuff,
    ) -> HostFrame {
        match self.entry(conn).filter(|_| delegated) {
            Some(entry) => entry.host_frame(self, sk, skb),
            None => HostFrame::Pass(skb),
        }
    }

    fn resynchronise(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) -> bool {
        // It is either the device's or the host's.
        false
    }

    fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff) {
        let guard = ReadGuard::new();
        let conn = host::of(sk, &guard);
        match conn.and_then(|conn| self.connections.get(conn.hwid())) {
            Some(entry) => entry.backlog(self, sk, skb),
            None => proto::host_receive(sk, skb),
        }
    }

    fn released(&self, sk: LockedSock<'_>, conn: ConnRef<'_>) {
        if let Some(entry) = self.entry(conn).filter(|entry| entry.is_released()) {
            entry.serve(self, sk, Push::Pending, &BhGuard::new());
        }
    }

    fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>)) {
        self.connections
            .for_each(&mut |hwid, entry| f(hwid, entry.sk.clone()));
    }
}
