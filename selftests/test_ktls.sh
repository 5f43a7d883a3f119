#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What an application may ask of a delegated connection: kTLS, sockmap, options.

. "$(dirname "$0")/lib.sh"

asked() { # PROBE REASON FAMILY [OPTION...]
	local reason=$2
	is_toe && snap a
	probe upload "$1" "${@:3}"
	if ! is_toe; then
		partial "the counter toe_upload_$reason"
	elif [ "$reason" != - ]; then
		expect_ge "$(delta a "toe_upload_$reason")" 1 "uploads by $reason"
	fi
	expect_no_entries
}

t_ktls() { # FAMILY
	modprobe -q tls 2>/dev/null
	asked tls ulp "$1"
}

t_ktls_both_ends() { # FAMILY
	modprobe -q tls 2>/dev/null
	asked tls ulp "$1" --both
}

# With TLS in place the automatic offload keeps its hands off.
t_ktls_stays() {
	need_toe
	modprobe -q tls 2>/dev/null
	snap a
	asked tls ulp 4
	expect_eq "$(delta a toe_offloads)" 1 "offloads of a socket that got TLS"
}

t_sockmap() { asked sockmap sockmap "$1"; }
t_repair() { asked repair setsockopt "$1"; }
t_filter() { asked filter - "$1"; }
t_disconnect() { asked disconnect disconnect "$1"; }
t_shutdown() { asked shutdown shutdown "$1"; }
t_shutdown_rd() { asked shutdown_rd - "$1"; }
t_options() { asked options - "$1"; }
t_keepalive() { asked keepalive - "$1"; }
t_idle() { asked idle - "$1"; }

pair_up || skip_all "cannot set up the pair"
run "ktls 4" "ktls 6" "ktls_both_ends 4" ktls_stays "sockmap 4" "sockmap 6" "repair 4" \
	"filter 4" "disconnect 4" "disconnect 6" "shutdown 4" "shutdown 6" "shutdown_rd 4" \
	"options 4" "options 6" "keepalive 4" "idle 4"
