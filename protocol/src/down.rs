//! What the control plane says to a node. There are no commands: only the newest state, marks and questions.

use crate::family::family;
use crate::open::open_enum;
use crate::sections::{DesiredState, Section};
use crate::{LaneTag, List, Position};
use serde::{Deserialize, Serialize};

family! {
    /// Everything the control plane says to a node.
    Down,
    /// What kinds of messages the control plane sends.
    DownKind {
        /// The newest numbered document.
        DesiredState(DesiredState) = 0x81, "desired";
        /// A nonce to quote over.
        AttestationChallenge(AttestationChallenge) = 0x82, "challenge";
        /// How far each lane is committed.
        HighWaterMarks(HighWaterMarks) = 0x83, "marks";
        /// The answer to a hello.
        Welcome(Welcome) = 0x84, "welcome";
        /// A question for the firmware's event log.
        EventLogRequest(EventLogRequest) = 0x85, "event-log";
    }
}

impl DownKind {
    /// Whether the broker should make sure that the message arrives (QoS 1). Marks and welcomes need no such care: the next mark of a
    /// lane says all that the last one did, and a node that misses one sends its records or its hello again.
    pub const fn wants_acknowledgement(self) -> bool {
        !matches!(self, Self::HighWaterMarks | Self::Welcome)
    }
}

/// The answer to a hello: what the control plane reads, and how far it has what the node may still hold.
///
/// Always in version 1 and never changed, like the hello; it grows by facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The newest wire version the control plane reads. The node writes nothing newer.
    pub speaks: u8,
    /// Further facts, each in the format of its kind.
    pub facts: List<Section, 16>,
    /// One mark for every lane that the control plane knows: the node sends no other lane.
    pub marks: List<LaneMark, 8>,
}

/// A nonce to quote over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationChallenge {
    /// The name of the challenge, repeated in the answer.
    pub challenge: [u8; 16],
    /// Random bytes, used once.
    pub nonce: [u8; 32],
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// Asks for the firmware's event log, after an attestation that has found changed registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLogRequest {
    /// Which challenge the attestation answered.
    pub challenge: [u8; 16],
}

/// How far the lanes are committed; the node may delete its records up to and including these positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWaterMarks {
    /// One mark for each lane that the message is about.
    pub marks: List<LaneMark, 8>,
    /// What became of the batch that the message answers.
    pub outcome: BatchOutcome,
}

open_enum! {
    /// What became of a batch of records.
    BatchOutcome, "outcome" {
        /// The batch is committed as far as the marks say.
        Taken = 0, "taken";
        /// The batch does not join on to the committed records: send again from behind the marks.
        Rewind = 1, "rewind";
        /// The control plane cannot read the batch; sending the batch again is of no use until the control
        /// plane is newer.
        Unreadable = 2, "unreadable";
    }
}

/// How far one lane is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneMark {
    /// Which lane.
    pub lane: LaneTag,
    /// The last committed position.
    pub through: Position,
}
