// SPDX-License-Identifier: GPL-2.0

//! Evidence of what the current context holds: bottom halves off, rtnl held.
//!
//! A function that may only run in such a context takes a reference to one of
//! these types, and callbacks hand them to drivers.

use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    types::NotThreadSafe, //
};

use super::{
    skb::FrameList,
    sock::{
        LockedSock,
        Sock,
        UserLock, //
    }, //
};
use crate::bindings;

/// Evidence that bottom halves are disabled on this CPU.
///
/// Such a section is an RCU read section too, and nothing in it may sleep.
///
/// # Invariants
///
/// Bottom halves stay disabled as long as a value exists.
pub(crate) struct Bh {
    keeps: Cell<Keeps>,
    /// The receiver of the kept frames, if there are any.
    receiver: Cell<Option<Receiver>>,
    /// Never borrowed across a call into other code.
    frames: UnsafeCell<FrameList>,
    /// The socket whose lock the task of a [`Doorbell`] owns.
    owned: Cell<*const Sock>,
    /// When that task sent, see [`Bh::clock_ns`].
    clock: Cell<u64>,
    _not_send: NotThreadSafe,
}

/// Whether a section keeps frames until its end. If not, a softirq receives them.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    Nothing,
    /// What the owner of a socket sends. It owns the lock for longer than the section lasts,
    /// so that no other frame of the connection can be sent meanwhile.
    Own,
    /// What is sent in answer. The lock of the socket that sends it is free again before the
    /// section ends, and another CPU may send the next frame of the connection: they keep
    /// their order only if the receiver takes in no others until it has these.
    Answers,
}

/// Who receives the frames of a section.
#[derive(Clone, Copy)]
struct Receiver {
    to: NonNull<c_void>,
    receive: ReceiveFn,
    /// It takes in nothing else until then.
    claimed: bool,
}

/// The section does not keep the time.
const NO_CLOCK: u64 = 0;
/// It does, and nobody has asked for it yet.
const CLOCK_UNREAD: u64 = 1;

/// Receives frames at the end of a section.
///
/// # Safety
///
/// Called with the receiver that was named with them, see [`Bh::keep`], and whether that was
/// claimed for them.
pub(super) type ReceiveFn = unsafe fn(NonNull<c_void>, FrameList, bool, &Bh);

impl Bh {
    const fn section() -> Self {
        Bh {
            keeps: Cell::new(Keeps::Nothing),
            receiver: Cell::new(None),
            frames: UnsafeCell::new(FrameList::new()),
            owned: Cell::new(core::ptr::null()),
            clock: Cell::new(NO_CLOCK),
            _not_send: NotThreadSafe,
        }
    }

    /// Keeps `frames` for `to` until the end of this section, or gives them back if the
    /// section does not keep frames. `claim` has `to` take in no others until then, and returns
    /// whether it could; it is called where that is needed.
    ///
    /// # Safety
    ///
    /// `receive` may be called with `to` until the section ends.
    #[inline(always)]
    pub(super) unsafe fn keep(
        &self,
        to: NonNull<c_void>,
        receive: ReceiveFn,
        claim: impl FnOnce() -> bool,
        frames: FrameList,
    ) -> Result<(), FrameList> {
        let keeps = self.keeps.get();
        if keeps == Keeps::Nothing {
            return Err(frames);
        }
        match self.receiver.get() {
            None => {
                let claimed = keeps == Keeps::Answers;
                if claimed && !claim() {
                    return Err(frames);
                }
                self.receiver.set(Some(Receiver {
                    to,
                    receive,
                    claimed,
                }));
                // SAFETY: nobody else has a reference, see the field.
                unsafe { *self.frames.get() = frames };
            }
            Some(other) if other.to == to => {
                // SAFETY: as above.
                unsafe { &mut *self.frames.get() }.append(frames);
            }
            Some(_) => return Err(frames),
        }
        Ok(())
    }

    /// Takes the kept frames, with their receiver.
    #[inline(always)]
    fn kept(&self) -> Option<(Receiver, FrameList)> {
        let receiver = self.receiver.take()?;
        // SAFETY: nobody else has a reference, see the field.
        let frames = core::mem::replace(unsafe { &mut *self.frames.get() }, FrameList::new());
        Some((receiver, frames))
    }

