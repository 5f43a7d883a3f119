// SPDX-License-Identifier: GPL-2.0

//! The way back to the host stack: of one connection, of many at a time, and of those whose
//! sockets a task owns.
//!
//! Who takes connections of other tasks back never waits for the owner of a socket, which
//! may sleep in memory that a user serves: the owner gives the connection back when it
//! releases the socket ([`release_cb`]). If its device leaves, what the connection has of
//! the device goes at once ([`Owned::let_go`]).
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    pr_warn_once,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    candidates,
    connection::{
        self,
        Delegated,
        Record, //
    },
    deferred,
    device::Device,
    filter_scan,
    hooks::SocketHooks,
    release_cb,
    target::{
        block_slots,
        Host,
        OffloadTarget, //
    },
    trigger::Trigger, //
};
use crate::{
    logic::{
        hwid::Hwid,
        policy::may_return,
        reason::{
            Failover,
            UploadReason, //
        },
        state::ModeEvent,
        tree::{
            state::Handle,
            Status,
            Tree, //
        }, //
    },
    net::{
        batch::{
            Batch,
            OwnedLocks, //
        },
        context::{
            Bh,
            BhGuard, //
        },
        proto,
        record::{
            self,
            Departed, //
        },
        sock::{
            BhLock,
            LockedSock,
            Sock, //
        },
        sync::rcu::ReadGuard,
        time,
        trace, //
    }, //
};

// --- one connection

/// Takes the connection of `sk` back to the host stack, which goes on with it
/// when this returns; nothing happens if it is not offloaded. Any context under
/// the socket lock.
pub(crate) fn upload(sk: LockedSock<'_>, reason: UploadReason) {
    let guard = ReadGuard::new();
    let Some(conn) = connection::of(sk, &guard) else {
        return;
    };
    if conn.value().step(sk, ModeEvent::Upload).is_err() {
        return;
    }
    sk.sock().tracked_again();
    if let Some(target) = conn.target() {
        let mut slot = [None];
        target.terminate(&mut connection::connection_tree(&mut slot, sk, conn.hwid()));
    }
    uploaded(sk, conn, reason, &mut Departed::new());
}

/// The first half of an upload, for several at a time: `true` if `sk` is the connection
/// that `target` knows as `hwid`, which is to be terminated now, and then [`uploaded`]. Under
/// the socket lock, nothing of the host stack below us.
pub(super) fn begin(sk: LockedSock<'_>, target: &dyn OffloadTarget, hwid: Hwid) -> bool {
    let guard = ReadGuard::new();
    if connection::of(sk, &guard).is_none_or(|conn| !conn.is_at(target, hwid)) {
        return false;
    }
    deferred::flush(sk);
    let conn = connection::of(sk, &guard).filter(|conn| conn.is_at(target, hwid));
    let begun = conn.is_some_and(|conn| conn.value().step(sk, ModeEvent::Upload).is_ok());
    if begun {
        sk.sock().tracked_again();
    }
    begun
}

/// The target has terminated the connection: the host stack goes on when this returns.
/// Any context under the socket lock.
fn uploaded(
    sk: LockedSock<'_>,
    conn: &Record,
    reason: UploadReason,
    gone: &mut Departed<Delegated>,
) {
    if let Some(target) = conn.target() {
        count(conn.hwid(), target, reason);
        if reason == UploadReason::Failover {
            target.device().stats().failed_over(Failover::Host);
        }
    }
    if let Some((device, trigger)) = released(sk, conn, reason, gone) {
        candidates::revisit(device, sk.sock(), trigger);
    }
}

/// The same, without counting it. Who may offload it again, and when, if it may return.
pub(super) fn released<'c>(
    sk: LockedSock<'_>,
    conn: &'c Record,
    reason: UploadReason,
    gone: &mut Departed<Delegated>,
) -> Option<(&'c Device, Trigger)> {
    let mut again = None;
    let bh = BhGuard::new();
    if let Some((target, dev)) = conn.target().zip(conn.dev()) {
        forget_path(conn, target, &bh);
        if target.connections() == 0 {
            // Without memory nothing is swept before the next connection.
            let _ = filter_scan::add(dev, target);
        }
        let mut trigger = conn.trigger();
        if may_return(reason, trigger.explicit) {
            trigger.retry = false;
            let now = time::now_ms();
            match reason {
                UploadReason::Contended => trigger.backoff.contended(now),
                // It is not the connection's doing; what one member does not take, another may.
                UploadReason::Failover => trigger.bonded = true,
                _ => trigger.backoff.uploaded(now, &conn.limits(target)),
            }
            again = Some((target.device(), trigger));
        }
    }
    let _ = conn.value().step(sk, ModeEvent::Uploaded);
    proto::remove::<SocketHooks, _>(sk, conn, gone, &bh);
    drop(bh);
    sk.resume_host(false);
    again
}

