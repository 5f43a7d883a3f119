// SPDX-License-Identifier: GPL-2.0
/*
 * Streams in both directions, by threads, while something changes: each byte is checked.
 */
#define _GNU_SOURCE
#include "probe_short.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/time.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define MOST 30000

static struct stream {
	pthread_t writer, reader;
	int from, to;
	uint64_t seed;
	size_t most;		/* bytes of a call */
	unsigned int pause;	/* after so many calls all that was written has to be read */
	bool slow;		/* the reader is slower than the writer */
	_Atomic uint64_t end, done;
} streams[2];

static atomic_bool stop;
/* The connection may break, but not bring wrong bytes. */
static atomic_bool broken;

static bool ended(const char *what, ssize_t ret)
{
	if (broken)
		return true;
	fatal("%s: %zd, %m", what, ret);
}

static void *writer(void *arg)
{
	struct stream *s = arg;
	uint64_t pos = 0, state = s->seed;
	unsigned int calls = 0;
	uint8_t buf[MOST];
	ssize_t ret;

	for (;;) {
		bool last = stop;
		size_t n = last ? 1 : rnd_size(&state, s->most);

		stream_fill(s->seed, pos, buf, n);
		/* Before the reader may wait for more than there will be. */
		if (last)
			s->end = pos + 1;
		ret = send(s->from, buf, n, MSG_NOSIGNAL);
		if (ret <= 0) {
			ended("send", ret);
			return NULL;
		}
		pos += ret;
		if (last)
			return NULL;
		if (s->pause && ++calls % s->pause == 0)
			while (s->done < pos && !broken)
				sleep_ms(1);
	}
}

static void *reader(void *arg)
{
	struct stream *s = arg;
	uint64_t state = s->seed + 1;
	uint8_t buf[MOST];
	ssize_t ret;

	while (!s->end || s->done < s->end) {
		if (s->slow && rnd_size(&state, 8) == 1)
			sleep_ms(1);
		ret = recv(s->to, buf, rnd_size(&state, s->most), 0);
		if (ret <= 0) {
			ended("recv", ret);
			return NULL;
		}
		if (stream_check(s->seed, s->done, buf, ret) >= 0)
			fatal("wrong byte after position %llu", (unsigned long long)s->done);
		s->done += ret;
	}
	return NULL;
}

/* `back`: calls of the second stream, which then waits for its reader after each. */
static void streams_of(size_t most, unsigned int pause, size_t back)
{
	/* A call with a limit is the host's. */
	static const struct timeval forever;
	int i;

	for (i = 0; i < 2; i++) {
		struct stream *s = &streams[i];

		s->from = i ? p.s : p.c;
		s->to = i ? p.c : p.s;
		s->seed = 10 + i;
		s->most = i && back ? back : most;
		s->pause = i && back ? 1 : pause;
		setsockopt(s->to, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
		setsockopt(s->to, SOL_SOCKET, SO_SNDTIMEO, &forever, sizeof(forever));
	}
}

static void start_with(size_t most, unsigned int pause, size_t back)
{
	int i;

	streams_of(most, pause, back);
	for (i = 0; i < 2; i++)
		if (pthread_create(&streams[i].writer, NULL, writer, &streams[i]) ||
		    pthread_create(&streams[i].reader, NULL, reader, &streams[i]))
			fatal("threads");
}

static void start(size_t most, unsigned int pause)
{
	start_with(most, pause, 0);
}

static void join(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		pthread_join(streams[i].writer, NULL);
		pthread_join(streams[i].reader, NULL);
	}
}

/* What has arrived in both directions. */
static uint64_t arrived(void)
{
	return streams[0].done + streams[1].done;
}

/* Waits until so much more has arrived: nothing has stopped. */
static void move_on(uint64_t n)
{
	uint64_t from = arrived(), end = now_ms() + 60000;

	while (arrived() - from < n) {
		if (now_ms() > end)
			fatal("%llu bytes in a minute", (unsigned long long)(arrived() - from));
		sleep_ms(1);
	}
}

/* Some of the bytes at least. */
static void some_passed(const struct moved *from, const char *what)
{
	if (short_known() && sum(moved().passed) == sum(from->passed))
		fatal("%s: none went past the wire", what);
}

