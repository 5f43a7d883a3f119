# SPDX-License-Identifier: GPL-2.0
"""One run of a script whose both ends are sockets, one in each namespace: plain,
offloaded by frames, or offloaded with the same-host short cut.

A step is one call or several. After it everything settles: nothing waits for an ACK, or
nothing moves any more. No timer but that of delayed ACKs, which is short, runs out within a
script, so that a state without motion is one that only a program's call ends. Then all
that a program can see of both ends is recorded."""

import contextlib
import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import struct
import threading
import time

import kernel
import names
import run
import wire

PLAIN, FRAMES, SHORT = "plain", "by frames", "short cut"
CLONE_NEWNET = 0x40000000
TCP_DELACK_MAX_US = 46
# us: two jiffies, the least there is.
DELAY = 2000
# Looks, each LOOK s after the last, without a change until what waits is taken to wait for
# good; and if nothing waits.
LOOK = 0.001
STILL, QUIET = 15, 2
# s: what moves longer than that is a failure.
MOVES = 20
ENDS = ("a", "b")
# SIGIO of each end, which bears the reason.
SIGIO = {"a": signal.SIGRTMIN + 1, "b": signal.SIGRTMIN + 2}
F_SETSIG = 10
# si_code of SIGIO (asm-generic/siginfo.h).
REASONS = {1: "IN", 2: "OUT", 3: "MSG", 4: "ERR", 5: "PRI", 6: "HUP"}
WRITABLE = 4 | 256
CHUNK = 50000
SENDS, ENDS_IT = {"write", "writev", "sendfile"}, {"shutdown", "close"}


