// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads and one connection: the one asks for the offload, the other for something
 * that a target cannot do. Whatever comes first, both get an answer that the host stack
 * or the module may give, what was granted is honoured, and each byte arrives.
 *
 * With --slow nothing is left to chance: one of the calls is inside the host stack and
 * waits for its memory while the other one is made, which it gets afterwards.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/tcp.h>
#include <linux/tls.h>

#define NOBODY 65534

/* Newer than the headers of some distributions. */
#define OPT_AO_ADD_KEY 38

/* What the other thread asks for: an option and its value, or a call of another kind. */
struct foreign {
	const char *name;
	int level, option;
	size_t (*value)(uint8_t *at);
	int (*call)(void);
	/* Before a round, and when it was granted. */
	void (*prepare)(void), (*granted)(void);
	/* Errors that it may get, and one that the request for the offload may get. */
	int errors[3], toe_error;
	/* Only the host stack can do it. */
	bool host;
	/* Nobody may ask for it. */
	bool privileged;
};

static const struct foreign *what;
static uint64_t rng;
static pthread_barrier_t gate;
static unsigned int spins;
static uint8_t *page;
static struct sockaddr_storage client_addr;
static unsigned int grants, offloads, refusals_seen;

const char *ulp_name(int fd)
{
	static char name[32];
	socklen_t len = sizeof(name) - 1;

	memset(name, 0, sizeof(name));
	if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len))
		fatal("getsockopt(TCP_ULP): %m");
	return name;
}

bool is_delegated(void)
{
	char mode[16];

	return p.table ? entry(mode) != 0 : !strcmp(ulp_name(p.c), TOE_ULP);
}

/* ---- what the other thread asks for ---- */

static size_t text(uint8_t *at, const char *value)
{
	memcpy(at, value, strlen(value));
	return strlen(value);
}

static size_t number(uint8_t *at, int value)
{
	memcpy(at, &value, sizeof(value));
	return sizeof(value);
}

static size_t tls_value(uint8_t *at) { return text(at, "tls"); }
static size_t bbr_value(uint8_t *at) { return text(at, "bbr"); }
static size_t dctcp_value(uint8_t *at) { return text(at, "dctcp"); }
static size_t reno_value(uint8_t *at) { return text(at, "reno"); }
static size_t repair_value(uint8_t *at) { return number(at, 1); }
static size_t ttl_value(uint8_t *at) { return number(at, 200); }

static size_t md5_value(uint8_t *at)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	getpeername(p.c, (struct sockaddr *)&a, &len);
	((struct sockaddr_in *)&a)->sin_port = 0;
	return md5_key_for((struct sockaddr *)&a, len, at);
}

/* struct tcp_ao_add of 6.7, of which the headers may know nothing. */
static size_t ao_value(uint8_t *at)
{
	static const char algorithm[] = "hmac(sha1)", key[] = "secret";
	struct {
		struct sockaddr_storage addr;
		char alg_name[64];
		int32_t ifindex;
		uint32_t flags;
		uint16_t reserved2;
		uint8_t prefix, sndid, rcvid, maclen, keyflags, keylen, key[80];
	} add = { 0 };
	socklen_t len = sizeof(add.addr);

	getpeername(p.c, (struct sockaddr *)&add.addr, &len);
	((struct sockaddr_in *)&add.addr)->sin_port = 0;
	memcpy(add.alg_name, algorithm, sizeof(algorithm));
	memcpy(add.key, key, sizeof(key));
	add.keylen = sizeof(key);
	add.prefix = add.addr.ss_family == AF_INET ? 32 : 128;
	add.sndid = add.rcvid = 1;
	memcpy(at, &add, sizeof(add));
	return sizeof(add);
}

static void await_host(const char *toe)
{
	int i;

	for (i = 0; p.table && is_delegated(); i++) {
		if (i == 100)
			fatal("%s was accepted, and the connection is delegated; TCP_ULP toe: %s",
			      what->name, toe);
		sleep_ms(10);
	}
}

