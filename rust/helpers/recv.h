/* SPDX-License-Identifier: GPL-2.0 */
/* Plain reads of a delegated connection. */
#ifndef TOE_HELPERS_RECV_H
#define TOE_HELPERS_RECV_H

#include <linux/sched.h>
#include <linux/socket.h>
#include <linux/wait.h>
#include <net/sock.h>

/* Flags with which a recvmsg() is a plain read, see toe_recv_now(). */
enum {
	TOE_READ_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITFORONE |
			 MSG_CMSG_CLOEXEC | MSG_CMSG_COMPAT,
};

/* What toe_recv_now() and toe_reader_sleep() return instead of a number of bytes. */
enum {
	/* The host's function reads. */
	TOE_READ_HOST = -1,
	TOE_READ_SIGNAL = -2,
	/* In the number: toe_call_hooks::read_done shall be called. */
	TOE_READ_DUE = 1 << 30,
};

/* Bytes that are copied under a spin lock at most: for more a sender had to spin too long. */
enum {
	TOE_READ_MAX = 262144,
};

/* A task that sleeps until payload has come; on its stack. */
struct toe_reader {
	struct task_struct *task;
	bool woken;
};

/*
 * Where a reader of one socket sleeps. It stays in the socket's wait queue from the first
 * reader until the upload, so that nobody has to put it there for each read.
 */
struct toe_read_wait {
	struct wait_queue_entry wait;
	struct wait_queue_head *queue;
	struct toe_reader *reader;
};

u32 *toe_recv_awaited(void);

bool toe_sock_lock_fast(struct sock *sk);
void toe_sock_unlock_fast(struct sock *sk);

int toe_recv_now(struct sock *sk, struct msghdr *msg, size_t len);
bool toe_recv_may_sleep(struct sock *sk, struct msghdr *msg);
bool toe_recv_waiter(struct sock *sk);

bool toe_reader_put(struct sock *sk, struct toe_read_wait *wait,
		    struct toe_reader *reader);
bool toe_reader_take_out(struct toe_read_wait *wait, struct toe_reader *reader);
int toe_reader_sleep(struct sock *sk, struct msghdr *msg, size_t len,
		     struct toe_reader *reader);
void toe_reader_settle(const struct toe_reader *reader);
bool toe_reader_wake(struct toe_read_wait *wait);
void toe_read_wait_leave(struct toe_read_wait *wait);
void toe_recv_data_ready(struct sock *sk, struct toe_read_wait *wait);

#endif
