//! The jobs of reports: partitions of telemetry, and nodes that fell silent.

use super::partitions;
use crate::settings::TelemetrySettings;
use crate::state::Fleet;
use async_trait::async_trait;
use noderr_kernel::{Database, Job, is_lock_timeout};
use noderr_protocol::Metric;
use std::sync::Arc;
use std::time::Duration;

/// A table that is read without end keeps a new version from starting for a minute and a half, and then with an error.
const LOCK_ATTEMPTS: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// Makes tomorrow's partitions and drops those past retention.
pub(super) struct KeepPartitions;

#[async_trait]
impl Job<Arc<Fleet>> for KeepPartitions {
    fn name(&self) -> &'static str {
        "keep-partitions"
    }

    fn every_s(&self) -> i32 {
        3600
    }

    async fn run(&self, fleet: &Arc<Fleet>) -> anyhow::Result<String> {
        Ok(partitions::keep(&fleet.kernel.database, &fleet.settings.telemetry).await?.to_string())
    }
}

/// Makes the columns and partitions of telemetry; called before any report is taken. Without today's
/// partition, or the column of a metric, nothing can be stored.
pub async fn prepare(database: &Database, settings: &TelemetrySettings) -> sqlx::Result<()> {
    let metrics: Vec<String> = Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect();
    // Somebody may be reading the table, or another instance may be storing into it: then soon.
    for _ in 1..LOCK_ATTEMPTS {
        match try_to_prepare(database, settings, &metrics).await {
            Err(error) if is_lock_timeout(&error) => {
                tracing::warn!("telemetry is in use; waiting to add what this version measures");
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            done => return done,
        }
    }
    try_to_prepare(database, settings, &metrics).await
}

async fn try_to_prepare(
    database: &Database,
    settings: &TelemetrySettings,
    metrics: &[String],
) -> sqlx::Result<()> {
    sqlx::query_scalar!("SELECT keep_telemetry_columns($1)", metrics).fetch_one(database.system()).await?;
    partitions::keep(database, settings).await?;
    Ok(())
}

/// Marks nodes offline that have given no sign of life, or may not connect: the instance that held their
/// sessions may be gone, or an external broker may not know of the revocation yet.
pub(super) struct MarkOffline;

#[async_trait]
impl Job<Arc<Fleet>> for MarkOffline {
    fn name(&self) -> &'static str {
        "mark-offline"
    }

    fn every_s(&self) -> i32 {
        10
    }

    async fn run(&self, fleet: &Arc<Fleet>) -> anyhow::Result<String> {
        let done = sqlx::query!(
            "UPDATE heartbeats SET online = false WHERE node_id IN (
               SELECT h.node_id FROM heartbeats h WHERE h.online AND (h.last_seen_at < now() - make_interval(secs => $1)
                 OR NOT EXISTS (SELECT FROM admitted w WHERE w.id = h.node_id)) FOR UPDATE SKIP LOCKED)",
            f64::from(fleet.settings.telemetry.offline_after_s)
        )
        .execute(fleet.kernel.database.system())
        .await?;
        Ok(format!("{} nodes fell silent", done.rows_affected()))
    }
}
