// SPDX-License-Identifier: GPL-2.0

//! The offload framework: which connections are handed to which target, and how
//! they come back. It knows sockets and [`target::OffloadTarget`]s, but not how a target
//! works inside.
//!
//! # Locking
//!
//! The order is in `Documentation/networking/toe.rst`, section Locking, and there
//! only. In short: rtnl, then one socket's lock, then one leaf.

mod buffers;
mod candidates;
mod connection;
#[cfg(toe_example)]
mod copy;
mod counted;
pub(crate) mod debugfs;
mod decision;
pub(crate) mod deferred;
mod delayed_queue;
mod device;
pub(crate) mod events;
mod failover;
mod fallback;
pub(crate) mod filter_scan;
mod handover;
pub(crate) mod hooks;
pub(crate) mod host;
mod input;
mod intermediate;
mod lower;
mod objects;
mod read;
mod recvmsg;
mod registry;
mod release_cb;
mod request;
mod rules;
mod sendmsg;
mod stats;
pub(crate) mod store;
mod sysfs;
pub(crate) mod target;
mod trigger;
mod update;
pub(crate) mod upload;
