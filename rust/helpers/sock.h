/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/net/ cannot reach from Rust about sockets and TCP: macros, static
 * inlines, and the queue surgery that the host stack itself does with static
 * inlines. Each is as thin as it can be; its use is documented at its caller.
 */
#ifndef TOE_HELPERS_SOCK_H
#define TOE_HELPERS_SOCK_H

#include <linux/hash.h>
#include <linux/netdevice.h>
#include <linux/workqueue.h>
#include <net/sock.h>
#include <net/tcp.h>

#ifdef __BINDGEN__
/* bindgen takes the first definition of HZ, which is that of user space. */
enum { TOE_HZ = HZ };
enum { TOE_SOCK_RCVTSTAMP = SOCK_RCVTSTAMP };
enum { TOE_SOCK_KEEPOPEN = SOCK_KEEPOPEN };
enum { TOE_SOCK_FASYNC = SOCK_FASYNC };
#endif

/* Are the socket's packets those of IPv6? */
static inline bool toe_carries_v6(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_af_ops)->net_header_len == sizeof(struct ipv6hdr);
}

/* A number that says of several whether any of them has changed. */
static inline u64 toe_mix(u64 sign, u64 value)
{
	return (rol64(sign, 5) ^ value) * GOLDEN_RATIO_64;
}

/* Fields that are bit fields or sit behind inlines, read in one go. */
enum toe_obstacle {
	TOE_OBSTACLE_MD5_AO		= 1 << 0,
	TOE_OBSTACLE_PSP		= 1 << 1,
	TOE_OBSTACLE_MPTCP		= 1 << 2,
	TOE_OBSTACLE_SMC		= 1 << 3,
	TOE_OBSTACLE_FASTOPEN		= 1 << 4,
	TOE_OBSTACLE_SACK		= 1 << 5,
	TOE_OBSTACLE_TIMESTAMPING	= 1 << 6,
	TOE_OBSTACLE_PRESSURE		= 1 << 7,
	TOE_OBSTACLE_SOCKMAP		= 1 << 8,
	TOE_OBSTACLE_IP_OPTIONS		= 1 << 9,
};

/* What an ACK covered. */
struct toe_ack_sample {
	u32 pkts;
	u32 prior_delivered;	/* tcp_rate_skb_delivered() */
	u32 send_us;
	bool retrans;
	bool partial;		/* part of a buffer's segments */
	bool app_limited;
	u64 first_us;
	u64 last_us;
	u64 prior_us;
};

/* Where a socket's frames go, and by what the route was looked up. */
struct toe_hop {
	u8 addr[16];	/* the next hop's IP address */
	u32 mark;
	u32 mtu;
	bool v6;	/* is the next hop's address one of IPv6? */
};

/* What is replaced on a socket. */
struct toe_methods {
	struct proto *prot;
	const struct inet_connection_sock_af_ops *af_ops;
	int (*backlog_rcv)(struct sock *sk, struct sk_buff *skb);
};

struct toe_keepalive {
	u32 idle_s;
	u32 interval_s;
	u8 probes;
	bool on;
};

void toe_bh_lock_sock(struct sock *sk);
void toe_bh_unlock_sock(struct sock *sk);
bool toe_bh_lock_pair(struct sock *a, struct sock *b, bool mine);
bool toe_sock_owned(struct sock *sk);
bool toe_sock_owned_now(const struct sock *sk);
void toe_lock_sock(struct sock *sk);
bool toe_lock_sock_nowait(struct sock *sk);
bool toe_lock_sock_timeout(struct sock *sk, long *timeout);
void toe_bh_unlock_own(struct sock *sk);
void toe_sock_owned_from_here(struct sock *sk);
bool toe_sock_awaited(struct sock *sk);
bool toe_sk_claim(struct sock *sk, const struct toe_methods *to,
		  const struct tcp_ulp_ops *identity, void *record,
		  const struct proto *host);
void toe_sk_disclaim(struct sock *sk, const struct toe_methods *of,
		     const struct toe_methods *to, const void *record,
		     const struct tcp_ulp_ops *ulp);
void toe_sk_resume_later(struct sock *sk);
void toe_sk_support_zc(struct sock *sk);
struct mem_cgroup *toe_charge_to(struct sock *sk);
void toe_charge_end(struct mem_cgroup *before);
void toe_proto_leave(struct proto *table, const struct proto *host);
struct tcp_ulp_ops *toe_ulp_alloc(const char *name);
void toe_sock_hold(struct sock *sk);
void toe_sock_put(struct sock *sk);
bool toe_sock_tryhold(struct sock *sk);
int toe_sk_add_backlog(struct sock *sk, struct sk_buff *skb);
void toe_sk_incoming(struct sock *sk, struct sk_buff *skb, int iif, u16 queue,
		     u32 napi_id);
u32 toe_sk_obstacles(struct sock *sk);
bool toe_sk_ordinary(struct sock *sk, const struct proto *host);

struct dst_entry *toe_sk_valid_dst(struct sock *sk);
struct net_device *toe_sk_route(struct sock *sk, bool *xfrm);
/*
 * Under the socket lock. The next hop's link address: 1 if it is reachable without
 * a question, 0 if not, -EAGAIN if unresolved. @progress: it got what was sent. As
 * with each packet of the host stack, one that is stale or unknown is asked.
 */
int toe_sk_neigh(struct sock *sk, u8 *ha, bool progress);

/* As above, and -ENOENT if there is no such neighbour; nobody is asked. Any context. */
int toe_neigh_peek(struct net_device *dev, const struct toe_hop *hop, u8 *ha);

/* Only the address. False: of neither IPv4 nor IPv6. */
bool toe_neigh_hop(const struct neighbour *n, struct toe_hop *hop);

