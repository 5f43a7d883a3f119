// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's networking.
//!
//! The only place besides `bindings` with `unsafe` in it. One C object, one
//! type; contexts and locks are values that functions ask for ([`context`]).

pub(crate) mod context;
pub(crate) mod debugfs;
pub(crate) mod ethtool;
pub(crate) mod link;
pub(crate) mod napi;
pub(crate) mod ndo;
pub(crate) mod netdev;
pub(crate) mod notifier;
pub(crate) mod pair;
pub(crate) mod qstats;
pub(crate) mod ring;
pub(crate) mod rtnl;
pub(crate) mod skb;
pub(crate) mod sysfs;
