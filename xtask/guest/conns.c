// SPDX-License-Identifier: GPL-2.0
/* Connections of which both ends are in this process, see conns.h. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conns.h"

#define PORT 4000
/* Ports of the server: each takes as many connections as the client has ports. */
#define PORTS 8
#define SIZE 64

long count;
int *ends[2];

void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

void enter(const char *name)
{
	const char *path = getenv(name);
	int fd = path ? open(path, O_RDONLY) : -1;

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(name);
	close(fd);
}

void reserve(void)
{
	struct rlimit files;
	int end;

	files.rlim_cur = files.rlim_max = 2 * count + 64;
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	for (end = 0; end < 2; end++) {
		ends[end] = calloc(count, sizeof(int));
		if (!ends[end])
			die("memory");
	}
}

static struct sockaddr_in address(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT + port) };
	const char *text = getenv("BENCH_ADDR");

	if (inet_pton(AF_INET, text ? text : "127.0.0.1", &to.sin_addr) != 1)
		die("BENCH_ADDR");
	return to;
}

static int make(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* Of one end: no delay, and nothing that stays behind when it is closed. */
static void prepare(int fd)
{
	struct linger reset = { .l_onoff = 1 };
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)))
		die("setsockopt");
}

void dial_all(void)
{
	int listening[PORTS], one = 1, i;
	long n;

	enter("BENCH_SERVER_NS");
	for (i = 0; i < PORTS; i++) {
		struct sockaddr_in to = address(i);

		listening[i] = make();
		setsockopt(listening[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(listening[i], (void *)&to, sizeof(to)) || listen(listening[i], 16))
			die("listen");
	}
	enter("BENCH_CLIENT_NS");
	for (n = 0; n < count; n++) {
		struct sockaddr_in to = address(n % PORTS);

		ends[0][n] = make();
		if (connect(ends[0][n], (void *)&to, sizeof(to)))
			die("connect");
		ends[1][n] = accept(listening[n % PORTS], NULL, NULL);
		if (ends[1][n] < 0)
			die("accept");
		prepare(ends[0][n]);
		prepare(ends[1][n]);
	}
	for (i = 0; i < PORTS; i++)
		close(listening[i]);
}

void offload_all(int end)
{
	long n;

	for (n = 0; n < count; n++)
		if (setsockopt(ends[end][n], IPPROTO_TCP, TCP_ULP, "toe", 3))
			die("setsockopt(TCP_ULP, toe)");
}

void pass(int from, int to)
{
	char bytes[SIZE] = { 0 };

	if (write(from, bytes, SIZE) != SIZE)
		die("write");
	/* It is there when write() returns, or soon. */
	if (recv(to, bytes, SIZE, MSG_WAITALL) != SIZE)
		die("recv");
}

void upload_all(const char *dev)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/net/%s/toe/upload_all", dev);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		die(path);
	close(fd);
}
