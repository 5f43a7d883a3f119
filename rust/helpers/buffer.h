/* SPDX-License-Identifier: GPL-2.0 */
/* User buffers: pinned memory of a task that waits in recvmsg(). */
#ifndef TOE_HELPERS_BUFFER_H
#define TOE_HELPERS_BUFFER_H

#include <linux/bvec.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <net/busy_poll.h>

struct toe_buffer {
	struct bio_vec *bvec;	/* one for each page, pinned */
	unsigned int pages;
	u32 end_seq;		/* of the last byte placed */
	unsigned int mm_seq;
	bool mm_known;		/* mm_seq says something */
	struct iov_iter room;	/* what is still to be filled */
};

/* What tcp_recvmsg() looks at before and after it waits. */
struct toe_recv_view {
	bool queued;
	bool stopped;
	bool shutdown;
	bool signal;
};

/* Under the socket lock: does nothing about socket or call need the host's own? */
static inline bool toe_recv_plain(struct sock *sk, const struct msghdr *msg)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return !(msg->msg_get_inq | tp->recvmsg_inq | tp->urg_data | tp->repair) &&
	       !sk_can_busy_loop(sk) && READ_ONCE(sk->sk_peek_off) < 0;
}

bool toe_recv_is_plain(struct sock *sk, struct msghdr *msg);
int toe_recv_target(struct sock *sk, bool all, size_t len);
long toe_recv_timeo(struct sock *sk);
void toe_recv_look(struct sock *sk, struct toe_recv_view *view);
int toe_recv_intr(long timeo);
int toe_recv_wait(struct sock *sk, long *timeo, const bool *done);
int toe_recv_wait_queue(struct sock *sk, long *timeo);
bool toe_recv_flush(struct sock *sk);
void toe_recv_wake(struct sock *sk);
void toe_recv_space_adjust(struct sock *sk);

int toe_buffer_pin(struct toe_buffer *buf, struct msghdr *msg, size_t len);
void toe_buffer_unpin(struct toe_buffer *buf, bool dirty);
bool toe_buffer_fill(struct sock *sk, struct toe_buffer *buf,
		     struct sk_buff *skb, u32 offset, u32 len);
void toe_buffer_filled(struct sock *sk, struct sk_buff *skb, u32 hdr_len,
		       bool predicted);
bool toe_buffer_finish(struct toe_buffer *buf, struct msghdr *msg, u32 placed);
u32 toe_buffer_put_back(struct sock *sk, struct toe_buffer *buf, u32 placed);

#endif