fn forget_path(conn: &Record, target: &dyn OffloadTarget, bh: &Bh) {
    let mut objects = target.device().objects().lock_within(bh);
    if let Some(path) = conn.take_path() {
        objects.release(target, path);
    }
}

/// Counts and traces an upload. Any context.
pub(super) fn count(hwid: Hwid, target: &dyn OffloadTarget, reason: UploadReason) {
    target.device().stats().uploaded(reason);
    trace::upload(hwid, reason.name());
}

/// [`upload`], if `sk` is still the connection that `hwid` names. Under the socket lock,
/// nothing of the host stack below us.
pub(super) fn upload_hwid(sk: LockedSock<'_>, hwid: Hwid, reason: UploadReason) {
    let guard = ReadGuard::new();
    if connection::of(sk, &guard).is_some_and(|c| c.hwid() == hwid) {
        deferred::flush(sk);
        upload(sk, reason);
    }
}

/// Returns whether the target has the connection at this moment.
fn has(sk: LockedSock<'_>, target: &dyn OffloadTarget, hwid: Hwid) -> bool {
    let mut slot = [None];
    let mut tree = connection::connection_tree(&mut slot, sk, hwid);
    target.query(&mut tree);
    let status = tree.first().and_then(|id| Some(tree.get(id)?.status()));
    status == Some(Status::Done)
}

/// The target has an entry for `sk` that the socket does not know of: whatever became of
/// its pointer, the record is in the list. Under the socket lock.
#[cold]
fn upload_lost(sk: LockedSock<'_>, target: &dyn OffloadTarget, hwid: Hwid, reason: UploadReason) {
    let guard = ReadGuard::new();
    let lost = |conn: &Record, of: &Sock| core::ptr::eq(of, sk.sock()) && conn.hwid() == hwid;
    record::search::<Delegated, _>(&guard, lost, |conn| {
        sk.sock().tracked_again();
        pr_warn_once!("a socket has lost its connection: who has overwritten icsk_ulp_data?\n");
        let mut slot = [None];
        target.terminate(&mut connection::connection_tree(&mut slot, sk, hwid));
        let bh = BhGuard::new();
        forget_path(conn, target, &bh);
        count(conn.hwid(), target, reason);
        proto::remove::<SocketHooks, _>(sk, conn, &mut Departed::new(), &bh);
        drop(bh);
        sk.resume_host(false);
        // Somebody who saved our methods may put them back: from here on each release
        // checks.
        release_cb::look_always();
    });
}

// --- a connection whose socket a task owns

/// Asks the owner of a socket to give its connection back. The spin lock is held, so that
/// the socket is not released meanwhile.
struct Owned<'a, 'l>(&'a BhLock<'l>);

impl Owned<'_, '_> {
    /// If it is the connection that `target` knows as `hwid`. One that is being handed over has
    /// no record yet: the end of the hand-over looks whether the device leaves.
    fn ask(&self, target: &dyn OffloadTarget, hwid: Hwid, why: Why) {
        let guard = ReadGuard::new();
        let conn = connection::of_now(self.0.sock(), &guard);
        let Some(conn) = conn.filter(|conn| conn.is_at(target, hwid)) else {
            return;
        };
        conn.at_release().ask(why.reason);
        if why.leaves {
            self.0.sock().tracked_again();
            Self::let_go(conn, target, hwid, why.reason);
        }
    }

    /// Drops all references of the connection to the device. Frames that the target has and did
    /// not process are lost, and sent again.
    fn let_go(conn: &Record, target: &dyn OffloadTarget, hwid: Hwid, reason: UploadReason) {
        target.abandon(hwid);
        forget_path(conn, target, &BhGuard::new());
        count(conn.hwid(), target, reason);
        record::detach(conn);
    }
}

/// [`upload`], though a task owns the socket, which `lock` proves to be locked against
/// others: that task does it when it lets the socket go. Nothing happens if it is not
/// the connection that `hwid` names.
pub(crate) fn ask_owner(lock: &BhLock<'_>, hwid: Hwid, reason: UploadReason) {
    let guard = ReadGuard::new();
    let conn = connection::of_now(lock.sock(), &guard);
    if let Some(conn) = conn.filter(|conn| conn.hwid() == hwid) {
        conn.at_release().ask(reason);
    }
}

/// After this is dropped no socket has our methods: sockets that are still owned lose
/// them. By then all devices are gone.
pub(crate) struct Recall;

impl Drop for Recall {
    fn drop(&mut self) {
        while let Some(sk) = record::any_socket::<Delegated>() {
            let of_it = |_: &Record, of: &Sock| core::ptr::eq(of, &*sk);
            sk.with_lock(
                |sk| {
                    upload(sk, UploadReason::DeviceGone);
                    let guard = ReadGuard::new();
                    record::search::<Delegated, _>(&guard, of_it, |conn| {
                        let gone = &mut Departed::new();
                        proto::remove::<SocketHooks, _>(sk, conn, gone, &BhGuard::new());
                    });
                },
                |lock| {
                    let guard = ReadGuard::new();
                    record::search::<Delegated, _>(&guard, of_it, |conn| {
                        proto::remove_under_owner::<SocketHooks, _>(lock, conn);
                    });
                },
            );
        }
    }
}

