// SPDX-License-Identifier: GPL-2.0

//! Many connections given back at a time: whole trees, or what lies on a part of one
//! (claims E 10, 47).

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    connection::{
        self,
        NAMED, //
    },
    target::{
        places as places_for,
        Host,
        OffloadTarget, //
    }, //
};
use crate::{
    logic::{
        hwid::Hwid,
        reason::UploadReason,
        tree::{
            state::Handle,
            Tree, //
        }, //
    },
    net::{
        batch::Batch,
        sock::{
            Sock,
            UserLock, //
        },
        table::ReadGuard, //
    }, //
};

/// Connections that are terminated in one operation at most: bits of a word.
const CHUNK: usize = u64::BITS as usize;

type Named = (Hwid, ARef<Sock>);

/// Takes every connection of `target` back to the host stack. Process context,
/// may sleep; rtnl may be held. Connections offloaded meanwhile may remain
/// unless the device is closed.
pub(crate) fn upload_all(target: &dyn OffloadTarget, reason: UploadReason) {
    upload_those(target, reason, &mut |f| target.for_each(f));
}

/// What calls a function for connections, without any lock held.
pub(crate) type ForEach<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Hwid, ARef<Sock>));

/// Takes the connections of `target` back that `each` finds. As [`upload_all`].
pub(crate) fn upload_those(target: &dyn OffloadTarget, reason: UploadReason, each: ForEach<'_>) {
    let mut list: KVVec<Named> = KVVec::new();
    each(&mut |hwid, sk| {
        if list.reserve(1, GFP_KERNEL).is_err() {
            alone(hwid, &sk, reason);
            return;
        }
        let _ = list.push((hwid, sk), GFP_KERNEL);
        if list.len() == CHUNK {
            upload_some(target, reason, &list);
            list.clear();
        }
    });
    upload_some(target, reason, &list);
}

fn alone(hwid: Hwid, sk: &Sock, reason: UploadReason) {
    sk.with_lock(|sk| connection::upload_hwid(sk, hwid, reason));
}

/// Those whose locks are to be had in one operation, the others after that, each alone.
fn upload_some(target: &dyn OffloadTarget, reason: UploadReason, list: &[Named]) {
    // Without memory each is taken alone.
    let done = match list.len() > 1 {
        true => try_batch(target, reason, list).unwrap_or(0),
        false => 0,
    };
    for (index, (hwid, sk)) in list.iter().enumerate() {
        if done & 1 << index == 0 {
            alone(*hwid, sk, reason);
        }
    }
}

/// A bit for each that is done: uploaded, or not the connection any more.
fn try_batch(target: &dyn OffloadTarget, reason: UploadReason, list: &[Named]) -> Result<u64> {
    let batch = Batch::begin();
    let mut locks: KVVec<UserLock<'_>> = KVVec::with_capacity(list.len(), GFP_KERNEL)?;
    let mut places = places_for(list.len())?;
    let mut tree = Tree::new(&mut places);
    let mut done = 0;
    for (index, (hwid, sk)) in list.iter().enumerate() {
        let first = locks.first();
        if first.is_some_and(|first| !first.sock().same_class(sk)) {
            continue;
        }
        let Some(lock) = batch.try_own(sk) else {
            continue;
        };
        done |= 1 << index;
        if connection::begin_upload(*lock, *hwid) {
            let handle = Some(Handle::connection(*hwid));
            // There is room for all.
            let _ = tree.add(None, NAMED, handle, Host::Connection(*lock));
            let _ = locks.push(lock, GFP_KERNEL);
        }
    }
    target.terminate(&mut tree);
    for lock in &locks {
        let guard = ReadGuard::new();
        if let Some(conn) = connection::of(**lock, &guard) {
            connection::uploaded(**lock, conn, reason);
        }
    }
    Ok(done)
}
