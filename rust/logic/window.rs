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
pub fn offer(
    new: u32,
    rcv_nxt: Seq,
    rcv_wup: Seq,
    rcv_wnd: u32,
    wscale: u8,
    shrink: bool,
) -> Offer {
    let wscale = wscale.min(14);
    let edge = rcv_wup.0.wrapping_add(rcv_wnd).wrapping_sub(rcv_nxt.0) as i32;
    let current = edge.max(0) as u32;
    let mut wnd = new;
    if new < current && !(shrink && wscale != 0) {
        let unit = 1u32 << wscale;
        wnd = current.saturating_add(unit - 1) & !(unit - 1);
    }
    let field = wnd.min(65535u32 << wscale) >> wscale;
    Offer {
        wnd,
        field: field as u16,
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
        let o = offer(0, Seq(1000), Seq(500), 2000, 7, false);
        assert_eq!(o.wnd, 1536);
        assert_eq!(o.field, 12);
        let o = offer(4096, Seq(u32::MAX), Seq(u32::MAX - 10), 20, 0, false);
        assert_eq!(o.wnd, 4096);
    }
}
