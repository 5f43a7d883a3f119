// SPDX-License-Identifier: GPL-2.0

#include <linux/security.h>
#include <linux/skbuff_ref.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_fib.h>
#include <net/proto_memory.h>

#include "tcp.h"

/* --- receive ----------------------------------------------------------- */

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

/* tcp_clock_ns() */
u64 toe_clock_ns(void)
{
	return tcp_clock_ns();
}

u64 toe_ktime_secs(void)
{
	return ktime_get_seconds();
}

/* tcp_try_rmem_schedule() without its pruning: that is the host's work. */
bool toe_tcp_rmem_schedule(struct sock *sk, struct sk_buff *skb)
{
	return sk_rmem_schedule(sk, skb, skb->truesize);
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

	if (room <= 0)
		return;
	if (tcp_under_memory_pressure(sk)) {
		tcp_adjust_rcv_ssthresh(sk);
		return;
	}
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
		       bool predicted, bool *stolen)
{
	struct sk_buff *tail = skb_peek_tail(&sk->sk_receive_queue);
	int delta;

	tcp_cleanup_skb(skb);
	toe_tcp_save_flowlabel(sk, skb);
	__skb_pull(skb, hdr_len);
	if (predicted)
		NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPHITS);
	if (tail && TCP_SKB_CB(tail)->end_seq == TCP_SKB_CB(skb)->seq &&
	    !toe_is_copy(tail) &&
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

/*
 * tcp_send_delayed_ack()'s tail: arms the host's own delayed-ACK timer. True: it would
 * expire soon, and the ACK is due now.
 */
bool toe_tcp_delack(struct sock *sk, u32 ato)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	unsigned long timeout;

	/* tcp_delack_max() */
	ato = min3(ato, READ_ONCE(icsk->icsk_delack_max), max(tcp_rto_min(sk), 2U) - 1);
	timeout = jiffies + ato;
	if (icsk->icsk_ack.pending & ICSK_ACK_TIMER) {
		if (time_before_eq(icsk_delack_timeout(icsk), jiffies + (ato >> 2)))
			return true;
		if (!time_before(timeout, icsk_delack_timeout(icsk)))
			timeout = icsk_delack_timeout(icsk);
	}
	smp_store_release(&icsk->icsk_ack.pending,
			  icsk->icsk_ack.pending | ICSK_ACK_SCHED | ICSK_ACK_TIMER);
	toe_reset_timer(sk, &icsk->icsk_delack_timer, timeout);
	return false;
}

/* __tcp_ack_snd_check(), from the backlog */
void toe_tcp_defer_ack(struct sock *sk)
{
	set_bit(TCP_ACK_DEFERRED, &sk->sk_tsq_flags);
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

/* tcp_check_sack_reordering(), with nothing SACKed */
static noinline void toe_tcp_reordering(struct sock *sk, u32 low_seq)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 metric = tp->snd_una - low_seq, mss = tp->mss_cache;

	if (mss && metric > tp->reordering * mss)
		WRITE_ONCE(tp->reordering,
			   min_t(u32, (metric + mss - 1) / mss,
				 READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_max_reordering)));
	WRITE_ONCE(tp->reord_seen, tp->reord_seen + 1);
	NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPSACKREORDER);
}

/* tcp_rtx_queue_unlink_and_free() */
static void toe_tcp_rtx_free(struct sock *sk, struct sk_buff *skb)
{
	if (unlikely(skb_zcopy(skb))) {
		tcp_rtx_queue_unlink_and_free(skb, sk);
		return;
	}
	list_del(&skb->tcp_tsorted_anchor);
	tcp_rtx_queue_unlink(skb, sk);
	sk_wmem_queued_add(sk, -skb->truesize);
	sk_mem_uncharge(sk, skb->truesize);
	toe_segment_free(skb);
}

/*
 * tcp_clean_rtx_queue() for the clean case: nothing SACKed, lost or
 * retransmitted. tp->snd_una has been advanced from @prior_una.
 */
