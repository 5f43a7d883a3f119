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

static int fail(const char *what)
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

/* Ends all processes of the namespace that this one has entered. */
static int kill_all(void)
{
	struct stat own, other;
	struct dirent *entry;
	char path[64];
	DIR *proc = opendir("/proc");
	pid_t pid;

	if (!proc || stat("/proc/self/ns/net", &own))
		return fail("/proc");
	while ((entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
		if (pid > 1 && pid != getpid() && !stat(path, &other) &&
		    own.st_ino == other.st_ino && own.st_dev == other.st_dev)
			kill(pid, SIGKILL);
	}
	closedir(proc);
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

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[2] : "";
	int err;

	if (argc == 4 || (argc == 5 && !strcmp(what, "put")) || !strcmp(what, "exec")) {
		err = enter_ns(argv[1]);
		if (err) {
			errno = -err;
			return fail(argv[1]);
		}
		if (!strcmp(what, "cat"))
			return cat(argv[3]);
		if (!strcmp(what, "put") && argc == 5)
			return put_line(argv[3], argv[4]);
		if (!strcmp(what, "write"))
			return put_input(argv[3]);
		if (!strcmp(what, "kill") && !strcmp(argv[3], "all"))
			return kill_all();
		if (!strcmp(what, "counters"))
			return counters(argv[3]);
		if (!strcmp(what, "snmp"))
			return snmp(argv[3]);
		if (!strcmp(what, "exec")) {
			execvp(argv[3], argv + 3);
			return fail(argv[3]);
		}
	}
	fprintf(stderr, "usage: toe_ns NS cat FILE | put FILE TEXT | write FILE | counters DEV | snmp NAME | kill all\n"
		"       toe_ns NS exec PROGRAM ARGUMENT...\n");
	return 2;
}
