//! What a node and the control plane say to each other: ids, topics, envelope, messages.
//!
//! No sockets, no disk, no clock. Every byte that crosses the wire is described here and pinned by
//! golden files in `tests/golden`; both sides depend on this crate and never on each other.
//!
//! ```
//! use noderr_protocol::{BatchOutcome, Down, HighWaterMarks, Lane, LaneMark, Message, Position};
//!
//! let through = Position { epoch: 7, seq: 41 };
//! let marks = vec![LaneMark { lane: Lane::Telemetry.tag(), through }].try_into().unwrap();
//! let marks = HighWaterMarks { marks, outcome: BatchOutcome::Taken };
//! let bytes = Down::HighWaterMarks(marks.clone()).encode().unwrap();
//! assert_eq!(Down::decode(&bytes).unwrap(), Down::HighWaterMarks(marks));
//! ```

mod address;
mod bounded;
mod down;
pub mod enrol;
mod envelope;
mod family;
mod ids;
mod json;
mod open;
pub mod payload;
pub mod release;
mod sections;
mod spooled;
mod telemetry;
mod topics;
mod up;

pub use address::{HostPort, ParseHostPortError};
pub use bounded::{Blob, List, Text, TooLong, steers_terminal};
pub use down::{
    AttestationChallenge, BatchOutcome, Down, DownKind, EventLogRequest, HighWaterMarks, LaneMark, Welcome,
};
pub use envelope::{DecodeError, EncodeError, MAX_ENVELOPE, Message, WIRE_VERSION};
pub use ids::{IdentityKind, NodeId, ParseNodeIdError};
pub use json::{Base64, HexDigest, RegisterIndex};
pub use payload::{Alert, AlertCode, Payload};
pub use sections::{
    ActualState, Base, DesiredState, KnownSection, MAX_SECTION, Phase, Quarantine, Section, SectionBody,
    SectionReport,
};
pub use spooled::{Entry, Gap, GapReason, Lane, LaneTag, MAX_RECORD, Position, Record};
pub use telemetry::{Measured, Metric, TelemetrySample};
pub use topics::Topics;
pub use up::{
    AttestationAnswer, EVENT_LOG_PART, EventLogPart, Evidence, Heartbeat, Hello, LaneState,
    MAX_EVENT_LOG_PARTS, PcrValue, QuoteEvidence, RecordBatch, Up, UpKind,
};

/// Milliseconds since the Unix epoch, as the sender's clock had it.
pub type UnixMillis = i64;
