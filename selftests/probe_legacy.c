// SPDX-License-Identifier: GPL-2.0
/*
 * Legacy mode: how long it lasts, segments that come in another way, and a socket
 * whose lock is held while frames keep arriving. The client is delegated. IPv4 only.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>

static uint64_t delegated(void)
{
	char mode[16] = "";
	uint64_t hwid;

	establish();
	offload(p.c);
	exchange(4);
	sleep_ms(200);
	hwid = entry(mode);
	if (!hwid || strcmp(mode, "delegated"))
		fatal("the client is not delegated: %s", mode);
	return hwid;
}

static void expect_mode(uint64_t hwid, const char *want, const char *when)
{
	char mode[16] = "";

	if (entry(mode) != hwid || strcmp(mode, want))
		fatal("%s: mode %s, expected %s", when, mode, want);
}

/*
 * A segment beyond a gap: all that follows is for the legacy buffers until the gap
 * is filled, and nobody but the host stack can say when that is.
 */
static void stay(void)
{
	struct segment g = { .flags = ACK, .window = 60000, .len = 500 };
	uint64_t hwid = delegated();
	int i;

	g.seq = queue_seq(2) + 1000;
	g.ack = queue_seq(1);
	put_segment(&g, p.server_ns);
	sleep_ms(100);
	expect_mode(hwid, "legacy", "after a segment beyond a gap");
	for (i = 0; i < 9; i++) {
		send_sc(100);
		recv_sc(100);
		send_cs(100);
		recv_cs(100);
		expect_mode(hwid, "legacy", "while the gap is there");
	}
	send_sc(700);
	recv_sc(700);
	expect_resynchronised(hwid, "a gap that was filled");
	exchange(8);
	expect_mode(hwid, "delegated", "at the end");
}

/* What the server is going to send comes by the loopback device, first. */
static void stray(void)
{
	struct segment g = { .flags = ACK | PSH, .window = 60000, .len = 300 };
	uint64_t hwid = delegated();
	uint8_t buf[300];

	g.seq = queue_seq(2);
	g.ack = queue_seq(1);
	put_segment(&g, p.client_ns);
	if (recv(p.c, buf, sizeof(buf), MSG_WAITALL) != sizeof(buf) ||
	    stream_check(2, p.pos_sc, buf, sizeof(buf)) >= 0)
		fatal("the stray segment's bytes: %m");
	expect_mode(hwid, "delegated", "after the stray segment");
	/* The server does not know that these have arrived, and takes no ACK for them. */
	stream_fill(2, p.pos_sc, buf, sizeof(buf));
	if (send(p.s, buf, sizeof(buf), 0) != sizeof(buf))
		fatal("send: %m");
	p.pos_sc += sizeof(buf);
	exchange(4);
	expect_resynchronised(hwid, "a stray segment");
	/* And one beyond a gap. */
	g.seq = queue_seq(2) + 200;
	g.ack = queue_seq(1);
	put_segment(&g, p.client_ns);
	sleep_ms(50);
	send_sc(100);
	recv_sc(100);
	expect_mode(hwid, "legacy", "after data in order, with a stray segment beyond it");
	exchange(4);
	expect_resynchronised(hwid, "a stray segment beyond a gap");
}

static atomic_bool peeking, hog, hogging, done;

static void pin(int cpu, int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fatal("the test needs CPU %d: %m", cpu);
	if (sched_setscheduler(0, policy, &param))
		fatal("sched_setscheduler: %m");
}

/* Nearly always within recv(), that is with the socket locked. */
static void *peek(void *arg)
{
	static uint8_t buf[4 << 20];
	int fd = *(int *)arg;

	pin(1, SCHED_OTHER, 0);
	while (!atomic_load(&done)) {
		if (recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT) < 0 && errno != EAGAIN)
			fatal("MSG_PEEK: %m");
		atomic_store(&peeking, true);
	}
	return NULL;
}

/* Takes its CPU away from the one who holds the lock, wherever that is. */
static void *keep_off(void *arg)
{
	(void)arg;
	pin(1, SCHED_FIFO, 1);
	while (!atomic_load(&done)) {
		uint64_t until;

		if (!atomic_load(&hog)) {
			sleep_ms(2);
			continue;
		}
		until = now_ms() + 600;
		atomic_store(&hogging, true);
		while (atomic_load(&hog) && now_ms() < until)
			;
		atomic_store(&hog, false);
		atomic_store(&hogging, false);
	}
	return NULL;
}

