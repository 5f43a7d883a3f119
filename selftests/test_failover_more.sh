#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# More of test_failover.sh: what else happens to bonds and their members while connections lie
# on them, and many failovers. With TOE_KIND=veth the same without an offload.
#
#   FAILOVERS           how many of `many` (default: 12)
#   FAILOVERS_PROGRESS  1: lines of progress, beginning with @

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
. "$(dirname "$0")/bond_lib.sh"

# A transfer that goes on while something happens: its readers pause, so that it takes a second
# and more on any machine.
long_start() { # FAMILY OPTION...
	xfer "$@" --pause-every 128k --pause-ms 120 &
	long=$!
	echo $long >>"$WORK/pids"
}
long_goes_on() { kill -0 $long 2>/dev/null; }
long_end() {
	wait $long || fail "transfer failed with code $?: $(cat "$WORK/json")"
}
# Connections that had to leave a member.
left() {
	echo $(($(total toe_failover_moved) + $(total toe_failover_link) + $(total toe_failover_host)))
}
note_left() {
	! is_toe || note "moved $(total toe_failover_moved), by link $(total toe_failover_link), host $(total toe_failover_host)" \
		"$(members | awk '/toe_refuse_/ && $2 { n[$1] += $2 } END { for (i in n) printf "%s %d ", i, n[i] }')"
}
offloaded_some() { ! nothing_left; }
has_all() {
	count_conns
	[ $((conns[0] + conns[1])) = "$1" ]
}

# Each kind of call while a member is gone and comes back.
t_modes() { # FAMILY KIND MODE [OPTION...]
	local fam=$1 kind=$2 at=$DA i
	shift 2
	bonded "$@"
	for i in {1..5}; do
		long_start "$fam" --bytes "$(kib 2048)" --conns 6 --tx mix --rx mix --ulp-try --ulp both
		! is_toe || until_soon 5 offloaded_some
		while long_goes_on; do
			! is_toe || at=$(home)
			at=${at:-$DA}
			fail_member "$kind" "$at"
			pause 0.2
			restore_member "$kind" "$at"
			until_soon 5 both_members_up
			pause 0.1
		done
		long_end
		is_toe && [ "$(left)" = 0 ] || break
	done
	! is_toe || expect_ge "$(left)" 1 "connections that had to leave"
	note_left
	expect_nothing_left
	unbonded
}

# The rules of the other member are asked, too.
t_rules() {
	local first second
	need_toe
	bonded active-backup miimon 20
	printf 'remote 2001:db8::/32 => deny\nany => offload\nend\n' |
		"$BIN/toe_ns" $A write /sys/class/net/$DA2/toe/rules || fail "rules"
	server b 7100 4
	hold_conns 4 5 1
	first=$held
	server b 7100 6
	hold_conns 6 3 1
	second=$held
	expect_eq "$(conns_of $DA)" 8 "connections of $DA"
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "connections are still there"
	expect_eq "$(of $DA toe_failover_moved)" 5 "connections that moved"
	expect_eq "$(of $DA toe_failover_link)" 3 "connections that the other member carries"
	expect_eq "$(of $DA2 toe_refuse_rule)" 3 "refusals by rule"
	expect_eq "$(conns_of $DA2)" 5 "connections of $DA2"
	let_go
	wait $first || fail "connections that moved failed"
	wait $second || fail "connections that the host stack has failed"
	end_bg
	unbonded
}

# A device becomes a member while connections lie at it: for that it is set down, and its
# addresses are the bond's then. TCP waits for that. What comes back then is for the policy, or an
# administrator.
t_formed() { # FAMILY
	local dev
	need_module bonding
	fresh
	make_pair $DA2 $DB2 || fail "a second pair"
	if is_toe; then
		auto_policy a b
		for dev in $DA $DA2; do set_of $dev policy auto && set_of $dev min_segments 0; done
	fi
	hold_start "$1" --bytes "$(kib 512)"
	! is_toe || until_ok 10 moved_to $DA || fail "not offloaded before there is a bond"
	bond_of_end a mode active-backup miimon 20 primary $DA2 &&
		bond_of_end b mode active-backup miimon 20 primary $DB2 || fail "cannot make the bonds"
	! is_toe || expect_ge "$(of $DA toe_upload_link_down)" 1 "uploads"
	until_ok 20 carriers && until_ok 20 pings a "$(addr b "$1")" || fail "the bonds do not carry"
	# By the primary one, where it has not been before.
	if is_toe; then
		set_of $DA2 offload_all 1
		until_ok 10 moved_to $DA2 ||
			fail "it is not offloaded again: $(members | grep refuse | grep -v ': 0$')"
	fi
	hold_end
	expect_nothing_left
	unbonded
}

