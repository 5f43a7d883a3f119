#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The device: life cycle, peer, namespaces, carrier, features, ethtool, MTU.

DELETES_DEVICES=1
. "$(dirname "$0")/lib.sh"

link_of() { in_ns "$1" ip -o link show dev "$(dev_of "$1")"; }
carrier_of() { ns_cat "$1" "/sys/class/net/$(dev_of "$1")/carrier" 2>/dev/null; }
has_carrier() { [ "$(carrier_of "$1")" = "$2" ]; }

t_create_delete() {
	local i
	for i in 1 2 3 4 5; do
		pair_down
		make_ns && make_pair || fail "round $i: cannot make the pair"
		link_of a >/dev/null && link_of b >/dev/null || fail "round $i: an end is missing"
		ip -n $A link del $DA || fail "round $i: cannot delete"
		until_ok 10 sh -c "! ip -n $B link show dev $DB 2>/dev/null" ||
			fail "round $i: the peer outlived its device"
		pair_down
	done
}

t_names() {
	pair_down
	make_ns
	ip -n $A link add type "$TOE_KIND" || fail "a pair without names is refused"
	expect_eq "$(ip -n $A -o link show type "$TOE_KIND" | wc -l)" 2 "devices made"
	# The kernel named it, maybe as the tests name theirs.
	ip -n $A link del ${TOE_KIND}0 || fail "the first device is not called ${TOE_KIND}0"
	ip -n $A link add "this-name-is-too-long" type "$TOE_KIND" 2>/dev/null &&
		fail "a name of 21 characters is accepted"
	ip -n $A link add $DA type "$TOE_KIND" peer name $DA 2>/dev/null &&
		fail "two devices of one name are accepted"
	ip -n $A link add $DA address 02:00:00:00:00:0a type "$TOE_KIND" \
		peer name $DB address 02:00:00:00:00:0b || fail "addresses are refused"
	ip -n $A -o link show dev $DA | grep -q 02:00:00:00:00:0a || fail "address not taken"
	ip -n $A -o link show dev $DB | grep -q 02:00:00:00:00:0b || fail "address of the peer not taken"
	pair_down
}

t_details() {
	fresh
	ip -n $A -d link show dev $DA | grep -qw "$TOE_KIND" || fail "ip -d does not name the kind"
	ip -n $A -d -j link show dev $DA >/dev/null || fail "ip -d -j fails"
	ip -n $A -o link show dev $DA | grep -q "$DA@if" || fail "no peer index is shown"
	expect_eq "$(ns_cat a /sys/class/net/$DA/type)" 1 "ARPHRD type"
}

t_carrier() {
	fresh
	until_ok 5 has_carrier a 1 || fail "no carrier with both ends up"
	ip -n $B link set $DB down
	until_ok 5 has_carrier a 0 || fail "carrier stays with the peer down"
	ip -n $B link set $DB up
	until_ok 5 has_carrier a 1 || fail "carrier does not come back"
	ip -n $B link del $DB
	in_a ip link show dev $DA >/dev/null 2>&1 && fail "device stays after the peer was deleted"
	true
}

t_up_down() {
	local i
	fresh
	for i in 1 2 3 4 5 6 7 8; do
		ip -n $A link set $DA down && ip -n $A link set $DA up || fail "round $i"
	done
	ip -n $A -6 addr replace $A6/64 dev $DA nodad
	pings a $B4 2 || fail "no ping after going down and up"
}

t_netns_move() {
	fresh
	ip netns add $A-2
	ip -n $A link set $DA netns $A-2 || { ip netns del $A-2; fail "cannot move"; }
	ip -n $A-2 addr add $A4/24 dev $DA
	ip -n $A-2 link set $DA up
	if ! "$BIN/toe_ns" $A-2 ping $B4 2 56; then
		ip netns del $A-2
		fail "no ping after the move"
	fi
	ip -n $A-2 link set $DA netns $A name ${DA}m || { ip netns del $A-2; fail "cannot move back"; }
	ip -n $A link del ${DA}m || fail "cannot delete after the moves"
	ip netns del $A-2
}

t_netns_delete() {
	fresh
	ip netns del $A
	until_ok 20 sh -c "! ip -n $B link show dev $DB 2>/dev/null" ||
		fail "the peer stays when the namespace of the device ends"
}

t_ping() {
	fresh
	pings a $B4 3 || fail "IPv4"
	pings a $B6 3 || fail "IPv6"
	pings b $A4 3 || fail "IPv4, the other way"
	pings a $B4 2 20000 || fail "IPv4, fragmented"
	pings a $B4 2 1472 df || fail "IPv4, MTU-sized"
}

