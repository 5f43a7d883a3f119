// SPDX-License-Identifier: GPL-2.0

//! Slots of the delegated connection table: which index a new connection gets,
//! and whether an identifier is still valid.
//!
//! A table has room for millions of entries without reserving memory for them:
//! bookkeeping is in chunks of [`CHUNK_SLOTS`] slots that the caller provides
//! when one is first needed. The lowest free index is taken, so that a table
//! with few connections touches little memory.

use super::hwid::{
    Hwid,
    Slot,
    SlotError, //
};

/// Slots per chunk.
pub const CHUNK_SLOTS: u32 = 256;
/// Largest number of chunks of a table.
pub const MAX_CHUNKS: u32 = 8192;
/// Largest capacity of a table: 2 Mi connections.
pub const MAX_CAPACITY: u32 = CHUNK_SLOTS * MAX_CHUNKS;

const WORDS_PER_CHUNK: usize = (CHUNK_SLOTS / 64) as usize;
const CHUNK_WORDS: usize = (MAX_CHUNKS / 64) as usize;

/// Bookkeeping of [`CHUNK_SLOTS`] neighbouring slots.
///
/// About 2 KiB. All zero bytes are what [`Chunk::new`] gives, so that memory from
/// a zeroing allocator is a chunk.
#[derive(Clone, Debug)]
pub struct Chunk {
    slots: [Slot; CHUNK_SLOTS as usize],
    /// One bit per slot that cannot be taken: busy or retired.
    taken: [u64; WORDS_PER_CHUNK],
}

impl Chunk {
    /// A chunk of slots that were never used.
    pub const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; CHUNK_SLOTS as usize],
            taken: [0; WORDS_PER_CHUNK],
        }
    }

    /// The lowest slot that is not taken.
    fn lowest_free(&self) -> Option<u32> {
        lowest_zero(&self.taken)
    }

    fn slot(&self, offset: u32) -> Option<&Slot> {
        self.slots.get(offset as usize)
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the chunks of a table are kept.
pub trait Storage {
    /// The chunk, if it was provided.
    fn chunk(&self, number: u32) -> Option<&Chunk>;

    /// The chunk, if it was provided.
    fn chunk_mut(&mut self, number: u32) -> Option<&mut Chunk>;

    /// Provides the chunk if that was not done yet. `false` if there is no
    /// memory. `number` is less than [`MAX_CHUNKS`].
    fn provide(&mut self, number: u32) -> bool;
}

/// Why no slot was allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// All slots within the capacity are taken.
    Full,
    /// There is no memory for another chunk.
    NoMemory,
}

/// Position of the lowest zero bit.
fn lowest_zero(words: &[u64]) -> Option<u32> {
    words
        .iter()
        .position(|word| *word != u64::MAX)
        .and_then(|i| {
            let ones = words.get(i)?.trailing_ones();
            Some((i as u32).wrapping_mul(64).wrapping_add(ones))
        })
}

/// Sets or clears a bit, if it is within the words.
fn set_bit(words: &mut [u64], bit: u32, value: bool) {
    if let Some(word) = words.get_mut((bit / 64) as usize) {
        let mask = 1u64 << (bit % 64);
        *word = if value { *word | mask } else { *word & !mask };
    }
}

/// The slots of one table. The caller serialises access.
#[derive(Clone, Debug)]
pub struct Slots {
    capacity: u32,
    used: u32,
    /// One bit per chunk whose slots are all taken.
    full: [u64; CHUNK_WORDS],
}

impl Slots {
    /// An empty table for `capacity` connections, at most [`MAX_CAPACITY`].
    pub const fn new(capacity: u32) -> Self {
        Self {
            capacity: if capacity < MAX_CAPACITY {
                capacity
            } else {
                MAX_CAPACITY
            },
            used: 0,
            full: [0; CHUNK_WORDS],
        }
    }