# Another member joins, and a hash has more to choose from.
t_joins() { # OPTIONS...
	local n=24 there
	bonded "$@"
	ip -n $A link set $DA2 nomaster
	held_conns 4 $n ulp
	! is_toe || expect_eq "$(conns_of $DA)" $n "connections of the only member"
	snap_members
	restore_member release $DA2
	until_ok 10 both_members_up || fail "the new member is not up"
	if is_toe; then
		until_ok 10 there_are_some $DA2 || fail "nothing moved"
		until_ok 10 has_all $n || fail "connections of $n: ${conns[*]}"
		there=$(conns_of $DA2)
		expect_eq "$(of $DA toe_failover_moved)" "$there" "connections that moved"
		expect_eq "$(of $DA toe_failover_link)" 0 "connections by link"
		note "$there of $n moved to the new member"
	fi
	held_end
	expect_nothing_left
	unbonded
}
there_are_some() { [ "$(conns_of "$1")" -gt 0 ]; }

# A member goes to another namespace: that is no member any more.
t_member_moves_away() {
	bonded active-backup miimon 20
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	ip -n $A link set $DA netns $B name away0 || fail "cannot move the device"
	! is_toe || until_ok 10 moved_to $DA2 || fail "it did not move"
	hold_end
	! is_toe || until_ok 10 gone_from $DA2 || fail "connections are left"
	unbonded
	ip -n $B link del away0
}

# The namespace of one end goes while connections lie on the bond in it. It goes when the last
# process leaves, and its devices with it; nothing is left of either end.
t_netns_del() { # OPTIONS...
	bonded "$@"
	bg xfer 4 --bytes 1g --conns 6 --may-break $(ulp)
	! is_toe || until_ok 20 offloaded_some || fail "not offloaded"
	ip netns del $B || fail "ip netns del"
	pause 0.3
	pkill -9 -P "$(tail -1 "$WORK/pids")"
	end_bg
	# A peer is gone with its device.
	until_ok 60 no_pair || fail "devices of the namespace are left"
	ip netns del $A
	make_ns || fail "namespaces"
}
no_pair() { ! ip -n $A link show dev $DA && ! ip -n $A link show dev $DA2; } >/dev/null 2>&1

# The bond's link address changes: the layer is another one, and the connection comes back to
# the host stack, and is offloaded again.
t_address() {
	local at=$DA mac=02:00:00:00:77:0b
	bonded balance-xor miimon 20 xmit_hash_policy layer3+4
	"$BIN/toe_ns" $A put /proc/sys/net/ipv4/conf/$BA/arp_notify 1
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	! is_toe || at=$(home)
	snap_members
	ip -n $A link set $BA address $mac || fail "address"
	if is_toe; then
		until_ok 10 uploaded || fail "no upload by route_change: $(members | grep upload_ | grep -v ': 0$')"
		until_ok 10 has_all 1 || fail "it does not come back"
	fi
	hold_end
	expect_nothing_left
	unbonded
}
uploaded() { [ "$(total toe_upload_route_change)" -ge 1 ]; }

# A filter at the other member: what comes in by that is for the host stack, which shows it to
# the filter.
t_filter() {
	local other at=$DA
	need tc
	bonded balance-xor miimon 20 xmit_hash_policy layer3+4
	hold_start 4 --bytes "$(kib 512)" --back "$(kib 512)" $(ulp)
	! is_toe || at=$(home)
	other=$(other_than "$at")
	tc -n $A qdisc add dev "$other" clsact &&
		tc -n $A filter add dev "$other" ingress matchall action pass ||
		skip "no clsact in this kernel"
	# The peer sends by the other one.
	ip -n $B link set "$(peer_member "$at")" nomaster || fail "nomaster"
	snap_members
	hold_end
	expect_ge "$(filtered "$other")" 20 "frames that the filter saw"
	if is_toe; then
		expect_eq "$(total toe_failover_moved)" 0 "connections that moved at end a"
	fi
	expect_nothing_left
	unbonded
}
filtered() {
	tc -n $A -s filter show dev "$1" ingress |
		awk '$1 == "Sent" { n = $4 } END { print n + 0 }'
}

