// SPDX-License-Identifier: GPL-2.0

//! The delegated state of a connection: the connection data storage of the
//! table (claims B 22-26, mission row 3).
//!
//! The target owns these fields while the connection is delegated; at hand-over
//! and upload they are copied from and to the fields of the same names in
//! `struct tcp_sock` unless noted.

use super::{
    rtt::Rtt,
    seq::Seq, //
};

/// Delegated protocol state of one connection.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ConnData {
    /// Oldest sequence number not yet acknowledged by the peer.
    pub snd_una: Seq,
    /// Next sequence number to send.
    pub snd_nxt: Seq,
    /// Window the peer offers, in bytes, counted from `snd_una`.
    pub snd_wnd: u32,
    /// Sequence number of the segment of the last window update.
    pub snd_wl1: Seq,
    /// Largest window the peer ever offered, in bytes.
    pub max_window: u32,
    /// Shift of the window in received segments, 0 to 14
    /// (`rx_opt.snd_wscale`).
    pub snd_wscale: u8,
    /// Shift of the window in sent segments, 0 to 14 (`rx_opt.rcv_wscale`).
    pub rcv_wscale: u8,
    /// Payload bytes of a full segment as sent, options deducted
    /// (`mss_cache`).
    pub mss: u32,
    /// Next sequence number expected from the peer.
    pub rcv_nxt: Seq,
    /// `rcv_nxt` at the last window offered.
    pub rcv_wup: Seq,
    /// Window offered last, in bytes, counted from `rcv_wup`.
    pub rcv_wnd: u32,
    /// Whether both ends send timestamps (`rx_opt.tstamp_ok`).
    pub ts_ok: bool,
    /// Timestamp to echo (`rx_opt.ts_recent`; RFC 7323 section 4.3).
    pub ts_recent: u32,
    /// When `ts_recent` was stored, in seconds (`rx_opt.ts_recent_stamp`).
    pub ts_recent_stamp: i64,
    /// Segments sent and not yet acknowledged. Set to 0 by the receive engine
    /// when all is acknowledged; between, who keeps the sent packets counts
    /// (see [`ConnData::segs_acked`]).
    pub packets_out: u32,
    /// Round trip time estimate.
    pub rtt: Rtt,
    /// Bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
}

impl ConnData {
    /// First sequence number that the peer's window does not allow
    /// (`tcp_wnd_end()`).
    #[inline]
    pub const fn wnd_end(&self) -> Seq {
        self.snd_una.add(self.snd_wnd)
    }

    /// Bytes that may be sent from `snd_nxt` on; 0 if the window is used up.
    #[inline]
    pub const fn send_window(&self) -> u32 {
        self.wnd_end().saturating_dist_from(self.snd_nxt)
    }

    /// Bytes the peer may still send into the window it was offered
    /// (`tcp_receive_window()`).
    #[inline]
    pub const fn receive_window(&self) -> u32 {
        self.rcv_wup
            .add(self.rcv_wnd)
            .saturating_dist_from(self.rcv_nxt)
    }

    /// Bytes sent and not yet acknowledged.
    #[inline]
    pub const fn bytes_in_flight(&self) -> u32 {
        self.snd_nxt.dist_from(self.snd_una)
    }

    /// Whether everything sent is acknowledged.
    #[inline]
    pub const fn all_acked(&self) -> bool {
        self.snd_una.0 == self.snd_nxt.0
    }

    /// Takes `segs` segments, found acknowledged in the queue of sent packets,
    /// from `packets_out`. At least one stays while bytes are in flight.
    #[inline]
    pub fn segs_acked(&mut self, segs: u32) {
        let left = self.packets_out.saturating_sub(segs);
        self.packets_out = if self.all_acked() { 0 } else { left.max(1) };
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_conn))]
mod tests {
    use super::*;

    #[test]
    fn windows_saturate() {
        let mut c = ConnData {
            snd_una: Seq(100),
            snd_nxt: Seq(150),
            snd_wnd: 80,
            rcv_nxt: Seq(10),
            rcv_wup: Seq(u32::MAX),
            rcv_wnd: 20,
            ..ConnData::default()
        };
        assert_eq!(c.send_window(), 30);
        assert_eq!(c.receive_window(), 9);
        assert_eq!(c.bytes_in_flight(), 50);
        c.snd_wnd = 40;
        assert_eq!(c.send_window(), 0);
        c.rcv_nxt = Seq(40);
        assert_eq!(c.receive_window(), 0);
    }

    #[test]
    fn packets_out_follows_the_bytes() {
        let mut c = ConnData {
            snd_nxt: Seq(10),
            packets_out: 3,
            ..ConnData::default()
        };
        c.segs_acked(2);
        assert_eq!(c.packets_out, 1);
        c.segs_acked(2);
        assert_eq!(c.packets_out, 1);
        c.snd_una = Seq(10);
        c.segs_acked(0);
        assert_eq!(c.packets_out, 0);
    }
}
