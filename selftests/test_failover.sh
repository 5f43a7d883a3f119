#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Connections over a bond of two pairs: by which member they go, and what becomes of them when
# that fails, while their bytes are checked. With TOE_KIND=veth the same without an offload.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
. "$(dirname "$0")/bond_lib.sh"

# An offload over the bond; frames come in by whichever member the peer chooses.
t_offload() { # FAMILY MODE [OPTION...]
	local fam=$1 bytes
	shift
	bonded "$@"
	bytes=$(kib 2048)
	need_xfer "$fam" --bytes "$bytes" --conns 8 $(ulp)
	if is_toe; then
		expect_ge "$(total toe_offloads)" 16 "offloads"
		expect_ge "$(total toe_rx_bytes)" "$bytes" "bytes received by the targets"
		expect_eq "$(total toe_failover_moved)" 0 "connections that moved"
	fi
	expect_nothing_left
	unbonded
}

# A connection that has transferred half of its data when its member fails.
t_fails() { # KIND MODE [OPTION...]
	local kind=$1 at returns=0
	shift
	bonded "$@"
	hold_start 4 --bytes "$(kib 1024)" $(ulp)
	at=$DA
	! is_toe || at=$(home)
	[ -n "$at" ] || fail "the connection is not offloaded"
	! is_toe || [ ! -d /sys/kernel/debug/toe ] || expect_bond_layer "$at"
	fail_member "$kind" "$at" || fail "cannot fail: $kind"
	if is_toe; then
		until_ok 5 gone_from "$at" || fail "the connection is still at $at"
		until_ok 10 moved_to "$(other_than "$at")" ||
			fail "it did not move: $(members | grep 'failover\|refuse\|upload_')"
		# With LACP there may be a moment in which no member carries frames.
		[ "$1" != 802.3ad ] || [ "$(of "$at" toe_failover_host)" != 1 ] || returns=1
		expect_eq "$(of "$at" toe_failover_moved)" $((1 - returns)) "connections that moved from $at"
		expect_eq "$(of "$at" toe_failover_host)" $returns "connections left to the host stack"
	fi
	hold_end
	restore_member "$kind" "$at"
	expect_nothing_left
	unbonded
}
# What the connection lies on at its target: the neighbour on the bond.
expect_bond_layer() { # DEVICE
	expect_eq "$(objects "$1" layer)" 1 "layers of $1"
	expect_eq "$(field "$1" layer 7)" bond "kind of the layer"
	expect_eq "$(field "$1" neighbour 3)" "$(field "$1" layer 2)" "what the neighbour lies on"
}
# Members that fail and come back under load.
t_flaps() { # KIND MODE [OPTION...]
	local kind=$1 i
	shift
	bonded "$@"
	flapper "$kind" &
	echo $! >>"$WORK/pids"
	# Without a member there is nothing that could take a connection.
	for i in {1..5}; do
		need_xfer 4 --bytes "$(kib 4096)" --conns 8 --ulp-try --ulp both
		need_xfer 6 --bytes "$(kib 1024)" --conns 4 --tx mix --rx mix --ulp-try --ulp both
		! is_toe || [ "$(total toe_failover_moved)" -lt 5 ] || break
	done
	end_bg
	# One that is in the middle of loss recovery is not taken.
	! is_toe || expect_ge $(($(total toe_failover_moved) + $(total toe_failover_link) +
		$(total toe_failover_host))) 1 "connections that had to leave"
	note "moved $(total toe_failover_moved), by link $(total toe_failover_link), host $(total toe_failover_host)"
	expect_nothing_left
	unbonded
}

# The peer chooses by other fields, and so another member: its frames are the entry's, too.
t_asymmetric() { # FAMILY
	bonded balance-xor miimon 100 xmit_hash_policy layer3+4
	ip -n $B link set $BB type bond xmit_hash_policy layer2 || fail "policy"
	snap_members
	need_xfer "$1" --bytes "$(kib 512)" --conns 16 $(ulp)
	if is_toe; then
		expect_ge "$(total toe_offloads)" 32 "offloads"
		expect_ge "$(conns_by "$1" $DA)" 1 "connections of $DA"
		expect_ge "$(conns_by "$1" $DA2)" 1 "connections of $DA2"
		# Of end b one member has all connections, and the other receives, too.
		expect_ge "$(received_for_other)" "$(kib 512)" "bytes that a member received for the other"
		expect_ge "$(total toe_rx_bytes)" $((8 * $(kib 512))) "bytes received by the targets"
	fi
	expect_nothing_left
	unbonded
}
received_for_other() {
	local dev
	for dev in $DB $DB2; do
		"$BIN/toe_ns" $B counters $dev | awk '
			$1 == "toe_offloads:" { n = $2 } $1 == "toe_rx_bytes:" { bytes = $2 }
			END { if (!n) print bytes }'
	done
}
conns_by() { of "$2" toe_offloads; }

# A member that is a plain device carries the frames, and the host stack works.
t_link_only() {
	need_toe
	need_module bonding
	fresh
	TOE_KIND=veth make_pair $DA2 $DB2 || fail "a veth pair"
	bond_of_end a mode active-backup miimon 20 primary $DA &&
		bond_of_end b mode active-backup miimon 20 primary $DB || fail "cannot make the bonds"
	until_ok 20 carriers && until_ok 20 pings a $B4 || fail "the bonds do not carry"
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	expect_eq "$(conns_of $DA)" 1 "connections"
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "the connection is still there"
	expect_eq "$(of $DA toe_failover_link)" 1 "connections that another member carries"
	expect_eq "$(of $DA toe_failover_moved)" 0 "connections that moved"
	hold_end
	ip -n $A link set $DA up
	unbonded
}

