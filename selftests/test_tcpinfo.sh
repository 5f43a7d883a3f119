#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# TCP_INFO, SIOCINQ and SIOCOUTQ against what the program itself knows.

. "$(dirname "$0")/lib.sh"

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

# Frames a device has received.
packets() { ns_cat "$1" "/sys/class/net/$(dev_of "$1")/statistics/rx_packets"; }

pair_up || skip_all "cannot set up the pair"
run "quiet 4 both" "quiet 6 both" "quiet 4 client" "quiet 4 server" all_modes \
	"across_uploads 4" "across_uploads 6" segments_plain "snmp 4" "snmp 6"
