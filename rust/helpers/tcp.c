// SPDX-License-Identifier: GPL-2.0

#include <linux/skbuff_ref.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_fib.h>
#include <net/proto_memory.h>

#include "sock.h"

/* --- receive ----------------------------------------------------------- */

/* May the header in front of the payload be written, though it is a clone? */
bool toe_skb_header_owned(const struct sk_buff *skb)
{
	return !skb_header_cloned(skb);
}

/* tcp_v4_fill_cb() / tcp_v6_fill_cb() */
void toe_tcp_fill_cb(struct sk_buff *skb, u32 seq, u32 end_seq, u32 ack,
		     u16 flags, u8 dsfield, bool v6)
{
	struct tcp_skb_cb *cb = TCP_SKB_CB(skb);

	memset(cb, 0, sizeof(*cb));
	if (v6)
		cb->header.h6.iif = skb->skb_iif;
	else
		cb->header.h4.iif = skb->skb_iif;
	cb->seq = seq;
	cb->end_seq = end_seq;
	cb->ack_seq = ack;
	cb->tcp_flags = flags;
	cb->ip_dsfield = dsfield;
	cb->has_rxtstamp = skb->tstamp || skb_hwtstamps(skb)->hwtstamp;
	skb->dev = NULL;
}

u32 toe_tcp_rto_min_us(const struct sock *sk)
{
	return tcp_rto_min_us(sk);
}

u64 toe_ktime_secs(void)
{
	return ktime_get_seconds();
}

/* tcp_try_rmem_schedule() without its pruning: that is the host's work. */
bool toe_tcp_rmem_ok(struct sock *sk, struct sk_buff *skb)
{
	if ((int)skb->truesize <= sk->sk_forward_alloc)
		return true;
	return atomic_read(&sk->sk_rmem_alloc) <= READ_ONCE(sk->sk_rcvbuf) &&
	       sk_rmem_schedule(sk, skb, skb->truesize);
}

/* tcp_mstamp_refresh(), which is not exported */
void toe_tcp_mstamp_refresh(struct sock *sk)
{
	u64 val = tcp_clock_ns();

	tcp_sk(sk)->tcp_clock_cache = val;
	tcp_sk(sk)->tcp_mstamp = div_u64(val, NSEC_PER_USEC);
}

bool toe_tcp_quickack(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct dst_entry *dst = __sk_dst_get(sk);

	return (dst && dst_metric(dst, RTAX_QUICKACK)) ||
	       (icsk->icsk_ack.quick && !inet_csk_in_pingpong_mode(sk));
}

/* tcp_grow_window(), which is static: room for more when data is dense */
void toe_tcp_grow_window(struct sock *sk, const struct sk_buff *skb)
{
	struct tcp_sock *tp = tcp_sk(sk);
	int room = min_t(int, tp->window_clamp, tcp_space(sk)) - tp->rcv_ssthresh;
	u32 truesize = skb->truesize;
	int incr = 0;

	if (room <= 0 || tcp_under_memory_pressure(sk))
		return;
	if (!skb_headlen(skb)) {
		truesize -= SKB_TRUESIZE(skb_end_offset(skb));
		if ((int)truesize < (int)skb->len)
			truesize = skb->truesize;
	}
	if (tcp_win_from_space(sk, truesize) <= skb->len) {
		incr = 2 * tp->advmss;
	} else {
		int half = tcp_win_from_space(sk, truesize) >> 1;
		int window = tcp_win_from_space(sk,
				READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_rmem[2])) >> 1;

		for (; tp->rcv_ssthresh <= window; half >>= 1, window >>= 1)
			if (half <= skb->len) {
				incr = 2 * inet_csk(sk)->icsk_ack.rcv_mss;
				break;
			}
	}
	if (incr) {
		tp->rcv_ssthresh += min(room, max_t(int, incr, 2 * skb->len));
		inet_csk(sk)->icsk_ack.quick |= 1;
	}
}

/*
 * tcp_queue_rcv(): in-order payload to the tail of the receive queue. If the
 * queue's last buffer took it, @skb is left to kfree_skb_partial().
 */
