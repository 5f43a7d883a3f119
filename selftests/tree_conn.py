#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A connection that looks at what its offload does, for tree_lib.sh.

    tree_conn.py slow_start ADDRESS PORT DEVICE
    tree_conn.py options ADDRESS PORT DEVICE [COMMAND...]
    tree_conn.py host_first ADDRESS PORT DEVICE COMMAND...

Runs where DEVICE is, against `toe_conn serve`. Says what is wrong and exits with 1.
"""

# What few need is imported there: on an emulated machine each module takes its time.
import os
import socket
import struct
import sys
import time

TCP_ULP = 31


def counters(dev):
    import subprocess

    # Of the namespace that this runs in.
    command = [os.environ["TOE_NS"], "", "counters", dev]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    pairs = (line.split(":") for line in text.splitlines() if line.count(":") == 1)
    return {k.strip(): int(v) for k, v in pairs if v.strip()}


class Sniffer:
    """The frames that a device sends for a connection."""

    def __init__(self, s, dev):
        self.v6 = s.family == socket.AF_INET6
        self.port = s.getsockname()[1]
        everything = socket.htons(3)
        self.fd = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        self.fd.bind((dev, 0))
        self.fd.setblocking(False)

    def data(self):
        """TOS or traffic class, and TTL or hop limit, of each frame with data since the
        last call."""
        found = []
        while True:
            try:
                frame = self.fd.recv(1 << 16)
            except BlockingIOError:
                return found
            ip = frame[14:]
            if self.v6 and ip[0] >> 4 == 6 and ip[6] == socket.IPPROTO_TCP:
                fields = (ip[0] << 4 | ip[1] >> 4) & 255, ip[7]
                tcp = ip[40:]
            elif not self.v6 and ip[0] == 0x45 and ip[9] == socket.IPPROTO_TCP:
                fields = ip[1], ip[8]
                tcp = ip[20 : int.from_bytes(ip[2:4], "big")]
            else:
                continue
            if int.from_bytes(tcp[:2], "big") == self.port and len(tcp) > tcp[12] >> 4 << 2:
                found.append(fields)


def window(s):
    """cwnd and ssthresh, from TCP_INFO."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    words = struct.unpack_from("=24I", info, 8)
    return words[18], words[17]


def drained(s):
    """Waits until all that was sent is acknowledged."""
    for _ in range(200):
        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        if struct.unpack_from("=24I", info, 8)[4] == 0:
            return
        time.sleep(0.05)
    sys.exit("what was sent is not acknowledged")


def echoed(s, size):
    """Sends without a pause and reads meanwhile, for the other end reads only as fast as
    it can send."""
    import threading

    def read():
        left = size
        while left:
            got = len(s.recv(min(left, 1 << 16)))
            if not got:
                return
            left -= got

    reader = threading.Thread(target=read)
    reader.start()
    s.sendall(b"x" * size)
    reader.join()
    drained(s)


