// SPDX-License-Identifier: GPL-2.0
/*
 * The pair of a case: two namespaces, a device in each, and their addresses. These are
 * the requests of ip(8), which has to be started six times for a pair: on a debug kernel
 * that is emulated this takes longer than most cases do.
 */
#define _GNU_SOURCE
#include "ns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "common.h"

/* VETH_INFO_PEER, and what each kind of the module's has. */
#define INFO_PEER 1

struct request {
	struct nlmsghdr n;
	char room[512];
};

/* The header of the family, behind that of netlink. */
#define BODY(r) ((void *)(r)->room)

static void begin(struct request *r, int type, int flags, size_t body)
{
	memset(r, 0, sizeof(*r));
	r->n.nlmsg_type = type;
	r->n.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	r->n.nlmsg_len = NLMSG_LENGTH(body);
}

static struct rtattr *add(struct request *r, int type, const void *data, size_t len)
{
	struct rtattr *attr = (void *)((char *)r + NLMSG_ALIGN(r->n.nlmsg_len));

	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(attr), data, len);
	r->n.nlmsg_len = NLMSG_ALIGN(r->n.nlmsg_len) + RTA_ALIGN(attr->rta_len);
	return attr;
}

static void add_text(struct request *r, int type, const char *text)
{
	add(r, type, text, strlen(text) + 1);
}

/* All that was added since is in it. */
static void end(struct request *r, struct rtattr *attr)
{
	attr->rta_len = (char *)r + r->n.nlmsg_len - (char *)attr;
}

/* In the namespace that this process is in. Returns 0, or -1 and errno. */
static int ask(struct request *r)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr n;
		struct nlmsgerr err;
		char room[1024];
	} answer;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = send(fd, r, r->n.nlmsg_len, 0);
	if (n >= 0)
		n = recv(fd, &answer, sizeof(answer), 0);
	close(fd);
	if (n < 0)
		return -1;
	if ((size_t)n < NLMSG_LENGTH(sizeof(answer.err)) || answer.n.nlmsg_type != NLMSG_ERROR) {
		errno = EPROTO;
		return -1;
	}
	errno = -answer.err.error;
	return errno ? -1 : 0;
}

static int open_ns(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* As `ip netns add`, the first of which has made the directory. Moves into it. */
static int add_ns(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		return fail(path);
	close(fd);
	if (unshare(CLONE_NEWNET) || mount("/proc/self/ns/net", path, "none", MS_BIND, NULL))
		return fail(name);
	return 0;
}

static void del_ns(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	umount2(path, MNT_DETACH);
	unlink(path);
}

/* `ip link add DEV netns NS type KIND peer name DEV netns NS` */
static int add_pair(char **ns, char **dev, const char *kind)
{
	int one = open_ns(ns[0]), two = open_ns(ns[1]);
	struct rtattr *info, *data, *peer;
	struct ifinfomsg own = { 0 };
	struct request r;
	int ret;

	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(own));
	add_text(&r, IFLA_IFNAME, dev[0]);
	add(&r, IFLA_NET_NS_FD, &one, sizeof(one));
	info = add(&r, IFLA_LINKINFO, NULL, 0);
	add(&r, IFLA_INFO_KIND, kind, strlen(kind));
	data = add(&r, IFLA_INFO_DATA, NULL, 0);
	peer = add(&r, INFO_PEER, &own, sizeof(own));
	add_text(&r, IFLA_IFNAME, dev[1]);
	add(&r, IFLA_NET_NS_FD, &two, sizeof(two));
	end(&r, peer);
	end(&r, data);
	end(&r, info);
	ret = ask(&r);
	close(one);
	close(two);
	return ret ? fail(kind) : 0;
}

/* `ip addr add ADDR/LEN dev DEV`, of IPv6 without a search for duplicates */
static int add_addr(int index, int family, const char *addr, int len)
{
	struct request r;
	struct ifaddrmsg *m = BODY(&r);
	uint8_t binary[16];

	begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
	m->ifa_family = family;
	m->ifa_prefixlen = len;
	m->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
	m->ifa_index = index;
	if (inet_pton(family, addr, binary) != 1) {
		errno = EINVAL;
		return fail(addr);
	}
	add(&r, IFA_LOCAL, binary, family == AF_INET6 ? 16 : 4);
	add(&r, IFA_ADDRESS, binary, family == AF_INET6 ? 16 : 4);
	return ask(&r) ? fail(addr) : 0;
}

/* `ip link set DEV up` */
static int set_up(const char *dev)
{
	struct request r;
	struct ifinfomsg *m = BODY(&r);

	begin(&r, RTM_NEWLINK, 0, sizeof(*m));
	m->ifi_index = if_nametoindex(dev);
	m->ifi_flags = m->ifi_change = IFF_UP;
	return ask(&r) ? fail(dev) : 0;
}

static int configure(const char *dev, const char *addr4, const char *addr6)
{
	int index = if_nametoindex(dev);

	return add_addr(index, AF_INET, addr4, 24) || add_addr(index, AF_INET6, addr6, 64) ||
	       set_up(dev) || set_up("lo");
}

/* NAME=VALUE... up to a null pointer */
static int set_knobs(const char *dev, char **knobs)
{
	char path[256];
	size_t name;
	int fd;

	for (; *knobs; knobs++) {
		name = strcspn(*knobs, "=");
		snprintf(path, sizeof(path), "/sys/class/net/%s/toe/%.*s", dev, (int)name, *knobs);
		fd = open_sys(path, O_WRONLY);
		if (fd < 0 || write(fd, *knobs + name + 1, strlen(*knobs) - name - 1) < 0)
			return fail(path);
		close(fd);
	}
	return 0;
}

static int up(char **ns, char **dev, const char *kind, char **addr4, char **addr6, char **knobs)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), i;

	if (own < 0)
		return fail("own namespace");
	if (add_ns(ns[0]) || add_ns(ns[1]))
		return 1;
	if (setns(own, CLONE_NEWNET))
		return fail("own namespace");
	if (add_pair(ns, dev, kind))
		return 1;
	for (i = 0; i < 2; i++)
		if (enter_ns(ns[i]) || configure(dev[i], addr4[i], addr6[i]) ||
		    set_knobs(dev[i], knobs))
			return 1;
	if (enter_ns(ns[0]))
		return 1;
	/* No solicitation in the middle of a case, and both neighbours known. */
	echoes(addr4[1], 1, 56, false);
	echoes(addr6[1], 1, 56, false);
	return 0;
}

/* What there is of it. The pair goes at once, and not when the kernel has got so far. */
static void down(char **ns, const char *dev)
{
	const char *const both[] = { ns[0], ns[1] };
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct request r;

	kill_all(both, 2);
	begin(&r, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
	add_text(&r, IFLA_IFNAME, dev);
	if (!enter_ns(ns[0])) {
		ask(&r);
		setns(own, CLONE_NEWNET);
	}
	close(own);
	del_ns(ns[0]);
	del_ns(ns[1]);
}

int pair(const char *what, char **argv)
{
	bool fresh = !strcmp(what, "fresh");

	if (fresh || !strcmp(what, "down"))
		down(argv, argv[2]);
	if (fresh || !strcmp(what, "up"))
		return up(argv, argv + 2, argv[4], argv + 5, argv + 7, argv + 9);
	return 0;
}