# The other member takes some of them, or none; the rest are carried by it, too.
t_room() { # KNOB VALUE CONNECTIONS MOVED
	need_toe
	bonded active-backup miimon 20
	set_of $DA2 "$1" "$2"
	held_conns 4 "$3" ulp
	expect_eq "$(conns_of $DA)" "$3" "connections of $DA"
	ip -n $A link set $DA down
	until_ok 5 gone_from $DA || fail "connections are still there"
	expect_eq "$(of $DA toe_failover_moved)" "$4" "connections that moved"
	expect_eq "$(of $DA toe_failover_link)" $(($3 - $4)) "connections that the other member carries"
	expect_eq "$(conns_of $DA2)" "$4" "connections of $DA2"
	held_wait
	unbonded
}
# What goes for good.
t_goes() { # member|bond|other_end
	bonded balance-xor miimon 20 xmit_hash_policy layer3+4
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	local at=$DA
	! is_toe || at=$(home)
	case $1 in
	member) ip -n $A link del "$at" ;;
	bond) ip -n $A link del $BA ;;
	down) ip -n $A link set $BA down ;;
	esac
	if is_toe && [ "$1" != member ]; then
		until_ok 5 gone_from "$at" || fail "the connection is still there"
		expect_ge "$(of "$at" toe_upload_bond)$(of "$at" toe_failover_host)" 1 "uploads"
	fi
	case $1 in
	down) ip -n $A link set $BA up && ip -n $A addr replace $A6/64 dev $BA nodad ;;
	bond)
		# Its addresses are the first device's from here on.
		ip -n $A link set $DA2 down
		ip -n $A addr add $A4/24 dev $DA
		ip -n $A link set $DA up
		ip -n $B link set $BB type bond xmit_hash_policy layer2
		ip -n $B link set $DB2 down
		;;
	esac
	hold_end
	unbonded
}

# The module, while connections lie on a bond: nothing of it keeps the devices.
t_unload() {
	can_reload
	bonded balance-xor miimon 20 xmit_hash_policy layer3+4
	held_conns 4 8 ulp
	expect_ge "$(($(conns_of $DA) + $(conns_of $DA2)))" 8 "connections"
	end_bg
	timeout 60 rmmod toe || fail "rmmod"
	reload
}

# A VLAN device on the bond.
t_vlan() { # KIND
	bonded balance-xor miimon 20 xmit_hash_policy layer3+4
	vlan_on_bonds
	snap_members
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	local at=$DA
	! is_toe || at=$(home)
	[ -n "$at" ] || fail "not offloaded: $(members | grep refuse)"
	fail_member "$1" "$at"
	if is_toe; then
		until_ok 5 moved_to "$(other_than "$at")" || fail "it did not move"
		expect_eq "$(of "$at" toe_failover_moved)" 1 "connections that moved"
	fi
	hold_end
	restore_member "$1" "$at"
	expect_nothing_left
	unbonded
	A4=192.0.2.1 B4=192.0.2.2
}

# Taps see each frame once at the member and once at the bond.
t_taps() {
	need tcpdump
	bonded active-backup miimon 100
	capture bond a $BA -s 100
	capture member a $DA -s 100
	need_xfer 4 --bytes 200000 $(ulp)
	captured bond member
	expect_ge "$(payload bond $A4)" 200000 "bytes that the bond's tap saw from a"
	expect_ge "$(payload bond $B4)" 200000 "bytes that the bond's tap saw from b"
	expect_ge "$(payload member $A4)" 200000 "bytes that the member's tap saw from a"
	expect_ge "$(payload member $B4)" 200000 "bytes that the member's tap saw from b"
	unbonded
}

# Modes by which the frames of a connection leave by any member.
t_refused() { # MODE...
	local mode
	need_toe
	for mode; do
		bonded "$mode"
		xfer 4 --bytes 20000 --ulp-try --ulp both || fail "$mode: $(cat "$WORK/json")"
		expect_eq "$(total toe_offloads)" 0 "$mode: offloads"
		expect_ge "$(total toe_refuse_bond_mode)" 2 "$mode: refusals"
		unbonded
	done
}

pair_up || skip_all "cannot set up the pair"
XOR="balance-xor miimon 20 xmit_hash_policy"
run "offload 4 active-backup miimon 100" "offload 4 $XOR layer3+4" "offload 6 $XOR layer2" \
	"asymmetric 4" "asymmetric 6" taps \
	"fails active active-backup miimon 100" "fails local active-backup miimon 20" \
	"fails local $XOR layer3+4" "fails peer $XOR layer3+4" "fails release $XOR layer3+4" \
	"fails local 802.3ad miimon 20 lacp_rate fast xmit_hash_policy layer3+4" \
	"fails peer 802.3ad miimon 20 lacp_rate fast xmit_hash_policy layer2+3" \
	"flaps peer active-backup miimon 20" \
	link_only "room conn_limit 3 8 3" "room policy off 8 0" "room batch 64 70 70" \
	"goes member" "goes bond" "goes down" unload "vlan local" "refused balance-rr broadcast"
