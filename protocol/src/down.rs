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
    }
}

impl DownKind {
    /// Whether a broker should see to it that it arrives (QoS 1). Marks and welcomes need no such care: the next mark of a
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
    /// What else there is to say, each as its kind has it.
    pub facts: List<Section, 16>,
    /// One for every lane that the control plane knows: the node sends no other.
    pub marks: List<LaneMark, 8>,
}

/// A nonce to quote over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationChallenge {
    /// Its name, repeated in the answer.
    pub challenge: [u8; 16],
    /// Random and used once.
    pub nonce: [u8; 32],
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// What is committed; the node may delete up to and including these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWaterMarks {
    /// One for each lane that they are about.
    pub marks: List<LaneMark, 8>,
    /// What became of the batch that they answer.
    pub outcome: BatchOutcome,
}

open_enum! {
    /// What became of a batch of records.
    BatchOutcome, "outcome" {
        /// It is committed as far as the marks say.
        Taken = 0, "taken";
        /// It did not join on to what is committed: send again from behind the marks.
        Rewind = 1, "rewind";
        /// The control plane cannot read it, and sending it again changes nothing until the control plane is newer.
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
