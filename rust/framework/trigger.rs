// SPDX-License-Identifier: GPL-2.0

//! Who wants a connection offloaded, and what was decided on it.

use kernel::prelude::*;

use crate::{
    logic::{
        eligibility::{
            may_change,
            may_differ, //
        },
        policy::Backoff,
        reason::Refusal,
        rules, //
    },
    net::{
        memcg,
        time, //
    }, //
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
    /// The connection had to leave a member of its bond: what one does not take, another one
    /// may, by which the bond sends later.
    pub(super) bonded: bool,
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
            bonded: false,
            since_ms: None,
            process: None,
            decided: Decided::Nobody,
            counts: true,
        }
    }

    /// Returns whether the connection may be taken later that was refused for `reason`.
    pub(super) fn may_change(&self, reason: Refusal) -> bool {
        may_change(reason) || (self.bonded && may_differ(reason))
    }

    /// As it is kept with the connection: what was refused before no longer counts.
    pub(super) fn keep(&self) -> Result<Origin> {
        let fresh = self.backoff == Backoff::new();
        Ok(match (fresh, self.explicit, self.since_ms, self.process) {
            (true, true, None, Some(process)) => Origin::Asked(process, self.decided),
            (true, false, since_ms, None) => Origin::Policy(since_ms, self.decided),
            _ => Origin::Other(KBox::new(*self, memcg::atomic())?),
        })
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

/// Who wanted a connection offloaded, as each one's record has it: what most of them do without
/// is in a box.
pub(super) enum Origin {
    /// The application, whose task has this name.
    Asked(rules::Name, Decided),
    /// The policy, which saw it established at this time, in ms, if it did.
    Policy(Option<u64>, Decided),
    /// Any other.
    Other(KBox<Trigger>),
}

impl Origin {
    /// What it was made of.
    pub(super) fn trigger(&self) -> Trigger {
        match self {
            Origin::Asked(process, decided) => Trigger {
                process: Some(*process),
                decided: *decided,
                ..Trigger::new(true)
            },
            Origin::Policy(since_ms, decided) => Trigger {
                since_ms: *since_ms,
                decided: *decided,
                ..Trigger::new(false)
            },
            Origin::Other(trigger) => **trigger,
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
