//! What the spool holds and the server stores exactly once: positions, records and the gaps between them.

use crate::Blob;
use crate::open::open_enum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The largest body of one spooled record.
pub const MAX_RECORD: usize = 16 * 1024;

/// A queue of the spool with its own numbering. Variants stand in the order of importance, not in that of the
/// wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What a person should know soon. Kept longest.
    Alert,
    /// Signed results of work.
    Result,
    /// Measurements. First to go when the disk is full.
    Telemetry,
}

impl Lane {
    /// All lanes, the most important first.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Result, Self::Telemetry];

    /// The name stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Result => "result",
            Self::Telemetry => "telemetry",
        }
    }
}

impl Lane {
    /// The tag of the lane: its byte on the wire. A byte is never given a second meaning.
    pub const fn tag(self) -> LaneTag {
        LaneTag(match self {
            Self::Alert => 0,
            Self::Result => 1,
            Self::Telemetry => 2,
        })
    }
}

/// A lane, as messages name it. A build passes over a lane that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaneTag(u8);

impl LaneTag {
    /// The lane, if this build knows it.
    pub fn known(self) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.tag() == self)
    }

    /// The byte.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The lane of this byte.
    pub const fn of_byte(byte: u8) -> Self {
        Self(byte)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a record stands in its lane. Sequence numbers go on across boots; the boot epoch grows with every
/// start, so that a number given twice (a disk that lied about a flush) is still two positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The boot during which the record was written.
    pub epoch: u64,
    /// The number of the record in its lane, from 1.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// One record as the spool keeps it. The body is a [`crate::Payload`] in an envelope of its own, so that a
/// record written by an old build is still readable after an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The place of the record in its lane.
    pub position: Position,
    /// The encoded payload.
    pub body: Blob<MAX_RECORD>,
}

/// Numbers that were given out and whose records will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The epoch of the last number.
    pub epoch: u64,
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
    /// Why the records are missing.
    pub reason: GapReason,
}

open_enum! {
    /// Why records are missing.
    GapReason, "reason" {
        /// Dropped by the byte budget.
        Budget = 0, "budget";
        /// Damaged on disk.
        Damaged = 1, "damaged";
        /// The server acknowledged the records and has since lost them (restored from an older backup).
        LostByServer = 2, "lost_by_server";
        /// The node had used up what it may store in a day.
        OverQuota = 3, "over_quota";
    }
}

/// An item read from a lane: a record, or a gap where records were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A record.
    Record(Record),
    /// Missing records that are accounted for.
    Gap(Gap),
}

impl Entry {
    /// The first number the entry accounts for.
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Record(record) => record.position.seq,
            Self::Gap(gap) => gap.first,
        }
    }

    /// The last position the entry accounts for: acknowledging it acknowledges the entry.
    pub fn last(&self) -> Position {
        match self {
            Self::Record(record) => record.position,
            Self::Gap(gap) => Position { epoch: gap.epoch, seq: gap.last },
        }
    }
}
