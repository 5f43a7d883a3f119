// SPDX-License-Identifier: GPL-2.0

//! Making links from netlink requests, and unmaking them.

use core::marker::PhantomData;

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_char,
    prelude::*,
    str::CStr, //
};

use crate::bindings;

use super::{
    context::Rtnl,
    netdev::NetDevice,
    rtnl::INFO_PEER, //
};

const IFLA_COUNT: usize = bindings::__IFLA_MAX as usize;
const IFNAMSIZ: usize = bindings::IFNAMSIZ as usize;

/// Where a request says in words what was wrong with it.
///
/// # Invariants
///
/// Null, or valid for `'a` and ours.
pub(crate) struct ExtAck<'a>(*mut bindings::netlink_ext_ack, PhantomData<&'a mut ()>);

impl ExtAck<'_> {
    /// # Safety
    ///
    /// `ptr` must be null, or valid and the caller's for `'a`.
    pub(in crate::net) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: what this function requires.
        ExtAck(ptr, PhantomData)
    }

    /// Sets the message.
    pub(crate) fn set(&mut self, message: &'static CStr) {
        if !self.0.is_null() {
            // SAFETY: valid by the type invariants. The message lives as long
            // as the module, which rtnetlink keeps while it answers.
            unsafe { (*self.0)._msg = kernel::str::as_char_ptr_in_const_context(message) };
        }
    }

    /// Sets the message and makes an error to return.
    pub(crate) fn fail(&mut self, message: &'static CStr, error: Error) -> Error {
        self.set(message);
        error
    }
}

/// Link attributes, `IFLA_*`.
///
/// # Invariants
///
/// Points to `IFLA_COUNT` pointers, each null or a parsed, validated attribute.
pub(crate) struct LinkAttrs<'a>(*mut *mut bindings::nlattr, PhantomData<&'a ()>);

impl LinkAttrs<'_> {
    /// # Safety
    ///
    /// `tb` must be such an array for `'a`.
    pub(in crate::net) unsafe fn from_raw(tb: *mut *mut bindings::nlattr) -> Self {
        // INVARIANT: what this function requires.
        LinkAttrs(tb, PhantomData)
    }

    /// The payload of an attribute.
    fn get(&self, kind: u32) -> Option<&[u8]> {
        // SAFETY: within the array by the callers' constants; an attribute is
        // its header and `nla_len` bytes altogether.
        unsafe {
            let attr = *self.0.add(kind as usize);
            if attr.is_null() {
                return None;
            }
            let header = core::mem::size_of::<bindings::nlattr>();
            let len = usize::from((*attr).nla_len).checked_sub(header)?;
            Some(core::slice::from_raw_parts(
                attr.cast::<u8>().add(header),
                len,
            ))
        }
    }

    /// The hardware address, if it was given.
    pub(crate) fn address(&self) -> Option<&[u8]> {
        self.get(bindings::IFLA_ADDRESS)
    }

    /// The MTU, if it was given.
    pub(crate) fn mtu(&self) -> Option<u32> {
        let bytes = self.get(bindings::IFLA_MTU)?;
        Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
    }

    /// The name, or `template`, with the way it came about.
    fn name(&self, template: &CStr) -> ([c_char; IFNAMSIZ], u32) {
        let (from, assign) = match self.get(bindings::IFLA_IFNAME) {
            Some(name) => (name, bindings::NET_NAME_USER),
            None => (template.to_bytes(), bindings::NET_NAME_ENUM),
        };
        let mut name = [0; IFNAMSIZ];
        for (to, &from) in name[..IFNAMSIZ - 1].iter_mut().zip(from) {
            if from == 0 {
                break;
            }
            *to = from as c_char;
        }
        (name, assign)
    }
}

/// A request for a new pair of links.
///
/// # Invariants
///
/// `dev` is set up, unregistered and the request's; `params` is valid for `'a`.
pub(crate) struct NewLink<'a> {
    dev: *mut bindings::net_device,
    params: &'a mut bindings::rtnl_newlink_params,
}

