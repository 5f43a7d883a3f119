// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/ethtool.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/version.h>
#include <net/gro.h>
#include <net/inet_connection_sock.h>
#include <net/busy_poll.h>
#include <net/netdev_lock.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include <net/sch_generic.h>
#include <net/sock.h>

#include "device.h"

void toe_local_bh_disable(void)
{
	local_bh_disable();
}

void toe_local_bh_enable(void)
{
	local_bh_enable();
}

bool toe_ns_capable_net_admin(const struct net_device *dev)
{
	struct user_namespace *user_ns;
	bool capable;

	/* The device may be moved to another namespace at any moment. */
	rcu_read_lock();
	user_ns = get_user_ns(dev_net_rcu(dev)->user_ns);
	rcu_read_unlock();
	capable = ns_capable(user_ns, CAP_NET_ADMIN);
	put_user_ns(user_ns);

	return capable;
}

unsigned int toe_num_possible_cpus(void)
{
	return num_possible_cpus();
}

void toe_netdev_hold(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_hold(dev, tracker, GFP_KERNEL);
}

void toe_netdev_put(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_put(dev, tracker);
}

void toe_netdev_lockdep_set_classes(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
}

void toe_eth_hw_addr_random(struct net_device *dev)
{
	eth_hw_addr_random(dev);
}

unsigned int toe_dev_netns_inum(const struct net_device *dev)
{
	unsigned int inum;

	rcu_read_lock();
	inum = dev_net_rcu(dev)->ns.inum;
	rcu_read_unlock();

	return inum;
}

void toe_unregister_netdevice_queue_net(struct net_device *on_behalf,
					struct net_device *dev,
					struct list_head *head)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
	unregister_netdevice_queue(dev, head);
#else
	unregister_netdevice_queue_net(dev_net(on_behalf), dev, head);
#endif
}

struct net *toe_rtnl_newlink_peer_net(struct rtnl_newlink_params *params)
{
	return rtnl_newlink_peer_net(params);
}

bool toe_txq_has_no_queue(const struct netdev_queue *txq)
{
	return qdisc_txq_has_no_queue(txq);
}

void toe_txq_stop(struct netdev_queue *txq)
{
	netif_tx_stop_queue(txq);
}

void toe_txq_wake(struct netdev_queue *txq)
{
	txq_trans_cond_update(txq);
	netif_tx_wake_queue(txq);
}

void toe_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
			int (*poll)(struct napi_struct *, int), int index)
{
	netif_napi_add_config(dev, napi, poll, index);
}

void toe_netif_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

void toe_synchronize_net(void)
{
	synchronize_net();
}

int toe_dev_forward_skb(struct net_device *rcv, struct sk_buff *skb)
{
	return ____dev_forward_skb(rcv, skb, true);
}

/*
 * The same for a frame that an engine made of a buffer of the send queue, or a TCP socket
 * gave it, and skb_tx_timestamp(): nothing has been noted in it yet that skb_scrub_packet()
 * would take out, but for its mark and its time.
 */
int toe_dev_forward_own(struct net_device *rcv, struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
	if (unlikely(skb->_skb_refdst || skb_get_nfct(skb) || skb_has_extensions(skb) ||
		     skb_zcopy(skb)) ||
	    unlikely(!__is_skb_forwardable(rcv, skb, true)))
		return ____dev_forward_skb(rcv, skb, true);
	if (!net_eq(dev_net(rcv), dev_net(skb->dev))) {
		skb->mark = 0;
		skb_clear_tstamp(skb);
	}
	skb->priority = 0;
	return 0;
}

void toe_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

void toe_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

bool toe_pskb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

bool toe_skb_is_udp_like(const struct sk_buff *skb)
{
	return skb->destructor == sock_wfree;
}

/*
 * The end of a frame's way through the device: at its Ethernet header here, in
 * the stack's hands afterwards.
 */
void toe_napi_receive(struct napi_struct *napi, struct sk_buff *skb,
		      u16 queue, bool gro)
{
	skb->protocol = eth_type_trans(skb, napi->dev);
	skb_postpull_rcsum(skb, eth_hdr(skb), ETH_HLEN);
	skb_record_rx_queue(skb, queue);
	skb_mark_napi_id(skb, napi);

	/*
	 * GRO writes to headers and frees heads: a frame whose sender still
	 * has a clone must be made private first, or go without GRO.
	 */
	if (!gro || skb_shared(skb) || skb_unclone(skb, GFP_ATOMIC)) {
		netif_receive_skb(skb);
		return;
	}
	/* It compares owners only of those that it is told of, and their memory is charged. */
	skb_prepare_for_gro(skb);
	napi_gro_receive(napi, skb);
}

void toe_kfree_skb_list(struct sk_buff *skb)
{
	kfree_skb_list(skb);
}

void toe_xmit_nit(struct sk_buff *skb, struct net_device *dev)
{
	rcu_read_lock();
	dev_queue_xmit_nit(skb, dev);
	rcu_read_unlock();
}

