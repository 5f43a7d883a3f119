/* SPDX-License-Identifier: GPL-2.0 */
/* What receiving and sending share: what net/ipv4 has as static functions. */
#ifndef TOE_HELPERS_TCP_H
#define TOE_HELPERS_TCP_H

#include <net/ipv6.h>
#include <net/tcp.h>

#include "sock.h"

/* tcp_set_skb_tso_segs() */
static inline void toe_tcp_set_segs(struct sk_buff *skb, u32 mss)
{
	if (skb->len <= mss) {
		TCP_SKB_CB(skb)->tcp_gso_size = 0;
		tcp_skb_pcount_set(skb, 1);
	} else {
		TCP_SKB_CB(skb)->tcp_gso_size = mss;
		tcp_skb_pcount_set(skb, DIV_ROUND_UP(skb->len, mss));
	}
}

/* tcp_chrono_stop() */
static inline void toe_tcp_chrono_stop(struct sock *sk, enum tcp_chrono type)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (tcp_rtx_and_write_queues_empty(sk)) {
		if (tp->chrono_type != TCP_CHRONO_UNSPEC)
			tcp_chrono_set(tp, TCP_CHRONO_UNSPEC);
	} else if (type == tp->chrono_type) {
		tcp_chrono_set(tp, TCP_CHRONO_BUSY);
	}
}

/* tcp_save_lrcv_flowlabel() */
static inline void toe_tcp_save_flowlabel(struct sock *sk, const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (skb->protocol == htons(ETH_P_IPV6))
		inet_csk(sk)->icsk_ack.lrcv_flowlabel = ntohl(ip6_flowlabel(ipv6_hdr(skb)));
#endif
}

/*
 * sk_reset_timer(). Within one jiffy a connection sets its timers again and again, to the
 * time that they are set to: then mod_timer() does nothing, which is seen without the call.
 */
static inline void toe_reset_timer(struct sock *sk, struct timer_list *timer,
				   unsigned long expires)
{
	if (!timer_pending(timer) || READ_ONCE(timer->expires) != expires)
		sk_reset_timer(sk, timer, expires);
}

/* tcp_reset_xmit_timer(), with pacing's delay */
static inline void toe_tcp_reset_xmit_timer(struct sock *sk, int what,
					    unsigned long when)
{
	when = min_t(unsigned long, when + tcp_pacing_delay(sk), tcp_rto_max(sk));
	smp_store_release(&inet_csk(sk)->icsk_pending, what);
	toe_reset_timer(sk, &sk->tcp_retransmit_timer, jiffies + when);
}

/*
 * Payload that is copied into a frame: less than tcp_grow_window() is asked for, which sees the
 * difference. Before it there is room for all headers.
 */
#define TOE_COPY_MAX 127
#define TOE_COPY_HEADROOM 128

/* Has the frame been made by toe_copy_alloc()? Others may look the same. */
static inline bool toe_is_copy(const struct sk_buff *skb)
{
	return !skb->data_len && !skb_tailroom(skb);
}

struct sk_buff *toe_header_alloc(void);
struct sk_buff *toe_copy_alloc(u32 len);
struct sk_buff *toe_segment_alloc(gfp_t gfp);
void toe_segment_free(struct sk_buff *skb);
bool toe_tcp_schedule_loss_probe(struct sock *sk, bool advancing_rto);
void toe_tcp_rearm_rto(struct sock *sk);
void toe_tcp_slow_start_after_idle(struct sock *sk);

#endif
