/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/net/ cannot reach from Rust about devices, NAPI and frames: macros
 * and static inlines. Each is as thin as it can be; its use is documented at its Rust
 * caller.
 */
#ifndef TOE_HELPERS_DEVICE_H
#define TOE_HELPERS_DEVICE_H

#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <net/netevent.h>
#include <net/rtnetlink.h>

#ifdef __BINDGEN__
/* Macros with casts, which bindgen cannot evaluate. */
static const netdev_features_t TOE_NETIF_F_GSO_SOFTWARE = NETIF_F_GSO_SOFTWARE;
static const netdev_features_t TOE_NETIF_F_GSO_ENCAP_ALL = NETIF_F_GSO_ENCAP_ALL;
static const netdev_features_t TOE_NETIF_F_ALL_TSO = NETIF_F_ALL_TSO;
static const unsigned int TOE_GSO_MAX_SIZE = GSO_MAX_SIZE;
static const gfp_t TOE_GFP_ATOMIC = GFP_ATOMIC;
#endif

/* contexts */
void toe_local_bh_disable(void);
void toe_local_bh_enable(void);
bool toe_ns_capable_net_admin(const struct net_device *dev);
unsigned int toe_num_possible_cpus(void);

/* devices */
void toe_netdev_hold(struct net_device *dev, netdevice_tracker *tracker);
void toe_netdev_put(struct net_device *dev, netdevice_tracker *tracker);
void toe_netdev_lockdep_set_classes(struct net_device *dev);
void toe_eth_hw_addr_random(struct net_device *dev);
unsigned int toe_dev_netns_inum(const struct net_device *dev);
void toe_unregister_netdevice_queue_net(struct net_device *on_behalf,
					struct net_device *dev,
					struct list_head *head);
struct net *toe_rtnl_newlink_peer_net(struct rtnl_newlink_params *params);
bool toe_txq_has_no_queue(const struct netdev_queue *txq);
void toe_txq_stop(struct netdev_queue *txq);
void toe_txq_wake(struct netdev_queue *txq);

/* NAPI */
void toe_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
			int (*poll)(struct napi_struct *, int), int index);
void toe_netif_napi_del(struct napi_struct *napi);
void toe_synchronize_net(void);

/* frames */
int toe_dev_forward_skb(struct net_device *rcv, struct sk_buff *skb);
int toe_dev_forward_own(struct net_device *rcv, struct sk_buff *skb);
void toe_skb_tx_timestamp(struct sk_buff *skb);
void toe_skb_orphan(struct sk_buff *skb);
bool toe_pskb_may_pull(struct sk_buff *skb, unsigned int len);
bool toe_skb_is_udp_like(const struct sk_buff *skb);
void toe_napi_receive(struct napi_struct *napi, struct sk_buff *skb,
		      u16 queue, bool gro);
void toe_kfree_skb_list(struct sk_buff *skb);
void toe_xmit_nit(struct sk_buff *skb, struct net_device *dev);
void toe_deliver_taps(struct sk_buff *skb, struct net_device *orig_dev);
void toe_deliver_typed(struct sk_buff *skb, struct net_device *orig_dev);
void toe_tap_incoming(struct sk_buff *skb, struct net_device *dev);

/* debugfs, sysfs, notifiers */
extern const struct file_operations toe_seq_fops;
struct dentry *toe_debugfs_create(const char *name, struct dentry *parent,
				  void *entry);
void toe_debugfs_plant(struct dentry *parent);
int toe_debugfs_rename(struct dentry *dentry, const char *name);
/* Defined in Rust: shows the entry that toe_debugfs_create() was given. */
int toe_debugfs_show(struct seq_file *seq, void *unused);

#endif
