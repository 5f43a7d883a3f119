#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What an unprivileged user can load, use and reach from a user and network
# namespace of his own.

# Devices of the administrator's.
I0=toe-i0
I1=toe-i1

# Run by the user; nothing of this may succeed.
others() {
	local f n=0
	fail() { echo "the user $*"; exit 1; }
	ip link add toe-u0 type toe peer name toe-u1 || fail "cannot make a pair"
	ip link show $I0 >/dev/null 2>&1 && fail "sees a device of another namespace"
	ethtool -S $I0 >/dev/null 2>&1 && fail "reads counters of another namespace"
	# The sysfs that he found mounted is the initial namespace's.
	for f in /sys/class/net/$I0/toe/*; do
		n=$((n + 1))
		[ ! -w "$f" ] || fail "may write $f"
	done
	[ $n -ge 30 ] || fail "finds $n files of the device of another namespace"
	for f in policy conn_limit upload_all; do
		! echo 1 2>/dev/null >/sys/class/net/$I0/toe/$f || fail "has written $f"
	done 2>/dev/null
	for f in /sys/module/toe/parameters/*; do
		[ ! -w "$f" ] || fail "may write $f"
	done
	ls /sys/kernel/debug/toe >/dev/null 2>&1 && fail "is let into debugfs"
	mount -t sysfs sys /sys || fail "cannot see his own devices"
	[ -w /sys/class/net/toe-u0/toe/policy ] || fail "cannot set his own policy"
	[ ! -e /sys/class/net/$I0 ] || fail "is shown another namespace's device"
	# Neither can he put a device of his where it is not his.
	ip link set toe-u0 netns 1 2>/dev/null && fail "has moved a device to the initial namespace"
	ip link add toe-u2 type toe peer name toe-u3 netns 1 2>/dev/null &&
		fail "has made a device in the initial namespace"
	nsenter --net=/proc/1/ns/net true 2>/dev/null && fail "enters the initial namespace"
	rmmod toe 2>/dev/null && fail "has removed the module"
	exit 0
}
[ "$1" != others ] || others

DELETES_DEVICES=1
. "$(dirname "$0")/lib.sh"

# What the user runs is where he may read it, and his files where he may write.
U=$WORK/user

# user COMMAND...: runs it as root of namespaces that an unprivileged user made.
user() {
	(
		cd "$U" || exit 1
		exec setpriv --reuid 65534 --regid 65534 --clear-groups \
			unshare --user --map-root-user --net --mount "$@"
	)
}

# as_user FUNCTION [ARGUMENT...]: the same with a function of this file, and with a
# directory for `ip netns` that is the user's.
as_user() {
	TOE_USER=1 TMPDIR=$U/tmp TOE_BIN=$U user \
		sh -c 'mount -t tmpfs netns /run/netns && exec "$@"' sh ./test_userns.sh "$@"
}

need_user() {
	need setpriv unshare
	user true 2>/dev/null || skip "no user namespaces for unprivileged users"
}

loaded() { [ -d /sys/module/toe ]; }

load() { loaded || modprobe toe 2>/dev/null || insmod "$TOE_KO"; }

# ---- what the user does

u_own_pair() {
	local end
	pair_up || fail "cannot make a pair"
	for end in a b; do
		expect_eq "$(knob $end connections)" 0 "connections of end $end"
		knob $end conn_limit 10 || fail "cannot set a limit of his own device"
	done
	snap a
	need_xfer 4 --bytes "$(kib 256)" --ulp both
	expect_ge "$(delta a toe_offloads)" 1 "offloads by request"
	auto_policy a b
	snap a
	need_xfer 6 --bytes "$(kib 256)"
	expect_ge "$(delta a toe_offloads)" 1 "offloads by policy"
	upload_all a || fail "cannot upload what is his"
	expect_no_entries
	pair_down
}

if [ -n "$TOE_USER" ]; then
	trap 'rc=$?; end_bg; pair_down; rm -rf "$WORK"; exit $rc' EXIT
	"u_$1" "${@:2}"
	exit
fi

# ---- the cases

# Where modprobe finds it, no name that the kernel asks for leads to it.
t_loads_nothing() {
	local dir file=${TOE_KO:-}
	need_toe
	need_user
	[ -r "$file" ] || file=$(modinfo -n toe 2>/dev/null)
	[ -r "$file" ] || skip "TOE_KO does not say where toe.ko is"
	expect_eq "$(modinfo -F alias "$file")" "" "aliases of the module"
	pair_down
	until_ok 10 rmmod toe || fail "rmmod: $(rmmod toe 2>&1)"
	dir=/lib/modules/$(uname -r)
	if [ "$file" = "$TOE_KO" ]; then
		if command -v depmod >/dev/null && mkdir -p "$dir/updates" 2>/dev/null &&
			cp "$file" "$dir/updates/toe.ko" && depmod; then
			modprobe -n toe || fail "modprobe does not find it"
		else
			partial "modprobe cannot be made to find the module"
		fi
	fi
	user ip link add type veth || fail "the user cannot make a pair of another kind"
	user ip link add type toe 2>"$WORK/err" && fail "the user has made a device"
	grep -q 'Unknown device type' "$WORK/err" || fail "the user was told: $(cat "$WORK/err")"
	! loaded || fail "the user has loaded the module"
	# Nor does the administrator, without asking for it by its name.
	ip link add type toe 2>/dev/null && fail "a device of a module that is not loaded"
	! loaded || fail "the name of the kind has loaded the module"
}

t_has_a_pair_of_his_own() {
	need_toe
	need_user
	as_user own_pair || fail "code $?"
	expect_eq "$(ip -o link show type toe | wc -l)" 2 "devices of the administrator's"
}

t_reaches_no_others() {
	local before
	need_toe
	need_user
	need nsenter
	before=$(cat /sys/class/net/$I0/toe/policy /sys/class/net/$I0/toe/conn_limit)
	user ./test_userns.sh others || fail "code $?"
	expect_eq "$(cat /sys/class/net/$I0/toe/policy /sys/class/net/$I0/toe/conn_limit)" "$before" \
		"policy and limit of another's device"
	loaded || fail "the module is gone"
}

# What the cases made, whatever became of them.
tidy() {
	local file
	ip link del $I0 2>/dev/null
	file=/lib/modules/$(uname -r)/updates/toe.ko
	if [ -n "$TOE_KO" ] && cmp -s "$file" "$TOE_KO"; then
		rm "$file"
		depmod
	fi
	load
}
trap tidy EXIT

chmod 711 "$WORK"
mkdir -p "$U/tmp" /run/netns
cp "$here"/{lib.sh,splats,test_userns.sh} "$BIN"/{toe_xfer,toe_probe,toe_ns,toe_conn} "$U" ||
	skip_all "the programs are not there"
chown -R 65534:65534 "$U"

t_administrator() {
	need_toe
	load || fail "insmod $TOE_KO"
	ip link add $I0 type toe peer name $I1 || fail "cannot make a pair"
}

run loads_nothing administrator has_a_pair_of_his_own reaches_no_others
