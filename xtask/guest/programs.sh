#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Ordinary programs, inside the guest: what a request costs, client and server. The
# guest's clock counts instructions, and there is one CPU: it is the time a program
# says it took, divided by the requests. Prints `= TRANSPORT ROW INSTRUCTIONS` for each
# round, `= share ROW PERCENT` for the frames that the target handled of those that the
# client's device saw, `= passed ROW PERCENT` for the bytes that both ends sent past the wire
# of all they sent (frames with headers), and `- ROW REASON` for what cannot be measured here;
# `@` lines are progress.
#
#   [BENCH_ONLY="ROW..."] programs.sh BENCH ROUNDS SCALE TRANSPORT...
#
# TRANSPORT: veth, unix, toe (both ends have policy `auto`, by frames), toe-short (the same,
# with the short cut). SCALE multiplies the counts.

bench=$1
rounds=$2
scale=$3
shift 3

. "$(dirname "$0")/pairs.sh"

dir=/run/programs
failed=0
servers=()

# Both transports of the module have one pair.
in_c() { if [ "$t" = unix ]; then "$@"; else ip netns exec c-"${t%-short}" "$@"; fi; }
in_s() { if [ "$t" = unix ]; then "$@"; else ip netns exec s-"${t%-short}" "$@"; fi; }
# The same for a server: it is this very process, so that it can be ended.
be_in_s() { if [ "$t" = unix ]; then exec "$@"; else exec ip netns exec s-"${t%-short}" "$@"; fi; }

# serve NAME READY PROGRAM...: a server of this transport, up when READY succeeds
serve() {
	local name=$1 ready=$2 tries
	shift 2
	be_in_s "$@" >"$dir/$name.log" 2>&1 &
	servers+=($!)
	for ((tries = 0; tries < 600; tries++)); do
		$ready && return 0
		sleep 0.05
	done
	echo "programs: $name does not serve:" >&2
	tail -5 "$dir/$name.log" >&2
	return 1
}

listening() { [ -n "$(in_s ss -tlnH "sport = :$1")" ]; }

end_servers() {
	[ ${#servers[@]} = 0 ] || { kill "${servers[@]}"; wait "${servers[@]}"; } 2>/dev/null
	servers=()
}

# Frames that the target handled and frames that the client's device saw, so far.
frames() {
	ip netns exec c-toe sh -c 'ethtool -S b0; cat /sys/class/net/b0/statistics/[rt]x_packets' | awk '
		/ toe_[rt]x_frames:/ { target += $2 }
		/^[0-9]/ { all += $1 }
		END { print target + 0, all + 0 }'
}

# Bytes that both ends sent past the wire, and those of the frames they sent, so far.
bytes() {
	local end
	for end in c-toe:b0 s-toe:b1; do
		ip netns exec "${end%:*}" sh -c "ethtool -S ${end#*:}; cat /sys/class/net/${end#*:}/statistics/tx_bytes"
	done | awk '
		/ toe_short_bytes:/ { passed += $2 }
		/^[0-9]/ { wire += $1 }
		END { print passed + 0, wire + 0 }'
}

# What a row says besides its cost: how much went which way.
way() {
	case $t in
	toe) frames ;;
	toe-short) bytes ;;
	esac
}

# row NAME COMMAND...: the command prints what an operation cost
row() {
	local name=$1 cost before=() after=()
	shift
	wanted "$name" || return 0
	echo "@$name, $t, round $round of $rounds"
	read -ra before <<<"$(way)"
	cost=$("$@")
	if [ -z "$cost" ]; then
		echo "programs: $t: $name failed" >&2
		failed=1
		return 0
	fi
	echo "= $t $name $cost"
	read -ra after <<<"$(way)"
	case $t in
	toe)
		awk -v target=$((after[0] - before[0])) -v all=$((after[1] - before[1])) -v name="$name" '
			BEGIN { if (all) printf "= share %s %.1f\n", name, 100 * target / all }'
		;;
	toe-short)
		awk -v passed=$((after[0] - before[0])) -v wire=$((after[1] - before[1])) -v name="$name" '
			BEGIN { if (passed + wire) printf "= passed %s %.1f\n", name, 100 * passed / (passed + wire) }'
		;;
	esac
}

# Nanoseconds per operation from operations per second.
inverse() { awk '$1 > 0 { printf "%.1f\n", 1e9 / $1 }'; }

# have ROWS PROGRAM...: whether this machine has them; said once
have() {
	local rows=$1 program name
	shift
	for program; do
		command -v "$program" >/dev/null && continue
		for name in $rows; do
			[ -n "$said" ] || ! wanted "$name" || echo "- $name ${program##*/} is not installed"
		done
		return 1
	done
}

any() { # ROW...: whether one of them is wanted
	local name
	for name; do wanted "$name" && return 0; done
	return 1
}

# ---- redis

redis_at=()

redis_bench() { # CLIENTS PIPELINE REQUESTS
	in_c redis-benchmark "${redis_at[@]}" -c "$1" -P "$2" -n "$(n "$3")" -t get --csv 2>/dev/null |
		tr -d '"' | awk -F, '$1 == "GET" { print $2 }' | inverse
}

redis_ready() { [ "$(in_c redis-cli "${redis_at[@]}" ping 2>/dev/null)" = PONG ]; }

