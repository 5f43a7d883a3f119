// SPDX-License-Identifier: GPL-2.0

//! `sendmsg(2)` of an offloaded connection: from the application's memory into
//! the send queue, from where the target takes it.
//!
//! Ordinary writes are served here. Special calls (zero copy, splice, ancillary data,
//! urgent data, errors) are left to the host's own `sendmsg`, which builds the same queue and
//! also transmits through the target.

use kernel::{
    ffi::c_long,
    prelude::*, //
};

use super::{
    connection,
    device::any_short_cut,
    update,
    upload, //
};
use crate::{
    logic::{
        reason::UploadReason,
        transmit::{
            Push,
            NAGLE_CORK,
            NAGLE_PUSH, //
        }, //
    },
    net::{
        calls::ModulePin,
        consts as c,
        context::{
            BhGuard,
            Doorbell, //
        },
        proto::Msg,
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        sync::rcu::ReadGuard,
        tcp::AppendError, //
    }, //
};

/// Flags that need nothing special.
const PLAIN: u32 = c::MSG_DONTWAIT | c::MSG_NOSIGNAL | c::MSG_MORE;

/// Buffers that are filled before the frames are looked at that came meanwhile.
const BUFFERS_AT_ONCE: u32 = 16;

/// Rings the target's doorbell. `false`: the host goes on.
fn doorbell(lock: &UserLock<'_>, push: Push) -> bool {
    let sk = lock.locked();
    let bh = Doorbell::new(lock);
    let guard = ReadGuard::within(&bh);
    match connection::of(sk, &guard) {
        Some(conn) if conn.delegated(sk) => match conn.reach() {
            Some((target, at)) => {
                update::sync_options(sk, conn);
                if any_short_cut() && push != Push::With(NAGLE_CORK) && target.device().short_cut()
                {
                    if target.pass_queue(lock, at, &bh) {
                        return true;
                    }
                }
                target.send(sk, at, push, &bh);
                conn.delegated(sk)
            }
            None => false,
        },
        _ => false,
    }
}

/// Returns whether the connection is delegated, after resynchronising it if possible.
fn delegated(sk: LockedSock<'_>) -> bool {
    let guard = ReadGuard::new();
    connection::of(sk, &guard).is_some_and(|conn| {
        let resynchronise = || {
            let (target, at) = conn.reach()?;
            Some(target.resynchronise(sk, at))
        };
        conn.delegated(sk) || resynchronise() == Some(true)
    })
}

/// Returns whether the engine may go on with what the application writes. If the host has
/// to do part of it, it does all of it.
fn may_write(sk: LockedSock<'_>) -> bool {
    if !delegated(sk) || !sk.is_open() || !sk.may_write() {
        return false;
    }
    // Options of level SOL_SOCKET, such as timestamps, pass no method of ours.
    let wanted = sk.wants_host();
    if wanted {
        upload::upload(sk, UploadReason::Setsockopt);
    }
    !wanted
}

/// The last buffer of the send queue is full: it may leave while the next one is filled,
/// if nothing waits before it. `false`: the connection is the host's.
fn buffer_full(lock: &UserLock<'_>) -> bool {
    let sk = lock.locked();
    if sk.is_push_forced() {
        sk.mark_push();
        return doorbell(lock, Push::With(NAGLE_PUSH));
    }
    match sk.send_head() {
        Some(head) if !head.more => doorbell(lock, Push::One),
        _ => true,
    }
}

/// Bytes of `msg` that went to the other end, on the same machine, without frames: see
/// [`pass`](super::target::OffloadTarget::pass).
#[inline(always)]
fn short_cut(sk: &Sock, msg: &mut Msg<'_>, lock: Option<&UserLock<'_>>) -> Option<usize> {
    let bh = BhGuard::new();
    let guard = ReadGuard::within(&bh);
    match connection::of_now(sk, &guard).and_then(|conn| conn.reach()) {
        Some((target, at)) if target.device().short_cut() => target.pass(sk, at, msg, lock, &bh),
        _ => Some(0),
    }
}

/// What a call of `sendmsg()` has come to.
struct Call<'a> {
    sk: &'a Sock,
    flags: u32,
    /// Keeps the module for a call that may sleep without bound.
    pin: Option<ModulePin>,
    /// What is left of the time to wait, once it was asked for.
    timeout: Option<c_long>,
    /// Bytes in the send queue.
    done: usize,
}

