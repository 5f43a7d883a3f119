#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The kernel tree's own test of GRO, 318 cases.

. "$(dirname "$0")/kernel_tests.sh"

prepare
# Some of the cases need PPPoE.
pppoe=
modprobe -q pppoe 2>/dev/null || pppoe='|pppoe'
run "program drivers/net/gro.py hw$pppoe notso"
