#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The path changes under delegated connections: routes, gateways, neighbours, path
# MTU. What is cached in the target follows the host.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

SERVICE=198.51.100.9

# Updates and uploads of end a since `snap`.
updated() { # NAME AT_LEAST
	is_toe || return 0
	expect_ge "$(delta a "toe_update_$1")" "$2" "toe_update_$1"
}
not_uploaded() { # NAME
	is_toe || return 0
	expect_eq "$(delta a "toe_upload_$1")" 0 "toe_upload_$1"
}

# A transfer that lasts for some seconds, with data and ACKs all the time.
slow_start() { # SECONDS
	xfer 4 --bytes $((16384 * 10 * $1)) --conns 2 --wait epoll --sndbuf 16384 --rcvbuf 16384 \
		--pause-every 16k --pause-ms 100 $(ulp client) &
	slow=$!
	echo $slow >>"$WORK/pids"
	pause 0.5
	is_toe && snap a
}
slow_end() { wait $slow || fail "the transfer failed: $(cat "$WORK/json")"; }

# Routes that concern nobody come and go: every cached route is looked up again.
t_routes_change() { # FAMILY
	local i net=198.18.0.0/24
	[ "$1" = 6 ] && net=2001:db8:ffff::/64
	fresh
	hold_start "$1" --bytes "$(kib 2048)" $(ulp client)
	is_toe && snap a
	ip -n $A "-$1" route add $net dev $DA || fail "route"
	hold_end
	not_uploaded route_change
	# A route of IPv6 is not invalid for another one.
	[ "$1" = 6 ] || updated route 1
	slow_start 3
	for ((i = 0; i < 10; i++)); do
		ip -n $A "-$1" route del $net dev $DA
		ip -n $A "-$1" route add $net dev $DA
		pause 0.1
	done
	slow_end
	not_uploaded route_change
	expect_no_entries
}

# Two gateways behind one link, each with its link address.
gateways() {
	local i
	fresh
	ip -n $B addr flush dev $DB
	ip -n $B link add br0 type bridge || skip "no bridges in this kernel"
	ip -n $B link set $DB master br0
	set_sysctl b net.ipv4.conf.all.arp_ignore 1
	for i in 1 2; do
		ip -n $B link add g$i type veth peer name p$i || fail "veth"
		ip -n $B link set p$i master br0
		ip -n $B link set p$i up
		ip -n $B link set g$i up
		ip -n $B addr add 192.0.2.1$i/24 dev g$i
	done
	ip -n $B link set br0 up
	ip -n $B addr add $SERVICE/32 dev lo
	B4=$SERVICE
	pings a 192.0.2.11 && pings a 192.0.2.12 || fail "no gateway"
}

mac_of() { ip -n $B -o link show dev "$1" | sed 's/.*ether \([^ ]*\).*/\1/'; }

# The route gets another gateway in mid-stream, and frames its link address.
t_gateway() {
	gateways
	ip -n $A route add $SERVICE via 192.0.2.11 || fail "route"
	hold_start 4 --bytes "$(kib 512)" $(ulp client)
	is_toe && snap a
	ip -n $A route replace $SERVICE via 192.0.2.12
	pings a 192.0.2.12
	before=$(ns_cat b /sys/class/net/g1/statistics/rx_bytes)
	hold_end
	after=$(ns_cat b /sys/class/net/g1/statistics/rx_bytes)
	# Broadcasts, if anything.
	[ $((after - before)) -lt 1000 ] || fail "$((after - before)) bytes to the old gateway"
	not_uploaded route_change
	updated route 1
	expect_no_entries
}

# The host stack sends the first frame by the new route, which is valid when the target goes on.
t_gateway_host_first() {
	need_toe
	gateways
	ip -n $A route add $SERVICE via 192.0.2.11 || fail "route"
	server b 7100 4
	pings a 192.0.2.12
	snap a
	TOE_NS=$BIN/toe_ns in_a python3 -ISB "$here/tree_conn.py" host_first $B4 7100 $DA \
		sh -c "ip route replace $SERVICE via 192.0.2.12
		ip netns exec $B cat /sys/class/net/g1/statistics/rx_bytes >$WORK/before" || fail "host_first"
	before=$(<"$WORK/before") after=$(ns_cat b /sys/class/net/g1/statistics/rx_bytes)
	[ $((after - before)) -lt 1000 ] || fail "$((after - before)) bytes to the old gateway"
	not_uploaded route_change
	updated route 1
	end_bg
	expect_no_entries
}

# The gateway's address moves to another machine, which says so.
t_gateway_moves() {
	gateways
	ip -n $A route add $SERVICE via 192.0.2.11 || fail "route"
	hold_start 4 --bytes "$(kib 512)" $(ulp client)
	is_toe && snap a
	set_sysctl b net.ipv4.conf.g2.arp_notify 1
	ip -n $B link set g1 down
	ip -n $B addr add 192.0.2.11/24 dev g2
	# What a neighbour says within a second of the last time does not count.
	pause 1.2
	ip -n $B link set g2 address 02:00:00:00:77:03
	until_ok 10 sh -c "ip -n $A neigh show 192.0.2.11 | grep -q $(mac_of g2)" ||
		fail "nobody was told: $(ip -n $A neigh show)"
	hold_end
	not_uploaded route_change
	not_uploaded neighbour
	updated neighbour 1
	expect_no_entries
}

