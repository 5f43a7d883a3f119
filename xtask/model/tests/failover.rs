// SPDX-License-Identifier: GPL-2.0

//! Failover: which connections move to another member, and a model of a bond whose members fail,
//! fill up and refuse while connections move between them. The model does what
//! `framework/failover.rs` does, with the same functions.

use std::collections::BTreeSet;

use proptest::prelude::*;
use toe_model::logic::failover::{busiest_first, move_all, Settled, Stage, CHUNK};
use toe_model::logic::reason::{Failover, Refusal};
use toe_model::logic::resources::{Needs, Resources};
use toe_model::logic::tuple::Family;

/// A connection.
#[derive(Clone, Debug)]
struct Conn {
    load: u64,
    needs: Needs,
    /// What a bond chooses by.
    hash: usize,
    /// A task owns its socket; `Some(true)`: and gives the connection back when it lets go.
    owned: Option<bool>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// At the target of this member.
    At(usize),
    /// In the host stack, and looked at again or not.
    Host { candidate: bool },
}

/// A member of the bond.
#[derive(Clone, Debug)]
struct Member {
    up: bool,
    /// What it has if no connection is there.
    all: Resources,
    answers: bool,
    policy: bool,
    /// Connections that its target refuses next, whatever it has said.
    surprises: u32,
    entries: BTreeSet<usize>,
}

impl Member {
    fn resources(&self) -> Option<Resources> {
        let used = self.entries.len() as u32;
        self.answers.then(|| Resources {
            connections: self.all.connections.saturating_sub(used),
            ..self.all
        })
    }

    /// The checks of the framework, for connections that are decided on together.
    fn check(&self, needs: &Needs, left: &mut Option<Resources>) -> Result<(), Refusal> {
        if !self.policy {
            return Err(Refusal::Policy);
        }
        let left = match left {
            Some(left) => left,
            unknown => unknown.insert(self.resources().ok_or(Refusal::Target)?),
        };
        left.take(needs)
    }

    /// The operation: what the target says.
    fn take(&mut self, index: usize) -> Result<(), Refusal> {
        if self.surprises > 0 {
            self.surprises -= 1;
            return Err(Refusal::NoMemory);
        }
        assert!(
            self.entries.len() < self.all.connections as usize,
            "no room"
        );
        assert!(self.entries.insert(index), "taken twice");
        Ok(())
    }
}

struct Bond {
    members: Vec<Member>,
    conns: Vec<Conn>,
    counted: [u64; Failover::COUNT],
}

impl Bond {
    /// The member that the bond sends by, if one carries frames.
    fn choice(&self, index: usize) -> Option<usize> {
        let usable: Vec<_> = (0..self.members.len())
            .filter(|m| self.members[*m].up)
            .collect();
        let at = self.conns[index].hash.checked_rem(usable.len())?;
        Some(usable[at])
    }

    fn is_elsewhere(&self, index: usize, from: usize) -> bool {
        self.conns[index].place == Place::At(from)
            && self.choice(index).is_some_and(|to| to != from)
    }

    fn terminate(&mut self, index: usize, from: usize) {
        assert!(self.members[from].entries.remove(&index), "not there");
        self.conns[index].place = Place::Host { candidate: false };
    }

    /// By itself.
    fn offload(&mut self, index: usize) -> Result<(), Refusal> {
        let to = self.choice(index).ok_or(Refusal::DeviceDown)?;
        self.members[to].check(&self.conns[index].needs, &mut None)?;
        self.members[to].take(index)?;
        self.conns[index].place = Place::At(to);
        Ok(())
    }

    fn settle(&mut self, index: usize, result: Option<Result<(), Refusal>>) {
        let result = result.unwrap_or_else(|| self.offload(index));
        let settled = Settled::of(Some(result), || self.choice(index).is_some());
        self.counted[settled.how.index()] += 1;
        match (settled.how, self.conns[index].place) {
            (Failover::Moved, Place::At(to)) => {
                assert!(self.members[to].entries.contains(&index));
                assert!(!settled.again);
            }
            (Failover::Link | Failover::Host, Place::Host { .. }) => {
                self.conns[index].place = Place::Host {
                    candidate: settled.again,
                };
            }
            other => panic!("{other:?}"),
        }
    }

