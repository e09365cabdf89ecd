//! Forgets what has served its purpose, so that no table grows for ever by itself.

use super::Job;
use crate::app::App;
use async_trait::async_trait;

/// Deletes what is over: sessions, exchanges, challenges, job runs, alerts and papers past their time.
pub(super) struct ForgetExpired;

#[async_trait]
impl Job for ForgetExpired {
    fn name(&self) -> &'static str {
        "forget-expired"
    }

    fn every_s(&self) -> i32 {
        3600
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let alert_days = i32::from(app.config.telemetry.alert_retention_days);
        let gone = sqlx::query_scalar!(r#"SELECT forget_expired($1) AS "gone!""#, alert_days)
            .fetch_one(app.database.system())
            .await?;
        Ok(format!("{gone} rows forgotten"))
    }
}
