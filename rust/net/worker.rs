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

use super::table::ReadGuard;
use crate::bindings;

/// What a [`Worker`] runs.
pub(crate) trait Job: Send + Sync + Sized + 'static {
    /// Process context, may sleep; never twice at once.
    fn run(worker: &Worker<Self>);
}

/// A work item that is cancelled, and waited for, when it is dropped.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Worker<J: Job> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    job: J,
}

// SAFETY: work items may be scheduled from any context and CPU.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: as above; `J` is `Sync`.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Worker<J> {
    pub(crate) fn new(job: impl PinInit<J>) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is pinned memory for a work item.
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
        // SAFETY: the work item is the first field of the worker, and the
        // worker lives until the item is cancelled.
        J::run(unsafe { &*work.cast::<Self>() });
    }

    /// Runs it in `delay_ms` milliseconds, whatever was asked for before. Any
    /// context.
    pub(crate) fn run_in(&self, delay_ms: u64) {
        let delay = u32::try_from(delay_ms).unwrap_or(u32::MAX);
        // SAFETY: initialised in `new()` and not yet dropped.
        unsafe { bindings::toe_schedule_work(self.work.get(), delay) }
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: initialised in `new()`; waits for a run under way.
        unsafe { bindings::toe_cancel_work(self.work.get()) }
    }
}

/// A static that holds a value while the module has it published.
pub(crate) struct Slot<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Slot<T> {
    pub(crate) const fn new() -> Self {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }

    /// Publishes `value` until the returned guard is dropped. `EBUSY` if there
    /// is one already.
    pub(crate) fn publish(&'static self, value: Pin<KBox<T>>) -> Result<Published<T>> {
        // SAFETY: the value is not moved until it is dropped in place.
        let raw = KBox::into_raw(unsafe { Pin::into_inner_unchecked(value) });
        match self
            .0
            .compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Ok(Published(self)),
            Err(_) => {
                // SAFETY: from `KBox::into_raw()` above.
                drop(unsafe { KBox::from_raw(raw) });
                Err(EBUSY)
            }
        }
    }

    /// Calls `f` with the value, if there is one, in an RCU read section.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _guard = ReadGuard::new();
        // SAFETY: the value is dropped a grace period after it left the slot.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }.map(f)
    }
}

/// See [`Slot::publish`].
pub(crate) struct Published<T: Send + Sync + 'static>(&'static Slot<T>);

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        let raw = self.0 .0.swap(ptr::null_mut(), Ordering::AcqRel);
        if !raw.is_null() {
            // SAFETY: process context; then nobody can hold the value any more.
            unsafe {
                bindings::synchronize_rcu();
                drop(KBox::from_raw(raw));
            }
        }
    }
}
