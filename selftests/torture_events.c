// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the connections of toe_torture: a driver that draws one event
 * after the other. Event number k is drawn from a generator of its own, so that
 * a seed repeats all of them. Some last for a while: each of those has a place
 * below, which knows how to end it.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/tcp.h>

#define DEBUGFS "/sys/kernel/debug/"

enum { STREAM_SCHEDULE = 10, STREAM_EVENT };

/* ---- the last events, for whoever looks for the cause of a failure ---- */

#define RECENT 40

static pthread_mutex_t recent_lock = PTHREAD_MUTEX_INITIALIZER;
static struct { uint64_t at; char text[100]; } recent[RECENT];
static unsigned long recent_n;
static uint64_t begun;

void event_log(const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&recent_lock);
	recent[recent_n % RECENT].at = now_ms() - begun;
	va_start(ap, fmt);
	vsnprintf(recent[recent_n % RECENT].text, sizeof(recent[0].text), fmt, ap);
	va_end(ap);
	if (opt.verbose)
		printf("# %7llu ms: %s\n", (unsigned long long)recent[recent_n % RECENT].at,
		       recent[recent_n % RECENT].text);
	recent_n++;
	pthread_mutex_unlock(&recent_lock);
}

void events_recent(void)
{
	unsigned long i;

	printf("#   the last events:\n");
	for (i = recent_n > RECENT ? recent_n - RECENT : 0; i < recent_n; i++)
		printf("#   %7llu ms: %s\n", (unsigned long long)recent[i % RECENT].at,
		       recent[i % RECENT].text);
}

/* ---- what lasts ---- */

enum lasting {
	L_LINK, L_MEMBER = L_LINK + DEV_COUNT, L_NETEM = L_MEMBER + DEV_COUNT, L_QDISC = L_NETEM + 2, L_POLICY = L_QDISC + 2,
	L_LIMIT = L_POLICY + 2, L_FAULT = L_LIMIT + 2, L_TAP = L_FAULT + 2, L_TCP_MEM = L_TAP + 2,
	L_COUNT
};

static struct { _Atomic uint64_t until; } lasting[L_COUNT];
static _Atomic uint64_t faults_over;
static int tap_fd[2] = { -1, -1 };
static char tcp_mem[64];
static int tcp_mem_fd;
static const char *const fault_dir[2] = { DEBUGFS "failslab", DEBUGFS "fail_page_alloc" };

static void fault_write(unsigned int which, const char *file, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", fault_dir[which], file);
	file_write(path, value);
}

static unsigned long faults_set[2], faults_done[2];

