// SPDX-License-Identifier: GPL-2.0

//! What a driver implements to take connections.
//!
//! Claims: Documentation/networking/toe-claims.rst

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    device::Device,
    intermediate::Layers, //
    read::Pulled,
};
use crate::{
    logic::{
        buffer::Rule,
        hwid::Hwid,
        resources::Resources,
        transmit::Push,
        tree::{
            Block,
            Tree,
            ONE_CONNECTION, //
        }, //
    },
    net::{
        context::Bh,
        net_device::NetDevice,
        proto::{
            HostFrame,
            Msg, //
        },
        skb::SkBuff,
        sock::{
            LockedSock,
            Sock,
            UserLock, //
        },
        spare::Spare,
        table::{
            Node,
            Tether, //
        },
        user_buffer::Pinned, //
    }, //
};

/// What only the host has of a block of an offload tree.
#[derive(Clone)]
pub(crate) enum Host<'a> {
    /// The operation needs nothing but the block's handle and state.
    Handle,
    /// An object of the lower layers that is to be made, with what the framework
    /// [calls it](super::objects).
    New(Hwid, Parts<'a>),
    /// The lock of a connection's socket is held.
    Connection(LockedSock<'a>),
}

/// What an object that is to be made consists of, besides its state.
#[derive(Clone)]
pub(crate) enum Parts<'a> {
    /// A layer, whose device the state names, or a path.
    Plain,
    /// A neighbour. What changes frames on their way to the target's device is in `layers`:
    /// the target does as they do, and has to give its connections up when they change.
    Neighbour {
        /// The device that it is reached by: the target's, or the uppermost layer.
        dev: &'a NetDevice,
        /// All layers between that and the target's device.
        layers: Option<Arc<Layers>>,
    },
}

/// A tree as framework and target hand it to each other.
pub(crate) type OffloadTree<'s, 'a> = Tree<'s, Host<'a>>;

/// A slot for a block of such a tree.
pub(crate) type BlockSlot<'a> = Option<Block<Host<'a>>>;

/// Room for a tree of this many blocks. Process context; may sleep.
pub(super) fn block_slots<'a>(blocks: usize) -> Result<KVVec<BlockSlot<'a>>> {
    let mut slots = KVVec::with_capacity(blocks, GFP_KERNEL)?;
    for _ in 0..blocks {
        slots.push(None, GFP_KERNEL)?;
    }
    Ok(slots)
}

/// Room for the tree of one connection: not on the stack, which a sender may have used
/// most of.
pub(super) type SpareSlots = Spare<{ ONE_CONNECTION * size_of::<BlockSlot<'static>>() }>;

/// How the framework names a connection in a call that is about it alone.
#[derive(Clone, Copy)]
pub(crate) struct ConnRef<'g> {
    hwid: Hwid,
    tether: Option<&'g Tether>,
}

impl<'g> ConnRef<'g> {
    pub(super) fn new(hwid: Hwid, tether: Option<&'g Tether>) -> Self {
        ConnRef { hwid, tether }
    }

    /// The identifier that the target gave it.
    #[inline]
    pub(crate) fn hwid(self) -> Hwid {
        self.hwid
    }

    /// What the target has [tied](OffloadTarget::tether) to the connection. `None` once
    /// it was taken out of the target's table.
    #[inline(always)]
    pub(crate) fn entry<T: Node + 'static>(self) -> Option<&'g T> {
        self.tether?.get()
    }
}

/// What a target did for one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) rx_frames: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_frames: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) specials: u64,
}

/// A device that takes over established TCP connections.
///
/// # Trees
///
/// Each of the first five operations takes a tree or any part of one, however many
/// objects, and says for each block what became of it ([`Tree::done`],
/// [`Tree::refuse`], [`Tree::ended`]). What a target refuses stays with the host. For
/// connections the socket's lock is held, by the framework, and the block says so
/// ([`Host::Connection`]).
///
/// The framework has each object made once per target, counts who depends on it, and has it
/// terminated when nothing does. It calls `initiate`, `update`, `invalidate` and
/// `terminate` for objects below connections one at a time.
///
/// # Contexts
///
/// The methods that take a [`LockedSock`] are called with the socket's lock held,
/// in any context, the others without; none of them may sleep. A target asks for
/// things by what is listed in [`host`](super::host).
///
/// # What is optional
///
/// Methods with a body are for what not every target does: counters, legacy mode, user
/// buffers, and
/// connections whose socket a task owns. It does not, unless it says that it does: no
/// buffer is offered to a target that [wants](Self::wants_buffer) none, and nobody asks for
/// what it did not [defer](super::host::Deferring) or [await](super::host::AwaitRelease).
///
/// A target whose state lives in another memory fetches it in `terminate` and
/// writes it back to the socket before it returns.
pub(crate) trait OffloadTarget: Send + Sync {
    /// The framework's state of this device: policy, limits, counters.
    fn device(&self) -> &Device;

    /// Connections it has.
    fn connections(&self) -> u32;

    /// What it has room for, and can do, at this moment. `None`: it does not answer. Under
    /// the socket lock, any context.
    fn resources(&self) -> Option<Resources>;

    /// Makes the objects that have no handle yet, and names them by one; takes
    /// connections over or refuses. On success the target owns a connection's delegated
    /// state from here on. From the bottom up: what an object lies on has a handle when
    /// its turn comes, or was refused. Bottom halves are off.
    fn initiate(&self, tree: &mut OffloadTree<'_, '_>, bh: &Bh);

