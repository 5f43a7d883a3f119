// SPDX-License-Identifier: GPL-2.0
/*
 * One connection in an unusual state, or asked for something unusual:
 *
 *   refuse NAME   the offload has to be refused, and the connection to go on
 *   upload NAME   delegated, then asked for what a target cannot do: it has to
 *                 come back, and the application to get what it asked for
 *   inject NAME   delegated, then sent a segment that is a special case; with
 *                 --table, delegated again afterwards, with the hwid it had
 *   legacy NAME   legacy mode: a stay that lasts, a stray segment, a socket whose
 *                 lock is held; needs --table
 *   table agree   what the table says is what the socket says; needs --table
 *   race all      offloads while another thread closes, resets or shuts down
 *   race unaccepted  connections of a listener that closes, policy auto
 *   nth CALL      each allocation of a call fails, one connection each: offload,
 *                 send, receive, posted (a receive that waits), shutdown, close
 *   buffer NAME   delegated, then read from by calls that wait
 *   read NAME     delegated, then read from by a plain call that waits
 *   short NAME    both ends delegated, and bytes past the wire; needs --dev CLIENT,SERVER
 *   hold NAME     delegated, its payload held until a buffer is posted
 *   filter NAME   a filter that is installed before the offload, or after it; needs
 *                 --table
 *   contend NAME  another thread asks for something else at the same moment (with
 *                 --slow by memory that is there only after the hand-over; with --user
 *                 both are nobody); needs --table
 *   outlive NAME  what others keep of a delegated connection, and use when it is with
 *                 the host again, or when the module is gone (--before)
 *   sniff NAME    raw and packet sockets see what it receives; needs --dev and --table
 *
 * Exit code: 0 as expected, 1 not, 2 wrong use, 4 the kernel lacks what the
 * probe needs (a line says what).
 */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <linux/tls.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define CHUNK 8192

struct probe p = { .addr = "127.0.0.1", .expect = "refused", .rounds = 20 };

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "toe_probe: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

void lacking(const char *what)
{
	fprintf(stderr, "toe_probe: this kernel lacks %s: %m\n", what);
	exit(4);
}

static void ns(const char *name)
{
	int err = enter_ns(name);

	if (err)
		fatal("namespace %s: %s", name, strerror(-err));
}

