# SPDX-License-Identifier: GPL-2.0
"""Two runs compared, item by item, each by its class:

    exact   the same
    within  the same but for the time that the offload itself takes
    none    not compared

Each that is not exact has its reason here."""

import fnmatch
import functools
import os

import wire

# How much later or earlier something may be that has no timer behind it: a jiffy.
JIFFY = 1.0  # ms
MS = 1000000
# More frames than any script sends.
FAR = 8000


def wheel(ms):
    """Buckets of the timer wheel are as wide as this for a timer that far away
    (kernel/time/timer.c, LVL_GRAN): a time that differs by less than a jiffy can be
    rounded up into the next one."""
    for level in range(6):
        if ms < 63 * 8 ** level:
            return float(8 ** level)
    return 32768.0


class Within:
    def __init__(self, absolute, relative=0.0):
        self.absolute, self.relative = absolute, relative

    def same(self, a, b):
        return abs(a - b) <= self.absolute + self.relative * max(abs(a), abs(b))

    def __str__(self):
        return f"within {self.absolute:g}" + (f" or {self.relative:.0%}" if self.relative else "")


class Exact:
    def same(self, a, b):
        return a == b

    def __str__(self):
        return "exact"


EXACT = Exact()

# (pattern of the item's name, class, why it is not exact). The first that fits.
TABLE = [
    # The frames' round trip is a step of the script plus what the stack takes to put a
    # frame on the wire and to look at the answer.
    ("info.rtt", Within(200), "microseconds of processing"),
    ("info.rttvar", Within(200), "microseconds of processing"),
    ("info.min_rtt", Within(200), "microseconds of processing"),
    ("info.rcv_rtt", Within(1100), "microseconds; with time stamps, which have ticks of 1 ms"),
    ("info.rto", Within(1000), "srtt + 4 mdev in jiffies, of which each is rounded"),
    ("info.pacing_rate", Within(0, 0.03), "window / srtt"),
    ("info.delivery_rate", Within(0, 0.05), "delivered / time: half a millisecond of a step of 10"),
    ("info.last_*", Within(JIFFY), "a jiffy: taken from tcp_jiffies32"),
    ("info.busy_time", Within(2000), "microseconds from jiffies: a start and a stop, a jiffy each"),
    ("info.rwnd_limited", Within(2000), "as busy_time"),
    ("info.sndbuf_limited", Within(2000), "as busy_time"),
    ("diag.expires", Within(2 * JIFFY), "time left, in jiffies; it was set by a round trip"),
    ("diag.ulp_info", None, "the name toe is what the offload looks like"),
    ("diag.sk_bpf_storages", None, "not a property of TCP"),
    ("stamps", Within(JIFFY), "time"),
    ("frame.tsval", Within(1), "a tick of the time stamp clock"),
]


# Patterns of items that are not compared, to see what else there is: for the developer.
IGNORED = [p for p in os.environ.get("PARITY_IGNORE", "").split(",") if p]


def class_by(table):
    """The class of an item by its name, after a table of that kind."""
    @functools.cache
    def class_of(name):
        if any(fnmatch.fnmatchcase(name, p) for p in IGNORED):
            return None
        for pattern, kind, _ in table:
            if fnmatch.fnmatchcase(name, pattern):
                return kind
        return EXACT
    return class_of


class_of = class_by(TABLE)


def fields(run, f):
    """A segment's fields relative to its connection's beginning."""
    p = run.peer
    isn = run.open_seen or 0
    seq = wire.signed(f.seq - isn)
    n = len(f.data)
    out = {"flags": wire.flag_text(f.flags), "seq": f"{seq}:{seq + n}({n})" if n else f"{seq}"}
    if n and f.data != wire.stream("sut", seq - 1, n):
        out["data"] = "WRONG"
    if f.flags & wire.ACK:
        out["ack"] = wire.signed(f.ack - p.isn)
    out["win"] = f.win
    if f.urg or f.flags & wire.URG:
        out["urg"] = f.urg
    if f.mss is not None:
        out["mss"] = f.mss
    if f.wscale is not None:
        out["wscale"] = f.wscale
    if f.ts:
        out["ecr"] = f.ts[1]
    if f.sack:
        out["sack"] = ",".join(f"{wire.signed(a - p.isn)}:{wire.signed(b - p.isn)}"
                               for a, b in f.sack)
    out["opts"] = " ".join([f.other[0]] + [f"{kind}={value}" for kind, value in f.other[1]])
    out["ttl"], out["tos"] = f.ttl, f"{f.tos:#x}"
    if run.family == 6:
        # Labels are random numbers: the first one, the second one, ...
        out["label"] = run.labels.index(f.label)
    else:
        # The first frame after the handshake sets the mark, for the number is random.
        out["df"] = int(f.df)
        ident = f.id - (run.id0 or 0) & 0xFFFF
        # Those of a SYN, and of what answers when there is no socket any more, are random.
        random = f.flags & (wire.SYN | wire.RST) or ident > FAR
        out["id"] = "random" if random else ident
    if IGNORED:
        # P is a field of its own here.
        if "frame.psh" in IGNORED:
            out["flags"] = out["flags"].replace("P", "")
        out = {k: v for k, v in out.items() if f"frame.{k}" not in IGNORED}
    return out


