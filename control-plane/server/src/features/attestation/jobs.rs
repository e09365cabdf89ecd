//! Attestation on a schedule.

use super::db;
use crate::app::App;
use crate::features::nodes::node_id;
use crate::jobs::Job;
use async_trait::async_trait;

/// Asks every online node whose last question is old enough.
pub(crate) struct AttestNodes;

#[async_trait]
impl Job for AttestNodes {
    fn name(&self) -> &'static str {
        "attest-nodes"
    }

    fn every_s(&self) -> i32 {
        30
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let due = db::due(app, app.config.enrolment.attest_every_s.into()).await?;
        let mask = app.config.enrolment.pcr_mask();
        for id in &due {
            let mut tx = app.database.begin().await?;
            db::request(&mut tx, &node_id(id), "schedule", mask).await?;
            tx.commit().await?;
        }
        Ok(format!("{} nodes asked", due.len()))
    }
}
