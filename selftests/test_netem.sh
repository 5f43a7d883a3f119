#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Loss, reordering, duplication, corruption and delay on the way.

. "$(dirname "$0")/lib.sh"


# The wire of the pair has no queue that a target's frames would pass, so the
# bad weather is in a router: a == router == b, both links of the kind tested.
R=toe-r-$$
B4=198.51.100.2
B6=2001:db8:1::2

weather() { # NETEM-ARGUMENTS
	local dev
	for dev in ra rb; do
		# shellcheck disable=SC2086
		tc -n $R qdisc replace dev $dev root netem $1 limit 5000 2>"$WORK/err" ||
			skip "netem: $(head -1 "$WORK/err")"
	done
}

clear_sky() {
	local dev
	for dev in ra rb; do tc -n $R qdisc del dev $dev root 2>/dev/null; done
	true
}

router_up() {
	make_ns && ip netns add $R && make_pair $DA ra $A $R && make_pair $DB rb $B $R || return 1
	ip netns exec $R sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
	ip -n $R -batch - <<-END || return 1
		addr add 192.0.2.254/24 dev ra
		addr add 198.51.100.254/24 dev rb
		addr add 2001:db8::ff/64 dev ra nodad
		addr add 2001:db8:1::ff/64 dev rb nodad
		link set ra up
		link set rb up
	END
	configure || return 1
	ip -n $A route add default via 192.0.2.254 && ip -n $A -6 route add default via 2001:db8::ff &&
		ip -n $B route add default via 198.51.100.254 &&
		ip -n $B -6 route add default via 2001:db8:1::ff || return 1
	pings a $B4 && pings a $B6
}

t_weather() { # FAMILY NAME
	local args
	need tc
	case $2 in
	loss) args="loss 1%" ;;
	heavy_loss) args="loss 5%" ;;
	reorder) args="delay 3ms reorder 20% 50%" ;;
	heavy_reorder) args="delay 1ms reorder 75%" ;;
	jitter) args="delay 5ms 4ms" ;;
	duplicate) args="duplicate 3%" ;;
	corrupt) args="corrupt 0.5%" ;;
	delay) args="delay 20ms" ;;
	rate) args="rate 20mbit" ;;
	storm) args="delay 2ms 2ms loss 1% duplicate 1% reorder 5% corrupt 0.3%" ;;
	esac
	weather "$args"
	is_toe && snap a && snap b
	need_xfer "$1" --bytes "$(kib 1024)" --conns 3 --wait epoll $(ulp) --ulp-try
	need_xfer "$1" --bytes "$(kib 1024)" --conns 2 --tx mix --rx mix $(ulp) --ulp-try --flip 60000
	clear_sky
	if is_toe; then
		expect_ge "$(delta a toe_offloads)" 5 "offloads"
		# A wire that only delays has no special cases of its own.
		[[ $2 == @(rate|delay) ]] || expect_ge "$(delta a toe_resyncs)" 1 "resynchronisations"
		note "$2: $(delta a toe_offloads) offloads, uploads: $(reasons a upload)"
		note "$2: $(delta a toe_resyncs) resynchronisations, special cases: $(reasons a special)"
	fi
	expect_no_entries
}

# The names of a kind that were counted since the snapshot.
reasons() { # a|b upload|special
	counters "$1" | awk -v kind="toe_$2_" 'NR == FNR { old[$1] = $2; next }
		index($1, kind) && $2 > old[$1] { printf "%s%d ", substr($1, length(kind) + 1), $2 - old[$1] }' \
		"$WORK/snap.$1" -
}

# What the router verified when it came in is changed on the way out: with GRO, and
# senders that compute their checksums themselves.
t_corrupt_when_forwarded() { # FAMILY
	need ethtool
	in_a ethtool -K $DA tx off >/dev/null 2>&1 && in_b ethtool -K $DB tx off >/dev/null 2>&1 ||
		skip "tx checksums cannot be switched off"
	weather "corrupt 2%"
	need_xfer "$1" --bytes "$(kib 2048)" --conns 2 --wait epoll
	need_xfer "$1" --bytes "$(kib 2048)" --conns 2 --wait epoll $(ulp) --ulp-try
	clear_sky
	in_a ethtool -K $DA tx on >/dev/null 2>&1
	in_b ethtool -K $DB tx on >/dev/null 2>&1
	expect_no_entries
}

t_flip_in_the_storm() {
	weather "delay 2ms 1ms loss 1%"
	bg uploader a 0.2
	bg uploader b 0.3
	need_xfer 4 --bytes "$(kib 2048)" --conns 4 --wait epoll $(ulp) --ulp-try --flip 40000
	end_bg
	clear_sky
	expect_no_entries
}

# A wire that is dead for a while.
t_blackout() {
	local pid
	xfer 4 --bytes "$(kib 8192)" --sndbuf 65536 --pause-every 512k --pause-ms 100 $(ulp) --ulp-try --flip 100k &
	pid=$!
	echo $pid >>"$WORK/pids"
	pause 0.5
	weather "loss 100%"
	pause 3
	clear_sky
	wait $pid || fail "transfer: $(cat "$WORK/json")"
	: >"$WORK/pids"
	expect_no_entries
}

cleanup() {
	end_bg
	pair_down
	ip netns del $R 2>/dev/null
	rm -rf "$WORK"
}

router_up || skip_all "cannot set up a router: no forwarding in this kernel?"
run "weather 4 loss" "weather 6 loss" "weather 4 heavy_loss" "weather 4 reorder" "weather 6 reorder" "weather 4 heavy_reorder" \
	"weather 4 jitter" "weather 4 duplicate" "weather 4 corrupt" "weather 6 corrupt" \
	"weather 4 delay" "weather 4 rate" "weather 4 storm" "weather 6 storm" \
	"corrupt_when_forwarded 4" "corrupt_when_forwarded 6" flip_in_the_storm blackout
