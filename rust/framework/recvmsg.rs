// SPDX-License-Identifier: GPL-2.0

//! `recvmsg(2)` of an offloaded connection: a request that would have to wait posts
//! its memory to the target, which places payload there.
//!
//! Everything else is left to the host's own `recvmsg`. The posted buffer is taken back
//! before the call returns or goes on there, under the socket's lock, so that the
//! number of bytes placed is exact. What was placed and is not returned goes back to the
//! receive queue: the host's function then finds the connection as if there had been no
//! buffer.

use kernel::{
    ffi::c_long,
    prelude::*, //
};

use super::{
    connection,
    deferred,
    registry,
    target::{
        ConnRef,
        OffloadTarget, //
    }, //
};
use crate::{
    logic::buffer::{
        End,
        Next,
        Posted,
        MAX_BYTES, //
    },
    net::{
        consts as c,
        devref::DevRef,
        net_device::NetDevice,
        proto::{
            self,
            Msg,
            Received, //
        },
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        sync::rcu::ReadGuard,
        user_buffer::{
            self,
            Pinned, //
        }, //
    }, //
};

/// Returns whether a buffer pays for a call that waits for `want` bytes.
fn pays(sk: &Sock, want: u32) -> bool {
    let guard = ReadGuard::new();
    connection::of_now(sk, &guard)
        .and_then(|conn| Some((conn, conn.reach()?)))
        .is_some_and(|(conn, (target, at))| {
            let rule = conn.user_buffer_rule(target);
            target.wants_buffer(at, want, rule)
        })
}

