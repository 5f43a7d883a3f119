// SPDX-License-Identifier: GPL-2.0

//! `/sys/class/net/<dev>/toe/`; see Documentation/ABI/testing/sysfs-class-net-toe.
//!
//! Every device that takes connections has it: its driver names the directory as one of the
//! device's groups, and may have files of its own in it.

use kernel::{
    fmt::Write,
    prelude::*, //
};

use super::{
    device::Device,
    registry,
    request,
    target::OffloadTarget,
    upload, //
};
use crate::{
    logic::{
        deferred::Rule,
        filter::Filter,
        policy::{
            Limits,
            Policy,
            Prefix,
            MAX_BATCH, //
        },
        reason::UploadReason, //
    },
    net::{
        net_device::NetDevice,
        sysfs::{
            Attribute,
            AttributeList,
            Chunk,
            Group,
            LongAttribute,
            LongAttributeList,
            Page,
            Window, //
        }, //
    }, //
};

/// The files of one value.
pub(crate) static FILES: [Attribute; 36] = [
    Attribute::rw(c"policy", show_policy, store_policy),
    Attribute::wo(c"upload_all", store_upload_all),
    Attribute::wo(c"offload_all", store_offload_all),
    Attribute::rw(c"batch", show_batch, store_batch),
    Attribute::rw(c"min_bytes", show_min_bytes, store_min_bytes),
    Attribute::rw(c"min_segments", show_min_segments, store_min_segments),
    Attribute::rw(c"conn_limit", show_conn_limit, store_conn_limit),
    Attribute::rw(c"port_min", show_port_min, store_port_min),
    Attribute::rw(c"port_max", show_port_max, store_port_max),
    Attribute::rw(c"address_prefix", show_prefix, store_prefix),
    Attribute::rw(c"reoffload_delay_ms", show_delay, store_delay),
    Attribute::rw(c"reoffload_delay_max_ms", show_delay_max, store_delay_max),
    Attribute::rw(c"max_uploads", show_max_uploads, store_max_uploads),
    Attribute::rw(c"upload_window_ms", show_window, store_window),
    Attribute::rw(c"legacy_falls", show_falls, store_falls),
    Attribute::rw(c"legacy_window_ms", show_falls_window, store_falls_window),
    Attribute::rw(c"legacy_max_ms", show_legacy_max, store_legacy_max),
    Attribute::rw(c"bypass_xfrm", show_bypass_xfrm, store_bypass_xfrm),
    Attribute::rw(
        c"bypass_netfilter",
        show_bypass_netfilter,
        store_bypass_netfilter,
    ),
    Attribute::rw(
        c"bypass_conntrack",
        show_bypass_conntrack,
        store_bypass_conntrack,
    ),
    Attribute::rw(c"bypass_qdisc", show_bypass_qdisc, store_bypass_qdisc),
    Attribute::rw(c"bypass_tc", show_bypass_tc, store_bypass_tc),
    Attribute::rw(c"bypass_xdp", show_bypass_xdp, store_bypass_xdp),
    Attribute::rw(
        c"bypass_cgroup_bpf",
        show_bypass_cgroup_bpf,
        store_bypass_cgroup_bpf,
    ),
    Attribute::rw(
        c"bypass_socket_filter",
        show_bypass_socket,
        store_bypass_socket,
    ),
    Attribute::rw(c"user_buffer_min", show_buffer_min, store_buffer_min),
    Attribute::rw(
        c"user_buffer_frames",
        show_buffer_frames,
        store_buffer_frames,
    ),
    Attribute::rw(c"buffer_request_ms", show_request_ms, store_request_ms),
    Attribute::rw(c"buffer_high_water", show_high_water, store_high_water),
    Attribute::rw(c"short_cut", show_short_cut, store_short_cut),
    Attribute::ro(c"rules_error", show_rules_error),
    Attribute::rw(c"rules_test", show_rules_test, store_rules_test),
    Attribute::ro(c"connections", show_connections),
    Attribute::ro(c"offloads", show_offloads),
    Attribute::ro(c"uploads", show_uploads),
    Attribute::ro(c"refusals", show_refusals),
];
static LONG_FILES: [LongAttribute; 3] = [
    LongAttribute::rw(c"rules", read_rules, write_rules),
    LongAttribute::ro(c"rules_hits", read_rules_hits),
    LongAttribute::ro(c"resources", read_resources),
];
static LONG_LIST: LongAttributeList<3> = LongAttributeList::new(&LONG_FILES);

/// The directory with the files of `list`, which are [`FILES`] and, maybe, a driver's own.
pub(crate) const fn group<const N: usize>(list: &'static AttributeList<N>) -> Group {
    Group::new(c"toe", list, &LONG_LIST)
}

