// SPDX-License-Identifier: GPL-2.0
/*
 * Filters that come before the offload or after it. The client is delegated. What is
 * installed is either a command (--before, undone by --after), run in the client's
 * namespace, or a program of our own (--bpf KIND), attached to the device --dev or to
 * the cgroup --cgroup, and gone when its link is closed.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/xfrm.h>

#include "probe_bpf.h"

/* What Documentation/networking/toe.rst promises: frames skip a filter no longer. */
#define BOUND_MS 100

#ifndef IP_XFRM_POLICY
#define IP_XFRM_POLICY 17
#endif
#ifndef IPV6_XFRM_POLICY
#define IPV6_XFRM_POLICY 35
#endif

/* Newer than the headers of some distributions. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47
#define OPT_SOCK_OPS_CB_FLAGS 1008

static int link_fd = -1, prog_fd = -1;

static void without(const char *what)
{
	fprintf(stderr, "toe_probe: this kernel lacks %s: %m\n", what);
	exit(4);
}

static void load(int type, int attach, const struct bpf_insn *insns, size_t n)
{
	union bpf_attr attr = {
		.prog_type = type, .expected_attach_type = attach, .insn_cnt = n,
		.insns = (uintptr_t)insns, .license = (uintptr_t)"GPL",
	};

	prog_fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (prog_fd < 0)
		without("BPF programs of this type");
}

static void link_to(int target, int attach)
{
	union bpf_attr attr = { .link_create = {
		.prog_fd = prog_fd, .target_fd = target, .attach_type = attach,
	} };

	link_fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (link_fd < 0)
		without("BPF links of this type");
}

static int cgroup(void)
{
	int fd = p.cgroup ? open(p.cgroup, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		without("the cgroup of --cgroup");
	return fd;
}

/* Returns `value` for every packet. */
static void constant(int type, int attach, int target, int value)
{
	struct bpf_insn insns[] = { MOV(BPF_REG_0, value), RETURN };

	load(type, attach, insns, ARRAY_SIZE(insns));
	link_to(target, attach);
}

/* Whenever a socket of the cgroup calls setsockopt(), its callbacks are switched on. */
static void callbacks(void)
{
	struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, BPF_SOCK_OPS_RTO_CB_FLAG),
		/* struct bpf_sockopt's first field is the socket. */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_1, 0, 0),
		MOV(BPF_REG_2, IPPROTO_TCP),
		MOV(BPF_REG_3, OPT_SOCK_OPS_CB_FLAGS),
		MOV_REG(BPF_REG_4, BPF_REG_10),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, -4),
		MOV(BPF_REG_5, 4),
		CALL(BPF_FUNC_setsockopt),
		MOV(BPF_REG_0, 1),
		RETURN,
	};

	load(BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT, insns, ARRAY_SIZE(insns));
	link_to(cgroup(), BPF_CGROUP_SETSOCKOPT);
	set_int(p.c, SOL_SOCKET, SO_PRIORITY, 1);
	close(link_fd);
	close(prog_fd);
	link_fd = prog_fd = -1;
}

static void attach(int fd, unsigned int verdict)
{
	struct sock_filter filter = { BPF_RET | BPF_K, 0, 0, verdict };
	struct sock_fprog prog = { 1, &filter };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)))
		without("SO_ATTACH_FILTER");
}

/* The same by a BPF program. */
static void attach_bpf(int fd)
{
	struct bpf_insn insns[] = { MOV(BPF_REG_0, 0xffff), RETURN };

	load(BPF_PROG_TYPE_SOCKET_FILTER, 0, insns, ARRAY_SIZE(insns));
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog_fd, sizeof(prog_fd)))
		without("SO_ATTACH_BPF");
}

