// SPDX-License-Identifier: GPL-2.0

//! The receive window to offer: `__tcp_select_window()` and
//! `tcp_select_window()` of the host stack, which are not exported, so that an
//! offloaded connection offers what the host stack would.

use super::seq::Seq;

/// What the choice depends on, all in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WindowView {
    /// Estimate of the peer's segment size.
    pub mss: i32,
    /// Free receive space.
    pub free_space: i32,
    /// Receive space in all.
    pub allowed_space: i32,
    /// The same, limited by the window clamp.
    pub full_space: i32,
    /// Largest window the receiver is willing to offer yet.
    pub rcv_ssthresh: i32,
    /// Our window scale, 0 to 14 (RFC 7323 section 2.3).
    pub rcv_wscale: u8,
    /// The window offered last.
    pub rcv_wnd: i32,
}

/// A window to put into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The offer in bytes, for `rcv_wnd`.
    pub wnd: u32,
    /// The header's field: scaled, at most 65535.
    pub field: u16,
    /// Whether the window would be shut, had it not been offered before.
    pub wanted_zero: bool,
}

impl Offer {
    /// A window that is shut at once (`ICSK_ACK_NOMEM`).
    pub const SHUT: Self = Self {
        wnd: 0,
        field: 0,
        wanted_zero: false,
    };
}

/// What was offered before, and how it may be changed.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// Next sequence number expected.
    pub rcv_nxt: Seq,
    /// The same when the last window was offered.
    pub rcv_wup: Seq,
    /// The window offered last, in bytes.
    pub rcv_wnd: u32,
    /// Our window scale, 0 to 14 (RFC 7323 section 2.3).
    pub wscale: u8,
    /// `net.ipv4.tcp_shrink_window`.
    pub shrink: bool,
    /// `net.ipv4.tcp_workaround_signed_windows`: without scale the peer may take the
    /// field for a signed number.
    pub signed: bool,
}

/// The window to offer in bytes; 0 closes it. `shrink` is
/// `net.ipv4.tcp_shrink_window`.
#[inline(always)]
pub fn select(v: &WindowView, shrink: bool) -> u32 {
    let unit = 1i32 << v.rcv_wscale.min(14);
    let (mut mss, full) = (v.mss, v.full_space);
    let mut free = v.free_space;
    if mss > full {
        mss = full;
        if mss <= 0 {
            return 0;
        }
    }
    if shrink && v.rcv_wscale != 0 {
        free &= !(unit - 1);
        if free < full >> 1 && (free < v.allowed_space >> 4 || free < mss || free < unit) {
            return 0;
        }
        if free > v.rcv_ssthresh {
            free = align(v.rcv_ssthresh, unit);
        }
        return free.max(0) as u32;
    }
    if free < full >> 1 {
        free &= !(unit - 1);
        if free < v.allowed_space >> 4 || free < mss {
            return 0;
        }
    }
    free = free.min(v.rcv_ssthresh);
    let window = if v.rcv_wscale != 0 {
        align(free, unit)
    } else if mss > 0 && (v.rcv_wnd <= free.saturating_sub(mss) || v.rcv_wnd > free) {
        free.saturating_sub(free.checked_rem(mss).unwrap_or(0))
    } else if mss == full && free > v.rcv_wnd.saturating_add(full >> 1) {
        free
    } else {
        v.rcv_wnd
    };
    window.max(0) as u32
}

/// Never takes back what was offered (RFC 9293 section 3.8.6.2.1), unless
/// `shrink` allows it.
#[inline(always)]
pub fn offer(new: u32, last: &Offered) -> Offer {
    let wscale = last.wscale.min(14);
    let edge = last
        .rcv_wup
        .0
        .wrapping_add(last.rcv_wnd)
        .wrapping_sub(last.rcv_nxt.0) as i32;
    let current = edge.max(0) as u32;
    let mut wnd = new;
    let mut wanted_zero = false;
    if new < current && !(last.shrink && wscale != 0) {
        let unit = 1u32 << wscale;
        wnd = current.saturating_add(unit - 1) & !(unit - 1);
        wanted_zero = new == 0;
    }
    // MAX_TCP_WINDOW is 32767.
    let most = match wscale == 0 && last.signed {
        true => 32767,
        false => 65535u32 << wscale,
    };
    Offer {
        wnd,
        field: (wnd.min(most) >> wscale) as u16,
        wanted_zero,
    }
}

fn align(value: i32, unit: i32) -> i32 {
    value.saturating_add(unit - 1) & !(unit - 1)
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_window))]
mod tests {
    use super::*;

    fn view() -> WindowView {
        WindowView {
            mss: 1448,
            free_space: 100_000,
            allowed_space: 100_000,
            full_space: 100_000,
            rcv_ssthresh: 64_000,
            rcv_wscale: 7,
            rcv_wnd: 0,
        }
    }

    #[test]
    fn limited_by_ssthresh_and_rounded_up() {
        assert_eq!(select(&view(), false), 64_000);
        let v = WindowView {
            rcv_ssthresh: 64_001,
            ..view()
        };
        assert_eq!(select(&v, false), 64_128);
    }

    #[test]
    fn closes_when_space_is_short() {
        for free in [0, 1000, 6000] {
            let v = WindowView {
                free_space: free,
                ..view()
            };
            assert_eq!(select(&v, false), 0);
        }
    }

    #[test]
    fn offered_window_is_never_taken_back() {
        let last = Offered {
            rcv_nxt: Seq(1000),
            rcv_wup: Seq(500),
            rcv_wnd: 2000,
            wscale: 7,
            shrink: false,
            signed: true,
        };
        let o = offer(0, &last);
        assert!(o.wnd == 1536 && o.field == 12 && o.wanted_zero);
        assert!(!offer(1, &last).wanted_zero);
        let shrinks = Offered {
            shrink: true,
            ..last
        };
        assert!(offer(0, &shrinks) == Offer::SHUT);
        let plain = Offered {
            rcv_nxt: Seq(u32::MAX),
            rcv_wup: Seq(u32::MAX - 10),
            rcv_wnd: 20,
            wscale: 0,
            ..last
        };
        assert_eq!(offer(4096, &plain).wnd, 4096);
        let o = offer(50_000, &plain);
        assert!(o.wnd == 50_000 && o.field == 32_767);
        let unsigned = Offered {
            signed: false,
            ..plain
        };
        assert_eq!(offer(50_000, &unsigned).field, 50_000);
    }
}
