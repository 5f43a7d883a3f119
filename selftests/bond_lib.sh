# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A bond of two pairs at each end, and how its members fail and come back. Sourced after
# tree_lib.sh.

# The second pair, and the bond at either end. Addresses are those of the pair, on the bond.
DA2=${DA}s DB2=${DB}s
BA=bond.a BB=bond.b

# The bond of an end, with its members down as bonding wants it.
bond_of_end() { # a|b OPTIONS...
	local ns dev second bond=$BA v4=$A4 v6=$A6
	end_of "$1"
	second=$DA2
	[ "$1" = a ] || second=$DB2 bond=$BB v4=$B4 v6=$B6
	shift
	# shellcheck disable=SC2086 # options
	ip -n $ns -batch - <<-END
		addr flush dev $dev
		link set $dev down
		link set $second down
		link add $bond type bond $*
		link set $dev master $bond
		link set $second master $bond
		link set $dev up
		link set $second up
		addr add $v4/24 dev $bond
		addr add $v6/64 dev $bond nodad
		link set $bond up
	END
}

# bonded MODE [OPTION...]: a fresh pair, a second one, which may be of another kind, and a bond of
# both at each end.
SECOND_KIND=
bonded() {
	need_module bonding
	fresh
	TOE_KIND=${SECOND_KIND:-$TOE_KIND} make_pair $DA2 $DB2 || fail "a second pair"
	bond_of_end a mode "$@" && bond_of_end b mode "$@" || fail "cannot make the bonds: $*"
	until_ok 20 carriers || fail "the bonds have no carrier"
	[ "$1" != 802.3ad ] || until_ok 30 aggregated || fail "the links are not aggregated"
	until_ok 20 pings a $B4 && until_ok 20 pings a $B6 || fail "the bonds do not carry"
	snap_members
}
carriers() {
	[ "$(ns_cat a /sys/class/net/$BA/carrier)$(ns_cat b /sys/class/net/$BB/carrier)" = 11 ]
}
# LACP has made one link of both, and each end knows that the other one has, too: both send and
# receive by each. Until then there are moments in which no member carries frames.
aggregated() { distributing $A $DA $DA2 && distributing $B $DB $DB2; }
distributing() { # NAMESPACE DEVICE DEVICE
	local state n=0 dir=/sys/class/net
	local -a states
	mapfile -t states < <("$BIN/toe_ns" "$1" cat \
		$dir/"$2"/bonding_slave/ad_{actor,partner}_oper_port_state \
		$dir/"$3"/bonding_slave/ad_{actor,partner}_oper_port_state 2>/dev/null)
	# LACP_STATE_AGGREGATION, _SYNCHRONIZATION, _COLLECTING, _DISTRIBUTING
	for state in "${states[@]}"; do [ $((state & 60)) != 60 ] || n=$((n + 1)); done
	[ $n = 4 ]
}
unbonded() {
	ip -n $A link del $BA
	ip -n $B link del $BB
	ip -n $A link del $DA2
	true
} 2>/dev/null

# Whether the bonds of both ends know of two links each.
both_members_up() { members_up $A $DA $DA2 && members_up $B $DB $DB2; }
members_up() { # NAMESPACE DEVICE DEVICE
	local -a status
	mapfile -t status < <("$BIN/toe_ns" "$1" cat "/sys/class/net/$2/bonding_slave/mii_status" \
		"/sys/class/net/$3/bonding_slave/mii_status" 2>/dev/null)
	[ "${status[*]}" = "up up" ]
}

