// SPDX-License-Identifier: GPL-2.0

#include <linux/unaligned.h>
#include <linux/delay.h>
#include <linux/kmemleak.h>
#include <linux/sched/mm.h>
#include <linux/tracepoint.h>
#include <linux/version.h>
#include <net/addrconf.h>
#include <net/arp.h>
#include <net/busy_poll.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/ndisc.h>
#include <net/neighbour.h>
#include <net/proto_memory.h>
#include <net/route.h>
#include <net/xfrm.h>

#include "sock.h"

/* --- locking and references ------------------------------------------ */

void toe_bh_lock_sock(struct sock *sk)
{
	bh_lock_sock_nested(sk);
}

void toe_bh_unlock_sock(struct sock *sk)
{
	bh_unlock_sock(sk);
}

/*
 * The spin locks of two sockets that are not one and the same, for the short cut alone: by
 * address, so that two of these never wait for each other. Nobody takes another socket's lock
 * under one of them. False, and neither is held: a task owns one of the two, which for @a may
 * be the running one (@mine). Bottom halves are off.
 */
bool toe_bh_lock_pair(struct sock *a, struct sock *b, bool mine)
{
	spin_lock(a < b ? &a->sk_lock.slock : &b->sk_lock.slock);
	spin_lock_nested(a < b ? &b->sk_lock.slock : &a->sk_lock.slock,
			 SINGLE_DEPTH_NESTING);
	if (likely((mine || !sock_owned_by_user_nocheck(a)) && !sock_owned_by_user_nocheck(b)))
		return true;
	spin_unlock(&a->sk_lock.slock);
	spin_unlock(&b->sk_lock.slock);
	return false;
}

bool toe_sock_owned(struct sock *sk)
{
	return sock_owned_by_user(sk);
}

bool toe_sock_owned_now(const struct sock *sk)
{
	return sock_owned_by_user_nocheck(sk);
}

void toe_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

static noinline bool toe_lock_sock_slow(struct sock *sk)
{
	bool free;

	spin_lock_bh(&sk->sk_lock.slock);
	free = !sk->sk_lock.owned;
	if (free)
		sk->sk_lock.owned = 1;
	spin_unlock_bh(&sk->sk_lock.slock);
	if (free)
		mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
	return free;
}

/* lock_sock(), unless it would have to wait. */
bool toe_lock_sock_nowait(struct sock *sk)
{
	might_sleep();
#if defined(CONFIG_64BIT) && LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	/* As lock_sock_nested(): neither owner nor spin lock, with one instruction. */
	if (sizeof(struct slock_owned) == sizeof(long)) {
		socket_lock_t tmp = {
			.slock = __SPIN_LOCK_UNLOCKED(tmp.slock),
			.owned = 1,
		};
		socket_lock_t old = {
			.slock = __SPIN_LOCK_UNLOCKED(old.slock),
			.owned = 0,
		};

		if (likely(try_cmpxchg(&sk->sk_lock.combined, &old.combined,
				       tmp.combined))) {
			mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
			return true;
		}
	}
#endif
	return toe_lock_sock_slow(sk);
}

/*
 * lock_sock(), which gives up when *@timeout jiffies are over; what is left of them is in
 * *@timeout. As in __lock_sock(), a wake-up that comes too late is passed on by the task
 * that took the lock meanwhile.
 */
bool toe_lock_sock_timeout(struct sock *sk, long *timeout)
{
	DEFINE_WAIT(wait);
	bool free;

	might_sleep();
	mutex_acquire(&sk->sk_lock.dep_map, 0, 0, _RET_IP_);
	spin_lock_bh(&sk->sk_lock.slock);
	while (sk->sk_lock.owned && *timeout > 0) {
		prepare_to_wait_exclusive(&sk->sk_lock.wq, &wait, TASK_IDLE);
		spin_unlock_bh(&sk->sk_lock.slock);
		*timeout = schedule_timeout(*timeout);
		spin_lock_bh(&sk->sk_lock.slock);
	}
	finish_wait(&sk->sk_lock.wq, &wait);
	free = !sk->sk_lock.owned;
	if (free)
		sk->sk_lock.owned = 1;
	spin_unlock_bh(&sk->sk_lock.slock);
	if (!free)
		mutex_release(&sk->sk_lock.dep_map, _RET_IP_);
	return free;
}

