// SPDX-License-Identifier: GPL-2.0

//! What is pushed to a target after the hand-over of a connection: its cached state, and
//! the path that it lies on. Everything here runs under the socket's lock.

use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;

use super::{
    connection::{
        self,
        Record, //
    },
    decision::tuple_of,
    intermediate::Layers,
    objects::PathKey,
    target::{
        Host,
        OffloadTarget, //
    }, //
};
use crate::{
    logic::{
        conn::{
            ConnCached,
            ConnData, //
        },
        reason::{
            Refusal,
            Update, //
        },
        tree::{
            state::{
                self,
                Handle,
                Object, //
            },
            Status,
            Tree, //
        }, //
    },
    net::{
        context::BhGuard,
        memcg::Charge,
        net_device::NetDevice,
        sock::LockedSock,
        sync::rcu::ReadGuard, //
    }, //
};

/// A connection of which only the cached state matters.
fn object(cached: ConnCached) -> Object {
    Object::Connection(state::Connection {
        data: ConnData {
            cached,
            ..ConnData::default()
        },
        ..state::Connection::default()
    })
}

/// Cached state as it is now. What the target said stays.
fn cached_now(sk: LockedSock<'_>, pushed: &ConnCached) -> ConnCached {
    ConnCached {
        max_payload: pushed.max_payload,
        ..sk.cached()
    }
}

/// The socket's options that a target has cached, and for which nobody calls us
/// (`SO_PRIORITY`, `SO_KEEPALIVE`), may have changed: they are pushed. Any context under
/// the socket lock.
#[inline]
pub(crate) fn sync_options(sk: LockedSock<'_>, conn: &Record) {
    if !conn
        .value()
        .cached
        .with(sk, |cached| sk.has_options(cached))
    {
        push(sk, conn);
    }
}

/// Pushes cached state of the connection that is not as it was pushed last to the target,
/// if there is a valid route, which is a part of that state. Any context under the socket
/// lock.
#[cold]
pub(crate) fn push(sk: LockedSock<'_>, conn: &Record) {
    if sk.route().is_none() {
        return;
    }
    let pushed = conn.value().cached.get(sk);
    let now = cached_now(sk, &pushed);
    let same = ConnCached {
        mss: now.mss,
        ..pushed
    };
    if now == same {
        return;
    }
    conn.value().cached.set(sk, now);
    if let Some(target) = conn.target() {
        let mut slot = [None];
        let mut tree = Tree::new(&mut slot);
        let handle = Some(Handle::connection(conn.hwid()));
        let _ = tree.add(None, object(now), handle, Host::Connection(sk));
        target.update(&mut tree);
        target.device().stats().updated(Update::Option);
    }
}

/// A target is about to send to a neighbour that it has to ask for first. `progress`:
/// something that was sent there arrived. `false`: the link address is not known, and
/// was asked for. Any context under the socket lock.
#[cold]
pub(crate) fn resolve_neighbour(sk: LockedSock<'_>, progress: bool) -> bool {
    let guard = ReadGuard::new();
    let target = connection::of(sk, &guard).and_then(|conn| Some((conn, conn.target()?)));
    target.is_some_and(|(conn, target)| {
        let objects = target.device().objects();
        let path = conn.path();
        path.is_some_and(|path| objects.resolve_neighbour(target, sk, path, progress))
    })
}

/// The route of the connection was looked up again, and leaves by the same device: what is
/// different is pushed to the target. Any context under the socket lock.
#[cold]
pub(super) fn rerouted(sk: LockedSock<'_>, path_dev: &NetDevice) -> Result<(), Refusal> {
    let guard = ReadGuard::new();
    let target = connection::of(sk, &guard).and_then(|conn| Some((conn, conn.target()?)));
    let (conn, target) = target.ok_or(Refusal::DeviceDown)?;
    let layers = Layers::find(path_dev, conn.dev().ok_or(Refusal::DeviceDown)?)?;
    let hop = sk.hop();
    let key = PathKey {
        dev: path_dev,
        layers: layers.as_ref(),
        hop: &hop,
        tuple: &tuple_of(sk, layers.as_deref()),
        known: target
            .device()
            .objects()
            .knows(&ReadGuard::new(), path_dev, &hop),
    };
    if key.known.is_none() {
        sk.neighbour(false).map_err(|_| Refusal::Neighbour)?;
    }
    let bh = BhGuard::new();
    let mut objects = target.device().objects().lock_within(&bh);
    let old = conn.path().ok_or(Refusal::DeviceDown)?;
    let moved = objects.with_spare(|objects, slots| {
        let mut tree = Tree::new(slots);
        let moved = objects
            .add_path(target, &mut tree, &key, &sk)
            .and_then(|on| {
                let new = on.path;
                if new != old {
                    let _charge = Charge::to(&sk);
                    target.initiate(&mut tree, &bh);
                    objects.made(&tree);
                    objects.depend(new);
                }
                let path = objects.path(new).ok_or(Refusal::NoMemory);
                let moved = path.and_then(|path| move_to(sk, conn, target, path));
                if moved.is_ok() {
                    conn.value().path.store(new.raw(), Relaxed);
                }
                if new != old {
                    objects.release(target, if moved.is_ok() { old } else { new });
                }
                moved
            });
        objects.sweep(target, &tree);
        moved
    });
    drop(objects);
    drop(bh);
    target.device().stats().updated(Update::Route);
    moved.unwrap_or(Err(Refusal::NoMemory))
}

/// Moves the connection to a path that the target has, and pushes what else is different
/// there.
#[inline(never)]
fn move_to(
    sk: LockedSock<'_>,
    conn: &Record,
    target: &dyn OffloadTarget,
    path: Handle,
) -> Result<(), Refusal> {
    let cached = cached_now(sk, &conn.value().cached.get(sk));
    let mut slots: [_; 2] = core::array::from_fn(|_| None);
    let mut tree = Tree::new(&mut slots);
    let on = tree.name(None, path, Host::Handle).ok();
    let handle = Some(Handle::connection(conn.hwid()));
    let block = tree
        .add(on, object(cached), handle, Host::Connection(sk))
        .map_err(|_| Refusal::NoMemory)?;
    target.update(&mut tree);
    match tree.get(block).map(|block| block.status()) {
        Some(Status::Done) => {
            conn.value().cached.set(sk, cached);
            Ok(())
        }
        _ => Err(Refusal::NoMemory),
    }
}