t_mtu_range() {
	local mtu max=65535
	fresh
	is_toe || partial "the greatest MTU of a toe device"
	for mtu in 68 576 1280 1500 9000 65535; do
		ip -n $A link set $DA mtu $mtu || fail "MTU $mtu is refused"
		ip -n $B link set $DB mtu $mtu || fail "MTU $mtu is refused by the peer"
		pings a $B4 1 20 || fail "no ping with MTU $mtu"
		if [ $mtu -ge 576 ]; then
			pings a $B4 1 $((mtu - 28)) df ||
				[ $mtu -gt 65000 ] || fail "no full-sized ping with MTU $mtu"
		fi
	done
	ip -n $A link set $DA mtu 67 2>/dev/null && fail "MTU 67 is accepted"
	ip -n $A link set $DA mtu $((max + 1)) 2>/dev/null && fail "MTU $((max + 1)) is accepted"
	true
}

t_ethtool_info() {
	need ethtool
	fresh
	in_a ethtool -i $DA >"$WORK/i" || fail "ethtool -i"
	expect_eq "$(awk '$1 == "driver:" { print $2 }' "$WORK/i")" "$TOE_KIND" "driver"
	in_a ethtool $DA | grep -q 'Link detected: yes' || fail "no link detected"
}

t_ethtool_features() {
	local f
	need ethtool
	fresh
	for f in tso gso gro tx rx sg; do
		in_a ethtool -K $DA $f off || fail "$f off"
		pings a $B4 || fail "no ping with $f off"
		xfer 4 --bytes "$(kib 64)" || fail "no transfer with $f off"
		in_a ethtool -K $DA $f on || fail "$f on"
	done
	in_a ethtool -k $DA | grep -q 'tcp-segmentation-offload: on' || fail "TSO does not come back"
}

t_ethtool_stats() {
	local frames
	need ethtool
	fresh
	in_a ethtool -S $DA >"$WORK/s" || fail "ethtool -S"
	need_toe
	for c in toe_offloads toe_uploads toe_refusals toe_rx_frames toe_rx_bytes toe_tx_frames \
		toe_tx_bytes toe_upload_admin toe_upload_legacy_often toe_specials toe_resyncs \
		toe_special_fin toe_special_rst toe_special_rto toe_special_out_of_order \
		toe_refuse_policy toe_refuse_table_full toe_refuse_not_established; do
		grep -q "^ *$c:" "$WORK/s" || fail "no counter $c"
	done
	frames=$(awk '/toe_/ { n += $2 } END { print n + 0 }' "$WORK/s")
	expect_eq "$frames" 0 "sum of all toe counters of a new device"
}

t_ethtool_channels() {
	local max
	need ethtool
	fresh
	in_a ethtool -l $DA >"$WORK/l" || fail "ethtool -l"
	max=$(awk '$1 == "Combined:" || $1 == "RX:" { if ($2 ~ /^[0-9]+$/ && $2 > m) m = $2 } END { print m + 0 }' "$WORK/l")
	expect_ge "$max" 1 "channels"
	need_toe
	awk '$1 == "Combined:" { n++; if ($2 ~ /^[0-9]+$/ && $2 > 0) ok++ } END { exit !(n == 2 && ok == 2) }' \
		"$WORK/l" || fail "no combined channels: $(cat "$WORK/l")"
	max=$(awk '$1 == "Combined:" { print $2; exit }' "$WORK/l")
	in_a ethtool -L $DA combined 1 || fail "one channel is refused"
	xfer 4 --bytes "$(kib 256)" --conns 8 --wait epoll || fail "no transfer over one channel"
	in_a ethtool -L $DA combined "$max" || fail "$max channels are refused"
	xfer 4 --bytes "$(kib 256)" --conns 8 --wait epoll || fail "no transfer over $max channels"
	in_a ethtool -L $DA combined 0 2>/dev/null && fail "no channels at all are accepted"
	in_a ethtool -L $DA combined $((max + 1)) 2>/dev/null && fail "more than $max channels are accepted"
	true
}

t_ethtool_rings() {
	need ethtool
	need_toe
	fresh
	in_a ethtool -g $DA | grep -q '^TX:' || fail "ethtool -g"
}

t_queue_stats() {
	local out
	fresh
	need ynl
	out=$(in_a ynl --family netdev --dump qstats-get --json '{"scope":"queue"}' 2>&1) ||
		skip "ynl: $out"
	echo "$out" | grep -q rx-packets || fail "no queue statistics: $out"
}

