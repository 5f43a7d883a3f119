// SPDX-License-Identifier: GPL-2.0
/*
 * The short cut at the limits of memory: receivers that do not read, windows, send buffers,
 * what an application's memory lacks, allocations that fail, and who pays.
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
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#define PAGE 4096
#define MANY (4 << 20)

/* One direction of a connection, by calls that do not wait. */
struct lane {
	int from, to;
	uint64_t seed, written, read;
};

static void set_lane(struct lane *lane, int from, int to, uint64_t seed)
{
	fcntl(from, F_SETFL, O_NONBLOCK);
	fcntl(to, F_SETFL, O_NONBLOCK);
	*lane = (struct lane){ .from = from, .to = to, .seed = seed };
}

/* Writes messages until no more is taken, or there are `end`: how many bytes. */
static uint64_t fill(struct lane *lane, size_t message, uint64_t end)
{
	static uint8_t buf[65536];
	uint64_t before = lane->written;

	while (lane->written < end) {
		size_t n = MIN(message, end - lane->written);
		ssize_t ret;

		stream_fill(lane->seed, lane->written, buf, n);
		ret = send(lane->from, buf, n, MSG_NOSIGNAL);
		if (ret < 0 && errno == EAGAIN)
			break;
		if (ret <= 0)
			fatal("send: %m");
		lane->written += ret;
	}
	return lane->written - before;
}

/* Reads all there is. */
static uint64_t drain(struct lane *lane)
{
	static uint8_t buf[65536];
	uint64_t before = lane->read;
	ssize_t ret;

	while ((ret = recv(lane->to, buf, sizeof(buf), 0)) > 0) {
		if (stream_check(lane->seed, lane->read, buf, ret) >= 0)
			fatal("wrong byte after position %llu", (unsigned long long)lane->read);
		lane->read += ret;
	}
	if (ret == 0 || errno != EAGAIN)
		fatal("receive: %m");
	return lane->read - before;
}

static void await(int fd, short events, const char *what)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	if (poll(&pfd, 1, 30000) != 1)
		fatal("%s: nothing in 30 s", what);
}

/*
 * Until a sender may write, or its receiver has something to read: what is in the send queue
 * may be more than three windows, and then one of them is not enough room.
 */
static void await_either(int sender, int receiver)
{
	struct pollfd pfd[] = {
		{ .fd = sender, .events = POLLOUT },
		{ .fd = receiver, .events = POLLIN },
	};
	int queued = -1;

	if (poll(pfd, 2, 30000) >= 1)
		return;
	ioctl(sender, SIOCOUTQ, &queued);
	fatal("nothing in 30 s, with %d bytes in the send queue", queued);
}

static uint32_t charged(int fd, uint32_t *limit)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len))
		fatal("SO_MEMINFO: %m");
	*limit = info[SK_MEMINFO_RCVBUF];
	return info[SK_MEMINFO_RMEM_ALLOC];
}

/*
 * A receiver that does not read stops its sender, in messages of any size, with no more
 * memory than it may have; and a read lets it go on.
 */
static void full(size_t message, uint64_t total)
{
	struct lane lane;
	uint32_t limit, taken, most = 0;
	bool stopped = false;

	set_lane(&lane, p.c, p.s, 3);
	while (lane.read < total) {
		fill(&lane, message, total);
		stopped |= lane.written < total;
		taken = charged(p.s, &limit);
		most = MAX(most, taken);
		if (taken > 2 * limit)
			fatal("%u bytes of receive memory are charged, and %u allowed", taken, limit);
		if (lane.written < total && lane.written - lane.read > 16 * (uint64_t)limit)
			fatal("%llu bytes were taken from a sender whose receiver does not read",
			      (unsigned long long)(lane.written - lane.read));
		await(p.s, POLLIN, "a receiver");
		drain(&lane);
		if (lane.written < total)
			await_either(p.c, p.s);
	}
	if (!stopped)
		fatal("the sender was never stopped");
	fprintf(stderr, "# note: messages of %zu bytes: at most %u of %u bytes charged\n", message, most,
		limit);
}

static void full_sizes(void)
{
	static const size_t sizes[] = { 10, 1000, 20000 };
	size_t i;

	set_int(p.s, SOL_SOCKET, SO_RCVBUF, 16384);
	set_int(p.c, SOL_SOCKET, SO_SNDBUF, 16384);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		full(sizes[i], 100000 + 50 * sizes[i]);
}

