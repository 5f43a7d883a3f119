/* SPDX-License-Identifier: GPL-2.0 */
/* Several connections at a time: their locks, and where they are found. */
#ifndef TOE_HELPERS_BATCH_H
#define TOE_HELPERS_BATCH_H

#include <linux/netdevice.h>
#include <net/sock.h>

/*
 * Process context. Between the two the caller may own the locks of several sockets,
 * by toe_sock_try_own(). It does not wait for one while it owns another, so that the locks
 * need no order.
 */
void toe_batch_begin(void);
void toe_batch_end(void);

/*
 * Owns the socket's lock, as lock_sock() does, if that needs no waiting and the socket
 * is an application's; release_sock() ends it.
 */
bool toe_sock_try_own(struct sock *sk);

/* May both be owned at a time? lockdep counts locks of one class as one. */
bool toe_sock_same_class(const struct sock *a, const struct sock *b);

/* RCU. The device below all VLAN devices that the cached route leaves through, or NULL. */
struct net_device *toe_sk_base_dev(struct sock *sk);

/*
 * Connections of the namespace of @dev in the bucket *@bucket of the hash table of established ones, and
 * in those that follow, as long as there is room for all of a bucket; at most @room.
 * *@bucket is the next one to be looked at, or U32_MAX. Each has a reference. Process
 * context.
 */
u32 toe_established(struct net_device *dev, u32 *bucket, struct sock **socks,
		    u32 room);

#endif