    /// Number of connections in the table.
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Number of connections that the table takes.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Changes the capacity. Connections beyond a lower one stay until they
    /// are freed.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity.min(MAX_CAPACITY);
    }

    /// The chunk that the next [`Self::alloc`] takes a slot of, so that the
    /// caller can provide it beforehand, where allocation may sleep. `None` if
    /// the table is full.
    pub fn next_chunk(&self) -> Option<u32> {
        let number = lowest_zero(&self.full)?;
        (number.checked_mul(CHUNK_SLOTS)? < self.capacity).then_some(number)
    }

    /// Takes the lowest free slot, in a new generation.
    pub fn alloc<S: Storage>(&mut self, storage: &mut S) -> Result<Hwid, AllocError> {
        // Each round either returns or marks one more chunk as full.
        loop {
            let number = self.next_chunk().ok_or(AllocError::Full)?;
            if !storage.provide(number) {
                return Err(AllocError::NoMemory);
            }
            let chunk = storage.chunk_mut(number).ok_or(AllocError::NoMemory)?;
            let Some(offset) = chunk.lowest_free() else {
                set_bit(&mut self.full, number, true);
                continue;
            };
            let index = number.wrapping_mul(CHUNK_SLOTS).wrapping_add(offset);
            if index >= self.capacity {
                return Err(AllocError::Full);
            }
            let slot = chunk.slots.get_mut(offset as usize);
            let hwid = slot.and_then(|slot| slot.acquire(index).ok());
            // A slot that cannot be acquired is marked as taken for good.
            set_bit(&mut chunk.taken, offset, true);
            if let Some(hwid) = hwid {
                self.used = self.used.saturating_add(1);
                return Ok(hwid);
            }
        }
    }

    /// Frees the slot of a connection. A stale identifier changes nothing.
    pub fn free<S: Storage>(&mut self, storage: &mut S, hwid: Hwid) -> Result<(), SlotError> {
        let (number, offset) = position(hwid);
        let chunk = storage.chunk_mut(number).ok_or(SlotError::Stale)?;
        let slot = chunk
            .slots
            .get_mut(offset as usize)
            .ok_or(SlotError::Stale)?;
        slot.release(hwid)?;
        if !slot.is_retired() {
            set_bit(&mut chunk.taken, offset, false);
            set_bit(&mut self.full, number, false);
        }
        self.used = self.used.saturating_sub(1);
        Ok(())
    }

    /// Whether the identifier is that of a connection in the table.
    pub fn is_valid<S: Storage>(&self, storage: &S, hwid: Hwid) -> bool {
        let (number, offset) = position(hwid);
        storage
            .chunk(number)
            .and_then(|chunk| chunk.slot(offset))
            .is_some_and(|slot| slot.holds(hwid))
    }
}

/// Chunk number and offset within it of an identifier's index.
const fn position(hwid: Hwid) -> (u32, u32) {
    (hwid.index() / CHUNK_SLOTS, hwid.index() % CHUNK_SLOTS)
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_dct_logic))]
mod tests {
    use super::*;

    /// A storage without memory.
    struct Nothing;

    impl Storage for Nothing {
        fn chunk(&self, _: u32) -> Option<&Chunk> {
            None
        }
        fn chunk_mut(&mut self, _: u32) -> Option<&mut Chunk> {
            None
        }
        fn provide(&mut self, _: u32) -> bool {
            false
        }
    }

    #[test]
    fn no_memory_is_an_error_without_effect() {
        let mut slots = Slots::new(8);
        assert!(slots.alloc(&mut Nothing) == Err(AllocError::NoMemory));
        assert_eq!(slots.used(), 0);
        let Some(hwid) = Hwid::new(3, 1) else { return };
        assert!(!slots.is_valid(&Nothing, hwid));
        assert!(slots.free(&mut Nothing, hwid) == Err(SlotError::Stale));
    }

    #[test]
    fn capacity() {
        assert_eq!(Slots::new(u32::MAX).capacity(), MAX_CAPACITY);
        let mut slots = Slots::new(0);
        assert!(slots.alloc(&mut Nothing) == Err(AllocError::Full));
        slots.set_capacity(1);
        assert!(slots.next_chunk() == Some(0));
    }

    #[test]
    fn bits() {
        let mut words = [u64::MAX, 5, 0];
        assert!(lowest_zero(&words) == Some(65));
        set_bit(&mut words, 65, true);
        assert!(lowest_zero(&words) == Some(67));
        set_bit(&mut words, 63, false);
        assert!(lowest_zero(&words) == Some(63));
        set_bit(&mut words, 500, true);
        assert!(lowest_zero(&[u64::MAX]).is_none());
    }
}