bool toe_tcp_queue_rcv(struct sock *sk, struct sk_buff *skb, u32 hdr_len,
		       bool *stolen)
{
	struct sk_buff *tail = skb_peek_tail(&sk->sk_receive_queue);
	int delta;

	tcp_cleanup_skb(skb);
	__skb_pull(skb, hdr_len);
	NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPHITS);
	if (tail && TCP_SKB_CB(tail)->end_seq == TCP_SKB_CB(skb)->seq &&
	    tcp_skb_can_collapse_rx(tail, skb) &&
	    skb_try_coalesce(tail, skb, stolen, &delta)) {
		atomic_add(delta, &sk->sk_rmem_alloc);
		sk_mem_charge(sk, delta);
		__NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPRCVCOALESCE);
		TCP_SKB_CB(tail)->end_seq = TCP_SKB_CB(skb)->end_seq;
		TCP_SKB_CB(tail)->ack_seq = TCP_SKB_CB(skb)->ack_seq;
		TCP_SKB_CB(tail)->tcp_flags |= TCP_SKB_CB(skb)->tcp_flags;
		return true;
	}
	tcp_add_receive_queue(sk, skb);
	skb_set_owner_r(skb, sk);
	return false;
}

void toe_tcp_data_ready(struct sock *sk)
{
	if (tcp_epollin_ready(sk, sk->sk_rcvlowat) || sock_flag(sk, SOCK_DONE))
		READ_ONCE(sk->sk_data_ready)(sk);
}

/* tcp_check_space(): the send queue shrank. */
void toe_tcp_write_space(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	int per_mss, sndmem;

	/* pairs with tcp_poll() */
	smp_mb();
	if (!sk->sk_socket || !test_bit(SOCK_NOSPACE, &sk->sk_socket->flags))
		return;
	/* tcp_should_expand_sndbuf() and tcp_sndbuf_expand() */
	if (!(sk->sk_userlocks & SOCK_SNDBUF_LOCK) &&
	    !tcp_under_memory_pressure(sk) &&
	    sk_memory_allocated(sk) < sk_prot_mem_limits(sk, 0) &&
	    tcp_packets_in_flight(tp) < tcp_snd_cwnd(tp)) {
		per_mss = roundup_pow_of_two(max_t(u32, tp->rx_opt.mss_clamp,
						   tp->mss_cache) + MAX_TCP_HEADER +
			  SKB_DATA_ALIGN(sizeof(struct skb_shared_info))) +
			  SKB_DATA_ALIGN(sizeof(struct sk_buff));
		sndmem = 2 * per_mss *
			 max3((u32)TCP_INIT_CWND, tcp_snd_cwnd(tp), tp->reordering + 1);
		if (sk->sk_sndbuf < sndmem)
			WRITE_ONCE(sk->sk_sndbuf,
				   min(sndmem, READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_wmem[2])));
		tp->snd_cwnd_stamp = tcp_jiffies32;
	}
	READ_ONCE(sk->sk_write_space)(sk);
}

/* tcp_send_delayed_ack()'s tail: arm the host's own delayed-ACK timer. */
void toe_tcp_delack(struct sock *sk, unsigned long ato)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	unsigned long timeout = jiffies + ato;

	if (icsk->icsk_ack.pending & ICSK_ACK_TIMER &&
	    !time_before(timeout, icsk_delack_timeout(icsk)))
		return;
	smp_store_release(&icsk->icsk_ack.pending,
			  icsk->icsk_ack.pending | ICSK_ACK_SCHED | ICSK_ACK_TIMER);
	sk_reset_timer(sk, &icsk->icsk_delack_timer, timeout);
}

/* tcp_event_ack_sent(): a frame of ours carried the ACK. */
void toe_tcp_ack_sent(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);

	if (icsk->icsk_ack.quick) {
		u8 pkts = icsk->icsk_ack.pending & ICSK_ACK_SCHED ? 1 : 0;

		if (pkts >= icsk->icsk_ack.quick) {
			icsk->icsk_ack.quick = 0;
			/* Leaving quickack mode we deflate ATO. */
			icsk->icsk_ack.ato = TCP_ATO_MIN;
		} else {
			icsk->icsk_ack.quick -= pkts;
		}
	}
	inet_csk_clear_xmit_timer(sk, ICSK_TIME_DACK);
}

/* --- acknowledgement ---------------------------------------------------- */

/* tcp_set_skb_tso_segs() */
static void toe_tcp_set_segs(struct sk_buff *skb, u32 mss)
{
	if (skb->len <= mss) {
		TCP_SKB_CB(skb)->tcp_gso_size = 0;
		tcp_skb_pcount_set(skb, 1);
	} else {
		TCP_SKB_CB(skb)->tcp_gso_size = mss;
		tcp_skb_pcount_set(skb, DIV_ROUND_UP(skb->len, mss));
	}
}

