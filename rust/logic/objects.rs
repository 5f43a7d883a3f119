// SPDX-License-Identifier: GPL-2.0

//! The host's books on the objects below connections: which of them the target has, how
//! many depend on each, and which go when nothing does.
//!
//! A connection depends on its path, a path on its neighbour, that on the layers below it.
//! An object counts as a dependant of what it lies on from when the target has it until
//! the target is asked to give it up.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};

use super::{
    hwid::Hwid,
    tree::{
        state::{
            Handle,
            Level, //
        },
        BlockId,
        Tree, //
    }, //
};

/// Which object: its level, and what the host's table of that level calls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Key {
    /// Its level.
    pub level: Level,
    /// Its place in the host's table.
    pub id: Hwid,
}

/// What the host has of an object of any level. The caller serialises changes; readers
/// may be anywhere.
#[derive(Debug, Default)]
pub struct RefState {
    /// The target's handle; 0 while the object is being made.
    handle: AtomicU64,
    /// Objects, or connections, that depend on it.
    dependants: AtomicU32,
    /// Its block in the tree that is being built: that tree's number, and the block.
    block: AtomicU64,
}

impl RefState {
    /// What the target calls it, if it has it.
    #[inline]
    pub fn handle(&self, level: Level) -> Option<Handle> {
        let id = Hwid::from_raw(self.handle.load(Relaxed))?;
        Some(Handle { level, id })
    }

    /// Its block in the tree of that number, if that is where it was put last.
    #[inline]
    pub fn block(&self, tree: u64) -> Option<BlockId> {
        let block = self.block.load(Relaxed);
        (block >> 16 == tree).then_some(BlockId::from_index(block as u16))
    }

    /// It was put into the tree of that number, from 1 to 2^48 - 1.
    #[inline]
    pub fn set_block(&self, tree: u64, id: BlockId) {
        let block = tree << 16 | u64::from(id.index());
        self.block.store(block, Relaxed);
    }

    /// How many depend on it.
    #[inline]
    pub fn dependants(&self) -> u32 {
        self.dependants.load(Relaxed)
    }

    /// One more depends on it.
    #[inline]
    pub fn depend(&self) {
        let now = self.dependants().saturating_add(1);
        self.dependants.store(now, Relaxed);
    }

    /// One less depends on it: how many do now.
    #[inline]
    pub fn let_go(&self) -> u32 {
        let now = self.dependants().saturating_sub(1);
        self.dependants.store(now, Relaxed);
        now
    }
}

/// The host's records.
pub trait Records {
    /// The object's state, and what it lies on. `None`: there is no such object below
    /// connections.
    fn get(&self, key: Key) -> Option<(&RefState, Option<Key>)>;

    /// Takes the record away.
    fn remove(&mut self, key: Key);
}

/// The target was given the tree: what it made of what is `new` has a handle, and counts
/// as a dependant of what it lies on. `new` tells the record of a block that was to be
/// made.
pub fn made<H>(records: &impl Records, tree: &Tree<'_, H>, new: impl Fn(&H) -> Option<Hwid>) {
    for block in tree.walk().filter_map(|id| tree.get(id)) {
        let (Some(id), Some(handle)) = (new(&block.host), block.handle) else {
            continue;
        };
        let level = handle.level;
        let Some((state, on)) = records.get(Key { level, id }) else {
            continue;
        };
        state.handle.store(handle.id.raw(), Relaxed);
        if let Some((on, _)) = on.and_then(|on| records.get(on)) {
            on.depend();
        }
    }
}

/// What was put into the tree and is of no use goes again: what the target did not make,
/// and what nothing depends on. `new` is as for [`made`], `terminate` as for [`forget`].
pub fn sweep<H>(
    records: &mut impl Records,
    tree: &Tree<'_, H>,
    new: impl Fn(&H) -> Option<Hwid>,
    mut terminate: impl FnMut(Handle),
) {
    let mut at = tree.first_down();
    while let Some(block_id) = at {
        if let Some(block) = tree.get(block_id) {
            if let Some(id) = new(&block.host) {
                let level = block.object.level();
                forget(records, Key { level, id }, &mut terminate);
            }
        }
        at = tree.after_down(block_id);
    }
}

/// Takes an object away, and those below it, as far as nothing depends on them. What the
/// target has it gives up by `terminate`.
#[cold]
pub fn forget(records: &mut impl Records, key: Key, mut terminate: impl FnMut(Handle)) {
    let mut next = Some(key);
    while let Some(key) = next.take() {
        let Some((state, on)) = records.get(key) else {
            return;
        };
        if state.dependants() != 0 {
            return;
        }
        if let Some(handle) = state.handle(key.level) {
            terminate(handle);
            // Only what was made was counted by what it lies on.
            next = on.filter(|on| records.get(*on).is_some_and(|(on, _)| on.let_go() == 0));
        }
        records.remove(key);
    }
}

/// Objects that lost their last dependant lately, at most `N`: they are kept for a moment,
/// and may have got another one.
#[derive(Debug)]
pub struct Idle<const N: usize> {
    ids: [Option<Hwid>; N],
    /// The place that is taken next.
    next: usize,
}

impl<const N: usize> Idle<N> {
    /// None.
    pub const EMPTY: Self = Self {
        ids: [None; N],
        next: 0,
    };

    /// Keeps one. `Some`: what has to go for it.
    #[inline]
    pub fn keep(&mut self, id: Hwid) -> Option<Hwid> {
        if self.ids.contains(&Some(id)) {
            return None;
        }
        let place = self.next.checked_rem(N).unwrap_or(0);
        self.next = place + 1;
        match self.ids.get_mut(place) {
            Some(slot) => slot.replace(id),
            None => Some(id),
        }
    }

    /// Asks for each whether it `stays`. `true`: some do.
    pub fn sweep(&mut self, mut stays: impl FnMut(Hwid) -> bool) -> bool {
        let mut left = false;
        for slot in &mut self.ids {
            match slot.filter(|id| stays(*id)) {
                None => *slot = None,
                Some(_) => left = true,
            }
        }
        left
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_objects))]
mod tests {
    use super::*;

    #[test]
    fn counts_saturate() {
        let state = RefState::default();
        assert!(state.handle(Level::Path).is_none());
        assert_eq!(state.let_go(), 0);
        state.depend();
        state.depend();
        assert_eq!(state.let_go(), 1);
        assert_eq!(state.dependants(), 1);
    }

    #[test]
    fn a_block_is_that_of_one_tree() {
        let state = RefState::default();
        let id = BlockId::from_index(u16::MAX);
        assert!(state.block(1).is_none());
        state.set_block(u64::MAX >> 16, id);
        assert!(state.block(u64::MAX >> 16) == Some(id));
        assert!(state.block(1).is_none());
    }

    #[test]
    fn the_oldest_goes() {
        let mut idle = Idle::<2>::EMPTY;
        let (Some(a), Some(b), Some(c)) = (Hwid::new(1, 1), Hwid::new(2, 1), Hwid::new(3, 1))
        else {
            return;
        };
        assert!(idle.keep(a).is_none() && idle.keep(b).is_none());
        // It is there already.
        assert!(idle.keep(a).is_none());
        assert!(idle.keep(c) == Some(a));
        assert!(idle.keep(a) == Some(b));
        assert!(idle.sweep(|id| id == c));
        assert!(idle.keep(b) == Some(c) && idle.keep(a).is_none());
        assert!(!idle.sweep(|_| false));
        let mut none = Idle::<0>::EMPTY;
        assert!(none.keep(a) == Some(a));
    }
}
