// SPDX-License-Identifier: GPL-2.0

//! Memory is charged to the cgroup of whoever makes it necessary: in process context
//! with `GFP_KERNEL_ACCOUNT`; where nobody can wait, and in workers, who are nobody's, to
//! that of the socket that it is for.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use kernel::{
    alloc::Flags,
    prelude::*,
    types::NotThreadSafe, //
};

use super::sock::Sock;
use crate::bindings;

/// For memory of a connection: nobody waits, it is charged, and a cgroup at its limit has
/// none: `__GFP_HIGH` of `GFP_ATOMIC` would be charged all the same
/// (`try_charge_memcg()`). Without it the connection stays with the host stack, which is
/// no reason for a line in the log, nor for the last reserves.
#[inline]
pub(crate) fn atomic() -> Flags {
    GFP_NOWAIT | __GFP_NOWARN | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL)
}

/// What is charged is charged to a socket's cgroup until this is dropped
/// (`set_active_memcg()`).
pub(crate) struct Charge {
    before: *mut bindings::mem_cgroup,
    _task: NotThreadSafe,
}

impl Charge {
    /// Any context; ended in the reverse order.
    #[inline]
    pub(crate) fn to(sk: &Sock) -> Self {
        Charge {
            // SAFETY: the socket is live, and its cgroup with it.
            before: unsafe { bindings::toe_charge_to(sk.as_ptr()) },
            _task: NotThreadSafe,
        }
    }
}

impl Drop for Charge {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: what it was before.
        unsafe { bindings::toe_charge_end(self.before) }
    }
}
