// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/inetdevice.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "fixture.h"

#if IS_ENABLED(CONFIG_KUNIT) && IS_ENABLED(CONFIG_PROVE_LOCKING)

/* As `ip addr add`: what that calls is not exported. */
static int add_address(struct net_device *dev, __be32 addr)
{
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg ifa;
		struct nlattr attr;
		__be32 addr;
	} request = {
		.head = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_NEWADDR,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE,
		},
		.ifa = {
			.ifa_family = AF_INET,
			.ifa_prefixlen = 24,
			.ifa_index = dev->ifindex,
		},
		.attr = {
			.nla_len = NLA_HDRLEN + sizeof(addr),
			.nla_type = IFA_LOCAL,
		},
		.addr = addr,
	};
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof(to) };
	struct kvec vec = { .iov_base = &request, .iov_len = sizeof(request) };
	struct socket *sock;
	int ret;

	ret = sock_create_kern(&init_net, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &sock);
	if (ret)
		return ret;
	ret = kernel_sendmsg(sock, &msg, &vec, 1, sizeof(request));
	sock_release(sock);
	return ret < 0 ? ret : 0;
}

/* A device that is up, with an address of a /24, in the first namespace. NULL: no. */
struct net_device *toe_fixture_device(int priv, void (*setup)(struct net_device *),
				      __be32 addr)
{
	static const u8 mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
	struct net_device *dev;
	int ret;

	dev = alloc_netdev(priv, "toefake%d", NET_NAME_ENUM, setup);
	if (!dev)
		return NULL;
	/* Its neighbours need not be asked. */
	dev->flags |= IFF_NOARP;
	eth_hw_addr_set(dev, mac);
	rtnl_lock();
	ret = register_netdevice(dev);
	if (ret) {
		rtnl_unlock();
		free_netdev(dev);
		return NULL;
	}
	ret = dev_open(dev, NULL);
	rtnl_unlock();
	if (!ret)
		ret = add_address(dev, addr);
	if (ret) {
		toe_fixture_device_remove(dev);
		return NULL;
	}
	return dev;
}

/* Waits for all references to the device. */
void toe_fixture_device_remove(struct net_device *dev)
{
	rtnl_lock();
	unregister_netdevice(dev);
	rtnl_unlock();
}

static int set(struct socket *sock, int level, int option, const void *value, size_t len)
{
	return sock->ops->setsockopt(sock, level, option, KERNEL_SOCKPTR((void *)value), len);
}

static int set_int(struct socket *sock, int level, int option, int value)
{
	return set(sock, level, option, &value, sizeof(value));
}

/* Makes @sock one end of an established connection (TCP_REPAIR). */
static int connect_to(struct socket *sock, const struct toe_fixture_end *local,
		      const struct toe_fixture_end *remote)
{
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = local->addr,
		.sin_port = local->port,
	};
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = remote->addr,
		.sin_port = remote->port,
	};
	struct tcp_repair_opt mss = { .opt_code = TCPOPT_MSS, .opt_val = 1460 };
	struct tcp_repair_window window = {
		.snd_wl1 = remote->seq,
		.snd_wnd = 32768,
		.max_window = 32768,
		.rcv_wnd = 32768,
		.rcv_wup = remote->seq,
	};
	int ret;

	ret = set_int(sock, SOL_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	ret = ret ?: set_int(sock, SOL_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	ret = ret ?: set_int(sock, SOL_TCP, TCP_QUEUE_SEQ, local->seq);
	ret = ret ?: set_int(sock, SOL_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	ret = ret ?: set_int(sock, SOL_TCP, TCP_QUEUE_SEQ, remote->seq);
	ret = ret ?: kernel_bind(sock, (void *)&from, sizeof(from));
	ret = ret ?: kernel_connect(sock, (void *)&to, sizeof(to), 0);
	ret = ret ?: set(sock, SOL_TCP, TCP_REPAIR_OPTIONS, &mss, sizeof(mss));
	ret = ret ?: set(sock, SOL_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window));
	return ret ?: set_int(sock, SOL_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

/* A connection that nobody knows of at its other end. NULL: it could not be made. */
struct socket *toe_fixture_connect(const struct toe_fixture_end *local,
				   const struct toe_fixture_end *remote)
{
	struct socket *sock;

	if (sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &sock))
		return NULL;
	if (connect_to(sock, local, remote)) {
		sock_release(sock);
		return NULL;
	}
	return sock;
}

/* setsockopt(TCP_ULP, "toe") */
int toe_fixture_ulp(struct socket *sock)
{
	return set(sock, SOL_TCP, TCP_ULP, "toe", 3);
}

/* As if another CPU had changed routes: the socket's is not valid, and has another MTU. */
void toe_fixture_outdate_route(struct sock *sk)
{
	rt_genid_bump_ipv4(sock_net(sk));
	inet_csk(sk)->icsk_pmtu_cookie++;
}

/* Does not wait. */
int toe_fixture_send(struct socket *sock, const void *data, size_t len)
{
	struct kvec vec = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };

	return kernel_sendmsg(sock, &msg, &vec, 1, len);
}

/* Does not wait. */
int toe_fixture_receive(struct socket *sock, void *data, size_t len)
{
	struct kvec vec = { .iov_base = data, .iov_len = len };
	struct msghdr msg = {};

	return kernel_recvmsg(sock, &msg, &vec, 1, len, MSG_DONTWAIT);
}

/* Nothing of the connection is left, for its peer would not answer. */
void toe_fixture_close(struct socket *sock)
{
	sock_no_linger(sock->sk);
	sock_release(sock);
}

/* A frame that came in by @dev, its checksum verified. */
struct sk_buff *toe_fixture_frame(struct net_device *dev, const void *data, size_t len)
{
	struct sk_buff *skb = netdev_alloc_skb(dev, len);

	if (!skb)
		return NULL;
	skb_put_data(skb, data, len);
	skb_reset_mac_header(skb);
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	return skb;
}

#endif
