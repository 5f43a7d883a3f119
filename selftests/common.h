/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: a random byte stream that can be computed and
 * checked at any position, network namespaces, sockets, the ULP request.
 */
#ifndef TOE_SELFTESTS_COMMON_H
#define TOE_SELFTESTS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define TOE_ULP "toe"

/* Newer than the headers of some distributions. */
#ifndef IP_MINTTL
#define IP_MINTTL 21
#endif
#ifndef IPV6_MINHOPCOUNT
#define IPV6_MINHOPCOUNT 73
#endif

#define MIN(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define MAX(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The stream of `seed`: bytes [pos, pos + len) into buf. */
void stream_fill(uint64_t seed, uint64_t pos, uint8_t *buf, size_t len);

/* Index of the first byte of buf that is not the stream's, or -1. */
ptrdiff_t stream_check(uint64_t seed, uint64_t pos, const uint8_t *buf, size_t len);

/* A small generator for the choices of a test; never zero as a state. */
uint64_t rnd(uint64_t *state);
uint64_t rnd_below(uint64_t *state, uint64_t n);
/* 1..max, each order of magnitude as likely as any other. */
size_t rnd_size(uint64_t *state, size_t max);

uint64_t now_ms(void);
void sleep_ms(unsigned int ms);

/* Moves the calling process into a namespace made by `ip netns add`. */
int enter_ns(const char *name);

/* Opens a file; what lies below /sys is the namespace's, not that of the mount there. */
int open_sys(const char *path, int flags);

/*
 * The counters of a device, as ETHTOOL_GSTATS gives them, in the namespace of the socket
 * `fd`: 0 or -errno.
 */
int dev_counters(int fd, const char *dev, void (*each)(const char *name, uint64_t value, void *arg),
		 void *arg);
/* The values alone, of the `n` there are, in the same order. */
int dev_counter_values(int fd, const char *dev, uint64_t *values, uint32_t n);

/* Port 0: any. Returns a descriptor or -errno. */
int tcp_listen(const char *addr, uint16_t port, int backlog);
int tcp_connect(const char *addr, uint16_t port);
/* SO_MARK is set before the first frame, unless it is 0. */
int tcp_connect_mark(const char *addr, uint16_t port, uint32_t mark);
/* Does not wait for the handshake; the descriptor does not block. */
int tcp_connect_start(const char *addr, uint16_t port);
uint16_t local_port(int fd);

int set_int(int fd, int level, int name, int value);
int get_int(int fd, int level, int name);

/* 0 when the connection is with the target (now, or already), else -errno. */
int ulp_request(int fd);

/*
 * The same for a connection that nothing is wrong with. On a slow machine it may be about
 * to probe for a loss, and is refused for as long as that lasts.
 */
int ulp_insist(int fd);

/* Ones' complement sum of `acc` and the data (RFC 1071), not yet complemented. */
uint16_t csum_add(uint32_t acc, const uint8_t *data, size_t len);

/* Sockmaps of one socket, by system calls: a descriptor, or 0; -errno. */
int sockmap_create(void);
int sockmap_update(int map, int fd);
int sockmap_delete(int map);

/* Sizes as "4096", "64k", "8m". */
uint64_t parse_size(const char *text);

#endif
