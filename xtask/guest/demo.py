#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The demonstration, inside the guest: ordinary programs over a pair of TOE
NICs, with their connections uploaded and offloaded again while they run.

Lines that begin with "@" are progress; the rest is the report. The exit code
is 0 only if what is shown is what was promised."""

import json
import os
import re
import subprocess
import sys
import threading
import time

KIND = os.environ.get("DEMO_KIND", "toe")
SIZE = int(os.environ.get("DEMO_MIB", "256"))
SECONDS = int(os.environ.get("DEMO_SECONDS", "8"))
TOE = KIND == "toe"

# name, device, address, and the colour of nothing: two hosts on one wire
CLIENT = ("client", "toe0", "192.0.2.1")
SERVER = ("server", "toe1", "192.0.2.2")
problems = []


def progress(text):
    print("@" + text, flush=True)


def sh(*args, check=True, **more):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if check and done.returncode != 0:
        sys.exit(f"`{' '.join(args)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def within(host, *args):
    return ("ip", "netns", "exec", host[0], *args)


# A process in each host's namespaces: the way to its /sys without a new process
# each time.
holders = {}


def knob(host, name, value=None):
    """Reads or writes /sys/class/net/DEV/toe/NAME in the host's namespace."""
    path = f"/proc/{holders[host[0]].pid}/root/sys/class/net/{host[1]}/toe/{name}"
    try:
        if value is None:
            with open(path) as file:
                return file.read().strip()
        with open(path, "w") as file:
            file.write(f"{value}\n")
    except OSError as error:
        sys.exit(f"{host[0]}: /sys/class/net/{host[1]}/toe/{name}: {error.strerror}")
    return None


def counters(host):
    """What the target counts (ethtool -S) and what passed the device in all."""
    found = {}
    for line in sh(*within(host, "ethtool", "-S", host[1]), check=False).splitlines():
        name, _, value = line.strip().rpartition(":")
        if value.strip().isdigit():
            found[name] = int(value)
    link = json.loads(sh("ip", "-n", host[0], "-s", "-j", "link", "show", host[1]))[0]["stats64"]
    for side in ("rx", "tx"):
        for what in ("packets", "bytes"):
            found[f"device_{side}_{what}"] = link[side][what]
    return found


