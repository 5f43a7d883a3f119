// SPDX-License-Identifier: GPL-2.0
/*
 * What went past the wire, read in each way there is, and what calls say of it: as with
 * plain TCP.
 */
#define _GNU_SOURCE
#include "probe_short.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#define SIZE 6000

static uint8_t buf[SIZE];

static void want(ssize_t got, ssize_t expected, const char *what)
{
	if (got != expected)
		fatal("%s: %zd (%m), expected %zd", what, got, expected);
}

/* `n` bytes past the wire. */
static void pass(size_t n)
{
	struct moved from = moved();

	write_cs(n);
	expect_passed(&from, CLIENT, n, "a write");
	/* Frames take a while, and so do their ACKs. */
	if (!short_known())
		sleep_ms(100);
}

static void peek(void)
{
	pass(1000);
	want(recv(p.s, buf, SIZE, MSG_PEEK), 1000, "MSG_PEEK");
	pass(500);
	want(recv(p.s, buf, SIZE, MSG_PEEK), 1500, "MSG_PEEK");
	read_cs(1500);
}

static void peek_off(void)
{
	if (set_int(p.s, SOL_SOCKET, SO_PEEK_OFF, 0))
		lacking("SO_PEEK_OFF");
	pass(1000);
	want(recv(p.s, buf, 400, MSG_PEEK), 400, "MSG_PEEK");
	pass(1000);
	want(recv(p.s, buf + 400, SIZE, MSG_PEEK), 1600, "MSG_PEEK");
	check_cs(buf, 2000, "SO_PEEK_OFF");
	want(recv(p.s, buf, SIZE, 0), 2000, "recv");
	set_int(p.s, SOL_SOCKET, SO_PEEK_OFF, -1);
}

static void trunc_(void)
{
	pass(2000);
	want(recv(p.s, NULL, 700, MSG_TRUNC), 700, "MSG_TRUNC");
	skip_cs(700);
	read_cs(1300);
}

static void wait_all(void)
{
	pass(1000);
	pass(3000);
	want(recv(p.s, buf, 4000, MSG_WAITALL), 4000, "MSG_WAITALL");
	check_cs(buf, 4000, "MSG_WAITALL");
}

static void vectors(void)
{
	struct iovec v[3] = { { buf, 10 }, { buf + 10, 2000 }, { buf + 2010, 990 } };
	struct moved from = moved();

	fill_cs(buf, 3000);
	want(writev(p.c, v, 3), 3000, "writev");
	expect_passed(&from, CLIENT, 3000, "writev");
	memset(buf, 0, sizeof(buf));
	want(readv(p.s, v, 3), 3000, "readv");
	check_cs(buf, 3000, "readv");
}

/* What is in the pipe is not touched by what comes after it. */
static void splice_(void)
{
	int fd[2];

	if (pipe(fd))
		fatal("pipe: %m");
	pass(1000);
	want(splice(p.s, NULL, fd[1], NULL, 1000, 0), 1000, "splice");
	pass(500);
	want(read(fd[0], buf, SIZE), 1000, "the pipe");
	check_cs(buf, 1000, "splice");
	read_cs(500);
	close(fd[0]);
	close(fd[1]);
}

/* By frames: pages are lent. */
static void send_file(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	off_t at = 0;

	pass(100);
	read_cs(100);
	fill_cs(buf, SIZE);
	if (fd < 0 || write(fd, buf, SIZE) != SIZE)
		fatal("memfd: %m");
	want(sendfile(p.c, fd, &at, SIZE), SIZE, "sendfile");
	read_cs(SIZE);
	close(fd);
	come_to_pass();
}

static void zero_copy_receive(void)
{
	struct tcp_zerocopy_receive zc = { .length = 65536 };
	socklen_t len = sizeof(zc);
	void *at = mmap(NULL, zc.length, PROT_READ, MAP_SHARED, p.s, 0);

	if (at == MAP_FAILED)
		lacking("mmap() of a socket");
	pass(5000);
	zc.address = (uintptr_t)at;
	if (getsockopt(p.s, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &len))
		fatal("TCP_ZEROCOPY_RECEIVE: %m");
	if (zc.length || zc.recv_skip_hint != 5000)
		fatal("%u bytes mapped, %u to be read", zc.length, zc.recv_skip_hint);
	read_cs(5000);
	munmap(at, 65536);
}

static void lowat(void)
{
	struct pollfd pfd = { .fd = p.s, .events = POLLIN };

	set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 3000);
	pass(1000);
	want(poll(&pfd, 1, 0), 0, "poll below SO_RCVLOWAT");
	pass(1999);
	want(poll(&pfd, 1, 0), 0, "poll below SO_RCVLOWAT");
	pass(1);
	want(poll(&pfd, 1, 0), 1, "poll at SO_RCVLOWAT");
	read_cs(3000);
	set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 1);
}