# Counters of all four members together.
members() {
	local dev
	for dev in $DA $DA2; do "$BIN/toe_ns" $A counters $dev; done
	for dev in $DB $DB2; do "$BIN/toe_ns" $B counters $dev; done
} 2>/dev/null
snap_members() { members >"$WORK/snap.m"; }
# total NAME: what was added since.
total() {
	awk -v name="$1:" '$1 == name { n += FNR == NR ? -$2 : $2 } END { print n + 0 }' \
		"$WORK/snap.m" <(members)
}
# of DEVICE NAME, of end a.
of() {
	pick "$2" "$("$BIN/toe_ns" $A counters "$1" 2>/dev/null)"
	echo $REPLY
}
conns_of() { "$BIN/toe_ns" $A cat /sys/class/net/$1/toe/connections; }
# Of both members of end a: `conns` is set to their numbers.
count_conns() {
	mapfile -t conns < <("$BIN/toe_ns" $A cat "/sys/class/net/$DA/toe/connections" \
		"/sys/class/net/$DA2/toe/connections")
}
nothing_left() {
	count_conns
	[ "${conns[*]}" = "0 0" ]
}
expect_nothing_left() {
	is_toe || return 0
	until_ok 10 nothing_left || fail "connections are left"
}

# The member that the connections of end a lie at; of several connections the first.
home() {
	count_conns
	if [ "${conns[0]}" != 0 ]; then echo $DA; elif [ "${conns[1]}" != 0 ]; then echo $DA2; fi
}
peer_member() { case $1 in "$DA") echo $DB ;; *) echo $DB2 ;; esac; }

# What fails, and how it comes back: in the namespace of an end, with the member that a
# connection lies at.
fail_member() { # KIND DEVICE
	case $1 in
	local) set_link $A "$2" down ;;
	peer) set_link $B "$(peer_member "$2")" down ;;
	release) ip -n $A link set "$2" nomaster ;;
	active) activate "$(other_than "$2")" ;;
	esac
}
# There is no switch that could learn: both ends have to choose the same.
activate() {
	"$BIN/toe_ns" $A put /sys/class/net/$BA/bonding/active_slave "$1" &&
		"$BIN/toe_ns" $B put /sys/class/net/$BB/bonding/active_slave "$(peer_member "$1")"
}
# What ip(8) does, which takes ten times as long to start: IFF_MULTICAST, _BROADCAST and _UP.
set_link() { # NAMESPACE DEVICE up|down
	local flags=0x1003
	[ "$3" = up ] || flags=0x1002
	"$BIN/toe_ns" "$1" put "/sys/class/net/$2/flags" $flags
}
other_than() { case $1 in "$DA") echo $DA2 ;; *) echo $DA ;; esac; }
restore_member() { # KIND DEVICE
	case $1 in
	local) set_link $A "$2" up ;;
	peer) set_link $B "$(peer_member "$2")" up ;;
	release)
		ip -n $A link set "$2" down
		ip -n $A link set "$2" master $BA && ip -n $A link set "$2" up
		;;
	active) activate "$2" ;;
	esac
}
# All of them, and so many at least, are at the other member than this one.
others_have() { # DEVICE COUNT
	count_conns
	[ "$1" != $DA ] || conns=("${conns[1]}" "${conns[0]}")
	[ "${conns[1]}" = 0 ] && [ "${conns[0]}" -ge "$2" ]
}
gone_from() { [ "$(conns_of "$1")" = 0 ]; }
moved_to() { [ "$(conns_of "$1")" = "${2:-1}" ]; }

# Members that fail and come back under load.
flapper() { # KIND
	local dev
	while :; do
		for dev in $DA $DA2; do
			fail_member "$1" $dev
			pause 0.3
			restore_member "$1" $dev
			pause 0.7
		done
	done
}

# A knob of a member of end a.
set_of() { "$BIN/toe_ns" $A put "/sys/class/net/$1/toe/$2" "$3" || fail "knob $2"; }

# until_ok for what is often a matter of milliseconds.
until_soon() {
	local STEP=0.02
	until_ok "$@"
}

# A VLAN device on the bond of each end, with the addresses that are used from here on.
vlan_on_bonds() {
	need_module 8021q
	ip -n $A link add link $BA name $BA.v type vlan id 100 &&
		ip -n $B link add link $BB name $BB.v type vlan id 100 || fail "VLAN devices"
	A4=198.51.100.1 B4=198.51.100.2
	ip -n $A addr add $A4/24 dev $BA.v && ip -n $A link set $BA.v up &&
		ip -n $B addr add $B4/24 dev $BB.v && ip -n $B link set $BB.v up || fail "addresses"
	until_ok 20 pings a $B4 || fail "the VLAN does not carry"
}
