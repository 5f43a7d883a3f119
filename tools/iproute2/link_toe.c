// SPDX-License-Identifier: GPL-2.0
/*
 * Teaches an unmodified ip(8) the options of kind toe, or another KIND of pairs:
 *
 *	ip link add toe0 type toe peer name toe1 [ netns b ] [ address ... ]
 *
 * ip looks for link_KIND.so in $IP_LIB_DIR, by default /usr/lib/ip, when it
 * meets a kind it has no code for. What is declared here is the interface it
 * offers to such a file, as of iproute2 4.20 and later; there is no header
 * package with it.
 */
#include <stdio.h>
#include <string.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#ifndef KIND
#define KIND		"toe"
#endif

/* As in rust/net/rtnl.rs. */
#define TOE_INFO_PEER	1
#define TOE_INFO_MAX	TOE_INFO_PEER

struct link_util {
	struct link_util *next;
	const char *id;
	int maxattr;
	int (*parse_opt)(struct link_util *lu, int argc, char **argv,
			 struct nlmsghdr *n);
	void (*print_opt)(struct link_util *lu, FILE *f, struct rtattr *tb[]);
	void (*print_xstats)(struct link_util *lu, FILE *f, struct rtattr *xs);
	void (*print_help)(struct link_util *lu, int argc, char **argv, FILE *f);
	int (*parse_ifla_xstats)(struct link_util *lu, int argc, char **argv);
	int (*print_ifla_xstats)(struct nlmsghdr *n, void *arg);
};

/* A request as ip builds it; the message continues behind what is seen here. */
struct iplink_req {
	struct nlmsghdr n;
	struct ifinfomsg i;
};

/* Of ip itself. */
struct rtattr *addattr_nest(struct nlmsghdr *n, int maxlen, int type);
int addattr_nest_end(struct nlmsghdr *n, struct rtattr *nest);
int iplink_parse(int argc, char **argv, struct iplink_req *req, char **type);

/* The size of the buffer behind the request. */
#define REQ_BUF		1024

static void help(FILE *f)
{
	fputs("Usage: ... " KIND " [ peer OPTIONS ]\n"
	      "OPTIONS are those of 'ip link add' itself, such as 'name NAME',\n"
	      "'netns NETNS', 'address LLADDR', 'mtu MTU'.\n", f);
}

static void toe_print_help(struct link_util *lu, int argc, char **argv, FILE *f)
{
	help(f);
}

/*
 * The peer is a nested attribute: an ifinfomsg of its own, then link
 * attributes. ip parses both for us, but puts what belongs into the ifinfomsg
 * into that of the whole request, which is put aside meanwhile.
 */
static int toe_parse_opt(struct link_util *lu, int argc, char **argv,
			 struct nlmsghdr *n)
{
	struct iplink_req *req = (struct iplink_req *)n;
	struct ifinfomsg own = req->i;
	struct rtattr *peer;
	char *type = NULL;
	int used;

	if (strcmp(argv[0], "help") == 0) {
		help(stdout);
		return -1;
	}
	if (strcmp(argv[0], "peer") != 0) {
		fprintf(stderr, KIND ": unknown option \"%s\"\n", argv[0]);
		help(stderr);
		return -1;
	}

	peer = addattr_nest(n, REQ_BUF, TOE_INFO_PEER);
	memset(RTA_DATA(peer), 0, sizeof(own));
	n->nlmsg_len += sizeof(own);
	memset(&req->i, 0, sizeof(req->i));
	req->i.ifi_family = own.ifi_family;

	used = iplink_parse(argc - 1, argv + 1, req, &type);
	if (used < 0)
		return used;
	if (type) {
		fprintf(stderr, KIND ": the type is said twice\n");
		return -1;
	}

	memcpy(RTA_DATA(peer), &req->i, sizeof(req->i));
	req->i = own;
	addattr_nest_end(n, peer);

	return argc - 1 - used;
}

/* A kind's name may have what a name of C may not. */
extern struct link_util toe_link_util __asm__("\"" KIND "_link_util\"");
struct link_util toe_link_util = {
	.id = KIND,
	.maxattr = TOE_INFO_MAX,
	.parse_opt = toe_parse_opt,
	.print_help = toe_print_help,
};
