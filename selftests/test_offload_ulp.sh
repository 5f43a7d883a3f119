#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Offload by setsockopt(TCP_ULP) and upload by the administrator: the round trip.

. "$(dirname "$0")/lib.sh"

# The table has the connection.
has_entry() { # a|b FAMILY
	local dev line addr
	dev=$(dev_of "$1")
	addr=$(addr "$1" "$2")
	has_table || { partial "the table of $dev: not readable"; return; }
	line=$(table "$dev" | grep -F "$addr") || fail "$dev has no entry of $addr: $(table "$dev")"
	note "$dev: $line"
	head -1 "$(table_path "$dev")" | grep -q hwid || fail "the table has no column hwid"
}

t_round_trip() { # FAMILY client|server|both
	local ends=$2 end
	# A probe for a loss is a special case, by which the second target gives up.
	no_timers a && no_timers b
	snap_loss a
	snap a
	snap b
	hold_start "$1" --bytes "$(kib 512)" $(ulp "$ends") --tcpinfo
	if is_toe; then
		for end in a b; do
			case $ends$end in
			bothb | both[a] | clienta | serverb)
				expect_ge "$(delta $end toe_offloads)" 1 "offloads of end $end"
				until_ok 10 has_connections $end 1 || fail "not delegated at end $end"
				has_entry $end "$1"
				expect_ge "$(delta $end toe_rx_frames)" 1 "frames received by target $end"
				expect_ge "$(delta $end toe_tx_frames)" 1 "frames sent by target $end"
				expect_ge "$(delta $end toe_rx_bytes)" 1000 "bytes received by target $end"
				expect_ge "$(delta $end toe_tx_bytes)" 1000 "bytes sent by target $end"
				expect_eq "$(delta $end toe_uploads)" "$(uploads_in_passing $end)" \
					"uploads of end $end"
				upload_all $end || fail "upload_all"
				until_ok 10 table_empty $end || fail "upload_all left connections"
				expect_eq "$(delta $end toe_upload_admin)" 1 "uploads by the administrator, end $end"
				;;
			*)
				expect_eq "$(delta $end toe_offloads)" 0 "offloads of end $end"
				;;
			esac
		done
	else
		partial "offload, entries and counters: TOE_KIND is $TOE_KIND"
	fi
	hold_end
	expect_no_entries
	expect_no_loss a
	no_timers a 0 && no_timers b 0
}

# What is in the table is what the socket has, and what was moved.
t_entry() { # FAMILY
	need_toe
	has_table || skip "no table in debugfs"
	# What takes longer than it should is no special case.
	no_timers a && no_timers b
	probe table agree "$1" --table "$(table_path $DA)"
	no_timers a 0 && no_timers b 0
	expect_no_entries
}

# A special case takes a connection back for a moment, so that the target does
# not see all of it: one of these transfers has none. What is left to the host is
# what was sent before the hand-over and after one end's FIN, which is chance.
t_whole_life_delegated() { # FAMILY
	local i disturbed
	# A probe for a loss says that the machine is slow to answer.
	no_timers a && no_timers b
	for i in 1 2 3 4 5; do
		snap_loss a
		snap a
		snap b
		need_xfer "$1" --bytes "$(kib 2048)" $(ulp)
		expect_no_loss a
		expect_no_entries
		is_toe || { partial "bytes handled by the target"; return; }
		expect_ge "$(delta a toe_offloads)" 1 "offloads"
		# Close, or the FIN of the other end, takes it back, once, if it is offloaded.
		expect_le $(($(delta a toe_uploads) - $(uploads_in_passing a))) 1 "uploads"
		expect_eq "$(delta a toe_uploads)" "$(delta a toe_offloads)" "uploads"
		disturbed=$(($(specials_by_tcp a) + $(specials_by_tcp b)))
		[ $disturbed != 0 ] || break
	done
	expect_eq $disturbed 0 "special cases of TCP itself, in each of $i transfers"
	expect_ge "$(delta_max toe_tx_bytes)" $(($(kib 2048) / 2)) "bytes sent by the target"
	expect_ge "$(delta_max toe_rx_bytes)" $(($(kib 2048) / 2)) "bytes received by the target"
	note "transfer $i was undisturbed"
	no_timers a 0 && no_timers b 0
}

t_many() { # FAMILY
	local conns=50
	# As many as it has room for.
	! is_example || conns=16
	snap a
	need_xfer "$1" --bytes "$(kib 64)" --conns $conns --wait epoll $(ulp)
	is_toe && expect_ge "$(delta a toe_offloads)" $conns "offloads"
	expect_no_entries
}

t_again_and_again() { # FAMILY
	local i
	snap a
	bg uploader a 0.05
	# A slow reader, for a fast machine is through before the administrator is,
	# and many, for a slow one starts no more than a few of its programs a second.
	for i in $(seq 40); do
		need_xfer "$1" --bytes "$(kib 8192)" $(ulp) --flip 64k --pause-every 512k --pause-ms 20
		is_toe && [ "$(delta a toe_upload_admin)" -ge 2 ] && break
	done
	end_bg
	need_toe
	expect_ge "$(delta a toe_upload_admin)" 2 "uploads by the administrator in $i transfers"
	expect_ge "$(delta a toe_offloads)" 3 "offloads"
	note "$(delta a toe_offloads) offloads, $(delta a toe_uploads) uploads"
	expect_no_entries
}

t_twice() {
	need_toe
	probe upload twice 4
	probe upload twice 6 --both
}

t_ss_and_proc() {
	local line
	need ss
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	line=$(in_a ss -tniH dst $B4)
	[ -n "$line" ] || fail "ss does not show the connection"
	[[ $line == *ESTAB* ]] || fail "not established: $line"
	[[ $line =~ bytes_received:([0-9]+) ]] || fail "ss -i without bytes_received: $line"
	expect_eq "${BASH_REMATCH[1]}" $(($(kib 256) / 2)) "bytes_received of ss"
	in_a grep -qi "$(printf '%02X%02X%02X%02X' 2 2 0 192)" /proc/net/tcp ||
		fail "/proc/net/tcp does not show it: $(ns_cat a /proc/net/tcp)"
	is_toe && ! [[ $(in_a ss -tnieH dst $B4) == *toe* ]] && note "ss -ie does not name the ULP"
	hold_end
}

t_snmp() {
	local out in n
	snap_loss a
	out=$(snmp a TcpOutSegs) in=$(snmp a TcpInSegs)
	need_xfer 4 --bytes "$(kib 1024)" $(ulp client)
	n=$(($(kib 1024) / 1460))
	expect_ge $(($(snmp a TcpOutSegs) - out)) $n "TcpOutSegs"
	expect_ge $(($(snmp a TcpInSegs) - in)) $((n / 64)) "TcpInSegs"
	expect_no_loss a
}

pair_up || skip_all "cannot set up the pair"
run "round_trip 4 both" "round_trip 6 both" "round_trip 4 client" "round_trip 4 server" \
	"round_trip 6 client" "round_trip 6 server" "entry 4" "entry 6" "whole_life_delegated 4" \
	"whole_life_delegated 6" "many 4" "many 6" "again_and_again 4" "again_and_again 6" \
	twice ss_and_proc snmp