/* The holder of the spin lock, which found no owner, becomes it. */
void toe_bh_unlock_own(struct sock *sk)
{
	sk->sk_lock.owned = 1;
	bh_unlock_sock(sk);
}

void toe_sock_owned_from_here(struct sock *sk)
{
	mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
}

/*
 * Under the spin lock: does anybody wait for the socket? Who comes right now spins, and
 * would get the lock without having slept.
 */
bool toe_sock_awaited(struct sock *sk)
{
	return waitqueue_active(&sk->sk_lock.wq) ||
	       spin_is_contended(&sk->sk_lock.slock);
}

void toe_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

void toe_sock_put(struct sock *sk)
{
	sock_put(sk);
}

bool toe_sock_tryhold(struct sock *sk)
{
	return refcount_inc_not_zero(&sk->sk_refcnt);
}

/* The limit, and what is counted, are tcp_add_backlog()'s. */
int toe_sk_add_backlog(struct sock *sk, struct sk_buff *skb)
{
	u64 limit = ((u64)READ_ONCE(sk->sk_rcvbuf)) << 1;
	int ret;

	limit += ((u32)READ_ONCE(sk->sk_sndbuf)) >> 1;
	limit += 64 * 1024;
	skb_condense(skb);
	ret = sk_add_backlog(sk, skb, min_t(u64, limit, UINT_MAX));
	if (unlikely(ret)) {
		__NET_INC_STATS(sock_net(sk), LINUX_MIB_TCPBACKLOGDROP);
		sk_drops_skbadd(sk, skb);
	}
	return ret;
}

/*
 * A frame of the socket's came in through device @iif: what netif_receive_skb() and the
 * driver's poll would have noted, and what tcp_v4_rcv() and tcp_v4_do_rcv() note of it.
 */
void toe_sk_incoming(struct sock *sk, struct sk_buff *skb, int iif, u16 queue,
		     u32 napi_id)
{
	/* A time to send at, which it may have within one namespace, is none of arrival. */
	skb_clear_delivery_time(skb);
	if (static_branch_unlikely(&netstamp_needed_key) && !skb->tstamp)
		__net_timestamp(skb);
	skb->skb_iif = iif;
	skb_record_rx_queue(skb, queue);
#ifdef CONFIG_NET_RX_BUSY_POLL
	skb->napi_id = napi_id;
#endif
	sock_rps_save_rxhash(sk, skb);
	sk_incoming_cpu_update(sk);
	sk_mark_napi_id(sk, skb);
}

/* --- methods and record of a delegated connection ---------------------- */

/*
 * Under the socket lock, bottom halves off. In one section of sk_callback_lock, under
 * which sk_psock_init() looks at the ULP and at sk_user_data: either it finds the one, or
 * we the other. Lockless readers load the record first and look at sk_prot afterwards.
 */
bool toe_sk_claim(struct sock *sk, const struct toe_methods *to,
		  const struct tcp_ulp_ops *identity, void *record,
		  const struct proto *host)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	bool ok;

	write_lock(&sk->sk_callback_lock);
	ok = sk->sk_prot == host && !icsk->icsk_ulp_ops && !icsk->icsk_ulp_data &&
	     !rcu_access_pointer(sk->sk_user_data);
	if (ok) {
		rcu_assign_pointer(icsk->icsk_ulp_data, record);
		WRITE_ONCE(sk->sk_backlog_rcv, to->backlog_rcv);
		WRITE_ONCE(icsk->icsk_af_ops, to->af_ops);
		WRITE_ONCE(icsk->icsk_ulp_ops, identity);
		smp_store_release(&sk->sk_prot, to->prot);
	}
	write_unlock(&sk->sk_callback_lock);
	return ok;
}

/*
 * The reverse: what is still @of the record's is put back. No lock but the socket's: in-kernel
 * users hold sk_callback_lock for reading when they call tcp_read_sock(), which may
 * lead here. The identity goes last, so that code that finds no ULP finds the host's
 * methods: @ulp is the one that is there, if it is ours.
 */