/* A policy of the socket's own: ESP for what it receives, if there is any. */
static void own_policy(int fd)
{
	bool v6 = strchr(p.addr, ':');
	struct {
		struct xfrm_userpolicy_info info;
		struct xfrm_user_tmpl tmpl;
	} policy = {
		.info = {
			.sel.family = v6 ? AF_INET6 : AF_INET,
			.lft = {
				.soft_byte_limit = XFRM_INF, .hard_byte_limit = XFRM_INF,
				.soft_packet_limit = XFRM_INF, .hard_packet_limit = XFRM_INF,
			},
			.dir = XFRM_POLICY_IN, .action = XFRM_POLICY_ALLOW,
		},
		.tmpl = {
			.id.proto = IPPROTO_ESP, .family = v6 ? AF_INET6 : AF_INET, .optional = 1,
			.aalgos = ~0, .ealgos = ~0, .calgos = ~0,
		},
	};

	if (v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_XFRM_POLICY, &policy, sizeof(policy)) :
		 setsockopt(fd, IPPROTO_IP, IP_XFRM_POLICY, &policy, sizeof(policy)))
		without("IP_XFRM_POLICY");
}

static void command(const char *cmd)
{
	if (cmd && system(cmd))
		fatal("failed: %s", cmd);
}

static void install(void)
{
	int dev = p.dev ? if_nametoindex(p.dev) : 0;

	if (!p.bpf)
		command(p.before);
	else if (!strcmp(p.bpf, "xdp"))
		constant(BPF_PROG_TYPE_XDP, BPF_XDP, dev, XDP_PASS);
	else if (!strcmp(p.bpf, "tcx_ingress"))
		constant(BPF_PROG_TYPE_SCHED_CLS, ATTACH_TCX_INGRESS, dev, 0);
	else if (!strcmp(p.bpf, "tcx_egress"))
		constant(BPF_PROG_TYPE_SCHED_CLS, ATTACH_TCX_EGRESS, dev, 0);
	else if (!strcmp(p.bpf, "cgroup_ingress"))
		constant(BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS, cgroup(), 1);
	else if (!strcmp(p.bpf, "cgroup_egress"))
		constant(BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, cgroup(), 1);
	else if (!strcmp(p.bpf, "sock_ops"))
		callbacks();
	else if (!strcmp(p.bpf, "socket"))
		attach(p.c, 0xffffffff);
	else if (!strcmp(p.bpf, "socket_drop"))
		attach(p.c, 0);
	else if (!strcmp(p.bpf, "socket_bpf"))
		attach_bpf(p.c);
	else if (!strcmp(p.bpf, "policy"))
		own_policy(p.c);
	else
		fatal("no such program: %s", p.bpf);
}

static void withdraw(void)
{
	int zero = 0;

	if (!p.bpf)
		command(p.after);
	else if (!strcmp(p.bpf, "policy"))
		setsockopt(p.c, IPPROTO_IP, IP_XFRM_POLICY, NULL, 0);
	else if (!strncmp(p.bpf, "socket", 6))
		setsockopt(p.c, SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof(zero));
	else
		close(link_fd);
}

/* Does anything arrive within `ms`? */
static bool arrives(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, ms) > 0;
}

static void expect_back(const char *when)
{
	char mode[16];

	if (p.table && entry(mode))
		fatal("still %s %s", mode, when);
}

/* The connection sees no more frames than those of the given time. */
static void idle(void)
{
	uint64_t start = now_ms(), took;
	char mode[16];

	while (entry(mode)) {
		if (now_ms() - start > 10 * BOUND_MS)
			fatal("still %s %d ms after the filter came", mode, 10 * BOUND_MS);
		usleep(1000);
	}
	took = now_ms() - start;
	if (took > BOUND_MS && !p.slow) {
		/* For the caller to try again: others use this machine, too. */
		fprintf(stderr, "toe_probe: took %llu ms\n", (unsigned long long)took);
		exit(5);
	}
	printf("# note: back after %llu ms\n", (unsigned long long)took);
}

/*
 * The client accepts nothing from farther away than its own link, or the server what its
 * listener accepts (`--bpf listener`): set before the offload or after it.
 */