// --- many

/// Connections that are terminated in one operation at most: bits of a word.
const CHUNK: usize = u64::BITS as usize;

type Listed = (Hwid, ARef<Sock>);

/// Why connections are taken back, and whether a device leaves, so that nothing may keep
/// it.
#[derive(Clone, Copy)]
struct Why {
    reason: UploadReason,
    leaves: bool,
}

/// Takes every connection of `target` back to the host stack. Process context,
/// does not wait; rtnl may be held. Connections offloaded meanwhile may remain
/// unless the device is closed, and those whose sockets are owned until their owners let
/// them go; but if the device `leaves`, nothing keeps it when this returns. `false`: some
/// of the latter.
pub(crate) fn upload_all(target: &dyn OffloadTarget, reason: UploadReason, leaves: bool) -> bool {
    upload_those(target, reason, leaves, &mut |f| target.for_each(f))
}

/// [`upload_all`], for the administrator: an owner that releases its socket within a moment
/// has given the connection back when this returns. Process context; waits that long.
pub(crate) fn upload_all_soon(target: &dyn OffloadTarget, reason: UploadReason) {
    const ROUNDS: u32 = 50;

    let mut rounds = 0;
    let mut all = upload_all(target, reason, false);
    while !all && rounds < ROUNDS {
        time::sleep_ms(2);
        rounds += 1;
        all = true;
        target.for_each(&mut |_, sk| {
            let guard = ReadGuard::new();
            let conn = connection::of_now(&sk, &guard);
            all &= conn.is_none_or(|conn| !conn.at_release().has_upload());
        });
    }
}

/// What calls a function for connections, without any lock held.
pub(crate) type ForEach<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Hwid, ARef<Sock>));

/// Takes the connections of `target` back that `each` finds. As [`upload_all`].
pub(crate) fn upload_those(
    target: &dyn OffloadTarget,
    reason: UploadReason,
    leaves: bool,
    each: ForEach<'_>,
) -> bool {
    let why = Why { reason, leaves };
    let mut all = true;
    let mut list: KVVec<Listed> = KVVec::new();
    each(&mut |hwid, sk| {
        if list.reserve(1, GFP_KERNEL).is_err() {
            all &= upload_one(target, hwid, &sk, why);
            return;
        }
        let _ = list.push((hwid, sk), GFP_KERNEL);
        if list.len() == CHUNK {
            all &= upload_some(target, why, &list);
            list.clear();
        }
    });
    upload_some(target, why, &list) && all
}

/// `false`: the owner of its socket will do it.
fn upload_one(target: &dyn OffloadTarget, hwid: Hwid, sk: &Sock, why: Why) -> bool {
    sk.with_lock(
        |sk| {
            upload_hwid(sk, hwid, why.reason);
            if has(sk, target, hwid) {
                upload_lost(sk, target, hwid, why.reason);
            }
            true
        },
        |lock| {
            Owned(lock).ask(target, hwid, why);
            false
        },
    )
}

/// Takes those whose locks are free in one operation, and then each of the others by
/// itself. `false`: the owners of some will do it.
fn upload_some(target: &dyn OffloadTarget, why: Why, list: &[Listed]) -> bool {
    // Without memory each is taken by itself.
    let done = match list.len() > 1 {
        true => try_batch(target, why.reason, list).unwrap_or(0),
        false => 0,
    };
    let mut all = true;
    for (index, (hwid, sk)) in list.iter().enumerate() {
        if done & 1 << index == 0 {
            all &= upload_one(target, *hwid, sk, why);
        }
    }
    all
}

/// A bit for each that is uploaded.
fn try_batch(target: &dyn OffloadTarget, reason: UploadReason, list: &[Listed]) -> Result<u64> {
    let batch = Batch::begin();
    let mut locks = OwnedLocks::new(&batch, list.len())?;
    let mut slots = block_slots(list.len())?;
    let mut done = 0;
    for (index, (hwid, sk)) in list.iter().enumerate() {
        let lock = locks.try_own(sk);
        if let Some(lock) = lock.filter(|lock| begin(lock.locked(), target, *hwid)) {
            done |= 1 << index;
            locks.push(lock, *hwid);
        }
    }
    let mut tree = Tree::new(&mut slots);
    for (sk, hwid) in locks.iter() {
        let _ = tree.name(None, Handle::connection(*hwid), Host::Connection(sk));
    }
    target.terminate(&mut tree);
    target.device().stats().batch_back(locks.len());
    let mut gone = Departed::new();
    // No lock is released in it.
    let guard = ReadGuard::new();
    for (sk, _) in locks.iter() {
        if let Some(conn) = connection::of(sk, &guard) {
            uploaded(sk, conn, reason, &mut gone);
        }
    }
    Ok(done)
}
