// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that are offloaded and taken back all the time, in all the
 * weather there is: random traffic both ways and random socket options on many
 * connections, while a driver uploads, changes knobs, drops, reorders, cuts
 * links, lets allocations fail and forges frames. The reader checks each byte
 * at its position, and each end of a connection.
 *
 *   toe_torture [--seed S] [--seconds N] ... NAMESPACE-A NAMESPACE-B ROUTER
 *
 * A seed repeats the plan: which connections there are, how long, what each
 * step of each of their threads does, which event comes after which and with
 * which parameters. When things happen relative to each other it cannot repeat.
 *
 * Exit code: 0 all was right, 1 not, 2 wrong use or set-up.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

#define PORT 5000
#define TICK 200

struct torture_opts opt = {
	.seconds = 20, .slots = 12, .stall = 60, .pace = 40, .max_len = 4 << 20, .progress = -1,
	.dir = "/run",
};
_Atomic bool finishing;
struct totals totals;

enum { STREAM_CONN = 1, STREAM_WORKER };

struct slot {
	pthread_t thread;
	unsigned int index;
	int listener[2][2];	/* [a or b][IPv6] */
	struct tconn memory;
	_Atomic(struct tconn *) conn;
	_Atomic unsigned int number;
	_Atomic bool idle;
	/* For the watchdog alone. */
	uint64_t seen, since;
};

static struct slot *slots;
static uint64_t started;

uint64_t sub_stream(uint64_t seed, uint64_t what, uint64_t which)
{
	uint64_t state = seed ^ what * 0xd1342543de82ef95ull;

	state = rnd(&state) ^ which;
	return rnd(&state);
}

bool one_in(uint64_t *rng, unsigned int n)
{
	return rnd_below(rng, n) == 0;
}

void setup_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "# toe_torture: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	events_emergency();
	_exit(2);
}

/* What the kernel says of one end. */
static void describe(const struct tconn *c, unsigned int side)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);
	int fd = c->end[side].fd, in = -1, out = -1;

	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len)) {
		printf("#   end %s: closed\n", side ? "b" : "a");
		return;
	}
	ioctl(fd, SIOCINQ, &in);
	ioctl(fd, SIOCOUTQ, &out);
	printf("#   end %s: port %u, sent %llu of %llu, received %llu; state %u, in the queues %d in, %d out, unacked %u, sacked %u, lost %u, retrans %u, backoff %u, rto %u us, cwnd %u, mss %u, snd_wnd %u, last data sent %u ms, received %u ms, ack %u ms ago\n",
	       side ? "b" : "a", local_port(fd), (unsigned long long)c->half[side].sent,
	       (unsigned long long)c->half[side].len, (unsigned long long)c->half[!side].received,
	       ti.tcpi_state, in, out, ti.tcpi_unacked, ti.tcpi_sacked, ti.tcpi_lost, ti.tcpi_retrans,
	       ti.tcpi_backoff, ti.tcpi_rto, ti.tcpi_snd_cwnd, ti.tcpi_snd_mss, ti.tcpi_snd_wnd,
	       ti.tcpi_last_data_sent, ti.tcpi_last_data_recv, ti.tcpi_last_ack_recv);
}

void fail(const struct tconn *c, const char *fmt, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	int err = errno;
	va_list ap;

	/* The first one speaks, and nobody after it. */
	pthread_mutex_lock(&lock);
	events_emergency();
	printf("# FAILED, seed 0x%llx, after %llu ms", (unsigned long long)opt.seed,
	       (unsigned long long)(now_ms() - started));
	if (c)
		printf(": connection %u of slot %u (IPv%d, opened by %s%s)", c->number, c->slot,
		       c->v6 ? 6 : 4, c->client ? "b" : "a",
		       c->how == END_CLOSE ? ", one end closes with data queued" :
		       c->how == END_ABORT ? ", one end resets" : "");
	printf(": ");
	errno = err;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (c) {
		describe(c, 0);
		describe(c, 1);
	}
	events_recent();
	fflush(stdout);
	/* The sockets are still there, and whatever the events left behind. */
	if (opt.on_failure && system(opt.on_failure))
		printf("#   %s failed\n", opt.on_failure);
	_exit(1);
}

/* ---- a connection ---- */

