// SPDX-License-Identifier: GPL-2.0
/* One request of io_uring, without a library. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/io_uring.h>

static void *ring(int fd, size_t len, off_t offset)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (at == MAP_FAILED)
		fatal("the rings of io_uring: %m");
	return at;
}

/* One request, and what it came to. A zero-copy send says later that it is done, too. */
static ssize_t one_request(const struct io_uring_sqe *request)
{
	struct io_uring_params params = { 0 };
	int fd = syscall(SYS_io_uring_setup, 1, &params);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	size_t sq_len, cq_len;
	char *sq, *cq;
	ssize_t ret;

	if (fd < 0) {
		errno = errno == EPERM ? ENOSYS : errno;
		return -1;
	}
	sq_len = params.sq_off.array + params.sq_entries * sizeof(unsigned int);
	cq_len = params.cq_off.cqes + params.cq_entries * sizeof(*cqe);
	sq = ring(fd, sq_len, IORING_OFF_SQ_RING);
	cq = ring(fd, cq_len, IORING_OFF_CQ_RING);
	sqe = ring(fd, params.sq_entries * sizeof(*sqe), IORING_OFF_SQES);

	*sqe = *request;
	((unsigned int *)(sq + params.sq_off.array))[0] = 0;
	atomic_store((_Atomic unsigned int *)(sq + params.sq_off.tail), 1);
	do {
		ret = syscall(SYS_io_uring_enter, fd,
			      atomic_load((_Atomic unsigned int *)(sq + params.sq_off.head)) ? 0 : 1,
			      1, IORING_ENTER_GETEVENTS, NULL, 0);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0 || !atomic_load((_Atomic unsigned int *)(cq + params.cq_off.tail)))
		fatal("io_uring_enter: %m");
	cqe = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	ret = cqe->res;
	munmap(sq, sq_len);
	munmap(cq, cq_len);
	munmap(sqe, params.sq_entries * sizeof(*sqe));
	close(fd);
	if (ret < 0) {
		errno = -ret;
		return -1;
	}
	return ret;
}

ssize_t uring_recv(int sock, void *buf, size_t len, int flags, bool async)
{
	struct io_uring_sqe request = {
		.opcode = IORING_OP_RECV,
		/* Both wait by polling, for a socket can be polled. */
		.flags = async ? IOSQE_ASYNC : 0,
		.fd = sock, .addr = (uintptr_t)buf, .len = len, .msg_flags = flags,
	};

	return one_request(&request);
}

ssize_t uring_send_zc(int sock, const void *buf, size_t len)
{
	struct io_uring_sqe request = {
		.opcode = IORING_OP_SEND_ZC, .fd = sock, .addr = (uintptr_t)buf, .len = len,
	};

	return one_request(&request);
}
