// SPDX-License-Identifier: GPL-2.0

//! Memory is charged to the cgroup of the task that makes it necessary: in process context
//! with `GFP_KERNEL_ACCOUNT`. In contexts that cannot sleep, and in workers, it is charged
//! to the cgroup of the socket that it is for.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use core::marker::PhantomData;

use kernel::{
    alloc::Flags,
    prelude::*,
    types::NotThreadSafe, //
};

use super::sock::Sock;
use crate::bindings;

/// For memory of a connection: it does not sleep, is charged, and fails for a cgroup at its
/// limit, which `__GFP_HIGH` of `GFP_ATOMIC` would exceed (`try_charge_memcg()`). Without
/// memory the connection stays with the host stack, which is no reason for a line in the log
/// or for the use of reserves.
#[inline]
pub(crate) fn atomic() -> Flags {
    GFP_NOWAIT | __GFP_NOWARN | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL)
}

/// What is charged is charged to a socket's cgroup until this is dropped
/// (`set_active_memcg()`).
///
/// # Invariants
///
/// `before` is what was charged before, null for the task's own cgroup.
pub(crate) struct Charge<'a> {
    before: *mut bindings::mem_cgroup,
    _sk: PhantomData<&'a Sock>,
    _task: NotThreadSafe,
}

impl<'a> Charge<'a> {
    /// Any context; ended in the reverse order.
    #[inline]
    pub(crate) fn to(sk: &'a Sock) -> Self {
        Charge {
            // SAFETY: live for `'a` by the invariant of `Sock`. A socket has a reference to
            // its cgroup, once it has one, until it is freed.
            // INVARIANT: the callee returns what was charged before.
            before: unsafe { bindings::toe_charge_to(sk.as_ptr()) },
            _sk: PhantomData,
            _task: NotThreadSafe,
        }
    }
}

impl Drop for Charge<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: what was charged before, by the type invariant, is so again: whoever set it
        // keeps it alive until this one has ended.
        unsafe { bindings::toe_charge_end(self.before) }
    }
}
