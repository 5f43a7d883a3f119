#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The rules of a device: loading, each kind of test and setting, hits, the dry run.

. "$(dirname "$0")/lib.sh"

PORT=7100

# rules a|b: loads what comes on standard input.
rules() { knob_text "$1" rules; }
no_rules() { echo none | rules "$1" || fail "rules cannot be unloaded"; }
# What the last text or dry run was told.
error_of() { knob "$1" rules_error; }
# hits a|b LINE: connections that the rule of that line decided on; -: none did.
hits() { knob "$1" rules_hits | awk -v line="$2" '$2 == line { print $1 }'; }
dry() { # dry a|b DESCRIPTION: the answer
	knob "$1" rules_test "$2" || true
	knob "$1" rules_test
}

# A pair with policy ulp on both ends, and a server behind it.
begin() {
	need_toe
	local end
	for end in a b; do
		no_rules $end
		knob $end policy ulp && knob $end min_bytes 0 && knob $end min_segments 8 ||
			fail "policy"
	done
	chmod 755 "$WORK"
	rm -f "$WORK/go" "$WORK/ready"
	# The server stays for the cases that follow.
	if [ -z "$(in_b ss -ltnH "sport = :$PORT")" ]; then
		in_b "$BIN/toe_conn" one listen=:: port=$PORT ready="$WORK/ready" >/dev/null &
		until_ok 60 test -e "$WORK/ready" || fail "no server"
	fi
	snap a
}

# asks ok|refused|... PROPERTY=VALUE...: one connection from a asks for the offload.
asks() {
	local want=$1 got
	shift
	[ "$want" = refused ] && want=EOPNOTSUPP
	got=$(in_a "$BIN/toe_conn" one to=$B4 port=$PORT ask=1 "$@") || fail "a connection with $*"
	expect_eq "$got" "$want" "answer to a connection with $*"
}

# The text is kept as it was written, as long as no other one replaces it.
t_load() {
	begin
	expect_eq "$(knob a rules)" none "rules of a new device"
	expect_eq "$(knob a rules_error)" none "error of a new device"
	printf '# Mine\nport 80 => deny\nany => offload\nend\n' >"$WORK/rules"
	rules a <"$WORK/rules" || fail "rules: $(error_of a)"
	knob a rules | cmp - "$WORK/rules" || fail "the text is another one: $(knob a rules)"
	expect_eq "$(knob b rules)" none "rules of the other end"
	expect_eq "$(hits a 2) $(hits a 3) $(hits a -)" "0 0 0" "hits of new rules"
	asks ok
	expect_eq "$(hits a 2) $(hits a 3) $(hits a -)" "0 1 0" "hits"
	echo end | rules a || fail "no rules at all: $(error_of a)"
	asks refused
	expect_eq "$(delta a toe_refuse_no_rule)" 1 "refusals by no_rule"
	expect_eq "$(hits a -)" 1 "connections that meet none of no rules"
	no_rules a
	asks ok
}

# An error names its place, and the old rules stay.
t_errors() {
	begin
	printf 'any => deny\nend\n' | rules a || fail "$(error_of a)"
	local text place
	while IFS='|' read -r place text; do
		# shellcheck disable=SC2059
		printf "$text" | rules a 2>/dev/null && fail "accepted: $text"
		[[ $(error_of a) == "$place: "* ]] || fail "$text: $(error_of a), expected $place"
		expect_eq "$(knob a rules)" "$(printf 'any => deny\nend')" "rules after $text"
	done <<-'END'
		1:6|port http => offload\nend\n
		2:8|any => deny\nany => perhaps\nend\n
		2:1|any => offload\n
		1:8|cgroup /no/such/place => deny\nend\n
		1:1|port_min 3 => deny\nend\n
		1:27|any => offload after_time 5\nend\n
		2:1|end\nany => deny\n
		1:9|((((((((( any ))))))))) => deny\nend\n
	END
	expect_eq "$(error_of a | cut -d, -f1)" \
		"1:9: too many parentheses in each other: \`(\`" "what is said"
	printf 'any => \377\nend\n' | rules a 2>/dev/null && fail "no UTF-8 is accepted"
	# Only an administrator.
	in_a setpriv --reuid 1 --clear-groups sh -c "echo none >/sys/class/net/$DA/toe/rules" \
		2>/dev/null && fail "anybody may write rules"
	asks refused
	expect_eq "$(delta a toe_refuse_rule)" 1 "refusals by rule"
	printf 'any => offload\nend\n' | rules a || fail "$(error_of a)"
	expect_eq "$(error_of a)" none "error after a good text"
}

