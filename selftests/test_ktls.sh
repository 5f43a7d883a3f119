#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kTLS set up on a delegated connection: it comes back first, then gets TLS.

. "$(dirname "$0")/lib.sh"

modprobe -q tls 2>/dev/null

t_one_end() { asked tls ulp "$1"; }
t_both_ends() { asked tls ulp "$1" --both; }

# The automatic offload leaves a socket with TLS in peace.
t_automatic() {
	need_toe
	auto_policy a
	snap a
	asked tls ulp 4
	knob a policy ulp
	expect_ge "$(delta a toe_offloads)" 1 "offloads of a connection that got TLS"
}

pair_up || skip_all "cannot set up the pair"
run "one_end 4" "one_end 6" "both_ends 4" "both_ends 6" automatic
