// SPDX-License-Identifier: GPL-2.0

#include <linux/skbuff_ref.h>
#include <linux/uaccess.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/proto_memory.h>

#include "tcp.h"

size_t toe_msg_left(const struct msghdr *msg)
{
	return msg_data_left(msg);
}

/* Is the MSS that of the route's MTU? If not, tcp_sync_mss() is due. */
bool toe_tcp_mtu_current(struct sock *sk)
{
	struct dst_entry *dst = __sk_dst_get(sk);

	return dst && dst_mtu(dst) == inet_csk(sk)->icsk_pmtu_cookie;
}

/*
 * Makes the MSS that of the route's MTU, as tcp_current_mss() does. Not of a route that is
 * dead: its device is the one that swallows all, with an MTU of 68.
 */
void toe_tcp_follow_mtu(struct sock *sk)
{
	struct dst_entry *dst;

	if (likely(toe_tcp_mtu_current(sk)))
		return;
	dst = toe_sk_valid_dst(sk);
	if (dst)
		inet_csk(sk)->icsk_sync_mss(sk, dst_mtu(dst));
}

long toe_tcp_sndtimeo(struct sock *sk, bool nonblock)
{
	return sock_sndtimeo(sk, nonblock);
}

/* The application has more to write than there is room for. */
void toe_tcp_no_space(struct sock *sk)
{
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
}

/* Sleeps without the socket lock. */
int toe_tcp_wait_memory(struct sock *sk, long *timeo)
{
	return sk_stream_wait_memory(sk, timeo);
}

/* tcp_mark_push() on the tail of the send queue */
void toe_tcp_mark_push(struct sock *sk)
{
	struct sk_buff *skb = tcp_write_queue_tail(sk);

	if (skb) {
		TCP_SKB_CB(skb)->tcp_flags |= TCPHDR_PSH;
		tcp_sk(sk)->pushed_seq = tcp_sk(sk)->write_seq;
	}
}

/* tcp_remove_empty_skb(): an empty buffer must not stay in the queue. */
static void toe_tcp_remove_empty(struct sock *sk)
{
	struct sk_buff *skb = tcp_write_queue_tail(sk);

	if (likely(!skb || TCP_SKB_CB(skb)->seq != TCP_SKB_CB(skb)->end_seq))
		return;
	tcp_unlink_write_queue(skb, sk);
	if (tcp_write_queue_empty(sk))
		toe_tcp_chrono_stop(sk, TCP_CHRONO_BUSY);
	tcp_wmem_free_skb(sk, skb);
}

/* skb_copy_to_page_nocache(), without the layers of an iterator for memory in one piece */
static int toe_copy_to_page(struct sock *sk, struct iov_iter *from, struct sk_buff *skb,
			    struct page *page, u32 offset, u32 len)
{
	if (unlikely(!iter_is_ubuf(from) || skb->ip_summed == CHECKSUM_NONE ||
		     sk->sk_route_caps & NETIF_F_NOCACHE_COPY))
		return skb_copy_to_page_nocache(sk, from, skb, page, offset, len);
	if (copy_from_user(page_address(page) + offset, from->ubuf + from->iov_offset, len))
		return -EFAULT;
	from->iov_offset += len;
	from->count -= len;
	skb_len_add(skb, len);
	sk_wmem_queued_add(sk, len);
	sk_mem_charge(sk, len);
	return 0;
}

/*
 * The inner loop of tcp_sendmsg_locked(): copies from @msg to the tail of the
 * send queue until the tail has @goal bytes. Returns the bytes copied, -EAGAIN
 * if the send buffer is full, or another error. Unless the caller may @fault, which
 * may take as long as the memory's owner likes, -EFAULT may be no error.
 */
