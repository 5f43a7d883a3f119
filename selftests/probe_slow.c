// SPDX-License-Identifier: GPL-2.0
/* Memory whose first touch takes as long as somebody else likes, by userfaultfd. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

static int uffd = -1;

uint8_t *slow_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range.len = SLOW_PAGE, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	uint8_t *page;

	/* Root's, so that the kernel's own accesses wait, too. */
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		fprintf(stderr, "toe_probe: this kernel lacks userfaultfd: %m\n");
		exit(4);
	}
	page = mmap(NULL, SLOW_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)page;
	if (page == MAP_FAILED || ioctl(uffd, UFFDIO_REGISTER, &range))
		fatal("userfaultfd: %m");
	return page;
}

bool slow_touched(unsigned int ms)
{
	struct pollfd pfd = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	return poll(&pfd, 1, ms) == 1 && read(uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		msg.event == UFFD_EVENT_PAGEFAULT;
}

void slow_serve(uint8_t *page, const void *data, size_t len)
{
	static uint8_t content[SLOW_PAGE] __attribute__((aligned(SLOW_PAGE)));
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)content, .len = SLOW_PAGE,
	};

	memset(content, 0, sizeof(content));
	memcpy(content, data, len);
	if (ioctl(uffd, UFFDIO_COPY, &copy) && errno != EEXIST)
		fatal("UFFDIO_COPY: %m");
}

void slow_forget(uint8_t *page)
{
	struct uffd_msg msg;

	if (madvise(page, SLOW_PAGE, MADV_DONTNEED))
		fatal("MADV_DONTNEED: %m");
	while (read(uffd, &msg, sizeof(msg)) > 0)
		;
}