static void plan(struct tconn *c, unsigned int slot, unsigned int number)
{
	uint64_t rng = sub_stream(opt.seed, STREAM_CONN, (uint64_t)slot << 32 | number);
	unsigned int side, i;

	memset(c, 0, sizeof(*c));
	c->slot = slot;
	c->number = number;
	c->seed = rnd(&rng);
	c->v6 = one_in(&rng, 2);
	c->client = rnd_below(&rng, 2);
	c->closer = rnd_below(&rng, 2);
	i = rnd_below(&rng, 10);
	c->how = i < 6 ? END_SHUTDOWN : i < 9 ? END_CLOSE : END_ABORT;
	c->urgent = one_in(&rng, 8);
	for (side = 0; side < 2; side++) {
		c->end[side].fd = -1;
		pthread_mutex_init(&c->end[side].zc_lock, NULL);
		c->half[side].key = rnd(&rng);
		c->half[side].len = one_in(&rng, 3) ? 1 + rnd_below(&rng, opt.max_len) :
			rnd_size(&rng, opt.max_len);
	}
	c->quiet = opt.direct && one_in(&rng, 2);
	c->corrupt = opt.corrupt && slot == 0 && number == 0;
	if (c->corrupt) {
		c->how = END_SHUTDOWN;
		c->half[0].len = c->half[1].len = MAX(c->half[0].len, (uint64_t)1000);
	}
}

/* Connects and accepts: false if that was not possible just now. */
static bool establish(struct slot *s, struct tconn *c)
{
	unsigned int server = !c->client, i;
	struct pollfd p[2] = { { .fd = s->listener[server][c->v6], .events = POLLIN } };
	int fd, peer;
	struct sockaddr_storage ss;
	socklen_t len;

	net_enter(c->client);
	fd = tcp_connect(ns_addr[server][c->v6], PORT + s->index);
	if (fd < 0)
		return false;
	c->end[c->client].fd = fd;
	/*
	 * Without a route for the repetition of its SYN-ACK a listener forgets the request
	 * (reqsk_timer_handler()), and tells nobody: who asks hears of it.
	 */
	keepalive(fd, true);
	p[1].fd = fd;
	/* One that gave up earlier may be in the queue before ours. */
	for (i = 0; i < 100; i++) {
		if (poll(p, 2, 1000) < 1)
			continue;
		if (p[1].revents & (POLLERR | POLLHUP))
			break;
		len = sizeof(ss);
		peer = accept4(p[0].fd, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC);
		if (peer < 0)
			continue;
		if (ntohs(((struct sockaddr_in *)&ss)->sin_port) == local_port(fd)) {
			c->end[server].fd = peer;
			set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
			return true;
		}
		close(peer);
	}
	c->end[c->client].fd = -1;
	close(fd);
	return false;
}

static void live(struct tconn *c)
{
	struct worker worker[4];
	pthread_t thread[4];
	unsigned int i, side;

	for (side = 0; side < 2; side++) {
		set_int(c->end[side].fd, SOL_SOCKET, SO_ZEROCOPY, 1);
		/* A reset that is lost is not sent again: who has nothing to send has to ask. */
		if (c->how == END_ABORT)
			keepalive(c->end[side].fd, true);
		/*
		 * Who was closed with data queued is given up at once when a link failed
		 * and its timer stands at the maximum (tcp_orphan_retries()), and its peer
		 * is not told: a maximum that no outage here reaches.
		 */
		if (c->how == END_CLOSE)
			set_int(c->end[side].fd, IPPROTO_TCP, TCP_RTO_MAX_MS, 60000);
		if (c->urgent)
			set_int(c->end[side].fd, SOL_SOCKET, SO_OOBINLINE, 1);
	}
	for (i = 0; i < 4; i++) {
		worker[i] = (struct worker){
			.c = c, .side = i & 1, .rng = sub_stream(c->seed, STREAM_WORKER, i),
		};
		if (pthread_create(&thread[i], NULL, i & 2 ? rx_main : tx_main, &worker[i]))
			setup_error("cannot create a thread: %m");
	}
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	if (!c->aborting && (!c->half[0].eof || !c->half[1].eof))
		fail(c, "ended without EOF");
	for (side = 0; side < 2; side++) {
		if (c->end[side].fd >= 0)
			close(c->end[side].fd);
		c->end[side].fd = -1;
		for (i = 0; i < ZC_SLOTS; i++)
			free(c->end[side].zc[i].buf);
	}
	totals.connections++;
	if (c->aborting)
		totals.aborted++;
}

static void *slot_main(void *arg)
{
	struct slot *s = arg;
	struct tconn *c = &s->memory;

	while (!finishing) {
		plan(c, s->index, s->number);
		if (!establish(s, c)) {
			/* The link may be down, or the route away. */
			totals.retried++;
			sleep_ms(50);
			continue;
		}
		s->conn = c;
		live(c);
		s->conn = NULL;
		s->number++;
	}
	s->idle = true;
	return NULL;
}

struct tconn *some_conn(uint64_t *rng)
{
	return slots[rnd_below(rng, opt.slots)].conn;
}

