// SPDX-License-Identifier: GPL-2.0

//! What a target and its driver may call: the upward half of the contract, of which
//! [`target`](super::target) is the other. Nothing is implemented here: each item says at
//! its definition what it does, in which context it may be called, and what is true when it
//! returns.
//!
//! # A driver
//!
//! It keeps a [`Registration`] as long as it has devices, and a [`Device`] in each of them,
//! which has policy, limits, rules and the counters of the framework ([`Stats`]). It gives
//! its devices a [`group`] of the sysfs files [`FILES`], to which it may join files of its
//! own, and adds the names and values of [`Stats`] to those of `ethtool -S`. When the far
//! end of its link goes down, it says so ([`link_down`]); the framework notices by itself
//! what happens to the driver's devices and to the layers on top of them.
//!
//! # A connection
//!
//! By [`of`], under the socket's lock, or [`of_now`] a target gets the framework's record
//! of a socket's connection. It can give the connection up at any time ([`upload`], or
//! [`Fallback::ask`] if a task may own the socket), or leave it to the host stack for a
//! special case ([`special`]) until that is through with it ([`resynchronised`]); a case
//! after which nothing changes hands is only counted ([`count_special`]). Each of these may
//! call the target's `terminate` before it returns.
//!
//! The objects that a connection lies on are the host's. Before a target sends to a
//! neighbour that is not known to be reachable, it asks ([`next_hop`]), and when a route is
//! no longer valid ([`reroute`]); the answer comes as an update of the objects before the
//! call returns. [`Layers`] do to its frames what the devices on top of its own would have
//! done.
//!
//! # Waiting
//!
//! A target that has something to do with a connection whose socket a task owns sets an
//! [`AwaitRelease`]: [`released`] is called when that task releases the socket. One that
//! defers payload for want of a user buffer sets a [`Deferring`] meanwhile, has
//! [`request_expired`] called in time ([`expire_at`]), and gives what it could not process
//! to the host when the connection goes ([`requeue`]). Both are counted while they are set,
//! and need not be taken back before they are dropped. As long as no connection of any
//! target has one set, nobody asks for it ([`may_defer`]).
//!
//! [`released`]: super::target::OffloadTarget::released
//! [`request_expired`]: super::target::OffloadTarget::request_expired

pub(crate) use super::{
    connection::{
        count_special,
        of,
        of_now,
        resynchronised,
        special,
        Record as Connection, //
    },
    deferred::{
        expire_at,
        may_defer,
        request_buffer,
        requeue,
        Deferring, //
    },
    device::Device,
    events::link_down,
    fallback::{
        check_blockers,
        check_mtu,
        leads_to,
        next_hop,
        reroute,
        Fallback,
        NO_MEMORY, //
    },
    input::{
        take_in,
        Ingress,
        NotTaken, //
    },
    intermediate::{
        any_bond,
        Layers, //
    },
    lower::{
        below,
        Objects,
        PathObject, //
    },
    read::{
        data_ready,
        AwaitRead,
        Pulled, //
    },
    registry::Registration,
    release_cb::AwaitRelease,
    stats::Stats,
    store::{
        stored,
        GivenBack,
        Store,
        Stored, //
    },
    sysfs::{
        flag,
        group,
        number,
        show,
        FILES,
        GROUP, //
    },
    upload::upload, //
};

#[cfg(toe_example)]
pub(crate) use super::copy::{
    Copied,
    Delivered, //
};
