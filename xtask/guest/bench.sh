#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The measurements, inside the guest. Prints `= TRANSPORT WORKLOAD VALUE` for
# each round, with context switches per operation and the number of operations behind
# it where a workload has them, and `! TRANSPORT WORKLOAD` for what failed; `@` lines are
# progress.
#
#   [BENCH_ONLY="ROW..."] [BENCH_WALL=1] bench.sh BENCH ROUNDS SCALE TRANSPORT...
#
# TRANSPORT: veth, unix, smc-d (SMC-D over the kernel's loopback device, whose handshake goes
# by the veth pair), toe-host (the pair, nothing offloaded), toe (both ends offloaded, by
# frames), toe-short (the same, with the short cut). SCALE multiplies the counts. The floors,
# which have no transport, are those of `floor`. BENCH_WALL: each end stays on a CPU of its
# own, if there are two, and the ping-pong is timed trip by trip, too.

bench=$1
rounds=$2
scale=$3
shift 3

. "$(dirname "$0")/pairs.sh"
export BENCH_ADDR=192.0.2.2

one() { # TRANSPORT NAME WORKLOAD SIZE COUNT
	local how=tcp out run=()
	export BENCH_CLIENT_NS='' BENCH_SERVER_NS='' BENCH_DEV=b0
	case $1 in
	unix) how=unix ;;
	veth | smc-d) BENCH_CLIENT_NS=/run/netns/c-veth BENCH_SERVER_NS=/run/netns/s-veth ;;
	floor) ;;
	*) BENCH_CLIENT_NS=/run/netns/c-toe BENCH_SERVER_NS=/run/netns/s-toe ;;
	esac
	case $1 in
	smc-d) how=smcd ;;
	toe) how=ulp && short_cut off ;;
	toe-short) how=ulp && short_cut auto ;;
	esac
	# /sys shows the devices of the namespace it was mounted in.
	if [[ $3 == @(idle|batch) ]]; then run=(ip netns exec c-toe) BENCH_CLIENT_NS=; fi
	out=$("${run[@]}" "$bench" "$3" $how "$4" "$5" "$count") || { echo "! $1 $2"; failed=1; return; }
	while read -r word value; do
		case $word in
		round) echo "= $1 $2 $value" ;;
		*) echo "= $1 $word $value" ;;
		esac
	done <<<"$out"
}

failed=0
pairs "$@"
if [ -n "$BENCH_WALL" ]; then
	export BENCH_LAPS=1
	[ "$(nproc)" -lt 2 ] || export BENCH_CLIENT_CPU=0 BENCH_SERVER_CPU=1
fi
# So that a special case each round trip stays what it is.
if [ -e /run/netns/c-toe ]; then
	ip netns exec c-toe sh -c 'echo 100000000 >/sys/class/net/b0/toe/legacy_falls'
fi

# The transports take turns, so that what drifts meets all of them alike.
count=1
ask_default=${BENCH_READ:-65536}
for ((round = 1; round <= rounds; round++)); do
	for spec in "pingpong pingpong 64 5000" "special special 64 2000" "stream-1K stream 1024 16384" \
		"stream-4K stream 4096 8192" "stream-16K stream 16384 4096" \
		"stream-64K stream 65536 4096" "stream-256K stream 262144 1024" \
		"stream-64K-r256K stream 65536 4096 262144" "stream-256K-r256K stream 262144 1024 262144" \
		"connect connect 64 200" "connect-nofork connect-nofork 64 200"; do
		read -r name workload size times ask <<<"$spec"
		wanted "$name" || continue
		export BENCH_READ=${ask:-$ask_default}
		echo "@$name, round $round of $rounds"
		for t; do
			[[ $name$t == @(connect|connect-nofork|special)@(unix|smc-d) ]] ||
				one "$t" "$name" "$workload" "$size" "$(n "$times")"
		done
	done
	for spec in "syscall 10000" "pipe 2000" "eventfd 2000"; do
		read -r name times <<<"$spec"
		wanted "$name" && one floor "$name" "$name" 64 "$(n "$times")"
	done
	for t; do
		[ "$t" = toe ] || continue
		# One run measures both; the profiler counts what was asked for.
		if wanted offload || wanted upload; then
			BENCH_COUNTED=$BENCH_ONLY one toe offload idle 64 "$(n 500)"
		fi
		wanted batch && one toe batch batch 64 "$(n 512)"
		wanted memory && one toe memory memory 64 "$(n 2000)"
	done
done
# For the profiler: where the kernel's and the module's functions are.
if [ -n "$BENCH_SYMBOLS" ]; then
	cat /proc/kallsyms >"$TOE_OUT/$BENCH_SYMBOLS" || failed=1
fi
exit $failed
