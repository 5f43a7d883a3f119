// SPDX-License-Identifier: GPL-2.0
/* TCP_INFO, SIOCINQ and SIOCOUTQ against what toe_xfer itself knows. */
#include "xfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

/* A delayed ACK, a slow machine. */
#define SETTLE_MS 10000
#define STATE_ESTABLISHED 1

struct view {
	struct tcp_info ti;
	int inq, outq, outq_nsd;
};

static bool look(struct conn *c, struct view *v)
{
	socklen_t len = sizeof(v->ti);

	memset(v, 0, sizeof(*v));
	return !getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &v->ti, &len) &&
	       !ioctl(c->fd, SIOCINQ, &v->inq) && !ioctl(c->fd, SIOCOUTQ, &v->outq) &&
	       !ioctl(c->fd, SIOCOUTQNSD, &v->outq_nsd);
}

static uint64_t sent(const struct conn *c)
{
	return c->tx_pos + (is_client ? sizeof(struct header) : 0);
}

static uint64_t received(const struct conn *c)
{
	return c->rx_pos + (is_client ? 0 : sizeof(struct header));
}

static void print(struct conn *c, const struct view *v, const char *what)
{
	const struct tcp_info *t = &v->ti;

	fprintf(stderr,
		"# %s %u: %s: sent %llu read %llu | state %u acked %llu received %llu bytes_sent %llu retrans %llu unacked %u notsent %u inq %d outq %d nsd %d segs %u/%u data %u/%u rtt %u cwnd %u ssthresh %u mss %u/%u wnd %u rto %u total_retrans %u\n",
		is_client ? "client" : "server", c->index, what,
		(unsigned long long)sent(c), (unsigned long long)received(c), t->tcpi_state,
		(unsigned long long)t->tcpi_bytes_acked, (unsigned long long)t->tcpi_bytes_received,
		(unsigned long long)t->tcpi_bytes_sent, (unsigned long long)t->tcpi_bytes_retrans,
		t->tcpi_unacked, t->tcpi_notsent_bytes, v->inq, v->outq, v->outq_nsd,
		t->tcpi_segs_out, t->tcpi_segs_in, t->tcpi_data_segs_out, t->tcpi_data_segs_in,
		t->tcpi_rtt, t->tcpi_snd_cwnd, t->tcpi_snd_ssthresh, t->tcpi_snd_mss,
		t->tcpi_rcv_mss, t->tcpi_snd_wnd, t->tcpi_rto, t->tcpi_total_retrans);
}

void info_dump(struct conn *c)
{
	struct view v;

	if (c->closed || !look(c, &v))
		return;
	print(c, &v, "at the end");
}

void info_begin(struct conn *c)
{
	struct view v;

	/* The SYN may count as an acknowledged byte: Linux's client does. */
	if (look(c, &v))
		c->acked_base = v.ti.tcpi_bytes_acked;
}

void info_sample(struct conn *c)
{
	/* A FIN counts as a byte, for who sent it and for who received it. */
	uint64_t read_before = received(c), sent_before = sent(c) + c->tx_shut;
	const char *wrong = NULL;
	struct view v;

	if (!look(c, &v))
		fatal("TCP_INFO: %m");
	me->samples++;
	/* The other thread goes on sending: what it may have sent by now. */
	if (v.ti.tcpi_bytes_received < read_before)
		wrong = "fewer bytes received than read";
	else if (v.ti.tcpi_bytes_acked > c->acked_base + c->tx_len + sizeof(struct header) + 1)
		wrong = "more bytes acknowledged than there are";
	else if (v.ti.tcpi_bytes_received > c->rx_len + sizeof(struct header) + 1)
		wrong = "more bytes received than there are";
	else if (v.outq < 0 || v.inq < 0 ||
		 (opt.wait != WAIT_BLOCK && v.outq_nsd > v.outq))
		wrong = "impossible queue length";
	else if (opt.wait != WAIT_BLOCK && v.ti.tcpi_bytes_acked > c->acked_base + sent_before)
		wrong = "more bytes acknowledged than sent";
	else if (opt.wait != WAIT_BLOCK &&
		 v.ti.tcpi_bytes_acked + v.outq != c->acked_base + sent_before &&
		 v.ti.tcpi_state == STATE_ESTABLISHED) {
		/* The two were not taken at one moment: once more, the other way round. */
		int outq = v.outq;

		look(c, &v);
		if (v.ti.tcpi_bytes_acked + outq < c->acked_base + sent_before ||
		    v.ti.tcpi_bytes_acked + v.outq > c->acked_base + sent_before)
			wrong = "acknowledged and queued bytes are not the bytes sent";
	}
	if (wrong) {
		print(c, &v, wrong);
		fatal("connection %u: %s", c->index, wrong);
	}
}

