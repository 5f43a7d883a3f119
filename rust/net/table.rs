// SPDX-License-Identifier: GPL-2.0

//! A table read under RCU: entries found by hash on the receive path and by
//! index on every other, in memory that grows with its use.
//!
//! Bucket heads and slots sit in pages that are allocated when the first entry
//! needs them; an empty table for a million entries takes 80 KiB. Lookups take
//! no lock and no reference; insertion and removal take one spin lock, always
//! with bottom halves disabled. An entry is freed an RCU grace period after it
//! was removed.

#[cfg(CONFIG_KUNIT = "y")]
mod scale;

use core::{
    any::TypeId,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};

use kernel::{
    alloc::Allocator,
    ffi::{
        c_ulong,
        c_void, //
    },
    prelude::*,
    types::Opaque, //
};

use super::{
    context::Bh,
    memcg,
    sync::{
        rcu::ReadGuard,
        spin_lock_bh::{
            new_spinlock_bh,
            SpinLockBh,
            SpinLockBhGuard, //
        }, //
    }, //
};
use crate::{
    bindings,
    logic::{
        hwid::Hwid,
        reason::Refusal,
        slots::{
            NoSlot,
            Place,
            Places,
            Slots, //
        }, //
    }, //
};

/// Bucket heads in a page.
const BUCKETS: usize = 512;
/// Slots in a chunk.
const SLOTS: usize = 128;
/// Largest capacity.
pub(crate) const MAX_CAPACITY: u32 = 1 << 20;

/// What an entry carries for the table.
pub(crate) struct Links<T> {
    next: AtomicPtr<T>,
    hash: u32,
    /// References: the table's, and those of [`Tether`]s. [`GONE`] besides, once it was
    /// taken out: from then on there are no new ones.
    refs: AtomicU32,
    id: Hwid,
    /// RCU's, to free the entry; before that, of an entry that has left its [`Tether`]s
    /// behind, which grace period has to be over ([`Links::grace`]).
    rcu: Opaque<bindings::callback_head>,
}

/// See [`Links::refs`].
const GONE: u32 = 1 << 31;

// SAFETY: nothing in it belongs to a task or CPU. `next` is the address of an entry of the same
// table, followed under RCU only; `rcu` is RCU's once the entry was taken out, and may be freed
// on any CPU.
unsafe impl<T> Send for Links<T> {}
// SAFETY: `next` and `refs` are atomic, `hash` and `id` constant. `rcu` is touched by `retire()`,
// once, before it gives the table's reference up, and by who gives the last one up.
unsafe impl<T> Sync for Links<T> {}

impl<T> Links<T> {
    /// Of the entry that the table calls `id`.
    pub(crate) fn new(hash: u32, id: Hwid) -> Self {
        Links {
            next: AtomicPtr::new(ptr::null_mut()),
            hash,
            refs: AtomicU32::new(1),
            id,
            rcu: Opaque::zeroed(),
        }
    }

    /// What the table calls the entry.
    #[inline]
    pub(crate) fn id(&self) -> Hwid {
        self.id
    }

    /// Where the number of a grace period is kept (`get_state_synchronize_rcu()`).
    #[inline]
    fn grace(&self) -> *mut c_ulong {
        self.rcu.get().cast()
    }
}

/// An entry of a [`Table`].
///
/// # Safety
///
/// `links` always returns the same field of `self`, at offset `LINKS_OFFSET`.
pub(crate) unsafe trait Node: Sized + Send + Sync {
    const LINKS_OFFSET: usize;

    /// Where entries are allocated.
    type Memory: Allocator + 'static;

    fn links(&self) -> &Links<Self>;
}

