#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Flip torture: random traffic, random options, random events, each byte checked.
# A short run with a fixed seed; `cargo xtask torture` is the long one.
#
#   TORTURE_SECONDS  how long (default: 15, on a debug kernel 25)
#   TORTURE_SEED     the plan (default: always the same)
#   TORTURE_ARGS     more options of toe_torture
#   TORTURE_PROGRESS 1: lines of progress, beginning with @

. "$(dirname "$0")/lib.sh"

R=toe-r-$$
B4=198.51.100.2
B6=2001:db8:1::2
GA4=192.0.2.254 GB4=198.51.100.254
GA6=2001:db8::ff GB6=2001:db8:1::ff

debug_kernel() { [ -e /proc/lockdep ]; }

if debug_kernel; then
	TORTURE_SECONDS=${TORTURE_SECONDS:-25}
	pace=("--pace" 100 --max 1m --stall 90)
else
	TORTURE_SECONDS=${TORTURE_SECONDS:-15}
	pace=(--pace 40 --max 4m)
fi
TORTURE_SEED=${TORTURE_SEED:-0x746f652e6b6f}
# The run, its end, and what a stall takes until it is one.
TOE_LIMIT=$((TORTURE_SECONDS * 2 + 400))
exec 9>&1

# A link down takes routes along that toe_torture puts back; addresses stay, and
# what is not tested here (how long a lost timer backs off, how many ICMP errors
# a router may send, how long a wrong neighbour is believed) does not cost minutes.
settings() { # NAMESPACE
	ip netns exec "$1" sh -c '
		cd /proc/sys/net/ipv4
		echo 1 >ip_forward
		echo 1000 >tcp_rto_max_ms
		echo 200 >tcp_retries2
		echo 20 >tcp_orphan_retries
		echo 20 >tcp_syn_retries
		echo 20 >tcp_synack_retries
		echo 0 >icmp_ratelimit
		echo 1000 >tcp_challenge_ack_limit
		cd ../ipv6
		echo 1 >conf/all/forwarding
		echo 0 >icmp/ratelimit
		for d in toe0 toe1 ra rb bond.a bond.b; do
			[ -d conf/$d ] || continue
			echo 1 >conf/$d/keep_addr_on_down
			echo 0 >conf/$d/accept_dad
			for f in ../ipv4 .; do
				echo 2000 >$f/neigh/$d/base_reachable_time_ms
				echo 1 >$f/neigh/$d/delay_first_probe_time
				echo 300 >$f/neigh/$d/retrans_time_ms
			done
		done' 2>/dev/null
	true
}

router_up() {
	make_ns && ip netns add $R && make_pair $DA ra $A $R && make_pair $DB rb $B $R || return 1
	settings $A; settings $B; settings $R
	ip -n $R -batch - <<-END || return 1
		addr add $GA4/24 dev ra
		addr add $GB4/24 dev rb
		addr add $GA6/64 dev ra nodad
		addr add $GB6/64 dev rb nodad
		link set ra up
		link set rb up
		link set lo up
	END
	configure || return 1
	# One end posts the memory of every call that waits, until a knob is drawn.
	knob b user_buffer_min 1
	knob b user_buffer_frames 0
	ip -n $A route add default via $GA4 && ip -n $A -6 route add default via $GA6 &&
		ip -n $B route add default via $GB4 && ip -n $B -6 route add default via $GB6 || return 1
	pings a $B4 && pings a $B6
}

# The short cut wants the two ends side by side. Each has the other's router as one more
# address, and the router a pair of its own that nothing comes by: what happens there does
# no harm, but neither are there frames to forge, nor weather.
direct_up() {
	make_ns && ip netns add $R && make_pair && make_pair ra rb $R $R || return 1
	settings $A; settings $B
	configure && side_by_side $DA $DB
}

side_by_side() { # DEVICE DEVICE
	ip -n $R -batch - <<-END || return 1
		link set ra up
		link set rb up
	END
	ip -n $A -batch - <<-END || return 1
		addr add $GB4/32 dev $1
		addr add $GB6/128 dev $1 nodad preferred_lft 0
		route add default via $GA4
	END
	ip -n $B -batch - <<-END || return 1
		addr add $GA4/32 dev $2
		addr add $GA6/128 dev $2 nodad preferred_lft 0
		route add default via $GB4
	END
	ip -n $A -6 route add default via $GA6 && ip -n $B -6 route add default via $GB6 || return 1
	pings a $B4 && pings a $B6
}

# The same over bonds.
bond_up() { # MODE [OPTION...]
	make_ns && ip netns add $R && make_pair && make_pair ra rb $R $R &&
		make_pair $DA2 $DB2 || return 1
	ip -n $A link set lo up
	ip -n $B link set lo up
	bond_of_end a mode "$@" && bond_of_end b mode "$@" || return 1
	settings $A; settings $B
	until_ok 20 carriers && side_by_side $BA $BB
}

