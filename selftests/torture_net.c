// SPDX-License-Identifier: GPL-2.0
/*
 * Links, routes, neighbours, qdiscs and features, without a program started for
 * each: under emulation that would take longer than what is tested.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/ethtool.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

const char *const dev_name[DEV_COUNT] = { "toe0", "toe1", "ra", "rb", "toe0s", "toe1s" };
const char *const bond_name[2] = { "bond.a", "bond.b" };
const char *const ns_addr[2][2] = {
	{ "192.0.2.1", "2001:db8::1" },
	{ "198.51.100.2", "2001:db8:1::2" },
};
static const char *const gateway[2][2] = {
	{ "192.0.2.254", "2001:db8::ff" },
	{ "198.51.100.254", "2001:db8:1::ff" },
};

static int ns_fd[NS_COUNT], netlink_fd[NS_COUNT], ioctl_fd[NS_COUNT];
static unsigned int ifindex[DEV_COUNT], bond_index[2];
static char sys_dir[NS_COUNT][80];

enum ns ns_of(enum dev dev)
{
	static const enum ns ns[DEV_COUNT] = { NS_A, NS_B, NS_R, NS_R, NS_A, NS_B };

	return ns[dev];
}

/* The other member of an end's bond. */
static enum dev second(enum dev dev)
{
	return dev + DEV_A2;
}

enum dev peer_of(enum dev dev)
{
	return dev ^ (opt.direct ? DEV_B : DEV_RA);
}

enum dev some_dev(uint64_t *rng)
{
	return rnd_below(rng, DEV_A2) % (opt.direct ? DEV_RA : DEV_A2);
}

enum dev some_nic(uint64_t *rng)
{
	enum dev dev = some_dev(rng);

	return opt.bond && one_in(rng, 2) ? second(dev) : dev;
}

/* What has the addresses. */
static unsigned int index_of(enum dev dev)
{
	return opt.bond && dev < DEV_RA ? bond_index[dev] : ifindex[dev];
}

void net_enter(enum ns ns)
{
	if (setns(ns_fd[ns], CLONE_NEWNET))
		setup_error("cannot enter namespace %s: %m", opt.ns[ns]);
}

void net_init(void)
{
	char base[64], path[256];
	enum dev dev;
	enum ns ns;

	/* A sysfs shows the devices of the namespace that it was mounted from. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		setup_error("cannot get mounts of our own: %m");
	snprintf(base, sizeof(base), "%s", opt.dir);
	if (mount("none", base, "tmpfs", 0, NULL))
		setup_error("cannot mount a tmpfs over %s: %m", base);
	for (ns = 0; ns < NS_COUNT; ns++) {
		snprintf(path, sizeof(path), "/run/netns/%s", opt.ns[ns]);
		ns_fd[ns] = open(path, O_RDONLY | O_CLOEXEC);
		if (ns_fd[ns] < 0)
			setup_error("no namespace %s: %m", opt.ns[ns]);
		net_enter(ns);
		snprintf(sys_dir[ns], sizeof(sys_dir[ns]), "%s/%u", base, ns);
		mkdir(sys_dir[ns], 0700);
		if (mount("sysfs", sys_dir[ns], "sysfs", 0, NULL))
			setup_error("cannot mount sysfs: %m");
		netlink_fd[ns] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		ioctl_fd[ns] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (netlink_fd[ns] < 0 || ioctl_fd[ns] < 0)
			setup_error("cannot make a socket: %m");
	}
	for (dev = 0; dev < (opt.bond ? DEV_COUNT : DEV_A2); dev++) {
		net_enter(ns_of(dev));
		ifindex[dev] = if_nametoindex(dev_name[dev]);
		if (!ifindex[dev])
			setup_error("no device %s in %s", dev_name[dev], opt.ns[ns_of(dev)]);
		if (opt.bond && dev < DEV_RA) {
			bond_index[dev] = if_nametoindex(bond_name[dev]);
			if (!bond_index[dev])
				setup_error("no bond %s", bond_name[dev]);
		}
	}
}

/* ---- rtnetlink ---- */

struct request {
	struct nlmsghdr h;
	uint8_t body[1024];
};

static void *begin(struct request *r, uint16_t type, uint16_t flags, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	r->h.nlmsg_len = NLMSG_LENGTH(len);
	return NLMSG_DATA(&r->h);
}

static struct rtattr *put(struct request *r, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (void *)((uint8_t *)r + NLMSG_ALIGN(r->h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

/* Asks and waits for the answer; one at a time, whoever asks. */
static int talk(enum ns ns, struct request *r)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint32_t seq;
	uint8_t buf[8192];
	int ret = -EIO;

	pthread_mutex_lock(&lock);
	r->h.nlmsg_seq = ++seq;
	if (send(netlink_fd[ns], r, r->h.nlmsg_len, 0) < 0)
		ret = -errno;
	else
		for (;;) {
			ssize_t n = recv(netlink_fd[ns], buf, sizeof(buf), 0);
			struct nlmsghdr *h = (void *)buf;

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0) {
				ret = -errno;
				break;
			}
			if (NLMSG_OK(h, (size_t)n) && h->nlmsg_type == NLMSG_ERROR && h->nlmsg_seq == seq) {
				ret = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
				break;
			}
		}
	pthread_mutex_unlock(&lock);
	return ret;
}

static int set_up(enum ns ns, unsigned int index, bool up)
{
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof(*m));

	m->ifi_index = index;
	m->ifi_change = IFF_UP;
	m->ifi_flags = up ? IFF_UP : 0;
	return talk(ns, &r);
}

int link_up(enum dev dev, bool up)
{
	return set_up(ns_of(dev), index_of(dev), up);
}

int nic_up(enum dev dev, bool up)
{
	return set_up(ns_of(dev), ifindex[dev], up);
}

int link_mtu(enum dev dev, unsigned int mtu)
{
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof(*m));

	m->ifi_index = index_of(dev);
	put(&r, IFLA_MTU, &mtu, sizeof(mtu));
	return talk(ns_of(dev), &r);
}