/*
 * tcp_tso_acked() and tcp_trim_head(): takes the acknowledged segments off the
 * head of the retransmission queue. The host's timers trim it, too, but only
 * tcp_ack() keeps packets_out in step.
 */
static noinline u32 toe_tcp_tso_acked(struct sock *sk, struct sk_buff *skb)
{
	u32 segs = tcp_skb_pcount(skb), truesize = skb->truesize;
	u32 len = tcp_sk(sk)->snd_una - TCP_SKB_CB(skb)->seq;
	struct skb_shared_info *shinfo;
	u32 eat = len;
	int i, k = 0;

	if (skb->len != skb->data_len)
		return 0;
	if (skb_cloned(skb)) {
		/* skb_unclone_keeptruesize(), which is not exported */
		unsigned int end = skb_end_offset(skb);

		if (pskb_expand_head(skb, 0, 0, GFP_ATOMIC | __GFP_NOWARN))
			return 0;
		skb->truesize = truesize;
		/* What a purely zero copy buffer is charged by. */
		if (skb_end_offset(skb) != end && skb_zcopy_pure(skb))
			return 0;
	}
	shinfo = skb_shinfo(skb);
	for (i = 0; i < shinfo->nr_frags; i++) {
		u32 size = skb_frag_size(&shinfo->frags[i]);

		if (size <= eat) {
			skb_frag_unref(skb, i);
			eat -= size;
			continue;
		}
		shinfo->frags[k] = shinfo->frags[i];
		skb_frag_off_add(&shinfo->frags[k], eat);
		skb_frag_size_sub(&shinfo->frags[k], eat);
		eat = 0;
		k++;
	}
	shinfo->nr_frags = k;
	skb->data_len -= len;
	skb->len = skb->data_len;
	TCP_SKB_CB(skb)->seq += len;
	skb->truesize -= len;
	sk_wmem_queued_add(sk, -(int)len);
	if (!skb_zcopy_pure(skb))
		sk_mem_uncharge(sk, len);
	toe_tcp_set_segs(skb, tcp_skb_mss(skb));
	return segs - tcp_skb_pcount(skb);
}

/*
 * tcp_clean_rtx_queue() for the clean case: nothing SACKed, lost or
 * retransmitted. tp->snd_una has been advanced.
 */
void toe_tcp_clean_rtx(struct sock *sk, struct toe_ack_sample *sample)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb, *next;

	for (skb = skb_rb_first(&sk->tcp_rtx_queue); skb; skb = next) {
		struct tcp_skb_cb *scb = TCP_SKB_CB(skb);
		bool whole = !after(scb->end_seq, tp->snd_una);
		u32 segs = tcp_skb_pcount(skb);

		if (unlikely(!whole)) {
			if (segs == 1 || !after(tp->snd_una, scb->seq))
				break;
			segs = toe_tcp_tso_acked(sk, skb);
			if (!segs)
				break;
		}
		sample->last_us = tcp_skb_timestamp_us(skb);
		if (!sample->first_us)
			sample->first_us = sample->last_us;
		if (scb->sacked & TCPCB_RETRANS)
			sample->retrans = true;
		sample->pkts += segs;
		if (unlikely(!whole))
			break;

		next = skb_rb_next(skb);
		if (unlikely(skb == tp->retransmit_skb_hint))
			tp->retransmit_skb_hint = NULL;
		tcp_highest_sack_replace(sk, skb, next);
		tcp_rtx_queue_unlink_and_free(skb, sk);
	}
	/* tcp_process_tlp_ack(): the probe was new data */
	if (tp->tlp_high_seq && !before(tp->snd_una, tp->tlp_high_seq))
		tp->tlp_high_seq = 0;
	tp->packets_out -= sample->pkts;
	tp->delivered += sample->pkts;
	NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPACKS);
	if (!skb && tp->chrono_type == TCP_CHRONO_BUSY &&
	    tcp_write_queue_empty(sk))
		tcp_chrono_set(tp, TCP_CHRONO_UNSPEC);
}

/*
 * tcp_set_xmit_timer(), called when the retransmission timer starts anew: the tail
 * loss probe if the host would use one, else the retransmission timer; both are
 * the host's timers with the host's handlers.
 */
