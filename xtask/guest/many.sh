#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many connections at a time, inside the guest: what each of them costs when there are a
# hundredth, a tenth, and all of them. Prints `= COUNT WORKLOAD VALUE`.
#
#   many.sh MANY ROUNDS SCALE TRANSPORT...

many=$1
rounds=$2
scale=$3

. "$(dirname "$0")/pairs.sh"
tracing=/run/tracing

# The worker that looks for filters: mean time of a run in us, while all are idle.
scan() {
	echo workqueue:workqueue_execute_start workqueue:workqueue_execute_end \
		| tr ' ' '\n' >$tracing/set_event
	sleep 2
	echo >$tracing/set_event
	awk '{
		for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) at = $i + 0
	}
	/workqueue_execute_start:/ && /FilterScan/ { start = at }
	/workqueue_execute_end:/ && /FilterScan/ && start {
		sum += at - start; runs++; start = 0
	}
	END { if (runs) printf "scan_us %.2f\n", sum / runs * 1e6 }' $tracing/trace
}

if [ "$rounds" = scan ]; then
	scan
	exit
fi

mkdir -p $tracing && mount -t tracefs t $tracing || exit 1
echo 16384 >$tracing/buffer_size_kb
pairs toe
export BENCH_ADDR=192.0.2.2 BENCH_DEV=b0
export BENCH_CLIENT_NS=/run/netns/c-toe BENCH_SERVER_NS=/run/netns/s-toe
for end in c-toe:b0 s-toe:b1; do
	ip netns exec "${end%:*}" sh -c "echo $((1 << 17)) >/sys/class/net/${end#*:}/toe/capacity" ||
		exit 1
done
for ((round = 1; round <= rounds; round++)); do
	for count in 1000 10000 100000; do
		count=$(n $count)
		echo "@$count connections, round $round of $rounds"
		# /sys shows the devices of the namespace it was mounted in.
		ip netns exec c-toe "$many" "$count" "bash $0 $many scan" >/run/many.out || exit 1
		while read -r word value; do
			echo "= $count $word $value"
		done </run/many.out
	done
done