    /// Has what is kept received, and what is sent in answer to it.
    #[inline(always)]
    fn hand_out(&self) {
        let mut left = ROUNDS;
        while let Some((receiver, frames)) = self.kept() {
            left -= 1;
            self.keeps.set(match left {
                0 => Keeps::Nothing,
                _ => Keeps::Answers,
            });
            let Receiver {
                to,
                receive,
                claimed,
            } = receiver;
            // SAFETY: as `keep` was promised; the section has not ended yet.
            unsafe { receive(to, frames, claimed, self) };
            // Answers come later than what they answer.
            self.clock.set(NO_CLOCK);
        }
    }

    /// The lock of `sk`, if this section is a [`Doorbell`] whose task owns the lock and has
    /// finished its own work under it.
    #[inline(always)]
    pub(super) fn owned(&self, sk: &Sock) -> Option<LockedSock<'_>> {
        if !core::ptr::eq(self.owned.get(), sk) {
            return None;
        }
        // SAFETY: written by `Doorbell::drop` only: the doorbell's borrow of the user's lock
        // lasts longer than this section, and so does the socket.
        Some(unsafe { LockedSock::assume(&*self.owned.get()) })
    }

    /// The time in ns (`tcp_clock_ns()`). What a doorbell sends arrives at the instant it
    /// was sent: the clock is read once for both.
    #[inline(always)]
    pub(super) fn clock_ns(&self) -> u64 {
        match self.clock.get() {
            kept if kept > CLOCK_UNREAD => kept,
            keeps => {
                // SAFETY: may be called in any context.
                let now = unsafe { bindings::toe_clock_ns() };
                if keeps == CLOCK_UNREAD {
                    self.clock.set(now);
                }
                now
            }
        }
    }

    /// Asserts that bottom halves are disabled.
    ///
    /// # Safety
    ///
    /// Bottom halves must be disabled for the whole life of the returned value.
    #[inline(always)]
    pub(in crate::net) unsafe fn assume() -> Self {
        // INVARIANT: what this function requires.
        Bh::section()
    }
}

/// Bottom halves are disabled until this is dropped; may be nested. It keeps nothing: what
/// runs in the section needs no [`Bh`].
pub(in crate::net) struct BhOff(NotThreadSafe);

impl BhOff {
    /// Any context but hard interrupts.
    #[inline(always)]
    pub(in crate::net) fn new() -> Self {
        // SAFETY: may be called in any context but hard interrupts, where no
        // Rust code of this module runs.
        unsafe { bindings::toe_local_bh_disable() };
        BhOff(NotThreadSafe)
    }
}

impl Drop for BhOff {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: balances the call in `new`, on the same CPU.
        unsafe { bindings::toe_local_bh_enable() };
    }
}

/// What keeps bottom halves disabled for `'a`.
pub(in crate::net) enum Section<'a> {
    /// It ends with this.
    Own(BhOff),
    /// It lasts for longer.
    Within(PhantomData<&'a Bh>),
}

impl Section<'static> {
    /// One that begins now.
    #[inline(always)]
    pub(in crate::net) fn begin() -> Self {
        Section::Own(BhOff::new())
    }
}

impl<'a> Section<'a> {
    /// The one that there is.
    #[inline(always)]
    pub(in crate::net) fn within(_bh: &'a Bh) -> Self {
        Section::Within(PhantomData)
    }
}

/// A section with bottom halves disabled; may be nested.
pub(crate) struct BhGuard {
    // Dropped first.
    _off: BhOff,
    section: Bh,
}

impl BhGuard {
    /// Disables bottom halves until the guard is dropped.
    #[inline]
    pub(crate) fn new() -> Self {
        BhGuard {
            _off: BhOff::new(),
            // INVARIANT: disabled since above, until `_off` is dropped with this.
            section: Bh::section(),
        }
    }
}

impl Deref for BhGuard {
    type Target = Bh;

    #[inline]
    fn deref(&self) -> &Bh {
        &self.section
    }
}

/// Times a [`Doorbell`] hands frames over, because what is received may be answered.
const ROUNDS: u32 = 4;

/// A section in which a task hands frames to a device. At its end the task also does the
/// receiver's part, unless that runs elsewhere: the softirq would be raised to run in the
/// same place a moment later.
///
/// For system calls only: the receiver's part takes stack.
pub(crate) struct Doorbell<'a> {
    guard: BhGuard,
    lock: &'a UserLock<'a>,
}

impl<'a> Doorbell<'a> {
    /// Rung by the owner of a socket.
    #[inline]
    pub(crate) fn new(lock: &'a UserLock<'a>) -> Self {
        let guard = BhGuard::new();
        guard.keeps.set(Keeps::Own);
        guard.clock.set(CLOCK_UNREAD);
        Doorbell { guard, lock }
    }
}

