//! The settings of reports: how they are stored, and how long they are kept.

use noderr_kernel::Settings;
use serde::Deserialize;

/// `[telemetry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Days telemetry is kept.
    pub retention_days: u16,
    /// MiB that telemetry may take in the database; no bound if absent.
    pub retention_mib: Option<u32>,
    /// Days alerts, gaps and unreadable records are kept.
    pub alert_retention_days: u16,
    /// Records that a node may store in a day in each lane.
    pub node_rows_per_day: u32,
    /// MiB that a node may store in a day in each lane.
    pub node_mib_per_day: u32,
    /// Records stored in one transaction at most.
    pub batch: usize,
    /// Milliseconds to wait for a batch to fill.
    pub linger_ms: u64,
    /// Workers that store batches side by side; one node's records always go through the same worker.
    pub workers: usize,
    /// Seconds without a sign of life after which a node counts as offline.
    pub offline_after_s: u32,
}

impl Settings for TelemetrySettings {
    const SECTION: &'static str = "telemetry";
    const EXAMPLE: &'static str = include_str!("telemetry.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        for (field, is_zero) in [
            ("retention_days", self.retention_days == 0),
            ("alert_retention_days", self.alert_retention_days == 0),
            ("node_rows_per_day", self.node_rows_per_day == 0),
            ("node_mib_per_day", self.node_mib_per_day == 0),
            ("batch", self.batch == 0),
            ("workers", self.workers == 0),
            ("offline_after_s", self.offline_after_s == 0),
        ] {
            anyhow::ensure!(!is_zero, "telemetry.{field} must not be 0");
        }
        Ok(())
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            retention_days: 90,
            retention_mib: None,
            alert_retention_days: 365,
            node_rows_per_day: 3_000_000,
            node_mib_per_day: 1024,
            batch: 4000,
            linger_ms: 5,
            workers: 2,
            offline_after_s: 100,
        }
    }
}