/// Makes a type with a `Links` field an entry of a [`Table`]. The parameter of a generic one
/// comes first: `node!(T: Bound => Type<T>, field)`. Entries are allocated by `kmalloc()`, or
/// by the allocator that comes last.
macro_rules! node {
    ($param:ident: $bound:ident => $type:ty, $field:ident, $memory:ty) => {
        $crate::net::table::node!(@ [<$param: $bound>] $type, $field, $memory);
    };
    (@ [$($params:tt)*] $type:ty, $field:ident, $memory:ty) => {
        // SAFETY: `links` returns the field named, whatever the value, and the offset is that of
        // the same name in the same type.
        unsafe impl$($params)* $crate::net::table::Node for $type {
            const LINKS_OFFSET: usize = core::mem::offset_of!($type, $field);

            type Memory = $memory;

            #[inline]
            fn links(&self) -> &$crate::net::table::Links<Self> {
                &self.$field
            }
        }
    };
    ($type:ty, $field:ident) => {
        $crate::net::table::node!(@ [] $type, $field, kernel::alloc::allocator::Kmalloc);
    };
}
pub(crate) use node;

type BucketPage<T> = [AtomicPtr<T>; BUCKETS];

struct Chunk<T> {
    entries: [AtomicPtr<T>; SLOTS],
    /// Touched under the writer lock only.
    places: [core::cell::UnsafeCell<Place>; SLOTS],
}

/// The largest piece of memory that is asked for in contexts that cannot sleep.
const PAGE: usize = 4096;

/// See the module's documentation.
///
/// # Invariants
///
/// Every pointer in a bucket chain or a slot is a live entry from
/// `Box::into_raw()`, of which the table has a reference until its removal. It is freed a grace
/// period after that, or later.
#[pin_data(PinnedDrop)]
pub(crate) struct Table<T: Node> {
    buckets: KVVec<AtomicPtr<BucketPage<T>>>,
    chunks: KVVec<AtomicPtr<Chunk<T>>>,
    /// Number of buckets less one.
    mask: AtomicU32,
    capacity: AtomicU32,
    /// Largest capacity of this table.
    most: u32,
    count: AtomicU32,
    #[pin]
    writer: SpinLockBh<Slots>,
}

// SAFETY: entries are found by shared references only, which `T: Sync` allows in any task, and
// freed wherever RCU calls back, which `T: Send` allows. Heads and slots are atomic, the places
// of a chunk touched under the writer lock.
unsafe impl<T: Node> Sync for Table<T> {}
// SAFETY: it owns entries, which are `Send`, and pages and chunks, memory of no task or CPU.
unsafe impl<T: Node> Send for Table<T> {}

/// Why an entry was not inserted.
pub(crate) enum Full {
    /// Capacity reached.
    Table,
    /// No memory for a page of the table.
    Memory,
    /// An equal entry is there.
    Duplicate,
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Table => Refusal::TableFull,
            Full::Memory => Refusal::NoMemory,
            Full::Duplicate => Refusal::Duplicate,
        }
    }
}

/// A reference to an entry, good for one RCU read-side critical section.
pub(crate) struct EntryRef<'g, T>(&'g T);

impl<T> Clone for EntryRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for EntryRef<'_, T> {}

impl<'g, T> EntryRef<'g, T> {
    /// The reference itself.
    pub(crate) fn into_ref(self) -> &'g T {
        self.0
    }
}

impl<T> Deref for EntryRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

fn directory<P>(len: usize) -> Result<KVVec<AtomicPtr<P>>> {
    let mut v = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..len {
        let _ = v.push_within_capacity(AtomicPtr::new(ptr::null_mut()));
    }
    Ok(v)
}

impl<T: Node> Table<T> {
    /// An empty table for `capacity` entries, which may become `most` later, a power
    /// of two from 512 to [`MAX_CAPACITY`].
    pub(crate) fn new(capacity: u32, most: u32) -> impl PinInit<Self, Error> {
        let most = most.next_power_of_two().clamp(BUCKETS as u32, MAX_CAPACITY);
        let capacity = capacity.clamp(1, most);
        try_pin_init!(Self {
            buckets: directory(most as usize / BUCKETS)?,
            chunks: directory(most as usize / SLOTS)?,
            mask: AtomicU32::new(Self::mask_of(capacity)),
            capacity: AtomicU32::new(capacity),
            most,
            count: AtomicU32::new(0),
            writer <- new_spinlock_bh!(Slots::EMPTY),
        })
    }

