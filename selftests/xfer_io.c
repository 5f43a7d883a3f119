// SPDX-License-Identifier: GPL-2.0
/* The ways of toe_xfer to write and to read, each checked byte for byte. */
#define _GNU_SOURCE
#include "xfer.h"

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
#include <linux/sockios.h>
#include <linux/tcp.h>

#define PIPE_MAX 65536
#define MAP_LEN (64 * 4096)

static const char *const tx_names[TX_METHODS] = {
	"send", "write", "writev", "sendmsg", "sendmmsg", "more", "cork", "nodelay",
	"zerocopy", "sendfile", "splice",
};

static const char *const rx_names[RX_METHODS] = {
	"recv", "read", "readv", "recvmsg", "recvmmsg", "peek", "waitall",
	"splice", "trunc", "zerocopy",
};

unsigned int parse_methods(const char *text, bool tx)
{
	const char *const *names = tx ? tx_names : rx_names;
	unsigned int n = tx ? (unsigned int)TX_METHODS : (unsigned int)RX_METHODS, mask = 0;
	char *copy = strdup(text), *save, *word;

	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		unsigned int i;

		if (!strcmp(word, "mix")) {
			/* What MSG_TRUNC drops cannot be checked. */
			mask = (1u << n) - 1;
			if (!tx)
				mask &= ~(1u << RX_TRUNC);
			continue;
		}
		for (i = 0; i < n && strcmp(word, names[i]); i++)
			;
		if (i == n) {
			fprintf(stderr, "no such %s method: %s\n", tx ? "send" : "receive", word);
			exit(2);
		}
		mask |= 1u << i;
	}
	free(copy);
	return mask;
}

static unsigned int pick(uint64_t *rng, unsigned int mask)
{
	unsigned int n = rnd_below(rng, __builtin_popcount(mask));

	while (n--)
		mask &= mask - 1;
	return __builtin_ctz(mask);
}

static uint8_t *xmalloc(size_t len)
{
	uint8_t *p = malloc(len);

	if (!p)
		fatal("out of memory");
	return p;
}

/* The stream, with the one wrong byte of the negative control. */
static void fill(struct conn *c, uint64_t pos, uint8_t *buf, size_t len)
{
	stream_fill(c->tx_seed, pos, buf, len);
	if (opt.plant != UINT64_MAX && is_client && c->index == 0 &&
	    opt.plant >= pos && opt.plant - pos < len)
		buf[opt.plant - pos] ^= 0x20;
}

static void check(struct conn *c, uint64_t pos, const uint8_t *buf, size_t len, const char *how)
{
	ptrdiff_t bad;

	if (pos + len > c->rx_len)
		fatal("connection %u: %s: %llu bytes beyond the end of the stream", c->index, how,
		      (unsigned long long)(pos + len - c->rx_len));
	bad = stream_check(c->rx_seed, pos, buf, len);
	if (bad >= 0) {
		uint8_t want[8];
		uint64_t at = pos + bad, off;
		char where[80] = "";

		/* Most wrong bytes are right bytes at another place: which one? */
		if (len - bad >= 8) {
			for (off = 0; off + 8 <= c->rx_len; off++) {
				stream_fill(c->rx_seed, off, want, 8);
				if (!memcmp(want, buf + bad, 8)) {
					snprintf(where, sizeof(where),
						 " (these are the bytes of position %llu)",
						 (unsigned long long)off);
					break;
				}
			}
		}
		stream_fill(c->rx_seed, at, want, 1);
		fatal("connection %u: %s: wrong byte at position %llu: %02x, expected %02x; call returned [%llu, %llu)%s",
		      c->index, how, (unsigned long long)at, buf[bad], want[0],
		      (unsigned long long)pos, (unsigned long long)(pos + len), where);
	}
}

