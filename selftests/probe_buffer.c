// SPDX-License-Identifier: GPL-2.0
/*
 * recvmsg() of requests that wait, on a delegated connection whose device posts
 * user buffers. What each call returns is what plain TCP returns: the same probes
 * pass on any other device.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/tcp.h>

#define PAGE 4096
#define SIZE 65536
/* Between two things that happen one after the other, in ms. */
#define SOON 100

/* What another thread does while the call waits, in this order. */
struct helper {
	void (*first)(void);
	size_t pieces[8];	/* of the stream */
	void (*then)(void);
	size_t rest[8];
	pthread_t thread;
};

static uint8_t *memory;
static uint64_t sent;
static pthread_t reader;
static int reader_tid;

static void send_pieces(const size_t *n)
{
	uint8_t buf[SIZE];
	int i;

	for (i = 0; i < 8 && n[i]; i++) {
		if (i)
			sleep_ms(SOON);
		stream_fill(2, sent, buf, n[i]);
		if (send(p.s, buf, n[i], MSG_NOSIGNAL) != (ssize_t)n[i])
			fatal("send: %m");
		sent += n[i];
	}
}

static void *help(void *arg)
{
	struct helper *h = arg;

	asleep(reader_tid);
	if (h->first)
		h->first();
	send_pieces(h->pieces);
	if (h->then) {
		sleep_ms(SOON);
		h->then();
	}
	send_pieces(h->rest);
	return NULL;
}

static void start(struct helper *h)
{
	reader = pthread_self();
	reader_tid = syscall(SYS_gettid);
	pthread_create(&h->thread, NULL, help, h);
}

static void finish(struct helper *h)
{
	pthread_join(h->thread, NULL);
}

/* `n` bytes at `at` are the next ones of the stream. */
static void check(const uint8_t *at, ssize_t n)
{
	if (n > 0 && stream_check(2, p.pos_sc, at, n) >= 0)
		fatal("wrong byte at position %llu", (unsigned long long)p.pos_sc +
		      (unsigned long long)stream_check(2, p.pos_sc, at, n));
	if (n > 0)
		p.pos_sc += n;
}

static void expect_ret(ssize_t ret, ssize_t want, const char *what)
{
	if (ret < 0)
		ret = -errno;
	if (ret != want)
		fatal("%s: returned %zd, expected %zd", what, ret, want);
}

/* One call that waits for `want` bytes, or an error. */
static void one_recv(struct helper *h, uint8_t *at, size_t len, int flags, ssize_t want)
{
	ssize_t ret;

	start(h);
	errno = 0;
	ret = recv(p.c, at, len, flags);
	expect_ret(ret, want, "recv");
	check(at, ret);
	finish(h);
}

/* What was sent and not read is still there, in order. */
static void drain(void)
{
	static uint8_t buf[SIZE];

	while (p.pos_sc < sent) {
		size_t n = sent - p.pos_sc < SIZE ? sent - p.pos_sc : SIZE;
		ssize_t ret = recv(p.c, buf, n, MSG_DONTWAIT);

		if (ret <= 0)
			fatal("%llu bytes are gone: %m", (unsigned long long)(sent - p.pos_sc));
		check(buf, ret);
	}
	if (recv(p.c, buf, 1, MSG_DONTWAIT | MSG_PEEK) > 0)
		fatal("more bytes than were sent");
}

