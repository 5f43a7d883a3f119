#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Who decides what becomes of a frame that was received, or is to see it: what plain TCP
# does not get, an offloaded connection does not get either, and who sees the frames of the
# one sees those of the other.

. "$(dirname "$0")/lib.sh"

# The rule of the local table goes behind one that forbids what comes from the peer.
rules() { # 4|6 on|off
	local ip="ip -$1" peer
	peer=$(addr b "$1")
	case $2 in
	on) echo "$ip rule add pref 10 from $peer iif $DA prohibit && $ip rule add pref 20 lookup local &&
		$ip rule del pref 0" ;;
	off) echo "$ip rule add pref 0 lookup local && $ip rule del pref 20 && $ip rule del pref 10" ;;
	esac
}

# Input routing, asked again when the namespace's routes changed.
t_input_rule() { # FAMILY
	need_toe
	snap a
	probe filter drop_received "$1" --before "$(rules "$1" on)" --after "$(rules "$1" off)" \
		--table "$(table_path $DA)"
	expect_ge "$(delta a toe_upload_route_change)" 1 "uploads by route_change"
	expect_no_entries
}

# The way back to the sender is another one: the connection's own route depends on its mark.
t_rp_filter() {
	local before=$(snmp a TcpExtIPReversePathFilter)
	need_toe
	set_sysctl a net.ipv4.conf.$DA.rp_filter 1
	in_a ip rule add pref 10 fwmark 7 lookup 100
	in_a ip route add $B4 dev $DA table 100
	snap a
	probe filter drop_received 4 --mark 7 --before "ip route add unreachable $B4" \
		--after "ip route del unreachable $B4" --table "$(table_path $DA)"
	expect_ge "$(delta a toe_upload_route_change)" 1 "uploads by route_change"
	set_sysctl a net.ipv4.conf.$DA.rp_filter 0
	in_a ip rule del pref 10
	in_a ip route del $B4 dev $DA table 100
	expect_ge "$(snmp a TcpExtIPReversePathFilter)" $((before + 1)) "frames that the reverse path filter dropped"
	expect_no_entries
}

# Routes change and the input route does not: the connection stays where it is.
t_input_same() { # FAMILY
	local net=198.51.100.0/24
	need_toe
	[ "$1" = 4 ] || net=2001:db8:77::/64
	probe filter stay "$1" --before "ip -$1 route add $net dev lo" \
		--after "ip -$1 route del $net dev lo" --table "$(table_path $DA)"
	expect_no_entries
}

# Without early demultiplexing the host asks for the route of every frame.
t_no_early_demux() { # FAMILY ip|tcp
	need_toe
	set_sysctl a "net.ipv4.$2_early_demux" 0
	snap a
	probe filter drop_received "$1" --before "$(rules "$1" on)" --after "$(rules "$1" off)" \
		--table "$(table_path $DA)"
	set_sysctl a "net.ipv4.$2_early_demux" 1
	expect_ge "$(delta a toe_upload_route_change)" 1 "uploads by route_change"
	expect_no_entries
}

# The device becomes a port of another one, which takes its frames.
enslave() { # KIND on|off
	case $1-$2 in
	*-off) echo "ip link del up0" ;;
	bridge-on) echo "ip link add up0 type bridge && ip link set up0 up && ip link set $DA master up0" ;;
	# A port of a bridge that is down is disabled: nothing passes.
	bridge_down-on) echo "ip link add up0 type bridge && ip link set $DA master up0" ;;
	macvlan-on) echo "ip link add up0 link $DA type macvlan mode bridge" ;;
	ipvlan-on) echo "ip link add up0 link $DA type ipvlan mode l2" ;;
	vrf-on) echo "ip link add up0 type vrf table 77 && ip link set up0 up && ip link set $DA master up0" ;;
	esac
}

# Sets `args`; skips what this system lacks. As by a command of the probe's.
taker() { # KIND
	need_toe
	args=(--before "$(enslave "$1" on)" --after "$(enslave "$1" off)" --table "$(table_path $DA)")
	in_a ip link add up0 type "${1%_down}" 2>"$WORK/err" ||
		in_a ip link add up0 link $DA type "${1%_down}" 2>"$WORK/err" ||
		skip "no device of kind ${1%_down}: $(head -1 "$WORK/err")"
	in_a ip link del up0
}

