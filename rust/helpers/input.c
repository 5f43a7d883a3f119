// SPDX-License-Identifier: GPL-2.0

#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/raw.h>
#include <net/rawv6.h>
#include <net/route.h>
#include <net/xfrm.h>

#include "input.h"

/* Sockets of any protocol, and of other namespaces, may be in the same chain. */
const struct hlist_head *toe_raw_sockets(const struct sock *sk, bool v6)
{
	u32 hash = raw_hashfunc(sock_net(sk), IPPROTO_TCP);

#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		return &raw_v6_hashinfo.ht[hash];
#endif
	return &raw_v4_hashinfo.ht[hash];
}

/*
 * tcp_v4_early_demux() and tcp_v6_early_demux(): the host asks for the route of a frame of
 * an established connection only if the one cached does not hold.
 */
static bool toe_input_route_holds(const struct sock *sk,
				  const struct net_device *dev, bool v6)
{
	struct dst_entry *dst = rcu_dereference_bh(sk->sk_rx_dst);
	const struct net *net = sock_net(sk);

	return dst && sk->sk_rx_dst_ifindex == dev->ifindex &&
	       READ_ONCE(net->ipv4.sysctl_ip_early_demux) &&
	       READ_ONCE(net->ipv4.sysctl_tcp_early_demux) &&
	       dst_check(dst, v6 ? sk->sk_rx_dst_cookie : 0);
}

static unsigned long toe_listed(const struct list_head *list)
{
	return (unsigned long)READ_ONCE(list->next) ^ (unsigned long)list;
}

static __always_inline unsigned long toe_packet_handlers(const struct net *net,
							  const struct net_device *dev)
{
	return toe_listed(&net->ptype_all) | toe_listed(&dev->ptype_all) |
	       toe_listed(&net->ptype_specific) |
	       toe_listed(&dev->ptype_specific);
}

/* In full. */
static noinline u32 toe_look_at_input(const struct sock *sk,
				      const struct net_device *dev,
				      const struct hlist_head *raw, bool v6)
{
	u32 ret = 0;

	if (!toe_input_route_holds(sk, dev, v6))
		ret |= TOE_INPUT_ROUTE;
	if (toe_packet_handlers(sock_net(sk), dev))
		ret |= TOE_INPUT_TAPS;
	if (!hlist_empty(raw))
		ret |= TOE_INPUT_RAW;
	return ret;
}

/*
 * For every frame, so few branches, and no call for IPv4: ipv4_dst_check() is a compare of
 * two pairs.
 */
u32 toe_sk_arrival(const struct sock *sk, const struct net_device *dev,
		   const struct hlist_head *raw, bool v6)
{
	const struct net *net = sock_net(sk);
	const struct dst_entry *dst;
	unsigned long any;

	if (v6)
		return toe_look_at_input(sk, dev, raw, true);
	dst = rcu_dereference_bh(sk->sk_rx_dst);
	if (unlikely(!dst) ||
	    unlikely(!READ_ONCE(net->ipv4.sysctl_ip_early_demux)) ||
	    unlikely(!READ_ONCE(net->ipv4.sysctl_tcp_early_demux)))
		return toe_look_at_input(sk, dev, raw, false);
	any = sk->sk_rx_dst_ifindex ^ dev->ifindex;
	any |= READ_ONCE(dst->obsolete) ^ DST_OBSOLETE_FORCE_CHK;
	any |= dst_rtable(dst)->rt_genid ^ rt_genid_ipv4(net);
	any |= toe_packet_handlers(net, dev);
	any |= (unsigned long)READ_ONCE(raw->first);
	if (unlikely(any))
		return toe_look_at_input(sk, dev, raw, false);
	return 0;
}

/* inet_sk_rx_dst_set() and inet6_sk_rx_dst_set(), in the place of another one. */
static void toe_cache_input_route(struct sock *sk, struct dst_entry *dst,
				  const struct net_device *dev, bool v6)
{
	if (sock_owned_by_user(sk) || !dst_hold_safe(dst))
		return;
	dst_release(unrcu_pointer(xchg(&sk->sk_rx_dst, RCU_INITIALIZER(dst))));
	sk->sk_rx_dst_ifindex = dev->ifindex;
#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		sk->sk_rx_dst_cookie = rt6_get_cookie(dst_rt6_info(dst));
#endif
}

