// SPDX-License-Identifier: GPL-2.0
//! `Documentation/networking/toe-parity.rst` against the sources of the kernels and
//! of the module: a field, counter or other effect of the host's paths that the table
//! does not know may be one that the module forgot.
//!
//! What a function changes is found by pattern, without a parser for C. That is enough
//! for what is written the way the kernel writes it: assignments through pointers,
//! fields whose address is given away, counters, tracepoints and the like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths;

/// The table, below the repository's root.
const TABLE: &str = "Documentation/networking/toe-parity.rst";

/// The functions that the table is about, by file: those that an established
/// connection's frames, calls and timers go through, and what changes its state for
/// them.
const FUNCTIONS: &[(&str, &str)] = &[
    (
        "net/ipv4/tcp_ipv4.c",
        "tcp_v4_rcv tcp_v4_do_rcv tcp_v4_fill_cb tcp_add_backlog inet_sk_rx_dst_set",
    ),
    (
        "net/ipv6/tcp_ipv6.c",
        "tcp_v6_rcv tcp_v6_do_rcv tcp_v6_fill_cb inet6_sk_rx_dst_set",
    ),
    (
        "net/ipv4/tcp_input.c",
        "tcp_rcv_established tcp_ack tcp_clean_rtx_queue tcp_tso_acked tcp_ack_update_window \
         tcp_snd_una_update tcp_snd_sne_update tcp_store_ts_recent __tcp_replace_ts_recent \
         tcp_replace_ts_recent tcp_parse_aligned_timestamp tcp_ack_update_rtt \
         tcp_update_rtt_min tcp_rtt_estimator tcp_set_rto tcp_rack_advance \
         tcp_rack_update_reo_wnd tcp_count_delivered tcp_newly_delivered \
         tcp_rate_skb_delivered tcp_rate_gen tcp_in_ack_event tcp_process_tlp_ack \
         tcp_ack_tstamp tcp_mtup_probe_success tcp_ack_probe tcp_cong_control \
         tcp_cong_avoid tcp_update_pacing_rate tcp_set_xmit_timer tcp_rearm_rto \
         tcp_data_queue tcp_queue_rcv tcp_try_coalesce tcp_rcv_nxt_update \
         tcp_rcv_sne_update tcp_try_rmem_schedule tcp_event_data_recv tcp_measure_rcv_mss \
         tcp_rcv_rtt_measure tcp_rcv_rtt_measure_ts tcp_rcv_rtt_update tcp_incr_quickack \
         tcp_enter_quickack_mode tcp_save_lrcv_flowlabel tcp_data_ecn_check \
         tcp_grow_window tcp_data_ready __tcp_ack_snd_check tcp_data_snd_check \
         __tcp_check_space tcp_new_space tcp_should_expand_sndbuf tcp_sndbuf_expand",
    ),
    (
        "net/ipv4/tcp_output.c",
        "tcp_write_xmit __tcp_transmit_skb tcp_event_new_data_sent tcp_event_data_sent \
         tcp_event_ack_sent tcp_update_skb_after_send tcp_rate_skb_sent tcp_select_window \
         __tcp_select_window tcp_ecn_send tcp_options_write tcp_small_queue_check \
         tcp_wfree tcp_tso_should_defer tcp_tso_segs tcp_grow_skb tso_fragment \
         tcp_set_skb_tso_segs tcp_trim_head tcp_cwnd_validate \
         tcp_cwnd_application_limited tcp_cwnd_restart tcp_chrono_stop tcp_mtu_probe \
         tcp_mtu_check_reprobe tcp_sync_mss tcp_current_mss tcp_schedule_loss_probe \
         tcp_send_loss_probe tcp_send_delayed_ack __tcp_send_ack tcp_release_cb \
         tcp_minshall_update tcp_init_nondata_skb tcp_write_wakeup tcp_xmit_probe_skb \
         tcp_send_probe0",
    ),
    (
        "net/ipv4/tcp.c",
        "tcp_sendmsg_locked tcp_push tcp_skb_entail tcp_stream_alloc_skb \
         tcp_xmit_size_goal tcp_mark_push tcp_mark_urg tcp_wmem_schedule \
         tcp_remove_empty_skb tcp_tx_timestamp tcp_rate_check_app_limited \
         __tcp_cleanup_rbuf tcp_read_done tcp_recvmsg tcp_recvmsg_locked tcp_inbound_hash \
         tcp_inbound_md5_hash",
    ),
    (
        "net/ipv4/tcp_timer.c",
        "tcp_write_timer tcp_write_timer_handler tcp_retransmit_timer tcp_update_rto_stats \
         tcp_probe_timer tcp_delack_timer tcp_delack_timer_handler tcp_keepalive_timer \
         tcp_compressed_ack_kick tcp_write_err",
    ),
    (
        "include/net/tcp.h",
        "tcp_snd_cwnd_set tcp_mstamp_refresh_inline tcp_update_wl tcp_update_max_rcv_wnd_seq \
         tcp_dec_quickack_mode tcp_chrono_set tcp_chrono_start tcp_add_write_queue_tail \
         tcp_add_receive_queue tcp_cleanup_skb tcp_segs_in tcp_fast_path_on \
         __tcp_fast_path_on tcp_check_space tcp_check_probe_timer \
         tcp_slow_start_after_idle_check __tcp_adjust_rcv_ssthresh tcp_reset_xmit_timer \
         tcp_bound_rto tcp_rtx_queue_unlink_and_free tcp_rtx_queue_unlink \
         tcp_unlink_write_queue tcp_wmem_free_skb tcp_highest_sack_replace tcp_ca_event \
         tcp_skb_pcount_set tcp_filter",
    ),
    (
        "include/net/tcp_ecn.h",
        "tcp_ecn_received_counters tcp_ecn_accept_cwr tcp_accecn_opt_demand_min",
    ),
    (
        "include/net/inet_connection_sock.h",
        "inet_csk_schedule_ack inet_csk_clear_xmit_timer inet_csk_inc_pingpong_cnt \
         inet_csk_exit_pingpong_mode",
    ),
    (
        "include/net/sock.h",
        "skb_set_owner_r skb_set_hash_from_sk sk_dst_confirm sk_wmem_queued_add \
         sk_mem_charge sk_mem_uncharge sk_incoming_cpu_update sock_rps_save_rxhash \
         sk_drops_skbadd",
    ),
    ("include/net/busy_poll.h", "__sk_mark_napi_id_once"),
    (
        "net/core/stream.c",
        "sk_stream_write_space sk_stream_wait_memory",
    ),
    ("net/core/filter.c", "sk_filter_trim_cap"),
    ("net/ipv4/ip_input.c", "ip_rcv_core ip_local_deliver_finish"),
    ("net/ipv6/ip6_input.c", "ip6_rcv_core"),
    ("net/ipv4/ip_output.c", "__ip_queue_xmit __ip_local_out"),
    ("net/ipv6/inet6_connection_sock.c", "inet6_csk_xmit"),
    ("net/ipv6/ip6_output.c", "ip6_xmit"),
];

