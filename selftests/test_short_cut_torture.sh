#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_torture.sh between two ends side by side, with the short cut: bytes past the wire meet
# all that brings connections back. Half of the connections are quiet ones, and events are
# fewer than there, or little would go past the wire.

TORTURE_SECONDS=${TORTURE_SECONDS:-30} TOE_SHORT_CUT=auto TORTURE_ARGS="--pace 100 $TORTURE_ARGS" \
	exec "$(dirname "$0")/test_torture.sh"
