#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_torture.sh between two ends side by side: frames of the host stack and of the target
# reach the other end's GRO with their owners, which a router would have taken from them.

TORTURE_DIRECT=1 exec "$(dirname "$0")/test_torture.sh"
