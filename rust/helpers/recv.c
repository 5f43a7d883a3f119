// SPDX-License-Identifier: GPL-2.0
/*
 * Plain reads: what tcp_recvmsg() does for a call that wants any bytes there are, in one
 * section of the socket's spin lock. Whatever else a call may want, or find, is left to
 * tcp_recvmsg() before anything has changed.
 */

#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <net/tcp.h>

#include "buffer.h"
#include "recv.h"
#include "short.h"

/*
 * The spin lock, with bottom halves off, unless a task owns the socket: lock_sock_fast()
 * without waiting. Process context.
 */
bool toe_sock_lock_fast(struct sock *sk)
{
	spin_lock_bh(&sk->sk_lock.slock);
	if (likely(!sock_owned_by_user_nocheck(sk)))
		return true;
	spin_unlock_bh(&sk->sk_lock.slock);
	return false;
}

void toe_sock_unlock_fast(struct sock *sk)
{
	spin_unlock_bh(&sk->sk_lock.slock);
}

/* --- the bytes ----------------------------------------------------------- */

/* The bytes at @offset, if they are in one piece. */
static const void *toe_skb_piece(const struct sk_buff *skb, u32 offset, u32 len)
{
	u32 head = skb_headlen(skb);
	const skb_frag_t *frag;

	if (offset + len <= head)
		return skb->data + offset;
	if (offset < head || skb_shinfo(skb)->nr_frags != 1 || skb_has_frag_list(skb))
		return NULL;
	frag = &skb_shinfo(skb)->frags[0];
	return PageHighMem(skb_frag_page(frag)) ? NULL :
	       skb_frag_address(frag) + offset - head;
}

/* skb_copy_datagram_iter(), without its layers for the usual case. Page faults are off. */
static bool toe_recv_copy(const struct sk_buff *skb, u32 offset, struct iov_iter *to,
			  u32 len)
{
	const void *from = iter_is_ubuf(to) ? toe_skb_piece(skb, offset, len) : NULL;
	void __user *at;

	if (unlikely(!from))
		return !skb_copy_datagram_iter(skb, offset, to, len);
	at = to->ubuf + to->iov_offset;
	check_object_size(from, len, true);
	if (!access_ok(at, len) || __copy_to_user_inatomic(at, from, len))
		return false;
	to->iov_offset += len;
	to->count -= len;
	return true;
}

/* Does tcp_recvmsg() do more with the buffer than to copy it and to let it go? */
static bool toe_recv_odd(const struct sk_buff *skb)
{
	return TCP_SKB_CB(skb)->tcp_flags & (TCPHDR_SYN | TCPHDR_FIN) ||
	       TCP_SKB_CB(skb)->has_rxtstamp || !skb_frags_readable(skb);
}

/* Would tcp_cleanup_rbuf() acknowledge what was received, if the queue is empty then? */
static bool toe_recv_ack_due(const struct sock *sk)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	const struct tcp_sock *tp = tcp_sk(sk);

	return inet_csk_ack_scheduled(sk) &&
	       (tp->rcv_nxt - tp->rcv_wup > icsk->icsk_ack.rcv_mss ||
		icsk->icsk_ack.pending & ICSK_ACK_PUSHED2 ||
		(icsk->icsk_ack.pending & ICSK_ACK_PUSHED &&
		 !inet_csk_in_pingpong_mode((struct sock *)sk)));
}

/*
 * tcp_rcv_space_adjust() when all up to @end is read. False, and nothing is done: the
 * receive buffer may have to grow.
 */
static bool toe_recv_measured(struct tcp_sock *tp, u32 end)
{
	u32 rtt = tp->rcv_rtt_est.rtt_us;
	int copied;

	if (!rtt || tcp_stamp_us_delta(tp->tcp_mstamp, tp->rcvq_space.time) < rtt >> 3)
		return true;
	copied = end - tp->rcvq_space.seq - (tp->rcv_nxt - end);
	if (copied > tp->rcvq_space.space)
		return false;
	tp->rcvq_space.seq = end;
	tp->rcvq_space.time = tp->tcp_mstamp;
	return true;
}

/*
 * Has tcp_read_done() nothing to do but to let buffers go, and to measure: no ACK or window
 * update to send?
 */
static bool toe_recv_quiet(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	u32 largest;

	/* __tcp_select_window() offers no more, but for rounding. */
	largest = min(tp->window_clamp, tp->rcv_ssthresh + (1U << tp->rx_opt.rcv_wscale));
	return 2 * tcp_receive_window(tp) > largest && !toe_recv_ack_due(sk);
}

/* Connections whose bytes wait in the sender's queue for what their reader reads. */
static u32 toe_awaiting_reads;

