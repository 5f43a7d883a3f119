// SPDX-License-Identifier: GPL-2.0

#include <linux/mutex.h>
#include <linux/sched.h>
#include <net/inet_hashtables.h>
#include <net/tcp_states.h>

#include "batch.h"
#include "bond.h"

static DEFINE_MUTEX(toe_batch);

void toe_batch_begin(void)
{
	mutex_lock(&toe_batch);
}

void toe_batch_end(void)
{
	mutex_unlock(&toe_batch);
}

/* lock_sock_fast() without the wait. */
bool toe_sock_try_own(struct sock *sk)
{
	bool free;

	spin_lock_bh(&sk->sk_lock.slock);
	/* Nobody may own the lock of what was not accepted yet. */
	free = !sk->sk_lock.owned && sk->sk_socket;
	if (free)
		sk->sk_lock.owned = 1;
	spin_unlock_bh(&sk->sk_lock.slock);
	if (free)
		mutex_acquire_nest(&sk->sk_lock.dep_map, 0, 1,
				   &toe_batch.dep_map, _RET_IP_);
	return free;
}

bool toe_sock_same_class(const struct sock *a, const struct sock *b)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	return a->sk_lock.dep_map.key == b->sk_lock.dep_map.key;
#else
	return true;
#endif
}

struct net_device *toe_sk_base_dev(struct sock *sk)
{
	struct dst_entry *dst = rcu_dereference(sk->sk_dst_cache);

	return dst ? toe_base_dev(dst_dev_rcu(dst), sk) : NULL;
}

static bool toe_is_established(const struct sock *sk, const struct net *net)
{
	return sk_fullsock(sk) && net_eq(sock_net(sk), net) &&
	       (1 << READ_ONCE(sk->sk_state)) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT);
}

static u32 toe_net_established(struct net *net, u32 *bucket,
			       struct sock **socks, u32 room)
{
	struct inet_hashinfo *hinfo = net->ipv4.tcp_death_row.hashinfo;
	u32 found = 0;

	for (; *bucket <= hinfo->ehash_mask; ++*bucket) {
		struct inet_ehash_bucket *head = &hinfo->ehash[*bucket];
		spinlock_t *lock = inet_ehash_lockp(hinfo, *bucket);
		struct hlist_nulls_node *node;
		u32 before = found;
		bool full = false;
		struct sock *sk;

		cond_resched();
		if (hlist_nulls_empty(&head->chain))
			continue;
		spin_lock_bh(lock);
		sk_nulls_for_each(sk, node, &head->chain) {
			if (!toe_is_established(sk, net))
				continue;
			if (found == room) {
				full = true;
				break;
			}
			if (refcount_inc_not_zero(&sk->sk_refcnt))
				socks[found++] = sk;
		}
		spin_unlock_bh(lock);
		/* What did not fit comes with the next call; a longer chain is cut. */
		if (full && before) {
			while (found > before)
				sock_put(socks[--found]);
			return found;
		}
	}
	*bucket = U32_MAX;
	return found;
}

u32 toe_established(struct net_device *dev, u32 *bucket, struct sock **socks,
		    u32 room)
{
	struct net *net;
	u32 found;

	rcu_read_lock();
	net = maybe_get_net(dev_net_rcu(dev));
	rcu_read_unlock();
	if (!net) {
		*bucket = U32_MAX;
		return 0;
	}
	found = toe_net_established(net, bucket, socks, room);
	put_net(net);
	return found;
}
