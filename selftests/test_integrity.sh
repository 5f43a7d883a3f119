#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Every byte, with random sizes in both directions at once, while flipping.

. "$(dirname "$0")/lib.sh"

t_flip() { # FAMILY WAIT TX RX CONNS KIB
	local conns=$5
	snap a
	bg uploader a 0.1
	bg uploader b 0.13
	need_xfer "$1" --wait "$2" --tx "$3" --rx "$4" --conns "$conns" --bytes "$(kib $(($6 / conns)))" \
		$(ulp) --flip 40000
	end_bg
	if is_toe; then
		expect_ge "$(delta a toe_offloads)" "$conns" "offloads"
		note "$(delta a toe_offloads) offloads, $(delta a toe_uploads) uploads, $(jget client retrans) retransmissions"
		is_example && note "given back: $(delta a toe_back_unsent_bytes) bytes unsent, $(delta a toe_back_undelivered_frames) frames undelivered"
	else
		partial "flipping"
	fi
	expect_no_entries
}

t_one_end_flips() { # client|server
	bg uploader a 0.1
	bg uploader b 0.1
	need_xfer 4 --tx mix --rx mix --bytes "$(kib 4096)" $(ulp "$1") --flip 30000
	end_bg
	expect_no_entries
}

t_small_writes() {
	bg uploader a 0.1
	need_xfer 4 --bytes "$(kib 256)" --max-write 100 --max-read 100 $(ulp) --flip 10000
	end_bg
}

# A call may return any number of bytes.
t_amount() { # FAMILY [--both]
	is_toe && snap a
	probe amount all "$@"
	is_toe && expect_ge "$(delta a toe_offloads)" 1 "offloads"
	expect_no_entries
}

# The negative controls: a wrong byte must be seen, delegated or not.
t_planted() { # WAIT
	local at=$(($(kib 512) / 2 + 4321))
	xfer 4 --wait "$1" --bytes "$(kib 512)" $(ulp) --ulp-try --plant-wrong-byte $at 2>"$WORK/err" &&
		fail "a planted wrong byte was not seen"
	grep -q "wrong byte at position $at" "$WORK/err" ||
		fail "the wrong byte was not located: $(cat "$WORK/err")"
}

pair_up || skip_all "cannot set up the pair"
run "flip 4 block send recv 1 8192" "flip 6 block send recv 1 8192" \
	"flip 4 block mix mix 2 4096" "flip 4 poll mix mix 4 4096" "flip 6 epoll mix mix 8 4096" \
	"flip 4 epollet mix mix 8 4096" "one_end_flips client" "one_end_flips server" \
	small_writes "amount 4" "amount 6 --both" "planted block" "planted epoll"
