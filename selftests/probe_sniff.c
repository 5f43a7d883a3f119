// SPDX-License-Identifier: GPL-2.0
/*
 * Who sees what the client receives: raw sockets for TCP, packet sockets of the family's
 * protocol and of all, each of any device and of each one of --dev (several with commas).
 * The client is not offloaded (`host`, which shows what plain TCP does), or is when they
 * are opened (`after`) or afterwards (`before`). Each sees each message, in order.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define MESSAGES 20
#define MAX_SNIFFERS 16
#define SIZE 64

static struct sniffer {
	char name[48];
	int fd;
	bool raw;
} sniffers[MAX_SNIFFERS];
static int count;
static bool v6;

static void add(int fd, bool raw, const char *what, const char *dev)
{
	struct sniffer *s = &sniffers[count++];

	if (fd < 0 || count > MAX_SNIFFERS)
		fatal("%s socket: %m", what);
	s->fd = fd;
	s->raw = raw;
	snprintf(s->name, sizeof(s->name), "%s socket of %s", what, dev ?: "any device");
}

static void raw_socket(const char *dev)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_TCP);

	if (dev && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, dev, strlen(dev)))
		fatal("SO_BINDTODEVICE %s: %m", dev);
	if (v6)
		set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else
		set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	add(fd, true, "raw", dev);
}

static void packet_socket(const char *dev, int protocol, const char *what)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(protocol),
		.sll_ifindex = dev ? if_nametoindex(dev) : 0,
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&to, sizeof(to)))
		fatal("packet socket of %s: %m", dev);
	add(fd, false, what, dev);
}

static void open_of(const char *dev)
{
	packet_socket(dev, v6 ? ETH_P_IPV6 : ETH_P_IP, "IP packet");
	packet_socket(dev, ETH_P_ALL, "packet");
}

/* Frames of a device below a VLAN device are that one's for raw sockets. */
static void open_all(void)
{
	char list[64], *dev, *last = NULL, *state;

	raw_socket(NULL);
	open_of(NULL);
	snprintf(list, sizeof(list), "%s", p.dev);
	for (dev = strtok_r(list, ",", &state); dev; dev = strtok_r(NULL, ",", &state)) {
		open_of(dev);
		last = dev;
	}
	raw_socket(last);
}

/* What surrounds the message is as it should be. */
static void check(const struct sniffer *s, struct msghdr *msg, const uint8_t *frame, size_t len)
{
	const struct sockaddr_ll *ll = msg->msg_name;
	const struct tcphdr *tcp = (const void *)frame;
	const struct iphdr *ip = (const void *)frame;
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (!s->raw) {
		if (ll->sll_protocol != htons(v6 ? ETH_P_IPV6 : ETH_P_IP) || !ll->sll_ifindex ||
		    ll->sll_pkttype != PACKET_HOST)
			fatal("%s: protocol %#x, device %d, type %d", s->name, ntohs(ll->sll_protocol),
			      ll->sll_ifindex, ll->sll_pkttype);
		return;
	}
	if (!c)
		fatal("%s: no packet info", s->name);
	if (v6) {
		const struct in6_pktinfo *info = (const void *)CMSG_DATA(c);

		if (!info->ipi6_ifindex || IN6_IS_ADDR_UNSPECIFIED(&info->ipi6_addr))
			fatal("%s: the packet info says device %d", s->name, info->ipi6_ifindex);
	} else {
		const struct in_pktinfo *info = (const void *)CMSG_DATA(c);

		if (!info->ipi_ifindex || info->ipi_spec_dst.s_addr != ip->daddr)
			fatal("%s: the packet info says device %d", s->name, info->ipi_ifindex);
		if (ip->ihl != 5 || ntohs(ip->tot_len) != len)
			fatal("%s: %zu bytes, the header says %d", s->name, len, ntohs(ip->tot_len));
		tcp = (const void *)(frame + sizeof(*ip));
	}
	if (ntohs(tcp->source) != local_port(p.listener))
		fatal("%s: from port %d", s->name, ntohs(tcp->source));
}

/* What it has seen of the messages from `*seen` on. */
static void look(const struct sniffer *s, int *seen)
{
	uint8_t frame[4096], control[256];

	for (;;) {
		struct sockaddr_ll from = { 0 };
		struct iovec iov = { frame, sizeof(frame) };
		struct msghdr msg = {
			.msg_name = s->raw ? NULL : &from, .msg_namelen = s->raw ? 0 : sizeof(from),
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
		};
		ssize_t len = recvmsg(s->fd, &msg, 0);
		uint8_t want[SIZE];

		if (len < 0)
			return;
		memset(want, 'A' + *seen, sizeof(want));
		if (len < SIZE || memcmp(frame + len - SIZE, want, SIZE))
			continue;
		check(s, &msg, frame, len);
		++*seen;
	}
}

int sniff(const char *name)
{
	uint8_t message[SIZE], got[SIZE];
	int i, seen;

	v6 = strchr(p.addr, ':');
	establish();
	set_int(p.s, IPPROTO_TCP, TCP_NODELAY, 1);
	exchange(2);
	if (!strcmp(name, "before"))
		open_all();
	if (strcmp(name, "host"))
		offload(p.c);
	exchange(2);
	if (strcmp(name, "before"))
		open_all();
	if (strcmp(name, "host") && !is_delegated())
		fatal("not delegated");
	for (i = 0; i < MESSAGES; i++) {
		memset(message, 'A' + i, sizeof(message));
		if (send(p.s, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
			fatal("send: %m");
		if (recv(p.c, got, sizeof(got), MSG_WAITALL) != sizeof(got) || memcmp(got, message, sizeof(got)))
			fatal("receive: %m");
	}
	if (strcmp(name, "host") && !is_delegated())
		fatal("not delegated any more");
	sleep_ms(100);
	for (i = 0; i < count; i++) {
		seen = 0;
		look(&sniffers[i], &seen);
		if (seen != MESSAGES)
			fatal("%s: has seen %d of %d", sniffers[i].name, seen, MESSAGES);
		close(sniffers[i].fd);
	}
	exchange(4);
	return 0;
}
