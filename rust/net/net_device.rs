// SPDX-License-Identifier: GPL-2.0

//! Network devices: `struct net_device`.
//!
//! C header: `include/linux/netdevice.h`.

use core::{
    fmt,
    ptr::{
        self,
        addr_of, //
    }, //
};

use kernel::{
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use super::{
    context::{
        Bh,
        Rtnl, //
    },
    ndo::Driver,
    skb::{
        FrameList,
        SkBuff, //
    }, //
};
use crate::bindings;

/// Device features, `NETIF_F_*`.
pub(crate) mod features {
    use crate::bindings;

    const fn bit(nr: u32) -> u64 {
        1 << nr
    }

    /// Scatter-gather.
    pub(crate) const SG: u64 = bit(bindings::NETIF_F_SG_BIT);
    /// Frames as lists of frames.
    pub(crate) const FRAGLIST: u64 = bit(bindings::NETIF_F_FRAGLIST_BIT);
    /// Transmit checksums of any protocol.
    pub(crate) const HW_CSUM: u64 = bit(bindings::NETIF_F_HW_CSUM_BIT);
    /// Receive checksums.
    pub(crate) const RXCSUM: u64 = bit(bindings::NETIF_F_RXCSUM_BIT);
    /// SCTP's checksum.
    pub(crate) const SCTP_CRC: u64 = bit(bindings::NETIF_F_SCTP_CRC_BIT);
    /// Frames in high memory.
    pub(crate) const HIGHDMA: u64 = bit(bindings::NETIF_F_HIGHDMA_BIT);
    /// Generic receive offload.
    pub(crate) const GRO: u64 = bit(bindings::NETIF_F_GRO_BIT);
    /// GRO into frame lists.
    pub(crate) const GRO_FRAGLIST: u64 = bit(bindings::NETIF_F_GRO_FRAGLIST_BIT);
    /// GRO of forwarded UDP.
    pub(crate) const GRO_UDP_FWD: u64 = bit(bindings::NETIF_F_GRO_UDP_FWD_BIT);
    /// TCP segmentation over IPv4.
    pub(crate) const TSO: u64 = bit(bindings::NETIF_F_TSO_BIT);
    /// TCP segmentation over IPv6.
    pub(crate) const TSO6: u64 = bit(bindings::NETIF_F_TSO6_BIT);
    /// 802.1Q tags put in and taken out by the device.
    pub(crate) const VLAN_CTAG: u64 =
        bit(bindings::NETIF_F_HW_VLAN_CTAG_TX_BIT) | bit(bindings::NETIF_F_HW_VLAN_CTAG_RX_BIT);
    /// 802.1ad tags put in and taken out by the device.
    pub(crate) const VLAN_STAG: u64 =
        bit(bindings::NETIF_F_HW_VLAN_STAG_TX_BIT) | bit(bindings::NETIF_F_HW_VLAN_STAG_RX_BIT);
    /// Tags that the host stack leaves to the device to put in.
    pub(crate) const VLAN_TX: u64 =
        bit(bindings::NETIF_F_HW_VLAN_CTAG_TX_BIT) | bit(bindings::NETIF_F_HW_VLAN_STAG_TX_BIT);
    /// What a device must be able to do to take the frames of an engine as they are.
    pub(crate) const ENGINE: u64 = SG | HW_CSUM | TSO | TSO6;
    /// All kinds of TCP segmentation.
    pub(crate) const ALL_TSO: u64 = bindings::TOE_NETIF_F_ALL_TSO;
    /// All that software can segment.
    pub(crate) const GSO_SOFTWARE: u64 = bindings::TOE_NETIF_F_GSO_SOFTWARE;
    /// Segmentation inside tunnels.
    pub(crate) const GSO_ENCAP_ALL: u64 = bindings::TOE_NETIF_F_GSO_ENCAP_ALL;
}

/// A network device.
///
/// # Invariants
///
/// A reference is to a `net_device` that is not freed while the reference exists, nor
/// are its transmit queues, `num_tx_queues` of them, which live as long as the device.
///
/// If its operations are those of a [`Driver`], its private area holds an initialised
/// value of that driver, which stays there as long as the reference exists:
/// [`DeviceSetup::driver`] has `init` and `priv_destructor` see to that.
#[repr(transparent)]
pub(crate) struct NetDevice(Opaque<bindings::net_device>);

// SAFETY: no device belongs to a thread.
unsafe impl Send for NetDevice {}
// SAFETY: fields that others may write meanwhile are read as by `READ_ONCE()`, C functions
// do the same or take their own locks, and methods that need a lock of their caller's ask
// for evidence of it.
unsafe impl Sync for NetDevice {}

/// Reads a field that may change at the same time, as `READ_ONCE()` does.
macro_rules! read_once {
    ($dev:expr, $field:ident) => {
        // SAFETY: the device is live by the type invariant, and the field an aligned
        // integer or pointer, which C writes in one piece.
        unsafe { core::ptr::read_volatile(addr_of!((*$dev.as_ptr()).$field)) }
    };
}

impl NetDevice {
    /// A reference to a device of C code.
    ///
    /// # Safety
    ///
    /// `ptr` must be a device that is not freed during `'a`. If it is a driver's, its
    /// `priv_destructor` does not run during `'a` either.
    #[inline(always)]
    pub(in crate::net) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: live for `'a`, as this function requires; the type is transparent.
        // INVARIANT: the value of a driver, too, lives that long.
        unsafe { &*ptr.cast() }
    }

    /// The pointer that C code wants.
    #[inline(always)]
    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// The driver's private area.
    #[inline(always)]
    pub(in crate::net) fn private(&self) -> *mut kernel::ffi::c_void {
        // SAFETY: live by the type invariant; only the address of its last member, the
        // private area, is computed.
        unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).priv_) }.cast()
    }

    /// The driver's value, if the device is one of `T`'s.
    #[inline(always)]
    pub(crate) fn driver<T: Driver>(&self) -> Option<&T> {
        let ops = read_once!(self, netdev_ops);
        if core::ptr::eq(ops, T::ops().as_ptr()) {
            // SAFETY: with the operations of `T` the private area holds a `T`, by the
            // type invariant, to which nobody has a mutable reference.
            Some(unsafe { &*self.private().cast::<T>() })
        } else {
            None
        }
    }

    /// Its name, which may change at any time.
    pub(crate) fn name(&self) -> Name {
        // SAFETY: the array of 16 bytes is part of the device, which is live by the type
        // invariant. A rename at the same time makes a mixture at worst.
        Name(unsafe { core::ptr::read_volatile(addr_of!((*self.as_ptr()).name).cast()) })
    }

    /// Its index in its namespace.
    #[inline]
    pub(crate) fn ifindex(&self) -> i32 {
        read_once!(self, ifindex)
    }

    /// The inode number of its namespace, as `ls -l /proc/PID/ns/net` shows it.
    pub(crate) fn netns_inum(&self) -> u32 {
        // SAFETY: live by the type invariant; the callee reads the namespace under RCU, as
        // the device may be moved meanwhile.
        unsafe { bindings::toe_dev_netns_inum(self.as_ptr()) }
    }

    /// Active features, a mask of [`features`].
    #[inline(always)]
    pub(crate) fn features(&self) -> u64 {
        read_once!(self, features)
    }

    /// Returns whether it is administratively up.
    #[inline(always)]
    pub(crate) fn is_up(&self) -> bool {
        read_once!(self, flags) & bindings::net_device_flags_IFF_UP != 0
    }

    /// Returns whether it was opened, and not yet stopped.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        read_once!(self, state) & (1 << bindings::netdev_state_t___LINK_STATE_START) != 0
    }

    /// Returns whether its carrier is there.
    #[inline]
    pub(crate) fn has_carrier(&self) -> bool {
        read_once!(self, state) & (1 << bindings::netdev_state_t___LINK_STATE_NOCARRIER) == 0
    }

    /// Returns whether it is being unregistered, or was.
    #[inline]
    pub(crate) fn is_going(&self) -> bool {
        u32::from(read_once!(self, reg_state)) > bindings::netdev_reg_state_NETREG_REGISTERED
    }

    /// Transmit queues that exist.
    #[inline]
    pub(crate) fn num_tx_queues(&self) -> u32 {
        read_once!(self, num_tx_queues)
    }

    /// Receive queues that exist.
    #[inline]
    pub(crate) fn num_rx_queues(&self) -> u32 {
        read_once!(self, num_rx_queues)
    }

    /// Transmit queues in use.
    #[inline(always)]
    pub(crate) fn real_num_tx_queues(&self) -> u32 {
        read_once!(self, real_num_tx_queues)
    }

    /// Receive queues in use.
    #[inline(always)]
    pub(crate) fn real_num_rx_queues(&self) -> u32 {
        read_once!(self, real_num_rx_queues)
    }

    /// Changes the number of queues in use, of each kind.
    pub(crate) fn set_real_num_queues(&self, tx: u32, rx: u32, _rtnl: &Rtnl) -> Result {
        // SAFETY: live by the type invariant, and rtnl is held, which is what the callee
        // asserts; it checks the bounds.
        kernel::error::to_result(unsafe {
            bindings::netif_set_real_num_queues(self.as_ptr(), tx, rx)
        })
    }

    /// Says that the link is there.
    pub(crate) fn carrier_on(&self) {
        // SAFETY: live by the type invariant; the callee changes an atomic bit and tells
        // linkwatch, which takes a reference of its own.
        unsafe { bindings::netif_carrier_on(self.as_ptr()) };
    }

    /// Says that the link is gone.
    pub(crate) fn carrier_off(&self) {
        // SAFETY: as in `carrier_on()`.
        unsafe { bindings::netif_carrier_off(self.as_ptr()) };
    }

    /// Returns whether the caller has CAP_NET_ADMIN in the namespace of the device.
    pub(crate) fn caller_is_admin(&self) -> bool {
        // SAFETY: live by the type invariant; the callee has a reference to the user
        // namespace while it asks, found under RCU.
        unsafe { bindings::toe_ns_capable_net_admin(self.as_ptr()) }
    }

    #[inline(always)]
    fn txq(&self, queue: u32) -> Option<*mut bindings::netdev_queue> {
        if queue < self.num_tx_queues() {
            let queues = read_once!(self, _tx);
            // SAFETY: within the array of `num_tx_queues` elements, which lives as long as
            // the device by the type invariant.
            Some(unsafe { queues.add(queue as usize) })
        } else {
            None
        }
    }

    /// Returns whether a qdisc stands before this transmit queue and can be told to wait.
    pub(crate) fn txq_has_qdisc(&self, queue: u32, _bh: &Bh) -> bool {
        self.txq(queue)
            // SAFETY: a queue of `txq()`; its qdisc, which the callee looks at, is freed
            // after a grace period, and `Bh` is an RCU read section.
            .is_some_and(|txq| unsafe { !bindings::toe_txq_has_no_queue(txq) })
    }

    /// Tells the qdisc to wait.
    pub(crate) fn txq_stop(&self, queue: u32, _bh: &Bh) {
        if let Some(txq) = self.txq(queue) {
            // SAFETY: a queue of `txq()`; the callee sets an atomic bit.
            unsafe { bindings::toe_txq_stop(txq) };
        }
    }

    /// Tells the qdisc to go on, if it waits; says whether it did.
    #[inline(always)]
    pub(crate) fn txq_wake(&self, queue: u32, _bh: &Bh) -> bool {
        if let Some(txq) = self.txq(queue) {
            // SAFETY: a queue of `txq()`, and an aligned integer in it.
            let state = unsafe { core::ptr::read_volatile(addr_of!((*txq).state)) };
            if state & (1 << bindings::netdev_queue_state_t___QUEUE_STATE_DRV_XOFF) != 0 {
                // SAFETY: a queue of `txq()`; its qdisc, which the callee schedules, is
                // freed after a grace period, and `Bh` is an RCU read section.
                unsafe { bindings::toe_txq_wake(txq) };
                return true;
            }
        }
        false
    }

    /// An engine's frame as this device sends it: unchanged if the device has all of
    /// `features`, otherwise what [`FrameList::validated`] makes of it.
    #[inline(always)]
    pub(crate) fn prepared(&self, mut skb: SkBuff, features: u64, bh: &Bh) -> FrameList {
        if self.features() & features != features {
            return FrameList::validated(skb, self, bh);
        }
        skb.set_dev(self);
        let mut frames = FrameList::new();
        frames.push(skb);
        frames
    }

    /// Shows an outgoing frame to packet taps (tcpdump), if there are any.
    ///
    /// `skb` begins with its Ethernet header and has its network header set.
    pub(crate) fn tap_outgoing(&self, skb: &SkBuff, bh: &Bh) {
        if self.has_taps(bh) {
            // SAFETY: live by the invariants of both types; the callee gives taps clones,
            // and sets the clones' headers right where the frame's are not.
            unsafe { bindings::toe_xmit_nit(skb.as_ptr(), self.as_ptr()) };
        }
    }

    /// Returns whether a packet tap sees what this device sends and receives
    /// (`dev_nit_active_rcu()`).
    #[inline(always)]
    pub(crate) fn has_taps(&self, _bh: &Bh) -> bool {
        let dev = self.as_ptr();
        // SAFETY: the device is live by the type invariant. A namespace that it leaves
        // meanwhile is freed after a grace period, and `_bh` is an RCU read section. Both
        // initialise their lists when they are made.
        unsafe {
            !is_empty(addr_of!((*(*dev).nd_net.net).ptype_all))
                || !is_empty(addr_of!((*dev).ptype_all))
        }
    }

    /// Returns whether a packet tap, or a packet socket of one protocol, sees what this
    /// device receives.
    pub(crate) fn is_tapped(&self, bh: &Bh) -> bool {
        let dev = self.as_ptr();
        self.has_taps(bh)
            // SAFETY: as in `has_taps()`.
            || unsafe {
                !is_empty(addr_of!((*(*dev).nd_net.net).ptype_specific))
                    || !is_empty(addr_of!((*dev).ptype_specific))
            }
    }

    /// Shows a frame that ends in the device to packet sockets, as the stack
    /// would have done on its way up.
    ///
    /// `skb` begins with its Ethernet header, and does so afterwards.
    #[cold]
    pub(crate) fn tap_incoming(&self, skb: &mut SkBuff, _bh: &Bh) {
        if skb.headlen() < ETH_HLEN {
            return;
        }
        // SAFETY: live by the invariants of both types; the header that the callee takes
        // off and puts back is linear. Taps take references of their own.
        unsafe { bindings::toe_tap_incoming(skb.as_ptr(), self.as_ptr()) };
    }
}