static int least_ttl(const char *when)
{
	bool v6 = strchr(p.addr, ':'), listener = !strcmp(when, "listener");
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, near = 64, far = 20;
	int least = v6 ? IPV6_MINHOPCOUNT : IP_MINTTL, ttl = v6 ? IPV6_UNICAST_HOPS : IP_TTL;
	int to, from;

	open_listener();
	if (listener)
		set_int(p.listener, level, least, near);
	establish();
	to = listener ? p.s : p.c;
	from = listener ? p.c : p.s;
	set_int(from, level, ttl, near);
	exchange(2);
	if (!strcmp(when, "before"))
		set_int(to, level, least, near);
	offload(to);
	exchange(2);
	if (!strcmp(when, "after"))
		set_int(to, level, least, near);
	set_int(from, level, ttl, far);
	if (listener)
		send_cs(1000);
	else
		send_sc(1000);
	if (arrives(to, 150))
		fatal("what comes from too far away arrives");
	set_int(from, level, ttl, near);
	if (listener)
		recv_cs(1000);
	else
		recv_sc(1000);
	exchange(2);
	return 0;
}

int filter(const char *name)
{
	uint64_t hwid = 0, now = 0;
	char mode[16] = "";
	int i;

	if (!strcmp(name, "least_ttl"))
		return least_ttl(p.bpf);
	if (!strcmp(name, "accepted")) {
		open_listener();
		own_policy(p.listener);
	}
	establish();
	exchange(2);
	if (!strncmp(name, "refused", 7) || !strcmp(name, "accepted")) {
		int ret;

		if (strcmp(name, "accepted"))
			install();
		/* A new route, if the old one is not valid any more, and frames pass. */
		if (strcmp(name, "refused_now"))
			exchange(2);
		ret = ulp_request(strcmp(name, "accepted") ? p.c : p.s);
		if (!strcmp(p.expect, "ok") ? ret : ret != -EOPNOTSUPP)
			fatal("TCP_ULP: %s, expected %s", ret ? strerror(-ret) : "accepted", p.expect);
		if (strcmp(name, "refused_now"))
			exchange(4);
		withdraw();
		exchange(4);
		return 0;
	}
	offload(p.c);
	exchange(4);
	/* No acknowledgement is outstanding, which would be sent by the timer. */
	sleep_ms(300);
	if (p.table)
		hwid = entry(mode);
	if (!hwid || strcmp(mode, "delegated"))
		fatal("the client is not delegated: %s", mode);
	install();
	if (!strcmp(name, "idle") || !strcmp(name, "again")) {
		/* It sees what is received, and so it is noticed then. */
		if (p.bpf && !strncmp(p.bpf, "socket", 6))
			exchange(1);
		idle();
	} else if (!strcmp(name, "send")) {
		send_cs(1000);
		expect_back("after it sent");
		recv_cs(1000);
	} else if (!strcmp(name, "receive")) {
		send_sc(1000);
		recv_sc(1000);
		expect_back("after it received");
	} else if (!strcmp(name, "drop_sent")) {
		send_cs(1000);
		if (arrives(p.s, 150))
			fatal("what the filter drops arrives");
		expect_back("after it sent");
	} else if (!strcmp(name, "drop_received")) {
		if (strncmp(p.bpf ?: "", "socket", 6))
			sleep_ms(BOUND_MS);
		send_sc(1000);
		if (arrives(p.c, 150))
			fatal("what the filter drops arrives");
	} else if (!strcmp(name, "stay")) {
		for (i = 0; i < 8; i++) {
			exchange(1);
			sleep_ms(BOUND_MS / 2);
		}
		now = entry(mode);
		if (now != hwid)
			fatal("hwid %#llx became %#llx", (unsigned long long)hwid, (unsigned long long)now);
	} else {
		fprintf(stderr, "no such filter: %s\n", name);
		return 2;
	}
	withdraw();
	if (!strcmp(name, "drop_sent"))
		recv_cs(1000);
	if (!strcmp(name, "drop_received"))
		recv_sc(1000);
	if (!strcmp(name, "again")) {
		for (i = 0; !entry(mode); i++) {
			if (i == 500)
				fatal("not offloaded again 5 s after the filter went");
			sleep_ms(10);
		}
	}
	exchange(8);
	return 0;
}
