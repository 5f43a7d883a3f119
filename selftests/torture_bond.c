// SPDX-License-Identifier: GPL-2.0
/*
 * Events of toe_torture that change what a bond chooses its member by. What a member's failure
 * does to that is in torture_events.c, with all that lasts.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <string.h>

static bool has_active(void)
{
	char mode[64];

	return bond_read(0, "mode", mode, sizeof(mode)) > 0 && !strncmp(mode, "active-backup", 13);
}

/* There is no switch that could learn: both ends have to choose the same pair. */
static int activate(bool second)
{
	int ret = bond_write(0, "active_slave", dev_name[second ? DEV_A2 : DEV_A]);

	return bond_write(1, "active_slave", dev_name[second ? DEV_B2 : DEV_B]) ?: ret;
}

/* A member that is down, or was until a moment ago, cannot be chosen. */
void bonds_agree(void)
{
	unsigned int i;

	if (!opt.bond || !has_active())
		return;
	for (i = 0; i < 200 && activate(i & 1); i++)
		sleep_ms(20);
}

bool do_choice(uint64_t *rng)
{
	static const char *const policies[] = { "layer2", "layer2+3", "layer3+4", "vlan+srcmac" };
	unsigned int side = rnd_below(rng, 2), which = rnd_below(rng, ARRAY_SIZE(policies));
	int ret;

	if (!opt.bond)
		return false;
	if (has_active()) {
		ret = activate(which & 1);
		event_log("the %s pair is the active one: %d", which & 1 ? "second" : "first", ret);
	} else {
		ret = bond_write(side, "xmit_hash_policy", policies[which]);
		event_log("%s of %s: %d", policies[which], bond_name[side], ret);
	}
	return !ret;
}
