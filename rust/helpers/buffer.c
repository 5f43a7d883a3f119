// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <net/busy_poll.h>

#include "tcp.h"
#include "buffer.h"

/* --- recvmsg() ----------------------------------------------------------- */

/* Under the socket lock. */
bool toe_recv_is_plain(struct sock *sk, struct msghdr *msg)
{
	return toe_recv_plain(sk, msg);
}

int toe_recv_target(struct sock *sk, bool all, size_t len)
{
	return sock_rcvlowat(sk, all, len);
}

long toe_recv_timeo(struct sock *sk)
{
	return sock_rcvtimeo(sk, false);
}

int toe_recv_intr(long timeo)
{
	return sock_intr_errno(timeo);
}

/* Under the socket lock. */
void toe_recv_look(struct sock *sk, struct toe_recv_view *view)
{
	view->queued = !skb_queue_empty(&sk->sk_receive_queue);
	view->shutdown = sk->sk_err || sk->sk_state != TCP_ESTABLISHED ||
			 sk->sk_shutdown & RCV_SHUTDOWN ||
			 sock_flag(sk, SOCK_DONE);
	/* Data may come in FIN_WAIT1 and FIN_WAIT2, too. */
	view->stopped = sk->sk_err || sk->sk_state == TCP_CLOSE ||
			sk->sk_shutdown & RCV_SHUTDOWN ||
			sock_flag(sk, SOCK_DONE) || tcp_sk(sk)->urg_data;
	view->signal = signal_pending(current);
}

/* sk_wait_data() for payload that is not in the receive queue, too */
int toe_recv_wait(struct sock *sk, long *timeo, const bool *done)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int rc;

	add_wait_queue(sk_sleep(sk), &wait);
	sk_set_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	rc = sk_wait_event(sk, timeo, READ_ONCE(*done) ||
			   !skb_queue_empty_lockless(&sk->sk_receive_queue),
			   &wait);
	sk_clear_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	remove_wait_queue(sk_sleep(sk), &wait);
	return rc;
}

/* Waits as tcp_recvmsg() does for its first byte. */
int toe_recv_wait_queue(struct sock *sk, long *timeo)
{
	struct toe_recv_view view;

	for (;;) {
		toe_recv_look(sk, &view);
		if (view.queued || view.stopped || !*timeo || view.signal)
			return 0;
		if (sk_wait_data(sk, timeo, NULL) < 0)
			return -EPIPE;
	}
}

/* Processes the backlog without letting the socket go; was there anything? */
bool toe_recv_flush(struct sock *sk)
{
	return sk_flush_backlog(sk);
}

void toe_recv_wake(struct sock *sk)
{
	READ_ONCE(sk->sk_data_ready)(sk);
}

/* --- the memory ---------------------------------------------------------- */

/* The pages, and thus the iovecs, that a request may be spread over. */
#define TOE_BUFFER_PAGES	80
#define TOE_BUFFER_BATCH	16

static void toe_buffer_drop(struct bio_vec *bvec, unsigned int n, bool dirty)
{
	struct page *pages[TOE_BUFFER_BATCH];

	while (n) {
		unsigned int i, batch = min(n, TOE_BUFFER_BATCH);

		for (i = 0; i < batch; i++)
			pages[i] = bvec[i].bv_page;
		unpin_user_pages_dirty_lock(pages, batch, dirty);
		bvec += batch;
		n -= batch;
	}
}

/*
 * Pins the first @len bytes of the message's memory, all of it or none: for a
 * buffer that cannot be written tcp_recvmsg() finds the right answer. As with
 * O_DIRECT, the pins count against no limit: they last as long as the system
 * call, and are bounded by what a task can wait for.
 */
int toe_buffer_pin(struct toe_buffer *buf, struct msghdr *msg, size_t len)
{
	struct iov_iter iter = msg->msg_iter;
	struct page *pages[TOE_BUFFER_BATCH];
	unsigned int room, n = 0;

	/* The kernel's own readers have other memory. */
	if (!user_backed_iter(&iter) || !current->mm)
		return -EINVAL;
	iov_iter_truncate(&iter, len);
	if (iov_iter_count(&iter) != len)
		return -EINVAL;
	room = iov_iter_npages(&iter, TOE_BUFFER_PAGES + 1);
	if (!room || room > TOE_BUFFER_PAGES)
		return -E2BIG;
	buf->bvec = kmalloc_array(room, sizeof(*buf->bvec),
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!buf->bvec)
		return -ENOMEM;
	buf->mm_known = mmap_lock_speculate_try_begin(current->mm, &buf->mm_seq);
	while (iov_iter_count(&iter)) {
		struct page **to = pages;
		size_t offset;
		ssize_t got;
		int i;

		got = iov_iter_extract_pages(&iter, &to, SIZE_MAX,
					     min(room - n, TOE_BUFFER_BATCH), 0,
					     &offset);
		if (got <= 0)
			goto fail;
		for (i = 0; got; i++, offset = 0) {
			unsigned int part = min_t(size_t, got, PAGE_SIZE - offset);

			bvec_set_page(&buf->bvec[n++], pages[i], part, offset);
			got -= part;
		}
		if (n == room && iov_iter_count(&iter))
			goto fail;
	}
	buf->pages = n;
	iov_iter_bvec(&buf->room, ITER_DEST, buf->bvec, n, len);
	return 0;

fail:
	toe_buffer_drop(buf->bvec, n, false);
	kfree(buf->bvec);
	buf->bvec = NULL;
	return -EFAULT;
}

