//! What a spooled record says. Written once, possibly read years later by a newer server: append only.

use crate::envelope::{body, open, seal};
use crate::open::open_enum;
use crate::telemetry::TelemetrySample;
use crate::{DecodeError, EncodeError, Message, Text, UnixMillis};
use serde::{Deserialize, Serialize};

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// One measurement of the box.
    Telemetry(TelemetrySample),
    /// Something a person should know.
    Alert(Alert),
}

/// The kind of a telemetry sample.
pub const TELEMETRY: u8 = 0x41;
/// The kind of an alert.
pub const ALERT: u8 = 0x42;

/// The kind of an encoded payload, as its envelope names it.
pub fn kind_of(bytes: &[u8]) -> Option<u8> {
    bytes.get(1).copied()
}

impl Message for Payload {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Telemetry(sample) => seal(TELEMETRY, sample),
            Self::Alert(alert) => seal(ALERT, alert),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match open(bytes)? {
            (TELEMETRY, rest) => body(rest).map(Self::Telemetry),
            (ALERT, rest) => body(rest).map(Self::Alert),
            (kind, _) => Err(DecodeError::UnknownKind(kind)),
        }
    }
}

/// Something a person should know; the detail says what the person can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// When the node noticed.
    pub time: UnixMillis,
    /// What the alert is about.
    pub code: AlertCode,
    /// The cause and the remedy in words.
    pub detail: Text<256>,
}

open_enum! {
    /// What an alert is about.
    AlertCode, "code" {
        /// The TPM does not answer; the node buffers and waits.
        TpmUnreachable = 0, "tpm_unreachable";
        /// The TPM answers again.
        TpmRecovered = 1, "tpm_recovered";
        /// The spool cannot write for lack of space.
        DiskFull = 2, "disk_full";
        /// The spool writes again.
        DiskRecovered = 3, "disk_recovered";
        /// The spool could not be opened; it was set aside, and a new one was begun.
        SpoolReplaced = 4, "spool_replaced";
        /// The box's clock was off by more than a certificate can bear.
        ClockWrong = 5, "clock_wrong";
        /// Records were damaged on the disk; their numbers come as gaps.
        RecordsDamaged = 6, "records_damaged";
    }
}
