//! Jobs: a name, a beat, a `run`. Any instance may run any job; a lease in the database sees to it that one does.

mod forget;

use crate::app::App;
use crate::features::{attestation::AttestNodes, reports::KeepPartitions, reports::MarkOffline};
use async_trait::async_trait;
use forget::ForgetExpired;
use std::time::Duration;

/// How long a job may take before another instance may take it over.
const LEASE_S: f64 = 120.0;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Work on a beat.
#[async_trait]
pub(crate) trait Job: Send + Sync {
    /// Its row in the table.
    fn name(&self) -> &'static str;
    /// Seconds from one run to the next.
    fn every_s(&self) -> i32;
    /// Does it; the answer is kept with the run.
    async fn run(&self, app: &App) -> anyhow::Result<String>;
}

const JOBS: &[&dyn Job] = &[&KeepPartitions, &MarkOffline, &AttestNodes, &ForgetExpired];

/// Runs whatever is due, for ever.
pub(crate) async fn run(app: App) {
    loop {
        if let Err(error) = run_due(&app).await {
            tracing::warn!(%error, "jobs cannot be looked up");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn run_due(app: &App) -> sqlx::Result<()> {
    for job in JOBS {
        sqlx::query!(
            "INSERT INTO jobs (name, every_s) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET every_s = $2
             WHERE jobs.every_s <> $2",
            job.name(),
            job.every_s()
        )
        .execute(app.database.system())
        .await?;
        if let Some(run) = lease(app, *job).await? {
            let outcome = tokio::time::timeout(Duration::from_secs_f64(LEASE_S), job.run(app)).await;
            let outcome = match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    tracing::error!(job = job.name(), error = format!("{error:#}"), "a job failed");
                    format!("failed: {error:#}")
                }
                Err(_) => {
                    tracing::error!(job = job.name(), "a job took too long");
                    "took too long".to_owned()
                }
            };
            release(app, *job, run, &outcome).await?;
        }
    }
    Ok(())
}

/// Takes a job that is due and nobody's; the number is that of the run.
async fn lease(app: &App, job: &dyn Job) -> sqlx::Result<Option<i64>> {
    let mut tx = app.database.begin().await?;
    let due = sqlx::query_scalar!(
        r#"SELECT 1 AS "due!" FROM jobs WHERE name = $1 AND next_run_at <= now()
           AND (leased_until IS NULL OR leased_until < now()) FOR UPDATE SKIP LOCKED"#,
        job.name()
    )
    .fetch_optional(&mut *tx)
    .await?;
    if due.is_none() {
        return Ok(None);
    }
    sqlx::query!(
        "UPDATE jobs SET leased_by = $2, leased_until = now() + make_interval(secs => $3),
           next_run_at = now() + make_interval(secs => every_s) WHERE name = $1",
        job.name(),
        app.id,
        LEASE_S
    )
    .execute(&mut *tx)
    .await?;
    let run = sqlx::query_scalar!(
        "INSERT INTO job_runs (name, instance) VALUES ($1, $2) RETURNING id",
        job.name(),
        app.id
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Some(run))
}

async fn release(app: &App, job: &dyn Job, run: i64, outcome: &str) -> sqlx::Result<()> {
    let mut tx = app.database.begin().await?;
    sqlx::query!("UPDATE job_runs SET finished_at = now(), outcome = $2 WHERE id = $1", run, outcome)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE jobs SET leased_by = NULL, leased_until = NULL WHERE name = $1 AND leased_by = $2",
        job.name(),
        app.id
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
