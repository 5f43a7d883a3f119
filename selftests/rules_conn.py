#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One end of a connection with properties that rules ask for.

    rules_conn.py KEY=VALUE...

to=ADDRESS or listen=ADDRESS, port=N; mark=, uid=, name=: of the socket or the
process; backlog=N of the listener; bytes=N: sent before anything else is done;
ask=1: asks for the offload and prints "ok" or the error's name; urgent=1: sends urgent data; hold=FILE: prints
"ADDRESS PORT ADDRESS PORT" of its own end and the peer's, and stays until there is
that file.
"""

import errno
import os
import socket
import sys
import time

TCP_ULP = 31
SO_MARK = 36


def main():
    o = dict(arg.split("=", 1) for arg in sys.argv[1:])
    if "name" in o:
        with open("/proc/self/comm", "w") as comm:
            comm.write(o["name"])
    address = o.get("to") or o["listen"]
    if "uid" in o:
        os.setuid(int(o["uid"]))
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if "mark" in o:
        s.setsockopt(socket.SOL_SOCKET, SO_MARK, int(o["mark"], 0))
    if "listen" in o:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(o["port"])))
        s.listen(int(o.get("backlog", 8)))
        if "ready" in o:
            open(o["ready"], "w").close()
        while "ask" not in o and "hold" not in o:
            # A server for all the others: it takes what comes.
            c = s.accept()[0]
            if os.fork() == 0:
                s.close()
                while c.recv(1 << 16):
                    pass
                os._exit(0)
            c.close()
        s = s.accept()[0]
    else:
        s.connect((address, int(o["port"])))
    s.sendall(b"x" * int(o.get("bytes", 0)))
    time.sleep(0.2 if "bytes" in o else 0)
    if "ask" in o:
        try:
            s.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"toe")
            print("ok", flush=True)
        except OSError as e:
            print(errno.errorcode[e.errno], flush=True)
    if "urgent" in o:
        s.send(b"!", socket.MSG_OOB)
    if "hold" in o:
        own, peer = s.getsockname(), s.getpeername()
        print(own[0], own[1], peer[0], peer[1], flush=True)
        while not os.path.exists(o["hold"]):
            time.sleep(0.05)


main()
