// SPDX-License-Identifier: GPL-2.0

//! Offload trees: what host and target hand to each other in one operation.
//!
//! A block holds a state object and has two links: the *next* block is another object
//! of the same level on the same one below, and the *dependent* block is the first one
//! of the level above. Seen from the wire this is a tree upside down, with one trunk and
//! many leaves: connections on paths, paths on neighbours, neighbours on what lies
//! between them and the NIC:
//!
//! ```text
//!   connection -> connection      connection        next: ->
//!       |                             |             dependent: from below upwards
//!     path ----------------------> path
//!       |
//!   neighbour
//!       |
//!     layer (VLAN)
//! ```
//!
//! Any part of such a tree is a tree, too: a connection alone, to give it back; a
//! neighbour alone, to say that it has another link address. The block of an object that
//! the target already has carries that object's [`Handle`].
//!
//! Blocks lie in the caller's memory and name each other by index, so that trees can be
//! built in any context. Nothing here loops without bound, whatever the links say: blocks
//! are only ever linked to earlier ones.
//!
//! Claims: Documentation/networking/toe-claims.rst

pub mod state;

use super::{
    hwid::Hwid,
    reason::Refusal,
    vlan::MAX_TAGS, //
};
use state::{
    Handle,
    Level,
    Object, //
};

/// Layers that lie on each other at most: a VLAN device for each tag, or one on a bond.
pub const MAX_LAYERS: usize = MAX_TAGS;

/// Blocks that lie on each other at most.
pub const MAX_DEPTH: usize = MAX_LAYERS + 3;

/// What has to be provided for a tree of one connection.
pub const ONE_CONNECTION: usize = MAX_DEPTH;

/// A block of one tree: its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BlockId(u16);

impl BlockId {
    /// Its place as a number, for memory that has no room for more.
    #[inline]
    pub const fn index(self) -> u16 {
        self.0
    }

    /// What [`Self::index`] gave. Of another tree, it names any block or none.
    #[inline]
    pub const fn from_index(index: u16) -> Self {
        Self(index)
    }
}

/// What became of a block in the operation that its tree is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// The target has not got to it.
    #[default]
    Pending,
    /// Done.
    Done,
    /// It stays with the host, as all does that depends on it.
    Refused(Refusal),
    /// The target has no such object: the handle is stale.
    Stale,
    /// The target has it, and sends nothing for it, as the host wants it.
    Invalid,
}

/// Why a tree was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TreeError {
    /// There is no room for more blocks.
    Full,
    /// Such an object does not belong there, or there is no such block.
    Misplaced,
}

/// An object, what became of it, and its links. `H` is what only the host side knows.
#[derive(Clone, Copy, Debug)]
pub struct Block<H> {
    /// The state object.
    pub object: Object,
    /// What the target calls it, if it has it.
    pub handle: Option<Handle>,
    /// What it lies on in the target, as that answers a query.
    pub below: Option<Handle>,
    /// The host's references.
    pub host: H,
    status: Status,
    next: Option<BlockId>,
    dependent: Option<BlockId>,
    /// The last of the dependants, where another one is appended.
    last: Option<BlockId>,
    /// What it lies on.
    on: Option<BlockId>,
}

impl<H> Block<H> {
    /// What became of it.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The next object of the same layer on the same one below.
    pub fn next(&self) -> Option<BlockId> {
        self.next
    }

    /// The first object that depends on it.
    pub fn dependent(&self) -> Option<BlockId> {
        self.dependent
    }

    /// The object that it depends on, if that is in the tree.
    pub fn on(&self) -> Option<BlockId> {
        self.on
    }
}

/// A tree, or several side by side, or a part of one.
pub struct Tree<'s, H> {
    blocks: &'s mut [Option<Block<H>>],
    /// Blocks in it.
    len: usize,
    /// Places from here on were never used.
    fresh: usize,
    first: Option<BlockId>,
    last: Option<BlockId>,
}

