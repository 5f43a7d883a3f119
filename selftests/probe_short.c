// SPDX-License-Identifier: GPL-2.0
/*
 * The same-host short cut: which way bytes go when somebody sees frames, or may judge them,
 * when the way changes, when the connection is taken back, and when it ends. Both ends are
 * in one task, so that nobody owns a socket: bytes go past the wire, or there is a reason.
 */
#define _GNU_SOURCE
#include "probe_short.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/tcp.h>

/* What exchange(1) moves, both directions together. */
#define ROUND 8192

/* A device of one end, and a socket by which its namespace is asked. */
static struct end {
	const char *ns;
	char dev[IFNAMSIZ];
	int fd;
	/* So many counters has the device; these two are among them, 0 for none. */
	uint32_t counters, passed, framed;
} ends[2];

/* ---- the way ---- */

static void look_at(struct end *end, const char *ns, const char *dev)
{
	int err = enter_ns(ns);

	if (err)
		fatal("namespace %s: %s", ns, strerror(-err));
	end->ns = ns;
	snprintf(end->dev, sizeof(end->dev), "%s", dev);
	end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* --dev names the client's device and the server's. */
static void prepare(void)
{
	char names[64], *second;

	snprintf(names, sizeof(names), "%s", p.dev ?: ",");
	second = strchr(names, ',');
	if (!second)
		fatal("--dev wants two devices");
	*second++ = 0;
	look_at(&ends[1], p.server_ns, second);
	look_at(&ends[0], p.client_ns, names);
}

static void find(const char *name, uint64_t value, void *arg)
{
	struct end *end = arg;

	(void)value;
	if (!strcmp(name, "toe_short_bytes"))
		end->passed = end->counters + 1;
	else if (!strcmp(name, "toe_tx_bytes"))
		end->framed = end->counters + 1;
	end->counters++;
}

uint64_t sum(const uint64_t of[2]) { return of[0] + of[1]; }

bool short_known(void)
{
	return !p.ulp_try;
}

struct moved moved(void)
{
	struct moved now = { 0 };
	uint64_t values[1024];
	int i, err = 0;

	for (i = 0; short_known() && i < 2; i++) {
		struct end *end = &ends[i];

		/* Names are asked for once. */
		if (!end->counters)
			err = dev_counters(end->fd, end->dev, find, end);
		if (end->counters > ARRAY_SIZE(values))
			fatal("%u counters", end->counters);
		if (!err)
			err = dev_counter_values(end->fd, end->dev, values, end->counters);
		if (err)
			fatal("counters of %s: %s", end->dev, strerror(-err));
		now.passed[i] = end->passed ? values[end->passed - 1] : 0;
		now.framed[i] = end->framed ? values[end->framed - 1] : 0;
	}
	return now;
}

int open_knob(int end, const char *name)
{
	char path[96];
	int fd;

	if (enter_ns(ends[end].ns))
		fatal("namespace");
	snprintf(path, sizeof(path), "/sys/class/net/%s/toe/%s", ends[end].dev, name);
	fd = open_sys(path, O_WRONLY);
	if (fd < 0)
		fatal("%s: %m", path);
	return fd;
}

void resume(void)
{
	if (strcmp(ulp_name(p.c), TOE_ULP))
		ulp_request(p.c);
	if (strcmp(ulp_name(p.s), TOE_ULP))
		ulp_request(p.s);
}

static uint64_t passed(const struct moved *from, int who)
{
	struct moved now = moved();

	return (who & CLIENT ? now.passed[0] - from->passed[0] : 0) +
	       (who & SERVER ? now.passed[1] - from->passed[1] : 0);
}

void come_to_pass(void)
{
	uint64_t end = now_ms() + 20000;
	struct moved from;

	if (!short_known())
		return;
	do {
		resume();
		from = moved();
		exchange(1);
		if (passed(&from, BOTH) == ROUND)
			return;
		/* A delayed ACK, or the time in which a filter is noticed to be gone. */
		sleep_ms(50);
	} while (now_ms() < end);
	fatal("no bytes go past the wire; upper layer protocols: %s, %s", ulp_name(p.c), ulp_name(p.s));
}

void expect_passed(const struct moved *from, int who, uint64_t n, const char *what)
{
	uint64_t m = passed(from, who);

	if (short_known() && m != n)
		fatal("%s: %llu bytes went past the wire, not %llu", what, (unsigned long long)m,
		      (unsigned long long)n);
}

void trips_pass(unsigned int rounds)
{
	struct moved from = moved();

	exchange(rounds);
	expect_passed(&from, BOTH, (uint64_t)rounds * ROUND, "round trips");
}

void trips_by_frames(unsigned int rounds, int who)
{
	struct moved from = moved();

	exchange(rounds);
	expect_passed(&from, who, 0, "round trips with somebody on the way");
}

/* Bytes that were written and not read. */
static uint64_t ahead;

void fill_cs(uint8_t *buf, size_t n)
{
	stream_fill(1, p.pos_cs + ahead, buf, n);
	ahead += n;
}

void write_cs(size_t n)
{
	uint8_t buf[ROUND];

	fill_cs(buf, n);
	if (send(p.c, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		fatal("send: %m");
}

void skip_cs(size_t n)
{
	p.pos_cs += n;
	ahead -= n;
}

void check_cs(const uint8_t *buf, size_t n, const char *what)
{
	if (stream_check(1, p.pos_cs, buf, n) >= 0)
		fatal("%s: wrong byte at position %llu", what,
		      (unsigned long long)p.pos_cs + stream_check(1, p.pos_cs, buf, n));
	skip_cs(n);
}

void read_cs(size_t n)
{
	recv_cs(n);
	ahead -= n;
}

/* ---- who sees frames ---- */

static int seer = -1;

static void command(const char *text)
{
	if (text && system(text))
		fatal("failed: %s", text);
}

/* A packet socket in one end's namespace: of its device, or of any. */
static void tap(int end, int protocol, bool any)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };

	if (enter_ns(ends[end].ns))
		fatal("namespace");
	to.sll_ifindex = any ? 0 : if_nametoindex(ends[end].dev);
	seer = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (seer < 0 || bind(seer, (struct sockaddr *)&to, sizeof(to)))
		fatal("packet socket: %m");
}

static void raw(int end)
{
	if (enter_ns(ends[end].ns))
		fatal("namespace");
	seer = socket(strchr(p.addr, ':') ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	if (seer < 0)
		fatal("raw socket: %m");
}

static void pass_all(int fd)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, ~0);
	struct sock_fprog prog = { 1, &all };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)))
		fatal("SO_ATTACH_FILTER: %m");
}

