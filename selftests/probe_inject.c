// SPDX-License-Identifier: GPL-2.0
/*
 * Segments that no well-behaved peer would send just now, put on the wire by
 * the server's side of a connection whose client is delegated. The connection
 * has to survive each of them but the exact reset, with every byte right.
 * IPv4 only.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/tcp.h>

uint32_t queue_seq(int which)
{
	int on = 1, off = -1;
	uint32_t seq;
	socklen_t len = sizeof(seq);

	if (setsockopt(p.s, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) ||
	    setsockopt(p.s, IPPROTO_TCP, TCP_REPAIR_QUEUE, &which, sizeof(which)) ||
	    getsockopt(p.s, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &len))
		fatal("TCP_REPAIR on the server's socket: %m");
	/* Off without a window probe. */
	if (setsockopt(p.s, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)))
		fatal("leaving TCP_REPAIR: %m");
	return seq;
}

void put_segment(const struct segment *g, const char *ns)
{
	struct sockaddr_in src, dst;
	socklen_t len = sizeof(src);
	uint8_t pkt[2048] = { 0 }, *tcp, *o, pseudo[12];
	size_t ihl = g->ip_options ? 24 : 20, tcplen, total;
	struct tcp_info ti = { 0 };
	socklen_t tilen = sizeof(ti);
	int raw;

	getsockname(p.s, (struct sockaddr *)&src, &len);
	len = sizeof(dst);
	getpeername(p.s, (struct sockaddr *)&dst, &len);
	getsockopt(p.s, IPPROTO_TCP, TCP_INFO, &ti, &tilen);

	tcp = pkt + ihl;
	o = tcp + 20;
	if (ti.tcpi_options & TCPI_OPT_TIMESTAMPS && !g->no_ts) {
		uint32_t ts = get_int(p.s, IPPROTO_TCP, TCP_TIMESTAMP);

		if (g->old_ts)
			ts -= 0x10000000;
		ts = htonl(ts);
		memcpy(o, "\x01\x01\x08\x0a", 4);
		memcpy(o + 4, &ts, 4);
		o += 12;
	}
	memcpy(o, g->option, g->option_len);
	o += g->option_len;
	while ((o - tcp) % 4)
		*o++ = 1;
	memcpy(tcp, &src.sin_port, 2);
	memcpy(tcp + 2, &dst.sin_port, 2);
	memcpy(tcp + 4, &(uint32_t){ htonl(g->seq) }, 4);
	memcpy(tcp + 8, &(uint32_t){ htonl(g->ack) }, 4);
	tcp[12] = (g->doff ? g->doff : (o - tcp) / 4) << 4;
	tcp[13] = g->flags;
	memcpy(tcp + 14, &(uint16_t){ htons(g->window) }, 2);
	tcplen = o - tcp + g->len;
	/* What comes later from the server itself has to be the same bytes. */
	if (g->garbage)
		memset(o, 0x55, g->len);
	else
		stream_fill(2, p.pos_sc + (g->seq - queue_seq(2)), o, g->len);

	memcpy(pseudo, &src.sin_addr, 4);
	memcpy(pseudo + 4, &dst.sin_addr, 4);
	pseudo[8] = 0;
	pseudo[9] = IPPROTO_TCP;
	pseudo[10] = tcplen >> 8;
	pseudo[11] = tcplen;
	{
		uint16_t s = ~csum_add(csum_add(0, pseudo, 12), tcp, tcplen);

		if (g->bad_checksum)
			s ^= 0x1234;
		tcp[16] = s >> 8;
		tcp[17] = s;
	}
	total = ihl + tcplen;
	pkt[0] = 0x40 | ihl / 4;
	pkt[1] = g->tos;
	pkt[2] = total >> 8;
	pkt[3] = total;
	pkt[6] = g->frag >> 8;
	pkt[7] = g->frag;
	pkt[8] = 64;
	pkt[9] = IPPROTO_TCP;
	memcpy(pkt + 12, &src.sin_addr, 4);
	memcpy(pkt + 16, &dst.sin_addr, 4);
	if (g->ip_options)
		memset(pkt + 20, 1, 4);

	if (enter_ns(ns))
		fatal("namespace");
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (raw < 0 || sendto(raw, pkt, total, 0, (struct sockaddr *)&dst, sizeof(dst)) < 0)
		fatal("raw socket: %m");
	close(raw);
}

uint64_t entry(char mode[16])
{
	unsigned long long hwid, found = 0;
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	char line[512], local[64], end[16];
	FILE *f = fopen(p.table, "r");

	if (!f || getsockname(p.c, (struct sockaddr *)&a, &len))
		fatal("%s: %m", p.table);
	/* The port stands in the same place in both families. */
	snprintf(end, sizeof(end), ":%u", ntohs(a.sin6_port));
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %63s %*s %15s", &hwid, local, mode) == 3 &&
		    strlen(local) > strlen(end) &&
		    !strcmp(local + strlen(local) - strlen(end), end))
			found = hwid;
	}
	fclose(f);
	return found;
}

