#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Special cases on the wire: each is named, costs the connection a moment in legacy
# mode, and the target goes on with the entry it had.

. "$(dirname "$0")/lib.sh"

# CASE: the counter of the special case; "-": whatever it is, if any. "stays" as third
# argument: the connection is delegated all the time.
t_segment() { # NAME CASE [stays]
	local now fins
	local -a table=()
	is_toe && snap a
	has_table && table=(--table "$(table_path $DA)")
	probe inject "$1" 4 "${table[@]}"
	if ! is_toe; then
		partial "the counter toe_special_$2"
		return
	fi
	has_table || partial "the entry before and after"
	now=$(counters a)
	[ "$2" = - ] || {
		has_ctr a "toe_special_$2" "$now" || fail "no counter toe_special_$2"
		added a "toe_special_$2" "$now"
		expect_ge $REPLY 1 "special cases of name $2"
	}
	if [ "$3" = stays ]; then
		# On a slow machine TCP's own timers may have been faster; the server's FIN
		# comes first or last.
		added a toe_special_fin "$now"
		fins=$REPLY
		added a toe_legacy_rx_frames "$now"
		[ $REPLY -le $fins ] || [ "$(specials_by_tcp a)" != 0 ] ||
			expect_le $REPLY $fins "frames for legacy buffers, which are those that end connections"
	elif [ "$2" != - ] && [ "$1" != rst ]; then
		added a toe_resyncs "$now"
		expect_ge $REPLY 1 "resynchronisations"
		added a toe_upload_legacy_often "$now"
		expect_eq $REPLY 0 "uploads for many special cases"
		added a toe_upload_legacy_long "$now"
		expect_eq $REPLY 0 "uploads for a long special case"
	fi
	expect_no_entries
}

t_urgent() { # FAMILY
	is_toe && snap a
	probe upload urg "$1"
	is_toe && expect_ge "$(delta a toe_special_urg)" 1 "special cases of name urg"
	is_toe && snap a
	probe upload send_urg "$1"
	is_toe && expect_ge "$(delta a toe_special_urg)" 1 "special cases of name urg"
	expect_no_entries
}

# Legacy mode itself: the probe looks into the table.
t_legacy() { # NAME
	need_toe
	has_table || skip "no table in debugfs"
	snap a
	snap_loss b
	# Frames wait here for longer than TCP does, and must be there when their turn comes:
	# not because they were sent again.
	[ "$1" != locked ] || no_timers b
	probe legacy "$1" 4 --table "$(table_path $DA)"
	[ "$1" != locked ] || {
		no_timers b 0
		expect_eq $(($(snmp b TcpRetransSegs) - loss[0])) 0 "retransmissions of end b"
		expect_eq "$(delta a toe_backlog_drops)" 0 "frames dropped at the backlog"
	}
	expect_ge "$(delta a toe_resyncs)" 1 "resynchronisations"
	expect_ge "$(delta a toe_legacy_rx_frames)" 1 "frames for legacy buffers"
	expect_eq $(($(delta a toe_uploads) - $(delta a toe_upload_contended))) \
		"$(delta a toe_upload_close)" "uploads"
	expect_no_entries
}

