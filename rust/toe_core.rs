// SPDX-License-Identifier: GPL-2.0

//! TCP offload framework and emulated TOE NIC.

use kernel::prelude::*;

mod bindings;

module! {
    type: Toe,
    name: "toe",
    authors: ["The toe authors"],
    description: "TCP offload framework and emulated TOE NIC",
    license: "GPL",
}

struct Toe;

impl kernel::Module for Toe {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("loaded\n");
        Ok(Toe)
    }
}