u32 *toe_recv_awaited(void)
{
	return &toe_awaiting_reads;
}

/*
 * tcp_read_done() of @len bytes, all of which are there and of ordinary buffers. If bytes
 * may wait for that, __tcp_cleanup_rbuf() is left to the caller, who gets TOE_READ_DUE.
 */
static int toe_recv_done(struct sock *sk, u32 len)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 end = tp->copied_seq + len;
	struct sk_buff *skb;
	int due = 0;

	if (READ_ONCE(toe_awaiting_reads) && inet_csk_ack_scheduled(sk)) {
		due = TOE_READ_DUE;
	} else if (!toe_recv_quiet(sk) || !toe_recv_measured(tp, end)) {
		tcp_read_done(sk, len);
		return 0;
	}
	while ((skb = skb_peek(&sk->sk_receive_queue)) &&
	       !after(TCP_SKB_CB(skb)->end_seq, end)) {
		__skb_unlink(skb, &sk->sk_receive_queue);
		if (likely(skb->destructor == sock_rfree)) {
			sock_rfree(skb);
			skb->destructor = NULL;
			skb->sk = NULL;
		}
		toe_receive_free(skb);
	}
	WRITE_ONCE(tp->copied_seq, end);
	/* No more than tcp_rcv_space_adjust(). */
	if (unlikely(due))
		tcp_read_done(sk, 0);
	return due;
}

/*
 * Up to @len bytes of the receive queue, as tcp_recvmsg() would have returned them:
 * their number, which is 0 if there are none, perhaps with TOE_READ_DUE, or TOE_READ_HOST.
 * Under the spin lock, with no owner, in process context.
 */
static int toe_recv_take(struct sock *sk, struct msghdr *msg, size_t len)
{
	struct sk_buff *skb = skb_peek(&sk->sk_receive_queue);
	struct tcp_sock *tp = tcp_sk(sk);
	u32 seq = tp->copied_seq;
	size_t done = 0;

	if (!skb)
		return 0;
	if (unlikely(!toe_recv_plain(sk, msg) || sk->sk_rcvlowat > 1 ||
		     min_t(size_t, len, tp->rcv_nxt - seq) > TOE_READ_MAX))
		return TOE_READ_HOST;
	pagefault_disable();
	do {
		u32 offset = seq - TCP_SKB_CB(skb)->seq, n;

		if (unlikely(offset >= skb->len || toe_recv_odd(skb)))
			goto host;
		n = min_t(size_t, skb->len - offset, len - done);
		if (unlikely(!toe_recv_copy(skb, offset, &msg->msg_iter, n)))
			goto host;
		seq += n;
		done += n;
		skb = skb_peek_next(skb, &sk->sk_receive_queue);
	} while (skb && done < len);
	pagefault_enable();
	return done | toe_recv_done(sk, done);

host:
	pagefault_enable();
	iov_iter_revert(&msg->msg_iter, done);
	return TOE_READ_HOST;
}

/* The same, unless a task owns the socket. Process context. */
int toe_recv_now(struct sock *sk, struct msghdr *msg, size_t len)
{
	int ret;

	if (!toe_sock_lock_fast(sk))
		return TOE_READ_HOST;
	ret = toe_recv_take(sk, msg, len);
	toe_sock_unlock_fast(sk);
	return ret;
}

/*
 * Would tcp_recvmsg() sleep now, with nothing in the receive queue, and nothing to be done
 * before? As above.
 */
bool toe_recv_may_sleep(struct sock *sk, struct msghdr *msg)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (!skb_queue_empty(&sk->sk_receive_queue) || sk->sk_err ||
	    sk->sk_state != TCP_ESTABLISHED || sk->sk_shutdown & RCV_SHUTDOWN)
		return false;
	/* SIGIO wants to know of it; a time limit is counted there. */
	if (sk->sk_flags & (BIT(SOCK_DONE) | BIT(SOCK_FASYNC)) ||
	    sock_rcvtimeo(sk, false) != MAX_SCHEDULE_TIMEOUT || !toe_recv_plain(sk, msg))
		return false;
	/* tcp_cleanup_rbuf() would acknowledge. */
	return !inet_csk_ack_scheduled(sk) ||
	       tp->rcv_nxt - tp->rcv_wup <= inet_csk(sk)->icsk_ack.rcv_mss;
}

/* --- the task ------------------------------------------------------------ */

/* What __wake_up_sync_key() wakes with: WF_SYNC of kernel/sched/sched.h. */
#define TOE_WF_SYNC 0x10

/* Somebody wakes the socket's wait queue, for whatever reason. */
static int toe_read_wait_func(struct wait_queue_entry *entry, unsigned int mode, int flags,
			      void *key)
{
	/* Who waits to read does not care for room to write. */
	if (!key || key_to_poll(key) & (EPOLLIN | EPOLLERR | EPOLLHUP))
		toe_reader_wake(container_of(entry, struct toe_read_wait, wait));
	return 0;
}

