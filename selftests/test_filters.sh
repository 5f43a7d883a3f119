#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What looks at frames on their way through the host stack (netfilter, conntrack,
# qdiscs, tc, XDP, BPF, IPsec policies): refused when it is there before, uploaded when
# it comes later, each by its own reason; let through by its own knob.

. "$(dirname "$0")/lib.sh"

# One of them. Sets the reason's name, the knob, and how toe_probe installs it; skips
# what this system cannot install.
filter() { # NAME
	knob=bypass_$1 reason=$1 args=(--before "$(commands "$1")" --after "$(commands "no_$1")")
	case $1 in
	nf_ingress | nf_egress) knob=bypass_netfilter reason=netfilter ;&
	netfilter | conntrack) need nft ;;
	qdisc | qdisc_mq) knob=bypass_qdisc reason=qdisc; need tc ;;
	tc_filter) knob=bypass_tc; need tc ;;
	xfrm) ;;
	tcx_*) knob=bypass_tc reason=tc_filter args=(--bpf "$1" --dev $DA) ;;
	xdp) args=(--bpf xdp --dev $DA) ;;
	cgroup_*)
		knob=bypass_cgroup_bpf reason=cgroup_bpf
		mountpoint -q /sys/fs/cgroup || skip "no cgroup2 at /sys/fs/cgroup"
		args=(--bpf "$1" --cgroup /sys/fs/cgroup)
		;;
	sock_ops) knob='' args=(--bpf sock_ops --cgroup /sys/fs/cgroup) ;;
	socket*) knob=bypass_socket_filter reason=socket_filter args=(--bpf "$1") ;;
	esac
	args+=(--table "$(table_path $DA)")
}

# The commands are run in the namespace of end a.
commands() {
	local hook chain=input
	case $1 in
	netfilter) echo "nft 'add table inet t; add chain inet t o { type filter hook output priority 0; }'" ;;
	drop_out | drop_in)
		hook=${1#drop_}put
		[ "$hook" = input ] || chain=output
		echo "nft 'add table inet t; add chain inet t c { type filter hook $chain priority 0; policy drop; }'"
		;;
	no_netfilter | no_drop_*) echo "nft delete table inet t" ;;
	nf_ingress | nf_egress)
		echo "nft 'add table netdev t; add chain netdev t c { type filter hook ${1#nf_} device $DA priority 0; }'"
		;;
	no_nf_*) echo "nft delete table netdev t" ;;
	# Nothing but forwarded packets is looked at, but all are tracked.
	conntrack)
		echo "nft 'add table inet t; add chain inet t f { type filter hook forward priority 0; };
			add rule inet t f ct state new counter'"
		;;
	no_conntrack) echo "nft delete table inet t" ;;
	qdisc) echo "tc qdisc replace dev $DA root pfifo limit 1000" ;;
	no_qdisc | no_qdisc_mq) echo "tc qdisc del dev $DA root" ;;
	# One of several queues.
	qdisc_mq) echo "tc qdisc replace dev $DA root handle 1: mq && tc qdisc replace dev $DA parent 1:1 pfifo limit 1000" ;;
	tc_filter) echo "tc qdisc add dev $DA clsact && tc filter add dev $DA egress matchall action pass" ;;
	no_tc_filter) echo "tc qdisc del dev $DA clsact" ;;
	xfrm) echo "ip xfrm policy add src $A4 dst $B4 dir out tmpl proto esp mode transport level use" ;;
	no_xfrm) echo "ip xfrm policy flush" ;;
	esac
}

# Can this system install it at all?
installable() {
	[ -n "${args[1]}" ] && [ "${args[0]}" = --before ] || return 0
	in_a sh -c "${args[1]}" >/dev/null 2>"$WORK/err" || skip "$1: $(head -1 "$WORK/err")"
	in_a sh -c "${args[3]}"
}

# Before the offload.
t_before() { # NAME FAMILY
	need_toe
	filter "$1"
	installable "$1"
	snap a
	probe filter refused "$2" "${args[@]}"
	expect_eq "$(delta a "toe_refuse_$reason")" 1 "refusals by $reason"
	expect_eq "$(delta a toe_refusals)" 1 "refusals"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	[ -n "$knob" ] || return 0
	knob a "$knob" 1
	probe filter refused "$2" "${args[@]}" --expect ok
	knob a "$knob" 0
	expect_eq "$(delta a toe_refusals)" 1 "refusals with $knob"
	expect_ge "$(delta a toe_offloads)" 1 "offloads with $knob"
	expect_no_entries
}

