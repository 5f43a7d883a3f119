# SPDX-License-Identifier: GPL-2.0
"""The peer: frames made by hand and put on the wire by a packet socket, and all frames
that come from the other side, those of several segments cut as a device would cut them.

Nothing answers by itself here. What the peer knows of the connection (its next
number, what it has received, its window) is kept only so that a script can say "the
next 100 bytes" and "all that came"."""

import ctypes
import os
import socket
import struct

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = 1, 2, 4, 8, 16, 32, 64, 128, 256
LETTERS = [("F", FIN), ("S", SYN), ("R", RST), ("P", PSH), (".", ACK), ("U", URG),
           ("E", ECE), ("W", CWR), ("A", AE)]

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_TIMESTAMPNS = 35
NEEDS_CSUM = 1
GSO_TYPES = {4: 1, 6: 4}
GSO_TCPV4, GSO_TCPV6, GSO_ECN = 1, 4, 0x80
CLONE_NEWNET = 0x40000000
MASK = 0xFFFFFFFF

# A stream's byte at a position depends on the position and the direction. The period
# is a prime, so that data that is off by a power of two is not the same.
PERIOD = 65521


def _pattern(seed):
    out = bytearray(PERIOD)
    x = seed
    for i in range(PERIOD):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        out[i] = x >> 16 & 0xFF
    return bytes(out) * 3


PATTERN = {"sut": _pattern(1), "peer": _pattern(2)}


def stream(who, at, n):
    """N bytes of WHO's stream from position AT."""
    at %= PERIOD
    if n <= 2 * PERIOD:
        return PATTERN[who][at:at + n]
    return b"".join(stream(who, at + i, min(PERIOD, n - i)) for i in range(0, n, PERIOD))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return s


def signed(x):
    """A difference of sequence numbers."""
    x &= MASK
    return x - (1 << 32) if x >> 31 else x


def flag_text(flags):
    return "".join(c for c, bit in LETTERS if flags & bit) or "-"


class Frame:
    """A segment that the system under test has sent."""

    __slots__ = ("at", "flags", "seq", "ack", "win", "urg", "data", "ttl", "tos", "df", "id",
                 "label", "mss", "wscale", "sackok", "ts", "sack", "other", "dport", "sport",
                 "super", "hop")


def options(frame, raw):
    frame.mss = frame.wscale = frame.ts = None
    frame.sackok = False
    frame.sack = ()
    other = []
    order = []
    while raw:
        kind = raw[0]
        if kind <= 1:
            order.append("e" if kind == 0 else "n")
            if kind == 0:
                break
            raw = raw[1:]
            continue
        size = raw[1]
        body = raw[2:size]
        raw = raw[size:]
        if kind == 2:
            frame.mss = struct.unpack("!H", body)[0]
        elif kind == 3:
            frame.wscale = body[0]
        elif kind == 4:
            frame.sackok = True
        elif kind == 5:
            words = struct.unpack(f"!{len(body) // 4}I", body)
            frame.sack = tuple(zip(words[::2], words[1::2]))
        elif kind == 8:
            frame.ts = struct.unpack("!II", body)
        else:
            other.append((kind, body.hex()))
        order.append(str(kind))
    frame.other = (",".join(order), tuple(other))