static noinline void toe_tcp_arm(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);
	int timer = ICSK_TIME_RETRANS;
	u32 when = icsk->icsk_rto;

	if (tcp_is_sack(tp) && tp->srtt_us &&
	    READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_early_retrans) >= 3) {
		u32 us = (tp->srtt_us >> 2) + (tp->packets_out == 1 ?
			 tcp_rto_min_us(sk) : TCP_TIMEOUT_MIN_US);

		timer = ICSK_TIME_LOSS_PROBE;
		when = min_t(u32, when, usecs_to_jiffies(us));
	}
	tcp_reset_xmit_timer(sk, timer, when, false);
}

/* After something was sent with nothing in flight, or acknowledged. */
void toe_tcp_rearm(struct sock *sk)
{
	if (tcp_sk(sk)->packets_out)
		toe_tcp_arm(sk);
	else
		inet_csk_clear_xmit_timer(sk, ICSK_TIME_RETRANS);
}

/* The connection's own congestion control, as tcp_cong_control() calls it. */
void toe_tcp_cong_avoid(struct sock *sk, u32 ack, u32 acked, s32 rtt_us)
{
	const struct tcp_congestion_ops *ops = inet_csk(sk)->icsk_ca_ops;
	struct tcp_sock *tp = tcp_sk(sk);
	u64 rate;

	if (ops->pkts_acked) {
		struct ack_sample sample = {
			.pkts_acked = acked,
			.rtt_us = rtt_us,
			.in_flight = tp->mss_cache * (tp->packets_out + acked),
		};

		ops->pkts_acked(sk, &sample);
	}
	ops->cong_avoid(sk, ack, acked);
	tp->snd_cwnd_stamp = tcp_jiffies32;

	/* tcp_update_pacing_rate(): TCP_INFO and the host's TSO sizing read it */
	rate = (u64)tp->mss_cache * ((USEC_PER_SEC / 100) << 3);
	if (tcp_snd_cwnd(tp) < tp->snd_ssthresh / 2)
		rate *= READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_pacing_ss_ratio);
	else
		rate *= READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_pacing_ca_ratio);
	rate *= max(tcp_snd_cwnd(tp), tp->packets_out);
	if (likely(tp->srtt_us))
		do_div(rate, tp->srtt_us);
	WRITE_ONCE(sk->sk_pacing_rate,
		   min_t(u64, rate, READ_ONCE(sk->sk_max_pacing_rate)));
}

/* --- transmit ----------------------------------------------------------- */

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

long toe_tcp_sndtimeo(struct sock *sk, bool nonblock)
{
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	return sock_sndtimeo(sk, nonblock);
}

