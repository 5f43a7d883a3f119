#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Allocations of the module that fail at random. Each allocation of the kernel
# looks who called for it meanwhile, which makes all of this slow.

. "$(dirname "$0")/lib.sh"

debugfs=/sys/kernel/debug

# Only what the module itself allocates.
in_module() { # KNOB-DIRECTORY PROBABILITY
	local text=/sys/module/toe/sections/.text size
	[ -r $text ] || return 1
	size=$(awk '$1 == "toe" { print $2 }' /proc/modules)
	cat $text >"$1/require-start"
	printf '0x%x\n' $(($(cat $text) + size)) >"$1/require-end"
	# Without a buffer tcp_send_fin() sends no FIN, ever, whosever connection it
	# is, and the peer waits for it.
	awk '$3 == "tcp_send_fin" { on = 1; print "0x" $1; next } on { print "0x" $1; exit }' \
		<(sort /proc/kallsyms) >"$WORK/fin"
	{ read -r size; echo "$size" >"$1/reject-start"; read -r size; echo "$size" >"$1/reject-end"; } <"$WORK/fin"
	echo 32 >"$1/stacktrace-depth"
	echo N >"$1/task-filter"
	echo 0 >"$1/verbose"
	echo -1 >"$1/times"
	echo 1 >"$1/interval"
	echo N >"$1/ignore-gfp-wait" 2>/dev/null
	echo "$2" >"$1/probability"
}

calm() {
	local d
	for d in failslab fail_page_alloc fail_skb_realloc; do
		[ -d $debugfs/$d ] || continue
		echo 0 >$debugfs/$d/probability
		echo 0 >$debugfs/$d/require-start
		echo 0 >$debugfs/$d/require-end
		echo 0 >$debugfs/$d/reject-start
		echo 0 >$debugfs/$d/reject-end
	done 2>/dev/null
}

faulty() { # FAULT
	[ -d $debugfs/$1 ] || skip "no $1 in this kernel"
	need_toe
	[ -e $debugfs/$1/require-start ] || skip "no stack trace filter for $1"
}

t_random() { # FAULT PROBABILITY FAMILY
	local rc
	faulty "$1"
	in_module $debugfs/$1 "$2" || skip "the module's text cannot be located"
	xfer "$3" --bytes "$(kib 1024)" --conns 4 --wait epoll --ulp both --ulp-try --flip 40000
	rc=$?
	calm
	[ $rc = 0 ] || fail "transfer with failing allocations: $(cat "$WORK/json")"
	expect_no_entries
}

t_random_devices() { # FAULT
	local i made=0 n=20
	[ $scale -ge 1000 ] || n=5
	faulty "$1"
	pair_down
	for ((i = 0; i < n; i++)); do
		make_ns
		in_module $debugfs/$1 10
		ip link add f0 netns $A type toe peer name f1 netns $B 2>/dev/null && made=$((made + 1))
		ip -n $A link set f0 up 2>/dev/null
		ip -n $A link del f0 2>/dev/null
		calm
		pair_down
	done
	note "$made of $n pairs were made"
	fresh
	need_xfer 4 --bytes "$(kib 256)" --ulp both
}

# The page fragments and copies that every frame needs, anywhere in the kernel.
t_skb_realloc() {
	[ -d $debugfs/fail_skb_realloc ] || skip "no fail_skb_realloc in this kernel"
	echo $DA >$debugfs/fail_skb_realloc/devname
	echo -1 >$debugfs/fail_skb_realloc/times
	echo 0 >$debugfs/fail_skb_realloc/verbose
	echo 100 >$debugfs/fail_skb_realloc/probability
	xfer 4 --bytes "$(kib 1024)" --conns 2 $(ulp) --flip 60000
	rc=$?
	echo 0 >$debugfs/fail_skb_realloc/probability
	[ $rc = 0 ] || fail "transfer: $(cat "$WORK/json")"
}

pair_up || skip_all "cannot set up the pair"
run "random failslab 5 4" "random failslab 5 6" "random fail_page_alloc 5 4" \
	"random_devices failslab" "random_devices fail_page_alloc" skb_realloc