# After the offload, and the connection is as PROBE does it.
t_after() { # NAME FAMILY PROBE
	local i rc
	need_toe
	filter "$1"
	installable "$1"
	# A debug kernel needs longer.
	[ ! -e /proc/lockdep ] || args+=(--slow)
	for i in 1 2 3 4 5; do
		snap a
		rc=0
		"$BIN/toe_probe" --client-ns $A --server-ns $B "${args[@]}" filter "$3" "$(addr b "$2")" 2>"$WORK/err" || rc=$?
		cat "$WORK/err"
		# The time was too long, and nothing else was wrong: a busy machine.
		[ $rc = 5 ] || break
		in_a sh -c "${args[3]}" 2>/dev/null
	done
	[ $rc != 4 ] || skip "$(tail -1 "$WORK/err")"
	[ $rc = 0 ] || fail "toe_probe filter $3, IPv$2: $(cat "$WORK/err")"
	expect_eq "$(delta a "toe_upload_$reason")" 1 "uploads by $reason"
	expect_no_entries
}

# The knob is on: it stays, whatever is installed.
t_bypassed() { # NAME FAMILY
	need_toe
	filter "$1"
	installable "$1"
	knob a "$knob" 1
	snap a
	probe filter stay "$2" "${args[@]}"
	knob a "$knob" 0
	expect_eq "$(delta a "toe_upload_$reason")" 0 "uploads by $reason with $knob"
	expect_no_entries
}

# A knob that is switched off counts as a filter that is installed.
t_knob_off() {
	need_toe
	filter qdisc
	knob a bypass_qdisc 1
	in_a sh -c "${args[1]}"
	snap a
	probe filter idle 4 --table "$(table_path $DA)" \
		--before "ip netns exec $A sh -c 'echo 0 >/sys/class/net/$DA/toe/bypass_qdisc'"
	in_a sh -c "${args[3]}"
	expect_eq "$(delta a toe_upload_qdisc)" 1 "uploads by qdisc"
}

# What a new rule drops does not arrive any more.
t_drop() { # out|in PROBE FAMILY
	need_toe
	need nft
	snap a
	probe filter "$2" "$3" --before "$(commands "drop_$1")" --after "$(commands no_drop_)" --table "$(table_path $DA)"
	expect_eq "$(delta a toe_upload_netfilter)" 1 "uploads by netfilter"
}

# Connections with policy auto are refused while a filter is there, and offloaded when
# it has gone; those that were offloaded come back.
t_auto() { # FAMILY
	need_toe
	need nft
	in_a sh -c "$(commands netfilter)" || skip "nft"
	# Only the first refusal counts: it would be that of a connection that probes for a loss.
	no_timers a
	auto_policy a
	snap a
	hold_start "$1" --bytes "$(kib 256)"
	until_ok 10 refused_netfilter || fail "not refused"
	expect_eq "$(delta a toe_refuse_netfilter)" 1 "refusals by netfilter"
	expect_eq "$(delta a toe_offloads)" 0 "offloads while there is a filter"
	in_a sh -c "$(commands no_netfilter)"
	until_ok 10 connections 1 || fail "not offloaded when the filter had gone"
	in_a sh -c "$(commands netfilter)"
	until_ok 10 connections 0 || fail "still offloaded"
	expect_eq "$(delta a toe_upload_netfilter)" 1 "uploads by netfilter"
	in_a sh -c "$(commands no_netfilter)"
	until_ok 10 connections 1 || fail "not offloaded again"
	hold_end
	knob a policy ulp && knob a min_segments 8
	no_timers a 0
	expect_no_entries
}
connections() { [ "$(knob a connections)" = "$1" ]; }
refused_netfilter() { [ "$(delta a toe_refuse_netfilter)" != 0 ]; }

