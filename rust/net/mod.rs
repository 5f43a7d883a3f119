// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's networking.
//!
//! `unsafe` is used here and in `bindings` only. Each C object has one type; contexts and
//! locks are values that functions ask for ([`context`]).

pub(crate) mod batch;
pub(crate) mod bond;
pub(crate) mod calls;
pub(crate) mod consts;
pub(crate) mod context;
pub(crate) mod debugfs;
pub(crate) mod devref;
pub(crate) mod errno;
pub(crate) mod ethtool;
pub(crate) mod fifo;
#[cfg(toe_engine_tests)]
pub(crate) mod fixture;
pub(crate) mod fmt;
pub(crate) mod input;
pub(crate) mod link;
pub(crate) mod memcg;
pub(crate) mod napi;
pub(crate) mod ndo;
pub(crate) mod net_device;
pub(crate) mod netevent;
pub(crate) mod notifier;
pub(crate) mod peer;
pub(crate) mod proto;
pub(crate) mod qstats;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod rtnl;
pub(crate) mod skb;
pub(crate) mod slab;
pub(crate) mod sock;
pub(crate) mod sock_meta;
pub(crate) mod sock_pair;
pub(crate) mod spare;
pub(crate) mod sync;
pub(crate) mod sysfs;
pub(crate) mod table;
pub(crate) mod tcp;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod tracepoint;
pub(crate) mod ulp;
pub(crate) mod user_buffer;
pub(crate) mod vlan;
