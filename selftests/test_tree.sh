#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What connections lie on in the target: paths, neighbours and layers, made once,
# counted, brought up to date by one operation; and connections handed over, and given
# back, many in one operation.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

pair_up || skip_all "cannot set up the pair"
run "shared 4" two_paths layers "neighbour 4" "wrong_neighbour 4" "wrong_neighbour 6" \
	invalid address path_mtu "path_mtu 1" monitor "options 4" "options_rerouted 4" "slow_start 4" \
	"together 4 64" part partly "churn 6" stress deleted knobs
