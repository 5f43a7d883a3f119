/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rules ask about a socket and only static inlines or configuration-dependent fields
 * tell; see rust/net/sock_meta.rs.
 */
#ifndef TOE_HELPERS_RULES_H
#define TOE_HELPERS_RULES_H

#include <linux/netdevice.h>
#include <net/sock.h>

struct toe_sock_meta {
	u32 mark;
	u32 uid;
	bool uid_known;
	bool passive;
};

void toe_sk_meta(struct sock *sk, struct toe_sock_meta *meta);
void toe_current_comm(char comm[16]);
int toe_sk_cgroup(struct sock *sk, u64 *ids, int levels);
int toe_path_cgroup(const char *path, u64 *ids, int levels);
struct sock *toe_find_sk(struct net_device *dev, bool v6, const u8 *local,
			 u16 lport, const u8 *remote, u16 rport);

#endif
