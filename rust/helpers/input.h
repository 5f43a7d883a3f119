/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the host stack asks about each frame that it receives, and the target must ask in
 * its place: whether it is for this host, and who else is to see it.
 */
#ifndef TOE_HELPERS_INPUT_H
#define TOE_HELPERS_INPUT_H

#include <linux/netdevice.h>
#include <net/sock.h>

/*
 * Does the input route that the socket has cached hold for a frame that came in by @dev?
 * Bottom halves off, the socket's spin lock held.
 */
bool toe_sk_route_holds(const struct sock *sk, const struct net_device *dev,
			bool v6);

/*
 * If it does not: does the route lead to this host? Then it is cached, if nobody owns the
 * socket. @skb is at its Ethernet header, its IP header @l3_off bytes further, and is so
 * afterwards. As toe_sk_route_holds().
 */
bool toe_sk_route_input(struct sock *sk, struct sk_buff *skb,
			struct net_device *dev, u32 l3_off, bool v6);

#endif
