// SPDX-License-Identifier: GPL-2.0

//! The life of a connection between host stack and target: which of the two
//! owns it, and which events move it.
//!
//! Claims: Documentation/networking/toe-claims.rst

/// Who owns the connection. A connection is in exactly one mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Mode {
    /// The host stack owns the connection; the target does not know of it.
    #[default]
    Host = 0,
    /// The host stack still owns it; the target was asked and has not answered.
    Offloading = 1,
    /// The target owns the delegated state.
    Delegated = 2,
    /// The entry is kept, the host stack works, and the target waits to
    /// resynchronise.
    Legacy = 3,
    /// The delegated state is on its way back to the host stack.
    Uploading = 4,
}

/// What moves a connection from one mode to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ModeEvent {
    /// The socket layer decided to offload and asks the target.
    Initiate = 0,
    /// The target accepted and has taken over the state.
    Accept = 1,
    /// The target refused, or the attempt failed.
    Refuse = 2,
    /// A special case: from here on frames go to legacy buffers.
    Special = 3,
    /// The target saw the host stack's ACK pass its sequence number.
    Resync = 4,
    /// The connection must go back to the host stack, for any reason.
    Upload = 5,
    /// All state is back in the host stack and the entry is released.
    Uploaded = 6,
}

/// An event that the connection's mode does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IllegalTransition;

impl Mode {
    /// All modes.
    #[cfg_attr(
        all(MODULE, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "tests go through all of them")
    )]
    pub const ALL: [Self; 5] = [
        Self::Host,
        Self::Offloading,
        Self::Delegated,
        Self::Legacy,
        Self::Uploading,
    ];

    /// The mode after `event`. On error the mode is unchanged.
    pub const fn next(self, event: ModeEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Host, ModeEvent::Initiate) => Ok(Self::Offloading),
            (Self::Offloading, ModeEvent::Accept) => Ok(Self::Delegated),
            (Self::Offloading, ModeEvent::Refuse) => Ok(Self::Host),
            (Self::Delegated, ModeEvent::Special) => Ok(Self::Legacy),
            (Self::Legacy, ModeEvent::Resync) => Ok(Self::Delegated),
            (Self::Offloading | Self::Delegated | Self::Legacy, ModeEvent::Upload) => {
                Ok(Self::Uploading)
            }
            (Self::Uploading, ModeEvent::Uploaded) => Ok(Self::Host),
            _ => Err(IllegalTransition),
        }
    }

    /// The name that debugfs and tracepoints show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Offloading => "offloading",
            Self::Delegated => "delegated",
            Self::Legacy => "legacy",
            Self::Uploading => "uploading",
        }
    }
}

impl ModeEvent {
    /// All events.
    #[cfg_attr(
        all(MODULE, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "tests go through all of them")
    )]
    pub const ALL: [Self; 7] = [
        Self::Initiate,
        Self::Accept,
        Self::Refuse,
        Self::Special,
        Self::Resync,
        Self::Upload,
        Self::Uploaded,
    ];
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_state))]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut mode = Mode::default();
        for event in [
            ModeEvent::Initiate,
            ModeEvent::Accept,
            ModeEvent::Special,
            ModeEvent::Resync,
            ModeEvent::Upload,
            ModeEvent::Uploaded,
        ] {
            let next = mode.next(event);
            assert!(next.is_ok());
            mode = next.unwrap_or(mode);
        }
        assert_eq!(mode, Mode::Host);
    }

    #[test]
    fn exactly_nine_transitions_are_legal() {
        let mut legal = 0;
        for mode in Mode::ALL {
            for event in ModeEvent::ALL {
                if let Ok(next) = mode.next(event) {
                    assert!(next != mode);
                    legal += 1;
                }
            }
        }
        assert_eq!(legal, 9);
    }
}
