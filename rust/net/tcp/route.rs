// SPDX-License-Identifier: GPL-2.0

//! Where a socket's frames go: route, next hop, header fields that come from the socket,
//! and what keeps a frame from being sent or must see it before.

use kernel::{
    ffi::c_int,
    prelude::*, //
};

use crate::{
    bindings,
    logic::{
        conn::{
            ConnCached,
            Keepalive, //
        },
        filter::Filters,
        tree::state::NeighbourCached,
        tuple::Family, //
    },
    net::{
        context::Bh,
        net_device::NetDevice,
        proto,
        sock::{
            LockedSock,
            Sock, //
        }, //
    }, //
};

/// Where a socket's frames go, and by what else its route was chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Family of `addr`, which may be another than the connection's.
    pub(crate) family: Family,
    /// The next hop's IP address.
    pub(crate) addr: [u8; 16],
    /// `SO_MARK`.
    pub(crate) mark: u32,
    /// The route's MTU.
    pub(crate) mtu: u32,
}

impl Hop {
    pub(in crate::net) fn new(c: &bindings::toe_hop) -> Self {
        Hop {
            family: if c.v6 { Family::V6 } else { Family::V4 },
            addr: c.addr,
            mark: c.mark,
            mtu: c.mtu,
        }
    }
}

/// What a number of `toe_neigh_get()` and a link address say.
fn cached(ret: c_int, mac: [u8; 6]) -> Result<NeighbourCached> {
    proto::check(ret.min(0))?;
    let reachable = ret > 0;
    Ok(NeighbourCached { mac, reachable })
}

impl LockedSock<'_> {
    /// What the host owns of the connection, and a target is told. The route was found valid
    /// under this lock.
    pub(crate) fn cached(&self) -> ConnCached {
        let mut keepalive = bindings::toe_keepalive::default();
        // SAFETY: live and locked by the type invariant, under which the cached route, which
        // there is as this function says, stays; `keepalive` is ours.
        unsafe {
            bindings::toe_sk_keepalive(self.as_ptr(), &mut keepalive);
            let tos_flow = bindings::toe_sk_tos_flow(self.as_ptr());
            let flow_label = if self.is_v6() { tos_flow >> 8 } else { 0 };
            ConnCached {
                mss: self.mss(),
                tos: tos_flow as u8,
                ttl: bindings::toe_sk_ttl(self.as_ptr()),
                flow_label,
                df: bindings::toe_sk_df(self.as_ptr()),
                priority: self.priority(),
                nonagle: self.nonagle(),
                max_payload: u32::MAX,
                keepalive: Keepalive {
                    on: keepalive.on,
                    idle_s: keepalive.idle_s,
                    interval_s: keepalive.interval_s,
                    probes: keepalive.probes,
                },
            }
        }
    }

    /// Where its frames go. The route was found valid under this lock.
    pub(crate) fn hop(&self) -> Hop {
        let mut hop = bindings::toe_hop::default();
        // SAFETY: as in `cached()`; `hop` is ours.
        unsafe { bindings::toe_sk_hop(self.as_ptr(), &mut hop) };
        Hop::new(&hop)
    }

    /// The device of the socket's route while the route is valid, and whether
    /// the route transforms frames (IPsec, light-weight tunnels).
    pub(crate) fn route(&self) -> Option<(&NetDevice, bool)> {
        let mut xfrm = false;
        // SAFETY: live and locked by the type invariant, under which the cached route stays.
        let dev = unsafe { bindings::toe_sk_route(self.as_ptr(), &mut xfrm) };
        if dev.is_null() {
            return None;
        }
        // SAFETY: a route has a reference to its device, and the socket one to the route,
        // which this context alone can make it drop: `reroute()` does so if it is not valid.
        // RCU readers keep both besides.
        Some((unsafe { NetDevice::from_raw(dev) }, xfrm))
    }

    /// As [`route`](Self::route), looked up again if there is no valid one, as for the host
    /// stack's next packet. The socket is connected: one in SYN_SENT might get another
    /// source address (`inet_sk_reselect_saddr()`). Any context.
    pub(crate) fn valid_route(&self) -> Option<(&NetDevice, bool)> {
        self.route().or_else(|| {
            self.reroute().ok()?;
            self.route()
        })
    }

    /// Looks the route up again, if there is no valid one; fails as the host stack's
    /// next packet would. Any context.
    pub(crate) fn reroute(&self) -> Result {
        // SAFETY: live and locked by the type invariant, as the host calls the same before it
        // transmits.
        proto::check(unsafe { bindings::toe_sk_reroute(self.as_ptr()) })
    }

    /// The next hop's link address, which is resolved if it is stale or unknown. `progress`:
    /// the next hop is known to receive, which makes that unnecessary.
    pub(crate) fn neighbour(&self, progress: bool) -> Result<NeighbourCached> {
        let mut mac = [0; 6];
        // SAFETY: live and locked by the type invariant, under which the cached route, if there
        // is one, stays; `mac` is ours, with room for the 6 bytes that are written.
        let ret = unsafe { bindings::toe_sk_neigh(self.as_ptr(), mac.as_mut_ptr(), progress) };
        cached(ret, mac)
    }

    /// The clock of the last [`refresh_clock`](Self::refresh_clock), in us.
    #[inline(always)]
    pub(crate) fn clock_us(&self) -> u64 {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        unsafe { (*self.tp()).tcp_mstamp }
    }

    /// The same in ms, which are those of [`now_ms`](crate::net::time::now_ms).
    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock_us() / 1000
    }

    /// Returns whether the MSS is that of the route's MTU.
    pub(crate) fn mtu_current(&self) -> bool {
        // SAFETY: live and locked by the type invariant, under which the cached route stays.
        unsafe { bindings::toe_tcp_mtu_current(self.as_ptr()) }
    }

    /// Makes the MSS that of the route's MTU, as `tcp_current_mss()` does before the host stack
    /// sends: a frame that it has sent may have found another route.
    pub(crate) fn follow_mtu(&self) {
        // SAFETY: live and locked by the type invariant: the MSS and the cached route are this
        // context's, and the send queue may be there, as for `tcp_current_mss()`.
        unsafe { bindings::toe_tcp_follow_mtu(self.as_ptr()) }
    }

    /// What keeps a frame from leaving by `dev`: a filter that [`Sock::filters`] would find,
    /// or another route. Called for every frame.
    #[inline(always)]
    pub(crate) fn tx_blockers(&self, dev: &NetDevice, _bh: &Bh) -> TxBlockers {
        // SAFETY: live and locked by the type invariant, the device live by that of
        // `NetDevice`. `_bh` is an RCU read section, which keeps the hooks, the qdisc and the
        // programs that the callee looks for.
        TxBlockers(unsafe { bindings::toe_sk_tx_blockers(self.as_ptr(), dev.as_ptr()) })
    }
}

