#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A bond of two pairs whose member fails, inside the guest: how long a connection is silent, and
# what it takes to move those that are idle. Prints `= TRANSPORT WORKLOAD VALUE` and, of the idle
# ones, `= COUNT WORKLOAD VALUE`; `@` lines are progress.
#
#   failover.sh FAILOVER ROUNDS SCALE TRANSPORT...
#
# TRANSPORT: veth (plain TCP), toe (both ends offloaded; of the idle ones the client's).

failover=$1
rounds=$2
scale=$3
shift 3
transports=("$@")

. "$(dirname "$0")/pairs.sh"
failed=0

# each_member KIND COMMAND...: with namespace and device of each as its last words.
each_member() {
	local kind=$1
	shift
	"$@" c-"$kind" b0 && "$@" c-"$kind" b2 && "$@" s-"$kind" b1 && "$@" s-"$kind" b3
}
cat_of() { ip netns exec "$1" cat "/sys/class/net/$2"; } 2>/dev/null
# shellcheck disable=SC2317 # by each_member, as the next three
is_up() { [ "$(cat_of "$1" "$2/bonding_slave/mii_status")" = up ]; }
# shellcheck disable=SC2317
set_up() { ip -n "$1" link set "$2" up; }
# shellcheck disable=SC2317
enslave() {
	ip -n "$1" addr flush dev "$2" && ip -n "$1" link set "$2" down &&
		ip -n "$1" link set "$2" master bond && ip -n "$1" link set "$2" up
}
# shellcheck disable=SC2317
capacity() { ip netns exec "$1" sh -c "echo 65536 >/sys/class/net/$2/toe/capacity"; }

# New devices each time: the table of connections keeps the size that it once had.
bond() { # KIND MODE...
	local kind=$1 end
	shift
	pair "$kind"
	ip link add b2 netns c-"$kind" type "$kind" peer name b3 netns s-"$kind" || exit 1
	[ "$kind" != toe ] || each_member toe capacity || exit 1
	for end in c s; do
		ip -n $end-"$kind" link add bond type bond mode "$@" || exit 1
	done
	each_member "$kind" enslave || exit 1
	ip -n c-"$kind" addr add 192.0.2.1/24 dev bond && ip -n c-"$kind" link set bond up || exit 1
	ip -n s-"$kind" addr add 192.0.2.2/24 dev bond && ip -n s-"$kind" link set bond up || exit 1
}
unbond() {
	ip -n c-"$1" link del bond
	ip -n c-"$1" link del b0
	ip -n c-"$1" link del b2
	ip netns del c-"$1"
	ip netns del s-"$1"
}

# All members are up, both ends send by the same one, or, with LACP, have made one link of both.
is_settled() { # KIND MODE
	each_member "$1" is_up || return
	case $2 in
	active-backup) same_active "$1" ;;
	# Both ends send and receive by both.
	802.3ad) each_member "$1" distributes ;;
	esac
}
# shellcheck disable=SC2317
distributes() {
	local who state
	for who in actor partner; do
		state=$(cat_of "$1" "$2/bonding_slave/ad_${who}_oper_port_state")
		[ $((state & 60)) = 60 ] || return
	done
}
# There is no switch that could learn.
same_active() {
	local active peer=b1
	active=$(cat_of c-"$1" bond/bonding/active_slave)
	[ "$active" = b0 ] || peer=b3
	[ -n "$active" ] && ip -n s-"$1" link set bond type bond active_slave $peer
}
settle() { # KIND MODE
	local i
	each_member "$1" set_up
	for ((i = 0; i < 300; i++)); do
		if is_settled "$@" && ip netns exec c-"$1" ping -q -c 1 -W 1 192.0.2.2 >/dev/null; then
			sleep 0.3
			return
		fi
		sleep 0.1
	done
	echo "the bonds of $1 do not settle: $2" >&2
	exit 1
}
run() { # KIND ARGUMENTS...
	export BENCH_ADDR=192.0.2.2 BENCH_CLIENT_NS=/run/netns/c-$1 BENCH_SERVER_NS=/run/netns/s-$1
	# /sys shows the devices of the namespace it was mounted in.
	ip netns exec c-"$1" "$failover" "${@:2}" >/run/failover.out
}
# So far, at both members of the client.
counters() { # KIND
	local dev
	for dev in b0 b2; do ip netns exec c-"$1" ethtool -S $dev; done
}
# added NAME: since /run/before.
added() {
	awk -v name="toe_failover_$1:" '$1 == name { n += FNR == NR ? -$2 : $2 } END { print n + 0 }' \
		/run/before <(counters toe)
}

# What became of the client's connections.
became() { # WHO ROW
	local word
	for word in moved link host; do
		echo "= $1 $word$2 $(added $word)"
	done
}

gaps() { # MODE...
	local mode=$1 t kind word value ulp member count row most
	for t in "${transports[@]}"; do
		bond "$t" "$@"
		ulp=
		[ "$t" = veth ] || ulp=ulp
		for kind in local peer; do
			for count in 1 100 10000; do
				row=:$mode:$kind most=$rounds
				if [ $count != 1 ]; then
					# Many take long to be made, and differ little.
					[ $count = 100 ] || most=$((rounds < 3 ? rounds : 3))
					count=$(n $count)
					row+=:$count
				fi
				for ((round = 1; round <= most; round++)); do
					echo "@$mode, $kind, $count, $t, round $round of $most"
					settle "$t" "$mode"
					# With a hash the members take turns, the same for all kinds.
					member=any
					[ "$mode" = active-backup ] || member=$((round % 2))
					# At another time between two looks of miimon.
					counters "$t" >/run/before
					run "$t" gap $kind $member $((60 + 7 * round)) "$count" $ulp || {
						echo "! $t gap$row"
						failed=1
						continue
					}
					while read -r word value; do
						echo "= $t $word$row $value"
					done </run/failover.out
					[ "$t" = veth ] || became "$t" "$row"
				done
			done
		done
		unbond "$t"
	done
}

moves() { # NAME MODE...
	local name=$1 mode=$2 count word value
	shift
	for ((round = 1; round <= rounds; round++)); do
		for count in 0 1 100 10000; do
			[ $count -le 1 ] || count=$(n $count)
			echo "@$mode, idle connections: $count, round $round of $rounds"
			bond toe "$@"
			settle toe "$mode"
			counters toe >/run/before
			if run toe move "$count"; then
				while read -r word value; do
					echo "= $count $word:$name $value"
				done </run/failover.out
				became "$count" ":$name"
			else
				echo "! $count time:$name"
				failed=1
			fi
			unbond toe
		done
	done
}

modprobe bonding || exit 1
xor="balance-xor miimon 20 xmit_hash_policy"
# shellcheck disable=SC2086 # words
{
	gaps active-backup miimon 20
	gaps $xor layer3+4
	gaps 802.3ad miimon 20 lacp_rate fast xmit_hash_policy layer3+4
	# By addresses of the link all connections go by one member.
	[[ " ${transports[*]} " != *" toe "* ]] || moves balance-xor $xor layer2
	[[ " ${transports[*]} " != *" toe "* ]] || moves active-backup active-backup miimon 20
}
exit $failed
