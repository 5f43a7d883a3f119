#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Requests that wait in recvmsg(): the device posts their memory, the application
# sees no difference. Each result is the one of plain TCP (TOE_KIND=veth shows).

. "$(dirname "$0")/lib.sh"


# Counters are those of end a, whose device posts buffers.
buffers() { # [MIN]
	fresh
	is_toe || return 0
	# Whether it pays or not.
	knob a user_buffer_frames 0
	knob a user_buffer_min "${1:-1}"
	snap a
}

counted() { # NAME AT_LEAST
	is_toe || return 0
	expect_ge "$(delta a "toe_buf_$1")" "$2" "toe_buf_$1"
}
not_counted() {
	is_toe || return 0
	expect_eq "$(delta a "toe_buf_$1")" 0 "toe_buf_$1"
}

# t_rule PROBE REASON BYTES: the buffer came back for that reason, at least so many
# bytes were placed in it.
t_rule() {
	buffers
	probe buffer "$1" 4
	counted posted 1
	counted "$2" 1
	counted direct_bytes "$3"
	expect_no_entries
}

# t_host PROBE: nothing may be posted, the host stack answers.
t_host() {
	buffers
	probe buffer "$1" "${2:-4}"
	not_counted posted
	expect_no_entries
}

# t_moved PROBE REASON: the connection is taken back while the call waits.
t_moved() {
	local cmd=true
	buffers
	is_toe && cmd="ip netns exec $A sh -c 'echo 1 >/sys/class/net/$DA/toe/upload_all'"
	probe buffer "$1" 4 --before "$cmd"
	counted posted 1
	counted special 1
}

t_any() { # PROBE FAMILY
	buffers
	probe buffer "$1" "$2"
	expect_no_entries
}

# By default a call is posted that waits for much, in many frames.
t_default() {
	need_toe
	fresh
	snap a
	probe buffer some 4
	not_counted posted
	probe buffer waitall 4
	not_counted posted
	probe buffer waitall_small 4
	counted posted 1
}

t_below_threshold() {
	buffers 50001
	probe buffer waitall 4
	not_counted posted
	is_toe && knob a user_buffer_min 0
	probe buffer waitall 4
	not_counted posted
}

t_knob() {
	need_toe
	fresh
	knob a user_buffer_min 4096
	expect_eq "$(knob a user_buffer_min)" 4096 "user_buffer_min"
	knob a user_buffer_min -1 2>/dev/null && fail "-1 is taken"
	knob a user_buffer_min 4294967296 2>/dev/null && fail "2^32 is taken"
	knob a user_buffer_min 0
	expect_eq "$(knob a user_buffer_min)" 0 "user_buffer_min"
}

# So does the device, which does not wait for the rest of the call's time.
t_device_gone() {
	need_toe
	buffers
	probe buffer "$1" 4 --before "ip -n $A link del $DA"
	[ ! -e /sys/class/net/$DA ] || fail "the device stays"
}

# The module goes while a reader waits: it goes on in the host stack.
t_unload() {
	need_toe
	[ -d /sys/module/toe ] || skip "toe is built in"
	modinfo toe >/dev/null 2>&1 || [ -r "$TOE_KO" ] || skip "TOE_KO does not say where toe.ko is"
	buffers
	probe buffer unload 4 --before "timeout 60 rmmod toe"
	[ ! -d /sys/module/toe ] || fail "still loaded"
	modprobe toe 2>/dev/null || insmod "$TOE_KO" || fail "insmod"
}

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
	need_toe
	[ -d /sys/module/toe ] || skip "toe is built in"
	modinfo toe >/dev/null 2>&1 || [ -r "$TOE_KO" ] || skip "TOE_KO does not say where toe.ko is"
	holding 1000 0
	probe hold host 4 --before "timeout 60 rmmod toe"
	[ ! -d /sys/module/toe ] || fail "still loaded"
	modprobe toe 2>/dev/null || insmod "$TOE_KO" || fail "insmod"
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

# Streams with every byte checked, while the connections come and go.
t_stream() { # FAMILY [OPTION...]
	local fam=$1
	shift
	buffers
	is_toe && knob b user_buffer_frames 0 && knob b user_buffer_min 1
	need_xfer "$fam" --bytes "$(kib 8192)" --conns 4 $(ulp) "$@"
	expect_no_entries
}

run default below_threshold knob \
	"rule some push 1000" "rule full full 1100" "rule large push 1000" \
	"rule unaligned full 30000" "rule waitall full 50000" "rule lowat push 6999" \
	"rule readv push 1" "rule recvmmsg full 1" "rule timeout timer 1000" \
	"rule signal signal 1500" "rule restart signal 0" "rule fin shutdown 0" \
	"rule fin_alone shutdown 0" "rule reset shutdown 0" "rule shutdown shutdown 0" \
	"rule shutdown_alone shutdown 0" \
	"moved upload" "moved upload_partial" "moved timeout_upload" "moved timeout_upload_data" \
	"host readonly" "host prot_none" "host unmapped" "host half_mapped" "host peek" \
	"rule munmap push 0" "rule munmap_tail push 0" "rule mprotect push 0" \
	"rule remapped push 1000" "rule fork push 1000" "rule fork_partial shutdown 0" \
	"rule hugepage full 30000" "rule memlock push 1000" "rule shared_file push 1000" \
	"any threads 4" "any threads 6" "any killed 4" "any some 6" \
	"stream 4" "stream 6" "stream 4 --wait epoll" "stream 4 --flip 100k" \
	hold_default "held posted direct_bytes 2000" "held part" "held mark high_water" \
	"held timer request_timer" "held poll request_timer" "held dontwait" "held short" \
	"held peek" "not_held sleeper" "not_held poller" "held ack" "held setsockopt" \
	"held shutdown" "held close" "held fin" "held reset" "held urgent" \
	held_upload held_link_down held_abort "held_stream 5 8192 4" "held_stream 20 65536 6" \
	"held_stream 5 8192 4 --wait epoll" "held_stream 5 8192 4 --flip 100k" \
	held_device_gone held_unload \
	"device_gone timeout_upload" unload