# A member that refuses for a reason that passes gets the connections when it has.
t_qdisc() {
	need_toe
	need tc
	bonded active-backup miimon 20
	tc -n $A qdisc replace dev $DA2 root pfifo limit 1000 || skip "no qdisc"
	held_conns 4 5 ulp
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "connections are still there"
	expect_eq "$(of $DA toe_failover_moved)" 0 "connections that moved"
	expect_eq "$(of $DA toe_failover_link)" 5 "connections that the other member carries"
	expect_ge "$(of $DA2 toe_refuse_qdisc)" 5 "refusals"
	tc -n $A qdisc del dev $DA2 root
	until_ok 20 moved_to $DA2 5 || fail "they do not come back"
	held_end
	unbonded
}

# More connections than an event moves by itself: a worker moves the others.
t_crowd() { # COUNT MODE [OPTION...]
	local n=$1 at to
	shift
	need_toe
	bonded "$@"
	held_conns 4 $n ulp
	at=$(home)
	to=$(other_than "$at")
	expect_eq "$(conns_of "$at")" $n "connections of the member"
	set_link $A "$at" down
	until_ok 20 moved_to "$to" $n || fail "connections of the other member: $(conns_of "$to") of $n"
	expect_eq "$(of "$at" toe_failover_moved)" $n "connections that moved"
	held_end
	expect_nothing_left
	unbonded
}

