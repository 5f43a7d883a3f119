// SPDX-License-Identifier: GPL-2.0

//! What unit tests need of a machine: devices of a driver of theirs, and connections whose
//! peer is the test itself. All in process context, in the first namespace.

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_int,
    prelude::*, //
};

use super::{
    ndo::Driver,
    net_device::{
        DeviceSetup,
        NetDevice, //
    },
    skb::SkBuff,
    sock::{
        LockedSock,
        Sock, //
    }, //
};
use crate::bindings;

/// A device of driver `D` that is up and has an address; removed when dropped.
///
/// # Invariants
///
/// The device is registered, and one of `D`'s.
pub(crate) struct TestDevice<D: Driver>(NonNull<bindings::net_device>, PhantomData<D>);

impl<D: Driver> TestDevice<D> {
    /// With this address, of a /24.
    pub(crate) fn new(address: [u8; 4]) -> Option<Self> {
        let (size, address) = (size_of::<D>() as c_int, u32::from_ne_bytes(address));
        // SAFETY: process context; `setup` makes it a device of `D`, for whose value there
        // is room.
        let dev = unsafe { bindings::toe_fixture_device(size, Some(setup::<D>), address) };
        // INVARIANT: registered; `setup` has made it one of `D`'s.
        NonNull::new(dev).map(|dev| TestDevice(dev, PhantomData))
    }
}

impl<D: Driver> Deref for TestDevice<D> {
    type Target = NetDevice;

    fn deref(&self) -> &NetDevice {
        // SAFETY: live by the type invariants.
        unsafe { NetDevice::from_raw(self.0.as_ptr()) }
    }
}

impl<D: Driver> Drop for TestDevice<D> {
    fn drop(&mut self) {
        // SAFETY: registered by the type invariants, and nobody else's to remove.
        unsafe { bindings::toe_fixture_device_remove(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by `alloc_netdev_mqs()` on a new device.
unsafe extern "C" fn setup<D: Driver>(dev: *mut bindings::net_device) {
    // SAFETY: nobody else sees it.
    let mut dev = unsafe { DeviceSetup::from_raw(dev) };
    dev.virtual_ethernet();
    dev.driver::<D>();
}

/// As if another CPU had changed routes: that of `sk` is not valid, and has another MTU.
pub(crate) fn outdate_route(sk: LockedSock<'_>) {
    // SAFETY: live and locked by the invariants of `LockedSock`.
    unsafe { bindings::toe_fixture_outdate_route(sk.as_ptr()) };
}

/// An end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) address: [u8; 4],
    pub(crate) port: u16,
    /// The sequence number of the next byte from there.
    pub(crate) seq: u32,
}

impl End {
    fn raw(self) -> bindings::toe_fixture_end {
        bindings::toe_fixture_end {
            addr: u32::from_ne_bytes(self.address),
            port: self.port.to_be(),
            seq: self.seq,
        }
    }
}

/// An established connection; reset when dropped.
///
/// # Invariants
///
/// A live TCP socket that is this value's.
pub(crate) struct TestSocket(NonNull<bindings::socket>);

impl TestSocket {
    /// From `local`, which is an address of this host.
    pub(crate) fn connect(local: End, remote: End) -> Option<Self> {
        let (local, remote) = (local.raw(), remote.raw());
        // SAFETY: process context; both are only read.
        NonNull::new(unsafe { bindings::toe_fixture_connect(&local, &remote) }).map(TestSocket)
    }

    /// `setsockopt(TCP_ULP, "toe")`.
    pub(crate) fn offload(&self) -> Result {
        // SAFETY: a live socket.
        kernel::error::to_result(unsafe { bindings::toe_fixture_ulp(self.0.as_ptr()) })
    }

    /// Sends, without waiting.
    pub(crate) fn send(&self, data: &[u8]) -> Result<usize> {
        let (ptr, len) = (data.as_ptr().cast(), data.len());
        // SAFETY: a live socket, and this many bytes.
        let sent = unsafe { bindings::toe_fixture_send(self.0.as_ptr(), ptr, len) };
        kernel::error::to_result(sent.min(0)).map(|()| sent as usize)
    }

    /// Receives, without waiting.
    pub(crate) fn receive(&self, data: &mut [u8]) -> Result<usize> {
        let (ptr, len) = (data.as_mut_ptr().cast(), data.len());
        // SAFETY: a live socket, and room for this many bytes.
        let received = unsafe { bindings::toe_fixture_receive(self.0.as_ptr(), ptr, len) };
        kernel::error::to_result(received.min(0)).map(|()| received as usize)
    }

    /// What the protocol has of it.
    pub(crate) fn sock(&self) -> &Sock {
        // SAFETY: a live TCP socket by the type invariants.
        unsafe { Sock::from_raw((*self.0.as_ptr()).sk) }
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        // SAFETY: ours by the type invariants.
        unsafe { bindings::toe_fixture_close(self.0.as_ptr()) };
    }
}

/// A frame that came in by `dev`: these bytes, from the Ethernet header on.
pub(crate) fn frame(dev: &NetDevice, bytes: &[u8]) -> Option<SkBuff> {
    // SAFETY: a live device, and this many bytes.
    let skb =
        unsafe { bindings::toe_fixture_frame(dev.as_ptr(), bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: just made, and nobody else's.
    (!skb.is_null()).then(|| unsafe { SkBuff::from_raw(skb) })
}
