#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test_torture.sh with the short cut: random traffic, options, weather and faults.

TOE_SHORT_CUT=auto exec "$(dirname "$0")/test_torture.sh"