def segments(data, at, family):
    """The segments of one frame as the packet socket gives it, virtio header first."""
    _, gso_type, _, gso_size, _, _ = struct.unpack_from("=BBHHHH", data, 0)
    ip = data[24:]
    if family == 4:
        if data[22:24] != b"\x08\0" or ip[9] != 6:
            return []
        head = (ip[0] & 15) * 4
        total = struct.unpack_from("!H", ip, 2)[0]
        tos, ttl = ip[1], ip[8]
        ident, frag = struct.unpack_from("!HH", ip, 4)
        df, label = bool(frag & 0x4000), 0
    else:
        if data[22:24] != b"\x86\xdd" or ip[6] != 6:
            return []
        head = 40
        total = struct.unpack_from("!H", ip, 4)[0] + 40
        first = struct.unpack_from("!I", ip, 0)[0]
        tos, label, ttl = first >> 20 & 0xFF, first & 0xFFFFF, ip[7]
        ident, df = 0, True
    if total <= head:
        total = len(ip)  # larger than its field: BIG TCP
    tcp = ip[head:total]
    sport, dport, seq, ack, off, win, _, urg = struct.unpack_from("!HHIIHHHH", tcp, 0)
    size = (off >> 12) * 4
    body = tcp[size:]
    proto = Frame()
    options(proto, tcp[20:size])
    kind = gso_type & ~GSO_ECN
    step = gso_size if kind in (GSO_TCPV4, GSO_TCPV6) and gso_size else max(len(body), 1)
    out = []
    for i in range(0, max(len(body), 1), step):
        f = Frame()
        f.mss, f.wscale, f.sackok = proto.mss, proto.wscale, proto.sackok
        f.ts, f.sack, f.other = proto.ts, proto.sack, proto.other
        f.at, f.ttl, f.tos, f.df, f.label = at, ttl, tos, df, label
        f.id = (ident + len(out)) & 0xFFFF
        f.sport, f.dport = sport, dport
        f.seq, f.ack, f.win, f.urg = (seq + i) & MASK, ack, win, urg
        f.data = body[i:i + step]
        f.flags = off & 0x1FF
        if i + step < len(body):
            f.flags &= ~(PSH | FIN)
        if i:
            f.flags &= ~CWR
        f.super = len(body)
        out.append(f)
    return out


class Wire:
    """The packet socket on the peer's device, for one family at a time."""

    def __init__(self, namespace, dev):
        libc = ctypes.CDLL(None, use_errno=True)
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)

        def enter(fd):
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {namespace}")

        enter(there)
        try:
            s = self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
            s.bind((dev, 3))  # ETH_P_ALL
            s.setblocking(False)
            self.mac = s.getsockname()[4]
        finally:
            enter(here)
            os.close(here)
            os.close(there)

    def received(self, family):
        """All segments that came since."""
        out = []
        while True:
            try:
                data, anc, _, _ = self.sock.recvmsg(1 << 17, 64)
            except BlockingIOError:
                return out
            at = 0
            for level, kind, value in anc:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    sec, ns = struct.unpack("qq", value[:16])
                    at = sec * 1000000000 + ns
            out += segments(data, at, family)

    def send(self, frame):
        self.sock.send(frame)


