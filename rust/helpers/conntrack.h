/* SPDX-License-Identifier: GPL-2.0 */
/* Connection tracking, which sees nothing of what the target sends and receives. */
#ifndef TOE_HELPERS_CONNTRACK_H
#define TOE_HELPERS_CONNTRACK_H

#include <net/sock.h>

/*
 * Frames of @sk pass connection tracking again, if it is on, which must not hold against
 * them what it has not seen. Any context; the socket's lock is held.
 */
void toe_sk_untracked_end(const struct sock *sk);

#endif
