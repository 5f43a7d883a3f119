// SPDX-License-Identifier: GPL-2.0
/*
 * Forged frames: what an attacker who sees the wire could send, short of what
 * no TCP survives. The router listens until it has seen a frame of each
 * direction of a connection; what is sent to X claims to be from its peer Y.
 * From X's own frame is known what X has received (its acknowledgement number)
 * at least, from Y's what Y has acknowledged.
 *
 * The rules that keep a correct TCP's stream whole:
 *   - payload that is not the stream's lies below X's acknowledgement number,
 *     or has a wrong checksum or a timestamp from long ago, or is far outside;
 *   - what acknowledges says no more than Y said itself, or nonsense (RFC 5961);
 *   - no window that Y did not offer; no RST at the exact sequence number;
 *   - an urgent pointer only in what is old.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64 };

/* What is needed of a frame that was seen. */
struct seen {
	bool v6, timestamps;
	uint8_t src[16], dst[16], tos, flags;
	uint16_t sport, dport, window;
	uint32_t seq, ack, tsval, tsecr;
};

struct forged {
	const char *name;
	uint32_t seq, ack;
	uint16_t window, urgent;
	uint8_t flags, tos, doff;
	bool ip_options, fragment, bad_checksum, no_ts, old_ts;
	uint8_t option[24];
	size_t option_len, len;
};

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

/* Of a segment and its pseudo header. */
static uint16_t tcp_sum(bool v6, const uint8_t *src, const uint8_t *dst, const uint8_t *tcp,
			size_t len)
{
	size_t alen = v6 ? 16 : 4;
	uint8_t pseudo[40] = { 0 };

	memcpy(pseudo, src, alen);
	memcpy(pseudo + alen, dst, alen);
	pseudo[2 * alen + 1] = IPPROTO_TCP;
	pseudo[2 * alen + 2] = len >> 8;
	pseudo[2 * alen + 3] = len;
	return csum_add(csum_add(0, pseudo, 2 * alen + 4), tcp, len);
}

/* Is the checksum of a segment right, if it is one that parse() takes? */
static bool has_checksum(const uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	size_t ihl = v6 ? 40 : 20, total;

	if (len < ihl + 20)
		return false;
	total = v6 ? 40 + (p[4] << 8 | p[5]) : p[2] << 8 | p[3];
	return total >= ihl + 20 && total <= len &&
		tcp_sum(v6, p + (v6 ? 8 : 12), p + (v6 ? 24 : 16), p + ihl, total - ihl) == 0xffff;
}

static bool parse(const uint8_t *p, size_t len, struct seen *s)
{
	const uint8_t *tcp, *end = p + len, *o;

	memset(s, 0, sizeof(*s));
	if (len < 40)
		return false;
	s->v6 = p[0] >> 4 == 6;
	if (s->v6) {
		if (len < 60 || p[6] != IPPROTO_TCP)
			return false;
		memcpy(s->src, p + 8, 16);
		memcpy(s->dst, p + 24, 16);
		s->tos = p[0] << 4 | p[1] >> 4;
		tcp = p + 40;
	} else {
		if (p[0] != 0x45 || p[9] != IPPROTO_TCP || get32(p + 4) & 0x3fff)
			return false;
		memcpy(s->src, p + 12, 4);
		memcpy(s->dst, p + 16, 4);
		s->tos = p[1];
		tcp = p + 20;
	}
	s->sport = tcp[0] << 8 | tcp[1];
	s->dport = tcp[2] << 8 | tcp[3];
	s->seq = get32(tcp + 4);
	s->ack = get32(tcp + 8);
	s->flags = tcp[13];
	s->window = tcp[14] << 8 | tcp[15];
	if ((s->flags & (ACK | SYN | RST)) != ACK)
		return false;
	end = MIN(end, tcp + (tcp[12] >> 4) * 4);
	for (o = tcp + 20; o < end && *o;) {
		if (*o == 1) {
			o++;
			continue;
		}
		if (o + 1 >= end || o[1] < 2 || o + o[1] > end)
			break;
		if (o[0] == 8 && o[1] == 10) {
			s->timestamps = true;
			s->tsval = get32(o + 2);
			s->tsecr = get32(o + 6);
		}
		o += o[1];
	}
	return true;
}

static bool opposite(const struct seen *x, const struct seen *y)
{
	return x->v6 == y->v6 && x->sport == y->dport && x->dport == y->sport &&
		!memcmp(x->src, y->dst, 16) && !memcmp(x->dst, y->src, 16);
}

/*
 * The next frame, without its Ethernet header: how much of it there is. 0: none, or not one to
 * believe. What goes out was seen behind the netem that corrupts, and a number taken from
 * there, in a frame with a right checksum, is more than an attacker can do: a timestamp
 * from the future locks the real ones out.
 */
