// SPDX-License-Identifier: GPL-2.0

//! Slab caches for what each connection has one of. Its objects take the memory that they
//! need, where `kmalloc()` has 512 bytes or 1024, and fewer steps to allocate.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use core::{
    alloc::Layout,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        AtomicUsize,
        Ordering, //
    }, //
};

use kernel::{
    alloc::{
        AllocError,
        Allocator,
        Flags,
        NumaNode, //
    },
    prelude::*, //
};

use super::memcg;
use crate::bindings;

/// Of every object.
const ALIGN: usize = align_of::<u64>();

/// A cache, or the place of one.
///
/// # Invariants
///
/// `cache` is null, or a cache of objects of `size` bytes, aligned to [`ALIGN`]. It is set
/// once, after `size`, and is null again only when it has no objects.
pub(crate) struct Slab {
    cache: AtomicPtr<bindings::kmem_cache>,
    size: AtomicUsize,
}

impl Slab {
    pub(crate) const fn new() -> Self {
        // INVARIANT: none yet.
        Slab {
            cache: AtomicPtr::new(ptr::null_mut()),
            size: AtomicUsize::new(0),
        }
    }
}

/// What a cache is for.
pub(crate) trait Kind: 'static {
    /// Always the same one.
    fn slab() -> &'static Slab;
}

/// Makes a unit type a [`Kind`] with a cache of its own.
macro_rules! kind {
    ($kind:ty) => {
        impl $crate::net::slab::Kind for $kind {
            #[inline(always)]
            fn slab() -> &'static $crate::net::slab::Slab {
                static SLAB: $crate::net::slab::Slab = $crate::net::slab::Slab::new();
                &SLAB
            }
        }
    };
}
pub(crate) use kind;

/// The allocator of a kind of objects. There is no memory while there is no [`Cache`] of it.
pub(crate) struct InSlab<K>(PhantomData<K>);

/// An object of its kind's cache.
pub(crate) type SlabBox<T, K> = kernel::alloc::Box<T, InSlab<K>>;

// SAFETY: an object of a cache is the caller's alone until it is freed, has the size that was
// compared with that of the layout, and the cache's alignment, which is at least the layout's.
// One object cannot become a larger one: that fails, and it stays as it was. Other
// flags than those of the callee are refused.
unsafe impl<K: Kind> Allocator for InSlab<K> {
    const MIN_ALIGN: usize = ALIGN;

    #[inline(always)]
    fn alloc(layout: Layout, flags: Flags, _: NumaNode) -> Result<NonNull<[u8]>, AllocError> {
        let slab = K::slab();
        let cache = slab.cache.load(Ordering::Acquire);
        let fits = layout.size() == slab.size.load(Ordering::Relaxed) && layout.align() <= ALIGN;
        if cache.is_null() || !fits || flags != memcg::atomic() {
            return Err(AllocError);
        }
        // SAFETY: a cache by the type invariant, which stays while its kind is used: see `Cache`.
        let object = unsafe { bindings::toe_slab_alloc(cache) };
        let object = NonNull::new(object.cast()).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(object, layout.size()))
    }

    #[inline(always)]
    unsafe fn realloc(
        ptr: Option<NonNull<u8>>,
        layout: Layout,
        old_layout: Layout,
        flags: Flags,
        nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError> {
        match ptr {
            None => Self::alloc(layout, flags, nid),
            Some(ptr) if layout.size() == 0 => {
                // SAFETY: the caller gives up an allocation of this allocator.
                unsafe { Self::free(ptr, old_layout) };
                let none = NonNull::<u64>::dangling().cast();
                Ok(NonNull::slice_from_raw_parts(none, 0))
            }
            Some(_) => Err(AllocError),
        }
    }

    #[inline(always)]
    unsafe fn free(ptr: NonNull<u8>, _: Layout) {
        let cache = K::slab().cache.load(Ordering::Relaxed);
        // SAFETY: an object of this allocator, as the caller promises, is one of the kind's
        // cache, which is there while it has objects; nobody uses the object any more.
        unsafe { bindings::toe_slab_free(cache, ptr.as_ptr().cast()) }
    }
}

/// The cache of a kind of objects: there from when this is made to when it is dropped, which
/// is when no object is left and nobody makes another one.
pub(crate) struct Cache<K: Kind>(PhantomData<K>);

impl<K: Kind> Cache<K> {
    /// For objects like `T`. Once, process context.
    pub(crate) fn of<T>(name: &'static CStr) -> Result<Self> {
        const { assert!(align_of::<T>() <= ALIGN) }
        let slab = K::slab();
        if !slab.cache.load(Ordering::Relaxed).is_null() {
            return Err(EBUSY);
        }
        // SAFETY: the name is static; process context, as this function asks for.
        let cache = unsafe {
            bindings::toe_slab_create(name.as_char_ptr(), size_of::<T>() as u32, ALIGN as u32)
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: the size of the cache, and then the cache, once.
        slab.size.store(size_of::<T>(), Ordering::Relaxed);
        slab.cache.store(cache, Ordering::Release);
        Ok(Cache(PhantomData))
    }
}

impl<K: Kind> Drop for Cache<K> {
    fn drop(&mut self) {
        let cache = K::slab().cache.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: made by `of()`, whose one value is dropped once. The callee complains about
        // objects that are left, and keeps their memory. Process context: the module is
        // loaded or unloaded.
        unsafe { bindings::kmem_cache_destroy(cache) }
    }
}
