// SPDX-License-Identifier: GPL-2.0

//! What a socket points to while its connection is delegated (`icsk_ulp_data`), and the
//! list of all of them.
//!
//! The list finds a record whatever becomes of the socket's pointer. It also has the order
//! in which connections were handed over, for code that looks at new ones only.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
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
    slab,
    sock::Sock,
    sync::rcu::ReadGuard, //
};
use crate::bindings;

/// kTLS keeps its own record in the same place, and users of sockmap look at the private
/// contexts in it without having asked whose it is (`tls_sw_has_ctx_tx()`): ours has
/// none in either direction.
#[repr(C)]
struct Disguise {
    /// Where kTLS has which protocol it is, which concerns only who has asked: zero until the
    /// record has left its socket.
    rcu: Opaque<bindings::callback_head>,
    /// How it is used: in neither direction.
    config: u64,
    /// Where kTLS has the functions that it calls itself.
    free: Opaque<bindings::callback_head>,
    /// The private contexts, and the device.
    contexts: [*mut c_void; 3],
}

const _: () = {
    type Tls = bindings::tls_context;
    type Info = bindings::tls_prot_info;
    // The last four bytes of it are in `config`.
    assert!(offset_of!(Tls, prot_info) == offset_of!(Disguise, rcu));
    assert!(size_of::<Info>() == offset_of!(Disguise, config) + 4);
    assert!(offset_of!(Tls, push_pending_record) == offset_of!(Disguise, free));
    assert!(offset_of!(Tls, sk_write_space) == offset_of!(Disguise, free) + size_of::<usize>());
    assert!(offset_of!(Tls, priv_ctx_tx) == offset_of!(Disguise, contexts));
    assert!(offset_of!(Tls, priv_ctx_rx) + size_of::<usize>() <= size_of::<Disguise>());
    assert!(offset_of!(Tls, netdev) + size_of::<usize>() <= size_of::<Disguise>());
};

/// Where the callback of a record that has left its socket is in it.
const UNLIST_RCU: usize = offset_of!(Disguise, rcu);
/// Where that of a detachment is.
const DETACH_RCU: usize = offset_of!(Disguise, free);

/// A place in the list. Touched with the list's lock held.
struct Links {
    next: *mut Links,
    /// [`UNLISTED`] when it is in none.
    prev: *mut Links,
}

/// Where no links are.
const UNLISTED: *mut Links = ptr::dangling_mut();

/// What a record is made of.
pub(crate) trait Parts: 'static {
    /// Lives as long as the record.
    type Value: Send + Sync;
    /// Can be taken away before, by [`detach`].
    type Attached: Send + Sync;

    /// The record leaves its socket, whose spin lock is held, or whose owner runs this: what
    /// the value has there goes, too. Any context.
    fn leaves(value: &Self::Value);
}

/// The cache of all records.
pub(crate) struct Records;

slab::kind!(Records);

/// A record where it stays.
pub(crate) type RecordBox<P> = slab::SlabBox<Record<P>, Records>;

/// A record; made by [`Record::new`], and given to a socket by
/// [`proto::install`](super::proto::install).
///
/// # Invariants
///
/// `links` are touched with the list's lock held. While they are in the list, `sk` is a live
/// socket: the entry of its target has a reference to it, or a task owns it that gives the
/// record back when it lets it go. It is followed under the list's lock.
///
/// The record lives until `refs` is 0. One of them stands for being found by the socket or in
/// the list, and is given up a grace period after [`unlist`], by [`Departed`], the other one for
/// a detachment.
///
/// `attached` is initialised until a grace period after `detached` was set, which happens
/// once, to a listed record.
#[repr(C)]
pub(crate) struct Record<P: Parts> {
    disguise: Disguise,
    links: UnsafeCell<Links>,
    sk: *const Sock,
    /// The socket's, and that of a detachment under way.
    refs: AtomicU32,
    detached: AtomicBool,
    value: P::Value,
    attached: UnsafeCell<ManuallyDrop<P::Attached>>,
}

// SAFETY: by the type invariant the list's lock guards `links` and `sk`; `attached` is
// written once, when no reader is left, and the values of both kinds are `Sync`.
unsafe impl<P: Parts> Sync for Record<P> {}
// SAFETY: a record belongs to no thread, and the values of both kinds are `Send`.
unsafe impl<P: Parts> Send for Record<P> {}