static LIST: AttributeList<36> = AttributeList::new(&FILES, &[]);

/// The directory of a driver that has no files of its own.
pub(crate) static GROUP: Group = group(&LIST);

fn target(dev: &NetDevice) -> Result<&dyn OffloadTarget> {
    registry::target_of(dev)
        .map(|(target, _)| target)
        .ok_or(ENODEV)
}

fn device(dev: &NetDevice) -> Result<&Device> {
    target(dev).map(OffloadTarget::device)
}

/// A number that was written. EINVAL if it is none, ERANGE if it is none of `lo..=hi`.
pub(crate) fn number(text: &str, lo: u64, hi: u64) -> Result<u64> {
    let value: u64 = text.parse().map_err(|_| EINVAL)?;
    if (lo..=hi).contains(&value) {
        Ok(value)
    } else {
        Err(ERANGE)
    }
}

/// EINVAL if it is neither 0 nor 1.
pub(crate) fn flag(text: &str) -> Result<bool> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(EINVAL),
    }
}

/// Shows a number.
pub(crate) fn show(page: &mut Page<'_>, value: u64) -> Result {
    writeln!(page, "{value}")?;
    Ok(())
}

fn show_policy(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    writeln!(page, "{}", device(dev)?.limits().policy.name())?;
    Ok(())
}

fn store_policy(dev: &NetDevice, text: &str) -> Result {
    let policy = Policy::parse(text.as_bytes()).ok_or(EINVAL)?;
    device(dev)?.change(|l| {
        l.policy = policy;
        Ok(())
    })
}

/// Takes every connection back to the host stack.
fn store_upload_all(dev: &NetDevice, text: &str) -> Result {
    if text != "1" {
        return Err(EINVAL);
    }
    upload::upload_all_soon(target(dev)?, UploadReason::Admin);
    Ok(())
}

/// Looks at every connection of the namespace, as the policy does.
fn store_offload_all(dev: &NetDevice, text: &str) -> Result {
    if text != "1" {
        return Err(EINVAL);
    }
    request::offload_namespace(dev, target(dev)?)
}

fn show_batch(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.batch().into())
}

fn store_batch(dev: &NetDevice, text: &str) -> Result {
    let most = number(text, 1, MAX_BATCH.into())?;
    device(dev)?.set_batch(most as u32);
    Ok(())
}

/// A limit that is a number: its `show` and `store` functions.
macro_rules! limit {
    ($show:ident, $store:ident, $field:ident: $type:ty, $lo:expr, $hi:expr) => {
        fn $show(dev: &NetDevice, page: &mut Page<'_>) -> Result {
            show(page, device(dev)?.limits().$field.into())
        }

        fn $store(dev: &NetDevice, text: &str) -> Result {
            let value = number(text, $lo, $hi)? as $type;
            device(dev)?.change(|l: &mut Limits| {
                l.$field = value;
                Ok(())
            })
        }
    };
}

limit!(show_min_bytes, store_min_bytes, min_bytes: u64, 0, u64::MAX);
limit!(show_min_segments, store_min_segments, min_segments: u32, 0, u32::MAX.into());
limit!(show_conn_limit, store_conn_limit, conn_limit: u32, 0, u32::MAX.into());
limit!(show_port_min, store_port_min, port_lo: u16, 0, u16::MAX.into());
limit!(show_port_max, store_port_max, port_hi: u16, 0, u16::MAX.into());
limit!(show_delay, store_delay, reoffload_delay_ms: u32, 0, 3_600_000);
limit!(show_delay_max, store_delay_max, reoffload_delay_max_ms: u32, 0, 3_600_000);
limit!(show_max_uploads, store_max_uploads, max_uploads: u32, 0, u32::MAX.into());
limit!(show_falls, store_falls, legacy_falls: u32, 0, u32::MAX.into());
limit!(show_falls_window, store_falls_window, legacy_window_ms: u32, 1, 3_600_000);
limit!(show_legacy_max, store_legacy_max, legacy_max_ms: u32, 0, 3_600_000);
limit!(show_window, store_window, upload_window_ms: u32, 0, 3_600_000);

fn show_prefix(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    match device(dev)?.limits().prefix {
        Some(prefix) => writeln!(page, "{prefix}")?,
        None => writeln!(page, "any")?,
    }
    Ok(())
}

/// `ADDRESS[/BITS]` of the peers to take connections to, or `any`.
fn store_prefix(dev: &NetDevice, text: &str) -> Result {
    let prefix = match text {
        "any" => None,
        _ => Some(Prefix::parse(text.as_bytes()).ok_or(EINVAL)?),
    };
    device(dev)?.change(|l| {
        l.prefix = prefix;
        Ok(())
    })
}