    /// Those connections of a member that the bond sends by another one, no more than `most`.
    /// Returns those that had left, and whether that were all.
    fn follow(&mut self, from: usize, most: usize) -> (Vec<usize>, bool) {
        let entries = self.members[from].entries.iter().copied();
        let mut list: Vec<_> = entries.filter(|i| self.is_elsewhere(*i, from)).collect();
        let loads: Vec<_> = self.conns.iter().map(|conn| conn.load).collect();
        let bond = std::cell::RefCell::new((self, Vec::new()));
        let all = move_all(
            &mut list,
            most,
            |index| loads[*index],
            |chunk| {
                let (bond, left) = &mut *bond.borrow_mut();
                bond.move_some(from, chunk, left)
            },
            |index| {
                let (bond, left) = &mut *bond.borrow_mut();
                bond.move_one(from, *index, left);
            },
        );
        (bond.into_inner().1, all)
    }

    fn move_one(&mut self, from: usize, index: usize, left: &mut Vec<usize>) {
        if !self.is_elsewhere(index, from) {
            return;
        }
        match &mut self.conns[index].owned {
            Some(asked) => *asked = true,
            None => {
                self.terminate(index, from);
                self.settle(index, None);
                left.push(index);
            }
        }
    }

    fn move_some(&mut self, from: usize, chunk: &[usize], left: &mut Vec<usize>) -> u64 {
        assert!(chunk.len() <= CHUNK);
        let mut begun = 0;
        let mut moving = Vec::new();
        for (bit, index) in chunk.iter().enumerate() {
            if self.conns[*index].owned.is_none() {
                begun |= 1 << bit;
                self.terminate(*index, from);
                moving.push((*index, Stage::Alone));
            }
        }
        let place = moving.iter().find_map(|(index, _)| self.choice(*index));
        let mut known = None;
        for (index, stage) in &mut moving {
            if let (Some(to), true) = (place, self.choice(*index) == place) {
                *stage = match self.members[to].check(&self.conns[*index].needs, &mut known) {
                    Ok(()) => Stage::Together,
                    Err(reason) => Stage::Refused(reason),
                };
            }
        }
        let mut results = Vec::new();
        if let Some(to) = place {
            for (index, _) in moving.iter().filter(|(_, s)| *s == Stage::Together) {
                let result = self.members[to].take(*index);
                if result.is_ok() {
                    self.conns[*index].place = Place::At(to);
                }
                results.push(result);
            }
        }
        let mut results = results.into_iter();
        for (index, stage) in moving {
            let result = match stage {
                Stage::Together => results.next(),
                Stage::Refused(reason) => Some(Err(reason)),
                Stage::Alone => None,
            };
            self.settle(index, result);
            left.push(index);
        }
        begun
    }

    /// The owner of a socket lets it go, and gives its connection back if it was asked to.
    fn let_go(&mut self, index: usize) {
        let asked = self.conns[index].owned.take();
        if let (Some(true), Place::At(from)) = (asked, self.conns[index].place) {
            self.terminate(index, from);
            self.counted[Failover::Host.index()] += 1;
            self.conns[index].place = Place::Host { candidate: true };
        }
    }

    /// The policy looks at its candidates.
    fn retry(&mut self) {
        for index in 0..self.conns.len() {
            let conn = &self.conns[index];
            if conn.place == (Place::Host { candidate: true }) && conn.owned.is_none() {
                if let Err(reason) = self.offload(index) {
                    let candidate = Settled::of(Some(Err::<(), _>(reason)), || true).again;
                    self.conns[index].place = Place::Host { candidate };
                }
            }
        }
    }

    /// Each connection is in one place, and no member has more than it has room for.
    fn check(&self) {
        for (index, conn) in self.conns.iter().enumerate() {
            for (m, member) in self.members.iter().enumerate() {
                let here = conn.place == Place::At(m);
                assert_eq!(member.entries.contains(&index), here, "{index} at {m}");
            }
        }
    }

    /// After a walk, none lies where its frames do not leave, but those that a task owns, which
    /// give themselves back.
    fn check_followed(&self, from: usize) {
        for index in &self.members[from].entries {
            assert!(
                !self.is_elsewhere(*index, from) || self.conns[*index].owned == Some(true),
                "{index} was forgotten at {from}"
            );
        }
    }
}

fn any_needs() -> impl Strategy<Value = Needs> {
    (any::<bool>(), 0u8..3, 0usize..3, any::<bool>()).prop_map(|(v6, tags, mss, new)| Needs {
        family: if v6 { Family::V6 } else { Family::V4 },
        tags,
        mss: [40, 536, 1448][mss],
        new_neighbour: new,
        layers: true,
    })
}