/* Process context: a page of a file is marked dirty under its lock. */
void toe_buffer_unpin(struct toe_buffer *buf, bool dirty)
{
	toe_buffer_drop(buf->bvec, buf->pages, dirty);
	kfree(buf->bvec);
	buf->bvec = NULL;
	buf->pages = 0;
}

/*
 * Under the socket lock, any context: @len bytes of @skb go where the next ones
 * belong, and are the application's. Nothing faults, for the pages are pinned.
 */
bool toe_buffer_fill(struct sock *sk, struct toe_buffer *buf,
		     struct sk_buff *skb, u32 offset, u32 len)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (skb_copy_datagram_iter(skb, offset, &buf->room, len))
		return false;
	WRITE_ONCE(tp->copied_seq, tp->copied_seq + len);
	buf->end_seq = tp->copied_seq;
	return true;
}

/* The payload is placed: what toe_tcp_queue_rcv() does but queueing. */
void toe_buffer_filled(struct sock *sk, struct sk_buff *skb, u32 hdr_len,
		       bool predicted)
{
	toe_tcp_save_flowlabel(sk, skb);
	__skb_pull(skb, hdr_len);
	if (predicted)
		NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPHPHITS);
	else
		toe_tcp_fast_path_check(sk);
}

/*
 * The reader is about to return @placed bytes; are they in its memory?
 *
 * tcp_recvmsg() would have written them now, by the mapping of now. If that may
 * be another one than that of the pinned pages (mprotect(), munmap(), fork()),
 * they are copied. What cannot be written is still to be read.
 */
bool toe_buffer_finish(struct toe_buffer *buf, struct msghdr *msg, u32 placed)
{
	u32 done = 0;
	int i;

	if (buf->mm_known &&
	    !mmap_lock_speculate_retry(current->mm, buf->mm_seq)) {
		iov_iter_advance(&msg->msg_iter, placed);
		return true;
	}
	for (i = 0; done < placed; i++) {
		const struct bio_vec *bv = &buf->bvec[i];
		size_t part = min(bv->bv_len, placed - done);
		size_t copied = copy_page_to_iter(bv->bv_page, bv->bv_offset,
						  part, &msg->msg_iter);

		done += copied;
		if (copied != part) {
			iov_iter_revert(&msg->msg_iter, done);
			return false;
		}
	}
	return true;
}

/*
 * Puts the @placed bytes back to the head of the receive queue, the last ones
 * first, as tcp_send_rcvq() puts new ones to its tail. Returns how many are still
 * out: some if there is no memory, or if another reader has taken what follows.
 * Process context, under the socket lock.
 */
u32 toe_buffer_put_back(struct sock *sk, struct toe_buffer *buf, u32 placed)
{
	struct tcp_sock *tp = tcp_sk(sk);

	while (placed && tp->copied_seq == buf->end_seq) {
		u32 len = min_t(u32, placed, 16 * PAGE_SIZE);
		struct iov_iter iter;
		struct sk_buff *skb;
		int err;

		skb = alloc_skb_with_frags(0, len, 0, &err, sk->sk_allocation);
		if (!skb)
			break;
		skb->data_len = len;
		skb->len = len;
		iov_iter_bvec(&iter, ITER_SOURCE, buf->bvec, buf->pages, placed);
		iov_iter_advance(&iter, placed - len);
		if (!sk_rmem_schedule(sk, skb, skb->truesize) ||
		    skb_copy_datagram_from_iter(skb, 0, &iter, len)) {
			kfree_skb(skb);
			break;
		}
		memset(TCP_SKB_CB(skb), 0, sizeof(*TCP_SKB_CB(skb)));
		TCP_SKB_CB(skb)->seq = buf->end_seq - len;
		TCP_SKB_CB(skb)->end_seq = buf->end_seq;
		TCP_SKB_CB(skb)->ack_seq = tp->snd_una - 1;
		TCP_SKB_CB(skb)->tcp_flags = TCPHDR_ACK;
		__skb_queue_head(&sk->sk_receive_queue, skb);
		skb_set_owner_r(skb, sk);
		buf->end_seq -= len;
		WRITE_ONCE(tp->copied_seq, buf->end_seq);
		placed -= len;
	}
	return placed;
}

/* tcp_rcv_space_adjust(), which is not exported: reading nothing calls it. */
void toe_recv_space_adjust(struct sock *sk)
{
	tcp_read_done(sk, 0);
}
