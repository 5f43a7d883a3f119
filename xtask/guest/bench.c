// SPDX-License-Identifier: GPL-2.0
/*
 * The program that is measured: blocking writes and reads between two
 * processes, each in its own network namespace.
 *
 *	bench WORKLOAD TRANSPORT SIZE COUNT [ROUNDS]
 *
 *	WORKLOAD   pingpong  one message of SIZE there and back, COUNT times
 *	           special   as pingpong; before each answer the server's side sends
 *	                     a segment that is old, which is a special case
 *	           stream    COUNT writes of SIZE, one way
 *	           connect   connect, offload, a request of SIZE and its answer,
 *	                     close, COUNT times, the server forks for each
 *	           connect-nofork  the same without the fork: one server for all
 *	           rpc       COUNT requests of SIZE and their answers, one at a time on
 *	                     each of BENCH_CONNS connections, both ends use epoll
 *	           idle      COUNT connections that stay open: what offloading and
 *	                     uploading one costs
 *	           batch     the same, all of them offloaded by the policy, so many in
 *	                     one operation
 *	           memory    COUNT connections that stay open: what the client's end takes
 *	                     once it is offloaded, in bytes
 *	           syscall   an empty system call
 *	           pipe      a message of SIZE there and back through two pipes
 *	           eventfd   a count there and back through two eventfds
 *	TRANSPORT  tcp       TCP as it is
 *	           ulp       TCP, both ends offloaded by setsockopt(TCP_ULP, "toe")
 *	           unix      AF_UNIX
 *	           smcd      SMC-D, never TCP
 *	Environment: BENCH_CLIENT_NS, BENCH_SERVER_NS (paths, or nothing),
 *	BENCH_ADDR (server's address), BENCH_DEV (client's device, for `idle`),
 *	BENCH_READ (bytes a stream's reader asks for), BENCH_WAITALL (it waits for
 *	all of them), BENCH_REQUESTS (requests per connection of `connect`),
 *	BENCH_CONNS (connections of `rpc`), BENCH_POLL (readers wait in poll(2)),
 *	BENCH_CLIENT_CPU, BENCH_SERVER_CPU (where each of them stays), BENCH_LAPS (`pingpong`
 *	times each round trip, too).
 *
 * Prints one line per round, `round NANOSECONDS SWITCHES OPERATIONS`: nanoseconds per
 * operation (`pingpong`, `connect`), per KiB (`stream`); context switches of both
 * processes per operation, `-` for `connect`, whose server's children are many; how many
 * operations there were. Under icount a nanosecond is an instruction. With BENCH_LAPS also
 * `pingpong_p50` and `pingpong_p999`, of the last round.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define PORT 7100
/* The reader of a stream takes what is there, at most so much, by default. */
#define READ 65536
#define UNIX_PATH "/run/bench.sock"

enum transport { TCP, ULP, UNIX, SMCD };

static enum transport transport;
static const char *workload;
static size_t size, ask = READ;
static int wait_all, polls, timed;
static long count, rounds, requests_each = 1, conns = 1;
static char *buffer;
/* The other side: the server, or who echoes. */
static pid_t peer;

/*
 * Around each measured round, for the profiler (xtask/profile/count.c): instructions that
 * do nothing, and that no compiler makes.
 */
#define WINDOW_OPEN() asm volatile("nopl 0x0badf00d(%%rax)" ::: "memory")
#define WINDOW_CLOSE() asm volatile("nopl 0x0badf00e(%%rax)" ::: "memory")

void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* Context switches of a process so far, both that it asked for and that it did not. */
static long switches(pid_t pid)
{
	char path[64], line[256];
	long n, sum = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "r");
	if (!status)
		die(path);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %ld", &n) == 1)
			sum += n;
	fclose(status);
	return sum;
}

