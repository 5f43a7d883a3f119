/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TOE_SELFTESTS_PROBE_H
#define TOE_SELFTESTS_PROBE_H

#include "common.h"

struct probe {
	const char *addr, *client_ns, *server_ns, *before, *expect;
	bool ulp_try, both;
	int listener, c, s;	/* both ends of one connection, in one process */
	uint64_t pos_cs, pos_sc;
};

extern struct probe p;

void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A listener in the one namespace, a connection from the other. */
void open_listener(void);
void establish(void);

/* Asks for the offload, which must not fail. */
void offload(int fd);

/* `rounds` times some KiB each way, every byte checked. */
void exchange(unsigned int rounds);

/* One datagram of the stream each way, `n` bytes. */
void send_cs(size_t n);
void send_sc(size_t n);
void recv_cs(size_t n);
void recv_sc(size_t n);

int ping(int argc, char **argv);
int inject(const char *name);
int race(void);
int nth(const char *what);

#endif
