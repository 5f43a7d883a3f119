#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What a NIC says that it can do, and NICs that can do less, or nothing any more: alone, and as
# the member of a bond that connections have to move to.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
. "$(dirname "$0")/bond_lib.sh"

resources() { "$BIN/toe_ns" $A cat "/sys/class/net/$1/toe/resources"; } # DEVICE
resource() { resources "$1" | sed -n "s/^$2 //p"; } # DEVICE NAME
BACKUP="active-backup miimon 20"

# The file says what is left, and follows knobs and connections.
t_file() {
	local name i=0
	need_toe
	fresh
	for name in connections paths neighbours layers vlan_tags ipv4 ipv6 user_buffers min_mss max_payload; do
		[ -n "$(resource $DA $name)" ] || fail "$name is missing"
	done
	expect_eq "$(resources $DA | wc -l)" 10 "lines"
	set_of $DA capacity 100
	expect_eq "$(resource $DA connections)" 100 "room for connections"
	held_conns 4 10 ulp
	expect_eq "$(resource $DA connections)" 90 "room for connections"
	expect_eq "$(resource $DA neighbours)" 65535 "room for neighbours"
	held_end
	for name in "vlan_tags 1" "ipv6 0" "user_buffers 0" "max_payload 4000"; do
		# shellcheck disable=SC2086 # two words
		set_of $DA $name
		expect_eq "$(resource $DA "${name% *}")" "${name#* }" "${name% *}"
	done
	for name in "vlan_tags 3" "vlan_tags -1" "ipv6 2" "user_buffers x" "max_payload 1499" \
		"max_payload 524289" "failure gone" "failure 0"; do
		knob a "${name% *}" "${name#* }" 2>/dev/null &&
			fail "$name is taken"
		i=$((i + 1))
	done
	expect_eq "$i" 8 "wrong values tried"
	expect_eq "$(resource $DA max_payload)" 4000 "max_payload after wrong values"
	set_of $DA failure dead
	resources $DA >/dev/null 2>&1 && fail "a dead device answers"
	set_of $DA failure none
}

# refused KNOB VALUE REASON FAMILY: what the device cannot do is refused, and works.
t_refused() {
	need_toe
	fresh
	set_of $DA "$1" "$2"
	snap a
	xfer "$4" --bytes 100000 --ulp-try --ulp both || fail "$(cat "$WORK/json")"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	expect_ge "$(delta a "toe_refuse_$3")" 1 "refusals"
}

# A target takes no frame larger than it said. Looked at until the middle of the transfer: at
# its end the host stack has the connection, and takes what the device's gso_max_size allows;
# so do its probes.
HEADERS=66
t_frames() { # BYTES
	need tcpdump
	need_toe
	fresh
	no_timers a && no_timers b
	set_of $DA max_payload "$1"
	knob b max_payload "$1"
	capture sent a $DA -s 100 tcp
	hold_start 4 --bytes "$(kib 1024)" $(ulp)
	# The capture ends, the transfer goes on.
	sed -i "/^$held\$/d" "$WORK/pids"
	captured sent
	expect_le "$(longest sent)" $(($1 + HEADERS)) "bytes of the largest frame"
	expect_ge "$(longest sent)" 1000 "bytes of the largest frame"
	expect_ge "$(delta_max toe_tx_bytes)" "$(($(kib 512) / 2))" "bytes sent by the target"
	hold_end
	no_timers a 0 && no_timers b 0
}

# Connections that have to move to a NIC that can do less: those that it can take move, the
# rest goes by it, in the host stack, and comes back when the first NIC does.
t_moves() { # KNOB VALUE FAMILY CONNECTIONS MOVED
	need_toe
	# shellcheck disable=SC2086 # several words
	bonded $BACKUP
	set_of $DA2 "$1" "$2"
	held_conns "$3" "$4" ulp
	expect_eq "$(conns_of $DA)" "$4" "connections of $DA"
	fail_member local $DA
	until_ok 5 gone_from $DA || fail "connections are still there"
	until_ok 5 moved_to $DA2 "$5" || fail "$(conns_of $DA2) connections of $DA2, not $5"
	expect_eq "$(of $DA toe_failover_moved)" "$5" "connections that moved"
	expect_eq "$(of $DA toe_failover_link)" $(($4 - $5)) "connections that the other member carries"
	restore_member local $DA
	until_ok 10 both_members_up || fail "the member does not come up"
	activate $DA || fail "cannot activate $DA"
	until_ok 20 moved_to $DA "$4" ||
		fail "$(conns_of $DA) connections are back at $DA, not $4: $("$BIN/toe_ns" $A counters $DA | grep refuse)"
	held_wait
	unbonded
}

# The state of connections is made what the other NIC can do: smaller frames.
t_adjusted() {
	need_toe
	# shellcheck disable=SC2086 # several words
	bonded $BACKUP
	set_of $DA2 max_payload 3000
	hold_start 4 --bytes "$(kib 1024)" $(ulp)
	fail_member local $DA
	until_ok 10 moved_to $DA2 || fail "it did not move"
	hold_end
	expect_ge "$(of $DA2 toe_tx_bytes)" "$(kib 64)" "bytes sent by $DA2"
	expect_le "$(of $DA2 toe_tx_bytes)" $(($(of $DA2 toe_tx_frames) * (3000 + HEADERS))) \
		"bytes sent by $DA2 in $(of $DA2 toe_tx_frames) frames"
	unbonded
}

