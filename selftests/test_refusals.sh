#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Every refusal that user space can provoke: counted, and the connection goes on.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

# Probes with policy ulp; the refusal is counted at the device of the client, by this name
# and by no other.
refused() { # COUNTER PROBE FAMILY [OPTION...]
	local ctr=$1 now n
	shift
	if is_toe; then
		has_ctr a "toe_refuse_$ctr" || fail "no counter toe_refuse_$ctr"
		snap a
	fi
	probe refuse "$@"
	if is_toe; then
		now=$(counters a)
		added a "toe_refuse_$ctr" "$now"
		n=$REPLY
		expect_ge "$n" 1 "refusals by $ctr"
		added a toe_refusals "$now"
		expect_eq $REPLY "$n" "refusals, all by $ctr"
	else
		partial "the counter toe_refuse_$ctr"
	fi
	expect_no_entries
}

t_closed() { probe refuse closed "$1"; }
t_listen() { probe refuse listen "$1"; }
t_tcp_repair() { refused tcp_repair repair "$1"; }
t_md5_ao() { refused md5_ao md5 "$1"; }
t_urgent() { refused urgent urgent "$1"; }
t_socket_filter() { refused socket_filter filter "$1"; }
t_sockmap() { refused sockmap sockmap "$1"; }
t_pacing() { refused pacing pacing "$1"; }
t_ip_options() { refused ip_options ip_options 4; }
t_shutdown() { refused shutdown shutdown "$1"; }
# The peer has sent its FIN, this end still sends: worth an offload.
t_fin_received() {
	is_toe && snap a
	if is_toe; then probe refuse fin_received "$1" --expect ok; else probe refuse fin_received "$1"; fi
	is_toe && expect_ge "$(delta a toe_offloads)" 1 "offloads"
	true
}
t_zero_window() { refused zero_window zero_window "$1"; }

# One with an own cong_control(), which the target does not call.
t_congestion_control() {
	modprobe -q tcp_bbr 2>/dev/null
	in_a sh -c 'grep -qw bbr /proc/sys/net/ipv4/tcp_available_congestion_control' || skip "no bbr"
	refused congestion_control cc 4
}

# The kernel itself answers EEXIST; by policy auto, the driver refuses.
t_other_ulp() {
	probe refuse tls 4
	need_toe
	partial "other_ulp by automatic offload: shown by test_ktls.sh"
}

t_policy() {
	need_toe
	knob a policy off
	refused policy plain "$1"
	knob a policy ulp
	probe refuse plain "$1" --expect ok
}

t_table_full() {
	local old
	need_toe
	old=$(knob a capacity)
	knob a capacity 1 2>/dev/null || skip "capacity 1 is refused; the smallest table is larger"
	snap a
	need_xfer 4 --bytes "$(kib 64)" --conns 6 --wait epoll --ulp client --ulp-try
	knob a capacity "$old"
	expect_ge "$(delta a toe_refuse_table_full)" 1 "refusals by table_full"
	expect_eq "$(delta a toe_refusals)" "$(delta a toe_refuse_table_full)" "refusals"
	expect_ge "$(delta a toe_offloads)" 1 "offloads"
}

t_conn_limit() {
	local old
	need_toe
	old=$(knob a conn_limit)
	knob a conn_limit 1
	snap a
	need_xfer 4 --bytes "$(kib 64)" --conns 6 --wait epoll --ulp client --ulp-try
	knob a conn_limit "$old"
	expect_ge "$(delta a toe_refuse_conn_limit)" 1 "refusals by conn_limit"
	expect_eq "$(delta a toe_refusals)" "$(delta a toe_refuse_conn_limit)" "refusals"
}

t_port_limit() {
	local lo hi
	need_toe
	lo=$(knob a port_min) hi=$(knob a port_max)
	knob a port_max 2 && knob a port_min 1
	refused port_limit plain 4
	knob a port_min "$lo"
	knob a port_max "$hi"
}

t_not_toe_device() {
	ip -n $A link add va type veth peer name vb netns $B || skip "no veth"
	ip -n $A addr add 198.51.100.1/24 dev va
	ip -n $B addr add 198.51.100.2/24 dev vb
	ip -n $A link set va up
	ip -n $B link set vb up
	is_toe && try= || try=--ulp-try
	"$BIN/toe_probe" --client-ns $A --server-ns $B $try refuse plain 198.51.100.2 ||
		fail "a connection over veth"
	"$BIN/toe_probe" --client-ns $A --server-ns $A $try refuse plain 127.0.0.1 ||
		fail "a connection over the loopback"
	ip -n $A link del va
}

# The request comes when the neighbour was forgotten and does not answer for a while.
t_neighbour() {
	local mute=net.ipv4.conf.$DB.arp_ignore
	set_sysctl b $mute 8
	(pause 3; set_sysctl b $mute 0) >/dev/null 2>&1 &
	refused neighbour plain 4 --before "ip -n $A neigh flush dev $DA"
	wait
}

t_qdisc() {
	need tc
	tc -n $A qdisc replace dev $DA root tbf rate 1gbit burst 1mb latency 50ms 2>"$WORK/err" ||
		tc -n $A qdisc replace dev $DA root pfifo limit 1000 2>"$WORK/err" ||
		skip "tc: $(cat "$WORK/err")"
	refused qdisc plain 4
	if is_toe; then
		knob a bypass_qdisc 1
		probe refuse plain 4 --expect ok
		knob a bypass_qdisc 0
	fi
	tc -n $A qdisc del dev $DA root
	is_toe && probe refuse plain 4 --expect ok
	true
}

