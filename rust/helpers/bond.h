/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/net/bond.rs cannot reach from Rust: bonds are known by static inlines and by the
 * fields of their structures. Nothing here needs bonding to be loaded.
 */
#ifndef TOE_HELPERS_BOND_H
#define TOE_HELPERS_BOND_H

#include <linux/netdevice.h>
#include <net/sock.h>

bool toe_is_bond(const struct net_device *dev);
bool toe_is_bond_member(const struct net_device *dev);
bool toe_bond_is_served(const struct net_device *bond);
struct net_device *toe_bond_member(struct net_device *bond, struct sock *sk,
				   struct net_device *upper);
struct net_device *toe_bond_nth(struct net_device *bond, unsigned int n);
struct net_device *toe_bond_of(struct net_device *member);
u32 toe_bond_lag_ms(const struct net_device *dev);
u64 toe_bond_sign(struct net_device *bond);
bool toe_bond_is_inactive(struct net_device *member);
struct net_device *toe_base_dev(struct net_device *dev, struct sock *sk);

#endif
