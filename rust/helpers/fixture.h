/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What unit tests need of a machine: a device with an address of its own, and
 * connections whose peer is the test itself (rust/net/fixture.rs).
 */
#ifndef TOE_HELPERS_FIXTURE_H
#define TOE_HELPERS_FIXTURE_H

#include <linux/kconfig.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#if IS_ENABLED(CONFIG_KUNIT) && IS_ENABLED(CONFIG_PROVE_LOCKING)

/* Addresses and ports in network byte order, sequence numbers in host order. */
struct toe_fixture_end {
	__be32 addr;
	__be16 port;
	u32 seq;
};

struct net_device *toe_fixture_device(int priv, void (*setup)(struct net_device *),
				      __be32 addr);
void toe_fixture_device_remove(struct net_device *dev);
struct socket *toe_fixture_connect(const struct toe_fixture_end *local,
				   const struct toe_fixture_end *remote);
int toe_fixture_ulp(struct socket *sock);
int toe_fixture_send(struct socket *sock, const void *data, size_t len);
int toe_fixture_receive(struct socket *sock, void *data, size_t len);
void toe_fixture_outdate_route(struct sock *sk);
void toe_fixture_close(struct socket *sock);
struct sk_buff *toe_fixture_frame(struct net_device *dev, const void *data, size_t len);

#endif
#endif
