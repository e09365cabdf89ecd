//! Attestation on a schedule.

use super::db;
use crate::app::App;
use crate::features::audit;
use crate::features::nodes::node_id;
use crate::jobs::Job;
use async_trait::async_trait;
use serde_json::json;

/// Puts on record who did not answer, and asks every online node whose last question is old enough.
pub(crate) struct AttestNodes;

#[async_trait]
impl Job for AttestNodes {
    fn name(&self) -> &'static str {
        "attest-nodes"
    }

    fn every_s(&self) -> i32 {
        10
    }

    async fn run(&self, app: &App) -> anyhow::Result<String> {
        let mut tx = app.database.begin().await?;
        let silent = db::conclude_silent(&mut tx, app.config.enrolment.attest_answer_s.into()).await?;
        for (id, before) in &silent {
            if before.as_deref() != Some("silent") {
                let detail = json!({ "before": before });
                audit::record(
                    &mut tx,
                    "attestation",
                    "node.attestation-silent",
                    &node_id(id).to_string(),
                    &detail,
                )
                .await?;
            }
        }
        tx.commit().await?;
        let due = db::due(app, app.config.enrolment.attest_every_s.into()).await?;
        let mask = app.config.enrolment.pcr_mask();
        for id in &due {
            let mut tx = app.database.begin().await?;
            db::request(&mut tx, &node_id(id), "schedule", mask).await?;
            tx.commit().await?;
        }
        Ok(format!("{} nodes asked, {} did not answer", due.len(), silent.len()))
    }
}