/* A line of /proc/meminfo, in bytes. */
static long meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	size_t n = strlen(name);
	char line[256];
	long kib = -1;

	if (!file)
		die("/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, n) && line[n] == ':')
			kib = strtol(line + n + 1, NULL, 10);
	fclose(file);
	return kib * 1024;
}

/* Round 0 warms up: windows, caches, the path's estimates. */
static void measure(void (*operations)(void), double per)
{
	int countable = strcmp(workload, "connect") != 0;
	unsigned long long took;
	long round, switched;

	for (round = 0; round <= rounds; round++) {
		switched = switches(getpid()) + (peer ? switches(peer) : 0);
		took = now();
		if (round)
			WINDOW_OPEN();
		operations();
		if (round)
			WINDOW_CLOSE();
		took = now() - took;
		switched = switches(getpid()) + (peer ? switches(peer) : 0) - switched;
		if (!round)
			continue;
		printf("round %.1f ", took / per);
		if (countable)
			printf("%.3f", switched / per);
		else
			putchar('-');
		printf(" %.0f\n", per);
	}
}

static void enter(const char *name)
{
	const char *path = getenv(name);
	int fd;

	if (!path || !*path)
		return;
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

/* Offloads the socket, if that is what is measured. */
static void offload(int fd)
{
	if (transport == ULP && setsockopt(fd, IPPROTO_TCP, TCP_ULP, "toe", 3))
		die("setsockopt(TCP_ULP, toe)");
}

static void nodelay(int fd)
{
	int one = 1;

	if (transport != UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY");
}

static socklen_t address(struct sockaddr_storage *to)
{
	const char *text = getenv("BENCH_ADDR");

	memset(to, 0, sizeof(*to));
	if (transport == UNIX) {
		struct sockaddr_un *un = (void *)to;

		un->sun_family = AF_UNIX;
		strcpy(un->sun_path, UNIX_PATH);
		return sizeof(*un);
	}
	struct sockaddr_in *in = (void *)to;

	in->sin_family = AF_INET;
	in->sin_port = htons(PORT);
	if (inet_pton(AF_INET, text ? text : "127.0.0.1", &in->sin_addr) != 1)
		die("BENCH_ADDR");
	return sizeof(*in);
}

static int family(void)
{
	return transport == UNIX ? AF_UNIX : transport == SMCD ? AF_SMC : AF_INET;
}

static int listener(void)
{
	struct sockaddr_storage to;
	socklen_t len = address(&to);
	int one = 1, fd;

	unlink(UNIX_PATH);
	fd = socket(family(), SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (void *)&to, len) || listen(fd, 4096))
		die("listen");
	return fd;
}

static int dial(void)
{
	struct sockaddr_storage to;
	socklen_t len = address(&to);
	int fd = socket(family(), SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (void *)&to, len))
		die("connect");
	if (transport == SMCD)
		smc_must_be_d(fd);
	nodelay(fd);
	return fd;
}

static int take(int listening)
{
	int fd = accept(listening, NULL, NULL);

	if (fd < 0)
		die("accept");
	if (transport == SMCD)
		smc_must_be_d(fd);
	nodelay(fd);
	return fd;
}

static void put(int fd, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, buffer + done, n - done);

		if (r <= 0)
			die("write");
		done += r;
	}
}

/* Reads n bytes; 0 at the end of the stream. */
static int get(int fd, size_t n)
{
	size_t done = 0;

	while (done < n) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		if (polls && poll(&p, 1, -1) != 1)
			die("poll");
		r = read(fd, buffer + done, n - done);
		if (r < 0)
			die("read");
		if (r == 0)
			return 0;
		done += r;
	}
	return 1;
}

/* ---- the server: serves one connection the way the workload wants */

