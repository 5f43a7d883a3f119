// SPDX-License-Identifier: GPL-2.0
/*
 * Many connections at a time, both ends in this process: made, offloaded, used once, given
 * back. For each step what it takes per connection, of a clock that counts instructions in
 * guests which have one; and the memory of an offloaded end, beyond its socket.
 *
 *   many COUNT [COMMAND]
 *
 * prints lines of name and value, and what COMMAND prints while the connections are idle.
 * BENCH_CLIENT_NS and BENCH_SERVER_NS are the namespaces, BENCH_ADDR is the server's
 * address, BENCH_DEV the client's device, whose namespace this is started in.
 */
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

#define PORT 4000
/* Ports of the server: each takes as many connections as the client has ports. */
#define PORTS 8
#define SIZE 64

static long count;
static int *ends[2];

static void die(const char *what)
{
	fprintf(stderr, "many: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* A line of /proc/meminfo, in bytes. */
static long meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	size_t n = strlen(name);
	char line[128];
	long kib = 0;

	if (!file)
		die("meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, n) && line[n] == ':')
			kib = strtol(line + n + 1, NULL, 10);
	fclose(file);
	return kib * 1024;
}

static void enter(const char *name)
{
	const char *path = getenv(name);
	int fd = path ? open(path, O_RDONLY) : -1;

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(name);
	close(fd);
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

static void dial_all(void)
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

static void offload_all(int end)
{
	long n;

	for (n = 0; n < count; n++)
		if (setsockopt(ends[end][n], IPPROTO_TCP, TCP_ULP, "toe", 3))
			die("setsockopt(TCP_ULP, toe)");
}

static void pass(int from, int to)
{
	char bytes[SIZE] = { 0 };

	if (write(from, bytes, SIZE) != SIZE)
		die("write");
	/* It is there when write() returns, or soon. */
	if (recv(to, bytes, SIZE, MSG_WAITALL) != SIZE)
		die("recv");
}

static void use_all(void)
{
	long n;

	for (n = 0; n < count; n++) {
		pass(ends[0][n], ends[1][n]);
		pass(ends[1][n], ends[0][n]);
	}
}

static void upload_all(void)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/net/%s/toe/upload_all", getenv("BENCH_DEV"));
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		die(path);
	close(fd);
}

static void say(const char *name, unsigned long long start)
{
	printf("%s %.1f\n", name, (double)(now() - start) / count);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	unsigned long long start;
	long slab, free, i;

	if (argc < 2)
		return 2;
	setlinebuf(stdout);
	count = strtol(argv[1], NULL, 10);
	files.rlim_cur = files.rlim_max = 2 * count + 64;
	if (!getenv("BENCH_DEV") || setrlimit(RLIMIT_NOFILE, &files))
		die("BENCH_DEV, or RLIMIT_NOFILE");
	for (i = 0; i < 2; i++) {
		ends[i] = calloc(count, sizeof(int));
		if (!ends[i])
			die("memory");
	}
	start = now();
	dial_all();
	say("connect", start);
	/* What was freed is free. */
	sleep(1);
	slab = meminfo("Slab");
	free = meminfo("MemFree");
	start = now();
	offload_all(0);
	say("offload", start);
	offload_all(1);
	sleep(1);
	printf("memory_slab %.1f\n", (meminfo("Slab") - slab) / 2.0 / count);
	printf("memory_all %.1f\n", (free - meminfo("MemFree")) / 2.0 / count);
	start = now();
	use_all();
	say("use", start);
	if (argc > 2 && system(argv[2]))
		die(argv[2]);
	start = now();
	upload_all();
	say("upload", start);
	return 0;
}
