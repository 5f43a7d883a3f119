// SPDX-License-Identifier: GPL-2.0
/*
 * The same-host short cut: bytes from a sender's memory to the tail of the other socket's
 * receive queue. All of it under the receiver's spin lock with no task owning it, bottom
 * halves off.
 */

#include <linux/uaccess.h>
#include <net/tcp.h>

#include "short.h"

/*
 * What may be appended to the last buffer of the receive queue, as skb_try_coalesce() does: a
 * buffer that nobody else has, with all of its payload in its head.
 */
static struct sk_buff *toe_short_tail(const struct sock *sk)
{
	struct sk_buff *skb = skb_peek_tail(&sk->sk_receive_queue);

	if (!skb || skb_cloned(skb) || skb_is_nonlinear(skb) || skb_zcopy(skb) ||
	    skb->destructor != sock_rfree || TCP_SKB_CB(skb)->has_rxtstamp ||
	    TCP_SKB_CB(skb)->tcp_flags & TCPHDR_FIN)
		return NULL;
	return skb;
}

u32 toe_short_tailroom(const struct sock *sk)
{
	const struct sk_buff *skb = toe_short_tail(sk);

	return skb ? skb_tailroom(skb) : 0;
}

/* A buffer of the receive queue, with room for payload and none yet. */
static struct sk_buff *toe_short_alloc(struct sock *sk, u32 size)
{
	struct sk_buff *skb = toe_receive_alloc(size);

	if (unlikely(!skb))
		return NULL;
	if (unlikely(!sk_rmem_schedule(sk, skb, skb->truesize))) {
		__kfree_skb(skb);
		return NULL;
	}
	TCP_SKB_CB(skb)->seq = tcp_sk(sk)->rcv_nxt;
	TCP_SKB_CB(skb)->end_seq = tcp_sk(sk)->rcv_nxt;
	TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK | TCPHDR_PSH;
	return skb;
}

/* copy_from_iter(), without its layers for the usual case. Page faults are off. */
static u32 toe_short_copy(void *to, u32 n, struct iov_iter *from)
{
	const void __user *at;

	if (unlikely(!iter_is_ubuf(from)))
		return copy_from_iter(to, n, from);
	at = from->ubuf + from->iov_offset;
	check_object_size(to, n, false);
	if (!access_ok(at, n))
		return 0;
	n -= __copy_from_user_inatomic(to, at, n);
	from->iov_offset += n;
	from->count -= n;
	return n;
}

/*
 * Appends up to @want bytes: to the last buffer if it has room, else to a new one of @size. How
 * many there were: @least or more, or none, if there is no memory, or if the sender's has to be
 * faulted in.
 */
u32 toe_short_append(struct sock *sk, struct msghdr *msg, u32 want, u32 least, u32 size)
{
	struct sk_buff *skb = size ? toe_short_alloc(sk, size) : toe_short_tail(sk);
	u32 n, got;

	if (unlikely(!skb))
		return 0;
	n = min_t(u32, want, skb_tailroom(skb));
	pagefault_disable();
	got = toe_short_copy(skb_tail_pointer(skb), n, &msg->msg_iter);
	pagefault_enable();
	if (unlikely(got < least)) {
		iov_iter_revert(&msg->msg_iter, got);
		if (size)
			__kfree_skb(skb);
		return 0;
	}
	skb_put(skb, got);
	TCP_SKB_CB(skb)->end_seq += got;
	if (size) {
		__skb_queue_tail(&sk->sk_receive_queue, skb);
		skb_set_owner_r(skb, sk);
	}
	return got;
}

u32 toe_short_space_from_win(const struct sock *sk, u32 window)
{
	return tcp_space_from_win(sk, min_t(u32, window, INT_MAX));
}
