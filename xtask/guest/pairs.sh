#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# For the scripts that measure, which source it: a pair of devices between two
# namespaces, c-KIND and s-KIND, 192.0.2.1 on b0 and 192.0.2.2 on b1.

pair() { # KIND: veth or toe
	local kind=$1
	ip netns add c-"$kind" && ip netns add s-"$kind" || exit 1
	ip link add b0 netns c-"$kind" type "$kind" peer name b1 netns s-"$kind" || exit 1
	ip -n c-"$kind" addr add 192.0.2.1/24 dev b0
	ip -n s-"$kind" addr add 192.0.2.2/24 dev b1
	ip -n c-"$kind" link set b0 up
	ip -n s-"$kind" link set b1 up
	ip netns exec c-"$kind" ping -q -c 1 -W 5 192.0.2.2 >/dev/null || exit 1
}

# The pairs of the transports: one for all of the module's, for policy `ulp`, the
# default, offloads who asks for it.
pairs() { # TRANSPORT...
	local t
	for t; do
		case $t in
		veth) [ -e /run/netns/c-veth ] || pair veth ;;
		smc-d)
			# What is missing is said by the row that fails.
			modprobe -a dibs smc smc_diag
			[ -e /run/netns/c-veth ] || pair veth
			;;
		toe | toe-host | toe-short) [ -e /run/netns/c-toe ] || pair toe ;;
		esac
	done
}

# Whether offloaded connections of that pair may go without frames.
short_cut() { # off|auto
	ip netns exec c-toe sh -c "echo $1 >/sys/class/net/b0/toe/short_cut"
	ip netns exec s-toe sh -c "echo $1 >/sys/class/net/b1/toe/short_cut"
}

wanted() { [[ " ${BENCH_ONLY:-$1} " == *" $1 "* ]]; }

# shellcheck disable=SC2154 # the script's
n() { echo $(($1 * scale / 100)); }