impl Sock {
    /// Frames pass connection tracking again, which has not seen those of the target: it
    /// must not hold that against the connection. Does nothing if tracking is off, or does
    /// not know the connection in its default zone. The socket's lock is held.
    pub(crate) fn tracked_again(&self) {
        // SAFETY: live by the type invariant; its addresses and ports, by which the callee
        // finds what is tracked, are constant. That is found with a reference, and locked.
        unsafe { bindings::toe_sk_untracked_end(self.as_ptr()) }
    }

    /// The filters that would not see the socket's frames if `dev` had the connection. Any
    /// context; the lock need not be held.
    pub(crate) fn filters(&self, dev: &NetDevice) -> Filters {
        self.egress_filters(dev).union(self.own_filters())
    }

    /// Those filters that belong to the device or the namespace: the same for all
    /// sockets that carry the same family.
    pub(crate) fn egress_filters(&self, dev: &NetDevice) -> Filters {
        // SAFETY: live by the invariants of both types; the callee has an RCU section for what
        // may change at any time.
        Filters::from_bits(unsafe { bindings::toe_egress_filters(self.as_ptr(), dev.as_ptr()) })
    }

    /// Those filters that belong to this socket, or its cgroup.
    pub(crate) fn own_filters(&self) -> Filters {
        // SAFETY: live by the type invariant; the callee has an RCU section for what may change
        // at any time.
        Filters::from_bits(unsafe { bindings::toe_own_filters(self.as_ptr()) })
    }
}

/// See [`LockedSock::tx_blockers`]: a set of `enum toe_tx_blockers`.
#[derive(Clone, Copy)]
pub(crate) struct TxBlockers(u32);

impl TxBlockers {
    /// Returns whether nothing keeps a frame from being sent.
    #[inline(always)]
    pub(crate) fn is_clear(self) -> bool {
        self.0 == 0
    }

    /// Returns whether the route is no longer valid.
    pub(crate) fn is_invalid(self) -> bool {
        self.0 & bindings::toe_tx_blockers_TOE_TX_INVALID != 0
    }

    /// Returns whether the route leaves through another device, or this one is down.
    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 & bindings::toe_tx_blockers_TOE_TX_ELSEWHERE != 0
    }
}

impl NetDevice {
    /// The link address of the neighbour with this IP address; it is not resolved. `ENOENT`
    /// if there is no neighbour, `EAGAIN` if its address is not known. Any context.
    pub(crate) fn neighbour(&self, family: Family, addr: [u8; 16]) -> Result<NeighbourCached> {
        let mut mac = [0; 6];
        let hop = bindings::toe_hop {
            addr,
            v6: family == Family::V6,
            ..Default::default()
        };
        // SAFETY: live by the type invariant; the callee has an RCU section for the neighbour.
        // `mac` is ours, with room for the 6 bytes that are written.
        let ret = unsafe { bindings::toe_neigh_peek(self.as_ptr(), &hop, mac.as_mut_ptr()) };
        cached(ret, mac)
    }

    /// What [`Sock::filters`] could find for some socket of this device or one on top
    /// of it, but for filters of the socket itself. Any context.
    pub(crate) fn any_filters(&self) -> Filters {
        // SAFETY: live by the type invariant; the callee has an RCU section for what may change
        // at any time, and for the devices on top.
        Filters::from_bits(unsafe { bindings::toe_any_filters(self.as_ptr()) })
    }

    /// A number that changes when something is installed that
    /// [`any_filters`](Self::any_filters) finds. Any context.
    pub(crate) fn filters_sign(&self) -> u64 {
        // SAFETY: as in `any_filters()`.
        unsafe { bindings::toe_filters_sign(self.as_ptr()) }
    }

    /// The link address at this moment.
    pub(crate) fn address_now(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        // SAFETY: live by the type invariant, and with it its address, which has 32 bytes
        // (`MAX_ADDR_LEN`) in each device. A torn read while the address changes is corrected
        // when the connections are uploaded.
        unsafe { core::ptr::copy_nonoverlapping((*self.as_ptr()).dev_addr, mac.as_mut_ptr(), 6) };
        mac
    }
}