/// What a pointer with one of these names points to is gone when the function returns,
/// or is not the connection's.
const PASSING: &[&str] = &[
    "rs",
    "sack",
    "opts",
    "key",
    "sample",
    "fl6",
    "pfrag",
    "tsq",
    "sp",
    "rt",
    "inet_opt",
    "wq",
    "uarg_to_msgzc",
    "req",
    "net",
    "idev",
    "fl4",
    "msg",
];

/// Names of packet buffers.
const SKBS: &[&str] = &[
    "skb", "skb1", "oskb", "nskb", "buff", "tail", "to", "from", "next_skb", "opt_skb", "prev",
    "head",
];

/// What only looks at the field whose address it gets.
const READERS: &[&str] = &[
    "atomic_read",
    "refcount_read",
    "test_bit",
    "READ_ONCE",
    "smp_load_acquire",
    "skb_peek",
    "skb_peek_tail",
    "skb_queue_empty",
    "skb_queue_len",
    "RB_EMPTY_ROOT",
    "list_empty",
    "hrtimer_is_queued",
    "net_dbg_ratelimited",
    "tcp_paws_check",
    "rcu_access_pointer",
    "sizeof",
];

/// What changes the field that is its first argument.
const WRITERS: &[&str] = &["WRITE_ONCE", "rcu_assign_pointer", "RCU_INIT_POINTER"];

