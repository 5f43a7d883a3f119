// SPDX-License-Identifier: GPL-2.0

//! Locks, and what contexts share: data that one lock guards, that is read under RCU, or
//! that is atomic.

pub(crate) mod counter;
pub(crate) mod rcu;
pub(crate) mod ring;
pub(crate) mod sock_cell;
pub(crate) mod spin_lock_bh;
pub(crate) mod static_slot;
pub(crate) mod worker;
