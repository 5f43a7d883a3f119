/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connection whose two ends are offloaded on one machine, and which way its bytes go:
 * past the wire, or by frames. On a device without the short cut nothing is expected of the
 * way, only of the bytes.
 */
#ifndef TOE_SELFTESTS_PROBE_SHORT_H
#define TOE_SELFTESTS_PROBE_SHORT_H

#include "probe.h"

/* Who writes. */
enum { CLIENT = 1, SERVER = 2, BOTH = 3 };

/* Bytes that the client and the server have sent past the wire, and by frames of the target. */
struct moved {
	uint64_t passed[2], framed[2];
};

struct moved moved(void);

/* A file of the toe directory of a device: the client's (0) or the server's (1). */
int open_knob(int end, const char *name);

/* Is there a short cut whose way can be asked for? */
bool short_known(void);

/* Offloads whichever end is not (any more). */
void resume(void);

/* All goes past the wire from now on, after what is on its way has come to rest. */
void come_to_pass(void);

/* `n` bytes went past the wire, since `from`, of whoever is in `who`. */
void expect_passed(const struct moved *from, int who, uint64_t n, const char *what);

/* So many rounds of exchange() past the wire, or what `who` writes in them by frames. */
void trips_pass(unsigned int rounds);
void trips_by_frames(unsigned int rounds, int who);
uint64_t sum(const uint64_t of[2]);

/*
 * The client's stream, of which any number of bytes may be written and not read: the next
 * `n` for a write of the caller's; a write of them; `n` that were read and not looked at;
 * those that were read into `buf`; a read of so many.
 */
void fill_cs(uint8_t *buf, size_t n);
void write_cs(size_t n);
void skip_cs(size_t n);
void check_cs(const uint8_t *buf, size_t n, const char *what);
void read_cs(size_t n);

int short_reads(const char *name);
int short_memory(const char *name);
int short_streams(const char *name);

#endif
