# SPDX-License-Identifier: GPL-2.0
# Sourced by the tests that run the kernel tree's own tests of network drivers.

. "$(dirname "$0")/lib.sh"

KSRC=${KSRC:-$TOE_KSRC}


# $KSRC is a kernel source directory. Its tests are run from a copy, since they
# write beside themselves.
tree=$WORK/tree
tests=$tree/tools/testing/selftests

# csum's receiver has the time that its sender takes, see csum_wait.h. Its tests wait 20
# seconds for it.
give_time() { # DIRECTORY
	[ -x "$1/csum" ] || return 0
	mv "$1/csum" "$1/csum.program"
	cat >"$1/csum" <<-END
		#!/bin/bash
		export CSUM_SENT=$WORK/csum.sent
		case " \$* " in
		*' -R '*) rm -f "\$CSUM_SENT"; exec "\$0.program" "\$@" -L 18 ;;
		esac
		"\$0.program" "\$@"
		rc=\$?
		: >"\$CSUM_SENT"
		exit \$rc
	END
	chmod +x "$1/csum"
}

prepare() {
	local d
	[ -n "$KSRC" ] || skip_all "KSRC does not name a kernel source directory"
	[ -d "$KSRC/tools/testing/selftests/drivers/net" ] || skip_all "no drivers/net tests in $KSRC"
	command -v python3 >/dev/null || skip_all "no program python3"
	mkdir -p "$tests" "$tree/tools/net" "$tree/Documentation/netlink"
	for d in drivers/net net/lib kselftest lib; do
		mkdir -p "$tests/$(dirname $d)"
		cp -r "$KSRC/tools/testing/selftests/$d" "$tests/$d" 2>/dev/null
	done
	cp "$KSRC"/tools/testing/selftests/*.sh "$KSRC"/tools/testing/selftests/lib.mk "$tests/" 2>/dev/null
	cp -r "$KSRC/tools/net/ynl" "$tree/tools/net/ynl"
	cp -r "$KSRC/Documentation/netlink/specs" "$tree/Documentation/netlink/specs"
	cp "$KSRC"/Documentation/netlink/*.yaml "$tree/Documentation/netlink/" 2>/dev/null
	# Programs that were built before the machine was started.
	for d in csum gro xdp_helper napi_id_helper; do
		[ -x "$BIN/$d" ] && cp "$BIN/$d" "$tests/net/lib/" && cp "$BIN/$d" "$tests/drivers/net/"
	done
	give_time "$tests/net/lib"
	if [ -f "$BIN/xdp_dummy.bpf.o" ]; then
		cp "$BIN/xdp_dummy.bpf.o" "$tests/net/lib/"
		xdp=
	else
		xdp=xdp
	fi
}

# The tests' own KTAP decides; a test that skips all is a skip.
# MISFIT: cases that cannot pass on any pair within one kernel (veth fails them
# too), as a pattern; they are named and do not count.
t_program() { # PATH [MISFIT [notso]]
	local dir rc misfits out=$WORK/ksft.out
	dir=$tests/$(dirname "$1")
	[ -f "$tests/$1" ] || skip "this kernel tree has no $1"
	python3 -c 'import yaml' 2>/dev/null || skip "python3 has no module yaml"
	# Each of them changes the devices as it likes.
	fresh
	if [ "$3" = notso ]; then
		in_a ethtool -K $DA tso off && in_b ethtool -K $DB tso off || fail "tso off"
	fi
	(
		cd "$dir" || exit 1
		export NETIF=$DA LOCAL_V4=$A4 REMOTE_V4=$B4 LOCAL_V6=$A6 REMOTE_V6=$B6
		export REMOTE_TYPE=netns REMOTE_ARGS=$B PYTHONDONTWRITEBYTECODE=1
		timeout "$((TOE_LIMIT - 20))" ip netns exec $A python3 "$(basename "$1")"
	) >"$out" 2>&1
	rc=$?
	cat "$out"
	grep -q 'ethtool: bad command line' "$out" &&
		skip "$(ethtool --version) lacks what $(basename "$1") asks of it: $(grep -m1 -o 'CMD: ethtool.*' "$out")"
	if [ $rc = 4 ] || grep -q '^1\.\.0' "$out"; then
		skip "$(grep -m1 -i 'skip' "$out" || tail -1 "$out")"
	fi
	note "$(basename "$1"): $(grep '^# Totals' "$out" | tail -1 | cut -c3-)"
	grep -i '# SKIP' "$out" | sed 's/^/# note: /' | head -20
	if [ -n "$2" ]; then
		misfits=$(grep '^not ok' "$out" | grep -E "$2" | cut -d' ' -f4 | tr '\n' ' ')
		[ -z "$misfits" ] || partial "not for a pair within one kernel: $misfits"
		sed -i -E "/^not ok.*($2)/d" "$out"
		# Its own code counts them in.
		[ -z "$misfits" ] || rc=0
	fi
	[ $rc = 0 ] && ! grep -q '^not ok' "$out" || fail "exit code $rc"
	grep -q '^ok .*' "$out" || fail "no result"
	grep '^ok ' "$out" | grep -qvi '# SKIP' || skip "all its cases skip: $(grep -m1 -i '# SKIP' "$out")"
}
