// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf-cgroup.h>
#include <linux/filter.h>
#include <linux/jump_label.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/sch_generic.h>
#include <net/tcx.h>
#include <net/xfrm.h>

#include "filter.h"
#include "sock.h"

#ifdef CONFIG_NETFILTER
/*
 * Is it one of those that nf_conntrack_proto.c and nf_defrag_ipv?.c register?
 * Their functions have no names that a module could link to without needing
 * nf_conntrack, but no rule set has their priorities with neither type nor data.
 */
static bool toe_nf_conntrack(const struct nf_hook_ops *ops)
{
	if (ops->hook_ops_type != NF_HOOK_OP_UNDEFINED || ops->priv)
		return false;
	switch (ops->priority) {
	case NF_IP_PRI_CONNTRACK_DEFRAG:
	case NF_IP_PRI_CONNTRACK:
	case NF_IP_PRI_CONNTRACK_CONFIRM:
		return true;
	case NF_IP6_PRI_LAST - 1:
		return ops->pf == NFPROTO_IPV6 &&
		       ops->hooknum == NF_INET_LOCAL_IN;
	}
	return false;
}
#endif

/* Are there IPsec policies, or is blocked what they do not know? */
static bool toe_net_xfrm(const struct net *net)
{
#ifdef CONFIG_XFRM
	return READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_OUT]) ||
	       READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_IN]) ||
	       READ_ONCE(net->xfrm.policy_default[XFRM_POLICY_OUT]) != XFRM_USERPOLICY_ACCEPT ||
	       READ_ONCE(net->xfrm.policy_default[XFRM_POLICY_IN]) != XFRM_USERPOLICY_ACCEPT;
#else
	return false;
#endif
}

/* Has any socket policies of its own? They are counted behind those of the namespace. */
static bool toe_socks_xfrm(const struct net *net)
{
#ifdef CONFIG_XFRM
	return READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_MAX + XFRM_POLICY_OUT]) ||
	       READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_MAX + XFRM_POLICY_IN]);
#else
	return false;
#endif
}

/* RCU. What sees the packets of a family in a namespace. */
static u32 toe_net_filters(struct net *net, bool v6)
{
	u32 ret = 0;
#ifdef CONFIG_NETFILTER
	struct nf_hook_entries __rcu **hooks;
	struct nf_hook_entries *entries;
	unsigned long any = 0;
	unsigned int i, n;

	hooks = v6 ? net->nf.hooks_ipv6 : net->nf.hooks_ipv4;
	for (i = 0; i < NF_INET_NUMHOOKS; i++)
		any |= (unsigned long)rcu_access_pointer(hooks[i]);
	for (i = 0; any && i < NF_INET_NUMHOOKS; i++) {
		struct nf_hook_ops **ops;

		entries = rcu_dereference(hooks[i]);
		if (i == NF_INET_FORWARD || !entries)
			continue;
		ops = nf_hook_entries_get_hook_ops(entries);
		for (n = 0; n < entries->num_hook_entries; n++) {
			const struct nf_hook_ops *op = READ_ONCE(ops[n]);

			/* The dummy of a hook that is being removed. */
			if (op->pf == NFPROTO_UNSPEC)
				continue;
			ret |= toe_nf_conntrack(op) ? TOE_FILTER_CONNTRACK :
						      TOE_FILTER_NETFILTER;
		}
	}
#endif
	if (toe_net_xfrm(net))
		ret |= TOE_FILTER_XFRM;
	return ret;
}

/*
 * Who takes the frames that the device receives: the device that it is a port of. An L3
 * master (VRF) has no handler for that, but ip_rcv_finish() gives them to it. A bond is a layer
 * of the connections that leave by its members (rust/framework/intermediate.rs), others are
 * refused there.
 */
static unsigned long toe_dev_taker(const struct net_device *dev)
{
	if (netif_is_bond_slave(dev))
		return netif_is_l3_slave(dev);
	return (unsigned long)rcu_access_pointer(dev->rx_handler) |
	       netif_is_l3_slave(dev);
}