# More than a page, which sysfs writes and reads piece by piece.
t_long() {
	local i
	begin
	for ((i = 1; i <= 100; i++)); do
		echo "passive and (port $i or lport 1000-1999) and remote 10.$i.0.0/16 and not uid 0 => deny"
	done >"$WORK/rules"
	echo "any => offload" >>"$WORK/rules"
	cp "$WORK/rules" "$WORK/cut"
	echo end >>"$WORK/rules"
	expect_ge "$(wc -c <"$WORK/rules")" 8192 "length of the text"
	rules a <"$WORK/rules" || fail "100 rules: $(error_of a)"
	knob a rules | cmp - "$WORK/rules" || fail "the text is another one"
	expect_eq "$(knob a rules_hits | wc -l)" 102 "lines of hits"
	asks ok
	expect_eq "$(hits a 101)" 1 "hits of the last rule"
	# Without an end, and cut in pieces, nothing happens to them.
	rules a <"$WORK/cut" 2>/dev/null && fail "a text without end is accepted"
	expect_eq "$(error_of a)" \
		"102:1: expected a rule or \`end\`, found the end of the text" "error"
	in_a dd if="$WORK/rules" of=/sys/class/net/$DA/toe/rules bs=1000 2>/dev/null &&
		fail "pieces of less than a page are accepted"
	head -c 4096 "$WORK/rules" | rules a || fail "the first page: $(error_of a)"
	[[ $(error_of a) == "4096 bytes of a text without"* ]] || fail "$(error_of a)"
	knob a rules | cmp - "$WORK/rules" || fail "the rules are others"
	# Whatever the length: one that ends with a page, and one whose end is in the page.
	for i in 4096 4097; do
		{
			printf 'any => offload\n#'
			head -c $((i - 21)) /dev/zero | tr '\0' x
			printf '\nend\n'
		} >"$WORK/page"
		expect_eq "$(wc -c <"$WORK/page")" $i "length of the text"
		rules a <"$WORK/page" || fail "$i bytes: $(error_of a)"
		knob a rules | cmp - "$WORK/page" || fail "$i bytes: another text"
	done
	{ cat "$WORK/page"; head -c 40000 /dev/zero | tr '\0' '\n'; } | rules a 2>/dev/null
	head -c 40000 /dev/zero | tr '\0' '#' | rules a 2>/dev/null && fail "40000 bytes are accepted"
	expect_eq "$(error_of a)" "the text is longer than 32768 bytes" "error"
}

# Each line: properties of the connection|tests that it meets|tests that it does not.
t_tests() { # WHAT
	local line=0 with met not
	begin
	while IFS='|' read -r what with met not; do
		[ "$what" = "$1" ] || continue
		line=$((line + 1))
		printf '%s => deny\n%s => offload\nend\n' "$not" "$met" | rules a || fail "$(error_of a)"
		# shellcheck disable=SC2086
		asks ok $with
		expect_eq "$(hits a 1) $(hits a 2)" "0 1" "hits of '$not' and '$met'"
		printf 'not (%s) => deny\nnot (%s) => offload\nend\n' "$met" "$not" | rules a ||
			fail "$(error_of a)"
		# shellcheck disable=SC2086
		asks ok $with
	done <<-END
		address||local $A4 and remote 192.0.2.0/24 and address $B4|local $B4 or remote 192.0.3.0/24
		address||not address 2001:db8::/32|address 198.51.100.0/24,203.0.113.0/24
		address|to=$B6|remote $B6 and local 2001:db8::/32|address 192.0.2.0/24
		address|to=::ffff:$B4|remote $B4|remote $B6
		ports||rport $PORT|lport $PORT
		ports||port 1-10,$((PORT - 1))-$((PORT + 1))|rport 1-$((PORT - 1)) or port $((PORT + 1))
		interface||interface $DA|interface $DB,eth0
		vlan||vlan none|vlan 1-4094
		mark|mark=0x1f|mark 31 and mark 0x10/0x10|mark 0 or mark 0/1
		mark||mark 0|mark 1/1
		uid|uid=1234|uid 1000-1999|uid 0
		uid||uid 0|uid 1-65535
		process|name=toe-a|process toe-b,toe-a|process toe_conn
		process|name=with_space|process "with_space"|process toe-a
		direction||active|passive or listen $PORT
		direction||request and not passive|not request
		bytes|bytes=30000|bytes > 20000 and bytes < 64k|bytes <= 20000 or bytes >= 1m
		logic||active and (port 1 or not (port 2 or port 3)) and any|active and ! active or port 1
	END
	expect_ge $line 1 "cases of $1"
}

