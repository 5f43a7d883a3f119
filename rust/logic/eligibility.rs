// SPDX-License-Identifier: GPL-2.0

//! Whether a socket's connection is one that a target could take over, by what the host
//! stack knows of it; and which answers may be others later.

use super::{
    filter::Filter,
    reason::Refusal, //
};

/// What the offload decision reads of a socket, under its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eligibility {
    /// There is a connection, be it half closed: neither CLOSE, LISTEN nor SYN_SENT.
    pub connected: bool,
    /// It is ESTABLISHED or CLOSE_WAIT.
    pub established: bool,
    /// The sending direction is shut down.
    pub shutdown: bool,
    /// An upper layer protocol (`TCP_ULP`) is in place.
    pub ulp: bool,
    /// It is a subflow of an MPTCP connection.
    pub mptcp: bool,
    /// It belongs to an SMC socket.
    pub smc: bool,
    /// It is in a sockmap.
    pub sockmap: bool,
    /// Its methods are the host stack's own.
    pub plain: bool,
    /// Somebody else in the kernel uses it (`sk_user_data`).
    pub user_data: bool,
    /// It is in `TCP_REPAIR` mode.
    pub repair: bool,
    /// TCP-MD5 or TCP-AO keys are in use.
    pub md5_ao: bool,
    /// It has a PSP association.
    pub psp: bool,
    /// The TCP Fast Open exchange is not finished.
    pub fastopen: bool,
    /// Received data waits for a gap to be filled.
    pub out_of_order: bool,
    /// Urgent data is pending in either direction.
    pub urgent: bool,
    /// Loss recovery is under way.
    pub in_recovery: bool,
    /// Explicit congestion notification is in use.
    pub ecn: bool,
    /// The congestion control does more than the target's engines ask it for.
    pub own_cc: bool,
    /// Pacing is on.
    pub pacing: bool,
    /// Timestamps or delayed transmission are asked for.
    pub timestamping: bool,
    /// IP options or extension headers are set.
    pub ip_options: bool,
    /// The host stack probes the peer, whose window is shut or who is silent.
    pub probing: bool,
    /// It looks for a larger path MTU.
    pub mtu_probe: bool,
    /// TCP's memory, or the cgroup's, is short.
    pub pressure: bool,
}

impl Eligibility {
    /// What speaks against an offload first.
    #[inline]
    pub const fn check(&self) -> Result<(), Refusal> {
        // One after the other: for most sockets nothing is found.
        macro_rules! refuse {
            ($($bad:expr => $reason:ident,)+) => {
                $( if $bad { return Err(Refusal::$reason); } )+
            };
        }
        refuse! {
            self.shutdown && self.connected => Shutdown,
            !self.established => NotEstablished,
            self.ulp => OtherUlp,
            self.mptcp => Mptcp,
            self.smc => Smc,
            self.sockmap => Sockmap,
            !self.plain => OtherProto,
            self.user_data => UserData,
            self.repair => TcpRepair,
            self.md5_ao => Md5Ao,
            self.psp => Psp,
            self.fastopen => Fastopen,
            self.out_of_order => OutOfOrder,
            self.urgent => Urgent,
            self.in_recovery => Recovery,
            self.ecn => Ecn,
            self.own_cc => CongestionControl,
            self.pacing => Pacing,
            self.timestamping => UnsupportedOption,
            self.ip_options => IpOptions,
            self.probing => ZeroWindow,
            self.mtu_probe => MtuProbe,
            self.pressure => NoMemory,
        }
        Ok(())
    }
}

/// Returns whether it is worth while to look at the connection again that was refused for
/// `reason`: it may pass, and a filter may be taken away.
pub fn may_change(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::MinBytes
            | Refusal::MinSegments
            | Refusal::MinAge
            | Refusal::RuleWait
            | Refusal::Neighbour
            | Refusal::Recovery
            | Refusal::OutOfOrder
            | Refusal::ZeroWindow
            | Refusal::MtuProbe
            | Refusal::Backoff
            | Refusal::NoMemory
            | Refusal::Contended
            | Refusal::DeviceDown
            | Refusal::Target
    ) || Filter::ALL.iter().any(|filter| filter.refusal() == reason)
}

/// Whether another member of the bond may take a connection that this one does not, for
/// `reason`: it is the device's, not the connection's.
pub fn may_differ(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::TableFull
            | Refusal::ConnLimit
            | Refusal::Policy
            | Refusal::PortLimit
            | Refusal::AddressLimit
            | Refusal::Rule
            | Refusal::NoRule
            | Refusal::Vlan
            | Refusal::Family
            | Refusal::SmallMss
            | Refusal::FrameSize
            | Refusal::NotToeDevice
    )
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_eligibility))]
mod tests {
    use super::*;