void toe_tcp_clean_rtx(struct sock *sk, u32 prior_una, struct toe_ack_sample *sample)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb, *next;
	u32 first, last_end = 0;

	skb = skb_rb_first(&sk->tcp_rtx_queue);
	first = skb ? TCP_SKB_CB(skb)->seq : prior_una;
	for (; skb; skb = next) {
		struct tcp_skb_cb *scb = TCP_SKB_CB(skb);
		bool whole = !after(scb->end_seq, tp->snd_una);
		u32 segs = tcp_skb_pcount(skb);

		if (unlikely(!whole)) {
			if (segs == 1 || !after(tp->snd_una, scb->seq))
				break;
			segs = toe_tcp_tso_acked(sk, skb);
			if (!segs)
				break;
			sample->partial = true;
		}
		sample->last_us = tcp_skb_timestamp_us(skb);
		if (!sample->first_us)
			sample->first_us = sample->last_us;
		if (scb->sacked & TCPCB_RETRANS)
			sample->retrans = true;
		sample->pkts += segs;
		/* tcp_rate_skb_delivered(): the last one was sent last. */
		if (scb->tx.delivered_mstamp) {
			sample->prior_delivered = scb->tx.delivered;
			sample->prior_us = scb->tx.delivered_mstamp;
			sample->send_us = tcp_stamp_us_delta(sample->last_us,
							     scb->tx.first_tx_mstamp);
			sample->app_limited = scb->tx.is_app_limited;
			tp->first_tx_mstamp = sample->last_us;
		}
		last_end = scb->end_seq;
		if (unlikely(!whole))
			break;

		next = skb_rb_next(skb);
		if (unlikely(skb == tp->retransmit_skb_hint))
			tp->retransmit_skb_hint = NULL;
		tcp_highest_sack_replace(sk, skb, next);
		toe_tcp_rtx_free(sk, skb);
	}
	if (!skb)
		toe_tcp_chrono_stop(sk, TCP_CHRONO_BUSY);
	if (likely(between(tp->snd_up, prior_una, tp->snd_una)))
		tp->snd_up = tp->snd_una;
	/* tcp_process_tlp_ack(): the probe was new data */
	if (tp->tlp_high_seq && !before(tp->snd_una, tp->tlp_high_seq))
		tp->tlp_high_seq = 0;
	tp->packets_out -= sample->pkts;
	WRITE_ONCE(tp->delivered, tp->delivered + sample->pkts);
	NET_ADD_STATS(sock_net(sk), LINUX_MIB_TCPDELIVERED, sample->pkts);
	/* tcp_rack_advance() */
	if (sample->pkts && tcp_is_sack(tp)) {
		tp->rack.advanced = 1;
		tp->rack.rtt_us = tcp_stamp_us_delta(tp->tcp_mstamp, sample->last_us);
		tp->rack.mstamp = sample->last_us;
		tp->rack.end_seq = last_end;
		/* An ACK within a segment went before: the host takes that for reordering. */
		if (unlikely(before(first, prior_una)))
			toe_tcp_reordering(sk, first);
	}
}

/* After an ACK of new data, tcp_set_xmit_timer() */
void toe_tcp_set_timer(struct sock *sk)
{
	if (!tcp_sk(sk)->packets_out)
		inet_csk_clear_xmit_timer(sk, ICSK_TIME_RETRANS);
	else if (!toe_tcp_schedule_loss_probe(sk, true))
		toe_tcp_rearm_rto(sk);
}

/*
 * What is in flight was sent by a link that is gone, and so may have been a loss probe: one is
 * due in @ms. Under the conditions of tcp_schedule_loss_probe(), and never after a timeout: the
 * timer's backoff is not ours to shorten.
 */
void toe_tcp_probe_soon(struct sock *sk, u32 ms)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	int early = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_early_retrans);
	struct tcp_sock *tp = tcp_sk(sk);

	if ((early != 3 && early != 4) || !tp->packets_out || !tcp_is_sack(tp) ||
	    icsk->icsk_retransmits ||
	    (icsk->icsk_ca_state != TCP_CA_Open && icsk->icsk_ca_state != TCP_CA_CWR) ||
	    (icsk->icsk_pending != ICSK_TIME_LOSS_PROBE && icsk->icsk_pending != ICSK_TIME_RETRANS))
		return;
	tp->tlp_high_seq = 0;
	smp_store_release(&icsk->icsk_pending, ICSK_TIME_LOSS_PROBE);
	sk_reset_timer(sk, &sk->tcp_retransmit_timer, jiffies + 1 + msecs_to_jiffies(ms));
}

