// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests ask of a network namespace all the time, in one small program: with
 * `ip netns exec`, a shell and `cat` three programs are started for one number, and on
 * an emulated debug kernel that takes more than a second.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "ns.h"

int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static int cat(const char *path)
{
	char buf[65536];
	ssize_t n;
	int fd = open_sys(path, O_RDONLY);

	if (fd < 0)
		return fail(path);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(STDOUT_FILENO, buf, n) != n)
			return fail("output");
	return n ? fail(path) : 0;
}

/* In as few writes as there can be: a file of sysfs takes a page in each. */
static int put(const char *path, const char *text, size_t len)
{
	int fd = open_sys(path, O_WRONLY | O_TRUNC);
	ssize_t n;

	if (fd < 0)
		return fail(path);
	for (; len; text += n, len -= n) {
		n = write(fd, text, len);
		if (n <= 0)
			return fail(path);
	}
	return 0;
}

/* A line, as a shell's echo writes it. */
static int put_line(const char *path, const char *text)
{
	char *line;
	int len = asprintf(&line, "%s\n", text);

	return len < 0 ? fail("memory") : put(path, line, len);
}

/* What comes on standard input. */
static int put_input(const char *path)
{
	static char buf[1 << 20];
	size_t len = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, buf + len, sizeof(buf) - len)) > 0)
		len += n;
	if (n < 0)
		return fail("input");
	if (len == sizeof(buf)) {
		errno = EFBIG;
		return fail("input");
	}
	return put(path, buf, len);
}

/* Has the process ended, or does it so within this time? */
static void wait_for(pid_t pid, uint64_t until)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now = now_ms();

	if (fd < 0)
		return;
	poll(&p, 1, until > now ? until - now : 0);
	close(fd);
}

int kill_all(const char *const *ns, int count)
{
	struct stat spaces[2], other;
	static pid_t killed[4096];
	struct dirent *entry;
	size_t n = 0, i;
	uint64_t until;
	char path[256];
	DIR *proc;
	pid_t pid;
	int k;

	for (k = 0; k < count; k++) {
		snprintf(path, sizeof(path), "/run/netns/%s", ns[k]);
		/* No other file has the numbers of one of the kernel's. */
		if (stat(path, &spaces[k]))
			spaces[k] = (struct stat){ 0 };
	}
	proc = opendir("/proc");
	if (!proc)
		return fail("/proc");
	while ((entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
		if (pid <= 1 || pid == getpid() || stat(path, &other))
			continue;
		for (k = 0; k < count; k++) {
			if (spaces[k].st_ino != other.st_ino || spaces[k].st_dev != other.st_dev)
				continue;
			if (!kill(pid, SIGKILL) && n < ARRAY_SIZE(killed))
				killed[n++] = pid;
		}
	}
	closedir(proc);
	/* One that the kernel does not let go is not waited for long. */
	until = now_ms() + 2000;
	for (i = 0; i < n; i++)
		wait_for(killed[i], until);
	return 0;
}

static void print_counter(const char *name, uint64_t value, void *arg)
{
	(void)arg;
	printf("     %s: %llu\n", name, (unsigned long long)value);
}

/* As `ethtool -S` prints them. */
static int counters(const char *dev)
{
	int err, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	puts("NIC statistics:");
	err = dev_counters(fd, dev, print_counter, NULL);
	errno = -err;
	return err ? fail(dev) : 0;
}

/* "Tcp: A B" and then "Tcp: 1 2": prints the value of TcpB. */
static bool in_table(const char *path, const char *name)
{
	char *names = NULL, *values = NULL, *at, *key, *value, *next;
	size_t a = 0, b = 0, len;
	FILE *f = fopen(path, "r");

	if (!f)
		return false;
	while (getline(&names, &a, f) > 0 && getline(&values, &b, f) > 0) {
		len = strcspn(names, ":");
		if (strncmp(names, name, len))
			continue;
		key = names + len + 1;
		value = values + len + 1;
		while ((at = strtok_r(key, " \n", &key))) {
			next = strtok_r(value, " \n", &value);
			if (next && !strcmp(at, name + len)) {
				puts(next);
				return true;
			}
		}
	}
	fclose(f);
	return false;
}

/* "Ip6InReceives  1" */
static bool in_list(const char *path, const char *name)
{
	char key[64], value[32];
	FILE *f = fopen(path, "r");

	if (!f)
		return false;
	while (fscanf(f, "%63s %31s", key, value) == 2) {
		if (!strcmp(key, name)) {
			puts(value);
			return true;
		}
	}
	fclose(f);
	return false;
}

/* A counter by the name that nstat(8) gives it. */
static int snmp(const char *name)
{
	if (in_table("/proc/self/net/snmp", name) || in_table("/proc/self/net/netstat", name) ||
	    in_list("/proc/self/net/snmp6", name))
		return 0;
	fprintf(stderr, "no counter %s\n", name);
	return 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: toe_ns NS cat FILE... | put FILE TEXT | write FILE | counters DEV | snmp NAME | kill all\n"
		"       toe_ns NS ping ADDRESS COUNT SIZE [df]\n"
		"       toe_ns NS exec PROGRAM ARGUMENT...\n"
		"       toe_ns pair down|up|fresh NS NS DEV DEV KIND ADDR4 ADDR4 ADDR6 ADDR6 [KNOB=VALUE...]\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[2] : "";
	int err, i;

	if (argc >= 12 && !strcmp(argv[1], "pair"))
		return pair(argv[2], argv + 3);
	if (argc == 4 && !strcmp(what, "kill") && !strcmp(argv[3], "all"))
		return kill_all((const char *const *)&argv[1], 1);
	if (argc < 4)
		return usage();
	err = enter_ns(argv[1]);
	if (err) {
		errno = -err;
		return fail(argv[1]);
	}
	if (!strcmp(what, "exec")) {
		execvp(argv[3], argv + 3);
		return fail(argv[3]);
	}
	if (!strcmp(what, "ping") && (argc == 6 || argc == 7))
		return echoes(argv[3], atoi(argv[4]), atoi(argv[5]), argc == 7);
	if (!strcmp(what, "put") && argc == 5)
		return put_line(argv[3], argv[4]);
	if (!strcmp(what, "cat")) {
		for (i = 3, err = 0; i < argc && !err; i++)
			err = cat(argv[i]);
		return err;
	}
	if (argc != 4)
		return usage();
	if (!strcmp(what, "write"))
		return put_input(argv[3]);
	if (!strcmp(what, "counters"))
		return counters(argv[3]);
	if (!strcmp(what, "snmp"))
		return snmp(argv[3]);
	return usage();
}