impl<'s, H> Tree<'s, H> {
    /// An empty tree for as many blocks as `blocks` is long. Its contents do not
    /// matter.
    pub fn new(blocks: &'s mut [Option<Block<H>>]) -> Self {
        let most = blocks.len().min(usize::from(u16::MAX));
        Self {
            blocks: blocks.get_mut(..most).unwrap_or_default(),
            len: 0,
            fresh: 0,
            first: None,
            last: None,
        }
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more blocks there is room for.
    pub fn room(&self) -> usize {
        self.blocks.len().saturating_sub(self.len)
    }

    /// The block.
    #[inline]
    pub fn get(&self, id: BlockId) -> Option<&Block<H>> {
        let index = usize::from(id.0);
        match index < self.fresh {
            true => self.blocks.get(index)?.as_ref(),
            false => None,
        }
    }

    /// The block, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: BlockId) -> Option<&mut Block<H>> {
        let index = usize::from(id.0);
        match index < self.fresh {
            true => self.blocks.get_mut(index)?.as_mut(),
            false => None,
        }
    }

    fn depth(&self, mut id: Option<BlockId>) -> usize {
        let mut depth = 0;
        while let Some(block) = id.and_then(|id| self.get(id)) {
            depth += 1;
            id = block.on;
        }
        depth
    }

    /// A place for a block: one that was never used, or else one that a split left.
    fn free(&mut self) -> Option<usize> {
        if self.fresh < self.blocks.len() {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.blocks.iter().position(Option::is_none)
    }

    /// Puts an object on another one, or at the bottom, behind those that are there.
    /// `handle` if the target has it already.
    // Inlined, so that an object is made where it stays: most have hundreds of bytes.
    #[inline(always)]
    pub fn add(
        &mut self,
        on: Option<BlockId>,
        object: Object,
        handle: Option<Handle>,
        host: H,
    ) -> Result<BlockId, TreeError> {
        let (place, id) = self.place(on, object.level(), handle)?;
        if let Some(slot) = self.blocks.get_mut(place) {
            *slot = Some(Block {
                object,
                handle,
                below: None,
                host,
                status: Status::Pending,
                next: None,
                dependent: None,
                last: None,
                on,
            });
        }
        self.append(on, id);
        Ok(id)
    }

    /// [`Self::add`], of an object of which nothing matters but its handle. Always inlined:
    /// what is checked is constant then.
    #[inline(always)]
    pub fn name(
        &mut self,
        on: Option<BlockId>,
        handle: Handle,
        host: H,
    ) -> Result<BlockId, TreeError> {
        self.add(on, Object::Named(handle.level), Some(handle), host)
    }

    /// The place for an object of a level on another one, if it belongs there.
    #[inline]
    fn place(
        &mut self,
        on: Option<BlockId>,
        level: Level,
        handle: Option<Handle>,
    ) -> Result<(usize, BlockId), TreeError> {
        let below = match on {
            Some(id) => Some(self.get(id).ok_or(TreeError::Misplaced)?.object.level()),
            None => None,
        };
        let too_deep = level == Level::Layer && self.depth(on) >= MAX_LAYERS;
        if !level.fits_on(below) || too_deep || handle.is_some_and(|h| h.level != level) {
            return Err(TreeError::Misplaced);
        }
        let place = self.free().ok_or(TreeError::Full)?;
        self.len += 1;
        Ok((place, BlockId(place as u16)))
    }

    /// Links a block as the last of those on `on`.
    fn append(&mut self, on: Option<BlockId>, id: BlockId) {
        let before = match on {
            Some(on) => self.get_mut(on).and_then(|below| {
                below.dependent.get_or_insert(id);
                below.last.replace(id)
            }),
            None => {
                self.first.get_or_insert(id);
                self.last.replace(id)
            }
        };
        if let Some(before) = before.and_then(|id| self.get_mut(id)) {
            before.next = Some(id);
        }
    }

    /// Takes a block out of the list that it is in; it stays in its place.
    fn unlink(&mut self, id: BlockId) {
        let Some((on, next)) = self.get(id).map(|block| (block.on, block.next)) else {
            return;
        };
        let mut before = None;
        let mut at = self.dependent_of(on);
        while let Some(other) = at.filter(|other| *other != id) {
            before = Some(other);
            at = self.get(other).and_then(Block::next);
        }
        match before.and_then(|id| self.get_mut(id)) {
            Some(before) => before.next = next,
            None => match on.and_then(|on| self.get_mut(on)) {
                Some(below) => below.dependent = next,
                None => self.first = next,
            },
        }
        if next.is_none() {
            match on.and_then(|on| self.get_mut(on)) {
                Some(below) => below.last = before,
                None => self.last = before,
            }
        }
    }

    fn dependent_of(&self, on: Option<BlockId>) -> Option<BlockId> {
        match on {
            Some(on) => self.get(on).and_then(Block::dependent),
            None => self.first,
        }
    }

    /// The blocks on `on`, or at the bottom.
    pub fn dependants(&self, on: Option<BlockId>) -> impl Iterator<Item = BlockId> + '_ {
        core::iter::successors(self.dependent_of(on), |id| self.get(*id)?.next)
    }

