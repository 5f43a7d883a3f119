// SPDX-License-Identifier: GPL-2.0
//! What kind of work a function does.

use super::symbols::Symbol;

/// Of the kernel, by name: the first row one of whose patterns fits. `*` at either end
/// stands for anything.
#[rustfmt::skip]
const KERNEL: &[(&str, &[&str])] = &[
    (
        "buffers, memory",
        &[
            "sk_forced_mem*", "tcp_wfree", "tcp_stream_alloc*", "napi_consume*", "napi_skb*",
            "*napi_alloc*", "*napi_kfree*", "dev_kfree*", "sock_alloc_send*",
        ],
    ),
    // Names with `sched` that are not the scheduler's.
    ("TCP/IP", &["tcp_schedule*"]),
    ("devices, softirq", &["*napi_sched*", "*netif_sched*"]),
    (
        "scheduler, context switch",
        &[
            "*sched*", "*hrtimer*", "*pelt*", "*_fair", "*_task", "*load_avg*", "*_rq_clock",
            "*vruntime*", "*vlag*", "*eevdf*", "try_to_wake_up", "ttwu_*", "__switch_to*",
            "switch_mm*", "switch_fpu*", "*fpregs*", "update_curr*", "update_se",
            "update_deadline", "update_protect_slice", "*dl_server*", "finish_task_switch*",
            "rcu_note_context_switch", "rcu_qs", "hrtick*", "clear_buddies", "dequeue_entities",
            "exit_to_user_mode_loop", "*resched*", "*clockevents*", "lapic_next*",
            "*wakeup_preempt*", "*calc_delta*", "timerqueue_*", "mm_cid*", "psi_*", "cpuacct_*",
            "newidle_balance", "pick_*", "avg_*", "attach_*", "tick_*", "do_idle", "*idle*",
            "*entity*", "task_fits*", "prepare_task*", "check_preempt*",
            "rcu_read_unlock_special", "account_*",
        ],
    ),
    (
        "clock",
        &[
            "*ktime*", "read_tsc", "*clocksource*", "timekeeping*", "tk_*",
        ],
    ),
    (
        "wait queues",
        &[
            "*wake*", "*wait*", "sock_def_readable", "sock_def_write_space", "pollwake", "ep_*",
            "*epoll*", "*poll",
        ],
    ),
    (
        "system calls, files",
        &[
            "*syscall*", "*SYSCALL*", "*sysret*", "*SYSRET*", "x64_sys_call", "__x64_sys_*",
            "ksys_*", "vfs_*", "fdget*", "fput*", "rw_verify_area", "__get_user*", "__put_user*",
            "new_sync_*", "import_*", "*getppid*", "pipe_*", "anon_pipe_*", "eventfd_*", "__fput",
            "dput", "d_alloc*", "d_*", "fd_install", "alloc_fd*", "alloc_file*", "sock_alloc*",
            "*inode*", "path_*", "link_path*", "do_filp*", "*iget*",
        ],
    ),
    (
        "socket layer",
        &[
            "sock_write_iter", "sock_read_iter", "sock_recvmsg*", "sock_sendmsg*", "__sock_*",
            "__sys_*", "inet_sendmsg", "inet6_sendmsg", "inet_recvmsg", "inet_send_prepare",
            "unix_*", "security_*", "move_addr*", "sockfd*", "apparmor_*",
        ],
    ),
    (
        "locks",
        &[
            "lock_sock*", "release_sock", "*raw_spin*", "__local_bh_*", "mutex_*", "__rcu_read_*",
            "down_*", "up_*", "osq_*",
        ],
    ),
    (
        "TCP/IP",
        &[
            "tcp_*", "__tcp*", "*cubic*", "ip_*", "__ip*", "inet_*", "__inet*", "inet6_*",
            "ipv4_*", "ip6_*", "ipv6_*", "fib_*", "neigh_*", "dst_*", "bictcp*", "rt_*",
            "secure_*", "nf_*",
        ],
    ),
    (
        "devices, softirq",
        &[
            "*softirq*", "*napi*", "*netif*", "net_*", "dev_*", "__dev_*", "veth_*", "*xmit*",
            "process_backlog", "eth_*", "*gro_*", "enqueue_to_backlog", "qdisc_*", "sch_*",
            "validate_*", "*netdev*",
        ],
    ),
    (
        "copies",
        &[
            "rep_movs*", "rep_stos*", "*copy_to_*", "*copy_from_*", "*copy_user*", "memcpy*",
            "memmove*", "*datagram_iter*", "clear_*", "*check_object*", "simple_copy*", "csum_*",
            "*iov_iter*", "_copy_*", "copy_page*", "copy_mc*", "skb_copy_datagram*",
        ],
    ),
    (
        "processes",
        &[
            "*fork*", "*exit*", "*_mm", "*mmap*", "*vma*", "*pte*", "*pmd*", "mas_*", "mt_*",
            "*fault*", "*anon_vma*", "exc_*", "dup_*", "do_exit", "*signal*", "*rmap*", "unmap_*",
            "zap_*", "kernel_clone", "copy_process",
        ],
    ),
    (
        "buffers, memory",
        &[
            "kmem_cache*", "kfree*", "*kmalloc*", "*skb*", "sk_mem*", "__sk_mem*", "*page_frag*",
            "sock_rfree", "sock_wfree", "*slab*", "*slub*", "__free*", "free_*", "*alloc_pages*",
            "*alloc_frozen*", "get_page_from*", "rmqueue*", "*page*", "memset*", "*memcg*",
            "mod_*state*", "__mod_*state*", "*charge*", "*folio*", "*refill*", "alloc_from*",
            "sk_free*", "*obj_cgroup*", "build_*",
        ],
    ),
    (
        "timers",
        &[
            "*mod_timer*", "sk_reset_timer", "sk_stop_timer", "*_timer", "*timer_*",
            "calc_wheel*", "get_nohz*", "detach_*", "trigger_dyntick*", "internal_add*",
        ],
    ),
    (
        "interrupts",
        &[
            "*irq*", "*apic*", "asm_*", "*interrupt*", "irqentry*", "error_*",
        ],
    ),
];