impl<'a> NewLink<'a> {
    /// # Safety
    ///
    /// As the type invariants say.
    pub(in crate::net) unsafe fn from_raw(
        dev: *mut bindings::net_device,
        params: *mut bindings::rtnl_newlink_params,
    ) -> Self {
        // SAFETY: what this function requires.
        let params = unsafe { &mut *params };
        // INVARIANT: what this function requires.
        NewLink { dev, params }
    }

    /// The peer's attribute, if the request has one.
    fn peer_attr(&self) -> Option<*mut bindings::nlattr> {
        if self.params.data.is_null() {
            return None;
        }
        // SAFETY: has `INFO_PEER + 1` elements.
        let attr = unsafe { *self.params.data.add(INFO_PEER.into()) };
        (!attr.is_null()).then_some(attr)
    }

    /// Makes both devices, not yet registered: the one asked for, and its
    /// peer, named by the request or after `template`.
    pub(crate) fn create(
        self,
        template: &CStr,
        extack: &mut ExtAck<'_>,
        rtnl: &'a Rtnl,
    ) -> Result<(NewDevice<'a>, NewDevice<'a>)> {
        let mut own = NewDevice {
            dev: self.dev,
            owned: false,
            _rtnl: rtnl,
        };
        let attr = self.peer_attr();
        let mut nested = [core::ptr::null_mut(); IFLA_COUNT];
        if let Some(attr) = attr {
            // SAFETY: the policy made sure that it holds a whole `ifinfomsg`.
            to_result(unsafe {
                bindings::rtnl_nla_parse_ifinfomsg(nested.as_mut_ptr(), attr, extack.0)
            })?;
        }
        // Without a description of its own the peer is like the device.
        let tb = if attr.is_some() {
            nested.as_mut_ptr()
        } else {
            self.params.tb
        };
        // SAFETY: arrays of that size, live until we return.
        let (attrs, own_attrs) =
            unsafe { (LinkAttrs::from_raw(tb), LinkAttrs::from_raw(self.params.tb)) };
        let ifinfo = attr.map(|attr| {
            // SAFETY: the payload is behind the attribute's header, and has
            // that length by the policy; copied, as it may be unaligned.
            unsafe { attr.add(1).cast::<bindings::ifinfomsg>().read_unaligned() }
        });
        let (name, assign) = if attr.is_some() {
            attrs.name(template)
        } else {
            // The name is the first device's.
            let mut name = [0; IFNAMSIZ];
            super::netdev::copy_cstr(&mut name, template);
            (name, bindings::NET_NAME_ENUM)
        };
        // SAFETY: rtnl is held; all pointers are valid; the kind of the device
        // is the one of its peer.
        let peer = from_err_ptr(unsafe {
            bindings::rtnl_create_link(
                bindings::toe_rtnl_newlink_peer_net(self.params),
                name.as_ptr(),
                assign as u8,
                (*self.dev).rtnl_link_ops,
                tb,
                extack.0,
            )
        })?;
        let mut peer = NewDevice {
            dev: peer,
            owned: true,
            _rtnl: rtnl,
        };
        if own_attrs.address().is_none() {
            own.random_address();
        }
        if attr.is_none() || attrs.address().is_none() {
            peer.random_address();
        }
        // SAFETY: both live and unregistered.
        unsafe {
            bindings::netif_inherit_tso_max(peer.dev, own.dev);
            // As veth: an index asked for one means one asked for the other.
            if let Some(ifinfo) = ifinfo {
                if (*own.dev).ifindex != 0 {
                    (*peer.dev).ifindex = ifinfo.ifi_index;
                }
            }
        }
        Ok((own, peer))
    }

    /// What the request says about flags of the peer, for
    /// [`RegisteredDevice::configure`].
    pub(crate) fn peer_info(&self) -> PeerInfo {
        PeerInfo(self.peer_attr().map(|attr| {
            // SAFETY: as in `create`.
            unsafe { attr.add(1).cast::<bindings::ifinfomsg>().read_unaligned() }
        }))
    }
}