    fn mask_of(capacity: u32) -> u32 {
        capacity
            .next_power_of_two()
            .clamp(BUCKETS as u32, MAX_CAPACITY)
            - 1
    }

    /// Entries it may hold.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Entries it holds.
    pub(crate) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Entries that it has room for.
    pub(crate) fn room(&self) -> u32 {
        self.capacity().saturating_sub(self.len())
    }

    /// Changes the capacity. `EBUSY` unless the table is empty, for chains are
    /// never moved.
    pub(crate) fn set_capacity(&self, capacity: u32) -> Result {
        if capacity == 0 || capacity > self.most {
            return Err(ERANGE);
        }
        let writer = self.writer.lock();
        if writer.used() != 0 {
            return Err(EBUSY);
        }
        self.mask.store(Self::mask_of(capacity), Ordering::Release);
        self.capacity.store(capacity, Ordering::Relaxed);
        Ok(())
    }

    fn bucket(&self, hash: u32) -> Option<&AtomicPtr<T>> {
        let index = (hash & self.mask.load(Ordering::Relaxed)) as usize;
        let page = self.buckets.get(index / BUCKETS)?.load(Ordering::Acquire);
        // SAFETY: null, or a page from `KBox::into_raw()`, made before its address was stored.
        // Pages are freed by the table's `drop()` only, and `self` is borrowed.
        unsafe { page.as_ref()?.get(index % BUCKETS) }
    }

