// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that move exactly so many bytes. What send() and recv() return is the number of
 * bytes, whatever that number is.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As powers of two. */
#define MOST 22

static uint8_t *ours, *theirs;
static size_t amount;

/* The other end: takes as many bytes as it is sent, and sends them back to who waits. */
static void *echo(void *unused)
{
	size_t done;
	ssize_t ret;

	for (done = 0; done < amount; done += ret) {
		ret = recv(p.s, theirs + done, amount - done, 0);
		if (ret <= 0)
			fatal("%zu bytes: the server has %zu of them: %m", amount, done);
	}
	asleep(getpid());
	for (done = 0; done < amount; done += ret) {
		ret = send(p.s, theirs + done, amount - done, MSG_NOSIGNAL);
		if (ret <= 0)
			fatal("%zu bytes: the server sent %zu of them: %m", amount, done);
	}
	return unused;
}

static void move(size_t n)
{
	pthread_t thread;
	ssize_t ret;
	int err;

	amount = n;
	stream_fill(n, 0, ours, n);
	err = pthread_create(&thread, NULL, echo, NULL);
	if (err)
		fatal("a thread: %s", strerror(err));
	ret = send(p.c, ours, n, MSG_NOSIGNAL);
	if (ret != (ssize_t)n)
		fatal("send() of %zu bytes returned %zd: %m", n, ret);
	memset(ours, 0, n);
	ret = recv(p.c, ours, n, MSG_WAITALL);
	if (ret != (ssize_t)n)
		fatal("recv() of %zu bytes returned %zd: %m", n, ret);
	pthread_join(thread, NULL);
	if (stream_check(n, 0, ours, n) >= 0)
		fatal("%zu bytes: wrong byte at %td", n, stream_check(n, 0, ours, n));
	if (recv(p.s, theirs, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		fatal("more than %zu bytes reached the server", n);
	if (recv(p.c, ours, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		fatal("more than %zu bytes came back", n);
}

/* Each power of two, and its neighbours. */
int amounts(void)
{
	int bits;

	ours = malloc((1 << MOST) + 1);
	theirs = malloc((1 << MOST) + 1);
	if (!ours || !theirs)
		fatal("memory: %m");
	establish();
	offload(p.c);
	if (p.both)
		offload(p.s);
	for (bits = 1; bits <= MOST; bits++) {
		move((1 << bits) - 1);
		move(1 << bits);
		move((1 << bits) + 1);
	}
	return 0;
}
