// SPDX-License-Identifier: GPL-2.0

//! The `inet_sock_set_state` tracepoint: where a TCP connection changes state.

use core::{
    ffi::c_void,
    marker::PhantomData,
    ptr, //
};

use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    str::CStr, //
};

use super::sock::{
    LockedSock,
    Sock, //
};
use crate::bindings;

/// The side that is told.
pub(crate) trait StateProbe: 'static {
    /// A connection reached ESTABLISHED. Called with the socket's lock held, in
    /// any context; must not sleep and must not take that lock.
    fn established(sk: LockedSock<'_>);
}

/// The probe is attached until this is dropped.
pub(crate) struct Registration<P: StateProbe> {
    tracepoint: *mut bindings::tracepoint,
    _probe: PhantomData<P>,
}

// SAFETY: the tracepoint is a static of the kernel.
unsafe impl<P: StateProbe> Send for Registration<P> {}
// SAFETY: as above.
unsafe impl<P: StateProbe> Sync for Registration<P> {}

struct Search {
    name: &'static CStr,
    found: *mut bindings::tracepoint,
}

/// # Safety
///
/// Called by `for_each_kernel_tracepoint()` with a [`Search`].
unsafe extern "C" fn compare(tp: *mut bindings::tracepoint, private: *mut c_void) {
    // SAFETY: `private` is the `Search` given below; names are C strings.
    unsafe {
        let search = &mut *private.cast::<Search>();
        let name = (*tp).name.cast::<c_char>();
        if CStr::from_char_ptr(name).to_bytes() == search.name.to_bytes() {
            search.found = tp;
        }
    }
}

/// # Safety
///
/// Called by the tracepoint: (probe's data, socket, old state, new state).
unsafe extern "C" fn set_state<P: StateProbe>(
    _data: *mut c_void,
    sk: *mut bindings::sock,
    _old: c_int,
    new: c_int,
) {
    if new != bindings::TCP_ESTABLISHED as c_int {
        return;
    }
    // SAFETY: the tracepoint's socket is live, and locked by whoever changes its
    // state; only TCP sockets, full ones in this state, are looked at further.
    unsafe {
        if u32::from((*sk).sk_protocol) == bindings::IPPROTO_TCP && u32::from((*sk).sk_type) == 1 {
            P::established(LockedSock::assume(Sock::from_raw(sk)));
        }
    }
}

impl<P: StateProbe> Registration<P> {
    /// `ENOENT` if the kernel was built without tracepoints.
    pub(crate) fn new() -> Result<Self> {
        let mut search = Search {
            name: c"inet_sock_set_state",
            found: ptr::null_mut(),
        };
        // SAFETY: `compare` gets the search, which outlives the call.
        unsafe {
            bindings::for_each_kernel_tracepoint(Some(compare), ptr::from_mut(&mut search).cast())
        };
        if search.found.is_null() {
            return Err(ENOENT);
        }
        // SAFETY: the probe has the signature of this tracepoint, see
        // include/trace/events/sock.h.
        super::proto::check(unsafe {
            bindings::tracepoint_probe_register(
                search.found,
                set_state::<P> as *mut c_void,
                ptr::null_mut(),
            )
        })?;
        Ok(Registration {
            tracepoint: search.found,
            _probe: PhantomData,
        })
    }
}

impl<P: StateProbe> Drop for Registration<P> {
    fn drop(&mut self) {
        // SAFETY: registered in `new()` with the same function and data.
        unsafe {
            bindings::tracepoint_probe_unregister(
                self.tracepoint,
                set_state::<P> as *mut c_void,
                ptr::null_mut(),
            );
            // Probes run in RCU sections (tracepoint_synchronize_unregister()).
            bindings::toe_tracepoint_sync();
        }
    }
}