static void stream(size_t most, unsigned int pause, uint64_t n)
{
	struct moved from = moved();

	start(most, pause);
	move_on(n);
	stop = true;
	join();
	some_passed(&from, "streams");
}

static void small(void) { stream(1000, 8, 100000); }
static void large(void) { stream(MOST, 0, 8000000); }

/*
 * A reader that is slower than its writer: what there was no room for waits in the send
 * queue until it has read, and goes past the wire then, too. On one CPU: with several, the
 * reader is not slower in each run.
 */
static void behind(void)
{
	struct moved from = moved(), to;
	unsigned long long passed, all;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fatal("sched_setaffinity: %m");
	set_int(p.s, SOL_SOCKET, SO_RCVBUF, 65536);
	streams[0].slow = true;
	start_with(MOST, 0, 10);
	move_on(4000000);
	stop = true;
	join();
	to = moved();
	all = arrived();
	passed = sum(to.passed) - sum(from.passed);
	fprintf(stderr, "# note: %llu of %llu bytes past the wire\n", passed, all);
	if (short_known() && passed < all / 2)
		fatal("%llu of %llu bytes went past the wire", passed, all);
}

/* ---- several writers of one socket ---- */

#define WRITERS 2
/* Of each writer, in a round: less than there is always room for. */
#define MESSAGES 10

static size_t message;
/* Writers spin for each other for a while: they are to begin at the same time. */
#define SPIN_MS 3
static atomic_uint awake;
static pthread_barrier_t begins, written;

/* The n-th message of a writer: its first byte says whose it is. */
static void fill_message(uint8_t *buf, unsigned int who, unsigned int n)
{
	stream_fill(100 + who, (uint64_t)n * MOST, buf, message);
	buf[0] = who;
}

static void *one_of_writers(void *arg)
{
	unsigned int who = (uintptr_t)arg, round, i;
	static uint8_t bufs[WRITERS][MESSAGES][MOST];
	uint64_t end;

	for (round = 0; round < p.rounds; round++) {
		for (i = 0; i < MESSAGES; i++)
			fill_message(bufs[who][i], who, round * MESSAGES + i);
		pthread_barrier_wait(&begins);
		awake++;
		for (end = now_ms() + SPIN_MS; awake < (round + 1) * WRITERS && now_ms() < end; )
			;
		for (i = 0; i < MESSAGES; i++) {
			ssize_t ret = send(p.c, bufs[who][i], message, MSG_NOSIGNAL);

			if (ret != (ssize_t)message)
				fatal("a message of %zu bytes: %zd, %m", message, ret);
		}
		pthread_barrier_wait(&written);
	}
	return NULL;
}

/* What one call writes stays together, as long as it need not wait for room. */
static void whole_messages(size_t size)
{
	static uint8_t got[MOST], want[MOST];
	unsigned int i, round, next[WRITERS] = { 0 };
	pthread_t threads[WRITERS];
	struct moved from = moved();

	message = size;
	awake = 0;
	pthread_barrier_init(&begins, NULL, WRITERS + 1);
	pthread_barrier_init(&written, NULL, WRITERS + 1);
	for (i = 0; i < WRITERS; i++)
		if (pthread_create(&threads[i], NULL, one_of_writers, (void *)(uintptr_t)i))
			fatal("threads");
	for (round = 0; round < p.rounds; round++) {
		pthread_barrier_wait(&begins);
		pthread_barrier_wait(&written);
		for (i = 0; i < WRITERS * MESSAGES; i++) {
			if (recv(p.s, got, size, MSG_WAITALL) != (ssize_t)size)
				fatal("receive: %m");
			if (got[0] >= WRITERS)
				fatal("round %u: a message of nobody", round);
			fill_message(want, got[0], next[got[0]]++);
			if (memcmp(got, want, size))
				fatal("round %u: message %u of %zu bytes is not in one piece", round, i, size);
		}
	}
	for (i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	some_passed(&from, "messages");
}

static void writers(void)
{
	static const size_t sizes[] = { 100, 700, 1500, 2100 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		whole_messages(sizes[i]);
}

/* ---- both ways in turn ---- */

static int knobs[2] = { -1, -1 };

static void open_knobs(void)
{
	int i;

	for (i = 0; short_known() && i < 2; i++)
		knobs[i] = open_knob(i, "short_cut");
}

static void set_knobs(bool on)
{
	const char *text = on ? "auto\n" : "off\n";
	int i;

	for (i = 0; i < 2; i++)
		if (knobs[i] >= 0 && pwrite(knobs[i], text, strlen(text), 0) < 0)
			fatal("the knob: %m");
}

static int tap_of_all(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)))
		fatal("packet socket: %m");
	return fd;
}

