#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Special cases on the wire: the connection comes back for each, named, and lives on.

. "$(dirname "$0")/lib.sh"

# REASON: the counter of the upload; "-": whatever it is.
t_segment() { # NAME REASON
	is_toe && snap a
	probe inject "$1" 4
	if ! is_toe; then
		partial "the counter toe_upload_$2"
	elif [ "$2" != - ]; then
		has_ctr a "toe_upload_$2" || fail "no counter toe_upload_$2"
		expect_ge "$(delta a "toe_upload_$2")" 1 "uploads by $2"
	fi
	expect_no_entries
}

t_urgent() { # FAMILY
	is_toe && snap a
	probe upload urg "$1"
	is_toe && expect_ge "$(delta a toe_upload_urg)" 1 "uploads by urg"
	probe upload send_urg "$1"
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
run "segment out_of_order out_of_order" "segment old_sequence old_sequence" \
	"segment old_data old_sequence" "segment ack_outside ack_outside" "segment sack sack" \
	"segment rst rst" "segment rst_blind rst" "segment syn syn" "segment ip_options ip_options" \
	"segment fragment -" "segment bad_checksum -" "segment bad_header -" "segment bad_length -" \
	"segment no_ack_flag -" "segment bad_option -" "segment option_length_0 -" \
	"segment no_timestamp no_timestamp" "segment paws paws" "segment ecn_ce ecn" \
	"segment ecn_ece ecn" "segment zero_window zero_window" "segment window_shrunk -" \
	"segment beyond_window beyond_window" "urgent 4" "urgent 6"
