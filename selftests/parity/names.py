# SPDX-License-Identifier: GPL-2.0
"""Socket options, flags and requests by the names that scripts use."""

import select
import socket

SOL, TCP, IP, IP6 = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6

OPTIONS = {
    "SO_KEEPALIVE": (SOL, 9), "SO_OOBINLINE": (SOL, 10), "SO_PRIORITY": (SOL, 12),
    "SO_LINGER": (SOL, 13), "SO_RCVLOWAT": (SOL, 18), "SO_RCVTIMEO": (SOL, 20),
    "SO_SNDTIMEO": (SOL, 21), "SO_SNDBUF": (SOL, 7), "SO_RCVBUF": (SOL, 8), "SO_ERROR": (SOL, 4),
    "SO_TIMESTAMP": (SOL, 29), "SO_TIMESTAMPNS": (SOL, 35), "SO_MARK": (SOL, 36),
    "SO_TIMESTAMPING": (SOL, 37), "SO_PEEK_OFF": (SOL, 42), "SO_BUSY_POLL": (SOL, 46),
    "SO_MAX_PACING_RATE": (SOL, 47), "SO_INCOMING_CPU": (SOL, 49),
    "SO_INCOMING_NAPI_ID": (SOL, 56), "SO_ZEROCOPY": (SOL, 60), "SO_TXREHASH": (SOL, 74),
    "TCP_NODELAY": (TCP, 1), "TCP_MAXSEG": (TCP, 2), "TCP_CORK": (TCP, 3),
    "TCP_KEEPIDLE": (TCP, 4), "TCP_KEEPINTVL": (TCP, 5), "TCP_KEEPCNT": (TCP, 6),
    "TCP_SYNCNT": (TCP, 7), "TCP_LINGER2": (TCP, 8), "TCP_DEFER_ACCEPT": (TCP, 9),
    "TCP_WINDOW_CLAMP": (TCP, 10), "TCP_QUICKACK": (TCP, 12), "TCP_CONGESTION": (TCP, 13),
    "TCP_THIN_LINEAR_TIMEOUTS": (TCP, 16), "TCP_USER_TIMEOUT": (TCP, 18),
    "TCP_TIMESTAMP": (TCP, 24), "TCP_NOTSENT_LOWAT": (TCP, 25), "TCP_SAVE_SYN": (TCP, 27),
    "TCP_INQ": (TCP, 36), "TCP_TX_DELAY": (TCP, 37), "TCP_RTO_MAX_MS": (TCP, 44),
    "TCP_RTO_MIN_US": (TCP, 45), "TCP_DELACK_MAX_US": (TCP, 46),
    "IP_TOS": (IP, 1), "IP_TTL": (IP, 2), "IP_PKTINFO": (IP, 8), "IP_MTU_DISCOVER": (IP, 10),
    "IP_RECVTTL": (IP, 12), "IP_RECVTOS": (IP, 13), "IP_MTU": (IP, 14), "IP_MINTTL": (IP, 21),
    "IPV6_UNICAST_HOPS": (IP6, 16), "IPV6_MTU_DISCOVER": (IP6, 23), "IPV6_MTU": (IP6, 24),
    "IPV6_RECVPKTINFO": (IP6, 49), "IPV6_RECVHOPLIMIT": (IP6, 51), "IPV6_RECVTCLASS": (IP6, 66),
    "IPV6_TCLASS": (IP6, 67), "IPV6_MINHOPCOUNT": (IP6, 73), "IPV6_FLOWINFO_SEND": (IP6, 33),
    "IPV6_FLOWINFO": (IP6, 11), "IPV6_2292PKTOPTIONS": (IP6, 6),
    "IPV6_MULTICAST_IF": (IP6, 17), "IPV6_MULTICAST_HOPS": (IP6, 18), "IPV6_AUTOFLOWLABEL": (IP6, 70),
}

# The same thing in both families, so that a script serves both.
BY_FAMILY = {
    "TOS": {4: "IP_TOS", 6: "IPV6_TCLASS"},
    "TTL": {4: "IP_TTL", 6: "IPV6_UNICAST_HOPS"},
    "MINTTL": {4: "IP_MINTTL", 6: "IPV6_MINHOPCOUNT"},
    "RECVTTL": {4: "IP_RECVTTL", 6: "IPV6_RECVHOPLIMIT"},
    "RECVTOS": {4: "IP_RECVTOS", 6: "IPV6_RECVTCLASS"},
    "PKTINFO": {4: "IP_PKTINFO", 6: "IPV6_RECVPKTINFO"},
    "MTU_DISCOVER": {4: "IP_MTU_DISCOVER", 6: "IPV6_MTU_DISCOVER"},
}

FLAGS = {
    "OOB": 1, "PEEK": 2, "CTRUNC": 8, "TRUNC": 0x20, "DONTWAIT": 0x40, "EOR": 0x80,
    "WAITALL": 0x100, "ERRQUEUE": 0x2000, "NOSIGNAL": 0x4000, "MORE": 0x8000,
    "ZEROCOPY": 0x4000000,
}

# linux/sockios.h
IOCTLS = {"INQ": 0x541B, "OUTQ": 0x5411, "OUTQNSD": 0x894B, "ATMARK": 0x8905}

EVENTS = [("IN", 1), ("PRI", 2), ("OUT", 4), ("ERR", 8), ("HUP", 16), ("RDNORM", 64),
          ("RDBAND", 128), ("WRNORM", 256), ("WRBAND", 512), ("RDHUP", 0x2000)]
EPOLL_BITS = {"IN": select.EPOLLIN, "OUT": select.EPOLLOUT, "PRI": select.EPOLLPRI,
              "RDHUP": select.EPOLLRDHUP, "ET": select.EPOLLET, "ONESHOT": select.EPOLLONESHOT}

CONTROL = {(SOL, 29): "TIMESTAMP", (SOL, 35): "TIMESTAMPNS", (SOL, 37): "TIMESTAMPING",
           (TCP, 36): "TCP_INQ", (IP, 8): "IP_PKTINFO", (IP, 2): "IP_TTL", (IP, 1): "IP_TOS",
           (IP, 11): "IP_RECVERR", (IP6, 25): "IPV6_RECVERR", (IP6, 50): "IPV6_PKTINFO",
           (IP6, 52): "IPV6_HOPLIMIT", (IP6, 67): "IPV6_TCLASS",
           (SOL, 58): "TIMESTAMPING_PKTINFO", (SOL, 54): "TIMESTAMPING_OPT_STATS"}


def events_text(mask):
    return "|".join(name for name, bit in EVENTS if mask & bit) or "0"


def flags_of(words):
    value = 0
    for word in words:
        if word not in FLAGS:
            raise ValueError(f"unknown flag {word}")
        value |= FLAGS[word]
    return value
