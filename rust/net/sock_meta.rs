// SPDX-License-Identifier: GPL-2.0

//! What rules ask about a socket, beyond what the offload decision reads anyway.

use kernel::{
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

use super::{
    net_device::NetDevice,
    sock::{
        LockedSock,
        Sock, //
    }, //
};
use crate::{
    bindings,
    logic::{
        rules::{
            Cgroup,
            Direction,
            Name,
            CGROUP_LEVELS, //
        },
        tuple::{
            Family,
            Tuple, //
        }, //
    }, //
};

/// What is cheap to read.
pub(crate) struct SockMeta {
    /// `SO_MARK`.
    pub(crate) mark: u32,
    /// The owner, as the user namespace of the socket's network namespace has it.
    pub(crate) uid: Option<u32>,
    /// Who opened the connection. One that was accepted from a listener with a
    /// backlog of 0 counts as active.
    pub(crate) direction: Direction,
}

impl LockedSock<'_> {
    /// Any context under the socket lock.
    pub(crate) fn sock_meta(&self) -> SockMeta {
        let mut c = bindings::toe_sock_meta::default();
        // SAFETY: live and locked by the type invariant, so that it has a namespace, and with it
        // that one's user namespace; `c` is ours to fill in.
        unsafe { bindings::toe_sk_meta(self.as_ptr(), &mut c) };
        SockMeta {
            mark: c.mark,
            uid: c.uid_known.then_some(c.uid),
            direction: if c.passive {
                Direction::Passive
            } else {
                Direction::Active
            },
        }
    }

    /// The cgroup that the socket was made in, or an ancestor if that is too deep.
    /// Any context under the socket lock.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        let mut cgroup = Cgroup::default();
        // SAFETY: live by the type invariant, and with it its cgroup and the ancestors of that,
        // to which a socket has a reference until it is freed; `ids` has room for so many levels.
        let level = unsafe {
            bindings::toe_sk_cgroup(self.as_ptr(), cgroup.ids.as_mut_ptr(), CGROUP_LEVELS as i32)
        };
        cgroup.level = u8::try_from(level).ok()?;
        Some(cgroup)
    }
}

/// The name of the task that runs. Process context.
pub(crate) fn current_name() -> Name {
    let mut name = [0u8; 16];
    // SAFETY: `name` has the 16 bytes that the callee writes, which checks that a task's name has
    // no more; in process context the running task is the caller's.
    unsafe { bindings::toe_current_comm(name.as_mut_ptr().cast()) };
    name
}

/// The cgroup that `path` names in the cgroup namespace of the task that runs, or
/// why there is none. Process context; sleeps.
pub(crate) fn find_cgroup(path: &str) -> Result<Cgroup, &'static str> {
    let mut cgroup = Cgroup::default();
    let Ok(path) = CString::try_from_fmt(fmt!("{path}")) else {
        return Err("no memory for the path");
    };
    // SAFETY: the path ends, and is only read; `ids` has room for so many levels. The callee may
    // sleep, as the caller may, and keeps its reference to the cgroup until it has read them.
    let level = unsafe {
        bindings::toe_path_cgroup(
            path.as_char_ptr(),
            cgroup.ids.as_mut_ptr(),
            CGROUP_LEVELS as i32,
        )
    };
    match u8::try_from(level) {
        Ok(level) => {
            cgroup.level = level;
            Ok(cgroup)
        }
        Err(_) if Error::from_errno(level) == E2BIG => Err("the cgroup is too deep"),
        Err(_) if Error::from_errno(level) == ENOENT => Err("no such cgroup"),
        Err(_) => Err("no cgroup can be found there"),
    }
}

/// The socket of an established connection of the namespace of `dev`. Process
/// context.
pub(crate) fn find_socket(dev: &NetDevice, tuple: &Tuple) -> Option<ARef<Sock>> {
    // SAFETY: live by the invariant of `NetDevice`, and with it its namespace while the caller has
    // the device; the callee reads 4 or 16 bytes of each address, which have 16.
    let sk = unsafe {
        bindings::toe_find_sk(
            dev.as_ptr(),
            tuple.family == Family::V6,
            tuple.local.as_ptr(),
            tuple.lport,
            tuple.remote.as_ptr(),
            tuple.rport,
        )
    };
    // SAFETY: the callee gives a full TCP socket with a reference for us, which moves into the
    // `ARef`, or null.
    core::ptr::NonNull::new(sk).map(|sk| unsafe { ARef::from_raw(sk.cast()) })
}
