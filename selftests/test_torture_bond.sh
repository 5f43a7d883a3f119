#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_torture.sh over bonds of two pairs, whose members fail and come back, and which change
# their mind: half of the time by a hash, and half by the active member.

TORTURE_BOND=1 exec "$(dirname "$0")/test_torture.sh"
