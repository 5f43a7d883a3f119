// SPDX-License-Identifier: GPL-2.0
/*
 * Plain reads of a delegated connection: calls that want any bytes there are. A task waits
 * for them in the module; whatever else may end its wait has to end it there, too. What each
 * call returns is what plain TCP returns: the same probes pass on any other device.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#define SIZE 65536
#define PAGE 4096
/* Between two things that happen one after the other, in ms. */
#define SOON 100

static uint8_t *memory;
static int reader_tid;
static pthread_t reader;
static uint64_t sent;

static void send_some(size_t n)
{
	uint8_t buf[SIZE];

	stream_fill(2, sent, buf, n);
	if (send(p.s, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		fatal("send: %m");
	sent += n;
}

static void check(const uint8_t *at, ssize_t n)
{
	if (n > 0 && stream_check(2, p.pos_sc, at, n) >= 0)
		fatal("wrong byte after position %llu", (unsigned long long)p.pos_sc);
	if (n > 0)
		p.pos_sc += n;
}

/* ---- what happens while the call waits ---- */

static void some(void) { send_some(1000); }
static void own_shutdown(void) { shutdown(p.c, SHUT_RD); }
static void peer_fin(void) { shutdown(p.s, SHUT_WR); }
static void interrupt(void) { pthread_kill(reader, SIGUSR1); }
static void unmap(void) { munmap(memory, SIZE); some(); }
static void no_more(void) { }
static void large(void) { send_some(SIZE); }

static void interrupt_first(void)
{
	interrupt();
	sleep_ms(SOON);
	some();
}

static void peer_reset(void)
{
	struct linger linger = { 1, 0 };

	setsockopt(p.s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(p.s);
}

static void command(void)
{
	if (p.before && system(p.before))
		fatal("failed: %s", p.before);
	sleep_ms(SOON);
	some();
}

/*
 * With the module its devices go, so that nothing comes any more. The end of the command
 * wakes the reader: SIGCHLD, which is nobody's, has its call begin again, and a signal that
 * comes before it has would not end it.
 */
static void unload(void)
{
	if (system(p.before))
		fatal("failed: %s", p.before);
	asleep(reader_tid);
	interrupt();
}

static void urgent(void)
{
	some();
	if (send(p.s, "u", 1, MSG_OOB) != 1)
		fatal("MSG_OOB: %m");
}

/* A segment of the peer's that the peer did not send, out of a namespace. */
static void segment(const char *ns, uint32_t gap)
{
	struct segment g = { .flags = ACK | PSH, .window = 60000, .len = 500 };

	g.seq = queue_seq(2) + gap;
	g.ack = queue_seq(1);
	put_segment(&g, ns);
}

/* Beyond a gap: nobody is to be woken for it, and the host has the connection for a while. */
static void beyond_gap(void)
{
	segment(p.server_ns, 5000);
	sleep_ms(SOON);
	some();
}

/* It reaches the socket by another way than the target, which knows nothing of it. */
static void elsewhere(void)
{
	segment(p.client_ns, 0);
}

/* Somebody on the way says that the port is closed: an error for who asks for such. */
static void port_unreachable(void)
{
	uint8_t m[36] = { 3, 3 }, *ip = m + 8;
	struct sockaddr_in src, dst;
	socklen_t len = sizeof(src);
	uint32_t seq = htonl(queue_seq(1));
	uint16_t sum;
	int fd;

	getsockname(p.c, (struct sockaddr *)&src, &len);
	len = sizeof(dst);
	getpeername(p.c, (struct sockaddr *)&dst, &len);
	/* The header of the client's segment, and the first bytes of it. */
	ip[0] = 0x45;
	ip[3] = 40;
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, &src.sin_addr, 4);
	memcpy(ip + 16, &dst.sin_addr, 4);
	memcpy(ip + 20, &src.sin_port, 2);
	memcpy(ip + 22, &dst.sin_port, 2);
	memcpy(ip + 24, &seq, 4);
	sum = ~csum_add(0, m, sizeof(m));
	m[2] = sum >> 8;
	m[3] = sum;
	if (enter_ns(p.server_ns))
		fatal("namespace");
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	src.sin_port = 0;
	if (fd < 0 || sendto(fd, m, sizeof(m), 0, (struct sockaddr *)&src, sizeof(src)) < 0)
		fatal("ICMP: %m");
	close(fd);
}

/* ---- */

static struct {
	const char *name;
	void (*act)(void);
	ssize_t want;		/* what the call returns */
	bool more;		/* what is left afterwards is read, too */
} probes[] = {
	{ "some", some, 1000, false },
	{ "shutdown", own_shutdown, 0, false },
	{ "fin", peer_fin, 0, false },
	{ "reset", peer_reset, -ECONNRESET, false },
	{ "signal", interrupt, -EINTR, false },
	{ "restart", interrupt_first, 1000, false },
	{ "command", command, 1000, false },
	{ "unload", unload, -EINTR, false },
	{ "out_of_order", beyond_gap, 1000, false },
	{ "elsewhere", elsewhere, 500, false },
	{ "icmp", port_unreachable, -ECONNREFUSED, false },
	{ "munmap", unmap, -EFAULT, true },
	{ "timeout", no_more, -EAGAIN, false },
	{ "lowat", some, 1000, false },
	{ "readv", some, 1000, false },
	{ "large", large, -1, true },
	{ "urgent", urgent, 1000, false },
	{ "poll", some, 100, true },
};

/* The kernel function that the task sleeps in; "0" where the kernel does not say. */
static const char *place(void)
{
	static char text[64];
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", reader_tid);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f))
		strcpy(text, "0");
	if (f)
		fclose(f);
	return text;
}

static int which;

static void *help(void *arg)
{
	const char *name = probes[which].name;
	bool host = !strcmp(name, "timeout") || !strcmp(name, "lowat");

	asleep(reader_tid);
	if (!p.ulp_try && !host && strcmp(place(), "0") && strcmp(place(), "toe_reader_sleep"))
		fatal("the reader sleeps in %s, not in the module", place());
	probes[which].act();
	return arg;
}

static void *poller(void *arg)
{
	struct pollfd fd = { .fd = p.c, .events = POLLIN };

	if (poll(&fd, 1, 10000) != 1)
		fatal("poll() did not return");
	return arg;
}

static void nothing(int sig) { (void)sig; }

static ssize_t call(const char *name)
{
	struct iovec v[3] = { { memory, 10 }, { memory + 10, 600 }, { memory + 610, 800 } };
	ssize_t ret;

	errno = 0;
	if (!strcmp(name, "readv"))
		ret = readv(p.c, v, 3);
	else
		/* What a poller is told of must not be gone when it looks. */
		ret = read(p.c, memory, strcmp(name, "poll") ? SIZE : 100);
	return ret < 0 ? -errno : ret;
}

static void prepare(const char *name)
{
	struct sigaction sa = { .sa_handler = nothing };
	/* A call with a limit is the host's. */
	struct timeval tv = { .tv_usec = strcmp(name, "timeout") ? 0 : 400000 };
	int lowat = 1000, on = 1;

	sa.sa_flags = !strcmp(name, "restart") ? SA_RESTART : 0;
	sigaction(SIGUSR1, &sa, NULL);
	setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (!strcmp(name, "icmp"))
		setsockopt(p.c, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	if (!strcmp(name, "lowat"))
		setsockopt(p.c, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat));
}

static void drain(void)
{
	static uint8_t buf[SIZE];

	while (p.pos_sc < sent) {
		ssize_t ret = recv(p.c, buf, sizeof(buf), 0);

		if (ret <= 0)
			fatal("%llu bytes are gone: %m", (unsigned long long)(sent - p.pos_sc));
		check(buf, ret);
	}
}

int plain_read(const char *name)
{
	pthread_t helper, poll_thread;
	size_t n = sizeof(probes) / sizeof(*probes);
	ssize_t ret;

	for (which = 0; which < (int)n && strcmp(probes[which].name, name); which++)
		;
	if (which == (int)n && strcmp(name, "many")) {
		fprintf(stderr, "no such read: %s\n", name);
		return 2;
	}
	open_listener();
	establish();
	prepare(name);
	offload(p.c);
	if (p.both)
		offload(p.s);
	if (which == (int)n) {
		many_readers(false);
		return 0;
	}
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fatal("mmap: %m");
	reader = pthread_self();
	reader_tid = syscall(SYS_gettid);
	if (!strcmp(name, "poll"))
		pthread_create(&poll_thread, NULL, poller, NULL);
	pthread_create(&helper, NULL, help, NULL);
	ret = call(name);
	if (probes[which].want == -1 ? ret <= 0 : ret != probes[which].want)
		fatal("%s: returned %zd, expected %zd", name, ret, probes[which].want);
	if (strcmp(name, "elsewhere"))
		check(memory, ret);
	pthread_join(helper, NULL);
	if (!strcmp(name, "poll"))
		pthread_join(poll_thread, NULL);
	if (probes[which].more)
		drain();
	return 0;
}