    /// The first block on `on` that `same` accepts.
    pub fn find(
        &self,
        on: Option<BlockId>,
        mut same: impl FnMut(&Block<H>) -> bool,
    ) -> Option<BlockId> {
        self.dependants(on)
            .find(|id| self.get(*id).is_some_and(&mut same))
    }

    /// The first block of a walk from the bottom up: each comes after what it lies on.
    pub fn first(&self) -> Option<BlockId> {
        self.first
    }

    /// The block after `id` in such a walk.
    pub fn after(&self, id: BlockId) -> Option<BlockId> {
        let block = self.get(id)?;
        if block.dependent.is_some() {
            return block.dependent;
        }
        self.beside_or_below(block)
    }

    /// The block after all that lies on `id`.
    fn beyond(&self, id: BlockId) -> Option<BlockId> {
        self.beside_or_below(self.get(id)?)
    }

    fn beside_or_below<'a>(&'a self, mut block: &'a Block<H>) -> Option<BlockId> {
        loop {
            if block.next.is_some() {
                return block.next;
            }
            block = self.get(block.on?)?;
        }
    }

    /// The first block of a walk from the leaves down: each comes before what it lies
    /// on.
    pub fn first_down(&self) -> Option<BlockId> {
        self.leaf(self.first?)
    }

    /// The block after `id` in such a walk.
    pub fn after_down(&self, id: BlockId) -> Option<BlockId> {
        let block = self.get(id)?;
        match block.next {
            Some(next) => self.leaf(next),
            None => block.on,
        }
    }

    fn leaf(&self, mut id: BlockId) -> Option<BlockId> {
        while let Some(dependent) = self.get(id)?.dependent {
            id = dependent;
        }
        Some(id)
    }

    /// All blocks, from the bottom up.
    pub fn walk(&self) -> impl Iterator<Item = BlockId> + '_ {
        core::iter::successors(self.first, |id| self.after(*id))
    }

    /// All objects of a kind, whatever they lie on.
    pub fn level(&self, level: Level) -> impl Iterator<Item = BlockId> + '_ {
        self.walk()
            .filter(move |id| self.get(*id).is_some_and(|b| b.object.level() == level))
    }

    /// Does `f` to each block, from the bottom up, which says what became of it: `None` if
    /// there is no such object.
    #[inline(always)]
    pub fn each(&mut self, mut f: impl FnMut(&mut Self, BlockId) -> Option<Status>) {
        let mut at = self.first();
        while let Some(id) = at {
            at = self.after(id);
            let status = f(self, id).unwrap_or(Status::Stale);
            self.ended(id, status);
        }
    }

    /// As [`each`](Self::each), from the leaves down.
    #[inline(always)]
    pub fn each_down(&mut self, mut f: impl FnMut(&mut Self, BlockId) -> Option<Status>) {
        let mut at = self.first_down();
        while let Some(id) = at {
            at = self.after_down(id);
            let status = f(self, id).unwrap_or(Status::Stale);
            self.ended(id, status);
        }
    }

    /// Makes each object that has no handle yet, from the bottom up; `f` says what it is to
    /// be known by.
    #[inline(always)]
    pub fn each_new(&mut self, mut f: impl FnMut(&Self, BlockId) -> Result<Hwid, Refusal>) {
        let mut at = self.first();
        while let Some(id) = at {
            at = self.after(id);
            let Some(block) = self.get(id) else {
                continue;
            };
            if block.handle.is_some() || matches!(block.status(), Status::Refused(_)) {
                continue;
            }
            let level = block.object.level();
            match f(self, id) {
                Ok(id_at_target) => self.done(
                    id,
                    Some(Handle {
                        level,
                        id: id_at_target,
                    }),
                ),
                Err(reason) => self.refuse(id, reason),
            }
        }
    }

    /// The operation is done for the block; `handle` if it has one from now on.
    pub fn done(&mut self, id: BlockId, handle: Option<Handle>) {
        if let Some(block) = self.get_mut(id) {
            block.status = Status::Done;
            let level = block.object.level();
            block.handle = handle.filter(|h| h.level == level).or(block.handle);
        }
    }

    /// The operation ended otherwise for the block.
    pub fn ended(&mut self, id: BlockId, status: Status) {
        if let Some(block) = self.get_mut(id) {
            block.status = status;
        }
    }

    /// The block stays with the host, and so does all that depends on it.
    pub fn refuse(&mut self, id: BlockId, reason: Refusal) {
        let end = self.beyond(id);
        let mut at = Some(id);
        while let Some(id) = at.filter(|id| Some(*id) != end) {
            if let Some(block) = self.get_mut(id) {
                block.status = Status::Refused(reason);
            }
            at = self.after(id);
        }
    }

    /// How many blocks lie on `id`, itself counted.
    fn size(&self, id: BlockId) -> usize {
        let end = self.beyond(id);
        core::iter::successors(Some(id), |id| self.after(*id))
            .take_while(|id| Some(*id) != end)
            .count()
    }

    /// Moves a block, with all that depends on it, into another tree. What it lies on
    /// comes along, as a copy, unless it is there already. Where it is now.
    #[cfg_attr(
        all(MODULE, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "the framework builds its trees whole")
    )]
    pub fn split(&mut self, id: BlockId, into: &mut Tree<'_, H>) -> Result<BlockId, TreeError>
    where
        H: Clone,
    {
        let mut below = self.get(id).ok_or(TreeError::Misplaced)?.on;
        if into.room() < self.size(id) + self.depth(below) {
            return Err(TreeError::Full);
        }
        let mut chain = [None; MAX_DEPTH];
        for place in &mut chain {
            *place = below;
            below = below.and_then(|id| self.get(id)?.on);
        }
        let mut on = None;
        for id in chain.into_iter().rev().flatten() {
            if let Some(block) = self.get(id) {
                on = Some(into.unite(on, block.object, block.handle, || block.host.clone())?);
            }
        }
        self.move_all(id, on, into)
    }

    /// Takes all blocks of `other`, which is empty then. Objects that are the same on
    /// the same ones below become one, which keeps what is known of it here.
    #[cfg_attr(
        all(MODULE, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "the framework builds its trees whole")
    )]
    pub fn merge(&mut self, other: &mut Tree<'_, H>) -> Result<(), TreeError>
    where
        H: Clone,
    {
        if self.room() < other.len {
            return Err(TreeError::Full);
        }
        while let Some(first) = other.first {
            other.move_all(first, None, self)?;
        }
        Ok(())
    }

    /// The object on `on`, which is made unless it is there.
    pub fn unite(
        &mut self,
        on: Option<BlockId>,
        object: Object,
        handle: Option<Handle>,
        host: impl FnOnce() -> H,
    ) -> Result<BlockId, TreeError> {
        if handle.is_some_and(|h| h.level != object.level()) {
            return Err(TreeError::Misplaced);
        }
        let same = |block: &Block<H>| {
            block.object.is_same(&object)
                && (block.handle == handle || block.handle.is_none() || handle.is_none())
        };
        if let Some(id) = self.find(on, same) {
            if let Some(block) = self.get_mut(id) {
                block.handle = block.handle.or(handle);
            }
            return Ok(id);
        }
        self.add(on, object, handle, host())
    }

    /// Moves `id` and all on it to where it lies on `on` in `into`, which has room.
    fn move_all(
        &mut self,
        id: BlockId,
        on: Option<BlockId>,
        into: &mut Tree<'_, H>,
    ) -> Result<BlockId, TreeError>
    where
        H: Clone,
    {
        let bottom = self.depth(Some(id));
        let end = self.beyond(id);
        // Where the blocks below the one at each depth went.
        let mut places = [on; MAX_DEPTH + 1];
        let mut at = Some(id);
        while let Some(id) = at.filter(|id| Some(*id) != end) {
            let depth = self.depth(Some(id)).saturating_sub(bottom);
            let below = places.get(depth).copied().flatten();
            let block = self.get(id).ok_or(TreeError::Misplaced)?;
            let known = into.len;
            let place = into.unite(below, block.object, block.handle, || block.host.clone())?;
            let is_new = known != into.len;
            if let Some(moved) = into.get_mut(place).filter(|_| is_new) {
                moved.status = block.status;
            }
            if let Some(slot) = places.get_mut(depth + 1) {
                *slot = Some(place);
            }
            at = self.after(id);
        }
        self.remove(id);
        places.get(1).copied().flatten().ok_or(TreeError::Misplaced)
    }

    /// Takes a block out, with all that lies on it.
    pub fn remove(&mut self, id: BlockId) {
        self.unlink(id);
        // From the leaves down, so that what is gone is not asked for its links.
        let mut at = self.leaf(id);
        while let Some(this) = at {
            at = match this == id {
                true => None,
                false => self.after_down(this),
            };
            if let Some(slot) = self.blocks.get_mut(usize::from(this.0)) {
                *slot = None;
                self.len -= 1;
            }
        }
        if self.len == 0 {
            self.fresh = 0;
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_tree))]
mod tests {
    use super::{
        super::hwid::Hwid,
        state::{
            Connection,
            Layer,
            Neighbour,
            Path, //
        },
        *, //
    };

