// SPDX-License-Identifier: GPL-2.0

#include "slab.h"

struct kmem_cache *toe_slab_create(const char *name, unsigned int size, unsigned int align)
{
	struct kmem_cache_args args = { .align = align };

	return kmem_cache_create(name, size, &args, SLAB_ACCOUNT);
}

/* It does not sleep, and fails for a cgroup at its limit: see atomic() in net/memcg.rs. */
void *toe_slab_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT);
}

void toe_slab_free(struct kmem_cache *cache, void *object)
{
	kmem_cache_free(cache, object);
}