def make_pair():
    for name, _, _ in (CLIENT, SERVER):
        sh("ip", "netns", "add", name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
    sh("ip", "link", "add", CLIENT[1], "netns", CLIENT[0], "type", KIND,
       "peer", "name", SERVER[1], "netns", SERVER[0])
    for name, dev, address in (CLIENT, SERVER):
        sh("ip", "-n", name, "addr", "add", address + "/24", "dev", dev)
        sh("ip", "-n", name, "link", "set", dev, "up")
    sh(*within(CLIENT, "ping", "-q", "-c", "1", "-W", "5", SERVER[2]))
    for host in (CLIENT, SERVER):
        holders[host[0]] = subprocess.Popen(within(host, "sh", "-c", "echo; exec sleep 1000000"),
                                            stdout=subprocess.PIPE)
        holders[host[0]].stdout.readline()
        if TOE:
            knob(host, "policy", "auto")


class Flipper(threading.Thread):
    """Uploads all connections of both ends every so often; policy `auto`
    offloads them again by itself."""

    def __init__(self, period):
        super().__init__(daemon=True)
        self.period = period
        self.stop = threading.Event()
        self.times = 0

    def run(self):
        last = time.monotonic()
        while not self.stop.wait(0.05):
            if not TOE or time.monotonic() - last < self.period:
                continue
            delegated = sum(int(knob(host, "connections")) for host in (CLIENT, SERVER))
            if not delegated:
                continue
            for host in (CLIENT, SERVER):
                knob(host, "upload_all", 1)
            last = time.monotonic()
            self.times += 1
            progress(f"  uploaded {delegated} connection end(s) in mid-stream, to be offloaded again")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()


def wait_for_port(host, port):
    for _ in range(100):
        if sh(*within(host, "ss", "-tlnH", f"sport = :{port}")).strip():
            return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def run_iperf():
    progress(f"iperf3, {SECONDS} s")
    server = subprocess.Popen(within(SERVER, "iperf3", "-s", "-1"),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(SERVER, 5201)
    client = subprocess.Popen(within(CLIENT, "iperf3", "-c", SERVER[2], "-t", str(SECONDS), "-J"),
                              stdout=subprocess.PIPE, text=True)
    shown = threading.Event()

    def show():
        last = counters(CLIENT)
        while not shown.wait(1.0):
            now = counters(CLIENT)
            frames = now["device_tx_packets"] - last["device_tx_packets"]
            target = now.get("toe_tx_frames", 0) - last.get("toe_tx_frames", 0)
            short = now.get("toe_short_bytes", 0) - last.get("toe_short_bytes", 0)
            state = f"{knob(CLIENT, 'connections')} offloaded" if TOE else "not offloaded"
            progress(f"  connections: {state}; {frames} frames sent in this second, {target} by "
                     f"the target; {short >> 20} MiB without frames")
            last = now

    shower = threading.Thread(target=show, daemon=True)
    shower.start()
    with Flipper(SECONDS / 4) as flips:
        out, _ = client.communicate()
    shown.set()
    shower.join()
    server.wait()
    result = json.loads(out)
    if "error" in result:
        problems.append(f"iperf3: {result['error']}")
        return None, flips.times
    end = result["end"]
    return (end["sum_received"]["bits_per_second"], end["sum_sent"].get("retransmits", 0)), flips.times


def run_file():
    progress(f"a file of {SIZE} MiB")
    path = "/tmp/demo-file"
    # Random bytes at the speed of a cipher.
    sh("sh", "-c", f"openssl enc -aes-128-ctr -pass pass:demo -nosalt -pbkdf2 </dev/zero 2>/dev/null |"
       f" head -c {SIZE}M >{path}")
    want = sh("sha256sum", path).split()[0]
    # Into memory first: a checksum on the way would be what is measured.
    copy = path + "-received"
    server = subprocess.Popen(within(SERVER, "socat", "-u", "-b", "65536", "TCP-LISTEN:7000,reuseaddr",
                                     f"CREATE:{copy}"))
    wait_for_port(SERVER, 7000)
    start = time.monotonic()
    with Flipper(0.25) as flips:
        sh(*within(CLIENT, "socat", "-u", "-b", "65536", f"FILE:{path}", f"TCP:{SERVER[2]}:7000"))
        server.wait()
    took = time.monotonic() - start
    got = sh("sha256sum", copy).split()[0]
    os.unlink(path)
    os.unlink(copy)
    if got != want:
        problems.append("the file arrived changed")
    return want, got, took, flips.times


def reasons(now, kind):
    found = {name[len(kind):]: value for name, value in now.items() if name.startswith(kind) and value}
    return ", ".join(f"{name} {value}" for name, value in sorted(found.items(), key=lambda i: -i[1])) or "none"


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def report(iperf, iperf_flips, file):
    want, got, took, file_flips = file
    print(f"kernel      Linux {os.uname().release}, unpatched; two namespaces on one pair of {KIND} devices")
    if iperf:
        print(f"iperf3      {iperf[0] / 1e6:.0f} Mbit/s, {iperf[1]} retransmissions, "
              f"uploaded {iperf_flips} times in mid-stream")
    print(f"file        {SIZE} MiB in {took:.1f} s ({SIZE * 8.388608 / took:.0f} Mbit/s), "
          f"uploaded {file_flips} times in mid-stream")
    print(f"  sent      sha256 {want}")
    print(f"  received  sha256 {got}: {'equal' if want == got else 'DIFFERENT'}")
    if not TOE:
        return
    print()
    print(f"{'':20}{'by the target':>26}{'by the host stack':>26}{'target':>10}")
    ends = [(host, counters(host)) for host in (CLIENT, SERVER)]
    for host, now in ends:
        for side, word in (("tx", "sent"), ("rx", "received")):
            for what, device in (("frames", "packets"), ("bytes", "bytes")):
                target = now.get(f"toe_{side}_{what}", 0)
                whole = now[f"device_{side}_{device}"]
                print(f"{host[0] + ' ' + word:16}{what:>8}{target:>22}{max(whole - target, 0):>26}"
                      f"{share(target, max(whole, target)):>10}")
    for host, now in ends:
        passed = now.get("toe_short_bytes", 0)
        print(f"{host[0] + ' sent':16}{'bytes':>8}{passed:>22} without frames")
    print()
    for host, now in ends:
        print(f"{host[0]:8} special cases {now.get('toe_specials', 0)} "
              f"({reasons(now, 'toe_special_')}), resynchronised {now.get('toe_resyncs', 0)} times")
        print(f"{host[0]:8} offloads {now.get('toe_offloads', 0)}, uploads {now.get('toe_uploads', 0)} "
              f"({reasons(now, 'toe_upload_')}), refusals {now.get('toe_refusals', 0)} "
              f"({reasons(now, 'toe_refuse_')})")
        if not now.get("toe_offloads"):
            problems.append(f"no connection of the {host[0]} was offloaded")
        if not any(now.get(f"toe_{what}") for what in ("rx_frames", "tx_frames", "short_bytes")):
            problems.append(f"the target of the {host[0]} handled nothing")
    if iperf_flips + file_flips < 3:
        problems.append("connections were uploaded in mid-stream fewer than three times")


def main():
    progress("two namespaces and a pair of devices")
    make_pair()
    iperf, iperf_flips = run_iperf()
    file = run_file()
    report(iperf, iperf_flips, file)
    for problem in problems:
        print(f"PROBLEM     {re.sub(chr(10), ' ', problem)}")
    for holder in holders.values():
        holder.kill()
    return 1 if problems else 0


sys.exit(main())
