// SPDX-License-Identifier: GPL-2.0

//! Frames: `struct sk_buff`.
//!
//! C header: `include/linux/skbuff.h`.

use core::{
    mem::ManuallyDrop,
    ptr::{
        addr_of,
        NonNull, //
    }, //
};

use kernel::{
    ffi::c_int,
    prelude::*, //
};

use super::{
    context::Bh,
    net_device::NetDevice, //
};
use crate::bindings;

/// `ip_summed` of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checksum {
    /// Nothing is known; software must verify.
    None,
    /// Verified, or known good.
    Unnecessary,
    /// The sum over the frame is in `csum`.
    Complete,
    /// Still to be filled in at `csum_start + csum_offset` (transmit), and thus
    /// trusted (receive from a local sender).
    Partial,
}

/// Why a frame is dropped; what `dropwatch` and `perf trace` show.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum DropReason {
    /// No particular reason.
    NotSpecified = bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
    /// The other side's ring is full.
    FullRing = bindings::skb_drop_reason_SKB_DROP_REASON_FULL_RING,
    /// The device is not ready.
    DevReady = bindings::skb_drop_reason_SKB_DROP_REASON_DEV_READY,
    /// Too short to have a header.
    HdrTrunc = bindings::skb_drop_reason_SKB_DROP_REASON_HDR_TRUNC,
    /// Out of memory.
    Nomem = bindings::skb_drop_reason_SKB_DROP_REASON_NOMEM,
    /// The socket's backlog is full.
    SocketBacklog = bindings::skb_drop_reason_SKB_DROP_REASON_SOCKET_BACKLOG,
    /// From farther away than the socket allows.
    MinTtl = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_MINTTL,
}

/// An owned frame.
///
/// Dropping one frees it with reason [`DropReason::NotSpecified`], which counts
/// as a drop in the tools. A frame that did what it was sent for is released
/// with [`SkBuff::consume`], a refused one with [`SkBuff::drop_because`].
///
/// # Invariants
///
/// The pointer is to a live `sk_buff` of which this value owns one reference;
/// it is on no list, and its `next` is null. The fields of the structure are written by this
/// owner only. What is behind them (data, shared info) may belong to clones, too, which C
/// code that writes to it checks itself.
#[repr(transparent)]
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: a frame may be used and freed in any context but hard interrupts.
unsafe impl Send for SkBuff {}

/// `skb_shinfo()`: what stands behind a buffer's data.
#[inline(always)]
pub(super) fn shinfo(skb: &bindings::sk_buff) -> *mut bindings::skb_shared_info {
    // An offset, as on all 64-bit architectures; elsewhere `end` is a pointer.
    const { assert!(size_of::<bindings::sk_buff_data_t>() < size_of::<*const u8>()) };
    skb.head.wrapping_add(skb.end as usize).cast()
}

impl SkBuff {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be a live frame, on no list and with a null `next`, one reference of which
    /// now belongs to the returned value. Nobody else writes to the structure.
    #[inline(always)]
    pub(in crate::net) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // SAFETY: live, hence not null.
        // INVARIANT: the caller promises all that they ask for.
        SkBuff(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// Gives the reference up to the caller.
    #[inline(always)]
    pub(in crate::net) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The pointer, for C calls that do not take the reference.
    #[inline(always)]
    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    #[inline(always)]
    fn raw(&self) -> &bindings::sk_buff {
        // SAFETY: live by the type invariant, and nobody else writes to it.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn raw_mut(&mut self) -> &mut bindings::sk_buff {
        // SAFETY: live by the type invariant, and its fields are this owner's, of whom there
        // is one mutable reference.
        unsafe { self.0.as_mut() }
    }

    #[inline(always)]
    pub(super) fn headers(&self) -> &bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: both members of the union are the same group of fields
        // (`struct_group()`), in which every value is valid.
        unsafe { self.raw().__bindgen_anon_4.headers.as_ref() }
    }

