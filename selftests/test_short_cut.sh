#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The same-host short cut: what an application writes is put into the other end's receive
# queue. Whoever would see frames sees each of them, whatever would stop them stops the
# bytes, and the calls of both ends are as with plain TCP (TOE_KIND=veth shows). Which way
# bytes went is asserted from the counters of both devices.

TOE_SHORT_CUT=auto
. "$(dirname "$0")/lib.sh"

[ "$TOE_KIND" != toe ] || [ -n "$short_cut_first" ] || skip_all "no knob short_cut"

# A pair on which nothing changes by itself any more: with its last address, and when the
# kernel has noticed that the links are up, each route is looked up anew, by a frame.
short_pair() { # [FAMILY]
	fresh
	until_ok 10 links_noticed || fail "the links do not come up"
	pause 0.1
	[ "$1" != 6 ] || until_ok 10 has_addresses || fail "addresses are tentative"
}
links_noticed() {
	[ "$(ns_cat a /sys/class/net/$DA/operstate) $(ns_cat b /sys/class/net/$DB/operstate)" = "up up" ]
}
has_addresses() {
	[ -z "$(ip -n $A -6 addr show tentative; ip -n $B -6 addr show tentative)" ]
}

# One connection after the other by the same pair: each probe begins with one that has the
# short cut.
short() { # FAMILY PROBE [OPTION...]
	probe short "$2" "$1" --dev "$DA,$DB" "${@:3}"
}

# Some probes of one kind, by one pair.
t_probes() { # FAMILY PROBE...
	local probe
	short_pair "$1"
	for probe in "${@:2}"; do
		echo "$probe"
		short "$1" "$probe"
	done
	expect_no_entries
}

# What comes and goes by commands: those of the case are run in the namespace they name.
shell_in() { # a|b COMMAND
	local ns dev
	end_of "$1"
	echo "ip netns exec $ns sh -c \"${*:2}\""
}

# Somebody who judges frames, or a road with something on it: frames, until it is gone.
# What it costs to be asked of each frame is not paid: it is noticed a little later.
t_judge() { # NAME...
	local name
	short_pair
	for name; do
		judge "$name" || {
			partial "$name: $(head -1 "$WORK/err")"
			continue
		}
		echo "$name"
		short 4 judge --slow --before "$begin" --after "$end"
	done
	expect_no_entries
}

# Sets `begin` and `end`. False: this system cannot, and `err` says why.
judge() { # NAME
	case $1 in
	nft_output)
		begin=$(shell_in a "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; }'")
		end=$(shell_in a "nft delete table inet t")
		;;
	nft_input)
		begin=$(shell_in b "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }'")
		end=$(shell_in b "nft delete table inet t")
		;;
	nft_ingress)
		begin=$(shell_in b "nft 'add table netdev t; add chain netdev t c { type filter hook ingress device $DB priority 0; }'")
		end=$(shell_in b "nft delete table netdev t")
		;;
	qdisc)
		begin=$(shell_in a "tc qdisc replace dev $DA root pfifo limit 1000")
		end=$(shell_in a "tc qdisc del dev $DA root")
		;;
	netem)
		begin=$(shell_in b "tc qdisc replace dev $DB root netem delay 1ms")
		end=$(shell_in b "tc qdisc del dev $DB root")
		;;
	clsact_egress)
		begin=$(shell_in a "tc qdisc add dev $DA clsact && tc filter add dev $DA egress matchall action pass")
		end=$(shell_in a "tc qdisc del dev $DA clsact")
		;;
	clsact_ingress)
		begin=$(shell_in b "tc qdisc add dev $DB clsact && tc filter add dev $DB ingress matchall action pass")
		end=$(shell_in b "tc qdisc del dev $DB clsact")
		;;
	route)
		begin=$(shell_in a "ip route add $B4/32 dev ${DA}x")
		end=$(shell_in a "ip route del $B4/32 dev ${DA}x")
		return 0
		;;
	esac
	{ sh -c "$begin" && sh -c "$end"; } >/dev/null 2>"$WORK/err"
}

# Another way to the same address, by a second pair.
t_another_route() {
	short_pair
	make_pair ${DA}x ${DB}x || fail "a second pair"
	ip -n $A link set ${DA}x up && ip -n $B link set ${DB}x up || fail "link up"
	judge route
	short 4 judge --slow --before "$begin" --after "$end"
	ip -n $A link del ${DA}x
	expect_no_entries
}

