// SPDX-License-Identifier: GPL-2.0
/*
 * A plug-in of QEMU's translator: how often each translated block of the guest is run
 * within a window, on each virtual CPU. A window is opened and closed by an instruction
 * that does nothing (WINDOW_OPEN and WINDOW_CLOSE in xtask/guest/bench.c).
 *
 *	-plugin count.so,out=FILE
 *
 * FILE gets, for each window as it closes, a line for each block that ran in it, `CPU
 * ADDRESS INSTRUCTIONS TIMES`, and a line `end`.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What is used of version 1 of the plug-ins' API. Debian has no package with its header,
 * qemu-plugin.h; a QEMU without this version refuses the plug-in and says so.
 */
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef struct {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus, max_vcpus;
	} system;
} qemu_info_t;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

EXPORT int qemu_plugin_version = 1;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *),
					  enum qemu_plugin_cb_flags flags, void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

/* ---- */

enum mark { NONE, OPEN, CLOSE };

struct block {
	struct block *next;
	uint64_t address;
	uint32_t instructions;
	enum mark mark;
	/* On each CPU. */
	uint64_t times[];
};

/*
 * All that was ever translated, the same code again and again. With one thread for all
 * CPUs, as there is when instructions are counted, nothing here needs a lock.
 */
static struct block *blocks;
static unsigned int cpus;
static bool counting;
static FILE *out;

static void open_window(void)
{
	struct block *b;

	for (b = blocks; b; b = b->next)
		memset(b->times, 0, cpus * sizeof(*b->times));
	counting = true;
}

static void close_window(void)
{
	struct block *b;
	unsigned int cpu;

	if (!counting)
		return;
	counting = false;
	for (b = blocks; b; b = b->next)
		for (cpu = 0; cpu < cpus; cpu++)
			if (b->times[cpu])
				fprintf(out, "%u %llx %u %llu\n", cpu, (unsigned long long)b->address,
					b->instructions, (unsigned long long)b->times[cpu]);
	fputs("end\n", out);
	/* This process is killed when the guest is through. */
	fflush(out);
}

static void run(unsigned int cpu, void *data)
{
	struct block *b = data;

	if (b->mark == OPEN)
		open_window();
	else if (b->mark == CLOSE)
		close_window();
	if (counting && cpu < cpus)
		b->times[cpu]++;
}

/* nopl 0x0badf00d(%rax) or nopl 0x0badf00e(%rax) */
static enum mark mark_of(const struct qemu_plugin_insn *insn)
{
	static const uint8_t start[] = { 0x0f, 0x1f, 0x80 }, end[] = { 0xf0, 0xad, 0x0b };
	const uint8_t *bytes = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != 7 || memcmp(bytes, start, 3) || memcmp(bytes + 4, end, 3))
		return NONE;
	return bytes[3] == 0x0d ? OPEN : bytes[3] == 0x0e ? CLOSE : NONE;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *b = calloc(1, sizeof(*b) + cpus * sizeof(*b->times));
	size_t i;

	/* A window is closed and another opened by different blocks. */
	(void)id;
	if (!b)
		abort();
	b->address = qemu_plugin_tb_vaddr(tb);
	b->instructions = qemu_plugin_tb_n_insns(tb);
	for (i = 0; i < b->instructions && b->mark == NONE; i++)
		b->mark = mark_of(qemu_plugin_tb_get_insn(tb, i));
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, run, QEMU_PLUGIN_CB_NO_REGS, b);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	int i;

	cpus = info->system.smp_vcpus;
	for (i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	if (!out) {
		fprintf(stderr, "count.so: out=FILE is missing, or cannot be written\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
