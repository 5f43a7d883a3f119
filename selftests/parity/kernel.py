# SPDX-License-Identifier: GPL-2.0
"""What the kernel tells of a connection and of a namespace: TCP_INFO, the messages that
`ss` prints, the counters of /proc/net and those of the device."""

import array
import fcntl
import socket
import struct

# include/uapi/linux/tcp.h, struct tcp_info: (name, offset, format). Bit fields are
# taken apart by hand.
_BYTES = ["state", "ca_state", "retransmits", "probes", "backoff", "options"]
_WORDS = ["rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets",
          "last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu",
          "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering",
          "rcv_rtt", "rcv_space", "total_retrans"]
_REST = [("Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
         ("I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
         ("Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
         ("I", "delivered delivered_ce"),
         ("Q", "bytes_sent bytes_retrans"),
         ("I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
         ("H", "total_rto total_rto_recoveries"),
         ("I", "total_rto_time received_ce delivered_e1_bytes delivered_e0_bytes "
               "delivered_ce_bytes received_e1_bytes received_e0_bytes received_ce_bytes "
               "accecn")]
INFO_FORMAT = "=6B2B24I" + "".join(kind * len(names.split()) for kind, names in _REST)
INFO_NAMES = _BYTES + ["wscale", "flags"] + _WORDS + " ".join(n for _, n in _REST).split()
INFO_SIZE = struct.calcsize(INFO_FORMAT)


def info_of(raw):
    """The fields by name, from as much of the structure as this kernel has."""
    raw = raw[:INFO_SIZE]
    size = len(raw)
    values = struct.unpack(INFO_FORMAT, raw + bytes(INFO_SIZE - size))
    out = dict(zip(INFO_NAMES, values))
    out["app_limited"] = out["flags"] & 1
    out["fastopen_client_fail"] = out.pop("flags") >> 1 & 3
    out["tcp_info_size"] = size
    return out


def tcp_info(sock):
    return info_of(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024))


# ---- counters

FILES = ["snmp", "netstat", "snmp6"]


def counters():
    """snmp, snmp6 and netstat of this thread's namespace, as text."""
    out = []
    for name in FILES:
        with open(f"/proc/thread-self/net/{name}") as f:
            out.append(f.read())
    return out


def counted(before, after):
    """What was added between two results of counters()."""
    out = {}
    for name, a, b in zip(FILES, before, after):
        if a == b:
            continue
        old, new = _values(name, a, b), _values(name, b, a)
        out.update({k: v - old.get(k, 0) for k, v in new.items() if v != old.get(k, 0)})
    return out


def _values(name, text, other):
    """The counters of the lines that are not in the other text."""
    lines, other = text.splitlines(), set(other.splitlines())
    out = {}
    for i, line in enumerate(lines):
        if line in other:
            continue
        words = line.split()
        if name == "snmp6":
            out[words[0]] = int(words[1])
        elif words[1].lstrip("-").isdigit():
            # A line of names goes before it.
            out.update(zip((words[0][:-1] + n for n in lines[i - 1].split()[1:]),
                           map(int, words[1:])))
    return out


def added(before, after):
    return {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}


# ---- the device's counters (SIOCETHTOOL)

class Ethtool:
    def __init__(self, dev):
        self.dev = dev.encode()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # ETHTOOL_GSSET_INFO, ETH_SS_STATS
        data = array.array("B", struct.pack("=IIQI", 0x37, 0, 1 << 1, 0))
        self._ioctl(data)
        self.n = struct.unpack_from("=I", data, 16)[0]
        # ETHTOOL_GSTRINGS
        data = array.array("B", struct.pack("=III", 0x1B, 1, self.n) + bytes(32 * self.n))
        self._ioctl(data)
        raw = data.tobytes()[12:]
        self.names = [raw[i * 32:i * 32 + 32].split(b"\0")[0].decode() for i in range(self.n)]

    def _ioctl(self, data):
        request = struct.pack("16sP", self.dev, data.buffer_info()[0])
        fcntl.ioctl(self.sock, 0x8946, request + bytes(16))

    def read(self):
        # ETHTOOL_GSTATS
        data = array.array("B", struct.pack("=II", 0x1D, self.n) + bytes(8 * self.n))
        self._ioctl(data)
        return dict(zip(self.names, struct.unpack_from(f"={self.n}Q", data, 8)))


# ---- inet_diag: what `ss -tieoam` prints

DIAG_FIXED = ["family", "state", "timer", "retrans"]
DIAG_NAMES = {1: "meminfo", 2: "info", 3: "vegasinfo", 4: "cong", 5: "tos", 6: "tclass",
              7: "skmeminfo", 8: "shutdown", 9: "dctcpinfo", 10: "protocol", 11: "skv6only",
              12: "locals", 13: "peers", 14: "pad", 15: "mark", 16: "bbrinfo", 17: "class_id",
              18: "md5sig", 19: "ulp_info", 20: "sk_bpf_storages", 21: "cgroup_id",
              22: "sockopt"}
MEMINFO = ["mem_r", "mem_w", "mem_f", "mem_t"]
SKMEMINFO = ["rmem", "rcvbuf", "wmem", "sndbuf", "fwd_alloc", "wmem_queued", "optmem",
             "backlog", "drops"]


class Diag:
    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)

    def query(self, family, local, remote):
        """The message about the socket of these two (address, port), taken apart."""
        af = socket.AF_INET if family == 4 else socket.AF_INET6

        def addr(text):
            return socket.inet_pton(af, text).ljust(16, b"\0")

        ident = struct.pack("!HH", local[1], remote[1]) + addr(local[0]) + addr(remote[0]) + \
            struct.pack("=III", 0, MASK32, MASK32)
        request = struct.pack("=BBBBI", af, socket.IPPROTO_TCP, 0xFF, 0, MASK32) + ident
        self.sock.send(struct.pack("=IHHII", 16 + len(request), 20, 1, 1, 0) + request)
        data = self.sock.recv(1 << 16)
        size, kind = struct.unpack_from("=IH", data, 0)
        if kind == 2:
            return {"error": struct.unpack_from("=i", data, 16)[0]}
        body = data[16:size]
        out = dict(zip(DIAG_FIXED, body[:4]))
        out["expires"], out["rqueue"], out["wqueue"] = struct.unpack_from("=III", body, 52)
        raw = body[72:]
        while len(raw) >= 4:
            n, kind = struct.unpack_from("=HH", raw, 0)
            value = raw[4:n]
            raw = raw[n + 3 & ~3:]
            name = DIAG_NAMES.get(kind & 0x3FFF, f"attribute{kind}")
            if name == "info":
                continue  # the same as TCP_INFO, which is compared
            if name == "meminfo":
                out.update(zip(MEMINFO, struct.unpack("=4I", value)))
            elif name == "skmeminfo":
                out.update(zip(SKMEMINFO, struct.unpack(f"={len(value) // 4}I", value)))
            elif name == "cong":
                out[name] = value.rstrip(b"\0").decode()
            else:
                out[name] = value.hex()
        return out


MASK32 = 0xFFFFFFFF