    /// Room for blocks of a test. They are too large for a kernel's stack.
    #[cfg(test)]
    fn room(len: usize) -> std::vec::Vec<Option<Block<u8>>> {
        std::vec![None; len]
    }

    /// The same in the kernel. Without memory there is no room, and the test fails.
    #[cfg(not(test))]
    fn room(len: usize) -> kernel::alloc::KVec<Option<Block<u8>>> {
        kernel::alloc::KVec::from_elem(None, len, kernel::alloc::flags::GFP_KERNEL)
            .unwrap_or_default()
    }

    fn layer(id: u16) -> Object {
        let mut layer = Layer::default();
        layer.constant.id = id;
        Object::Layer(layer)
    }

    fn neighbour(hop: u8) -> Object {
        let mut neighbour = Neighbour::default();
        neighbour.constant.hop[0] = hop;
        Object::Neighbour(neighbour)
    }

    fn path(remote: u8) -> Object {
        let mut path = Path::default();
        path.constant.remote[0] = remote;
        Object::Path(path)
    }

    fn connection(port: u16) -> Object {
        let mut connection = Connection::default();
        connection.tuple.rport = port;
        Object::Connection(connection)
    }

    /// Two neighbours on a layer, the first with two paths of two connections.
    fn sample(tree: &mut Tree<'_, u8>) -> Result<[BlockId; 5], TreeError> {
        let vlan = tree.add(None, layer(7), None, 0)?;
        let near = tree.add(Some(vlan), neighbour(1), None, 1)?;
        let far = tree.add(Some(vlan), neighbour(2), None, 2)?;
        let mut first = None;
        for remote in [3, 4] {
            let path = tree.add(Some(near), path(remote), None, remote)?;
            for port in [1, 2] {
                tree.add(Some(path), connection(port), None, 0)?;
            }
            first.get_or_insert(path);
        }
        let path = first.ok_or(TreeError::Misplaced)?;
        let leaf = tree.dependants(Some(path)).next();
        Ok([vlan, near, far, path, leaf.ok_or(TreeError::Misplaced)?])
    }