/* As deliver_skb() in net/core/dev.c. */
static void toe_deliver_tap(struct sk_buff *skb, struct packet_type *ptype,
			    struct net_device *orig_dev)
{
	if (unlikely(skb_orphan_frags_rx(skb, GFP_ATOMIC)))
		return;
	refcount_inc(&skb->users);
	ptype->func(skb, skb->dev, ptype, orig_dev);
}

/*
 * What __netif_receive_skb_core() does for packet taps, for a frame that ends
 * in the offload target and never gets there. It came in by @orig_dev; @skb is at
 * its network header.
 */
void toe_deliver_taps(struct sk_buff *skb, struct net_device *orig_dev)
{
	struct net_device *dev = skb->dev;
	struct packet_type *ptype;

	rcu_read_lock();
	list_for_each_entry_rcu(ptype, &dev_net_rcu(dev)->ptype_all, list)
		toe_deliver_tap(skb, ptype, orig_dev);
	list_for_each_entry_rcu(ptype, &dev->ptype_all, list)
		toe_deliver_tap(skb, ptype, orig_dev);
	rcu_read_unlock();
}

/* As deliver_ptype_list_skb(). */
static void toe_deliver_list(struct sk_buff *skb, struct net_device *orig_dev,
			     struct list_head *list)
{
	struct packet_type *ptype;

	list_for_each_entry_rcu(ptype, list, list)
		if (ptype->type == skb->protocol)
			toe_deliver_tap(skb, ptype, orig_dev);
}

/* And for packet sockets of one protocol, once the frame has no tag. */
void toe_deliver_typed(struct sk_buff *skb, struct net_device *orig_dev)
{
	struct net_device *dev = skb->dev;

	rcu_read_lock();
	toe_deliver_list(skb, orig_dev, &dev_net_rcu(dev)->ptype_specific);
	toe_deliver_list(skb, orig_dev, &orig_dev->ptype_specific);
	if (dev != orig_dev)
		toe_deliver_list(skb, orig_dev, &dev->ptype_specific);
	rcu_read_unlock();
}

/* Both for a frame at its Ethernet header, where it is left again. */
void toe_tap_incoming(struct sk_buff *skb, struct net_device *dev)
{
	skb_reset_mac_header(skb);
	skb->protocol = eth_hdr(skb)->h_proto;
	__skb_pull(skb, ETH_HLEN);
	skb_reset_network_header(skb);
	toe_deliver_taps(skb, dev);
	toe_deliver_typed(skb, dev);
	__skb_push(skb, ETH_HLEN);
}

static int toe_seq_open(struct inode *inode, struct file *file)
{
	return single_open(file, toe_debugfs_show, inode->i_private);
}

const struct file_operations toe_seq_fops = {
	.owner		= THIS_MODULE,
	.open		= toe_seq_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= single_release,
};

struct dentry *toe_debugfs_create(const char *name, struct dentry *parent,
				  void *entry)
{
	return debugfs_create_file(name, 0400, parent, entry, &toe_seq_fops);
}

/* A foreign hand overwrites what a socket of the caller's points to. */
static int toe_plant_lose(int fd)
{
	struct socket *sock;
	struct sock *sk;
	int err;

	sock = sockfd_lookup(fd, &err);
	if (!sock)
		return err;
	sk = sock->sk;
	err = -EINVAL;
	if (sk_is_tcp(sk) && sk_is_inet(sk)) {
		lock_sock(sk);
		WRITE_ONCE(inet_csk(sk)->icsk_ulp_data, NULL);
		release_sock(sk);
		err = 0;
	}
	sockfd_put(sock);
	return err;
}

/*
 * What tests plant. `warn` prints a kernel warning and `leak` loses an allocation, which
 * must make a run fail; `lose FD` is what a foreign hand may do to a socket. Root only,
 * as all of debugfs.
 */
static ssize_t toe_plant_write(struct file *file, const char __user *data,
			       size_t count, loff_t *pos)
{
	char word[16] = {};
	void *lost;
	int fd, err;

	if (count >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, data, count))
		return -EFAULT;
	strim(word);
	if (!strcmp(word, "warn")) {
		WARN(1, "toe: planted by the administrator\n");
	} else if (!strcmp(word, "leak")) {
		lost = kmalloc(64, GFP_KERNEL);
		if (!lost)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(lost);
	} else if (sscanf(word, "lose %d", &fd) == 1) {
		err = toe_plant_lose(fd);
		if (err)
			return err;
	} else {
		return -EINVAL;
	}
	return count;
}

static const struct file_operations toe_plant_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= toe_plant_write,
	.llseek	= noop_llseek,
};

void toe_debugfs_plant(struct dentry *parent)
{
	debugfs_create_file("plant", 0200, parent, NULL, &toe_plant_fops);
}

int toe_debugfs_rename(struct dentry *dentry, const char *name)
{
	return debugfs_change_name(dentry, "%s", name);
}
