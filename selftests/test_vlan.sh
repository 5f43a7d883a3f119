#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Connections over VLAN devices on the pair: tags on the wire, equal tuples in
# different VLANs, what changes about a VLAN device meanwhile.

. "$(dirname "$0")/lib.sh"

# Another two namespaces with the same addresses, in another VLAN.
C=toe-c-$$
D=toe-d-$$
# The VLAN devices; their addresses take the place of the pair's.
VA=$DA.v
VB=$DB.v

# vlan_up [one|qinq [OPTION...]]: a fresh pair with VLAN 100 on it, alone or in service
# VLAN 10. Options are those of `type vlan`.
vlan_up() {
	local kind=${1:-one} la=$DA lb=$DB
	shift
	need_module 8021q
	A4=192.0.2.1 B4=192.0.2.2 A6=2001:db8::1 B6=2001:db8::2
	fresh
	if [ "$kind" = qinq ]; then
		la=$DA.s lb=$DB.s
		# A device takes frames of its MTU with one tag in them, as all of Ethernet.
		ip -n $A link set $DA mtu 1504 && ip -n $B link set $DB mtu 1504 || fail "MTU"
		ip -n $A link add link $DA name $la type vlan protocol 802.1ad id 10 &&
			ip -n $B link add link $DB name $lb type vlan protocol 802.1ad id 10 &&
			ip -n $A link set $la up && ip -n $B link set $lb up || fail "service VLAN"
	fi
	ip -n $A link add link $la name $VA mtu 1500 type vlan id 100 "$@" &&
		ip -n $B link add link $lb name $VB mtu 1500 type vlan id 100 "$@" || fail "VLAN devices"
	A4=198.51.100.1 B4=198.51.100.2 A6=2001:db8:100::1 B6=2001:db8:100::2
	vlan_addresses a && vlan_addresses b || fail "addresses"
	resolve
	snap a
	snap b
}

# Addresses and link of the VLAN device of an end, also after it was down or gone.
vlan_addresses() { # a|b
	local ns=$A dev=$VA
	[ "$1" = b ] && ns=$B dev=$VB
	ip -n $ns link set $dev up &&
		ip -n $ns addr replace "$(addr "$1" 4)/24" dev $dev &&
		ip -n $ns addr replace "$(addr "$1" 6)/64" dev $dev nodad
}

# Both ends were offloaded, and of so many bytes a good part went through the targets.
# The end of one direction takes the connection back, and so may TCP's own timers.
expect_offloaded() { # BYTES
	is_toe || return 0
	expect_ge "$(delta a toe_offloads)" 1 "offloads of end a"
	expect_ge "$(delta b toe_offloads)" 1 "offloads of end b"
	expect_ge "$(delta_max toe_tx_bytes)" $(($1 / 8)) "bytes sent by the target"
	expect_ge "$(delta_max toe_rx_bytes)" $(($1 / 8)) "bytes received by the target"
}

# ctr_of a|b DEVICE rx|tx packets|bytes
ctr_of() { ns_cat "$1" "/sys/class/net/$2/statistics/$3_$4"; }

# ---- captures: DEVICE of end a in $WORK/DEVICE.txt, one line per frame

frames_of() { # DEVICE...
	local dev
	for dev; do
		capture "$dev" a "$dev" -s 256
	done
}

# TCP's frames in a capture that do, or do not, match.
frames() { grep ': Flags \[' "$WORK/$1.txt" | grep -cE "$2"; }
frames_without() { grep ': Flags \[' "$WORK/$1.txt" | grep -vcE "$2"; }

# ---- cases

# What the VLAN devices have counted: for each direction packets and bytes sent, and
# packets and bytes received, in one line.
vlan_counters() {
	echo "$(ctr_of a $VA tx packets) $(ctr_of a $VA tx bytes)" \
		"$(ctr_of b $VB rx packets) $(ctr_of b $VB rx bytes)" \
		"$(ctr_of b $VB tx packets) $(ctr_of b $VB tx bytes)" \
		"$(ctr_of a $VA rx packets) $(ctr_of a $VA rx bytes)"
}

# The same, at a moment when nothing is under way: IPv6 has reports to send now and then.
vlan_counters_at_rest() {
	local i now last=
	for ((i = 0; i < 30; i++)); do
		now=$(vlan_counters)
		[ "$now" = "$last" ] && break
		last=$now
		pause 0.2
	done
	echo "$now"
}

