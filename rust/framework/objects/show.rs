// SPDX-License-Identifier: GPL-2.0

//! The objects of a device as debugfs shows them.

use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

use super::{
    handle_tree,
    ObjectTable, //
};
use crate::{
    framework::target::OffloadTarget,
    logic::{
        objects::RefState,
        tree::{
            state::{
                Handle,
                Level,
                Object, //
            },
            Status, //
        },
        tuple::Address, //
    },
    net::{
        fmt::Text,
        sync::rcu::ReadGuard, //
    }, //
};

impl ObjectTable {
    /// The objects, one a line, each before those that depend on it. Process context.
    pub(crate) fn show(&self, target: &dyn OffloadTarget, seq: &SeqFile) -> Result {
        seq_print!(seq, "level handle on dependants state\n");
        for index in 0..self.layers.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.layers.at(&guard, index) else {
                continue;
            };
            let on = record.on.and_then(|on| self.layers.get(&guard, on));
            let on = on.and_then(|on| on.refs.handle(Level::Layer));
            self.show_one(target, seq, &record.refs, Level::Layer, on);
        }
        for index in 0..self.neighbours.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.neighbours.at(&guard, index) else {
                continue;
            };
            let on = record.on.and_then(|on| self.layers.get(&guard, on));
            let on = on.and_then(|on| on.refs.handle(Level::Layer));
            self.show_one(target, seq, &record.refs, Level::Neighbour, on);
        }
        for index in 0..self.paths.slots() {
            let guard = ReadGuard::new();
            let Some(record) = self.paths.at(&guard, index) else {
                continue;
            };
            let on = self.neighbours.get(&guard, record.on);
            let on = on.and_then(|on| on.refs.handle(Level::Neighbour));
            self.show_one(target, seq, &record.refs, Level::Path, on);
        }
        Ok(())
    }

    /// As the target has it, not the host; what the host's record says that it lies `on`,
    /// if that is something else.
    fn show_one(
        &self,
        target: &dyn OffloadTarget,
        seq: &SeqFile,
        refs: &RefState,
        level: Level,
        on: Option<Handle>,
    ) {
        let name = |on: Option<Handle>| on.map_or(0, |on| on.id.raw());
        let Some(handle) = refs.handle(level) else {
            return;
        };
        let mut slot = [None];
        let mut tree = handle_tree(&mut slot, handle);
        target.query(&mut tree);
        let Some(block) = tree.first().and_then(|id| tree.get(id)) else {
            return;
        };
        seq_print!(
            seq,
            "{} {:#x} {:#x} {} {}\n",
            level.name(),
            handle.id.raw(),
            name(block.below),
            refs.dependants(),
            Text(Described {
                object: &block.object,
                valid: block.status() == Status::Done,
                expected: (block.below != on).then_some(name(on)),
            }),
        );
    }
}

/// An object as debugfs shows it.
struct Described<'a> {
    object: &'a Object,
    valid: bool,
    /// What it should lie on, if it does not.
    expected: Option<u64>,
}

impl core::fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.object {
            Object::Layer(l) => {
                let c = &l.constant;
                write!(f, "dev {}", c.device)?;
                match c.proto {
                    0 => write!(f, " bond")?,
                    proto => write!(f, " proto {proto:#06x} id {}", c.id)?,
                }
            }
            Object::Neighbour(n) => {
                let c = &n.constant;
                let [a, b, d, e, g, h] = n.cached.mac;
                write!(
                    f,
                    "dev {} {} lladdr {a:02x}:{b:02x}:{d:02x}:{e:02x}:{g:02x}:{h:02x} {}",
                    c.device,
                    Address(c.family, c.hop),
                    if n.cached.reachable {
                        "reachable"
                    } else {
                        "stale"
                    },
                )?;
                write!(f, " progress {}", n.delegated.progress)?;
            }
            Object::Path(p) => {
                let c = &p.constant;
                write!(
                    f,
                    "{} {} mark {:#x} mtu {}",
                    Address(c.family, c.local),
                    Address(c.family, c.remote),
                    c.mark,
                    p.cached.mtu
                )?;
            }
            Object::Connection(_) | Object::Named(_) => {}
        }
        if !self.valid {
            write!(f, " invalid")?;
        }
        if let Some(on) = self.expected {
            write!(f, " expected on {on:#x}")?;
        }
        Ok(())
    }
}
