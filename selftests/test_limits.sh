#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What one takes is his own: memory is charged to the cgroup of who makes it necessary,
# and who has connections that wait for their offload lets nobody else wait.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

# Connections of a case.
N=400

# A cgroup for $1: `group`, where there is a memory controller.
make_group() {
	root=$WORK/cgroup
	if ! mountpoint -q "$root"; then
		mkdir -p "$root"
		mount -t cgroup2 none "$root" || skip "no cgroups in this kernel"
		{ echo +memory >"$root/cgroup.subtree_control"; } 2>/dev/null ||
			{ umount "$root" && skip "no memory controller in this kernel"; }
	fi
	group=$root/toe-$1
	# One that failed before has left it.
	[ ! -d "$group" ] || rmdir "$group"
	mkdir "$group" || fail "mkdir $group"
}

drop_groups() {
	local g
	for g in "$root"/toe-*; do
		until_ok 10 rmdir "$g" 2>/dev/null || fail "$g cannot be removed"
	done
	umount "$root"
}

# Bytes of the slab allocators that are charged to the group. The kernel adds up what the
# processors have counted every two seconds, or when it is much (mem_cgroup_flush_stats()).
charged() {
	local last now same=0
	while [ $same -lt 12 ]; do
		now=$(awk '$1 == "slab" { print $2 }' "$group/memory.stat")
		if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
		last=$now
		pause 0.2
	done
	echo "$now"
}

# Runs a command as one of the group's processes.
in_group() { sh -c 'echo 0 >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }

# Stops the group's processes, or lets them run.
frozen() { # 0|1
	echo "$1" >"$group/cgroup.freeze" || fail "cgroup.freeze"
	until_ok 10 grep -qx "frozen $1" "$group/cgroup.events" || fail "the group does not stop"
}

# N connections of processes of the group that stay until held_wait.
group_conns() { hold_conns 4 $N "$1" in_group; } # ULP

# What a case charges for each connection, beyond what the host stack does: at least so
# many bytes, and not more than a page.
expect_charged() { # MORE THAN AT_LEAST WHAT
	local each=$((($1 - $2) / N))
	note "$4: $each bytes are charged for each connection"
	expect_ge $each "$3" "bytes charged for each connection"
	expect_le $each 4096 "bytes charged for each connection"
}

t_connections() {
	local plain
	need_toe
	fresh
	server b 7100 4
	make_group plain
	group_conns 0
	plain=$(charged)
	held_wait
	make_group ulp
	snap a
	group_conns 1
	expect_ge "$(delta a toe_offloads)" $N "offloads"
	expect_charged "$(charged)" "$plain" 512 "asked for"
	held_wait
	expect_no_entries
	drop_groups
}

# Nobody's task hands them over, and lists them before.
t_by_the_worker() {
	local before listed
	need_toe
	fresh
	server b 7100 4
	make_group auto
	group_conns 0
	before=$(charged)
	held_wait
	make_group listed
	knob a min_bytes 1073741824 || fail "min_bytes"
	auto_policy a
	group_conns 0
	listed=$(charged)
	expect_charged "$listed" "$before" 64 "candidates"
	knob a min_bytes 0
	snap a
	knob a offload_all 1 || fail "offload_all"
	until_ok 20 offloaded_all || fail "only $(knob a connections) of $N connections"
	expect_charged "$(charged)" "$before" 512 "handed over by the worker"
	held_wait
	expect_no_entries
	drop_groups
}
offloaded_all() { [ "$(knob a connections)" -ge $N ]; }

# There is no memory for more than the group may have: the host stack keeps the rest.
t_at_the_limit() {
	need_toe
	fresh
	server b 7100 4
	make_group limit
	group_conns 0
	# In a group that is full a process that needs a page is killed: here nobody runs.
	frozen 1
	echo $(($(cat "$group/memory.current") + 262144)) >"$group/memory.max" || fail "memory.max"
	knob a min_segments 0
	knob a policy auto
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_ge "$(delta a toe_refuse_no_memory)" 1 "refusals for want of memory"
	expect_ge $((N - $(knob a connections))) 1 "connections of the host stack"
	echo max >"$group/memory.max"
	frozen 0
	knob a offload_all 1 || fail "offload_all"
	until_ok 20 offloaded_all || fail "only $(knob a connections) of $N connections"
	held_wait
	expect_no_entries
	drop_groups
}

# Its tables are there before the first connection.
t_device() {
	local before
	need_toe
	make_group device
	before=$(awk '$1 == "kernel" { print $2 }' "$group/memory.stat")
	in_group ip link add toe-l0 type toe peer name toe-l1 || fail "cannot make a pair"
	expect_ge $(($(awk '$1 == "kernel" { print $2 }' "$group/memory.stat") - before)) 65536 \
		"bytes charged for a pair"
	ip link del toe-l0
	drop_groups
}

rules_text() {
	local i
	for i in $(seq 100); do echo "port $i => deny"; done
	echo end
}

t_rules() {
	local before
	need_toe
	fresh
	make_group rules
	rules_text >"$WORK/rules"
	before=$(charged)
	in_group ip netns exec $A sh -c "cat $WORK/rules >/sys/class/net/$DA/toe/rules" ||
		fail "rules: $(knob a rules_error)"
	expect_ge $(($(charged) - before)) 4096 "bytes charged for 100 rules"
	knob a rules none
	drop_groups
}

# Another namespace's connection is offloaded as soon as with nobody there.
t_others_wait_for_nobody() {
	need_toe
	fresh
	# They stay candidates for as long as they last.
	knob a min_bytes 1073741824 || fail "min_bytes"
	auto_policy a
	held_conns 4 $N
	(
		A=$A-2 B=$B-2 DA=${DA}x DB=${DB}x
		pair_up || fail "cannot make another pair"
		auto_policy a
		snap a
		need_xfer 4 --bytes "$(kib 1024)" --conns 4
		expect_ge "$(delta a toe_offloads)" 4 "offloads in the other namespace"
		expect_eq "$(delta a toe_refuse_min_bytes)" 0 "refusals by the first one's limit"
	)
	local rc=$?
	(A=$A-2 B=$B-2 DA=${DA}x pair_down)
	expect_eq "$(knob a connections)" 0 "connections of the first"
	knob a min_bytes 0
	held_end
	expect_no_entries
	return $rc
}

pair_up || skip_all "cannot set up the pair"
run connections by_the_worker at_the_limit device rules others_wait_for_nobody