/// Returns whether a list of a live structure is empty. A racy look, which is enough here.
///
/// # Safety
///
/// `list` must be live memory, and the head of a list that was initialised.
#[inline(always)]
unsafe fn is_empty(list: *const bindings::list_head) -> bool {
    // SAFETY: live, as this function requires; `next` is an aligned pointer that is only
    // compared.
    ptr::eq(unsafe { addr_of!((*list).next).read_volatile() }, list)
}

/// The name of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name([u8; 16]);

impl Name {
    /// The bytes, without the terminating null.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        &self.0[..len]
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.as_bytes() {
            let c = if byte.is_ascii_graphic() { byte } else { b'?' };
            fmt::Write::write_char(f, c.into())?;
        }
        Ok(())
    }
}

impl kernel::fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A device that is being set up, not yet registered, seen by nobody else.
///
/// # Invariants
///
/// The reference is to a device that was never registered, and that nobody else uses
/// during `'a`.
pub(crate) struct DeviceSetup<'a>(&'a mut bindings::net_device);

impl<'a> DeviceSetup<'a> {
    /// # Safety
    ///
    /// `dev` must be live, was never registered, and is the caller's alone for `'a`.
    pub(in crate::net) unsafe fn from_raw(dev: *mut bindings::net_device) -> Self {
        // SAFETY: live and ours alone, as this function requires.
        // INVARIANT: and never registered.
        DeviceSetup(unsafe { &mut *dev })
    }

