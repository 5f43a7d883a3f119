#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Devices, namespaces, sockets and the module that go away under load.

DELETES_DEVICES=1
. "$(dirname "$0")/lib.sh"


# A load that may break, but never with a wrong byte: exit code 0 or 3. Without a
# device it ends by having stalled.
load() { # FAMILY [OPTION...]
	xfer "$@" --bytes 1g --conns 6 --wait epoll --stall 3 --may-break $(ulp) --flip 50000 2>>"$WORK/load.err" &
	loads+=($!)
	echo $! >>"$WORK/pids"
}

start_load() { # [OPTION...]
	loads=()
	: >"$WORK/load.err"
	load 4 "$@"
	load 6 "$@"
	pause 1
	for pid in "${loads[@]}"; do
		kill -0 $pid 2>/dev/null || fail "the load ended by itself: $(cat "$WORK/load.err")"
	done
}

end_load() {
	local pid rc
	for pid in "${loads[@]}"; do
		wait $pid
		rc=$?
		# Each wrong byte is code 1.
		[ $rc = 0 ] || [ $rc = 3 ] || fail "load: exit code $rc: $(cat "$WORK/load.err")"
	done
	: >"$WORK/pids"
}

gone() { ! ip netns exec "$1" ip link show dev "$2" >/dev/null 2>&1; }

t_link_del() { # a|b
	local i ns=$A
	[ "$1" = b ] && ns=$B
	for i in 1 2; do
		fresh
		start_load
		timeout 60 ip -n $ns link del "$(dev_of "$1")" || fail "ip link del"
		until_ok 30 gone $A $DA && until_ok 30 gone $B $DB || fail "a device stays"
		end_load
	done
}

# The connections of one pair end, those of another live.
t_other_pair_lives() {
	local other
	fresh
	make_pair other0 other1 || fail "second pair"
	ip -n $A addr add 198.51.100.1/24 dev other0
	ip -n $B addr add 198.51.100.2/24 dev other1
	ip -n $A link set other0 up
	ip -n $B link set other1 up
	"$BIN/toe_xfer" --client-ns $A --server-ns $B --bytes "$(kib 32768)" --stall 60 $(ulp) 198.51.100.2 &
	other=$!
	start_load
	ip -n $A link del $DA || fail "ip link del"
	end_load
	wait $other || fail "the other pair suffered"
}

t_netns_del() { # a|b: processes of the load stay in the namespace
	local i ns=$A dev=$DB peer=$B
	[ "$1" = b ] && ns=$B dev=$DA peer=$A
	for i in 1 2; do
		fresh
		start_load
		# The name goes; the namespace when the last process leaves.
		ip netns del $ns || fail "ip netns del"
		pause 0.5
		for pid in "${loads[@]}"; do pkill -9 -P "$pid"; kill -9 "$pid"; done 2>/dev/null
		for pid in "${loads[@]}"; do wait "$pid"; done 2>/dev/null
		: >"$WORK/pids"
		until_ok 60 gone $peer $dev || fail "the peer stays after the namespace is gone"
	done
}

t_netns_move_under_load() {
	fresh
	start_load
	ip netns add $A-2
	ip -n $A link set $DA netns $A-2 || { ip netns del $A-2; fail "cannot move"; }
	pause 0.5
	ip -n $A-2 link set $DA netns $A
	ip netns del $A-2
	for pid in "${loads[@]}"; do kill $pid 2>/dev/null; pkill -P $pid; done
	for pid in "${loads[@]}"; do wait $pid; done
	: >"$WORK/pids"
	pair_down
}

t_channels_under_load() {
	need ethtool
	fresh
	in_a ethtool -l $DA 2>/dev/null | grep -q Combined || skip "no channels"
	in_a ethtool -L $DA combined 1 2>/dev/null || skip "channels cannot be changed"
	start_load
	local max i
	max=$(in_a ethtool -l $DA | awk '$1 == "Combined:" { print $2; exit }')
	for i in 1 2 3 4 5; do
		in_a ethtool -L $DA combined "$max" || fail "combined $max"
		in_a ethtool -L $DA combined 1 || fail "combined 1"
	done
	ip -n $A link del $DA
	end_load
}

t_features_under_load() {
	local i pid
	need ethtool
	fresh
	xfer 4 --bytes "$(kib 32768)" --conns 4 --wait epoll $(ulp) --flip 100k &
	pid=$!
	echo $pid >>"$WORK/pids"
	for i in 1 2 3 4; do
		in_a ethtool -K $DA tso off gso off
		in_b ethtool -K $DB gro off tx off
		in_a ethtool -K $DA tso on gso on
		in_b ethtool -K $DB gro on tx on
	done >/dev/null
	wait $pid || fail "transfer: $(cat "$WORK/json")"
	: >"$WORK/pids"
}

# Sockets closed, reset and shut while another thread asks for the offload.
t_race() { # FAMILY
	fresh
	probe race all "$1"
	expect_no_entries
}

t_killed_under_flip() {
	local i
	fresh
	for i in 1 2 3 4; do
		bg uploader a 0.05
		start_load
		for pid in "${loads[@]}"; do pkill -9 -P $pid; done
		for pid in "${loads[@]}"; do wait $pid; done 2>/dev/null
		end_bg
	done
	expect_no_entries
}

# ---- the module

unloaded() { [ ! -d /sys/module/toe ]; }

try_rmmod() { timeout 60 rmmod toe 2>>"$WORK/rmmod"; }

t_rmmod_idle() {
	can_reload
	pair_down
	try_rmmod || fail "rmmod without a device: $(cat "$WORK/rmmod")"
	reload
	fresh
	need_xfer 4 --bytes "$(kib 256)" --ulp both
}

t_rmmod_under_load() {
	local i rc
	can_reload
	for i in 1 2 3; do
		fresh
		: >"$WORK/rmmod"
		# Once the module is gone, nobody knows its upper layer protocol.
		start_load --ulp-try
		try_rmmod
		rc=$?
		[ $rc != 124 ] || fail "rmmod hangs"
		if [ $rc != 0 ]; then
			grep -qi 'in use\|busy\|temporarily' "$WORK/rmmod" || fail "rmmod: $(cat "$WORK/rmmod")"
			note "rmmod says busy under load"
			# Without the load it has to go, soon.
			for pid in "${loads[@]}"; do pkill -9 -P $pid; done
			for pid in "${loads[@]}"; do wait $pid; done 2>/dev/null
			: >"$WORK/pids"
			pair_down
			until_ok 60 try_rmmod || fail "rmmod without load: $(tail -3 "$WORK/rmmod")"
		else
			end_load
		fi
		unloaded || fail "still loaded"
		reload
	done
}

run "link_del a" "link_del b" other_pair_lives "netns_del a" "netns_del b" netns_move_under_load \
	channels_under_load features_under_load "race 4" "race 6" killed_under_flip rmmod_idle \
	rmmod_under_load
