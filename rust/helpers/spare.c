// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that are used again. A pure ACK lives for a few hundred instructions, from one
 * engine to the other, and a segment of a conversation until it is answered: allocating
 * them each time costs more than building the frame.
 *
 * Each CPU keeps one buffer for pure ACKs and short payload that is copied, for segments as many
 * as one ACK of a stream of small writes frees, and four of each size for what goes without
 * frames, 252 KiB in all: pages of order 3 cost more than to copy a KiB. Only the memory is
 * reused: a buffer from here is in the state in which alloc_skb() and alloc_skb_fclone() return
 * one.
 */

#include <linux/percpu.h>
#include <linux/skbuff_ref.h>
#include <net/tcp.h>

#include "short.h"
#include "tcp.h"

#define TOE_SPARE_SEGMENTS 4
#define TOE_SPARE_RECEIVE 4
#define TOE_SPARE_SIZES (ilog2(TOE_RECEIVE_MAX / TOE_RECEIVE_MIN) + 1)

static DEFINE_PER_CPU(struct sk_buff *, toe_spare_header);
static DEFINE_PER_CPU(struct sk_buff *, toe_spare_segments[TOE_SPARE_SEGMENTS]);
static DEFINE_PER_CPU(struct sk_buff *,
		      toe_spare_receive[TOE_SPARE_SIZES * TOE_SPARE_RECEIVE]);

/* Where the head of a buffer of ours ends: others are not kept. */
static unsigned int toe_head_end;

static struct sk_buff *toe_fresh(struct sk_buff *skb)
{
	if (likely(skb) && unlikely(skb_end_offset(skb) != READ_ONCE(toe_head_end)))
		WRITE_ONCE(toe_head_end, skb_end_offset(skb));
	return skb;
}

/* Has @skb nothing but its memory, and nobody else a part of it? */
static bool toe_may_keep(struct sk_buff *skb)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);

	return refcount_read(&skb->users) == 1 && !skb_cloned(skb) && !skb->head_frag &&
	       !skb->pfmemalloc && !skb->destructor && !skb->_skb_refdst &&
	       !skb_has_extensions(skb) && !skb_get_nfct(skb) && !shinfo->flags &&
	       !shinfo->frag_list;
}

/* Is its head of the size that those of frames have? */
static bool toe_head_is_ours(const struct sk_buff *skb)
{
	return skb_end_offset(skb) == READ_ONCE(toe_head_end);
}

/* What __alloc_skb() makes of new memory. */
static struct sk_buff *toe_renew(struct sk_buff *skb, u8 fclone)
{
	struct skb_shared_info *shinfo = skb_shinfo(skb);

	/* In two parts, as skbuff_clear(), which compilers do in place. */
	BUILD_BUG_ON(offsetof(struct sk_buff, tail) <= 128);
	memset(skb, 0, 128);
	barrier();
	memset((void *)skb + 128, 0, offsetof(struct sk_buff, tail) - 128);
	skb->fclone = fclone;
	skb->truesize = SKB_TRUESIZE(skb_end_offset(skb));
	skb->data = skb->head;
	skb_reset_tail_pointer(skb);
	skb->mac_header = (typeof(skb->mac_header))~0U;
	skb->transport_header = (typeof(skb->transport_header))~0U;
	skb->alloc_cpu = raw_smp_processor_id();
	memset(shinfo, 0, offsetof(struct skb_shared_info, dataref));
	atomic_set(&shinfo->dataref, 1);
	return skb;
}

/* Bottom halves are disabled: the cache of skbs is that of NAPI. */
struct sk_buff *toe_header_alloc(void)
{
	struct sk_buff *skb = this_cpu_xchg(toe_spare_header, NULL);

	if (likely(skb))
		return toe_renew(skb, SKB_FCLONE_UNAVAILABLE);
	return toe_fresh(__alloc_skb(MAX_TCP_HEADER, GFP_ATOMIC | __GFP_NOWARN,
				     SKB_ALLOC_NAPI, NUMA_NO_NODE));
}

/*
 * A frame whose last @len bytes are payload, with no room behind them: what comes next shall not
 * be put there. As above; NULL, too, if that leaves too little room for headers.
 */
struct sk_buff *toe_copy_alloc(u32 len)
{
	struct sk_buff *skb;

	if (unlikely(READ_ONCE(toe_head_end) < TOE_COPY_HEADROOM + len))
		return NULL;
	skb = toe_header_alloc();
	if (likely(skb)) {
		skb_reserve(skb, skb_end_offset(skb) - len);
		__skb_put(skb, len);
	}
	return skb;
}