/* rcv_nxt of the client's entry, read without the socket's lock. */
static uint32_t entry_rcv_nxt(uint64_t hwid)
{
	unsigned long long found;
	unsigned int rcv_nxt;
	char line[512];
	FILE *f = fopen(p.table, "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %*s %*s %*s %*u %*u %*u %u", &found, &rcv_nxt) == 2 &&
		    found == hwid) {
			fclose(f);
			return rcv_nxt;
		}
	}
	fatal("no hwid %#llx in %s", (unsigned long long)hwid, p.table);
}

/*
 * One connection's socket stays locked; its frames, a special case among them, are
 * received and wait. Another connection of the same devices runs meanwhile.
 */
static void locked(void)
{
	struct segment g = { .flags = ACK, .window = 60000 };
	unsigned int tries, rounds = 0, sent = 0;
	int size = 16 << 20, first_c, first_s;
	uint64_t first_cs, first_sc;
	pthread_t reader, rival;
	uint64_t hwid;
	bool held = false;

	hwid = delegated();
	setsockopt(p.c, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	/* Something to peek at, for long. */
	while (sent < (3 << 20)) {
		send_sc(8192);
		p.pos_sc += 8192;
		sent += 8192;
	}
	p.pos_sc -= sent;
	first_c = p.c;
	first_s = p.s;
	first_cs = p.pos_cs;
	first_sc = p.pos_sc;
	sleep_ms(300);

	pin(0, SCHED_OTHER, 0);
	pthread_create(&reader, NULL, peek, &first_c);
	pthread_create(&rival, NULL, keep_off, NULL);
	while (!atomic_load(&peeking))
		sleep_ms(1);
	p.pos_cs = p.pos_sc = 0;
	establish();
	offload(p.c);
	offload(p.s);
	exchange(2);
	for (tries = 0; tries < 20 && !held; tries++) {
		uint8_t byte[100];
		uint32_t before;
		uint64_t cs = p.pos_cs, sc = p.pos_sc;
		int c = p.c, s = p.s, i;

		atomic_store(&hog, true);
		while (!atomic_load(&hogging))
			sleep_ms(1);
		before = entry_rcv_nxt(hwid);
		/* Frames of the first one: data, a keepalive probe, data. */
		for (i = 0; i < 10; i++) {
			stream_fill(2, first_sc + sent, byte, sizeof(byte));
			if (send(first_s, byte, sizeof(byte), MSG_DONTWAIT) != sizeof(byte))
				fatal("send: %m");
			sent += sizeof(byte);
			if (i == 5) {
				p.s = first_s;
				p.pos_sc = first_sc;
				g.seq = queue_seq(2) - sent;
				g.ack = queue_seq(1);
				g.no_ts = false;
				put_segment(&g, p.server_ns);
				p.c = c;
				p.s = s;
				p.pos_cs = cs;
				p.pos_sc = sc;
			}
		}
		/* Meanwhile the other one. */
		for (i = 0; i < 50; i++) {
			send_cs(200);
			recv_cs(200);
			send_sc(200);
			recv_sc(200);
		}
		held = atomic_load(&hogging) && entry_rcv_nxt(hwid) == before;
		rounds += i;
		atomic_store(&hog, false);
		while (atomic_load(&hogging))
			sleep_ms(1);
	}
	atomic_store(&done, true);
	pthread_join(reader, NULL);
	pthread_join(rival, NULL);
	if (!held)
		fatal("the lock was not held in any of %u tries, or the target took frames in past it",
		      tries);
	exchange(4);
	close(p.c);
	close(p.s);
	p.c = first_c;
	p.s = first_s;
	p.pos_cs = first_cs;
	p.pos_sc = first_sc;
	while (sent) {
		size_t n = sent < 8192 ? sent : 8192;

		recv_sc(n);
		sent -= n;
	}
	exchange(4);
	expect_resynchronised(hwid, "a socket that was locked");
	fprintf(stderr, "held at try %u, %u round trips of the other connection\n", tries, rounds);
}

int legacy(const char *name)
{
	if (!p.table) {
		fprintf(stderr, "legacy needs --table FILE\n");
		return 2;
	}
	if (!strcmp(name, "stay"))
		stay();
	else if (!strcmp(name, "stray"))
		stray();
	else if (!strcmp(name, "locked"))
		locked();
	else
		return 2;
	return 0;
}