    #[inline(always)]
    fn headers_mut(&mut self) -> &mut bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: as in `headers()`.
        unsafe { self.raw_mut().__bindgen_anon_4.headers.as_mut() }
    }

    #[inline(always)]
    fn shinfo(&self) -> *mut bindings::skb_shared_info {
        shinfo(self.raw())
    }

    /// Bytes in the frame.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.raw().len
    }

    /// Bytes of the frame in its linear part.
    #[inline(always)]
    pub(crate) fn headlen(&self) -> u32 {
        self.raw().len - self.raw().data_len
    }

    /// Room before the data.
    pub(crate) fn headroom(&self) -> usize {
        self.raw().data as usize - self.raw().head as usize
    }

    /// The linear part.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: C keeps `headlen` bytes from `data` on in the buffer, initialised, and
        // `pull()` and `push()` stay within it. They stay as they are while the frame is
        // borrowed: whoever has a clone may not write to them either.
        unsafe { core::slice::from_raw_parts(self.raw().data, self.headlen() as usize) }
    }

    /// Makes the first `len` bytes linear; false if the frame is shorter, or there is no
    /// memory.
    #[inline(always)]
    pub(crate) fn may_pull(&mut self, len: u32) -> bool {
        // SAFETY: live and ours alone by the type invariant: the callee may move its data.
        self.headlen() >= len || unsafe { bindings::toe_pskb_may_pull(self.as_ptr(), len) }
    }

    /// Takes `len` bytes off the front.
    #[inline]
    pub(crate) fn pull(&mut self, len: u32) -> Result {
        if len > self.headlen() {
            return Err(EINVAL);
        }
        let raw = self.raw_mut();
        raw.len -= len;
        raw.data = raw.data.wrapping_add(len as usize);
        Ok(())
    }

    /// Puts `len` bytes, with any contents, before the front.
    #[inline]
    pub(crate) fn push(&mut self, len: u32) -> Result {
        if len as usize > self.headroom() {
            return Err(super::errno::ENOBUFS());
        }
        let raw = self.raw_mut();
        raw.len += len;
        raw.data = raw.data.wrapping_sub(len as usize);
        Ok(())
    }

    /// Sets where the link-layer header is: here.
    #[inline]
    pub(crate) fn reset_mac_header(&mut self) {
        let offset = self.headroom() as u16;
        self.headers_mut().mac_header = offset;
    }

    /// Sets where the network header is: `offset` bytes after the data begins.
    #[inline]
    pub(crate) fn set_network_header(&mut self, offset: u16) {
        let base = self.headroom() as u16;
        self.headers_mut().network_header = base + offset;
    }

    /// Sets where the transport header is: `offset` bytes after the data begins.
    #[inline]
    pub(crate) fn set_transport_header(&mut self, offset: u16) {
        let base = self.headroom() as u16;
        self.headers_mut().transport_header = base + offset;
    }

    /// Sets `mac_len`.
    #[inline]
    pub(crate) fn set_mac_len(&mut self, len: u16) {
        self.raw_mut().mac_len = len;
    }

    /// Sets the protocol, an `ETH_P_*` in host order.
    #[inline]
    pub(crate) fn set_protocol(&mut self, protocol: u16) {
        self.headers_mut().protocol = protocol.to_be();
    }

    /// The state of the checksum.
    #[inline]
    pub(crate) fn checksum(&self) -> Checksum {
        match u32::from(self.headers().ip_summed()) {
            bindings::CHECKSUM_UNNECESSARY => Checksum::Unnecessary,
            bindings::CHECKSUM_COMPLETE => Checksum::Complete,
            bindings::CHECKSUM_PARTIAL => Checksum::Partial,
            _ => Checksum::None,
        }
    }

    /// What was verified may no longer be right.
    #[inline]
    pub(crate) fn forget_checksum(&mut self) {
        if self.checksum() == Checksum::Unnecessary {
            self.headers_mut()
                .set_ip_summed(bindings::CHECKSUM_NONE as u8);
        }
    }

    /// Leaves the transport checksum to the device: it is to be computed from
    /// `start` (from the beginning of the data) and stored `offset` bytes further.
    #[inline]
    pub(crate) fn set_checksum_partial(&mut self, start: u16, offset: u16) {
        let base = self.headroom() as u16;
        let headers = self.headers_mut();
        headers.set_ip_summed(bindings::CHECKSUM_PARTIAL as u8);
        headers.__bindgen_anon_1.__bindgen_anon_1 =
            bindings::sk_buff__bindgen_ty_4__bindgen_ty_2__bindgen_ty_1__bindgen_ty_1 {
                csum_start: base + start,
                csum_offset: offset,
            };
    }

    /// Returns whether a clone may write the header, too (`skb_header_cloned()`).
    #[inline(always)]
    pub(super) fn is_header_shared(&self) -> bool {
        const SHIFT: u32 = bindings::SKB_DATAREF_SHIFT;
        if self.raw().cloned() == 0 {
            return false;
        }
        // SAFETY: as in `gso_segs()`; an aligned integer, which clones change atomically.
        let refs = unsafe { addr_of!((*self.shinfo()).dataref.counter).read_volatile() } as u32;
        // Those who have given their header up are counted in the upper half.
        (refs & ((1 << SHIFT) - 1)).wrapping_sub(refs >> SHIFT) != 1
    }

    /// Segments that the frame stands for; 0 means 1.
    #[inline]
    pub(crate) fn gso_segs(&self) -> u16 {
        // SAFETY: the shared info lies at the end of the buffer, which lives as long as the
        // frame; it is aligned, and initialised when the buffer is made.
        unsafe { (*self.shinfo()).gso_segs }
    }

    /// Marks the frame as `segs` segments of `size` bytes, the last may be
    /// shorter; `kind` is a mask of `SKB_GSO_*`. A size of 0 unmarks it.
    #[inline]
    pub(crate) fn set_gso(&mut self, size: u16, segs: u16, kind: u32) {
        let shinfo = self.shinfo();
        // SAFETY: as in `gso_segs()`. Clones share it, and are the same segments: as in
        // `__tcp_transmit_skb()`, which writes it for a clone.
        unsafe {
            (*shinfo).gso_size = size;
            (*shinfo).gso_segs = segs;
            (*shinfo).gso_type = kind;
        }
    }

    /// The queue that was chosen.
    #[inline(always)]
    pub(crate) fn queue_mapping(&self) -> u16 {
        self.raw().queue_mapping
    }

    /// Chooses a transmit queue.
    #[inline]
    pub(crate) fn set_queue_mapping(&mut self, queue: u16) {
        self.raw_mut().queue_mapping = queue;
    }

    /// Ends the accounting to the sending socket: it has left that host.
    #[inline]
    pub(crate) fn orphan(&mut self) {
        // SAFETY: live and ours by the type invariant. The field is shared with links of
        // TCP's queues (`tcp_tsorted_anchor`), and the frame is on no list.
        unsafe {
            if (*self.as_ptr())
                .__bindgen_anon_3
                .__bindgen_anon_1
                .destructor
                .is_some()
            {
                bindings::toe_skb_orphan(self.as_ptr());
            }
        }
    }

    /// Returns whether the sender is a socket whose frames GRO may join for forwarding
    /// (UDP and raw), not TCP.
    #[inline]
    pub(crate) fn is_datagram(&self) -> bool {
        // SAFETY: live by the type invariant; the callee compares a field.
        unsafe { bindings::toe_skb_is_udp_like(self.as_ptr()) }
    }

    /// The device that it came in by or leaves by.
    #[inline(always)]
    pub(crate) fn set_dev(&mut self, dev: &NetDevice) {
        // SAFETY: live and ours by the type invariant. The unions' other members, links of
        // lists and trees but for `dev_scratch`, are not in use: the frame is on no list.
        unsafe {
            (*self.as_ptr())
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .dev = dev.as_ptr()
        };
    }

    /// Marks an engine's frame with what it was made from; 0: with nothing.
    #[inline(always)]
    pub(crate) fn set_stamp(&mut self, stamp: u64) {
        let cb: *mut u64 = (&raw mut self.raw_mut().cb).cast();
        // SAFETY: the control block has 48 bytes and is aligned to 8; its contents belong to
        // whoever has the frame.
        unsafe { cb.write(stamp) };
    }

    /// The mark of a frame that [got one](Self::set_stamp).
    #[inline(always)]
    pub(crate) fn stamp(&self) -> u64 {
        let cb: *const u64 = (&raw const self.raw().cb).cast();
        // SAFETY: as in `set_stamp()`; it is initialised with the frame, and any value is one.
        unsafe { cb.read() }
    }

    /// Tells who asked for it that the frame goes out now.
    #[inline(always)]
    pub(crate) fn tx_timestamp(&mut self) {
        // SAFETY: live and ours by the type invariant; the callee clones what it keeps.
        unsafe { bindings::toe_skb_tx_timestamp(self.as_ptr()) };
    }

    /// Cleans the frame of what the sending host knows, and hands it to `to`.
    ///
    /// `None` if `to` is down or the frame longer than it takes: the frame is
    /// then freed and counted there. Its device is the one that sends it.
    #[inline(always)]
    pub(crate) fn forward_to(self, to: &NetDevice, _bh: &Bh) -> Option<SkBuff> {
        // SAFETY: live by the invariants of both types, and the frame ours, to be changed or
        // freed. The callee compares the namespaces of `to` and of `skb->dev`, which the
        // core set for `start_xmit()`, or `set_dev()`: both are kept by RCU, of which `_bh`
        // is evidence.
        let ret = unsafe { bindings::toe_dev_forward_skb(to.as_ptr(), self.as_ptr()) };
        self.forwarded(to, ret)
    }

    /// [`tx_timestamp`](Self::tx_timestamp) and [`forward_to`](Self::forward_to) for a frame
    /// that an engine sends.
    #[inline(always)]
    pub(crate) fn forward_own_to(self, to: &NetDevice, _bh: &Bh) -> Option<SkBuff> {
        // SAFETY: as in `tx_timestamp()` and `forward_to()`.
        let ret = unsafe { bindings::toe_dev_forward_own(to.as_ptr(), self.as_ptr()) };
        self.forwarded(to, ret)
    }

    #[inline(always)]
    fn forwarded(mut self, to: &NetDevice, ret: c_int) -> Option<SkBuff> {
        if ret != 0 {
            // The callee freed it.
            let _ = ManuallyDrop::new(self);
            return None;
        }
        self.set_dev(to);
        Some(self)
    }

    /// Frees a frame that was used as intended.
    #[inline]
    pub(crate) fn consume(self, _bh: &Bh) {
        // SAFETY: the value's reference, which ends here. With a budget, any will do, the
        // cache of NAPI polls may take the buffer: bottom halves are disabled.
        unsafe { bindings::napi_consume_skb(self.into_raw(), 1) };
    }

    /// [`consume`](Self::consume) of a frame without payload: its memory may be the next
    /// one's.
    #[inline]
    pub(crate) fn consume_header(self, _bh: &Bh) {
        // SAFETY: the value's reference, which ends here; the callee keeps the memory only if
        // there is no other one. Bottom halves are disabled, as the place is the CPU's.
        unsafe { bindings::toe_header_free(self.into_raw()) };
    }

    /// Frees a frame that was refused.
    pub(crate) fn drop_because(self, reason: DropReason) {
        // SAFETY: the value's reference, which ends here; the callee knows the reason, and
        // takes null for "of no socket".
        unsafe { bindings::sk_skb_reason_drop(core::ptr::null(), self.into_raw(), reason as u32) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: as in `drop_because()`; a value is dropped once.
        unsafe {
            bindings::sk_skb_reason_drop(
                core::ptr::null(),
                self.as_ptr(),
                DropReason::NotSpecified as u32,
            )
        };
    }
}