static void no_filter(int fd)
{
	int zero = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof(zero));
}

static void stamps(int fd, int on)
{
	if (set_int(fd, SOL_SOCKET, SO_TIMESTAMP, on))
		fatal("SO_TIMESTAMP: %m");
}

static void tap_client(void) { tap(0, ETH_P_ALL, false); }
static void tap_server(void) { tap(1, ETH_P_ALL, false); }
static void tap_any_client(void) { tap(0, ETH_P_ALL, true); }
static void tap_any_server(void) { tap(1, ETH_P_ALL, true); }
static void tap_ip_server(void) { tap(1, strchr(p.addr, ':') ? ETH_P_IPV6 : ETH_P_IP, true); }
static void raw_client(void) { raw(0); }
static void raw_server(void) { raw(1); }
static void filter_client(void) { pass_all(p.c); }
static void filter_server(void) { pass_all(p.s); }
static void stamps_client(void) { stamps(p.c, 1); }
static void stamps_server(void) { stamps(p.s, 1); }
static void commanded(void) { command(p.before); }

/* Whose frames it is about: some only see, or judge, what is received. */
static const struct {
	const char *name;
	void (*begin)(void);
	int who;
} conditions[] = {
	{ "tap_client", tap_client, BOTH },
	{ "tap_server", tap_server, BOTH },
	{ "tap_any_client", tap_any_client, BOTH },
	{ "tap_any_server", tap_any_server, BOTH },
	{ "tap_ip_server", tap_ip_server, CLIENT },
	{ "raw_client", raw_client, SERVER },
	{ "raw_server", raw_server, CLIENT },
	{ "filter_client", filter_client, SERVER },
	{ "filter_server", filter_server, CLIENT },
	{ "stamps_client", stamps_client, SERVER },
	{ "stamps_server", stamps_server, CLIENT },
	{ "judge_client", commanded, CLIENT },
	{ "judge", commanded, BOTH },
};