impl<P: Parts> Record<P> {
    /// For the connection of `sk`. Any context. In place, because it has hundreds of bytes,
    /// and inlined, so that it is made where it stays.
    #[inline(always)]
    pub(crate) fn new(
        sk: &Sock,
        value: impl Init<P::Value>,
        attached: P::Attached,
    ) -> Result<RecordBox<P>> {
        RecordBox::init(
            pin_init::init!(Record {
                disguise: Disguise {
                    rcu: Opaque::zeroed(),
                    config: 0,
                    free: Opaque::zeroed(),
                    contexts: [ptr::null_mut(); 3],
                },
                links: UnsafeCell::new(Links {
                    next: ptr::null_mut(),
                    prev: UNLISTED,
                }),
                sk,
                refs: AtomicU32::new(1),
                detached: AtomicBool::new(false),
                value <- value,
                attached: UnsafeCell::new(ManuallyDrop::new(attached)),
            }),
            memcg::atomic(),
        )
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
        // SAFETY: by the type invariant it is initialised for a grace period more. Whoever
        // has a reference to a record is in an RCU section for as long (`from_raw()`, or the
        // list's lock), or has one that is in no list, which nobody detaches.
        Some(unsafe { &*self.attached.get() })
    }

    /// # Safety
    ///
    /// `ptr` is null or a record of these parts, which was found, on its socket or in the
    /// list, in an RCU read section that lasts for all of `'a`.
    pub(in crate::net) unsafe fn from_raw<'a>(ptr: *mut c_void) -> Option<&'a Self> {
        // SAFETY: null, or found in a section that lasts for `'a`, as the caller promises:
        // its reference is given up a grace period after it could be found.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    fn links(&self) -> *mut Links {
        self.links.get()
    }

    /// # Safety
    ///
    /// `links` are those of a record of these parts that lives for all of `'a`.
    unsafe fn of<'a>(links: *mut Links) -> &'a Self {
        // SAFETY: the field lies in a record, as the caller promises, at this offset.
        unsafe { &*links.byte_sub(offset_of!(Self, links)).cast::<Self>() }
    }

    /// Drops one of the references; with the last one goes the record.
    ///
    /// # Safety
    ///
    /// `this` is a record of `Box::into_raw()`, with a reference that the caller gives up,
    /// a grace period after it could be found in the way that this one stands for.
    unsafe fn put(this: *mut Self) {
        // SAFETY: live by the type invariant, for the caller has a reference.
        if unsafe { (*this).refs.fetch_sub(1, Ordering::AcqRel) } != 1 {
            return;
        }
        // SAFETY: from `Box::into_raw()`, and it was the last reference.
        drop(unsafe { RecordBox::from_raw(this) });
    }

    /// # Safety
    ///
    /// Called by RCU for the first record of a [`Departed`].
    unsafe extern "C" fn free_now(head: *mut bindings::callback_head) {
        // SAFETY: `head` is the field of a record, which heads a chain by the type invariant of
        // `Departed`, whose references have been left to this call; a grace period is over. The
        // next one is read before a record goes.
        unsafe {
            let mut at: *mut Self = head.byte_sub(UNLIST_RCU).cast();
            while !at.is_null() {
                let next = (*(*at).links()).next;
                Self::put(at);
                at = match next.is_null() {
                    true => ptr::null_mut(),
                    false => next.byte_sub(offset_of!(Self, links)).cast(),
                };
            }
        }
    }

    /// # Safety
    ///
    /// Called by RCU for a record that was [detached](detach).
    unsafe extern "C" fn detach_now(head: *mut bindings::callback_head) {
        // SAFETY: `head` is the field of a record that the reference of the detachment keeps,
        // which this call gives up. `detached` was set a grace period ago, once: nobody uses
        // what is dropped, and nobody else drops it.
        unsafe {
            let this: *mut Self = head.byte_sub(DETACH_RCU).cast();
            ManuallyDrop::drop(&mut *(*this).attached.get());
            Self::put(this);
        }
    }
}

/// Also of one that no socket ever got.
impl<P: Parts> Drop for Record<P> {
    fn drop(&mut self) {
        if !*self.detached.get_mut() {
            // SAFETY: initialised by the type invariant, as `detached` is not set, and not
            // used after this.
            unsafe { ManuallyDrop::drop(self.attached.get_mut()) };
        }
    }
}

