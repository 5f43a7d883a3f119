// SPDX-License-Identifier: GPL-2.0

//! Offload trees against nested lists, in which the rules are written once more.

use std::collections::HashSet;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;
use toe_model::logic::{
    hwid::Hwid,
    reason::Refusal,
    tree::{
        state::{Connection, Handle, Layer, Level, Neighbour, Object, Path},
        Block, BlockId, Status, Tree, TreeError, MAX_DEPTH, ONE_CONNECTION,
    },
    vlan::{Tags, MAX_TAGS},
    wire::ETHERTYPE_VLAN,
};

/// A number of its own for each block that is added; the count tells how many there are.
type Host = Rc<u32>;

/// What makes an object that object: its kind, and which one.
type Name = (Level, u8);

/// Names of each kind. Each of them differs in another part of the constant state.
const NAMES: u8 = 4;

/// Places in the largest tree here, except for that of `as_many_as_indices`.
const MOST: usize = 64;

/// Blocks in a tree that is grown, at most.
const GROWN: usize = MOST / 2;

/// `known`: what two that are the same may differ in.
fn object((level, name): Name, known: u8) -> Object {
    let is = |other| u8::from(name == other);
    match level {
        Level::Layer => {
            let mut layer = Layer::default();
            layer.constant.id = is(1).into();
            layer.constant.device = is(2).into();
            layer.constant.mac[5] = is(3);
            Object::Layer(layer)
        }
        Level::Neighbour => {
            let mut neighbour = Neighbour::default();
            neighbour.constant.hop[0] = is(1);
            neighbour.constant.device = is(2).into();
            neighbour.constant.source[5] = is(3);
            neighbour.cached.mac[5] = known;
            neighbour.delegated.progress = known.into();
            Object::Neighbour(neighbour)
        }
        Level::Path => {
            let mut path = Path::default();
            path.constant.remote[15] = is(1);
            path.constant.local[0] = is(2);
            path.constant.mark = is(3).into();
            path.cached.mtu = known.into();
            Object::Path(path)
        }
        Level::Connection => {
            let mut connection = Connection::default();
            connection.tuple.rport = is(1).into();
            connection.tuple.lport = is(2).into();
            if name == 3 {
                connection.tuple.vlan = Tags::NONE.with_inner(ETHERTYPE_VLAN, 1).expect("room");
            }
            connection.data.cached.mss = known.into();
            connection.data.delegated.snd_wnd = known.into();
            Object::Connection(connection)
        }
    }
}

/// A block, and what lies on it.
#[derive(Clone, PartialEq, Debug)]
struct Node {
    name: Name,
    known: u8,
    handle: Option<Handle>,
    host: u32,
    status: Status,
    /// Not known before it is found in the tree.
    id: Option<BlockId>,
    upper: Vec<Node>,
}

impl Node {
    fn level(&self) -> Level {
        self.name.0
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && match (self.handle, other.handle) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    }

    fn size(&self) -> usize {
        1 + self.upper.iter().map(Node::size).sum::<usize>()
    }

    fn mark(&mut self, status: Status) {
        self.status = status;
        self.upper.iter_mut().for_each(|node| node.mark(status));
    }
}

/// Which one of each list, from the bottom up.
type Spot = Vec<usize>;

#[derive(Clone, PartialEq, Debug)]
struct Model {
    capacity: usize,
    bottom: Vec<Node>,
}

/// May objects of these kinds lie on each other, the last one uppermost? Any part of a
/// whole tree is one.
fn is_part(levels: &[Level]) -> bool {
    let mut whole = vec![Level::Layer; MAX_TAGS];
    whole.extend([Level::Neighbour, Level::Path, Level::Connection]);
    whole.windows(levels.len()).any(|part| part == levels)
}

/// What is the same in `list`, or else the node, which comes last.
fn unite(list: &mut Vec<Node>, node: Node) -> usize {
    match list.iter().position(|other| other.is_same(&node)) {
        Some(at) => {
            list[at].handle = list[at].handle.or(node.handle);
            at
        }
        None => {
            list.push(node);
            list.len() - 1
        }
    }
}

