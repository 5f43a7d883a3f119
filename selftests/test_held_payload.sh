#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Payload that no user buffer is posted for: the device asks for one and holds it, until
# one comes, the mark is reached or the time is up.

. "$(dirname "$0")/lib.sh"

# Payload is held for TOE_HOLD_MS, and the peer does not send it again meanwhile.
holding() { # MS [MIN]
	need_toe
	buffers "${2:-1}"
	export TOE_HOLD_MS=$1
	knob a buffer_request_ms "$1"
	set_sysctl b net.ipv4.tcp_early_retrans 0
	ip -n $B route change 192.0.2.0/24 dev $DB proto kernel scope link src $B4 rto_min 4s ||
		fail "ip route change"
	again=$(snmp b TcpRetransSegs)
}
nothing_again() {
	expect_eq "$(snmp b TcpRetransSegs)" "$again" "TcpRetransSegs of the sender"
}

# t_held PROBE [COUNTER [AT_LEAST]]: the target asks, and then comes what PROBE is
# about. Nothing ends by the timer that is not meant to.
t_held() {
	local ms=1000 min=0
	case $1 in
	timer | poll) ms=200 ;;
	posted | part) min=1 ;;
	esac
	holding $ms $min
	[ "$1" != mark ] || knob a buffer_high_water 2500
	probe hold "$1" 4 "${@:4}"
	counted requested 1
	[ -z "$2" ] || counted "$2" "${3:-1}"
	# Where `ss` takes longer than that, the timer was first.
	[ $ms = 200 ] || [ "$1" = abort ] || not_counted request_timer
	[ "$1" = mark ] || not_counted high_water
	nothing_again
	expect_no_entries
}

# Who waits already has the data at once.
t_not_held() {
	holding 1000 0
	probe hold "$1" 4
	not_counted requested
	not_counted request_timer
	expect_no_entries
}

# The connection is taken back while payload is held.
t_held_upload() { t_held host "" "" --before "ip netns exec $A sh -c 'echo 1 >/sys/class/net/$DA/toe/upload_all'"; }
t_held_link_down() { t_held host "" "" --before "ip -n $A link set $DA down"; }
t_held_abort() { t_held abort "" "" --before "ip netns exec $A ss -K dst $B4 >/dev/null"; }
t_held_device_gone() {
	holding 1000 0
	probe hold host 4 --before "ip -n $A link del $DA"
}
t_held_unload() {
	can_reload
	holding 1000 0
	unloaded_during hold host
}

# Nothing is held by default.
t_hold_default() {
	need_toe
	fresh
	expect_eq "$(knob a buffer_request_ms)" 0 "buffer_request_ms"
	expect_eq "$(knob a buffer_high_water)" 65536 "buffer_high_water"
	knob a buffer_request_ms 1001 2>/dev/null && fail "1001 ms are taken"
	knob a buffer_high_water 0 2>/dev/null && fail "0 bytes are taken"
	knob a buffer_high_water 1048577 2>/dev/null && fail "more than 1 MiB is taken"
	snap a
	need_xfer 4 --bytes "$(kib 1024)" $(ulp)
	not_counted requested
}

# Streams while payload is held, and while the rule changes.
t_held_stream() { # MS HIGH_WATER FAMILY [OPTION...]
	local ms=$1 mark=$2 fam=$3 end
	shift 3
	need_toe
	buffers
	knob b user_buffer_frames 0 && knob b user_buffer_min 1
	for end in a b; do
		knob $end buffer_request_ms "$ms"
		knob $end buffer_high_water "$mark"
	done
	need_xfer "$fam" --bytes "$(kib 2048)" --conns 4 $(ulp) "$@"
	note "$(delta b toe_buf_requested) requests, $(delta b toe_buf_high_water) at the mark, $(delta b toe_buf_request_timer) by timer"
	expect_no_entries
}

run hold_default "held posted direct_bytes 2000" "held part" "held mark high_water" \
	"held timer request_timer" "held poll request_timer" "held dontwait" "held short" \
	"held peek" "not_held sleeper" "not_held poller" "held ack" "held setsockopt" \
	"held shutdown" "held close" "held fin" "held reset" "held urgent" \
	held_upload held_link_down held_abort "held_stream 5 8192 4" "held_stream 20 65536 6" \
	"held_stream 5 8192 4 --wait epoll" "held_stream 5 8192 4 --flip 100k" \
	held_device_gone held_unload
