#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The kernel tree's own mptcp_connect, over TCP, in each of its I/O modes.

. "$(dirname "$0")/lib.sh"

KSRC=${KSRC:-$TOE_KSRC}


# Built by `make kernel-programs KSRC=<kernel source>`, or here from $KSRC.
prog=$BIN/mptcp_connect

have_program() {
	[ -x "$prog" ] && return
	[ -n "$KSRC" ] || skip "KSRC does not name a kernel source directory, and $prog was not built"
	prog=$WORK/mptcp_connect
	[ -x "$prog" ] && return
	make -s -C "$here" kernel-programs KSRC="$KSRC" OUTPUT="$WORK" >"$WORK/make" 2>&1 ||
		skip "cannot build mptcp_connect: $(tail -1 "$WORK/make")"
}

listening() { in_b ss -tlnH "sport = :$1" | grep -q .; }

# The program's transfer takes some tens of ms, in which the policy makes a few attempts. Whoever
# is in a loss probe, or waits for its socket, at each of them is not offloaded: then once more.
t_mode() { # FAMILY OPTIONS...
	local i
	need ss
	have_program
	is_toe && auto_policy a b
	head -c "$(kib 1024)" /dev/urandom >"$WORK/c.in"
	head -c "$(kib 700)" /dev/urandom >"$WORK/s.in"
	# It marks the end of the stream by a line of its own.
	echo "MPTCP_TEST_FILE_END_MARKER" >>"$WORK/c.in"
	echo "MPTCP_TEST_FILE_END_MARKER" >>"$WORK/s.in"
	for i in 1 2 3; do
		transfer "$@"
		is_toe && [ $(($(offloads a) + $(offloads b))) = 0 ] || break
		note "no offload in transfer $i; so far: $(refusals a) $(refusals b)"
	done
	# A client that sends all of it by one call owns its socket from the beginning to the
	# end (mmap): nobody can hand it over. Its server reads piece by piece.
	is_toe && expect_ge $(($(offloads a) + $(offloads b))) 1 "offloads"
	expect_no_entries
}
refusals() {
	counters "$1" | awk '/toe_refuse_|contended/ && $2 { print $1, $2 }' | tr '\n' ' '
}

transfer() { # FAMILY OPTIONS...
	local fam=$1 port=10000
	shift
	is_toe && snap a && snap b
	in_b timeout 200 "$prog" -t 60 -l -p $port -s TCP "$@" "$(addr b "$fam")" \
		<"$WORK/s.in" >"$WORK/s.out" 2>"$WORK/s.err" &
	server=$!
	echo $server >>"$WORK/pids"
	until_ok 60 listening $port || fail "no server: $(cat "$WORK/s.err")"
	in_a timeout 200 "$prog" -t 60 -p $port -s TCP "$@" "$(addr b "$fam")" \
		<"$WORK/c.in" >"$WORK/c.out" 2>"$WORK/c.err" || fail "client: $(tail -3 "$WORK/c.err")"
	wait $server || fail "server: $(tail -3 "$WORK/s.err")"
	: >"$WORK/pids"
	cmp "$WORK/c.in" "$WORK/s.out" || fail "what the server received differs"
	cmp "$WORK/s.in" "$WORK/c.out" || fail "what the client received differs"
}

pair_up || skip_all "cannot set up the pair"
run "mode 4 -m poll" "mode 4 -m mmap" "mode 4 -m sendfile" "mode 4 -m splice" \
	"mode 4 -m poll -P saveWithPeek" "mode 4 -m poll -P saveAfterPeek" "mode 4 -j" \
	"mode 4 -m poll -S 8192 -R 8192" "mode 6 -6 -m poll" "mode 6 -6 -m mmap" \
	"mode 6 -6 -m sendfile" "mode 6 -6 -m splice" "mode 6 -6 -m poll -P saveWithPeek"