void toe_sk_disclaim(struct sock *sk, const struct toe_methods *of,
		     const struct toe_methods *to, const void *record,
		     const struct tcp_ulp_ops *ulp)
{
	struct inet_connection_sock *icsk = inet_csk(sk);

	if (icsk->icsk_af_ops == of->af_ops)
		WRITE_ONCE(icsk->icsk_af_ops, to->af_ops);
	if (sk->sk_backlog_rcv == of->backlog_rcv)
		WRITE_ONCE(sk->sk_backlog_rcv, to->backlog_rcv);
	/* IPV6_ADDRFORM changes the former when it finds the host's methods. */
	if (sk->sk_prot == of->prot)
		smp_store_release(&sk->sk_prot, to->prot);
	if (rcu_access_pointer(icsk->icsk_ulp_data) == record)
		RCU_INIT_POINTER(icsk->icsk_ulp_data, NULL);
	if (ulp)
		smp_store_release(&icsk->icsk_ulp_ops, NULL);
}

/*
 * Under the spin lock of a socket that a task owns, which is in the host's code or will
 * be: the host goes on when the task lets the socket go. As toe_tcp_resume_host(), which
 * the task's work would be disturbed by.
 */
void toe_sk_resume_later(struct sock *sk)
{
	if (!test_and_set_bit(TCP_TSQ_DEFERRED, &sk->sk_tsq_flags))
		sock_hold(sk);
}

/* __tcp_set_ulp() clears it, for ULPs whose sendmsg() cannot do zero copy. */
void toe_sk_support_zc(struct sock *sk)
{
	if (sk->sk_socket)
		set_bit(SOCK_SUPPORT_ZC, &sk->sk_socket->flags);
}

/* NULL, for the root or without accounting of sockets: the task's own is charged. */
struct mem_cgroup *toe_charge_to(struct sock *sk)
{
#ifdef CONFIG_MEMCG
	return set_active_memcg(sk->sk_memcg);
#else
	return NULL;
#endif
}

void toe_charge_end(struct mem_cgroup *before)
{
	set_active_memcg(before);
}

/*
 * A table of methods stays for ever: who takes sk_prot for its own may put it back at any
 * time (ovpn_tcp_socket_detach()). Nothing in it is of the module any more. Readers find
 * the one method or the other: words are written in one piece.
 */
void toe_proto_leave(struct proto *table, const struct proto *host)
{
	const unsigned long *from = (const unsigned long *)host;
	unsigned long *to = (unsigned long *)table;
	size_t i;

	BUILD_BUG_ON(sizeof(*table) % sizeof(*to));
	for (i = 0; i < sizeof(*table) / sizeof(*to); i++)
		WRITE_ONCE(to[i], from[i]);
	kmemleak_not_leak(table);
}

/* In memory that stays for ever: what reads it may sleep, without a reference. */
struct tcp_ulp_ops *toe_ulp_alloc(const char *name)
{
	struct tcp_ulp_ops *ops = kzalloc(sizeof(*ops), GFP_KERNEL);

	if (ops) {
		strscpy(ops->name, name, sizeof(ops->name));
		kmemleak_not_leak(ops);
	}
	return ops;
}

/* --- what the offload decision reads ----------------------------------- */

