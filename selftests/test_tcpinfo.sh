#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# TCP_INFO, SIOCINQ and SIOCOUTQ against what the program itself knows.

. "$(dirname "$0")/lib.sh"

t_quiet() { # FAMILY ENDS
	need nstat
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

pair_up || skip_all "cannot set up the pair"
run "quiet 4 both" "quiet 6 both" "quiet 4 client" "quiet 4 server" all_modes \
	"across_uploads 4" "across_uploads 6" segments_plain
