#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# TCP_INFO, SIOCINQ and SIOCOUTQ against what the program itself knows.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

t_quiet() { # FAMILY ENDS
	snap_loss a
	need_xfer "$1" --bytes "$(kib 1024)" --tcpinfo --points 6 $(ulp "$2")
	expect_ge "$(jget client checks)" 12 "checks made"
	expect_ge "$(jget server checks)" 12 "checks made"
	expect_no_loss a
}

t_all_modes() {
	need_xfer 4 --bytes "$(kib 1024)" --tcpinfo --points 4 --tx mix --rx mix $(ulp)
}


t_across_uploads() { # FAMILY
	bg uploader a 0.1
	bg uploader b 0.1
	need_xfer "$1" --bytes "$(kib 2048)" --tcpinfo --points 10 $(ulp) --flip 50000
	end_bg
}

t_segments_plain() {
	need ethtool
	plain_frames
	need_xfer 4 --bytes "$(kib 256)" --tcpinfo --points 3 $(ulp)
	in_a ethtool -K $DA tso on gso on gro on
	in_b ethtool -K $DB tso on gso on gro on
	true
}

# The IP layer's counters count the target's frames, and the same number at both
# ends. A frame of several segments is one, but for the ECN counters.
t_snmp() { # FAMILY
	local c end n in ip=Ip ext=IpExt
	local -A old
	[ "$1" = 4 ] || ip=Ip6 ext=Ip6
	for end in a b; do
		old[${end}frames]=$(packets $end)
		for c in ${ip}InReceives ${ip}OutRequests ${ext}InOctets ${ext}OutOctets ${ext}InNoECTPkts; do
			old[$end$c]=$(snmp $end $c)
		done
	done
	grown() { echo $(($(snmp "$1" "$2") - old[$1$2])); }
	need_xfer "$1" --bytes "$(kib 1024)" $(ulp)
	# The last ACK is on its way, perhaps.
	pause 1
	in=$(grown b ${ip}InReceives)
	n=$(($(packets b) - old[bframes]))
	# Neighbour discovery and the like are frames, too.
	expect_le "$in" "$n" "frames received by IPv$1 of b"
	expect_ge "$in" $((n - 5)) "frames received by IPv$1 of b"
	expect_ge "$(grown a ${ip}OutRequests)" $((n - 5)) "frames sent by IPv$1 of a"
	for end in a b; do
		expect_ge "$(grown $end ${ext}InOctets)" "$(kib 1024)" "bytes received by IPv$1 of $end"
		expect_ge "$(grown $end ${ext}OutOctets)" "$(kib 1024)" "bytes sent by IPv$1 of $end"
		expect_ge "$(grown $end ${ext}InNoECTPkts)" $(($(kib 1024) / 1460)) "segments without ECN at $end"
	done
}

# What is on its way to a peer that answers nothing is in the table as soon as it is sent.
# Nothing happens after that which would have the target look what the socket says: no
# frame comes, and none is left to be sent.
t_in_flight() { # FAMILY
	local line una nxt
	local -a row
	need ss
	need_toe
	has_table || skip "no table in debugfs"
	fresh
	# Nor has a timer.
	set_sysctl a net.ipv4.tcp_rto_min_us 20000000
	set_sysctl a net.ipv4.tcp_early_retrans 0
	server b 7100 "$1"
	rm -f "$WORK/go" "$WORK/ready"
	bg in_a "$BIN/toe_conn" many "$(addr b "$1")" 7100 1 1 "$WORK/ready" "$WORK/go" 1000
	until_ok 20 test -e "$WORK/ready" || fail "not offloaded"
	ip -n $A neigh replace "$(addr b "$1")" lladdr 02:00:00:00:77:99 nud permanent dev $DA ||
		fail "neigh"
	let_go
	until_ok 10 something_sent || fail "nothing was sent: $(in_a ss -tinH dport = 7100)"
	pause 0.5
	read -ra row <<<"$(table $DA)"
	line=$(in_a ss -tinH dport = 7100)
	[[ $line == *bytes_sent:1000* ]] || fail "not 1000 bytes were sent: $line"
	expect_eq "${row[3]}" delegated "mode"
	una=${row[4]} nxt=${row[5]}
	expect_eq $(((nxt - una) & 0xffffffff)) 1000 "bytes in flight in the table"
	end_bg
	fresh
}
something_sent() { [[ $(in_a ss -tinH dport = 7100) == *bytes_sent:* ]]; }

# Frames a device has received.
packets() { ns_cat "$1" "/sys/class/net/$(dev_of "$1")/statistics/rx_packets"; }

pair_up || skip_all "cannot set up the pair"
run "quiet 4 both" "quiet 6 both" "quiet 4 client" "quiet 4 server" all_modes \
	"across_uploads 4" "across_uploads 6" segments_plain "snmp 4" "snmp 6" \
	"in_flight 4" "in_flight 6"
