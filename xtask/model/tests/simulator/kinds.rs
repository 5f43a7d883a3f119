// SPDX-License-Identifier: GPL-2.0

//! The special cases to inject: which there are, what each must be counted as,
//! and the frame that brings it about, made from the endpoint's state.

use toe_model::logic::{reason::SpecialCase, wire::flags};

use self::{Kind as K, SpecialCase as S};
use crate::craft::{sack, timestamp, Craft, Extra};
use crate::endpoint::Endpoint;
use crate::Stream;

/// What happens to the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    OldData,
    OldAndNew,
    OldEmpty,
    Future,
    FutureEmpty,
    AckBeyond,
    AckOld,
    DupAck,
    Sack,
    RstBelow,
    RstAbove,
    SynBelow,
    SynAckBelow,
    FinBelow,
    FinAbove,
    Urg,
    IpOptions,
    FragmentV4,
    FragmentV6,
    ExtHeader,
    NoAckFlag,
    ShortDataOffset,
    LongDataOffset,
    Checksum,
    IpChecksum,
    UnknownOption,
    MalformedOption,
    NoTimestamp,
    StrayTimestamp,
    Paws,
    CongestionMark,
    Ece,
    Cwr,
    ZeroWindow,
    WindowShrunk,
    BeyondWindow,
    EndBeyondWindow,
    ProbeOld,
    ProbeByte,
    NoMemory,
    NoMemoryToSend,
    ForeignBuffer,
    Rto,
    Persist,
    Keepalive,
    HostRetransmit,
    PathMtu,
    MtuProbe,
}

impl Kind {
    /// Returns whether it is not a frame that brings it about.
    pub fn is_the_hosts(self) -> bool {
        matches!(
            self,
            K::NoMemoryToSend
                | K::ForeignBuffer
                | K::Rto
                | K::Persist
                | K::Keepalive
                | K::HostRetransmit
                | K::PathMtu
                | K::MtuProbe
        )
    }
}

/// What each must be counted as, and nothing else.
pub const KINDS: [(Kind, Option<SpecialCase>); 48] = [
    (K::OldData, Some(S::OldSequence)),
    (K::OldAndNew, Some(S::OldSequence)),
    (K::OldEmpty, Some(S::OldSequence)),
    (K::Future, Some(S::OutOfOrder)),
    (K::FutureEmpty, Some(S::OutOfOrder)),
    (K::AckBeyond, Some(S::AckOutside)),
    (K::AckOld, Some(S::AckOutside)),
    (K::DupAck, Some(S::DupAck)),
    (K::Sack, Some(S::Sack)),
    (K::RstBelow, Some(S::Rst)),
    (K::RstAbove, Some(S::Rst)),
    (K::SynBelow, Some(S::Syn)),
    (K::SynAckBelow, Some(S::Syn)),
    (K::FinBelow, Some(S::Fin)),
    (K::FinAbove, Some(S::Fin)),
    (K::Urg, Some(S::Urg)),
    (K::IpOptions, Some(S::IpOptions)),
    (K::FragmentV4, Some(S::Fragment)),
    (K::FragmentV6, Some(S::Fragment)),
    (K::ExtHeader, Some(S::ExtHeader)),
    (K::NoAckFlag, Some(S::BadHeader)),
    (K::ShortDataOffset, None),
    (K::LongDataOffset, None),
    (K::Checksum, Some(S::BadChecksum)),
    (K::IpChecksum, None),
    (K::UnknownOption, Some(S::BadOption)),
    (K::MalformedOption, Some(S::BadOption)),
    (K::NoTimestamp, Some(S::NoTimestamp)),
    (K::StrayTimestamp, Some(S::BadOption)),
    (K::Paws, Some(S::Paws)),
    (K::CongestionMark, Some(S::Ecn)),
    (K::Ece, Some(S::Ecn)),
    (K::Cwr, Some(S::Ecn)),
    (K::ZeroWindow, Some(S::ZeroWindow)),
    (K::WindowShrunk, Some(S::WindowShrunk)),
    (K::BeyondWindow, Some(S::BeyondWindow)),
    (K::EndBeyondWindow, Some(S::BeyondWindow)),
    (K::ProbeOld, Some(S::WindowProbe)),
    (K::ProbeByte, Some(S::WindowProbe)),
    (K::NoMemory, Some(S::NoMemory)),
    (K::NoMemoryToSend, Some(S::NoMemory)),
    (K::ForeignBuffer, Some(S::ForeignBuffer)),
    (K::Rto, Some(S::Rto)),
    (K::Persist, Some(S::Persist)),
    (K::Keepalive, Some(S::Keepalive)),
    (K::HostRetransmit, Some(S::HostRetransmit)),
    (K::PathMtu, Some(S::PathMtu)),
    (K::MtuProbe, Some(S::MtuProbe)),
];

/// An ACK that says what the endpoint knows already.
pub fn plain(a: &Endpoint) -> Craft {
    let window = (a.c.snd_wnd >> a.c.constant.snd_wscale).min(65_535) as u16;
    let ts = a.c.constant.ts_ok.then_some(a.c.ts_recent);
    Craft::new(a.c.rcv_nxt, a.c.snd_una, window, ts)
}

/// `len` bytes of the stream from `from` bytes behind the next one expected.
pub fn bytes(a: &Endpoint, down: &Stream, from: i64, len: u32) -> Vec<u8> {
    let start = a.c.bytes_received.wrapping_add_signed(from);
    (start..start + u64::from(len))
        .map(|i| down.byte(i))
        .collect()
}

