// SPDX-License-Identifier: GPL-2.0

//! The files of `/sys/class/net/<dev>/toe/` that are the emulated NIC's own.

use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;

use super::{
    failure,
    Port,
    Toe, //
};
use crate::{
    dct::abilities::{
        Abilities,
        PAYLOAD_RANGE, //
    },
    framework::host::{
        self,
        flag,
        number,
        show, //
    },
    logic::vlan::MAX_TAGS,
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

static FILES: [Attribute; 6] = [
    Attribute::rw(c"capacity", show_capacity, store_capacity),
    Attribute::rw(c"vlan_tags", show_tags, store_tags),
    Attribute::rw(c"ipv6", show_v6, store_v6),
    Attribute::rw(c"user_buffers", show_buffers, store_buffers),
    Attribute::rw(c"max_payload", show_max_payload, store_max_payload),
    Attribute::rw(c"failure", failure::show::<Toe>, failure::store::<Toe>),
];
static LIST: AttributeList<42> = AttributeList::new(&host::FILES, &FILES);
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

fn abilities(dev: &NetDevice) -> Result<&Abilities> {
    port(dev).map(|port| port.engine.abilities())
}

fn show_tags(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, abilities(dev)?.tags.load(Relaxed).into())
}

fn store_tags(dev: &NetDevice, text: &str) -> Result {
    let tags = number(text, 0, MAX_TAGS as u64)?;
    abilities(dev)?.tags.store(tags as u8, Relaxed);
    Ok(())
}

fn show_v6(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, abilities(dev)?.v6.load(Relaxed).into())
}

fn store_v6(dev: &NetDevice, text: &str) -> Result {
    abilities(dev)?.v6.store(flag(text)?, Relaxed);
    Ok(())
}

fn show_buffers(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, abilities(dev)?.user_buffers.load(Relaxed).into())
}

fn store_buffers(dev: &NetDevice, text: &str) -> Result {
    abilities(dev)?.user_buffers.store(flag(text)?, Relaxed);
    Ok(())
}

fn show_max_payload(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, abilities(dev)?.max_payload.load(Relaxed).into())
}

fn store_max_payload(dev: &NetDevice, text: &str) -> Result {
    let bytes = number(text, PAYLOAD_RANGE.0, PAYLOAD_RANGE.1)?;
    abilities(dev)?.max_payload.store(bytes as u32, Relaxed);
    Ok(())
}
