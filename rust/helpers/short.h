/* SPDX-License-Identifier: GPL-2.0 */
/* The same-host short cut: buffers that bytes are appended to without a frame. */
#ifndef TOE_HELPERS_SHORT_H
#define TOE_HELPERS_SHORT_H

#include <net/sock.h>

/* Sizes of their heads, which are powers of two, with struct skb_shared_info. */
enum {
	TOE_RECEIVE_MIN = 1024,
	TOE_RECEIVE_MAX = 32768,
	TOE_RECEIVE_OVERHEAD = SKB_DATA_ALIGN(sizeof(struct skb_shared_info)),
};

struct sk_buff *toe_receive_alloc(u32 size);
void toe_receive_free(struct sk_buff *skb);

u32 toe_short_tailroom(const struct sock *sk);
u32 toe_short_append(struct sock *sk, struct msghdr *msg, u32 want, u32 least, u32 large,
		     u32 last);
u32 toe_short_move(struct sock *from, struct sock *to, u32 room);
u32 toe_short_space_from_win(const struct sock *sk, u32 window);

#endif
