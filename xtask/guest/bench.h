/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the measured program have of each other. */
#ifndef BENCH_H
#define BENCH_H

/* Ends the program with what errno says of `what`. */
void die(const char *what);

unsigned long long now(void);

/* Makes the segment that send_old() sends to the peer of a connection, again and again. */
void make_old(int fd);
void send_old(void);

/* What SMC-D needs before its first connection; one that fell back to TCP ends the program. */
void smc_prepare(void);
void smc_must_be_d(int fd);

/* This process stays on the CPU that the environment names, if it names one. */
void stay_on(const char *name);

/* Each lap() is the end of one operation of `count`; the median and the 99.9th percentile. */
void laps_begin(long count);
void lap(void);
void laps_print(const char *workload);

/* For qsort(). */
int by_value(const void *a, const void *b);

#endif