    /// The first entry in `hash`'s bucket that `same` accepts.
    #[inline]
    pub(crate) fn find<'g>(
        &self,
        _guard: &'g ReadGuard<'_>,
        hash: u32,
        same: impl Fn(&T) -> bool,
    ) -> Option<EntryRef<'g, T>> {
        let mut p = self.bucket(hash)?.load(Ordering::Acquire);
        // SAFETY: null, or an entry that was in a chain within the guard's section: by the type
        // invariant it is not freed before a grace period after its removal, which that section
        // holds up. It was complete when its address was stored.
        while let Some(entry) = unsafe { p.as_ref() } {
            let links = entry.links();
            if links.hash == hash && same(entry) {
                return Some(EntryRef(entry));
            }
            p = links.next.load(Ordering::Acquire);
        }
        None
    }

    /// [`find`](Self::find), which first looks whether it is the entry that was found the last
    /// time: `last` is its identifier. `hash` is not asked for then.
    #[inline]
    pub(crate) fn find_again<'g>(
        &self,
        guard: &'g ReadGuard<'_>,
        last: &AtomicU64,
        same: impl Fn(&T) -> bool,
        hash: impl FnOnce() -> u32,
    ) -> Option<EntryRef<'g, T>> {
        let id = Hwid::from_raw(last.load(Ordering::Relaxed));
        let found = id.and_then(|id| self.get(guard, id));
        if let Some(entry) = found.filter(|entry| same(entry)) {
            return Some(entry);
        }
        let entry = self.find(guard, hash(), same)?;
        last.store(entry.links().id.raw(), Ordering::Relaxed);
        Some(entry)
    }

    #[inline]
    fn chunk(&self, index: u32) -> Option<&Chunk<T>> {
        let cell = self.chunks.get(index as usize / SLOTS)?;
        // SAFETY: null, or a chunk from `KBox::into_raw()`, made before its address was stored.
        // Chunks are freed by the table's `drop()` only, and `self` is borrowed.
        unsafe { cell.load(Ordering::Acquire).as_ref() }
    }

    #[inline]
    fn entry_ptr(&self, index: u32) -> *mut T {
        self.chunk(index)
            .and_then(|c| c.entries.get(index as usize % SLOTS))
            .map_or(ptr::null_mut(), |e| e.load(Ordering::Acquire))
    }

    /// The entry in slot `index`, whatever its generation.
    #[inline]
    pub(crate) fn at<'g>(&self, _guard: &'g ReadGuard<'_>, index: u32) -> Option<EntryRef<'g, T>> {
        // SAFETY: null, or an entry that was in its slot within the guard's section, which holds
        // up the grace period before which it is, by the type invariant, not freed.
        unsafe { self.entry_ptr(index).as_ref() }.map(EntryRef)
    }

    /// The entry that was given this identifier; `None` if it was taken out, whatever
    /// sits in its slot now.
    #[inline]
    pub(crate) fn get<'g>(&self, guard: &'g ReadGuard<'_>, id: Hwid) -> Option<EntryRef<'g, T>> {
        self.at(guard, id.index()).filter(|e| e.links().id == id)
    }

    /// Slots in use lie below this index.
    pub(crate) fn slots(&self) -> u32 {
        self.writer.lock().end()
    }

    /// The right to insert entries, one or several. Any context; a leaf lock is held
    /// meanwhile.
    pub(crate) fn inserter(&self) -> Inserter<'_, T> {
        Inserter {
            table: self,
            writer: self.writer.lock(),
        }
    }

    /// [`inserter`](Self::inserter) where bottom halves are disabled.
    pub(crate) fn inserter_within<'a>(&'a self, bh: &'a Bh) -> Inserter<'a, T> {
        Inserter {
            table: self,
            writer: self.writer.lock_within(bh),
        }
    }

    #[cold]
    fn chunk_for(&self, index: u32) -> Result {
        let cell = self.chunks.get(index as usize / SLOTS).ok_or(ENOSPC)?;
        if cell.load(Ordering::Acquire).is_null() {
            const { assert!(size_of::<Chunk<T>>() <= PAGE && size_of::<BucketPage<T>>() <= PAGE) }
            let chunk = KBox::<Chunk<T>>::init(
                pin_init::init!(Chunk {
                    entries <- pin_init::init_array_from_fn(|_| AtomicPtr::new(ptr::null_mut())),
                    places <- pin_init::init_array_from_fn(|_| core::cell::UnsafeCell::new(Place::FRESH)),
                }),
                memcg::atomic(),
            )?;
            cell.store(KBox::into_raw(chunk), Ordering::Release);
        }
        Ok(())
    }

    fn set_entry(&self, index: u32, entry: *mut T) {
        if let Some(e) = self
            .chunk(index)
            .and_then(|c| c.entries.get(index as usize % SLOTS))
        {
            e.store(entry, Ordering::Release);
        }
    }

    /// Takes the entry out; it is freed after a grace period. `false`: stale.
    pub(crate) fn remove(&self, hwid: Hwid) -> bool {
        self.take_out(hwid, self.writer.lock())
    }

    /// [`remove`](Self::remove) where bottom halves are disabled.
    pub(crate) fn remove_within(&self, hwid: Hwid, bh: &Bh) -> bool {
        self.take_out(hwid, self.writer.lock_within(bh))
    }

    #[inline]
    fn take_out(&self, hwid: Hwid, mut writer: SpinLockBhGuard<'_, Slots>) -> bool {
        // SAFETY: `writer` holds the lock until this function returns, and `places`, the only
        // such value here, goes before it.
        let mut places = unsafe { Locked::assume(self) };
        if writer.give_back(&mut places, hwid).is_err() {
            return false;
        }
        let index = hwid.index();
        let entry = self.entry_ptr(index);
        self.set_entry(index, ptr::null_mut());
        self.count.store(writer.used(), Ordering::Relaxed);
        if entry.is_null() {
            return false;
        }
        // SAFETY: it was in its slot until here, and only who holds the writer lock takes entries
        // out: the table's reference, given up below, keeps it.
        let links = unsafe { (*entry).links() };
        let mut cell = self.bucket(links.hash);
        while let Some(c) = cell {
            let p = c.load(Ordering::Relaxed);
            if p == entry {
                c.store(links.next.load(Ordering::Relaxed), Ordering::Release);
                break;
            }
            // SAFETY: null, or an entry of the chain, which nobody takes out while the writer lock
            // is held: the table has its reference by the type invariant.
            cell = unsafe { p.as_ref() }.map(|e| &e.links().next);
        }
        // SAFETY: out of slot and chain, so that no new reader finds it, once, as its slot is
        // empty.
        unsafe { retire::<T>(entry) };
        true
    }
}

