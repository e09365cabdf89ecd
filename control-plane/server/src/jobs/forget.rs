//! Forgets what has served its purpose, so that no table grows for ever by itself.

use super::Job;
use crate::app::App;
use async_trait::async_trait;

/// Deletes expired sessions, exchanges that were never answered, old challenges and old job runs.
pub(super) struct ForgetExpired;

#[async_trait]
impl Job for ForgetExpired {
    fn name(&self) -> &'static str {
        "forget-expired"
    }

    fn every_s(&self) -> i32 {
        600
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let pool = app.database.system();
        let mut gone = 0;
        gone += sqlx::query!("DELETE FROM sessions WHERE expires_at < now()")
            .execute(pool)
            .await?
            .rows_affected();
        gone += sqlx::query!(
            "DELETE FROM enrolments WHERE finished_at IS NULL AND expires_at < now() - interval '1 hour'"
        )
        .execute(pool)
        .await?
        .rows_affected();
        gone += sqlx::query!("DELETE FROM attestations WHERE requested_at < now() - interval '1 year'")
            .execute(pool)
            .await?
            .rows_affected();
        gone += sqlx::query!("DELETE FROM job_runs WHERE started_at < now() - interval '7 days'")
            .execute(pool)
            .await?
            .rows_affected();
        Ok(format!("{gone} rows forgotten"))
    }
}
