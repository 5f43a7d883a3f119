// SPDX-License-Identifier: GPL-2.0
/*
 * Socket methods that may sleep without bound: in memory that a user serves (userfaultfd,
 * FUSE), or for a peer that does not read.
 *
 * rmmod must not wait for them. What the host's own function can do is left to it by a
 * jump, with nothing of ours on the stack; a call that has to stay holds a reference on the
 * module, and is listed in debugfs. synchronize_rcu_tasks() covers the few instructions
 * here that nothing counts.
 */

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>
#include <net/tcp.h>

#include "calls.h"
#include "recv.h"

#if __has_attribute(musttail)
#define toe_tail_call __attribute__((musttail)) return
#elif defined(CONFIG_FRAME_POINTER)
#error "this compiler cannot be made to jump: no musttail, and -fno-optimize-sibling-calls"
#else
#define toe_tail_call return
#endif

static struct toe_call_hooks toe_hooks;
/* No shorter request is posted by any device. */
static size_t toe_recv_min = SIZE_MAX;
/* Calls with any of these flags are the host's. */
static unsigned int toe_recv_odd = ~(unsigned int)TOE_RECV_FLAGS;

void toe_call_hooks_set(const struct toe_call_hooks *hooks)
{
	toe_hooks = *hooks;
}

void toe_recv_allow(size_t min)
{
	if (min < READ_ONCE(toe_recv_min))
		WRITE_ONCE(toe_recv_min, min);
}

/* Payload may be held anywhere: every call has to ask for it, from now on. */
void toe_recv_allow_all(void)
{
	WRITE_ONCE(toe_recv_odd, 0);
	WRITE_ONCE(toe_recv_min, 0);
}

/* proto::sendmsg of a delegated connection */
int toe_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)
{
	int ret = toe_hooks.sendmsg(sk, msg, len);

	if (ret != TOE_CALL_HOST)
		return ret;
	toe_tail_call tcp_sendmsg(sk, msg, len);
}

static noinline int toe_recv_wanted(struct sock *sk, struct msghdr *msg,
				    size_t len, int flags)
{
	int ret = toe_hooks.recvmsg(sk, msg, len, flags);

	if (ret == TOE_CALL_HOST_NOWAIT)
		flags |= MSG_DONTWAIT;
	else if (ret != TOE_CALL_HOST)
		return ret;
	toe_tail_call READ_ONCE(tcp_prot.recvmsg)(sk, msg, len, flags);
}

/* A read that wants any bytes there are, and nothing more. */
static noinline int toe_read(struct sock *sk, struct msghdr *msg, size_t len, int flags)
{
	int ret = 0;

	/* It does not sleep: synchronize_rcu_tasks() waits for its end, too. */
	if (!skb_queue_empty_lockless(&sk->sk_receive_queue))
		ret = toe_recv_now(sk, msg, len);
	if (!ret && !(flags & MSG_DONTWAIT))
		ret = toe_hooks.read(sk, msg, len);
	if (unlikely(ret > 0 && ret & TOE_READ_DUE)) {
		ret &= ~TOE_READ_DUE;
		toe_hooks.read_done(sk);
	}
	if (ret > 0)
		return ret;
	toe_tail_call READ_ONCE(tcp_prot.recvmsg)(sk, msg, len, flags);
}

/* proto::recvmsg of a delegated connection */
int toe_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags)
{
	if (unlikely(len >= READ_ONCE(toe_recv_min)) &&
	    !(flags & READ_ONCE(toe_recv_odd)) &&
	    sock_rcvlowat(sk, flags & MSG_WAITALL, len) >= READ_ONCE(toe_recv_min) &&
	    skb_queue_empty_lockless(&sk->sk_receive_queue))
		toe_tail_call toe_recv_wanted(sk, msg, len, flags);
	if (likely(!(flags & ~TOE_READ_FLAGS)))
		toe_tail_call toe_read(sk, msg, len, flags);
	toe_tail_call READ_ONCE(tcp_prot.recvmsg)(sk, msg, len, flags);
}

/* proto::close of a delegated connection */
void toe_close(struct sock *sk, long timeout)
{
	toe_hooks.close(sk);
	toe_tail_call tcp_close(sk, timeout);
}