    #[test]
    fn walks() {
        let mut blocks = room(9);
        let mut tree = Tree::new(&mut blocks);
        let built = sample(&mut tree);
        assert!(built.is_ok());
        let Ok([vlan, near, far, path, leaf]) = built else {
            return;
        };
        assert_eq!(tree.len(), 9);
        assert_eq!(tree.walk().count(), 9);
        assert!(tree.first() == Some(vlan) && tree.first_down() == Some(leaf));
        assert!(tree.walk().last() == Some(far));
        assert_eq!(tree.level(Level::Connection).count(), 4);
        assert!(tree.dependants(Some(vlan)).eq([near, far]));
        let mut down = 0;
        let mut at = tree.first_down();
        while let Some(id) = at {
            down += 1;
            at = tree.after_down(id);
        }
        assert_eq!(down, 9);
        assert!(tree.add(None, path_object(), None, 0) == Err(TreeError::Full));
        assert!(tree.add(Some(path), neighbour(9), None, 0) == Err(TreeError::Misplaced));
    }

    fn path_object() -> Object {
        path(9)
    }

    #[test]
    fn a_refusal_takes_what_depends_on_it() {
        let mut blocks = room(9);
        let mut tree = Tree::new(&mut blocks);
        let built = sample(&mut tree);
        assert!(built.is_ok());
        let Ok([vlan, near, far, path, leaf]) = built else {
            return;
        };
        tree.refuse(path, Refusal::NoMemory);
        let refused = |tree: &Tree<'_, u8>, id| {
            tree.get(id).map(Block::status) == Some(Status::Refused(Refusal::NoMemory))
        };
        assert!(refused(&tree, path) && refused(&tree, leaf));
        assert!(!refused(&tree, near) && !refused(&tree, vlan));
        tree.refuse(near, Refusal::NoMemory);
        assert_eq!(tree.walk().filter(|id| refused(&tree, *id)).count(), 7);
        assert!(!refused(&tree, far));
    }

    #[test]
    fn split_and_merge() {
        let (mut blocks, mut others) = (room(9), room(9));
        let mut tree = Tree::new(&mut blocks);
        let mut other = Tree::new(&mut others);
        let built = sample(&mut tree);
        assert!(built.is_ok());
        let Ok([_, near, _, path, _]) = built else {
            return;
        };
        let handle = Hwid::new(1, 1).map(|id| Handle {
            level: Level::Neighbour,
            id,
        });
        tree.done(near, handle);
        assert!(tree.split(path, &mut other).is_ok());
        // Layer, neighbour, path, two connections; the first two stay, too.
        assert_eq!((tree.len(), other.len()), (6, 5));
        let copy = other.level(Level::Neighbour).next();
        assert!(copy
            .and_then(|id| other.get(id))
            .is_some_and(|b| b.handle == handle));
        // With all of its blocks counted it no longer fits.
        assert!(tree.merge(&mut other) == Err(TreeError::Full));
        let (mut wide, mut blocks) = (room(20), room(9));
        let mut all = Tree::new(&mut wide);
        assert!(all.merge(&mut tree).is_ok() && all.merge(&mut other).is_ok());
        assert!(tree.is_empty() && other.is_empty());
        let mut again = Tree::new(&mut blocks);
        assert!(sample(&mut again).is_ok());
        assert!(all.merge(&mut again).is_ok());
        // The handle is known on one side, the rest is the same.
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn named_objects_lie_where_whole_ones_do() {
        let mut blocks = room(2);
        let mut tree = Tree::new(&mut blocks);
        let Some(id) = Hwid::new(1, 1) else {
            panic!("a hwid is not 0");
        };
        let handle = |level| Handle { level, id };
        let path = tree.name(None, handle(Level::Path), 1);
        assert!(path.is_ok());
        let below = tree.name(path.ok(), handle(Level::Neighbour), 2);
        assert!(below == Err(TreeError::Misplaced));
        let leaf = tree.name(path.ok(), handle(Level::Connection), 3);
        let leaf = leaf.ok().and_then(|leaf| tree.get(leaf));
        assert!(leaf.is_some_and(|leaf| {
            leaf.handle == Some(handle(Level::Connection))
                && leaf.object.level() == Level::Connection
                && (leaf.on(), leaf.host) == (path.ok(), 3)
        }));
        let full = tree.name(path.ok(), handle(Level::Connection), 4);
        assert!(full == Err(TreeError::Full));
        assert_eq!(tree.walk().count(), 2);
    }

    #[test]
    fn places_are_used_again() {
        let mut blocks = room(9);
        let mut tree = Tree::new(&mut blocks);
        let built = sample(&mut tree);
        assert!(built.is_ok());
        let Ok([vlan, near, far, ..]) = built else {
            return;
        };
        tree.remove(near);
        assert!(tree.walk().eq([vlan, far]));
        assert!(tree.add(Some(vlan), neighbour(5), None, 0).is_ok());
        assert_eq!(tree.walk().count(), 3);
        tree.remove(vlan);
        assert!(tree.is_empty() && tree.first().is_none());
        assert!(sample(&mut tree).is_ok());
    }
}