static long vmstat(const char *name)
{
	char line[128], key[64];
	long value, found = -1;
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "w");

	if (f) {
		fputs("1\n", f);
		fclose(f);
	}
	f = fopen("/proc/vmstat", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", key, &value) == 2 && !strcmp(key, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

static long pins(void)
{
	return vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
}

/* ---- what happens meanwhile ---- */

static void nothing(int sig) { (void)sig; }
static void interrupt(void) { pthread_kill(reader, SIGUSR1); }
/* After a command, whose SIGCHLD has the call begin again: see probe_read.c, unload(). */
static void interrupt_sleeper(void)
{
	asleep(reader_tid);
	interrupt();
}
static void no_more(void) { }
static void peer_fin(void) { shutdown(p.s, SHUT_WR); }
static void own_shutdown(void) { shutdown(p.c, SHUT_RD); }
static void unmap(void) { munmap(memory, SIZE); }
static void unmap_tail(void) { munmap(memory + PAGE, SIZE - PAGE); }
static void protect(void) { mprotect(memory, SIZE, PROT_READ); }
static void remap(void)
{
	if (mmap(memory, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != memory)
		fatal("mmap: %m");
}
static void peer_reset(void)
{
	struct linger linger = { 1, 0 };

	setsockopt(p.s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(p.s);
}
static void run_before(void)
{
	if (p.before && system(p.before))
		fatal("failed: %s", p.before);
}
/* How often the reader has gone to sleep. */
static unsigned long sleeps(void)
{
	char path[64], line[128];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", reader_tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
			break;
	if (!n)
		fatal("%s: %m", path);
	fclose(f);
	return n;
}
/*
 * A segment beyond a gap. The reader can have nothing of it, nor does the host stack wake
 * it; but one whose buffer is taken back wakes up, and waits without.
 */
static void beyond_gap(void)
{
	struct segment g = { .flags = ACK, .window = 60000, .len = 500 };
	unsigned long before = sleeps();
	int i;

	g.seq = queue_seq(2) + 1000;
	g.ack = queue_seq(1);
	put_segment(&g, p.server_ns);
	for (i = 0; i < 20 && (sleeps() == before || p.ulp_try); i++)
		sleep_ms(SOON);
	if (p.ulp_try ? sleeps() != before : sleeps() == before)
		fatal("the reader was %s", p.ulp_try ? "woken" : "not woken");
}
/* A child that has and changes a copy of everything. */
static void forker(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fatal("fork: %m");
	if (!pid) {
		memset(memory, 0xee, SIZE);
		sleep_ms(SOON);
		_exit(0);
	}
	waitpid(pid, &status, 0);
}

static void on_signal(int flags)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = flags };

	sigaction(SIGUSR1, &sa, NULL);
}

static void *map(int prot, int flags)
{
	void *m = mmap(NULL, SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return m == MAP_FAILED ? NULL : m;
}

/* ---- more than one reader, or another process ---- */

#define READERS 4
#define VOLUME (4u << 20)

static uint64_t got, sum;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *read_some(void *arg)
{
	uint8_t *buf = malloc(SIZE);

	for (;;) {
		ssize_t i, ret = recv(p.c, buf, SIZE, arg ? MSG_WAITALL : 0);
		uint64_t s = 0;

		if (ret < 0)
			fatal("recv: %m");
		if (!ret)
			break;
		for (i = 0; i < ret; i++)
			s += buf[i];
		pthread_mutex_lock(&lock);
		got += ret;
		sum += s;
		pthread_mutex_unlock(&lock);
	}
	free(buf);
	return NULL;
}

void many_readers(bool wait_all)
{
	static uint8_t buf[9000];
	pthread_t t[READERS];
	uint64_t want = 0, at = 0;
	unsigned int i;

	for (i = 0; i < READERS; i++)
		pthread_create(&t[i], NULL, read_some, wait_all && i & 1 ? buf : NULL);
	while (at < VOLUME) {
		size_t n = 1 + at * 7919 % sizeof(buf);

		stream_fill(2, at, buf, n);
		for (i = 0; i < n; i++)
			want += buf[i];
		if (send(p.s, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
			fatal("send: %m");
		at += n;
	}
	shutdown(p.s, SHUT_WR);
	for (i = 0; i < READERS; i++)
		pthread_join(t[i], NULL);
	if (got != at || sum != want)
		fatal("%llu bytes of %llu, or others", (unsigned long long)got, (unsigned long long)at);
}

static void killed(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		recv(p.c, memory, SIZE, MSG_WAITALL);
		_exit(1);
	}
	asleep(pid);
	sent = 1000;
	stream_fill(2, 0, memory, sent);
	if (send(p.s, memory, sent, MSG_NOSIGNAL) != (ssize_t)sent)
		fatal("send: %m");
	sleep_ms(SOON);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status))
		fatal("the reader was not killed");
	/* What a reader has taken goes with it. */
	p.pos_sc = sent;
}

/*
 * A child whose memory is limited (TOE_CGROUP is its group) reads `len` bytes to
 * memory it has not touched. `killed`: that is more than it may have.
 */
static void in_cgroup(size_t len, bool killed)
{
	const char *group = getenv("TOE_CGROUP");
	const size_t piece = 32 * PAGE;
	uint8_t buf[SIZE];
	char path[256];
	int status;
	pid_t pid;

	if (!group)
		fatal("TOE_CGROUP must name a cgroup");
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	pid = fork();
	if (!pid) {
		uint8_t *m = mmap(NULL, len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		FILE *f = fopen(path, "w");
		size_t at;

		if (m == MAP_FAILED || !f || fputs("0", f) < 0 || fclose(f))
			fatal("%s: %m", path);
		for (at = 0; at < len; at += piece) {
			expect_ret(recv(p.c, m + at, piece, MSG_WAITALL), piece, "recv");
			check(m + at, piece);
		}
		_exit(0);
	}
	asleep(pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		size_t n = len - sent < SIZE ? len - sent : SIZE;
		ssize_t ret;

		stream_fill(2, sent, buf, n);
		ret = n ? send(p.s, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
		if (ret > 0)
			sent += ret;
		else
			sleep_ms(2);
	}
	if (killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status)
		fatal("the reader's status is 0x%x", status);
	p.pos_sc = sent;
	if (!killed)
		return;
	/* What it has taken goes with it, the connection does not. */
	shutdown(p.s, SHUT_WR);
	for (;;) {
		ssize_t ret = recv(p.c, buf, sizeof(buf), 0);

		if (!ret)
			break;
		if (ret < 0)
			fatal("recv: %m");
	}
}

static void iovecs(bool many)
{
	struct iovec v[5] = {
		{ memory + 1, 1 }, { memory + PAGE - 3, 10 }, { memory + 3 * PAGE, 0 },
		{ memory + 3 * PAGE - 7, 1200 }, { memory + 8 * PAGE, 2 * PAGE },
	};
	struct mmsghdr m[2] = {
		{ .msg_hdr = { .msg_iov = v, .msg_iovlen = 4 } },
		{ .msg_hdr = { .msg_iov = v + 4, .msg_iovlen = 1 } },
	};
	struct helper h = { .pieces = { 1400 } };
	ssize_t ret, left, total = 0;
	size_t i;

	start(&h);
	if (many) {
		ret = recvmmsg(p.c, m, 2, 0, NULL);
		if (ret != 2)
			fatal("recvmmsg: %zd messages: %m", ret);
		if (m[0].msg_len != 1211)
			fatal("the first message has %u bytes", m[0].msg_len);
		total = m[0].msg_len + m[1].msg_len;
	} else {
		total = readv(p.c, v, 5);
		expect_ret(total, 1400, "readv");
	}
	finish(&h);
	for (i = 0, left = total; i < 5; i++) {
		ssize_t n = left < (ssize_t)v[i].iov_len ? left : (ssize_t)v[i].iov_len;

		check(v[i].iov_base, n);
		left -= n;
	}
}

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void timed(int ms, struct helper *h, int want, int at_least, int at_most)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	uint64_t t = clock_ms();

	setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	one_recv(h, memory, SIZE, 0, want);
	t = clock_ms() - t;
	if (t < (uint64_t)at_least || t > (uint64_t)at_most)
		fatal("it took %llu ms, expected %d to %d", (unsigned long long)t, at_least, at_most);
}

/* Not a byte may be locked, and this thread has no privilege, or has it again. */
static void memlock(bool privilege)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_MEMLOCK, &none);
	if (syscall(SYS_setresuid, -1, privilege ? 0 : 65534, -1))
		fatal("setresuid: %m");
}

