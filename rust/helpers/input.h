/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the host stack checks for each frame that it receives, and the target must check in
 * its place: whether it is for this host, and who else must see it.
 */
#ifndef TOE_HELPERS_INPUT_H
#define TOE_HELPERS_INPUT_H

#include <linux/netdevice.h>
#include <net/sock.h>

enum toe_input {
	/* The input route that the socket has cached does not hold. */
	TOE_INPUT_ROUTE		= 1 << 0,
	/* There are packet handlers: toe_tap_incoming(). */
	TOE_INPUT_TAPS		= 1 << 1,
	/* There may be raw sockets: toe_deliver_raw(). */
	TOE_INPUT_RAW		= 1 << 2,
};

/*
 * What there is to do when a frame of @sk's came in by @dev: a set of enum toe_input.
 * Bottom halves off, the socket's spin lock held.
 */
u32 toe_sk_arrival(const struct sock *sk, const struct net_device *dev,
		   const struct hlist_head *raw, bool v6);

/* @raw: the chain of raw sockets that those who want to see @sk's frames are in. */
const struct hlist_head *toe_raw_sockets(const struct sock *sk, bool v6);

/*
 * Does the input route lead to this host? Then it is cached, if nobody owns the socket.
 * @skb is at its Ethernet header, its IP header @l3_off bytes further, and is so
 * afterwards. As toe_sk_arrival().
 */
bool toe_sk_route_input(struct sock *sk, struct sk_buff *skb,
			struct net_device *dev, u32 l3_off, bool v6);

/*
 * Gives each raw socket that wants the frame a copy. @skb is at its TCP header, and has
 * the length that its IP header says. As toe_sk_arrival().
 */
void toe_deliver_raw(struct sock *sk, struct sk_buff *skb,
		     struct net_device *dev, bool v6);

#endif
