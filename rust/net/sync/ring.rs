// SPDX-License-Identifier: GPL-2.0

//! A bounded queue of frames between two devices.
//!
//! Many CPUs put frames in, one NAPI instance takes them out, many at a time.
//! The lock is taken with bottom halves disabled, for a handful of
//! instructions; it is innermost: nothing else is locked under it.

use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use super::counter::Counter;
use crate::net::{
    context::Bh,
    skb::{
        FrameList,
        SkBuff, //
    }, //
};

/// What a queue has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct QueueCounters {
    /// Frames that the receiver got.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames that were dropped because it was full.
    pub(crate) overruns: u64,
}

/// Bytes that a queue holds for each frame of its bound: 8 MiB with the default
/// bound, 128 frames of the largest size. No process is charged for them.
const BYTES_PER_FRAME: u64 = 8192;
/// Bytes that a queue holds at most.
const MAX_BYTES: u64 = 32 << 20;

struct Inner {
    frames: FrameList,
    /// Of the frames.
    bytes: u64,
    limit: u32,
    open: bool,
    counters: QueueCounters,
}

impl Inner {
    /// Frames that may be put in, the bytes of the last one apart.
    #[inline(always)]
    fn room(&self) -> u32 {
        let bytes = u64::from(self.limit) * BYTES_PER_FRAME;
        match self.bytes < bytes.min(MAX_BYTES) {
            true => self.limit.saturating_sub(self.frames.len()),
            false => 0,
        }
    }
}

/// Why a frame was not taken; it is given back.
pub(crate) enum Refused<T> {
    /// There is no room now.
    Full(T),
    /// The receiver is down.
    Closed(T),
}

/// The queue.
#[pin_data]
pub(crate) struct FrameQueue {
    /// Room that is left, a hint for those without the lock. All of it if there
    /// are no frames: one list is always taken.
    room: AtomicU32,
    /// Frames that were received without having been queued, and their bytes.
    direct_packets: Counter,
    direct_bytes: Counter,
    #[pin]
    inner: SpinLock<Inner>,
}

impl FrameQueue {
    /// A closed, empty queue for `limit` frames.
    pub(crate) fn new(limit: u32) -> impl PinInit<Self> {
        pin_init!(FrameQueue {
            room: AtomicU32::new(u32::MAX),
            direct_packets: Counter::new(),
            direct_bytes: Counter::new(),
            inner <- new_spinlock!(
                Inner {
                    frames: FrameList::new(),
                    bytes: 0,
                    limit,
                    open: false,
                    counters: QueueCounters::default(),
                },
                "toe_frame_queue"
            ),
        })
    }

    /// Puts a frame in.
    #[inline]
    pub(crate) fn push(&self, skb: SkBuff, _bh: &Bh) -> Result<(), Refused<SkBuff>> {
        let mut inner = self.inner.lock();
        if inner.room() != 0 && inner.open {
            inner.bytes += u64::from(skb.len());
            inner.frames.push(skb);
            self.note_room(&inner);
            return Ok(());
        }
        if !inner.open {
            return Err(Refused::Closed(skb));
        }
        Err(Refused::Full(skb))
    }

    /// Puts all frames of a list in, or none; always takes a list if empty.
    pub(crate) fn push_list(&self, list: FrameList, _bh: &Bh) -> Result<(), Refused<FrameList>> {
        let mut inner = self.inner.lock();
        if !inner.open {
            return Err(Refused::Closed(list));
        }
        if list.len() > inner.room() && !inner.frames.is_empty() {
            return Err(Refused::Full(list));
        }
        inner.bytes += list.bytes();
        inner.frames.append(list);
        self.note_room(&inner);
        Ok(())
    }

    /// Puts frames before all others, whatever room there is: they have only gone past.
    /// Fails if it was closed meanwhile.
    #[cold]
    pub(crate) fn put_back(&self, mut list: FrameList, _bh: &Bh) -> Result<(), FrameList> {
        let mut inner = self.inner.lock();
        if !inner.open {
            return Err(list);
        }
        inner.bytes += list.bytes();
        list.append(core::mem::replace(&mut inner.frames, FrameList::new()));
        inner.frames = list;
        self.note_room(&inner);
        Ok(())
    }

    /// Returns whether `count` frames would be taken now. Frames of others may come
    /// before one's own.
    pub(crate) fn has_room(&self, count: u32, _bh: &Bh) -> bool {
        self.room.load(Relaxed) >= count
    }

    /// After any change of the frames or the bound.
    #[inline(always)]
    fn note_room(&self, inner: &Inner) {
        self.room.store(
            match inner.frames.len() {
                0 => u32::MAX,
                _ => inner.room(),
            },
            Relaxed,
        );
    }

    /// Takes up to `max` frames out.
    #[inline]
    pub(crate) fn take(&self, max: u32, _bh: &Bh) -> FrameList {
        let mut inner = self.inner.lock();
        let (frames, bytes) = inner.frames.take(max);
        inner.bytes -= bytes;
        inner.counters.packets += u64::from(frames.len());
        inner.counters.bytes += bytes;
        self.note_room(&inner);
        frames
    }

    /// Counts a frame of `len` bytes that did not have to wait here.
    #[inline(always)]
    pub(crate) fn count_direct(&self, len: u32, _bh: &Bh) {
        self.direct_packets.add(1);
        self.direct_bytes.add(len.into());
    }

    /// Counts frames that were refused, and dropped therefore.
    pub(crate) fn count_overruns(&self, frames: u32, _bh: &Bh) {
        self.inner.lock().counters.overruns += u64::from(frames);
    }

    /// Lets frames in.
    pub(crate) fn open(&self, _bh: &Bh) {
        self.inner.lock().open = true;
    }

    /// Lets no more frames in, and returns those that are left.
    pub(crate) fn close(&self, _bh: &Bh) -> FrameList {
        let mut inner = self.inner.lock();
        inner.open = false;
        inner.bytes = 0;
        let left = inner.frames.take(u32::MAX).0;
        self.note_room(&inner);
        left
    }

    /// Changes the bound; frames beyond a smaller one stay.
    pub(crate) fn set_limit(&self, limit: u32, _bh: &Bh) {
        let mut inner = self.inner.lock();
        inner.limit = limit;
        self.note_room(&inner);
    }

    /// The bound.
    pub(crate) fn limit(&self, _bh: &Bh) -> u32 {
        self.inner.lock().limit
    }

    /// What it has seen.
    pub(crate) fn counters(&self, _bh: &Bh) -> QueueCounters {
        let mut counters = self.inner.lock().counters;
        counters.packets += self.direct_packets.get();
        counters.bytes += self.direct_bytes.get();
        counters
    }
}
