// SPDX-License-Identifier: GPL-2.0

//! Whether an entry says what its socket says.
//!
//! The engines write each change of the delegated state through to the socket, and read it
//! from there before each use, because the host stack may have had the connection in
//! between: a frame may have reached it in another way. A table that kept nothing would
//! therefore do. In builds with debug assertions each use of an entry, its end included,
//! compares all delegated fields with the socket's, unless the host stack is known to have had the
//! connection since the last one, and both are counted. A difference is a warning, with
//! the name of the field before it. Other builds have none of this.
//!
//! Claims: Documentation/networking/toe-claims.rst

#[cfg(debug_assertions)]
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};

#[cfg(debug_assertions)]
use kernel::prelude::*;

#[cfg(debug_assertions)]
use crate::net::sync::sock_cell::SockCell;
use crate::{
    logic::{
        conn::ConnData,
        hwid::Hwid, //
    },
    net::{
        ethtool::{
            Names,
            Values, //
        },
        skb::SkBuff,
        sock::LockedSock, //
    }, //
};

/// How often entries were compared, and how often not.
#[derive(Default)]
pub(crate) struct Counts {
    #[cfg(debug_assertions)]
    compared: AtomicU64,
    /// Loaded anew, because the host stack had the connection.
    #[cfg(debug_assertions)]
    loaded: AtomicU64,
}

impl Counts {
    /// As those of the framework's [`Stats`](crate::framework::host::Stats).
    pub(crate) fn names(&self, names: &mut Names<'_>) {
        #[cfg(debug_assertions)]
        for name in ["compared", "loaded"] {
            names.add(fmt!("toe_entry_{name}"));
        }
        #[cfg(not(debug_assertions))]
        let _ = names;
    }

    /// Their values.
    pub(crate) fn values(&self, values: &mut Values<'_>) {
        #[cfg(debug_assertions)]
        for count in [&self.compared, &self.loaded] {
            values.add(count.load(Relaxed));
        }
        #[cfg(not(debug_assertions))]
        let _ = values;
    }
}

/// What an entry remembers between two uses.
pub(super) struct Audit {
    #[cfg(debug_assertions)]
    last: SockCell<Last>,
    /// Segments of the connection that the receive engine let in, also while a task owned
    /// the socket.
    #[cfg(debug_assertions)]
    admitted: AtomicU32,
}

#[cfg(debug_assertions)]
#[derive(Clone, Copy)]
struct Last {
    /// The host stack has had the connection since.
    host: bool,
    /// Segments that the host stack let in, and not the receive engine: a frame that came
    /// another way is processed without anybody telling us.
    foreign: u32,
}

impl Audit {
    /// For the entry of a connection whose state has just been loaded.
    #[inline(always)]
    pub(super) fn new(sk: LockedSock<'_>) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = sk;
        Audit {
            #[cfg(debug_assertions)]
            last: SockCell::new(
                sk.sock(),
                Last {
                    host: false,
                    foreign: sk.segments_in(),
                },
            ),
            #[cfg(debug_assertions)]
            admitted: AtomicU32::new(0),
        }
    }

    /// The receive engine has let a frame in. Under the socket's spin lock.
    #[inline(always)]
    pub(super) fn admitted(&self, skb: &SkBuff) {
        #[cfg(debug_assertions)]
        let _ = self
            .admitted
            .fetch_add(u32::from(skb.gso_segs()).max(1), Relaxed);
        #[cfg(not(debug_assertions))]
        let _ = skb;
    }

    /// The host stack has the connection, and may change any of its state.
    #[inline(always)]
    pub(super) fn host_has_it(&self, sk: LockedSock<'_>) {
        #[cfg(debug_assertions)]
        self.last.with_mut(sk, |last| last.host = true);
        #[cfg(not(debug_assertions))]
        let _ = sk;
    }

    /// The entry is about to be used: compares `data` with the socket, or makes it what the
    /// socket says.
    #[inline(always)]
    pub(super) fn used(
        &self,
        sk: LockedSock<'_>,
        hwid: Hwid,
        data: &mut ConnData,
        counts: &Counts,
    ) {
        #[cfg(debug_assertions)]
        self.compare(sk, hwid, data, counts);
        #[cfg(not(debug_assertions))]
        let _ = (sk, hwid, data, counts);
    }

    #[cfg(debug_assertions)]
    fn compare(&self, sk: LockedSock<'_>, hwid: Hwid, data: &mut ConnData, counts: &Counts) {
        let mut now = *data;
        sk.load_delegated(&mut now);
        let foreign = sk.segments_in().wrapping_sub(self.admitted.load(Relaxed));
        let next = Last {
            host: false,
            foreign,
        };
        let last = self.last.replace(sk, next);
        if last.host || last.foreign != foreign {
            counts.loaded.fetch_add(1, Relaxed);
            data.delegated = now.delegated;
            return;
        }
        counts.compared.fetch_add(1, Relaxed);
        if let Some(field) = data.difference(&now) {
            pr_err!(
                "connection {:#x}: {field} of the entry is not the socket's\n",
                hwid.raw()
            );
            pr_err!("entry {:?}, socket {:?}\n", data.delegated, now.delegated);
            kernel::warn_on!(true);
            data.delegated = now.delegated;
        }
    }
}
