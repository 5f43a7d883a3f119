// SPDX-License-Identifier: GPL-2.0
/*
 * The reads, the writes and the socket options of toe_torture. Each byte is a
 * function of the connection, the direction and the position; the reader checks
 * each at its position, and the total when EOF comes.
 *
 * What step number k of a thread does is drawn from a generator of its own, so
 * that a seed repeats it. How far a call gets is the kernel's affair.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#define PIPE_MAX 65536
#define MAP_LEN (512u << 10)

static const char *end_name(unsigned int side)
{
	return side ? "b" : "a";
}

/* Errors that the application may see while memory is made to fail. */
static bool memory_error(int err)
{
	if ((err != ENOMEM && err != ENOBUFS) || !events_faults())
		return false;
	totals.no_memory++;
	sleep_ms(2);
	return true;
}

/* ---- socket options ---- */

void keepalive(int fd, bool on)
{
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, on);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 127);
}

static void congestion(int fd, uint64_t *rng)
{
	char name[16] = "";
	socklen_t len = sizeof(name) - 1;

	/* What it is already, or another one: either brings a connection back. */
	if (one_in(rng, 2) && !getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name));
	else if (one_in(rng, 2))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	else
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

static void filter(int fd, uint64_t *rng)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog prog = { 1, &all };

	if (one_in(rng, 3))
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
	else
		set_int(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
}

static void offload(struct tconn *c, unsigned int side)
{
	int ret = opt.host ? -EOPNOTSUPP : ulp_request(c->end[side].fd);

	if (!ret)
		totals.ulp_ok++;
	else if (ret == -EOPNOTSUPP || ret == -ENOMEM || ret == -ENOTCONN || ret == -ENOENT)
		totals.ulp_refused++;
	else
		fail(c, "end %s: TCP_ULP \"toe\": %s", end_name(side), strerror(-ret));
}

/* One option that changes nothing of the stream. */
static void tweak(struct tconn *c, unsigned int side, bool reader, uint64_t *rng)
{
	static const int buffers[] = { 16 << 10, 32 << 10, 64 << 10, 128 << 10, 512 << 10, 2 << 20 };
	struct end *e = &c->end[side];
	int fd = e->fd, choice = rnd_below(rng, 30);
	uint64_t r = rnd(rng);

	totals.options++;
	switch (choice) {
	case 0:
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, r & 1);
		break;
	case 1:
		set_int(fd, IPPROTO_TCP, TCP_QUICKACK, r & 1);
		break;
	case 2:
		set_int(fd, SOL_SOCKET, SO_RCVBUF, buffers[r % ARRAY_SIZE(buffers)]);
		break;
	case 3:
		set_int(fd, SOL_SOCKET, SO_SNDBUF, buffers[r % ARRAY_SIZE(buffers)]);
		break;
	case 4:
		/* The reader's alone: see rx_peek(). */
		if (reader)
			set_int(fd, SOL_SOCKET, SO_RCVLOWAT, r & 1 ? 1 : 1 + (r >> 1) % 8192);
		break;
	case 5:
		/* Not the two bits of ECN. */
		if (c->v6)
			set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, r & 0xfc);
		else
			set_int(fd, IPPROTO_IP, IP_TOS, r & 0xfc);
		break;
	case 6:
		if (c->v6)
			set_int(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 32 + r % 200);
		else
			set_int(fd, IPPROTO_IP, IP_TTL, 32 + r % 200);
		break;
	case 7:
		keepalive(fd, r & 1 || c->how == END_ABORT);
		break;
	case 8:
		set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, r & 1 ? 0x7fffffff : 1 + (r >> 1) % 65536);
		break;
	case 9:
		filter(fd, rng);
		break;
	case 10:
		set_int(fd, SOL_SOCKET, SO_TIMESTAMP, r & 1);
		break;
	case 11:
		set_int(fd, SOL_SOCKET, SO_PRIORITY, r % 7);
		break;
	case 12:
		set_int(fd, SOL_SOCKET, SO_MARK, r & 1);
		break;
	case 13:
		set_int(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 32768 + r % (1 << 20));
		break;
	case 14:
		set_int(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, r & 1);
		break;
	case 15:
		set_int(fd, SOL_SOCKET, SO_BUSY_POLL, r & 1 ? 50 : 0);
		break;
	case 16:
	case 17:
	case 18:
		congestion(fd, rng);
		break;
	case 19: {
		struct tcp_info ti;
		socklen_t len = sizeof(ti);

		getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len);
		break;
	}
	default:
		offload(c, side);
		break;
	}
}

