//! What nodes report, and how long it is kept.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Days telemetry is kept.
    pub(crate) retention_days: u16,
    /// Days alerts, gaps and unreadable records are kept.
    pub(crate) alert_retention_days: u16,
    /// Records stored in one transaction at most.
    pub(crate) batch: usize,
    /// Milliseconds to wait for a batch to fill.
    pub(crate) linger_ms: u64,
    /// Batches stored beside each other; one node's records always go through the same.
    pub(crate) workers: usize,
    /// Seconds without a sign of life after which a node counts as offline.
    pub(crate) offline_after_s: u32,
}

impl Telemetry {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (field, is_zero) in [
            ("retention_days", self.retention_days == 0),
            ("alert_retention_days", self.alert_retention_days == 0),
            ("batch", self.batch == 0),
            ("workers", self.workers == 0),
            ("offline_after_s", self.offline_after_s == 0),
        ] {
            anyhow::ensure!(!is_zero, "telemetry.{field} must not be 0");
        }
        Ok(())
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            retention_days: 90,
            alert_retention_days: 365,
            batch: 4000,
            linger_ms: 5,
            workers: 2,
            offline_after_s: 100,
        }
    }
}
