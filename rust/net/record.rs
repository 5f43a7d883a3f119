// SPDX-License-Identifier: GPL-2.0

//! What a socket points to while its connection is delegated (`icsk_ulp_data`), and the
//! list of all of them.
//!
//! The list finds a record whatever becomes of the socket's pointer. It is also the
//! order in which connections were handed over, for who looks at new ones only.

use core::{
    cell::UnsafeCell,
    mem::{
        offset_of,
        size_of,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    }, //
};

use kernel::{
    ffi::c_void,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

use super::{
    context::{
        Bh,
        BhGuard, //
    },
    memcg,
    sock::Sock,
    table::ReadGuard, //
};
use crate::bindings;

/// kTLS keeps its own record in the same place, and users of sockmap look at the private
/// contexts in it without having asked whose it is (`tls_sw_has_ctx_tx()`): ours has
/// none in either direction.
const DISGUISE: usize = 8;
const _: () = {
    let word = size_of::<*mut c_void>();
    assert!(offset_of!(bindings::tls_context, priv_ctx_tx) + word <= DISGUISE * 8);
    assert!(offset_of!(bindings::tls_context, priv_ctx_rx) + word <= DISGUISE * 8);
};

/// A place in the list. Touched with its lock held.
struct Links {
    next: *mut Links,
    prev: *mut Links,
    listed: bool,
}

/// What a record is made of.
pub(crate) trait Parts: 'static {
    /// Lives as long as the record.
    type Value: Send + Sync;
    /// Can be taken away before, by [`detach`].
    type Attached: Send + Sync;
}

/// A record; made by [`Record::new`], and given to a socket by
/// [`proto::install`](super::proto::install).
#[repr(C)]
pub(crate) struct Record<P: Parts> {
    disguise: [u64; DISGUISE],
    links: UnsafeCell<Links>,
    sk: *const Sock,
    rcu: Opaque<bindings::callback_head>,
    detach_rcu: Opaque<bindings::callback_head>,
    /// The socket's, and that of a detachment under way.
    refs: AtomicU32,
    detached: AtomicBool,
    value: P::Value,
    attached: UnsafeCell<ManuallyDrop<P::Attached>>,
}

// SAFETY: `links` are guarded by the list's lock, `attached` is written once, when no
// reader is left, and `sk` is followed with the list's lock held only.
unsafe impl<P: Parts> Sync for Record<P> {}
// SAFETY: as above.
unsafe impl<P: Parts> Send for Record<P> {}

impl<P: Parts> Record<P> {
    /// For the connection of `sk`. Any context. Inlined, so that it is made where it
    /// stays.
    #[inline(always)]
    pub(crate) fn new(sk: &Sock, value: P::Value, attached: P::Attached) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Record {
                disguise: [0; DISGUISE],
                links: UnsafeCell::new(Links {
                    next: ptr::null_mut(),
                    prev: ptr::null_mut(),
                    listed: false,
                }),
                sk,
                rcu: Opaque::zeroed(),
                detach_rcu: Opaque::zeroed(),
                refs: AtomicU32::new(1),
                detached: AtomicBool::new(false),
                value,
                attached: UnsafeCell::new(ManuallyDrop::new(attached)),
            },
            memcg::atomic(),
        )?)
    }

    /// What lives as long as the record.
    #[inline]
    pub(crate) fn value(&self) -> &P::Value {
        &self.value
    }

    /// `None` once it was taken away.
    #[inline]
    pub(crate) fn attached(&self) -> Option<&P::Attached> {
        if self.detached.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: it is dropped a grace period after `detached` was set, and whoever has
        // a reference to a record is in an RCU section that began before.
        Some(unsafe { &*self.attached.get() })
    }

    /// # Safety
    ///
    /// `ptr` is null or a record's that was given to a socket, and for all of `'a`
    /// either it is not removed or an RCU read section that began before is under way.
    pub(in crate::net) unsafe fn from_raw<'a>(ptr: *mut c_void) -> Option<&'a Self> {
        // SAFETY: the caller's promise.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    fn links(&self) -> *mut Links {
        self.links.get()
    }

    /// # Safety
    ///
    /// `links` are those of a live record of these parts.
    unsafe fn of<'a>(links: *mut Links) -> &'a Self {
        // SAFETY: the caller's promise: the field lies in a record.
        unsafe { &*links.byte_sub(offset_of!(Self, links)).cast::<Self>() }
    }

    /// Drops one of the references; with the last one goes the record.
    ///
    /// # Safety
    ///
    /// A grace period has passed since the record could be found by the way that the
    /// reference stands for.
    unsafe fn put(this: *mut Self) {
        // SAFETY: live, for there is a reference.
        if unsafe { (*this).refs.fetch_sub(1, Ordering::AcqRel) } != 1 {
            return;
        }
        // SAFETY: from `KBox::into_raw()`, and nobody's any more.
        drop(unsafe { KBox::from_raw(this) });
    }

    /// # Safety
    ///
    /// Called by RCU for a record given to [`unlist`].
    unsafe extern "C" fn free_now(head: *mut bindings::callback_head) {
        // SAFETY: the field lies in a record; nobody finds it by its socket any more.
        unsafe { Self::put(head.byte_sub(offset_of!(Self, rcu)).cast()) }
    }

    /// # Safety
    ///
    /// Called by RCU for a record that was [detached](detach).
    unsafe extern "C" fn detach_now(head: *mut bindings::callback_head) {
        // SAFETY: the field lies in a record that a reference keeps; `detached` was set
        // a grace period ago, so that nobody uses what is dropped.
        unsafe {
            let this: *mut Self = head.byte_sub(offset_of!(Self, detach_rcu)).cast();
            ManuallyDrop::drop(&mut *(*this).attached.get());
            Self::put(this);
        }
    }
}