/* Sleeps without the socket lock. */
int toe_tcp_wait_memory(struct sock *sk, long *timeo)
{
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
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
	bool fresh = false;
	int copied = 0;
	int err = 0;

	if (!skb || skb->len >= goal || !tcp_skb_can_collapse_to(skb) ||
	    skb_zcopy(skb) || !skb_frags_readable(skb) ||
	    skb->len != skb->data_len) {
new_buffer:
		if (!sk_stream_memory_free(sk))
			return copied ?: -EAGAIN;
		skb = alloc_skb_fclone(MAX_TCP_HEADER, sk->sk_allocation);
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
		fresh = true;
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
				TCP_SKB_CB(skb)->tcp_flags |= TCPHDR_PSH;
				tp->pushed_seq = tp->write_seq;
				if (fresh)
					break;
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
		err = skb_copy_to_page_nocache(sk, &msg->msg_iter, skb,
					       pfrag->page, pfrag->offset, copy);
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
	/* An empty buffer must not stay in the queue. */
	if (fresh && !skb->len) {
		tcp_unlink_write_queue(skb, sk);
		if (tcp_write_queue_empty(sk) &&
		    tp->chrono_type == TCP_CHRONO_BUSY &&
		    tcp_rtx_queue_empty(sk))
			tcp_chrono_set(tp, TCP_CHRONO_UNSPEC);
		tcp_wmem_free_skb(sk, skb);
	}
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
	buff = alloc_skb_fclone(MAX_TCP_HEADER, GFP_ATOMIC | __GFP_NOWARN);
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

/* The copy that goes on the wire; the original stays for retransmission. */
struct sk_buff *toe_tcp_xmit_clone(struct sk_buff *skb)
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
	}
	return clone;
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

/* Bottom halves are disabled: the cache of skbs is that of NAPI. */
struct sk_buff *toe_header_skb(void)
{
	struct sk_buff *skb;

	skb = __alloc_skb(MAX_TCP_HEADER, GFP_ATOMIC | __GFP_NOWARN,
			  SKB_ALLOC_NAPI, NUMA_NO_NODE);
	if (likely(skb)) {
		skb_reserve(skb, MAX_TCP_HEADER);
		skb->ip_summed = CHECKSUM_PARTIAL;
	}
	return skb;
}

/*
 * tcp_event_new_data_sent(), and what tcp_transmit_skb() and ip_queue_xmit()
 * count: from the write queue to the retransmit queue, timer armed.
 */
void toe_tcp_sent(struct sock *sk, struct sk_buff *skb, u32 mss)
{
	struct rb_node **p = &sk->tcp_rtx_queue.rb_node, *parent = NULL;
	struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);
	bool first = !tp->packets_out;
	u32 segs;

	toe_tcp_set_segs(skb, mss);
	segs = tcp_skb_pcount(skb);
	WRITE_ONCE(tp->snd_nxt, TCP_SKB_CB(skb)->end_seq);
	tp->tcp_wstamp_ns = max(tp->tcp_wstamp_ns, tp->tcp_clock_cache);
	skb_set_delivery_time(skb, tp->tcp_wstamp_ns, SKB_CLOCK_MONOTONIC);
	list_move_tail(&skb->tcp_tsorted_anchor, &tp->tsorted_sent_queue);
	memset(&TCP_SKB_CB(skb)->tx, 0, sizeof(TCP_SKB_CB(skb)->tx));

	__skb_unlink(skb, &sk->sk_write_queue);
	/* new data has the highest sequence number */
	while (*p) {
		parent = *p;
		p = &parent->rb_right;
	}
	rb_link_node(&skb->rbnode, parent, p);
	rb_insert_color(&skb->rbnode, &sk->tcp_rtx_queue);
	if (!tp->highest_sack)
		tp->highest_sack = skb;
	tp->packets_out += segs;
	if (skb->len < segs * mss)
		tp->snd_sml = TCP_SKB_CB(skb)->end_seq;
	tp->lsndtime = tcp_jiffies32;

	/* tcp_event_data_sent(): a reply within the ACK timeout is interactive */
	if ((u32)(tp->lsndtime - inet_csk(sk)->icsk_ack.lrcvtime) <
	    inet_csk(sk)->icsk_ack.ato)
		inet_csk_inc_pingpong_cnt(sk);
	/* tcp_cwnd_validate() */
	if (!before(tp->snd_una, tp->cwnd_usage_seq) ||
	    tp->packets_out >= tcp_snd_cwnd(tp) ||
	    (!tp->is_cwnd_limited && tp->packets_out > tp->max_packets_out)) {
		tp->is_cwnd_limited = tp->packets_out >= tcp_snd_cwnd(tp);
		tp->max_packets_out = tp->packets_out;
		tp->cwnd_usage_seq = tp->snd_nxt;
	}
	if (tcp_is_cwnd_limited(sk)) {
		tp->snd_cwnd_used = 0;
		tp->snd_cwnd_stamp = tcp_jiffies32;
	} else if (tp->packets_out > tp->snd_cwnd_used) {
		tp->snd_cwnd_used = tp->packets_out;
	}
	if (first)
		toe_tcp_arm(sk);

	tp->segs_out += segs;
	tp->data_segs_out += segs;
	tp->bytes_sent += skb->len;
	toe_ip_count_out(sk, skb->len + tp->tcp_header_len +
			     inet_csk(sk)->icsk_af_ops->net_header_len);
	TCP_ADD_STATS(net, TCP_MIB_OUTSEGS, segs);
	NET_ADD_STATS(net, LINUX_MIB_TCPORIGDATASENT, segs);
}

/* Would the host shrink the window after idling (RFC 2861)? Then it sends. */
static bool toe_tcp_idle_restart(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return !tp->packets_out &&
	       READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_slow_start_after_idle) &&
	       (s32)(tcp_jiffies32 - tp->lsndtime) > (s32)inet_csk(sk)->icsk_rto;
}

/* Is there nothing that the host has to do before something is written? */
bool toe_tcp_may_write(struct sock *sk)
{
	return !sk->sk_err && toe_tcp_mtu_current(sk) &&
	       !toe_tcp_idle_restart(sk);
}

/* --- upload -------------------------------------------------------------- */

/*
 * The host stack takes over: header prediction, the timers, and whatever is
 * unsent. Under the socket lock; tcp_release_cb() or the next ACK transmits.
 */
