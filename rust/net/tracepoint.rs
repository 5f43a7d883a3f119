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
///
/// # Invariants
///
/// `tracepoint` is a static of the kernel, that of `inet_sock_set_state`, and `set_state::<P>`
/// is one of its probes, with null as its data.
pub(crate) struct Registration<P: StateProbe> {
    tracepoint: *mut bindings::tracepoint,
    _probe: PhantomData<P>,
}

// SAFETY: what can be done with a value is to drop it, which any task may do: C has a lock
// for the probes of a tracepoint.
unsafe impl<P: StateProbe> Send for Registration<P> {}
// SAFETY: it has no methods.
unsafe impl<P: StateProbe> Sync for Registration<P> {}

struct Search {
    name: &'static CStr,
    found: *mut bindings::tracepoint,
}

/// # Safety
///
/// Called by `for_each_kernel_tracepoint()` with a [`Search`] that nobody else uses.
unsafe extern "C" fn compare(tp: *mut bindings::tracepoint, private: *mut c_void) {
    // SAFETY: `private` is such a `Search`; `tp` is a static of the kernel, whose name is a C
    // string.
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
/// Called by the tracepoint `inet_sock_set_state`: (probe's data, socket, old state, new
/// state).
unsafe extern "C" fn set_state<P: StateProbe>(
    _data: *mut c_void,
    sk: *mut bindings::sock,
    _old: c_int,
    new: c_int,
) {
    if new != bindings::TCP_ESTABLISHED as c_int {
        return;
    }
    // SAFETY: the socket lives across the call. One of TCP becomes established by
    // `tcp_set_state()` only, which works on full sockets, and is called with the socket
    // owned, or with its spin lock held and no owner: so `tcp_finish_connect()`, and
    // `tcp_rcv_state_process()` for a new one, which nobody can own yet.
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
        // SAFETY: `compare` gets the search, which outlives the call, and which nothing else
        // uses meanwhile. May sleep, as the module's root calls this.
        unsafe {
            bindings::for_each_kernel_tracepoint(Some(compare), ptr::from_mut(&mut search).cast())
        };
        if search.found.is_null() {
            return Err(ENOENT);
        }
        // SAFETY: a tracepoint of the kernel's image, which stays. The probe has the signature
        // of that of this name (include/trace/events/sock.h), behind the probe's data.
        super::proto::check(unsafe {
            bindings::tracepoint_probe_register(
                search.found,
                set_state::<P> as *mut c_void,
                ptr::null_mut(),
            )
        })?;
        // INVARIANT: just registered.
        Ok(Registration {
            tracepoint: search.found,
            _probe: PhantomData,
        })
    }
}

impl<P: StateProbe> Drop for Registration<P> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant it is a probe, with the same function and data. May
        // sleep, as the module's root drops this.
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
