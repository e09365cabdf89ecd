//! What a node says to the control plane.

use crate::envelope::{body, open, seal};
use crate::sections::{ActualState, Section};
use crate::{
    Blob, DecodeError, EncodeError, Entry, IdentityKind, LaneTag, List, Message, Text, UnixMillis, UpKind,
};
use serde::{Deserialize, Serialize};

/// Every message of the up direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// First word of a session.
    Hello(Hello),
    /// Still here.
    Heartbeat(Heartbeat),
    /// Spooled records.
    Records(RecordBatch),
    /// What became of the desired state.
    ActualState(ActualState),
    /// Evidence for a challenge.
    AttestationAnswer(AttestationAnswer),
}

impl Up {
    /// The kind, which is also the topic's last level.
    pub const fn kind(&self) -> UpKind {
        match self {
            Self::Hello(_) => UpKind::Hello,
            Self::Heartbeat(_) => UpKind::Heartbeat,
            Self::Records(_) => UpKind::Records,
            Self::ActualState(_) => UpKind::ActualState,
            Self::AttestationAnswer(_) => UpKind::AttestationAnswer,
        }
    }
}

impl Message for Up {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let kind = self.kind().byte();
        match self {
            Self::Hello(message) => seal(kind, message),
            Self::Heartbeat(message) => seal(kind, message),
            Self::Records(message) => seal(kind, message),
            Self::ActualState(message) => seal(kind, message),
            Self::AttestationAnswer(message) => seal(kind, message),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (byte, rest) = open(bytes)?;
        match UpKind::from_byte(byte).ok_or(DecodeError::UnknownKind(byte))? {
            UpKind::Hello => body(rest).map(Self::Hello),
            UpKind::Heartbeat => body(rest).map(Self::Heartbeat),
            UpKind::Records => body(rest).map(Self::Records),
            UpKind::ActualState => body(rest).map(Self::ActualState),
            UpKind::AttestationAnswer => body(rest).map(Self::AttestationAnswer),
        }
    }
}

/// Who is there and what it still holds. The server answers with marks and the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Name and version of the software, such as `noderr-node 0.1.0`.
    pub software: Text<64>,
    /// Processor architecture, as the Rust target names it.
    pub architecture: Text<32>,
    /// What the node believes its identity is; the server's own record decides.
    pub identity: IdentityKind,
    /// The newest wire version it reads. It is never sent anything newer.
    pub speaks: u8,
    /// Kinds of sections that it knows.
    pub knows: List<u16, 64>,
    /// What else there is to say about it, each as its kind has it: which slot booted, which release runs.
    pub facts: List<Section, 16>,
    /// The boot epoch of this start.
    pub epoch: u64,
    /// The node's clock.
    pub time: UnixMillis,
    /// The newest desired state it has applied, 0 for none.
    pub desired_version: u64,
    /// What the spool holds.
    pub lanes: List<LaneState, 8>,
}

/// One lane of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// Which.
    pub lane: LaneTag,
    /// The first number it still holds or accounts for; equal to `next` when the lane is empty.
    pub oldest: u64,
    /// The number the next record will get.
    pub next: u64,
}

/// Sent on a fixed beat; its absence is what "offline" means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node's clock.
    pub time: UnixMillis,
    /// Seconds since the process started.
    pub process_uptime_s: u32,
    /// Names of the health checks that fail now; empty is healthy.
    pub failing: List<Text<64>, 16>,
    /// Records that wait in the spool.
    pub backlog: u64,
    /// Records lost to budget or damage since the spool was made.
    pub lost: u64,
}

/// Spooled entries of one lane, ascending and without a hole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// The lane they are of.
    pub lane: LaneTag,
    /// The entries.
    pub entries: List<Entry, 512>,
}

/// The answer to one challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationAnswer {
    /// Which challenge.
    pub challenge: [u8; 16],
    /// What the node has to show.
    pub evidence: Evidence,
}

/// Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// A quote by the attestation key.
    Quote(QuoteEvidence),
    /// This node has a software identity and nothing to quote with.
    Software,
    /// The TPM could not answer now.
    Unavailable(Text<256>),
}

/// A TPM2_Quote and the register values it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteEvidence {
    /// TPMS_ATTEST as the TPM signed it.
    pub attest: Blob<2048>,
    /// TPMT_SIGNATURE.
    pub signature: Blob<512>,
    /// The values behind the quoted digest.
    pub pcrs: List<PcrValue, 24>,
}

/// One platform configuration register of the SHA-256 bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrValue {
    /// Its index, below 24.
    pub index: u8,
    /// What it holds.
    pub digest: [u8; 32],
}