fn any_resources() -> impl Strategy<Value = Resources> {
    (
        prop_oneof![0u32..8, 100u32..200],
        0u32..3,
        0u8..3,
        any::<[bool; 2]>(),
        prop_oneof![Just(536u32), Just(65_536)],
    )
        .prop_map(
            |(connections, objects, tags, [v4, v6], max_payload)| Resources {
                connections,
                paths: objects,
                neighbours: objects,
                layers: 1,
                tags,
                v4,
                v6,
                user_buffers: true,
                min_mss: 64,
                max_payload,
            },
        )
}

/// A member that takes everything.
const AMPLE: Resources = Resources {
    connections: 1000,
    paths: 1000,
    neighbours: 1000,
    layers: 1000,
    tags: 2,
    v4: true,
    v6: true,
    user_buffers: true,
    min_mss: 0,
    max_payload: 65_536,
};

#[derive(Clone, Debug)]
enum Event {
    Up(usize, bool),
    Becomes(usize, Resources),
    Answers(usize, bool),
    Policy(usize, bool),
    Surprises(usize, u32),
    /// A task takes a socket, or lets it go.
    Owns(usize),
    LetsGo(usize),
    /// Another hash policy.
    Hash(usize),
    /// A connection is new.
    Offload(usize),
    Follow(usize, usize),
    Retry,
}

const MEMBERS: usize = 3;
const CONNS: usize = 80;

