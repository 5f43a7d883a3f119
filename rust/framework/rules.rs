// SPDX-License-Identifier: GPL-2.0

//! The rules of a device: loading, the decision, hits, and the dry run.
//!
//! The language and its evaluation are `logic/rules.rs`. A loaded text is a
//! [`RuleSet`], which never changes: decisions read it under RCU, and a new text replaces
//! it as a whole. [`Rules::loader`] is a mutex of the files in sysfs; it guards the text
//! written so far, and the result of the last one. It is taken in process context with no
//! other lock of ours; under it a cgroup's path is walked.

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

use kernel::{
    fmt::Write,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

use super::{
    decision,
    target::OffloadTarget,
    trigger::{
        Decided,
        Outcome,
        Trigger, //
    }, //
};
use crate::{
    logic::{
        policy::{
            Backoff,
            Candidate, //
        },
        reason::Refusal,
        rules::{
            self,
            describe::describe,
            parser::{
                self,
                Parsed, //
            },
            MatchKey,
            Needs,
            Node,
            Rule,
            Verdict,
            MAX_NODES,
            MAX_RULES,
            MAX_TEXT, //
        },
        tuple::Tuple, //
    },
    net::{
        fmt::Line,
        net_device::NetDevice,
        proto,
        sock::LockedSock,
        sock_meta,
        sync::rcu::{
            RcuBox,
            RcuSlot,
            ReadGuard, //
        },
        sysfs::{
            Chunk,
            Page,
            Window, //
        },
        time, //
    }, //
};

/// What a file says while no rules are loaded, and what unloads them.
const NONE: &str = "none";

/// A text and what it was parsed into.
struct RuleSet {
    text: KVVec<u8>,
    nodes: KVVec<Node>,
    rules: KVVec<Rule>,
    /// Connections, by the rule that decided on them.
    hits: KVVec<AtomicU64>,
    /// And those that no rule did.
    missed: AtomicU64,
    needs: Needs,
}

impl RuleSet {
    /// Process context; sleeps. An error says where, or what else.
    fn parse(text: KVVec<u8>, said: &mut Line) -> Result<Self> {
        let Ok(words) = core::str::from_utf8(&text) else {
            said.set(format_args!("the text is not UTF-8"));
            return Err(EINVAL);
        };
        // The most for their length are `,::/1` as an address, and `any=>deny`.
        let most = text.len() * 2;
        let mut nodes = KVVec::from_elem(Node::EMPTY, most.min(MAX_NODES), GFP_KERNEL_ACCOUNT)?;
        let mut rules = KVVec::from_elem(Rule::default(), most.min(MAX_RULES), GFP_KERNEL_ACCOUNT)?;
        let parsed: Parsed =
            match parser::parse(words, &mut nodes, &mut rules, &mut sock_meta::find_cgroup) {
                Ok(parsed) => parsed,
                Err(error) => {
                    said.set(format_args!("{error}"));
                    return Err(EINVAL);
                }
            };
        let mut hits = KVVec::with_capacity(parsed.rules, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..parsed.rules {
            hits.push(AtomicU64::new(0), GFP_KERNEL_ACCOUNT)?;
        }
        let set = RuleSet {
            nodes: copy(&nodes, parsed.nodes)?,
            rules: copy(&rules, parsed.rules)?,
            text,
            hits,
            missed: AtomicU64::new(0),
            needs: parsed.needs,
        };
        if let Some(min) = parsed.user_buffer {
            proto::allow_buffers(min as usize);
        }
        Ok(set)
    }

    fn rule(&self, index: Option<u16>) -> Option<&Rule> {
        self.rules.get(usize::from(index?))
    }

    /// The text of a line.
    fn line(&self, number: u32) -> &str {
        let text = core::str::from_utf8(&self.text).unwrap_or_default();
        let line = text.lines().nth((number as usize).wrapping_sub(1));
        line.unwrap_or_default().trim()
    }

    fn count(&self, rule: Option<u16>) {
        let counter = match rule {
            Some(index) => self.hits.get(usize::from(index)),
            None => Some(&self.missed),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The first `len` elements, in memory of their own.
fn copy<T: Clone>(from: &[T], len: usize) -> Result<KVVec<T>> {
    let mut to = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
    to.extend_from_slice(from.get(..len).ok_or(EINVAL)?, GFP_KERNEL_ACCOUNT)?;
    Ok(to)
}

/// What the files in sysfs remember.
struct Loader {
    /// The text that is being written, and the open file by which it comes.
    pending: KVVec<u8>,
    file: usize,
    /// Length of the text that this file has loaded; blanks may follow it.
    loaded: u64,
    /// What is wrong with the last text, if anything.
    error: Line,
    /// The answer of the last dry run.
    answer: Line,
}

/// See the module's documentation.
#[pin_data]
pub(crate) struct Rules {
    #[pin]
    loader: Mutex<Loader>,
    set: RcuSlot<RuleSet>,
}

impl Rules {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Rules {
            loader <- new_mutex!(Loader {
                pending: KVVec::new(),
                file: 0,
                loaded: 0,
                error: Line::EMPTY,
                answer: Line::EMPTY,
            }),
            set: RcuSlot::new(),
        })
    }

    // --- the files; process context

    /// Takes a piece of a text. The text is complete, and loaded, with a line `end`, or
    /// with a piece of less than a page. `EINVAL`, and the old rules stay, if it is
    /// wrong.
    pub(crate) fn write(&self, chunk: &Chunk<'_>) -> Result {
        let mut loader = self.loader.lock();
        if chunk.offset == 0 {
            loader.pending.clear();
            loader.file = chunk.file;
            loader.loaded = 0;
        } else if chunk.file == loader.file && chunk.offset == loader.loaded {
            loader.loaded += chunk.bytes.len() as u64;
            if chunk.bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(());
            }
            loader
                .error
                .set(format_args!("text after the page with `end`"));
            return Err(EINVAL);
        } else if chunk.file != loader.file || chunk.offset != loader.pending.len() as u64 {
            loader.error.set(format_args!(
                "the text has to be written from its beginning, in one go"
            ));
            return Err(EINVAL);
        }
        if loader.pending.len() + chunk.bytes.len() > MAX_TEXT {
            loader.pending = KVVec::new();
            loader
                .error
                .set(format_args!("the text is longer than {MAX_TEXT} bytes"));
            return Err(EINVAL);
        }
        loader
            .pending
            .extend_from_slice(chunk.bytes, GFP_KERNEL_ACCOUNT)?;
        if chunk.full && !parser::is_complete(&loader.pending) {
            let len = loader.pending.len();
            loader
                .error
                .set(format_args!("{len} bytes of a text without `end` so far"));
            return Ok(());
        }
        loader.loaded = loader.pending.len() as u64;
        let text = core::mem::replace(&mut loader.pending, KVVec::new());
        loader.error = Line::EMPTY;
        if text.trim_ascii() == NONE.as_bytes() {
            self.set.replace(None);
            return Ok(());
        }
        let set = RuleSet::parse(text, &mut loader.error)?;
        self.set.replace(Some(RcuBox::new(set)?));
        Ok(())
    }

    /// The text that is loaded.
    pub(crate) fn read(&self, window: &mut Window<'_>) -> Result {
        let guard = ReadGuard::new();
        match self.set.get(&guard) {
            Some(set) => window.write_bytes(&set.text),
            None => writeln!(window, "{NONE}")?,
        }
        Ok(())
    }

    /// One line per rule: hits, line, text.
    pub(crate) fn read_hits(&self, window: &mut Window<'_>) -> Result {
        let guard = ReadGuard::new();
        let Some(set) = self.set.get(&guard) else {
            return Ok(());
        };
        let mut lines = core::str::from_utf8(&set.text).unwrap_or_default().lines();
        let mut next = 1;
        for (rule, hits) in set.rules.iter().zip(&set.hits) {
            let hits = hits.load(Ordering::Relaxed);
            let text = lines.nth(rule.line.saturating_sub(next) as usize);
            next = rule.line + 1;
            // Of a fixed width: a read in pieces fits together.
            let text = text.unwrap_or_default().trim();
            writeln!(window, "{hits:>20} {:>5} {text}", rule.line)?;
        }
        let missed = set.missed.load(Ordering::Relaxed);
        writeln!(window, "{missed:>20}     - none of them")?;
        Ok(())
    }

    /// What is wrong with the text that was last written.
    pub(crate) fn show_error(&self, page: &mut Page<'_>) -> Result {
        let loader = self.loader.lock();
        writeln!(page, "{}", loader.error.or(NONE))?;
        Ok(())
    }

    /// What the last dry run found.
    pub(crate) fn show_answer(&self, page: &mut Page<'_>) -> Result {
        let loader = self.loader.lock();
        writeln!(page, "{}", loader.answer.or(NONE))?;
        Ok(())
    }

    /// A dry run for the connection that `text` describes, or, after the word `socket`,
    /// for one that exists.
    pub(crate) fn dry_run(
        &self,
        dev: &NetDevice,
        target: &dyn OffloadTarget,
        text: &str,
    ) -> Result {
        let mut loader = self.loader.lock();
        let base = MatchKey {
            interface: interface(dev),
            ..MatchKey::default()
        };
        // As many characters, so that columns stay.
        let (live, text) = match text.strip_prefix("socket ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let key = match describe(text, base, &mut sock_meta::find_cgroup) {
            Ok(key) => key,
            Err(mut error) => {
                if live && error.line == 1 {
                    error.column += "socket ".len() as u32;
                }
                loader.answer.set(format_args!("{error}"));
                return Err(EINVAL);
            }
        };
        let guard = ReadGuard::new();
        if !live {
            let outcome = self.would(&guard, target, &key);
            self.explain(&guard, outcome, &mut loader.answer);
            return Ok(());
        }
        drop(guard);
        let Some(sk) = sock_meta::find_socket(dev, &key.tuple) else {
            loader
                .answer
                .set(format_args!("there is no such connection"));
            return Err(ENOENT);
        };
        let trigger = Trigger::new(key.request);
        let outcome = sk.with_lock(|sk| Some(decision::would_offload(sk, &trigger)), |_| None);
        drop(sk);
        let Some(outcome) = outcome else {
            loader
                .answer
                .set(format_args!("another task uses the connection: try again"));
            return Err(EBUSY);
        };
        self.explain(&ReadGuard::new(), outcome, &mut loader.answer);
        Ok(())
    }

    /// What policy, limits and rules say of a connection that is described.
    fn would(&self, guard: &ReadGuard<'_>, target: &dyn OffloadTarget, f: &MatchKey) -> Outcome {
        let mut limits = target.device().limits();
        let mut verdict = None;
        let mut decide = || {
            limits.permit(f.request)?;
            if let Some(set) = self.set.get(guard) {
                let found = rules::evaluate(&set.nodes, f);
                verdict = Some(found);
                judge(set, found)?.apply(&mut limits);
            }
            limits.decide(&Candidate {
                tuple: f.tuple,
                explicit: f.request,
                bytes: f.bytes,
                segments: f.segments,
                age_ms: f.age_ms,
                device_conns: target.connections(),
                now_ms: time::now_ms(),
                backoff: Backoff::new(),
            })
        };
        let result = decide();
        Outcome {
            result: result.err(),
            rule: verdict.and_then(|v| v.rule),
        }
    }

    fn explain(&self, guard: &ReadGuard<'_>, outcome: Outcome, line: &mut Line) {
        let word = outcome.result.map_or("offload", |_| "refuse: ");
        let reason = outcome.result.map_or("", Refusal::name);
        let set = self.set.get(guard);
        match set.and_then(|set| Some((set, set.rule(outcome.rule)?))) {
            Some((set, rule)) => line.set(format_args!(
                "{word}{reason}; rule in line {}: {}",
                rule.line,
                set.line(rule.line)
            )),
            None if set.is_some() => line.set(format_args!("{word}{reason}; no rule is met")),
            None => line.set(format_args!("{word}{reason}; there are no rules")),
        }
    }

    // --- the decision

    /// Returns whether there are none. Any context.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// What the rules say of the connection of `sk`, whose route leaves through `dev`:
    /// the rule that is met, or why it is not offloaded, and keeps in `trigger` who decided.
    /// `None`: there are no rules. Any context under the socket lock.
    pub(super) fn decide(
        &self,
        sk: LockedSock<'_>,
        dev: &NetDevice,
        tuple: &Tuple,
        trigger: &mut Trigger,
    ) -> Result<Option<Rule>, Refusal> {
        let before = core::mem::take(&mut trigger.decided);
        // As most devices are: seen without a section.
        if self.is_empty() {
            return Ok(None);
        }
        let guard = ReadGuard::new();
        let Some(set) = self.set.get(&guard) else {
            return Ok(None);
        };
        let cheap = sk.sock_meta();
        let key = MatchKey {
            tuple: *tuple,
            direction: Some(cheap.direction),
            request: trigger.explicit,
            interface: interface(dev),
            mark: cheap.mark,
            uid: cheap.uid,
            process: trigger.process.filter(|_| set.needs.process),
            cgroup: if set.needs.cgroup { sk.cgroup() } else { None },
            age_ms: trigger.age_ms(trigger.now_ms()),
            bytes: sk.bytes_moved(),
            segments: sk.data_segments(),
        };
        let verdict = rules::evaluate(&set.nodes, &key);
        trigger.decided = Decided::By(verdict.rule);
        // One that is tried again is counted once, if the rule is the same.
        if trigger.counts && (!trigger.retry || trigger.decided != before) {
            set.count(verdict.rule);
        }
        judge(set, verdict).map(Some)
    }
}

/// The rule, or the refusal.
fn judge(set: &RuleSet, verdict: Verdict) -> Result<Rule, Refusal> {
    match set.rule(verdict.rule) {
        Some(rule) if rule.offload => Ok(*rule),
        _ if verdict.may_change => Err(Refusal::RuleWait),
        Some(_) => Err(Refusal::Rule),
        None => Err(Refusal::NoRule),
    }
}

fn interface(dev: &NetDevice) -> rules::Name {
    rules::name(dev.name().as_bytes()).unwrap_or_default()
}
