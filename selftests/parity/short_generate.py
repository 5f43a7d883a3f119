# SPDX-License-Identifier: GPL-2.0
"""Scripts for both ends, drawn from a seed."""

import random

import generate
import run

SIZES = [1, 2, 10, 100, 500, 1000, 1448, 2000, 4000, 8000, 15000]
# Bytes that may wait for a reader, so that the window never shuts: how much of it one way or
# the other uses is nothing to compare.
ROOM = 30000
WORDS = ["PEEK", "TRUNC", "WAITALL", "OOB", "DONTWAIT"]
OPTIONS = [
    ("TCP_NODELAY", [0, 1]), ("TCP_CORK", [0, 1]), ("TCP_QUICKACK", [0, 1]),
    ("SO_RCVLOWAT", [1, 500, 5000]), ("SO_RCVBUF", [200000, 400000]),
    ("SO_SNDBUF", [200000, 400000]), ("TCP_NOTSENT_LOWAT", [1, 5000, 100000]),
    ("TCP_WINDOW_CLAMP", [60000, 200000]), ("SO_PEEK_OFF", [-1, 0, 100]), ("TCP_INQ", [0, 1]),
    ("SO_OOBINLINE", [0, 1]), ("SO_KEEPALIVE", [0, 1]), ("TOS", [0, 0x10])]
GETS = ["SO_RCVLOWAT", "TCP_NODELAY", "TCP_CORK", "SO_PEEK_OFF", "TCP_NOTSENT_LOWAT", "SO_ERROR",
        "TCP_INQ", "SO_OOBINLINE"]


class Draw:
    """Each method is a call; its weight is in WEIGHTS."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.waiting = {"a": 0, "b": 0}  # what may wait for that end at most
        self.end = "a"
        self.before = []
        self.watched = {}

    @property
    def other(self):
        return "b" if self.end == "a" else "a"

    def size(self, most=15000):
        return self.r.choice([s for s in SIZES if s <= most])

    def sent(self, n):
        """There is room for N bytes; else all is read first."""
        if self.waiting[self.other] + n > ROOM:
            self.waiting[self.other] = 0
            self.before = [f"{self.other} read {2 * ROOM}"] * 2
        self.waiting[self.other] += n

    def write(self):
        n, word = self.size(), self.r.choice(["", "", "", "", "", " MORE", " DONTWAIT"])
        self.sent(n + 10)
        # What waits for more leaves with a frame of the other end that is not predicted, and
        # whether one is hangs on the window that it brings.
        more = f"; {self.end} write 10" if word == " MORE" else ""
        return f"write {n}{word}{more}"

    def write_small(self):
        sizes = [self.size(500) for _ in range(self.r.randint(2, 4))]
        self.sent(sum(sizes))
        return f"; {self.end} ".join(f"write {n}" for n in sizes)

    def write_oob(self):
        n = self.size(500)
        self.sent(n)
        return f"write {n} OOB"

    def writev(self):
        sizes = [self.size(2000) for _ in range(self.r.randint(2, 4))]
        self.sent(sum(sizes))
        return "writev " + " ".join(map(str, sizes))

    def sendfile(self):
        n = self.size(8000)
        self.sent(n)
        return f"sendfile {n}"

    def read(self):
        n = self.r.choice(SIZES + [2 * ROOM])
        word = self.r.choice([""] * 6 + WORDS)
        return f"read {n} {word}".rstrip()

    def recvmsg(self):
        return f"recvmsg {self.size()}"

    def splice(self):
        return f"splice {self.size(8000)}"

    def option(self):
        name, values = self.r.choice(OPTIONS)
        return f"set {name} {self.r.choice(values)}"

    def get(self):
        return f"get {self.r.choice(GETS)}"

    def ioctl(self):
        return f"ioctl {self.r.choice(['INQ', 'OUTQ', 'OUTQNSD', 'ATMARK'])}"

    def epoll(self):
        self.watched[self.end] = True
        return self.r.choice(["epoll IN OUT ET RDHUP", "epoll IN ET", "epoll IN OUT RDHUP PRI",
                              "epoll OUT ET"])

    def sigio(self):
        return "sigio"

    def shutdown(self):
        return f"shutdown {self.r.choice(['WR', 'WR', 'RD', 'RDWR'])}"

    def close(self):
        return self.r.choice(["close", "close", f"set SO_LINGER 1:0; {self.end} close"])


WEIGHTS = {"write": 18, "write_small": 10, "write_oob": 2, "writev": 4, "sendfile": 2, "read": 24,
           "recvmsg": 4, "splice": 3, "option": 9, "get": 3, "ioctl": 3, "epoll": 3, "sigio": 1,
           "shutdown": 2, "close": 1}
LAST = ("shutdown", "close")


def script(seed):
    d = Draw(seed)
    r = d.r
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    # So that bytes do pass, whatever comes after it.
    steps = ["a write 100"]
    d.waiting["b"] = 100
    count = r.randint(6, 14)
    for i in range(count):
        parts = []
        # Now and then several calls without a pause, of both ends.
        for _ in range(r.choice([1, 1, 1, 2, 3])):
            d.end = r.choice("ab")
            kind = r.choices(kinds, weights)[0]
            if kind in LAST and i < count - 3:
                kind = "write"
            part = f"{d.end} {getattr(d, kind)()}"
            parts += [*d.before, part]
            d.before = []
        steps.append("; ".join(parts))
        for end in d.watched:
            if r.random() < 0.5:
                steps.append(f"{end} epwait")
    return run.Script(f"seed_{seed}", steps, (), (), (4 if seed % 2 == 0 else 6,))