/// Words that stand for an effect that is no assignment: counters, congestion control's
/// events, timers, tracepoints, programs, reasons to be busy.
const EFFECTS: &[&str] = &[
    "LINUX_MIB_",
    "TCP_MIB_",
    "IPSTATS_MIB_",
    "CA_EVENT_",
    "ICSK_TIME_",
    "TCP_CHRONO_",
    "trace_",
    "bpf_skops_",
    "tcp_bpf_",
    "BPF_SOCK_OPS_",
    "BPF_CGROUP_RUN_",
    "security_",
];

/// The same, as whole words: wake-ups and flags of the socket.
const WORDS: &[&str] = &[
    "sk_data_ready",
    "sk_write_space",
    "SOCK_NOSPACE",
    "SOCKWQ_ASYNC_NOSPACE",
    "TSQ_THROTTLED",
    "TCP_ACK_DEFERRED",
    "TCP_DELACK_TIMER_DEFERRED",
    "TCP_WRITE_TIMER_DEFERRED",
    "ICSK_ACK_NOMEM",
    "ICSK_ACK_NOW",
    "sk_stream_moderate_sndbuf",
    "tcp_enter_memory_pressure",
    "sk_forced_mem_schedule",
    "tcp_ca_event",
    "tcp_set_ca_state",
    "sk_flush_backlog",
    "psp_sk_rx_policy_check",
    "xfrm4_policy_check",
    "xfrm6_policy_check",
    "tcp_inbound_hash",
    "nf_reset_ct",
    "skb_set_dst_pending_confirm",
];

/// Functions that change a field by another name than their own.
const SETTERS: &[(&str, &str)] = &[
    ("tcp_snd_cwnd_set", "snd_cwnd"),
    ("sk_forward_alloc_add", "sk_forward_alloc"),
    ("skb_set_delivery_time", "skb->tstamp"),
    ("ip_select_ident_segs", "inet_id"),
];

/// What the module restates because no header for modules has it: file, name, value.
const RESTATED: &[(&str, &str, &str)] = &[("kernel/sched/sched.h", "WF_SYNC", "0x10")];

/// What `source` has otherwise.
fn restated(source: &Path, shown: &str) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (file, name, value) in RESTATED {
        let text = read(&source.join(file))?;
        let same = text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("#define")
                && words.next() == Some(name)
                && words.next() == Some(value)
        });
        if !same {
            problems.push(format!(
                "{shown}: {name} of {file} is not {value}, as rust/helpers/ has it"
            ));
        }
    }
    Ok(problems)
}

