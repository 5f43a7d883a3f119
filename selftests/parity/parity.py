#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares offloaded connections with plain TCP; test_parity.sh starts this in the
namespace of the system under test, and says what there is to set.

    parity.py NAMESPACE DEVICE DEVICE ADDRESS ADDRESS ADDRESS ADDRESS FILE...
"""

import copy
import fnmatch
import os
import sys
import traceback

import compare
import control
import generate
import run

# Differences shown of one script.
SHOWN = 8
# A driver that is later than this, in ns, has not done what the script says.
LATE = 1000000
GROUP = 10
# How often a difference has to be seen again to be one.
AGAIN = 2


class Failure(Exception):
    pass


class Tests:
    """The cases, and KTAP."""

    def __init__(self, place, baseline):
        self.place, self.baseline = place, baseline
        self.cases = []
        self.failed = self.passed = 0
        self.once = []
        self.first = self.control = None
        # To be seen by who looks for what a script does: every frame and item.
        self.dump = os.environ.get("PARITY_DUMP")

    def add(self, name, f, *args):
        pattern = os.environ.get("TOE_CASES")
        if not pattern or fnmatch.fnmatch(name, pattern):
            self.cases.append((name, f, args))

    def run(self):
        print("KTAP version 1", f"1..{len(self.cases) + 1}", sep="\n", flush=True)
        for n, (name, f, args) in enumerate(self.cases, 1):
            try:
                notes = f(*args)
                bad = False
            except Failure as e:
                notes, bad = str(e), True
            except Exception:
                notes, bad = traceback.format_exc(), True
            self.failed += bad
            self.passed += not bad
            for line in (notes or "").splitlines():
                print(f"# {line}")
            print(f"{'not ok' if bad else 'ok'} {n} {name}", flush=True)

    def add_scripts(self, paths):
        """A case for each script of the files and each family."""
        own = os.environ.get("PARITY_SCRIPT")
        for path in [own] if own else paths:
            with open(path) as f:
                scripts = run.parse(f.read())
            topic = os.path.basename(path).rsplit(".", 1)[0]
            for script in scripts:
                for family in script.families:
                    self.add(f"{topic}/{script.name} {family}", self.script, script, family)

    def add_seeds(self, most, group):
        first = int(os.environ.get("PARITY_FIRST_SEED", "1"))
        count = int(os.environ.get("PARITY_SEEDS", most))
        for at in range(first, first + count, group):
            n = min(group, first + count - at)
            self.add(f"seeds {at}-{at + n - 1}", self.seeds, at, n)

    def end(self):
        if self.once:
            print(f"# note: {len(self.once)} differences of one run and not the next, the "
                  f"first: {self.once[0]}")
        with open(os.environ["PARITY_RESULT"], "w") as f:
            f.write(f"{self.passed} {self.failed}\n")

    # ---- one script

    def warm_up(self):
        """The first of everything takes longer: code that was never run, empty caches."""
        script = run.parse(control.SCRIPT)[0]
        for family in script.families:
            for offloaded in (False, not self.baseline):
                run.Run(self.place, script, family, offloaded).go()

    def differences(self, script, family):
        """What differs each time. A few numbers, such as how many segments go into one
        frame, hang on microseconds: two plain runs of one script in a hundred differ
        somewhere, and not there again."""
        plain, off, found = self.both(script, family)
        for _ in range(AGAIN if found else 0):
            plain, off, again = self.both(script, family)
            keys = {d.key for d in again}
            self.once += [f"{script.name}: {d}" for d in found if d.key not in keys]
            found = [d for d in found if d.key in keys]
            if not found:
                break
        return plain, off, found

    def both(self, script, family):
        plain = run.Run(self.place, script, family, False)
        plain.go()
        off = run.Run(self.place, script, family, not self.baseline)
        off.go()
        found = compare.compare(plain, off)
        if self.dump:
            for r in (plain, off):
                dump(r)
        return plain, off, found

    def script(self, script, family):
        plain, off, found = self.differences(script, family)
        for r in (plain, off):
            if r.rec.late > LATE:
                raise Failure(f"{script.name}: the driver was {r.rec.late / 1e6:.1f} ms late")
        if found:
            self.first = found[0].kind_of_item
            raise Failure("\n".join(report(found)))
        if self.baseline:
            return None
        h = off.rec.handled
        frames = h.get("toe_rx_frames", 0) + h.get("toe_tx_frames", 0)
        if script.marks & {"host", f"host{family}"}:
            return None
        if off.rec.offload is not True:
            why = [k for k in h if k.startswith("toe_refuse")]
            raise Failure(f"not offloaded: {off.rec.offload} {' '.join(why)}")
        if not frames:
            raise Failure("the target has handled no frame")
        return None

    # ---- generated ones

    def generated(self, seed):
        return generate.script(seed)

    def shrinking(self, script, fails):
        return generate.shrink(script, fails)

    def seeds(self, first, count):
        bad = []
        for seed in range(first, first + count):
            script = self.generated(seed)
            family = script.families[0]
            try:
                self.script(script, family)
                continue
            except Failure as e:
                first_reason = str(e)
            bad.append(f"seed {seed} fails:\n{first_reason}")
            # One that has been shrunk says enough of its kind.
            if len(bad) == 1 and os.environ.get("PARITY_SHRINK", "1") != "0":
                bad.append(self.shrunk(script, family))
        if bad:
            raise Failure("\n".join(bad))

    def shrunk(self, script, family):
        """The shortest script that still has the first difference of this one, or one of its
        kind, as text."""
        kind = self.first

        def fails(s):
            try:
                found = self.differences(s, family)[2]
            except Exception:
                return False  # what is left is no script any more
            return any(d.kind_of_item == kind for d in found)

        small = self.shrinking(script, fails)
        try:
            self.script(small, family)
        except Failure as e:
            return f"shrunk, to be run with PARITY_SCRIPT=FILE:\n{small.text()}\n{e}"
        return "shrunk, it does not fail any more"

    # ---- controls

    def plain_twice(self, family):
        script = run.parse(control.SCRIPT)[0]
        runs = [run.Run(self.place, script, family, False) for _ in range(2)]
        for r in runs:
            r.go()
        found = compare.compare(*runs)
        if found:
            raise Failure("two plain runs differ:\n" + "\n".join(report(found)))
        self.control = runs

    def planted_for_real(self, family):
        """The second run in another world: no record is touched."""
        script = run.parse(control.SCRIPT)[0]
        other = run.parse(control.SCRIPT)[0]
        other.sysctls.append("net.ipv4.ip_default_ttl=63")
        runs = [run.Run(self.place, s, family, False) for s in (script, other)]
        for r in runs:
            r.go()
        if not any("ttl 63" in str(d.offloaded) for d in compare.compare(*runs)):
            raise Failure("frames of another TTL were not found")

    def forgotten(self, family):
        try:
            self.script(run.parse(control.FORGOTTEN)[0], family)
        except Failure as e:
            if "not offloaded" in str(e):
                return
            raise
        raise Failure("that nothing was offloaded was not found")

    def planted(self, plant, expected):
        if not self.control:
            self.plain_twice(4)
        plain, off = self.control
        saved = off.rec
        off.rec = copy.deepcopy(saved)
        try:
            plant(off.rec)
            found = compare.compare(plain, off)
        finally:
            off.rec = saved
        if not any(d.name.startswith(expected) for d in found):
            raise Failure(f"a planted difference in {expected} was not found")


def report(found):
    """The first of each kind of item, and how many more there are of it."""
    kinds = {}
    for d in found:
        key = d.name.split(" ")[0] + (d.plain.split(" ")[0] if "seq" in d.name else "")
        kinds.setdefault(key, []).append(d)
    lines = []
    for same in list(kinds.values())[:SHOWN]:
        more = f", and {len(same) - 1} more like it" if len(same) > 1 else ""
        lines.append(f"{same[0]}{more}")
    if len(kinds) > SHOWN:
        rest = [same[0].name.split(" ")[0] for same in list(kinds.values())[SHOWN:]]
        lines.append("and also: " + ", ".join(rest))
    return lines


def dump(r):
    print(f"## {r.script.name} {r.family} {'offloaded' if r.offloaded else 'plain'}")
    for step in range(-1, len(r.script.steps) + 1):
        line = r.script.steps[step] if 0 <= step < len(r.script.steps) else "-"
        print(f"## {step} {line}")
        for s, delay, f in r.rec.frames:
            if s == step:
                print(f"##     {delay / 1e6:9.3f} {compare.text(compare.fields(r, f))}")
        for s, name, value in r.rec.items:
            if s == step and (step < len(r.script.steps) or name.startswith("snmp")):
                print(f"##     {name} {value}")
    print("##  target:", r.rec.offload, r.rec.handled)


def main():
    ns_b, dev_a, dev_b, a4, b4, a6, b6 = sys.argv[1:8]
    place = run.Place(ns_b, dev_a, dev_b, {4: (a4, b4), 6: (a6, b6)})
    tests = Tests(place, bool(os.environ.get("PARITY_BASELINE")))
    tests.add_scripts(sys.argv[8:])
    if not os.environ.get("PARITY_SCRIPT"):
        tests.add_seeds(100, GROUP)
        tests.add("control/plain_twice", tests.plain_twice, 4)
        tests.add("control/planted_for_real", tests.planted_for_real, 4)
        if not tests.baseline:
            tests.add("control/forgotten_offload", tests.forgotten, 4)
        for name, (plant, expected) in control.PLANTS.items():
            tests.add(f"control/{name}", tests.planted, plant, expected)
    tests.warm_up()
    tests.run()
    tests.end()


if __name__ == "__main__":
    main()