/// The node and all on it, in this order.
fn unite_all(list: &mut Vec<Node>, mut node: Node) -> usize {
    let upper = std::mem::take(&mut node.upper);
    node.id = None;
    let at = unite(list, node);
    for node in upper {
        unite_all(&mut list[at].upper, node);
    }
    at
}

impl Model {
    fn len(&self) -> usize {
        self.bottom.iter().map(Node::size).sum()
    }

    fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// All nodes, each before those on it, or after them.
    fn nodes(&self, down: bool) -> Vec<&Node> {
        fn collect<'a>(list: &'a [Node], down: bool, out: &mut Vec<&'a Node>) {
            for node in list {
                if !down {
                    out.push(node);
                }
                collect(&node.upper, down, out);
                if down {
                    out.push(node);
                }
            }
        }
        let mut out = Vec::new();
        collect(&self.bottom, down, &mut out);
        out
    }

    fn ids(&self, down: bool) -> Vec<BlockId> {
        let nodes = self.nodes(down);
        nodes.iter().filter_map(|node| node.id).collect()
    }

    fn find(&self, id: BlockId) -> Option<Spot> {
        fn search(list: &[Node], id: BlockId) -> Option<Spot> {
            list.iter().enumerate().find_map(|(at, node)| {
                if node.id == Some(id) {
                    return Some(vec![at]);
                }
                let above = search(&node.upper, id)?;
                Some([vec![at], above].concat())
            })
        }
        search(&self.bottom, id)
    }

    fn list(&mut self, on: &[usize]) -> &mut Vec<Node> {
        on.iter()
            .fold(&mut self.bottom, |list, at| &mut list[*at].upper)
    }

    fn node(&mut self, spot: &[usize]) -> &mut Node {
        let (last, on) = spot.split_last().expect("not the bottom");
        &mut self.list(on)[*last]
    }

    /// What lies below each other, from the bottom up, the one there the last.
    fn chain(&mut self, spot: &[usize]) -> Vec<Node> {
        let depths = 1..=spot.len();
        depths.map(|n| self.node(&spot[..n]).clone()).collect()
    }

    /// The node with all on it, as it is to be in a tree that had nothing of it: on
    /// copies of what it lies on.
    fn part(&mut self, spot: &[usize]) -> Option<Node> {
        let nodes = self.chain(spot).into_iter().rev();
        nodes.reduce(|upper, below| Node {
            status: Status::Pending,
            upper: vec![upper],
            ..below
        })
    }

    fn put(&mut self, on: Option<BlockId>, node: Node, is_united: bool) -> Result<Spot, TreeError> {
        let mut spot = match on {
            Some(id) => self.find(id).ok_or(TreeError::Misplaced)?,
            None => Vec::new(),
        };
        let mut levels: Vec<_> = self.chain(&spot).iter().map(Node::level).collect();
        levels.push(node.level());
        let is_other = node.handle.is_some_and(|h| h.level != node.level());
        if !is_part(&levels) || is_other {
            return Err(TreeError::Misplaced);
        }
        let is_full = self.room() == 0;
        let list = self.list(&spot);
        let is_there = is_united && list.iter().any(|other| other.is_same(&node));
        if is_full && !is_there {
            return Err(TreeError::Full);
        }
        let at = match is_united {
            true => unite(list, node),
            false => {
                list.push(node);
                list.len() - 1
            }
        };
        spot.push(at);
        Ok(spot)
    }

    fn remove(&mut self, id: BlockId) -> Option<Node> {
        let spot = self.find(id)?;
        let (last, on) = spot.split_last()?;
        Some(self.list(on).remove(*last))
    }

    fn split(&mut self, id: BlockId, into: &mut Self) -> Result<Spot, TreeError> {
        let spot = self.find(id).ok_or(TreeError::Misplaced)?;
        let mut below = self.chain(&spot);
        let size = below.pop().map_or(0, |node| node.size());
        if into.room() < size + below.len() {
            return Err(TreeError::Full);
        }
        let mut there = Spot::new();
        for mut node in below {
            node.upper.clear();
            node.id = None;
            node.status = Status::Pending;
            let at = unite(into.list(&there), node);
            there.push(at);
        }
        let moved = self.remove(id).ok_or(TreeError::Misplaced)?;
        let at = unite_all(into.list(&there), moved);
        there.push(at);
        Ok(there)
    }

    fn merge(&mut self, other: &mut Self) -> Result<(), TreeError> {
        if self.room() < other.len() {
            return Err(TreeError::Full);
        }
        for node in other.bottom.drain(..) {
            unite_all(&mut self.bottom, node);
        }
        Ok(())
    }
}

