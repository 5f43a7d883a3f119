/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of toe_torture: connections (toe_torture.c), their reads and
 * writes (torture_io.c), what happens to them (torture_events.c), forged
 * frames (torture_inject.c), and the kernel's interfaces for all of that
 * (torture_net.c). test_torture.sh sets up what the names here stand for:
 *
 *   a: toe0 ---- ra :router: rb ---- toe1 :b
 *
 * or, with --direct, where each end has the other one's gateway as an address:
 *
 *   a: toe0 ---- toe1 :b
 *
 * or, with --bond, where each end has a bond of two, as which it has its addresses:
 *
 *   a: bond.a: toe0  ---- toe1  :bond.b :b
 *              toe0s ---- toe1s
 */
#ifndef TOE_SELFTESTS_TORTURE_H
#define TOE_SELFTESTS_TORTURE_H

#include <pthread.h>
#include <stdatomic.h>

#include "common.h"

enum ns { NS_A, NS_B, NS_R, NS_COUNT };
/* The last two only with --bond; the first two stand for the bonds, too, where one is meant. */
enum dev { DEV_A, DEV_B, DEV_RA, DEV_RB, DEV_A2, DEV_B2, DEV_COUNT };

struct torture_opts {
	uint64_t seed;
	unsigned int seconds, slots, stall, pace;
	size_t max_len;
	bool corrupt, verbose;
	bool host;		/* nothing is offloaded */
	bool direct;		/* no router */
	bool bond;		/* the same, over bonds */
	int progress;		/* descriptor for lines of progress, or -1 */
	const char *only;	/* kinds of events, comma separated, or all */
	const char *never;
	const char *ns[NS_COUNT];
	const char *dir;	/* an empty directory to mount things over */
	const char *on_failure;	/* a command, or NULL */
};

extern struct torture_opts opt;
extern _Atomic bool finishing;
extern const char *const dev_name[DEV_COUNT];
extern const char *const bond_name[2];
extern const char *const ns_addr[2][2];	/* [a or b][IPv6] */

/* A generator for one purpose: what others draw does not change it. */
uint64_t sub_stream(uint64_t seed, uint64_t what, uint64_t which);
bool one_in(uint64_t *rng, unsigned int n);

/* ---- connections ---- */

#define ZC_SLOTS 8
#define MAX_WRITE (256u << 10)
#define MAX_READ (256u << 10)

enum how_closed {
	END_SHUTDOWN,	/* both ends shut down, both read to the end */
	END_CLOSE,	/* one end closes right behind its last bytes */
	END_ABORT,	/* one end resets in the middle */
	END_COUNT
};

/* One direction; `writer` is the end that sends. */
struct half {
	uint64_t key, len;
	_Atomic uint64_t sent, received, final;
	_Atomic bool ended, eof;
};

struct zc_slot {
	uint8_t *buf;
	uint32_t id;
	bool busy;
};

struct end {
	int fd;
	_Atomic bool tx_done, rx_done;
	pthread_mutex_t zc_lock;
	uint32_t zc_next;
	struct zc_slot zc[ZC_SLOTS];
	bool corked;
};

struct tconn {
	unsigned int slot, number;
	uint64_t seed;
	bool v6, urgent, corrupt;
	bool quiet;			/* few options, and a writer often waits for its reader */
	unsigned int client;		/* the end that opened it */
	enum how_closed how;
	unsigned int closer;		/* the end that closes or aborts */
	_Atomic bool aborting;
	struct end end[2];
	struct half half[2];		/* by the end that writes */
};

struct worker {
	struct tconn *c;
	unsigned int side;
	uint64_t rng;
};

/* One of the connections that live at this moment, or NULL; it may end at any moment. */
struct tconn *some_conn(uint64_t *rng);

void *tx_main(void *worker);
void *rx_main(void *worker);
void keepalive(int fd, bool on);

/* What all connections did, for the report. */
struct totals {
	_Atomic uint64_t connections, aborted, retried, bytes[2], ulp_ok, ulp_refused, options,
		zc_sent, oob, no_memory, peeked, mapped, foreign, tls, sockmap;
};

extern struct totals totals;

/* The run is over: a line with the seed and where it happened. */
void fail(const struct tconn *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
void setup_error(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- events ---- */

/* Before net_init(), in the namespace of the caller. */
void events_prepare(void);
void events_start(void);
/* Ends what is going on, and the driver. */
void events_stop(void);
/* Nothing in force that keeps a connection from getting on. */
bool events_calm(void);
/* Memory is failing or was until a moment ago. */
bool events_faults(void);
/* For a failure: memory works again. */
void events_emergency(void);
void events_recent(void);
void events_report(void);
unsigned long events_total(void);
void event_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Events of torture_settings.c and torture_bond.c: whether anything was done. */
bool do_foreign(uint64_t *rng);
bool do_sysctl(uint64_t *rng);
bool do_neighbour(uint64_t *rng);
bool do_address(uint64_t *rng);
bool do_route(uint64_t *rng);
bool do_choice(uint64_t *rng);
/* Both ends of active-backup bonds send by the same pair, or soon do. */
void bonds_agree(void);
/* Before the first connection. */
void settings_start(void);

/* Puts one forged frame on the wire; what it was, or NULL if there was none. */
const char *inject(uint64_t *rng);

/* ---- the kernel's interfaces; 0 or -errno ---- */

void net_init(void);
/* The calling thread goes there. */
void net_enter(enum ns ns);
enum ns ns_of(enum dev dev);
/* The device at the other end of the link. */
enum dev peer_of(enum dev dev);
/* One that connections go by. */
enum dev some_dev(uint64_t *rng);
/* A NIC that they go by: with bonds a member. */
enum dev some_nic(uint64_t *rng);
/* Of an end's bond if it has one. */
int link_up(enum dev dev, bool up);
int link_mtu(enum dev dev, unsigned int mtu);
int link_address(enum dev dev, const uint8_t mac[6]);
/* Of the NIC itself. */
int nic_up(enum dev dev, bool up);
/* Sets the default route of end a or b, again or after it got lost. */
int route_default(unsigned int side, bool v6);
/* Forgets the neighbour entries of a link's two ends. */
int neigh_forget(enum dev dev);

struct weather {
	double loss, duplicate, corrupt, reorder;	/* percent */
	unsigned int delay_us, jitter_us, gap;
	uint64_t rate;					/* bytes a second, 0: any */
};

int qdisc_netem(enum dev dev, const struct weather *weather);
int qdisc_clear(enum dev dev);
/* One of the ETHTOOL_S* commands for features. */
int ethtool_set(enum dev dev, uint32_t command, uint32_t value);
/* Sums the counters whose name begins with `prefix`. */
uint64_t ethtool_sum(enum dev dev, const char *prefix);
/* Prints the counters beginning with `prefix` that are not zero. */
void ethtool_print(enum dev dev, const char *prefix);
/* Writes a file: below /sys/class/net/DEV/, or below /proc/sys/net of a namespace. */
int sysfs_write(enum dev dev, const char *file, const char *value);
int bond_write(unsigned int side, const char *file, const char *value);
int bond_read(unsigned int side, const char *file, char *buf, size_t size);
int sysfs_read(enum dev dev, const char *file, char *buf, size_t size);
int sysctl_write(enum ns ns, const char *file, const char *value);
int file_write(const char *path, const char *value);

#endif
