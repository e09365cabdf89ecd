//! The job of attestation.

use super::db;
use crate::state::Fleet;
use crate::values::node_id;
use async_trait::async_trait;
use noderr_kernel::{Job, record};
use serde_json::json;
use std::sync::Arc;

/// Seconds before a node is asked again that has not answered.
const FIRST_PAUSE_S: f64 = 5.0;

/// Puts on record which nodes did not answer, and asks every online node whose last challenge is old enough.
pub(super) struct AttestNodes;

#[async_trait]
impl Job<Arc<Fleet>> for AttestNodes {
    fn name(&self) -> &'static str {
        "attest-nodes"
    }

    fn every_s(&self) -> i32 {
        10
    }

    async fn run(&self, fleet: &Arc<Fleet>) -> anyhow::Result<String> {
        let (database, settings) = (&fleet.kernel.database, &fleet.settings.enrolment);
        let mut tx = database.begin().await?;
        let silent = db::conclude_silent(&mut tx, settings.attest_answer_s.into()).await?;
        for (id, before) in &silent {
            if before.as_deref() != Some("silent") {
                let (node, detail) = (node_id(id).to_string(), json!({ "before": before }));
                record(&mut tx, "attestation", "node.attestation-silent", &node, &detail).await?;
            }
        }
        tx.commit().await?;
        let due = db::due(database.system(), settings.attest_every_s.into(), FIRST_PAUSE_S).await?;
        let mask = settings.pcr_mask();
        for id in &due {
            let mut tx = database.begin().await?;
            db::request(&mut tx, &node_id(id), "schedule", mask).await?;
            tx.commit().await?;
        }
        Ok(format!("{} nodes asked, {} did not answer", due.len(), silent.len()))
    }
}
