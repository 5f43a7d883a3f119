// SPDX-License-Identifier: GPL-2.0
/*
 * What a failing member of a bond does to the connections over it. Both ends have a bond `bond`
 * of two members: b0 and b2 the client's, b1 and b3 their peers.
 *
 *   failover gap local|peer any|0|1 DELAY_MS COUNT [ulp]
 *       round trips of 64 bytes on one of COUNT connections that the first or the second member
 *       carries; all are offloaded at both ends with `ulp`, and the others idle. DELAY_MS after
 *       they have begun that member is set down, or its peer. Prints the
 *       longest time without progress, and the 99th percentile of the round trips before the
 *       failure and after it.
 *   failover move COUNT
 *       idle connections, the client's ends offloaded; the member that has them is set down.
 *       Prints how long it took until it had none, the work that this was, and what the
 *       offload and the upload of a connection cost. With 0 there is one connection, which is
 *       not offloaded: what a failure costs by itself.
 *
 * Prints lines of name and value. The environment is that of conns.h; this is started in the
 * client's namespace.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conns.h"

#define MS 1000000ULL
/* More than there are in the time that is looked at. */
#define TRIPS 1000000
/* The failure is over when no round trip took more than SLOW for so long. */
#define SLOW (1 * MS)
#define CALM (150 * MS)
/* Both bonds have looked at their members. */
#define AFTERMATH (60 * MS)

static const char *const members[2] = { "b0", "b2" };
static const char *const peers[2] = { "b1", "b3" };

/* What a file of /sys/class/net has; empty if there is none. */
static const char *read_sys(const char *dev, const char *name)
{
	static char text[64];
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", dev, name);
	text[0] = 0;
	file = fopen(path, "r");
	if (!file)
		return text;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	return text;
}

static long number(const char *dev, const char *name)
{
	return strtol(read_sys(dev, name), NULL, 10);
}

static void trip(void)
{
	pass(ends[0][0], ends[1][0]);
	pass(ends[1][0], ends[0][0]);
}

/* The member by which the first connection's frames leave. */
static int home(void)
{
	long sent[2];
	int i;

	for (i = 0; i < 2; i++)
		sent[i] = number(members[i], "statistics/tx_packets");
	for (i = 0; i < 50; i++)
		trip();
	for (i = 0; i < 2; i++)
		sent[i] = number(members[i], "statistics/tx_packets") - sent[i];
	if (sent[0] < 50 && sent[1] < 50) {
		errno = 0;
		die("no member carries the connection");
	}
	return sent[1] > sent[0];
}

static int control(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* `fd`: any socket of the device's namespace. */
static void set_down(int fd, const char *dev)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, dev, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFFLAGS, &request))
		die("SIOCGIFFLAGS");
	request.ifr_flags &= ~IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		die("SIOCSIFFLAGS");
}

/* A process that ends with this one. */
static pid_t split(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void nap(unsigned long long ns)
{
	struct timespec t = { .tv_sec = ns / (1000 * MS), .tv_nsec = ns % (1000 * MS) };

	nanosleep(&t, NULL);
}

/* ---- the gap */

static float took[TRIPS];

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* In us, of some round trips, which are sorted. */
static double p99(float *from, long n)
{
	qsort(from, n, sizeof(*from), by_value);
	return n ? from[n * 99 / 100] / 1e3 : 0;
}

static void echo(int fd)
{
	char bytes[64];

	while (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes))
		if (write(fd, bytes, sizeof(bytes)) != sizeof(bytes))
			break;
	_exit(0);
}

/*
 * Leaves so many connections, the first of which has its frames go by this member; negative: by
 * any.
 */
static void choose(int member, long left)
{
	long n;
	int end;

	for (n = 0; n < count; n++) {
		int tried[2] = { ends[0][n], ends[1][n] };

		for (end = 0; end < 2; end++) {
			ends[end][n] = ends[end][0];
			ends[end][0] = tried[end];
		}
		if (home() == member || member < 0)
			break;
	}
	if (n == count) {
		errno = 0;
		die("no connection goes by this member");
	}
	for (; count > left; count--)
		for (end = 0; end < 2; end++)
			close(ends[end][count - 1]);
}