static void tls_granted(void)
{
	if (strcmp(ulp_name(p.c), "tls"))
		fatal("TCP_ULP \"tls\" was accepted, and the name is \"%s\"", ulp_name(p.c));
	/* Records both ways, on every second connection that got it. */
	if (grants % 2)
		return;
	if (raw_ulp(p.s, "tls"))
		fatal("TCP_ULP tls on the server: %m");
	both_keys();
}

static void md5_granted(void)
{
	uint8_t key[512];
	struct sockaddr_storage a = client_addr;
	size_t len;

	((struct sockaddr_in *)&a)->sin_port = 0;
	len = md5_key_for((struct sockaddr *)&a, sizeof(a), key);
	if (setsockopt(p.s, IPPROTO_TCP, TCP_MD5SIG, key, len))
		fatal("TCP_MD5SIG at the server: %m");
}

static void repair_granted(void)
{
	if (get_int(p.c, IPPROTO_TCP, TCP_REPAIR) != 1)
		fatal("TCP_REPAIR was accepted, and is not set");
	/* The target does not touch a frame of a connection that is being repaired. */
	send_sc(100);
	await_host("whatever");
	if (set_int(p.c, IPPROTO_TCP, TCP_REPAIR, 0))
		fatal("TCP_REPAIR cannot be switched off: %m");
	recv_sc(100);
}

static void cc_granted(void)
{
	char name[32] = "";
	socklen_t len = sizeof(name) - 1;

	/* Without ECN dctcp calls itself dctcp-reno. */
	getsockopt(p.c, IPPROTO_TCP, TCP_CONGESTION, name, &len);
	if (strncmp(name, what->name, strlen(what->name)))
		fatal("congestion control %s was accepted, and it is %s", what->name, name);
}

static void hops(int n)
{
	if (client_addr.ss_family == AF_INET)
		set_int(p.s, IPPROTO_IP, IP_TTL, n);
	else
		set_int(p.s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, n);
}

/* What comes from afar is not taken, and what comes from near is. */
static void ttl_granted(void)
{
	struct pollfd pfd = { .fd = p.c, .events = POLLIN };

	if (grants < 4) {
		hops(64);
		send_sc(100);
		if (poll(&pfd, 1, 100))
			fatal("a segment with 64 hops to go was taken, the minimum is 200");
		hops(255);
		recv_sc(100);
	}
	hops(255);
}

static int map = -1;

static void sockmap_prepare(void)
{
	if (map < 0)
		map = need_sockmap();
}

static int sockmap_call(void) { return sockmap_update(map, p.c); }

static int disconnect_call(void)
{
	struct sockaddr_storage any = { .ss_family = AF_UNSPEC };

	if (connect(p.c, (struct sockaddr *)&any, sizeof(any)) || listen(p.c, 4))
		return -errno;
	return 0;
}

/* Who was a connection listens, and what it accepts is a connection like any other. */
static void disconnect_granted(void)
{
	struct sockaddr_storage to = client_addr;
	int listener = p.c;

	if (*ulp_name(listener))
		fatal("a listener whose protocol is %s", ulp_name(listener));
	close(p.s);
	((struct sockaddr_in *)&to)->sin_port = htons(local_port(listener));
	if (enter_ns(p.server_ns))
		fatal("the server's namespace: %m");
	p.s = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(p.s, (struct sockaddr *)&to, sizeof(to)))
		fatal("connect to who was a connection: %m");
	enter_ns(p.client_ns);
	p.c = accept(listener, NULL, NULL);
	if (p.c < 0)
		fatal("accept: %m");
	close(listener);
	if (*ulp_name(p.c))
		fatal("a new connection whose protocol is %s", ulp_name(p.c));
	p.pos_cs = p.pos_sc = 0;
}

