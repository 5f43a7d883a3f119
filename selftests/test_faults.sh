#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Each allocation of a call fails, one after the other; too little memory for TCP.
# At random: test_faults_random.sh.

. "$(dirname "$0")/lib.sh"

debugfs=/sys/kernel/debug

# Every allocation of one system call fails, one after the other.
t_nth() { # offload|send|receive|posted|close|shutdown FAMILY
	local d
	[ -e /proc/self/fail-nth ] || skip "no /proc/self/fail-nth in this kernel"
	echo 0 >$debugfs/failslab/ignore-gfp-wait 2>/dev/null
	echo 0 >$debugfs/fail_page_alloc/ignore-gfp-wait 2>/dev/null
	for d in $debugfs/fail*/verbose; do echo 0 >"$d"; done 2>/dev/null
	[ "$1" != posted ] || buffers
	probe nth "$1" "$2"
	[ "$1" != posted ] || counted posted 1
	expect_no_entries
}

# Memory of all TCP sockets under pressure: slow, never wrong.
t_tcp_mem() {
	local old
	old=$(cat /proc/sys/net/ipv4/tcp_mem)
	echo "200 400 600" >/proc/sys/net/ipv4/tcp_mem
	xfer 4 --bytes "$(kib 1024)" --conns 8 --wait epoll $(ulp) --ulp-try --flip 60000
	rc=$?
	echo "$old" >/proc/sys/net/ipv4/tcp_mem
	[ $rc = 0 ] || fail "transfer under memory pressure: $(cat "$WORK/json")"
	expect_no_entries
}

# A leak shows after everything is gone.
t_no_leak() {
	local f=$debugfs/kmemleak
	[ -w $f ] || skip "no kmemleak in this kernel"
	pair_down
	echo scan >$f
	pause 6
	echo scan >$f
	if grep -q . $f && grep -q '\[toe\]' $f; then
		head -60 $f
		fail "leaks"
	fi
}

pair_up || skip_all "cannot set up the pair"
run "nth offload 4" "nth offload 6" "nth send 4" "nth receive 4" "nth posted 4" \
	"nth close 4" "nth shutdown 4" tcp_mem no_leak