/* Waits until bytes move past the wire, or by frames. */
static void turn(bool past)
{
	struct moved from = moved(), now;
	uint64_t end = now_ms() + 30000;

	do {
		resume();
		move_on(1);
		now = moved();
		if (now_ms() > end)
			fatal("no bytes %s in 30 s", past ? "past the wire" : "by frames");
	} while (short_known() && (past ? sum(now.passed) == sum(from.passed) :
				   sum(now.framed) == sum(from.framed)));
}

/* By the knob and by a tap in turn, --rounds times, while streams run. */
static void flips(void)
{
	unsigned int i;

	open_knobs();
	start(4000, 5);
	for (i = 0; i < p.rounds; i++) {
		int fd = -1;

		turn(true);
		if (i % 2)
			fd = tap_of_all();
		else
			set_knobs(false);
		turn(false);
		if (fd >= 0)
			close(fd);
		else
			set_knobs(true);
	}
	stop = true;
	join();
	fprintf(stderr, "# note: %u flips, %llu bytes\n", p.rounds, (unsigned long long)arrived());
}

/* ---- flips that are counted ---- */

/* Both ends know how long the next message of each stream is. */
static size_t say(struct stream *s, uint64_t *state, uint64_t pos)
{
	size_t n = rnd_size(state, s->most), done;
	uint8_t buf[MOST];
	ssize_t ret;

	stream_fill(s->seed, pos, buf, n);
	for (done = 0; done < n; done += ret) {
		ret = send(s->from, buf + done, n - done, MSG_NOSIGNAL);
		if (ret <= 0)
			fatal("send: %zd, %m", ret);
	}
	return n;
}

static void hear(struct stream *s, uint64_t *state)
{
	size_t n = rnd_size(state, s->most), done;
	uint8_t buf[MOST];
	ssize_t ret;

	for (done = 0; done < n; done += ret) {
		ret = recv(s->to, buf, n - done, 0);
		if (ret <= 0)
			fatal("recv: %zd, %m", ret);
		if (stream_check(s->seed, s->done, buf, ret) >= 0)
			fatal("wrong byte after position %llu", (unsigned long long)s->done);
		s->done += ret;
	}
}

/* Those that are through, and the last one, once it is known. */
static _Atomic uint64_t turns, last_turn;

/*
 * The ends take turns, one message after the other's: with each one all of before is
 * acknowledged, and the next may go past the wire again.
 */
static void *end_of_talk(void *arg)
{
	struct stream *out = arg, *in = &streams[out == streams];
	uint64_t out_state = out->seed, in_state = in->seed, pos = 0, turn;
	bool client = out == streams;

	for (turn = 1; ; turn++) {
		if (!client)
			hear(in, &in_state);
		else if (stop)
			last_turn = turn;
		pos += say(out, &out_state, pos);
		if (client) {
			hear(in, &in_state);
			turns = turn;
		}
		if (last_turn == turn)
			return NULL;
	}
}

static void start_talk(size_t most)
{
	int i;

	streams_of(most, 0, 0);
	for (i = 0; i < 2; i++)
		if (pthread_create(&streams[i].writer, NULL, end_of_talk, &streams[i]))
			fatal("threads");
}

/* Which way the last bytes of a direction went that were looked at. */
enum { NOBODY_KNOWS, PAST, FRAMED };

/*
 * Adds up how often the next bytes of a direction went the other way than the last, at the
 * least: what moved one way only since the last look is one flip if the last moved the other
 * one, and what moved both ways is one flip, in whichever order that was.
 */
