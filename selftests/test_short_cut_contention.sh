#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_contention.sh with the short cut: owners who sleep in a call, and what goes meanwhile.

TOE_SHORT_CUT=auto TOE_CASES=${TOE_CASES:-owner*} exec "$(dirname "$0")/test_contention.sh"
