/* SPDX-License-Identifier: GPL-2.0 */
/* The socket methods that may sleep without bound. */
#ifndef TOE_HELPERS_CALLS_H
#define TOE_HELPERS_CALLS_H

#include <linux/err.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sockptr.h>
#include <net/sock.h>

/*
 * What a hook returns when it is no result of the call: neither a number of bytes, which
 * may be any up to INT_MAX, nor an error.
 */
enum {
	/* The host's own method shall do it. */
	TOE_CALL_HOST		= INT_MIN,
	/* The same, without waiting: what there is, or why there is nothing. */
	TOE_CALL_HOST_NOWAIT,
};
static_assert(TOE_CALL_HOST_NOWAIT < -MAX_ERRNO);

/* Flags with which a recvmsg() may be served from a posted buffer. */
enum {
	TOE_RECV_FLAGS = MSG_WAITALL | MSG_NOSIGNAL | MSG_WAITFORONE |
			 MSG_CMSG_CLOEXEC | MSG_CMSG_COMPAT,
};

struct toe_call_hooks {
	int (*sendmsg)(struct sock *sk, struct msghdr *msg, size_t len);
	/* A number of bytes, or anything below: the host's method shall do it. */
	int (*read)(struct sock *sk, struct msghdr *msg, size_t len);
	/* After a read with TOE_READ_DUE. */
	void (*read_done)(struct sock *sk);
	int (*recvmsg)(struct sock *sk, struct msghdr *msg, size_t len, int flags);
	void (*close)(struct sock *sk);
	int (*setsockopt)(struct sock *sk, int level, int name, sockptr_t val,
			  unsigned int len);
};

int toe_sendmsg(struct sock *sk, struct msghdr *msg, size_t len);
int toe_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags);
void toe_close(struct sock *sk, long timeout);
int toe_setsockopt(struct sock *sk, int level, int name, sockptr_t val,
		   unsigned int len);
int toe_getsockopt(struct sock *sk, int level, int name, char __user *val,
		   int __user *len);
void toe_call_hooks_set(const struct toe_call_hooks *hooks);
void toe_recv_allow(size_t min);
void toe_recv_allow_all(void);

void toe_call_enter(void);
void toe_call_leave(void);
long toe_calls_in_flight(void);
void toe_synchronize_tasks(void);

/*
 * A reference on the module for a call of @sk that may sleep without bound. The
 * place in the list of those who have one, or -1; false: the module is going.
 */
bool toe_holder_get(const struct sock *sk, const char *call, const char *dev,
		    int *place);
void toe_holder_put(int place);
void toe_holders_plant(struct dentry *dir);

#endif