static const char *settled(struct conn *c, const struct view *v, size_t unread)
{
	const struct tcp_info *t = &v->ti;

	if (t->tcpi_bytes_received != received(c) + unread)
		return "tcpi_bytes_received";
	if (v->inq != (int)unread)
		return "SIOCINQ";
	if (t->tcpi_bytes_acked != c->acked_base + sent(c))
		return "tcpi_bytes_acked";
	if (t->tcpi_unacked)
		return "tcpi_unacked";
	if (t->tcpi_notsent_bytes)
		return "tcpi_notsent_bytes";
	if (v->outq)
		return "SIOCOUTQ";
	if (v->outq_nsd)
		return "SIOCOUTQNSD";
	return NULL;
}

static void await(struct conn *c, size_t unread, struct view *v)
{
	uint64_t deadline = now_ms() + SETTLE_MS;
	const char *wrong;

	for (;;) {
		if (!look(c, v))
			fatal("TCP_INFO: %m");
		wrong = settled(c, v, unread);
		if (!wrong)
			break;
		if (now_ms() > deadline) {
			print(c, v, wrong);
			fatal("connection %u: %s is wrong at a quiescent point (%zu bytes unread)",
			      c->index, wrong, unread);
		}
		sleep_ms(5);
	}
	me->checks++;
}

void info_quiet(struct conn *c)
{
	const char *wrong = NULL;
	struct view v;

	await(c, 0, &v);
	if (v.ti.tcpi_state != STATE_ESTABLISHED)
		wrong = "tcpi_state";
	else if (v.ti.tcpi_bytes_sent - v.ti.tcpi_bytes_retrans != sent(c))
		wrong = "tcpi_bytes_sent";
	else if (v.ti.tcpi_sacked || v.ti.tcpi_lost || v.ti.tcpi_retrans)
		wrong = "tcpi_sacked, _lost or _retrans";
	else if (!v.ti.tcpi_snd_cwnd)
		wrong = "tcpi_snd_cwnd";
	else if (!v.ti.tcpi_snd_mss)
		wrong = "tcpi_snd_mss";
	else if (!v.ti.tcpi_rtt && c->tx_pos)
		wrong = "tcpi_rtt";
	else if (!v.ti.tcpi_rto)
		wrong = "tcpi_rto";
	else if (!v.ti.tcpi_snd_wnd)
		wrong = "tcpi_snd_wnd";
	else if (v.ti.tcpi_segs_out < v.ti.tcpi_data_segs_out ||
		 v.ti.tcpi_segs_in < v.ti.tcpi_data_segs_in)
		wrong = "tcpi_segs";
	else if ((uint64_t)v.ti.tcpi_data_segs_out * v.ti.tcpi_snd_mss < v.ti.tcpi_bytes_sent)
		wrong = "tcpi_data_segs_out, too few for the bytes";
	else if (c->rx_pos && !v.ti.tcpi_data_segs_in)
		wrong = "tcpi_data_segs_in";
	if (wrong) {
		print(c, &v, wrong);
		fatal("connection %u: %s is wrong at a quiescent point", c->index, wrong);
	}
	shm->segs_out[is_client] = v.ti.tcpi_data_segs_out;
	shm->retrans[is_client] = v.ti.tcpi_total_retrans;
}

/* Without loss each data segment of one side arrives at the other, once. */
void info_segments(struct conn *c)
{
	struct view v;

	if (shm->retrans[!is_client] || !look(c, &v))
		return;
	if (v.ti.tcpi_data_segs_in != shm->segs_out[!is_client]) {
		print(c, &v, "tcpi_data_segs_in");
		fatal("connection %u: the peer sent %u data segments, tcpi_data_segs_in is %u",
		      c->index, shm->segs_out[!is_client], v.ti.tcpi_data_segs_in);
	}
}

void info_unread(struct conn *c, size_t unread)
{
	struct view v;

	await(c, unread, &v);
}

void info_end(struct conn *c)
{
	struct view v;

	if (look(c, &v))
		me->retrans += v.ti.tcpi_total_retrans;
}