/* tcp_ack_probe(): nothing is in flight, and something waits. */
void toe_tcp_ack_probe(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct sk_buff *head = tcp_send_head(sk);
	u32 user_timeout, when;

	if (!after(TCP_SKB_CB(head)->end_seq, tcp_wnd_end(tcp_sk(sk)))) {
		icsk->icsk_backoff = 0;
		icsk->icsk_probes_tstamp = 0;
		inet_csk_clear_xmit_timer(sk, ICSK_TIME_PROBE0);
		return;
	}
	when = tcp_probe0_when(sk, tcp_rto_max(sk));
	/* tcp_clamp_probe0_to_user_timeout() */
	user_timeout = READ_ONCE(icsk->icsk_user_timeout);
	if (user_timeout && icsk->icsk_probes_tstamp) {
		s32 elapsed = max_t(s32, tcp_jiffies32 - icsk->icsk_probes_tstamp, 0);
		s32 left = msecs_to_jiffies(user_timeout) - elapsed;

		when = min_t(u32, max_t(s32, left, TCP_TIMEOUT_MIN), when);
	}
	toe_tcp_reset_xmit_timer(sk, ICSK_TIME_PROBE0, when);
}

/*
 * tcp_ack_update_window(): the peer's window is another one. @larger than any before: the
 * MSS may depend on it.
 */
void toe_tcp_window_changed(struct sock *sk, bool larger)
{
	tcp_sk(sk)->pred_flags = 0;
	tcp_fast_path_check(sk);
	if (!tcp_write_queue_empty(sk))
		toe_tcp_slow_start_after_idle(sk);
	if (larger)
		inet_csk(sk)->icsk_sync_mss(sk, inet_csk(sk)->icsk_pmtu_cookie);
}

/* What the host counts of an ACK, and what it does with each. */
void toe_tcp_ack_seen(struct sock *sk, bool fast, bool data)
{
	if (fast)
		NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPACKS);
	else if (!data)
		NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPPUREACKS);
	/* tcp_rcv_state_process() drops what it has not queued. */
	if (!data && sk->sk_state == TCP_CLOSE_WAIT)
		sk_drops_inc(sk);
	if (unlikely(READ_ONCE(sk->sk_err_soft)))
		WRITE_ONCE(sk->sk_err_soft, 0);
	WRITE_ONCE(inet_csk(sk)->icsk_probes_out, 0);
	tcp_sk(sk)->rcv_tstamp = tcp_jiffies32;
}

/* Data that header prediction did not take were queued. */
void toe_tcp_fast_path_check(struct sock *sk)
{
	tcp_fast_path_check(sk);
}

/* minmax_running_min() of the round trip time */
void toe_tcp_rtt_min(struct sock *sk, u32 rtt_us)
{
	u32 wlen = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_min_rtt_wlen) * HZ;

	minmax_running_min(&tcp_sk(sk)->rtt_min, wlen, tcp_jiffies32,
			   rtt_us ?: jiffies_to_usecs(1));
}

/* __tcp_select_window() with less than half of the receive memory free */
void toe_tcp_space_short(struct sock *sk)
{
	inet_csk(sk)->icsk_ack.quick = 0;
	if (tcp_under_memory_pressure(sk))
		tcp_adjust_rcv_ssthresh(sk);
}

/* What tcp_select_window() counts. */
void toe_tcp_count_window(struct sock *sk, bool wanted_zero, u32 old, u32 new)
{
	struct net *net = sock_net(sk);

	if (wanted_zero)
		NET_INC_STATS(net, LINUX_MIB_TCPWANTZEROWINDOWADV);
	if (!new && old)
		NET_INC_STATS(net, LINUX_MIB_TCPTOZEROWINDOWADV);
	else if (new && !old)
		NET_INC_STATS(net, LINUX_MIB_TCPFROMZEROWINDOWADV);
}

