//! What a spooled record says. Written once, possibly read years later by a newer server: append only.

use crate::envelope::{body, open, seal};
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

/// One look at the box. Counters count since the process started; what the box lacks is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TelemetrySample {
    /// When it was taken.
    pub time: UnixMillis,
    /// Seconds since the box booted.
    pub uptime_s: u32,
    /// Busy share of all cores since the last sample, in thousandths.
    pub cpu_permille: u16,
    /// Memory in use.
    pub memory_used_kib: u64,
    /// Memory there is.
    pub memory_total_kib: u64,
    /// Disk of the data folder in use.
    pub disk_used_kib: u64,
    /// Disk of the data folder.
    pub disk_total_kib: u64,
    /// The warmest sensor, in tenths of a degree Celsius.
    pub temperature_decicelsius: Option<i16>,
    /// Bytes received on all interfaces but loopback since boot.
    pub network_rx_bytes: u64,
    /// Bytes sent on all interfaces but loopback since boot.
    pub network_tx_bytes: u64,
    /// The box's own clock against the control plane's, where known.
    pub clock_offset_ms: Option<i64>,
    /// TPM commands answered.
    pub tpm_commands: u64,
    /// TPM commands that failed or timed out.
    pub tpm_failures: u64,
    /// Sessions with the broker that were established.
    pub link_connects: u32,
    /// From sending records to hearing that they are committed, as last seen.
    pub link_rtt_ms: Option<u32>,
    /// Records that wait in the spool.
    pub spool_records: u64,
    /// Records dropped by budget or damage since the spool was made.
    pub spool_lost: u64,
}

/// Something a person should know, with what they can do in the detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// When it was noticed.
    pub time: UnixMillis,
    /// What it is.
    pub code: AlertCode,
    /// In words.
    pub detail: Text<256>,
}

/// Append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertCode {
    /// The TPM does not answer; the node buffers and waits.
    TpmUnreachable,
    /// The TPM answers again.
    TpmRecovered,
    /// The spool cannot write for lack of space.
    DiskFull,
    /// The spool writes again.
    DiskRecovered,
    /// The spool could not be opened, was set aside and begun anew.
    SpoolReplaced,
    /// The box's clock was off by more than a certificate can bear.
    ClockWrong,
    /// Records were damaged on the disk; their numbers come as gaps.
    RecordsDamaged,
}

impl AlertCode {
    /// The name stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TpmUnreachable => "tpm_unreachable",
            Self::TpmRecovered => "tpm_recovered",
            Self::DiskFull => "disk_full",
            Self::DiskRecovered => "disk_recovered",
            Self::SpoolReplaced => "spool_replaced",
            Self::ClockWrong => "clock_wrong",
            Self::RecordsDamaged => "records_damaged",
        }
    }
}
