// SPDX-License-Identifier: GPL-2.0
/*
 * SMC-D over the kernel's loopback device. Its handshake ends in TCP without a word where
 * something is missing; what is measured is asked for its mode.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/smc.h>
#include <linux/smc_diag.h>
#include <linux/sock_diag.h>

#include "bench.h"

/* The loopback device is one of version 2, whose ends find each other by a name. On a
 * machine that is no mainframe there is none until somebody gives one.
 */
#define EID "TOE-BENCH"

static char answer[32768];

static void refuse(const char *what)
{
	fprintf(stderr, "bench: SMC-D: %s\n", what);
	exit(1);
}

static ssize_t ask(int fd, const struct nlmsghdr *request)
{
	ssize_t n;

	if (send(fd, request, request->nlmsg_len, 0) < 0)
		die("netlink");
	n = recv(fd, answer, sizeof(answer), 0);
	if (n < 0)
		die("netlink");
	return n;
}

struct request {
	struct nlmsghdr n;
	struct genlmsghdr g;
	struct nlattr a;
	char text[36];
};

/* One attribute, a string; `len` with the byte at its end. */
static struct request request(int type, int command, int attribute, const char *text, size_t len)
{
	struct request r = {
		.n = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.g = { .cmd = command, .version = 1 },
		.a = { .nla_type = attribute, .nla_len = NLA_HDRLEN + len },
	};

	memcpy(r.text, text, len);
	r.n.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN) + NLA_ALIGN(r.a.nla_len);
	return r;
}

static int error_of_answer(ssize_t n)
{
	const struct nlmsghdr *h = (void *)answer;

	if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != NLMSG_ERROR)
		refuse("netlink's answer is not understood");
	return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
}

static int family(int fd)
{
	struct request r = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME,
				   SMC_GENL_FAMILY_NAME, sizeof(SMC_GENL_FAMILY_NAME));
	const struct nlmsghdr *h = (void *)answer;
	const struct nlattr *a;
	ssize_t n, left;

	r.n.nlmsg_flags = NLM_F_REQUEST;
	n = ask(fd, &r.n);
	if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != GENL_ID_CTRL)
		refuse("no such family of netlink: is the module smc there?");
	a = NLMSG_DATA(h) + GENL_HDRLEN;
	for (left = h->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN); left >= NLA_HDRLEN;) {
		if (a->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(__u16 *)((char *)a + NLA_HDRLEN);
		left -= NLA_ALIGN(a->nla_len);
		a = (void *)a + NLA_ALIGN(a->nla_len);
	}
	refuse("a family of netlink without a number");
	return 0;
}

void smc_prepare(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), err;
	char eid[SMC_MAX_EID_LEN + 1];
	struct request r;

	if (fd < 0)
		die("netlink");
	/* Padded with blanks. */
	snprintf(eid, sizeof(eid), "%-*s", SMC_MAX_EID_LEN, EID);
	r = request(family(fd), SMC_NETLINK_ADD_UEID, SMC_NLA_EID_TABLE_ENTRY, eid, sizeof(eid));
	err = error_of_answer(ask(fd, &r.n));
	if (err && err != EEXIST) {
		errno = err;
		die("SMC's name");
	}
	close(fd);
}

/* The mode of the socket with this inode, if this message is of it; else -1. */
static int mode_in(const struct nlmsghdr *h, ino_t inode)
{
	const struct smc_diag_msg *m = NLMSG_DATA(h);

	return m->diag_inode == inode ? m->diag_mode : -1;
}

void smc_must_be_d(int sock)
{
	struct {
		struct nlmsghdr n;
		struct smc_diag_req r;
	} r = {
		.n = {
			.nlmsg_len = sizeof(r),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.r = { .diag_family = AF_SMC },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG), mode = -1;
	const struct nlmsghdr *h;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(sock, &st))
		die("sock_diag");
	for (n = ask(fd, &r.n); ; n = recv(fd, answer, sizeof(answer), 0)) {
		if (n <= 0)
			die("sock_diag");
		for (h = (void *)answer; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				refuse("sock_diag does not know SMC: is the module smc_diag there?");
			if (h->nlmsg_type == NLMSG_DONE)
				goto done;
			if (mode < 0)
				mode = mode_in(h, st.st_ino);
		}
	}
done:
	close(fd);
	if (mode == SMC_DIAG_MODE_FALLBACK_TCP)
		refuse("the connection fell back to TCP");
	if (mode != SMC_DIAG_MODE_SMCD)
		refuse("the connection is not one by SMC-D");
}
