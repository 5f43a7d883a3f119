#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Goodput on a bad wire, inside the guest: one sender, one reader, two links of the
# emulated NIC and a router between them that loses, delays, reorders. Prints
# `= TRANSPORT WEATHER NANOSECONDS-PER-KIB` for each round; `@` lines are progress.
#
#   [BENCH_ONLY="WEATHER..."] weather.sh BENCH ROUNDS SCALE TRANSPORT...
#
# TRANSPORT: toe-host (nothing offloaded), toe (both ends offloaded).

bench=$1
rounds=$2
scale=$3
shift 3

export BENCH_CLIENT_NS=/run/netns/c BENCH_SERVER_NS=/run/netns/s BENCH_DEV=b0 \
	BENCH_ADDR=198.51.100.2
for ns in c r s; do
	ip netns add $ns || exit 1
done
ip link add b0 netns c type toe peer name rc netns r || exit 1
ip link add b1 netns s type toe peer name rs netns r || exit 1
# What one connection learns of the path is not to help or hinder the next.
for ns in c s; do
	ip netns exec $ns sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save'
done
ip -n c addr add 192.0.2.1/24 dev b0
ip -n s addr add 198.51.100.2/24 dev b1
ip -n r addr add 192.0.2.254/24 dev rc
ip -n r addr add 198.51.100.254/24 dev rs
ip netns exec r sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
for link in "c b0" "s b1" "r rc" "r rs"; do
	read -r ns dev <<<"$link"
	ip -n $ns link set $dev up || exit 1
	# What is lost is a segment, not as many as fit into one buffer.
	ip netns exec $ns ethtool -K $dev tso off gso off gro off >/dev/null 2>&1
done
ip -n c route add default via 192.0.2.254
ip -n s route add default via 198.51.100.254
ip netns exec c ping -q -c 1 -W 5 198.51.100.2 >/dev/null || exit 1

failed=0
for ((round = 1; round <= rounds; round++)); do
	while read -r name writes args; do
		[[ " ${BENCH_ONLY:-$name} " == *" $name "* ]] || continue
		echo "@$name, round $round of $rounds"
		for dev in rc rs; do
			# shellcheck disable=SC2086
			tc -n r qdisc replace dev $dev root netem limit 10000 $args || exit 1
		done
		for t; do
			# At once, or as soon as the weather lets it: the policy asks again.
			policy=off
			[ "$t" = toe ] && policy=auto
			ip netns exec c sh -c "echo $policy >/sys/class/net/b0/toe/policy"
			ip netns exec s sh -c "echo $policy >/sys/class/net/b1/toe/policy"
			out=$("$bench" stream tcp 16384 $((writes * scale / 100)) 1) ||
				{ echo "@failed: $t $name"; failed=1; continue; }
			read -r _ value _ <<<"$out"
			echo "= $t $name $value"
		done
	done <<-END
		clear 1024
		loss-0.1 1024 loss 0.1%
		loss-1 1024 loss 1%
		loss-2 512 loss 2%
		loss-5 256 loss 5%
		reorder-1 512 delay 1ms reorder 99%
		reorder-25 512 delay 1ms reorder 75%
		duplicate-1 1024 duplicate 1%
		corrupt-0.1 1024 corrupt 0.1%
		delay 512 delay 10ms 5ms
		all 64 delay 10ms 5ms loss 1% duplicate 1% corrupt 0.1% reorder 5%
	END
done
ip netns exec c ethtool -S b0 | awk '/toe_(offloads|specials|resyncs|legacy_rx_frames|uploads):/ { printf "@client: %s %s\n", $1, $2 }' >&2
exit $failed
