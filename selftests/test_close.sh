#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The ends of connections: half close, reset, close with data pending, storms.

. "$(dirname "$0")/lib.sh"

t_half_close() { # FAMILY WAIT
	# The one side ends long before the other.
	need_xfer "$1" --wait "$2" --bytes "$(kib 16)" --back "$(kib 1024)" $(ulp)
	need_xfer "$1" --wait "$2" --bytes "$(kib 1024)" --back "$(kib 16)" $(ulp)
	need_xfer "$1" --wait "$2" --bytes "$(kib 1024)" --back 0 $(ulp)
	expect_no_entries
}

t_close() { # WAIT
	need_xfer 4 --wait "$1" --bytes "$(kib 512)" --end close $(ulp)
	expect_no_entries
}

# close() right after the last write: all of it still has to arrive.
t_close_pending() { # FAMILY TX
	need_xfer "$1" --bytes "$(kib 2048)" --back 0 --end close-now --tx "$2" $(ulp)
	need_xfer "$1" --bytes "$(kib 512)" --back 0 --end close-now --tx "$2" --pause-every 100k --pause-ms 200 $(ulp)
	expect_no_entries
}

t_reset() { # FAMILY WAIT
	snap b
	need_xfer "$1" --wait "$2" --bytes "$(kib 1024)" --end rst --at $(($(kib 1024) / 2)) $(ulp)
	expect_eq "$(jget server resets)" 1 "resets seen by the server"
	expect_no_entries
}

t_close_unread() { # FAMILY WAIT
	need_xfer "$1" --wait "$2" --bytes "$(kib 1024)" --end unread --at $(($(kib 1024) / 4)) $(ulp)
	expect_eq "$(jget server resets)" 1 "resets seen by the server"
	expect_no_entries
}

t_storm() { # FAMILY END
	snap a
	need_xfer "$1" --bytes 2000 --conns 20 --rounds 15 --end "$2" $(ulp)
	is_toe && expect_ge "$(delta a toe_offloads)" 300 "offloads"
	expect_no_entries
}

t_storm_of_resets() {
	need_xfer 4 --bytes "$(kib 64)" --conns 20 --rounds 5 --wait epoll --end rst --at 5000 $(ulp)
	expect_no_entries
}

t_storm_while_uploading() {
	bg uploader a 0.02
	bg uploader b 0.03
	is_toe && t=--ulp-try
	need_xfer 4 --bytes 20000 --conns 20 --rounds 10 --end close $(ulp) $t
	end_bg
	expect_no_entries
}

# A client that is killed in the middle: the kernel closes for it.
t_killed() { # FAMILY
	local pid
	"$BIN/toe_xfer" --client-ns $A --server-ns $B --bytes 1g --conns 8 --wait epoll --stall 20 \
		--may-break $(ulp) "$(addr b "$1")" >"$WORK/out2" 2>&1 &
	pid=$!
	pause 1.5
	in_a true
	pkill -9 -P $pid
	wait $pid
	expect_no_entries
}

t_time_wait() {
	need ss
	need_xfer 4 --bytes 1000 --end close $(ulp)
	# Who closed first keeps the pair of ports for a while, as always.
	expect_ge "$(in_a ss -tanH state time-wait | wc -l)" 1 "sockets in TIME_WAIT"
}

pair_up || skip_all "cannot set up the pair"
run "half_close 4 block" "half_close 6 block" "half_close 4 epoll" "close block" "close epoll" \
	"close_pending 4 send" "close_pending 6 send" "close_pending 4 mix" "reset 4 block" \
	"reset 6 epoll" "close_unread 4 block" "close_unread 6 epoll" "storm 4 shutdown" \
	"storm 6 close" storm_of_resets storm_while_uploading "killed 4" "killed 6" time_wait