/// Without the order of siblings, and without places.
fn unordered(list: &[Node]) -> Vec<Node> {
    let mut list = list.to_vec();
    list.sort_by_key(|node| node.host);
    for node in &mut list {
        node.id = None;
        node.upper = unordered(&node.upper);
    }
    list
}

/// Each object by its name and those of what it lies on.
fn names(list: &[Node]) -> Vec<Vec<Name>> {
    let mut all = Vec::new();
    for node in list {
        all.push(vec![node.name]);
        let upper = names(&node.upper).into_iter();
        all.extend(upper.map(|chain| [vec![node.name], chain].concat()));
    }
    all
}

/// Room for `count` blocks.
fn blocks<H>(count: usize) -> Vec<Option<Block<H>>> {
    (0..count).map(|_| None).collect()
}

/// All identifiers that blocks of the trees here may have, and some that none has.
fn ids() -> impl Iterator<Item = BlockId> {
    let none = [u16::MAX - 1, u16::MAX];
    (0..=MOST as u16).chain(none).map(BlockId::from_index)
}

/// The blocks on `on` are those of the list, in its order, with all links.
fn check_links(
    tree: &Tree<'_, Host>,
    on: Option<BlockId>,
    list: &mut [Node],
    seen: &mut HashSet<BlockId>,
) -> TestCaseResult {
    let found: Vec<_> = tree.dependants(on).take(list.len() + 1).collect();
    prop_assert_eq!(found.len(), list.len());
    let first = match on {
        Some(on) => tree.get(on).and_then(Block::dependent),
        None => tree.first(),
    };
    prop_assert_eq!(first, found.first().copied());
    for (at, node) in list.iter_mut().enumerate() {
        let id = found[at];
        prop_assert!(seen.insert(id), "{:?} is there twice", id);
        // What stays where it is keeps its place.
        prop_assert_eq!(*node.id.get_or_insert(id), id);
        let Some(block) = tree.get(id) else {
            return Err(TestCaseError::fail("a link to nothing"));
        };
        prop_assert_eq!(block.on(), on);
        prop_assert_eq!(block.next(), found.get(at + 1).copied());
        prop_assert_eq!(block.object, object(node.name, node.known));
        prop_assert_eq!(block.handle, node.handle);
        prop_assert_eq!(*block.host, node.host);
        prop_assert_eq!(block.status(), node.status);
        check_links(tree, Some(id), &mut node.upper, seen)?;
    }
    Ok(())
}

/// From `first` on; ends after [`MOST`] and one more.
fn steps(first: Option<BlockId>, next: impl Fn(BlockId) -> Option<BlockId>) -> Vec<BlockId> {
    let steps = std::iter::successors(first, |id| next(*id));
    steps.take(MOST + 1).collect()
}

/// A tree, and what should be in it.
struct Side<'s> {
    tree: Tree<'s, Host>,
    model: Model,
}

impl<'s> Side<'s> {
    fn new(storage: &'s mut [Option<Block<Host>>]) -> Self {
        let model = Model {
            capacity: storage.len(),
            bottom: Vec::new(),
        };
        Self {
            tree: Tree::new(storage),
            model,
        }
    }