int toe_tcp_append(struct sock *sk, struct msghdr *msg, u32 goal, bool fault)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb = tcp_write_queue_tail(sk);
	struct page_frag *pfrag = sk_page_frag(sk);
	int copied = 0;
	int err = 0;

	if (!skb || skb->len >= goal || !tcp_skb_can_collapse_to(skb) ||
	    skb_zcopy(skb) || !skb_frags_readable(skb) ||
	    skb->len != skb->data_len) {
new_buffer:
		if (!sk_stream_memory_free(sk))
			return copied ?: -EAGAIN;
		skb = toe_segment_alloc(sk->sk_allocation);
		if (unlikely(!skb))
			return copied ?: -ENOBUFS;
		skb->truesize = SKB_TRUESIZE(skb_end_offset(skb));
		if (unlikely(!sk_wmem_schedule(sk, skb->truesize))) {
			__kfree_skb(skb);
			return copied ?: -ENOBUFS;
		}
		skb_reserve(skb, MAX_TCP_HEADER);
		skb->ip_summed = CHECKSUM_PARTIAL;
		INIT_LIST_HEAD(&skb->tcp_tsorted_anchor);
		TCP_SKB_CB(skb)->seq = TCP_SKB_CB(skb)->end_seq = tp->write_seq;
		TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK;
		__skb_header_release(skb);
		tcp_add_write_queue_tail(sk, skb);
		sk_wmem_queued_add(sk, skb->truesize);
		sk_mem_charge(sk, skb->truesize);
		if (tp->nonagle & TCP_NAGLE_PUSH)
			tp->nonagle &= ~TCP_NAGLE_PUSH;
		toe_tcp_slow_start_after_idle(sk);
	}
	while (msg_data_left(msg) && skb->len < goal) {
		int i = skb_shinfo(skb)->nr_frags;
		int copy = min_t(size_t, goal - skb->len, msg_data_left(msg));
		bool merge = true;

		if (!sk_page_frag_refill(sk, pfrag)) {
			err = -ENOBUFS;
			break;
		}
		if (!skb_can_coalesce(skb, i, pfrag->page, pfrag->offset)) {
			if (i >= READ_ONCE(net_hotdata.sysctl_max_skb_frags)) {
				toe_tcp_mark_push(sk);
				goto new_buffer;
			}
			merge = false;
		}
		copy = min_t(int, copy, pfrag->size - pfrag->offset);
		if (!sk_wmem_schedule(sk, copy)) {
			err = -ENOBUFS;
			break;
		}
		if (!fault)
			pagefault_disable();
		err = toe_copy_to_page(sk, &msg->msg_iter, skb, pfrag->page, pfrag->offset, copy);
		if (!fault)
			pagefault_enable();
		if (err)
			break;
		if (merge) {
			skb_frag_size_add(&skb_shinfo(skb)->frags[i - 1], copy);
		} else {
			skb_fill_page_desc(skb, i, pfrag->page, pfrag->offset, copy);
			page_ref_inc(pfrag->page);
		}
		pfrag->offset += copy;
		if (!copied)
			TCP_SKB_CB(skb)->tcp_flags &= ~TCPHDR_PSH;
		WRITE_ONCE(tp->write_seq, tp->write_seq + copy);
		TCP_SKB_CB(skb)->end_seq += copy;
		tcp_skb_pcount_set(skb, 0);
		copied += copy;
	}
	toe_tcp_remove_empty(sk);
	return copied ?: err;
}

/* tso_fragment(): leave @len bytes in the send head, put the rest behind it. */
int toe_tcp_split(struct sock *sk, struct sk_buff *skb, u32 len, u32 mss)
{
	int nlen = skb->len - len;
	struct sk_buff *buff;
	u16 flags;

	/* skb_split() takes care of zero copy buffers. */
	if (skb->len != skb->data_len)
		return -EOPNOTSUPP;
	buff = toe_segment_alloc(GFP_ATOMIC | __GFP_NOWARN);
	if (unlikely(!buff))
		return -ENOMEM;
	buff->truesize = SKB_TRUESIZE(skb_end_offset(buff));
	if (!sk_wmem_schedule(sk, buff->truesize)) {
		__kfree_skb(buff);
		return -ENOMEM;
	}
	skb_reserve(buff, MAX_TCP_HEADER);
	buff->ip_summed = CHECKSUM_PARTIAL;
	INIT_LIST_HEAD(&buff->tcp_tsorted_anchor);
	skb_copy_decrypted(buff, skb);

	sk_wmem_queued_add(sk, buff->truesize);
	sk_mem_charge(sk, buff->truesize);
	buff->truesize += nlen;
	skb->truesize -= nlen;

	TCP_SKB_CB(buff)->seq = TCP_SKB_CB(skb)->seq + len;
	TCP_SKB_CB(buff)->end_seq = TCP_SKB_CB(skb)->end_seq;
	TCP_SKB_CB(skb)->end_seq = TCP_SKB_CB(buff)->seq;

	/* PSH and FIN only in the second one. */
	flags = TCP_SKB_CB(skb)->tcp_flags;
	TCP_SKB_CB(skb)->tcp_flags = flags & ~(TCPHDR_FIN | TCPHDR_PSH);
	TCP_SKB_CB(buff)->tcp_flags = flags;
	TCP_SKB_CB(buff)->eor = TCP_SKB_CB(skb)->eor;
	TCP_SKB_CB(skb)->eor = 0;

	skb_split(skb, buff, len);
	toe_tcp_set_segs(skb, mss);
	toe_tcp_set_segs(buff, mss);
	__skb_header_release(buff);
	__skb_queue_after(&sk->sk_write_queue, skb, buff);
	return 0;
}