/// The places of a table.
///
/// # Invariants
///
/// The table's writer lock is held for as long as the value exists, and whoever holds it has
/// no other one.
struct Locked<'a, T: Node>(&'a Table<T>);

impl<'a, T: Node> Locked<'a, T> {
    /// # Safety
    ///
    /// The caller holds the table's writer lock for as long as the value exists, and has no
    /// other one.
    unsafe fn assume(table: &'a Table<T>) -> Self {
        // INVARIANT: what the caller promises.
        Locked(table)
    }
}

impl<T: Node> Places for Locked<'_, T> {
    #[inline(always)]
    fn with<R>(&mut self, index: u32, f: impl FnOnce(&mut Place) -> R) -> Option<R> {
        let places = &self.0.chunk(index)?.places;
        let place = places.get(index as usize % SLOTS)?.get();
        // SAFETY: chunks are never freed before the table. By the type invariant nobody else
        // touches the place meanwhile, and `f` has no way to it, as `self` is borrowed.
        Some(f(unsafe { &mut *place }))
    }

    fn provide(&mut self, index: u32) -> bool {
        self.0.chunk_for(index).is_ok()
    }
}

/// See [`Table::inserter`].
pub(crate) struct Inserter<'a, T: Node> {
    table: &'a Table<T>,
    writer: SpinLockBhGuard<'a, Slots>,
}

impl<T: Node> Inserter<'_, T> {
    /// Inserts the entry that `make` builds for its hwid, unless an equal one
    /// (`same`) is there. Any context.
    pub(crate) fn insert(
        &mut self,
        hash: u32,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce(Hwid) -> Result<Box<T, T::Memory>>,
    ) -> Result<Hwid, Full> {
        let table = self.table;
        let (writer, guard) = self.writer.split();
        if writer.used() >= table.capacity() {
            return Err(Full::Table);
        }
        if table.find(&guard, hash, same).is_some() {
            return Err(Full::Duplicate);
        }
        let index = (hash & table.mask.load(Ordering::Relaxed)) as usize;
        let Some(page_cell) = table.buckets.get(index / BUCKETS) else {
            return Err(Full::Memory);
        };
        if page_cell.load(Ordering::Acquire).is_null() {
            let page = KBox::<BucketPage<T>>::init(
                pin_init::init_array_from_fn(|_| AtomicPtr::new(ptr::null_mut())),
                memcg::atomic(),
            )
            .map_err(|_| Full::Memory)?;
            page_cell.store(KBox::into_raw(page), Ordering::Release);
        }

        // SAFETY: `self.writer` holds the lock for longer than this call, of which `places` is the
        // only such value.
        let mut places = unsafe { Locked::assume(table) };
        let hwid = match writer.take(&mut places, table.capacity()) {
            Ok(hwid) => hwid,
            Err(NoSlot::Full) => return Err(Full::Table),
            Err(NoSlot::NoMemory) => return Err(Full::Memory),
        };
        let Ok(entry) = make(hwid).map(Box::into_raw) else {
            let _ = writer.give_back(&mut places, hwid);
            return Err(Full::Memory);
        };
        // SAFETY: just boxed, and not yet in the table: nobody else has it or can free it.
        let links = unsafe { (*entry).links() };
        if let Some(head) = table.bucket(hash) {
            links
                .next
                .store(head.load(Ordering::Relaxed), Ordering::Relaxed);
            head.store(entry, Ordering::Release);
        }
        table.set_entry(hwid.index(), entry);
        table.count.store(writer.used(), Ordering::Relaxed);
        Ok(hwid)
    }
}

