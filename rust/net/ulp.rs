// SPDX-License-Identifier: GPL-2.0

//! The upper layer protocol `toe`: the application's way to ask for an offload, and the
//! sign on the socket of a delegated connection.
//!
//! A call that entered the host's `setsockopt()` before the hand-over may run on after
//! it. `TCP_ULP "tls"` is kept from copying our methods into kTLS's own tables by the sign:
//! there is a protocol already (`EEXIST`). `sk_psock_init()` checks the same pointer, and
//! `getsockopt(TCP_ULP)` and `ss -i` show it.
//!
//! There are two tables. [`REGISTERED`] can be asked for, and its reference on the module
//! belongs to the call. [`IDENTITY`] is on delegated sockets; it has neither owner nor
//! functions, so that nothing the host does with it has an effect. `tcp_diag` and
//! `getsockopt()` read the pointer without a lock, and the latter sleeps in user memory
//! while it uses it: neither table is ever freed.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        addr_of_mut, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

use kernel::{
    error::from_result,
    ffi::c_int,
    prelude::*,
    str::CStrExt, //
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

/// The table that is registered; null while there is none. From [`alloc`].
static REGISTERED: AtomicPtr<bindings::tcp_ulp_ops> = AtomicPtr::new(ptr::null_mut());
/// The sign of a delegated connection; null before the module is loaded. From [`alloc`].
static IDENTITY: AtomicPtr<bindings::tcp_ulp_ops> = AtomicPtr::new(ptr::null_mut());

/// A table that is never freed. Process context.
fn alloc(name: &CStr) -> Result<*mut bindings::tcp_ulp_ops> {
    // SAFETY: the name ends, and is copied; may sleep, as the module's root calls this while
    // it is loaded.
    let ops = unsafe { bindings::toe_ulp_alloc(name.as_char_ptr()) };
    if ops.is_null() {
        return Err(ENOMEM);
    }
    Ok(ops)
}

/// Makes the sign. Process context, once.
pub(in crate::net) fn make_identity(name: &CStr) -> Result {
    IDENTITY.store(alloc(name)?, Ordering::Release);
    Ok(())
}

/// The sign of a delegated connection.
pub(in crate::net) fn identity() -> *const bindings::tcp_ulp_ops {
    IDENTITY.load(Ordering::Acquire)
}

/// Registered until it is dropped.
pub(crate) struct Registration<U: Ulp>(PhantomData<U>);

impl<U: Ulp> Registration<U> {
    /// Registers `name`, at most 15 bytes.
    pub(crate) fn new(name: &CStr, module: &'static ThisModule) -> Result<Self> {
        let ops = alloc(name)?;
        // SAFETY: just made, zeroed, and nobody else's before it is registered; it stays where
        // it is for ever. What it points to is the module's, of which whoever asks for the
        // table takes a reference, `owner`'s.
        let ret = unsafe {
            (*ops).init = Some(Self::init);
            (*ops).clone = Some(never_cloned);
            (*ops).owner = module.as_ptr().cast();
            bindings::tcp_register_ulp(ops)
        };
        super::proto::check(ret)?;
        REGISTERED.store(ops, Ordering::Release);
        Ok(Registration(PhantomData))
    }

    /// # Safety
    ///
    /// Called by `tcp_set_ulp()` with a TCP socket whose lock the caller owns.
    unsafe extern "C" fn init(sk: *mut bindings::sock) -> c_int {
        from_result(|| {
            // SAFETY: `do_tcp_setsockopt()`, for whose socket the name of this table can be
            // given, has a reference to it, and owns its lock until `tcp_set_ulp()` has
            // returned, which asserts that (`sock_owned_by_me()`).
            let sk = unsafe { LockedSock::assume(Sock::from_raw(sk)) };
            // `__tcp_set_ulp()` cleared it, and does not put it back if it is refused.
            let zero_copy = super::proto::is_plain(sk);
            let result = U::init(sk);
            if zero_copy && (super::proto::is_plain(sk) || super::proto::is_ours(&sk)) {
                // SAFETY: live by the invariant of `Sock`; its owner, who `sk` is proof of,
                // keeps its `struct socket`, in which the callee sets an atomic bit.
                unsafe { bindings::toe_sk_support_zc(sk.as_ptr()) };
            }
            result.map(|()| 0)
        })
    }
}

/// No listener ever has the protocol. With it there `__tcp_set_ulp()` asks [`Ulp::init`] for
/// a listener, too, which refuses and puts back what was changed.
///
/// # Safety
///
/// None: it does nothing, and is unsafe for its type only.
unsafe extern "C" fn never_cloned(
    _req: *const bindings::request_sock,
    _newsk: *mut bindings::sock,
    _priority: bindings::gfp_t,
) {
}

impl<U: Ulp> Drop for Registration<U> {
    fn drop(&mut self) {
        let ops = REGISTERED.load(Ordering::Acquire);
        // SAFETY: registered in `new()`, which made this value, and unregistered once. The
        // callee waits for readers of the list; those that found it by then have a reference
        // on the module. May sleep, as the module's root drops this.
        unsafe { bindings::tcp_unregister_ulp(ops) };
    }
}

/// The request is over: the sign takes the place of the table that was asked for, with
/// whose reference on the module goes. Socket lock held, by the task that asked.
#[inline]
pub(crate) fn settle(sk: LockedSock<'_>) {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: live by the invariant of `Sock`, a TCP socket, and locked, as `sk` proves. The
    // pointer is aligned, and written in one piece: lockless readers find one table or the
    // other, and neither is ever freed.
    unsafe {
        let asked = (*icsk).icsk_ulp_ops;
        if ptr::eq(asked, REGISTERED.load(Ordering::Acquire)) && !asked.is_null() {
            ptr::write_volatile(addr_of_mut!((*icsk).icsk_ulp_ops), identity());
            put(asked);
        }
    }
}

/// What the socket has, if it is one of ours; or null. The socket is locked.
pub(in crate::net) fn of(sk: &Sock) -> *const bindings::tcp_ulp_ops {
    let icsk = sk.as_ptr().cast::<bindings::inet_connection_sock>();
    // SAFETY: live by the invariant of `Sock`, a TCP socket, and locked by the caller; the
    // pointer is only compared.
    let ops = unsafe { (*icsk).icsk_ulp_ops };
    match ptr::eq(ops, identity()) || ptr::eq(ops, REGISTERED.load(Ordering::Acquire)) {
        true => ops,
        false => ptr::null(),
    }
}

/// `ops` is no longer on its socket.
pub(in crate::net) fn put(ops: *const bindings::tcp_ulp_ops) {
    if ptr::eq(ops, REGISTERED.load(Ordering::Acquire)) && !ops.is_null() {
        // SAFETY: one of `alloc()`, which is never freed, with the owner of `new()`. The
        // reference is the one that `__tcp_ulp_find_autoload()` took when it gave this table
        // to the socket, which has it no more.
        unsafe { bindings::toe_module_put((*ops).owner) }
    }
}
