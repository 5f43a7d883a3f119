#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Others who lay hands on a socket: at the moment it is handed over, while it is
# delegated, after the upload and after rmmod. By two threads, by memory that is there
# only when somebody says so, and as nobody where anybody may.

DELETES_DEVICES=1
. "$(dirname "$0")/lib.sh"

# What a command may take that no user can make wait.
PROMPT=10

rounds() {
	local n=$(($1 * scale / 1000))
	echo $((n > 6 ? n : 6))
}

with_table() { ! has_table || printf '%s\n%s' --table "$(table_path $DA)"; }

contend() { # CONTENDER FAMILY ROUNDS [OPTION...]
	local -a args
	mapfile -t args < <(with_table)
	probe contend "$1" "$2" --rounds "$(rounds "$3")" "${args[@]}" "${@:4}"
}

outlive() { # CASE FAMILY [OPTION...]
	local -a args
	mapfile -t args < <(with_table)
	probe outlive "$1" "$2" "${args[@]}" "${@:3}"
}

# What another case left is not this one's fault.
clean() {
	is_toe || return 0
	[ -e /run/netns/$A ] && [ "$(knob a policy 2>/dev/null)" = ulp ] && table_empty a && table_empty b && return
	fresh
}

# t_race CONTENDER FAMILY [nobody]: with fast memory and with slow.
t_race() {
	local -a user=()
	clean
	[ "$3" != nobody ] || user=(--user)
	contend "$1" "$2" 16 "${user[@]}"
	expect_no_entries
	contend "$1" "$2" 12 --slow "${user[@]}"
	expect_no_entries
}

# A command with a device that has PSP.
with_psp() {
	local rc
	modprobe -q netdevsim
	in_a sh -c 'echo 87 1 >/sys/bus/netdevsim/new_device' 2>/dev/null ||
		skip "no netdevsim, which has PSP, in this kernel"
	("$@")
	rc=$?
	echo 87 >/sys/bus/netdevsim/del_device
	return $rc
}

t_psp() {
	clean
	with_psp t_race psp 4 "$1"
}

# It is there before the policy decides.
psp_first() {
	outlive psp_first 4
	expect_ge "$(delta a toe_refuse_psp)" 1 "refusals"
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
}
t_psp_first() {
	need_toe
	fresh
	knob a min_bytes 20000
	auto_policy a
	snap a
	with_psp psp_first
}

# ---- with the module there

upload_cmd() { echo "ip netns exec $A sh -c 'echo 1 >/sys/class/net/$DA/toe/upload_all'"; }
policy_cmd() { echo "ip netns exec $A sh -c 'echo $1 >/sys/class/net/$DA/toe/policy'"; }

t_name() { # FAMILY
	need_toe
	clean
	outlive name "$1" --before "$(upload_cmd)"
	expect_no_entries
}

t_lost() { # FAMILY
	need_toe
	clean
	outlive lost "$1" --before "$(upload_cmd)"
	expect_no_entries
}

ss_loop() { while :; do in_a ss -tieH >/dev/null 2>&1; done; }

t_diag() {
	need_toe
	need ss
	clean
	bg ss_loop
	outlive diag 4 --rounds "$(rounds 100)" --after "ip netns exec $A ss -tieH 2>/dev/null | grep -q tcp-ulp-toe"
	expect_no_entries
}

t_zerocopy() { # granted|refused
	need_toe
	clean
	if [ "$1" = granted ]; then
		outlive zerocopy 4 --after "$(upload_cmd)"
	else
		(outlive zerocopy_refused 4 --before "$(policy_cmd off)")
		local rc=$?
		knob a policy ulp
		return $rc
	fi
}

every_connection() {
	local end
	for end in a b; do
		knob $end min_bytes 0
		auto_policy $end
	done
}

t_auto_ktls() {
	local n=$((300 * scale / 1000))
	need_toe
	fresh
	every_connection
	snap a
	outlive auto_ktls 4 --rounds $((n > 100 ? n : 100))
	note "$(delta a toe_offloads) offloads of end a"
	expect_ge "$(delta a toe_offloads)" 1 "offloads of connections that got TLS"
	expect_no_entries
}

