// SPDX-License-Identifier: GPL-2.0

//! Making links from netlink requests, and unmaking them.

use core::{
    marker::PhantomData,
    ptr::addr_of, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_char,
    prelude::*,
    str::CStr, //
};

use super::{
    context::Rtnl,
    net_device::NetDevice,
    rtnl::INFO_PEER, //
};
use crate::bindings;

const IFLA_COUNT: usize = bindings::__IFLA_MAX as usize;
const IFNAMSIZ: usize = bindings::IFNAMSIZ as usize;

/// Where a request says in words what was wrong with it.
///
/// # Invariants
///
/// Null, or valid, and nobody else's during `'a`.
pub(crate) struct ExtAck<'a>(*mut bindings::netlink_ext_ack, PhantomData<&'a mut ()>);

impl ExtAck<'_> {
    /// # Safety
    ///
    /// `ptr` must be null, or valid and nobody else's for `'a`.
    pub(in crate::net) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: the caller promises the same.
        ExtAck(ptr, PhantomData)
    }

    /// Sets the message, which is cut to 79 bytes. It is copied: the answer is sent when
    /// nothing keeps the module from then on.
    pub(crate) fn set(&mut self, message: &CStr) {
        if !self.0.is_null() {
            // SAFETY: valid and ours by the type invariant; the reference does not leave this
            // block.
            unsafe {
                super::net_device::copy_cstr(&mut (*self.0)._msg_buf, message);
                (*self.0)._msg = addr_of!((*self.0)._msg_buf).cast();
            }
        }
    }

    /// Sets the message and makes an error to return.
    pub(crate) fn fail(&mut self, message: &CStr, error: Error) -> Error {
        self.set(message);
        error
    }
}

/// Link attributes, `IFLA_*`.
///
/// # Invariants
///
/// Points to `IFLA_COUNT` pointers, each null or a parsed, validated attribute: its header
/// and what follows, `nla_len` bytes altogether. All of that stays as it is during `'a`.
pub(crate) struct LinkAttrs<'a>(*mut *mut bindings::nlattr, PhantomData<&'a ()>);

impl LinkAttrs<'_> {
    /// # Safety
    ///
    /// `tb` must point to `IFLA_COUNT` pointers, each null or a parsed attribute, that stay as
    /// they are for `'a`.
    pub(in crate::net) unsafe fn from_raw(tb: *mut *mut bindings::nlattr) -> Self {
        // INVARIANT: the caller promises the same.
        LinkAttrs(tb, PhantomData)
    }

    /// The payload of an attribute.
    fn get(&self, kind: u32) -> Option<&[u8]> {
        debug_assert!((kind as usize) < IFLA_COUNT);
        // SAFETY: `kind` is one of the `IFLA_*` that the callers name, so that it lies within
        // the array; an attribute that is there is `nla_len` bytes, by the type invariant.
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

    /// The name, or `template`.
    fn name(&self, template: &CStr) -> LinkName {
        match self.get(bindings::IFLA_IFNAME) {
            Some(name) => LinkName::new(name, bindings::NET_NAME_USER),
            None => LinkName::of(template),
        }
    }
}

/// The name of a link that is to be made.
struct LinkName {
    /// Ends with a NUL.
    name: [c_char; IFNAMSIZ],
    /// How it came about: `NET_NAME_*`.
    assign: u32,
}

impl LinkName {
    /// What comes before the first NUL, if there is one.
    fn new(from: &[u8], assign: u32) -> Self {
        let mut name = [0; IFNAMSIZ];
        for (to, &from) in name[..IFNAMSIZ - 1].iter_mut().zip(from) {
            if from == 0 {
                break;
            }
            *to = from as c_char;
        }
        LinkName { name, assign }
    }

    /// One that the kernel completes.
    fn of(template: &CStr) -> Self {
        LinkName::new(template.to_bytes(), bindings::NET_NAME_ENUM)
    }
}

/// A request for a new pair of links.
///
/// # Invariants
///
/// `dev` is set up and unregistered, and its maker frees it if the request fails; nobody else
/// uses it during `'a`. `params.tb` is as [`LinkAttrs`] wants it. `params.data` is null, or
/// points to `INFO_PEER + 1` pointers, each null or an attribute that the policy has let
/// through: that of the peer holds a whole `ifinfomsg`.
pub(crate) struct NewLink<'a> {
    dev: *mut bindings::net_device,
    params: &'a mut bindings::rtnl_newlink_params,
}

impl<'a> NewLink<'a> {
    /// # Safety
    ///
    /// `dev` and `params` are as the type invariants say, and nobody else's for `'a`.
    pub(in crate::net) unsafe fn from_raw(
        dev: *mut bindings::net_device,
        params: *mut bindings::rtnl_newlink_params,
    ) -> Self {
        // SAFETY: valid and nobody else's for `'a`, as the caller promises.
        let params = unsafe { &mut *params };
        // INVARIANT: the caller promises the rest of them.
        NewLink { dev, params }
    }