static void limits(int fd)
{
	struct timeval tv = { 30, 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

void open_listener(void)
{
	ns(p.server_ns);
	p.listener = tcp_listen(p.addr, 0, 16);
	if (p.listener < 0)
		fatal("listen on %s: %s", p.addr, strerror(-p.listener));
	ns(p.client_ns);
}

static void meet(void)
{
	p.s = accept(p.listener, NULL, NULL);
	if (p.s < 0)
		fatal("accept: %m");
	limits(p.c);
	limits(p.s);
}

void establish(void)
{
	if (!p.listener)
		open_listener();
	p.c = tcp_connect_mark(p.addr, local_port(p.listener), p.mark);
	if (p.c < 0)
		fatal("connect: %s", strerror(-p.c));
	meet();
}

static void push(int fd, uint64_t seed, uint64_t *pos, size_t n)
{
	uint8_t buf[CHUNK];

	stream_fill(seed, *pos, buf, n);
	if (send(fd, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		fatal("send at %llu: %m", (unsigned long long)*pos);
}

static void pull(int fd, uint64_t seed, uint64_t *pos, size_t n)
{
	uint8_t buf[CHUNK];
	size_t got = 0;

	while (got < n) {
		ssize_t ret = recv(fd, buf + got, n - got, 0);

		if (ret <= 0)
			fatal("receive at %llu: %s", (unsigned long long)*pos + got,
			      ret ? strerror(errno) : "EOF");
		got += ret;
	}
	if (stream_check(seed, *pos, buf, n) >= 0)
		fatal("wrong byte at position %llu",
		      (unsigned long long)*pos + stream_check(seed, *pos, buf, n));
	*pos += n;
}

void send_cs(size_t n) { push(p.c, 1, &p.pos_cs, n); }
void send_sc(size_t n) { push(p.s, 2, &p.pos_sc, n); }
void recv_cs(size_t n) { pull(p.s, 1, &p.pos_cs, n); }
void recv_sc(size_t n) { pull(p.c, 2, &p.pos_sc, n); }

void asleep(int tid)
{
	char path[64], text[256], *end;
	int calm = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	while (calm < 3) {
		sleep_ms(20);
		f = fopen(path, "r");
		if (!f)
			fatal("the reader is gone");
		end = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
		fclose(f);
		calm = end && end[1] == ' ' && end[2] == 'S' ? calm + 1 : 0;
	}
}

void exchange(unsigned int rounds)
{
	while (rounds--) {
		size_t n = 1 + (p.pos_cs * 31 + 4999) % (CHUNK - 1);

		send_cs(n);
		send_sc(CHUNK - n);
		recv_sc(CHUNK - n);
		recv_cs(n);
	}
}

int raw_ulp(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, strlen(name)) ? -errno : 0;
}

void offload(int fd)
{
	int ret = ulp_insist(fd), i;

	if (ret == -ENOENT && p.ulp_try)
		return;
	if (ret)
		fatal("TCP_ULP: %s", strerror(-ret));
	/* A frame that waited for the lock has it taken back for a moment. */
	for (i = 0; i < 20 && strcmp(ulp_name(fd), TOE_ULP); i++)
		sleep_ms(10);
}

/* ---- refuse ---- */

static void expect(int ret)
{
	int want = -EOPNOTSUPP;

	if (!strcmp(p.expect, "ok"))
		want = 0;
	else if (!strcmp(p.expect, "exists"))
		want = -EEXIST;
	/* A socket that is not connected: the kernel's own answer will do. */
	else if (!strcmp(p.expect, "notconn") && ret == -ENOTCONN)
		return;
	if (ret == -ENOENT && p.ulp_try)
		return;
	if (ret != want)
		fatal("TCP_ULP: %s, expected %s", ret ? strerror(-ret) : "accepted",
		      want ? strerror(-want) : "accepted");
}

static void before(void)
{
	if (p.before && system(p.before))
		fatal("failed: %s", p.before);
}

static const struct sock_filter accept_all[] = { { BPF_RET | BPF_K, 0, 0, 0xffffffff } };

static int attach_filter(int fd)
{
	struct sock_fprog prog = { 1, (struct sock_filter *)accept_all };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

size_t md5_key_for(const struct sockaddr *sa, socklen_t len, void *at)
{
	struct tcp_md5sig key = { .tcpm_keylen = 6, .tcpm_key = "secret" };

	memcpy(&key.tcpm_addr, sa, len);
	memcpy(at, &key, sizeof(key));
	return sizeof(key);
}

static void md5_key(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct tcp_md5sig key;

	md5_key_for(sa, len, &key);
	if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)))
		lacking("TCP_MD5SIG");
}

static void establish_md5(void)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int probe;

	/* A first connection tells the addresses. */
	establish();
	getpeername(p.s, (struct sockaddr *)&a, &len);
	((struct sockaddr_in *)&a)->sin_port = 0;
	md5_key(p.listener, (struct sockaddr *)&a, len);
	close(p.c);
	close(p.s);
	getsockname(p.listener, (struct sockaddr *)&a, &len);
	probe = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	md5_key(probe, (struct sockaddr *)&a, len);
	if (connect(probe, (struct sockaddr *)&a, len))
		fatal("connect with a key: %m");
	p.c = probe;
	meet();
}

int need_sockmap(void)
{
	int map = sockmap_create();

	if (map < 0)
		lacking("sockmap");
	return map;
}

/* Puts a socket into a map, and gives the map. */
static int into_sockmap(int fd)
{
	int map = need_sockmap(), ret = sockmap_update(map, fd);

	if (ret)
		fatal("cannot put the socket into a sockmap: %s", strerror(-ret));
	return map;
}

