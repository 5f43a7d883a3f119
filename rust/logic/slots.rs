// SPDX-License-Identifier: GPL-2.0

//! Slots of a table: which one a new entry gets, and whether an identifier is still
//! that of the entry in its slot.
//!
//! The slot that was given back last is taken first: its memory is likely in the cache.
//! Slots that were never used are taken in order, so that a table with few entries
//! touches little memory.

use super::hwid::{
    Hwid,
    Slot,
    SlotError, //
};

/// No slot.
const NONE: u32 = u32::MAX;

/// What a table keeps of a slot, whether there is an entry in it or not.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its generation.
    slot: Slot,
    /// While it is free: the slot that was given back before it.
    next: u32,
}

impl Place {
    /// Of a slot that was never used.
    pub const FRESH: Self = Self {
        slot: Slot::new(),
        next: NONE,
    };
}

/// Where the places of a table are kept.
pub trait Places {
    /// What `f` makes of the place of slot `index`, if there is memory for it.
    fn with<R>(&mut self, index: u32, f: impl FnOnce(&mut Place) -> R) -> Option<R>;

    /// Provides memory for the place of slot `index`, if that was not done yet.
    /// `false`: there is none, or no table has so many slots.
    fn provide(&mut self, index: u32) -> bool;
}

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSlot {
    /// The table has as many entries as it may have.
    Full,
    /// There is no memory for another one.
    NoMemory,
}

/// The slots of one table. The caller serialises access to them and to their places.
#[derive(Debug)]
pub struct Slots {
    /// Slots from this one on were never used.
    fresh: u32,
    /// The slot that was given back last; [`NONE`] if there is none.
    free: u32,
    /// Entries in the table.
    used: u32,
}

impl Slots {
    /// Of an empty table.
    pub const EMPTY: Self = Self {
        fresh: 0,
        free: NONE,
        used: 0,
    };

    /// Number of entries.
    #[inline]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Every entry's slot is below this one.
    #[inline]
    pub const fn end(&self) -> u32 {
        self.fresh
    }

    /// Takes a slot for a new entry, if there are less than `capacity`. On error nothing
    /// is changed.
    pub fn take(&mut self, places: &mut impl Places, capacity: u32) -> Result<Hwid, NoSlot> {
        if self.used >= capacity {
            return Err(NoSlot::Full);
        }
        let fresh = self.free == NONE;
        let index = if fresh { self.fresh } else { self.free };
        if fresh && !(index < NONE && places.provide(index)) {
            return Err(NoSlot::NoMemory);
        }
        // A slot with no generation left is not given back, so that it is never found here.
        let acquired = places.with(index, |place| {
            let hwid = place.slot.acquire(index).ok()?;
            Some((hwid, place.next))
        });
        let (hwid, next) = acquired.flatten().ok_or(NoSlot::NoMemory)?;
        if fresh {
            self.fresh = index + 1;
        } else {
            self.free = next;
        }
        self.used = self.used.saturating_add(1);
        Ok(hwid)
    }

    /// The entry of `hwid` is gone: its slot can be taken again, before all others, unless
    /// it has no generation left. A stale identifier is an error, and changes nothing.
    pub fn give_back(&mut self, places: &mut impl Places, hwid: Hwid) -> Result<(), SlotError> {
        let index = hwid.index();
        let free = &mut self.free;
        let released = places.with(index, |place| {
            place.slot.release(hwid)?;
            if !place.slot.is_retired() {
                place.next = core::mem::replace(free, index);
            }
            Ok(())
        });
        released.unwrap_or(Err(SlotError::Stale))?;
        self.used = self.used.saturating_sub(1);
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_slots))]
mod tests {
    use super::*;

    /// Room for two places, of which the first `have` were provided.
    struct Two {
        places: [Place; 2],
        have: u32,
    }

    impl Places for Two {
        fn with<R>(&mut self, index: u32, f: impl FnOnce(&mut Place) -> R) -> Option<R> {
            if index >= self.have {
                return None;
            }
            self.places.get_mut(index as usize).map(f)
        }

        fn provide(&mut self, index: u32) -> bool {
            self.have = self.have.max(index + 1).min(2);
            index < 2
        }
    }

    fn two() -> Two {
        Two {
            places: [Place::FRESH; 2],
            have: 0,
        }
    }

    #[test]
    fn last_one_back_is_the_next() {
        let (mut slots, mut places) = (Slots::EMPTY, two());
        let a = slots.take(&mut places, 9);
        let b = slots.take(&mut places, 9);
        assert!(a.is_ok_and(|a| a.index() == 0));
        assert!(b.is_ok_and(|b| b.index() == 1));
        assert!(slots.take(&mut places, 9) == Err(NoSlot::NoMemory));
        let (Ok(a), Ok(b)) = (a, b) else { return };
        assert!(slots.give_back(&mut places, a).is_ok());
        assert!(slots.give_back(&mut places, b).is_ok());
        assert!(slots.give_back(&mut places, b) == Err(SlotError::Stale));
        assert!(slots.used() == 0 && slots.end() == 2);
        let c = slots.take(&mut places, 9);
        assert!(c.is_ok_and(|c| c.index() == 1 && c != b));
        assert!(slots.take(&mut places, 9).is_ok_and(|d| d.index() == 0));
    }

    #[test]
    fn no_room_is_an_error_without_effect() {
        let (mut slots, mut places) = (Slots::EMPTY, two());
        assert!(slots.take(&mut places, 0) == Err(NoSlot::Full));
        let a = slots.take(&mut places, 1);
        assert!(slots.take(&mut places, 1) == Err(NoSlot::Full));
        assert!(slots.used() == 1 && slots.end() == 1);
        let stranger = Hwid::new(7, 1);
        assert!(stranger.is_some_and(|id| slots.give_back(&mut places, id).is_err()));
        assert!(a.is_ok_and(|a| slots.give_back(&mut places, a).is_ok()));
    }

    #[test]
    fn a_worn_out_slot_is_not_used_again() {
        let (mut slots, mut places) = (Slots::EMPTY, two());
        places.places[0].slot = Slot::worn(u32::MAX - 1);
        let last = slots.take(&mut places, 9);
        assert!(last.is_ok_and(|id| id.index() == 0 && id.generation() == u32::MAX));
        assert!(last.is_ok_and(|id| slots.give_back(&mut places, id).is_ok()));
        assert!(slots.take(&mut places, 9).is_ok_and(|id| id.index() == 1));
        assert!(slots.take(&mut places, 9) == Err(NoSlot::NoMemory));
    }
}
