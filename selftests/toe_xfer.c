// SPDX-License-Identifier: GPL-2.0
/*
 * The integrity work-horse: TCP connections between two namespaces that carry
 * random bytes both ways at once. The receiver checks each byte at its
 * position, so the first wrong one is located.
 *
 * One command runs both ends as two processes; --role runs one of them.
 * Exit code: 0 all bytes right, 1 not, 2 wrong use, 3 the connection broke
 * (with --may-break; each byte received until then was right).
 */
#define _GNU_SOURCE
#include "xfer.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#define MAGIC 0x746f6521u
#define ROUND_OF_STEPS 16

struct opts opt = {
	.role = "both", .addr = "127.0.0.1", .conns = 1, .rounds = 1, .stall = 60,
	.bytes_cs = 1 << 20, .bytes_sc = UINT64_MAX, .max_write = 65536, .max_read = 65536,
	.plant = UINT64_MAX, .tx_mask = 1 << TX_SEND, .rx_mask = 1 << RX_RECV,
};

struct shared *shm;
struct side *me;
bool is_client;

static struct conn *conns;
static _Atomic bool holding;

static void report(const char *fmt, va_list ap)
{
	vsnprintf(me->error, sizeof(me->error), fmt, ap);
	fprintf(stderr, "# toe_xfer %s: %s\n", is_client ? "client" : "server", me->error);
}

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(fmt, ap);
	va_end(ap);
	shm->failed = 1;
	_exit(1);
}

void broken(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(fmt, ap);
	va_end(ap);
	if (opt.may_break)
		_exit(3);
	shm->failed = 1;
	_exit(1);
}

static void *watchdog(void *arg)
{
	uint64_t last = 0, since = now_ms();

	(void)arg;
	for (;;) {
		uint64_t seen = me->tx_bytes + me->rx_bytes + me->conns + me->zc_done;
		unsigned int i, shown = 0;

		if (seen != last || holding) {
			last = seen;
			since = now_ms();
		}
		if (now_ms() - since > opt.stall * 1000ull) {
			for (i = 0; conns && i < opt.conns && shown < 5; i++) {
				if (!conns[i].closed && conns[i].fd > 0) {
					info_dump(&conns[i]);
					shown++;
				}
			}
			broken("no progress for %u s", opt.stall);
		}
		sleep_ms(200);
	}
	return NULL;
}

/* ---- the life of a connection ---- */

static void request_ulp(struct conn *c)
{
	int ret;

	if (is_client ? !opt.ulp_client : !opt.ulp_server)
		return;
	ret = opt.ulp_try || opt.flip || opt.may_break ? ulp_request(c->fd) : ulp_insist(c->fd);
	if (!ret)
		me->ulp_ok++;
	else if (ret == -ENOENT && opt.ulp_try)
		me->ulp_missing++;
	else if ((ret == -EOPNOTSUPP && (opt.ulp_try || opt.flip)) ||
		 (ret == -ENOMEM && opt.ulp_try))
		me->ulp_refused++;
	else if (opt.may_break || (ret == -ENOTCONN && opt.end >= END_RST))
		/* The peer may have broken it off before we could ask. */
		me->ulp_refused++;
	else
		fatal("connection %u: TCP_ULP: %s", c->index, strerror(-ret));
}

static void set_buffers(int fd)
{
	if (opt.sndbuf)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, opt.sndbuf);
	if (opt.rcvbuf)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, opt.rcvbuf);
}

static void conn_ready(struct conn *c)
{
	int flags;

	set_buffers(c->fd);
	if (opt.rcvlowat)
		set_int(c->fd, SOL_SOCKET, SO_RCVLOWAT, opt.rcvlowat);
	io_init(c);
	request_ulp(c);
	if (opt.wait != WAIT_BLOCK) {
		flags = fcntl(c->fd, F_GETFL);
		fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
	}
	c->can_rx = c->can_tx = true;
	me->conns++;
}

