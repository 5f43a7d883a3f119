/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections of which both ends are in this process. BENCH_CLIENT_NS and BENCH_SERVER_NS are
 * the namespaces, BENCH_ADDR is the server's address.
 */
#ifndef CONNS_H
#define CONNS_H

/* How many there are; the client's ends, and the server's. */
extern long count;
extern int *ends[2];

void die(const char *what) __attribute__((noreturn));
/* Nanoseconds, of a clock that counts instructions in guests which have one. */
unsigned long long now(void);
/* Goes to the namespace that the environment has by this name. */
void enter(const char *name);
/* Makes room for `count` connections. */
void reserve(void);
/* Connects all of them; this process is in the client's namespace afterwards. */
void dial_all(void);
/* Offloads all that are the client's (0), or the server's (1). */
void offload_all(int end);
/* 64 bytes from one end to the other. */
void pass(int from, int to);
/* Takes back all connections of a device of the namespace that /sys is of. */
void upload_all(const char *dev);

#endif