/* What __tcp_transmit_skb() and __ip_queue_xmit() give a frame of the socket's. */
void toe_skb_of_sock(struct sk_buff *skb, struct sock *sk)
{
	skb_set_hash_from_sk(skb, sk);
	skb->mark = READ_ONCE(sk->sk_mark);
	skb->priority = READ_ONCE(sk->sk_priority);
}

/* The copy that goes on the wire; the original stays for retransmission. */
struct sk_buff *toe_tcp_xmit_clone(struct sock *sk, struct sk_buff *skb)
{
	struct sk_buff *clone;

	tcp_skb_tsorted_save(skb) {
		if (unlikely(skb_cloned(skb)))
			clone = pskb_copy(skb, GFP_ATOMIC | __GFP_NOWARN);
		else
			clone = skb_clone(skb, GFP_ATOMIC | __GFP_NOWARN);
	} tcp_skb_tsorted_restore(skb);
	if (clone) {
		/* aliased with rbnode */
		clone->dev = NULL;
		clone->pfmemalloc = 0;
		toe_skb_of_sock(clone, sk);
	}
	return clone;
}

/*
 * A frame with the payload of @skb in its linear part, if it is in one piece: to clone a
 * buffer and to free a part of what is shared costs more than to copy a few words. The
 * receiver is charged as for a clone.
 */
static struct sk_buff *toe_tcp_xmit_copy(const struct sk_buff *skb)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);
	struct sk_buff *copy;
	const void *from;

	if (shinfo->nr_frags != 1 || skb->len != skb->data_len || shinfo->flags ||
	    !skb_frags_readable(skb))
		return NULL;
	from = skb_frag_address_safe(&shinfo->frags[0]);
	copy = from ? toe_copy_alloc(skb->len) : NULL;
	if (likely(copy)) {
		memcpy(copy->data, from, skb->len);
		copy->truesize = skb->truesize;
		copy->pfmemalloc = 0;
	}
	return copy;
}

/* The same, if it need not be a clone. Bottom halves are disabled. */
struct sk_buff *toe_tcp_xmit_frame(struct sock *sk, struct sk_buff *skb)
{
	struct sk_buff *copy;

	/* In a conversation, where they are used up one by one. */
	if (skb->len > TOE_COPY_MAX || tcp_sk(sk)->packets_out)
		return toe_tcp_xmit_clone(sk, skb);
	copy = toe_tcp_xmit_copy(skb);
	if (unlikely(!copy))
		return toe_tcp_xmit_clone(sk, skb);
	toe_skb_of_sock(copy, sk);
	return copy;
}

/*
 * What the IP layer counts of a frame that is sent, @len bytes from its IP
 * header on.
 */