static void conn_open(struct conn *c, uint32_t index, uint32_t round)
{
	uint64_t rng = opt.seed + index * 7919ull + round * 104729ull;
	struct header h = {
		.magic = MAGIC, .index = index, .len_cs = opt.bytes_cs, .len_sc = opt.bytes_sc,
	};

	h.seed_cs = rnd(&rng);
	h.seed_sc = rnd(&rng);
	c->index = index;
	c->fd = tcp_connect(opt.addr, shm->port);
	if (c->fd < 0) {
		errno = -c->fd;
		c->fd = 0;
		broken("connect to %s port %u: %m", opt.addr, shm->port);
	}
	info_begin(c);
	if (send(c->fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
		broken("connection %u: cannot send the header: %m", index);
	c->tx_seed = h.seed_cs;
	c->rx_seed = h.seed_sc;
	c->tx_len = h.len_cs;
	c->rx_len = h.len_sc;
	c->rng_tx = rnd(&rng);
	c->rng_rx = rnd(&rng);
	conn_ready(c);
}

static void conn_accept(struct conn *c, int listener)
{
	struct header h;
	struct pollfd p = { .fd = listener, .events = POLLIN };

	while (poll(&p, 1, 1000) == 0)
		;
	c->fd = accept(listener, NULL, NULL);
	if (c->fd < 0)
		broken("accept: %m");
	if (recv(c->fd, &h, sizeof(h), MSG_WAITALL) != sizeof(h))
		broken("cannot receive a header: %m");
	if (h.magic != MAGIC)
		fatal("wrong bytes at the start of a connection: %08x", h.magic);
	info_begin(c);
	c->index = h.index;
	c->tx_seed = h.seed_sc;
	c->rx_seed = h.seed_cs;
	c->tx_len = h.len_sc;
	c->rx_len = h.len_cs;
	c->rng_tx = h.seed_sc ^ 1;
	c->rng_rx = h.seed_cs ^ 1;
	conn_ready(c);
}

static void conn_close(struct conn *c)
{
	if (c->closed)
		return;
	if (!c->reset && opt.end < END_CLOSE_NOW) {
		zc_reap(c, true);
		info_end(c);
	}
	c->closed = true;
	close(c->fd);
	io_free(c);
	me->resets += c->reset;
	if (opt.end >= END_RST) {
		if (!is_client && !c->reset)
			fatal("connection %u: the peer broke it off, and no error was seen", c->index);
		return;
	}
	if (c->rx_pos != c->rx_len || c->tx_pos != c->tx_len)
		fatal("connection %u: ended at %llu of %llu sent, %llu of %llu received", c->index,
		      (unsigned long long)c->tx_pos, (unsigned long long)c->tx_len,
		      (unsigned long long)c->rx_pos, (unsigned long long)c->rx_len);
}

static void conn_error(struct conn *c, int err, const char *how)
{
	if (opt.end >= END_RST && !is_client && (err == ECONNRESET || err == EPIPE)) {
		c->reset = c->tx_shut = c->rx_eof = true;
		return;
	}
	broken("connection %u: %s at %llu sent, %llu received: %s", c->index, how,
	       (unsigned long long)c->tx_pos, (unsigned long long)c->rx_pos, strerror(err));
}

/* The client's abrupt ends; true when the connection is gone. */
static bool conn_abort(struct conn *c)
{
	struct linger linger = { .l_onoff = 1 };
	int inq = 0;

	if (!is_client || c->closed)
		return false;
	switch (opt.end) {
	case END_CLOSE_NOW:
		if (c->tx_pos < c->tx_len)
			return false;
		c->rx_eof = c->tx_shut = true;
		conn_close(c);
		return true;
	case END_RST:
		if (c->tx_pos < opt.at)
			return false;
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		break;
	case END_UNREAD:
		if (c->tx_pos < opt.at || ioctl(c->fd, SIOCINQ, &inq) || !inq)
			return false;
		break;
	default:
		return false;
	}
	c->rx_eof = c->tx_shut = true;
	conn_close(c);
	return true;
}

static bool wants_tx(const struct conn *c)
{
	if (is_client && opt.end >= END_RST && c->tx_pos >= opt.at)
		return false;
	return !c->tx_shut && c->tx_pos < c->tx_len;
}

static bool wants_rx(const struct conn *c)
{
	if (is_client && opt.end == END_UNREAD)
		return false;
	return !c->rx_eof && now_ms() >= c->resume_at;
}

static void after_tx(struct conn *c)
{
	if (c->tx_shut || c->tx_pos < c->tx_len)
		return;
	if (opt.end == END_SHUTDOWN && shutdown(c->fd, SHUT_WR))
		conn_error(c, errno, "shutdown");
	if (opt.end == END_SHUTDOWN || opt.end == END_CLOSE || !is_client)
		c->tx_shut = true;
}

static void after_rx(struct conn *c, ssize_t ret)
{
	/* Who closes first does not wait for the other's EOF. */
	if (ret == 0 || (is_client && opt.end == END_CLOSE && c->rx_pos == c->rx_len))
		c->rx_eof = true;
	if (ret == 0 && c->rx_pos < c->rx_len && !c->reset) {
		if (opt.end >= END_RST)
			conn_error(c, ECONNRESET, "EOF");
		else
			broken("connection %u: EOF at %llu of %llu", c->index,
			       (unsigned long long)c->rx_pos, (unsigned long long)c->rx_len);
	}
}

/* ---- blocking: two threads per connection ---- */

static void hold(void)
{
	char path[512];
	FILE *f;

	holding = true;
	snprintf(path, sizeof(path), "%s/held", opt.hold_dir);
	f = fopen(path, "w");
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "%s/go", opt.hold_dir);
	while (access(path, F_OK))
		sleep_ms(10);
	unlink(path);
	snprintf(path, sizeof(path), "%s/held", opt.hold_dir);
	unlink(path);
	holding = false;
}

static void quiescent_point(struct conn *c)
{
	uint64_t extra_tx = MIN(c->tx_len - c->tx_pos, 3000ull);
	uint64_t extra_rx = MIN(c->rx_len - rx_stop(c), 3000ull);

	pthread_barrier_wait(&shm->all);
	if (opt.tcpinfo)
		info_quiet(c);
	pthread_barrier_wait(&shm->senders);
	if (opt.tcpinfo)
		info_segments(c);
	if (opt.hold_dir && is_client)
		hold();
	pthread_barrier_wait(&shm->senders);
	if (opt.tcpinfo) {
		uint64_t stop = c->tx_pos + extra_tx;

		stream_fill(c->tx_seed, c->tx_pos, c->txbuf, MIN(extra_tx, opt.max_write));
		while (c->tx_pos < stop) {
			ssize_t ret = send(c->fd, c->txbuf, MIN(stop - c->tx_pos, opt.max_write),
					   MSG_NOSIGNAL);

			if (ret <= 0)
				conn_error(c, errno, "send");
			c->tx_pos += ret;
			me->tx_bytes += ret;
			stream_fill(c->tx_seed, c->tx_pos, c->txbuf,
				    MIN(stop - c->tx_pos, opt.max_write));
		}
		info_unread(c, extra_rx);
		pthread_barrier_wait(&shm->senders);
	}
	if (opt.priority)
		set_int(c->fd, SOL_SOCKET, SO_PRIORITY, opt.priority);
	c->tx_point++;
	pthread_barrier_wait(&shm->all);
}

static void *sender(void *arg)
{
	struct conn *c = arg;

	while (!c->tx_shut) {
		if (c->tx_pos < tx_stop(c)) {
			ssize_t ret = tx_step(c);

			if (ret < 0 && ret != -EAGAIN && ret != -EINTR)
				conn_error(c, -ret, "send");
		}
		if (c->tx_pos >= tx_stop(c) && c->tx_point < opt.points)
			quiescent_point(c);
		after_tx(c);
	}
	return NULL;
}

static void *receiver(void *arg)
{
	struct conn *c = arg;

	for (;;) {
		ssize_t ret;

		if (c->rx_pos >= rx_stop(c) && c->rx_point < opt.points) {
			pthread_barrier_wait(&shm->all);
			pthread_barrier_wait(&shm->all);
			c->rx_point++;
			continue;
		}
		after_rx(c, 1);
		if (c->rx_eof)
			break;
		while (now_ms() < c->resume_at)
			sleep_ms(1);
		ret = rx_step(c);
		if (ret < 0) {
			if (ret != -EAGAIN && ret != -EINTR)
				conn_error(c, -ret, "receive");
			continue;
		}
		after_rx(c, ret);
	}
	return NULL;
}

static void run_blocking(void)
{
	pthread_t *threads = calloc(opt.conns * 2, sizeof(*threads));
	pthread_attr_t attr;
	unsigned int i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (i = 0; i < opt.conns; i++)
		if (pthread_create(&threads[2 * i], &attr, sender, &conns[i]) ||
		    pthread_create(&threads[2 * i + 1], &attr, receiver, &conns[i]))
			fatal("cannot start a thread: %m");
	for (i = 0; i < opt.conns; i++) {
		pthread_join(threads[2 * i], NULL);
		pthread_join(threads[2 * i + 1], NULL);
		conn_close(&conns[i]);
	}
	free(threads);
}

/* ---- poll, epoll: one thread for all ---- */

/*
 * Over but for zero copy writes that the peer has yet to acknowledge. To block
 * for them would stop the other connections, which the peer may wait for.
 */
static bool lingers(const struct conn *c)
{
	return !c->closed && c->tx_shut && c->rx_eof && c->zc_left && opt.end < END_CLOSE_NOW;
}

/* A few steps where the connection can; true while it is alive. */
static bool drive(struct conn *c)
{
	unsigned int i;
	ssize_t ret;

	if (lingers(c)) {
		zc_reap(c, false);
		if (c->zc_left)
			return true;
		conn_close(c);
		return false;
	}
	if (c->zc_left)
		zc_reap(c, false);
	for (i = 0; i < ROUND_OF_STEPS && c->can_tx && wants_tx(c); i++) {
		ret = tx_step(c);
		if (ret == -EAGAIN)
			c->can_tx = false;
		else if (ret < 0)
			conn_error(c, -ret, "send");
	}
	if (conn_abort(c))
		return false;
	after_tx(c);
	for (i = 0; i < ROUND_OF_STEPS && c->can_rx && wants_rx(c); i++) {
		ret = rx_step(c);
		if (ret == -EAGAIN)
			c->can_rx = false;
		else if (ret < 0)
			conn_error(c, -ret, "receive");
		else
			after_rx(c, ret);
	}
	if (conn_abort(c))
		return false;
	after_rx(c, 1);
	if (lingers(c))
		return true;
	if (c->tx_shut && c->rx_eof) {
		conn_close(c);
		return false;
	}
	return true;
}

/* Nothing may hang on a lost edge, so the only time-outs are for pauses. */
static int patience(void)
{
	unsigned int i;

	for (i = 0; i < opt.conns; i++)
		if (lingers(&conns[i]))
			return 5;
	return opt.pause_every || opt.end == END_UNREAD ? 5 : 1000;
}

static void poll_wait(struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < opt.conns; i++) {
		struct conn *c = &conns[i];

		/* POLLHUP would spin. */
		p[i].fd = c->closed || lingers(c) ? -1 : c->fd;
		p[i].events = (wants_tx(c) ? POLLOUT : 0) | (wants_rx(c) ? POLLIN : 0);
		p[i].revents = 0;
		/* Both ways shut and only a pause to wait for: POLLHUP would spin. */
		if (!p[i].events && !c->zc_left)
			p[i].fd = -1;
	}
	if (poll(p, opt.conns, patience()) < 0 && errno != EINTR)
		fatal("poll: %m");
	for (i = 0; i < opt.conns; i++) {
		if (p[i].fd < 0)
			continue;
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
			conns[i].can_rx = true;
		if (p[i].revents & (POLLOUT | POLLHUP | POLLERR))
			conns[i].can_tx = true;
	}
}