int link_address(enum dev dev, const uint8_t mac[6])
{
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof(*m));

	m->ifi_index = index_of(dev);
	put(&r, IFLA_ADDRESS, mac, 6);
	return talk(ns_of(dev), &r);
}

int route_default(unsigned int side, bool v6)
{
	struct request r;
	struct rtmsg *m = begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	uint8_t addr[16];
	uint32_t oif = index_of(side);

	m->rtm_family = v6 ? AF_INET6 : AF_INET;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_BOOT;
	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	inet_pton(m->rtm_family, gateway[side][v6], addr);
	put(&r, RTA_GATEWAY, addr, v6 ? 16 : 4);
	put(&r, RTA_OIF, &oif, sizeof(oif));
	return talk(side, &r);
}

static int forget(enum dev dev, const char *text)
{
	bool v6 = strchr(text, ':');
	struct request r;
	struct ndmsg *m = begin(&r, RTM_DELNEIGH, 0, sizeof(*m));
	uint8_t addr[16];

	m->ndm_family = v6 ? AF_INET6 : AF_INET;
	m->ndm_ifindex = index_of(dev);
	inet_pton(m->ndm_family, text, addr);
	put(&r, NDA_DST, addr, v6 ? 16 : 4);
	return talk(ns_of(dev), &r);
}

int neigh_forget(enum dev dev)
{
	unsigned int link = dev == DEV_B || dev == DEV_RB, v6;

	for (v6 = 0; v6 < 2; v6++)
		forget(dev, dev < DEV_RA ? gateway[link][v6] : ns_addr[link][v6]);
	return 0;
}

/* ---- qdiscs ---- */

static struct request *qdisc(struct request *r, enum dev dev, uint16_t type, uint16_t flags)
{
	struct tcmsg *m = begin(r, type, flags, sizeof(*m));

	m->tcm_family = AF_UNSPEC;
	m->tcm_ifindex = ifindex[dev];
	m->tcm_parent = TC_H_ROOT;
	return r;
}

static uint32_t percent(double value)
{
	return (uint32_t)(value / 100 * 4294967295.0);
}

