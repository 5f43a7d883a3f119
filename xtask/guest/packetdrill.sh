#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kernel's packetdrill scripts over a pair, in wire mode: the program under
# test in one namespace, the packets made and seen in the other, and what both
# programs tell each other on a veth pair beside it.
#
#   packetdrill.sh PROGRAM SCRIPTS PRELOAD TOE_NS off|on FAMILY/NAME...
#
# PROGRAM is packetdrill, SCRIPTS the kernel's directory of scripts, PRELOAD the
# library that asks for the offload, TOE_NS the selftests' program. FAMILY is one that
# ksft_runner.sh knows, NAME a script without its .pkt. A line of the output for each:
#
#   FAMILY/NAME EXITCODE OFFLOADS
#
# Lines that begin with @ are progress. What packetdrill said of a script that failed is
# in $TOE_OUT/off|on/FAMILY/NAME. Such a script is tried three times: packetdrill judges
# times, which pass too fast while the host is busy.

program=$1
scripts=$2
preload=$3
toe_ns=$4
mode=$5
shift 5

# Seconds that one script may take: the longest waits for timers.
LIMIT=100

die() { echo "packetdrill.sh: $*" >&2; exit 1; }

# A script's options are the kernel's own, of the array in its runner. The address of
# the gateway is that of the other end here, where a TUN device has no other end; the
# other end is spoken to by a socket of the family's domain.
eval "$(sed -n '/^declare -A ip_args=/,/^)/p' "$scripts/ksft_runner.sh")"
[ ${#ip_args[@]} -gt 0 ] || die "no ip_args in $scripts/ksft_runner.sh"
option() { # FAMILY NAME: REPLY
	local word
	REPLY=
	for word in ${ip_args[$1]}; do
		[[ $word != --$2=* ]] || REPLY=${word#*=}
	done
}
gateway4=192.168.0.2
option ipv4 local_ip && local4=$REPLY
option ipv6 local_ip && local6=$REPLY
option ipv6 gateway_ip && gateway6=$REPLY
for family in "${!ip_args[@]}"; do
	option "$family" gateway_ip
	if [[ $REPLY != *:* ]]; then
		ip_args[$family]=${ip_args[$family]/--gateway_ip=$REPLY/--gateway_ip=$gateway4}
	fi
	if [ "$family" = ipv4 ]; then
		ip_args[$family]+=" --wire_server_ip=10.99.0.2"
	else
		ip_args[$family]+=" --wire_server_ip=::ffff:10.99.0.2"
	fi
done

# All in memory, for time passes while a program waits for a file of the host's. So does
# /tmp, where else each new name would be looked up there.
work=$(mktemp -d /run/packetdrill.XXXXXX) || exit 1
cp "$program" "$preload" "$toe_ns" "$work" && cp -r "$scripts/." "$work" || exit 1
program=$work/${program##*/} preload=$work/${preload##*/} toe_ns=$work/${toe_ns##*/}
cd "$work" || exit 1
own_tmp=(/run/busybox/unshare -m /run/busybox/sh -c
	'/run/busybox/mount -t tmpfs tmp /tmp && exec "$@"' sh)

# The scripts name the device of a TUN; its default queueing discipline is none that a
# connection could be offloaded with.
sed -i 's/\btun0\b/sut0/g' ./*.sh ./*.pkt
sed -i '/^tc qdisc add dev sut0 root/d' defaults.sh

# A program for each of its settings takes longer than most scripts do.
{
	cat <<-'END'
		#!/bin/sh
		sysctl() {
			local name path
			for name; do
				path=${name%%=*}
				while [ "$path" != "${path#*.}" ]; do path=${path%%.*}/${path#*.}; done
				[ "$name" = -q ] || echo "${name#*=}" >"/proc/sys/$path"
			done
		}
	END
	cat defaults.sh
} >defaults.new && chmod +x defaults.new && mv defaults.new defaults.sh || exit 1

# That of the kernel's runner for slow machines, where a script has none of its own.
tolerance=--tolerance_usecs=14000
own_tolerance=" $(grep -l '^--tolerance_usecs=' ./*.pkt | sed 's,^./,,' | tr '\n' ' ')"

knobs=(policy=off)
[ "$mode" = off ] || knobs=(min_segments=0 min_bytes=0 policy=auto)
exec {nothing}<> <(:)

in_ns() { "$toe_ns" "$1" exec "${@:2}"; }

# Both namespaces, the pair and the program at the other end, as new for each script.
# Addresses and neighbours are known, so that nobody asks for them on the wire; what
# comes for the address that packetdrill speaks for is nobody's and answered by nobody.
mac_sut=02:00:00:00:00:01
mac_peer=02:00:00:00:00:02
up() { # FAMILY
	local family=$1 mtu knob tcp=/proc/net/tcp
	option "$family" mtu
	mtu=${REPLY:-1500}
	[ "$family" = ipv4 ] || tcp=/proc/net/tcp6
	ip -batch - <<-END || return 1
		netns add sut
		netns add peer
		link add sut0 address $mac_sut mtu $mtu netns sut type toe peer name peer0 address $mac_peer mtu $mtu netns peer
		link add ctl0 netns sut type veth peer name ctl1 netns peer
	END
	ip -n sut -batch - <<-END || return 1
		addr add 10.99.0.1/24 dev ctl0
		addr add $local4/16 dev sut0
		addr add $local6/48 dev sut0 nodad
		link set lo up
		link set ctl0 up
		link set sut0 up
		neigh add $gateway4 lladdr $mac_peer nud permanent dev sut0
		neigh add $gateway6 lladdr $mac_peer nud permanent dev sut0
	END
	ip -n peer -batch - <<-END || return 1
		addr add 10.99.0.2/24 dev ctl1
		addr add $gateway4/16 dev peer0
		addr add $gateway6/48 dev peer0 nodad
		link set lo up
		link set ctl1 up
		link set peer0 up
		neigh add $local4 lladdr $mac_sut nud permanent dev peer0
		neigh add $local6 lladdr $mac_sut nud permanent dev peer0
		route add blackhole 0.0.0.0/0
		route add blackhole ::/0
	END
	in_ns sut ethtool -K sut0 tso off gso off gro off || return 1
	in_ns peer ethtool -K peer0 tso off gso off gro off || return 1
	"$toe_ns" peer put /sys/class/net/peer0/toe/policy off || return 1
	for knob in "${knobs[@]}"; do
		"$toe_ns" sut put "/sys/class/net/sut0/toe/${knob%=*}" "${knob#*=}" || return 1
	done
	# Not by in_ns: it is this process that has to be ended.
	"$toe_ns" peer exec "$program" --wire_server --wire_server_dev=peer0 \
		--ip_version="$family" >"$work/server" 2>&1 &
	server=$!
	for _ in {1..200}; do
		[[ $("$toe_ns" peer cat $tcp) != *:1F91\ *\ 0A\ * ]] || return 0
		read -r -t 0.02 -u "$nothing" _
	done
	return 1
}

down() {
	[ -z "$server" ] || kill "$server"
	wait "$server"
	server=
	ip -force -batch - <<-END
		netns del sut
		netns del peer
	END
} 2>/dev/null

offloads() {
	"$toe_ns" sut counters sut0 | sed -n 's/^ *toe_offloads: //p'
}

one() { # FAMILY NAME: the caller's code and count
	local family=$1 name=$2 log=$work/log
	local -a load=() options
	code=125 count=0
	if ! up "$family" >"$log" 2>&1; then
		echo "no pair for it" >>"$log"
		down
		return
	fi
	[ "$mode" = off ] || load=(env "LD_PRELOAD=$preload")
	# shellcheck disable=SC2206
	options=(${ip_args[$family]})
	[[ $own_tolerance == *" $name.pkt "* ]] || options+=("$tolerance")
	in_ns sut timeout --kill-after=5 "$LIMIT" "${own_tmp[@]}" "${load[@]}" "$program" \
		--wire_client --wire_client_dev=sut0 --wire_server_dev=peer0 \
		"${options[@]}" "$name.pkt" >"$log" 2>&1 </dev/null
	code=$?
	count=$(offloads)
	[ $code = 0 ] || {
		sed 's/^/other end: /' "$work/server"
		"$toe_ns" sut counters sut0 | grep -v ': 0$'
	} >>"$log" 2>&1
	down
}

n=0
for test; do
	n=$((n + 1))
	mkdir -p "$TOE_OUT/$mode/${test%%/*}"
	for _ in 1 2 3; do
		one "${test%%/*}" "${test#*/}"
		[ $code != 0 ] || break
	done
	[ $code = 0 ] || cp "$work/log" "$TOE_OUT/$mode/$test"
	echo "$test $code ${count:-0}"
	echo "@$mode: $test: exit code $code ($n of $#)"
done
exit 0
