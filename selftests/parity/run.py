# SPDX-License-Identifier: GPL-2.0
"""One run of a script, plain or offloaded: does its steps at their times and records
all that can be seen after each.

Steps have absolute times, TICK apart unless the script waits longer, and the first
begins at a round value of jiffies. What the processor needs for a step does so not
shift the later ones, and timers of both runs fall into the same buckets of the
kernel's timer wheel."""

import ctypes
import errno
import fcntl
import gc
import os
import select
import signal
import socket
import struct
import threading
import time
import zlib

import kernel
import names
import wire

MS = 1000000
TICK = 10  # ms
# A multiple of the coarsest bucket of the timer wheel that a script's timers reach
# (kernel/time/timer.c, level 3: 512 jiffies).
ROUND = 4096 * MS
CLOCK_MONOTONIC_COARSE = 6
# ms: longer than any script takes, and what has not been since the machine started.
NEVER = 300000
# So long before a step what came so far is looked at, so that the step itself is prompt.
EARLY = 5
ULP, ULP_NAME = 31, b"toe"


class Script:
    """A name, words that describe it, and its steps: lines of text."""

    def __init__(self, name, steps, marks=(), sysctls=(), families=(4, 6)):
        self.name, self.steps = name, list(steps)
        self.marks, self.sysctls, self.families = set(marks), list(sysctls), tuple(families)

    def text(self):
        head = " ".join([self.name, *sorted(self.marks)] +
                        ([f"ipv{self.families[0]}"] if len(self.families) == 1 else []))
        return "\n".join([f"= {head}"] + [f"sysctl {s}" for s in self.sysctls] + self.steps)


def parse(text):
    """Scripts of a file: `= name mark...`, then `sysctl NAME=VALUE` and steps, a line each."""
    scripts = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        if line.startswith("= "):
            words = line.split()[1:]
            families = [int(w[3]) for w in words if w in ("ipv4", "ipv6")] or (4, 6)
            marks = [w for w in words[1:] if w not in ("ipv4", "ipv6")]
            scripts.append(Script(words[0], [], marks, families=families))
        elif not scripts:
            raise ValueError(f"line {number}: a step before the first `= name`")
        elif line.startswith("sysctl "):
            scripts[-1].sysctls.append(line[7:].strip())
        else:
            scripts[-1].steps.append(line)
    return scripts


class Record:
    """What was seen: items by (step, name), and frames by step."""

    def __init__(self):
        self.items = []  # (step, name, value), in order
        self.frames = []  # (step, delay in ns, Frame)
        self.late = 0
        self.handled = {}
        self.offload = None