void toe_tcp_resume_host(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (sk->sk_state == TCP_CLOSE)
		return;
	tp->pred_flags = 0;
	tcp_fast_path_check(sk);
	if (!tcp_send_head(sk))
		return;
	if (!tp->packets_out && !inet_csk(sk)->icsk_pending)
		tcp_reset_xmit_timer(sk, ICSK_TIME_PROBE0, tcp_probe0_base(sk),
				     true);
	if (sock_owned_by_user_nocheck(sk)) {
		if (!test_and_set_bit(TCP_TSQ_DEFERRED, &sk->sk_tsq_flags))
			sock_hold(sk);
	}
}

/* --- SNMP: an offloaded frame counts like any other --------------------- */

/* What ip_rcv_core() or ip6_rcv_core(), and tcp_v4_rcv() or tcp_v6_rcv() count. */
static __always_inline void toe_count_in(struct sock *sk, struct sk_buff *skb,
					 struct net_device *dev, u32 len)
{
	u32 ecn = IPSTATS_MIB_NOECTPKTS +
		  (TCP_SKB_CB(skb)->ip_dsfield & INET_ECN_MASK);
	u32 segs = max_t(u16, 1, skb_shinfo(skb)->gso_segs);
	struct net *net = sock_net(sk);

	__TCP_INC_STATS(net, TCP_MIB_INSEGS);
#if IS_ENABLED(CONFIG_IPV6)
	if (skb->protocol == htons(ETH_P_IPV6)) {
		struct inet6_dev *idev;

		rcu_read_lock();
		idev = __in6_dev_get(dev);
		__IP6_UPD_PO_STATS(net, idev, IPSTATS_MIB_IN, len);
		__IP6_ADD_STATS(net, idev, ecn, segs);
		__IP6_INC_STATS(net, idev, IPSTATS_MIB_INDELIVERS);
		rcu_read_unlock();
		return;
	}
#endif
	__IP_UPD_PO_STATS(net, IPSTATS_MIB_IN, len);
	__IP_ADD_STATS(net, ecn, segs);
	__IP_INC_STATS(net, IPSTATS_MIB_INDELIVERS);
}

void toe_tcp_count_in(struct sock *sk, struct sk_buff *skb,
		      struct net_device *dev, u32 len)
{
	tcp_segs_in(tcp_sk(sk), skb);
	toe_count_in(sk, skb, dev, len);
}

/* The same, of a frame that came from farther away than the socket allows. */
void toe_tcp_count_too_far(struct sock *sk, struct sk_buff *skb,
			   struct net_device *dev, u32 len)
{
	toe_count_in(sk, skb, dev, len);
	__NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPMINTTLDROP);
}

bool toe_pskb_trim(struct sk_buff *skb, u32 len)
{
	return !pskb_trim_rcsum(skb, len);
}

/* Zero-copy pages are still the sender's: the receiver gets its own. */
bool toe_skb_orphan_frags_rx(struct sk_buff *skb)
{
	return !skb_orphan_frags_rx(skb, GFP_ATOMIC | __GFP_NOWARN);
}

/* Does a TCP_ULP option value say @name? */
bool toe_sockptr_is(sockptr_t val, unsigned int len, const char *name)
{
	char buf[TCP_ULP_NAME_MAX] = {};

	len = min_t(unsigned int, len, sizeof(buf) - 1);
	if (copy_from_sockptr(buf, val, len))
		return false;
	return !strcmp(buf, name);
}

/*
 * Verifies a TCP checksum that nobody verified; @skb starts at its Ethernet
 * header, the addresses stand right before the TCP header at @l4_off.
 */
bool toe_tcp_csum_ok(struct sk_buff *skb, u32 l4_off, u32 l4_len, bool v6)
{
	__wsum sum = skb_checksum(skb, l4_off, l4_len, 0);
	const u8 *l4 = skb->data + l4_off;

	if (v6 ? csum_ipv6_magic((const struct in6_addr *)(l4 - 32),
				 (const struct in6_addr *)(l4 - 16),
				 l4_len, IPPROTO_TCP, sum) :
		 csum_tcpudp_magic(get_unaligned((__be32 *)(l4 - 8)),
				   get_unaligned((__be32 *)(l4 - 4)),
				   l4_len, IPPROTO_TCP, sum))
		return false;
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	skb->csum_level = 0;
	return true;
}

/* Unsent data and nothing in flight: a timer must look again. */
void toe_tcp_check_probe_timer(struct sock *sk)
{
	tcp_check_probe_timer(sk);
}
