// SPDX-License-Identifier: GPL-2.0

//! Tasks in the replaced socket methods, which keep the module loaded.
//!
//! `rmmod` waits for tasks in these methods ([`Quiesce`]), so that they must not sleep for
//! a time that a user decides. A call that does, because a user serves its memory or a peer
//! does not read, has a [`ModulePin`]: `rmmod` then answers EBUSY at once, and debugfs says
//! which task it is.

use core::ptr;

use kernel::{
    ffi::c_int,
    prelude::*,
    str::CStrExt, //
};

use super::{
    net_device::NetDevice,
    sock::Sock, //
};
use crate::bindings;

/// Counts this task as being inside the module until it is dropped.
///
/// # Invariants
///
/// The task is counted.
pub(in crate::net) struct InFlight(());

impl InFlight {
    pub(in crate::net) fn enter() -> Self {
        // SAFETY: no preconditions: adds to a counter of the CPU.
        unsafe { bindings::toe_call_enter() };
        // INVARIANT: just counted.
        InFlight(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // SAFETY: the task was counted by the type invariant, on whatever CPU: the sum counts.
        unsafe { bindings::toe_call_leave() }
    }
}

/// Tasks inside our methods right now, over all CPUs.
fn in_flight() -> i64 {
    // SAFETY: no preconditions: adds up the counters of all CPUs.
    unsafe { bindings::toe_calls_in_flight() as i64 }
}

/// Keeps the module loaded while a task may sleep in it without bound.
///
/// # Invariants
///
/// With a place, which may be that of those that are not shown, a reference on the module
/// belongs to the value.
pub(crate) struct ModulePin(Option<c_int>);

impl ModulePin {
    /// Takes a reference unless the module is being unloaded already. `call` is the
    /// method's name, for display, as is `dev`.
    pub(crate) fn get(sk: &Sock, call: &'static CStr, dev: Option<&NetDevice>) -> Self {
        let name = dev.map_or(c"-".as_char_ptr(), |dev| {
            // SAFETY: live by the invariant of `NetDevice`; only the address is computed.
            unsafe { ptr::addr_of!((*dev.as_ptr()).name).cast() }
        });
        let mut place = 0;
        // SAFETY: live by the invariant of `Sock`. `call` is kept, and stays for ever. `name` is
        // copied, no more than `IFNAMSIZ` bytes, which a device's name has, even while it is
        // changed; `dev` lives across the call. `place` is ours.
        // INVARIANT: with `true` there is a reference on the module.
        let held =
            unsafe { bindings::toe_holder_get(sk.as_ptr(), call.as_char_ptr(), name, &mut place) };
        ModulePin(held.then_some(place))
    }

    /// Returns whether there is a reference: there is none if the module is being
    /// unloaded.
    pub(crate) fn held(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            // SAFETY: gives up the reference, and the place, that are the value's by the type
            // invariant.
            unsafe { bindings::toe_holder_put(place) }
        }
    }
}

/// Waits on drop until no task is in our methods or on its way into them, and
/// no RCU callback of ours is left. All sockets have their own methods back.
pub(crate) struct Quiesce;

impl Drop for Quiesce {
    fn drop(&mut self) {
        // SAFETY: may sleep, as the module's root drops this in process context.
        unsafe { bindings::toe_synchronize_tasks() };
        // Calls that may sleep without bound hold a reference on the module,
        // which is gone by now: what is left ends soon.
        let mut rounds = 0u32;
        while in_flight() > 0 {
            rounds += 1;
            if rounds % 500 == 0 {
                pr_warn!("waiting for {} system calls to end\n", in_flight());
            }
            // SAFETY: may sleep, as above.
            unsafe { bindings::toe_msleep(10) };
        }
        // The last instructions of those calls.
        // SAFETY: may sleep, as above.
        unsafe { bindings::toe_synchronize_tasks() };
        super::table::barrier();
    }
}
