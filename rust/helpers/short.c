// SPDX-License-Identifier: GPL-2.0
/*
 * The same-host short cut: bytes from a sender's memory to the tail of the other socket's
 * receive queue. All of it under the receiver's spin lock with no task owning it, bottom
 * halves off, but for toe_short_moved().
 */

#include <linux/uaccess.h>
#include <net/tcp.h>

#include "short.h"

/*
 * Is there nothing about the receiver that only a frame would serve? Security modules judge
 * frames (security_sock_rcv_skb()), and users in the kernel, who say so in sk_user_data, may
 * want some.
 */
bool toe_short_receives(const struct sock *sk)
{
	return !IS_ENABLED(CONFIG_SECURITY_NETWORK) &&
	       sk->sk_state == TCP_ESTABLISHED && !sk->sk_shutdown &&
	       !READ_ONCE(sk->sk_err) && !tcp_sk(sk)->urg_data &&
	       !rcu_access_pointer(sk->sk_user_data);
}

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
	struct sk_buff *skb = alloc_skb(SKB_WITH_OVERHEAD(size), GFP_ATOMIC | __GFP_NOWARN);

	if (unlikely(!skb))
		return NULL;
	if (unlikely(!sk_rmem_schedule(sk, skb, skb->truesize))) {
		__kfree_skb(skb);
		return NULL;
	}
	memset(TCP_SKB_CB(skb), 0, sizeof(*TCP_SKB_CB(skb)));
	TCP_SKB_CB(skb)->seq = tcp_sk(sk)->rcv_nxt;
	TCP_SKB_CB(skb)->end_seq = tcp_sk(sk)->rcv_nxt;
	TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK | TCPHDR_PSH;
	return skb;
}

/*
 * Appends up to @want bytes: to the last buffer if it has room, else to a new one of @size. How
 * many there were; fewer if there is no memory, or if the sender's has to be faulted in.
 */
int toe_short_append(struct sock *sk, struct msghdr *msg, u32 want, u32 size)
{
	struct sk_buff *skb = toe_short_tail(sk);
	bool fresh = !skb || !skb_tailroom(skb);
	u32 n, got;

	if (fresh) {
		skb = toe_short_alloc(sk, size);
		if (unlikely(!skb))
			return 0;
	}
	n = min_t(u32, want, skb_tailroom(skb));
	pagefault_disable();
	got = copy_from_iter(skb_tail_pointer(skb), n, &msg->msg_iter);
	pagefault_enable();
	if (unlikely(!got)) {
		if (fresh)
			__kfree_skb(skb);
		return 0;
	}
	skb_put(skb, got);
	TCP_SKB_CB(skb)->end_seq += got;
	if (fresh) {
		__skb_queue_tail(&sk->sk_receive_queue, skb);
		skb_set_owner_r(skb, sk);
	}
	return got;
}

/* The numbers of the socket have moved: @sent, or received. */
void toe_short_moved(struct sock *sk, bool sent)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 edge = tp->rcv_wup + tp->rcv_wnd;

	if (after(edge, tp->rcv_mwnd_seq))
		tp->rcv_mwnd_seq = edge;
	tp->rcv_tstamp = tcp_jiffies32;
	if (sent)
		tp->lsndtime = tcp_jiffies32;
	else
		inet_csk(sk)->icsk_ack.lrcvtime = tcp_jiffies32;
	/* The window that a frame is compared with. */
	tp->pred_flags = 0;
	tcp_fast_path_check(sk);
}

u32 toe_short_space_from_win(const struct sock *sk, u32 window)
{
	return tcp_space_from_win(sk, min_t(u32, window, INT_MAX));
}