/* Under the socket lock, with a valid route. */
void toe_sk_hop(struct sock *sk, struct toe_hop *hop);

/* The same of a route of the socket's, which RCU keeps. */
void toe_dst_hop(const struct sock *sk, const struct dst_entry *dst, struct toe_hop *hop);
void toe_sk_keepalive(const struct sock *sk, struct toe_keepalive *k);
int toe_sk_reroute(struct sock *sk);

void toe_module_put(struct module *module);

u8 toe_sk_ttl(struct sock *sk);
u32 toe_sk_tos_flow(struct sock *sk);
bool toe_sk_df(struct sock *sk);
bool toe_tcp_quickack(struct sock *sk);
void toe_tcp_grow_window(struct sock *sk, const struct sk_buff *skb);
void toe_tcp_resume_host(struct sock *sk, bool stopped);

void toe_tcp_fill_cb(struct sk_buff *skb, u32 seq, u32 end_seq, u32 ack,
		     u16 flags, u8 dsfield, bool v6);
u32 toe_tcp_rto_min_us(const struct sock *sk);
u64 toe_clock_ns(void);
u64 toe_ktime_secs(void);
u64 toe_now_ms(void);
void toe_tracepoint_sync(void);
void toe_init_work(struct delayed_work *work, work_func_t func);
void toe_schedule_work(struct delayed_work *work, u32 delay_ms);
void toe_cancel_work(struct delayed_work *work);
void toe_msleep(unsigned int ms);
bool toe_tcp_rmem_schedule(struct sock *sk, struct sk_buff *skb);
bool toe_tcp_queue_rcv(struct sock *sk, struct sk_buff *skb, u32 hdr_len,
		       bool predicted, bool *stolen);
void toe_tcp_check_space(struct sock *sk);
bool toe_tcp_waits_for_space(const struct sock *sk);
bool toe_tcp_delack(struct sock *sk, u32 ato);
void toe_tcp_ack_sent(struct sock *sk);
void toe_tcp_defer_ack(struct sock *sk);
void toe_tcp_clean_rtx(struct sock *sk, u32 prior_una, struct toe_ack_sample *sample);
void toe_tcp_set_timer(struct sock *sk);
void toe_tcp_ack_probe(struct sock *sk);
void toe_tcp_probe_soon(struct sock *sk, u32 ms);
void toe_tcp_window_changed(struct sock *sk, bool larger);
void toe_tcp_ack_seen(struct sock *sk, bool fast, bool data);
void toe_tcp_fast_path_check(struct sock *sk);
void toe_tcp_rtt_min(struct sock *sk, u32 rtt_us);
void toe_tcp_space_short(struct sock *sk);
void toe_tcp_count_window(struct sock *sk, bool wanted_zero, u32 old, u32 new);
void toe_tcp_update_pacing(struct sock *sk);
void toe_tcp_cong_avoid(struct sock *sk, u32 ack, u32 acked, s32 rtt_us,
			u32 prior_delivered);
bool toe_tcp_mtu_probing(struct sock *sk);
bool toe_tcp_ack_in(struct sock *sk, s64 *ns);
bool toe_tcp_grow(struct sock *sk, struct sk_buff *skb, u32 len);
void toe_tcp_xmit_end(struct sock *sk, u32 pkts, bool is_cwnd_limited,
		      bool is_rwnd_limited, bool fresh);
bool toe_tcp_mtu_current(struct sock *sk);
void toe_tcp_follow_mtu(struct sock *sk);
size_t toe_msg_left(const struct msghdr *msg);
int toe_tcp_append(struct sock *sk, struct msghdr *msg, u32 goal, bool fault);
void toe_tcp_mark_push(struct sock *sk);
int toe_tcp_wait_memory(struct sock *sk, long *timeo);
void toe_tcp_no_space(struct sock *sk);
void toe_skb_of_sock(struct sk_buff *skb, struct sock *sk);
long toe_tcp_sndtimeo(struct sock *sk, bool nonblock);
int toe_tcp_split(struct sock *sk, struct sk_buff *skb, u32 len, u32 mss);
struct sk_buff *toe_tcp_xmit_clone(struct sock *sk, struct sk_buff *skb);
struct sk_buff *toe_tcp_xmit_frame(struct sock *sk, struct sk_buff *skb);
void toe_tcp_sent(struct sock *sk, struct sk_buff *skb, u32 mss);
u32 toe_tcp_unsend(struct sock *sk, u32 snd_nxt);
bool toe_tcp_admit(struct sock *sk, struct sk_buff *skb,
		      struct net_device *dev, u32 len);
void toe_tcp_count_too_far(struct sock *sk, struct sk_buff *skb,
			   struct net_device *dev, u32 len);
bool toe_tcp_csum_ok(struct sk_buff *skb, u32 l4_off, u32 l4_len, bool v6);
void toe_tcp_check_probe_timer(struct sock *sk);
bool toe_skb_orphan_frags_rx(struct sk_buff *skb);
bool toe_sockptr_is(sockptr_t val, unsigned int len, const char *name);
bool toe_pskb_trim(struct sk_buff *skb, u32 len);
void toe_ip_count_out(struct sock *sk, u32 len);
void toe_tcp_count_ack_out(struct sock *sk, u32 len);
struct sk_buff *toe_header_skb(struct sock *sk);
void toe_header_free(struct sk_buff *skb);
void toe_spares_free(void);
bool toe_tcp_may_write(struct sock *sk);

void toe_trace_special(u64 hwid, const char *name, size_t len);
void toe_trace_resync(u64 hwid, u32 rx_frames, u32 tx_frames);
void toe_trace_offload(u64 hwid);
void toe_trace_upload(u64 hwid, const char *name, size_t len);

#endif
