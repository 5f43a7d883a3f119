#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The same script of calls of both ends over plain TCP, offloaded by frames, and with the
# same-host short cut: what the programs see is the same.
#
# Unlike in test_parity.sh both ends are sockets, for bytes pass without frames between
# two ends that are offloaded. After each step everything settles, so that no time is compared.
#
#   PARITY_SEEDS       how many generated scripts (default 12)
#   PARITY_FIRST_SEED  the first of them
#   PARITY_SHRINK      0: do not shrink those that fail
#   PARITY_SCRIPT      run the scripts of this file only
#   PARITY_BASELINE    all runs plain: differences are the test's own
#   PARITY_IGNORE      patterns of items that are not compared, with commas: what else is there?
#   PARITY_DUMP        print what all runs saw
#
# parity/short/*.txt are the scripts written by hand, parity/README says how.

# The driver turns it on and off.
TOE_SHORT_CUT=off
. "$(dirname "$0")/lib.sh"

[ "$TOE_KIND" != toe ] || [ -n "$short_cut_first" ] || skip_all "no knob short_cut"
command -v python3 >/dev/null || skip_all "no program python3"

prepare() {
	local end
	pair_up && until_ok 10 links_noticed && until_ok 10 has_addresses || return 1
	for end in a b; do
		# What one connection has learned must not help the next, and none is repeated.
		set_sysctl $end net.ipv4.tcp_no_metrics_save 1 && no_timers $end || return 1
	done
	resolve
}
links_noticed() {
	[ "$(ns_cat a /sys/class/net/$DA/operstate) $(ns_cat b /sys/class/net/$DB/operstate)" = "up up" ] ||
		! is_toe
}
has_addresses() {
	[ -z "$(ip -n $A -6 addr show tentative; ip -n $B -6 addr show tentative)" ]
}

# The driver runs in namespace a, and has the knob of the other device open.
driver() {
	local knob=/dev/null
	! is_toe || knob=/sys/class/net/$DB/toe/short_cut
	in_b bash -c "exec 9<>$knob && exec ip netns exec $A \"\$@\"" bash "$@"
}

prepare || skip_all "cannot set up the pair"
before=$(splats)
PARITY_KNOB=9 PARITY_RESULT=$WORK/result driver python3 -B "$here/parity/short.py" $B $DA $DB \
	$A4 $B4 $A6 $B6 "$here"/parity/short/*.txt
read -r pass failed <"$WORK/result" || { pass=0 failed=1; echo "# the driver died"; }
(expect_no_entries) || { failed=$((failed + 1)); echo "# connections are left"; }
finish "$before" "$pass" "$failed" 0