    /// The peer's attribute, if the request has one.
    fn peer_attr(&self) -> Option<*mut bindings::nlattr> {
        if self.params.data.is_null() {
            return None;
        }
        // SAFETY: not null, hence with `INFO_PEER + 1` elements by the type invariant.
        let attr = unsafe { *self.params.data.add(INFO_PEER.into()) };
        (!attr.is_null()).then_some(attr)
    }

    /// The `ifinfomsg` of the peer, if the request has one.
    fn peer_ifinfo(&self) -> Option<bindings::ifinfomsg> {
        self.peer_attr().map(|attr| {
            // SAFETY: the payload is behind the attribute's header, and holds a whole
            // `ifinfomsg` by the type invariant; copied, as it may be unaligned.
            unsafe { attr.add(1).cast::<bindings::ifinfomsg>().read_unaligned() }
        })
    }

    /// Makes both devices, not yet registered: the one asked for, and its
    /// peer, named by the request or after `template`.
    pub(crate) fn create(
        mut self,
        template: &CStr,
        extack: &mut ExtAck<'_>,
        rtnl: &'a Rtnl,
    ) -> Result<(NewDevice<'a>, NewDevice<'a>)> {
        // INVARIANT: as `self.dev` is, with a maker of its own.
        let mut own = NewDevice {
            dev: self.dev,
            owned: false,
            _rtnl: rtnl,
        };
        let mut nested = [core::ptr::null_mut(); IFLA_COUNT];
        let described = self.parse_peer(&mut nested, extack)?;
        // SAFETY: the request's, by the type invariant; nobody changes it until we return.
        let own_attrs = unsafe { LinkAttrs::from_raw(self.params.tb) };
        // SAFETY: what the callee has parsed into `nested`, which stays as it is.
        let nested = unsafe { LinkAttrs::from_raw(nested.as_mut_ptr()) };
        // Without a description of its own the peer is like the device, but the name is the
        // first device's.
        let (attrs, name) = match described {
            true => (&nested, nested.name(template)),
            false => (&own_attrs, LinkName::of(template)),
        };
        let mut peer = self.create_peer(attrs, &name, extack, rtnl)?;
        if own_attrs.address().is_none() {
            own.random_address();
        }
        if !described || attrs.address().is_none() {
            peer.random_address();
        }
        // SAFETY: both live, unregistered and nobody else's, by the invariants of `NewDevice`
        // and `NewLink`.
        unsafe {
            bindings::netif_inherit_tso_max(peer.dev, own.dev);
            // As veth: an index asked for one means one asked for the other.
            if let Some(ifinfo) = self.peer_ifinfo() {
                if (*own.dev).ifindex != 0 {
                    (*peer.dev).ifindex = ifinfo.ifi_index;
                }
            }
        }
        Ok((own, peer))
    }

    /// Parses the peer's attributes into `nested`. Returns whether the request describes the
    /// peer at all.
    fn parse_peer(
        &self,
        nested: &mut [*mut bindings::nlattr; IFLA_COUNT],
        extack: &mut ExtAck<'_>,
    ) -> Result<bool> {
        let Some(attr) = self.peer_attr() else {
            return Ok(false);
        };
        // SAFETY: the peer's attribute holds a whole `ifinfomsg`, by the type invariant;
        // `nested` has room for `__IFLA_MAX` pointers, which is what the callee writes,
        // and the request's answer is valid and ours.
        to_result(unsafe {
            bindings::rtnl_nla_parse_ifinfomsg(nested.as_mut_ptr(), attr, extack.0)
        })?;
        Ok(true)
    }

    /// Makes the peer, by `attrs`.
    fn create_peer(
        &mut self,
        attrs: &LinkAttrs<'_>,
        name: &LinkName,
        extack: &mut ExtAck<'_>,
        rtnl: &'a Rtnl,
    ) -> Result<NewDevice<'a>> {
        // SAFETY: rtnl is held, which the callee asserts. The namespace is one that the request
        // keeps, whose parameters are valid by the type invariant; the name ends, and is copied;
        // the kind is that of the device, which is registered while the request lasts; `attrs`,
        // by its own invariant, and the answer are valid.
        let dev = from_err_ptr(unsafe {
            bindings::rtnl_create_link(
                bindings::toe_rtnl_newlink_peer_net(self.params),
                name.name.as_ptr(),
                name.assign as u8,
                (*self.dev).rtnl_link_ops,
                attrs.0,
                extack.0,
            )
        })?;
        // INVARIANT: just made, set up, and ours.
        Ok(NewDevice {
            dev,
            owned: true,
            _rtnl: rtnl,
        })
    }

    /// What the request says about flags of the peer, for
    /// [`RegisteredDevice::configure`].
    pub(crate) fn peer_info(&self) -> PeerInfo {
        PeerInfo(self.peer_ifinfo())
    }
}

