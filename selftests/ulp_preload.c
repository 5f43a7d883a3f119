// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into a program that knows nothing of it: asks for the offload of each
 * connection as soon as accept() or connect() has made it. A connection that the kernel
 * does not hand over stays as it is; what was asked for leaves no trace in errno.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static int offload(int fd)
{
	int error = errno;

	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_ULP, "toe", 3);
	errno = error;
	return fd;
}

int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	int (*real)(int, struct sockaddr *, socklen_t *) = next("accept");

	return offload(real(fd, addr, len));
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int (*real)(int, struct sockaddr *, socklen_t *, int) = next("accept4");

	return offload(real(fd, addr, len, flags));
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t) = next("connect");
	int ret = real(fd, addr, len);

	if (!ret)
		offload(fd);
	return ret;
}
