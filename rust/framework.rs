// SPDX-License-Identifier: GPL-2.0

//! The offload framework: which connections are handed to which target, and how
//! they come back. It knows sockets and [`target::OffloadTarget`]s, and nothing of
//! what a target does inside.
//!
//! # Locking
//!
//! The order is in `Documentation/networking/toe.rst`, section Locking, and there
//! only. In short: rtnl, then one socket's lock, then one leaf.

mod agenda;
pub(crate) mod auto;
pub(crate) mod buffers;
pub(crate) mod connection;
pub(crate) mod debugfs;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod handover;
pub(crate) mod hold;
pub(crate) mod hooks;
pub(crate) mod intermediate;
pub(crate) mod objects;
pub(crate) mod queue;
mod receive;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod rules;
mod send;
pub(crate) mod stats;
pub(crate) mod sysfs;
pub(crate) mod target;
pub(crate) mod upload;
pub(crate) mod watch;