fn any_event() -> impl Strategy<Value = Event> {
    use Event::*;
    let m = || 0..MEMBERS;
    let c = || 0..CONNS;
    prop_oneof![
        3 => (m(), any::<bool>()).prop_map(|(m, up)| Up(m, up)),
        1 => (m(), any_resources()).prop_map(|(m, all)| Becomes(m, all)),
        1 => (m(), any::<bool>()).prop_map(|(m, yes)| Answers(m, yes)),
        1 => (m(), any::<bool>()).prop_map(|(m, yes)| Policy(m, yes)),
        1 => (m(), 0u32..3).prop_map(|(m, n)| Surprises(m, n)),
        3 => c().prop_map(Owns),
        2 => c().prop_map(LetsGo),
        1 => (0usize..5).prop_map(Hash),
        3 => c().prop_map(Offload),
        6 => (m(), prop_oneof![Just(usize::MAX), 0usize..8]).prop_map(|(m, most)| Follow(m, most)),
        2 => Just(Retry),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever connections there are and whatever a target has left: nothing more can be taken
    /// than was, and no connection has to stay for one that is less busy and needs the same.
    #[test]
    fn the_largest_subset_the_busiest_first(
        conns in prop::collection::vec((0u64..20, any_needs()), 0..100),
        resources in any_resources(),
    ) {
        let mut list = conns.clone();
        busiest_first(&mut list, |(load, _)| *load);
        prop_assert!(list.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        let mut left = resources;
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for one in list {
            match left.take(&one.1) {
                Ok(()) => taken.push(one),
                Err(reason) => refused.push((one, reason)),
            }
        }
        // As many as are possible at all, or as there is room for.
        let possible = conns.iter().filter(|(_, needs)| {
            Resources { connections: 1, ..resources }.take(needs).is_ok()
        });
        let most = possible.count().min(resources.connections as usize);
        prop_assert_eq!(taken.len(), most);
        prop_assert_eq!(left.connections as usize, resources.connections as usize - taken.len());
        for ((load, _), reason) in &refused {
            let room = Resources { connections: 1, ..resources };
            if *reason == Refusal::TableFull && room.paths != 0 {
                prop_assert!(taken.iter().all(|(other, _)| other >= load));
            }
        }
        for ((_, needs), _) in refused {
            prop_assert!(left.take(&needs).is_err());
        }
    }

    /// Each connection is moved once, by the operation or by itself, in the order of its load.
    #[test]
    fn each_is_moved_once(
        loads in prop::collection::vec(0u64..50, 0..300),
        begins in prop::collection::vec(any::<u64>(), 5),
        most in prop_oneof![Just(usize::MAX), 0usize..300],
    ) {
        let mut list: Vec<(usize, u64)> = loads.iter().copied().enumerate().collect();
        let mut begins = begins.into_iter();
        let moved = std::cell::RefCell::new(Vec::new());
        let all = move_all(
            &mut list,
            most,
            |(_, load)| *load,
            |chunk| {
                let begun = begins.next().unwrap_or(0);
                let chosen = chunk.iter().enumerate().filter(|(bit, _)| begun & 1 << bit != 0);
                moved.borrow_mut().extend(chosen.map(|(_, one)| *one));
                begun
            },
            |one| moved.borrow_mut().push(*one),
        );
        let moved = moved.into_inner();
        let once: BTreeSet<_> = moved.iter().map(|(index, _)| *index).collect();
        prop_assert_eq!(all, most >= loads.len());
        prop_assert_eq!(once.len(), loads.len().min(most));
        prop_assert_eq!(moved.len(), once.len());
        let idlest = moved.iter().map(|(_, load)| *load).min();
        let left = loads.iter().enumerate().filter(|(index, _)| !once.contains(index));
        for (_, load) in left {
            prop_assert!(idlest.is_none_or(|idlest| idlest >= *load));
        }
        // Within a chunk the operation comes first; between chunks the order holds.
        let least = |chunk: &[(usize, u64)]| chunk.iter().map(|(_, load)| *load).min();
        let chunks: Vec<_> = moved.chunks(CHUNK).collect();
        for pair in chunks.windows(2) {
            let most = pair[1].iter().map(|(_, load)| *load).max();
            prop_assert!(least(pair[0]) >= most);
        }
    }

    /// Members fail, fill up and refuse; connections are never in two places, none is forgotten,
    /// and all are offloaded again as soon as every member takes them.
    #[test]
    fn no_connection_is_lost(
        conns in prop::collection::vec((0u64..20, any_needs(), 0usize..64), CONNS),
        members in prop::collection::vec(any_resources(), MEMBERS),
        events in prop::collection::vec(any_event(), 0..120),
    ) {
        let mut bond = Bond {
            members: members
                .into_iter()
                .map(|all| Member {
                    up: true,
                    all,
                    answers: true,
                    policy: true,
                    surprises: 0,
                    entries: BTreeSet::new(),
                })
                .collect(),
            conns: conns
                .into_iter()
                .map(|(load, needs, hash)| Conn {
                    load,
                    needs,
                    hash,
                    owned: None,
                    place: Place::Host { candidate: true },
                })
                .collect(),
            counted: [0; Failover::COUNT],
        };
        bond.retry();
        for event in events {
            let before: u64 = bond.counted.iter().sum();
            let mut left = 0;
            match event {
                Event::Up(m, up) => bond.members[m].up = up,
                // It never takes back what it has given.
                Event::Becomes(m, all) => bond.members[m].all = Resources {
                    connections: all.connections.max(bond.members[m].entries.len() as u32),
                    ..all
                },
                Event::Answers(m, yes) => bond.members[m].answers = yes,
                Event::Policy(m, yes) => bond.members[m].policy = yes,
                Event::Surprises(m, n) => bond.members[m].surprises = n,
                Event::Owns(c) => _ = bond.conns[c].owned.get_or_insert(false),
                Event::LetsGo(c) => {
                    let asked = bond.conns[c].owned == Some(true);
                    left = usize::from(asked && matches!(bond.conns[c].place, Place::At(_)));
                    bond.let_go(c);
                }
                Event::Hash(by) => bond.conns.iter_mut().for_each(|conn| conn.hash += by),
                Event::Offload(c) => {
                    if let Place::Host { .. } = bond.conns[c].place {
                        bond.conns[c].place = Place::Host { candidate: true };
                    }
                }
                Event::Follow(m, most) => {
                    let (moved, all) = bond.follow(m, most);
                    left = moved.len();
                    prop_assert!(left <= most);
                    if all {
                        bond.check_followed(m);
                    }
                }
                Event::Retry => bond.retry(),
            }
            bond.check();
            prop_assert_eq!(bond.counted.iter().sum::<u64>() - before, left as u64);
        }
        // All is well again, and whoever is refused for what it is was so before.
        for member in &mut bond.members {
            *member = Member {
                up: true,
                all: AMPLE,
                answers: true,
                policy: true,
                surprises: 0,
                entries: member.entries.clone(),
            };
        }
        (0..CONNS).for_each(|index| bond.let_go(index));
        (0..MEMBERS).for_each(|m| _ = bond.follow(m, usize::MAX));
        bond.retry();
        bond.check();
        for index in 0..CONNS {
            let to = bond.choice(index).expect("all are up");
            prop_assert_eq!(bond.conns[index].place, Place::At(to), "{}", index);
        }
    }
}
