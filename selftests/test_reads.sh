#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Plain reads: a task that waits for any bytes sleeps in the module, and whatever ends its
# wait in plain TCP ends it there. Each result is the one of plain TCP (TOE_KIND=veth shows).

. "$(dirname "$0")/lib.sh"

t_read() { # PROBE FAMILY
	fresh
	probe read "$1" "$2"
	expect_no_entries
}

# Both ends are offloaded: the writer wakes the reader with nothing between.
t_both() { # PROBE FAMILY
	fresh
	probe read "$1" "$2" --both
	expect_no_entries
}

# The administrator takes the connection back while its reader sleeps.
t_taken_back() {
	local cmd=true
	fresh
	is_toe && cmd="ip netns exec $A sh -c 'echo 1 >/sys/class/net/$DA/toe/upload_all'"
	probe read command 4 --before "$cmd"
	expect_no_entries
}

# The module goes while a reader sleeps: it goes on in the host stack.
t_unload() {
	can_reload
	fresh
	# Its devices go with it, so that nothing comes any more: a signal ends the call.
	unloaded_during read unload
}

run "read some 4" "read some 6" "both some 4" "both some 6" "read shutdown 4" "read fin 4" \
	"read reset 4" "read signal 4" "read restart 4" taken_back "read out_of_order 4" \
	"read elsewhere 4" "read icmp 4" "read munmap 4" "read timeout 4" "read lowat 4" "read readv 4" \
	"both large 6" "both urgent 4" "both poll 4" "read poll 6" "read many 4" "both many 6" unload