    /// Raw access for the other files that set parts of it.
    pub(in crate::net) fn raw(&mut self) -> &mut bindings::net_device {
        self.0
    }

    /// An Ethernet device whose frames go straight to `netdev_ops`, without a
    /// lock of the core or a qdisc by default.
    pub(crate) fn virtual_ethernet(&mut self) -> &mut Self {
        // SAFETY: ours alone by the type invariant, as the callee wants it.
        unsafe { bindings::ether_setup(self.0) };
        // SAFETY: both members of the union are the same group of fields
        // (`struct_group()`), integers all.
        let flags = unsafe { &mut self.0.__bindgen_anon_1.__bindgen_anon_1 };
        let add = bindings::netdev_priv_flags_IFF_LIVE_ADDR_CHANGE
            | bindings::netdev_priv_flags_IFF_NO_QUEUE
            | bindings::netdev_priv_flags_IFF_DISABLE_NETPOLL;
        let remove = bindings::netdev_priv_flags_IFF_TX_SKB_SHARING;
        flags.set_priv_flags((flags.priv_flags() | add as usize) & !(remove as usize));
        flags.set_lltx(1);
        self
    }

    /// Features that are on, and may be switched; `vlan` are those that VLAN
    /// devices on top inherit.
    pub(crate) fn features(&mut self, on: u64, vlan: u64, mpls: u64) -> &mut Self {
        self.0.features |= on;
        self.0.hw_features = on;
        self.0.hw_enc_features = on;
        self.0.vlan_features = vlan;
        self.0.mpls_features = mpls;
        self
    }