/* A set of enum toe_obstacle, mostly empty. */
u32 toe_sk_obstacles(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 found = 0;

#ifdef CONFIG_TCP_MD5SIG
	if (unlikely(rcu_access_pointer(tp->md5sig_info)))
		found |= TOE_OBSTACLE_MD5_AO;
#endif
#ifdef CONFIG_TCP_AO
	if (unlikely(rcu_access_pointer(tp->ao_info)))
		found |= TOE_OBSTACLE_MD5_AO;
#endif
#ifdef CONFIG_INET_PSP
	if (unlikely(rcu_access_pointer(sk->psp_assoc)))
		found |= TOE_OBSTACLE_PSP;
#endif
	if (unlikely(sk_is_mptcp(sk)))
		found |= TOE_OBSTACLE_MPTCP;
#if IS_ENABLED(CONFIG_SMC)
	if (unlikely(tp->syn_smc))
		found |= TOE_OBSTACLE_SMC;
#endif
	if (unlikely(rcu_access_pointer(tp->fastopen_rsk) ||
		     tp->fastopen_req || inet_test_bit(DEFER_CONNECT, sk)))
		found |= TOE_OBSTACLE_FASTOPEN;
	if (unlikely(tp->sacked_out | tp->lost_out | tp->retrans_out |
		     tp->rx_opt.num_sacks | tp->rx_opt.dsack | tp->compressed_ack))
		found |= TOE_OBSTACLE_SACK;
	if (unlikely(READ_ONCE(sk->sk_tsflags) ||
		     sock_flag(sk, SOCK_RCVTSTAMP) || tp->tcp_tx_delay))
		found |= TOE_OBSTACLE_TIMESTAMPING;
	if (unlikely(tcp_under_memory_pressure(sk)))
		found |= TOE_OBSTACLE_PRESSURE;
	if (unlikely((uintptr_t)rcu_access_pointer(sk->sk_user_data) &
		     SK_USER_DATA_PSOCK))
		found |= TOE_OBSTACLE_SOCKMAP;
	if (inet_csk(sk)->icsk_af_ops->net_header_len == sizeof(struct iphdr)) {
		if (unlikely(rcu_access_pointer(inet_sk(sk)->inet_opt)))
			found |= TOE_OBSTACLE_IP_OPTIONS;
	}
#if IS_ENABLED(CONFIG_IPV6)
	else if (unlikely(rcu_access_pointer(inet6_sk(sk)->opt)))
		found |= TOE_OBSTACLE_IP_OPTIONS;
	/* ipv6_pktoptions() keeps the last frame. */
	if (sk->sk_family == AF_INET6 && unlikely(inet6_sk(sk)->rxopt.all))
		found |= TOE_OBSTACLE_TIMESTAMPING;
#endif
	return found;
}

/*
 * Is the connection one of which Sock::eligibility() finds nothing to say? True for most: it
 * is seen in one branch, of fields in a row. @host is the host stack's table of methods.
 */
bool toe_sk_ordinary(struct sock *sk, const struct proto *host)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	const struct tcp_congestion_ops *ca = icsk->icsk_ca_ops;
	const struct tcp_sock *tp = tcp_sk(sk);
	unsigned long odd;

	odd = (unsigned long)icsk->icsk_ulp_ops;
	odd |= (unsigned long)rcu_access_pointer(icsk->icsk_ulp_data);
	odd |= (unsigned long)rcu_access_pointer(sk->sk_user_data);
	odd |= (unsigned long)sk->sk_prot ^ (unsigned long)host;
	odd |= sk->sk_state ^ TCP_ESTABLISHED;
	odd |= sk->sk_shutdown | sk->sk_pacing_status | READ_ONCE(sk->sk_tsflags);
	odd |= (unsigned long)tp->out_of_order_queue.rb_node;
	odd |= (unsigned long)rcu_access_pointer(tp->fastopen_rsk);
	odd |= (unsigned long)tp->fastopen_req;
	odd |= tp->urg_data | (tp->snd_up ^ tp->snd_una);
	odd |= tp->sacked_out | tp->lost_out | tp->retrans_out | tp->compressed_ack;
	odd |= tp->rx_opt.num_sacks | tp->rx_opt.dsack;
	odd |= tp->tlp_high_seq | tp->ecn_flags | tp->tcp_tx_delay | tp->repair;
	odd |= icsk->icsk_ca_state | icsk->icsk_retransmits | icsk->icsk_probes_out;
	odd |= icsk->icsk_backoff | icsk->icsk_mtup.enabled;
	odd |= (unsigned long)ca->cong_control | (unsigned long)ca->in_ack_event;
#ifdef CONFIG_TCP_MD5SIG
	odd |= (unsigned long)rcu_access_pointer(tp->md5sig_info);
#endif
#ifdef CONFIG_TCP_AO
	odd |= (unsigned long)rcu_access_pointer(tp->ao_info);
#endif
#ifdef CONFIG_INET_PSP
	odd |= (unsigned long)rcu_access_pointer(sk->psp_assoc);
#endif
#if IS_ENABLED(CONFIG_SMC)
	odd |= tp->syn_smc;
#endif
	odd |= sk_is_mptcp(sk);
	odd |= sock_flag(sk, SOCK_RCVTSTAMP);
	odd |= inet_test_bit(DEFER_CONNECT, sk);
	/* The options of either family; what IPv6 keeps besides has no place in one branch. */
	odd |= (unsigned long)rcu_access_pointer(inet_sk(sk)->inet_opt);
	odd |= sk->sk_family ^ AF_INET;
	return !odd && ca->cong_avoid && !tcp_under_memory_pressure(sk);
}

