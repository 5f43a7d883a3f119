/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/net/vlan.rs cannot reach from Rust: VLAN devices are known by static
 * inlines and by structures that hide behind their configuration option.
 */
#ifndef TOE_HELPERS_VLAN_H
#define TOE_HELPERS_VLAN_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>

/* What a VLAN device is: the device below it, and its tag in host order. */
struct toe_vlan {
	struct net_device *lower;
	u16 proto;
	u16 id;
	bool reorder_hdr;
};

bool toe_vlan_get(const struct net_device *dev, struct toe_vlan *vlan);
struct net_device *toe_vlan_base(struct net_device *dev);
struct sk_buff *toe_vlan_tag_inside(struct sk_buff *skb);
void toe_vlan_sent(struct net_device *dev, struct sk_buff *skb);
void toe_vlan_dropped(struct net_device *dev);
void toe_vlan_received(struct net_device *dev, u32 len);
void toe_vlan_untag(struct sk_buff *skb);
void toe_vlan_deliver_taps(struct sk_buff *skb, struct net_device *dev, bool bonded);

#endif