redis() {
	local rows="redis-c1 redis-c1-p16 redis-c50 redis-c50-p16" listen=(--bind 192.0.2.2)
	# shellcheck disable=SC2086
	any $rows || return 0
	have "$rows" redis-server redis-benchmark redis-cli || return 0
	redis_at=(-h 192.0.2.2)
	if [ "$t" = unix ]; then
		listen=(--port 0 --unixsocket $dir/redis.sock)
		redis_at=(-s $dir/redis.sock)
	fi
	serve redis redis_ready redis-server "${listen[@]}" --save '' --appendonly no \
		--protected-mode no --dir $dir || { failed=1; return; }
	# What redis-benchmark asks for.
	in_c redis-cli "${redis_at[@]}" set key:__rand_int__ "$(printf '%064d' 0)" >/dev/null
	row redis-c1 redis_bench 1 1 10000
	row redis-c1-p16 redis_bench 1 16 50000
	row redis-c50 redis_bench 50 1 20000
	row redis-c50-p16 redis_bench 50 16 50000
	end_servers
}

# ---- nginx

web() { # WRK'S OPTIONS
	in_c wrk -t 1 -c 10 -d 1s "$@" http://192.0.2.2:8080/file 2>&1 |
		awk '/Socket errors|Non-2xx/ { bad = 1 } $1 == "Requests/sec:" && !bad { print $2 }' | inverse
}

web_ready() { listening 8080; }

nginx_wrk() {
	[ "$t" = unix ] && return 0
	any nginx nginx-close || return 0
	have "nginx nginx-close" nginx wrk || return 0
	mkdir -p $dir/www
	head -c 1024 /dev/zero | tr '\0' x >$dir/www/file
	cat >$dir/nginx.conf <<-END
		daemon off;
		master_process off;
		user root;
		pid $dir/nginx.pid;
		error_log $dir/nginx.err;
		events { worker_connections 512; }
		http {
			access_log off;
			sendfile on;
			keepalive_requests 1000000000;
			client_body_temp_path $dir/b; proxy_temp_path $dir/p;
			fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
			server { listen 192.0.2.2:8080; root $dir/www; }
		}
	END
	serve nginx web_ready nginx -c $dir/nginx.conf -e $dir/nginx.err || { failed=1; return; }
	row nginx web
	row nginx-close web -H 'Connection: close'
	end_servers
}

# ---- PostgreSQL

pg=$(echo /usr/lib/postgresql/*/bin)
pg=${pg##* }
data=$dir/pg

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }

pg_ready() { "$pg/pg_isready" -q -h $data -U postgres; }

pg_bench() {
	local host=192.0.2.2
	[ "$t" = unix ] && host=$data
	in_c "$pg/pgbench" -h $host -U postgres -S -n -c 1 -M prepared -t "$(n 3000)" postgres 2>/dev/null |
		awk '$1 == "tps" { print $3 }' | inverse
}

postgres() {
	wanted pgbench || return 0
	have pgbench "$pg/postgres" "$pg/initdb" "$pg/pgbench" setpriv || return 0
	if [ ! -d $data ]; then
		echo "@pgbench: a data base"
		install -d -o postgres $data
		as_postgres "$pg/initdb" -D $data/db -A trust -N --locale=C >$dir/initdb.log 2>&1 ||
			{ tail -5 $dir/initdb.log >&2; failed=1; return; }
		echo "host all all 192.0.2.0/24 trust" >>$data/db/pg_hba.conf
	fi
	local listen=192.0.2.2
	[ "$t" = unix ] && listen=
	# shellcheck disable=SC2086
	serve postgres pg_ready setpriv --reuid postgres --regid postgres --clear-groups \
		"$pg/postgres" -D $data/db -c listen_addresses=$listen -c unix_socket_directories=$data \
		-c fsync=off -c autovacuum=off || { failed=1; return; }
	[ -e $data/filled ] ||
		"$pg/pgbench" -h $data -U postgres -i -q postgres >$data/filled 2>&1
	row pgbench pg_bench
	end_servers
}

# ---- a call and its answer, 1 KiB each, by epoll

rpc_bench() { # CONNECTIONS CALLS
	local how=tcp
	[[ $t == toe* ]] && how=ulp
	[ "$t" = unix ] && how=unix
	if [ "$t" != unix ]; then
		export BENCH_CLIENT_NS=/run/netns/c-${t%-short} BENCH_SERVER_NS=/run/netns/s-${t%-short}
	else
		export BENCH_CLIENT_NS='' BENCH_SERVER_NS=''
	fi
	BENCH_CONNS=$1 BENCH_ADDR=192.0.2.2 "$bench" rpc $how 1024 "$(n "$2")" 1 |
		awk '$1 == "round" { print $2 }'
}

rpc() {
	row rpc-1 rpc_bench 1 10000
	row rpc-100 rpc_bench 100 20000
	row rpc-1000 rpc_bench 1000 20000
}

# ---- iperf3

iperf_ready() { listening 5201; }

iperf_bench() {
	in_c iperf3 -c 192.0.2.2 -n "$(n 256)M" -J | awk -F'[:,]' '
		/"sum_received"/ { sum = 1 }
		sum && /"seconds"/ { seconds = $2 }
		sum && /"bytes"/ { printf "%.1f\n", 1e9 * seconds / ($2 / 1024); exit }'
}

iperf() {
	[ "$t" = unix ] && return 0
	wanted iperf3 || return 0
	have iperf3 iperf3 || return 0
	serve iperf3 iperf_ready iperf3 -s -1 || { failed=1; return; }
	row iperf3 iperf_bench
	end_servers
}

mkdir -p $dir
chmod 755 $dir
pairs "$@"
if [ -e /run/netns/c-toe ]; then
	ip netns exec c-toe sh -c 'echo auto >/sys/class/net/b0/toe/policy'
	ip netns exec s-toe sh -c 'echo auto >/sys/class/net/b1/toe/policy'
fi
said=
for ((round = 1; round <= rounds; round++)); do
	for t; do
		case $t in
		toe) short_cut off ;;
		toe-short) short_cut auto ;;
		esac
		redis
		nginx_wrk
		postgres
		rpc
		iperf
		said=1
	done
done
exit $failed