/*
 * As __sk_dst_check(), but a route that is no longer valid stays the socket's: it may become so
 * at any moment, and whoever has found it valid under this lock goes on reading it.
 */
struct dst_entry *toe_sk_valid_dst(struct sock *sk)
{
	struct dst_entry *dst = __sk_dst_get(sk);
	u32 cookie = 0;

#if IS_ENABLED(CONFIG_IPV6)
	if (inet_csk(sk)->icsk_af_ops->net_header_len == sizeof(struct ipv6hdr))
		cookie = READ_ONCE(inet6_sk(sk)->dst_cookie);
#endif
	if (dst && READ_ONCE(dst->obsolete) && !dst->ops->check(dst, cookie))
		return NULL;
	return dst;
}

/* Under the socket lock. The device of the socket's cached route, or NULL. */
struct net_device *toe_sk_route(struct sock *sk, bool *xfrm)
{
	struct dst_entry *dst = toe_sk_valid_dst(sk);

	if (!dst)
		return NULL;
	*xfrm = !!dst_xfrm(dst) || !!dst->lwtstate;
	return dst_dev(dst);
}

/* Under the socket lock. Looks the route up again if there is no valid one. */
int toe_sk_reroute(struct sock *sk)
{
	return inet_csk(sk)->icsk_af_ops->rebuild_header(sk);
}

/* 1: reachable without a question; 0: valid; -EAGAIN: not. */
static int toe_neigh_get(struct neighbour *n, u8 *ha)
{
	int ret = -EAGAIN;

	read_lock_bh(&n->lock);
	if (n->nud_state & NUD_VALID && n->dev->addr_len == ETH_ALEN) {
		memcpy(ha, n->ha, ETH_ALEN);
		ret = !!(n->nud_state & NUD_CONNECTED);
	}
	read_unlock_bh(&n->lock);
	return ret;
}

int toe_sk_neigh(struct sock *sk, u8 *ha, bool progress)
{
	struct dst_entry *dst = __sk_dst_get(sk);
	struct neighbour *n;
	const void *daddr = &inet_sk(sk)->inet_daddr;
	int ret;

	if (!dst)
		return -ENETUNREACH;
#if IS_ENABLED(CONFIG_IPV6)
	if (toe_carries_v6(sk))
		daddr = &sk->sk_v6_daddr;
#endif
	n = dst_neigh_lookup(dst, daddr);
	if (!n)
		return -ENETUNREACH;
	if (progress)
		neigh_confirm(n);
	neigh_event_send(n, NULL);
	ret = toe_neigh_get(n, ha);
	neigh_release(n);
	return ret;
}

int toe_neigh_peek(struct net_device *dev, const struct toe_hop *hop, u8 *ha)
{
	struct neighbour *n = NULL;
	int ret = -ENOENT;

	rcu_read_lock();
	if (!hop->v6)
		n = __ipv4_neigh_lookup_noref(dev, get_unaligned((u32 *)hop->addr));
#if IS_ENABLED(CONFIG_IPV6)
	else
		n = __ipv6_neigh_lookup_noref(dev, hop->addr);
#endif
	if (n)
		ret = toe_neigh_get(n, ha);
	rcu_read_unlock();
	return ret;
}

bool toe_neigh_hop(const struct neighbour *n, struct toe_hop *hop)
{
	memset(hop, 0, sizeof(*hop));
	if (n->tbl == &arp_tbl) {
		memcpy(hop->addr, n->primary_key, sizeof(struct in_addr));
		return true;
	}
#if IS_ENABLED(CONFIG_IPV6)
	if (n->tbl == &nd_tbl) {
		memcpy(hop->addr, n->primary_key, sizeof(struct in6_addr));
		hop->v6 = true;
		return true;
	}
#endif
	return false;
}

