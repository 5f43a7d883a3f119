// SPDX-License-Identifier: GPL-2.0

#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "input.h"

/*
 * tcp_v4_early_demux() and tcp_v6_early_demux(): the host asks for the route of a frame of
 * an established connection only if the one cached does not hold.
 */
static __always_inline bool toe_input_route_holds(const struct sock *sk,
						   const struct net_device *dev,
						   bool v6)
{
	const struct net *net = sock_net(sk);
	struct dst_entry *dst = rcu_dereference_bh(sk->sk_rx_dst);

	if (unlikely(!dst) || unlikely(sk->sk_rx_dst_ifindex != dev->ifindex))
		return false;
	if (unlikely(!READ_ONCE(net->ipv4.sysctl_ip_early_demux)) ||
	    unlikely(!READ_ONCE(net->ipv4.sysctl_tcp_early_demux)))
		return false;
#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		return dst_check(dst, sk->sk_rx_dst_cookie);
#endif
	/* ipv4_dst_check() */
	return READ_ONCE(dst->obsolete) == DST_OBSOLETE_FORCE_CHK &&
	       dst_rtable(dst)->rt_genid == rt_genid_ipv4(net);
}

bool toe_sk_route_holds(const struct sock *sk, const struct net_device *dev,
			bool v6)
{
	return likely(toe_input_route_holds(sk, dev, v6));
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
