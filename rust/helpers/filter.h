/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What looks at the frames of a connection on its way through the host stack, and
 * would not see them once it is offloaded. The kernel has no notification for most of
 * these, so that they have to be looked for.
 */
#ifndef TOE_HELPERS_FILTER_H
#define TOE_HELPERS_FILTER_H

#include <linux/netdevice.h>
#include <net/sock.h>
#include <net/tcp.h>

/* In the order of Filter in rust/logic/filter.rs. */
enum toe_filter {
	TOE_FILTER_XFRM		= 1 << 0,
	TOE_FILTER_NETFILTER	= 1 << 1,
	TOE_FILTER_CONNTRACK	= 1 << 2,
	TOE_FILTER_QDISC	= 1 << 3,
	TOE_FILTER_TC		= 1 << 4,
	TOE_FILTER_XDP		= 1 << 5,
	TOE_FILTER_CGROUP_BPF	= 1 << 6,
	TOE_FILTER_SOCKET	= 1 << 7,
	TOE_FILTER_SOCK_OPS	= 1 << 8,
	TOE_FILTER_RX_HANDLER	= 1 << 9,
};

enum toe_tx_blockers {
	/* The route is no longer valid. */
	TOE_TX_INVALID	= 1 << 0,
	/* It leaves through another device, or this one is down. */
	TOE_TX_ELSEWHERE	= 1 << 1,
	/* toe_egress_filters() and toe_own_filters() are worth to be asked. */
	TOE_TX_SUSPECT	= 1 << 2,
};

/*
 * Sets of enum toe_filter: what would not see the frames of @sk, whose frames leave
 * through @dev; of the device and the namespace, and of the socket itself. Any context;
 * the socket's lock need not be held.
 */
u32 toe_egress_filters(struct sock *sk, struct net_device *dev);
u32 toe_own_filters(struct sock *sk);
bool toe_sk_tracked(const struct sock *sk, bool v6);

/*
 * What toe_egress_filters() could find for some socket at @dev, and toe_own_filters()
 * but for filters of a socket. Any context.
 */
u32 toe_any_filters(struct net_device *dev);
u64 toe_filters_sign(struct net_device *dev);
bool toe_sk_watched(struct sock *sk);

/* Not 0 if any cgroup has a program that looks at what its sockets receive. */
extern const atomic_t *const toe_ingress_programs;

/*
 * A set of enum toe_tx_blockers, for a frame about to leave by @dev. Under the socket lock,
 * bottom halves off.
 */
u32 toe_sk_tx_blockers(struct sock *sk, const struct net_device *dev);

#endif