static int one(const char *name)
{
	struct helper h = { .pieces = { 1000 } };
	uint8_t *m = memory;

	if (!strcmp(name, "some")) {
		one_recv(&h, m, SIZE, 0, 1000);
	} else if (!strcmp(name, "full")) {
		h.pieces[0] = 1400;
		one_recv(&h, m, 1100, 0, 1100);
	} else if (!strcmp(name, "large")) {
		m = malloc(1 << 20);
		one_recv(&h, m, 1 << 20, 0, 1000);
	} else if (!strcmp(name, "unaligned")) {
		h.pieces[0] = 30000;
		one_recv(&h, m + 4095, 30000, MSG_WAITALL, 30000);
	} else if (!strcmp(name, "waitall")) {
		h = (struct helper){ .pieces = { 1, 2000, 30000, 27999 } };
		one_recv(&h, m, 50000, MSG_WAITALL, 50000);
	} else if (!strcmp(name, "waitall_small")) {
		/* What came before makes the mean frame small. */
		size_t i;

		for (i = 0; i < 200; i++) {
			stream_fill(2, sent, m, 100);
			if (send(p.s, m, 100, MSG_NOSIGNAL) != 100)
				fatal("send: %m");
			sent += 100;
			if (recv(p.c, m, 100, MSG_WAITALL) != 100)
				fatal("recv: %m");
			check(m, 100);
		}
		h.rest[0] = 29000;
		one_recv(&h, m, 30000, MSG_WAITALL, 30000);
	} else if (!strcmp(name, "lowat")) {
		set_int(p.c, SOL_SOCKET, SO_RCVLOWAT, 5000);
		h = (struct helper){ .pieces = { 3000, 1999, 2000 } };
		one_recv(&h, m, SIZE, 0, 6999);
		set_int(p.c, SOL_SOCKET, SO_RCVLOWAT, 1);
	} else if (!strcmp(name, "out_of_order")) {
		h = (struct helper){ .first = beyond_gap, .pieces = { 1000, 29000 } };
		one_recv(&h, m, 30000, MSG_WAITALL, 30000);
	} else if (!strcmp(name, "readv") || !strcmp(name, "recvmmsg")) {
		iovecs(name[3] == 'v' && name[4] == 'm');
	} else if (!strcmp(name, "timeout")) {
		h = (struct helper){ };
		timed(700, &h, -EAGAIN, 600, 5000);
		h = (struct helper){ .pieces = { 1000 } };
		timed(20000, &h, 1000, 0, 10000);
	} else if (!strcmp(name, "timeout_upload")) {
		/* What is left of the time goes on after the upload. */
		h = (struct helper){ .first = run_before };
		timed(2000, &h, -EAGAIN, 1800, 3500);
	} else if (!strcmp(name, "timeout_upload_data")) {
		h.first = run_before;
		timed(20000, &h, 1000, 0, 10000);
	} else if (!strcmp(name, "signal")) {
		on_signal(0);
		h = (struct helper){ .first = interrupt };
		one_recv(&h, m, SIZE, 0, -EINTR);
		h = (struct helper){ .pieces = { 1000, 500 }, .then = interrupt };
		one_recv(&h, m, SIZE, MSG_WAITALL, 1500);
	} else if (!strcmp(name, "restart")) {
		on_signal(SA_RESTART);
		h = (struct helper){ .first = interrupt, .then = no_more, .rest = { 1000 } };
		one_recv(&h, m, SIZE, 0, 1000);
	} else if (!strcmp(name, "fin")) {
		h.then = peer_fin;
		one_recv(&h, m, SIZE, MSG_WAITALL, 1000);
		one_recv(&(struct helper){ }, m, SIZE, 0, 0);
	} else if (!strcmp(name, "fin_alone")) {
		h = (struct helper){ .first = peer_fin };
		one_recv(&h, m, SIZE, 0, 0);
	} else if (!strcmp(name, "reset")) {
		h.then = peer_reset;
		one_recv(&h, m, SIZE, MSG_WAITALL, 1000);
		one_recv(&(struct helper){ }, m, SIZE, 0, -ECONNRESET);
	} else if (!strcmp(name, "shutdown")) {
		h.then = own_shutdown;
		one_recv(&h, m, SIZE, MSG_WAITALL, 1000);
	} else if (!strcmp(name, "shutdown_alone")) {
		h = (struct helper){ .first = own_shutdown };
		one_recv(&h, m, SIZE, 0, 0);
	} else if (!strcmp(name, "upload")) {
		h = (struct helper){ .first = run_before, .pieces = { 1000 } };
		one_recv(&h, m, SIZE, 0, 1000);
	} else if (!strcmp(name, "upload_partial")) {
		/* The call goes on in the host stack and returns all of it. */
		h = (struct helper){ .pieces = { 20000 }, .then = run_before, .rest = { 30000 } };
		one_recv(&h, m, 50000, MSG_WAITALL, 50000);
	} else if (!strcmp(name, "unload")) {
		/* The module goes while the call waits, and does not wait for it. */
		on_signal(0);
		h = (struct helper){ .first = run_before, .then = interrupt_sleeper };
		one_recv(&h, m, SIZE, 0, -EINTR);
	} else if (!strcmp(name, "fork")) {
		h.first = forker;
		one_recv(&h, m, SIZE, 0, 1000);
		h = (struct helper){ .pieces = { 20000 }, .then = forker };
		one_recv(&h, m, 20000, MSG_WAITALL, 20000);
	} else if (!strcmp(name, "fork_partial")) {
		h = (struct helper){ .pieces = { 9000, 9000 }, .then = peer_fin };
		h.first = forker;
		one_recv(&h, m, SIZE, MSG_WAITALL, 18000);
	} else if (!strcmp(name, "munmap")) {
		h.first = unmap;
		one_recv(&h, m, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "munmap_tail")) {
		h.first = unmap_tail;
		one_recv(&h, m + PAGE - 500, SIZE / 2, 0, -EFAULT);
	} else if (!strcmp(name, "mprotect")) {
		h.first = protect;
		one_recv(&h, m, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "remapped")) {
		/* Another page at the same place: the data goes there. */
		h.first = remap;
		one_recv(&h, m, SIZE, 0, 1000);
	} else if (!strcmp(name, "readonly")) {
		mprotect(m, SIZE, PROT_READ);
		one_recv(&h, m, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "prot_none")) {
		mprotect(m, SIZE, PROT_NONE);
		one_recv(&h, m, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "unmapped")) {
		/* An address at which nothing ever is. */
		one_recv(&h, (uint8_t *)0x20000, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "half_mapped")) {
		munmap(m + SIZE / 2, SIZE / 2);
		one_recv(&h, m, SIZE, 0, 1000);
		h = (struct helper){ .pieces = { 1000 } };
		one_recv(&h, m + SIZE / 2 - 500, SIZE, 0, -EFAULT);
	} else if (!strcmp(name, "hugepage")) {
		m = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		if (m == MAP_FAILED) {
			fprintf(stderr, "toe_probe: this kernel lacks a free huge page: %m\n");
			return 4;
		}
		h.pieces[0] = 30000;
		one_recv(&h, m + 5000, 30000, MSG_WAITALL, 30000);
	} else if (!strcmp(name, "huge")) {
		/* Transparent ones: part of one, over the border to the next. */
		size_t huge = 2 << 20;

		m = mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		m += huge - (uintptr_t)m % huge;
		if (madvise(m, 2 * huge, MADV_HUGEPAGE)) {
			fprintf(stderr, "toe_probe: this kernel lacks huge pages: %m\n");
			return 4;
		}
		memset(m, 1, 2 * huge);
		h.pieces[0] = 30000;
		one_recv(&h, m + huge - 10001, 30000, MSG_WAITALL, 30000);
	} else if (!strncmp(name, "uring", 5)) {
		ssize_t ret;

		h = (struct helper){ .pieces = { 1000, 2000, 27000 } };
		start(&h);
		ret = uring_recv(p.c, m, 30000, MSG_WAITALL, !strcmp(name, "uring_async"));
		if (ret < 0 && errno == ENOSYS) {
			fprintf(stderr, "toe_probe: this kernel lacks io_uring\n");
			return 4;
		}
		expect_ret(ret, 30000, "io_uring's recv");
		check(m, ret);
		finish(&h);
	} else if (!strcmp(name, "memlock")) {
		memlock(false);
		one_recv(&h, m, SIZE, 0, 1000);
		memlock(true);
	} else if (!strncmp(name, "memcg", 5)) {
		bool killed = !strcmp(name, "memcg_killed");

		sent = p.pos_sc = 0;
		in_cgroup(killed ? 32 << 20 : 4 << 20, killed);
	} else if (!strcmp(name, "shared_file")) {
		FILE *f = tmpfile();

		if (!f || ftruncate(fileno(f), SIZE))
			fatal("tmpfile: %m");
		m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
		one_recv(&h, m, SIZE, 0, 1000);
		if (pread(fileno(f), memory, 1000, 0) != 1000 || memcmp(m, memory, 1000))
			fatal("the file has something else");
	} else if (!strcmp(name, "peek")) {
		h.pieces[0] = 3000;
		start(&h);
		expect_ret(recv(p.c, m, SIZE, MSG_PEEK), 3000, "peek");
		finish(&h);
	} else if (!strcmp(name, "threads")) {
		many_readers(true);
		sent = p.pos_sc = 0;
	} else if (!strcmp(name, "killed")) {
		killed();
	} else {
		fprintf(stderr, "no such probe of buffers: %s\n", name);
		return 2;
	}
	return 0;
}

int buffer(const char *name)
{
	struct timeval forever = { 0, 0 };
	sigset_t child;
	long before;
	int ret;

	/* The end of a helper's child is no signal for the reader. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &child, NULL);
	establish();
	exchange(1);
	sent = p.pos_sc;
	setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	set_int(p.s, IPPROTO_TCP, TCP_NODELAY, 1);
	offload(p.c);
	if (p.both)
		offload(p.s);
	memory = map(PROT_READ | PROT_WRITE, MAP_POPULATE);
	if (!memory)
		fatal("mmap: %m");
	before = pins();
	ret = one(name);
	if (ret)
		return ret;
	drain();
	if (pins() != before)
		fatal("%ld pages are still pinned", pins() - before);
	return 0;
}
