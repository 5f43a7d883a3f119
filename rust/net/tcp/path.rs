// SPDX-License-Identifier: GPL-2.0

//! The path of a socket's frames: route, next hop, header fields that come from
//! the socket, and what looks at frames on the way.

use kernel::prelude::*;

use crate::{
    bindings,
    net::{
        netdev::NetDevice,
        proto,
        sock::LockedSock, //
    }, //
};

impl LockedSock<'_> {
    /// TTL or hop limit, TOS or traffic class, flow label, don't-fragment.
    pub(crate) fn header_fields(&self) -> (u8, u8, u32, bool) {
        // SAFETY: the socket is live and locked, its route cached.
        unsafe {
            let tos_flow = bindings::toe_sk_tos_flow(self.as_ptr());
            let (tos, flow) = if self.is_v6() {
                ((tos_flow & 0xff) as u8, tos_flow >> 8)
            } else {
                (tos_flow as u8, 0)
            };
            (
                bindings::toe_sk_ttl(self.as_ptr()),
                tos,
                flow,
                bindings::toe_sk_df(self.as_ptr()),
            )
        }
    }

    /// The device of the socket's route while the route is valid, and whether
    /// the route transforms frames (IPsec, light-weight tunnels).
    pub(crate) fn route(&self) -> Option<(&NetDevice, bool)> {
        let mut xfrm = false;
        // SAFETY: the socket is live and locked.
        let dev = unsafe { bindings::toe_sk_route(self.as_ptr(), &mut xfrm) };
        if dev.is_null() {
            return None;
        }
        // SAFETY: the cached route holds the device, and the socket lock the
        // route.
        Some((unsafe { NetDevice::from_raw(dev) }, xfrm))
    }

    /// Looks the route up again, if there is no valid one; fails as the host stack's
    /// next packet would. Any context.
    pub(crate) fn reroute(&self) -> Result {
        // SAFETY: the socket is live and locked.
        proto::check(unsafe { bindings::toe_sk_reroute(self.as_ptr()) })
    }

    /// The next hop's link address; it is asked if it is stale or unknown. `progress`:
    /// it got what was sent, which spares that.
    pub(crate) fn neighbour(&self, progress: bool) -> Result<[u8; 6]> {
        let mut ha = [0; 6];
        // SAFETY: the socket is live and locked, `ha` has room for an address.
        proto::check(unsafe { bindings::toe_sk_neigh(self.as_ptr(), ha.as_mut_ptr(), progress) })?;
        Ok(ha)
    }

    /// The clock of the last [`refresh_clock`](Self::refresh_clock), in us.
    #[inline(always)]
    pub(crate) fn clock_us(&self) -> u64 {
        // SAFETY: the socket is live and locked.
        unsafe { (*self.tp()).tcp_mstamp }
    }

    /// Is the MSS that of the route's MTU?
    pub(crate) fn mtu_current(&self) -> bool {
        // SAFETY: the socket is live and locked.
        unsafe { bindings::toe_tcp_mtu_current(self.as_ptr()) }
    }

    /// What would not see the connection's frames if `dev` took it.
    pub(crate) fn filtered(&self, dev: &NetDevice) -> impl Iterator<Item = Filter> {
        // SAFETY: the socket is live and locked, the device live.
        let set = unsafe { bindings::toe_filtered(self.as_ptr(), dev.as_ptr()) };
        Filter::ALL
            .into_iter()
            .filter(move |filter| set & (1 << *filter as u32) != 0)
    }
}

/// Something in the host's path that a frame of an offloaded connection skips;
/// in the order of `enum toe_filter`'s bits.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Filter {
    Xfrm,
    Netfilter,
    Qdisc,
    Tc,
    Bpf,
}

impl Filter {
    const ALL: [Self; 5] = [
        Self::Xfrm,
        Self::Netfilter,
        Self::Qdisc,
        Self::Tc,
        Self::Bpf,
    ];
}

impl NetDevice {
    /// The link address at this moment.
    pub(crate) fn address_now(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        // SAFETY: the device is live and an Ethernet device; a torn read while
        // the address changes is corrected when the connections are uploaded.
        unsafe { core::ptr::copy_nonoverlapping((*self.as_ptr()).dev_addr, mac.as_mut_ptr(), 6) };
        mac
    }
}