static void serve_one(int fd)
{
	if (!strcmp(workload, "pingpong")) {
		while (get(fd, size))
			put(fd, size);
	} else if (!strcmp(workload, "special")) {
		while (get(fd, size)) {
			send_old();
			put(fd, size);
		}
	} else if (!strcmp(workload, "stream")) {
		/* A round ends when the reader has all of it and says so. */
		for (;;) {
			unsigned long long left = (unsigned long long)count * size;

			while (left) {
				ssize_t r = recv(fd, buffer, left < ask ? left : ask, wait_all);

				if (r < 0)
					die("read");
				if (r == 0)
					return;
				left -= r;
			}
			put(fd, 1);
		}
	} else {
		/* The client closes first: it keeps the ports. */
		while (get(fd, size))
			put(fd, size);
	}
}

/* ---- rpc: one outstanding request on each of many connections */

struct call {
	int fd;
	size_t got;
};

/* Makes `conns` connections by `make` and a set of them. */
static int watch_all(struct call *calls, int (*make)(int), int listening)
{
	int set = epoll_create1(0);
	long i;

	for (i = 0; i < conns; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &calls[i] };

		calls[i].fd = make(listening);
		offload(calls[i].fd);
		if (epoll_ctl(set, EPOLL_CTL_ADD, calls[i].fd, &event))
			die("epoll_ctl");
	}
	return set;
}

static struct call *new_calls(void)
{
	struct call *calls = calloc(conns, sizeof(*calls));

	if (!calls)
		die("memory");
	return calls;
}

/* Waits until some connections can be read. */
static int readable(int set, struct epoll_event *events, int most)
{
	int n = epoll_wait(set, events, most, -1);

	if (n < 0)
		die("epoll_wait");
	return n;
}

/* Takes what is there; returns whether a message is complete. */
static int message(struct call *call)
{
	ssize_t r = read(call->fd, buffer, size - call->got);

	if (r < 0)
		die("read");
	if (r == 0)
		_exit(0);
	call->got += r;
	if (call->got < size)
		return 0;
	call->got = 0;
	return 1;
}

static void serve_calls(int listening)
{
	struct epoll_event events[64];
	int set = watch_all(new_calls(), take, listening);

	for (;;) {
		int i, n = readable(set, events, 64);

		for (i = 0; i < n; i++) {
			struct call *call = events[i].data.ptr;

			if (message(call))
				put(call->fd, size);
		}
	}
}

static void server(int ready)
{
	int listening, fd;

	enter("BENCH_SERVER_NS");
	stay_on("BENCH_SERVER_CPU");
	listening = listener();
	if (write(ready, "", 1) != 1)
		die("ready");
	if (!strcmp(workload, "connect")) {
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			fd = take(listening);
			if (fork() == 0) {
				close(listening);
				offload(fd);
				serve_one(fd);
				_exit(0);
			}
			close(fd);
		}
	} else if (!strcmp(workload, "rpc")) {
		serve_calls(listening);
	} else if (!strcmp(workload, "idle") || !strcmp(workload, "batch") ||
		   !strcmp(workload, "memory")) {
		for (;;)
			take(listening);
	} else {
		for (;;) {
			fd = take(listening);
			if (!strcmp(workload, "special"))
				make_old(fd);
			offload(fd);
			serve_one(fd);
			close(fd);
		}
	}
}

/* ---- the client: measures */

/* The connection, of those workloads that have one. */
static int conn = -1;

static void exchange(int fd, long n)
{
	while (n--) {
		put(fd, size);
		if (!get(fd, size))
			die("the server closed");
	}
}

static void pingpong(void)
{
	long i;

	if (!timed) {
		exchange(conn, count);
		return;
	}
	laps_begin(count);
	for (i = 0; i < count; i++) {
		exchange(conn, 1);
		lap();
	}
}

static void stream(void)
{
	long i;

	for (i = 0; i < count; i++)
		put(conn, size);
	if (!get(conn, 1))
		die("the server closed");
}

static void requests(void)
{
	long i;

	for (i = 0; i < count; i++) {
		int fd = dial();

		offload(fd);
		exchange(fd, requests_each);
		close(fd);
	}
}

