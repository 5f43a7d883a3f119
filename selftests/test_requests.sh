#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What else an application may ask of a delegated connection: options, a shutdown, ...

. "$(dirname "$0")/lib.sh"

t_repair() { asked repair setsockopt "$1"; }
t_filter() { asked filter - "$1"; }
t_pacing() { asked pacing setsockopt "$1"; }
t_timestamp() { asked timestamp setsockopt "$1"; }
t_disconnect() { asked disconnect disconnect "$1"; }
t_shutdown() { asked shutdown shutdown "$1"; }
t_shutdown_rd() { asked shutdown_rd - "$1"; }
t_options() { asked options - "$1"; }
t_keepalive() { asked keepalive - "$1"; }
t_idle() { asked idle - "$1"; }

pair_up || skip_all "cannot set up the pair"
run "repair 4" "filter 4" "pacing 4" "timestamp 4" "disconnect 4" "disconnect 6" "shutdown 4" \
	"shutdown 6" "shutdown_rd 4" "options 4" "options 6" "keepalive 4" "idle 4"