int qdisc_netem(enum dev dev, const struct weather *w)
{
	struct tc_netem_qopt q = {
		.limit = 5000,
		.loss = percent(w->loss),
		.gap = w->gap,
		.duplicate = percent(w->duplicate),
	};
	struct tc_netem_reorder reorder = { .probability = percent(w->reorder) };
	struct tc_netem_corrupt corrupt = { .probability = percent(w->corrupt) };
	struct tc_netem_rate rate = { .rate = w->rate };
	int64_t latency = w->delay_us * 1000ll, jitter = w->jitter_us * 1000ll;
	struct request r;
	struct rtattr *options;

	qdisc(&r, dev, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
	put(&r, TCA_KIND, "netem", 6);
	options = put(&r, TCA_OPTIONS, &q, sizeof(q));
	put(&r, TCA_NETEM_REORDER, &reorder, sizeof(reorder));
	put(&r, TCA_NETEM_CORRUPT, &corrupt, sizeof(corrupt));
	put(&r, TCA_NETEM_LATENCY64, &latency, sizeof(latency));
	put(&r, TCA_NETEM_JITTER64, &jitter, sizeof(jitter));
	if (w->rate)
		put(&r, TCA_NETEM_RATE, &rate, sizeof(rate));
	options->rta_len = (uint8_t *)&r + r.h.nlmsg_len - (uint8_t *)options;
	return talk(ns_of(dev), &r);
}

int qdisc_clear(enum dev dev)
{
	struct request r;
	int ret = talk(ns_of(dev), qdisc(&r, dev, RTM_DELQDISC, 0));

	return ret == -ENOENT || ret == -EINVAL ? 0 : ret;
}

/* ---- ethtool ---- */

static int ethtool(enum dev dev, void *data)
{
	struct ifreq ifr = { .ifr_data = data };

	strcpy(ifr.ifr_name, dev_name[dev]);
	return ioctl(ioctl_fd[ns_of(dev)], SIOCETHTOOL, &ifr) ? -errno : 0;
}

int ethtool_set(enum dev dev, uint32_t command, uint32_t value)
{
	struct ethtool_value v = { .cmd = command, .data = value };

	return ethtool(dev, &v);
}

/* Calls `each` with every counter. */
static void ethtool_each(enum dev dev, void (*each)(const char *name, uint64_t value, void *arg),
			 void *arg)
{
	struct { struct ethtool_sset_info h; uint32_t n; } info = {
		.h = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_STATS },
	};
	struct ethtool_gstrings *names = NULL;
	struct ethtool_stats *values = NULL;
	uint32_t i, n;

	if (ethtool(dev, &info) || !info.h.sset_mask || !info.n)
		return;
	n = info.n;
	names = calloc(1, sizeof(*names) + (size_t)n * ETH_GSTRING_LEN);
	values = calloc(1, sizeof(*values) + (size_t)n * 8);
	if (!names || !values)
		setup_error("no memory");
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = n;
	values->cmd = ETHTOOL_GSTATS;
	values->n_stats = n;
	if (!ethtool(dev, names) && !ethtool(dev, values)) {
		for (i = 0; i < n; i++) {
			char name[ETH_GSTRING_LEN + 1] = "";

			memcpy(name, names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
			each(name, values->data[i], arg);
		}
	}
	free(names);
	free(values);
}

struct sum {
	const char *prefix;
	uint64_t sum;
};

static void add(const char *name, uint64_t value, void *arg)
{
	struct sum *sum = arg;

	if (!strncmp(name, sum->prefix, strlen(sum->prefix)))
		sum->sum += value;
}

uint64_t ethtool_sum(enum dev dev, const char *prefix)
{
	struct sum sum = { .prefix = prefix };

	ethtool_each(dev, add, &sum);
	if (opt.bond && dev < DEV_RA)
		ethtool_each(second(dev), add, &sum);
	return sum.sum;
}

static void show(const char *name, uint64_t value, void *arg)
{
	const char *prefix = arg;

	if (value && !strncmp(name, prefix, strlen(prefix)))
		printf(" %s:%llu", name + strlen(prefix), (unsigned long long)value);
}

void ethtool_print(enum dev dev, const char *prefix)
{
	ethtool_each(dev, show, (void *)prefix);
	if (opt.bond && dev < DEV_RA)
		ethtool_each(second(dev), show, (void *)prefix);
}

/* ---- files ---- */

int file_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static void sysfs_path(char *path, size_t size, enum dev dev, const char *file)
{
	snprintf(path, size, "%s/class/net/%s/%s", sys_dir[ns_of(dev)], dev_name[dev], file);
}

int sysfs_write(enum dev dev, const char *file, const char *value)
{
	char path[256];

	if (opt.bond && dev < DEV_RA) {
		sysfs_path(path, sizeof(path), second(dev), file);
		file_write(path, value);
	}
	sysfs_path(path, sizeof(path), dev, file);
	return file_write(path, value);
}

static int file_read(const char *path, char *buf, size_t size)
{
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -errno;
	buf[n] = 0;
	return n;
}

int sysfs_read(enum dev dev, const char *file, char *buf, size_t size)
{
	char path[256];

	sysfs_path(path, sizeof(path), dev, file);
	return file_read(path, buf, size);
}

static void bond_path(char *path, size_t size, unsigned int side, const char *file)
{
	snprintf(path, size, "%s/class/net/%s/bonding/%s", sys_dir[side], bond_name[side], file);
}

int bond_write(unsigned int side, const char *file, const char *value)
{
	char path[256];

	bond_path(path, sizeof(path), side, file);
	return file_write(path, value);
}

int bond_read(unsigned int side, const char *file, char *buf, size_t size)
{
	char path[256];

	bond_path(path, sizeof(path), side, file);
	return file_read(path, buf, size);
}

/* The calling thread stays in that namespace. */
int sysctl_write(enum ns ns, const char *file, const char *value)
{
	char path[256];

	net_enter(ns);
	snprintf(path, sizeof(path), "/proc/sys/net/%s", file);
	return file_write(path, value);
}
