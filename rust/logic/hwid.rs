// SPDX-License-Identifier: GPL-2.0

//! Hardware connection identifiers: the key between the host's references and
//! the target's table entry, in both directions.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::num::NonZeroU64;

/// A hardware connection identifier: index and generation of a table entry.
///
/// Never zero, so that zero can mean "none" wherever a raw value is stored, and
/// never the same for two connections that used the same entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub struct Hwid(NonZeroU64);

impl Hwid {
    /// The identifier of entry `index` in its `generation`; `None` for
    /// generation 0, which no connection ever has.
    #[inline]
    pub const fn new(index: u32, generation: u32) -> Option<Self> {
        if generation == 0 {
            return None;
        }
        // The high half is not zero, so neither is the whole.
        match NonZeroU64::new(((generation as u64) << 32) | index as u64) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The identifier that [`Self::raw`] gave; `None` for what it cannot give.
    #[inline]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        Self::new(raw as u32, (raw >> 32) as u32)
    }

    /// Index of the table entry.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0.get() as u32
    }

    /// Generation of the table entry: how many connections have used it, this
    /// one included.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// Both in one word: generation in the upper half, index in the lower.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0.get()
    }
}

/// Why a slot or an identifier cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// The identifier belongs to an earlier (or no) connection of this slot.
    Stale,
    /// The slot is in use.
    Busy,
    /// The slot has gone through all its generations and is never used again:
    /// after 2^32 - 1 connections in this one slot.
    Retired,
}

/// The part of a table entry that makes identifiers unique: its generation.
///
/// A generation is used once. When all are used up the slot retires instead of
/// starting over, so that an identifier, however long it is kept, names the connection it
/// was given for or is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot {
    generation: u32,
    busy: bool,
}

impl Slot {
    /// A slot that was never used.
    pub const fn new() -> Self {
        Self {
            generation: 0,
            busy: false,
        }
    }

    /// A free slot that was used in this many generations.
    #[cfg(any(test, CONFIG_KUNIT = "y"))]
    pub(super) const fn worn(generation: u32) -> Self {
        Self {
            generation,
            busy: false,
        }
    }

    /// Starts the next generation, for a new connection in entry `index`.
    pub fn acquire(&mut self, index: u32) -> Result<Hwid, SlotError> {
        if self.busy {
            return Err(SlotError::Busy);
        }
        let generation = self.generation.checked_add(1).ok_or(SlotError::Retired)?;
        let hwid = Hwid::new(index, generation).ok_or(SlotError::Retired)?;
        self.generation = generation;
        self.busy = true;
        Ok(hwid)
    }

    /// Ends the generation of `hwid`. From here on it is stale.
    pub fn release(&mut self, hwid: Hwid) -> Result<(), SlotError> {
        if !self.holds(hwid) {
            return Err(SlotError::Stale);
        }
        self.busy = false;
        Ok(())
    }

    /// Returns whether `hwid` is the connection now in this slot. The caller found the
    /// slot by the identifier's index.
    #[inline]
    pub const fn holds(&self, hwid: Hwid) -> bool {
        self.busy && self.generation == hwid.generation()
    }

    /// Returns whether the slot can never be used again.
    #[inline]
    pub const fn is_retired(&self) -> bool {
        !self.busy && self.generation == u32::MAX
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_hwid))]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        assert!(Hwid::new(7, 0).is_none());
        assert!(Hwid::from_raw(7).is_none());
        let id = Hwid::new(0xfffff, 3);
        assert!(id.is_some_and(|i| i.index() == 0xfffff && i.generation() == 3));
        assert!(id.and_then(|i| Hwid::from_raw(i.raw())) == id);
    }

    #[test]
    fn stale_identifiers_stay_stale() {
        let mut slot = Slot::new();
        let first = slot.acquire(9);
        assert!(slot.acquire(9) == Err(SlotError::Busy));
        let Ok(first) = first else { return };
        assert!(slot.holds(first));
        assert!(slot.release(first).is_ok());
        assert!(!slot.holds(first));
        assert!(slot.release(first) == Err(SlotError::Stale));
        let Ok(second) = slot.acquire(9) else { return };
        assert!(second != first);
        assert!(!slot.holds(first));
        assert!(slot.release(first) == Err(SlotError::Stale));
        assert!(slot.holds(second));
    }

    #[test]
    fn last_generation_retires_the_slot() {
        let mut slot = Slot::worn(u32::MAX - 1);
        let Ok(last) = slot.acquire(0) else { return };
        assert_eq!(last.generation(), u32::MAX);
        assert!(!slot.is_retired());
        assert!(slot.release(last).is_ok());
        assert!(slot.is_retired());
        assert!(slot.acquire(0) == Err(SlotError::Retired));
    }
}
