// SPDX-License-Identifier: GPL-2.0

//! TCP offload framework and emulated TOE NIC.

use kernel::prelude::*;

use framework::{
    debugfs,
    deferred,
    events,
    filter_scan,
    hooks::{
        SocketHooks,
        ULP_NAME, //
    },
    host,
    upload, //
};
use net::{
    calls,
    debugfs::RootGuard,
    netevent,
    notifier::NetdevRegistration,
    proto,
    record,
    skb,
    slab,
    sync::worker,
    tracepoint,
    ulp, //
};

mod bindings;
mod dct;
#[cfg(toe_example)]
mod example;
mod framework;
mod logic;
mod net;
mod netdev;

// No aliases: with one for its link kind, any user with a user namespace could load it.
module! {
    type: Toe,
    name: "toe",
    authors: ["The toe authors"],
    description: "TCP offload framework and emulated TOE NIC",
    license: "GPL",
}

/// Fields are dropped in this order: first nothing new is offloaded, then the
/// devices go and give their connections back, then no task is left in our code.
#[pin_data]
struct Toe {
    _probe: Option<tracepoint::Registration<SocketHooks>>,
    _ulp: ulp::Registration<SocketHooks>,
    _filter_scan: worker::Published<worker::Worker<filter_scan::FilterScan>>,
    #[pin]
    nic: netdev::Registration<netdev::Toe>,
    #[cfg(toe_example)]
    #[pin]
    example: netdev::Registration<example::Example>,
    #[pin]
    _devices: NetdevRegistration<events::Devices>,
    _files: RootGuard,
    #[pin]
    _neighbours: netevent::NetEventRegistration<events::Neighbours>,
    _deferred: worker::Published<worker::Worker<deferred::DeferredSockets>>,
    _recall: upload::Recall,
    _neutralise: proto::Neutralise,
    _quiet: calls::Quiesce,
    _proto: proto::Registration<SocketHooks>,
    _spares: skb::Spares,
    // Nothing is left in them when they go: there was a grace period.
    _entries: slab::Cache<dct::Entries>,
    _records: slab::Cache<record::Records>,
}

impl kernel::InPlaceModule for Toe {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Initialised in this order, so that what may be called is there first.
        try_pin_init!(Toe {
            _records: slab::Cache::of::<host::Connection>(c"toe_record")?,
            _entries: slab::Cache::of::<dct::Entry<netdev::Port<netdev::Toe>>>(c"toe_entry")?,
            _spares: skb::Spares,
            _proto: proto::Registration::new(ULP_NAME)?,
            _quiet: calls::Quiesce,
            _neutralise: proto::Neutralise,
            _recall: upload::Recall,
            _deferred: deferred::start()?,
            _filter_scan: filter_scan::start()?,
            _neighbours <- netevent::NetEventRegistration::new(events::Neighbours),
            _files: debugfs::create(),
            _devices <- NetdevRegistration::new(events::Devices),
            nic <- netdev::Registration::new(),
            #[cfg(toe_example)]
            example <- netdev::Registration::new(),
            _ulp: ulp::Registration::new(ULP_NAME, module)?,
            _probe: match tracepoint::Registration::new() {
                Ok(probe) => Some(probe),
                Err(_) => {
                    pr_notice!("no tracepoints in this kernel: policy auto offloads nothing\n");
                    None
                }
            },
        })
    }
}