    /// Least and largest MTU.
    pub(crate) fn mtu_range(&mut self, min: u32, max: u32) -> &mut Self {
        self.0.min_mtu = min;
        self.0.max_mtu = max;
        self
    }

    /// Takes segmented frames of any size.
    pub(crate) fn any_tso_size(&mut self) -> &mut Self {
        // SAFETY: ours alone by the type invariant, as the callee wants it.
        unsafe { bindings::netif_set_tso_max_size(self.0, bindings::TOE_GSO_MAX_SIZE) };
        self
    }

    /// Adds a directory of files under `/sys/class/net/<dev>/`.
    pub(crate) fn sysfs_group(&mut self, group: &'static super::sysfs::Group) -> &mut Self {
        self.0.sysfs_groups[0] = group.as_ptr();
        self
    }

    /// Sets the driver.
    pub(in crate::net) fn driver<T: Driver>(&mut self) {
        self.0.netdev_ops = T::ops().as_ptr();
        self.0.needs_free_netdev = true;
        self.0.priv_destructor = Some(super::ndo::priv_destructor::<T>);
    }
}

/// The largest MTU of Ethernet devices.
pub(crate) const ETH_MAX_MTU: u32 = bindings::ETH_MAX_MTU;
/// The least MTU of Ethernet devices.
pub(crate) const ETH_MIN_MTU: u32 = bindings::ETH_MIN_MTU;
/// Length of an Ethernet header.
pub(crate) const ETH_HLEN: u32 = bindings::ETH_HLEN;

/// CPUs that may ever be online.
pub(crate) fn num_possible_cpus() -> u32 {
    // SAFETY: no preconditions: reads a mask that is constant after boot.
    unsafe { bindings::toe_num_possible_cpus() }
}

/// A text for the header of `ethtool -i`.
pub(in crate::net) fn copy_cstr(to: &mut [kernel::ffi::c_char], from: &CStr) {
    let from = from.to_bytes();
    let len = from.len().min(to.len() - 1);
    for (to, from) in to[..len].iter_mut().zip(from) {
        *to = *from as kernel::ffi::c_char;
    }
    to[len] = 0;
}