# The end that accepts.
t_passive() {
	local got backlog server client
	begin
	printf 'listen 7200 and passive and lport 7200 => offload\nend\n' | rules b || fail "$(error_of b)"
	for backlog in 1 128; do
		rm -f "$WORK/ready"
		bg in_b "$BIN/toe_conn" one listen=:: port=7200 ready="$WORK/ready" backlog=$backlog \
			ask=1 hold="$WORK/go" >"$WORK/server"
		server=$!
		until_ok 30 test -e "$WORK/ready" || fail "no server"
		bg in_a "$BIN/toe_conn" one to=$B4 port=7200 hold="$WORK/go" >/dev/null
		client=$!
		until_ok 30 test -s "$WORK/server" || fail "no connection"
		read -r got <"$WORK/server"
		expect_eq "$got" ok "answer to the accepted connection"
		: >"$WORK/go"
		wait $server $client
		rm -f "$WORK/go" "$WORK/server"
	done
	expect_eq "$(hits b 1)" 2 "hits"
}

t_cgroup() {
	local cg=/sys/fs/cgroup/toe-$$
	begin
	mkdir -p "$cg/sub/deep" "$cg-other" 2>/dev/null && [ -e "$cg/sub/cgroup.procs" ] ||
		skip "no cgroup2 file system"
	printf 'cgroup /toe-%s-other => deny\ncgroup /toe-%s/sub => offload\nend\n' $$ $$ | rules a ||
		fail "$(error_of a)"
	in_cgroup "$cg/sub" asks ok
	in_cgroup "$cg/sub/deep" asks ok
	in_cgroup "$cg" asks refused
	in_cgroup "$cg-other" asks refused
	expect_eq "$(hits a 1) $(hits a 2) $(hits a -)" "1 2 1" "hits"
	# Another one of that name is another one.
	rmdir "$cg/sub/deep" "$cg/sub" && mkdir "$cg/sub"
	in_cgroup "$cg/sub" asks refused
	rmdir "$cg/sub" "$cg" "$cg-other"
	expect_eq "$(delta a toe_refuse_no_rule)" 2 "refusals by no_rule"
	printf 'cgroup / => offload\nend\n' | rules a || fail "$(error_of a)"
	asks ok
}
in_cgroup() { # DIR COMMAND...
	echo $BASHPID >"$1/cgroup.procs" || fail "cannot enter $1"
	shift
	"$@"
	echo $BASHPID >/sys/fs/cgroup/cgroup.procs
}

# By policy auto: at establishment, after bytes, after a time; bytes and age as tests.
auto() {
	begin
	knob a policy auto || fail "policy auto"
	rules a || fail "$(error_of a)"
	hold "$@"
}
# A connection with these properties that stays until there is the file go.
hold() {
	rm -f "$WORK/go"
	# Not the one before's.
	: >"$WORK/ends"
	bg in_a "$BIN/toe_conn" one to=$B4 port=$PORT hold="$WORK/go" "$@" >"$WORK/ends"
	held=$!
	until_ok 30 test -s "$WORK/ends" || fail "no connection"
}
auto_end() {
	: >"$WORK/go"
	wait $held || fail "the connection failed"
	knob a policy ulp
	no_rules a
	expect_no_entries
}
taken() { [ "$(offloads a)" = 1 ]; }

