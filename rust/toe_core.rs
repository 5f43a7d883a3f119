// SPDX-License-Identifier: GPL-2.0

//! TCP offload framework and emulated TOE NIC.

use kernel::prelude::*;

mod bindings;
mod net;
mod netdev;

module! {
    type: Toe,
    name: "toe",
    authors: ["The toe authors"],
    description: "TCP offload framework and emulated TOE NIC",
    license: "GPL",
}

#[pin_data]
struct Toe {
    #[pin]
    nic: netdev::Nic,
}

impl kernel::InPlaceModule for Toe {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Toe {
            nic <- netdev::Nic::new(),
        })
    }
}