/* Of the failures that were allowed some are left. */
static void faults_count(unsigned int which)
{
	char path[128], buf[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/times", fault_dir[which]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0)
		faults_done[which] += faults_set[which] - MIN(strtoul(buf, NULL, 10), faults_set[which]);
	if (fd >= 0)
		close(fd);
}

static void routes_back(unsigned int side)
{
	unsigned int v6, i;

	/* The gateway is reachable a moment after the link is up. */
	for (v6 = 0; v6 < 2; v6++) {
		int ret = 0;

		for (i = 0; i < 250; i++) {
			ret = route_default(side, v6);
			if (!ret || lasting[L_LINK + side].until)
				break;
			sleep_ms(20);
		}
		if (ret && !lasting[L_LINK + side].until)
			setup_error("end %u: no default route for IPv%d: %s", side, v6 ? 6 : 4, strerror(-ret));
	}
}

static void set_tcp_mem(const char *value)
{
	if (pwrite(tcp_mem_fd, value, strlen(value), 0) < 0)
		setup_error("cannot write tcp_mem: %m");
}

static void end_of(enum lasting l)
{
	lasting[l].until = 0;
	if (l < L_MEMBER) {
		enum dev dev = (enum dev)(l - L_LINK);
		int ret = link_up(dev, true);

		if (ret)
			setup_error("link %s does not come up: %s", dev_name[dev], strerror(-ret));
		if (dev < DEV_RA)
			routes_back(dev);
	} else if (l < L_NETEM) {
		nic_up(l - L_MEMBER, true);
	} else if (l < L_QDISC) {
		qdisc_clear(DEV_RA + l - L_NETEM);
		/* ARP has no checksum: what a corrupted answer said would stay. */
		neigh_forget(DEV_RA + l - L_NETEM);
		neigh_forget(l - L_NETEM);
	} else if (l < L_POLICY) {
		qdisc_clear(l - L_QDISC);
	} else if (l < L_LIMIT) {
		sysfs_write(l - L_POLICY, "toe/policy", opt.host ? "off" : "auto");
	} else if (l < L_FAULT) {
		sysfs_write(l - L_LIMIT, "toe/conn_limit", "1048576");
		sysfs_write(l - L_LIMIT, "toe/min_bytes", "0");
	} else if (l < L_TAP) {
		fault_write(l - L_FAULT, "probability", "0");
		faults_count(l - L_FAULT);
		faults_over = now_ms() + 1000;
	} else if (l < L_TCP_MEM) {
		close(tap_fd[l - L_TAP]);
		tap_fd[l - L_TAP] = -1;
	} else {
		set_tcp_mem(tcp_mem);
	}
	event_log("end of %s", l < L_MEMBER ? dev_name[l] : l < L_NETEM ? dev_name[l - L_MEMBER] : l < L_QDISC ? "weather" :
		  l < L_POLICY ? "qdisc" : l < L_LIMIT ? "policy" : l < L_FAULT ? "limit" :
		  l < L_TAP ? "faults" : l < L_TCP_MEM ? "tap" : "little TCP memory");
}

static void lasts(enum lasting l, unsigned int ms)
{
	lasting[l].until = now_ms() + ms;
}

bool events_faults(void)
{
	return lasting[L_FAULT].until || lasting[L_FAULT + 1].until || lasting[L_TCP_MEM].until ||
		now_ms() < faults_over;
}

bool events_calm(void)
{
	enum lasting l;

	for (l = 0; l < L_POLICY; l++)
		if (lasting[l].until)
			return false;
	return !events_faults();
}

void events_emergency(void)
{
	fault_write(0, "probability", "0");
	fault_write(1, "probability", "0");
	if (lasting[L_TCP_MEM].until)
		set_tcp_mem(tcp_mem);
}

/* ---- the kinds ---- */

static unsigned int either(uint64_t *rng)
{
	return rnd_below(rng, 2);
}

static bool do_upload(uint64_t *rng)
{
	unsigned int side = either(rng);
	int ret = sysfs_write(side, "toe/upload_all", "1");

	event_log("upload_all of %s: %d", dev_name[side], ret);
	return !ret;
}

static bool do_policy(uint64_t *rng)
{
	unsigned int side = either(rng);
	const char *name = one_in(rng, 4) ? "off" : one_in(rng, 2) ? "ulp" : "auto";

	if (opt.host)
		return false;
	sysfs_write(side, "toe/policy", name);
	lasts(L_POLICY + side, 20 + rnd_below(rng, 500));
	event_log("policy %s of %s", name, dev_name[side]);
	return true;
}

/* Each that the device has is drawn; those of a later version are no less welcome. */
static const struct knob { const char *file, *values[6]; } knobs[] = {
	{ "toe/reoffload_delay_ms", { "0", "1", "2", "10", "50" } },
	{ "toe/reoffload_delay_max_ms", { "0", "1", "20", "100", "500" } },
	{ "toe/max_uploads", { "0", "1", "8", "100", "1000000" } },
	{ "toe/upload_window_ms", { "0", "10", "1000", "10000" } },
	{ "toe/bypass_qdisc", { "0", "1" } },
	{ "toe/bypass_netfilter", { "0", "1" } },
	{ "threaded", { "0", "1" } },
	{ "gro_flush_timeout", { "0", "20000", "200000" } },
	{ "napi_defer_hard_irqs", { "0", "2" } },
	{ "tx_queue_len", { "1000", "10", "100" } },
	{ "toe/user_buffer_min", { "0", "1", "1", "512", "4096" } },
	{ "toe/user_buffer_frames", { "0", "0", "0", "1", "8" } },
	{ "toe/buffer_request_ms", { "0", "0", "1", "5", "50", "500" } },
	{ "toe/buffer_high_water", { "1", "1000", "20000", "65536", "1048576" } },
	{ "toe/legacy_max_ms", { "0", "20", "1000", "10000" } },
	{ "toe/legacy_falls", { "0", "8", "1000", "1000000" } },
	{ "toe/legacy_window_ms", { "1", "100", "1000" } },
};

static bool do_knob(uint64_t *rng)
{
	const struct knob *knob = &knobs[rnd_below(rng, ARRAY_SIZE(knobs))];
	unsigned int side = either(rng), n = 0, i;
	char now[64];

	while (n < ARRAY_SIZE(knob->values) && knob->values[n])
		n++;
	i = rnd_below(rng, n);
	if (sysfs_read(side, knob->file, now, sizeof(now)) < 0)
		return false;
	event_log("%s of %s: %s, %d", knob->file, dev_name[side], knob->values[i],
		  sysfs_write(side, knob->file, knob->values[i]));
	return true;
}

static bool do_limit(uint64_t *rng)
{
	unsigned int side = either(rng);
	bool bytes = one_in(rng, 2);
	char value[32];

	snprintf(value, sizeof(value), "%llu",
		 (unsigned long long)rnd_below(rng, bytes ? 200000 : 2 * opt.slots));
	sysfs_write(side, bytes ? "toe/min_bytes" : "toe/conn_limit", value);
	lasts(L_LIMIT + side, 50 + rnd_below(rng, 500));
	event_log("%s of %s: %s", bytes ? "min_bytes" : "conn_limit", dev_name[side], value);
	return true;
}

static void draw_weather(uint64_t *rng, struct weather *w)
{
	unsigned int set = 1 + rnd_below(rng, 63);

	memset(w, 0, sizeof(*w));
	if (set & 1)
		w->loss = 0.1 + rnd_below(rng, 50) / 10.0;
	if (set & 2) {
		w->delay_us = 200 + rnd_below(rng, 8000);
		w->jitter_us = one_in(rng, 2) ? rnd_below(rng, w->delay_us) : 0;
	}
	if (set & 4)
		w->duplicate = 0.1 + rnd_below(rng, 30) / 10.0;
	if (set & 8)
		w->corrupt = 0.1 + rnd_below(rng, 20) / 10.0;
	if (set & 16) {
		if (!w->delay_us)
			w->delay_us = 1000;
		w->reorder = 1 + rnd_below(rng, 30);
		w->gap = 1;
	}
	/* A slow line: never so slow that a window takes seconds. */
	if (set == 32 || one_in(rng, 10))
		w->rate = 1000000 + rnd_below(rng, 10000000);
}

static bool do_netem(uint64_t *rng)
{
	unsigned int which = either(rng);
	struct weather w;
	unsigned int ms = 100 + rnd_below(rng, 2000);
	int ret;

	draw_weather(rng, &w);
	ret = qdisc_netem(DEV_RA + which, &w);
	if (ret)
		return false;
	lasts(L_NETEM + which, ms);
	event_log("%s for %u ms: loss %.1f%%, duplicate %.1f%%, corrupt %.1f%%, reorder %.0f%%, delay %u us +- %u, rate %llu",
		  dev_name[DEV_RA + which], ms, w.loss, w.duplicate, w.corrupt, w.reorder, w.delay_us,
		  w.jitter_us, (unsigned long long)w.rate);
	return true;
}

/* A qdisc at the end itself: with bypass_qdisc offloaded frames overtake. */
static bool do_qdisc(uint64_t *rng)
{
	unsigned int side = either(rng);
	struct weather w = { .delay_us = 100 + rnd_below(rng, 2000) };

	if (qdisc_netem(side, &w))
		return false;
	lasts(L_QDISC + side, 50 + rnd_below(rng, 400));
	event_log("a qdisc at %s", dev_name[side]);
	return true;
}

static bool do_link(uint64_t *rng)
{
	unsigned int dev = some_dev(rng);
	unsigned int ms = rnd_size(rng, 700);

	if (lasting[L_LINK + dev].until)
		return false;
	lasts(L_LINK + dev, ms);
	event_log("%s down for %u ms: %d", dev_name[dev], ms, link_up(dev, false));
	return true;
}

static bool do_member(uint64_t *rng)
{
	enum dev dev = some_nic(rng);
	unsigned int ms = rnd_size(rng, 700);

	if (!opt.bond || lasting[L_MEMBER + dev].until)
		return false;
	lasts(L_MEMBER + dev, ms);
	event_log("member %s down for %u ms: %d", dev_name[dev], ms, nic_up(dev, false));
	return true;
}

static bool do_feature(uint64_t *rng)
{
	static const struct { uint32_t command; const char *name; } features[] = {
		{ ETHTOOL_STSO, "tso" }, { ETHTOOL_SGSO, "gso" }, { ETHTOOL_SGRO, "gro" },
		{ ETHTOOL_SSG, "sg" }, { ETHTOOL_STXCSUM, "tx" }, { ETHTOOL_SRXCSUM, "rx" },
	};
	unsigned int dev = some_nic(rng), which = rnd_below(rng, ARRAY_SIZE(features));
	bool on = !one_in(rng, 3);
	int ret = ethtool_set(dev, features[which].command, on);

	event_log("%s: %s %s: %d", dev_name[dev], features[which].name, on ? "on" : "off", ret);
	return !ret;
}

static bool do_mtu(uint64_t *rng)
{
	static const unsigned int sizes[] = { 1280, 1400, 1500, 1500, 4000, 9000 };
	unsigned int side = either(rng), mtu = sizes[rnd_below(rng, ARRAY_SIZE(sizes))];
	unsigned int peer = peer_of(side);
	bool first = one_in(rng, 2);
	int a, b;

	/* A link whose ends disagree loses what is too long, for good. */
	a = link_mtu(first ? side : peer, mtu);
	b = link_mtu(first ? peer : side, mtu);
	event_log("MTU of %s and %s: %u: %d %d", dev_name[side], dev_name[peer], mtu, a, b);
	return !a && !b;
}

static bool do_inject(uint64_t *rng)
{
	const char *what = inject(rng);

	if (what)
		event_log("forged frame: %s", what);
	return what;
}

static bool do_tap(uint64_t *rng)
{
	unsigned int side = either(rng);
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	unsigned int ms = 20 + rnd_below(rng, 500);

	if (tap_fd[side] >= 0)
		return false;
	net_enter(side);
	ll.sll_ifindex = if_nametoindex(opt.bond && one_in(rng, 2) ? bond_name[side] : dev_name[side]);
	tap_fd[side] = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (tap_fd[side] < 0 || bind(tap_fd[side], (struct sockaddr *)&ll, sizeof(ll)))
		setup_error("packet socket: %m");
	lasts(L_TAP + side, ms);
	event_log("a tap at %s for %u ms", dev_name[side], ms);
	return true;
}

static void read_all(const char *path)
{
	char buf[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static bool do_look(uint64_t *rng)
{
	static const char *const files[] = { "toe/connections", "toe/offloads", "toe/uploads", "toe/refusals" };
	unsigned int side = either(rng);
	struct dirent *d;
	char path[512], buf[64];
	DIR *dir;

	switch (rnd_below(rng, 4)) {
	case 0:
		dir = opendir(DEBUGFS "toe");
		while (dir && (d = readdir(dir))) {
			snprintf(path, sizeof(path), DEBUGFS "toe/%s", d->d_name);
			if (strchr(d->d_name, '@'))
				read_all(path);
		}
		if (dir)
			closedir(dir);
		break;
	case 1:
		net_enter(side);
		read_all("/proc/thread-self/net/tcp");
		read_all("/proc/thread-self/net/tcp6");
		break;
	case 2:
		ethtool_sum(side, "toe_");
		break;
	default:
		sysfs_read(side, files[rnd_below(rng, ARRAY_SIZE(files))], buf, sizeof(buf));
	}
	return true;
}

static bool do_tcp_mem(uint64_t *rng)
{
	unsigned int ms = 20 + rnd_below(rng, 300);

	if (lasting[L_TCP_MEM].until)
		return false;
	lasts(L_TCP_MEM, ms);
	set_tcp_mem("200 400 1600");
	event_log("little TCP memory for %u ms", ms);
	return true;
}

/* ---- failing memory ---- */

static unsigned int caches;
static const char *no_faults = "no fault injection in this kernel";

/*
 * The slab caches that may fail: not the one of struct ref_tracker, with which a
 * debug kernel follows references, and says so when it cannot any more.
 */
static unsigned int caches_init(void)
{
	DIR *dir = opendir("/sys/kernel/slab");
	unsigned int n = 0;
	struct dirent *d;
	char path[512];

	while (dir && (d = readdir(dir))) {
		if ((strncmp(d->d_name, "kmalloc-", 8) && strncmp(d->d_name, "skbuff_", 7) &&
		     strncmp(d->d_name, "toe_", 4)) ||
		    !strcmp(d->d_name, "kmalloc-32"))
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", d->d_name);
		n += !file_write(path, "1");
	}
	if (dir)
		closedir(dir);
	fault_write(0, "cache-filter", "Y");
	return n;
}

/* Only what the module asks for, itself or by what it calls. */
static void faults_init(void)
{
	unsigned long text = 0, fin = 0, after = 0;
	char line[256], value[32];
	unsigned long size = 0;
	unsigned int i;
	FILE *f;

	if (access(fault_dir[0], F_OK))
		return;
	f = fopen("/sys/module/toe/sections/.text", "r");
	if (f && fgets(line, sizeof(line), f))
		text = strtoul(line, NULL, 16);
	if (f)
		fclose(f);
	f = fopen("/proc/modules", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "toe ", 4))
			size = strtoul(line + 4, NULL, 10);
	if (f)
		fclose(f);
	/*
	 * Without a buffer tcp_send_fin() sends no FIN, ever, whosever connection
	 * it is, and the peer waits for it.
	 */
	f = fopen("/proc/kallsyms", "r");
	while (f && !after && fgets(line, sizeof(line), f)) {
		if (fin && strtoul(line, NULL, 16) > fin)
			after = strtoul(line, NULL, 16);
		else if (strstr(line, " tcp_send_fin\n"))
			fin = strtoul(line, NULL, 16);
	}
	if (f)
		fclose(f);
	if (!text || !size || !after) {
		no_faults = "the module's text cannot be located";
		return;
	}
	for (i = 0; i < 2; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/require-start", fault_dir[i]);
		snprintf(value, sizeof(value), "0x%lx", text);
		if (file_write(path, value)) {
			no_faults = "fault injection without a filter of stack traces";
			return;
		}
		snprintf(value, sizeof(value), "0x%lx", text + size);
		fault_write(i, "require-end", value);
		snprintf(value, sizeof(value), "0x%lx", fin);
		fault_write(i, "reject-start", value);
		snprintf(value, sizeof(value), "0x%lx", after);
		fault_write(i, "reject-end", value);
		fault_write(i, "stacktrace-depth", "32");
		fault_write(i, "task-filter", "N");
		fault_write(i, "verbose", "0");
		fault_write(i, "interval", "1");
		fault_write(i, "ignore-gfp-wait", "N");
	}
	caches = caches_init();
	no_faults = NULL;
}

static bool do_fault(uint64_t *rng)
{
	unsigned int which = either(rng), ms = 100 + rnd_below(rng, 900);
	char value[16];

	if (no_faults || lasting[L_FAULT + which].until)
		return false;
	snprintf(value, sizeof(value), "%llu", 1 + (unsigned long long)rnd_below(rng, 400));
	fault_write(which, "times", value);
	lasts(L_FAULT + which, ms);
	faults_set[which] = atoi(value);
	snprintf(value, sizeof(value), "%llu", 1 + (unsigned long long)rnd_below(rng, 8));
	fault_write(which, "probability", value);
	event_log("%s for %u ms, probability %s %%", strrchr(fault_dir[which], '/') + 1, ms, value);
	return true;
}

/* ---- the driver ---- */

static struct kind {
	const char *name;
	unsigned int weight;
	bool (*run)(uint64_t *rng);
	unsigned long done, not_now;
} kinds[] = {
	{ "upload_all", 24, do_upload, 0, 0 },
	{ "policy", 8, do_policy, 0, 0 },
	{ "knob", 10, do_knob, 0, 0 },
	{ "limit", 4, do_limit, 0, 0 },
	{ "netem", 8, do_netem, 0, 0 },
	{ "qdisc", 3, do_qdisc, 0, 0 },
	{ "link", 2, do_link, 0, 0 },
	/* These two with bonds only. */
	{ "member", 0, do_member, 0, 0 },
	{ "choice", 0, do_choice, 0, 0 },
	{ "feature", 8, do_feature, 0, 0 },
	{ "mtu", 4, do_mtu, 0, 0 },
	{ "neighbour", 4, do_neighbour, 0, 0 },
	{ "address", 1, do_address, 0, 0 },
	{ "route", 4, do_route, 0, 0 },
	{ "inject", 24, do_inject, 0, 0 },
	{ "tap", 3, do_tap, 0, 0 },
	{ "look", 6, do_look, 0, 0 },
	{ "sysctl", 4, do_sysctl, 0, 0 },
	{ "foreign", 24, do_foreign, 0, 0 },
	/* Only when named: tcp_wmem_schedule() of 7.3 can return less than 0 then, offload or not. */
	{ "tcp_mem", 0, do_tcp_mem, 0, 0 },
	{ "fault", 4, do_fault, 0, 0 },
};

static pthread_t driver;
static _Atomic bool driver_ends;

static void due(uint64_t now)
{
	enum lasting l;

	for (l = 0; l < L_COUNT; l++)
		if (lasting[l].until && now >= lasting[l].until)
			end_of(l);
}

static void *drive(void *arg)
{
	uint64_t schedule = sub_stream(opt.seed, STREAM_SCHEDULE, 0), next, n;
	unsigned int weights = 0, i;

	(void)arg;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		weights += kinds[i].weight;
	if (!weights)
		return NULL;
	next = now_ms();
	for (n = 0; !driver_ends; n++) {
		uint64_t rng = sub_stream(opt.seed, STREAM_EVENT, n);
		unsigned int at;

		next = MAX(next, now_ms()) + rnd_below(&schedule, 2 * opt.pace);
		for (;;) {
			due(now_ms());
			if (driver_ends || now_ms() >= next)
				break;
			sleep_ms(MIN(next - now_ms(), (uint64_t)10));
		}
		at = rnd_below(&schedule, weights);
		for (i = 0; at >= kinds[i].weight; i++)
			at -= kinds[i].weight;
		if (kinds[i].run(&rng))
			kinds[i].done++;
		else
			kinds[i].not_now++;
	}
	due(-1ull);
	return NULL;
}

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);
	const char *at = list;

	while ((at = strstr(at, name))) {
		if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ','))
			return true;
		at += len;
	}
	return false;
}