/* tcp_update_pacing_rate(): TCP_INFO and tcp_tso_autosize() read it */
void toe_tcp_update_pacing(struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	u64 rate = (u64)tp->mss_cache * ((USEC_PER_SEC / 100) << 3);

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

/* The connection's own congestion control, as tcp_cong_control() calls it. */
void toe_tcp_cong_avoid(struct sock *sk, u32 ack, u32 acked, s32 rtt_us,
			u32 prior_delivered)
{
	const struct tcp_congestion_ops *ops = inet_csk(sk)->icsk_ca_ops;
	struct tcp_sock *tp = tcp_sk(sk);

	if (ops->pkts_acked) {
		struct ack_sample sample = {
			.pkts_acked = acked,
			.rtt_us = rtt_us,
			.in_flight = tp->mss_cache *
				     (tp->delivered - prior_delivered),
		};

		ops->pkts_acked(sk, &sample);
	}
	ops->cong_avoid(sk, ack, acked);
	tp->snd_cwnd_stamp = tcp_jiffies32;
	toe_tcp_update_pacing(sk);
}

/* --- upload -------------------------------------------------------------- */

/*
 * The host stack takes over: the timers, and whatever is unsent and could be sent. That is
 * so if the target was @stopped while it sent, or with a full segment, for the target may
 * have waited for room. What is less waits by the application's wish (MSG_MORE), of which
 * nothing else tells. Under the socket lock; tcp_release_cb() or the next ACK transmits.
 */
void toe_tcp_resume_host(struct sock *sk, bool stopped)
{
	struct sk_buff *head = tcp_send_head(sk);

	if (sk->sk_state == TCP_CLOSE || !head)
		return;
	tcp_check_probe_timer(sk);
	if ((stopped || head->len >= tcp_sk(sk)->mss_cache || !tcp_skb_is_last(sk, head)) &&
	    sock_owned_by_user_nocheck(sk)) {
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

/*
 * What sk_filter_trim_cap() asks of every frame, whatever is attached to the socket or its
 * cgroup: is it of memory that this socket may have, and what do security modules say?
 */
static __always_inline enum skb_drop_reason
toe_sk_refuses(struct sock *sk, struct sk_buff *skb, struct net_device *dev)
{
	enum skb_drop_reason ret = SKB_NOT_DROPPED_YET;

	if (unlikely(skb_pfmemalloc(skb)) && !sock_flag(sk, SOCK_MEMALLOC)) {
		NET_INC_STATS(sock_net(sk), LINUX_MIB_PFMEMALLOCDROP);
		return SKB_DROP_REASON_PFMEMALLOC;
	}
#ifdef CONFIG_SECURITY_NETWORK
	skb->dev = dev;
	if (unlikely(security_sock_rcv_skb(sk, skb)))
		ret = SKB_DROP_REASON_SECURITY_HOOK;
	skb->dev = NULL;
#endif
	return ret;
}

/* tcp_v4_rcv() and tcp_v6_rcv(): counts the frame, and drops it if it is refused. */
bool toe_tcp_admit(struct sock *sk, struct sk_buff *skb,
		   struct net_device *dev, u32 len)
{
	enum skb_drop_reason reason;

	toe_count_in(sk, skb, dev, len);
	reason = toe_sk_refuses(sk, skb, dev);
	if (unlikely(reason)) {
		sk_drops_skbadd(sk, skb);
		sk_skb_reason_drop(sk, skb, reason);
		return false;
	}
	tcp_segs_in(tcp_sk(sk), skb);
	return true;
}

/* The same, of a frame that came from farther away than the socket allows. */
void toe_tcp_count_too_far(struct sock *sk, struct sk_buff *skb,
			   struct net_device *dev, u32 len)
{
	toe_count_in(sk, skb, dev, len);
	__NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPMINTTLDROP);
	sk_drops_skbadd(sk, skb);
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