impl Call<'_> {
    /// Lets the call sleep without bound from here on. `false`: it may not, because the module
    /// is being unloaded.
    fn hold_module(&mut self) -> bool {
        let pin = self
            .pin
            .get_or_insert_with(|| connection::pin(self.sk, c"sendmsg"));
        pin.held()
    }

    /// Appends all of `msg` to the send queue, and has what fills up meanwhile sent. `Some`:
    /// why not all of it.
    #[inline(always)]
    fn append_all(&mut self, lock: &mut UserLock<'_>, msg: &mut Msg<'_>) -> Option<AppendError> {
        let want = msg.len();
        let mut buffers = 0;
        loop {
            let goal = lock.locked().size_goal();
            match lock.append(msg, goal, self.pin.is_some()) {
                Ok(n) => {
                    self.done += n;
                    if self.done >= want {
                        return None;
                    }
                    if lock.locked().send_tail_len() >= goal && !buffer_full(lock) {
                        return Some(AppendError::Memory);
                    }
                    buffers += 1;
                    if buffers == BUFFERS_AT_ONCE {
                        buffers = 0;
                        lock.flush_backlog();
                        if !may_write(lock.locked()) {
                            return Some(AppendError::Memory);
                        }
                    }
                }
                Err(AppendError::Full) => {
                    if let Err(e) = self.wait_for_room(lock) {
                        return Some(e);
                    }
                }
                // What takes long to be there is waited for with the module held.
                Err(AppendError::Fault) if self.hold_module() => {}
                Err(AppendError::Fault) => return Some(AppendError::Memory),
                Err(e) => return Some(e),
            }
        }
    }

    /// The send buffer is full: has what is in it sent, and waits.
    fn wait_for_room(&mut self, lock: &mut UserLock<'_>) -> Result<(), AppendError> {
        lock.locked().no_space();
        if self.done != 0 {
            lock.locked().mark_push();
            if !doorbell(lock, Push::With(NAGLE_PUSH)) {
                return Err(AppendError::Memory);
            }
        }
        if !self.hold_module() {
            return Err(AppendError::Memory);
        }
        let dont_wait = self.flags & c::MSG_DONTWAIT != 0;
        let timeout = self
            .timeout
            .get_or_insert_with(|| lock.locked().send_timeout(dont_wait));
        lock.wait_memory(timeout).map_err(AppendError::Other)?;
        match may_write(lock.locked()) {
            true => Ok(()),
            false => Err(AppendError::Memory),
        }
    }

    /// The host goes on where the engine stopped, and may sleep.
    fn go_on_in_host(
        &mut self,
        lock: &mut UserLock<'_>,
        msg: &mut Msg<'_>,
    ) -> Option<Result<usize>> {
        let done = self.done;
        if !self.hold_module() {
            return (done != 0).then_some(Ok(done));
        }
        match lock.host_sendmsg(msg) {
            Ok(n) => Some(Ok(done + n)),
            Err(_) if done != 0 => Some(Ok(done)),
            Err(e) => Some(Err(e)),
        }
    }
}

/// `None`: the host's `sendmsg` does all of it. Process context, unlocked.
pub(super) fn sendmsg(sk: &Sock, msg: &mut Msg<'_>) -> Option<Result<usize>> {
    let flags = msg.flags();
    if flags & !PLAIN != 0 || msg.has_control() || msg.len() == 0 {
        return None;
    }
    let done = match flags & c::MSG_MORE == 0 && any_short_cut() {
        true => short_cut(sk, msg, None),
        false => Some(0),
    };
    if done == Some(msg.len()) {
        return Some(Ok(msg.len()));
    }
    send(sk, msg, flags, done.is_none())
}

/// All of `msg`, under the socket's lock: what can pass without frames if they are to be
/// asked again, and what is left by the send queue. `None`: the host's `sendmsg` does all of it.
fn send(sk: &Sock, msg: &mut Msg<'_>, flags: u32, again: bool) -> Option<Result<usize>> {
    let mut lock = connection::lock(sk, c"sendmsg")?;
    if !may_write(lock.locked()) {
        return None;
    }
    let done = match again {
        true => short_cut(sk, msg, Some(&lock)).unwrap_or(0),
        false => 0,
    };
    if done == msg.len() {
        return Some(Ok(done));
    }
    lock.locked().check_app_limited();
    let mut call = Call {
        sk,
        flags,
        pin: None,
        timeout: None,
        done,
    };
    match call.append_all(&mut lock, msg) {
        Some(AppendError::Memory | AppendError::Full) => {
            return call.go_on_in_host(&mut lock, msg);
        }
        Some(AppendError::Other(e)) if call.done == 0 => {
            return Some(Err(lock.locked().stream_error(flags, e)));
        }
        _ => {}
    }
    // tcp_push()
    let more = flags & c::MSG_MORE != 0;
    let sk = lock.locked();
    if !more || sk.is_push_forced() {
        sk.mark_push();
    }
    doorbell(
        &lock,
        match more {
            true => Push::With(NAGLE_CORK),
            false => Push::Pending,
        },
    );
    Some(Ok(call.done))
}