t_at_establishment() {
	printf 'rport %s => offload at_establishment\nend\n' $PORT | auto
	until_ok 10 taken || fail "it was not offloaded"
	# One that was taken back is decided on again.
	expect_eq "$(hits a 1)" $((1 + $(delta a toe_upload_contended))) "hits"
	auto_end
	printf 'rport %s => deny\nany => offload\nend\n' $PORT | auto
	pause 2
	expect_eq "$(delta a toe_offloads)" 0 "offloads"
	expect_eq "$(delta a toe_refuse_rule) $(hits a 1) $(hits a 2)" "1 1 0" "refusals and hits"
	auto_end
}

t_after_bytes() {
	printf 'any => offload after_bytes 20000\nend\n' | auto bytes=19000
	pause 2
	expect_eq "$(delta a toe_offloads) $(delta a toe_refuse_min_bytes)" "0 1" "offloads, refusals"
	expect_eq "$(hits a 1)" 1 "hits of a rule that waits"
	auto_end
	printf 'any => offload after_bytes 20000\nend\n' | auto bytes=20000
	until_ok 10 taken || fail "it was not offloaded"
	auto_end
	# Without such a setting the device's own limits apply.
	printf 'any => offload\nend\n' | auto
	pause 2
	expect_eq "$(delta a toe_offloads) $(delta a toe_refuse_min_segments)" "0 1" "offloads, refusals"
	auto_end
	# An application that asks does not wait.
	printf 'any => offload after_bytes 1g after_time 1h\nend\n' | rules a || fail "$(error_of a)"
	asks ok
}

t_after_time() {
	local start=$SECONDS
	printf 'any => offload after_time 4s\nend\n' | auto
	until_ok 20 taken || fail "it was not offloaded"
	expect_ge $((SECONDS - start)) 3 "seconds before the offload"
	expect_eq "$(delta a toe_refuse_min_age) $(hits a 1)" "1 1" "refusals and hits"
	auto_end
}

# A rule that is not met yet may be later.
t_later_rule() {
	printf 'age < 3s => deny\nbytes > 1g => deny\nactive => offload at_establishment\nend\n' | auto
	until_ok 20 taken || fail "it was not offloaded"
	expect_eq "$(delta a toe_refuse_rule_wait)" 1 "refusals by rule_wait"
	expect_eq "$(hits a 1) $(hits a 2) $(hits a 3)" "1 0 1" "hits"
	auto_end
	# The name of the process is not known, nor is it another.
	printf 'process x => deny\nnot process x => deny\nend\n' | auto
	pause 1
	expect_eq "$(delta a toe_refuse_no_rule) $(hits a -)" "1 1" "refusals and hits"
	auto_end
}

# A rule's limits are those of its connections alone: urgent data is a special case,
# for the one an upload, for the other not.
t_limits() {
	local uid
	local -a pids=()
	begin
	printf 'uid 1 => offload legacy_falls 0\nany => offload\nend\n' | rules a || fail "$(error_of a)"
	for uid in 1 0; do
		snap a
		bg in_a "$BIN/toe_conn" one to=$B4 port=$PORT ask=1 urgent=1 uid=$uid \
			hold="$WORK/go" >"$WORK/out$uid"
		pids+=($!)
		until_ok 30 grep -q $PORT "$WORK/out$uid" || fail "no connection"
		expect_eq "$(head -1 "$WORK/out$uid")" ok "answer"
		expect_eq "$(delta a toe_special_urg)" 1 "special cases"
		expect_eq "$(delta a toe_upload_legacy_often)" $uid "uploads of uid $uid"
	done
	: >"$WORK/go"
	wait "${pids[@]}"
	expect_no_entries
}

t_user_buffer() {
	begin
	echo 'any => offload user_buffer off
	end' | rules a || fail "$(error_of a)"
	probe buffer waitall_small 4
	expect_eq "$(delta a toe_buf_posted)" 0 "buffers posted, though the rule says off"
	knob a user_buffer_min 0
	echo 'any => offload user_buffer 16k
	end' | rules a || fail "$(error_of a)"
	probe buffer waitall_small 4
	expect_ge "$(delta a toe_buf_posted)" 1 "buffers posted"
	knob a user_buffer_min 16384
	no_rules a
}

