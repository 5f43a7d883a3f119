#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# TCP, UDP and ICMP without any offload: the pair is as good as veth.

. "$(dirname "$0")/lib.sh"

segmentation() { # on|off
	in_a ethtool -K $DA tso $1 gso $1 gro $1 && in_b ethtool -K $DB tso $1 gso $1 gro $1 ||
		fail "cannot switch segmentation $1"
}

t_tcp() { # FAMILY on|off
	need ethtool
	segmentation "$2"
	is_toe && snap a
	need_xfer "$1" --bytes "$(kib 1536)" --tx mix --rx mix
	is_toe && expect_eq "$(delta a toe_offloads)" 0 "offloads nobody asked for"
	expect_eq "$(jget server rx)" "$(jget client tx)" "bytes received"
}

t_tcp_many() { # FAMILY
	need_xfer "$1" --bytes "$(kib 32)" --conns 40 --wait epoll --tx mix --rx mix
}

t_checksums_by_software() {
	need ethtool
	in_a ethtool -K $DA tx off rx off && in_b ethtool -K $DB tx off rx off || fail "ethtool -K"
	need_xfer 4 --bytes "$(kib 512)"
	need_xfer 6 --bytes "$(kib 512)"
	in_a ethtool -K $DA tx on rx on && in_b ethtool -K $DB tx on rx on || fail "ethtool -K"
}

# Each datagram carries its number; the receiver sends them back.
t_udp() { # FAMILY SIZE
	local py=$WORK/udp.py
	need python3
	cat >"$py" <<-'END'
	import random, socket, sys
	role, addr, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
	fam = socket.AF_INET6 if ":" in addr else socket.AF_INET
	s = socket.socket(fam, socket.SOCK_DGRAM)
	s.settimeout(30)
	if role == "server":
	    s.bind((addr, 7777))
	    print("ready", flush=True)
	    while True:
	        data, peer = s.recvfrom(65536)
	        if data == b"end":
	            break
	        s.sendto(data, peer)
	else:
	    rng = random.Random(1)
	    for i in range(50):
	        data = i.to_bytes(4, "big") + rng.randbytes(size - 4)
	        s.sendto(data, (addr, 7777))
	        got, _ = s.recvfrom(65536)
	        if got != data:
	            sys.exit("datagram %d came back changed" % i)
	    s.sendto(b"end", (addr, 7777))
	END
	bg in_b python3 "$py" server "$(addr b "$1")" "$2" >"$WORK/udp.out"
	until_ok 60 grep -q ready "$WORK/udp.out" || fail "no UDP server"
	in_a python3 "$py" client "$(addr b "$1")" "$2" || fail "UDP echo"
}

t_icmp() {
	pings a $B4 5 || fail "IPv4"
	pings a $B6 5 || fail "IPv6"
	pings a $B6 3 8000 || fail "IPv6, fragmented"
}

t_port_unreachable() {
	"$BIN/toe_xfer" --role client --client-ns $A --port 9 $B4 2>"$WORK/err" &&
		fail "connected to a closed port"
	grep -q refused "$WORK/err" || fail "not refused: $(cat "$WORK/err")"
}

t_speed() {
	local ms
	need_xfer 4 --bytes "$(kib 4096)"
	ms=$(sed 's/.*"seconds":\([0-9.]*\).*/\1/' "$WORK/json")
	note "two times $(($(kib 4096) / 1048576)) MiB, checked, in $ms s"
}

pair_up || skip_all "cannot set up the pair"
run "tcp 4 on" "tcp 4 off" "tcp 6 on" "tcp 6 off" "tcp_many 4" "tcp_many 6" \
	checksums_by_software "udp 4 100" "udp 6 100" "udp 4 9000" "udp 6 9000" icmp \
	port_unreachable speed
