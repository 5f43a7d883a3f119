#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Each way to write, to read and to wait, on delegated connections.

. "$(dirname "$0")/lib.sh"

# Every mode runs delegated throughout, and once more while being taken back
# and forth.
both_ways() {
	need_xfer "$@" $(ulp)
	bg uploader a 0.1
	need_xfer "$@" $(ulp) --flip 50000
	end_bg
}

t_tx() { # METHOD
	both_ways 4 --bytes "$(kib 768)" --tx "$1"
	case $1 in
	zerocopy)
		expect_ge "$(jget client zc_sent)" 1 "zero copy writes"
		expect_eq "$(jget client zc_done)" "$(jget client zc_sent)" "completions"
		;;
	esac
}

t_rx() { # METHOD
	both_ways 4 --bytes "$(kib 768)" --rx "$1"
	case $1 in
	peek) expect_ge "$(jget server peeks)" 1 "peeks" ;;
	zerocopy) note "$(jget server zc_received) bytes were mapped" ;;
	esac
}

t_wait() { # WAIT FAMILY
	both_ways "$2" --bytes "$(kib 512)" --conns 4 --wait "$1"
}

t_rcvlowat() { # WAIT
	both_ways 4 --bytes "$(kib 512)" --wait "$1" --rcvlowat 20000
}

t_small_buffers() { # WAIT
	both_ways 4 --bytes "$(kib 128)" --wait "$1" --sndbuf 4096 --rcvbuf 4096
	both_ways 4 --bytes "$(kib 128)" --wait "$1" --sndbuf 4096
	both_ways 4 --bytes "$(kib 128)" --wait "$1" --rcvbuf 4096
}

# The reader sleeps until the window is shut, again and again.
t_zero_window() { # WAIT
	is_toe && snap a
	need_xfer 4 --bytes "$(kib 1024)" --rcvbuf 65536 --wait "$1" --pause-every 256k --pause-ms 500 $(ulp)
	is_toe && note "$(delta a toe_upload_zero_window) uploads by zero_window, $(delta a toe_upload_persist) by persist"
	expect_no_entries
}

t_zero_window_long() {
	need_xfer 4 --bytes "$(kib 512)" --rcvbuf 16384 --pause-every 200k --pause-ms 3000 $(ulp)
}

t_one_way() { # FAMILY
	both_ways "$1" --bytes "$(kib 1024)" --back 0
	both_ways "$1" --bytes 0 --back "$(kib 1024)"
}

t_single_bytes() {
	need_xfer 4 --bytes 3000 --max-write 8 --max-read 8 --tx nodelay $(ulp)
	need_xfer 4 --bytes 1 --back 1 $(ulp)
	need_xfer 4 --bytes 0 --back 0 $(ulp)
}

pair_up || skip_all "cannot set up the pair"
run "tx send" "tx write" "tx writev" "tx sendmsg" "tx sendmmsg" "tx more" "tx cork" "tx nodelay" \
	"tx zerocopy" "tx sendfile" "tx splice" "tx mix" \
	"rx recv" "rx read" "rx readv" "rx recvmsg" "rx recvmmsg" "rx peek" "rx waitall" "rx splice" \
	"rx trunc" "rx zerocopy" "rx mix" \
	"wait block 4" "wait poll 4" "wait epoll 4" "wait epollet 4" "wait epoll 6" \
	"rcvlowat block" "rcvlowat epoll" "small_buffers block" "small_buffers epoll" \
	"zero_window block" "zero_window poll" zero_window_long "one_way 4" "one_way 6" single_bytes