const REST: &str = "all else";

fn fits(name: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), Some(_)) => name.contains(rest.trim_end_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// Of the module: the layer of its sources, `rust/LAYER/`; what is not of its Rust sources
/// is of `rust/helpers/`, or of the libraries that were compiled into it.
fn layer(name: &str) -> String {
    let inside = name.split_once("toe_core::").map(|(_, rest)| rest);
    let layer = inside.and_then(|rest| rest.split_once("::"));
    match layer {
        Some((layer, _)) if layer.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
            layer.to_owned()
        }
        _ if name.contains("::") => "libraries".to_owned(),
        _ => "helpers".to_owned(),
    }
}

/// What kind of work a function of the kernel or the module does.
pub fn of(symbol: &Symbol) -> String {
    if symbol.measured {
        return layer(&symbol.name);
    }
    KERNEL
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| fits(&symbol.name, pattern)))
        .map_or(REST, |(category, _)| category)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::symbols::{Owner, Symbols};
    use super::*;

    #[test]
    fn patterns() {
        assert!(fits("ksys_read", "ksys_*") && !fits("_ksys_read", "ksys_*"));
        assert!(fits("pick_task_fair", "*_fair") && !fits("_fairly", "*_fair"));
        assert!(fits("do_wake_up", "*wake*") && fits("wake", "*wake*"));
        assert!(fits("fput", "fput") && !fits("fputs", "fput"));
    }

    #[test]
    fn work_of_the_kernel() {
        let kind = |name: &str| {
            let line = format!("ffffffff81000000 T {name}");
            match Symbols::parse(&line).find(0xffff_ffff_8100_0000) {
                Owner::Function(symbol) => of(symbol),
                other => format!("{other:?}"),
            }
        };
        for (name, category) in [
            ("__tcp_transmit_skb", "TCP/IP"),
            ("tcp_wfree", "buffers, memory"),
            ("sk_forced_mem_schedule", "buffers, memory"),
            ("tcp_schedule_loss_probe", "TCP/IP"),
            ("__napi_schedule", "devices, softirq"),
            ("schedule", "scheduler, context switch"),
            ("__netif_receive_skb_core", "devices, softirq"),
            ("skb_copy_datagram_iter", "copies"),
            ("copy_process", "processes"),
            ("try_to_wake_up", "scheduler, context switch"),
            ("__wake_up_sync_key", "wait queues"),
            ("entry_SYSCALL_64", "system calls, files"),
            ("ktime_get", "clock"),
            ("lock_sock_nested", "locks"),
            ("zlib_inflate", REST),
        ] {
            assert_eq!(kind(name), category, "{name}");
        }
    }

    #[test]
    fn layers_of_the_module() {
        assert_eq!(layer("<toe_core::dct::rx::Engine>::run"), "dct");
        assert_eq!(layer("toe_core::net::sock::lock"), "net");
        assert_eq!(
            layer("<kernel::sync::Arc<toe_core::framework::Pair>>::drop"),
            "framework"
        );
        assert_eq!(layer("toe_tcp_append"), "helpers");
        assert_eq!(layer("<str>::trim_matches"), "libraries");
        assert_eq!(layer("<toe_core::Module>::init"), "libraries");
    }
}
