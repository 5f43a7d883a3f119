// SPDX-License-Identifier: GPL-2.0
/*
 * Bonds: which member a connection's frames leave by, and by which they may come in. All of it
 * under RCU; a device found so lives until the section ends.
 */

#include <linux/if_vlan.h>
#include <net/bonding.h>
#include <net/tcp.h>

#include "bond.h"
#include "sock.h"
#include "vlan.h"

bool toe_is_bond(const struct net_device *dev)
{
	return netif_is_bond_master(dev);
}

bool toe_is_bond_member(const struct net_device *dev)
{
	return netif_is_bond_slave(dev);
}

static int toe_bond_mode(const struct net_device *bond)
{
	return READ_ONCE(((struct bonding *)netdev_priv(bond))->params.mode);
}

/* Does the bond send all frames of a connection by one member, as long as nothing changes? */
bool toe_bond_is_served(const struct net_device *bond)
{
	switch (toe_bond_mode(bond)) {
	case BOND_MODE_ACTIVEBACKUP:
	case BOND_MODE_XOR:
	case BOND_MODE_8023AD:
		return true;
	default:
		return false;
	}
}

/* The headers of a frame of @sk, as the bond sees them: what it may choose a member by. */
static struct sk_buff *toe_bond_frame(struct net_device *bond, struct sock *sk,
				      struct net_device *upper)
{
	const struct inet_sock *inet = inet_sk(sk);
	struct dst_entry *dst = rcu_dereference(sk->sk_dst_cache);
	bool v6 = toe_carries_v6(sk);
	struct toe_vlan vlan;
	struct toe_hop hop;
	struct tcphdr *th;
	struct sk_buff *skb;

	if (!dst)
		return NULL;
	skb = alloc_skb(VLAN_ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(*th), GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb_reserve(skb, VLAN_HLEN);
	toe_dst_hop(sk, dst, &hop);
	skb->dev = bond;
	skb->protocol = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
	skb_reset_mac_header(skb);
	eth_hdr(skb)->h_proto = skb->protocol;
	ether_addr_copy(eth_hdr(skb)->h_source, upper->dev_addr);
	/* One that is not known is asked for before anything is offloaded. */
	eth_zero_addr(eth_hdr(skb)->h_dest);
	toe_neigh_peek(upper, &hop, eth_hdr(skb)->h_dest);
	skb_put(skb, ETH_HLEN);
	skb_set_network_header(skb, ETH_HLEN);
	if (v6) {
#if IS_ENABLED(CONFIG_IPV6)
		struct ipv6hdr *ip6 = skb_put_zero(skb, sizeof(*ip6));

		ip6->version = 6;
		ip6->nexthdr = IPPROTO_TCP;
		ip6->payload_len = htons(sizeof(*th));
		ip6->saddr = inet6_sk(sk)->saddr;
		ip6->daddr = sk->sk_v6_daddr;
#endif
	} else {
		struct iphdr *iph = skb_put_zero(skb, sizeof(*iph));

		iph->version = 4;
		iph->ihl = 5;
		iph->protocol = IPPROTO_TCP;
		iph->tot_len = htons(sizeof(*iph) + sizeof(*th));
		iph->saddr = inet->inet_saddr;
		iph->daddr = inet->inet_daddr;
	}
	skb_set_transport_header(skb, skb->len);
	th = skb_put_zero(skb, sizeof(*th));
	th->source = inet->inet_sport;
	th->dest = inet->inet_dport;
	th->doff = sizeof(*th) / 4;
	skb_set_hash_from_sk(skb, sk);
	if (toe_vlan_get(upper, &vlan)) {
		__vlan_hwaccel_put_tag(skb, htons(vlan.proto), vlan.id);
		/* As on the way into a device that takes no tag beside the data. */
		if (!vlan_hw_offload_capable(bond->features, htons(vlan.proto)))
			skb = __vlan_hwaccel_push_inside(skb);
	}
	return skb;
}

/*
 * The member that the frames of @sk leave by at this moment, which reach @bond through @upper:
 * a VLAN device on it, or the bond itself. NULL if there is none.
 */
struct net_device *toe_bond_member(struct net_device *bond, struct sock *sk,
				   struct net_device *upper)
{
	struct bonding *priv = netdev_priv(bond);
	const struct bond_up_slave *usable;
	struct net_device *member;
	struct sk_buff *skb;