void events_prepare(void)
{
	struct tcp_md5sig key = { .tcpm_keylen = 6, .tcpm_key = "secret" };
	struct sockaddr_in *peer = (void *)&key.tcpm_addr;
	int fd;

	/* The first namespace's, for all of them, and only there. */
	tcp_mem_fd = open("/proc/sys/net/ipv4/tcp_mem", O_RDWR | O_CLOEXEC);
	if (tcp_mem_fd < 0 || pread(tcp_mem_fd, tcp_mem, sizeof(tcp_mem) - 1, 0) <= 0)
		setup_error("cannot read tcp_mem: %m");
	faults_init();
	/*
	 * The first socket with timestamps, with an MD5 key or with a minimum of hops,
	 * and the last, make the kernel patch its code, which emulated processors get
	 * wrong now and then (Oops: int3).
	 */
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || set_int(fd, SOL_SOCKET, SO_TIMESTAMP, 1))
		setup_error("SO_TIMESTAMP: %m");
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	peer->sin_family = AF_INET;
	peer->sin_addr.s_addr = htonl(0xcb007101);
	/* A kernel may have none. */
	if (fd < 0 || (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)) &&
		       errno != ENOPROTOOPT))
		setup_error("TCP_MD5SIG: %m");
	set_int(fd, IPPROTO_IP, IP_MINTTL, 1);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || set_int(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 1))
		setup_error("IPV6_MINHOPCOUNT: %m");
}