# Bytes, and that the counters of the VLAN devices tell of each frame: what one end
# sent the other received, less the link-layer header.
t_transfer() { # FAMILY one|qinq
	local -a before after diff
	local i
	vlan_up "$2"
	read -ra before <<<"$(vlan_counters_at_rest)"
	need_xfer "$1" --bytes "$(kib 2048)" $(ulp)
	read -ra after <<<"$(vlan_counters_at_rest)"
	expect_offloaded "$(kib 2048)"
	expect_no_entries
	for i in 0 1 2 3 4 5 6 7; do
		diff[i]=$((after[i] - before[i]))
	done
	for i in 0 4; do
		expect_eq "${diff[i + 2]}" "${diff[i]}" "frames received of those sent"
		expect_eq "${diff[i + 3]}" $((diff[i + 1] - 14 * diff[i])) "bytes received of those sent"
		expect_ge "${diff[i + 1]}" "$(kib 2048)" "bytes sent"
	done
}

# The wire is tagged, the VLAN device is not, with segmentation and tagging by the
# device and by software.
t_frames() { # FAMILY one|qinq on|segments|tags
	local dev tag='vlan 100, p 0' sent
	need tcpdump ethtool
	vlan_up "$2"
	[ "$2" = one ] || tag='vlan 10, p 0, ethertype 802.1Q \(0x8100\), vlan 100, p 0'
	case $3 in
	segments)
		plain_frames
		in_a ethtool -K $VA tso off gso off && in_b ethtool -K $VB tso off gso off
		;;
	tags)
		in_a ethtool -K $DA txvlan off tx-vlan-stag-hw-insert off &&
			in_b ethtool -K $DB txvlan off tx-vlan-stag-hw-insert off || fail "ethtool"
		;;
	esac
	frames_of $DA $VA
	need_xfer "$1" --bytes "$(kib 512)" $(ulp)
	captured $DA $VA
	expect_offloaded "$(kib 512)"
	sent=$(kib 512)
	for dev in $DA $VA; do
		expect_ge "$(payload $dev "$(addr a "$1")")" "$sent" "bytes of end a in the capture of $dev"
		expect_ge "$(payload $dev "$(addr b "$1")")" "$sent" "bytes of end b in the capture of $dev"
	done
	expect_eq "$(payload $DA "$(addr b "$1")")" "$(payload $VA "$(addr b "$1")")" \
		"bytes received on the wire and by the VLAN device"
	expect_eq "$(frames_without $DA "$tag")" 0 "frames of $DA without the tag"
	expect_eq "$(frames $VA vlan)" 0 "frames of $VA with a tag"
	if [ "$3" = segments ]; then
		expect_le "$(longest $VA)" 1514 "longest frame of $VA"
		expect_ge "$(longest $VA)" 1400 "longest frame of $VA"
	fi
}