# The dry run: of descriptions, and of a connection that exists.
t_dry_run() {
	local from="local 192.0.2.1 lport 40000 remote 192.0.2.2" lport held
	begin
	expect_eq "$(dry a "$from rport 443 request")" "offload; there are no rules" "answer"
	expect_eq "$(dry a "$from rport 443")" "refuse: policy; there are no rules" "answer"
	knob a policy auto
	printf 'port 25 => deny\nport 443 and (uid 33 or mark 7) => offload after_bytes 64k\nend\n' |
		rules a || fail "$(error_of a)"
	expect_eq "$(dry a "$from rport 25")" "refuse: rule; rule in line 1: port 25 => deny" "answer"
	expect_eq "$(dry a "$from rport 443 uid 33 bytes 64k")" \
		"offload; rule in line 2: port 443 and (uid 33 or mark 7) => offload after_bytes 64k" "answer"
	expect_eq "$(dry a "$from rport 443 mark 0x7" | cut -d';' -f1)" "refuse: min_bytes" "answer"
	expect_eq "$(dry a "$from rport 443 uid 34")" "refuse: no_rule; no rule is met" "answer"
	expect_eq "$(dry a "local 192.0.2.1 remote :: uid 34" 2>/dev/null)" \
		"1:33: addresses of two families: the end of the text" "answer"
	expect_eq "$(dry a "$from rport none" 2>/dev/null)" \
		"1:52: expected a port, found \`none\`" "answer"
	expect_eq "$(hits a 1) $(hits a 2) $(hits a -)" "0 0 0" "hits after dry runs"
	expect_eq "$(delta a toe_refusals)" 0 "refusals after dry runs"
	# A connection that exists, with its own facts.
	printf 'rport %s and mark 5 => offload\nend\n' $PORT | rules a || fail "$(error_of a)"
	knob a policy ulp
	hold mark=5
	read -r _ lport _ <"$WORK/ends"
	from="local $A4 lport $lport remote $B4 rport $PORT"
	expect_eq "$(dry a "socket $from request")" \
		"offload; rule in line 1: rport $PORT and mark 5 => offload" "answer"
	expect_eq "$(dry a "socket $from")" "refuse: policy; no rule is met" "answer"
	tc -n $A qdisc replace dev $DA root pfifo limit 1000 2>/dev/null &&
		expect_eq "$(dry a "socket $from request" | cut -d';' -f1)" "refuse: qdisc" "answer"
	tc -n $A qdisc del dev $DA root 2>/dev/null
	expect_eq "$(delta a toe_offloads) $(delta a toe_refusals)" "0 0" "decisions"
	: >"$WORK/go"
	wait $held
	expect_eq "$(dry a "socket local $A4 lport 1 remote $B4 rport 1" 2>/dev/null)" \
		"there is no such connection" "answer"
}

# Rules change under connections that come and go.
t_replaced_often() {
	local i transfer
	begin
	knob a policy auto
	need_xfer 4 --bytes "$(kib 4096)" --conns 8 --wait epoll --ulp both --ulp-try --flip 32k &
	transfer=$!
	echo $transfer >>"$WORK/pids"
	for ((i = 0; i < 40; i++)); do
		case $((i % 4)) in
		0) printf 'port 1-65535 and bytes > 1 => offload\nend\n' | rules a ;;
		1) echo end | rules a ;;
		2) no_rules a ;;
		3) printf 'cgroup / => deny\nany => offload after_time 1s\nend\n' | rules a ;;
		esac || fail "$(error_of a)"
		upload_all a
	done
	wait $transfer || fail "the transfer"
	no_rules a
	knob a policy ulp
	expect_no_entries
}

pair_up || skip_all "cannot set up the pair"
run load errors long "tests address" "tests ports" "tests interface" "tests vlan" "tests mark" \
	"tests uid" "tests process" "tests direction" "tests bytes" "tests logic" passive cgroup \
	at_establishment after_bytes after_time later_rule limits user_buffer dry_run replaced_often
