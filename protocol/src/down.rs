//! What the control plane says to a node. There are no commands: only the newest state, marks and questions.

use crate::envelope::{body, open, seal};
use crate::open::open_enum;
use crate::sections::DesiredState;
use crate::{DecodeError, DownKind, EncodeError, LaneTag, List, Message, Position};
use serde::{Deserialize, Serialize};

/// Every message of the down direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// The newest numbered document.
    DesiredState(DesiredState),
    /// A question.
    AttestationChallenge(AttestationChallenge),
    /// How far each lane is committed.
    HighWaterMarks(HighWaterMarks),
}

impl Down {
    /// The kind, which is also the topic's last level.
    pub const fn kind(&self) -> DownKind {
        match self {
            Self::DesiredState(_) => DownKind::DesiredState,
            Self::AttestationChallenge(_) => DownKind::AttestationChallenge,
            Self::HighWaterMarks(_) => DownKind::HighWaterMarks,
        }
    }
}

impl Message for Down {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let kind = self.kind().byte();
        match self {
            Self::DesiredState(message) => seal(kind, message),
            Self::AttestationChallenge(message) => seal(kind, message),
            Self::HighWaterMarks(message) => seal(kind, message),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (byte, rest) = open(bytes)?;
        match DownKind::from_byte(byte).ok_or(DecodeError::UnknownKind(byte))? {
            DownKind::DesiredState => body(rest).map(Self::DesiredState),
            DownKind::AttestationChallenge => body(rest).map(Self::AttestationChallenge),
            DownKind::HighWaterMarks => body(rest).map(Self::HighWaterMarks),
        }
    }
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
    /// One for each lane that it is about; in the answer to a hello every lane that the server knows.
    pub marks: List<LaneMark, 8>,
    /// What became of what this answers.
    pub outcome: BatchOutcome,
}

open_enum! {
    /// What became of a batch of records, or of a hello.
    BatchOutcome, "outcome" {
        /// It is committed as far as the marks say.
        Taken = 0, "taken";
        /// It did not join on to what is committed: send again from behind the marks.
        Rewind = 1, "rewind";
        /// The control plane cannot read it, and sending it again changes nothing until the control plane is newer.
        Unreadable = 2, "unreadable";
        /// The hello was heard: the node sends no lane that is not named here.
        Welcome = 3, "welcome";
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