def text(fields):
    return " ".join(str(v) if k == "flags" else f"{k} {v}" for k, v in fields.items())


class Difference:
    def __init__(self, step, line, name, plain, offloaded, kind):
        self.step, self.line, self.name = step, line, name
        self.plain, self.offloaded, self.kind = plain, offloaded, kind

    @property
    def kind_of_item(self):
        """What is kept when a script is shrunk."""
        return self.name.split(" ")[0].split("#")[0]

    @property
    def key(self):
        return self.step, self.name.split(",")[0]

    def __str__(self):
        return (f"step {self.step} `{self.line}`: {self.name}: plain {self.plain}, "
                f"offloaded {self.offloaded} ({self.kind})")


def show(value):
    return "nothing" if value is None else str(value)


def by_step(items):
    out = {}
    for step, name, value in items:
        out.setdefault(step, []).append((name, value))
    return out


def compare_frames(plain, off, line, step):
    """The frames of one step."""
    a = [x for x in plain.rec.frames if x[0] == step]
    b = [x for x in off.rec.frames if x[0] == step]
    out = []
    for i in range(max(len(a), len(b))):
        x = a[i] if i < len(a) else None
        y = b[i] if i < len(b) else None
        fx = fields(plain, x[2]) if x else {}
        fy = fields(off, y[2]) if y else {}
        tx, ty = text(fx), text(fy)
        name = f"frame {i + 1}"
        if tx != ty:
            if fx.get("seq") == fy.get("seq"):
                name += f" (seq {fx['seq']})"
                odd = [k for k in {**fx, **fy} if fx.get(k) != fy.get(k)]
                tx = " ".join(f"{k} {fx.get(k, 'none')}" for k in odd)
                ty = " ".join(f"{k} {fy.get(k, 'none')}" for k in odd)
            out.append(Difference(step, line, name, tx or "nothing", ty or "nothing", EXACT))
            continue
        if x[2].ts:
            va = wire.signed(x[2].ts[0] - plain.ts0)
            vb = wire.signed(y[2].ts[0] - off.ts0)
            kind = class_of("frame.tsval")
            bound = Within(kind.absolute + wheel(max(x[1], y[1]) / MS) - 1)
            if not bound.same(va, vb):
                out.append(Difference(step, line, f"{name}, tsval of {tx}", str(va), str(vb),
                                      bound))
        da, db = x[1] / MS, y[1] / MS
        kind = Within(JIFFY + (wheel(max(da, db)) if max(da, db) > JIFFY else 0))
        if not kind.same(da, db):
            out.append(Difference(step, line, f"{name}, time in ms of {tx}", f"{da:.3f}",
                                  f"{db:.3f}", kind))
    return out


def compare(plain, off, class_of=class_of):
    """All differences of two runs, in the order of steps."""
    script = plain.script
    out = []
    items_a, items_b = by_step(plain.rec.items), by_step(off.rec.items)
    for step in range(-1, len(script.steps) + 1):
        line = script.steps[step] if 0 <= step < len(script.steps) else "end"
        out += compare_frames(plain, off, line, step)
        a, b = items_a.get(step, []), items_b.get(step, [])
        da, db = dict(a), dict(b)
        if len(da) != len(a) or len(db) != len(b):
            # The same name more than once in a step: one after the other.
            da, db = numbered(a), numbered(b)
        for name in list(da) + [n for n in db if n not in da]:
            kind = class_of(name.split("#")[0])
            if kind is None:
                continue
            va, vb = da.get(name), db.get(name)
            if name.startswith("snmp."):
                va, vb = va or 0, vb or 0
            if va is None or vb is None or isinstance(va, str) or isinstance(vb, str):
                same = va == vb
            elif isinstance(va, list):
                same = len(va) == len(vb) and all(kind.same(x, y) for x, y in zip(va, vb))
            else:
                same = kind.same(va, vb)
            if not same:
                out.append(Difference(step, line, name, show(va), show(vb), kind))
    return out


def numbered(items):
    out, seen = {}, {}
    for name, value in items:
        n = seen[name] = seen.get(name, 0) + 1
        out[name if n == 1 else f"{name}#{n}"] = value
    return out