void toe_ip_count_out(struct sock *sk, u32 len)
{
	struct net *net = sock_net(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (inet_csk(sk)->icsk_af_ops->net_header_len == sizeof(struct ipv6hdr)) {
		struct dst_entry *dst = __sk_dst_get(sk);
		struct inet6_dev *idev = dst ? ip6_dst_idev(dst) : NULL;

		IP6_INC_STATS(net, idev, IPSTATS_MIB_OUTREQUESTS);
		IP6_UPD_PO_STATS(net, idev, IPSTATS_MIB_OUT, len);
		return;
	}
#endif
	IP_INC_STATS(net, IPSTATS_MIB_OUTREQUESTS);
	IP_UPD_PO_STATS(net, IPSTATS_MIB_OUT, len);
}

/* What tcp_transmit_skb() counts of a pure ACK, too. */
void toe_tcp_count_ack_out(struct sock *sk, u32 len)
{
	tcp_sk(sk)->segs_out++;
	TCP_INC_STATS(sock_net(sk), TCP_MIB_OUTSEGS);
	toe_ip_count_out(sk, len);
}

/* Bottom halves are disabled. */
struct sk_buff *toe_header_skb(struct sock *sk)
{
	struct sk_buff *skb = toe_header_alloc();

	if (likely(skb)) {
		skb_reserve(skb, MAX_TCP_HEADER);
		skb->ip_summed = CHECKSUM_PARTIAL;
		toe_skb_of_sock(skb, sk);
	}
	return skb;
}

/* tcp_should_expand_sndbuf() */
static bool toe_tcp_may_expand(struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (sk->sk_userlocks & SOCK_SNDBUF_LOCK)
		return false;
	if (tcp_under_memory_pressure(sk)) {
		int unused_mem = sk_unused_reserved_mem(sk);

		if (unused_mem > SOCK_MIN_SNDBUF)
			WRITE_ONCE(sk->sk_sndbuf, unused_mem);
		return false;
	}
	return sk_memory_allocated(sk) < sk_prot_mem_limits(sk, 0) &&
	       tcp_packets_in_flight(tp) < tcp_snd_cwnd(tp);
}

/* __tcp_check_space() and tcp_sndbuf_expand() */
static noinline void toe_tcp_new_space(struct sock *sk)
{
	const struct tcp_congestion_ops *ca_ops = inet_csk(sk)->icsk_ca_ops;
	struct tcp_sock *tp = tcp_sk(sk);
	int per_mss, sndmem;

	if (toe_tcp_may_expand(sk)) {
		per_mss = roundup_pow_of_two(max_t(u32, tp->rx_opt.mss_clamp,
						   tp->mss_cache) + MAX_TCP_HEADER +
			  SKB_DATA_ALIGN(sizeof(struct skb_shared_info))) +
			  SKB_DATA_ALIGN(sizeof(struct sk_buff));
		sndmem = ca_ops->sndbuf_expand ? ca_ops->sndbuf_expand(sk) : 2;
		sndmem *= per_mss *
			  max3((u32)TCP_INIT_CWND, tcp_snd_cwnd(tp), tp->reordering + 1);
		if (sk->sk_sndbuf < sndmem)
			WRITE_ONCE(sk->sk_sndbuf,
				   min(sndmem, READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_wmem[2])));
		tp->snd_cwnd_stamp = tcp_jiffies32;
	}
	READ_ONCE(sk->sk_write_space)(sk);
	if (!test_bit(SOCK_NOSPACE, &sk->sk_socket->flags))
		toe_tcp_chrono_stop(sk, TCP_CHRONO_SNDBUF_LIMITED);
}

/* tcp_check_space() */
void toe_tcp_check_space(struct sock *sk)
{
	/* pairs with tcp_poll() */
	smp_mb();
	if (sk->sk_socket && test_bit(SOCK_NOSPACE, &sk->sk_socket->flags))
		toe_tcp_new_space(sk);
}

/* Does somebody wait until the send buffer has room? */
bool toe_tcp_waits_for_space(const struct sock *sk)
{
	return sk->sk_socket && test_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
}

/*
 * __tcp_transmit_skb(), less what is the frame's, and tcp_event_new_data_sent(): from
 * the write queue to the retransmit queue.
 */