	if (!toe_bond_is_served(bond))
		return NULL;
	if (toe_bond_mode(bond) == BOND_MODE_ACTIVEBACKUP)
		return bond_option_active_slave_get_rcu(priv);
	/* With one that is usable, as most often when another one has failed, no hash is needed. */
	usable = rcu_dereference(priv->usable_slaves);
	if (usable && READ_ONCE(usable->count) == 1)
		return usable->arr[0]->dev;
	skb = toe_bond_frame(bond, sk, upper);
	if (!skb)
		return NULL;
	member = netdev_get_xmit_slave(bond, skb, false);
	kfree_skb(skb);
	return member;
}

/* The members of a bond, by number; NULL behind the last one. */
struct net_device *toe_bond_nth(struct net_device *bond, unsigned int n)
{
	struct list_head *iter;
	struct slave *slave;

	if (!netif_is_bond_master(bond))
		return NULL;
	bond_for_each_slave_rcu((struct bonding *)netdev_priv(bond), slave, iter)
		if (!n--)
			return slave->dev;
	return NULL;
}

/* The bond that a device is a member of, or NULL. */
struct net_device *toe_bond_of(struct net_device *member)
{
	struct net_device *bond;

	if (!netif_is_bond_slave(member))
		return NULL;
	bond = netdev_master_upper_dev_get_rcu(member);
	return bond && netif_is_bond_master(bond) ? bond : NULL;
}

/* bond_should_deliver_exact_match(): does the bond take no frames that the member receives? */
bool toe_bond_is_inactive(struct net_device *member)
{
	struct slave *slave;
	bool ret;

	if (!netif_is_bond_slave(member))
		return false;
	/* Bottom halves that are off are a section, too, but lockdep does not know for whom. */
	rcu_read_lock();
	slave = bond_slave_get_rcu(member);
	ret = !slave || bond_is_slave_inactive(slave);
	rcu_read_unlock();
	return ret;
}

/*
 * A number that changes when the bond may send by another member: nobody is told that the array
 * of those that are usable was replaced.
 */
u64 toe_bond_sign(struct net_device *dev)
{
	struct bonding *bond = netdev_priv(dev);
	const struct bond_up_slave *usable;
	unsigned int i;
	u64 sign;

	if (!netif_is_bond_master(dev))
		return 0;
	sign = (u64)toe_bond_mode(dev) << 8 | (u8)READ_ONCE(bond->params.xmit_policy);
	sign = toe_mix(sign, (unsigned long)rcu_access_pointer(bond->curr_active_slave));
	rcu_read_lock();
	usable = rcu_dereference(bond->usable_slaves);
	for (i = 0; usable && i < usable->count; i++)
		sign = toe_mix(sign, (unsigned long)usable->arr[i]);
	rcu_read_unlock();
	return sign;
}

/*
 * How long, in ms, a bond at the other end may drop what is sent to it by another member than
 * before, if it looks at its links as often as this one: only active-backup drops what an
 * inactive member receives, until it has seen that the active one is gone.
 */
u32 toe_bond_lag_ms(const struct net_device *dev)
{
	const struct bonding *bond = netdev_priv(dev);
	int ms;

	if (!netif_is_bond_master(dev) || toe_bond_mode(dev) != BOND_MODE_ACTIVEBACKUP)
		return 0;
	ms = max(READ_ONCE(bond->params.miimon), READ_ONCE(bond->params.arp_interval));
	return clamp(ms, 0, MSEC_PER_SEC);
}

/*
 * The device that frames of @sk leave by whose route leaves through @dev: below all VLAN
 * devices and a bond. A bond that has none for them is the last one itself.
 */
struct net_device *toe_base_dev(struct net_device *dev, struct sock *sk)
{
	struct net_device *base = toe_vlan_base(dev), *member;

	if (likely(!netif_is_bond_master(base)))
		return base;
	member = toe_bond_member(base, sk, dev);
	return member ?: base;
}