/* Each write is an edge, whether what came before was read or not. */
static void edges(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	int fd = epoll_create1(EPOLL_CLOEXEC), i;

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, p.s, &e))
		fatal("epoll: %m");
	want(epoll_wait(fd, &e, 1, 0), 0, "epoll with nothing there");
	for (i = 0; i < 20; i++) {
		pass(200);
		want(epoll_wait(fd, &e, 1, 0), 1, "epoll after a write");
		want(epoll_wait(fd, &e, 1, 0), 0, "epoll after an edge");
		if (i % 3 == 0)
			read_cs(100);
	}
	read_cs(20 * 200 - 7 * 100);
	close(fd);
}

static void sigio(void)
{
	struct timespec soon = { .tv_sec = 5 };
	sigset_t set;
	int i;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (fcntl(p.s, F_SETOWN, getpid()) || fcntl(p.s, F_SETFL, O_ASYNC))
		fatal("O_ASYNC: %m");
	for (i = 0; i < 5; i++) {
		pass(100);
		want(sigtimedwait(&set, NULL, &soon), SIGIO, "SIGIO");
	}
	fcntl(p.s, F_SETFL, 0);
	read_cs(500);
}

static int amount(int fd, unsigned long what)
{
	int n = -1;

	if (ioctl(fd, what, &n))
		fatal("ioctl: %m");
	return n;
}

static void amounts_(void)
{
	pass(1000);
	pass(2000);
	want(amount(p.s, SIOCINQ), 3000, "SIOCINQ");
	want(amount(p.c, SIOCOUTQ), 0, "SIOCOUTQ");
	want(amount(p.c, SIOCOUTQNSD), 0, "SIOCOUTQNSD");
	read_cs(1200);
	want(amount(p.s, SIOCINQ), 1800, "SIOCINQ");
	read_cs(1800);
	want(amount(p.s, SIOCINQ), 0, "SIOCINQ");
}

static struct tcp_info info(int fd)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len))
		fatal("TCP_INFO: %m");
	return i;
}

static void infos(void)
{
	struct tcp_info c = info(p.c), s = info(p.s), now;
	uint64_t begun;

	sleep_ms(100);
	begun = now_ms();
	pass(5000);
	pass(6000);
	now = info(p.c);
	want(now.tcpi_bytes_sent - c.tcpi_bytes_sent, 11000, "bytes_sent");
	want(now.tcpi_bytes_acked - c.tcpi_bytes_acked, 11000, "bytes_acked");
	want(now.tcpi_unacked, 0, "unacked");
	want(now.tcpi_notsent_bytes, 0, "notsent_bytes");
	want(now.tcpi_bytes_retrans, c.tcpi_bytes_retrans, "bytes_retrans");
	if (now.tcpi_last_data_sent > now_ms() - begun + 20)
		fatal("last data sent %u ms ago", now.tcpi_last_data_sent);
	now = info(p.s);
	want(now.tcpi_bytes_received - s.tcpi_bytes_received, 11000, "bytes_received");
	want(now.tcpi_bytes_acked, s.tcpi_bytes_acked, "bytes_acked of the receiver");
	if (now.tcpi_last_data_recv > now_ms() - begun + 20)
		fatal("last data received %u ms ago", now.tcpi_last_data_recv);
	read_cs(5000);
	read_cs(6000);
}

static void uring(void)
{
	ssize_t ret;

	pass(3000);
	ret = uring_recv(p.s, buf, SIZE, 0, false);
	if (ret < 0 && errno == ENOSYS)
		lacking("io_uring");
	want(ret, 3000, "io_uring");
	check_cs(buf, 3000, "io_uring");
	pass(2000);
	want(uring_recv(p.s, buf, SIZE, 0, true), 2000, "io_uring's worker");
	check_cs(buf, 2000, "io_uring's worker");
}

static const struct {
	const char *name;
	void (*run)(void);
} probes[] = {
	{ "peek", peek },
	{ "peek_off", peek_off },
	{ "trunc", trunc_ },
	{ "wait_all", wait_all },
	{ "vectors", vectors },
	{ "splice", splice_ },
	{ "send_file", send_file },
	{ "zero_copy_receive", zero_copy_receive },
	{ "lowat", lowat },
	{ "edges", edges },
	{ "sigio", sigio },
	{ "amounts", amounts_ },
	{ "info", infos },
	{ "io_uring", uring },
};

int short_reads(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (strcmp(probes[i].name, name))
			continue;
		/* What each leaves behind is a connection that is good for more. */
		probes[i].run();
		probes[i].run();
		trips_pass(5);
		return 0;
	}
	return -1;
}