void events_start(void)
{
	static const char *const both[][2] = {
		{ "toe/policy", "auto" }, { "toe/min_segments", "0" },
		{ "toe/reoffload_delay_ms", "1" },
		{ "toe/reoffload_delay_max_ms", "20" }, { "toe/upload_window_ms", "1000" },
	};
	unsigned int side, i;

	begun = now_ms();
	for (i = 0; opt.bond && i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].run == do_member || kinds[i].run == do_choice)
			kinds[i].weight = 12;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if ((opt.only && !listed(opt.only, kinds[i].name)) ||
		    (opt.never && listed(opt.never, kinds[i].name)))
			kinds[i].weight = 0;
		else if (opt.only && !kinds[i].weight)
			kinds[i].weight = 1;
	for (side = 0; side < 2; side++)
		for (i = 0; i < ARRAY_SIZE(both); i++)
			sysfs_write(side, both[i][0], both[i][1]);
	if (opt.host)
		for (side = 0; side < 2; side++)
			sysfs_write(side, "toe/policy", "off");
	if (pthread_create(&driver, NULL, drive, NULL))
		setup_error("cannot create a thread: %m");
}

void events_stop(void)
{
	driver_ends = true;
	pthread_join(driver, NULL);
	bonds_agree();
}

unsigned long events_total(void)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		sum += kinds[i].done;
	return sum;
}

void events_report(void)
{
	unsigned int i;

	printf("# events: %lu:", events_total());
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].done)
			printf(" %s:%lu", kinds[i].name, kinds[i].done);
	printf("\n# not possible when drawn:");
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].not_now)
			printf(" %s:%lu", kinds[i].name, kinds[i].not_now);
	printf("\n");
	if (!opt.only)
		printf("# SKIP tcp_mem: the host stack itself fails (--host --only tcp_mem)\n"
		       "# SKIP tcp_mtu_probing: the host stack's probes send pages of MSG_ZEROCOPY after their completion\n");
	if (no_faults)
		printf("# SKIP memory faults: %s\n", no_faults);
	else
		printf("# memory faults: %lu of slabs (%u caches), %lu of pages\n", faults_done[0], caches,
		       faults_done[1]);
}