void toe_tcp_sent(struct sock *sk, struct sk_buff *skb, u32 mss)
{
	struct rb_node **p = &sk->tcp_rtx_queue.rb_node, *parent = NULL;
	struct tcp_skb_cb *cb = TCP_SKB_CB(skb);
	struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);
	u32 segs;

	toe_tcp_set_segs(skb, mss);
	segs = tcp_skb_pcount(skb);
	tp->tcp_wstamp_ns = max(tp->tcp_wstamp_ns, tp->tcp_clock_cache);
	skb_set_delivery_time(skb, tp->tcp_wstamp_ns, SKB_CLOCK_MONOTONIC);
	list_move_tail(&skb->tcp_tsorted_anchor, &tp->tsorted_sent_queue);

	/* tcp_event_data_sent() */
	if (!tp->packets_out)
		tcp_ca_event(sk, CA_EVENT_TX_START);
	tp->lsndtime = tcp_jiffies32;
	/* A reply within the ACK timeout is interactive. */
	if ((u32)(tp->lsndtime - inet_csk(sk)->icsk_ack.lrcvtime) <
	    inet_csk(sk)->icsk_ack.ato)
		inet_csk_inc_pingpong_cnt(sk);

	/* tcp_rate_skb_sent() */
	if (!tp->packets_out) {
		tp->first_tx_mstamp = tcp_skb_timestamp_us(skb);
		tp->delivered_mstamp = tp->first_tx_mstamp;
	}
	cb->tx.first_tx_mstamp = tp->first_tx_mstamp;
	cb->tx.delivered_mstamp = tp->delivered_mstamp;
	cb->tx.delivered = tp->delivered;
	cb->tx.delivered_ce = tp->delivered_ce;
	cb->tx.is_app_limited = !!tp->app_limited;

	tp->segs_out += segs;
	WRITE_ONCE(tp->data_segs_out, tp->data_segs_out + segs);
	WRITE_ONCE(tp->bytes_sent, tp->bytes_sent + skb->len);
	toe_ip_count_out(sk, skb->len + tp->tcp_header_len +
			     inet_csk(sk)->icsk_af_ops->net_header_len);
	TCP_ADD_STATS(net, TCP_MIB_OUTSEGS, segs);

	WRITE_ONCE(tp->snd_nxt, cb->end_seq);
	__skb_unlink(skb, &sk->sk_write_queue);
	/* tcp_rbtree_insert(): new data has the highest sequence number. */
	while (*p) {
		parent = *p;
		p = &parent->rb_right;
	}
	rb_link_node(&skb->rbnode, parent, p);
	rb_insert_color(&skb->rbnode, &sk->tcp_rtx_queue);
	if (!tp->highest_sack)
		tp->highest_sack = skb;
	tp->packets_out += segs;
	NET_ADD_STATS(net, LINUX_MIB_TCPORIGDATASENT, segs);
	/* tcp_minshall_update() */
	if (skb->len < segs * mss)
		tp->snd_sml = cb->end_seq;
	toe_tcp_check_space(sk);
}

/*
 * The reverse of toe_tcp_sent(): what is from @snd_nxt on was not sent after all, and is
 * the head of the write queue again. No buffer is across that. How many bytes are unsent
 * again.
 *
 * Nothing of the host stack is below us. What it is sending has a clone, which has the same
 * fragments, but lengths of its own; and what is in its write queue the host splits and
 * appends to (tso_fragment(), tcp_sendmsg()) without looking for clones, as there nothing
 * has one. Then the clone's length is no longer that of its fragments, and skb_segment()
 * runs past them. Hence the check: what has a clone all the same stays where it is, as if
 * it had been sent and lost, and what is before it; and so does all of it if the send head
 * has one.
 */
u32 toe_tcp_unsend(struct sock *sk, u32 snd_nxt)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb;
	u32 bytes = 0;

	skb = tcp_send_head(sk);
	if (skb && skb_cloned(skb))
		return 0;
	while ((skb = skb_rb_last(&sk->tcp_rtx_queue)) &&
	       !before(TCP_SKB_CB(skb)->seq, snd_nxt) &&
	       !skb_cloned(skb) && !TCP_SKB_CB(skb)->sacked) {
		u32 segs = tcp_skb_pcount(skb);

		if (skb == tp->retransmit_skb_hint)
			tp->retransmit_skb_hint = NULL;
		tcp_highest_sack_replace(sk, skb, NULL);
		list_del(&skb->tcp_tsorted_anchor);
		tcp_rtx_queue_unlink(skb, sk);
		INIT_LIST_HEAD(&skb->tcp_tsorted_anchor);
		__skb_queue_head(&sk->sk_write_queue, skb);

		bytes += skb->len;
		tp->packets_out -= segs;
		tp->segs_out -= segs;
		WRITE_ONCE(tp->data_segs_out, tp->data_segs_out - segs);
		WRITE_ONCE(tp->bytes_sent, tp->bytes_sent - skb->len);
		WRITE_ONCE(tp->snd_nxt, TCP_SKB_CB(skb)->seq);
	}
	return bytes;
}

