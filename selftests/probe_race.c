// SPDX-License-Identifier: GPL-2.0
/* The offload against a close in another thread, and against failing memory. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 200

static pthread_barrier_t gate;
static unsigned int delay, kind;

static void *breaker(void *arg)
{
	struct linger linger = { 1, 0 };
	volatile unsigned int spin = delay;

	(void)arg;
	pthread_barrier_wait(&gate);
	while (spin--)
		;
	switch (kind) {
	case 0:
		shutdown(p.c, SHUT_RDWR);
		break;
	case 1:
		shutdown(p.c, SHUT_WR);
		break;
	case 2:
		close(p.c);
		break;
	case 3:
		setsockopt(p.c, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(p.c);
		break;
	case 4:
		close(p.s);
		break;
	case 5:
		setsockopt(p.s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(p.s);
		break;
	}
	return NULL;
}

int race(void)
{
	uint64_t rng = now_ms();
	unsigned int i, accepted = 0;

	pthread_barrier_init(&gate, NULL, 2);
	for (i = 0; i < ROUNDS; i++) {
		uint8_t buf[4096] = { 0 };
		pthread_t t;
		int ret;

		p.pos_cs = p.pos_sc = 0;
		establish();
		exchange(1);
		kind = i % 6;
		delay = rnd_below(&rng, 20000);
		/* Half of them with data on the way. */
		if (i & 8 && send(p.s, buf, sizeof(buf), MSG_NOSIGNAL) < 0)
			fatal("send: %m");
		pthread_create(&t, NULL, breaker, NULL);
		pthread_barrier_wait(&gate);
		ret = ulp_request(p.c);
		pthread_join(t, NULL);
		if (!ret)
			accepted++;
		else if (ret != -EOPNOTSUPP && ret != -ENOTCONN && ret != -EBADF &&
			 !(ret == -ENOENT && p.ulp_try))
			fatal("round %u: TCP_ULP: %s", i, strerror(-ret));
		if (kind != 2 && kind != 3)
			close(p.c);
		if (kind != 4 && kind != 5)
			close(p.s);
	}
	fprintf(stderr, "%u of %u offloads were in time\n", accepted, ROUNDS);
	return 0;
}

/*
 * Connections that nobody accepts, offloaded by the policy, whose listener closes:
 * the kernel warns if anybody owns the lock of one at that moment.
 */
int unaccepted(void)
{
	enum { CONNS = 16 };
	uint64_t rng = now_ms();
	int fds[CONNS], i, j;

	for (i = 0; i < 300; i++) {
		open_listener();
		for (j = 0; j < CONNS; j++) {
			fds[j] = tcp_connect(p.addr, local_port(p.listener));
			if (fds[j] < 0)
				fatal("connect: %s", strerror(-fds[j]));
		}
		usleep(rnd_below(&rng, 3000));
		close(p.listener);
		for (j = 0; j < CONNS; j++)
			close(fds[j]);
	}
	return 0;
}

static void fail_nth(int fd, int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	if (pwrite(fd, text, len, 0) != len)
		fatal("fail-nth: %m");
}

/* True when the fault was not reached: the call is through. */
static bool fault_left(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		fatal("fail-nth: %m");
	fail_nth(fd, 0);
	return atoi(text) != 0;
}

/* What the call waits for comes once it waits. */
static void *send_to_sleeper(void *tid)
{
	asleep(*(int *)tid);
	send_sc(1000);
	return NULL;
}

/*
 * For each allocation that `what` makes, one connection on which it fails.
 * The connection has to go on with every byte right.
 */
int nth(const char *what)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	bool done = false, posted = !strcmp(what, "posted");
	unsigned int n, faults = 0, no_fin = 0;
	int tid = syscall(SYS_gettid);

	if (fd < 0) {
		fprintf(stderr, "toe_probe: no fail-nth: %m\n");
		return 4;
	}
	for (n = 1; !done && n < 200; n++) {
		pthread_t sender;
		uint8_t buf[4096];
		int ret = 0;

		p.pos_cs = p.pos_sc = 0;
		establish();
		exchange(2);
		if (strcmp(what, "offload"))
			offload(p.c);
		exchange(2);
		stream_fill(1, p.pos_cs, buf, sizeof(buf));
		if (!strcmp(what, "receive"))
			send_sc(1000);
		else if (posted)
			pthread_create(&sender, NULL, send_to_sleeper, &tid);
		fail_nth(fd, n);
		if (!strcmp(what, "offload")) {
			ret = ulp_request(p.c);
		} else if (!strcmp(what, "send")) {
			ret = send(p.c, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT);
			if (ret < 0)
				ret = -errno;
		} else if (!strcmp(what, "receive") || posted) {
			ret = recv(p.c, buf, 500, 0);
			if (ret < 0)
				ret = -errno;
		} else if (!strcmp(what, "shutdown")) {
			shutdown(p.c, SHUT_WR);
		} else {
			close(p.c);
		}
		done = fault_left(fd);
		faults += !done;
		if (posted)
			pthread_join(sender, NULL);
		if (!strcmp(what, "offload")) {
			if (ret && ret != -EOPNOTSUPP && ret != -ENOMEM && !(ret == -ENOENT && p.ulp_try))
				fatal("allocation %u: TCP_ULP: %s", n, strerror(-ret));
			exchange(4);
		} else if (!strcmp(what, "send")) {
			if (ret < 0 && ret != -EAGAIN && ret != -ENOMEM && ret != -ENOBUFS)
				fatal("allocation %u: send: %s", n, strerror(-ret));
			if (ret > 0)
				recv_cs(ret);
			exchange(4);
		} else if (!strcmp(what, "receive") || posted) {
			if (ret > 0) {
				if (stream_check(2, p.pos_sc, buf, ret) >= 0)
					fatal("allocation %u: wrong byte", n);
				p.pos_sc += ret;
			} else if (ret != -ENOMEM && ret != -EAGAIN) {
				fatal("allocation %u: receive: %s", n, strerror(-ret));
			}
			recv_sc(1000 - MAX(ret, 0));
			exchange(4);
		} else {
			/*
			 * tcp_send_fin() sends none, ever, if it gets no buffer for it:
			 * that is any TCP's. A buffer is two allocations, and the second
			 * is tried twice.
			 */
			struct pollfd pfd = { .fd = p.s, .events = POLLIN };

			if (!done && no_fin < 3 && !poll(&pfd, 1, 3000))
				no_fin++;
			else if (recv(p.s, buf, 1, 0) != 0)
				fatal("allocation %u: no EOF after %s: %m", n, what);
		}
		if (strcmp(what, "close"))
			close(p.c);
		close(p.s);
	}
	fprintf(stderr, "%u allocations failed, one at a time\n", faults);
	close(fd);
	return 0;
}