static void epoll_arm(int ep, struct conn *c)
{
	struct epoll_event ev = { .data.ptr = c };

	if (c->closed)
		return;
	if (lingers(c)) {
		if (c->events && epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL))
			fatal("epoll_ctl: %m");
		c->events = 0;
		return;
	}
	if (opt.wait == WAIT_EPOLLET)
		ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	else
		ev.events = (wants_tx(c) ? EPOLLOUT : 0) | (wants_rx(c) ? EPOLLIN : 0);
	if (c->events == (ev.events | 1u << 31))
		return;
	if (epoll_ctl(ep, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev))
		fatal("epoll_ctl: %m");
	c->events = ev.events | 1u << 31;
}

static void epoll_wait_all(int ep)
{
	struct epoll_event ev[64];
	bool busy = false;
	unsigned int i;
	int n, k;

	for (i = 0; i < opt.conns; i++) {
		struct conn *c = &conns[i];

		if (c->closed)
			continue;
		epoll_arm(ep, c);
		/* An edge already taken and not used up. */
		busy |= (c->can_tx && wants_tx(c)) || (c->can_rx && wants_rx(c));
	}
	n = epoll_wait(ep, ev, ARRAY_SIZE(ev), busy ? 0 : patience());
	if (n < 0 && errno != EINTR)
		fatal("epoll_wait: %m");
	for (k = 0; k < n; k++) {
		struct conn *c = ev[k].data.ptr;

		if (ev[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
			c->can_rx = true;
		if (ev[k].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			c->can_tx = true;
	}
}

static void run_events(void)
{
	struct pollfd *p = calloc(opt.conns, sizeof(*p));
	int ep = opt.wait == WAIT_POLL ? -1 : epoll_create1(EPOLL_CLOEXEC);
	bool alive = true;
	unsigned int i;

	while (alive) {
		if (ep < 0)
			poll_wait(p);
		else
			epoll_wait_all(ep);
		alive = false;
		for (i = 0; i < opt.conns; i++)
			if (!conns[i].closed)
				alive |= drive(&conns[i]);
	}
	free(p);
	if (ep >= 0)
		close(ep);
}

/* ---- the two processes ---- */

static void process(const char *ns)
{
	unsigned int i, round;
	int listener = -1;
	pthread_t dog;

	/* Never longer than the command itself. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me = &shm->side[is_client];
	i = enter_ns(ns);
	if (i)
		fatal("cannot enter namespace %s: %s", ns, strerror(-(int)i));
	if (is_client && opt.end >= END_CLOSE_NOW && opt.wait == WAIT_BLOCK)
		opt.wait = WAIT_POLL;
	conns = calloc(opt.conns, sizeof(*conns));
	pthread_create(&dog, NULL, watchdog, NULL);
	if (!is_client) {
		listener = tcp_listen(opt.addr, opt.port, 4096);
		if (listener < 0)
			fatal("listen on %s: %s", opt.addr, strerror(-listener));
		set_buffers(listener);
		shm->port = local_port(listener);
		if (!strcmp(opt.role, "server"))
			fprintf(stderr, "# listening on port %u\n", shm->port);
	}
	while (!shm->port)
		sleep_ms(1);
	for (round = 0; round < opt.rounds; round++) {
		memset(conns, 0, opt.conns * sizeof(*conns));
		for (i = 0; i < opt.conns; i++) {
			if (is_client)
				conn_open(&conns[i], i, round);
			else
				conn_accept(&conns[i], listener);
		}
		if (opt.wait == WAIT_BLOCK)
			run_blocking();
		else
			run_events();
	}
	if (opt.rcvlowat && me->early_wakes * 2 > me->wakes && me->wakes > 10)
		fatal("SO_RCVLOWAT: %llu of %llu wake-ups had fewer than %d bytes",
		      (unsigned long long)me->early_wakes, (unsigned long long)me->wakes, opt.rcvlowat);
	_exit(0);
}

static void json_side(const char *name, const struct side *s)
{
	printf("\"%s\":{\"tx\":%llu,\"rx\":%llu,\"conns\":%llu,\"resets\":%llu,\"ulp_ok\":%llu,\"ulp_refused\":%llu,\"ulp_missing\":%llu,\"zc_sent\":%llu,\"zc_done\":%llu,\"zc_copied\":%llu,\"zc_received\":%llu,\"peeks\":%llu,\"samples\":%llu,\"checks\":%llu,\"retrans\":%llu,\"error\":\"%s\"}",
	       name, (unsigned long long)s->tx_bytes, (unsigned long long)s->rx_bytes,
	       (unsigned long long)s->conns, (unsigned long long)s->resets,
	       (unsigned long long)s->ulp_ok, (unsigned long long)s->ulp_refused,
	       (unsigned long long)s->ulp_missing, (unsigned long long)s->zc_sent,
	       (unsigned long long)s->zc_done, (unsigned long long)s->zc_copied,
	       (unsigned long long)s->zc_received, (unsigned long long)s->peeks,
	       (unsigned long long)s->samples, (unsigned long long)s->checks,
	       (unsigned long long)s->retrans, s->error);
}

static int summary(int code, uint64_t ms)
{
	if (!opt.json)
		return code;
	printf("{\"exit\":%d,\"seed\":%llu,\"seconds\":%.3f,", code, (unsigned long long)opt.seed, ms / 1e3);
	json_side("client", &shm->side[1]);
	printf(",");
	json_side("server", &shm->side[0]);
	printf("}\n");
	return code;
}

static int run_both(void)
{
	bool both = !strcmp(opt.role, "both");
	uint64_t start = now_ms();
	pid_t pids[2] = { -1, -1 };
	int left = 0, code = 0, i;

	for (i = 0; i < 2; i++) {
		if (!both && strcmp(opt.role, i ? "client" : "server"))
			continue;
		is_client = i;
		pids[i] = fork();
		if (pids[i] == 0)
			process(i ? opt.ns_client : opt.ns_server);
		left++;
	}
	while (left) {
		int status, one;
		pid_t pid = wait(&status);

		if (pid < 0)
			break;
		left--;
		one = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		if (!WIFEXITED(status) && !code)
			fprintf(stderr, "# toe_xfer: killed by signal %d\n", WTERMSIG(status));
		/* The first failure counts; the other process only suffers from it. */
		if (one && !code) {
			code = one;
			for (i = 0; i < 2; i++)
				if (left && pids[i] > 0 && pids[i] != pid) {
					/* It may be about to find a wrong byte. */
					sleep_ms(one == 3 ? 500 : 0);
					kill(pids[i], SIGKILL);
				}
		}
		if (one == 1)
			code = shm->failed || !opt.may_break ? 1 : code;
	}
	return summary(code, now_ms() - start);
}

enum {
	O_ROLE = 256, O_NSC, O_NSS, O_PORT, O_BYTES, O_BACK, O_CONNS, O_ROUNDS, O_TX, O_RX, O_WAIT,
	O_END, O_AT, O_ULP, O_TRY, O_FLIP, O_PLANT, O_SEED, O_MAXW, O_MAXR, O_SNDBUF, O_RCVBUF,
	O_LOWAT, O_PEVERY, O_PMS, O_POINTS, O_HOLD, O_PRIORITY, O_INFO, O_STALL, O_BREAK, O_JSON,
	O_HELP,
};

static const struct option options[] = {
	{ "role", 1, 0, O_ROLE }, { "client-ns", 1, 0, O_NSC }, { "server-ns", 1, 0, O_NSS },
	{ "port", 1, 0, O_PORT }, { "bytes", 1, 0, O_BYTES }, { "back", 1, 0, O_BACK },
	{ "conns", 1, 0, O_CONNS }, { "rounds", 1, 0, O_ROUNDS }, { "tx", 1, 0, O_TX },
	{ "rx", 1, 0, O_RX }, { "wait", 1, 0, O_WAIT }, { "end", 1, 0, O_END }, { "at", 1, 0, O_AT },
	{ "ulp", 1, 0, O_ULP }, { "ulp-try", 0, 0, O_TRY }, { "flip", 1, 0, O_FLIP },
	{ "plant-wrong-byte", 1, 0, O_PLANT }, { "seed", 1, 0, O_SEED },
	{ "max-write", 1, 0, O_MAXW }, { "max-read", 1, 0, O_MAXR }, { "sndbuf", 1, 0, O_SNDBUF },
	{ "rcvbuf", 1, 0, O_RCVBUF }, { "rcvlowat", 1, 0, O_LOWAT },
	{ "pause-every", 1, 0, O_PEVERY }, { "pause-ms", 1, 0, O_PMS }, { "points", 1, 0, O_POINTS },
	{ "hold-dir", 1, 0, O_HOLD }, { "priority", 1, 0, O_PRIORITY }, { "tcpinfo", 0, 0, O_INFO }, { "stall", 1, 0, O_STALL },
	{ "may-break", 0, 0, O_BREAK }, { "json", 0, 0, O_JSON }, { "help", 0, 0, O_HELP }, { 0 },
};

static const char usage[] =
"usage: toe_xfer [options] [ADDRESS]     the server's; default 127.0.0.1\n"
"  --role both|client|server  --client-ns NS --server-ns NS --port N (client only: required)\n"
"  --bytes N  --back N        client to server, server to client (default: the same)\n"
"  --conns N --rounds N       connections at once, and how often\n"
"  --tx LIST  mix or send,write,writev,sendmsg,sendmmsg,more,cork,nodelay,zerocopy,sendfile,splice\n"
"  --rx LIST  mix or recv,read,readv,recvmsg,recvmmsg,peek,waitall,splice,trunc,zerocopy\n"
"  --wait block|poll|epoll|epollet\n"
"  --max-write N --max-read N --sndbuf N --rcvbuf N --rcvlowat N\n"
"  --pause-every N --pause-ms N   slow reader\n"
"  --end shutdown|close|close-now|rst|unread  --at N  how, and where, the client ends it\n"
"  --ulp client|server|both --ulp-try  offload by TCP_ULP; --ulp-try: a refusal is no failure\n"
"  --flip N                   ask for the offload again every N bytes sent\n"
"  --points N --hold-dir DIR  N quiescent points; at each make DIR/held and wait for DIR/go\n"
"  --priority N               SO_PRIORITY of both ends from the first such point on\n"
"  --tcpinfo                  check TCP_INFO, SIOCINQ and SIOCOUTQ there and on the way\n"
"  --plant-wrong-byte POS     send one wrong byte: the run must fail\n"
"  --stall S --may-break --seed N --json\n";

static unsigned int choice(const char *what, const char *text, const char *const *names)
{
	unsigned int i;

	for (i = 0; names[i]; i++)
		if (!strcmp(text, names[i]))
			return i;
	fprintf(stderr, "no such %s: %s\n", what, text);
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const char *const waits[] = { "block", "poll", "epoll", "epollet", NULL };
	static const char *const ends[] = { "shutdown", "close", "close-now", "rst", "unread", NULL };
	static const char *const ulps[] = { "none", "client", "server", "both", NULL };
	unsigned int ulp;
	int o;

	opt.seed = now_ms();
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case O_ROLE: opt.role = optarg; break;
		case O_NSC: opt.ns_client = optarg; break;
		case O_NSS: opt.ns_server = optarg; break;
		case O_PORT: opt.port = parse_size(optarg); break;
		case O_BYTES: opt.bytes_cs = parse_size(optarg); break;
		case O_BACK: opt.bytes_sc = parse_size(optarg); break;
		case O_CONNS: opt.conns = parse_size(optarg); break;
		case O_ROUNDS: opt.rounds = parse_size(optarg); break;
		case O_TX: opt.tx_mask = parse_methods(optarg, true); break;
		case O_RX: opt.rx_mask = parse_methods(optarg, false); break;
		case O_WAIT: opt.wait = choice("way to wait", optarg, waits); break;
		case O_END: opt.end = choice("end", optarg, ends); break;
		case O_AT: opt.at = parse_size(optarg); break;
		case O_ULP:
			ulp = choice("end for the ULP", optarg, ulps);
			opt.ulp_client = ulp & 1;
			opt.ulp_server = ulp & 2;
			break;
		case O_TRY: opt.ulp_try = true; break;
		case O_FLIP: opt.flip = parse_size(optarg); break;
		case O_PLANT: opt.plant = parse_size(optarg); break;
		case O_SEED: opt.seed = parse_size(optarg); break;
		case O_MAXW: opt.max_write = MAX(parse_size(optarg), 8ull); break;
		case O_MAXR: opt.max_read = MAX(parse_size(optarg), 8ull); break;
		case O_SNDBUF: opt.sndbuf = parse_size(optarg); break;
		case O_RCVBUF: opt.rcvbuf = parse_size(optarg); break;
		case O_LOWAT: opt.rcvlowat = parse_size(optarg); break;
		case O_PEVERY: opt.pause_every = parse_size(optarg); break;
		case O_PMS: opt.pause_ms = parse_size(optarg); break;
		case O_POINTS: opt.points = parse_size(optarg); break;
		case O_HOLD: opt.hold_dir = optarg; break;
		case O_PRIORITY: opt.priority = parse_size(optarg); break;
		case O_INFO: opt.tcpinfo = true; break;
		case O_STALL: opt.stall = parse_size(optarg); break;
		case O_BREAK: opt.may_break = true; break;
		case O_JSON: opt.json = true; break;
		case O_HELP: fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); exit(2);
		}
	}
	if (optind < argc)
		opt.addr = argv[optind];
	if (opt.bytes_sc == UINT64_MAX)
		opt.bytes_sc = opt.bytes_cs;
	if ((opt.hold_dir || opt.tcpinfo) && !opt.points)
		opt.points = 1;
	if (opt.points && (opt.conns != 1 || opt.wait != WAIT_BLOCK || strcmp(opt.role, "both") ||
			   opt.end > END_CLOSE)) {
		fprintf(stderr, "quiescent points are for one blocking connection of both ends\n");
		exit(2);
	}
	if (opt.end == END_CLOSE_NOW && opt.bytes_sc) {
		fprintf(stderr, "--end close-now needs --back 0\n");
		exit(2);
	}
}

static void shared_barrier(pthread_barrier_t *b, unsigned int n)
{
	pthread_barrierattr_t attr;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(b, &attr, n);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };

	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shm == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (!strcmp(opt.role, "client"))
		shm->port = opt.port;
	shared_barrier(&shm->all, 4);
	shared_barrier(&shm->senders, 2);
	return run_both();
}
