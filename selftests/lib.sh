# SPDX-License-Identifier: GPL-2.0
# Sourced by every test: two network namespaces joined by a pair of devices,
# counters, KTAP. Bash only; no program is needed that a case does not `need`.
#
#   TOE_KIND   kind of the pair: toe (default), toe-example (the second target), or
#              veth for a dry run, where what only a toe device can do is skipped, visibly
#   TOE_SCALE  volumes are multiplied by this (0.25, 10, ...)
#   TOE_BIN    where the programs are (default: beside this file)
#   TOE_LIMIT  seconds one case may take (default 300)
#   TOE_STALL  seconds without progress that make a transfer fail (default 60)
#   TOE_VERBOSE  1: show the output of cases that pass, too
#   TOE_CASES  run only the cases that match this pattern (bash's extglob)
#   TOE_SHORT_CUT  off (default) or auto: the knob short_cut of both devices, where there is one

shopt -s extglob

TOE_KIND=${TOE_KIND:-toe}
TOE_LIMIT=${TOE_LIMIT:-300}
TOE_STALL=${TOE_STALL:-60}
TOE_SHORT_CUT=${TOE_SHORT_CUT:-off}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
BIN=${TOE_BIN:-$here}
KSFT_SKIP=4

# Names of one run, so that two can run at a time.
A=toe-a-$$
B=toe-b-$$
DA=toe0
DB=toe1
A4=192.0.2.1 B4=192.0.2.2
A6=2001:db8::1 B6=2001:db8::2

WORK=$(mktemp -d "${TMPDIR:-/run}/toe-selftest.XXXXXX") || exit $KSFT_SKIP
# In thousandths.
LC_ALL=C printf -v scale %.3f "${TOE_SCALE:-1}"
scale=$((10#${scale/./}))

# ---- results

is_toe() { [[ $TOE_KIND == toe@(|-example) ]]; }
# The second target, whose connections go back with each special case.
is_example() { [ "$TOE_KIND" = toe-example ]; }

# Ends the case.
skip() { echo "$*" >"$WORK/reason"; exit $KSFT_SKIP; }
fail() { echo "$*"; exit 1; }

# A check within a case that cannot be made here.
partial() { echo "# SKIP within the case: $*"; }
note() { echo "# note: $*"; }

# A file's text, without a program.
show() { # FILE
	local -a text
	mapfile text <"$1"
	printf %s "${text[@]}"
}

need() {
	local p
	for p; do command -v "$p" >/dev/null || skip "no program $p"; done
}

# need_module NAME: built in or loadable, else the case is skipped.
need_module() {
	modprobe -q "$1" 2>/dev/null || [ -d "/sys/module/$1" ] || skip "no module $1 in this kernel"
}

need_toe() { is_toe || skip "needs a toe device, TOE_KIND is $TOE_KIND"; }

expect_eq() { [ "$1" = "$2" ] || fail "$3: is ${1:-nothing}, expected $2"; }
expect_ge() { [ "${1:-0}" -ge "$2" ] || fail "$3: is ${1:-nothing}, expected at least $2"; }
expect_le() { [ "${1:-0}" -le "$2" ] || fail "$3: is ${1:-nothing}, expected at most $2"; }

# A pause without a process.
exec {nothing}<> <(:)
pause() { read -r -t "$1" -u "$nothing" _; true; }

# until_ok SECONDS COMMAND...: repeats the command until it succeeds, each STEP seconds.
until_ok() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		pause "${STEP:-0.1}"
	done
}

# Background work of a case: ended with it. A program in a namespace is the very process
# that is noted, not the child of a shell that waits for it.
bg() {
	case $1 in
	in_a | in_b | in_ns) (in_place=exec && "$@") & ;;
	*) "$@" & ;;
	esac
	echo $! >>"$WORK/pids"
}

# What was started by `bg` has ended when this returns, and listens no more.
end_bg() {
	local pid
	local -a pids
	[ -s "$WORK/pids" ] || return 0
	mapfile -t pids <"$WORK/pids"
	: >"$WORK/pids"
	kill "${pids[@]}" 2>/dev/null
	for pid in "${pids[@]}"; do
		until_ok 10 ended "$pid" || kill -9 "$pid" 2>/dev/null
	done
}

