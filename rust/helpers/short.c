// SPDX-License-Identifier: GPL-2.0
/*
 * The same-host short cut: bytes from a sender's memory to the tail of the other socket's
 * receive queue. All of it under the receiver's spin lock with no task owning it, bottom
 * halves off.
 */

#include <linux/uaccess.h>
#include <net/tcp.h>

#include "short.h"
#include "tcp.h"

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

/* A buffer for the receive queue, with room for payload and none yet, and charged for. */
static struct sk_buff *toe_short_alloc(struct sock *sk, u32 size)
{
	struct sk_buff *skb = toe_receive_alloc(size);

	if (unlikely(!skb))
		return NULL;
	if (unlikely(!sk_rmem_schedule(sk, skb, skb->truesize))) {
		__kfree_skb(skb);
		return NULL;
	}
	skb_set_owner_r(skb, sk);
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

/* @large buffers of the largest size and, if that is not 0, one of size @last, or fewer. */
static struct sk_buff *toe_short_alloc_all(struct sock *sk, u32 large, u32 last)
{
	struct sk_buff *first = NULL, **end = &first;

	while (large || last) {
		*end = toe_short_alloc(sk, large ? TOE_RECEIVE_MAX : last);
		if (unlikely(!*end))
			break;
		end = &(*end)->next;
		if (large)
			large--;
		else
			last = 0;
	}
	return first;
}

/* To the end of the receive queue with what has payload; the rest is freed. */
static void toe_short_queue(struct sock *sk, struct sk_buff *skb, u32 seq)
{
	struct sk_buff *next;

	for (; skb; skb = next) {
		next = skb->next;
		skb_mark_not_on_list(skb);
		if (unlikely(!skb->len)) {
			__kfree_skb(skb);
			continue;
		}
		TCP_SKB_CB(skb)->seq = seq;
		seq += skb->len;
		TCP_SKB_CB(skb)->end_seq = seq;
		TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK | TCPHDR_PSH;
		__skb_queue_tail(&sk->sk_receive_queue, skb);
	}
}

/*
 * Appends up to @want bytes: to the last buffer as far as it has room, then to new ones, see
 * toe_short_alloc_all(). How many there were: @least or more, or none, if there is no memory,
 * or if the sender's has to be faulted in.
 */
u32 toe_short_append(struct sock *sk, struct msghdr *msg, u32 want, u32 least, u32 large,
		     u32 last)
{
	struct sk_buff *tail = toe_short_tail(sk), *new = NULL, *skb;
	u32 n = 0, got = 0, at_tail, done;

	if (unlikely(large))
		new = toe_short_alloc_all(sk, large, last);
	else if (last)
		new = toe_short_alloc(sk, last);
	pagefault_disable();
	if (tail) {
		n = min_t(u32, want, skb_tailroom(tail));
		got = toe_short_copy(skb_tail_pointer(tail), n, &msg->msg_iter);
	}
	at_tail = got;
	done = got;
	for (skb = new; skb && got == n && done < want; skb = skb->next) {
		n = min_t(u32, want - done, skb_tailroom(skb));
		got = toe_short_copy(skb->data, n, &msg->msg_iter);
		__skb_put(skb, got);
		done += got;
	}
	pagefault_enable();
	if (unlikely(done < least)) {
		iov_iter_revert(&msg->msg_iter, done);
		kfree_skb_list(new);
		return 0;
	}
	if (at_tail) {
		__skb_put(tail, at_tail);
		TCP_SKB_CB(tail)->end_seq += at_tail;
	}
	if (new)
		toe_short_queue(sk, new, tcp_sk(sk)->rcv_nxt + at_tail);
	return done;
}

/* May a buffer of the send queue be one of a receive queue as it is? */
static bool toe_short_may_move(struct sk_buff *skb)
{
	return !skb_cloned(skb) && !skb_zcopy(skb) && skb->len && !skb_has_frag_list(skb) &&
	       !skb_has_extensions(skb) && !skb_shinfo(skb)->tx_flags &&
	       !TCP_SKB_CB(skb)->txstamp_ack &&
	       !(TCP_SKB_CB(skb)->tcp_flags & (TCPHDR_SYN | TCPHDR_FIN | TCPHDR_URG));
}

/* There is no sense in smaller pieces. */
#define TOE_SHORT_PIECE 4096

/* Leaves @len bytes in the first buffer of the send queue; false: it stays as it is. */
static bool toe_short_split(struct sock *sk, struct sk_buff *skb, u32 len)
{
	return len >= TOE_SHORT_PIECE &&
	       !toe_tcp_split(sk, skb, len, READ_ONCE(tcp_sk(sk)->mss_cache));
}

/*
 * Moves buffers of the send queue of @from that were not sent, or a part of one, to the receive
 * queue of @to: up to @room bytes, as far as its memory allows. How many bytes there were.
 */
u32 toe_short_move(struct sock *from, struct sock *to, u32 room)
{
	struct sk_buff *skb;
	u32 done = 0, seq;

	while ((skb = tcp_send_head(from)) && toe_short_may_move(skb)) {
		if (skb->len > room - done && !toe_short_split(from, skb, room - done))
			break;
		if (atomic_read(&to->sk_rmem_alloc) + skb->truesize > READ_ONCE(to->sk_rcvbuf) ||
		    !sk_rmem_schedule(to, skb, skb->truesize))
			break;
		tcp_unlink_write_queue(skb, from);
		sk_wmem_queued_add(from, -skb->truesize);
		sk_mem_uncharge(from, skb->truesize);

		/* As the frame would have come in. */
		seq = TCP_SKB_CB(skb)->seq;
		tcp_skb_tsorted_anchor_cleanup(skb);
		memset(TCP_SKB_CB(skb), 0, sizeof(*TCP_SKB_CB(skb)));
		TCP_SKB_CB(skb)->seq = seq;
		TCP_SKB_CB(skb)->end_seq = seq + skb->len;
		TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK | TCPHDR_PSH;
		skb_shinfo(skb)->gso_size = 0;
		skb_shinfo(skb)->gso_segs = 0;
		skb_shinfo(skb)->gso_type = 0;
		skb->tstamp = 0;
		skb->ip_summed = CHECKSUM_UNNECESSARY;
		__skb_queue_tail(&to->sk_receive_queue, skb);
		skb_set_owner_r(skb, to);
		done += skb->len;
	}
	if (done && !tcp_send_head(from)) {
		toe_tcp_chrono_stop(from, TCP_CHRONO_BUSY);
		if (inet_csk(from)->icsk_pending == ICSK_TIME_PROBE0)
			inet_csk_clear_xmit_timer(from, ICSK_TIME_PROBE0);
	}
	return done;
}

u32 toe_short_space_from_win(const struct sock *sk, u32 window)
{
	return tcp_space_from_win(sk, min_t(u32, window, INT_MAX));
}
