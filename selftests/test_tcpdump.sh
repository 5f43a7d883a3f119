#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A capture on the device sees every frame, of the target too, as it should be.

. "$(dirname "$0")/lib.sh"

# Checksums, too.
verbose=-vv

# Of all devices: frames without their link header.
t_any() { # FAMILY
	local end sent
	need tcpdump
	sent=$(($(kib 256)))
	capture a a any tcp
	capture b b any tcp
	snap a
	need_xfer "$1" --bytes $sent --back $sent $(ulp)
	captured a b
	for end in a b; do
		expect_ge "$(payload $end "$(addr a "$1")")" $sent "bytes of the client in the capture of $end"
		expect_ge "$(payload $end "$(addr b "$1")")" $sent "bytes of the server in the capture of $end"
	done
}

t_frames() { # FAMILY on|off ENDS: segmentation, who is delegated
	local end max=0 bytes sent limit
	need tcpdump ethtool
	if [ "$2" = off ]; then
		plain_frames
		# Checksums are whole in a capture only if software makes them.
		in_a ethtool -K $DA tx off && in_b ethtool -K $DB tx off
	fi
	capture a a $DA tcp
	capture b b $DB tcp
	snap a
	need_xfer "$1" --bytes "$(kib 512)" $(ulp "$3")
	captured a b
	is_toe && expect_ge "$(delta a toe_offloads)$(delta b toe_offloads)" 1 "offloads"
	sent=$(($(kib 512)))
	limit=$((1500 + 14))
	for end in a b; do
		bytes=$(payload $end "$(addr a "$1")")
		expect_eq "$bytes" $((sent + 40)) "bytes of the client in the capture of $end"
		bytes=$(payload $end "$(addr b "$1")")
		expect_ge "$bytes" $sent "bytes of the server in the capture of $end"
		grep -c 'Flags \[[^]]*S' "$WORK/$end.txt" | grep -qx 2 || fail "not two SYN frames"
		if [ "$2" = off ]; then
			max=$(longest $end)
			expect_le "$max" $limit "longest frame in the capture of $end"
			expect_ge "$max" $((limit - 100)) "longest frame in the capture of $end"
			if grep -q 'cksum 0x[0-9a-f]* (incorrect' "$WORK/$end.txt"; then
				grep -B1 incorrect "$WORK/$end.txt" | head -4
				fail "$(grep -c incorrect "$WORK/$end.txt") wrong checksums in the capture of $end"
			fi
			expect_ge "$(grep -c 'cksum.*correct' "$WORK/$end.txt")" $((sent / 1500)) "checked frames"
		fi
	done
	expect_eq "$(payload a "$(addr a "$1")")" "$(payload b "$(addr a "$1")")" "client's bytes at both ends"
	expect_eq "$(payload a "$(addr b "$1")")" "$(payload b "$(addr b "$1")")" "server's bytes at both ends"
	in_a ethtool -K $DA tx on tso on gso on gro on
	in_b ethtool -K $DB tx on tso on gso on gro on
	true
}

# On the wire nobody can tell: the same SYN options, MSS, window scale, and
# timestamps that do not go back, delegated or not.
t_options_stay() {
	local bad
	need tcpdump ethtool
	plain_frames
	capture b b $DB tcp
	capture a a $DA tcp
	bg uploader a 0.1
	need_xfer 4 --bytes "$(kib 1024)" $(ulp) --flip 50000
	captured a b
	bad=$(awk -v c="$A4." '
		/ > .*: Flags/ {
			d = index($1, c) == 1 # direction; two CPUs may swap a few ms
			if (!/TS val/) { print "no timestamp: " $0; next }
			match($0, /TS val [0-9]+/); v = substr($0, RSTART + 7, RLENGTH - 7) + 0
			if (d in ts && v + 20 < ts[d]) print "timestamp goes back: " $0
			ts[d] = v
		}' "$WORK/b.txt" | head -5)
	in_a ethtool -K $DA tso on gso on gro on
	in_b ethtool -K $DB tso on gso on gro on
	[ -z "$bad" ] || fail "$bad"
}

pair_up || skip_all "cannot set up the pair"
run "frames 4 off both" "frames 6 off both" "frames 4 on both" "frames 6 on both" \
	"frames 4 off client" "any 4" "any 6" options_stay
