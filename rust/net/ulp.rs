// SPDX-License-Identifier: GPL-2.0

//! `setsockopt(TCP_ULP, "toe")`: the application's way to ask for an offload.
//!
//! The name stays on the socket no longer than the system call: an upper layer
//! protocol in place would shut out TLS and sockmap, which an application may
//! ask for later.

use core::{
    marker::PhantomData,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    error::from_result,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};

use super::sock::{
    LockedSock,
    Sock, //
};
use crate::bindings;

/// The side that answers an application's request.
pub(crate) trait Ulp: 'static {
    /// Socket lock held as a user, process context.
    fn init(sk: LockedSock<'_>) -> Result;
}

/// The registered table; null while there is none.
static OPS: AtomicPtr<bindings::tcp_ulp_ops> = AtomicPtr::new(ptr::null_mut());

/// Registered until it is dropped.
pub(crate) struct Registration<U: Ulp>(PhantomData<U>);

impl<U: Ulp> Registration<U> {
    /// Registers `name`, at most 15 bytes.
    pub(crate) fn new(name: &CStr, module: &'static ThisModule) -> Result<Self> {
        let mut ops = KBox::new(bindings::tcp_ulp_ops::default(), GFP_KERNEL)?;
        let bytes = name.to_bytes();
        if bytes.len() >= ops.name.len() {
            return Err(EINVAL);
        }
        for (to, from) in ops.name.iter_mut().zip(bytes) {
            *to = *from as c_char;
        }
        ops.init = Some(Self::init);
        ops.owner = module.as_ptr().cast();
        let ops = KBox::into_raw(ops);
        // SAFETY: the table stays where it is until it is unregistered.
        let ret = unsafe { bindings::tcp_register_ulp(ops) };
        if ret != 0 {
            // SAFETY: from `KBox::into_raw()` and not registered.
            drop(unsafe { KBox::from_raw(ops) });
            return Err(Error::from_errno(ret));
        }
        OPS.store(ops, Ordering::Release);
        Ok(Registration(PhantomData))
    }

    /// # Safety
    ///
    /// Called by `tcp_set_ulp()` with the socket locked.
    unsafe extern "C" fn init(sk: *mut bindings::sock) -> c_int {
        from_result(|| {
            // SAFETY: the caller holds the socket lock for the call.
            let sk = unsafe { LockedSock::assume(Sock::from_raw(sk)) };
            U::init(sk)?;
            Ok(0)
        })
    }
}

impl<U: Ulp> Drop for Registration<U> {
    fn drop(&mut self) {
        let ops = OPS.swap(ptr::null_mut(), Ordering::AcqRel);
        if !ops.is_null() {
            // SAFETY: registered in `new()`. `tcp_unregister_ulp()` waits for
            // readers of the list.
            unsafe {
                bindings::tcp_unregister_ulp(ops);
                drop(KBox::from_raw(ops));
            }
        }
    }
}

/// Takes our name off the socket and gives up the module reference that came
/// with it. `false`: it was not there. Socket lock held.
#[inline]
pub(crate) fn forget(sk: LockedSock<'_>) -> bool {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: the socket is live and locked; the reference on the module was
    // taken by `tcp_set_ulp()`.
    unsafe {
        let there = (*icsk).icsk_ulp_ops;
        let ops = OPS.load(Ordering::Acquire);
        if there.is_null() || !ptr::eq(there, ops) {
            return false;
        }
        let owner = (*ops).owner;
        (*icsk).icsk_ulp_ops = ptr::null();
        bindings::toe_module_put(owner);
        true
    }
}
