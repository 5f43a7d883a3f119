/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the kernel tree's csum, whose receiver counts what arrives within a time of its own,
 * while whoever runs it starts the sender by several programs: on a slow or busy machine
 * that may take longer. With the file $CSUM_SENT its time is up half a second after the
 * sender has ended, which made that file; until then it has what -L says.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define CSUM_GRACE_MS 500
#define CSUM_LOOK_MS 50

static inline int csum_over(void)
{
	const char *name = getenv("CSUM_SENT");
	struct timespec now;
	struct stat sent;

	if (!name || stat(name, &sent))
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - sent.st_mtim.tv_sec) * 1000 +
	       (now.tv_nsec - sent.st_mtim.tv_nsec) / 1000000 >= CSUM_GRACE_MS;
}

static inline int csum_gettimeofday(struct timeval *tv, void *zone)
{
	int ret = gettimeofday(tv, zone);

	if (csum_over())
		tv->tv_sec += 3600;
	return ret;
}

static inline int csum_poll(struct pollfd *fds, nfds_t n, int ms)
{
	return poll(fds, n, ms > CSUM_LOOK_MS ? CSUM_LOOK_MS : ms);
}

#define gettimeofday csum_gettimeofday
#define poll csum_poll