/* Two that both write before they read do not wait for each other but as TCP's peers do. */
static void crossed(void)
{
	struct lane cs, sc;

	set_lane(&cs, p.c, p.s, 3);
	set_lane(&sc, p.s, p.c, 4);
	while (cs.read < MANY || sc.read < MANY) {
		uint64_t n;

		while (fill(&cs, 65536, MANY) + fill(&sc, 65536, MANY))
			;
		n = drain(&cs) + drain(&sc);
		if (!n)
			await(cs.read < MANY ? p.s : p.c, POLLIN, "crossed writes");
	}
}

/* A receiver with a small window has not more unread than it has said, or had. */
static void clamp(void)
{
	struct lane lane;
	int unread, most;

	set_int(p.s, IPPROTO_TCP, TCP_WINDOW_CLAMP, 8192);
	set_int(p.c, SOL_SOCKET, SO_SNDBUF, 16384);
	set_lane(&lane, p.c, p.s, 3);
	/* What was offered before is used up. */
	while (lane.read < 300000) {
		fill(&lane, 1000, 300000);
		drain(&lane);
	}
	fill(&lane, 1000, 600000);
	sleep_ms(200);
	unread = 0;
	most = get_int(p.s, IPPROTO_TCP, TCP_WINDOW_CLAMP);
	unread = drain(&lane);
	if (most <= 0 || unread > 2 * most)
		fatal("%d bytes were sent into a window of %d", unread, most);
	while (lane.read < lane.written) {
		await(p.s, POLLIN, "a small window");
		drain(&lane);
	}
}

/* What is unsent is little, and a poller learns when it is less. */
static void notsent(void)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	struct lane lane;

	set_int(p.s, SOL_SOCKET, SO_RCVBUF, 16384);
	set_int(p.c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 8192);
	set_lane(&lane, p.c, p.s, 3);
	while (lane.read < 400000) {
		struct pollfd pfd = { .fd = p.c, .events = POLLOUT };

		while (lane.written < 400000 && poll(&pfd, 1, 0) == 1)
			if (!fill(&lane, 1000, MIN(lane.written + 1000, (uint64_t)400000)))
				break;
		if (getsockopt(p.c, IPPROTO_TCP, TCP_INFO, &info, &len))
			fatal("TCP_INFO: %m");
		if (info.tcpi_notsent_bytes > 2 * 8192)
			fatal("%u bytes are not sent", info.tcpi_notsent_bytes);
		await(p.s, POLLIN, "a receiver");
		drain(&lane);
		if (lane.written < 400000)
			await(p.c, POLLOUT, "TCP_NOTSENT_LOWAT");
	}
}

/* ---- an application's memory ---- */

static uint8_t *pages(size_t n)
{
	uint8_t *at = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fatal("mmap: %m");
	return at;
}

