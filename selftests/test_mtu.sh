#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# MTU changes under traffic.

. "$(dirname "$0")/lib.sh"


set_mtu() { # VALUE
	ip -n $A link set $DA mtu "$1" && ip -n $B link set $DB mtu "$1" || fail "MTU $1"
	# Below 1280 there is no IPv6, and the addresses are gone.
	[ "$1" -ge 1280 ] || return 0
	ip -n $A addr replace $A6/64 dev $DA nodad
	ip -n $B addr replace $B6/64 dev $DB nodad
}

# Waits for a background transfer.
transferred() {
	wait "$1" || fail "transfer: $(cat "$WORK/json")"
	: >"$WORK/pids"
}

t_fixed() { # FAMILY MTU
	set_mtu "$2"
	need_xfer "$1" --bytes "$(kib 512)" $(ulp)
	set_mtu 1500
	expect_no_entries
}

t_changes() { # FAMILY MTU...
	local fam=$1 pid mtu
	shift
	set_mtu 1500
	xfer "$fam" --bytes "$(kib 16384)" --conns 3 --wait epoll $(ulp) --flip 200k &
	pid=$!
	echo $pid >>"$WORK/pids"
	for mtu in "$@" 1500; do
		kill -0 $pid 2>/dev/null || break
		set_mtu "$mtu"
		pause 0.3
	done
	transferred $pid
	set_mtu 1500
	expect_no_entries
}

# A route of a smaller MTU for one peer only.
t_route_mtu() { # FAMILY MTU
	local dst len=32
	[ "$1" = 6 ] && len=128
	dst=$(addr b "$1")/$len
	xfer "$1" --bytes "$(kib 8192)" $(ulp) --flip 200k &
	pid=$!
	echo $pid >>"$WORK/pids"
	pause 0.2
	ip -n $A "-$1" route add "$dst" dev $DA mtu "$2" || fail "route"
	transferred $pid
	ip -n $A "-$1" route del "$dst" dev $DA
	expect_no_entries
}

t_advmss() {
	ip -n $A route add $B4/32 dev $DA advmss 500 || fail "route"
	need_xfer 4 --bytes "$(kib 256)" $(ulp)
	ip -n $A route del $B4/32 dev $DA
}

pair_up || skip_all "cannot set up the pair"
run "fixed 4 576" "fixed 4 9000" "fixed 4 65535" "fixed 6 1280" "fixed 6 9000" "fixed 6 65535" \
	"changes 4 9000 1500 65535 1500 600 1400 576" "changes 6 9000 1500 65535 1300 1280" \
	"route_mtu 4 800" "route_mtu 6 1280" advmss