t_sockmap_first() {
	local reason n=0
	need_toe
	mountpoint -q /sys/fs/cgroup || skip "no cgroup2 at /sys/fs/cgroup"
	fresh
	knob a min_bytes 0
	auto_policy a
	snap a
	outlive sockmap_first 4 --cgroup /sys/fs/cgroup
	for reason in sockmap user_data other_proto; do
		n=$((n + $(delta a toe_refuse_$reason)))
	done
	expect_ge $n 1 "refusals of a connection in a sockmap"
	expect_no_entries
}

# ---- owners that sleep in their own memory

t_owner() { # recv|send|recv_program COMMAND
	need_toe
	clean
	case $2 in
	upload_all) outlive "$1" 4 --before "$(upload_cmd)" ;;
	link_down)
		outlive "$1" 4 --before "ip link set $DA down" --after "ip link set $DA up"
		;;
	link_del) outlive "$1" 4 --before "ip link del $DA" --expect gone ;;
	rmmod)
		can_reload
		outlive "$1" 4 --before "rmmod toe 2>/dev/null" --after "$(rmmod_cmd)" --expect gone
		reload
		;;
	*) outlive "$1" 4 ;;
	esac
	case $2 in
	link_del) goes ;;
	rmmod) pair_down ;;
	*) expect_no_entries ;;
	esac
}

# ---- after rmmod

# Once more for a moment: a device's last references go in a grace period.
rmmod_cmd() { echo "for i in 1 2 3 4 5 6 7 8 9 10; do rmmod toe 2>/dev/null; [ -d /sys/module/toe ] || exit 0; sleep 0.2; done; exit 1"; }

gone() { ! ip netns exec "$1" ip link show dev "$2" >/dev/null 2>&1; }

# Nothing that a case left keeps the device, or the module.
goes() {
	need_toe
	timeout $PROMPT ip -n $A link del $DA 2>/dev/null
	[ $? != 124 ] || fail "ip link del takes longer than $PROMPT s"
	until_ok $PROMPT gone $B $DB || fail "the device stays"
	pair_down
	[ -d /sys/module/toe ] || return 0
	until_ok $PROMPT timeout $PROMPT rmmod toe 2>/dev/null || fail "rmmod: $(rmmod toe 2>&1)"
	reload
}

t_goes() {
	need_toe
	can_reload
	clean
	goes
}

t_rmmod() { # poison|sockmap|getsockopt FAMILY
	need_toe
	can_reload
	clean
	if [ "$1" = poison ]; then
		outlive poison "$2" --before "$(rmmod_cmd)"
	else
		outlive "$1" "$2" --before "$(upload_cmd)" --after "$(rmmod_cmd)"
	fi
	reload
	pair_down
}

modprobe -q tls 2>/dev/null
pair_up || skip_all "cannot set up the pair"

cases=("race tls 4" "race tls 6 nobody" "race md5 4 nobody" "race ao 4 nobody" "race repair 4"
	"race bbr 4 nobody" "race dctcp 4" "race reno 6 nobody" "race minttl 4 nobody"
	"race minhops 6 nobody" "race sockmap 4" "race sockmap_bpf 4" "race disconnect 4 nobody"
	"psp nobody" psp_first "goes" "name 4" "lost 4" "lost 6" "diag" "zerocopy granted" "zerocopy refused"
	"owner recv upload_all" "owner send upload_all" "owner recv link_down" "owner send link_down"
	"owner recv_program none" "owner recv link_del" "owner send link_del" "owner recv rmmod"
	"owner send rmmod" "auto_ktls" "sockmap_first"
	"rmmod getsockopt 4" "rmmod sockmap 4" "rmmod poison 4")
# The other family goes the same ways, but for its own methods.
[ "$scale" -le 1000 ] || cases+=("race md5 6 nobody" "race repair 6" "race bbr 6 nobody"
	"race sockmap 6" "race disconnect 6 nobody" "name 6" "rmmod sockmap 6" "rmmod poison 6")
run "${cases[@]}"