/// The buffers that each CPU keeps to use them again; freed on drop, when no task is left in
/// the module's code.
pub(crate) struct Spares;

impl Drop for Spares {
    fn drop(&mut self) {
        // SAFETY: nobody takes or gives one any more: the module's root drops this behind
        // everything that runs its code.
        unsafe { bindings::toe_spares_free() };
    }
}

/// An owned list of frames, linked through `skb->next`.
///
/// # Invariants
///
/// `head` is the first of `len` live frames, each owned by this list and linked
/// by `next`, `tail` is the last one, whose `next` is null. Both are null if
/// `len` is 0.
pub(crate) struct FrameList {
    head: *mut bindings::sk_buff,
    tail: *mut bindings::sk_buff,
    len: u32,
}

// SAFETY: the frames are the list's alone, as an `SkBuff` is, which is `Send`.
unsafe impl Send for FrameList {}

impl FrameList {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        // INVARIANT: empty.
        FrameList {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
            len: 0,
        }
    }

    /// Takes over a list as C code makes it.
    ///
    /// # Safety
    ///
    /// `head` must be null or the first of frames linked by `next`, ending in
    /// null, which the caller owns.
    unsafe fn from_chain(head: *mut bindings::sk_buff) -> Self {
        let mut list = FrameList::new();
        let mut next = head;
        while !next.is_null() {
            let skb = next;
            // SAFETY: a live frame, as the caller promises of each of the chain.
            next = unsafe { Self::next(skb) };
            // SAFETY: the caller gives it to us; with its `next` null it is on no list.
            unsafe {
                Self::set_next(skb, core::ptr::null_mut());
                list.push(SkBuff::from_raw(skb));
            }
        }
        list
    }

    /// # Safety
    ///
    /// `skb` must be a live frame.
    #[inline(always)]
    unsafe fn next(skb: *mut bindings::sk_buff) -> *mut bindings::sk_buff {
        // SAFETY: live, as this function requires. The other members of the union are those
        // of frames in trees and in the lists of others.
        unsafe { (*skb).__bindgen_anon_1.__bindgen_anon_1.next }
    }

    /// # Safety
    ///
    /// `skb` must be a live frame that the caller owns.
    #[inline(always)]
    unsafe fn set_next(skb: *mut bindings::sk_buff, next: *mut bindings::sk_buff) {
        // SAFETY: live and the caller's, as this function requires; else as in `next()`.
        unsafe { (*skb).__bindgen_anon_1.__bindgen_anon_1.next = next };
    }

    /// Frames in the list.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether there are none.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Their bytes, counted here.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        let mut next = self.head;
        while !next.is_null() {
            // SAFETY: one of the list's frames, live by the type invariant.
            unsafe {
                bytes += u64::from((*next).len);
                next = Self::next(next);
            }
        }
        bytes
    }

    /// Appends a frame.
    #[inline(always)]
    pub(crate) fn push(&mut self, skb: SkBuff) {
        let skb = skb.into_raw();
        if self.tail.is_null() {
            self.head = skb;
        } else {
            // SAFETY: the last one of the list's frames, live and ours by the type invariant.
            unsafe { Self::set_next(self.tail, skb) };
        }
        // INVARIANT: the `next` of an `SkBuff` is null.
        self.tail = skb;
        self.len += 1;
    }

    /// Puts a frame before all others.
    pub(crate) fn push_front(&mut self, skb: SkBuff) {
        let skb = skb.into_raw();
        // SAFETY: from an `SkBuff`, hence live and ours.
        unsafe { Self::set_next(skb, self.head) };
        if self.tail.is_null() {
            self.tail = skb;
        }
        // INVARIANT: `skb` was on no list, and is linked to the rest.
        self.head = skb;
        self.len += 1;
    }

    /// Takes the first frame.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<SkBuff> {
        let skb = self.head;
        if skb.is_null() {
            return None;
        }
        // SAFETY: the first one of the list's frames, live and ours by the type invariant.
        // INVARIANT: it leaves the list here, whose first frame is the next one.
        unsafe {
            self.head = Self::next(skb);
            Self::set_next(skb, core::ptr::null_mut());
        }
        if self.head.is_null() {
            self.tail = core::ptr::null_mut();
        }
        self.len -= 1;
        // SAFETY: it was the list's, and is no longer on a list, its `next` null.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// Appends another list.
    pub(crate) fn append(&mut self, mut other: FrameList) {
        if other.is_empty() {
            return;
        }
        if self.tail.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: the last one of the list's frames, live and ours by the type invariant.
            unsafe { Self::set_next(self.tail, other.head) };
        }
        self.tail = other.tail;
        self.len += other.len;
        // INVARIANT: its frames are in `self` now.
        other.head = core::ptr::null_mut();
        other.tail = core::ptr::null_mut();
        other.len = 0;
    }

    /// Takes the first `max` frames, and how many bytes they are.
    #[inline(always)]
    pub(crate) fn take(&mut self, max: u32) -> (FrameList, u64) {
        let mut bytes = 0;
        let mut len = 0;
        let mut last = core::ptr::null_mut();
        let mut next = self.head;
        while len < max && !next.is_null() {
            last = next;
            // SAFETY: one of the list's frames, live by the type invariant.
            unsafe {
                bytes += u64::from((*last).len);
                next = Self::next(last);
            }
            len += 1;
        }
        if len == 0 {
            return (FrameList::new(), 0);
        }
        // SAFETY: one of the list's frames, as at least one was found, live and ours.
        unsafe { Self::set_next(last, core::ptr::null_mut()) };
        // INVARIANT: the first `len` frames, with the cut just made.
        let taken = FrameList {
            head: self.head,
            tail: last,
            len,
        };
        self.head = next;
        if next.is_null() {
            self.tail = core::ptr::null_mut();
        }
        self.len -= len;
        (taken, bytes)
    }

    /// What `dev` with its present features would send for `skb`: segmented,
    /// linear or checksummed in software as far as it cannot do so itself.
    ///
    /// Empty if there was no memory: the frame is freed then and counted as
    /// dropped by the device.
    pub(crate) fn validated(mut skb: SkBuff, dev: &NetDevice, _bh: &Bh) -> FrameList {
        let mut again = false;
        skb.set_dev(dev);
        // SAFETY: the frame is ours to give away, a list of one with its null `next`, and
        // leaves by `dev`, which lives across the call. The callee needs an RCU read section,
        // which `_bh` is evidence of. What it returns is a chain, or null, that is the
        // caller's.
        unsafe {
            FrameList::from_chain(bindings::validate_xmit_skb_list(
                skb.into_raw(),
                dev.as_ptr(),
                &mut again,
            ))
        }
    }
}

impl Drop for FrameList {
    fn drop(&mut self) {
        if !self.head.is_null() {
            // SAFETY: by the type invariant frames of ours, linked by `next` up to null.
            unsafe { bindings::toe_kfree_skb_list(self.head) };
        }
    }
}