    /// The tree is what it should be, in all that can be seen of it.
    fn check(&mut self) -> TestCaseResult {
        let Self { tree, model } = self;
        let mut seen = HashSet::new();
        check_links(tree, None, &mut model.bottom, &mut seen)?;
        prop_assert_eq!(tree.len(), model.len());
        prop_assert_eq!(tree.room(), model.room());
        prop_assert_eq!(tree.is_empty(), model.bottom.is_empty());
        for id in ids() {
            prop_assert_eq!(tree.get(id).is_some(), seen.contains(&id));
            prop_assert_eq!(tree.get_mut(id).is_some(), seen.contains(&id));
        }
        let up = steps(tree.first(), |id| tree.after(id));
        prop_assert_eq!(up, model.ids(false));
        let down = steps(tree.first_down(), |id| tree.after_down(id));
        prop_assert_eq!(down, model.ids(true));
        Ok(())
    }
}

/// What was given to blocks, so that none of it is lost or kept.
#[derive(Default)]
struct Hosts(Vec<Host>);

impl Hosts {
    fn provide(&mut self) -> Host {
        self.0.push(Rc::new(self.0.len() as u32));
        Rc::clone(&self.0[self.0.len() - 1])
    }

    fn check(&self, sides: &[Side<'_>]) -> TestCaseResult {
        for host in &self.0 {
            let nodes = sides.iter().flat_map(|side| side.model.nodes(false));
            let blocks = nodes.filter(|node| node.host == **host).count();
            prop_assert_eq!(Rc::strong_count(host), 1 + blocks);
        }
        Ok(())
    }
}

/// A block of a tree, or any identifier.
#[derive(Clone, Debug)]
struct Pick {
    is_wild: bool,
    index: Index,
}

impl Pick {
    fn of(&self, model: &Model) -> BlockId {
        let mut from = model.ids(false);
        if self.is_wild || from.is_empty() {
            from = ids().collect();
        }
        *self.index.get(&from)
    }
}

#[derive(Clone, Debug)]
struct Put {
    is_united: bool,
    /// `None`: at the bottom.
    on: Option<Pick>,
    /// As it is if the place is any, or else one that fits there.
    level: Level,
    name: u8,
    known: u8,
    /// The level is added to that of the object.
    handle: Option<(u32, usize)>,
}

#[derive(Clone, Debug)]
enum Op {
    Put(Put),
    Remove(Pick),
    Refuse(Pick, Refusal),
    Done(Pick, Option<u32>),
    Ended(Pick, Status),
    Split(Pick),
    Merge,
}

fn handle(level: Level, index: u32) -> Handle {
    let id = Hwid::new(index, 1).expect("a generation");
    Handle { level, id }
}

/// Does what was asked for, in the tree and in the model of it.
fn apply(this: &mut Side<'_>, other: &mut Side<'_>, op: &Op, hosts: &mut Hosts) -> TestCaseResult {
    let (tree, model) = (&mut this.tree, &mut this.model);
    match op {
        Op::Put(put) => {
            let on = put.on.as_ref().map(|pick| pick.of(model));
            let level = match put.on {
                Some(Pick { is_wild: false, .. }) => {
                    let below = on.and_then(|on| tree.get(on)).map(|b| b.object.level());
                    let fits = |level: &Level| level.fits_on(below);
                    let is_layer = |level: &Level| *level == Level::Layer;
                    let mut levels = Level::ALL.into_iter().filter(fits);
                    let first = levels.next().unwrap_or(put.level);
                    // A layer carries two kinds.
                    let second = levels.next().filter(|_| !is_layer(&put.level));
                    second.unwrap_or(first)
                }
                _ => put.level,
            };
            let handle = put.handle.map(|(index, other)| {
                let level = Level::ALL[(level as usize + other) % Level::ALL.len()];
                handle(level, index)
            });
            let host = hosts.provide();
            let node = Node {
                name: (level, put.name),
                known: put.known,
                handle,
                host: *host,
                status: Status::Pending,
                id: None,
                upper: Vec::new(),
            };
            let object = object(node.name, node.known);
            let expected = model.put(on, node, put.is_united);
            let result = match put.is_united {
                true => tree.unite(on, object, handle, || host),
                false => tree.add(on, object, handle, host),
            };
            this.check()?;
            let place = expected.map(|spot| this.model.node(&spot).id);
            prop_assert_eq!(result.map(Some), place);
        }
        Op::Remove(pick) => {
            let id = pick.of(model);
            model.remove(id);
            tree.remove(id);
        }
        Op::Refuse(pick, reason) => {
            let id = pick.of(model);
            if let Some(spot) = model.find(id) {
                model.node(&spot).mark(Status::Refused(*reason));
            }
            tree.refuse(id, *reason);
        }
        Op::Done(pick, index) => {
            let id = pick.of(model);
            let level = tree.get(id).map(|block| block.object.level());
            let handle = index.zip(level).map(|(index, level)| handle(level, index));
            if let Some(spot) = model.find(id) {
                let node = model.node(&spot);
                node.status = Status::Done;
                node.handle = handle.or(node.handle);
            }
            tree.done(id, handle);
        }
        Op::Ended(pick, status) => {
            let id = pick.of(model);
            if let Some(spot) = model.find(id) {
                model.node(&spot).status = *status;
            }
            tree.ended(id, *status);
        }
        Op::Split(pick) => {
            let id = pick.of(model);
            let expected = model.split(id, &mut other.model);
            let result = tree.split(id, &mut other.tree);
            other.check()?;
            let place = expected.map(|spot| other.model.node(&spot).id);
            prop_assert_eq!(result.map(Some), place);
        }
        Op::Merge => {
            let expected = model.merge(&mut other.model);
            prop_assert_eq!(tree.merge(&mut other.tree), expected);
            other.check()?;
        }
    }
    this.check()
}

/// Grows a tree of its own.
fn grow(side: &mut Side<'_>, ops: &[Op], hosts: &mut Hosts) -> TestCaseResult {
    let mut none = Side::new(&mut []);
    ops.iter()
        .try_for_each(|op| apply(side, &mut none, op, hosts))
}

fn any_level() -> impl Strategy<Value = Level> {
    prop::sample::select(&Level::ALL[..])
}

fn any_reason() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NoMemory),
        Just(Refusal::TableFull),
        Just(Refusal::Neighbour)
    ]
}

