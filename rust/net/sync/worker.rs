// SPDX-License-Identifier: GPL-2.0

//! A function that runs later in process context, and the way for any context
//! to find it.

use core::{
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    prelude::*,
    types::Opaque, //
};

use super::rcu::ReadGuard;
use crate::bindings;

/// What a [`Worker`] runs.
pub(crate) trait Job: Send + Sync + Sized + 'static {
    /// Process context, may sleep; never twice at once.
    fn run(worker: &Worker<Self>);
}

/// A work item that is cancelled, and waited for, when it is dropped.
///
/// # Invariants
///
/// `work` is initialised, and its function is [`Self::run`]. It is the first member, and its
/// own first member is the `work_struct`, so that the address of both is that of the whole.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Worker<J: Job> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    job: J,
}

// SAFETY: a work item belongs to no thread, and `J` is `Send`.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: C guards the work item by its pending bit and its own locks: it may be scheduled
// from any context and CPU, several at a time. `J` is `Sync`.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Worker<J> {
    pub(crate) fn new(job: impl PinInit<J>) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: initialised, with this function.
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is memory for a work item, ours to initialise, and pinned
                // until the item is cancelled.
                unsafe { bindings::toe_init_work(slot, Some(Self::run)) }
            }),
            job <- job,
        })
    }

    pub(crate) fn job(&self) -> &J {
        &self.job
    }

    /// # Safety
    ///
    /// Called by the workqueue with the work item of a live worker.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: by the type invariant it is the first member of a `Worker<J>`, which waits
        // for this call before it goes, and which only shared references are made to.
        J::run(unsafe { &*work.cast::<Self>() });
    }

    /// Runs it in `delay_ms` milliseconds, whatever delay was asked for before. Any
    /// context.
    pub(crate) fn run_in(&self, delay_ms: u64) {
        let delay = u32::try_from(delay_ms).unwrap_or(u32::MAX);
        // SAFETY: initialised by the type invariant; nobody has begun to drop what `self`
        // borrows, so that the item is not scheduled behind its cancellation.
        unsafe { bindings::toe_schedule_work(self.work.get(), delay) }
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: initialised by the type invariant. The callee waits for a run under way,
        // which cannot have itself run again meanwhile; nobody else has a reference.
        // Process context: `Published` and the module's root drop workers there.
        unsafe { bindings::toe_cancel_work(self.work.get()) }
    }
}

/// A static that holds a value while the module has it published.
///
/// # Invariants
///
/// The pointer is null or from `KBox::into_raw()` of a pinned box, and belongs to the one
/// [`Published`] of this slot, which drops it a grace period after it has taken it out.
pub(crate) struct Slot<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Slot<T> {
    pub(crate) const fn new() -> Self {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }

    /// Publishes `value` until the returned guard is dropped. `EBUSY` if there
    /// is one already.
    pub(crate) fn publish(&'static self, value: Pin<KBox<T>>) -> Result<Published<T>> {
        // SAFETY: the value stays where it is until its box is dropped, here or by
        // `Published`, and nobody gets a mutable reference to it before.
        let raw = KBox::into_raw(unsafe { Pin::into_inner_unchecked(value) });
        match self
            .0
            .compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire)
        {
            // INVARIANT: the slot was empty, so that there was no `Published` of it.
            Ok(_) => Ok(Published(self)),
            Err(_) => {
                // SAFETY: from `KBox::into_raw()` above, and nobody has seen it.
                drop(unsafe { KBox::from_raw(raw) });
                Err(EBUSY)
            }
        }
    }

    /// Calls `f` with the value, if there is one, in an RCU read section.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _guard = ReadGuard::new();
        // SAFETY: null or a value that, by the type invariant, is dropped a grace period
        // after it left the slot: not before the section of `_guard` ends.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }.map(f)
    }
}

/// See [`Slot::publish`].
pub(crate) struct Published<T: Send + Sync + 'static>(&'static Slot<T>);

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        let raw = self.0 .0.swap(ptr::null_mut(), Ordering::AcqRel);
        if !raw.is_null() {
            // SAFETY: the module's root drops this in process context, where the callee may
            // sleep. By then nobody has the value, which is from `KBox::into_raw()`, by the
            // invariant of `Slot`, and was taken out once.
            unsafe {
                bindings::synchronize_rcu();
                drop(KBox::from_raw(raw));
            }
        }
    }
}
