// SPDX-License-Identifier: GPL-2.0

//! The kind of link: pairs are made and taken apart as veth's are.

use kernel::str::CStr;

use crate::net::{
    netdev::{
        self as device,
        DeviceSetup, //
    },
    rtnl::LinkKind, //
};

use super::Port;

/// `type toe`.
pub(crate) struct Link;

impl LinkKind for Link {
    type Driver = Port;

    const KIND: &'static CStr = super::KIND;
    const PEER: &'static CStr = c"toe%d";

    fn setup(dev: &mut DeviceSetup<'_>) {
        Port::setup(dev);
    }

    fn num_queues() -> u32 {
        device::num_possible_cpus().min(super::DEFAULT_MAX_QUEUES)
    }
}
