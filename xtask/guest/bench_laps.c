// SPDX-License-Identifier: GPL-2.0
/* For times by the wall clock: a CPU for each end, and how round trips are distributed. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

static unsigned long long *laps, last;
static long most, n;

void stay_on(const char *name)
{
	const char *text = getenv(name);
	cpu_set_t set;

	if (!text || !*text)
		return;
	CPU_ZERO(&set);
	CPU_SET(strtoul(text, NULL, 0), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die(name);
}

void laps_begin(long count)
{
	if (!laps)
		laps = calloc(count, sizeof(*laps));
	if (!laps)
		die("memory");
	most = count;
	n = 0;
	last = now();
}

void lap(void)
{
	unsigned long long t = now();

	if (n < most)
		laps[n++] = t - last;
	last = t;
}

int by_value(const void *a, const void *b)
{
	const unsigned long long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The one that so many of 1000 do not exceed. */
static double part(long of_1000)
{
	return laps[(n * of_1000 + 999) / 1000 - 1];
}

void laps_print(const char *workload)
{
	if (!n)
		return;
	qsort(laps, n, sizeof(*laps), by_value);
	printf("%s_p50 %.0f\n", workload, part(500));
	printf("%s_p999 %.0f\n", workload, part(999));
}
