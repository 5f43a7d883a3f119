// SPDX-License-Identifier: GPL-2.0
/*
 * Payload that a device holds while it waits for a user buffer. What each call
 * returns is what plain TCP returns; what is looked at is when.
 *
 * TOE_HOLD_MS is for how long the device holds it.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/tcp.h>

#define PIECE 1000

static uint8_t data[64 * PIECE];
static uint64_t sent, sent_at;
static int hold_ms, reader_tid;

static void give(size_t n)
{
	stream_fill(2, sent, data, n);
	sent_at = now_ms();
	if (send(p.s, data, n, MSG_NOSIGNAL) != (ssize_t)n)
		fatal("send: %m");
	sent += n;
}

static int queued(void)
{
	int n = -1;

	ioctl(p.c, FIONREAD, &n);
	return n;
}

/* Sends `n` bytes, which are held. */
static void held(size_t n)
{
	give(n);
	sleep_ms(hold_ms > 300 ? 60 : hold_ms / 5);
	if (queued())
		fatal("%d bytes are not held", queued());
}

/* All that was sent is in the receive queue, within `ms`. */
static void arrived(int ms)
{
	uint64_t end = now_ms() + ms;

	while (queued() != (int)(sent - p.pos_sc)) {
		if (now_ms() > end)
			fatal("%d bytes of %d are there", queued(), (int)(sent - p.pos_sc));
		sleep_ms(2);
	}
}

static void take(size_t n, int flags)
{
	static uint8_t buf[sizeof(data)];
	ssize_t ret = recv(p.c, buf, n, flags);

	if (ret != (ssize_t)n)
		fatal("recv: %zd of %zu: %m", ret, n);
	if (stream_check(2, p.pos_sc, buf, n) >= 0)
		fatal("a wrong byte");
	if (!(flags & MSG_PEEK))
		p.pos_sc += n;
}

static void took(int at_most)
{
	int ms = now_ms() - sent_at;

	if (ms > at_most)
		fatal("it took %d ms, expected %d at most", ms, at_most);
}

/* The reader sleeps, and then data comes. */
static void *give_to_sleeper(void *arg)
{
	(void)arg;
	asleep(reader_tid);
	give(PIECE);
	return NULL;
}

static void sleeper(void (*wait)(void))
{
	pthread_t thread;

	reader_tid = syscall(SYS_gettid);
	pthread_create(&thread, NULL, give_to_sleeper, NULL);
	wait();
	took(hold_ms / 2);
	pthread_join(thread, NULL);
}

static void blocking(void) { take(PIECE, 0); }

static void polling(void)
{
	struct pollfd pfd = { .fd = p.c, .events = POLLIN };

	if (poll(&pfd, 1, 20000) != 1)
		fatal("poll: %m");
}

static void run_before(void)
{
	if (p.before && system(p.before))
		fatal("failed: %s", p.before);
}

