//! What a node says to the control plane.

use crate::family::family;
use crate::sections::{ActualState, KnownSection, Section};
use crate::{Blob, Entry, LaneTag, List, Text, UnixMillis};
use serde::{Deserialize, Serialize};

family! {
    /// Everything a node says.
    Up,
    /// What kinds of messages a node sends.
    UpKind {
        /// The first message of a session.
        Hello(Hello) = 0x01, "hello";
        /// A sign of life, with the health checks that fail.
        Heartbeat(Heartbeat) = 0x02, "heartbeat";
        /// Spooled records, in order.
        Records(RecordBatch) = 0x03, "records";
        /// What the node has made of its desired state.
        ActualState(ActualState) = 0x04, "actual";
        /// Evidence for a challenge.
        AttestationAnswer(AttestationAnswer) = 0x05, "attestation";
        /// A part of the firmware's event log.
        EventLogPart(EventLogPart) = 0x06, "event-log";
    }
}

/// Describes the node and what its spool still holds. The control plane answers with a welcome and the desired state.
///
/// Always in version 1, whatever the node speaks, and never changed: a control plane of any age must be able to read it. It
/// grows by facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Name and version of the software, such as `noderr-node 0.1.0`.
    pub software: Text<64>,
    /// Processor architecture, as the Rust target names it.
    pub architecture: Text<32>,
    /// The newest wire version the node reads. It is never sent anything newer.
    pub speaks: u8,
    /// The sections that the node reads.
    pub knows: List<KnownSection, 64>,
    /// Further facts about the node, each in the format of its kind: which slot booted, which release runs.
    pub facts: List<Section, 16>,
    /// The boot epoch of this start.
    pub epoch: u64,
    /// The node's clock.
    pub time: UnixMillis,
    /// The version of the newest desired state that the node holds, 0 for none.
    pub desired_version: u64,
    /// What the spool holds.
    pub lanes: List<LaneState, 8>,
}

/// One lane of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// The lane.
    pub lane: LaneTag,
    /// The first number that the lane still holds or accounts for; equal to `next` when the lane is empty.
    pub oldest: u64,
    /// The number the next record will get.
    pub next: u64,
}

/// A sign of life, sent at a fixed interval. A node whose heartbeats stay out is offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node's clock.
    pub time: UnixMillis,
    /// Seconds since the process started.
    pub process_uptime_s: u32,
    /// The health checks that fail now, each a name and the beginning of a sentence; empty is healthy.
    pub failing: List<Text<64>, 16>,
    /// Records that wait in the spool.
    pub backlog: u64,
    /// Records lost to budget or damage since the spool was made.
    pub lost: u64,
}

/// Spooled entries of one lane, ascending and without a hole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// The lane of the entries.
    pub lane: LaneTag,
    /// The entries.
    pub entries: List<Entry, 512>,
}

/// The answer to one challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationAnswer {
    /// Which challenge.
    pub challenge: [u8; 16],
    /// What the node answers with.
    pub evidence: Evidence,
}

/// The most parts of an event log; a longer log is left out.
pub const MAX_EVENT_LOG_PARTS: u8 = 8;
/// The bytes of each part of an event log but the last.
pub const EVENT_LOG_PART: usize = 32 * 1024;

/// A part of the firmware's event log as the kernel shows it, for an attestation that has found changed registers. A box
/// without a log sends one part without bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLogPart {
    /// Which challenge the attestation answered.
    pub challenge: [u8; 16],
    /// The number of this part, from 0; they are sent in order.
    pub part: u8,
    /// How many parts there are.
    pub parts: u8,
    /// The bytes: 32 KiB, of the last part what is left.
    pub bytes: Blob<EVENT_LOG_PART>,
}

/// What a node answers a challenge with. Append only.
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
    /// The index of the register, below 24.
    pub index: u8,
    /// The value of the register.
    pub digest: [u8; 32],
}