/// The `ifinfomsg` of the peer, if the request has one.
pub(crate) struct PeerInfo(Option<bindings::ifinfomsg>);

/// A device about to be registered.
///
/// # Invariants
///
/// `dev` is live, set up and unregistered, and nobody else uses it. If `owned`, it is ours to
/// free, else its maker does so if the request fails. rtnl is held.
pub(crate) struct NewDevice<'a> {
    dev: *mut bindings::net_device,
    owned: bool,
    _rtnl: &'a Rtnl,
}

impl<'a> NewDevice<'a> {
    fn random_address(&mut self) {
        // SAFETY: live, unregistered and nobody else's, by the type invariant.
        unsafe { bindings::toe_eth_hw_addr_random(self.dev) };
    }

    /// Registers the device.
    pub(crate) fn register(self) -> Result<RegisteredDevice<'a>> {
        // SAFETY: set up and unregistered, and rtnl held, by the type invariant. If it fails
        // the device is still to be freed, by `drop` or by its maker.
        to_result(unsafe { bindings::register_netdevice(self.dev) })?;
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: live: what is registered is not freed before rtnl is released. linkwatch is
        // told that there is no link yet.
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
            // SAFETY: ours to free by the type invariant, and not registered.
            unsafe { bindings::free_netdev(self.dev) };
        }
    }
}

/// A device that was just registered, and is unregistered again unless the rest
/// works too.
///
/// # Invariants
///
/// `dev` is registered, and rtnl held since: it is not freed before `'a` ends.
pub(crate) struct RegisteredDevice<'a> {
    dev: *mut bindings::net_device,
    _rtnl: &'a Rtnl,
}

impl RegisteredDevice<'_> {
    /// The device.
    pub(crate) fn get(&self) -> &NetDevice {
        // SAFETY: registered, hence with its driver's value, and neither is gone before `'a`
        // ends, by the type invariant.
        unsafe { NetDevice::from_raw(self.dev) }
    }

    /// Does what the core does at the end for the device asked for: sets flags
    /// (maybe brings it up) and announces it.
    pub(crate) fn configure(&self, info: &PeerInfo) -> Result {
        let info = info.0.as_ref().map_or(core::ptr::null(), |info| info);
        // SAFETY: registered, and rtnl held, by the type invariant; `info` is null or lives
        // across the call, and the request, null, is that of nobody who would be told.
        to_result(unsafe { bindings::rtnl_configure_link(self.dev, info, 0, core::ptr::null()) })
    }

    /// Lets it stay.
    pub(crate) fn keep(self) {
        let _ = core::mem::ManuallyDrop::new(self);
    }
}

impl Drop for RegisteredDevice<'_> {
    fn drop(&mut self) {
        // SAFETY: registered, and rtnl held, by the type invariant. Freed by the core, or by
        // the maker's `free_netdev()`, which leaves it to the core then.
        unsafe { bindings::unregister_netdevice_queue(self.dev, core::ptr::null_mut()) };
    }
}

/// Devices to be unregistered together.
///
/// # Invariants
///
/// Null (at once), or the head of a list of devices that nobody else uses during `'a`, and
/// whose owner unregisters them, with rtnl held all the time.
pub(crate) struct KillList<'a>(*mut bindings::list_head, PhantomData<&'a mut ()>);

impl KillList<'_> {
    /// # Safety
    ///
    /// `head` is null, or a list that nobody else uses for `'a`, and whose devices the caller
    /// unregisters before he releases rtnl.
    pub(in crate::net) unsafe fn from_raw(head: *mut bindings::list_head) -> Self {
        // INVARIANT: the caller promises the same.
        KillList(head, PhantomData)
    }

    /// Queues `dev`, which the request is about.
    pub(in crate::net) fn add(&mut self, dev: &NetDevice, _rtnl: &Rtnl) {
        // SAFETY: live by the invariant of `NetDevice`; rtnl is held, and the list null or
        // valid, by the type invariant. The callee warns of a device that is not registered,
        // and moves one that is in a list already.
        unsafe { bindings::unregister_netdevice_queue(dev.as_ptr(), self.0) };
    }

    /// Queues `peer`, maybe of another namespace, on behalf of `dev`.
    pub(in crate::net) fn add_peer(&mut self, dev: &NetDevice, peer: &NetDevice, _rtnl: &Rtnl) {
        // SAFETY: as in `add()`, for both.
        unsafe {
            bindings::toe_unregister_netdevice_queue_net(dev.as_ptr(), peer.as_ptr(), self.0)
        };
    }
}
