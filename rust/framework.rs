// SPDX-License-Identifier: GPL-2.0

//! The offload framework: which connections are handed to which target, and how
//! they come back. It knows sockets and [`target::OffloadTarget`]s, and nothing of
//! what a target does inside.
//!
//! # Locking
//!
//! Outermost first; see also `Documentation/networking/toe.rst`:
//!
//! 1. rtnl (device life cycle, `upload_all` on the way down)
//! 2. the registry mutex of [`registry`]
//! 3. a socket's lock, one at a time
//! 4. [`auto`]'s candidate list, a table's writer lock, a ring's lock: leaves,
//!    with bottom halves off, never two at a time
//!
//! RCU read sections may enclose 3 (taken with bottom halves off) and 4.

pub(crate) mod auto;
pub(crate) mod connection;
pub(crate) mod device;
pub(crate) mod hooks;
pub(crate) mod registry;
mod send;
pub(crate) mod stats;
pub(crate) mod target;