# Filters come and go while connections are offloaded and uploaded: when one is there to
# stay, none is left.
t_race() { # NAME
	local i
	need_toe
	filter "$1"
	installable "$1"
	bg churn "${args[1]}" "${args[3]}"
	snap a
	need_xfer 4 --bytes "$(kib 4096)" --conns 8 --wait epoll --ulp client --ulp-try --flip 200
	end_bg
	in_a sh -c "${args[3]}" 2>/dev/null
	note "$(delta a toe_offloads) offloads, $(delta a "toe_upload_$reason") uploads and $(delta a "toe_refuse_$reason") refusals by $reason"
	# On a debug kernel, which is slow, the filter may be there whenever it is asked.
	[ -e /proc/lockdep ] ||
		expect_ge "$(delta a "toe_upload_$reason")" 1 "uploads by $reason"
	expect_no_entries
}
churn() {
	while :; do
		in_a sh -c "$1"
		pause 0.05
		in_a sh -c "$2"
		pause 0.05
	done >/dev/null 2>&1
}

# Every frame sent after a rule came is counted by the rule: that of a transfer's second
# half, in both directions.
t_counted() {
	local sent seen
	need_toe
	need nft
	hold_start 4 --bytes "$(kib 1024)" --ulp client
	connections 1 || fail "not offloaded"
	in_a nft -f - 2>"$WORK/err" <<-'END' || skip "nft: $(cat "$WORK/err")"
		table inet t {
			chain o {
				type filter hook output priority 0;
				meta l4proto tcp counter
			}
			chain i {
				type filter hook input priority 0;
				meta l4proto tcp counter
			}
		}
	END
	# The transfer goes on at once, or after the time promised.
	[ "$1" != received ] || pause 0.1
	sent=$(snmp a IpOutRequests) received=$(snmp a IpInReceives)
	hold_end
	sent=$(($(snmp a IpOutRequests) - sent)) received=$(($(snmp a IpInReceives) - received))
	mapfile -t seen < <(in_a nft list table inet t | sed -n 's/.*packets \([0-9]*\) bytes.*/\1/p')
	in_a nft delete table inet t
	note "netfilter saw ${seen[0]} of $sent packets sent, ${seen[1]} of $received received"
	case $1 in
	sent) expect_ge "${seen[0]}" "$sent" "packets sent that netfilter saw" ;;
	received) expect_ge "${seen[1]}" "$received" "packets received that netfilter saw" ;;
	esac
}

pair_up || skip_all "cannot set up the pair"
has_table || skip_all "no table in debugfs"
run "before netfilter 4" "before netfilter 6" "before nf_ingress 4" "before nf_egress 4" \
	"before conntrack 4" "before conntrack 6" "before qdisc 4" "before qdisc_mq 4" \
	"before tc_filter 4" "before tcx_ingress 4" "before tcx_egress 4" "before xdp 4" \
	"before cgroup_ingress 4" "before cgroup_egress 6" "before socket 4" "before socket_bpf 4" \
	"before sock_ops 4" "before xfrm 4" \
	"after netfilter 4 idle" "after netfilter 6 send" "after nf_ingress 4 idle" \
	"after nf_egress 4 send" "after conntrack 4 idle" "after conntrack 6 send" \
	"after qdisc 4 idle" "after qdisc 4 send" "after qdisc_mq 4 idle" "after tc_filter 4 idle" \
	"after tc_filter 4 send" "after tcx_ingress 4 idle" "after tcx_egress 6 send" \
	"after xdp 4 idle" "after cgroup_ingress 4 idle" \
	"after cgroup_egress 4 send" "after cgroup_egress 6 idle" "after socket 4 receive" \
	"after socket_bpf 6 receive" "after socket_drop 4 drop_received" "after sock_ops 4 send" \
	"after xfrm 4 idle" "after xfrm 4 send" "after qdisc 4 again" "after xdp 4 again" \
	"after socket 4 again" \
	"bypassed netfilter 4" "bypassed conntrack 4" "bypassed qdisc 4" "bypassed tc_filter 4" \
	"bypassed xdp 4" "bypassed cgroup_egress 4" "bypassed socket 4" knob_off \
	"drop out drop_sent 4" "drop out drop_sent 6" "drop in drop_received 4" "counted sent" "counted received" "auto 4" \
	"auto 6" "race netfilter" "race qdisc"