static const struct foreign foreigns[] = {
	{ .name = "tls", .level = IPPROTO_TCP, .option = TCP_ULP, .value = tls_value,
	  .granted = tls_granted, .errors = { EEXIST }, .host = true },
	{ .name = "md5", .level = IPPROTO_TCP, .option = TCP_MD5SIG, .value = md5_value,
	  .granted = md5_granted, .host = true },
	/* Of an established connection only who had a key may get another one. */
	{ .name = "ao", .level = IPPROTO_TCP, .option = OPT_AO_ADD_KEY, .value = ao_value,
	  .errors = { EISCONN, EINVAL }, .host = true },
	/* Switched off again when it was granted: from then on the target may have it. */
	{ .name = "repair", .level = IPPROTO_TCP, .option = TCP_REPAIR, .value = repair_value,
	  .granted = repair_granted, .privileged = true },
	/* It has no cong_avoid. */
	{ .name = "bbr", .level = IPPROTO_TCP, .option = TCP_CONGESTION, .value = bbr_value,
	  .granted = cc_granted, .host = true },
	{ .name = "dctcp", .level = IPPROTO_TCP, .option = TCP_CONGESTION, .value = dctcp_value,
	  .granted = cc_granted, .privileged = true },
	{ .name = "reno", .level = IPPROTO_TCP, .option = TCP_CONGESTION, .value = reno_value,
	  .granted = cc_granted },
	{ .name = "minttl", .level = IPPROTO_IP, .option = IP_MINTTL, .value = ttl_value,
	  .granted = ttl_granted },
	{ .name = "minhops", .level = IPPROTO_IPV6, .option = IPV6_MINHOPCOUNT, .value = ttl_value,
	  .granted = ttl_granted },
	/* In a sockmap, or delegated: never both. */
	{ .name = "sockmap", .call = sockmap_call, .prepare = sockmap_prepare,
	  .errors = { EINVAL }, .host = true, .privileged = true },
	{ .name = "sockmap_bpf", .call = sockmap_bpf_call, .prepare = sockmap_bpf_prepare,
	  .errors = { EINVAL, EBUSY }, .host = true, .privileged = true },
	{ .name = "disconnect", .call = disconnect_call, .granted = disconnect_granted,
	  .toe_error = ENOTCONN },
	{ .name = "psp", .call = psp_call, .prepare = psp_prepare, .granted = psp_granted,
	  .errors = { EINVAL }, .toe_error = EINVAL, .host = true },
};

/* ---- the race ---- */

/* The calling thread alone is nobody, or root again. */
static void nobody(bool on)
{
	if (p.user && syscall(SYS_setresuid, -1, on ? NOBODY : 0, -1))
		fatal("setresuid: %m");
}

static uint8_t value[512];
static size_t value_len;

static int ask_foreign(const void *at)
{
	int ret;

	nobody(true);
	if (what->call)
		ret = what->call();
	else
		ret = setsockopt(p.c, what->level, what->option, at, value_len) ? -errno : 0;
	nobody(false);
	return ret;
}

static int ask_toe(const void *at)
{
	int ret;

	nobody(true);
	ret = setsockopt(p.c, IPPROTO_TCP, TCP_ULP, at, strlen(TOE_ULP)) ? -errno : 0;
	nobody(false);
	return ret;
}

static void spin(unsigned int n)
{
	volatile unsigned int left = n;

	while (left--)
		;
}

static void *racer(void *ret)
{
	pthread_barrier_wait(&gate);
	spin(spins);
	*(int *)ret = ask_foreign(value);
	return NULL;
}

static void fast(int *toe, int *other)
{
	unsigned int mine = rnd_below(&rng, 3000), again = rnd_below(&rng, 4);
	pthread_t thread;
	int ret;

	spins = rnd_below(&rng, 3000);
	pthread_create(&thread, NULL, racer, other);
	pthread_barrier_wait(&gate);
	spin(mine);
	*toe = ask_toe(TOE_ULP);
	/* One that is granted anew while the other one is on its way. */
	while (again--) {
		ret = ask_toe(TOE_ULP);
		if (ret && ret != -EEXIST)
			*toe = ret;
	}
	pthread_join(thread, NULL);
}

