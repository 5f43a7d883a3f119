// SPDX-License-Identifier: GPL-2.0

//! Several connections at a time: their locks, owned together, and how the connections
//! are found.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    prelude::*,
    sync::aref::ARef,
    types::NotThreadSafe, //
};

use super::{
    net_device::NetDevice,
    sock::{
        LockedSock,
        Sock,
        UserLock, //
    },
    sync::rcu::ReadGuard, //
};
use crate::bindings;

/// The right to own the locks of several sockets. One task at a time has it.
///
/// A task that owns a socket's lock by this does not wait for another one, so that the
/// locks need no order. They are released before this is dropped.
///
/// # Invariants
///
/// The mutex of `toe_batch_begin()` is this task's as long as a value exists.
pub(crate) struct Batch(NotThreadSafe);

impl Batch {
    /// Waits for another batch to end. Process context, no socket's lock held.
    pub(crate) fn begin() -> Self {
        // SAFETY: a static mutex, which the caller, in process context, may sleep for, and which
        // this value gives back.
        unsafe { bindings::toe_batch_begin() };
        // INVARIANT: just taken.
        Batch(NotThreadSafe)
    }

    /// The socket's lock, if it is free and the socket belongs to an application. Does not
    /// wait.
    fn try_own<'a>(&'a self, sk: &'a Sock) -> Option<UserLock<'a>> {
        // SAFETY: live by the invariant of `Sock`. The callee takes the spin lock for a moment; the
        // mutex, which is held by the type invariant, is what lockdep is told that nests it.
        if !unsafe { bindings::toe_sock_try_own(sk.as_ptr()) } {
            return None;
        }
        // SAFETY: the callee has made this task the owner, in the way of `lock_sock()`, and nobody
        // but the value made here gives that back.
        Some(unsafe { UserLock::assume(sk) })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: this task holds the mutex by the type invariant: the value is made by `begin()`
        // alone, stays with its task, and is dropped once.
        unsafe { bindings::toe_batch_end() };
    }
}

/// Locks that are owned at a time, each with what goes with its socket.
pub(crate) struct OwnedLocks<'b, T> {
    batch: &'b Batch,
    list: KVVec<(UserLock<'b>, T)>,
}

impl<'b, T> OwnedLocks<'b, T> {
    /// Room for `most` of them. Process context; may sleep.
    pub(crate) fn new(batch: &'b Batch, most: usize) -> Result<Self> {
        Ok(OwnedLocks {
            batch,
            list: KVVec::with_capacity(most, GFP_KERNEL)?,
        })
    }

    /// The socket's lock, if it is free, may be owned beside those that are, and the socket
    /// belongs to an application. Does not wait.
    pub(crate) fn try_own(&self, sk: &'b Sock) -> Option<UserLock<'b>> {
        let first = self.list.first().map(|(first, _)| first.sock());
        if first.is_some_and(|first| !first.same_class(sk)) {
            return None;
        }
        self.batch.try_own(sk)
    }

    /// Keeps a lock, with what goes with it; releases it if there is no room.
    pub(crate) fn push(&mut self, lock: UserLock<'b>, with: T) {
        let _ = self.list.push_within_capacity((lock, with));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// In the order in which they were kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LockedSock<'_>, &T)> + Clone {
        let list = self.list.iter();
        list.map(|(lock, with)| (lock.locked(), with))
    }

    /// The same, to change what goes with them.
    pub(crate) fn iter_mut(
        &mut self,
    ) -> impl Iterator<Item = (LockedSock<'_>, &mut T)> + use<'_, 'b, T> {
        let list = self.list.iter_mut();
        list.map(|(lock, with)| (lock.locked(), with))
    }
}

impl Sock {
    /// The device that its cached route leaves through, below all VLAN devices, at this
    /// moment. Any context; the lock need not be held.
    pub(crate) fn base_device<'g>(&self, _guard: &'g ReadGuard<'_>) -> Option<&'g NetDevice> {
        // SAFETY: live by the invariant of `Sock`. The callee follows the cached route and the
        // devices under it by RCU, in the section that the guard stands for; a device found so
        // is not freed before that ends, and the result does not outlive the guard.
        unsafe {
            let dev = bindings::toe_sk_base_dev(self.as_ptr());
            (!dev.is_null()).then(|| NetDevice::from_raw(dev))
        }
    }

    /// Returns whether the locks of both may be owned at a time: always, except with
    /// lockdep.
    fn same_class(&self, other: &Sock) -> bool {
        // SAFETY: both live by the invariant of `Sock`; the callee compares what is constant.
        unsafe { bindings::toe_sock_same_class(self.as_ptr(), other.as_ptr()) }
    }
}

/// Sockets that are looked up at a time.
const ROOM: usize = 64;

/// The connections of a device's namespace, whatever their route, in the order of the
/// hash table of established ones. One that is opened or closed meanwhile may be among
/// them or not. Process context.
pub(crate) struct Established<'a> {
    dev: &'a NetDevice,
    bucket: u32,
    found: [*mut bindings::sock; ROOM],
    left: usize,
}

impl<'a> Established<'a> {
    /// Of the namespace that `dev` is in.
    pub(crate) fn new(dev: &'a NetDevice) -> Self {
        Established {
            dev,
            bucket: 0,
            found: [ptr::null_mut(); ROOM],
            left: 0,
        }
    }
}

impl Iterator for Established<'_> {
    type Item = ARef<Sock>;

    fn next(&mut self) -> Option<ARef<Sock>> {
        while self.left == 0 {
            if self.bucket == u32::MAX {
                return None;
            }
            // SAFETY: live by the invariant of `NetDevice`, whose namespace the callee takes a
            // reference to if it is not going already; `found` has room for `ROOM` addresses.
            // Process context, as the callee may reschedule between buckets.
            let found = unsafe {
                bindings::toe_established(
                    self.dev.as_ptr(),
                    &mut self.bucket,
                    self.found.as_mut_ptr(),
                    ROOM as u32,
                )
            };
            self.left = found as usize;
        }
        self.left -= 1;
        let raw = NonNull::new(*self.found.get(self.left)?)?;
        // SAFETY: the callee has put full TCP sockets there, with a reference to each for us.
        // Each is taken out once, as `left` counts down, and its reference moves into the value.
        Some(unsafe { ARef::from_raw(raw.cast()) })
    }
}

impl Drop for Established<'_> {
    fn drop(&mut self) {
        while self.left != 0 {
            drop(self.next());
        }
    }
}