static int one(const char *name)
{
	char c = 'x';

	if (!strcmp(name, "posted")) {
		/* It waits for the buffer, and is placed there. */
		held(PIECE);
		held(PIECE);
		take(2 * PIECE, MSG_WAITALL);
		took(hold_ms / 2);
	} else if (!strcmp(name, "part")) {
		held(3 * PIECE);
		take(PIECE, MSG_WAITALL);
		take(2 * PIECE, MSG_DONTWAIT);
	} else if (!strcmp(name, "mark")) {
		held(PIECE);
		held(PIECE);
		give(PIECE);
		arrived(hold_ms / 2);
		/* There is something to be read: nothing more is held. */
		give(PIECE);
		arrived(hold_ms / 2);
	} else if (!strcmp(name, "timer")) {
		held(PIECE);
		arrived(hold_ms + 500);
		take(PIECE, MSG_DONTWAIT);
	} else if (!strcmp(name, "poll")) {
		held(PIECE);
		polling();
		took(hold_ms + 500);
	} else if (!strcmp(name, "dontwait")) {
		held(PIECE);
		take(PIECE, MSG_DONTWAIT);
		took(hold_ms / 2);
		if (recv(p.c, data, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			fatal("more than was sent");
	} else if (!strcmp(name, "short")) {
		held(PIECE);
		take(PIECE, 0);
		took(hold_ms / 2);
	} else if (!strcmp(name, "peek")) {
		held(PIECE);
		take(PIECE, MSG_PEEK);
		took(hold_ms / 2);
	} else if (!strcmp(name, "sleeper")) {
		sleeper(blocking);
		sleeper(blocking);
	} else if (!strcmp(name, "poller")) {
		sleeper(polling);
	} else if (!strcmp(name, "ack")) {
		/* A frame that brings an ACK, too, does not wait, nor do those before. */
		held(PIECE);
		send_cs(PIECE);
		arrived(hold_ms / 2);
		take(PIECE, MSG_DONTWAIT);
		recv_cs(PIECE);
		/* With or without an ACK, it is there when it is asked for. */
		give(PIECE);
		take(PIECE, 0);
		took(hold_ms / 2);
	} else if (!strcmp(name, "host")) {
		/* The connection goes to the host stack, by what --before does. */
		held(PIECE);
		held(PIECE);
		run_before();
		took(hold_ms + 1000);
		arrived(0);
	} else if (!strcmp(name, "setsockopt")) {
		held(PIECE);
		if (setsockopt(p.c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4))
			fatal("TCP_CONGESTION: %m");
		arrived(0);
	} else if (!strcmp(name, "shutdown")) {
		held(PIECE);
		shutdown(p.c, SHUT_WR);
		arrived(0);
	} else if (!strcmp(name, "close")) {
		held(PIECE);
		/* There was unread data: the peer is told. */
		close(p.c);
		p.c = -1;
		if (recv(p.s, data, 1, 0) >= 0 || errno != ECONNRESET)
			fatal("no reset: %m");
		took(hold_ms / 2);
		return 0;
	} else if (!strcmp(name, "fin")) {
		held(PIECE);
		shutdown(p.s, SHUT_WR);
		arrived(hold_ms / 2);
		take(PIECE, 0);
		if (recv(p.c, data, 1, 0))
			fatal("not the end");
	} else if (!strcmp(name, "reset")) {
		struct linger linger = { 1, 0 };

		held(PIECE);
		setsockopt(p.s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(p.s);
		sleep_ms(100);
		take(PIECE, 0);
		if (recv(p.c, data, 1, 0) >= 0 || errno != ECONNRESET)
			fatal("no reset: %m");
	} else if (!strcmp(name, "urgent")) {
		/* A special case in the middle of the host's sendmsg(). */
		held(PIECE);
		if (send(p.c, &c, 1, MSG_OOB) != 1)
			fatal("MSG_OOB: %m");
		arrived(hold_ms / 2);
	} else if (!strcmp(name, "abort")) {
		held(PIECE);
		run_before();
		if (recv(p.s, data, 1, 0) >= 0 || errno != ECONNRESET)
			fatal("no reset: %m");
		return 0;
	} else {
		fprintf(stderr, "no such probe of held payload: %s\n", name);
		return 2;
	}
	if (sent > p.pos_sc)
		take(sent - p.pos_sc, MSG_WAITALL);
	if (recv(p.c, data, 1, MSG_DONTWAIT) > 0)
		fatal("more than was sent");
	return 0;
}

int hold(const char *name)
{
	const char *ms = getenv("TOE_HOLD_MS");
	struct timeval forever = { 0, 0 };

	hold_ms = ms ? atoi(ms) : 1000;
	establish();
	exchange(1);
	sent = p.pos_sc;
	setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	set_int(p.s, IPPROTO_TCP, TCP_NODELAY, 1);
	offload(p.c);
	return one(name);
}