/// # Safety
///
/// An RCU callback for the `rcu` field of an entry that has no reference left.
unsafe extern "C" fn free_entry<T: Node>(head: *mut bindings::callback_head) {
    let offset = T::LINKS_OFFSET + core::mem::offset_of!(Links<T>, rcu);
    // SAFETY: `head` is the `rcu` field of an entry from `Box::into_raw()`, whose `Links` lie at
    // `LINKS_OFFSET` as `Node` promises: so many bytes before it the entry begins. It was taken
    // out before this callback was queued, which was done once: no reader is left.
    drop(unsafe { Box::<T, T::Memory>::from_raw(head.cast::<u8>().sub(offset).cast()) });
}

/// Frees an entry that is in no table any more when its readers are gone.
///
/// # Safety
///
/// `entry` is a `T` from `Box::into_raw()`, which no new reader finds. It has no reference
/// left, and this is called once for it.
unsafe fn free_later<T: Node>(entry: *mut T) {
    // SAFETY: an entry by this function's contract, and nobody else frees it. The callback, which
    // runs when the old readers are gone, is the one for entries of this type, and gets the
    // address of its `rcu` field, of which nobody has another use. `barrier()` waits for it before
    // the module goes.
    unsafe { bindings::call_rcu((*entry).links().rcu.get(), Some(free_entry::<T>)) };
}

/// Gives up the table's reference to an entry that it has no more.
///
/// One that has [`Tether`]s is left to the last of them, which is mostly dropped by RCU, too: a
/// callback is spared if the grace period from here on is over by then.
///
/// # Safety
///
/// `entry` is a `T` from `Box::into_raw()`, which no new reader finds, and of which the table
/// has a reference. This is called once for it.
#[inline]
unsafe fn retire<T: Node>(entry: *mut T) {
    // SAFETY: kept by the table's reference.
    let links = unsafe { (*entry).links() };
    // Nobody gets another one from here on.
    if links.refs.fetch_or(GONE, Ordering::AcqRel) != 1 {
        // SAFETY: `rcu` is this context's until the reference goes: who gives up the last one
        // looks there, after that, and no RCU callback is queued. Any context.
        unsafe { links.grace().write(bindings::get_state_synchronize_rcu()) };
        if links.refs.fetch_sub(1, Ordering::AcqRel) & !GONE != 1 {
            return;
        }
    }
    // SAFETY: as this function requires. There was no reference but the table's, or that was the
    // last one.
    unsafe { free_later(entry) };
}

/// Gives a [`Tether`]'s reference up; with the last one goes the entry.
///
/// # Safety
///
/// `entry` is a `T` from `Box::into_raw()`, and one of its references is the caller's.
unsafe fn put_entry<T: Node>(entry: *mut c_void) {
    let entry = entry.cast::<T>();
    // SAFETY: an entry by this function's contract, kept by the caller's reference until the
    // subtraction.
    let links = unsafe { (*entry).links() };
    if links.refs.fetch_sub(1, Ordering::AcqRel) & !GONE != 1 {
        return;
    }
    // The table's reference was given up before, by `retire()`, which found this one.
    // SAFETY: written there before; no RCU callback is queued. Any context.
    if unsafe { bindings::poll_state_synchronize_rcu(links.grace().read()) } {
        // SAFETY: from `Box::into_raw()` by this function's contract. That was the last reference,
        // so that nobody frees it twice, and a grace period is over since the removal: no
        // `EntryRef` is left.
        drop(unsafe { Box::<T, T::Memory>::from_raw(entry) });
    } else {
        // SAFETY: it was taken out of its table, and had this reference only.
        unsafe { free_later(entry) };
    }
}

