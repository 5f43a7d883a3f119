// SPDX-License-Identifier: GPL-2.0

//! Properties of each part of the logic, over arbitrary input.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as smol;
use toe_model::logic::{
    conn::{ConnCached, ConnConst, ConnData, ConnDelegated},
    expect::Expected,
    hwid::Hwid,
    policy::{Backoff, Limits, Policy, Prefix},
    rtt::Rtt,
    seq::Seq,
    slots::{NoSlot, Place, Places, Slots},
    state::{Mode, ModeEvent},
    template::{HeaderTemplate, TemplateParams, TxFields},
    transmit::{self, next_send, SendVerdict, SendView, TsoView, WaitReason},
    tuple::{Family, Tuple},
    vlan::{self, Tags},
    window,
    wire::{self, FrameError, OptKind},
};

fn any_tuple() -> impl Strategy<Value = Tuple> {
    let addresses = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(l, r)| Tuple::v4(l, 0, r, 0)),
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(l, r)| Tuple::v6(l, 0, r, 0)),
    ];
    (addresses, any::<u16>(), any::<u16>(), any_tags()).prop_map(|(t, lport, rport, vlan)| Tuple {
        lport,
        rport,
        vlan,
        ..t
    })
}

/// None, one or two tags.
fn any_tags() -> impl Strategy<Value = Tags> {
    let tag = (any::<bool>(), 1u16..4095);
    prop::collection::vec(tag, 0..=vlan::MAX_TAGS).prop_map(|list| {
        let proto = |service| [wire::ETHERTYPE_VLAN, wire::ETHERTYPE_QINQ][usize::from(service)];
        list.into_iter().fold(Tags::NONE, |tags, (service, vid)| {
            tags.with_inner(proto(service), vid).expect("room")
        })
    })
}

/// The frame with tags, which carry `priority`, behind the link addresses.
fn tagged(frame: &[u8], tags: Tags, priority: u8) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for (proto, vid) in tags.iter() {
        out.extend(proto.to_be_bytes());
        out.extend((vid | u16::from(priority) << 13).to_be_bytes());
    }
    out.extend(&frame[12..]);
    out
}

fn any_params() -> impl Strategy<Value = TemplateParams> {
    (
        any_tuple(),
        any::<u8>(),
        any::<u8>(),
        any::<u32>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(tuple, tos, ttl, flow_label, df, ts_ok)| TemplateParams {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            tuple,
            tos,
            ttl,
            flow_label,
            df,
            ts_ok,
        })
}

fn any_fields() -> impl Strategy<Value = TxFields> {
    (
        any::<[u32; 4]>(),
        0u16..512,
        any::<u16>(),
        0u32..3000,
        any::<u16>(),
        any::<bool>(),
    )
        .prop_map(
            |([seq, ack, tsval, tsecr], flags, window, payload_len, ip_id, gso)| TxFields {
                seq: Seq(seq),
                ack: Seq(ack),
                flags,
                window,
                tsval,
                tsecr,
                payload_len,
                ip_id,
                gso,
            },
        )
}

/// Headers by the template, zeros as payload.
fn frame(t: &HeaderTemplate, f: &TxFields) -> Vec<u8> {
    let mut out = vec![0; t.len() + f.payload_len as usize];
    t.write(&mut out, f).expect("fits");
    out
}

/// Slots per piece of memory.
const CHUNK: u32 = 8;

/// Places in pieces of memory, of which only so many may be provided.
struct Heap {
    places: Vec<Place>,
    limit: u32,
}

impl Places for Heap {
    fn with<R>(&mut self, index: u32, f: impl FnOnce(&mut Place) -> R) -> Option<R> {
        self.places.get_mut(index as usize).map(f)
    }

