/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/net/ cannot reach from Rust: macros, static inlines and access to
 * the kernel's unexported structures by their own inline accessors. Each one is
 * as thin as it can be; what it is for stands at its Rust caller.
 */
#ifndef TOE_HELPERS_H
#define TOE_HELPERS_H

#include <linux/netdevice.h>
#include <net/sock.h>
#include <net/tcp.h>

void toe_bh_lock_sock(struct sock *sk);
void toe_bh_unlock_sock(struct sock *sk);

#endif