/// A way to one entry of some table that needs no look-up. It keeps the memory of the entry;
/// the entry itself is found until it is taken out of its table.
///
/// # Invariants
///
/// `entry` is an entry of the type that `of` is about, and one of its references is this
/// value's.
pub(crate) struct Tether {
    entry: NonNull<c_void>,
    of: &'static EntryType,
}

/// What a [`Tether`] knows of the type of its entry.
///
/// # Invariants
///
/// `put` is [`put_entry`] for the type `id`.
struct EntryType {
    id: TypeId,
    put: unsafe fn(*mut c_void),
}

impl EntryType {
    const fn of<T: Node + 'static>() -> Self {
        // INVARIANT: the same type.
        EntryType {
            id: TypeId::of::<T>(),
            put: put_entry::<T>,
        }
    }
}

// SAFETY: it gives a `&T` away, and frees a `T`, in whichever task it is: of the type that it
// was made for, a `Node`, which is `Send` and `Sync`.
unsafe impl Send for Tether {}
// SAFETY: shared, it gives `&T` away and nothing else, and a `Node` is `Sync`.
unsafe impl Sync for Tether {}

impl Tether {
    /// To this entry; `None` if it was taken out of its table. Any context.
    pub(crate) fn new<T: Node + 'static>(entry: EntryRef<'_, T>) -> Option<Self> {
        let entry = entry.into_ref();
        let more = |refs: u32| (refs & GONE == 0).then_some(refs + 1);
        let refs = &entry.links().refs;
        refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        // INVARIANT: the reference was just taken: the table had its own until then, as the entry
        // was not taken out.
        Some(Tether {
            entry: NonNull::from(entry).cast(),
            of: const { &EntryType::of::<T>() },
        })
    }

    /// The entry, if it is a `T`, and in its table at this moment. Any context.
    #[inline(always)]
    pub(crate) fn get<T: Node + 'static>(&self) -> Option<&T> {
        if self.of.id != TypeId::of::<T>() {
            return None;
        }
        // SAFETY: a `T`, as the comparison above shows by the type invariants, and kept by the
        // reference of `self`, which is borrowed for as long as the result.
        let entry = unsafe { self.entry.cast::<T>().as_ref() };
        let gone = entry.links().refs.load(Ordering::Relaxed) & GONE != 0;
        (!gone).then_some(entry)
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        // SAFETY: `put` is the function for entries of this type by the type invariants, and the
        // reference that it gives up is that of `self`, which is dropped once.
        unsafe { (self.of.put)(self.entry.as_ptr()) };
    }
}

#[pinned_drop]
impl<T: Node> PinnedDrop for Table<T> {
    fn drop(self: Pin<&mut Self>) {
        for page in self.buckets.iter() {
            let p = page.swap(ptr::null_mut(), Ordering::AcqRel);
            if !p.is_null() {
                // SAFETY: from `KBox::into_raw()` by `insert()`, and taken out of its cell. The
                // table is not borrowed any more, so that nobody looks into it; entries that are
                // still to be freed know nothing of it.
                drop(unsafe { KBox::from_raw(p) });
            }
        }
        for chunk in self.chunks.iter() {
            let p = chunk.swap(ptr::null_mut(), Ordering::AcqRel);
            if !p.is_null() {
                // SAFETY: from `KBox::into_raw()` by `chunk_for()`, otherwise as for pages.
                drop(unsafe { KBox::from_raw(p) });
            }
        }
    }
}

/// Waits until every removed entry of every table is freed. Process context.
pub(crate) fn barrier() {
    // The second time for entries whose last reference a callback gave up.
    for _ in 0..2 {
        // SAFETY: it asks for process context only, in which this is called.
        unsafe { bindings::rcu_barrier() }
    }
}