static int refuse(const char *name)
{
	int fd, one = 1, zero = 0;
	char byte = 'u', cc[] = "bbr";

	open_listener();
	if (!strcmp(name, "closed")) {
		fd = socket(strchr(p.addr, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		p.expect = "notconn";
		expect(raw_ulp(fd, TOE_ULP));
		return 0;
	}
	if (!strcmp(name, "listen")) {
		p.expect = "notconn";
		expect(raw_ulp(p.listener, TOE_ULP));
		establish();
		exchange(4);
		return 0;
	}
	if (!strcmp(name, "md5"))
		establish_md5();
	else
		establish();
	exchange(2);
	if (!strcmp(name, "plain") || !strcmp(name, "md5")) {
		;
	} else if (!strcmp(name, "repair")) {
		if (setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one)))
			lacking("TCP_REPAIR");
	} else if (!strcmp(name, "urgent")) {
		if (send(p.s, &byte, 1, MSG_OOB) != 1)
			fatal("MSG_OOB: %m");
		sleep_ms(500);
	} else if (!strcmp(name, "filter")) {
		if (attach_filter(p.c))
			lacking("SO_ATTACH_FILTER");
	} else if (!strcmp(name, "sockmap")) {
		into_sockmap(p.c);
	} else if (!strcmp(name, "tls")) {
		if (raw_ulp(p.c, "tls"))
			lacking("kTLS");
		p.expect = "exists";
	} else if (!strcmp(name, "cc")) {
		if (setsockopt(p.c, IPPROTO_TCP, TCP_CONGESTION, cc, strlen(cc)))
			lacking("the congestion control bbr");
	} else if (!strcmp(name, "pacing")) {
		set_int(p.c, SOL_SOCKET, SO_MAX_PACING_RATE, 100000000);
	} else if (!strcmp(name, "ip_options")) {
		if (setsockopt(p.c, IPPROTO_IP, IP_OPTIONS, "\x01\x01\x01\x01", 4))
			fatal("IP_OPTIONS: %m");
	} else if (!strcmp(name, "shutdown")) {
		shutdown(p.c, SHUT_WR);
		sleep_ms(200);
	} else if (!strcmp(name, "fin_received")) {
		shutdown(p.s, SHUT_WR);
		sleep_ms(500);
	} else if (!strcmp(name, "zero_window")) {
		uint8_t buf[CHUNK] = { 0 };

		fcntl(p.c, F_SETFL, O_NONBLOCK);
		do {
			while (send(p.c, buf, sizeof(buf), MSG_NOSIGNAL) > 0)
				;
			sleep_ms(700);
		} while (send(p.c, buf, sizeof(buf), MSG_NOSIGNAL) > 0);
	} else {
		fprintf(stderr, "no such refusal: %s\n", name);
		return 2;
	}
	before();
	expect(raw_ulp(p.c, TOE_ULP));
	if (!strcmp(name, "repair"))
		setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &zero, sizeof(zero));
	if (!strcmp(name, "urgent") && (recv(p.c, &byte, 1, MSG_OOB) != 1 || byte != 'u'))
		fatal("urgent byte: %m");
	if (!strcmp(name, "shutdown")) {
		send_sc(1000);
		recv_sc(1000);
	} else if (!strcmp(name, "fin_received")) {
		send_cs(1000);
		recv_cs(1000);
	} else if (strcmp(name, "zero_window")) {
		exchange(4);
	}
	/* Once the obstacle is gone, the answer is another one. */
	if (!strcmp(name, "repair") || !strcmp(name, "urgent")) {
		p.expect = "ok";
		expect(ulp_request(p.c));
		exchange(4);
	}
	return 0;
}

/* ---- upload ---- */

void start_tls(int fd, int direction, uint8_t key)
{
	struct tls12_crypto_info_aes_gcm_128 ci = {
		.info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 },
	};

	memset(ci.key, key, sizeof(ci.key));
	memset(ci.salt, key + 1, sizeof(ci.salt));
	if (setsockopt(fd, SOL_TLS, direction, &ci, sizeof(ci)))
		lacking("AES-GCM for kTLS");
}

void both_keys(void)
{
	start_tls(p.c, TLS_TX, 1);
	start_tls(p.s, TLS_RX, 1);
	start_tls(p.s, TLS_TX, 2);
	start_tls(p.c, TLS_RX, 2);
}

static void both_tls(void)
{
	int err = raw_ulp(p.c, "tls");

	if (err) {
		errno = -err;
		if (err == -ENOENT)
			lacking("kTLS");
		fatal("TCP_ULP tls on a delegated connection: %m");
	}
	err = raw_ulp(p.s, "tls");
	if (err)
		fatal("TCP_ULP tls on the server: %s", strerror(-err));
	both_keys();
}

static void try_options(int fd)
{
	static const struct { int level, name, value; } options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 }, { IPPROTO_TCP, TCP_CORK, 1 }, { IPPROTO_TCP, TCP_CORK, 0 },
		{ IPPROTO_TCP, TCP_QUICKACK, 1 }, { IPPROTO_TCP, TCP_QUICKACK, 0 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 }, { IPPROTO_TCP, TCP_KEEPIDLE, 100 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 10 }, { IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 }, { IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096 },
		{ IPPROTO_TCP, TCP_LINGER2, 5 }, { IPPROTO_TCP, TCP_WINDOW_CLAMP, 100000 },
		{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1 }, { IPPROTO_TCP, TCP_INQ, 1 },
		{ IPPROTO_TCP, TCP_TX_DELAY, 0 }, { IPPROTO_TCP, TCP_SAVE_SYN, 1 },
		{ SOL_SOCKET, SO_PRIORITY, 3 }, { SOL_SOCKET, SO_MARK, 7 }, { SOL_SOCKET, SO_SNDBUF, 60000 },
		{ SOL_SOCKET, SO_RCVBUF, 60000 }, { SOL_SOCKET, SO_RCVLOWAT, 1 },
		{ SOL_SOCKET, SO_TIMESTAMP, 1 }, { SOL_SOCKET, SO_TIMESTAMP, 0 },
		{ SOL_SOCKET, SO_MAX_PACING_RATE, 1000000000 }, { SOL_SOCKET, SO_BUSY_POLL, 10 },
		{ IPPROTO_IP, IP_TOS, 0x10 }, { IPPROTO_IP, IP_TTL, 33 },
		{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT }, { IPPROTO_TCP, TCP_MAXSEG, 1000 },
	};
	char cc[] = "reno";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		/* What the kernel refuses, it refuses; the connection goes on. */
		set_int(fd, options[i].level, options[i].name, options[i].value);
		exchange(1);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, strlen(cc));
	exchange(8);
}