# Has the process ended? A child that has may be a zombie still.
ended() {
	local stat
	read -r stat <"/proc/$1/stat" || return 0
	[[ ${stat##*) } == Z* ]]
} 2>/dev/null

diagnose() {
	local ns dev
	for ns in $A $B; do
		[ -e /run/netns/$ns ] || continue
		dev=$DA
		[ $ns = $B ] && dev=$DB
		echo "--- $ns: counters of $dev that are not zero"
		ip netns exec $ns ethtool -S $dev 2>/dev/null | grep -v ': 0$' | head -60
		echo "--- $ns: sockets"
		ip netns exec $ns ss -tanieo 2>/dev/null | head -20
		table $dev 2>/dev/null | head -10
	done
}

# How many lines the kernel's log has that no clean one has: the signs of the file
# splats. What a cgroup's end of memory and the fault injection print is no fault, nor
# are their traces. A time stamp ends with "] ".
splats() {
	dmesg 2>/dev/null |
		sed '/invoked oom-killer/,/oom-kill:constraint/d; /FAULT_INJECTION: forcing/,/<\/TASK>/d' |
		grep -vFf <(sed -n 's/^!/] /p' "$here/splats") |
		grep -cFf <(sed '/^[#!]/d; /^$/d; s/^^/] /' "$here/splats")
}

# run CASE...: each is the name of a function without its leading t_, and its
# arguments. A case runs in a process of its own and may end itself.
run() {
	local c n=0 pid dog rc line splat_before start pass=0 failed=0 skipped=0
	local -a cases=()

	for c; do
		# shellcheck disable=SC2053
		if [ -z "$TOE_CASES" ] || [[ $c == $TOE_CASES ]]; then cases+=("$c"); fi
	done
	echo "KTAP version 1"
	echo "1..$((${#cases[@]} + 1))"
	splat_before=$(splats)
	for c in "${cases[@]}"; do
		n=$((n + 1))
		: >"$WORK/reason"
		: >"$WORK/pids"
		start=$SECONDS
		(
			# shellcheck disable=SC2086
			set -- $c
			f=t_$1
			shift
			$f "$@"
		) >"$WORK/out" 2>&1 &
		pid=$!
		(
			pause "$TOE_LIMIT"
			echo "longer than $TOE_LIMIT s" >>"$WORK/out"
			end_bg
			kill_ns
			kill -9 $pid
		) >/dev/null 2>&1 &
		dog=$!
		wait $pid
		rc=$?
		kill -KILL $dog
		wait $dog 2>/dev/null
		# What the case asked to run beside it has ended before the next.
		end_bg
		if [ $rc = 0 ]; then
			pass=$((pass + 1))
			if [ -n "$TOE_VERBOSE" ]; then
				sed 's/^/# /; s/^# # /# /' "$WORK/out"
				echo "# $((SECONDS - start)) s"
			else
				while read -r line; do
					[[ $line != '# SKIP'* && $line != '# note'* ]] || echo "$line"
				done <"$WORK/out"
				[ $((SECONDS - start)) -lt 20 ] || echo "# note: $((SECONDS - start)) s"
			fi
			echo "ok $n $c"
		elif [ $rc = $KSFT_SKIP ]; then
			skipped=$((skipped + 1))
			read -r line <"$WORK/reason"
			echo "ok $n $c # SKIP $line"
		else
			failed=$((failed + 1))
			[ $rc = 1 ] || echo "exit code $rc" >>"$WORK/out"
			diagnose >>"$WORK/out" 2>&1
			sed 's/^/# /; s/^# # /# /' "$WORK/out"
			echo "not ok $n $c"
			kill_ns
		fi
	done
	finish "$splat_before" $pass $failed $skipped
}

# finish SPLATS PASSED FAILED SKIPPED: the last case, for which the kernel's log is what it
# was, and the end of the test.
finish() {
	local pass=$2 failed=$3 skipped=$4 n
	n=$((pass + failed + skipped + 1))
	if [ "$(splats)" = "$1" ]; then
		pass=$((pass + 1))
		echo "ok $n kernel_log_clean"
	else
		failed=$((failed + 1))
		dmesg | tail -60 | sed 's/^/# /'
		echo "not ok $n kernel_log_clean"
	fi
	echo "# Totals: pass:$pass fail:$failed xfail:0 xpass:0 skip:$skipped error:0"
	cleanup
	[ "$failed" = 0 ] || exit 1
	# The log was clean, and that was all.
	[ "$pass" -gt 1 ] || exit $KSFT_SKIP
	exit 0
}

cleanup() {
	end_bg
	pair_down
	rm -rf "$WORK"
}

# The whole test cannot be run here.
skip_all() {
	echo "KTAP version 1"
	echo "1..0 # SKIP $*"
	cleanup
	exit $KSFT_SKIP
}

# ---- the pair

kill_ns() {
	local ns
	for ns in $A $B; do
		[ ! -e /run/netns/$ns ] || "$BIN/toe_ns" $ns kill all
	done
}

make_pair() { # make_pair [DEV DEV [NS NS]]
	local da=${1:-$DA} db=${2:-$DB} na=${3:-$A} nb=${4:-$B}
	ip link add "$da" netns "$na" type "$TOE_KIND" peer name "$db" netns "$nb" && return
	# The long way, for an older ip or driver.
	ip link add "x$$a" type "$TOE_KIND" peer name "x$$b" &&
		ip link set "x$$a" netns "$na" name "$da" &&
		ip link set "x$$b" netns "$nb" name "$db"
}

configure() { # addresses and links of the pair
	ip -n $A -batch - <<-END &&
		addr add $A4/24 dev $DA
		addr add $A6/64 dev $DA nodad
		link set $DA up
		link set lo up
	END
	ip -n $B -batch - <<-END &&
		addr add $B4/24 dev $DB
		addr add $B6/64 dev $DB nodad
		link set $DB up
		link set lo up
	END
		set_short_cut
}

# What a device starts with, "" without the knob: nothing is written that is there.
short_cut_first=
moves_short_cut() { [ -n "$short_cut_first" ] && [ "$short_cut_first" != "$TOE_SHORT_CUT" ]; }
set_short_cut() {
	! moves_short_cut ||
		{ knob a short_cut "$TOE_SHORT_CUT" && knob b short_cut "$TOE_SHORT_CUT"; }
}
# With the short cut bytes may pass without frames, which then are not counted.
is_short() { [ -n "$short_cut_first" ] && [ "$TOE_SHORT_CUT" != off ]; }

make_ns() {
	ip -batch - <<-END || return 1
		netns add $A
		netns add $B
	END
	orphans
}

# Connections whose device a case deletes hold their data, and with it TCP's
# memory, for minutes: let them give up soon. Elsewhere data that waits when
# the application closes must survive more than one loss.
orphans() {
	[ -z "$DELETES_DEVICES" ] || {
		set_sysctl a net.ipv4.tcp_orphan_retries 1
		set_sysctl b net.ipv4.tcp_orphan_retries 1
	}
}

# down|up|fresh: the pair with its namespaces and addresses, both neighbours known, in
# one program.
pair() {
	local -a knobs=()
	! moves_short_cut || knobs=("short_cut=$TOE_SHORT_CUT")
	"$BIN/toe_ns" pair "$1" $A $B $DA $DB "$TOE_KIND" $A4 $B4 $A6 $B6 "${knobs[@]}"
}

pair_up() { pair up && orphans; }

resolve() {
	pings a $B4 2>/dev/null
	pings a $B6 2>/dev/null
	true
}

pair_down() { pair down; true; }

# A fresh pair, whatever the case before left.
fresh() { pair fresh && orphans || fail "cannot make a pair of kind $TOE_KIND"; }

in_place=
in_a() { $in_place ip netns exec $A "$@"; }
in_b() { $in_place ip netns exec $B "$@"; }
in_ns() { # in_ns a|b COMMAND...
	local ns dev
	end_of "$1"
	shift
	$in_place ip netns exec $ns "$@"
}
dev_of() { if [ "$1" = b ]; then echo $DB; else echo $DA; fi; }

# On a debug kernel that is emulated a fork takes a seventh of a second, and a program
# to be started and linked as long again: what is done hundreds of times is done by
# toe_ns, and results that are needed often are in variables, not read from a subshell.

# end_of a|b: sets the caller's `ns` and `dev`.
end_of() { if [ "$1" = b ]; then ns=$B dev=$DB; else ns=$A dev=$DA; fi; }

# ns_cat a|b FILE, a file below /sys or /proc.
ns_cat() {
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns cat "$2"
}

# pings a|b ADDRESS [COUNT [SIZE [df]]]: echoes, each compared with the request.
pings() {
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns ping "$2" "${3:-1}" "${4:-56}" $5
}

# probe GROUP NAME [FAMILY [OPTION...]]; exit code 4 of toe_probe: skip.
probe() {
	local group=$1 name=$2 fam=${3:-4} rc=0
	shift $(($# > 3 ? 3 : $#))
	is_toe || set -- --ulp-try "$@"
	"$BIN/toe_probe" --client-ns $A --server-ns $B "$@" "$group" "$name" "$(addr b "$fam")" \
		2>"$WORK/err" || rc=$?
	show "$WORK/err"
	[ $rc != 4 ] || skip "$(tail -1 "$WORK/err")"
	[ $rc = 0 ] || fail "toe_probe $group $name, IPv$fam: $(cat "$WORK/err")"
}

# The module can be taken out and put back.
can_reload() {
	need_toe
	[ -d /sys/module/toe ] || skip "toe is built in"
	modinfo toe >/dev/null 2>&1 || [ -r "$TOE_KO" ] || skip "TOE_KO does not say where toe.ko is"
}

reload() {
	modprobe toe 2>/dev/null || insmod "${TOE_KO:?where is toe.ko? set TOE_KO}" || fail "insmod"
}

# The module goes while a probe's call waits.
unloaded_during() { # GROUP PROBE
	probe "$1" "$2" 4 --before "timeout 60 rmmod toe"
	[ ! -d /sys/module/toe ] || fail "still loaded"
	reload
}

# A probe of group upload, and the reason that brought the connection back
# ("-": whatever it is, if at all).
asked() { # PROBE REASON FAMILY [OPTION...]
	local reason=$2 i n=0
	if ! is_toe; then
		probe upload "$1" "${@:3}"
		partial "the counter toe_upload_$reason"
		return
	fi
	# On a slow machine TCP's own timers may take it back first.
	for i in 1 2 3 4; do
		snap a
		probe upload "$1" "${@:3}"
		[ "$reason" != - ] || break
		n=$(delta a "toe_upload_$reason")
		[ "$n" = 0 ] && [ "$(uploads_in_passing a)" != 0 ] || break
	done
	[ "$reason" = - ] || expect_ge "$n" 1 "uploads by $reason"
	expect_no_entries
}

# Address of end a or b in family 4 or 6.
addr() {
	case $1$2 in
	a4) echo $A4 ;; a6) echo $A6 ;; b4) echo $B4 ;; b6) echo $B6 ;;
	esac
}

# What `ethtool -S` prints.
counters() {
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns counters $dev 2>/dev/null
}

# pick NAME COUNTERS: REPLY is the value, 0 where there is none.
pick() {
	REPLY=0
	[[ $2 =~ [[:space:]]"$1: "([0-9]+) ]] && REPLY=${BASH_REMATCH[1]}
	true
}

# ctr a|b NAME: a counter of ethtool -S.
ctr() {
	pick "$2" "$(counters "$1")"
	echo $REPLY
}

# Keeps all counters of one end; `delta a NAME` is what was added since.
snap() { counters "$1" >"$WORK/snap.$1"; true; }
# added a|b NAME COUNTERS: REPLY is what COUNTERS have more than those kept.
added() {
	local now
	pick "$2" "$3"
	now=$REPLY
	pick "$2" "$(<"$WORK/snap.$1")"
	REPLY=$((now - REPLY))
}
delta() {
	added "$1" "$2" "$(counters "$1")"
	echo $REPLY
}

# What was added to counters of an end is exactly this, all at one moment.
expect_added_at() { # a|b NAME VALUE...
	local end=$1 now
	now=$(counters $end)
	shift
	while [ $# -gt 0 ]; do
		has_ctr $end "$1" "$now" || fail "no counter $1"
		added $end "$1" "$now"
		expect_eq $REPLY "$2" "$1 of end $end"
		shift 2
	done
}
expect_added() { expect_added_at a "$@"; }

# The larger one of both ends: the first FIN takes both ends back, so that only
# the direction that is through first is handled by the target to its end.
delta_max() {
	local x y
	x=$(delta a "$1") y=$(delta b "$1")
	echo $((x > y ? x : y))
}

# Uploads of one end since `snap` that nobody asked for and that are not for long: too
# many special cases, one that lasts, one in a target that has no legacy mode, or somebody
# who wanted the socket's lock in the moment of the hand-over, which on a busy machine is a
# frame of the connection itself.
uploads_in_passing() {
	local name now sum=0
	now=$(counters "$1")
	for name in legacy_often legacy_long special contended; do
		added "$1" "toe_upload_$name" "$now"
		sum=$((sum + REPLY))
	done
	echo $sum
}

# Offloads of one end since `snap`; one that was taken back in the moment of the
# hand-over is none.
offloads() {
	local now n
	now=$(counters "$1")
	added "$1" toe_offloads "$now"
	n=$REPLY
	added "$1" toe_upload_contended "$now"
	echo $((n - REPLY))
}

# Special cases of one end since `snap` that a program or the network caused as TCP
# goes: a reader too slow for its window, a tail loss probe, and what the peer does
# then. Plain TCP has them on a clean wire, too.
specials_by_tcp() {
	local name now sum=0
	now=$(counters "$1")
	for name in zero_window persist host_retransmit old_sequence sack dup_ack window_probe; do
		added "$1" "toe_special_$name" "$now"
		sum=$((sum + REPLY))
	done
	echo $sum
}

# Nothing was lost since `snap_loss`: no timeout, and nothing sent twice but the
# probes by which TCP asks after a delayed ACK.
snap_loss() {
	loss=("$(snmp "$1" TcpRetransSegs)" "$(snmp "$1" TcpExtTCPLossProbes)"
		"$(snmp "$1" TcpExtTCPTimeouts)")
}
expect_no_loss() {
	local retrans=$(($(snmp "$1" TcpRetransSegs) - loss[0]))
	expect_eq $(($(snmp "$1" TcpExtTCPTimeouts) - loss[2])) 0 "timeouts of end $1"
	expect_le $retrans $(($(snmp "$1" TcpExtTCPLossProbes) - loss[1])) \
		"retransmissions of end $1, which are at most its loss probes"
}

has_ctr() { # a|b NAME [COUNTERS]
	[[ ${3-$(counters "$1")} == *[[:space:]]"$2: "* ]]
}

# knob a|b NAME [VALUE]: reads or writes a file of the device's toe directory.
knob() {
	local ns dev
	end_of "$1"
	if [ $# = 2 ]; then
		"$BIN/toe_ns" $ns cat "/sys/class/net/$dev/toe/$2"
	else
		"$BIN/toe_ns" $ns put "/sys/class/net/$dev/toe/$2" "$3"
	fi
}

# The same with what comes on standard input.
knob_text() { # a|b NAME
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns write "/sys/class/net/$dev/toe/$2"
}

# Every connection of these ends is offloaded, however short it may be.
auto_policy() { # END...
	local end
	for end; do
		knob "$end" policy auto && knob "$end" min_segments 0 || fail "policy auto"
	done
}

upload_all() { knob "$1" upload_all 1; }
has_connections() { [ "$(knob "$1" connections)" = "$2" ]; }

# The table of delegated connections of a device: REPLY is its file.
table_file() {
	local ns=$A
	local -a found=(/sys/kernel/debug/toe/"$1"@*)
	if [ ${#found[@]} = 1 ]; then
		REPLY=${found[0]}
		return
	fi
	[ "$1" = "$DB" ] && ns=$B
	REPLY=/sys/kernel/debug/toe/$1@$(stat -Lc %i /run/netns/$ns 2>/dev/null)
}
# The same, printed.
table_path() { table_file "$1"; echo "$REPLY"; }
# The lines of it, without the header.
table() {
	local -a lines
	table_file "$1"
	mapfile -t -s 1 lines <"$REPLY"
	[ ${#lines[@]} = 0 ] || printf '%s\n' "${lines[@]}"
}
has_table() { is_toe && table_file $DA && [ -r "$REPLY" ]; }

table_empty() { has_connections "$1" 0; }

# Both tables are empty again; connections in TIME_WAIT are none.
expect_no_entries() {
	local end lines ns dev
	is_toe || return 0
	for end in a b; do
		end_of $end
		until_ok 20 table_empty $end ||
			fail "$dev has $(knob $end connections) connections left: $(table $dev 2>/dev/null)"
		has_table || continue
		lines=$(table $dev)
		[ -z "$lines" ] || fail "$dev: lines left in the table: $lines"
	done
}

set_sysctl() { # set_sysctl a|b NAME VALUE
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns put "/proc/sys/${2//.//}" "$3"
}

# A counter of one end, by the name that nstat gives it.
snmp() {
	local ns dev
	end_of "$1"
	"$BIN/toe_ns" $ns snmp "$2"
}

# Nothing is sent again by an end because time has passed, nor does that end its slow
# start: for what a case keeps waiting. 0: as before. For connections made from then on.
no_timers() { # a|b [0]
	local rto=20000000 tlp=0
	[ "$2" != 0 ] || rto=200000 tlp=3
	set_sysctl "$1" net.ipv4.tcp_rto_min_us $rto
	set_sysctl "$1" net.ipv4.tcp_early_retrans $tlp
}

plain_frames() { # every frame on the wire, MTU-sized
	in_a ethtool -K $DA tso off gso off gro off >/dev/null 2>&1
	in_b ethtool -K $DB tso off gso off gro off >/dev/null 2>&1
	true
}

# ---- transfers

# kib N: N KiB, scaled, in bytes.
kib() {
	local n=$(($1 * 1024 * scale / 1000))
	echo $((n > 4096 ? n : 4096))
}

# Options that ask for the offload: of which ends, and no failure without toe.
ulp() {
	is_toe || printf '%s ' --ulp-try
	printf '%s %s' --ulp "${1:-both}"
}

# xfer 4|6 OPTION...: a transfer from a to b; its summary is in $WORK/json.
xfer() {
	local fam=$1
	shift
	"$BIN/toe_xfer" --client-ns $A --server-ns $B --stall "$TOE_STALL" --json "$@" \
		"$(addr b "$fam")" >"$WORK/json"
}

# jget client|server FIELD
jget() {
	sed 's/.*"'"$1"'":{\([^}]*\)}.*/\1/; s/.*"'"$2"'":\([0-9]*\).*/\1/' "$WORK/json"
}

need_xfer() { xfer "$@" || fail "transfer failed with code $?: $*; $(cat "$WORK/json")"; }

# A transfer that stops half way: held ... go.
hold_start() { # hold_start FAM OPTION...
	mkdir -p "$WORK/hold"
	rm -f "$WORK"/hold/*
	xfer "$@" --points 1 --hold-dir "$WORK/hold" &
	held=$!
	echo $held >>"$WORK/pids"
	until_ok 60 test -e "$WORK/hold/held" || fail "the transfer never reached its middle"
}
hold_end() {
	: >"$WORK/hold/go"
	wait $held || fail "the held transfer failed: $(cat "$WORK/json")"
}

# Uploads all connections of one end again and again, every $2 seconds.
uploader() {
	while :; do
		upload_all "$1" 2>/dev/null
		pause "${2:-0.1}"
	done
}

# ---- captures: $WORK/NAME.txt, as tcpdump -n -e -S writes them

# More options for the text.
verbose=

capture() { # NAME a|b DEV [OPTION...]
	bg in_ns "$2" tcpdump -i "$3" -B 65536 -U -w "$WORK/$1.pcap" -Z root "${@:4}" 2>"$WORK/$1.err"
	until_ok 60 grep -q 'listening on' "$WORK/$1.err" || fail "tcpdump: $(cat "$WORK/$1.err")"
}

# Ends all background work when nothing more comes. The kernel hands frames to tcpdump when
# a block is full, or after a second: what it has not got when it is told to end is lost,
# and it does not count that as dropped.
captured() { # NAME...
	local name now size=""
	local -a files=("$@")
	files=("${files[@]/#/$WORK/}")
	until now=$(stat -c %s "${files[@]/%/.pcap}") && [ "$now" = "$size" ]; do
		size=$now
		pause 1.5
	done
	end_bg
	for name; do
		until_ok 30 grep -q 'dropped by kernel' "$WORK/$name.err" || fail "tcpdump does not end"
		grep -q '^0 packets dropped by kernel' "$WORK/$name.err" ||
			skip "tcpdump was too slow: $(cat "$WORK/$name.err")"
		tcpdump -r "$WORK/$name.pcap" -n -e -S $verbose 2>/dev/null >"$WORK/$name.txt"
	done
}

# Payload sent by an address, from one capture: each byte of each connection once, for what
# the device refused is seen again, and so is what a probe or a timeout sends a second time,
# in segments of other lengths.
payload() { # NAME ADDRESS
	awk -v from="$2." '
		match($0, /[^ ]+ > [^ ]+: Flags/) && index(substr($0, RSTART), from) == 1 {
			flow = substr($0, RSTART, RLENGTH)
			sub(/.*: Flags/, "")
			if (!match($0, /seq [0-9]+:/)) next
			seq = substr($0, RSTART + 4, RLENGTH - 5)
			if (match($0, /, length [0-9]+(: |$)/)) print flow, seq, substr($0, RSTART + 9) + 0
		}' "$WORK/$1.txt" | sort -k1,3 -k5,5n | awk '
		$1 $3 != flow { flow = $1 $3; end = 0 }
		{
			if ($5 < end) { $6 -= end - $5; $5 = end }
			if ($6 > 0) { n += $6; end = $5 + $6 }
		}
		END { print n + 0 }'
}

# Length of the longest frame.
longest() { # NAME
	awk 'match($0, /ethertype[^,]*, length [0-9]+/) {
		n = substr($0, RSTART, RLENGTH); sub(/.* /, "", n); if (n + 0 > m) m = n + 0
	} END { print m + 0 }' "$WORK/$1.txt"
}

# ---- user buffers

# Counters are those of end a, whose device posts buffers.
buffers() { # [MIN]
	fresh
	is_toe || return 0
	# Whether it pays or not.
	knob a user_buffer_frames 0
	knob a user_buffer_min "${1:-1}"
	snap a
}

counted() { # NAME AT_LEAST
	is_toe || return 0
	expect_ge "$(delta a "toe_buf_$1")" "$2" "toe_buf_$1"
}
not_counted() {
	is_toe || return 0
	expect_eq "$(delta a "toe_buf_$1")" 0 "toe_buf_$1"
}

# ---- start

[ $EUID = 0 ] || skip_all "needs root"
command -v ip >/dev/null || skip_all "no program ip"
[ -x "$BIN/toe_xfer" ] && [ -x "$BIN/toe_probe" ] && [ -x "$BIN/toe_ns" ] && [ -x "$BIN/toe_conn" ] ||
	skip_all "the programs are not built: make -C $here"

# `run` and `skip_all` clean up. A trap does not: a subshell that a signal reaches
# before it has dropped the traps would run it, too.
trap 'exit 1' INT TERM

if ! make_ns || ! make_pair 2>"$WORK/err"; then
	reason=$(head -1 "$WORK/err")
	skip_all "no devices of kind $TOE_KIND: ${reason:-is the module loaded?}"
fi
[ "$TOE_KIND" != toe ] || short_cut_first=$(knob a short_cut 2>/dev/null)
pair_down
