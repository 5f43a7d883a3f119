// SPDX-License-Identifier: GPL-2.0

#include <linux/module.h>
#include <net/inet_connection_sock.h>

#include "conntrack.h"
#include "filter.h"

#if IS_ENABLED(CONFIG_NF_CONNTRACK)
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>

static void toe_ct_tuple(const struct sock *sk, bool v6,
			 struct nf_conntrack_tuple *tuple)
{
	memset(tuple, 0, sizeof(*tuple));
	tuple->dst.protonum = IPPROTO_TCP;
	tuple->src.u.tcp.port = inet_sk(sk)->inet_sport;
	tuple->dst.u.tcp.port = inet_sk(sk)->inet_dport;
#if IS_ENABLED(CONFIG_IPV6)
	if (v6) {
		tuple->src.l3num = NFPROTO_IPV6;
		tuple->src.u3.in6 = sk->sk_v6_rcv_saddr;
		tuple->dst.u3.in6 = sk->sk_v6_daddr;
		return;
	}
#endif
	tuple->src.l3num = NFPROTO_IPV4;
	tuple->src.u3.ip = inet_sk(sk)->inet_rcv_saddr;
	tuple->dst.u3.ip = inet_sk(sk)->inet_daddr;
}

/*
 * flow_offload_ct_tcp() and flow_offload_fixup_tcp(): both windows are taken from the next
 * frames, and not insisted on, for more may be sent before the other direction says how
 * much. In whatever direction the entry has the socket's addresses, it is found.
 */
static noinline void toe_ct_loosen(const struct sock *sk, bool v6)
{
	const struct nf_conntrack_zone zone = {
		.id = NF_CT_DEFAULT_ZONE_ID, .dir = NF_CT_DEFAULT_ZONE_DIR,
	};
	struct nf_conntrack_tuple_hash *hash;
	struct nf_conntrack_tuple tuple;
	typeof(&nf_conntrack_find_get) find;
	struct nf_conn *ct;
	unsigned int i;

	/* A module that need not be there, and that this one must not need. */
	find = symbol_get(nf_conntrack_find_get);
	if (!find)
		return;
	toe_ct_tuple(sk, v6, &tuple);
	hash = find(sock_net(sk), &zone, &tuple);
	if (hash) {
		ct = nf_ct_tuplehash_to_ctrack(hash);
		spin_lock_bh(&ct->lock);
		for (i = 0; i < ARRAY_SIZE(ct->proto.tcp.seen); i++) {
			ct->proto.tcp.seen[i].td_maxwin = 0;
			ct->proto.tcp.seen[i].flags &= ~IP_CT_TCP_FLAG_MAXACK_SET;
			ct->proto.tcp.seen[i].flags |= IP_CT_TCP_FLAG_BE_LIBERAL;
		}
		spin_unlock_bh(&ct->lock);
		/* Not nf_ct_put(), which is of that module. */
		nf_conntrack_put(&ct->ct_general);
	}
	symbol_put(nf_conntrack_find_get);
}

void toe_sk_untracked_end(const struct sock *sk)
{
	bool v6 = READ_ONCE(inet_csk(sk)->icsk_af_ops)->net_header_len ==
		  sizeof(struct ipv6hdr);

	if (toe_sk_tracked(sk, v6))
		toe_ct_loosen(sk, v6);
}
#else
void toe_sk_untracked_end(const struct sock *sk)
{
}
#endif
