// SPDX-License-Identifier: GPL-2.0

#include "sock.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

void toe_trace_offload(u64 hwid)
{
	trace_toe_offload(hwid);
}

void toe_trace_special(u64 hwid, const char *name, size_t len)
{
	trace_toe_special(hwid, name, len);
}

void toe_trace_resync(u64 hwid, u32 rx_frames, u32 tx_frames)
{
	trace_toe_resync(hwid, rx_frames, tx_frames);
}

void toe_trace_upload(u64 hwid, const char *name, size_t len)
{
	trace_toe_upload(hwid, name, len);
}
