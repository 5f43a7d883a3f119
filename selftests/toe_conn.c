// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that are held while a test looks at them, and their server.
 *
 *   toe_conn serve ADDRESS PORT READY
 *   toe_conn many ADDRESS PORT COUNT ULP READY GO [BYTES [slow_start]]
 *   toe_conn one KEY=VALUE...
 *
 * `serve` sends back what comes; it makes the file READY when it listens. `many` opens
 * COUNT connections, has them offloaded if ULP is 1, makes the file READY, waits for the
 * file GO, and then sends BYTES over each and compares what comes back. With `slow_start`
 * they are all opened at the same moment, and each has to be in slow start all the time:
 * no threshold, and a window that has grown in the end.
 *
 * `one` is one end of a connection with properties that rules ask for: to=ADDRESS or
 * listen=ADDRESS, port=N; mark=, uid=, name=: of the socket or the process; backlog=N,
 * ready=FILE: of the listener, which without ask or hold is a server for all that come,
 * or of the connection; remark=N: its mark once it is connected, which makes its cached
 * route invalid; wait=FILE: goes on when there is that file;
 * bytes=N: sent before anything else is done; ask=1: asks for the offload and prints "ok"
 * or the error's name; urgent=1: sends urgent data; hold=FILE: prints "ADDRESS PORT
 * ADDRESS PORT" of its own end and the peer's, and stays until there is that file.
 *
 * Says what is wrong and exits with 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/tcp.h>

#include "common.h"

#define MANY_BYTES 20000
/* The stream that is sent, at a position of its own per connection. */
#define SEED 7
/* TCP_INFINITE_SSTHRESH: there was no loss yet. */
#define NO_THRESHOLD 0x7fffffff

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	int err = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", strerror(err));
	exit(1);
}

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s", path);
	close(fd);
}

static void wait_file(const char *path)
{
	while (access(path, F_OK))
		sleep_ms(20);
}

static void send_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		data += n;
		len -= n;
	}
}

static int listen_at(const char *addr, int port, int backlog, const char *ready)
{
	int fd = tcp_listen(addr, port, backlog);

	if (fd < 0) {
		errno = -fd;
		die("cannot listen at %s port %d", addr, port);
	}
	if (ready)
		make_file(ready);
	return fd;
}

static int accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept");
	return fd;
}

/* Runs `serve_one` for each that comes, in a thread of its own. */
static void __attribute__((noreturn)) serve_all(int listener, void *(*serve_one)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 128 << 10);
	for (;;) {
		intptr_t fd = accept_one(listener);

		if (pthread_create(&thread, &attr, serve_one, (void *)fd))
			die("no thread");
	}
}

static void *echo(void *arg)
{
	int fd = (intptr_t)arg;
	uint8_t buf[1 << 16];
	ssize_t n, sent;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (sent = 0; sent < n;) {
			ssize_t some = send(fd, buf + sent, n - sent, MSG_NOSIGNAL);

			if (some < 0)
				goto out;
			sent += some;
		}
	}
out:
	close(fd);
	return NULL;
}

static void *discard(void *arg)
{
	int fd = (intptr_t)arg;
	uint8_t buf[1 << 16];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	close(fd);
	return NULL;
}

static int connect_to(const char *addr, int port)
{
	int fd = tcp_connect(addr, port);

	if (fd < 0) {
		errno = -fd;
		die("cannot connect to %s port %d", addr, port);
	}
	return fd;
}

static void check_echo(int fd, size_t pos, size_t len, int number)
{
	uint8_t buf[1 << 14];
	struct timeval limit = { .tv_sec = 60 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while (len) {
		ssize_t n = recv(fd, buf, MIN(len, sizeof(buf)), 0);

		if (n <= 0)
			die("connection %d ended early, %zu bytes are missing", number, len);
		if (stream_check(SEED, pos, buf, n) >= 0)
			die("connection %d: wrong bytes", number);
		pos += n;
		len -= n;
	}
}

/* All handshakes are under way together. */
static void connect_at_once(const char *addr, int port, int *fds, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		fds[i] = tcp_connect_start(addr, port);
		if (fds[i] < 0) {
			errno = -fds[i];
			die("cannot connect to %s port %d", addr, port);
		}
	}
	for (i = 0; i < count; i++) {
		struct pollfd pfd = { .fd = fds[i], .events = POLLOUT };

		if (poll(&pfd, 1, 60000) != 1 || get_int(fds[i], SOL_SOCKET, SO_ERROR))
			die("connection %d was not established", i);
		fcntl(fds[i], F_SETFL, 0);
	}
}

/* Congestion window and slow start threshold. */
struct window {
	uint32_t cwnd, ssthresh;
};

static struct window window(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		die("TCP_INFO");
	return (struct window){ info.tcpi_snd_cwnd, info.tcpi_snd_ssthresh };
}