/// Checks the table against the kernel whose source is `source`, and the others that
/// are in the cache.
pub fn check(source: &Path, files: &[String]) -> Result<Vec<String>> {
    let mut sources = BTreeSet::from([source.to_owned()]);
    if let Ok(entries) = fs::read_dir(paths::cache()?.join("src")) {
        sources.extend(entries.filter_map(|entry| {
            let dir = entry.ok()?.path().canonicalize().ok()?;
            // Not one that is being unpacked.
            let whole = dir.extension().is_none_or(|end| end != "part");
            (whole && dir.join("net/ipv4/tcp_input.c").is_file()).then_some(dir)
        }));
    }
    let repo = paths::repo();
    let table = Table::parse(&read(&repo.join(TABLE))?);
    anyhow::ensure!(
        table.rows.len() > 50,
        "{TABLE}: only {} rows were found",
        table.rows.len()
    );

    let mut problems = BTreeSet::new();
    let mut words = BTreeSet::new();
    for source in &sources {
        let shown = source.file_name().unwrap_or_default().to_string_lossy();
        problems.extend(restated(source, &shown)?);
        for (file, names) in FUNCTIONS {
            let code = code_of(&read(&source.join(file))?);
            words.extend(identifiers(&code).map(str::to_owned));
            for name in names.split_whitespace() {
                let Some(body) = function(&code, name) else {
                    problems.insert(format!(
                        "{shown}: {file} has no function {name}(), which the table is about"
                    ));
                    continue;
                };
                for effect in effects(body) {
                    if !table.knows(&effect) {
                        problems.insert(format!(
                            "{shown}: {file}: {name}() changes {effect}, which {TABLE} does not know"
                        ));
                    }
                }
            }
        }
    }
    for name in files.iter().filter(|name| name.starts_with("rust/")) {
        if let Ok(text) = fs::read_to_string(repo.join(name)) {
            words.extend(identifiers(&text).map(str::to_owned));
        }
    }
    problems.extend(table.stale(&words));
    Ok(problems.into_iter().collect())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The rows of the document's list-tables.
#[derive(Default)]
struct Table {
    /// By name, the line that it is in.
    rows: BTreeMap<String, usize>,
    /// Functions that the rows refer to, and where.
    functions: Vec<(String, usize)>,
}

impl Table {
    /// The first cell of a row begins with `* - `: the names in it are in literals, and
    /// so are the functions in all cells, with parentheses.
    fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let mut names = false;
        for (at, line) in text.lines().enumerate() {
            let cell = line.trim_start();
            if cell.starts_with("* - ") {
                names = true;
            } else if cell.starts_with("- ") || cell.is_empty() || !line.starts_with(' ') {
                names = false;
            }
            for literal in line.split("``").skip(1).step_by(2) {
                if names {
                    table.rows.insert(literal.to_owned(), at + 1);
                }
                if let Some(name) = literal.strip_suffix("()") {
                    table.functions.push((name.to_owned(), at + 1));
                }
            }
        }
        table
    }

    /// `a.b` is known if `a` is.
    fn knows(&self, effect: &str) -> bool {
        let mut name = effect;
        loop {
            if self.rows.contains_key(name) {
                return true;
            }
            match name.rfind('.') {
                Some(dot) => name = &name[..dot],
                None => return false,
            }
        }
    }

    /// Names and functions that neither the kernels' files nor the module have.
    fn stale(&self, words: &BTreeSet<String>) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, line) in &self.rows {
            // The last part is enough: `TCP_SKB_CB(skb)->seq`.
            let last = name.rsplit(['.', '>']).next().unwrap_or(name);
            let last = last.strip_suffix("()").unwrap_or(last);
            if !words.contains(last) {
                problems.push(format!(
                    "{TABLE}:{line}: there is no {name} in the files of the kernel"
                ));
            }
        }
        for (name, line) in &self.functions {
            let last = name.rsplit("::").next().unwrap_or(name);
            if !words.contains(last) {
                problems.push(format!(
                    "{TABLE}:{line}: neither kernel nor module has a {name}()"
                ));
            }
        }
        problems
    }
}

/// The text with blanks for comments, strings and characters.
fn code_of(text: &str) -> String {
    #[derive(PartialEq)]
    enum In {
        Code,
        Line,
        Block,
        Quote(char),
    }
    let mut state = In::Code;
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (&state, c, next) {
            (In::Code, '/', Some('/')) => state = In::Line,
            (In::Code, '/', Some('*')) => {
                state = In::Block;
                chars.next();
            }
            (In::Code, '"' | '\'', _) => state = In::Quote(c),
            (In::Code, ..) => {
                code.push(c);
                continue;
            }
            (In::Line, '\n', _) => state = In::Code,
            (In::Block, '*', Some('/')) => {
                state = In::Code;
                chars.next();
            }
            (In::Quote(_), '\\', _) => {
                chars.next();
            }
            (In::Quote(quote), ..) if c == *quote => state = In::Code,
            _ => {}
        }
        code.push(if c == '\n' { c } else { ' ' });
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !is_word(c))
        .filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The body of a function: what is between its name at the beginning of a definition
/// and the first `}` in the first column.
fn function<'c>(code: &'c str, name: &str) -> Option<&'c str> {
    let mut from = 0;
    while let Some(at) = code[from..].find(name) {
        let start = from + at;
        from = start + name.len();
        let line = &code[code[..start].rfind('\n').map_or(0, |at| at + 1)..start];
        // A definition is not indented, and a call is.
        if line.ends_with(is_word) || line.starts_with(char::is_whitespace) || line.contains('(') {
            continue;
        }
        let Some(rest) = code[from..].trim_start().strip_prefix('(') else {
            continue;
        };
        let after = after_closing(rest)?;
        if !after.trim_start().starts_with('{') {
            continue;
        }
        return Some(&after[..after.find("\n}").unwrap_or(after.len())]);
    }
    None
}