router_down() {
	pair_down
	ip netns del $R 2>/dev/null
	true
}

# What a run that was killed left in force.
calm() {
	local d f
	for d in failslab fail_page_alloc; do
		for f in probability require-start require-end reject-start reject-end cache-filter; do
			echo 0 >/sys/kernel/debug/$d/$f
		done
	done 2>/dev/null
	true
}

# What the two ends have, for whoever looks for the cause of a failure.
state_of() { # NAMESPACE DEVICE
	echo "--- $1: addresses, routes, neighbours"
	ip -n "$1" -d -s link show "$2"
	ip -n "$1" -d link show type bond
	ip -n "$1" addr show "$2"
	ip -n "$1" route
	ip -n "$1" -6 route
	ip -n "$1" -s neigh
	echo "--- $1: sockets"
	ip netns exec "$1" ss -tanieo
	echo "--- $1: counters that are not zero"
	ip netns exec "$1" nstat -as
	ip netns exec "$1" ethtool -S "$2" | grep -v ': 0$'
}

torture() {
	local rc
	mkdir -p "$WORK/mnt"
	{ declare -f state_of; echo "state_of $A $DA; state_of $B $DB"; } >"$WORK/state"
	# shellcheck disable=SC2086
	"$BIN/toe_torture" --dir "$WORK/mnt" --seed "$TORTURE_SEED" "${pace[@]}" \
		--on-failure "bash $WORK/state 2>&1 | sed 's/^/#   /'" "$@" $TORTURE_ARGS $A $B $R
	rc=$?
	calm
	return $rc
}

t_flips() {
	[ -z "$TORTURE_PROGRESS" ] || set -- --progress 9
	torture --seconds "$TORTURE_SECONDS" "$@" >"$WORK/report" || {
		local rc=$?
		cat "$WORK/report"
		fail "exit code $rc; once more: TORTURE_SEED=$TORTURE_SEED TORTURE_SECONDS=$TORTURE_SECONDS"
	}
	sed 's/^# */# note: /' "$WORK/report"
	if is_short; then
		note "past the wire: $(ctr a toe_short_bytes) bytes from a, $(ctr b toe_short_bytes) from b"
		expect_ge "$(ctr a toe_short_bytes)" 1 "bytes past the wire"
	fi
	note "connections the host stack gave up: $(snmp a TcpExtTCPAbortOnTimeout) of a, $(snmp b TcpExtTCPAbortOnTimeout) of b"
	expect_no_entries
}

# Over bonds, whose members fail and whose choice changes.
t_bond() { # MODE [OPTION...]
	local TORTURE_SECONDS=$(((TORTURE_SECONDS + 1) / 2))
	need_module bonding
	router_down
	bond_up "$@" || fail "no bonds: $*"
	t_flips
	expect_ge "$(awk '/^# failovers:/ { print $3 + $5 + $8 }' "$WORK/report")" 1 "connections that had to leave"
}

# The negative control: a wrong byte is found, at its place.
t_planted_byte() {
	router_down
	$up || fail "no router"
	torture --seconds 3 --corrupt --only none >"$WORK/report" && fail "a wrong byte was not found"
	grep -q "FAILED, seed $TORTURE_SEED, .*: connection 0 of slot 0 .*: wrong byte at position" \
		"$WORK/report" || fail "another failure: $(cat "$WORK/report")"
	sed -n 's/^# FAILED/# note: FAILED as planted/p' "$WORK/report"
}

kill_ns() {
	local ns
	for ns in $A $B $R; do
		[ -e /run/netns/$ns ] && ip netns pids $ns 2>/dev/null | xargs -r kill -9 2>/dev/null
	done
}

cleanup() {
	end_bg
	calm
	router_down
	umount "$WORK/mnt" 2>/dev/null
	rm -rf "$WORK"
}

modprobe -q sch_netem
[ -x "$BIN/toe_torture" ] || skip_all "toe_torture is not built: make -C $here"
is_toe || skip_all "needs toe devices"
up=router_up
# TORTURE_DIRECT=1: so, but by frames.
if is_short || [ -n "$TORTURE_DIRECT" ]; then
	up=direct_up
	TORTURE_ARGS="--direct --never inject,netem $TORTURE_ARGS"
fi
# TORTURE_BOND=1: so, over bonds.
if [ -n "$TORTURE_BOND" ]; then
	. "$here/bond_lib.sh"
	TORTURE_ARGS="--bond --never inject,netem $TORTURE_ARGS"
	run "bond balance-xor miimon 20 xmit_hash_policy layer3+4" \
		"bond active-backup miimon 20"
fi
$up || skip_all "cannot set up a router: no forwarding in this kernel?"
run flips planted_byte