struct waiter {
	int (*ask)(const void *at);
	_Atomic bool done;
	int ret;
};

static void *waiter(void *arg)
{
	struct waiter *w = arg;

	w->ret = w->ask(page);
	w->done = true;
	return NULL;
}

static void slow(unsigned int round, int *toe, int *other)
{
	struct waiter w = { 0 };
	bool toe_waits = what->call || round % 3 == 2;
	pthread_t thread;

	/* One that comes back for the option, and may go again before it is set. */
	if (round % 3 == 1 && !what->call)
		ask_toe(TOE_ULP);
	slow_forget(page);
	w.ask = toe_waits ? ask_toe : ask_foreign;
	pthread_create(&thread, NULL, waiter, &w);
	while (!slow_touched(20) && !w.done)
		;
	if (toe_waits)
		*other = ask_foreign(value);
	else
		*toe = ask_toe(TOE_ULP);
	if (toe_waits)
		slow_serve(page, TOE_ULP, strlen(TOE_ULP));
	else
		slow_serve(page, value, value_len);
	pthread_join(thread, NULL);
	*(toe_waits ? toe : other) = w.ret;
}

static bool may(int ret, const int *errors)
{
	int i;

	for (i = 0; i < 3; i++)
		if (errors[i] && ret == -errors[i])
			return true;
	return !ret;
}

static void check(unsigned int round, int toe, int other)
{
	if (toe && toe != -EEXIST && toe != -EOPNOTSUPP && !(what->toe_error && toe == -what->toe_error) &&
	    !(toe == -ENOENT && p.ulp_try))
		fatal("round %u: TCP_ULP toe: %s; %s: %s", round, strerror(-toe), what->name,
		      strerror(-other));
	if (!may(other, what->errors))
		fatal("round %u: %s: %s; TCP_ULP toe: %s", round, what->name, strerror(-other),
		      strerror(-toe));
	offloads += !toe;
	refusals_seen += !!other;
	if (!other) {
		if (what->granted)
			what->granted();
		grants++;
	}
	exchange(1);
	/* What only the host stack can do is with the host stack, since the first frame. */
	if (!other && what->host)
		await_host(toe ? strerror(-toe) : "accepted");
	exchange(2);
}

int contend(const char *name)
{
	socklen_t len = sizeof(client_addr);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(foreigns) && strcmp(foreigns[i].name, name); i++)
		;
	if (i == ARRAY_SIZE(foreigns)) {
		fprintf(stderr, "no such contender: %s\n", name);
		return 2;
	}
	what = &foreigns[i];
	if (p.user && what->privileged) {
		fprintf(stderr, "toe_probe: nobody may ask for %s\n", name);
		return 4;
	}
	rng = now_ms();
	pthread_barrier_init(&gate, NULL, 2);
	if (p.slow)
		page = slow_page();
	for (i = 0; i < p.rounds; i++) {
		int toe = 0, other = 0;

		p.pos_cs = p.pos_sc = 0;
		establish();
		getpeername(p.s, (struct sockaddr *)&client_addr, &len);
		exchange(1);
		if (what->prepare)
			what->prepare();
		if (what->value)
			value_len = what->value(value);
		if (p.slow)
			slow(i, &toe, &other);
		else
			fast(&toe, &other);
		check(i, toe, other);
		close(p.c);
		close(p.s);
	}
	fprintf(stderr, "# note: %s%s%s: %u of %u rounds it was granted, %u refused; %u offloads\n", name,
		p.slow ? ", slow memory" : "", p.user ? ", as nobody" : "", grants, p.rounds,
		refusals_seen, offloads);
	return 0;
}