/// The frame for `kind`, if there is one now; the peer has sent `coming` bytes
/// more in order.
pub fn craft(kind: Kind, a: &Endpoint, coming: u32, down: &Stream) -> Option<Craft> {
    let c = &a.c;
    let nxt = c.rcv_nxt;
    let window = c.receive_window();
    let above = nxt.add(window + 5);
    let half = coming / 2;
    let mut f = plain(a);
    let behind = |f: Craft, option: &[u8]| Craft {
        options: [&f.options[..], option].concat(),
        ..f
    };
    // What the host stack takes comes with data, if there is any to come.
    let data = |f: Craft| Craft {
        payload: bytes(a, down, 0, half),
        ..f
    };
    match kind {
        K::OldData | K::OldAndNew => {
            let old = c.bytes_received.min(100) as u32;
            let new = if kind == K::OldAndNew { half } else { 0 };
            f.seq = nxt.sub(old);
            f.payload = bytes(a, down, -i64::from(old), old + new);
            (old > 0 && window > 0).then_some(f)
        }
        K::OldEmpty => {
            f.seq = nxt.sub(1);
            (window > 0).then_some(f)
        }
        K::Future => {
            f.seq = nxt.add(half);
            f.payload = bytes(a, down, half.into(), coming - half);
            (half > 0).then_some(f)
        }
        K::FutureEmpty => {
            f.seq = nxt.add(half.max(1));
            (window > half).then_some(f)
        }
        K::AckBeyond => {
            f.ack = c.snd_nxt.add(1000);
            Some(f)
        }
        K::AckOld => {
            f.ack = c.snd_una.sub(1);
            Some(f)
        }
        K::DupAck => (!c.all_acked()).then_some(f),
        K::Sack => {
            // Of the last byte in flight, or of one that is acknowledged.
            let end = c.snd_nxt;
            Some(behind(f, &sack(end.sub(1), end)))
        }
        K::RstBelow | K::SynBelow | K::SynAckBelow | K::FinBelow => {
            f.seq = nxt.sub(5);
            f.flags = match kind {
                K::RstBelow => flags::RST | flags::ACK,
                K::SynBelow => flags::SYN,
                K::SynAckBelow => flags::SYN | flags::ACK,
                _ => flags::FIN | flags::ACK,
            };
            Some(f)
        }
        K::RstAbove | K::FinAbove => {
            f.seq = above;
            f.flags = match kind {
                K::RstAbove => flags::RST,
                _ => flags::FIN | flags::ACK,
            };
            Some(f)
        }
        K::Urg => {
            f.flags |= flags::URG;
            Some(data(f))
        }
        K::IpOptions | K::FragmentV4 | K::FragmentV6 | K::ExtHeader => {
            f.extra = match kind {
                K::IpOptions => Extra::IpOptions,
                K::ExtHeader => Extra::ExtHeader,
                _ => Extra::Fragment,
            };
            Some(data(f))
        }
        K::NoAckFlag => {
            f.flags = flags::PSH;
            Some(data(f))
        }
        K::ShortDataOffset | K::LongDataOffset => {
            f.data_offset = Some(if kind == K::ShortDataOffset { 4 } else { 15 });
            Some(f)
        }
        K::Checksum => {
            f.checksum_error = 0x10;
            Some(data(f))
        }
        K::IpChecksum => {
            f.ip_checksum_error = 1;
            Some(data(f))
        }
        K::UnknownOption => Some(data(behind(f, &[77, 4, 1, 2]))),
        K::MalformedOption => Some(data(behind(f, &[3, 0]))),
        K::NoTimestamp => {
            f.options.clear();
            Some(data(f))
        }
        K::StrayTimestamp => {
            f.options = timestamp(1);
            Some(data(f))
        }
        K::Paws => {
            f.options = timestamp(c.ts_recent.wrapping_sub(1));
            Some(data(f))
        }
        K::CongestionMark => {
            f.tos = 3;
            Some(data(f))
        }
        K::Ece | K::Cwr => {
            f.flags |= if kind == K::Ece {
                flags::ECE
            } else {
                flags::CWR
            };
            Some(data(f))
        }
        K::ZeroWindow => {
            // An ACK that overtook lost data may have said more of the window.
            let open = f.window > 0 && !c.snd_wl1.after(nxt);
            f.window = 0;
            open.then_some(f)
        }
        K::WindowShrunk => {
            // Behind the last update, so that it counts.
            let counts = f.window > 1 && c.snd_wl1.before(nxt);
            f.window /= 2;
            counts.then_some(f)
        }
        K::BeyondWindow => {
            f.seq = above;
            f.payload = vec![0xee; 3];
            Some(f)
        }
        K::EndBeyondWindow => {
            // The host must not take what the peer has not sent: the ACK number is
            // wrong as well, which the engine would look at later.
            f.ack = c.snd_nxt.add(1000);
            f.payload = vec![0xee; window as usize + 1];
            (window > 0).then_some(f)
        }
        K::ProbeOld | K::ProbeByte => {
            if kind == K::ProbeOld {
                f.seq = nxt.sub(1);
            } else {
                f.payload = bytes(a, down, 0, 1);
            }
            (window == 0).then_some(f)
        }
        K::NoMemory => (half > 0).then(|| data(f)),
        _ => None,
    }
}