/* ---- writing ---- */

static void zc_reap(struct tconn *c, unsigned int side)
{
	struct end *e = &c->end[side];

	pthread_mutex_lock(&e->zc_lock);
	for (;;) {
		char control[128];
		struct msghdr m = { .msg_control = control, .msg_controllen = sizeof(control) };
		struct cmsghdr *cm;

		if (recvmsg(e->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		for (cm = CMSG_FIRSTHDR(&m); cm; cm = CMSG_NXTHDR(&m, cm)) {
			struct sock_extended_err *ee = (void *)CMSG_DATA(cm);
			uint32_t id;
			unsigned int i;

			if ((cm->cmsg_level != SOL_IP && cm->cmsg_level != SOL_IPV6) ||
			    ee->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
				continue;
			for (id = ee->ee_info;; id++) {
				for (i = 0; i < ZC_SLOTS; i++)
					if (e->zc[i].busy && e->zc[i].id == id)
						break;
				if (i == ZC_SLOTS)
					fail(c, "end %s: completion of zero copy write %u (of [%u, %u]), which is not in flight",
					     end_name(side), id, ee->ee_info, ee->ee_data);
				/* The stack said it is done with it: hold it to its word. */
				memset(e->zc[i].buf, 0xee, MAX_WRITE);
				e->zc[i].busy = false;
				if (id == ee->ee_data)
					break;
			}
		}
	}
	pthread_mutex_unlock(&e->zc_lock);
}

struct writer {
	struct tconn *c;
	struct end *e;
	struct half *h;
	unsigned int side;
	uint64_t pos, *rng, corrupt_at;
	uint8_t *buf;
	int pipe[2], memfd;
	size_t pipe_left;
};

static void fill(struct writer *w, uint64_t pos, uint8_t *buf, size_t len)
{
	stream_fill(w->h->key, pos, buf, len);
	/* The negative control. */
	if (w->c->corrupt && w->corrupt_at >= pos && w->corrupt_at - pos < len)
		buf[w->corrupt_at - pos] ^= 0x20;
}

static ssize_t tx_vec(struct writer *w, size_t n, bool message)
{
	struct iovec iov[6];
	struct msghdr m = { .msg_iov = iov };
	size_t off = 0, i;

	fill(w, w->pos, w->buf, n);
	for (i = 0; i < ARRAY_SIZE(iov) && off < n; i++) {
		size_t part = i + 1 == ARRAY_SIZE(iov) ? n - off : rnd_size(w->rng, n - off);

		iov[i] = (struct iovec){ w->buf + off, part };
		off += part;
	}
	m.msg_iovlen = i;
	return message ? sendmsg(w->e->fd, &m, MSG_NOSIGNAL) : writev(w->e->fd, iov, i);
}

static ssize_t tx_zerocopy(struct writer *w, size_t n)
{
	struct zc_slot *slot = NULL;
	ssize_t ret;
	unsigned int i;

	zc_reap(w->c, w->side);
	pthread_mutex_lock(&w->e->zc_lock);
	for (i = 0; i < ZC_SLOTS && !slot; i++)
		if (!w->e->zc[i].busy)
			slot = &w->e->zc[i];
	if (slot) {
		if (!slot->buf)
			slot->buf = malloc(MAX_WRITE);
		/* Known before the call: the completion may be faster than we. */
		slot->busy = true;
		slot->id = w->e->zc_next;
	}
	pthread_mutex_unlock(&w->e->zc_lock);
	if (!slot) {
		fill(w, w->pos, w->buf, n);
		return send(w->e->fd, w->buf, n, MSG_NOSIGNAL);
	}
	fill(w, w->pos, slot->buf, n);
	ret = send(w->e->fd, slot->buf, n, MSG_NOSIGNAL | MSG_ZEROCOPY);
	if (ret > 0) {
		w->e->zc_next++;
		totals.zc_sent++;
		return ret;
	}
	slot->busy = false;
	if (ret < 0 && errno == ENOBUFS)
		return send(w->e->fd, slot->buf, n, MSG_NOSIGNAL);
	return ret;
}

static ssize_t tx_splice(struct writer *w, size_t n, bool more)
{
	ssize_t ret;

	if (!w->pipe_left) {
		if (w->pipe[0] < 0 && pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK))
			setup_error("pipe: %m");
		n = MIN(n, (size_t)PIPE_MAX / 2);
		fill(w, w->pos, w->buf, n);
		ret = write(w->pipe[1], w->buf, n);
		if (ret <= 0)
			setup_error("write to a pipe: %m");
		w->pipe_left = ret;
	}
	ret = splice(w->pipe[0], NULL, w->e->fd, NULL, w->pipe_left, more ? SPLICE_F_MORE : 0);
	if (ret > 0)
		w->pipe_left -= ret;
	return ret;
}

static ssize_t tx_sendfile(struct writer *w, size_t n)
{
	off_t off = w->pos;
	ssize_t ret;

	if (w->memfd < 0)
		w->memfd = memfd_create("stream", MFD_CLOEXEC);
	/* At its place in the stream: what is on its way is never written again. */
	fill(w, w->pos, w->buf, n);
	if (w->memfd < 0 || pwrite(w->memfd, w->buf, n, w->pos) != (ssize_t)n)
		setup_error("memfd: %m");
	ret = sendfile(w->e->fd, w->memfd, &off, n);
	if (ret > 0 && (uint64_t)off != w->pos + ret)
		fail(w->c, "end %s: sendfile moved the offset from %llu to %lld and returned %zd",
		     end_name(w->side), (unsigned long long)w->pos, (long long)off, ret);
	return ret;
}

/* Without waiting, and then waiting for room. */
static ssize_t tx_nonblock(struct writer *w, size_t n)
{
	struct pollfd p = { .fd = w->e->fd, .events = POLLOUT };
	ssize_t ret;

	fill(w, w->pos, w->buf, n);
	for (;;) {
		ret = send(w->e->fd, w->buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (ret >= 0 || errno != EAGAIN)
			return ret;
		if (poll(&p, 1, -1) == 1 && p.revents & POLLERR && !(p.revents & POLLOUT)) {
			zc_reap(w->c, w->side);
			sleep_ms(1);
		}
	}
}

static ssize_t tx_step(struct writer *w, uint64_t stop)
{
	size_t n = MIN((uint64_t)rnd_size(w->rng, MAX_WRITE), stop - w->pos);
	unsigned int method = rnd_below(w->rng, 16);
	bool more = one_in(w->rng, 2) && w->pos + n < w->h->len;
	int flags = MSG_NOSIGNAL;

	if (w->pipe_left)
		return tx_splice(w, n, false);
	switch (method) {
	case 0:
		return tx_vec(w, n, false);
	case 1:
		return tx_vec(w, n, true);
	case 2:
	case 3:
		return tx_zerocopy(w, n);
	case 4:
		return tx_splice(w, n, more);
	case 5:
		return tx_sendfile(w, n);
	case 6:
	case 7:
		return tx_nonblock(w, n);
	case 8:
		if (set_int(w->e->fd, IPPROTO_TCP, TCP_CORK, !w->e->corked) == 0)
			w->e->corked = !w->e->corked;
		break;
	case 9:
		flags |= more ? MSG_MORE : 0;
		break;
	case 10:
		if (w->c->urgent && one_in(w->rng, 4)) {
			flags |= MSG_OOB;
			totals.oob++;
		}
		break;
	}
	fill(w, w->pos, w->buf, n);
	return send(w->e->fd, w->buf, n, flags);
}

/*
 * Behind what waits all goes by frames: for the same-host short cut a reader has to
 * catch up now and then.
 */
static void tx_wait(struct writer *w)
{
	unsigned int i;

	for (i = 0; i < 10 && w->h->received < w->pos && !finishing && !w->c->aborting; i++)
		sleep_ms(1);
}

static void tx_until(struct writer *w, uint64_t stop)
{
	struct tconn *c = w->c;

	/* At the end of the run streams end early, but for what is in a pipe already. */
	while (w->pos < stop && (!finishing || w->pipe_left || c->corrupt) && !c->aborting) {
		ssize_t ret;

		if (one_in(w->rng, c->quiet ? 60 : 6))
			tweak(c, w->side, false, w->rng);
		if (one_in(w->rng, 40))
			sleep_ms(rnd_size(w->rng, 100));
		if (c->quiet && !one_in(w->rng, 4))
			tx_wait(w);
		ret = tx_step(w, stop);
		if (ret > 0) {
			w->pos += ret;
			w->h->sent = w->pos;
			totals.bytes[w->side] += ret;
		} else if (ret < 0 && errno != EINTR && errno != EAGAIN && !memory_error(errno)) {
			if (c->aborting)
				break;
			fail(c, "end %s: a write at %llu: %m", end_name(w->side),
			     (unsigned long long)w->pos);
		}
	}
}

void *tx_main(void *arg)
{
	struct worker *worker = arg;
	struct tconn *c = worker->c;
	struct end *e = &c->end[worker->side];
	bool closer = c->closer == worker->side;
	struct writer w = {
		.c = c, .e = e, .h = &c->half[worker->side], .side = worker->side,
		.rng = &worker->rng, .pipe = { -1, -1 }, .memfd = -1, .buf = malloc(MAX_WRITE),
	};
	uint64_t tail = 0;

	w.corrupt_at = w.h->len / 2;
	if (c->how == END_CLOSE && closer)
		tail = MIN((uint64_t)rnd_size(w.rng, 100000), w.h->len - 1);
	tx_until(&w, w.h->len - tail);
	if (c->how == END_ABORT && closer) {
		struct linger linger = { .l_onoff = 1 };
		bool unread = one_in(w.rng, 2);

		/* From here on the peer may see a reset at any moment. */
		c->aborting = true;
		/* Our reader may be waiting. */
		shutdown(e->fd, SHUT_RD);
		while (!e->rx_done)
			sleep_ms(1);
		if (!unread)
			setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(e->fd);
		e->fd = -1;
	} else if (c->how == END_CLOSE && closer) {
		/* All was read, EOF included: what is queued at the close has to arrive. */
		while (!e->rx_done)
			sleep_ms(1);
		tx_until(&w, w.pos + tail);
		w.h->final = w.pos;
		w.h->ended = true;
		close(e->fd);
		e->fd = -1;
	} else {
		w.h->final = w.pos;
		w.h->ended = true;
		if (shutdown(e->fd, SHUT_WR) && !c->aborting)
			fail(c, "end %s: shutdown: %m", end_name(w.side));
	}
	e->tx_done = true;
	if (w.pipe[0] >= 0) {
		close(w.pipe[0]);
		close(w.pipe[1]);
	}
	if (w.memfd >= 0)
		close(w.memfd);
	free(w.buf);
	return NULL;
}

/* ---- reading ---- */

struct reader {
	struct tconn *c;
	struct end *e;
	struct half *h;
	unsigned int side;
	uint64_t pos, *rng;
	uint8_t *buf, *peek;
	int pipe[2];
	void *map;
};

static void check(struct reader *r, uint64_t pos, const uint8_t *buf, size_t len, const char *how)
{
	ptrdiff_t bad = stream_check(r->h->key, pos, buf, len);
	uint64_t at = pos + bad, off;
	uint8_t want[8];
	char where[80] = "";

	if (bad < 0)
		return;
	/* Most wrong bytes are right bytes at another place: which one? */
	if (len - bad >= 8) {
		for (off = 0; off + 8 <= r->h->len; off++) {
			stream_fill(r->h->key, off, want, 8);
			if (!memcmp(want, buf + bad, 8)) {
				snprintf(where, sizeof(where), " (these are the bytes of position %llu)",
					 (unsigned long long)off);
				break;
			}
		}
	}
	stream_fill(r->h->key, at, want, 1);
	fail(r->c, "end %s: %s: wrong byte at position %llu: %02x, expected %02x; the call returned [%llu, %llu)%s",
	     end_name(r->side), how, (unsigned long long)at, buf[bad], want[0],
	     (unsigned long long)pos, (unsigned long long)(pos + len), where);
}

static ssize_t rx_vec(struct reader *r, size_t n)
{
	struct iovec iov[4];
	size_t off = 0, i;

	for (i = 0; i < ARRAY_SIZE(iov) && off < n; i++) {
		size_t part = i + 1 == ARRAY_SIZE(iov) ? n - off : rnd_size(r->rng, n - off);

		iov[i] = (struct iovec){ r->buf + off, part };
		off += part;
	}
	return readv(r->e->fd, iov, i);
}

static ssize_t rx_mmsg(struct reader *r, size_t n)
{
	struct iovec iov[4];
	struct mmsghdr m[4] = { 0 };
	size_t part = MAX(n / ARRAY_SIZE(m), (size_t)1), off = 0, i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(m) && (i + 1) * part <= n; i++) {
		iov[i] = (struct iovec){ r->buf + i * part, part };
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	ret = recvmmsg(r->e->fd, m, i, MSG_WAITFORONE, NULL);
	if (ret < 0)
		return -1;
	for (i = 0; i < (size_t)ret; i++) {
		memmove(r->buf + off, iov[i].iov_base, m[i].msg_len);
		off += m[i].msg_len;
	}
	return off;
}

static ssize_t rx_splice(struct reader *r, size_t n)
{
	ssize_t ret, off = 0;

	if (r->pipe[0] < 0 && pipe2(r->pipe, O_CLOEXEC))
		setup_error("pipe: %m");
	ret = splice(r->e->fd, NULL, r->pipe[1], NULL, MIN(n, (size_t)PIPE_MAX / 2), SPLICE_F_MOVE);
	while (off < ret) {
		ssize_t got = read(r->pipe[0], r->buf + off, ret - off);

		if (got <= 0)
			setup_error("read from a pipe: %zd %m", got);
		off += got;
	}
	return ret;
}

static ssize_t rx_peek(struct reader *r, size_t n)
{
	ssize_t peeked, ret;
	size_t want;

	/* It waits for so many without taking any: behind a closed window for ever. */
	set_int(r->e->fd, SOL_SOCKET, SO_RCVLOWAT, 1);
	peeked = recv(r->e->fd, r->peek, n, MSG_PEEK);
	if (peeked <= 0)
		return peeked;
	totals.peeked++;
	check(r, r->pos, r->peek, peeked, "MSG_PEEK");
	want = rnd_size(r->rng, peeked);
	ret = recv(r->e->fd, r->buf, want, 0);
	/* An urgent mark ends a call. */
	if (ret >= 0 && (size_t)ret != want && !r->c->urgent)
		fail(r->c, "end %s: %zd bytes peeked at %llu, %zu asked for, %zd read", end_name(r->side),
		     peeked, (unsigned long long)r->pos, want, ret);
	return ret;
}

static ssize_t rx_map(struct reader *r, size_t n)
{
	struct tcp_zerocopy_receive zc = { .length = MIN(MAX(n & ~4095ul, 4096ul), (size_t)MAP_LEN) };
	socklen_t len = sizeof(zc);

	if (!r->map) {
		r->map = mmap(NULL, MAP_LEN, PROT_READ, MAP_SHARED, r->e->fd, 0);
		if (r->map == MAP_FAILED) {
			r->map = NULL;
			return recv(r->e->fd, r->buf, n, 0);
		}
	}
	zc.address = (uint64_t)(uintptr_t)r->map;
	/* Looks for data only; reading waits for it. */
	if (!getsockopt(r->e->fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &len) && zc.length) {
		check(r, r->pos, r->map, zc.length, "TCP_ZEROCOPY_RECEIVE");
		madvise(r->map, zc.length, MADV_DONTNEED);
		r->pos += zc.length;
		r->h->received = r->pos;
		totals.mapped += zc.length;
	}
	return recv(r->e->fd, r->buf, n, 0);
}

static ssize_t rx_nonblock(struct reader *r, size_t n)
{
	struct pollfd p = { .fd = r->e->fd, .events = POLLIN };
	ssize_t ret;

	for (;;) {
		ret = recv(r->e->fd, r->buf, n, MSG_DONTWAIT);
		if (ret >= 0 || errno != EAGAIN)
			return ret;
		if (poll(&p, 1, -1) == 1 && p.revents & POLLERR && !(p.revents & POLLIN)) {
			zc_reap(r->c, r->side);
			sleep_ms(1);
		}
	}
}

static ssize_t rx_step(struct reader *r, const char **how)
{
	size_t n = rnd_size(r->rng, MAX_READ);
	unsigned int method = rnd_below(r->rng, 14);

	*how = "recv";
	switch (method) {
	case 0:
		*how = "read";
		return read(r->e->fd, r->buf, n);
	case 1:
		*how = "readv";
		return rx_vec(r, n);
	case 2:
		*how = "recvmmsg";
		return rx_mmsg(r, n);
	case 3:
	case 4:
		*how = "recv after MSG_PEEK";
		return rx_peek(r, n);
	case 5:
	case 6:
		*how = "MSG_WAITALL";
		return recv(r->e->fd, r->buf, n, MSG_WAITALL);
	case 7:
		/* A read that begins at an urgent mark returns 0, as if at the end. */
		if (r->c->urgent)
			break;
		*how = "splice";
		return rx_splice(r, n);
	case 8:
		*how = "recv after TCP_ZEROCOPY_RECEIVE";
		return rx_map(r, n);
	case 9:
	case 10:
		*how = "MSG_DONTWAIT";
		return rx_nonblock(r, n);
	}
	return recv(r->e->fd, r->buf, n, 0);
}

void *rx_main(void *arg)
{
	struct worker *worker = arg;
	struct tconn *c = worker->c;
	struct reader r = {
		.c = c, .e = &c->end[worker->side], .h = &c->half[!worker->side],
		.side = worker->side, .rng = &worker->rng, .pipe = { -1, -1 },
		.buf = malloc(MAX_READ), .peek = malloc(MAX_READ),
	};
	const char *how;

	for (;;) {
		ssize_t ret;

		if (one_in(r.rng, c->quiet ? 80 : 8))
			tweak(c, r.side, true, r.rng);
		/* Slow readers close windows. */
		if (one_in(r.rng, 40))
			sleep_ms(rnd_size(r.rng, 300));
		ret = rx_step(&r, &how);
		if (ret > 0) {
			check(&r, r.pos, r.buf, ret, how);
			r.pos += ret;
			r.h->received = r.pos;
			if (r.pos > r.h->sent + MAX_WRITE || r.pos > r.h->len)
				fail(c, "end %s: %s: %llu bytes were read, and the stream has %llu", end_name(r.side),
				     how, (unsigned long long)r.pos, (unsigned long long)r.h->len);
		} else if (ret == 0) {
			if (c->aborting)
				break;
			if (!r.h->ended || r.pos != r.h->final)
				fail(c, "end %s: %s: EOF at %llu, and %s %llu", end_name(r.side), how,
				     (unsigned long long)r.pos, r.h->ended ? "all are" : "sent so far are",
				     (unsigned long long)r.h->sent);
			r.h->eof = true;
			break;
		} else if (errno != EINTR && errno != EAGAIN && !memory_error(errno)) {
			if (c->aborting && (errno == ECONNRESET || errno == EPIPE))
				break;
			fail(c, "end %s: %s at %llu: %m", end_name(r.side), how, (unsigned long long)r.pos);
		}
	}
	if (r.map)
		munmap(r.map, MAP_LEN);
	if (r.pipe[0] >= 0) {
		close(r.pipe[0]);
		close(r.pipe[1]);
	}
	free(r.buf);
	free(r.peek);
	r.e->rx_done = true;
	return NULL;
}