    /// Cached state changed, of the objects whose blocks have handles: it is in the
    /// blocks. All that depends on them has it from the next frame on. An object that
    /// was invalidated is valid again. A connection that lies on a path in the tree
    /// belongs to that one from now on.
    fn update(&self, tree: &mut OffloadTree<'_, '_>);

    /// Fills in cached and delegated state as the target has them, and what objects below
    /// connections lie on, for display: takes no lock, and a connection's may be torn.
    fn query(&self, tree: &mut OffloadTree<'_, '_>);

    /// What it did for the connection, for display. Any context.
    fn counters(&self, _hwid: Hwid) -> Counters {
        Counters::default()
    }

    /// Nothing may be sent for the objects, and what depends on them, until they are
    /// updated, or given up.
    fn invalidate(&self, tree: &mut OffloadTree<'_, '_>);

    /// Gives the objects up. When this returns, the sockets of connections hold all of
    /// their state and data, and no frame will be processed for them. From the leaves down.
    fn terminate(&self, tree: &mut OffloadTree<'_, '_>);

    /// Gives a connection up whose socket a task owns, for the device leaves: nothing of
    /// it may keep the device. What the target has of it and did not process is lost. No
    /// lock held but the socket's spin lock.
    fn abandon(&self, hwid: Hwid);

    /// What the framework keeps with the connection, and gives back in each
    /// [`ConnRef`], so that the target need not look it up: an entry of one of its
    /// tables. It is dropped a while after the connection was terminated or abandoned.
    /// Called once, when the connection was initiated.
    fn tether(&self, _hwid: Hwid, _bh: &Bh) -> Option<Tether> {
        None
    }

    /// There is unsent data in the socket's send queue. `push` may override the
    /// socket's Nagle setting for this call (`TCP_NAGLE_*`).
    fn send(&self, sk: LockedSock<'_>, conn: ConnRef<'_>, push: Push, bh: &Bh);

    /// Bytes of `msg`, from its begin, that went to the other end without frames, on the same
    /// machine: with the socket's lock any number of them, without it all or none, for others
    /// may write, too. `None`: to be asked again with it. Whatever is in the way, the bytes go
    /// by [`send`](Self::send).
    fn pass(
        &self,
        _sk: &Sock,
        _conn: ConnRef<'_>,
        _msg: &mut Msg<'_>,
        _lock: Option<&UserLock<'_>>,
        _bh: &Bh,
    ) -> Option<usize> {
        Some(0)
    }

    /// What waits in the send queue goes to the other end without frames, as far as that is
    /// possible; what is left goes by [`send`](Self::send). `true`: it waits for a
    /// [`pull`](Self::pull). In a system call.
    fn pass_queue(&self, _lock: &UserLock<'_>, _conn: ConnRef<'_>, _bh: &Bh) -> bool {
        false
    }

    /// Somebody has read from the connection's socket: what waits for that in the send queue of
    /// the other end comes without frames, as far as there is room.
    fn pull(&self, _conn: ConnRef<'_>, _bh: &Bh) -> Pulled {
        Pulled::None
    }

    /// The host stack transmits on the connection by itself: some frame while it is
    /// `delegated`, every frame in legacy mode.
    fn host_frame(
        &self,
        sk: LockedSock<'_>,
        conn: ConnRef<'_>,
        delegated: bool,
        skb: SkBuff,
    ) -> HostFrame;

    /// The connection is in legacy mode, and about to be used: takes it again if the
    /// host stack is through with the special case. `true`: it is delegated. Not for a target
    /// that has no legacy mode.
    fn resynchronise(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) -> bool {
        false
    }

    /// A frame of the connection that waited in the socket's backlog.
    fn backlog(&self, sk: LockedSock<'_>, skb: SkBuff);

    /// Whether a buffer pays, by `rule`, for a call that waits for `want` bytes. No lock
    /// held.
    fn wants_buffer(&self, _conn: ConnRef<'_>, _want: u32, _rule: Rule) -> bool {
        false
    }

    /// Posts a user buffer. `false`: it cannot be, at present.
    fn post_buffer(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>, _buffer: &Pinned) -> bool {
        false
    }

    /// Takes the posted buffer back, if there is one: nothing is placed in it when
    /// this returns, and its reader is woken. `terminate` does so, too.
    fn take_buffer(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) {}

    /// Payload that is deferred for want of a user buffer is processed now. Nothing of the
    /// host stack is below us.
    fn flush(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) {}

    /// A reader is about to wait in the host stack: the next payload is not deferred.
    fn reader_comes(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) {}

    /// The time that [`expire_at`](super::host::expire_at) was told has come: what was
    /// deferred until then is processed. `Some`: it is called again at that time. As
    /// [`flush`](Self::flush).
    fn request_expired(
        &self,
        _sk: LockedSock<'_>,
        _conn: ConnRef<'_>,
        _now_ms: u64,
    ) -> Option<u64> {
        None
    }

    /// The socket's owner lets it go, which the target
    /// [waits for](super::host::AwaitRelease) at one socket at least: data may wait to be
    /// sent.
    fn released(&self, _sk: LockedSock<'_>, _conn: ConnRef<'_>) {}

    /// Calls `f` with the hwid and the socket of every connection. Process context.
    fn for_each(&self, f: &mut dyn FnMut(Hwid, ARef<Sock>));
}