/// Also of one that no socket ever got.
impl<P: Parts> Drop for Record<P> {
    fn drop(&mut self) {
        if !*self.detached.get_mut() {
            // SAFETY: dropped here only, or by `detach_now()` if `detached`.
            unsafe { ManuallyDrop::drop(self.attached.get_mut()) };
        }
    }
}

/// All records, in the order in which they were made.
///
/// # Invariants
///
/// Links of records that belong to a socket, of one type. `seen` is the last one that
/// [`new_ones`] has gone past, or null.
struct List {
    first: *mut Links,
    last: *mut Links,
    seen: *mut Links,
    /// The last one that [`next_ones`] has gone past, or null.
    round: *mut Links,
}

// SAFETY: what the pointers lead to is guarded by the lock that the list is in.
unsafe impl Send for List {}

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else is.
    unsafe(uninit) static LIST: SpinLock<List> = List {
        first: ptr::null_mut(),
        last: ptr::null_mut(),
        seen: ptr::null_mut(),
        round: ptr::null_mut(),
    };
}

/// Makes the list usable.
///
/// # Safety
///
/// Called once, when the module is loaded, before any other function of this file.
pub(in crate::net) unsafe fn init() {
    // SAFETY: the caller's promise.
    unsafe { LIST.init() }
}

/// Runs `f` with the list. Any context; the lock is a leaf.
fn with<R>(f: impl FnOnce(&mut List) -> R) -> R {
    let _bh = BhGuard::new();
    let mut list = LIST.lock();
    f(&mut list)
}

impl List {
    fn push(&mut self, links: *mut Links) {
        // SAFETY: the links of a record that is not listed, and those of the last one.
        unsafe {
            *links = Links {
                next: ptr::null_mut(),
                prev: self.last,
                listed: true,
            };
            match self.last.as_mut() {
                Some(last) => last.next = links,
                None => self.first = links,
            }
        }
        self.last = links;
    }

    fn remove(&mut self, links: *mut Links) -> bool {
        // SAFETY: the links of a live record, and those beside it.
        unsafe {
            if !(*links).listed {
                return false;
            }
            let (next, prev) = ((*links).next, (*links).prev);
            match prev.as_mut() {
                Some(prev) => prev.next = next,
                None => self.first = next,
            }
            match next.as_mut() {
                Some(next) => next.prev = prev,
                None => self.last = prev,
            }
            if self.seen == links {
                self.seen = prev;
            }
            if self.round == links {
                self.round = prev;
            }
            (*links).listed = false;
        }
        true
    }

    fn after(&self, links: *mut Links) -> *mut Links {
        // SAFETY: null, or the links of a listed record.
        match unsafe { links.as_ref() } {
            Some(links) => links.next,
            None => self.first,
        }
    }
}