static void many(const char *addr, int port, int count, bool ulp, const char *ready,
		 const char *go, size_t size, bool slow_start)
{
	int *fds = calloc(count, sizeof(*fds));
	struct window *was = calloc(count, sizeof(*was)), now;
	uint8_t *data = malloc(size);
	int i;

	if (slow_start)
		connect_at_once(addr, port, fds, count);
	for (i = 0; i < count && !slow_start; i++)
		fds[i] = connect_to(addr, port);
	for (i = 0; i < count; i++) {
		errno = ulp ? -ulp_insist(fds[i]) : 0;
		if (errno)
			die("connection %d: TCP_ULP", i);
	}
	make_file(ready);
	wait_file(go);
	for (i = 0; i < count; i++) {
		was[i] = window(fds[i]);
		if (slow_start && was[i].ssthresh != NO_THRESHOLD)
			die("connection %d: threshold %u before it has sent", i, was[i].ssthresh);
		stream_fill(SEED, i, data, size);
		send_all(fds[i], data, size);
	}
	for (i = 0; i < count; i++) {
		check_echo(fds[i], i, size, i);
		now = window(fds[i]);
		if (slow_start && (now.ssthresh != NO_THRESHOLD || now.cwnd <= was[i].cwnd))
			die("connection %d: window %u became %u, threshold %u", i, was[i].cwnd,
			    now.cwnd, now.ssthresh);
		close(fds[i]);
	}
}

/* The last value of KEY in arguments that are KEY=VALUE, or `other`. */
static const char *value_of(char **args, const char *key, const char *other)
{
	size_t len = strlen(key);

	for (; *args; args++)
		if (!strncmp(*args, key, len) && (*args)[len] == '=')
			other = *args + len + 1;
	return other;
}

static void set_name(const char *name)
{
	int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, name, strlen(name)) < 0)
		die("name %s", name);
	close(fd);
}

static void print_end(const struct sockaddr_storage *ss)
{
	char text[INET6_ADDRSTRLEN];
	const struct sockaddr_in *v4 = (const void *)ss;
	const struct sockaddr_in6 *v6 = (const void *)ss;
	bool is_v4 = ss->ss_family == AF_INET;

	inet_ntop(ss->ss_family, is_v4 ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr, text,
		  sizeof(text));
	printf("%s %u", text, ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
}

static void one(char **args)
{
	const char *hold = value_of(args, "hold", NULL), *name = value_of(args, "name", NULL);
	const char *uid = value_of(args, "uid", NULL), *mark = value_of(args, "mark", NULL);
	const char *to = value_of(args, "to", NULL), *addr = value_of(args, "listen", NULL);
	const char *ready = value_of(args, "ready", NULL), *wait = value_of(args, "wait", NULL);
	const char *remark = value_of(args, "remark", NULL);
	bool ask = value_of(args, "ask", NULL);
	int port = atoi(value_of(args, "port", "0"));
	size_t bytes = parse_size(value_of(args, "bytes", "0"));
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
	int fd, listener;
	uint8_t *data;

	if (!to && !addr)
		die("neither to= nor listen=");
	if (name)
		set_name(name);
	if (uid && setuid(atoi(uid)))
		die("uid %s", uid);
	if (!to) {
		listener = listen_at(addr, port, atoi(value_of(args, "backlog", "8")), ready);
		if (!ask && !hold)
			serve_all(listener, discard);
		fd = accept_one(listener);
	} else {
		fd = tcp_connect_mark(to, port, mark ? strtoul(mark, NULL, 0) : 0);
		if (fd < 0) {
			errno = -fd;
			die("cannot connect to %s port %d", to, port);
		}
	}
	if (remark && setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){ atoi(remark) }, sizeof(int)))
		die("mark %s", remark);
	if (to && ready)
		make_file(ready);
	if (wait)
		wait_file(wait);
	if (bytes) {
		data = calloc(1, bytes);
		send_all(fd, data, bytes);
		free(data);
		sleep_ms(200);
	}
	if (ask)
		puts(setsockopt(fd, IPPROTO_TCP, TCP_ULP, TOE_ULP, strlen(TOE_ULP)) ?
			     strerrorname_np(errno) : "ok");
	fflush(stdout);
	if (value_of(args, "urgent", NULL) && send(fd, "!", 1, MSG_OOB) != 1)
		die("urgent data");
	if (!hold)
		return;
	if (getsockname(fd, (void *)&own, &own_len) || getpeername(fd, (void *)&peer, &peer_len))
		die("addresses");
	print_end(&own);
	putchar(' ');
	print_end(&peer);
	putchar('\n');
	fflush(stdout);
	wait_file(hold);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "serve") && argc == 5)
		serve_all(listen_at(argv[2], atoi(argv[3]), 600, argv[4]), echo);
	if (!strcmp(what, "many") && argc >= 8 && argc <= 10) {
		many(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argv[6], argv[7],
		     argc > 8 ? parse_size(argv[8]) : MANY_BYTES,
		     argc > 9 && !strcmp(argv[9], "slow_start"));
		return 0;
	}
	if (!strcmp(what, "one")) {
		one(argv + 2);
		return 0;
	}
	fprintf(stderr, "usage: toe_conn serve ADDRESS PORT READY | many ADDRESS PORT COUNT ULP READY GO [BYTES [slow_start]] | one KEY=VALUE...\n");
	return 2;
}