static uint64_t seen_to_flip(struct moved *from, const struct moved *now, int last[2])
{
	uint64_t n = 0;
	int i;

	for (i = 0; i < 2; i++) {
		bool past = now->passed[i] != from->passed[i];
		bool framed = now->framed[i] != from->framed[i];
		int way = past && framed ? NOBODY_KNOWS : past ? PAST : framed ? FRAMED : last[i];

		n += (past && framed) || (last[i] && way && way != last[i]);
		last[i] = way;
	}
	*from = *now;
	return n;
}

/* Both directions moved, by this way. */
static bool both_moved(const struct moved *from, const struct moved *now, bool past)
{
	const uint64_t *a = past ? from->passed : from->framed, *b = past ? now->passed : now->framed;

	return a[0] != b[0] && a[1] != b[1];
}

/* So many of the turns are those of a tap, which waits for RCU when it is closed. */
#define TAPS 16

/*
 * Until --rounds flips were counted: by the knob, or a tap, in turn. TOE_PROGRESS: a file
 * descriptor for lines that say how far it is.
 */
static void many_flips(void)
{
	uint64_t n = 0, toggled = 0, begin = now_ms(), said = begin;
	const char *progress = getenv("TOE_PROGRESS");
	int last[2] = { 0 }, tap = -1;
	struct moved seen, from, now;
	bool past = true;

	if (!short_known())
		lacking("no way that can be told");
	open_knobs();
	start_talk(4000);
	seen = moved();
	while (n < p.rounds) {
		uint64_t changed = now_ms(), turn = turns;

		for (from = seen; ; turn++) {
			/* The one in which it changed may have gone either way. */
			while (turns < turn + 2 && now_ms() - changed < 30000)
				usleep(50);
			now = moved();
			n += seen_to_flip(&seen, &now, last);
			if (both_moved(&from, &now, past))
				break;
			if (now_ms() - changed > 30000)
				fatal("after %llu flips no bytes %s in 30 s", (unsigned long long)n,
				      past ? "past the wire" : "by frames");
			resume();
		}
		if (progress && now_ms() - said > 10000) {
			said = now_ms();
			dprintf(atoi(progress), "@%llu flips of %u\n", (unsigned long long)n, p.rounds);
		}
		past = !past;
		if (!past && toggled++ % TAPS == 0) {
			tap = tap_of_all();
		} else if (tap >= 0) {
			close(tap);
			tap = -1;
		} else {
			set_knobs(past);
		}
	}
	if (tap >= 0)
		close(tap);
	set_knobs(true);
	stop = true;
	pthread_join(streams[0].writer, NULL);
	pthread_join(streams[1].writer, NULL);
	fprintf(stderr, "# note: %llu flips in %llu s, %llu bytes, each one checked\n",
		(unsigned long long)n, (unsigned long long)(now_ms() - begin) / 1000,
		(unsigned long long)arrived());
}

/* Taken back and offloaded again, --rounds times. */
static void taken_back(void)
{
	struct moved from;
	unsigned int i;

	start(4000, 5);
	from = moved();
	for (i = 0; i < p.rounds; i++) {
		move_on(20000);
		if (p.before && system(p.before))
			fatal("failed: %s", p.before);
		move_on(20000);
		resume();
	}
	move_on(20000);
	stop = true;
	join();
	some_passed(&from, "streams");
}

/* Something takes the way away for good. */
static void cut(void)
{
	struct moved from = moved();

	start(4000, 5);
	move_on(100000);
	some_passed(&from, "streams");
	broken = true;
	if (p.before && system(p.before))
		fatal("failed: %s", p.before);
	sleep_ms(200);
	stop = true;
	shutdown(p.c, SHUT_RDWR);
	shutdown(p.s, SHUT_RDWR);
	join();
}

static const struct {
	const char *name;
	void (*run)(void);
} probes[] = {
	{ "small", small },
	{ "large", large },
	{ "behind", behind },
	{ "writers", writers },
	{ "flips", flips },
	{ "many_flips", many_flips },
	{ "taken_back", taken_back },
	{ "cut", cut },
};

int short_streams(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (strcmp(probes[i].name, name))
			continue;
		probes[i].run();
		return 0;
	}
	return -1;
}