static void receive(const uint8_t *want, size_t n)
{
	static uint8_t got[16 * PAGE];
	size_t done = 0;
	ssize_t ret;

	while (done < n) {
		ret = recv(p.s, got + done, n - done, 0);
		if (ret <= 0)
			fatal("receive: %m");
		done += ret;
	}
	if (memcmp(got, want, n))
		fatal("wrong bytes");
	if (recv(p.s, got, sizeof(got), MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		fatal("more came than was written");
}

/*
 * Behind what is there is nothing: as much of it is sent as the call returns, and of a
 * whole buffer that is not there nothing. How much that is depends on what is copied at a
 * time: of plain TCP often nothing.
 */
static void fault(void)
{
	uint8_t *at = pages(8), copy[4 * PAGE];
	struct iovec v[2] = { { at + 3 * PAGE, PAGE }, { at + 5 * PAGE, PAGE } };
	ssize_t ret;
	int i;

	stream_fill(5, 0, at, 4 * PAGE);
	memcpy(copy, at, sizeof(copy));
	munmap(at + 4 * PAGE, 4 * PAGE);
	for (i = 0; i < 10; i++) {
		ret = send(p.c, at + 4 * PAGE, PAGE, MSG_NOSIGNAL);
		if (ret != -1 || errno != EFAULT)
			fatal("a buffer that is not there: %zd, %m", ret);
		ret = send(p.c, at + 3 * PAGE + i, 2 * PAGE, MSG_NOSIGNAL);
		if (ret > PAGE - i || (ret < 0 && errno != EFAULT) || !ret)
			fatal("a buffer half of which is there: %zd, %m", ret);
		receive(copy + 3 * PAGE + i, MAX(ret, 0));
		ret = writev(p.c, v, 2);
		if (ret > PAGE || (ret < 0 && errno != EFAULT) || !ret)
			fatal("two buffers of which one is there: %zd, %m", ret);
		receive(copy + 3 * PAGE, MAX(ret, 0));
	}
	come_to_pass();
	trips_pass(5);
}

/* Memory that nobody has touched yet. */
static void cold(void)
{
	static const uint8_t zeros[16 * PAGE];
	int i;

	for (i = 0; i < 5; i++) {
		uint8_t *at = pages(16);

		if (send(p.c, at, 16 * PAGE, MSG_NOSIGNAL) != 16 * PAGE)
			fatal("send: %m");
		receive(zeros, 16 * PAGE);
		munmap(at, 16 * PAGE);
	}
	come_to_pass();
	trips_pass(5);
}

/* ---- the kernel's ---- */

/* Each allocation of a write fails: it goes another way, or says so. */
static void no_memory(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC), n, failed = 0;
	char text[16];
	uint8_t buf[3000];

	if (fd < 0)
		lacking("fail-nth");
	for (n = 1; n < 40; n++) {
		ssize_t ret;
		int left;

		stream_fill(6, n, buf, sizeof(buf));
		snprintf(text, sizeof(text), "%d", n);
		if (pwrite(fd, text, strlen(text), 0) < 0)
			fatal("fail-nth: %m");
		ret = send(p.c, buf, sizeof(buf), MSG_NOSIGNAL);
		memset(text, 0, sizeof(text));
		if (pread(fd, text, sizeof(text) - 1, 0) < 0 || pwrite(fd, "0", 1, 0) < 0)
			fatal("fail-nth: %m");
		left = atoi(text);
		failed += !left;
		if (ret > 0)
			receive(buf, ret);
		else if (errno != ENOMEM && errno != ENOBUFS && errno != EAGAIN)
			fatal("send: %m");
		if (left)
			break;
		come_to_pass();
	}
	if (n == 1 || n == 40)
		fatal("%d allocations of %d failed", failed, n);
	come_to_pass();
	trips_pass(5);
}

/* Bytes of sockets that the group of --cgroup is charged for. */
static long group_sock(void)
{
	char path[256], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.stat", p.cgroup);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "sock %ld", &n);
	if (f)
		fclose(f);
	if (n < 0)
		lacking("memory.stat of sockets");
	return n;
}

/* What waits to be read is the receiver's to pay, who accepted it in a group. */
static void charge(void)
{
	char path[256];
	int i, fd;

	close(p.c);
	close(p.s);
	p.pos_cs = p.pos_sc = 0;
	p.c = tcp_connect(p.addr, local_port(p.listener));
	snprintf(path, sizeof(path), "%s/cgroup.procs", p.cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (p.c < 0 || fd < 0 || write(fd, "0", 1) != 1)
		fatal("%s: %m", path);
	p.s = accept(p.listener, NULL, NULL);
	if (p.s < 0)
		fatal("accept: %m");
	offload(p.c);
	offload(p.s);
	come_to_pass();
	for (i = 0; i < 12; i++) {
		struct moved from = moved();

		write_cs(4000);
		expect_passed(&from, CLIENT, 4000, "a write");
	}
	/* It is added up when it is much, or after two seconds. */
	for (i = 0; group_sock() < 12 * 4000; i++) {
		if (i == 100)
			fatal("the receiver's group is charged for %ld bytes", group_sock());
		sleep_ms(100);
	}
	for (i = 0; i < 12; i++)
		read_cs(4000);
}

static const struct {
	const char *name;
	void (*run)(void);
} probes[] = {
	{ "full", full_sizes },
	{ "crossed", crossed },
	{ "clamp", clamp },
	{ "notsent", notsent },
	{ "fault", fault },
	{ "cold", cold },
	{ "no_memory", no_memory },
	{ "charge", charge },
};

int short_memory(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (strcmp(probes[i].name, name))
			continue;
		probes[i].run();
		return 0;
	}
	return -1;
}