fn any_end() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Stale), Just(Status::Invalid)]
}

/// `wild`: one of how many is any identifier; 0: none.
fn any_pick(wild: u32) -> impl Strategy<Value = Pick> {
    let is_wild = (0..wild.max(1)).prop_map(move |n| wild > 0 && n == 0);
    (is_wild, any::<Index>()).prop_map(|(is_wild, index)| Pick { is_wild, index })
}

fn any_put(wild: u32) -> impl Strategy<Value = Put> {
    let on = prop_oneof![1 => Just(None), 5 => any_pick(wild).prop_map(Some)];
    let other = (0..4 * wild.max(1)).prop_map(move |n| if wild > 0 && n < 4 { n } else { 0 });
    let handle = (any::<bool>(), 0u32..3, other);
    let handle = handle.prop_map(|(has, index, other)| has.then_some((index, other as usize)));
    let united = any::<bool>();
    (united, on, any_level(), 0..NAMES, any::<u8>(), handle).prop_map(
        |(is_united, on, level, name, known, handle)| Put {
            is_united,
            on,
            level,
            name,
            known,
            handle,
        },
    )
}

fn any_status() -> impl Strategy<Value = Op> {
    prop_oneof![
        (any_pick(0), any_reason()).prop_map(|(pick, reason)| Op::Refuse(pick, reason)),
        any_pick(0).prop_map(|pick| Op::Done(pick, None)),
        (any_pick(0), any_end()).prop_map(|(pick, status)| Op::Ended(pick, status)),
    ]
}

/// What makes a tree. `only_united`: no two that are the same lie on the same one.
fn any_growth(only_united: bool) -> impl Strategy<Value = Vec<Op>> {
    let put = any_put(0).prop_map(move |put| {
        Op::Put(Put {
            is_united: put.is_united || only_united,
            ..put
        })
    });
    prop::collection::vec(prop_oneof![5 => put, 1 => any_status()], 0..GROWN)
}

