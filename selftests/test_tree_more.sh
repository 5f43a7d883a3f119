#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# More of test_tree.sh: the other address family, and batches of every size.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"

pair_up || skip_all "cannot set up the pair"
run "shared 6" "neighbour 6" "options 6" "options_rerouted 6" "slow_start 6" "together 6 64" "together 4 8" \
	"together 4 1" rule_batch "churn 4"