/// A bypass knob: its `show` and `store` functions.
macro_rules! bypass {
    ($show:ident, $store:ident, $filter:expr) => {
        fn $show(dev: &NetDevice, page: &mut Page<'_>) -> Result {
            show(page, device(dev)?.bypassed().has($filter).into())
        }

        fn $store(dev: &NetDevice, text: &str) -> Result {
            device(dev)?.set_bypass($filter, flag(text)?);
            Ok(())
        }
    };
}

bypass!(show_bypass_xfrm, store_bypass_xfrm, Filter::Xfrm);
bypass!(
    show_bypass_netfilter,
    store_bypass_netfilter,
    Filter::Netfilter
);
bypass!(
    show_bypass_conntrack,
    store_bypass_conntrack,
    Filter::Conntrack
);
bypass!(show_bypass_qdisc, store_bypass_qdisc, Filter::Qdisc);
bypass!(show_bypass_tc, store_bypass_tc, Filter::Tc);
bypass!(show_bypass_xdp, store_bypass_xdp, Filter::Xdp);
bypass!(
    show_bypass_cgroup_bpf,
    store_bypass_cgroup_bpf,
    Filter::CgroupBpf
);
bypass!(show_bypass_socket, store_bypass_socket, Filter::Socket);

fn show_short_cut(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    let on = device(dev)?.short_cut();
    writeln!(page, "{}", if on { "auto" } else { "off" })?;
    Ok(())
}

/// `off`, or `auto`: wherever nothing is in the way.
fn store_short_cut(dev: &NetDevice, text: &str) -> Result {
    let on = match text {
        "off" => false,
        "auto" => true,
        _ => return Err(EINVAL),
    };
    device(dev)?.set_short_cut(on);
    Ok(())
}

/// A field of the rule for user buffers: its `show` and `store` functions.
macro_rules! buffer_rule {
    ($show:ident, $store:ident, $field:ident) => {
        fn $show(dev: &NetDevice, page: &mut Page<'_>) -> Result {
            let rule = device(dev)?.user_buffer_rule();
            show(page, rule.$field.into())
        }

        fn $store(dev: &NetDevice, text: &str) -> Result {
            let device = device(dev)?;
            let mut rule = device.user_buffer_rule();
            rule.$field = number(text, 0, u32::MAX.into())? as u32;
            device.set_user_buffer_rule(rule);
            Ok(())
        }
    };
}

buffer_rule!(show_buffer_min, store_buffer_min, min);
buffer_rule!(show_buffer_frames, store_buffer_frames, frames);

fn show_request_ms(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.defer_rule().request_ms.into())
}

fn store_request_ms(dev: &NetDevice, text: &str) -> Result {
    let ms = number(text, 0, Rule::MAX_MS.into())?;
    device(dev)?.set_request_ms(ms as u32);
    Ok(())
}

fn show_high_water(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.defer_rule().high_water.into())
}

fn store_high_water(dev: &NetDevice, text: &str) -> Result {
    let bytes = number(text, 1, Rule::MAX_BYTES.into())?;
    device(dev)?.set_high_water(bytes as u32);
    Ok(())
}

fn read_rules(dev: &NetDevice, window: &mut Window<'_>) -> Result {
    device(dev)?.rules().read(window)
}

fn write_rules(dev: &NetDevice, chunk: &Chunk<'_>) -> Result {
    device(dev)?.rules().write(chunk)
}

fn read_rules_hits(dev: &NetDevice, window: &mut Window<'_>) -> Result {
    device(dev)?.rules().read_hits(window)
}

fn read_resources(dev: &NetDevice, window: &mut Window<'_>) -> Result {
    let resources = target(dev)?.resources().ok_or(EIO)?;
    write!(window, "{resources}")?;
    Ok(())
}

fn show_rules_error(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    device(dev)?.rules().show_error(page)
}

fn show_rules_test(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    device(dev)?.rules().show_answer(page)
}

/// What would become of the connection that is described.
fn store_rules_test(dev: &NetDevice, text: &str) -> Result {
    let rules = device(dev)?.rules();
    rules.dry_run(dev, target(dev)?, text)
}

fn show_connections(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, target(dev)?.connections().into())
}

fn show_offloads(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.stats().totals()[0])
}

fn show_uploads(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.stats().totals()[1])
}

fn show_refusals(dev: &NetDevice, page: &mut Page<'_>) -> Result {
    show(page, device(dev)?.stats().totals()[2])
}