/// What follows the parenthesis that closes one that is open.
fn after_closing(text: &str) -> Option<&str> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[at + 1..]);
        }
    }
    None
}

/// What a function's body changes, named as in the table.
fn effects(body: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in identifiers(body) {
        let effect = EFFECTS
            .iter()
            .any(|prefix| word.len() > prefix.len() && word.starts_with(prefix));
        if effect || WORDS.contains(&word) {
            found.insert(word.to_owned());
        }
        if let Some((_, field)) = SETTERS.iter().find(|(setter, _)| *setter == word) {
            found.insert((*field).to_owned());
        }
    }
    // Functions whose arguments we are in, the innermost last.
    let mut calls: Vec<&str> = Vec::new();
    let mut last = "";
    let mut at = 0;
    while let Some(c) = body[at..].chars().next() {
        if !is_word(c) {
            match c {
                '(' => calls.push(std::mem::take(&mut last)),
                ')' => drop(calls.pop()),
                _ => {}
            }
            if !c.is_whitespace() {
                last = "";
            }
            at += c.len_utf8();
            continue;
        }
        let word = leading_word(&body[at..]);
        if let Some((name, rest)) = lvalue(&body[at..]) {
            let before = body[..at].trim_end();
            if is_changed(before, rest, calls.last().copied().unwrap_or_default()) {
                found.extend(named(&name));
            }
        }
        last = word;
        at += word.len();
    }
    found
}

fn leading_word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// `base->a.b[i]->c`, where the base may be a call: base and fields, and what follows.
/// `None` if there is no `->` in it.
fn lvalue(text: &str) -> Option<(Vec<&str>, &str)> {
    let base = leading_word(text);
    let mut rest = &text[base.len()..];
    if let Some(arguments) = rest.strip_prefix('(') {
        rest = after_closing(arguments)?;
    }
    let mut parts = vec![base];
    let mut through = false;
    loop {
        if let Some(field) = rest.strip_prefix("->") {
            through = true;
            parts.push(leading_word(field));
            rest = &field[leading_word(field).len()..];
        } else if let Some(field) = rest.strip_prefix('.').filter(|_| through) {
            parts.push(leading_word(field));
            rest = &field[leading_word(field).len()..];
        } else if let Some(index) = rest.strip_prefix('[').filter(|_| through) {
            rest = after_closing(index)?;
        } else {
            return through.then_some((parts, rest));
        }
    }
}

/// Is an lvalue between `before` and `rest` assigned to, in an argument of `call`?
fn is_changed(before: &str, rest: &str, call: &str) -> bool {
    const OPERATORS: &[&str] = &[
        "+=", "-=", "|=", "&=", "^=", "*=", "/=", "%=", "<<=", ">>=", "++", "--",
    ];
    // The middle of a longer one.
    if before.ends_with("->") || before.ends_with('.') {
        return false;
    }
    let rest = rest.trim_start();
    if OPERATORS.iter().any(|operator| rest.starts_with(operator))
        || (rest.starts_with('=') && !rest.starts_with("=="))
        || before.ends_with("++")
        || before.ends_with("--")
    {
        return true;
    }
    if WRITERS.contains(&call) {
        return before.ends_with('(');
    }
    before.ends_with('&')
        && !before.ends_with("&&")
        && before[..before.len() - 1].trim_end().ends_with(['(', ','])
        && !READERS.contains(&call)
        // The address of what a pointer in it points to is not given away.
        && rest.starts_with([',', ')'])
}

