// SPDX-License-Identifier: GPL-2.0

//! Making pairs and taking them apart, as veth does.

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    str::CStr, //
};

use super::{
    Kind,
    Port, //
};
use crate::net::{
    context::Rtnl,
    errno,
    link::{
        ExtAck,
        KillList,
        LinkAttrs,
        NewLink, //
    },
    net_device::{
        self as device,
        DeviceSetup,
        NetDevice, //
    },
    peer,
    rtnl::LinkKind, //
};

/// `type` [`NAME`](Kind::NAME).
pub(crate) struct Link<K>(PhantomData<fn(K)>);

#[vtable]
impl<K: Kind> LinkKind for Link<K> {
    type Driver = Port<K>;

    const KIND: &'static CStr = K::NAME;

    fn setup(dev: &mut DeviceSetup<'_>) {
        Port::<K>::setup(dev);
    }

    fn num_queues() -> u32 {
        device::num_possible_cpus().min(K::MAX_QUEUES)
    }

    fn validate(attrs: &LinkAttrs<'_>, extack: &mut ExtAck<'_>) -> Result {
        if let Some(address) = attrs.address() {
            if address.len() != 6 {
                return Err(extack.fail(c"the address is not a MAC address", EINVAL));
            }
            if address[0] & 1 != 0 || address.iter().all(|&byte| byte == 0) {
                return Err(extack.fail(
                    c"the MAC address is a group address or all zeroes",
                    errno::EADDRNOTAVAIL(),
                ));
            }
        }
        if let Some(mtu) = attrs.mtu() {
            if !(device::ETH_MIN_MTU..=device::ETH_MAX_MTU).contains(&mtu) {
                return Err(extack.fail(c"the MTU is not within 68 and 65535", EINVAL));
            }
        }
        Ok(())
    }

    /// The device asked for is registered first, so that `ip link add toe0
    /// type toe` does not find its name taken by an automatically named peer.
    fn newlink(link: NewLink<'_>, extack: &mut ExtAck<'_>, rtnl: &Rtnl) -> Result {
        let info = link.peer_info();
        let (dev, peer) = link.create(K::PEER, extack, rtnl)?;
        let dev = dev.register()?;
        let peer = peer.register().inspect_err(|&error| {
            extack.set(if error == EEXIST {
                c"the peer's name is taken in its namespace"
            } else {
                c"the peer could not be registered"
            })
        })?;
        let a = port::<K>(dev.get())?;
        let b = port::<K>(peer.get())?;
        peer::attach((dev.get(), &a.peer), (peer.get(), &b.peer), rtnl);
        if let Err(error) = peer.configure(&info) {
            peer::detach((dev.get(), &a.peer), (peer.get(), &b.peer), rtnl);
            return Err(extack.fail(c"the peer could not be configured", error));
        }
        peer.keep();
        dev.keep();
        Ok(())
    }

    fn dellink(dev: &NetDevice, kill: &mut KillList<'_>, rtnl: &Rtnl) {
        if let Some(port) = Port::<K>::of(dev) {
            peer::detach_and_kill(
                (dev, &port.peer),
                |peer| Port::<K>::of(peer).map(|port| &port.peer),
                kill,
                rtnl,
            );
        }
    }

    fn peer<'a>(dev: &'a NetDevice, rtnl: &'a Rtnl) -> Option<&'a NetDevice> {
        Port::<K>::of(dev)?.peer.get_rtnl(rtnl)
    }
}

fn port<K: Kind>(dev: &NetDevice) -> Result<&Port<K>> {
    Port::<K>::of(dev).ok_or(ENODEV)
}