/* Only what comes in by --dev passes. */
static void filter_device(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_IFINDEX),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, if_nametoindex(p.dev), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, ~0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = { ARRAY_SIZE(filter), filter };
	struct pollfd pfd = { .fd = p.c, .events = POLLIN };

	if (setsockopt(p.c, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)))
		fatal("SO_ATTACH_FILTER: %m");
	send_sc(1000);
	if (poll(&pfd, 1, 100) != 1)
		fatal("the filter does not see the device of a frame");
	recv_sc(1000);
}

/* Frames are cut after their first 60 bytes, 32 of which are the TCP header. */
static void filter_trim(void)
{
	struct sock_filter filter = BPF_STMT(BPF_RET | BPF_K, 60);
	struct sock_fprog prog = { 1, &filter };
	int there = 0, zero = 0;

	if (setsockopt(p.c, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)))
		fatal("SO_ATTACH_FILTER: %m");
	send_sc(1000);
	sleep_ms(100);
	if (ioctl(p.c, FIONREAD, &there) || !there || there % 28)
		fatal("%d bytes are there, not as many as the filter lets pass", there);
	setsockopt(p.c, SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof(zero));
	recv_sc(1000);
}

static int upload(const char *name)
{
	int one = 1, zero = 0, ret;
	struct sockaddr_storage a = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(a);
	char byte = 'u';

	establish();
	exchange(1);
	offload(p.c);
	if (p.both)
		offload(p.s);
	exchange(4);
	if (!strcmp(name, "none")) {
		;
	} else if (!strcmp(name, "twice")) {
		offload(p.c);
	} else if (!strcmp(name, "tls")) {
		both_tls();
	} else if (!strcmp(name, "repair")) {
		if (setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one)))
			fatal("TCP_REPAIR on a delegated connection: %m");
		setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &zero, sizeof(zero));
	} else if (!strcmp(name, "pacing")) {
		set_int(p.c, SOL_SOCKET, SO_MAX_PACING_RATE, 100000000);
	} else if (!strcmp(name, "timestamp")) {
		set_int(p.c, SOL_SOCKET, SO_TIMESTAMP, 1);
	} else if (!strcmp(name, "filter")) {
		if (attach_filter(p.c))
			fatal("SO_ATTACH_FILTER: %m");
	} else if (!strcmp(name, "filter_device")) {
		filter_device();
	} else if (!strcmp(name, "filter_trim")) {
		filter_trim();
	} else if (!strcmp(name, "options")) {
		try_options(p.c);
	} else if (!strcmp(name, "urg")) {
		if (send(p.s, &byte, 1, MSG_OOB) != 1)
			fatal("MSG_OOB: %m");
		sleep_ms(500);
		if (recv(p.c, &byte, 1, MSG_OOB) != 1 || byte != 'u')
			fatal("urgent byte: %m");
	} else if (!strcmp(name, "send_urg")) {
		if (send(p.c, &byte, 1, MSG_OOB) != 1)
			fatal("MSG_OOB on a delegated connection: %m");
		sleep_ms(500);
		if (recv(p.s, &byte, 1, MSG_OOB) != 1 || byte != 'u')
			fatal("urgent byte: %m");
	} else if (!strcmp(name, "keepalive")) {
		set_int(p.c, SOL_SOCKET, SO_KEEPALIVE, 1);
		set_int(p.c, IPPROTO_TCP, TCP_KEEPIDLE, 1);
		set_int(p.c, IPPROTO_TCP, TCP_KEEPINTVL, 1);
		set_int(p.c, IPPROTO_TCP, TCP_KEEPCNT, 2);
		sleep_ms(5000);
	} else if (!strcmp(name, "idle")) {
		sleep_ms(3000);
	} else if (!strcmp(name, "before")) {
		before();
	} else if (!strcmp(name, "shutdown")) {
		shutdown(p.c, SHUT_WR);
		if (recv(p.s, &byte, 1, 0) != 0)
			fatal("no EOF after shutdown");
		send_sc(5000);
		recv_sc(5000);
		return 0;
	} else if (!strcmp(name, "shutdown_rd")) {
		shutdown(p.c, SHUT_RD);
		if (recv(p.c, &byte, 1, 0) != 0)
			fatal("no EOF after SHUT_RD");
		send_cs(5000);
		recv_cs(5000);
		return 0;
	} else if (!strcmp(name, "disconnect")) {
		if (connect(p.c, (struct sockaddr *)&a, sizeof(a)))
			fatal("connect to AF_UNSPEC: %m");
		ret = recv(p.s, &byte, 1, 0);
		if (ret > 0)
			fatal("bytes from nowhere");
		close(p.s);
		getsockname(p.listener, (struct sockaddr *)&a, &len);
		if (connect(p.c, (struct sockaddr *)&a, len))
			fatal("second connect of a socket: %m");
		meet();
		p.pos_cs = p.pos_sc = 0;
		exchange(4);
		offload(p.c);
	} else {
		fprintf(stderr, "no such upload: %s\n", name);
		return 2;
	}
	exchange(8);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "client-ns", 1, 0, 'c' }, { "server-ns", 1, 0, 's' }, { "before", 1, 0, 'b' },
		{ "expect", 1, 0, 'e' }, { "ulp-try", 0, 0, 't' }, { "both", 0, 0, '2' }, { "table", 1, 0, 'f' },
		{ "after", 1, 0, 'a' }, { "bpf", 1, 0, 'p' }, { "dev", 1, 0, 'd' }, { "cgroup", 1, 0, 'g' }, { "slow", 0, 0, 'l' },
		{ "user", 0, 0, 'u' }, { "rounds", 1, 0, 'r' }, { "mark", 1, 0, 'm' }, { 0 },
	};
	int o;

	signal(SIGPIPE, SIG_IGN);
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'c': p.client_ns = optarg; break;
		case 's': p.server_ns = optarg; break;
		case 'b': p.before = optarg; break;
		case 'e': p.expect = optarg; break;
		case 't': p.ulp_try = true; break;
		case '2': p.both = true; break;
		case 'f': p.table = optarg; break;
		case 'a': p.after = optarg; break;
		case 'p': p.bpf = optarg; break;
		case 'd': p.dev = optarg; break;
		case 'g': p.cgroup = optarg; break;
		case 'l': p.slow = true; break;
		case 'u': p.user = true; break;
		case 'r': p.rounds = atoi(optarg); break;
		case 'm': p.mark = strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	argv += optind;
	argc -= optind;
	if (argc < 2) {
		fprintf(stderr, "usage: toe_probe [--client-ns NS] [--server-ns NS] [--before CMD] [--expect ok|refused|exists] [--ulp-try] [--both] [--table FILE] [--after CMD] [--bpf KIND] [--dev NAME] [--cgroup DIR] [--slow] [--user] [--rounds N] [--mark N] refuse|upload|inject|legacy|table|race|nth|buffer|read|hold|short|filter|sniff|contend|outlive|amount NAME [ADDRESS]\n");
		return 2;
	}
	if (argc > 2)
		p.addr = argv[2];
	if (!strcmp(argv[0], "refuse"))
		return refuse(argv[1]);
	if (!strcmp(argv[0], "upload"))
		return upload(argv[1]);
	if (!strcmp(argv[0], "inject"))
		return inject(argv[1]);
	if (!strcmp(argv[0], "legacy"))
		return legacy(argv[1]);
	if (!strcmp(argv[0], "table"))
		return table(argv[1]);
	if (!strcmp(argv[0], "race"))
		return strcmp(argv[1], "unaccepted") ? race() : unaccepted();
	if (!strcmp(argv[0], "nth"))
		return nth(argv[1]);
	if (!strcmp(argv[0], "buffer"))
		return buffer(argv[1]);
	if (!strcmp(argv[0], "read"))
		return plain_read(argv[1]);
	if (!strcmp(argv[0], "hold"))
		return hold(argv[1]);
	if (!strcmp(argv[0], "short"))
		return short_cut(argv[1]);
	if (!strcmp(argv[0], "filter"))
		return filter(argv[1]);
	if (!strcmp(argv[0], "sniff"))
		return sniff(argv[1]);
	if (!strcmp(argv[0], "contend"))
		return contend(argv[1]);
	if (!strcmp(argv[0], "amount"))
		return amounts();
	if (!strcmp(argv[0], "outlive"))
		return outlive(argv[1]);
	return 2;
}