# Equal addresses and ports in two VLANs at once.
t_equal_tuples() { # FAMILY
	local ns dev i end one two
	vlan_up one
	ip netns del $C 2>/dev/null
	ip netns del $D 2>/dev/null
	ip netns add $C && ip netns add $D || fail "namespaces"
	ip -n $A link add link $DA name v200 type vlan id 200 && ip -n $A link set v200 netns $C &&
		ip -n $B link add link $DB name v200 type vlan id 200 &&
		ip -n $B link set v200 netns $D || fail "VLAN 200"
	ip -n $C addr add $A4/24 dev v200 && ip -n $C addr add $A6/64 dev v200 nodad
	ip -n $D addr add $B4/24 dev v200 && ip -n $D addr add $B6/64 dev v200 nodad
	ip -n $C link set v200 up && ip -n $D link set v200 up
	"$BIN/toe_ns" $C ping "$(addr b "$1")" 1 56
	for ns in $A $B $C $D; do
		# The server takes the odd port, the client the even one.
		ip netns exec $ns sh -c 'echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range'
	done
	mkdir -p "$WORK/one" "$WORK/two"
	"$BIN/toe_xfer" --client-ns $A --server-ns $B --json --stall "$TOE_STALL" --bytes "$(kib 1024)" \
		$(ulp) --hold-dir "$WORK/one" --seed 1 "$(addr b "$1")" >"$WORK/one.json" &
	one=$!
	"$BIN/toe_xfer" --client-ns $C --server-ns $D --json --stall "$TOE_STALL" --bytes "$(kib 1024)" \
		$(ulp) --hold-dir "$WORK/two" --seed 2 "$(addr b "$1")" >"$WORK/two.json" &
	two=$!
	echo $one >>"$WORK/pids"
	echo $two >>"$WORK/pids"
	until_ok 60 test -e "$WORK/one/held" && until_ok 60 test -e "$WORK/two/held" ||
		fail "the transfers never reached their middles"
	expect_eq "$(ip netns exec $A ss -tnH state established | awk '{ print $3, $4 }' | sort -u)" \
		"$(ip netns exec $C ss -tnH state established | awk '{ print $3, $4 }' | sort -u)" "the tuple"
	if has_table; then
		for end in a b; do
			until_ok 10 [ "$(knob $end connections)" = 2 ] || fail "$(dev_of $end): $(table "$(dev_of $end)")"
			expect_eq "$(table "$(dev_of $end)" | awk '{ print $2, $3 }' | sort -u | wc -l)" 1 "tuples"
			expect_eq "$(table "$(dev_of $end)" | awk '{ print $NF }' | sort -n | xargs)" "100 200" "VLANs"
		done
	fi
	: >"$WORK/one/go"
	: >"$WORK/two/go"
	wait $one || fail "transfer in VLAN 100: $(cat "$WORK/one.json")"
	wait $two || fail "transfer in VLAN 200: $(cat "$WORK/two.json")"
	expect_offloaded "$(kib 1024)"
	expect_no_entries
	ip netns del $C
	ip netns del $D
}

# The priority of the tag follows the socket's, and the device's map.
t_priority() { # so_priority|map
	local first second
	need tcpdump
	vlan_up one egress-qos-map 0:2 5:6
	frames_of $DA
	hold_start 4 --bytes "$(kib 512)" $(ulp) $([ "$1" = so_priority ] && echo --priority 5)
	first=$(is_toe && delta a toe_tx_bytes)
	if [ "$1" = map ]; then
		ip -n $A link set $VA type vlan egress-qos-map 0:7 || fail "the map"
	fi
	hold_end
	second=6
	[ "$1" = so_priority ] || second=7
	captured $DA
	expect_ge "$(grep "$A4\.[0-9]* > " "$WORK/$DA.txt" | grep -c 'vlan 100, p 2,')" 1 "frames of the first half"
	expect_ge "$(grep "$A4\.[0-9]* > " "$WORK/$DA.txt" | grep -c "vlan 100, p $second,")" 1 "frames of the second half"
	expect_eq "$(grep "$A4\.[0-9]* > " "$WORK/$DA.txt" | grep -vcE "vlan 100, p (2|$second),")" 0 "other frames"
	if is_toe; then
		expect_ge "$first" $(($(kib 512) / 4)) "bytes of the first half sent by the target"
		# The other end may be through, and take the connection back, long before.
		expect_ge $(($(delta a toe_tx_bytes) - first)) 1 "bytes of the second half"
		expect_eq "$(delta a toe_upload_vlan)" 0 "uploads"
	fi
}

# What happens to a VLAN device in the middle of a transfer takes the connection
# back, and nothing is lost.
t_change() { # down|lower_down|deleted|moved|address|reorder FAMILY one|qinq
	local mac dev=$VA
	vlan_up "$3"
	mac=$(ns_cat a /sys/class/net/$VA/address)
	# It does not come back before that is looked at.
	! is_toe || knob a reoffload_delay_ms 10000
	hold_start "$2" --bytes "$(kib 1024)" $(ulp)
	case $1 in
	down)
		ip -n $A link set $VA down
		pause 0.3
		;;
	lower_down)
		ip -n $A link set $DA.s down
		pause 0.3
		ip -n $A link set $DA.s up
		;;
	deleted)
		[ "$3" = qinq ] && dev=$DA.s || dev=$DA
		ip -n $A link del $VA || fail "delete"
		pause 0.3
		ip -n $A link add link $dev name $VA address "$mac" type vlan id 100 || fail "create"
		;;
	moved)
		ip netns del $C 2>/dev/null
		ip netns add $C
		ip -n $A link set $VA netns $C || fail "move"
		pause 0.3
		ip -n $C link set $VA netns $A || fail "move back"
		ip netns del $C
		;;
	address)
		set_sysctl a net.ipv4.conf.$VA/v.arp_notify 1 2>/dev/null
		ip -n $A link set $VA address 02:00:00:00:77:02 || fail "address"
		pings a "$(addr b "$2")"
		;;
	reorder) ip -n $A link set $VA type vlan reorder_hdr off || fail "reorder_hdr" ;;
	esac
	vlan_addresses a
	if is_toe; then
		expect_eq "$(delta a toe_upload_vlan)" 1 "uploads of end a"
		expect_eq "$(knob a connections)" 0 "connections of end a"
		expect_eq "$(delta b toe_upload_vlan)" 0 "uploads of end b"
	fi
	hold_end
	expect_no_entries
}

