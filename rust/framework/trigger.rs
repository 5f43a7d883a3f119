// SPDX-License-Identifier: GPL-2.0

//! Who wants a connection offloaded, and what was decided on it.

use crate::{
    logic::{
        policy::Backoff,
        reason::Refusal,
        rules, //
    },
    net::time, //
};

/// Who wants the offload.
#[derive(Clone, Copy)]
pub(crate) struct Trigger {
    /// The application, by `setsockopt(TCP_ULP, "toe")`.
    pub(crate) explicit: bool,
    /// Uploads of this connection before.
    pub(crate) backoff: Backoff,
    /// The connection was refused before: a further refusal is not counted, unless it is
    /// the last one.
    pub(crate) retry: bool,
    /// When it was established, in ms, if it was seen.
    pub(crate) since_ms: Option<u64>,
    /// Name of the task that asks, if one does.
    pub(crate) process: Option<rules::Name>,
    /// The rule that decided the last time.
    pub(super) decided: Decided,
    /// Rules count the decision: it is no dry run.
    pub(super) counts: bool,
}

impl Trigger {
    /// For a connection that was never decided on.
    pub(crate) const fn new(explicit: bool) -> Self {
        Trigger {
            explicit,
            backoff: Backoff::new(),
            retry: false,
            since_ms: None,
            process: None,
            decided: Decided::Nobody,
            counts: true,
        }
    }

    /// Time since the connection was established, in ms.
    pub(super) fn age_ms(&self, now_ms: u64) -> Option<u64> {
        Some(now_ms.saturating_sub(self.since_ms?))
    }

    /// The present time in ms; 0 if no decision depends on it, for reading the clock costs
    /// something.
    pub(super) fn now_ms(&self) -> u64 {
        match self.since_ms.is_some() || self.backoff.until_ms() != 0 {
            true => time::now_ms(),
            false => 0,
        }
    }
}

/// Who decided on a connection the last time.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Decided {
    /// Nobody yet, or not the rules.
    #[default]
    Nobody,
    /// The rule with this index, or none of them.
    By(Option<u16>),
}

/// What would become of a connection.
pub(super) struct Outcome {
    /// The refusal; `None`: it would be offloaded.
    pub(super) result: Option<Refusal>,
    /// The rule that it meets.
    pub(super) rule: Option<u16>,
}