def options(s, dev, reroute=()):
    """Each option becomes an update of the connection's object, and is in the next frame
    of the target's if it is in frames at all; so it is after the command `reroute`, which
    makes the route invalid before each option."""
    sniffer = Sniffer(s, dev)
    expected = [0, 64]
    steps = [
        ("SO_PRIORITY", socket.SOL_SOCKET, 12, 5),
        ("SO_KEEPALIVE", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ("TCP_KEEPIDLE", socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
        ("TCP_KEEPINTVL", socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 33),
        ("TCP_KEEPCNT", socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
        ("TCP_NODELAY", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        ("TCP_CORK", socket.IPPROTO_TCP, socket.TCP_CORK, 1),
        ("TCP_CORK off", socket.IPPROTO_TCP, socket.TCP_CORK, 0),
    ]
    if s.family == socket.AF_INET:
        steps += [
            ("IP_TOS", socket.IPPROTO_IP, socket.IP_TOS, 0x10),
            ("IP_TTL", socket.IPPROTO_IP, socket.IP_TTL, 33),
        ]
    else:
        steps += [
            ("IPV6_TCLASS", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x10),
            ("IPV6_UNICAST_HOPS", socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 33),
        ]
    for name, level, opt, value in steps:
        drained(s)
        sniffer.data()
        before = counters(dev)
        if reroute:
            os.spawnvp(os.P_WAIT, reroute[0], reroute)
        s.setsockopt(level, opt, value)
        # With more than a segment: without a valid route the target is told by the next
        # frame of its own, and a cork holds back what is less.
        s.sendall(b"x" * 3000)
        drained(s)
        after = counters(dev)
        frames = sniffer.data()
        if name in ("IP_TOS", "IPV6_TCLASS"):
            expected[0] = value
        elif name in ("IP_TTL", "IPV6_UNICAST_HOPS"):
            expected[1] = value
        if not frames or any(frame != tuple(expected) for frame in frames):
            sys.exit(f"{name}: TOS and TTL {frames}, expected {expected}")
        if after["toe_tx_bytes"] - before["toe_tx_bytes"] < 100:
            sys.exit(f"{name}: it was not the target that sent")
        # Some make the host stack look for another route: the target is told with that.
        told = [after[c] - before[c] for c in ("toe_update_option", "toe_update_route")]
        if max(told) < 1:
            sys.exit(f"{name}: the target was not told")
        if after["toe_uploads"] != before["toe_uploads"]:
            sys.exit(f"{name}: the connection was uploaded")
    # What is what it was is not told again.
    before = counters(dev)
    for _, level, opt, value in steps[-1:] * 3:
        s.setsockopt(level, opt, value)
    if counters(dev)["toe_update_option"] != before["toe_update_option"]:
        sys.exit("the target was told of what is the same")


def slow_start(s, dev):
    """Congestion window and threshold move over, on, and back."""
    # Cubic leaves slow start when round trips get longer, without any loss.
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    first = window(s)
    s.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"toe")
    if window(s) != first:
        sys.exit(f"window and threshold {first} became {window(s)} by the offload")
    echoed(s, 1 << 20)
    grown = window(s)
    # A little of it may be the host stack's doing, in a special case.
    if grown[0] < 2 * first[0]:
        sys.exit(f"the window does not grow: {first[0]}, then {grown[0]}")
    if grown[1] != first[1]:
        sys.exit(f"slow start ended without a loss: threshold {grown[1]}")
    handled = counters(dev)
    if handled["toe_tx_bytes"] < 1 << 18:
        sys.exit(f"only {handled['toe_tx_bytes']} bytes were sent by the target")
    with open(f"/sys/class/net/{dev}/toe/upload_all", "w") as f:
        f.write("1")
    if window(s) != grown:
        sys.exit(f"window and threshold {grown} became {window(s)} by the upload")
    echoed(s, 100000)


def host_first(s, dev, command):
    """The route changes, and the host stack has the first frame after that; the rest are the
    target's again."""
    echoed(s, 1000)
    os.spawnvp(os.P_WAIT, command[0], command)
    before = counters(dev)
    s.send(b"!", socket.MSG_OOB)
    drained(s)
    for _ in range(20):
        s.sendall(b"x" * 1000)
        drained(s)
    after = counters(dev)
    moved = {name: after[name] - before[name] for name in after}
    if moved["toe_special_urg"] < 1 or moved["toe_resyncs"] < 1:
        sys.exit(f"the host stack did not send the first frame, or kept the connection: {moved}")
    if moved["toe_tx_bytes"] < 10000:
        sys.exit(f"it was not the target that sent: {moved}")


def main():
    what, address, port, dev = sys.argv[1:5]
    s = socket.create_connection((address, int(port)))
    if what == "options":
        s.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"toe")
        options(s, dev, sys.argv[5:])
    elif what == "host_first":
        s.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"toe")
        host_first(s, dev, sys.argv[5:])
    else:
        slow_start(s, dev)


main()
