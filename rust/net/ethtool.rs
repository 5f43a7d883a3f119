// SPDX-License-Identifier: GPL-2.0

//! What ethtool asks of a driver: `struct ethtool_ops`.
//!
//! C header: `include/linux/ethtool.h`.

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    ffi::c_int,
    fmt,
    prelude::*,
    str::CStr,
    types::Opaque, //
};

use super::{
    context::Rtnl,
    link::ExtAck,
    ndo::{
        value,
        Driver, //
    },
    net_device::{
        copy_cstr,
        DeviceSetup, //
    }, //
};
use crate::bindings;

/// Length of the name of a counter, with the terminating null.
const NAME_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// How many there are, and may be, of something.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    /// Now.
    pub(crate) now: u32,
    /// At most.
    pub(crate) max: u32,
}

/// Takes the names of counters, or only counts them.
pub(crate) struct Names<'a> {
    buf: Option<&'a mut [u8]>,
    count: usize,
}

impl Names<'_> {
    /// Adds a name; what is longer than 31 bytes is cut off.
    pub(crate) fn add(&mut self, name: fmt::Arguments<'_>) {
        if let Some(buf) = &mut self.buf {
            let start = self.count * NAME_LEN;
            if let Some(place) = buf.get_mut(start..start + NAME_LEN) {
                place.fill(0);
                let mut cut = Cut(&mut place[..NAME_LEN - 1]);
                // Only says that it was cut.
                let _ = fmt::Write::write_fmt(&mut cut, name);
            }
        }
        self.count += 1;
    }
}

/// Writes as much as there is room for.
struct Cut<'a>(&'a mut [u8]);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let len = text.len().min(self.0.len());
        let (now, later) = core::mem::take(&mut self.0).split_at_mut(len);
        now.copy_from_slice(&text.as_bytes()[..len]);
        self.0 = later;
        Ok(())
    }
}

/// Takes the values of counters, in the order of their names.
pub(crate) struct Values<'a> {
    buf: &'a mut [u64],
    count: usize,
}

impl Values<'_> {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: u64) {
        if let Some(place) = self.buf.get_mut(self.count) {
            *place = value;
        }
        self.count += 1;
    }
}

/// The answers. All in process context with rtnl held.
#[vtable]
pub(crate) trait EthtoolOps: Driver {
    /// The driver's name and version, `ethtool -i`.
    const DRIVER: &'static CStr;
    /// The version.
    const VERSION: &'static CStr;
    /// The least ring, see `set_ring`.
    const MIN_RING: u32;

    /// The table; `static TABLE: EthtoolTable<Self> = EthtoolTable::new()`.
    fn ethtool() -> &'static EthtoolTable<Self>;

