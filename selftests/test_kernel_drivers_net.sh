#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The kernel tree's own tests of network drivers that fit a pair.
# (hw/irq.py does not: the pair has no interrupts.)

. "$(dirname "$0")/kernel_tests.sh"

prepare
# The AF_XDP case asks for a program that this machine could not build.
helper=
[ -x "$tests/net/lib/xdp_helper" ] || helper=check_xsk
run "program drivers/net/ping.py xdp_native${xdp:+|$xdp}" "program drivers/net/stats.py" \
	"program drivers/net/queues.py${helper:+ $helper}" "program drivers/net/ring_reconfig.py" \
	"program drivers/net/napi_threaded.py" "program drivers/net/napi_id.py" \
	"program drivers/net/shaper.py" "program drivers/net/hw/csum.py tx_udp" \
	"program drivers/net/hw/tso.py"
