# SPDX-License-Identifier: GPL-2.0
"""Scripts drawn from a seed, and what is left of one that fails when every step that it
can do without is gone."""

import random

import run

SIZES = [1, 2, 10, 100, 500, 536, 1000, 1400, 1448, 1460, 2000, 2896, 4000, 8000, 20000, 60000]


class Draw:
    """Each method is a step; its weight is in WEIGHTS."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.cork = False

    def size(self, most=60000):
        return self.r.choice([s for s in SIZES if s <= most])

    def opening(self):
        r = self.r
        words = [r.choice(["active", "passive"])]
        if r.random() < 0.25:
            words.append("ts=0")
        if r.random() < 0.2:
            words.append("sack=0")
        if r.random() < 0.3:
            words.append(f"ws={r.choice([-1, 0, 2, 10])}")
        if r.random() < 0.3:
            words.append(f"mss={r.choice([536, 600, 1000, 1220])}")
        if r.random() < 0.1:
            words.append("isn=0xfffff000")
        return " ".join(words)

    # ---- calls

    def write(self):
        flags = self.r.choice(["", "", "", "", " MORE", " MORE"])
        return f"write {self.size()}{flags}"

    def write_small(self):
        return "; ".join(f"write {self.size(600)}" for _ in range(self.r.randint(1, 4)))

    def writev(self):
        return "writev " + " ".join(str(self.size(4000)) for _ in range(self.r.randint(2, 4)))

    def sendfile(self):
        return f"sendfile {self.size(20000)}"

    def write_oob(self):
        return f"write {self.size(1000)} OOB"

    def read(self):
        flags = self.r.choice(["", "", "", " PEEK", " TRUNC", " WAITALL", " OOB"])
        return f"read {self.size()}{flags}"

    def recvmsg(self):
        return f"recvmsg {self.size()}"

    def splice(self):
        return f"splice {self.size(20000)}"

    def option(self):
        r = self.r
        name, values = r.choice([
            ("TCP_NODELAY", [0, 1]), ("TCP_CORK", [0, 1]), ("TCP_QUICKACK", [0, 1]),
            ("TCP_NOTSENT_LOWAT", [1, 5000, 100000]), ("SO_RCVLOWAT", [1, 500, 5000]),
            ("SO_RCVBUF", [3000, 30000, 300000]), ("SO_SNDBUF", [5000, 50000, 500000]),
            ("TOS", [0, 8, 0x10, 0x88]), ("TTL", [5, 64, 200]), ("SO_KEEPALIVE", [0, 1]),
            ("TCP_KEEPIDLE", [1, 100]), ("TCP_USER_TIMEOUT", [0, 800, 5000]),
            ("TCP_WINDOW_CLAMP", [2000, 20000, 200000]), ("SO_OOBINLINE", [0, 1]),
            ("TCP_INQ", [0, 1]), ("RECVTTL", [0, 1]), ("RECVTOS", [0, 1]),
            ("TCP_MAXSEG", [600, 1200]), ("SO_PEEK_OFF", [-1, 0, 100]), ("TCP_LINGER2", [1, 3]),
            ("SO_PRIORITY", [0, 5]), ("SO_BUSY_POLL", [0, 50]), ("MINTTL", [0, 60]),
            ("SO_MAX_PACING_RATE", [10000000, 0xFFFFFFFF])])
        return f"set {name} {r.choice(values)}"

    def ioctl(self):
        return f"ioctl {self.r.choice(['INQ', 'OUTQ', 'OUTQNSD', 'ATMARK'])}"

    def info(self):
        return "info"

    def epoll(self):
        return self.r.choice(["epoll IN OUT ET RDHUP", "epoll IN ET", "epoll OUT ET"])

    def shutdown(self):
        return f"shutdown {self.r.choice(['WR', 'WR', 'RD'])}"

    # ---- frames

    def data(self):
        return f"peer data={self.size(1400)} {self.r.choice(['P.', '.'])}"

    def burst(self):
        r = self.r
        return "; ".join(f"peer data={self.size(1400)}" for _ in range(r.randint(2, 5))) + \
            r.choice(["", "; peer data=100 P."])

    def ack(self):
        return "peer"

    def ack_part(self):
        return f"peer ack=-{self.size(8000)}"

    def ack_dup(self):
        return "; ".join(["peer keep"] * self.r.randint(1, 4))

    def drain(self):
        return f"drain {self.r.randint(1, 12)}"

    def window(self):
        return f"peer win={self.r.choice([0, 0, 100, 1000, 3000, 10000, 65535, 1000000])}"

    def lose(self):
        return f"lose {self.r.randint(1, 3)} {self.r.choice([0, 0, 1, 3])}"

    def sack(self):
        return "peer sack=auto"

    def hole(self):
        r = self.r
        n, m = self.size(1400), self.size(1400)
        return f"peer seq=+{n} data={m}" + r.choice([
            "", f"; peer seq=-{n + m} data={n}", f"; wait 30; peer seq=-{n + m} data={n}"])

    def again(self):
        n = self.size(1400)
        return f"peer seq=-{n} data={n}"

    def overlap(self):
        n = self.size(1000)
        return f"peer seq=-{n} data={n + self.size(400)}"

    def beyond(self):
        return f"peer seq=+{self.r.choice([70000, 1000000, 0x40000000])} data=100 keep"

    def urgent(self):
        n = self.size(1000)
        return f"peer data={n} urg={self.r.randint(1, n)} P."

    def challenge(self):
        return self.r.choice([
            "peer S keep", "peer S. seq=+10 keep", "peer R seq=+5 keep", "peer ack=+100000 keep",
            "peer ack=-200000 keep", "peer tsval=-5000 data=100 keep", "peer - data=10 keep"])

    def ip(self):
        return f"peer data=100 {self.r.choice(['ttl=5', 'ttl=255', 'tos=0x10', 'tos=0x88'])}"

    def bad(self):
        return "peer data=100 badsum keep"

    def fin(self):
        return "peer F."

    def rst(self):
        return "peer R."

    def wait(self):
        return f"wait {self.r.choice([1, 5, 30, 45, 100, 200, 250, 400, 1000])}"


WEIGHTS = {
    "write": 14, "write_small": 8, "writev": 3, "sendfile": 2, "write_oob": 2, "read": 12,
    "recvmsg": 3, "splice": 2, "option": 8, "ioctl": 3, "info": 3, "epoll": 2, "shutdown": 1,
    "data": 12, "burst": 6, "ack": 6, "ack_part": 3, "ack_dup": 3, "drain": 14, "window": 5,
    "lose": 4, "sack": 3, "hole": 3, "again": 2, "overlap": 2, "beyond": 1, "urgent": 2,
    "challenge": 3, "ip": 2, "bad": 1, "fin": 1, "rst": 0.5, "wait": 7,
}


def script(seed):
    d = Draw(seed)
    r = d.r
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    steps = [d.opening()]
    before = r.choice([0, 0, 0, 1, 4])
    count = r.randint(5, 18)
    for i in range(count):
        if i == before:
            steps.append("offload")
        kind = r.choices(kinds, weights)[0]
        # What leaves nothing to compare comes last, if at all.
        if kind in ("fin", "rst", "shutdown") and i < count - 4:
            kind = "drain"
        steps.append(getattr(d, kind)())
        if "epoll" in steps[-1]:
            steps.append("epwait")
        elif any(s.startswith("epoll") for s in steps) and r.random() < 0.4:
            steps.append("epwait")
    sysctls = []
    if r.random() < 0.15:
        sysctls.append(f"net.ipv4.tcp_slow_start_after_idle={r.choice([0, 1])}")
    if r.random() < 0.1:
        sysctls.append(f"net.ipv4.tcp_mtu_probing={r.choice([1, 2])}")
    if r.random() < 0.1:
        sysctls.append(f"net.ipv4.tcp_congestion_control={r.choice(['reno', 'cubic'])}")
    family = 4 if seed % 2 == 0 else 6
    # What it draws may bring the connection back in its first step.
    return run.Script(f"seed_{seed}", steps, ["host"], sysctls, (family,))


def shrink(script, fails, most=40, least=1):
    """Leaves out what the failure does not need: halves first, then single steps. `fails`
    runs a script; the first steps, LEAST of them, which open the connection, stay."""
    tries = 0
    steps, sysctls = script.steps, script.sysctls
    size = max(1, (len(steps) - least) // 2)

    def same(steps):
        return run.Script(script.name + "_shrunk", steps, script.marks, sysctls,
                          script.families)

    if sysctls:
        without, sysctls = sysctls, []
        if not fails(same(steps)):
            sysctls = without
    while True:
        at, changed = len(steps) - size, False
        while at >= least and tries < most:
            shorter = steps[:at] + steps[at + size:]
            tries += 1
            if shorter and fails(same(shorter)):
                steps, changed = shorter, True
            at -= size
        if tries >= most or (size == 1 and not changed):
            return same(steps)
        size = max(1, size // 2)
