/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TOE_SELFTESTS_XFER_H
#define TOE_SELFTESTS_XFER_H

#include <pthread.h>
#include <stdatomic.h>

#include "common.h"

/* Ways to send and to receive; a run may use several, chosen at random. */
enum tx_method {
	TX_SEND, TX_WRITE, TX_WRITEV, TX_SENDMSG, TX_SENDMMSG, TX_MORE, TX_CORK, TX_NODELAY,
	TX_ZEROCOPY, TX_SENDFILE, TX_SPLICE, TX_METHODS
};

enum rx_method {
	RX_RECV, RX_READ, RX_READV, RX_RECVMSG, RX_RECVMMSG, RX_PEEK, RX_WAITALL,
	RX_SPLICE, RX_TRUNC, RX_ZEROCOPY, RX_METHODS
};

enum wait_mode { WAIT_BLOCK, WAIT_POLL, WAIT_EPOLL, WAIT_EPOLLET };

/* How the client ends its side of each connection. */
enum end_mode {
	END_SHUTDOWN,	/* shutdown(SHUT_WR) when all is sent, close at the peer's EOF */
	END_CLOSE,	/* close when all is sent and received */
	END_CLOSE_NOW,	/* close right after the last write, data still queued */
	END_RST,	/* SO_LINGER 0 and close after --at bytes */
	END_UNREAD,	/* close after --at bytes sent, with received data not read */
};

struct opts {
	const char *role, *addr, *ns_client, *ns_server, *hold_dir;
	uint16_t port;
	unsigned int conns, rounds, points, stall;
	uint64_t bytes_cs, bytes_sc;
	size_t max_write, max_read;
	uint64_t seed, at, plant, flip;
	unsigned int tx_mask, rx_mask;
	enum wait_mode wait;
	enum end_mode end;
	int sndbuf, rcvbuf, rcvlowat, priority;
	uint64_t pause_every;
	unsigned int pause_ms;
	bool ulp_client, ulp_server, ulp_try, tcpinfo, may_break, json;
};

extern struct opts opt;

/* Shared between the two processes of a run. */
struct side {
	uint64_t tx_bytes, rx_bytes, conns, resets;
	uint64_t ulp_ok, ulp_refused, ulp_missing;
	uint64_t zc_sent, zc_done, zc_copied, zc_received;
	uint64_t peeks, samples, checks, retrans, early_wakes, wakes;
	char error[256];
};

struct shared {
	_Atomic uint32_t port, failed;
	_Atomic uint32_t segs_out[2], retrans[2];
	/* All four threads of a connection; the two that send. */
	pthread_barrier_t all, senders;
	struct side side[2];
};

extern struct shared *shm;
extern struct side *me;
extern bool is_client;

struct header {
	uint32_t magic, index;
	uint64_t seed_cs, seed_sc, len_cs, len_sc;
};

struct zc_slot {
	uint8_t *buf;
	uint32_t id;
	bool busy;
};

#define ZC_SLOTS 32

struct conn {
	int fd;
	uint32_t index;
	uint64_t rng_tx, rng_rx;
	uint64_t tx_seed, rx_seed;
	uint64_t tx_len, rx_len, tx_pos, rx_pos, next_flip, next_pause, resume_at;
	uint64_t acked_base;
	bool tx_shut, rx_eof, closed, reset, corked, can_rx, can_tx;
	unsigned int tx_point, rx_point, events;
	uint8_t *txbuf, *rxbuf, *peekbuf;
	int tx_pipe[2], rx_pipe[2], memfd;
	size_t pipe_left;
	void *map;
	uint32_t zc_next, zc_left;
	struct zc_slot zc[ZC_SLOTS];
};

/* Ends the process with a failure, after a line on what happened. */
void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Ends the process because the connection broke: no failure with --may-break. */
void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Method names: "send,write" or "mix". */
unsigned int parse_methods(const char *text, bool tx);

void io_init(struct conn *c);
void io_free(struct conn *c);

/* Up to this position before the next quiescent point. */
uint64_t tx_stop(const struct conn *c);
uint64_t rx_stop(const struct conn *c);

/* One write or one read: bytes moved, or -EAGAIN, or another -errno; 0: EOF. */
ssize_t tx_step(struct conn *c);
ssize_t rx_step(struct conn *c);

/* Takes completions; with `all`, waits until every buffer is back. */
void zc_reap(struct conn *c, bool all);

/* TCP_INFO and the queue ioctls against what the program itself knows. */
void info_begin(struct conn *c);
/* At any moment: never more than what can be true. */
void info_sample(struct conn *c);
/* All sent, all read. */
void info_quiet(struct conn *c);
/* All sent, `unread` bytes not read. */
void info_unread(struct conn *c, size_t unread);
void info_segments(struct conn *c);
void info_end(struct conn *c);
/* For a report: positions and TCP_INFO in one line. */
void info_dump(struct conn *c);

#endif
