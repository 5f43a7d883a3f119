#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the same-host short cut with plain TCP, as the programs of both ends see it;
test_short_parity.sh starts this in the namespace of end a, and says what there is to set.

    short.py NAMESPACE DEVICE DEVICE ADDRESS ADDRESS ADDRESS ADDRESS FILE...
"""

import contextlib
import copy
import os
import sys

import compare
import pair
import parity
import run
import short_generate
from pair import FRAMES, PLAIN, SHORT

Failure = parity.Failure
GROUP = 10
# How often a difference has to be seen again to be one.
AGAIN = 2

NO_FRAMES = "counted by frames, of which there are none (toe-parity.rst, the same-host short cut)"
BY_ACKS = "moves with the ACKs of frames (toe-parity.rst, the same-host short cut)"
WINDOW = "the window that was offered last: the short cut offers it without a frame, when half " \
         "is used; what it allows is compared by what passes"
TIME = "time"
LAYOUT = "memory of buffers, which are of other sizes"
TABLE = [(f"[ab].{name}", None, why) for name, why in [
    ("info.segs_*", NO_FRAMES),
    ("info.data_segs_*", NO_FRAMES),
    ("info.delivered*", NO_FRAMES),
    ("info.received_*", NO_FRAMES),
    ("info.delivery_rate", "a rate sample is of an ACK"),
    ("info.app_limited", "of a rate sample, which an ACK ends"),
    ("info.rtt", BY_ACKS),
    ("info.rttvar", BY_ACKS),
    ("info.min_rtt", BY_ACKS),
    ("info.rto", BY_ACKS),
    ("info.snd_cwnd", BY_ACKS),
    ("info.snd_ssthresh", BY_ACKS),
    ("info.pacing_rate", "window / srtt"),
    ("info.rcv_rtt", "time"),
    ("info.ato", "between the arrivals of frames"),
    ("info.rcv_mss", "estimated from the sizes of frames"),
    ("info.last_*", TIME),
    ("info.busy_time", TIME),
    ("info.rwnd_limited", TIME),
    ("info.sndbuf_limited", TIME),
    ("info.rcv_ssthresh", WINDOW),
    ("info.rcv_space", "what was read in the time a window takes"),
    ("info.snd_wnd", WINDOW),
    ("info.rcv_wnd", WINDOW),
    ("diag.timer", "the persist timer, see toe-parity.rst, and delayed ACKs"),
    ("diag.retrans", "of that timer"),
    ("diag.expires", TIME),
    ("diag.mem_?", LAYOUT),
    ("diag.rmem", LAYOUT),
    ("diag.wmem", LAYOUT),
    ("diag.fwd_alloc", LAYOUT),
    ("diag.wmem_queued", LAYOUT),
    ("diag.rcvbuf", "tuned by how long a window takes, see toe-parity.rst; `get` compares one set"),
    ("diag.sndbuf", "tuned by the congestion window, see toe-parity.rst; `get` compares one set"),
    ("diag.ulp_info", "the name toe is what the offload looks like"),
    ("diag.sk_bpf_storages", "not a property of TCP"),
]]
# PIECES: what one splice() takes ends with the pipe's slots, and so hangs on where one buffer
# ends; `splice` of a script goes on until it has what it wants.

HOW_MUCH = "how much fits hangs on the sizes of buffers, and on the window; what does not fit " \
           "is compared by `fill`, `drain`, `balance`, `acked` and `unsent`"
# Of scripts that fill a window.
FULL = [(f"[ab].{name}", None, HOW_MUCH) for name in [
    "filled_bytes", "drained_bytes", "INQ", "OUTQ", "OUTQNSD", "diag.rqueue", "diag.wqueue",
    "info.bytes_*", "info.notsent_bytes", "info.unacked", "writable"]] + [
        ("[ab].diag.drops", None, "segments that find no memory")]

CLASSES = {True: compare.class_by(FULL + TABLE), False: compare.class_by(TABLE)}

CONTROL = """= control
a write 1000
b read 600
b write 500; a write 10 OOB
b read 1 OOB
a read 200
"""


def plant(name, change):
    def f(rec):
        for i, (step, n, value) in enumerate(rec.items):
            if n == name:
                rec.items[i] = (step, n, change(value))
                return
        raise LookupError(name)
    return f


# name: (what is planted, what the report has to name)
PLANTS = {name: (plant(item, change), item) for name, item, change in [
    ("result", "a.ret", lambda v: "EAGAIN"),
    ("data", "b.ret", lambda v: v[:-1] + "x"),
    ("poll", "b.poll", lambda v: v + "|HUP"),
    ("writable", "a.writable", lambda v: "0"),
    ("signals", "signals", lambda v: "SIGPIPE"),
    ("inq", "b.INQ", lambda v: v + 1),
    ("outq", "a.OUTQ", lambda v: v + 1),
    ("info", "a.info.bytes_acked", lambda v: v + 1),
    ("info_received", "b.info.bytes_received", lambda v: v - 1),
    ("state", "b.diag.state", lambda v: v + 1),
]}


class Tests(parity.Tests):
    def one(self, script, family, mode):
        mode_of = PLAIN if self.baseline else mode
        r = pair.Run(self.place, script, family, mode_of, CLASSES["full" in script.marks])
        r.go()
        r.wanted = mode
        if self.dump:
            dump(r)
        return r

    @staticmethod
    def compared(plain, other):
        return compare.compare(plain, other, CLASSES["full" in plain.script.marks])

    def both(self, script, family):
        """The runs by frames and past the wire, each against the plain one."""
        plain = self.one(script, family, PLAIN)
        runs, found = [], []
        for mode in (FRAMES, SHORT):
            r = self.one(script, family, mode)
            runs.append(r)
            for d in self.compared(plain, r):
                d.mode = mode
                found.append(d)
        return plain, runs, found

    def differences(self, script, family):
        """What differs each time; what does once is noted."""
        plain, runs, found = self.both(script, family)
        for _ in range(AGAIN if found else 0):
            plain, runs, again = self.both(script, family)
            keys = {(d.mode, d.key) for d in again}
            self.once += [f"{script.name}: {d.mode}, {d}" for d in found
                          if (d.mode, d.key) not in keys]
            found = [d for d in found if (d.mode, d.key) in keys]
            if not found:
                break
        return plain, runs, found

    def script(self, script, family):
        plain, runs, found = self.differences(script, family)
        if found:
            self.first = found[0].kind_of_item
            lines = []
            for mode in (FRAMES, SHORT):
                lines += [f"{mode}: {line}"
                          for line in parity.report([d for d in found if d.mode == mode])]
            raise Failure("\n".join(lines))
        if self.baseline or not self.place.is_toe:
            return
        for r in runs:
            self.passed_as_it_should(r, script)

    @staticmethod
    def passed_as_it_should(r, script):
        h = r.rec.handled
        if r.rec.offload is not True:
            why = [k for k in h if k.startswith("toe_refuse")]
            raise Failure(f"{r.wanted}: not offloaded: {r.rec.offload} {' '.join(why)}")
        passed = h.get("toe_short_bytes", 0)
        if r.wanted == FRAMES and passed:
            raise Failure("bytes went past the wire with the short cut off")
        if r.wanted == SHORT and not passed and "frames" not in script.marks:
            left = [f"{k} {v}" for k, v in h.items() if k.startswith("toe_short")]
            raise Failure(f"no byte went past the wire: {' '.join(left)}")

    def generated(self, seed):
        return short_generate.script(seed)

    def shrinking(self, script, fails):
        return short_generate.generate.shrink(script, fails, least=0)

    # ---- controls

    def plain_twice(self, family):
        script = run.parse(CONTROL)[0]
        runs = [self.one(script, family, PLAIN) for _ in range(2)]
        found = self.compared(*runs)
        if found:
            raise Failure("two plain runs differ:\n" + "\n".join(parity.report(found)))
        self.control = runs

    def planted(self, planting, expected):
        if not self.control:
            self.plain_twice(4)
        plain, other = self.control
        saved = other.rec
        other.rec = copy.deepcopy(saved)
        try:
            planting(other.rec)
            found = self.compared(plain, other)
        finally:
            other.rec = saved
        if not any(d.name == expected for d in found):
            raise Failure(f"a planted difference in {expected} was not found")

    def for_real(self, family, line, expected):
        """The second run has a call that the first has not: no record is touched."""
        script, other = run.parse(CONTROL)[0], run.parse(CONTROL)[0]
        other.steps[1] += f"; {line}"
        runs = [self.one(script, family, PLAIN), self.one(other, family, SHORT)]
        if not any(d.name.startswith(expected) for d in self.compared(*runs)):
            raise Failure(f"`{line}` on one side was not found in {expected}")

    def forgotten(self, family):
        """The short cut is off where it should be auto."""
        script = run.parse(CONTROL)[0]
        r = self.one(script, family, FRAMES)
        r.wanted = SHORT
        with contextlib.suppress(Failure):
            self.passed_as_it_should(r, script)
            raise LookupError("that no byte went past the wire was not found")

    def warm_up(self):
        self.script(run.parse(CONTROL)[0], 4)


def dump(r):
    print(f"## {r.script.name} {r.family} {r.wanted}")
    for step, line in enumerate(r.script.steps):
        print(f"## {step} {line}")
        for s, name, value in r.rec.items:
            if s == step:
                print(f"##     {name} {value}")
    print("##  target:", r.rec.offload,
          {k: v for k, v in r.rec.handled.items() if "short" in k or "frames" in k})


def main():
    ns_b, dev_a, dev_b, a4, b4, a6, b6 = sys.argv[1:8]
    place = pair.Place(ns_b, dev_a, dev_b, {4: (a4, b4), 6: (a6, b6)},
                       int(os.environ["PARITY_KNOB"]))
    tests = Tests(place, bool(os.environ.get("PARITY_BASELINE")))
    tests.add_scripts(sys.argv[8:])
    if not os.environ.get("PARITY_SCRIPT"):
        tests.add_seeds(12, GROUP)
        tests.add("control/plain_twice", tests.plain_twice, 4)
        for line, expected in [("b set SO_RCVLOWAT 5000", "b.poll"), ("a write 1", "b.INQ"),
                               ("b shutdown WR", "a.diag.state"), ("b read 1", "b.ret")]:
            name = "_".join(line.split()[1:])
            tests.add(f"control/for_real {name}", tests.for_real, 4, line, expected)
        if place.is_toe and not tests.baseline:
            tests.add("control/forgotten_short_cut", tests.forgotten, 4)
        for name, (planting, expected) in PLANTS.items():
            tests.add(f"control/{name}", tests.planted, planting, expected)
    with contextlib.suppress(Failure):
        tests.warm_up()
    tests.run()
    tests.end()


if __name__ == "__main__":
    main()
