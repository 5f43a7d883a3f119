#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Requests that wait in recvmsg(): the device posts their memory, the application
# sees no difference. Each result is the one of plain TCP (TOE_KIND=veth shows).

. "$(dirname "$0")/lib.sh"

# t_rule PROBE REASON BYTES: the buffer came back for that reason, at least so many
# bytes were placed in it.
t_rule() {
	buffers
	probe buffer "$1" 4
	counted posted 1
	counted "$2" 1
	counted direct_bytes "$3"
	expect_no_entries
}

# t_host PROBE: nothing may be posted, the host stack answers.
t_host() {
	buffers
	probe buffer "$1" "${2:-4}"
	not_counted posted
	expect_no_entries
}

# t_moved PROBE REASON: the connection is taken back while the call waits.
t_moved() {
	local cmd=true
	buffers
	is_toe && cmd="ip netns exec $A sh -c 'echo 1 >/sys/class/net/$DA/toe/upload_all'"
	probe buffer "$1" 4 --before "$cmd"
	counted posted 1
	counted special 1
}

# A frame that is a special case meets a posted buffer: it comes back, and its reader is
# woken for that, and by nobody else. The connection stays with the target, or goes to the
# host stack by that frame if it may have no special cases.
t_special() { # stays|uploaded
	local now
	buffers
	! is_toe || [ "$1" = stays ] || knob a legacy_falls 0 || fail "legacy_falls"
	probe buffer out_of_order 4
	is_toe || return 0
	counted posted 1
	counted special 1
	now=$(counters a)
	added a toe_special_out_of_order "$now"
	expect_ge $REPLY 1 "special cases"
	added a toe_upload_legacy_often "$now"
	if [ "$1" = stays ]; then
		expect_eq $REPLY 0 "uploads"
		added a toe_resyncs "$now"
		expect_ge $REPLY 1 "resynchronisations"
	else
		expect_ge $REPLY 1 "uploads"
		added a toe_resyncs "$now"
		expect_eq $REPLY 0 "resynchronisations"
	fi
	expect_no_entries
}

t_any() { # PROBE FAMILY
	buffers
	probe buffer "$1" "$2"
	expect_no_entries
}

# By default a call is posted that waits for much, in many frames.
t_default() {
	need_toe
	fresh
	snap a
	probe buffer some 4
	not_counted posted
	probe buffer waitall 4
	not_counted posted
	probe buffer waitall_small 4
	counted posted 1
}

t_below_threshold() {
	buffers 50001
	probe buffer waitall 4
	not_counted posted
	is_toe && knob a user_buffer_min 0
	probe buffer waitall 4
	not_counted posted
}

t_knob() {
	need_toe
	fresh
	knob a user_buffer_min 4096
	expect_eq "$(knob a user_buffer_min)" 4096 "user_buffer_min"
	knob a user_buffer_min -1 2>/dev/null && fail "-1 is taken"
	knob a user_buffer_min 4294967296 2>/dev/null && fail "2^32 is taken"
	knob a user_buffer_min 0
	expect_eq "$(knob a user_buffer_min)" 0 "user_buffer_min"
}

t_hugepage() {
	local pages=/proc/sys/vm/nr_hugepages old
	[ -e $pages ] || skip "no huge pages in this kernel"
	old=$(cat $pages)
	echo 4 >$pages
	t_rule hugepage full 30000
	echo "$old" >$pages
}

in_memcg() { # GROUP PROBE OOM_KILLS
	buffers
	TOE_CGROUP=$1 probe buffer "$2" 4
	counted posted 1
	counted direct_bytes 1
	expect_eq "$(awk '$1 == "oom_kill" { print $2 }' "$1/memory.events")" "$3" \
		"processes that were killed"
}

# Pages that are pinned are charged as those that are touched.
t_memcg() { # PROBE LIMIT OOM_KILLS
	local root=$WORK/cgroup group=$WORK/cgroup/toe_probe rc=$KSFT_SKIP
	mkdir -p "$root"
	mount -t cgroup2 none "$root" || skip "no cgroups in this kernel"
	if { echo +memory >"$root/cgroup.subtree_control"; } 2>/dev/null; then
		mkdir "$group"
		echo "$2" >"$group/memory.max"
		(in_memcg "$group" "$1" "$3")
		rc=$?
		rmdir "$group"
	fi
	umount "$root"
	[ $rc != $KSFT_SKIP ] || skip "no memory controller in this kernel"
	return $rc
}

# So does the device, which does not wait for the rest of the call's time.
t_device_gone() {
	need_toe
	buffers
	probe buffer "$1" 4 --before "ip -n $A link del $DA"
	[ ! -e /sys/class/net/$DA ] || fail "the device stays"
}

# The module goes while a reader waits: it goes on in the host stack.
t_unload() {
	can_reload
	buffers
	unloaded_during buffer unload
}

# Streams with every byte checked, while the connections come and go.
t_stream() { # FAMILY [OPTION...]
	local fam=$1
	shift
	buffers
	is_toe && knob b user_buffer_frames 0 && knob b user_buffer_min 1
	need_xfer "$fam" --bytes "$(kib 8192)" --conns 4 $(ulp) "$@"
	expect_no_entries
}

# Calls that return any number of bytes, from posted buffers where they fit.
t_amount() { # FAMILY
	buffers
	is_toe && knob a user_buffer_min 1
	probe amount all "$1"
	counted posted 1
	expect_no_entries
}

run default below_threshold knob \
	"rule some push 1000" "rule full full 1100" "rule large push 1000" \
	"rule unaligned full 30000" "rule waitall full 50000" "rule lowat push 6999" \
	"rule readv push 1" "rule recvmmsg full 1" "rule timeout timer 1000" \
	"rule signal signal 1500" "rule restart signal 0" "rule fin shutdown 0" \
	"rule fin_alone shutdown 0" "rule reset shutdown 0" "rule shutdown shutdown 0" \
	"rule shutdown_alone shutdown 0" \
	"moved upload" "moved upload_partial" "moved timeout_upload" "moved timeout_upload_data" \
	"special stays" "special uploaded" "host readonly" "host prot_none" "host unmapped" "host half_mapped" "host peek" \
	"rule munmap push 0" "rule munmap_tail push 0" "rule mprotect push 0" \
	"rule remapped push 1000" "rule fork push 1000" "rule fork_partial shutdown 0" \
	hugepage "rule huge full 30000" "rule memlock push 1000" \
	"memcg memcg 64M 0" "memcg memcg_killed 8M 1" \
	"rule shared_file push 1000" "any uring 4" "any uring_async 6" \
	"any threads 4" "any threads 6" "any killed 4" "any some 6" \
	"amount 4" "amount 6" "stream 4" "stream 6" "stream 4 --wait epoll" "stream 4 --flip 100k" \
	"device_gone timeout_upload" unload
