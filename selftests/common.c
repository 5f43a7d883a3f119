// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/mount.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <linux/tcp.h>

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

void stream_fill(uint64_t seed, uint64_t pos, uint8_t *buf, size_t len)
{
	while (len) {
		uint64_t word = mix(seed + pos / 8);
		size_t skip = pos % 8;
		size_t n = MIN(8 - skip, len);

		memcpy(buf, (uint8_t *)&word + skip, n);
		buf += n;
		pos += n;
		len -= n;
	}
}

ptrdiff_t stream_check(uint64_t seed, uint64_t pos, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		uint64_t word = mix(seed + pos / 8);
		size_t skip = pos % 8;
		size_t n = MIN(8 - skip, len - done);

		if (memcmp(buf + done, (uint8_t *)&word + skip, n)) {
			while (buf[done] == ((uint8_t *)&word)[skip]) {
				done++;
				skip++;
			}
			return done;
		}
		pos += n;
		done += n;
	}
	return -1;
}

uint64_t rnd(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	return mix(*state);
}

uint64_t rnd_below(uint64_t *state, uint64_t n)
{
	return n ? rnd(state) % n : 0;
}

size_t rnd_size(uint64_t *state, size_t max)
{
	unsigned int bits = 0;
	size_t limit;

	while ((max >> bits) > 1)
		bits++;
	limit = (size_t)2 << rnd_below(state, bits + 1);
	return 1 + rnd_below(state, MIN(limit, max));
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000l };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

int enter_ns(const char *name)
{
	char path[256];
	int fd, ret;

	if (!name || !*name)
		return 0;
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = setns(fd, CLONE_NEWNET) ? -errno : 0;
	close(fd);
	return ret;
}

int open_sys(const char *path, int flags)
{
	static const char sys[] = "/sys/";
	int fs, mount = -1, fd;

	if (strncmp(path, sys, strlen(sys)))
		return open(path, flags | O_CLOEXEC);
	fs = syscall(SYS_fsopen, "sysfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	if (mount < 0)
		return -1;
	fd = openat(mount, path + strlen(sys), flags | O_CLOEXEC);
	close(mount);
	return fd;
}

static int ethtool(int fd, struct ifreq *req, void *command)
{
	req->ifr_data = command;
	return ioctl(fd, SIOCETHTOOL, req) ? -errno : 0;
}

int dev_counters(int fd, const char *dev, void (*each)(const char *name, uint64_t value, void *arg),
		 void *arg)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t len;
	} set = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_STATS } };
	struct ethtool_gstrings *names;
	struct ethtool_stats *values;
	struct ifreq req = { 0 };
	char name[ETH_GSTRING_LEN + 1] = "";
	uint32_t i;
	int err;

	if (strlen(dev) >= sizeof(req.ifr_name))
		return -ENODEV;
	strcpy(req.ifr_name, dev);
	err = ethtool(fd, &req, &set);
	if (err)
		return err;
	names = calloc(1, sizeof(*names) + set.len * ETH_GSTRING_LEN);
	values = calloc(1, sizeof(*values) + set.len * sizeof(uint64_t));
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	values->cmd = ETHTOOL_GSTATS;
	names->len = values->n_stats = set.len;
	err = ethtool(fd, &req, names);
	if (!err)
		err = ethtool(fd, &req, values);
	for (i = 0; !err && i < set.len; i++) {
		memcpy(name, names->data + i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
		each(name, values->data[i], arg);
	}
	free(names);
	free(values);
	return err;
}

int dev_counter_values(int fd, const char *dev, uint64_t *values, uint32_t n)
{
	struct ethtool_stats *all = calloc(1, sizeof(*all) + n * sizeof(uint64_t));
	struct ifreq req = { 0 };
	int err = -ENOMEM;

	if (all && strlen(dev) < sizeof(req.ifr_name)) {
		strcpy(req.ifr_name, dev);
		all->cmd = ETHTOOL_GSTATS;
		all->n_stats = n;
		err = ethtool(fd, &req, all);
		memcpy(values, all->data, n * sizeof(uint64_t));
	}
	free(all);
	return err;
}

static int make_addr(const char *addr, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *v4 = (void *)ss;
	struct sockaddr_in6 *v6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		*len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, addr, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*len = sizeof(*v6);
		return 0;
	}
	return -EINVAL;
}

int tcp_listen(const char *addr, uint16_t port, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err = make_addr(addr, port, &ss, &len);

	if (err)
		return err;
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (struct sockaddr *)&ss, len) || listen(fd, backlog)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int tcp_connect(const char *addr, uint16_t port)
{
	return tcp_connect_mark(addr, port, 0);
}

static int start_connect(const char *addr, uint16_t port, uint32_t mark, int flags)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err = make_addr(addr, port, &ss, &len);

	if (err)
		return err;
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	if (mark)
		set_int(fd, SOL_SOCKET, SO_MARK, mark);
	if (connect(fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int tcp_connect_mark(const char *addr, uint16_t port, uint32_t mark)
{
	return start_connect(addr, port, mark, 0);
}

int tcp_connect_start(const char *addr, uint16_t port)
{
	return start_connect(addr, port, 0, SOCK_NONBLOCK);
}

uint16_t local_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return 0;
	/* The port is at the same place in both families. */
	return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

int get_int(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? -errno : value;
}

int ulp_request(int fd)
{
	if (!setsockopt(fd, IPPROTO_TCP, TCP_ULP, TOE_ULP, strlen(TOE_ULP)))
		return 0;
	return errno == EEXIST ? 0 : -errno;
}

int ulp_insist(int fd)
{
	int ret = ulp_request(fd), i;

	for (i = 0; i < 200 && ret == -EOPNOTSUPP; i++) {
		sleep_ms(10);
		ret = ulp_request(fd);
	}
	return ret;
}

uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	switch (*end) {
	case 'k':
	case 'K':
		return n << 10;
	case 'm':
	case 'M':
		return n << 20;
	case 'g':
	case 'G':
		return n << 30;
	case 0:
		return n;
	}
	fprintf(stderr, "not a size: %s\n", text);
	exit(2);
}

uint16_t csum_add(uint32_t acc, const uint8_t *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		acc += i & 1 ? data[i] : data[i] << 8;
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return acc;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	int ret = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

int sockmap_create(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 1,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static int sockmap_do(int map, int cmd, int fd)
{
	uint32_t key = 0, value = fd;
	union bpf_attr attr = {
		.map_fd = map, .key = (uintptr_t)&key,
		.value = cmd == BPF_MAP_UPDATE_ELEM ? (uintptr_t)&value : 0,
	};

	return bpf(cmd, &attr);
}

int sockmap_update(int map, int fd) { return sockmap_do(map, BPF_MAP_UPDATE_ELEM, fd); }
int sockmap_delete(int map) { return sockmap_do(map, BPF_MAP_DELETE_ELEM, 0); }
