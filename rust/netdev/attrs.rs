// SPDX-License-Identifier: GPL-2.0

//! The files of `/sys/class/net/<dev>/toe/` that are the emulated NIC's own.

use kernel::prelude::*;

use super::{
    Port,
    Toe, //
};
use crate::{
    framework::host::{
        self,
        number,
        show, //
    },
    net::{
        net_device::NetDevice,
        sysfs::{
            Attribute,
            AttributeList,
            Group,
            Page, //
        }, //
    }, //
};

static FILES: [Attribute; 1] = [Attribute::rw(c"capacity", show_capacity, store_capacity)];
static LIST: AttributeList<37> = AttributeList::new(&host::FILES, &FILES);
pub(super) static GROUP: Group = host::group(&LIST);

fn port(dev: &NetDevice) -> Result<&Port<Toe>> {
    Port::of(dev).ok_or(ENODEV)
}

fn show_capacity(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, port(dev)?.engine.table().capacity().into())
}

/// EBUSY while the table has entries.
fn store_capacity(dev: &NetDevice, text: &str) -> Result {
    let capacity = number(text, 1, u64::from(u32::MAX))?;
    port(dev)?.engine.table().set_capacity(capacity as u32)
}
