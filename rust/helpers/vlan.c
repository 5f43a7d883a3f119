// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <net/net_namespace.h>

#include "bond.h"
#include "device.h"
#include "vlan.h"

/* False if @dev is no VLAN device. */
bool toe_vlan_get(const struct net_device *dev, struct toe_vlan *vlan)
{
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	const struct vlan_dev_priv *priv;

	if (!is_vlan_dev(dev))
		return false;
	priv = vlan_dev_priv(dev);
	vlan->lower = priv->real_dev;
	vlan->proto = ntohs(priv->vlan_proto);
	vlan->id = priv->vlan_id;
	vlan->reorder_hdr = priv->flags & VLAN_FLAG_REORDER_HDR;
	return true;
#else
	return false;
#endif
}

/* The device below all VLAN devices, which may be @dev. */
struct net_device *toe_vlan_base(struct net_device *dev)
{
	return is_vlan_dev(dev) ? vlan_dev_real_dev(dev) : dev;
}

/*
 * A tag beside the data goes into the frame, as on the way into a device that
 * takes none (validate_xmit_vlan()). Frees the frame if there is no memory.
 */
struct sk_buff *toe_vlan_tag_inside(struct sk_buff *skb)
{
	return skb_vlan_tag_present(skb) ? __vlan_hwaccel_push_inside(skb) : skb;
}

/*
 * vlan_dev_hard_start_xmit() with REORDER_HDR, for a frame that begins with its
 * Ethernet header: tag and counters. Bottom halves are off.
 */
void toe_vlan_sent(struct net_device *dev, struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	struct vlan_dev_priv *vlan = vlan_dev_priv(dev);
	struct vlan_pcpu_stats *stats = this_cpu_ptr(vlan->vlan_pcpu_stats);
	u16 tci = vlan->vlan_id | vlan_dev_get_egress_qos_mask(dev, skb->priority);

	__vlan_hwaccel_put_tag(skb, vlan->vlan_proto, tci);
	u64_stats_update_begin(&stats->syncp);
	u64_stats_inc(&stats->tx_packets);
	u64_stats_add(&stats->tx_bytes, skb->len);
	u64_stats_update_end(&stats->syncp);
#endif
}

/* Counts a frame that did not get through @dev. */
void toe_vlan_dropped(struct net_device *dev)
{
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	this_cpu_inc(vlan_dev_priv(dev)->vlan_pcpu_stats->tx_dropped);
#endif
}

/* Counts as vlan_do_receive(): @len bytes behind the tag. Bottom halves are off. */
void toe_vlan_received(struct net_device *dev, u32 len)
{
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	struct vlan_pcpu_stats *stats =
		this_cpu_ptr(vlan_dev_priv(dev)->vlan_pcpu_stats);

	u64_stats_update_begin(&stats->syncp);
	u64_stats_inc(&stats->rx_packets);
	u64_stats_add(&stats->rx_bytes, len);
	u64_stats_update_end(&stats->syncp);
#endif
}

/* Takes the tag beside the data off. */
void toe_vlan_untag(struct sk_buff *skb)
{
	__vlan_hwaccel_clear_tag(skb);
}

/*
 * Shows a frame, at its Ethernet header, to the packet taps of @dev and of the
 * VLAN devices that it goes through, and before those of the bond, if it comes in by one:
 * what __netif_receive_skb_core() does, for a frame that ends in the offload target. Bottom halves are off.
 */
void toe_vlan_deliver_taps(struct sk_buff *skb, struct net_device *dev, bool bonded)
{
	struct net_device *orig_dev = dev, *bond;

	skb = skb_clone(skb, GFP_ATOMIC);
	if (!skb)
		return;

	rcu_read_lock();
	bond = bonded ? toe_bond_of(dev) : NULL;
	skb->protocol = eth_type_trans(skb, dev);
	skb_reset_network_header(skb);
	skb_reset_mac_len(skb);
	/* Ends: devices are stacked in finite number. */
	for (;;) {
		if (eth_type_vlan(skb->protocol)) {
			skb = skb_vlan_untag(skb);
			if (!skb)
				break;
		}
		toe_deliver_taps(skb, orig_dev);
		if (bond) {
			dev = bond;
			bond = NULL;
			skb->dev = dev;
			continue;
		}
		if (!skb_vlan_tag_present(skb)) {
			toe_deliver_typed(skb, orig_dev);
			break;
		}
		dev = __vlan_find_dev_deep_rcu(dev, skb->vlan_proto,
					       skb_vlan_tag_get_id(skb));
		if (!dev)
			break;
		skb->dev = dev;
		if (skb->pkt_type == PACKET_OTHERHOST &&
		    ether_addr_equal_64bits(eth_hdr(skb)->h_dest, dev->dev_addr))
			skb->pkt_type = PACKET_HOST;
		__vlan_hwaccel_clear_tag(skb);
	}
	rcu_read_unlock();
	consume_skb(skb);
}
