// SPDX-License-Identifier: GPL-2.0
/*
 * What others keep of a delegated connection and use when it is with the host again, or
 * when the module is gone (--before takes it away); and owners of its socket that sleep
 * in their own memory.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/tcp.h>
#include <linux/tls.h>

/* What a command may take, however busy the machine is. */
#define PROMPT_MS 5000

/*
 * What the command said. One that does not end is a failure, after what it may be waiting
 * for has been let go: nothing here may stay behind.
 */
static int promptly(const char *command, void (*let_go)(void))
{
	uint64_t end = now_ms() + PROMPT_MS;
	int status = 0;
	pid_t pid;

	if (!command)
		return 0;
	pid = fork();
	if (pid < 0)
		fatal("fork: %m");
	if (!pid) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (now_ms() < end) {
			sleep_ms(5);
			continue;
		}
		if (let_go)
			let_go();
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		fatal("it takes longer than %d ms: %s", PROMPT_MS, command);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void must(const char *command)
{
	int ret = promptly(command, NULL);

	if (ret)
		fatal("code %d: %s", ret, command);
}

static void await_host(void)
{
	int i;

	for (i = 0; is_delegated(); i++) {
		if (i == 200)
			fatal("the connection is still delegated");
		sleep_ms(10);
	}
}

static void named(const char *name, const char *when)
{
	if (strcmp(ulp_name(p.c), name) && !p.ulp_try)
		fatal("getsockopt(TCP_ULP) says \"%s\" %s, expected \"%s\"", ulp_name(p.c), when, name);
}

/* ---- names ---- */

static void name(void)
{
	named("", "before the offload");
	offload(p.c);
	named(TOE_ULP, "of a delegated connection");
	exchange(4);
	named(TOE_ULP, "after an exchange");
	must(p.before);
	exchange(1);
	named("", "after the upload");
	offload(p.c);
	named(TOE_ULP, "the second time");
	shutdown(p.c, SHUT_WR);
	sleep_ms(50);
	named("", "after shutdown");
	/* It is free for others again. */
}

/* Somebody overwrites the record: the device finds the connection all the same. */
static void lost(void)
{
	int fd = open("/sys/kernel/debug/toe/plant", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		lacking("debugfs with the module's negative controls");
	offload(p.c);
	exchange(4);
	if (dprintf(fd, "lose %d", p.c) < 0)
		fatal("plant: %m");
	close(fd);
	must(p.before);
	await_host();
	exchange(4);
	named("", "after the upload");
	offload(p.c);
	exchange(4);
}

/* An association of PSP that was there before the connection is a candidate. */
static void psp_first(void)
{
	int ret;

	psp_prepare();
	ret = psp_call();
	if (ret)
		fatal("an association: %s", strerror(-ret));
	exchange(40);
	if (is_delegated())
		fatal("delegated, with an association of PSP");
}

static _Atomic bool over;

static void *asks_name(void *arg)
{
	unsigned long *asked = arg;

	while (!over) {
		char now[32] = "";
		socklen_t len = sizeof(now) - 1;

		/* do_tcp_getsockopt() looks twice: it may find a name, and then none. */
		if (getsockopt(p.c, IPPROTO_TCP, TCP_ULP, now, &len) && errno != EFAULT)
			fatal("getsockopt(TCP_ULP): %m");
		if (*now && strcmp(now, TOE_ULP))
			fatal("getsockopt(TCP_ULP) says \"%s\"", now);
		(*asked)++;
	}
	return NULL;
}

/* The name is asked for, here and by --after, while it comes and goes. */
static void diag(void)
{
	unsigned long asked = 0;
	pthread_t thread;
	unsigned int i;

	offload(p.c);
	must(p.after);
	pthread_create(&thread, NULL, asks_name, &asked);
	for (i = 0; i < p.rounds; i++) {
		/* A request of ours that changes nothing brings it back. */
		if (setsockopt(p.c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4))
			fatal("TCP_CONGESTION: %m");
		offload(p.c);
		exchange(1);
	}
	over = true;
	pthread_join(thread, NULL);
	fprintf(stderr, "# note: the name was asked for %lu times\n", asked);
}

/* ---- after rmmod ---- */

struct call {
	_Atomic bool done;
	uint8_t *page;
	ssize_t ret;
	int error;
};

static void *get_name(void *arg)
{
	struct call *call = arg;
	socklen_t len = 16;

	call->ret = getsockopt(p.c, IPPROTO_TCP, TCP_ULP, call->page, &len);
	call->error = errno;
	call->done = true;
	return NULL;
}

/* The device went with the module: nobody hears it, but the socket is the host stack's. */
static void last_words(void)
{
	if (send(p.c, "hello", 5, MSG_NOSIGNAL) != 5)
		fatal("send without a device: %m");
}

static void wait_touched(struct call *call)
{
	while (!slow_touched(20) && !call->done)
		;
}

/* --before uploads, --after takes the module away, while the answer is being written. */
static void getsockopt_rmmod(void)
{
	struct call call = { .page = slow_page() };
	static const char none[16];
	pthread_t thread;
	int ret;

	offload(p.c);
	named(TOE_ULP, "of a delegated connection");
	pthread_create(&thread, NULL, get_name, &call);
	wait_touched(&call);
	must(p.before);
	ret = promptly(p.after, NULL);
	slow_serve(call.page, none, sizeof(none));
	pthread_join(thread, NULL);
	if (call.ret && call.error != EFAULT)
		fatal("getsockopt(TCP_ULP): %s", strerror(call.error));
	if (!call.ret && *call.page && strcmp((char *)call.page, TOE_ULP))
		fatal("getsockopt(TCP_ULP) says \"%.16s\"", call.page);
	/* Whoever is inside may keep the module, but not for longer. */
	if (ret)
		must(p.after);
	last_words();
}

static void *slow_tls(void *arg)
{
	struct call *call = arg;

	call->ret = setsockopt(p.c, IPPROTO_TCP, TCP_ULP, call->page, 3) ? -errno : 0;
	call->done = true;
	return NULL;
}

/* A connection with kTLS that has nothing to do with any device. */
static void loopback(int *c, int *s)
{
	const char *addr = strchr(p.addr, ':') ? "::1" : "127.0.0.1";
	int listener = tcp_listen(addr, 0, 1);

	*c = listener < 0 ? listener : tcp_connect(addr, local_port(listener));
	*s = *c < 0 ? *c : accept(listener, NULL, NULL);
	if (*s < 0)
		fatal("a connection by loopback: %s", strerror(-*s));
	close(listener);
	if (raw_ulp(*c, "tls") || raw_ulp(*s, "tls"))
		fatal("TCP_ULP tls: %m");
}

/*
 * kTLS of one socket is built from the methods of another: one that asks for it after the
 * hand-over, and is refused for its state, must not leave ours behind.
 */
static void poison(void)
{
	struct call call = { .page = slow_page() };
	int innocent, peer, i;

	if (raw_ulp(p.c, "tls")) {
		errno = ENOENT;
		lacking("kTLS");
	}
	close(p.c);
	close(p.s);
	loopback(&innocent, &peer);
	for (i = 0; i < 4; i++) {
		pthread_t thread;
		int ret;

		p.pos_cs = p.pos_sc = 0;
		establish();
		exchange(1);
		if (i % 2) {
			shutdown(p.s, SHUT_WR);
			sleep_ms(50);
		}
		slow_forget(call.page);
		call.done = false;
		pthread_create(&thread, NULL, slow_tls, &call);
		wait_touched(&call);
		ret = raw_ulp(p.c, TOE_ULP);
		slow_serve(call.page, "tls", 3);
		pthread_join(thread, NULL);
		if (ret && ret != -EOPNOTSUPP && ret != -ENOTCONN && !(ret == -ENOENT && p.ulp_try))
			fatal("TCP_ULP toe: %s", strerror(-ret));
		if (call.ret && call.ret != -EEXIST && call.ret != -ENOTCONN)
			fatal("TCP_ULP tls: %s", strerror(-call.ret));
		/* A socket that has it is the host stack's. */
		if (!call.ret && p.table && is_delegated())
			fatal("kTLS on a delegated connection");
		send_cs(100);
		recv_cs(100);
		close(p.c);
		close(p.s);
	}
	must(p.before);
	p.c = innocent;
	p.s = peer;
	p.pos_cs = p.pos_sc = 0;
	both_keys();
	exchange(8);
}

/* --before uploads, --after takes the module away. */
static void sockmap_rmmod(void)
{
	int map = need_sockmap(), ret;

	offload(p.c);
	ret = sockmap_update(map, p.c);
	if (ret != (p.ulp_try ? 0 : -EINVAL))
		fatal("a delegated connection into a sockmap: %s, expected EINVAL",
		      ret ? strerror(-ret) : "accepted");
	exchange(1);
	must(p.before);
	await_host();
	ret = sockmap_update(map, p.c);
	if (ret)
		fatal("into a sockmap after the upload: %s", strerror(-ret));
	exchange(4);
	must(p.after);
	last_words();
	ret = sockmap_delete(map);
	if (ret)
		fatal("out of the sockmap: %s", strerror(-ret));
	last_words();
	close(map);
	last_words();
}

/* ---- others that must not suffer ---- */

static void zerocopy(bool granted)
{
	static uint8_t buf[4096];
	ssize_t ret;
	int i;

	must(p.before);
	i = raw_ulp(p.c, TOE_ULP);
	if (!p.ulp_try && i != (granted ? 0 : -EOPNOTSUPP))
		fatal("TCP_ULP: %s", strerror(-i));
	for (i = 0; i < 2; i++) {
		stream_fill(1, p.pos_cs, buf, sizeof(buf));
		ret = uring_send_zc(p.c, buf, sizeof(buf));
		if (ret < 0 && errno == ENOSYS)
			lacking("io_uring");
		if (ret != (ssize_t)sizeof(buf))
			fatal("zero-copy send by io_uring: %s", ret < 0 ? strerror(errno) : "short");
		recv_cs(sizeof(buf));
		/* And again when it is with the host. */
		must(p.after);
	}
	exchange(4);
}

/* An ordinary program with kTLS, its connections offloaded by the policy. */
static void auto_ktls(void)
{
	unsigned int i, exists = 0, again = 0;
	uint64_t rng = now_ms();

	for (i = 0; i < p.rounds; i++) {
		int ends, side, ret;

		p.pos_cs = p.pos_sc = 0;
		establish();
		send_cs(1);
		recv_cs(1);
		send_sc(1);
		recv_sc(1);
		usleep(rnd_below(&rng, 5000));
		for (side = 0; side < 2; side++) {
			ends = side ? p.s : p.c;
			while ((ret = raw_ulp(ends, "tls")) == -EEXIST && again < 10 * (i + 1)) {
				/* Offloaded at that moment: it is brought back when asked again. */
				exists++;
				again++;
			}
			if (ret == -ENOENT) {
				errno = ENOENT;
				lacking("kTLS");
			}
			if (ret)
				fatal("connection %u: TCP_ULP tls: %s", i, strerror(-ret));
		}
		if (i % 4 == 0)
			both_keys();
		exchange(1);
		close(p.c);
		close(p.s);
	}
	fprintf(stderr, "# note: %u connections with kTLS, EEXIST %u times\n", i, exists);
}

/* How long the policy takes with an ordinary connection. */
static unsigned int policy_ms(void)
{
	uint64_t begun = now_ms();

	establish();
	while (p.table && !is_delegated()) {
		if (now_ms() - begun > 10000)
			fatal("the policy offloads nothing");
		exchange(1);
		sleep_ms(5);
	}
	close(p.c);
	close(p.s);
	p.pos_cs = p.pos_sc = 0;
	return now_ms() - begun;
}

/* Taken by a sockmap as it was established, by a program of the cgroup. */
static void sockmap_first(void)
{
	int map = need_sockmap(), ret;
	uint64_t end = 200 + 3 * policy_ms();

	sock_ops_sockmap(map);
	establish();
	for (end += now_ms(); now_ms() < end; sleep_ms(5)) {
		exchange(1);
		if (p.table && is_delegated())
			fatal("a connection that is in a sockmap is delegated");
	}
	ret = raw_ulp(p.c, TOE_ULP);
	if (ret != -EOPNOTSUPP && !p.ulp_try)
		fatal("TCP_ULP: %s", ret ? strerror(-ret) : "accepted");
	ret = sockmap_delete(map);
	if (ret)
		fatal("it was not in the sockmap: %s", strerror(-ret));
	exchange(4);
}

/* ---- owners that sleep ---- */

#define PIECE 1000

static struct call owner;
static bool sends;

static void *own(void *arg)
{
	(void)arg;
	owner.ret = sends ? send(p.c, owner.page, PIECE, MSG_NOSIGNAL) : recv(p.c, owner.page, PIECE, 0);
	owner.error = errno;
	owner.done = true;
	return NULL;
}

static void let_go(void)
{
	static uint8_t buf[PIECE];

	stream_fill(1, p.pos_cs, buf, sizeof(buf));
	slow_serve(owner.page, buf, sizeof(buf));
}

/* A BPF program puts it into a sockmap under the owner's feet. */
static void program(void)
{
	int ret = sockmap_bpf_call();

	if (ret != -EINVAL && ret != -EBUSY && !p.ulp_try)
		fatal("a program put a delegated connection into a sockmap: %s", strerror(-ret));
}

/*
 * A call that has the socket's lock sleeps in its own memory. --before must answer soon
 * and may fail with code 1 (rmmod: in use); then the call ends as if nothing had been,
 * and --after brings back what the connection goes on with, unless the device is gone
 * (--expect gone).
 */
static void slow_owner(bool with_program)
{
	pthread_t thread;
	uint64_t begun;
	int queued = 0, ret;

	owner.page = slow_page();
	if (with_program)
		sockmap_bpf_prepare();
	offload(p.c);
	if (!sends) {
		send_sc(PIECE);
		while (queued < PIECE) {
			sleep_ms(2);
			ioctl(p.c, FIONREAD, &queued);
		}
	}
	pthread_create(&thread, NULL, own, NULL);
	wait_touched(&owner);
	if (owner.done)
		fatal("the call did not wait: %zd, %s", owner.ret, strerror(owner.error));
	begun = now_ms();
	if (with_program)
		program();
	ret = promptly(p.before, let_go);
	if (ret > 1)
		fatal("code %d: %s", ret, p.before);
	fprintf(stderr, "# note: answered with %d after %u ms\n", ret, (unsigned int)(now_ms() - begun));
	if (owner.done)
		fatal("the call returned before its memory was there: %zd, %s", owner.ret,
		      strerror(owner.error));
	let_go();
	pthread_join(thread, NULL);
	if (owner.ret != PIECE)
		fatal("the call: %zd, %s", owner.ret, strerror(owner.error));
	must(p.after);
	if (!strcmp(p.expect, "gone"))
		return;
	if (sends)
		recv_cs(PIECE);
	else if (stream_check(2, p.pos_sc, owner.page, PIECE) >= 0)
		fatal("a wrong byte");
	else
		p.pos_sc += PIECE;
	exchange(8);
}

int outlive(const char *what)
{
	if (!strcmp(what, "sockmap_first")) {
		sockmap_first();
		return 0;
	}
	if (!strcmp(what, "auto_ktls")) {
		auto_ktls();
		return 0;
	}
	establish();
	exchange(1);
	if (!strcmp(what, "name"))
		name();
	else if (!strcmp(what, "lost"))
		lost();
	else if (!strcmp(what, "psp_first"))
		psp_first();
	else if (!strcmp(what, "diag"))
		diag();
	else if (!strcmp(what, "getsockopt"))
		getsockopt_rmmod();
	else if (!strcmp(what, "poison"))
		poison();
	else if (!strcmp(what, "sockmap"))
		sockmap_rmmod();
	else if (!strcmp(what, "zerocopy"))
		zerocopy(true);
	else if (!strcmp(what, "zerocopy_refused"))
		zerocopy(false);
	else if (!strcmp(what, "recv") || !strcmp(what, "send") || !strcmp(what, "recv_program"))
		sends = *what == 's', slow_owner(strchr(what, '_'));
	else
		return 2;
	return 0;
}
