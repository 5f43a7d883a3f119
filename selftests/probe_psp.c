// SPDX-License-Identifier: GPL-2.0
/* Associations of PSP, by generic netlink, without a library. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

/* Newer than the headers of some distributions: linux/psp.h. */
enum { CMD_DEV_GET = 1, CMD_RX_ASSOC = 8 };
enum { DEV_ID = 1 };
enum { ASSOC_DEV_ID = 1, ASSOC_VERSION = 2, ASSOC_SOCK_FD = 5 };

struct message {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	uint8_t attrs[256];
};

static uint16_t family;
static uint32_t device;

static void attr(struct message *m, uint16_t type, const void *data, size_t len)
{
	struct nlattr *a = (struct nlattr *)((uint8_t *)m + NLMSG_ALIGN(m->nl.nlmsg_len));

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + len;
	memcpy(a + 1, data, len);
	m->nl.nlmsg_len = NLMSG_ALIGN(m->nl.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

static struct message message(uint16_t type, uint16_t flags, uint8_t cmd)
{
	return (struct message){
		.nl = { NLMSG_LENGTH(GENL_HDRLEN), type, NLM_F_REQUEST | flags, 1, 0 },
		.genl = { cmd, 1, 0 },
	};
}

/* 0 or -errno; of the first answer the attribute `want`, which is a number. */
static int ask(struct message *m, uint16_t want, uint32_t *got)
{
	static __thread int fd = -1;
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	uint8_t buf[8192];
	struct nlmsghdr *nl = (void *)buf;
	bool more = true;
	int ret = 0;

	if (fd < 0)
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (fd < 0 || sendto(fd, m, m->nl.nlmsg_len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	while (more) {
		int len = recv(fd, buf, sizeof(buf), 0);

		if (len < 0)
			return -errno;
		for (nl = (void *)buf; NLMSG_OK(nl, (unsigned int)len); nl = NLMSG_NEXT(nl, len)) {
			if (nl->nlmsg_type == NLMSG_ERROR) {
				ret = ((struct nlmsgerr *)NLMSG_DATA(nl))->error;
				more = false;
			} else if (nl->nlmsg_type == NLMSG_DONE) {
				more = false;
			} else if (want) {
				uint8_t *at = (uint8_t *)NLMSG_DATA(nl) + GENL_HDRLEN;

				while (at < (uint8_t *)nl + nl->nlmsg_len) {
					struct nlattr *a = (struct nlattr *)at;

					if ((a->nla_type & NLA_TYPE_MASK) == want && !*got)
						memcpy(got, a + 1, MIN(sizeof(*got), (size_t)a->nla_len - NLA_HDRLEN));
					at += NLA_ALIGN(a->nla_len);
				}
			}
		}
	}
	return ret;
}

void psp_prepare(void)
{
	struct message m = message(GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY);
	uint32_t id = 0;

	if (device)
		return;
	attr(&m, CTRL_ATTR_FAMILY_NAME, "psp", 4);
	errno = -ask(&m, CTRL_ATTR_FAMILY_ID, &id);
	family = id;
	if (!family)
		lacking("PSP");
	m = message(family, NLM_F_DUMP, CMD_DEV_GET);
	errno = -ask(&m, DEV_ID, &device);
	if (!device)
		lacking("a device with PSP");
}

int psp_call(void)
{
	struct message m = message(family, NLM_F_ACK, CMD_RX_ASSOC);
	uint32_t version = 0, fd = p.c;

	attr(&m, ASSOC_DEV_ID, &device, 4);
	attr(&m, ASSOC_VERSION, &version, 4);
	attr(&m, ASSOC_SOCK_FD, &fd, 4);
	return ask(&m, 0, NULL);
}

void psp_granted(void)
{
	int ret = psp_call();

	if (ret != -EBUSY)
		fatal("a second association: %s", strerror(-ret));
}