static void end_condition(void)
{
	if (seer >= 0)
		close(seer);
	seer = -1;
	no_filter(p.c);
	no_filter(p.s);
	stamps(p.c, 0);
	stamps(p.s, 0);
	command(p.after);
}

/* With --slow it is noticed a little later. */
static void condition(void (*begin)(void), int who)
{
	trips_pass(5);
	begin();
	if (p.slow) {
		sleep_ms(300);
		exchange(1);
	}
	trips_by_frames(10, who);
	end_condition();
	come_to_pass();
	trips_pass(5);
}

/* Frames would get nowhere after --before, and so do bytes; after --after they do. */
static void unreachable(void)
{
	struct moved from;
	struct pollfd pfd = { .fd = p.s, .events = POLLIN };

	command(p.before);
	sleep_ms(300);
	from = moved();
	write_cs(1000);
	if (poll(&pfd, 1, 500))
		fatal("bytes came where frames do not");
	expect_passed(&from, CLIENT, 0, "an end out of reach");
	command(p.after);
	read_cs(1000);
	come_to_pass();
	trips_pass(5);
}

/* Whatever --before does, bytes go on, by whichever way. */
static void either(void)
{
	trips_pass(5);
	command(p.before);
	exchange(20);
	command(p.after);
	exchange(20);
	come_to_pass();
	trips_pass(5);
}

/* What is sent after --before, which is said on standard error, is all in frames. */
static void capture(void)
{
	uint64_t first;

	trips_pass(10);
	command(p.before);
	first = p.pos_cs;
	trips_by_frames(20, CLIENT);
	fprintf(stderr, "%llu\n", (unsigned long long)(p.pos_cs - first));
	command(p.after);
}

/* ---- ends ---- */

static void want(ssize_t got, ssize_t expected, const char *what)
{
	if (got != expected)
		fatal("%s: %zd (%m), expected %zd", what, got, expected);
}

static ssize_t reading(int fd)
{
	uint8_t byte;
	ssize_t ret = recv(fd, &byte, 1, 0);

	return ret < 0 ? -errno : ret;
}

