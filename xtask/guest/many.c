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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conns.h"

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

static void use_all(void)
{
	long n;

	for (n = 0; n < count; n++) {
		pass(ends[0][n], ends[1][n]);
		pass(ends[1][n], ends[0][n]);
	}
}

static void say(const char *name, unsigned long long start)
{
	printf("%s %.1f\n", name, (double)(now() - start) / count);
}

int main(int argc, char **argv)
{
	unsigned long long start;
	const char *dev = getenv("BENCH_DEV");
	long slab, free;

	if (argc < 2)
		return 2;
	setlinebuf(stdout);
	count = strtol(argv[1], NULL, 10);
	if (!dev)
		die("BENCH_DEV");
	reserve();
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
	upload_all(dev);
	say("upload", start);
	return 0;
}