/// The record belongs to its socket from here on. Under the socket's lock.
pub(in crate::net) fn list<P: Parts>(record: NonNull<Record<P>>, _bh: &Bh) {
    // SAFETY: just made, and given up to the socket.
    let links = unsafe { record.as_ref() }.links();
    LIST.lock().push(links);
}

/// And no more: nobody finds it by its socket. Under the socket's lock.
pub(in crate::net) fn unlist<P: Parts>(record: &Record<P>) {
    if with(|list| list.remove(record.links())) {
        // SAFETY: the reference of the socket, given up once: it was listed.
        unsafe { bindings::call_rcu(record.rcu.get(), Some(Record::<P>::free_now)) }
    }
}

/// Takes away what is attached to the record; it is dropped after a grace period. Any
/// context; the lock of the socket need not be held.
pub(crate) fn detach<P: Parts>(record: &Record<P>) {
    // The list's lock is held.
    let first = with(|_| {
        // SAFETY: the links of a live record. One that is not listed goes anyhow.
        let listed = unsafe { (*record.links()).listed };
        let first = listed && !record.detached.swap(true, Ordering::AcqRel);
        if first {
            record.refs.fetch_add(1, Ordering::Relaxed);
        }
        first
    });
    if first {
        // SAFETY: once, and with a reference of its own.
        unsafe { bindings::call_rcu(record.detach_rcu.get(), Some(Record::<P>::detach_now)) }
    }
}

impl List {
    /// Calls `f` with each record behind `from`, at most `most`, and its socket: the last
    /// one, and how many there were.
    fn visit<P: Parts>(
        &self,
        from: *mut Links,
        most: usize,
        mut f: impl FnMut(&Record<P>, &Sock),
    ) -> (*mut Links, usize) {
        let (mut last, mut count) = (from, 0);
        let mut at = self.after(from);
        while !at.is_null() && count < most {
            // SAFETY: a listed record, whose socket cannot go before it is unlisted.
            unsafe {
                let record = Record::<P>::of(at);
                f(record, &*record.sk);
            }
            (last, count) = (at, count + 1);
            at = self.after(at);
        }
        (last, count)
    }
}

/// The records that were made since the last call, at most `most`: calls `f` with each
/// and its socket, with the list's lock held. How many there were. Process context; one
/// task at a time.
pub(crate) fn new_ones<P: Parts>(most: usize, f: impl FnMut(&Record<P>, &Sock)) -> usize {
    with(|list| {
        let (last, count) = list.visit(list.seen, most, f);
        list.seen = last;
        count
    })
}

/// As [`new_ones`], of all records in turn, again and again.
pub(crate) fn next_ones<P: Parts>(most: usize, f: impl FnMut(&Record<P>, &Sock)) -> usize {
    with(|list| {
        let (last, count) = list.visit(list.round, most, f);
        list.round = if count < most { ptr::null_mut() } else { last };
        count
    })
}

/// None of them is new any more.
pub(crate) fn pass_new() {
    with(|list| list.seen = list.last);
}

/// The first record that `wanted` says yes to: what `f` makes of it, in the same RCU
/// section. Looks at all of them, with the list's lock held: where something went wrong.
#[cold]
pub(crate) fn search<P: Parts, R>(
    guard: &ReadGuard<'_>,
    wanted: impl Fn(&Record<P>, &Sock) -> bool,
    f: impl FnOnce(&Record<P>) -> R,
) -> Option<R> {
    let found = with(|list| {
        let mut at = list.first;
        while !at.is_null() {
            // SAFETY: as in `new_ones()`.
            let record = unsafe { Record::<P>::of(at) };
            // SAFETY: as above.
            if wanted(record, unsafe { &*record.sk }) {
                return Some(ptr::from_ref(record));
            }
            at = list.after(at);
        }
        None
    })?;
    let _ = guard;
    // SAFETY: it was listed within the RCU section of `guard`, which keeps it.
    Some(f(unsafe { &*found }))
}

/// The socket of the first record, if there is one.
pub(crate) fn any_socket<P: Parts>() -> Option<ARef<Sock>> {
    with(|list| {
        let first = list.first;
        // SAFETY: as in `new_ones()`.
        (!first.is_null()).then(|| unsafe { &*Record::<P>::of(first).sk }.try_hold())?
    })
}