# A call waits in a buffer that it has posted, with and without bytes in it, while its connection
# moves: it gets all, in order.
t_posted() { # MODE [OPTION...]
	local dev probe fails="$BIN/toe_ns $A put /sys/class/net" conns="$BIN/toe_ns $A cat /sys/class/net"
	need_toe
	bonded "$@"
	# Whether it pays or not.
	for dev in $DA $DA2; do set_of $dev user_buffer_min 1 && set_of $dev user_buffer_frames 0; done
	for probe in upload upload_partial timeout_upload_data; do
		snap_members
		probe buffer $probe 4 --before "for dev in $DA $DA2; do
			[ \"\$($conns/\$dev/toe/connections)\" = 0 ] ||
				{ $fails/\$dev/flags 0x1002; break; }
			done; sleep 0.2"
		expect_ge "$(total toe_buf_posted)" 1 "$probe: buffers"
		expect_ge "$(total toe_buf_special)" 1 "$probe: buffers that came back"
		expect_eq "$(total toe_failover_moved)" 1 "$probe: connections that moved"
		for dev in $DA $DA2; do set_link $A $dev up; done
		until_soon 20 both_members_up || fail "a member stays down"
	done
	expect_nothing_left
	unbonded
}

# A member that has connections to offload is deleted: they are the other one's then.
t_candidates() {
	need_toe
	bonded active-backup miimon 20
	set_of $DA2 policy off
	held_conns 4 5 ulp
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "connections are still there"
	expect_eq "$(of $DA toe_failover_link)" 5 "connections that the other member carries"
	expect_ge "$(of $DA2 toe_refuse_policy)" 5 "refusals"
	ip -n $A link del $DA || fail "cannot delete the member"
	set_of $DA2 policy ulp
	until_ok 20 moved_to $DA2 5 || fail "they do not come back: $(conns_of $DA2) of 5"
	held_end
	unbonded
}

# An administrator changes the hash while transfers run.
t_hash() { # FAMILY
	local policy i
	bonded balance-xor miimon 20 xmit_hash_policy layer2
	for i in {1..5}; do
		long_start "$1" --bytes "$(kib 1536)" --conns 8 --ulp-try --ulp both
		while long_goes_on; do
			for policy in layer3+4 layer2 vlan+srcmac layer2+3; do
				ip -n $A link set $BA type bond xmit_hash_policy $policy || fail "policy"
				pause 0.15
			done
		done
		long_end
		is_toe && [ "$(total toe_failover_moved)" = 0 ] || break
	done
	! is_toe || expect_ge "$(total toe_failover_moved)" 1 "connections that moved"
	note_left
	expect_nothing_left
	unbonded
}

# The second target takes no layers, and so nothing on a bond: it says so, and the host stack has
# the connections, whether they come from the other target or are new.
t_other_target() {
	local SECOND_KIND=toe-example
	need_toe
	ip link add "y$$" type toe-example peer name "z$$" 2>/dev/null || skip "no second target"
	ip link del "y$$"
	bonded active-backup miimon 20
	held_conns 4 5 ulp
	expect_eq "$(conns_of $DA)" 5 "connections of $DA"
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "connections are still there"
	expect_eq "$(of $DA toe_failover_moved)" 0 "connections that moved"
	expect_eq "$(of $DA toe_failover_link)" 5 "connections that the other member carries"
	expect_eq "$(of $DA2 toe_refuse_vlan)" 5 "refusals"
	xfer 4 --bytes 20000 --ulp-try --ulp both || fail "$(cat "$WORK/json")"
	expect_ge "$(of $DA2 toe_refuse_vlan)" 6 "refusals"
	expect_eq "$(of $DA2 toe_offloads)" 0 "offloads of the second target"
	held_end
	ip -n $A link set $DA up
	unbonded
}

# Many failovers: some connections that stay, and others that move data all the time.
IDLE=6
t_many() { # MODE [OPTION...]
	local n=0 kind at="" count=${FAILOVERS:-12} start=$SECONDS base
	local -a kinds=(local peer)
	bonded "$@"
	[ "$1" != active-backup ] || kinds+=(active)
	held_conns 4 $IDLE ulp
	loads &
	echo $! >>"$WORK/pids"
	base=$(losses)
	while [ $n -lt "$count" ]; do
		for kind in "${kinds[@]}"; do
			n=$((n + 1))
			until_soon 20 both_members_up || fail "$n: a member stays down"
			# With a hash connections are at both; else at the active one.
			if [ "$1" = active-backup ]; then
				at=$(ns_cat a /sys/class/net/$BA/bonding/active_slave)
			else
				at=$(other_than "${at:-$DA}")
			fi
			fail_member "$kind" "$at" || fail "$n: cannot fail: $kind"
			if is_toe; then
				until_soon 20 others_have "$at" $IDLE ||
					fail "$n: $kind: connections of the other member and $at: ${conns[*]}"
			else
				pause 0.1
			fi
			[ "$kind" = active ] || restore_member "$kind" "$at"
			[ -e "$WORK/load" ] || fail "a transfer failed after $n failovers: $(cat "$WORK/json")"
			if [ -n "$FAILOVERS_PROGRESS" ] && [ $((n % 20)) = 0 ]; then
				echo "@$n failovers, $((SECONDS - start)) s, moved $(total toe_failover_moved)" >&9
			fi
		done
	done
	until_ok 20 both_members_up
	: >"$WORK/enough"
	until_ok 120 loads_ended || fail "a transfer does not end"
	[ -e "$WORK/load" ] || fail "a transfer failed: $(cat "$WORK/json")"
	held_end
	expect_eq "$(losses)" "$base" "connections that were reset, and given up"
	note "$n failovers in $((SECONDS - start)) s, $(wc -l <"$WORK/load") transfers beside them"
	note_left
	! is_toe || expect_ge "$(total toe_failover_moved)" $((n * IDLE / 2)) "connections that moved"
	expect_nothing_left
	unbonded
}
# Transfers one after the other until it is enough; no file `load` if one fails.
loads() {
	rm -f "$WORK/enough"
	: >"$WORK/load"
	until [ -e "$WORK/enough" ]; do
		xfer 4 --bytes "$(kib 256)" --conns 3 --pause-every 64k --pause-ms 100 --ulp-try --ulp both ||
			{ rm -f "$WORK/load"; break; }
		echo >>"$WORK/load"
	done
	: >"$WORK/loads_ended"
}
loads_ended() { [ -e "$WORK/loads_ended" ]; }
# Not TcpOutRsts: a FIN that a probe sends a second time is acknowledged twice, and the second
# answer may find no socket any more. A connection that is reset fails its transfer.
losses() {
	local end name
	for end in a b; do
		for name in TcpEstabResets TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnData; do
			snmp $end $name
		done
	done | tr '\n' ' '
}

# For progress, past the file that keeps what a case says.
exec 9>&1
pair_up || skip_all "cannot set up the pair"
XOR="balance-xor miimon 20 xmit_hash_policy"
run "modes 4 local active-backup miimon 20" "modes 6 peer $XOR layer3+4" rules "formed 6" \
	"joins $XOR layer3+4" member_moves_away \
	"netns_del $XOR layer3+4" address filter qdisc \
	"posted active-backup miimon 20" "posted $XOR layer3+4" candidates "hash 4" \
	"crowd 600 $XOR layer2" \
	other_target \
	"many active-backup miimon 20" "many $XOR layer3+4"
