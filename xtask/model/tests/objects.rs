// SPDX-License-Identifier: GPL-2.0

//! The host's books on the objects below connections, against a target that counts for
//! itself what depends on what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;
use toe_model::logic::{
    hwid::Hwid,
    objects::{self, Idle, Key, RefState},
    reason::Refusal,
    tree::{
        state::{Handle, Layer, Level, Neighbour, Object, Path},
        BlockId, Tree, ONE_CONNECTION,
    },
};

/// Paths that are kept for a moment.
const IDLE: usize = 2;

/// What lies on what: layer 1 on layer 0, neighbours 0 and 1 on nothing, 2 on layer 0, 3
/// and 4 on layer 1; path `n` on neighbour `n / 2`.
const NEIGHBOURS: u8 = 5;
const PATHS: u8 = 2 * NEIGHBOURS;

/// An object, and what it lies on, from the bottom up.
fn chain(path: u8) -> Vec<(Level, u8)> {
    let neighbour = path / 2;
    let layers = match neighbour {
        0 | 1 => 0,
        2 => 1,
        _ => 2,
    };
    let mut chain: Vec<_> = (0..layers).map(|n| (Level::Layer, n)).collect();
    chain.push((Level::Neighbour, neighbour));
    chain.push((Level::Path, path));
    chain
}

fn object(level: Level) -> Object {
    match level {
        Level::Layer => Object::Layer(Layer::default()),
        Level::Neighbour => Object::Neighbour(Neighbour::default()),
        _ => Object::Path(Path::default()),
    }
}

/// The host's records. Each is found by its name, too, as by hash.
#[derive(Default)]
struct Records {
    records: HashMap<Key, (RefState, Option<Key>, u8)>,
    made: u32,
}

impl objects::Records for Records {
    fn get(&self, key: Key) -> Option<(&RefState, Option<Key>)> {
        let (state, on, _) = self.records.get(&key)?;
        Some((state, *on))
    }

    fn remove(&mut self, key: Key) {
        assert!(self.records.remove(&key).is_some(), "removed twice");
    }
}

impl Records {
    fn find(&self, level: Level, name: u8) -> Option<Key> {
        let mut all = self.records.iter();
        let found = all.find(|(key, (.., n))| key.level == level && *n == name);
        found.map(|(key, _)| *key)
    }

    fn insert(&mut self, level: Level, name: u8, on: Option<Key>) -> Key {
        self.made += 1;
        let id = Hwid::new(self.made, 1).expect("a generation");
        let key = Key { level, id };
        self.records.insert(key, (RefState::default(), on, name));
        key
    }
}

/// What the target has: each object by its handle, with what it lies on.
#[derive(Default)]
struct Target {
    objects: BTreeMap<u64, Option<Handle>>,
    made: u32,
}

impl Target {
    /// Makes what is asked for, but for a level that it refuses.
    fn initiate(&mut self, tree: &mut Tree<'_, Option<Hwid>>, refused: Option<Level>) {
        let ids: Vec<_> = tree.walk().collect();
        for id in ids {
            let block = *tree.get(id).expect("from the walk");
            let level = block.object.level();
            if block.handle.is_some() || block.status() != Default::default() {
                continue;
            }
            if refused == Some(level) {
                tree.refuse(id, Refusal::TableFull);
                continue;
            }
            let on = block.on().and_then(|on| tree.get(on)?.handle);
            self.made += 1;
            let handle = Handle {
                level,
                id: Hwid::new(self.made, 7).expect("a generation"),
            };
            self.objects.insert(handle.id.raw(), on);
            tree.done(id, Some(handle));
        }
    }

    fn terminate(&mut self, handle: Handle) {
        let gone = self.objects.remove(&handle.id.raw());
        assert!(gone.is_some(), "terminated twice");
        let depends = |on: &Option<Handle>| on.is_some_and(|on| on.id == handle.id);
        let left = self.objects.values().filter(|on| depends(on)).count();
        assert_eq!(left, 0, "terminated below others");
    }
}

struct World {
    records: Records,
    target: Target,
    idle: Idle<IDLE>,
    /// Connections on each path, by its name.
    connections: [u32; PATHS as usize],
    trees: u64,
}

#[derive(Clone, Debug)]
enum Op {
    /// Connections on these paths are offloaded in one operation, in which the target
    /// refuses a level.
    Offload(Vec<u8>, Option<Level>),
    Upload(Index),
    /// Idle paths go, except for those whose names are even.
    Sweep {
        all: bool,
    },
}

impl World {
    fn new() -> Self {
        World {
            records: Records::default(),
            target: Target::default(),
            idle: Idle::EMPTY,
            connections: [0; PATHS as usize],
            trees: 0,
        }
    }