/* tcp_init_cwnd() */
static u32 toe_tcp_init_cwnd(const struct sock *sk)
{
	const struct dst_entry *dst = __sk_dst_get(sk);
	u32 cwnd = dst ? dst_metric(dst, RTAX_INITCWND) : 0;

	return min(cwnd ?: TCP_INIT_CWND, tcp_sk(sk)->snd_cwnd_clamp);
}

/* tcp_cwnd_application_limited() */
static noinline void toe_tcp_application_limited(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	/* A delegated connection is in TCP_CA_Open. */
	if (sk->sk_socket && !test_bit(SOCK_NOSPACE, &sk->sk_socket->flags)) {
		u32 init_win = toe_tcp_init_cwnd(sk);
		u32 win_used = max(tp->snd_cwnd_used, init_win);

		if (win_used < tcp_snd_cwnd(tp)) {
			WRITE_ONCE(tp->snd_ssthresh, tcp_current_ssthresh(sk));
			tcp_snd_cwnd_set(tp, (tcp_snd_cwnd(tp) + win_used) >> 1);
		}
		tp->snd_cwnd_used = 0;
	}
	tp->snd_cwnd_stamp = tcp_jiffies32;
}

/* tcp_cwnd_validate() */
static void toe_tcp_cwnd_validate(struct sock *sk, bool is_cwnd_limited)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (!before(tp->snd_una, tp->cwnd_usage_seq) || is_cwnd_limited ||
	    (!tp->is_cwnd_limited && tp->packets_out > tp->max_packets_out)) {
		tp->is_cwnd_limited = is_cwnd_limited;
		tp->max_packets_out = tp->packets_out;
		tp->cwnd_usage_seq = tp->snd_nxt;
	}
	if (tcp_is_cwnd_limited(sk)) {
		tp->snd_cwnd_used = 0;
		tp->snd_cwnd_stamp = tcp_jiffies32;
		return;
	}
	if (tp->packets_out > tp->snd_cwnd_used)
		tp->snd_cwnd_used = tp->packets_out;
	/* A congestion control with cong_control is none that the target drives. */
	if (READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_slow_start_after_idle) &&
	    (s32)(tcp_jiffies32 - tp->snd_cwnd_stamp) >= inet_csk(sk)->icsk_rto)
		toe_tcp_application_limited(sk);
	/* The application would have more, and has no room for it. */
	if (tcp_write_queue_empty(sk) && sk->sk_socket &&
	    test_bit(SOCK_NOSPACE, &sk->sk_socket->flags))
		tcp_chrono_start(sk, TCP_CHRONO_SNDBUF_LIMITED);
}

/*
 * The end of tcp_write_xmit(): @pkts segments were sent, and these windows kept more
 * from being sent. @fresh: nothing was in flight before.
 */
void toe_tcp_xmit_end(struct sock *sk, u32 pkts, bool is_cwnd_limited,
		      bool is_rwnd_limited, bool fresh)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (is_rwnd_limited)
		tcp_chrono_start(sk, TCP_CHRONO_RWND_LIMITED);
	else if (tp->chrono_type == TCP_CHRONO_RWND_LIMITED)
		toe_tcp_chrono_stop(sk, TCP_CHRONO_RWND_LIMITED);

	is_cwnd_limited |= tcp_packets_in_flight(tp) >= tcp_snd_cwnd(tp);
	if (pkts || is_cwnd_limited)
		toe_tcp_cwnd_validate(sk, is_cwnd_limited);
	/*
	 * tcp_event_new_data_sent() starts the retransmission timer, and the loss probe
	 * then takes its place. Of what was sent just now the whole timeout is left.
	 */
	if (pkts && !toe_tcp_schedule_loss_probe(sk, fresh) &&
	    (fresh || inet_csk(sk)->icsk_pending == ICSK_TIME_LOSS_PROBE))
		toe_tcp_rearm_rto(sk);
}

