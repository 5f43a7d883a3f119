// SPDX-License-Identifier: GPL-2.0

//! Protocol logic of the offload framework: pure functions over plain data.
//!
//! Nothing in here knows of the kernel: time is an argument, a frame is a byte
//! slice, and what to do is returned, never done. The same files are compiled
//! into the module and into the host crate `xtask/model`, where they run under
//! property tests, fuzzing and a simulator against an independent TCP. That is
//! why only `core` and `super::` paths are used.
//!
//! No function here panics: arithmetic on sequence numbers wraps, indices are
//! checked, and what comes from the wire is an error value, never an assertion.

#![forbid(unsafe_code)]
// In the module nothing is reachable from outside.
#![allow(unreachable_pub, reason = "public in the host crate")]

pub mod ack;
pub mod buffer;
pub mod conn;
pub mod deferred;
pub mod eligibility;
pub mod expect;
pub mod failover;
pub mod filter;
pub mod hwid;
pub mod legacy;
pub mod next_hop;
pub mod objects;
pub mod policy;
pub mod rate;
pub mod rcv_mss;
pub mod reason;
pub mod receive;
pub mod resources;
pub mod rtt;
pub mod rules;
pub mod seq;
pub mod short_cut;
pub mod slots;
pub mod sockopt;
pub mod state;
pub mod template;
pub mod transmit;
pub mod tree;
pub mod tuple;
pub mod vlan;
pub mod window;
pub mod wire;
