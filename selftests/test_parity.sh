#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The same script of calls and of frames from the peer, run in the host stack and
# offloaded: what can be seen of both is the same, down to each frame and counter.
#
# The peer is a packet socket that sends what the script says, so that nothing of what
# is compared depends on a second stack. Time has to be repeatable: a guest whose clock
# counts instructions (TOE_ICOUNT says that it is one).
#
#   PARITY_SEEDS       how many generated scripts (default 100)
#   PARITY_FIRST_SEED  the first of them
#   PARITY_SHRINK      0: do not shrink those that fail
#   PARITY_SCRIPT      run the scripts of this file only
#   PARITY_BASELINE    both runs plain: differences are the test's own
#   PARITY_IGNORE      patterns of items that are not compared, with commas: what else is there?
#   PARITY_DUMP        print all that both runs saw
#
# parity/*.txt are the scripts written by hand, parity/README says how.

. "$(dirname "$0")/lib.sh"

[ -n "$TOE_ICOUNT" ] || skip_all "needs a guest with instruction-counted time"
command -v python3 >/dev/null || skip_all "no program python3"

# One device that is up and quiet at each end, and no stack behind the second.
prepare() {
	local mac setting
	make_ns && make_pair || return 1
	for setting in all default; do
		set_sysctl b net.ipv6.conf.$setting.disable_ipv6 1 || return 1
	done
	# What one connection has learned must not help the next.
	set_sysctl a net.ipv4.tcp_no_metrics_save 1 &&
		set_sysctl a "net.ipv6.conf.$DA.router_solicitations" 0 &&
		set_sysctl a "net.ipv6.conf.$DA.accept_ra" 0 &&
		ip -n $A link set $DA addrgenmode none || return 1
	mac=$(ns_cat b /sys/class/net/$DB/address) || return 1
	ip -n $A -batch - <<-END || return 1
		addr add $A4/24 dev $DA
		addr add $A6/64 dev $DA nodad
		link set lo up
		link set $DA up
		neigh add $B4 lladdr $mac dev $DA nud permanent
		neigh add $B6 lladdr $mac dev $DA nud permanent
	END
	ip -n $B link set $DB up || return 1
	! is_toe || knob b policy off
}

prepare || skip_all "cannot set up the pair"
before=$(splats)
PARITY_RESULT=$WORK/result in_a python3 -B "$here/parity/parity.py" $B $DA $DB \
	$A4 $B4 $A6 $B6 "$here"/parity/*.txt
read -r pass failed <"$WORK/result" || { pass=0 failed=1; echo "# the driver died"; }
finish "$before" "$pass" "$failed" 0
