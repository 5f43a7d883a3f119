/* SPDX-License-Identifier: GPL-2.0 */
/* Slab caches, whose functions are macros. */
#ifndef TOE_HELPERS_SLAB_H
#define TOE_HELPERS_SLAB_H

#include <linux/slab.h>

struct kmem_cache *toe_slab_create(const char *name, unsigned int size, unsigned int align);
void *toe_slab_alloc(struct kmem_cache *cache);
void toe_slab_free(struct kmem_cache *cache, void *object);

#endif
