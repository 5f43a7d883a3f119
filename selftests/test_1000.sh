#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A thousand connections at once.

. "$(dirname "$0")/lib.sh"


n=1000

t_all() { # FAMILY
	is_toe && snap a && snap b
	need_xfer "$1" --conns $n --bytes "$(kib 8)" --wait epoll $(ulp)
	if is_toe; then
		expect_ge "$(delta a toe_offloads)" $n "offloads of the clients"
		expect_ge "$(delta b toe_offloads)" $n "offloads of the servers"
	fi
	expect_no_entries
}

t_uploaded_at_once() {
	bg uploader a 0.5
	bg uploader b 0.7
	need_xfer 4 --conns $n --bytes "$(kib 12)" --wait epoll $(ulp) --flip 4000 $(is_toe && echo --ulp-try)
	end_bg
	expect_no_entries
}

t_mixed_modes() {
	need_xfer 6 --conns 200 --bytes "$(kib 24)" --wait epollet --tx mix --rx mix $(ulp)
	expect_no_entries
}

t_short_ones() {
	need_xfer 4 --conns 100 --rounds 10 --bytes 600 --wait epoll --end close $(ulp)
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
run "all 4" "all 6" uploaded_at_once mixed_modes short_ones