void expect_resynchronised(uint64_t hwid, const char *name)
{
	char mode[16] = "";
	uint64_t now = 0;
	int i;

	for (i = 0; i < 50; i++) {
		now = entry(mode);
		if (now != hwid || !strcmp(mode, "delegated"))
			break;
		exchange(1);
		sleep_ms(20);
	}
	if (now != hwid)
		fatal("hwid %#llx became %#llx after %s", (unsigned long long)hwid,
		      (unsigned long long)now, name);
	if (strcmp(mode, "delegated"))
		fatal("still %s after %s and %d exchanges", mode, name, i);
}

int inject(const char *name)
{
	struct segment g = { .flags = ACK, .window = 60000 };
	struct pollfd pfd;
	uint64_t hwid = 0;
	char byte, mode[16];

	establish();
	offload(p.c);
	exchange(4);
	sleep_ms(300);
	if (p.table) {
		hwid = entry(mode);
		if (!hwid)
			fatal("not in %s", p.table);
	}
	g.seq = queue_seq(2);
	g.ack = queue_seq(1);
	if (!strcmp(name, "out_of_order")) {
		g.seq += 1000;
		g.len = 500;
	} else if (!strcmp(name, "old_sequence")) {
		g.seq -= 1;
	} else if (!strcmp(name, "old_data")) {
		g.seq -= 200;
		g.len = 100;
	} else if (!strcmp(name, "ack_outside")) {
		g.ack += 1000000;
	} else if (!strcmp(name, "sack")) {
		uint32_t lo = htonl(g.ack - 200), hi = htonl(g.ack - 100);

		memcpy(g.option, "\x05\x0a", 2);
		memcpy(g.option + 2, &lo, 4);
		memcpy(g.option + 6, &hi, 4);
		g.option_len = 10;
	} else if (!strcmp(name, "rst") || !strcmp(name, "rst_blind")) {
		g.flags = RST | ACK;
		g.seq += name[3] ? 1000 : 0;
	} else if (!strcmp(name, "syn")) {
		g.flags = SYN;
		g.seq += 100;
	} else if (!strcmp(name, "ip_options")) {
		g.ip_options = true;
	} else if (!strcmp(name, "fragment")) {
		g.frag = 0x2000;
		g.len = 500 - 500 % 8 + 4;
	} else if (!strcmp(name, "bad_checksum")) {
		g.bad_checksum = g.garbage = true;
		g.len = 300;
	} else if (!strcmp(name, "bad_header")) {
		g.doff = 3;
	} else if (!strcmp(name, "bad_length")) {
		g.doff = 15;
	} else if (!strcmp(name, "no_ack_flag")) {
		g.flags = 0;
		g.garbage = true;
		g.len = 100;
	} else if (!strcmp(name, "bad_option")) {
		memcpy(g.option, "\xfd\x04\x12\x34", 4);
		g.option_len = 4;
	} else if (!strcmp(name, "option_length_0")) {
		memcpy(g.option, "\xfd\x00\x12\x34", 4);
		g.option_len = 4;
	} else if (!strcmp(name, "no_timestamp")) {
		g.no_ts = true;
	} else if (!strcmp(name, "paws")) {
		g.old_ts = g.garbage = true;
		g.len = 100;
	} else if (!strcmp(name, "ecn_ce")) {
		g.tos = 3;
	} else if (!strcmp(name, "ecn_ece")) {
		g.flags |= ECE;
	} else if (!strcmp(name, "zero_window")) {
		g.window = 0;
	} else if (!strcmp(name, "window_shrunk")) {
		g.window = 1;
	} else if (!strcmp(name, "beyond_window")) {
		g.seq += 100000000;
		g.garbage = true;
		g.len = 100;
	} else {
		fprintf(stderr, "no such segment: %s\n", name);
		return 2;
	}
	put_segment(&g, p.server_ns);
	pfd = (struct pollfd){ .fd = p.c, .events = POLLIN };
	if (!strcmp(name, "rst")) {
		if (poll(&pfd, 1, 20000) != 1 || recv(p.c, &byte, 1, 0) >= 0 || errno != ECONNRESET)
			fatal("an exact reset is not seen by the client: %m");
		if (send(p.c, &byte, 1, MSG_NOSIGNAL) >= 0)
			fatal("the client can send after a reset");
		return 0;
	}
	if (poll(&pfd, 1, 300) != 0)
		fatal("an event at the client, revents %x", pfd.revents);
	exchange(8);
	if (p.table)
		expect_resynchronised(hwid, name);
	return 0;
}