/* proto::setsockopt of a delegated connection; the host's is the same for both families */
int toe_setsockopt(struct sock *sk, int level, int name, sockptr_t val,
		   unsigned int len)
{
	int ret = toe_hooks.setsockopt(sk, level, name, val, len);

	if (ret != TOE_CALL_HOST)
		return ret;
	toe_tail_call READ_ONCE(tcp_prot.setsockopt)(sk, level, name, val, len);
}

/*
 * do_tcp_getsockopt() loads icsk_ulp_ops twice, with a copy to user memory between, and
 * would follow NULL if the connection is uploaded then. Whatever needs a fault is left to
 * it all the same: a task must not sleep here.
 */
static bool toe_get_ulp(struct sock *sk, char __user *val, int __user *lenp)
{
	const struct tcp_ulp_ops *ulp = READ_ONCE(inet_csk(sk)->icsk_ulp_ops);
	int len;

	if (!ulp || copy_from_user_nofault(&len, lenp, sizeof(len)))
		return false;
	len = min_t(unsigned int, len, TCP_ULP_NAME_MAX);
	return !copy_to_user_nofault(lenp, &len, sizeof(len)) &&
	       !copy_to_user_nofault(val, ulp->name, len);
}

/* proto::getsockopt of a delegated connection */
int toe_getsockopt(struct sock *sk, int level, int name, char __user *val,
		   int __user *len)
{
	if (level == SOL_TCP && name == TCP_ULP && toe_get_ulp(sk, val, len))
		return 0;
	toe_tail_call READ_ONCE(tcp_prot.getsockopt)(sk, level, name, val, len);
}

/* --- calls in flight ----------------------------------------------------- */

static DEFINE_PER_CPU(long, toe_calls);

/* A task entered / left one of our socket methods. */
void toe_call_enter(void)
{
	this_cpu_inc(toe_calls);
}

void toe_call_leave(void)
{
	this_cpu_dec(toe_calls);
}

long toe_calls_in_flight(void)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(&toe_calls, cpu);
	return sum;
}

/* Until no task can be on its way into a method that was replaced. */
void toe_synchronize_tasks(void)
{
	synchronize_rcu_tasks();
}

/* --- calls that hold the module ------------------------------------------ */

/* Shown at most; more hold the module all the same. */
#define TOE_HOLDERS 64

static struct toe_holder {
	pid_t pid;
	char comm[TASK_COMM_LEN];
	char dev[IFNAMSIZ];
	const char *call;
	unsigned long since;
} toe_holders[TOE_HOLDERS];
static unsigned int toe_holders_hidden;
static DEFINE_SPINLOCK(toe_holders_lock);

bool toe_holder_get(const struct sock *sk, const char *call, const char *dev,
		    int *place)
{
	int i;

	if (!try_module_get(THIS_MODULE))
		return false;
	*place = -1;
	spin_lock_bh(&toe_holders_lock);
	for (i = 0; i < TOE_HOLDERS; i++) {
		struct toe_holder *h = &toe_holders[i];

		if (h->call)
			continue;
		h->pid = task_pid_nr(current);
		get_task_comm(h->comm, current);
		strscpy(h->dev, dev, sizeof(h->dev));
		h->since = jiffies;
		h->call = call;
		*place = i;
		break;
	}
	if (*place < 0)
		toe_holders_hidden++;
	spin_unlock_bh(&toe_holders_lock);
	return true;
}

void toe_holder_put(int place)
{
	spin_lock_bh(&toe_holders_lock);
	if (place < 0)
		toe_holders_hidden--;
	else
		toe_holders[place].call = NULL;
	spin_unlock_bh(&toe_holders_lock);
	module_put(THIS_MODULE);
}

static int toe_holders_show(struct seq_file *seq, void *unused)
{
	int i;

	seq_puts(seq, "pid name call device seconds\n");
	spin_lock_bh(&toe_holders_lock);
	for (i = 0; i < TOE_HOLDERS; i++) {
		const struct toe_holder *h = &toe_holders[i];

		if (h->call)
			seq_printf(seq, "%d %s %s %s %lu\n", h->pid, h->comm,
				   h->call, h->dev, (jiffies - h->since) / HZ);
	}
	if (toe_holders_hidden)
		seq_printf(seq, "and %u more\n", toe_holders_hidden);
	spin_unlock_bh(&toe_holders_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(toe_holders);

void toe_holders_plant(struct dentry *dir)
{
	debugfs_create_file("holders", 0400, dir, NULL, &toe_holders_fops);
}
