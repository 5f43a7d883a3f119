// SPDX-License-Identifier: GPL-2.0

//! What happens to devices that take connections, to the layers on top of them and to their
//! neighbours, and what becomes of their connections then.
//!
//! Nothing is sent through something that is gone or has changed: it is invalidated first,
//! then its connections are uploaded, and then the objects that they lay on are terminated.

use core::ptr;

use super::{
    connection,
    failover,
    intermediate::{
        any_bond,
        Layers, //
    },
    registry,
    target::OffloadTarget,
    upload, //
};
use crate::{
    logic::{
        hwid::Hwid,
        reason::UploadReason, //
    },
    net::{
        context::Rtnl,
        net_device::NetDevice,
        netevent::{
            Neighbour,
            NetEventNotifier, //
        },
        notifier::{
            NetdevEvent,
            NetdevNotifier, //
        },
        sock::Sock,
        sync::rcu::ReadGuard, //
    }, //
};

/// Receives the events of all devices.
pub(crate) struct Devices;

impl NetdevNotifier for Devices {
    fn event(&self, event: NetdevEvent, dev: &NetDevice, rtnl: &Rtnl) {
        if let Some((target, _)) = registry::target_of(dev) {
            device_event(target, event, dev, rtnl);
        } else {
            registry::each_below(dev, |_, target| {
                layer_changed(target, dev, event == NetdevEvent::Unregister);
            });
        }
        // Whatever it is: which member a bond sends by may have changed, or changes with it.
        failover::follow_all(dev);
    }
}

fn device_event(target: &dyn OffloadTarget, event: NetdevEvent, dev: &NetDevice, rtnl: &Rtnl) {
    let device = target.device();
    match event {
        NetdevEvent::Register | NetdevEvent::ChangeName => device.files().update(dev, rtnl),
        NetdevEvent::ChangeAddr => {
            upload::upload_all(target, UploadReason::RouteChange, false);
            device.objects().sweep(target, true);
        }
        // Before it is down, and again for what was handed over in between.
        NetdevEvent::GoingDown | NetdevEvent::Down => link_down(target, rtnl),
        // It may only leave its namespace.
        NetdevEvent::Unregister if dev.is_going() => {
            failover::follow(dev, target);
            device.close();
            device.files().remove(rtnl);
            upload::upload_all(target, UploadReason::DeviceGone, true);
            device.objects().sweep(target, true);
        }
        _ => {}
    }
}

/// Receives the events of neighbours.
pub(crate) struct Neighbours;

impl NetEventNotifier for Neighbours {
    fn neighbour(&self, neighbour: &Neighbour) {
        let dev = neighbour.dev();
        let Some((family, address)) = neighbour.address() else {
            return;
        };
        let guard = ReadGuard::new();
        for (target, _) in Layers::below(dev, &guard).filter_map(registry::target_of) {
            let objects = target.device().objects();
            objects.neighbour_changed(target, dev, family, address);
        }
    }
}

/// The link of `target` is down: of its device the framework finds out by itself, but not
/// of what is at the other end. Process context. Connections on a bond stay until that sends
/// by another member, as those in the host stack do.
pub(crate) fn link_down(target: &dyn OffloadTarget, _rtnl: &Rtnl) {
    upload::upload_those(target, UploadReason::LinkDown, false, &mut |f| {
        target.for_each(&mut |hwid, sk| {
            if !any_bond() || !failover::is_bonded(&sk) {
                f(hwid, sk);
            }
        });
    });
}

/// Something happened to `dev`, a device on top of that of `target`: its connections are
/// uploaded if it `left` or is not what it was.
fn layer_changed(target: &dyn OffloadTarget, dev: &NetDevice, left: bool) {
    let objects = target.device().objects();
    if left || objects.has_outdated_layer(dev) {
        upload_layer(target, dev, left);
    }
    if left || !dev.is_up() {
        objects.sweep(target, true);
    }
}

/// Uploads the connections of `target` that pass `dev`, unless that is what it was.
fn upload_layer(target: &dyn OffloadTarget, dev: &NetDevice, left: bool) {
    let objects = target.device().objects();
    let mut first = true;
    upload::upload_those(target, reason_of(dev), left, &mut |f| {
        target.for_each(&mut |hwid, sk| match passes(&sk, dev, left) {
            Some(false) => {}
            Some(true) => {
                if core::mem::take(&mut first) {
                    // Nothing is sent until all are uploaded.
                    objects.layer_gone(target, dev);
                }
                f(hwid, sk);
            }
            None => handed_over(hwid, &sk, dev, left),
        });
    });
}

/// Why connections are uploaded that pass a layer `dev`.
fn reason_of(dev: &NetDevice) -> UploadReason {
    match dev.is_bond() {
        true => UploadReason::Bond,
        false => UploadReason::Vlan,
    }
}

/// Whether the frames of `sk` pass a layer `dev` that has `left` or is not what it was.
/// `None`: its connection is not offloaded, or is being handed over. Any context.
fn passes(sk: &Sock, dev: &NetDevice, left: bool) -> Option<bool> {
    let guard = ReadGuard::new();
    let conn = connection::of_now(sk, &guard)?;
    Some(conn.layers().is_some_and(|layers| {
        layers.devices().any(|layer| ptr::eq(layer, dev)) && (left || !layers.intact())
    }))
}

/// The connection of `sk` was being handed over: the end of that looks at its layers, and
/// may have come before.
#[cold]
fn handed_over(hwid: Hwid, sk: &Sock, dev: &NetDevice, left: bool) {
    sk.with_lock(
        |sk| {
            if passes(&sk, dev, left) == Some(true) {
                upload::upload_hwid(sk, hwid, reason_of(dev));
            }
        },
        |lock| {
            if passes(lock.sock(), dev, left) == Some(true) {
                upload::ask_owner(lock, hwid, reason_of(dev));
            }
        },
    );
}