/* Do the frames of a socket pass connection tracking, those that it sees? */
bool toe_sk_tracked(const struct sock *sk, bool v6)
{
	bool ret;

	rcu_read_lock();
	ret = toe_net_filters(sock_net(sk), v6) & TOE_FILTER_CONNTRACK;
	rcu_read_unlock();
	return ret;
}

/* RCU. What sees the packets of a device. */
static u32 toe_dev_filters(struct net_device *dev)
{
	unsigned int i, queues = READ_ONCE(dev->real_num_tx_queues);
	u32 ret = 0;

	for (i = 0; i < queues; i++) {
		struct Qdisc *q;

		/*
		 * The one that is configured: while another one is put in its
		 * place, or without carrier, noop_qdisc is the active one.
		 */
		q = rcu_dereference(netdev_get_tx_queue(dev, i)->qdisc_sleeping);
		if (q->enqueue && !(q->flags & TCQ_F_BUILTIN))
			ret |= TOE_FILTER_QDISC;
	}
#ifdef CONFIG_NET_XGRESS
	if (rcu_access_pointer(dev->tcx_ingress) ||
	    rcu_access_pointer(dev->tcx_egress))
		ret |= TOE_FILTER_TC;
#endif
#ifdef CONFIG_NETFILTER_INGRESS
	if (rcu_access_pointer(dev->nf_hooks_ingress))
		ret |= TOE_FILTER_NETFILTER;
#endif
#ifdef CONFIG_NETFILTER_EGRESS
	if (rcu_access_pointer(dev->nf_hooks_egress))
		ret |= TOE_FILTER_NETFILTER;
#endif
	if (rcu_access_pointer(dev->xdp_prog))
		ret |= TOE_FILTER_XDP;
	if (toe_dev_taker(dev))
		ret |= TOE_FILTER_RX_HANDLER;
	return ret;
}

static bool toe_cgroup_filters(struct sock *sk)
{
#ifdef CONFIG_CGROUP_BPF
	return (cgroup_bpf_enabled(CGROUP_INET_EGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_EGRESS)) ||
	       (cgroup_bpf_enabled(CGROUP_INET_INGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_INGRESS));
#else
	return false;
#endif
}

/* IP_XFRM_POLICY, or what a listener had of it. */
static bool toe_sock_xfrm(const struct sock *sk)
{
#ifdef CONFIG_XFRM
	return rcu_access_pointer(sk->sk_policy[XFRM_POLICY_IN]) ||
	       rcu_access_pointer(sk->sk_policy[XFRM_POLICY_OUT]);
#else
	return false;
#endif
}

static u8 toe_sock_ops(const struct sock *sk)
{
#ifdef CONFIG_BPF
	return READ_ONCE(tcp_sk(sk)->bpf_sock_ops_cb_flags) |
	       READ_ONCE(sk->sk_bpf_cb_flags);
#else
	return 0;
#endif
}

u32 toe_egress_filters(struct sock *sk, struct net_device *dev)
{
	u32 ret;

	rcu_read_lock();
	ret = toe_dev_filters(dev);
	ret |= toe_net_filters(sock_net(sk), toe_carries_v6(sk));
	rcu_read_unlock();
	return ret;
}

u32 toe_own_filters(struct sock *sk)
{
	u32 ret = 0;

	rcu_read_lock();
	if (toe_sock_xfrm(sk))
		ret |= TOE_FILTER_XFRM;
	if (toe_cgroup_filters(sk))
		ret |= TOE_FILTER_CGROUP_BPF;
	if (rcu_access_pointer(sk->sk_filter))
		ret |= TOE_FILTER_SOCKET;
	if (toe_sock_ops(sk))
		ret |= TOE_FILTER_SOCK_OPS;
	rcu_read_unlock();
	return ret;
}

static int toe_upper_filters(struct net_device *dev,
			     struct netdev_nested_priv *priv)
{
	u32 *ret = priv->data;

