/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the measured program have of each other. */
#ifndef BENCH_H
#define BENCH_H

/* Ends the program with what errno says of `what`. */
void die(const char *what);

/* Makes the segment that send_old() sends to the peer of a connection, again and again. */
void make_old(int fd);
void send_old(void);

#endif