bool toe_sk_route_input(struct sock *sk, struct sk_buff *skb,
			struct net_device *dev, u32 l3_off, bool v6)
{
	struct net_device *below = skb->dev;
	const struct dst_entry __maybe_unused *dst;
	const struct iphdr *iph;
	bool local = false;

	/* As they are in ip_rcv_finish(), rules look at ports. */
	skb_set_network_header(skb, l3_off);
	skb->dev = dev;
	rcu_read_lock();
	if (!v6) {
		iph = ip_hdr(skb);
		local = !ip_route_input_noref(skb, iph->daddr, iph->saddr,
					      ip4h_dscp(iph), dev) &&
			skb_rtable(skb)->rt_type == RTN_LOCAL;
	}
#if IS_ENABLED(CONFIG_IPV6)
	else {
		ip6_route_input(skb);
		dst = skb_dst(skb);
		local = !dst->error && dst_rt6_info(dst)->rt6i_flags &
				       (RTF_LOCAL | RTF_ANYCAST);
	}
#endif
	local = local && !skb_dst(skb)->lwtstate;
	if (local)
		toe_cache_input_route(sk, skb_dst(skb), dev, v6);
	rcu_read_unlock();
	skb_dst_drop(skb);
	skb->dev = below;
	return local;
}

/* raw_rcv(), and what ip_rcv_core() does before. */
static void toe_raw_v4(struct sock *sk, struct sk_buff *skb)
{
	memset(IPCB(skb), 0, sizeof(struct inet_skb_parm));
	IPCB(skb)->iif = skb->skb_iif;
	skb_push(skb, -skb_network_offset(skb));
	sk->sk_backlog_rcv(sk, skb);
}

#if IS_ENABLED(CONFIG_IPV6)
/* rawv6_rcv(), of a frame whose checksum is known to be right. */
static void toe_raw_v6(struct sock *sk, struct sk_buff *skb)
{
	memset(IP6CB(skb), 0, sizeof(struct inet6_skb_parm));
	IP6CB(skb)->iif = skb->skb_iif;
	IP6CB(skb)->nhoff = offsetof(struct ipv6hdr, nexthdr);
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	sk->sk_backlog_rcv(sk, skb);
}
#endif

static bool toe_raw_wants(struct net *net, struct sock *sk,
			  const struct sk_buff *skb, bool v6)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		return raw_v6_match(net, sk, IPPROTO_TCP, &ipv6_hdr(skb)->daddr,
				    &ipv6_hdr(skb)->saddr, skb->skb_iif, 0);
#endif
	return raw_v4_match(net, sk, IPPROTO_TCP, ip_hdr(skb)->saddr,
			    ip_hdr(skb)->daddr, skb->skb_iif, 0);
}

/* raw_local_deliver() and raw6_local_deliver() */
void toe_deliver_raw(struct sock *sk, struct sk_buff *skb,
		     struct net_device *dev, bool v6)
{
	struct net *net = sock_net(sk);
	struct dst_entry *dst;
	struct sk_buff *copy;
	struct sock *raw;

	rcu_read_lock();
	/* Who owns the socket may put another one in its place. */
	dst = rcu_dereference(sk->sk_rx_dst);
	sk_for_each_rcu(raw, toe_raw_sockets(sk, v6)) {
		if (!toe_raw_wants(net, raw, skb, v6))
			continue;
		if (atomic_read(&raw->sk_rmem_alloc) >=
		    READ_ONCE(raw->sk_rcvbuf)) {
			sk_drops_inc(raw);
			continue;
		}
		copy = skb_clone(skb, GFP_ATOMIC);
		if (!copy)
			continue;
		copy->dev = dev;
		if (dst && dst_hold_safe(dst))
			skb_dst_set(copy, dst);
		if (!xfrm_policy_check(raw, XFRM_POLICY_IN, copy,
				       v6 ? AF_INET6 : AF_INET)) {
			sk_drops_inc(raw);
			sk_skb_reason_drop(raw, copy,
					   SKB_DROP_REASON_XFRM_POLICY);
			continue;
		}
#if IS_ENABLED(CONFIG_IPV6)
		if (v6) {
			toe_raw_v6(raw, copy);
			continue;
		}
#endif
		toe_raw_v4(raw, copy);
	}
	rcu_read_unlock();
}