static void gap(int local, int member, long delay, long connections, int ulp)
{
	volatile unsigned long long *failed;
	unsigned long long last, calm;
	char bytes[64] = { 0 };
	long n, before = 0;
	int at, fd;

	count = connections > 16 ? connections : 16;
	reserve();
	dial_all();
	choose(member, connections);
	if (ulp) {
		offload_all(0);
		offload_all(1);
	}
	at = home();
	if (ulp && number(members[0], "toe/connections") +
			   number(members[1], "toe/connections") != count) {
		errno = 0;
		die("the connections are not offloaded");
	}
	failed = mmap(NULL, sizeof(*failed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (failed == MAP_FAILED)
		die("mmap");
	/* No page fault is to be one of the times. */
	memset(took, 1, sizeof(took));
	if (!split())
		echo(ends[1][0]);
	if (!split()) {
		if (!local)
			enter("BENCH_SERVER_NS");
		fd = control();
		nap(delay * MS);
		*failed = now();
		set_down(fd, local ? members[at] : peers[at]);
		_exit(0);
	}
	last = calm = now();
	for (n = 0; n < TRIPS; n++) {
		unsigned long long since = last;

		if (write(ends[0][0], bytes, sizeof(bytes)) != sizeof(bytes))
			die("write");
		if (recv(ends[0][0], bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
			die("recv");
		last = now();
		took[n] = last - since;
		if (!*failed) {
			before = n + 1;
			calm = last;
			continue;
		}
		if (last - since > SLOW)
			calm = last;
		if (last - calm > CALM)
			break;
	}
	printf("usual %.2f\n", p99(took, before));
	printf("tail %.2f\n", p99(took + before, n - before));
	printf("gap %.3f\n", took[n - 1] / MS);
}

/* ---- the move */

static unsigned long long cpu_time(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		die("clock_gettime");
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* Only what nobody else wants of the CPU. */
static void stand_back(int policy)
{
	struct sched_param none = { 0 };

	if (sched_setscheduler(0, policy, &none))
		die("sched_setscheduler");
}

/*
 * While the caller waits the CPU has nothing to do, or works for somebody else. A process that
 * takes all the time that is left tells the two apart.
 */
static pid_t idler(clockid_t *clock)
{
	pid_t pid = split();

	if (!pid) {
		stand_back(SCHED_IDLE);
		for (;;)
			;
	}
	errno = clock_getcpuclockid(pid, clock);
	if (errno)
		die("clock_getcpuclockid");
	nap(10 * MS);
	return pid;
}

/* Nothing goes by this member any more, and it has no connections. */
static int is_left(const char *member)
{
	if (number(member, "toe/connections"))
		return 0;
	/* Empty, but with active-backup. */
	return strcmp(read_sys("bond", "bonding/active_slave"), member) != 0;
}

static void move(long connections)
{
	unsigned long long start, idle, own, time, whole, down;
	const char *from, *to;
	clockid_t clock;
	pid_t pid;
	int at, fd;

	count = connections ? connections : 1;
	reserve();
	dial_all();
	if (connections) {
		start = now();
		offload_all(0);
		printf("offload %.1f\n", (double)(now() - start) / count);
	}
	at = home();
	from = members[at];
	to = members[!at];
	if (number(from, "toe/connections") != connections) {
		errno = 0;
		die("the connections are not all at one member");
	}
	/* What was deferred is through. */
	nap(500 * MS);
	fd = control();
	pid = idler(&clock);

	idle = cpu_time(clock);
	start = now();
	set_down(fd, from);
	down = now() - start;
	idle = cpu_time(clock) - idle;
	kill(pid, SIGKILL);
	stand_back(SCHED_IDLE);
	own = cpu_time(CLOCK_PROCESS_CPUTIME_ID);
	while (!is_left(from))
		if (now() - start > 20000 * MS) {
			errno = 0;
			die("connections are left");
		}
	time = now() - start;
	/* What the bonds do by and by is part of any failure, and so always of the work. */
	while (now() - start < AFTERMATH)
		;
	whole = now() - start;
	own = cpu_time(CLOCK_PROCESS_CPUTIME_ID) - own;
	stand_back(SCHED_OTHER);
	waitpid(pid, NULL, 0);
	printf("time %.1f\n", time / 1e3);
	printf("call %.1f\n", down / 1e3);
	printf("work %.0f\n", (double)whole - idle - own);
	if (!connections)
		return;
	printf("there %ld\n", number(to, "toe/connections"));
	nap(500 * MS);
	start = now();
	upload_all(to);
	printf("upload %.1f\n", (double)(now() - start) / count);
}

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	/* What never comes is not waited for. */
	alarm(120);
	if (argc == 3 && !strcmp(argv[1], "move"))
		move(strtol(argv[2], NULL, 10));
	else if (argc >= 6 && !strcmp(argv[1], "gap"))
		gap(!strcmp(argv[2], "local"), strcmp(argv[3], "any") ? atoi(argv[3]) : -1,
		    strtol(argv[4], NULL, 10), strtol(argv[5], NULL, 10), argc > 6);
	else
		return 2;
	return 0;
}