void toe_dst_hop(const struct sock *sk, const struct dst_entry *dst, struct toe_hop *hop)
{
	const struct rtable *rt;

	memset(hop, 0, sizeof(*hop));
	hop->mark = READ_ONCE(sk->sk_mark);
	hop->mtu = dst_mtu(dst);
#if IS_ENABLED(CONFIG_IPV6)
	if (toe_carries_v6(sk)) {
		hop->v6 = true;
		memcpy(hop->addr, rt6_nexthop(dst_rt6_info(dst), &sk->sk_v6_daddr),
		       sizeof(struct in6_addr));
		return;
	}
#endif
	rt = dst_rtable(dst);
	if (rt->rt_gw_family == AF_INET6) {
		hop->v6 = true;
		memcpy(hop->addr, &rt->rt_gw6, sizeof(struct in6_addr));
	} else {
		__be32 gw = rt_nexthop(rt, inet_sk(sk)->inet_daddr);

		memcpy(hop->addr, &gw, sizeof(gw));
	}
}

void toe_sk_hop(struct sock *sk, struct toe_hop *hop)
{
	toe_dst_hop(sk, __sk_dst_get(sk), hop);
}

void toe_sk_keepalive(const struct sock *sk, struct toe_keepalive *k)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	k->on = sock_flag(sk, SOCK_KEEPOPEN);
	k->idle_s = keepalive_time_when(tp) / HZ;
	k->interval_s = keepalive_intvl_when(tp) / HZ;
	k->probes = keepalive_probes(tp);
}

/* --- modules, time ----------------------------------------------------- */

void toe_module_put(struct module *module)
{
	module_put(module);
}

void toe_msleep(unsigned int ms)
{
	msleep(ms);
}

void toe_tracepoint_sync(void)
{
	tracepoint_synchronize_unregister();
}

u64 toe_now_ms(void)
{
	return ktime_get_ns() / NSEC_PER_MSEC;
}

void toe_init_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

void toe_schedule_work(struct delayed_work *work, u32 delay_ms)
{
	mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(delay_ms));
}

void toe_cancel_work(struct delayed_work *work)
{
	cancel_delayed_work_sync(work);
}

/* --- header fields ------------------------------------------------------ */

u8 toe_sk_ttl(struct sock *sk)
{
	struct dst_entry *dst = __sk_dst_get(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (inet_csk(sk)->icsk_af_ops->net_header_len == sizeof(struct ipv6hdr)) {
		int hops = READ_ONCE(inet6_sk(sk)->hop_limit);

		return hops >= 0 ? hops : ip6_dst_hoplimit(dst);
	}
#endif
	/* ip_select_ttl() */
	if (READ_ONCE(inet_sk(sk)->uc_ttl) >= 0)
		return READ_ONCE(inet_sk(sk)->uc_ttl);
	return ip4_dst_hoplimit(dst);
}

#if IS_ENABLED(CONFIG_IPV6)
/* ip6_autoflowlabel(), and what ip6_make_flowlabel() makes of it */
static bool toe_sk_autolabel(const struct sock *sk)
{
	u8 mode = READ_ONCE(sock_net(sk)->ipv6.sysctl.auto_flowlabels);

	if (mode == IP6_AUTO_FLOW_LABEL_OFF || mode == IP6_AUTO_FLOW_LABEL_FORCED)
		return mode == IP6_AUTO_FLOW_LABEL_FORCED;
	return inet6_test_bit(AUTOFLOWLABEL_SET, sk) ?
	       inet6_test_bit(AUTOFLOWLABEL, sk) :
	       ip6_default_np_autolabel(sock_net(sk));
}
#endif

/* Traffic class in the low byte, flow label above it, as inet6_csk_xmit(). */
u32 toe_sk_tos_flow(struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (inet_csk(sk)->icsk_af_ops->net_header_len == sizeof(struct ipv6hdr)) {
		struct ipv6_pinfo *np = inet6_sk(sk);
		__be32 label = np->flow_label & IPV6_FLOWLABEL_MASK;

		if (!label && toe_sk_autolabel(sk)) {
			/* ip6_make_flowlabel(), of a frame with the socket's hash */
			label = (__force __be32)rol32(sk->sk_txhash, 16) & IPV6_FLOWLABEL_MASK;
			if (READ_ONCE(sock_net(sk)->ipv6.sysctl.flowlabel_state_ranges))
				label |= IPV6_FLOWLABEL_STATELESS_FLAG;
		}
		return ntohl(label) << 8 | np->tclass;
	}
#endif
	return READ_ONCE(inet_sk(sk)->tos);
}

bool toe_sk_df(struct sock *sk)
{
	return ip_dont_fragment(sk, __sk_dst_get(sk));
}
