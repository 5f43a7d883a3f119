// SPDX-License-Identifier: GPL-2.0

//! The state of a connection, the uppermost object of an offload tree and the
//! connection data storage of the table: what never changes, what the host owns, and
//! what the target owns while the connection is delegated.
//!
//! At hand-over and upload the fields are copied from and to those of the same names
//! in `struct tcp_sock` unless noted.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::ops::{
    Deref,
    DerefMut, //
};

use super::{
    rtt::Rtt,
    seq::Seq, //
};

/// Constant state: negotiated by the handshake.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ConnConst {
    /// Shift of the window in received segments, 0 to 14
    /// (`rx_opt.snd_wscale`).
    pub snd_wscale: u8,
    /// Shift of the window in sent segments, 0 to 14 (`rx_opt.rcv_wscale`).
    pub rcv_wscale: u8,
    /// Whether both ends send timestamps (`rx_opt.tstamp_ok`).
    pub ts_ok: bool,
}

/// When and how often an idle connection's peer is probed.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// `SO_KEEPALIVE`.
    pub on: bool,
    /// Seconds of idleness before the first probe (`TCP_KEEPIDLE`).
    pub idle_s: u32,
    /// Seconds between probes (`TCP_KEEPINTVL`).
    pub interval_s: u32,
    /// Probes without an answer that end the connection (`TCP_KEEPCNT`).
    pub probes: u8,
}

/// Cached state: the host owns it, and tells the target of each change.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ConnCached {
    /// Payload bytes of a full segment as sent, options deducted (`mss_cache`).
    pub mss: u32,
    /// IPv4 type of service or IPv6 traffic class, ECN bits included.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv6 flow label, 20 bits.
    pub flow_label: u32,
    /// Whether IPv4 frames carry the don't-fragment flag.
    pub df: bool,
    /// Priority of the socket's frames (`sk_priority`), from which VLAN devices make
    /// that of their tags.
    pub priority: u32,
    /// Nagle's algorithm: `TCP_NAGLE_*` (`nonagle`).
    pub nonagle: u8,
    /// Bytes of payload in the largest frame that the target takes at once: what it
    /// [said](super::resources::Resources::max_payload) when it got the connection.
    pub max_payload: u32,
    /// A target without timers of its own leaves them to the host.
    pub keepalive: Keepalive,
}

/// Delegated state: the target owns it while it has the connection.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ConnDelegated {
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
    /// Next sequence number expected from the peer.
    pub rcv_nxt: Seq,
    /// `rcv_nxt` at the last window offered.
    pub rcv_wup: Seq,
    /// Window offered last, in bytes, counted from `rcv_wup`.
    pub rcv_wnd: u32,
    /// Timestamp to echo (`rx_opt.ts_recent`; RFC 7323 section 4.3).
    pub ts_recent: u32,
    /// When `ts_recent` was stored, in seconds (`rx_opt.ts_recent_stamp`).
    pub ts_recent_stamp: i64,
    /// Segments sent and not yet acknowledged. Set to 0 by the receive engine
    /// when all is acknowledged; otherwise the owner of the sent packets counts them.
    pub packets_out: u32,
    /// Round trip time estimate.
    pub rtt: Rtt,
    /// Bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
}

/// All of a connection's state. The delegated part, which the engines move, is read
/// and written as if it were the whole.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ConnData {
    /// Set at hand-over.
    pub constant: ConnConst,
    /// The host's.
    pub cached: ConnCached,
    /// The target's, while it has the connection.
    pub delegated: ConnDelegated,
}

impl Deref for ConnData {
    type Target = ConnDelegated;

    #[inline(always)]
    fn deref(&self) -> &ConnDelegated {
        &self.delegated
    }
}

impl DerefMut for ConnData {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut ConnDelegated {
        &mut self.delegated
    }
}

impl ConnData {
    /// The host stack transmits a frame with these numbers: the sequence number after it,
    /// the ACK number, and the window as in the header. They are copied, the ACK number to
    /// `rcv_wup`.
    pub fn host_sent(&mut self, seq_end: Seq, ack: Seq, window: u16) {
        if seq_end.after(self.snd_nxt) {
            self.snd_nxt = seq_end;
        }
        if !ack.before(self.rcv_wup) {
            self.rcv_wup = ack;
            self.rcv_wnd =
                u32::from(window) << self.constant.rcv_wscale.min(super::receive::MAX_WSCALE);
        }
    }
}

impl ConnDelegated {
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

    /// The name of a field that is another one in `other`, if there is one.
    #[cfg(any(test, CONFIG_KUNIT = "y", debug_assertions))]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let (a, b) = (self, other);
        let fields = [
            ("snd_una", a.snd_una == b.snd_una),
            ("snd_nxt", a.snd_nxt == b.snd_nxt),
            ("snd_wnd", a.snd_wnd == b.snd_wnd),
            ("snd_wl1", a.snd_wl1 == b.snd_wl1),
            ("max_window", a.max_window == b.max_window),
            ("rcv_nxt", a.rcv_nxt == b.rcv_nxt),
            ("rcv_wup", a.rcv_wup == b.rcv_wup),
            ("rcv_wnd", a.rcv_wnd == b.rcv_wnd),
            ("ts_recent", a.ts_recent == b.ts_recent),
            ("ts_recent_stamp", a.ts_recent_stamp == b.ts_recent_stamp),
            ("packets_out", a.packets_out == b.packets_out),
            ("rtt", a.rtt == b.rtt),
            ("bytes_acked", a.bytes_acked == b.bytes_acked),
            ("bytes_received", a.bytes_received == b.bytes_received),
        ];
        let differs = fields.iter().find(|(_, same)| !same);
        differs.map_or((a != b).then_some("?"), |(name, _)| Some(*name))
    }

    /// Returns whether everything sent is acknowledged.
    #[inline]
    pub const fn all_acked(&self) -> bool {
        self.snd_una.0 == self.snd_nxt.0
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_conn))]
mod tests {
    use super::*;

    #[test]
    fn differences_have_names() {
        let a = ConnDelegated::default();
        assert_eq!(a.difference(&a), None);
        let b = ConnDelegated {
            packets_out: 1,
            ..a
        };
        assert_eq!(a.difference(&b), Some("packets_out"));
        let b = ConnDelegated {
            rtt: Rtt {
                mdev_us: 1,
                ..Rtt::default()
            },
            bytes_received: 1,
            ..a
        };
        assert_eq!(a.difference(&b), Some("rtt"));
    }

    #[test]
    fn windows_saturate() {
        let mut c = ConnDelegated {
            snd_una: Seq(100),
            snd_nxt: Seq(150),
            snd_wnd: 80,
            rcv_nxt: Seq(10),
            rcv_wup: Seq(u32::MAX),
            rcv_wnd: 20,
            ..ConnDelegated::default()
        };
        assert_eq!(c.send_window(), 30);
        assert_eq!(c.receive_window(), 9);
        c.snd_wnd = 40;
        assert_eq!(c.send_window(), 0);
        c.rcv_nxt = Seq(40);
        assert_eq!(c.receive_window(), 0);
    }
}
