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

use super::{
    context::Rtnl,
    link::{
        ExtAck,
        KillList,
        LinkAttrs,
        NewLink, //
    },
    ndo::Driver,
    net_device::{
        DeviceSetup,
        NetDevice, //
    }, //
};
use crate::bindings;

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
/// `ops` is registered, and filled in for `K`: the private area of its devices has the size of
/// a `K::Driver`, which they get as their driver. It names `policy`, which stays where it is.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<K: LinkKind> {
    #[pin]
    ops: Opaque<bindings::rtnl_link_ops>,
    policy: Pin<KBox<Policy>>,
    _kind: PhantomData<fn(K)>,
}

/// The netlink policy: what the one attribute of ours is.
struct Policy([bindings::nla_policy; INFO_PEER as usize + 1]);

// SAFETY: what can be done with a value is to drop it: `ops` may be unregistered by any task.
unsafe impl<K: LinkKind> Send for Registration<K> {}
// SAFETY: it has no methods; what C changes in `ops` it guards itself.
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
                // SAFETY: ours to initialise, pinned from here on, and unregistered before it
                // is freed (`drop`), as is the policy; if it cannot be registered, nobody has
                // it. The functions are what the fields' types say.
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
        // SAFETY: registered by the type invariant, and unregistered once. May sleep, as the
        // module's root drops this; nobody is in the functions when it returns.
        unsafe { bindings::rtnl_link_unregister(self.ops.get()) };
    }
}

/// # Safety
///
/// Called by `alloc_netdev_mqs()` on a new device, with a private area for a `K::Driver`.
unsafe extern "C" fn setup<K: LinkKind>(dev: *mut bindings::net_device) {
    // SAFETY: just allocated, and the caller's alone until this returns.
    let mut dev = unsafe { DeviceSetup::from_raw(dev) };
    K::setup(&mut dev);
    dev.driver::<K::Driver>();
}

/// # Safety
///
/// None: it is unsafe for its type only.
unsafe extern "C" fn num_queues<K: LinkKind>() -> c_uint {
    K::num_queues()
}

/// # Safety
///
/// Called by rtnetlink with an array of `IFLA_MAX + 1` attributes, and an answer of the
/// request or null.
unsafe extern "C" fn validate<K: LinkKind>(
    tb: *mut *mut bindings::nlattr,
    _data: *mut *mut bindings::nlattr,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: such an array, which was parsed from the request, and stays as it is until
        // this returns.
        let attrs = unsafe { LinkAttrs::from_raw(tb) };
        // SAFETY: null, or the request's, which nobody else uses before this returns.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        K::validate(&attrs, &mut extack)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a device that `setup` set up and that
/// stays the caller's if this fails. `params` has arrays of `IFLA_MAX + 1` attributes and of
/// `maxtype + 1`, parsed by our policy, or null for the latter.
unsafe extern "C" fn newlink<K: LinkKind>(
    dev: *mut bindings::net_device,
    params: *mut bindings::rtnl_newlink_params,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: `rtnl_newlink()` holds rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: both are the request's, which nobody else uses before this returns. Our
        // `maxtype` is `INFO_PEER`, and by our policy that attribute is as long as an
        // `ifinfomsg` at least.
        let link = unsafe { NewLink::from_raw(dev, params) };
        // SAFETY: as in `validate`.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        K::newlink(link, &mut extack, &rtnl)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a registered device of this kind, and with a list
/// that the caller unregisters before he releases rtnl.
unsafe extern "C" fn dellink<K: LinkKind>(
    dev: *mut bindings::net_device,
    head: *mut bindings::list_head,
) {
    // SAFETY: `rtnl_delete_link()`, `__rtnl_kill_links()`, `rtnl_newlink()` and
    // `default_device_exit_batch()` hold rtnl across this call.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered, hence with its driver's value, and nothing is freed under rtnl. The
    // list is as `KillList` wants it, by this function's contract.
    let (dev, mut kill) = unsafe { (NetDevice::from_raw(dev), KillList::from_raw(head)) };
    K::dellink(dev, &mut kill, &rtnl);
}

/// # Safety
///
/// Called by rtnetlink with rtnl held, on a registered device of this kind.
unsafe extern "C" fn get_link_net<K: LinkKind>(
    dev: *const bindings::net_device,
) -> *mut bindings::net {
    // SAFETY: `rtnl_fill_ifinfo()` asserts that rtnl is held, and does not release it.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: registered, hence with its driver's value, and nothing is freed under rtnl.
    let dev = unsafe { NetDevice::from_raw(dev.cast_mut()) };
    let other = K::peer(dev, &rtnl).unwrap_or(dev);
    // SAFETY: live by the invariant of `NetDevice`; a device changes its namespace under rtnl
    // only, which is held.
    unsafe { (*other.as_ptr()).nd_net.net }
}
