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
    /// Whether the section keeps frames until its end. If not, a softirq receives them.
    keeps: Cell<bool>,
    /// The receiver of the kept frames, if there are any.
    receiver: Cell<Option<(NonNull<c_void>, ReceiveFn)>>,
    /// Never borrowed across a call into other code.
    frames: UnsafeCell<FrameList>,
    /// The socket whose lock the task of a [`Doorbell`] owns.
    owned: Cell<*const Sock>,
    /// When that task sent, see [`Bh::clock_ns`].
    clock: Cell<u64>,
    _not_send: NotThreadSafe,
}

/// The section does not keep the time.
const NO_CLOCK: u64 = 0;
/// It does, and nobody has asked for it yet.
const CLOCK_UNREAD: u64 = 1;

/// Receives frames at the end of a section.
///
/// # Safety
///
/// Called with the receiver that was named with them, see [`Bh::keep`].
pub(super) type ReceiveFn = unsafe fn(NonNull<c_void>, FrameList, &Bh);

impl Bh {
    const fn section() -> Self {
        Bh {
            keeps: Cell::new(false),
            receiver: Cell::new(None),
            frames: UnsafeCell::new(FrameList::new()),
            owned: Cell::new(core::ptr::null()),
            clock: Cell::new(NO_CLOCK),
            _not_send: NotThreadSafe,
        }
    }

    /// Keeps `frames` for `to` until the end of this section, or gives them back if the
    /// section does not keep frames.
    ///
    /// # Safety
    ///
    /// `receive` may be called with `to` until the section ends.
    #[inline(always)]
    pub(super) unsafe fn keep(
        &self,
        to: NonNull<c_void>,
        receive: ReceiveFn,
        frames: FrameList,
    ) -> Result<(), FrameList> {
        if !self.keeps.get() {
            return Err(frames);
        }
        // SAFETY: nobody else has a reference, see the field.
        let kept = unsafe { &mut *self.frames.get() };
        match self.receiver.get() {
            None => {
                self.receiver.set(Some((to, receive)));
                *kept = frames;
            }
            Some((other, _)) if other == to => kept.append(frames),
            Some(_) => return Err(frames),
        }
        Ok(())
    }

    /// Takes the kept frames, with their receiver.
    #[inline(always)]
    fn kept(&self) -> Option<(NonNull<c_void>, ReceiveFn, FrameList)> {
        let (to, receive) = self.receiver.take()?;
        // SAFETY: nobody else has a reference, see the field.
        let frames = core::mem::replace(unsafe { &mut *self.frames.get() }, FrameList::new());
        Some((to, receive, frames))
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
        guard.keeps.set(true);
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
        let mut left = ROUNDS;
        // The task is done: an answer need not wait until it releases the socket.
        self.guard.owned.set(self.lock.sock());
        while let Some((to, receive, frames)) = self.guard.kept() {
            left -= 1;
            self.guard.keeps.set(left != 0);
            // SAFETY: as `keep` was promised; the section has not ended yet.
            unsafe { receive(to, frames, &self.guard) };
            // Answers come later than what they answer.
            self.guard.clock.set(NO_CLOCK);
        }
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