void io_init(struct conn *c)
{
	c->txbuf = xmalloc(opt.max_write);
	c->rxbuf = xmalloc(MAX(opt.max_read, (size_t)PIPE_MAX));
	c->peekbuf = xmalloc(opt.max_read);
	c->memfd = c->tx_pipe[0] = c->tx_pipe[1] = c->rx_pipe[0] = c->rx_pipe[1] = -1;
	c->next_flip = opt.flip;
	c->next_pause = opt.pause_every;
	if (opt.tx_mask & 1u << TX_SPLICE && pipe2(c->tx_pipe, O_CLOEXEC | O_NONBLOCK))
		fatal("pipe: %m");
	if (opt.rx_mask & 1u << RX_SPLICE && pipe2(c->rx_pipe, O_CLOEXEC | O_NONBLOCK))
		fatal("pipe: %m");
	if (opt.tx_mask & 1u << TX_ZEROCOPY && set_int(c->fd, SOL_SOCKET, SO_ZEROCOPY, 1))
		fatal("SO_ZEROCOPY: %m");
	if (opt.rx_mask & 1u << RX_ZEROCOPY) {
		c->map = mmap(NULL, MAP_LEN, PROT_READ, MAP_SHARED, c->fd, 0);
		if (c->map == MAP_FAILED)
			fatal("mmap of the socket: %m");
	}
	if (opt.tx_mask & 1u << TX_SENDFILE) {
		uint64_t pos;

		/* Not written again: the stack sends the pages themselves. */
		c->memfd = memfd_create("stream", MFD_CLOEXEC);
		if (c->memfd < 0)
			fatal("memfd: %m");
		for (pos = 0; pos < c->tx_len;) {
			size_t n = MIN(c->tx_len - pos, (uint64_t)opt.max_write);

			fill(c, pos, c->txbuf, n);
			if (pwrite(c->memfd, c->txbuf, n, pos) != (ssize_t)n)
				fatal("memfd write: %m");
			pos += n;
		}
	}
}

void io_free(struct conn *c)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (c->tx_pipe[i] >= 0)
			close(c->tx_pipe[i]);
		if (c->rx_pipe[i] >= 0)
			close(c->rx_pipe[i]);
	}
	if (c->memfd >= 0)
		close(c->memfd);
	if (c->map)
		munmap(c->map, MAP_LEN);
	/* What the stack has not given back is still on its way to the peer. */
	for (i = 0; i < ZC_SLOTS; i++)
		if (!c->zc[i].busy)
			free(c->zc[i].buf);
	free(c->txbuf);
	free(c->rxbuf);
	free(c->peekbuf);
}

static uint64_t stop_at(uint64_t len, unsigned int point)
{
	if (point >= opt.points)
		return len;
	return len / (opt.points + 1) * (point + 1);
}

uint64_t tx_stop(const struct conn *c)
{
	return stop_at(c->tx_len, c->tx_point);
}

uint64_t rx_stop(const struct conn *c)
{
	return stop_at(c->rx_len, c->rx_point);
}

/* ---- zero copy ---- */

static void zc_complete(struct conn *c, uint32_t lo, uint32_t hi)
{
	uint32_t id = lo;

	for (;; id++) {
		unsigned int i;

		for (i = 0; i < ZC_SLOTS; i++)
			if (c->zc[i].busy && c->zc[i].id == id)
				break;
		if (i == ZC_SLOTS)
			fatal("connection %u: zero copy completion %u (of [%u, %u]) is for no write in flight, next %u",
			      c->index, id, lo, hi, c->zc_next);
		c->zc[i].busy = false;
		/* The stack said it is done with it: hold it to its word. */
		memset(c->zc[i].buf, 0xee, opt.max_write);
		c->zc_left--;
		me->zc_done++;
		if (id == hi)
			break;
	}
}

