// SPDX-License-Identifier: GPL-2.0
/*
 * A socket that a BPF program puts into a sockmap, without its lock and on another path
 * than any call of its owner; and one that is put there as it gets established.
 *
 * Most programs may not: one of sk_lookup may, with a socket that it finds in another
 * map. It finds it, waits, and goes on when the connection has left that map and is
 * delegated.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>

#include "probe_bpf.h"

/* Newer than the headers of some distributions. */
#define JCOND 0xe0	/* of class BPF_JMP */
#define TYPE_SK_LOOKUP 30
#define ATTACH_SK_LOOKUP 36

/* What the program and the test tell each other. */
struct shared { _Atomic uint32_t found, go_on; int32_t result; uint32_t unused; };

static struct shared *shared;
static int program = -1, from = -1, to = -1;

static int load(int type, int attach, const struct bpf_insn *insns, size_t n)
{
	static char log[16384];
	union bpf_attr attr = {
		.prog_type = type, .expected_attach_type = attach, .insn_cnt = n,
		.insns = (uintptr_t)insns, .license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log, .log_size = sizeof(log), .log_level = 1,
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	if (fd < 0) {
		fprintf(stderr, "%s\n", log);
		lacking("BPF programs that update a sockmap");
	}
	return fd;
}

static _Atomic bool running;

static void *run_program(void *arg)
{
	/* struct bpf_sk_lookup: a socket, the family, the protocol, addresses. */
	uint32_t context[16] = { 0, 0, AF_INET, IPPROTO_TCP };
	union bpf_attr attr = { .test = {
		.prog_fd = program, .ctx_in = (uintptr_t)context, .ctx_size_in = sizeof(context),
		.repeat = 1,
	} };

	pthread_detach(pthread_self());
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		fatal("BPF_PROG_TEST_RUN: %m");
	running = false;
	return arg;
}

void sockmap_bpf_prepare(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = sizeof(*shared),
		.max_entries = 1, .map_flags = BPF_F_MMAPABLE,
	};
	int ret, array;

	if (program < 0) {
		array = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
		shared = array < 0 ? MAP_FAILED : mmap(NULL, SLOW_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, array, 0);
		if (shared == MAP_FAILED)
			lacking("arrays of BPF in user memory");
		from = need_sockmap();
		to = need_sockmap();

		struct bpf_insn insns[] = {
			INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
			MAP(BPF_REG_1, from),
			MOV_REG(BPF_REG_2, BPF_REG_10),
			ADD(BPF_REG_2, -4),
			CALL(BPF_FUNC_map_lookup_elem),
			INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 18, 0),
			MOV_REG(BPF_REG_6, BPF_REG_0),
			MAP_VALUE(BPF_REG_7, array),
			INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_7, 0, 0, 1),
			/* While nobody says that it may go on, but not for ever. */
			INSN(BPF_JMP | JCOND, 0, 0, 3, 0),
			INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_7, 4, 0),
			INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_1, 0, 1, 0),
			INSN(BPF_JMP | BPF_JA, 0, 0, -4, 0),
			MAP(BPF_REG_1, to),
			MOV_REG(BPF_REG_2, BPF_REG_10),
			ADD(BPF_REG_2, -4),
			MOV_REG(BPF_REG_3, BPF_REG_6),
			MOV(BPF_REG_4, 0),
			CALL(BPF_FUNC_map_update_elem),
			INSN(BPF_STX | BPF_MEM | BPF_W, BPF_REG_7, BPF_REG_0, 8, 0),
			MOV_REG(BPF_REG_1, BPF_REG_6),
			CALL(BPF_FUNC_sk_release),
			MOV(BPF_REG_0, 1),
			RETURN,
		};

		program = load(TYPE_SK_LOOKUP, ATTACH_SK_LOOKUP, insns, ARRAY_SIZE(insns));
		close(array);
	}
	memset(shared, 0, sizeof(*shared));
	sockmap_delete(to);
	ret = sockmap_update(from, p.c);
	if (ret)
		fatal("the first sockmap: %s", strerror(-ret));
	running = true;
	pthread_create(&(pthread_t){ 0 }, NULL, run_program, NULL);
	while (!shared->found)
		sleep_ms(1);
	/* What the program has found stays a socket, and is the host stack's again. */
	ret = sockmap_delete(from);
	if (ret)
		fatal("out of the first sockmap: %s", strerror(-ret));
}

/* Lets the program go on. */
int sockmap_bpf_call(void)
{
	shared->go_on = 1;
	while (running)
		sched_yield();
	return shared->result;
}

void sock_ops_sockmap(int map)
{
	struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0),
		INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 6, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB),
		MAP(BPF_REG_2, map),
		MOV_REG(BPF_REG_3, BPF_REG_10),
		ADD(BPF_REG_3, -4),
		MOV(BPF_REG_4, 0),
		CALL(BPF_FUNC_sock_map_update),
		MOV(BPF_REG_0, 1),
		RETURN,
	};
	int cgroup = p.cgroup ? open(p.cgroup, O_RDONLY | O_CLOEXEC) : -1;
	union bpf_attr attr = { .link_create = {
		.prog_fd = load(BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, insns, ARRAY_SIZE(insns)),
		.target_fd = cgroup, .attach_type = BPF_CGROUP_SOCK_OPS,
	} };

	if (cgroup < 0)
		lacking("the cgroup of --cgroup");
	if (syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr)) < 0)
		lacking("BPF links of cgroups");
}