/// All records, in the order in which they were made.
///
/// # Invariants
///
/// A list of the links of records that belong to a socket: from `first` by `next` and from
/// `last` by `prev`, both null if there are none. All are of one type, as the module has one
/// kind of [`Parts`]. `seen` is the last one that [`new_ones`] has gone past, or null, and
/// `round` the last one that [`next_ones`] has gone past, or null: both are in the list.
struct List {
    first: *mut Links,
    last: *mut Links,
    seen: *mut Links,
    round: *mut Links,
}

// SAFETY: the links that the pointers lead to are touched under the lock that the list is
// in, by the invariant of `Record`.
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
    // SAFETY: once, and before anybody locks it, as the caller promises.
    unsafe { LIST.init() }
}

/// Runs `f` with the list. Any context; the lock is a leaf.
fn with<R>(f: impl FnOnce(&mut List) -> R) -> R {
    let _bh = BhGuard::new();
    let mut list = LIST.lock();
    f(&mut list)
}

impl List {
    /// # Safety
    ///
    /// `links` are those of a record that is not listed, and that belongs to its socket.
    unsafe fn push(&mut self, links: *mut Links) {
        // SAFETY: both the record's links, as the caller promises, and those of the last one
        // are live, and ours under the list's lock.
        // INVARIANT: the last one of the list from here on.
        unsafe {
            *links = Links {
                next: ptr::null_mut(),
                prev: self.last,
            };
            match self.last.as_mut() {
                Some(last) => last.next = links,
                None => self.first = links,
            }
        }
        self.last = links;
    }

    /// # Safety
    ///
    /// `links` are those of a live record.
    unsafe fn remove(&mut self, links: *mut Links) -> bool {
        // SAFETY: the record's links are live, as the caller promises, and so are those
        // beside them, which are in the list; all are ours under the list's lock.
        // INVARIANT: none of the list's pointers leads to them afterwards.
        unsafe {
            if (*links).prev == UNLISTED {
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
            (*links).prev = UNLISTED;
        }
        true
    }

    /// # Safety
    ///
    /// `links` are null, or those of a listed record.
    unsafe fn after(&self, links: *mut Links) -> *mut Links {
        // SAFETY: null, or live, as what is listed is, and guarded by the list's lock.
        match unsafe { links.as_ref() } {
            Some(links) => links.next,
            None => self.first,
        }
    }
}

/// The record belongs to its socket from here on. Under the socket's lock.
///
/// # Safety
///
/// `record` is from `Box::into_raw()`, was given to its socket just now, and is listed once.
pub(in crate::net) unsafe fn list<P: Parts>(record: NonNull<Record<P>>, _bh: &Bh) {
    // SAFETY: live: nobody takes it from the socket, whose lock the caller has.
    let links = unsafe { record.as_ref() }.links();
    // SAFETY: those of a record that is not listed yet, and belongs to its socket, as the
    // caller promises.
    unsafe { LIST.lock().push(links) };
}

/// Records that have left their sockets. When this is dropped they are given to RCU, all in one
/// piece: a callback for each would cost more than what it does.
///
/// # Invariants
///
/// Null, or the links of the first of a chain, by `next` up to null: of records from
/// `Box::into_raw()` that are not listed, and whose references for being found are this value's.
pub(crate) struct Departed<P: Parts>(*mut Links, PhantomData<P>);

impl<P: Parts> Departed<P> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        // INVARIANT: null.
        Departed(ptr::null_mut(), PhantomData)
    }
}

impl<P: Parts> Drop for Departed<P> {
    fn drop(&mut self) {
        if self.0.is_null() {
            return;
        }
        // SAFETY: by the type invariant of a record, live by its reference, which with those of
        // the chain is left to the callback. The head is that record's, and used for nothing else.
        unsafe {
            let first = Record::<P>::of(self.0);
            bindings::call_rcu(first.disguise.rcu.get(), Some(Record::<P>::free_now));
        }
    }
}

/// The record no longer belongs to its socket, and cannot be found by it. Under the
/// socket's lock.
pub(in crate::net) fn unlist<P: Parts>(record: &Record<P>, gone: &mut Departed<P>, _bh: &Bh) {
    let links = record.links();
    // SAFETY: those of a live record.
    if unsafe { LIST.lock().remove(links) } {
        // SAFETY: of one that is not listed from here on only `prev` is looked at by others.
        unsafe { (*links).next = gone.0 };
        // INVARIANT: it was listed until now, and so its reference was nobody else's.
        gone.0 = links;
    }
}

