// SPDX-License-Identifier: GPL-2.0
/*
 * What the table says of a connection is what its socket says, whenever nothing is under
 * way: the sequence numbers by TCP_REPAIR, which takes the connection back, so that the
 * table was read before; the rest by TCP_INFO. And it is what has been moved meanwhile.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <linux/tcp.h>

struct row {
	char mode[16];
	uint32_t snd_una, snd_nxt, snd_wnd, rcv_nxt, rcv_wnd, srtt_us, rttvar_us, unacked;
	uint64_t acked, received, rx_bytes, tx_bytes;
};

static struct row read_row(uint64_t hwid)
{
	unsigned long long found;
	struct row r = { 0 };
	char line[512];
	FILE *f = fopen(p.table, "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %*s %*s %15s %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
			   " %" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu64 " %*u %" SCNu64
			   " %*u %" SCNu64 " %*u %" SCNu32 " %" SCNu32, &found, r.mode,
			   &r.snd_una, &r.snd_nxt, &r.snd_wnd, &r.rcv_nxt, &r.rcv_wnd, &r.srtt_us,
			   &r.acked, &r.received, &r.rx_bytes, &r.tx_bytes, &r.rttvar_us,
			   &r.unacked) == 14 && found == hwid) {
			fclose(f);
			return r;
		}
	}
	fatal("no hwid %#" PRIx64 " in %s", hwid, p.table);
}

static struct tcp_info info(void)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);

	if (getsockopt(p.c, IPPROTO_TCP, TCP_INFO, &i, &len))
		fatal("TCP_INFO: %m");
	return i;
}

/* All is acknowledged, in both directions, and no ACK is delayed any more. */
static struct tcp_info at_rest(void)
{
	struct tcp_info i;
	int tries = 0;

	do {
		sleep_ms(300);
		i = info();
	} while ((i.tcpi_unacked || i.tcpi_notsent_bytes) && ++tries < 30);
	if (tries == 30)
		fatal("what was sent is not acknowledged");
	return i;
}

static void same(const char *what, uint64_t table, uint64_t socket)
{
	if (table != socket)
		fatal("%s: %" PRIu64 " in the table, expected %" PRIu64, what, table, socket);
}

static uint32_t repaired(int queue)
{
	uint32_t seq;
	socklen_t len = sizeof(seq);

	if (setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) ||
	    getsockopt(p.c, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &len))
		fatal("TCP_QUEUE_SEQ: %m");
	return seq;
}

int table(const char *name)
{
	struct tcp_repair_window window;
	socklen_t len = sizeof(window);
	struct tcp_info i, first_info;
	int round, on = 1, off = -1;
	uint64_t hwid, cs, sc;
	struct row r, first;
	char mode[16];

	if (!p.table || strcmp(name, "agree"))
		return 2;
	establish();
	exchange(3);
	offload(p.c);
	first_info = at_rest();
	hwid = entry(mode);
	first = read_row(hwid);
	/* What was handed over: the target has had no ACK yet. */
	same("srtt_us at the hand-over", first.srtt_us, first_info.tcpi_rtt);
	cs = p.pos_cs;
	sc = p.pos_sc;
	for (round = 1; round <= 4; round++) {
		exchange(round * 3);
		i = at_rest();
		r = read_row(hwid);
		if (strcmp(r.mode, "delegated"))
			fatal("mode %s at rest", r.mode);
		same("snd_una at rest", r.snd_una, r.snd_nxt);
		same("bytes that snd_nxt moved", r.snd_nxt - first.snd_nxt, p.pos_cs - cs);
		same("bytes that rcv_nxt moved", r.rcv_nxt - first.rcv_nxt, p.pos_sc - sc);
		same("acked", r.acked - first.acked, i.tcpi_bytes_acked - first_info.tcpi_bytes_acked);
		same("received", r.received - first.received,
		     i.tcpi_bytes_received - first_info.tcpi_bytes_received);
		same("snd_wnd", r.snd_wnd, i.tcpi_snd_wnd);
		same("srtt_us", r.srtt_us, i.tcpi_rtt);
		same("rttvar_us", r.rttvar_us, i.tcpi_rttvar);
		same("unacked at rest", r.unacked, i.tcpi_unacked);
		if (r.tx_bytes - first.tx_bytes < p.pos_cs - cs ||
		    r.rx_bytes - first.rx_bytes < p.pos_sc - sc)
			fatal("the target moved %" PRIu64 " and %" PRIu64 " bytes",
			      r.tx_bytes - first.tx_bytes, r.rx_bytes - first.rx_bytes);
	}
	if (setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)))
		lacking("TCP_REPAIR");
	same("snd_nxt", r.snd_nxt, repaired(TCP_SEND_QUEUE));
	same("rcv_nxt", r.rcv_nxt, repaired(TCP_RECV_QUEUE));
	if (getsockopt(p.c, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &len))
		fatal("TCP_REPAIR_WINDOW: %m");
	same("snd_wnd", r.snd_wnd, window.snd_wnd);
	same("rcv_wnd", r.rcv_wnd, window.rcv_wnd);
	if (setsockopt(p.c, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)))
		fatal("leaving TCP_REPAIR: %m");
	exchange(4);
	return 0;
}
