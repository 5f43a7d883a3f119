#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Automatic offload: policy, byte threshold, port and connection limits.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

policy() {
	need_toe
	knob a policy "$1" && knob b policy "$1" || fail "policy $1"
}

reset_knobs() {
	local end
	for end in a b; do
		knob $end policy ulp
		knob $end min_bytes 0
		knob $end min_segments 8
		knob $end conn_limit "$limit"
		knob $end port_min 0
		knob $end port_max 65535
	done
}

# An unmodified program gets it: at the latest while it idles.
t_at_establishment() { # FAMILY
	local i
	policy auto
	reset_knobs
	policy auto
	# One of these transfers is not taken back for a moment by TCP itself.
	for i in 1 2 3 4 5; do
		snap_loss a
		snap a
		snap b
		hold_start "$1" --bytes "$(kib 2048)"
		until_ok 10 offloaded a 1 || fail "the client's connection was not offloaded"
		until_ok 10 offloaded b 1 || fail "the server's connection was not offloaded"
		hold_end
		expect_no_loss a
		expect_no_entries
		[ "$(uploads_in_passing a)$(uploads_in_passing b)" != 00 ] || break
	done
	expect_ge "$(delta_max toe_tx_bytes)" $(($(kib 2048) / 4)) "bytes sent by the target"
}

offloaded() { [ "$(delta "$1" toe_offloads)" -ge "$2" ]; }

# By default a connection of few segments is not worth it, and a longer one is.
t_by_segments() { # FAMILY
	need_toe
	reset_knobs
	policy auto
	snap a
	snap b
	# Six segments at most, whatever the sizes of the writes.
	need_xfer "$1" --bytes 3 --back 3 --conns 20
	# They are over when the policy looks.
	pause 0.1
	expect_eq "$(delta a toe_offloads)$(delta b toe_offloads)" 00 "offloads of short connections"
	hold_start "$1" --bytes 3 --back 3
	until_ok 10 decided || fail "no decision"
	expect_eq "$(delta a toe_offloads)" 0 "offloads of a connection that did little"
	hold_end
	hold_start "$1" --bytes "$(kib 256)"
	until_ok 10 offloaded a 1 || fail "the longer connection was not offloaded"
	hold_end
	reset_knobs
	knob a min_segments 0 && knob b policy off && knob a policy auto || fail "min_segments"
	snap a
	hold_start "$1" --bytes 100
	until_ok 10 offloaded a 1 || fail "not offloaded at once"
	hold_end
	expect_no_entries
}

decided() { [ "$(delta a toe_refuse_min_segments)" -ge 1 ]; }

# The threshold lies between the first transfer and the middle of the second.
t_by_bytes() { # FAMILY
	need_toe
	reset_knobs
	policy auto
	knob a min_bytes $(($(kib 512))) || fail "min_bytes"
	knob b policy off
	snap a
	need_xfer "$1" --bytes "$(kib 64)" --back "$(kib 64)"
	expect_eq "$(delta a toe_offloads)" 0 "offloads of a short connection"
	hold_start "$1" --bytes "$(kib 4096)"
	until_ok 10 offloaded a 1 || fail "a long connection was not offloaded"
	hold_end
	expect_no_entries
}

# A connection that idles below the threshold is not forgotten.
t_by_bytes_late() {
	need_toe
	reset_knobs
	policy auto
	knob a min_bytes "$(kib 64)" && knob b policy off || fail "min_bytes"
	snap a
	hold_start 4 --bytes 8192 --back 8192
	pause 3
	expect_eq "$(delta a toe_offloads)" 0 "offloads below the threshold"
	knob a min_bytes 1000
	until_ok 5 offloaded a 1 || fail "an old connection was not offloaded"
	hold_end
	reset_knobs
	expect_no_entries
}

t_off() {
	need_toe
	reset_knobs
	policy off
	snap a
	need_xfer 4 --bytes "$(kib 256)"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	need_xfer 4 --bytes "$(kib 256)" --ulp both --ulp-try
	expect_eq "$(delta a toe_offloads)" 0 "offloads by ULP with policy off"
	expect_eq "$(jget client ulp_refused)" 1 "refused requests"
	expect_ge "$(delta a toe_refuse_policy)" 1 "refusals by policy"
}

t_ulp_only() {
	need_toe
	reset_knobs
	snap a
	need_xfer 4 --bytes "$(kib 256)"
	expect_eq "$(delta a toe_offloads)" 0 "offloads not asked for"
	need_xfer 4 --bytes "$(kib 256)" --ulp both
	expect_ge "$(delta a toe_offloads)" 1 "offloads"
}

t_off_leaves_old_ones() {
	need_toe
	reset_knobs
	snap a
	hold_start 4 --bytes "$(kib 512)" --ulp both
	policy off
	expect_ge "$(delta a toe_offloads)" 1 "offloads"
	[ "$(uploads_in_passing a)" != 0 ] || has_connections a 1 || fail "policy off took it back"
	upload_all a
	until_ok 10 table_empty a || fail "the kill switch left connections"
	hold_end
	reset_knobs
}