/// Calls `f` with the target of the connection, if it has the delegated state.
fn with_target<R>(
    sk: LockedSock<'_>,
    f: impl FnOnce(&dyn OffloadTarget, ConnRef<'_>) -> R,
) -> Option<R> {
    let guard = ReadGuard::new();
    let conn = connection::of(sk, &guard)?;
    if !conn.delegated(sk) {
        return None;
    }
    conn.reach().map(|(target, conn)| f(target, conn))
}

/// Posts the buffer; the time that the call may wait for it, and the device that
/// has it. `None`: nothing is posted, the host shall do all of it.
fn post(
    sk: LockedSock<'_>,
    msg: &Msg<'_>,
    buffer: &Pinned,
    len: u32,
    want: u32,
) -> Option<(c_long, DevRef)> {
    let timeout = sk.receive_timeout();
    // The host's function could not be told how much time is left, nor that it has
    // to return what was read before.
    if want > 1 && !user_buffer::is_forever(timeout) {
        return None;
    }
    if !sk.reads_plainly(msg) || !sk.all_read(0) {
        return None;
    }
    let state = Posted::new(len, want);
    if state.next(&sk.reader_view(timeout, false)) != Next::Wait {
        return None;
    }
    buffer.set(sk, state);
    let guard = ReadGuard::new();
    let conn = connection::of(sk, &guard).filter(|conn| conn.delegated(sk))?;
    let (target, at) = conn.reach()?;
    let dev = DevRef::new(conn.dev()?);
    if !target.post_buffer(sk, at, buffer) {
        return None;
    }
    target.device().stats().buffers.posted();
    // What waited for it.
    target.flush(sk, at);
    Some((timeout, dev))
}

/// Waits until there is a decision. The buffer is closed then, and nobody's.
fn wait(lock: &mut UserLock<'_>, buffer: &Pinned, timeout: &mut c_long) -> (Next, Result) {
    loop {
        let ret = buffer.wait(lock, timeout);
        let mut state = buffer.state(lock.locked());
        // As tcp_recvmsg(): what is in the backlog belongs to it.
        if state.satisfied() && !state.full() {
            lock.flush_backlog();
            state = buffer.state(lock.locked());
        }
        let sk = lock.locked();
        let next = state.next(&sk.reader_view(*timeout, ret.is_err()));
        if next != Next::Wait {
            let _ = with_target(sk, |target, conn| target.take_buffer(sk, conn));
            buffer.close(sk);
            return (next, ret);
        }
    }
}

/// Counts what became of the buffer. The connection may be gone, not the device.
fn count(dev: &NetDevice, next: Next, placed: u32) {
    if let (Some((target, _)), Next::Return(end) | Next::Fail(end) | Next::Host(end)) =
        (registry::target_of(dev), next)
    {
        target.device().stats().buffers.ended(end, placed);
    }
}

/// See the module's documentation. Process context, socket unlocked.
pub(super) fn recvmsg(sk: &Sock, msg: &mut Msg<'_>, flags: u32) -> Received {
    if flags & !c::RECV_PLAIN == 0 {
        if let Some(received) = by_buffer(sk, msg, flags) {
            return received;
        }
    }
    if deferred::may_defer() && proto::is_ours(sk) {
        if let Some(locked) = connection::lock(sk, c"recvmsg") {
            deferred::reader(locked.locked(), flags & c::MSG_DONTWAIT == 0);
        }
    }
    Received::Host
}

/// `None`: no buffer was posted.
fn by_buffer(sk: &Sock, msg: &mut Msg<'_>, flags: u32) -> Option<Received> {
    let whole = msg.len().min(i32::MAX as usize) as u32;
    let want = sk.receive_target(flags & c::MSG_WAITALL != 0, whole);
    if want > MAX_BYTES || !pays(sk, want) {
        return None;
    }
    let len = whole.min(MAX_BYTES);
    let buffer = {
        // Faulting the memory in may take any length of time.
        let pin = connection::pin(sk, c"recvmsg");
        if !pin.held() {
            return None;
        }
        // Where it cannot be pinned, the host finds the right answer.
        Pinned::new(sk, msg, len).ok()?
    };
    let mut lock = connection::lock(sk, c"recvmsg")?;
    // If not, the socket is let go before the buffer is.
    let (mut timeout, dev) = post(lock.locked(), msg, &buffer, len, want)?;
    let (next, woken) = wait(&mut lock, &buffer, &mut timeout);
    let placed = buffer.state(lock.locked()).placed();
    count(&dev, next, placed);
    // The device may be going, and the call stay for a while.
    drop(dev);
    let result = match next {
        Next::Return(_) if buffer.finish(&lock, msg, placed) => {
            lock.locked().receive_space_adjust();
            Received::Done(Ok(placed as usize))
        }
        // The memory is no longer there: the host finds the right answer.
        Next::Return(_) => match buffer.put_back(&lock, placed) {
            0 => Received::HostNoWait,
            out => short(&lock, &buffer, msg, out),
        },
        Next::Fail(End::Timer) => Received::Done(Err(EAGAIN)),
        Next::Fail(End::Signal) => Received::Done(Err(user_buffer::interrupted(timeout))),
        Next::Fail(_) => Received::Done(Err(woken.err().unwrap_or(EPIPE))),
        Next::Host(_) | Next::Wait => match buffer.put_back(&lock, placed) {
            0 if user_buffer::is_forever(timeout) => Received::Host,
            0 => {
                drop(buffer);
                rest_of_time(&mut lock, &mut timeout)
            }
            out => short(&lock, &buffer, msg, out),
        },
    };
    drop(lock);
    Some(result)
}

/// The first `out` of the bytes placed could not be put back. They are the call's
/// result, though it may have waited for more.
#[cold]
fn short(lock: &UserLock<'_>, buffer: &Pinned, msg: &mut Msg<'_>, out: u32) -> Received {
    lock.locked().receive_space_adjust();
    Received::Done(match buffer.finish(lock, msg, out) {
        true => Ok(out as usize),
        false => Err(EFAULT),
    })
}

/// The connection is the host's now. Waits for what is left of the call's time, for
/// the host's function would wait for all of it again.
fn rest_of_time(lock: &mut UserLock<'_>, timeout: &mut c_long) -> Received {
    let pin = connection::pin(lock.sock(), c"recvmsg");
    if !pin.held() {
        // The module is on its way out: better late than not unloaded.
        return Received::Host;
    }
    if let Err(e) = lock.wait_queue(timeout) {
        return Received::Done(Err(e));
    }
    let view = lock.locked().reader_view(*timeout, false);
    if view.queued || view.stopped {
        Received::HostNoWait
    } else if view.expired {
        Received::Done(Err(EAGAIN))
    } else {
        Received::Done(Err(user_buffer::interrupted(*timeout)))
    }
}
