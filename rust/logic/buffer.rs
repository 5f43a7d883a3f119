// SPDX-License-Identifier: GPL-2.0

//! User buffers: what a posted one takes, when it is complete, and what its reader
//! does next.
//!
//! The rules are those of `tcp_recvmsg()`: a call returns as soon as its target
//! (`sock_rcvlowat()`) is reached and nothing more is at hand.

/// Largest request that is posted whole, in bytes; of a longer one the first part
/// is, unless it wants more than that before it returns.
pub const MAX_BYTES: u32 = 1 << 18;

/// When a call's memory is posted: pinning it costs by the page, and what it saves
/// is to wake the reader for every frame of those it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The least number of bytes that a call waits for; 0: none is posted.
    pub min: u32,
    /// The least number of frames that these bytes come in, going by the mean of
    /// the connection so far.
    pub frames: u32,
}

impl Rule {
    /// Measured with `MSG_WAITALL`, see `Documentation/performance.md`.
    pub const DEFAULT: Self = Self {
        min: 16 << 10,
        frames: 8,
    };

    /// Returns whether a buffer pays for a call that waits for `want` bytes, on a
    /// connection that has received `bytes` in `frames`.
    pub const fn pays(&self, want: u32, bytes: u64, frames: u64) -> bool {
        let (have, need) = (
            want as u128 * frames as u128,
            self.frames as u128 * bytes as u128,
        );
        let known = self.frames == 0 || (frames != 0 && have >= need);
        self.min != 0 && want >= self.min && known
    }
}

/// What brought a buffer back; each has a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum End {
    /// It is full.
    Full = 0,
    /// It has what the call waits for, and the segment that completed it was
    /// pushed.
    Push = 1,
    /// It has what the call waits for (`SO_RCVLOWAT`).
    LowWater = 2,
    /// The call's time is up (`SO_RCVTIMEO`).
    Timer = 3,
    /// The connection went to the host stack, or the payload there.
    Special = 4,
    /// A signal.
    Signal = 5,
    /// The connection or its receiving direction was closed, by either side.
    Shutdown = 6,
}

impl End {
    /// Number of them.
    pub const COUNT: usize = 7;
    /// Names, in the order of the values.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "full", "push", "lowat", "timer", "special", "signal", "shutdown",
    ];

    /// Index of its counter.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A posted buffer, without its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Posted {
    len: u32,
    target: u32,
    placed: u32,
    push: bool,
    /// Taken back: nothing more is placed in it.
    closed: bool,
}

impl Posted {
    /// A buffer of `len` bytes for a call that returns with `target` of them.
    pub const fn new(len: u32, target: u32) -> Self {
        Self {
            len,
            target: match (target, len) {
                (0, _) => 1,
                (t, l) if t > l => l,
                (t, _) => t,
            },
            placed: 0,
            push: false,
            closed: false,
        }
    }

    /// Takes what fits of `payload` bytes, of a segment with or without PSH. The
    /// bytes go behind those placed before; the rest is a legacy buffer's.
    pub fn place(&mut self, payload: u32, push: bool) -> u32 {
        if self.closed {
            return 0;
        }
        let n = payload.min(self.len - self.placed);
        let before = self.satisfied();
        self.placed += n;
        if !before && self.satisfied() {
            self.push = push;
        }
        n
    }

    /// Takes the buffer back: the bytes placed so far are all there will be.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Bytes placed.
    pub const fn placed(&self) -> u32 {
        self.placed
    }

    /// Returns whether it was taken back.
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// Returns whether there is no room left.
    pub const fn full(&self) -> bool {
        self.placed == self.len
    }

    /// Returns whether there is what the call waits for.
    pub const fn satisfied(&self) -> bool {
        self.placed >= self.target
    }

    /// Returns whether there is something for the reader to do.
    pub const fn complete(&self) -> bool {
        self.closed || self.satisfied()
    }

    /// Why it is complete, if it is by what was placed.
    const fn completion(&self) -> Option<End> {
        if !self.satisfied() {
            None
        } else if self.full() {
            Some(End::Full)
        } else if self.push {
            Some(End::Push)
        } else {
            Some(End::LowWater)
        }
    }
}

/// What a reader that woke up looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReaderView {
    /// The socket was disconnected meanwhile.
    pub disconnected: bool,
    /// There is payload in the socket's receive queue.
    pub queued: bool,
    /// An error is pending, or the receiving direction is closed.
    pub stopped: bool,
    /// The connection, or its receiving direction, is at its end.
    pub shutdown: bool,
    /// The call's time is up.
    pub expired: bool,
    /// A signal is pending.
    pub signal: bool,
}

