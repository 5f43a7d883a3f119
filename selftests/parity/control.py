# SPDX-License-Identifier: GPL-2.0
"""Negative controls: a difference of each class and of each kind of item, planted in the
record of a run, has to be found; and two plain runs must not differ at all."""

import wire

# Offloaded by nobody, which has to be noticed.
FORGOTTEN = """= forgotten
passive
peer data=1000 P.
read 1000
"""

SCRIPT = """= control
passive
offload
peer data=1000 P.
read 1000
write 5000
drain 4
write 1 OOB
peer data=10 urg=10 P.
ioctl INQ
drain 4
"""


def _item(name, change):
    def plant(rec):
        for i, (step, n, value) in enumerate(rec.items):
            if n == name:
                rec.items[i] = (step, n, change(value))
                return
        raise LookupError(name)
    return plant


def _frame(change, index=3):
    def plant(rec):
        step, delay, f = rec.frames[index]
        changed = change(f)
        rec.frames[index] = (step, delay + (changed or 0), f)
    return plant


def _set(field, value):
    def change(f):
        setattr(f, field, value(getattr(f, field)))
    return change


def _swap(rec):
    """Two frames of one step in the other order."""
    for i in range(len(rec.frames) - 1):
        if rec.frames[i][0] == rec.frames[i + 1][0] and rec.frames[i][2].data:
            rec.frames[i], rec.frames[i + 1] = rec.frames[i + 1], rec.frames[i]
            return
    raise LookupError("two frames of a step")


def _later_stamp(f):
    f.ts = (f.ts[0] + 3, f.ts[1])


# name: (what is planted, what the report has to name)
PLANTS = {
    "exact_result": (_item("ret", lambda v: "EAGAIN"), "ret"),
    "exact_info": (_item("info.snd_cwnd", lambda v: v + 1), "info.snd_cwnd"),
    "exact_diag": (_item("diag.rqueue", lambda v: v + 1), "diag.rqueue"),
    "exact_counter": (_item("snmp.TcpInSegs", lambda v: v + 1), "snmp.TcpInSegs"),
    "exact_counter_gone": (lambda rec: rec.items.append((10, "snmp.TcpExtPlanted", 1)),
                           "snmp.TcpExtPlanted"),
    "exact_poll": (_item("poll", lambda v: v + "|HUP"), "poll"),
    "exact_signal": (_item("signals", lambda v: "SIGPIPE"), "signals"),
    "exact_flags": (_frame(_set("flags", lambda v: v ^ wire.URG)), "frame"),
    "exact_push": (_frame(_set("flags", lambda v: v ^ wire.PSH)), "frame"),
    "exact_window": (_frame(_set("win", lambda v: v + 1)), "frame"),
    "exact_ttl": (_frame(_set("ttl", lambda v: v - 1)), "frame"),
    "exact_tos": (_frame(_set("tos", lambda v: v | 4)), "frame"),
    "exact_data": (_frame(_set("data", lambda v: b"x" * len(v))), "frame"),
    "exact_order": (_swap, "frame"),
    "exact_frame_more": (lambda rec: rec.frames.append(rec.frames[-1]), "frame"),
    "exact_frame_less": (lambda rec: rec.frames.pop(), "frame"),
    "within_info": (_item("info.rtt", lambda v: v + 1000), "info.rtt"),
    "within_rate": (_item("info.pacing_rate", lambda v: v * 1.2), "info.pacing_rate"),
    "within_stamp": (_frame(_later_stamp), "frame"),
    "within_time": (_frame(lambda f: 3000000), "frame"),
}