static void reset(int fd)
{
	struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* Some bytes past the wire, which nobody has read yet. */
static void leave(size_t n)
{
	struct moved from = moved();

	write_cs(n);
	expect_passed(&from, CLIENT, n, "what nobody has read");
}

static void end_close(void)
{
	leave(5000);
	close(p.c);
	read_cs(5000);
	want(reading(p.s), 0, "end of file");
}

static void end_half(void)
{
	leave(5000);
	shutdown(p.c, SHUT_WR);
	send_sc(6000);
	read_cs(5000);
	want(reading(p.s), 0, "end of file");
	recv_sc(6000);
	send_sc(2000);
	recv_sc(2000);
}

static void end_reset(void)
{
	leave(5000);
	reset(p.c);
	sleep_ms(100);
	read_cs(5000);
	want(reading(p.s), -ECONNRESET, "after a reset");
}

static void end_unread(void)
{
	leave(5000);
	close(p.s);
	sleep_ms(100);
	want(reading(p.c), -ECONNRESET, "after a close with bytes unread");
}

static void end_shutdown_rd(void)
{
	leave(1000);
	shutdown(p.s, SHUT_RD);
	read_cs(1000);
	want(reading(p.s), 0, "end of file");
	/* What comes then is taken, as TCP does. */
	write_cs(1000);
	read_cs(1000);
}

static void urgent(void)
{
	uint8_t byte = 0;
	int mark = -1;

	leave(1000);
	want(send(p.c, "u", 1, MSG_OOB), 1, "MSG_OOB");
	sleep_ms(100);
	read_cs(1000);
	if (ioctl(p.s, SIOCATMARK, &mark) || mark != 1)
		fatal("not at the mark: %d", mark);
	want(recv(p.s, &byte, 1, MSG_OOB), 1, "urgent byte");
	if (byte != 'u')
		fatal("urgent byte %d", byte);
	exchange(3);
	come_to_pass();
	trips_pass(5);
}

static void zerocopy(void)
{
	static uint8_t buf[8000];
	uint8_t control[128];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct pollfd pfd = { .fd = p.c };

	if (set_int(p.c, SOL_SOCKET, SO_ZEROCOPY, 1))
		lacking("SO_ZEROCOPY");
	trips_pass(2);
	fill_cs(buf, sizeof(buf));
	want(send(p.c, buf, sizeof(buf), MSG_ZEROCOPY), sizeof(buf), "MSG_ZEROCOPY");
	read_cs(sizeof(buf));
	if (poll(&pfd, 1, 5000) != 1 || recvmsg(p.c, &msg, MSG_ERRQUEUE))
		fatal("no notification: %m");
	come_to_pass();
	trips_pass(5);
}

/* Bytes that wait for more are not overtaken. */
static void more(void)
{
	uint8_t buf[600];

	fill_cs(buf, sizeof(buf));
	want(send(p.c, buf, 100, MSG_MORE), 100, "MSG_MORE");
	want(send(p.c, buf + 100, 200, 0), 200, "send");
	set_int(p.c, IPPROTO_TCP, TCP_CORK, 1);
	want(send(p.c, buf + 300, 100, 0), 100, "send");
	want(send(p.c, buf + 400, 200, 0), 200, "send");
	set_int(p.c, IPPROTO_TCP, TCP_CORK, 0);
	read_cs(sizeof(buf));
	come_to_pass();
	trips_pass(5);
}

static void plain(void)
{
	trips_pass(200);
}

static const struct {
	const char *name;
	void (*run)(void);
} probes[] = {
	{ "trips", plain },
	{ "mapped", plain },
	{ "unreachable", unreachable },
	{ "either", either },
	{ "capture", capture },
	{ "close", end_close },
	{ "half", end_half },
	{ "reset", end_reset },
	{ "unread", end_unread },
	{ "shutdown_rd", end_shutdown_rd },
	{ "urgent", urgent },
	{ "zerocopy", zerocopy },
	{ "more", more },
};

/* A server's socket of the other family, whose addresses are mapped ones. */
static void mapped_listener(void)
{
	if (enter_ns(p.server_ns))
		fatal("namespace");
	p.listener = tcp_listen("::", 0, 16);
	if (p.listener < 0 || enter_ns(p.client_ns))
		fatal("listen on ::");
}

/* By frames only, and always. */
static int never(void)
{
	struct moved from = moved();

	resume();
	exchange(20);
	expect_passed(&from, BOTH, 0, "a connection that has no short cut");
	return 0;
}

int short_cut(const char *name)
{
	size_t i;
	int ret;

	prepare();
	if (!strcmp(name, "mapped"))
		mapped_listener();
	else
		open_listener();
	establish();
	if (!strcmp(name, "never"))
		return never();
	offload(p.c);
	offload(p.s);
	come_to_pass();
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!strcmp(probes[i].name, name)) {
			probes[i].run();
			return 0;
		}
	}
	for (i = 0; i < ARRAY_SIZE(conditions); i++) {
		if (!strcmp(conditions[i].name, name)) {
			condition(conditions[i].begin, conditions[i].who);
			return 0;
		}
	}
	ret = short_reads(name);
	if (ret < 0)
		ret = short_memory(name);
	if (ret < 0)
		ret = short_streams(name);
	if (ret < 0) {
		fprintf(stderr, "no such probe of the short cut: %s\n", name);
		return 2;
	}
	return ret;
}
