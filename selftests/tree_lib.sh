# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Connections that are held, for any test; and the cases of test_tree.sh, which runs on a
# debug kernel, and of test_tree_more.sh, which has more of the same kind than one that is
# emulated does in a few minutes.

# The objects of a device, whole and without the header: `tree DEV`.
read_tree() { # into `lines`
	table_file "$1"
	lines=()
	[ ! -e "${REPLY%/*}/tree:${REPLY##*/}" ] || mapfile -t -s 1 lines <"${REPLY%/*}/tree:${REPLY##*/}"
} 2>/dev/null
tree() {
	local -a lines
	read_tree "$1"
	[ ${#lines[@]} = 0 ] || printf '%s\n' "${lines[@]}"
}
# Of one kind: how many, and a field of the first.
objects() {
	local line n=0
	local -a lines
	read_tree "$1"
	for line in "${lines[@]}"; do
		[[ $line != "$2 "* ]] || n=$((n + 1))
	done
	echo $n
}
field() {
	local line
	local -a lines words
	read_tree "$1"
	for line in "${lines[@]}"; do
		read -ra words <<<"$line"
		[ "${words[0]}" != "$2" ] || { echo "${words[$3 - 1]}"; return; }
	done
}
need_tree() {
	need_toe
	[ -d /sys/kernel/debug/toe ] || skip "no debugfs"
}

# What the target says that its objects lie on is what they were made on: the handle of the
# one line before, by level.
expect_links() { # LEVEL ON
	local line words below=0x0 n=0
	local -a lines
	read_tree $DA
	for line in "${lines[@]}"; do
		[[ $line != *expected* ]] || fail "the target and the framework differ: $line"
		read -ra words <<<"$line"
		[ "${words[0]}" != "$2" ] || below=${words[1]}
		[ "${words[0]}" = "$1" ] || continue
		n=$((n + 1))
		expect_eq "${words[2]}" "$below" "what the $1 lies on"
	done
	[ $n != 0 ] || fail "no $1"
}

# What nothing depends on any more goes, a second after its last connection.
no_objects() { [ -z "$(tree $DA)" ] && [ -z "$(tree $DB)" ]; }
expect_no_objects() {
	until_ok 10 no_objects || fail "objects are left: $(tree $DA) $(tree $DB)"
}

# Connections that stay, and move some data each when they are let go: so many bytes, and
# what else `toe_conn many` can be told.
MANY_BYTES=20000
many=($MANY_BYTES)
held_conns() { # FAMILY COUNT [ulp]
	local asks=0
	[ "$3" = ulp ] && is_toe && asks=1
	server b 7100 "$1"
	hold_conns "$1" "$2" $asks
}
# With the server there, by processes that a command starts.
hold_conns() { # FAMILY COUNT ASKS [COMMAND...]
	rm -f "$WORK/go" "$WORK/ready"
	"${@:4}" ip netns exec $A "$BIN/toe_conn" many "$(addr b "$1")" 7100 "$2" "$3" \
		"$WORK/ready" "$WORK/go" "${many[@]}" &
	held=$!
	echo $held >>"$WORK/pids"
	until_ok 60 ready_or_ended
	[ -e "$WORK/ready" ] || fail "the connections were not made: $(counters a | grep refuse)"
}
ready_or_ended() { [ -e "$WORK/ready" ] || ! kill -0 $held; } 2>/dev/null
let_go() { : >"$WORK/go"; }
held_wait() {
	let_go
	wait $held || fail "the connections failed"
}
held_end() {
	held_wait
	end_bg
}

# A server that sends back what comes.
server() { # END PORT FAMILY
	rm -f "$WORK/listens"
	bg in_ns "$1" "$BIN/toe_conn" serve "$(addr "$1" "$3")" "$2" "$WORK/listens"
	until_ok 20 test -e "$WORK/listens" || fail "the server does not listen"
}

# All connections between two hosts have one path, and one neighbour.
t_shared() { # FAMILY
	need_tree
	fresh
	held_conns "$1" 12 ulp
	expect_eq "$(objects $DA connection)" 0 "connections among the objects"
	expect_eq "$(objects $DA path)" 1 "paths"
	expect_eq "$(objects $DA neighbour)" 1 "neighbours"
	expect_eq "$(objects $DA layer)" 0 "layers"
	expect_eq "$(field $DA path 4)" "$(knob a connections)" "connections on the path"
	expect_eq "$(field $DA neighbour 4)" 1 "paths on the neighbour"
	expect_links path neighbour
	expect_links neighbour layer
	held_end
	expect_no_entries
	expect_no_objects
}

# Another address of the peer's is another path, on the same neighbour if it has the
# same gateway.
t_two_paths() {
	need_tree
	fresh
	ip -n $B addr add 198.51.100.8/32 dev lo
	ip -n $B addr add 198.51.100.9/32 dev lo
	ip -n $A route add 198.51.100.0/24 via $B4
	B4=0.0.0.0 server b 7100 4
	for to in 198.51.100.8 198.51.100.9; do
		bg in_a "$BIN/toe_conn" one to=$to port=7100 ask=1 hold="$WORK/stop"
	done
	until_ok 20 sh -c "[ \$(cat $(table_path $DA) | grep -c delegated) = 2 ]" || fail "not offloaded"
	expect_eq "$(objects $DA path)" 2 "paths"
	expect_eq "$(objects $DA neighbour)" 1 "neighbours"
	expect_eq "$(field $DA neighbour 4)" 2 "paths on the neighbour"
	touch "$WORK/stop"
	until_ok 20 table_empty a || fail "connections are left"
	end_bg
	expect_no_objects
}

# VLAN devices are objects below the neighbours.
t_layers() {
	need_tree
	need_module 8021q
	fresh
	ip -n $A link add link $DA name $DA.s type vlan protocol 802.1ad id 10 &&
		ip -n $B link add link $DB name $DB.s type vlan protocol 802.1ad id 10 &&
		ip -n $A link add link $DA.s name $DA.c mtu 1492 type vlan id 20 &&
		ip -n $B link add link $DB.s name $DB.c mtu 1492 type vlan id 20 || fail "VLAN devices"
	for dev in s c; do
		ip -n $A link set $DA.$dev up
		ip -n $B link set $DB.$dev up
	done
	ip -n $A addr add 198.51.100.1/24 dev $DA.c
	ip -n $B addr add 198.51.100.2/24 dev $DB.c
	B4=198.51.100.2
	pings a $B4 || fail "no way over the VLAN devices"
	held_conns 4 4
	# The devices are there, and frames go through them: their objects are made for the
	# connections, in the operation that hands them over.
	expect_eq "$(tree $DA)" "" "objects before the request"
	knob a policy auto && knob a min_segments 0 || fail "policy auto"
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_added toe_offloads 4 toe_refusals 0 toe_uploads 0 toe_batches 1 toe_batched 4
	expect_eq "$(objects $DA layer)" 2 "layers"
	tree $DA | grep -q "^layer .* 0x0 1 .*proto 0x88a8 id 10" || fail "the lower layer: $(tree $DA)"
	tree $DA | grep -q "^layer .* 1 .*proto 0x8100 id 20" || fail "the upper layer: $(tree $DA)"
	# The path lies on the neighbour, that on the upper one, and that on the lower one.
	expect_links path neighbour
	upper=$(tree $DA | awk '$1 == "layer" && /id 20/ { print $2 }')
	lower=$(tree $DA | awk '$1 == "layer" && /id 10/ { print $2 }')
	expect_eq "$(tree $DA | awk '$1 == "layer" && /id 20/ { print $3 }')" "$lower" "below the upper layer"
	expect_eq "$(field $DA neighbour 3)" "$upper" "below the neighbour"
	snap a
	ip -n $A link set $DA.s down
	until_ok 10 table_empty a || fail "still offloaded"
	expect_ge "$(delta a toe_update_invalid)" 1 "invalidated objects"
	expect_ge "$(delta a toe_upload_vlan)" 1 "uploads by vlan"
	ip -n $A link set $DA.s up
	ip -n $A link set $DA.c up
	ip -n $A addr replace 198.51.100.1/24 dev $DA.c
	held_end
	expect_no_entries
	expect_no_objects
}

# The neighbour's address changes under many connections: one operation, and no frame
# to the old address after it.
t_neighbour() { # FAMILY
	local new=02:00:00:00:77:09 old
	need_tree
	need tcpdump
	fresh
	old=$(ip -n $B -o link show dev $DB | sed 's/.*ether \([^ ]*\).*/\1/')
	held_conns "$1" 12 ulp
	before=$(knob a connections)
	expect_ge "$before" 1 "delegated connections"
	snap a
	# The same device takes frames of both.
	in_b ip link set $DB promisc on
	in_b ip link set $DB address $new
	ip -n $A neigh replace "$(addr b "$1")" lladdr $new nud reachable dev $DA || fail "neigh"
	expect_eq "$(delta a toe_update_neighbour)" 1 "updates of the neighbour"
	tree $DA | grep -q "^neighbour .*lladdr $new" || fail "the target has $(tree $DA)"
	capture old a $DA ether dst "$old" and tcp
	held_end
	captured old
	[ ! -s "$WORK/old.txt" ] || fail "a frame to the old address: $(head -n 3 "$WORK/old.txt")"
	expect_eq "$(delta a toe_upload_neighbour)" 0 "uploads"
	expect_no_entries
}

# Frames to a link address that is nobody's are nobody's, though all before them were taken:
# the peer's host stack drops them, as a NIC's filter would.
t_wrong_neighbour() { # FAMILY
	fresh
	hold_start "$1" --bytes "$(kib 256)" $(ulp)
	! is_toe || snap b
	ip -n $A neigh replace "$(addr b "$1")" lladdr 02:00:00:00:77:99 nud permanent dev $DA ||
		fail "neigh"
	: >"$WORK/hold/go"
	pause 1
	kill -0 $held 2>/dev/null || fail "the transfer ended: $(cat "$WORK/json")"
	! is_toe || expect_eq "$(delta b toe_rx_bytes)" 0 "bytes of frames to another station"
	ip -n $A neigh replace "$(addr b "$1")" lladdr "$(mac_of_b)" nud reachable dev $DA
	hold_end
	expect_no_entries
}

# An entry that goes: nothing is sent until it is known again; then all come back.
t_invalid() {
	need_tree
	fresh
	knob a reoffload_delay_ms 1
	knob a policy auto
	knob a min_segments 0
	held_conns 4 8
	until_ok 20 offloaded_all 8 || fail "not offloaded"
	snap a
	# Nobody answers for a while.
	set_sysctl b net.ipv4.conf.$DB.arp_ignore 8
	ip -n $A neigh del $B4 dev $DA
	until_ok 10 invalid || fail "still valid: $(tree $DA)"
	expect_ge "$(delta a toe_update_invalid)" 1 "invalidated objects"
	set_sysctl b net.ipv4.conf.$DB.arp_ignore 0
	held_end
	expect_no_entries
	expect_no_objects
}
offloaded_all() { [ "$(knob a connections)" -ge "$1" ]; }
invalid() { tree $DA | grep -q '^neighbour .*invalid' || [ "$(objects $DA neighbour)" = 0 ]; }

# The own address goes away under connections, and comes back.
t_address() {
	fresh
	held_conns 4 4 ulp
	is_toe && snap a
	ip -n $A addr del $A4/24 dev $DA || fail "address"
	let_go
	pause 0.5
	ip -n $A addr add $A4/24 dev $DA || fail "address"
	held_end
	is_toe && expect_ge "$(delta a toe_upload_route_change)" 1 "uploads by route_change"
	expect_no_entries
}

# The route's MTU changes: one operation for all connections of the path, and no frame of
# the target's is longer from then on. After a while the old route is dead, with an MTU of 68,
# which TCP goes by until it has sent something.
t_path_mtu() { # [PAUSE]
	local short
	need_tree
	need tcpdump
	fresh
	plain_frames
	ip -n $B addr add 198.51.100.9/32 dev lo
	ip -n $A route add 198.51.100.9 via $B4
	B4=198.51.100.9
	held_conns 4 12 ulp
	# One that stays, and with it the path, however long it takes to look at that.
	rm -f "$WORK/keep"
	bg in_a "$BIN/toe_conn" one to=$B4 port=7100 ask=1 hold="$WORK/keep"
	until_ok 20 sh -c "[ \$(cat $(table_path $DA) | grep -c delegated) = 13 ]" || fail "not offloaded"
	snap a
	tree $DA | grep -q '^path .*mtu 1500' || fail "the path: $(tree $DA)"
	capture path a $DA -s 100 src $A4 and tcp
	ip -n $A route change 198.51.100.9 via 192.0.2.2 mtu lock 900
	pause "${1:-0}"
	held_wait
	expect_eq "$(delta a toe_update_path_mtu)" 1 "updates of the path"
	# As the target has it, who depends on it or not.
	tree $DA | grep -q '^path .*mtu 900' || fail "the path: $(tree $DA)"
	touch "$WORK/keep"
	expect_ge "$(delta a toe_special_path_mtu)" 1 "connections that adapted"
	expect_eq "$(delta a toe_upload_route_change)" 0 "uploads"
	expect_ge "$(delta a toe_tx_bytes)" $((12 * MANY_BYTES / 2)) "bytes sent by the target"
	captured path
	# Full segments, of 900 bytes with their headers.
	expect_eq "$(longest path)" $((14 + 900)) "longest frame"
	expect_eq "$(payload path $A4)" $((12 * MANY_BYTES)) "bytes in the frames"
	short=$(grep -c 'length 36$' "$WORK/path.txt")
	expect_le "$short" $((12 * 10)) "segments as short as the dead route's, an initial window each"
	[ -z "$1" ] || expect_ge "$short" 1 "segments as short as the dead route's"
	expect_no_entries
	expect_no_objects
}

# What `ip monitor` says of neighbours, routes and addresses while a connection moves
# data and its path changes is the same with and without an offload.
monitored() { # FILE [ulp]
	fresh
	: >"$WORK/monitor"
	bg ip -n $A -4 monitor neigh route address >"$WORK/monitor"
	until_ok 20 noticed 198.18.1.0/24 || fail "ip monitor does not begin"
	held_conns 4 4 "$2"
	ip -n $A route add 198.18.0.0/24 dev $DA
	ip -n $A neigh replace $B4 lladdr "$(mac_of_b)" nud reachable dev $DA
	ip -n $A route add $B4/32 dev $DA mtu lock 1200
	pause 0.5
	let_go
	wait $held || fail "the connections failed"
	ip -n $A route del $B4/32
	ip -n $A route del 198.18.0.0/24 dev $DA
	until_ok 20 noticed 198.18.2.0/24 || fail "ip monitor has ended"
	end_bg
	sed "/198\.18\.[12]\.0/d; s/$(mac_of_b)/MAC/" "$WORK/monitor" | sort | uniq -c >"$1"
}
# A route that comes and goes again, and whether ip monitor has said so: it begins when it
# begins, and tells things in their order.
noticed() { # NET
	ip -n $A route replace "$1" dev $DA
	ip -n $A route del "$1" dev $DA
	grep -q "$1" "$WORK/monitor"
}
mac_of_b() { ip -n $B -o link show dev $DB | sed 's/.*ether \([^ ]*\).*/\1/'; }
t_monitor() {
	monitored "$WORK/host"
	monitored "$WORK/target" ulp
	is_toe && expect_ge "$(ctr a toe_offloads)" 4 "offloads"
	expect_ge "$(wc -l <"$WORK/host")" 4 "lines of ip monitor"
	cmp -s "$WORK/host" "$WORK/target" ||
		fail "host stack: $(cat "$WORK/host"); target: $(cat "$WORK/target")"
	expect_no_entries
}

t_options() { # FAMILY [COMMAND...]
	need_toe
	need python3
	fresh
	server b 7100 "$1"
	TOE_NS=$BIN/toe_ns in_a python3 -ISB "$here/tree_conn.py" options "$(addr b "$1")" 7100 $DA "${@:2}" ||
		fail "options"
	end_bg
	expect_no_entries
}

# The same with a route that is invalid each time: one within that of the connection comes
# and goes.
t_options_rerouted() { # FAMILY
	local to=192.0.2.99/32
	[ "$1" = 4 ] || to=2001:db8::99/128
	t_options "$1" sh -c "ip -$1 route add $to dev $DA && ip -$1 route del $to dev $DA"
}

t_slow_start() { # FAMILY
	need_toe
	need python3
	fresh
	no_timers a
	server b 7100 "$1"
	TOE_NS=$BIN/toe_ns in_a python3 -ISB "$here/tree_conn.py" slow_start "$(addr b "$1")" 7100 $DA || fail "slow start"
	end_bg
	no_timers a 0
	expect_no_entries
}

# What end a's connections move when they are let go is moved by the target: the bytes of
# so many connections, with headers. The rest is what comes with the end of a connection.
let_go_delegated() { # CONNECTIONS
	local now way
	snap a
	held_wait
	now=$(counters a)
	for way in tx rx; do
		added a "toe_${way}_bytes" "$now"
		expect_ge $REPLY $(($1 * MANY_BYTES * 3 / 4)) "bytes of $1 connections, toe_${way}_bytes"
		expect_le $REPLY $(($1 * MANY_BYTES * 5 / 4)) "bytes of $1 connections, toe_${way}_bytes"
	done
}

# Connections that were there before the policy are offloaded together when an
# administrator asks, and given back together. They are idle: nobody has a lock of theirs.
t_together() { # FAMILY BATCH
	local n=40 batches batched
	need_tree
	fresh
	knob a batch "$2" || fail "batch"
	held_conns "$1" $n
	snap a
	knob a min_segments 0
	knob a offload_all 1 2>/dev/null && fail "offload_all with policy ulp"
	knob a policy auto
	knob a offload_all 1 || fail "offload_all"
	batches=$(((n + $2 - 1) / $2)) batched=$n
	[ "$2" != 1 ] || batches=0 batched=0
	expect_added toe_offloads $n toe_refusals 0 toe_uploads 0 \
		toe_batches $batches toe_batched $batched
	expect_eq "$(objects $DA path)" 1 "paths"
	expect_eq "$(field $DA path 4)" $n "connections on the path"
	# Once more changes nothing.
	knob a offload_all 1 || fail "offload_all"
	expect_added toe_offloads $n toe_batches $batches
	knob a policy off
	upload_all a
	expect_added toe_upload_admin $n toe_back_batches 1 toe_back_batched $n
	expect_eq "$(knob a connections)" 0 "connections"
	knob a policy auto
	knob a offload_all 1 || fail "offload_all"
	until_ok 10 offloaded_all $n || fail "not offloaded again"
	let_go_delegated $n
	end_bg
	expect_no_entries
	expect_no_objects
}

# The handles of the connections to an address.
handles() { table $DA | awk -v to="$1:" '$4 == "delegated" && index($3, to) == 1 { print $1 }' | sort; }

# Two trees, one of them over a VLAN device, are handed over in one operation. One of
# them is given back in one, and the other goes on where it is.
t_part() {
	local n=12 first second over=198.51.100.2
	need_tree
	need_module 8021q
	fresh
	ip -n $A link add link $DA name $DA.v type vlan id 100 &&
		ip -n $B link add link $DB name $DB.v type vlan id 100 &&
		ip -n $A link set $DA.v up && ip -n $B link set $DB.v up &&
		ip -n $A addr add 198.51.100.1/24 dev $DA.v &&
		ip -n $B addr add $over/24 dev $DB.v || fail "VLAN devices"
	pings a $over || fail "no way over the VLAN devices"
	B4=0.0.0.0 server b 7100 4
	hold_conns 4 $n 0
	first=$held
	B4=$over hold_conns 4 $n 0
	second=$held
	expect_eq "$(tree $DA)" "" "objects before there is a connection on them"
	knob a min_segments 0
	knob a policy auto
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_added toe_offloads $((2 * n)) toe_refusals 0 toe_uploads 0 \
		toe_batches 1 toe_batched $((2 * n))
	expect_eq "$(objects $DA layer) $(objects $DA neighbour) $(objects $DA path)" "1 2 2" \
		"layers, neighbours and paths"
	knob a policy off
	handles $B4 >"$WORK/before"
	expect_eq "$(wc -l <"$WORK/before")" $n "connections without the VLAN device"
	snap a
	ip -n $A link set $DA.v down
	expect_added toe_uploads $n toe_upload_vlan $n toe_back_batches 1 toe_back_batched $n
	expect_eq "$(knob a connections)" $n "connections that stay"
	handles $B4 | cmp -s "$WORK/before" - || fail "others stay: $(table $DA)"
	ip -n $A link set $DA.v up
	held=$first
	let_go_delegated $n
	wait $second || fail "the connections that were given back failed"
	end_bg
	expect_no_entries
	expect_no_objects
}

# A rule may want smaller operations than the device's knob.
t_rule_batch() {
	local batches batched
	need_tree
	fresh
	held_conns 4 24
	printf 'any => offload at_establishment batch 4\nend\n' |
		knob_text a rules || fail "rules"
	knob a policy auto
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_eq "$(offloads a)" 24 "offloads"
	batches=$(delta a toe_batches) batched=$(delta a toe_batched)
	expect_ge "$batches" 4 "batches"
	expect_le "$batched" $((batches * 4)) "connections in $batches batches"
	knob a rules none
	held_end
	expect_no_entries
	expect_no_objects
}

# The limit holds for a batch, too: what it refuses stays with the host stack.
t_partly() {
	need_tree
	fresh
	held_conns 4 30
	knob a min_segments 0
	knob a policy auto
	knob a conn_limit 10 || fail "conn_limit"
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_eq "$(offloads a)" 10 "offloads"
	expect_ge "$(delta a toe_refuse_conn_limit)" 20 "refusals by the limit"
	knob a policy off
	upload_all a
	knob a conn_limit 100000
	# The target's own limit: it refuses a part of the tree.
	until_ok 10 table_empty a || fail "connections are left"
	knob a capacity 12 || fail "capacity"
	knob a policy auto
	snap a
	knob a offload_all 1 || fail "offload_all"
	expect_eq "$(offloads a)" 12 "offloads"
	expect_ge "$(delta a toe_refuse_table_full)" 18 "refusals by the target"
	expect_eq "$(field $DA path 4)" 12 "connections on the path"
	knob a policy off
	held_end
	expect_no_entries
	expect_no_objects
}

# Connections that come and go leave nothing behind.
t_churn() { # FAMILY
	need_tree
	fresh
	need_xfer "$1" --bytes 4k --conns 8 --rounds 25 --wait epoll $(ulp both)
	expect_le "$(objects $DA path)" 1 "paths"
	expect_le "$(objects $DA neighbour)" 1 "neighbours"
	expect_no_entries
	expect_no_objects
}

# Batches while connections move data, are uploaded and given back.
t_stress() {
	local i
	need_toe
	fresh
	auto_policy a b
	knob a reoffload_delay_ms 1
	knob b reoffload_delay_ms 1
	bg offloader a
	bg uploader a 0.05
	bg uploader b 0.03
	need_xfer 4 --bytes "$(kib 512)" --conns 24 --rounds 2 --wait epoll
	need_xfer 6 --bytes "$(kib 512)" --conns 24 --rounds 2 --wait epoll
	end_bg
	expect_ge "$(ctr a toe_offloads)" 48 "offloads"
	knob a policy off
	knob b policy off
	upload_all a
	upload_all b
	expect_no_entries
	expect_no_objects
}
offloader() {
	while :; do
		knob "$1" offload_all 1 2>/dev/null
		pause 0.02
	done
}

# The device goes while objects wait for another connection.
t_deleted() {
	need_tree
	fresh
	need_xfer 4 --bytes 4k --conns 4 --wait epoll $(ulp both)
	ip -n $A link del $DA || fail "link del"
	[ -z "$(tree $DA)" ] || fail "objects are left"
	make_pair && configure || fail "cannot make the pair again"
}

t_knobs() {
	need_toe
	fresh
	expect_eq "$(knob a batch)" 64 "batch"
	for bad in 0 513 -1 x ""; do
		knob a batch "$bad" 2>/dev/null && fail "batch takes '$bad'"
	done
	knob a batch 512 && knob a batch 1 || fail "batch"
	knob a offload_all 0 2>/dev/null && fail "offload_all takes 0"
	true
}
