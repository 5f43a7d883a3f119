// SPDX-License-Identifier: GPL-2.0

//! Properties of user buffers, against a reader that takes one byte at a time.

use proptest::prelude::*;
use toe_model::logic::buffer::{End, Next, Posted, ReaderView};

/// What happens to a posted buffer.
#[derive(Clone, Debug)]
enum Event {
    Payload(u32, bool),
    Close,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        9 => (1u32..4000, any::<bool>()).prop_map(|(n, push)| Event::Payload(n, push)),
        1 => Just(Event::Close),
    ]
}

fn any_view() -> impl Strategy<Value = ReaderView> {
    any::<[bool; 6]>().prop_map(
        |[disconnected, queued, stopped, shutdown, expired, signal]| ReaderView {
            disconnected,
            queued,
            stopped,
            shutdown,
            expired,
            signal,
        },
    )
}

/// May a wait end so, before there is enough?
fn fits(end: End, v: &ReaderView) -> bool {
    match end {
        End::Shutdown => v.disconnected,
        End::Timer => v.expired,
        End::Signal => v.signal && !v.expired,
        _ => false,
    }
}

/// The same buffer as memory: bytes of the stream by their position.
#[derive(Default)]
struct Reference {
    memory: Vec<u64>,
    queue: Vec<u64>,
    closed: bool,
}

impl Reference {
    fn payload(&mut self, from: u64, n: u32, len: u32) {
        for at in from..from + u64::from(n) {
            if !self.closed && self.queue.is_empty() && self.memory.len() < len as usize {
                self.memory.push(at);
            } else {
                self.queue.push(at);
            }
        }
    }
}

proptest! {
    /// Memory and queue together are the stream, whatever the order of events; the
    /// count is exact; a closed buffer takes nothing.
    #[test]
    fn every_byte_has_one_place(
        len in 1u32..10_000,
        target in 0u32..12_000,
        events in proptest::collection::vec(any_event(), 0..20),
    ) {
        let mut posted = Posted::new(len, target);
        let mut reference = Reference::default();
        let mut queued = 0u32;
        let mut at = 0u64;
        for event in events {
            match event {
                Event::Payload(n, push) => {
                    // The engine places only while the queue is empty.
                    let placed = if queued == 0 { posted.place(n, push) } else { 0 };
                    reference.payload(at, n, len);
                    queued += n - placed;
                    at += u64::from(n);
                }
                Event::Close => {
                    posted.close();
                    reference.closed = true;
                }
            }
            prop_assert_eq!(posted.placed() as usize, reference.memory.len());
            prop_assert_eq!(queued as usize, reference.queue.len());
            prop_assert!(posted.placed() <= len);
            prop_assert!(!posted.full() || posted.satisfied());
            prop_assert_eq!(posted.complete(), posted.closed() || posted.satisfied());
        }
        let stream: Vec<u64> = reference.memory.iter().chain(&reference.queue).copied().collect();
        prop_assert!(stream.iter().copied().eq(0..at));
    }

    /// What `tcp_recvmsg()` would do, restated from its loop.
    #[test]
    fn returns_as_tcp_recvmsg(
        len in 1u32..10_000,
        target in 1u32..10_000,
        n in 0u32..10_000,
        push in any::<bool>(),
        closed in any::<bool>(),
        v in any_view(),
    ) {
        let mut posted = Posted::new(len, target);
        let copied = if n == 0 { 0 } else { posted.place(n, push) };
        if closed {
            posted.close();
        }
        let next = posted.next(&v);
        if copied >= target.min(len) {
            let end = if copied == len {
                End::Full
            } else if push {
                End::Push
            } else {
                End::LowWater
            };
            prop_assert_eq!(next, Next::Return(end));
            return Ok(());
        }
        match next {
            // The host's loop decides, with the bytes in its queue again.
            Next::Host(end) => {
                prop_assert!(!v.disconnected && (closed || v.queued || v.stopped));
                prop_assert_eq!(end == End::Shutdown, v.shutdown);
            }
            Next::Return(end) => {
                prop_assert!(copied != 0);
                prop_assert!(fits(end, &v));
            }
            Next::Fail(end) => {
                prop_assert!(copied == 0);
                prop_assert!(fits(end, &v));
            }
            Next::Wait => {
                prop_assert!(!closed && !v.disconnected && !v.queued && !v.stopped);
                prop_assert!(!v.expired && !v.signal);
            }
        }
    }
}