# The path of a connection can be read from the tracepoints.
t_tracepoints() {
	local t=/sys/kernel/tracing line hwid
	need_toe
	[ -d $t/events/toe ] || mount -t tracefs none $t 2>/dev/null
	[ -d $t/events/toe ] || skip "no tracepoints in this kernel"
	echo >$t/trace
	echo 1 >$t/events/toe/enable
	probe inject old_sequence 4
	echo 0 >$t/events/toe/enable
	line=$(grep toe_special: $t/trace | grep reason=old_sequence | head -1)
	hwid=${line##*hwid=}
	hwid=${hwid%% *}
	[ -n "$hwid" ] || fail "no special case in the trace: $(cat $t/trace)"
	for line in "toe_offload: hwid=$hwid" "toe_resync: hwid=$hwid" "toe_upload: hwid=$hwid reason=close"; do
		grep -q "$line" $t/trace || fail "no $line in the trace: $(cat $t/trace)"
	done
}

# What goes to legacy buffers was parsed and matched before: the kernel takes none of these
# frames from the device. Two data segments make the gap and fill it, nine are between.
t_partly_processed() {
	local t=/sys/kernel/tracing event whole
	need_toe
	has_table || skip "no table in debugfs"
	[ -d $t/events/toe ] || mount -t tracefs none $t 2>/dev/null
	event=$t/events/net/netif_receive_skb
	[ -d $t/events/toe ] && [ -d $event ] || skip "no tracepoints in this kernel"
	echo >$t/trace
	echo "name == \"$DA\"" >$event/filter
	echo 1 >$event/enable
	echo 1 >$t/events/toe/enable
	snap a
	probe legacy stay 4 --table "$(table_path $DA)"
	echo 0 >$t/events/toe/enable
	echo 0 >$event/enable
	echo 0 >$event/filter
	expect_ge "$(delta a toe_legacy_rx_frames)" 11 "frames for legacy buffers"
	grep -q netif_receive_skb: $t/trace || fail "not even the frames before the offload are traced"
	grep -q 'toe_special: .*reason=out_of_order' $t/trace || fail "no special case in the trace"
	# Not those of neighbour discovery, which are shorter.
	whole=$(awk '/ toe_special: .*reason=out_of_order/ { legacy = 1 }
		/ toe_resync: / { legacy = 0 }
		legacy && / netif_receive_skb: / && match($0, /len=[0-9]+/) &&
			substr($0, RSTART + 4, RLENGTH - 4) >= 152 { n++ }
		END { print n + 0 }' $t/trace)
	expect_eq "$whole" 0 "frames of legacy mode that the kernel took from the device"
	expect_no_entries
}

# Without a budget each special case is an upload.
t_budget() {
	need_toe
	knob a legacy_falls 0
	snap a
	probe inject old_sequence 4
	expect_ge "$(delta a toe_special_old_sequence)" 1 "special cases"
	expect_ge "$(delta a toe_upload_legacy_often)" 1 "uploads"
	expect_eq "$(delta a toe_resyncs)" 0 "resynchronisations"
	knob a legacy_falls 256
	expect_no_entries
}

# A module with debug assertions compares each entry with its socket before it is used, and
# warns if they differ, unless the host stack had the connection in between: here nearly
# always it had not.
t_compared() { # FAMILY
	local end now all
	need_toe
	now=$(counters a)
	[[ $now == *toe_entry_compared:* ]] || skip "the module has no debug assertions"
	snap a
	snap b
	need_xfer "$1" --bytes "$(kib 2048)" $(ulp)
	for end in a b; do
		now=$(counters $end)
		added $end toe_entry_compared "$now"
		all=$REPLY
		expect_ge "$all" 30 "entries compared at end $end"
		added $end toe_entry_loaded "$now"
		note "end $end: $all compared, $REPLY loaded anew"
		expect_le "$REPLY" $((all / 4)) "entries loaded anew at end $end"
	done
}

pair_up || skip_all "cannot set up the pair"
run "segment out_of_order out_of_order" "segment old_sequence old_sequence" \
	"segment old_data old_sequence" "segment ack_outside ack_outside" "segment sack sack" \
	"segment rst rst" "segment rst_blind rst" "segment syn syn" "segment ip_options ip_options" \
	"segment fragment fragment" "segment bad_checksum bad_checksum stays" "segment bad_header - stays" \
	"segment bad_length - stays" "segment no_ack_flag -" "segment bad_option bad_option" \
	"segment option_length_0 -" "segment no_timestamp no_timestamp" "segment paws paws" \
	"segment ecn_ce ecn" "segment ecn_ece ecn" "segment zero_window zero_window" \
	"segment window_shrunk window_shrunk" "segment beyond_window beyond_window" "urgent 4" "urgent 6" \
	"legacy stay" "legacy stray" "legacy locked" budget tracepoints partly_processed \
	"compared 4" "compared 6"