/* A frame without payload did what it was sent for. Bottom halves are disabled. */
void toe_header_free(struct sk_buff *skb)
{
	if (skb->fclone != SKB_FCLONE_UNAVAILABLE || skb_shinfo(skb)->nr_frags ||
	    !toe_head_is_ours(skb) || !toe_may_keep(skb) ||
	    this_cpu_cmpxchg(toe_spare_header, NULL, skb))
		napi_consume_skb(skb, 1);
}

/* A buffer for the send queue, with room for its clone. */
struct sk_buff *toe_segment_alloc(gfp_t gfp)
{
	struct sk_buff *skb;
	int i;

	/* The task may be moved, or a softirq take it, at any point. */
	for (i = 0; i < TOE_SPARE_SEGMENTS; i++) {
		if (!this_cpu_read(toe_spare_segments[i]))
			continue;
		skb = this_cpu_xchg(toe_spare_segments[i], NULL);
		if (likely(skb))
			return toe_renew(skb, SKB_FCLONE_ORIG);
	}
	return toe_fresh(alloc_skb_fclone(MAX_TCP_HEADER, gfp));
}

/* Keeps a buffer, if there is a place. Bottom halves are disabled, or it is a task's. */
static bool toe_keep_segment(struct sk_buff *skb)
{
	int i;

	for (i = 0; i < TOE_SPARE_SEGMENTS; i++) {
		if (!this_cpu_read(toe_spare_segments[i]) &&
		    !this_cpu_cmpxchg(toe_spare_segments[i], NULL, skb))
			return true;
	}
	return false;
}

/* __kfree_skb() of a buffer that was in the send queue. */
void toe_segment_free(struct sk_buff *skb)
{
	struct sk_buff_fclones *fclones = container_of(skb, struct sk_buff_fclones, skb1);
	int i;

	if (skb->fclone != SKB_FCLONE_ORIG || refcount_read(&fclones->fclone_ref) != 1 ||
	    !toe_head_is_ours(skb) || !toe_may_keep(skb)) {
		__kfree_skb(skb);
		return;
	}
	/* Whoever freed the clone is through with it. */
	smp_acquire__after_ctrl_dep();
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		skb_frag_unref(skb, i);
	skb_shinfo(skb)->nr_frags = 0;
	if (!toe_keep_segment(skb))
		__kfree_skb(skb);
}

/*
 * A buffer for the receive queue, all of it head: @size bytes with what alloc_skb() adds, a
 * power of two. Bottom halves are disabled.
 */
struct sk_buff *toe_receive_alloc(u32 size)
{
	int i = ilog2(size / TOE_RECEIVE_MIN) * TOE_SPARE_RECEIVE;
	int end = i + TOE_SPARE_RECEIVE;
	struct sk_buff *skb;

	for (; i < end; i++) {
		skb = this_cpu_read(toe_spare_receive[i]);
		if (!skb)
			continue;
		/* Nobody else comes here on this CPU. */
		this_cpu_write(toe_spare_receive[i], NULL);
		return toe_renew(skb, SKB_FCLONE_UNAVAILABLE);
	}
	return alloc_skb(SKB_WITH_OVERHEAD(size), GFP_ATOMIC | __GFP_NOWARN);
}

/* __kfree_skb() of a buffer that was in a receive queue. Bottom halves are disabled. */
void toe_receive_free(struct sk_buff *skb)
{
	u32 size = SKB_HEAD_ALIGN(skb_end_offset(skb));
	int i, end;

	if (skb->fclone != SKB_FCLONE_UNAVAILABLE || skb_is_nonlinear(skb) || !toe_may_keep(skb))
		goto free;
	if (!is_power_of_2(size) || size < TOE_RECEIVE_MIN || size > TOE_RECEIVE_MAX) {
		if (toe_head_is_ours(skb) && !this_cpu_cmpxchg(toe_spare_header, NULL, skb))
			return;
		goto free;
	}
	i = ilog2(size / TOE_RECEIVE_MIN) * TOE_SPARE_RECEIVE;
	for (end = i + TOE_SPARE_RECEIVE; i < end; i++) {
		if (this_cpu_read(toe_spare_receive[i]))
			continue;
		this_cpu_write(toe_spare_receive[i], skb);
		return;
	}
free:
	__kfree_skb(skb);
}

/* The module goes, and no task is left in its code. */
void toe_spares_free(void)
{
	int cpu, i;

	for_each_possible_cpu(cpu) {
		kfree_skb(per_cpu(toe_spare_header, cpu));
		for (i = 0; i < TOE_SPARE_SEGMENTS; i++)
			kfree_skb(per_cpu(toe_spare_segments[i], cpu));
		for (i = 0; i < TOE_SPARE_SIZES * TOE_SPARE_RECEIVE; i++)
			kfree_skb(per_cpu(toe_spare_receive[i], cpu));
	}
}