    const ELIGIBLE: Eligibility = Eligibility {
        connected: true,
        established: true,
        shutdown: false,
        ulp: false,
        mptcp: false,
        smc: false,
        sockmap: false,
        plain: true,
        user_data: false,
        repair: false,
        md5_ao: false,
        psp: false,
        fastopen: false,
        out_of_order: false,
        urgent: false,
        in_recovery: false,
        ecn: false,
        own_cc: false,
        pacing: false,
        timestamping: false,
        ip_options: false,
        probing: false,
        mtu_probe: false,
        pressure: false,
    };

    type Row = (fn(&mut Eligibility), Refusal);

    /// What speaks against an offload, in the order in which it is named.
    const ROWS: [Row; 23] = [
        (|e| e.shutdown = true, Refusal::Shutdown),
        (|e| e.established = false, Refusal::NotEstablished),
        (|e| e.ulp = true, Refusal::OtherUlp),
        (|e| e.mptcp = true, Refusal::Mptcp),
        (|e| e.smc = true, Refusal::Smc),
        (|e| e.sockmap = true, Refusal::Sockmap),
        (|e| e.plain = false, Refusal::OtherProto),
        (|e| e.user_data = true, Refusal::UserData),
        (|e| e.repair = true, Refusal::TcpRepair),
        (|e| e.md5_ao = true, Refusal::Md5Ao),
        (|e| e.psp = true, Refusal::Psp),
        (|e| e.fastopen = true, Refusal::Fastopen),
        (|e| e.out_of_order = true, Refusal::OutOfOrder),
        (|e| e.urgent = true, Refusal::Urgent),
        (|e| e.in_recovery = true, Refusal::Recovery),
        (|e| e.ecn = true, Refusal::Ecn),
        (|e| e.own_cc = true, Refusal::CongestionControl),
        (|e| e.pacing = true, Refusal::Pacing),
        (|e| e.timestamping = true, Refusal::UnsupportedOption),
        (|e| e.ip_options = true, Refusal::IpOptions),
        (|e| e.probing = true, Refusal::ZeroWindow),
        (|e| e.mtu_probe = true, Refusal::MtuProbe),
        (|e| e.pressure = true, Refusal::NoMemory),
    ];

    #[test]
    fn each_alone() {
        assert!(ELIGIBLE.check().is_ok());
        for (spoil, reason) in ROWS {
            let mut e = ELIGIBLE;
            spoil(&mut e);
            assert!(e.check() == Err(reason));
        }
    }

    #[test]
    fn the_first_one_is_named() {
        let mut e = ELIGIBLE;
        for (spoil, reason) in ROWS.into_iter().rev() {
            spoil(&mut e);
            assert!(e.check() == Err(reason));
        }
    }

    #[test]
    fn what_was_never_connected_is_not_shut_down() {
        let e = Eligibility {
            connected: false,
            established: false,
            shutdown: true,
            ..ELIGIBLE
        };
        assert!(e.check() == Err(Refusal::NotEstablished));
    }

    #[test]
    fn what_may_change() {
        // The connection's nature, the policy and the table stay what they are.
        let stays = [
            Refusal::NotEstablished,
            Refusal::OtherProto,
            Refusal::OtherUlp,
            Refusal::TcpRepair,
            Refusal::Psp,
            Refusal::Md5Ao,
            Refusal::Urgent,
            Refusal::NoRoute,
            Refusal::NotToeDevice,
            Refusal::Sockmap,
            Refusal::UserData,
            Refusal::TableFull,
            Refusal::ConnLimit,
            Refusal::UnsupportedOption,
            Refusal::CongestionControl,
            Refusal::Policy,
            Refusal::PortLimit,
            Refusal::AddressLimit,
            Refusal::Mptcp,
            Refusal::Smc,
            Refusal::Fastopen,
            Refusal::Shutdown,
            Refusal::Ecn,
            Refusal::Pacing,
            Refusal::Already,
            Refusal::SmallMss,
            Refusal::Rule,
            Refusal::NoRule,
            Refusal::IpOptions,
            Refusal::Duplicate,
            Refusal::Vlan,
            Refusal::BondMode,
            Refusal::Family,
            Refusal::FrameSize,
        ];
        for reason in Refusal::ALL {
            assert!(may_change(*reason) != stays.contains(reason));
            assert!(!may_differ(*reason) || !may_change(*reason));
        }
    }
}
