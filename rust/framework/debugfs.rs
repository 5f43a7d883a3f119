// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/toe/`; see Documentation/ABI/testing/debugfs-toe.
//!
//! Two files for each device that takes connections: its connections, and what they lie
//! on, both as the target has them.

use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

use super::{
    connection,
    objects,
    registry,
    target::{
        Counters,
        OffloadTarget, //
    }, //
};
use crate::{
    logic::{
        hwid::Hwid,
        tree::{
            state::{
                Handle,
                Object, //
            },
            Status, //
        }, //
    },
    net::{
        context::Rtnl,
        debugfs::{
            DeviceFile,
            Root,
            RootGuard,
            ShowDevice, //
        },
        fmt::Text,
        net_device::NetDevice,
        sock::Sock,
        sync::rcu::ReadGuard, //
    }, //
};

static ROOT: Root = Root::new();

/// Makes the directory, until the guard is dropped.
pub(crate) fn create() -> RootGuard {
    ROOT.create(c"toe")
}

/// The files of a device.
pub(super) struct Files {
    table: DeviceFile<TableFile>,
    tree: DeviceFile<TreeFile>,
}

impl Files {
    /// None yet.
    pub(super) const fn new() -> Self {
        Files {
            table: DeviceFile::new(),
            tree: DeviceFile::new(),
        }
    }

    /// Makes them, or gives them the name that `dev` has now.
    pub(super) fn update(&self, dev: &NetDevice, rtnl: &Rtnl) {
        let table = self.table.update(&ROOT, dev, rtnl);
        if table.and(self.tree.update(&ROOT, dev, rtnl)).is_err() {
            pr_debug!("{}: no debugfs files\n", dev.name());
        }
    }

    /// Removes them; they have kept the device until then.
    pub(super) fn remove(&self, rtnl: &Rtnl) {
        self.table.remove(rtnl);
        self.tree.remove(rtnl);
    }
}

/// The connections of a device, `<name>@<inode of the namespace>`.
struct TableFile;

impl ShowDevice for TableFile {
    const PREFIX: &'static str = "";

    fn show(dev: &NetDevice, seq: &SeqFile) -> Result {
        let (target, _) = registry::target_of(dev).ok_or(ENODEV)?;
        seq_print!(
            seq,
            "hwid local remote mode snd_una snd_nxt snd_wnd rcv_nxt rcv_wnd srtt_us \
             acked received rx_frames rx_bytes tx_frames tx_bytes specials rttvar_us \
             unacked vlan\n"
        );
        target.for_each(&mut |hwid, sk| show_connection(target, hwid, &sk, seq));
        Ok(())
    }
}

/// One line; nothing if the connection went meanwhile.
fn show_connection(target: &dyn OffloadTarget, hwid: Hwid, sk: &Sock, seq: &SeqFile) {
    let mut slot = [None];
    let mut tree = objects::handle_tree(&mut slot, Handle::connection(hwid));
    target.query(&mut tree);
    let Some(block) = tree.first().and_then(|id| tree.get(id)) else {
        return;
    };
    let (Status::Done, Object::Connection(conn)) = (block.status(), &block.object) else {
        return;
    };
    let guard = ReadGuard::new();
    let d = &conn.data;
    let record = connection::of_now(sk, &guard).filter(|record| record.is_at(target, hwid));
    let moved = record.map(|record| record.moved_before());
    let (acked, received) = moved.unwrap_or((d.bytes_acked, d.bytes_received));
    seq_print!(
        seq,
        "{:#x} {} {} {} {} {} {} {} {} {} {} {}",
        hwid.raw(),
        Text(conn.tuple.local_end()),
        Text(conn.tuple.remote_end()),
        connection::mode(sk, &guard).name(),
        d.snd_una.0,
        d.snd_nxt.0,
        d.snd_wnd,
        d.rcv_nxt.0,
        d.rcv_wnd,
        d.rtt.srtt_us >> 3,
        d.bytes_acked.wrapping_sub(acked),
        d.bytes_received.wrapping_sub(received),
    );
    show_counters(&target.counters(hwid), seq);
    let rttvar_us = d.rtt.mdev_us >> 2;
    seq_print!(
        seq,
        " {} {} {}\n",
        rttvar_us,
        d.packets_out,
        Text(conn.tuple.vlan)
    );
}

/// The part of the line that the target counts.
// Not inlined: all of a line at once is too much for the stack.
#[inline(never)]
fn show_counters(c: &Counters, seq: &SeqFile) {
    seq_print!(
        seq,
        " {} {} {} {} {}",
        c.rx_frames,
        c.rx_bytes,
        c.tx_frames,
        c.tx_bytes,
        c.specials,
    );
}

/// What they lie on, `tree:<name>@<inode of the namespace>`.
struct TreeFile;

impl ShowDevice for TreeFile {
    const PREFIX: &'static str = "tree:";

    fn show(dev: &NetDevice, seq: &SeqFile) -> Result {
        let (target, _) = registry::target_of(dev).ok_or(ENODEV)?;
        target.device().objects().show(target, seq)
    }
}