# Nothing about the VLAN changes: no upload.
t_harmless() {
	vlan_up one
	hold_start 4 --bytes "$(kib 512)" $(ulp)
	ip -n $A link set $VA mtu 1400 && ip -n $A link set $VA txqueuelen 10 &&
		ip -n $A link set $VA type vlan ingress-qos-map 1:1 &&
		ip -n $A link add link $DA name other type vlan id 7 && ip -n $A link set other up &&
		ip -n $A link set other down && ip -n $A link del other || fail "changes"
	is_toe && expect_eq "$(delta a toe_uploads)" "$(uploads_in_passing a)" "uploads"
	hold_end
	expect_no_entries
}

# What the target does not do stays with the host stack.
t_refused() { # reorder|id0|three
	vlan_up one
	case $1 in
	reorder)
		ip -n $A link set $VA type vlan reorder_hdr off || fail "reorder_hdr"
		;;
	id0)
		ip -n $A link del $VA && ip -n $B link del $VB
		ip -n $A link add link $DA name $VA type vlan id 0 &&
			ip -n $B link add link $DB name $VB type vlan id 0 || fail "VLAN 0"
		;;
	three)
		for end in a b; do
			dev=$(dev_of $end)
			in_ns $end ip link del $dev.v
			in_ns $end ip link set $dev mtu 1508
			in_ns $end ip link add link $dev name $dev.1 type vlan protocol 802.1ad id 1
			in_ns $end ip link add link $dev.1 name $dev.2 type vlan id 2
			in_ns $end ip link add link $dev.2 name $dev.v mtu 1500 type vlan id 3
			in_ns $end ip link set $dev.1 up
			in_ns $end ip link set $dev.2 up
		done
		;;
	esac
	vlan_addresses a && vlan_addresses b || fail "addresses"
	resolve
	snap a
	need_xfer 4 --bytes "$(kib 256)" $(ulp) --ulp-try
	is_toe || return 0
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	expect_ge "$(delta a toe_refuse_vlan)" 1 "refusals"
}

# Filters of the VLAN device itself.
t_filter() { # qdisc|tc_filter
	need tc
	vlan_up one
	case $1 in
	qdisc) in_a tc qdisc add dev $VA root pfifo || skip "no pfifo" ;;
	tc_filter) in_a tc qdisc add dev $VA clsact && in_a tc filter add dev $VA egress matchall action ok ||
		skip "no clsact" ;;
	esac
	snap a
	need_xfer 4 --bytes "$(kib 256)" $(ulp) --ulp-try
	is_toe || return 0
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	expect_ge "$(delta a toe_refuse_$1)" 1 "refusals"
	expect_ge "$(delta b toe_offloads)" 1 "offloads of the other end"
}

# One that comes later, on any device of the way, with nothing to be sent.
t_filter_later() { # one|qinq top|middle
	local dev=$2
	need tc
	need_toe
	vlan_up "$1"
	case $dev in
	top) dev=$VA ;;
	middle) dev=$DA.s ;;
	esac
	hold_start 4 --bytes "$(kib 256)" $(ulp)
	snap a
	in_a tc qdisc add dev $dev clsact && in_a tc filter add dev $dev ingress matchall action ok ||
		skip "no clsact"
	until_ok 5 uploaded_by_tc || fail "still offloaded"
	in_a tc qdisc del dev $dev clsact
	hold_end
}

