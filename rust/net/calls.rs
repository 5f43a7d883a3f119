// SPDX-License-Identifier: GPL-2.0

//! Tasks in the replaced socket methods, and the module that must not go meanwhile.
//!
//! `rmmod` waits for those that are in them ([`Quiesce`]), which therefore must not sleep
//! for longer than the kernel decides. A call that does, because a user serves its memory
//! or a peer does not read, has a [`ModulePin`]: then `rmmod` answers EBUSY at once, and
//! debugfs says who it is.

use core::ptr;

use kernel::{
    ffi::c_int,
    prelude::*,
    str::CStrExt, //
};

use super::{
    netdev::NetDevice,
    sock::Sock, //
};
use crate::bindings;

/// Counts this task as being inside the module until it is dropped.
pub(in crate::net) struct InFlight(());

impl InFlight {
    pub(in crate::net) fn enter() -> Self {
        // SAFETY: no preconditions.
        unsafe { bindings::toe_call_enter() };
        InFlight(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // SAFETY: no preconditions.
        unsafe { bindings::toe_call_leave() }
    }
}

/// Tasks inside our methods right now, over all CPUs.
fn in_flight() -> i64 {
    // SAFETY: no preconditions.
    unsafe { bindings::toe_calls_in_flight() as i64 }
}

/// Keeps the module loaded while a task may sleep in it without bound.
pub(crate) struct ModulePin(Option<c_int>);

impl ModulePin {
    /// Takes a reference unless the module is being unloaded already. `call` is the
    /// method's name, for display, as is `dev`.
    pub(crate) fn get(sk: &Sock, call: &'static CStr, dev: Option<&NetDevice>) -> Self {
        let name = dev.map_or(c"-".as_char_ptr(), |dev| {
            // SAFETY: a live device's name, which ends within its array even while it
            // is changed.
            unsafe { ptr::addr_of!((*dev.as_ptr()).name).cast() }
        });
        let mut place = 0;
        // SAFETY: the socket is live, `call` stays for ever; `place` is ours.
        let held =
            unsafe { bindings::toe_holder_get(sk.as_ptr(), call.as_char_ptr(), name, &mut place) };
        ModulePin(held.then_some(place))
    }

    /// Is it one, or is the module being unloaded?
    pub(crate) fn held(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            // SAFETY: gives up the reference and the place taken in `get()`.
            unsafe { bindings::toe_holder_put(place) }
        }
    }
}

/// Waits on drop until no task is in our methods or on its way into them, and
/// no RCU callback of ours is left. All sockets have their own methods back.
pub(crate) struct Quiesce;

impl Drop for Quiesce {
    fn drop(&mut self) {
        // SAFETY: process context.
        unsafe { bindings::toe_synchronize_tasks() };
        // Calls that may sleep without bound hold a reference on the module,
        // which is gone by now: what is left ends soon.
        let mut rounds = 0u32;
        while in_flight() > 0 {
            rounds += 1;
            if rounds % 500 == 0 {
                pr_warn!("waiting for {} system calls to end\n", in_flight());
            }
            // SAFETY: process context.
            unsafe { bindings::toe_msleep(10) };
        }
        // SAFETY: process context; the last instructions of those calls.
        unsafe { bindings::toe_synchronize_tasks() };
        super::table::barrier();
    }
}