# A NIC without user buffers gets none.
t_no_buffers() {
	need_toe
	buffers
	set_of $DA user_buffers 0
	probe amount all 4
	expect_eq "$(delta a toe_buf_posted)" 0 "user buffers"
	set_of $DA user_buffers 1
	probe amount all 4
	counted posted 1
}

# A VLAN device on the bond, and a NIC that knows no tags.
t_tags() {
	need_toe
	# shellcheck disable=SC2086 # several words
	bonded $BACKUP
	vlan_on_bonds
	set_of $DA2 vlan_tags 0
	snap_members
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	expect_eq "$(conns_of $DA)" 1 "connections of $DA"
	fail_member local $DA
	until_ok 5 gone_from $DA || fail "the connection is still there"
	expect_eq "$(of $DA toe_failover_link)" 1 "connections that the other member carries"
	expect_ge "$(of $DA2 toe_refuse_vlan)" 1 "refusals"
	hold_end
	unbonded
	A4=192.0.2.1 B4=192.0.2.2
}

# With LACP: what the other member has no room for is the host's, and both links' frames are
# right.
t_lacp_rest() {
	need_toe
	bonded 802.3ad miimon 20 lacp_rate fast xmit_hash_policy layer3+4
	set_of $DA capacity 4
	set_of $DA2 capacity 4
	held_conns 4 8 try
	local here there
	here=$(conns_of $DA) there=$(conns_of $DA2)
	[ $here != 0 ] || { held_wait; unbonded; return; }
	fail_member local $DA
	until_ok 5 gone_from $DA || fail "connections are still there"
	until_ok 20 full_or_all $((here + there)) ||
		fail "$(conns_of $DA2) connections of $DA2; there were $here and $there"
	held_wait
	unbonded
}
full_or_all() { [ "$(conns_of $DA2)" = $(($1 < 4 ? $1 : 4)) ]; }

# A NIC that says nothing any more, under a transfer: the bond finds out by what does not come
# from its partner, and nothing is lost.
t_dead() { # MODE [OPTION...]
	local at=$DA
	need_toe
	bonded "$@"
	[ "$1" != active-backup ] || until_ok 20 arp_works || fail "no ARP monitor"
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	at=$(home)
	[ -n "$at" ] || fail "the connection is not offloaded"
	set_of "$at" failure dead
	# LACP takes three seconds to miss its partner.
	until_ok 20 gone_from "$at" || fail "the connection is still at $at"
	expect_eq "$(($(of "$at" toe_failover_moved) + $(of "$at" toe_failover_link) +
		$(of "$at" toe_failover_host)))" 1 "connections that had to leave"
	hold_end
	set_of "$at" failure none
	expect_nothing_left
	unbonded
}
arp_works() {
	[ "$(ns_cat a "/sys/class/net/$DA/bonding_slave/mii_status")" = up ] && pings a $B4
}

# Without a bond: what a dead NIC has not sent is sent again when it is back.
t_dead_alone() {
	need_toe
	fresh
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	set_of $DA failure dead
	pings a $B4 && fail "a dead device carries frames"
	: >"$WORK/hold/go"
	pause 0.5
	set_of $DA failure none
	wait $held || fail "the transfer failed: $(cat "$WORK/json")"
}

# A cable that is cut: both ends lose the carrier, connections go to the host stack.
t_cable() {
	local end
	need_toe
	fresh
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	ip -n $A link set $DA carrier off || fail "carrier off"
	for end in a b; do
		expect_eq "$(ns_cat $end "/sys/class/net/$(dev_of $end)/carrier")" 0 "carrier of $end"
	done
	expect_eq "$(knob a connections)" 0 "connections"
	# Up and down do not mend it.
	ip -n $B link set $DB down && ip -n $B link set $DB up
	expect_eq "$(ns_cat b /sys/class/net/$DB/carrier)" 0 "carrier of a cut cable"
	ip -n $A link set $DA carrier on || fail "carrier on"
	expect_eq "$(ns_cat b /sys/class/net/$DB/carrier)" 1 "carrier of b"
	ip -n $B addr replace $B6/64 dev $DB nodad
	hold_end
	expect_ge "$(delta_max toe_upload_link_down)" 1 "uploads"
}

t_cable_bond() { # MODE [OPTION...]
	local at
	need_toe
	bonded "$@"
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	at=$(home)
	ip -n $A link set "$at" carrier off || fail "carrier off"
	until_ok 5 moved_to "$(other_than "$at")" || fail "it did not move"
	expect_eq "$(of "$at" toe_failover_moved)" 1 "connections that moved"
	hold_end
	ip -n $A link set "$at" carrier on
	unbonded
}

pair_up || skip_all "cannot set up the pair"
run file "refused ipv6 0 family 6" "refused failure refuse target 4" \
	"frames 3000" "frames 1500" \
	"moves capacity 3 4 8 3" "moves ipv6 0 6 8 0" "moves ipv6 0 4 8 8" "moves failure refuse 4 8 0" "moves failure dead 4 8 0" \
	"moves policy off 4 8 0" adjusted no_buffers tags lacp_rest \
	"dead 802.3ad miimon 20 lacp_rate fast xmit_hash_policy layer3+4" dead_alone cable \
	"cable_bond $BACKUP" "cable_bond balance-xor miimon 20 xmit_hash_policy layer3+4"
