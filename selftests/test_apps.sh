#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Unmodified programs: iperf3, redis, wrk against nginx. Policy auto.

. "$(dirname "$0")/lib.sh"


# listening PORT [ADDRESS]
listening() { in_b ss -tlnH "sport = :$1" | grep -qF "$2:$1"; }

auto() {
	is_toe || { partial "automatic offload"; return; }
	auto_policy a b
	snap a
	snap b
}

# The program's connections were offloaded, and nothing is left of them.
used() { # OFFLOADS
	is_toe || return 0
	expect_ge "$(delta a toe_offloads)" "$1" "offloads of the clients"
	expect_ge "$(delta b toe_offloads)" "$1" "offloads of the servers"
	note "$(delta a toe_offloads) offloads, $(delta a toe_tx_bytes) bytes sent by the target"
}

iperf() { # FAMILY OPTION...
	local fam=$1
	shift
	need iperf3 ss
	auto
	bg in_b iperf3 -s -1 -p 5201 >"$WORK/iperf.s" 2>&1
	until_ok 60 listening 5201 || fail "no iperf3 server: $(cat "$WORK/iperf.s")"
	in_a timeout 120 iperf3 -c "$(addr b "$fam")" -p 5201 "$@" >"$WORK/iperf.c" 2>&1 ||
		fail "iperf3: $(cat "$WORK/iperf.c" "$WORK/iperf.s")"
	note "$(grep -E 'receiver|sender' "$WORK/iperf.c" | tail -1)"
	used 1
}

t_iperf3() { iperf "$1" -n "$(kib 16384)"; }
t_iperf3_reverse() { iperf "$1" -n "$(kib 16384)" -R; }
t_iperf3_both() { iperf "$1" -t 2 --bidir; }
t_iperf3_parallel() { iperf "$1" -n "$(kib 8192)" -P 8; }
t_iperf3_zerocopy() { iperf "$1" -n "$(kib 16384)" -Z; }
t_iperf3_uploading() {
	bg uploader a 0.2
	bg uploader b 0.3
	iperf 4 -t 3
	end_bg
}

t_redis() { # FAMILY PIPELINE
	need redis-server redis-benchmark redis-cli ss
	auto
	bg in_b redis-server --port 6379 --bind "$(addr b "$1")" --save '' --appendonly no \
		--protected-mode no --dir "$WORK" >"$WORK/redis" 2>&1
	until_ok 60 listening 6379 || fail "no redis-server: $(tail -5 "$WORK/redis")"
	in_a timeout 200 redis-benchmark -h "$(addr b "$1")" -q -c 20 -n $((2000 * scale / 1000)) \
		-d 3000 -P "$2" -t set,get,lpush,lrange_100 >"$WORK/bench" 2>&1 ||
		fail "redis-benchmark: $(cat "$WORK/bench")"
	note "$(tr '\r' '\n' <"$WORK/bench" | grep 'requests per second' | tail -1)"
	head -c 100000 /dev/urandom | base64 -w0 >"$WORK/value"
	in_a redis-cli -h "$(addr b "$1")" -x set big <"$WORK/value" >/dev/null &&
		in_a redis-cli -h "$(addr b "$1")" get big | tr -d '\n' | cmp - "$WORK/value" ||
		fail "a value came back changed"
	used 10
}

t_nginx() { # FAMILY
	local host
	host=$(addr b "$1")
	[ "$1" = 6 ] && host="[$host]"
	need nginx wrk ss
	auto
	mkdir -p "$WORK/www"
	head -c 50000 /dev/urandom >"$WORK/www/file"
	chmod 755 "$WORK" "$WORK/www"
	cat >"$WORK/nginx.conf" <<-END
		daemon off;
		user root;
		worker_processes 1;
		pid $WORK/nginx.pid;
		error_log $WORK/nginx.err;
		events { worker_connections 512; }
		http {
			access_log off;
			sendfile on;
			client_body_temp_path $WORK/b; proxy_temp_path $WORK/p;
			fastcgi_temp_path $WORK/f; uwsgi_temp_path $WORK/u; scgi_temp_path $WORK/s;
			server { listen $host:8080; root $WORK/www; }
		}
	END
	bg in_b nginx -c "$WORK/nginx.conf" -e "$WORK/nginx.err"
	until_ok 60 listening 8080 "$host" || fail "no nginx: $(tail -5 "$WORK/nginx.err")"
	in_a timeout 120 wrk -t 1 -c 20 -d 3s --timeout 30s "http://$host:8080/file" >"$WORK/wrk" 2>&1 ||
		fail "wrk: $(cat "$WORK/wrk")"
	grep -qE 'Socket errors|Non-2xx' "$WORK/wrk" && fail "wrk: $(cat "$WORK/wrk")"
	note "$(grep 'Requests/sec' "$WORK/wrk")"
	if command -v curl >/dev/null; then
		in_a curl -sg "http://$host:8080/file" | cmp - "$WORK/www/file" || fail "the file came changed"
	fi
	used 10
}

t_ssh_like_echo() {
	need python3
	auto
	cat >"$WORK/echo.py" <<-'END'
		import selectors, socket, sys, threading
		srv = socket.create_server((sys.argv[1], 9000))
		print("ready", flush=True)
		def serve(c):
		    while True:
		        d = c.recv(4096)
		        if not d:
		            break
		        c.sendall(d)
		    c.close()
		while True:
		    threading.Thread(target=serve, args=(srv.accept()[0],), daemon=True).start()
	END
	bg in_b python3 "$WORK/echo.py" $B4 >"$WORK/echo"
	until_ok 60 grep -q ready "$WORK/echo" || fail "no echo server"
	in_a python3 - $B4 <<-'END' || fail "echo"
		import socket, sys, random
		rng = random.Random(7)
		for i in range(5):
		    s = socket.create_connection((sys.argv[1], 9000), timeout=60)
		    for n in (1, 100, 5000, 60000):
		        d = rng.randbytes(n)
		        s.sendall(d)
		        got = b""
		        while len(got) < n:
		            r = s.recv(65536)
		            if not r:
		                sys.exit("EOF")
		            got += r
		        if got != d:
		            sys.exit("changed")
		    s.close()
	END
	used 5
}

pair_up || skip_all "cannot set up the pair"
run "iperf3 4" "iperf3 6" "iperf3_reverse 4" "iperf3_both 4" "iperf3_parallel 4" \
	"iperf3_zerocopy 4" iperf3_uploading "redis 4 1" "redis 4 16" "redis 6 4" "nginx 4" "nginx 6" \
	ssh_like_echo