	*ret |= toe_dev_filters(dev);
	*ret |= toe_net_filters(dev_net_rcu(dev), false);
	*ret |= toe_net_filters(dev_net_rcu(dev), true);
	if (toe_socks_xfrm(dev_net_rcu(dev)))
		*ret |= TOE_FILTER_XFRM;
	return 0;
}

static u64 toe_net_sign(struct net *net, u64 sign)
{
	unsigned int i __maybe_unused;

#ifdef CONFIG_NETFILTER
	/* Made anew whenever a hook comes or goes. */
	for (i = 0; i < NF_INET_NUMHOOKS; i++) {
		sign = toe_mix(sign, (unsigned long)rcu_access_pointer(net->nf.hooks_ipv4[i]));
		sign = toe_mix(sign, (unsigned long)rcu_access_pointer(net->nf.hooks_ipv6[i]));
	}
#endif
#ifdef CONFIG_XFRM
	for (i = 0; i < ARRAY_SIZE(net->xfrm.policy_count); i++)
		sign = toe_mix(sign, READ_ONCE(net->xfrm.policy_count[i]));
	for (i = 0; i < ARRAY_SIZE(net->xfrm.policy_default); i++)
		sign = toe_mix(sign, READ_ONCE(net->xfrm.policy_default[i]));
#endif
	return sign;
}

static int toe_upper_sign(struct net_device *dev,
			  struct netdev_nested_priv *priv)
{
	unsigned int i, queues = READ_ONCE(dev->real_num_tx_queues);
	u64 sign = toe_mix(*(u64 *)priv->data, dev->ifindex);

	for (i = 0; i < queues; i++)
		sign = toe_mix(sign, (unsigned long)rcu_access_pointer(
				netdev_get_tx_queue(dev, i)->qdisc_sleeping));
#ifdef CONFIG_NET_XGRESS
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(dev->tcx_ingress));
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(dev->tcx_egress));
#endif
#ifdef CONFIG_NETFILTER_INGRESS
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(dev->nf_hooks_ingress));
#endif
#ifdef CONFIG_NETFILTER_EGRESS
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(dev->nf_hooks_egress));
#endif
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(dev->xdp_prog));
	sign = toe_mix(sign, toe_dev_taker(dev));
	*(u64 *)priv->data = toe_net_sign(dev_net_rcu(dev), sign);
	return 0;
}

/*
 * Another one when anything is installed that toe_any_filters() looks at: the cost is
 * that of the devices, not of the connections.
 */
u64 toe_filters_sign(struct net_device *dev)
{
	u64 sign = 0;
	struct netdev_nested_priv priv = { .data = &sign };

	rcu_read_lock();
	toe_upper_sign(dev, &priv);
	netdev_walk_all_upper_dev_rcu(dev, toe_upper_sign, &priv);
	rcu_read_unlock();
#ifdef CONFIG_CGROUP_BPF
	sign = toe_mix(sign, static_key_count(&cgroup_bpf_enabled_key[CGROUP_INET_EGRESS].key));
	sign = toe_mix(sign, static_key_count(&cgroup_bpf_enabled_key[CGROUP_INET_INGRESS].key));
	sign = toe_mix(sign, static_key_count(&cgroup_bpf_enabled_key[CGROUP_SOCK_OPS].key));
#endif
	return sign;
}

#ifdef CONFIG_CGROUP_BPF
const atomic_t *const toe_ingress_programs =
	&cgroup_bpf_enabled_key[CGROUP_INET_INGRESS].key.enabled;
#else
static const atomic_t toe_no_programs;
const atomic_t *const toe_ingress_programs = &toe_no_programs;
#endif

/*
 * Does anything of the socket's own, or its cgroup's, look at a frame that is received?
 * What is looked at here Sock::is_watched() looks for first, in one branch.
 */