@contextlib.contextmanager
def inside(namespace):
    """This thread is in the namespace of that name."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)

    def enter(fd):
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")

    enter(there)
    try:
        yield
    finally:
        enter(here)
        os.close(here)
        os.close(there)


def in_background():
    return threading.current_thread() is not threading.main_thread()


class Place:
    """What all runs share: devices, listeners, signals."""

    def __init__(self, ns_b, dev_a, dev_b, addresses, knob_b):
        self.addresses = addresses  # {4: (a, b), 6: ...}
        self.is_toe = os.path.isdir(f"/sys/class/net/{dev_a}/toe")
        self.knobs = []
        if self.is_toe:
            self.knobs = [os.open(f"/sys/class/net/{dev_a}/toe/short_cut", os.O_RDWR), knob_b]
        self.diag = {"a": kernel.Diag()}
        self.ethtool = [kernel.Ethtool(dev_a)]
        self.listeners = {}
        with inside(ns_b):
            self.diag["b"] = kernel.Diag()
            self.ethtool.append(kernel.Ethtool(dev_b))
            for family, (_, addr) in addresses.items():
                s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((addr, 7000))
                s.listen(5)
                self.listeners[family] = s
        self.mode = None
        self.runs = 0
        # They are taken when a step has settled.
        self.watched = {signal.SIGURG, signal.SIGPIPE, signal.SIGIO, *SIGIO.values()}
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, self.watched)
        gc.disable()
        gc.freeze()

    def set_mode(self, mode):
        if mode != self.mode:
            for fd in self.knobs:
                os.pwrite(fd, b"auto" if mode == SHORT else b"off", 0)
            self.mode = mode

    def counters(self):
        """Of both devices together."""
        if not self.is_toe:
            return {}
        one, two = (e.read() for e in self.ethtool)
        return {k: v + two.get(k, 0) for k, v in one.items()}

    def signals(self):
        """Those that came, each once: how many there are of a kind hangs on frames."""
        seen = set()
        while True:
            got = signal.sigtimedwait(self.watched, 0)
            if got is None:
                return " ".join(sorted(seen))
            for end, number in SIGIO.items():
                if got.si_signo == number:
                    seen.add(f"{end}:SIGIO({REASONS.get(got.si_code, got.si_code)})")
                    break
            else:
                seen.add(signal.Signals(got.si_signo).name)


class End(run.Run):
    """One socket, with the calls of a script."""

    def __init__(self, pair, name, sock, addr, ports):
        super().__init__(pair.place, pair.script, pair.family, False)
        self.pair, self.name, self.sock = pair, name, sock
        self.who = "sut" if name == "a" else "peer"
        self.addr, self.ports = addr, ports
        self.other = None
        self.last = {}
        self.got = 0  # position in the other's stream
        self.thread = None
        sock.setsockopt(socket.IPPROTO_TCP, TCP_DELACK_MAX_US, DELAY)
        fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())

    def item(self, name, value):
        if in_background():
            name = f"bg.{name}"
        self.pair.rec.items.append((self.pair.step, f"{self.name}.{name}", value))

    def state(self, name, value):
        """An item that is there after each step, recorded when it has changed."""
        if self.last.get(name) != value:
            self.last[name] = value
            self.item(name, value)

    # ---- calls that the other parity test does not have

    def dontwait(self):
        return 0 if in_background() else socket.MSG_DONTWAIT

    def do_write(self, n, *flags):
        data = wire.stream(self.who, self.sent, int(n))
        got = self.call(self.sock.send, data, names.flags_of(flags) | self.dontwait())
        if isinstance(got, int):
            self.sent += got
        self.item("ret", got)

    def taken(self, data, peeked=False):
        at = self.got
        self.got += len(data)
        if self.pair.full and data == wire.stream(self.other.who, at, len(data)):
            # What it is hangs on how much was written before.
            return f"{len(data)} bytes, right"
        return super().taken(data)

    def do_splice(self, n, back="read"):
        """Into a pipe, N bytes or what there is: see PIECES in short.py."""
        if not self.pipe:
            self.pipe = os.pipe()
        self.sock.setblocking(False)
        data, got = b"", 0
        while len(data) < int(n):
            got = self.call(os.splice, self.sock.fileno(), self.pipe[1], int(n) - len(data),
                            None, None, 2)
            if isinstance(got, str) or not got:
                break
            data += os.read(self.pipe[0], got)
        self.sock.setblocking(True)
        self.item("ret", f"{'' if data else got} {self.taken(data)}")

    def do_poll(self, *words):
        """Waits for these events, in the background."""
        p = select.poll()
        p.register(self.sock, sum(bit for name, bit in names.EVENTS if name in words))
        got = p.poll(None if in_background() else 0)
        self.item("ret", names.events_text(got[0][1]) if got else "none")

    def do_sigio(self):
        fcntl.fcntl(self.sock, F_SETSIG, SIGIO[self.name])
        fcntl.fcntl(self.sock, fcntl.F_SETFL,
                    fcntl.fcntl(self.sock, fcntl.F_GETFL) | os.O_ASYNC)

    def do_fill(self, most="20000000"):
        """Writes until nothing more is taken, even when all has settled."""
        most, done, got = int(most), 0, None
        end = time.monotonic() + MOVES
        while done < most and time.monotonic() < end:
            data = wire.stream(self.who, self.sent, min(CHUNK, most - done))
            got = self.call(self.sock.send, data, socket.MSG_DONTWAIT)
            if isinstance(got, int):
                done += got
                self.sent += got
                continue
            before = self.outq()
            self.pair.settle()
            if got != "EAGAIN" or before == self.outq() and not self.writable():
                break
        self.item("filled", got if isinstance(got, str) else "all")
        self.item("filled_bytes", done)
        self.item("is_full", not self.writable())

    def do_drain(self):
        """Reads until nothing more comes, even when all has settled."""
        wrong, got = None, None
        start = self.got
        while True:
            got = self.call(self.sock.recv, 60000, socket.MSG_DONTWAIT)
            if isinstance(got, bytes) and got:
                if got != wire.stream(self.other.who, self.got, len(got)) and wrong is None:
                    wrong = self.got
                self.got += len(got)
                continue
            if got != "EAGAIN":
                break
            before = self.pair.look()
            self.pair.settle()
            if before == self.pair.look() and not self.inq():
                break
        self.item("drained", "the end" if got == b"" else got)
        self.item("drained_bytes", self.got - start)
        self.item("data", "right" if wrong is None else f"wrong from {wrong} on")
        self.item("is_all", self.got == self.other.sent)
        if self.other.open:
            self.other.item("is_writable", self.other.writable())

    def do_bg(self, *words):
        """A call that may wait, in a thread. After each step is said whether it does."""
        self.bg = threading.Thread(target=self.do, args=(words,), daemon=True)
        self.bg.start()
        self.pair.settle()

    # ---- what is looked at

    def ioctl(self, name):
        if not self.open:
            return 0
        buffer = bytearray(4)
        got = self.call(fcntl.ioctl, self.sock, names.IOCTLS[name], buffer, True)
        return got if isinstance(got, str) else struct.unpack("=i", buffer)[0]

    def inq(self):
        return self.ioctl("INQ")

    def outq(self):
        return self.ioctl("OUTQ") if self.open else self.query().get("wqueue", 0)

    def query(self):
        return self.place.diag[self.name].query(self.family, (self.addr[0], self.ports[0]),
                                                (self.addr[1], self.ports[1]))

    def writable(self):
        p = select.poll()
        p.register(self.sock, 4)
        return any(events & 4 for _, events in p.poll(0))

    def waits(self):
        """Whether the thread's call sleeps; None: there is none."""
        if not self.bg:
            return None
        if not self.bg.is_alive():
            return False
        try:
            with open(f"/proc/self/task/{self.bg.native_id}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "S"
        except OSError:
            return False

    def record(self):
        if self.bg:
            self.item("call", "waits" if self.bg.is_alive() else "done")
            if not self.bg.is_alive():
                self.bg = None
        compared = self.pair.compared
        diag = self.query()
        for name in compared(self.name, "diag", diag):
            self.state(f"diag.{name}", diag[name])
        # 1 for a FIN; and what is read out of turn is not in the stream.
        inq, outq = self.inq(), self.outq()
        if not self.pair.full or self.open and self.other.open:
            self.state("balance", self.sent - outq - self.other.inq() - self.other.got)
        if not self.open:
            return
        p = select.poll()
        p.register(self.sock, 0x23FF)
        events = p.poll(0)
        mask = events[0][1] if events else 0
        unsent = self.ioctl("OUTQNSD")
        self.state("poll", names.events_text(mask & ~WRITABLE))
        self.state("writable", names.events_text(mask & WRITABLE))
        self.state("INQ", inq)
        self.state("OUTQ", outq)
        self.state("OUTQNSD", unsent)
        info = kernel.tcp_info(self.sock)
        for name in compared(self.name, "info", info):
            self.state(f"info.{name}", info[name])
        # The same whatever is on the way.
        if isinstance(outq, int):
            self.state("acked", info["bytes_acked"] - self.sent + outq)
            self.state("unsent", info["notsent_bytes"] - unsent)


class Run:
    """What compare.py compares: `script` and `rec`. CLASS_OF has the class of an item: what
    is not compared is not recorded."""

    def __init__(self, place, script, family, mode, class_of):
        self.place, self.script, self.family, self.mode = place, script, family, mode
        self.class_of = class_of
        self.full = "full" in script.marks
        self.names = {}
        self.rec = run.Record()
        self.step = -1
        self.ends = {}
        # Ends that have sent something since all was settled, and whether one has ended.
        self.active, self.ended = set(), False

    def go(self):
        place = self.place
        place.runs += 1
        if place.runs % 16 == 0:
            gc.collect()
        place.set_mode(self.mode)
        try:
            self.connect()
            place.signals()
            before = place.counters()
            self.rec.offload = True
            if self.mode != PLAIN:
                for end in self.ends.values():
                    got = end.call(end.sock.setsockopt, socket.IPPROTO_TCP, run.ULP, run.ULP_NAME)
                    if got is not None:
                        self.rec.offload = got
            self.settle()
            for self.step, line in enumerate(self.script.steps):
                for part in line.split(";"):
                    self.do(part.split())
                self.settle()
                self.record()
            self.rec.handled = kernel.added(before, place.counters())
        finally:
            self.cleanup()
        return self.rec

    def connect(self):
        place, family = self.place, self.family
        addr = place.addresses[family]
        listener = place.listeners[family]
        a = socket.socket(listener.family, socket.SOCK_STREAM)
        a.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = 10000 + place.runs % 40000
        a.bind((addr[0], port))
        a.connect((addr[1], 7000))
        b = listener.accept()[0]
        self.ends = {"a": End(self, "a", a, addr, (port, 7000)),
                     "b": End(self, "b", b, addr[::-1], (7000, port))}
        self.ends["a"].other, self.ends["b"].other = self.ends["b"], self.ends["a"]

    def compared(self, end, group, fields):
        """The names of those fields that are compared."""
        key = group, *fields
        if key not in self.names:
            self.names[key] = [n for n in fields if self.class_of(f"{end}.{group}.{n}")]
        return self.names[key]

    def do(self, words):
        if words[0] == "wait":
            self.settle()
            time.sleep(int(words[1]) / 1000)
            return
        end, verb = words[:2]
        # Whether what the other end has just done has come is nothing to compare, nor is
        # whether it has been acknowledged.
        others = self.active - {end}
        if others and (verb not in SENDS or self.ended) or self.active and verb == "ioctl":
            self.settle()
        if verb in SENDS | ENDS_IT:
            self.active.add(end)
            self.ended |= verb in ENDS_IT
        self.ends[end].do(words[1:])

    # ---- until nothing moves

    def look(self):
        return [(e.inq(), e.outq(), e.waits()) for e in self.ends.values()]

    def settle(self):
        self.active, self.ended = set(), False
        last, same = None, 0
        end = time.monotonic() + MOVES
        while True:
            now = self.look()
            same = same + 1 if now == last else 0
            moves = any(sleeps is False and e.bg.is_alive()
                        for e, (_, _, sleeps) in zip(self.ends.values(), now))
            waits = any(outq for _, outq, _ in now)
            if not moves and same >= (STILL if waits else QUIET):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{self.script.name}, step {self.step}: no rest: {now}")
            last = now
            time.sleep(LOOK)

    def record(self):
        for end in self.ends.values():
            end.record()
        signals = self.place.signals()
        if signals:
            self.rec.items.append((self.step, "signals", signals))

    def cleanup(self):
        for end in self.ends.values():
            if end.bg:
                # Let go whoever waits.
                with contextlib.suppress(OSError):
                    end.sock.shutdown(socket.SHUT_RDWR)
                end.bg.join(1)
            with contextlib.suppress(OSError):
                end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.sock.close()
            for fd in end.pipe or ():
                os.close(fd)
            if end.epoll:
                end.epoll.close()