/* tcp_schedule_loss_probe(), in TCP_CA_Open */
bool toe_tcp_schedule_loss_probe(struct sock *sk, bool advancing_rto)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);
	s64 us, rto_delta_us;
	int early;

	early = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_early_retrans);
	if ((early != 3 && early != 4) || !tcp_is_sack(tp))
		return false;
	if (tp->srtt_us)
		us = (tp->srtt_us >> 2) + (tp->packets_out == 1 ?
		     tcp_rto_min_us(sk) : TCP_TIMEOUT_MIN_US);
	else
		us = jiffies_to_usecs(TCP_TIMEOUT_INIT);
	rto_delta_us = advancing_rto ? jiffies_to_usecs(icsk->icsk_rto) :
				       tcp_rto_delta_us(sk);
	if (rto_delta_us > 0)
		us = min(us, rto_delta_us);
	toe_tcp_reset_xmit_timer(sk, ICSK_TIME_LOSS_PROBE, usecs_to_jiffies(us));
	return true;
}

/* tcp_rearm_rto(), with something in flight */
void toe_tcp_rearm_rto(struct sock *sk)
{
	u32 rto = inet_csk(sk)->icsk_rto;

	if (inet_csk(sk)->icsk_pending == ICSK_TIME_REO_TIMEOUT ||
	    inet_csk(sk)->icsk_pending == ICSK_TIME_LOSS_PROBE) {
		s64 delta_us = tcp_rto_delta_us(sk);

		rto = usecs_to_jiffies(max_t(int, delta_us, 1));
	}
	toe_tcp_reset_xmit_timer(sk, ICSK_TIME_RETRANS, rto);
}

/* tcp_cwnd_restart() */
static noinline void toe_tcp_cwnd_restart(struct sock *sk, s32 delta)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 restart_cwnd = toe_tcp_init_cwnd(sk);
	u32 cwnd = tcp_snd_cwnd(tp);

	tcp_ca_event(sk, CA_EVENT_CWND_RESTART);
	WRITE_ONCE(tp->snd_ssthresh, tcp_current_ssthresh(sk));
	restart_cwnd = min(restart_cwnd, cwnd);
	while ((delta -= inet_csk(sk)->icsk_rto) > 0 && cwnd > restart_cwnd)
		cwnd >>= 1;
	tcp_snd_cwnd_set(tp, max(cwnd, restart_cwnd));
	tp->snd_cwnd_stamp = tcp_jiffies32;
	tp->snd_cwnd_used = 0;
}

/* tcp_slow_start_after_idle_check() (RFC 2861) */
void toe_tcp_slow_start_after_idle(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	s32 delta;

	if (tp->packets_out ||
	    !READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_slow_start_after_idle))
		return;
	delta = tcp_jiffies32 - tp->lsndtime;
	if (delta > inet_csk(sk)->icsk_rto)
		toe_tcp_cwnd_restart(sk, delta);
}

/*
 * Would tcp_mtu_probe() send a probe, or wait until it can, or is one under way? That
 * is the host's: it fills a segment from several buffers and watches what becomes of it.
 */
bool toe_tcp_mtu_probing(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);
	int low, high, interval, probe_size;
	u64 needed;

	if (!icsk->icsk_mtup.enabled)
		return false;
	if (icsk->icsk_mtup.probe_size)
		return true;
	if (tcp_snd_cwnd(tp) < 11)
		return false;
	low = icsk->icsk_mtup.search_low;
	high = icsk->icsk_mtup.search_high;
	/* tcp_mtu_to_mss() and its reverse, without options that change. */
	probe_size = ((high + low) >> 1) - icsk->icsk_af_ops->net_header_len -
		     sizeof(struct tcphdr) - icsk->icsk_ext_hdr_len -
		     (tp->tcp_header_len - sizeof(struct tcphdr));
	interval = high - low;
	/* tcp_mtu_check_reprobe() */
	if (interval < max(READ_ONCE(net->ipv4.sysctl_tcp_probe_threshold), 1))
		return (s32)(tcp_jiffies32 - icsk->icsk_mtup.probe_timestamp) >=
		       (s32)(READ_ONCE(net->ipv4.sysctl_tcp_probe_interval) * HZ) &&
		       !tcp_write_queue_empty(sk);
	needed = probe_size + ((u64)tp->reordering + 1) * tp->mss_cache;
	return tp->write_seq - tp->snd_nxt >= needed && tp->snd_wnd >= needed;
}