class Place:
    """What all runs share: sockets, addresses, the device."""

    def __init__(self, ns_b, dev_a, dev_b, addresses):
        self.dev = dev_a
        self.addresses = addresses  # {4: (sut, peer), 6: ...}
        self.wire = wire.Wire(ns_b, dev_b)
        with open(f"/sys/class/net/{dev_a}/address") as f:
            self.mac = bytes.fromhex(f.read().strip().replace(":", ""))
        self.is_toe = os.path.isdir(f"/sys/class/net/{dev_a}/toe")
        self.diag = kernel.Diag()
        self.ethtool = kernel.Ethtool(dev_a)
        self.runs = 0
        self.signals = []
        libc = ctypes.CDLL(None)
        libc.prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK
        for number in (signal.SIGURG, signal.SIGPIPE, signal.SIGIO):
            signal.signal(number, self._signal)
        # Collected between runs, not within one, and not what is there for good.
        gc.disable()
        gc.freeze()
        self.phase = self._phase()

    @staticmethod
    def _phase():
        """The time, modulo a jiffy, that is farthest from where jiffies advance: what
        happens at it is in the same jiffy in both runs. The coarse clock advances with
        jiffies."""
        old = time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)
        while time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE) == old:
            pass
        return (time.monotonic_ns() + MS // 2) % MS

    def _signal(self, number, _):
        self.signals.append(signal.Signals(number).name)


def sysctl_path(name):
    return "/proc/sys/" + name.replace(".", "/")


class Run:
    def __init__(self, place, script, family, offloaded, plant=None):
        self.place, self.script, self.family = place, script, family
        self.offloaded = offloaded
        self.plant = plant
        self.rec = Record()
        self.step = -1
        self.at = 0  # ms since the start
        self.sock = self.listener = None
        self.who = "sut"
        self.sent = 0  # position in its stream
        self.got = 0
        self.epoll = None
        self.lose = None
        self.bg = None
        self.labels = []
        self.open = True
        self.last_ack = 0
        self.pipe = None

    # ---- time

    def begin(self):
        if self.place.runs % 16 == 0:
            gc.collect()
        now = time.monotonic_ns()
        self.t0 = (now // ROUND + 1) * ROUND + self.place.phase
        if self.t0 - now < 20 * MS:
            self.t0 += ROUND
        self.sleep_to(self.t0)
        # Frames bear the real time.
        self.real = time.time_ns() - time.monotonic_ns()

    def sleep_to(self, when):
        left = when - time.monotonic_ns()
        if left < 0:
            self.rec.late = max(self.rec.late, -left)
            return
        time.sleep(left / 1e9)

    def tick(self, ms=TICK):
        self.at += ms
        if ms > EARLY:
            self.sleep_to(self.t0 + (self.at - EARLY) * MS)
            self.drain()
        self.sleep_to(self.t0 + self.at * MS)
        self.drain()

    # ---- records

    def item(self, name, value):
        self.rec.items.append((self.step, name, value))

    def drain(self):
        """Takes the frames that came, for the record and for the peer."""
        p = self.peer
        for f in self.place.wire.received(self.family):
            if f.dport != p.port:
                continue
            if self.open_seen is None and f.flags & wire.SYN:
                self.open_seen = f.seq
                self.ts0 = f.ts[0] if f.ts else 0
            elif self.id0 is None:
                self.id0 = f.id
            delay = f.at - self.real - self.t0
            self.rec.frames.append((self.step, delay - self.step_at * MS, f))
            if f.label not in self.labels:
                self.labels.append(f.label)
            if f.flags & wire.ACK:
                self.last_ack = f.ack
            if f.data and self.lose:
                skip, n = self.lose
                if skip:
                    self.lose = (skip - 1, n)
                elif n:
                    self.lose = (0, n - 1)
                    continue
            p.note(f)

    # ---- the whole

    def go(self):
        place, family = self.place, self.family
        place.runs += 1
        n = place.runs
        self.addr = place.addresses[family]
        self.ports = (10000 + n, 30000 + n)
        self.open_seen, self.id0, self.ts0 = None, None, 0
        self.peer = wire.Peer(place.wire, family, (place.mac, place.wire.mac),
                              self.addr, self.ports, 0x10000000, lambda: 1000 + self.at)
        saved = []
        try:
            for setting in self.script.sysctls:
                name, value = setting.split("=")
                with open(sysctl_path(name)) as f:
                    saved.append((name, f.read()))
                with open(sysctl_path(name), "w") as f:
                    f.write(value)
            af = socket.AF_INET if family == 4 else socket.AF_INET6
            self.sock = socket.socket(af, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((self.addr[0], self.ports[0]))
            place.wire.received(family)
            place.signals.clear()
            before_dev = place.ethtool.read() if place.is_toe else {}
            self.begin()
            before = kernel.counters()
            self.tick()
            for self.step, line in enumerate(self.script.steps):
                self.step_at = self.at
                for part in line.split(";"):
                    self.do(part.split())
                self.tick()
                self.after()
            self.step = len(self.script.steps)
            self.step_at = self.at
            self.do_info()
            # A look at it can send frames.
            self.tick()
            after = kernel.counters()
            for name, value in kernel.counted(before, after).items():
                self.item(f"snmp.{name}", value)
            if place.is_toe:
                self.rec.handled = kernel.added(before_dev, place.ethtool.read())
            if self.plant:
                self.plant(self)
        finally:
            self.cleanup()
            for name, value in reversed(saved):
                with open(sysctl_path(name), "w") as f:
                    f.write(value)
        return self.rec

    def after(self):
        """What is looked at after each step, and does not touch the socket's lock."""
        place = self.place
        if self.open:
            p = select.poll()
            p.register(self.sock, 0x23FF)
            events = p.poll(0)
            self.item("poll", names.events_text(events[0][1] if events else 0))
        if place.signals:
            self.item("signals", " ".join(place.signals))
            place.signals.clear()

    def cleanup(self):
        self.step = 10000
        peer = self.peer
        if self.bg:
            # Let go whoever waits.
            self.sock.shutdown(socket.SHUT_RDWR)
            self.bg[0].join(1)
        for s in (self.sock, self.listener):
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            except (OSError, AttributeError):
                pass
        if self.open_seen is not None:
            # Whatever is left, an orphan or in TIME_WAIT, ends with a reset.
            peer.win = 0
            for _ in range(2):
                self.place.wire.send(peer.frame(wire.RST | wire.ACK, self.last_ack or peer.nxt,
                                                peer.rcv_nxt))
        for fd in self.pipe or ():
            os.close(fd)
        if self.epoll:
            self.epoll.close()

    def call(self, f, *args):
        """The result of a system call, or the name of its error."""
        try:
            return f(*args)
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))

    def do(self, words):
        verb, args = words[0], words[1:]
        f = getattr(self, f"do_{verb}", None)
        if not f:
            raise ValueError(f"{self.script.name}: unknown step {verb}")
        if not self.open and verb in SOCKET_STEPS:
            self.item("ret", "closed")
            return
        f(*args)

    # ---- the beginning

    @staticmethod
    def keys(args, defaults):
        out = dict(defaults)
        for a in args:
            k, _, v = a.partition("=")
            if k not in out:
                raise ValueError(f"unknown word {a}")
            out[k] = int(v, 0)
        return out

    OPENING = {"mss": 0, "ws": 7, "ts": 1, "sack": 1, "win": 65535, "isn": 0x10000000, "ecn": 0,
               "ttl": 64}

    def opening(self, args, answer):
        k = self.keys(args, self.OPENING)
        p = self.peer
        p.isn = p.nxt = k["isn"] & wire.MASK
        if answer and self.open_ts is None:
            k["ts"] = 0
        p.use_ts = bool(k["ts"])
        mss = k["mss"] or (1460 if self.family == 4 else 1440)
        opts = struct.pack("!BBH", 2, 4, mss)
        if k["sack"]:
            opts += b"\1\1\4\2"
        opts += p.ts_option()
        if k["ws"] >= 0:
            opts += struct.pack("!BBBB", 1, 3, 3, k["ws"])
            p.wscale = k["ws"]
        flags = wire.SYN | (wire.ACK if answer else 0)
        if k["ecn"]:
            flags |= wire.ECE | (0 if answer else wire.CWR)
        ack = p.rcv_nxt if answer else 0
        self.place.wire.send(p.frame(flags, p.isn, ack, win=k["win"], opts=opts,
                                     ttl=k["ttl"]))
        p.nxt = (p.isn + 1) & wire.MASK

    @property
    def open_ts(self):
        for _, _, f in self.rec.frames:
            if f.flags & wire.SYN:
                return f.ts
        return None

    def do_active(self, *args):
        """connect(), SYN/ACK of the peer, ACK."""
        self.sock.setblocking(False)
        self.item("connect", self.call(self.sock.connect, (self.addr[1], self.ports[1])))
        self.tick()
        self.opening(args, True)
        self.tick()
        self.connected()

    def connected(self):
        self.sock.setblocking(True)
        fcntl.fcntl(self.sock, fcntl.F_SETOWN, os.getpid())

    def do_listen(self):
        self.sock.listen(5)
        self.listener = self.sock

    def do_syn(self, *args):
        self.opening(args, False)

    def do_take(self):
        """accept()"""
        self.listener.setblocking(False)
        got = self.call(self.listener.accept)
        if isinstance(got, str):
            self.item("accept", got)
            return
        self.item("accept", "ok")
        self.sock = got[0]
        self.connected()

    def do_passive(self, *args):
        """SYN of the peer, SYN/ACK, ACK, accept()."""
        self.do_listen()
        self.opening(args, False)
        self.tick()
        self.do_peer()
        self.tick()
        self.do_take()

    def do_offload(self):
        if not self.offloaded:
            return
        got = self.call(self.sock.setsockopt, socket.IPPROTO_TCP, ULP, ULP_NAME)
        if self.rec.offload is not True:
            self.rec.offload = True if got is None else got

    def do_upload(self):
        if self.offloaded:
            with open(f"/sys/class/net/{self.place.dev}/toe/upload_all", "w") as f:
                f.write("1")

    # ---- calls

    def do_write(self, n, *flags):
        n = int(n)
        data = wire.stream(self.who, self.sent, n)
        got = self.call(self.sock.send, data, names.flags_of(flags) | socket.MSG_DONTWAIT)
        if isinstance(got, int):
            self.sent += got
        self.item("ret", got)

    def do_writev(self, *sizes):
        parts = []
        at = self.sent
        for n in map(int, sizes):
            parts.append(wire.stream(self.who, at, n))
            at += n
        got = self.call(self.sock.sendmsg, parts, [], socket.MSG_DONTWAIT)
        if isinstance(got, int):
            self.sent += got
        self.item("ret", got)

    def do_sendfile(self, n):
        """A file's pages, not copied."""
        n = int(n)
        fd = os.memfd_create("data")
        os.write(fd, wire.stream(self.who, self.sent, n))
        self.sock.setblocking(False)
        got = self.call(os.sendfile, self.sock.fileno(), fd, 0, n)
        self.sock.setblocking(True)
        os.close(fd)
        if isinstance(got, int):
            self.sent += got
        self.item("ret", got)

    def dontwait(self):
        """What a call does that is not in the background."""
        return 0 if self.bg else socket.MSG_DONTWAIT

    def taken(self, data, peeked=False):
        return f"{len(data)} bytes, crc {zlib.crc32(data):08x}"

    def do_read(self, n, *flags):
        bits = names.flags_of(flags)
        got = self.call(self.sock.recv, int(n), bits | self.dontwait())
        if "TRUNC" in flags and not isinstance(got, str):
            # Data that is thrown away, and a buffer that nobody has written to.
            got = f"{len(got)} bytes"
        self.item("ret", got if isinstance(got, str) else self.taken(got))

    def control(self, anc):
        out = []
        for level, kind, value in anc:
            name = names.CONTROL.get((level, kind), f"{level}:{kind}")
            if name in ("TIMESTAMP", "TIMESTAMPNS", "TIMESTAMPING"):
                # The time within the step is compared as that of a frame is.
                words = struct.unpack(f"={len(value) // 8}q", value)
                stamps = []
                for sec, part in zip(words[::2], words[1::2]):
                    if not sec:
                        stamps.append(0)
                        continue
                    part *= 1000 if name == "TIMESTAMP" else 1
                    ns = sec * 1000000000 + part - self.real - self.t0
                    stamps.append(ns / MS)
                out.append(f"{name} of {len(value)} bytes")
                self.item("stamps", stamps)
            elif name in ("IP_RECVERR", "IPV6_RECVERR"):
                no, origin, kind, code, _, info, data = struct.unpack_from("=IBBBBII", value)
                out.append(f"{name} errno {no} origin {origin} type {kind} code {code} "
                           f"info {info} data {data}")
            elif name.endswith("PKTINFO"):
                out.append(f"{name} {value.hex()}")
            elif len(value) <= 8:
                out.append(f"{name} {int.from_bytes(value, 'little')}")
            else:
                out.append(f"{name} {len(value)} bytes")
        return "; ".join(out)

    def do_recvmsg(self, n, *flags):
        bits = names.flags_of(flags)
        got = self.call(self.sock.recvmsg, int(n), 1024,
                        bits | self.dontwait())
        if isinstance(got, str):
            self.item("ret", got)
            return
        data, anc, msg_flags, _ = got
        self.item("ret", self.taken(data))
        self.item("msg_flags", msg_flags)
        self.item("control", self.control(anc))

    def do_bg(self, *words):
        """A call that may wait, in a thread; `join` says what it returned."""
        self.bg = (threading.Thread(target=self.do, args=(words,), daemon=True), words)
        self.bg[0].start()
        # Until it is in the call.
        time.sleep(0.002)

    def do_join(self):
        t = self.bg[0]
        t.join(0.001)
        self.item("join", "waits" if t.is_alive() else "done")
        if not t.is_alive():
            self.bg = None

    def do_splice(self, n, back="read"):
        if not self.pipe:
            self.pipe = os.pipe()
        self.sock.setblocking(False)
        got = self.call(os.splice, self.sock.fileno(), self.pipe[1], int(n), None, None, 2)
        self.sock.setblocking(True)
        data = os.read(self.pipe[0], got) if isinstance(got, int) and got > 0 else b""
        self.item("ret", f"{got}: {self.taken(data)}")

    def do_set(self, name, value):
        name = names.BY_FAMILY.get(name, {}).get(self.family, name)
        level, opt = names.OPTIONS[name]
        if ":" in value:
            raw = struct.pack("=ii", *map(int, value.split(":")))
        elif name in ("SO_RCVTIMEO", "SO_SNDTIMEO"):
            raw = struct.pack("qq", int(value) // 1000, int(value) % 1000 * 1000)
        elif name == "TCP_CONGESTION":
            raw = value.encode()
        else:
            raw = struct.pack("=I", int(value, 0) & wire.MASK)
        self.item("ret", self.call(self.sock.setsockopt, level, opt, raw))

    def do_get(self, name):
        name = names.BY_FAMILY.get(name, {}).get(self.family, name)
        level, opt = names.OPTIONS[name]
        got = self.call(self.sock.getsockopt, level, opt, 256 if "OPTIONS" in name else 16)
        if name == "SO_INCOMING_NAPI_ID" and isinstance(got, bytes):
            got = "of the device" if any(got) else "none"
        self.item("ret", got if isinstance(got, str) else got.hex())

    def do_ioctl(self, name):
        buffer = bytearray(4)
        got = self.call(fcntl.ioctl, self.sock, names.IOCTLS[name], buffer, True)
        self.item("ret", got if isinstance(got, str) else struct.unpack("=i", buffer)[0])

    def do_epoll(self, *words):
        mask = 0
        for w in words:
            mask |= names.EPOLL_BITS[w]
        mask &= 0xFFFFFFFF
        if self.epoll:
            self.epoll.modify(self.sock, mask)
        else:
            self.epoll = select.epoll()
            self.epoll.register(self.sock, mask)

    def do_epwait(self):
        got = self.epoll.poll(0) if self.epoll else None
        self.item("ret", names.events_text(got[0][1]) if got else "none")

    def do_shutdown(self, how):
        how = {"RD": 0, "WR": 1, "RDWR": 2}[how]
        self.item("ret", self.call(self.sock.shutdown, how))

    def do_close(self):
        self.sock.close()
        self.open = False

    def do_connect_again(self):
        """connect() to AF_UNSPEC: disconnects."""
        libc = ctypes.CDLL(None, use_errno=True)
        got = libc.connect(self.sock.fileno(), bytes(16), 16)
        self.item("ret", errno.errorcode[ctypes.get_errno()] if got else 0)

    def do_info(self):
        if self.open:
            for name, value in kernel.tcp_info(self.sock).items():
                if name.startswith("last_") and value > NEVER:
                    value = "never"
                self.item(f"info.{name}", value)
        d = self.place.diag.query(self.family, (self.addr[0], self.ports[0]),
                                  (self.addr[1], self.ports[1]))
        for name, value in d.items():
            self.item(f"diag.{name}", value)

    # ---- the network

    def do_wait(self, ms):
        self.tick(int(ms))

    def do_lose(self, n, skip="0"):
        """Of the segments with data that come, the next N after SKIP are lost on the way."""
        self.lose = (int(skip), int(n))

    def number(self, text, base, isn):
        """@N: that much after the initial number; +N, -N: from `base`."""
        if text[0] == "@":
            return (isn + int(text[1:], 0)) & wire.MASK
        return (base + int(text, 0)) & wire.MASK

    def do_peer(self, *args):
        p = self.peer
        flags, seq, ack = wire.ACK, p.nxt, p.rcv_nxt
        n = urg = gso = 0
        ttl = tos = win = tsval = tsecr = None
        keep = bad = False
        sack = []
        for a in args:
            key, eq, value = a.partition("=")
            if not eq:
                if key == "keep":
                    keep = True
                    continue
                if key == "badsum":
                    bad = True
                    continue
                flags = 0
                for c in key:
                    for letter, bit in wire.LETTERS:
                        if c == letter:
                            flags |= bit
                            break
                    else:
                        if c != "-":
                            raise ValueError(f"unknown word {key}")
            elif key == "seq":
                seq = self.number(value, p.nxt, p.isn)
            elif key == "ack":
                ack = self.number(value, p.rcv_nxt, p.sut_isn or 0)
            elif key == "data":
                n = int(value)
            elif key == "urg":
                urg = int(value)
            elif key == "win":
                win = int(value)
                p.win = win
            elif key == "ttl":
                ttl = int(value)
            elif key == "tos":
                tos = int(value, 0)
            elif key == "gso":
                gso = int(value)
            elif key == "tsval":
                tsval = p.clock() + int(value)
            elif key == "tsecr":
                tsecr = int(value) if value == "0" else p.ts_recent + int(value)
            elif key == "sack":
                if value == "auto":
                    sack = self.blocks()
                else:
                    for block in value.split(","):
                        a, b = block.split(":")
                        sack.append((p.sut_isn + int(a), p.sut_isn + int(b)))
            else:
                raise ValueError(f"unknown word {key}")
        if urg:
            flags |= wire.URG
        opts = p.ts_option(tsval, tsecr)
        if sack:
            opts += struct.pack("!BBBB", 1, 1, 5, 2 + 8 * len(sack))
            for a, b in sack:
                opts += struct.pack("!II", a & wire.MASK, b & wire.MASK)
        data = wire.stream("peer", (seq - p.isn - 1) & wire.MASK, n)
        self.place.wire.send(p.frame(flags, seq, ack, data, win, urg, opts, ttl, tos, bad, gso))
        if wire.signed(ack - p.una) > 0 or not p.una:
            p.una = ack
        end = (seq + n + bool(flags & wire.FIN)) & wire.MASK
        if not keep and wire.signed(end - p.nxt) > 0:
            p.nxt = end

    def do_icmp(self, what, mtu="0"):
        """An error from the way: host, port (unreachable) or big (the MTU is smaller)."""
        self.place.wire.send(self.peer.icmp(what, int(mtu)))

    def blocks(self):
        """What came out of order, the newest block first, three at most."""
        p = self.peer
        rest = [(a, b) for a, b in p.ooo if wire.signed(b - p.rcv_nxt) > 0]
        out = []
        for a, b in rest:
            merged = [a, b]
            keep = []
            for c, d in out:
                if wire.signed(merged[0] - d) <= 0 and wire.signed(c - merged[1]) <= 0:
                    if wire.signed(c - merged[0]) < 0:
                        merged[0] = c
                    if wire.signed(d - merged[1]) > 0:
                        merged[1] = d
                else:
                    keep.append((c, d))
            out = [tuple(merged)] + keep
        return out[:3]

    def do_drain(self, rounds="5"):
        """The peer acknowledges what came, once a tick."""
        for _ in range(int(rounds)):
            old = self.peer.rcv_nxt
            self.tick()
            p = self.peer
            if p.rcv_nxt != old or p.acked != p.rcv_nxt:
                p.acked = p.rcv_nxt
                blocks = self.blocks()
                self.do_peer(*(["sack=auto"] if blocks else []))


SOCKET_STEPS = {"write", "writev", "sendfile", "read", "recvmsg", "splice", "set", "get", "ioctl",
                "epoll", "shutdown", "close", "offload", "bg", "connect_again"}