static size_t next_frame(int fd, uint8_t *buf, size_t size)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = { buf, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_TRUNC);
	struct cmsghdr *c = len > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	struct tpacket_auxdata aux;

	if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
		return 0;
	memcpy(&aux, CMSG_DATA(c), sizeof(aux));
	/* netem computes the checksum before it corrupts. */
	if (aux.tp_status & TP_STATUS_CSUMNOTREADY)
		return MIN((size_t)len, size);
	return (size_t)len <= size && has_checksum(buf, len) ? len : 0;
}

/* Listens at ra until both directions of one connection were seen. */
static bool listen_in(uint64_t *rng, struct seen *x, struct seen *y)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	/* After so many frames, so that it is not always the busiest connection. */
	unsigned int skip = rnd_below(rng, 20), n = 0, i, kept = 0;
	uint64_t end = now_ms() + 60;
	struct seen table[32];
	static uint8_t buf[1 << 16];
	bool found = false;
	int fd, on = 1;

	net_enter(NS_R);
	ll.sll_ifindex = if_nametoindex(dev_name[DEV_RA]);
	fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		setup_error("packet socket: %m");
	while (!found && now_ms() < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct seen s;

		if (poll(&p, 1, 10) != 1 || !parse(buf, next_frame(fd, buf, sizeof(buf)), &s))
			continue;
		if (n++ >= skip)
			for (i = 0; i < kept && i < ARRAY_SIZE(table) && !found; i++)
				if (opposite(&s, &table[i])) {
					*x = s;
					*y = table[i];
					found = true;
				}
		table[kept++ % ARRAY_SIZE(table)] = s;
	}
	close(fd);
	return found;
}

static void draw(uint64_t *rng, const struct seen *x, const struct seen *y, struct forged *g)
{
	uint32_t lo;

	memset(g, 0, sizeof(*g));
	g->flags = ACK;
	g->tos = y->tos;
	/* As Y's own frame, but without its payload; and not an odd window of it. */
	g->seq = y->seq;
	g->ack = y->ack;
	g->window = y->window;
	switch (rnd_below(rng, 24)) {
	case 0:
		g->name = "again";
		break;
	case 1:
		g->name = "old data";
		g->len = 1 + rnd_below(rng, 1000);
		g->seq = x->ack - g->len - rnd_below(rng, 2000);
		break;
	case 2:
		g->name = "old sequence";
		g->seq = x->ack - 1;
		break;
	case 3:
		g->name = "duplicate ACK";
		g->seq = x->ack;
		break;
	case 4:
		g->name = "beyond the window";
		g->seq = x->ack + 0x30000000;
		g->len = 1 + rnd_below(rng, 1000);
		break;
	case 5:
		g->name = "ACK of what was never sent";
		g->ack = x->seq + 0x30000000;
		break;
	case 6:
		g->name = "ACK from long ago";
		g->ack = y->ack - 0x30000000;
		break;
	case 7:
		/* Of what was acknowledged long ago. */
		g->name = "SACK";
		lo = y->ack - 3000;
		memcpy(g->option, "\x05\x0a", 2);
		put32(g->option + 2, lo);
		put32(g->option + 6, lo + 1000);
		g->option_len = 10;
		break;
	case 8:
		g->name = "urgent, old";
		g->flags |= URG;
		g->urgent = 1 + rnd_below(rng, 50);
		g->len = 60;
		g->seq = x->ack - 1000;
		break;
	case 9:
		g->name = "unknown option";
		memcpy(g->option, "\xfd\x04\x12\x34", 4);
		g->option_len = 4;
		break;
	case 10:
		g->name = "option of length 0";
		memcpy(g->option, "\xfd\x00\x12\x34", 4);
		g->option_len = 4;
		break;
	case 11:
		g->name = "PAWS";
		g->old_ts = true;
		g->len = x->timestamps ? 1 + rnd_below(rng, 1000) : 0;
		g->seq = x->ack;
		break;
	case 12:
		g->name = "no timestamp";
		g->no_ts = true;
		break;
	case 13:
		g->name = "CE";
		g->tos |= 3;
		break;
	case 14:
		g->name = "ECE";
		g->flags |= ECE;
		break;
	case 15:
		/* Not at the exact place, wherever X has got to: below it. */
		g->name = "blind RST";
		g->flags = one_in(rng, 2) ? RST : RST | ACK;
		g->seq = x->ack - 100000 - rnd_below(rng, 100000);
		break;
	case 16:
		g->name = "SYN";
		g->flags = one_in(rng, 2) ? SYN : SYN | ACK;
		g->seq = x->ack - 100;
		break;
	case 17:
		g->name = "no ACK flag";
		g->flags = 0;
		g->seq = x->ack;
		g->len = rnd_below(rng, 100);
		break;
	case 18:
		g->name = "options or extension header";
		g->ip_options = true;
		break;
	case 19:
		g->name = "first fragment";
		g->fragment = true;
		g->len = 240;
		g->seq = x->ack - 5000;
		break;
	case 20:
		g->name = "bad checksum";
		g->bad_checksum = true;
		g->seq = x->ack;
		g->len = 1 + rnd_below(rng, 500);
		break;
	case 21:
		g->name = "bad header";
		g->doff = one_in(rng, 2) ? 3 : 15;
		break;
	case 22:
		g->name = "FIN, old";
		g->flags |= FIN;
		g->seq = x->ack - 2000;
		break;
	default:
		g->name = "data of a window ago";
		g->flags |= PSH;
		g->len = 500;
		g->seq = x->ack - 60000;
		break;
	}
}

