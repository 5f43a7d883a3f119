// SPDX-License-Identifier: GPL-2.0

#include <linux/cgroup.h>
#include <linux/sched.h>
#include <linux/uidgid.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/tcp.h>

#include "rules.h"

/*
 * Under the socket lock. A socket that was accepted has the backlog of its
 * listener (sk_clone() copies it); one that connects has never had one.
 */
void toe_sk_meta(struct sock *sk, struct toe_sock_meta *meta)
{
	meta->mark = READ_ONCE(sk->sk_mark);
	meta->uid = from_kuid(sock_net(sk)->user_ns, sk_uid(sk));
	meta->uid_known = meta->uid != (uid_t)-1;
	meta->passive = READ_ONCE(sk->sk_max_ack_backlog) != 0;
}

/* Process context. */
void toe_current_comm(char comm[16])
{
	BUILD_BUG_ON(TASK_COMM_LEN != 16);
	strscpy_pad(comm, current->comm, TASK_COMM_LEN);
}

#ifdef CONFIG_SOCK_CGROUP_DATA
/* The level, or -E2BIG if there are more than `levels`. */
static int toe_cgroup_ids(struct cgroup *cgrp, u64 *ids, int levels)
{
	int i;

	if (cgrp->level >= levels)
		return -E2BIG;
	for (i = 0; i <= cgrp->level; i++)
		ids[i] = cgroup_id(cgroup_ancestor(cgrp, i));
	return cgrp->level;
}
#endif

/*
 * The cgroup of the default hierarchy that the socket was made in. Deeper ones
 * count as their ancestor of the last level there is room for.
 */
int toe_sk_cgroup(struct sock *sk, u64 *ids, int levels)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	struct cgroup *cgrp = sock_cgroup_ptr(&sk->sk_cgrp_data);

	if (!cgrp)
		return -ENOENT;
	if (cgrp->level >= levels)
		cgrp = cgroup_ancestor(cgrp, levels - 1);
	return toe_cgroup_ids(cgrp, ids, levels);
#else
	return -EOPNOTSUPP;
#endif
}

/* Process context; the path begins at the root of current's cgroup namespace. */
int toe_path_cgroup(const char *path, u64 *ids, int levels)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	struct cgroup *cgrp = cgroup_get_from_path(path);
	int ret;

	if (IS_ERR(cgrp))
		return PTR_ERR(cgrp);
	ret = toe_cgroup_ids(cgrp, ids, levels);
	cgroup_put(cgrp);
	return ret;
#else
	return -EOPNOTSUPP;
#endif
}

/*
 * A full socket of an established connection in the namespace of `dev`, with a
 * reference, or NULL. Process context.
 */
struct sock *toe_find_sk(struct net_device *dev, bool v6, const u8 *local,
			 u16 lport, const u8 *remote, u16 rport)
{
	struct net *net = dev_net(dev);
	struct sock *sk = NULL;

	rcu_read_lock();
	local_bh_disable();
	if (!v6) {
		__be32 saddr, daddr;

		memcpy(&saddr, remote, sizeof(saddr));
		memcpy(&daddr, local, sizeof(daddr));
		sk = __inet_lookup_established(net, saddr, htons(rport), daddr,
					       lport, dev->ifindex, 0);
	}
#if IS_ENABLED(CONFIG_IPV6)
	else {
		struct in6_addr saddr, daddr;

		memcpy(&saddr, remote, sizeof(saddr));
		memcpy(&daddr, local, sizeof(daddr));
		sk = __inet6_lookup_established(net, &saddr, htons(rport),
						&daddr, lport, dev->ifindex, 0);
	}
#endif
	if (sk && !sk_fullsock(sk)) {
		sock_gen_put(sk);
		sk = NULL;
	}
	local_bh_enable();
	rcu_read_unlock();
	return sk;
}
