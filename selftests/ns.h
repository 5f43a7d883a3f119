/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of toe_ns have of each other. */
#ifndef TOE_SELFTESTS_NS_H
#define TOE_SELFTESTS_NS_H

#include <stdbool.h>

/* Says what errno has of `what`; returns 1. */
int fail(const char *what);

/* `count` echoes of `size` bytes; `df`: with a path MTU, which none is longer than. */
int echoes(const char *addr, unsigned int count, unsigned int size, bool df);

/* Ends all processes in so many namespaces, and waits until they are gone. */
int kill_all(const char *const *ns, int count);

/*
 * down|up|fresh NS NS DEV DEV KIND ADDR4 ADDR4 ADDR6 ADDR6 [KNOB=VALUE...]: files of both
 * devices' toe directories.
 */
int pair(const char *what, char **argv);

#endif
