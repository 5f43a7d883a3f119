/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: what happens to a connection between host stack and target. The
 * hwid leads to the tuple, by the table in debugfs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM toe

#if !defined(TOE_HELPERS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TOE_HELPERS_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(toe_offload,
	TP_PROTO(u64 hwid),
	TP_ARGS(hwid),
	TP_STRUCT__entry(
		__field(u64, hwid)
	),
	TP_fast_assign(
		__entry->hwid = hwid;
	),
	TP_printk("hwid=%#llx", __entry->hwid)
);

DECLARE_EVENT_CLASS(toe_why,
	TP_PROTO(u64 hwid, const char *why, size_t len),
	TP_ARGS(hwid, why, len),
	TP_STRUCT__entry(
		__field(u64, hwid)
		__string_len(why, why, len)
	),
	TP_fast_assign(
		__entry->hwid = hwid;
		__assign_str(why);
	),
	TP_printk("hwid=%#llx reason=%s", __entry->hwid, __get_str(why))
);

/* A frame or a condition that the target leaves to the host stack. */
DEFINE_EVENT(toe_why, toe_special,
	TP_PROTO(u64 hwid, const char *why, size_t len),
	TP_ARGS(hwid, why, len));

DEFINE_EVENT(toe_why, toe_upload,
	TP_PROTO(u64 hwid, const char *why, size_t len),
	TP_ARGS(hwid, why, len));

/* The target goes on; frames that the host stack handled since the special case. */
TRACE_EVENT(toe_resync,
	TP_PROTO(u64 hwid, u32 rx_frames, u32 tx_frames),
	TP_ARGS(hwid, rx_frames, tx_frames),
	TP_STRUCT__entry(
		__field(u64, hwid)
		__field(u32, rx_frames)
		__field(u32, tx_frames)
	),
	TP_fast_assign(
		__entry->hwid = hwid;
		__entry->rx_frames = rx_frames;
		__entry->tx_frames = tx_frames;
	),
	TP_printk("hwid=%#llx rx_frames=%u tx_frames=%u", __entry->hwid,
		  __entry->rx_frames, __entry->tx_frames)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