    /// Puts an object and what it lies on into the tree, as far as the target has them not.
    fn place(&mut self, tree: &mut Tree<'_, Option<Hwid>>, path: u8) -> Key {
        let mut on: Option<(Key, Option<BlockId>)> = None;
        for (level, name) in chain(path) {
            let below = on.map(|(key, _)| key);
            let found = self.records.find(level, name);
            let key = found.unwrap_or_else(|| self.records.insert(level, name, below));
            let (state, ..) = &self.records.records[&key];
            let block = match (state.block(self.trees), state.handle(level)) {
                (Some(block), _) => Some(block),
                // What lies below a thing that is there is not needed.
                (None, Some(handle)) => Some(tree.name(None, handle, None).expect("room")),
                (None, None) => {
                    let block = on.and_then(|(_, block)| block);
                    let added = tree.add(block, object(level), None, Some(key.id));
                    Some(added.expect("room"))
                }
            };
            block.inspect(|id| state.set_block(self.trees, *id));
            on = Some((key, block));
        }
        on.expect("a path").0
    }

    fn offload(&mut self, paths: &[u8], refused: Option<Level>) {
        self.trees += 1;
        let mut blocks: Vec<_> = (0..paths.len() * ONE_CONNECTION).map(|_| None).collect();
        let mut tree = Tree::new(&mut blocks);
        let keys: Vec<_> = paths.iter().map(|p| self.place(&mut tree, *p)).collect();
        self.target.initiate(&mut tree, refused);
        objects::made(&self.records, &tree, |host| *host);
        for (name, key) in paths.iter().zip(keys) {
            let (state, ..) = &self.records.records[&key];
            if state.handle(key.level).is_some() && refused != Some(Level::Connection) {
                state.depend();
                self.connections[usize::from(*name)] += 1;
            }
        }
        let terminate = |handle| self.target.terminate(handle);
        objects::sweep(&mut self.records, &tree, |host| *host, terminate);
    }

    fn upload(&mut self, pick: &Index) {
        let all = 0..PATHS;
        let used: Vec<_> = all
            .filter(|n| self.connections[usize::from(*n)] != 0)
            .collect();
        if used.is_empty() {
            return;
        }
        let name = *pick.get(&used);
        self.connections[usize::from(name)] -= 1;
        let key = self.records.find(Level::Path, name).expect("in use");
        let (state, ..) = &self.records.records[&key];
        if state.let_go() == 0 {
            if let Some(id) = self.idle.keep(key.id) {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: Hwid) {
        let terminate = |handle| self.target.terminate(handle);
        let level = Level::Path;
        objects::forget(&mut self.records, Key { level, id }, terminate);
    }

    fn sweep(&mut self, all: bool) -> bool {
        let Self {
            records,
            target,
            idle,
            ..
        } = self;
        idle.sweep(|id| {
            let level = Level::Path;
            let key = Key { level, id };
            let Some((state, _, name)) = records.records.get(&key) else {
                return false;
            };
            if state.dependants() != 0 {
                return false;
            }
            let stays = !all && name % 2 == 0;
            if !stays {
                objects::forget(records, key, |handle| target.terminate(handle));
            }
            stays
        })
    }

    /// The books are right, and nothing is there that nobody needs.
    fn check(&self) -> TestCaseResult {
        let records = &self.records.records;
        let mut above: HashMap<Key, u32> = HashMap::new();
        for (_, on, _) in records.values() {
            if let Some(on) = on {
                *above.entry(*on).or_default() += 1;
            }
        }
        let mut handles = BTreeSet::new();
        let mut unused = 0;
        for (key, (state, on, name)) in records {
            let handle = state.handle(key.level);
            prop_assert!(handle.is_some(), "{:?} was never made", key);
            prop_assert!(on.is_none_or(|on| records.contains_key(&on)));
            let connections = match key.level {
                Level::Path => self.connections[usize::from(*name)],
                _ => 0,
            };
            let expected = connections + above.get(key).copied().unwrap_or(0);
            prop_assert_eq!(state.dependants(), expected);
            if expected == 0 {
                prop_assert_eq!(key.level, Level::Path);
                unused += 1;
            }
            handles.extend(handle.map(|handle| handle.id.raw()));
        }
        prop_assert!(unused <= IDLE);
        let theirs: BTreeSet<_> = self.target.objects.keys().copied().collect();
        prop_assert_eq!(handles, theirs);
        Ok(())
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let refused = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Level::Layer)),
        1 => Just(Some(Level::Neighbour)),
        1 => Just(Some(Level::Path)),
        1 => Just(Some(Level::Connection)),
    ];
    prop_oneof![
        3 => (prop::collection::vec(0..PATHS, 1..6), refused)
            .prop_map(|(paths, refused)| Op::Offload(paths, refused)),
        6 => any::<Index>().prop_map(Op::Upload),
        1 => any::<bool>().prop_map(|all| Op::Sweep { all }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn what_nothing_depends_on_goes(ops in prop::collection::vec(any_op(), 0..80), last in any::<Index>()) {
        let mut world = World::new();
        for op in &ops {
            match op {
                Op::Offload(paths, refused) => world.offload(paths, *refused),
                Op::Upload(pick) => world.upload(pick),
                Op::Sweep { all } => {
                    let left = world.sweep(*all);
                    prop_assert!(!(left && *all));
                }
            }
            world.check()?;
        }
        while world.connections.iter().any(|n| *n != 0) {
            world.upload(&last);
            world.check()?;
        }
        world.sweep(true);
        prop_assert!(world.records.records.is_empty() && world.target.objects.is_empty());
    }
}
