//! The job of quarantine: judges everybody by the policy of today, a few at a time.

use super::db::{self, Policy};
use super::judge::judge;
use crate::state::Fleet;
use async_trait::async_trait;
use noderr_kernel::Job;
use std::sync::Arc;

/// Nodes judged in one transaction.
const AT_ONCE: i64 = 200;

pub(super) struct JudgeNodes;

#[async_trait]
impl Job<Arc<Fleet>> for JudgeNodes {
    fn name(&self) -> &'static str {
        "judge-nodes"
    }

    fn every_s(&self) -> i32 {
        30
    }

    async fn run(&self, fleet: &Arc<Fleet>) -> anyhow::Result<String> {
        let (database, settings) = (&fleet.kernel.database, &fleet.settings.enrolment);
        let mut total = 0;
        loop {
            let nodes = db::candidates(database.system(), &Policy::of(settings), AT_ONCE).await?;
            if nodes.is_empty() {
                return Ok(format!("{total} nodes put into quarantine or let out"));
            }
            let mut tx = database.begin().await?;
            total += judge(&mut tx, settings, &nodes).await?;
            tx.commit().await?;
        }
    }
}