/// The name in the table of a field that is reached through a base.
fn named(parts: &[&str]) -> Option<String> {
    let (base, fields) = parts.split_first()?;
    let path = fields.join(".");
    Some(match *base {
        base if PASSING.contains(&base) => return None,
        "tcb" | "scb" | "TCP_SKB_CB" => format!("TCP_SKB_CB(skb)->{path}"),
        "shinfo" | "skb_shinfo" => format!("skb_shinfo(skb)->{path}"),
        "skb_hwtstamps" => format!("skb_hwtstamps(skb)->{path}"),
        "th" | "thtail" => format!("th->{path}"),
        "IPCB" | "IP6CB" => format!("{}(skb)->{path}", parts[0]),
        "iph" | "ip_hdr" => format!("iph->{path}"),
        "hdr" | "ipv6_hdr" => format!("hdr->{path}"),
        "sock" => format!("sk_socket.{path}"),
        base if SKBS.contains(&base) => format!("skb->{path}"),
        _ => path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
static int other(struct sock *sk)
{
	tcp_x(sk);
	tcp_sk(sk)->not_mine = 1;
}

/* tcp_x() sets tp->in_comment = 1; */
static inline
int tcp_x(struct sock *sk,
	  int (*f)(int))
{
	struct tcp_sock *tp = tcp_sk(sk);

	// tp->in_line = 1;
	pr_debug(\"tp->in_string = %d\", tp->read);
	if (tp->compared == 1 && tp->read <= 2 && &tp->read2 != NULL)
		tp->plain = tp->read;
	tp->rx_opt.nested |= 1;
	inet_csk(sk)->icsk_ack.pending |= (1 << 2);
	tcp_sk(sk)->chrono_stat[tp->old - 1] += 1;
	WRITE_ONCE(tp->once, tp->read + 1);
	smp_store_release(&icsk->icsk_pending, 0);
	if (READ_ONCE(sk->read3) || atomic_read(&sk->read4))
		rs->sample = 1;
	tp->up++;
	--tp->down;
	TCP_SKB_CB(skb)->tx.delivered = 0;
	tail->truesize -= 4;
	list_move_tail(&skb->tcp_tsorted_anchor, &tp->tsorted_sent_queue);
	NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPHITS);
	READ_ONCE(sk->sk_data_ready)(sk);
	sk->sk_socket->wq.flags = 1;
	tcp_snd_cwnd_set(tp, tp->read + 1);
}
";

    fn found(name: &str) -> Vec<String> {
        let code = code_of(SOURCE);
        effects(function(&code, name).unwrap())
            .into_iter()
            .collect()
    }

    #[test]
    fn what_is_changed_is_found() {
        assert_eq!(
            found("tcp_x"),
            [
                "LINUX_MIB_TCPHPHITS",
                "TCP_SKB_CB(skb)->tx.delivered",
                "chrono_stat",
                "down",
                "icsk_ack.pending",
                "icsk_pending",
                "once",
                "plain",
                "rx_opt.nested",
                "sk_data_ready",
                "sk_socket.wq.flags",
                "skb->tcp_tsorted_anchor",
                "skb->truesize",
                "snd_cwnd",
                "tsorted_sent_queue",
                "up",
            ]
        );
        assert_eq!(found("other"), ["not_mine"]);
        assert!(function(&code_of(SOURCE), "tcp").is_none());
        assert!(function(&code_of(SOURCE), "pr_debug").is_none());
    }

    #[test]
    fn an_unknown_one_is_named() {
        let table = Table::parse(
            "Text with ``elsewhere``.\n\n.. list-table::\n   :header-rows: 1\n\n   * - name\n     - host\n   \
             * - ``once``, ``up``,\n       ``icsk_ack``\n     - ``plain`` by ``tcp_x()``\n",
        );
        let unknown: Vec<_> = found("tcp_x")
            .into_iter()
            .filter(|name| !table.knows(name))
            .collect();
        assert!(unknown.contains(&"plain".to_owned()), "{unknown:?}");
        assert!(!unknown.contains(&"up".to_owned()), "{unknown:?}");
        assert!(!unknown.contains(&"icsk_ack.pending".to_owned()));
        assert_eq!(table.rows["icsk_ack"], 9);
        assert_eq!(table.functions, [("tcp_x".to_owned(), 10)]);
    }

    #[test]
    fn a_name_that_is_nowhere_is_stale() {
        let table =
            Table::parse("   * - ``TCP_SKB_CB(skb)->seq``, ``gone``\n     - ``f()``, ``x::g()``\n");
        let words = ["seq", "g"].map(str::to_owned).into();
        let said = table.stale(&words);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("there is no gone"), "{said:?}");
        assert!(said[1].contains("has a f()"), "{said:?}");
    }
}
