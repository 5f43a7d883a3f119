/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TOE_SELFTESTS_PROBE_H
#define TOE_SELFTESTS_PROBE_H

#include "common.h"

struct probe {
	const char *addr, *client_ns, *server_ns, *before, *after, *expect, *table, *bpf, *dev, *cgroup;
	bool ulp_try, both, slow, user;
	unsigned int rounds;
	uint32_t mark;		/* the client's SO_MARK */
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

/* Returns when the thread sleeps in its call. */
void asleep(int tid);

/* One datagram of the stream each way, `n` bytes. */
void send_cs(size_t n);
void send_sc(size_t n);
void recv_cs(size_t n);
void recv_sc(size_t n);

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64 };

/* A segment from the server that the server did not send. IPv4. */
struct segment {
	uint32_t seq, ack;
	uint16_t window, frag;
	uint8_t flags, tos, doff;
	bool ip_options, bad_checksum, no_ts, old_ts, garbage;
	uint8_t option[16];
	size_t option_len, len;
};

/* Next sequence number of the server's receive (1) or send queue (2). */
uint32_t queue_seq(int which);

/* Sends the segment out of a namespace: that of the server, or another. */
void put_segment(const struct segment *g, const char *ns);

/*
 * The client's line in the device's table of connections: its mode and hwid, which
 * is 0 if there is none. Needs --table.
 */
uint64_t entry(char mode[16]);

/* The target has the connection again, by the hwid it had. */
void expect_resynchronised(uint64_t hwid, const char *name);

/* recv() by io_uring; ENOSYS if the kernel has none. `async`: by a worker thread. */
ssize_t uring_recv(int sock, void *buf, size_t len, int flags, bool async);

/* TCP_ULP by any name: 0 or -errno. */
int raw_ulp(int fd, const char *name);
/* Keys of kTLS for a direction. */
void start_tls(int fd, int direction, uint8_t key);
void both_keys(void);
/* A key for the peer `sa`, whose port does not count: 0 or -errno. */
size_t md5_key_for(const struct sockaddr *sa, socklen_t len, void *key);

/* A sockmap of one socket, or the end of the probe. */
int need_sockmap(void);
/* A program puts each socket that the cgroup's processes connect into the map. */
void sock_ops_sockmap(int map);
/*
 * A program has found the client in a sockmap that it is in no longer; then it puts it
 * into another one.
 */
void sockmap_bpf_prepare(void);
int sockmap_bpf_call(void);

/* An association of PSP with the client's socket, on the first device that has it. */
void psp_prepare(void);
int psp_call(void);
void psp_granted(void);

/* Ends the probe as skipped. */
void lacking(const char *what) __attribute__((noreturn));

/*
 * A page that makes whoever touches it wait: slow_touched() says that somebody does,
 * slow_serve() lets him go on, and after slow_forget() it is as new. One a process.
 */
#define SLOW_PAGE 4096
uint8_t *slow_page(void);
bool slow_touched(unsigned int ms);
void slow_serve(uint8_t *page, const void *data, size_t len);
void slow_forget(uint8_t *page);

/* Is the client delegated? Needs --table, or a module that says its name. */
bool is_delegated(void);
/* The name of the client's upper layer protocol, which may be none. */
const char *ulp_name(int fd);

/* One message by io_uring's zero-copy send, as send(). */
ssize_t uring_send_zc(int sock, const void *buf, size_t len);

int inject(const char *name);
int legacy(const char *name);
int table(const char *name);
int race(void);
int unaccepted(void);
int nth(const char *what);
int buffer(const char *name);
int plain_read(const char *name);
/* Several threads read what comes; every other one waits for all it asks for, or none. */
void many_readers(bool wait_all);
int hold(const char *name);
int short_cut(const char *name);
int filter(const char *name);
int sniff(const char *name);
int contend(const char *name);
int outlive(const char *name);
int amounts(void);

#endif