# Another device is the way now: the connection goes on there.
t_other_device() {
	local two=toe8 other=toe9
	fresh
	make_pair $two $other || fail "no second pair"
	ip -n $A addr add 198.51.100.1/32 dev lo
	ip -n $A addr add 192.0.3.1/24 dev $two
	ip -n $A link set $two up
	ip -n $B addr add $SERVICE/32 dev lo
	ip -n $B addr add 192.0.3.2/24 dev $other
	ip -n $B link set $other up
	ip -n $B route add 198.51.100.1 via $A4
	ip -n $A route add $SERVICE via $B4 src 198.51.100.1 || fail "route"
	B4=$SERVICE
	pings a 192.0.3.2 || fail "the second pair does not work"
	slow_start 2
	ip -n $A route replace $SERVICE via 192.0.3.2 src 198.51.100.1
	ip -n $B route replace 198.51.100.1 via 192.0.3.1
	slow_end
	if is_toe; then
		expect_ge "$(delta a toe_upload_route_change)" 1 "uploads by route_change"
		expect_ge "$(in_a ethtool -S $two | awk '$1 == "toe_offloads:" { print $2 }')" 1 \
			"offloads to the other device"
	fi
	ip -n $A link del $two
	expect_no_entries
}

# Entries are deleted again and again: never stuck, and back in the target.
t_neighbour_deleted() { # FAMILY
	local i
	fresh
	slow_start 3
	for ((i = 0; i < 10; i++)); do
		ip -n $A neigh flush dev $DA
		pause 0.2
	done
	slow_end
	# The last bytes of a transfer without an entry in the table say the same.
	is_toe && expect_ge "$(delta a toe_upload_neighbour)" 1 "uploads by neighbour"
	expect_no_entries
}

neigh_state() { ip -n $A neigh show $B4 dev $DA | awk '{ print $NF }'; }

# A neighbour that nobody answers for is kept while connections get ACKs by it.
t_confirmed() {
	fresh
	set_sysctl a net.ipv4.neigh.$DA.base_reachable_time_ms 1000
	set_sysctl a net.ipv4.neigh.$DA.delay_first_probe_time 1
	set_sysctl a net.ipv4.neigh.$DA.retrans_time_ms 200
	set_sysctl b net.ipv4.conf.$DB.arp_ignore 8
	slow_start 8
	pause 6
	state=$(neigh_state)
	slow_end
	case $state in
	REACHABLE | DELAY | STALE) ;;
	*) fail "the neighbour is $state" ;;
	esac
	not_uploaded neighbour
	expect_no_entries
}

# It has another link address and tells nobody: found as fast as the host finds it.
t_silent_address() {
	local mac=02:00:00:00:77:02
	fresh
	set_sysctl a net.ipv4.neigh.$DA.base_reachable_time_ms 1000
	set_sysctl a net.ipv4.neigh.$DA.delay_first_probe_time 1
	set_sysctl a net.ipv4.neigh.$DA.retrans_time_ms 200
	slow_start 4
	ip -n $B link set $DB address $mac || fail "address"
	# What B knows of A does not tell A.
	slow_end
	ip -n $A neigh show $B4 dev $DA | grep -q $mac || fail "A does not know $mac"
	expect_no_entries
}

# A link behind a router gets narrower with data on the way.
t_pmtu() { # MTU
	local r=toe-r-$$
	fresh
	ip netns del $r 2>/dev/null
	ip netns add $r || fail "netns"
	ip -n $B link set $DB netns $r
	ip -n $r link add e0 type veth peer name e1 netns $B || fail "veth"
	ip -n $r addr add $B4/24 dev $DB
	ip -n $r addr add 198.51.100.1/24 dev e0
	ip -n $B addr add $SERVICE/24 dev e1
	ip -n $r link set $DB up
	ip -n $r link set e0 up
	ip -n $B link set e1 up
	ip netns exec $r sh -c "echo 1 >/proc/sys/net/ipv4/ip_forward"
	ip -n $A route add 198.51.100.0/24 via $B4
	ip -n $B route add default via 198.51.100.1
	B4=$SERVICE
	pings a $SERVICE || fail "no way through the router"
	slow_start 4
	pause 0.5
	ip -n $r link set e0 mtu "$1"
	ip -n $B link set e1 mtu "$1"
	slow_end
	ip -n $A route get $SERVICE | grep -q "mtu $1" || fail "nobody told of the MTU"
	not_uploaded route_change
	[ "$(uploads_in_passing a)" = 0 ] || echo "# note: an upload in passing"
	! is_toe || until_ok 10 table_empty a || fail "connections are left"
	ip netns del $r
}

pair_up || skip_all "cannot set up the pair"
run "routes_change 4" "routes_change 6" gateway gateway_host_first gateway_moves \
	other_device "neighbour_deleted 4" confirmed silent_address "pmtu 1000" "pmtu 600"
