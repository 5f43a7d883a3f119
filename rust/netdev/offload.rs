// SPDX-License-Identifier: GPL-2.0

//! What happens to the connections of a device when something happens to it.

use core::ptr;

use kernel::sync::aref::ARef;

use crate::{
    dct::Entry,
    framework::upload,
    logic::reason::UploadReason,
    net::{
        context::Rtnl,
        netdev::NetDevice,
        table::ReadGuard, //
    }, //
};

use super::Port;

impl Port {
    /// Something happened to `dev`, a device on top of this one: its connections are
    /// uploaded if it `left` or is not what it was. Process context, rtnl held.
    pub(super) fn layer_changed(&self, dev: &NetDevice, left: bool, _rtnl: &Rtnl) {
        let table = self.engine.table();
        let through = |entry: &Entry<Port>| {
            let layers = entry.layers.as_ref()?;
            let through = layers.devices().any(|layer| ptr::eq(layer, dev));
            (through && (left || !layers.intact())).then_some(())
        };
        let mut first = true;
        upload::upload_those(self, UploadReason::Vlan, left, &mut |f| {
            for index in 0..table.slots() {
                let guard = ReadGuard::new();
                let found = table
                    .at(&guard, index)
                    .filter(|entry| through(entry).is_some())
                    .map(|entry| (entry.hwid, ARef::clone(&entry.sk)));
                drop(guard);
                if let Some((hwid, sk)) = found {
                    if core::mem::take(&mut first) {
                        // Nothing is sent any more until all are uploaded.
                        self.engine.device().objects().layer_gone(self, dev);
                    }
                    f(hwid, sk);
                }
            }
        });
        if left || !dev.is_up() {
            self.engine.device().objects().sweep(self, true);
        }
    }

    /// The device has another link address. Process context, rtnl held.
    pub(super) fn address_changed(&self, _rtnl: &Rtnl) {
        upload::upload_all(self, UploadReason::RouteChange, false);
        self.engine.device().objects().sweep(self, true);
    }

    /// The link goes down: this device or its peer. Process context, rtnl held.
    pub(super) fn link_down(&self, _rtnl: &Rtnl) {
        upload::upload_all(self, UploadReason::LinkDown, false);
    }

    /// The device leaves: upload everything. Process context, rtnl held.
    pub(super) fn before_unregister(&self, _rtnl: &Rtnl) {
        self.engine.device().close();
        upload::upload_all(self, UploadReason::DeviceGone, true);
        self.engine.device().objects().sweep(self, true);
    }
}
