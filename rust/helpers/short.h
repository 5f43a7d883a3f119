/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TOE_HELPERS_SHORT_H
#define TOE_HELPERS_SHORT_H

#include <net/sock.h>

bool toe_short_receives(const struct sock *sk);
u32 toe_short_tailroom(const struct sock *sk);
int toe_short_append(struct sock *sk, struct msghdr *msg, u32 want, u32 size);
void toe_short_moved(struct sock *sk, bool sent);
u32 toe_short_space_from_win(const struct sock *sk, u32 window);

#endif