/// Takes away what is attached to the record; it is dropped after a grace period. Any
/// context; the lock of the socket need not be held.
pub(crate) fn detach<P: Parts>(record: &Record<P>) {
    let first = with(|_| {
        // SAFETY: the links of a live record, guarded by the list's lock, which is held.
        let listed = unsafe { (*record.links()).prev } != UNLISTED;
        // One that is not listed goes anyhow.
        let first = listed && !record.detached.swap(true, Ordering::AcqRel);
        if first {
            record.refs.fetch_add(1, Ordering::Relaxed);
        }
        first
    });
    if first {
        // SAFETY: the callback gives up the reference taken above. The head is the record's,
        // and used here only, once.
        unsafe { bindings::call_rcu(record.disguise.free.get(), Some(Record::<P>::detach_now)) }
    }
}

impl List {
    /// Calls `f` with each record behind `from`, at most `most`, and its socket: the last
    /// one, and how many there were.
    ///
    /// # Safety
    ///
    /// `from` is null, or the links of a listed record.
    unsafe fn visit<P: Parts>(
        &self,
        from: *mut Links,
        most: usize,
        mut f: impl FnMut(&Record<P>, &Sock),
    ) -> (*mut Links, usize) {
        let (mut last, mut count) = (from, 0);
        // SAFETY: as this function requires.
        let mut at = unsafe { self.after(from) };
        while !at.is_null() && count < most {
            // SAFETY: a listed record, which is of the one type there is, and its socket, live
            // by the invariant of `Record`; neither goes before the list's lock is free.
            unsafe {
                let record = Record::<P>::of(at);
                f(record, &*record.sk);
            }
            (last, count) = (at, count + 1);
            // SAFETY: it is listed.
            at = unsafe { self.after(at) };
        }
        (last, count)
    }
}

/// The records that were made since the last call, at most `most`: calls `f` with each
/// and its socket, with the list's lock held. How many there were. Process context; one
/// task at a time.
pub(crate) fn new_ones<P: Parts>(most: usize, f: impl FnMut(&Record<P>, &Sock)) -> usize {
    with(|list| {
        // SAFETY: null or listed by the invariant of the list.
        let (last, count) = unsafe { list.visit(list.seen, most, f) };
        // INVARIANT: listed, or null as before.
        list.seen = last;
        count
    })
}

/// As [`new_ones`], of all records in turn, again and again.
pub(crate) fn next_ones<P: Parts>(most: usize, f: impl FnMut(&Record<P>, &Sock)) -> usize {
    with(|list| {
        // SAFETY: null or listed by the invariant of the list.
        let (last, count) = unsafe { list.visit(list.round, most, f) };
        // INVARIANT: listed, or null.
        list.round = if count < most { ptr::null_mut() } else { last };
        count
    })
}

/// Marks all of them as seen: none is new.
pub(crate) fn pass_new() {
    with(|list| list.seen = list.last);
}

/// What `f` makes, in the same RCU section, of the first record that `wanted` accepts. Looks
/// at all of them, with the list's lock held: only for when something went wrong.
#[cold]
pub(crate) fn search<P: Parts, R>(
    guard: &ReadGuard<'_>,
    wanted: impl Fn(&Record<P>, &Sock) -> bool,
    f: impl FnOnce(&Record<P>) -> R,
) -> Option<R> {
    let found = with(|list| {
        let mut at = list.first;
        while !at.is_null() {
            // SAFETY: as in `visit()`: a listed record.
            let record = unsafe { Record::<P>::of(at) };
            // SAFETY: as in `visit()`: the socket of a listed record.
            if wanted(record, unsafe { &*record.sk }) {
                return Some(ptr::from_ref(record));
            }
            // SAFETY: it is listed.
            at = unsafe { list.after(at) };
        }
        None
    })?;
    let _ = guard;
    // SAFETY: it was listed within the RCU section of `guard`, which lasts until `f` has
    // returned: its reference for being found is given up later.
    Some(f(unsafe { &*found }))
}

/// The socket of the first record, if there is one.
pub(crate) fn any_socket<P: Parts>() -> Option<ARef<Sock>> {
    with(|list| {
        let first = list.first;
        // SAFETY: as in `visit()`: the socket of a listed record.
        (!first.is_null()).then(|| unsafe { &*Record::<P>::of(first).sk }.try_hold())?
    })
}