static struct call *calls;
static int call_set;

static void call_all(void)
{
	struct epoll_event events[64];
	long sent = 0, answered = 0;

	for (; sent < conns && sent < count; sent++)
		put(calls[sent].fd, size);
	while (answered < count) {
		int i, n = readable(call_set, events, 64);

		for (i = 0; i < n; i++) {
			struct call *call = events[i].data.ptr;

			if (!message(call))
				continue;
			answered++;
			if (sent++ < count)
				put(call->fd, size);
		}
	}
}

static int dial_one(int unused)
{
	(void)unused;
	return dial();
}

/* Writes to a file of the client's device. */
static void knob(const char *name, const char *value)
{
	const char *dev = getenv("BENCH_DEV");
	char path[256];
	int fd;

	if (!dev)
		die("BENCH_DEV");
	snprintf(path, sizeof(path), "/sys/class/net/%s/toe/%s", dev, name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		die(path);
	close(fd);
}

static int *dial_all(void)
{
	int *fds = calloc(count, sizeof(*fds));
	long i;

	if (!fds)
		die("memory");
	for (i = 0; i < count; i++)
		fds[i] = dial();
	return fds;
}

/* What offload_all takes, with nothing of before left to do. */
static double offload_all(void)
{
	unsigned long long start;

	knob("policy", "auto");
	start = now();
	knob("offload_all", "1");
	start = now() - start;
	knob("policy", "off");
	knob("upload_all", "1");
	/* What was uploaded is looked at once more, and refused. */
	usleep(50000);
	return start;
}

static void batch(void)
{
	static const int sizes[] = { 1, 8, 64, 512 };
	double nothing;
	unsigned int i;
	char text[16];

	knob("min_segments", "0");
	offload_all();
	/* The walk through the table of connections. */
	nothing = offload_all();
	dial_all();
	usleep(50000);
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		snprintf(text, sizeof(text), "%d", sizes[i]);
		knob("batch", text);
		offload_all();
		printf("batch_%d %.1f\n", sizes[i], (offload_all() - nothing) / count);
	}
	knob("min_segments", "8");
	knob("batch", "64");
	knob("policy", "ulp");
}

static void memory(void)
{
	int *fds = dial_all();
	long slab, free, i;

	usleep(50000);
	slab = meminfo("Slab");
	free = meminfo("MemFree");
	for (i = 0; i < count; i++)
		offload(fds[i]);
	usleep(50000);
	printf("memory_slab %.1f\n", (double)(meminfo("Slab") - slab) / count);
	printf("memory_all %.1f\n", (double)(free - meminfo("MemFree")) / count);
}

static void idle(void)
{
	unsigned long long *took = calloc(count, sizeof(*took)), start, sum = 0;
	const char *counted = getenv("BENCH_COUNTED");
	int back = counted && !strcmp(counted, "upload");
	int *fds = dial_all();
	long i;

	if (!took)
		die("memory");
	if (!back)
		WINDOW_OPEN();
	for (i = 0; i < count; i++) {
		start = now();
		offload(fds[i]);
		took[i] = now() - start;
		sum += took[i];
	}
	if (!back)
		WINDOW_CLOSE();
	qsort(took, count, sizeof(*took), by_value);
	/* The number of operations is for the profiler, of what is in its window. */
	printf("offload %.1f", (double)sum / count);
	printf(back ? "\n" : " - %ld\n", count);
	printf("offload_p99 %.1f\n", (double)took[count - 1 - count / 100]);
	if (back)
		WINDOW_OPEN();
	start = now();
	knob("upload_all", "1");
	start = now() - start;
	if (back)
		WINDOW_CLOSE();
	printf("upload %.1f", (double)start / count);
	printf(back ? " - %ld\n" : "\n", count);
}