/* Builds what Y would have sent to X, and sends it from the router. */
static int transmit(const struct seen *x, const struct forged *g, uint64_t *rng)
{
	uint8_t pkt[2048] = { 0 }, *tcp, *o;
	size_t ihl = x->v6 ? 40 : 20, tcplen, total;
	size_t ext = x->v6 && (g->ip_options || g->fragment) ? 8 : 0;
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	uint16_t s;
	int fd, ret = 0;

	if (!x->v6 && g->ip_options)
		ihl += 4;
	tcp = pkt + ihl + ext;
	o = tcp + 20;
	if (x->timestamps && !g->no_ts) {
		memcpy(o, "\x01\x01\x08\x0a", 4);
		/* What X echoed is what it has: a later one would lock Y's own out. */
		put32(o + 4, g->old_ts ? x->tsecr - 0x10000000 : x->tsecr);
		put32(o + 8, x->tsval);
		o += 12;
	}
	memcpy(o, g->option, g->option_len);
	o += g->option_len;
	while ((o - tcp) % 4)
		*o++ = 1;
	tcp[0] = x->dport >> 8;
	tcp[1] = x->dport;
	tcp[2] = x->sport >> 8;
	tcp[3] = x->sport;
	put32(tcp + 4, g->seq);
	put32(tcp + 8, g->ack);
	tcp[12] = (g->doff ? g->doff : (o - tcp) / 4) << 4;
	tcp[13] = g->flags;
	tcp[14] = g->window >> 8;
	tcp[15] = g->window;
	tcp[18] = g->urgent >> 8;
	tcp[19] = g->urgent;
	memset(o, 0x55, g->len);
	tcplen = o - tcp + g->len;
	s = ~tcp_sum(x->v6, x->dst, x->src, tcp, tcplen);
	if (g->bad_checksum)
		s ^= 0x1234;
	tcp[16] = s >> 8;
	tcp[17] = s;
	total = ihl + ext + tcplen;
	if (x->v6) {
		pkt[0] = 0x60 | g->tos >> 4;
		pkt[1] = g->tos << 4;
		pkt[4] = (total - 40) >> 8;
		pkt[5] = total - 40;
		pkt[6] = g->fragment ? IPPROTO_FRAGMENT : ext ? IPPROTO_DSTOPTS : IPPROTO_TCP;
		pkt[7] = 64;
		memcpy(pkt + 8, x->dst, 16);
		memcpy(pkt + 24, x->src, 16);
		if (ext) {
			pkt[40] = IPPROTO_TCP;
			if (g->fragment) {
				/* First, and more to come that never does. */
				pkt[43] = 1;
				put32(pkt + 44, rnd(rng));
			} else {
				/* Six bytes of padding. */
				pkt[42] = 1;
				pkt[43] = 4;
			}
		}
		memcpy(&to6.sin6_addr, x->src, 16);
	} else {
		pkt[0] = 0x40 | ihl / 4;
		pkt[1] = g->tos;
		pkt[2] = total >> 8;
		pkt[3] = total;
		put32(pkt + 4, (uint32_t)rnd(rng) << 16);
		pkt[6] = g->fragment ? 0x20 : 0;
		pkt[8] = 64;
		pkt[9] = IPPROTO_TCP;
		memcpy(pkt + 12, x->dst, 4);
		memcpy(pkt + 16, x->src, 4);
		if (ihl > 20)
			memset(pkt + 20, 1, 4);
		memcpy(&to4.sin_addr, x->src, 4);
	}
	net_enter(NS_R);
	fd = socket(x->v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		setup_error("raw socket: %m");
	if (sendto(fd, pkt, total, 0, x->v6 ? (void *)&to6 : (void *)&to4,
		   x->v6 ? sizeof(to6) : sizeof(to4)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

const char *inject(uint64_t *rng)
{
	struct seen x, y;
	struct forged g;

	if (!listen_in(rng, &x, &y))
		return NULL;
	draw(rng, &x, &y, &g);
	return transmit(&x, &g, rng) ? NULL : g.name;
}