    fn provide(&mut self, index: u32) -> bool {
        let chunks = index / CHUNK + 1;
        if chunks > self.limit {
            return false;
        }
        let len = self.places.len().max((chunks * CHUNK) as usize);
        self.places.resize(len, Place::FRESH);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn sequence_numbers_agree_with_wide_integers(base in any::<u32>(), a in 0u32..1 << 30, b in 0u32..1 << 30, c in 0u32..1 << 30) {
        let at = |x: u32| Seq(base).add(x);
        prop_assert_eq!(at(a).before(at(b)), a < b);
        prop_assert_eq!(at(a).after(at(b)), a > b);
        prop_assert_eq!(at(a).at_or_before(at(b)), a <= b);
        let (lo, hi) = (b.min(c), b.max(c));
        prop_assert_eq!(at(a).between(at(lo), at(hi)), lo <= a && a <= hi);
        prop_assert_eq!(at(a).saturating_dist_from(at(b)), a.saturating_sub(b));
        prop_assert_eq!(at(a).sub(a), Seq(base));
        prop_assert_eq!(at(hi).dist_from(at(lo)), hi - lo);
    }

    #[test]
    fn parser_takes_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), more in 0u32..200_000) {
        let _ = wire::parse(&bytes, bytes.len() as u32 + more);
        // Also when the frame claims to be shorter than what is there.
        let _ = wire::parse(&bytes, more);
    }

    #[test]
    fn fuzz_entry(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        toe_model::fuzz::run(&bytes);
    }

    #[test]
    fn parser_reads_what_the_template_wrote(p in any_params(), f in any_fields(), padding in 0usize..7, priority in 0u8..8) {
        let t = HeaderTemplate::new(&p);
        let mut out = tagged(&frame(&t, &f), p.tuple.vlan, priority);
        let tags = p.tuple.vlan.len() * wire::VLAN_LEN;
        out.resize(out.len() + padding, 0xaa);
        let Ok(s) = wire::parse(&out, out.len() as u32) else {
            return Err(TestCaseError::fail("not a segment"));
        };
        prop_assert_eq!(s.tuple, p.tuple.reversed());
        prop_assert_eq!((s.seq, s.ack, s.flags, s.window), (f.seq, f.ack, f.flags, f.window));
        prop_assert_eq!(s.payload, f.payload_len);
        prop_assert_eq!(s.ts, p.ts_ok.then_some((f.tsval, f.tsecr)));
        prop_assert_eq!(s.opts == OptKind::Timestamp, p.ts_ok);
        prop_assert_eq!(usize::from(s.data_off), t.len() + tags);
        prop_assert_eq!(usize::from(s.l4_off), t.l4_off() + tags);
        prop_assert_eq!(s.dscp << 2 | s.ip_ecn, p.tos);
        prop_assert_eq!(s.hop_limit, p.ttl);

        let mut fast = wire::Segment::default();
        let expected = Expected::new(&p.dst_mac, &s.tuple);
        let plain = p.ts_ok && tags == 0;
        prop_assert_eq!(expected.parse(&out, out.len() as u32, &mut fast), plain);
        if plain {
            fast.tuple = s.tuple;
            prop_assert_eq!(fast, s);
            // Another station's, or another connection's.
            for wrong in [
                Expected::new(&p.src_mac, &s.tuple),
                Expected::new(&p.dst_mac, &p.tuple),
            ] {
                let taken = wrong.parse(&out, out.len() as u32, &mut wire::Segment::default());
                prop_assert_eq!(taken, wrong == expected);
            }
        }
    }

    /// Tags in the frame and tags that a NIC took out make the same tuple.
    #[test]
    fn tags_in_the_frame_and_beside_it(p in any_params(), f in any_fields(), priority in 0u8..8) {
        let all = p.tuple.vlan;
        let out = tagged(&frame(&HeaderTemplate::new(&p), &f), all, priority);
        let inside = wire::parse(&out, out.len() as u32).map(|s| s.tuple);
        prop_assert_eq!(inside, Ok(p.tuple.reversed()));
        if let Some((proto, vid)) = all.iter().next() {
            let mut beside = wire::Segment::default();
            beside.tuple.vlan = Tags::NONE.with_inner(proto, vid).expect("a tag");
            let rest = [&out[..12], &out[16..]].concat();
            prop_assert!(wire::parse_into(&rest, rest.len() as u32, &mut beside).is_ok());
            prop_assert_eq!(Ok(beside.tuple), inside);
        }
    }

    /// An independent implementation finds the same in the template's frames,
    /// and right checksums once the device has completed them.
    #[test]
    fn smoltcp_reads_what_the_template_wrote(p in any_params(), f in any_fields()) {
        let t = HeaderTemplate::new(&p);
        let mut out = frame(&t, &f);
        let l4 = t.l4_off();
        let mut sum: u32 = out[l4..].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        out[l4 + 16..l4 + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());

        let (src, dst) = match p.tuple.family {
            Family::V4 => {
                let ip = smol::Ipv4Packet::new_checked(&out[t.l3_off()..]).unwrap();
                prop_assert!(ip.verify_checksum());
                prop_assert_eq!(ip.dont_frag(), p.df);
                prop_assert_eq!(ip.ident(), f.ip_id);
                prop_assert_eq!(usize::from(ip.total_len()), out.len() - t.l3_off());
                (smol::IpAddress::Ipv4(ip.src_addr()), smol::IpAddress::Ipv4(ip.dst_addr()))
            }
            Family::V6 => {
                let ip = smol::Ipv6Packet::new_checked(&out[t.l3_off()..]).unwrap();
                prop_assert_eq!(ip.traffic_class(), p.tos);
                prop_assert_eq!(ip.flow_label(), p.flow_label & 0xf_ffff);
                prop_assert_eq!(usize::from(ip.payload_len()), out.len() - l4);
                (smol::IpAddress::Ipv6(ip.src_addr()), smol::IpAddress::Ipv6(ip.dst_addr()))
            }
        };
        let tcp = smol::TcpPacket::new_checked(&out[l4..]).unwrap();
        prop_assert!(tcp.verify_checksum(&src, &dst));
        prop_assert_eq!((tcp.src_port(), tcp.dst_port()), (p.tuple.lport, p.tuple.rport));
        prop_assert_eq!(tcp.seq_number().0 as u32, f.seq.0);
        prop_assert_eq!(tcp.ack_number().0 as u32, f.ack.0);
        prop_assert_eq!(tcp.window_len(), f.window);
        prop_assert_eq!(tcp.payload().len(), f.payload_len as usize);
    }

    #[test]
    fn parser_reads_what_smoltcp_wrote(
        seq in any::<i32>(),
        ack in any::<i32>(),
        window in any::<u16>(),
        ts in any::<Option<(u32, u32)>>(),
        sack in any::<Option<(u32, u32)>>(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let repr = smol::TcpRepr {
            src_port: 1,
            dst_port: 2,
            control: smol::TcpControl::None,
            seq_number: smol::TcpSeqNumber(seq),
            ack_number: Some(smol::TcpSeqNumber(ack)),
            window_len: window,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [sack, None, None],
            timestamp: ts.map(|(tsval, tsecr)| smol::TcpTimestampRepr { tsval, tsecr }),
            payload: &payload,
        };
        let src = smol::Ipv4Address::new(10, 0, 0, 1);
        let dst = smol::Ipv4Address::new(10, 0, 0, 2);
        let ip = smol::Ipv4Repr {
            src_addr: src,
            dst_addr: dst,
            next_header: smol::IpProtocol::Tcp,
            payload_len: repr.buffer_len(),
            hop_limit: 9,
        };
        let caps = ChecksumCapabilities::default();
        let mut out = vec![0; 14 + 20 + repr.buffer_len()];
        out[12] = 8;
        ip.emit(&mut smol::Ipv4Packet::new_unchecked(&mut out[14..]), &caps);
        repr.emit(
            &mut smol::TcpPacket::new_unchecked(&mut out[34..]),
            &smol::IpAddress::Ipv4(src),
            &smol::IpAddress::Ipv4(dst),
            &caps,
        );
        let Ok(s) = wire::parse(&out, out.len() as u32) else {
            return Err(TestCaseError::fail("not a segment"));
        };
        prop_assert_eq!(s.tuple, Tuple::v4([10, 0, 0, 2], 2, [10, 0, 0, 1], 1));
        prop_assert_eq!((s.seq, s.ack), (Seq(seq as u32), Seq(ack as u32)));
        prop_assert_eq!(s.window, window);
        prop_assert_eq!(s.ts, ts);
        let kind = match (sack, ts) {
            (Some(_), _) => OptKind::Sack,
            (_, Some(_)) => OptKind::Timestamp,
            _ => OptKind::None,
        };
        prop_assert_eq!(s.opts, kind);
        prop_assert_eq!(&out[usize::from(s.data_off)..], &payload[..]);
    }

    /// Any single changed bit of an IPv4 header is a special case without a
    /// connection, or no TCP.
    #[test]
    fn changed_ipv4_header_reaches_no_connection(p in any_params(), f in any_fields(), bit in 0usize..160) {
        let p = TemplateParams { tuple: Tuple::v4([10, 0, 0, 1], 1, [10, 0, 0, 2], 2), ..p };
        let t = HeaderTemplate::new(&p);
        let mut out = frame(&t, &f);
        out[t.l3_off() + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(matches!(
            wire::parse(&out, out.len() as u32),
            Err(FrameError::NotTcp | FrameError::Special(_, None))
        ));
    }

    #[test]
    fn state_machine(events in prop::collection::vec(0usize..7, 0..40)) {
        let mut mode = Mode::Host;
        for event in events {
            let event = ModeEvent::ALL[event];
            if let Ok(next) = mode.next(event) {
                // The target never owns what it did not accept.
                prop_assert!(next != Mode::Delegated || matches!(event, ModeEvent::Accept | ModeEvent::Resync));
                prop_assert!(next != Mode::Host || matches!(event, ModeEvent::Refuse | ModeEvent::Uploaded));
                mode = next;
            }
        }
        // From everywhere an upload leads home.
        if mode != Mode::Host {
            mode = mode.next(ModeEvent::Upload).unwrap_or(mode);
            prop_assert_eq!(mode.next(ModeEvent::Uploaded), Ok(Mode::Host));
        }
    }

    #[test]
    fn hwid_round_trip(index in any::<u32>(), generation in any::<u32>()) {
        match Hwid::new(index, generation) {
            Some(id) => {
                prop_assert_eq!((id.index(), id.generation()), (index, generation));
                prop_assert_eq!(Hwid::from_raw(id.raw()), Some(id));
            }
            None => prop_assert_eq!(generation, 0),
        }
    }

    #[test]
    fn slots_against_a_hash_map(
        capacity in 0u32..5 * CHUNK,
        limit in 1u32..4,
        ops in prop::collection::vec((0u8..8, any::<prop::sample::Index>()), 0..1500),
    ) {
        let mut slots = Slots::EMPTY;
        let mut heap = Heap { places: Vec::new(), limit };
        let mut live: HashMap<u32, Hwid> = HashMap::new();
        let mut order: Vec<Hwid> = Vec::new();
        let mut free: Vec<u32> = Vec::new();
        let mut seen: HashSet<u64> = HashSet::new();
        let mut stale: Vec<Hwid> = Vec::new();
        let mut capacity = capacity;
        let mut most = 0;
        for (op, pick) in ops {
            match op {
                0..=4 => {
                    let before = (slots.used(), slots.end());
                    match slots.take(&mut heap, capacity) {
                        Ok(id) => {
                            let next = free.pop().unwrap_or(before.1);
                            prop_assert_eq!(id.index(), next);
                            prop_assert!(before.0 < capacity);
                            prop_assert!(seen.insert(id.raw()));
                            prop_assert!(live.insert(id.index(), id).is_none());
                            order.push(id);
                        }
                        Err(no) => {
                            prop_assert_eq!((slots.used(), slots.end()), before);
                            let full = live.len() as u32 >= capacity;
                            prop_assert_eq!(no, if full { NoSlot::Full } else { NoSlot::NoMemory });
                            prop_assert!(full || live.len() as u32 == limit * CHUNK);
                        }
                    }
                }
                5 | 6 if !order.is_empty() => {
                    let id = order.swap_remove(pick.index(order.len()));
                    prop_assert!(slots.give_back(&mut heap, id).is_ok());
                    live.remove(&id.index());
                    free.push(id.index());
                    stale.push(id);
                }
                7 if pick.index(20) == 0 => capacity = pick.index(5 * CHUNK as usize) as u32,
                _ => {}
            }
            most = most.max(live.len() as u32);
            prop_assert_eq!(slots.used() as usize, live.len());
            prop_assert_eq!(slots.end(), most);
            if !stale.is_empty() {
                let id = stale[pick.index(stale.len())];
                prop_assert!(slots.give_back(&mut heap, id).is_err());
            }
        }
    }

    #[test]
    fn estimator_stays_within_its_samples(samples in prop::collection::vec(1u32..10_000_000, 1..200), step in 1u32..100_000) {
        let rto_min = 200_000;
        let mut rtt = Rtt::default();
        let mut una = Seq(0);
        for us in &samples {
            rtt.sample(*us, una, una.add(step), || rto_min);
            una = una.add(step);
        }
        let (lo, hi) = (*samples.iter().min().unwrap(), *samples.iter().max().unwrap());
        // Eighths are cut off on the way.
        let srtt = rtt.srtt_us >> 3;
        prop_assert!(srtt + 8 >= lo && srtt <= hi);
        prop_assert!(rtt.rttvar_us >= rto_min);
        prop_assert!(rtt.rto_us() >= srtt + rto_min);
    }

    #[test]
    fn transmit_keeps_to_windows_and_sizes(
        c in (any::<u32>(), 0u32..200_000, 0u32..200_000, 0u32..9000, 0u32..300),
        v in (0u32..200_000, any::<bool>(), 0u8..8, 0u32..300, 0u32..300, 0u32..300_000, 0u32..100, any::<bool>()),
        sml in 0u32..300_000,
        ack in prop::option::of(-3_000_000i64..3_000_000),
    ) {
        let (una, flight, wnd, mss, packets_out) = c;
        let c = ConnData { cached: ConnCached { mss, ..ConnCached::default() }, delegated: ConnDelegated { snd_una: Seq(una), snd_nxt: Seq(una).add(flight), snd_wnd: wnd, packets_out, ..ConnDelegated::default() }, ..ConnData::default() };
        let (head_len, more, nonagle, in_flight_pkts, cwnd, gso_max_size, gso_max_segs, may_defer) = v;
        let tso = TsoView { gso_max_size, gso_max_segs, ..TsoView::default() };
        let max_segs = tso.segs(mss);
        let v = SendView { head_len, more, nonagle, in_flight_pkts, cwnd, max_segs, may_defer, win_divisor: 3, srtt_ns: 1_500_000, snd_sml: Seq(una).add(sml), ..SendView::default() };
        let verdict = next_send(&c, &v, || ack);
        // With nothing in flight nobody would wake what waits.
        if ack.is_none() {
            prop_assert!(!matches!(verdict, SendVerdict::Wait(WaitReason::Defer(_))));
        }
        if let SendVerdict::Send { bytes, segs } = verdict {
            prop_assert!(bytes > 0 && bytes <= head_len);
            prop_assert!(c.snd_nxt.add(bytes).at_or_before(c.wnd_end()));
            prop_assert!(in_flight_pkts + segs <= cwnd);
            prop_assert_eq!(segs, bytes.div_ceil(mss.max(1)));
            prop_assert!(segs == 1 || segs <= gso_max_segs && bytes <= gso_max_size);
            let mut after = c;
            transmit::sent(&mut after, bytes, segs);
            prop_assert_eq!(after.snd_nxt, c.snd_nxt.add(bytes));
            prop_assert_eq!(after.packets_out, packets_out + segs);
        }
    }

    #[test]
    fn offered_window_never_moves_back(
        nxt in any::<u32>(),
        steps in prop::collection::vec((0u32..100_000, 0u32..100_000), 1..50),
        scale in 0u8..15,
    ) {
        let mut c = ConnData { constant: ConnConst { rcv_wscale: scale, ..ConnConst::default() }, delegated: ConnDelegated { rcv_nxt: Seq(nxt), rcv_wup: Seq(nxt), ..ConnDelegated::default() }, ..ConnData::default() };
        for (received, room) in steps {
            c.rcv_nxt = c.rcv_nxt.add(received.min(c.receive_window()));
            let edge = c.rcv_wup.add(c.rcv_wnd);
            let last = window::Offered {
                rcv_nxt: c.rcv_nxt,
                rcv_wup: c.rcv_wup,
                rcv_wnd: c.rcv_wnd,
                wscale: scale,
                shrink: false,
                signed: false,
            };
            let offer = window::offer(room, &last);
            (c.rcv_wnd, c.rcv_wup) = (offer.wnd, c.rcv_nxt);
            prop_assert!(edge.at_or_before(c.rcv_wup.add(c.rcv_wnd)));
            prop_assert!(u32::from(offer.field) << scale <= c.rcv_wnd);
        }
    }

    #[test]
    fn backoff_is_bounded_and_ends(gaps in prop::collection::vec(0u64..30_000, 1..60)) {
        let limits = Limits { policy: Policy::Auto, ..Limits::default() };
        let mut b = Backoff::new();
        let mut now = 1_000_000;
        for gap in gaps {
            b.uploaded(now, &limits);
            let wait = b.until_ms() - now;
            prop_assert!(wait <= u64::from(limits.reoffload_delay_max_ms));
            prop_assert!(wait >= u64::from(limits.reoffload_delay_ms));
            prop_assert!(b.check(now).is_err());
            prop_assert!(b.check(b.until_ms()).is_ok());
            now += gap;
        }
    }

    #[test]
    fn prefixes_agree_with_arithmetic(addr in any::<u32>(), other in any::<u32>(), bits in 0u8..=32) {
        let text = format!("{}/{bits}\n", std::net::Ipv4Addr::from(addr));
        let prefix = Prefix::parse(text.as_bytes()).expect("well formed");
        let tuple = Tuple::v4(other.to_be_bytes(), 0, [0; 4], 0);
        let same = bits == 0 || (addr ^ other) >> (32 - bits) == 0;
        prop_assert_eq!(prefix.contains(Family::V4, &tuple.local), same);
        let _ = Policy::parse(text.as_bytes());
    }

    #[test]
    fn prefix_and_policy_take_arbitrary_text(text in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Prefix::parse(&text);
        let _ = Policy::parse(&text);
    }
}

/// Hash values of a million likely connections fall as evenly as random ones.
#[test]
fn hash_spreads_likely_tuples() {
    const BUCKETS: usize = 1 << 16;
    for seed in [0, 1, 0xdead_beef] {
        let mut count = vec![0u32; BUCKETS];
        let mut n = 0u32;
        for host in 0..16u8 {
            for port in 0..16_384u16 {
                let t = Tuple::v4([10, 0, 0, 1], 32_768 + port, [10, 0, 0, host], 80);
                count[t.hash(seed) as usize % BUCKETS] += 1;
                let mut address = [0; 16];
                (address[0], address[15]) = (0xfd, host);
                let t = Tuple::v6([0xfd; 16], 32_768 + port, address, 80);
                count[t.hash(seed) as usize % BUCKETS] += 1;
                n += 2;
            }
        }
        // Chi square of a uniform spread is BUCKETS +- a few times its root.
        let mean = f64::from(n) / BUCKETS as f64;
        let chi: f64 = count
            .iter()
            .map(|c| (f64::from(*c) - mean).powi(2) / mean)
            .sum();
        let off = (chi - BUCKETS as f64) / (2.0 * BUCKETS as f64).sqrt();
        assert!(off < 6.0, "seed {seed}: {off} standard deviations");
    }
}

/// The estimator against numbers that the kernel's C code gave for the same
/// samples, `rto_min` 200 ms and 1000 bytes acknowledged per sample.
#[test]
fn estimator_agrees_with_the_kernel() {
    let mut rtt = Rtt::default();
    let mut una = Seq(0u32.wrapping_sub(5000));
    for (us, srtt, mdev, mdev_max, rttvar) in KERNEL_RTT {
        rtt.sample(us, una, una.add(10_000), || 200_000);
        let got = (rtt.srtt_us, rtt.mdev_us, rtt.mdev_max_us, rtt.rttvar_us);
        assert_eq!(got, (srtt, mdev, mdev_max, rttvar), "after {us}");
        una = una.add(1000);
    }
}

include!("data/kernel_rtt.rs");
