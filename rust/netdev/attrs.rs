// SPDX-License-Identifier: GPL-2.0

//! `/sys/class/net/<dev>/toe/`.

use kernel::{
    fmt::Write,
    prelude::*,
    sync::atomic::Relaxed, //
};

use crate::net::sysfs::{
    Attribute,
    AttributeList,
    Group,
    Page, //
};

use super::Port;

/// Entries of the offload table unless the administrator says otherwise.
pub(super) const DEFAULT_CAPACITY: u32 = 1 << 20;
/// The most entries there can be: what an index has bits for.
const MAX_CAPACITY: u32 = 1 << 24;

static FILES: [Attribute<Port>; 1] = [Attribute::rw(c"capacity", show_capacity, store_capacity)];
static LIST: AttributeList<1> = AttributeList::new(&FILES);
pub(super) static GROUP: Group = Group::new(c"toe", &LIST);

fn show_capacity(port: &Port, page: &mut Page<'_>) -> Result {
    writeln!(page, "{}", port.capacity.load(Relaxed))?;
    Ok(())
}

/// EINVAL if it is no number, ERANGE if it is too large.
fn store_capacity(port: &Port, text: &str) -> Result {
    let capacity: u64 = text.parse().map_err(|_| EINVAL)?;
    if capacity > MAX_CAPACITY.into() {
        return Err(ERANGE);
    }
    port.capacity.store(capacity as u32, Relaxed);
    Ok(())
}