/* ---- the whole ---- */

static void watch(uint64_t clear)
{
	unsigned int i;

	for (i = 0; i < opt.slots; i++) {
		struct slot *s = &slots[i];
		struct tconn *c = s->conn;
		uint64_t seen = (uint64_t)s->number << 40;

		if (s->idle)
			continue;
		if (c)
			seen += c->half[0].sent + c->half[0].received + c->half[1].sent +
				c->half[1].received + c->half[0].eof + c->half[1].eof + 1;
		if (seen != s->seen) {
			s->seen = seen;
			s->since = clear;
		} else if (clear - s->since > opt.stall * 1000ull) {
			if (c)
				fail(c, "no progress for %u s of clear weather", opt.stall);
			c = &s->memory;
			fail(c, "no connection could be made for %u s of clear weather: %s", opt.stall,
			     c->end[c->client].fd < 0 ? "it does not connect" : "it is not accepted");
		}
	}
}

static unsigned long long flips(const char *what)
{
	return ethtool_sum(DEV_A, what) + ethtool_sum(DEV_B, what);
}

static void summary(FILE *out, const char *prefix)
{
	fprintf(out, "%s%llu s: %llu connections, %.1f and %.1f MB, %llu offloads, %llu uploads, %lu events\n",
		prefix, (unsigned long long)(now_ms() - started) / 1000,
		(unsigned long long)totals.connections, totals.bytes[0] / 1e6, totals.bytes[1] / 1e6,
		flips("toe_offloads"), flips("toe_uploads"), events_total());
	fflush(out);
}

static void report(void)
{
	printf("# seed 0x%llx, %u s\n", (unsigned long long)opt.seed, opt.seconds);
	printf("# connections: %llu, %llu of them ended by a reset; %llu attempts to connect failed\n",
	       (unsigned long long)totals.connections, (unsigned long long)totals.aborted,
	       (unsigned long long)totals.retried);
	printf("# bytes, each checked: %llu from a to b, %llu from b to a; %llu mapped, %llu zero copy writes, %llu urgent\n",
	       (unsigned long long)totals.bytes[0], (unsigned long long)totals.bytes[1],
	       (unsigned long long)totals.mapped, (unsigned long long)totals.zc_sent,
	       (unsigned long long)totals.oob);
	printf("# socket options: %llu; TCP_ULP accepted %llu times, refused %llu times; calls without memory: %llu\n",
	       (unsigned long long)totals.options, (unsigned long long)totals.ulp_ok,
	       (unsigned long long)totals.ulp_refused, (unsigned long long)totals.no_memory);
	printf("# flips: %llu offloads, %llu uploads, %llu refusals, %llu special cases, %llu resynchronisations\n",
	       flips("toe_offloads"), flips("toe_uploads"), flips("toe_refusals"),
	       flips("toe_specials"), flips("toe_resyncs"));
	printf("# by other threads: %llu options set on connections, %llu of them kTLS; %llu put into a sockmap\n",
	       (unsigned long long)totals.foreign, (unsigned long long)totals.tls,
	       (unsigned long long)totals.sockmap);
	printf("# short cut: %llu bytes in %llu sections; frames, of a:", flips("toe_short_bytes"),
	       flips("toe_short_writes"));
	ethtool_print(DEV_A, "toe_short_left_");
	printf("; of b:");
	ethtool_print(DEV_B, "toe_short_left_");
	printf("\n# user buffers: %llu posted, %llu bytes placed\n", flips("toe_buf_posted"),
	       flips("toe_buf_direct_bytes"));
	printf("# uploads of a:");
	ethtool_print(DEV_A, "toe_upload_");
	printf("\n# uploads of b:");
	ethtool_print(DEV_B, "toe_upload_");
	if (opt.bond)
		printf("\n# failovers: %llu moved, %llu by link, %llu by the host stack",
		       flips("toe_failover_moved"), flips("toe_failover_link"), flips("toe_failover_host"));
	printf("\n# special cases of a:");
	ethtool_print(DEV_A, "toe_special_");
	printf("\n# refusals of a:");
	ethtool_print(DEV_A, "toe_refuse_");
	printf("\n");
	events_report();
	fflush(stdout);
}

static void start(void)
{
	unsigned int i, side, v6;

	slots = calloc(opt.slots, sizeof(*slots));
	for (i = 0; i < opt.slots; i++) {
		struct slot *s = &slots[i];

		s->index = i;
		for (side = 0; side < 2; side++) {
			net_enter(side);
			for (v6 = 0; v6 < 2; v6++) {
				s->listener[side][v6] = tcp_listen(ns_addr[side][v6], PORT + i, 16);
				if (s->listener[side][v6] < 0) {
					errno = -s->listener[side][v6];
					setup_error("cannot listen: %m");
				}
			}
		}
	}
	for (i = 0; i < opt.slots; i++)
		if (pthread_create(&slots[i].thread, NULL, slot_main, &slots[i]))
			setup_error("cannot create a thread: %m");
}