t_taken_before() { # KIND FAMILY
	taker "$1"
	snap a
	probe filter refused "$2" "${args[@]}"
	expect_eq "$(delta a toe_refuse_rx_handler)" 1 "refusals by rx_handler"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	expect_no_entries
}

t_taken_after() { # KIND FAMILY PROBE
	taker "$1"
	snap a
	probe filter "$3" "$2" "${args[@]}"
	expect_eq "$(delta a toe_upload_rx_handler)" 1 "uploads by rx_handler"
	expect_no_entries
}

# A VLAN device at each end.
add_vlan() { # ADDRESS/LENGTH ADDRESS/LENGTH
	local nodad=
	[[ $1 != *:* ]] || nodad=nodad
	in_a ip link add link $DA name v0 type vlan id 5 && in_b ip link add link $DB name v0 type vlan id 5 ||
		skip "no VLAN devices"
	in_a ip addr add "$1" dev v0 $nodad
	in_b ip addr add "$2" dev v0 $nodad
	in_a ip link set v0 up
	in_b ip link set v0 up
	pings a "${2%/*}"
}
del_vlan() {
	in_a ip link del v0
	in_b ip link del v0
}

# A VLAN device becomes one.
t_taken_vlan() {
	need_toe
	add_vlan 198.51.100.1/24 198.51.100.2/24
	snap a
	"$BIN/toe_probe" --client-ns $A --server-ns $B --before "ip link add up0 type bridge && ip link set v0 master up0" \
		--after "ip link del up0" --table "$(table_path $DA)" filter drop_received 198.51.100.2 2>"$WORK/err" ||
		fail "$(cat "$WORK/err")"
	expect_eq "$(delta a toe_upload_rx_handler)" 1 "uploads by rx_handler"
	del_vlan
	expect_no_entries
}

# Raw sockets and packet sockets see what an offloaded connection receives.
t_sniff() { # FAMILY host|before|after
	need_toe
	probe sniff "$2" "$1" --dev $DA --table "$(table_path $DA)"
	expect_no_entries
}