t_ports() {
	local port=5201
	need_toe
	reset_knobs
	policy auto
	knob a port_min 7000 && knob a port_max 7999 || fail "ports"
	knob b policy off
	snap a
	need_xfer 4 --bytes "$(kib 256)" --port $port
	expect_eq "$(delta a toe_offloads)" 0 "offloads of a port outside"
	# The policy looks a moment after the handshake: the transfer waits for it.
	hold_start 4 --bytes "$(kib 256)" --port 7500
	until_ok 10 offloaded a 1 || fail "a port inside is not offloaded"
	hold_end
}

t_conn_limit() {
	need_toe
	reset_knobs
	knob a conn_limit 5 || fail "conn_limit"
	knob b policy off
	snap a
	need_xfer 4 --bytes "$(kib 128)" --conns 12 --wait epoll --ulp client --ulp-try
	# They end one by one, so a place may get free for a late one.
	expect_ge "$(delta a toe_offloads)" 5 "offloads"
	expect_ge "$(delta a toe_refuse_conn_limit)" 1 "refusals by the limit"
	expect_ge $(($(delta a toe_offloads) + $(delta a toe_refusals))) 12 "decisions"
	reset_knobs
}

# Short connections that begin together are handed over together, at their beginning:
# in slow start, which goes on, and all that they move is moved by the target. None is
# forgotten.
t_batch() { # FAMILY
	local n=200 now batches batched
	need_toe
	reset_knobs
	# It ends with a loss only, and not because round trips get longer.
	set_sysctl a net.ipv4.tcp_congestion_control reno
	no_timers a
	auto_policy a
	snap a
	many=($MANY_BYTES slow_start)
	held_conns "$1" $n
	until_ok 20 offloaded_all $n || fail "only $(knob a connections) of $n connections"
	now=$(counters a)
	added a toe_batches "$now"
	batches=$REPLY
	added a toe_batched "$now"
	batched=$REPLY
	note "$batched connections in $batches operations"
	expect_ge "$batched" $((n / 2)) "connections in batches"
	expect_ge "$batched" $((batches * 2)) "connections in $batches batches"
	expect_le "$batched" $((batches * 64)) "connections in $batches batches"
	added a toe_offloads "$now"
	expect_le "$batched" $REPLY "connections in batches, of all offloads"
	snap a
	held_end
	now=$(counters a)
	added a toe_tx_bytes "$now"
	expect_ge $REPLY $((n * MANY_BYTES * 3 / 4)) "bytes sent by the target"
	added a toe_rx_bytes "$now"
	expect_ge $REPLY $((n * MANY_BYTES * 3 / 4)) "bytes received by the target"
	expect_no_entries
	set_sysctl a net.ipv4.tcp_congestion_control cubic
	no_timers a 0
}

# A connection whose cached route is invalid, or that has none, is handed over with the
# one that its next packet would have, whoever asks.
t_route_before() { # FAMILY
	local to
	need_toe
	reset_knobs
	rm -f "$WORK"/{ask,stop,asked,up1,up2}
	server b 7100 "$1"
	to=$(addr b "$1")
	bg in_a "$BIN/toe_conn" one to="$to" port=7100 ready="$WORK/up1" wait="$WORK/ask" ask=1 \
		hold="$WORK/stop" >"$WORK/asked"
	bg in_a "$BIN/toe_conn" one to="$to" port=7100 ready="$WORK/up2" remark=1 \
		hold="$WORK/stop" >/dev/null
	until_ok 20 test -e "$WORK/up1" -a -e "$WORK/up2" || fail "not connected"
	ip -n $A "-$1" route add "$to" dev $DA || fail "route"
	: >"$WORK/ask"
	until_ok 20 test -s "$WORK/asked" || fail "has not asked"
	expect_eq "$(head -1 "$WORK/asked")" ok "answer"
	ip -n $A "-$1" route del "$to" dev $DA || fail "route"
	auto_policy a
	knob a offload_all 1 || fail "offload_all"
	until_ok 10 has_connections a 2 || fail "$(knob a connections) of 2 connections"
	touch "$WORK/stop"
	until_ok 20 table_empty a || fail "connections are left"
	end_bg
	expect_no_entries
}

# Neither the policy nor the administrator may own the lock of a connection that
# nobody has accepted yet.
t_unaccepted() {
	need_toe
	reset_knobs
	auto_policy b
	knob a policy auto
	snap b
	bg uploader b 0.001
	probe race unaccepted 4
	end_bg
	expect_ge "$(delta b toe_offloads)" 10 "offloads"
	expect_no_entries
}

t_policy_flapping() {
	local i
	need_toe
	reset_knobs
	bg need_xfer 4 --bytes "$(kib 8192)" --conns 4 --wait epoll --ulp both --ulp-try --flip 32k
	for i in off auto ulp off auto ulp off auto ulp; do
		knob a policy $i
		upload_all a
		pause 0.1
	done
	while read -r pid; do wait "$pid" || fail "transfer"; done <"$WORK/pids"
	: >"$WORK/pids"
	reset_knobs
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
limit=$(is_toe && knob a conn_limit)
run "at_establishment 4" "at_establishment 6" "route_before 4" "route_before 6" \
	"by_segments 4" "by_segments 6" "by_bytes 4" "by_bytes 6" by_bytes_late off ulp_only \
	off_leaves_old_ones ports conn_limit "batch 4" unaccepted policy_flapping