/// The `ifinfomsg` of the peer, if the request has one.
pub(crate) struct PeerInfo(Option<bindings::ifinfomsg>);

/// A device about to be registered.
///
/// # Invariants
///
/// `dev` is set up and unregistered. If `owned`, it is ours to free, else its
/// maker does so if the request fails.
pub(crate) struct NewDevice<'a> {
    dev: *mut bindings::net_device,
    owned: bool,
    _rtnl: &'a Rtnl,
}

impl<'a> NewDevice<'a> {
    fn random_address(&mut self) {
        // SAFETY: live and unregistered.
        unsafe { bindings::toe_eth_hw_addr_random(self.dev) };
    }

    /// Registers the device.
    pub(crate) fn register(self) -> Result<RegisteredDevice<'a>> {
        // SAFETY: rtnl is held; set up and unregistered. If it fails the device
        // is still to be freed, by `drop` or by its maker.
        to_result(unsafe { bindings::register_netdevice(self.dev) })?;
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: live; linkwatch is told that there is no link yet.
        unsafe { bindings::netif_carrier_off(this.dev) };
        // INVARIANT: just registered.
        Ok(RegisteredDevice {
            dev: this.dev,
            _rtnl: this._rtnl,
        })
    }
}

impl Drop for NewDevice<'_> {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: ours, and not registered.
            unsafe { bindings::free_netdev(self.dev) };
        }
    }
}

/// A device that was just registered, and is unregistered again unless the rest
/// works too.
///
/// # Invariants
///
/// `dev` is registered, and rtnl held since.
pub(crate) struct RegisteredDevice<'a> {
    dev: *mut bindings::net_device,
    _rtnl: &'a Rtnl,
}

impl RegisteredDevice<'_> {
    /// The device.
    pub(crate) fn get(&self) -> &NetDevice {
        // SAFETY: registered; it is not freed before rtnl is released.
        unsafe { NetDevice::from_raw(self.dev) }
    }

    /// Does what the core does at the end for the device asked for: sets flags
    /// (maybe brings it up) and announces it.
    pub(crate) fn configure(&self, info: &PeerInfo) -> Result {
        let info = info.0.as_ref().map_or(core::ptr::null(), |info| info);
        // SAFETY: registered, and rtnl is held.
        to_result(unsafe { bindings::rtnl_configure_link(self.dev, info, 0, core::ptr::null()) })
    }

    /// Lets it stay.
    pub(crate) fn keep(self) {
        let _ = core::mem::ManuallyDrop::new(self);
    }
}

impl Drop for RegisteredDevice<'_> {
    fn drop(&mut self) {
        // SAFETY: registered, and rtnl is held. Freed by the core, or by the
        // maker's `free_netdev()`, which knows of the unregistration.
        unsafe { bindings::unregister_netdevice_queue(self.dev, core::ptr::null_mut()) };
    }
}

/// Devices to be unregistered together.
///
/// # Invariants
///
/// Null (at once), or a list that the caller unregisters.
pub(crate) struct KillList<'a>(*mut bindings::list_head, PhantomData<&'a mut ()>);

impl KillList<'_> {
    /// # Safety
    ///
    /// As the type invariants say, for `'a`.
    pub(in crate::net) unsafe fn from_raw(head: *mut bindings::list_head) -> Self {
        // INVARIANT: what this function requires.
        KillList(head, PhantomData)
    }

    /// Queues `dev`, which the request is about.
    pub(in crate::net) fn add(&mut self, dev: &NetDevice, _rtnl: &Rtnl) {
        // SAFETY: registered, and rtnl is held.
        unsafe { bindings::unregister_netdevice_queue(dev.as_ptr(), self.0) };
    }

    /// Queues `peer`, maybe of another namespace, on behalf of `dev`.
    pub(in crate::net) fn add_peer(&mut self, dev: &NetDevice, peer: &NetDevice, _rtnl: &Rtnl) {
        // SAFETY: registered, and rtnl is held.
        unsafe {
            bindings::toe_unregister_netdevice_queue_net(dev.as_ptr(), peer.as_ptr(), self.0)
        };
    }
}
