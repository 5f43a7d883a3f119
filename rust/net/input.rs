// SPDX-License-Identifier: GPL-2.0

//! What the host stack asks about each frame that it receives: for whom it is, and who
//! else is to see it.

use crate::bindings;

use super::{
    netdev::NetDevice,
    skb::SkBuff,
    sock::BhLock, //
};

impl BhLock<'_> {
    /// Does the input route that the socket has cached hold for a frame that came in by
    /// `dev`, as `tcp_v4_early_demux()` asks? Bottom halves off.
    #[inline(always)]
    pub(crate) fn expects_from(&self, dev: &NetDevice, v6: bool) -> bool {
        // SAFETY: both are live, and the socket's spin lock is held.
        unsafe { bindings::toe_sk_route_holds(self.sock().as_ptr(), dev.as_ptr(), v6) }
    }
}

impl SkBuff {
    /// If not, does the route lead to this host? Then the socket caches it. The frame
    /// is at its Ethernet header, and `l3_off` the offset of its IP header, which is in the
    /// linear part. `false`: the frame is the host's. Bottom halves off.
    #[cold]
    pub(crate) fn is_for_host(
        &mut self,
        lock: &BhLock<'_>,
        dev: &NetDevice,
        l3_off: u16,
        v6: bool,
    ) -> bool {
        let sk = lock.sock().as_ptr();
        // SAFETY: all are live, the frame is ours, its header where the caller says, and the
        // socket's spin lock is held.
        unsafe { bindings::toe_sk_route_input(sk, self.as_ptr(), dev.as_ptr(), l3_off.into(), v6) }
    }
}