void zc_reap(struct conn *c, bool all)
{
	uint64_t deadline = now_ms() + opt.stall * 1000;

	while (c->zc_left) {
		char control[128];
		struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
		struct cmsghdr *cm;

		if (recvmsg(c->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			struct pollfd p = { .fd = c->fd };

			if (errno != EAGAIN)
				fatal("error queue: %m");
			if (!all)
				return;
			if (now_ms() > deadline)
				fatal("connection %u: %u zero copy writes never completed", c->index, c->zc_left);
			/* POLLERR comes unasked; POLLHUP may too, and then for ever. */
			if (poll(&p, 1, 100) > 0 && !(p.revents & POLLERR))
				sleep_ms(5);
			continue;
		}
		for (cm = CMSG_FIRSTHDR(&msg); cm; cm = CMSG_NXTHDR(&msg, cm)) {
			struct sock_extended_err *ee = (void *)CMSG_DATA(cm);

			if (ee->ee_origin != SO_EE_ORIGIN_ZEROCOPY || ee->ee_errno)
				continue;
			if (ee->ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
				me->zc_copied += ee->ee_data - ee->ee_info + 1;
			zc_complete(c, ee->ee_info, ee->ee_data);
		}
	}
}

static ssize_t tx_zerocopy(struct conn *c, size_t n)
{
	struct zc_slot *slot = NULL;
	unsigned int i;
	ssize_t ret;

	zc_reap(c, false);
	for (i = 0; i < ZC_SLOTS && !slot; i++)
		if (!c->zc[i].busy)
			slot = &c->zc[i];
	if (!slot) {
		/* All in flight: an ordinary write keeps the stream going. */
		fill(c, c->tx_pos, c->txbuf, n);
		return send(c->fd, c->txbuf, n, MSG_NOSIGNAL);
	}
	if (!slot->buf)
		slot->buf = xmalloc(opt.max_write);
	fill(c, c->tx_pos, slot->buf, n);
	ret = send(c->fd, slot->buf, n, MSG_NOSIGNAL | MSG_ZEROCOPY);
	if (ret < 0 && errno == ENOBUFS)
		return send(c->fd, slot->buf, n, MSG_NOSIGNAL);
	if (ret > 0) {
		slot->busy = true;
		slot->id = c->zc_next++;
		c->zc_left++;
		me->zc_sent++;
	}
	return ret;
}

/* ---- transmit ---- */

static ssize_t tx_vec(struct conn *c, size_t n, bool msg)
{
	struct iovec iov[8];
	struct msghdr m = { .msg_iov = iov };
	size_t off = 0, i;

	fill(c, c->tx_pos, c->txbuf, n);
	for (i = 0; i < ARRAY_SIZE(iov) && off < n; i++) {
		size_t part = i + 1 == ARRAY_SIZE(iov) ? n - off : rnd_size(&c->rng_tx, n - off);

		iov[i].iov_base = c->txbuf + off;
		iov[i].iov_len = part;
		off += part;
	}
	m.msg_iovlen = i;
	return msg ? sendmsg(c->fd, &m, MSG_NOSIGNAL) : writev(c->fd, iov, i);
}

static ssize_t tx_mmsg(struct conn *c, size_t n)
{
	struct iovec iov[4];
	struct mmsghdr m[4] = { 0 };
	size_t off = 0, i, used;
	ssize_t total = 0;
	int ret;

	fill(c, c->tx_pos, c->txbuf, n);
	for (used = 0; used < ARRAY_SIZE(m) && off < n; used++) {
		size_t part = used + 1 == ARRAY_SIZE(m) ? n - off : rnd_size(&c->rng_tx, n - off);

		iov[used].iov_base = c->txbuf + off;
		iov[used].iov_len = part;
		m[used].msg_hdr.msg_iov = &iov[used];
		m[used].msg_hdr.msg_iovlen = 1;
		off += part;
	}
	/*
	 * A message sent in part does not stop sendmmsg of a non-blocking
	 * socket: the next one would leave a hole.
	 */
	ret = sendmmsg(c->fd, m, opt.wait == WAIT_BLOCK ? used : 1, MSG_NOSIGNAL);
	if (ret < 0)
		return -1;
	for (i = 0; i < (size_t)ret; i++) {
		total += m[i].msg_len;
		if (m[i].msg_len < iov[i].iov_len && i + 1 < (size_t)ret)
			fatal("sendmmsg went on after a short write");
	}
	return total;
}

static ssize_t tx_splice(struct conn *c, size_t n)
{
	bool last;
	ssize_t ret;

	if (!c->pipe_left) {
		n = MIN(n, (size_t)PIPE_MAX / 2);
		fill(c, c->tx_pos, c->txbuf, n);
		ret = write(c->tx_pipe[1], c->txbuf, n);
		if (ret <= 0)
			fatal("write to a pipe: %m");
		c->pipe_left = ret;
	}
	last = c->tx_pos + c->pipe_left == tx_stop(c);
	ret = splice(c->tx_pipe[0], NULL, c->fd, NULL, c->pipe_left,
		     !last && rnd(&c->rng_tx) & 1 ? SPLICE_F_MORE : 0);
	if (ret > 0)
		c->pipe_left -= ret;
	return ret;
}

static void request_again(struct conn *c)
{
	int ret = ulp_request(c->fd);

	c->next_flip += opt.flip;
	if (!ret)
		me->ulp_ok++;
	else if (ret == -EOPNOTSUPP || (ret == -ENOMEM && opt.ulp_try))
		me->ulp_refused++;
	else if (ret == -ENOENT && opt.ulp_try)
		me->ulp_missing++;
	else if (ret != -ENOTCONN && ret != -EPIPE && ret != -ECONNRESET)
		fatal("connection %u: TCP_ULP at %llu: %s", c->index,
		      (unsigned long long)c->tx_pos, strerror(-ret));
}

ssize_t tx_step(struct conn *c)
{
	uint64_t stop = tx_stop(c);
	size_t n = MIN((uint64_t)rnd_size(&c->rng_tx, opt.max_write), stop - c->tx_pos);
	bool last = c->tx_pos + n == stop;
	enum tx_method method = pick(&c->rng_tx, opt.tx_mask);
	ssize_t ret;

	if (opt.flip && c->tx_pos >= c->next_flip)
		request_again(c);
	if (c->pipe_left)
		method = TX_SPLICE;
	switch (method) {
	case TX_WRITE:
		fill(c, c->tx_pos, c->txbuf, n);
		ret = write(c->fd, c->txbuf, n);
		break;
	case TX_WRITEV:
	case TX_SENDMSG:
		ret = tx_vec(c, n, method == TX_SENDMSG);
		break;
	case TX_SENDMMSG:
		ret = tx_mmsg(c, n);
		break;
	case TX_MORE:
		fill(c, c->tx_pos, c->txbuf, n);
		ret = send(c->fd, c->txbuf, n, MSG_NOSIGNAL | (last ? 0 : MSG_MORE));
		break;
	case TX_CORK:
		if (!last && !c->corked && set_int(c->fd, IPPROTO_TCP, TCP_CORK, 1) == 0)
			c->corked = true;
		else if (c->corked && rnd_below(&c->rng_tx, 4) == 0 &&
			 set_int(c->fd, IPPROTO_TCP, TCP_CORK, 0) == 0)
			c->corked = false;
		fill(c, c->tx_pos, c->txbuf, n);
		ret = send(c->fd, c->txbuf, n, MSG_NOSIGNAL);
		break;
	case TX_NODELAY:
		set_int(c->fd, IPPROTO_TCP, TCP_NODELAY, rnd(&c->rng_tx) & 1);
		fill(c, c->tx_pos, c->txbuf, n);
		ret = send(c->fd, c->txbuf, n, MSG_NOSIGNAL);
		break;
	case TX_ZEROCOPY:
		ret = tx_zerocopy(c, n);
		break;
	case TX_SENDFILE: {
		off_t off = c->tx_pos;

		ret = sendfile(c->fd, c->memfd, &off, n);
		if (ret > 0 && (uint64_t)off != c->tx_pos + ret)
			fatal("sendfile moved the offset to %lld, not %llu", (long long)off,
			      (unsigned long long)c->tx_pos + ret);
		break;
	}
	case TX_SPLICE:
		ret = tx_splice(c, n);
		break;
	default:
		fill(c, c->tx_pos, c->txbuf, n);
		ret = send(c->fd, c->txbuf, n, MSG_NOSIGNAL);
		break;
	}
	if (ret < 0)
		return -errno;
	c->tx_pos += ret;
	me->tx_bytes += ret;
	if (c->tx_pos == stop && c->corked) {
		set_int(c->fd, IPPROTO_TCP, TCP_CORK, 0);
		c->corked = false;
	}
	return ret;
}

/* ---- receive ---- */

static ssize_t rx_vec(struct conn *c, size_t n, bool msg)
{
	struct iovec iov[4];
	struct msghdr m = { .msg_iov = iov };
	size_t off = 0, i;

	for (i = 0; i < ARRAY_SIZE(iov) && off < n; i++) {
		size_t part = i + 1 == ARRAY_SIZE(iov) ? n - off : rnd_size(&c->rng_rx, n - off);

		iov[i].iov_base = c->rxbuf + off;
		iov[i].iov_len = part;
		off += part;
	}
	m.msg_iovlen = i;
	return msg ? recvmsg(c->fd, &m, 0) : readv(c->fd, iov, i);
}

static ssize_t rx_mmsg(struct conn *c, size_t n)
{
	struct iovec iov[4];
	struct mmsghdr m[4] = { 0 };
	size_t off = 0, part = MAX(n / ARRAY_SIZE(m), (size_t)1), i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(m) && (i + 1) * part <= n; i++) {
		iov[i].iov_base = c->rxbuf + i * part;
		iov[i].iov_len = part;
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	ret = recvmmsg(c->fd, m, i, MSG_WAITFORONE, NULL);
	if (ret < 0)
		return -1;
	for (i = 0; i < (size_t)ret; i++) {
		memmove(c->rxbuf + off, iov[i].iov_base, m[i].msg_len);
		off += m[i].msg_len;
	}
	return off;
}

static ssize_t rx_splice(struct conn *c, size_t n)
{
	ssize_t ret = splice(c->fd, NULL, c->rx_pipe[1], NULL, MIN(n, (size_t)PIPE_MAX / 2),
			     rnd(&c->rng_rx) & 1 ? SPLICE_F_MOVE : 0);
	ssize_t off = 0;

	while (off < ret) {
		ssize_t got = read(c->rx_pipe[0], c->rxbuf + off, ret - off);

		if (got <= 0)
			fatal("read from a pipe: %zd %m", got);
		off += got;
	}
	return ret;
}

static ssize_t rx_map(struct conn *c, size_t n)
{
	struct tcp_zerocopy_receive zc = {
		.address = (uint64_t)(uintptr_t)c->map,
		.length = MIN(MAX(n & ~4095ul, 4096ul), (size_t)MAP_LEN),
	};
	socklen_t len = sizeof(zc);
	ssize_t ret;

	/* Looks for data only; reading waits for it. */
	if (!getsockopt(c->fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &len)) {
		if (zc.length) {
			check(c, c->rx_pos, c->map, zc.length, "TCP_ZEROCOPY_RECEIVE");
			me->zc_received += zc.length;
			madvise(c->map, zc.length, MADV_DONTNEED);
			c->rx_pos += zc.length;
			me->rx_bytes += zc.length;
		}
		if (c->rx_pos >= rx_stop(c) && c->rx_pos < c->rx_len) {
			errno = EAGAIN;
			return -1;
		}
	} else if (errno != EINVAL && errno != EIO && errno != ECONNRESET && errno != ENOTCONN) {
		fatal("TCP_ZEROCOPY_RECEIVE: %m");
	}
	ret = recv(c->fd, c->rxbuf, MIN(n, rx_stop(c) > c->rx_pos ? rx_stop(c) - c->rx_pos : n), 0);
	return ret;
}

static ssize_t rx_peek(struct conn *c, size_t n)
{
	ssize_t peeked = recv(c->fd, c->peekbuf, n, MSG_PEEK);
	size_t want;
	ssize_t ret;

	if (peeked <= 0)
		return peeked;
	me->peeks++;
	check(c, c->rx_pos, c->peekbuf, peeked, "MSG_PEEK");
	want = rnd_size(&c->rng_rx, peeked);
	ret = recv(c->fd, c->rxbuf, want, 0);
	if (ret >= 0 && (size_t)ret != want)
		fatal("connection %u: peeked %zd bytes at %llu, asked for %zu, got %zd", c->index,
		      peeked, (unsigned long long)c->rx_pos, want, ret);
	return ret;
}

/* What a wake-up by SO_RCVLOWAT promises. */
static void rx_lowat(struct conn *c)
{
	uint64_t left = c->rx_len - c->rx_pos;
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	int inq = 0;

	if (left < (uint64_t)opt.rcvlowat) {
		set_int(c->fd, SOL_SOCKET, SO_RCVLOWAT, 1);
		return;
	}
	if (poll(&p, 1, 0) == 1 && p.revents == POLLIN && !ioctl(c->fd, SIOCINQ, &inq)) {
		me->wakes++;
		if (inq < opt.rcvlowat)
			me->early_wakes++;
	}
}

ssize_t rx_step(struct conn *c)
{
	uint64_t stop = rx_stop(c);
	/* At a quiescent point nothing more may come; at the end, EOF may. */
	size_t n = MIN(rnd_size(&c->rng_rx, opt.max_read),
		       c->rx_pos < c->rx_len ? (size_t)(stop - c->rx_pos) : opt.max_read);
	enum rx_method method = pick(&c->rng_rx, opt.rx_mask);
	const char *how = rx_names[method];
	uint64_t before;
	ssize_t ret;

	if (opt.rcvlowat)
		rx_lowat(c);
	if (opt.tcpinfo && rnd_below(&c->rng_rx, 16) == 0)
		info_sample(c);
	before = c->rx_pos;
	switch (method) {
	case RX_READ:
		ret = read(c->fd, c->rxbuf, n);
		break;
	case RX_READV:
	case RX_RECVMSG:
		ret = rx_vec(c, n, method == RX_RECVMSG);
		break;
	case RX_RECVMMSG:
		ret = rx_mmsg(c, n);
		break;
	case RX_PEEK:
		ret = rx_peek(c, n);
		break;
	case RX_WAITALL:
		ret = recv(c->fd, c->rxbuf, n, MSG_WAITALL);
		if (ret > 0 && (size_t)ret < n && opt.wait == WAIT_BLOCK &&
		    c->rx_pos + ret < c->rx_len && opt.end < END_RST)
			fatal("connection %u: MSG_WAITALL of %zu bytes at %llu returned %zd", c->index,
			      n, (unsigned long long)c->rx_pos, ret);
		break;
	case RX_SPLICE:
		ret = rx_splice(c, n);
		break;
	case RX_TRUNC:
		ret = recv(c->fd, NULL, n, MSG_TRUNC);
		break;
	case RX_ZEROCOPY:
		ret = rx_map(c, n);
		break;
	default:
		ret = recv(c->fd, c->rxbuf, n, 0);
		break;
	}
	if (ret < 0)
		return c->rx_pos > before ? (ssize_t)(c->rx_pos - before) : -errno;
	if (method != RX_TRUNC)
		check(c, c->rx_pos, c->rxbuf, ret, how);
	c->rx_pos += ret;
	me->rx_bytes += ret;
	if (ret == 0 && c->rx_pos > before)
		return c->rx_pos - before;
	if (opt.pause_every && c->rx_pos >= c->next_pause) {
		c->next_pause += opt.pause_every;
		c->resume_at = now_ms() + opt.pause_ms;
	}
	return ret;
}