    /// Names of counters, `ethtool -S`: as many as values. How many there are does not
    /// change while rtnl is held.
    fn stat_names(&self, names: &mut Names<'_>, rtnl: &Rtnl);

    /// Values of counters.
    fn stat_values(&self, values: &mut Values<'_>, rtnl: &Rtnl);

    /// Queues of each kind, `ethtool -l`.
    fn channels(&self, rtnl: &Rtnl) -> Amount;

    /// `ethtool -L`; `count` is within 1 and the maximum.
    fn set_channels(&self, count: u32, rtnl: &Rtnl) -> Result;

    /// Frames that a receive queue holds, `ethtool -g`.
    fn ring(&self, rtnl: &Rtnl) -> Amount;

    /// `ethtool -G`; `size` is within [`EthtoolOps::MIN_RING`] and the maximum.
    fn set_ring(&self, size: u32, rtnl: &Rtnl) -> Result;
}

/// A table of answers.
///
/// # Invariants
///
/// Its functions are those of this file for `T`. A device of `T`'s that has it takes no
/// lock of its own, by the invariant of [`DeviceOps`](super::ndo::DeviceOps): ethtool's
/// ioctl and netlink family hold rtnl across each call (`__dev_ethtool()`,
/// `ethnl_default_doit()`), and before the first one have seen that the device is
/// registered, or found it in the list of its namespace.
#[repr(transparent)]
pub(crate) struct EthtoolTable<T>(Opaque<bindings::ethtool_ops>, PhantomData<fn(T)>);

// SAFETY: nobody writes to it after it was made: the core has a pointer to const.
unsafe impl<T> Sync for EthtoolTable<T> {}

impl<T: EthtoolOps> EthtoolTable<T> {
    /// Makes the table.
    pub(crate) const fn new() -> Self {
        // INVARIANT: those for `T`.
        EthtoolTable(
            Opaque::new(bindings::ethtool_ops {
                get_drvinfo: Some(get_drvinfo::<T>),
                get_link: Some(bindings::ethtool_op_get_link),
                get_ts_info: Some(bindings::ethtool_op_get_ts_info),
                get_link_ksettings: Some(get_link_ksettings),
                get_sset_count: Some(get_sset_count::<T>),
                get_strings: Some(get_strings::<T>),
                get_ethtool_stats: Some(get_ethtool_stats::<T>),
                get_channels: Some(get_channels::<T>),
                set_channels: Some(set_channels::<T>),
                get_ringparam: Some(get_ringparam::<T>),
                set_ringparam: Some(set_ringparam::<T>),
                // SAFETY: all other operations are optional: a null pointer,
                // which is `None`.
                ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
            }),
            PhantomData,
        )
    }
}

impl DeviceSetup<'_> {
    /// Answers ethtool by `T`, which is to be the device's driver.
    pub(crate) fn ethtool<T: EthtoolOps>(&mut self) -> &mut Self {
        self.raw().ethtool_ops = T::ethtool().0.get();
        self
    }
}

/// # Safety
///
/// Called by ethtool on a device of `T`, with a structure of the caller's at `info`.
unsafe extern "C" fn get_drvinfo<T: EthtoolOps>(
    _dev: *mut bindings::net_device,
    info: *mut bindings::ethtool_drvinfo,
) {
    // SAFETY: initialised memory of the caller's, which nobody else has before this returns
    // (`ethtool_get_drvinfo()`).
    let info = unsafe { &mut *info };
    copy_cstr(&mut info.driver, T::DRIVER);
    copy_cstr(&mut info.version, T::VERSION);
}

/// As veth: a link without a real speed says 10 Gbit/s, full duplex.
///
/// # Safety
///
/// Called by ethtool or whoever else asks for a device's speed, with a structure of the
/// caller's at `settings`.
unsafe extern "C" fn get_link_ksettings(
    _dev: *mut bindings::net_device,
    settings: *mut bindings::ethtool_link_ksettings,
) -> c_int {
    // SAFETY: memory of the caller's that was zeroed, and that nobody else has before this
    // returns (`netif_get_link_ksettings()`).
    let base = unsafe { &mut (*settings).base };
    base.speed = bindings::SPEED_10000;
    base.duplex = bindings::DUPLEX_FULL as u8;
    base.port = bindings::PORT_TP as u8;
    base.autoneg = bindings::AUTONEG_DISABLE as u8;
    0
}

/// # Safety
///
/// `dev` must be a registered device of `T`, and stay so while rtnl is held, which `rtnl`
/// is evidence of.
unsafe fn stat_count<T: EthtoolOps>(dev: *mut bindings::net_device, rtnl: &Rtnl) -> usize {
    let mut names = Names {
        buf: None,
        count: 0,
    };
    // SAFETY: registered, hence `init` returned 0; nothing is destroyed under rtnl.
    unsafe { value::<T>(dev) }.stat_names(&mut names, rtnl);
    names.count
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`.
unsafe extern "C" fn get_sset_count<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    set: c_int,
) -> c_int {
    // SAFETY: the caller holds rtnl across this call, by the invariant of `EthtoolTable`.
    let rtnl = unsafe { Rtnl::assume() };
    if set as u32 != bindings::ethtool_stringset_ETH_SS_STATS {
        return super::errno::EOPNOTSUPP().to_errno();
    }
    // SAFETY: registered, as this function requires.
    unsafe { stat_count::<T>(dev, &rtnl) as c_int }
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with room
/// for as many names as `get_sset_count` said since rtnl was taken.
unsafe extern "C" fn get_strings<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    set: u32,
    buf: *mut u8,
) {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    if set != bindings::ethtool_stringset_ETH_SS_STATS {
        return;
    }
    // SAFETY: registered, as this function requires.
    let count = unsafe { stat_count::<T>(dev, &rtnl) };
    // SAFETY: the caller allocated and zeroed the room for what `get_sset_count` said, and
    // has not released rtnl since: `EthtoolOps::stat_names()` promises that `count` is the
    // same. Nobody else has the memory before this returns.
    let buf = unsafe { core::slice::from_raw_parts_mut(buf, count * NAME_LEN) };
    let mut names = Names {
        buf: Some(buf),
        count: 0,
    };
    // SAFETY: as in `stat_count`.
    unsafe { value::<T>(dev) }.stat_names(&mut names, &rtnl);
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with `stats.n_stats`
/// values at `buf`.
unsafe extern "C" fn get_ethtool_stats<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    stats: *mut bindings::ethtool_stats,
    buf: *mut u64,
) {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: the caller allocated and zeroed that many (`ethtool_get_stats()`), the number
    // of `get_sset_count` at least; nobody else has the memory before this returns.
    let buf = unsafe { core::slice::from_raw_parts_mut(buf, (*stats).n_stats as usize) };
    let mut values = Values { buf, count: 0 };
    // SAFETY: as in `stat_count`.
    unsafe { value::<T>(dev) }.stat_values(&mut values, &rtnl);
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with a structure of the
/// caller's at `channels`.
unsafe extern "C" fn get_channels<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    channels: *mut bindings::ethtool_channels,
) {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `stat_count`.
    let amount = unsafe { value::<T>(dev) }.channels(&rtnl);
    // SAFETY: initialised memory of the caller's, which nobody else has before this returns.
    let channels = unsafe { &mut *channels };
    channels.combined_count = amount.now;
    channels.max_combined = amount.max;
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with counts
/// that are within the maxima of `get_channels`.
unsafe extern "C" fn set_channels<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    channels: *mut bindings::ethtool_channels,
) -> c_int {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: initialised memory of the caller's, which nobody writes to meanwhile.
        let count = unsafe { (*channels).combined_count };
        if count == 0 {
            return Err(EINVAL);
        }
        // SAFETY: as in `stat_count`.
        unsafe { value::<T>(dev) }.set_channels(count, &rtnl)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with a structure of the
/// caller's at `ring`.
unsafe extern "C" fn get_ringparam<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    ring: *mut bindings::ethtool_ringparam,
    _kernel_ring: *mut bindings::kernel_ethtool_ringparam,
    _extack: *mut bindings::netlink_ext_ack,
) {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    // SAFETY: as in `stat_count`.
    let amount = unsafe { value::<T>(dev) }.ring(&rtnl);
    // SAFETY: initialised memory of the caller's, which nobody else has before this returns.
    let ring = unsafe { &mut *ring };
    ring.rx_pending = amount.now;
    ring.rx_max_pending = amount.max;
}

/// # Safety
///
/// Called by ethtool with rtnl held, on a registered device of `T`, with sizes
/// that are within the maxima of `get_ringparam`.
unsafe extern "C" fn set_ringparam<T: EthtoolOps>(
    dev: *mut bindings::net_device,
    ring: *mut bindings::ethtool_ringparam,
    _kernel_ring: *mut bindings::kernel_ethtool_ringparam,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: as in `get_sset_count`.
    let rtnl = unsafe { Rtnl::assume() };
    from_result(|| {
        // SAFETY: null, for an ioctl, or the request's, which nobody else uses meanwhile.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        // SAFETY: initialised memory of the caller's, which nobody writes to meanwhile.
        let size = unsafe { (*ring).rx_pending };
        if size < T::MIN_RING {
            return Err(extack.fail(c"the receive ring is too small", EINVAL));
        }
        // SAFETY: as in `stat_count`.
        unsafe { value::<T>(dev) }.set_ring(size, &rtnl)?;
        Ok(0)
    })
}