/* When tcp_tso_should_defer() expects the next ACK. False: nothing is in flight. */
bool toe_tcp_ack_in(struct sock *sk, s64 *ns)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	const struct sk_buff *head = tcp_rtx_queue_head(sk);

	if (!head)
		return false;
	*ns = head->tstamp + (u64)(NSEC_PER_USEC >> 3) * tp->srtt_us -
	      tp->tcp_clock_cache;
	return true;
}

/* Something is written. Is there nothing that the host has to do before? */
bool toe_tcp_may_write(struct sock *sk)
{
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	return !sk->sk_err && toe_tcp_mtu_current(sk);
}

/*
 * tcp_grow_skb(): moves up to @len bytes from the buffer behind the send head to its
 * end, so that the frame has whole segments. Only pages are moved. True: some were.
 */
bool toe_tcp_grow(struct sock *sk, struct sk_buff *skb, u32 len)
{
	struct skb_shared_info *to = skb_shinfo(skb), *from;
	struct sk_buff *next = skb->next;
	u32 moved = 0;
	int i;

	if (tcp_skb_is_last(sk, skb) || !tcp_skb_can_collapse(skb, next))
		return false;
	if (skb->len != skb->data_len || next->len != next->data_len ||
	    skb_zcopy(skb) || skb_zcopy(next) || skb_cloned(skb) || skb_cloned(next))
		return false;
	from = skb_shinfo(next);
	len = min(len, next->len);
	for (i = 0; i < from->nr_frags && moved < len; i++) {
		skb_frag_t *frag = &from->frags[i], *last;
		u32 size = min(len - moved, skb_frag_size(frag));
		bool merge;

		last = to->nr_frags ? &to->frags[to->nr_frags - 1] : NULL;
		merge = last && skb_frag_page(last) == skb_frag_page(frag) &&
			skb_frag_off(last) + skb_frag_size(last) == skb_frag_off(frag);
		if (!merge && to->nr_frags >= MAX_SKB_FRAGS)
			break;
		if (merge) {
			skb_frag_size_add(last, size);
		} else {
			__skb_frag_ref(frag);
			last = &to->frags[to->nr_frags++];
			*last = *frag;
			skb_frag_size_set(last, size);
		}
		moved += size;
		if (size < skb_frag_size(frag)) {
			skb_frag_off_add(frag, size);
			skb_frag_size_sub(frag, size);
			break;
		}
		__skb_frag_unref(frag, false);
	}
	if (!moved)
		return false;
	memmove(from->frags, from->frags + i, (from->nr_frags - i) * sizeof(from->frags[0]));
	from->nr_frags -= i;
	skb->len += moved;
	skb->data_len += moved;
	skb->truesize += moved;
	next->len -= moved;
	next->data_len -= moved;
	next->truesize -= moved;
	TCP_SKB_CB(skb)->end_seq += moved;
	TCP_SKB_CB(next)->seq += moved;
	if (!next->len) {
		/* tcp_eat_one_skb() */
		TCP_SKB_CB(skb)->tcp_flags |= TCP_SKB_CB(next)->tcp_flags;
		TCP_SKB_CB(skb)->eor = TCP_SKB_CB(next)->eor;
		tcp_unlink_write_queue(next, sk);
		tcp_wmem_free_skb(sk, next);
	}
	return true;
}

/* Unsent data and nothing in flight: a timer must look again. */
void toe_tcp_check_probe_timer(struct sock *sk)
{
	tcp_check_probe_timer(sk);
}
