// SPDX-License-Identifier: GPL-2.0
/* Echoes, for machines without a ping(8): each answer is compared with its request. */
#define _GNU_SOURCE
#include "ns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

int echoes(const char *addr, unsigned int count, unsigned int size, bool df)
{
	bool v6 = strchr(addr, ':');
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	static uint8_t out[70000], in[70000];
	uint16_t id = getpid();
	unsigned int i;
	int fd;

	size += 8;
	if (size > 65535 || (v6 ? inet_pton(AF_INET6, addr, &a6.sin6_addr) != 1 :
				  inet_pton(AF_INET, addr, &a4.sin_addr) != 1)) {
		errno = EINVAL;
		return fail(addr);
	}
	fd = v6 ? socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6) :
		  socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (fd < 0)
		return fail("raw socket");
	if (df)
		set_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
			IP_PMTUDISC_DO);
	set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
	for (i = 0; i < count; i++) {
		uint64_t end = now_ms() + 5000;
		bool back = false;
		uint16_t c;

		stream_fill(i, 0, out, size);
		memset(out, 0, 8);
		out[0] = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
		memcpy(out + 4, &id, 2);
		memcpy(out + 6, &(uint16_t){ htons(i) }, 2);
		c = v6 ? 0 : ~csum_add(0, out, size);
		out[2] = c >> 8;
		out[3] = c;
		if (sendto(fd, out, size, 0, v6 ? (void *)&a6 : (void *)&a4,
			   v6 ? sizeof(a6) : sizeof(a4)) < 0)
			return fail(addr);
		while (!back && now_ms() < end) {
			struct pollfd pfd = { .fd = fd, .events = POLLIN };
			uint8_t *r = in;
			ssize_t n;

			if (poll(&pfd, 1, 100) != 1)
				continue;
			n = recv(fd, in, sizeof(in), 0);
			if (n > 0 && !v6) {
				r += (in[0] & 15) * 4;
				n -= r - in;
			}
			if (n < 8 || r[0] != (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) ||
			    memcmp(r + 4, out + 4, 4))
				continue;
			if ((unsigned int)n != size || memcmp(r + 8, out + 8, size - 8)) {
				fprintf(stderr, "the echo of %s differs: %zd bytes of %u\n", addr, n, size);
				return 1;
			}
			back = true;
		}
		if (!back) {
			fprintf(stderr, "no echo from %s, packet %u of %u bytes\n", addr, i, size - 8);
			return 1;
		}
	}
	close(fd);
	return 0;
}