static void client(void)
{
	enter("BENCH_CLIENT_NS");
	stay_on("BENCH_CLIENT_CPU");
	if (!strcmp(workload, "idle")) {
		idle();
		return;
	}
	if (!strcmp(workload, "batch")) {
		batch();
		return;
	}
	if (!strcmp(workload, "memory")) {
		memory();
		return;
	}
	if (!strncmp(workload, "connect", 7)) {
		measure(requests, count);
		return;
	}
	if (!strcmp(workload, "rpc")) {
		calls = new_calls();
		call_set = watch_all(calls, dial_one, -1);
		measure(call_all, count);
		return;
	}
	conn = dial();
	offload(conn);
	if (!strcmp(workload, "stream"))
		measure(stream, (double)count * size / 1024);
	else
		measure(pingpong, count);
	if (timed)
		laps_print(workload);
}

/* ---- floors: what everything costs that asks the kernel, or sleeps and is woken */

static int there[2], back[2];

static void empty_calls(void)
{
	long i;

	for (i = 0; i < count; i++)
		syscall(SYS_getppid);
}

static void there_and_back(void)
{
	long i;

	for (i = 0; i < count; i++) {
		put(there[1], size);
		if (!get(back[0], size))
			die("the echo ended");
	}
}

static void floors(void)
{
	if (!strcmp(workload, "syscall")) {
		measure(empty_calls, count);
		return;
	}
	if (!strcmp(workload, "eventfd")) {
		size = 8;
		memcpy(buffer, &(unsigned long long){ 1 }, size);
		there[0] = there[1] = eventfd(0, 0);
		back[0] = back[1] = eventfd(0, 0);
	} else if (pipe(there) || pipe(back)) {
		die("pipe");
	}
	peer = fork();
	if (peer < 0)
		die("fork");
	stay_on(peer ? "BENCH_CLIENT_CPU" : "BENCH_SERVER_CPU");
	if (peer == 0)
		for (;;) {
			if (!get(there[0], size))
				_exit(0);
			put(back[1], size);
		}
	measure(there_and_back, count);
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
}

/* Whether the workload has no connection at all. */
static int is_floor(void)
{
	return !strcmp(workload, "syscall") || !strcmp(workload, "pipe") ||
	       !strcmp(workload, "eventfd");
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	int ready[2];
	char c;

	if (argc < 5) {
		fprintf(stderr, "usage: bench WORKLOAD tcp|ulp|unix|smcd SIZE COUNT [ROUNDS]\n");
		return 2;
	}
	workload = argv[1];
	transport = !strcmp(argv[2], "unix") ? UNIX :
		    !strcmp(argv[2], "smcd") ? SMCD :
		    !strcmp(argv[2], "ulp")  ? ULP : TCP;
	size = strtoul(argv[3], NULL, 0);
	count = strtol(argv[4], NULL, 0);
	rounds = argc > 5 ? strtol(argv[5], NULL, 0) : 1;
	if (getenv("BENCH_READ"))
		ask = strtoul(getenv("BENCH_READ"), NULL, 0);
	if (getenv("BENCH_WAITALL"))
		wait_all = MSG_WAITALL;
	if (getenv("BENCH_REQUESTS"))
		requests_each = strtol(getenv("BENCH_REQUESTS"), NULL, 0);
	if (getenv("BENCH_CONNS"))
		conns = strtol(getenv("BENCH_CONNS"), NULL, 0);
	polls = getenv("BENCH_POLL") != NULL;
	timed = getenv("BENCH_LAPS") && !strcmp(workload, "pingpong");
	buffer = calloc(1, size > ask ? size : ask);
	if (!buffer || !size || count < 1 || requests_each < 1 || conns < 1 || pipe(ready))
		die("start");
	memset(buffer, 'x', size);
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);

	if (is_floor()) {
		floors();
		return 0;
	}
	if (transport == SMCD)
		smc_prepare();
	peer = fork();
	if (peer < 0)
		die("fork");
	if (peer == 0)
		server(ready[1]);
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		return 1;
	client();
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	return 0;
}
