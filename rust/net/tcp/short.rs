// SPDX-License-Identifier: GPL-2.0

//! What the same-host short cut does to the two sockets: see `dct/short_cut.rs`.

use core::ptr::{
    addr_of,
    addr_of_mut,
    read_volatile,
    write_volatile, //
};

use crate::{
    bindings,
    logic::{
        conn::ConnData,
        seq::Seq,
        short_cut::Memory,
        window::{
            self,
            Offer,
            Offered, //
        }, //
    },
    net::{
        proto::Msg,
        sock::LockedSock, //
    }, //
};

impl LockedSock<'_> {
    /// The sequence number after all that was written.
    #[inline(always)]
    pub(crate) fn write_seq(&self) -> Seq {
        // SAFETY: live and locked by the type invariant; a field, read in place.
        Seq(unsafe { (*self.tp()).write_seq })
    }

    /// Returns whether bytes may be appended to the receive queue without a frame, as far as the
    /// socket's own state goes.
    #[inline(always)]
    pub(crate) fn receives_bytes(&self) -> bool {
        // SAFETY: live and locked by the type invariant; the callee reads fields.
        unsafe { bindings::toe_short_receives(self.as_ptr()) }
    }

    /// Bytes that were received and not read.
    #[inline(always)]
    pub(crate) fn unread(&self) -> u32 {
        // SAFETY: live and locked by the type invariant; fields, read in place.
        unsafe { (*self.tp()).rcv_nxt.wrapping_sub((*self.tp()).copied_seq) }
    }

    /// Bytes that the last buffer of the receive queue has room for, if it can be appended to.
    #[inline(always)]
    pub(crate) fn receive_tailroom(&self) -> u32 {
        // SAFETY: live and locked by the type invariant, and with it the receive queue.
        unsafe { bindings::toe_short_tailroom(self.as_ptr()) }
    }

    /// Receive memory, with what a window of `window` bytes may bring.
    #[inline(always)]
    pub(crate) fn receive_memory(&self, window: u32) -> Memory {
        let sk = self.as_ptr();
        // SAFETY: live and locked by the type invariant; fields, of which others change the
        // first two as single words.
        unsafe {
            let charged = read_volatile(addr_of!((*sk).sk_backlog.rmem_alloc.counter));
            Memory {
                limit: read_volatile(addr_of!((*sk).sk_rcvbuf)).max(0) as u32,
                charged: charged.max(0) as u32,
                promised: bindings::toe_short_space_from_win(sk, window),
            }
        }
    }

    /// What [`offer_window`](Self::offer_window) would offer.
    pub(crate) fn would_offer(&self) -> Offer {
        let new = self.new_window();
        let tp = self.tp();
        // SAFETY: live and locked by the type invariant; fields, read in place.
        let last = unsafe {
            Offered {
                rcv_nxt: Seq((*tp).rcv_nxt),
                rcv_wup: Seq((*tp).rcv_wup),
                rcv_wnd: (*tp).rcv_wnd,
                wscale: (*tp).rx_opt.rcv_wscale() as u8,
                shrink: self.sysctl_tcp_shrink_window() != 0,
                signed: self.sysctl_tcp_workaround_signed_windows() != 0,
            }
        };
        window::offer(new, &last)
    }

    /// Appends up to `want` bytes of `msg` to the receive queue, to a new buffer of `size` if the
    /// last one has no room. Fewer if there is no memory, or if that of the sender has to be
    /// faulted in.
    #[inline(always)]
    pub(crate) fn append_received(&self, msg: &mut Msg<'_>, want: u32, size: u32) -> u32 {
        // SAFETY: live and locked by the type invariant, and with it the receive queue, to which
        // the callee appends what it has charged; the message is the running call's by the
        // invariant of `Msg`, and its memory is not faulted in.
        let n = unsafe { bindings::toe_short_append(self.as_ptr(), msg.as_ptr(), want, size) };
        n.max(0) as u32
    }

    /// The numbers after bytes have passed: `sent` of them by this socket, or received if 0.
    #[inline(always)]
    pub(crate) fn store_passed(&self, c: &ConnData, sent: u32) {
        self.store_rx(c);
        // SAFETY: live and locked by the type invariant: the fields are this context's, and
        // written in place; those with lockless readers as single words.
        unsafe {
            let tp = self.tp();
            (*tp).rcv_wup = c.rcv_wup.0;
            (*tp).rcv_wnd = c.rcv_wnd;
            if sent != 0 {
                write_volatile(addr_of_mut!((*tp).write_seq), c.snd_nxt.0);
                write_volatile(addr_of_mut!((*tp).snd_nxt), c.snd_nxt.0);
                (*tp).pushed_seq = c.snd_nxt.0;
                (*tp).snd_up = c.snd_nxt.0;
                (*tp).bytes_sent = (*tp).bytes_sent.wrapping_add(u64::from(sent));
            }
            bindings::toe_short_moved(self.as_ptr(), sent != 0);
        }
    }
}