/// What the reader does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Wait again.
    Wait,
    /// Return the bytes placed.
    Return(End),
    /// Nothing was placed: return what a wait that ended so returns.
    Fail(End),
    /// Go on in the host stack's `recvmsg`. What was placed goes back to the
    /// receive queue before, for that call to find.
    Host(End),
}

impl Posted {
    /// What to do with the buffer, in the order in which `tcp_recvmsg()` looks.
    pub const fn next(&self, v: &ReaderView) -> Next {
        if let Some(end) = self.completion() {
            return Next::Return(end);
        }
        let some = self.placed != 0;
        if v.disconnected {
            return if some {
                Next::Return(End::Shutdown)
            } else {
                Next::Fail(End::Shutdown)
            };
        }
        if self.closed || v.queued || v.stopped {
            return Next::Host(if v.shutdown {
                End::Shutdown
            } else {
                End::Special
            });
        }
        let end = match (v.expired, v.signal) {
            (true, _) => End::Timer,
            (false, true) => End::Signal,
            (false, false) => return Next::Wait,
        };
        if some {
            Next::Return(end)
        } else {
            Next::Fail(end)
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_buffer))]
mod tests {
    use super::*;

    const CALM: ReaderView = ReaderView {
        disconnected: false,
        queued: false,
        stopped: false,
        shutdown: false,
        expired: false,
        signal: false,
    };

    #[test]
    fn when_it_pays() {
        let rule = Rule {
            min: 1000,
            frames: 8,
        };
        assert!(rule.pays(1000, 1000, 8));
        assert!(!rule.pays(999, 1000, 80));
        // Nothing is known of the connection yet.
        assert!(!rule.pays(u32::MAX, 0, 0));
        assert!(rule.pays(8000, 10_000, 10));
        assert!(!rule.pays(7999, 10_000, 10));
        assert!(rule.pays(u32::MAX, u64::MAX, u64::MAX));
        assert!(!Rule { min: 0, ..rule }.pays(u32::MAX, 0, 0));
        assert!(Rule { frames: 0, ..rule }.pays(1000, 0, 0));
    }

    #[test]
    fn one_byte_is_enough() {
        let mut b = Posted::new(100, 1);
        assert!(b.next(&CALM) == Next::Wait);
        assert_eq!(b.place(10, true), 10);
        assert!(b.complete() && !b.full());
        assert!(b.next(&CALM) == Next::Return(End::Push));
        // More may come until the reader runs.
        assert_eq!(b.place(200, false), 90);
        assert!(b.next(&CALM) == Next::Return(End::Full));
        assert_eq!(b.place(1, false), 0);
        assert_eq!(b.placed(), 100);
    }

    #[test]
    fn all_of_it() {
        let mut b = Posted::new(100, 100);
        assert_eq!(b.place(60, true), 60);
        assert!(!b.complete());
        let signal = ReaderView {
            signal: true,
            ..CALM
        };
        assert!(b.next(&signal) == Next::Return(End::Signal));
        let queued = ReaderView {
            queued: true,
            ..CALM
        };
        assert!(b.next(&queued) == Next::Host(End::Special));
        assert_eq!(b.place(60, true), 40);
        assert!(b.next(&signal) == Next::Return(End::Full));
    }

    #[test]
    fn low_water() {
        let mut b = Posted::new(100, 50);
        assert_eq!(b.place(49, true), 49);
        assert!(!b.complete());
        assert_eq!(b.place(1, false), 1);
        assert!(b.next(&CALM) == Next::Return(End::LowWater));
    }

    #[test]
    fn taken_back() {
        let mut b = Posted::new(100, 50);
        assert_eq!(b.place(20, false), 20);
        b.close();
        assert_eq!(b.place(30, false), 0);
        assert!(b.complete());
        assert!(b.next(&CALM) == Next::Host(End::Special));
        let fin = ReaderView {
            stopped: true,
            shutdown: true,
            ..CALM
        };
        assert!(b.next(&fin) == Next::Host(End::Shutdown));
        let gone = ReaderView {
            disconnected: true,
            ..CALM
        };
        assert!(b.next(&gone) == Next::Return(End::Shutdown));
    }

    #[test]
    fn nothing_came() {
        let b = Posted::new(100, 1);
        let late = ReaderView {
            expired: true,
            signal: true,
            ..CALM
        };
        assert!(b.next(&late) == Next::Fail(End::Timer));
        let gone = ReaderView {
            disconnected: true,
            ..CALM
        };
        assert!(b.next(&gone) == Next::Fail(End::Shutdown));
    }
}
