// SPDX-License-Identifier: GPL-2.0
/* A segment that nobody waits for: its sequence number is an old one. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"

static struct {
	struct sockaddr_in to;
	unsigned char bytes[40];
	int raw;
} old;

static void fold(unsigned char *sum, unsigned long acc, const unsigned char *data, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		acc += i & 1 ? data[i] : data[i] << 8;
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	sum[0] = ~acc >> 8;
	sum[1] = ~acc;
}

void make_old(int fd)
{
	int on = 1, off = -1, queue = TCP_SEND_QUEUE;
	struct sockaddr_in from;
	socklen_t len = sizeof(from), seqlen = sizeof(unsigned int);
	unsigned char *ip = old.bytes, *tcp = ip + 20;
	unsigned int seq;

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) ||
	    getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &seqlen) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)))
		die("TCP_REPAIR");
	/* Repair took it off, and the port is needed again. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	getsockname(fd, (struct sockaddr *)&from, &len);
	len = sizeof(old.to);
	getpeername(fd, (struct sockaddr *)&old.to, &len);
	seq = htonl(seq - 1);
	memcpy(ip, "\x45\0\0\x28\0\0\x40\0\x40\x06", 10);
	memcpy(ip + 12, &from.sin_addr, 4);
	memcpy(ip + 16, &old.to.sin_addr, 4);
	memcpy(tcp, &from.sin_port, 2);
	memcpy(tcp + 2, &old.to.sin_port, 2);
	memcpy(tcp + 4, &seq, 4);
	tcp[12] = 0x50;
	tcp[13] = 0x10;
	/* The pseudo header: protocol, length, and the addresses before us. */
	fold(tcp + 16, IPPROTO_TCP + 20, ip + 12, 28);
	old.raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (old.raw < 0)
		die("raw socket");
}

void send_old(void)
{
	if (sendto(old.raw, old.bytes, sizeof(old.bytes), 0, (struct sockaddr *)&old.to,
		   sizeof(old.to)) != sizeof(old.bytes))
		die("sendto");
}