# What frames would not get through, bytes do not.
t_unreachable() { # NAME...
	local name
	short_pair
	for name; do
		case $name in
		neighbour)
			begin=$(shell_in a "ip neigh replace $B4 lladdr 02:00:00:00:00:99 dev $DA nud permanent")
			end=$(shell_in a "ip neigh del $B4 dev $DA")
			;;
		link_a | link_b)
			begin=$(shell_in "${name#link_}" "ip link set $(dev_of "${name#link_}") down")
			end=$(shell_in "${name#link_}" "ip link set $(dev_of "${name#link_}") up")
			;;
		drop)
			command -v nft >/dev/null || { partial "no nft"; continue; }
			begin=$(shell_in b "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; policy drop; }'")
			end=$(shell_in b "nft delete table inet t")
			;;
		esac
		echo "$name"
		short 4 unreachable --before "$begin" --after "$end"
	done
	expect_no_entries
}

# Frames with tags are sent always.
t_vlan() {
	local dev
	need_module 8021q
	short_pair
	for dev in "$A $DA 1" "$B $DB 2"; do
		# shellcheck disable=SC2086
		set -- $dev
		ip -n "$1" link add link "$2" name "$2.5" type vlan id 5 &&
			ip -n "$1" addr add "198.51.100.$3/24" dev "$2.5" &&
			ip -n "$1" link set "$2.5" up || fail "VLAN device"
	done
	set --
	is_toe || set -- --ulp-try
	"$BIN/toe_probe" --client-ns $A --server-ns $B --dev $DA,$DB "$@" short never 198.51.100.2 ||
		fail "over VLAN devices"
	expect_no_entries
}

# From when the capture begins it is complete.
t_capture() {
	local pid bytes
	need tcpdump
	short_pair
	short 4 capture --before "touch $WORK/ready; until [ -e $WORK/go ]; do sleep 0.1; done" \
		--after "touch $WORK/sent" &
	pid=$!
	until_ok 60 test -e "$WORK/ready" || fail "the probe does not begin"
	capture b b $DB
	capture any a any
	: >"$WORK/go"
	wait $pid || fail "the probe"
	bytes=$(tail -1 "$WORK/err")
	captured b any
	expect_eq "$(payload b $A4)" "$bytes" "bytes of the client in the capture of $DB"
	expect_eq "$(payload any $A4)" "$bytes" "bytes of the client in the capture of any device"
}

# The administrator takes one end back, and then the other: bytes go on.
t_taken_back() { # FAMILY
	local end
	short_pair "$1"
	for end in a b; do
		short "$1" either --before "$(taking "$end")" --after "$(taking a); $(taking b)"
	done
	short "$1" taken_back --rounds 6 --before "$(taking a); $(taking b)"
	expect_no_entries
}
taking() { # a|b
	local ns dev
	end_of "$1"
	if is_toe; then echo "$BIN/toe_ns $ns put /sys/class/net/$dev/toe/upload_all 1"; else echo true; fi
}

# The knob of one device, or of the other, is off for a while.
t_knob() {
	local end ns dev file
	need_toe
	short_pair
	for end in a b; do
		end_of $end
		file=/sys/class/net/$dev/toe/short_cut
		short 4 either --before "$BIN/toe_ns $ns put $file off" --after "$BIN/toe_ns $ns put $file auto"
	done
	knob a short_cut off && knob b short_cut off
	short 4 never
	expect_no_entries
}

# Several threads write to one socket: each message is in one piece.
t_writers() { # FAMILY
	short_pair "$1"
	short "$1" writers --rounds $((300 * scale / 1000))
	expect_no_entries
}

# By frames and past the wire in turn, under load.
t_flips() { # FAMILY
	short_pair "$1"
	short "$1" flips --rounds $((60 * scale / 1000 + 4))
	expect_no_entries
}

# The same until so many flips are counted: the next bytes went the other way than the last.
# `cargo xtask torture --flips` is the long one, with FLIPS and FLIPS_PROGRESS.
t_many_flips() { # FAMILY
	local n=4000
	need_toe
	[ ! -e /proc/lockdep ] || n=400
	short_pair "$1"
	[ -z "$FLIPS_PROGRESS" ] || export TOE_PROGRESS=9
	short "$1" many_flips --rounds "${FLIPS:-$((n * scale / 1000 + 10))}"
	expect_no_entries
}

# Memory that waits to be read is charged to the receiver.
t_charge() {
	local root=$WORK/cgroup
	mkdir -p "$root"
	mount -t cgroup2 none "$root" || skip "no cgroups in this kernel"
	if { echo +memory >"$root/cgroup.subtree_control"; } 2>/dev/null; then
		mkdir "$root/toe-short"
		short_pair
		short 4 charge --cgroup "$root/toe-short"
		until_ok 10 rmdir "$root/toe-short" 2>/dev/null || fail "the group cannot be removed"
		umount "$root"
	else
		umount "$root"
		skip "no memory controller in this kernel"
	fi
}

# Each allocation of a write fails.
t_no_memory() {
	local d
	[ -e /proc/self/fail-nth ] || skip "no /proc/self/fail-nth in this kernel"
	echo 0 >/sys/kernel/debug/failslab/ignore-gfp-wait 2>/dev/null
	echo 0 >/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait 2>/dev/null
	for d in /sys/kernel/debug/fail*/verbose; do echo 0 >"$d"; done 2>/dev/null
	short_pair "$1"
	short "$1" no_memory
	expect_no_entries
}

# The devices go while bytes pass.
t_delete() {
	short_pair
	short 4 cut --before "ip -n $A link del $DA"
}

t_unload() {
	can_reload
	short_pair
	# A writer that waits for room keeps the module for that time.
	short 4 cut --before "timeout 60 sh -c 'until rmmod toe 2>/dev/null; do sleep 0.1; done'"
	[ ! -d /sys/module/toe ] || fail "still loaded"
	reload
}

# For progress, past the file that keeps what a case says.
exec 9>&1
run "probes 4 trips mapped small large behind" "probes 6 trips small large behind" knob "taken_back 4" "taken_back 6" \
	"probes 4 tap_client tap_server tap_any_client tap_any_server tap_ip_server raw_client raw_server" \
	"probes 6 tap_client tap_any_server tap_ip_server raw_server" \
	"probes 4 filter_client filter_server stamps_client stamps_server" capture \
	"judge nft_output nft_input nft_ingress" "judge qdisc netem clsact_egress clsact_ingress" \
	another_route "unreachable neighbour link_a link_b drop" vlan \
	"probes 4 close half reset unread shutdown_rd" "probes 6 close half reset unread" \
	"probes 4 urgent zerocopy more" \
	"probes 4 peek peek_off trunc wait_all vectors splice send_file zero_copy_receive" \
	"probes 4 lowat edges sigio amounts info io_uring" "probes 6 peek lowat edges amounts info" \
	"probes 4 full crossed clamp notsent" "probes 6 full crossed" \
	"probes 4 fault cold" "no_memory 4" charge "writers 4" "flips 4" "flips 6" "many_flips 4" \
	delete unload