impl Deref for Doorbell<'_> {
    type Target = Bh;

    #[inline]
    fn deref(&self) -> &Bh {
        &self.guard
    }
}

impl Drop for Doorbell<'_> {
    #[inline]
    fn drop(&mut self) {
        // The task is done: an answer need not wait until it releases the socket.
        self.guard.owned.set(self.lock.sock());
        self.guard.hand_out();
    }
}

/// Evidence that this task holds the rtnl lock.
///
/// # Invariants
///
/// The lock stays held as long as a value exists.
pub(crate) struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Asserts that rtnl is held.
    ///
    /// # Safety
    ///
    /// This task must hold rtnl for the whole life of the returned value.
    #[inline(always)]
    pub(in crate::net) unsafe fn assume() -> Self {
        // INVARIANT: what this function requires.
        Rtnl(NotThreadSafe)
    }
}

/// Waits until every receive and transmit section that runs now has ended.
///
/// Takes evidence of a sleeping context, because it sleeps.
pub(crate) fn synchronize_net(_rtnl: &Rtnl) {
    // SAFETY: rtnl is a mutex, so whoever holds it may sleep.
    unsafe { bindings::toe_synchronize_net() };
}

#[cfg(toe_engine_tests)]
#[kernel::macros::kunit_tests(toe_context)]
mod tests {
    use super::*;

    /// A receiver that answers each delivery by two frames to `to`.
    struct Peer {
        to: Cell<*const Peer>,
        free: Cell<bool>,
        claims: Cell<u32>,
        claimed: Cell<u32>,
        received: Cell<u32>,
        refused: Cell<u32>,
    }

    impl Peer {
        fn new(free: bool) -> Self {
            Peer {
                to: Cell::new(core::ptr::null()),
                free: Cell::new(free),
                claims: Cell::new(0),
                claimed: Cell::new(0),
                received: Cell::new(0),
                refused: Cell::new(0),
            }
        }

        fn send(&self, bh: &Bh) {
            let claim = || {
                self.claims.set(self.claims.get() + 1);
                self.free.get()
            };
            // SAFETY: the tests' peers outlive the section.
            let kept =
                unsafe { bh.keep(NonNull::from(self).cast(), receive, claim, FrameList::new()) };
            if kept.is_err() {
                self.refused.set(self.refused.get() + 1);
            }
        }

        fn counts(&self) -> [u32; 4] {
            [&self.received, &self.claims, &self.claimed, &self.refused].map(Cell::get)
        }
    }

    /// # Safety
    ///
    /// `to` is a live [`Peer`].
    unsafe fn receive(to: NonNull<c_void>, _frames: FrameList, claimed: bool, bh: &Bh) {
        // SAFETY: as this function requires.
        let peer = unsafe { to.cast::<Peer>().as_ref() };
        peer.received.set(peer.received.get() + 1);
        peer.claimed.set(peer.claimed.get() + u32::from(claimed));
        // SAFETY: null, or a peer of the same test.
        if let Some(to) = unsafe { peer.to.get().as_ref() } {
            to.send(bh);
            to.send(bh);
        }
    }

    /// Frames of a socket that is not locked until the end of the section are kept only for a
    /// receiver that takes in no others meanwhile: on another CPU the next one may be on its way.
    #[test]
    fn answers_keep_their_order() {
        // Received, claims asked for, deliveries that were claimed, frames given back.
        for (free, here, there) in [
            (true, [2, 2, 2, 0], [2, 1, 1, 2]),
            (false, [0, 2, 0, 2], [1, 0, 0, 0]),
        ] {
            let (ours, peers) = (Peer::new(free), Peer::new(true));
            peers.to.set(&ours);
            ours.to.set(&peers);
            let guard = BhGuard::new();
            guard.keeps.set(Keeps::Own);
            peers.send(&guard);
            peers.send(&guard);
            guard.hand_out();
            drop(guard);
            assert_eq!(ours.counts(), here);
            assert_eq!(peers.counts(), there);
        }
    }

    /// A section that is no doorbell keeps nothing.
    #[test]
    fn others_keep_nothing() {
        let peer = Peer::new(true);
        let guard = BhGuard::new();
        peer.send(&guard);
        guard.hand_out();
        drop(guard);
        assert_eq!(peer.counts(), [0, 0, 0, 1]);
    }
}