t_sniff_vlan() { # FAMILY host|after
	local a=198.51.100.1/24 b=198.51.100.2/24
	need_toe
	[ "$1" = 4 ] || a=2001:db8:7::1/64 b=2001:db8:7::2/64
	add_vlan $a $b
	"$BIN/toe_probe" --client-ns $A --server-ns $B --dev $DA,v0 --table "$(table_path $DA)" sniff "$2" ${b%/*} \
		2>"$WORK/err" || fail "$(cat "$WORK/err")"
	del_vlan
	expect_no_entries
}

# What no policy of IPsec speaks of is blocked by default.
t_xfrm_default() { # FAMILY in|out PROBE
	need_toe
	need_module xfrm_user
	in_a ip xfrm policy setdefault in accept 2>"$WORK/err" || skip "$(head -1 "$WORK/err")"
	snap a
	probe filter "$3" "$1" --before "ip xfrm policy setdefault $2 block" \
		--after "ip xfrm policy setdefault $2 accept" --table "$(table_path $DA)"
	case $3 in
	refused*) expect_eq "$(delta a toe_refuse_xfrm)" 1 "refusals by xfrm" ;;
	*) expect_ge "$(delta a toe_upload_xfrm)" 1 "uploads by xfrm" ;;
	esac
	expect_no_entries
}

# A policy of the socket's own, or its listener's.
t_xfrm_socket() { # FAMILY before|after|accepted
	need_toe
	need_module xfrm_user
	snap a
	snap b
	case $2 in
	before)
		probe filter refused "$1" --bpf policy
		expect_eq "$(delta a toe_refuse_xfrm)" 1 "refusals by xfrm"
		;;
	accepted)
		probe filter accepted "$1" --bpf policy
		expect_eq "$(delta b toe_refuse_xfrm)" 1 "refusals by xfrm"
		;;
	after)
		probe filter idle "$1" --bpf policy --table "$(table_path $DA)"
		expect_eq "$(delta a toe_upload_setsockopt)" 1 "uploads by setsockopt"
		;;
	esac
	expect_no_entries
}

# A filter of the socket sees the device of a frame, and may cut it.
t_filter() { # device|trim FAMILY
	snap a
	probe upload "filter_$1" "$2" --dev $DA
	! is_toe || expect_eq "$(delta a toe_upload_socket_filter)" 1 "uploads by socket_filter"
	expect_no_entries
}

has_moved() { # BYTES
	[ "$(delta a toe_rx_bytes)" -ge "$1" ]
}

# What connection tracking did not see of a connection is not held against it afterwards.
t_conntrack() { # FAMILY
	local end
	need_toe
	need nft
	for end in a b; do
		in_ns $end nft 'add table inet t; add chain inet t i { type filter hook input priority 0; };
			add chain inet t o { type filter hook output priority 0; };
			add rule inet t i ct state invalid counter drop;
			add rule inet t o ct state invalid counter drop' 2>"$WORK/err" || skip "nft: $(head -1 "$WORK/err")"
		knob $end bypass_netfilter 1
		knob $end bypass_conntrack 1
	done
	snap a
	hold_start "$1" --bytes "$(kib 8192)" --ulp both
	expect_ge "$(delta a toe_offloads)" 1 "offloads"
	until_ok 20 has_moved 1000000
	expect_ge "$(delta a toe_rx_bytes)" 1000000 "bytes that conntrack has not seen"
	upload_all a
	upload_all b
	hold_end
	expect_ge "$(delta a toe_uploads)" 1 "uploads"
	for end in a b; do
		expect_eq "$(in_ns $end nft list table inet t | grep -c 'ct state invalid counter packets 0 bytes 0')" 2 \
			"rules that saw nothing invalid at end $end"
		in_ns $end nft delete table inet t
		knob $end bypass_netfilter 0
		knob $end bypass_conntrack 0
	done
	expect_no_entries
}

# IP_MINTTL and IPV6_MINHOPCOUNT.
t_least_ttl() { # FAMILY before|after|listener
	local end=a dropped
	need_toe
	[ "$2" != listener ] || end=b
	dropped=$(snmp $end TcpExtTCPMinTTLDrop)
	snap $end
	probe filter least_ttl "$1" --bpf "$2"
	expect_ge "$(delta $end toe_offloads)" 1 "offloads"
	[ "$2" = after ] || expect_eq "$(delta $end toe_upload_setsockopt)" 0 "uploads by setsockopt"
	expect_ge "$(snmp $end TcpExtTCPMinTTLDrop)" $((dropped + 1)) "TCPMinTTLDrop"
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
is_toe && ! has_table && skip_all "no table in debugfs"
run "input_rule 4" "input_rule 6" rp_filter "input_same 4" "no_early_demux 4 ip" "no_early_demux 6 tcp" \
	"taken_before bridge 4" "taken_before macvlan 6" "taken_before vrf 4" "taken_after bridge 4 idle" \
	"taken_after bridge_down 4 drop_received" "taken_after bridge_down 6 drop_received" \
	"taken_after ipvlan 6 idle" "taken_after vrf 4 idle" taken_vlan \
	"sniff 4 host" "sniff 4 before" "sniff 4 after" "sniff 6 host" "sniff 6 before" "sniff 6 after" \
	"sniff_vlan 4 after" "sniff_vlan 6 after" \
	"least_ttl 4 before" "least_ttl 4 after" "least_ttl 4 listener" \
	"least_ttl 6 before" "least_ttl 6 after" "least_ttl 6 listener" \
	"xfrm_default 4 in refused_now" "xfrm_default 4 in drop_received" "xfrm_default 6 in drop_received" \
	"xfrm_default 4 out drop_sent" "xfrm_socket 4 before" "xfrm_socket 6 before" "xfrm_socket 4 accepted" \
	"xfrm_socket 6 accepted" "xfrm_socket 4 after" \
	"filter device 4" "filter device 6" "filter trim 4" "filter trim 6" "conntrack 4" "conntrack 6"