bool toe_sk_watched(struct sock *sk)
{
	if (unlikely(rcu_access_pointer(sk->sk_filter)) || unlikely(toe_sock_ops(sk)))
		return true;
#ifdef CONFIG_CGROUP_BPF
	return cgroup_bpf_enabled(CGROUP_INET_INGRESS) &&
	       cgroup_bpf_sock_enabled(sk, CGROUP_INET_INGRESS);
#else
	return false;
#endif
}

/* Devices on top of it may be those that routes leave through. */
u32 toe_any_filters(struct net_device *dev)
{
	u32 ret = 0;
	struct netdev_nested_priv priv = { .data = &ret };

	rcu_read_lock();
	toe_upper_filters(dev, &priv);
	netdev_walk_all_upper_dev_rcu(dev, toe_upper_filters, &priv);
	rcu_read_unlock();
#ifdef CONFIG_CGROUP_BPF
	if (cgroup_bpf_enabled(CGROUP_INET_EGRESS) ||
	    cgroup_bpf_enabled(CGROUP_INET_INGRESS))
		ret |= TOE_FILTER_CGROUP_BPF;
	if (cgroup_bpf_enabled(CGROUP_SOCK_OPS))
		ret |= TOE_FILTER_SOCK_OPS;
#endif
	return ret;
}

/*
 * Could toe_egress_filters() or toe_own_filters() find something that sees what is sent? For every frame,
 * so few branches. What only sees what is received is for the worker to find; a
 * new xfrm policy makes the route invalid.
 */
static __always_inline bool toe_suspect(struct sock *sk,
					const struct net_device *dev, bool v6)
{
	struct net *net = sock_net(sk);
	unsigned long any = 0;

#ifdef CONFIG_NETFILTER
	struct nf_hook_entries __rcu **hooks;

	hooks = v6 ? net->nf.hooks_ipv6 : net->nf.hooks_ipv4;
	any |= (unsigned long)rcu_access_pointer(hooks[NF_INET_LOCAL_OUT]);
	any |= (unsigned long)rcu_access_pointer(hooks[NF_INET_POST_ROUTING]);
#endif
#ifdef CONFIG_NET_XGRESS
	any |= (unsigned long)rcu_access_pointer(dev->tcx_egress);
#endif
#ifdef CONFIG_NETFILTER_EGRESS
	any |= (unsigned long)rcu_access_pointer(dev->nf_hooks_egress);
#endif
	/* Only what user space installed has a handle, be it one per queue. */
	any |= rcu_dereference_bh(dev->qdisc)->handle;
	any |= toe_sock_ops(sk);
	return any || toe_cgroup_filters(sk);
}

static __always_inline u32 toe_sk_way(struct sock *sk,
				       const struct net_device *dev, bool v6)
{
	struct dst_entry *dst = __sk_dst_get(sk);

	/* A route of IPv4 that ipv4_dst_check() finds valid. */
	if (v6 || unlikely(!dst) ||
	    unlikely(READ_ONCE(dst->obsolete) != DST_OBSOLETE_FORCE_CHK) ||
	    unlikely(dst_rtable(dst)->rt_genid != rt_genid_ipv4(sock_net(sk))))
		dst = toe_sk_valid_dst(sk);
	if (unlikely(!dst))
		return TOE_TX_INVALID;
	if (unlikely(dst_dev(dst) != dev || !(dev->flags & IFF_UP)))
		return TOE_TX_ELSEWHERE;
	return 0;
}

static noinline u32 toe_sk_suspect(struct sock *sk,
				   const struct net_device *dev)
{
	return TOE_TX_SUSPECT | toe_sk_way(sk, dev, toe_carries_v6(sk));
}

/* Few registers live across calls: each would cost two instructions. */
u32 toe_sk_tx_blockers(struct sock *sk, const struct net_device *dev)
{
	if (unlikely(toe_carries_v6(sk))) {
		if (unlikely(toe_suspect(sk, dev, true)))
			return toe_sk_suspect(sk, dev);
		return toe_sk_way(sk, dev, true);
	}
	if (unlikely(toe_suspect(sk, dev, false)))
		return toe_sk_suspect(sk, dev);
	return toe_sk_way(sk, dev, false);
}
