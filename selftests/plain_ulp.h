/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For programs of the kernel tree that take any name of a TCP socket's upper layer
 * protocol for a mistake: an offloaded connection's is the one that it has on purpose.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static inline int plain_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	int ret = getsockopt(fd, level, name, value, len);

	/* TCP_ULP */
	if (!ret && level == IPPROTO_TCP && name == 31 && *len >= 4 && !strcmp(value, "toe")) {
		memset(value, 0, 4);
		*len = 0;
	}
	return ret;
}

#define getsockopt plain_getsockopt