t_link_stats() {
	local rx tx
	fresh
	rx=$(ns_cat b /sys/class/net/$DB/statistics/rx_packets)
	tx=$(ns_cat a /sys/class/net/$DA/statistics/tx_packets)
	pings a $B4 10
	expect_ge $(($(ns_cat b /sys/class/net/$DB/statistics/rx_packets) - rx)) 10 "frames received"
	expect_ge $(($(ns_cat a /sys/class/net/$DA/statistics/tx_packets) - tx)) 10 "frames sent"
	# A frame is counted whichever way it takes from one device to the other.
	need_xfer 4 --bytes "$(kib 512)" --conns 4 $(ulp)
	need_xfer 4 --bytes "$(kib 512)" $(ulp client)
	until_ok 10 all_arrived || fail "a: $(in_a cat /sys/class/net/$DA/statistics/[rt]x_{packets,bytes} |
		tr '\n' ' '), b: $(in_b cat /sys/class/net/$DB/statistics/[rt]x_{packets,bytes} | tr '\n' ' ')"
}

all_arrived() {
	local what
	for what in packets bytes; do
		[ "$(ns_cat a /sys/class/net/$DA/statistics/tx_$what)" = \
			"$(ns_cat b /sys/class/net/$DB/statistics/rx_$what)" ] || return 1
		[ "$(ns_cat b /sys/class/net/$DB/statistics/tx_$what)" = \
			"$(ns_cat a /sys/class/net/$DA/statistics/rx_$what)" ] || return 1
	done
}

t_threaded_napi() {
	local f=/sys/class/net/$DA/threaded
	fresh
	in_a sh -c "echo 1 >$f" 2>/dev/null || { is_toe && fail "threaded NAPI is refused"; skip "no threaded NAPI"; }
	need_xfer 4 --bytes "$(kib 512)" $(ulp)
	in_a sh -c "echo 0 >$f" || fail "threaded NAPI cannot be switched off"
	need_xfer 4 --bytes "$(kib 512)" $(ulp)
	# Frames change from the sender's task to the thread, and not their order.
	bg in_a sh -c "while :; do echo 1; sleep 0.05; echo 0; sleep 0.05; done >$f"
	need_xfer 4 --bytes "$(kib 4096)" --conns 4 $(ulp)
	end_bg
}

t_sysfs() {
	local f v
	need_toe
	fresh
	for f in policy min_bytes conn_limit port_min port_max capacity bypass_qdisc \
		bypass_netfilter connections offloads uploads refusals; do
		v=$(knob a $f) || fail "no file $f"
		[ "$(echo "$v" | wc -l)" = 1 ] || fail "$f has more than one line"
	done
	expect_eq "$(knob a policy)" ulp "policy of a new device"
	for v in off auto ulp; do
		knob a policy $v || fail "policy $v is refused"
		expect_eq "$(knob a policy)" $v "policy"
	done
	knob a policy sometimes 2>/dev/null && fail "a policy 'sometimes' is accepted"
	knob a port_min 70000 2>/dev/null && fail "port 70000 is accepted"
	knob a capacity -1 2>/dev/null && fail "a capacity of -1 is accepted"
	knob a connections 1 2>/dev/null && fail "connections can be written"
	for f in min_bytes conn_limit port_min port_max; do
		knob a $f 1234 || fail "$f 1234 is refused"
		expect_eq "$(knob a $f)" 1234 "$f"
	done
	expect_eq "$(knob b min_bytes)" "$(ip netns exec $B cat /sys/class/net/$DB/toe/min_bytes)" "min_bytes"
	[ "$(knob b conn_limit)" != 1234 ] || fail "the knobs of the two ends are one"
}

t_many_devices() {
	local i n=32
	pair_down
	make_ns
	for ((i = 0; i < n; i++)); do
		make_pair p$i q$i || fail "pair $i"
	done
	expect_eq "$(ip -n $A -o link show type "$TOE_KIND" | wc -l)" $n "devices"
	# All in one go, as a namespace's end does it.
	pair_down
	until_ok 20 sh -c "! ip netns list | grep -q $A" || fail "the namespace stays"
}

run create_delete names details carrier up_down netns_move netns_delete ping mtu_range \
	ethtool_info ethtool_features ethtool_stats ethtool_channels ethtool_rings queue_stats \
	link_stats threaded_napi sysfs many_devices