/*
 * @reader sleeps at @wait from now on; false: another task does, or the socket belongs to
 * no application yet. Under the spin lock, with no owner.
 */
bool toe_reader_put(struct sock *sk, struct toe_read_wait *wait, struct toe_reader *reader)
{
	if (!wait->queue) {
		struct socket_wq *wq = rcu_dereference_bh(sk->sk_wq);

		if (!wq)
			return false;
		init_waitqueue_func_entry(&wait->wait, toe_read_wait_func);
		wait->queue = &wq->wait;
		add_wait_queue(wait->queue, &wait->wait);
	}
	return !cmpxchg(&wait->reader, NULL, reader);
}

/* false: somebody else has taken @reader out, and wakes it. Any context. */
bool toe_reader_take_out(struct toe_read_wait *wait, struct toe_reader *reader)
{
	return cmpxchg(&wait->reader, reader, NULL) == reader;
}

/*
 * Takes the reader out and wakes it; false: there is none. Any context.
 *
 * With preemption off, which keeps the task's memory, too: it does not leave
 * before it is told, and is freed by RCU.
 */
bool toe_reader_wake(struct toe_read_wait *wait)
{
	struct wait_queue_entry entry;
	struct toe_reader *reader;

	if (!READ_ONCE(wait->reader))
		return false;
	preempt_disable();
	reader = xchg(&wait->reader, NULL);
	if (reader) {
		entry.private = reader->task;
		smp_store_release(&reader->woken, true);
		default_wake_function(&entry, TASK_INTERRUPTIBLE, TOE_WF_SYNC, NULL);
	}
	preempt_enable();
	return reader;
}

/*
 * Gives the lock up, sleeps until @reader is woken, and takes what there is then, see
 * toe_recv_now(). TOE_READ_SIGNAL: a signal came first, and the reader may still be where
 * it was put. Process context.
 */
int toe_reader_sleep(struct sock *sk, struct msghdr *msg, size_t len,
		     struct toe_reader *reader)
{
	bool woken;

	toe_sock_unlock_fast(sk);
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		/* Pairs with toe_reader_wake(), which does not touch it any more. */
		woken = smp_load_acquire(&reader->woken);
		if (woken || signal_pending(current))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return likely(woken) ? toe_recv_now(sk, msg, len) : TOE_READ_SIGNAL;
}

/* Somebody has taken the reader out: waits for the end of that. */
void toe_reader_settle(const struct toe_reader *reader)
{
	while (!smp_load_acquire(&reader->woken))
		cpu_relax();
}

/* Out of the wait queue, before that goes. Nobody is in its function afterwards. */
void toe_read_wait_leave(struct toe_read_wait *wait)
{
	if (wait->queue)
		remove_wait_queue(wait->queue, &wait->wait);
	wait->queue = NULL;
	toe_reader_wake(wait);
}

/* Is there nothing else to be woken? After a full barrier, as in skwq_has_sleeper(). */
static bool toe_read_wait_alone(const struct sock *sk, const struct toe_read_wait *wait)
{
	return wait->queue && list_is_singular(&wait->queue->head) &&
	       !rcu_access_pointer(sk->sk_user_data) && !sock_flag(sk, SOCK_FASYNC);
}

/* tcp_data_ready(), for which @wait is nobody if no reader is there. */
void toe_recv_data_ready(struct sock *sk, struct toe_read_wait *wait)
{
	if (!tcp_epollin_ready(sk, sk->sk_rcvlowat) && !sock_flag(sk, SOCK_DONE))
		return;
	if (wait) {
		if (!toe_reader_wake(wait))
			smp_mb();
		if (toe_read_wait_alone(sk, wait))
			return;
	}
	READ_ONCE(sk->sk_data_ready)(sk);
}

/* Under the socket lock, any context: does anybody wait for data? */
bool toe_recv_waiter(struct sock *sk)
{
	struct wait_queue_entry *entry;
	struct socket_wq *wq;
	unsigned long flags;
	bool ret = rcu_access_pointer(sk->sk_user_data) || sock_flag(sk, SOCK_FASYNC);

	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (!ret && skwq_has_sleeper(wq)) {
		spin_lock_irqsave(&wq->wait.lock, flags);
		list_for_each_entry(entry, &wq->wait.head, entry)
			ret |= entry->func != toe_read_wait_func ||
			       READ_ONCE(container_of(entry, struct toe_read_wait,
						      wait)->reader);
		spin_unlock_irqrestore(&wq->wait.lock, flags);
	}
	rcu_read_unlock();
	return ret;
}
