// SPDX-License-Identifier: GPL-2.0
/*
 * Events of toe_torture that change what others may set: on a connection's socket, by a
 * thread that is none of its own, and in its namespace; neighbours, addresses and routes.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/tcp.h>

/* Of the seed; others are in torture_events.c. */
enum { STREAM_SETTINGS = 20 };

/*
 * A thread that is none of the connection's own asks for something at a moment when
 * another one may ask for the offload, or the worker hand it over. Nothing of it changes
 * the stream, and each has the answers that the host stack or the module may give. The
 * descriptor may be another connection's meanwhile: that is as good.
 */
bool do_foreign(uint64_t *rng)
{
	static const char *const controls[] = { "reno", "cubic", "bbr", "dctcp" };
	static const uint8_t nowhere[4] = { 203, 0, 113, 1 };
	unsigned int choice = rnd_below(rng, 16), side = rnd_below(rng, 2);
	const char *control = controls[rnd_below(rng, ARRAY_SIZE(controls))];
	struct tcp_md5sig key = { .tcpm_keylen = 6, .tcpm_key = "secret" };
	struct tconn *c = some_conn(rng);
	int fd = c ? c->end[side].fd : -1, ret = 0, map;
	char name[32] = "";
	socklen_t len = sizeof(name) - 1;
	const char *what;

	if (fd < 0)
		return false;
	switch (choice) {
	case 0:
		/* It stays with the host stack for good. */
		what = "kTLS";
		ret = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) ? errno : 0;
		totals.tls += !ret;
		if (ret && ret != EEXIST && ret != ENOENT && ret != ENOTCONN && ret != EBADF &&
		    ret != ENOTSOCK && !(ret == ENOMEM && events_faults()))
			fail(NULL, "TCP_ULP \"tls\" by another thread: %s", strerror(ret));
		break;
	case 1:
	case 2:
		/* For a peer that there is none of, and gone again. */
		what = "an MD5 key";
		if (c->v6) {
			((struct sockaddr_in6 *)&key.tcpm_addr)->sin6_family = AF_INET6;
			((struct sockaddr_in6 *)&key.tcpm_addr)->sin6_addr.s6_addr[0] = 0xfd;
		} else {
			((struct sockaddr_in *)&key.tcpm_addr)->sin_family = AF_INET;
			memcpy(&((struct sockaddr_in *)&key.tcpm_addr)->sin_addr, nowhere, 4);
		}
		ret = setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key));
		if (one_in(rng, 2))
			sleep_ms(rnd_below(rng, 20));
		key.tcpm_keylen = 0;
		setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key));
		break;
	case 3:
	case 4:
		what = "a minimum of hops";
		ret = c->v6 ? set_int(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, rnd_below(rng, 2)) :
			set_int(fd, IPPROTO_IP, IP_MINTTL, rnd_below(rng, 2));
		break;
	case 5:
		what = "no TCP_REPAIR";
		ret = set_int(fd, IPPROTO_TCP, TCP_REPAIR, -1);
		break;
	case 6:
	case 7:
	case 8:
		what = "the name of the upper layer protocol";
		ret = getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len);
		if (!ret && *name && strcmp(name, TOE_ULP) && strcmp(name, "tls"))
			fail(NULL, "getsockopt(TCP_ULP) says \"%s\"", name);
		break;
	case 9:
	case 10:
		/* Not while it is delegated; and not delegated while it is in there. */
		what = "a sockmap";
		map = sockmap_create();
		if (map < 0)
			break;
		ret = -sockmap_update(map, fd);
		totals.sockmap += !ret;
		if (ret && ret != EINVAL && ret != EOPNOTSUPP && ret != EBADF && ret != ENOTSOCK &&
		    ret != EBUSY && !(ret == ENOMEM && events_faults()))
			fail(NULL, "a sockmap's update by another thread: %s", strerror(ret));
		if (!ret && one_in(rng, 2))
			sleep_ms(rnd_below(rng, 20));
		sockmap_delete(map);
		close(map);
		break;
	default:
		what = control;
		ret = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control, strlen(control));
		break;
	}
	totals.foreign++;
	event_log("another thread, end %s of slot %u: %s, %d", side ? "b" : "a", c->slot, what, ret);
	return true;
}

/*
 * What stays for the whole run. Were window scaling switched off between a SYN and its answer,
 * one end would scale and the other not, with any stack, and 252 bytes were all of a window.
 */
void settings_start(void)
{
	uint64_t rng = sub_stream(opt.seed, STREAM_SETTINGS, 0);
	unsigned int side;

	for (side = 0; side < 2; side++)
		sysctl_write(side, "ipv4/tcp_window_scaling", one_in(&rng, 4) ? "0" : "1");
}

/* For connections to come, and some for all. */
bool do_sysctl(uint64_t *rng)
{
	static const struct { const char *file, *values[4]; } sysctls[] = {
		{ "ipv4/tcp_timestamps", { "1", "1", "0", "1" } },
		{ "ipv4/tcp_sack", { "1", "1", "0", "1" } },
		{ "ipv4/tcp_ecn", { "2", "2", "1", "0" } },
		{ "ipv4/tcp_slow_start_after_idle", { "1", "0", "1", "0" } },
		{ "ipv4/tcp_autocorking", { "1", "0", "1", "0" } },
		{ "ipv4/tcp_moderate_rcvbuf", { "1", "0", "1", "1" } },
		{ "ipv4/tcp_early_demux", { "1", "0", "1", "0" } },
		{ "ipv4/tcp_min_tso_segs", { "2", "1", "8", "2" } },
		{ "ipv4/tcp_tso_win_divisor", { "3", "1", "10", "3" } },
		{ "ipv4/tcp_recovery", { "1", "0", "5", "1" } },
		/* Not tcp_mtu_probing: see the report. */
		{ "ipv4/tcp_thin_linear_timeouts", { "0", "1", "0", "1" } },
	};
	unsigned int which = rnd_below(rng, ARRAY_SIZE(sysctls)), side = rnd_below(rng, 2);
	const char *value = sysctls[which].values[rnd_below(rng, 4)];
	int ret = sysctl_write(side, sysctls[which].file, value);

	event_log("%s of %s: %s, %d", sysctls[which].file, side ? "b" : "a", value, ret);
	return !ret;
}

bool do_neighbour(uint64_t *rng)
{
	unsigned int dev = some_dev(rng);

	neigh_forget(dev);
	event_log("neighbours of %s forgotten", dev_name[dev]);
	return true;
}

/* Another link address, and the other end is told. */
bool do_address(uint64_t *rng)
{
	unsigned int dev = some_dev(rng);
	uint8_t mac[6] = { 2, 0x70, dev };
	int ret;

	mac[5] = rnd(rng);
	ret = link_address(dev, mac);
	neigh_forget(peer_of(dev));
	event_log("address of %s: %d", dev_name[dev], ret);
	return !ret;
}

bool do_route(uint64_t *rng)
{
	unsigned int side = rnd_below(rng, 2), v6 = rnd_below(rng, 2);
	bool flush = one_in(rng, 2);

	if (flush)
		sysctl_write(side, v6 ? "ipv6/route/flush" : "ipv4/route/flush", "1");
	else
		route_default(side, v6);
	event_log("routes of %s %s, IPv%d", side ? "b" : "a", flush ? "flushed" : "replaced", v6 ? 6 : 4);
	return true;
}