fn any_op() -> impl Strategy<Value = Op> {
    let index = prop::option::of(0u32..3);
    prop_oneof![
        24 => any_put(8).prop_map(Op::Put),
        2 => any_pick(8).prop_map(Op::Remove),
        2 => (any_pick(8), any_reason()).prop_map(|(pick, reason)| Op::Refuse(pick, reason)),
        2 => (any_pick(8), index).prop_map(|(pick, index)| Op::Done(pick, index)),
        1 => (any_pick(8), any_end()).prop_map(|(pick, status)| Op::Ended(pick, status)),
        4 => any_pick(8).prop_map(Op::Split),
        1 => Just(Op::Merge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn building_agrees(capacity in 0..GROWN, used in any::<bool>(), puts in prop::collection::vec(any_put(4), 0..MOST)) {
        let mut storage = blocks(capacity);
        if used {
            let mut tree = Tree::new(&mut storage);
            while tree.add(None, object((Level::Layer, 0), 0), None, Rc::new(0)).is_ok() {}
            prop_assert_eq!(tree.room(), 0);
        }
        let mut side = Side::new(&mut storage);
        side.check()?;
        let ops: Vec<_> = puts.into_iter().map(Op::Put).collect();
        grow(&mut side, &ops, &mut Hosts::default())?;
    }

    #[test]
    fn walks_meet_each_block_once(ops in any_growth(false)) {
        let mut storage = blocks(MOST);
        let mut side = Side::new(&mut storage);
        grow(&mut side, &ops, &mut Hosts::default())?;
        let tree = &side.tree;
        let up: Vec<_> = tree.walk().take(MOST + 1).collect();
        let down = steps(tree.first_down(), |id| tree.after_down(id));
        for walk in [&up, &down] {
            prop_assert_eq!(walk.len(), tree.len());
            prop_assert_eq!(walk.iter().collect::<HashSet<_>>().len(), tree.len());
        }
        let at = |walk: &[BlockId], id| walk.iter().position(|other| *other == id);
        for id in &up {
            let block = tree.get(*id).expect("from the walk");
            if let Some(on) = block.on() {
                prop_assert!(at(&up, on) < at(&up, *id));
                prop_assert!(at(&down, on) > at(&down, *id));
            }
            // What depends on it comes first, then the next one.
            let after = at(&up, *id).and_then(|at| up.get(at + 1)).copied();
            let next = block.dependent().or(block.next());
            prop_assert!(next.is_none() || next == after);
            let same = |other: &Block<Host>| other.object == block.object;
            let first = tree.find(block.on(), same);
            let mut beside = tree.dependants(block.on());
            prop_assert_eq!(first, beside.find(|id| same(tree.get(*id).expect("linked"))));
        }
        for level in Level::ALL {
            let found: Vec<_> = tree.level(level).take(MOST + 1).collect();
            let nodes = side.model.nodes(false).into_iter().filter(|node| node.level() == level);
            prop_assert_eq!(found, nodes.filter_map(|node| node.id).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_status_is_of_one_block_or_of_all_on_it(ops in any_growth(false), pick in any_pick(4), reason in any_reason(), end in any_end(), index in prop::option::of(0u32..3)) {
        let mut storage = blocks(MOST);
        let mut side = Side::new(&mut storage);
        grow(&mut side, &ops, &mut Hosts::default())?;
        let tree = &mut side.tree;
        let chosen = pick.of(&side.model);
        let given = tree.get(chosen).and_then(|block| {
            index.map(|index| handle(block.object.level(), index))
        });
        type Change<'a> = &'a dyn Fn(&mut Tree<'_, Host>);
        let changes: [(Status, bool, Change<'_>); 3] = [
            (Status::Done, false, &|tree| tree.done(chosen, given)),
            (end, false, &|tree| tree.ended(chosen, end)),
            (Status::Refused(reason), true, &|tree| tree.refuse(chosen, reason)),
        ];
        for (status, is_deep, change) in changes {
            let before: Vec<_> = tree.walk().map(|id| (id, tree.get(id).cloned())).collect();
            change(tree);
            prop_assert!(tree.walk().eq(before.iter().map(|(id, _)| *id)));
            for (id, block) in &before {
                let old = block.as_ref().expect("from the walk");
                let new = tree.get(*id).expect("from the walk");
                let below = |id: &BlockId| tree.get(*id).and_then(Block::on);
                let mut chain = std::iter::successors(Some(*id), below).take(MAX_DEPTH);
                let is_on = chain.any(|id| id == chosen);
                let is_changed = *id == chosen || is_deep && is_on;
                prop_assert_eq!(new.status(), if is_changed { status } else { old.status() });
                let is_given = *id == chosen && status == Status::Done;
                prop_assert_eq!(new.handle, given.filter(|_| is_given).or(old.handle));
                prop_assert_eq!(new.object, old.object);
                prop_assert!(Rc::ptr_eq(&new.host, &old.host));
            }
        }
    }

    #[test]
    fn a_split_moves_what_lies_on_a_block(ops in any_growth(false), others in any_growth(false), capacity in 0..MOST, pick in any_pick(16)) {
        let (mut storage, mut small) = (blocks(MOST), blocks(capacity));
        let mut hosts = Hosts::default();
        let (mut side, mut target) = (Side::new(&mut storage), Side::new(&mut small));
        grow(&mut side, &ops, &mut hosts)?;
        grow(&mut target, &others, &mut hosts)?;
        let (from, to) = (side.model.clone(), target.model.clone());
        let chosen = pick.of(&from);
        let spot = from.find(chosen).unwrap_or_default();

        apply(&mut side, &mut target, &Op::Split(pick), &mut hosts)?;
        let mut rest = from.clone();
        let moved = rest.remove(chosen).map_or(0, |node| node.size());
        if side.model == from {
            prop_assert_eq!(&target.model, &to);
            prop_assert!(spot.is_empty() || to.room() < moved + spot.len() - 1);
        } else {
            prop_assert_eq!(side.tree.len(), from.len() - moved);
            prop_assert_eq!(&side.model, &rest);
            // What was in the target is where it was.
            let is_kept = |id: &BlockId| to.find(*id) == target.model.find(*id);
            prop_assert!(to.ids(false).iter().all(is_kept));
            let part: Vec<_> = from.clone().part(&spot).into_iter().collect();
            let union = [names(&to.bottom), names(&part)].concat();
            let found: HashSet<_> = names(&target.model.bottom).into_iter().collect();
            prop_assert_eq!(found, union.into_iter().collect::<HashSet<_>>());
        }
        hosts.check(&[side, target])?;
    }

    #[test]
    fn what_was_split_merges_back(ops in any_growth(true), pick in any_pick(0)) {
        let (mut storage, mut others) = (blocks(MOST), blocks(GROWN + MAX_DEPTH));
        let mut hosts = Hosts::default();
        let (mut side, mut part) = (Side::new(&mut storage), Side::new(&mut others));
        grow(&mut side, &ops, &mut hosts)?;
        let before = side.model.clone();
        let spot = before.find(pick.of(&before)).unwrap_or_default();

        apply(&mut side, &mut part, &Op::Split(pick), &mut hosts)?;
        let expected: Vec<_> = before.clone().part(&spot).into_iter().collect();
        prop_assert_eq!(unordered(&part.model.bottom), unordered(&expected));
        apply(&mut side, &mut part, &Op::Merge, &mut hosts)?;
        prop_assert_eq!(unordered(&side.model.bottom), unordered(&before.bottom));
        prop_assert!(part.tree.is_empty());
        hosts.check(&[side, part])?;
    }

    #[test]
    fn a_merge_is_the_union(ops in any_growth(true), others in any_growth(true), capacity in 0..MOST, handles in any::<bool>()) {
        let known = |op: Op| match op {
            Op::Put(put) => Op::Put(Put { handle: put.handle.filter(|_| handles), ..put }),
            op => op,
        };
        let (mut storage, mut second) = (blocks(capacity), blocks(MOST));
        let mut hosts = Hosts::default();
        let (mut side, mut other) = (Side::new(&mut storage), Side::new(&mut second));
        let known = |ops: Vec<_>| ops.into_iter().map(known).collect::<Vec<_>>();
        grow(&mut side, &known(ops), &mut hosts)?;
        grow(&mut other, &known(others), &mut hosts)?;
        let (a, b) = (side.model.clone(), other.model.clone());

        apply(&mut side, &mut other, &Op::Merge, &mut hosts)?;
        if a.room() < b.len() {
            prop_assert_eq!((&side.model, &other.model), (&a, &b));
        } else {
            prop_assert!(other.tree.is_empty() && other.tree.first_down().is_none());
            let found = names(&side.model.bottom);
            let distinct: HashSet<_> = found.iter().cloned().collect();
            // Only handles tell objects of one name apart.
            prop_assert!(handles || distinct.len() == found.len());
            let union = [names(&a.bottom), names(&b.bottom)].concat();
            prop_assert_eq!(distinct, union.into_iter().collect::<HashSet<_>>());
            // What was here is where it was, with what was known of it.
            for node in a.nodes(false) {
                let spot = node.id.and_then(|id| side.model.find(id)).expect("kept");
                let kept = side.model.node(&spot);
                prop_assert_eq!((kept.known, kept.host), (node.known, node.host));
                prop_assert_eq!(kept.status, node.status);
                prop_assert!(node.handle.is_none() || kept.handle == node.handle);
            }
        }
        hosts.check(&[side, other])?;
    }

    #[test]
    fn places_are_used_again(ops in any_growth(false), picks in prop::collection::vec(any_pick(8), 1..4)) {
        let mut storage = blocks(GROWN);
        let mut side = Side::new(&mut storage);
        let mut hosts = Hosts::default();
        grow(&mut side, &ops, &mut hosts)?;
        let path = Put {
            is_united: false,
            on: None,
            level: Level::Path,
            name: 0,
            known: 0,
            handle: None,
        };
        for pick in picks {
            let before = side.model.clone();
            let chosen = pick.of(&before);
            grow(&mut side, &[Op::Remove(pick)], &mut hosts)?;
            let gone = before.find(chosen).map_or(0, |spot| before.clone().node(&spot).size());
            prop_assert_eq!(side.tree.len(), before.len() - gone);
            for room in (0..=side.tree.room()).rev() {
                prop_assert_eq!(side.tree.room(), room);
                // The last one has no place.
                grow(&mut side, &[Op::Put(path.clone())], &mut hosts)?;
            }
        }
        hosts.check(&[side])?;
    }

    #[test]
    fn whatever_is_done_to_two_trees(capacities in [0..GROWN, 0..GROWN], ops in prop::collection::vec((any::<bool>(), any_op()), 0..120)) {
        let [mut one, mut two] = capacities.map(blocks);
        let mut sides = [Side::new(&mut one), Side::new(&mut two)];
        let mut hosts = Hosts::default();
        for (is_second, op) in &ops {
            let [a, b] = &mut sides;
            let (this, other) = if *is_second { (b, a) } else { (a, b) };
            apply(this, other, op, &mut hosts)?;
            hosts.check(&sides)?;
        }
    }
}

#[test]
fn one_connection_has_room() {
    let mut storage = blocks(ONE_CONNECTION);
    let mut tree = Tree::new(&mut storage);
    let mut on = None;
    for level in [vec![Level::Layer; MAX_TAGS], Level::ALL[1..].to_vec()].concat() {
        on = Some(tree.add(on, object((level, 0), 0), None, ()).expect("room"));
    }
    assert_eq!((tree.len(), tree.room()), (MAX_DEPTH, 0));
}

/// Storage may have more places than there are indices.
#[test]
fn as_many_as_indices() {
    let most = usize::from(u16::MAX);
    let path = object((Level::Path, 0), 0);
    let mut storage = blocks(most + 2);
    let mut tree = Tree::new(&mut storage);
    let ids: Vec<_> = (0..most)
        .map_while(|_| tree.add(None, path, None, ()).ok())
        .collect();
    assert_eq!((ids.len(), tree.len(), tree.room()), (most, most, 0));
    assert_eq!(tree.add(None, path, None, ()), Err(TreeError::Full));
    assert!(ids.iter().map(|id| id.index()).eq(0..u16::MAX));
    assert!(tree.walk().eq(ids.iter().copied()));
    tree.remove(ids[0]);
    assert_eq!(tree.add(None, path, None, ()), Ok(ids[0]));
    assert!(tree.walk().eq(ids[1..].iter().chain(&ids[..1]).copied()));
}
