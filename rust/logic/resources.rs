// SPDX-License-Identifier: GPL-2.0

//! What a target has room for, and what it can do, at one moment; and what of that a
//! connection needs.
//!
//! Claims: Documentation/networking/toe-claims.rst

use core::fmt;

use super::{
    reason::Refusal,
    tuple::Family, //
};

/// Bytes of payload in a full segment below which no target takes a connection.
pub const MIN_MSS: u32 = 64;

/// What is left of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Connections it has room for.
    pub connections: u32,
    /// Paths it has room for,
    pub paths: u32,
    /// neighbours,
    pub neighbours: u32,
    /// and layers.
    pub layers: u32,
    /// VLAN tags that it puts into a frame, and takes out of one, at most.
    pub tags: u8,
    /// Whether it takes connections of IPv4,
    pub v4: bool,
    /// and of IPv6.
    pub v6: bool,
    /// Whether it places payload in user buffers.
    pub user_buffers: bool,
    /// Bytes of payload in the least full segment that it takes.
    pub min_mss: u32,
    /// Bytes of payload in the largest frame that it takes at once, to be cut into segments.
    pub max_payload: u32,
}

/// What a connection needs of a target.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The one of its addresses.
    pub family: Family,
    /// VLAN tags in its frames.
    pub tags: u8,
    /// Bytes of payload in a full segment.
    pub mss: u32,
    /// Whether the target has to make the neighbour that it lies on, and what comes with it.
    pub new_neighbour: bool,
    /// Whether there are layers between its route's device and the target's.
    pub layers: bool,
}

impl Resources {
    /// Takes what a connection needs, or says what is missing, and takes nothing. Objects may
    /// be shared: one that is left is enough here, and the target refuses what it has no room
    /// for in the end.
    pub fn take(&mut self, needs: &Needs) -> Result<(), Refusal> {
        let family = match needs.family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        };
        if !family {
            return Err(Refusal::Family);
        }
        if needs.tags > self.tags {
            return Err(Refusal::Vlan);
        }
        if needs.mss < self.min_mss {
            return Err(Refusal::SmallMss);
        }
        if needs.mss > self.max_payload {
            return Err(Refusal::FrameSize);
        }
        let objects = !needs.new_neighbour
            || self.paths != 0 && self.neighbours != 0 && (!needs.layers || self.layers != 0);
        match self.connections.checked_sub(1) {
            Some(left) if objects => {
                self.connections = left;
                Ok(())
            }
            _ => Err(Refusal::TableFull),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "connections {}", self.connections)?;
        writeln!(f, "paths {}", self.paths)?;
        writeln!(f, "neighbours {}", self.neighbours)?;
        writeln!(f, "layers {}", self.layers)?;
        writeln!(f, "vlan_tags {}", self.tags)?;
        writeln!(f, "ipv4 {}", u8::from(self.v4))?;
        writeln!(f, "ipv6 {}", u8::from(self.v6))?;
        writeln!(f, "user_buffers {}", u8::from(self.user_buffers))?;
        writeln!(f, "min_mss {}", self.min_mss)?;
        writeln!(f, "max_payload {}", self.max_payload)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(toe_resources))]
mod tests {
    use super::*;

    const ALL: Resources = Resources {
        connections: 2,
        paths: 1,
        neighbours: 1,
        layers: 1,
        tags: 2,
        v4: true,
        v6: true,
        user_buffers: true,
        min_mss: 64,
        max_payload: 65_536,
    };
    const NEEDS: Needs = Needs {
        family: Family::V4,
        tags: 0,
        mss: 1448,
        new_neighbour: true,
        layers: false,
    };

    #[test]
    fn each_need_has_its_refusal() {
        let v6 = Needs {
            family: Family::V6,
            ..NEEDS
        };
        let tagged = Needs {
            tags: 2,
            layers: true,
            ..NEEDS
        };
        let known = Needs {
            new_neighbour: false,
            ..NEEDS
        };
        let cases = [
            (ALL, NEEDS, None),
            (ALL, v6, None),
            (ALL, tagged, None),
            (Resources { v4: false, ..ALL }, NEEDS, Some(Refusal::Family)),
            (Resources { v4: false, ..ALL }, v6, None),
            (Resources { v6: false, ..ALL }, v6, Some(Refusal::Family)),
            (Resources { tags: 1, ..ALL }, tagged, Some(Refusal::Vlan)),
            (Resources { tags: 0, ..ALL }, NEEDS, None),
            (ALL, Needs { mss: 64, ..NEEDS }, None),
            (ALL, Needs { mss: 63, ..NEEDS }, Some(Refusal::SmallMss)),
            (
                Resources {
                    max_payload: 1447,
                    ..ALL
                },
                NEEDS,
                Some(Refusal::FrameSize),
            ),
            (
                Resources {
                    max_payload: 1448,
                    ..ALL
                },
                NEEDS,
                None,
            ),
            (
                Resources {
                    connections: 0,
                    ..ALL
                },
                known,
                Some(Refusal::TableFull),
            ),
            (
                Resources { paths: 0, ..ALL },
                NEEDS,
                Some(Refusal::TableFull),
            ),
            (
                Resources {
                    neighbours: 0,
                    ..ALL
                },
                NEEDS,
                Some(Refusal::TableFull),
            ),
            (
                Resources {
                    neighbours: 0,
                    paths: 0,
                    layers: 0,
                    ..ALL
                },
                known,
                None,
            ),
            (Resources { layers: 0, ..ALL }, NEEDS, None),
            (
                Resources { layers: 0, ..ALL },
                tagged,
                Some(Refusal::TableFull),
            ),
        ];
        for (before, needs, missing) in cases {
            let mut left = before;
            assert_eq!(left.take(&needs).err(), missing);
            let taken = u32::from(missing.is_none());
            assert_eq!(left.connections, before.connections - taken);
            assert_eq!(
                Resources {
                    connections: before.connections,
                    ..left
                },
                before
            );
        }
    }

    #[test]
    fn what_is_refused_takes_no_room() {
        let mut left = ALL;
        let short = Needs { mss: 63, ..NEEDS };
        for needs in [short, NEEDS, short, NEEDS] {
            let taken = left.take(&needs);
            assert_eq!(taken.is_ok(), needs.mss != 63);
        }
        assert_eq!(left.take(&short), Err(Refusal::SmallMss));
        assert_eq!(left.take(&NEEDS), Err(Refusal::TableFull));
    }

    #[test]
    fn entries_are_taken_until_there_are_none() {
        let mut left = ALL;
        assert_eq!(
            [(); 3].map(|()| left.take(&NEEDS).is_ok()),
            [true, true, false]
        );
    }
}
