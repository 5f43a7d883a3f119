// SPDX-License-Identifier: GPL-2.0

//! A kind of link that `ip link add ... type KIND` makes: `struct rtnl_link_ops`.
//!
//! C header: `include/net/rtnetlink.h`.

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use crate::bindings;

use super::{
    context::Rtnl,
    link::{
        ExtAck,
        KillList,
        LinkAttrs,
        NewLink, //
    },
    ndo::Driver,
    netdev::{
        DeviceSetup,
        NetDevice, //
    }, //
};

/// The attribute of `IFLA_INFO_DATA` that describes the peer, as veth's
/// `VETH_INFO_PEER`: a `struct ifinfomsg` followed by link attributes.
pub(crate) const INFO_PEER: u16 = 1;

/// A kind of link whose devices come in pairs.
#[vtable]
pub(crate) trait LinkKind {
    /// The driver of its devices.
    type Driver: Driver;

    /// What stands after `type`, and names new devices.
    const KIND: &'static CStr;

    /// Sets a new device up. Any context; must not fail.
    fn setup(dev: &mut DeviceSetup<'_>);

    /// Queues of each kind that a new device gets unless the user says.
    fn num_queues() -> u32;

    /// Checks the attributes of a device, or of its peer, before it is made.
    /// Process context, without rtnl.
    fn validate(attrs: &LinkAttrs<'_>, extack: &mut ExtAck<'_>) -> Result;

    /// Makes and registers the pair. Process context, rtnl held.
    fn newlink(link: NewLink<'_>, extack: &mut ExtAck<'_>, rtnl: &Rtnl) -> Result;

    /// Takes the pair apart: queues both devices for unregistration. Process
    /// context, rtnl held. Called for each of them by turns if all are deleted.
    fn dellink(dev: &NetDevice, kill: &mut KillList<'_>, rtnl: &Rtnl);

    /// The device at the other end. Process context, rtnl held.
    fn peer<'a>(dev: &'a NetDevice, rtnl: &'a Rtnl) -> Option<&'a NetDevice>;
}

/// A registered kind of link.
///
/// # Invariants
///
/// `ops` is registered, and filled in for `K`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<K: LinkKind> {
    #[pin]
    ops: Opaque<bindings::rtnl_link_ops>,
    policy: Pin<KBox<Policy>>,
    _kind: PhantomData<fn(K)>,
}

/// The netlink policy: what the one attribute of ours is.
struct Policy([bindings::nla_policy; INFO_PEER as usize + 1]);

// SAFETY: only unregistered, which may be done from any thread.
unsafe impl<K: LinkKind> Send for Registration<K> {}
// SAFETY: has no methods.
unsafe impl<K: LinkKind> Sync for Registration<K> {}

impl<K: LinkKind> Registration<K> {
    /// Registers the kind.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            policy: {
                let mut policy = Policy(Default::default());
                policy.0[INFO_PEER as usize].len =
                    core::mem::size_of::<bindings::ifinfomsg>() as u16;
                KBox::pin(policy, GFP_KERNEL)?
            },
            // INVARIANT: filled in, and registered unless it fails.
            ops <- Opaque::try_ffi_init(|ops: *mut bindings::rtnl_link_ops| {
                let table = bindings::rtnl_link_ops {
                    kind: kernel::str::as_char_ptr_in_const_context(K::KIND),
                    priv_size: core::mem::size_of::<K::Driver>(),
                    setup: Some(setup::<K>),
                    peer_type: INFO_PEER,
                    maxtype: INFO_PEER.into(),
                    policy: policy.0.as_ptr(),
                    validate: Some(validate::<K>),
                    newlink: Some(newlink::<K>),
                    dellink: Some(dellink::<K>),
                    get_num_tx_queues: Some(num_queues::<K>),
                    get_num_rx_queues: Some(num_queues::<K>),
                    get_link_net: Some(get_link_net::<K>),
                    ..Default::default()
                };
                // SAFETY: ours to initialise, and pinned from here on.
                to_result(unsafe {
                    ops.write(table);
                    bindings::rtnl_link_register(ops)
                })
            }),
            _kind: PhantomData,
        })
    }
}

#[pinned_drop]
impl<K: LinkKind> PinnedDrop for Registration<K> {
    /// Deletes all devices of the kind, in all namespaces, and waits for the
    /// last reference to each.
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by the type invariants.
        unsafe { bindings::rtnl_link_unregister(self.ops.get()) };
    }
}

/// # Safety
///
/// Called by `alloc_netdev_mqs()` on a new device.
unsafe extern "C" fn setup<K: LinkKind>(dev: *mut bindings::net_device) {
    // SAFETY: nobody else sees it.
    let mut dev = unsafe { DeviceSetup::from_raw(dev) };
    K::setup(&mut dev);
    dev.driver::<K::Driver>();
}

/// # Safety
///
/// Called by the core, always.
unsafe extern "C" fn num_queues<K: LinkKind>() -> c_uint {
    K::num_queues()
}

/// # Safety
///
/// Called by rtnetlink with an array of `IFLA_MAX + 1` attributes.
unsafe extern "C" fn validate<K: LinkKind>(
    tb: *mut *mut bindings::nlattr,
    _data: *mut *mut bindings::nlattr,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: such an array, for this call.
        let attrs = unsafe { LinkAttrs::from_raw(tb) };
        // SAFETY: null, or ours for this call.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        K::validate(&attrs, &mut extack)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a device that `setup` set up and that
/// stays the caller's if this fails.
unsafe extern "C" fn newlink<K: LinkKind>(
    dev: *mut bindings::net_device,
    params: *mut bindings::rtnl_newlink_params,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: rtnetlink holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: valid for this call, with arrays of `IFLA_MAX + 1` and
        // `INFO_PEER + 1` attributes.
        let link = unsafe { NewLink::from_raw(dev, params) };
        // SAFETY: null, or ours for this call.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        K::newlink(link, &mut extack, &rtnl)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a registered device of this kind.
unsafe extern "C" fn dellink<K: LinkKind>(
    dev: *mut bindings::net_device,
    head: *mut bindings::list_head,
) {
    // SAFETY: rtnetlink holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered; and the list is the caller's for this call.
    let (dev, mut kill) = unsafe { (NetDevice::from_raw(dev), KillList::from_raw(head)) };
    K::dellink(dev, &mut kill, &rtnl);
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a registered device of this kind.
unsafe extern "C" fn get_link_net<K: LinkKind>(
    dev: *const bindings::net_device,
) -> *mut bindings::net {
    // SAFETY: rtnetlink holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered.
    let dev = unsafe { NetDevice::from_raw(dev.cast_mut()) };
    let other = K::peer(dev, &rtnl).unwrap_or(dev);
    // SAFETY: both live; a device changes its namespace under rtnl.
    unsafe { (*other.as_ptr()).nd_net.net }
}