static void usage(void)
{
	fprintf(stderr,
		"usage: toe_torture [OPTIONS] NAMESPACE-A NAMESPACE-B ROUTER\n"
		"  --seed S       the plan (default: a random one, which is printed)\n"
		"  --seconds N    how long new connections and events come (20)\n"
		"  --slots N      connections at a time (12)\n"
		"  --max SIZE     bytes of a direction at most (4m)\n"
		"  --pace MS      mean time between two events (40)\n"
		"  --stall N      seconds of clear weather without progress that are a failure (60)\n"
		"  --only A,B     these kinds of events only\n"
		"  --never A,B    all kinds but these\n"
		"  --host         nothing is offloaded: whose fault is it?\n"
		"  --direct       the two ends are side by side\n"
		"  --bond         the same, over bonds of two pairs\n"
		"  --corrupt      one wrong byte is sent: has to fail\n"
		"  --progress FD  a line there every 5 s\n"
		"  --dir DIR      a directory to mount things over (/run)\n"
		"  --on-failure C a command for the shell, while all is as it was when the run failed\n"
		"  --verbose      each event as it comes\n");
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", 1, NULL, 's' }, { "seconds", 1, NULL, 't' }, { "slots", 1, NULL, 'n' },
		{ "max", 1, NULL, 'm' }, { "pace", 1, NULL, 'p' }, { "stall", 1, NULL, 'w' },
		{ "only", 1, NULL, 'o' }, { "never", 1, NULL, 'x' }, { "corrupt", 0, NULL, 'c' },
		{ "progress", 1, NULL, 'f' }, { "dir", 1, NULL, 'd' }, { "host", 0, NULL, 'h' }, { "verbose", 0, NULL, 'v' },
		{ "on-failure", 1, NULL, 'F' }, { "direct", 0, NULL, 'D' }, { "bond", 0, NULL, 'B' }, { 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		case 't': opt.seconds = atoi(optarg); break;
		case 'n': opt.slots = atoi(optarg); break;
		case 'm': opt.max_len = parse_size(optarg); break;
		case 'p': opt.pace = atoi(optarg); break;
		case 'w': opt.stall = atoi(optarg); break;
		case 'o': opt.only = optarg; break;
		case 'x': opt.never = optarg; break;
		case 'c': opt.corrupt = true; break;
		case 'f': opt.progress = atoi(optarg); break;
		case 'd': opt.dir = optarg; break;
		case 'F': opt.on_failure = optarg; break;
		case 'h': opt.host = true; break;
		case 'B': opt.bond = opt.direct = true; break;
		case 'D': opt.direct = true; break;
		case 'v': opt.verbose = true; break;
		default: usage();
		}
	}
	if (argc - optind != NS_COUNT || !opt.seconds || !opt.slots || opt.slots > 256 ||
	    !opt.pace || !opt.stall || opt.max_len < 1000)
		usage();
	for (o = 0; o < NS_COUNT; o++)
		opt.ns[o] = argv[optind + o];
	if (!opt.seed && getentropy(&opt.seed, sizeof(opt.seed)))
		setup_error("no random seed: %m");
}

int main(int argc, char **argv)
{
	struct rlimit files = { 8192, 8192 };
	uint64_t clear = 0, last, next = 5000;
	unsigned int i;
	FILE *progress = NULL;

	parse(argc, argv);
	printf("# torture: seed 0x%llx, %u s, %u connections at a time\n",
	       (unsigned long long)opt.seed, opt.seconds, opt.slots);
	fflush(stdout);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	if (opt.progress >= 0)
		progress = fdopen(opt.progress, "w");
	events_prepare();
	net_init();
	settings_start();
	started = last = now_ms();
	start();
	events_start();
	for (;;) {
		uint64_t now;
		bool busy = false;

		sleep_ms(TICK);
		now = now_ms();
		if (events_calm())
			clear += now - last;
		last = now;
		watch(clear);
		if (progress && now - started >= next) {
			summary(progress, "@");
			next += 5000;
		}
		if (!finishing && now - started >= opt.seconds * 1000ull) {
			events_stop();
			finishing = true;
		}
		for (i = 0; i < opt.slots; i++)
			busy |= !slots[i].idle;
		if (!busy)
			break;
	}
	for (i = 0; i < opt.slots; i++)
		pthread_join(slots[i].thread, NULL);
	report();
	return 0;
}