class Peer:
    """One connection's other end."""

    def __init__(self, wire, family, macs, addresses, ports, isn, clock):
        self.wire, self.family = wire, family
        self.sut_mac, self.mac = macs
        self.sut_addr, self.addr = addresses
        self.sut_port, self.port = ports
        self.isn = self.nxt = isn
        self.sut_isn = None
        self.rcv_nxt = 0  # what came in order, as a number of the wire
        self.acked = 0
        self.una = 0  # the highest acknowledgement that a script has sent
        self.win, self.wscale = 65535, 0
        self.use_ts, self.ts_recent = True, 0
        self.clock = clock  # ms of the script, the base of our time stamps
        self.ttl, self.tos = 64, 0
        self.high = 0  # the highest number that came
        self.ooo = []

    def note(self, f):
        """What a frame of the other side tells us."""
        if f.flags & SYN:
            self.sut_isn = f.seq
            self.rcv_nxt = (f.seq + 1) & MASK
            self.high = self.rcv_nxt
            if f.ts:
                self.ts_recent = f.ts[0]
            return
        end = (f.seq + len(f.data) + bool(f.flags & FIN)) & MASK
        if signed(f.seq - self.rcv_nxt) <= 0:
            if f.ts and signed(f.ts[0] - self.ts_recent) >= 0:
                self.ts_recent = f.ts[0]
            if signed(end - self.rcv_nxt) > 0:
                self.rcv_nxt = end
            for a, b in self.ooo and sorted(self.ooo, key=lambda r: signed(r[0] - self.rcv_nxt)):
                if signed(a - self.rcv_nxt) <= 0 and signed(b - self.rcv_nxt) > 0:
                    self.rcv_nxt = b
            self.ooo = [r for r in self.ooo if signed(r[1] - self.rcv_nxt) > 0]
        else:
            self.ooo.append((f.seq, end))
        if signed(end - self.high) > 0:
            self.high = end

    def frame(self, flags, seq, ack, data=b"", win=None, urg=0, opts=b"", ttl=None, tos=None,
              bad_sum=False, gso=0, ports=None):
        """A whole frame, virtio header first; its checksum is left to the device, as the
        one of a frame that came from a host with checksum offload."""
        opts += b"\1" * (-len(opts) % 4)
        off = 20 + len(opts)
        win = self.win if win is None else win
        if not flags & SYN:
            win >>= self.wscale
        win = max(0, min(win, 65535))
        sport, dport = ports or (self.port, self.sut_port)
        tos = self.tos if tos is None else tos
        ttl = self.ttl if ttl is None else ttl
        tcp = struct.pack("!HHIIHHHH", sport, dport, seq & MASK, ack & MASK,
                          off // 4 << 12 | flags, win, 0, urg) + opts
        size = len(tcp) + len(data)
        if self.family == 4:
            src = socket.inet_pton(socket.AF_INET, self.addr)
            dst = socket.inet_pton(socket.AF_INET, self.sut_addr)
            ip = struct.pack("!BBHHHBBH", 0x45, tos, 20 + size, 0, 0x4000, ttl, 6, 0) + src + dst
            ip = ip[:10] + struct.pack("!H", 0xFFFF - checksum(ip)) + ip[12:]
            pseudo = src + dst + struct.pack("!HH", 6, size)
            proto = b"\x08\0"
        else:
            src = socket.inet_pton(socket.AF_INET6, self.addr)
            dst = socket.inet_pton(socket.AF_INET6, self.sut_addr)
            ip = struct.pack("!IHBB", 6 << 28 | tos << 20, size, 6, ttl) + src + dst
            pseudo = src + dst + struct.pack("!IHH", size, 0, 6)
            proto = b"\x86\xdd"
        part = checksum(pseudo)
        if bad_sum:
            # Complete, and wrong.
            tcp = tcp[:16] + struct.pack("!H", part ^ 0x5555) + tcp[18:]
            virtio = bytes(10)
        else:
            tcp = tcp[:16] + struct.pack("!H", part) + tcp[18:]
            kind = GSO_TYPES[self.family] if gso and len(data) > gso else 0
            virtio = struct.pack("=BBHHHH", NEEDS_CSUM, kind, 14 + len(ip) + off,
                                 gso if kind else 0, 14 + len(ip), 16)
        return virtio + self.sut_mac + self.mac + proto + ip + tcp + data

    def icmp(self, what, mtu=0):
        """An ICMP error about a segment at the front of what is not acknowledged."""
        part = struct.pack("!HHI", self.sut_port, self.port, self.una) + bytes(12)
        if self.family == 4:
            src = socket.inet_pton(socket.AF_INET, self.addr)
            dst = socket.inet_pton(socket.AF_INET, self.sut_addr)
            old = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + dst + src
            body = struct.pack("!BBHHH", 3, {"host": 1, "port": 3, "big": 4}[what], 0, 0, mtu) + \
                old + part
            body = body[:2] + struct.pack("!H", 0xFFFF - checksum(body)) + body[4:]
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0) + src + dst
            ip = ip[:10] + struct.pack("!H", 0xFFFF - checksum(ip)) + ip[12:]
            proto = b"\x08\0"
        else:
            src = socket.inet_pton(socket.AF_INET6, self.addr)
            dst = socket.inet_pton(socket.AF_INET6, self.sut_addr)
            old = struct.pack("!IHBB", 6 << 28, 20, 6, 64) + dst + src
            kind, code = {"host": (1, 3), "port": (1, 4), "big": (2, 0)}[what]
            body = struct.pack("!BBHI", kind, code, 0, mtu) + old + part
            sums = checksum(src + dst + struct.pack("!IHH", len(body), 0, 58) + body)
            body = body[:2] + struct.pack("!H", 0xFFFF - sums) + body[4:]
            ip = struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + src + dst
            proto = b"\x86\xdd"
        return bytes(10) + self.sut_mac + self.mac + proto + ip + body

    def ts_option(self, val=None, ecr=None):
        if not self.use_ts:
            return b""
        val = self.clock() if val is None else val
        ecr = self.ts_recent if ecr is None else ecr
        return struct.pack("!BBBBII", 1, 1, 8, 10, val & MASK, ecr & MASK)
