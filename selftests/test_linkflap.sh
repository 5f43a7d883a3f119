#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Links that go down and come back, on either side, under traffic.

. "$(dirname "$0")/lib.sh"


flap() { # a|b COUNT DOWN UP
	local i ns=$A
	[ "$1" = b ] && ns=$B
	for ((i = 0; i < $2; i++)); do
		ip -n $ns link set "$(dev_of "$1")" down
		pause "$3"
		ip -n $ns link set "$(dev_of "$1")" up
		pause "$4"
	done
}

t_flap() { # FAMILY a|b DOWN
	local pid
	is_toe && snap a
	xfer "$1" --bytes "$(kib 16384)" --conns 4 --wait epoll --sndbuf 65536 --pause-every 1m --pause-ms 400 \
		$(ulp) --flip 100k &
	pid=$!
	echo $pid >>"$WORK/pids"
	pause 0.3
	flap "$2" 4 "$3" 0.5
	wait $pid || fail "transfer: $(cat "$WORK/json")"
	: >"$WORK/pids"
	if is_toe; then
		expect_ge $(($(delta a toe_upload_link_down) + 0)) 1 "uploads by link_down"
	else
		partial "uploads by link_down"
	fi
	expect_no_entries
}

# Down for good: the connection is the host's, and the application can close it.
t_down_for_good() {
	local pid
	xfer 4 --bytes 1g --conns 2 --wait epoll --stall 5 --may-break $(ulp) &
	pid=$!
	echo $pid >>"$WORK/pids"
	pause 0.7
	ip -n $A link set $DA down
	wait $pid
	rc=$?
	: >"$WORK/pids"
	ip -n $A link set $DA up
	expect_eq $rc 3 "exit code of a transfer over a dead link"
	expect_no_entries
}

# One end gets another link address in mid-stream and says so: its own connections
# come back, those of the other end send to the new address.
t_new_address() {
	local mac=02:00:00:00:77:01
	set_sysctl b net.ipv4.conf.$DB.arp_notify 1
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	is_toe && snap a && snap b
	ip -n $B link set $DB address $mac || fail "address of a device that is up"
	until_ok 10 sh -c "ip -n $A neigh show $B4 dev $DA | grep -q $mac" ||
		fail "the neighbour was not told: $(ip -n $A neigh show dev $DA)"
	hold_end
	if is_toe; then
		[ "$(uploads_in_passing b)" != 0 ] ||
			expect_ge "$(delta b toe_upload_route_change)" 1 "uploads of the end itself"
		expect_eq "$(delta a toe_upload_route_change)" 0 "uploads of the other end"
	fi
	expect_no_entries
}

# Nobody knows the next hop's address any more: the host stack asks.
t_forgotten_neighbour() {
	hold_start 4 --bytes "$(kib 512)" $(ulp client)
	is_toe && snap a
	ip -n $A neigh flush dev $DA
	hold_end
	if is_toe; then
		[ "$(uploads_in_passing a)" != 0 ] ||
			expect_ge "$(delta a toe_upload_neighbour)" 1 "uploads"
	fi
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
# IPv6 addresses would go with the link.
for end in a b; do
	set_sysctl $end "net.ipv6.conf.$(dev_of $end).keep_addr_on_down" 1
	set_sysctl $end "net.ipv6.conf.$(dev_of $end).accept_dad" 0
done
run "flap 4 a 0.1" "flap 4 b 0.1" "flap 6 a 0.1" "flap 4 a 1" "flap 6 b 1" \
	new_address forgotten_neighbour down_for_good
