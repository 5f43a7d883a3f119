// SPDX-License-Identifier: GPL-2.0

#include "helpers.h"

void toe_bh_lock_sock(struct sock *sk)
{
	bh_lock_sock_nested(sk);
}

void toe_bh_unlock_sock(struct sock *sk)
{
	bh_unlock_sock(sk);
}