uploaded_by_tc() { [ "$(delta a toe_upload_tc_filter)" -ge 1 ]; }

# VLAN devices with link addresses of their own.
t_own_address() { # FAMILY one|qinq
	vlan_up "$2"
	ip -n $A link set $VA address 02:00:00:00:77:0a && ip -n $B link set $VB address 02:00:00:00:77:0b ||
		fail "address"
	ip -n $A neigh flush all
	ip -n $B neigh flush all
	resolve
	need_xfer "$1" --bytes "$(kib 512)" $(ulp)
	expect_offloaded "$(kib 512)"
	expect_no_entries
}

t_mtu() { # MTU
	need tcpdump
	vlan_up one
	plain_frames
	in_a ethtool -K $VA tso off gso off
	ip -n $A link set $VA mtu "$1" || fail "mtu"
	frames_of $DA
	need_xfer 4 --bytes "$(kib 256)" $(ulp)
	captured $DA
	expect_offloaded "$(kib 256)"
	expect_le "$(longest $DA)" $(($1 + 18)) "longest frame"
	expect_ge "$(longest $DA)" $(($1 - 82)) "longest frame"
}

t_auto() { # FAMILY one|qinq
	need_toe
	vlan_up "$2"
	knob a policy auto && knob b policy auto || fail "policy"
	hold_start "$1" --bytes "$(kib 1024)"
	until_ok 10 has_connections a 1 && until_ok 10 has_connections b 1 || fail "not offloaded"
	hold_end
	expect_offloaded "$(kib 1024)"
	expect_no_entries
}

# Taken back and offloaded again, all the time.
t_flip() { # FAMILY one|qinq
	vlan_up "$2"
	is_toe && bg uploader a 0.1
	need_xfer "$1" --bytes "$(kib 4096)" --conns 3 --wait epoll $(ulp) --ulp-try --flip 100k
	end_bg
	expect_no_entries
}

# Priority-tagged frames (VLAN 0) are the device's own, as if there was no tag.
t_priority_tagged() {
	vlan_up one
	A4=203.0.113.1 B4=203.0.113.2
	ip -n $A addr add $A4/24 dev $DA
	ip -n $B link del $VB
	# Not in the way of what comes in without a tag: only its frames have one.
	ip -n $B link add link $DB name $VB address "$(ns_cat b /sys/class/net/$DB/address)" type vlan id 0 &&
		ip -n $B link set $VB up && ip -n $B addr add $B4/24 dev $VB || fail "VLAN 0"
	# Each end answers by another device than it was asked.
	ip -n $A neigh replace $B4 lladdr "$(ns_cat b /sys/class/net/$DB/address)" dev $DA nud permanent &&
		ip -n $B neigh replace $A4 lladdr "$(ns_cat a /sys/class/net/$DA/address)" dev $VB nud permanent ||
		fail "neighbours"
	for dev in all $DB $VB; do
		in_b sh -c "echo 0 >/proc/sys/net/ipv4/conf/$dev/rp_filter"
	done
	pings a $B4 || fail "no echo"
	snap a
	need_xfer 4 --bytes "$(kib 256)" $(ulp client) --ulp-try
	is_toe || return 0
	expect_eq "$(offloads a)" 1 "offloads"
	expect_no_entries
}

run "transfer 4 one" "transfer 6 one" "transfer 4 qinq" "transfer 6 qinq" \
	"frames 4 one on" "frames 6 one on" "frames 4 one segments" "frames 4 one tags" \
	"frames 6 qinq on" "frames 4 qinq segments" "frames 4 qinq tags" \
	"equal_tuples 4" "equal_tuples 6" "priority so_priority" "priority map" \
	"change down 4 one" "change deleted 4 one" "change moved 4 one" "change address 4 one" \
	"change reorder 4 one" "change down 6 qinq" "change lower_down 4 qinq" "change deleted 6 qinq" \
	harmless "refused reorder" "refused id0" "refused three" "filter qdisc" "filter tc_filter" \
	"filter_later one top" "filter_later qinq top" "filter_later qinq middle" \
	"own_address 4 one" "own_address 6 qinq" "mtu 1300" "auto 4 one" "auto 6 qinq" \
	"flip 4 one" "flip 6 qinq" priority_tagged
