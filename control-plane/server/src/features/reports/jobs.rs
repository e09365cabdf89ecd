//! What has to be looked after: partitions, and nodes that fell silent.

use crate::app::App;
use crate::jobs::Job;
use async_trait::async_trait;

/// Days for which partitions are made ahead.
const AHEAD: i32 = 3;

/// Makes tomorrow's partitions and drops those past retention.
pub(crate) struct KeepPartitions;

#[async_trait]
impl Job for KeepPartitions {
    fn name(&self) -> &'static str {
        "keep-partitions"
    }

    fn every_s(&self) -> i32 {
        3600
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let keep = i32::from(app.config.telemetry.retention_days);
        let changed =
            sqlx::query_scalar!(r#"SELECT keep_telemetry_partitions($1, $2) AS "changed!""#, AHEAD, keep)
                .fetch_one(app.database.system())
                .await?;
        Ok(format!("{changed} partitions made or dropped"))
    }
}

/// Marks nodes offline that have given no sign of life: their instance may be gone with their sessions.
pub(crate) struct MarkOffline;

#[async_trait]
impl Job for MarkOffline {
    fn name(&self) -> &'static str {
        "mark-offline"
    }

    fn every_s(&self) -> i32 {
        10
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let done = sqlx::query!(
            "UPDATE heartbeats SET online = false WHERE online AND last_seen_at < now() - make_interval(secs => $1)",
            f64::from(app.config.telemetry.offline_after_s)
        )
        .execute(app.database.system())
        .await?;
        Ok(format!("{} nodes fell silent", done.rows_affected()))
    }
}