t_tc_filter() {
	need tc
	tc -n $A qdisc add dev $DA clsact 2>"$WORK/err" || skip "tc: $(cat "$WORK/err")"
	tc -n $A filter add dev $DA egress matchall action pass 2>"$WORK/err" || {
		tc -n $A qdisc del dev $DA clsact
		skip "tc: $(cat "$WORK/err")"
	}
	refused tc_filter plain 4
	tc -n $A qdisc del dev $DA clsact
}

t_netfilter() { # FAMILY
	need nft
	in_a nft -f - 2>"$WORK/err" <<-'END' || skip "nft: $(cat "$WORK/err")"
		table inet t {
			chain o {
				type filter hook output priority 0;
				counter
			}
			chain i {
				type filter hook input priority 0;
				counter
			}
		}
	END
	refused netfilter plain "$1"
	if is_toe; then
		knob a bypass_netfilter 1
		probe refuse plain "$1" --expect ok
		knob a bypass_netfilter 0
	fi
	in_a nft delete table inet t
	is_toe && probe refuse plain "$1" --expect ok
	true
}

t_xfrm() {
	ip -n $A xfrm policy add src $A4 dst $B4 dir out \
		tmpl proto esp mode transport level use 2>"$WORK/err" || skip "ip xfrm: $(cat "$WORK/err")"
	refused xfrm plain 4
	ip -n $A xfrm policy flush
	is_toe && probe refuse plain 4 --expect ok
	true
}

# Of the target's own refusals, one is for what the connection is: segments that are too
# short for it. One byte of MTU decides: 40 bytes of headers and 12 of a timestamp.
t_small_mss() {
	local mtu end
	need_toe
	for mtu in 115 116; do
		ip -n $A link set $DA mtu $mtu && ip -n $B link set $DB mtu $mtu || fail "MTU"
		snap a
		snap b
		need_xfer 4 --bytes "$(kib 16)" --ulp both --ulp-try
		if [ $mtu = 115 ]; then
			for end in a b; do
				expect_added_at $end toe_offloads 0 toe_refusals 1 toe_refuse_small_mss 1
			done
		else
			for end in a b; do
				expect_added_at $end toe_refusals 0 toe_refuse_small_mss 0
				expect_ge "$(delta $end toe_offloads)" 1 "offloads with an MTU of $mtu"
			done
		fi
	done
	ip -n $A link set $DA mtu 1500
	ip -n $B link set $DB mtu 1500
	# A short MTU took the IPv6 addresses with it.
	ip -n $A addr replace $A6/64 dev $DA nodad
	ip -n $B addr replace $B6/64 dev $DB nodad
	expect_no_entries
}

t_ecn() { # FAMILY
	local end
	set_sysctl a net.ipv4.tcp_ecn 1
	set_sysctl b net.ipv4.tcp_ecn 1
	is_toe && snap a && snap b
	need_xfer "$1" --bytes "$(kib 256)" --ulp both --ulp-try
	set_sysctl a net.ipv4.tcp_ecn 2
	set_sysctl b net.ipv4.tcp_ecn 2
	is_toe || { partial "the counter toe_refuse_ecn"; return; }
	for end in a b; do
		expect_added_at $end toe_offloads 0 toe_refusals 1 toe_refuse_ecn 1
	done
	expect_no_entries
}

# What the target has no room for, and what it cannot take, decided on together: each
# connection is refused for its own reason, and the others go in one operation. One whose
# segments are too short takes no room.
t_apart() {
	local short=198.51.100.8 limit=10 first
	need_tree
	fresh
	ip -n $B addr add $short/32 dev lo
	ip -n $A route add $short via $B4 mtu lock 110
	B4=0.0.0.0 server b 7100 4
	hold_conns 4 20 0
	first=$held
	B4=$short hold_conns 4 6 0
	knob a capacity $limit && knob a policy auto && knob a min_segments 0 || fail "knobs"
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_added toe_offloads $limit toe_uploads 0 toe_batches 1 toe_batched $limit \
		toe_refusals 16 toe_refuse_small_mss 6 toe_refuse_table_full 10
	expect_eq "$(table $DA | grep -cF " $short:")" 0 "entries with short segments"
	knob a policy off
	let_go
	wait $held || fail "the connections with short segments failed"
	wait $first || fail "the others failed"
	end_bg
	expect_no_entries
	expect_no_objects
}

# The refused request again, a thousand times: no leak, no harm.
t_refused_often() {
	need_toe
	knob a policy off
	snap a
	need_xfer 4 --bytes "$(kib 2048)" --ulp client --flip 2000
	knob a policy ulp
	expect_ge "$(delta a toe_refuse_policy)" 100 "refusals"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
}

pair_up || skip_all "cannot set up the pair"
run "closed 4" "closed 6" "listen 4" "listen 6" "tcp_repair 4" "tcp_repair 6" "md5_ao 4" \
	"md5_ao 6" "urgent 4" "urgent 6" "socket_filter 4" "sockmap 4" "pacing 4" ip_options "shutdown 4" \
	"shutdown 6" "fin_received 4" "zero_window 4" congestion_control other_ulp "policy 4" \
	"policy 6" table_full conn_limit port_limit not_toe_device neighbour qdisc tc_filter \
	"netfilter 4" "netfilter 6" xfrm small_mss "ecn 4" "ecn 6" apart refused_often
